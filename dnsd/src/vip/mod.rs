//! Virtual addresses: which peer announces which.

pub mod address;
pub mod assign;
pub mod claim;
mod codec;
pub mod failover;
pub mod kernel;
pub mod map;
pub mod timing;
