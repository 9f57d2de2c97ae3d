//! Versions of zones as rows of the database `zones`.
//!
//! ```text
//! zone     zone id                          → origin, base id, chunks, what the caller attached
//! base     zone id, base id, chunk, piece   → the bytes of a chunk
//! changed  zone id, base id, key, piece     → the bytes of a changed node; none: the name is gone
//! ```
//! A base is called by its content, so a new one never overwrites the one that counts: its chunks
//! are written first, then the zone row is committed, then the rows of the old one go away.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use crate::base::{Base, BaseId, Chunks};
use crate::changes::{Change, Changes};
use crate::name::Name;
use crate::node;
use crate::store::{
    Database, KeyValue, PIECE_ROWS_MAX, Row, Scan, Store, StoreError, VALUE_SIZE_MAX, pieces,
};
use crate::tree::{Keyed, Tree};
use crate::version::Version;

/// The rows by which the store says `current` of a zone where it said `previous`.
pub struct ZoneRows {
    /// The chunks of a new base, to be written before the commit. Nothing refers to them yet.
    pub before: RowIter,
    /// To be committed together with those of all other zones; see `staged`.
    pub commit: Vec<Row>,
    /// Deletes the rows of a base that is no longer referred to, after the commit.
    pub after: RowIter,
}

/// Rows made while they are written: a large base is never held twice.
pub type RowIter = Box<dyn Iterator<Item = Row> + Send>;

/// A zone as it stands in the store.
#[derive(Clone, Debug)]
pub struct StoredZone {
    /// The apex.
    pub origin: Name,
    /// The version of the checkpoint; none if only something attached stands there.
    pub version: Option<Version>,
    /// What the caller attached.
    pub attached: Vec<u8>,
}

/// All trees that `checkpoint_rows` commits to, for `staged::recover`.
pub const TREES: [&str; 2] = [ZONE, CHANGED];

/// The rows by which a checkpoint says `current` where the store says `previous`: the version
/// that was written or loaded last (one that merely equals it may have another base, which the
/// store does not hold). Without a current version only what is attached is kept.
#[must_use]
pub fn checkpoint_rows(
    origin: &Name,
    previous: Option<&Version>,
    current: Option<&Version>,
    attached: &[u8],
) -> ZoneRows {
    let zone = zone_id(origin);
    let row = Row::put(ZONE, zone, encode_zone(origin, current, attached));
    let mut rows = ZoneRows {
        before: Box::new(std::iter::empty()),
        commit: vec![row],
        after: Box::new(std::iter::empty()),
    };
    match (previous, current) {
        (Some(previous), Some(current)) if is_same_base(previous, current) => {
            changed_rows(zone, previous, current, &mut rows.commit);
        }
        _ => {
            if let Some(current) = current {
                rows.before = Box::new(all_rows(zone, current));
            }
            if let Some(previous) = previous {
                rows.after =
                    Box::new(all_rows(zone, previous).map(|row| Row { value: None, ..row }));
            }
        }
    }
    rows
}

/// The rows by which the store forgets a zone and what is attached to it.
#[must_use]
pub fn forget_rows(origin: &Name, previous: Option<&Version>) -> ZoneRows {
    let mut rows = checkpoint_rows(origin, previous, None, &[]);
    rows.commit = vec![Row::delete(ZONE, zone_id(origin))];
    rows
}

/// Reads all zones, gives each to `take`, and removes rows that an unfinished checkpoint left.
/// `staged::recover` ran before.
///
/// The three trees are in the order of zone ids: each is read once, from its start to its end. What is
/// read of small zones is gathered in one run of bytes, and made to zones when the store has given back
/// what it took for the reading: else the zones stand in its memory like fence posts. For the same
/// reason `take` gets them one by one: what is attached is gone before the next zone is made.
pub fn load(
    store: &mut dyn Store,
    mut take: impl FnMut(StoredZone) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut gathered = Gathered::default();
    let mut bases = TreeReader::new(store, BASE);
    let mut changes = TreeReader::new(store, CHANGED);
    for row in store.scan(Database::Zones, ZONE, &[]) {
        let (key, value) = row?;
        let Some((origin, base, attached)) = decode_zone(&value) else {
            return Err(corrupt(ZONE, &key, "not a zone row"));
        };
        let zone = zone_id(&origin);
        if key != zone {
            return Err(corrupt(ZONE, &key, "the row of another zone"));
        }
        let version = match base {
            None => None,
            Some((id, chunks)) => {
                let prefix = base_prefix(zone, id);
                bases.go_to(&prefix)?;
                changes.go_to(&prefix)?;
                let chunks = load_chunks(&mut bases, &prefix, chunks)?;
                if chunks.bytes().len() <= SIZE_SMALL && !changes.is_at(&prefix) {
                    gathered.push(&value, &chunks);
                    continue;
                }
                let base = make_base(&origin, &prefix, chunks)?;
                base.set_id(id);
                Some(load_changes(&mut changes, base, &prefix)?)
            }
        };
        take(StoredZone {
            origin,
            version,
            attached,
        })?;
    }
    let unreferred = [bases.finish()?, changes.finish()?].concat();
    for piece in pieces(unreferred, PIECE_ROWS_MAX) {
        store.write(Database::Zones, &piece)?;
    }
    store.shed(Database::Zones)?;
    for (row, chunks) in gathered.iter() {
        let (origin, base, attached) = decode_zone(row).expect("it did before");
        let (id, _) = base.expect("it has chunks");
        let base = make_base(&origin, &base_prefix(zone_id(&origin), id), chunks)?;
        take(StoredZone {
            origin,
            version: Some(Version::from_base(Arc::new(base))),
            attached,
        })?;
    }
    Ok(())
}

/// What was read of many small zones.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where the zone row of each ends, and its chunks.
    zones: Vec<(usize, usize)>,
    /// Where chunks begin, and whose they are.
    starts: Vec<(u32, usize)>,
}

impl Gathered {
    fn push(&mut self, row: &[u8], chunks: &Chunks) {
        let number = self.zones.len() as u32;
        self.bytes.extend_from_slice(row);
        let row_end = self.bytes.len();
        let starts = chunks.starts().map(|start| (number, start));
        self.starts.extend(starts);
        self.bytes.extend_from_slice(chunks.bytes());
        self.zones.push((row_end, self.bytes.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], Chunks)> {
        let ends = std::iter::once(0).chain(self.zones.iter().map(|(_, end)| *end));
        let mut starts = self.starts.iter().peekable();
        (0..)
            .zip(ends.zip(&self.zones))
            .map(move |(number, (begin, (row_end, end)))| {
                let mut chunks = Chunks::default();
                let of_zone = std::iter::from_fn(|| starts.next_if(|(zone, _)| *zone == number));
                chunks.set(
                    &self.bytes[*row_end..*end],
                    of_zone.map(|(_, start)| *start),
                );
                (&self.bytes[begin..*row_end], chunks)
            })
    }
}

/// Reads a tree once, and gathers the rows that nobody asks for.
struct TreeReader<'s> {
    tree: &'static str,
    rows: Peekable<Scan<'s>>,
    unreferred: Vec<Row>,
}

impl<'s> TreeReader<'s> {
    fn new(store: &'s dyn Store, tree: &'static str) -> Self {
        Self {
            tree,
            rows: store.scan(Database::Zones, tree, &[]).peekable(),
            unreferred: Vec::new(),
        }
    }

    /// Goes to the first row whose key is `prefix` or greater.
    fn go_to(&mut self, prefix: &[u8]) -> Result<(), StoreError> {
        let is_before = |row: &Result<KeyValue, StoreError>| match row {
            Ok((key, _)) => key.as_slice() < prefix,
            Err(_) => true,
        };
        while let Some(row) = self.rows.next_if(is_before) {
            self.unreferred.push(Row::delete(self.tree, row?.0));
        }
        Ok(())
    }

    /// True if the key of the next row begins with `prefix`, or there is trouble to be told.
    fn is_at(&mut self, prefix: &[u8]) -> bool {
        self.rows.peek().is_some_and(|row| match row {
            Ok((key, _)) => key.starts_with(prefix),
            Err(_) => true,
        })
    }

    /// The next row, if its key begins with `prefix`.
    fn next_of(&mut self, prefix: &[u8]) -> Option<Result<KeyValue, StoreError>> {
        self.rows.next_if(|row| match row {
            Ok((key, _)) => key.starts_with(prefix),
            Err(_) => true,
        })
    }

    /// What nobody has asked for, as rows that delete it.
    fn finish(mut self) -> Result<Vec<Row>, StoreError> {
        for row in self.rows {
            self.unreferred.push(Row::delete(self.tree, row?.0));
        }
        Ok(self.unreferred)
    }
}

fn load_chunks(
    rows: &mut TreeReader<'_>,
    prefix: &[u8],
    chunks_expected: u32,
) -> Result<Chunks, StoreError> {
    let mut chunks = Chunks::default();
    let mut pieces_read = 0;
    while let Some(row) = rows.next_of(prefix) {
        let (key, value) = row?;
        let at = key
            .get(prefix.len()..)
            .and_then(<[u8]>::first_chunk)
            .zip(key.last_chunk());
        let (chunk, piece) = at.ok_or_else(|| corrupt(BASE, &key, "a key cut short"))?;
        let (chunk, piece) = (
            u32::from_be_bytes(*chunk) as usize,
            u16::from_be_bytes(*piece),
        );
        if piece == 0 {
            chunks.push(&value);
            pieces_read = 0;
        } else {
            chunks.extend_last(&value);
        }
        if chunk + 1 != chunks.len() || piece != pieces_read {
            return Err(corrupt(BASE, &key, "rows before it are missing"));
        }
        pieces_read += 1;
    }
    if chunks.len() != chunks_expected as usize {
        return Err(corrupt(BASE, prefix, "chunks are missing"));
    }
    Ok(chunks)
}

fn make_base(origin: &Name, prefix: &[u8], chunks: Chunks) -> Result<Base, StoreError> {
    Base::from_chunks(origin.clone(), chunks)
        .map_err(|bad| corrupt(BASE, prefix, &format!("chunk {} is damaged", bad.0)))
}

fn load_changes(
    rows: &mut TreeReader<'_>,
    base: Base,
    prefix: &[u8],
) -> Result<Version, StoreError> {
    let mut version = Version::from_base(Arc::new(base));
    let mut changed: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    while let Some(row) = rows.next_of(prefix) {
        let (mut key, value) = row?;
        let end = key
            .len()
            .checked_sub(PIECE_NUMBER_SIZE)
            .filter(|end| *end >= prefix.len());
        let end = end.ok_or_else(|| corrupt(CHANGED, &key, "a key cut short"))?;
        key.truncate(end);
        // The pieces of one node come in order, whatever stands between them.
        changed
            .entry(key.split_off(prefix.len()))
            .or_default()
            .extend_from_slice(&value);
    }
    for (key, bytes) in changed {
        if !bytes.is_empty() {
            let is_whole = node::check(version.origin(), &bytes) == Some(bytes.len());
            if !is_whole || node::key_of(&bytes).as_bytes() != key {
                return Err(corrupt(CHANGED, &key, "not the node of its name"));
            }
        } else if key.is_empty() {
            return Err(corrupt(CHANGED, prefix, "the apex is gone"));
        }
        version.put(&key, (!bytes.is_empty()).then_some(&bytes));
    }
    Ok(version)
}

fn is_same_base(previous: &Version, current: &Version) -> bool {
    Arc::ptr_eq(previous.base(), current.base()) || previous.base().id() == current.base().id()
}

/// All rows of a version but its zone row.
fn all_rows(zone: ZoneId, version: &Version) -> impl Iterator<Item = Row> + use<> {
    let prefix = base_prefix(zone, version.base().id());
    let changed: Vec<Change> = version.changes().iter().cloned().collect();
    let base = version.base().clone();
    let changed_prefix = prefix.clone();
    let chunks = (0..base.chunk_count()).flat_map(move |number| {
        let key = [prefix.as_slice(), &(number as u32).to_be_bytes()].concat();
        value_rows(BASE, &key, base.chunk(number))
    });
    let changed = changed.into_iter().flat_map(move |change| {
        value_rows(
            CHANGED,
            &[&changed_prefix, change.key()].concat(),
            node_of(&change),
        )
    });
    chunks.chain(changed)
}

/// The rows of the names that changed between two versions of one base.
fn changed_rows(zone: ZoneId, previous: &Version, current: &Version, rows: &mut Vec<Row>) {
    let prefix = base_prefix(zone, current.base().id());
    let (old, new): (&Changes, &Changes) = (previous.changes(), current.changes());
    Tree::difference(old, new, |before, after| {
        if before.map(node_of) == after.map(node_of) {
            return;
        }
        let name = before.or(after).expect("one side has the name");
        let key = [&prefix, name.key()].concat();
        let put = after.map(|change| value_rows(CHANGED, &key, node_of(change)));
        let put = put.unwrap_or_default();
        let stood = before.map(|change| value_rows(CHANGED, &key, node_of(change)));
        let stood = stood.unwrap_or_default().into_iter().skip(put.len());
        rows.extend(put);
        rows.extend(stood.map(|row| Row { value: None, ..row }));
    });
}

/// The bytes that stand in the store for a changed name; none at all if it is gone.
fn node_of(change: &Change) -> &[u8] {
    change.node().unwrap_or_default()
}

/// A value of any size as rows; at least one.
fn value_rows(tree: &'static str, key: &[u8], value: &[u8]) -> Vec<Row> {
    let count = value.len().div_ceil(VALUE_SIZE_MAX).max(1);
    assert!(count <= usize::from(u16::MAX), "a node is far smaller");
    (0..count)
        .map(|piece| {
            let start = piece * VALUE_SIZE_MAX;
            let end = value.len().min(start + VALUE_SIZE_MAX);
            let key = [key, &(piece as u16).to_be_bytes()].concat();
            Row::put(tree, key, &value[start..end])
        })
        .collect()
}

/// A zone is called by its origin in lower case: the first half of the SHA-256.
fn zone_id(origin: &Name) -> ZoneId {
    let lower = origin.to_lowercase();
    let digest = ring::digest::digest(&ring::digest::SHA256, lower.as_wire());
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

fn base_prefix(zone: ZoneId, base: BaseId) -> Vec<u8> {
    [zone, base].concat()
}

fn encode_zone(origin: &Name, version: Option<&Version>, attached: &[u8]) -> Vec<u8> {
    let mut bytes = origin.as_wire().to_vec();
    match version {
        None => bytes.push(0),
        Some(version) => {
            bytes.push(1);
            bytes.extend_from_slice(&version.base().id());
            bytes.extend_from_slice(&(version.base().chunk_count() as u32).to_be_bytes());
        }
    }
    bytes.extend_from_slice(attached);
    bytes
}

type DecodedZone = (Name, Option<(BaseId, u32)>, Vec<u8>);

fn decode_zone(bytes: &[u8]) -> Option<DecodedZone> {
    let origin = Name::from_wire(bytes).ok()?;
    let (tag, rest) = bytes[origin.as_wire().len()..].split_first()?;
    let (base, attached) = match tag {
        0 => (None, rest),
        1 => {
            let (id, rest) = rest.split_first_chunk()?;
            let (chunks, rest) = rest.split_first_chunk()?;
            (Some((*id, u32::from_be_bytes(*chunks))), rest)
        }
        _ => return None,
    };
    Some((origin, base, attached.to_vec()))
}

fn corrupt(tree: &str, key: &[u8], cause: &str) -> StoreError {
    StoreError::Corrupt {
        place: format!("database zones, tree {tree}, row {}", key.escape_ascii()),
        cause: cause.to_owned(),
    }
}

type ZoneId = [u8; 16];

const ZONE: &str = "zone";
const BASE: &str = "base";
const CHANGED: &str = "changed";
const PIECE_NUMBER_SIZE: usize = 2;
/// A zone up to this size shares pages of memory with others.
const SIZE_SMALL: usize = 64 << 10;
