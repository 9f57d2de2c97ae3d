//! DNS over QUIC.

use crate::server::{PATIENCE, question, update};
use crate::tls::{NAME, TlsServer};
use dnsd::doq;
use dnsd::io::tcp::Limits;
use dnsd::serve::Count;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tests::answer::Answer;
use tests::question::Question;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use zones::Rcode;
use zones::rtype::Rtype;

/// A client with a runtime of its own.
pub(crate) struct Client {
    pub(crate) runtime: Runtime,
    endpoint: Endpoint,
    pub(crate) connection: Connection,
}

/// Connects to an address of the server, to speak what ALPN calls so.
pub(crate) fn connect(tls: &mut TlsServer, address: SocketAddr, alpn: &[u8]) -> Client {
    try_connect(tls, address, alpn).unwrap()
}

fn try_connect(
    tls: &mut TlsServer,
    address: SocketAddr,
    alpn: &[u8],
) -> Result<Client, ConnectionError> {
    tls.client.alpn_protocols = vec![alpn.to_vec()];
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let config = QuicClientConfig::try_from(tls.client.clone()).unwrap();
    let (endpoint, connection) = runtime.block_on(async {
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(config)));
        let connecting = endpoint.connect(address, NAME).unwrap();
        let connection = timeout(PATIENCE, connecting).await.unwrap();
        (endpoint, connection)
    });
    Ok(Client {
        runtime,
        endpoint,
        connection: connection?,
    })
}

impl Client {
    pub(crate) fn connect(tls: &mut TlsServer) -> Self {
        let address = tls.addresses().quic[0];
        connect(tls, address, b"doq")
    }

    /// What comes back on the stream of a request: messages, each with its length.
    pub(crate) fn exchange(&self, stream: &[u8]) -> Option<Vec<Vec<u8>>> {
        self.runtime.block_on(async {
            let (mut send, mut receive) = self.connection.open_bi().await.ok()?;
            send.write_all(stream).await.ok()?;
            send.finish().ok()?;
            let read = receive.read_to_end(1 << 20);
            let mut bytes = &timeout(PATIENCE, read).await.unwrap().ok()?[..];
            let mut messages = Vec::new();
            while let Some((length, rest)) = bytes.split_first_chunk() {
                let (message, rest) = rest.split_at(u16::from_be_bytes(*length).into());
                messages.push(message.to_vec());
                bytes = rest;
            }
            Some(messages)
        })
    }

    pub(crate) fn ask(&self, message: &[u8]) -> Answer {
        let messages = self.exchange(&doq::frame(message)).unwrap();
        assert_eq!(messages.len(), 1);
        Answer::read(&messages[0]).unwrap()
    }

    /// With which code the server closes the connection.
    fn closed(&self) -> u64 {
        let closed = async { timeout(PATIENCE, self.connection.closed()).await };
        match self.runtime.block_on(closed).unwrap() {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn each_request_has_a_stream_and_updates_go_to_the_peer() {
    let mut tls = TlsServer::start(Limits::default());
    let client = Client::connect(&mut tls);
    for _ in 0..100 {
        let answer = client.ask(&question(0));
        assert_eq!((answer.id, answer.rcode), (0, Rcode::NOERROR));
    }
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| client.ask(&update(0)));
        let request = tls.server.updates.recv_timeout(PATIENCE).unwrap();
        assert!(request.sender.is_address_proven);
        request.reply.send(Rcode::YXDOMAIN);
        assert_eq!(asking.join().unwrap().rcode, Rcode::YXDOMAIN);
    });
    let counts = tls.server.listeners.counts();
    let count = |count| counts.get(count);
    assert_eq!(
        (count(Count::RequestsQuic), count(Count::QuicAccepted)),
        (101, 1)
    );
}

#[test]
fn a_zone_is_transferred_on_one_stream() {
    let mut tls = TlsServer::start(Limits::default());
    let client = Client::connect(&mut tls);
    let mut transfer = Question::new("example.".parse().unwrap(), Rtype::AXFR);
    transfer.id = 0;
    let messages = client.exchange(&doq::frame(&transfer.to_wire())).unwrap();
    let records = messages.iter().flat_map(|message| {
        let [records, ..] = Answer::read(message).unwrap().sections;
        records
    });
    assert_eq!(records.count(), 5);
}

#[test]
fn padding_is_given_and_a_broken_rule_ends_the_connection() {
    let mut tls = TlsServer::start(Limits::default());
    let client = Client::connect(&mut tls);
    let mut padded = Question::new("www.example.".parse().unwrap(), Rtype::A);
    padded.id = 0;
    padded.edns = Some((1232, 0, 0));
    padded.options = crate::tls::PADDING.to_vec();
    let answered = client.exchange(&doq::frame(&padded.to_wire())).unwrap();
    assert_eq!(answered[0].len(), 468);
    let framed = doq::frame(&question(0));
    let broken = [
        doq::frame(&question(1)),
        framed[..10].to_vec(),
        [&framed[..], &framed].concat(),
        vec![0xff; 70_000],
    ];
    for (nth, stream) in broken.iter().enumerate() {
        let client = Client::connect(&mut tls);
        assert_eq!(client.exchange(stream), None);
        // RFC 9250 section 8.4: DOQ_PROTOCOL_ERROR.
        assert_eq!(client.closed(), 2, "{nth}");
        tls.server.await_count(Count::QuicBroken, nth as u64 + 1);
    }
}

#[test]
fn idle_connections_end_and_one_gives_way_to_another() {
    let limits = Limits {
        timeout_idle: Duration::from_millis(200),
        connections_max: 1,
        ..Limits::default()
    };
    let mut tls = TlsServer::start(limits);
    let client = Client::connect(&mut tls);
    assert_eq!(client.ask(&question(0)).rcode, Rcode::NOERROR);
    // RFC 9250 section 8.4: DOQ_NO_ERROR.
    assert_eq!(client.closed(), 0);
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let mut tls = TlsServer::start(limits);
    let first = Client::connect(&mut tls);
    let second = Client::connect(&mut tls);
    assert_eq!(second.ask(&question(0)).rcode, Rcode::NOERROR);
    // DOQ_EXCESSIVE_LOAD.
    assert_eq!(first.closed(), 4);
    tls.server.await_count(Count::TcpGaveWay, 1);
    second.endpoint.close(0u8.into(), b"");
}

#[test]
fn another_protocol_is_not_spoken() {
    let mut tls = TlsServer::start(Limits::default());
    let address = tls.addresses().quic[0];
    assert!(try_connect(&mut tls, address, b"h3").is_err());
    tls.server.await_count(Count::QuicFailed, 1);
}
