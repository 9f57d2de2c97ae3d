//! Real daemons, real clients, loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests wait for real processes, and stop at what does not hold"
)]

mod bad_input;
mod catalog;
mod cluster;
mod cookies;
mod demo;
mod encrypted;
mod feed;
mod metrics;
mod one_peer;
mod policy;
mod race;
mod rate_limit;
mod rebase;
mod reload;
mod secondaries;
mod signed;
mod tour;
mod tsig;

use std::fs;
use std::path::{Path, PathBuf};

/// Writes the zone that most of these tests serve; its path.
fn zone_file(folder: &Path) -> PathBuf {
    let path = folder.join("example.test.zone");
    fs::write(
        &path,
        "$TTL 300\n\
         @ SOA ns1 hostmaster 2026010101 3600 600 1209600 60\n\
         @ NS ns1\n\
         ns1 A 192.0.2.53\n\
         www A 192.0.2.80\n\
         www AAAA 2001:db8::80\n\
         *.wild TXT \"any name below\"\n",
    )
    .unwrap();
    path
}

/// The argument of `--zone` for it.
fn zone_argument(folder: &Path) -> String {
    format!("example.test={}", zone_file(folder).display())
}
