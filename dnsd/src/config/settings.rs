//! What flags and the file may say, each alone: the same settings by the same names.

use super::Contradiction;
use super::encrypted::TlsSettings;
use super::tcp::TcpSettings;
use crate::prefix::Prefix;
use crate::serve::rate::{RateLimit, SLIP};
use crate::setting::{
    DriverKind, Listen, LogFormat, LogLevel, PeerName, PeerRef, Rate, SelfText, Setting, Slip,
    Weight, ZoneFile, many, number, one,
};
use overlay::timing::Profile;
use overlay::token::Token;
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// What flags or the file say; none where they are silent. The doc lines are the help texts.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    // A global argument of the command line: see `cli::Global`.
    #[arg(skip)]
    pub(super) data_dir: Option<PathBuf>,
    #[arg(skip)]
    pub(super) admin: Option<PathBuf>,
    /// The peer's name, unique in the cluster [default: its id]
    #[arg(long, value_name = "NAME", value_parser = <PeerName as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) name: Option<PeerName>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "text|json", value_parser = <LogFormat as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) log_format: Option<LogFormat>,
    /// Which log lines are written: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = <LogLevel as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) log_level: Option<LogLevel>,
    /// Where DNS is served, over UDP and TCP; may be repeated; none: nowhere
    /// [default: 127.0.0.1:5353]
    #[arg(long, value_name = "ADDR:PORT|none", value_parser = <Listen as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) listen: Option<Vec<Listen>>,
    /// Where links of other peers come in, UDP and TCP
    /// [default: 127.0.0.1 and a free port, kept in the data directory]
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) peer_listen: Option<SocketAddr>,
    /// What other peers are told to dial, if it is not what is listened on; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) peer_advertise: Option<Vec<SocketAddr>>,
    /// Where a member may be found if all addresses have changed; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) peer: Option<Vec<SocketAddr>>,
    /// Link to this peer only, by name or id; may be repeated [default: all]
    #[arg(long, value_name = "PEER", value_parser = <PeerRef as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) link: Option<Vec<PeerRef>>,
    /// Proxies, such as dnsdist: what comes from here may begin with a PROXY protocol header, version 2,
    /// that says who asks; may be repeated [default: none]
    #[arg(long, value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) proxy_from: Option<Vec<Prefix>>,
    #[command(flatten)]
    pub(super) tcp: TcpSettings,
    #[command(flatten)]
    pub(super) tls: TlsSettings,
    #[command(flatten)]
    pub(super) overlay: OverlaySettings,
    #[command(flatten)]
    pub(super) vip: VipSettings,
    /// Serve Prometheus metrics, /health and /ready over HTTP here
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) metrics: Option<SocketAddr>,
    /// Which server this is, for those who ask by the option NSID [default: none]
    #[arg(long, value_name = "TEXT|none", value_parser = <SelfText as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) nsid: Option<SelfText>,
    #[command(flatten)]
    pub(super) chaos: ChaosSettings,
    /// Answer UDP clients that send a cookie only if it is one of ours, and BADCOOKIE otherwise
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub(super) require_server_cookie: Option<bool>,
    #[command(flatten)]
    pub(super) rate_limit: RateLimitSettings,
    /// Move a corrupt store aside and join anew; needs --join
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub(super) set_aside_corrupt_store: Option<bool>,
    /// Birth of a cluster: import this zone; may be repeated
    #[arg(long, value_name = "ORIGIN=FILE", value_parser = <ZoneFile as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) zone: Option<Vec<ZoneFile>>,
    /// Birth of a cluster: take updates of any zone from here; may be repeated
    #[arg(long, value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) allow_update: Option<Vec<Prefix>>,
    /// Birth of a cluster: let these transfer any zone; may be repeated
    #[arg(long, value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) allow_transfer: Option<Vec<Prefix>>,
    /// Join the cluster that made this token (`dnsd invite`)
    #[arg(long, value_name = "TOKEN", value_parser = <Token as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) join: Option<Token>,
}

/// The settings of `[overlay]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct OverlaySettings {
    /// How fast the overlay notices a dead peer: lan, wan (tolerates slow links), fast
    /// [default: lan]
    #[arg(long = "overlay-profile", value_name = "lan|wan|fast", value_parser = <Profile as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) profile: Option<Profile>,
}

/// The settings of `[vip]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct VipSettings {
    /// What makes virtual addresses stand here: netlink (the kernel), log (nothing: a dry run),
    /// exec (a command) [default: netlink]
    #[arg(long = "vip-driver", value_name = "netlink|log|exec", value_parser = <DriverKind as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) driver: Option<DriverKind>,
    /// The command that the driver exec runs: FILE absent|ready|announced ADDRESS/LEN...
    #[arg(long = "vip-command", value_name = "FILE")]
    pub(super) command: Option<PathBuf>,
    /// How much weight of virtual addresses this peer is to carry, compared with the others
    /// [default: 1]
    #[arg(long = "vip-capacity", value_name = "N", value_parser = <Weight as Setting>::read)]
    #[serde(deserialize_with = "number")]
    pub(super) capacity: Option<Weight>,
}

/// The settings of `[chaos]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ChaosSettings {
    /// Which server this is: id.server and hostname.bind in class CH [default: none]
    #[arg(id = "chaos-id", long = "chaos-id", value_name = "TEXT|none", value_parser = <SelfText as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) id: Option<SelfText>,
    /// What it runs: version.server and version.bind in class CH [default: none]
    #[arg(id = "chaos-version", long = "chaos-version", value_name = "TEXT|none", value_parser = <SelfText as Setting>::read)]
    #[serde(deserialize_with = "one")]
    pub(super) version: Option<SelfText>,
}

/// The settings of `[rate-limit]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RateLimitSettings {
    /// How many UDP responses of one kind and name a network of clients gets in a second; 0: no limit
    /// [default: 0]
    #[arg(long = "rate-limit-responses-per-second", value_name = "N", value_parser = <Rate as Setting>::read)]
    #[serde(deserialize_with = "number")]
    pub(super) responses_per_second: Option<Rate>,
    /// Every Nth response above the rate goes out truncated, so that its client asks by TCP; 0: none
    /// [default: 2]
    #[arg(long = "rate-limit-slip", value_name = "N", value_parser = <Slip as Setting>::read)]
    #[serde(deserialize_with = "number")]
    pub(super) slip: Option<Slip>,
    /// Do not limit responses to these; may be repeated
    #[arg(long = "rate-limit-exempt-clients", value_name = "PREFIX", value_parser = <Prefix as Setting>::read)]
    #[serde(deserialize_with = "many")]
    pub(super) exempt_clients: Option<Vec<Prefix>>,
}

impl RateLimitSettings {
    pub(super) fn limit(self) -> Result<Option<RateLimit>, Contradiction> {
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
    pub(super) fn over(&self, file: &Self) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
