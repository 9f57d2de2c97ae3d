//! What `dnsd serve` is told, by flags and by a TOML file, parsed into types that cannot be wrong.
//!
//! [`Settings`] is one struct for both: what a flag is called, its line in the file is called too
//! (`--overlay-profile` is `profile` in `[overlay]`). Flags win over the file. [`ServeConfig`] is
//! what comes out: defaults filled in, contradictions refused.

mod change;
mod encrypted;
mod settings;
mod tcp;
mod zone_files;

pub use change::{Change, Effect, changes};
pub use encrypted::{EncryptedAddresses, EncryptedSetup};
pub use settings::{BadFile, Settings};
pub use tcp::TcpSetup;
pub use zone_files::ZoneFiles;

use crate::prefix::Prefix;
use crate::proxy::Proxies;
use crate::serve::Chaos;
use crate::serve::rate::RateLimit;
use crate::setting::{
    DriverKind, Listen, LogFormat, LogLevel, PeerName, PeerRef, SelfText, Weight,
};
use overlay::admit::ADDRESSES_MAX;
use overlay::timing::Profile;
use overlay::token::Token;
use settings::VipSettings;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

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
}
