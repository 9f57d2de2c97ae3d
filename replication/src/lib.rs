//! The same entries at every peer, in the same order.
//!
//! This crate knows nothing of DNS: the body of an entry is bytes to it, membership apart.
//!
//! ```text
//! submit ─→ Entry ─┬→ multicast ──→ every peer: log (tentative: visible, never answered)
//!                  └→ one flush ──→ announce: clock, last sequence, what is durable
//!                                      │ announcements of all members of the settling view
//!    checkpoint ──┤ stable ──┤ settled ─┴┤ tentative      → stamp order
//! ```
//!
//! *Settled*: durable at every member of the settling view, and no earlier stamp can follow in
//! it. *Stable*: settled in a view that held every member of the cluster; the log below may go.

mod blobs;
mod catch_up;
mod checkpoint;
mod clock;
pub mod entry;
pub mod frontier;
mod log;
mod marks;
pub mod membership;
mod message;
mod near;
pub mod output;
mod parts;
pub mod replica;
pub mod rows;
pub mod settling_view;
#[cfg(test)]
mod testing;

pub use entry::{BlobHash, Body, Chain, Digest, Entry, EntryId, Hybrid, Stamp};
pub use frontier::Frontier;
pub use membership::{MemberSet, Members, NotNow};
pub use output::{Batch, BatchId, Class, Event, Output, Row};
pub use replica::{
    Birth, Config, Corrupt, Majority, Phase, Publish, ReadId, Refused, Replica, Stage, Staging,
    Status, Submitted,
};
pub use settling_view::SettlingViewId;
