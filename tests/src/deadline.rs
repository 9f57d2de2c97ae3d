//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value; panics when `timeout` has passed.
pub fn until<T>(timeout: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            start.elapsed() < timeout,
            "after {timeout:?} still not: {what}"
        );
        std::thread::sleep(PERIOD);
    }
}
