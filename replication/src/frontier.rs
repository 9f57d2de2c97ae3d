//! What is held of each chain (replication protocol section 1).

use crate::entry::{Chain, EntryId};
use bytes::{Buf, BufMut};
use std::collections::BTreeMap;

/// Chain → how many of its entries, counted from the first. A chain with none does not stand in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier(BTreeMap<Chain, u64>);

impl Frontier {
    /// Raises one chain; never lowers it.
    pub fn raise(&mut self, chain: Chain, sequence: u64) {
        if sequence > 0 {
            let held = self.0.entry(chain).or_insert(0);
            *held = sequence.max(*held);
        }
    }

    /// Sets one chain, also to less than before.
    pub fn set(&mut self, chain: Chain, sequence: u64) {
        if sequence == 0 {
            self.0.remove(&chain);
        } else {
            self.0.insert(chain, sequence);
        }
    }

    /// Raises every chain to what `other` has of it.
    pub fn merge(&mut self, other: &Self) {
        for (chain, sequence) in other.iter() {
            self.raise(chain, sequence);
        }
    }

    /// How many entries of the chain.
    #[must_use]
    pub fn get(&self, chain: Chain) -> u64 {
        self.0.get(&chain).copied().unwrap_or(0)
    }

    /// Whether this entry is within it.
    #[must_use]
    pub fn holds(&self, id: EntryId) -> bool {
        id.sequence <= self.get(id.chain)
    }

    /// Whether everything in `other` is within it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .iter()
            .all(|(chain, sequence)| self.get(chain) >= sequence)
    }

    /// How many entries of `other` are not within it.
    #[must_use]
    pub fn lacks(&self, other: &Self) -> u64 {
        other
            .iter()
            .map(|(chain, sequence)| sequence.saturating_sub(self.get(chain)))
            .fold(0, u64::saturating_add)
    }

    /// The chains in order.
    pub fn iter(&self) -> impl Iterator<Item = (Chain, u64)> + '_ {
        self.0.iter().map(|(chain, sequence)| (*chain, *sequence))
    }

    /// How many entries in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The chains in which it differs from `other`: 0 where `other` alone has the chain.
    #[must_use]
    pub(crate) fn difference(&self, other: &Self) -> BTreeMap<Chain, u64> {
        let ours = self.iter().filter(|(chain, n)| other.get(*chain) != *n);
        let theirs = other.iter().filter(|(chain, _)| self.get(*chain) == 0);
        ours.chain(theirs.map(|(chain, _)| (chain, 0))).collect()
    }

    /// `other` changed by a difference.
    #[must_use]
    pub(crate) fn with(&self, difference: &BTreeMap<Chain, u64>) -> Self {
        let mut changed = self.clone();
        for (chain, sequence) in difference {
            changed.set(*chain, *sequence);
        }
        changed
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_chains(&self.0, out);
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut chains = decode_chains(bytes)?;
        chains.retain(|_, sequence| *sequence > 0);
        Some(Self(chains))
    }
}

impl FromIterator<(Chain, u64)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (Chain, u64)>>(chains: I) -> Self {
        let mut frontier = Self::default();
        for (chain, sequence) in chains {
            frontier.raise(chain, sequence);
        }
        frontier
    }
}

/// Appends chains with their counts, 24 bytes each.
pub(crate) fn encode_chains(chains: &BTreeMap<Chain, u64>, out: &mut Vec<u8>) {
    out.put_u32(chains.len() as u32);
    for (chain, sequence) in chains {
        chain.encode(out);
        out.put_u64(*sequence);
    }
}

/// Reads what [`encode_chains`] wrote; none if it is malformed.
pub(crate) fn decode_chains(bytes: &mut &[u8]) -> Option<BTreeMap<Chain, u64>> {
    let count = bytes.try_get_u32().ok()? as usize;
    if count > bytes.len() / CHAIN_SIZE {
        return None;
    }
    let mut chains = BTreeMap::new();
    for _ in 0..count {
        let chain = Chain::decode(bytes)?;
        let sequence = bytes.try_get_u64().ok()?;
        // No peer writes 2^48 entries; greater numbers would overflow sums and ranges.
        if sequence > SEQUENCE_MAX {
            return None;
        }
        chains.insert(chain, sequence);
    }
    Some(chains)
}

const CHAIN_SIZE: usize = 24;
/// The greatest sequence that is believed.
pub(crate) const SEQUENCE_MAX: u64 = 1 << 48;

#[cfg(test)]
mod tests {
    use super::*;
    use overlay::{Incarnation, PeerId};

    fn frontier(counts: &[(u8, u64)]) -> Frontier {
        counts
            .iter()
            .map(|(author, count)| {
                let chain = Chain {
                    author: PeerId([*author; 8]),
                    incarnation: Incarnation(1),
                };
                (chain, *count)
            })
            .collect()
    }

    #[test]
    fn it_lacks_what_the_other_has_more_of() {
        let check = |ours: &[(u8, u64)], theirs: &[(u8, u64)], lacks| {
            assert_eq!(frontier(ours).lacks(&frontier(theirs)), lacks);
            assert_eq!(frontier(ours).covers(&frontier(theirs)), lacks == 0);
        };
        check(&[], &[], 0);
        check(&[(1, 5)], &[(1, 3)], 0);
        check(&[(1, 5)], &[(1, 7), (2, 2)], 4);
    }

    #[test]
    fn a_difference_and_an_encoding_read_back() {
        let (ours, theirs) = (frontier(&[(1, 5), (2, 1)]), frontier(&[(1, 7), (3, 2)]));
        assert_eq!(theirs.with(&ours.difference(&theirs)), ours);
        let mut bytes = Vec::new();
        ours.encode(&mut bytes);
        assert_eq!(Frontier::decode(&mut &bytes[..]), Some(ours));
        for cut in 0..bytes.len() {
            assert_eq!(Frontier::decode(&mut &bytes[..cut]), None);
        }
    }
}
