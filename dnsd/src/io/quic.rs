//! The listener of DNS over QUIC (RFC 9250): a stream for each request.
//!
//! ```text
//! socket ─→ quinn ─ connection ─ its place ─→ streams ─ request ─→ Connection::answer ─→ responses
//!             └ none ─→ refused                  └ what RFC 9250 forbids ─→ closed
//! ```

use super::connections::From;
use super::server::{Connection, Reply, Server};
use super::tcp::{HANDSHAKE_TIMEOUT, TRANSFERS_PER_CONNECTION_MAX};
use crate::doq;
use crate::message::MESSAGE_SIZE_MAX;
use crate::serve::transfer::{self, TooLarge};
use crate::serve::{Count, Served, Transport};
use bytes::Bytes;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// The name of DNS over QUIC in ALPN.
pub(super) const ALPN: [&[u8]; 1] = [b"doq"];
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
/// RFC 9250 section 4.3: DOQ_NO_ERROR, DOQ_INTERNAL_ERROR, DOQ_PROTOCOL_ERROR,
/// DOQ_EXCESSIVE_LOAD.
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

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
    tls: Arc<rustls::ServerConfig>,
    runtime: &Handle,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let unfit = |error: NoInitialCipherSuite| io::Error::other(error);
    let tls = QuicServerConfig::try_from(tls).map_err(unfit)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport(&server)));
    config.max_incoming(INCOMING_MAX);
    config.incoming_buffer_size_total(INCOMING_SIZE_MAX);
    let _runtime = runtime.enter();
    let (ours, io) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    let endpoint = Endpoint::new(ours, Some(config), socket, io)?;
    runtime.spawn(accept(server, endpoint, stop));
    Ok(())
}

fn transport(server: &Server) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // For clients that are gone; others are told that their connection is closed before that.
    let idle = IdleTimeout::try_from(server.limits.timeout_idle * 2);
    transport
        .max_idle_timeout(Some(idle.expect("a time-out is some seconds")))
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0u8.into())
        .stream_receive_window(((doq::LENGTH_SIZE + MESSAGE_SIZE_MAX) as u32).into())
        .receive_window(RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    transport
}

async fn accept(server: Arc<Server>, endpoint: Endpoint, mut stop: watch::Receiver<bool>) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stop.wait_for(|stopped| *stopped) => break,
        };
        let Some(incoming) = incoming else { return };
        // RFC 9000 section 8.1.2: where places are scarce none is given to a made-up address.
        if server.connections.is_nearly_full() && incoming.may_retry() {
            // It is refused only where it may not be tried.
            incoming
                .retry()
                .unwrap_or_else(|error| error.into_incoming().refuse());
            continue;
        }
        let address = incoming.remote_address();
        match server.connections.admit(address.ip(), From::Client) {
            Ok(place) => {
                let connection = Connection {
                    server: Arc::clone(&server),
                    place,
                    address,
                    transport: Transport::Quic,
                };
                tokio::spawn(connection.run_quic(incoming, stop.clone()));
            }
            Err(count) => {
                server.counters.add(count);
                incoming.refuse();
            }
        }
    }
    endpoint.wait_idle().await;
}

impl Connection {
    async fn run_quic(self, incoming: Incoming, mut stop: watch::Receiver<bool>) {
        let connection = Arc::new(self);
        let (place, server) = (&connection.place, &connection.server);
        let counters = &server.counters;
        let begun = tokio::select! {
            begun = timeout(HANDSHAKE_TIMEOUT, incoming) => begun,
            () = place.give_way() => return counters.add(Count::TcpGaveWay),
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        let Ok(Ok(quic)) = begun else {
            return counters.add(Count::QuicFailed);
        };
        counters.add(Count::QuicAccepted);
        let transfers = Arc::new(Semaphore::new(TRANSFERS_PER_CONNECTION_MAX));
        let why = loop {
            let (send, receive) = tokio::select! {
                stream = quic.accept_bi() => match stream {
                    Ok(stream) => stream,
                    // The client has closed it, or is gone.
                    Err(_) => return,
                },
                () = place.idle_for(server.limits.timeout_idle) => {
                    counters.add(Count::TcpIdle);
                    break NO_ERROR;
                }
                () = place.give_way() => {
                    counters.add(Count::TcpGaveWay);
                    break EXCESSIVE_LOAD;
                }
                _ = stop.wait_for(|stopped| *stopped) => break NO_ERROR,
            };
            let (connection, quic) = (Arc::clone(&connection), quic.clone());
            let transfers = Arc::clone(&transfers);
            tokio::spawn(async move {
                let answered = connection.answer_stream(send, receive, &transfers).await;
                if let Err(Broken) = answered {
                    connection.server.counters.add(Count::QuicBroken);
                    quic.close(PROTOCOL_ERROR, b"");
                }
            });
        };
        // At a stop something may be under way.
        let done = place.idle_for(Duration::ZERO);
        drop(timeout(server.limits.timeout_write, done).await);
        quic.close(why, b"");
    }

    /// Reads the request of a stream and sends what it gets.
    async fn answer_stream(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        transfers: &Arc<Semaphore>,
    ) -> Result<(), Broken> {
        let size_max = doq::LENGTH_SIZE + MESSAGE_SIZE_MAX;
        let limits = &self.server.limits;
        let read = timeout(limits.timeout_idle, receive.read_to_end(size_max)).await;
        let read = match read {
            Ok(Ok(read)) => Bytes::from(read),
            // More than a message can have.
            Ok(Err(quinn::ReadToEndError::TooLong)) => return Err(Broken),
            // The client has changed its mind, or takes too long.
            Ok(Err(quinn::ReadToEndError::Read(_))) | Err(_) => {
                // It may be closed by now.
                drop(send.reset(NO_ERROR));
                return Ok(());
            }
        };
        let message = doq::request_of(&read).map_err(|_| Broken)?;
        let message = read.slice_ref(message);
        let in_flight = self.place.begin();
        match self.answer(&message, &in_flight).await {
            Reply::Response(response) => {
                self.write(&mut send, &response).await;
            }
            // It was no request.
            Reply::Nothing => return Err(Broken),
            Reply::Transfer(served) => {
                self.send_transfer(&mut send, &message, &served, transfers)
                    .await;
            }
        }
        drop(send.finish());
        Ok(())
    }

    /// Sends a zone message by message, as fast as the client takes them (RFC 9250 section 4.2:
    /// all on the stream of the request).
    async fn send_transfer(
        &self,
        send: &mut SendStream,
        request: &[u8],
        served: &Served,
        transfers: &Arc<Semaphore>,
    ) {
        let (server, client) = (&self.server, self.client());
        let Some(_permit) = server.admit_transfer(transfers) else {
            server.counters.add(Count::TransfersOverflowed);
            let _written = self.write(send, &server.servfail(request, &client)).await;
            return;
        };
        let messages = transfer::messages(request, &client, served, &server.setup)
            .expect("the request was found to be a zone transfer, in the same state of the zones");
        server.counters.add(Count::TransfersStarted);
        for message in messages {
            match message {
                Ok(message) => {
                    if !self.write(send, &message).await {
                        return;
                    }
                }
                // An error code in the middle tells the client to throw away what it has.
                Err(TooLarge) => {
                    let _written = self.write(send, &server.servfail(request, &client)).await;
                    return;
                }
            }
        }
        server.counters.add(Count::TransfersCompleted);
    }

    /// Writes a message with its length in front; false if the client does not take it.
    async fn write(&self, send: &mut SendStream, message: &[u8]) -> bool {
        let framed = doq::frame(message);
        match timeout(self.server.limits.timeout_write, send.write_all(&framed)).await {
            Ok(written) => written.is_ok(),
            Err(_) => {
                self.server.counters.add(Count::TcpSlow);
                drop(send.reset(INTERNAL_ERROR));
                false
            }
        }
    }
}

/// A client does what RFC 9250 forbids.
struct Broken;
