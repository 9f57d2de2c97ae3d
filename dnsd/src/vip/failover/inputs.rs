//! What happens to the machine of VIPs: views, claims, reports of the driver, what the peer knows
//! of itself.

use super::{
    Asked, Closing, Condition, EPOCHS_AHEAD_MAX, Failover, LastHeld, Notice, Phase, VipFaults,
};
use crate::vip::address::VipId;
use crate::vip::claim::{Claim, Maturity};
use crate::vip::kernel::{Kernel, Report};
use crate::vip::map::VipMap;
use crate::vip::timing::Asks;
use overlay::{Incarnation, PeerId, View};
use std::time::Instant;

impl Failover {
    /// The overlay agreed on another view.
    pub fn handle_view(&mut self, view: &View, now: Instant) {
        if let Some(old) = &self.view {
            let gone = old.members.iter().filter(|(peer, incarnation)| {
                !view.holds(*peer, *incarnation) && !self.stopped.contains(&(*peer, *incarnation))
            });
            let gone: Vec<_> = gone.copied().collect();
            if !gone.is_empty() {
                // Who is gone may have taken what another had let go, or lost.
                self.last_held.clear();
            }
            for (peer, _) in gone {
                if let Some(lasts) = self.quarantine.note_departure(peer, now) {
                    self.notice(Notice::Quarantined(peer, lasts));
                }
            }
        }
        self.stopped.clear();
        self.view = Some(view.clone());
        let stored = self.claims_of_view();
        let highest = stored.values().map(|claim| claim.epoch).max();
        self.epoch = highest.unwrap_or(0).max(1);
        self.gather(now);
    }

    /// A peer says that it stops: it has given up all its VIPs before.
    pub fn handle_stopping(&mut self, peer: PeerId, incarnation: Incarnation) {
        self.stopped.insert((peer, incarnation));
        for held in self.last_held.values_mut() {
            if *held == LastHeld::By(peer) {
                *held = LastHeld::Given;
            }
        }
    }

    /// The link to a neighbor went down: perhaps it is dead, and its VIPs are taken soon.
    pub fn handle_suspected(&mut self, peer: PeerId, now: Instant) {
        if self.config.timing.asks == Asks::No {
            return;
        }
        let held = self.last_held.iter();
        let held = held.filter(|(_, held)| **held == LastHeld::By(peer));
        let vips: Vec<VipId> = held.map(|(vip, _)| *vip).collect();
        for vip in vips {
            if self.can(vip, now) && self.local(vip).is != Kernel::Announced {
                self.ask(vip, now);
            }
        }
        self.called = Some(now);
    }

    /// A peer's newest claim.
    pub fn handle_claim(
        &mut self,
        of: PeerId,
        incarnation: Incarnation,
        body: &[u8],
        now: Instant,
    ) {
        let Some(claim) = Claim::decode(body) else {
            return;
        };
        let is_absurd = claim.epoch > self.epoch.saturating_add(EPOCHS_AHEAD_MAX);
        if of == self.config.me || is_absurd {
            return;
        }
        self.note_held(of, &claim);
        self.claims.insert(of, (incarnation, claim));
        self.called = Some(now);
        let newest = self
            .claims_of_view()
            .values()
            .map(|claim| claim.epoch)
            .max();
        let is_behind = newest.is_some_and(|epoch| epoch > self.epoch);
        if is_behind && matches!(self.phase, Phase::Gather(_) | Phase::Run(_)) {
            self.epoch = newest.expect("it was just seen");
            self.gather(now);
        }
    }

    /// A peer's newest map.
    pub fn handle_config(&mut self, of: PeerId, body: &[u8], now: Instant) {
        let Some(map) = VipMap::decode(&mut &body[..]) else {
            return;
        };
        self.configs.insert(of, (map.digest(), map));
        self.called = Some(now);
    }

    /// The driver tells something.
    pub fn handle_report(&mut self, report: Report, now: Instant) {
        // Many peers ask for many VIPs at once, and hardly ever something follows from it.
        if !matches!(report, Report::Probed { .. }) {
            self.called = Some(now);
        }
        match report {
            Report::Is(vip, state) => self.handle_is(vip, state, now),
            Report::Failed(vip, state, why) => self.handle_failed(vip, state, why, now),
            Report::Lost(vip, state) => self.handle_lost(vip, state, now),
            Report::Foreign { vip, theirs, mine } => self.handle_foreign(vip, theirs, mine, now),
            Report::Segment(vip, heard) => {
                // Nobody waits any more for what was asked about a VIP that is taken since.
                if let Some(Asked::Since(since)) = self.asked.get(&vip) {
                    let (since, at) = (*since, now);
                    let answered = Asked::Answered { heard, since, at };
                    self.asked.insert(vip, answered);
                }
            }
            Report::Probed { vip, theirs, mine } => self.handle_probed(vip, theirs, mine, now),
            Report::Can(fitness) => self.handle_fitness(fitness),
            Report::Macs(macs) => self.macs = macs,
        }
    }

    /// The log says that these are the VIPs now.
    pub fn set_map(&mut self, map: VipMap, now: Instant) {
        if map != self.map {
            self.take_map(map);
            self.called = Some(now);
        }
    }

    /// How well this peer serves, as its own questions show.
    pub fn set_condition(&mut self, condition: Condition, now: Instant) {
        self.condition = condition;
        self.called = Some(now);
    }

    /// Whether the log names this peer as the only member: then nobody else can hold anything.
    pub fn set_lone_member(&mut self, is_lone: bool, now: Instant) {
        self.is_lone_member = is_lone;
        if is_lone {
            self.maturity = Maturity::Mature;
        }
        self.called = Some(now);
    }

    /// Whether this peer hears a standing peer outside its view that does not hear it.
    pub fn set_unheard(&mut self, is_unheard: bool, now: Instant) {
        self.is_unheard = is_unheard;
        self.called = Some(now);
    }

    /// This peer is no member any more or hears nothing of the others, or is and does again.
    pub fn set_barred(&mut self, is_barred: bool, now: Instant) {
        self.is_barred = is_barred;
        self.called = Some(now);
    }

    /// The main loop, or the link thread, was late by more than a lease: others may have taken
    /// what this peer announces.
    pub fn handle_stall(&mut self, now: Instant) {
        for local in self.vips.values_mut() {
            local.want = Kernel::Absent;
            local.linger = None;
        }
        if !self.is_lone_member && self.faults != VipFaults::NoConvalescence {
            self.maturity = Maturity::Immature;
            self.overslept_in = self.view.as_ref().map(|view| view.id);
            self.mature_at = self.mature_at.max(now + self.config.timing.convalescence);
        }
        self.gather_anew(now);
    }

    /// The peer stops: what others can hold is handed over, then everything is given up.
    pub fn stop(&mut self, now: Instant) {
        if self.is_stopping {
            return;
        }
        self.is_stopping = true;
        if self.faults == VipFaults::StayOpen {
            return;
        }
        let mut vips = self.vips.values();
        let is_empty = vips.all(|local| local.is == Kernel::Absent) && self.changing.is_none();
        if is_empty || matches!(self.phase, Phase::Idle) {
            self.closing = Closing::Done;
        }
        self.gather_anew(now);
        self.called = Some(now);
    }
}
