//! Two sides that are in no common view may find the same VIP free. They hear each other's
//! probes: who asked first goes on, of equals the one with the lower Ethernet address
//! (RFC 5227 section 2.1.1).
//!
//! ```text
//!  question ── stays unanswered ──▶ free ── its turn comes ──▶ the driver announces it
//!    another's probe:  ├ overlaps mine: the higher Ethernet address begins anew a little later
//!                      └ comes later: the other finds nobody, so what I know is over
//! ```
//! Whoever announces had a question of its own that nobody else's came after. Of two such
//! questions one was the first; its asker heard the other in time, or answered it.

use super::{Failover, Phase, Run, VipFaults};
use crate::vip::address::VipId;
use crate::vip::kernel::{Kernel, Mac};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a probe is remembered: longer than what the segment said counts.
const PROBES_KEPT: Duration = Duration::from_millis(100);
/// After so many a VIP is taken all the same.
const CONTESTS_MAX: u32 = 16;
/// Stations that ask for one VIP and are remembered; a segment full of strangers asks for more.
const PROBERS_MAX: usize = 16;

/// Who asked for VIPs of late: a station, as which Ethernet address of this machine it was heard,
/// and when.
#[derive(Default)]
pub(super) struct Probes(BTreeMap<VipId, BTreeMap<Mac, (Mac, Instant)>>);

/// What others' probes make of an own question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Contest {
    /// Nobody else asked.
    Free,
    /// Somebody who goes first asked at the same time, and has the VIP by then if nobody had it.
    Lost(Instant),
    /// Somebody asked after it.
    Outdated,
}

impl Probes {
    /// Forgets what is no VIP any more.
    pub(super) fn retain(&mut self, is_vip: impl Fn(&VipId) -> bool) {
        self.0.retain(|vip, _| is_vip(vip));
    }

    fn note(&mut self, vip: VipId, theirs: Mac, mine: Mac, now: Instant) {
        let probers = self.0.entry(vip).or_default();
        probers.retain(|_, (_, at)| now < *at + PROBES_KEPT);
        if probers.len() < PROBERS_MAX || probers.contains_key(&theirs) {
            probers.insert(theirs, (mine, now));
        }
    }
}

impl Failover {
    /// Another station asks who has a VIP, to take it if nobody does. What is still to be announced
    /// here for want of a holder is in doubt again.
    pub(super) fn handle_probed(&mut self, vip: VipId, theirs: Mac, mine: Mac, now: Instant) {
        if !self.vips.contains_key(&vip) || self.macs.contains(&theirs) {
            return;
        }
        self.probes.note(vip, theirs, mine, now);
        let Phase::Run(run) = &self.phase else { return };
        let is_fill = run.plan.fills.get(&vip) == Some(&self.config.me);
        if !is_fill || !self.is_rival(run, theirs, now) {
            return;
        }
        let local = self.local(vip);
        let is_waiting = local.want == Kernel::Announced && local.is != Kernel::Announced;
        let is_under_way = self.changing == Some((vip, Kernel::Announced));
        if is_waiting && !is_under_way && self.may_contest(vip) {
            self.local(vip).want = Kernel::Absent;
            self.refill_after_asking(vip);
            self.called = Some(now);
        }
    }

    /// What others' probes make of a question that was asked and answered at these times; counted.
    pub(super) fn contest(&mut self, vip: VipId, asked: Instant, answered: Instant) -> Contest {
        let Phase::Run(run) = &self.phase else {
            return Contest::Free;
        };
        let overlap = self.config.timing.ask * 2;
        let probers = self.probes.0.get(&vip).into_iter().flatten();
        let rivals = probers.filter(|(theirs, (_, at))| self.is_rival(run, **theirs, *at));
        let contests = rivals.map(|(theirs, (mine, at))| match () {
            () if *at > answered => Contest::Outdated,
            () if asked < *at + overlap && theirs < mine => Contest::Lost(*at + overlap),
            () => Contest::Free,
        });
        match contests.max() {
            Some(contest) if contest > Contest::Free && self.may_contest(vip) => contest,
            _ => Contest::Free,
        }
    }

    /// Whether who asked then may take what this peer is to take.
    fn is_rival(&self, run: &Run, theirs: Mac, at: Instant) -> bool {
        // Members have asked too when they suspected who is gone, and one of them takes it by the
        // plan. Who asks later than that is in another view by now.
        at > run.began + self.config.timing.ask || !self.is_of_member(theirs)
    }

    /// Whether an Ethernet address is a member's of this view.
    pub(super) fn is_of_member(&self, mac: Mac) -> bool {
        // Their claim in this view may not be here yet; their Ethernet addresses do not change.
        let view = self.view.iter().flat_map(|view| &view.members);
        let mut claims = view.filter_map(|(peer, _)| self.claims.get(peer));
        claims.any(|(_, claim)| claim.macs.contains(&mac))
    }

    /// Once more; who asks all the time does not hold up for ever what nobody announces.
    fn may_contest(&mut self, vip: VipId) -> bool {
        let is_heeded = self.faults != VipFaults::IgnoreProbes;
        let local = self.local(vip);
        local.contests += 1;
        is_heeded && local.contests <= CONTESTS_MAX
    }
}
