//! What the tests share: which kind of test goes where is said in CONTRIBUTING.md.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests start processes, wait for them, and stop at what does not hold"
)]

pub mod answer;
pub mod client;
pub mod cluster;
pub mod daemon;
pub mod deadline;
pub mod figures;
pub mod follower;
pub mod fuzz;
pub mod namespace;
pub mod program;
pub mod question;
mod raw;
pub mod relay;
pub mod requestor;
pub mod script;
pub mod secondary;
pub mod segment;
pub mod signer;
pub mod watch;
pub mod zone_text;
