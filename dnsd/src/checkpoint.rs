//! A checkpoint as writes to the store: zones, and with them in one commit what belongs to the
//! cluster.
//!
//! ```text
//! chunks of new bases ─▶ flush ─▶ copies of all other rows ─▶ flush ─▶ commit ─▶ flush ─▶ rows in place
//!   nothing refers to them                                   until here the last checkpoint counts
//! ```

use crate::peer::Checkpoint;
use crate::state::{State, Zone};
use crate::state_rows;
use bytes::{Buf, BufMut, Bytes};
use imbl::ordmap::DiffItem;
use std::collections::VecDeque;
use zones::Version;
use zones::rows::{RowIter, ZoneRows, checkpoint_rows, load};
use zones::staged::{self, stage};
use zones::store::{
    Database, PIECE_ROWS_POLITE, PIECE_SIZE_MAX, Row, Store, StoreError, scan_prefix,
};

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
    let ZoneRows {
        before,
        commit,
        after,
    } = rows(checkpoint);
    let staged = stage(commit);
    Slices(VecDeque::from([
        Part::Rows(before.peekable()),
        Part::Flush,
        Part::Pieces(staged.stage.into()),
        Part::Flush,
        Part::Pieces([staged.commit].into()),
        Part::Flush,
        Part::Pieces(staged.apply.into()),
        Part::Rows(after.peekable()),
        Part::Flush,
    ]))
}

/// Plans the writing of the first checkpoint of a store. Nothing counts there before the peer's own
/// row, which comes after it, so nothing needs to be staged.
#[must_use]
pub fn first_slices(state: State, meta: Bytes) -> Slices {
    let ZoneRows { before, commit, .. } = rows(&Checkpoint {
        previous: State::empty(),
        state,
        meta,
    });
    let commit: RowIter = Box::new(commit.into_iter());
    Slices(VecDeque::from([
        Part::Rows(before.peekable()),
        Part::Rows(commit.peekable()),
        Part::Flush,
    ]))
}

/// The rows of a checkpoint, as those of one zone: see `zones::rows`.
fn rows(checkpoint: &Checkpoint) -> ZoneRows {
    let (mut before, mut commit, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let previous = checkpoint.previous.zones();
    for item in previous.diff(checkpoint.state.zones()) {
        let (origin, stood, zone) = match item {
            DiffItem::Add(origin, zone) => (origin, None, zone),
            DiffItem::Update { old, new } => (new.0, old.1.version.as_ref(), new.1),
            DiffItem::Remove(..) => unreachable!("the counters of an origin outlive its zone"),
        };
        let counters = state_rows::encode_counters(zone);
        let rows = checkpoint_rows(origin, stood, current_of(stood, zone), &counters);
        before.push(rows.before);
        commit.extend(rows.commit);
        after.push(rows.after);
    }
    let state = state_rows::encode_without_zones(&checkpoint.state);
    commit.extend(cluster_rows(&state, &checkpoint.meta));
    ZoneRows {
        before: Box::new(before.into_iter().flatten()),
        commit,
        after: Box::new(after.into_iter().flatten()),
    }
}

/// What the store is to say of a zone. Where only its counters are others, that is what it says
/// already, though names may have changed and changed back.
fn current_of<'z>(stood: Option<&'z Version>, zone: &'z Zone) -> Option<&'z Version> {
    let current = zone.version.as_ref();
    let is_identical = |stood: &&Version| current.is_some_and(|v| v.is_identical_to(stood));
    stood.filter(is_identical).or(current)
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

/// The bytes of a state and `meta` in rows of their own; the first says how many count.
fn cluster_rows(state: &[u8], meta: &[u8]) -> Vec<Row> {
    let mut bytes = Vec::new();
    bytes.put_u32(meta.len() as u32);
    bytes.put_slice(meta);
    bytes.put_slice(state);
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

/// The trees of the rows that a checkpoint commits to.
pub fn trees() -> impl Iterator<Item = &'static str> {
    zones::rows::TREES.into_iter().chain([CLUSTER])
}

/// Reads the last checkpoint: the state with its zones, and the replica's part. None if there is
/// none. What a crash left in the middle is finished or dropped first.
pub fn read(store: &mut dyn Store) -> Result<Option<(State, Bytes)>, StoreError> {
    let trees: Vec<&'static str> = trees().collect();
    staged::recover(store, Database::Zones, &trees)?;
    let misfit = || corrupt("the state of the checkpoint does not fit its zones");
    let mut zones = Vec::new();
    load(store, |zone| {
        let known = state_rows::decode_zone(&zone.attached, zone.version);
        zones.push((zone.origin, known.ok_or_else(misfit)?));
        Ok(())
    })?;
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
    let (mut state, count) = state_rows::decode_without_zones(&rest[size..]).ok_or_else(misfit)?;
    if zones.len() != count {
        return Err(corrupt("zones are missing"));
    }
    state.put_zones(zones);
    Ok(Some((state, meta)))
}

fn corrupt(cause: &str) -> StoreError {
    StoreError::Corrupt {
        place: format!("database {}, tree {CLUSTER}", Database::Zones.name()),
        cause: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zones::{MemoryStore, Name};

    fn zone(version: Option<Version>, counted: u64) -> Zone {
        Zone {
            version,
            counted,
            offset: Some(7),
            settings: None,
            fed: None,
        }
    }

    fn state() -> State {
        let mut state = State::empty();
        for n in 0..300 {
            let origin: Name = format!("z{n}.test").parse().unwrap();
            let version = Version::from_records(&origin, &[]).unwrap();
            state.put_zone(origin, zone(Some(version), n));
        }
        state.put_zone("gone.test".parse().unwrap(), zone(None, 9));
        state
    }

    fn write(store: &mut MemoryStore, rows: impl Iterator<Item = Row>) {
        for row in rows {
            store.write(Database::Zones, &[row]).unwrap();
        }
        store.flush(Database::Zones).unwrap();
    }

    fn check(store: &mut MemoryStore) {
        let (read, meta) = read(store).unwrap().unwrap();
        assert_eq!(meta.as_ref(), b"meta");
        let state = state();
        assert_eq!(read.zone_count(), 300);
        assert_eq!(read.zones().len(), state.zones().len());
        for (origin, zone) in state.zones() {
            let found = &read.zones()[origin];
            let counters = |zone: &Zone| (zone.version.is_some(), zone.counted, zone.offset);
            assert_eq!(counters(found), counters(zone), "{origin}");
            assert_eq!(read.serial(origin), state.serial(origin));
        }
    }

    #[test]
    fn a_first_checkpoint_reads_back_and_a_lost_zone_is_missed() {
        let mut store = MemoryStore::new(1);
        for slice in first_slices(state(), Bytes::from_static(b"meta")) {
            match slice {
                Slice::Write(rows) => store.write(Database::Zones, &rows).unwrap(),
                Slice::Flush => store.flush(Database::Zones).unwrap(),
            }
        }
        check(&mut store);
        let zones = scan_prefix(&store, Database::Zones, "zone", &[]);
        let (key, _) = zones.last().unwrap().unwrap();
        write(&mut store, [Row::delete("zone", key)].into_iter());
        assert!(matches!(read(&mut store), Err(StoreError::Corrupt { .. })));
    }
}
