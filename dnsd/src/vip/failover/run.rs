//! Run: holes are filled, and what is to change hands does so in three steps.

use super::contest::Contest;
use super::gather::PATIENCE_MAX;
use super::{
    ANSWER_FRESH, Asked, Closing, Doubt, Failover, Gather, LastHeld, Notice, Phase, Run, VipFaults,
};
use crate::vip::address::VipId;
use crate::vip::assign::{Move, Reason, Turn, assign};
use crate::vip::claim::{Claim, Maturity};
use crate::vip::kernel::{Heard, Kernel, Order};
use crate::vip::map::VipMap;
use crate::vip::timing::Asks;
use overlay::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

impl Failover {
    /// Plans once the claims of all members, and the maps that they were made from, are here.
    pub(super) fn try_run(&mut self, now: Instant) {
        let Some(map) = self.merged_map() else { return };
        let Phase::Gather(Gather { frozen, .. }) = &mut self.phase else {
            return;
        };
        let mut frozen = frozen.take().expect("maps are merged for a frozen claim");
        let mut claims = self.claims_of_epoch();
        claims.insert(self.config.me, &frozen.claim);
        let stated = claims.values().flat_map(|claim| &claim.quarantined);
        // Nobody else has a part in the plan. A quarantine that is not merged below would be over
        // as soon as the plan stands, and call for the next one, again and again.
        let stated = stated.filter(|(peer, _)| self.is_member(**peer));
        let stated: Vec<(PeerId, Duration)> = stated.map(|(peer, left)| (*peer, *left)).collect();
        let quarantined = match self.faults {
            VipFaults::OwnQuarantine => self.quarantine.left(now).into_keys().collect(),
            _ => stated.iter().map(|(peer, _)| *peer).collect(),
        };
        let plan = assign(&claims, &map, &quarantined);
        let is_mature = claims
            .values()
            .any(|claim| claim.maturity == Maturity::Mature);
        for (peer, left) in stated {
            self.quarantine.merge(peer, left, now);
        }
        if is_mature && !self.is_convalescing() {
            // The others know it by the same rule.
            self.maturity = Maturity::Mature;
            frozen.claim.maturity = Maturity::Mature;
        }
        let me = self.config.me;
        let held: Vec<VipId> = self.vips.keys().copied().collect();
        for vip in held {
            let holder = plan.holders.get(&vip);
            let is_kept = holder.is_some() && self.faults == VipFaults::KeepConflict;
            if holder != Some(&me) && !is_kept {
                self.let_go(vip, now);
            }
        }
        let mut filling = BTreeMap::new();
        for (vip, holder) in &plan.holders {
            if *holder == me {
                if self.local(*vip).want != Kernel::Announced {
                    filling.insert(*vip, self.doubt(*vip));
                } else if frozen.won.contains(vip) && self.faults != VipFaults::NoSecondTelling {
                    // The loser's Ethernet address is what clients have.
                    self.order(Order::Announce(*vip));
                }
            }
            // Whoever is to fill a hole may find that another station fills it already.
            if !plan.fills.contains_key(vip) {
                self.last_held.insert(*vip, LastHeld::By(*holder));
            }
        }
        for vip in plan.fills.keys() {
            self.last_held.remove(vip);
        }
        self.note_uncovered(&map, &plan.holders, &plan.reasons, now);
        self.phase = Phase::Run(Run {
            frozen,
            plan,
            began: now,
            quarantined,
            filling,
        });
        self.note_holders(now);
    }

    /// Does what the plan says and has become possible.
    pub(super) fn run(&mut self, now: Instant) {
        let Phase::Run(run) = &self.phase else { return };
        let filling: Vec<(VipId, Doubt)> = run
            .filling
            .iter()
            .map(|(vip, doubt)| (*vip, *doubt))
            .collect();
        let moves = run.plan.moves.clone();
        for (vip, doubt) in filling {
            self.fill(vip, doubt, now);
        }
        self.note_given();
        for step in moves {
            let from = self.claim_of(step.from);
            if from.is_some_and(|claim| claim.given.contains(&step.vip)) {
                // It is about to be announced there, whatever is heard of it.
                self.last_held.insert(step.vip, LastHeld::By(step.to));
            }
            if step.from == self.config.me {
                self.hand_over(step, now);
            }
            if step.to == self.config.me {
                self.take_over(step, now);
            }
        }
        self.note_given();
        self.note_filled();
        self.note_holders(now);
    }

    /// True if the plan in force rests on what is over: a quarantine has ended, or a move takes
    /// longer than it may.
    pub(super) fn is_plan_out_of_date(&self, now: Instant) -> bool {
        let Phase::Run(run) = &self.phase else {
            return false;
        };
        let left = self.quarantine.left(now);
        let has_ended = run.quarantined.iter().any(|peer| !left.contains_key(peer));
        let moves = run.plan.moves.iter();
        has_ended
            || moves
                .filter(|step| !self.is_taken(run, step))
                .any(|step| self.limit_of(run, step) <= now)
    }

    /// When moves begin, and when they have taken too long.
    pub(super) fn run_dues(&self, run: &Run, dues: &mut Vec<Instant>) {
        for step in &run.plan.moves {
            if !self.is_taken(run, step) {
                dues.push(self.due_of(run, step));
                dues.push(self.limit_of(run, step));
            }
        }
        let asked = self.asked.values();
        dues.extend(asked.filter_map(|asked| match asked {
            Asked::Since(since) if !run.filling.is_empty() => Some(*since + super::ASK_PATIENCE),
            _ => None,
        }));
        for left in self.quarantine.left(run.began).values() {
            dues.push(run.began + *left);
        }
    }

    /// Gives everything up once nothing of this peer's is left to move.
    pub(super) fn try_close(&mut self, now: Instant) {
        match (self.closing, &self.phase) {
            (Closing::No, Phase::Run(run))
                if self.is_stopping && self.faults != VipFaults::StayOpen =>
            {
                let mut own = run
                    .plan
                    .moves
                    .iter()
                    .filter(|step| step.from == self.config.me);
                if own.all(|step| self.is_taken(run, step)) {
                    self.closing = Closing::GivingUp;
                    self.called = Some(now);
                }
            }
            (Closing::GivingUp, _) => {
                let mut vips = self.vips.values();
                let is_absent = vips.all(|local| local.is == Kernel::Absent);
                if is_absent && self.changing.is_none() {
                    self.closing = Closing::Done;
                }
            }
            (Closing::No | Closing::Done, _) => {}
        }
    }

    /// A peer says, or this peer sees, that another station has a VIP which is announced here.
    pub(super) fn refill_after_asking(&mut self, vip: VipId) {
        self.last_held.remove(&vip);
        self.asked.remove(&vip);
        if let Phase::Run(run) = &mut self.phase {
            run.filling.insert(vip, Doubt::Yes);
        }
    }

    /// All members' maps as one; none while a claim, or the map it was made from, is missing.
    fn merged_map(&self) -> Option<VipMap> {
        let Phase::Gather(Gather {
            frozen: Some(frozen),
            ..
        }) = &self.phase
        else {
            return None;
        };
        let view = self.view.as_ref()?;
        let claims = self.claims_of_epoch();
        let others = view.members.iter().map(|(peer, _)| *peer);
        let mut others = others.filter(|peer| *peer != self.config.me);
        if self.faults != VipFaults::FillEarly && !others.all(|peer| claims.contains_key(&peer)) {
            return None;
        }
        let mut map = self.map.clone();
        let digests: BTreeSet<u64> = claims.values().map(|claim| claim.digest).collect();
        for digest in digests {
            if digest == frozen.claim.digest || self.faults == VipFaults::OwnMapOnly {
                continue;
            }
            let mut known = self.configs.values();
            let (_, foreign) = known.find(|(known, _)| *known == digest)?;
            map = map.merged(foreign);
        }
        Some(map)
    }

    /// Whether somebody out of reach may announce the VIP still.
    fn doubt(&self, vip: VipId) -> Doubt {
        if self.config.timing.asks == Asks::No || self.faults == VipFaults::NeverAsk {
            return Doubt::No;
        }
        match self.last_held.get(&vip) {
            Some(LastHeld::Given) => Doubt::No,
            // What this peer lost in a view of its own, others may have taken.
            Some(LastHeld::By(peer)) if *peer != self.config.me && self.is_member(*peer) => {
                Doubt::No
            }
            Some(LastHeld::By(_)) | None => Doubt::Yes,
        }
    }

    fn is_member(&self, peer: PeerId) -> bool {
        let members = self.view.iter().flat_map(|view| &view.members);
        members.into_iter().any(|(member, _)| *member == peer)
    }

    /// Takes what nobody announces, if the segment says so too.
    fn fill(&mut self, vip: VipId, doubt: Doubt, now: Instant) {
        let local = self.local(vip);
        let holds_back = [local.foreign_until, local.yields_until];
        let is_held_back = holds_back.iter().flatten().any(|until| *until > now);
        if !self.can(vip, now) || is_held_back {
            return;
        }
        match (doubt, self.asked.get(&vip).copied()) {
            (Doubt::No, _) => self.take(vip),
            // Where an answer was long under way, this peer stood still meanwhile.
            (Doubt::Yes, Some(Asked::Answered { heard, since, at }))
                if now < at + ANSWER_FRESH && at < since + self.config.timing.lease =>
            {
                self.follow_answer(vip, heard, (since, at), now);
            }
            (Doubt::Yes, _) => self.ask(vip, now),
        }
    }

    /// The segment has said who has the VIP: takes it, or does not yet.
    fn follow_answer(
        &mut self,
        vip: VipId,
        heard: Heard,
        (asked, answered): (Instant, Instant),
        now: Instant,
    ) {
        if let Heard::Server(mac) = heard
            && !self.macs.contains(&mac)
        {
            self.respect_foreign(vip, mac, now);
            return;
        }
        match self.contest(vip, asked, answered) {
            Contest::Free => self.take(vip),
            Contest::Outdated => self.ask(vip, now),
            Contest::Lost(until) => {
                self.asked.remove(&vip);
                self.local(vip).yields_until = Some(until);
            }
        }
    }

    fn take(&mut self, vip: VipId) {
        let local = self.local(vip);
        local.want = Kernel::Announced;
        local.linger = None;
        local.foreign_until = None;
        local.yields_until = None;
        self.asked.remove(&vip);
        if let Phase::Run(run) = &mut self.phase {
            run.filling.remove(&vip);
        }
        self.last_held.insert(vip, LastHeld::By(self.config.me));
    }

    /// Another DNS server has the VIP: it is asked again soon.
    fn respect_foreign(&mut self, vip: VipId, mac: crate::vip::kernel::Mac, now: Instant) {
        let again = now + self.config.timing.ask_again;
        let local = self.local(vip);
        let is_news = local.foreign_until.is_none();
        local.foreign_until = Some(again);
        self.asked.remove(&vip);
        if is_news {
            self.counters.foreign += 1;
            self.notice(Notice::Foreign(vip, mac));
        }
    }

    /// Says what holes this peer has filled, once for all of them.
    fn note_filled(&mut self) {
        let Phase::Run(run) = &self.phase else { return };
        let fills = run.plan.fills.iter();
        let own = fills.filter(|(_, peer)| **peer == self.config.me);
        let own: Vec<VipId> = own.map(|(vip, _)| *vip).collect();
        let is_under_way = own.iter().any(|vip| {
            let local = self.vips.get(vip);
            local.is_some_and(|local| local.want == Kernel::Announced && local.is != local.want)
        });
        let announced = own
            .iter()
            .filter(|vip| self.state(**vip) == Kernel::Announced);
        let taken = &run.frozen.claim.taken;
        let filled: Vec<VipId> = announced
            .filter(|vip| !taken.contains(vip))
            .copied()
            .collect();
        if !is_under_way && !filled.is_empty() {
            self.frozen_mut().claim.taken.extend(filled);
            self.say_claim();
        }
    }

    /// This peer is to give the VIP to another.
    fn hand_over(&mut self, step: Move, now: Instant) {
        let Phase::Run(run) = &self.phase else { return };
        let is_due = self.due_of(run, &step) <= now;
        let is_ready = self
            .claim_of(step.to)
            .is_some_and(|claim| claim.ready.contains(&step.vip));
        if is_due && is_ready && self.have_losers_given(run, &step) {
            self.let_go(step.vip, now);
        }
    }

    /// This peer is to get the VIP from another.
    fn take_over(&mut self, step: Move, now: Instant) {
        let Phase::Run(run) = &self.phase else { return };
        let vip = step.vip;
        if !self.can(vip, now) || run.frozen.claim.taken.contains(&vip) {
            return;
        }
        let has_given = self
            .claim_of(step.from)
            .is_some_and(|claim| claim.given.contains(&vip));
        let may_take = (has_given && self.have_losers_given(run, &step))
            || self.faults == VipFaults::TakeBeforeGiven;
        let is_ready_said = run.frozen.claim.ready.contains(&vip);
        let local = self.local(vip);
        local.linger = None;
        if local.want == Kernel::Absent {
            local.want = Kernel::Ready;
        }
        if local.is == Kernel::Ready && !is_ready_said {
            self.frozen_mut().claim.ready.insert(vip);
            self.say_claim();
        }
        if may_take {
            self.last_held.insert(vip, LastHeld::By(self.config.me));
            let local = self.local(vip);
            local.want = Kernel::Announced;
            if local.is == Kernel::Announced {
                self.frozen_mut().claim.taken.insert(vip);
                self.say_claim();
            }
        }
    }

    /// Every other peer that announced the VIP at the freeze has let go.
    fn have_losers_given(&self, run: &Run, step: &Move) -> bool {
        let own = (self.config.me, &run.frozen.claim);
        let claims = self.claims_of_epoch().into_iter().chain([own]);
        claims
            .filter(|(peer, claim)| *peer != step.from && claim.announced.contains(&step.vip))
            .all(|(_, claim)| claim.given.contains(&step.vip))
            || self.faults == VipFaults::HolderGivesAlone
    }

    fn claim_of(&self, peer: PeerId) -> Option<&Claim> {
        if peer == self.config.me {
            return self.frozen().map(|frozen| &frozen.claim);
        }
        self.claims_of_epoch().get(&peer).copied()
    }

    fn is_taken(&self, run: &Run, step: &Move) -> bool {
        if step.to == self.config.me {
            return run.frozen.claim.taken.contains(&step.vip);
        }
        self.claim_of(step.to)
            .is_some_and(|claim| claim.taken.contains(&step.vip))
    }

    fn due_of(&self, run: &Run, step: &Move) -> Instant {
        match step.turn {
            Turn::AtOnce => run.began,
            Turn::Balance(n) => {
                run.began + self.config.timing.balance_delay + self.config.timing.pace * n
            }
        }
    }

    fn limit_of(&self, run: &Run, step: &Move) -> Instant {
        let patience = [step.from, step.to].map(|peer| {
            let claim = self.claim_of(peer);
            claim.map_or(Duration::ZERO, |claim| claim.patience)
        });
        let patience = patience.into_iter().max().unwrap_or_default();
        let patience = patience.min(PATIENCE_MAX);
        self.due_of(run, step) + self.config.timing.handover_limit + patience * 2
    }

    /// Remembers since when each VIP is where it is.
    fn note_holders(&mut self, now: Instant) {
        let Phase::Run(run) = &self.phase else { return };
        let is_filled = |vip: &VipId, holder: &PeerId| {
            let claim = self.claim_of(*holder);
            !run.plan.fills.contains_key(vip)
                || claim.is_some_and(|claim| claim.taken.contains(vip))
        };
        let holders = run.plan.holders.iter();
        let holders = holders.filter(|(vip, holder)| is_filled(vip, holder));
        let holders = holders.map(|(vip, holder)| {
            let mut moves = run.plan.moves.iter();
            let moved = moves.find(|step| step.vip == *vip && self.is_taken(run, step));
            (*vip, moved.map_or(*holder, |step| step.to))
        });
        let holders: BTreeMap<VipId, PeerId> = holders.collect();
        self.since.retain(|vip, _| holders.contains_key(vip));
        for (vip, holder) in holders {
            match self.since.get(&vip) {
                Some((known, _)) if *known == holder => {}
                _ => {
                    self.since.insert(vip, (holder, now));
                }
            }
        }
    }

    fn note_uncovered(
        &mut self,
        map: &VipMap,
        holders: &BTreeMap<VipId, PeerId>,
        reasons: &BTreeMap<VipId, Reason>,
        now: Instant,
    ) {
        let vips = map.vips().into_keys();
        let uncovered: BTreeSet<VipId> = vips.filter(|vip| !holders.contains_key(vip)).collect();
        // A driver that has just started has said nothing yet.
        let is_known = !self.fitness.is_empty();
        for vip in uncovered.difference(&self.uncovered.clone()) {
            if is_known && reasons.get(vip) == Some(&Reason::NobodyCan) {
                self.notice(Notice::Uncovered(*vip));
            }
        }
        self.uncovered_before = self.uncovered_time(now);
        self.uncovered_at = now;
        self.uncovered = uncovered;
    }
}
