//! The next version by a difference: records that go and records that come, as a zone transfer
//! tells them (RFC 1995). Only the names that they name are touched.
//!
//! None of the special rules of RFC 2136 hold here: what is told is done to the letter, or not at
//! all. Whether the zone can be served then is for [`check`](crate::check::check_difference) to say.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use crate::key::{Key, relative_labels};
use crate::name::Name;
use crate::node::{self, Rank, labels_of};
use crate::rdata::without_soa_serial;
use crate::record::{Rdata, Record};
use crate::rtype::Rtype;
use crate::update::comparable;
use crate::version::Version;

/// Why a difference does not fit a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DifferenceError {
    /// It removes a record that is not there.
    NotThere(Name, Rtype),
    /// It adds a record that is there already, or a second SOA.
    AlreadyThere(Name, Rtype),
    /// It names a record that lies elsewhere.
    OutOfZone(Name),
}

impl fmt::Display for DifferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere(owner, rtype) => {
                write!(f, "a record {owner} {rtype} goes that is not there")
            }
            Self::AlreadyThere(owner, rtype) => {
                write!(f, "a record {owner} {rtype} comes that is there already")
            }
            Self::OutOfZone(owner) => write!(f, "{owner} is not within the zone"),
        }
    }
}

impl std::error::Error for DifferenceError {}

impl Version {
    /// The version without the one records and with the others; what goes is gone before anything
    /// comes. It has the content of [`Version::from_records`] with the records of both.
    ///
    /// A record that goes is known by owner, type and RDATA: its TTL is that of its RRset. Where one
    /// comes to an RRset of another TTL, the lower one holds for all, as in the checks of a whole
    /// zone. An SOA is replaced by one that goes and one that comes; their serials count only if the
    /// new one is signed.
    ///
    /// # Errors
    ///
    /// If a record that goes is not there or one that comes is, or one lies outside of the zone.
    /// Who was told the difference then holds something else than the teller believes.
    pub fn with_difference(
        &self,
        removed: &[Record],
        added: &[Record],
    ) -> Result<Self, DifferenceError> {
        let mut work = Work {
            version: self,
            touched: BTreeMap::new(),
        };
        for record in removed {
            work.remove(record)?;
        }
        for record in added {
            work.add(record)?;
        }
        Ok(work.finish())
    }
}

/// The nodes that a difference touches, by key.
struct Work<'v> {
    version: &'v Version,
    touched: BTreeMap<Vec<u8>, Touched>,
}

struct Touched {
    owner: Name,
    rrsets: BTreeMap<Rank, Held>,
}

/// An RRset, its RDATA by that in which they differ: in this order they stand in a node.
struct Held {
    ttl: u32,
    rdata: BTreeMap<Vec<u8>, Rdata>,
}

impl Work<'_> {
    fn remove(&mut self, record: &Record) -> Result<(), DifferenceError> {
        let (rank, touched) = self.touch(record)?;
        let removed = touched.rrsets.get_mut(&rank).and_then(|held| {
            let key = comparable(record.rtype, record.rdata.as_bytes());
            let removed = held.rdata.remove(&*key);
            removed.map(|_| held.rdata.is_empty())
        });
        match removed {
            Some(true) => drop(touched.rrsets.remove(&rank)),
            Some(false) => {}
            None => {
                let owner = record.owner.clone();
                return Err(DifferenceError::NotThere(owner, record.rtype));
            }
        }
        Ok(())
    }

    fn add(&mut self, record: &Record) -> Result<(), DifferenceError> {
        let (rank, touched) = self.touch(record)?;
        // A name keeps its case while it has records.
        if touched.rrsets.is_empty() {
            touched.owner = record.owner.clone();
        }
        let held = match touched.rrsets.entry(rank) {
            Entry::Vacant(place) => place.insert(Held {
                ttl: record.ttl,
                rdata: BTreeMap::new(),
            }),
            Entry::Occupied(held) => held.into_mut(),
        };
        // RFC 2181 section 5.2: an RRset has one TTL.
        held.ttl = held.ttl.min(record.ttl);
        let is_second_soa = record.rtype == Rtype::SOA && !held.rdata.is_empty();
        let key = comparable(record.rtype, record.rdata.as_bytes()).into_owned();
        let before = held.rdata.insert(key, record.rdata.clone());
        if before.is_some() || is_second_soa {
            let owner = record.owner.clone();
            return Err(DifferenceError::AlreadyThere(owner, record.rtype));
        }
        Ok(())
    }

    /// The node to which a record belongs, and its RRset there.
    fn touch(&mut self, record: &Record) -> Result<(Rank, &mut Touched), DifferenceError> {
        let version = self.version;
        let owner = record.owner.borrowed();
        let Some(labels) = relative_labels(owner, version.origin().borrowed()) else {
            return Err(DifferenceError::OutOfZone(record.owner.clone()));
        };
        let rank = Rank::of(record.rtype, record.rdata.as_bytes());
        let key = match rank.is_denial(labels) {
            true => Key::denial(labels),
            false => Key::of_labels(labels),
        };
        let touched = self.touched.entry(key.as_bytes().to_vec());
        let touched = touched.or_insert_with(|| Touched::of(version, key.as_bytes(), record));
        Ok((rank, touched))
    }

    fn finish(self) -> Version {
        let mut version = self.version.clone();
        let origin = version.origin().clone();
        let (cleared, kept): (Vec<_>, Vec<_>) =
            (self.touched.into_iter()).partition(|(_, touched)| touched.rrsets.is_empty());
        for (key, touched) in kept {
            let labels = labels_of(&touched.owner, &origin);
            let is_denial = (touched.rrsets.keys()).any(|rank| rank.is_denial(labels));
            let bytes = touched.encode(labels);
            if version
                .node_at(&key)
                .is_some_and(|node| node.bytes() == bytes)
            {
                continue;
            }
            version.put(&key, Some(&bytes));
            // NSEC3 records are no names, and have none above them.
            if !is_denial {
                version.put_missing_ancestors(&Key::of_labels(labels), labels);
            }
        }
        // From the bottom up: a name goes after those below it.
        for (key, _) in cleared.iter().rev() {
            match self.version.node_at(key) {
                Some(node) if node.is_denial() => version.put(key, None),
                Some(node) if !node.is_empty() => version.clear(key),
                _ => {}
            }
        }
        version
    }
}

impl Touched {
    fn of(version: &Version, key: &[u8], record: &Record) -> Self {
        let node = version.node_at(key).filter(|node| !node.is_empty());
        let rrsets = node.into_iter().flat_map(|node| node.rrsets());
        let rrsets = rrsets.map(|rrset| {
            let rdata = rrset.rdata().map(|rdata| {
                let key = comparable(rrset.rtype(), rdata).into_owned();
                (key, Rdata::from_checked(rdata))
            });
            let held = Held {
                ttl: rrset.ttl(),
                rdata: rdata.collect(),
            };
            (rrset.rank(), held)
        });
        Self {
            owner: node.map_or_else(|| record.owner.clone(), |node| node.owner()),
            rrsets: rrsets.collect(),
        }
    }

    fn encode(&self, labels: &[u8]) -> Vec<u8> {
        // RFC 4034 section 3.1.8.1: a signature of the SOA is one of its serial too.
        let keeps_serial = self.rrsets.contains_key(&Rank::OF_SOA_SIGNATURE);
        let rrsets: Vec<_> = (self.rrsets.iter())
            .map(|(rank, held)| {
                let rtype = rank.rtype();
                let rdata = held.rdata.values().map(|rdata| match rtype {
                    Rtype::SOA if !keeps_serial => {
                        Rdata::from_checked(without_soa_serial(rdata.as_bytes()))
                    }
                    _ => rdata.clone(),
                });
                (rtype, held.ttl, rdata.collect())
            })
            .collect();
        node::encode(labels, &rrsets)
    }
}
