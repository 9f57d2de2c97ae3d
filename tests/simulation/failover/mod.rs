//! Real `Failover`s on real `Router`s: on a made-up network and segment with made-up kernels, the
//! VIPs of every component are announced exactly once.
//!
//! `SIMULATION_TRACE=1` tells a run in words.

mod checks;
mod log;
mod machine;
mod schedule;
mod world;

use crate::seeds::run_all;
use dnsd::vip::failover::VipFaults;

/// Seeds of a usual test run.
const SEEDS: u64 = 60;

#[test]
fn every_vip_is_announced_exactly_once() {
    let runs = run_all("failover", SEEDS, |seed| {
        schedule::run(seed, VipFaults::None)
    });
    let sum = |of: fn(&schedule::Run) -> u64| runs.iter().map(of).sum::<u64>();
    eprintln!(
        "{} VIPs taken, {} views, {} conflicts, {} actions; planned after {:?}, at rest after {:?}",
        sum(|run| run.moved),
        sum(|run| run.views),
        sum(|run| run.conflicts),
        sum(|run| run.actions),
        runs.iter().map(|run| run.run_after).max(),
        runs.iter().map(|run| run.rest_after).max(),
    );
}

#[test]
fn the_same_seed_gives_the_same_trace_of_failover() {
    for seed in [1, 2, 3] {
        let run = || schedule::run(seed, VipFaults::None).map(|run| run.digest);
        assert_eq!(run(), run());
    }
}
