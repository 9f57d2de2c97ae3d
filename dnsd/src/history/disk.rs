//! Steps as rows of the store, in the order in which they were published.
//!
//! ```text
//! tree "steps"    number u64 → kind u8, bytes        steps that are gone: the rows in front are removed
//! bytes           whole steps, each with its size u32 before it; or a part of one that is larger
//! ```
//! After a crash any number of the last rows may be missing. A step of which a part is missing is
//! none: the steps after it do not go on from where the one before it ended.

use super::{AGE_MAX, Step};
use bytes::{Buf, BufMut};
use replication::Stamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use zones::Name;
use zones::store::{Database, Row, Store, StoreError, scan_prefix};

const TREE: &str = "steps";
/// Bytes of one row.
const ROW_SIZE: usize = 5_000;
/// What all rows may take: what comes back into memory at a start, and no more.
const ROWS_SIZE_MAX: usize = 48 << 20;

const WHOLE: u8 = 0;
const FIRST: u8 = 1;
const MIDDLE: u8 = 2;
const LAST: u8 = 3;

/// The trees of this database.
pub fn trees() -> [&'static str; 1] {
    [TREE]
}

/// What the store holds.
#[derive(Default)]
pub struct Found {
    /// The steps, oldest first.
    pub(super) steps: Vec<(Name, Step)>,
    pub(super) rows: DiskRows,
}

/// Which rows there are.
#[derive(Default)]
pub(super) struct DiskRows {
    rows: VecDeque<DiskRow>,
    size: usize,
    next: u64,
    last: Option<Stamp>,
}

struct DiskRow {
    number: u64,
    size: usize,
    /// The newest step in it, or of which it is a part.
    newest: Stamp,
}

impl DiskRows {
    /// The newest step that is written.
    pub(super) fn last(&self) -> Option<Stamp> {
        self.last
    }

    /// The rows of these steps, and the removal of those that must go.
    pub(super) fn write(&mut self, steps: &[(Name, Arc<Step>)], wall: Duration) -> Vec<Row> {
        let mut out = Vec::new();
        let mut gathered = vec![WHOLE];
        let mut newest = Stamp::ZERO;
        let mut encoded = Vec::new();
        for (origin, step) in steps {
            encoded.clear();
            step.encode(origin, &mut encoded);
            if gathered.len() + size_of::<u32>() + encoded.len() > ROW_SIZE && gathered.len() > 1 {
                out.push(self.row(std::mem::replace(&mut gathered, vec![WHOLE]), newest));
            }
            newest = step.stamp;
            if encoded.len() + size_of::<u32>() < ROW_SIZE {
                gathered.put_u32(encoded.len() as u32);
                gathered.put_slice(&encoded);
            } else {
                let count = encoded.chunks(ROW_SIZE).len();
                for (number, chunk) in encoded.chunks(ROW_SIZE).enumerate() {
                    let kind = match number {
                        0 => FIRST,
                        _ if number + 1 < count => MIDDLE,
                        _ => LAST,
                    };
                    out.push(self.row([&[kind], chunk].concat(), newest));
                }
            }
            self.last = self.last.max(Some(newest));
        }
        if gathered.len() > 1 {
            out.push(self.row(gathered, newest));
        }
        while let Some(row) = self.rows.front()
            && (self.size > ROWS_SIZE_MAX || row.newest.hybrid.wall() + AGE_MAX < wall)
        {
            out.push(Row::delete(TREE, row.number.to_be_bytes()));
            self.size -= row.size;
            self.rows.pop_front();
        }
        out
    }

    fn row(&mut self, value: Vec<u8>, newest: Stamp) -> Row {
        let number = self.next;
        self.note(number, value.len(), newest);
        Row::put(TREE, number.to_be_bytes(), value)
    }

    fn note(&mut self, number: u64, size: usize, newest: Stamp) {
        self.next = number + 1;
        self.size += size;
        self.rows.push_back(DiskRow {
            number,
            size,
            newest,
        });
    }
}

/// Reads all steps.
pub fn read(store: &dyn Store) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut parts: Option<Vec<u8>> = None;
    for row in scan_prefix(store, Database::History, TREE, &[]) {
        let (key, value) = row?;
        let number = <[u8; 8]>::try_from(key).map_err(|_| corrupt())?;
        let number = u64::from_be_bytes(number);
        let (kind, bytes) = value.split_first().ok_or_else(corrupt)?;
        // A part that does not follow the one before it belongs to a step that a crash cut short.
        let follows = found.rows.next == number;
        match (*kind, parts.take()) {
            (WHOLE, _) => found.take_whole(bytes)?,
            (FIRST, _) => parts = Some(bytes.to_vec()),
            (MIDDLE, Some(before)) if follows => parts = Some([&before, bytes].concat()),
            (LAST, Some(before)) if follows => found.take(&[&before, bytes].concat())?,
            (MIDDLE | LAST, _) => {}
            _ => return Err(corrupt()),
        }
        let newest = found.rows.last.unwrap_or(Stamp::ZERO);
        found.rows.note(number, value.len(), newest);
    }
    Ok(found)
}

impl Found {
    fn take_whole(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let size = bytes.try_get_u32().map_err(|_| corrupt())? as usize;
            let (step, rest) = bytes.split_at_checked(size).ok_or_else(corrupt)?;
            self.take(step)?;
            bytes = rest;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let step = Step::decode(bytes).ok_or_else(corrupt)?;
        self.rows.last = self.rows.last.max(Some(step.1.stamp));
        self.steps.push(step);
        Ok(())
    }
}

fn corrupt() -> StoreError {
    StoreError::Corrupt {
        place: format!("database {}, tree {TREE}", Database::History.name()),
        cause: "a row does not decode".to_owned(),
    }
}
