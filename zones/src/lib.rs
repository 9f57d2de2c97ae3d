//! Names, records, zones, lookup, update rules, zone files and the store.
//!
//! This crate knows nothing of peers: it says what one zone is, what an update makes of it, and
//! what a name in it means.

pub mod name;
pub mod rtype;
pub mod serial;

pub use name::Name;
pub use rtype::Rtype;
pub use serial::Serial;
