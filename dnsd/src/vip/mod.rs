//! Virtual addresses: which peer announces which.

pub mod address;
pub mod assign;
pub mod claim;
mod codec;
pub mod failover;
pub mod frames;
pub mod ground;
pub mod kernel;
pub mod map;
pub mod self_check;
pub mod staleness;
pub mod status;
pub mod timing;

use overlay::StateKind;

/// The kind of signed overlay state in which a peer says what it claims.
pub const CLAIM: StateKind = StateKind(2);
/// The kind in which it says its map of VIPs.
pub const CONFIG: StateKind = StateKind(3);
