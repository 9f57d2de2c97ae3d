//! Acknowledged updates per second through one peer of three, and how long one takes.
//!
//! ```text
//! cargo bench -p tests --bench update                  50, 1 and 100 outstanding, five rounds each
//! cargo bench -p tests --bench update -- --smoke       a moment, to see that it works
//! ```
//! One client keeps N updates outstanding: for each answer it sends the next, and between answers
//! it sleeps in `recv`. Every update must be answered NOERROR; afterwards all three peers must
//! serve the last ones. Beside the rate stands the time on a core that the three peers take for one
//! update, which other load on the machine changes less.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench measures time and stops at what does not hold"
)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tests::cluster::three_peers;
use tests::daemon::Daemon;
use tests::deadline::until;
use tests::figures::{Extent, cpu_time, millis, percentile, spread};
use tests::requestor::{Requestor, add_address, ask_address, name_in_zone};
use zones::Rcode;

/// An answer that takes longer is lost: the bench fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Names that are looked up at all peers after each round.
const LOOKED_UP: usize = 20;

fn main() {
    let extent = Extent::from_args();
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    println!("outstanding  updates/s         p50 ms           p99 ms           CPU µs/update");
    let mut next = 0;
    for outstanding in [50, 1, 100] {
        let mut rounds = Vec::new();
        for _ in 0..extent.choose(1, 5) {
            rounds.push(measure(&peers, outstanding, extent, &mut next));
        }
        let show = |value: fn(&Round) -> f64, digits| {
            spread(&rounds.iter().map(value).collect::<Vec<_>>(), digits)
        };
        println!(
            "{outstanding:>11}  {:<16}  {:<15}  {:<15}  {}",
            show(|round| round.rate, 0),
            show(|round| round.p50, 1),
            show(|round| round.p99, 1),
            show(|round| round.cpu_micros, 0),
        );
    }
}

struct Round {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu_micros: f64,
}

fn measure(peers: &[Daemon; 3], outstanding: usize, extent: Extent, next: &mut usize) -> Round {
    let duration = extent.choose(Duration::from_millis(200), Duration::from_secs(4));
    let cpu = || {
        peers
            .iter()
            .map(|peer| cpu_time(peer.id()))
            .sum::<Duration>()
    };
    let client = Requestor::new(peers[0].dns, PATIENCE);
    let mut sent: BTreeMap<u16, Instant> = BTreeMap::new();
    let mut send = |sent: &mut BTreeMap<u16, Instant>| {
        *next += 1;
        let id = *next as u16;
        let message = add_address(id, &name_in_zone(&label(*next)), address(*next));
        assert!(sent.insert(id, Instant::now()).is_none(), "ids come round");
        client.send(&message);
    };
    let (start, cpu_before) = (Instant::now(), cpu());
    for _ in 0..outstanding {
        send(&mut sent);
    }
    let mut times = Vec::new();
    while !sent.is_empty() {
        let response = client.receive().expect("every update is answered");
        assert_eq!(response.rcode, Rcode::NOERROR);
        let since = sent.remove(&response.id).expect("an answer to an update");
        times.push(since.elapsed());
        if start.elapsed() < duration {
            send(&mut sent);
        }
    }
    let (elapsed, cpu_taken) = (start.elapsed(), cpu() - cpu_before);
    for number in next.saturating_sub(LOOKED_UP) + 1..=*next {
        peers.iter().for_each(|peer| wait_served(peer, number));
    }
    times.sort_unstable();
    Round {
        rate: times.len() as f64 / elapsed.as_secs_f64(),
        p50: millis(percentile(&times, 0.5)),
        p99: millis(percentile(&times, 0.99)),
        cpu_micros: cpu_taken.as_secs_f64() * 1e6 / times.len() as f64,
    }
}

fn wait_served(peer: &Daemon, number: usize) {
    let client = Requestor::new(peer.dns, PATIENCE);
    let question = ask_address(1, &name_in_zone(&label(number)));
    until(PATIENCE, "an acknowledged update is served", || {
        client.send(&question);
        let response = client.receive().expect("queries are answered");
        (response.answers == 1).then_some(())
    });
}

fn label(number: usize) -> String {
    format!("n{number}")
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number as u32)
}
