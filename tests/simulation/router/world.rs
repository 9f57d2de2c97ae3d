//! Routers on a made-up clock: connections, streams, canaries, kills, restarts and stalls, as the
//! contract of `overlay::link_event` has them.

mod transport;

use super::network::Network;
use overlay::event::{Event, Output};
use overlay::link_event::{DialFailed, DialId, LinkOutput, Protocol, StreamId};
use overlay::{
    Admit, ClusterId, Config, Faults, Incarnation, LinkEvent, LinkId, Member, MemberRow, MemberSet,
    NeighborSpec, PeerId, Profile, PublicKey, Router,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use transport::{Connection, Dial};

/// The peer's main loop ticks this often.
const TICK: Duration = Duration::from_millis(20);
/// The wall clock at the start of every run.
const WALL_START: Duration = Duration::from_secs(1_700_000_000);
/// More cannot happen at one moment, unless somebody goes round in circles.
const STEPS_MAX: u32 = 20_000;
const CLUSTER: ClusterId = ClusterId([7; 16]);

/// Peers, connections and what will happen.
pub(super) struct World {
    start: Instant,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    numbers: u64,
    /// What has happened at this moment.
    steps: u32,
    pub(super) peers: Vec<Peer>,
    pub(super) network: Network,
    connections: BTreeMap<u64, Connection>,
    faults: Faults,
    /// Datagrams of links that were sent; heartbeats are not among them.
    packets: u64,
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
    inbox: VecDeque<Input>,
    next_link: u64,
    ends: BTreeMap<LinkId, u64>,
    tick: u64,
    wake_at: Option<Duration>,
}

enum Input {
    Link(LinkId, LinkEvent),
    DialFailed(DialId),
}

enum Happening {
    /// Input of one life of a peer.
    Input(usize, u64, Input),
    Wake(usize, u64),
    Tick(usize, u64),
    /// A datagram arrives at an end.
    Datagram(u64, usize, bytes::Bytes),
    Writable(u64, usize),
    /// The head of the reliable queue of this end is tried again.
    Carry(u64, usize, u32),
    Arrive(u64, usize, LinkEvent),
    Idle(u64, usize),
    /// The handshake of a dial is done.
    Connect(Box<Dial>),
}

impl World {
    /// `links` names each peer's only neighbors. The first `members` peers are members from the
    /// start, the others join later.
    pub(super) fn new(
        links: Vec<Vec<usize>>,
        members: usize,
        network: Network,
        faults: Faults,
        start: Instant,
    ) -> Self {
        let mut peers: Vec<Peer> = Vec::new();
        for (number, links) in links.into_iter().enumerate() {
            let seed = [number as u8 + 1; 32];
            let key = key_pair(&seed);
            let key = PublicKey(key.public_key().as_ref().try_into().unwrap());
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
                next_link: 0,
                ends: BTreeMap::new(),
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
            network,
            connections: BTreeMap::new(),
            faults,
            packets: 0,
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
            links: Some(
                peer.links
                    .iter()
                    .map(|n| NeighborSpec::Name(name(*n)))
                    .collect(),
            ),
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
        peer.incarnation = incarnation;
        peer.router = Some(router);
        let life = peer.life;
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
        let set = self.member_set(number);
        self.call(number, |router, now| router.set_members(&set, now));
    }

    /// kill -9: QUIC says nothing, the kernel closes the canaries.
    pub(super) fn kill(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.router = None;
        peer.inbox.clear();
        let ends = std::mem::take(&mut peer.ends);
        for id in ends.into_values() {
            let connection = self.connections.get_mut(&id).unwrap();
            let side = connection.side(number);
            connection.ends[side].is_open = false;
            if connection.protocol == Protocol::Canary {
                self.carry(id, 1 - side, LinkEvent::Closed { code: None });
            }
        }
    }

    pub(super) fn stall(&mut self, number: usize, lasts: Duration) {
        let until = self.now + lasts;
        self.peers[number].stalled_until = until;
        let life = self.peers[number].life;
        self.schedule(lasts, Happening::Wake(number, life));
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
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        if next.is_none_or(|at| at > until) {
            self.now = until;
            return false;
        }
        let ((at, _), happening) = self.queue.pop_first().unwrap();
        self.steps = if at > self.now { 0 } else { self.steps + 1 };
        assert!(
            self.steps < STEPS_MAX,
            "a router waits for a time that is past"
        );
        self.now = at;
        self.happen(happening);
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

    /// Datagrams of links so far.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    pub(super) fn is_alive(&self, number: usize) -> bool {
        self.peers[number].router.is_some()
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
        match happening {
            Happening::Input(peer, life, input) => {
                if self.peers[peer].life == life {
                    self.input(peer, input);
                }
            }
            Happening::Wake(peer, life) => self.wake(peer, life),
            Happening::Tick(number, life) => {
                let peer = &mut self.peers[number];
                if peer.life != life || peer.router.is_none() {
                    return;
                }
                if peer.stalled_until <= self.now {
                    peer.tick += 1;
                    let tick = peer.tick;
                    self.call(number, |router, now| router.set_tick(tick, now));
                }
                self.schedule(TICK, Happening::Tick(number, life));
            }
            Happening::Datagram(id, side, data) => {
                self.arrive(id, side, LinkEvent::Datagram(data));
            }
            Happening::Writable(id, side) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.ends[side].under_way = 0;
                }
                self.tell(id, side, LinkEvent::Writable);
            }
            Happening::Carry(id, side, tries) => self.try_carry(id, side, tries),
            Happening::Arrive(id, side, event) => self.arrive(id, side, event),
            Happening::Idle(id, side) => self.check_idle(id, side),
            Happening::Connect(dial) => self.connect(&dial),
        }
    }

    fn wake(&mut self, number: usize, life: u64) {
        let (now, wall, time) = (self.instant(), self.wall(), self.now);
        let peer = &mut self.peers[number];
        if peer.life != life {
            return;
        }
        if peer.wake_at == Some(time) {
            peer.wake_at = None;
        }
        if peer.stalled_until > time {
            return;
        }
        // The driver reads what lies in its sockets before it judges by time.
        while let Some(input) = self.peers[number].inbox.pop_front() {
            self.input(number, input);
        }
        if let Some(router) = &mut self.peers[number].router
            && router.poll_timeout().is_some_and(|due| due <= now)
        {
            router.handle_timeout(wall, now);
            self.drain(number);
        }
        self.schedule_wake(number);
    }

    fn input(&mut self, number: usize, input: Input) {
        let (now, wall, time) = (self.instant(), self.wall(), self.now);
        let peer = &mut self.peers[number];
        let Some(router) = &mut peer.router else {
            return;
        };
        if peer.stalled_until > time {
            peer.inbox.push_back(input);
            return;
        }
        match input {
            Input::Link(link, event) => router.handle_link(link, event, wall, now),
            Input::DialFailed(dial) => {
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
                Output::Link(output) => self.perform(number, output),
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

    fn perform(&mut self, number: usize, output: LinkOutput) {
        match output {
            LinkOutput::Dial {
                dial,
                address,
                protocol,
                expected,
            } => self.dial(number, dial, address, protocol, expected),
            LinkOutput::Close { link, code } => {
                let Some((id, side)) = self.end(number, link) else {
                    return;
                };
                self.peers[number].ends.remove(&link);
                let connection = self.connections.get_mut(&id).unwrap();
                connection.ends[side].is_open = false;
                let code = Some(code as u32);
                let closed = LinkEvent::Closed { code };
                if connection.protocol == Protocol::Canary {
                    self.carry(id, 1 - side, LinkEvent::Closed { code: None });
                } else if let Some(after) = self.deliver(id, side).first() {
                    self.schedule(*after, Happening::Arrive(id, 1 - side, closed));
                }
            }
            LinkOutput::Accept(_) => {}
            LinkOutput::Datagram { link, data } => self.send_datagram(number, link, &data),
            LinkOutput::OpenStream {
                link,
                number: stream_number,
                ..
            } => {
                if let Some((id, side)) = self.end(number, link) {
                    let connection = self.connections.get_mut(&id).unwrap();
                    connection.next_stream += 1;
                    let opened = LinkEvent::StreamOpened {
                        number: stream_number,
                        stream: StreamId(connection.next_stream),
                    };
                    self.tell(id, side, opened);
                }
            }
            LinkOutput::StreamData {
                link,
                stream,
                data,
                finish,
            } => {
                if let Some((id, side)) = self.end(number, link) {
                    let event = LinkEvent::Stream {
                        stream,
                        data,
                        finished: finish,
                    };
                    self.carry(id, 1 - side, event);
                    self.tell(id, side, LinkEvent::StreamWritable(stream));
                }
            }
            LinkOutput::CanaryNonce { link, nonce } => {
                if let Some((id, side)) = self.end(number, link) {
                    self.carry(id, 1 - side, LinkEvent::CanaryNonce(nonce));
                }
            }
        }
    }
}

fn key_pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).unwrap()
}

fn name(number: usize) -> String {
    format!("peer{number}")
}

/// The port names the peer.
fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number as u16 + 1))
}
