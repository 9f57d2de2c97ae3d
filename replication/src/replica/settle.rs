//! Announcing, and what announcements settle; publishing, checkpoints (replication protocol
//! sections 6, 7, 10, 13).

use super::{Faults, Replica};
use crate::checkpoint::Checkpoint;
use crate::clock::{OFF_MAX, Source};
use crate::entry::{Entry, Hybrid, Stamp};
use crate::log::Place;
use crate::marks::{ClockRule, First, GateRule};
use crate::membership::Members;
use crate::message::{Announce, Message};
use crate::output::{Class, Event, Output};
use crate::rows::{HeldAll, Published, Standing};
use bytes::Bytes;
use overlay::{Incarnation, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Replica {
    /// Makes the settled version the published one, if this side may publish.
    pub fn publish(&mut self, wall: Duration, now: Instant) -> Publish {
        let Some(gate) = self.gate().filter(|_| self.may_publish()) else {
            return Publish::NotHere;
        };
        let published = Published {
            view: self.record.id,
            stamp: self.marks.settled,
            gate,
        };
        if self.published == Some(published) {
            return Publish::Unchanged;
        }
        self.commit.publish(published, now);
        self.drive_later(wall, now);
        Publish::Begun
    }

    /// A checkpoint at this mark is durable, with its meta data.
    pub fn handle_checkpoint(&mut self, mark: Stamp, wall: Duration, now: Instant) {
        if mark <= self.checkpoint.mark() {
            return;
        }
        assert!(
            self.checkpoint_mark().is_some_and(|most| mark <= most),
            "the checkpoint stands at or below stable and published"
        );
        self.checkpoint = self.checkpoint_at(mark);
        self.checkpoint_meta = self.checkpoint.encode();
        let trimmed = self.log.trim(mark);
        for entry in &trimmed {
            for hash in &entry.blobs {
                // The same data may have been imported again.
                if !self.needs_blob(*hash) {
                    self.blobs.forget(*hash);
                    self.outputs.push_back(Output::DropBlob(*hash));
                }
            }
        }
        self.commit.trim(trimmed.iter().map(|entry| entry.id()));
        self.drive_later(wall, now);
    }

    /// The published mark, if durable.
    #[must_use]
    pub fn published(&self) -> Option<Stamp> {
        self.published.map(|published| published.stamp)
    }

    /// The gate of the view in use: what settles above it settles in the same order at all members,
    /// and is published entry by entry (replication protocol section 10).
    #[must_use]
    pub fn gate(&self) -> Option<Stamp> {
        self.marks.view.as_ref().map(|view| view.gate)
    }

    /// The gate of the view in which the published mark was set.
    #[must_use]
    pub fn published_gate(&self) -> Option<Stamp> {
        self.published.map(|published| published.gate)
    }

    /// Where a checkpoint may stand: min(stable, published). None if that is no progress.
    #[must_use]
    pub fn checkpoint_mark(&self) -> Option<Stamp> {
        let mark = self.published()?.min(self.stable());
        (mark > self.checkpoint.mark()).then_some(mark)
    }

    /// What a checkpoint at this mark, from `checkpoint_mark`, must store beside the zones.
    #[must_use]
    pub fn checkpoint_meta(&self, mark: Stamp) -> Bytes {
        self.checkpoint_at(mark).encode()
    }

    /// Whether something is settled in the view in use, and more than half of the members by
    /// that version are in it.
    #[must_use]
    pub fn may_publish(&self) -> bool {
        self.is_settling() && self.holds_majority()
    }

    /// Whether a view is in use in which something is settled: requests are answered in time.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        let view = self.marks.view.as_ref();
        view.is_some_and(|view| view.first == First::Done)
    }

    pub(super) fn holds_majority(&self) -> bool {
        let in_use = self.view.in_use();
        in_use.is_some_and(|in_use| {
            self.members
                .majority_in(&in_use.members.keys().copied().collect())
        })
    }

    /// Whether the view in use holds every member by the settled version, those not counted whose
    /// eviction stands in the log or the checkpoint.
    pub(super) fn view_holds_all(&self) -> HeldAll {
        let Some(in_use) = self.view.in_use() else {
            return HeldAll::No;
        };
        let leaving: BTreeSet<PeerId> = self
            .evictions()
            .filter(|(_, place, _)| *place == Place::Log)
            .map(|(eviction, _, _)| eviction.victim)
            .collect();
        let counted = |peer: &PeerId| !leaving.contains(peer);
        let mut members = self.members.ids().filter(counted);
        if members.all(|peer| in_use.members.contains_key(&peer)) {
            HeldAll::Yes
        } else {
            HeldAll::No
        }
    }

    /// The members as of a mark in the log.
    pub(super) fn members_at(&self, mark: Stamp) -> Members {
        let changes: BTreeMap<Stamp, &Arc<Entry>> = self
            .log
            .changes()
            .filter(|(entry, place)| *place == Place::Log && entry.stamp() <= mark)
            .map(|(entry, _)| (entry.stamp(), entry))
            .collect();
        let mut members = self.checkpoint.members.clone();
        for entry in changes.into_values() {
            members.fold(entry);
        }
        members
    }

    /// An announcement of a member.
    pub(super) fn hear_announce(
        &mut self,
        from: PeerId,
        incarnation: Incarnation,
        announce: &Announce,
        wall: Duration,
        now: Instant,
    ) {
        let chain = crate::entry::Chain {
            author: from,
            incarnation,
        };
        let mut has = announce.durable.clone();
        has.raise(chain, announce.last);
        self.catch_up.hear(from, &has, &self.log, now);
        self.watch_clock(wall);
        let Some(view) = self
            .marks
            .view
            .as_mut()
            .filter(|view| view.id == announce.view)
        else {
            return;
        };
        self.clock.see(announce.clock);
        let rule = match self.config.faults {
            Faults::ClockWithoutChain => ClockRule::WithoutChain,
            _ => ClockRule::WithChain,
        };
        view.hear(from, announce, self.log.held().get(chain), wall, rule);
        if announce.wanted > Hybrid(0) {
            // The last one may have been lost.
            view.announce_at = view.announce_at.min(now + ANSWER_WITHIN);
        }
        self.compare_clocks();
    }

    /// Settles what the announcements prove.
    pub(super) fn settle(&mut self, _wall: Duration, now: Instant) {
        let Some(own_clock) = self.countable_clock() else {
            return;
        };
        let gate = match self.config.faults {
            Faults::NoGate => GateRule::Ignore,
            _ => GateRule::Wait,
        };
        let Some(view) = &mut self.marks.view else {
            return;
        };
        let Some(mark) = view.mark(&self.log, own_clock, gate) else {
            return;
        };
        if view.first == First::Done && mark <= self.marks.settled {
            return;
        }
        view.first = First::Done;
        self.raise_promise(mark.hybrid);
        self.marks.settled = mark;
        let members = self.members_at(mark);
        let changed = members != self.members;
        self.members = members;
        if self.view.members().is_some_and(|members| members.len() > 1) {
            // It has found others, and holds what they do: alone again, it need not look for them
            // before it goes on.
            self.lone_until = None;
            if self.standing == Standing::Newcomer {
                self.standing = Standing::Settled;
                self.commit.write_marks();
            }
        }
        self.outputs.push_back(Output::Settled(mark));
        let stable = self.stabilise(mark);
        if changed || stable == Moved::Dropped {
            // Not in this call: the driver reads the log up to `Settled` before it may change.
            self.look_at = now + LOOK_SOON;
        }
    }

    /// Settled in a view that holds every member is stable; nothing else is.
    fn stabilise(&mut self, mark: Stamp) -> Moved {
        let Some(in_use) = self.view.in_use() else {
            return Moved::No;
        };
        let all_here = self
            .members
            .ids()
            .all(|peer| in_use.members.contains_key(&peer));
        if !all_here || mark <= self.marks.stable.stamp {
            return Moved::No;
        }
        let mut stable = self.marks.stable;
        for entry in self
            .log
            .after(stable.stamp)
            .take_while(|entry| entry.stamp() <= mark)
        {
            stable.extend(entry);
        }
        stable.stamp = mark;
        self.marks.stable = stable;
        self.marks.stable_incarnations = in_use.members.clone();
        let aside_before = self.log.aside().count();
        self.drop_aside(mark);
        self.log.close(mark);
        self.outputs.push_back(Output::Stable(mark));
        if self.log.aside().count() < aside_before {
            Moved::Dropped
        } else {
            Moved::Yes
        }
    }

    /// This peer's own clock, if it may be announced and used for settling: the record of the
    /// view is durable, and so is the word that it holds all members, if it does.
    fn countable_clock(&mut self) -> Option<Hybrid> {
        let in_use = self.view.in_use()?;
        if !self.commit.has_record(in_use.id) {
            return None;
        }
        if self.view_holds_all() == HeldAll::Yes && self.held_all() == HeldAll::No {
            self.commit.raise_held_all();
            return None;
        }
        let target = self.marks.target(&self.log);
        if target > self.clock.announced() {
            self.clock.reach(target);
        }
        Some(self.clock.announced())
    }

    /// Before a clock counts anywhere, promise and floor cover it.
    fn raise_promise(&mut self, clock: Hybrid) {
        self.marks.promised = self.marks.promised.max(clock);
        if self.view_holds_all() == HeldAll::Yes {
            self.marks.floor = self.marks.floor.max(clock);
        }
    }

    /// Announces if it is due: after a flush, when somebody waits for this clock, while settling
    /// lags, else once a second.
    pub(super) fn announce(&mut self, wall: Duration, now: Instant) {
        let Some(clock) = self.countable_clock() else {
            return;
        };
        let (target, asked) = (self.marks.target(&self.log), self.marks.asked());
        let settled = self.marks.settled;
        let Some(view) = &mut self.marks.view else {
            return;
        };
        let behind = view.first == First::Awaited || settled < Stamp::last_of(target);
        let reached = |(wanted, _): &(Hybrid, _)| settled >= Stamp::last_of(*wanted);
        if view.first == First::Done && view.behind.as_ref().is_some_and(reached) {
            view.behind = None;
        }
        if behind {
            view.behind.get_or_insert((target, now));
            view.announce_at = view.announce_at.min(now + BEHIND_EVERY);
        }
        let asked_for = asked > view.announced && clock > view.announced;
        if view.is_alone() || now < view.announce_at && !asked_for {
            return;
        }
        view.announced = view.announced.max(clock);
        view.announce_at = now + if behind { BEHIND_EVERY } else { IDLE_EVERY };
        let announce = Announce {
            view: view.id,
            clock,
            last: self.log.held().get(self.own_chain()),
            durable: self
                .marks
                .view
                .as_ref()
                .map_or_else(Default::default, |view| view.above_base(self.log.durable())),
            wanted: if behind { target } else { Hybrid(0) },
            wall,
        };
        self.raise_promise(clock);
        self.multicast(Class::Announcement, Message::Announce(announce));
    }

    /// Replication protocol section 6: once after each flush.
    pub(super) fn announce_after_flush(&mut self, now: Instant) {
        if let Some(view) = &mut self.marks.view {
            view.announce_at = now;
        }
    }

    pub(super) fn announce_due(&self) -> Option<Instant> {
        let view = self.marks.view.as_ref()?;
        // Until the record is durable, with its word on all members, a flush comes first.
        let flag = self.view_holds_all() == HeldAll::No || self.held_all() == HeldAll::Yes;
        let ready = self.commit.has_record(view.id) && flag && !view.is_alone();
        ready.then_some(view.announce_at)
    }

    /// Among three clocks or more one that was set may be the outlier: until it is compared again
    /// it does not count, or an hour would stand in the stamps of all before anybody notices.
    pub(super) fn watch_clock(&mut self, wall: Duration) {
        if self.clock.has_stepped(wall)
            && let Some(view) = self.marks.view.as_mut().filter(|view| view.clocks() > 2)
        {
            view.forget_walls();
            self.clock.set_source(Source::CountOnly);
        }
    }

    /// Replication protocol section 13: until it has compared, and while it is off, the next
    /// stamp counts up without the wall clock.
    fn compare_clocks(&mut self) {
        let Some((off, clocks)) = self.marks.view.as_ref().and_then(|view| view.clock_off()) else {
            return;
        };
        let is_off = off.unsigned_abs() > OFF_MAX.as_millis() as u64;
        let was_off = self
            .clock_off
            .is_some_and(|off| off.unsigned_abs() > OFF_MAX.as_millis() as u64);
        self.clock_off = Some(off);
        // Of two clocks that differ nobody knows which is off: it is told, and both go on.
        self.clock.set_source(if is_off && clocks > 2 {
            Source::CountOnly
        } else {
            Source::Wall
        });
        if is_off && !was_off {
            self.tell(Event::ClockOff(off));
        }
    }

    fn checkpoint_at(&self, mark: Stamp) -> Checkpoint {
        let entries = self.log.after(Stamp::ZERO);
        let entries = entries.take_while(|entry| entry.stamp() <= mark);
        self.checkpoint.advance(
            mark,
            entries.map(|entry| &**entry),
            self.marks.stable_incarnations.clone(),
        )
    }
}

/// What became of the wish to publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publish {
    /// `Published` tells when it is durable.
    Begun,
    /// This very version is published already.
    Unchanged,
    /// This side holds no majority, or has settled nothing in its view yet.
    NotHere,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moved {
    No,
    Yes,
    /// Entries aside are gone, evictions perhaps among them.
    Dropped,
}

/// After a change of members or exclusions, in a call of its own.
const LOOK_SOON: Duration = Duration::from_millis(1);
/// While a clock or frontier is behind the target.
const BEHIND_EVERY: Duration = Duration::from_millis(25);
/// An announcement that asks is answered within this time.
const ANSWER_WITHIN: Duration = Duration::from_millis(20);
/// With nothing to say.
const IDLE_EVERY: Duration = Duration::from_secs(1);
