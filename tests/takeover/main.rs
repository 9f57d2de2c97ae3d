//! What a cluster promises of its VIPs when a host is lost and comes back, on real kernels.
//!
//! Who announces is what rtnetlink says, who answers is what a client sees that asks each VIP once a
//! millisecond; the peers' own word counts for nothing. No time is asserted but a deadline that any
//! machine keeps.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests wait for real processes, and stop at what does not hold"
)]

mod lost;
mod moved;
mod stage;
mod updates;
