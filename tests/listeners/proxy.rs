//! Clients behind a proxy, which says who they are.

use crate::server::{
    PATIENCE, PROXY, Server, question, receive, receive_answer, receive_datagram, send, update,
};
use dnsd::serve::Count;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use zones::Rcode;

/// A header that names 192.0.2.1.
fn header() -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x34, 0, 53];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", &addresses[..]].concat()
}

/// Who has sent the next update, which is answered.
fn next_source(server: &Server) -> SocketAddr {
    let request = server.updates.recv_timeout(PATIENCE).unwrap();
    request.reply.send(Rcode::NOERROR);
    request.sender.address
}

#[test]
fn who_is_named_is_the_client_and_the_proxy_gets_the_answer() {
    let server = Server::start("127.0.0.1:0");
    let socket = UdpSocket::bind((PROXY, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // The zone takes updates from loopback alone: the client's address counts, not the proxy's.
    let named = [header(), update(1)].concat();
    socket.send_to(&named, server.address).unwrap();
    assert_eq!(receive_datagram(&socket).0.rcode, Rcode::REFUSED);
    socket.send_to(&update(2), server.address).unwrap();
    assert_eq!(next_source(&server), socket.local_addr().unwrap());
    assert_eq!(receive_datagram(&socket).0.rcode, Rcode::NOERROR);

    let mut stream = server.connect_from(PROXY);
    stream.write_all(&header()).unwrap();
    send(&mut stream, &update(3));
    assert_eq!(receive_answer(&mut stream).rcode, Rcode::REFUSED);
    send(&mut stream, &question(4));
    assert_eq!(receive_answer(&mut stream).id, 4);
    let mut stream = server.connect_from(PROXY);
    send(&mut stream, &update(5));
    assert_eq!(next_source(&server).ip().to_string(), PROXY);
    assert_eq!(receive_answer(&mut stream).rcode, Rcode::NOERROR);
}

#[test]
fn a_header_may_come_byte_by_byte_and_one_from_elsewhere_is_none() {
    let server = Server::start("127.0.0.1:0");
    let mut stream = server.connect_from(PROXY);
    stream.set_nodelay(true).unwrap();
    for byte in header() {
        stream.write_all(&[byte]).unwrap();
    }
    send(&mut stream, &question(1));
    assert_eq!(receive_answer(&mut stream).id, 1);
    // A length of 3 338 bytes, which never come.
    let mut stream = server.connect();
    stream.write_all(&header()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(receive(&mut stream), None);
}

#[test]
fn a_bad_header_is_no_request() {
    let server = Server::start("127.0.0.1:0");
    let mut bad = header();
    bad[12] = 0x11;
    let mut stream = server.connect_from(PROXY);
    stream.write_all(&bad).unwrap();
    assert_eq!(receive(&mut stream), None);
    server.await_count(Count::Malformed, 1);
    let socket = UdpSocket::bind((PROXY, 0)).unwrap();
    socket
        .send_to(&[bad, question(1)].concat(), server.address)
        .unwrap();
    server.await_count(Count::Malformed, 2);
}
