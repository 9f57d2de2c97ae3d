//! Entries and what places them: chain, sequence, stamp, digest (replication protocol section 1).
//!
//! A body is bytes to this crate, joins and evictions apart.

use bytes::{Buf, BufMut, Bytes};
use overlay::{Admit, Incarnation, PeerId};

/// One element of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The peer that accepted it, in one of its lives.
    pub chain: Chain,
    /// Its count in that chain, from 1.
    pub sequence: u64,
    /// Its place among all entries, together with the author.
    pub hybrid: Hybrid,
    /// The digest of the request that made it, if a request did.
    pub digest: Option<Digest>,
    /// Blobs without which nobody holds this entry.
    pub blobs: Vec<BlobHash>,
    /// What it says.
    pub body: Body,
}

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// The daemon's own: updates, imports, zone removal, policy.
    Data(Bytes),
    /// A peer becomes a member.
    Join(Admit),
    /// A member is gone for good.
    Evict(PeerId),
}

/// One life of an author; its entries have sequence 1, 2, 3 and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Chain {
    /// The peer.
    pub author: PeerId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// A time of the hybrid clock: milliseconds since the Unix epoch and a counter of 16 bits below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Hybrid(pub u64);

/// A place in the one order of all entries; also a mark: all that is at or below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    /// The hybrid time.
    pub hybrid: Hybrid,
    /// The author, which breaks ties.
    pub author: PeerId,
}

/// Which entry, whatever its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryId {
    /// The chain.
    pub chain: Chain,
    /// The count in it.
    pub sequence: u64,
}

/// What makes two arrivals of one request equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest(pub [u8; 32]);

/// SHA-256 of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobHash(pub [u8; 32]);

impl Entry {
    /// Its place among all entries.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            hybrid: self.hybrid,
            author: self.chain.author,
        }
    }

    /// Which entry it is.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId {
            chain: self.chain,
            sequence: self.sequence,
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.blobs.len() <= ENTRY_BLOBS_MAX,
            "submit refuses more blobs"
        );
        self.chain.encode(out);
        out.put_u64(self.sequence);
        out.put_u64(self.hybrid.0);
        match &self.digest {
            None => out.put_u8(0),
            Some(digest) => {
                out.put_u8(1);
                out.put_slice(&digest.0);
            }
        }
        out.put_u8(self.blobs.len() as u8);
        for blob in &self.blobs {
            out.put_slice(&blob.0);
        }
        match &self.body {
            Body::Data(data) => {
                out.put_u8(KIND_DATA);
                out.put_u32(data.len() as u32);
                out.put_slice(data);
            }
            Body::Join(admit) => {
                out.put_u8(KIND_JOIN);
                admit.encode(out);
            }
            Body::Evict(victim) => {
                out.put_u8(KIND_EVICT);
                out.put_slice(&victim.0);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote and moves `bytes` past it; none if it is malformed.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let size_before = bytes.len();
        let chain = Chain::decode(bytes)?;
        let sequence = bytes.try_get_u64().ok()?;
        let hybrid = Hybrid(bytes.try_get_u64().ok()?);
        let digest = match bytes.try_get_u8().ok()? {
            0 => None,
            1 => Some(Digest(take_array(bytes)?)),
            _ => return None,
        };
        let blob_count = usize::from(bytes.try_get_u8().ok()?);
        if blob_count > ENTRY_BLOBS_MAX {
            return None;
        }
        let blobs = (0..blob_count)
            .map(|_| take_array(bytes).map(BlobHash))
            .collect::<Option<Vec<_>>>()?;
        let body = match bytes.try_get_u8().ok()? {
            KIND_DATA => {
                let size = bytes.try_get_u32().ok()? as usize;
                if size > bytes.len() {
                    return None;
                }
                let data = Bytes::copy_from_slice(&bytes[..size]);
                bytes.advance(size);
                Body::Data(data)
            }
            KIND_JOIN => Body::Join(Admit::decode(bytes)?),
            KIND_EVICT => Body::Evict(PeerId(take_array(bytes)?)),
            _ => return None,
        };
        // Chains count from 1; a stamp of 0 or at the end of time would break the clocks.
        if sequence == 0 || hybrid == Hybrid(0) || hybrid > HYBRID_MAX {
            return None;
        }
        (size_before - bytes.len() <= ENTRY_SIZE_MAX).then_some(Self {
            chain,
            sequence,
            hybrid,
            digest,
            blobs,
            body,
        })
    }

    /// The size of the encoding.
    #[must_use]
    pub fn encoded_size(&self) -> usize {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.len()
    }
}

impl Chain {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.author.0);
        out.put_u64(self.incarnation.0);
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            author: PeerId(take_array(bytes)?),
            incarnation: Incarnation(bytes.try_get_u64().ok()?),
        })
    }
}

impl Hybrid {
    /// The first hybrid time of this wall time, which counts from the Unix epoch.
    #[must_use]
    pub fn from_wall(wall: std::time::Duration) -> Self {
        let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX >> COUNTER_BITS);
        Self(millis.min(HYBRID_MAX.0 >> COUNTER_BITS) << COUNTER_BITS)
    }

    /// The wall time in it.
    #[must_use]
    pub fn wall(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0 >> COUNTER_BITS)
    }

    /// This much later, counting milliseconds only.
    #[must_use]
    pub fn after(self, time: std::time::Duration) -> Self {
        let step = (time.as_millis() as u64) << COUNTER_BITS;
        Self(self.0.saturating_add(step))
    }
}

impl Stamp {
    /// Before all entries.
    pub const ZERO: Self = Self {
        hybrid: Hybrid(0),
        author: PeerId([0; 8]),
    };

    /// The greatest stamp that a clock covers.
    #[must_use]
    pub fn last_of(hybrid: Hybrid) -> Self {
        Self {
            hybrid,
            author: PeerId([0xff; 8]),
        }
    }

    /// The mark just below this stamp.
    #[must_use]
    pub fn before(self) -> Self {
        match u64::from_be_bytes(self.author.0).checked_sub(1) {
            Some(author) => Self {
                hybrid: self.hybrid,
                author: PeerId(author.to_be_bytes()),
            },
            None => Self::last_of(Hybrid(self.hybrid.0.saturating_sub(1))),
        }
    }

    /// Appends the 16 bytes of the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.hybrid.0);
        out.put_slice(&self.author.0);
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            hybrid: Hybrid(bytes.try_get_u64().ok()?),
            author: PeerId(take_array(bytes)?),
        })
    }
}

/// Reads `N` bytes and moves `bytes` past them; none if there are fewer.
pub(crate) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let mut array = [0; N];
    bytes.try_copy_to_slice(&mut array).ok()?;
    Some(array)
}

const KIND_DATA: u8 = 0;
const KIND_JOIN: u8 = 1;
const KIND_EVICT: u8 = 2;

const COUNTER_BITS: u32 = 16;
/// Most bytes of an encoded entry: the overlay carries payloads of 68 KiB, and the message around
/// the entry takes some of them.
pub const ENTRY_SIZE_MAX: usize = 67 * 1024;
/// Most blobs of one entry: an import has one; a few more leave room.
pub const ENTRY_BLOBS_MAX: usize = 8;
/// No clock goes beyond this: a quarter of the range is left, so that no sum overflows.
pub(crate) const HYBRID_MAX: Hybrid = Hybrid(u64::MAX / 4 * 3);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data_entry(size: usize) -> Entry {
        Entry {
            chain: Chain {
                author: PeerId([1; 8]),
                incarnation: Incarnation(2),
            },
            sequence: 3,
            hybrid: Hybrid(4),
            digest: Some(Digest([5; 32])),
            blobs: vec![BlobHash([6; 32])],
            body: Body::Data(Bytes::from(vec![7; size])),
        }
    }

    #[test]
    fn an_entry_reads_back_and_no_prefix_of_it_does() {
        for body in [
            Body::Data(Bytes::from_static(b"x")),
            Body::Evict(PeerId([9; 8])),
        ] {
            let entry = Entry {
                body,
                ..data_entry(0)
            };
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(Entry::decode(&mut &bytes[..]), Some(entry));
            for cut in 0..bytes.len() {
                assert_eq!(Entry::decode(&mut &bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn an_entry_over_the_limit_is_refused() {
        let mut bytes = Vec::new();
        data_entry(ENTRY_SIZE_MAX).encode(&mut bytes);
        assert_eq!(Entry::decode(&mut &bytes[..]), None);
    }

    #[test]
    fn the_mark_before_a_stamp_is_the_greatest_below_it() {
        let stamp = |hybrid, author: u64| Stamp {
            hybrid: Hybrid(hybrid),
            author: PeerId(author.to_be_bytes()),
        };
        assert_eq!(stamp(5, 7).before(), stamp(5, 6));
        assert_eq!(stamp(5, 0).before(), Stamp::last_of(Hybrid(4)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entry::decode(&mut &bytes[..]);
        }
    }
}
