//! A base from the records of its nodes, one node after the other.
//!
//! ```text
//! records in canonical order of names ─▶ apex │ NSEC3 records ─▶ base
//!                                             └ all other names ┘
//! ```

use std::sync::Arc;

use crate::base::{Base, Builder};
use crate::key::{self, Key};
use crate::name::Name;
use crate::node::{Rank, Writer};
use crate::rdata::without_soa_serial;
use crate::record::{Record, RecordRef, owners_in_order};
use crate::rtype::Rtype;
use crate::version::{OutOfZone, Version};
use crate::workers::OneWorker;

/// Makes a base. Names come in canonical order, all records of one at once.
pub(crate) struct Assembly<'o> {
    origin: &'o Name,
    /// Apex and NSEC3 records, which come before all other names. None if there are none of these.
    top: Option<Builder>,
    names: Builder,
    /// The key of the name that came last.
    last_key: Vec<u8>,
    writer: Writer,
    /// Scratch space.
    of_name: Vec<RecordRef<'o>>,
    node: Vec<u8>,
}

/// Whether a zone has NSEC3 records, or signatures of such.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denial {
    /// It has.
    Nsec3,
    /// It has none.
    None,
}

impl Denial {
    pub(crate) fn of<'r>(mut records: impl Iterator<Item = RecordRef<'r>>) -> Self {
        match records.any(|record| rank_of(&record).is_of_nsec3()) {
            true => Self::Nsec3,
            false => Self::None,
        }
    }
}

impl<'o> Assembly<'o> {
    pub(crate) fn new(origin: &'o Name, denial: Denial) -> Self {
        let builder = || Builder::new(origin.clone());
        Self {
            origin,
            top: (denial == Denial::Nsec3).then(builder),
            names: builder(),
            last_key: Vec::new(),
            writer: Writer::default(),
            of_name: Vec::new(),
            node: Vec::new(),
        }
    }

    /// Appends the records of one name, as they stand below their owner in canonical order, no two
    /// equal. An RRset takes the TTL of its first record.
    pub(crate) fn push(&mut self, records: impl Iterator<Item = RecordRef<'o>>) {
        let mut of_name = std::mem::take(&mut self.of_name);
        of_name.clear();
        of_name.extend(records);
        self.push_name(&mut of_name);
        self.of_name = of_name;
    }

    fn push_name(&mut self, records: &mut [RecordRef<'_>]) {
        let owner = records[0].owner;
        let labels = key::relative_labels(owner, self.origin.borrowed())
            .expect("what is outside has been left out");
        if records.iter().any(|record| record.rtype == Rtype::RRSIG) {
            records.sort_by_key(rank_of);
        }
        if self.top.is_none() || labels.is_empty() {
            self.push_node(labels, records);
            return;
        }
        let is_denial = |record: &RecordRef<'_>| rank_of(record).is_of_nsec3();
        let (denials, others): (Vec<_>, Vec<_>) = records.iter().copied().partition(is_denial);
        for node in [denials, others].iter().filter(|node| !node.is_empty()) {
            self.push_node(labels, node);
        }
    }

    /// Puts the names of another one behind these. Each of the two has the names below a label right
    /// below the apex, or none of them.
    pub(crate) fn append(&mut self, other: Self) {
        if let (Some(top), Some(behind)) = (&mut self.top, other.top) {
            top.append(behind);
        }
        self.names.append(other.names);
    }

    pub(crate) fn finish(mut self) -> Base {
        match self.top.take() {
            None => self.names.finish(),
            Some(mut top) => {
                top.append(self.names);
                top.finish()
            }
        }
    }

    /// True before the first name.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.top.as_ref().is_none_or(Builder::is_empty)
    }

    fn push_node(&mut self, labels: &[u8], records: &[RecordRef<'_>]) {
        // RFC 4034 section 3.1.8.1: a signature of the SOA is one of its serial too.
        let keeps_serial = (records.iter()).any(|r| rank_of(r) == Rank::OF_SOA_SIGNATURE);
        for rrset in records.chunk_by(|a, b| rank_of(a) == rank_of(b)) {
            let (rank, first) = (rank_of(&rrset[0]), rrset[0]);
            if first.rtype == Rtype::SOA {
                self.writer.begin_rrset(labels, rank, first.ttl, 1);
                match keeps_serial {
                    true => self.writer.put_rdata(first.rdata),
                    false => self.writer.put_rdata(&without_soa_serial(first.rdata)),
                }
                continue;
            }
            self.writer
                .begin_rrset(labels, rank, first.ttl, rrset.len());
            for record in rrset {
                self.writer.put_rdata(record.rdata);
            }
        }
        let is_denial = rank_of(&records[0]).is_denial(labels);
        self.put(labels, is_denial);
    }

    /// Puts the node that was written to its region.
    fn put(&mut self, labels: &[u8], is_denial: bool) {
        let key = match is_denial {
            true => Key::denial(labels),
            false => Key::of_labels(labels),
        };
        if !is_denial {
            self.put_missing_ancestors(&key, labels);
        }
        self.node.clear();
        self.writer.finish(labels, &mut self.node);
        let region = match &mut self.top {
            Some(top) if is_denial || labels.is_empty() => top,
            _ => &mut self.names,
        };
        region.push(key.as_bytes(), &self.node);
    }

    /// Names between the apex and this one that have no records exist all the same (RFC 4592 section
    /// 2.2.2). Those that stand already are above the name pushed last.
    fn put_missing_ancestors(&mut self, key: &Key, labels: &[u8]) {
        let depth = key.label_count();
        let stands = |above: &usize| self.last_key.starts_with(key.ancestor(*above));
        let lowest = (1..depth).rev().find(stands).unwrap_or(0);
        for above in lowest + 1..depth {
            let mut rest = labels;
            for _ in above..depth {
                rest = &rest[usize::from(rest[0]) + 1..];
            }
            self.node.clear();
            Writer::default().finish(rest, &mut self.node);
            self.names.push(key.ancestor(above), &self.node);
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key.as_bytes());
    }
}

impl Version {
    /// The version of these records, in whatever order. Equal records are kept once, and an RRset
    /// takes the TTL of its first record. The serial of the SOA is left behind.
    pub fn from_records(origin: &Name, records: &[Record]) -> Result<Self, OutOfZone> {
        if let Some(outside) = records.iter().find(|r| !r.owner.is_at_or_below(origin)) {
            return Err(OutOfZone(outside.owner.clone()));
        }
        let denial = Denial::of(records.iter().map(Record::borrowed));
        let runs: Vec<&[Record]> = (records.chunk_by(|a, b| a.owner == b.owner)).collect();
        let owner_of = |run: u32| &runs[run as usize][0].owner;
        let order = owners_in_order(runs.iter().map(|run| run[0].owner.borrowed()), &OneWorker);
        let mut assembly = Assembly::new(origin, denial);
        // The apex always exists.
        if order.first().is_none_or(|run| owner_of(*run) != origin) {
            assembly.put(&[], false);
        }
        let mut of_name = Vec::new();
        for name in order.chunk_by(|a, b| owner_of(*a) == owner_of(*b)) {
            of_name.clear();
            let records = name.iter().flat_map(|run| runs[*run as usize]);
            of_name.extend(records.map(Record::borrowed));
            put_in_order(&mut of_name);
            assembly.push(of_name.iter().copied());
        }
        Ok(Self::from_base(Arc::new(assembly.finish())))
    }
}

/// Brings the records of one name into the order in which they stand in a zone, each once. What
/// comes first among those of an RRset has its say first.
fn put_in_order(records: &mut Vec<RecordRef<'_>>) {
    records.sort_by_key(rank_of);
    let owner = records[0].owner;
    records.iter_mut().for_each(|record| record.owner = owner);
    for rrset in records.chunk_by_mut(|a, b| rank_of(a) == rank_of(b)) {
        let ttl = rrset[0].ttl;
        rrset.iter_mut().for_each(|record| record.ttl = ttl);
        if rrset[0].rtype != Rtype::SOA {
            rrset.sort_by(RecordRef::cmp_below_owner);
        }
    }
    records.dedup_by(|b, a| a.cmp_below_owner(b).is_eq());
}

fn rank_of(record: &RecordRef<'_>) -> Rank {
    Rank::of(record.rtype, record.rdata)
}
