//! The clock and the threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall time since the Unix epoch; zero if the clock stands before it.
#[must_use]
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The monotonic time.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Starts a thread with a name that `top` shows. If the thread breaks a rule of its own, the
/// process ends: half a peer would go on to answer, and no supervisor would see it.
///
/// # Panics
///
/// If the system gives no thread: nothing works then.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    Builder::new()
        .name(name.to_owned())
        .spawn(|| catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| std::process::abort()))
        .expect("the system gives a thread")
}

/// Waits until then; not at all if it is past.
pub fn sleep_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(now()));
}

/// Gives other threads a moment.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
