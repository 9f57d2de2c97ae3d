//! What must hold of the kernels always, and what at the end (overlay protocol section 6; the
//! properties of Wackamole).
//!
//! The truth is what the kernels do, never what a peer says.

use super::world::{Seen, World};
use dnsd::vip::address::VipId;
use dnsd::vip::assign::Plan;
use dnsd::vip::claim::{Maturity, Rank};
use dnsd::vip::kernel::Kernel;
use dnsd::vip::map::VipMap;
use overlay::{PeerId, View, ViewId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What was seen so far.
pub(super) struct Checks {
    bounds: Bounds,
    /// All members that run one view and epoch have this plan.
    plans: BTreeMap<(ViewId, u64), Plan>,
    /// Pairs of machines that both announce a VIP, and since when.
    doubles: BTreeMap<(VipId, usize, usize), Double>,
    /// Since when two peers are in each other's view.
    met: BTreeMap<(usize, usize), Duration>,
    /// VIPs that nobody announces in a component that has planned, and since when.
    holes: BTreeMap<(ViewId, u64, VipId), Duration>,
    faults: Vec<String>,
    pub(super) moved: u64,
    pub(super) views: u64,
    pub(super) conflicts: u64,
}

struct Double {
    /// Since when each is in the other's view.
    together: Option<Duration>,
    /// Since when both run, are in nobody's way to hear the other on the segment.
    in_sight: Option<Duration>,
}

/// How long what must end may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Two announcers that came together, until one has let go.
    pub(super) conflict: Duration,
    /// Two announcers that hear each other on the segment and are in no common view.
    pub(super) in_sight: Duration,
    /// A VIP without announcer, though all members have planned who announces it.
    pub(super) hole: Duration,
}

impl Checks {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            plans: BTreeMap::new(),
            doubles: BTreeMap::new(),
            met: BTreeMap::new(),
            holes: BTreeMap::new(),
            faults: Vec::new(),
            moved: 0,
            views: 0,
            conflicts: 0,
        }
    }

    /// Looks at what has happened since.
    pub(super) fn look(&mut self, world: &mut World) -> Result<(), String> {
        let mut is_due = false;
        while let Some(seen) = world.seen.pop_front() {
            match seen {
                Seen::Kernel(number, vip, Kernel::Announced, began) => {
                    self.moved += 1;
                    self.judge_announced(world, number, vip, began);
                    is_due = true;
                }
                Seen::Kernel(..) => is_due = true,
                Seen::Called(usize::MAX) => is_due = true,
                Seen::Called(number) => self.judge_plan(world, number),
                Seen::View(number) => {
                    self.views += 1;
                    self.note_together(world, number);
                    is_due = true;
                }
                Seen::Told(..) => {}
            }
        }
        if is_due {
            self.judge_doubles(world);
            self.judge_holes(world);
        }
        match self.faults.is_empty() {
            true => Ok(()),
            false => Err(self.faults.join("; ")),
        }
    }

    /// Where all stand: every VIP that anybody can hold is announced once in its component, and
    /// what is free to move is spread evenly.
    pub(super) fn is_at_rest(world: &World) -> Result<(), String> {
        let alive: Vec<usize> = numbers(world).filter(|n| world.is_alive(*n)).collect();
        let mut members: BTreeSet<Vec<usize>> = BTreeSet::new();
        for number in &alive {
            let process = world.process(*number).unwrap();
            let Some((_, _, plan)) = process.failover.plan() else {
                return Err(format!("{number} has no plan"));
            };
            if !plan.moves.is_empty() {
                let claim = process.claim.as_ref().unwrap();
                let open = plan.moves.iter().filter(|step| {
                    let to = world.process(world.number(step.to));
                    to.and_then(|to| to.claim.as_ref())
                        .is_none_or(|to| to.epoch != claim.epoch || !to.taken.contains(&step.vip))
                });
                if let Some(step) = open.into_iter().next() {
                    return Err(format!("{number} waits for {step:?}"));
                }
            }
            let view = process.view.as_ref().unwrap();
            let mut view: Vec<usize> = view.members.iter().map(|(p, _)| world.number(*p)).collect();
            view.sort_unstable();
            members.insert(view);
        }
        let in_views: usize = members.iter().map(Vec::len).sum();
        if in_views != alive.len() {
            return Err(format!("views {members:?} of {alive:?}"));
        }
        for members in members {
            // What a member has not heard of yet, such as a drain, is still to be done.
            let logs = members.iter().map(|number| &world.peers[*number].log);
            if !logs.is_sorted_by(|log, next| log == next) {
                return Err(format!("{members:?} have not heard of the same changes"));
            }
            is_served_evenly(world, &members)?;
        }
        Ok(())
    }

    /// A machine announces a VIP from here on: in no view is that a second one.
    fn judge_announced(&mut self, world: &World, number: usize, vip: VipId, began: Duration) {
        for other in numbers(world).filter(|other| *other != number) {
            if world.machines[other].state(vip) != Kernel::Announced {
                continue;
            }
            let pair = (vip, number.min(other), number.max(other));
            // What was asked for before they met is settled as what is announced already.
            let met = self.met.get(&(pair.1, pair.2)).copied();
            let is_inherited = self.doubles.contains_key(&pair) || met >= Some(began);
            if !is_inherited && are_together(world, number, other) {
                self.faults.push(format!(
                    "{} {vip}: {number} announces what {other} does, in its view",
                    at(world)
                ));
            }
        }
    }

    fn note_together(&mut self, world: &World, number: usize) {
        for other in numbers(world).filter(|other| *other != number) {
            let pair = (number.min(other), number.max(other));
            if are_together(world, number, other) {
                self.met.entry(pair).or_insert_with(|| world.now());
            } else {
                self.met.remove(&pair);
            }
        }
    }

    fn judge_doubles(&mut self, world: &World) {
        let now = world.now();
        let mut announcers: BTreeMap<VipId, Vec<usize>> = BTreeMap::new();
        for number in numbers(world) {
            for vip in world.machines[number].announced() {
                announcers.entry(vip).or_default().push(number);
            }
        }
        let mut found = BTreeSet::new();
        for (vip, announcers) in announcers {
            for (place, a) in announcers.iter().enumerate() {
                found.extend(announcers[place + 1..].iter().map(|b| (vip, *a, *b)));
            }
        }
        self.conflicts += found
            .iter()
            .filter(|pair| !self.doubles.contains_key(pair))
            .count() as u64;
        self.doubles.retain(|pair, _| found.contains(pair));
        for (vip, a, b) in found {
            let double = self.doubles.entry((vip, a, b)).or_insert(Double {
                together: None,
                in_sight: None,
            });
            let is_running = world.is_running(a) && world.is_running(b);
            let is_together = is_running && are_together(world, a, b);
            double.together = double.together.filter(|_| is_together);
            let together = is_together.then_some(now);
            double.together = double.together.or(together);
            let is_in_sight = is_running && world.segment.is_two_way(&world.machines, a, b);
            double.in_sight = double.in_sight.filter(|_| is_in_sight);
            let in_sight = is_in_sight.then_some(now);
            double.in_sight = double.in_sight.or(in_sight);
            for (since, bound, how) in [
                (double.together, self.bounds.conflict, "in one view"),
                (double.in_sight, self.bounds.in_sight, "in sight"),
            ] {
                if since.is_some_and(|since| now > since + bound) {
                    self.faults.push(format!(
                        "{} {vip}: {a} and {b} both announce it {how} for {:?}",
                        at(world),
                        now - since.unwrap()
                    ));
                }
            }
        }
    }

    /// In a component whose members all have the plan of one view and epoch each VIP that somebody
    /// can hold is announced.
    fn judge_holes(&mut self, world: &World) {
        let now = world.now();
        let mut found = BTreeSet::new();
        let mut judged = BTreeSet::new();
        for number in numbers(world).filter(|number| world.is_running(*number)) {
            let process = world.process(number).unwrap();
            let Some((view, epoch, plan)) = process.failover.plan() else {
                continue;
            };
            if !judged.insert((view, epoch)) {
                continue;
            }
            let members = &process.view.as_ref().unwrap().members;
            let members: Vec<usize> = members.iter().map(|(p, _)| world.number(*p)).collect();
            let in_run = |number: &usize| {
                world.is_running(*number)
                    && world.process(*number).is_some_and(|process| {
                        let plan = process.failover.plan();
                        !process.is_stopping
                            && plan.is_some_and(|(v, e, _)| (v, e) == (view, epoch))
                    })
            };
            if !members.iter().all(in_run) {
                continue;
            }
            let claims = || {
                let members = members.iter();
                members.filter_map(|member| world.process(*member)?.claim.as_ref())
            };
            if claims().all(|claim| claim.maturity == Maturity::Immature) {
                for vip in plan.fills.keys() {
                    self.faults
                        .push(format!("{} {vip}: taken though immature", at(world)));
                }
                continue;
            }
            let can: BTreeSet<VipId> = claims().flat_map(|claim| &claim.can).copied().collect();
            for vip in can {
                // What is not in the merged map is removed.
                if plan.reasons.contains_key(&vip) && !plan.holders.contains_key(&vip) {
                    let fault = format!("{} {vip}: somebody can, nobody is to", at(world));
                    self.faults.push(fault);
                }
            }
            for vip in plan.holders.keys() {
                let holders = members
                    .iter()
                    .filter(|n| world.machines[**n].state(*vip) == Kernel::Announced);
                if holders.count() == 0 && !is_respected(world, &members, *vip) {
                    found.insert((view, epoch, *vip));
                }
            }
        }
        self.holes.retain(|hole, _| found.contains(hole));
        for hole in found {
            let since = *self.holes.entry(hole).or_insert(now);
            if now > since + self.bounds.hole {
                let (_, epoch, vip) = hole;
                self.faults.push(format!(
                    "{} {vip}: nobody announces it in epoch {epoch} for {:?}",
                    at(world),
                    now - since
                ));
            }
        }
    }

    fn judge_plan(&mut self, world: &World, number: usize) {
        let Some(process) = world.process(number) else {
            return;
        };
        let Some((view, epoch, plan)) = process.failover.plan() else {
            return;
        };
        let known = self
            .plans
            .entry((view, epoch))
            .or_insert_with(|| plan.clone());
        if known != plan {
            self.faults.push(format!(
                "{}: {number} has another plan in epoch {epoch}: {plan:?} not {known:?}",
                at(world)
            ));
        }
        // Plans of views that are over are never looked at again.
        if self.plans.len() > 64 {
            self.plans.pop_first();
        }
    }
}

/// Each is in the view of the other.
fn are_together(world: &World, a: usize, b: usize) -> bool {
    let holds = |at: usize, other: usize| {
        let view = world.process(at).and_then(|process| process.view.as_ref());
        let (id, incarnation) = (world.peers[other].id, world.peers[other].incarnation);
        view.is_some_and(|view: &View| view.holds(id, incarnation))
    };
    world.is_alive(a) && world.is_alive(b) && holds(a, b) && holds(b, a)
}

/// Another server, out of their view, has it on the segment of a member.
fn is_respected(world: &World, members: &[usize], vip: VipId) -> bool {
    let others = numbers(world).filter(|other| !members.contains(other));
    others
        .filter(|other| world.machines[*other].state(vip) == Kernel::Announced)
        .any(|other| {
            let mut members = members.iter();
            members.any(|member| world.segment.is_two_way(&world.machines, *member, other))
        })
}

fn is_served_evenly(world: &World, members: &[usize]) -> Result<(), String> {
    let claims: BTreeMap<PeerId, _> = members
        .iter()
        .filter_map(|number| {
            Some((
                world.peers[*number].id,
                world.process(*number)?.claim.as_ref()?,
            ))
        })
        .collect();
    let map: VipMap = world.peers[members[0]].log.map();
    let quarantined: BTreeSet<PeerId> = claims
        .values()
        .flat_map(|claim| claim.quarantined.keys().copied())
        .collect();
    let vips = map.vips();
    let rank = |number: usize, vip: VipId| {
        let peer = world.peers[number].id;
        let mut rank = claims[&peer].rank;
        if quarantined.contains(&peer) {
            rank = rank.max(Rank::Quarantined);
        }
        if vips[&vip].away == Some(peer) {
            rank = rank.max(Rank::Drained);
        }
        rank
    };
    let mut load: BTreeMap<usize, u64> = members.iter().map(|n| (*n, 0)).collect();
    let mut placed = Vec::new();
    for (vip, row) in &vips {
        // In the end every machine is fit for every VIP.
        let able = members;
        let unfit = able
            .iter()
            .find(|n| !claims[&world.peers[**n].id].can.contains(vip));
        if let Some(unfit) = unfit {
            return Err(format!("{vip} cannot be at {unfit}"));
        }
        let holders: Vec<usize> = members
            .iter()
            .copied()
            .filter(|n| world.machines[*n].state(*vip) == Kernel::Announced)
            .collect();
        if is_respected(world, members, *vip) && holders.is_empty() {
            continue;
        }
        if holders.len() != 1 {
            return Err(format!("{vip} is announced by {holders:?}"));
        }
        let holder = holders[0];
        let lowest = able.iter().map(|n| rank(*n, *vip)).min();
        let fit: BTreeSet<usize> = able
            .iter()
            .copied()
            .filter(|n| Some(rank(*n, *vip)) == lowest)
            .collect();
        if !fit.contains(&holder) {
            return Err(format!("{vip} is at {holder}, fit are {fit:?}"));
        }
        *load.get_mut(&holder).unwrap() += u64::from(row.weight);
        let preferred = row.prefer.as_ref();
        let preferred = preferred.and_then(|p| fit.iter().find(|n| super::world::name(**n) == *p));
        match preferred {
            Some(preferred) if *preferred != holder => {
                return Err(format!("{vip} is at {holder}, {preferred} is preferred"));
            }
            Some(_) => {}
            None => placed.push((*vip, holder, fit, u64::from(row.weight))),
        }
    }
    for (vip, holder, fit, weight) in placed {
        for to in fit.into_iter().filter(|to| *to != holder) {
            let capacity = |n: usize| u64::from(world.peers[n].capacity);
            let (from, with) = (
                load[&holder] * capacity(to),
                (load[&to] + weight) * capacity(holder),
            );
            let after = (load[&holder] - weight) * capacity(to);
            if from > with && after >= with {
                return Err(format!(
                    "{vip} at {holder} would be better at {to}: {load:?}"
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn numbers(world: &World) -> impl Iterator<Item = usize> + use<> {
    0..world.peers.len()
}

fn at(world: &World) -> String {
    format!("at {:.6}", world.now().as_secs_f64())
}
