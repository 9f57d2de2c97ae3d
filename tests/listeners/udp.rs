//! Datagrams.

use crate::server::{
    NSID, QUEUE_SIZE, Server, question, receive_answer, receive_datagram, send, udp_client, update,
};
use dnsd::io::tcp::Limits;
use dnsd::serve::Count;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use tests::question::{Question, UPDATE};
use zones::Rcode;
use zones::rtype::Rtype;

#[test]
fn answers_leave_from_the_asked_address() {
    let check = |listen: &str, asked: &[&str]| {
        let server = Server::start(listen);
        for asked in asked {
            let asked = SocketAddr::new(asked.parse::<IpAddr>().unwrap(), server.address.port());
            let client = udp_client(asked);
            client.send_to(&question(3), asked).unwrap();
            let (answer, from) = receive_datagram(&client);
            assert_eq!((answer.id, from), (3, asked));
            // The answer to an update comes later, from another thread.
            client.send_to(&update(4), asked).unwrap();
            let request = server.updates.recv().unwrap();
            assert_eq!(request.sender.address, client.local_addr().unwrap());
            assert!(!request.sender.is_address_proven);
            assert_eq!(request.message, update(4));
            request.reply.send(Rcode::YXDOMAIN);
            let (answer, from) = receive_datagram(&client);
            assert_eq!((answer.rcode, from), (Rcode::YXDOMAIN, asked));
            assert_eq!(answer.question.as_deref(), Some("example. IN SOA"));
        }
    };
    check("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.9.8.7"]);
    check("127.0.0.1:0", &["127.0.0.1"]);
    check("[::]:0", &["::1"]);
}

#[test]
fn who_asks_which_server_it_is_is_told_by_udp_and_tcp() {
    let server = Server::start("127.0.0.1:0");
    let mut asks = Question::new("www.example.".parse().unwrap(), Rtype::A);
    asks.edns = Some((1232, 0, 0));
    asks.options = vec![0, 3, 0, 0];
    let expected: String = NSID.bytes().map(|byte| format!("{byte:02x}")).collect();
    let expected = Some(format!("OPT 1232 3={expected}"));
    let client = udp_client(server.address);
    client.send_to(&asks.to_wire(), server.address).unwrap();
    assert_eq!(receive_datagram(&client).0.opt, expected);
    let mut stream = server.connect();
    send(&mut stream, &asks.to_wire());
    assert_eq!(receive_answer(&mut stream).opt, expected);
}

#[test]
fn bursts_are_answered_and_counted() {
    let server = Server::start("127.0.0.1:0");
    let clients: Vec<_> = (0..10).map(|_| udp_client(server.address)).collect();
    for id in 0..50 {
        for client in &clients {
            client.send_to(&question(id), server.address).unwrap();
        }
    }
    for client in &clients {
        let mut ids: Vec<u16> = (0..50).map(|_| receive_datagram(client).0.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..50).collect::<Vec<_>>());
    }
    server.await_count(Count::RequestsUdp, 500);
    assert_eq!(server.listeners.counts().rcode(Rcode::NOERROR), 500);
}

#[test]
fn updates_that_nobody_takes_are_not_answered() {
    let server = Server::start("127.0.0.1:0");
    let client = udp_client(server.address);
    let mut update = Question::new("example.".parse().unwrap(), Rtype::SOA);
    update.flags = UPDATE;
    update.edns = Some((1232, 0, 0));
    for id in 0..=QUEUE_SIZE as u16 {
        update.id = id;
        client.send_to(&update.to_wire(), server.address).unwrap();
    }
    server.await_count(Count::UpdatesOverflowed, 1);
    // The next answer is that to another question: their client sends them again.
    client.send_to(&question(9_999), server.address).unwrap();
    assert_eq!(receive_datagram(&client).0.id, 9_999);
    server.await_count(Count::UpdatesTaken, QUEUE_SIZE as u64);
}

#[test]
fn too_long_requests_are_dropped() {
    let server = Server::start("127.0.0.1:0");
    let client = udp_client(server.address);
    client.send_to(&[0; 5_000], server.address).unwrap();
    server.await_count(Count::Malformed, 1);
    server.await_count(Count::Dropped, 1);
}

#[test]
fn an_address_in_use_is_named() {
    let check = |address: SocketAddr, transport: &str| {
        let error = Server::try_start(&address.to_string(), Limits::default(), "");
        let error = error.map(|_| ()).unwrap_err().to_string();
        let expected =
            format!("cannot listen on {address} ({transport}): it is in use by another program");
        assert_eq!(error, expected);
    };
    // A second server, whose sockets could share the port.
    let server = Server::start("127.0.0.1:0");
    check(server.address, "UDP");
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    check(other.local_addr().unwrap(), "UDP");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    check(other.local_addr().unwrap(), "TCP");
}

#[test]
fn a_stopped_server_frees_its_port() {
    let server = Server::start("127.0.0.1:0");
    let address = server.address;
    server.listeners.stop();
    let start = std::time::Instant::now();
    // The TCP listener goes with its task.
    while let Err(error) = Server::try_start(&address.to_string(), Limits::default(), "") {
        assert!(start.elapsed() < crate::server::PATIENCE, "{error}");
    }
}
