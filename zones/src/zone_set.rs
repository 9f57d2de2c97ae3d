//! All zones of a peer: which one a name belongs to, and what is shown of it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::name::Name;
use crate::serial::Serial;
use crate::short::ShortBytes;
use crate::sought::Sought;
use crate::tree::{Keyed, Tree};
use crate::version::Version;

/// The zones as queries see them. A reader takes one atomic pointer for a batch of queries.
pub struct ZoneSet {
    table: ArcSwap<ZoneTable>,
}

impl ZoneSet {
    /// A set that shows `table`.
    #[must_use]
    pub fn new(table: ZoneTable) -> Self {
        Self {
            table: ArcSwap::from_pointee(table),
        }
    }

    /// The zones of this moment, which do not change while they are held.
    pub fn load(&self) -> Guard<Arc<ZoneTable>> {
        self.table.load()
    }

    /// Shows `table` from now on.
    pub fn store(&self, table: ZoneTable) {
        self.table.store(Arc::new(table));
    }
}

/// All zones at one moment. A clone costs one reference count, and does not see what is put into the
/// other later.
#[derive(Clone, Default)]
pub struct ZoneTable {
    places: Tree<Place>,
    len: usize,
}

/// What is known of one zone.
#[derive(Clone)]
pub struct ZoneState {
    /// The newest version, from which queries are answered.
    pub now: Version,
    /// The published version; a zone without one is not served.
    pub shown: Option<Shown>,
}

/// The published version and the serial that every SOA of the zone shows.
#[derive(Clone)]
pub struct Shown {
    /// What a zone transfer sends.
    pub version: Version,
    /// The serial in responses, AXFR and IXFR.
    pub serial: Serial,
}

impl ZoneState {
    /// The apex.
    #[must_use]
    pub fn origin(&self) -> &Name {
        self.now.origin()
    }
}

impl ZoneTable {
    /// Puts this zone in, or in the place of what stood there.
    pub fn put(&mut self, state: ZoneState) {
        self.put_place(Place {
            key: state.origin().canonical_key().as_slice().into(),
            state: Some(state),
        });
    }

    /// A copy with this zone put in.
    #[must_use]
    pub fn with(&self, state: ZoneState) -> Self {
        let mut table = self.clone();
        table.put(state);
        table
    }

    /// Takes this zone out.
    pub fn remove(&mut self, origin: &Name) {
        if self.get(origin).is_none() {
            return;
        }
        self.put_place(Place {
            key: origin.canonical_key().as_slice().into(),
            state: None,
        });
        if self.places.len() <= 2 * self.len + PLACES_FREE {
            return;
        }
        // Places of zones that went away must not pile up.
        let mut places = Tree::default();
        for place in self.places.iter().filter(|place| place.state.is_some()) {
            places.put(place.clone());
        }
        self.places = places;
    }

    /// How many zones there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no zone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The zone that a name belongs to: the one with the longest apex at or above it.
    #[must_use]
    pub fn find(&self, name: &Sought<'_>) -> Option<&ZoneState> {
        self.find_up_to(name, name.label_count())
    }

    /// The zone above that of a name, if the name is an apex: where its DS stands.
    #[must_use]
    pub fn find_above(&self, name: &Sought<'_>) -> Option<&ZoneState> {
        self.find_up_to(name, name.label_count().checked_sub(1)?)
    }

    /// The zone with the longest apex that is at most so many labels long, at or above a name.
    fn find_up_to(&self, name: &Sought<'_>, mut labels: usize) -> Option<&ZoneState> {
        loop {
            let key = name.key().ancestor(labels);
            // An apex above the name is above all that comes between the two, so it is at or above
            // the last place that is not after the name.
            let place = self.places.at_or_before(key)?;
            let is_above = key.starts_with(&place.key);
            if is_above && place.state.is_some() {
                return place.state.as_ref();
            }
            let shared = name.key().shared_labels(&place.key);
            labels = if is_above {
                shared.checked_sub(1)?
            } else {
                shared
            };
        }
    }

    /// The zone with exactly this apex.
    #[must_use]
    pub fn get(&self, origin: &Name) -> Option<&ZoneState> {
        self.at(&origin.canonical_key())
    }

    /// All zones in canonical order of their apexes.
    pub fn iter(&self) -> impl Iterator<Item = &ZoneState> {
        self.places.iter().filter_map(|place| place.state.as_ref())
    }

    /// The zones that come after this name in canonical order of their apexes.
    pub fn iter_after(&self, name: &Name) -> impl Iterator<Item = &ZoneState> {
        let key = name.canonical_key();
        self.places
            .iter_from(&key)
            .skip_while(move |place| *place.key == *key)
            .filter_map(|place| place.state.as_ref())
    }

    fn put_place(&mut self, place: Place) {
        let comes = place.state.is_some();
        let replaced = self.places.put(place);
        let went = replaced.is_some_and(|replaced| replaced.state.is_some());
        self.len = self.len + usize::from(comes) - usize::from(went);
    }

    fn at(&self, key: &[u8]) -> Option<&ZoneState> {
        self.places.get(key)?.state.as_ref()
    }
}

/// The place of a zone; it stays empty when the zone goes away.
#[derive(Clone)]
struct Place {
    key: ShortBytes,
    state: Option<ZoneState>,
}

impl Keyed for Place {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// So many empty places are kept before the table is made anew.
const PLACES_FREE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sought::Space;

    fn state(origin: &str) -> ZoneState {
        let origin: Name = origin.parse().unwrap();
        let now = Version::from_records(&origin, &[]).unwrap();
        ZoneState { now, shown: None }
    }

    #[test]
    fn the_longest_apex_wins() {
        let table = ["example.", "sub.Example.", "0.a.sub.example.", "other."]
            .iter()
            .fold(ZoneTable::default(), |table, origin| {
                table.with(state(origin))
            });
        let check = |table: &ZoneTable, name: &str, expected: Option<&str>| {
            let name: Name = name.parse().unwrap();
            let found = table
                .find(&Sought::new(name.borrowed(), &mut Space::default()))
                .map(|zone| zone.origin().to_string().to_lowercase());
            assert_eq!(found.as_deref(), expected, "{name}");
        };
        check(&table, "example.", Some("example."));
        check(&table, "WWW.EXAMPLE.", Some("example."));
        check(&table, "a.sub.example.", Some("sub.example."));
        check(&table, "x.0.a.sub.example.", Some("0.a.sub.example."));
        check(&table, "xexample.", None);
        check(&table, ".", None);
        let sub: Name = "sub.example.".parse().unwrap();
        let above = table
            .find_above(&Sought::new(sub.borrowed(), &mut Space::default()))
            .unwrap();
        assert_eq!(above.origin().to_string(), "example.");

        let mut without = table.clone();
        without.remove(&"sub.example.".parse().unwrap());
        check(&without, "a.sub.example.", Some("example."));
        check(&table, "a.sub.example.", Some("sub.example."));
        assert_eq!((table.len(), without.len()), (4, 3));

        let after = |name: &str| -> Vec<String> {
            let name = name.parse().unwrap();
            let zones = without.iter_after(&name);
            zones.map(|zone| zone.origin().to_string()).collect()
        };
        assert_eq!(after("EXAMPLE."), ["0.a.sub.example.", "other."]);
        assert_eq!(after("sub.example."), ["0.a.sub.example.", "other."]);
        assert!(after("other.").is_empty());

        let with_root = table.with(state("."));
        check(&with_root, "xexample.", Some("."));
        check(&with_root, "example.", Some("example."));
    }

    #[test]
    fn places_of_zones_that_went_away_do_not_pile_up() {
        let mut table = ZoneTable::default();
        for i in 0..1_000 {
            let zone = state(&format!("z{i}.example."));
            let origin = zone.origin().clone();
            table.put(zone);
            table.remove(&origin);
        }
        assert!(table.is_empty());
        assert!(table.places.len() <= PLACES_FREE + 1);
    }
}
