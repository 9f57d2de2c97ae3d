//! Many records in a few pieces of memory: what a zone file or an upload holds before it is a zone.
//!
//! ```text
//! bytes    owner | RDATA | RDATA | … | owner | RDATA …     as they came
//! runs     an owner, and its first entry                   records that follow each other share it
//! entries  where the RDATA is, type, TTL, place
//! ```

use std::ops::Range;

use crate::name::NameRef;
use crate::record::{RecordRef, owners_in_order};
use crate::rtype::Rtype;
use crate::workers::Workers;
use crate::zonefile::Place;

/// Records, each with the place where it was written.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    entries: Vec<Entry>,
}

/// A record and where it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'r> {
    pub(crate) record: RecordRef<'r>,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
struct Run {
    owner: usize,
    owner_size: u8,
    first: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    rdata: usize,
    rdata_size: u16,
    rtype: Rtype,
    ttl: u32,
    place: Place,
}

impl Records {
    /// Room for about so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(count * BYTES_EXPECTED),
            runs: Vec::new(),
            entries: Vec::with_capacity(count),
        }
    }

    /// Puts a record behind the others. Its RDATA has passed `rdata::check`.
    pub(crate) fn push(&mut self, record: RecordRef<'_>, place: Place) {
        let owner = record.owner.as_wire();
        if self.runs.is_empty() || self.owner(self.runs.len() - 1).as_wire() != owner {
            self.runs.push(Run {
                owner: self.bytes.len(),
                owner_size: owner.len() as u8,
                first: self.entries.len() as u32,
            });
            self.bytes.extend_from_slice(owner);
        }
        self.entries.push(Entry {
            rdata: self.bytes.len(),
            rdata_size: record.rdata.len() as u16,
            rtype: record.rtype,
            ttl: record.ttl,
            place,
        });
        self.bytes.extend_from_slice(record.rdata);
    }

    /// Puts a record that stands in no file behind the others. Its RDATA has passed `rdata::check`.
    pub fn append(&mut self, record: RecordRef<'_>) {
        self.push(record, NO_PLACE);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The records as they came.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.placed().map(|placed| placed.record)
    }

    /// The same with their places.
    pub(crate) fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        (0..self.runs.len()).flat_map(|run| self.run(run))
    }

    /// Runs in canonical order of their owners.
    pub(crate) fn runs_in_order(&self, workers: &impl Workers) -> Vec<u32> {
        owners_in_order((0..self.runs.len()).map(|run| self.owner(run)), workers)
    }

    /// The owner of a run.
    pub(crate) fn owner(&self, run: usize) -> NameRef<'_> {
        let Run {
            owner, owner_size, ..
        } = self.runs[run];
        NameRef::from_checked(&self.bytes[owner..owner + usize::from(owner_size)])
    }

    /// The records of a run.
    pub(crate) fn run(&self, run: usize) -> impl Iterator<Item = Placed<'_>> {
        let owner = self.owner(run);
        self.entries[self.entries_of(run)]
            .iter()
            .map(move |entry| Placed {
                record: RecordRef {
                    owner,
                    rtype: entry.rtype,
                    ttl: entry.ttl,
                    rdata: &self.bytes[entry.rdata..entry.rdata + usize::from(entry.rdata_size)],
                },
                place: entry.place,
            })
    }

    fn entries_of(&self, run: usize) -> Range<usize> {
        let first = |run: &Run| run.first as usize;
        let end = self.runs.get(run + 1).map_or(self.entries.len(), first);
        first(&self.runs[run])..end
    }
}

/// That of records that stand in no file.
const NO_PLACE: Place = Place {
    file: 0,
    column: 0,
    line: 0,
};

/// An owner and the RDATA of a record of a large zone take about so many bytes.
const BYTES_EXPECTED: usize = 32;
