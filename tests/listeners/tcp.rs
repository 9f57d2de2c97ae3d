//! Connections.

use crate::server::{Server, question, receive, receive_answer, send, update};
use dnsd::io::tcp::Limits;
use dnsd::serve::Count;
use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;
use tests::question::{Question, UPDATE};
use zones::Rcode;
use zones::rtype::Rtype;

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn answers_come_as_they_are_ready() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = server.connect();
    send(&mut stream, &update(1));
    for id in 2..20 {
        send(&mut stream, &question(id));
    }
    for id in 2..20 {
        assert_eq!(receive_answer(&mut stream).id, id);
    }
    let request = server.updates.recv().unwrap();
    assert!(request.sender.is_address_proven);
    request.reply.send(Rcode::NXRRSET);
    let answer = receive_answer(&mut stream);
    assert_eq!((answer.id, answer.rcode), (1, Rcode::NXRRSET));
    let counts = server.listeners.counts();
    assert_eq!(counts.get(Count::RequestsTcp), 19);
    assert_eq!(counts.rcode(Rcode::NXRRSET), 1);
    assert_eq!(server.listeners.connections(), 1);
}

#[test]
fn requests_may_come_byte_by_byte() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = server.connect();
    let message = question(1);
    let framed = [&[0, message.len() as u8], &message[..]].concat();
    for byte in framed.iter().chain(&framed) {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(receive_answer(&mut stream).id, 1);
    assert_eq!(receive_answer(&mut stream).id, 1);
}

#[test]
fn who_asks_no_more_still_gets_answers() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = server.connect();
    send(&mut stream, &update(1));
    send(&mut stream, &question(2));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive_answer(&mut stream).id, 2);
    server.updates.recv().unwrap().reply.send(Rcode::NOERROR);
    assert_eq!(receive_answer(&mut stream).id, 1);
    assert_eq!(receive(&mut stream), None);
}

#[test]
fn idle_connections_are_closed_but_not_waiting_ones() {
    let limits = Limits {
        timeout_idle: SHORT,
        ..Limits::default()
    };
    let server = Server::with_limits(limits);
    let mut waiting = server.connect();
    send(&mut waiting, &update(1));
    let request = server.updates.recv().unwrap();
    let mut idle = server.connect();
    assert_eq!(receive(&mut idle), None);
    let mut unfinished = server.connect();
    unfinished.write_all(&[0, 40, 1]).unwrap();
    assert_eq!(receive(&mut unfinished), None);
    server.await_count(Count::TcpIdle, 2);
    // It was open for longer than the others.
    request.reply.send(Rcode::NOERROR);
    assert_eq!(receive_answer(&mut waiting).id, 1);
    assert_eq!(receive(&mut waiting), None);
    server.await_count(Count::TcpIdle, 3);
}

#[test]
fn connections_over_the_limits_are_closed_at_once() {
    let check = |limits, count| {
        let server = Server::with_limits(limits);
        let mut first = server.connect();
        send(&mut first, &question(1));
        assert_eq!(receive_answer(&mut first).id, 1);
        // A request that waits for its answer: the connection does not give way.
        send(&mut first, &update(2));
        let request = server.updates.recv().unwrap();
        let mut second = server.connect();
        assert_eq!(receive(&mut second), None);
        server.await_count(count, 1);
        assert_eq!(server.listeners.connections(), 1);
        request.reply.send(Rcode::NOERROR);
        assert_eq!(receive_answer(&mut first).id, 2);
        // A place that was given back can be taken again.
        drop(first);
        let start = std::time::Instant::now();
        while server.listeners.connections() > 0 {
            assert!(start.elapsed() < crate::server::PATIENCE);
            std::thread::yield_now();
        }
        let mut third = server.connect();
        send(&mut third, &question(3));
        assert_eq!(receive_answer(&mut third).id, 3);
    };
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    check(limits, Count::TcpRefusedTotal);
    let limits = Limits {
        connections_per_address_max: 1,
        ..Limits::default()
    };
    check(limits, Count::TcpRefusedAddress);
}

#[test]
fn who_only_holds_connections_keeps_nobody_out() {
    let limits = Limits {
        connections_max: 10,
        connections_per_address_max: 2,
        ..Limits::default()
    };
    let server = Server::with_limits(limits);
    // Five addresses take all there are, and say nothing or half of something.
    let mut idle: Vec<_> = (0..10)
        .map(|i| server.connect_from(&format!("127.0.0.{}", 2 + i / 2)))
        .collect();
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(&[0, 40, 1]).unwrap();
    }
    server.await_count(Count::TcpAccepted, 10);
    for id in 0..20 {
        let mut stream = server.connect();
        send(&mut stream, &question(id));
        assert_eq!(receive_answer(&mut stream).id, id);
        drop(stream);
        // They come back as soon as they have lost one.
        let lost = usize::from(id) % idle.len();
        drop(std::mem::replace(
            &mut idle[lost],
            server.connect_from("127.0.0.7"),
        ));
    }
    let counts = server.listeners.counts();
    assert_eq!(counts.get(Count::TcpRefusedTotal), 0);
    assert!(counts.get(Count::TcpGaveWay) > 0);
    assert!(server.listeners.connections() <= 10);
}

#[test]
fn the_oldest_idle_connection_is_closed_for_a_new_one() {
    let limits = Limits {
        connections_max: 2,
        ..Limits::default()
    };
    let server = Server::with_limits(limits);
    let mut waiting = server.connect();
    send(&mut waiting, &update(1));
    let request = server.updates.recv().unwrap();
    let mut idle = server.connect();
    send(&mut idle, &question(2));
    assert_eq!(receive_answer(&mut idle).id, 2);
    let mut new = server.connect();
    assert_eq!(receive(&mut idle), None);
    server.await_count(Count::TcpGaveWay, 1);
    send(&mut new, &question(3));
    assert_eq!(receive_answer(&mut new).id, 3);
    request.reply.send(Rcode::NOERROR);
    assert_eq!(receive_answer(&mut waiting).id, 1);
}

#[test]
fn who_asks_is_told_how_long_a_connection_may_be_idle() {
    let check = |connections_max, expected: &str| {
        let limits = Limits {
            connections_max,
            ..Limits::default()
        };
        let server = Server::with_limits(limits);
        let mut stream = server.connect();
        let mut asks = Question::new("www.example.".parse().unwrap(), Rtype::A);
        asks.edns = Some((1232, 0, 0));
        send(&mut stream, &asks.to_wire());
        assert_eq!(receive_answer(&mut stream).opt.unwrap(), "OPT 1232");
        // RFC 7828: the option edns-tcp-keepalive, empty.
        asks.options = vec![0, 11, 0, 0];
        send(&mut stream, &asks.to_wire());
        assert_eq!(receive_answer(&mut stream).opt.unwrap(), expected);
        // An answer that comes later.
        asks.flags = UPDATE;
        asks.qname = "example.".parse().unwrap();
        asks.qtype = Rtype::SOA;
        send(&mut stream, &asks.to_wire());
        server.updates.recv().unwrap().reply.send(Rcode::NOERROR);
        assert_eq!(receive_answer(&mut stream).opt.unwrap(), expected);
    };
    // Ten seconds; none where this one is all that there may be.
    check(1_000, "OPT 1232 11=0064");
    check(1, "OPT 1232 11=0000");
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = server.connect();
    send(&mut stream, &question(1));
    send(&mut stream, b"short");
    send(&mut stream, &question(2));
    assert_eq!(receive_answer(&mut stream).id, 1);
    assert_eq!(receive(&mut stream), None);
}

#[test]
fn stopping_closes_connections() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = server.connect();
    send(&mut stream, &question(1));
    assert_eq!(receive_answer(&mut stream).id, 1);
    server.listeners.stop();
    assert_eq!(receive(&mut stream), None);
}
