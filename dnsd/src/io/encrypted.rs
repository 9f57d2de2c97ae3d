//! The listeners of encrypted DNS: over TLS, over HTTPS and over QUIC, by one certificate.

use super::certificate::Certificate;
use super::listeners::ListenError;
use super::server::Server;
use super::tcp::Spoken;
use super::{https, quic, tcp};
use crate::config::EncryptedAddresses;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// The name of DNS over TLS in ALPN, and of zone transfers by it (RFC 9103 section 7.1).
const ALPN_DOT: [&[u8]; 1] = [b"dot"];

/// What an operator says about encrypted DNS.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// Who this server is.
    pub certificate: Arc<Certificate>,
    /// Where to listen; port 0 lets the system choose.
    pub addresses: EncryptedAddresses,
}

/// The sockets, before anything is answered.
pub(super) struct EncryptedSockets {
    certificate: Arc<Certificate>,
    tls: Vec<TcpListener>,
    https: Vec<TcpListener>,
    quic: Vec<UdpSocket>,
    addresses: EncryptedAddresses,
}

impl EncryptedSockets {
    /// Binds all addresses.
    pub(super) fn bind(encrypted: Encrypted) -> Result<Self, ListenError> {
        let mut addresses = encrypted.addresses;
        Ok(Self {
            certificate: encrypted.certificate,
            tls: bind_each(&mut addresses.tls, "TLS", bind_tcp)?,
            https: bind_each(&mut addresses.https, "HTTPS", bind_tcp)?,
            quic: bind_each(&mut addresses.quic, "QUIC", |address| {
                let socket = quic::bind(address)?;
                Ok((socket.local_addr()?, socket))
            })?,
            addresses,
        })
    }

    /// Starts to answer; the result says on which ports.
    pub(super) fn listen(
        self,
        server: &Arc<Server>,
        runtime: &Handle,
        stop: &watch::Receiver<bool>,
    ) -> Result<EncryptedAddresses, ListenError> {
        let acceptor = |alpn| TlsAcceptor::from(self.certificate.server_config(alpn));
        let tls = Spoken::Tls(acceptor(&ALPN_DOT));
        let https = Spoken::Https(acceptor(&https::ALPN));
        for (sockets, addresses, spoken, transport) in [
            (self.tls, &self.addresses.tls, tls, "TLS"),
            (self.https, &self.addresses.https, https, "HTTPS"),
        ] {
            for (socket, address) in sockets.into_iter().zip(addresses) {
                let server = Arc::clone(server);
                let listening = tcp::listen(server, socket, spoken.clone(), runtime, stop.clone());
                listening.map_err(ListenError::at(*address, transport))?;
            }
        }
        let tls = self.certificate.server_config(&quic::ALPN);
        for (socket, address) in self.quic.into_iter().zip(&self.addresses.quic) {
            let (server, tls) = (Arc::clone(server), Arc::clone(&tls));
            let listening = quic::listen(server, socket, tls, runtime, stop.clone());
            listening.map_err(ListenError::at(*address, "QUIC"))?;
        }
        runtime.spawn(self.certificate.watch());
        Ok(self.addresses)
    }
}

/// Binds each address, and puts in its place the one that was bound.
fn bind_each<S>(
    addresses: &mut [SocketAddr],
    transport: &'static str,
    bind: impl Fn(SocketAddr) -> io::Result<(SocketAddr, S)>,
) -> Result<Vec<S>, ListenError> {
    let sockets = addresses.iter_mut().map(|address| {
        let (bound, socket) = bind(*address).map_err(ListenError::at(*address, transport))?;
        *address = bound;
        Ok(socket)
    });
    sockets.collect()
}

fn bind_tcp(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = tcp::bind(address)?;
    Ok((socket.local_addr()?, socket))
}
