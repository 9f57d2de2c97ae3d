//! Catalog zones (RFC 9432): zones that list zones, so that secondaries take up new ones by themselves.
//! Those of a primary are read in `catalog/consumed.rs`; these are ours:
//!
//! ```text
//! catalog.  SOA, NS invalid., version TXT "2"           made by an operator, an ordinary zone
//! HASH.zones.catalog.  PTR  member.                      put in and taken out by one of the peers
//! ```
//! Which zones a catalog is to list follows from the settings. What differs from that is found here, a
//! slice of the zones at a time, and made an UPDATE by `peer/catalogs.rs`. So catalogs have serials,
//! differences and notifies as all other zones do.

mod consumed;

pub use consumed::Consumed;

use crate::message::{UpdateBuilder, UpdateRecord};
use crate::state::{State, Zone};
use crate::zone_settings::CatalogRole;
use data_encoding::HEXLOWER;
use imbl::ordmap::DiffItem;
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use zones::rtype::Class;
use zones::{Name, Rdata, Record, Rtype, Version};

/// Zones looked at in one turn: less than a millisecond.
const ZONES_MAX: usize = 100;
/// The label above all members (RFC 9432 section 4.1).
const ZONES: &[u8] = b"zones";

/// What of the zones is still to be compared with the catalogs.
#[derive(Default)]
pub struct Catalogs {
    /// The zones as they were when changes were last looked for.
    seen: Option<State>,
    due: BTreeSet<Name>,
    /// All zones are to be looked at: those after this one still are.
    walk: Option<Bound<Name>>,
}

impl Catalogs {
    /// Forgets all: this peer does not see to catalogs, and starts anew when it does.
    pub fn rest(&mut self) {
        *self = Self::default();
    }

    /// True if nothing is to be looked at.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.due.is_empty() && self.walk.is_none()
    }

    /// The UPDATEs of catalogs that a slice of the zones calls for, each with its catalog. Call again
    /// until it is idle.
    pub fn look(&mut self, now: &State) -> Vec<(Name, Vec<u8>)> {
        self.look_for_changes(now);
        self.walk_on(now);
        let mut changes: BTreeMap<Name, Vec<(Name, bool)>> = BTreeMap::new();
        for _ in 0..ZONES_MAX {
            let Some(zone) = self.due.pop_first() else {
                break;
            };
            for (catalog, version) in catalogs(now) {
                let is_wanted = is_member(now, &catalog, &zone);
                if is_wanted != lists(version, &catalog, &zone) {
                    let of_catalog = changes.entry(catalog).or_default();
                    of_catalog.push((zone.clone(), is_wanted));
                }
            }
        }
        let message = |(catalog, changes): (Name, Vec<(Name, bool)>)| {
            let message = message(&catalog, &changes)?;
            Some((catalog, message))
        };
        changes.into_iter().filter_map(message).collect()
    }

    fn look_for_changes(&mut self, now: &State) {
        let Some(seen) = self.seen.replace(now.clone()) else {
            self.walk_all(now);
            return;
        };
        for item in seen.zones().diff(now.zones()) {
            let (origin, before, after) = match item {
                DiffItem::Add(origin, zone) => (origin, None, Some(zone)),
                DiffItem::Remove(origin, zone) => (origin, Some(zone), None),
                DiffItem::Update { old, new } => (new.0, Some(old.1), Some(new.1)),
            };
            if standing(before) != standing(after) {
                self.due.insert(origin.clone());
            }
        }
        if seen.catalogs() != now.catalogs() || roles(&seen) != roles(now) {
            self.walk_all(now);
        }
    }

    /// Looks at all zones, and at all that catalogs list: these may be gone.
    fn walk_all(&mut self, now: &State) {
        self.walk = Some(Bound::Unbounded);
        for (catalog, version) in catalogs(now) {
            self.due.extend(listed(version, &catalog));
        }
    }

    fn walk_on(&mut self, now: &State) {
        let Some(from) = self.walk.take() else {
            return;
        };
        let zones = now.zones().range((from, Bound::Unbounded));
        let next: Vec<&Name> = zones.map(|(origin, _)| origin).take(ZONES_MAX).collect();
        self.due.extend(next.iter().copied().cloned());
        if next.len() == ZONES_MAX {
            self.walk = next.last().map(|last| Bound::Excluded((*last).clone()));
        }
    }
}

/// What of a zone matters to catalogs: whether it exists, and which one it names.
fn standing(zone: Option<&Zone>) -> (bool, Option<&Name>) {
    let settings = zone.and_then(|zone| zone.settings.as_deref());
    let exists = zone.is_some_and(|zone| zone.version.is_some());
    (
        exists,
        settings.and_then(|settings| settings.in_catalog.as_ref()),
    )
}

fn roles(state: &State) -> Vec<CatalogRole> {
    let roles = state
        .catalogs()
        .iter()
        .filter_map(|origin| state.settings(origin));
    roles.map(|settings| settings.catalog).collect()
}

/// Those that are made here.
fn catalogs(state: &State) -> impl Iterator<Item = (Name, &Version)> {
    let is_ours = |origin: &&Name| state.fed(origin).is_none();
    let catalogs = state.catalogs().iter().filter(is_ours);
    catalogs.filter_map(|origin| Some((origin.clone(), state.version(origin)?)))
}

/// Whether the catalog is to list the zone. No catalog lists catalogs.
fn is_member(state: &State, catalog: &Name, zone: &Name) -> bool {
    if state.version(zone).is_none() || state.catalogs().contains(zone) {
        return false;
    }
    let role = state.settings(catalog).map(|settings| settings.catalog);
    let named = state
        .settings(zone)
        .and_then(|settings| settings.in_catalog.as_ref());
    match role {
        Some(CatalogRole::All) => named.is_none_or(|named| named == catalog),
        Some(CatalogRole::Listed) => named == Some(catalog),
        Some(CatalogRole::None | CatalogRole::Consumed) | None => false,
    }
}

fn lists(version: &Version, catalog: &Name, zone: &Name) -> bool {
    let node = member_name(catalog, zone).and_then(|name| {
        let node = version.node(&name)?;
        node.rrset(Rtype::PTR)
    });
    node.is_some()
}

/// The zones that the catalog lists.
fn listed(version: &Version, catalog: &Name) -> Vec<Name> {
    let Ok(above) = catalog.child(ZONES) else {
        return Vec::new();
    };
    let is_below = |owner: &Name| owner.is_at_or_below(&above);
    let nodes = version.walk_after(&above).into_iter().flatten();
    let pointers = nodes
        .take_while(|node| is_below(&node.owner()))
        .filter_map(|node| node.rrset(Rtype::PTR));
    let members = pointers.filter_map(|rrset| Name::from_wire(rrset.rdata().next()?).ok());
    members.collect()
}

/// The name under which a catalog lists a zone: always the same, so that whichever peer sees to it
/// finds what another has put in. None if the name of the catalog leaves no room.
#[must_use]
pub fn member_name(catalog: &Name, zone: &Name) -> Option<Name> {
    let hash = digest(&SHA256, zone.to_lowercase().as_wire());
    let label = HEXLOWER.encode(&hash.as_ref()[..16]);
    let zones = catalog.child(ZONES).ok()?;
    zones.child(label.as_bytes()).ok()
}

fn message(catalog: &Name, changes: &[(Name, bool)]) -> Option<Vec<u8>> {
    let mut builder = UpdateBuilder::new(catalog);
    for (zone, is_wanted) in changes {
        let Some(owner) = member_name(catalog, zone) else {
            continue;
        };
        builder.change(UpdateRecord {
            owner: &owner,
            rtype: if *is_wanted { Rtype::PTR } else { Rtype::ANY },
            class: if *is_wanted { Class::IN } else { Class::ANY },
            ttl: 0,
            rdata: if *is_wanted { zone.as_wire() } else { &[] },
        });
    }
    builder.finish()
}

/// The records of a catalog that lists nothing yet (RFC 9432 sections 4.1 and 4.2).
#[must_use]
pub fn new_records(catalog: &Name) -> Option<Vec<Record>> {
    let invalid: Name = "invalid.".parse().expect("a good name");
    let numbers = [1, 3_600, 600, i32::MAX as u32 - 1, 0].map(u32::to_be_bytes);
    let soa = [invalid.as_wire(), invalid.as_wire(), &numbers.concat()].concat();
    let record = |owner: Name, rtype, rdata| Record {
        owner,
        rtype,
        ttl: 0,
        rdata: Rdata::from_checked(rdata),
    };
    let version = catalog.child(b"version").ok()?;
    Some(vec![
        record(catalog.clone(), Rtype::SOA, soa),
        record(catalog.clone(), Rtype::NS, invalid.as_wire().to_vec()),
        record(version, Rtype::TXT, b"\x012".to_vec()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::birth::Seeds;
    use crate::testing::{WALL, key, public};
    use crate::zone_settings::ZoneSettings;
    use std::sync::Arc;
    use zones::{Serial, Update};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    struct World {
        state: State,
        catalogs: Catalogs,
    }

    impl World {
        fn new(zones: usize) -> Self {
            let catalog = name("catalog");
            let version = Version::from_records(&catalog, &new_records(&catalog).unwrap()).unwrap();
            let members = (0..zones).map(|n| {
                let origin = name(&format!("z{n}.test"));
                (Version::from_records(&origin, &[]).unwrap(), Serial(1))
            });
            let seeds = Seeds {
                zones: members.chain([(version, Serial(1))]).collect(),
                ..Seeds::default()
            };
            Self {
                state: seeds.into_state(public(&key(1)).peer_id(), WALL),
                catalogs: Catalogs::default(),
            }
        }

        fn set(&mut self, origin: &str, setting: &str) {
            let origin = name(origin);
            let mut zone = self.state.zones()[&origin].clone();
            let mut settings = zone.settings.as_deref().cloned().unwrap_or_default();
            settings.apply(&setting.parse().unwrap());
            let is_set = settings != ZoneSettings::default();
            zone.settings = is_set.then(|| Arc::new(settings));
            self.state.put_zone(origin, zone);
        }

        fn remove(&mut self, origin: &str) {
            let origin = name(origin);
            let mut zone = self.state.zones()[&origin].clone();
            zone.version = None;
            self.state.put_zone(origin, zone);
        }

        /// Looks until all is done, and makes the changes. How many turns it took, and the members.
        fn settle(&mut self) -> (usize, usize) {
            let mut turns = 0;
            loop {
                turns += 1;
                for (origin, message) in self.catalogs.look(&self.state) {
                    let update = Update::from_message(&message).unwrap();
                    let version = self.state.version(&origin).unwrap();
                    let after = version.apply(&update, Serial(1)).unwrap().version;
                    let mut zone = self.state.zones()[&origin].clone();
                    zone.version = Some(after);
                    self.state.put_zone(origin, zone);
                }
                if self.catalogs.is_idle() {
                    let catalog = name("catalog");
                    let version = self.state.version(&catalog).unwrap();
                    return (turns, listed(version, &catalog).len());
                }
            }
        }
    }

    #[test]
    fn a_catalog_lists_what_there_is() {
        let mut world = World::new(1_000);
        assert_eq!(world.settle().1, 0, "there is no catalog");
        world.set("catalog", "catalog=all");
        let (turns, members) = world.settle();
        assert_eq!(members, 1_000);
        assert!(turns >= 10, "in slices: {turns}");
        world.remove("z7.test");
        assert_eq!(world.settle(), (1, 999));
        // Another peer takes over: it finds what is there, and what was missed.
        world.catalogs.rest();
        world.remove("z8.test");
        assert_eq!(world.settle().1, 998);
        world.set("catalog", "catalog=listed");
        assert_eq!(world.settle().1, 0);
        world.set("z9.test", "in-catalog=catalog");
        assert_eq!(world.settle(), (1, 1));
        world.set("catalog", "catalog=all");
        assert_eq!(world.settle().1, 998);
        world.set("z9.test", "in-catalog=other");
        assert_eq!(world.settle(), (1, 997));
    }
}
