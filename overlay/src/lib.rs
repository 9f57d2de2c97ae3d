//! Payloads to every reachable peer over lossy links, and who is reachable.
//!
//! This crate knows nothing of entries or zones: what it carries is bytes.

pub mod admit;
pub mod link_event;
pub mod peer_id;
pub mod view;

pub use admit::{Admit, ClusterId};
pub use link_event::{LinkEvent, LinkId, LinkOutput};
pub use peer_id::{Incarnation, PeerId, PublicKey};
pub use view::{View, ViewId};
