//! Connections as the contract of `overlay::link_event` has them: dials, datagrams of which two may
//! wait, streams and canaries that lose nothing, idle ends.

use super::{Happening, Input, World, address};
use overlay::link_event::{DialId, Expected, Protocol};
use overlay::{LinkEvent, LinkId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A silent connection ends after this, as quinn's do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A dial that is not answered fails after this.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// A datagram above this falls into a hole for big packets.
const SMALL: usize = 600;

pub(super) struct Connection {
    pub(super) protocol: Protocol,
    pub(super) ends: [End; 2],
    pub(super) next_stream: u64,
}

pub(super) struct End {
    pub(super) peer: usize,
    pub(super) life: u64,
    pub(super) link: LinkId,
    pub(super) is_open: bool,
    pub(super) heard: Duration,
    pub(super) under_way: usize,
    pub(super) free_at: Duration,
    /// Stream bytes and the end of a canary: reliable and in order.
    pub(super) reliable: VecDeque<LinkEvent>,
    pub(super) is_carrying: bool,
}

pub(super) struct Dial {
    pub(super) from: usize,
    pub(super) life: u64,
    pub(super) to: usize,
    pub(super) dial: DialId,
    pub(super) protocol: Protocol,
    pub(super) expected: Expected,
}

impl World {
    pub(super) fn dial(
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

    pub(super) fn connect(&mut self, dial: &Dial) {
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
            let other = if side == 0 { to } else { from };
            let key = self.peers[other].key;
            let opened = LinkEvent::Opened {
                key: (dial.protocol != Protocol::Canary).then_some(key),
                protocol: dial.protocol,
                dialed: (side == 0).then_some(dial.dial),
                exporter: [0; 32],
                remote: address(other),
            };
            self.tell(id, side, opened);
            self.schedule(IDLE_TIMEOUT, Happening::Idle(id, side));
        }
    }

    pub(super) fn send_datagram(&mut self, number: usize, link: LinkId, data: &bytes::Bytes) {
        self.note(number, data);
        let Some((id, side)) = self.end(number, link) else {
            return;
        };
        let (now, serialization) = (self.now, self.network.serialization);
        let connection = self.connections.get_mut(&id).unwrap();
        let is_beat = connection.protocol == Protocol::Beat;
        if !is_beat {
            self.packets += 1;
        }
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
        let ends = &self.connections[&id].ends;
        let (a, b) = (ends[side].peer, ends[1 - side].peer);
        if data.len() > SMALL && self.network.is_hole(a, b) {
            return;
        }
        for after in self.network.deliver(a, b) {
            let happening = Happening::Datagram(id, 1 - side, data.clone());
            self.schedule(wait + after, happening);
        }
    }

    pub(super) fn deliver(&mut self, id: u64, from: usize) -> Vec<Duration> {
        let ends = &self.connections[&id].ends;
        let (a, b) = (ends[from].peer, ends[1 - from].peer);
        self.network.deliver(a, b)
    }

    /// Queues something that arrives in order, whatever is lost on the way.
    pub(super) fn carry(&mut self, id: u64, to: usize, event: LinkEvent) {
        let end = &mut self.connections.get_mut(&id).unwrap().ends[to];
        end.reliable.push_back(event);
        if !end.is_carrying {
            end.is_carrying = true;
            self.schedule(Duration::ZERO, Happening::Carry(id, to, 0));
        }
    }

    pub(super) fn try_carry(&mut self, id: u64, to: usize, tries: u32) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
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

    pub(super) fn arrive(&mut self, id: u64, side: usize, event: LinkEvent) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[side].heard = now;
        }
        self.tell(id, side, event);
    }

    pub(super) fn tell(&mut self, id: u64, side: usize, event: LinkEvent) {
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

    pub(super) fn check_idle(&mut self, id: u64, side: usize) {
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

    pub(super) fn end(&self, number: usize, link: LinkId) -> Option<(u64, usize)> {
        let id = *self.peers[number].ends.get(&link)?;
        Some((id, self.connections[&id].side_of(number, link)))
    }
}

impl Connection {
    pub(super) fn side(&self, peer: usize) -> usize {
        usize::from(self.ends[0].peer != peer)
    }

    pub(super) fn side_of(&self, peer: usize, link: LinkId) -> usize {
        usize::from((self.ends[0].peer, self.ends[0].link) != (peer, link))
    }
}
