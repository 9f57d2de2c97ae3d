//! Response rate limiting, as clients see it.

use crate::server::{PATIENCE, Server, receive_answer, secrets, send};
use dnsd::serve::Count;
use dnsd::serve::rate::RateLimit;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tests::answer::Answer;
use tests::deadline::until;
use tests::question::Question;
use zones::Rcode;
use zones::rtype::Rtype;

const RATE: u32 = 10;
const TRUNCATED: u16 = 0x0200;

fn server(rate: u32, slip: u8) -> (Server, SocketAddr) {
    let server = Server::with_rate_limit(RateLimit {
        responses_per_second: NonZeroU32::new(rate).unwrap(),
        slip,
        exempt_clients: vec!["127.9.0.0/24".parse().unwrap()],
    });
    let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    (server, address)
}

fn client_at(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks so often, each time for another name that does not exist; all answers that come.
fn flood(server: &Server, address: SocketAddr, from: &UdpSocket, count: u64) -> Vec<Answer> {
    let counted = |count| server.listeners.counts().get(count);
    let before = counted(Count::RequestsUdp);
    let dropped_before = counted(Count::RateDropped);
    for id in 0..count {
        let qname = format!("n{id}.example.").parse().unwrap();
        let mut question = Question::new(qname, Rtype::A);
        question.id = id as u16;
        from.send_to(&question.to_wire(), address).unwrap();
    }
    server.await_count(Count::RequestsUdp, before + count);
    let answered = count - (counted(Count::RateDropped) - dropped_before);
    let mut buffer = [0; 2048];
    (0..answered)
        .map(|_| {
            let size = from.recv(&mut buffer).unwrap();
            Answer::read(&buffer[..size]).unwrap()
        })
        .collect()
}

#[test]
fn a_network_that_asks_too_much_gets_its_rate_and_no_other_pays_for_it() {
    let (server, address) = server(RATE, 2);
    let start = Instant::now();
    let answers = flood(&server, address, &client_at("127.0.0.1"), 400);
    // A second's worth at once, and what the rate gives meanwhile.
    let most = u64::from(RATE) * (start.elapsed().as_secs() + 2);
    let (truncated, full): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.flags & TRUNCATED != 0);
    let full_count = full.len() as u64;
    assert!(
        (u64::from(RATE)..=most).contains(&full_count),
        "{full_count}"
    );
    assert!(full.iter().all(|answer| answer.rcode == Rcode::NXDOMAIN));
    let counts = server.listeners.counts();
    let (dropped, slipped) = (
        counts.get(Count::RateDropped),
        counts.get(Count::RateSlipped),
    );
    assert_eq!(truncated.len() as u64, slipped);
    assert_eq!(
        dropped,
        slipped + (dropped + slipped) % 2,
        "every second one slips"
    );
    assert_eq!(full_count + slipped + dropped, 400);
    for answer in truncated {
        assert_eq!(answer.rcode, Rcode::NOERROR);
        assert!(answer.question.is_some());
        assert!(answer.sections.iter().all(Vec::is_empty));
    }
    // Another network, one that is exempt, and TCP.
    let answers = flood(&server, address, &client_at("127.0.1.1"), u64::from(RATE));
    assert_eq!(answers.len() as u64, u64::from(RATE));
    assert!(answers.iter().all(|answer| answer.rcode == Rcode::NXDOMAIN));
    let answers = flood(&server, address, &client_at("127.9.0.1"), 100);
    assert!(answers.iter().all(|answer| answer.rcode == Rcode::NXDOMAIN));
    let mut stream = server.connect();
    for _ in 0..50 {
        let question = Question::new("n.example.".parse().unwrap(), Rtype::A);
        send(&mut stream, &question.to_wire());
        assert_eq!(receive_answer(&mut stream).rcode, Rcode::NXDOMAIN);
    }
}

#[test]
fn who_shows_a_good_cookie_is_never_limited_and_a_slip_gives_one() {
    let (_server, address) = server(1, 1);
    let client = client_at("127.0.0.1");
    let mut question = Question::new("n.example.".parse().unwrap(), Rtype::A);
    let mut ask = |options: Vec<u8>| {
        question.edns = Some((1232, 0, 0));
        question.options = options;
        client.send_to(&question.to_wire(), address).unwrap();
        let mut buffer = [0; 2048];
        let size = client.recv(&mut buffer).unwrap();
        Answer::read(&buffer[..size]).unwrap()
    };
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ip = client.local_addr().unwrap().ip();
    let cookie = |wall: Duration| {
        let cookie = secrets().make(*b"clientco", ip, wall.as_secs() as u32);
        [&[0, 10, 0, 24][..], &cookie].concat()
    };
    // One that is too old proves nothing.
    let old = cookie(wall - Duration::from_secs(7_200));
    let limited = until(PATIENCE, "a response is truncated", || {
        Some(ask(old.clone())).filter(|answer| answer.flags & TRUNCATED != 0)
    });
    assert!(limited.opt.unwrap().contains(" 10="), "it is replaced");
    for _ in 0..100 {
        let answer = ask(cookie(wall));
        assert_eq!(
            (answer.flags & TRUNCATED, answer.rcode),
            (0, Rcode::NXDOMAIN)
        );
    }
}
