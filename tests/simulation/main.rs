//! Real machines on made-up clock, network and disk: one seed, one run.
//!
//! `SIMULATION_SEEDS=1000` runs more seeds, from `SIMULATION_FIRST_SEED` on; `SIMULATION_SEED=77`
//! only that one.
#![allow(clippy::unwrap_used, reason = "a test stops at what does not hold")]

mod cluster;
mod fabric;
mod replica;
mod router;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The seeds to run, as the environment says, else the first `few`.
fn seeds(few: u64) -> Range<u64> {
    let first = number("SIMULATION_FIRST_SEED").unwrap_or(0);
    match (number("SIMULATION_SEED"), number("SIMULATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => first..first + count.unwrap_or(few),
    }
}

/// The same, after the seeds of this world that have once failed.
fn seeds_with_failed(world: &str, few: u64) -> Vec<u64> {
    let failed = include_str!("seeds.txt")
        .lines()
        .filter_map(|line| line.strip_prefix(world)?.trim().parse().ok())
        .filter(|_| number("SIMULATION_SEED").is_none());
    failed.chain(seeds(few)).collect()
}

/// Runs the seeds on two threads; the results stand in the order of the seeds.
fn in_parallel<T: Send>(seeds: &[u64], run: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let result = run(*seed);
                    results.lock().unwrap().push((*seed, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(seed, _)| seeds.iter().position(|listed| listed == seed));
    results
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
