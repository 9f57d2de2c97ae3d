//! Where the nodes of a large base are, by the hash of their names: a lookup touches one bucket and
//! one node.
//!
//! ```text
//! bucket = 8 × u32    place = offset among the bytes of the base | as many bits of the hash as fit
//! ```
//! A name goes to the bucket that its hash says, or while that is full to another one. What the index
//! leads to is compared before it is believed.

use crate::word;

/// The places of nodes.
pub(crate) struct Index {
    buckets: Box<[Bucket]>,
    /// How many bits of a place are of the hash; the others are the offset.
    hash_bits: u32,
}

/// Eight places, the empty ones last.
type Bucket = [u32; BUCKET_PLACES];

/// No node but the apex stands at the beginning, and nobody needs to look for that.
const EMPTY: u32 = 0;
const BUCKET_PLACES: usize = 8;
/// One place in eight stays empty: with fewer, names are found after more and more buckets.
const FILLED_PART: (usize, usize) = (7, 8);

impl Index {
    /// An index for so many names below the apex of a base of `size` bytes; none if its places are
    /// more than an index has.
    pub(crate) fn new(names: usize, size: usize) -> Option<Self> {
        let hash_bits = u32::try_from(size).ok()?.leading_zeros();
        let places = names * FILLED_PART.1 / FILLED_PART.0;
        let buckets = places / BUCKET_PLACES + 1;
        u32::try_from(buckets).ok()?;
        Some(Self {
            buckets: vec![[EMPTY; BUCKET_PLACES]; buckets].into(),
            hash_bits,
        })
    }

    /// Says that a node with this hash is at this offset, which is not that of the apex.
    pub(crate) fn put(&mut self, hash: u64, offset: usize) {
        let place = (offset as u32) << self.hash_bits | self.bits_of(hash);
        let mut probe = hash;
        loop {
            let bucket = self.bucket_of(probe);
            let mut places = self.buckets[bucket].iter_mut();
            if let Some(empty) = places.find(|place| **place == EMPTY) {
                *empty = place;
                return;
            }
            probe = next(probe);
        }
    }

    /// What `look` makes of the first offset, among those where a node with this hash may be, of which
    /// it makes anything.
    #[inline(always)]
    pub(crate) fn find<T>(&self, hash: u64, mut look: impl FnMut(usize) -> Option<T>) -> Option<T> {
        let (bits, mask) = (self.bits_of(hash), self.mask());
        let mut probe = hash;
        loop {
            let bucket = &self.buckets[self.bucket_of(probe)];
            let mut with_bits = places_with(bucket, bits, mask);
            // Of names that do not exist there are none, most of the time.
            while with_bits != 0 {
                let place = bucket[with_bits.trailing_zeros() as usize % BUCKET_PLACES];
                if place != EMPTY
                    && let Some(found) = look((place >> self.hash_bits) as usize)
                {
                    return Some(found);
                }
                with_bits &= with_bits - 1;
            }
            if bucket[BUCKET_PLACES - 1] == EMPTY {
                return None;
            }
            probe = next(probe);
        }
    }

    fn bucket_of(&self, hash: u64) -> usize {
        // As far among the buckets as the hash is among all numbers.
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    fn bits_of(&self, hash: u64) -> u32 {
        hash as u32 & self.mask()
    }

    #[inline]
    fn mask(&self) -> u32 {
        (1 << self.hash_bits) - 1
    }
}

/// Which places of a bucket have these bits of the hash, a bit for each. In this form four are
/// compared at once.
#[inline]
fn places_with(bucket: &Bucket, bits: u32, mask: u32) -> u32 {
    let bit = |at: usize| u32::from((bucket[at] ^ bits) & mask == 0) << at;
    let [a, b, c, d] = [
        bit(0) | bit(4),
        bit(1) | bit(5),
        bit(2) | bit(6),
        bit(3) | bit(7),
    ];
    (a | c) | (b | d)
}

/// Where to look after a full bucket: anywhere, as full buckets that follow each other would make
/// each other longer.
fn next(probe: u64) -> u64 {
    word::mix(probe, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_however_alike_the_hashes() {
        // All in one bucket, all different, the last bucket, and offsets that leave no bits.
        let one = |size: usize, hash_of: fn(u64) -> u64| {
            let mut index = Index::new(1_000, size).unwrap();
            let offset_of = |n: u64| size - 1 - n as usize;
            for n in 0..1_000 {
                index.put(hash_of(n), offset_of(n));
            }
            for n in 0..1_000 {
                let mut looks = 0;
                let found = index.find(hash_of(n), |offset| {
                    looks += 1;
                    (offset == offset_of(n)).then_some(offset)
                });
                assert_eq!(found, Some(offset_of(n)));
            }
            assert_eq!(index.find(hash_of(1_000), |_| None::<()>), None);
        };
        for size in [100_000, 1 << 31, (1 << 32) - 1] {
            one(size, |_| 0);
            one(size, |n| n << 54 | n);
            one(size, |_| u64::MAX);
            one(size, |n| word::mix(0, n));
        }
        assert!(Index::new(1_000, 1 << 32).is_none());
    }
}
