//! From an update sent to one peer until all three answer with it.
//!
//! ```text
//! cargo bench -p tests --bench convergence                 3 000 single updates
//! cargo bench -p tests --bench convergence -- --smoke      a moment, to see that it works
//! ```
//! Whoever asks three servers without pause takes the cores on which they work, and measures
//! himself. So the client pauses between two rounds of questions, an eighth of the time since the
//! update and at least 0.1 ms, and asks only peers that have not answered with the update yet. The
//! time of a peer is that at which its answer came: what is printed is too long by up to one pause,
//! never too short. One update is under way at a time, each sent to another peer than the last; the
//! next waits for the acknowledgement and a random moment more, so that no rhythm of the peers'
//! timers is met again and again.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench measures time and stops at what does not hold"
)]

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::cluster::three_peers;
use tests::figures::{Extent, millis, percentile};
use tests::requestor::{Requestor, add_address, ask_address, name_in_zone};
use zones::Rcode;

/// An answer that takes longer is lost: the bench fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Shortest pause between two rounds of questions.
const PAUSE_MIN: Duration = Duration::from_micros(100);
/// Longest random moment between two updates.
const REST_MAX: Duration = Duration::from_millis(4);

fn main() {
    let extent = Extent::from_args();
    let updates = extent.choose(50, 3_000);
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    let clients = peers
        .each_ref()
        .map(|peer| Requestor::new(peer.dns, PATIENCE));
    let requestors = peers
        .each_ref()
        .map(|peer| Requestor::new(peer.dns, PATIENCE));
    let mut random = fastrand::Rng::with_seed(1);
    let (mut first, mut all, mut acknowledged) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..updates {
        let id = number as u16;
        let owner = name_in_zone(&format!("n{number}"));
        let address = Ipv4Addr::from(0x0a00_0000 + number as u32);
        let requestor = &requestors[number % requestors.len()];
        let start = Instant::now();
        requestor.send(&add_address(id, &owner, address));
        let served = ask_until_served(&clients, &ask_address(id, &owner), start);
        first.push(served[0]);
        all.push(served[served.len() - 1]);
        let response = requestor.receive().expect("every update is answered");
        assert_eq!((response.id, response.rcode), (id, Rcode::NOERROR));
        acknowledged.push(start.elapsed());
        sleep(REST_MAX.mul_f64(random.f64()));
    }
    println!("{updates} updates      p50 ms  p99 ms  max ms");
    for (what, mut times) in [
        ("served by one", first),
        ("served by all", all),
        ("acknowledged", acknowledged),
    ] {
        times.sort_unstable();
        let at = |part| millis(percentile(&times, part));
        println!(
            "{what:<16}  {:>6.2}  {:>6.2}  {:>6.2}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// When each of the peers, in the order in which they did, answered with the update.
fn ask_until_served(clients: &[Requestor], question: &[u8], start: Instant) -> Vec<Duration> {
    let mut waiting: Vec<&Requestor> = clients.iter().collect();
    let mut served = Vec::new();
    while !waiting.is_empty() {
        assert!(start.elapsed() < PATIENCE, "an update is served everywhere");
        sleep((start.elapsed() / 8).max(PAUSE_MIN));
        waiting.iter().for_each(|client| client.send(question));
        waiting.retain(|client| {
            let response = client.receive().expect("queries are answered");
            if response.answers == 1 {
                served.push(start.elapsed());
            }
            response.answers == 0
        });
    }
    served
}
