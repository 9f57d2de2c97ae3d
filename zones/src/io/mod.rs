//! The doors of this crate: the only files of it that touch disk, clock or threads.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "io: the doors"
)]

pub mod files;
pub mod store;
pub mod threads;
