//! One simulated peer: a real replica, its disk, a fold, and requests that wait.

use super::checks::Checks;
use super::disk::Disk;
use super::fold::{Outcome, Request, Version};
use overlay::{Incarnation, PeerId};
use replication::{Digest, EntryId, MemberSet, ReadId, Replica, SettlingViewId, Stamp, Submitted};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) disk: Disk,
    /// None while it is off.
    pub(crate) life: Option<Life>,
    /// Its disk is lost: it never returns.
    pub(crate) destroyed: bool,
    pub(crate) skew_millis: i64,
    /// The newest signed statement, with its edition.
    pub(crate) near: (u64, Vec<u8>),
    pub(crate) view_number: u64,
}

/// From start to crash.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) replica: Replica,
    pub(crate) incarnation: Incarnation,
    pub(crate) ready: bool,
    pub(crate) members: MemberSet,
    pub(crate) flush_until: Option<Duration>,
    settled: (Stamp, Version),
    refold: bool,
    /// The view in which the settled version was settled.
    pub(crate) last_view: Option<(SettlingViewId, BTreeSet<PeerId>)>,
    pub(crate) publishing: Option<(Stamp, Version)>,
    pub(crate) published: (Stamp, Version),
    waiting: Vec<Waiting>,
    answers: Answers,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answers {
    FromSettled,
    /// A planted fault.
    FromTentative,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: Request,
    digest: Digest,
    waits: Waits,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waits {
    /// For the entry with its digest to be settled.
    Entry,
    /// For the entry to get a stamp at all.
    Queue,
    Read(ReadId, Stamp),
    /// For a replica that takes requests.
    Replica,
}

/// An answer that was given, for the checks.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) digest: Digest,
    pub(crate) outcome: Outcome,
    /// The entry on which it rests: its own, or the last that changed the name.
    pub(crate) rests_on: Option<EntryId>,
    pub(crate) has_entry: bool,
}

impl Life {
    pub(crate) fn new(
        replica: Replica,
        checkpoint: &(Stamp, Version, Vec<u8>),
        answers: Answers,
    ) -> Self {
        let mut version = checkpoint.1.clone();
        for entry in replica.published_entries() {
            version.fold(&entry);
        }
        let mark = replica.settled();
        Self {
            incarnation: replica.incarnation(),
            replica,
            ready: false,
            members: MemberSet::default(),
            flush_until: None,
            settled: (mark, version.clone()),
            refold: true,
            last_view: None,
            publishing: None,
            published: (mark, version),
            waiting: Vec::new(),
            answers,
        }
    }

    pub(crate) fn settled_version(&self) -> &Version {
        &self.settled.1
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn log_changed(&mut self) {
        self.refold = true;
    }

    /// Folds up to the mark.
    pub(crate) fn settle(
        &mut self,
        mark: Stamp,
        checkpoint: &(Stamp, Version, Vec<u8>),
        checks: &mut Checks,
    ) -> Result<(), String> {
        self.last_view = self.replica.view();
        let Some((view, _)) = self.last_view else {
            return Err("settled without a view".into());
        };
        let first = self.refold;
        if first {
            self.settled = (checkpoint.0, checkpoint.1.clone());
            self.refold = false;
        }
        if mark < self.settled.0 {
            return Err("the settled mark went back".into());
        }
        let version = &mut self.settled.1;
        for entry in self.replica.log_after(self.settled.0) {
            if entry.stamp() > mark {
                break;
            }
            let outcome = version.fold(entry);
            checks.settled(view, version, entry.id(), outcome)?;
            if !first {
                checks.shown(view, version)?;
            }
        }
        self.settled.0 = mark;
        checks.shown(view, &self.settled.1)
    }

    pub(crate) fn ask(&mut self, request: Request, digest: Digest) {
        if !self.waiting.iter().any(|waiting| waiting.digest == digest) {
            self.waiting.push(Waiting {
                request,
                digest,
                waits: Waits::Replica,
            });
        }
    }

    /// Looks at every request that waits; returns answers. (Replication protocol section 8.)
    pub(crate) fn consider_all(
        &mut self,
        checkpoint: &(Stamp, Version, Vec<u8>),
        wall: Duration,
        now: Instant,
    ) -> Vec<Answer> {
        let mut answers = Vec::new();
        if self.waiting.is_empty() {
            return answers;
        }
        let in_log: BTreeSet<Digest> = self
            .replica
            .log_after(checkpoint.0)
            .filter_map(|entry| entry.digest)
            .collect();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|waiting| {
            if waiting.waits == Waits::Queue && in_log.contains(&waiting.digest) {
                waiting.waits = Waits::Entry;
            }
            let settled = self.settled.1.digests.get(&waiting.digest);
            if let Some(outcome) = settled.filter(|_| !self.refold) {
                let rests_on = self
                    .replica
                    .log_after(checkpoint.0)
                    .take_while(|entry| entry.stamp() <= self.settled.0)
                    .find(|entry| entry.digest == Some(waiting.digest))
                    .map(|entry| entry.id());
                answers.push(Answer {
                    digest: waiting.digest,
                    outcome: *outcome,
                    rests_on,
                    has_entry: true,
                });
                if let Waits::Read(read, _) = waiting.waits {
                    self.replica.release_read(read);
                }
                return false;
            }
            match waiting.waits {
                Waits::Entry if in_log.contains(&waiting.digest) => return true,
                Waits::Queue => return true,
                Waits::Read(_, stamp) if self.refold || stamp > self.settled.0 => return true,
                Waits::Read(read, _) => {
                    self.replica.release_read(read);
                    let (outcome, change) = self.settled.1.evaluate(&waiting.request);
                    if change.is_none() {
                        answers.push(self.answer_without_entry(waiting, outcome, &self.settled.1));
                        return false;
                    }
                }
                Waits::Entry | Waits::Replica => {}
            }
            // As new.
            if in_log.contains(&waiting.digest) {
                waiting.waits = Waits::Entry;
                return true;
            }
            let mut tentative = checkpoint.1.clone();
            for entry in self.replica.log_after(checkpoint.0) {
                tentative.fold(entry);
            }
            let (outcome, change) = tentative.evaluate(&waiting.request);
            if change.is_none() {
                if self.answers == Answers::FromTentative {
                    answers.push(self.answer_without_entry(waiting, outcome, &tentative));
                    return false;
                }
                let (read, stamp) = self.replica.read_stamp(wall, now);
                waiting.waits = Waits::Read(read, stamp);
                return true;
            }
            let body = waiting.request.encode().into();
            let digest = Some(waiting.digest);
            waiting.waits = match self.replica.submit(digest, body, Vec::new(), wall, now) {
                Ok(Submitted::Stamped(_)) => Waits::Entry,
                Ok(Submitted::Waiting) => Waits::Queue,
                Err(_) => Waits::Replica,
            };
            true
        });
        self.waiting = waiting;
        answers
    }

    fn answer_without_entry(&self, waiting: &Waiting, outcome: Outcome, on: &Version) -> Answer {
        let name = on.name(waiting.request.zone, waiting.request.name);
        Answer {
            digest: waiting.digest,
            outcome,
            rests_on: name.map(|name| name.by),
            has_entry: false,
        }
    }
}
