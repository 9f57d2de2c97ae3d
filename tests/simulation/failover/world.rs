//! Machines on a made-up clock: on each the router, the machine that decides of VIPs, the driver
//! and the guard; between them a network and a segment.
//!
//! The two threads of a process stand still together or one at a time. What one says to the other
//! waits in queues meanwhile.

mod blows;
mod happenings;
mod kernels;
mod process;

use super::log::Log;
use super::machine::{Card, Change, Driver, Machine, Segment};
use crate::fabric::{Delivery, Fabric, Network, address};
use dnsd::vip::address::{VipAddress, VipId};
use dnsd::vip::claim::Claim;
use dnsd::vip::failover::{Action, Condition, Failover, VipConfig, VipFaults};
use dnsd::vip::kernel::{Heard, Kernel, Order, Report, Unfit};
use dnsd::vip::map::MapChange;
use dnsd::vip::timing::VipTiming;
use overlay::event::{Event, Output};
use overlay::link_event::{DialFailed, LinkOutput};
use overlay::{
    ClusterId, Config, Incarnation, Member, MemberRow, MemberSet, PeerId, Profile, PublicKey,
    Router, Standing, StateKind, Unheard, View, Why,
};
use replication::Stamp;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::time::{Duration, Instant};

/// Words of the overlay in which VIPs travel.
const CLAIM: StateKind = StateKind(2);
const CONFIG: StateKind = StateKind(3);
/// The wall clock at the start of every run.
const WALL_START: Duration = Duration::from_secs(1_700_000_000);
/// More cannot happen at one moment, unless somebody goes round in circles.
const STEPS_MAX: u32 = 20_000;
const CLUSTER: ClusterId = ClusterId([7; 16]);
/// When the segment is told of an announced VIP.
const TOLD_AT: [u64; 5] = [0, 20, 100, 500, 2_000];
/// A process that has not given up all in this time after a stop ends all the same.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Logs of members of one view meet this often.
const MEETING: Duration = Duration::from_millis(150);
const MS: Duration = Duration::from_millis(1);

/// Machines, what is between them, and what will happen.
pub(super) struct World {
    start: Instant,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    numbers: u64,
    steps: u32,
    pub(super) random: fastrand::Rng,
    pub(super) peers: Vec<Peer>,
    pub(super) machines: Vec<Machine>,
    pub(super) fabric: Fabric,
    pub(super) segment: Segment,
    pub(super) profile: Profile,
    pub(super) timing: VipTiming,
    pub(super) driver: Driver,
    faults: VipFaults,
    digest: std::hash::DefaultHasher,
    is_told: bool,
    /// What the checks have not seen yet.
    pub(super) seen: VecDeque<Seen>,
    /// Claims, orders and the like of all.
    pub(super) actions: u64,
}

/// What the checks look at.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A kernel does something else for a VIP; it was asked for at this time.
    Kernel(usize, VipId, Kernel, Duration),
    /// The segment was told where a VIP is.
    Told(usize, VipId),
    /// A machine that decides was called.
    Called(usize),
    /// Its view changed.
    View(usize),
}

/// One peer, dead or alive.
pub(super) struct Peer {
    pub(super) id: PeerId,
    key: PublicKey,
    seed: [u8; 32],
    pub(super) incarnation: Incarnation,
    rows: BTreeMap<PublicKey, MemberRow>,
    pub(super) log: Log,
    pub(super) condition: Condition,
    pub(super) capacity: u16,
    /// Raised at each start, so that what belongs to an earlier life is dropped.
    life: u64,
    pub(super) process: Option<Process>,
}

/// A peer's process.
pub(super) struct Process {
    pub(super) router: Router,
    pub(super) failover: Failover,
    link: Thread,
    main: Thread,
    deliveries: VecDeque<Delivery>,
    commands: VecDeque<Said>,
    events: VecDeque<Event>,
    reports: VecDeque<Report>,
    tick: u64,
    ticked: Duration,
    pub(super) view: Option<View>,
    pub(super) claim: Option<Claim>,
    vips: BTreeMap<VipId, BTreeSet<VipAddress>>,
    pub(super) is_stopping: bool,
    has_left: bool,
}

#[derive(Default)]
struct Thread {
    stalled_at: Duration,
    stalled_until: Duration,
    stall: u64,
    wake_at: Option<Duration>,
}

/// Which threads stand still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stall {
    /// All: SIGSTOP.
    Process,
    Link,
    Main,
}

/// What the main thread says to the link thread.
enum Said {
    State(StateKind, bytes::Bytes),
    Complain(PeerId),
    Standing(Standing),
    Tick(u64),
    Stop,
}

enum Happening {
    WakeLink(usize, u64),
    WakeMain(usize, u64),
    Tick(usize, u64),
    Resume(usize, u64, Stall, u64),
    /// The driver's change takes effect.
    Change(usize, u64, u64),
    Report(usize, u64, Report),
    /// It asks the segment who has a VIP.
    Probe(usize, u64, VipId),
    Answer(usize, u64, VipId),
    Fitness(usize, u64),
    /// The lease of the guard is over, and it acts.
    Guard(usize, u64),
    Tell(usize, VipId, u64),
    Entry(usize, Stamp, MapChange),
    Meet,
    Exit(usize, u64),
    StopLimit(usize, u64),
    /// Something to look at.
    Look,
}

/// What a run is made of.
pub(super) struct Setting {
    pub(super) count: usize,
    pub(super) network: Network,
    pub(super) profile: Profile,
    pub(super) driver: Driver,
    pub(super) faults: VipFaults,
}

impl World {
    pub(super) fn new(setting: Setting, random: fastrand::Rng, start: Instant) -> Self {
        let mut peers: Vec<Peer> = Vec::new();
        let mut fabric = Fabric::new(setting.network);
        for number in 0..setting.count {
            let seed = [number as u8 + 1; 32];
            let key = key_pair(&seed);
            let key = PublicKey(key.public_key().as_ref().try_into().unwrap());
            fabric.add_host(key);
            peers.push(Peer {
                id: key.peer_id(),
                key,
                seed,
                incarnation: Incarnation(0),
                rows: BTreeMap::new(),
                log: Log::default(),
                condition: Condition::default(),
                capacity: 1,
                life: 0,
                process: None,
            });
        }
        let mut world = Self {
            start,
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            numbers: 0,
            steps: 0,
            random,
            peers,
            machines: (0..setting.count).map(Machine::new).collect(),
            fabric,
            segment: Segment::default(),
            profile: setting.profile,
            timing: VipTiming::of(setting.profile),
            driver: setting.driver,
            faults: setting.faults,
            digest: std::hash::DefaultHasher::new(),
            is_told: std::env::var_os("SIMULATION_TRACE").is_some(),
            seen: VecDeque::new(),
            actions: 0,
        };
        world.schedule(MEETING, Happening::Meet);
        world.schedule(MS, Happening::Look);
        world
    }

    pub(super) fn start_peer(&mut self, number: usize) {
        self.tell(number, || "starts".into());
        // What an earlier life left is taken away before the first heartbeat.
        self.clear(number);
        let members = self.member_set();
        let (wall, now) = (WALL_START + self.now, self.instant());
        let peer = &self.peers[number];
        let incarnation = peer
            .incarnation
            .next(WALL_START.as_secs(), self.random.u32(..));
        let config = Config {
            cluster: CLUSTER,
            name: name(number),
            addresses: vec![address(number)],
            profile: self.profile,
            links: None,
            extra_addresses: Vec::new(),
            admit: None,
        };
        let rows = peer.rows.values().cloned().collect();
        let seed = self.random.u64(..);
        let key = key_pair(&peer.seed);
        let mut router = Router::resume(config, key, incarnation, rows, seed, wall, now);
        router.set_members(&members, now);
        let config = VipConfig {
            me: peer.id,
            name: name(number),
            capacity: peer.capacity,
            patience: self.driver.takes.1,
            timing: self.timing,
        };
        let mut failover = Failover::new(config, peer.log.map(), now);
        failover.plant(self.faults);
        failover.set_lone_member(self.peers.len() == 1, now);
        failover.set_condition(peer.condition, now);
        let macs = BTreeSet::from([self.machines[number].mac]);
        let peer = &mut self.peers[number];
        peer.life += 1;
        peer.incarnation = incarnation;
        peer.process = Some(Process {
            router,
            failover,
            link: Thread::default(),
            main: Thread::default(),
            deliveries: VecDeque::new(),
            commands: VecDeque::new(),
            events: VecDeque::new(),
            reports: VecDeque::from([Report::Macs(macs)]),
            tick: 0,
            ticked: self.now,
            view: None,
            claim: None,
            vips: BTreeMap::new(),
            is_stopping: false,
            has_left: false,
        });
        let life = peer.life;
        self.fabric.start(number);
        self.schedule(self.beat(), Happening::Tick(number, life));
        self.pump(number);
    }

    /// Lets the next thing happen, if it lies before `until`.
    pub(super) fn step(&mut self, until: Duration) -> bool {
        let own = self.queue.first_key_value().map(|((at, _), _)| *at);
        let theirs = self.fabric.due();
        let next = own.into_iter().chain(theirs).min();
        let Some(at) = next.filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        self.steps = if at > self.now { 0 } else { self.steps + 1 };
        assert!(
            self.steps < STEPS_MAX,
            "somebody waits for a time that is past"
        );
        self.now = at;
        if theirs == Some(at) {
            if let Some((to, delivery)) = self.fabric.step() {
                self.deliver(to, delivery);
            }
        } else {
            let (_, happening) = self.queue.pop_first().unwrap();
            self.happen(happening);
        }
        true
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// Of all that happened so far.
    pub(super) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub(super) fn number(&self, of: PeerId) -> usize {
        let mut peers = self.peers.iter();
        peers.position(|peer| peer.id == of).unwrap()
    }

    pub(super) fn is_alive(&self, number: usize) -> bool {
        self.peers[number].process.is_some()
    }

    /// Alive, and no thread stands still.
    pub(super) fn is_running(&self, number: usize) -> bool {
        let process = self.peers[number].process.as_ref();
        process.is_some_and(|process| {
            process.link.stalled_until <= self.now && process.main.stalled_until <= self.now
        })
    }

    /// Its DNS server answers.
    pub(super) fn is_serving(&self, number: usize) -> bool {
        let process = self.peers[number].process.as_ref();
        process.is_some_and(|process| {
            process.link.stalled_until <= self.now || process.main.stalled_until <= self.now
        })
    }

    pub(super) fn process(&self, number: usize) -> Option<&Process> {
        self.peers[number].process.as_ref()
    }

    pub(super) fn tell(&self, number: usize, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{:>12.6} {number} {}", self.now.as_secs_f64(), what());
        }
    }

    fn beat(&self) -> Duration {
        self.timing.lease / 5
    }

    fn micros(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(self.random.u64(least..=most))
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.numbers += 1;
        self.queue
            .insert((self.now + after, self.numbers), happening);
    }

    fn member_set(&self) -> MemberSet {
        let peers = self.peers.iter().enumerate();
        let admitted = peers.map(|(number, peer)| Member {
            key: peer.key,
            name: name(number),
            addresses: vec![address(number)],
        });
        MemberSet {
            admitted: admitted.collect(),
            ..MemberSet::default()
        }
    }

    fn note(&mut self, number: usize, bytes: &[u8]) {
        self.digest.write_u128(self.now.as_nanos());
        self.digest.write_usize(number);
        self.digest.write(bytes);
    }
}

/// Where a way is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Where {
    /// Peers do not hear each other, though the segment is whole: a port is filtered.
    Network,
    /// Only frames of the segment are lost.
    Segment,
    Everywhere,
}

fn key_pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).unwrap()
}

pub(super) fn name(number: usize) -> String {
    format!("peer{number}")
}

fn show(claim: &Claim) -> String {
    let list = |vips: &BTreeSet<VipId>| {
        let vips: Vec<String> = vips.iter().map(VipId::to_string).collect();
        vips.join(" ")
    };
    format!(
        "claims {:x}/{} {:?} {:?}: [{}], can {}, ready [{}], given [{}], taken [{}]",
        claim.view.0 & 0xffff,
        claim.epoch,
        claim.rank,
        claim.maturity,
        list(&claim.announced),
        claim.can.len(),
        list(&claim.ready),
        list(&claim.given),
        list(&claim.taken)
    )
}
