//! Announcements and what they prove: settled, stable, floor (replication protocol sections 6, 7).

use crate::entry::{Hybrid, Stamp};
use crate::frontier::Frontier;
use crate::log::Log;
use crate::message::{Announce, Prefix};
use crate::near::Set;
use crate::replica::ReadId;
use crate::settling_view::{InUse, SettlingViewId};
use overlay::PeerId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The marks of one peer, over all views.
#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) settled: Stamp,
    pub(crate) stable: Prefix,
    /// The lives of the members in whose view the stable mark last moved.
    pub(crate) stable_incarnations: Set,
    /// The greatest clock ever announced or used for settling.
    pub(crate) promised: Hybrid,
    /// Somebody may be making everything up to here stable.
    pub(crate) floor: Hybrid,
    /// Parked reads.
    pub(crate) reads: BTreeMap<ReadId, Stamp>,
    pub(crate) view: Option<ViewMarks>,
}

/// What has been heard in the view in use.
#[derive(Debug)]
pub(crate) struct ViewMarks {
    pub(crate) id: SettlingViewId,
    base: Frontier,
    pub(crate) gate: Stamp,
    heard: BTreeMap<PeerId, Heard>,
    /// Up to here every entry is durable at every member.
    verified: Stamp,
    /// Whether anything is settled in this view.
    pub(crate) first: First,
    /// The greatest clock that a member waits for.
    pub(crate) wanted: Hybrid,
    /// The greatest clock announced in this view.
    pub(crate) announced: Hybrid,
    /// When the next announcement is due in any case.
    pub(crate) announce_at: Instant,
    /// The target of some moment that settled has not reached, and that moment. The target itself
    /// runs ahead with every entry: under steady load it is never reached.
    pub(crate) behind: Option<(Hybrid, Instant)>,
}

/// Whether the first settling of a view has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum First {
    Awaited,
    Done,
}

#[derive(Debug, Default)]
struct Heard {
    /// Counted: its chain is held up to where the clock was announced.
    clock: Hybrid,
    /// Last sequence → clock, where the chain is not held so far.
    pending: BTreeMap<u64, Hybrid>,
    durable: Frontier,
    wall_off: Option<i64>,
}

impl Marks {
    /// What all of this view's members must reach.
    pub(crate) fn target(&self, log: &Log) -> Hybrid {
        let reads = self.reads.values().map(|stamp| stamp.hybrid).max();
        let view = self.view.as_ref();
        log.greatest_in_log()
            .hybrid
            .max(reads.unwrap_or_default())
            .max(view.map_or(Hybrid(0), |view| view.wanted))
            .max(view.map_or(Hybrid(0), |view| view.gate.hybrid))
    }

    /// The greatest clock that somebody waits for beyond what the log asks.
    pub(crate) fn asked(&self) -> Hybrid {
        let reads = self.reads.values().map(|stamp| stamp.hybrid).max();
        let wanted = self.view.as_ref().map_or(Hybrid(0), |view| view.wanted);
        wanted.max(reads.unwrap_or_default())
    }
}

impl ViewMarks {
    pub(crate) fn new(me: PeerId, in_use: &InUse, gate: Stamp, now: Instant) -> Self {
        let others = in_use.members.keys().filter(|peer| **peer != me);
        Self {
            id: in_use.id,
            base: in_use.base.clone(),
            gate,
            heard: others.map(|peer| (*peer, Heard::default())).collect(),
            verified: Stamp::ZERO,
            first: First::Awaited,
            wanted: Hybrid(0),
            announced: Hybrid(0),
            announce_at: now,
            behind: None,
        }
    }

    /// Takes an announcement made in this view. Its frontier counts at once, its clock once the
    /// sender's chain is held up to `last`.
    pub(crate) fn hear(
        &mut self,
        from: PeerId,
        announce: &Announce,
        held: u64,
        wall: Duration,
        rule: ClockRule,
    ) {
        let Some(heard) = self.heard.get_mut(&from) else {
            return;
        };
        heard.durable.merge(&announce.durable);
        heard.wall_off = Some(announce.wall.as_millis() as i64 - wall.as_millis() as i64);
        if rule == ClockRule::WithoutChain || announce.last <= held {
            heard.clock = heard.clock.max(announce.clock);
        } else {
            if heard.pending.len() >= PENDING_MAX {
                // The newest covers those before it once its chain is held.
                heard.pending.pop_last();
            }
            let clock = heard.pending.entry(announce.last).or_default();
            *clock = announce.clock.max(*clock);
        }
        self.wanted = self.wanted.max(announce.wanted);
    }

    /// Counts clocks that waited for the sender's chain, which is held up to `held`.
    pub(crate) fn count(&mut self, from: PeerId, held: u64) {
        if let Some(heard) = self.heard.get_mut(&from) {
            let rest = heard.pending.split_off(&(held + 1));
            for clock in std::mem::replace(&mut heard.pending, rest).into_values() {
                heard.clock = heard.clock.max(clock);
            }
        }
    }

    /// How far the log may be settled, with this peer's own clock; none if no further.
    pub(crate) fn mark(&mut self, log: &Log, own_clock: Hybrid, gate: GateRule) -> Option<Stamp> {
        let clocks = self.heard.values().map(|heard| heard.clock);
        let clock = clocks.fold(own_clock, Hybrid::min);
        let mut mark = Stamp::last_of(clock);
        for entry in log.after(self.verified) {
            if entry.stamp() > mark {
                break;
            }
            if !self.is_durable_everywhere(log, entry.chain, entry.sequence) {
                mark = entry.stamp().before();
                break;
            }
        }
        self.verified = self.verified.max(mark);
        if self.first == First::Awaited && gate == GateRule::Wait && mark < self.gate {
            return None;
        }
        Some(mark)
    }

    /// The members for whose clock or frontier settling up to `target` waits.
    pub(crate) fn waits_for(&self, log: &Log, target: Hybrid) -> Vec<PeerId> {
        let lacking = log
            .after(self.verified)
            .find(|e| !self.is_durable_everywhere(log, e.chain, e.sequence));
        let waits = |(peer, heard): (&PeerId, &Heard)| {
            let lacks = lacking.is_some_and(|entry| {
                heard.durable.get(entry.chain) < entry.sequence && !self.base.holds(entry.id())
            });
            (heard.clock < target || lacks).then_some(*peer)
        };
        self.heard.iter().filter_map(waits).collect()
    }

    /// Whether every other member has announced everything in `stated` as durable.
    pub(crate) fn all_hold(&self, stated: &Frontier) -> bool {
        let held = |heard: &Heard| {
            stated.iter().all(|(chain, sequence)| {
                sequence <= self.base.get(chain) || sequence <= heard.durable.get(chain)
            })
        };
        self.heard.values().all(held)
    }

    /// What of `durable` an announcement in this view names.
    pub(crate) fn above_base(&self, durable: &Frontier) -> Frontier {
        let above = |(chain, sequence): &(_, u64)| *sequence > self.base.get(*chain);
        durable.iter().filter(above).collect()
    }

    /// This wall clock less the median of all members', if another's is known; and of how many.
    pub(crate) fn clock_off(&self) -> Option<(i64, usize)> {
        let mut offs: Vec<i64> = self.heard.values().filter_map(|h| h.wall_off).collect();
        if offs.is_empty() {
            return None;
        }
        if offs.len() > 1 {
            offs.push(0);
        }
        offs.sort_unstable();
        // Of two clocks neither is the median: each compares with the other.
        Some((-offs[offs.len() / 2], self.clocks()))
    }

    /// How many clocks the view has, this peer's among them.
    pub(crate) fn clocks(&self) -> usize {
        self.heard.len() + 1
    }

    /// This peer's wall clock was set: what the others' were off from it says nothing.
    pub(crate) fn forget_walls(&mut self) {
        for heard in self.heard.values_mut() {
            heard.wall_off = None;
        }
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.heard.is_empty()
    }

    fn is_durable_everywhere(&self, log: &Log, chain: crate::entry::Chain, sequence: u64) -> bool {
        // The base was durable at whoever has announced anything in this view.
        sequence <= self.base.get(chain)
            || sequence <= log.durable().get(chain)
                && self
                    .heard
                    .values()
                    .all(|heard| sequence <= heard.durable.get(chain))
    }
}

/// When a clock counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClockRule {
    /// Only with the sender's chain.
    WithChain,
    /// A planted fault.
    WithoutChain,
}

/// Whether the first settling waits for the gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GateRule {
    Wait,
    /// A planted fault.
    Ignore,
}

/// Clocks of one member that wait for its chain: more than it announces while entries are under
/// way.
const PENDING_MAX: usize = 64;
