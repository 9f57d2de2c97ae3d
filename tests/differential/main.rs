//! Answers of `dnsd` beside those of BIND, Knot and NSD, each a real process, to the same made-up
//! requests about the same made-up zones.
//!
//! ```text
//! seed ─→ world.rs ─ zone files ─→ dnsd, oracle.rs: BIND, Knot, NSD
//!    └──→ request.rs ─ requests ─→ exchange.rs ─ responses ─→ reply.rs ─→ verdict.rs ─→ tally.rs
//!                                      └ chain.rs                      └ allowed.rs
//! ```
//! The zones of odd seeds are signed. `DIFFERENTIAL_SEEDS=200` makes more worlds, from `DIFFERENTIAL_FIRST_SEED` on;
//! `DIFFERENTIAL_SEED=77` only that one. `DIFFERENTIAL_REQUESTS` is how many requests each gets.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests wait for real processes, and stop at what does not hold"
)]

mod additional;
mod allowed;
mod chain;
mod exchange;
mod malformed;
mod oracle;
mod rdata_text;
mod reply;
mod request;
mod tally;
mod verdict;
mod world;

use crate::exchange::{Channel, Exchange, TOGETHER};
use crate::oracle::{KINDS, Oracle};
use crate::reply::Reply;
use crate::request::Request;
use crate::tally::Tally;
use crate::verdict::Case;
use crate::world::World;
use fastrand::Rng;
use std::fs;
use std::ops::Range;
use std::path::Path;
use tests::daemon::Daemon;
use tests::signer::Signer;
use zones::Name;

/// Worlds of an ordinary run: some seconds in all.
const SEEDS: u64 = 8;
/// Requests about each.
const REQUESTS: u64 = 1_000;
/// In so many worlds everything is met that the allow-list speaks of.
const SEEDS_LONG: u64 = 100;

#[test]
fn answers_are_those_of_other_servers() {
    let mut tally = Tally::default();
    let seeds = seeds();
    for seed in seeds.clone() {
        compare(seed, &mut tally);
    }
    println!("{tally}");
    if number("DIFFERENTIAL_SEED").is_some() {
        println!("{}", tally.dissents());
    }
    let wrong = tally.wrong();
    assert!(wrong.is_empty(), "{wrong}");
    if seeds.end - seeds.start >= SEEDS_LONG {
        assert_eq!(tally.unused(), Vec::<&str>::new(), "allowed, and never met");
    }
}

fn seeds() -> Range<u64> {
    let first = number("DIFFERENTIAL_FIRST_SEED").unwrap_or(0);
    match (number("DIFFERENTIAL_SEED"), number("DIFFERENTIAL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => first..first + count.unwrap_or(SEEDS),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// All servers with the zones of a seed, and all its requests.
fn compare(seed: u64, tally: &mut Tally) {
    let mut random = Rng::with_seed(seed);
    let mut world = World::generate(&mut random);
    let folder = tempfile::tempdir().unwrap();
    if seed % 2 == 1 {
        world.sign(&Signer::new(folder.path().join("keys")), &mut random);
    }
    let dnsd = start_dnsd(&world, &folder.path().join("dnsd"));
    let mut oracles = Oracle::start_all(&world, folder.path());
    let origins: Vec<&Name> = world.zones.iter().map(|zone| &zone.origin).collect();
    let mut channels = vec![Channel::open("dnsd", dnsd.dns, &origins, || {})];
    for oracle in &mut oracles {
        let (name, address) = (format!("{:?}", oracle.kind), oracle.address);
        channels.push(Channel::open(&name, address, &origins, || {
            oracle.check_alive();
        }));
    }
    let mut exchange = Exchange::new(channels);
    let mut left = number("DIFFERENTIAL_REQUESTS").unwrap_or(REQUESTS) as usize;
    while left > 0 {
        let count = left.min(TOGETHER);
        left -= count;
        let requests: Vec<Request> = (0..count)
            .map(|_| Request::generate(&world, &mut random))
            .collect();
        for (request, responses) in requests.iter().zip(exchange.ask(&requests)) {
            let mut replies = responses
                .iter()
                .map(|response| Reply::new(response.as_deref()));
            let ours = replies.next().expect("ours is the first");
            let theirs = replies.zip(1..).map(|(reply, channel)| {
                chain::follow(&world, request, reply, |next| {
                    exchange.ask_one(channel, next)
                })
            });
            let theirs: Vec<_> = KINDS.into_iter().zip(theirs).collect();
            tally.add(
                seed,
                &Case {
                    world: &world,
                    request,
                    ours: &ours,
                    theirs: &theirs,
                },
            );
        }
    }
}

fn start_dnsd(world: &World, folder: &Path) -> Daemon {
    let mut args = Vec::new();
    for (number, zone) in world.zones.iter().enumerate() {
        let path = folder.with_extension(format!("{number}.zone"));
        fs::write(&path, &zone.text).unwrap();
        args.extend([
            "--zone".to_owned(),
            format!("{}={}", zone.origin, path.display()),
        ]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Daemon::start(folder, &args)
}
