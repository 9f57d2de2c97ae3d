//! Large zones on two cores.

use std::panic::resume_unwind;
use std::thread::scope;

use crate::workers::Workers;

/// A thread that helps as long as it has work.
pub struct TwoThreads;

impl Workers for TwoThreads {
    fn both<A: Send, B: Send>(
        &self,
        left: impl FnOnce() -> A + Send,
        right: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        scope(|scope| {
            let helper = scope.spawn(right);
            let left = left();
            let right = helper.join().unwrap_or_else(|panic| resume_unwind(panic));
            (left, right)
        })
    }
}
