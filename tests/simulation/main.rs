//! Real machines on made-up clock, network and disk: one seed, one run.
//!
//! `SIMULATION_SEEDS=1000` runs more seeds, `SIMULATION_SEED=77` only that one and says more.
#![allow(clippy::unwrap_used, reason = "a test stops at what does not hold")]

mod replica;
mod router;

use std::ops::Range;

/// The seeds to run, as the environment says, else the first `few`.
fn seeds(few: u64) -> Range<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    match (number("SIMULATION_SEED"), number("SIMULATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..few,
    }
}
