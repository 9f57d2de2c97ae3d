//! A disk that forgets what was not flushed, and may keep any prefix of the pieces of a batch.

use super::fold::Version;
use replication::{Batch, BatchId, Entry, EntryId, Row, Stamp};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    rows: BTreeMap<(&'static str, Vec<u8>), Vec<u8>>,
    /// A copy of the newest batch until it is flushed.
    pending: Option<Batch>,
    pub(crate) checkpoint: (Stamp, Version, Vec<u8>),
    /// Every entry that was ever durable here.
    pub(crate) ever: BTreeSet<EntryId>,
}

impl Disk {
    pub(crate) fn new(pieces: Vec<Vec<Row>>, checkpoint: (Stamp, Version, Vec<u8>)) -> Self {
        let mut disk = Self {
            rows: BTreeMap::new(),
            pending: None,
            checkpoint,
            ever: BTreeSet::new(),
        };
        pieces.into_iter().for_each(|piece| disk.apply(piece));
        disk
    }

    pub(crate) fn write(&mut self, batch: Batch) {
        assert!(self.pending.is_none(), "one batch is outstanding at a time");
        for piece in &batch.pieces {
            assert!(piece.len() <= 500, "a piece is bounded");
            assert!(
                piece
                    .iter()
                    .flat_map(|row| &row.value)
                    .all(|value| value.len() <= 6_000)
            );
        }
        self.pending = Some(batch);
    }

    /// The flush has ended.
    pub(crate) fn flush(&mut self, id: BatchId) {
        let batch = self.pending.take_if(|batch| batch.id == id);
        for piece in batch.into_iter().flat_map(|batch| batch.pieces) {
            self.apply(piece);
        }
    }

    /// Power is lost: some prefix of what was being written is there.
    pub(crate) fn crash(&mut self, random: &mut fastrand::Rng) -> bool {
        let Some(batch) = self.pending.take() else {
            return false;
        };
        let kept = random.usize(0..=batch.pieces.len());
        batch
            .pieces
            .into_iter()
            .take(kept)
            .for_each(|piece| self.apply(piece));
        true
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows
            .iter()
            .map(|((tree, key), value)| Row {
                tree,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect()
    }

    fn apply(&mut self, piece: Vec<Row>) {
        for row in piece {
            match row.value {
                Some(value) => {
                    if row.tree == replication::rows::TREE_ENTRIES && value[0] == 0 {
                        let mut bytes = &value[1..];
                        while !bytes.is_empty() {
                            self.ever
                                .insert(Entry::decode(&mut bytes).expect("a row reads").id());
                        }
                    }
                    self.rows.insert((row.tree, row.key), value)
                }
                None => self.rows.remove(&(row.tree, row.key)),
            };
        }
    }
}
