//! The driver of virtual addresses on real kernels: hosts are network namespaces on one bridge,
//! made here and gone with each test. Needs root and `ip`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests stop at what does not hold"
)]

mod bridge;
mod changes;
mod exec;
mod guard;
mod host;
mod segment;
