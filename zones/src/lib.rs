//! Names, records, zones, lookup, update rules, zone files and the store.
//!
//! This crate knows nothing of peers: it says what one zone is, what an update makes of it, and
//! what a name in it means.

mod assembly;
mod base;
mod changes;
pub mod check;
pub mod denial;
pub mod difference;
mod hash;
mod index;
pub mod io;
mod key;
mod location;
pub mod lookup;
pub mod memory_store;
pub mod name;
pub mod node;
pub mod rcode;
pub mod rdata;
pub mod record;
pub mod records;
pub mod rows;
pub mod rtype;
mod schema;
pub mod serial;
mod short;
mod sought;
pub mod staged;
pub mod store;
mod svcparams;
pub mod terms;
mod tree;
pub mod update;
pub mod validity;
pub mod version;
pub mod word;
pub mod workers;
pub mod zone_set;
pub mod zonefile;

pub use base::{Base, Counts};
pub use denial::{Collision, Proof, Says};
pub use difference::DifferenceError;
pub use lookup::Found;
pub use memory_store::MemoryStore;
pub use name::Name;
pub use node::{Node, RrsetRef};
pub use rcode::Rcode;
pub use record::{Rdata, Record};
pub use rtype::Rtype;
pub use serial::Serial;
pub use sought::{Below, Sought, Space};
pub use store::{Database, Row, Store, StoreError};
pub use terms::Terms;
pub use update::{Applied, Touch, Update, UpdateError};
pub use version::{Delta, Version};
pub use zone_set::{Shown, ZoneSet, ZoneState, ZoneTable};
