//! The tools that update zones, unmodified, each against three peers: what one peer is told all serve.
#![allow(
    clippy::disallowed_types,
    reason = "real processes are met at their sockets"
)]
#![allow(clippy::unwrap_used, reason = "a failing tool is a failing test")]

mod acme;
mod ansible;
mod dhcp;
mod libraries;
mod octodns;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::cluster::three_peers;
use tests::daemon::Daemon;
use tests::deadline::until;

/// How long a peer may take to hear of a change.
const HEARD_TIMEOUT: Duration = Duration::from_secs(20);
/// 32 bytes, long enough for each algorithm.
const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// The name of every key here.
const KEY: &str = "client.test";

/// Three peers that know a key of this algorithm, which may do what this rule says, and transfer.
/// Nobody may do anything unsigned.
fn peers_for(folder: &Path, algorithm: &str, rule: &str) -> [Daemon; 3] {
    let peers = three_peers(folder);
    peers[0].ask(&[
        "key",
        "add",
        KEY,
        "--algorithm",
        algorithm,
        "--secret",
        SECRET,
    ]);
    peers[0].ask(&[
        "policy",
        "revoke",
        "*",
        "update",
        "from",
        "127.0.0.0/8",
        "ANY",
    ]);
    let rule = format!("update key {KEY} {rule}");
    let words: Vec<&str> = rule.split_whitespace().collect();
    peers[1].ask(&[&["policy", "grant", "*"], &words[..]].concat());
    peers[2].ask(&["policy", "grant", "*", "transfer", "key", KEY]);
    until(HEARD_TIMEOUT, "all peers know what the key may", || {
        let rules = |peer: &Daemon| peer.ask(&["policy", "list"]).lines().count();
        peers.iter().all(|peer| rules(peer) == 3).then_some(())
    });
    peers
}

/// Runs a tool to its end; its output if it succeeds.
fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?} does not start ({error}); tests/run installs it")
    });
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "{command:?}\n{told}");
    told
}

/// A file of this folder.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("real_clients")
        .join(name)
}
