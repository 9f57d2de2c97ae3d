//! Whole clusters: the `Node`, `Peer`, zones and store that ship, on made-up clocks, network and
//! disks; the promises 1 to 6 and 10 of the project are checked.
//!
//! `SIMULATION_SEEDS=5000` runs that many seeds; `SIMULATION_SEED=17` runs one, with
//! `SIMULATION_TRACE=1` in words.

mod checks;
mod disk;
mod ending;
mod feeding;
mod machine;
mod met;
mod passages;
mod requests;
mod schedule;
mod world;

use crate::seeds;
use met::Met;
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
/// The same of those that are led by design: each passage begins some of them.
const PASSAGE_SEEDS: u64 = 30;
/// The same of those that follow a primary.
const FED_SEEDS: u64 = 40;
/// The same of a primary that starts over.
const FED_BACK_SEEDS: u64 = 20;
/// A planted fault must show within so many.
const FAULT_SEEDS_MAX: u64 = 200;

#[test]
fn promises_hold_for_whole_clusters() {
    let runs = seeds::run_all("cluster", SEEDS, |seed| schedule::run(seed, Fault::None));
    let mut summary = checks::Summary::default();
    runs.iter().for_each(|run| summary.add(run));
    eprintln!("{summary:?}");
    if seeds::are_usual() {
        let all = [
            summary.answers,
            summary.conflicts,
            summary.crashes,
            summary.joins,
            summary.evictions,
            summary.checkpoints,
            summary.imports,
        ];
        assert!(all.iter().all(|count| *count > 0), "all of it happens");
    }
}

#[test]
fn promises_hold_where_clusters_are_led_by_design() {
    let run = |seed| passages::run(seed, Fault::None);
    let runs = seeds::run_all("passages", PASSAGE_SEEDS, run);
    let mut summary = checks::Summary::default();
    runs.iter().for_each(|run| summary.add(run));
    eprintln!("{summary:?}");
    if seeds::are_usual() {
        for (met, least) in Met::LEAST {
            let count = summary.met.get(&met).copied().unwrap_or(0);
            assert!(count >= least, "{met:?} is met {count} times, not {least}");
        }
    }
}

#[test]
fn promises_hold_for_zones_of_a_primary() {
    let runs = seeds::run_all("fed", FED_SEEDS, feeding::run);
    let mut summary = checks::Summary::default();
    runs.iter().for_each(|run| summary.add(run));
    eprintln!("{summary:?}");
}

#[test]
fn promises_hold_for_zones_of_a_primary_that_starts_over() {
    let runs = seeds::run_all("fed_back", FED_BACK_SEEDS, feeding::run_back);
    let mut summary = checks::Summary::default();
    runs.iter().for_each(|run| summary.add(run));
    eprintln!("{summary:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for run in [schedule::run, passages::run] {
        for seed in [3, 4] {
            let first = run(seed, Fault::None).unwrap();
            assert_eq!(first, run(seed, Fault::None).unwrap());
        }
    }
    assert_eq!(feeding::run(3).unwrap(), feeding::run(3).unwrap());
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
