//! One peer whose neighbors are words alone, and whose driver does at once what it is asked for.

use super::*;
use crate::vip::kernel::Report;
use crate::vip::map::MapChange;
use crate::vip::timing::VipTiming;
use bytes::Bytes;
use overlay::Profile;
use replication::{Hybrid, Stamp};

const ME: PeerId = PeerId([1; 8]);
const OTHER: PeerId = PeerId([2; 8]);
const LIFE: Incarnation = Incarnation(7);
const MS: Duration = Duration::from_millis(1);

/// A peer that can hold two VIPs, beside one other.
struct Bench {
    failover: Failover,
    now: Instant,
    /// What it has said and asked for since it was last looked at.
    said: Vec<Action>,
}

fn vip(n: u8) -> VipId {
    VipId([192, 0, 2, n].into())
}

fn stamp(at: u64) -> Stamp {
    Stamp {
        hybrid: Hybrid(at),
        author: ME,
    }
}

fn map(count: u8) -> VipMap {
    let mut map = VipMap::default();
    for n in 1..=count {
        let change = MapChange::Add {
            addresses: BTreeSet::from([format!("192.0.2.{n}/24").parse().unwrap()]),
            prefer: None,
            weight: 1,
        };
        map.apply(&change, stamp(n.into())).unwrap();
    }
    map
}

fn view(number: u64, members: &[PeerId]) -> View {
    View {
        number,
        id: ViewId(number),
        members: members.iter().map(|peer| (*peer, LIFE)).collect(),
    }
}

impl Bench {
    fn new() -> Self {
        let now = crate::testing::start();
        let config = VipConfig {
            me: ME,
            name: "me".to_owned(),
            capacity: 1,
            patience: Duration::ZERO,
            timing: VipTiming::of(Profile::Lan),
        };
        let mut bench = Self {
            failover: Failover::new(config, map(2), now),
            now,
            said: Vec::new(),
        };
        bench.settle();
        let fit = [vip(1), vip(2)].map(|vip| (vip, Ok(())));
        bench.report(Report::Can(BTreeMap::from(fit)));
        bench
    }

    /// Alone for so long that it holds both.
    fn holding() -> Self {
        let mut bench = Self::new();
        bench.view(1, &[ME]);
        bench.pass(MS * 5_100);
        assert_eq!(bench.announced(), [vip(1), vip(2)]);
        bench
    }

    fn settle(&mut self) {
        while let Some(action) = self.failover.poll_action() {
            self.said.push(action.clone());
            let report = match action {
                Action::Order(Order::Change(vip, to)) => Report::Is(vip, to),
                Action::Order(Order::Ask(vip)) => Report::Segment(vip, Heard::Nobody),
                _ => continue,
            };
            self.failover.handle_report(report, self.now);
        }
    }

    fn report(&mut self, report: Report) {
        self.failover.handle_report(report, self.now);
        self.settle();
    }

    fn view(&mut self, number: u64, members: &[PeerId]) {
        self.failover.handle_view(&view(number, members), self.now);
        self.settle();
    }

    /// The other peer claims, as one that can hold both.
    fn hear(&mut self, view: u64, epoch: u64, announced: &[VipId]) {
        let claim = Claim {
            view: ViewId(view),
            epoch,
            name: "other".to_owned(),
            announced: announced.iter().copied().collect(),
            can: BTreeSet::from([vip(1), vip(2)]),
            rank: Rank::Well,
            maturity: Maturity::Mature,
            capacity: 1,
            patience: Duration::ZERO,
            digest: map(2).digest(),
            macs: BTreeSet::new(),
            quarantined: BTreeMap::new(),
            ready: BTreeSet::new(),
            given: BTreeSet::new(),
            taken: BTreeSet::new(),
        };
        let (failover, now) = (&mut self.failover, self.now);
        failover.handle_claim(OTHER, LIFE, &claim.encode(), now);
        self.settle();
    }

    /// Lets time go by, with every timer in it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.failover.poll_timeout() {
            if due > end {
                break;
            }
            self.now = due;
            self.failover.handle_timeout(due);
            self.settle();
        }
        self.now = end;
    }

    fn announced(&self) -> Vec<VipId> {
        self.failover.announced().collect()
    }

    fn claims(&mut self) -> Vec<Claim> {
        let said = std::mem::take(&mut self.said).into_iter();
        said.filter_map(|action| match action {
            Action::Claim(body) => Claim::decode(&body),
            _ => None,
        })
        .collect()
    }
}

#[test]
fn a_peer_that_starts_alone_waits_until_it_is_mature() {
    let mut bench = Bench::new();
    bench.view(1, &[ME]);
    bench.pass(MS * 4_900);
    assert_eq!(bench.announced(), []);
    bench.pass(MS * 200);
    assert_eq!(bench.announced(), [vip(1), vip(2)]);
}

#[test]
fn words_of_the_view_in_which_it_overslept_give_a_peer_nothing() {
    let mut bench = Bench::new();
    bench.view(1, &[ME, OTHER]);
    bench.hear(1, 1, &[vip(2)]);
    assert_eq!(bench.announced(), [vip(1)]);
    bench.failover.handle_stall(bench.now);
    bench.settle();
    assert_eq!(bench.announced(), []);
    // The other said this before it went on without this peer.
    bench.hear(1, 9, &[vip(2)]);
    assert_eq!(bench.announced(), []);
    bench.view(2, &[ME]);
    bench.pass(MS * 900);
    assert_eq!(
        bench.announced(),
        [],
        "it is not mature by old words either"
    );
    bench.view(3, &[ME, OTHER]);
    bench.hear(3, 1, &[vip(2)]);
    assert_eq!(bench.announced(), [vip(1)]);
}

#[test]
fn a_peer_whose_link_thread_hangs_takes_nothing_by_what_it_knows() {
    let mut bench = Bench::new();
    bench.view(1, &[ME, OTHER]);
    bench.hear(1, 1, &[vip(2)]);
    assert_eq!(bench.announced(), [vip(1)]);
    bench.failover.set_barred(true, bench.now);
    bench.settle();
    assert_eq!(bench.announced(), []);
    // Old words that the link thread passes on when it wakes.
    bench.failover.handle_stall(bench.now);
    bench.failover.set_barred(false, bench.now);
    bench.settle();
    bench.hear(1, 9, &[vip(2)]);
    assert_eq!(bench.announced(), []);
    bench.view(2, &[ME, OTHER]);
    bench.hear(2, 1, &[vip(2)]);
    assert_eq!(bench.announced(), [vip(1)]);
}

#[test]
fn a_claim_of_another_view_or_epoch_changes_nothing() {
    let mut bench = Bench::new();
    bench.view(2, &[ME, OTHER]);
    bench.hear(2, 5, &[vip(2)]);
    bench.said.clear();
    let plan = bench
        .failover
        .plan()
        .map(|(_, epoch, plan)| (epoch, plan.clone()));
    assert!(plan.is_some());
    bench.hear(1, 9, &[vip(1), vip(2)]);
    bench.hear(3, 9, &[vip(1), vip(2)]);
    bench.hear(2, 4, &[vip(1), vip(2)]);
    let after = bench
        .failover
        .plan()
        .map(|(_, epoch, plan)| (epoch, plan.clone()));
    assert_eq!(after, plan);
    assert_eq!(bench.said, []);
}

#[test]
fn a_peer_that_closes_does_not_keep_the_others_waiting() {
    let mut bench = Bench::new();
    bench.view(1, &[ME, OTHER]);
    bench.hear(1, 1, &[vip(2)]);
    bench.failover.stop(bench.now);
    bench.settle();
    let epoch = bench.claims().last().unwrap().epoch;
    bench.hear(1, epoch, &[vip(2)]);
    let mut other = Claim::decode(&claim_of_other(epoch)).unwrap();
    other.ready.insert(vip(1));
    bench
        .failover
        .handle_claim(OTHER, LIFE, &other.encode(), bench.now);
    bench.settle();
    other.taken.insert(vip(1));
    bench
        .failover
        .handle_claim(OTHER, LIFE, &other.encode(), bench.now);
    bench.settle();
    assert_eq!(bench.failover.state(vip(1)), Kernel::Ready, "it lingers");
    bench.claims();
    bench.view(2, &[ME, OTHER]);
    let claims = bench.claims();
    let said = claims.last().expect("it claims in the new view");
    assert_eq!((said.view, said.can.len()), (ViewId(2), 0));
    assert!(!bench.failover.is_closed());
    bench.pass(MS * 250);
    assert!(bench.failover.is_closed());
}

#[test]
fn a_quarantine_of_a_peer_outside_the_view_calls_for_no_plan() {
    let mut bench = Bench::new();
    bench.view(1, &[ME, OTHER]);
    let mut other = Claim::decode(&claim_of_other(1)).unwrap();
    other.quarantined.insert(PeerId([3; 8]), MS * 10_000);
    let (failover, now) = (&mut bench.failover, bench.now);
    failover.handle_claim(OTHER, LIFE, &other.encode(), now);
    bench.settle();
    bench.pass(MS * 1_000);
    let plan = bench.failover.plan();
    assert_eq!(
        plan.map(|(view, epoch, _)| (view, epoch)),
        Some((ViewId(1), 1))
    );
}

fn claim_of_other(epoch: u64) -> Bytes {
    let mut bench = Bench::new();
    bench.failover.config.me = OTHER;
    bench.view(1, &[OTHER]);
    let mut claim = bench.claims().pop().unwrap();
    claim.epoch = epoch;
    claim.announced.insert(vip(2));
    claim.maturity = Maturity::Mature;
    claim.encode()
}

#[test]
fn a_vip_that_a_slow_driver_gives_lingers_from_then_on() {
    let mut bench = Bench::holding();
    let condition = Condition {
        is_sick: true,
        is_stale: false,
    };
    bench.failover.set_condition(condition, bench.now);
    bench.view(2, &[ME, OTHER]);
    let mut other = Claim::decode(&claim_of_other(1)).unwrap();
    other.view = ViewId(2);
    other.announced.insert(vip(1));
    let (failover, now) = (&mut bench.failover, bench.now);
    failover.handle_claim(OTHER, LIFE, &other.encode(), now);
    let actions: Vec<Action> = std::iter::from_fn(|| failover.poll_action()).collect();
    assert!(actions.contains(&Action::Order(Order::Change(vip(1), Kernel::Ready))));
    bench.pass(MS * 300);
    bench.report(Report::Is(vip(1), Kernel::Ready));
    bench.pass(MS * 190);
    assert_eq!(bench.failover.state(vip(1)), Kernel::Ready);
    bench.pass(MS * 20);
    assert_eq!(bench.failover.state(vip(1)), Kernel::Absent);
}

#[test]
fn what_the_kernel_is_still_to_announce_was_not_given() {
    let mut bench = Bench::holding();
    let condition = Condition {
        is_sick: false,
        is_stale: true,
    };
    bench.failover.set_condition(condition, bench.now);
    bench.view(2, &[ME, OTHER]);
    bench.hear(2, 1, &[]);
    let now = bench.now;
    let failover = &mut bench.failover;
    let mut orders_after = |report: Report| {
        failover.handle_report(report, now);
        let actions = std::iter::from_fn(|| failover.poll_action());
        actions.collect::<Vec<Action>>()
    };
    // Another station claims it and then does not answer: it is withdrawn and announced again.
    let announce = Action::Order(Order::Change(vip(1), Kernel::Announced));
    orders_after(Report::Foreign {
        vip: vip(1),
        theirs: Mac([4; 6]),
        mine: Mac([5; 6]),
    });
    orders_after(Report::Segment(vip(1), Heard::Nobody));
    assert!(orders_after(Report::Is(vip(1), Kernel::Absent)).contains(&announce));
    let mut other = Claim::decode(&claim_of_other(1)).unwrap();
    other.view = ViewId(2);
    other.announced.clear();
    other.ready.insert(vip(1));
    bench
        .failover
        .handle_claim(OTHER, LIFE, &other.encode(), now);
    bench.said.clear();
    let is_given = |claims: Vec<Claim>| claims.iter().any(|claim| claim.given.contains(&vip(1)));
    bench.settle();
    assert!(!is_given(bench.claims()), "the kernel announces it yet");
    bench.report(Report::Is(vip(1), Kernel::Announced));
    assert!(is_given(bench.claims()));
}

#[test]
fn a_station_that_insists_is_not_answered_for_ever() {
    let mut bench = Bench::holding();
    bench.said.clear();
    let foreign = |mine: u8| Report::Foreign {
        vip: vip(1),
        theirs: Mac([5; 6]),
        mine: Mac([mine; 6]),
    };
    for _ in 0..100 {
        bench.report(foreign(4));
        bench.pass(MS * 10);
    }
    let told = |action: &&Action| **action == Action::Order(Order::Announce(vip(1)));
    assert_eq!(bench.said.iter().filter(told).count(), 1);
    bench.pass(MS * 2_000);
    bench.report(foreign(4));
    assert_eq!(bench.said.iter().filter(told).count(), 2);
    assert_eq!(bench.announced(), [vip(1), vip(2)]);
    bench.report(foreign(6));
    let given = Action::Order(Order::Change(vip(1), Kernel::Absent));
    assert!(bench.said.contains(&given), "the lower address keeps it");
}

#[test]
fn an_operator_reads_why_what_another_island_holds_is_not_taken() {
    let mut bench = Bench::new();
    bench.view(1, &[ME, OTHER]);
    bench.hear(1, 1, &[vip(1), vip(2)]);
    let (failover, now) = (&mut bench.failover, bench.now);
    failover.handle_view(&view(2, &[ME]), now);
    while let Some(action) = failover.poll_action() {
        let report = match action {
            Action::Order(Order::Ask(vip)) => Report::Segment(vip, Heard::Server(Mac([4; 6]))),
            Action::Order(Order::Change(vip, to)) => Report::Is(vip, to),
            _ => continue,
        };
        failover.handle_report(report, now);
    }
    let report = failover.report(&|_| String::new(), now);
    for row in report.vips {
        let why = row.unfit.unwrap();
        assert!(why.contains("no link to"), "{why}");
    }
    bench.pass(MS * 5_000);
    assert_eq!(
        bench.announced(),
        [vip(1), vip(2)],
        "nobody answers any more"
    );
    let report = bench.failover.report(&|_| String::new(), bench.now);
    assert!(report.vips.iter().all(|row| row.unfit.is_none()));
}

#[test]
fn vips_that_are_gone_leave_nothing_behind() {
    let mut bench = Bench::holding();
    for at in 10..200 {
        let mut next = bench.failover.map.clone();
        let address = format!("2001:db8::{at:x}");
        let change = MapChange::Add {
            addresses: BTreeSet::from([format!("{address}/64").parse().unwrap()]),
            prefer: None,
            weight: 1,
        };
        next.apply(&change, stamp(at * 2)).unwrap();
        bench.failover.set_map(next.clone(), bench.now);
        bench.settle();
        let gone = VipId(address.parse().unwrap());
        let fit = [vip(1), vip(2), gone].map(|vip| (vip, Ok(())));
        bench.report(Report::Can(BTreeMap::from(fit)));
        assert!(bench.announced().contains(&gone));
        next.apply(&MapChange::Remove(gone), stamp(at * 2 + 1))
            .unwrap();
        bench.failover.set_map(next, bench.now);
        bench.settle();
        bench.pass(MS * 300);
    }
    let failover = &bench.failover;
    for size in [
        failover.vips.len(),
        failover.last_held.len(),
        failover.asked.len(),
        failover.since.len(),
    ] {
        assert!(size <= 3, "{size}");
    }
}

/// What the other peer announced, which is out of reach now, and alone on its side asks for the same.
fn bereft(bench: &mut Bench, theirs: u8) {
    bench.view(1, &[ME, OTHER]);
    bench.hear(1, 1, &[vip(1), vip(2)]);
    bench.report(probed(1, theirs));
    bench.view(2, &[ME]);
}

fn probed(n: u8, theirs: u8) -> Report {
    Report::Probed {
        vip: vip(n),
        theirs: Mac([theirs; 6]),
        mine: Mac([5; 6]),
    }
}

#[test]
fn of_two_that_ask_at_once_the_lower_address_goes_first() {
    let overlap = VipTiming::of(Profile::Lan).ask * 2;
    for (theirs, first) in [(6, vec![vip(1), vip(2)]), (4, vec![vip(2)])] {
        let mut bench = Bench::new();
        bereft(&mut bench, theirs);
        assert_eq!(bench.announced(), first, "{theirs}");
        bench.pass(overlap - MS);
        assert_eq!(bench.announced(), first, "{theirs}");
        bench.pass(MS);
        assert_eq!(bench.announced(), [vip(1), vip(2)], "it did not take it");
    }
    // What members of the view ask for when they suspect one of them is no claim to it.
    let mut bench = Bench::new();
    bench.report(Report::Macs(BTreeSet::from([Mac([4; 6])])));
    bereft(&mut bench, 4);
    assert_eq!(bench.announced(), [vip(1), vip(2)]);
}

#[test]
fn who_asks_all_the_time_does_not_keep_a_vip_from_all() {
    let mut bench = Bench::new();
    bereft(&mut bench, 4);
    for _ in 0..100 {
        bench.report(probed(1, 4));
        bench.pass(MS * 2);
    }
    assert_eq!(bench.announced(), [vip(1), vip(2)]);
}

#[test]
fn what_waits_to_be_announced_is_asked_for_anew_when_another_asks() {
    let mut bench = Bench::new();
    bench.view(1, &[ME, OTHER]);
    bench.hear(1, 1, &[vip(1), vip(2)]);
    bench.failover.handle_view(&view(2, &[ME]), bench.now);
    // The driver is busy with the first one.
    let mut changes = Vec::new();
    let mut asked = Vec::new();
    let mut take_actions = |bench: &mut Bench| {
        while let Some(action) = bench.failover.poll_action() {
            match action {
                Action::Order(Order::Change(vip, Kernel::Announced)) => changes.push(vip),
                Action::Order(Order::Change(vip, to)) => {
                    let failover = &mut bench.failover;
                    failover.handle_report(Report::Is(vip, to), bench.now);
                }
                Action::Order(Order::Ask(vip)) => {
                    asked.push(vip);
                    let report = Report::Segment(vip, Heard::Nobody);
                    bench.failover.handle_report(report, bench.now);
                }
                _ => {}
            }
        }
        (changes.clone(), asked.clone())
    };
    let first = (vec![vip(1)], vec![vip(1), vip(2)]);
    assert_eq!(take_actions(&mut bench), first);
    for n in [1, 2] {
        let failover = &mut bench.failover;
        failover.handle_report(probed(n, 6), bench.now);
    }
    let again = (vec![vip(1)], vec![vip(1), vip(2), vip(2)]);
    assert_eq!(take_actions(&mut bench), again, "only what waits");
}
