//! What the machine knows, told to operators.

use super::{Closing, Failover, Phase, Run};
use crate::vip::address::VipId;
use crate::vip::assign::{Plan, Reason, assign};
use crate::vip::claim::{Claim, Rank};
use crate::vip::map::{Vip, VipMap};
use crate::vip::status::{VipGoal, VipPeer, VipPhase, VipRow, Vips};
use overlay::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

impl Failover {
    /// All VIPs and who holds them; `name` gives the names of peers that state none.
    #[must_use]
    pub fn report(&self, name: &dyn Fn(PeerId) -> String, now: Instant) -> Vips {
        let claims = self.known_claims();
        let name = |peer: PeerId| match claims.get(&peer) {
            Some(claim) => claim.name.clone(),
            None => name(peer),
        };
        let plan = self.plan().map(|(_, _, plan)| plan);
        let vips = self.map.vips();
        let rows = vips
            .iter()
            .map(|(id, vip)| self.row(*id, vip, plan, &name, now));
        let quarantined = self.quarantine.left(now);
        let peers = claims.iter().map(|(peer, claim)| {
            let rank = match quarantined.contains_key(peer) {
                true => claim.rank.max(Rank::Quarantined),
                false => claim.rank,
            };
            VipPeer {
                peer: *peer,
                name: claim.name.clone(),
                rank: rank.to_string(),
                holds: vips
                    .keys()
                    .filter(|vip| self.holder(**vip) == Some(*peer))
                    .count(),
                can: claim.can.len(),
                capacity: claim.capacity,
            }
        });
        Vips {
            phase: match &self.phase {
                _ if self.closing != Closing::No => VipPhase::Stopping,
                Phase::Run(_) => VipPhase::Run,
                Phase::Idle | Phase::Gather(_) => VipPhase::Gather,
            },
            vips: rows.collect(),
            peers: peers.collect(),
        }
    }

    /// Who would hold what if these peers failed; none while claims are gathered.
    #[must_use]
    pub fn simulate(
        &self,
        failed: &BTreeSet<PeerId>,
        name: &dyn Fn(PeerId) -> String,
        now: Instant,
    ) -> Option<Vec<VipGoal>> {
        self.plan()?;
        let known = self.known_claims();
        let mut left: BTreeMap<PeerId, Claim> = known
            .iter()
            .filter(|(peer, _)| !failed.contains(peer))
            .map(|(peer, claim)| (*peer, (*claim).clone()))
            .collect();
        for (peer, claim) in &mut left {
            let vips = self.map.vips().into_keys();
            claim.announced = vips
                .filter(|vip| self.holder(*vip) == Some(*peer))
                .collect();
        }
        let claims = left.iter().map(|(peer, claim)| (*peer, claim)).collect();
        let quarantined = self.quarantine.left(now).into_keys().collect();
        let plan = assign(&claims, &self.map, &quarantined);
        let goals = self.map.vips().into_iter().map(|(id, vip)| VipGoal {
            addresses: texts(vip),
            now: self.holder(id).map(name),
            then: plan.goal(id).map(name),
            why: plan
                .reasons
                .get(&id)
                .map_or_else(String::new, Reason::to_string),
        });
        Some(goals.collect())
    }

    /// Which VIPs there are, by the log.
    #[must_use]
    pub fn map(&self) -> &VipMap {
        &self.map
    }

    /// Who announces the VIP, as far as this peer knows.
    #[must_use]
    pub fn holder(&self, vip: VipId) -> Option<PeerId> {
        match &self.phase {
            Phase::Run(_) => self.since.get(&vip).map(|(peer, _)| *peer),
            _ => None,
        }
    }

    /// VIPs of the map that nobody this peer reaches can hold.
    #[must_use]
    pub fn uncovered(&self) -> usize {
        self.uncovered.len()
    }

    /// For how long there were such VIPs, times how many.
    #[must_use]
    pub fn uncovered_time(&self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.uncovered_at);
        self.uncovered_before + since * self.uncovered.len() as u32
    }

    fn known_claims(&self) -> BTreeMap<PeerId, &Claim> {
        let mut claims = self.claims_of_view();
        if let Some(frozen) = self.frozen() {
            claims.insert(self.config.me, &frozen.claim);
        }
        claims
    }

    fn row(
        &self,
        id: VipId,
        vip: &Vip,
        plan: Option<&Plan>,
        name: &dyn Fn(PeerId) -> String,
        now: Instant,
    ) -> VipRow {
        let holder = self.holder(id);
        let next = plan.and_then(|plan| plan.goal(id));
        let reason = plan.and_then(|plan| plan.reasons.get(&id));
        let since = self.since.get(&id).filter(|_| holder.is_some());
        VipRow {
            addresses: texts(vip),
            holder: holder.map(name),
            since: since.map(|(_, since)| now.saturating_duration_since(*since)),
            why: reason.map_or_else(|| "being agreed on".to_owned(), Reason::to_string),
            next: next.filter(|next| Some(*next) != holder).map(name),
            prefer: vip.prefer.clone(),
            weight: vip.weight,
            drained_from: vip.away.map(name),
            here: self.state(id),
            unfit: self.unfit(id, now),
        }
    }

    fn unfit(&self, vip: VipId, now: Instant) -> Option<String> {
        if self.is_barred {
            return Some(
                "it is no member of the cluster any more, or its link thread hangs".to_owned(),
            );
        }
        if self.is_unheard {
            return Some("it hears other peers that do not hear it".to_owned());
        }
        let local = self.vips.get(&vip);
        let is_filling = |run: &Run| run.filling.contains_key(&vip);
        let is_foreign = local.is_some_and(|local| local.foreign_until.is_some());
        if is_foreign && matches!(&self.phase, Phase::Run(run) if is_filling(run)) {
            return Some("a DNS server that this peer has no link to announces it".to_owned());
        }
        let blocked = local.and_then(|local| local.blocked_until);
        if let Some(until) = blocked.filter(|until| *until > now) {
            let left = until.saturating_duration_since(now).as_secs_f64().ceil();
            return Some(format!("the last try failed; the next is in {left} s"));
        }
        match self.fitness.get(&vip) {
            Some(Ok(())) => None,
            Some(Err(unfit)) => Some(unfit.to_string()),
            None => Some("its driver has not looked at it yet".to_owned()),
        }
    }
}

fn texts(vip: &Vip) -> Vec<String> {
    vip.addresses.iter().map(ToString::to_string).collect()
}
