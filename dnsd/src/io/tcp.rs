//! The TCP listener (RFC 7766), plain or under TLS (RFC 7858): requests of a connection are read
//! ahead and answered as their answers come, each with its length in front. Under TLS it may be
//! HTTP that is spoken: then `https.rs` goes on.
//!
//! ```text
//! read_requests ─ place in the queue, then serve ─→ response ──────────┐
//!      │                       ├─ update ─→ peer ─→ response, later ───┤ queue ─→ write_responses
//!      └ waits while no place  └─ zone transfer ─→ message by message ─┘
//! ```
//! The queue of responses is the one bound of a connection, in number and bytes: a place in it is
//! taken before a request is served, so a client that does not read is not read from either.
//! Which connections there may be is said in `connections.rs`.

use super::clock;
use super::connections::{From, InFlight};
use super::https;
use super::server::{Connection, Server};
use crate::proxy;
use crate::serve::transfer::{self, TooLarge};
use crate::serve::{Client, Count, Outcome, Served, Transport};
use bytes::{Buf, Bytes, BytesMut};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What an operator may set about connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections in all; one more takes the place of the one that is idle for longest.
    pub connections_max: usize,
    /// Connections from one address, or from one /64 of IPv6.
    pub connections_per_address_max: usize,
    /// Zone transfers under way at the same time.
    pub transfers_max: usize,
    /// A connection on which nothing is asked for so long is closed, and one on which a request
    /// takes so long to come in.
    pub timeout_idle: Duration,
    /// A connection that takes nothing of what is written for so long is closed.
    pub timeout_write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Some 20 KiB each, and up to 256 KiB if its client does not read what it asks for.
            connections_max: 1_000,
            // Many clients may share the address of their router.
            connections_per_address_max: 200,
            // Each is a version that is kept, and a stream of its own.
            transfers_max: 20,
            // RFC 7766 section 6.2.3 asks for some seconds.
            timeout_idle: Duration::from_secs(10),
            timeout_write: Duration::from_secs(10),
        }
    }
}

/// Requests of one connection whose responses are not written yet.
const IN_FLIGHT_MAX: usize = 64;
/// Bytes of responses of one connection that are not written yet. One more is made meanwhile.
const RESPONSES_SIZE_MAX: usize = 128 * 1024;
/// Zone transfers of one connection at the same time.
pub(super) const TRANSFERS_PER_CONNECTION_MAX: usize = 1;
/// Bytes of responses gathered for one write.
const WRITE_SIZE: usize = 64 * 1024;
/// Room for requests that are read ahead; a longer request makes it grow.
const READ_SIZE: usize = 4 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A client that takes longer for its TLS handshake is let go.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often one looks for the rest of a header of which a part has come.
const PROXY_LOOK: Duration = Duration::from_millis(1);
/// Wait after an accept that fails for lack of file descriptors or memory.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Binds the socket of one address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier life of the daemon linger for a minute; they do not matter.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes connections on a socket until it is to stop: for DNS or HTTP, and under TLS if it is there.
pub(super) fn listen(
    server: Arc<Server>,
    socket: TcpListener,
    (transport, tls): (Transport, Option<TlsAcceptor>),
    runtime: &Handle,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let _runtime = runtime.enter();
    let socket = tokio::net::TcpListener::from_std(socket)?;
    runtime.spawn(accept(server, socket, (transport, tls), stop));
    Ok(())
}

async fn accept(
    server: Arc<Server>,
    socket: tokio::net::TcpListener,
    (transport, tls): (Transport, Option<TlsAcceptor>),
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            // The client gave up before its turn.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a TCP connection");
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let from = if server.proxies.contain(address.ip()) {
            From::Proxy
        } else {
            From::Client
        };
        match server.connections.admit(address.ip(), from) {
            Ok(place) => {
                server.counters.add(Count::TcpAccepted);
                let connection = Connection::new(&server, place, address, transport);
                tokio::spawn(connection.run(stream, from, tls.clone(), stop.clone()));
            }
            // The stream is closed; what the client asks next, it asks anew.
            Err(count) => server.counters.add(count),
        }
    }
}

/// What a connection is once it has begun.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Reads what a proxy says before anything else, if it says something: none of it is taken from a
/// message.
async fn read_proxy_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut fixed = [0; proxy::FIXED_SIZE];
    // No request is so short, so one comes whole or not at all; and TLS begins with another byte.
    loop {
        let seen = stream.peek(&mut fixed).await?;
        let signature = &proxy::SIGNATURE[..seen.min(proxy::SIGNATURE.len())];
        if seen == 0 || !fixed.starts_with(signature) {
            return Ok(None);
        }
        if seen == fixed.len() {
            break;
        }
        sleep(PROXY_LOOK).await;
    }
    let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
    stream.read_exact(&mut fixed).await?;
    let fixed = proxy::Fixed::read(&fixed).map_err(malformed)?;
    let mut rest = vec![0; fixed.rest_size];
    stream.read_exact(&mut rest).await?;
    fixed.client(&rest).map_err(malformed)
}

/// Where responses of one connection wait to be written.
#[derive(Clone)]
struct Responses {
    queue: mpsc::Sender<Response>,
    room: Arc<Semaphore>,
}

struct Response {
    message: Vec<u8>,
    /// Its share of the bytes that may wait; the answers to updates are small and have none.
    room: Option<OwnedSemaphorePermit>,
    /// The request, until this is written.
    in_flight: InFlight,
}

impl Responses {
    fn new() -> (Self, mpsc::Receiver<Response>) {
        let (sender, queue) = mpsc::channel(IN_FLIGHT_MAX);
        let responses = Self {
            queue: sender,
            room: Arc::new(Semaphore::new(RESPONSES_SIZE_MAX)),
        };
        (responses, queue)
    }

    /// Waits until the message may wait.
    async fn admit(&self, message: Vec<u8>, in_flight: InFlight) -> Response {
        let size = u32::try_from(message.len()).expect("responses are bounded");
        let room = Arc::clone(&self.room).acquire_many_owned(size).await;
        Response {
            message,
            room: Some(room.expect("the semaphore is never closed")),
            in_flight,
        }
    }
}

impl Connection {
    async fn run(
        mut self,
        mut stream: TcpStream,
        from: From,
        tls: Option<TlsAcceptor>,
        mut stop: watch::Receiver<bool>,
    ) {
        // A response must not wait for the acknowledgement of the one before it.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let begun = async {
            let client = match from {
                From::Client => None,
                From::Proxy => {
                    let header = timeout(HANDSHAKE_TIMEOUT, read_proxy_header(&mut stream)).await;
                    let Ok(Ok(client)) = header else {
                        self.server.counters.add(Count::Malformed);
                        return None;
                    };
                    client
                }
            };
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(tls) => Stream::Tls(self.shake_hands(stream, tls).await?),
            };
            Some((client, stream))
        };
        let begun = tokio::select! {
            begun = begun => begun,
            () = self.place.give_way() => return self.server.counters.add(Count::TcpGaveWay),
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        let Some((client, stream)) = begun else {
            return;
        };
        self.address = client.unwrap_or(self.address);
        if let Stream::Tls(stream) = &stream {
            let (_, session) = stream.get_ref();
            self.identify(session.peer_certificates().unwrap_or_default());
        }
        match stream {
            Stream::Plain(stream) => {
                let (read, write) = stream.into_split();
                self.talk(read, write, stop).await;
            }
            Stream::Tls(stream) if self.transport == Transport::Https => {
                https::talk(self, stream, stop).await;
            }
            Stream::Tls(stream) => {
                let (read, write) = tokio::io::split(stream);
                self.talk(read, write, stop).await;
            }
        }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        tls: TlsAcceptor,
    ) -> Option<Box<TlsStream<TcpStream>>> {
        let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await else {
            self.server.counters.add(Count::TlsFailed);
            return None;
        };
        Some(Box::new(stream))
    }

    async fn talk(
        self,
        read: impl AsyncRead + Unpin,
        write: impl AsyncWrite + Unpin,
        mut stop: watch::Receiver<bool>,
    ) {
        let (responses, queue) = Responses::new();
        let server = &*self.server;
        let writing = write_responses(server, write, queue);
        let reading = async {
            tokio::select! {
                () = self.read_requests(read, responses) => {}
                () = self.place.give_way() => server.counters.add(Count::TcpGaveWay),
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        };
        tokio::pin!(writing);
        tokio::select! {
            // A client that has no more requests may still wait for responses.
            () = reading => writing.await,
            () = &mut writing => {}
        }
    }

    async fn read_requests(&self, mut read: impl AsyncRead + Unpin, responses: Responses) {
        let server = &self.server;
        let transfers = Arc::new(Semaphore::new(TRANSFERS_PER_CONNECTION_MAX));
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        loop {
            let timeout_idle = server.limits.timeout_idle;
            let message = match next_message(&mut read, &mut buffer, timeout_idle).await {
                Next::Message(message) => message,
                Next::End => return,
                Next::Idle(partial) => {
                    // While something is under way the client waits for us, not we for it.
                    if !self.place.is_idle() && partial == Partial::No {
                        continue;
                    }
                    server.counters.add(Count::TcpIdle);
                    return;
                }
            };
            let in_flight = self.place.begin();
            let Ok(place) = responses.queue.clone().reserve_owned().await else {
                return;
            };
            let client = self.client();
            let served = server.shared.served.load_full();
            let (outcome, response) = self.take(&message, &client, &served);
            match outcome {
                Outcome::Respond(_) => {
                    place.send(responses.admit(response, in_flight).await);
                }
                // Who sends what is no request does not get a second try.
                Outcome::Drop => return,
                // The answer has its place in the queue, so whoever gives it does not wait.
                Outcome::Update => {
                    let answered = move |message| {
                        place.send(Response {
                            message,
                            room: None,
                            in_flight,
                        });
                    };
                    self.hand_on(message, client, answered).await;
                }
                Outcome::Transfer => {
                    let Some(permit) = server.admit_transfer(&transfers) else {
                        server.counters.add(Count::TransfersOverflowed);
                        let response = server.servfail(&message, &client);
                        place.send(responses.admit(response, in_flight).await);
                        continue;
                    };
                    let (server, responses) = (Arc::clone(server), responses.clone());
                    tokio::spawn(async move {
                        let _permit = permit;
                        let served = server.when_published(&message, served).await;
                        let request = (&message[..], &client);
                        send_transfer(&server, request, &served, &responses, in_flight).await;
                    });
                }
            }
        }
    }
}

/// Sends a zone message by message, as fast as the client takes them.
async fn send_transfer(
    server: &Server,
    (request, client): (&[u8], &Client),
    served: &Served,
    responses: &Responses,
    in_flight: InFlight,
) {
    let mut messages = transfer::messages(request, client, served, &server.setup)
        .expect("the request was found to be a zone transfer, in the same state of the zones");
    server.counters.add(Count::TransfersStarted);
    while let Some(message) = messages.next_message(clock::wall()) {
        let (message, is_whole) = match message {
            Ok(message) => (message, true),
            // An error code in the middle tells the client to throw away what it has.
            Err(TooLarge) => (server.servfail(request, client), false),
        };
        let response = responses.admit(message, in_flight.clone()).await;
        if responses.queue.send(response).await.is_err() || !is_whole {
            return;
        }
    }
    server.counters.add(Count::TransfersCompleted);
    if messages.is_incremental() {
        server.counters.add(Count::TransfersIncremental);
    }
}

/// What comes next on a connection.
enum Next {
    Message(Bytes),
    /// The client has no more requests, or is gone.
    End,
    /// Nothing for the whole time-out.
    Idle(Partial),
}

/// Whether a request has begun to come in.
#[derive(PartialEq, Eq)]
enum Partial {
    Yes,
    No,
}

async fn next_message(
    read: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    idle: Duration,
) -> Next {
    let deadline = Instant::now() + idle;
    loop {
        if let Some(message) = take_message(buffer) {
            return Next::Message(message);
        }
        match timeout_at(deadline, read.read_buf(buffer)).await {
            Ok(Ok(0) | Err(_)) => return Next::End,
            Ok(Ok(_)) => {}
            Err(_) if buffer.is_empty() => return Next::Idle(Partial::No),
            Err(_) => return Next::Idle(Partial::Yes),
        }
    }
}

/// Takes a whole message from the front of what was read, or makes room for the rest of it.
fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let size = match buffer.first_chunk() {
        Some(size) => usize::from(u16::from_be_bytes(*size)),
        None => 0,
    };
    if buffer.len() < LENGTH_SIZE + size || buffer.is_empty() {
        buffer.reserve((LENGTH_SIZE + size).max(READ_SIZE) - buffer.len());
        return None;
    }
    buffer.advance(LENGTH_SIZE);
    Some(buffer.split_to(size).freeze())
}

async fn write_responses(
    server: &Server,
    mut write: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Response>,
) {
    let mut bytes = Vec::new();
    while let Some(response) = queue.recv().await {
        frame(&response.message, &mut bytes);
        drop(response.room);
        // One that is kept is enough to say that something is not written yet.
        let in_flight = response.in_flight;
        while bytes.len() < WRITE_SIZE
            && let Ok(response) = queue.try_recv()
        {
            frame(&response.message, &mut bytes);
        }
        let writing = async {
            write.write_all(&bytes).await?;
            // Under TLS what is written may wait for more.
            write.flush().await
        };
        match timeout(server.limits.timeout_write, writing).await {
            Ok(Ok(())) => {
                drop(in_flight);
                bytes.clear();
                bytes.shrink_to(WRITE_SIZE);
            }
            Ok(Err(_)) => return,
            Err(_) => {
                server.counters.add(Count::TcpSlow);
                return;
            }
        }
    }
    // RFC 8446 section 6.1: under TLS the client is told that nothing was cut off.
    drop(timeout(server.limits.timeout_write, write.shutdown()).await);
}

/// Appends a message with its length in front (RFC 1035 section 4.2.2).
fn frame(message: &[u8], bytes: &mut Vec<u8>) {
    let size = u16::try_from(message.len()).expect("responses are bounded by MESSAGE_SIZE_MAX");
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(message);
}

/// Size of the length in front of a message.
const LENGTH_SIZE: usize = 2;
