//! Whom each peer states near, and the groups that follow (replication protocol section 4).

use crate::entry::{Stamp, take_array};
use crate::membership::Eviction;
use bytes::{Buf, BufMut, Bytes};
use overlay::{Incarnation, PeerId};
use std::collections::{BTreeMap, BTreeSet};

/// Peers, each in one life.
pub(crate) type Set = BTreeMap<PeerId, Incarnation>;

/// What a peer states about itself and floods through the overlay; the newest wins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Near {
    /// The life that states it.
    pub(crate) incarnation: Incarnation,
    /// With whom it could settle without delay.
    pub(crate) near: Set,
    /// The members of the view it last formed.
    pub(crate) side: Set,
    /// Members found to have lost their disk.
    pub(crate) lost: Set,
    /// Evictions that it holds durably.
    pub(crate) evictions: BTreeSet<Eviction>,
}

impl Near {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u64(self.incarnation.0);
        encode_set(&self.near, &mut out);
        encode_set(&self.side, &mut out);
        encode_set(&self.lost, &mut out);
        out.put_u16(self.evictions.len() as u16);
        for eviction in &self.evictions {
            eviction.stamp.encode(&mut out);
            out.put_slice(&eviction.victim.0);
        }
        out.into()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let mut near = Self {
            incarnation: Incarnation(bytes.try_get_u64().ok()?),
            near: decode_set(bytes)?,
            side: decode_set(bytes)?,
            lost: decode_set(bytes)?,
            evictions: BTreeSet::new(),
        };
        for _ in 0..bytes.try_get_u16().ok()? {
            near.evictions.insert(Eviction {
                stamp: Stamp::decode(bytes)?,
                victim: PeerId(take_array(bytes)?),
            });
        }
        bytes.is_empty().then_some(near)
    }
}

/// The group of `me` among `peers`, by what each of them states. As all members of the overlay's
/// view hold the same statements one flood after the last change, all compute the same groups.
pub(crate) fn group_of(me: PeerId, peers: &Set, nears: &BTreeMap<PeerId, Near>) -> Set {
    let mut peers = peers.clone();
    loop {
        let mut groups = groups(&peers, nears);
        let own = groups
            .iter_mut()
            .find(|group| group.contains(&me))
            .map(std::mem::take)
            .unwrap_or_default();
        // Whom anyone of the group states lost is taken out, and the groups are formed again.
        let lost: Vec<_> = own
            .iter()
            .filter_map(|peer| nears.get(peer))
            .flat_map(|near| near.lost.iter())
            .filter(|(peer, incarnation)| {
                own.contains(*peer) && peers.get(*peer) == Some(*incarnation)
            })
            .map(|(peer, _)| *peer)
            .collect();
        if lost.is_empty() {
            let with_life = |peer: PeerId| (peer, peers[&peer]);
            return own.into_iter().map(with_life).collect();
        }
        peers.retain(|peer, _| !lost.contains(peer));
    }
}

fn groups(peers: &Set, nears: &BTreeMap<PeerId, Near>) -> Vec<BTreeSet<PeerId>> {
    let states = |a: PeerId, b: PeerId, set: fn(&Near) -> &Set| {
        nears.get(&a).is_some_and(|near| {
            peers.get(&a) == Some(&near.incarnation) && set(near).get(&b) == peers.get(&b)
        })
    };
    let mutual = |a: PeerId, b: PeerId| {
        a == b || states(a, b, |near| &near.near) && states(b, a, |near| &near.near)
    };
    let sided = |a: PeerId, b: PeerId| {
        mutual(a, b) && states(a, b, |near| &near.side) && states(b, a, |near| &near.side)
    };

    // Blocks, by their least peer: connected sets of peers that settled together last.
    let mut left: BTreeSet<PeerId> = peers.keys().copied().collect();
    let mut groups: Vec<BTreeSet<PeerId>> = Vec::new();
    while let Some(least) = left.pop_first() {
        let mut block = BTreeSet::from([least]);
        let mut open = vec![least];
        while let Some(peer) = open.pop() {
            let joined: Vec<PeerId> = left.iter().copied().filter(|q| sided(peer, *q)).collect();
            for q in joined {
                left.remove(&q);
                block.insert(q);
                open.push(q);
            }
        }
        // A block joins the first group in which all are mutually near with all of the block.
        let fits = |group: &&mut BTreeSet<PeerId>| {
            group.iter().all(|a| block.iter().all(|b| mutual(*a, *b)))
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.extend(&block),
            None => groups.push(block),
        }
    }
    groups
}

pub(crate) fn encode_set(set: &Set, out: &mut Vec<u8>) {
    out.put_u16(set.len() as u16);
    for (peer, incarnation) in set {
        out.put_slice(&peer.0);
        out.put_u64(incarnation.0);
    }
}

pub(crate) fn decode_set(bytes: &mut &[u8]) -> Option<Set> {
    let mut set = Set::new();
    for _ in 0..bytes.try_get_u16().ok()? {
        let peer = PeerId(take_array(bytes)?);
        set.insert(peer, Incarnation(bytes.try_get_u64().ok()?));
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(peers: &str) -> Set {
        peers
            .bytes()
            .map(|name| (PeerId([name; 8]), Incarnation(1)))
            .collect()
    }

    /// Each statement is "peer: near / side".
    fn check(statements: &[(&str, &str, &str)], me: &str, expected: &str) {
        let peers = set(&statements.iter().map(|s| s.0).collect::<String>());
        let nears = statements.iter().map(|(peer, near, side)| {
            let near = Near {
                incarnation: Incarnation(1),
                near: set(near),
                side: set(side),
                ..Near::default()
            };
            (PeerId([peer.as_bytes()[0]; 8]), near)
        });
        let me = PeerId([me.as_bytes()[0]; 8]);
        assert_eq!(group_of(me, &peers, &nears.collect()), set(expected));
    }

    #[test]
    fn all_that_are_mutually_near_make_one_group() {
        check(&[("a", "", "")], "a", "a");
        check(&[("a", "b", ""), ("b", "a", "")], "b", "ab");
        check(&[("a", "b", ""), ("b", "", "")], "a", "a");
    }

    #[test]
    fn who_lags_draws_nobody_in_through_one_that_has_caught_up() {
        // A and E lag and are near each other; E has caught up with B, C and D.
        let statements = [
            ("a", "e", "a"),
            ("b", "cde", "bcd"),
            ("c", "bde", "bcd"),
            ("d", "bce", "bcd"),
            ("e", "abcd", "e"),
        ];
        check(&statements, "a", "ae");
        check(&statements, "b", "bcd");
        check(&statements, "e", "ae");
    }

    #[test]
    fn a_statement_reads_back_and_no_prefix_of_it_does() {
        let near = Near {
            incarnation: Incarnation(3),
            near: set("ab"),
            side: set("b"),
            lost: Set::new(),
            evictions: [Eviction {
                stamp: Stamp::ZERO,
                victim: PeerId([1; 8]),
            }]
            .into(),
        };
        let bytes = near.encode();
        assert_eq!(Near::decode(&bytes), Some(near));
        for cut in 0..bytes.len() {
            assert_eq!(Near::decode(&bytes[..cut]), None);
        }
    }
}
