//! UDP workers: one pinned thread and one socket each, sharing a port by SO_REUSEPORT.
//!
//! A worker takes a batch of requests, looks once at which zones are served, answers all, and
//! sends the answers in one call. Updates go to the peer with a copy of the way back.

use super::clock;
use super::datagrams::{
    Batch, IsIpv6, ReturnPath, force_receive_buffer, ignore_path_mtu, pin_thread, tell_destination,
    wake,
};
use super::listeners::Shared;
use crate::cookie::Standing;
use crate::proxy::Proxies;
use crate::requests::Sender;
use crate::serve::rate::{Limiter, Notices, RateLimit, Verdict};
use crate::serve::update::{self, ReplyTo, UpdateRequest};
use crate::serve::{
    Client, Count, Counters, Handled, Outcome, Served, Setup, Spaces, Tally, Transport, serve,
    truncate,
};
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use zones::Rcode;

/// Receive buffer of a socket: with the system's default a burst of some hundred requests is
/// lost while a worker waits for its core.
const RECEIVE_BUFFER_SIZE: usize = 4 << 20;
/// Wait after an error of a socket that may pass, such as lack of memory.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// How responses are limited, by all workers alike.
pub(super) struct Limiting {
    pub(super) limit: RateLimit,
    pub(super) notices: Mutex<Notices>,
}

/// One worker.
pub(super) struct Worker {
    socket: Arc<UdpSocket>,
    counters: Arc<Counters>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Binds the sockets of `count` workers to one address. The first one is bound without
/// SO_REUSEPORT, which would let another server's socket there go unnoticed.
pub(super) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let first = new_socket(address)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let first: UdpSocket = first.into();
    // If the system was to choose the port, the others take the same.
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let socket = new_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        sockets.push(socket.into());
    }
    for socket in &sockets {
        let is_ipv6 = IsIpv6::from(address.ip());
        // A socket with one address has no choice of where answers leave from.
        if address.ip().is_unspecified() {
            tell_destination(socket, is_ipv6)?;
        }
        ignore_path_mtu(socket, is_ipv6)?;
        // Without the right to pass the system's limit, what `new_socket` got must do.
        let _ = force_receive_buffer(socket, RECEIVE_BUFFER_SIZE);
    }
    Ok(sockets)
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER_SIZE)?;
    Ok(socket)
}

impl Worker {
    /// Starts a worker on a socket; `nth` says which core is its own.
    pub(super) fn start(
        socket: UdpSocket,
        nth: usize,
        setup: Arc<Setup>,
        proxies: Arc<Proxies>,
        limiting: Option<Arc<Limiting>>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let limiter = limiting.as_deref().map(new_limiter).transpose()?;
        let socket = Arc::new(socket);
        let counters = Arc::new(Counters::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let work = Work {
            socket: Arc::clone(&socket),
            counters: Arc::clone(&counters),
            stopping: Arc::clone(&stopping),
            setup,
            proxies,
            limiting,
            shared,
        };
        let thread = std::thread::Builder::new()
            .name(format!("udp {nth}"))
            .spawn(move || {
                if let Err(error) = pin_thread(nth) {
                    tracing::debug!(%error, "a UDP worker is not pinned to a core");
                }
                let _guard = AbortOnPanic;
                work.run(limiter);
            })?;
        Ok(Self {
            socket,
            counters,
            stopping,
            thread,
        })
    }

    /// What it counts.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Ends it after its current batch, and waits for that.
    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        wake(&self.socket);
        self.thread
            .join()
            .expect("a worker that panics ends the process");
    }
}

/// Each worker has a table of its own, so that none waits for another: the system spreads clients over
/// them by address and port, and a network that uses many ports gets its rate from each.
fn new_limiter(limiting: &Limiting) -> io::Result<Limiter> {
    let mut key = [0; 16];
    let filled = SystemRandom::new().fill(&mut key);
    filled.map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(Limiter::new(limiting.limit.clone(), key, clock::now()))
}

/// A socket whose worker is gone would swallow its share of all requests. The process ends
/// instead, and other peers take over.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// What a worker's thread holds.
struct Work {
    socket: Arc<UdpSocket>,
    counters: Arc<Counters>,
    stopping: Arc<AtomicBool>,
    setup: Arc<Setup>,
    proxies: Arc<Proxies>,
    limiting: Option<Arc<Limiting>>,
    shared: Arc<Shared>,
}

impl Work {
    fn run(&self, mut limiter: Option<Limiter>) {
        let mut batch = Batch::new(usize::from(self.setup.udp_size));
        let mut tally = Tally::default();
        let mut spaces = Spaces::default();
        while !self.stopping.load(Ordering::Acquire) {
            let count = match batch.receive(&self.socket) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.counters.add(Count::UdpReceiveFailed);
                    std::thread::sleep(ERROR_PAUSE);
                    continue;
                }
            };
            self.answer(&mut batch, count, limiter.as_mut(), &mut spaces, &mut tally);
            self.counters.take(&mut tally);
            if let Some(limiter) = &mut limiter {
                self.tell_of_limits(limiter);
            }
        }
    }

    fn answer(
        &self,
        batch: &mut Batch,
        count: usize,
        mut limiter: Option<&mut Limiter>,
        spaces: &mut Spaces,
        tally: &mut Tally,
    ) {
        let served = self.shared.served.load();
        let (wall, now) = (clock::wall(), clock::now());
        for i in 0..count {
            let received = batch.request(i);
            let asked = received.and_then(|(datagram, source, response)| {
                let (address, request) = self.proxies.unwrap(source, datagram).ok()?;
                Some((request, address, response))
            });
            let Some((request, address, response)) = asked else {
                tally.add(Count::RequestsUdp);
                tally.add(Count::Dropped);
                tally.add(Count::Malformed);
                continue;
            };
            let client = Client {
                address,
                transport: Transport::Udp,
                wall,
                timeout_idle: Duration::ZERO,
                identity: None,
            };
            let mut handled = serve(request, &client, &served, &self.setup, spaces, response);
            if let Some(limiter) = &mut limiter
                && is_limited(&handled, &served)
            {
                match limiter.judge(address.ip(), handled.subject, request, now) {
                    Verdict::Send => {}
                    Verdict::Truncate => {
                        tally.add(Count::RateSlipped);
                        truncate(request, &client, &served, &self.setup, response);
                        handled.outcome = Outcome::Respond(Rcode::NOERROR);
                    }
                    Verdict::Drop => {
                        tally.add(Count::RateDropped);
                        handled.outcome = Outcome::Drop;
                    }
                }
            }
            tally.add_request(Transport::Udp, request, handled, response);
            match handled.outcome {
                Outcome::Respond(_) => batch.respond(i),
                Outcome::Drop => {}
                Outcome::Update => {
                    let message = Bytes::copy_from_slice(request);
                    let sender = update::sender(&message, &client, &served, &self.setup);
                    let path = batch.return_path(i);
                    self.hand_on((message, sender), client, path, tally);
                }
                Outcome::Transfer => unreachable!("a zone transfer needs TCP"),
            }
        }
        for _ in 0..batch.send(&self.socket) {
            tally.add(Count::UdpSendFailed);
        }
    }

    /// Says once in a while that responses are limited.
    fn tell_of_limits(&self, limiter: &mut Limiter) {
        let (Some(network), Some(limiting)) = (limiter.take_limited(), &self.limiting) else {
            return;
        };
        // Another worker that looks at the same moment says it.
        if let Ok(mut notices) = limiting.notices.try_lock()
            && notices.is_due(clock::now())
        {
            tracing::warn!(%network, "responses are limited to the rate that is set");
        }
    }

    /// Gives an update to the peer, or says that too many wait.
    fn hand_on(
        &self,
        (message, sender): (Bytes, Sender),
        client: Client,
        path: ReturnPath,
        tally: &mut Tally,
    ) {
        let reply = {
            let (socket, counters) = (Arc::clone(&self.socket), Arc::clone(&self.counters));
            let (shared, setup) = (Arc::clone(&self.shared), Arc::clone(&self.setup));
            let message = message.clone();
            ReplyTo::new(move |rcode| {
                let mut response = Vec::new();
                let served = shared.served.load();
                update::respond(&message, &client, rcode, &served, &setup, &mut response);
                let mut tally = Tally::default();
                tally.add_response(rcode, &response);
                if path.send(&socket, &response).is_err() {
                    tally.add(Count::UdpSendFailed);
                }
                counters.take(&mut tally);
            })
        };
        let request = UpdateRequest {
            message,
            sender,
            reply,
        };
        match self.shared.updates.try_push(request) {
            Ok(()) => tally.add(Count::UpdatesTaken),
            Err(request) => {
                // Its client sends it again, and SERVFAIL would have it give up.
                tally.add(Count::UpdatesOverflowed);
                drop(request);
            }
        }
    }
}

/// Whether a response counts against the rate.
fn is_limited(handled: &Handled, served: &Served) -> bool {
    let is_proven = handled.standing == Some(Standing::Proven);
    // As long as the cluster has no secret nobody can prove where he is, not even the self-check of
    // this peer.
    matches!(handled.outcome, Outcome::Respond(_)) && !is_proven && served.cookies.is_some()
}
