//! Group commit: what goes into the next batch, and what becomes true when it is durable
//! (replication protocol section 2).
//!
//! One batch is outstanding at a time; everything that comes meanwhile goes into the next.
//! Ceiling first, entries in chain order, view record and marks last; a crash may keep any prefix.

use super::{Eviction, Readiness, Replica};
use crate::clock::Idle;
use crate::entry::{Body, Entry, EntryId, Hybrid};
use crate::frontier::Frontier;
use crate::output::{Batch, BatchId, Output, Row};
use crate::rows::{EntryRows, HeldAll, Marks as MarksRow, Published, ViewRecord};
use crate::rows::{ceiling_row, incarnation_row, pieces};
use crate::settling_view::SettlingViewId;
use overlay::Incarnation;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What waits to be written.
#[derive(Debug)]
pub(super) struct Commit {
    next_batch: u64,
    next_commit: u64,
    places: EntryRows,
    outstanding: Option<Outstanding>,
    incarnation: Option<Incarnation>,
    /// A ceiling that the first batch of a life must set.
    first_ceiling: Hybrid,
    entries: Vec<Arc<Entry>>,
    erase: BTreeSet<EntryId>,
    trim: Vec<EntryId>,
    /// Removals of rows that nothing refers to.
    litter: Vec<Row>,
    /// Records that stand on disk.
    records: Vec<ViewRecord>,
    record: Option<ViewRecord>,
    record_durable: SettlingViewId,
    marks: Dirty,
    /// The mark to publish, and when that is worth a flush of its own.
    publish: Option<(Published, Instant)>,
    /// What the next marks say of the current view, and what the last durable ones said.
    held_all: HeldAll,
    held_all_durable: HeldAll,
}

/// The batch that is being flushed.
#[derive(Debug)]
struct Outstanding {
    id: BatchId,
    since: Instant,
    durable: Frontier,
    ceiling: Hybrid,
    record: Option<SettlingViewId>,
    published: Option<Published>,
    held_all: HeldAll,
    changes: Changes,
}

/// Whether a batch brings a join or an eviction onto the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Changes {
    Some,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dirty {
    Yes,
    No,
}

impl Commit {
    pub(super) fn resume(
        places: EntryRows,
        next_commit: u64,
        records: Vec<ViewRecord>,
        held_all: HeldAll,
        incarnation: Incarnation,
        first_ceiling: Hybrid,
        litter: Vec<Row>,
    ) -> Self {
        Self {
            next_batch: 0,
            next_commit,
            places,
            outstanding: None,
            incarnation: Some(incarnation),
            first_ceiling,
            entries: Vec::new(),
            erase: BTreeSet::new(),
            trim: Vec::new(),
            litter,
            records,
            record: None,
            record_durable: SettlingViewId::default(),
            marks: Dirty::No,
            publish: None,
            held_all,
            held_all_durable: held_all,
        }
    }

    /// A newly held entry, in chain order.
    pub(super) fn add(&mut self, entry: Arc<Entry>) {
        self.entries.push(entry);
    }

    /// Entries that must vanish from the disk.
    pub(super) fn erase(&mut self, ids: &[EntryId]) {
        self.entries.retain(|entry| !ids.contains(&entry.id()));
        self.erase.extend(ids);
    }

    /// Entries that the checkpoint covers.
    pub(super) fn trim(&mut self, ids: impl Iterator<Item = EntryId>) {
        self.trim.extend(ids);
    }

    /// A view was installed; whether it holds all members, as far as is known.
    pub(super) fn set_record(&mut self, record: ViewRecord, held_all: HeldAll) {
        self.record = Some(record);
        self.held_all = held_all;
        self.marks = Dirty::Yes;
    }

    /// The view in use holds all members; `held_all` says when that is durable.
    pub(super) fn raise_held_all(&mut self) {
        if self.held_all == HeldAll::No {
            self.held_all = HeldAll::Yes;
            self.marks = Dirty::Yes;
        }
    }

    pub(super) fn write_marks(&mut self) {
        self.marks = Dirty::Yes;
    }

    /// Replication protocol section 10: the mark rides on the next batch; when idle, one flush.
    pub(super) fn publish(&mut self, published: Published, now: Instant) {
        let due = self.publish.map_or(now + PUBLISH_WAIT, |(_, due)| due);
        self.publish = Some((published, due));
    }

    /// When a mark has waited long enough for a batch to ride on.
    pub(super) fn publish_due(&self) -> Option<Instant> {
        let (_, due) = self.publish.filter(|_| self.outstanding.is_none())?;
        Some(due)
    }

    /// Whether the record of this view is durable.
    pub(super) fn has_record(&self, id: SettlingViewId) -> bool {
        self.record_durable == id && self.record.is_none()
    }

    /// Whether the disk says that the current view has held all members.
    pub(super) fn says_held_all(&self) -> HeldAll {
        self.held_all_durable
    }

    /// Since when a flush is under way.
    pub(super) fn flushing_since(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|batch| batch.since)
    }

    fn has_work(&self, now: Instant) -> bool {
        self.incarnation.is_some()
            || self.publish.is_some_and(|(_, due)| due <= now)
            || !self.entries.is_empty()
            || !self.erase.is_empty()
            || !self.trim.is_empty()
            || self.record.is_some()
            || self.marks == Dirty::Yes
    }
}

impl Replica {
    /// Writes what waits, if no batch is outstanding.
    pub(super) fn start_batch(&mut self, wall: Duration, now: Instant) {
        let idle = match self.view.in_use() {
            Some(_) => Idle::Installed,
            None => Idle::No,
        };
        let low = idle == Idle::Installed && self.clock.is_low(wall);
        if self.commit.outstanding.is_some()
            || !(self.commit.has_work(now) || self.clock.is_blocked() || low)
        {
            return;
        }
        let ceiling = self
            .clock
            .ceiling_for_batch(wall, idle)
            .max(self.commit.first_ceiling);

        let commit = &mut self.commit;
        let mut rows: Vec<Row> = commit
            .incarnation
            .take()
            .map(incarnation_row)
            .into_iter()
            .collect();
        if ceiling > self.clock.ceiling() {
            rows.push(ceiling_row(ceiling));
        }
        let rest = commit
            .entries
            .split_off(commit.entries.len().min(BATCH_ENTRIES_MAX));
        let entries = std::mem::replace(&mut commit.entries, rest);
        // What was dropped goes before what has come since: it may be the same entry again.
        let log = &self.log;
        let erased = std::mem::take(&mut commit.erase);
        rows.extend(commit.places.erase(&erased, |id| log.get(id)));
        rows.extend(commit.places.add(commit.next_commit, &entries));
        commit.next_commit += 1;
        rows.extend(
            commit
                .places
                .trim(std::mem::take(&mut commit.trim).into_iter()),
        );
        rows.append(&mut commit.litter);

        // A record is written only behind all entries that came before it.
        let record = commit.record.take_if(|_| commit.entries.is_empty());
        if let Some(record) = &record {
            rows.extend(record.rows());
            commit.records.push(record.clone());
        }
        let published = commit.publish.take_if(|_| commit.entries.is_empty());
        let published = published.map(|(published, _)| published);
        let is_dirty = commit.marks == Dirty::Yes || published.is_some();
        let marks_due = is_dirty && commit.entries.is_empty();
        if marks_due {
            let current = commit
                .records
                .last()
                .expect("a life begins with a record")
                .id;
            let marks = MarksRow {
                view: current,
                held_all: commit.held_all,
                floor: self.marks.floor,
                published: published.or(self.published),
                standing: self.standing,
            };
            rows.push(marks.row());
            commit.marks = Dirty::No;
            let kept = [
                Some(current),
                marks.published.map(|published| published.view),
            ];
            let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut commit.records)
                .into_iter()
                .partition(|record| kept.contains(&Some(record.id)));
            commit.records = kept;
            rows.extend(gone.iter().flat_map(ViewRecord::removal));
        }

        commit.next_batch += 1;
        let id = BatchId(commit.next_batch);
        let changed = entries
            .iter()
            .any(|entry| !matches!(entry.body, Body::Data(_)));
        commit.outstanding = Some(Outstanding {
            id,
            since: now,
            durable: entries
                .iter()
                .map(|entry| (entry.chain, entry.sequence))
                .collect(),
            ceiling,
            record: record.map(|record| record.id),
            published,
            held_all: if marks_due {
                commit.held_all
            } else {
                commit.held_all_durable
            },
            changes: if changed {
                Changes::Some
            } else {
                Changes::None
            },
        });
        self.outputs.push_back(Output::Write(Batch {
            id,
            pieces: pieces(rows),
        }));
    }

    /// A batch is on disk.
    pub fn handle_durable(&mut self, batch: BatchId, wall: Duration, now: Instant) {
        let Some(done) = self
            .commit
            .outstanding
            .take_if(|batch_out| batch_out.id == batch)
        else {
            return;
        };
        self.log.set_durable(&done.durable);
        self.clock.raise_ceiling(done.ceiling);
        if let Some(record) = done.record {
            self.commit.record_durable = record;
        }
        self.commit.held_all_durable = done.held_all;
        if let Some(published) = done.published {
            self.published = Some(published);
            if published.view == self.record.id {
                self.published_record = self.record.clone();
            }
            self.outputs.push_back(Output::Published(published.stamp));
        }
        if self.readiness == Readiness::AwaitingFlush {
            self.readiness = Readiness::Ready;
            self.outputs.push_back(Output::Ready(self.incarnation));
            self.review(now);
        }
        self.announce_after_flush(now);
        self.end_withdrawal(now);
        if self.eviction == Eviction::None {
            self.author_queued(wall);
        }
        if done.changes == Changes::Some {
            self.review(now);
        }
        self.drive_later(wall, now);
    }
}

/// After answers the next requests come, and their batch takes the mark along. A flush for the mark
/// alone would be in their way.
const PUBLISH_WAIT: Duration = Duration::from_millis(10);
/// Entries of one batch: its rows are numbered in 16 bits, and a large entry takes twelve.
const BATCH_ENTRIES_MAX: usize = 4_000;
