//! One record of a zone. Its class is always IN.

use std::fmt;

use crate::name::Name;
use crate::rdata;
use crate::rtype::Rtype;

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
/// RDATA in canonical order (RFC 4034 section 6). Equal records keep their order. Made for
/// millions of records: names become keys that compare as bytes, and a run of records with the
/// same owner has one.
pub fn canonical_order<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<u32> {
    let records: Vec<&Record> = records.collect();
    let mut keys = Vec::new();
    let mut key_ends = Vec::new();
    let mut key_of = Vec::with_capacity(records.len());
    for (i, record) in records.iter().enumerate() {
        if i == 0 || record.owner.as_wire() != records[i - 1].owner.as_wire() {
            record.owner.append_canonical_key(&mut keys);
            key_ends.push(keys.len());
        }
        key_of.push(key_ends.len() - 1);
    }
    let key = |number: usize| {
        let start = if number == 0 { 0 } else { key_ends[number - 1] };
        &keys[start..key_ends[number]]
    };
    // Names of a zone begin their keys alike. What comes after that decides most comparisons.
    let mut common = if key_ends.is_empty() { &[][..] } else { key(0) };
    for number in 1..key_ends.len() {
        let shared = common
            .iter()
            .zip(key(number))
            .take_while(|(a, b)| a == b)
            .count();
        common = &common[..shared];
    }
    let skipped = common.len();
    let first_bytes = |number: usize| {
        let mut bytes = [0; 8];
        let rest = &key(number)[skipped..];
        let size = rest.len().min(bytes.len());
        bytes[..size].copy_from_slice(&rest[..size]);
        u64::from_be_bytes(bytes)
    };
    let mut order: Vec<(u64, u32)> = key_of
        .iter()
        .enumerate()
        .map(|(i, number)| (first_bytes(*number), i as u32))
        .collect();
    order.sort_by(|(first_a, a), (first_b, b)| {
        let (a, b) = (*a as usize, *b as usize);
        let by_key = || match key_of[a] == key_of[b] {
            true => std::cmp::Ordering::Equal,
            false => key(key_of[a])[skipped..].cmp(&key(key_of[b])[skipped..]),
        };
        let (a, b) = (records[a], records[b]);
        first_a
            .cmp(first_b)
            .then_with(by_key)
            .then_with(|| a.rtype.cmp(&b.rtype))
            .then_with(|| a.canonical_rdata().cmp(&b.canonical_rdata()))
    });
    order.into_iter().map(|(_, i)| i).collect()
}

impl Record {
    /// The RDATA in canonical form (RFC 4034 section 6.2).
    #[must_use]
    pub fn canonical_rdata(&self) -> std::borrow::Cow<'_, [u8]> {
        rdata::canonical(self.rtype, self.rdata.as_bytes())
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
                (record.owner.clone(), record.rtype, record.canonical_rdata().into_owned())
            });
            prop_assert_eq!(canonical_order(records.iter()), expected);
        }
    }
}
