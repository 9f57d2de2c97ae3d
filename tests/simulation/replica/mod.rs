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

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn promises_hold_under_random_schedules() {
    let seeds: Vec<u64> = match number("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => {
            let once_failed = include_str!("../seeds.txt")
                .lines()
                .filter_map(|line| line.strip_prefix("replica ")?.trim().parse().ok());
            let first = number("SIMULATION_FIRST_SEED").unwrap_or(0);
            let count = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
            once_failed.chain(first..first + count).collect()
        }
    };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new((Vec::new(), checks::Summary::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) =
                    seeds.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
                {
                    let result = run(*seed, Fault::None);
                    let mut results = results.lock().unwrap();
                    match result {
                        Ok(summary) => results.1.add(&summary),
                        Err(why) => {
                            eprintln!("seed {seed}: {why}");
                            results.0.push((*seed, why));
                        }
                    }
                }
            });
        }
    });
    let (failed, summary) = results.into_inner().unwrap();
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
