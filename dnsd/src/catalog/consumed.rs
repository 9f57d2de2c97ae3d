//! Catalogs of a primary (RFC 9432 section 5): the zones that one lists come from its primaries, and go
//! when it lists them no more.
//!
//! ```text
//! another version ─▶ read, a slice of its names at a time ─▶ whole ─▶ compared with the zones, in slices
//! ```
//! A zone of which it is not written down that this catalog brought it is left alone, whoever lists it.
//! Where two peers do it, the second entry changes nothing.

use crate::body::Body;
use crate::state::{State, Zone};
use crate::zone_settings::{CatalogRole, Membership, SettingChange};
use std::collections::BTreeMap;
use std::ops::Bound;
use zones::rtype::Rtype;
use zones::{Name, Version};

/// Names read, or zones compared, in one turn: less than a millisecond.
const SLICE: usize = 100;
/// The labels of RFC 9432 sections 4.1, 4.2 and 4.3.1.
const ZONES: &[u8] = b"zones";
const VERSION: &[u8] = b"version";
const CHANGE_OF_OWNERSHIP: &[u8] = b"coo";
/// The version that is known, as RDATA of TXT.
const KNOWN_VERSION: &[u8] = b"\x012";

/// How far each catalog is read and compared.
#[derive(Default)]
pub struct Consumed {
    catalogs: BTreeMap<Name, Reading>,
}

/// One version of a catalog.
struct Reading {
    version: Version,
    stage: Stage,
    /// Zone → the owner name that lists it.
    members: BTreeMap<Name, Name>,
}

enum Stage {
    /// The names after this one are still to be read.
    Reading(Name),
    /// The members after this one are still to be compared.
    Members(Bound<Name>),
    /// The zones after this one are still to be compared.
    Zones(Bound<Name>),
    Done,
    /// It is no catalog that can be followed.
    Broken,
}

/// What is to be done, and what an operator should know.
#[derive(Default)]
pub struct Found {
    /// Entries to be made.
    pub bodies: Vec<Body>,
    /// Catalogs that cannot be followed, and why.
    pub troubles: Vec<(Name, &'static str)>,
}

impl Consumed {
    /// Forgets all: this peer does not see to catalogs, and starts anew when it does.
    pub fn rest(&mut self) {
        self.catalogs.clear();
    }

    /// True if nothing is to be looked at.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let mut readings = self.catalogs.values();
        readings.all(|reading| matches!(reading.stage, Stage::Done | Stage::Broken))
    }

    /// What a slice of the catalogs calls for. Call again until it is idle.
    pub fn look(&mut self, now: &State) -> Found {
        let mut found = Found::default();
        let consumed: Vec<Name> = now.catalogs().iter().cloned().collect();
        self.catalogs.retain(|catalog, _| is_consumed(now, catalog));
        for catalog in consumed.iter().filter(|catalog| is_consumed(now, catalog)) {
            let Some(version) = now.version(catalog) else {
                continue;
            };
            let known = self.catalogs.get(catalog);
            if known.is_none_or(|reading| !reading.version.is_identical_to(version)) {
                let reading = Reading::new(catalog, version);
                if let Stage::Broken = reading.stage {
                    let why = "its version is not 2 (RFC 9432 section 4.2.1)";
                    found.troubles.push((catalog.clone(), why));
                }
                self.catalogs.insert(catalog.clone(), reading);
            }
        }
        for (catalog, reading) in &mut self.catalogs {
            reading.go_on(catalog, now, &mut found);
        }
        found
    }
}

/// Whether a catalog of a primary can be believed.
fn is_consumed(now: &State, catalog: &Name) -> bool {
    let role = now.settings(catalog).map(|settings| settings.catalog);
    let fed = now.fed(catalog);
    role == Some(CatalogRole::Consumed) && fed.is_some_and(|fed| !fed.is_expired)
}

impl Reading {
    fn new(catalog: &Name, version: &Version) -> Self {
        let start = catalog.child(ZONES).ok();
        let start = start.filter(|_| is_version_known(catalog, version));
        Self {
            version: version.clone(),
            stage: start.map_or(Stage::Broken, Stage::Reading),
            members: BTreeMap::new(),
        }
    }

    fn go_on(&mut self, catalog: &Name, now: &State, found: &mut Found) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Reading(after) => self.read(catalog, &after, found),
            Stage::Members(from) => {
                let members = self.members.range((from, Bound::Unbounded));
                let next: Vec<_> = members.take(SLICE).collect();
                for (zone, owner) in &next {
                    found.bodies.extend(missing(now, catalog, zone, owner));
                }
                match next.last() {
                    Some((last, _)) if next.len() == SLICE => {
                        Stage::Members(Bound::Excluded((*last).clone()))
                    }
                    _ => Stage::Zones(Bound::Unbounded),
                }
            }
            Stage::Zones(from) => {
                let zones = now.zones().range((from, Bound::Unbounded));
                let next: Vec<(&Name, &Zone)> = zones.take(SLICE).collect();
                let mut is_one_to_come = false;
                for (origin, zone) in &next {
                    let Some(membership) = membership(zone) else {
                        continue;
                    };
                    let listed = self.members.get(*origin);
                    if membership.catalog == *catalog && listed != Some(&membership.owner) {
                        // RFC 9432 section 5.4: under another owner name it begins anew.
                        is_one_to_come |= listed.is_some();
                        let origin = (*origin).clone();
                        found.bodies.push(Body::Remove { origin });
                    }
                }
                match next.last() {
                    _ if is_one_to_come => Stage::Members(Bound::Unbounded),
                    Some((last, _)) if next.len() == SLICE => {
                        Stage::Zones(Bound::Excluded((*last).clone()))
                    }
                    _ => Stage::Done,
                }
            }
            rest @ (Stage::Done | Stage::Broken) => rest,
        };
    }

    fn read(&mut self, catalog: &Name, after: &Name, found: &mut Found) -> Stage {
        let Ok(above) = catalog.child(ZONES) else {
            return Stage::Broken;
        };
        let depth = above.label_count() + 1;
        let Some(nodes) = self.version.walk_after(after) else {
            return Stage::Members(Bound::Unbounded);
        };
        let mut last = None;
        for (count, node) in nodes.enumerate() {
            let owner = node.owner();
            if !owner.is_at_or_below(&above) {
                last = None;
                break;
            }
            if count == SLICE {
                break;
            }
            // Properties of a member stand below it.
            if owner.label_count() == depth
                && let Some(rrset) = node.rrset(Rtype::PTR)
            {
                let mut targets = rrset
                    .rdata()
                    .filter_map(|rdata| Name::from_wire(rdata).ok());
                let (zone, further) = (targets.next(), targets.next());
                let before = zone
                    .filter(|_| further.is_none())
                    .map(|zone| self.members.insert(zone, owner.clone()));
                // RFC 9432 sections 4.1 and 5.1: one PTR each, each zone once.
                if !matches!(before, Some(None)) {
                    let why = "a member has several names, or stands there twice";
                    found.troubles.push((catalog.clone(), why));
                    return Stage::Broken;
                }
            }
            last = Some(owner);
        }
        last.map_or(Stage::Members(Bound::Unbounded), Stage::Reading)
    }
}

/// What brings a zone that a catalog lists, or hands it over from another catalog.
fn missing(now: &State, catalog: &Name, zone: &Name, owner: &Name) -> Option<Body> {
    let held = now.zones().get(zone);
    let exists = held.is_some_and(|zone| zone.version.is_some() || zone.fed.is_some());
    if exists {
        let membership = held.and_then(membership)?;
        let is_handed_over = membership.catalog != *catalog && hands_over(now, membership, catalog);
        if !is_handed_over {
            return None;
        }
    }
    // A catalog does not list itself, and brings no other.
    let primaries = now.settings(catalog)?.primaries.clone();
    let membership = Membership {
        catalog: catalog.clone(),
        owner: owner.clone(),
    };
    Some(Body::ZoneSettings {
        origin: zone.clone(),
        changes: vec![
            SettingChange::Primaries(primaries),
            SettingChange::MemberOf(Some(membership)),
        ],
    })
}

fn membership(zone: &Zone) -> Option<&Membership> {
    zone.settings.as_deref()?.member_of.as_ref()
}

/// Whether the catalog that brought a zone lets another one have it (RFC 9432 section 4.3.1).
fn hands_over(now: &State, membership: &Membership, to: &Name) -> bool {
    let Ok(name) = membership.owner.child(CHANGE_OF_OWNERSHIP) else {
        return false;
    };
    let version = now.version(&membership.catalog);
    let node = version.and_then(|version| version.node(&name));
    let rrset = node.and_then(|node| node.rrset(Rtype::PTR));
    let mut targets = rrset.into_iter().flat_map(|rrset| {
        let targets = rrset
            .rdata()
            .filter_map(|rdata| Name::from_wire(rdata).ok());
        targets.collect::<Vec<_>>()
    });
    targets.any(|target| target == *to)
}

fn is_version_known(catalog: &Name, version: &Version) -> bool {
    let name = catalog.child(VERSION).ok();
    let node = name.as_ref().and_then(|name| version.node(name));
    let rrset = node.and_then(|node| node.rrset(Rtype::TXT));
    rrset.is_some_and(|rrset| rrset.rdata().eq([KNOWN_VERSION]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fed::Fed;
    use crate::zone_settings::ZoneSettings;
    use replication::Hybrid;
    use std::sync::Arc;
    use zones::{Rdata, Record, Serial};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn put(state: &mut State, origin: &str, version: Option<Version>, settings: &[&str]) {
        let mut all = ZoneSettings::default();
        for setting in settings {
            all.apply(&setting.parse().unwrap());
        }
        let zone = Zone {
            version,
            counted: 1,
            offset: None,
            fed: (!all.primaries.is_empty()).then(|| {
                Arc::new(Fed {
                    serial: Some(Serial(1)),
                    refreshed: Hybrid(0),
                    is_expired: false,
                })
            }),
            settings: Some(Arc::new(all)),
        };
        state.put_zone(name(origin), zone);
    }

    /// A catalog with these names and their PTR or TXT.
    fn catalog(state: &mut State, origin: &str, records: &[(&str, &str)]) {
        let records = records.iter().map(|(owner, data)| {
            let (rtype, rdata) = match *data {
                "2" => (Rtype::TXT, b"\x012".to_vec()),
                data => (Rtype::PTR, name(data).as_wire().to_vec()),
            };
            Record {
                owner: name(&format!("{owner}.{origin}")),
                rtype,
                ttl: 0,
                rdata: Rdata::from_checked(rdata),
            }
        });
        let records: Vec<Record> = records.collect();
        let version = Version::from_records(&name(origin), &records).unwrap();
        put(
            state,
            origin,
            Some(version),
            &["catalog=consumed", "primaries=192.0.2.1"],
        );
    }

    /// Looks until all is done, and carries it out: what was done, and what is wrong.
    fn settle(consumed: &mut Consumed, state: &mut State) -> (Vec<String>, usize) {
        let (mut done, mut troubles) = (Vec::new(), 0);
        loop {
            let found = consumed.look(state);
            troubles += found.troubles.len();
            for body in found.bodies {
                match body {
                    Body::ZoneSettings { origin, changes } => {
                        let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
                        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                        done.push(format!("+{origin}"));
                        put(state, &origin.to_string(), None, &texts);
                    }
                    Body::Remove { origin } => {
                        done.push(format!("-{origin}"));
                        let mut zone = state.zones()[&origin].clone();
                        (zone.version, zone.settings, zone.fed) = (None, None, None);
                        state.put_zone(origin, zone);
                    }
                    other => panic!("{other:?}"),
                }
            }
            if consumed.is_idle() {
                done.sort();
                return (done, troubles);
            }
        }
    }

    #[test]
    fn zones_come_and_go_with_the_catalog() {
        let mut state = State::empty();
        let mut consumed = Consumed::default();
        let version = Some(Version::from_records(&name("ours.test."), &[]).unwrap());
        put(&mut state, "ours.test.", version, &[]);
        let mut check = |state: &mut State, records: &[(&str, &str)], expected: &[&str]| {
            catalog(state, "cat.", records);
            let (done, troubles) = settle(&mut consumed, state);
            assert_eq!(done, expected);
            assert_eq!(troubles, 0);
        };
        let v = ("version", "2");
        // What is ours stays ours.
        let listed = [v, ("a.zones", "a.test."), ("o.zones", "ours.test.")];
        check(&mut state, &listed, &["+a.test."]);
        check(&mut state, &listed, &[]);
        let more = [
            v,
            ("a.zones", "a.test."),
            ("b.zones", "b.test."),
            ("group.b.zones", "x."),
        ];
        check(&mut state, &more, &["+b.test."]);
        // Under another owner name it begins anew.
        check(
            &mut state,
            &[v, ("a.zones", "a.test."), ("c.zones", "b.test.")],
            &["+b.test.", "-b.test."],
        );
        check(&mut state, &[v, ("c.zones", "b.test.")], &["-a.test."]);
        check(&mut state, &[v], &["-b.test."]);
        assert!(state.version(&name("ours.test.")).is_some());
    }

    #[test]
    fn what_is_no_catalog_changes_nothing() {
        let cases: [&[(&str, &str)]; 3] = [
            &[("a.zones", "a.test.")],
            &[
                ("version", "2"),
                ("a.zones", "a.test."),
                ("b.zones", "a.test."),
            ],
            &[
                ("version", "2"),
                ("a.zones", "a.test."),
                ("a.zones", "b.test."),
            ],
        ];
        for records in cases {
            let mut state = State::empty();
            put(
                &mut state,
                "old.test.",
                None,
                &["primaries=192.0.2.1", "member-of=cat./x.zones.cat."],
            );
            catalog(&mut state, "cat.", records);
            let (done, troubles) = settle(&mut Consumed::default(), &mut state);
            assert_eq!((done.len(), troubles), (0, 1), "{records:?}");
        }
    }

    #[test]
    fn many_come_in_slices_and_a_catalog_hands_one_over() {
        let mut state = State::empty();
        let mut consumed = Consumed::default();
        let names: Vec<(String, String)> = (0..1_000)
            .map(|n| (format!("m{n}.zones"), format!("z{n}.test.")))
            .collect();
        let mut records: Vec<(&str, &str)> = names.iter().map(|(a, b)| (&**a, &**b)).collect();
        records.push(("version", "2"));
        catalog(&mut state, "one.", &records);
        assert_eq!(settle(&mut consumed, &mut state).0.len(), 1_000);
        // The other lists it too: not before the first one says so.
        catalog(
            &mut state,
            "two.",
            &[("version", "2"), ("m.zones", "z7.test.")],
        );
        assert_eq!(settle(&mut consumed, &mut state).0.len(), 0);
        records.push(("coo.m7.zones", "two."));
        catalog(&mut state, "one.", &records);
        catalog(
            &mut state,
            "two.",
            &[
                ("version", "2"),
                ("m.zones", "z7.test."),
                ("x.m.zones", "y."),
            ],
        );
        assert_eq!(settle(&mut consumed, &mut state).0, ["+z7.test."]);
        let settings = state.settings(&name("z7.test.")).unwrap();
        assert_eq!(settings.member_of.as_ref().unwrap().catalog, name("two."));
        // What the first one then takes out is not its own any more.
        records.retain(|(owner, _)| !owner.contains("m7.zones"));
        catalog(&mut state, "one.", &records);
        assert_eq!(settle(&mut consumed, &mut state).0.len(), 0);
    }
}
