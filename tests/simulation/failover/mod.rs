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
const SEEDS: u64 = 24;
/// Seeds in which no way is ever cut.
const CALM_SEEDS: u64 = 12;
/// Trials of one event.
const TRIALS: u64 = 2;
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
    for seed in [1, 2, 3] {
        let run = || schedule::run(seed, Breaks::All, VipFaults::None).map(|run| run.digest);
        assert_eq!(run(), run());
    }
}

/// Prints what events cost, and checks that none costs more than the models say.
#[test]
fn what_an_event_costs_clients() {
    for profile in [Profile::Lan, Profile::Fast] {
        for event in EVENTS {
            let run =
                |seed| measured::measure(seed, event, profile, Asks::Yes, VipFaults::None).unwrap();
            let figures: Vec<Figures> = seeds::seeds(TRIALS).map(run).collect();
            let unserved = percentiles(figures.iter().map(|f| f.unserved));
            let double = percentiles(figures.iter().map(|f| f.double));
            let moved: usize = figures.iter().map(|f| f.moved).sum();
            let held: usize = figures.iter().map(|f| f.held).sum();
            eprintln!(
                "{profile:?} {event:?}: unserved {unserved}, double {double}, \
                 moved {moved} of {held}"
            );
        }
    }
}

const EVENTS: [Event; 12] = [
    Event::Silent,
    Event::Kill,
    Event::Stop,
    Event::Drain,
    Event::Merge,
    Event::Sleep,
    Event::Nap,
    Event::Hang,
    Event::Deaf,
    Event::Mute,
    Event::Filtered,
    Event::FilteredOneWay,
];

fn percentiles(values: impl Iterator<Item = Duration>) -> String {
    let mut values: Vec<f64> = values.map(|value| value.as_secs_f64() * 1_000.0).collect();
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
    format!("{:.1}/{:.1}", at(0.5), at(0.99))
}

fn check_that_it_is_caught(faults: VipFaults, breaks: Breaks) {
    let run = |seed| schedule::run(seed, breaks, faults);
    seeds::check_that_it_is_caught(faults, FAULT_SEEDS_MAX, run);
}

macro_rules! caught {
    ($($name:ident: $fault:ident, $breaks:ident;)*) => {
        $(#[test]
        fn $name() {
            check_that_it_is_caught(VipFaults::$fault, Breaks::$breaks);
        })*
    };
}

caught! {
    f_freeze: FreezeAtOnce, All;
    f_wanted: ClaimWanted, All;
    f_early: FillEarly, All;
    f_before: TakeBeforeGiven, NoWay;
    f_alone: HolderGivesAlone, All;
    f_unready: LetGoUnready, NoWay;
    f_keep: KeepConflict, All;
    f_ownmapconflict: ConflictByOwnMap, All;
    f_notelling: NoSecondTelling, All;
    f_open: StayOpen, NoWay;
    f_ownmap: OwnMapOnly, All;
    f_veto: Veto, All;
    f_mix: MixEpochs, All;
    f_conval: NoConvalescence, NoWay;
    f_neverask: NeverAsk, All;
    f_unheard: StandUnheard, All;
    f_ownquar: OwnQuarantine, All;
}
