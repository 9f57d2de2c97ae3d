//! Real `Router`s on a made-up network: views, each message once or its gap told, and what is said
//! to single peers.
//!
//! `SIMULATION_SEEDS=5000` runs that many seeds, `SIMULATION_SEED=17` only that one.

mod checks;
mod exchange;
mod measured;
mod network;
mod schedule;
mod world;

use overlay::Faults;
use schedule::{Breaks, Run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Seeds of a usual test run.
const SEEDS: u64 = 100;
/// Seeds without faults, and those that measure one fault.
const QUIET_SEEDS: u64 = 16;
/// A planted fault must show within so many.
const FAULT_SEEDS_MAX: u64 = 60;
/// Views that a peer forms in ten seconds behind a hole.
const HOLE_VIEWS_MAX: usize = 2;
/// Issue 4: a killed process is noticed by the end of its canary. A probe, and two floods.
const KILL_NOTICED: Duration = Duration::from_millis(12);

/// Runs the seeds on both cores; says which fail.
fn run_all(breaks: Breaks, few: u64) -> Vec<Run> {
    let seeds = crate::seeds(few);
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new((Vec::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let outcome = catch_unwind(|| schedule::run(seed, breaks, Faults::None));
                    let mut results = results.lock().unwrap();
                    match outcome {
                        Ok(run) => results.0.push(run),
                        Err(_) => {
                            eprintln!("seed {seed} of {breaks:?} failed");
                            results.1.push(seed);
                        }
                    }
                }
            });
        }
    });
    let (runs, mut failed) = results.into_inner().unwrap();
    failed.sort_unstable();
    assert!(failed.is_empty(), "seeds {failed:?} of {seeds:?} fail");
    let slowest = runs.iter().map(|run| run.agreed_after).max();
    let delivered = runs.iter().map(|run| run.delivered).sum::<usize>();
    eprintln!("{seeds:?}: slowest agreement {slowest:?}, {delivered} deliveries");
    runs
}

#[test]
fn views_agree_and_messages_arrive_once_or_their_gap_is_told() {
    let runs = run_all(Breaks::All, SEEDS);
    if runs.len() > 1 {
        let is_idle = |run: &Run| run.delivered == 0;
        assert!(runs.iter().any(is_idle) && !runs.iter().all(is_idle));
        assert!(runs.iter().any(|run| run.gaps > 0));
        assert!(runs.iter().any(|run| run.fetched > 0 && run.failed > 0));
    }
}

#[test]
fn loss_and_single_complaints_deny_nobody_anything() {
    for run in run_all(Breaks::LossAlone, QUIET_SEEDS) {
        assert_eq!(run.gaps, 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3] {
        let digest = || schedule::run(seed, Breaks::All, Faults::None).digest;
        assert_eq!(digest(), digest());
    }
}

#[test]
fn only_the_lossy_link_resends_and_nobody_holds_a_later_packet() {
    for seed in crate::seeds(4) {
        let found = measured::lossy_link(seed, Faults::None);
        eprintln!("seed {seed}: {found:?}");
        assert_eq!(found.resent_elsewhere, 0);
        assert!(found.resent > 0);
        assert!(found.late <= late_bound(found.loss));
    }
}

/// What is late was lost itself, the packet or the one that fetched it again.
fn late_bound(loss: u32) -> u64 {
    u64::from(loss) * 2 + 15
}

#[test]
fn a_killed_peer_is_noticed_by_its_canary() {
    let slowest = crate::seeds(QUIET_SEEDS).map(measured::killed_peer).max();
    assert!(slowest <= Some(KILL_NOTICED), "{slowest:?}");
}

#[test]
fn through_a_hole_for_big_packets_views_stand_still() {
    assert!(measured::hole(Faults::None) <= HOLE_VIEWS_MAX);
}

#[test]
fn a_fetch_from_a_killed_peer_fails_at_once() {
    assert!(measured::orphaned_fetch() <= KILL_NOTICED);
}

#[test]
fn a_restored_backup_is_told_of_its_last_life() {
    assert!(measured::restored_backup());
}

fn check_that_it_is_caught(faults: Faults, breaks: Breaks) {
    let is_caught = |seed: &u64| {
        let run = || schedule::run(*seed, breaks, faults);
        catch_unwind(AssertUnwindSafe(run)).is_err()
    };
    let caught = (0..FAULT_SEEDS_MAX).find(is_caught);
    eprintln!("{faults:?} shows in seed {caught:?}");
    assert!(caught.is_some(), "{faults:?} shows in no seed");
}

#[test]
fn messages_that_are_taken_twice_are_caught() {
    check_that_it_is_caught(Faults::NoDuplicateSuppression, Breaks::All);
}

#[test]
fn views_named_without_their_round_are_caught() {
    check_that_it_is_caught(Faults::IdWithoutRound, Breaks::All);
}

#[test]
fn a_tree_without_repair_is_caught() {
    check_that_it_is_caught(Faults::NoPulls, Breaks::All);
}

#[test]
fn a_complaint_without_majority_is_caught() {
    check_that_it_is_caught(Faults::OneComplaintSuffices, Breaks::LossAlone);
}

#[test]
fn a_later_packet_held_for_an_earlier_one_is_caught() {
    let found = catch_unwind(|| measured::lossy_link(0, Faults::HoldForOrder));
    assert!(found.map_or(true, |found| found.late > late_bound(found.loss)));
}

#[test]
fn a_link_that_is_stated_before_its_push_is_caught() {
    assert!(measured::hole(Faults::ListedBeforePush) > HOLE_VIEWS_MAX * 2);
}
