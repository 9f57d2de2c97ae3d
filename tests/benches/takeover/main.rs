//! How a VIP moves when its host is lost, to its clients and in the kernels: dnsd beside keepalived.
//!
//! ```text
//! cargo bench -p tests --bench takeover                          ten trials of each event
//! cargo bench -p tests --bench takeover -- --trials 30 --hosts 5 --vips 10 --only dnsd
//! cargo bench -p tests --bench takeover -- --event killed      this event alone
//! cargo bench -p tests --bench takeover -- --false-takeovers 60  a minute under full load instead
//! cargo bench -p tests --bench takeover -- --smoke               a moment, to see that it works
//! ```
//! Needs root: each host is a network namespace on one bridge. A client asks every VIP once a
//! millisecond. A trial strikes the host that holds most VIPs, waits until others answer for all of
//! them, then makes good what was done, and waits until all is calm; both halves are measured.
//! `--only` and `--event` name contenders and events by a part of what is printed of them.
//!
//! *Outage* is the longest time from an answer to the next, less the millisecond: from the last of
//! the old holder to the first of the new one. *Two* is the time that two kernels which reach each
//! other announced a VIP, *none* that in which no kernel did that the client reaches. Figures are
//! of the VIPs that the host held, and then of those that moved; *others* is the longest outage of
//! any other VIP. Two holders of which none lets go are two until the half ends.
//!
//! Run it on a quiet machine, or give other work `chrt --idle 0` and switch autogroups off. Not the
//! bench `chrt --rr`: a daemon that starts then holds its core for 100 ms, and its peers oversleep.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench measures time and stops at what does not hold"
)]

mod contender;
mod dnsd;
mod keepalived;
mod outcome;

use contender::{Contender, Event};
use dnsd::Dnsd;
use keepalived::Keepalived;
use outcome::{Outcome, Sample};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::deadline::until;
use tests::figures::{Extent, millis, refuse_other_args, value_of};
use tests::segment::{Segment, vip};
use tests::watch::kernels::Kernels;
use tests::watch::prober::Prober;
use tests::watch::timeline::Held;

/// Between two questions to one VIP.
const PERIOD: Duration = Duration::from_millis(1);
/// A contender that takes longer for anything fails.
const PATIENCE: Duration = Duration::from_secs(90);
/// No kernel changes for so long: the event is over.
const AFTERMATH: Duration = Duration::from_millis(500);

fn main() {
    refuse_other_args(&[
        "--hosts",
        "--vips",
        "--trials",
        "--false-takeovers",
        "--only",
        "--event",
    ]);
    let extent = Extent::from_args();
    let number = |name, default| value_of(name).map_or(default, |text| text.parse().unwrap());
    let hosts = number("--hosts", 3);
    let vips = number("--vips", extent.choose(3, 10));
    let trials = number("--trials", extent.choose(1, 10));
    let load = value_of("--false-takeovers").map(|text| text.parse().unwrap());
    let only = value_of("--only").unwrap_or_default();
    let events = value_of("--event").unwrap_or_default();
    let vips: Vec<IpAddr> = (0..vips).map(vip).collect();
    let mut outcomes: BTreeMap<(Event, Half), Vec<(String, Outcome)>> = BTreeMap::new();
    for contender in contenders(extent) {
        if !contender.to_string().contains(&only) {
            continue;
        }
        let mut arena = Arena::start(contender, hosts, &vips);
        if let Some(seconds) = load {
            arena.count_false_takeovers(Duration::from_secs(seconds));
            continue;
        }
        for event in arena.contender.events(extent) {
            if !event.what().contains(&events) {
                continue;
            }
            let mut halves = [Outcome::default(), Outcome::default()];
            for _ in 0..trials {
                if arena.trial(event, &mut halves) == Calm::Never {
                    println!(
                        "{:<18}  has no {:?} of calm in {PATIENCE:?}",
                        arena.name,
                        arena.contender.calm()
                    );
                    break;
                }
            }
            if halves[0].samples.is_empty() {
                continue;
            }
            for (half, outcome) in [Half::Struck, Half::MadeGood].into_iter().zip(halves) {
                let what = half.of(event);
                println!("{:<18}  {what:<24}  {outcome}", arena.name);
                let of_event = outcomes.entry((event, half)).or_default();
                of_event.push((arena.name.clone(), outcome));
            }
        }
    }
    let setting = format!("{hosts} hosts, {} VIPs, {trials} trials", vips.len());
    outcome::print_rows(&setting, &outcomes);
}

fn contenders(extent: Extent) -> Vec<Box<dyn Contender>> {
    let profiles = extent.choose(&["lan"][..], &["lan", "fast"]);
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    for profile in profiles {
        contenders.push(Box::new(Dnsd::new(profile)));
    }
    for advert in extent.choose(&[100][..], &[1000, 100, 10]) {
        contenders.push(Box::new(Keepalived::new(Duration::from_millis(*advert))));
    }
    contenders
}

/// The two halves of a trial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Half {
    /// The host is lost.
    Struck,
    /// It is back.
    MadeGood,
}

impl Half {
    fn of(self, event: Event) -> &'static str {
        match self {
            Self::Struck => event.what(),
            Self::MadeGood => event.remedy(),
        }
    }
}

/// Whether VIPs came to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Calm {
    /// Each has one holder, and nothing moves.
    Is,
    /// Not in time: false take-overs never end.
    Never,
}

/// One contender on a segment, and who watches it.
struct Arena {
    name: String,
    contender: Box<dyn Contender>,
    kernels: Kernels,
    segment: Segment,
    vips: Vec<IpAddr>,
    began: Instant,
}

impl Arena {
    fn start(mut contender: Box<dyn Contender>, hosts: usize, vips: &[IpAddr]) -> Self {
        let segment = Segment::new(hosts);
        let kernels = Kernels::watch(&segment, vips);
        contender.start(&segment, vips);
        Self {
            name: contender.to_string(),
            contender,
            kernels,
            segment,
            vips: vips.to_vec(),
            began: Instant::now(),
        }
    }

    /// One event and its remedy.
    fn trial(&mut self, event: Event, halves: &mut [Outcome; 2]) -> Calm {
        let prober = Prober::start(&self.segment, &self.vips, PERIOD);
        if self.wait_calm(&prober, self.began) == Calm::Never {
            return Calm::Never;
        }
        let victim = self.busiest_host();
        let held_before: Vec<IpAddr> = self.held_by(victim);
        let start = Instant::now();
        self.strike(event, victim);
        self.wait_taken_over(&prober, victim);
        let middle = Instant::now();
        let concerned = |vip, _: &Held| held_before.contains(&vip);
        self.measure(prober, concerned, start..middle, &mut halves[0]);
        let prober = Prober::start(&self.segment, &self.vips, PERIOD);
        until(PATIENCE, "questions are answered", || {
            self.all(|vip| prober.server(vip).is_some())
        });
        let middle = Instant::now();
        self.make_good(event, victim);
        let calm = self.wait_calm(&prober, middle);
        let moved = |_, held: &Held| held.takes + held.releases > 0;
        self.measure(prober, moved, middle..Instant::now(), &mut halves[1]);
        calm
    }

    /// Counts how often a VIP is taken while the cores are busy and no host is lost.
    fn count_false_takeovers(&mut self, time: Duration) {
        let prober = Prober::start(&self.segment, &self.vips, PERIOD);
        let calm = self.wait_calm(&prober, self.began);
        drop(prober);
        assert_eq!(calm, Calm::Is, "without load there is no false take");
        let cores = std::thread::available_parallelism().unwrap().get();
        let busy: Vec<Busy> = (0..2 * cores).map(|_| Busy::start()).collect();
        let start = Instant::now();
        // This is how long is looked, and no wait for anything.
        std::thread::sleep(time);
        let end = Instant::now();
        drop(busy);
        let (mut takes, mut by_two, mut by_none) = (0, Duration::ZERO, Duration::ZERO);
        for vip in &self.vips {
            let held = self.kernels.held(&self.segment, *vip, start, end);
            takes += held.takes;
            by_two += held.by_two;
            by_none += held.by_none;
        }
        println!(
            "{:<18}  {takes} false takes in {time:?} of full load; sums over {} VIPs: two {:.0} ms, none {:.0} ms",
            self.name,
            self.vips.len(),
            millis(by_two),
            millis(by_none)
        );
    }

    fn strike(&mut self, event: Event, host: usize) {
        match event {
            Event::Silent => self.segment.cut(host, tests::segment::Cut::Both),
            Event::Cable => self.segment.pull_cable(host),
            _ => self.contender.strike(event, host),
        }
    }

    fn make_good(&mut self, event: Event, host: usize) {
        match event {
            Event::Silent => self.segment.heal(),
            Event::Cable => self.segment.plug_cable(host),
            _ => self.contender.make_good(event, host),
        }
    }

    /// All VIPs have one holder, who answers, and nothing has moved for long since then.
    fn wait_calm(&self, prober: &Prober, since: Instant) -> Calm {
        let reach = self.segment.reach_of_client();
        let calm = self.contender.calm();
        let start = Instant::now();
        until(2 * PATIENCE, "it is calm, or is not in time", || {
            if start.elapsed() > PATIENCE {
                return Some(Calm::Never);
            }
            let last = self.kernels.last_change().max(Some(since))?;
            let is_calm = last.elapsed() > calm;
            let holds = |vip| {
                let holder = self.kernels.holder(vip, &reach);
                holder.is_some() && holder == prober.server(vip)
            };
            self.all(holds).filter(|()| is_calm).map(|()| Calm::Is)
        })
    }

    /// Others than the victim answer for all VIPs.
    fn wait_taken_over(&self, prober: &Prober, victim: usize) {
        let reach = self.segment.reach_of_client();
        until(
            PATIENCE,
            &format!("others of {} take over", self.name),
            || {
                let is_over = self.kernels.last_change()?.elapsed() > AFTERMATH;
                let serves = |server: usize| server != victim && reach.contains(&server);
                self.all(|vip| prober.server(vip).is_some_and(serves))
                    .filter(|()| is_over)
            },
        );
    }

    fn all(&self, holds: impl FnMut(IpAddr) -> bool) -> Option<()> {
        self.vips.iter().copied().all(holds).then_some(())
    }

    fn held_by(&self, host: usize) -> Vec<IpAddr> {
        let vips = self.vips.iter().copied();
        vips.filter(|vip| self.kernels.announcers(*vip).contains(&host))
            .collect()
    }

    fn busiest_host(&self) -> usize {
        let hosts = 0..self.segment.hosts.len();
        hosts.max_by_key(|host| self.held_by(*host).len()).unwrap()
    }

    fn measure(
        &self,
        prober: Prober,
        is_concerned: impl Fn(IpAddr, &Held) -> bool,
        time: Range<Instant>,
        outcome: &mut Outcome,
    ) {
        let log = prober.stop();
        outcome.left_out += log.left_out;
        for vip in &self.vips {
            let outage = log.outage(*vip, time.start, PERIOD);
            let held = self.kernels.held(&self.segment, *vip, time.start, time.end);
            if is_concerned(*vip, &held) {
                outcome.samples.push(Sample { outage, held });
            } else {
                outcome.others = outcome.others.max(outage.silence);
            }
        }
    }
}

/// A process that takes a core; ended when it is dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "while :; do :; done"]);
        Self(shell.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
