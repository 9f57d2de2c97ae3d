//! All DNS listeners of the daemon: for each address some UDP workers and one TCP listener; TCP
//! listeners for TLS and HTTPS, and UDP sockets for QUIC.

use super::encrypted::{Encrypted, EncryptedSockets};
use super::server::Server;
use super::{tcp, udp};
use crate::config::EncryptedAddresses;
use crate::proxy::Proxies;
use crate::serve::rate::{Notices, RateLimit};
use crate::serve::{Counters, Served, Setup, Tally, Transport, UpdateQueue};
use arc_swap::ArcSwap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Tries to find a port that is free for UDP and TCP, if the system is to choose it.
pub(super) const PORT_TRIES: usize = 16;

/// What an operator says about listeners.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, by UDP and TCP; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// UDP workers per address; none for one per core.
    pub udp_workers: Option<usize>,
    /// About answers.
    pub setup: Setup,
    /// How many answers go out by UDP; none: as many as are asked for.
    pub rate_limit: Option<RateLimit>,
    /// About connections.
    pub tcp: tcp::Limits,
    /// Who may say that it asks for another.
    pub proxies: Proxies,
    /// Where else, encrypted.
    pub encrypted: Option<Encrypted>,
}

/// What all listeners share with the rest of the daemon.
pub struct Shared {
    /// What is served at the moment.
    pub served: Arc<ArcSwap<Served>>,
    /// Where updates go.
    pub updates: UpdateQueue,
}

/// The sockets of all listeners, before anything is answered.
pub struct Bound {
    config: Config,
    sockets: Vec<(SocketAddr, Vec<UdpSocket>, TcpListener)>,
    encrypted: Option<EncryptedSockets>,
}

/// The listeners, running.
pub struct Listeners {
    addresses: Vec<SocketAddr>,
    encrypted: EncryptedAddresses,
    workers: Vec<udp::Worker>,
    server: Arc<Server>,
    stop: watch::Sender<bool>,
}

/// An address on which the daemon cannot listen.
#[derive(Debug)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// UDP, TCP, TLS, HTTPS or QUIC.
    pub transport: &'static str,
    /// Why.
    pub cause: io::Error,
}

impl Bound {
    /// Binds all addresses.
    pub fn new(config: Config) -> Result<Self, ListenError> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers_each = config.udp_workers.unwrap_or_else(cores);
        let addresses = config.listen.iter();
        let sockets = addresses.map(|address| bind(*address, workers_each));
        let encrypted = config.encrypted.clone().map(EncryptedSockets::bind);
        Ok(Self {
            sockets: sockets.collect::<Result<_, _>>()?,
            encrypted: encrypted.transpose()?,
            config,
        })
    }

    /// Starts to answer. All but UDP runs on `runtime`.
    pub fn start(self, shared: &Arc<Shared>, runtime: &Handle) -> Result<Listeners, ListenError> {
        let Self {
            config,
            sockets,
            encrypted,
        } = self;
        let setup = Arc::new(config.setup);
        let proxies = Arc::new(config.proxies);
        let server = {
            let (setup, proxies) = (Arc::clone(&setup), Arc::clone(&proxies));
            let authorities = encrypted.as_ref().and_then(EncryptedSockets::authorities);
            Server::new(config.tcp, setup, proxies, authorities, Arc::clone(shared))
        };
        let limiting = config.rate_limit.map(|limit| {
            Arc::new(udp::Limiting {
                limit,
                notices: Mutex::new(Notices::default()),
            })
        });
        let mut listeners = Listeners {
            addresses: Vec::new(),
            encrypted: EncryptedAddresses::default(),
            workers: Vec::new(),
            server: Arc::new(server),
            stop: watch::channel(false).0,
        };
        for (address, udp_sockets, tcp_socket) in sockets {
            listeners.addresses.push(address);
            for (nth, socket) in udp_sockets.into_iter().enumerate() {
                let (setup, proxies) = (Arc::clone(&setup), Arc::clone(&proxies));
                let (limiting, shared) = (limiting.clone(), Arc::clone(shared));
                let worker = udp::Worker::start(socket, nth, setup, proxies, limiting, shared);
                let worker = worker.map_err(ListenError::at(address, "UDP"))?;
                listeners.workers.push(worker);
            }
            let (server, stop) = (Arc::clone(&listeners.server), listeners.stop.subscribe());
            let plain = (Transport::Tcp, None);
            let listening = tcp::listen(server, tcp_socket, plain, runtime, stop);
            listening.map_err(ListenError::at(address, "TCP"))?;
        }
        if let Some(encrypted) = encrypted {
            let stop = listeners.stop.subscribe();
            listeners.encrypted = encrypted.listen(&listeners.server, runtime, &stop)?;
        }
        Ok(listeners)
    }
}

impl Listeners {
    /// The addresses with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses for encrypted DNS, with the ports that the system chose.
    #[must_use]
    pub fn encrypted_addresses(&self) -> &EncryptedAddresses {
        &self.encrypted
    }

    /// The sum of what all listeners counted.
    #[must_use]
    pub fn counts(&self) -> Tally {
        let mut sum = self.server.counters.snapshot();
        for counters in self.workers.iter().map(udp::Worker::counters) {
            sum.merge(&Counters::snapshot(counters));
        }
        sum
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.connections.count()
    }

    /// Stops to listen. UDP workers finish their batch; connections send what they have and
    /// close. Dropping the listeners does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.workers.drain(..).for_each(udp::Worker::stop);
    }
}

/// The sockets of one address, on one port.
fn bind(
    address: SocketAddr,
    udp_workers: usize,
) -> Result<(SocketAddr, Vec<UdpSocket>, TcpListener), ListenError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = |transport| ListenError::at(address, transport);
        let udp = udp::bind(address, udp_workers.max(1)).map_err(error("UDP"))?;
        let chosen = udp[0].local_addr().map_err(error("UDP"))?;
        match tcp::bind(chosen) {
            Ok(tcp) => return Ok((chosen, udp, tcp)),
            Err(cause)
                if address.port() == 0
                    && cause.kind() == io::ErrorKind::AddrInUse
                    && tries < PORT_TRIES => {}
            Err(cause) => return Err(error("TCP")(cause)),
        }
    }
}

impl ListenError {
    /// What a failure at this address means.
    pub(super) fn at(
        address: SocketAddr,
        transport: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self {
            address,
            transport,
            cause,
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            transport,
            cause,
        } = self;
        match cause.kind() {
            io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "cannot listen on {address} ({transport}): it is in use by another program"
                )
            }
            _ => write!(f, "cannot listen on {address} ({transport}): {cause}"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
