//! A checkpoint as writes to the store: zones, and with them in one commit what belongs to the
//! cluster.
//!
//! ```text
//! chunks of new bases ─▶ flush ─▶ copies of all other rows ─▶ flush ─▶ commit ─▶ flush ─▶ rows in place
//!   nothing refers to them                                   until here the last checkpoint counts
//! ```

use crate::peer::Checkpoint;
use crate::state::State;
use crate::state_rows;
use bytes::{Buf, BufMut, Bytes};
use imbl::ordmap::DiffItem;
use std::collections::VecDeque;
use zones::rows::{RowIter, checkpoint_rows, load};
use zones::staged::{self, stage};
use zones::store::{
    Database, PIECE_ROWS_POLITE, PIECE_SIZE_MAX, Row, Store, StoreError, scan_prefix,
};
use zones::{Name, Version};

/// The tree of what belongs to the cluster as a whole.
const CLUSTER: &str = "cluster";
/// Bytes of one row of it.
const PIECE_SIZE: usize = 5_000;

/// One thing to do for a checkpoint; short enough to be done between two group commits.
#[derive(Debug)]
pub enum Slice {
    /// Write these rows as one piece.
    Write(Vec<Row>),
    /// Make what was written durable.
    Flush,
}

/// The slices of one checkpoint, in order, made while they are written.
pub struct Slices(VecDeque<Part>);

enum Part {
    Rows(std::iter::Peekable<RowIter>),
    Pieces(VecDeque<Vec<Row>>),
    Flush,
}

/// Plans the writing of a checkpoint.
#[must_use]
pub fn slices(checkpoint: &Checkpoint) -> Slices {
    let mut parts = VecDeque::new();
    let mut commit = Vec::new();
    let mut after = Vec::new();
    let previous = checkpoint.previous.zones();
    for item in previous.diff(checkpoint.state.zones()) {
        let (origin, before, current) = match item {
            DiffItem::Add(origin, zone) => (origin, None, zone.version.as_ref()),
            DiffItem::Update { old, new } => {
                (new.0, old.1.version.as_ref(), new.1.version.as_ref())
            }
            DiffItem::Remove(..) => unreachable!("the counters of an origin outlive its zone"),
        };
        // The counters are rows of the cluster. Equal content on another base is another version:
        // the store must not go on speaking of a base that is gone from memory.
        let is_unchanged = match (before, current) {
            (None, None) => true,
            (Some(before), Some(current)) => before.is_identical_to(current),
            _ => false,
        };
        if is_unchanged {
            continue;
        }
        let rows = checkpoint_rows(origin, before, current, &[]);
        parts.push_back(Part::Rows(rows.before.peekable()));
        commit.extend(rows.commit);
        after.push(Part::Rows(rows.after.peekable()));
    }
    commit.extend(cluster_rows(&checkpoint.state, &checkpoint.meta));
    let staged = stage(commit);
    parts.push_back(Part::Flush);
    parts.push_back(Part::Pieces(staged.stage.into()));
    parts.push_back(Part::Flush);
    parts.push_back(Part::Pieces([staged.commit].into()));
    parts.push_back(Part::Flush);
    parts.push_back(Part::Pieces(staged.apply.into()));
    parts.extend(after);
    parts.push_back(Part::Flush);
    Slices(parts)
}

impl Iterator for Slices {
    type Item = Slice;

    fn next(&mut self) -> Option<Slice> {
        loop {
            match self.0.front_mut()? {
                Part::Flush => {
                    self.0.pop_front();
                    return Some(Slice::Flush);
                }
                Part::Pieces(pieces) => {
                    if let Some(piece) = pieces.pop_front() {
                        return Some(Slice::Write(piece));
                    }
                }
                Part::Rows(rows) => {
                    let piece = next_piece(rows);
                    if !piece.is_empty() {
                        return Some(Slice::Write(piece));
                    }
                }
            }
            self.0.pop_front();
        }
    }
}

fn next_piece(rows: &mut std::iter::Peekable<RowIter>) -> Vec<Row> {
    let mut piece = Vec::new();
    let mut size = 0;
    while piece.len() < PIECE_ROWS_POLITE
        && let Some(row) = rows.next_if(|row| size + row.size() <= PIECE_SIZE_MAX)
    {
        size += row.size();
        piece.push(row);
    }
    piece
}

/// `state` and `meta` in rows of their own; the first says how many count.
fn cluster_rows(state: &State, meta: &[u8]) -> Vec<Row> {
    let mut bytes = Vec::new();
    bytes.put_u32(meta.len() as u32);
    bytes.put_slice(meta);
    bytes.put_slice(&state_rows::encode(state));
    let count = bytes.len().div_ceil(PIECE_SIZE) as u32;
    bytes
        .chunks(PIECE_SIZE)
        .zip(0u32..)
        .map(|(chunk, number)| {
            let mut value = Vec::with_capacity(chunk.len() + 4);
            value.put_u32(count);
            value.put_slice(chunk);
            Row::put(CLUSTER, number.to_be_bytes(), value)
        })
        .collect()
}

/// Reads the last checkpoint: the state with its zones, and the replica's part. None if there is
/// none. What a crash left in the middle is finished or dropped first.
pub fn read(store: &mut dyn Store) -> Result<Option<(State, Bytes)>, StoreError> {
    let trees: Vec<&'static str> = zones::rows::TREES.into_iter().chain([CLUSTER]).collect();
    staged::recover(store, Database::Zones, &trees)?;
    let mut zones: std::collections::BTreeMap<Name, Option<Version>> = load(store)?
        .into_iter()
        .map(|zone| (zone.origin, zone.version))
        .collect();
    let mut bytes = Vec::new();
    let mut count = 0;
    for (number, row) in (0u32..).zip(scan_prefix(&*store, Database::Zones, CLUSTER, &[])) {
        let (key, value) = row?;
        let mut rest = &value[..];
        let stated = rest
            .try_get_u32()
            .map_err(|_| corrupt("a row is cut short"))?;
        if number == 0 {
            count = stated;
        }
        if number == count {
            break;
        }
        if key != number.to_be_bytes() || stated != count {
            return Err(corrupt("rows are missing"));
        }
        bytes.extend_from_slice(rest);
    }
    if count == 0 {
        return Ok(None);
    }
    let mut rest = &bytes[..];
    let size = rest
        .try_get_u32()
        .map_err(|_| corrupt("a row is cut short"))? as usize;
    if rest.len() < size {
        return Err(corrupt("rows are missing"));
    }
    let meta = Bytes::copy_from_slice(&rest[..size]);
    let state = state_rows::decode(&rest[size..], |origin| zones.remove(origin).flatten())
        .ok_or_else(|| corrupt("the state of the checkpoint does not fit its zones"))?;
    Ok(Some((state, meta)))
}

fn corrupt(cause: &str) -> StoreError {
    StoreError::Corrupt {
        place: format!("database {}, tree {CLUSTER}", Database::Zones.name()),
        cause: cause.to_owned(),
    }
}
