//! Payloads to every reachable peer over lossy links, and who is reachable.
//!
//! This crate knows nothing of entries or zones: what it carries is bytes.

pub mod admit;
pub mod config;
mod dialing;
#[doc(hidden)]
pub mod doors;
mod edges;
pub mod event;
mod fetch;
mod health;
mod hello;
pub mod io;
pub mod join;
mod link;
pub mod link_event;
mod link_state;
pub mod members;
mod multicast;
mod neighbor;
pub mod node;
mod outbox;
mod pack;
mod packet;
pub mod peer_id;
mod repair;
mod route;
pub mod router;
mod rtt;
mod signed;
mod source;
mod states;
pub mod status;
mod stream;
#[cfg(test)]
mod testing;
pub mod timing;
pub mod token;
mod topology;
pub mod view;

pub use admit::{Admit, ClusterId};
#[doc(hidden)]
pub use config::Faults;
pub use config::{Config, NeighborSpec};
pub use event::{
    Class, Event, FetchId, Full, Last, Output, Pressure, Standing, StateKind, Unheard, Why,
};
pub use join::{Join, JoinEvent, JoinOutput};
pub use link_event::{LinkEvent, LinkId, LinkOutput};
pub use members::{Member, MemberRow, MemberSet};
pub use node::{Command, Node, NodeEvent, Tag};
pub use peer_id::{Incarnation, PeerId, PublicKey};
pub use router::Router;
pub use timing::Profile;
pub use token::Token;
pub use view::{View, ViewId};
