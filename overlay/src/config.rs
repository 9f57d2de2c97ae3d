//! What a router is told at its start.

use crate::admit::{Admit, ClusterId};
use crate::peer_id::PeerId;
use crate::timing::Profile;
use std::net::SocketAddr;

/// What a router is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster that this peer belongs to.
    pub cluster: ClusterId,
    /// This peer's name, for people.
    pub name: String,
    /// Where this peer can be dialed; the first eight are told to others.
    pub addresses: Vec<SocketAddr>,
    /// The timers.
    pub profile: Profile,
    /// The only neighbors to link to; none: all members.
    pub links: Option<Vec<NeighborSpec>>,
    /// Further addresses to try for every member, also when all others have changed.
    pub extra_addresses: Vec<SocketAddr>,
    /// This peer's admission, shown to members that may not know it yet.
    pub admit: Option<Admit>,
}

/// Rules that a simulation breaks on purpose, to show that its checks can fail; none is in a
/// daemon.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Faults {
    #[default]
    None,
    /// A message is delivered and passed on as often as it comes.
    NoDuplicateSuppression,
    /// A message is not taken before those that precede it.
    HoldForOrder,
    /// What a neighbor has and this peer lacks is not pulled.
    NoPulls,
    /// A view is named by its set alone.
    IdWithoutRound,
    /// One complaint leaves a member out.
    OneComplaintSuffices,
    /// A link is stated before its push is acknowledged.
    ListedBeforePush,
    /// What was left to a link that ends is not passed on by those who are to do so now.
    NothingForLostLinks,
}

/// How a configuration names a neighbor; one that has not joined yet is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NeighborSpec {
    /// By its name.
    Name(String),
    /// By its id.
    Id(PeerId),
}

impl NeighborSpec {
    /// Reads an id in hexadecimal, else takes the text as a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }

    /// True if the peer of this id and name is meant.
    #[must_use]
    pub fn names(&self, peer: PeerId, name: &str) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Id(wanted) => *wanted == peer,
        }
    }
}
