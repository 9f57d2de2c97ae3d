//! The disk of one host and what is to be done on it, in the order of `dnsd::io::disk`: log batches
//! first, slices of a checkpoint between them. It outlives the process.

use dnsd::checkpoint::{self, Slice, Slices};
use dnsd::disk::{Done, Job};
use replication::rows::TREE_ENTRIES;
use replication::{BatchId, BlobHash, Digest, Entry};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use zones::memory_store::MemoryStore;
use zones::store::{Database, PIECE_ROWS_MAX, Row, Store, pieces, scan_prefix};

pub(crate) struct Disk {
    pub(crate) store: MemoryStore,
    jobs: VecDeque<Job>,
    checkpoints: VecDeque<Slices>,
    doing: Option<Doing>,
    /// The next flush of the log takes this long.
    hang: Option<Duration>,
    /// Requests whose entries a loss of power cannot take away.
    pub(crate) durable: BTreeSet<Digest>,
}

/// What is done when the time for it has passed.
enum Doing {
    Log(BatchId, Vec<Digest>),
    Slice(Slice),
    /// The last slice of a checkpoint is written.
    CheckpointEnd,
    PutBlob(BlobHash, bytes::Bytes),
    Keep(u64),
    History,
}

/// How slow the disks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    pub(crate) flush_millis: u64,
    /// Of a thousand flushes.
    pub(crate) stalls: u32,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            store: MemoryStore::new(seed),
            jobs: VecDeque::new(),
            checkpoints: VecDeque::new(),
            doing: None,
            hang: None,
            durable: BTreeSet::new(),
        }
    }

    pub(crate) fn push(&mut self, job: Job) {
        match job {
            Job::Checkpoint(checkpoint) => {
                self.checkpoints.push_back(checkpoint::slices(&checkpoint));
            }
            job => self.jobs.push_back(job),
        }
    }

    /// The next flush of the log takes this long.
    pub(crate) fn hang(&mut self, lasts: Duration) {
        self.hang = Some(lasts);
    }

    /// The blobs that a loss of power would leave.
    pub(crate) fn blobs(&self) -> Vec<BlobHash> {
        let blobs = self.store.blobs().expect("no fault");
        blobs.into_iter().map(BlobHash).collect()
    }

    /// Begins the next thing, if nothing is being done: how long it takes.
    pub(crate) fn begin(&mut self, speed: Speed, random: &mut fastrand::Rng) -> Option<Duration> {
        if self.doing.is_some() {
            return None;
        }
        let doing = match self.jobs.pop_front() {
            Some(Job::Log(batch)) => {
                let mut digests = Vec::new();
                for piece in &batch.pieces {
                    digests.extend(piece.iter().flat_map(digests_in));
                    let rows: Vec<Row> = piece.iter().map(store_row).collect();
                    self.store.write(Database::Log, &rows).expect("no fault");
                }
                Doing::Log(batch.id, digests)
            }
            Some(Job::PutBlob(hash, bytes)) => Doing::PutBlob(hash, bytes),
            Some(Job::Keep(number, rows)) => {
                self.store.write(Database::Zones, &rows).expect("no fault");
                Doing::Keep(number)
            }
            Some(Job::History(rows)) => {
                for piece in pieces(rows, PIECE_ROWS_MAX) {
                    self.store
                        .write(Database::History, &piece)
                        .expect("no fault");
                }
                Doing::History
            }
            Some(Job::DropBlob(hash)) => {
                self.store.remove_blob(&hash.0).expect("no fault");
                return self.begin(speed, random);
            }
            Some(Job::Checkpoint(_) | Job::Stop) => unreachable!("never put among the jobs"),
            None => self.next_slice()?,
        };
        let micros = match &doing {
            Doing::Slice(Slice::Write(_)) | Doing::CheckpointEnd => random.u64(50..2_000),
            _ if random.u32(0..1_000) < speed.stalls => random.u64(700_000..2_500_000),
            _ => random.u64(200..=speed.flush_millis * 1_000),
        };
        let hang = match &doing {
            Doing::Log(..) => self.hang.take(),
            _ => None,
        };
        self.doing = Some(doing);
        Some(hang.unwrap_or_else(|| Duration::from_micros(micros)))
    }

    /// The time has passed; what the process is told.
    pub(crate) fn finish(&mut self) -> Option<Done> {
        let store = &mut self.store;
        match self.doing.take()? {
            Doing::Log(batch, digests) => {
                store.flush(Database::Log).expect("no fault");
                self.durable.extend(digests);
                Some(Done::Log(batch))
            }
            Doing::Slice(Slice::Write(rows)) => {
                store.write(Database::Zones, &rows).expect("no fault");
                None
            }
            Doing::Slice(Slice::Flush) => {
                store.flush(Database::Zones).expect("no fault");
                None
            }
            Doing::CheckpointEnd => Some(Done::Checkpoint),
            Doing::PutBlob(hash, bytes) => {
                store.put_blob(&hash.0, &bytes).expect("no fault");
                Some(Done::Blob(hash))
            }
            Doing::Keep(number) => {
                store.flush(Database::Zones).expect("no fault");
                Some(Done::Kept(number))
            }
            Doing::History => {
                store.flush(Database::History).expect("no fault");
                None
            }
        }
    }

    /// The batch under way: a lying driver tells of it now.
    pub(crate) fn begun_batch(&self) -> Option<BatchId> {
        match &self.doing {
            Some(Doing::Log(batch, _)) => Some(*batch),
            _ => None,
        }
    }

    /// The process dies, or the power fails: what was not flushed may be gone.
    pub(crate) fn crash(&mut self) {
        self.jobs.clear();
        self.checkpoints.clear();
        self.doing = None;
        self.hang = None;
        self.store.crash();
        // Pieces that were written but not flushed may have come through.
        self.count_durable();
    }

    /// Counts what the rows hold that were not written by jobs.
    pub(crate) fn count_durable(&mut self) {
        for row in scan_prefix(&self.store, Database::Log, TREE_ENTRIES, &[]) {
            let (key, value) = row.expect("no fault");
            let row = replication::Row {
                tree: TREE_ENTRIES,
                key,
                value: Some(value),
            };
            self.durable.extend(digests_in(&row));
        }
    }

    fn next_slice(&mut self) -> Option<Doing> {
        match self.checkpoints.front_mut()?.next() {
            Some(slice) => Some(Doing::Slice(slice)),
            None => {
                self.checkpoints.pop_front();
                Some(Doing::CheckpointEnd)
            }
        }
    }
}

fn store_row(row: &replication::Row) -> Row {
    Row {
        tree: row.tree,
        key: row.key.clone(),
        value: row.value.clone(),
    }
}

/// The requests of the entries that a row of the log packs.
fn digests_in(row: &replication::Row) -> Vec<Digest> {
    let mut digests = Vec::new();
    if let Some(value) = &row.value
        && row.tree == TREE_ENTRIES
        && value[0] == 0
    {
        let mut rest = &value[1..];
        while !rest.is_empty() {
            let entry = Entry::decode(&mut rest).expect("a row reads");
            digests.extend(entry.digest);
        }
    }
    digests
}
