//! Virtual addresses: which peer announces which.

pub mod address;
pub mod kernel;
