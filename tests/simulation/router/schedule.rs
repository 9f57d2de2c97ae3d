//! One seed, one run: a shape, a network, how much is said, what breaks, and the end.

use super::checks::Checks;
use super::exchange::{Exchange, numbered};
use super::world::World;
use crate::fabric::Network;
use overlay::event::{Class, Event};
use overlay::{Faults, Incarnation, PeerId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// All peers agree on the right view at most so long after the last fault.
const AGREE_BOUND: Duration = Duration::from_secs(4);
/// From the last message to the final count: a source keeps what it said for 2 s.
const QUIET: Duration = Duration::from_secs(3);
/// A payload to one peer is repeated after this, as every user of them does.
const REPEAT: Duration = Duration::from_millis(300);
const REPEATS_MAX: u32 = 6;
/// Messages of a burst: several windows of a source.
const BURST: u64 = 900;

/// What breaks in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Breaks {
    All,
    /// Packets are lost, and single peers complain of others; nothing else.
    LossAlone,
}

/// How much is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Talk {
    Busy,
    Calm,
    None,
}

/// What came of a run.
pub(super) struct Run {
    pub(super) agreed_after: Duration,
    pub(super) delivered: usize,
    pub(super) gaps: u64,
    pub(super) fetched: u64,
    pub(super) failed: u64,
    pub(super) digest: u64,
}

struct Simulation {
    world: World,
    checks: Checks,
    exchange: Exchange,
    random: fastrand::Rng,
    sent: u64,
    /// Links that are up, from one end to the other.
    up: BTreeSet<(usize, usize)>,
    complained: Duration,
}

pub(super) fn run(seed: u64, breaks: Breaks, faults: Faults) -> Result<Run, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let links = shape(&mut random);
    let count = links.len();
    let has_newcomer = breaks == Breaks::All && count > 2 && random.u32(0..3) == 0;
    let members = count - usize::from(has_newcomer);
    let talk = [Talk::Busy, Talk::Calm, Talk::None][random.usize(0..3)];
    let mut network = Network::new(&mut random);
    let lag = [0, 500, 20_000][random.usize(0..3)];
    network.stream_lag_max = Duration::from_micros(lag);
    let mut simulation = Simulation {
        world: World::new(links, members, network, faults, start()),
        checks: Checks::default(),
        exchange: Exchange::default(),
        random,
        sent: 0,
        up: BTreeSet::new(),
        complained: Duration::ZERO,
    };
    for number in 0..members {
        simulation.start_peer(number);
    }
    simulation.run_until(Duration::from_secs(1), talk);
    simulation.break_for_a_while(breaks, talk)?;
    simulation.heal();
    let agreed_after = simulation.come_to_rest(talk)?;
    simulation.check_that_it_answers()?;
    simulation.check_the_end()?;
    let checks = &simulation.checks;
    Ok(Run {
        agreed_after,
        delivered: checks.delivered(),
        gaps: checks.gaps,
        fetched: simulation.exchange.fetched,
        failed: simulation.exchange.failed,
        digest: simulation.world.digest(),
    })
}

impl Simulation {
    fn start_peer(&mut self, number: usize) {
        self.world.start_peer(number, &mut self.random);
        self.check();
    }

    fn run_until(&mut self, until: Duration, talk: Talk) {
        while self.world.now() < until {
            let pause = match talk {
                Talk::Busy => self.random.u64(100..20_000),
                Talk::Calm => self.random.u64(1_000..300_000),
                Talk::None => 100_000,
            };
            let stop = until.min(self.world.now() + Duration::from_micros(pause));
            while self.world.step(stop) {
                self.check();
            }
            if talk != Talk::None {
                self.talk();
            }
        }
    }

    fn until_agreed(&mut self, talk: Talk) -> Result<Duration, String> {
        let begin = self.world.now();
        while !self.is_agreed() {
            let until = self.world.now() + Duration::from_millis(5);
            self.run_until(until, talk);
            if self.world.now() - begin >= AGREE_BOUND {
                return Err(format!("they do not agree: {}", self.describe()));
            }
        }
        Ok(self.world.now() - begin)
    }

    fn break_for_a_while(&mut self, breaks: Breaks, talk: Talk) -> Result<(), String> {
        if breaks == Breaks::LossAlone {
            self.until_agreed(talk)?;
        }
        let views = self.checks.views();
        let end = self.world.now() + Duration::from_millis(self.random.u64(3_000..8_000));
        while self.world.now() < end {
            let pause = Duration::from_millis(self.random.u64(1..800));
            let until = self.world.now() + pause;
            match breaks {
                Breaks::All => self.break_something(),
                Breaks::LossAlone => self.complain_alone(),
            }
            self.run_until(until, talk);
        }
        if breaks == Breaks::LossAlone && self.checks.views() != views {
            return Err("a view changes though nobody has left".into());
        }
        Ok(())
    }

    /// A random peer says something.
    fn talk(&mut self) {
        let count = self.world.peers.len();
        let (number, other) = (self.random.usize(0..count), self.random.usize(0..count));
        if !self.world.is_running(number) {
            return;
        }
        let (world, random) = (&mut self.world, &mut self.random);
        match random.u32(0..20) {
            0..=3 if number != other => {
                let size = [random.usize(8..600), random.usize(8..20_000)][random.usize(0..2)];
                self.exchange.send(world, number, other, size);
            }
            4 | 5 => self.exchange.say(world, number, random),
            6 if number != other => {
                let size = [random.u64(1..200_000), random.u64(1..2_000_000)][random.usize(0..2)];
                self.exchange.fetch(world, number, other, size);
            }
            _ => self.multicast(number),
        }
        self.check();
    }

    fn multicast(&mut self, number: usize) {
        let size = match self.random.u32(0..50) {
            0 => self.random.usize(8..60_000),
            _ => self.random.usize(8..600),
        };
        let class = [Class::Control, Class::Update, Class::Bulk][self.random.usize(0..3)];
        self.multicast_of(number, class, size);
    }

    fn multicast_of(&mut self, number: usize, class: Class, size: usize) {
        self.sent += 1;
        let payload = numbered(self.sent, size);
        let life = self.world.life(number);
        self.checks.note_sent(life, self.sent, payload.len());
        let sent = self.world.call(number, |router, now| {
            router.multicast(class, None, payload, now)
        });
        assert_eq!(sent, Some(Ok(())), "so little is never refused");
        self.check();
    }

    fn break_something(&mut self) {
        let count = self.world.peers.len();
        let (a, b) = (self.random.usize(0..count), self.random.usize(0..count));
        match self.random.u32(0..14) {
            0 | 1 if self.world.is_alive(a) => self.kill(a),
            0..=2 if !self.world.is_alive(a) => self.start_or_join(a),
            2 | 3 => {
                let lasts = Duration::from_millis(self.random.u64(20..600));
                self.world.stall(a, lasts);
            }
            4 | 5 => self.world.fabric.network.cut(a, b),
            6 => {
                self.world.fabric.network.cut(a, b);
                self.world.fabric.network.cut(b, a);
            }
            7 => {
                let side: BTreeSet<usize> = (0..count).filter(|_| self.random.bool()).collect();
                for (a, b) in pairs(count) {
                    if side.contains(&a) != side.contains(&b) {
                        self.world.fabric.network.cut(a, b);
                        self.world.fabric.network.cut(b, a);
                    }
                }
            }
            8 => self.world.fabric.network.dig(a, b),
            9 if a != b && self.world.is_running(a) => self.complain(a, b),
            10 if self.world.is_running(a) && self.random.u32(0..4) == 0 => {
                for _ in 0..BURST {
                    self.multicast_of(a, Class::Update, 60);
                }
            }
            _ => self.world.fabric.network.join(),
        }
        self.check();
    }

    /// One peer complains of another in a cluster of three or more; never two at a time.
    fn complain_alone(&mut self) {
        let count = self.world.peers.len();
        let (a, b) = (self.random.usize(0..count), self.random.usize(0..count));
        // The sixth complaint of one peer within ten minutes lasts for 32 s.
        let lasts = Duration::from_secs(60);
        if count > 2 && a != b && (self.complained.is_zero() || self.world.now() > self.complained)
        {
            self.complained = self.world.now() + lasts;
            self.complain(a, b);
        }
    }

    fn complain(&mut self, by: usize, of: usize) {
        let of = self.world.peers[of].id;
        self.world.call(by, |router, now| router.complain(of, now));
        self.check();
    }

    fn kill(&mut self, number: usize) {
        self.world.kill(number);
        self.up.retain(|(at, _)| *at != number);
    }

    /// Starts a peer again, or one that joins now if a member is there to admit it.
    fn start_or_join(&mut self, number: usize) {
        if !self.world.peers[number].known.contains(&number) {
            let links = self.world.peers[number].links.clone();
            let inviter = links.into_iter().find(|by| self.world.is_alive(*by));
            let Some(by) = inviter else {
                return;
            };
            self.world.admit(number, by);
        }
        self.start_peer(number);
    }

    fn heal(&mut self) {
        self.world.fabric.network.join();
        for number in 0..self.world.peers.len() {
            if !self.world.is_alive(number) && self.random.u32(0..3) > 0 {
                self.start_or_join(number);
            }
        }
    }

    /// All agree, and stay so.
    fn come_to_rest(&mut self, talk: Talk) -> Result<Duration, String> {
        let agreed_after = self.until_agreed(talk)?;
        let until = self.world.now() + QUIET;
        self.run_until(until, Talk::None);
        match self.is_agreed() {
            true => Ok(agreed_after),
            false => Err(format!("it does not stay at rest: {}", self.describe())),
        }
    }

    fn check(&mut self) {
        while let Some((number, event)) = self.world.take_event() {
            let life = self.world.life(number);
            match &event {
                Event::NeighborUp(peer) => {
                    self.up.insert((number, self.world.number(*peer)));
                    self.tell_members(number, *peer);
                }
                Event::NeighborDown(peer, _) => {
                    self.up.remove(&(number, self.world.number(*peer)));
                }
                _ => {}
            }
            self.checks.handle(life, &event);
            self.exchange.handle(&mut self.world, number, &event);
        }
    }

    /// Logs meet over a link that is up: what one end knows of members both know, and so do
    /// those that they have links to.
    fn tell_members(&mut self, a: usize, b: PeerId) {
        let mut edge = vec![a, self.world.number(b)];
        while let Some(a) = edge.pop() {
            let next: Vec<usize> = self
                .up
                .iter()
                .filter(|(at, _)| *at == a)
                .map(|(_, b)| *b)
                .collect();
            for b in next {
                let known = self.world.peers[a].known.clone();
                let is_news = !known.is_subset(&self.world.peers[b].known);
                if is_news && self.world.is_alive(b) {
                    self.world.learn(b, &known);
                    edge.push(b);
                }
            }
        }
    }

    /// Over any hops, whatever is lost, a payload that is repeated arrives.
    fn check_that_it_answers(&mut self) -> Result<(), String> {
        let count = self.world.peers.len();
        let mut open: Vec<(usize, usize)> = pairs(count)
            .filter(|(a, b)| a != b && self.is_in_view(*a, *b))
            .collect();
        for _ in 0..REPEATS_MAX {
            let mut sent = Vec::new();
            for (a, b) in open {
                let unicast = self.exchange.send(&mut self.world, a, b, 100);
                sent.push((a, b, unicast));
            }
            let until = self.world.now() + REPEAT;
            self.run_until(until, Talk::None);
            sent.retain(|(_, _, unicast)| !self.exchange.has_come(*unicast));
            open = sent.into_iter().map(|(a, b, _)| (a, b)).collect();
        }
        match open.is_empty() {
            true => Ok(()),
            false => Err(format!("no way for {open:?}: {}", self.describe())),
        }
    }

    fn check_the_end(&mut self) -> Result<(), String> {
        self.check_rest()?;
        let alive = self.alive();
        self.checks.finish(&alive);
        let checks = &self.checks;
        let in_one_view =
            |at, other: (PeerId, Incarnation)| checks.current(at).holds(other.0, other.1);
        self.exchange.finish(&alive, in_one_view);
        Ok(())
    }

    /// Nothing goes round for ever: at rest only link states are said again, and acknowledged.
    fn check_rest(&mut self) -> Result<(), String> {
        let links = self.world.peers.iter().map(|peer| peer.links.len());
        let links = links.sum::<usize>() as u64 / 2;
        let before = self.world.fabric.packets();
        let second = Duration::from_secs(1);
        let until = self.world.now() + second;
        self.run_until(until, Talk::None);
        let packets = self.world.fabric.packets() - before;
        let refreshes = 2 * self.world.peers.len() as u64 * links;
        // Each crosses a link in both directions at most and has an ACK; where one packet in six
        // is lost, nearly half of them go twice. A loop would take all that the links can carry.
        let bound = refreshes * 2 * 2 * 3 / 2 + 20;
        match packets <= bound {
            true => Ok(()),
            false => Err(format!("{packets} datagrams at rest, {bound} allowed")),
        }
    }

    fn is_in_view(&self, a: usize, b: usize) -> bool {
        let (a, b) = match (self.world.is_alive(a), self.world.is_alive(b)) {
            (true, true) => (self.world.life(a), self.world.life(b)),
            _ => return false,
        };
        self.checks.current(a).holds(b.0, b.1)
    }

    fn alive(&self) -> Vec<(PeerId, Incarnation)> {
        let numbers = 0..self.world.peers.len();
        numbers
            .filter(|number| self.world.is_alive(*number))
            .map(|number| self.world.life(number))
            .collect()
    }

    /// True if every living peer's view is exactly those it can reach.
    fn is_agreed(&self) -> bool {
        let count = self.world.peers.len();
        (0..count)
            .filter(|number| self.world.is_alive(*number))
            .all(|number| {
                let mut reached = BTreeSet::from([number]);
                let mut edge = vec![number];
                while let Some(at) = edge.pop() {
                    for next in &self.world.peers[at].links {
                        if self.world.is_alive(*next) && reached.insert(*next) {
                            edge.push(*next);
                        }
                    }
                }
                let mut expected: Vec<_> =
                    reached.into_iter().map(|n| self.world.life(n)).collect();
                expected.sort();
                self.checks.current(self.world.life(number)).members == expected
            })
    }

    /// Where everybody stands, for a failing run.
    fn describe(&self) -> String {
        let now = self.world.instant();
        let peers = self.world.peers.iter().enumerate();
        peers
            .map(|(number, peer)| {
                let status = peer.router.as_ref().map(|router| router.status(now));
                format!("\n{number}: {status:#?}")
            })
            .collect()
    }
}

/// Two to eight peers in a mesh, a ring, a chain, a star or a random connected graph.
fn shape(random: &mut fastrand::Rng) -> Vec<Vec<usize>> {
    let count = random.usize(2..=8);
    let kind = random.u32(0..5);
    let is_linked = |a: usize, b: usize, chance: u32| match kind {
        0 => true,
        1 => b == a + 1 || (a == 0 && b == count - 1),
        2 => b == a + 1,
        3 => a == 0,
        // A chain with some chords.
        _ => b == a + 1 || chance == 0,
    };
    let mut links = vec![Vec::new(); count];
    for (a, b) in pairs(count).filter(|(a, b)| a < b) {
        if is_linked(a, b, random.u32(0..4)) {
            links[a].push(b);
            links[b].push(a);
        }
    }
    links
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |a| (0..count).map(move |b| (a, b)))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a run only needs some first moment"
)]
pub(super) fn start() -> Instant {
    Instant::now()
}
