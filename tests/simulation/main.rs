//! Real machines on made-up clock, network and disk: one seed, one run.
#![allow(clippy::unwrap_used, reason = "a test stops at what does not hold")]

mod cluster;
mod fabric;
mod failover;
mod replica;
mod router;
mod seeds;
