//! What take-overs look like from outside: to the clients, on the wire, and in the kernels.
//!
//! None of it asks the servers: it judges any program that moves addresses.

pub mod frame;
pub mod kernels;
pub mod prober;
pub mod timeline;
mod worker;
