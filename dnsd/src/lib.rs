//! The daemon: DNS listeners around one answer engine, updates, admin, and the peer that ties
//! zones, replication and overlay together.

pub mod admin;
pub mod birth;
pub mod blobs;
pub mod body;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod cookie;
pub mod demo;
pub mod disk;
pub mod doh;
pub mod doq;
pub mod durable;
pub mod fold;
pub mod health;
pub mod imports;
pub mod io;
pub mod membership;
pub mod message;
pub mod metrics;
pub mod peer;
pub mod prefix;
pub mod proxy;
pub mod publish;
pub mod rebase;
pub mod reload;
pub mod report;
pub mod requests;
pub mod rollover;
pub mod serve;
pub mod setting;
pub mod sponsor;
pub mod stage;
pub mod state;
pub mod state_rows;
pub mod status;
#[cfg(test)]
mod testing;
mod text;
pub mod time_text;
pub mod tsig;
pub mod vip;
pub mod wiring;
pub mod zone_data;
