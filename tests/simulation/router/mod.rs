//! Real `Router`s on a made-up network: views, each message once or its gap told, and what is said
//! to single peers.

mod checks;
mod exchange;
mod measured;
mod schedule;
mod world;

use crate::seeds::{self, outcome, run_all};
use overlay::Faults;
use schedule::Breaks;
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
/// The deadline of profile lan, a heartbeat, and floods over some hops.
const SILENCE_NOTICED: Duration = Duration::from_millis(190);

#[test]
fn views_agree_and_messages_arrive_once_or_their_gap_is_told() {
    let run = |seed| schedule::run(seed, Breaks::All, Faults::None);
    let runs = run_all("router", SEEDS, run);
    let slowest = runs.iter().map(|run| run.agreed_after).max();
    let delivered = runs.iter().map(|run| run.delivered).sum::<usize>();
    eprintln!("slowest agreement {slowest:?}, {delivered} deliveries");
    if seeds::are_usual() {
        let is_idle = |run: &schedule::Run| run.delivered == 0;
        assert!(runs.iter().any(is_idle) && !runs.iter().all(is_idle));
        assert!(runs.iter().any(|run| run.gaps > 0));
        assert!(runs.iter().any(|run| run.fetched > 0 && run.failed > 0));
    }
}

#[test]
fn loss_and_single_complaints_deny_nobody_anything() {
    let run = |seed| schedule::run(seed, Breaks::LossAlone, Faults::None);
    for run in run_all("router-loss", QUIET_SEEDS, run) {
        assert_eq!(run.gaps, 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3] {
        let run = || schedule::run(seed, Breaks::All, Faults::None).map(|run| run.digest);
        assert_eq!(run().unwrap(), run().unwrap());
    }
}

#[test]
fn only_the_lossy_link_resends_and_nobody_holds_a_later_packet() {
    for seed in seeds::seeds(4) {
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
    let slowest = seeds::seeds(QUIET_SEEDS).map(measured::killed_peer).max();
    assert!(slowest <= Some(KILL_NOTICED), "{slowest:?}");
}

#[test]
fn twelve_become_a_ring_and_lose_three_without_another_view() {
    let slowest = seeds::seeds(2).map(measured::ring).max();
    assert!(slowest <= Some(SILENCE_NOTICED), "{slowest:?}");
}

#[test]
fn through_a_hole_for_big_packets_views_stand_still() {
    assert!(measured::hole(Faults::None) <= HOLE_VIEWS_MAX);
}

#[test]
fn a_word_that_was_left_to_links_that_end_comes_by_others() {
    for seed in 0..QUIET_SEEDS {
        let heard = measured::word_left_to_lost_links(seed, Faults::None);
        assert!(
            heard.is_some_and(|after| after <= SILENCE_NOTICED),
            "{seed}: {heard:?}"
        );
        let faults = Faults::NothingForLostLinks;
        assert_eq!(measured::word_left_to_lost_links(seed, faults), None);
    }
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
    let run = |seed| schedule::run(seed, breaks, faults);
    seeds::check_that_it_is_caught(faults, FAULT_SEEDS_MAX, run);
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
    let found = outcome(|| Ok(measured::lossy_link(0, Faults::HoldForOrder)));
    assert!(found.map_or(true, |found| found.late > late_bound(found.loss)));
}

#[test]
fn a_link_that_is_stated_before_its_push_is_caught() {
    assert!(measured::hole(Faults::ListedBeforePush) > HOLE_VIEWS_MAX * 2);
}
