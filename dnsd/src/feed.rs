//! What a primary is asked for, and what comes of it: a small difference, which one entry holds, or the
//! whole zone, which goes to the members as the blob of an import does.

use crate::body::Order;
use crate::durable::blob_hash;
use crate::remote::Remote;
use crate::tsig::Key;
use crate::zone_data::{encode_record, encode_version};
use bytes::Bytes;
use replication::BlobHash;
use std::fmt;
use std::net::IpAddr;
use zones::{Name, Rtype, Serial, Version};

/// A larger difference goes as a whole zone: with its names it still fits into an entry.
const DIFFERENCE_SIZE_MAX: usize = 48 * 1024;

/// What primaries are asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The zone.
    pub origin: Name,
    /// The servers, in this order until one answers.
    pub primaries: Vec<Primary>,
    /// The content that came from a primary, and its serial there.
    pub held: Option<(Version, Serial)>,
    /// Whether only what is newer is asked for.
    pub order: Order,
    /// Content of a primary that this peer has published, and that is newer than what is held: it is
    /// there already.
    pub published: Option<(Version, Serial)>,
}

/// A server that is asked.
#[derive(Clone, Debug)]
pub struct Primary {
    /// Where it is, and which key it wants.
    pub remote: Remote,
    /// That key; none if there is no such key here, or none is wanted.
    pub key: Option<Key>,
}

/// What a primary gave.
pub enum Brought {
    /// It has nothing newer.
    Nothing,
    /// It has a little that is newer.
    Difference(Difference),
    /// It has much that is newer.
    Whole(Box<Whole>),
}

/// What an entry says of a small difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where it came from.
    pub primary: IpAddr,
    /// The serial of what was held.
    pub before: Serial,
    /// The serial of what it leads to.
    pub after: Serial,
    /// Records that go, in the form of `zone_data`.
    pub removed: Bytes,
    /// Records that come.
    pub added: Bytes,
}

/// A whole zone.
pub struct Whole {
    /// Where it came from.
    pub primary: IpAddr,
    /// The zone.
    pub version: Version,
    /// Its serial.
    pub serial: Serial,
    /// Whether it is taken only if that is ahead.
    pub order: Order,
    /// The hash of its bytes.
    pub hash: BlobHash,
    /// Its bytes.
    pub blob: Bytes,
}

impl Ask {
    /// What to do with the content that a primary has, which has this serial there. A large zone takes a
    /// while: to be called aside.
    #[must_use]
    pub fn take(&self, primary: IpAddr, version: Version, serial: Serial) -> Brought {
        if let Some((held, before)) = &self.held {
            if *before == serial && held.is_same_as(&version) {
                return Brought::Nothing;
            }
            if self.order == Order::Ahead
                && let Some((removed, added)) = difference(held, &version)
            {
                return Brought::Difference(Difference {
                    primary,
                    before: *before,
                    after: serial,
                    removed,
                    added,
                });
            }
        }
        let blob = Bytes::from(encode_version(&version));
        Brought::Whole(Box::new(Whole {
            primary,
            version,
            serial,
            order: self.order,
            hash: blob_hash(&blob),
            blob,
        }))
    }
}

/// The difference, if it is small.
fn difference(held: &Version, version: &Version) -> Option<(Bytes, Bytes)> {
    let delta = Version::difference(held, version);
    let mut size = 0;
    let mut encode = |records: &[zones::Record]| {
        let mut bytes = Vec::new();
        for record in records {
            encode_record(record, &mut bytes);
            if size + bytes.len() > DIFFERENCE_SIZE_MAX {
                return None;
            }
        }
        size += bytes.len();
        Some(Bytes::from(bytes))
    };
    let removed = encode(&delta.removed)?;
    Some((removed, encode(&delta.added)?))
}

/// How often the SOA of a zone says that its primaries are asked (RFC 1035 section 3.3.13).
#[must_use]
pub fn timing(version: &Version) -> crate::refresh::Timing {
    let soa = version.apex().rrset(Rtype::SOA);
    let rdata = soa.as_ref().and_then(|soa| soa.rdata().next());
    // SERIAL, REFRESH, RETRY, EXPIRE and MINIMUM come last, 4 bytes each.
    let Some((_, numbers)) = rdata.and_then(|rdata| rdata.split_last_chunk::<20>()) else {
        return crate::refresh::Timing::default();
    };
    let seconds = |at: usize| {
        let number = numbers[at..at + 4].try_into().expect("four bytes");
        std::time::Duration::from_secs(u64::from(u32::from_be_bytes(number)))
    };
    crate::refresh::Timing {
        refresh: seconds(4),
        retry: seconds(8),
        expire: seconds(12),
    }
}

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Difference(difference) => difference.fmt(f),
            Self::Whole(whole) => write!(f, "Whole at {}", whole.serial.0),
        }
    }
}
