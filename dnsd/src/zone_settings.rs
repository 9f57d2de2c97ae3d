//! What operators set for one zone: whom its changes are told to (RFC 1996), what it is to catalogs
//! (RFC 9432), and which primaries it comes from.
//!
//! ```text
//! settings = notify-ns u8 | remotes | role u8 | catalog? name | remotes | membership?
//! change   = 1 remotes | 2 u8 | 3 role u8 | 4 catalog? name | 5 remotes | 6 membership?
//! membership = catalog name | owner name
//! ```
//! What may be missing has a byte 0 or 1 before it.

use crate::remote::{List, Remote, get_remotes, put_remotes, read_list};
use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zones::Name;

/// The settings of one zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZoneSettings {
    /// Servers that are told of every change.
    pub also_notify: Vec<Remote>,
    /// Whether the name servers of the zone are told too.
    pub notify_ns: NotifyNs,
    /// Whether it is a catalog, and of what.
    pub catalog: CatalogRole,
    /// The one catalog that lists it; none: those that list all.
    pub in_catalog: Option<Name>,
    /// The servers that it comes from; none: it is ours.
    pub primaries: Vec<Remote>,
    /// The catalog of a primary that brought it.
    pub member_of: Option<Membership>,
}

/// A zone's place in a catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The catalog.
    pub catalog: Name,
    /// The owner name by which it lists the zone.
    pub owner: Name,
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
    /// It comes from a primary, and so do the zones that it lists.
    Consumed,
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

/// One setting with its new value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingChange {
    /// Exactly these servers are told.
    AlsoNotify(Vec<Remote>),
    /// Whether the name servers are told too.
    NotifyNs(NotifyNs),
    /// Whether it is a catalog.
    Catalog(CatalogRole),
    /// Which catalog lists it.
    InCatalog(Option<Name>),
    /// It comes from exactly these servers.
    Primaries(Vec<Remote>),
    /// Which catalog of a primary brought it.
    MemberOf(Option<Membership>),
}

impl ZoneSettings {
    /// Sets one of them.
    pub fn apply(&mut self, change: &SettingChange) {
        match change {
            SettingChange::AlsoNotify(targets) => self.also_notify.clone_from(targets),
            SettingChange::NotifyNs(choice) => self.notify_ns = *choice,
            SettingChange::Catalog(role) => self.catalog = *role,
            SettingChange::InCatalog(catalog) => self.in_catalog.clone_from(catalog),
            SettingChange::Primaries(primaries) => self.primaries.clone_from(primaries),
            SettingChange::MemberOf(membership) => self.member_of.clone_from(membership),
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
            SettingChange::Primaries(self.primaries.clone()),
            SettingChange::MemberOf(self.member_of.clone()),
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
        put_remotes(out, &self.also_notify);
        put_role(out, self.catalog);
        put_name(out, self.in_catalog.as_ref());
        put_remotes(out, &self.primaries);
        put_membership(out, self.member_of.as_ref());
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            notify_ns: get_choice(rest)?,
            also_notify: get_remotes(rest)?,
            catalog: get_role(rest)?,
            in_catalog: get_name(rest)?,
            primaries: get_remotes(rest)?,
            member_of: get_membership(rest)?,
        })
    }
}

const ALSO_NOTIFY: u8 = 1;
const NOTIFY_NS: u8 = 2;
const CATALOG: u8 = 3;
const IN_CATALOG: u8 = 4;
const PRIMARIES: u8 = 5;
const MEMBER_OF: u8 = 6;

impl SettingChange {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::AlsoNotify(targets) => {
                out.put_u8(ALSO_NOTIFY);
                put_remotes(out, targets);
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
            Self::Primaries(primaries) => {
                out.put_u8(PRIMARIES);
                put_remotes(out, primaries);
            }
            Self::MemberOf(membership) => {
                out.put_u8(MEMBER_OF);
                put_membership(out, membership.as_ref());
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        Some(match rest.try_get_u8().ok()? {
            ALSO_NOTIFY => Self::AlsoNotify(get_remotes(rest)?),
            NOTIFY_NS => Self::NotifyNs(get_choice(rest)?),
            CATALOG => Self::Catalog(get_role(rest)?),
            IN_CATALOG => Self::InCatalog(get_name(rest)?),
            PRIMARIES => Self::Primaries(get_remotes(rest)?),
            MEMBER_OF => Self::MemberOf(get_membership(rest)?),
            _ => return None,
        })
    }
}

fn put_role(out: &mut Vec<u8>, role: CatalogRole) {
    out.put_u8(match role {
        CatalogRole::None => 0,
        CatalogRole::All => 1,
        CatalogRole::Listed => 2,
        CatalogRole::Consumed => 3,
    });
}

fn get_role(rest: &mut &[u8]) -> Option<CatalogRole> {
    match rest.try_get_u8().ok()? {
        0 => Some(CatalogRole::None),
        1 => Some(CatalogRole::All),
        2 => Some(CatalogRole::Listed),
        3 => Some(CatalogRole::Consumed),
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

fn put_membership(out: &mut Vec<u8>, membership: Option<&Membership>) {
    match membership {
        None => out.put_u8(0),
        Some(Membership { catalog, owner }) => {
            out.put_u8(1);
            out.put_slice(catalog.as_wire());
            out.put_slice(owner.as_wire());
        }
    }
}

fn get_membership(rest: &mut &[u8]) -> Option<Option<Membership>> {
    match rest.try_get_u8().ok()? {
        0 => Some(None),
        1 => Some(Some(Membership {
            catalog: Name::take_wire(rest)?,
            owner: Name::take_wire(rest)?,
        })),
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

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlsoNotify(targets) => write!(f, "also-notify={}", List(targets)),
            Self::Primaries(primaries) => write!(f, "primaries={}", List(primaries)),
            Self::NotifyNs(NotifyNs::Yes) => f.write_str("notify-ns=yes"),
            Self::NotifyNs(NotifyNs::No) => f.write_str("notify-ns=no"),
            Self::Catalog(CatalogRole::None) => f.write_str("catalog=none"),
            Self::Catalog(CatalogRole::All) => f.write_str("catalog=all"),
            Self::Catalog(CatalogRole::Listed) => f.write_str("catalog=listed"),
            Self::Catalog(CatalogRole::Consumed) => f.write_str("catalog=consumed"),
            Self::MemberOf(None) => f.write_str("member-of="),
            Self::MemberOf(Some(Membership { catalog, owner })) => {
                write!(f, "member-of={catalog}/{owner}")
            }
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
            ("also-notify", value) => Ok(Self::AlsoNotify(read_list(value)?)),
            ("primaries", value) => Ok(Self::Primaries(read_list(value)?)),
            ("notify-ns", "yes") => Ok(Self::NotifyNs(NotifyNs::Yes)),
            ("notify-ns", "no") => Ok(Self::NotifyNs(NotifyNs::No)),
            ("notify-ns", _) => Err("notify-ns is yes or no".to_owned()),
            ("catalog", "none") => Ok(Self::Catalog(CatalogRole::None)),
            ("catalog", "all") => Ok(Self::Catalog(CatalogRole::All)),
            ("catalog", "listed") => Ok(Self::Catalog(CatalogRole::Listed)),
            ("catalog", "consumed") => Ok(Self::Catalog(CatalogRole::Consumed)),
            ("catalog", _) => Err("catalog is none, all, listed or consumed".to_owned()),
            ("member-of", "") => Ok(Self::MemberOf(None)),
            ("member-of", value) => read_membership(value),
            ("in-catalog", "") => Ok(Self::InCatalog(None)),
            ("in-catalog", name) => match name.parse() {
                Ok(name) => Ok(Self::InCatalog(Some(name))),
                Err(error) => Err(format!("in-catalog={name}: {error}")),
            },
            (key, _) => Err(format!(
                "there is no setting {key}; there are also-notify, notify-ns, catalog, in-catalog, \
                 primaries and member-of"
            )),
        }
    }
}

/// A catalog and the owner name by which it lists the zone, with a slash between.
fn read_membership(text: &str) -> Result<SettingChange, String> {
    let name = |text: &str| {
        let name = text.parse::<Name>();
        name.map_err(|error| format!("member-of={text}: {error}"))
    };
    let (catalog, owner) = text
        .split_once('/')
        .ok_or_else(|| format!("member-of={text}: expected CATALOG/OWNER, or nothing"))?;
    Ok(SettingChange::MemberOf(Some(Membership {
        catalog: name(catalog)?,
        owner: name(owner)?,
    })))
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
        check("catalog=consumed", "catalog=consumed");
        check("member-of=", "member-of=");
        check(
            "member-of=c.test/x.zones.c.test",
            "member-of=c.test./x.zones.c.test.",
        );
        check("in-catalog=", "in-catalog=");
        check("primaries=192.0.2.1%k.test", "primaries=192.0.2.1%k.test.");
        check("in-catalog=catalog.test", "in-catalog=catalog.test.");
        check(
            "also-notify=[2001:db8::1]:54%k.test,192.0.2.1,192.0.2.1:53,2001:db8::2",
            "also-notify=[2001:db8::1]:54%k.test.,192.0.2.1,2001:db8::2",
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
