//! Real connections on loopback between link threads with a machine that only passes on.

use super::*;
use crate::link_event::{
    CloseCode, DialFailed, DialId, Direction, Expected, LinkEvent, LinkId, LinkOutput, Protocol,
    StreamId,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Long enough for a machine that compiles something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
enum Seen {
    Link(LinkId, LinkEvent),
    Failed(DialFailed),
}

/// Commands go down as they are, events go up as they are.
#[derive(Default)]
struct PassOn {
    outputs: VecDeque<MachineOutput<Seen>>,
}

impl Machine for PassOn {
    type Command = LinkOutput;
    type Event = Seen;

    fn handle_link(&mut self, link: LinkId, event: LinkEvent, _: Duration, _: Instant) {
        self.outputs
            .push_back(MachineOutput::Event(Seen::Link(link, event)));
    }

    fn handle_dial_failed(&mut self, failed: DialFailed, _: Duration, _: Instant) {
        self.outputs
            .push_back(MachineOutput::Event(Seen::Failed(failed)));
    }

    fn handle_command(&mut self, command: LinkOutput, _: Duration, _: Instant) {
        self.outputs.push_back(MachineOutput::Link(command));
    }

    fn handle_timeout(&mut self, _: Duration, _: Instant) {}

    fn poll_output(&mut self) -> Option<MachineOutput<Seen>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

struct Peer {
    identity: Identity,
    address: SocketAddr,
    thread: LinkThread<LinkOutput>,
    seen: Receiver<Seen>,
    /// What was seen while something else was awaited.
    earlier: VecDeque<Seen>,
}

impl Peer {
    fn start() -> Self {
        let identity = Identity::generate().unwrap();
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listeners.address();
        let (events, seen) = channel();
        let deliver = move |event| events.send(event).err().map(|error| error.0);
        let thread = LinkThread::start(listeners, &identity, PassOn::default(), deliver).unwrap();
        Self {
            identity,
            address,
            thread,
            seen,
            earlier: VecDeque::new(),
        }
    }

    fn send(&self, output: LinkOutput) {
        let mut output = output;
        let end = Instant::now() + PATIENCE;
        while let Err(SendError::Full(back)) = self.thread.send(output) {
            assert!(Instant::now() < end);
            std::thread::yield_now();
            output = back;
        }
    }

    fn dial(&self, other: &Self, protocol: Protocol) {
        let expected = Expected::Key(other.identity.public_key());
        let address = other.address;
        self.send(LinkOutput::Dial {
            dial: DialId(7),
            address,
            protocol,
            expected,
        });
    }

    /// Waits for an event that `pick` wants; the others are kept.
    fn wait<T>(&mut self, pick: impl Fn(&Seen) -> Option<T>) -> T {
        self.wait_until(Instant::now() + PATIENCE, pick)
            .expect("in time")
    }

    fn wait_until<T>(&mut self, end: Instant, pick: impl Fn(&Seen) -> Option<T>) -> Option<T> {
        for at in 0..self.earlier.len() {
            if let Some(found) = pick(&self.earlier[at]) {
                self.earlier.remove(at);
                return Some(found);
            }
        }
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let seen = self.seen.recv_timeout(left).ok()?;
            if let Some(found) = pick(&seen) {
                return Some(found);
            }
            self.earlier.push_back(seen);
        }
    }

    fn wait_opened(&mut self) -> (LinkId, LinkEvent) {
        self.wait(|seen| match seen {
            Seen::Link(link, event @ LinkEvent::Opened { .. }) => Some((*link, event.clone())),
            _ => None,
        })
    }

    fn wait_closed(&mut self, of: LinkId) -> Option<u32> {
        self.wait(|seen| match seen {
            Seen::Link(link, LinkEvent::Closed { code }) if *link == of => Some(*code),
            _ => None,
        })
    }

    fn wait_event(&mut self, of: LinkId, event: &LinkEvent) {
        self.wait(|seen| match seen {
            Seen::Link(link, seen) if *link == of && seen == event => Some(()),
            _ => None,
        });
    }

    fn wait_nonce(&mut self, of: LinkId) -> [u8; 16] {
        self.wait(|seen| match seen {
            Seen::Link(link, LinkEvent::CanaryNonce(nonce)) if *link == of => Some(*nonce),
            _ => None,
        })
    }
}

/// Two peers and a connection that `a` dialed.
fn connected(protocol: Protocol) -> (Peer, LinkId, Peer, LinkId) {
    let (mut a, mut b) = (Peer::start(), Peer::start());
    a.dial(&b, protocol);
    let (at_a, _) = a.wait_opened();
    let (at_b, _) = b.wait_opened();
    (a, at_a, b, at_b)
}

#[test]
fn a_handshake_proves_both_keys_and_both_ends_share_key_material() {
    for protocol in [
        Protocol::Link,
        Protocol::Beat,
        Protocol::Join,
        Protocol::Evicted,
    ] {
        let (mut a, mut b) = (Peer::start(), Peer::start());
        a.dial(&b, protocol);
        let (
            _,
            LinkEvent::Opened {
                key,
                protocol: named,
                dialed,
                exporter,
                remote,
            },
        ) = a.wait_opened()
        else {
            unreachable!()
        };
        assert_eq!(key, Some(b.identity.public_key()));
        assert_eq!(
            (named, dialed, remote),
            (protocol, Some(DialId(7)), b.address)
        );
        assert_ne!(exporter, [0; 32]);
        let (
            _,
            LinkEvent::Opened {
                key,
                protocol: named,
                dialed,
                exporter: other,
                remote,
            },
        ) = b.wait_opened()
        else {
            unreachable!()
        };
        assert_eq!(key, Some(a.identity.public_key()));
        assert_eq!((named, dialed, remote), (protocol, None, a.address));
        assert_eq!(exporter, other);
        a.thread.stop();
        b.thread.stop();
    }
}

#[test]
fn a_dialer_closes_when_another_key_answers() {
    let (mut a, mut b) = (Peer::start(), Peer::start());
    let wrong = Identity::generate().unwrap().public_key();
    for expected in [
        Expected::Key(wrong),
        Expected::Fingerprint(wrong.fingerprint()),
    ] {
        let (dial, address, protocol) = (DialId(1), b.address, Protocol::Link);
        a.send(LinkOutput::Dial {
            dial,
            address,
            protocol,
            expected,
        });
        let reason = a.wait(|seen| match seen {
            Seen::Failed(failed) => Some(failed.reason.clone()),
            Seen::Link(..) => None,
        });
        assert!(reason.contains("another peer"), "{reason}");
        let (at_b, _) = b.wait_opened();
        assert_eq!(b.wait_closed(at_b), Some(CloseCode::NotWanted as u32));
    }
}

#[test]
fn a_dial_to_nobody_fails() {
    let mut a = Peer::start();
    let nobody = Listeners::bind("127.0.0.1:0".parse().unwrap())
        .unwrap()
        .address();
    for protocol in [Protocol::Link, Protocol::Canary] {
        let (dial, address, expected) = (DialId(9), nobody, Expected::Nothing);
        a.send(LinkOutput::Dial {
            dial,
            address,
            protocol,
            expected,
        });
        let dial = a.wait(|seen| match seen {
            Seen::Failed(failed) => Some(failed.dial),
            Seen::Link(..) => None,
        });
        assert_eq!(dial, DialId(9));
    }
}

#[test]
fn datagrams_pass_both_ways_once_accepted_and_two_at_a_time() {
    let (mut a, at_a, mut b, at_b) = connected(Protocol::Link);
    let early = Bytes::from_static(b"early");
    a.send(LinkOutput::Datagram {
        link: at_a,
        data: early.clone(),
    });
    a.send(LinkOutput::Accept(at_a));
    // What came before is read when the other side is accepted, not earlier.
    let is_early =
        |seen: &Seen| matches!(seen, Seen::Link(_, LinkEvent::Datagram(_))).then_some(());
    let soon = Instant::now() + Duration::from_millis(100);
    assert_eq!(b.wait_until(soon, is_early), None);
    b.send(LinkOutput::Accept(at_b));
    b.wait_event(at_b, &LinkEvent::Datagram(early));

    for round in 0..50u8 {
        for number in 0..2u8 {
            // The first is one of two already.
            if (round, number) == (0, 1) {
                continue;
            }
            let data = Bytes::from(vec![round * 2 + number; 1100]);
            a.send(LinkOutput::Datagram { link: at_a, data });
        }
        a.wait_event(at_a, &LinkEvent::Writable);
        let data = Bytes::from(vec![round * 2; 1100]);
        b.wait_event(at_b, &LinkEvent::Datagram(data));
    }
    b.send(LinkOutput::Datagram {
        link: at_b,
        data: Bytes::from_static(b"back"),
    });
    a.wait_event(at_a, &LinkEvent::Datagram(Bytes::from_static(b"back")));
    assert_eq!(
        a.thread
            .counters()
            .datagrams_dropped
            .load(Ordering::Relaxed),
        0
    );
}

#[test]
fn what_does_not_fit_is_counted_and_the_size_that_fits_is_told() {
    let (mut a, at_a, _b, _) = connected(Protocol::Link);
    let mtu = a.wait(|seen| match seen {
        Seen::Link(link, LinkEvent::Mtu(mtu)) if *link == at_a => Some(*mtu),
        _ => None,
    });
    // Overlay protocol section 2: a DATA frame always fits.
    assert!(mtu >= 1130, "{mtu}");
    a.send(LinkOutput::Datagram {
        link: at_a,
        data: vec![0; 3000].into(),
    });
    let end = Instant::now() + PATIENCE;
    while a
        .thread
        .counters()
        .datagrams_dropped
        .load(Ordering::Relaxed)
        == 0
    {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
}

fn open(peer: &mut Peer, link: LinkId, direction: Direction) -> StreamId {
    peer.send(LinkOutput::OpenStream {
        link,
        number: 3,
        direction,
    });
    peer.wait(|seen| match seen {
        Seen::Link(of, LinkEvent::StreamOpened { number: 3, stream }) if *of == link => {
            Some(*stream)
        }
        _ => None,
    })
}

fn wait_stream(peer: &mut Peer, of: LinkId) -> (StreamId, Bytes, bool) {
    peer.wait(|seen| match seen {
        Seen::Link(
            link,
            LinkEvent::Stream {
                stream,
                data,
                finished,
            },
        ) if *link == of => Some((*stream, data.clone(), *finished)),
        _ => None,
    })
}

#[test]
fn a_stream_of_10_mb_waits_for_acceptance_and_arrives_whole() {
    const SIZE: usize = 10 * 1024 * 1024;
    const PIECE: usize = 64 * 1024;
    let (mut a, at_a, mut b, at_b) = connected(Protocol::Link);
    let stream = open(&mut a, at_a, Direction::One);
    let mut sent = 0;
    let mut send = |a: &Peer| {
        let data: Vec<u8> = (sent..sent + PIECE).map(|at| (at / 7) as u8).collect();
        sent += PIECE;
        let finish = sent == SIZE;
        a.send(LinkOutput::StreamData {
            link: at_a,
            stream,
            data: data.into(),
            finish,
        });
        sent
    };
    let is_writable = |seen: &Seen| match seen {
        Seen::Link(_, LinkEvent::StreamWritable(of)) if *of == stream => Some(()),
        _ => None,
    };
    // The stranger's window fills, then the transport's own; then nothing moves.
    let mut so_far = send(&a);
    while a
        .wait_until(Instant::now() + Duration::from_millis(500), is_writable)
        .is_some()
    {
        so_far = send(&a);
    }
    assert!(so_far < SIZE, "{so_far}");
    let mut received = 0;
    while let Some(size) = b.wait_until(Instant::now(), |seen| match seen {
        Seen::Link(_, LinkEvent::Stream { data, .. }) => Some(data.len()),
        _ => None,
    }) {
        received += size;
    }
    // One read may bring a whole window more.
    assert!(received <= 16 * 1024, "{received}");

    b.send(LinkOutput::Accept(at_b));
    let mut finished = false;
    while !finished {
        if so_far < SIZE && a.wait_until(Instant::now(), is_writable).is_some() {
            so_far = send(&a);
        }
        let soon = Instant::now() + Duration::from_millis(5);
        if let Some((data, end)) = b.wait_until(soon, |seen| match seen {
            Seen::Link(_, LinkEvent::Stream { data, finished, .. }) => {
                Some((data.clone(), *finished))
            }
            _ => None,
        }) {
            let right = data
                .iter()
                .enumerate()
                .all(|(at, x)| *x == ((received + at) / 7) as u8);
            assert!(right, "at {received}");
            received += data.len();
            finished = end;
        }
    }
    assert_eq!(received, SIZE);
}

#[test]
fn both_ends_write_to_a_stream_of_both_directions() {
    let (mut a, at_a, mut b, at_b) = connected(Protocol::Join);
    let stream = open(&mut a, at_a, Direction::Both);
    let data = Bytes::from_static(b"ask");
    a.send(LinkOutput::StreamData {
        link: at_a,
        stream,
        data,
        finish: true,
    });
    let (at_other, data, _) = wait_stream(&mut b, at_b);
    assert_eq!((at_other, &data[..]), (stream, &b"ask"[..]));
    let data = Bytes::from_static(b"answer");
    b.send(LinkOutput::StreamData {
        link: at_b,
        stream,
        data,
        finish: true,
    });
    assert_eq!(&wait_stream(&mut a, at_a).1[..], b"answer");
    assert!(wait_stream(&mut a, at_a).2);
}

#[test]
fn the_reason_of_a_close_reaches_the_other_side() {
    for code in [CloseCode::Evicted, CloseCode::Excluded, CloseCode::Unknown] {
        let (a, at_a, mut b, at_b) = connected(Protocol::Link);
        a.send(LinkOutput::Close { link: at_a, code });
        assert_eq!(b.wait_closed(at_b), Some(code as u32));
    }
}

#[test]
fn a_canary_exchanges_nonces_and_tells_the_end_of_the_other_process() {
    let (mut a, mut b) = (Peer::start(), Peer::start());
    a.dial(&b, Protocol::Canary);
    let (at_a, opened) = a.wait_opened();
    let expected = LinkEvent::Opened {
        key: None,
        protocol: Protocol::Canary,
        dialed: Some(DialId(7)),
        exporter: [0; 32],
        remote: b.address,
    };
    assert_eq!(opened, expected);
    let (at_b, _) = b.wait_opened();
    a.send(LinkOutput::CanaryNonce {
        link: at_a,
        nonce: [1; 16],
    });
    assert_eq!(b.wait_nonce(at_b), [1; 16]);
    b.send(LinkOutput::CanaryNonce {
        link: at_b,
        nonce: [2; 16],
    });
    assert_eq!(a.wait_nonce(at_a), [2; 16]);
    b.thread.stop();
    assert_eq!(a.wait_closed(at_a), None);
}

#[test]
fn a_close_ends_a_canary() {
    let (a, at_a, mut b, at_b) = connected(Protocol::Canary);
    a.send(LinkOutput::Close {
        link: at_a,
        code: CloseCode::Done,
    });
    assert_eq!(b.wait_closed(at_b), None);
}

#[test]
fn a_stop_says_goodbye_on_every_connection() {
    let (a, _, mut b, at_b) = connected(Protocol::Link);
    a.thread.stop();
    assert_eq!(b.wait_closed(at_b), Some(CloseCode::Done as u32));
}

#[test]
fn canaries_that_name_no_link_are_few_and_short() {
    let a = Peer::start();
    let mut canaries: Vec<_> = (0..70)
        .map(|_| TcpStream::connect(a.address).unwrap())
        .collect();
    let began = Instant::now();
    for canary in &mut canaries {
        canary.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    // Those above the limit are closed at once, the others when their time is over.
    assert_eq!(canaries[69].read(&mut [0]).unwrap(), 0);
    assert!(began.elapsed() < Duration::from_millis(1900));
    for canary in &mut canaries {
        assert_eq!(canary.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(
        a.thread.counters().canaries_closed.load(Ordering::Relaxed),
        70
    );
}

#[test]
fn a_link_thread_that_hangs_is_seen_to_stand_still() {
    let hang = Duration::from_millis(300);
    let identity = Identity::generate().unwrap();
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (began, hangs) = channel();
    let machine = Hanging { hang, began };
    let thread = LinkThread::start(listeners, &identity, machine, |()| None).unwrap();
    thread.send(()).unwrap();
    hangs.recv_timeout(PATIENCE).unwrap();
    let end = Instant::now() + PATIENCE;
    while thread.stands_still() < hang / 2 {
        assert!(Instant::now() < end, "it hangs and is not seen to");
        std::thread::yield_now();
    }
    while thread.stands_still() >= hang / 2 {
        assert!(Instant::now() < end, "it goes on and is not seen to");
        std::thread::yield_now();
    }
}

/// A machine that takes so long for each command.
struct Hanging {
    hang: Duration,
    began: std::sync::mpsc::Sender<()>,
}

impl Machine for Hanging {
    type Command = ();
    type Event = ();

    fn handle_link(&mut self, _: LinkId, _: LinkEvent, _: Duration, _: Instant) {}

    fn handle_dial_failed(&mut self, _: DialFailed, _: Duration, _: Instant) {}

    fn handle_command(&mut self, (): (), _: Duration, _: Instant) {
        self.began.send(()).unwrap();
        std::thread::sleep(self.hang);
    }

    fn handle_timeout(&mut self, _: Duration, _: Instant) {}

    fn poll_output(&mut self) -> Option<MachineOutput<()>> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

#[test]
fn packets_wait_while_the_peer_thread_is_late_and_none_of_a_stream_is_lost() {
    let (mut a, b) = (Peer::start(), Identity::generate().unwrap());
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listeners.address();
    // A peer thread that takes one event and then none until it is asked to.
    let (events, seen) = std::sync::mpsc::sync_channel(1);
    let deliver = move |event| {
        events.try_send(event).err().map(|error| match error {
            std::sync::mpsc::TrySendError::Full(event)
            | std::sync::mpsc::TrySendError::Disconnected(event) => event,
        })
    };
    let thread = LinkThread::start(listeners, &b, PassOn::default(), deliver).unwrap();
    let expected = Expected::Key(b.public_key());
    let (dial, protocol) = (DialId(1), Protocol::Link);
    a.send(LinkOutput::Dial {
        dial,
        address,
        protocol,
        expected,
    });
    let (at_a, _) = a.wait_opened();
    // This side may hear of the connection later than the one that dialed.
    let Seen::Link(at_b, LinkEvent::Opened { .. }) = seen.recv_timeout(PATIENCE).unwrap() else {
        panic!("a connection begins with its opening");
    };
    thread.send(LinkOutput::Accept(at_b)).unwrap();
    let stream = open(&mut a, at_a, Direction::One);
    let data = Bytes::from(vec![5; 200_000]);
    a.send(LinkOutput::StreamData {
        link: at_a,
        stream,
        data,
        finish: true,
    });
    let end = Instant::now() + PATIENCE;
    while thread.counters().peer_late.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    let mut received = 0;
    loop {
        if let Seen::Link(_, LinkEvent::Stream { data, finished, .. }) =
            seen.recv_timeout(PATIENCE).unwrap()
        {
            received += data.len();
            if finished {
                break;
            }
        }
    }
    assert_eq!(received, 200_000);
}
