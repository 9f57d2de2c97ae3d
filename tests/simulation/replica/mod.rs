//! Clusters of real replicas under random crashes, splits, slow disks, joins and evictions.

mod checks;
mod cluster;
mod disk;
mod fold;
mod peer;
mod schedule;

use crate::seeds;
use replication::replica::Faults;

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Inside the replica.
    Replica(Faults),
    /// The driver calls a batch durable before it is.
    DurableBeforeFlush,
    /// Requests are answered from tentative state.
    TentativeAnswers,
}

/// Seeds of a usual test run.
const SEEDS: u64 = 200;
/// A planted fault must show within so many.
const FAULT_SEEDS_MAX: u64 = 400;

#[test]
fn promises_hold_under_random_schedules() {
    let runs = seeds::run_all("replica", SEEDS, |seed| schedule::run(seed, Fault::None));
    let mut summary = checks::Summary::default();
    runs.iter().for_each(|run| summary.add(run));
    eprintln!("{summary:?}");
    if seeds::are_usual() {
        assert!(summary.answers > 0 && summary.crashes > 0 && summary.joins > 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 4] {
        let first = schedule::run(seed, Fault::None).unwrap();
        assert_eq!(first, schedule::run(seed, Fault::None).unwrap());
    }
}

fn check_that_it_is_caught(fault: Fault) {
    seeds::check_that_it_is_caught(fault, FAULT_SEEDS_MAX, |seed| schedule::run(seed, fault));
}

#[test]
fn no_gate_is_caught() {
    check_that_it_is_caught(Fault::Replica(Faults::NoGate));
}

#[test]
fn a_clock_that_counts_without_its_chain_is_caught() {
    check_that_it_is_caught(Fault::Replica(Faults::ClockWithoutChain));
}

#[test]
fn view_ids_without_attempts_are_caught() {
    check_that_it_is_caught(Fault::Replica(Faults::IdWithoutAttempts));
}

#[test]
fn an_announcement_before_its_flush_is_caught() {
    check_that_it_is_caught(Fault::DurableBeforeFlush);
}

#[test]
fn answers_from_tentative_state_are_caught() {
    check_that_it_is_caught(Fault::TentativeAnswers);
}
