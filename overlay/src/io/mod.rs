//! The doors of the overlay: sockets, the identity on disk, the link thread.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "io: the doors"
)]

mod canary;
mod congestion;
mod connection;
mod datagrams;
pub mod descriptor;
pub mod endpoint;
pub mod key;
pub mod link;
mod node;
pub mod priority;
mod pulse;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub use endpoint::Listeners;
pub use key::{Identity, KeyError};
pub use link::{LinkCounters, LinkError, LinkThread, Machine, MachineOutput, SendError};
