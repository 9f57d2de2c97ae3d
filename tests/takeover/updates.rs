//! An update through a VIP that is sent again when the VIP has moved is done once.

use crate::stage::{Stage, TAKEOVER};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tests::cluster::ORIGIN;
use tests::deadline::until;
use tests::requestor::{Requestor, claim_name, name_in_zone};
use tests::segment::{CLIENT, Cut, vip};
use zones::Rcode;

/// The serial that the zone is born with.
const BORN: u32 = 1;
/// A client sends its request again after so long.
const RETRY: Duration = Duration::from_millis(500);

/// Sends the update, strikes the holder before the client hears of it, sends the same again and
/// again until there is an answer. In the end it has become so many entries.
fn check(entries: u32, mut strike: impl FnMut(&mut Stage, usize, &dyn Fn())) {
    let mut stage = Stage::with_vips(3, &[vip(0)]);
    let host = stage.holder(vip(0));
    let server = SocketAddr::from((vip(0), 53));
    let client = Requestor::within(&stage.segment.client, server, RETRY);
    // A client that has never spoken to the VIP would have to ask for its Ethernet address first.
    let hello = claim_name(2, &name_in_zone("hello"), Ipv4Addr::new(192, 0, 2, 2));
    until(TAKEOVER, "the client is known", || {
        client.send(&hello);
        client.receive()
    });
    let other = (host + 1) % 3;
    wait_serial(&stage, other, BORN + 1);
    let owner = name_in_zone("once");
    let update = claim_name(1, &owner, Ipv4Addr::new(192, 0, 2, 1));
    strike(&mut stage, host, &|| client.send(&update));
    let response = until(TAKEOVER, "the update is answered", || {
        client.send(&update);
        client.receive()
    });
    // Done a second time, it would find the name in use.
    assert_eq!(response.rcode, Rcode::NOERROR);
    stage.segment.heal();
    until(TAKEOVER, "all have it once", || {
        let others = (0..3).filter(|peer| *peer != host);
        let mut exports = others.map(|peer| stage.peers[peer].ask(&["zone", "export", ORIGIN]));
        let has_it = |export: String| export.matches("once.example.test.").count() == 1;
        exports.all(has_it).then_some(())
    });
    // Each entry raises the serial, and so does one that finds itself done.
    wait_serial(&stage, other, BORN + 1 + entries);
}

/// Waits for the serial of a peer, which may come a moment after the names.
fn wait_serial(stage: &Stage, peer: usize, expected: u32) {
    let shown = until(TAKEOVER, "the serial has risen", || {
        Some(serial(stage, peer)).filter(|shown| *shown >= expected)
    });
    assert_eq!(shown, expected);
}

fn serial(stage: &Stage, peer: usize) -> u32 {
    let export = stage.peers[peer].ask(&["zone", "export", ORIGIN]);
    let mut words = export.split_whitespace().skip_while(|word| *word != "SOA");
    words.nth(3).unwrap().parse().unwrap()
}

#[test]
fn done_by_the_old_holder_whose_answer_was_lost() {
    check(1, |stage, host, send| {
        stage.segment.cut(CLIENT, Cut::ToHost);
        send();
        let other = (host + 1) % 3;
        until(TAKEOVER, "another peer has the update", || {
            let export = stage.peers[other].ask(&["zone", "export", ORIGIN]);
            export.contains("once.example.test.").then_some(())
        });
        stage.peers[host].kill();
        stage.segment.heal();
    });
}

#[test]
fn known_to_the_old_holder_alone() {
    // One of each side of the cut.
    check(2, |stage, host, send| {
        stage.segment.cut(host, Cut::FromHost);
        send();
        // The client's next ones go to whoever takes the VIP over.
        let others: Vec<usize> = (0..3).filter(|other| *other != host).collect();
        stage.wait_held_by_one_of(&others);
    });
}

#[test]
fn with_the_old_holder_killed_at_once() {
    check(1, |stage, host, send| {
        send();
        stage.peers[host].kill();
    });
}
