//! Several real peers that serve one zone: three on loopback, or one on each host of a segment.

use crate::daemon::Daemon;
use crate::deadline::until;
use crate::segment::{Segment, with_prefix};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// How long the peers may take to settle together on a busy machine.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Where the peers of a segment listen to each other.
const PEER_PORT: u16 = 5300;

/// The zone that they serve.
pub const ORIGIN: &str = "example.test";

/// Writes the zone; the argument of `--zone` for it.
#[must_use]
pub fn zone_argument(folder: &Path) -> String {
    let zone = folder.join("example.test.zone");
    fs::write(
        &zone,
        "$TTL 300\n\
         @ SOA ns1 hostmaster 1 3600 600 1209600 60\n\
         @ NS ns1\n\
         ns1 A 192.0.2.53\n",
    )
    .unwrap();
    format!("{ORIGIN}={}", zone.display())
}

/// Starts three peers that have joined each other, with their data in `folder`. Anyone on
/// loopback may update the zone.
#[must_use]
pub fn three_peers(folder: &Path) -> [Daemon; 3] {
    three_peers_with(folder, &[])
}

/// Starts three such peers, each with these arguments too.
#[must_use]
pub fn three_peers_with(folder: &Path, args: &[&str]) -> [Daemon; 3] {
    let zone = zone_argument(folder);
    let birth = ["--zone", &zone, "--allow-update", "127.0.0.0/8"];
    let a = Daemon::start(
        &folder.join("a"),
        &[&birth[..], &["--name", "a"], args].concat(),
    );
    let join = |name: &str| {
        let token = a.ask(&["invite"]);
        let own = ["--name", name, "--join", token.trim()];
        Daemon::start(&folder.join(name), &[&own[..], args].concat())
    };
    let (b, c) = (join("b"), join("c"));
    let peers = [a, b, c];
    wait_together(&peers);
    peers
}

/// Starts a peer on each host, `h0` on the first, with their data in `folder`, all of which may
/// hold VIPs: there are none yet. Anyone on the segment may update the zone.
#[must_use]
pub fn peers_on(segment: &Segment, folder: &Path, args: &[&str]) -> Vec<Daemon> {
    let zone = zone_argument(folder);
    let mut peers: Vec<Daemon> = Vec::new();
    for host in &segment.hosts {
        let name = format!("h{}", host.number);
        let links = format!("{}:{PEER_PORT}", host.ip());
        let token = peers.first().map(|first| first.ask(&["invite"]));
        let birth = match &token {
            Some(token) => vec!["--join", token.trim()],
            None => vec![
                "--zone",
                &zone,
                "--allow-update",
                "10.77.0.0/24",
                "--allow-update",
                "fd77::/64",
            ],
        };
        let own = [
            "--name",
            &name,
            "--peer-listen",
            &links,
            "--vip-driver",
            "netlink",
        ];
        let args = [&own, &birth[..], args].concat();
        peers.push(Daemon::start_on(host, &folder.join(&name), &args));
    }
    wait_together(&peers);
    peers
}

/// Has the peers hold a VIP of these addresses, which move together.
pub fn add_vip(peers: &[Daemon], addresses: &[IpAddr], more: &[&str]) {
    let addresses: Vec<String> = addresses.iter().copied().map(with_prefix).collect();
    let mut command = vec!["vip", "add"];
    command.extend(addresses.iter().map(String::as_str));
    peers[0].ask(&[&command, more].concat());
}

/// Waits until all peers settle updates together.
pub fn wait_together(peers: &[Daemon]) {
    until(SETTLE_TIMEOUT, "all settle together", || {
        let together = peers.iter().all(|peer| {
            let status = peer.ask(&["status", "--format", "json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let members = status["settling_view"]["members"].as_array();
            members.is_some_and(|members| members.len() == peers.len())
        });
        together.then_some(())
    });
}
