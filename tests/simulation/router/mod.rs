//! Real `Router`s on a made-up network: views, and each message once or its gap told.

mod checks;
mod network;
mod world;

use bytes::Bytes;
use checks::Checks;
use overlay::event::Class;
use overlay::{Incarnation, PeerId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use world::World;

/// All peers agree on the right view at most so long after the last fault.
const AGREE_BOUND: Duration = Duration::from_secs(6);
/// How long faults go on.
const FAULTS: Duration = Duration::from_secs(8);
/// From the last message to the final count.
const QUIET: Duration = Duration::from_secs(3);

#[test]
fn views_agree_and_messages_arrive_once_or_their_gap_is_told() {
    let mut slowest = Duration::ZERO;
    let seeds = crate::seeds(40);
    for seed in seeds.clone() {
        // A failing seed is named by the assertion's output.
        println!("seed {seed}");
        let run = run(seed, Faults::All);
        println!("  {run:?}");
        slowest = slowest.max(run.agreed_after);
    }
    println!("{seeds:?}: slowest agreement {slowest:?}");
}

#[test]
fn loss_alone_denies_nobody_anything() {
    for seed in crate::seeds(10) {
        println!("seed {seed}");
        let run = run(seed, Faults::None);
        println!("  {run:?}");
        assert_eq!(run.gaps, 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2] {
        assert_eq!(run(seed, Faults::All).digest, run(seed, Faults::All).digest);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Faults {
    All,
    None,
}

/// What came of a run.
#[derive(Debug)]
#[allow(dead_code, reason = "the figures are for whoever reads the output")]
struct Run {
    peers: usize,
    agreed_after: Duration,
    delivered: usize,
    gaps: u64,
    views: usize,
    digest: u64,
}

struct Simulation {
    world: World,
    checks: Checks,
    random: fastrand::Rng,
    sent: u64,
}

fn run(seed: u64, faults: Faults) -> Run {
    let mut random = fastrand::Rng::with_seed(seed);
    let links = shape(&mut random);
    let count = links.len();
    let world = World::new(links, &mut random, start());
    let mut simulation = Simulation {
        world,
        checks: Checks::default(),
        random,
        sent: 0,
    };
    for number in 0..count {
        simulation.start_peer(number);
    }
    simulation.run_until(Duration::from_secs(1), Talk::Yes);
    let end = simulation.world.now() + FAULTS;
    while simulation.world.now() < end {
        let pause = Duration::from_millis(simulation.random.u64(1..800));
        let until = simulation.world.now() + pause;
        if faults == Faults::All {
            simulation.fault();
        }
        simulation.run_until(until, Talk::Yes);
    }
    simulation.heal();
    let healed = simulation.world.now();
    while !simulation.is_agreed() {
        let until = simulation.world.now() + Duration::from_millis(5);
        simulation.run_until(until, Talk::Yes);
        let takes = simulation.world.now() - healed;
        assert!(takes < AGREE_BOUND, "{}", simulation.story());
    }
    let agreed_after = simulation.world.now() - healed;
    let until = simulation.world.now() + QUIET;
    simulation.run_until(until, Talk::No);
    assert!(
        simulation.is_agreed(),
        "it stays so: {}",
        simulation.story()
    );
    let alive = simulation.alive();
    simulation.checks.finish(&alive);
    Run {
        peers: count,
        agreed_after,
        delivered: simulation.checks.delivered(),
        gaps: simulation.checks.gaps,
        views: simulation.checks.views(),
        digest: simulation.world.digest(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    Yes,
    No,
}

impl Simulation {
    fn start_peer(&mut self, number: usize) {
        self.world.start_peer(number, &mut self.random);
        self.check();
    }

    fn run_until(&mut self, until: Duration, talk: Talk) {
        while self.world.now() < until {
            let pause = Duration::from_micros(self.random.u64(100..20_000));
            let stop = until.min(self.world.now() + pause);
            while self.world.step(stop) {
                self.check();
            }
            if talk == Talk::Yes {
                self.talk();
            }
        }
    }

    /// A random peer says something.
    fn talk(&mut self) {
        let number = self.random.usize(0..self.world.peers.len());
        if !self.world.is_alive(number) {
            return;
        }
        self.sent += 1;
        let size = match self.random.u32(0..50) {
            0 => self.random.usize(8..60_000),
            _ => self.random.usize(8..600),
        };
        let mut payload = vec![0; size];
        payload[..8].copy_from_slice(&self.sent.to_be_bytes());
        let class = [Class::Control, Class::Update, Class::Bulk][self.random.usize(0..3)];
        let peer = &self.world.peers[number];
        let life = (peer.id, peer.incarnation);
        self.checks.note_sent(life, self.sent);
        let payload = Bytes::from(payload);
        let sent = self.world.call(number, |router, now| {
            router.multicast(class, None, payload, now)
        });
        assert_eq!(sent, Some(Ok(())), "so little is never refused");
        self.check();
    }

    fn fault(&mut self) {
        let count = self.world.peers.len();
        let (a, b) = (self.random.usize(0..count), self.random.usize(0..count));
        match self.random.u32(0..10) {
            0 | 1 if self.world.is_alive(a) => self.world.kill(a),
            0..=2 if !self.world.is_alive(a) => self.start_peer(a),
            2 | 3 => {
                let lasts = Duration::from_millis(self.random.u64(20..600));
                self.world.stall(a, lasts);
            }
            4 | 5 => self.world.network.cut(a, b),
            6 => {
                self.world.network.cut(a, b);
                self.world.network.cut(b, a);
            }
            7 => {
                let side: BTreeSet<usize> = (0..count).filter(|_| self.random.bool()).collect();
                for (a, b) in pairs(count) {
                    if side.contains(&a) != side.contains(&b) {
                        self.world.network.cut(a, b);
                        self.world.network.cut(b, a);
                    }
                }
            }
            _ => self.world.network.join(),
        }
        self.check();
    }

    fn heal(&mut self) {
        self.world.network.join();
        for number in 0..self.world.peers.len() {
            if !self.world.is_alive(number) && self.random.u32(0..3) > 0 {
                self.start_peer(number);
            }
        }
    }

    fn check(&mut self) {
        while let Some((number, event)) = self.world.take_event() {
            let peer = &self.world.peers[number];
            self.checks.handle((peer.id, peer.incarnation), &event);
        }
    }

    fn alive(&self) -> Vec<(PeerId, Incarnation)> {
        let peers = self.world.peers.iter().filter(|peer| peer.router.is_some());
        peers.map(|peer| (peer.id, peer.incarnation)).collect()
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
                let life = |n: usize| (self.world.peers[n].id, self.world.peers[n].incarnation);
                let mut expected: Vec<_> = reached.into_iter().map(life).collect();
                expected.sort();
                self.checks.current(life(number)).members == expected
            })
    }

    /// Where everybody stands, for a failing run.
    fn story(&self) -> String {
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

/// Two to eight peers in a mesh, a ring, a chain or a random connected graph.
fn shape(random: &mut fastrand::Rng) -> Vec<Vec<usize>> {
    let count = random.usize(2..=8);
    let kind = random.u32(0..4);
    let is_linked = |a: usize, b: usize, chance: u32| match kind {
        0 => true,
        1 => b == a + 1 || (a == 0 && b == count - 1),
        2 => b == a + 1,
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
fn start() -> Instant {
    Instant::now()
}
