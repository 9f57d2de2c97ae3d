//! One seed, one run: peers and VIPs, a network and a segment, what breaks, what operators do, and
//! the end.

use super::checks::{Bounds, Checks, numbers};
use super::machine::{Card, Driver};
use super::world::{Setting, Stall, Where, World, name};
use crate::fabric::Network;
use dnsd::vip::address::{VipAddress, VipId, group_id};
use dnsd::vip::failover::{Condition, VipFaults};
use dnsd::vip::map::{Drained, MapChange};
use dnsd::vip::timing::Asks;
use overlay::Profile;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// All members plan at most so long after the last fault: a hold of 2 s and what else is open.
const RUN_BOUND: Duration = Duration::from_secs(5);
/// All is where it belongs at most so long after that.
const REST_BOUND: Duration = Duration::from_secs(12);
/// All stays so for this long.
const QUIET: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);
/// Words, orders and the like that one peer may say in a second of faults.
const ACTIONS_MAX: u64 = 1_000;

/// What breaks in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Breaks {
    All,
    /// No way is ever cut and nothing is lost: no two machines ever announce one VIP.
    NoWay,
}

/// What came of a run.
pub(super) struct Run {
    pub(super) run_after: Duration,
    pub(super) rest_after: Duration,
    pub(super) moved: u64,
    pub(super) views: u64,
    pub(super) conflicts: u64,
    pub(super) actions: u64,
    pub(super) digest: u64,
}

struct Simulation {
    breaks: Breaks,
    /// The segment is not asked, so it is only ever cut together with the network.
    asks: Asks,
    world: World,
    checks: Checks,
    random: fastrand::Rng,
    /// VIPs that an operator may name.
    vips: Vec<BTreeSet<VipAddress>>,
    crashed: BTreeSet<usize>,
}

pub(super) fn run(seed: u64, breaks: Breaks, faults: VipFaults) -> Result<Run, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let count = match random.u32(0..16) {
        // A planted fault shows among few, if at all.
        0.. if faults != VipFaults::None => random.usize(2..=4),
        0 => 1,
        1 => random.usize(9..=12),
        2..=4 => random.usize(6..=8),
        _ => random.usize(2..=5),
    };
    let vips = match random.u32(0..8) {
        0.. if faults != VipFaults::None => random.usize(1..=8),
        0 => random.usize(13..=40),
        _ => random.usize(1..=12),
    };
    let mut network = Network::new(&mut random);
    network.loss = match breaks {
        Breaks::All => [0, 0, 0, 10, 50][random.usize(0..5)],
        Breaks::NoWay => 0,
    };
    network.serialization = Duration::from_micros(10);
    network.delay = Duration::from_micros(random.u64(80..300));
    let profile = match random.u32(0..4) {
        0 => Profile::Fast,
        _ => Profile::Lan,
    };
    let driver = Driver {
        takes: (MS / 10, [MS / 2, MS * 2, MS * 20][random.usize(0..3)]),
        failing: [0, 0, 30][random.usize(0..3)],
    };
    let mut bounds = bounds(vips, driver, network.loss);
    if breaks == Breaks::NoWay {
        bounds.in_sight = Duration::ZERO;
    }
    let asks = match random.u32(0..4) {
        0 => Asks::No,
        _ => Asks::Yes,
    };
    let setting = Setting {
        count,
        network,
        profile,
        driver,
        faults,
    };
    let mut world = World::new(setting, random.fork(), start());
    world.timing.asks = asks;
    if asks == Asks::No {
        // As in every profile in which nobody asks.
        let hold_max = profile.timing().hold_max;
        world.timing.convalescence = world.timing.convalescence.max(hold_max * 2);
    }
    // Who restarts often and is held by its neighbors for 2 s matures alone: then it must ask.
    if random.u32(0..4) > 0 && asks == Asks::Yes {
        world.timing.maturity = MS * 1_500;
    }
    let mut simulation = Simulation {
        breaks,
        asks,
        world,
        checks: Checks::new(bounds),
        random,
        vips: (0..vips as u8).map(addresses).collect(),
        crashed: BTreeSet::new(),
    };
    simulation.boot()?;
    simulation.break_for_a_while()?;
    simulation.heal();
    let (run_after, rest_after) = simulation.come_to_rest()?;
    let checks = &simulation.checks;
    Ok(Run {
        run_after,
        rest_after,
        moved: checks.moved,
        views: checks.views,
        conflicts: checks.conflicts,
        actions: simulation.world.actions,
        digest: simulation.world.digest(),
    })
}

/// What a run with so many VIPs, such a driver and such a loss may take.
pub(super) fn bounds(vips: usize, driver: Driver, loss: u32) -> Bounds {
    let lossy = if loss > 0 { MS * 400 } else { Duration::ZERO };
    let change = driver.takes.1 + MS;
    Bounds {
        conflict: MS * 60 + lossy + change * 2 * vips as u32,
        in_sight: MS * 3_500 + change * 2 * vips as u32,
        hole: MS * 300 + lossy + change * 3 * vips as u32,
    }
}

/// One VIP in five is a group.
pub(super) fn addresses(number: u8) -> BTreeSet<VipAddress> {
    let mut addresses = BTreeSet::from([format!("192.0.2.{}/24", number + 10).parse().unwrap()]);
    if number % 5 == 4 {
        addresses.insert(format!("2001:db8::{number}/64").parse().unwrap());
        addresses.insert(format!("198.51.100.{}/24", number + 10).parse().unwrap());
    }
    addresses
}

impl Simulation {
    fn boot(&mut self) -> Result<(), String> {
        let random = &mut self.random;
        let weights = random.u32(0..4) == 0;
        let mut changes = Vec::new();
        for addresses in &self.vips {
            let prefer = random.u32(0..5) == 0;
            let prefer = prefer.then(|| name(random.usize(0..self.world.peers.len())));
            changes.push(MapChange::Add {
                addresses: addresses.clone(),
                prefer,
                weight: if weights { random.u16(1..5) } else { 1 },
            });
        }
        for number in numbers(&self.world) {
            let capacity = if weights { random.u16(1..3) } else { 1 };
            self.world.peers[number].capacity = capacity;
        }
        for (at, change) in changes.into_iter().enumerate() {
            let id = self.world.peers[0].id;
            for number in numbers(&self.world) {
                let log = &mut self.world.peers[number].log;
                log.author(change.clone(), at as u64, id);
            }
        }
        for number in numbers(&self.world) {
            self.world.start_peer(number);
            let pause = MS * self.random.u32(0..60);
            self.run_for(pause)?;
        }
        let maturity = self.world.timing.maturity;
        let more = MS * self.random.u32(0..3_000);
        self.run_for(maturity + more)
    }

    fn break_for_a_while(&mut self) -> Result<(), String> {
        let end = self.world.now() + MS * self.random.u32(2_000..7_000);
        while self.world.now() < end {
            for _ in 0..self.random.u32(1..3) {
                self.break_something();
            }
            let pause = match self.random.u32(0..3) {
                0 => MS * self.random.u32(0..30),
                _ => MS * self.random.u32(1..700),
            };
            self.run_for(pause)?;
        }
        Ok(())
    }

    fn break_something(&mut self) {
        let count = self.world.peers.len();
        let (a, b) = (self.random.usize(0..count), self.random.usize(0..count));
        let place = match self.random.u32(0..6) {
            0 | 1 if self.asks == Asks::Yes => Where::Network,
            2 if self.asks == Asks::Yes => Where::Segment,
            _ => Where::Everywhere,
        };
        let may_cut = self.breaks == Breaks::All;
        let is_alive = self.world.is_alive(a);
        match self.random.u32(0..32) {
            0..=2 if is_alive => self.world.kill(a),
            0..=4 if !is_alive => self.start(a),
            3 if is_alive => {
                self.world.crash(a);
                self.crashed.insert(a);
            }
            4 | 5 if is_alive => self.world.stop(a),
            6..=9 => {
                let lasts = MS * self.random.u32(20..600);
                let stall = [Stall::Process, Stall::Process, Stall::Link, Stall::Main];
                self.world.stall(a, stall[self.random.usize(0..4)], lasts);
            }
            10 | 11 if a != b && may_cut => self.world.cut(a, b, place),
            12 | 13 if a != b && may_cut => {
                self.world.cut(a, b, place);
                self.world.cut(b, a, place);
            }
            14 | 15 if may_cut => self.split(place),
            16 if self.random.bool() => self.restart_all(),
            17 if may_cut && self.asks == Asks::Yes => {
                let cards = [Card::Deaf, Card::Mute, Card::NoCarrier, Card::Well];
                let card = cards[self.random.usize(0..4)];
                self.set_card(a, card);
            }
            18 => {
                let announced: Vec<VipId> = self.world.machines[a].announced().collect();
                if let Some(vip) = announced.first() {
                    self.world.take_away(a, *vip);
                }
            }
            19 | 20 => {
                let condition = Condition {
                    is_sick: self.random.bool(),
                    is_stale: self.random.bool(),
                };
                self.world.set_condition(a, condition);
            }
            21 if self.random.u32(0..3) == 0 => {
                for number in 0..count {
                    let condition = Condition {
                        is_sick: true,
                        is_stale: false,
                    };
                    self.world.set_condition(number, condition);
                }
            }
            22..=26 if is_alive => self.operate(a),
            _ => self.join(),
        }
    }

    /// What an operator asks of a peer.
    fn operate(&mut self, at: usize) {
        let count = self.world.peers.len();
        let vip = self.random.usize(0..self.vips.len());
        let addresses = self.vips[vip].clone();
        let id = group_id(&addresses);
        let other = self.random.usize(0..count);
        let change = match self.random.u32(0..8) {
            0 => MapChange::Remove(id),
            1 => {
                // One more, perhaps with an address that another has.
                let number = self.vips.len() as u8;
                let mut more = self::addresses(number);
                if self.random.u32(0..3) == 0 {
                    more.extend(addresses);
                }
                if self.vips.len() < 40 {
                    self.vips.push(more.clone());
                }
                add(more, None, 1)
            }
            2 => add(addresses, Some(name(other)), 1),
            3 => add(addresses, None, self.random.u16(1..4)),
            4 => MapChange::Away(id, Some(self.world.peers[other].id)),
            5 => MapChange::Away(id, None),
            6 => MapChange::Drain(self.world.peers[other].id, Drained::Yes),
            _ => MapChange::Drain(self.world.peers[other].id, Drained::No),
        };
        self.world.change_map(at, &change);
    }

    fn split(&mut self, place: Where) {
        let count = self.world.peers.len();
        let side: BTreeSet<usize> = (0..count).filter(|_| self.random.bool()).collect();
        let is_one_way = self.random.u32(0..4) == 0;
        for a in 0..count {
            for b in 0..count {
                let is_cut = side.contains(&a) && !side.contains(&b)
                    || !is_one_way && !side.contains(&a) && side.contains(&b);
                if is_cut {
                    self.world.cut(a, b, place);
                }
            }
        }
    }

    /// A card that is deaf, mute or without carrier: the peers' network goes over it, or not.
    fn set_card(&mut self, number: usize, card: Card) {
        self.world.set_card(number, card);
        if self.random.bool() {
            return;
        }
        for other in numbers(&self.world).filter(|other| *other != number) {
            if matches!(card, Card::Deaf | Card::NoCarrier) {
                self.world.cut(other, number, Where::Network);
            }
            if matches!(card, Card::Mute | Card::NoCarrier) {
                self.world.cut(number, other, Where::Network);
            }
        }
    }

    fn restart_all(&mut self) {
        for number in numbers(&self.world) {
            if self.world.is_alive(number) {
                self.world.kill(number);
            }
        }
        for number in numbers(&self.world) {
            self.start(number);
        }
    }

    fn start(&mut self, number: usize) {
        if self.crashed.remove(&number) {
            for other in numbers(&self.world) {
                if !self.crashed.contains(&other) {
                    self.world.mend(number, other);
                    self.world.mend(other, number);
                }
            }
        }
        self.world.start_peer(number);
    }

    fn join(&mut self) {
        self.world.join();
        for number in numbers(&self.world) {
            self.world.set_card(number, Card::Well);
        }
    }

    fn heal(&mut self) {
        self.join();
        self.world.driver.failing = 0;
        for number in numbers(&self.world) {
            if self.random.u32(0..3) > 0 {
                self.world.set_condition(number, Condition::default());
            }
            if !self.world.is_alive(number) && self.random.u32(0..4) > 0 {
                self.start(number);
            }
        }
    }

    /// All plan, and all comes to be where it belongs.
    fn come_to_rest(&mut self) -> Result<(Duration, Duration), String> {
        let begin = self.world.now();
        // Who has just started does not know what it can hold.
        self.run_for(MS * 10)?;
        while !self.is_planned() {
            self.run_for(MS * 5)?;
            if self.world.now() > begin + RUN_BOUND {
                return Err(format!("they do not plan: {}", self.describe()));
            }
        }
        let run_after = self.world.now() - begin;
        while let Err(why) = Checks::is_at_rest(&self.world) {
            self.run_for(MS * 20)?;
            if self.world.now() > begin + REST_BOUND {
                return Err(format!(
                    "they do not come to rest: {why}{}",
                    self.describe()
                ));
            }
        }
        let rest_after = self.world.now() - begin;
        let actions = self.world.actions;
        self.run_for(QUIET)?;
        Checks::is_at_rest(&self.world)
            .map_err(|why| format!("they do not stay at rest: {why}{}", self.describe()))?;
        let actions = self.world.actions - actions;
        let bound = self.world.peers.len() as u64 * 20;
        if actions > bound {
            return Err(format!("{actions} actions at rest"));
        }
        Ok((run_after, rest_after))
    }

    /// All that live are in one view and plan.
    fn is_planned(&self) -> bool {
        let alive: Vec<usize> = numbers(&self.world)
            .filter(|number| self.world.is_alive(*number))
            .collect();
        let plans: BTreeSet<_> = alive
            .iter()
            .map(|number| {
                let process = self.world.process(*number).unwrap();
                let plan = process.failover.plan();
                plan.map(|(view, epoch, _)| (view, epoch))
            })
            .collect();
        plans.len() <= 1 && !plans.contains(&None) && {
            let process = alive.first().and_then(|number| self.world.process(*number));
            process
                .is_none_or(|process| process.view.as_ref().unwrap().members.len() == alive.len())
        }
    }

    fn run_for(&mut self, lasts: Duration) -> Result<(), String> {
        let until = self.world.now() + lasts;
        let (began, actions) = (self.world.now(), self.world.actions);
        while self.world.step(until) {
            self.checks.look(&mut self.world)?;
        }
        let seconds = (self.world.now() - began).as_secs() + 1;
        let bound = ACTIONS_MAX * seconds * self.world.peers.len() as u64;
        let actions = self.world.actions - actions;
        match actions <= bound {
            true => Ok(()),
            false => Err(format!("{actions} actions in {lasts:?}")),
        }
    }

    /// Where everybody stands, for a failing run.
    fn describe(&self) -> String {
        let peers = numbers(&self.world).map(|number| {
            let machine = &self.world.machines[number];
            let announced: Vec<String> = machine.announced().map(|vip| vip.to_string()).collect();
            let process = self.world.process(number);
            let view = process.and_then(|process| process.view.as_ref());
            let members = view.iter().flat_map(|view| &view.members);
            let members: Vec<usize> = members.map(|(p, _)| self.world.number(*p)).collect();
            let plan = process.and_then(|process| process.failover.plan());
            let plan = plan.map(|(view, epoch, plan)| (view, epoch, &plan.moves));
            format!("\n{number}: announces {announced:?}, view {members:?}, plan {plan:?}")
        });
        peers.collect()
    }
}

fn add(addresses: BTreeSet<VipAddress>, prefer: Option<String>, weight: u16) -> MapChange {
    MapChange::Add {
        addresses,
        prefer,
        weight,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a run only needs some first moment"
)]
pub(super) fn start() -> Instant {
    Instant::now()
}
