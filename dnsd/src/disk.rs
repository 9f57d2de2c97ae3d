//! What the disk is asked to do, and what it has done. Who does it is elsewhere: `io/disk.rs`.

use crate::peer::Checkpoint;
use bytes::Bytes;
use replication::{Batch, BatchId, BlobHash};
use zones::store::{Row, StoreError};

/// What the disk thread is asked to do.
pub enum Job {
    /// Write the pieces in order and flush once.
    Log(Batch),
    /// Write a checkpoint in slices.
    Checkpoint(Box<Checkpoint>),
    /// Write rows of the history, then flush.
    History(Vec<Row>),
    /// Keep a blob; comes back with its tag.
    PutBlob(BlobHash, Bytes),
    /// Delete a blob.
    DropBlob(BlobHash),
    /// Write rows of other parts (member list, token bindings), then flush; comes back with the
    /// number.
    Keep(u64, Vec<Row>),
    /// Finish what is under way and end.
    Stop,
}

/// What the disk thread has done.
#[derive(Debug)]
pub enum Done {
    /// The batch is on disk.
    Log(BatchId),
    /// The checkpoint is on disk.
    Checkpoint,
    /// The blob is on disk.
    Blob(BlobHash),
    /// The rows are on disk.
    Kept(u64),
    /// The store does not work: this peer must stop.
    Failed(StoreError),
}
