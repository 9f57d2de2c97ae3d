//! Who has a link to whom, and who therefore passes whose word on to whom.
//!
//! A word needs no more than two ways to each peer: by the two of its neighbors that are nearest
//! to the source, of which the source may be one. The first would do, as a peer at distance d
//! from the source has a neighbor at d − 1; the second makes up for a packet that is lost, and
//! for a link that has ended unnoticed, and need not hurry.

use crate::peer_id::PeerId;
use crate::view::{Statements, is_edge};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A peer's part in a word's way to one of its neighbors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Others pass it on.
    None,
    /// Passes it on at once.
    First,
    /// Passes it on in case the first fails.
    Second,
}

/// The direct links that both their ends state.
#[derive(Default)]
pub(crate) struct Edges {
    linked: BTreeMap<PeerId, BTreeSet<PeerId>>,
    /// How many links lie between a source and each peer that it reaches, for sources that were
    /// asked for.
    hops: BTreeMap<PeerId, BTreeMap<PeerId, usize>>,
}

impl Edges {
    pub(crate) fn of(statements: &Statements<'_>) -> Self {
        let mut edges = Self::default();
        for (peer, (_, state)) in statements {
            let others = state.links.iter().map(|link| link.peer);
            let linked = others.filter(|other| is_edge(statements, *peer, *other));
            edges.linked.insert(*peer, linked.collect());
        }
        edges
    }

    /// What `me` has to do for its neighbor `to` with a word of the source. Who is not reached
    /// over links that both ends state gets it from everybody.
    pub(crate) fn part(&mut self, source: PeerId, me: PeerId, to: PeerId) -> Part {
        let linked = &self.linked;
        let from_source = self.hops.entry(source);
        let from_source = from_source.or_insert_with(|| hops(linked, source));
        let hops = from_source.get(&to).filter(|_| source != me);
        let Some(hops) = hops else {
            return Part::First;
        };
        // The nearest to the source come first; of equals the next one after `to`, in the ring of
        // ids: so the work is spread.
        let linked = linked.get(&to).into_iter().flatten();
        let mut carriers: Vec<(usize, bool, PeerId)> = linked
            .filter_map(|peer| Some((*from_source.get(peer)?, *peer < to, *peer)))
            .filter(|(distance, ..)| distance <= hops)
            .collect();
        carriers.sort_unstable();
        match carriers.iter().position(|(.., peer)| *peer == me) {
            Some(0) => Part::First,
            Some(1) => Part::Second,
            _ => Part::None,
        }
    }
}

/// What was asked for so far makes no difference.
impl PartialEq for Edges {
    fn eq(&self, other: &Self) -> bool {
        self.linked == other.linked
    }
}

/// Breadth first.
fn hops(linked: &BTreeMap<PeerId, BTreeSet<PeerId>>, source: PeerId) -> BTreeMap<PeerId, usize> {
    let mut hops = BTreeMap::from([(source, 0)]);
    let mut edge = VecDeque::from([source]);
    while let Some(peer) = edge.pop_front() {
        let next = hops[&peer] + 1;
        for linked in linked.get(&peer).into_iter().flatten() {
            hops.entry(*linked).or_insert_with(|| {
                edge.push_back(*linked);
                next
            });
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link_state::LinkState;
    use crate::peer_id::Incarnation;
    use crate::testing::{linked, peer};
    use proptest::prelude::*;

    /// Peers 1, 2, … with these links.
    fn edges(links: &[Vec<u8>]) -> Edges {
        let states: Vec<LinkState> = links.iter().map(|links| linked(links)).collect();
        let numbered = states.iter().zip(1..);
        let statements = numbered
            .map(|(state, n)| (peer(n), (Incarnation(1), state)))
            .collect();
        Edges::of(&statements)
    }

    /// Who passes a word of `source` on to `to`, of its neighbors; the first one first.
    fn carriers(edges: &mut Edges, source: u8, to: u8) -> Vec<u8> {
        let neighbors = edges.linked.get(&peer(to)).cloned().unwrap_or_default();
        let parts = neighbors.into_iter().filter_map(|neighbor| {
            match edges.part(peer(source), neighbor, peer(to)) {
                Part::None => None,
                Part::First => Some((1, neighbor.0[0])),
                Part::Second => Some((2, neighbor.0[0])),
            }
        });
        let mut parts: Vec<(u8, u8)> = parts.collect();
        parts.sort_unstable();
        parts.into_iter().map(|(_, n)| n).collect()
    }

    #[test]
    fn in_a_mesh_the_source_and_one_more_pass_a_word_on() {
        let mesh: Vec<Vec<u8>> = (1..=5)
            .map(|n| (1..=5).filter(|other| *other != n).collect())
            .collect();
        let mut mesh = edges(&mesh);
        for (to, expected) in [(2, [1, 3]), (3, [1, 4]), (4, [1, 5]), (5, [1, 2])] {
            assert_eq!(carriers(&mut mesh, 1, to), expected, "to {to}");
        }
    }

    #[test]
    fn nobody_carries_a_word_back_and_who_is_cut_off_gets_it_from_everybody() {
        // 1 – 2, 1 – 3, 2 – 4, 3 – 4; 2 states a link to 5, which 5 does not.
        let mut square = edges(&[vec![2, 3], vec![1, 4, 5], vec![1, 4], vec![2, 3], vec![]]);
        assert_eq!(carriers(&mut square, 1, 4), [2, 3]);
        assert_eq!(carriers(&mut square, 1, 2), [1], "4 is farther away");
        let part = square.part(peer(1), peer(2), peer(5));
        assert_eq!(part, Part::First);
    }

    proptest! {
        #[test]
        fn the_first_carriers_alone_reach_all_whom_links_reach(
            links in prop::collection::btree_set((1_u8..=9, 1_u8..=9), 0..30),
        ) {
            let both = |n| move |(a, b): &(u8, u8)| match () {
                () if *a == n => Some(*b),
                () if *b == n => Some(*a),
                () => None,
            };
            let lists = (1..=9).map(|n| links.iter().filter_map(both(n)).filter(move |o| *o != n));
            let mut edges = edges(&lists.map(Iterator::collect).collect::<Vec<Vec<u8>>>());
            let mut has = BTreeSet::from([1]);
            let mut gets = |has: &BTreeSet<u8>, to: u8| {
                let first = carriers(&mut edges, 1, to).first().copied();
                !has.contains(&to) && first.is_some_and(|first| has.contains(&first))
            };
            while let Some(next) = (1..=9).find(|to| gets(&has, *to)) {
                has.insert(next);
            }
            let reached = hops(&edges.linked, peer(1));
            let reached: BTreeSet<u8> = reached.keys().map(|peer| peer.0[0]).collect();
            prop_assert_eq!(has, reached);
        }
    }
}
