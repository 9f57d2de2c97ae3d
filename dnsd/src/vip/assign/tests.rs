//! Rules of the plan that hold for all claims, and some cases by hand.

use super::*;
use crate::vip::map::{Drained, MapChange};
use overlay::ViewId;
use proptest::prelude::*;
use replication::{Hybrid, Stamp};
use std::time::Duration;

fn peer(n: u8) -> PeerId {
    PeerId([n; 8])
}

fn vip(n: u8) -> VipId {
    VipId([192, 0, 2, n].into())
}

fn claim(n: u8, announced: &[u8], can: &[u8]) -> Claim {
    Claim {
        view: ViewId(1),
        epoch: 1,
        name: format!("peer{n}"),
        announced: announced.iter().map(|n| vip(*n)).collect(),
        can: can.iter().map(|n| vip(*n)).collect(),
        rank: Rank::Well,
        maturity: Maturity::Mature,
        capacity: 1,
        patience: Duration::ZERO,
        digest: 0,
        macs: BTreeSet::new(),
        quarantined: BTreeMap::new(),
        ready: BTreeSet::new(),
        given: BTreeSet::new(),
        taken: BTreeSet::new(),
    }
}

/// VIPs 1 to `count` with weights and preferences.
fn map(vips: &[(u16, Option<u8>)]) -> VipMap {
    let mut map = VipMap::default();
    for (n, (weight, prefer)) in (1..).zip(vips) {
        let change = MapChange::Add {
            addresses: BTreeSet::from([format!("192.0.2.{n}/24").parse().unwrap()]),
            prefer: prefer.map(|n| format!("peer{n}")),
            weight: *weight,
        };
        let stamp = Stamp {
            hybrid: Hybrid(n),
            author: peer(1),
        };
        map.apply(&change, stamp).unwrap();
    }
    map
}

fn plan(claims: &[Claim], map: &VipMap, quarantined: &[u8]) -> Plan {
    let claims = (1..)
        .zip(claims)
        .map(|(n, claim)| (peer(n), claim))
        .collect();
    assign(
        &claims,
        map,
        &quarantined.iter().map(|n| peer(*n)).collect(),
    )
}

/// How many VIPs each peer holds in the end.
fn counts(plan: &Plan, peers: u8, vips: u8) -> Vec<usize> {
    let goals: Vec<_> = (1..=vips).filter_map(|n| plan.goal(vip(n))).collect();
    let at = |n| goals.iter().filter(|goal| **goal == peer(n)).count();
    (1..=peers).map(at).collect()
}

#[test]
fn a_fresh_cluster_spreads_its_vips_and_a_death_moves_only_the_dead_peers() {
    let map = map(&[(1, None); 6]);
    let all = [1, 2, 3, 4, 5, 6];
    let fresh = plan(
        &[
            claim(1, &[], &all),
            claim(2, &[], &all),
            claim(3, &[], &all),
        ],
        &map,
        &[],
    );
    assert_eq!(counts(&fresh, 3, 6), [2, 2, 2]);
    assert!(fresh.moves.is_empty());
    // Peer 3 with VIPs 3 and 6 has died.
    let after = plan(
        &[claim(1, &[1, 4], &all), claim(2, &[2, 5], &all)],
        &map,
        &[],
    );
    assert_eq!(after.fills.len(), 2);
    assert_eq!(counts(&after, 2, 6), [3, 3]);
    assert!(after.moves.is_empty());
}

#[test]
fn a_peer_that_returns_gets_its_share_in_small_steps() {
    let map = map(&[(1, None); 6]);
    let all = [1, 2, 3, 4, 5, 6];
    let plan = plan(
        &[
            claim(1, &[1, 2, 3], &all),
            claim(2, &[4, 5, 6], &all),
            claim(3, &[], &all),
        ],
        &map,
        &[],
    );
    assert_eq!(counts(&plan, 3, 6), [2, 2, 2]);
    let turns: Vec<_> = plan.moves.iter().map(|step| (step.to, step.turn)).collect();
    assert_eq!(
        turns,
        [(peer(3), Turn::Balance(0)), (peer(3), Turn::Balance(1))]
    );
}

#[test]
fn who_is_unfit_hands_over_at_once_and_keeps_if_nobody_is_better() {
    let map = map(&[(1, None); 2]);
    let both = [1, 2];
    let drained = |rank| Claim {
        rank,
        ..claim(1, &[1, 2], &both)
    };
    let handed = plan(&[drained(Rank::Drained), claim(2, &[], &both)], &map, &[]);
    assert_eq!(counts(&handed, 2, 2), [0, 2]);
    assert!(handed.moves.iter().all(|step| step.turn == Turn::AtOnce));
    let sick = Claim {
        rank: Rank::Sick,
        ..claim(2, &[], &both)
    };
    let kept = plan(&[drained(Rank::Drained), sick.clone()], &map, &[]);
    assert_eq!((counts(&kept, 2, 2), kept.moves.len()), (vec![2, 0], 0));
    let alone = plan(&[drained(Rank::Sick), claim(2, &[], &[])], &map, &[]);
    assert_eq!(counts(&alone, 2, 2), [2, 0]);
    let quarantined = plan(
        &[claim(1, &[1, 2], &both), claim(2, &[], &both)],
        &map,
        &[1],
    );
    assert_eq!(counts(&quarantined, 2, 2), [0, 2]);
}

#[test]
fn preferences_capacities_and_drained_addresses_count() {
    let all = [1, 2, 3, 4, 5, 6];
    let preferred = map(&[(1, Some(2)); 6]);
    let claims = [claim(1, &all, &all), claim(2, &[], &all)];
    assert_eq!(counts(&plan(&claims, &preferred, &[]), 2, 6), [0, 6]);
    let strong = [
        claim(1, &[], &all),
        Claim {
            capacity: 2,
            ..claim(2, &[], &all)
        },
    ];
    assert_eq!(
        counts(&plan(&strong, &map(&[(1, None); 6]), &[]), 2, 6),
        [2, 4]
    );
    let mut away = map(&[(1, None); 6]);
    let stamp = Stamp {
        hybrid: Hybrid(99),
        author: peer(1),
    };
    away.apply(&MapChange::Away(vip(3), Some(peer(1))), stamp)
        .unwrap();
    away.apply(&MapChange::Drain(peer(9), Drained::Yes), stamp)
        .unwrap();
    let moved = plan(
        &[claim(1, &[1, 2, 3], &all), claim(2, &[4, 5, 6], &all)],
        &away,
        &[],
    );
    assert_eq!(moved.goal(vip(3)), Some(peer(2)));
    assert_eq!(counts(&moved, 2, 6), [3, 3], "another goes the other way");
}

#[test]
fn an_immature_cluster_takes_nothing_and_one_mature_member_is_enough() {
    let map = map(&[(1, None); 3]);
    let young = |n, announced: &[u8]| Claim {
        maturity: Maturity::Immature,
        ..claim(n, announced, &[1, 2, 3])
    };
    let waits = plan(&[young(1, &[2]), young(2, &[])], &map, &[]);
    assert_eq!(
        (waits.holders.len(), waits.fills.len(), waits.moves.len()),
        (1, 0, 0)
    );
    let takes = plan(&[young(1, &[2]), claim(2, &[], &[1, 2, 3])], &map, &[]);
    assert_eq!(takes.fills.len(), 2);
    let nobody = plan(&[], &map, &[]);
    assert_eq!(nobody.reasons[&vip(1)], Reason::NobodyCan);
}

prop_compose! {
    fn any_claim(vips: u8)(
        announced in prop::collection::btree_set(1..=vips, 0..=usize::from(vips)),
        can in prop::collection::btree_set(1..=vips, 0..=usize::from(vips)),
        rank in 0..5_u8,
        mature in prop::bool::weighted(0.8),
        capacity in 1..4_u16,
    ) -> Claim {
        let announced: Vec<u8> = announced.into_iter().collect();
        let can: Vec<u8> = can.into_iter().collect();
        Claim {
            rank: [Rank::Well, Rank::Well, Rank::Stale, Rank::Drained, Rank::Sick][usize::from(rank)],
            maturity: if mature { Maturity::Mature } else { Maturity::Immature },
            capacity,
            ..claim(0, &announced, &can)
        }
    }
}

proptest! {
    #[test]
    fn every_plan_keeps_the_rules(
        claims in prop::collection::vec(any_claim(8), 1..6),
        vips in prop::collection::vec((1..4_u16, prop::option::of(1..6_u8)), 1..=8),
        quarantined in prop::collection::vec(1..6_u8, 0..2),
    ) {
        let claims: Vec<Claim> = (1..).zip(claims).map(|(n, claim)| Claim {
            name: format!("peer{n}"), ..claim
        }).collect();
        let map = map(&vips);
        let plan = plan(&claims, &map, &quarantined);
        let by_peer: BTreeMap<PeerId, &Claim> =
            (1..).zip(&claims).map(|(n, claim)| (peer(n), claim)).collect();
        let quarantined: BTreeSet<PeerId> = quarantined.iter().map(|n| peer(*n)).collect();
        let vips = map.vips();
        let fit = available(&by_peer, &vips, &quarantined);
        let is_mature = claims.iter().any(|claim| claim.maturity == Maturity::Mature);
        for id in vips.keys() {
            let claimed = claims.iter().any(|claim| claim.announced.contains(id));
            // What is claimed is never filled by another: it changes hands by a move.
            prop_assert!(!(claimed && plan.fills.contains_key(id)));
            match plan.goal(*id) {
                // Who is to hold it is as fit as any, unless nobody can.
                Some(goal) if is_mature && !fit[id].is_empty() => {
                    prop_assert!(fit[id].contains(&goal));
                }
                Some(_) => prop_assert!(claimed),
                None => prop_assert!(!is_mature || fit[id].is_empty()),
            }
        }
        if is_mature {
            // No single unpreferred move would help.
            let mut loads = Loads::new(&by_peer);
            let goals: BTreeMap<VipId, PeerId> =
                vips.keys().filter_map(|id| Some((*id, plan.goal(*id)?))).collect();
            for (id, goal) in &goals {
                loads.add(*goal, vips[id].weight);
            }
            for (id, goal) in &goals {
                let is_fixed = matches!(plan.reasons[id], Reason::Preferred | Reason::NobodyCan);
                for to in fit[id].iter().filter(|to| *to != goal && !is_fixed) {
                    prop_assert!(!loads.would_help(*goal, *to, vips[id].weight)
                        || loads.peers[goal].cmp(loads.peers[to]).is_le());
                }
            }
        }
    }
}
