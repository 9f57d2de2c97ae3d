//! Hosts with disks and clocks, the transport between them, and the processes on them.

use super::Fault;
use super::checks::{Checks, Seen};
use super::disk::{Disk, Speed};
use super::machine::{Act, Clock, Joiner, Machine, Process};
use super::requests::{self, Kind, Request};
use crate::fabric::{Delivery, Fabric, Network, address};
use dnsd::body::Body;
use dnsd::durable;
use dnsd::io::disk::Done;
use dnsd::prefix::Prefix;
use dnsd::rebase;
use dnsd::requests::{Answer, ClientId};
use dnsd::sponsor::Signer;
use dnsd::state::Outcome;
use overlay::join::JoinRequest;
use overlay::link_event::DialFailed;
use overlay::token::TokenSecret;
use overlay::{Admit, ClusterId, Command, NeighborSpec, Node, PeerId, Profile, PublicKey, Token};
use replication::{Config, Majority};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::time::{Duration, Instant};
use zones::{Rcode, Version};

/// The peer thread tells that it goes on.
const TICK: Duration = Duration::from_millis(20);
/// A long log is folded in slices, each at once after the other; more are a circle.
const WAKES_MAX: u32 = 1_000;
pub(crate) const HOSTS_MAX: usize = 6;
const CLUSTER: ClusterId = ClusterId([7; 16]);
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
const INVITATION: Duration = Duration::from_secs(3_600);

pub(crate) struct World {
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
    seen: Option<Seen>,
    checkpoint: replication::Stamp,
    /// The earliest wake that is scheduled, so that none is scheduled twice.
    wake: Option<Duration>,
    /// The last wake, and how many came at that instant before it.
    woken: (Duration, u32),
    is_pumped: bool,
}

enum Inbox {
    Delivery(Delivery),
    Disk(Done),
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
    /// New bases have been made aside.
    Rebased(usize, u64, Vec<Version>),
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
            links: (random.u8(0..3) == 0).then(|| shape(&mut random)),
            random,
            fault,
            is_told: std::env::var_os("SIMULATION_TRACE").is_some(),
            trace: std::hash::DefaultHasher::new(),
        }
    }

    /// The first peer of the cluster, with its policy and first zone.
    pub(crate) fn birth(&mut self) -> Result<(), String> {
        let first = self.add_host(None);
        let key = key_pair(&self.hosts[first].seed);
        let wall = self.clock(first).wall;
        let me = self.hosts[first].id;
        let public = public_key(&self.hosts[first].seed);
        let addresses = vec![address(first)];
        let admit = Admit::sign(&key, CLUSTER, public, name(first), addresses, me, wall);
        let host = &mut self.hosts[first];
        durable::give_birth(&mut host.disk.store, &admit, wall).expect("no fault");
        host.has_joined = true;
        self.start_process(first)?;
        self.run_until(self.now + Duration::from_millis(500))?;
        let policy = Body::Policy {
            update: vec!["0.0.0.0/0".parse::<Prefix>().expect("a good prefix")],
            transfer: Vec::new(),
        };
        let clock = self.clock(first);
        let machine = self.member(first).expect("it has just started");
        let client = machine.new_client();
        let given = machine
            .peer
            .handle_policy(client, &policy, clock.wall, clock.now);
        given.map_err(|refused| format!("the policy is refused: {refused:?}"))?;
        machine.import(requests::origin(0), requests::file(0, 3));
        self.drain(first)?;
        self.run_until(self.now + Duration::from_secs(1))
    }

    pub(crate) fn add_host(&mut self, token: Option<(usize, Token)>) -> usize {
        let number = self.hosts.len();
        let seed = [number as u8 + 1; 32];
        let key = public_key(&seed);
        self.fabric.add_host(key);
        let (sponsor, token) = token.unzip();
        self.hosts.push(Host {
            id: key.peer_id(),
            seed,
            disk: Disk::new(self.random.u64(..)),
            skew_millis: self.random.i64(-1_500..1_500),
            token,
            sponsor: sponsor.unwrap_or(number),
            has_joined: false,
            is_destroyed: false,
            process: None,
            life: 0,
            stalled_until: Duration::ZERO,
            inbox: VecDeque::new(),
            clients: BTreeMap::new(),
            seen: None,
            checkpoint: replication::Stamp::ZERO,
            wake: None,
            woken: (Duration::ZERO, 0),
            is_pumped: false,
        });
        number
    }

    /// Starts what the host's command line says: a member if its store is one's, else a joiner.
    pub(crate) fn start_process(&mut self, number: usize) -> Result<(), String> {
        let clock = self.clock(number);
        let random = self.random.u64(..);
        let profile = self.profile;
        let fault = self.fault;
        self.tell(number, &|| "starts".into());
        let host = &mut self.hosts[number];
        assert!(host.process.is_none() && !host.is_destroyed);
        host.life += 1;
        host.wake = None;
        host.is_pumped = false;
        host.stalled_until = Duration::ZERO;
        let process = if host.has_joined {
            let config = overlay::Config {
                cluster: CLUSTER,
                name: name(number),
                addresses: vec![address(number)],
                profile,
                links: self.links.as_ref().map(|links| {
                    let neighbors = links[number].iter();
                    neighbors.map(|n| NeighborSpec::Name(name(*n))).collect()
                }),
                extra_addresses: Vec::new(),
                admit: None,
            };
            let signer = Signer {
                key: key_pair(&host.seed),
                me: host.id,
                cluster: CLUSTER,
            };
            let timing = profile.timing();
            let replica = |admit: &Admit| {
                let mut config = Config::new(
                    admit.peer(),
                    admit.cluster,
                    timing.deadline_max,
                    timing.agree_limit,
                );
                config.join_lag = 20;
                if let Fault::Replica(faults) = fault {
                    config.faults = faults;
                }
                config
            };
            let key = key_pair(&host.seed);
            let store = &mut host.disk.store;
            let machine = Machine::start(store, signer, key, config, replica, random, clock)?;
            Process::Member(Box::new(machine))
        } else {
            let request = JoinRequest {
                token: host.token.clone().expect("it was invited"),
                key: public_key(&host.seed),
                name: name(number),
                addresses: vec![address(number)],
            };
            Process::Joiner(Box::new(Joiner::new(request, random, clock)))
        };
        host.process = Some(process);
        let life = host.life;
        self.fabric.start(number);
        self.schedule(TICK, Happening::Tick(number, life));
        self.drain(number)
    }

    /// The process dies; what it had not flushed may be gone.
    pub(crate) fn kill(&mut self, number: usize) {
        if self.hosts[number].process.take().is_none() {
            return;
        }
        self.checks.summary.crashes += 1;
        self.tell(number, &|| "is killed".into());
        let host = &mut self.hosts[number];
        host.life += 1;
        host.inbox.clear();
        host.clients.clear();
        host.seen = None;
        host.disk.crash();
        self.fabric.kill(number, self.now);
    }

    /// The process stands still, as under SIGSTOP.
    pub(crate) fn stall(&mut self, number: usize, lasts: Duration) {
        let host = &mut self.hosts[number];
        if host.process.is_none() || host.stalled_until > self.now {
            return;
        }
        self.checks.summary.stalls += 1;
        host.stalled_until = self.now + lasts;
        let life = host.life;
        self.fabric.set_stalled(number, true);
        self.schedule(lasts, Happening::Resume(number, life));
    }

    pub(crate) fn member(&mut self, number: usize) -> Option<&mut Machine> {
        match &mut self.hosts[number].process {
            Some(Process::Member(machine)) => Some(machine),
            _ => None,
        }
    }

    /// A member's process that is not stalled and has links.
    pub(crate) fn ready(&mut self, number: usize) -> Option<&mut Machine> {
        if self.hosts[number].stalled_until > self.now {
            return None;
        }
        self.member(number).filter(|machine| machine.node.is_some())
    }

    /// A client sends a request to a peer.
    pub(crate) fn ask(&mut self, number: usize, request: usize) -> Result<(), String> {
        let clock = self.clock(number);
        let (message, source, zone) = {
            let request = &self.requests[request];
            (request.message.clone(), request.source, request.zone)
        };
        let (digest, kind) = (self.requests[request].digest, self.requests[request].kind);
        self.tell(number, &|| format!("is asked {request} {kind:?}"));
        let Some(machine) = self.ready(number) else {
            return Ok(());
        };
        // A listener answers NOTAUTH by itself where no such zone is served.
        if machine
            .peer
            .now()
            .version(&requests::origin(zone))
            .is_none()
        {
            return Ok(());
        }
        let client = machine.new_client();
        machine
            .peer
            .handle_update(client, message, source, clock.wall, clock.now);
        machine.drain(clock);
        let now = machine.peer.now();
        let tentative = now.answered(digest, now.at());
        self.checks.summary.requests += 1;
        self.hosts[number].clients.insert(client, request);
        self.requests[request].last_sent = self.now;
        if self.fault == Fault::TentativeAnswers
            && let Some(outcome) = tentative
        {
            self.answered(number, client, &Answer::Outcome(outcome))?;
        }
        self.drain(number)
    }

    pub(crate) fn new_request(&mut self, zone: u8, kind: Kind) -> usize {
        let number = self.requests.len();
        let request = Request::new(number as u64, zone, kind, self.now);
        self.requests.push(request);
        number
    }

    /// True if the sponsor could be told to.
    pub(crate) fn invite(&mut self, sponsor: usize) -> Result<bool, String> {
        let clock = self.clock(sponsor);
        let fingerprint = public_key(&self.hosts[sponsor].seed).fingerprint();
        let secret = TokenSecret(self.random.u128(..).to_be_bytes());
        let token = Token {
            cluster: CLUSTER,
            fingerprint,
            secret,
            expires: Duration::from_secs((clock.wall + INVITATION).as_secs()),
            addresses: vec![address(sponsor)],
        };
        let Some(machine) = self.ready(sponsor) else {
            return Ok(false);
        };
        machine.to_node.push_back(Command::Invite(token));
        self.drain(sponsor)?;
        Ok(true)
    }

    pub(crate) fn import(&mut self, number: usize, zone: u8, names: u32) -> Result<(), String> {
        if let Some(machine) = self.ready(number) {
            machine.import(requests::origin(zone), requests::file(zone, names));
            self.checks.summary.imports += 1;
        }
        self.drain(number)
    }

    pub(crate) fn remove_zone(&mut self, number: usize, zone: u8) -> Result<(), String> {
        let clock = self.clock(number);
        if let Some(machine) = self.ready(number) {
            let client = machine.new_client();
            let origin = requests::origin(zone);
            let _ = machine
                .peer
                .handle_remove(client, origin, clock.wall, clock.now);
        }
        self.drain(number)
    }

    /// True if the eviction could be authored.
    pub(crate) fn evict(
        &mut self,
        number: usize,
        victim: PeerId,
        majority: Majority,
    ) -> Result<bool, String> {
        let clock = self.clock(number);
        let evicted = self.ready(number).is_some_and(|machine| {
            machine
                .peer
                .handle_evict(victim, majority, clock.wall, clock.now)
                .is_ok()
        });
        self.checks.summary.evictions += u64::from(evicted);
        self.drain(number)?;
        Ok(evicted)
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
            | Happening::Rebased(number, life, _)
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
            Happening::Rebased(_, _, due) => {
                if let Some(machine) = self.member(number) {
                    machine
                        .peer
                        .handle_rebased(rebase::run(due), clock.wall, clock.now);
                }
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

    /// Calls the machines whose time has come.
    fn wake(&mut self, number: usize) {
        let clock = self.clock(number);
        let is_due = |node: &Node| node.poll_timeout().is_some_and(|due| due <= clock.now);
        match &mut self.hosts[number].process {
            Some(Process::Joiner(joiner)) if is_due(&joiner.node) => {
                joiner.node.handle_timeout(clock.wall, clock.now);
            }
            Some(Process::Member(machine)) => {
                if let Some(node) = machine.node.as_mut().filter(|node| is_due(node)) {
                    node.handle_timeout(clock.wall, clock.now);
                }
                if machine
                    .poll_timeout(clock.now)
                    .is_some_and(|due| due <= clock.now)
                {
                    machine.handle_timeout(clock);
                }
            }
            Some(Process::Joiner(_)) | None => {}
        }
    }

    fn deliver(&mut self, number: usize, input: Inbox) -> Result<(), String> {
        let clock = self.clock(number);
        let host = &mut self.hosts[number];
        if host.stalled_until > self.now {
            host.inbox.push_back(input);
            return Ok(());
        }
        match (&mut host.process, input) {
            (Some(Process::Joiner(joiner)), Inbox::Delivery(delivery)) => {
                hand_over(&mut joiner.node, delivery, clock);
            }
            (Some(Process::Member(machine)), Inbox::Delivery(delivery)) => {
                if let Some(node) = &mut machine.node {
                    hand_over(node, delivery, clock);
                }
            }
            (Some(Process::Member(machine)), Inbox::Disk(done)) => {
                if matches!(done, Done::Checkpoint) {
                    self.checks.summary.checkpoints += 1;
                }
                machine.handle_disk(done, clock);
            }
            (Some(Process::Joiner(_)) | None, _) => {}
        }
        self.drain(number)
    }

    /// Carries out all that a process wants, looks at what it shows, and sees when it is due again.
    pub(crate) fn drain(&mut self, number: usize) -> Result<(), String> {
        let clock = self.clock(number);
        let now = self.now;
        let host = &mut self.hosts[number];
        let life = host.life;
        match &mut host.process {
            None => return Ok(()),
            Some(Process::Joiner(joiner)) => {
                let has_joined = joiner.go_on(&mut host.disk.store, clock)?;
                while let Some(output) = joiner.node.poll_link() {
                    self.fabric.perform(number, output, now);
                }
                if has_joined {
                    // What the sponsor holds durably came with its stage and its snapshot.
                    let sponsor = host.sponsor;
                    let durable = self.hosts[sponsor].disk.durable.clone();
                    let disk = &mut self.hosts[number].disk;
                    disk.durable.extend(durable);
                    disk.count_durable();
                    let joined = Happening::Joined(number, life);
                    self.schedule(Duration::from_millis(5), joined);
                }
            }
            Some(Process::Member(machine)) => {
                machine.drain(clock);
                if let Some(node) = &mut machine.node {
                    while let Some(output) = node.poll_link() {
                        self.fabric.perform(number, output, now);
                    }
                    while let Some(event) = node.poll_event() {
                        machine.to_peer.push_back(event);
                    }
                }
                self.carry_out(number)?;
                self.look(number)?;
            }
        }
        self.begin_disk(number);
        self.schedule_pump(number);
        self.schedule_wake(number);
        Ok(())
    }

    fn carry_out(&mut self, number: usize) -> Result<(), String> {
        while let Some(act) = self
            .member(number)
            .and_then(|machine| machine.acts.pop_front())
        {
            match act {
                Act::Write(job) => self.hosts[number].disk.push(job),
                Act::Answer(client, answer) => self.answered(number, client, &answer)?,
                Act::Serve(served) => {
                    let id = self.hosts[number].id;
                    for zone in served.zones.iter() {
                        let serial = zone.shown.as_ref().map_or(0, |shown| shown.serial.0);
                        self.note(number, &serial.to_be_bytes());
                        self.note(number, &zone.now.digest().to_be_bytes());
                    }
                    self.checks.served(id, &served)?;
                }
                Act::Invited(token) => {
                    let newcomer = self.add_host(Some((number, token)));
                    self.start_process(newcomer)?;
                }
                Act::Rebase(due) => {
                    let life = self.hosts[number].life;
                    let after = Duration::from_millis(self.random.u64(1..50));
                    self.schedule(after, Happening::Rebased(number, life, due));
                }
                Act::Said(event) => self.tell(number, &|| format!("{event:?}")),
                Act::ViewAgreed => self.checks.summary.views += 1,
            }
        }
        Ok(())
    }

    fn answered(&mut self, number: usize, client: ClientId, answer: &Answer) -> Result<(), String> {
        self.note(number, format!("{client:?} {answer:?}").as_bytes());
        let Some(request) = self.hosts[number].clients.remove(&client) else {
            return Ok(());
        };
        let kind = self.requests[request].kind;
        self.tell(number, &|| {
            format!("answers {request} {kind:?}: {answer:?}")
        });
        let Answer::Outcome(outcome) = answer else {
            return Ok(());
        };
        self.checks.summary.answers += 1;
        let digest = self.requests[request].digest;
        let machine = self.member(number).expect("it has just answered");
        let Some((view, members)) = machine.peer.replica().view() else {
            return Ok(());
        };
        let made_entry = machine
            .peer
            .settled()
            .is_some_and(|state| state.answered(digest, state.at()).is_some());
        // Promise 1: on the disk of every member of the settling view.
        if made_entry && *outcome == Outcome::Rcode(Rcode::NOERROR) {
            for host in self.hosts.iter().filter(|host| members.contains(&host.id)) {
                if !host.is_destroyed && !host.disk.durable.contains(&digest) {
                    return Err(format!(
                        "{number} told NOERROR and {} does not hold it durably",
                        host.id
                    ));
                }
            }
        }
        let request = &self.requests[request];
        self.checks.answered(view, request, *outcome, made_entry)
    }

    /// Looks at what a member shows.
    fn look(&mut self, number: usize) -> Result<(), String> {
        let host = &mut self.hosts[number];
        let Some(Process::Member(machine)) = &host.process else {
            return Ok(());
        };
        if let Some(state) = machine.peer.settled()
            && machine.peer.replica().is_settling()
        {
            self.checks
                .settled(&mut host.seen, machine.peer.replica(), state)?;
        }
        let checkpoint = machine.peer.replica().checkpoint();
        if checkpoint < host.checkpoint {
            return Err(format!("{number}: the checkpoint went back"));
        }
        host.checkpoint = checkpoint;
        Ok(())
    }

    fn begin_disk(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let life = host.life;
        if let Some(takes) = host.disk.begin(self.disks, &mut self.random) {
            let begun = host.disk.begun_batch();
            if let Some(batch) = begun.filter(|_| self.fault == Fault::DurableBeforeFlush) {
                self.schedule(Duration::ZERO, Happening::Early(number, life, batch));
            }
            self.schedule(takes, Happening::Disk(number, life));
        }
    }

    fn schedule_pump(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(Process::Member(machine)) = &host.process else {
            return;
        };
        let has_words =
            !machine.to_peer.is_empty() || !machine.to_node.is_empty() && machine.node.is_some();
        if has_words && !host.is_pumped {
            host.is_pumped = true;
            let life = host.life;
            let after = Duration::from_micros(self.random.u64(10..400));
            self.schedule(after, Happening::Pump(number, life));
        }
    }

    fn schedule_wake(&mut self, number: usize) {
        let clock = self.clock(number);
        let host = &self.hosts[number];
        let due = match &host.process {
            None => None,
            Some(Process::Joiner(joiner)) => joiner.node.poll_timeout(),
            Some(Process::Member(machine)) => machine
                .node
                .as_ref()
                .and_then(Node::poll_timeout)
                .into_iter()
                .chain(machine.poll_timeout(clock.now))
                .min(),
        };
        let Some(due) = due else { return };
        let due = due.saturating_duration_since(self.start).max(self.now);
        if host.stalled_until > self.now || host.wake.is_some_and(|wake| wake <= due) {
            return;
        }
        let life = host.life;
        self.hosts[number].wake = Some(due);
        self.schedule(due - self.now, Happening::Wake(number, life));
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

fn who_is_due(process: &Option<Process>, now: Instant) -> String {
    let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
    match process {
        None => "nobody".into(),
        Some(Process::Joiner(_)) => "a joiner".into(),
        Some(Process::Member(machine)) => format!(
            "node {}, peer {}, its replica {} which is {:?}, folded {}",
            is_due(machine.node.as_ref().and_then(Node::poll_timeout)),
            is_due(machine.peer.poll_timeout(now)),
            is_due(machine.peer.replica().poll_timeout()),
            machine.peer.replica().phase(),
            machine.peer.is_folded(),
        ),
    }
}

fn hand_over(node: &mut Node, delivery: Delivery, clock: Clock) {
    match delivery {
        Delivery::Link(link, event) => node.handle_link(link, event, clock.wall, clock.now),
        Delivery::DialFailed(dial) => {
            let reason = "no answer".into();
            node.handle_dial_failed(DialFailed { dial, reason }, clock.wall, clock.now);
        }
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("peer{number}")
}

fn key_pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are a seed")
}

fn public_key(seed: &[u8; 32]) -> PublicKey {
    let pair = key_pair(seed);
    PublicKey(pair.public_key().as_ref().try_into().expect("32 bytes"))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a run only needs some first moment"
)]
fn start() -> Instant {
    Instant::now()
}
