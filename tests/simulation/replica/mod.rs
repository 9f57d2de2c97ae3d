//! Clusters of real replicas under random crashes, splits, slow disks, joins and evictions.
//!
//! `SIMULATION_SEEDS=5000` runs that many seeds; `SIMULATION_SEED=17` runs one.

mod checks;
mod cluster;
mod disk;
mod fold;
mod peer;
mod schedule;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Inside the replica.
    Replica(replication::replica::Faults),
    /// The driver calls a batch durable before it is.
    DurableBeforeFlush,
    /// Requests are answered from tentative state.
    TentativeAnswers,
}

/// Runs one seed; what it did in short, or what went wrong.
fn run(seed: u64, fault: Fault) -> Result<checks::Summary, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| schedule::run(seed, fault)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    })
}

#[test]
fn promises_hold_under_random_schedules() {
    let seeds = crate::seeds_with_failed("replica", SEEDS);
    let mut summary = checks::Summary::default();
    let mut failed = Vec::new();
    for (seed, result) in crate::in_parallel(&seeds, |seed| run(seed, Fault::None)) {
        match result {
            Ok(done) => summary.add(&done),
            Err(why) => failed.push((seed, why)),
        }
    }
    eprintln!("{} seeds: {summary:?}", seeds.len());
    assert!(
        failed.is_empty(),
        "{} seeds failed: {failed:?}",
        failed.len()
    );
    if seeds.len() > 1 {
        assert!(summary.answers > 0 && summary.crashes > 0 && summary.joins > 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 4] {
        let first = run(seed, Fault::None).unwrap();
        assert_eq!(first, run(seed, Fault::None).unwrap());
    }
}

fn check_that_it_is_caught(fault: Fault) {
    let caught = (0..FAULT_SEEDS_MAX).find(|seed| run(*seed, fault).is_err());
    assert!(caught.is_some(), "{fault:?} shows in no seed");
}

#[test]
fn no_gate_is_caught() {
    check_that_it_is_caught(Fault::Replica(replication::replica::Faults::NoGate));
}

#[test]
fn a_clock_that_counts_without_its_chain_is_caught() {
    check_that_it_is_caught(Fault::Replica(
        replication::replica::Faults::ClockWithoutChain,
    ));
}

#[test]
fn view_ids_without_attempts_are_caught() {
    check_that_it_is_caught(Fault::Replica(
        replication::replica::Faults::IdWithoutAttempts,
    ));
}

#[test]
fn an_announcement_before_its_flush_is_caught() {
    check_that_it_is_caught(Fault::DurableBeforeFlush);
}

#[test]
fn answers_from_tentative_state_are_caught() {
    check_that_it_is_caught(Fault::TentativeAnswers);
}

/// Seeds of a usual test run.
const SEEDS: u64 = 200;
/// A planted fault must show within so many.
const FAULT_SEEDS_MAX: u64 = 400;
