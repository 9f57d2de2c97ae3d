//! How a data directory has its member: from an earlier life, by founding a cluster or by a join.

use super::ServeError;
use crate::birth::Seeds;
use crate::config::{Birth, CorruptStore, ServeConfig};
use crate::durable::{self, Member};
use crate::io::signals::Signals;
use crate::io::start::{DataDir, StartError};
use crate::io::{clock, joining};
use crate::setting::ZoneFile;
use overlay::io::endpoint::Listeners as PeerListeners;
use overlay::{Admit, ClusterId, Token};
use ring::rand::{SecureRandom, SystemRandom};
use std::net::SocketAddr;
use tracing::{info, warn};
use zones::io::store::set_aside;
use zones::store::{Database, Store};

/// Of the zones that the command line names and the cluster does not have, so many are named.
const UNKNOWN_ZONES_TOLD_MAX: usize = 10;

/// Opens the data directory; the member is none in a fresh one.
pub(super) fn open(config: &ServeConfig) -> Result<(DataDir, Option<Member>), ServeError> {
    let opened = DataDir::open(&config.data_dir).and_then(|mut data| {
        match durable::member(&mut data.store) {
            Ok(Some(member)) if member.admit.peer() != data.identity.peer_id() => {
                data.store.give_back()?;
                Err(StartError::OtherKey(config.data_dir.join("key")))
            }
            Ok(member) => {
                data.store.accept();
                Ok((data, member))
            }
            Err(error) => {
                data.store.give_back()?;
                Err(error.into())
            }
        }
    });
    match opened {
        Err(error) if error.is_corrupt() && config.corrupt_store == CorruptStore::SetAside => {
            let suffix = format!("corrupt-{}", clock::wall().as_secs());
            let place = set_aside(&config.data_dir, &suffix)
                .map_err(|error| ServeError::Start(error.into()))?;
            warn!(place = %place.display(), %error, "the corrupt store was moved aside");
            let mut data = DataDir::open(&config.data_dir).map_err(ServeError::Start)?;
            data.store.accept();
            Ok((data, None))
        }
        opened => opened.map_err(ServeError::Start),
    }
}

/// What the command line says of a birth, held against a data directory that is not fresh.
pub(super) fn check_birth(birth: &Birth, member: &Member) -> Result<(), ServeError> {
    match birth {
        Birth::Join(token) if token.cluster != member.admit.cluster => {
            return Err(ServeError::OtherCluster(
                member.admit.cluster,
                token.cluster,
            ));
        }
        Birth::Join(_) => info!("--join is ignored: this data directory is in that cluster"),
        Birth::Cluster {
            zones,
            allow_update,
            allow_transfer,
        } => {
            if !zones.is_empty() {
                info!(
                    zones = zones.len(),
                    "--zone is ignored: the cluster is there already; `dnsd zone import` adds zones"
                );
            }
            let is_unknown = |zone: &ZoneFile| member.checkpoint.version(&zone.origin).is_none();
            for zone in zones.iter().filter(is_unknown).take(UNKNOWN_ZONES_TOLD_MAX) {
                info!(zone = %zone.origin, "the cluster does not have this zone");
            }
            if !allow_update.is_empty() || !allow_transfer.is_empty() {
                info!(
                    "--allow-* is ignored: the cluster is there already; `dnsd policy` says who may what"
                );
            }
        }
    }
    Ok(())
}

/// Founds a cluster with what `serve` was told.
pub(super) fn found(
    config: &ServeConfig,
    data: &mut DataDir,
    advertised: &[SocketAddr],
    seeds: Seeds,
) -> Result<Member, ServeError> {
    let mut cluster = [0; 16];
    SystemRandom::new()
        .fill(&mut cluster)
        .map_err(|_| ServeError::Random)?;
    let me = data.identity.peer_id();
    let admit = Admit::sign(
        &data.identity.signer(),
        ClusterId(cluster),
        data.identity.public_key(),
        name_of(config, me),
        advertised.to_vec(),
        me,
        clock::wall(),
    );
    let (wall, zones) = (clock::wall(), seeds.zones.len());
    let member = durable::give_birth(&mut data.store, &admit, seeds.into_state(me, wall), wall)?;
    let shed = data.store.shed(Database::Zones);
    shed.map_err(|error| ServeError::Start(error.into()))?;
    info!(cluster = %admit.cluster, zones, "a new cluster");
    Ok(member)
}

/// Joins the cluster of a token.
pub(super) fn join(
    config: &ServeConfig,
    data: &mut DataDir,
    token: &Token,
    advertised: &[SocketAddr],
    listeners: PeerListeners,
    signals: &Signals,
) -> Result<Member, ServeError> {
    let name = name_of(config, data.identity.peer_id());
    let addresses = advertised.to_vec();
    joining::join(data, token.clone(), name, addresses, listeners, &|| {
        signals.is_stopping()
    })
    .map_err(ServeError::Join)?;
    reread(data)
}

fn reread(data: &mut DataDir) -> Result<Member, ServeError> {
    let member = durable::member(&mut data.store)?;
    Ok(member.expect("it was just written"))
}

fn name_of(config: &ServeConfig, me: overlay::PeerId) -> String {
    config
        .name
        .as_ref()
        .map_or_else(|| me.to_string(), |name| name.as_str().to_owned())
}
