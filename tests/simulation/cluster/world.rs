//! Hosts with disks and clocks, the transport between them, and the processes on them.

mod effects;
mod hosts;
mod people;

use super::Fault;
use super::checks::{Checks, Seen};
use super::disk::{Disk, Speed};
use super::feeding::Primary;
use super::machine::{Clock, Process};
use super::requests::Request;
use crate::fabric::{Delivery, Fabric, Network};
use dnsd::disk::Done;
use dnsd::feed::{Ask, Brought};
use dnsd::requests::ClientId;
use dnsd::wiring::{Work, Worked};
use effects::who_is_due;
use overlay::{ClusterId, Command, PeerId, Profile, Token};
use replication::BlobHash;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::time::{Duration, Instant};
use zones::Name;

/// The peer thread tells that it goes on.
const TICK: Duration = Duration::from_millis(20);
/// A long log is folded in slices, each at once after the other; more are a circle.
const WAKES_MAX: u32 = 1_000;
pub(crate) const HOSTS_MAX: usize = 6;
const CLUSTER: ClusterId = ClusterId([7; 16]);
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

pub(crate) struct World {
    pub(crate) seed: u64,
    start: Instant,
    pub(crate) now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    numbers: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) fabric: Fabric,
    pub(crate) random: fastrand::Rng,
    pub(crate) checks: Checks,
    pub(crate) requests: Vec<Request>,
    pub(crate) profile: Profile,
    pub(crate) disks: Speed,
    /// The only neighbors of each host that may come to be; none: all link to all.
    pub(crate) links: Option<Vec<Vec<usize>>>,
    pub(crate) trap: Option<Trap>,
    /// Who has a zone that the cluster follows.
    pub(crate) primary: Option<Primary>,
    fault: Fault,
    is_told: bool,
    trace: std::hash::DefaultHasher,
}

/// One machine of the network: what survives its processes.
pub(crate) struct Host {
    pub(crate) id: PeerId,
    seed: [u8; 32],
    pub(crate) disk: Disk,
    pub(crate) skew_millis: i64,
    pub(crate) token: Option<Token>,
    pub(crate) sponsor: usize,
    pub(crate) has_joined: bool,
    /// It never comes back.
    pub(crate) is_destroyed: bool,
    pub(crate) process: Option<Process>,
    life: u64,
    pub(crate) stalled_until: Duration,
    inbox: VecDeque<Inbox>,
    clients: BTreeMap<ClientId, usize>,
    /// Operators that wait for their imports.
    imports: BTreeMap<ClientId, Standing>,
    seen: Option<Seen>,
    checkpoint: replication::Stamp,
    /// The earliest wake that is scheduled, so that none is scheduled twice.
    wake: Option<Duration>,
    /// The last wake, and how many came at that instant before it.
    woken: (Duration, u32),
    is_pumped: bool,
}

/// Whether a zone was served when it was imported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Served,
}

/// Something that is done at the very moment at which it hurts; once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trap {
    /// Who gives the data of an import dies after the first piece.
    HolderInFetch,
    /// Whose import is durable with itself dies before it says so.
    AuthorWithData,
    /// This author dies when the first other peer has the data.
    AuthorOnceHeld(usize),
    /// This author dies while its disk writes the entry that names the data.
    AuthorWithEntry(usize, BlobHash),
    /// Nothing comes back any more from a newcomer that is being sent the stage.
    NewcomerInStage,
}

enum Inbox {
    Delivery(Delivery),
    Disk(Done),
    Worked(Worked),
    Fetched(Name, Result<Brought, String>),
}

enum Happening {
    Wake(usize, u64),
    Tick(usize, u64),
    /// The threads of a process hear each other.
    Pump(usize, u64),
    /// The disk has done what it was at.
    Disk(usize, u64),
    /// The lying driver tells of a batch that is not flushed.
    Early(usize, u64, replication::BatchId),
    /// Work has been done aside.
    Aside(usize, u64, Box<Work>),
    /// The primary is asked.
    Asked(usize, u64, Box<Ask>),
    /// A stalled process goes on.
    Resume(usize, u64),
    /// A process that has joined begins its life as a member.
    Joined(usize, u64),
}

impl World {
    pub(crate) fn new(seed: u64, fault: Fault) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut network = Network::new(&mut random);
        let profile = match random.u8(0..10) {
            0 => Profile::Wan,
            1 => Profile::Fast,
            _ => Profile::Lan,
        };
        if profile == Profile::Wan {
            network.delay = Duration::from_millis(random.u64(5..40));
            network.jitter = Duration::from_millis(random.u64(0..10));
        }
        if profile == Profile::Fast {
            // A quiet site is what this profile is for.
            network.loss = network.loss.min(10);
            network.serialization = Duration::from_micros(10);
        }
        let disks = Speed {
            flush_millis: [3, 20, 120][random.usize(0..3)],
            stalls: [0, 0, 10][random.usize(0..3)],
        };
        Self {
            seed,
            start: start(),
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            numbers: 0,
            hosts: Vec::new(),
            fabric: Fabric::new(network),
            checks: Checks::default(),
            requests: Vec::new(),
            profile,
            disks,
            trap: None,
            primary: None,
            links: (random.u8(0..3) == 0).then(|| shape(&mut random)),
            random,
            fault,
            is_told: std::env::var_os("SIMULATION_TRACE").is_some(),
            trace: std::hash::DefaultHasher::new(),
        }
    }

    /// Little goes wrong by chance.
    pub(crate) fn calm(&mut self) {
        self.fabric.network.loss = self.fabric.network.loss.min(50);
        self.disks.stalls = 0;
    }

    pub(crate) fn run_until(&mut self, limit: Duration) -> Result<(), String> {
        loop {
            let own = self.queue.first_key_value().map(|((at, _), _)| *at);
            let theirs = self.fabric.due();
            let Some(next) = own
                .into_iter()
                .chain(theirs)
                .min()
                .filter(|at| *at <= limit)
            else {
                self.now = limit;
                return Ok(());
            };
            self.now = next;
            if theirs == Some(next) {
                if let Some((to, delivery)) = self.fabric.step() {
                    self.deliver(to, Inbox::Delivery(delivery))?;
                }
            } else {
                let (_, happening) = self.queue.pop_first().expect("it was just seen");
                self.happen(happening)?;
            }
        }
    }

    pub(crate) fn clock(&self, number: usize) -> Clock {
        let skew = self.hosts[number].skew_millis;
        let wall = EPOCH + self.now;
        let wall = match skew {
            0.. => wall + Duration::from_millis(skew.unsigned_abs()),
            _ => wall - Duration::from_millis(skew.unsigned_abs()),
        };
        Clock {
            wall,
            now: self.start + self.now,
        }
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.numbers += 1;
        self.queue
            .insert((self.now + after, self.numbers), happening);
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        let (number, life) = match &happening {
            Happening::Wake(number, life)
            | Happening::Tick(number, life)
            | Happening::Pump(number, life)
            | Happening::Disk(number, life)
            | Happening::Early(number, life, _)
            | Happening::Aside(number, life, _)
            | Happening::Asked(number, life, _)
            | Happening::Resume(number, life)
            | Happening::Joined(number, life) => (*number, *life),
        };
        if self.hosts[number].life != life {
            return Ok(());
        }
        let is_stalled = self.hosts[number].stalled_until > self.now;
        let clock = self.clock(number);
        match happening {
            Happening::Wake(..) => {
                let host = &mut self.hosts[number];
                if host.wake.is_some_and(|due| due <= self.now) {
                    host.wake = None;
                }
                let again = host.woken.0 == self.now;
                host.woken = (self.now, if again { host.woken.1 + 1 } else { 0 });
                assert!(
                    host.woken.1 < WAKES_MAX,
                    "a timer that has fired is due again and again: {}",
                    who_is_due(&host.process, clock.now)
                );
                if !is_stalled {
                    self.wake(number);
                }
            }
            Happening::Tick(..) => {
                self.schedule(TICK, Happening::Tick(number, life));
                if is_stalled {
                    return Ok(());
                }
                if let Some(machine) = self.member(number) {
                    machine.tick += 1;
                    let tick = Command::Tick(machine.tick);
                    machine.to_node.push_back(tick);
                }
            }
            Happening::Pump(..) => {
                self.hosts[number].is_pumped = false;
                if is_stalled {
                    return Ok(());
                }
                if let Some(machine) = self.member(number) {
                    machine.hear_peer(clock);
                    machine.hear_node(clock);
                }
            }
            Happening::Disk(..) => {
                if let Some(done) = self.hosts[number].disk.finish() {
                    let is_told =
                        self.fault != Fault::DurableBeforeFlush || !matches!(done, Done::Log(_));
                    if is_told {
                        self.deliver(number, Inbox::Disk(done))?;
                    }
                }
            }
            Happening::Early(_, _, batch) => {
                self.deliver(number, Inbox::Disk(Done::Log(batch)))?;
            }
            Happening::Aside(_, _, work) => {
                self.deliver(number, Inbox::Worked(work.run()))?;
            }
            Happening::Asked(_, _, ask) => {
                let primary = self.primary.as_ref().expect("somebody asked it");
                let fetched = primary.give(&ask);
                self.deliver(number, Inbox::Fetched(ask.origin, fetched))?;
            }
            Happening::Resume(..) => {
                self.fabric.set_stalled(number, false);
                while let Some(input) = self.hosts[number].inbox.pop_front() {
                    self.deliver(number, input)?;
                }
                self.wake(number);
            }
            Happening::Joined(..) => {
                let host = &mut self.hosts[number];
                host.process = None;
                host.has_joined = true;
                self.fabric.kill(number, self.now);
                self.checks.summary.joins += 1;
                return self.start_process(number);
            }
        }
        self.drain(number)
    }

    /// What a person wants to read of a run, with `SIMULATION_TRACE`.
    pub(crate) fn tell(&self, number: usize, what: &dyn Fn() -> String) {
        if self.is_told {
            eprintln!("{:>9.3?} {number}: {}", self.now, what());
        }
    }

    fn note(&mut self, number: usize, bytes: &[u8]) {
        self.trace.write_u128(self.now.as_nanos());
        self.trace.write_usize(number);
        self.trace.write(bytes);
    }

    /// Hosts that shall be members in the end.
    pub(crate) fn survivors(&self) -> BTreeSet<PeerId> {
        let living = self.hosts.iter().filter(|host| !host.is_destroyed);
        living.map(|host| host.id).collect()
    }
}

/// Each host is linked to one of those before it, so that they hold together as they come; and some
/// to a further one.
fn shape(random: &mut fastrand::Rng) -> Vec<Vec<usize>> {
    let mut links = vec![Vec::new(); HOSTS_MAX];
    for newcomer in 1..HOSTS_MAX {
        for chance in [1, 3] {
            let other = random.usize(0..newcomer);
            if random.u8(0..chance) == 0 && !links[newcomer].contains(&other) {
                links[newcomer].push(other);
                links[other].push(newcomer);
            }
        }
    }
    links
}

#[allow(
    clippy::disallowed_methods,
    reason = "a run only needs some first moment"
)]
fn start() -> Instant {
    Instant::now()
}
