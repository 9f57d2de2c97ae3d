//! Routers on a made-up clock, and the transport between them: kills, restarts and stalls.

use crate::fabric::{Delivery, Fabric, Network, address};
use overlay::event::{Event, Output};
use overlay::link_event::{DialFailed, LinkOutput};
use overlay::{
    Admit, ClusterId, Config, Faults, Incarnation, Member, MemberRow, MemberSet, NeighborSpec,
    PeerId, Profile, PublicKey, Router,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::time::{Duration, Instant};

/// The peer's main loop ticks this often.
const TICK: Duration = Duration::from_millis(20);
/// The wall clock at the start of every run.
const WALL_START: Duration = Duration::from_secs(1_700_000_000);
/// More cannot happen at one moment, unless somebody goes round in circles.
const STEPS_MAX: u32 = 20_000;
const CLUSTER: ClusterId = ClusterId([7; 16]);

/// Peers, what is between them, and what will happen.
pub(super) struct World {
    start: Instant,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    numbers: u64,
    /// What has happened at this moment.
    steps: u32,
    pub(super) peers: Vec<Peer>,
    pub(super) fabric: Fabric,
    faults: Faults,
    digest: std::hash::DefaultHasher,
    /// What the routers told the layer above, since it was last taken.
    events: VecDeque<(usize, Event)>,
}

/// One peer, dead or alive.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) key: PublicKey,
    pub(super) incarnation: Incarnation,
    pub(super) router: Option<Router>,
    pub(super) links: Vec<usize>,
    /// Whom its log names.
    pub(super) known: BTreeSet<usize>,
    admit: Option<Admit>,
    /// The member list that it has kept.
    rows: BTreeMap<PublicKey, MemberRow>,
    seed: [u8; 32],
    /// Raised at each start, so that what belongs to an earlier life is dropped.
    life: u64,
    stalled_until: Duration,
    inbox: VecDeque<Delivery>,
    tick: u64,
    wake_at: Option<Duration>,
}

/// What befalls one life of a peer.
#[derive(Clone, Copy)]
enum Happening {
    Wake(usize, u64),
    Tick(usize, u64),
    /// A stalled peer goes on.
    Resume(usize, u64),
}

impl World {
    /// `links` names each peer's only neighbors; if none are named, the routers choose. The first `members` peers are members from the
    /// start, the others join later.
    pub(super) fn new(
        links: Vec<Vec<usize>>,
        members: usize,
        network: Network,
        faults: Faults,
        start: Instant,
    ) -> Self {
        let mut peers: Vec<Peer> = Vec::new();
        let mut fabric = Fabric::new(network);
        for (number, links) in links.into_iter().enumerate() {
            let seed = [number as u8 + 1; 32];
            let key = key_pair(&seed);
            let key = PublicKey(key.public_key().as_ref().try_into().unwrap());
            fabric.add_host(key);
            peers.push(Peer {
                id: key.peer_id(),
                key,
                incarnation: Incarnation(0),
                router: None,
                links,
                known: (0..members).collect(),
                admit: None,
                rows: BTreeMap::new(),
                seed,
                life: 0,
                stalled_until: Duration::ZERO,
                inbox: VecDeque::new(),
                tick: 0,
                wake_at: None,
            });
        }
        Self {
            start,
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            numbers: 0,
            steps: 0,
            peers,
            fabric,
            faults,
            digest: std::hash::DefaultHasher::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn start_peer(&mut self, number: usize, random: &mut fastrand::Rng) {
        let set = self.member_set(number);
        let faults = self.faults;
        let peer = &self.peers[number];
        let incarnation = peer.incarnation.next(WALL_START.as_secs(), random.u32(..));
        let config = Config {
            cluster: CLUSTER,
            name: name(number),
            addresses: vec![address(number)],
            profile: Profile::Lan,
            links: (!peer.links.is_empty()).then(|| {
                let names = peer.links.iter().map(|n| NeighborSpec::Name(name(*n)));
                names.collect()
            }),
            extra_addresses: Vec::new(),
            admit: peer.admit.clone(),
        };
        let (wall, now) = (self.wall(), self.instant());
        let key = key_pair(&peer.seed);
        let mut router = Router::resume(
            config,
            key,
            incarnation,
            peer.rows.values().cloned().collect(),
            random.u64(..),
            wall,
            now,
        );
        router.plant(faults);
        router.set_members(&set, now);
        let peer = &mut self.peers[number];
        peer.life += 1;
        peer.wake_at = None;
        peer.stalled_until = Duration::ZERO;
        peer.incarnation = incarnation;
        peer.router = Some(router);
        let life = peer.life;
        self.fabric.start(number);
        self.schedule(TICK, Happening::Tick(number, life));
        self.drain(number);
    }

    /// A member admits a newcomer: both know at once, the others by their log, sooner or later.
    pub(super) fn admit(&mut self, newcomer: usize, by: usize) {
        let signer = key_pair(&self.peers[by].seed);
        let admit = Admit::sign(
            &signer,
            CLUSTER,
            self.peers[newcomer].key,
            name(newcomer),
            vec![address(newcomer)],
            self.peers[by].id,
            self.wall(),
        );
        let mut known = self.peers[by].known.clone();
        known.insert(newcomer);
        self.peers[newcomer].admit = Some(admit);
        self.peers[newcomer].known.clone_from(&known);
        self.learn(by, &known);
    }

    /// A peer's log brings whom another's names.
    pub(super) fn learn(&mut self, number: usize, known: &BTreeSet<usize>) {
        self.peers[number].known.extend(known);
        // A stalled one finds it in its queue when it goes on.
        if self.is_running(number) {
            let set = self.member_set(number);
            self.call(number, |router, now| router.set_members(&set, now));
        }
    }

    /// kill -9.
    pub(super) fn kill(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.router = None;
        peer.life += 1;
        peer.inbox.clear();
        self.fabric.kill(number, self.now);
    }

    /// The process stands still, as under SIGSTOP.
    pub(super) fn stall(&mut self, number: usize, lasts: Duration) {
        let peer = &mut self.peers[number];
        if peer.router.is_none() || peer.stalled_until > self.now {
            return;
        }
        peer.stalled_until = self.now + lasts;
        let life = peer.life;
        self.fabric.set_stalled(number, true);
        self.schedule(lasts, Happening::Resume(number, life));
    }

    /// Calls a router as the layer above does.
    pub(super) fn call<T>(
        &mut self,
        number: usize,
        call: impl FnOnce(&mut Router, Instant) -> T,
    ) -> Option<T> {
        let now = self.instant();
        let answer = self.peers[number]
            .router
            .as_mut()
            .map(|router| call(router, now));
        self.drain(number);
        answer
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
            "a router waits for a time that is past"
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

    pub(super) fn take_event(&mut self) -> Option<(usize, Event)> {
        self.events.pop_front()
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

    /// A peer in the life that it lives, or lived last.
    pub(super) fn life(&self, number: usize) -> (PeerId, Incarnation) {
        let peer = &self.peers[number];
        (peer.id, peer.incarnation)
    }

    pub(super) fn number(&self, of: PeerId) -> usize {
        let mut peers = self.peers.iter();
        peers.position(|peer| peer.id == of).unwrap()
    }

    pub(super) fn is_alive(&self, number: usize) -> bool {
        self.peers[number].router.is_some()
    }

    /// Alive, and not stalled.
    pub(super) fn is_running(&self, number: usize) -> bool {
        self.is_alive(number) && self.peers[number].stalled_until <= self.now
    }

    fn wall(&self) -> Duration {
        WALL_START + self.now
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.numbers += 1;
        self.queue
            .insert((self.now + after, self.numbers), happening);
    }

    fn happen(&mut self, happening: Happening) {
        let (Happening::Wake(number, life)
        | Happening::Tick(number, life)
        | Happening::Resume(number, life)) = happening;
        if self.peers[number].life != life {
            return;
        }
        let is_stalled = self.peers[number].stalled_until > self.now;
        match happening {
            Happening::Wake(..) => {
                let peer = &mut self.peers[number];
                if peer.wake_at == Some(self.now) {
                    peer.wake_at = None;
                }
                if !is_stalled {
                    self.wake(number);
                }
            }
            Happening::Tick(..) => {
                if !is_stalled {
                    self.peers[number].tick += 1;
                    let tick = self.peers[number].tick;
                    self.call(number, |router, now| router.set_tick(tick, now));
                }
                self.schedule(TICK, Happening::Tick(number, life));
            }
            Happening::Resume(..) => {
                self.fabric.set_stalled(number, false);
                // The driver reads what lies in its sockets before it judges by time.
                while let Some(delivery) = self.peers[number].inbox.pop_front() {
                    self.deliver(number, delivery);
                }
                let set = self.member_set(number);
                self.call(number, |router, now| router.set_members(&set, now));
                self.wake(number);
            }
        }
    }

    fn wake(&mut self, number: usize) {
        let (now, wall) = (self.instant(), self.wall());
        if let Some(router) = &mut self.peers[number].router
            && router.poll_timeout().is_some_and(|due| due <= now)
        {
            router.handle_timeout(wall, now);
            self.drain(number);
        }
        self.schedule_wake(number);
    }

    fn deliver(&mut self, number: usize, delivery: Delivery) {
        let (now, wall, time) = (self.instant(), self.wall(), self.now);
        let peer = &mut self.peers[number];
        if peer.stalled_until > time {
            peer.inbox.push_back(delivery);
            return;
        }
        let Some(router) = &mut peer.router else {
            return;
        };
        match delivery {
            Delivery::Link(link, event) => router.handle_link(link, event, wall, now),
            Delivery::DialFailed(dial) => {
                let reason = "no answer".into();
                router.handle_dial_failed(DialFailed { dial, reason }, wall, now);
            }
        }
        self.drain(number);
    }

    fn drain(&mut self, number: usize) {
        loop {
            let router = self.peers[number].router.as_mut();
            let Some(output) = router.and_then(Router::poll_output) else {
                break;
            };
            match output {
                Output::Link(output) => {
                    if let LinkOutput::Datagram { data, .. } = &output {
                        self.note(number, data);
                    }
                    self.fabric.perform(number, output, self.now);
                }
                Output::Event(event) => {
                    self.note(number, format!("{event:?}").as_bytes());
                    self.events.push_back((number, event));
                }
                Output::Keep(row) => {
                    self.peers[number].rows.insert(row.key, row);
                }
            }
        }
        self.schedule_wake(number);
    }

    fn schedule_wake(&mut self, number: usize) {
        let (now, instant) = (self.now, self.instant());
        let peer = &mut self.peers[number];
        let Some(due) = peer.router.as_ref().and_then(Router::poll_timeout) else {
            return;
        };
        let after = due.saturating_duration_since(instant);
        if peer.wake_at.is_none_or(|at| now + after < at) {
            peer.wake_at = Some(now + after);
            let life = peer.life;
            self.schedule(after, Happening::Wake(number, life));
        }
    }

    fn member_set(&self, number: usize) -> MemberSet {
        let known = self.peers[number].known.iter();
        let admitted = known.map(|number| Member {
            key: self.peers[*number].key,
            name: name(*number),
            addresses: vec![address(*number)],
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

fn key_pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).unwrap()
}

fn name(number: usize) -> String {
    format!("peer{number}")
}
