//! `dnsd serve`: everything that runs, from the start to a clean stop.

mod doors;
mod error;
mod links;
mod membership;

pub use error::ServeError;

use super::address_driver::AddressDriver;
use super::admin::AdminSocket;
use super::budget::Budget;
use super::commands::{Commands, Snapshot};
use super::driver::{Driver, End, Input};
use super::signals::Signals;
use super::start::{DataDir, StartError};
use super::{clock, disk, http, listeners, memory, open_files, seeds, vip};
use crate::birth::Seeds;
use crate::blobs::Blobs;
use crate::config::{Birth, ServeConfig, VipDriver};
use crate::durable::{LoadError, Member, blob_hash};
use crate::health::{Health, Phase};
use crate::metrics::Page;
use crate::peer::Peer;
use crate::report::Life;
use crate::serve::{Served, UpdateQueue};
use crate::sponsor::Signer;
use crate::status::Addresses;
use crate::vip::failover::VipConfig;
use crate::vip::timing::VipTiming;
use arc_swap::ArcSwap;
use bytes::Bytes;
use doors::Doors;
use overlay::Incarnation;
use overlay::io::endpoint::Listeners as PeerListeners;
use overlay::io::priority;
use replication::{BlobHash, Config, Replica};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;
use tracing::{info, warn};
use zones::store::Store;

/// Inputs that wait for the peer thread.
const INPUTS_MAX: usize = 8_192;
/// Bytes of updates among them; those beyond it are answered SERVFAIL and counted.
const UPDATES_SIZE_MAX: usize = 16 << 20;
/// What an update takes beside its message. So updates alone never fill the queue: what links,
/// disk and operators say finds room.
const UPDATE_SIZE_BESIDE: usize = 4 << 10;
const _: () = assert!(UPDATES_SIZE_MAX / UPDATE_SIZE_BESIDE <= INPUTS_MAX / 2);
/// Threads for TCP, the admin socket and HTTP.
const RUNTIME_THREADS: usize = 2;
/// How long a command of the driver exec may run.
const VIP_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// If others know a later life of this peer again so soon, it is somebody else's.
const RESTART_AGAIN: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT. `reload` is called on SIGHUP.
pub fn serve(config: ServeConfig, reload: impl Fn() + Send + 'static) -> Result<(), ServeError> {
    let mut config = config;
    let signals = Signals::start(reload).map_err(ServeError::Runtime)?;
    open_files::raise_limit();
    let mut known = Incarnation::default();
    let mut last_start = None;
    loop {
        match live(&mut config, &signals, known)? {
            End::Stopped => {
                info!("stopped");
                return Ok(());
            }
            End::Failed => return Err(ServeError::Failed),
            // Overlay protocol section 1: a restored backup, if the clock was set back too, may
            // not know how far its peer has lived. It starts once more, above that.
            End::Outlived(incarnation) => {
                let now = clock::now();
                if last_start.is_some_and(|last| now < last + RESTART_AGAIN) {
                    return Err(ServeError::KeyInUse);
                }
                warn!(
                    ?incarnation,
                    "the cluster knows a later life of this peer: starting again"
                );
                known = incarnation;
                last_start = Some(now);
            }
        }
    }
}

/// One life of the peer, which is later than those that others know.
fn live(
    config: &mut ServeConfig,
    signals: &Signals,
    known: Incarnation,
) -> Result<End, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let (inputs, received) = sync_channel(INPUTS_MAX);
    signals.tell(inputs.clone());

    let is_fresh = !config.data_dir.join("log").exists();
    // What cannot be read shall leave nothing behind.
    let seeds = is_fresh
        .then(|| memory::apart(|| seeds::read(config)))
        .transpose()?;
    let (mut data, member) = membership::open(config)?;
    let seeds = match (&member, seeds) {
        (_, Some(seeds)) => seeds,
        // A first start that was cut off, perhaps by a port in use: the next one brings it all.
        (None, None) => memory::apart(|| seeds::read(config))?,
        (Some(_), None) => Seeds::default(),
    };
    // What is read is not needed again, and memory for the zones comes in its place.
    if member.is_none()
        && let Birth::Cluster { zones, .. } = &mut config.birth
    {
        zones.forget();
    }
    // All of these before anything is founded or joined: a port in use is no reason to leave a
    // member behind that does not run.
    let peer_listeners = links::bind(config, &mut data)?;
    let doors = Doors::open(config, &runtime)?;
    let advertised = links::advertised(config, peer_listeners.address());
    let (member, peer_listeners) = match (member, &config.birth) {
        (Some(member), birth) => {
            membership::check_birth(birth, &member)?;
            (member, peer_listeners)
        }
        (None, Birth::Cluster { .. }) => {
            let member = membership::found(config, &mut data, &advertised, seeds)?;
            (member, peer_listeners)
        }
        (None, Birth::Join(token)) => {
            let address = peer_listeners.address();
            let member = membership::join(
                config,
                &mut data,
                token,
                &advertised,
                peer_listeners,
                signals,
            )?;
            (
                member,
                PeerListeners::bind(address).map_err(ServeError::Links)?,
            )
        }
    };
    // Zones are served from memory of our own: what came by on the way goes.
    if let Birth::Cluster { zones, .. } = &mut config.birth {
        zones.forget();
    }
    memory::give_back();
    run(Parts {
        config,
        known,
        runtime,
        data,
        member,
        peer_listeners,
        doors,
        advertised,
        inputs,
        received,
    })
}

struct Parts<'c> {
    config: &'c ServeConfig,
    known: Incarnation,
    runtime: tokio::runtime::Runtime,
    data: DataDir,
    member: Member,
    peer_listeners: PeerListeners,
    doors: Doors,
    advertised: Vec<SocketAddr>,
    inputs: SyncSender<Input>,
    received: std::sync::mpsc::Receiver<Input>,
}

fn run(parts: Parts<'_>) -> Result<End, ServeError> {
    let Parts {
        config,
        known,
        runtime,
        data,
        member,
        peer_listeners,
        doors,
        advertised,
        inputs,
        received,
    } = parts;
    let admit = member.admit.clone();
    let (wall, now) = (clock::wall(), clock::now());
    let timing = config.overlay_profile.timing();
    let replica = Replica::resume(
        Config {
            known,
            ..Config::new(
                admit.peer(),
                admit.cluster,
                timing.deadline_max,
                timing.agree_limit,
            )
        },
        &member.rows,
        &member.meta,
        fastrand::u32(..),
        wall,
        now,
    )
    .map_err(LoadError::Rows)?;
    let vips = VipConfig {
        capacity: config.vip.capacity,
        patience: patience(&config.vip.driver),
        ..VipConfig::new(
            admit.peer(),
            admit.name.clone(),
            VipTiming::of(config.overlay_profile),
        )
    };
    let peer = Peer::resume(
        replica,
        member.checkpoint,
        member.imports,
        member.history,
        vips,
        wall,
        now,
    )?;

    let served = Arc::new(ArcSwap::from_pointee(Served::default()));
    let updates = inputs.clone();
    let budget = Budget::new(UPDATES_SIZE_MAX);
    let shared = Arc::new(listeners::Shared {
        served: Arc::clone(&served),
        updates: UpdateQueue::new(move |request| {
            let size = request.message.len() + UPDATE_SIZE_BESIDE;
            let Some(share) = budget.take(size) else {
                return Err(request);
            };
            let input = Input::Update(request, share);
            updates.try_send(input).map_err(|error| {
                let (TrySendError::Full(input) | TrySendError::Disconnected(input)) = error;
                match input {
                    Input::Update(request, _) => request,
                    _ => unreachable!("what comes back is what was sent"),
                }
            })
        }),
    });
    let dns = doors
        .dns
        .start(&shared, runtime.handle())
        .map_err(ServeError::Listen)?;

    let dns_port = dns.addresses().first().map_or(53, SocketAddr::port);
    let life = Life {
        name: admit.name.clone(),
        peer: admit.peer(),
        cluster: admit.cluster,
        addresses: Addresses {
            dns: dns.addresses().to_vec(),
            encrypted: dns.encrypted_addresses().clone(),
            peer: Some(peer_listeners.address()),
            advertised: advertised.clone(),
            metrics: config.metrics,
        },
    };
    let snapshot = Snapshot::new(Arc::new(http::Snapshot {
        taken: now,
        health: Health {
            phase: Phase::Starting,
            reasons: Vec::new(),
        },
        page: Page::default(),
    }));
    serve_operators(doors.admin, doors.metrics, &runtime, &inputs, &snapshot);

    let mut blobs = Blobs::default();
    for (hash, bytes) in blobs_of(&data).map_err(ServeError::Start)? {
        blobs.insert(hash, bytes);
    }
    let signer = Signer {
        key: data.identity.signer(),
        me: admit.peer(),
        cluster: admit.cluster,
    };
    let start_links = links::prepare(config, &data, &admit, peer_listeners, advertised, &inputs)?;
    info!(
        peer = %admit.peer(), name = admit.name, cluster = %admit.cluster,
        dns = ?dns.addresses(), "started"
    );
    let (jobs, waiting) = channel();
    let disk = {
        let inputs = inputs.clone();
        disk::start(Box::new(data.store), waiting, move |done| {
            drop(inputs.send(Input::Disk(done)));
        })
    };
    let dns = Arc::new(dns);
    let counted = Arc::clone(&dns);
    let tally = Box::new(move || counted.counts());
    let commands = Commands::new(life, snapshot, tally);
    let addresses = AddressDriver::new(
        vip_settings(config, dns_port, timing.lease),
        timing.lease,
        dns.addresses().to_vec(),
        Arc::clone(&served),
        inputs.clone(),
    );
    let driver = Driver::new(
        peer,
        signer,
        blobs,
        commands,
        inputs,
        jobs,
        start_links,
        served,
        addresses,
        timing.lease,
    );
    let end = clock::spawn("peer", move || {
        priority::run_sooner();
        driver.run(&received)
    })
    .join()
    .unwrap_or(End::Failed);
    // The last holder stops the listeners.
    drop(dns);
    runtime.shutdown_timeout(Duration::from_secs(1));
    if disk.join().is_err() {
        return Err(ServeError::Failed);
    }
    Ok(end)
}

fn vip_settings(config: &ServeConfig, dns_port: u16, lease: Duration) -> vip::Settings {
    let kind = match &config.vip.driver {
        VipDriver::Netlink => vip::Kind::Netlink,
        VipDriver::Log => vip::Kind::Log,
        VipDriver::Exec(command) => vip::Kind::Exec {
            command: command.clone(),
            timeout: VIP_COMMAND_TIMEOUT,
        },
    };
    vip::Settings {
        dns_port,
        lease,
        answer: VipTiming::of(config.overlay_profile).ask,
        ..vip::Settings::new(kind, config.data_dir.join(vip::RECORD))
    }
}

/// How much longer than the kernel a driver of addresses may take for a change.
fn patience(driver: &VipDriver) -> Duration {
    match driver {
        VipDriver::Netlink | VipDriver::Log => Duration::ZERO,
        VipDriver::Exec(_) => VIP_COMMAND_TIMEOUT,
    }
}

fn serve_operators(
    admin: AdminSocket,
    metrics: Option<tokio::net::TcpListener>,
    runtime: &tokio::runtime::Runtime,
    inputs: &SyncSender<Input>,
    snapshot: &Snapshot,
) {
    let calls = inputs.clone();
    runtime.spawn(admin.serve(move |call| {
        calls.try_send(Input::Admin(call)).map_err(|error| {
            let (TrySendError::Full(input) | TrySendError::Disconnected(input)) = error;
            match input {
                Input::Admin(call) => call,
                _ => unreachable!("what comes back is what was sent"),
            }
        })
    }));
    if let Some(listener) = metrics {
        let (asks, newest) = (inputs.clone(), snapshot.subscribe());
        let zones = inputs.clone();
        runtime.spawn(http::serve(
            listener,
            http::Snapshots {
                ask: move || drop(asks.try_send(Input::Ask)),
                ask_zones: move |answer| drop(zones.try_send(Input::AskZones(answer))),
                newest,
            },
        ));
    }
}

fn blobs_of(data: &DataDir) -> Result<Vec<(BlobHash, Bytes)>, StartError> {
    let mut blobs = Vec::new();
    for hash in data.store.blobs()? {
        if let Some(bytes) = data.store.blob(&hash)? {
            blobs.push((blob_hash(&bytes), Bytes::from(bytes)));
        }
    }
    Ok(blobs)
}
