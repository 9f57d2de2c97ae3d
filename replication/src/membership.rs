//! Who is a member: joins, evictions, exclusion, majority (replication protocol section 12).
//!
//! Leave, away and re-seed are not built here.

use crate::entry::{Body, Entry, Stamp, take_array};
use bytes::{Buf, BufMut};
use overlay::{Admit, PeerId};
use std::collections::{BTreeMap, BTreeSet};

/// Who the overlay may talk to; told when it changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberSet {
    /// Peers whose join is held durably.
    pub admitted: Vec<Admit>,
    /// Of these, peers with an eviction that is held: links are closed as "excluded".
    pub excluded: Vec<PeerId>,
    /// Of these, peers whose eviction is settled: links are closed as "evicted".
    pub evicted: Vec<PeerId>,
}

/// The members as of one place in the order: a fold of joins and evictions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    admits: BTreeMap<PeerId, Admit>,
    evicted: BTreeSet<PeerId>,
    evictions: u64,
}

/// Why a membership entry may not be authored at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotNow {
    /// Nothing is settled yet in a view that is in use.
    NotSettled,
    /// An earlier join or eviction is not settled yet.
    ChangePending,
    /// The settling view holds no majority of the members; `--force` vouches that the missing
    /// ones are off.
    NoMajority,
    /// The peer is a member already.
    Member,
    /// The peer is no member.
    NoMember,
    /// The name is taken by another member.
    NameTaken,
    /// This peer was evicted, its disk hangs, or its queue is full.
    Unable,
    /// The stage does not reach this peer's checkpoint: stream it again.
    StageTooOld,
    /// The join is not settled, or was evicted since.
    JoinNotSettled,
}

impl Members {
    /// The first member of a new cluster.
    #[must_use]
    pub fn founded_by(admit: Admit) -> Self {
        Self {
            admits: BTreeMap::from([(admit.peer(), admit)]),
            ..Self::default()
        }
    }

    /// Folds the next entry in stamp order.
    pub fn fold(&mut self, entry: &Entry) {
        match &entry.body {
            Body::Data(_) => {}
            Body::Join(admit) => {
                // An evicted key never comes back; it would need a new key.
                let peer = admit.peer();
                if !self.evicted.contains(&peer) {
                    self.admits.entry(peer).or_insert_with(|| admit.clone());
                }
            }
            Body::Evict(victim) => {
                // It counts also where it is void: counting never depends on outcomes.
                self.evictions += 1;
                if !self.evicted.contains(&entry.chain.author) {
                    self.admits.remove(victim);
                    self.evicted.insert(*victim);
                }
            }
        }
    }

    /// Whether the peer is a member.
    #[must_use]
    pub fn contains(&self, peer: PeerId) -> bool {
        self.admits.contains_key(&peer)
    }

    /// The members' ids in order.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.admits.keys().copied()
    }

    /// The members' admissions, by id.
    pub fn admits(&self) -> impl Iterator<Item = &Admit> + '_ {
        self.admits.values()
    }

    /// Those whose eviction has taken effect.
    #[must_use]
    pub fn evicted(&self) -> &BTreeSet<PeerId> {
        &self.evicted
    }

    /// K: how many evictions the log has up to here.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.admits.len()
    }

    /// True in no cluster that lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.admits.is_empty()
    }

    /// Whether more than half of the members are among `peers`.
    #[must_use]
    pub fn majority_in(&self, peers: &BTreeSet<PeerId>) -> bool {
        self.ids().filter(|member| peers.contains(member)).count() * 2 > self.len()
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.admits.len() as u32);
        for admit in self.admits.values() {
            admit.encode(out);
        }
        out.put_u32(self.evicted.len() as u32);
        for peer in &self.evicted {
            out.put_slice(&peer.0);
        }
        out.put_u64(self.evictions);
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut members = Self::default();
        for _ in 0..bytes.try_get_u32().ok()? {
            let admit = Admit::decode(bytes)?;
            members.admits.insert(admit.peer(), admit);
        }
        for _ in 0..bytes.try_get_u32().ok()? {
            members.evicted.insert(PeerId(take_array(bytes)?));
        }
        members.evictions = bytes.try_get_u64().ok()?;
        Some(members)
    }
}

/// One eviction that somebody holds durably.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Eviction {
    /// Its place, which says its author.
    pub(crate) stamp: Stamp,
    /// Who is evicted.
    pub(crate) victim: PeerId,
}

/// Those excluded by `settled` and by `held`, by stamp. An eviction by an author already
/// excluded is void.
pub(crate) fn excluded_by(
    settled: &BTreeSet<PeerId>,
    held: &BTreeSet<Eviction>,
) -> BTreeSet<PeerId> {
    let mut excluded = settled.clone();
    for eviction in held {
        if !excluded.contains(&eviction.stamp.author) {
            excluded.insert(eviction.victim);
        }
    }
    excluded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Hybrid;

    const A: PeerId = PeerId([1; 8]);
    const B: PeerId = PeerId([2; 8]);
    const C: PeerId = PeerId([3; 8]);

    #[test]
    fn of_two_that_evict_each_other_the_order_decides() {
        let check = |evictions: &[(u64, PeerId, PeerId)], expected: &[PeerId]| {
            let held = evictions.iter().map(|(hybrid, author, victim)| Eviction {
                stamp: Stamp {
                    hybrid: Hybrid(*hybrid),
                    author: *author,
                },
                victim: *victim,
            });
            assert_eq!(
                excluded_by(&BTreeSet::new(), &held.collect()),
                expected.iter().copied().collect()
            );
        };
        check(&[], &[]);
        check(&[(5, A, C), (6, C, A)], &[C]);
        check(&[(5, C, A), (6, A, C)], &[A]);
        check(&[(5, C, A), (6, A, C), (7, B, C)], &[A, C]);
    }
}
