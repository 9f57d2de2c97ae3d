//! One event at a time in a cluster at rest: for how long clients are not served, and two machines
//! have one VIP.
//!
//! A client stands beside each machine. It sends to whom the segment told it of last, and asks
//! again after a second without an answer.

use super::checks::{Checks, numbers};
use super::machine::{Card, Driver};
use super::schedule::{addresses, bounds, start};
use super::world::{Seen, Setting, Stall, Where, World, name};
use crate::fabric::Network;
use dnsd::vip::address::VipId;
use dnsd::vip::failover::VipFaults;
use dnsd::vip::kernel::Kernel;
use dnsd::vip::map::{Drained, MapChange};
use dnsd::vip::timing::Asks;
use overlay::Profile;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
/// A client that gets no answer asks the segment again.
const CLIENT_ASKS: Duration = Duration::from_secs(1);
const VIPS: u8 = 10;
/// What an event leads to is over after this.
const WATCHED: Duration = Duration::from_millis(3_500);

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Event {
    /// A machine is gone from one moment to the next.
    Silent,
    Kill,
    Stop,
    Drain,
    /// Two sides that were apart for two seconds meet again.
    Merge,
    /// SIGSTOP for a second.
    Sleep,
    /// SIGSTOP for less than a lease.
    Nap,
    /// The main thread hangs for a second.
    Hang,
    /// A card hears nothing any more.
    Deaf,
    /// What a card sends does not arrive.
    Mute,
    /// The peers' port is filtered between one peer and all others, both ways.
    Filtered,
    /// What a peer says to others does not arrive; what they say does.
    FilteredOneWay,
}

/// What came of one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// The longest that a client was without a VIP.
    pub(super) unserved: Duration,
    /// The longest that two machines had one VIP.
    pub(super) double: Duration,
    /// VIPs that another machine than before announces in the end.
    pub(super) moved: usize,
    /// VIPs that the peer that the event befell announced before.
    pub(super) held: usize,
    /// VIPs that it announces in the end.
    pub(super) kept: usize,
}

pub(super) struct Trial {
    pub(super) world: World,
    checks: Checks,
    watch: Option<Watch>,
}

/// What the clients find.
struct Watch {
    locations: Vec<usize>,
    /// Where each client sends what is for a VIP, and since when in vain.
    known: BTreeMap<(usize, VipId), (Option<usize>, Option<Duration>)>,
    unserved: BTreeMap<(usize, VipId), Duration>,
    double: BTreeMap<VipId, Duration>,
    /// VIPs that two machines have since the last look.
    doubled: BTreeSet<VipId>,
    at: Duration,
}

/// The costs of one event in a cluster of three.
pub(super) fn measure(
    seed: u64,
    event: Event,
    profile: Profile,
    asks: Asks,
    faults: VipFaults,
) -> Result<Figures, String> {
    measure_of(3, seed, event, profile, asks, faults)
}

/// The same in a cluster of so many.
pub(super) fn measure_of(
    peers: usize,
    seed: u64,
    event: Event,
    profile: Profile,
    asks: Asks,
    faults: VipFaults,
) -> Result<Figures, String> {
    let mut trial = Trial::at_rest(seed, peers, profile, asks, faults)?;
    let count = trial.world.peers.len();
    let victim = trial.world.random.usize(0..count);
    let pause = MS * trial.world.random.u32(0..100);
    trial.run_for(pause)?;
    if event == Event::Merge {
        trial.part(victim);
        trial.run_for(MS * 2_000)?;
    }
    let before = trial.holders();
    let held = before.values().filter(|holder| **holder == victim).count();
    let others: Vec<usize> = (0..count).filter(|n| *n != victim).collect();
    let all: Vec<usize> = (0..count).collect();
    trial.watch(match event {
        Event::Silent | Event::Deaf | Event::Mute => others.clone(),
        _ => all,
    });
    let world = &mut trial.world;
    match event {
        Event::Silent => world.crash(victim),
        Event::Kill => world.kill(victim),
        Event::Stop => world.stop(victim),
        Event::Drain => {
            let drain = MapChange::Drain(world.peers[victim].id, Drained::Yes);
            world.change_map(others[0], &drain);
        }
        Event::Merge => world.join(),
        Event::Sleep => world.stall(victim, Stall::Process, MS * 1_000),
        Event::Nap => world.stall(victim, Stall::Process, profile_lease(profile) * 9 / 10),
        Event::Hang => world.stall(victim, Stall::Main, MS * 1_000),
        Event::Deaf => world.set_card(victim, Card::Deaf),
        Event::Mute => world.set_card(victim, Card::Mute),
        Event::Filtered | Event::FilteredOneWay => {}
    }
    for other in others {
        if matches!(event, Event::Deaf | Event::Filtered) {
            world.cut(other, victim, Where::Network);
        }
        if matches!(event, Event::Mute | Event::Filtered | Event::FilteredOneWay) {
            world.cut(victim, other, Where::Network);
        }
    }
    trial.run_for(WATCHED)?;
    let after = trial.holders();
    let moved = before
        .iter()
        .filter(|(vip, holder)| after.get(vip) != Some(holder));
    let moved = moved.count();
    let watch = trial.watch.as_ref().unwrap();
    Ok(Figures {
        unserved: watch.unserved.values().max().copied().unwrap_or_default(),
        double: watch.double.values().max().copied().unwrap_or_default(),
        moved,
        held,
        kept: trial.world.machines[victim].announced().count(),
    })
}

/// A peer is killed, and comes back later: which VIPs move, and which again.
pub(super) fn death_and_return(seed: u64) -> Result<(), String> {
    let count = 2 + seed as usize % 4;
    let mut trial = Trial::at_rest(seed, count, Profile::Lan, Asks::Yes, VipFaults::None)?;
    let victim = trial.world.random.usize(0..count);
    let before = trial.holders();
    trial.world.kill(victim);
    trial.run_for(WATCHED)?;
    let between = trial.holders();
    for (vip, holder) in &before {
        if *holder != victim && between.get(vip) != Some(holder) {
            return Err(format!("{vip} left {holder} though {victim} died"));
        }
    }
    trial.world.start_peer(victim);
    trial.run_for(WATCHED)?;
    let after = trial.holders();
    let moved = between
        .iter()
        .filter(|(vip, holder)| after.get(vip) != Some(holder));
    let (moved, due) = (moved.count(), usize::from(VIPS) / count);
    match moved == due {
        true => Ok(()),
        false => Err(format!("{moved} VIPs moved when it came back, not {due}")),
    }
}

/// Two sides announce all VIPs. One has learnt that they are to go to a peer of the other: when the
/// sides meet, the winner of a VIP hands it on at once, while the loser is slow to let go.
pub(super) fn handed_on_at_once(seed: u64, faults: VipFaults) -> Result<(), String> {
    let mut trial = Trial::at_rest(seed, 3, Profile::Lan, Asks::No, faults)?;
    trial.part(1);
    trial.run_for(MS * 1_000)?;
    let world = &mut trial.world;
    let vips: Vec<VipId> = world.machines[1].announced().collect();
    for (number, vip) in (0..VIPS).zip(vips) {
        let to_the_third = MapChange::Add {
            addresses: addresses(number),
            prefer: Some(name(2)),
            weight: 1,
        };
        world.change_map(1, &to_the_third);
        world.change_map(1, &MapChange::Away(vip, Some(world.peers[0].id)));
    }
    trial.run_for(MS * 1_000)?;
    trial.world.machines[1].slowness = 20;
    trial.world.join();
    trial.run_for(WATCHED)?;
    let holders: BTreeSet<usize> = trial.holders().into_values().collect();
    match holders == BTreeSet::from([2]) {
        true => Ok(()),
        false => Err(format!("held by {holders:?}, not by the preferred one")),
    }
}

/// The peer dies over which alone two others reach each other: each is alone then, and finds what
/// the dead one had free.
pub(super) fn bereft_on_both_sides(seed: u64, faults: VipFaults) -> Result<(), String> {
    let mut trial = Trial::at_rest(seed, 3, Profile::Lan, Asks::Yes, faults)?;
    for (from, to) in [(1, 2), (2, 1)] {
        trial.world.cut(from, to, Where::Network);
    }
    trial.run_for(MS * 2_000)?;
    let before = trial.holders();
    trial.watch(vec![1, 2]);
    trial.world.kill(0);
    trial.run_for(MS * 500)?;
    let (after, watch) = (trial.holders(), trial.watch.as_ref().unwrap());
    let is_held = |vip: &VipId| matches!(after.get(vip), Some(1 | 2));
    match watch.double.values().max() {
        Some(double) => Err(format!("two machines had one for {double:?}")),
        None if before.keys().all(is_held) => Ok(()),
        None => Err(format!("{after:?} of {before:?}")),
    }
}

fn profile_lease(profile: Profile) -> Duration {
    dnsd::vip::timing::VipTiming::of(profile).lease
}

impl Trial {
    /// Peers that have planned and come to rest.
    pub(super) fn at_rest(
        seed: u64,
        count: usize,
        profile: Profile,
        asks: Asks,
        faults: VipFaults,
    ) -> Result<Self, String> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut network = Network::new(&mut random);
        network.loss = 0;
        network.duplicates = 0;
        network.delay = MS / 10;
        network.jitter = MS / 7;
        network.serialization = MS / 100;
        let driver = Driver {
            takes: (MS / 10, MS / 2),
            failing: 0,
        };
        let slow = Driver {
            takes: (MS, MS * 10),
            ..driver
        };
        let bounds = bounds(usize::from(VIPS), slow, 0);
        let setting = Setting {
            count,
            network,
            profile,
            driver,
            faults,
        };
        let mut world = World::new(setting, random.fork(), start());
        world.timing.maturity = MS * 500;
        world.timing.asks = asks;
        let author = world.peers[0].id;
        for number in numbers(&world) {
            for vip in 0..VIPS {
                let add = MapChange::Add {
                    addresses: addresses(vip),
                    prefer: None,
                    weight: 1,
                };
                world.peers[number].log.author(add, vip.into(), author);
            }
        }
        let mut trial = Self {
            world,
            checks: Checks::new(bounds),
            watch: None,
        };
        for number in numbers(&trial.world) {
            trial.world.start_peer(number);
        }
        trial.run_for(MS * 1_000)?;
        Checks::is_at_rest(&trial.world)?;
        Ok(trial)
    }

    pub(super) fn run_for(&mut self, lasts: Duration) -> Result<(), String> {
        let until = self.world.now() + lasts;
        while self.world.step(until) {
            let told: Vec<(usize, VipId)> = self
                .world
                .seen
                .iter()
                .filter_map(|seen| match seen {
                    Seen::Told(number, vip) => Some((*number, *vip)),
                    _ => None,
                })
                .collect();
            if let Some(watch) = &mut self.watch {
                watch.look(&self.world, &told);
            }
            self.checks.look(&mut self.world)?;
        }
        Ok(())
    }

    pub(super) fn holders(&self) -> BTreeMap<VipId, usize> {
        let machines = self.world.machines.iter().enumerate();
        machines
            .flat_map(|(number, machine)| machine.announced().map(move |vip| (vip, number)))
            .collect()
    }

    fn part(&mut self, victim: usize) {
        for other in numbers(&self.world).filter(|other| *other != victim) {
            self.world.cut(victim, other, Where::Everywhere);
            self.world.cut(other, victim, Where::Everywhere);
        }
    }

    fn watch(&mut self, locations: Vec<usize>) {
        let vips: BTreeSet<VipId> = self.holders().into_keys().collect();
        let mut watch = Watch {
            known: BTreeMap::new(),
            unserved: BTreeMap::new(),
            double: BTreeMap::new(),
            doubled: BTreeSet::new(),
            at: self.world.now(),
            locations,
        };
        for location in &watch.locations {
            for vip in &vips {
                let holder = watch.resolve(&self.world, *location, *vip);
                watch.known.insert((*location, *vip), (holder, None));
            }
        }
        self.watch = Some(watch);
    }
}

impl Watch {
    fn look(&mut self, world: &World, told: &[(usize, VipId)]) {
        let passed = world.now() - self.at;
        self.at = world.now();
        let keys: Vec<(usize, VipId)> = self.known.keys().copied().collect();
        for (location, vip) in keys {
            let (holder, since) = self.known[&(location, vip)];
            // What was in vain until here was so since the last look.
            if since.is_some() {
                *self.unserved.entry((location, vip)).or_default() += passed;
            }
            let mut holder = holder;
            for (number, told) in told {
                if *told == vip && reaches(world, *number, location) {
                    holder = Some(*number);
                }
            }
            let is_old = since.is_some_and(|since| world.now() >= since + CLIENT_ASKS);
            if is_old {
                holder = self.resolve(world, location, vip);
            }
            let is_served = holder.is_some_and(|holder| {
                world.machines[holder].state(vip) != Kernel::Absent
                    && world.is_serving(holder)
                    && reaches(world, holder, location)
                    && reaches(world, location, holder)
            });
            let since = match is_served {
                true => None,
                false if is_old => Some(world.now()),
                false => since.or_else(|| Some(world.now())),
            };
            self.known.insert((location, vip), (holder, since));
        }
        let vips: BTreeSet<VipId> = self.known.keys().map(|(_, vip)| *vip).collect();
        for vip in vips {
            let announcers: Vec<usize> = numbers(world)
                .filter(|n| world.machines[*n].state(vip) == Kernel::Announced)
                .filter(|n| world.machines[*n].card == Card::Well)
                .collect();
            let is_double = announcers.iter().any(|a| {
                let mut others = announcers.iter().filter(|b| *b != a);
                others.any(|b| world.segment.is_two_way(&world.machines, *a, *b))
            });
            if self.doubled.contains(&vip) {
                *self.double.entry(vip).or_default() += passed;
            }
            match is_double {
                true => self.doubled.insert(vip),
                false => self.doubled.remove(&vip),
            };
        }
    }

    fn resolve(&self, world: &World, location: usize, vip: VipId) -> Option<usize> {
        numbers(world).find(|number| {
            world.machines[*number].state(vip) == Kernel::Announced
                && reaches(world, *number, location)
        })
    }
}

/// A client is where a machine is.
fn reaches(world: &World, a: usize, b: usize) -> bool {
    a == b || world.segment.reaches(&world.machines, a, b)
}
