//! Gather: the facts of all members are collected; own holdings only shrink.

use super::{Action, Closing, Failover, Frozen, Gather, Notice, Phase, VipFaults};
use crate::vip::address::VipId;
use crate::vip::assign::conflict_key;
use crate::vip::claim::Claim;
use crate::vip::kernel::Kernel;
use overlay::PeerId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A driver that is slower than this is not waited for.
pub(super) const PATIENCE_MAX: Duration = Duration::from_secs(30);

impl Failover {
    /// What the members plan from has changed here: all claims are made anew.
    pub(super) fn gather_anew(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Gather(_) | Phase::Run(_)) {
            self.epoch = self.epoch.saturating_add(1);
            self.gather(now);
        }
    }

    /// Discards what was collected and begins again from what the kernel does.
    pub(super) fn gather(&mut self, now: Instant) {
        self.called = Some(now);
        for (vip, local) in &mut self.vips {
            let is_taking = local.want == Kernel::Announced && local.is != Kernel::Announced;
            let is_under_way = self.changing == Some((*vip, Kernel::Announced));
            let is_idle = local.want == Kernel::Ready && local.linger.is_none();
            if is_idle || (is_taking && !is_under_way) {
                local.want = Kernel::Absent;
            }
            local.contests = 0;
        }
        self.phase = Phase::Gather(Gather {
            began: now,
            complain_at: now + self.config.timing.gather_limit,
            frozen: None,
        });
    }

    /// Nothing that cannot be held here is wanted here. What a stopping peer has given lingers.
    pub(super) fn withhold(&mut self, now: Instant) {
        let vips = self.vips.keys().copied();
        let unfit: Vec<VipId> = vips.filter(|vip| !self.can(*vip, now)).collect();
        let is_closing = self.closing == Closing::GivingUp;
        for vip in unfit {
            let local = self.local(vip);
            let is_lingering = local.want == Kernel::Ready && local.linger.is_some();
            if !(is_closing && is_lingering) {
                local.want = Kernel::Absent;
                local.linger = None;
            }
        }
    }

    /// States the facts once no announced VIP is being changed: a claim that is stated while the
    /// kernel still changes is no fact.
    pub(super) fn try_freeze(&mut self, now: Instant) {
        let Phase::Gather(Gather { frozen: None, .. }) = &self.phase else {
            return;
        };
        if self.is_changing_announced(now) && self.faults != VipFaults::FreezeAtOnce {
            return;
        }
        let claim = self.facts(now);
        let vips = claim.announced.clone();
        let frozen = Frozen {
            claim,
            won: BTreeSet::new(),
            met: BTreeSet::new(),
            is_map_said: false,
        };
        for vip in vips {
            self.last_held
                .insert(vip, super::LastHeld::By(self.config.me));
        }
        if let Phase::Gather(gather) = &mut self.phase {
            gather.frozen = Some(frozen);
        }
        self.say_claim();
    }

    /// Compares with the claims that are here: of two that announce one VIP the loser lets go.
    pub(super) fn meet_claims(&mut self, now: Instant) {
        let Phase::Gather(Gather {
            frozen: Some(mine), ..
        }) = &self.phase
        else {
            return;
        };
        let me = self.config.me;
        let mut met: Vec<(VipId, PeerId, Won)> = Vec::new();
        let mut is_map_foreign = false;
        for (peer, theirs) in self.claims_of_epoch() {
            is_map_foreign |= theirs.digest != mine.claim.digest;
            for vip in mine.claim.announced.intersection(&theirs.announced) {
                if mine.met.contains(&(*vip, peer)) {
                    continue;
                }
                let (mine, theirs) = (
                    conflict_key(*vip, me, &mine.claim),
                    conflict_key(*vip, peer, theirs),
                );
                let won = if mine < theirs {
                    Won::Mine
                } else {
                    Won::Theirs
                };
                met.push((*vip, peer, won));
            }
        }
        let is_saying = is_map_foreign && !mine.is_map_said;
        for (vip, peer, won) in met {
            self.counters.conflicts += 1;
            self.notice(Notice::Conflict(vip, peer));
            if won == Won::Theirs && self.faults != VipFaults::KeepConflict {
                self.let_go(vip, now);
            }
            let Phase::Gather(Gather {
                frozen: Some(mine), ..
            }) = &mut self.phase
            else {
                unreachable!("it was just seen");
            };
            mine.met.insert((vip, peer));
            if won == Won::Mine {
                mine.won.insert(vip);
            }
        }
        if is_saying {
            self.actions
                .push_back(Action::Config(self.map.encode().into()));
            if let Phase::Gather(Gather {
                frozen: Some(mine), ..
            }) = &mut self.phase
            {
                mine.is_map_said = true;
            }
        }
        self.note_given();
    }

    /// Says what the kernel has let go of since the freeze.
    pub(super) fn note_given(&mut self) {
        let (frozen, filling) = match &self.phase {
            Phase::Gather(Gather {
                frozen: Some(frozen),
                ..
            }) => (frozen, None),
            Phase::Run(run) => (&run.frozen, Some(&run.filling)),
            _ => return,
        };
        let announced = frozen.claim.announced.iter();
        let gone = announced.filter(|vip| {
            let local = self.vips.get(vip);
            let is_gone = local.is_none_or(|local| {
                local.is != Kernel::Announced && local.want != Kernel::Announced
            });
            // What the kernel was told before is done first, whatever is wanted by now.
            let is_under_way = self.changing == Some((**vip, Kernel::Announced));
            // What this peer is to take again was not given away.
            let is_filling = filling.is_some_and(|filling| filling.contains_key(vip));
            is_gone && !is_under_way && !is_filling && !frozen.claim.given.contains(vip)
        });
        let gone: Vec<VipId> = gone.copied().collect();
        if gone.is_empty() {
            return;
        }
        self.frozen_mut().claim.given.extend(gone);
        self.say_claim();
    }

    /// The VIP is another's: clients that have not heard of it yet are still served for a while.
    pub(super) fn let_go(&mut self, vip: VipId, now: Instant) {
        let linger = now + self.config.timing.linger;
        let given = match self.faults {
            VipFaults::NoLinger => Kernel::Absent,
            _ => Kernel::Ready,
        };
        let local = self.local(vip);
        if local.want == Kernel::Announced {
            local.want = given;
            local.linger = Some(linger);
        }
    }

    /// Members whose claim, or whose map, has been missing for too long.
    pub(super) fn complain_of_missing(&mut self, now: Instant) {
        let Some(view) = &self.view else { return };
        let claims = self.claims_of_epoch();
        let members = view.members.iter().map(|(peer, _)| *peer);
        let missing: Vec<PeerId> = members
            .filter(|peer| *peer != self.config.me)
            .filter(|peer| match claims.get(peer) {
                None => true,
                Some(claim) => !self.has_map(claim.digest),
            })
            .collect();
        let limit = self.config.timing.gather_limit;
        let Phase::Gather(gather) = &mut self.phase else {
            return;
        };
        gather.complain_at = now + limit;
        let waited = now.saturating_duration_since(gather.began);
        for peer in missing {
            // A driver that is known to be slow gets its time.
            let patience = self.claims.get(&peer).map(|(_, claim)| claim.patience);
            if waited >= limit + patience.unwrap_or_default().min(PATIENCE_MAX) {
                self.actions.push_back(Action::Complain(peer));
            }
        }
    }

    /// The claim as last stated, and what has grown since.
    pub(super) fn say_claim(&mut self) {
        let claim = self.frozen_mut().claim.encode();
        self.actions.push_back(Action::Claim(claim));
    }

    /// True if this peer has, or can have from others, the map with this digest.
    pub(super) fn has_map(&self, digest: u64) -> bool {
        digest == self.frozen_digest() || self.configs.values().any(|(known, _)| *known == digest)
    }

    pub(super) fn frozen_mut(&mut self) -> &mut Frozen {
        match &mut self.phase {
            Phase::Gather(Gather {
                frozen: Some(frozen),
                ..
            }) => frozen,
            Phase::Run(run) => &mut run.frozen,
            _ => unreachable!("only what was frozen is said"),
        }
    }

    pub(super) fn frozen(&self) -> Option<&Frozen> {
        match &self.phase {
            Phase::Gather(gather) => gather.frozen.as_ref(),
            Phase::Run(run) => Some(&run.frozen),
            Phase::Idle => None,
        }
    }

    /// True if what this peer has stated of itself is no longer so.
    pub(super) fn has_changed_since_frozen(&self, now: Instant) -> bool {
        let Some(frozen) = self.frozen() else {
            return false;
        };
        let stated = &frozen.claim;
        stated.rank != self.rank()
            || stated.digest != self.map_digest
            || stated.maturity != self.maturity
            || stated.can != self.able(now)
            || self.is_plan_out_of_date(now)
    }

    fn able(&self, now: Instant) -> BTreeSet<VipId> {
        let vips = self.map.vips().into_keys();
        vips.filter(|vip| self.can(*vip, now)).collect()
    }

    fn facts(&self, now: Instant) -> Claim {
        let view = self.view.as_ref().expect("claims are gathered in a view");
        Claim {
            view: view.id,
            epoch: self.epoch,
            name: self.config.name.clone(),
            announced: self.announced().collect(),
            can: self.able(now),
            rank: self.rank(),
            maturity: self.maturity,
            capacity: self.config.capacity,
            patience: self.config.patience,
            digest: self.map_digest,
            macs: self.macs.clone(),
            quarantined: self.quarantine.left(now),
            ready: BTreeSet::new(),
            given: BTreeSet::new(),
            taken: BTreeSet::new(),
        }
    }

    fn frozen_digest(&self) -> u64 {
        self.frozen()
            .map_or_else(|| self.map_digest, |frozen| frozen.claim.digest)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Won {
    Mine,
    Theirs,
}
