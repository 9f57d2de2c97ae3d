//! The sockets of a peer, one UDP and one TCP of the same port, and the QUIC endpoint on them.

use super::congestion::FloorConfig;
use super::key::Identity;
use super::link::LinkError;
use super::tls;
use crate::link_event::Protocol;
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// The two sockets of `--peer-listen`, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
    address: SocketAddr,
}

impl Listeners {
    /// Binds both sockets. Port 0 chooses a number that is free for both.
    pub fn bind(address: SocketAddr) -> Result<Self, LinkError> {
        let bind = |protocol, address, source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => LinkError::InUse { protocol, address },
            _ => LinkError::Bind {
                protocol,
                address,
                source,
            },
        };
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            let tcp = bind_tcp(address).map_err(|error| bind("TCP", address, error))?;
            let chosen = tcp
                .local_addr()
                .map_err(|error| bind("TCP", address, error))?;
            tries -= 1;
            match bind_udp(chosen) {
                Ok(udp) => {
                    return Ok(Self {
                        udp,
                        tcp,
                        address: chosen,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
                Err(error) => return Err(bind("UDP", chosen, error)),
            }
        }
    }

    /// The address that both are bound to, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of an earlier process that still linger do not keep the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The system may grant less, which only costs resends.
    socket.set_recv_buffer_size(SOCKET_BUFFER_SIZE)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_SIZE)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The endpoint, and how it dials for each protocol.
pub(super) struct Transport {
    pub(super) endpoint: Endpoint,
    clients: BTreeMap<Protocol, ClientConfig>,
}

impl Transport {
    /// Serves the socket; called within the runtime that drives it.
    pub(super) fn new(udp: UdpSocket, identity: &Identity) -> io::Result<Self> {
        let transport = Arc::new(transport_config(ACK_DELAY));
        let beats = Arc::new(transport_config(ACK_DELAY_BEAT));
        let mut server = ServerConfig::with_crypto(Arc::new(tls::server_config(identity)));
        server.transport_config(Arc::clone(&transport));
        server.max_incoming(INCOMING_MAX);
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(server),
            udp,
            Arc::new(TokioRuntime),
        )?;
        let clients = [
            Protocol::Link,
            Protocol::Beat,
            Protocol::Join,
            Protocol::Evicted,
        ];
        let clients = clients.map(|protocol| {
            let crypto = tls::client_config(identity, protocol);
            let mut config = ClientConfig::new(Arc::new(crypto));
            config.transport_config(Arc::clone(match protocol {
                Protocol::Beat => &beats,
                _ => &transport,
            }));
            (protocol, config)
        });
        Ok(Self {
            endpoint,
            clients: clients.into(),
        })
    }

    /// Begins a handshake.
    pub(super) fn connect(
        &self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Result<quinn::Connecting, quinn::ConnectError> {
        let config = self
            .clients
            .get(&protocol)
            .expect("only canaries have no QUIC side");
        self.endpoint
            .connect_with(config.clone(), address, SERVER_NAME)
    }
}

/// Lifts the limits that every connection starts with.
pub(super) fn lift_limits(connection: &quinn::Connection) {
    connection.set_receive_window(RECEIVE_WINDOW_ACCEPTED);
    connection.set_max_concurrent_bi_streams(STREAMS_ACCEPTED);
    connection.set_max_concurrent_uni_streams(STREAMS_ACCEPTED);
}

/// Overlay protocol section 1: "the transport settings that matter".
fn transport_config(ack_delay: Duration) -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(ack_delay))
        .ack_eliciting_threshold(ACK_THRESHOLD);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MTU_MAX);
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(FloorConfig))
        .initial_rtt(RTT_INITIAL)
        .ack_frequency_config(Some(acks))
        .mtu_discovery_config(Some(discovery))
        .datagram_send_buffer_size(DATAGRAM_SEND_BUFFER_SIZE)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER_SIZE))
        .receive_window(RECEIVE_WINDOW_STRANGER)
        .stream_receive_window(STREAM_RECEIVE_WINDOW)
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        // Heartbeats are the router's; the transport only clears away what is dead.
        .keep_alive_interval(None)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()));
    config
}

/// How often a port that is free for TCP may turn out to be in use for UDP.
const PORT_TRIES: u32 = 64;
const TCP_BACKLOG: i32 = 128;
/// Bursts of a whole checkpoint at 1 Gbit/s while the thread works for 5 ms, with a margin.
const SOCKET_BUFFER_SIZE: usize = 2 * 1024 * 1024;
/// Handshakes that the endpoint holds before they are looked at.
const INCOMING_MAX: usize = 256;
/// Not sent (SNI is off); the library wants a name.
const SERVER_NAME: &str = "zonecast";
/// Largest UDP payload on Ethernet over IPv6.
const MTU_MAX: u16 = 1452;
/// Two packets: queue and priority are the router's. 32 bytes are the library's own for each.
const DATAGRAM_SEND_BUFFER_SIZE: usize = 2 * (MTU_MAX as usize + 32);
/// What comes while the thread works on something else; the oldest is dropped beyond.
const DATAGRAM_RECEIVE_BUFFER_SIZE: usize = 512 * 1024;
/// Overlay protocol section 1: what a stranger may fill.
const RECEIVE_WINDOW_STRANGER: VarInt = VarInt::from_u32(8 * 1024);
/// 100 Mbit/s over 400 ms, several streams together.
const RECEIVE_WINDOW_ACCEPTED: VarInt = VarInt::from_u32(8 * 1024 * 1024);
/// One stream does not take all of it.
const STREAM_RECEIVE_WINDOW: VarInt = VarInt::from_u32(2 * 1024 * 1024);
/// What this side keeps until it is acknowledged, for all streams of a connection.
const SEND_WINDOW: u64 = 4 * 1024 * 1024;
/// Bulk fetches of one neighbor at once; more wait at its side.
const STREAMS_ACCEPTED: VarInt = VarInt::from_u32(64);
/// The default of 333 ms would make a first lost packet a long pause.
const RTT_INITIAL: Duration = Duration::from_millis(20);
/// Overlay protocol section 1: at once, or after at most this.
const ACK_DELAY: Duration = Duration::from_millis(2);
/// Asked for where only heartbeats are sent: the acknowledgement goes with the next beat.
const ACK_DELAY_BEAT: Duration = Duration::from_millis(25);
/// So many packets are acknowledged in one: half of what the least window holds.
const ACK_THRESHOLD: VarInt = VarInt::from_u32(7);
/// The router gives up a link long before.
const IDLE_TIMEOUT_MS: u32 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_port_is_the_same_for_both_and_a_port_in_use_is_named() {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listeners.address();
        assert_eq!(listeners.udp.local_addr().unwrap(), address);
        assert_eq!(listeners.tcp.local_addr().unwrap(), address);
        let error = Listeners::bind(address).unwrap_err();
        assert!(
            matches!(
                error,
                LinkError::InUse {
                    protocol: "TCP",
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn a_port_in_use_for_udp_alone_is_named_too() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        match Listeners::bind(address).unwrap_err() {
            // Another program may have that TCP port.
            LinkError::InUse { address: named, .. } => assert_eq!(named, address),
            error => panic!("{error}"),
        }
    }
}
