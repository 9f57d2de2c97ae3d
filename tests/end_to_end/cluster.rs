//! Several real peers: join, update anywhere, kill, catch up.

use crate::zone_argument;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::client::{nsupdate, wait_short};
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;

/// How long a change may take to be seen at all peers on a busy machine.
const SPREAD: Duration = Duration::from_secs(20);

fn first(folder: &Path, more: &[&str]) -> Daemon {
    let zone = zone_argument(folder);
    let args = [
        "--name",
        "a",
        "--zone",
        &zone,
        "--allow-update",
        "127.0.0.0/8",
    ];
    Daemon::start(&folder.join("a"), &[&args, more].concat())
}

fn join(folder: &Path, name: &str, inviter: &Daemon, more: &[&str]) -> Daemon {
    let token = inviter.ask(&["invite"]);
    let args = ["--name", name, "--join", token.trim()];
    Daemon::start(&folder.join(name), &[&args, more].concat())
}

fn add(name: &str, address: &str) -> String {
    format!("zone example.test\nupdate add {name}.example.test 60 A {address}")
}

fn wait_equal(peers: &[&Daemon]) {
    until(SPREAD, "all export the same", || {
        let mut exports = peers
            .iter()
            .map(|peer| peer.ask(&["zone", "export", "example.test"]));
        let first = exports.next().unwrap();
        exports.all(|export| export == first).then_some(())
    });
}

#[test]
fn three_peers_take_updates_anywhere_and_one_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let a = first(folder.path(), &[]);
    let mut b = join(folder.path(), "b", &a, &[]);
    let c = join(folder.path(), "c", &b, &[]);
    for (number, peer) in [&a, &b, &c].into_iter().enumerate() {
        nsupdate(
            peer.dns,
            &add(&format!("n{number}"), &format!("192.0.2.{number}")),
        )
        .unwrap();
    }
    for peer in [&a, &b, &c] {
        for number in 0..3 {
            wait_short(
                peer.dns,
                &[&format!("n{number}.example.test")],
                &format!("192.0.2.{number}\n"),
            );
        }
    }
    nsupdate(b.dns, &add("last", "192.0.2.77")).unwrap();
    b.kill();
    for peer in [&a, &c] {
        wait_short(peer.dns, &["last.example.test"], "192.0.2.77\n");
    }
    nsupdate(c.dns, &add("without-b", "192.0.2.78")).unwrap();
    wait_short(a.dns, &["without-b.example.test"], "192.0.2.78\n");
    b.restart();
    wait_short(b.dns, &["last.example.test"], "192.0.2.77\n");
    wait_short(b.dns, &["without-b.example.test"], "192.0.2.78\n");
    wait_equal(&[&a, &b, &c]);
}

#[test]
fn a_name_that_two_claim_at_two_peers_goes_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let a = first(folder.path(), &[]);
    let b = join(folder.path(), "b", &a, &[]);
    for round in 0..10 {
        let claim = |peer: &Daemon, address: &str| {
            nsupdate(
                peer.dns,
                &format!(
                    "zone example.test\nprereq nxdomain r{round}.example.test\n\
                     update add r{round}.example.test 60 A {address}"
                ),
            )
        };
        let (left, right) = std::thread::scope(|scope| {
            let left = scope.spawn(|| claim(&a, "192.0.2.1"));
            let right = scope.spawn(|| claim(&b, "192.0.2.2"));
            (left.join().unwrap(), right.join().unwrap())
        });
        assert_ne!(left.is_ok(), right.is_ok(), "{left:?} {right:?}");
        let expected = if left.is_ok() {
            "192.0.2.1\n"
        } else {
            "192.0.2.2\n"
        };
        for peer in [&a, &b] {
            wait_short(peer.dns, &[&format!("r{round}.example.test")], expected);
        }
    }
}

#[test]
fn a_chain_carries_updates_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let a = first(folder.path(), &["--link", "b"]);
    let mut b = join(folder.path(), "b", &a, &["--link", "a", "--link", "c"]);
    let c = join(folder.path(), "c", &b, &["--link", "b"]);
    nsupdate(a.dns, &add("over", "192.0.2.1")).unwrap();
    wait_short(c.dns, &["over.example.test"], "192.0.2.1\n");
    b.kill();
    nsupdate(a.dns, &add("left", "192.0.2.2")).unwrap();
    nsupdate(c.dns, &add("right", "192.0.2.3")).unwrap();
    b.restart();
    for peer in [&a, &b, &c] {
        wait_short(peer.dns, &["left.example.test"], "192.0.2.2\n");
        wait_short(peer.dns, &["right.example.test"], "192.0.2.3\n");
    }
    wait_equal(&[&a, &b, &c]);
}

#[test]
fn a_token_works_once() {
    let folder = tempfile::tempdir().unwrap();
    let a = first(folder.path(), &[]);
    let token = a.ask(&["invite"]);
    let _b = Daemon::start(
        &folder.path().join("b"),
        &["--name", "b", "--join", token.trim()],
    );
    let mut c = Daemon::spawn(
        &folder.path().join("c"),
        &["--name", "c", "--join", token.trim()],
    );
    let (code, log) = c.wait_end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("refused"), "{log}");
    until(SPREAD, "the inviter says why", || {
        a.log().contains("another key").then_some(())
    });
}

#[test]
fn a_dead_peer_is_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let a = first(folder.path(), &[]);
    let b = join(folder.path(), "b", &a, &[]);
    let mut c = join(folder.path(), "c", &a, &[]);
    c.kill();
    until(SPREAD, "c is dead to a, and goes", || {
        a.command(&["evict", "c"]).status.success().then_some(())
    });
    for peer in [&a, &b] {
        until(SPREAD, "c is no member", || {
            (!peer.ask(&["peers"]).contains(" c ")).then_some(())
        });
    }
    nsupdate(b.dns, &add("after", "192.0.2.9")).unwrap();
    wait_short(a.dns, &["after.example.test"], "192.0.2.9\n");
}

#[test]
fn an_evicted_peer_that_lives_takes_no_updates_and_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let a = first(folder.path(), &[]);
    let b = join(folder.path(), "b", &a, &[]);
    // One that is alive goes only with a word more.
    let careless = a.command(&["evict", "b"]);
    assert_eq!(careless.status.code(), Some(1));
    let error = String::from_utf8_lossy(&careless.stderr).into_owned();
    assert!(error.contains("b is alive"), "{error}");
    a.ask(&["evict", "b", "--force"]);
    until(SPREAD, "b knows", || {
        b.ask(&["status"]).contains("evicted").then_some(())
    });
    assert!(nsupdate(b.dns, &add("late", "192.0.2.1")).is_err());
    for change in [
        &["evict", "a", "--force"][..],
        &["invite", "--force"],
        &["zone", "remove", "example.test"],
    ] {
        let output = b.command(change);
        assert_eq!(output.status.code(), Some(1), "{change:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("has been evicted"), "{change:?}: {error}");
    }
    assert_eq!(b.log().matches("has been evicted").count(), 1);
}

#[test]
fn of_two_that_run_with_one_key_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let a = first(folder.path(), &[]);
    let mut b = join(folder.path(), "b", &a, &[]);
    b.stop();
    let copy = folder.path().join("copy");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&b.data_dir, &copy])
        .status()
        .unwrap();
    assert!(copied.success());
    b.restart();
    let port = free_port();
    let mut copy = Daemon::spawn(&copy, &["--peer-listen", &format!("127.0.0.1:{port}")]);
    until(SPREAD, "one of the two ends", || {
        (b.has_ended() || copy.has_ended()).then_some(())
    });
    let (mut ended, mut other) = match b.has_ended() {
        true => (b, copy),
        false => (copy, b),
    };
    let (code, log) = ended.wait_end();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("starting again") && log.contains("another process runs with this peer's key"),
        "{log}"
    );
    // With the key to itself the other is a peer like any.
    other.wait_ready();
    nsupdate(other.dns, &add("alone", "192.0.2.9")).unwrap();
    wait_short(a.dns, &["alone.example.test"], "192.0.2.9\n");
}
