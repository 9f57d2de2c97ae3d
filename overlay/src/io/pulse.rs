//! When a thread last went on, for another thread that watches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The last turn of a thread.
#[derive(Debug)]
pub(super) struct Pulse {
    since: Instant,
    /// Microseconds after that.
    last: AtomicU64,
}

impl Pulse {
    /// Of a thread that goes on now.
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// The thread goes on.
    pub(super) fn beat(&self) {
        let micros = self.since.elapsed().as_micros();
        // A u64 of microseconds lasts half a million years.
        self.last.store(micros as u64, Ordering::Relaxed);
    }

    /// How long ago it last did.
    pub(super) fn age(&self) -> Duration {
        let last = Duration::from_micros(self.last.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last)
    }
}
