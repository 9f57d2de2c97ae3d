//! The listener of QUIC connections, for DNS over QUIC and for HTTP/3.
//!
//! ```text
//! socket ─→ quinn ─ connection ─ its place, its handshake ─┬─→ doq.rs
//!             └ none ─→ refused                            └─→ http3.rs
//! ```

use super::connections::From;
use super::server::{Connection, Server};
use super::tcp::HANDSHAKE_TIMEOUT;
use super::{doq, http3};
use crate::doq::LENGTH_SIZE;
use crate::message::MESSAGE_SIZE_MAX;
use crate::serve::{Count, Transport};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig,
};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

/// Requests of one connection at the same time.
const STREAMS_MAX: u8 = 64;
/// Bytes of requests, and of responses, of one connection that wait.
const RECEIVE_WINDOW: u32 = 256 * 1024;
const SEND_WINDOW: u64 = 256 * 1024;
/// Connections that wait to be looked at, and bytes that came for them meanwhile.
const INCOMING_MAX: usize = 1_024;
const INCOMING_SIZE_MAX: u64 = 16 * 1024 * 1024;
/// Room in the socket for what comes while the listener is busy.
const SOCKET_BUFFER_SIZE: usize = 1024 * 1024;

/// Streams that only an HTTP client writes to: one for settings and two for QPACK, and others may be
/// there (RFC 9114 section 6.2). DNS has none.
const HTTP_ONE_WAY_STREAMS_MAX: u8 = 8;

/// Binds the socket of one address.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER_SIZE)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Takes connections on a socket until it is to stop.
pub(super) fn listen(
    server: Arc<Server>,
    socket: UdpSocket,
    (transport, tls): (Transport, Arc<rustls::ServerConfig>),
    runtime: &Handle,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let unfit = |error: NoInitialCipherSuite| io::Error::other(error);
    let tls = QuicServerConfig::try_from(tls).map_err(unfit)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport_config(&server, transport)));
    config.max_incoming(INCOMING_MAX);
    config.incoming_buffer_size_total(INCOMING_SIZE_MAX);
    let _runtime = runtime.enter();
    let (ours, io) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    let endpoint = Endpoint::new(ours, Some(config), socket, io)?;
    runtime.spawn(accept(server, endpoint, transport, stop));
    Ok(())
}

fn transport_config(server: &Server, transport: Transport) -> TransportConfig {
    let one_way_streams_max = match transport {
        Transport::Https => HTTP_ONE_WAY_STREAMS_MAX,
        Transport::Quic | Transport::Udp | Transport::Tcp | Transport::Tls => 0,
    };
    let mut config = TransportConfig::default();
    // For clients that are gone; others are told that their connection is closed before that.
    let idle = IdleTimeout::try_from(server.limits.timeout_idle * 2);
    config
        .max_idle_timeout(Some(idle.expect("a time-out is some seconds")))
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(one_way_streams_max.into())
        .stream_receive_window(((LENGTH_SIZE + MESSAGE_SIZE_MAX) as u32).into())
        .receive_window(RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    config
}

async fn accept(
    server: Arc<Server>,
    endpoint: Endpoint,
    transport: Transport,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stop.wait_for(|stopped| *stopped) => break,
        };
        let Some(incoming) = incoming else { return };
        // RFC 9000 section 8.1.2: where places are scarce none is given to a made-up address.
        if server.connections.is_nearly_full() && incoming.may_retry() {
            incoming
                .retry()
                .unwrap_or_else(|error| error.into_incoming().refuse());
            continue;
        }
        let address = incoming.remote_address();
        match server.connections.admit(address.ip(), From::Client) {
            Ok(place) => {
                let connection = Connection::new(&server, place, address, transport);
                tokio::spawn(run(connection, incoming, stop.clone()));
            }
            Err(count) => {
                server.counters.add(count);
                incoming.refuse();
            }
        }
    }
    endpoint.wait_idle().await;
}

async fn run(mut connection: Connection, incoming: Incoming, mut stop: watch::Receiver<bool>) {
    let begun = tokio::select! {
        begun = timeout(HANDSHAKE_TIMEOUT, incoming) => begun,
        _end = connection.ended(&mut stop) => return,
    };
    let counters = &connection.server.counters;
    let Ok(Ok(quic)) = begun else {
        return counters.add(Count::QuicFailed);
    };
    counters.add(Count::QuicAccepted);
    connection.identify(&certificates_of(&quic));
    let connection = Arc::new(connection);
    match connection.transport {
        Transport::Https => http3::talk(connection, quic, stop).await,
        _ => doq::talk(connection, quic, stop).await,
    }
}

/// The certificates that a client has shown.
fn certificates_of(quic: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let shown = quic.peer_identity();
    let shown = shown.and_then(|shown| shown.downcast::<Vec<CertificateDer<'_>>>().ok());
    shown.map_or_else(Vec::new, |shown| *shown)
}
