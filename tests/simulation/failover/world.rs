//! Machines on a made-up clock: on each the router, the machine that decides of VIPs, the driver
//! and the guard; between them a network and a segment.
//!
//! The two threads of a process stand still together or one at a time. What one says to the other
//! waits in queues meanwhile.

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

    /// kill -9: the guard sees the end of its pipe.
    pub(super) fn kill(&mut self, number: usize) {
        self.tell(number, || "is killed".into());
        self.end(number);
        self.guard_after(number, Duration::ZERO);
    }

    /// The whole machine is gone from one moment to the next.
    pub(super) fn crash(&mut self, number: usize) {
        self.tell(number, || "crashes".into());
        for other in 0..self.peers.len() {
            self.cut(number, other, Where::Everywhere);
            self.cut(other, number, Where::Everywhere);
        }
        self.end(number);
        self.clear(number);
    }

    /// A clean stop.
    pub(super) fn stop(&mut self, number: usize) {
        self.tell(number, || "is told to stop".into());
        let life = self.peers[number].life;
        self.call(number, |failover, now| failover.stop(now));
        if let Some(process) = &mut self.peers[number].process {
            process.is_stopping = true;
            self.schedule(STOP_LIMIT, Happening::StopLimit(number, life));
            self.pump(number);
        }
    }

    pub(super) fn stall(&mut self, number: usize, stall: Stall, lasts: Duration) {
        let (now, beat, lease) = (self.now, self.beat(), self.timing.lease);
        let peer = &mut self.peers[number];
        let (Some(process), life) = (&mut peer.process, peer.life) else {
            return;
        };
        if process.link.stalled_until > now || process.main.stalled_until > now {
            return;
        }
        let mut id = 0;
        for (which, thread) in [
            (Stall::Link, &mut process.link),
            (Stall::Main, &mut process.main),
        ] {
            if stall == Stall::Process || stall == which {
                thread.stalled_at = now;
                thread.stalled_until = now + lasts;
                thread.stall += 1;
                id = thread.stall;
            }
        }
        if stall != Stall::Main {
            self.fabric.set_stalled(number, true);
        }
        self.schedule(lasts, Happening::Resume(number, life, stall, id));
        // The guard's beats say that both threads go on; the last one came a little ago.
        let ago = self.random.u64(0..=beat.as_micros() as u64);
        let over = lease - Duration::from_micros(ago);
        self.tell(number, || format!("{stall:?} stalls for {lasts:?}"));
        self.guard_after(number, over);
    }

    /// Cuts the way from one machine to another.
    pub(super) fn cut(&mut self, from: usize, to: usize, place: Where) {
        self.tell(from, || format!("is cut from {to} {place:?}"));
        if place != Where::Segment {
            self.fabric.network.cut(from, to);
        }
        if place != Where::Network {
            self.segment.cut(from, to);
        }
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) {
        self.fabric.network.mend(from, to);
        self.segment.mend(from, to);
    }

    pub(super) fn join(&mut self) {
        self.tell(0, || "all is joined".into());
        self.fabric.network.join();
        self.segment.join();
    }

    pub(super) fn set_card(&mut self, number: usize, card: Card) {
        if self.machines[number].card == card {
            return;
        }
        self.tell(number, || format!("card {card:?}"));
        self.machines[number].card = card;
        let after = match card {
            // Three questions stay unanswered after a lease without a frame.
            Card::Deaf => self.timing.lease + MS * 3,
            Card::Well | Card::Mute | Card::NoCarrier => self.micros(100, 5_000),
        };
        let life = self.peers[number].life;
        self.schedule(after, Happening::Fitness(number, life));
        self.seen.push_back(Seen::Called(number));
    }

    /// An operator changes the map at one peer; the others hear of it by the log.
    pub(super) fn change_map(&mut self, number: usize, change: &MapChange) {
        self.tell(number, || format!("authors {change:?}"));
        self.numbers += 1;
        let at = self.now.as_micros() as u64 * 1_000 + self.numbers % 1_000;
        let peer = &mut self.peers[number];
        let stamp = peer.log.author(change.clone(), at, peer.id);
        self.fold(number);
        let Some(process) = &self.peers[number].process else {
            return;
        };
        let view = process.view.clone();
        let members = view.iter().flat_map(|view| &view.members);
        let others: Vec<usize> = members.map(|(peer, _)| self.number(*peer)).collect();
        for other in others.into_iter().filter(|other| *other != number) {
            let after = self.micros(500, 40_000);
            self.schedule(after, Happening::Entry(other, stamp, change.clone()));
        }
    }

    pub(super) fn set_condition(&mut self, number: usize, condition: Condition) {
        self.tell(number, || format!("{condition:?}"));
        self.peers[number].condition = condition;
        self.call(number, |failover, now| {
            failover.set_condition(condition, now);
        });
    }

    /// Somebody takes a VIP away by hand.
    pub(super) fn take_away(&mut self, number: usize, vip: VipId) {
        self.tell(number, || format!("loses {vip}"));
        self.set_kernel(number, vip, Kernel::Absent, self.now);
        let after = self.micros(100, 5_000);
        let lost = Report::Lost(vip, Kernel::Absent);
        self.report(number, after, lost);
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

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::WakeLink(number, life) if self.lives(number, life) => {
                let now = self.now;
                let process = self.peers[number].process.as_mut().unwrap();
                if process.link.wake_at == Some(now) {
                    process.link.wake_at = None;
                }
                self.wake_link(number);
                self.pump(number);
            }
            Happening::WakeMain(number, life) if self.lives(number, life) => {
                let now = self.now;
                let process = self.peers[number].process.as_mut().unwrap();
                if process.main.wake_at == Some(now) {
                    process.main.wake_at = None;
                }
                self.wake_main(number);
                self.pump(number);
            }
            Happening::Tick(number, life) if self.lives(number, life) => {
                let process = self.peers[number].process.as_mut().unwrap();
                if process.main.stalled_until <= self.now {
                    process.tick += 1;
                    process.ticked = self.now;
                    let is_link_hung = process.link.stalled_until > self.now
                        && process.link.stalled_at + self.timing.lease < self.now;
                    if is_link_hung {
                        process.failover.set_barred(true, self.start + self.now);
                    }
                    process.commands.push_back(Said::Tick(process.tick));
                    self.pump(number);
                }
                self.schedule(self.beat(), Happening::Tick(number, life));
            }
            Happening::Resume(number, life, stall, id) if self.lives(number, life) => {
                self.resume(number, stall, id);
            }
            Happening::Change(number, life, change) if self.lives(number, life) => {
                self.finish_change(number, change);
            }
            Happening::Report(number, life, report) if self.lives(number, life) => {
                let process = self.peers[number].process.as_mut().unwrap();
                process.reports.push_back(report);
                self.pump(number);
            }
            Happening::Answer(number, life, vip) if self.lives(number, life) => {
                let heard = self.ask(number, vip);
                self.tell(number, || format!("hears {heard:?} of {vip}"));
                let report = Report::Segment(vip, heard);
                let process = self.peers[number].process.as_mut().unwrap();
                process.reports.push_back(report);
                self.pump(number);
            }
            Happening::Fitness(number, life) if self.lives(number, life) => {
                let fitness = self.fitness(number);
                let process = self.peers[number].process.as_mut().unwrap();
                process.reports.push_back(Report::Can(fitness));
                self.pump(number);
            }
            Happening::Guard(number, round) => {
                if self.machines[number].guard_round == round {
                    self.guard(number);
                }
            }
            Happening::Tell(number, vip, announcement) => {
                self.tell_segment(number, vip, announcement);
            }
            Happening::Entry(number, stamp, change) => {
                // A cut on the way: logs that meet later bring it.
                let author = self.number(stamp.author);
                let is_news = !self.fabric.network.is_cut(author, number)
                    && self.is_alive(number)
                    && self.peers[number].log.learn_one(stamp, &change);
                if is_news {
                    self.fold(number);
                }
            }
            Happening::Meet => {
                self.meet();
                self.schedule(MEETING, Happening::Meet);
            }
            Happening::Exit(number, life) if self.lives(number, life) => {
                self.tell(number, || "has ended".into());
                self.end(number);
                self.guard_after(number, Duration::ZERO);
            }
            Happening::StopLimit(number, life) if self.lives(number, life) => {
                let process = self.peers[number].process.as_mut().unwrap();
                if !process.has_left {
                    self.tell(number, || "has not closed in time".into());
                    self.leave(number);
                }
            }
            Happening::Look => {
                self.seen.push_back(Seen::Called(usize::MAX));
                self.schedule(MS * 2, Happening::Look);
            }
            Happening::WakeLink(..)
            | Happening::WakeMain(..)
            | Happening::Tick(..)
            | Happening::Resume(..)
            | Happening::Change(..)
            | Happening::Report(..)
            | Happening::Answer(..)
            | Happening::Fitness(..)
            | Happening::Exit(..)
            | Happening::StopLimit(..) => {}
        }
    }

    fn lives(&self, number: usize, life: u64) -> bool {
        self.peers[number].life == life && self.is_alive(number)
    }

    fn wake_link(&mut self, number: usize) {
        let (now, wall, time) = (self.instant(), WALL_START + self.now, self.now);
        let process = self.peers[number].process.as_mut().unwrap();
        let is_due = process.router.poll_timeout().is_some_and(|due| due <= now);
        if process.link.stalled_until <= time && is_due {
            process.router.handle_timeout(wall, now);
        }
    }

    fn wake_main(&mut self, number: usize) {
        let (now, time) = (self.instant(), self.now);
        let process = self.peers[number].process.as_mut().unwrap();
        if process.main.stalled_until <= time {
            process.failover.handle_timeout(now);
        }
    }

    fn resume(&mut self, number: usize, stall: Stall, id: u64) {
        let (now, lease, time) = (self.instant(), self.timing.lease, self.now);
        let beat = self.beat();
        let process = self.peers[number].process.as_ref().unwrap();
        let thread = match stall {
            Stall::Link => &process.link,
            Stall::Main | Stall::Process => &process.main,
        };
        if thread.stall != id {
            return;
        }
        self.tell(number, || format!("{stall:?} goes on"));
        if stall != Stall::Main {
            self.fabric.set_stalled(number, false);
        }
        let machine = &mut self.machines[number];
        machine.guard_round += 1;
        let was_raised = std::mem::take(&mut machine.is_guard_raised);
        if let Some(change) = &mut machine.change {
            change.is_late |= was_raised;
        }
        if stall == Stall::Process {
            // The driver's thread goes on where it was.
            if let Some(change) = machine.change {
                let life = self.peers[number].life;
                self.schedule(
                    Duration::ZERO,
                    Happening::Change(number, life, change.number),
                );
            }
        }
        let main_first = self.random.bool();
        let mut steps = [Stall::Link, Stall::Main];
        if main_first {
            steps.reverse();
        }
        for step in steps {
            if stall != Stall::Process && stall != step {
                continue;
            }
            match step {
                Stall::Link => {
                    // The driver reads what lies in its sockets before it judges by time.
                    let process = self.peers[number].process.as_mut().unwrap();
                    let waiting = std::mem::take(&mut process.deliveries);
                    for delivery in waiting {
                        self.deliver(number, delivery);
                    }
                    self.wake_link(number);
                    let process = self.peers[number].process.as_mut().unwrap();
                    process.failover.set_barred(false, now);
                }
                Stall::Main | Stall::Process => {
                    let process = self.peers[number].process.as_mut().unwrap();
                    // The tick that was due in the stall.
                    let late = time.saturating_sub(process.ticked + beat);
                    if late > lease {
                        process.failover.handle_stall(now);
                    }
                    self.wake_main(number);
                }
            }
            self.pump(number);
        }
    }

    fn deliver(&mut self, number: usize, delivery: Delivery) {
        let (now, wall, time) = (self.instant(), WALL_START + self.now, self.now);
        let Some(process) = &mut self.peers[number].process else {
            return;
        };
        if process.link.stalled_until > time {
            process.deliveries.push_back(delivery);
            return;
        }
        match delivery {
            Delivery::Link(link, event) => process.router.handle_link(link, event, wall, now),
            Delivery::DialFailed(dial) => {
                let reason = "no answer".into();
                let failed = DialFailed { dial, reason };
                process.router.handle_dial_failed(failed, wall, now);
            }
        }
        self.pump(number);
    }

    /// Calls the machine that decides, as the main thread does.
    fn call(&mut self, number: usize, call: impl FnOnce(&mut Failover, Instant)) {
        let now = self.instant();
        if let Some(process) = &mut self.peers[number].process {
            call(&mut process.failover, now);
            self.pump(number);
        }
    }

    /// Both threads go on until neither has anything to do.
    fn pump(&mut self, number: usize) {
        loop {
            let was_quiet = self.pump_link(number) & self.pump_main(number);
            if was_quiet {
                break;
            }
        }
        self.schedule_wakes(number);
    }

    fn pump_link(&mut self, number: usize) -> bool {
        let (now, time) = (self.instant(), self.now);
        let mut is_quiet = true;
        loop {
            let Some(process) = &mut self.peers[number].process else {
                return true;
            };
            if process.link.stalled_until > time {
                return true;
            }
            let router = &mut process.router;
            while let Some(said) = process.commands.pop_front() {
                is_quiet = false;
                match said {
                    Said::State(kind, body) => router.state(kind, body, now),
                    Said::Complain(of) => router.complain(of, now),
                    Said::Standing(standing) => router.set_standing(standing),
                    Said::Tick(tick) => router.set_tick(tick, now),
                    Said::Stop => router.stop(now),
                }
            }
            let Some(output) = router.poll_output() else {
                return is_quiet;
            };
            is_quiet = false;
            match output {
                Output::Link(output) => {
                    if let LinkOutput::Datagram { data, .. } = &output {
                        self.note(number, data);
                    }
                    self.fabric.perform(number, output, self.now);
                }
                Output::Event(event) => {
                    self.note(number, format!("{event:?}").as_bytes());
                    let process = self.peers[number].process.as_mut().unwrap();
                    process.events.push_back(event);
                }
                Output::Keep(row) => {
                    self.peers[number].rows.insert(row.key, row);
                }
            }
        }
    }

    fn pump_main(&mut self, number: usize) -> bool {
        let (now, time) = (self.instant(), self.now);
        let Some(process) = &mut self.peers[number].process else {
            return true;
        };
        if process.main.stalled_until > time {
            return true;
        }
        let mut is_quiet = true;
        while let Some(event) = self.take_event(number) {
            is_quiet = false;
            self.handle_event(number, event);
        }
        let process = self.peers[number].process.as_mut().unwrap();
        while let Some(report) = process.reports.pop_front() {
            is_quiet = false;
            process.failover.handle_report(report, now);
        }
        while let Some(action) = self.take_action(number) {
            is_quiet = false;
            self.actions += 1;
            self.note(number, format!("{action:?}").as_bytes());
            self.perform(number, action);
        }
        if !is_quiet {
            self.seen.push_back(Seen::Called(number));
        }
        let process = self.peers[number].process.as_ref().unwrap();
        if process.is_stopping && !process.has_left && process.failover.is_closed() {
            self.leave(number);
            is_quiet = false;
        }
        is_quiet
    }

    fn take_event(&mut self, number: usize) -> Option<Event> {
        self.peers[number].process.as_mut()?.events.pop_front()
    }

    fn take_action(&mut self, number: usize) -> Option<Action> {
        self.peers[number].process.as_mut()?.failover.poll_action()
    }

    fn handle_event(&mut self, number: usize, event: Event) {
        let now = self.instant();
        let process = self.peers[number].process.as_mut().unwrap();
        let failover = &mut process.failover;
        match event {
            Event::ViewChanged(view) => {
                failover.handle_view(&view, now);
                process.view = Some(view.clone());
                self.seen.push_back(Seen::View(number));
                self.tell(number, || {
                    let members = view.members.iter().map(|(peer, _)| self.number(*peer));
                    let members: Vec<usize> = members.collect();
                    format!("view {} {members:?}", view.number)
                });
            }
            Event::State {
                of,
                incarnation,
                kind,
                body,
            } => {
                if kind == CLAIM {
                    failover.handle_claim(of, incarnation, &body, now);
                } else if kind == CONFIG {
                    failover.handle_config(of, &body, now);
                }
            }
            Event::NeighborDown(peer, why) => {
                if why != Why::Stopping {
                    failover.handle_suspected(peer, now);
                }
                self.tell(number, || format!("loses {} {why:?}", self.number(peer)));
            }
            Event::Stopping { peer, incarnation } => failover.handle_stopping(peer, incarnation),
            Event::Overslept(late) => {
                failover.handle_stall(now);
                self.tell(number, || format!("link thread overslept {late:?}"));
            }
            Event::Unheard(unheard) => {
                failover.set_unheard(unheard == Unheard::Yes, now);
                self.tell(number, || format!("unheard: {unheard:?}"));
            }
            Event::OwnIncarnationSeen(_) => panic!("nobody lives twice here"),
            _ => {}
        }
    }

    fn perform(&mut self, number: usize, action: Action) {
        let process = self.peers[number].process.as_mut().unwrap();
        match action {
            Action::Order(order) => self.order(number, order),
            Action::Claim(body) => {
                let claim = Claim::decode(&body).expect("it reads back");
                self.tell(number, || show(&claim));
                let process = self.peers[number].process.as_mut().unwrap();
                process.claim = Some(claim);
                process.commands.push_back(Said::State(CLAIM, body));
            }
            Action::Config(body) => process.commands.push_back(Said::State(CONFIG, body)),
            Action::Complain(of) => {
                process.commands.push_back(Said::Complain(of));
                self.tell(number, || format!("complains of {}", self.number(of)));
            }
            Action::Standing(standing) => process.commands.push_back(Said::Standing(standing)),
            Action::Notice(notice) => self.tell(number, || format!("{notice:?}")),
        }
    }

    fn order(&mut self, number: usize, order: Order) {
        let life = self.peers[number].life;
        match order {
            Order::Vips(vips) => {
                self.peers[number].process.as_mut().unwrap().vips = vips;
                let after = self.micros(100, 5_000);
                self.schedule(after, Happening::Fitness(number, life));
            }
            Order::Change(vip, to) => {
                self.tell(number, || format!("changes {vip} to {to}"));
                assert_eq!(self.machines[number].change, None, "one change at a time");
                let (least, most) = self.driver.takes;
                let after = self.micros(least.as_micros() as u64, most.as_micros() as u64);
                let after = after * self.machines[number].slowness;
                let is_gain = to > self.machines[number].state(vip);
                let fails = is_gain && self.random.u32(0..1_000) < self.driver.failing;
                self.numbers += 1;
                self.machines[number].change = Some(Change {
                    vip,
                    to,
                    fails,
                    is_late: false,
                    began: self.now,
                    number: self.numbers,
                });
                self.schedule(after, Happening::Change(number, life, self.numbers));
            }
            Order::Announce(vip) => {
                if let Some(announcement) = self.machines[number].announcement(vip) {
                    for at in TOLD_AT {
                        let tell = Happening::Tell(number, vip, announcement);
                        self.schedule(MS * at as u32, tell);
                    }
                }
            }
            Order::Ask(vip) => {
                self.begin_asking(number, vip);
                self.schedule(self.timing.ask, Happening::Answer(number, life, vip));
            }
        }
    }

    fn finish_change(&mut self, number: usize, id: u64) {
        let is_stopped = !self.is_serving(number);
        let Some(change) = self.machines[number].change.filter(|c| c.number == id) else {
            return;
        };
        if is_stopped {
            // The driver's thread stands still too.
            return;
        }
        self.machines[number].change = None;
        let is_late = change.is_late || self.machines[number].is_guard_raised;
        let report = if is_late && change.to == Kernel::Announced {
            // The driver announces nothing that it was asked for before the lease was over.
            let state = self.machines[number].state(change.vip);
            Report::Is(change.vip, state)
        } else if change.fails {
            let state = self.machines[number].state(change.vip);
            Report::Failed(change.vip, state, "made to fail".into())
        } else {
            self.set_kernel(number, change.vip, change.to, change.began);
            Report::Is(change.vip, change.to)
        };
        if self.machines[number].is_guard_raised {
            self.guard_after(number, Duration::ZERO);
        }
        let after = self.micros(0, 300);
        self.report(number, after, report);
    }

    fn report(&mut self, number: usize, after: Duration, report: Report) {
        let life = self.peers[number].life;
        self.schedule(after, Happening::Report(number, life, report));
    }

    fn set_kernel(&mut self, number: usize, vip: VipId, state: Kernel, began: Duration) {
        if self.machines[number].state(vip) == state {
            return;
        }
        self.machines[number].set(vip, state);
        self.tell(number, || format!("{vip} is {state}"));
        self.note(number, format!("{vip}{state}").as_bytes());
        self.seen.push_back(Seen::Kernel(number, vip, state, began));
        if let Some(announcement) = self.machines[number].announcement(vip) {
            for at in TOLD_AT {
                let tell = Happening::Tell(number, vip, announcement);
                self.schedule(MS * at as u32, tell);
            }
        }
    }

    fn clear(&mut self, number: usize) -> Vec<(VipId, Kernel)> {
        self.machines[number].guard_round += 1;
        self.machines[number].is_guard_raised = false;
        self.machines[number].change = None;
        self.take_all(number)
    }

    fn take_all(&mut self, number: usize) -> Vec<(VipId, Kernel)> {
        let taken = self.machines[number].clear();
        for (vip, _) in &taken {
            self.tell(number, || format!("{vip} is absent"));
            self.seen
                .push_back(Seen::Kernel(number, *vip, Kernel::Absent, self.now));
        }
        taken
    }

    /// The guard acts a little after its lease is over, or its pipe closed.
    fn guard_after(&mut self, number: usize, lease: Duration) {
        let acts = self.micros(1_000, 5_000);
        let machine = &mut self.machines[number];
        machine.guard_round += 1;
        let round = machine.guard_round;
        self.schedule(lease + acts, Happening::Guard(number, round));
    }

    fn guard(&mut self, number: usize) {
        self.tell(number, || "the guard acts".into());
        self.machines[number].is_guard_raised = true;
        let taken = self.take_all(number);
        // The driver sees it, though nobody may be there to be told.
        for (vip, _) in taken {
            let after = self.micros(0, 1_000);
            self.report(number, after, Report::Lost(vip, Kernel::Absent));
        }
    }

    fn end(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.process = None;
        peer.life += 1;
        self.machines[number].change = None;
        self.machines[number].asking.clear();
        self.fabric.kill(number, self.now);
        self.seen.push_back(Seen::Called(number));
    }

    fn leave(&mut self, number: usize) {
        self.tell(number, || "leaves".into());
        let life = self.peers[number].life;
        let process = self.peers[number].process.as_mut().unwrap();
        process.has_left = true;
        process.commands.push_back(Said::Stop);
        self.schedule(MS * 20, Happening::Exit(number, life));
        self.pump(number);
    }

    /// Of two machines that ask and hear each other one goes first.
    fn begin_asking(&mut self, number: usize, vip: VipId) {
        self.machines[number].asking.insert(vip, None);
        let others: Vec<usize> = (0..self.machines.len())
            .filter(|other| *other != number && self.is_serving(*other))
            .filter(|other| self.machines[*other].asking.contains_key(&vip))
            .filter(|other| self.segment.is_two_way(&self.machines, number, *other))
            .collect();
        for other in others {
            let pair = [number, other].map(|number| (self.machines[number].mac, number));
            let (first, second) = (pair.into_iter().min(), pair.into_iter().max());
            let ((mac, _), (_, second)) = (first.unwrap(), second.unwrap());
            self.machines[second].asking.insert(vip, Some(mac));
        }
    }

    /// What the segment answers to the question who has the VIP.
    fn ask(&mut self, number: usize, vip: VipId) -> Heard {
        if let Some(Some(first)) = self.machines[number].asking.remove(&vip) {
            return Heard::Asker(first);
        }
        let others = (0..self.machines.len()).filter(|other| *other != number);
        let holders = others.filter(|other| {
            self.segment.is_two_way(&self.machines, number, *other)
                && self.machines[*other].state(vip) == Kernel::Announced
        });
        let heard = holders.map(|other| {
            let mac = self.machines[other].mac;
            match self.is_serving(other) {
                true => Heard::Server(mac),
                false => Heard::Station(mac),
            }
        });
        heard.max().unwrap_or(Heard::Nobody)
    }

    fn fitness(&self, number: usize) -> BTreeMap<VipId, Result<(), Unfit>> {
        let fit = match self.machines[number].card {
            Card::Well | Card::Mute => Ok(()),
            Card::Deaf => Err(Unfit::Deaf("eth0".into())),
            Card::NoCarrier => Err(Unfit::NoCarrier("eth0".into())),
        };
        let vips = &self.peers[number].process.as_ref().unwrap().vips;
        vips.keys().map(|vip| (*vip, fit.clone())).collect()
    }

    /// Unsolicited ARP: who announces the same VIP hears of it.
    fn tell_segment(&mut self, number: usize, vip: VipId, announcement: u64) {
        if self.machines[number].announcement(vip) != Some(announcement) || !self.is_serving(number)
        {
            return;
        }
        self.seen.push_back(Seen::Told(number, vip));
        let theirs = self.machines[number].mac;
        for other in 0..self.machines.len() {
            let is_heard = other != number
                && self.segment.reaches(&self.machines, number, other)
                && self.machines[other].state(vip) == Kernel::Announced
                && self.is_alive(other);
            if is_heard {
                let mine = self.machines[other].mac;
                let after = self.micros(50, 1_000);
                self.report(other, after, Report::Foreign { vip, theirs, mine });
            }
        }
    }

    /// Of two members of one view that reach each other one learns what the other has.
    fn meet(&mut self) {
        for number in 0..self.peers.len() {
            let Some(process) = self.process(number) else {
                continue;
            };
            let view = process.view.as_ref();
            let members: Vec<usize> = view
                .iter()
                .flat_map(|view| &view.members)
                .map(|(peer, _)| self.number(*peer))
                .filter(|other| *other != number && self.is_running(*other))
                .filter(|other| !self.fabric.network.is_cut(*other, number))
                .collect();
            if members.is_empty() {
                continue;
            }
            let other = members[self.random.usize(0..members.len())];
            let log = self.peers[other].log.clone();
            if self.peers[number].log.learn(&log) {
                self.fold(number);
            }
        }
    }

    fn fold(&mut self, number: usize) {
        let map = self.peers[number].log.map();
        self.call(number, |failover, now| failover.set_map(map, now));
    }

    fn schedule_wakes(&mut self, number: usize) {
        let (now, instant) = (self.now, self.instant());
        let peer = &mut self.peers[number];
        let life = peer.life;
        let Some(process) = &mut peer.process else {
            return;
        };
        let link = process.router.poll_timeout();
        let main = process.failover.poll_timeout();
        let mut wakes = Vec::new();
        for (thread, due, happening) in [
            (&mut process.link, link, Happening::WakeLink(number, life)),
            (&mut process.main, main, Happening::WakeMain(number, life)),
        ] {
            let Some(due) = due.filter(|_| thread.stalled_until <= now) else {
                continue;
            };
            let after = due.saturating_duration_since(instant);
            if thread.wake_at.is_none_or(|at| now + after < at) {
                thread.wake_at = Some(now + after);
                wakes.push((after, happening));
            }
        }
        for (after, happening) in wakes {
            self.schedule(after, happening);
        }
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
