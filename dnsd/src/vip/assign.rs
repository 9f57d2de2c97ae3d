//! Who is to announce what: one pure function of the claims of all members, so that all of them
//! come to the same plan (overlay protocol section 6).

use super::address::VipId;
use super::claim::{Claim, Maturity, Rank};
use super::map::{Vip, VipMap};
use overlay::PeerId;
use ring::digest::{Context, SHA256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Who announces each VIP before any move: who claims it best, or who fills the hole.
    pub holders: BTreeMap<VipId, PeerId>,
    /// VIPs that nobody claims, and who takes them at once.
    pub fills: BTreeMap<VipId, PeerId>,
    /// VIPs that are to change hands, in order of their time.
    pub moves: Vec<Move>,
    /// Why each VIP is to be where it ends.
    pub reasons: BTreeMap<VipId, Reason>,
}

/// A VIP that changes hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The VIP.
    pub vip: VipId,
    /// Its holder.
    pub from: PeerId,
    /// Its next holder.
    pub to: PeerId,
    /// When.
    pub turn: Turn,
}

/// When a move's time comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// At once: the holder is not fit to keep it.
    AtOnce,
    /// After the balance delay and so many moves.
    Balance(u32),
}

/// Why a VIP is where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Its preferred peer can hold it.
    Preferred,
    /// It stays where it was.
    Kept,
    /// That peer carried least.
    LeastLoaded,
    /// It evens out what the peers carry.
    Balance,
    /// Nobody can hold it; a holder keeps it.
    NobodyCan,
    /// No member is mature yet: what is held stays, the rest waits.
    Immature,
}

impl Plan {
    /// Who is to announce the VIP when all moves are done.
    #[must_use]
    pub fn goal(&self, vip: VipId) -> Option<PeerId> {
        let mut moves = self.moves.iter();
        let moved = moves.find(|step| step.vip == vip).map(|step| step.to);
        moved.or_else(|| self.holders.get(&vip).copied())
    }
}

/// Of two peers that both announce the VIP the one with the lower key keeps it: by their own two
/// claims only, so that no order of messages matters.
#[must_use]
pub fn conflict_key(vip: VipId, peer: PeerId, claim: &Claim) -> (bool, Rank, u64, PeerId) {
    let mut hash = Context::new(&SHA256);
    match vip.0 {
        std::net::IpAddr::V4(ip) => hash.update(&ip.octets()),
        std::net::IpAddr::V6(ip) => hash.update(&ip.octets()),
    }
    hash.update(&peer.0);
    let hash = hash.finish();
    let first = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    let cannot = !claim.can.contains(&vip);
    (cannot, claim.rank, u64::from_be_bytes(*first), peer)
}

/// The plan of a view whose members claim this, with their maps merged, and the peers that any of
/// them calls quarantined.
#[must_use]
pub fn assign(
    claims: &BTreeMap<PeerId, &Claim>,
    map: &VipMap,
    quarantined: &BTreeSet<PeerId>,
) -> Plan {
    let vips = map.vips();
    let mut plan = Plan {
        holders: winners(claims, &vips),
        ..Plan::default()
    };
    let is_immature = |claim: &&Claim| claim.maturity == Maturity::Immature;
    // Without any claim nobody is left to wait for, as when all are taken to fail.
    if !claims.is_empty() && claims.values().all(is_immature) {
        plan.reasons = vips.keys().map(|vip| (*vip, Reason::Immature)).collect();
        return plan;
    }
    let available = available(claims, &vips, quarantined);
    let mut loads = Loads::new(claims);
    let mut goals = BTreeMap::new();
    let mut undecided = Vec::new();
    for (id, vip) in &vips {
        let holder = plan.holders.get(id).copied();
        let fit = &available[id];
        let preferred = vip.prefer.as_deref().and_then(|name| {
            let mut fit = fit.iter();
            fit.find(|peer| claims[peer].name == name).copied()
        });
        let (goal, reason) = match (preferred, holder) {
            (Some(peer), _) => (peer, Reason::Preferred),
            (None, Some(peer)) if fit.contains(&peer) => (peer, Reason::Kept),
            (None, Some(peer)) if fit.is_empty() => (peer, Reason::NobodyCan),
            _ if fit.is_empty() => {
                plan.reasons.insert(*id, Reason::NobodyCan);
                continue;
            }
            _ => {
                undecided.push(*id);
                continue;
            }
        };
        goals.insert(*id, goal);
        plan.reasons.insert(*id, reason);
        loads.add(goal, vip.weight);
    }
    for id in undecided {
        let weight = vips[&id].weight;
        let goal = loads.least(&available[&id], weight);
        goals.insert(id, goal);
        plan.reasons.insert(id, Reason::LeastLoaded);
        loads.add(goal, weight);
    }
    balance(&mut plan, &mut goals, &mut loads, &available, &vips);
    schedule(&mut plan, &goals, &available);
    plan
}

/// Who keeps each VIP that is claimed.
fn winners(
    claims: &BTreeMap<PeerId, &Claim>,
    vips: &BTreeMap<VipId, &Vip>,
) -> BTreeMap<VipId, PeerId> {
    let mut winners = BTreeMap::new();
    for vip in vips.keys() {
        let claimants = claims
            .iter()
            .filter(|(_, claim)| claim.announced.contains(vip));
        let winner = claimants.min_by_key(|(peer, claim)| conflict_key(*vip, **peer, claim));
        if let Some((peer, _)) = winner {
            winners.insert(*vip, *peer);
        }
    }
    winners
}

/// For each VIP the members of the lowest rank among those that can hold it.
fn available(
    claims: &BTreeMap<PeerId, &Claim>,
    vips: &BTreeMap<VipId, &Vip>,
    quarantined: &BTreeSet<PeerId>,
) -> BTreeMap<VipId, BTreeSet<PeerId>> {
    let rank = |peer: PeerId, vip: &Vip| {
        let mut rank = claims[&peer].rank;
        if quarantined.contains(&peer) {
            rank = rank.max(Rank::Quarantined);
        }
        if vip.away == Some(peer) {
            rank = rank.max(Rank::Drained);
        }
        rank
    };
    let vips = vips.iter().map(|(id, vip)| {
        let able = claims.iter().filter(|(_, claim)| claim.can.contains(id));
        let able: Vec<_> = able.map(|(peer, _)| (rank(*peer, vip), *peer)).collect();
        let lowest = able.iter().map(|(rank, _)| *rank).min();
        let fit = able.into_iter().filter(|(rank, _)| Some(*rank) == lowest);
        (*id, fit.map(|(_, peer)| peer).collect())
    });
    vips.collect()
}

/// Moves VIPs from the fullest to the emptiest as long as one step strictly helps; those that are
/// not yet at the fullest first, as that moves nothing that is held.
fn balance(
    plan: &mut Plan,
    goals: &mut BTreeMap<VipId, PeerId>,
    loads: &mut Loads,
    available: &BTreeMap<VipId, BTreeSet<PeerId>>,
    vips: &BTreeMap<VipId, &Vip>,
) {
    let is_free = |reason: Option<&Reason>| {
        !matches!(reason, Some(Reason::Preferred | Reason::NobodyCan) | None)
    };
    // Each step makes the fuller of two peers less full than it was, and the other not fuller
    // than that: so there is a last one. The bound is far above it.
    for _ in 0..vips.len() * vips.len() + 1 {
        let step = loads.pairs().into_iter().find_map(|(from, to)| {
            let at_from = goals.iter().filter(|(_, peer)| **peer == from);
            let movable = at_from.filter(|(vip, _)| {
                is_free(plan.reasons.get(vip))
                    && available[vip].contains(&to)
                    && loads.would_help(from, to, vips[vip].weight)
            });
            let vip = movable.min_by_key(|(vip, _)| (plan.holders.get(vip) == Some(&from), **vip));
            vip.map(|(vip, _)| (*vip, from, to))
        });
        let Some((vip, from, to)) = step else { return };
        goals.insert(vip, to);
        let reason = match plan.holders.get(&vip) {
            Some(holder) if *holder == to => Reason::Kept,
            Some(_) => Reason::Balance,
            None => Reason::LeastLoaded,
        };
        plan.reasons.insert(vip, reason);
        loads.remove(from, vips[&vip].weight);
        loads.add(to, vips[&vip].weight);
    }
}

/// Holes are filled at once; what is held changes hands in small steps.
fn schedule(
    plan: &mut Plan,
    goals: &BTreeMap<VipId, PeerId>,
    available: &BTreeMap<VipId, BTreeSet<PeerId>>,
) {
    let mut balanced = 0;
    for (vip, goal) in goals {
        match plan.holders.get(vip).copied() {
            None => {
                plan.fills.insert(*vip, *goal);
            }
            Some(holder) if holder == *goal => {}
            Some(holder) => {
                let turn = if available[vip].contains(&holder) {
                    balanced += 1;
                    Turn::Balance(balanced - 1)
                } else {
                    Turn::AtOnce
                };
                plan.moves.push(Move {
                    vip: *vip,
                    from: holder,
                    to: *goal,
                    turn,
                });
            }
        }
    }
    plan.moves.sort_by_key(|step| match step.turn {
        Turn::AtOnce => (0, 0),
        Turn::Balance(n) => (1, n),
    });
    plan.holders
        .extend(plan.fills.iter().map(|(vip, peer)| (*vip, *peer)));
}

/// What each peer is to carry: the weight of its VIPs over its capacity.
struct Loads {
    peers: BTreeMap<PeerId, Load>,
}

#[derive(Clone, Copy)]
struct Load {
    weight: u64,
    capacity: u64,
}

impl Load {
    /// Exact comparison of two fractions.
    fn cmp(self, other: Self) -> std::cmp::Ordering {
        (self.weight * other.capacity).cmp(&(other.weight * self.capacity))
    }

    fn with(self, weight: u16) -> Self {
        Self {
            weight: self.weight + u64::from(weight),
            ..self
        }
    }

    fn without(self, weight: u16) -> Self {
        Self {
            weight: self.weight - u64::from(weight),
            ..self
        }
    }
}

impl Loads {
    fn new(claims: &BTreeMap<PeerId, &Claim>) -> Self {
        let peers = claims.iter().map(|(peer, claim)| {
            let load = Load {
                weight: 0,
                capacity: claim.capacity.into(),
            };
            (*peer, load)
        });
        Self {
            peers: peers.collect(),
        }
    }

    fn add(&mut self, peer: PeerId, weight: u16) {
        let load = self.peers.get_mut(&peer).expect("goals are members");
        *load = load.with(weight);
    }

    fn remove(&mut self, peer: PeerId, weight: u16) {
        let load = self.peers.get_mut(&peer).expect("goals are members");
        *load = load.without(weight);
    }

    /// Who would carry least with this more; ties go to the lowest id.
    fn least(&self, among: &BTreeSet<PeerId>, weight: u16) -> PeerId {
        let with = |peer: &PeerId| self.peers[peer].with(weight);
        let least = among.iter().min_by(|a, b| with(a).cmp(with(b)));
        *least.expect("the caller looked that somebody can")
    }

    /// True if the giver would still carry no less than the taker then does.
    fn would_help(&self, from: PeerId, to: PeerId, weight: u16) -> bool {
        let from = self.peers[&from];
        u64::from(weight) <= from.weight
            && from
                .without(weight)
                .cmp(self.peers[&to].with(weight))
                .is_ge()
    }

    /// All pairs, the fullest giver and the emptiest taker first.
    fn pairs(&self) -> Vec<(PeerId, PeerId)> {
        let mut by_load: Vec<PeerId> = self.peers.keys().copied().collect();
        by_load.sort_by(|a, b| self.peers[a].cmp(self.peers[b]).then(a.cmp(b)));
        let mut pairs = Vec::new();
        for from in by_load.iter().rev() {
            for to in &by_load {
                if self.peers[from].cmp(self.peers[to]).is_gt() {
                    pairs.push((*from, *to));
                }
            }
        }
        pairs
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preferred => "preferred",
            Self::Kept => "kept",
            Self::LeastLoaded => "least loaded",
            Self::Balance => "balance",
            Self::NobodyCan => "no peer can hold it",
            Self::Immature => "no peer is mature yet",
        })
    }
}

#[cfg(test)]
mod tests;
