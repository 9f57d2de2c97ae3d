//! A host is lost: others take its VIPs, and never two of those that reach each other.

use crate::stage::{Stage, TAKEOVER};
use std::fs::{self, File};
use std::time::{Duration, Instant};
use tests::deadline::until;
use tests::segment::{Cut, vip, vip6};

/// Each event so often, with whoever holds the first VIP then.
const TRIALS: usize = 3;

/// Strikes the holder, waits for the others, makes it good.
fn check(
    mut strike: impl FnMut(&mut Stage, usize),
    mut make_good: impl FnMut(&mut Stage, usize),
    merges: Merges,
) {
    let mut stage = Stage::with_vips(3, &[vip(0), vip(1), vip6(2)]);
    for _ in 0..TRIALS {
        let prober = stage.probe();
        let host = stage.holder(stage.vips[0]);
        let start = Instant::now();
        strike(&mut stage, host);
        stage.wait_taken_from(host, &prober);
        stage.check_never_two(start);
        let middle = Instant::now();
        make_good(&mut stage, host);
        stage.wait_held();
        stage.wait_served(&prober, &stage.vips);
        if merges == Merges::No {
            stage.check_never_two(middle);
        }
        drop(prober);
    }
}

/// Whether the host holds all VIPs, on an island of its own, until it is back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Merges {
    Yes,
    No,
}

#[test]
fn a_silent_host_is_replaced() {
    check(
        |stage, host| stage.segment.cut(host, Cut::Both),
        |stage, _| stage.segment.heal(),
        Merges::Yes,
    );
}

#[test]
fn a_host_that_cannot_send_is_replaced() {
    check(
        |stage, host| stage.segment.cut(host, Cut::FromHost),
        |stage, _| stage.segment.heal(),
        Merges::Yes,
    );
}

#[test]
fn a_host_that_hears_nothing_is_replaced() {
    check(
        |stage, host| stage.segment.cut(host, Cut::ToHost),
        |stage, _| stage.segment.heal(),
        Merges::Yes,
    );
}

#[test]
fn a_host_without_carrier_is_replaced() {
    check(
        |stage, host| stage.segment.pull_cable(host),
        |stage, host| stage.segment.plug_cable(host),
        Merges::Yes,
    );
}

#[test]
fn a_killed_peer_leaves_no_address_behind() {
    check(
        |stage, host| stage.peers[host].kill(),
        |stage, host| stage.peers[host].restart(),
        Merges::No,
    );
}

#[test]
fn a_killed_peer_that_is_back_at_once_takes_nothing_twice() {
    let mut stage = Stage::with_vips(3, &[vip(0), vip(1), vip6(2)]);
    for _ in 0..TRIALS {
        let prober = stage.probe();
        let host = stage.holder(stage.vips[0]);
        let start = Instant::now();
        stage.peers[host].kill();
        stage.peers[host].restart();
        stage.wait_held();
        stage.wait_served(&prober, &stage.vips);
        stage.check_never_two(start);
    }
}

#[test]
fn a_frozen_peer_loses_its_addresses_and_takes_none_when_it_goes_on() {
    check(
        |stage, host| stage.peers[host].signal("-STOP"),
        |stage, host| stage.peers[host].signal("-CONT"),
        Merges::No,
    );
}

#[test]
fn a_flapping_carrier_ends_with_one_holder() {
    let mut stage = Stage::with_vips(3, &[vip(0), vip(1), vip6(2)]);
    let prober = stage.probe();
    for _ in 0..TRIALS {
        let host = stage.holder(stage.vips[0]);
        for _ in 0..5 {
            stage.segment.flap_carrier(host);
        }
        stage.wait_held();
        stage.wait_served(&prober, &stage.vips);
    }
}

#[test]
fn the_last_host_holds_everything() {
    let mut stage = Stage::with_vips(4, &[vip(0), vip(1), vip(2), vip(3)]);
    let start = Instant::now();
    for host in [0, 2, 3] {
        let prober = stage.probe();
        stage.peers[host].kill();
        stage.wait_taken_from(host, &prober);
    }
    assert!(stage.vips.iter().all(|vip| stage.holder(*vip) == 1));
    stage.check_never_two(start);
}

#[test]
fn what_a_crash_left_is_removed_before_others_hear_of_the_next_life() {
    let mut stage = Stage::with_vips(2, &[vip(0)]);
    stage.peers[1].stop();
    stage.wait_held();
    // As it is when a daemon was killed together with its guard.
    let left = format!("address add {}/32 dev eth0 label eth0:zc\n", vip(7));
    stage.segment.hosts[1].namespace.ip(&left);
    let data = stage.folder.path().join("h1");
    fs::write(data.join("vips.json"), "{}").unwrap();
    // That guard takes a second to end: links are up in a tenth of that.
    let lock = File::create(data.join("vips.lock")).unwrap();
    lock.lock().unwrap();
    let guard = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        drop(lock);
    });
    let before = stage.peers[1].log().len();
    stage.peers[1].restart();
    guard.join().unwrap();
    let log = until(TAKEOVER, "a link is up", || {
        let log = stage.peers[1].log().split_off(before);
        log.contains("link up").then_some(log)
    });
    let removed = log.find("removing what an earlier run left");
    assert!(
        removed.is_some_and(|at| at < log.find("link up").unwrap()),
        "{log}"
    );
}
