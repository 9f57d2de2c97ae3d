//! Real links: routers in one process, on real sockets of loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test with real links has real time, and stops at what does not hold"
)]

use bytes::Bytes;
use overlay::io::{Identity, LinkThread, Listeners};
use overlay::{
    Class, ClusterId, Command, Config, Event, Incarnation, Join, Member, MemberSet, Node,
    NodeEvent, PeerId, Profile, Router, View,
};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};
use tests::relay::Relay;

/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);
/// Issue 4: after a cut has healed, one view within this.
const HEALED_WITHIN: Duration = Duration::from_secs(1);

struct Peer {
    id: PeerId,
    thread: LinkThread<Command>,
    words: Receiver<NodeEvent>,
    view: View,
    delivered: Vec<(PeerId, Bytes)>,
}

/// A peer before it starts: the others have to know its key and where it can be reached.
struct Seat {
    identity: Identity,
    listeners: Listeners,
    /// Where others dial it.
    address: SocketAddr,
}

impl Seat {
    fn new() -> Self {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listeners.address();
        Self {
            identity: Identity::generate().unwrap(),
            listeners,
            address,
        }
    }

    fn member(&self) -> Member {
        Member {
            key: self.identity.public_key(),
            name: self.identity.peer_id().to_string(),
            addresses: vec![self.address],
        }
    }
}

impl Peer {
    fn start(seat: Seat, members: &MemberSet) -> Self {
        let id = seat.identity.peer_id();
        let config = Config {
            cluster: ClusterId([7; 16]),
            name: id.to_string(),
            addresses: vec![seat.address],
            profile: Profile::Lan,
            links: None,
            extra_addresses: Vec::new(),
            admit: None,
        };
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let seed = u64::from_be_bytes(id.0);
        let incarnation = Incarnation::default().next(wall.as_secs(), seed as u32);
        let signer = seat.identity.signer();
        let now = Instant::now();
        let router = Router::resume(config, signer, incarnation, Vec::new(), seed, wall, now);
        let (sender, words) = channel();
        let deliver = move |word| sender.send(word).err().map(|error| error.0);
        let machine = Node::new(Some(router), Join::resume([], seed).unwrap());
        let thread = LinkThread::start(seat.listeners, &seat.identity, machine, deliver).unwrap();
        assert!(thread.send(Command::Members(members.clone())).is_ok());
        let view = View {
            number: 0,
            id: Default::default(),
            members: Vec::new(),
        };
        Self {
            id,
            thread,
            words,
            view,
            delivered: Vec::new(),
        }
    }

    /// Hears what has come and, until `end`, what comes, as long as `goes_on` holds.
    fn hear(&mut self, end: Instant, goes_on: impl Fn(&Self) -> bool) {
        while goes_on(self) {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(word) = self.words.recv_timeout(left) else {
                return;
            };
            match word {
                NodeEvent::Overlay(Event::ViewChanged(view)) => self.view = view,
                NodeEvent::Overlay(Event::Delivered { from, payload, .. }) => {
                    self.delivered.push((from, payload));
                }
                _ => {}
            }
        }
    }
}

fn start(seats: Vec<Seat>) -> Vec<Peer> {
    let admitted = seats.iter().map(Seat::member).collect();
    let members = MemberSet {
        admitted,
        ..MemberSet::default()
    };
    seats
        .into_iter()
        .map(|seat| Peer::start(seat, &members))
        .collect()
}

/// Waits until all peers have one view of that size; says how long it took.
fn wait_for_view(peers: &mut [Peer], size: usize, patience: Duration) -> Duration {
    let begin = Instant::now();
    let end = begin + patience;
    loop {
        for peer in &mut *peers {
            let moment = (Instant::now() + Duration::from_millis(1)).min(end);
            peer.hear(moment, |_| true);
        }
        let view = &peers[0].view;
        let is_one = peers.iter().all(|peer| peer.view.id == view.id);
        if is_one && view.members.len() == size {
            return begin.elapsed();
        }
        let views: Vec<_> = peers.iter().map(|peer| &peer.view).collect();
        assert!(
            Instant::now() < end,
            "no view of {size} within {patience:?}: {views:?}"
        );
    }
}

#[test]
fn three_routers_form_one_view_and_a_multicast_reaches_all() {
    let mut peers = start((0..3).map(|_| Seat::new()).collect());
    let took = wait_for_view(&mut peers, 3, PATIENCE);
    println!("one view of three after {took:?}");
    for (number, peer) in peers.iter().enumerate() {
        let payload = Bytes::from(format!("from {number}"));
        assert!(
            peer.thread
                .send(Command::Multicast(Class::Update, None, payload))
                .is_ok()
        );
    }
    let ids: Vec<_> = peers.iter().map(|peer| peer.id).collect();
    for peer in &mut peers {
        peer.hear(Instant::now() + PATIENCE, |peer| peer.delivered.len() < 2);
        for (number, id) in ids.iter().enumerate() {
            let payload = Bytes::from(format!("from {number}"));
            let count = peer
                .delivered
                .iter()
                .filter(|other| **other == (*id, payload.clone()));
            assert_eq!(
                count.count(),
                usize::from(*id != peer.id),
                "{:?}",
                peer.delivered
            );
        }
    }
}

#[test]
fn large_multicasts_come_whole_and_in_numbers() {
    let mut peers = start((0..2).map(|_| Seat::new()).collect());
    wait_for_view(&mut peers, 2, PATIENCE);
    for number in 0..20u8 {
        let payload = Bytes::from(vec![number; 65_000]);
        assert!(
            peers[0]
                .thread
                .send(Command::Multicast(Class::Update, None, payload))
                .is_ok()
        );
    }
    peers[1].hear(Instant::now() + PATIENCE, |peer| peer.delivered.len() < 20);
    let mut numbers: Vec<_> = peers[1]
        .delivered
        .iter()
        .map(|(_, payload)| payload[0])
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert!(
        peers[1]
            .delivered
            .iter()
            .all(|(_, payload)| payload.len() == 65_000)
    );
}

#[test]
fn a_peer_that_stops_is_gone_at_once() {
    let mut peers = start((0..3).map(|_| Seat::new()).collect());
    wait_for_view(&mut peers, 3, PATIENCE);
    peers.pop().unwrap().thread.stop();
    wait_for_view(&mut peers, 2, HEALED_WITHIN);
}

/// Two peers that reach each other only through relays, cut for so long.
fn check_cut(cut: Duration) {
    let mut relays = Vec::new();
    let seats = (0..2).map(|_| {
        let mut seat = Seat::new();
        let relay = Relay::start(seat.address);
        seat.address = relay.address();
        relays.push(relay);
        seat
    });
    let seats = seats.collect();
    let mut peers = start(seats);
    wait_for_view(&mut peers, 2, PATIENCE);

    relays.iter().for_each(Relay::cut);
    let healed = Instant::now() + cut;
    for peer in &mut peers {
        // Each side goes on alone.
        peer.hear(healed, |peer| peer.view.members.len() != 1);
        assert_eq!(peer.view.members.len(), 1, "{:?}", peer.view);
    }
    for peer in &mut peers {
        peer.hear(healed, |_| true);
    }
    relays.iter().for_each(Relay::heal);
    let took = wait_for_view(&mut peers, 2, HEALED_WITHIN);
    println!("after a cut of {cut:?} one view within {took:?}");
}

#[test]
fn a_cut_of_1_s_heals_within_1_s() {
    check_cut(Duration::from_secs(1));
}

#[test]
fn a_cut_of_8_s_heals_within_1_s() {
    check_cut(Duration::from_secs(8));
}

/// Longer than the transport's idle time-out: all connections are new.
#[test]
fn a_cut_of_35_s_heals_within_1_s() {
    check_cut(Duration::from_secs(35));
}
