//! What must hold always; each broken promise is an error with its reason.

use super::fold::{Outcome, Version};
use overlay::PeerId;
use replication::{Digest, EntryId, SettlingViewId};
use std::collections::{BTreeMap, BTreeSet};

/// All that any peer has ever shown.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// In one settling view, one entry and one outcome at each position.
    places: BTreeMap<(SettlingViewId, u64), (EntryId, Outcome)>,
    /// In one settling view, one content for each serial.
    serials: BTreeMap<(SettlingViewId, u8, u64), Vec<(u8, u64)>>,
    /// In everything that is published, one content for each serial.
    published: BTreeMap<(u8, u64), Vec<(u8, u64)>>,
    /// What each peer published last.
    last_published: BTreeMap<PeerId, BTreeMap<u8, u64>>,
    /// In one view, one answer to one request that made an entry.
    answers: BTreeMap<(SettlingViewId, Digest), Outcome>,
    /// Entries that somebody was told of, with who held them then.
    pub(crate) told: BTreeMap<EntryId, BTreeSet<PeerId>>,
    pub(crate) summary: Summary,
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) answers: u64,
    pub(crate) crashes: u64,
    pub(crate) crashes_in_flush: u64,
    pub(crate) views: u64,
    pub(crate) joins: u64,
    pub(crate) evictions: u64,
    pub(crate) settled: u64,
    pub(crate) published: u64,
    pub(crate) withdrawals: u64,
    pub(crate) checkpoints: u64,
    pub(crate) trace: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.crashes += other.crashes;
        self.crashes_in_flush += other.crashes_in_flush;
        self.views += other.views;
        self.joins += other.joins;
        self.evictions += other.evictions;
        self.settled += other.settled;
        self.published += other.published;
        self.withdrawals += other.withdrawals;
        self.checkpoints += other.checkpoints;
    }
}

impl Checks {
    pub(crate) fn settled(
        &mut self,
        view: SettlingViewId,
        version: &Version,
        entry: EntryId,
        outcome: Outcome,
    ) -> Result<(), String> {
        self.summary.settled += 1;
        let place = (view, version.position);
        let first = *self.places.entry(place).or_insert((entry, outcome));
        if first != (entry, outcome) {
            return Err(format!("{place:?} is {first:?} and {:?}", (entry, outcome)));
        }
        Ok(())
    }

    /// A settled version that a peer has shown in a view, at or after the first settling there.
    pub(crate) fn shown(&mut self, view: SettlingViewId, version: &Version) -> Result<(), String> {
        for (zone, serial, content) in version.serials() {
            let first = self
                .serials
                .entry((view, zone, serial))
                .or_insert_with(|| content.clone());
            if *first != content {
                return Err(format!(
                    "serial {serial} of zone {zone} has two contents in one view"
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn published(&mut self, peer: PeerId, version: &Version) -> Result<(), String> {
        self.summary.published += 1;
        for (zone, serial, content) in version.serials() {
            let first = self
                .published
                .entry((zone, serial))
                .or_insert_with(|| content.clone());
            if *first != content {
                return Err(format!(
                    "serial {serial} of zone {zone} was published with {first:?} and {content:?}"
                ));
            }
            let last = self.last_published.entry(peer).or_default();
            let last = last.entry(zone).or_insert(serial);
            if *last > serial {
                return Err(format!("{peer}: serial went back from {last} to {serial}"));
            }
            *last = serial;
        }
        Ok(())
    }

    pub(crate) fn answered(
        &mut self,
        view: SettlingViewId,
        digest: Digest,
        outcome: Outcome,
    ) -> Result<(), String> {
        let first = *self.answers.entry((view, digest)).or_insert(outcome);
        if first != outcome {
            return Err(format!(
                "one request was told {first:?} and {outcome:?} in one view"
            ));
        }
        Ok(())
    }
}
