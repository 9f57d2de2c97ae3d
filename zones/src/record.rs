//! One record of a zone. Its class is always IN.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::key;
use crate::name::{Name, NameRef};
use crate::rdata;
use crate::rtype::Rtype;
use crate::workers::{OneWorker, Workers};

/// A record: owner name, type, TTL and RDATA.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The owner name, case kept.
    pub owner: Name,
    /// The RR type; never a meta type.
    pub rtype: Rtype,
    /// Seconds that a resolver may keep it; at most [`TTL_MAX`].
    pub ttl: u32,
    /// The RDATA, uncompressed.
    pub rdata: Rdata,
}

/// A record that stands in bytes which somebody else holds.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'r> {
    /// The owner name, case kept.
    pub owner: NameRef<'r>,
    /// The RR type; never a meta type.
    pub rtype: Rtype,
    /// Seconds that a resolver may keep it; at most [`TTL_MAX`].
    pub ttl: u32,
    /// The RDATA in wire format, checked and uncompressed.
    pub rdata: &'r [u8],
}

/// RDATA in wire format, names in it uncompressed and case kept. Equality is that of the bytes;
/// `rdata::canonical` gives the form in which records of a zone are compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rdata(Box<[u8]>);

/// Largest TTL (RFC 2181 section 8).
pub const TTL_MAX: u32 = i32::MAX as u32;
/// Largest RDATA: its length has 16 bits (RFC 1035 section 3.2.1).
pub const RDATA_SIZE_MAX: usize = u16::MAX as usize;

impl Rdata {
    /// Takes bytes that already passed `rdata::check` for their type.
    #[must_use]
    pub fn from_checked(bytes: impl Into<Box<[u8]>>) -> Self {
        let bytes = bytes.into();
        assert!(
            bytes.len() <= RDATA_SIZE_MAX,
            "RDATA over 65535 bytes passed its check"
        );
        Self(bytes)
    }

    /// The wire format.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into()
    }
}

impl AsRef<[u8]> for Rdata {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {:?}",
            self.owner, self.ttl, self.rtype, self.rdata
        )
    }
}

/// The order in which `records` stand in a zone: owner names in canonical order, types by number,
/// RDATA in canonical order (RFC 4034 section 6). Equal records keep their order.
pub fn canonical_order<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<u32> {
    let records: Vec<&Record> = records.collect();
    let owners = records.iter().map(|record| record.owner.borrowed());
    let mut order = owners_in_order(owners, &OneWorker);
    let of = |i: u32| records[i as usize];
    for of_owner in order.chunk_by_mut(|a, b| of(*a).owner == of(*b).owner) {
        of_owner.sort_by(|a, b| of(*a).borrowed().cmp_below_owner(&of(*b).borrowed()));
    }
    order
}

/// The canonical order of `owners`; equal ones keep their order. Made for millions of them: names
/// become keys that compare as bytes, and the first bytes of most keys decide.
pub(crate) fn owners_in_order<'n>(
    owners: impl Iterator<Item = NameRef<'n>>,
    workers: &impl Workers,
) -> Vec<u32> {
    let mut keys = Vec::new();
    let mut key_ends = Vec::new();
    for owner in owners {
        owner.append_canonical_key(&mut keys);
        key_ends.push(keys.len());
    }
    let key = |number: usize| {
        let start = if number == 0 { 0 } else { key_ends[number - 1] };
        &keys[start..key_ends[number]]
    };
    // Names of a zone begin their keys alike. What comes after that decides most comparisons.
    let mut common = if key_ends.is_empty() { &[][..] } else { key(0) };
    for number in 1..key_ends.len() {
        let other = key(number);
        if !other.starts_with(common) {
            let pairs = common.iter().zip(other);
            common = &common[..pairs.take_while(|(a, b)| a == b).count()];
        }
    }
    let skipped = common.len();
    let mut order: Vec<(u64, u32)> = (0..key_ends.len())
        .map(|number| (key::head(&key(number)[skipped..]), number as u32))
        .collect();
    let compare = |(head_a, a): &(u64, u32), (head_b, b): &(u64, u32)| {
        let by_key = || key(*a as usize).cmp(key(*b as usize));
        head_a.cmp(head_b).then_with(by_key)
    };
    if order.len() >= OWNERS_MANY {
        let middle = order.len() / 2;
        let (left, right) = order.split_at_mut(middle);
        workers.both(|| left.sort_by(compare), || right.sort_by(compare));
    }
    // Of two halves in order it makes one in a single pass.
    order.sort_by(compare);
    order.into_iter().map(|(_, number)| number).collect()
}

/// For so many it is worth it to have help.
pub(crate) const OWNERS_MANY: usize = 10_000;

impl Record {
    /// The same record without bytes of its own.
    #[must_use]
    pub fn borrowed(&self) -> RecordRef<'_> {
        RecordRef {
            owner: self.owner.borrowed(),
            rtype: self.rtype,
            ttl: self.ttl,
            rdata: self.rdata.as_bytes(),
        }
    }
}

impl RecordRef<'_> {
    /// The record with bytes of its own.
    #[must_use]
    pub fn to_record(self) -> Record {
        Record {
            owner: self.owner.to_name(),
            rtype: self.rtype,
            ttl: self.ttl,
            rdata: Rdata::from_checked(self.rdata),
        }
    }

    /// The order of records of one owner: by type, then by RDATA in canonical form.
    pub(crate) fn cmp_below_owner(&self, other: &Self) -> Ordering {
        let by_rdata = || {
            let (mine, theirs) = (self.canonical_rdata(), other.canonical_rdata());
            mine.cmp(&theirs)
        };
        self.rtype.cmp(&other.rtype).then_with(by_rdata)
    }

    /// The RDATA in canonical form (RFC 4034 section 6.2).
    pub(crate) fn canonical_rdata(&self) -> Cow<'_, [u8]> {
        rdata::canonical(self.rtype, self.rdata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let label = proptest::collection::vec(prop_oneof![0u8..3, b'A'..=b'C', b'a'..=b'c'], 1..3);
        let labels = proptest::collection::vec(label, 0..4);
        (
            labels,
            1u16..3,
            proptest::collection::vec(any::<u8>(), 0..3),
        )
            .prop_map(|(labels, rtype, rdata)| Record {
                owner: labels
                    .iter()
                    .fold("Test".parse().unwrap(), |name: Name, label| {
                        name.child(label).unwrap()
                    }),
                rtype: Rtype(rtype),
                ttl: 0,
                rdata: Rdata::from_checked(rdata),
            })
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_names_types_and_rdata(
            records in proptest::collection::vec(any_record(), 0..40)
        ) {
            let mut expected: Vec<u32> = (0..records.len() as u32).collect();
            expected.sort_by_key(|i| {
                let record = &records[*i as usize];
                let rdata = record.borrowed().canonical_rdata().into_owned();
                (record.owner.clone(), record.rtype, rdata)
            });
            prop_assert_eq!(canonical_order(records.iter()), expected);
        }
    }
}
