//! The disk thread: the one writer of the store.
//!
//! Log batches come first: the slices of a checkpoint are written between them, so that no answer
//! waits longer than for one slice (a few milliseconds).

use crate::checkpoint::{self, Slice, Slices};
use crate::io::clock::spawn;
use crate::peer::Checkpoint;
use replication::{Batch, BatchId, BlobHash};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use zones::store::{Database, Row, Store, StoreError};

/// What the disk thread is asked to do.
pub enum Job {
    /// Write the pieces in order and flush once.
    Log(Batch),
    /// Write a checkpoint in slices.
    Checkpoint(Box<Checkpoint>),
    /// Keep a blob; comes back with its tag.
    PutBlob(BlobHash, bytes::Bytes),
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

/// Starts the thread. It ends after [`Job::Stop`], or when the store fails.
pub fn start(
    mut store: Box<dyn Store>,
    jobs: Receiver<Job>,
    done: impl Fn(Done) + Send + 'static,
) -> JoinHandle<Box<dyn Store>> {
    spawn("disk", move || {
        let mut disk = Disk {
            checkpoints: VecDeque::new(),
        };
        if let Err(error) = disk.run(&mut *store, &jobs, &done) {
            done(Done::Failed(error));
        }
        store
    })
}

struct Disk {
    /// Slices that are still to be written.
    checkpoints: VecDeque<Slices>,
}

impl Disk {
    fn run(
        &mut self,
        store: &mut dyn Store,
        jobs: &Receiver<Job>,
        done: &impl Fn(Done),
    ) -> Result<(), StoreError> {
        loop {
            let job = if self.checkpoints.is_empty() {
                jobs.recv().unwrap_or(Job::Stop)
            } else {
                match jobs.try_recv() {
                    Ok(job) => job,
                    Err(TryRecvError::Disconnected) => Job::Stop,
                    Err(TryRecvError::Empty) => {
                        self.write_slice(store, done)?;
                        continue;
                    }
                }
            };
            match job {
                Job::Log(batch) => {
                    for piece in &batch.pieces {
                        store.write(Database::Log, &rows_of(piece))?;
                    }
                    store.flush(Database::Log)?;
                    done(Done::Log(batch.id));
                }
                Job::Checkpoint(checkpoint) => {
                    self.checkpoints.push_back(checkpoint::slices(&checkpoint));
                }
                Job::PutBlob(hash, bytes) => {
                    store.put_blob(&hash.0, &bytes)?;
                    done(Done::Blob(hash));
                }
                Job::DropBlob(hash) => store.remove_blob(&hash.0)?,
                Job::Keep(number, rows) => {
                    store.write(Database::Zones, &rows)?;
                    store.flush(Database::Zones)?;
                    done(Done::Kept(number));
                }
                Job::Stop => return Ok(()),
            }
        }
    }

    fn write_slice(
        &mut self,
        store: &mut dyn Store,
        done: &impl Fn(Done),
    ) -> Result<(), StoreError> {
        let Some(slices) = self.checkpoints.front_mut() else {
            return Ok(());
        };
        match slices.next() {
            Some(Slice::Write(rows)) => store.write(Database::Zones, &rows),
            Some(Slice::Flush) => store.flush(Database::Zones),
            None => {
                self.checkpoints.pop_front();
                done(Done::Checkpoint);
                Ok(())
            }
        }
    }
}

fn rows_of(piece: &[replication::Row]) -> Vec<Row> {
    piece
        .iter()
        .map(|row| Row {
            tree: row.tree,
            key: row.key.clone(),
            value: row.value.clone(),
        })
        .collect()
}
