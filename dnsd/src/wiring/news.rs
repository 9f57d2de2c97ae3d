//! What an operator may want to read of what happens. The lines themselves are the driver's.

use crate::publish::ZoneNews;
use crate::sponsor::NameTaken;
use crate::vip::failover::Notice;
use overlay::join::Refusal;
use overlay::{PeerId, View, Why};
use std::net::SocketAddr;
use std::time::Duration;
use zones::Name;

/// One event.
#[derive(Debug)]
pub enum News {
    /// The overlay agrees on another view.
    ViewAgreed(View),
    /// A link to a neighbor came up.
    LinkUp(PeerId),
    /// It went down.
    LinkDown(PeerId, Why),
    /// A peer stops cleanly.
    Stopping(PeerId),
    /// A thread was late by this much, which is more than a lease.
    Overslept(Duration),
    /// A member holds an eviction of this peer that is not settled.
    Excluded {
        /// Who says so.
        by: PeerId,
    },
    /// Another peer says that this one has been evicted.
    EvictedBy(PeerId),
    /// The eviction of this peer is settled.
    Evicted,
    /// Whoever said that this peer is evicted took it back.
    NotEvicted,
    /// Somebody with a good invitation asks to join.
    JoinAsked(PeerId, String),
    /// It is refused.
    NameTaken(NameTaken),
    /// Somebody without a good invitation is refused.
    JoinRefused {
        /// Where it came from.
        remote: SocketAddr,
        /// Who it is.
        peer: PeerId,
        /// Why.
        reason: Refusal,
    },
    /// The new peer has everything.
    Joined(PeerId),
    /// The join handshake says to a member what is for joiners.
    NotJoining,
    /// A neighbor sends more than any blob has.
    TooMuchData {
        /// The neighbor.
        from: PeerId,
    },
    /// A neighbor sent something else than it was asked for.
    WrongData {
        /// The neighbor.
        from: PeerId,
    },
    /// A zone is served from now on, or no more.
    Zone(ZoneNews),
    /// This catalog of a primary cannot be followed, and why.
    BadCatalog(Name, &'static str),
    /// A VIP has come or gone, or cannot.
    Vip(Notice),
    /// What the replica says.
    Replica(replication::Event),
}
