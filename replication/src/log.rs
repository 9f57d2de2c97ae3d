//! What is held: entries in stamp order, and what lies aside (replication protocol section 2).
//!
//! ```text
//! arrives ─→ waiting (a gap or a blob is missing; in memory, counts for nothing)
//!         ─→ held ─┬→ log: within the bounds of the last view, visible in stamp order
//!                  └→ aside: counted and offered, but neither ordered nor visible
//! ```

use crate::blobs::Blobs;
use crate::entry::{Body, Chain, Entry, EntryId, Stamp};
use crate::frontier::Frontier;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All entries above the checkpoint that this peer has.
#[derive(Debug)]
pub(crate) struct Log {
    own: Chain,
    entries: BTreeMap<EntryId, Arc<Entry>>,
    order: BTreeMap<Stamp, Arc<Entry>>,
    aside: BTreeSet<EntryId>,
    waiting: BTreeMap<EntryId, Arc<Entry>>,
    waiting_size: usize,
    /// Joins and evictions among the held entries.
    changes: BTreeSet<EntryId>,
    held: Frontier,
    durable: Frontier,
    bounds: Bounds,
    /// Nothing new at or below it is taken: it is stable.
    closed: Stamp,
    /// Where a chain was refused for lying at or below `closed`.
    refused: BTreeMap<Chain, u64>,
}

/// Which entries are in the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bounds {
    /// Chains of the last view's members: all of them.
    pub(crate) open: BTreeSet<Chain>,
    /// All other chains: what was fixed at the exchange.
    pub(crate) base: Frontier,
}

/// What has become of an entry that arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Accepted {
    /// These are held from here on: it, and those that waited for it.
    Held(Vec<Arc<Entry>>),
    /// It waits for those before it, or for a blob.
    Waits,
    /// It is held already.
    Known,
    /// It is too late for it, or it contradicts its chain.
    Refused,
}

impl Bounds {
    pub(crate) fn contain(&self, id: EntryId) -> bool {
        self.open.contains(&id.chain) || self.base.holds(id)
    }
}

impl Log {
    /// From the entries found on disk, those within `trimmed` (the checkpoint's frontier) left
    /// out. What lies beyond a gap is not held.
    pub(crate) fn resume(
        own: Chain,
        bounds: Bounds,
        trimmed: &Frontier,
        closed: Stamp,
        entries: Vec<Arc<Entry>>,
    ) -> Self {
        let mut log = Self {
            own,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            aside: BTreeSet::new(),
            waiting: BTreeMap::new(),
            waiting_size: 0,
            changes: BTreeSet::new(),
            held: trimmed.clone(),
            durable: Frontier::default(),
            bounds,
            closed,
            refused: BTreeMap::new(),
        };
        let by_id: BTreeMap<EntryId, Arc<Entry>> = entries
            .into_iter()
            .map(|entry| (entry.id(), entry))
            .collect();
        for (id, entry) in by_id {
            if id.sequence == log.held.get(id.chain) + 1 {
                log.hold(entry);
            }
        }
        log.durable = log.held.clone();
        log
    }

    /// Takes an entry that arrived.
    pub(crate) fn accept(&mut self, entry: Arc<Entry>, blobs: &Blobs) -> Accepted {
        let id = entry.id();
        let held = self.held.get(id.chain);
        if id.sequence <= held || self.waiting.contains_key(&id) {
            return Accepted::Known;
        }
        // Replication protocol section 7: from stable on, entries at or below it are refused.
        if entry.stamp() <= self.closed {
            let first = self.refused.entry(id.chain).or_insert(id.sequence);
            *first = id.sequence.min(*first);
            return Accepted::Refused;
        }
        if id.sequence > held + 1 || !blobs.hold_all(&entry) {
            let size = entry.encoded_size();
            if self.waiting_size + size > WAITING_SIZE_MAX {
                return Accepted::Refused;
            }
            self.waiting_size += size;
            self.waiting.insert(id, entry);
            return Accepted::Waits;
        }
        if !self.follows(&entry) {
            return Accepted::Refused;
        }
        self.hold(entry.clone());
        let mut newly = vec![entry];
        newly.extend(self.release(id.chain, blobs));
        Accepted::Held(newly)
    }

    /// Holds what waited in this chain and waits no longer.
    pub(crate) fn release(&mut self, chain: Chain, blobs: &Blobs) -> Vec<Arc<Entry>> {
        let mut newly = Vec::new();
        loop {
            let id = EntryId {
                chain,
                sequence: self.held.get(chain) + 1,
            };
            match self.waiting.get(&id) {
                Some(entry) if blobs.hold_all(entry) => {}
                _ => return newly,
            }
            let entry = self.waiting.remove(&id).expect("it was just found");
            self.waiting_size -= entry.encoded_size();
            if !self.follows(&entry) || entry.stamp() <= self.closed {
                return newly;
            }
            self.hold(entry.clone());
            newly.push(entry);
        }
    }

    /// Chains with entries that wait.
    pub(crate) fn waiting_chains(&self) -> BTreeSet<Chain> {
        self.waiting.keys().map(|id| id.chain).collect()
    }

    /// Moves entries between log and aside by new bounds.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        for (id, entry) in &self.entries {
            if id.chain == self.own || self.bounds.contain(*id) {
                if self.aside.remove(id) {
                    self.order.insert(entry.stamp(), entry.clone());
                }
            } else if self.aside.insert(*id) {
                self.order.remove(&entry.stamp());
            }
        }
    }

    /// Drops what lies aside at or below `mark`, each with the rest of its chain.
    pub(crate) fn drop_aside(&mut self, mark: Stamp) -> Vec<EntryId> {
        let mut cuts: BTreeMap<Chain, u64> = BTreeMap::new();
        for id in &self.aside {
            if self.entries[id].stamp() <= mark {
                cuts.entry(id.chain).or_insert(id.sequence);
            }
        }
        let mut dropped = Vec::new();
        for (chain, first) in cuts {
            let rest = |id: &EntryId| id.chain == chain && id.sequence >= first;
            dropped.extend(self.aside.iter().copied().filter(rest));
            self.aside.retain(|id| !rest(id));
            self.waiting.retain(|id, _| !rest(id));
            self.held.set(chain, first - 1);
            self.durable
                .set(chain, self.durable.get(chain).min(first - 1));
        }
        self.waiting_size = self.waiting.values().map(|e| e.encoded_size()).sum();
        for id in &dropped {
            self.entries.remove(id);
            self.changes.remove(id);
        }
        dropped
    }

    /// From here on nothing new at or below `stable` is taken.
    pub(crate) fn close(&mut self, stable: Stamp) {
        self.closed = self.closed.max(stable);
        let closed = self.closed;
        self.waiting.retain(|_, entry| entry.stamp() > closed);
        self.waiting_size = self.waiting.values().map(|e| e.encoded_size()).sum();
    }

    /// Forgets the log up to the checkpoint; what lies aside stays.
    pub(crate) fn trim(&mut self, checkpoint: Stamp) -> Vec<Arc<Entry>> {
        let rest = self.order.split_off(&checkpoint);
        let mut trimmed: Vec<Arc<Entry>> = std::mem::replace(&mut self.order, rest)
            .into_values()
            .collect();
        trimmed.extend(self.order.remove(&checkpoint));
        for entry in &trimmed {
            self.entries.remove(&entry.id());
            self.changes.remove(&entry.id());
        }
        trimmed
    }

    /// Everything within `durable` has been flushed; what was dropped meanwhile is not.
    pub(crate) fn set_durable(&mut self, durable: &Frontier) {
        for (chain, sequence) in durable.iter() {
            self.durable
                .raise(chain, sequence.min(self.held.get(chain)));
        }
    }

    /// What is held, each chain cut before its first entry that lies aside at or below `floor`.
    pub(crate) fn stated(&self, floor: Stamp) -> Frontier {
        let mut stated = self.held.clone();
        let mut last = None;
        for id in &self.aside {
            if self.entries[id].stamp() <= floor && last != Some(id.chain) {
                stated.set(id.chain, id.sequence - 1);
                last = Some(id.chain);
            }
        }
        stated
    }

    /// How many entries within `other` are lacking, leaving out what is refused for good; and
    /// whether one of them waits for a blob.
    pub(crate) fn lacks(&self, other: &Frontier, blobs: &Blobs) -> (u64, Blob) {
        let count = self.held.lacks(other);
        let waits = self
            .waiting
            .iter()
            .any(|(id, entry)| other.holds(*id) && !blobs.hold_all(entry));
        (count, if waits { Blob::Missing } else { Blob::None })
    }

    /// How many entries within `stated` a peer that holds `other` lacks; and whether one of
    /// them names a blob.
    pub(crate) fn lacked_by(&self, other: &Frontier, stated: &Frontier) -> (u64, Blob) {
        let count = other.lacks(stated);
        let names_blob = stated.iter().any(|(chain, to)| {
            self.range(chain, other.get(chain) + 1, to)
                .any(|entry| !entry.blobs.is_empty())
        });
        (
            count,
            if names_blob {
                Blob::Missing
            } else {
                Blob::None
            },
        )
    }

    /// Entries of one chain, both ends included.
    pub(crate) fn range(
        &self,
        chain: Chain,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        let id = |sequence| EntryId { chain, sequence };
        let range = (from <= to).then(|| self.entries.range(id(from)..=id(to)));
        range.into_iter().flatten().map(|(_, entry)| entry)
    }

    /// The log above `after`, in stamp order.
    pub(crate) fn after(&self, after: Stamp) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        self.order
            .range((Excluded(after), Unbounded))
            .map(|(_, entry)| entry)
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&Arc<Entry>> {
        self.entries.get(&id)
    }

    pub(crate) fn in_log(&self, stamp: Stamp) -> bool {
        self.order.contains_key(&stamp)
    }

    /// All held entries, log and aside.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        self.entries.values()
    }

    /// Joins and evictions, log and aside, each with whether it is in the log.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&Arc<Entry>, Place)> + '_ {
        self.changes.iter().map(|id| {
            let place = if self.aside.contains(id) {
                Place::Aside
            } else {
                Place::Log
            };
            (&self.entries[id], place)
        })
    }

    /// The greatest stamp held, in the log or aside.
    pub(crate) fn greatest(&self) -> Stamp {
        let aside = self.aside.iter().map(|id| self.entries[id].stamp()).max();
        self.greatest_in_log().max(aside.unwrap_or(Stamp::ZERO))
    }

    pub(crate) fn greatest_in_log(&self) -> Stamp {
        let last = self.order.last_key_value();
        last.map_or(Stamp::ZERO, |(stamp, _)| *stamp)
    }

    pub(crate) fn held(&self) -> &Frontier {
        &self.held
    }

    pub(crate) fn durable(&self) -> &Frontier {
        &self.durable
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn refused_from(&self, chain: Chain) -> u64 {
        self.refused.get(&chain).copied().unwrap_or(u64::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn aside(&self) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        self.aside.iter().map(|id| &self.entries[id])
    }

    fn follows(&self, entry: &Entry) -> bool {
        let id = entry.id();
        let before = EntryId {
            sequence: id.sequence - 1,
            ..id
        };
        // A chain whose stamps do not rise, or a stamp that is taken, is no work of an author
        // that keeps the protocol.
        let rises = |previous: &Arc<Entry>| previous.hybrid < entry.hybrid;
        self.entries.get(&before).is_none_or(rises) && !self.order.contains_key(&entry.stamp())
    }

    fn hold(&mut self, entry: Arc<Entry>) {
        let id = entry.id();
        assert!(
            id.sequence == self.held.get(id.chain) + 1,
            "a chain is held without gaps"
        );
        self.held.raise(id.chain, id.sequence);
        if !matches!(entry.body, Body::Data(_)) {
            self.changes.insert(id);
        }
        if id.chain == self.own || self.bounds.contain(id) {
            self.order.insert(entry.stamp(), entry.clone());
        } else {
            self.aside.insert(id);
        }
        self.entries.insert(id, entry);
    }
}

/// Whether a held entry is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Log,
    Aside,
}

/// Whether a blob is among what somebody lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blob {
    Missing,
    None,
}

/// Entries beyond a gap: more than any window of the overlay has under way.
const WAITING_SIZE_MAX: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Hybrid;
    use bytes::Bytes;
    use overlay::{Incarnation, PeerId};

    fn chain(author: u8) -> Chain {
        Chain {
            author: PeerId([author; 8]),
            incarnation: Incarnation(1),
        }
    }

    fn entry(author: u8, sequence: u64, hybrid: u64) -> Arc<Entry> {
        Arc::new(Entry {
            chain: chain(author),
            sequence,
            hybrid: Hybrid(hybrid),
            digest: None,
            blobs: Vec::new(),
            body: Body::Data(Bytes::new()),
        })
    }

    fn log() -> Log {
        let bounds = Bounds {
            open: [chain(1), chain(2)].into(),
            base: [(chain(3), 1)].into_iter().collect(),
        };
        Log::resume(chain(1), bounds, &Frontier::default(), Stamp::ZERO, vec![])
    }

    fn order(log: &Log) -> Vec<u64> {
        log.after(Stamp::ZERO).map(|entry| entry.hybrid.0).collect()
    }

    #[test]
    fn what_lies_beyond_a_gap_counts_when_the_gap_is_filled() {
        let (mut log, blobs) = (log(), Blobs::default());
        assert_eq!(log.accept(entry(2, 2, 20), &blobs), Accepted::Waits);
        assert_eq!(log.held().total(), 0);
        let both = vec![entry(2, 1, 10), entry(2, 2, 20)];
        assert_eq!(log.accept(entry(2, 1, 10), &blobs), Accepted::Held(both));
        assert_eq!(log.accept(entry(2, 1, 10), &blobs), Accepted::Known);
        assert_eq!(order(&log), [10, 20]);
    }

    #[test]
    fn what_is_beyond_the_bounds_lies_aside_until_they_move() {
        let (mut log, blobs) = (log(), Blobs::default());
        for entry in [entry(3, 1, 5), entry(3, 2, 7), entry(2, 1, 6)] {
            log.accept(entry, &blobs);
        }
        assert_eq!(order(&log), [5, 6]);
        assert_eq!(log.stated(Stamp::last_of(Hybrid(6))).get(chain(3)), 2);
        assert_eq!(log.stated(Stamp::last_of(Hybrid(7))).get(chain(3)), 1);
        log.set_bounds(Bounds {
            open: [chain(1)].into(),
            base: [(chain(3), 2)].into_iter().collect(),
        });
        assert_eq!(order(&log), [5, 7]);
    }

    #[test]
    fn dropping_takes_the_rest_of_the_chain_along_and_closes_it() {
        let (mut log, blobs) = (log(), Blobs::default());
        for entry in [entry(3, 1, 5), entry(3, 2, 7), entry(3, 3, 9)] {
            log.accept(entry, &blobs);
        }
        let mark = Stamp::last_of(Hybrid(7));
        assert_eq!(log.drop_aside(mark).len(), 2);
        log.close(mark);
        assert_eq!(log.held().get(chain(3)), 1);
        assert_eq!(log.accept(entry(3, 2, 7), &blobs), Accepted::Refused);
        assert_eq!(log.accept(entry(3, 3, 9), &blobs), Accepted::Waits);
    }

    #[test]
    fn trimming_forgets_the_log_up_to_the_checkpoint() {
        let (mut log, blobs) = (log(), Blobs::default());
        for entry in [entry(2, 1, 5), entry(3, 1, 7), entry(2, 2, 9)] {
            log.accept(entry, &blobs);
        }
        let trimmed = log.trim(entry(3, 1, 7).stamp());
        assert_eq!(trimmed, [entry(2, 1, 5), entry(3, 1, 7)]);
        assert_eq!(order(&log), [9]);
        assert_eq!(log.held().total(), 3);
    }
}
