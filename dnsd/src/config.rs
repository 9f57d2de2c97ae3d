//! What `dnsd serve` is told, by flags and by a TOML file, parsed into types that cannot be wrong.
//!
//! [`Settings`] is one struct for both: what a flag is called, its line in the file is called too
//! (`--overlay-profile` is `profile` in `[overlay]`). Flags win over the file. [`ServeConfig`] is
//! what comes out: defaults filled in, contradictions refused.

mod encrypted;
mod tcp;
mod zone_files;

pub use encrypted::{EncryptedAddresses, EncryptedSetup};
pub use tcp::TcpSetup;
pub use zone_files::ZoneFiles;

use crate::prefix::Prefix;
use crate::proxy::Proxies;
use crate::serve::Chaos;
use crate::serve::rate::{RateLimit, SLIP};
use crate::setting::{
    DriverKind, Listen, LogFormat, LogLevel, PeerName, PeerRef, Rate, SelfText, Setting, Slip,
    Weight, ZoneFile, many, number, one,
};
use encrypted::TlsSettings;
use overlay::admit::ADDRESSES_MAX;
use overlay::timing::Profile;
use overlay::token::Token;
use serde::Deserialize;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use tcp::TcpSettings;

/// Where the data is if nothing else is said.
pub const DATA_DIR: &str = "./data";
/// Where DNS is served if nothing else is said: not on port 53, so that a first try needs no
/// privileges and disturbs nobody.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5353);

/// Everything that `serve` needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServeConfig {
    /// Where the store and the key are.
    pub data_dir: PathBuf,
    /// The admin socket.
    pub admin: PathBuf,
    /// The peer's name; none: the one that is in the data directory, or its id.
    pub name: Option<PeerName>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: LogLevel,
    /// Where DNS is served; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// Who may say that it asks for another.
    pub proxies: Proxies,
    /// About connections.
    pub tcp: TcpSetup,
    /// Where it is served encrypted.
    pub encrypted: EncryptedSetup,
    /// Where links of other peers come in; none: 127.0.0.1 and the port that is in the data
    /// directory, or a free one that is kept there.
    pub peer_listen: Option<SocketAddr>,
    /// What other peers are told to dial; empty: what is listened on.
    pub peer_advertise: Vec<SocketAddr>,
    /// Where members may be found when the addresses in the data directory lead nowhere.
    pub peers: Vec<SocketAddr>,
    /// The only peers to link to; empty: all.
    pub links: Vec<PeerRef>,
    /// How fast the overlay's timers are.
    pub overlay_profile: Profile,
    /// Where metrics and health are served; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How virtual addresses are held here.
    pub vip: VipSetup,
    /// What NSID says of this peer; none: nothing.
    pub nsid: Option<Box<str>>,
    /// What class CH says of this peer.
    pub chaos: Chaos,
    /// Whether clients that know cookies must show one of ours before they get an answer by UDP.
    pub requires_server_cookie: bool,
    /// How many responses of one kind a network gets by UDP; none: as many as it asks for.
    pub rate_limit: Option<RateLimit>,
    /// What to do with a corrupt store.
    pub corrupt_store: CorruptStore,
    /// How a fresh data directory begins.
    pub birth: Birth,
}

/// How virtual addresses are held at this peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VipSetup {
    /// By what.
    pub driver: VipDriver,
    /// How much weight of VIPs it is to carry, compared with the other peers.
    pub capacity: u16,
}

/// What makes an address stand on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VipDriver {
    /// The kernel, asked by netlink, and announced by ARP and ND.
    Netlink,
    /// Nothing: log lines say what would be done.
    Log,
    /// A command of the operator's.
    Exec(PathBuf),
}

/// How a fresh data directory begins; the types do not let a joining peer bring zones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Birth {
    /// As a new cluster of one that has these zones and prefixes.
    Cluster {
        /// Zones that it begins with.
        zones: ZoneFiles,
        /// Whose updates are taken, for all zones.
        allow_update: Vec<Prefix>,
        /// Who may transfer, all zones.
        allow_transfer: Vec<Prefix>,
    },
    /// As a member of the cluster that made this token.
    Join(Token),
}

/// What to do with a corrupt store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CorruptStore {
    /// Say so and stop.
    Refuse,
    /// Move it aside, then join anew.
    SetAside,
}

impl ServeConfig {
    /// Puts flags over the file and fills in defaults.
    pub fn new(flags: &Settings, file: &Settings) -> Result<Self, Contradiction> {
        let settings = flags.over(file);
        let corrupt_store = match settings.set_aside_corrupt_store {
            Some(true) => CorruptStore::SetAside,
            _ => CorruptStore::Refuse,
        };
        let birth = match settings.join {
            Some(token) => {
                for (name, is_given) in [
                    ("zone", settings.zone.is_some()),
                    ("allow-update", settings.allow_update.is_some()),
                    ("allow-transfer", settings.allow_transfer.is_some()),
                ] {
                    if is_given {
                        return Err(Contradiction::WithJoin(name));
                    }
                }
                Birth::Join(token)
            }
            // A store that is set aside leaves a fresh directory: with the same command line it
            // would give birth to a second cluster.
            None if corrupt_store == CorruptStore::SetAside => {
                return Err(Contradiction::SetAsideWithoutJoin);
            }
            None => Birth::Cluster {
                zones: ZoneFiles::new(&settings.zone.unwrap_or_default()),
                allow_update: settings.allow_update.unwrap_or_default(),
                allow_transfer: settings.allow_transfer.unwrap_or_default(),
            },
        };
        let listen = settings.listen.unwrap_or_else(|| vec![Listen::At(LISTEN)]);
        let listen = if listen.contains(&Listen::None) {
            if listen.len() > 1 {
                return Err(Contradiction::NoneAndAddress);
            }
            Vec::new()
        } else {
            listen.into_iter().filter_map(Listen::address).collect()
        };
        let peer_advertise = settings.peer_advertise.unwrap_or_default();
        if peer_advertise.len() > ADDRESSES_MAX {
            return Err(Contradiction::TooManyAdvertised);
        }
        let encrypted = EncryptedSetup::new(settings.tls)?;
        let vip = VipSetup::new(settings.vip)?;
        let rate_limit = settings.rate_limit.limit()?;
        let data_dir = settings.data_dir.unwrap_or_else(|| DATA_DIR.into());
        Ok(Self {
            admin: settings.admin.unwrap_or_else(|| admin_socket(&data_dir)),
            data_dir,
            name: settings.name,
            log_format: settings.log_format.unwrap_or_default(),
            log_level: settings.log_level.unwrap_or_default(),
            listen,
            proxies: Proxies(settings.proxy_from.unwrap_or_default()),
            tcp: settings.tcp.setup(),
            encrypted,
            peer_listen: settings.peer_listen,
            peer_advertise,
            peers: settings.peer.unwrap_or_default(),
            links: settings.link.unwrap_or_default(),
            overlay_profile: settings.overlay.profile.unwrap_or_default(),
            metrics: settings.metrics,
            vip,
            nsid: settings.nsid.and_then(SelfText::said),
            chaos: Chaos {
                id: settings.chaos.id.and_then(SelfText::said),
                version: settings.chaos.version.and_then(SelfText::said),
            },
            requires_server_cookie: settings.require_server_cookie.unwrap_or(false),
            rate_limit,
            corrupt_store,
            birth,
        })
    }
}

impl VipSetup {
    fn new(settings: VipSettings) -> Result<Self, Contradiction> {
        let driver = match (settings.driver.unwrap_or_default(), settings.command) {
            (DriverKind::Exec, Some(command)) if command.is_relative() => {
                return Err(Contradiction::RelativeCommand);
            }
            (DriverKind::Exec, Some(command)) => VipDriver::Exec(command),
            (DriverKind::Exec, None) => return Err(Contradiction::ExecWithoutCommand),
            (_, Some(_)) => return Err(Contradiction::CommandWithoutExec),
            (DriverKind::Netlink, None) => VipDriver::Netlink,
            (DriverKind::Log, None) => VipDriver::Log,
        };
        Ok(Self {
            driver,
            capacity: settings.capacity.map_or(1, |Weight(capacity)| capacity),
        })
    }
}

/// The admin socket of a data directory.
#[must_use]
pub fn admin_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// Settings that do not go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contradiction {
    /// What only the birth of a cluster may bring, beside `join`.
    WithJoin(&'static str),
    /// `set-aside-corrupt-store` without `join`.
    SetAsideWithoutJoin,
    /// `listen = "none"` beside an address.
    NoneAndAddress,
    /// More addresses than one peer may state.
    TooManyAdvertised,
    /// `vip.driver = "exec"` without a command.
    ExecWithoutCommand,
    /// A `vip.command` that no driver runs.
    CommandWithoutExec,
    /// A `vip.command` that depends on where a process stands.
    RelativeCommand,
    /// A certificate without its key, or the other way round.
    HalfACertificate,
    /// A certificate, and nothing that is served by it.
    CertificateForNothing,
    /// Authorities of clients, and nothing that these reach by a certificate.
    AuthoritiesForNothing,
    /// Names of clients, and nobody to prove them by.
    NamesWithoutAuthorities,
    /// Something of `rate-limit` beside the rate, without one.
    NoRate,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithJoin(name) => write!(
                f,
                "{name} and join do not go together: zones and prefixes come from the cluster \
                 that is joined"
            ),
            Self::SetAsideWithoutJoin => f.write_str(
                "set-aside-corrupt-store needs join: a peer whose store is set aside comes back \
                 with a token of its cluster (`dnsd invite` at another peer)",
            ),
            Self::NoneAndAddress => {
                f.write_str("listen: expected either none or addresses, found both")
            }
            Self::TooManyAdvertised => {
                write!(f, "peer-advertise: at most {ADDRESSES_MAX} addresses")
            }
            Self::ExecWithoutCommand => f.write_str(
                "the VIP driver exec needs a command to run: --vip-command FILE, or command in [vip]",
            ),
            Self::CommandWithoutExec => {
                f.write_str("a VIP command is only run by the driver exec: --vip-driver exec")
            }
            Self::HalfACertificate => {
                f.write_str("tls-certificate and tls-key need each other: one of them is missing")
            }
            Self::CertificateForNothing => f.write_str(
                "there is a certificate, and nothing that is served by it: --tls-listen ADDR:853, \
                 --https-listen ADDR:443 or --quic-listen ADDR:853",
            ),
            Self::AuthoritiesForNothing => f.write_str(
                "tls-client-ca needs something that clients update and transfer zones by: \
                 --tls-listen ADDR:853 or --quic-listen ADDR:853",
            ),
            Self::NamesWithoutAuthorities => f.write_str(
                "tls-client-name needs tls-client-ca: nobody could prove a name, and nobody could \
                 update or transfer a zone",
            ),
            Self::RelativeCommand => {
                f.write_str("the VIP command needs its whole path: the guard runs it from /")
            }
            Self::NoRate => f.write_str(
                "rate-limit: slip and exempt-clients mean nothing without a rate: \
                 --rate-limit-responses-per-second N, or responses-per-second in [rate-limit]",
            ),
        }
    }
}

impl std::error::Error for Contradiction {}

/// What flags or the file say; none where they are silent. The doc lines are the help texts.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    // A global argument of the command line: see `cli::Global`.
    #[arg(skip)]
    data_dir: Option<PathBuf>,
    #[arg(skip)]
    admin: Option<PathBuf>,
    /// The peer's name, unique in the cluster [default: its id]
    #[arg(long, value_name = "NAME", value_parser = <PeerName as Setting>::read)]
    #[serde(deserialize_with = "one")]
    name: Option<PeerName>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "text|json", value_parser = <LogFormat as Setting>::read)]
    #[serde(deserialize_with = "one")]
    log_format: Option<LogFormat>,
    /// Which log lines are written: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = <LogLevel as Setting>::read)]
    #[serde(deserialize_with = "one")]
    log_level: Option<LogLevel>,
    /// Where DNS is served, over UDP and TCP; may be repeated; none: nowhere
    /// [default: 127.0.0.1:5353]
    #[arg(long, value_name = "ADDR:PORT|none", value_parser = <Listen as Setting>::read)]
    #[serde(deserialize_with = "many")]
    listen: Option<Vec<Listen>>,
    /// Where links of other peers come in, UDP and TCP
    /// [default: 127.0.0.1 and a free port, kept in the data directory]
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "one")]
    peer_listen: Option<SocketAddr>,
    /// What other peers are told to dial, if it is not what is listened on; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "many")]
    peer_advertise: Option<Vec<SocketAddr>>,
    /// Where a member may be found if all addresses have changed; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "many")]
    peer: Option<Vec<SocketAddr>>,
    /// Link to this peer only, by name or id; may be repeated [default: all]
    #[arg(long, value_name = "PEER", value_parser = <PeerRef as Setting>::read)]
    #[serde(deserialize_with = "many")]
    link: Option<Vec<PeerRef>>,
    /// Proxies, such as dnsdist: what comes from here may begin with a PROXY protocol header, version 2,
    /// that says who asks; may be repeated [default: none]
    #[arg(long, value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    proxy_from: Option<Vec<Prefix>>,
    #[command(flatten)]
    tcp: TcpSettings,
    #[command(flatten)]
    tls: TlsSettings,
    #[command(flatten)]
    overlay: OverlaySettings,
    #[command(flatten)]
    vip: VipSettings,
    /// Serve Prometheus metrics, /health and /ready over HTTP here
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "one")]
    metrics: Option<SocketAddr>,
    /// Which server this is, for those who ask by the option NSID [default: none]
    #[arg(long, value_name = "TEXT|none", value_parser = <SelfText as Setting>::read)]
    #[serde(deserialize_with = "one")]
    nsid: Option<SelfText>,
    #[command(flatten)]
    chaos: ChaosSettings,
    /// Answer UDP clients that send a cookie only if it is one of ours, and BADCOOKIE otherwise
    #[arg(long, num_args = 0, default_missing_value = "true")]
    require_server_cookie: Option<bool>,
    #[command(flatten)]
    rate_limit: RateLimitSettings,
    /// Move a corrupt store aside and join anew; needs --join
    #[arg(long, num_args = 0, default_missing_value = "true")]
    set_aside_corrupt_store: Option<bool>,
    /// Birth of a cluster: import this zone; may be repeated
    #[arg(long, value_name = "ORIGIN=FILE", value_parser = <ZoneFile as Setting>::read)]
    #[serde(deserialize_with = "many")]
    zone: Option<Vec<ZoneFile>>,
    /// Birth of a cluster: take updates of any zone from here; may be repeated
    #[arg(long, value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    allow_update: Option<Vec<Prefix>>,
    /// Birth of a cluster: let these transfer any zone; may be repeated
    #[arg(long, value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    allow_transfer: Option<Vec<Prefix>>,
    /// Join the cluster that made this token (`dnsd invite`)
    #[arg(long, value_name = "TOKEN", value_parser = <Token as Setting>::read)]
    #[serde(deserialize_with = "one")]
    join: Option<Token>,
}

/// The settings of `[overlay]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct OverlaySettings {
    /// How fast the overlay notices a dead peer: lan, wan (tolerates slow links), fast
    /// [default: lan]
    #[arg(long = "overlay-profile", value_name = "lan|wan|fast", value_parser = <Profile as Setting>::read)]
    #[serde(deserialize_with = "one")]
    profile: Option<Profile>,
}

/// The settings of `[vip]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct VipSettings {
    /// What makes virtual addresses stand here: netlink (the kernel), log (nothing: a dry run),
    /// exec (a command) [default: netlink]
    #[arg(long = "vip-driver", value_name = "netlink|log|exec", value_parser = <DriverKind as Setting>::read)]
    #[serde(deserialize_with = "one")]
    driver: Option<DriverKind>,
    /// The command that the driver exec runs: FILE absent|ready|announced ADDRESS/LEN...
    #[arg(long = "vip-command", value_name = "FILE")]
    command: Option<PathBuf>,
    /// How much weight of virtual addresses this peer is to carry, compared with the others
    /// [default: 1]
    #[arg(long = "vip-capacity", value_name = "N", value_parser = <Weight as Setting>::read)]
    #[serde(deserialize_with = "number")]
    capacity: Option<Weight>,
}

/// The settings of `[chaos]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct ChaosSettings {
    /// Which server this is: id.server and hostname.bind in class CH [default: none]
    #[arg(id = "chaos-id", long = "chaos-id", value_name = "TEXT|none", value_parser = <SelfText as Setting>::read)]
    #[serde(deserialize_with = "one")]
    id: Option<SelfText>,
    /// What it runs: version.server and version.bind in class CH [default: none]
    #[arg(id = "chaos-version", long = "chaos-version", value_name = "TEXT|none", value_parser = <SelfText as Setting>::read)]
    #[serde(deserialize_with = "one")]
    version: Option<SelfText>,
}

/// The settings of `[rate-limit]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct RateLimitSettings {
    /// How many UDP responses of one kind and name a network of clients gets in a second; 0: no limit
    /// [default: 0]
    #[arg(long = "rate-limit-responses-per-second", value_name = "N", value_parser = <Rate as Setting>::read)]
    #[serde(deserialize_with = "number")]
    responses_per_second: Option<Rate>,
    /// Every Nth response above the rate goes out truncated, so that its client asks by TCP; 0: none
    /// [default: 2]
    #[arg(long = "rate-limit-slip", value_name = "N", value_parser = <Slip as Setting>::read)]
    #[serde(deserialize_with = "number")]
    slip: Option<Slip>,
    /// Do not limit responses to these; may be repeated
    #[arg(long = "rate-limit-exempt-clients", value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    exempt_clients: Option<Vec<Prefix>>,
}

impl RateLimitSettings {
    fn limit(self) -> Result<Option<RateLimit>, Contradiction> {
        let Some(Rate(rate)) = self.responses_per_second else {
            return match (self.slip, self.exempt_clients) {
                (None, None) => Ok(None),
                _ => Err(Contradiction::NoRate),
            };
        };
        Ok(NonZeroU32::new(rate).map(|responses_per_second| RateLimit {
            responses_per_second,
            slip: self.slip.map_or(SLIP, |Slip(slip)| slip),
            exempt_clients: self.exempt_clients.unwrap_or_default(),
        }))
    }
}

impl Settings {
    /// Reads a configuration file.
    pub fn from_toml(text: &str) -> Result<Self, BadFile> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = position(text, at);
            BadFile {
                line,
                column,
                // The message is one line: an operator greps for it.
                message: error.message().trim_end().replace('\n', ", "),
            }
        })
    }

    /// These settings with the arguments that stand anywhere in the command line.
    #[must_use]
    pub fn with_paths(self, data_dir: Option<PathBuf>, admin: Option<PathBuf>) -> Self {
        Self {
            data_dir,
            admin,
            ..self
        }
    }

    /// These settings; where they are silent, those of `file`.
    fn over(&self, file: &Self) -> Self {
        fn or<T: Clone>(flag: &Option<T>, file: &Option<T>) -> Option<T> {
            flag.clone().or_else(|| file.clone())
        }
        Self {
            data_dir: or(&self.data_dir, &file.data_dir),
            admin: or(&self.admin, &file.admin),
            name: or(&self.name, &file.name),
            log_format: or(&self.log_format, &file.log_format),
            log_level: or(&self.log_level, &file.log_level),
            listen: or(&self.listen, &file.listen),
            peer_listen: or(&self.peer_listen, &file.peer_listen),
            peer_advertise: or(&self.peer_advertise, &file.peer_advertise),
            peer: or(&self.peer, &file.peer),
            link: or(&self.link, &file.link),
            proxy_from: or(&self.proxy_from, &file.proxy_from),
            tcp: self.tcp.over(&file.tcp),
            tls: self.tls.over(&file.tls),
            overlay: OverlaySettings {
                profile: or(&self.overlay.profile, &file.overlay.profile),
            },
            vip: VipSettings {
                driver: or(&self.vip.driver, &file.vip.driver),
                command: or(&self.vip.command, &file.vip.command),
                capacity: or(&self.vip.capacity, &file.vip.capacity),
            },
            metrics: or(&self.metrics, &file.metrics),
            nsid: or(&self.nsid, &file.nsid),
            chaos: ChaosSettings {
                id: or(&self.chaos.id, &file.chaos.id),
                version: or(&self.chaos.version, &file.chaos.version),
            },
            require_server_cookie: or(&self.require_server_cookie, &file.require_server_cookie),
            rate_limit: RateLimitSettings {
                responses_per_second: or(
                    &self.rate_limit.responses_per_second,
                    &file.rate_limit.responses_per_second,
                ),
                slip: or(&self.rate_limit.slip, &file.rate_limit.slip),
                exempt_clients: or(
                    &self.rate_limit.exempt_clients,
                    &file.rate_limit.exempt_clients,
                ),
            },
            set_aside_corrupt_store: or(
                &self.set_aside_corrupt_store,
                &file.set_aside_corrupt_store,
            ),
            zone: or(&self.zone, &file.zone),
            allow_update: or(&self.allow_update, &file.allow_update),
            allow_transfer: or(&self.allow_transfer, &file.allow_transfer),
            join: or(&self.join, &file.join),
        }
    }
}

/// What is wrong in a configuration file, and where; both counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadFile {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for BadFile {}

/// Line and column of a byte offset.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// A setting that differs between two readings of the file, and what that means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The setting.
    pub setting: &'static str,
    /// When it has effect.
    pub effect: Effect,
}

/// When a changed setting has effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// From the reload on.
    Now,
    /// After a restart.
    Restart,
    /// Never: it speaks of the birth of a cluster or of a join.
    BirthOnly,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = self.setting;
        match self.effect {
            Effect::Now => write!(f, "{setting} has changed"),
            Effect::Restart => write!(f, "{setting} has changed and needs a restart"),
            Effect::BirthOnly => write!(
                f,
                "{setting} has changed and is ignored: it speaks of a fresh data directory"
            ),
        }
    }
}

/// What SIGHUP finds: the settings that differ. Only the log level takes effect at once; sockets,
/// links and timers are set up at the start.
#[must_use]
pub fn changes(old: &ServeConfig, new: &ServeConfig) -> Vec<Change> {
    let compared = [
        ("log-level", old.log_level != new.log_level, Effect::Now),
        (
            "log-format",
            old.log_format != new.log_format,
            Effect::Restart,
        ),
        ("data-dir", old.data_dir != new.data_dir, Effect::Restart),
        ("admin", old.admin != new.admin, Effect::Restart),
        ("name", old.name != new.name, Effect::Restart),
        ("listen", old.listen != new.listen, Effect::Restart),
        ("proxy-from", old.proxies != new.proxies, Effect::Restart),
        ("tcp", old.tcp != new.tcp, Effect::Restart),
        ("tls", old.encrypted != new.encrypted, Effect::Restart),
        (
            "peer-listen",
            old.peer_listen != new.peer_listen,
            Effect::Restart,
        ),
        (
            "peer-advertise",
            old.peer_advertise != new.peer_advertise,
            Effect::Restart,
        ),
        ("peer", old.peers != new.peers, Effect::Restart),
        ("link", old.links != new.links, Effect::Restart),
        (
            "overlay.profile",
            old.overlay_profile != new.overlay_profile,
            Effect::Restart,
        ),
        ("vip", old.vip != new.vip, Effect::Restart),
        ("metrics", old.metrics != new.metrics, Effect::Restart),
        ("nsid", old.nsid != new.nsid, Effect::Restart),
        ("chaos", old.chaos != new.chaos, Effect::Restart),
        (
            "require-server-cookie",
            old.requires_server_cookie != new.requires_server_cookie,
            Effect::Restart,
        ),
        (
            "rate-limit",
            old.rate_limit != new.rate_limit,
            Effect::Restart,
        ),
        (
            "set-aside-corrupt-store",
            old.corrupt_store != new.corrupt_store,
            Effect::Restart,
        ),
        (
            "zone, allow-update, allow-transfer or join",
            old.birth != new.birth,
            Effect::BirthOnly,
        ),
    ];
    compared
        .into_iter()
        .filter(|(_, differs, _)| *differs)
        .map(|(setting, _, effect)| Change { setting, effect })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlay::ClusterId;
    use overlay::token::TokenSecret;
    use std::time::Duration;

    fn config(flags: &str, file: &str) -> Result<ServeConfig, Contradiction> {
        let flags = Settings::from_toml(flags).unwrap();
        ServeConfig::new(&flags, &Settings::from_toml(file).unwrap())
    }

    #[test]
    fn nothing_said_is_a_working_cluster_of_one() {
        let config = config("", "").unwrap();
        assert_eq!(config.listen, [LISTEN]);
        assert_eq!(config.data_dir, Path::new(DATA_DIR));
        assert_eq!(config.admin, Path::new("./data/admin.sock"));
        assert_eq!(
            config.birth,
            Birth::Cluster {
                zones: ZoneFiles::new(&[]),
                allow_update: Vec::new(),
                allow_transfer: Vec::new()
            }
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = r#"
            name = "ns1"
            data-dir = "/var/lib/dnsd"
            listen = ["192.0.2.1:53", "[2001:db8::1]:53"]
            link = "ns2"
            zone = "example.test=example.zone"
            [overlay]
            profile = "wan"
        "#;
        let config = config("name = 'ns9'\nlisten = 'none'", file).unwrap();
        assert_eq!(config.name.unwrap().as_str(), "ns9");
        assert_eq!(config.listen, []);
        assert_eq!(config.admin, Path::new("/var/lib/dnsd/admin.sock"));
        assert_eq!(config.overlay_profile, Profile::Wan);
        assert_eq!(config.links, ["ns2".parse().unwrap()]);
    }

    #[test]
    fn contradictions_are_refused() {
        let token = Token {
            cluster: ClusterId([1; 16]),
            fingerprint: [2; 32],
            secret: TokenSecret([3; 16]),
            expires: Duration::from_secs(1_000),
            addresses: vec![LISTEN],
        };
        let join = format!("join = '{token}'");
        let check = |file: &str, expected| assert_eq!(config("", file), Err(expected), "{file}");
        check(
            &format!("{join}\nzone = 'a=b'"),
            Contradiction::WithJoin("zone"),
        );
        check(
            &format!("{join}\nallow-update = '127.0.0.0/8'"),
            Contradiction::WithJoin("allow-update"),
        );
        check(
            "set-aside-corrupt-store = true",
            Contradiction::SetAsideWithoutJoin,
        );
        check(
            "listen = ['none', '127.0.0.1:53']",
            Contradiction::NoneAndAddress,
        );
        assert!(config(&join, "set-aside-corrupt-store = true").is_ok());
        check("[vip]\ndriver = 'exec'", Contradiction::ExecWithoutCommand);
        check("[vip]\ncommand = 'x'", Contradiction::CommandWithoutExec);
        let relative = "[vip]\ndriver = 'exec'\ncommand = 'x'";
        check(relative, Contradiction::RelativeCommand);
        check("[rate-limit]\nslip = 2", Contradiction::NoRate);
        let exempt = "[rate-limit]\nexempt-clients = '::1'";
        check(exempt, Contradiction::NoRate);
    }

    #[test]
    fn nothing_is_limited_unless_a_rate_is_said() {
        let check = |flags: &str, file: &str, expected: Option<(u32, u8, usize)>| {
            let limit = config(flags, file).unwrap().rate_limit;
            let found = limit.map(|limit| {
                let rate = limit.responses_per_second.get();
                (rate, limit.slip, limit.exempt_clients.len())
            });
            assert_eq!(found, expected, "{flags} {file}");
        };
        let file = "[rate-limit]\nresponses-per-second = 20\nslip = 1\n\
                    exempt-clients = ['127.0.0.0/8', '::1']";
        check("", "", None);
        check("", file, Some((20, 1, 2)));
        check("[rate-limit]\nresponses-per-second = 0", file, None);
        check("[rate-limit]\nslip = 0", file, Some((20, 0, 2)));
        check(
            "[rate-limit]\nresponses-per-second = 5",
            "",
            Some((5, 2, 0)),
        );
    }

    #[test]
    fn virtual_addresses_stand_in_the_kernel_unless_something_else_is_said() {
        let check = |file: &str, driver: VipDriver, capacity| {
            let expected = VipSetup { driver, capacity };
            assert_eq!(config("", file).unwrap().vip, expected, "{file}");
        };
        check("", VipDriver::Netlink, 1);
        check("[vip]\ndriver = 'log'\ncapacity = 3", VipDriver::Log, 3);
        let exec = "[vip]\ndriver = 'exec'\ncommand = '/bin/x'";
        check(exec, VipDriver::Exec("/bin/x".into()), 1);
    }

    #[test]
    fn a_peer_says_nothing_of_itself_unless_it_is_told_to() {
        let check = |flags: &str, nsid: Option<&str>, id: Option<&str>, version: Option<&str>| {
            let file = "nsid = 'n 1'\n[chaos]\nid = 'c1'\nversion = 'v'";
            let config = config(flags, file).unwrap();
            assert_eq!(config.nsid.as_deref(), nsid, "{flags}");
            assert_eq!(config.chaos.id.as_deref(), id, "{flags}");
            assert_eq!(config.chaos.version.as_deref(), version, "{flags}");
        };
        check("", Some("n 1"), Some("c1"), Some("v"));
        check("nsid = 'none'", None, Some("c1"), Some("v"));
        check(
            "[chaos]\nid = 'none'\nversion = 'w'",
            Some("n 1"),
            None,
            Some("w"),
        );
        let silent = config("", "").unwrap();
        assert_eq!((silent.nsid, silent.chaos), (None, Chaos::default()));
    }

    #[test]
    fn cookies_are_required_only_where_it_is_said() {
        let check = |file: &str, expected| {
            assert_eq!(config("", file).unwrap().requires_server_cookie, expected);
        };
        check("", false);
        check("require-server-cookie = false", false);
        check("require-server-cookie = true", true);
    }

    #[test]
    fn a_bad_file_is_an_error_with_its_place() {
        let check = |text: &str, line, column, expected: &str| {
            let error = Settings::from_toml(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{error}");
            assert!(error.message.contains(expected), "{error}");
            assert!(!error.message.contains('\n'), "{error}");
        };
        check(
            "name = 'a'\nlistn = 'none'",
            2,
            1,
            "unknown field `listn`, expected one of",
        );
        check("listen = '127.0.0.1'", 1, 10, "expected none or ADDR:PORT");
        check("listen = 53", 1, 10, "expected none or ADDR:PORT");
        check(
            "# é\nlisten = ['127.0.0.1:53',\n  '::1:x']",
            3,
            3,
            "found \"::1:x\", expected none or ADDR:PORT",
        );
        check(
            "[overlay]\nprofile = 'slow'",
            2,
            11,
            "expected lan, wan or fast",
        );
        check("[overlay]\nprofil = 'lan'", 2, 1, "unknown field `profil`");
        check("[vip]\ndriver = 'arp'", 2, 10, "netlink, log or exec");
        check("[vip]\ncapacity = 0", 2, 12, "from 1 to 1000");
        let rate = "[rate-limit]\nresponses-per-second = -1";
        check(rate, 2, 24, "from 0 (no limit) to 1000000");
        check(
            "[rate-limit]\nslip = 11",
            2,
            8,
            "from 0 (all are dropped) to 10",
        );
        check("allow-update = ['10.0.0.0/33']", 1, 17, "PREFIX/LENGTH");
        check("zone = 'example.test'", 1, 8, "ORIGIN=FILE");
        check("zone = 'a..b=file'", 1, 8, "a label is empty");
        check(
            "name = '0123456789abcdef'",
            1,
            8,
            "does not look like a peer's id",
        );
        check("nsid = ''", 1, 8, "none, or a text of 1 to 128");
        let long = format!("nsid = '{}'", "x".repeat(129));
        check(&long, 1, 8, "none, or a text of 1 to 128");
        check("[chaos]\nid = 'é'", 2, 6, "printable ASCII");
        check("name = 7", 1, 8, "a name of 1 to 64");
        check(
            "set-aside-corrupt-store = 'yes'",
            1,
            27,
            "expected a boolean",
        );
        check("name = 'a'\nname = 'b'", 2, 1, "duplicate key");
        check("name = ", 1, 8, "");
        check("join = 'two words'", 1, 8, "a token begins with");
    }

    #[test]
    fn only_the_log_level_changes_at_once() {
        let old = config("", "").unwrap();
        assert_eq!(changes(&old, &old), []);
        let new = config("", "log-level = 'debug'\nlisten = 'none'\nzone = 'a=b'").unwrap();
        let effects: Vec<_> = changes(&old, &new).iter().map(|c| c.effect).collect();
        assert_eq!(effects, [Effect::Now, Effect::Restart, Effect::BirthOnly]);
    }
}
