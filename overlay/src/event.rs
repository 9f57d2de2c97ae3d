//! What the router tells the peer above it, and what it asks of the world.

use crate::link_event::{LinkEvent, LinkId, LinkOutput};
use crate::members::MemberRow;
use crate::peer_id::{Incarnation, PeerId};
use crate::view::View;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// What a payload is worth (overlay protocol sections 2 and 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// Goes first and outside the source window: views and marks wait for it.
    Control = 0,
    /// Entries; within the source window.
    Update = 1,
    /// What may wait for all else.
    Bulk = 2,
}

/// Which word of a peer: of each kind the newest counts. Zero is the overlay's own link state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StateKind(pub u8);

/// One fetch of bulk data, as the router numbers it; asked for here or answered here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchId(pub u64);

/// The queue at the source is full. Others fetch what was not taken from the log, when they
/// learn of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// Why a link went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Nothing came for longer than the deadline.
    Silent,
    /// The neighbor does not hear this peer.
    Unheard,
    /// It does not acknowledge control packets.
    Unacknowledged,
    /// It did not answer the probe that a hint had begun.
    NoPong,
    /// Its connection has ended.
    Closed,
    /// One of the two needs no link between them: the cluster is a ring.
    NotWanted,
    /// It lives anew.
    Restarted,
    /// It said that it stops.
    Stopping,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "silent",
            Self::Unheard => "does not hear this peer",
            Self::Unacknowledged => "does not acknowledge",
            Self::NoPong => "does not answer a probe",
            Self::Closed => "connection closed",
            Self::NotWanted => "not needed: there are other ways",
            Self::Restarted => "restarted",
            Self::Stopping => "stopping",
        })
    }
}

/// How much waits at this source for its window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pressure {
    /// So much that no further updates may be authored.
    High,
    /// Little.
    Low,
}

/// What happened, for the peer above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A multicast payload of another peer; each comes once.
    Delivered {
        /// Its source.
        from: PeerId,
        /// The source's life.
        incarnation: Incarnation,
        /// The payload.
        payload: Bytes,
    },
    /// A payload for this peer alone.
    Unicast {
        /// Its source.
        from: PeerId,
        /// The source's life.
        incarnation: Incarnation,
        /// The payload.
        payload: Bytes,
    },
    /// These multicast messages of a source will never come here; fetch what they said.
    Gap {
        /// The source.
        source: PeerId,
        /// The source's life.
        incarnation: Incarnation,
        /// The first message that is missing.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// How much waits here to be multicast has crossed a bound: authoring stops before memory
    /// does.
    Pressure(Pressure),
    /// Another peer's newest word of a kind.
    State {
        /// Who says it.
        of: PeerId,
        /// In which life.
        incarnation: Incarnation,
        /// Which kind.
        kind: StateKind,
        /// What it says.
        body: Bytes,
    },
    /// Another view is agreed.
    ViewChanged(View),
    /// Another peer says that it stops; it leaves the view, if it was in it, after this.
    Stopping {
        /// Who stops.
        peer: PeerId,
        /// In which life.
        incarnation: Incarnation,
    },
    /// The link thread was late by so much, more than a lease: others may have taken this peer for
    /// dead.
    Overslept(Duration),
    /// Whether a standing peer outside the view is heard that does not hear this peer: it and its
    /// view, which is no smaller, take this peer for dead.
    Unheard(Unheard),
    /// The link to a neighbor carries packets.
    NeighborUp(PeerId),
    /// It does no more.
    NeighborDown(PeerId, Why),
    /// A member refuses this peer's key because it holds an eviction that is not settled.
    Excluded {
        /// The member.
        by: PeerId,
    },
    /// A member refuses this peer's key because its eviction is settled.
    Evicted {
        /// The member.
        by: PeerId,
    },
    /// Somebody knows a life of this peer, or a word of this life, that this process has not
    /// lived: start again by the restart rules.
    OwnIncarnationSeen(Incarnation),
    /// A neighbor asks for bulk data: answer by `respond`, or `refuse`.
    FetchRequested {
        /// Names the answer.
        fetch: FetchId,
        /// The neighbor.
        from: PeerId,
        /// What it asks for.
        request: Bytes,
    },
    /// A piece of the answer to a fetch of this peer.
    FetchChunk {
        /// Which fetch.
        fetch: FetchId,
        /// The piece.
        data: Bytes,
        /// Whether another follows.
        last: Last,
    },
    /// The answer to a neighbor's fetch may go on: all so far is taken by the transport.
    FetchWritable(FetchId),
    /// The fetch, own or of a neighbor, has come to nothing.
    FetchFailed(FetchId),
    /// Something happened on a connection of `zc-join/1`: for the machine `Join`, whose answers
    /// come back by `Router::join_output`.
    JoinLink {
        /// The connection.
        link: LinkId,
        /// What happened.
        event: LinkEvent,
    },
    /// A dial of the machine `Join` came to nothing.
    JoinDialFailed(crate::link_event::DialFailed),
}

/// Whether a peer may hold what only one can hold; heartbeats say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It may.
    Yes,
    /// It hears others that do not hear it, or it is no member any more.
    No,
}

/// Whether this peer hears others that do not hear it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unheard {
    /// It does.
    Yes,
    /// It does not, or no more.
    No,
}

/// Whether more of an answer follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// This was the end.
    Yes,
    /// More follows.
    No,
}

/// What the router wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// By the link thread.
    Link(LinkOutput),
    /// By the peer above.
    Event(Event),
    /// A row of the member list changed: keep it durably, by its key.
    Keep(MemberRow),
}
