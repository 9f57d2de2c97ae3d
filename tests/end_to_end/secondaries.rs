//! Secondaries outside follow by NOTIFY and IXFR, from any peer, through whatever happens to the
//! peers; and who asks may see, and undo, what was done.

use crate::metrics::get;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::client::{dig, nsupdate};
use tests::cluster::wait_together;
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;
use tests::follower::{Came, Follower};
use tests::secondary::{KINDS, Kind, NOTIFY_KEY, NOTIFY_SECRET, Secondary};
use zones::Name;

const ORIGIN: &str = "big.test";
const NAMES: u32 = 300;
/// How long peers and secondaries may take to have the newest, on a busy machine.
const SPREAD: Duration = Duration::from_secs(30);

/// A peer, and the port of its metrics.
struct Peer {
    daemon: Daemon,
    metrics: u16,
}

impl Peer {
    fn start(folder: &Path, name: &str, args: &[&str]) -> Self {
        let metrics = free_port();
        let address = format!("127.0.0.1:{metrics}");
        let own = ["--name", name, "--metrics", &address];
        let daemon = Daemon::start(&folder.join(name), &[&own[..], args].concat());
        Self { daemon, metrics }
    }

    fn serial(&self) -> Option<u32> {
        serial_at(self.daemon.dns)
    }

    /// How many zone transfers went out, and how many of them were differences.
    fn transfers(&self) -> (u64, u64) {
        let page = get(self.metrics, "/metrics").unwrap_or_default();
        let count = |event: &str| {
            let start = format!("zonecast_dns_events_total{{event=\"{event}\"}} ");
            let line = page.lines().find_map(|line| line.strip_prefix(&start[..]));
            line.map_or(0, |count| count.trim().parse::<f64>().unwrap() as u64)
        };
        (count("transfers_completed"), count("transfers_incremental"))
    }

    fn whole_transfers(&self) -> u64 {
        let (all, incremental) = self.transfers();
        all - incremental
    }
}

fn serial_at(server: std::net::SocketAddr) -> Option<u32> {
    let soa = dig(server, &[ORIGIN, "SOA", "+short"]);
    soa.split(' ').nth(2)?.parse().ok()
}

/// Three peers that serve a zone of some hundred names.
fn three_peers(folder: &Path) -> [Peer; 3] {
    three_peers_with(folder, &zone_file(1, NAMES, 0))
}

/// A zone of so many hosts, of which the first ones have another address than all others.
fn zone_file(serial: u32, hosts: u32, moved: u32) -> String {
    let hosts = (0..hosts).map(|n| {
        let network = if n < moved { "198.51.100" } else { "192.0.2" };
        format!("host{n} A {network}.{}\n", n % 250)
    });
    let hosts: String = hosts.collect();
    // Secondaries ask by themselves every two seconds.
    format!(
        "$TTL 60\n@ SOA ns hostmaster {serial} 2 1 1209600 60\n@ NS ns\nns A 192.0.2.1\n{hosts}"
    )
}

/// Three peers that serve this zone.
fn three_peers_with(folder: &Path, text: &str) -> [Peer; 3] {
    let open = [
        "--allow-update",
        "127.0.0.0/8",
        "--allow-transfer",
        "127.0.0.0/8",
    ];
    let a = Peer::start(folder, "a", &open);
    let join = |name: &str| {
        let token = a.daemon.ask(&["invite"]);
        Peer::start(folder, name, &["--join", token.trim()])
    };
    let (b, c) = (join("b"), join("c"));
    let file = folder.join("big.zone");
    fs::write(&file, text).unwrap();
    a.daemon
        .ask(&["zone", "import", ORIGIN, file.to_str().unwrap()]);
    let peers = [a, b, c];
    wait_settled(&peers);
    wait_serials(&peers, 1);
    peers
}

fn wait_settled(peers: &[Peer]) {
    let together = || {
        peers.iter().all(|peer| {
            let status = peer.daemon.ask(&["status", "--format", "json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let members = status["settling_view"]["members"].as_array();
            members.is_some_and(|members| members.len() == peers.len())
        })
    };
    until(SPREAD, "all settle together", || together().then_some(()));
}

fn wait_serials(peers: &[Peer], serial: u32) {
    for peer in peers {
        until(SPREAD, &format!("the serial is {serial}"), || {
            (peer.serial() == Some(serial)).then_some(())
        });
    }
}

/// Commands for nsupdate, each update sent by itself: random names get another address, or go, or
/// come.
fn random_updates(random: &mut fastrand::Rng, count: u32) -> String {
    let update = |_| {
        let name = format!("host{}.{ORIGIN}", random.u32(..NAMES + 60));
        let address = random.u8(..);
        match random.u8(..4) {
            0 => format!("zone {ORIGIN}\nupdate delete {name}\n"),
            1 => format!("zone {ORIGIN}\nupdate add {name} 60 TXT \"{address}\"\n"),
            _ => format!(
                "zone {ORIGIN}\nupdate delete {name} A\nupdate add {name} 60 A 192.0.2.{address}\n"
            ),
        }
    };
    // `nsupdate` of the tests sends the last one.
    (0..count).map(update).collect::<Vec<_>>().join("send\n")
}

#[test]
fn a_secondary_that_goes_from_peer_to_peer_never_needs_the_whole_zone() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    let origin: Name = ORIGIN.parse().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut follower = Follower::default();
    assert_eq!(follower.follow(peers[0].daemon.dns, &origin), Came::Whole);
    // 1 000 updates; in between it goes on at another peer.
    for round in 0..20 {
        let peer = &peers[random.usize(..peers.len())];
        nsupdate(peer.daemon.dns, &random_updates(&mut random, 50)).unwrap();
        follower.follow(peers[(round + 1) % peers.len()].daemon.dns, &origin);
    }
    let serial = until(SPREAD, "all have the same serial", || {
        let serials: BTreeSet<Option<u32>> = peers.iter().map(Peer::serial).collect();
        (serials.len() == 1).then(|| serials.first().copied().flatten())?
    });
    assert!(serial > 500, "{serial}");
    for peer in &peers {
        follower.follow(peer.daemon.dns, &origin);
        let mut whole = Follower::default();
        assert_eq!(whole.follow(peer.daemon.dns, &origin), Came::Whole);
        assert_eq!(follower.serial(), Some(serial));
        assert_eq!(follower.content(), whole.content());
    }
    assert_eq!(follower.whole, 1, "the first one only");
    assert!(follower.differences >= 20, "{}", follower.differences);
}

#[test]
fn a_large_zone_that_is_imported_again_is_followed_by_differences() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers_with(folder.path(), &zone_file(1, 30_000, 0));
    let origin: Name = ORIGIN.parse().unwrap();
    let mut followers = peers.each_ref().map(|peer| {
        let mut follower = Follower::default();
        assert_eq!(follower.follow(peer.daemon.dns, &origin), Came::Whole);
        follower
    });
    // More than fits an update.
    let file = folder.path().join("again.zone");
    fs::write(&file, zone_file(2, 30_000, 5_000)).unwrap();
    let import = ["zone", "import", ORIGIN, file.to_str().unwrap()];
    peers[1].daemon.ask(&import);
    wait_serials(&peers, 2);
    for (i, follower) in followers.iter_mut().enumerate() {
        // Each goes on at another peer than before.
        let peer = &peers[(i + 1) % peers.len()];
        assert_eq!(follower.follow(peer.daemon.dns, &origin), Came::Difference);
        let mut whole = Follower::default();
        assert_eq!(whole.follow(peer.daemon.dns, &origin), Came::Whole);
        assert_eq!(follower.content(), whole.content());
    }
}

#[test]
fn real_secondaries_follow_by_notify_and_differences_while_a_peer_dies() {
    let folder = tempfile::tempdir().unwrap();
    let mut peers = three_peers(folder.path());
    let primaries: Vec<_> = peers.iter().map(|peer| peer.daemon.dns).collect();
    let secondaries = KINDS.map(|kind| Secondary::start(kind, ORIGIN, &primaries, folder.path()));
    let key = ["key", "add", NOTIFY_KEY, "--secret", NOTIFY_SECRET];
    peers[0].daemon.ask(&key);
    // Knot takes no NOTIFY that is not signed, and its response counts only if it is.
    let target = |secondary: &Secondary| match secondary.kind {
        Kind::Knot => format!("{}%{NOTIFY_KEY}", secondary.address),
        Kind::Bind | Kind::Nsd | Kind::PowerDns => secondary.address.to_string(),
    };
    let notified: Vec<String> = secondaries.iter().map(target).collect();
    let setting = format!("also-notify={}", notified.join(","));
    peers[0].daemon.ask(&["zone", "set", ORIGIN, &setting]);
    let wait_followed = |peers: &[Peer]| {
        let serial = until(SPREAD, "all have the same serial", || {
            let serials: BTreeSet<Option<u32>> = peers.iter().map(Peer::serial).collect();
            (serials.len() == 1).then(|| serials.first().copied().flatten())?
        });
        for secondary in &secondaries {
            until(
                SPREAD,
                &format!("{:?} has {serial}", secondary.kind),
                || (serial_at(secondary.address) == Some(serial)).then_some(()),
            );
        }
        serial
    };
    let wait_newest = |peers: &[Peer]| {
        let serial = wait_followed(peers);
        let axfr = |server| {
            let text = dig(server, &[ORIGIN, "AXFR", "+onesoa", "+noall", "+answer"]);
            let lines = text.lines().map(|line| {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                words.join(" ").to_lowercase()
            });
            lines.collect::<BTreeSet<String>>()
        };
        let ours = axfr(peers[0].daemon.dns);
        assert!(ours.len() > 100);
        for secondary in &secondaries {
            assert_eq!(axfr(secondary.address), ours, "{:?}", secondary.kind);
        }
        serial
    };
    // Who is told of a change says so to the peer that tells it.
    let wait_told = |peers: &[Peer], serial: u32| {
        until(SPREAD, "all have acknowledged it to who told them", || {
            let known: BTreeSet<String> = peers
                .iter()
                .flat_map(|peer| {
                    let shown = peer.daemon.ask(&["zone", "show", ORIGIN]);
                    let lines = shown.lines().filter(|line| line.starts_with("notify "));
                    lines.map(str::to_owned).collect::<Vec<_>>()
                })
                .filter(|line| line.contains(&format!("knows of {serial}")))
                .collect();
            let is_told = |to: &String| known.iter().any(|line| line.contains(to));
            notified.iter().all(is_told).then_some(())
        });
    };
    let serial = wait_newest(&peers);
    wait_told(&peers, serial);
    let mut random = fastrand::Rng::with_seed(2);
    let count = |peers: &[Peer]| peers.iter().map(Peer::whole_transfers).sum::<u64>();

    // One settling view: nobody needs the whole zone.
    let before = count(&peers);
    for round in 0..12 {
        let peer = &peers[round % peers.len()];
        nsupdate(peer.daemon.dns, &random_updates(&mut random, 100)).unwrap();
        // A difference of many more steps is larger than the zone, which is sent in its place.
        wait_followed(&peers);
    }
    let serial = wait_newest(&peers);
    assert!(serial > 600, "{serial}");
    // The test has read it once. NSD asks for all of it where a difference came while it was loading
    // the one before.
    let restarts = |secondary: &Secondary| secondary.log().matches("restarting transfer").count();
    let restarted: usize = secondaries.iter().map(restarts).sum();
    assert_eq!(count(&peers), before + 1 + restarted as u64);
    wait_told(&peers, serial);

    // A peer dies, and others go on with what it told; it comes back.
    peers[2].daemon.kill();
    let (living, dead) = peers.split_at_mut(2);
    let before = count(living);
    nsupdate(living[0].daemon.dns, &random_updates(&mut random, 200)).unwrap();
    wait_newest(living);
    let whole = count(living) - before - 1;
    eprintln!("{whole} whole transfers where a peer has died");
    let restarted = secondaries.iter().map(restarts).sum::<usize>() - restarted;
    assert!(
        whole <= KINDS.len() as u64 + restarted as u64,
        "once for each secondary at most"
    );
    dead[0].daemon.restart();
    wait_settled(&peers);
    nsupdate(peers[2].daemon.dns, &random_updates(&mut random, 100)).unwrap();
    wait_newest(&peers);
}

#[test]
fn history_tells_who_changed_what_and_a_rollback_undoes_it() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "--name",
        "one",
        "--allow-update",
        "127.0.0.0/8",
        "--allow-transfer",
        "127.0.0.0/8",
    ];
    let mut peer = Daemon::start(&folder.path().join("one"), &args);
    wait_together(std::slice::from_ref(&peer));
    let file = folder.path().join("small.zone");
    let text = "$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n\
                www A 192.0.2.80\n";
    fs::write(&file, text).unwrap();
    peer.ask(&["zone", "import", "small.test", file.to_str().unwrap()]);
    peer.ask(&[
        "key",
        "add",
        "k.test",
        "--secret",
        "c2VjcmV0c2VjcmV0c2VjcmV0",
    ]);
    let key = "key hmac-sha256:k.test c2VjcmV0c2VjcmV0c2VjcmV0\nzone small.test\n";
    nsupdate(
        peer.dns,
        &format!("{key}update delete www.small.test A\nupdate add www.small.test 60 A 192.0.2.81"),
    )
    .unwrap();
    nsupdate(
        peer.dns,
        "zone small.test\nupdate add mail.small.test 60 MX 5 www.small.test.",
    )
    .unwrap();
    let check = |peer: &Daemon| {
        let history = peer.ask(&["zone", "history", "small.test"]);
        let lines: Vec<&str> = history.lines().collect();
        assert!(
            lines[0].ends_with("8 -> 9 update from 127.0.0.1 at one"),
            "{history}"
        );
        assert!(lines[1].contains("+ mail.small.test."), "{history}");
        assert!(
            lines[2].ends_with("7 -> 8 update from 127.0.0.1 by key k.test. at one"),
            "{history}"
        );
        assert!(lines[3].contains("- www.small.test.") && lines[3].contains("192.0.2.80"));
        assert!(lines[4].contains("+ www.small.test.") && lines[4].contains("192.0.2.81"));
        assert!(lines[5].contains("import at one"), "{history}");
    };
    until(SPREAD, "it is published", || {
        let history = peer.ask(&["zone", "history", "small.test"]);
        history.contains("8 -> 9").then_some(())
    });
    check(&peer);
    let of_name = peer.ask(&[
        "zone",
        "history",
        "small.test",
        "www.small.test",
        "--format",
        "json",
    ]);
    let of_name: serde_json::Value = serde_json::from_str(&of_name).unwrap();
    assert_eq!(of_name[0]["after"], 8);
    assert_eq!(of_name[0]["key"], "k.test.");

    // It survives a kill, whose log is folded once more.
    peer.kill();
    peer.restart();
    wait_together(std::slice::from_ref(&peer));
    check(&peer);
    let origin: Name = "small.test".parse().unwrap();
    let mut follower = Follower::default();
    follower.follow(peer.dns, &origin);

    let dry = peer.ask(&["zone", "rollback", "small.test", "--to", "7", "--dry-run"]);
    assert!(
        dry.contains("+ www.small.test.\t60\tIN\tA\t192.0.2.80"),
        "{dry}"
    );
    assert!(dry.contains("would be as it was at 7"), "{dry}");
    let done = peer.ask(&["zone", "rollback", "small.test", "--to", "7"]);
    assert!(done.contains("is as it was at 7"), "{done}");
    assert!(done.contains("serial 9 -> 10"), "{done}");
    let www = dig(peer.dns, &["www.small.test", "A", "+short"]);
    assert_eq!(www, "192.0.2.80\n");
    until(SPREAD, "it is told", || {
        let history = peer.ask(&["zone", "history", "small.test", "--limit", "1"]);
        history
            .contains("9 -> 10 rollback to 7 at one")
            .then_some(())
    });
    assert_eq!(follower.follow(peer.dns, &origin), Came::Difference);
    let refused = peer.command(&["zone", "rollback", "small.test", "--to", "3"]);
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("its history goes back to 7"), "{refused}");
}

#[test]
fn a_notify_for_a_zone_of_ours_is_answered_as_by_a_primary() {
    let folder = tempfile::tempdir().unwrap();
    let zone = crate::zone_argument(folder.path());
    let peer = Daemon::start(&folder.path().join("one"), &["--zone", &zone]);
    let check = |origin: &str, rtype: &str, expected: &str| {
        let answer = dig(
            peer.dns,
            &["+opcode=NOTIFY", "+aaflag", "+nordflag", origin, rtype],
        );
        assert!(answer.contains("opcode: NOTIFY"), "{answer}");
        assert!(answer.contains(&format!("status: {expected}")), "{answer}");
    };
    check("example.test", "SOA", "NOERROR");
    check("other.test", "SOA", "NOTAUTH");
    check("www.example.test", "SOA", "NOTAUTH");
    check("example.test", "NS", "NOTIMP");
}
