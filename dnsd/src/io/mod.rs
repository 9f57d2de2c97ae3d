//! The doors of the daemon: sockets, files, processes, clocks and threads.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "io: the doors"
)]

pub mod address_driver;
pub mod admin;
pub mod admin_client;
mod aside;
pub mod budget;
pub mod certificate;
pub mod client_authorities;
pub mod clock;
pub mod commands;
mod connections;
mod cookie_commands;
mod datagrams;
pub mod demo;
pub mod disk;
mod doq;
pub mod driver;
pub mod encrypted;
mod feed_commands;
mod feeding;
pub mod file;
mod history_commands;
pub mod http;
mod http3;
mod https;
pub mod joining;
mod key_commands;
pub mod listeners;
pub mod log;
pub(crate) mod memory;
mod notify;
mod open_files;
mod policy_commands;
pub mod primaries;
mod quic;
pub mod run;
mod seeds;
pub mod self_check;
mod server;
mod setting_commands;
pub mod signals;
pub mod start;
pub mod tcp;
mod udp;
pub mod vip;
mod vip_commands;
mod vip_log;
