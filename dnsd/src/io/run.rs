//! `dnsd serve`: everything that runs, from the start to a clean stop.

use super::address_driver::AddressDriver;
use super::admin::AdminSocket;
use super::budget::Budget;
use super::certificate::{Certificate, CertificateError, CertificateFiles};
use super::client_authorities::ClientAuthorities;
use super::clock;
use super::commands::{Commands, Snapshot};
use super::disk;
use super::driver::{Driver, End, Input, StartLinks};
use super::encrypted::Encrypted;
use super::http;
use super::joining::{self, JoinError};
use super::listeners::{self, Bound, ListenError};
use super::memory;
use super::open_files;
use super::seeds;
use super::signals::Signals;
use super::start::{DataDir, StartError};
use super::tcp;
use super::vip;
use crate::birth::Seeds;
use crate::blobs::Blobs;
use crate::config::{Birth, CorruptStore, ServeConfig, TcpSetup, VipDriver};
use crate::durable::{self, LoadError, Member, blob_hash};
use crate::health::{Health, Phase};
use crate::metrics::Page;
use crate::peer::Peer;
use crate::policy::RULES_MAX;
use crate::report::Life;
use crate::serve::{Served, Setup, UpdateQueue};
use crate::setting::{PeerName, PeerRef, ZoneFile};
use crate::sponsor::Signer;
use crate::status::Addresses;
use crate::vip::failover::VipConfig;
use crate::vip::timing::VipTiming;
use arc_swap::ArcSwap;
use bytes::Bytes;
use overlay::io::endpoint::Listeners as PeerListeners;
use overlay::io::link::{LinkError, LinkThread};
use overlay::io::priority;
use overlay::{Admit, ClusterId, Incarnation, Join, NeighborSpec, Node, Router, Token};
use replication::{BlobHash, Config, Replica};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;
use tracing::{info, warn};
use zones::io::store::set_aside;
use zones::store::{Database, Store};
use zones::zonefile::Rejected;

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
/// Of the zones that the command line names and the cluster does not have, so many are named.
const UNKNOWN_ZONES_TOLD_MAX: usize = 10;
/// If others know a later life of this peer again so soon, it is somebody else's.
const RESTART_AGAIN: Duration = Duration::from_secs(60);

/// Why the daemon does not run.
#[derive(Debug)]
pub enum ServeError {
    /// A zone file of the birth cannot be used.
    Zone(Box<Rejected>),
    /// The data directory cannot be used.
    Start(StartError),
    /// It holds another cluster's data than the token's.
    OtherCluster(ClusterId, ClusterId),
    /// Nothing was joined.
    Join(JoinError),
    /// An address for DNS.
    Listen(ListenError),
    /// The certificate for encrypted DNS.
    Certificate(CertificateError),
    /// The address for links.
    Links(LinkError),
    /// The admin socket, or the address for metrics.
    Bind(String, io::Error),
    /// There are more `--allow-*` than rules may be.
    Rules,
    /// The system gives no randomness.
    Random,
    /// The runtime could not be started.
    Runtime(io::Error),
    /// Another process runs with this peer's key.
    KeyInUse,
    /// It ran and could not go on; why is in the log.
    Failed,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(rejected) => {
                for (number, error) in rejected.errors.iter().enumerate() {
                    if number > 0 {
                        f.write_str("\n")?;
                    }
                    error.fmt(f)?;
                }
                Ok(())
            }
            Self::Start(error) if error.is_corrupt() => write!(
                f,
                "{error}. Restore it from a backup, or move it aside and join anew: \
                 --set-aside-corrupt-store --join TOKEN"
            ),
            Self::Start(error) => error.fmt(f),
            Self::OtherCluster(held, token) => write!(
                f,
                "the data directory belongs to cluster {held}, and the token to {token}; \
                 nothing was changed. Use another --data-dir"
            ),
            Self::Join(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Certificate(error) => error.fmt(f),
            Self::Links(error) => error.fmt(f),
            Self::Bind(what, error) => write!(f, "cannot listen on {what}: {error}"),
            Self::Rules => write!(f, "--allow-* may name {RULES_MAX} prefixes at most"),
            Self::Random => f.write_str("the system gives no randomness"),
            Self::Runtime(error) => write!(f, "cannot start threads: {error}"),
            Self::KeyInUse => f.write_str(
                "another process runs with this peer's key: its data directory was copied. \
                 Stop one of the two for good, and let it join anew with an empty directory",
            ),
            Self::Failed => f.write_str("the daemon cannot go on; its log says why"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<LoadError> for ServeError {
    fn from(error: LoadError) -> Self {
        Self::Start(error.into())
    }
}

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
    let (mut data, member) = open(config)?;
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
    let peer_listeners = bind_links(config, &mut data)?;
    let doors = Doors::open(config, &runtime)?;
    let advertised = advertised(config, peer_listeners.address());
    let (member, peer_listeners) = match (member, &config.birth) {
        (Some(member), birth) => {
            check_birth(birth, &member)?;
            (member, peer_listeners)
        }
        (None, Birth::Cluster { .. }) => {
            let member = found(config, &mut data, &advertised, seeds)?;
            (member, peer_listeners)
        }
        (None, Birth::Join(token)) => {
            let address = peer_listeners.address();
            let member = join(
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

/// What clients and operators come by; nobody is let in yet.
struct Doors {
    dns: Bound,
    admin: AdminSocket,
    metrics: Option<tokio::net::TcpListener>,
}

impl Doors {
    fn open(config: &ServeConfig, runtime: &tokio::runtime::Runtime) -> Result<Self, ServeError> {
        let dns = Bound::new(listeners::Config {
            listen: config.listen.clone(),
            udp_workers: None,
            setup: Setup {
                nsid: config.nsid.clone(),
                chaos: config.chaos.clone(),
                requires_server_cookie: config.requires_server_cookie,
                certified: config.encrypted.certified.clone(),
                ..Setup::default()
            },
            rate_limit: config.rate_limit.clone(),
            tcp: limits(&config.tcp),
            proxies: config.proxies.clone(),
            encrypted: encrypted(config)?,
        })
        .map_err(ServeError::Listen)?;
        let _guard = runtime.enter();
        let admin = AdminSocket::bind(&config.admin)
            .map_err(|error| ServeError::Bind(config.admin.display().to_string(), error))?;
        let metrics = config.metrics.map(|address| {
            runtime
                .block_on(tokio::net::TcpListener::bind(address))
                .map_err(|error| ServeError::Bind(address.to_string(), error))
        });
        Ok(Self {
            dns,
            admin,
            metrics: metrics.transpose()?,
        })
    }
}

fn limits(setup: &TcpSetup) -> tcp::Limits {
    let limits = tcp::Limits::default();
    tcp::Limits {
        connections_max: setup.connections.unwrap_or(limits.connections_max),
        connections_per_address_max: setup
            .connections_per_address
            .unwrap_or(limits.connections_per_address_max),
        timeout_idle: setup.timeout_idle.unwrap_or(limits.timeout_idle),
        ..limits
    }
}

/// What encrypted DNS is served by, if any is.
fn encrypted(config: &ServeConfig) -> Result<Option<Encrypted>, ServeError> {
    let setup = &config.encrypted;
    if setup.is_empty() {
        return Ok(None);
    }
    let files = match setup.certificate.clone() {
        Some((chain, key)) => CertificateFiles { chain, key },
        None => {
            let made = CertificateFiles::made(&config.data_dir, own_names(config));
            made.map_err(ServeError::Certificate)?
        }
    };
    let certificate = Certificate::open(files).map_err(ServeError::Certificate)?;
    let authorities = setup
        .client_authorities
        .clone()
        .map(ClientAuthorities::open);
    Ok(Some(Encrypted {
        certificate,
        authorities: authorities.transpose().map_err(ServeError::Certificate)?,
        addresses: setup.addresses.clone(),
    }))
}

/// What a certificate that this peer makes says it is.
fn own_names(config: &ServeConfig) -> Vec<String> {
    let listens = config.encrypted.addresses.all().map(|address| address.ip());
    let known = listens.filter(|ip| !ip.is_unspecified());
    let name = config.name.iter().map(PeerName::as_str);
    let name = name.filter(|name| name.is_ascii()).map(str::to_owned);
    name.chain(known.map(|ip| ip.to_string())).collect()
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
    let start_links = start_links(config, &data, &admit, peer_listeners, advertised, &inputs)?;
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

fn open(config: &ServeConfig) -> Result<(DataDir, Option<Member>), ServeError> {
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
fn check_birth(birth: &Birth, member: &Member) -> Result<(), ServeError> {
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

fn found(
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

fn join(
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

/// Binds the address for links. A port that is not said is chosen once and kept.
fn bind_links(config: &ServeConfig, data: &mut DataDir) -> Result<PeerListeners, ServeError> {
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
fn advertised(config: &ServeConfig, listen: SocketAddr) -> Vec<SocketAddr> {
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

/// Everything that the link thread needs, to be started when this life is durable.
fn start_links(
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
