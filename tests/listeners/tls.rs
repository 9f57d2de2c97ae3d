//! Connections under TLS.

use crate::server::{PATIENCE, Server, question, receive, receive_answer, send, update};
use dnsd::config::EncryptedAddresses;
use dnsd::io::certificate::{Certificate, CertificateFiles};
use dnsd::io::client_authorities::ClientAuthorities;
use dnsd::io::encrypted::Encrypted;
use dnsd::io::tcp::Limits;
use dnsd::message::header::HEADER_SIZE;
use dnsd::serve::{Certified, Count};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tests::answer::Answer;
use tests::question::Question;
use zones::Rcode;
use zones::rtype::Rtype;

pub(crate) const NAME: &str = "ns1.example";
/// The option Padding, empty (RFC 7830).
pub(crate) const PADDING: &[u8] = b"\x00\x0c\x00\x00";

/// A server of encrypted DNS, and a client that believes in its certificate.
pub(crate) struct TlsServer {
    pub(crate) server: Server,
    pub(crate) client: ClientConfig,
    roots: RootCertStore,
    _directory: TempDir,
}

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl TlsServer {
    pub(crate) fn start(limits: Limits) -> Self {
        Self::run(limits, None, Certified::NotNeeded)
    }

    /// Clients prove who they are by these authorities, and some must.
    pub(crate) fn certified(
        authorities: Option<Arc<ClientAuthorities>>,
        certified: Certified,
    ) -> Self {
        Self::run(Limits::default(), authorities, certified)
    }

    fn run(
        limits: Limits,
        authorities: Option<Arc<ClientAuthorities>>,
        certified: Certified,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = CertificateFiles::made(directory.path(), vec![NAME.to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(&files.chain).unwrap();
        roots.add(own).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots.clone());
        let mut client = builder.with_no_client_auth();
        client.alpn_protocols = vec![b"dot".to_vec()];
        let encrypted = Encrypted {
            certificate: Certificate::open(files).unwrap(),
            authorities,
            addresses: EncryptedAddresses {
                tls: vec!["127.0.0.1:0".parse().unwrap()],
                https: vec!["127.0.0.1:0".parse().unwrap()],
                quic: vec!["127.0.0.1:0".parse().unwrap()],
            },
        };
        Self {
            server: Server::encrypted(limits, encrypted, certified),
            roots,
            client,
            _directory: directory,
        }
    }

    pub(crate) fn addresses(&self) -> &EncryptedAddresses {
        self.server.listeners.encrypted_addresses()
    }

    fn tcp(&self) -> TcpStream {
        connect_to(self.addresses().tls[0])
    }

    /// The client shows this certificate.
    pub(crate) fn show(
        &mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut client = builder.with_client_auth_cert(chain, key).unwrap();
        client.alpn_protocols = std::mem::take(&mut self.client.alpn_protocols);
        self.client = client;
    }

    pub(crate) fn connect(&self) -> TlsStream {
        self.shake_hands(self.tcp())
    }

    pub(crate) fn shake_hands(&self, stream: TcpStream) -> TlsStream {
        let name = NAME.try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(self.client.clone()), name).unwrap();
        StreamOwned::new(connection, stream)
    }
}

pub(crate) fn connect_to(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn requests_are_answered_as_by_tcp_and_counted_as_tls() {
    let tls = TlsServer::start(Limits::default());
    let mut stream = tls.connect();
    send(&mut stream, &update(1));
    for id in 2..20 {
        send(&mut stream, &question(id));
    }
    for id in 2..20 {
        assert_eq!(receive_answer(&mut stream).id, id);
    }
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"dot"[..]));
    let request = tls.server.updates.recv().unwrap();
    assert!(request.sender.is_address_proven);
    request.reply.send(Rcode::NXRRSET);
    assert_eq!(receive_answer(&mut stream).id, 1);
    let counts = tls.server.listeners.counts();
    let requests = (Count::RequestsTls, Count::RequestsTcp);
    assert_eq!((counts.get(requests.0), counts.get(requests.1)), (19, 0));
}

#[test]
fn a_zone_is_transferred_by_it() {
    let tls = TlsServer::start(Limits::default());
    let mut stream = tls.connect();
    let transfer = Question::new("example.".parse().unwrap(), Rtype::AXFR);
    send(&mut stream, &transfer.to_wire());
    let answer = receive_answer(&mut stream);
    let records = &answer.sections[0];
    assert_eq!(records.len(), 5);
    assert_eq!(records[0], records[4]);
}

#[test]
fn who_pads_gets_padding_and_only_under_tls() {
    let tls = TlsServer::start(Limits::default());
    let mut padded = Question::new("www.example.".parse().unwrap(), Rtype::A);
    padded.edns = Some((1232, 0, 0));
    padded.options = PADDING.to_vec();
    let mut bare = padded.clone();
    bare.options.clear();
    let mut stream = tls.connect();
    let mut plain = tls.server.connect();
    send(&mut stream, &padded.to_wire());
    send(&mut plain, &padded.to_wire());
    let response = receive(&mut stream).unwrap();
    // RFC 8467 section 4.1.
    assert_eq!(response.len(), 468);
    assert_eq!(Answer::read(&response).unwrap().rcode, Rcode::NOERROR);
    assert!(receive(&mut plain).unwrap().len() < 100);
    send(&mut stream, &bare.to_wire());
    assert!(receive(&mut stream).unwrap().len() < 100);
}

#[test]
fn a_client_comes_back_without_a_full_handshake() {
    let tls = TlsServer::start(Limits::default());
    let kind = || {
        let mut stream = tls.connect();
        send(&mut stream, &question(1));
        receive_answer(&mut stream);
        stream.conn.handshake_kind()
    };
    assert_eq!(kind(), Some(HandshakeKind::Full));
    assert_eq!(kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn who_speaks_no_tls_or_another_protocol_by_it_is_let_go() {
    let mut tls = TlsServer::start(Limits::default());
    let mut plain = tls.tcp();
    send(&mut plain, &question(1));
    let mut told = Vec::new();
    // It may also be reset.
    plain.read_to_end(&mut told).unwrap_or_default();
    assert!(told.len() < HEADER_SIZE, "an alert at most: {told:?}");
    tls.server.await_count(Count::TlsFailed, 1);
    tls.client.alpn_protocols = vec![b"h2".to_vec()];
    let mut other = tls.connect();
    assert!(
        other
            .write_all(b"\x00")
            .and_then(|()| other.flush())
            .is_err()
    );
    tls.server.await_count(Count::TlsFailed, 2);
}

#[test]
fn idle_connections_are_ended_so_that_clients_know() {
    let limits = Limits {
        timeout_idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let tls = TlsServer::start(limits);
    let mut stream = tls.connect();
    send(&mut stream, &question(1));
    assert_eq!(receive_answer(&mut stream).id, 1);
    // Without a close_notify this would be an error.
    let end = stream.read(&mut [0]);
    assert_eq!(end.unwrap(), 0);
    tls.server.await_count(Count::TcpIdle, 1);
}

#[test]
fn one_that_never_shakes_hands_gives_way() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let tls = TlsServer::start(limits);
    let _silent = tls.tcp();
    tls.server.await_count(Count::TcpAccepted, 1);
    let mut stream = tls.connect();
    send(&mut stream, &question(1));
    assert_eq!(receive_answer(&mut stream).id, 1);
    tls.server.await_count(Count::TcpGaveWay, 1);
}
