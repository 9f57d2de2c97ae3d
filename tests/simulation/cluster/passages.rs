//! What a cluster is led through by design: what chance meets too seldom. A seed says which
//! passages, when, and at whom; each begins and ends with all peers at rest.

use super::Fault;
use super::checks::Summary;
use super::ending::{check_that_it_answers, come_to_rest, describe, end, heal};
use super::met::Met;
use super::requests::{self, Kind, LEASE, ZONES};
use super::schedule::{grow, request, retransmit, start, wait};
use super::world::{HOSTS_MAX, Trap, World};
use replication::{BlobHash, Majority, NotNow};
use std::time::Duration;

/// What is done, how many members it takes, and who may be linked to whom.
type Passage = (fn(&mut World) -> Result<(), String>, usize, Links);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    /// Somebody goes for good who might be the only way between two others.
    All,
    /// All, or a graph that the seed says.
    Any,
}

const PASSAGES: [Passage; 11] = [
    (import_on_both_sides, 3, Links::Any),
    (lose_a_holder_in_a_fetch, 2, Links::Any),
    (lose_an_author_before_its_entry, 2, Links::Any),
    (let_a_stage_grow_old, 2, Links::Any),
    (evict_while_cut, 3, Links::All),
    (evict_each_other, 3, Links::All),
    (set_clocks, 2, Links::Any),
    (set_one_clock, 3, Links::Any),
    (rest, 2, Links::Any),
    (hang_disks, 2, Links::Any),
    (end_leases, 2, Links::Any),
];

/// Names of a zone whose data is several pieces of a stream.
const MANY: u32 = 4_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Data that no entry names goes after ten minutes.
const ORPHANS_GONE: Duration = Duration::from_secs(11 * 60);

pub(crate) fn run(seed: u64, fault: Fault) -> Result<Summary, String> {
    let mut world = World::new(seed, fault);
    world.calm();
    let first = PASSAGES[seed as usize % PASSAGES.len()];
    let second = PASSAGES[world.random.usize(0..PASSAGES.len())];
    if first.2 == Links::All || second.2 == Links::All {
        world.links = None;
    }
    world.birth()?;
    let size = world.random.usize(first.1..=4);
    grow(&mut world, size)?;
    for (passage, least, _) in [first, second] {
        come_to_rest(&mut world)?;
        if members_by_chance(&mut world).len() >= least {
            passage(&mut world)?;
            heal(&mut world)?;
        }
    }
    end(&mut world)?;
    let mut summary = std::mem::take(&mut world.checks.summary);
    summary.trace = world.trace();
    Ok(summary)
}

/// A large zone is imported on each side of a cut; only one of them has the majority. Then one that
/// is served is imported again on both, by updates and as a whole, while others change it.
fn import_on_both_sides(world: &mut World) -> Result<(), String> {
    let members = members_by_chance(world);
    let (few, many) = members.split_at((members.len() - 1) / 2);
    part(world, few);
    talk(world, 3_000)?;
    for side in [few, many] {
        if let Some(at) = side.first() {
            import(world, *at, MANY)?;
        }
    }
    talk(world, 4_000)?;
    for names in [5, MANY, 3, MANY] {
        for at in [few.last(), many.last()].into_iter().flatten() {
            world.import(*at, 0, names)?;
        }
        talk(world, 1_500)?;
    }
    Ok(())
}

/// Somebody dies while it gives the data of an import: to the members before the entry is made,
/// or to one that was away meanwhile and needs it to hold the entry.
fn lose_a_holder_in_a_fetch(world: &mut World) -> Result<(), String> {
    let members = members_by_chance(world);
    let away = &members[..1];
    let author = *members.last().expect("somebody lives");
    if members.len() > 2 && world.random.bool() {
        part(world, away);
        talk(world, 2_500)?;
        import(world, author, MANY)?;
        talk(world, 2_500)?;
        world.trap = Some(Trap::HolderInFetch);
        world.fabric.network.join();
    } else {
        world.trap = Some(Trap::HolderInFetch);
        import(world, author, MANY)?;
    }
    until(world, 10_000, |world| world.trap.is_none())?;
    talk(world, 6_000)
}

/// An import whose author dies between the data and the entry that names it, or with the entry.
fn lose_an_author_before_its_entry(world: &mut World) -> Result<(), String> {
    let author = members_by_chance(world)[0];
    let data = import(world, author, MANY)?;
    // Each in turn, so that a usual run meets all of them.
    let turn = world.seed / PASSAGES.len() as u64 % 3;
    world.trap = Some(match (turn, data) {
        (0, _) | (_, None) => Trap::AuthorWithData,
        (1, _) => Trap::AuthorOnceHeld(author),
        (_, Some(data)) => Trap::AuthorWithEntry(author, data),
    });
    until(world, 10_000, |world| world.trap.is_none())?;
    let pause = world.random.u64(0..3_000);
    talk(world, pause)?;
    start(world, author)?;
    // Data without an entry is an orphan.
    if turn < 2 || world.random.bool() {
        heal(world)?;
        come_to_rest(world)?;
        let orphans = orphans(world);
        world.run_until(world.now + ORPHANS_GONE)?;
        match self::orphans(world) {
            0 if orphans > 0 => world.checks.summary.meet(Met::OrphanDropped),
            0 => {}
            left => {
                return Err(format!(
                    "{left} pieces of data are kept that no entry names"
                ));
            }
        }
    }
    Ok(())
}

/// A newcomer has its stage and cannot say so, while the sponsor goes on and takes a checkpoint.
fn let_a_stage_grow_old(world: &mut World) -> Result<(), String> {
    let newcomer = world.hosts.len();
    if newcomer == HOSTS_MAX {
        return Ok(());
    }
    let sponsor = members_by_chance(world)[0];
    world.trap = Some(Trap::NewcomerInStage);
    world.invite(sponsor)?;
    until(world, 10_000, |world| world.trap.is_none())?;
    // A connection that is silent for 30 s ends; then the newcomer would begin anew.
    let millis = world.random.u64(20_000..29_000);
    talk(world, millis)?;
    world.fabric.network.join();
    until(world, 60_000, |world| world.hosts[newcomer].has_joined)?;
    match world.hosts[newcomer].has_joined {
        true => Ok(()),
        false => Err(format!("the newcomer never joins: {}", describe(world))),
    }
}

/// A majority evicts a living peer that it does not reach, and is itself cut apart at that moment.
fn evict_while_cut(world: &mut World) -> Result<(), String> {
    let members = members_by_chance(world);
    let (victim, author) = (members[0], members[1]);
    part(world, &[victim]);
    talk(world, 3_000)?;
    evict(world, author, victim)?;
    let pause = world.random.u64(0..6);
    wait(world, pause)?;
    part(world, &[author]);
    let is_pending = world.member(author).is_some_and(|machine| {
        let replica = machine.wiring.peer.replica();
        replica.may_change_members(Majority::Forced) == Err(NotNow::ChangePending)
    });
    if is_pending {
        world.checks.summary.meet(Met::EvictionWhileCut);
    }
    let millis = world.random.u64(0..4_000);
    talk(world, millis)
}

/// The last act of an author that is cut off is an eviction; its victim and the others evict it.
/// Whichever is earlier by its stamp holds.
fn evict_each_other(world: &mut World) -> Result<(), String> {
    let members = members_by_chance(world);
    let (author, victim, other) = (members[0], members[1], members[2]);
    // Ahead or behind by more than the views take; by more than the 15 s for which an unsigned
    // request is remembered, one that is sent again to the other side would be done twice.
    let skew = world.random.i64(5_000..11_000);
    let is_ahead = world.random.u8(0..4) > 0;
    for at in &members {
        world.hosts[*at].skew_millis = 0;
    }
    world.hosts[author].skew_millis = if is_ahead { skew } else { -skew };
    wait(world, 3_000)?;
    part(world, &[victim]);
    talk(world, 3_000)?;
    let is_authored = evict(world, author, victim)?;
    part(world, &[author]);
    let limit = world.now + Duration::from_secs(20);
    let mut is_answered = false;
    while is_authored && !is_answered && world.now < limit {
        wait(world, 100)?;
        is_answered = evict(world, other, author)?;
    }
    talk(world, 1_000)?;
    heal(world)?;
    come_to_rest(world)?;
    if is_answered && !world.hosts[victim].is_destroyed {
        world.checks.summary.meet(Met::EvictionVoid);
    }
    Ok(())
}

/// Wall clocks jump, by minutes and by hours, forward and back; some peers start anew with them.
fn set_clocks(world: &mut World) -> Result<(), String> {
    for _ in 0..world.random.usize(2..6) {
        let at = members_by_chance(world)[0];
        let (millis, met) = match world.random.bool() {
            true => (
                world.random.i64(2 * MINUTE..50 * MINUTE),
                Met::ClockByMinutes,
            ),
            false => (world.random.i64(HOUR..20 * HOUR), Met::ClockByHours),
        };
        world.checks.summary.meet(met);
        let is_back = world.random.bool();
        if is_back {
            world.checks.summary.meet(Met::ClockBack);
        }
        world.hosts[at].skew_millis += if is_back { -millis } else { millis };
        world.tell(at, &|| {
            format!("has its clock set by {millis} ms, back {is_back}")
        });
        talk_anew(world, 2_000)?;
        match world.random.u8(0..4) {
            0 => {
                world.kill(at);
                talk_anew(world, 1_000)?;
                start(world, at)?;
            }
            1 => part(world, &[at]),
            2 => world.fabric.network.join(),
            _ => {}
        }
        let millis = world.random.u64(0..4_000);
        talk_anew(world, millis)?;
    }
    set_right(world)
}

/// Of three clocks or more one is set forward by hours. Its stamps do not follow, and what was
/// answered before is remembered.
fn set_one_clock(world: &mut World) -> Result<(), String> {
    set_right(world)?;
    let members = members_by_chance(world);
    let (at, first, second) = (members[0], members[1], members[2]);
    let name = world.requests.len() as u64;
    let claim = world.new_request(0, Kind::Claim { name });
    world.ask(first, claim)?;
    wait(world, 1_000)?;
    let stands = |world: &mut World| {
        let replica = world.member(at)?.wiring.peer.replica();
        let (view, clocks) = replica.view()?;
        (clocks.len() > 2).then(|| (view, replica.status().tentative.hybrid.0 >> 16))
    };
    let before = stands(world);
    let hours = world.random.i64(1..20);
    world.hosts[at].skew_millis = hours * HOUR;
    world.tell(at, &|| format!("has its clock set by {hours} h"));
    for _ in 0..3 {
        let name = world.requests.len() as u64;
        let create = world.new_request(0, Kind::Create { name });
        world.ask(at, create)?;
        wait(world, 100)?;
    }
    world.ask(second, claim)?;
    talk_anew(world, 2_000)?;
    // With fewer clocks nobody could say which one is off.
    if let (Some((view, before)), Some((view_after, after))) = (before, stands(world))
        && view == view_after
    {
        world.checks.summary.meet(Met::ClockIgnored);
        if after - before > MINUTE as u64 {
            return Err(format!("a clock set by {hours} h drives the stamps of all"));
        }
    }
    set_right(world)
}

/// Nobody asks anything for minutes.
fn rest(world: &mut World) -> Result<(), String> {
    let seconds = [60, 120, 300][world.random.usize(0..3)];
    world.run_until(world.now + Duration::from_secs(seconds))?;
    check_that_it_answers(world)?;
    world.checks.summary.meet(Met::AnsweredAfterIdle);
    Ok(())
}

/// Leases end while the network is cut, or while some are away: each side sees to it, and none is left
/// when all are together again.
fn end_leases(world: &mut World) -> Result<(), String> {
    let members = members_by_chance(world);
    for _ in 0..world.random.usize(1..5) {
        let name = world.requests.len() as u64;
        let lease = world.new_request(0, Kind::Lease { name });
        let at = members[world.random.usize(0..members.len())];
        world.ask(at, lease)?;
        let millis = world.random.u64(0..500);
        talk(world, millis)?;
    }
    wait(world, 500)?;
    let leases = |world: &mut World, at: usize| {
        let machine = world.member(at);
        machine.map(|machine| machine.wiring.peer.now().leases().len())
    };
    let are_held = leases(world, members[0]) > Some(0);
    let (few, many) = members.split_at((members.len() - 1) / 2);
    match few.first() {
        Some(at) if world.random.bool() => world.kill(*at),
        _ => part(world, few),
    }
    talk(world, (LEASE + Duration::from_secs(4)).as_millis() as u64)?;
    let sides = [few.first(), many.first()].into_iter().flatten();
    let have_ended = sides
        .copied()
        .all(|at| leases(world, at).is_none_or(|left| left == 0));
    if are_held && have_ended {
        world.checks.summary.meet(Met::LeaseEndedWhileCut);
    }
    heal(world)?;
    come_to_rest(world)?;
    wait(world, LEASE.as_millis() as u64)?;
    come_to_rest(world)?;
    for at in members_by_chance(world) {
        let machine = world.member(at).expect("it is a member");
        let settled = machine.wiring.peer.settled().expect("all settle at rest");
        let version = settled
            .version(&requests::origin(0))
            .expect("the first zone stays");
        let is_leased = |record: &zones::Record| {
            let first = record.owner.labels().next();
            first.is_some_and(|label| label.starts_with(b"lease"))
        };
        if version.records().any(|record| is_leased(&record)) || !settled.leases().is_empty() {
            return Err("a lease does not end".to_owned());
        }
    }
    Ok(())
}

/// Flushes take seconds; the others answer without these peers, which come back.
fn hang_disks(world: &mut World) -> Result<(), String> {
    let members = members_by_chance(world);
    let count = world.random.usize(1..members.len());
    let (hung, others) = members.split_at(count);
    let lasts = Duration::from_millis(world.random.u64(6_000..12_000));
    let create = |world: &mut World, at: usize| {
        let name = world.requests.len() as u64;
        let asked = world.new_request(0, Kind::Create { name });
        world.ask(at, asked)
    };
    for at in hung {
        world.hosts[*at].disk.hang(lasts);
        // It is this request that the disk is to write.
        create(world, *at)?;
    }
    let ends = world.now + lasts;
    wait(world, 100)?;
    // The limit of a flush, the view without those peers, a round trip and a flush.
    let timing = world.profile.timing();
    let limit = timing.deadline_max.max(Duration::from_secs(1)) + timing.agree_limit;
    let limit = limit + Duration::from_secs(2);
    create(world, others[0])?;
    let before = world.checks.summary.answers;
    world.run_until((world.now + limit).min(ends))?;
    if world.checks.summary.answers > before {
        world.checks.summary.meet(Met::AnsweredBesideHungDisk);
    } else if world.now < ends {
        return Err(format!(
            "a hung disk stops all answers: {}",
            describe(world)
        ));
    }
    world.run_until(ends.max(world.now))?;
    talk(world, 1_000)
}

/// All clocks are right again; that is a step, too, and what was asked before is not asked again.
fn set_right(world: &mut World) -> Result<(), String> {
    for host in &mut world.hosts {
        host.skew_millis = 0;
    }
    talk_anew(world, 3_000)
}

/// Requests of all kinds, some each second, and some again.
fn talk(world: &mut World, millis: u64) -> Result<(), String> {
    let end = world.now + Duration::from_millis(millis);
    while world.now < end {
        if world.random.u8(0..4) == 0 {
            retransmit(world)?;
        }
        request(world)?;
        let pause = Duration::from_millis(world.random.u64(20..500));
        world.run_until((world.now + pause).min(end))?;
    }
    Ok(())
}

/// The same, but nothing again: how long a request is remembered is a matter of stamps, which
/// clocks that are set drive.
fn talk_anew(world: &mut World, millis: u64) -> Result<(), String> {
    let end = world.now + Duration::from_millis(millis);
    while world.now < end {
        request(world)?;
        let pause = Duration::from_millis(world.random.u64(20..500));
        world.run_until((world.now + pause).min(end))?;
    }
    Ok(())
}

/// Cuts some off from all others; who was cut off before is not any more.
fn part(world: &mut World, some: &[usize]) {
    world.fabric.network.join();
    for a in some {
        for b in (0..world.hosts.len()).filter(|b| !some.contains(b)) {
            world.fabric.network.cut(*a, b);
            world.fabric.network.cut(b, *a);
        }
    }
}

fn until(world: &mut World, millis: u64, holds: impl Fn(&World) -> bool) -> Result<(), String> {
    let limit = world.now + Duration::from_millis(millis);
    while !holds(world) && world.now < limit {
        wait(world, 5)?;
    }
    Ok(())
}

/// A zone that nobody has.
fn import(world: &mut World, at: usize, names: u32) -> Result<Option<BlobHash>, String> {
    let zone = ZONES + world.checks.summary.imports as u8;
    world.import(at, zone, names)
}

fn evict(world: &mut World, by: usize, victim: usize) -> Result<bool, String> {
    let victim = world.hosts[victim].id;
    world.evict(by, victim, Majority::Needed)
}

/// Hosts with a member's process, in an order that the seed says.
fn members_by_chance(world: &mut World) -> Vec<usize> {
    let all = 0..world.hosts.len();
    let mut members: Vec<usize> = all.filter(|at| world.member(*at).is_some()).collect();
    world.random.shuffle(&mut members);
    members
}

/// How many blobs lie on disks that no entry names.
fn orphans(world: &mut World) -> usize {
    let mut orphans = 0;
    for at in 0..world.hosts.len() {
        let blobs = world.hosts[at].disk.blobs();
        if let Some(machine) = world.member(at) {
            let replica = machine.wiring.peer.replica();
            orphans += blobs
                .iter()
                .filter(|blob| !replica.needs_blob(**blob))
                .count();
        }
    }
    orphans
}
