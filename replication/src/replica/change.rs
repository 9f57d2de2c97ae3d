//! Joins and evictions: when they may be authored, whom they exclude, what completes a join
//! (replication protocol section 12).

use super::start::{Snapshot, Stage};
use super::{Majority, Refused, Replica, Submitted};
use crate::entry::{Body, EntryId, Stamp};
use crate::log::Place;
use crate::membership::{Eviction, MemberSet, NotNow};
use crate::output::Output;
use bytes::Bytes;
use overlay::{Admit, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

impl Replica {
    /// Authors the join of a peer to which a stage has been streamed.
    pub fn author_join(
        &mut self,
        admit: Admit,
        majority: Majority,
        wall: Duration,
        now: Instant,
    ) -> Result<Submitted, NotNow> {
        self.may_change_members(majority)?;
        if self.members.contains(admit.peer()) || self.members.evicted().contains(&admit.peer()) {
            return Err(NotNow::Member);
        }
        if self
            .members
            .admits()
            .any(|member| member.name == admit.name)
        {
            return Err(NotNow::NameTaken);
        }
        self.author_change(Body::Join(admit), wall, now)
    }

    /// Authors the eviction of a member.
    pub fn author_evict(
        &mut self,
        victim: PeerId,
        majority: Majority,
        wall: Duration,
        now: Instant,
    ) -> Result<Submitted, NotNow> {
        self.may_change_members(majority)?;
        if !self.members.contains(victim) || victim == self.config.me {
            return Err(NotNow::NoMember);
        }
        self.author_change(Body::Evict(victim), wall, now)
    }

    /// Whether a membership entry may be authored: one change at a time, after the gate, in a
    /// majority or by an operator who vouches that the missing ones are off.
    pub fn may_change_members(&self, majority: Majority) -> Result<(), NotNow> {
        if !self.is_settling() {
            return Err(NotNow::NotSettled);
        }
        let pending = self
            .log
            .changes()
            .any(|(entry, place)| place == Place::Log && entry.stamp() > self.marks.settled);
        if pending || self.queue.iter().any(|q| !matches!(q.body, Body::Data(_))) {
            return Err(NotNow::ChangePending);
        }
        if majority == Majority::Needed && !self.holds_majority() {
            return Err(NotNow::NoMajority);
        }
        Ok(())
    }

    /// What completes the stage of this id, once the join of `peer` is settled.
    pub fn snapshot_for(
        &self,
        peer: PeerId,
        stage_id: &[u8],
        majority: Majority,
    ) -> Result<Bytes, NotNow> {
        if !self.is_settling() {
            return Err(NotNow::NotSettled);
        }
        if !self.members.contains(peer) {
            return Err(NotNow::JoinNotSettled);
        }
        // The view without the newcomer still is a majority of the others.
        let view: BTreeSet<PeerId> = self
            .view
            .in_use()
            .map(|in_use| in_use.members.keys().copied().collect())
            .unwrap_or_default();
        let others: Vec<PeerId> = self
            .members
            .ids()
            .filter(|member| *member != peer)
            .collect();
        let here = others.iter().filter(|member| view.contains(member)).count();
        if majority == Majority::Needed && here * 2 <= others.len() {
            return Err(NotNow::NoMajority);
        }
        let staged = Stage::frontier(stage_id).ok_or(NotNow::StageTooOld)?;
        if !staged.covers(&self.checkpoint.frontier) {
            return Err(NotNow::StageTooOld);
        }
        let since = self.log.after(Stamp::ZERO);
        let since = since.filter(|entry| !staged.holds(entry.id()));
        let snapshot = Snapshot {
            stage_id: Bytes::copy_from_slice(stage_id),
            entries: since.cloned().collect(),
            bounds: self.log.bounds().clone(),
            hybrid: self.clock.hybrid(),
            floor: self.marks.floor,
            frontier: self.log_frontier(),
        };
        Ok(snapshot.encode())
    }

    /// Evictions that this peer holds durably, in the log or aside above the floor.
    pub(super) fn held_evictions(&self) -> BTreeSet<Eviction> {
        let floor = Stamp::last_of(self.marks.floor);
        self.evictions()
            .filter(|(eviction, place, _)| *place == Place::Log || eviction.stamp > floor)
            .filter(|(_, _, id)| self.log.durable().holds(*id))
            .map(|(eviction, _, _)| eviction)
            .collect()
    }

    /// All evictions that this peer has, with where they lie.
    pub(super) fn evictions(&self) -> impl Iterator<Item = (Eviction, Place, EntryId)> + '_ {
        self.log
            .changes()
            .filter_map(|(entry, place)| match entry.body {
                Body::Evict(victim) => {
                    let stamp = entry.stamp();
                    Some((Eviction { stamp, victim }, place, entry.id()))
                }
                Body::Data(_) | Body::Join(_) => None,
            })
    }

    /// Whether this peer's join is held durably, in checkpoint, log or aside.
    pub(super) fn is_admitted(&self, peer: PeerId) -> bool {
        self.checkpoint.members.contains(peer)
            || self.log.changes().any(|(entry, _)| {
                matches!(&entry.body, Body::Join(admit) if admit.peer() == peer)
                    && self.log.durable().holds(entry.id())
            })
    }

    /// Tells the overlay if who is admitted, excluded or evicted has changed.
    pub(super) fn update_member_set(&mut self) {
        let mut admitted: BTreeMap<PeerId, &Admit> = BTreeMap::new();
        for (entry, _) in self.log.changes() {
            if let Body::Join(admit) = &entry.body
                && self.log.durable().holds(entry.id())
            {
                admitted.entry(admit.peer()).or_insert(admit);
            }
        }
        admitted.extend(
            self.checkpoint
                .members
                .admits()
                .map(|admit| (admit.peer(), admit)),
        );
        let set = MemberSet {
            admitted: admitted.into_values().cloned().collect(),
            excluded: self
                .excluded
                .difference(self.members.evicted())
                .copied()
                .collect(),
            evicted: self.members.evicted().iter().copied().collect(),
        };
        if set != self.member_set {
            self.member_set = set.clone();
            self.outputs.push_back(Output::Members(set));
        }
    }

    fn author_change(
        &mut self,
        body: Body,
        wall: Duration,
        now: Instant,
    ) -> Result<Submitted, NotNow> {
        let submitted = self.author(None, body, Vec::new(), wall, now);
        self.drive_later(wall, now);
        submitted.map_err(|refused| match refused {
            Refused::Full
            | Refused::Withdrawn
            | Refused::Evicted
            | Refused::TooLarge
            | Refused::BlobMissing => NotNow::Unable,
        })
    }
}
