//! Records that last for a time only: those that an update added under a rule with a lease.
//!
//! A lease is that of one record. It ends with the record, and when somebody who is not held to a
//! lease adds the record again: then the record stays. A record that was there without a lease gets
//! none: who may add for a time only cannot make an end of what others have added.

use bytes::{Buf, BufMut};
use imbl::{OrdMap, OrdSet};
use replication::Hybrid;
use std::time::Duration;
use zones::rdata::canonical;
use zones::{Name, Rdata, Record, Rtype, Update, Version};

/// Most leases of a cluster.
pub const LEASES_MAX: usize = 100_000;

/// All leases. A clone costs two reference counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leases {
    ends: OrdMap<Leased, Hybrid>,
    by_end: OrdSet<(Hybrid, Leased)>,
}

/// A record that has a lease.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Leased {
    origin: Name,
    owner: Name,
    rtype: Rtype,
    /// In canonical form, in which the same records are equal bytes.
    rdata: Box<[u8]>,
}

impl Leased {
    fn of(origin: &Name, record: &Record) -> Self {
        Self {
            origin: origin.clone(),
            owner: record.owner.clone(),
            rtype: record.rtype,
            rdata: canonical(record.rtype, record.rdata.as_bytes()).into(),
        }
    }

    fn is_in(&self, version: &Version) -> bool {
        let rrset = version
            .node(&self.owner)
            .and_then(|node| node.rrset(self.rtype));
        let mut rdatas = rrset.into_iter().flat_map(|rrset| rrset.rdata());
        rdatas.any(|rdata| *canonical(self.rtype, rdata) == *self.rdata)
    }
}

impl Leases {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether there is room for what the update adds.
    #[must_use]
    pub fn have_room_for(&self, update: &Update) -> bool {
        update.terms().is_empty() || {
            let leased = update.additions().filter(|(_, lease)| lease.is_some());
            self.len() + leased.count() <= LEASES_MAX
        }
    }

    /// The update made one version of the other at `at`.
    pub fn follow(&mut self, update: &Update, before: &Version, after: &Version, at: Hybrid) {
        if self.is_empty() && update.terms().is_empty() {
            return;
        }
        let origin = after.origin();
        for touch in update.touched() {
            for leased in self.of_owner(origin, touch.owner) {
                if !leased.is_in(after) {
                    self.remove(&leased);
                }
            }
        }
        for (record, lease) in update.additions() {
            let leased = Leased::of(origin, record);
            match lease {
                None => self.remove(&leased),
                Some(seconds) => {
                    let is_new = self.ends.contains_key(&leased) || !leased.is_in(before);
                    if is_new && leased.is_in(after) {
                        let lasts = Duration::from_secs(seconds.into());
                        self.put(leased, at.after(lasts));
                    }
                }
            }
        }
    }

    /// Forgets those of a zone that goes, or whose content comes from elsewhere.
    pub fn forget(&mut self, origin: &Name) {
        let root = Name::root();
        let of_zone = self.range(origin, &root);
        let of_zone = of_zone.take_while(|leased| leased.origin == *origin);
        for leased in of_zone.cloned().collect::<Vec<_>>() {
            self.remove(&leased);
        }
    }

    /// When the next one ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Hybrid> {
        self.by_end.get_min().map(|(end, _)| *end)
    }

    /// The zones that have some which have ended by then; of very many only the first.
    #[must_use]
    pub fn zones_with_ended(&self, by: Hybrid, most: usize) -> Vec<Name> {
        let ended = self.by_end.iter().take_while(|(end, _)| *end <= by);
        let mut zones: Vec<Name> = Vec::new();
        for (_, leased) in ended.take(LEASES_MAX) {
            if zones.len() == most {
                break;
            }
            if !zones.contains(&leased.origin) {
                zones.push(leased.origin.clone());
            }
        }
        zones
    }

    /// Takes those of a zone that have ended by then.
    pub fn take_ended(&mut self, origin: &Name, by: Hybrid) -> Vec<(Name, Rtype, Rdata)> {
        let ended = self.by_end.iter().take_while(|(end, _)| *end <= by);
        let ended = ended.filter(|(_, leased)| leased.origin == *origin);
        let ended: Vec<Leased> = ended.map(|(_, leased)| leased.clone()).collect();
        for leased in &ended {
            self.remove(leased);
        }
        let record = |leased: Leased| {
            let rdata = Rdata::from_checked(leased.rdata.into_vec());
            (leased.owner, leased.rtype, rdata)
        };
        ended.into_iter().map(record).collect()
    }

    fn of_owner(&self, origin: &Name, owner: &Name) -> Vec<Leased> {
        let of_owner = self.range(origin, owner);
        let of_owner =
            of_owner.take_while(|leased| leased.origin == *origin && leased.owner == *owner);
        of_owner.cloned().collect()
    }

    /// From the first that this name may have on.
    fn range(&self, origin: &Name, owner: &Name) -> impl Iterator<Item = &Leased> {
        let first = Leased {
            origin: origin.clone(),
            owner: owner.clone(),
            rtype: Rtype(0),
            rdata: Box::default(),
        };
        self.ends.range(first..).map(|(leased, _)| leased)
    }

    fn put(&mut self, leased: Leased, end: Hybrid) {
        if let Some(earlier) = self.ends.insert(leased.clone(), end) {
            self.by_end.remove(&(earlier, leased.clone()));
        }
        self.by_end.insert((end, leased));
    }

    fn remove(&mut self, leased: &Leased) {
        if let Some(end) = self.ends.remove(leased) {
            self.by_end.remove(&(end, leased.clone()));
        }
    }

    /// Appends their bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.len() as u32);
        for (leased, end) in &self.ends {
            out.put_slice(leased.origin.as_wire());
            out.put_slice(leased.owner.as_wire());
            out.put_u16(leased.rtype.0);
            out.put_u16(leased.rdata.len() as u16);
            out.put_slice(&leased.rdata);
            out.put_u64(end.0);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let count = rest.try_get_u32().ok()? as usize;
        if count > LEASES_MAX {
            return None;
        }
        let mut leases = Self::default();
        for _ in 0..count {
            let origin = Name::take_wire(rest)?;
            let owner = Name::take_wire(rest)?;
            let rtype = Rtype(rest.try_get_u16().ok()?);
            let size = usize::from(rest.try_get_u16().ok()?);
            let (rdata, after) = rest.split_at_checked(size)?;
            zones::rdata::check(rtype, rdata).ok()?;
            *rest = after;
            let leased = Leased {
                origin,
                owner,
                rtype,
                rdata: rdata.into(),
            };
            leases.put(leased, Hybrid(rest.try_get_u64().ok()?));
        }
        (leases.len() == count).then_some(leases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{UpdateBuilder, UpdateRecord};
    use zones::rtype::Class;
    use zones::{Serial, Terms};

    struct World {
        version: Version,
        leases: Leases,
        clock: u64,
    }

    fn origin() -> Name {
        "a.test".parse().unwrap()
    }

    impl World {
        fn new() -> Self {
            let soa = Record {
                owner: origin(),
                rtype: Rtype::SOA,
                ttl: 60,
                rdata: Rdata::from_checked(vec![0; 22]),
            };
            Self {
                version: Version::from_records(&origin(), &[soa]).unwrap(),
                leases: Leases::default(),
                clock: 0,
            }
        }

        /// A second later: a change such as `+x`, `-x` of a TXT record at `www`, with a lease or without.
        fn update(&mut self, change: &str, lease: Option<u32>) {
            self.clock += 1;
            let (sign, text) = change.split_at(1);
            let is_addition = sign == "+";
            let rdata = [&[text.len() as u8], text.as_bytes()].concat();
            let mut builder = UpdateBuilder::new(&origin());
            builder.change(UpdateRecord {
                owner: &"www.a.test".parse().unwrap(),
                rtype: Rtype::TXT,
                class: if is_addition { Class::IN } else { Class::NONE },
                ttl: 0,
                rdata: &rdata,
            });
            let mut update = Update::from_message(&builder.finish().unwrap()).unwrap();
            let terms = Terms {
                lease,
                ..Terms::default()
            };
            update.hold_to(vec![terms]).unwrap();
            let after = self.version.apply(&update, Serial(1)).unwrap().version;
            let at = Hybrid::from_wall(Duration::from_secs(self.clock));
            self.leases.follow(&update, &self.version, &after, at);
            self.version = after;
        }

        fn ended(&mut self, second: u64) -> usize {
            let by = Hybrid::from_wall(Duration::from_secs(second));
            self.leases.take_ended(&origin(), by).len()
        }
    }

    #[test]
    fn a_lease_ends_with_its_time() {
        let mut world = World::new();
        world.update("+x", Some(10));
        world.update("+y", Some(20));
        let mut bytes = Vec::new();
        world.leases.encode(&mut bytes);
        assert_eq!(Leases::decode(&mut &bytes[..]), Some(world.leases.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(Leases::decode(&mut &bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(world.ended(10), 0);
        let by = Hybrid::from_wall(Duration::from_secs(11));
        assert_eq!(world.leases.zones_with_ended(by, 9), [origin()]);
        assert_eq!((world.ended(11), world.leases.len()), (1, 1));
        assert_eq!((world.ended(22), world.leases.len()), (1, 0));
        assert_eq!(world.leases.next_end(), None);
    }

    #[test]
    fn a_lease_is_renewed_and_given_up() {
        let mut world = World::new();
        world.update("+x", Some(10));
        world.update("+x", Some(10));
        assert_eq!(world.ended(11), 0, "it was renewed");
        world.update("+x", None);
        assert!(world.leases.is_empty(), "somebody wants it for good");
        world.update("+x", Some(10));
        assert!(world.leases.is_empty(), "it is there for good");
        world.update("-x", Some(10));
        world.update("+x", Some(10));
        assert_eq!(world.leases.len(), 1);
        world.update("-x", None);
        assert!(world.leases.is_empty(), "it went before its time");
        world.update("+x", Some(10));
        world.leases.forget(&origin());
        assert!(world.leases.is_empty());
    }
}
