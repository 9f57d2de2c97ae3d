//! Three real peers that serve one zone.

use crate::daemon::Daemon;
use crate::deadline::until;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long the peers may take to settle together on a busy machine.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The zone that they serve.
pub const ORIGIN: &str = "example.test";

/// Starts three peers that have joined each other, with their data in `folder`. Anyone on
/// loopback may update the zone.
#[must_use]
pub fn three_peers(folder: &Path) -> [Daemon; 3] {
    let zone = folder.join("example.test.zone");
    fs::write(
        &zone,
        "$TTL 300\n\
         @ SOA ns1 hostmaster 1 3600 600 1209600 60\n\
         @ NS ns1\n\
         ns1 A 192.0.2.53\n",
    )
    .unwrap();
    let zone = format!("{ORIGIN}={}", zone.display());
    let birth = ["--zone", &zone, "--allow-update", "127.0.0.0/8"];
    let a = Daemon::start(&folder.join("a"), &[&birth[..], &["--name", "a"]].concat());
    let join = |name: &str| {
        let token = a.ask(&["invite"]);
        Daemon::start(
            &folder.join(name),
            &["--name", name, "--join", token.trim()],
        )
    };
    let (b, c) = (join("b"), join("c"));
    let peers = [a, b, c];
    until(SETTLE_TIMEOUT, "the three settle together", || {
        let together = peers.iter().all(|peer| {
            let status = peer.ask(&["status", "--format", "json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let members = status["settling_view"]["members"].as_array();
            members.is_some_and(|members| members.len() == 3)
        });
        together.then_some(())
    });
    peers
}
