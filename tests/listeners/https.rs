//! DNS over HTTPS. HTTP/1.1 is spoken here byte by byte; HTTP/2 by kdig and curl, end to end.

use crate::server::{question, update};
use crate::tls::{PADDING, TlsServer, TlsStream, connect_to};
use data_encoding::BASE64URL_NOPAD;
use dnsd::io::tcp::Limits;
use dnsd::serve::Count;
use std::io::{Read, Write};
use std::time::Duration;
use tests::answer::Answer;
use tests::question::Question;
use zones::Rcode;
use zones::rtype::Rtype;

/// A response of HTTP.
struct Http {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Http {
    fn has(&self, line: &str) -> bool {
        self.head
            .to_ascii_lowercase()
            .contains(&format!("\r\n{line}\r\n"))
    }
}

fn connect(tls: &mut TlsServer) -> TlsStream {
    tls.client.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.shake_hands(connect_to(tls.addresses().https[0]))
}

fn get(message: &[u8]) -> Vec<u8> {
    let text = BASE64URL_NOPAD.encode(message);
    format!("GET /dns-query?dns={text} HTTP/1.1\r\nhost: ns1.example\r\n\r\n").into()
}

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let size = body.len();
    let head = format!(
        "POST /dns-query HTTP/1.1\r\nhost: ns1.example\r\ncontent-type: {content_type}\r\n\
         content-length: {size}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn post_message(body: &[u8]) -> Vec<u8> {
    post("application/dns-message", body)
}

fn exchange(stream: &mut TlsStream, request: &[u8]) -> Http {
    stream.write_all(request).unwrap();
    stream.flush().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let size = head.to_ascii_lowercase();
    let size = size.split_once("content-length: ").unwrap().1;
    let size = size.split_once('\r').unwrap().0.parse().unwrap();
    let mut body = vec![0; size];
    if !request.starts_with(b"HEAD") {
        stream.read_exact(&mut body).unwrap();
    }
    Http {
        status: head[9..12].parse().unwrap(),
        head,
        body,
    }
}

#[test]
fn both_methods_are_answered_and_caches_told_how_long() {
    let mut tls = TlsServer::start(Limits::default());
    let mut stream = connect(&mut tls);
    for request in [get(&question(0)), post_message(&question(0))] {
        let http = exchange(&mut stream, &request);
        assert_eq!(http.status, 200, "{}", http.head);
        assert!(
            http.has("content-type: application/dns-message"),
            "{}",
            http.head
        );
        assert!(http.has("cache-control: max-age=60"), "{}", http.head);
        let answer = Answer::read(&http.body).unwrap();
        assert_eq!(
            (answer.rcode, answer.sections[0].len()),
            (Rcode::NOERROR, 1)
        );
    }
    let absent = Question::new("no.example.".parse().unwrap(), Rtype::A);
    let http = exchange(&mut stream, &get(&absent.to_wire()));
    // RFC 8484 section 5.1: an error of DNS is a success of HTTP; kept as long as the SOA says.
    assert!(
        http.status == 200 && http.has("cache-control: max-age=300"),
        "{}",
        http.head
    );
    let head = get(&question(0));
    let http = exchange(&mut stream, &[b"HEAD", &head[3..]].concat());
    assert!(
        http.status == 200 && http.has("cache-control: max-age=60"),
        "{}",
        http.head
    );
    let counts = tls.server.listeners.counts();
    assert_eq!(
        (
            counts.get(Count::RequestsHttps),
            counts.get(Count::TcpAccepted)
        ),
        (4, 1)
    );
}

#[test]
fn what_holds_no_dns_message_is_an_error_of_http() {
    let mut tls = TlsServer::start(Limits::default());
    let mut stream = connect(&mut tls);
    let mut check = |request: &[u8], status: u16| {
        let http = exchange(&mut stream, request);
        assert_eq!(http.status, status, "{}", http.head);
        assert!(
            !http.has("content-type: application/dns-message"),
            "{}",
            http.head
        );
    };
    check(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 404);
    check(b"GET /dns-query HTTP/1.1\r\nhost: a\r\n\r\n", 400);
    check(b"DELETE /dns-query HTTP/1.1\r\nhost: a\r\n\r\n", 405);
    check(&post("text/plain", &question(0)), 415);
    // Not even a header, and a response.
    check(&get(b"short"), 400);
    let mut response = question(0);
    response[2] |= 0x80;
    check(&post_message(&response), 400);
    check(&post_message(&vec![0; 65_536]), 413);
    let refused = tls.server.listeners.counts().get(Count::HttpRefused);
    assert_eq!(refused, 7);
}

#[test]
fn it_carries_neither_updates_nor_transfers() {
    let mut tls = TlsServer::start(Limits::default());
    let mut stream = connect(&mut tls);
    let mut rcode = |message: &[u8]| {
        let http = exchange(&mut stream, &post_message(message));
        Answer::read(&http.body).unwrap().rcode
    };
    assert_eq!(rcode(&update(0)), Rcode::REFUSED);
    let transfer = Question::new("example.".parse().unwrap(), Rtype::AXFR);
    assert_eq!(rcode(&transfer.to_wire()), Rcode::NOTIMP);
    assert!(tls.server.updates.try_recv().is_err());
}

#[test]
fn who_pads_gets_padding() {
    let mut tls = TlsServer::start(Limits::default());
    let mut padded = Question::new("www.example.".parse().unwrap(), Rtype::A);
    padded.edns = Some((1232, 0, 0));
    padded.options = PADDING.to_vec();
    let mut stream = connect(&mut tls);
    // RFC 8467 section 4.1.
    assert_eq!(
        exchange(&mut stream, &post_message(&padded.to_wire()))
            .body
            .len(),
        468
    );
}

#[test]
fn an_idle_connection_and_one_that_dribbles_are_closed() {
    let limits = Limits {
        timeout_idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut tls = TlsServer::start(limits);
    let mut idle = connect(&mut tls);
    assert_eq!(exchange(&mut idle, &get(&question(0))).status, 200);
    let mut dribbling = connect(&mut tls);
    dribbling
        .write_all(&post_message(&question(0))[..40])
        .unwrap();
    dribbling.flush().unwrap();
    for stream in [&mut idle, &mut dribbling] {
        let mut rest = Vec::new();
        // With or without a word that it ends.
        let _end = stream.read_to_end(&mut rest);
    }
    tls.server.await_count(Count::TcpIdle, 2);
}
