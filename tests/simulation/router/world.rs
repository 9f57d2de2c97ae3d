//! Routers on a made-up clock: connections, streams, canaries, kills, restarts and stalls, as the
//! contract of `overlay::link_event` has them.

use super::network::Network;
use overlay::event::{Event, Output};
use overlay::link_event::{DialFailed, DialId, Expected, LinkOutput, Protocol, StreamId};
use overlay::{
    ClusterId, Config, Incarnation, LinkEvent, LinkId, Member, MemberSet, NeighborSpec, PeerId,
    Profile, PublicKey, Router,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A silent connection ends after this, as quinn's do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A dial that is not answered fails after this.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The peer's main loop ticks this often.
const TICK: Duration = Duration::from_millis(20);
/// The wall clock at the start of every run.
const WALL_START: Duration = Duration::from_secs(1_700_000_000);

/// Peers, connections and what will happen.
pub(super) struct World {
    start: Instant,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    numbers: u64,
    pub(super) peers: Vec<Peer>,
    pub(super) network: Network,
    connections: BTreeMap<u64, Connection>,
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
    seed: [u8; 32],
    /// Raised at each start, so that what belongs to an earlier life is dropped.
    life: u64,
    stalled_until: Duration,
    inbox: VecDeque<Input>,
    next_link: u64,
    ends: BTreeMap<LinkId, u64>,
    tick: u64,
}

enum Input {
    Link(LinkId, LinkEvent),
    DialFailed(DialId),
}

struct Connection {
    protocol: Protocol,
    ends: [End; 2],
    next_stream: u64,
}

struct End {
    peer: usize,
    life: u64,
    link: LinkId,
    is_open: bool,
    heard: Duration,
    under_way: usize,
    free_at: Duration,
    /// Stream bytes and the end of a canary: reliable and in order.
    reliable: VecDeque<LinkEvent>,
    is_carrying: bool,
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

struct Dial {
    from: usize,
    life: u64,
    to: usize,
    dial: DialId,
    protocol: Protocol,
    expected: Expected,
}

impl World {
    /// `links` names each peer's only neighbors.
    pub(super) fn new(links: Vec<Vec<usize>>, random: &mut fastrand::Rng, start: Instant) -> Self {
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
                seed,
                life: 0,
                stalled_until: Duration::ZERO,
                inbox: VecDeque::new(),
                next_link: 0,
                ends: BTreeMap::new(),
                tick: 0,
            });
        }
        Self {
            start,
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            numbers: 0,
            peers,
            network: Network::new(random),
            connections: BTreeMap::new(),
            digest: std::hash::DefaultHasher::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn start_peer(&mut self, number: usize, random: &mut fastrand::Rng) {
        let members: Vec<Member> = (0..self.peers.len())
            .map(|number| Member {
                key: self.peers[number].key,
                name: name(number),
                addresses: vec![address(number)],
            })
            .collect();
        let peer = &self.peers[number];
        let incarnation = peer.incarnation.next(WALL_START.as_secs(), random.u32(..));
        let config = Config {
            cluster: ClusterId([7; 16]),
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
            admit: None,
        };
        let (wall, now) = (self.wall(), self.instant());
        let key = key_pair(&peer.seed);
        let mut router = Router::resume(
            config,
            key,
            incarnation,
            Vec::new(),
            random.u64(..),
            wall,
            now,
        );
        let set = MemberSet {
            admitted: members,
            ..MemberSet::default()
        };
        router.set_members(&set, now);
        let peer = &mut self.peers[number];
        peer.life += 1;
        peer.incarnation = incarnation;
        peer.router = Some(router);
        let life = peer.life;
        self.schedule(TICK, Happening::Tick(number, life));
        self.drain(number);
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
        if peer.life != life || peer.stalled_until > time {
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
                Output::Keep(_) => {}
            }
        }
        let due = self.peers[number]
            .router
            .as_ref()
            .and_then(Router::poll_timeout);
        if let Some(due) = due {
            let after = due.saturating_duration_since(self.instant());
            let life = self.peers[number].life;
            self.schedule(after, Happening::Wake(number, life));
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

    fn dial(
        &mut self,
        from: usize,
        dial: DialId,
        address: SocketAddr,
        protocol: Protocol,
        expected: Expected,
    ) {
        let to = usize::from(address.port()) - 1;
        let life = self.peers[from].life;
        let dial = Dial {
            from,
            life,
            to,
            dial,
            protocol,
            expected,
        };
        // Two packets there and one back; each is sent again after 60, 120, 240 … ms.
        let mut takes = Duration::ZERO;
        for (a, b) in [(from, to), (to, from), (from, to)] {
            let mut again = Duration::from_millis(60);
            loop {
                if let Some(after) = self.network.deliver(a, b).first() {
                    takes += *after;
                    break;
                }
                takes += again;
                again *= 2;
                if takes >= DIAL_TIMEOUT {
                    break;
                }
            }
        }
        if takes >= DIAL_TIMEOUT {
            let failed = Input::DialFailed(dial.dial);
            self.schedule(DIAL_TIMEOUT, Happening::Input(from, life, failed));
        } else {
            self.schedule(takes, Happening::Connect(Box::new(dial)));
        }
    }

    fn connect(&mut self, dial: &Dial) {
        let (from, to) = (dial.from, dial.to);
        let is_expected = match dial.expected {
            Expected::Key(key) => key == self.peers[to].key,
            Expected::Fingerprint(_) | Expected::Nothing => true,
        };
        let is_there = self.is_alive(to) && self.peers[to].stalled_until <= self.now;
        if self.peers[from].life != dial.life || !self.is_alive(from) {
            return;
        }
        if !is_there || !is_expected {
            let failed = Input::DialFailed(dial.dial);
            self.schedule(DIAL_TIMEOUT, Happening::Input(from, dial.life, failed));
            return;
        }
        self.numbers += 1;
        let id = self.numbers;
        let ends = [from, to].map(|number| {
            let peer = &mut self.peers[number];
            peer.next_link += 1;
            let link = LinkId(peer.next_link);
            peer.ends.insert(link, id);
            End {
                peer: number,
                life: peer.life,
                link,
                is_open: true,
                heard: self.now,
                under_way: 0,
                free_at: self.now,
                reliable: VecDeque::new(),
                is_carrying: false,
            }
        });
        let connection = Connection {
            protocol: dial.protocol,
            ends,
            next_stream: 0,
        };
        self.connections.insert(id, connection);
        for side in [0, 1] {
            let (me, other) = if side == 0 { (from, to) } else { (to, from) };
            let key = self.peers[other].key;
            let opened = LinkEvent::Opened {
                key: (dial.protocol != Protocol::Canary).then_some(key),
                protocol: dial.protocol,
                dialed: (side == 0).then_some(dial.dial),
                exporter: [0; 32],
                remote: address(other),
            };
            debug_assert_eq!(self.connections[&id].ends[side].peer, me);
            self.tell(id, side, opened);
            self.schedule(IDLE_TIMEOUT, Happening::Idle(id, side));
        }
    }

    fn send_datagram(&mut self, number: usize, link: LinkId, data: &bytes::Bytes) {
        self.note(number, data);
        let Some((id, side)) = self.end(number, link) else {
            return;
        };
        let (now, serialization) = (self.now, self.network.serialization);
        let connection = self.connections.get_mut(&id).unwrap();
        let is_beat = connection.protocol == Protocol::Beat;
        let end = &mut connection.ends[side];
        // The transport takes the small packets of a beat at once.
        if !is_beat {
            assert!(end.under_way < 2, "the router waits for Writable");
            end.under_way += 1;
        }
        let takes = serialization * data.len() as u32 / 1_200;
        end.free_at = end.free_at.max(now) + takes;
        let wait = end.free_at - now;
        if end.under_way == 2 {
            self.schedule(wait, Happening::Writable(id, side));
        }
        for after in self.deliver(id, side) {
            let happening = Happening::Datagram(id, 1 - side, data.clone());
            self.schedule(wait + after, happening);
        }
    }

    fn deliver(&mut self, id: u64, from: usize) -> Vec<Duration> {
        let ends = &self.connections[&id].ends;
        let (a, b) = (ends[from].peer, ends[1 - from].peer);
        self.network.deliver(a, b)
    }

    /// Queues something that arrives in order, whatever is lost on the way.
    fn carry(&mut self, id: u64, to: usize, event: LinkEvent) {
        let end = &mut self.connections.get_mut(&id).unwrap().ends[to];
        end.reliable.push_back(event);
        if !end.is_carrying {
            end.is_carrying = true;
            self.schedule(Duration::ZERO, Happening::Carry(id, to, 0));
        }
    }

    fn try_carry(&mut self, id: u64, to: usize, tries: u32) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !connection.ends[to].is_open {
            return;
        }
        let delays = self.deliver(id, 1 - to);
        let Some(after) = delays.first().copied() else {
            let pause = Duration::from_millis(20) * (1 << tries.min(7));
            return self.schedule(pause, Happening::Carry(id, to, tries + 1));
        };
        let end = &mut self.connections.get_mut(&id).unwrap().ends[to];
        match end.reliable.pop_front() {
            None => end.is_carrying = false,
            Some(event) => {
                self.schedule(after, Happening::Arrive(id, to, event));
                // The next one follows it on the same path.
                self.schedule(after, Happening::Carry(id, to, 0));
            }
        }
    }

    fn arrive(&mut self, id: u64, side: usize, event: LinkEvent) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[side].heard = now;
        }
        self.tell(id, side, event);
    }

    fn tell(&mut self, id: u64, side: usize, event: LinkEvent) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let end = &mut connection.ends[side];
        if !end.is_open {
            return;
        }
        if let LinkEvent::Closed { .. } = event {
            end.is_open = false;
            self.peers[end.peer].ends.remove(&end.link);
        }
        let (peer, life, link) = (end.peer, end.life, end.link);
        let input = Input::Link(link, event);
        self.schedule(Duration::ZERO, Happening::Input(peer, life, input));
    }

    fn check_idle(&mut self, id: u64, side: usize) {
        let end = &self.connections[&id].ends[side];
        if !end.is_open {
            return;
        }
        let over = end.heard + IDLE_TIMEOUT;
        if over > self.now {
            return self.schedule(over - self.now, Happening::Idle(id, side));
        }
        if self.connections[&id].protocol != Protocol::Canary {
            self.tell(id, side, LinkEvent::Closed { code: None });
        }
    }

    fn end(&self, number: usize, link: LinkId) -> Option<(u64, usize)> {
        let id = *self.peers[number].ends.get(&link)?;
        Some((id, self.connections[&id].side_of(number, link)))
    }
}

impl Connection {
    fn side(&self, peer: usize) -> usize {
        usize::from(self.ends[0].peer != peer)
    }

    fn side_of(&self, peer: usize, link: LinkId) -> usize {
        usize::from((self.ends[0].peer, self.ends[0].link) != (peer, link))
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
