//! Zones in small: names with numbers, a serial that counts, duplicates by digest.

use replication::{Body, Digest, Entry, EntryId};
use std::collections::BTreeMap;

/// All zones after some prefix of the order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Version {
    pub(crate) zones: BTreeMap<u8, Zone>,
    pub(crate) digests: BTreeMap<Digest, Outcome>,
    pub(crate) position: u64,
    evictions: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Zone {
    counted: u64,
    pub(crate) names: BTreeMap<u8, Name>,
}

/// The names of a zone with their numbers.
pub(crate) type Content = Vec<(u8, u64)>;

/// A name, and the entry that last changed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) value: Option<u64>,
    pub(crate) by: EntryId,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Outcome {
    NoError,
    YxDomain,
}

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) zone: u8,
    pub(crate) name: u8,
    pub(crate) change: Change,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    AddIfAbsent(u64),
    Set(u64),
    Delete,
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, value) = match self.change {
            Change::AddIfAbsent(value) => (0, value),
            Change::Set(value) => (1, value),
            Change::Delete => (2, 0),
        };
        let mut bytes = vec![self.zone, self.name, kind];
        bytes.extend(value.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let value = u64::from_be_bytes(bytes[3..11].try_into().expect("eight bytes"));
        Self {
            zone: bytes[0],
            name: bytes[1],
            change: match bytes[2] {
                0 => Change::AddIfAbsent(value),
                1 => Change::Set(value),
                _ => Change::Delete,
            },
        }
    }
}

impl Version {
    /// The outcome on this version, and what the name becomes if it changes.
    pub(crate) fn evaluate(&self, request: &Request) -> (Outcome, Option<Option<u64>>) {
        let held = self
            .name(request.zone, request.name)
            .and_then(|name| name.value);
        match (request.change, held) {
            (Change::AddIfAbsent(_), Some(_)) => (Outcome::YxDomain, None),
            (Change::AddIfAbsent(value), None) => (Outcome::NoError, Some(Some(value))),
            (Change::Set(value), Some(held)) if value == held => (Outcome::NoError, None),
            (Change::Set(value), _) => (Outcome::NoError, Some(Some(value))),
            (Change::Delete, None) => (Outcome::NoError, None),
            (Change::Delete, Some(_)) => (Outcome::NoError, Some(None)),
        }
    }

    pub(crate) fn name(&self, zone: u8, name: u8) -> Option<&Name> {
        self.zones.get(&zone)?.names.get(&name)
    }

    /// Folds the next entry in stamp order.
    pub(crate) fn fold(&mut self, entry: &Entry) -> Outcome {
        self.position += 1;
        let data = match &entry.body {
            Body::Data(data) => data,
            Body::Join(_) => return Outcome::NoError,
            Body::Evict(_) => {
                self.evictions += 1;
                return Outcome::NoError;
            }
        };
        let request = Request::decode(data);
        self.zones.entry(request.zone).or_default().counted += 1;
        if let Some(outcome) = entry.digest.and_then(|digest| self.digests.get(&digest)) {
            return *outcome;
        }
        let (outcome, change) = self.evaluate(&request);
        if let Some(value) = change {
            let by = entry.id();
            let zone = self.zones.entry(request.zone).or_default();
            zone.names.insert(request.name, Name { value, by });
        }
        if let Some(digest) = entry.digest {
            self.digests.insert(digest, outcome);
        }
        outcome
    }

    /// The serials of all zones, each with what stands for the content.
    pub(crate) fn serials(&self) -> Vec<(u8, u64, Content)> {
        let content = |zone: &Zone| {
            let names = zone.names.iter();
            names
                .filter_map(|(name, held)| Some((*name, held.value?)))
                .collect()
        };
        self.zones
            .iter()
            .map(|(id, zone)| {
                (
                    *id,
                    zone.counted + SERIAL_JUMP * self.evictions,
                    content(zone),
                )
            })
            .collect()
    }
}

/// The serial rises by this at an eviction: J.
const SERIAL_JUMP: u64 = 1_000;
