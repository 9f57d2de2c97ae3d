//! The durable state as rows (replication protocol section 2).
//!
//! ```text
//! entries   commit u64, piece u16   → 0, then whole entries; or
//!                                     1, then a part of one large entry: total u32, bytes
//! start     "incarnation"           → u64
//!           "ceiling"               → u64
//!           "view" id 16, piece u16 → a part of a view record
//!           "marks"                 → current view, floor, published mark, flags
//! ```

use crate::entry::{Chain, Entry, EntryId, Hybrid, Stamp, take_array};
use crate::frontier::Frontier;
use crate::log::Bounds;
use crate::near::{Set, decode_set, encode_set};
use crate::output::Row;
use crate::settling_view::SettlingViewId;
use bytes::{Buf, BufMut};
use overlay::Incarnation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The tree of entries.
pub const TREE_ENTRIES: &str = "entries";
/// The tree of all else: incarnation, ceiling, view records, marks.
pub const TREE_START: &str = "start";

/// A settling view as it must be known after a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ViewRecord {
    pub(crate) id: SettlingViewId,
    pub(crate) members: Set,
    pub(crate) bounds: Bounds,
}

/// The small durable words that change together, in the last piece of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Marks {
    /// The current view record.
    pub(crate) view: SettlingViewId,
    /// Whether that view has held all members, for the floor of a restart.
    pub(crate) held_all: HeldAll,
    pub(crate) floor: Hybrid,
    pub(crate) published: Option<Published>,
    /// A newcomer never forms a view in which it is alone.
    pub(crate) standing: Standing,
}

/// The last version that was shown to the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Published {
    pub(crate) view: SettlingViewId,
    pub(crate) stamp: Stamp,
    /// The gate of that view: above it, versions were published there entry by entry.
    pub(crate) gate: Stamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeldAll {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Settled,
    Newcomer,
}

/// All that a restart reads.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) incarnation: Incarnation,
    pub(crate) ceiling: Hybrid,
    pub(crate) marks: Marks,
    pub(crate) records: BTreeMap<SettlingViewId, ViewRecord>,
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) places: EntryRows,
    pub(crate) next_commit: u64,
    /// Removals of rows that a crash has left without use.
    pub(crate) litter: Vec<Row>,
}

/// What a restart finds that does not read: a row, or that one is missing.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Row(Row),
    Missing(&'static str),
}

impl Found {
    pub(crate) fn read(rows: &[Row]) -> Result<Self, Unreadable> {
        let mut start: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        let mut packed: BTreeMap<(u64, u16), &[u8]> = BTreeMap::new();
        for row in rows {
            let value = row.value.as_deref().unwrap_or_default();
            if row.tree == TREE_START {
                start.insert(&row.key, value);
            } else {
                let key = read_entry_key(&row.key).ok_or_else(|| Unreadable::Row(row.clone()))?;
                packed.insert(key, value);
            }
        }
        let unreadable = |key: &[u8]| {
            Unreadable::Row(Row {
                tree: TREE_START,
                key: key.to_vec(),
                value: None,
            })
        };
        let number = |name: &'static str| {
            let mut value = *start
                .get(name.as_bytes())
                .ok_or(Unreadable::Missing(name))?;
            value.try_get_u64().map_err(|_| unreadable(name.as_bytes()))
        };
        let marks = *start.get(MARKS).ok_or(Unreadable::Missing("marks"))?;
        let marks = Marks::decode(marks).ok_or_else(|| unreadable(MARKS))?;

        let mut parts: BTreeMap<SettlingViewId, Vec<u8>> = BTreeMap::new();
        for (key, value) in &start {
            if let Some(mut key) = key.strip_prefix(VIEW)
                && let Some(id) = take_array(&mut key)
            {
                parts
                    .entry(SettlingViewId(id))
                    .or_default()
                    .extend_from_slice(value);
            }
        }
        let mut records = BTreeMap::new();
        let published = marks.published.map(|published| published.view);
        for id in [Some(marks.view), published].into_iter().flatten() {
            // A record that nobody refers to may have been cut short by a crash.
            let bytes = parts.get(&id).ok_or(Unreadable::Missing("view"))?;
            let record = ViewRecord::decode(id, bytes).ok_or_else(|| unreadable(VIEW))?;
            records.insert(id, record);
        }
        let (entries, places, mut litter) = EntryRows::read(&packed)?;
        let unused = start.keys().filter(|key| {
            let id = key
                .strip_prefix(VIEW)
                .and_then(|mut id| take_array(&mut id));
            id.is_some_and(|id| !records.contains_key(&SettlingViewId(id)))
        });
        litter.extend(unused.map(|key| Row {
            tree: TREE_START,
            key: key.to_vec(),
            value: None,
        }));
        Ok(Self {
            incarnation: Incarnation(number("incarnation")?),
            ceiling: Hybrid(number("ceiling")?),
            marks,
            records,
            entries,
            places,
            next_commit: packed
                .last_key_value()
                .map_or(0, |((commit, _), _)| commit + 1),
            litter,
        })
    }
}

/// Which row has which entry, so that rows can go.
#[derive(Debug, Default)]
pub(crate) struct EntryRows {
    place: BTreeMap<EntryId, (u64, u16, u16)>,
    living: BTreeMap<(u64, u16), BTreeSet<EntryId>>,
}

impl EntryRows {
    /// The rows of new entries, in the order given; a row has whole entries or a part of one.
    pub(crate) fn add(&mut self, commit: u64, entries: &[Arc<Entry>]) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut packed = vec![PACKED];
        let mut packed_ids = Vec::new();
        for entry in entries {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            if packed.len() + bytes.len() > PACKED_SIZE && !packed_ids.is_empty() {
                self.push(
                    commit,
                    &mut rows,
                    std::mem::replace(&mut packed, vec![PACKED]),
                );
                self.place_at(
                    commit,
                    rows.len() as u16 - 1,
                    1,
                    &std::mem::take(&mut packed_ids),
                );
            }
            if bytes.len() > PACKED_SIZE {
                let first = rows.len() as u16;
                let parts = bytes.chunks(VALUE_SIZE_MAX - PART_HEADER);
                let count = parts.len() as u16;
                for part in parts {
                    let mut value = vec![PART];
                    value.put_u32(bytes.len() as u32);
                    value.put_slice(part);
                    self.push(commit, &mut rows, value);
                }
                self.place_at(commit, first, count, &[entry.id()]);
            } else {
                packed.extend_from_slice(&bytes);
                packed_ids.push(entry.id());
            }
        }
        if !packed_ids.is_empty() {
            self.push(commit, &mut rows, packed);
            self.place_at(commit, rows.len() as u16 - 1, 1, &packed_ids);
        }
        rows
    }

    /// The rows that go with these entries: a row goes with its last entry.
    pub(crate) fn trim(&mut self, ids: impl Iterator<Item = EntryId>) -> Vec<Row> {
        let mut rows = Vec::new();
        for id in ids {
            let Some((commit, first, count)) = self.place.remove(&id) else {
                continue;
            };
            let living = self.living.entry((commit, first)).or_default();
            living.remove(&id);
            if living.is_empty() {
                self.living.remove(&(commit, first));
                rows.extend((first..first + count).map(|piece| Row {
                    tree: TREE_ENTRIES,
                    key: entry_key(commit, piece),
                    value: None,
                }));
            }
        }
        rows
    }

    /// The rows by which these entries vanish at once, also from rows that others share. The
    /// last of a chain goes first, so that a crash between leaves no gap.
    pub(crate) fn erase<'a>(
        &mut self,
        ids: &BTreeSet<EntryId>,
        held: impl Fn(EntryId) -> Option<&'a Arc<Entry>>,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        for id in ids.iter().rev() {
            let Some(place) = self.place.get(id).copied() else {
                continue;
            };
            rows.extend(self.trim(std::iter::once(*id)));
            if let Some(others) = self.living.get(&(place.0, place.1)) {
                let mut value = vec![PACKED];
                for other in others.iter().filter_map(|other| held(*other)) {
                    other.encode(&mut value);
                }
                rows.push(Row {
                    tree: TREE_ENTRIES,
                    key: entry_key(place.0, place.1),
                    value: Some(value),
                });
            }
        }
        rows
    }

    /// All entries that are there, where they are, and the removal of what is there of others.
    fn read(packed: &BTreeMap<(u64, u16), &[u8]>) -> Result<ReadEntries, Unreadable> {
        let mut places = Self::default();
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut litter = Vec::new();
        let mut large: Option<Parts> = None;
        for (key, value) in packed {
            let unreadable = || {
                Unreadable::Row(Row {
                    tree: TREE_ENTRIES,
                    key: entry_key(key.0, key.1),
                    value: None,
                })
            };
            let mut bytes = *value;
            match bytes.try_get_u8().map_err(|_| unreadable())? {
                PACKED => {
                    let mut ids = Vec::new();
                    while !bytes.is_empty() {
                        let entry = Entry::decode(&mut bytes).ok_or_else(unreadable)?;
                        ids.push(entry.id());
                        entries.push(Arc::new(entry));
                    }
                    places.place_at(key.0, key.1, 1, &ids);
                }
                PART => {
                    let total = bytes.try_get_u32().map_err(|_| unreadable())? as usize;
                    // A large entry that a crash cut short is not continued: it was not held.
                    let continued = match large.take() {
                        Some(parts) if (parts.commit, parts.next) == *key => Some(parts),
                        cut_short => {
                            litter.extend(cut_short.iter().flat_map(Parts::removal));
                            None
                        }
                    };
                    let mut parts = continued.unwrap_or(Parts {
                        commit: key.0,
                        first: key.1,
                        next: key.1,
                        bytes: Vec::new(),
                    });
                    parts.bytes.extend_from_slice(bytes);
                    parts.next += 1;
                    if parts.bytes.len() >= total {
                        let entry = Entry::decode(&mut &parts.bytes[..]).ok_or_else(unreadable)?;
                        let count = parts.next - parts.first;
                        places.place_at(key.0, parts.first, count, &[entry.id()]);
                        entries.push(Arc::new(entry));
                    } else {
                        large = Some(parts);
                    }
                }
                _ => return Err(unreadable()),
            }
        }
        litter.extend(large.iter().flat_map(Parts::removal));
        Ok((entries, places, litter))
    }

    /// Which entries have rows.
    pub(crate) fn ids(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.place.keys().copied()
    }

    fn push(&self, commit: u64, rows: &mut Vec<Row>, value: Vec<u8>) {
        let piece = u16::try_from(rows.len()).expect("a batch takes fewer entries");
        rows.push(Row {
            tree: TREE_ENTRIES,
            key: entry_key(commit, piece),
            value: Some(value),
        });
    }

    fn place_at(&mut self, commit: u64, first: u16, count: u16, ids: &[EntryId]) {
        for id in ids {
            self.place.insert(*id, (commit, first, count));
            self.living.entry((commit, first)).or_default().insert(*id);
        }
    }
}

type ReadEntries = (Vec<Arc<Entry>>, EntryRows, Vec<Row>);

/// A large entry that is being put together from its rows.
struct Parts {
    commit: u64,
    first: u16,
    next: u16,
    bytes: Vec<u8>,
}

impl Parts {
    fn removal(&self) -> impl Iterator<Item = Row> + use<> {
        let commit = self.commit;
        (self.first..self.next).map(move |piece| Row {
            tree: TREE_ENTRIES,
            key: entry_key(commit, piece),
            value: None,
        })
    }
}

impl ViewRecord {
    /// The rows that hold it.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut bytes = Vec::new();
        encode_set(&self.members, &mut bytes);
        self.bounds.encode(&mut bytes);
        let parts = bytes.chunks(VALUE_SIZE_MAX).enumerate();
        parts
            .map(|(piece, part)| start_row(view_key(self.id, piece as u16), part.to_vec()))
            .collect()
    }

    /// The rows that remove it.
    pub(crate) fn removal(&self) -> Vec<Row> {
        let removed = |row: Row| Row { value: None, ..row };
        self.rows().into_iter().map(removed).collect()
    }

    fn decode(id: SettlingViewId, mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Self {
            id,
            members: decode_set(bytes)?,
            bounds: Bounds::decode(bytes)?,
        })
    }
}

impl Bounds {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.open.len() as u16);
        for chain in &self.open {
            chain.encode(out);
        }
        self.base.encode(out);
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut open = BTreeSet::new();
        for _ in 0..bytes.try_get_u16().ok()? {
            open.insert(Chain::decode(bytes)?);
        }
        Some(Self {
            open,
            base: Frontier::decode(bytes)?,
        })
    }
}

impl Marks {
    pub(crate) fn row(&self) -> Row {
        let mut value = self.view.0.to_vec();
        value.put_u8(u8::from(self.held_all == HeldAll::Yes));
        value.put_u64(self.floor.0);
        value.put_u8(u8::from(self.standing == Standing::Newcomer));
        if let Some(published) = self.published {
            value.put_slice(&published.view.0);
            published.stamp.encode(&mut value);
            published.gate.encode(&mut value);
        }
        start_row(MARKS.to_vec(), value)
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Self {
            view: SettlingViewId(take_array(bytes)?),
            held_all: match bytes.try_get_u8().ok()? {
                0 => HeldAll::No,
                _ => HeldAll::Yes,
            },
            floor: Hybrid(bytes.try_get_u64().ok()?),
            standing: match bytes.try_get_u8().ok()? {
                0 => Standing::Settled,
                _ => Standing::Newcomer,
            },
            published: if bytes.is_empty() {
                None
            } else {
                Some(Published {
                    view: SettlingViewId(take_array(bytes)?),
                    stamp: Stamp::decode(bytes)?,
                    gate: Stamp::decode(bytes)?,
                })
            },
        })
    }
}

pub(crate) fn incarnation_row(incarnation: Incarnation) -> Row {
    start_row(
        b"incarnation".to_vec(),
        incarnation.0.to_be_bytes().to_vec(),
    )
}

pub(crate) fn ceiling_row(ceiling: Hybrid) -> Row {
    start_row(b"ceiling".to_vec(), ceiling.0.to_be_bytes().to_vec())
}

/// Cuts rows into pieces that the store writes atomically, keeping their order.
pub(crate) fn pieces(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut pieces: Vec<Vec<Row>> = Vec::new();
    let mut size = 0;
    for row in rows {
        let row_size = row.tree.len() + row.key.len() + row.value.as_ref().map_or(0, Vec::len);
        match pieces.last_mut() {
            Some(piece) if piece.len() < PIECE_ROWS_MAX && size + row_size <= PIECE_SIZE_MAX => {
                piece.push(row);
                size += row_size;
            }
            _ => {
                pieces.push(vec![row]);
                size = row_size;
            }
        }
    }
    pieces
}

fn start_row(key: Vec<u8>, value: Vec<u8>) -> Row {
    Row {
        tree: TREE_START,
        key,
        value: Some(value),
    }
}

fn view_key(id: SettlingViewId, piece: u16) -> Vec<u8> {
    let mut key = VIEW.to_vec();
    key.put_slice(&id.0);
    key.put_u16(piece);
    key
}

fn entry_key(commit: u64, piece: u16) -> Vec<u8> {
    let mut key = commit.to_be_bytes().to_vec();
    key.put_u16(piece);
    key
}

fn read_entry_key(mut key: &[u8]) -> Option<(u64, u16)> {
    let commit = key.try_get_u64().ok()?;
    let piece = key.try_get_u16().ok()?;
    key.is_empty().then_some((commit, piece))
}

const MARKS: &[u8] = b"marks";
const VIEW: &[u8] = b"view";
const PACKED: u8 = 0;
const PART: u8 = 1;
const PART_HEADER: usize = 5;
/// Small entries share a row up to this size.
const PACKED_SIZE: usize = 4096;
/// The store puts larger values into files of their own that it never syncs.
const VALUE_SIZE_MAX: usize = 6000;
/// What the store writes atomically without holding up others for long.
const PIECE_ROWS_MAX: usize = 500;
/// The same in bytes, the names of the trees included.
const PIECE_SIZE_MAX: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Body;
    use bytes::Bytes;
    use overlay::PeerId;

    fn entry(sequence: u64, size: usize) -> Arc<Entry> {
        Arc::new(Entry {
            chain: Chain {
                author: PeerId([1; 8]),
                incarnation: Incarnation(1),
            },
            sequence,
            hybrid: Hybrid(sequence),
            digest: None,
            blobs: Vec::new(),
            body: Body::Data(Bytes::from(vec![9; size])),
        })
    }

    fn read(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u64> {
        let packed = rows
            .iter()
            .map(|(key, value)| (read_entry_key(key).unwrap(), value.as_slice()))
            .collect();
        let (entries, ..) = EntryRows::read(&packed).unwrap();
        entries.iter().map(|entry| entry.sequence).collect()
    }

    fn write(store: &mut BTreeMap<Vec<u8>, Vec<u8>>, rows: Vec<Row>) {
        for row in rows {
            match row.value {
                Some(value) => store.insert(row.key, value),
                None => store.remove(&row.key),
            };
        }
    }

    #[test]
    fn entries_small_and_large_read_back_and_go_one_by_one() {
        let entries: Vec<_> = [100, 3000, 3000, 60_000, 10, 4000]
            .iter()
            .zip(1..)
            .map(|(size, sequence)| entry(sequence, *size))
            .collect();
        let (mut rows, mut store) = (EntryRows::default(), BTreeMap::new());
        write(&mut store, rows.add(7, &entries));
        assert_eq!(read(&store), [1, 2, 3, 4, 5, 6]);

        let held = |id: EntryId| entries.iter().find(|entry| entry.id() == id);
        let gone = [entries[1].id(), entries[3].id()].into();
        write(&mut store, rows.erase(&gone, held));
        assert_eq!(read(&store), [1, 3, 5, 6]);
        write(
            &mut store,
            rows.trim(entries.iter().map(|entry| entry.id())),
        );
        assert!(store.is_empty());
    }

    #[test]
    fn a_large_entry_that_a_crash_cut_short_is_not_held() {
        let (mut rows, mut store) = (EntryRows::default(), BTreeMap::new());
        write(&mut store, rows.add(7, &[entry(1, 10), entry(2, 60_000)]));
        store.pop_last();
        write(&mut store, rows.add(8, &[entry(3, 60_000)]));
        assert_eq!(read(&store), [1, 3]);
    }
}
