//! What operators set for one zone: whom its changes are told to (RFC 1996), and what it is to
//! catalogs (RFC 9432).
//!
//! ```text
//! settings = notify-ns u8 | count u8 | target … | role u8 | catalog? name
//! target   = address | port u16 | key? name
//! change   = 1 count u8, target … | 2 u8 | 3 role u8 | 4 catalog? name
//! ```
//! What may be missing has a byte 0 or 1 before it.

use crate::prefix::{get_address, put_address};
use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use zones::Name;

/// Most servers that the changes of one zone are told to.
pub const TARGETS_MAX: usize = 32;
/// Where a server listens if nothing else is said.
const DNS_PORT: u16 = 53;

/// The settings of one zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZoneSettings {
    /// Servers that are told of every change.
    pub also_notify: Vec<NotifyTarget>,
    /// Whether the name servers of the zone are told too.
    pub notify_ns: NotifyNs,
    /// Whether it is a catalog, and of what.
    pub catalog: CatalogRole,
    /// The one catalog that lists it; none: those that list all.
    pub in_catalog: Option<Name>,
}

/// Whether a zone is a catalog.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CatalogRole {
    /// It is none.
    #[default]
    None,
    /// It lists all zones but those that name another catalog.
    All,
    /// It lists the zones that name it.
    Listed,
}

/// Whether the name servers of a zone are told of its changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyNs {
    /// Those whose addresses stand in our zones, but for the one in the SOA.
    Yes,
    /// They are not: most often they are these very peers.
    #[default]
    No,
}

/// A server that is told of changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NotifyTarget {
    /// Where.
    pub address: SocketAddr,
    /// The key that the message is signed with.
    pub key: Option<Name>,
}

/// One setting with its new value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingChange {
    /// Exactly these servers are told.
    AlsoNotify(Vec<NotifyTarget>),
    /// Whether the name servers are told too.
    NotifyNs(NotifyNs),
    /// Whether it is a catalog.
    Catalog(CatalogRole),
    /// Which catalog lists it.
    InCatalog(Option<Name>),
}

impl ZoneSettings {
    /// Sets one of them.
    pub fn apply(&mut self, change: &SettingChange) {
        match change {
            SettingChange::AlsoNotify(targets) => self.also_notify.clone_from(targets),
            SettingChange::NotifyNs(choice) => self.notify_ns = *choice,
            SettingChange::Catalog(role) => self.catalog = *role,
            SettingChange::InCatalog(catalog) => self.in_catalog.clone_from(catalog),
        }
    }

    /// All of them as `KEY=VALUE`.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let also_notify = SettingChange::AlsoNotify(self.also_notify.clone());
        let changes = [
            also_notify,
            SettingChange::NotifyNs(self.notify_ns),
            SettingChange::Catalog(self.catalog),
            SettingChange::InCatalog(self.in_catalog.clone()),
        ];
        changes.iter().map(ToString::to_string).collect()
    }

    /// True if nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_choice(out, self.notify_ns);
        put_targets(out, &self.also_notify);
        put_role(out, self.catalog);
        put_name(out, self.in_catalog.as_ref());
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            notify_ns: get_choice(rest)?,
            also_notify: get_targets(rest)?,
            catalog: get_role(rest)?,
            in_catalog: get_name(rest)?,
        })
    }
}

const ALSO_NOTIFY: u8 = 1;
const NOTIFY_NS: u8 = 2;
const CATALOG: u8 = 3;
const IN_CATALOG: u8 = 4;

impl SettingChange {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::AlsoNotify(targets) => {
                out.put_u8(ALSO_NOTIFY);
                put_targets(out, targets);
            }
            Self::NotifyNs(choice) => {
                out.put_u8(NOTIFY_NS);
                put_choice(out, *choice);
            }
            Self::Catalog(role) => {
                out.put_u8(CATALOG);
                put_role(out, *role);
            }
            Self::InCatalog(catalog) => {
                out.put_u8(IN_CATALOG);
                put_name(out, catalog.as_ref());
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        Some(match rest.try_get_u8().ok()? {
            ALSO_NOTIFY => Self::AlsoNotify(get_targets(rest)?),
            NOTIFY_NS => Self::NotifyNs(get_choice(rest)?),
            CATALOG => Self::Catalog(get_role(rest)?),
            IN_CATALOG => Self::InCatalog(get_name(rest)?),
            _ => return None,
        })
    }
}

fn put_role(out: &mut Vec<u8>, role: CatalogRole) {
    out.put_u8(match role {
        CatalogRole::None => 0,
        CatalogRole::All => 1,
        CatalogRole::Listed => 2,
    });
}

fn get_role(rest: &mut &[u8]) -> Option<CatalogRole> {
    match rest.try_get_u8().ok()? {
        0 => Some(CatalogRole::None),
        1 => Some(CatalogRole::All),
        2 => Some(CatalogRole::Listed),
        _ => None,
    }
}

fn put_name(out: &mut Vec<u8>, name: Option<&Name>) {
    match name {
        None => out.put_u8(0),
        Some(name) => {
            out.put_u8(1);
            out.put_slice(name.as_wire());
        }
    }
}

fn get_name(rest: &mut &[u8]) -> Option<Option<Name>> {
    match rest.try_get_u8().ok()? {
        0 => Some(None),
        1 => Name::take_wire(rest).map(Some),
        _ => None,
    }
}

fn put_choice(out: &mut Vec<u8>, choice: NotifyNs) {
    out.put_u8(u8::from(choice == NotifyNs::Yes));
}

fn get_choice(rest: &mut &[u8]) -> Option<NotifyNs> {
    match rest.try_get_u8().ok()? {
        0 => Some(NotifyNs::No),
        1 => Some(NotifyNs::Yes),
        _ => None,
    }
}

fn put_targets(out: &mut Vec<u8>, targets: &[NotifyTarget]) {
    assert!(
        targets.len() <= TARGETS_MAX,
        "lists are cut where they come in"
    );
    out.put_u8(targets.len() as u8);
    for target in targets {
        put_address(out, target.address.ip());
        out.put_u16(target.address.port());
        match &target.key {
            None => out.put_u8(0),
            Some(key) => {
                out.put_u8(1);
                out.put_slice(key.as_wire());
            }
        }
    }
}

fn get_targets(rest: &mut &[u8]) -> Option<Vec<NotifyTarget>> {
    let count = usize::from(rest.try_get_u8().ok()?);
    if count > TARGETS_MAX {
        return None;
    }
    let target = |_| {
        let ip = get_address(rest)?;
        let address = SocketAddr::new(ip, rest.try_get_u16().ok()?);
        let key = match rest.try_get_u8().ok()? {
            0 => None,
            1 => Some(Name::take_wire(rest)?),
            _ => return None,
        };
        Some(NotifyTarget { address, key })
    };
    (0..count).map(target).collect()
}

impl fmt::Display for NotifyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.port() {
            DNS_PORT => write!(f, "{}", self.address.ip())?,
            _ => write!(f, "{}", self.address)?,
        }
        match &self.key {
            None => Ok(()),
            Some(key) => write!(f, "%{key}"),
        }
    }
}

impl FromStr for NotifyTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, key) = match text.split_once('%') {
            None => (text, None),
            Some((address, key)) => {
                let key = Name::from_str(key).map_err(|error| format!("key {key}: {error}"))?;
                (address, Some(key))
            }
        };
        let with_port = || address.parse::<SocketAddr>().ok();
        let bare = || Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, DNS_PORT));
        let address = with_port()
            .or_else(bare)
            .ok_or_else(|| format!("{address} is no address; expected ADDR[:PORT][%KEY]"))?;
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            return Err(format!("{address} is no address of a server"));
        }
        Ok(Self { address, key })
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlsoNotify(targets) => {
                let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
                write!(f, "also-notify={}", targets.join(","))
            }
            Self::NotifyNs(NotifyNs::Yes) => f.write_str("notify-ns=yes"),
            Self::NotifyNs(NotifyNs::No) => f.write_str("notify-ns=no"),
            Self::Catalog(CatalogRole::None) => f.write_str("catalog=none"),
            Self::Catalog(CatalogRole::All) => f.write_str("catalog=all"),
            Self::Catalog(CatalogRole::Listed) => f.write_str("catalog=listed"),
            Self::InCatalog(None) => f.write_str("in-catalog="),
            Self::InCatalog(Some(catalog)) => write!(f, "in-catalog={catalog}"),
        }
    }
}

impl FromStr for SettingChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text}: expected KEY=VALUE"))?;
        match (key, value) {
            ("also-notify", value) => {
                let targets = value.split(',').filter(|target| !target.is_empty());
                let mut targets: Vec<NotifyTarget> =
                    targets.map(str::parse).collect::<Result<_, _>>()?;
                targets.sort();
                targets.dedup();
                if targets.len() > TARGETS_MAX {
                    return Err(format!(
                        "a zone may tell {TARGETS_MAX} servers of its changes"
                    ));
                }
                Ok(Self::AlsoNotify(targets))
            }
            ("notify-ns", "yes") => Ok(Self::NotifyNs(NotifyNs::Yes)),
            ("notify-ns", "no") => Ok(Self::NotifyNs(NotifyNs::No)),
            ("notify-ns", _) => Err("notify-ns is yes or no".to_owned()),
            ("catalog", "none") => Ok(Self::Catalog(CatalogRole::None)),
            ("catalog", "all") => Ok(Self::Catalog(CatalogRole::All)),
            ("catalog", "listed") => Ok(Self::Catalog(CatalogRole::Listed)),
            ("catalog", _) => Err("catalog is none, all or listed".to_owned()),
            ("in-catalog", "") => Ok(Self::InCatalog(None)),
            ("in-catalog", name) => match name.parse() {
                Ok(name) => Ok(Self::InCatalog(Some(name))),
                Err(error) => Err(format!("in-catalog={name}: {error}")),
            },
            (key, _) => Err(format!(
                "there is no setting {key}; there are also-notify, notify-ns, catalog and in-catalog"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_back_from_text_and_bytes() {
        let check = |text: &str, expected: &str| {
            let change: SettingChange = text.parse().unwrap();
            assert_eq!(change.to_string(), expected);
            assert_eq!(expected.parse(), Ok(change.clone()));
            let mut bytes = Vec::new();
            change.encode(&mut bytes);
            assert_eq!(SettingChange::decode(&mut &bytes[..]), Some(change.clone()));
            for cut in 0..bytes.len() {
                assert_eq!(SettingChange::decode(&mut &bytes[..cut]), None, "{cut}");
            }
            let mut settings = ZoneSettings::default();
            settings.apply(&change);
            let mut bytes = Vec::new();
            settings.encode(&mut bytes);
            assert_eq!(ZoneSettings::decode(&mut &bytes[..]), Some(settings));
        };
        check("notify-ns=yes", "notify-ns=yes");
        check("also-notify=", "also-notify=");
        check("catalog=all", "catalog=all");
        check("catalog=listed", "catalog=listed");
        check("catalog=none", "catalog=none");
        check("in-catalog=", "in-catalog=");
        check("in-catalog=catalog.test", "in-catalog=catalog.test.");
        check(
            "also-notify=[2001:db8::1]:54%k.test,192.0.2.1,192.0.2.1:53,2001:db8::2",
            "also-notify=192.0.2.1,[2001:db8::1]:54%k.test.,2001:db8::2",
        );
        for wrong in [
            "also-notify",
            "also-notify=ns.test",
            "also-notify=0.0.0.0",
            "also-notify=192.0.2.1:0",
            "also-notify=192.0.2.1%a..b",
            "notify-ns=maybe",
            "catalog=yes",
            "in-catalog=a..b",
            "owner=me",
        ] {
            assert!(wrong.parse::<SettingChange>().is_err(), "{wrong}");
        }
    }
}
