//! A moment to start tests from.

#![allow(
    clippy::disallowed_methods,
    reason = "tests only need some first moment"
)]

use std::time::Instant;

pub(crate) fn start() -> Instant {
    Instant::now()
}
