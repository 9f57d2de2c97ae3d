//! Which pairs of members have a link (overlay protocol section 1, "Wanted links").
//!
//! ```text
//!  up to 8 members   all to all
//!  more              in a ring, by their ids: the next one, the one before, and one a chord away
//!                    on either side. Who cannot be reached is passed over for the next one.
//! ```
//! So the work of a peer does not grow with the cluster, and no three failures cut it in two.

use crate::peer_id::PeerId;
use std::collections::BTreeSet;

/// So many members all have links to all.
const MESH_MAX: usize = 8;

/// The links that `peer`, one of the `members`, is to have. Those that are passed over are among
/// them: they may come back.
pub(crate) fn neighbors(
    peer: PeerId,
    members: &BTreeSet<PeerId>,
    is_passed_over: impl Fn(PeerId) -> bool,
) -> BTreeSet<PeerId> {
    let ring: Vec<PeerId> = members.iter().copied().collect();
    let Some(place) = ring.iter().position(|member| *member == peer) else {
        return BTreeSet::new();
    };
    let size = ring.len();
    let mut neighbors: BTreeSet<PeerId> = members.clone();
    neighbors.remove(&peer);
    if size <= MESH_MAX {
        return neighbors;
    }
    neighbors.clear();
    // About the square root makes the longest way short.
    let chord = size.isqrt();
    for (distance, step) in [
        (1, 1),
        (size - 1, size - 1),
        (chord, 1),
        (size - chord, size - 1),
    ] {
        let walk = (0..size).map(|n| ring[(place + distance + n * step) % size]);
        for member in walk.filter(|member| *member != peer) {
            let is_new = neighbors.insert(member);
            if is_new && !is_passed_over(member) {
                break;
            }
        }
    }
    neighbors
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn ring(size: u8) -> BTreeSet<PeerId> {
        (0..size).map(|n| PeerId([n; 8])).collect()
    }

    fn numbers(peers: &BTreeSet<PeerId>) -> Vec<u8> {
        peers.iter().map(|peer| peer.0[0]).collect()
    }

    #[test]
    fn few_are_a_mesh_and_many_a_ring_with_chords() {
        let check = |size, peer: u8, away: &[u8], expected: &[u8]| {
            let found = neighbors(PeerId([peer; 8]), &ring(size), |peer| {
                away.contains(&peer.0[0])
            });
            assert_eq!(numbers(&found), expected, "{size} {peer} {away:?}");
        };
        check(1, 0, &[], &[]);
        check(3, 1, &[2], &[0, 2]);
        check(8, 3, &[], &[0, 1, 2, 4, 5, 6, 7]);
        check(9, 0, &[], &[1, 3, 6, 8]);
        check(12, 0, &[], &[1, 3, 9, 11]);
        check(12, 11, &[], &[0, 2, 8, 10]);
        check(16, 5, &[], &[1, 4, 6, 9]);
        // Those that are away stay wanted, and the next ones take their part.
        check(12, 0, &[1, 2], &[1, 2, 3, 4, 9, 11]);
        check(12, 0, &[3, 11], &[1, 3, 4, 9, 10, 11]);
        check(9, 0, &[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6, 7, 8]);
        check(9, 9, &[], &[]);
    }

    /// Whether all that are not in `lost` reach each other.
    fn is_whole(size: u8, lost: &BTreeSet<u8>) -> bool {
        let members = ring(size);
        let links: BTreeMap<u8, Vec<u8>> = (0..size)
            .map(|n| (n, numbers(&neighbors(PeerId([n; 8]), &members, |_| false))))
            .collect();
        let left: BTreeSet<u8> = (0..size).filter(|n| !lost.contains(n)).collect();
        let mut reached = BTreeSet::from([*left.first().unwrap()]);
        let mut next = Vec::from_iter(reached.first().copied());
        while let Some(peer) = next.pop() {
            for other in links[&peer].iter().filter(|other| left.contains(other)) {
                if reached.insert(*other) {
                    next.push(*other);
                }
            }
        }
        reached == left
    }

    #[test]
    fn links_are_of_both_and_no_three_failures_cut_a_ring() {
        for size in 9..=20 {
            let members = ring(size);
            for one in &members {
                let of_one = neighbors(*one, &members, |_| false);
                assert_eq!(of_one.len(), 4, "{size}");
                for other in of_one {
                    assert!(neighbors(other, &members, |_| false).contains(one));
                }
            }
            for a in 0..size {
                for b in 0..a {
                    for c in 0..b {
                        assert!(is_whole(size, &[a, b, c].into()), "{size}: {a} {b} {c}");
                    }
                }
            }
        }
    }
}
