//! What lies between two serials of a zone: the difference sequences of an IXFR (RFC 1995 section
//! 4), and the content that a zone had at an earlier serial.
//!
//! ```text
//! steps      -a +b │ -b +c │ -d      each framed by the SOA before and after
//! condensed  -a -d +c                one sequence, nothing sent only to be taken back
//! ```

use super::{Chain, Step, StepRecord};
use std::collections::{BTreeMap, BTreeSet};
use zones::rtype::Rtype;
use zones::zone_set::Shown;
use zones::{Record, Serial};

/// Steps larger than this together are not even looked at: the whole zone is sent.
pub const STEPS_SIZE_MAX: usize = 16 << 20;
/// Up to this size steps are condensed (RFC 1995 section 5), which takes some 10 ms then.
const CONDENSED_SIZE_MAX: usize = 4 << 20;

/// The way from one serial to another.
#[derive(Clone, Debug)]
pub struct Difference<'s> {
    /// In their order.
    pub sequences: Vec<Sequence<'s>>,
}

/// One difference sequence.
#[derive(Clone, Debug)]
pub struct Sequence<'s> {
    /// The serial before, and the SOA.
    pub before: (Serial, StepRecord<'s>),
    /// What goes, the SOA apart.
    pub removed: Vec<StepRecord<'s>>,
    /// The serial after, and the SOA.
    pub after: (Serial, StepRecord<'s>),
    /// What comes, the SOA apart.
    pub added: Vec<StepRecord<'s>>,
}

impl<'s> Difference<'s> {
    /// The way from serial `from` to what is shown; none if the steps do not reach so far back,
    /// are larger than `size_max` together, or come to more records than the zone has.
    #[must_use]
    pub fn new(chain: &'s Chain, shown: &'s Shown, from: Serial, size_max: usize) -> Option<Self> {
        let steps = chain.back(shown.serial, from, size_max)?;
        let rrset = shown.version.apex().rrset(Rtype::SOA)?;
        let soa = StepRecord {
            owner: shown.version.origin().as_wire(),
            rtype: Rtype::SOA,
            ttl: rrset.ttl(),
            rdata: rrset.rdata().next()?,
        };
        let size: usize = steps.iter().map(|step| step.delta_size()).sum();
        let sequences = if size <= CONDENSED_SIZE_MAX {
            vec![condense(&steps, soa)]
        } else {
            one_by_one(&steps, soa)
        };
        let difference = Self { sequences };
        // RFC 1995 section 5: the whole zone is sent where that is less.
        let whole = shown.version.counts().records as usize;
        (difference.record_count() <= whole).then_some(difference)
    }

    /// How many records go and come, SOAs apart.
    #[must_use]
    pub fn record_count(&self) -> usize {
        let count = |sequence: &Sequence<'_>| sequence.removed.len() + sequence.added.len();
        self.sequences.iter().map(count).sum()
    }

    /// All records of an IXFR between the first and the last SOA, with the serial that a SOA is
    /// shown with.
    pub fn records(self) -> impl Iterator<Item = (StepRecord<'s>, Option<Serial>)> + use<'s> {
        self.sequences.into_iter().flat_map(|sequence| {
            let soa = |(serial, soa)| std::iter::once((soa, Some(serial)));
            let plain = |records: Vec<StepRecord<'s>>| records.into_iter().map(|it| (it, None));
            soa(sequence.before)
                .chain(plain(sequence.removed))
                .chain(soa(sequence.after))
                .chain(plain(sequence.added))
        })
    }
}

/// The records that a zone had at an earlier serial; none if the steps do not reach so far back.
#[must_use]
pub fn content_at(chain: &Chain, shown: &Shown, serial: Serial) -> Option<Vec<Record>> {
    if serial == shown.serial {
        return Some(shown.version.records().collect());
    }
    let steps = chain.back(shown.serial, serial, STEPS_SIZE_MAX)?;
    let mut gone = BTreeSet::new();
    let mut back = BTreeMap::new();
    for (record, sign) in net(&steps, |_| true) {
        match sign {
            Sign::Added => {
                gone.insert(record);
            }
            Sign::Removed => {
                back.insert(record, ());
            }
        }
    }
    let is_kept = |record: &Record| {
        let rdata = record.rdata.as_bytes();
        let key = (record.owner.as_wire(), record.rtype, record.ttl, rdata);
        !gone.contains(&key)
    };
    let kept = shown.version.records().filter(is_kept);
    let back = back.into_keys().map(|(owner, rtype, ttl, rdata)| {
        let record = StepRecord {
            owner,
            rtype,
            ttl,
            rdata,
        };
        record.to_record()
    });
    Some(kept.chain(back).collect())
}

/// Owner name, type, TTL and RDATA, to the byte.
type Identity<'s> = (&'s [u8], Rtype, u32, &'s [u8]);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Removed,
    Added,
}

/// What steps did together, of the records that count.
fn net<'s>(
    steps: &[&'s Step],
    counts: impl Fn(&StepRecord<'s>) -> bool,
) -> impl Iterator<Item = (Identity<'s>, Sign)> {
    let mut sums: BTreeMap<Identity<'s>, i64> = BTreeMap::new();
    let identity = |it: StepRecord<'s>| (it.owner, it.rtype, it.ttl, it.rdata);
    for step in steps {
        for record in step.removed().filter(&counts) {
            *sums.entry(identity(record)).or_default() -= 1;
        }
        for record in step.added().filter(&counts) {
            *sums.entry(identity(record)).or_default() += 1;
        }
    }
    sums.into_iter().filter_map(|(record, sum)| match sum {
        0 => None,
        sum if sum < 0 => Some((record, Sign::Removed)),
        _ => Some((record, Sign::Added)),
    })
}

fn is_no_soa(record: &StepRecord<'_>) -> bool {
    record.rtype != Rtype::SOA
}

/// The SOA before a step, if this one stands after it.
fn soa_before<'s>(step: &'s Step, after: StepRecord<'s>) -> StepRecord<'s> {
    let removed = step.removed().find(|record| !is_no_soa(record));
    removed.unwrap_or(after)
}

/// One sequence for all steps, which come newest first.
fn condense<'s>(steps: &[&'s Step], soa: StepRecord<'s>) -> Sequence<'s> {
    let (newest, oldest) = (steps[0], steps[steps.len() - 1]);
    let first_soa = steps.iter().fold(soa, |soa, step| soa_before(step, soa));
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for ((owner, rtype, ttl, rdata), sign) in net(steps, is_no_soa) {
        let record = StepRecord {
            owner,
            rtype,
            ttl,
            rdata,
        };
        match sign {
            Sign::Removed => removed.push(record),
            Sign::Added => added.push(record),
        }
    }
    Sequence {
        before: (oldest.before, first_soa),
        removed,
        after: (newest.after, soa),
        added,
    }
}

/// A sequence for each step, which come newest first.
fn one_by_one<'s>(steps: &[&'s Step], soa: StepRecord<'s>) -> Vec<Sequence<'s>> {
    let mut after = soa;
    let mut sequences: Vec<Sequence<'s>> = steps
        .iter()
        .map(|step| {
            let before = soa_before(step, after);
            let sequence = Sequence {
                before: (step.before, before),
                removed: step.removed().filter(is_no_soa).collect(),
                after: (step.after, after),
                added: step.added().filter(is_no_soa).collect(),
            };
            after = before;
            sequence
        })
        .collect();
    sequences.reverse();
    sequences
}
