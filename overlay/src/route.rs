//! Costs and shortest paths over the link states (overlay protocol section 7).

use crate::peer_id::PeerId;
use crate::status::Route;
use crate::view::{Statements, is_edge};
use std::collections::{BTreeMap, BTreeSet};

/// The way from `me` to every peer that is reached. Ties go to the lowest id.
pub(crate) fn routes(statements: &Statements<'_>, me: PeerId) -> BTreeMap<PeerId, Route> {
    let mut routes: BTreeMap<PeerId, Route> = BTreeMap::new();
    // (cost, peer, first hop)
    let mut edge = BTreeSet::from([(0_u32, me, me)]);
    let mut done = BTreeSet::new();
    while let Some((cost, peer, by)) = edge.pop_first() {
        if !done.insert(peer) {
            continue;
        }
        if peer != me {
            routes.insert(peer, Route { to: peer, by, cost });
        }
        let Some((_, state)) = statements.get(&peer) else {
            continue;
        };
        for link in &state.links {
            let next = link.peer;
            if done.contains(&next) || !is_edge(statements, peer, next) {
                continue;
            }
            // Each direction costs what its receiver has measured.
            let stated = statements[&next].1.links.iter().find(|l| l.peer == peer);
            let cost = cost.saturating_add(stated.map_or(u32::MAX, |link| link.cost));
            let by = if peer == me { next } else { by };
            edge.insert((cost, next, by));
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link_state::{LinkState, StatedLink};
    use crate::peer_id::Incarnation;

    fn state(links: &[(u8, u32)]) -> LinkState {
        let links = links.iter().map(|(peer, cost)| StatedLink {
            peer: PeerId([*peer; 8]),
            incarnation: Incarnation(1),
            cost: *cost,
            loss_permille: 0,
        });
        LinkState {
            links: links.collect(),
            ..LinkState::default()
        }
    }

    #[test]
    fn the_cheapest_way_counts_as_its_receivers_measured_it() {
        // 1–2–3 costs 2 + 2; 1–3 costs 9 that way, 1 the other.
        let states = [
            state(&[(2, 50), (3, 1)]),
            state(&[(1, 2), (3, 50)]),
            state(&[(1, 9), (2, 2)]),
            state(&[(3, 1)]),
        ];
        let peers = states.iter().enumerate();
        let statements: Statements<'_> = peers
            .map(|(n, state)| (PeerId([n as u8 + 1; 8]), (Incarnation(1), state)))
            .collect();
        let routes = routes(&statements, PeerId([1; 8]));
        let found: Vec<_> = routes
            .values()
            .map(|r| (r.to.0[0], r.by.0[0], r.cost))
            .collect();
        assert_eq!(
            found,
            [(2, 2, 2), (3, 2, 4)],
            "4 is listed by nobody it lists"
        );
    }
}
