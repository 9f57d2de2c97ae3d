//! Agreed views: the peers that reach each other now (overlay protocol section 5).

use crate::peer_id::{Incarnation, PeerId};

/// H(round, set): equal ids mean equal members, and an id never comes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ViewId(pub u64);

/// A set of peers that all of them have agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The round in which it was agreed; a peer's view numbers only rise.
    pub number: u64,
    /// What everything that holds "in a view" names it by.
    pub id: ViewId,
    /// The members in order of their ids.
    pub members: Vec<(PeerId, Incarnation)>,
}
