//! What the driver is asked for, one change at a time, and what it reports.

use super::{Failover, Local, Notice, Phase, Taking};
use crate::vip::address::VipId;
use crate::vip::kernel::{Kernel, Mac, Order, Unfit};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a VIP that the kernel refused is left alone; doubled with each further time.
const BLOCKED_MIN: Duration = Duration::from_secs(1);
const BLOCKED_MAX: Duration = Duration::from_secs(60);
/// How long a VIP that another station claims is not told of again: the driver tells the segment
/// several times in this.
const DEFENDED: Duration = Duration::from_secs(2);
/// Failures longer ago than this are forgotten.
const FAILURE_MEMORY: Duration = Duration::from_secs(600);

impl Failover {
    /// Asks for the next change, withdrawals first: towards what is wanted now.
    pub(super) fn change_next(&mut self, now: Instant) {
        if self.changing.is_some() {
            return;
        }
        let is_gathering = matches!(self.phase, Phase::Gather(_));
        let differing = self.vips.iter().filter(|(_, local)| {
            local.want != local.is
                && !local.is_blocked(now)
                && !(is_gathering && local.want > local.is)
        });
        let next = differing.min_by_key(|(vip, local)| {
            let is_gain = local.want > local.is;
            (is_gain, Reverse(local.is), Reverse(local.want), **vip)
        });
        if let Some((vip, local)) = next {
            let (vip, want) = (*vip, local.want);
            self.changing = Some((vip, want));
            self.order(Order::Change(vip, want));
        }
    }

    /// True while an announced VIP is being changed, or is to be withdrawn.
    pub(super) fn is_changing_announced(&self, now: Instant) -> bool {
        let is_under_way = self.changing.is_some_and(|(vip, to)| {
            to == Kernel::Announced || self.state(vip) == Kernel::Announced
        });
        let mut vips = self.vips.values();
        is_under_way
            || vips.any(|local| {
                local.is == Kernel::Announced
                    && local.want != Kernel::Announced
                    && !local.is_blocked(now)
            })
    }

    pub(super) fn handle_is(&mut self, vip: VipId, state: Kernel, now: Instant) {
        if self.changing.is_some_and(|(changing, _)| changing == vip) {
            self.changing = None;
        }
        let linger = now + self.config.timing.linger;
        let local = self.local(vip);
        let before = std::mem::replace(&mut local.is, state);
        if state == Kernel::Ready && local.linger.is_some() {
            local.linger = Some(linger);
        }
        if state == Kernel::Announced && before != Kernel::Announced {
            self.note_taken(vip);
        } else if before == Kernel::Announced && state != Kernel::Announced {
            self.notice(Notice::Released(vip));
        }
    }

    pub(super) fn handle_failed(&mut self, vip: VipId, state: Kernel, why: String, now: Instant) {
        if self.changing.is_some_and(|(changing, _)| changing == vip) {
            self.changing = None;
        }
        let local = self.local(vip);
        local.is = state;
        local.want = Kernel::Absent;
        local.linger = None;
        local.block(now);
        self.counters.failed += 1;
        self.notice(Notice::Failed(vip, why));
        self.gather_anew(now);
    }

    pub(super) fn handle_lost(&mut self, vip: VipId, state: Kernel, now: Instant) {
        let local = self.local(vip);
        if local.is == state {
            return;
        }
        local.is = state;
        if local.want > state {
            local.want = Kernel::Absent;
        }
        self.notice(Notice::Lost(vip));
        self.gather_anew(now);
    }

    /// Another station announces what is announced here.
    pub(super) fn handle_foreign(&mut self, vip: VipId, theirs: Mac, mine: Mac, now: Instant) {
        if self.state(vip) != Kernel::Announced {
            return;
        }
        // Members settle it by their claims.
        if self.is_of_member(theirs) || self.macs.contains(&theirs) {
            return;
        }
        if mine < theirs {
            // A station that answers each telling with its own would be told for ever.
            let local = self.local(vip);
            if local.defended_until.is_none_or(|until| until <= now) {
                local.defended_until = Some(now + DEFENDED);
                self.counters.foreign += 1;
                self.notice(Notice::Foreign(vip, theirs));
                self.order(Order::Announce(vip));
            }
            return;
        }
        self.counters.foreign += 1;
        self.notice(Notice::Foreign(vip, theirs));
        let local = self.local(vip);
        local.want = Kernel::Absent;
        local.linger = None;
        self.refill_after_asking(vip);
        self.called = Some(now);
    }

    pub(super) fn handle_fitness(&mut self, fitness: BTreeMap<VipId, Result<(), Unfit>>) {
        for (vip, fit) in &fitness {
            if self.fitness.get(vip) != Some(fit) {
                self.notice(Notice::Fitness(*vip, fit.clone().err()));
            }
        }
        self.fitness = fitness;
    }

    fn note_taken(&mut self, vip: VipId) {
        let me = self.config.me;
        let is_handed = match &self.phase {
            Phase::Run(run) => run
                .plan
                .moves
                .iter()
                .any(|step| step.vip == vip && step.to == me),
            _ => false,
        };
        let taking = match is_handed {
            true => {
                self.counters.handovers += 1;
                Taking::HandOver
            }
            false => {
                self.counters.takeovers += 1;
                Taking::Takeover
            }
        };
        self.notice(Notice::Taken(vip, taking));
    }
}

impl Local {
    fn is_blocked(&self, now: Instant) -> bool {
        self.blocked_until.is_some_and(|until| until > now)
    }

    fn block(&mut self, now: Instant) {
        if self
            .failed
            .is_some_and(|failed| now >= failed + FAILURE_MEMORY)
        {
            self.failures = 0;
        }
        let lasts = BLOCKED_MIN * (1 << self.failures.min(6));
        self.blocked_until = Some(now + lasts.min(BLOCKED_MAX));
        self.failures += 1;
        self.failed = Some(now);
    }
}
