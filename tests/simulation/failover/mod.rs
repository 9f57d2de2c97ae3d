//! Real `Failover`s on real `Router`s: on a made-up network and segment with made-up kernels, the
//! VIPs of every component are announced exactly once.
//!
//! `SIMULATION_TRACE=1` tells a run in words.

mod checks;
mod log;
mod machine;
mod measured;
mod schedule;
mod world;

use crate::seeds::{self, run_all};
use dnsd::vip::failover::VipFaults;
use dnsd::vip::timing::Asks;
use measured::{Event, Figures};
use overlay::Profile;
use schedule::Breaks;
use std::time::Duration;

/// Seeds of a usual test run.
const SEEDS: u64 = 16;
/// Seeds in which no way is ever cut.
const CALM_SEEDS: u64 = 10;
/// Trials of one event.
const TRIALS: u64 = 2;
/// Trials of each event in each size of cluster.
const SIZE_TRIALS: u64 = 1;
/// Deaths and returns.
const RETURN_SEEDS: u64 = 6;
/// A planted fault must show within so many.
const FAULT_SEEDS_MAX: u64 = 60;

#[test]
fn every_vip_is_announced_exactly_once() {
    let run = |seed| schedule::run(seed, Breaks::All, VipFaults::None);
    let runs = run_all("failover", SEEDS, run);
    let sum = |of: fn(&schedule::Run) -> u64| runs.iter().map(of).sum::<u64>();
    eprintln!(
        "{} VIPs taken, {} views, {} conflicts, {} actions; planned after {:?}, at rest after {:?}",
        sum(|run| run.moved),
        sum(|run| run.views),
        sum(|run| run.conflicts),
        sum(|run| run.actions),
        runs.iter().map(|run| run.run_after).max(),
        runs.iter().map(|run| run.rest_after).max(),
    );
}

#[test]
fn no_two_announce_a_vip_while_no_way_is_cut() {
    let run = |seed| schedule::run(seed, Breaks::NoWay, VipFaults::None);
    run_all("failover-calm", CALM_SEEDS, run);
}

#[test]
fn the_same_seed_gives_the_same_trace_of_failover() {
    for seed in [1, 2] {
        let run = || schedule::run(seed, Breaks::All, VipFaults::None).map(|run| run.digest);
        assert_eq!(run(), run());
    }
}

/// Prints what events cost, and checks that none costs much more than the model of the protocol
/// says.
#[test]
fn what_an_event_costs_clients() {
    for (profile, costs) in [(Profile::Lan, LAN), (Profile::Fast, FAST)] {
        for (event, unserved_max, double_max) in costs {
            let run = |seed| {
                let measured = measured::measure(seed, event, profile, Asks::Yes, VipFaults::None);
                measured.unwrap_or_else(|why| panic!("{profile:?} {event:?} seed {seed}: {why}"))
            };
            let figures: Vec<Figures> = seeds::seeds(TRIALS).map(run).collect();
            let unserved = sorted(figures.iter().map(|f| f.unserved));
            let double = sorted(figures.iter().map(|f| f.double));
            eprintln!(
                "{profile:?} {event:?}: unserved {}, double {}, moved {} of {}",
                percentiles(&unserved),
                percentiles(&double),
                figures.iter().map(|f| f.moved).sum::<usize>(),
                figures.iter().map(|f| f.held).sum::<usize>(),
            );
            let is_bounded =
                unserved.last() <= Some(&unserved_max) && double.last() <= Some(&double_max);
            assert!(is_bounded, "{profile:?} {event:?}: {figures:?}");
        }
    }
}

/// Event, milliseconds that a client may be without a VIP, and that two machines may have it.
type Costs = [(Event, f64, f64); 12];

const LAN: Costs = [
    (Event::Silent, 160.0, 0.0),
    (Event::Kill, 15.0, 0.0),
    (Event::Stop, 0.0, 0.0),
    (Event::Drain, 0.0, 0.0),
    (Event::Merge, 0.0, 130.0),
    (Event::Sleep, 160.0, 0.0),
    (Event::Nap, 100.0, 0.0),
    (Event::Hang, 160.0, 0.0),
    (Event::Deaf, 120.0, 0.0),
    (Event::Mute, 160.0, 0.0),
    (Event::Filtered, 0.0, 0.0),
    (Event::FilteredOneWay, 140.0, 0.0),
];

const FAST: Costs = [
    (Event::Silent, 50.0, 0.0),
    (Event::Kill, 12.0, 0.0),
    (Event::Stop, 0.0, 0.0),
    (Event::Drain, 0.0, 0.0),
    (Event::Merge, 0.0, 60.0),
    (Event::Sleep, 50.0, 0.0),
    (Event::Nap, 25.0, 0.0),
    (Event::Hang, 60.0, 0.0),
    (Event::Deaf, 40.0, 0.0),
    (Event::Mute, 50.0, 0.0),
    (Event::Filtered, 0.0, 0.0),
    (Event::FilteredOneWay, 180.0, 0.0),
];

/// The model's costs hold for any size of cluster: these are of three sizes, each with what its
/// longer ways add.
#[test]
fn what_an_event_costs_does_not_grow_with_the_cluster() {
    let events = [
        (Event::Silent, 170.0, 0.0),
        (Event::Kill, 20.0, 0.0),
        (Event::Stop, 0.0, 0.0),
        (Event::Drain, 0.0, 0.0),
        (Event::Merge, 0.0, 140.0),
    ];
    for (peers, (event, unserved_max, double_max)) in [2, 8, 12]
        .into_iter()
        .flat_map(|peers| events.map(|row| (peers, row)))
    {
        let run = |seed| {
            let faults = VipFaults::None;
            let measured =
                measured::measure_of(peers, seed, event, Profile::Lan, Asks::Yes, faults);
            measured.unwrap_or_else(|why| panic!("{peers} {event:?} seed {seed}: {why}"))
        };
        let figures: Vec<Figures> = seeds::seeds(SIZE_TRIALS).map(run).collect();
        let unserved = sorted(figures.iter().map(|f| f.unserved));
        let double = sorted(figures.iter().map(|f| f.double));
        eprintln!(
            "{peers} peers, {event:?}: unserved {}, double {}",
            percentiles(&unserved),
            percentiles(&double)
        );
        let is_bounded =
            unserved.last() <= Some(&unserved_max) && double.last() <= Some(&double_max);
        assert!(is_bounded, "{peers} {event:?}: {figures:?}");
    }
}

fn sorted(values: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut values: Vec<f64> = values.map(|value| value.as_secs_f64() * 1_000.0).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn percentiles(sorted: &[f64]) -> String {
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
    format!(
        "p50 {:.1} p99 {:.1} max {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

#[test]
fn a_death_moves_only_what_the_dead_held_and_a_return_only_its_share() {
    for seed in seeds::seeds(RETURN_SEEDS) {
        let moved = measured::death_and_return(seed);
        moved.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn a_move_waits_for_all_that_lost_the_vip_when_sides_met() {
    for seed in seeds::seeds(2) {
        measured::handed_on_at_once(seed, VipFaults::None)
            .unwrap_or_else(|why| panic!("{seed}: {why}"));
    }
    let run = |seed| measured::handed_on_at_once(seed, VipFaults::HolderGivesAlone);
    seeds::check_that_it_is_caught(VipFaults::HolderGivesAlone, 4, run);
}

#[test]
fn of_two_sides_that_find_a_vip_free_one_takes_it() {
    for seed in seeds::seeds(4) {
        measured::bereft_on_both_sides(seed, VipFaults::None)
            .unwrap_or_else(|why| panic!("{seed}: {why}"));
    }
    let run = |seed| measured::bereft_on_both_sides(seed, VipFaults::IgnoreProbes);
    seeds::check_that_it_is_caught(VipFaults::IgnoreProbes, 4, run);
}

/// A fault that shows by what an event costs.
fn check_that_it_costs(
    faults: VipFaults,
    event: Event,
    asks: Asks,
    is_broken: fn(&Figures) -> bool,
) {
    let measure = |seed, faults| measured::measure(seed, event, Profile::Lan, asks, faults);
    let sound = measure(0, VipFaults::None).unwrap();
    assert!(!is_broken(&sound), "{sound:?}");
    let run = |seed| match measure(seed, faults) {
        Ok(figures) if is_broken(&figures) => Err(format!("{figures:?}")),
        other => other,
    };
    seeds::check_that_it_is_caught(faults, 4, run);
}

#[test]
fn an_unasked_segment_is_caught() {
    check_that_it_costs(VipFaults::NeverAsk, Event::Filtered, Asks::Yes, |figures| {
        figures.double > Duration::ZERO
    });
}

#[test]
fn a_peer_that_stands_though_nobody_hears_it_is_caught() {
    check_that_it_costs(VipFaults::StandUnheard, Event::Mute, Asks::Yes, |figures| {
        figures.kept > 0
    });
}

#[test]
fn a_merge_of_which_clients_do_not_hear_is_caught() {
    let fault = VipFaults::NoSecondTelling;
    check_that_it_costs(fault, Event::Merge, Asks::Yes, |figures| {
        figures.unserved > Duration::from_millis(500)
    });
}

#[test]
fn a_peer_that_leaves_without_closing_is_caught() {
    check_that_it_costs(VipFaults::StayOpen, Event::Stop, Asks::Yes, |figures| {
        figures.unserved > Duration::ZERO
    });
}

#[test]
fn a_vip_that_is_withdrawn_when_it_is_given_is_caught() {
    check_that_it_costs(VipFaults::NoLinger, Event::Drain, Asks::Yes, |figures| {
        figures.unserved > Duration::ZERO
    });
}

#[test]
fn a_peer_that_goes_on_when_it_overslept_is_caught() {
    let fault = VipFaults::NoConvalescence;
    check_that_it_costs(fault, Event::Sleep, Asks::No, |figures| {
        figures.double > Duration::ZERO
    });
}

fn check_that_it_is_caught(faults: VipFaults, breaks: Breaks) {
    let run = |seed| schedule::run(seed, breaks, faults);
    seeds::check_that_it_is_caught(faults, FAULT_SEEDS_MAX, run);
}

#[test]
fn a_claim_that_is_stated_too_early_is_caught() {
    check_that_it_is_caught(VipFaults::FreezeAtOnce, Breaks::All);
}

#[test]
fn a_hole_that_is_filled_too_early_is_caught() {
    check_that_it_is_caught(VipFaults::FillEarly, Breaks::All);
}

#[test]
fn a_vip_that_is_taken_before_it_is_given_is_caught() {
    check_that_it_is_caught(VipFaults::TakeBeforeGiven, Breaks::NoWay);
}

#[test]
fn a_conflict_in_which_both_stay_is_caught() {
    check_that_it_is_caught(VipFaults::KeepConflict, Breaks::All);
}

#[test]
fn plans_from_different_maps_are_caught() {
    check_that_it_is_caught(VipFaults::OwnMapOnly, Breaks::All);
}

#[test]
fn a_sick_peer_that_never_holds_is_caught() {
    check_that_it_is_caught(VipFaults::Veto, Breaks::All);
}

#[test]
fn claims_of_different_epochs_in_one_plan_are_caught() {
    check_that_it_is_caught(VipFaults::MixEpochs, Breaks::All);
}

#[test]
fn plans_with_different_quarantines_are_caught() {
    check_that_it_is_caught(VipFaults::OwnQuarantine, Breaks::All);
}
