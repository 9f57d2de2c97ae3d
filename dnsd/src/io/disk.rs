//! The disk thread: the one writer of the store.
//!
//! Log batches come first: a checkpoint and blobs are written in slices between them, so that no
//! answer waits longer than for one slice (a few milliseconds).

use crate::checkpoint::{self, Slice, Slices};
use crate::disk::{Done, Job};
use crate::io::clock::spawn;
use crate::io::memory;
use replication::BlobHash;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use zones::store::{Database, PIECE_ROWS_MAX, Row, Store, StoreError, pieces};

/// Starts the thread. It ends after [`Job::Stop`], or when the store fails.
pub fn start(
    mut store: Box<dyn Store>,
    jobs: Receiver<Job>,
    done: impl Fn(Done) + Send + 'static,
) -> JoinHandle<Box<dyn Store>> {
    spawn("disk", move || {
        let mut disk = Disk {
            checkpoints: VecDeque::new(),
            written: 0,
            blobs: VecDeque::new(),
            turn: Turn::Checkpoint,
        };
        if let Err(error) = disk.run(&mut *store, &jobs, &done) {
            done(Done::Failed(error));
        }
        store
    })
}

/// What of a blob is written at once: some milliseconds for an ordinary disk.
const BLOB_SLICE_SIZE: usize = 1 << 20;
/// After a checkpoint that wrote more, a large zone came in: what that took is given back.
const SHED_SIZE: usize = 8 << 20;

struct Disk {
    /// Slices that are still to be written.
    checkpoints: VecDeque<Slices>,
    /// Bytes of the first of them that are written.
    written: usize,
    /// What is still to be done with blobs, in order.
    blobs: VecDeque<BlobJob>,
    /// Whose turn it is when no batch waits.
    turn: Turn,
}

enum BlobJob {
    /// What stands in front of `at` is written.
    Put {
        hash: BlobHash,
        bytes: bytes::Bytes,
        at: usize,
    },
    Drop(BlobHash),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Checkpoint,
    Blob,
}

impl Disk {
    fn run(
        &mut self,
        store: &mut dyn Store,
        jobs: &Receiver<Job>,
        done: &impl Fn(Done),
    ) -> Result<(), StoreError> {
        loop {
            let job = if self.checkpoints.is_empty() && self.blobs.is_empty() {
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
                Job::History(rows) => {
                    for piece in pieces(rows, PIECE_ROWS_MAX) {
                        store.write(Database::History, &piece)?;
                    }
                    store.flush(Database::History)?;
                }
                Job::PutBlob(hash, bytes) => {
                    self.blobs.push_back(BlobJob::Put { hash, bytes, at: 0 });
                }
                Job::DropBlob(hash) => self.blobs.push_back(BlobJob::Drop(hash)),
                Job::Keep(number, rows) => {
                    store.write(Database::Zones, &rows)?;
                    store.flush(Database::Zones)?;
                    done(Done::Kept(number));
                }
                Job::Stop => return Ok(()),
            }
        }
    }

    /// A checkpoint and a blob take turns: neither waits for the whole of the other.
    fn write_slice(
        &mut self,
        store: &mut dyn Store,
        done: &impl Fn(Done),
    ) -> Result<(), StoreError> {
        self.turn = match self.turn {
            Turn::Checkpoint if !self.blobs.is_empty() => Turn::Blob,
            Turn::Blob if self.checkpoints.is_empty() => Turn::Blob,
            Turn::Checkpoint | Turn::Blob => Turn::Checkpoint,
        };
        match self.turn {
            Turn::Checkpoint => self.write_checkpoint_slice(store, done),
            Turn::Blob => self.write_blob_slice(store, done),
        }
    }

    fn write_blob_slice(
        &mut self,
        store: &mut dyn Store,
        done: &impl Fn(Done),
    ) -> Result<(), StoreError> {
        match self.blobs.front_mut() {
            None => Ok(()),
            Some(BlobJob::Drop(hash)) => {
                store.remove_blob(&hash.0)?;
                self.blobs.pop_front();
                Ok(())
            }
            Some(BlobJob::Put { hash, bytes, at }) => {
                let end = bytes.len().min(*at + BLOB_SLICE_SIZE);
                store.write_blob(&hash.0, *at, &bytes[*at..end])?;
                *at = end;
                if end == bytes.len() {
                    store.finish_blob(&hash.0)?;
                    done(Done::Blob(*hash));
                    self.blobs.pop_front();
                }
                Ok(())
            }
        }
    }

    fn write_checkpoint_slice(
        &mut self,
        store: &mut dyn Store,
        done: &impl Fn(Done),
    ) -> Result<(), StoreError> {
        let Some(slices) = self.checkpoints.front_mut() else {
            return Ok(());
        };
        match slices.next() {
            Some(Slice::Write(rows)) => {
                self.written += rows.iter().map(Row::size).sum::<usize>();
                store.write(Database::Zones, &rows)
            }
            Some(Slice::Flush) => store.flush(Database::Zones),
            None => {
                self.checkpoints.pop_front();
                done(Done::Checkpoint);
                if std::mem::take(&mut self.written) > SHED_SIZE {
                    store.shed(Database::Zones)?;
                    memory::give_back();
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use replication::{Batch, BatchId};
    use std::sync::mpsc::channel;
    use zones::memory_store::MemoryStore;

    /// What is done, in order, if all these jobs wait at once.
    fn check(jobs: Vec<Job>, expected: &[&str]) {
        let (sender, receiver) = channel();
        for job in jobs {
            sender.send(job).unwrap();
        }
        let (told, heard) = channel();
        let left = std::sync::Mutex::new((expected.len(), Some(sender)));
        let disk = start(Box::new(MemoryStore::new(1)), receiver, move |done| {
            told.send(format!("{done:?}")).unwrap();
            let (count, sender) = &mut *left.lock().unwrap();
            *count -= 1;
            if *count == 0 {
                sender.take().unwrap().send(Job::Stop).unwrap();
            }
        });
        let heard: Vec<String> = heard.iter().collect();
        assert_eq!(heard, expected);
        disk.join().unwrap();
    }

    fn log(number: u64) -> Job {
        Job::Log(Batch {
            id: BatchId(number),
            pieces: Vec::new(),
        })
    }

    #[test]
    fn updates_do_not_wait_for_a_large_blob_and_blobs_keep_their_order() {
        let large = Bytes::from(vec![7; 5 * BLOB_SLICE_SIZE + 1]);
        let hash = |number| BlobHash([number; 32]);
        let small = Bytes::from_static(b"small");
        check(
            vec![
                Job::PutBlob(hash(1), large),
                Job::PutBlob(hash(2), small.clone()),
                Job::DropBlob(hash(2)),
                log(1),
                Job::PutBlob(hash(3), small),
                log(2),
            ],
            &[
                "Log(BatchId(1))",
                "Log(BatchId(2))",
                &format!("Blob({:?})", hash(1)),
                &format!("Blob({:?})", hash(2)),
                &format!("Blob({:?})", hash(3)),
            ],
        );
    }
}
