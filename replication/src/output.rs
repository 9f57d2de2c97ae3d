//! What a replica asks of the one who drives it, and what it tells.

use crate::entry::{BlobHash, Digest, Stamp};
use crate::membership::MemberSet;
use crate::settling_view::SettlingViewId;
use bytes::Bytes;
use overlay::{Incarnation, PeerId};

/// One thing to do or to know, from [`crate::Replica::poll_output`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The incarnation is durable: links may be opened. Once, before anything is sent.
    Ready(Incarnation),
    /// Write the pieces in order and flush once, then call `handle_durable`.
    Write(Batch),
    /// Send to all peers.
    Multicast {
        /// What it is, for the queues of the overlay.
        class: Class,
        /// The message.
        payload: Bytes,
    },
    /// Send to one peer, over any hops.
    Send {
        /// To whom.
        to: PeerId,
        /// The message.
        payload: Bytes,
    },
    /// State this as the newest signed `Near` of this peer; empty states nothing.
    Near(Bytes),
    /// The peer does not answer as it must: complain of it to the overlay.
    Complain(PeerId),
    /// A tentative entry has entered the log, not always at its end.
    Arrived(Stamp),
    /// What was submitted with this digest waited too long for a stamp, and makes no entry.
    GaveUp(Digest),
    /// The log has other entries than before: fold again from the checkpoint. Requests that
    /// waited for an entry which is no longer there are handled as new.
    LogChanged,
    /// Everything at or below the mark is settled, in stamp order, by this settling view.
    Settled(Stamp),
    /// Everything at or below the mark is stable.
    Stable(Stamp),
    /// The published mark is durable: the settled version at this mark may be shown.
    Published(Stamp),
    /// Who is a member, excluded or evicted has changed.
    Members(MemberSet),
    /// Fetch a blob from a neighbor that holds it; then `handle_blob_held` or
    /// `handle_blob_failed`.
    FetchBlob {
        /// Which.
        hash: BlobHash,
        /// Who holds it.
        from: PeerId,
    },
    /// The blob is needed no longer: its commit lies below the checkpoint.
    DropBlob(BlobHash),
    /// The eviction of this peer is settled elsewhere: take no more updates.
    Evicted,
    /// Whoever said so knows of no eviction any more: this peer goes on as before.
    NotEvicted,
    /// Something for the operator's log.
    Event(Event),
}

/// How urgent a multicast is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Agreement and blobs: small, and answers wait for them.
    Control,
    /// An announcement: as control, and the next one takes the place of one that has not gone out.
    Announcement,
    /// Entries.
    Entry,
}

/// One group commit: everything in it shares one flush.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// What `handle_durable` names it by.
    pub id: BatchId,
    /// Written in this order, each atomically; a crash may keep any prefix.
    pub pieces: Vec<Vec<Row>>,
}

/// Counts the batches of one life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BatchId(pub u64);

/// One row of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// [`crate::rows::TREE_ENTRIES`] or [`crate::rows::TREE_START`].
    pub tree: &'static str,
    /// The key.
    pub key: Vec<u8>,
    /// The value; none removes the row.
    pub value: Option<Vec<u8>>,
}

/// What an operator may want to read, once each time it happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A settling view is in use.
    ViewInstalled {
        /// Which.
        id: SettlingViewId,
        /// Its members.
        members: Vec<PeerId>,
        /// Whether it holds more than half of the members.
        holds_majority: bool,
    },
    /// A settling view was left; answers wait until the next is installed.
    ViewLeft,
    /// The disk has not finished a flush for too long; this peer settles nothing meanwhile.
    Withdrawn,
    /// The disk works again.
    Returned,
    /// The member has not said for long what everybody waits for.
    Mute(PeerId),
    /// This peer's wall clock differs from the members' median by this many milliseconds.
    ClockOff(i64),
    /// The stable prefixes of this peer and of another differ: one of the two disks is not what
    /// it was. The one with fewer members behind it stops; between equals a person decides.
    PrefixDiffers(PeerId),
    /// More members stand behind the other prefix: this peer takes part in nothing more.
    StandsApart,
}
