//! The fuzz targets on any toolchain: their samples, the committed corpus, and mutations of both.
//!
//! A bounded, seeded part of what libFuzzer does for hours. `FUZZ_RUNS` makes it longer,
//! `FUZZ_SEED` another.
#![allow(clippy::unwrap_used, reason = "a failing input is a failing test")]

use std::fs;
use std::path::Path;
use tests::fuzz::{TARGETS, Target};

/// Mutations of each target in an ordinary run: some seconds in all.
const RUNS: u64 = 20_000;
/// Longer inputs only repeat what shorter ones do.
const INPUT_SIZE_MAX: usize = 4_096;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.samples)();
    assert!(inputs.len() > 2, "{} has samples", target.name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target.name);
    if let Ok(files) = fs::read_dir(folder) {
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        inputs.extend(paths.iter().map(|path| fs::read(path).unwrap()));
    }
    inputs
}

/// A few changes as fuzzers make them: bits, interesting numbers, runs moved, cut and repeated,
/// parts of other inputs.
fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut fastrand::Rng) {
    for _ in 0..random.u8(1..5) {
        let at = random.usize(..=input.len());
        match random.u8(..8) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 if at < input.len() => {
                input[at] = *random
                    .choice(&[0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff])
                    .unwrap();
            }
            3 => input.truncate(at),
            4 => input.insert(at, random.u8(..)),
            5 if at < input.len() => {
                let end = random.usize(at..input.len()) + 1;
                drop(input.drain(at..end.min(at + 40)));
            }
            6 if at < input.len() => {
                let end = (at + random.usize(1..40)).min(input.len());
                let part = input[at..end].to_vec();
                let to = random.usize(..=input.len());
                input.splice(to..to, part);
            }
            _ => {
                let other = &others[random.usize(..others.len())];
                let from = random.usize(..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(INPUT_SIZE_MAX);
}

fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = inputs(target);
    for input in &inputs {
        (target.run)(input);
    }
    let seed = number("FUZZ_SEED", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    for run in 0..number("FUZZ_RUNS", RUNS) {
        let mut input = inputs[random.usize(..inputs.len())].clone();
        mutate(&mut input, &inputs, &mut random);
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(
            outcome.is_ok(),
            "{name}: run {run} of FUZZ_SEED={seed} fails; as a file of tests/fuzz/corpus/{name}: \
             printf '{}'",
            input.escape_ascii()
        );
    }
}

#[test]
fn messages() {
    smoke("message");
}

#[test]
fn names() {
    smoke("name");
}

#[test]
fn zone_files() {
    smoke("zonefile");
}

#[test]
fn configuration_files() {
    smoke("config");
}

#[test]
fn rules_and_scripts_of_updates() {
    smoke("policy");
}

#[test]
fn tokens() {
    smoke("token");
}

#[test]
fn overlay_packets() {
    smoke("overlay");
}

#[test]
fn replication_messages() {
    smoke("replication");
}

#[test]
fn frames_of_the_segment() {
    smoke("vip");
}

#[test]
fn headers_of_proxies() {
    smoke("proxy");
}

#[test]
fn what_is_around_encrypted_requests() {
    smoke("encrypted");
}

#[test]
fn store_rows() {
    smoke("rows");
}

#[test]
fn answers_of_primaries() {
    smoke("transfer_in");
}
