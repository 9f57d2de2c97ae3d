//! What is said and heard on a link: announcements of VIPs, and others that claim them.

use super::netlink::Netlink;
use super::packet::{self, FRAME_SIZE_MAX};
use super::tables::NEIGHBORS_MAX;
use crate::io::clock;
use crate::vip::address::VipId;
use crate::vip::frames::{self, Seen};
use crate::vip::ground::Place;
use crate::vip::kernel::{Mac, Report};
use socket2::Socket;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tracing::debug;

/// Frames that wait for the driver; more are dropped, as a segment may drop any.
pub(super) const FRAMES_MAX: usize = 1024;
/// When a VIP is announced, after it has come.
const REPEATS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];
/// The repeats that also go to each neighbor by itself: switches and stations drop broadcasts
/// when they have too many.
const DIRECTED: [usize; 2] = [0, 2];
/// Neighbors that were looked up longer ago are looked up anew.
const NEIGHBORS_FRESH: Duration = Duration::from_secs(1);
/// A station that claims a VIP is told of once in this time.
const FOREIGN_PERIOD: Duration = Duration::from_millis(100);
/// A station that asks for a VIP is told of once in this time, so that nobody can keep the peer
/// busy by asking: not again for the repeat of a question, and less than a question lasts.
const PROBE_PERIOD: Duration = Duration::from_millis(2);
/// Stations, and VIPs that they ask for, that are told of in that time.
const PROBED_MAX: usize = 1024;
/// After an error other than that nothing is there, for instance a link that is down.
const RETRY: Duration = Duration::from_millis(10);

/// The sockets of a link.
pub(super) struct Segment {
    sockets: [Arc<AsyncFd<Arc<Socket>>>; 3],
    listeners: Vec<JoinHandle<()>>,
}

/// The announcements of a VIP that are still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcing {
    since: Instant,
    nth: usize,
}

/// What is still to be told to each neighbor by itself: that may be many frames, so it is one VIP a
/// turn, and each link's neighbors are looked up once for all VIPs that wait.
#[derive(Default)]
pub(super) struct Directed {
    waiting: VecDeque<VipId>,
    neighbors: BTreeMap<u32, Vec<(IpAddr, Mac)>>,
    /// When the first of these were looked up.
    looked: Option<Instant>,
}

/// The port from which questions go to other DNS servers. The sockets hold it, so that the
/// kernel does not answer their responses with "port unreachable"; nobody reads from them.
pub(super) struct Probe {
    port: u16,
    _sockets: Vec<UdpSocket>,
}

impl Probe {
    pub(super) fn open() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = socket.local_addr()?.port();
        let mut sockets = vec![socket];
        let ipv6 = Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None);
        // Without IPv6 there is nothing to ask by it.
        if let Ok(ipv6) = ipv6 {
            ipv6.set_only_v6(true)?;
            let address = std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            match ipv6.bind(&address.into()) {
                Ok(()) => sockets.push(ipv6.into()),
                Err(error) => debug!(%error, port, "the port of DNS probes is taken in IPv6"),
            }
        }
        Ok(Self {
            port,
            _sockets: sockets,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Segment {
    /// Opens the sockets of a link, and passes on what is heard there.
    pub(super) fn open(index: u32, port: u16, frames: &Sender<(u32, Seen)>) -> io::Result<Self> {
        let [arp, ipv6, ipv4] = packet::open(index, port)?;
        let sockets = [
            Arc::new(packet::register(Arc::new(arp))?),
            Arc::new(packet::register(Arc::new(ipv6))?),
            Arc::new(packet::register(Arc::new(ipv4))?),
        ];
        let listen = |socket: &Arc<AsyncFd<Arc<Socket>>>| {
            tokio::spawn(listen(index, Arc::clone(socket), frames.clone()))
        };
        let listeners = sockets.iter().map(listen).collect();
        Ok(Self { sockets, listeners })
    }

    /// Sends a frame. One that cannot be sent is as one that is lost: all are repeated.
    pub(super) fn send(&self, frame: &[u8]) {
        let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
        let [arp, ipv6, ipv4] = &self.sockets;
        let socket = match ethertype {
            frames::ETHERTYPE_IPV6 => ipv6,
            frames::ETHERTYPE_IPV4 => ipv4,
            _ => arp,
        };
        if let Err(error) = socket.get_ref().send(frame) {
            debug!(%error, "a frame was not sent");
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

async fn listen(index: u32, socket: Arc<AsyncFd<Arc<Socket>>>, frames: Sender<(u32, Seen)>) {
    let mut frame = vec![0; FRAME_SIZE_MAX];
    loop {
        let Ok(mut ready) = socket.readable().await else {
            return;
        };
        match ready.try_io(|socket| (&**socket.get_ref()).read(&mut frame)) {
            Ok(Ok(size)) => {
                if let Some(seen) = frames::parse(&frame[..size]) {
                    // A full queue drops it, as the segment might have.
                    drop(frames.try_send((index, seen)));
                }
            }
            Ok(Err(_)) => tokio::time::sleep(RETRY).await,
            Err(_would_block) => {}
        }
    }
}

impl Announcing {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, nth: 0 }
    }

    pub(super) fn next(&self) -> Instant {
        self.since + REPEATS[self.nth]
    }
}

impl Directed {
    /// A VIP is to be told of; once, if it waits already.
    fn add(&mut self, vip: VipId) {
        if !self.waiting.contains(&vip) {
            self.waiting.push_back(vip);
        }
    }

    /// The VIP whose turn it is.
    fn next(&mut self, now: Instant) -> Option<VipId> {
        let is_old = |looked: Instant| now >= looked + NEIGHBORS_FRESH;
        if self.waiting.is_empty() || self.looked.is_some_and(is_old) {
            self.neighbors.clear();
            self.looked = None;
        }
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.neighbors.is_empty()
    }
}

impl Netlink {
    /// Sends the announcements whose time has come.
    pub(super) fn announce_due(&mut self, now: Instant) {
        let due: Vec<(VipId, usize)> = self
            .announcing
            .iter()
            .filter(|(_, announcing)| announcing.next() <= now)
            .map(|(vip, announcing)| (*vip, announcing.nth))
            .collect();
        for (vip, nth) in due {
            if nth + 1 < REPEATS.len() {
                let announcing = self.announcing.get_mut(&vip).expect("it was just there");
                announcing.nth += 1;
            } else {
                self.announcing.remove(&vip);
            }
            self.announce(vip);
            if DIRECTED.contains(&nth) {
                self.directed.add(vip);
            }
        }
    }

    /// Tells all of the segment at once.
    fn announce(&self, vip: VipId) {
        let places = self.held.get(&vip).map(|held| &held.places);
        for place in places.into_iter().flatten() {
            if let (Some(mac), Some(segment)) =
                (self.ground.mac(place.index), self.segment(place.index))
            {
                for frame in frames::announcements(mac, place.address) {
                    segment.send(&frame);
                }
            }
        }
    }

    /// Tells each neighbor of the next VIP by itself.
    pub(super) async fn announce_directed(&mut self, now: Instant) {
        let Some(vip) = self.directed.next(now) else {
            return;
        };
        let held = self.held.get(&vip).filter(|held| held.is_announced());
        let places: Vec<Place> = held
            .into_iter()
            .flat_map(|held| &held.places)
            .cloned()
            .collect();
        for place in places {
            let index = place.index;
            if !self.directed.neighbors.contains_key(&index) {
                let neighbors = self.tables.neighbors(index).await;
                let mut neighbors = neighbors.unwrap_or_else(|error| {
                    debug!(%error, "the table of neighbors cannot be read");
                    Vec::new()
                });
                // With so many there is no telling which of them matter.
                if neighbors.len() == NEIGHBORS_MAX {
                    neighbors.clear();
                }
                self.directed.looked.get_or_insert(now);
                self.directed.neighbors.insert(index, neighbors);
            }
            if let (Some(mac), Some(segment)) = (self.ground.mac(index), self.segment(index)) {
                for (neighbor, to) in &self.directed.neighbors[&index] {
                    let frame = frames::announcement_to(mac, place.address, *to, *neighbor);
                    if let Some(frame) = frame {
                        segment.send(&frame);
                    }
                }
            }
        }
    }

    pub(super) fn segment(&self, index: u32) -> Option<&Segment> {
        self.segments.get(&index)?.as_ref().ok()
    }

    /// Takes note of what was heard.
    pub(super) fn handle_frame(&mut self, index: u32, seen: Seen) {
        let is_mine = |mac: &Mac| self.own_macs.contains(mac);
        match seen {
            Seen::Claims(mac, address) if !is_mine(&mac) => {
                self.remember(index, address, mac);
                self.handle_foreign(mac, address);
                self.hear_answer(index, mac, address);
            }
            Seen::Datagram {
                mac,
                source,
                port,
                payload,
            } if !is_mine(&mac) && port == self.probe.port() => {
                self.hear_response(mac, source, &payload);
            }
            // RFC 5227 section 2.4: who only probes takes nothing away. The kernel answers it.
            Seen::Probes(mac, address) if !is_mine(&mac) => {
                self.handle_probe(index, mac, address);
            }
            // From this machine, by another of its links.
            Seen::Claims(..) | Seen::Datagram { .. } | Seen::Probes(..) => {}
        }
    }

    /// Tells of a station that is about to take a VIP.
    fn handle_probe(&mut self, index: u32, theirs: Mac, address: IpAddr) {
        let mut vips = self.vips.iter();
        let asked = vips.find(|(_, group)| group.iter().any(|vip| vip.address == address));
        let (Some((vip, _)), Some(mine)) = (asked, self.ground.mac(index)) else {
            return;
        };
        let (vip, now) = (*vip, clock::now());
        let is_recent = |at: &Instant| now < *at + PROBE_PERIOD;
        if self.probed.get(&(vip, theirs)).is_some_and(is_recent) {
            return;
        }
        if self.probed.len() == PROBED_MAX {
            self.probed.retain(|_, at| is_recent(at));
        }
        if self.probed.len() < PROBED_MAX {
            self.probed.insert((vip, theirs), now);
            (self.report)(Report::Probed { vip, theirs, mine });
        }
    }

    /// Tells of a station that claims what is announced here.
    fn handle_foreign(&mut self, theirs: Mac, address: IpAddr) {
        let announced = self.held.iter().filter(|(_, held)| held.is_announced());
        let mut places =
            announced.flat_map(|(vip, held)| held.places.iter().map(move |place| (vip, place)));
        let claimed = places.find(|(_, place)| place.address == address);
        let Some((vip, mine)) =
            claimed.and_then(|(vip, place)| Some((vip, self.ground.mac(place.index)?)))
        else {
            return;
        };
        let now = clock::now();
        let last = self.foreign.get(vip);
        if last.is_some_and(|last| now < *last + FOREIGN_PERIOD) {
            return;
        }
        let vip = *vip;
        self.foreign.insert(vip, now);
        (self.report)(Report::Foreign { vip, theirs, mine });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vips_take_turns_and_share_what_was_looked_up() {
        let vip = |last| VipId(IpAddr::from([192, 0, 2, last]));
        let now = clock::now();
        let mut directed = Directed::default();
        for last in [1, 2, 1, 3] {
            directed.add(vip(last));
        }
        assert_eq!(directed.next(now), Some(vip(1)));
        let (looked, known) = (Some(now), [(7, Vec::new())]);
        directed.looked = looked;
        directed.neighbors = known.clone().into();
        assert_eq!(directed.next(now), Some(vip(2)));
        assert_eq!(directed.neighbors, known.into());
        assert_eq!(directed.next(now + NEIGHBORS_FRESH), Some(vip(3)));
        assert!(directed.neighbors.is_empty(), "it is too old");
        directed.neighbors.insert(7, Vec::new());
        assert!(!directed.is_empty());
        assert_eq!(directed.next(now), None);
        assert!(directed.is_empty(), "nothing is kept for later VIPs");
    }
}
