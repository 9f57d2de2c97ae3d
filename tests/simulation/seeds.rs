//! Which seeds of a world run, on how many threads, and what came of them. A panic is a failure as
//! a returned reason is.
//!
//! `SIMULATION_SEEDS=1000` runs more seeds, from `SIMULATION_FIRST_SEED` on; `SIMULATION_SEED=77`
//! only that one.

use std::fmt::Debug;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As many as the machines that run all tests have cores.
const THREADS: usize = 2;

/// The first `few` seeds, or those that the environment asks for.
pub(crate) fn seeds(few: u64) -> Range<u64> {
    let first = number("SIMULATION_FIRST_SEED").unwrap_or(0);
    match (number("SIMULATION_SEED"), number("SIMULATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => first..first + count.unwrap_or(few),
    }
}

/// Runs the seeds of a world that have once failed, then the usual ones; none may fail. What the
/// runs came to, in the order of the seeds.
pub(crate) fn run_all<T: Send>(
    world: &str,
    few: u64,
    run: impl Fn(u64) -> Result<T, String> + Sync,
) -> Vec<T> {
    let failed_once = include_str!("seeds.txt")
        .lines()
        .filter_map(|line| line.strip_prefix(world)?.trim().parse().ok())
        .filter(|_| number("SIMULATION_SEED").is_none());
    let seeds: Vec<u64> = failed_once.chain(seeds(few)).collect();
    let mut runs = Vec::new();
    let mut failed = Vec::new();
    for (seed, outcome) in seeds.iter().zip(in_parallel(&seeds, run)) {
        match outcome {
            Ok(run) => runs.push(run),
            Err(why) => failed.push(format!("\nseed {seed}: {why}")),
        }
    }
    eprintln!("{} seeds of {world}, {} failed", seeds.len(), failed.len());
    assert!(failed.is_empty(), "of {world}:{}", failed.concat());
    runs
}

/// True if it is the fixed seeds that run, of which more can be asked than of any single one.
pub(crate) fn are_usual() -> bool {
    number("SIMULATION_SEED").is_none() && number("SIMULATION_FIRST_SEED").is_none()
}

/// A planted fault must show in one of the first seeds.
pub(crate) fn check_that_it_is_caught<T>(
    fault: impl Debug,
    seeds_max: u64,
    run: impl Fn(u64) -> Result<T, String>,
) {
    let caught = (0..seeds_max).find_map(|seed| Some((seed, outcome(|| run(seed)).err()?)));
    let (seed, why) = caught.unwrap_or_else(|| panic!("{fault:?} shows in no seed"));
    let line = why.lines().next().unwrap_or_default();
    eprintln!("{fault:?} shows in seed {seed}: {line}");
}

/// What came of one run.
pub(crate) fn outcome<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    })
}

fn in_parallel<T: Send>(
    seeds: &[u64],
    run: impl Fn(u64) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::SeqCst);
                    let Some(seed) = seeds.get(place) else {
                        return;
                    };
                    let outcome = outcome(|| run(*seed));
                    if let Err(why) = &outcome {
                        let line = why.lines().next().unwrap_or_default();
                        eprintln!("seed {seed} failed: {line}");
                    }
                    results.lock().unwrap().push((place, outcome));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, outcome)| outcome).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
