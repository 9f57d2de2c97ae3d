//! The listeners of encrypted DNS: over TLS, over HTTPS and over QUIC, by one certificate. HTTPS is
//! served by TCP and, as HTTP/3, by UDP on the same port.

use super::certificate::Certificate;
use super::client_authorities::ClientAuthorities;
use super::listeners::{ListenError, PORT_TRIES};
use super::server::Server;
use super::{doq, http3, https, quic, tcp};
use crate::config::EncryptedAddresses;
use crate::serve::Transport;
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
    /// By whom clients prove who they are; none: they are not asked.
    pub authorities: Option<Arc<ClientAuthorities>>,
    /// Where to listen; port 0 lets the system choose.
    pub addresses: EncryptedAddresses,
}

/// The sockets, before anything is answered.
pub(super) struct EncryptedSockets {
    certificate: Arc<Certificate>,
    authorities: Option<Arc<ClientAuthorities>>,
    tls: Vec<TcpListener>,
    https: Vec<(TcpListener, UdpSocket)>,
    quic: Vec<UdpSocket>,
    addresses: EncryptedAddresses,
}

impl EncryptedSockets {
    /// Binds all addresses.
    pub(super) fn bind(encrypted: Encrypted) -> Result<Self, ListenError> {
        let mut addresses = encrypted.addresses;
        Ok(Self {
            certificate: encrypted.certificate,
            authorities: encrypted.authorities,
            tls: bind_each(&mut addresses.tls, "TLS", bind_tcp)?,
            https: bind_each(&mut addresses.https, "HTTPS", bind_https)?,
            quic: bind_each(&mut addresses.quic, "QUIC", |address| {
                let socket = quic::bind(address)?;
                Ok((socket.local_addr()?, socket))
            })?,
            addresses,
        })
    }

    /// By whom clients prove who they are.
    pub(super) fn authorities(&self) -> Option<Arc<ClientAuthorities>> {
        self.authorities.clone()
    }

    /// Starts to answer; the result says on which ports.
    pub(super) fn listen(
        self,
        server: &Arc<Server>,
        runtime: &Handle,
        stop: &watch::Receiver<bool>,
    ) -> Result<EncryptedAddresses, ListenError> {
        let authorities = self.authorities.as_ref();
        let config = |alpn, authorities| self.certificate.server_config(alpn, authorities);
        let tls = TlsAcceptor::from(config(&ALPN_DOT, authorities));
        let tls = (Transport::Tls, Some(tls));
        for (socket, address) in self.tls.into_iter().zip(&self.addresses.tls) {
            let (server, stop) = (Arc::clone(server), stop.clone());
            let listening = tcp::listen(server, socket, tls.clone(), runtime, stop);
            listening.map_err(ListenError::at(*address, "TLS"))?;
        }
        // By HTTPS nothing is done that needs a certificate, and a browser would ask its user.
        let https = TlsAcceptor::from(config(&https::ALPN, None));
        let https = (Transport::Https, Some(https));
        let http3 = (Transport::Https, config(&http3::ALPN, None));
        for ((tcp, udp), address) in self.https.into_iter().zip(&self.addresses.https) {
            let (server, stop) = (Arc::clone(server), stop.clone());
            let by_tcp = tcp::listen(
                Arc::clone(&server),
                tcp,
                https.clone(),
                runtime,
                stop.clone(),
            );
            let by_udp = || quic::listen(server, udp, http3.clone(), runtime, stop);
            let listening = by_tcp.and_then(|()| by_udp());
            listening.map_err(ListenError::at(*address, "HTTPS"))?;
        }
        let dns = (Transport::Quic, config(&doq::ALPN, authorities));
        for (socket, address) in self.quic.into_iter().zip(&self.addresses.quic) {
            let (server, stop) = (Arc::clone(server), stop.clone());
            let listening = quic::listen(server, socket, dns.clone(), runtime, stop);
            listening.map_err(ListenError::at(*address, "QUIC"))?;
        }
        runtime.spawn(self.certificate.watch());
        if let Some(authorities) = self.authorities {
            runtime.spawn(authorities.watch());
        }
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

/// Two sockets on one port.
fn bind_https(address: SocketAddr) -> io::Result<(SocketAddr, (TcpListener, UdpSocket))> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (chosen, tcp) = bind_tcp(address)?;
        match quic::bind(chosen) {
            Ok(udp) => return Ok((chosen, (tcp, udp))),
            Err(error)
                if address.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && tries < PORT_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}
