//! A zone that comes from a primary: the peers follow it, send updates on to it, and take the zone over.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tests::client::{dig, dig_short, nsupdate};
use tests::cluster::three_peers;
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;
use tests::program::{Program, named};

const ZONE: &str = "feed.test";
const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
/// How long the peers may take to follow.
const SPREAD: Duration = Duration::from_secs(30);

/// BIND with the zone, which gives it by a key alone and tells these servers of changes.
struct Primary {
    address: SocketAddr,
    program: Option<Program>,
    config: String,
    folder: std::path::PathBuf,
}

impl Primary {
    fn start(folder: &Path, tell: &[SocketAddr], timing: &str) -> Self {
        let folder = folder.join("primary");
        fs::create_dir(&folder).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        fs::write(
            folder.join("zone"),
            format!("$TTL 300\n@ SOA ns hostmaster 100 {timing} 60\n@ NS ns\nns A 192.0.2.53\n"),
        )
        .unwrap();
        let tell: String = tell
            .iter()
            .map(|peer| format!("{} port {}; ", peer.ip(), peer.port()))
            .collect();
        let (place, ip, port) = (folder.display(), address.ip(), address.port());
        let config = format!(
            "key \"feed.key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             options {{ directory \"{place}\"; pid-file none; session-keyfile none;\n\
             listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
             recursion no; notify explicit; notify-delay 0; dnssec-validation no; }};\n\
             controls {{ }};\n\
             zone \"{ZONE}\" {{ type primary; file \"zone\"; allow-update {{ any; }};\n\
             allow-transfer {{ key feed.key; }}; also-notify {{ {tell}}}; }};\n"
        );
        let mut primary = Self {
            address,
            program: None,
            config,
            folder,
        };
        primary.begin();
        primary
    }

    fn begin(&mut self) {
        let command = named(&self.folder);
        let program = Program::start("named", command, &self.config, &self.folder);
        let program = self.program.insert(program);
        until(SPREAD, "the primary serves", || {
            program.check_alive();
            // Some take connections a little later than datagrams.
            (!dig_short(self.address, &[ZONE, "SOA", "+tcp"]).is_empty()).then_some(())
        });
    }

    fn add(&self, name: &str) {
        let update = format!("zone {ZONE}\nupdate add {name}.{ZONE} 60 A 192.0.2.1");
        nsupdate(self.address, &update).unwrap();
    }

    fn remote(&self) -> String {
        format!("{}%feed.key", self.address)
    }
}

/// Peers that hold the key of the primary.
fn peers(folder: &Path) -> [Daemon; 3] {
    let peers = three_peers(folder);
    peers[0].ask(&[
        "key",
        "add",
        "feed.key",
        "--algorithm",
        "hmac-sha256",
        "--secret",
        SECRET,
    ]);
    peers
}

fn serial(server: SocketAddr) -> u32 {
    let soa = dig_short(server, &[ZONE, "SOA"]);
    let serial = soa.split_whitespace().nth(2);
    serial.and_then(|serial| serial.parse().ok()).unwrap_or(0)
}

fn wait_for(peers: &[&Daemon], name: &str) {
    let question = [&format!("{name}.{ZONE}"), "A"];
    until(SPREAD, "all peers follow", || {
        let has = |peer: &&Daemon| !dig_short(peer.dns, &question).is_empty();
        peers.iter().all(has).then_some(())
    });
}

#[test]
fn a_zone_follows_its_primary_and_becomes_ours() {
    let folder = tempfile::tempdir().unwrap();
    let mut peers = peers(folder.path());
    let tell: Vec<SocketAddr> = peers.iter().map(|peer| peer.dns).collect();
    let primary = Primary::start(folder.path(), &tell, "3600 600 1209600");
    let fetched = peers[1].ask(&["zone", "import", ZONE, "--from", &primary.remote()]);
    assert!(fetched.contains("serial 100"), "{fetched}");
    for peer in &peers {
        until(SPREAD, "all serve it", || {
            (serial(peer.dns) == 100).then_some(())
        });
    }

    // It is told of changes: nobody asks of itself within the hour.
    for name in ["one", "two", "three"] {
        primary.add(name);
        wait_for(&[&peers[0], &peers[1], &peers[2]], name);
    }
    assert_eq!(
        serial(peers[2].dns),
        103,
        "it is shown as the primary has it"
    );
    let history = peers[2].ask(&["zone", "history", ZONE]);
    assert!(
        history.contains("zone transfer from 127.0.0.1"),
        "{history}"
    );

    // An update goes on to the primary, whichever peer gets it; what came of it is the answer.
    let added = format!("zone {ZONE}\nupdate add sent.{ZONE} 60 A 192.0.2.2");
    nsupdate(peers[2].dns, &added).unwrap();
    assert!(!dig_short(primary.address, &["sent.feed.test", "A"]).is_empty());
    wait_for(&[&peers[0], &peers[1], &peers[2]], "sent");
    let twice =
        format!("zone {ZONE}\nprereq nxdomain sent.{ZONE}\nupdate add sent.{ZONE} 60 A 192.0.2.3");
    let refused = nsupdate(peers[0].dns, &twice).unwrap_err();
    assert!(refused.contains("YXDOMAIN"), "{refused}");

    // Who asks for all dies: another one goes on, and is told as well.
    let shown = peers[0].ask(&["zone", "show", ZONE]);
    let asker = shown
        .split("asked by ")
        .nth(1)
        .unwrap()
        .trim_start()
        .chars()
        .next()
        .unwrap();
    let asker = ['a', 'b', 'c']
        .iter()
        .position(|name| *name == asker)
        .unwrap();
    peers[asker].kill();
    let left: Vec<&Daemon> = (0..3).filter(|n| *n != asker).map(|n| &peers[n]).collect();
    primary.add("four");
    wait_for(&left, "four");
    let last = serial(left[0].dns);

    // Ours: the serial goes on, updates stay here, and the primary means nothing any more.
    let refused = left[0].command(&["zone", "set", ZONE, "primaries="]);
    assert!(!refused.status.success());
    let adopted = left[0].ask(&["zone", "adopt", ZONE]);
    assert!(adopted.contains("is ours"), "{adopted}");
    assert!(serial(left[1].dns) > last);
    let own = format!("zone {ZONE}\nupdate add own.{ZONE} 60 A 192.0.2.4");
    nsupdate(left[1].dns, &own).unwrap();
    wait_for(&left, "own");
    assert!(dig_short(primary.address, &["own.feed.test", "A"]).is_empty());
    let refused = left[0].command(&["zone", "refresh", ZONE]);
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(reason.contains("is ours"), "{reason}");
}

#[test]
fn a_zone_whose_primary_is_silent_for_too_long_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers(folder.path());
    // Asked every second, good for five.
    let mut primary = Primary::start(folder.path(), &[], "1 1 5");
    peers[0].ask(&["zone", "import", ZONE, "--from", &primary.remote()]);
    drop(primary.program.take());
    for peer in &peers {
        until(SPREAD, "it expires", || {
            dig(peer.dns, &[ZONE, "SOA"])
                .contains("SERVFAIL")
                .then_some(())
        });
    }
    let listed = peers[1].ask(&["zone", "list"]);
    assert!(listed.contains("expired"), "{listed}");
    primary.begin();
    for peer in &peers {
        until(SPREAD, "it is good again", || {
            (serial(peer.dns) == 100).then_some(())
        });
    }
}

#[test]
fn what_cannot_be_fetched_is_said_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    let primary = Primary::start(folder.path(), &[], "3600 600 1209600");
    let refused = peers[0].command(&["zone", "import", ZONE, "--from", &primary.remote()]);
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && reason.contains("there is no key"),
        "{reason}"
    );
    let listed = peers[1].ask(&["zone", "list"]);
    assert!(listed.contains("awaited"), "{listed}");
    let status = peers[0].ask(&["status"]);
    assert!(status.contains("cannot be fetched"), "{status}");
    // The key comes: nobody has to say anything.
    let key = ["key", "add", "feed.key", "--secret", SECRET];
    peers[2].ask(&key);
    until(SPREAD, "it is fetched", || {
        (serial(peers[1].dns) == 100).then_some(())
    });
    // A zone of ours is not given up by mistake.
    let refused = peers[0].command(&["zone", "import", "example.test", "--from", "127.0.0.1:1"]);
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(reason.contains("--replace"), "{reason}");
    peers[0].ask(&["zone", "remove", ZONE]);
    until(SPREAD, "it is gone everywhere", || {
        dig(peers[2].dns, &[ZONE, "SOA"])
            .contains("REFUSED")
            .then_some(())
    });
}
