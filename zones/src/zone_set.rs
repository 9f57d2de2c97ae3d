//! All zones of a peer: which one a name belongs to, and what is shown of it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::hash;
use crate::name::{Name, NameRef};
use crate::serial::Serial;
use crate::sought::{Below, Sought};
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
    /// The bit of each number of labels that the apex of a zone has, or has had; the last bit is for
    /// all that are greater too.
    label_counts: u64,
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
        let origin = state.origin().borrowed();
        self.label_counts |= 1 << origin.label_count().min(LABELS_COUNTED);
        let number = match self.number_of(origin) {
            Ok(number) | Err(number) => number,
        };
        self.put_place(number, Place(Some(state)));
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
        let Ok(number) = self.number_of(origin.borrowed()) else {
            return;
        };
        self.put_place(number, Place(None));
        if self.places.len() <= 2 * self.len + PLACES_FREE {
            return;
        }
        // Places of zones that went away must not pile up.
        let mut table = Self::default();
        for zone in self.iter() {
            table.put(zone.clone());
        }
        *self = table;
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
    pub fn find<'n>(&self, name: Sought<'n>) -> Option<(&ZoneState, Below<'n>)> {
        self.find_up_to(name, name.label_count())
    }

    /// The zone above that of a name, if the name is an apex: where its DS stands.
    #[must_use]
    pub fn find_above<'n>(&self, name: Sought<'n>) -> Option<(&ZoneState, Below<'n>)> {
        self.find_up_to(name, name.label_count().checked_sub(1)?)
    }

    /// The zone with the longest apex that is at most so many labels long, at or above a name.
    fn find_up_to<'n>(
        &self,
        name: Sought<'n>,
        mut labels: usize,
    ) -> Option<(&ZoneState, Below<'n>)> {
        loop {
            let most = labels.min(LABELS_COUNTED);
            match (self.label_counts & u64::MAX >> (LABELS_COUNTED - most)).checked_ilog2()?
                as usize
            {
                LABELS_COUNTED => {}
                fewer => labels = fewer,
            }
            if let Some(state) = self.at(name.ancestor(labels)) {
                return Some((state, name.below_ancestor(labels)));
            }
            labels = labels.checked_sub(1)?;
        }
    }

    /// The zone with exactly this apex.
    #[must_use]
    pub fn get(&self, origin: &Name) -> Option<&ZoneState> {
        self.at(origin.borrowed())
    }

    /// All zones, in an order of this process.
    pub fn iter(&self) -> impl Iterator<Item = &ZoneState> {
        self.iter_from(0)
    }

    /// The zones that come after the one of this apex.
    pub fn iter_after(&self, origin: &Name) -> impl Iterator<Item = &ZoneState> {
        let next = match self.number_of(origin.borrowed()) {
            Ok(number) => number.checked_add(1),
            Err(number) => Some(number),
        };
        next.into_iter().flat_map(|next| self.iter_from(next))
    }

    fn iter_from(&self, number: u64) -> impl Iterator<Item = &ZoneState> {
        let places = self.places.iter_at(number, &[]);
        places.filter_map(|place| place.0.as_ref())
    }

    /// The number of the place of this zone; or of the one where it would be.
    fn number_of(&self, origin: NameRef<'_>) -> Result<u64, u64> {
        let mut free = None;
        for number in numbers(origin) {
            match self.places.get_at(number) {
                Some(Place(Some(state))) if state.origin().borrowed() == origin => {
                    return Ok(number);
                }
                Some(Place(Some(_))) => {}
                Some(Place(None)) => free = free.or(Some(number)),
                None => return Err(free.unwrap_or(number)),
            }
        }
        unreachable!("there are fewer zones than numbers")
    }

    fn put_place(&mut self, number: u64, place: Place) {
        let comes = place.0.is_some();
        let replaced = self.places.put_at(number, place);
        let went = replaced.is_some_and(|replaced| replaced.0.is_some());
        self.len = self.len + usize::from(comes) - usize::from(went);
    }

    #[inline(always)]
    fn at(&self, origin: NameRef<'_>) -> Option<&ZoneState> {
        let mut number = hash::of(origin.as_wire());
        loop {
            match self.places.get_at(number)? {
                Place(Some(state)) if state.origin().borrowed() == origin => return Some(state),
                Place(_) => number = number.wrapping_add(1),
            }
        }
    }
}

/// The place of a zone, which has a number; it stays empty when the zone goes away.
#[derive(Clone)]
struct Place(Option<ZoneState>);

/// The numbers of the places where a zone may be: the first one where no other has been.
#[inline]
fn numbers(origin: NameRef<'_>) -> impl Iterator<Item = u64> {
    let first = hash::of(origin.as_wire());
    std::iter::successors(Some(first), |number| Some(number.wrapping_add(1)))
}

impl Keyed for Place {
    fn key(&self) -> &[u8] {
        // The number is the head, and no two have the same.
        &[]
    }
}

/// Numbers of labels from here on are not told apart: hardly a zone has them.
const LABELS_COUNTED: usize = 63;
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
                .find(Sought::new(name.borrowed(), &mut Space::default()))
                .map(|(zone, _)| zone.origin().to_string().to_lowercase());
            assert_eq!(found.as_deref(), expected, "{name}");
        };
        check(&table, "example.", Some("example."));
        check(&table, "WWW.EXAMPLE.", Some("example."));
        check(&table, "a.sub.example.", Some("sub.example."));
        check(&table, "x.0.a.sub.example.", Some("0.a.sub.example."));
        check(&table, "xexample.", None);
        check(&table, ".", None);
        let sub: Name = "sub.example.".parse().unwrap();
        let mut space = Space::default();
        let above = table.find_above(Sought::new(sub.borrowed(), &mut space));
        assert_eq!(above.unwrap().0.origin().to_string(), "example.");

        let mut without = table.clone();
        without.remove(&"sub.example.".parse().unwrap());
        check(&without, "a.sub.example.", Some("example."));
        check(&table, "a.sub.example.", Some("sub.example."));
        assert_eq!((table.len(), without.len()), (4, 3));

        // One after the other, all are met.
        let all: Vec<&Name> = without.iter().map(ZoneState::origin).collect();
        for (n, origin) in all.iter().enumerate() {
            let after: Vec<&Name> = without.iter_after(origin).map(ZoneState::origin).collect();
            assert_eq!(after, all[n + 1..]);
        }

        // More labels than are told apart.
        let (deep, deeper) = ("d.".repeat(63), "d.".repeat(70));
        let with_deep = table.with(state(&deep)).with(state(&deeper));
        for below in ["", "x.", "x.y.z."] {
            check(&with_deep, &format!("{below}{deep}"), Some(&deep));
            check(&with_deep, &format!("{below}d.{deep}"), Some(&deep));
            check(&with_deep, &format!("{below}{deeper}"), Some(&deeper));
        }
        check(&with_deep, &"d.".repeat(62), None);
        check(&with_deep, "x.example.", Some("example."));

        let with_root = table.with(state("."));
        check(&with_root, "xexample.", Some("."));
        check(&with_root, "example.", Some("example."));
    }

    #[test]
    fn a_zone_whose_place_is_taken_has_the_next() {
        let name = |text: &str| -> Name { text.parse().unwrap() };
        let (a, other) = (name("a.example."), name("other.example."));
        let first = numbers(a.borrowed()).next().unwrap();
        let mut table = ZoneTable::default();
        // As if both had the same hash.
        table.put_place(first, Place(Some(state("other.example."))));
        for _ in 0..3 {
            table.put(state("a.example."));
            table.put(state("A.example."));
            assert_eq!(table.number_of(a.borrowed()), Ok(first.wrapping_add(1)));
            assert_eq!(table.get(&a).unwrap().origin(), &a);
            let after = table.iter_after(&a).map(ZoneState::origin);
            assert!(after.filter(|origin| **origin == other).count() == 0);
            table.remove(&a);
            assert!(table.get(&a).is_none());
        }
        assert_eq!((table.len(), table.places.len()), (1, 2));
        // What is before it goes away, and comes back to its own place.
        table.put(state("a.example."));
        table.put_place(first, Place(None));
        assert_eq!(table.get(&a).unwrap().origin(), &a);
        assert_eq!(table.number_of(a.borrowed()), Ok(first.wrapping_add(1)));
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
