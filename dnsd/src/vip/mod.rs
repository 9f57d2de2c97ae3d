//! Virtual addresses: which peer announces which.

pub mod address;
pub mod frames;
pub mod ground;
pub mod kernel;
