//! One step of what was published of a zone: from one serial to the next, by one entry.
//!
//! ```text
//! step = origin name | before u32 | after u32 | stamp | what | delta? (size u32 | removed record … | added record …)
//! what = 1 address key? name | 2 | 3 | 4 serial u32 | 5 | 6 | 7 | 8 address | 9
//! ```
//! `size` is that of the records removed; what follows them up to the end was added. Records are
//! those of `zone_data`; what may be missing has a byte 0 or 1 before it.

use crate::prefix::{get_address, put_address};
use crate::state::{Content, Counted};
use crate::zone_data::{check_records, encode_record};
use bytes::{Buf, BufMut};
use replication::Stamp;
use std::net::IpAddr;
use std::sync::Arc;
use zones::rtype::Rtype;
use zones::{Name, Record, Serial, Version};

/// One step. It never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The serial of the version before.
    pub before: Serial,
    /// The serial of the version after.
    pub after: Serial,
    /// Where its entry stands among all; the last one, if it is several.
    pub stamp: Stamp,
    /// What it was, and who asked for it.
    pub what: What,
    /// None if there is no version on one side, or the two differ too much: no IXFR comes past it.
    delta: Option<Packed>,
}

/// What an entry was, and who asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// An RFC 2136 UPDATE of a requestor.
    Update {
        /// Who sent it.
        source: IpAddr,
        /// The key that it was signed with.
        key: Option<Name>,
    },
    /// An operator imported the zone, or imported it again.
    Import,
    /// An operator removed the zone.
    Remove,
    /// An operator went back to the content of this serial.
    Rollback(Serial),
    /// Leases of records had ended: they went.
    Expire,
    /// Zones came or went: the zone is a catalog.
    Catalog,
    /// The zone is fed: its primary at this address had something newer.
    Transfer(IpAddr),
    /// An operator made a fed zone ours.
    Adopt,
    /// All that came together in the first publication of a settling view.
    Several,
}

/// The records of a step in one run of bytes: the update path makes one of each entry.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Packed {
    bytes: Box<[u8]>,
    removed_size: usize,
}

/// A record as it stands in a step, its owner name in wire format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepRecord<'s> {
    /// The owner name.
    pub owner: &'s [u8],
    /// The RR type.
    pub rtype: Rtype,
    /// The TTL.
    pub ttl: u32,
    /// The RDATA; the serial in an SOA means nothing unless the zone is signed.
    pub rdata: &'s [u8],
}

/// Records of versions on different bases that are compared: a walk of both takes this thread, which
/// nothing may stop for long, some milliseconds.
const RECORDS_COMPARED_MAX: u32 = 20_000;
/// Names changed since one base by versions that were folded apart, likewise.
const NAMES_COMPARED_MAX: usize = 10_000;
/// What a step takes beside its bytes.
const OVERHEAD: usize = size_of::<Step>() + 64;

impl Step {
    /// What one entry did. The versions share all that it did not touch.
    #[must_use]
    pub fn of(counted: &Counted) -> Self {
        let (before, after) = (&counted.before, &counted.after);
        let delta = match (&before.version, &after.version) {
            (Some(old), Some(new)) if is_updated(old, new) || are_small(old, new) => {
                Some(Packed::new(old, new))
            }
            _ => None,
        };
        Self {
            before: before.serial,
            after: after.serial,
            stamp: counted.stamp,
            what: counted.what.clone(),
            delta,
        }
    }

    /// All that several entries did together.
    #[must_use]
    pub fn between(before: &Content, after: &Content, stamp: Stamp) -> Self {
        let delta = match (&before.version, &after.version) {
            (Some(old), Some(new)) if has_little_changed(old, new) || are_small(old, new) => {
                Some(Packed::new(old, new))
            }
            _ => None,
        };
        Self {
            before: before.serial,
            after: after.serial,
            stamp,
            what: What::Several,
            delta,
        }
    }

    /// True if an IXFR can come past it.
    #[must_use]
    pub fn has_delta(&self) -> bool {
        self.delta.is_some()
    }

    /// The records of the version before that the one after does not have.
    pub fn removed(&self) -> impl Iterator<Item = StepRecord<'_>> {
        Records(self.delta.as_ref().map_or(&[], |delta| {
            let (removed, _) = delta.bytes.split_at(delta.removed_size);
            removed
        }))
    }

    /// The records of the version after that the one before does not have.
    pub fn added(&self) -> impl Iterator<Item = StepRecord<'_>> {
        Records(self.delta.as_ref().map_or(&[], |delta| {
            let (_, added) = delta.bytes.split_at(delta.removed_size);
            added
        }))
    }

    /// Bytes of its records.
    #[must_use]
    pub fn delta_size(&self) -> usize {
        self.delta.as_ref().map_or(0, |delta| delta.bytes.len())
    }

    /// Memory that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        OVERHEAD + self.delta_size()
    }

    /// Appends the encoding, which tells where it ends only by the end of the bytes.
    pub fn encode(&self, origin: &Name, out: &mut Vec<u8>) {
        out.put_slice(origin.as_wire());
        out.put_u32(self.before.0);
        out.put_u32(self.after.0);
        self.stamp.encode(out);
        match &self.what {
            What::Update { source, key } => {
                out.put_u8(UPDATE);
                put_address(out, *source);
                match key {
                    None => out.put_u8(0),
                    Some(key) => {
                        out.put_u8(1);
                        out.put_slice(key.as_wire());
                    }
                }
            }
            What::Import => out.put_u8(IMPORT),
            What::Remove => out.put_u8(REMOVE),
            What::Rollback(serial) => {
                out.put_u8(ROLLBACK);
                out.put_u32(serial.0);
            }
            What::Several => out.put_u8(SEVERAL),
            What::Expire => out.put_u8(EXPIRE),
            What::Catalog => out.put_u8(CATALOG),
            What::Transfer(primary) => {
                out.put_u8(TRANSFER);
                put_address(out, *primary);
            }
            What::Adopt => out.put_u8(ADOPT),
        }
        match &self.delta {
            None => out.put_u8(0),
            Some(delta) => {
                out.put_u8(1);
                out.put_u32(delta.removed_size as u32);
                out.put_slice(&delta.bytes);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<(Name, Self)> {
        let rest = &mut bytes;
        let origin = Name::take_wire(rest)?;
        let before = Serial(rest.try_get_u32().ok()?);
        let after = Serial(rest.try_get_u32().ok()?);
        let stamp = Stamp::decode(rest)?;
        let what = match rest.try_get_u8().ok()? {
            UPDATE => What::Update {
                source: get_address(rest)?,
                key: match rest.try_get_u8().ok()? {
                    0 => None,
                    1 => Some(Name::take_wire(rest)?),
                    _ => return None,
                },
            },
            IMPORT => What::Import,
            REMOVE => What::Remove,
            ROLLBACK => What::Rollback(Serial(rest.try_get_u32().ok()?)),
            SEVERAL => What::Several,
            EXPIRE => What::Expire,
            CATALOG => What::Catalog,
            TRANSFER => What::Transfer(get_address(rest)?),
            ADOPT => What::Adopt,
            _ => return None,
        };
        let delta = match rest.try_get_u8().ok()? {
            0 => None,
            1 => {
                let removed_size = rest.try_get_u32().ok()? as usize;
                let (removed, added) = rest.split_at_checked(removed_size)?;
                check_records(removed)?;
                check_records(added)?;
                let bytes = std::mem::take(rest).into();
                Some(Packed {
                    bytes,
                    removed_size,
                })
            }
            _ => return None,
        };
        let step = Self {
            before,
            after,
            stamp,
            what,
            delta,
        };
        rest.is_empty().then_some((origin, step))
    }
}

const UPDATE: u8 = 1;
const IMPORT: u8 = 2;
const REMOVE: u8 = 3;
const ROLLBACK: u8 = 4;
const SEVERAL: u8 = 5;
const EXPIRE: u8 = 6;
const CATALOG: u8 = 7;
const TRANSFER: u8 = 8;
const ADOPT: u8 = 9;

fn is_updated(old: &Version, new: &Version) -> bool {
    Arc::ptr_eq(old.base(), new.base())
}

fn has_little_changed(old: &Version, new: &Version) -> bool {
    is_updated(old, new)
        && (old.changed_names() + new.changed_names() <= NAMES_COMPARED_MAX
            || old.is_identical_to(new))
}

fn are_small(old: &Version, new: &Version) -> bool {
    old.counts().records + new.counts().records <= RECORDS_COMPARED_MAX
}

impl Packed {
    fn new(old: &Version, new: &Version) -> Self {
        if old.is_identical_to(new) {
            return Self {
                bytes: Box::default(),
                removed_size: 0,
            };
        }
        let delta = Version::difference(old, new);
        let mut bytes = Vec::new();
        for record in &delta.removed {
            encode_record(record, &mut bytes);
        }
        let removed_size = bytes.len();
        for record in &delta.added {
            encode_record(record, &mut bytes);
        }
        Self {
            bytes: bytes.into(),
            removed_size,
        }
    }
}

/// Records one after the other, which were checked when they were packed.
struct Records<'s>(&'s [u8]);

impl<'s> Iterator for Records<'s> {
    type Item = StepRecord<'s>;

    fn next(&mut self) -> Option<StepRecord<'s>> {
        if self.0.is_empty() {
            return None;
        }
        let size = zones::name::wire_size(self.0).expect("the name is whole");
        let (owner, mut rest) = self.0.split_at(size);
        let rtype = Rtype(rest.get_u16());
        rest.advance(size_of::<u16>());
        let ttl = rest.get_u32();
        let size = usize::from(rest.get_u16());
        let (rdata, after) = rest.split_at(size);
        self.0 = after;
        Some(StepRecord {
            owner,
            rtype,
            ttl,
            rdata,
        })
    }
}

impl StepRecord<'_> {
    /// The record with bytes of its own.
    #[must_use]
    pub fn to_record(self) -> Record {
        Record {
            owner: Name::from_wire(self.owner).expect("the name is whole"),
            rtype: self.rtype,
            ttl: self.ttl,
            rdata: zones::Rdata::from_checked(self.rdata),
        }
    }
}
