//! The made-up transport between machines: connections, datagrams, streams, canaries, handshakes,
//! as the contract of `overlay::link_event` has them.
//!
//! A happening of the transport becomes at most one delivery to one host.

mod network;

pub(crate) use network::Network;

use overlay::link_event::{DialId, Expected, LinkOutput, Protocol, StreamId};
use overlay::{LinkEvent, LinkId, PublicKey};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// A silent connection ends after this, as quinn's do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A dial that is not answered fails after this.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// All hosts and what is under way between them.
pub(crate) struct Fabric {
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    numbers: u64,
    hosts: Vec<Host>,
    pub(crate) network: Network,
    connections: BTreeMap<u64, Connection>,
    /// Datagrams of links that were sent; heartbeats are not among them.
    packets: u64,
}

/// What reaches a host.
pub(crate) enum Delivery {
    Link(LinkId, LinkEvent),
    DialFailed(DialId),
}

struct Host {
    key: PublicKey,
    is_up: bool,
    /// Its handshakes are not answered meanwhile.
    is_stalled: bool,
    /// Raised at each start, so that what belongs to an earlier life is dropped.
    life: u64,
    next_link: u64,
    ends: BTreeMap<LinkId, u64>,
}

struct Connection {
    protocol: Protocol,
    ends: [End; 2],
    next_stream: u64,
}

struct End {
    host: usize,
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
    /// For one life of a host.
    Delivery(usize, u64, Delivery),
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

impl Fabric {
    pub(crate) fn new(network: Network) -> Self {
        Self {
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            numbers: 0,
            hosts: Vec::new(),
            network,
            connections: BTreeMap::new(),
            packets: 0,
        }
    }

    /// The next host; its number is its port less one.
    pub(crate) fn add_host(&mut self, key: PublicKey) {
        self.hosts.push(Host {
            key,
            is_up: false,
            is_stalled: false,
            life: 0,
            next_link: 0,
            ends: BTreeMap::new(),
        });
    }

    pub(crate) fn start(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        host.life += 1;
        host.is_up = true;
        host.is_stalled = false;
    }

    /// kill -9: QUIC says nothing, the kernel closes the canaries.
    pub(crate) fn kill(&mut self, number: usize, now: Duration) {
        self.now = now;
        let host = &mut self.hosts[number];
        host.is_up = false;
        let ends = std::mem::take(&mut host.ends);
        for id in ends.into_values() {
            let connection = self.connections.get_mut(&id).unwrap();
            let side = usize::from(connection.ends[0].host != number);
            connection.ends[side].is_open = false;
            if connection.protocol == Protocol::Canary {
                self.carry(id, 1 - side, LinkEvent::Closed { code: None });
            }
        }
    }

    pub(crate) fn set_stalled(&mut self, host: usize, is_stalled: bool) {
        self.hosts[host].is_stalled = is_stalled;
    }

    /// Datagrams of links so far.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// When the next thing happens.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets the next thing happen.
    pub(crate) fn step(&mut self) -> Option<(usize, Delivery)> {
        let ((at, _), happening) = self.queue.pop_first()?;
        self.now = at;
        match happening {
            Happening::Delivery(to, life, delivery) => {
                let host = &self.hosts[to];
                return (host.life == life && host.is_up).then_some((to, delivery));
            }
            Happening::Datagram(id, side, data) => {
                self.arrive(id, side, LinkEvent::Datagram(data));
            }
            Happening::Writable(id, side) => {
                self.connections.get_mut(&id).unwrap().ends[side].under_way = 0;
                self.tell(id, side, LinkEvent::Writable);
            }
            Happening::Carry(id, side, tries) => self.try_carry(id, side, tries),
            Happening::Arrive(id, side, event) => self.arrive(id, side, event),
            Happening::Idle(id, side) => self.check_idle(id, side),
            Happening::Connect(dial) => self.connect(&dial),
        }
        None
    }

    /// Does what a machine asks of its link thread.
    pub(crate) fn perform(&mut self, host: usize, output: LinkOutput, now: Duration) {
        self.now = now;
        match output {
            LinkOutput::Dial {
                dial,
                address,
                protocol,
                expected,
            } => self.dial(host, dial, address, protocol, expected),
            LinkOutput::Close { link, code } => self.close(host, link, code as u32),
            LinkOutput::Accept(_) => {}
            LinkOutput::Datagram { link, data } => self.send_datagram(host, link, &data),
            LinkOutput::OpenStream { link, number, .. } => {
                if let Some((id, side)) = self.end(host, link) {
                    let connection = self.connections.get_mut(&id).unwrap();
                    connection.next_stream += 1;
                    let stream = StreamId(connection.next_stream);
                    self.tell(id, side, LinkEvent::StreamOpened { number, stream });
                }
            }
            LinkOutput::StreamData {
                link,
                stream,
                data,
                finish,
            } => {
                if let Some((id, side)) = self.end(host, link) {
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
                if let Some((id, side)) = self.end(host, link) {
                    self.carry(id, 1 - side, LinkEvent::CanaryNonce(nonce));
                }
            }
        }
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.numbers += 1;
        self.queue
            .insert((self.now + after, self.numbers), happening);
    }

    fn close(&mut self, host: usize, link: LinkId, code: u32) {
        let Some((id, side)) = self.end(host, link) else {
            return;
        };
        self.hosts[host].ends.remove(&link);
        let connection = self.connections.get_mut(&id).unwrap();
        connection.ends[side].is_open = false;
        if connection.protocol == Protocol::Canary {
            self.carry(id, 1 - side, LinkEvent::Closed { code: None });
        } else if let Some(after) = self.deliver(id, side).first() {
            let closed = LinkEvent::Closed { code: Some(code) };
            self.schedule(*after, Happening::Arrive(id, 1 - side, closed));
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
        let life = self.hosts[from].life;
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
            let failed = Delivery::DialFailed(dial);
            self.schedule(DIAL_TIMEOUT, Happening::Delivery(from, life, failed));
        } else {
            let dial = Dial {
                from,
                life,
                to,
                dial,
                protocol,
                expected,
            };
            self.schedule(takes, Happening::Connect(Box::new(dial)));
        }
    }

    fn connect(&mut self, dial: &Dial) {
        let (from, to) = (dial.from, dial.to);
        if self.hosts[from].life != dial.life || !self.hosts[from].is_up {
            return;
        }
        let is_expected = match dial.expected {
            Expected::Key(key) => key == self.hosts[to].key,
            Expected::Fingerprint(fingerprint) => fingerprint == self.hosts[to].key.fingerprint(),
            Expected::Nothing => true,
        };
        let is_there = self.hosts[to].is_up && !self.hosts[to].is_stalled;
        if !is_there || !is_expected {
            let failed = Delivery::DialFailed(dial.dial);
            self.schedule(DIAL_TIMEOUT, Happening::Delivery(from, dial.life, failed));
            return;
        }
        self.numbers += 1;
        let id = self.numbers;
        let ends = [from, to].map(|number| {
            let host = &mut self.hosts[number];
            host.next_link += 1;
            let link = LinkId(host.next_link);
            host.ends.insert(link, id);
            End {
                host: number,
                life: host.life,
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
        // Both ends draw the same keying material from one handshake.
        let mut exporter = [0; 32];
        exporter[..8].copy_from_slice(&id.to_be_bytes());
        for side in [0, 1] {
            let other = if side == 0 { to } else { from };
            let key = self.hosts[other].key;
            let opened = LinkEvent::Opened {
                key: (dial.protocol != Protocol::Canary).then_some(key),
                protocol: dial.protocol,
                dialed: (side == 0).then_some(dial.dial),
                exporter,
                remote: address(other),
            };
            self.tell(id, side, opened);
            self.schedule(IDLE_TIMEOUT, Happening::Idle(id, side));
        }
    }

    fn send_datagram(&mut self, host: usize, link: LinkId, data: &bytes::Bytes) {
        let Some((id, side)) = self.end(host, link) else {
            return;
        };
        let (now, serialization) = (self.now, self.network.serialization);
        let connection = self.connections.get_mut(&id).unwrap();
        let is_beat = connection.protocol == Protocol::Beat;
        let end = &mut connection.ends[side];
        // The transport takes the small packets of a beat at once.
        if !is_beat {
            self.packets += 1;
            assert!(end.under_way < 2, "the router waits for Writable");
            end.under_way += 1;
        }
        let takes = serialization * data.len() as u32 / 1_200;
        end.free_at = end.free_at.max(now) + takes;
        let wait = end.free_at - now;
        if end.under_way == 2 {
            self.schedule(wait, Happening::Writable(id, side));
        }
        let ends = &self.connections[&id].ends;
        let (a, b) = (ends[side].host, ends[1 - side].host);
        for after in self.network.deliver_datagram(a, b, data.len()) {
            let happening = Happening::Datagram(id, 1 - side, data.clone());
            self.schedule(wait + after, happening);
        }
    }

    fn deliver(&mut self, id: u64, from: usize) -> Vec<Duration> {
        let ends = &self.connections[&id].ends;
        let (a, b) = (ends[from].host, ends[1 - from].host);
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
        let connection = &self.connections[&id];
        if !connection.ends[to].is_open {
            return;
        }
        let is_stream = connection.protocol != Protocol::Canary;
        let delays = self.deliver(id, 1 - to);
        let Some(mut after) = delays.first().copied() else {
            let pause = Duration::from_millis(20) * (1 << tries.min(7));
            return self.schedule(pause, Happening::Carry(id, to, tries + 1));
        };
        if is_stream {
            after += self.network.stream_lag();
        }
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
        self.connections.get_mut(&id).unwrap().ends[side].heard = self.now;
        self.tell(id, side, event);
    }

    fn tell(&mut self, id: u64, side: usize, event: LinkEvent) {
        let end = &mut self.connections.get_mut(&id).unwrap().ends[side];
        if !end.is_open {
            return;
        }
        if let LinkEvent::Closed { .. } = event {
            end.is_open = false;
            self.hosts[end.host].ends.remove(&end.link);
        }
        let (host, life, link) = (end.host, end.life, end.link);
        let delivery = Delivery::Link(link, event);
        self.schedule(Duration::ZERO, Happening::Delivery(host, life, delivery));
    }

    fn check_idle(&mut self, id: u64, side: usize) {
        let connection = &self.connections[&id];
        let end = &connection.ends[side];
        if !end.is_open || connection.protocol == Protocol::Canary {
            return;
        }
        let over = end.heard + IDLE_TIMEOUT;
        if over > self.now {
            self.schedule(over - self.now, Happening::Idle(id, side));
        } else {
            self.tell(id, side, LinkEvent::Closed { code: None });
        }
    }

    fn end(&self, host: usize, link: LinkId) -> Option<(u64, usize)> {
        let id = *self.hosts[host].ends.get(&link)?;
        let first = &self.connections[&id].ends[0];
        Some((id, usize::from((first.host, first.link) != (host, link))))
    }
}

/// The port names the host.
pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number as u16 + 1))
}
