//! The links of a peer: their address, and what their thread starts with.

use super::ServeError;
use crate::config::ServeConfig;
use crate::durable::{self, LoadError};
use crate::io::clock;
use crate::io::driver::{Input, StartLinks};
use crate::io::start::{DataDir, StartError};
use crate::setting::PeerRef;
use overlay::io::endpoint::Listeners as PeerListeners;
use overlay::io::link::LinkThread;
use overlay::{Admit, Join, NeighborSpec, Node, Router};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{SyncSender, TrySendError};
use tracing::warn;

/// Binds the address for links. A port that is not said is chosen once and kept.
pub(super) fn bind(config: &ServeConfig, data: &mut DataDir) -> Result<PeerListeners, ServeError> {
    let kept = durable::peer_port(&data.store)?;
    let address = config
        .peer_listen
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, kept.unwrap_or_default())));
    let listeners = PeerListeners::bind(address).map_err(ServeError::Links)?;
    if config.peer_listen.is_none() && kept.is_none() {
        durable::set_peer_port(&mut data.store, listeners.address().port())?;
    }
    Ok(listeners)
}

/// What other peers are told to dial.
pub(super) fn advertised(config: &ServeConfig, listen: SocketAddr) -> Vec<SocketAddr> {
    if !config.peer_advertise.is_empty() {
        return config.peer_advertise.clone();
    }
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let is_same_family = |ip: &IpAddr| listen.is_ipv6() || ip.is_ipv4();
    let mut addresses: Vec<SocketAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .filter(is_same_family)
        .map(|ip| SocketAddr::new(ip, listen.port()))
        .collect();
    addresses.truncate(overlay::admit::ADDRESSES_MAX);
    if addresses.is_empty() {
        warn!("this machine has no address that others could dial; use --peer-advertise");
    }
    addresses
}

/// Everything that the link thread needs, to be started when this life is durable.
pub(super) fn prepare(
    config: &ServeConfig,
    data: &DataDir,
    admit: &Admit,
    listeners: PeerListeners,
    advertised: Vec<SocketAddr>,
    inputs: &SyncSender<Input>,
) -> Result<StartLinks, ServeError> {
    let rows = durable::member_rows(&data.store)?;
    let join_rows = durable::join_rows(&data.store)?;
    let join = Join::resume(join_rows, fastrand::u64(..)).map_err(|row| {
        LoadError::Store(zones::store::StoreError::Corrupt {
            place: "database zones, tree join".to_owned(),
            cause: format!("the row {} does not decode", row.key.escape_ascii()),
        })
    })?;
    let links =
        (!config.links.is_empty()).then(|| config.links.iter().map(neighbor_spec).collect());
    let router_config = overlay::Config {
        cluster: admit.cluster,
        name: admit.name.clone(),
        addresses: advertised,
        profile: config.overlay_profile,
        links,
        extra_addresses: config.peers.clone(),
        admit: Some(admit.clone()),
    };
    let identity = overlay::io::key::Identity::load_or_make(&config.data_dir)
        .map_err(|error| ServeError::Start(StartError::Key(error)))?;
    let inputs = inputs.clone();
    Ok(Box::new(move |incarnation| {
        let (wall, now) = (clock::wall(), clock::now());
        let router = Router::resume(
            router_config,
            identity.signer(),
            incarnation,
            rows,
            fastrand::u64(..),
            wall,
            now,
        );
        let node = Node::new(Some(router), join);
        let deliver = move |event| {
            let error = inputs.try_send(Input::Node(event)).err()?;
            let (TrySendError::Full(input) | TrySendError::Disconnected(input)) = error;
            match input {
                Input::Node(event) => Some(event),
                _ => unreachable!("what comes back is what was sent"),
            }
        };
        match LinkThread::start(listeners, &identity, node, deliver) {
            Ok(links) => Some(links),
            Err(error) => {
                tracing::error!(%error, "no links");
                None
            }
        }
    }))
}

fn neighbor_spec(peer: &PeerRef) -> NeighborSpec {
    NeighborSpec::parse(&peer.to_string())
}
