//! Two requestors want one name at two peers at the same moment: one of them gets it.
//!
//! `RACE_ROUNDS` makes it longer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use tests::cluster::three_peers;
use tests::daemon::Daemon;
use tests::deadline::until;
use tests::requestor::{Requestor, ask_address, claim_name, name_in_zone};
use zones::Rcode;

/// Names that both want, in an ordinary run.
const ROUNDS: u16 = 300;
/// Names that are asked for at once.
const AT_ONCE: u16 = 20;
/// A request that has no answer by then is sent again.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long all of one batch may take.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

fn rounds() -> u16 {
    std::env::var("RACE_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

/// Sends until each request has its answer.
fn answers(requestor: &Requestor, requests: &BTreeMap<u16, Vec<u8>>) -> BTreeMap<u16, Rcode> {
    let mut answers = BTreeMap::new();
    until(BATCH_TIMEOUT, "all are answered", || {
        let unanswered = requests.iter().filter(|(id, _)| !answers.contains_key(*id));
        unanswered.for_each(|(_, request)| requestor.send(request));
        while answers.len() < requests.len() {
            let response = requestor.receive()?;
            answers.insert(response.id, response.rcode);
        }
        Some(())
    });
    answers
}

#[test]
fn a_name_that_two_want_at_two_peers_goes_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    let wanted: Vec<u16> = (0..rounds()).collect();
    let claims = |batch: &[u16], last: u8| -> BTreeMap<u16, Vec<u8>> {
        let address = Ipv4Addr::new(192, 0, 2, last);
        let claim = |id: &u16| {
            (
                *id,
                claim_name(*id, &name_in_zone(&format!("n{id}")), address),
            )
        };
        batch.iter().map(claim).collect()
    };
    let mut won = [0, 0];
    for batch in wanted.chunks(usize::from(AT_ONCE)) {
        let (at_a, at_b) = std::thread::scope(|scope| {
            let race = |peer: &Daemon, last| {
                let (server, requests) = (peer.dns, claims(batch, last));
                scope.spawn(move || answers(&Requestor::new(server, PATIENCE), &requests))
            };
            let (a, b) = (race(&peers[0], 1), race(&peers[1], 2));
            (a.join().unwrap(), b.join().unwrap())
        });
        for id in batch {
            match (at_a[id], at_b[id]) {
                (Rcode::NOERROR, Rcode::YXDOMAIN) => won[0] += 1,
                (Rcode::YXDOMAIN, Rcode::NOERROR) => won[1] += 1,
                other => panic!("name {id}: {other:?}"),
            }
        }
    }
    println!("won at the one {}, at the other {}", won[0], won[1]);
    // Nothing is lost, and nothing is there twice.
    let asked: BTreeMap<u16, Vec<u8>> = wanted
        .iter()
        .map(|id| (*id, ask_address(*id, &name_in_zone(&format!("n{id}")))))
        .collect();
    for peer in &peers {
        let requestor = Requestor::new(peer.dns, PATIENCE);
        for question in asked.values() {
            until(BATCH_TIMEOUT, "the name is served", || {
                let response = requestor.try_ask(question)?;
                (response.answers == 1).then_some(())
            });
        }
    }
}
