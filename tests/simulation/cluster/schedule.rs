//! What happens to a cluster under one seed: it grows, trouble, healing, rest.

use super::Fault;
use super::checks::Summary;
use super::machine::Process;
use super::requests::{Kind, PAIRS, ZONES};
use super::world::{HOSTS_MAX, World};
use overlay::PeerId;
use replication::Majority;
use std::collections::BTreeSet;
use std::time::Duration;

/// A retransmit comes while the first request is surely remembered.
const RETRANSMIT_WITHIN: Duration = Duration::from_secs(3);
/// After the last fault; evictions, hold-offs and joins take some of it.
const REST_WITHIN: Duration = Duration::from_secs(120);

pub(crate) fn run(seed: u64, fault: Fault) -> Result<Summary, String> {
    let mut world = World::new(seed, fault);
    world.birth()?;
    let size = world.random.usize(2..=4);
    grow(&mut world, size)?;
    for _ in 0..world.random.usize(15..60) {
        act(&mut world)?;
    }
    heal(&mut world)?;
    come_to_rest(&mut world)?;
    check_the_end(&mut world)?;
    check_that_it_answers(&mut world)?;
    let mut summary = std::mem::take(&mut world.checks.summary);
    summary.trace = world.trace();
    Ok(summary)
}

fn wait(world: &mut World, millis: u64) -> Result<(), String> {
    world.run_until(world.now + Duration::from_millis(millis))
}

/// Members join one by one; updates go on meanwhile.
fn grow(world: &mut World, size: usize) -> Result<(), String> {
    while world.hosts.len() < size {
        let newcomer = world.hosts.len();
        let limit = world.now + Duration::from_secs(60);
        let mut is_invited = false;
        loop {
            if !is_invited {
                let sponsor = world.random.usize(0..newcomer);
                is_invited = world.invite(sponsor)?;
            }
            wait(world, 200)?;
            request(world)?;
            if world
                .hosts
                .get(newcomer)
                .is_some_and(|host| host.has_joined)
            {
                break;
            }
            if world.now > limit {
                return Err(format!("the cluster does not grow: {}", describe(world)));
            }
        }
    }
    wait(world, 500)
}

fn act(world: &mut World) -> Result<(), String> {
    let count = world.hosts.len();
    let at = world.random.usize(0..count);
    match world.random.u8(0..100) {
        0..40 => {
            for _ in 0..world.random.usize(1..6) {
                request(world)?;
            }
        }
        40..48 => retransmit(world)?,
        48..55 => {
            let side: BTreeSet<usize> = (0..count).filter(|_| world.random.bool()).collect();
            for a in 0..count {
                for b in (0..count).filter(|b| side.contains(&a) != side.contains(b)) {
                    world.fabric.network.cut(a, b);
                }
            }
        }
        55..58 => {
            let other = world.random.usize(0..count);
            world.fabric.network.cut(at, other);
        }
        58..67 => world.fabric.network.join(),
        67..74 => world.kill(at),
        74..84 => start(world, at)?,
        84..86 => {
            // A power cut.
            for at in 0..count {
                if world.random.u8(0..3) > 0 {
                    world.kill(at);
                }
            }
        }
        86..89 => {
            let lasts = Duration::from_millis(world.random.u64(20..1_500));
            world.stall(at, lasts);
        }
        89 | 90 => {
            if count < HOSTS_MAX {
                world.invite(at)?;
            }
        }
        91 => destroy_one(world, at),
        92 => {
            evict_a_destroyed(world, Majority::Needed)?;
        }
        93 | 94 => {
            let names = if world.random.u8(0..3) == 0 { 4_000 } else { 5 };
            world.import(at, ZONES - 1, names)?;
        }
        95 => {
            world.remove_zone(at, ZONES - 1)?;
        }
        96 | 97 => world.hosts[at].skew_millis = world.random.i64(-1_500..1_500),
        _ => {
            let long = [4_000, 12_000, 32_000][world.random.usize(0..3)];
            wait(world, long)?;
        }
    }
    let pause = [5, 30, 200, 800][world.random.usize(0..4)];
    let pause = world.random.u64(0..pause);
    wait(world, pause)
}

fn start(world: &mut World, at: usize) -> Result<(), String> {
    let host = &world.hosts[at];
    if host.process.is_none() && !host.is_destroyed {
        world.start_process(at)?;
    }
    Ok(())
}

/// A random client asks something, at one peer or, for a claim, another one at another.
fn request(world: &mut World) -> Result<(), String> {
    let count = world.hosts.len();
    let at = world.random.usize(0..count);
    let new = world.requests.len() as u64;
    let zone = world.random.u8(0..ZONES);
    let (zone, kind) = match world.random.u8(0..12) {
        0..3 => (0, Kind::Claim { name: new }),
        3..5 => {
            let pair = world.random.u8(0..PAIRS);
            (zone, Kind::Pair { pair })
        }
        5..7 => (0, Kind::Create { name: new }),
        7 | 8 => {
            let made: Vec<u64> = world.requests.iter().filter_map(made).collect();
            match made.is_empty() {
                true => return Ok(()),
                false => {
                    let name = made[world.random.usize(0..made.len())];
                    (0, Kind::Delete { name })
                }
            }
        }
        9..11 => {
            let name = world.random.u8(0..3);
            (zone, Kind::Add { name })
        }
        _ => {
            let name = world.random.u8(0..3);
            (zone, Kind::Clear { name })
        }
    };
    let request = world.new_request(zone, kind);
    if let Kind::Claim { name } = kind {
        let rival = world.new_request(zone, Kind::Claim { name });
        let other = world.random.usize(0..count);
        world.ask(other, rival)?;
    }
    world.ask(at, request)
}

fn made(request: &super::requests::Request) -> Option<u64> {
    match request.kind {
        Kind::Create { name } => Some(name),
        _ => None,
    }
}

/// A client that heard nothing asks again, at whatever peer.
fn retransmit(world: &mut World) -> Result<(), String> {
    let now = world.now;
    let recent: Vec<usize> = (0..world.requests.len())
        .rev()
        .take_while(|request| world.requests[*request].first_sent + RETRANSMIT_WITHIN > now)
        .collect();
    if recent.is_empty() {
        return Ok(());
    }
    let request = recent[world.random.usize(0..recent.len())];
    let at = world.random.usize(0..world.hosts.len());
    world.ask(at, request)
}

/// A machine burns, but never so many that nobody is left, and none that others need to meet.
fn destroy_one(world: &mut World, at: usize) {
    if world.links.is_some() {
        return;
    }
    let left = world.hosts.iter().filter(|host| !host.is_destroyed);
    if left.filter(|host| host.has_joined).count() > 2 && world.hosts[at].has_joined {
        world.kill(at);
        world.hosts[at].is_destroyed = true;
    }
}

/// True if an eviction could be authored.
fn evict_a_destroyed(world: &mut World, majority: Majority) -> Result<bool, String> {
    let survivors = world.survivors();
    for at in 0..world.hosts.len() {
        let Some(machine) = world.ready(at) else {
            continue;
        };
        let members: Vec<PeerId> = machine.peer.replica().members().ids().collect();
        let gone = members.iter().find(|member| !survivors.contains(member));
        if let Some(victim) = gone
            && world.evict(at, *victim, majority)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Everything that can come back does.
fn heal(world: &mut World) -> Result<(), String> {
    world.fabric.network.join();
    world.fabric.network.loss = world.fabric.network.loss.min(20);
    world.disks.stalls = 0;
    for at in 0..world.hosts.len() {
        let host = &world.hosts[at];
        // Who has not joined and whose inviter is gone for good never comes.
        if !host.has_joined && world.hosts[host.sponsor].is_destroyed {
            world.kill(at);
            world.hosts[at].is_destroyed = true;
        }
        start(world, at)?;
    }
    wait(world, 2_000)
}

fn come_to_rest(world: &mut World) -> Result<(), String> {
    let limit = world.now + REST_WITHIN;
    loop {
        wait(world, 500)?;
        if is_at_rest(world) {
            wait(world, 1_500)?;
            if is_at_rest(world) {
                return Ok(());
            }
        }
        evict_a_destroyed(world, Majority::Forced)?;
        if world.now > limit {
            return Err(format!("it does not come to rest: {}", describe(world)));
        }
    }
}

fn is_at_rest(world: &World) -> bool {
    let survivors = world.survivors();
    let living = world.hosts.iter().filter(|host| !host.is_destroyed);
    living.into_iter().all(|host| match &host.process {
        Some(Process::Member(machine)) => {
            let peer = &machine.peer;
            let status = peer.replica().status();
            peer.replica().is_settling()
                && status.view_members == survivors
                && status.members.ids().collect::<BTreeSet<_>>() == survivors
                && status.tentative <= status.settled
                && status.stable == status.settled
                && status.published >= Some(status.tentative)
                && peer.is_idle()
                && peer.is_folded()
        }
        _ => false,
    })
}

fn check_the_end(world: &mut World) -> Result<(), String> {
    let machines: Vec<_> = world
        .hosts
        .iter()
        .filter_map(|host| match &host.process {
            Some(Process::Member(machine)) => Some((host, machine)),
            _ => None,
        })
        .collect();
    let states: Vec<_> = machines
        .iter()
        .filter_map(|(_, machine)| machine.peer.settled().cloned())
        .collect();
    assert_eq!(states.len(), machines.len(), "all settle at rest");
    let last = states.iter().map(dnsd::state::State::at).max();
    let last = last.expect("somebody survives");
    // Promise 2: byte-equal zones, equal serials, equal digests.
    let rows: Vec<_> = states
        .into_iter()
        .map(|mut state| {
            state.reach(last);
            let zones: Vec<_> = state
                .zones()
                .iter()
                .map(|(origin, zone)| {
                    let records = zone.version.as_ref().map(|version| {
                        let records = version
                            .records()
                            .map(|record| tests::zone_text::line(&record));
                        (version.digest(), records.collect::<Vec<_>>())
                    });
                    (origin.clone(), state.serial(origin), records)
                })
                .collect();
            (dnsd::state_rows::encode(&state), zones)
        })
        .collect();
    for other in &rows[1..] {
        if other.1 != rows[0].1 {
            return Err(format!(
                "zones differ at the end: {:?} {:?}",
                rows[0].1, other.1
            ));
        }
        if other.0 != rows[0].0 {
            return Err("policy, counters or remembered requests differ at the end".into());
        }
    }
    // Promise 1: what somebody was told stands at everybody, unless all who held it are gone.
    for digest in &world.checks.told {
        let holds = |host: &super::world::Host| host.disk.durable.contains(digest);
        let survives = machines.iter().any(|(host, _)| holds(host));
        if survives && !machines.iter().all(|(host, _)| holds(host)) {
            let lacks: Vec<_> = machines
                .iter()
                .filter(|(host, _)| !holds(host))
                .map(|(host, _)| host.id)
                .collect();
            return Err(format!("{lacks:?} lack an entry that was answered NOERROR"));
        }
    }
    check_deletes(world)
}

/// Promise 2: deletes do not resurrect. Who saw the name come, and made an entry of its end, ended
/// it for all, unless its coming was asked for again since.
fn check_deletes(world: &mut World) -> Result<(), String> {
    let deleted: Vec<u64> = world
        .requests
        .iter()
        .filter(|request| world.checks.told.contains(&request.digest))
        // Not what only machines held that burned.
        .filter(|request| {
            let mut survivors = world.hosts.iter().filter(|host| !host.is_destroyed);
            survivors.any(|host| host.disk.durable.contains(&request.digest))
        })
        .filter_map(|request| match request.kind {
            Kind::Delete { name } => Some((name, request.first_sent)),
            _ => None,
        })
        .filter(|(name, asked)| {
            let create = &world.requests[*name as usize];
            create.last_sent < *asked
        })
        .map(|(name, _)| name)
        .collect();
    let at = (0..world.hosts.len()).find(|at| !world.hosts[*at].is_destroyed);
    let machine = world.member(at.expect("somebody survives"));
    let state = machine.expect("it is at rest").peer.settled().cloned();
    let state = state.expect("it is at rest");
    let origin = super::requests::origin(0);
    let version = state.version(&origin).ok_or("the first zone is gone")?;
    for name in deleted {
        let owner = super::requests::owner(0, &format!("made{name}"));
        if version.node(&owner).is_some() {
            return Err(format!("{owner} was deleted and stands again"));
        }
    }
    Ok(())
}

/// An idle cluster takes requests at once, with an entry and without.
fn check_that_it_answers(world: &mut World) -> Result<(), String> {
    let living: Vec<usize> = (0..world.hosts.len())
        .filter(|at| !world.hosts[*at].is_destroyed)
        .collect();
    for kind in [
        Kind::Create { name: u64::MAX },
        Kind::Delete { name: 7_777_777 },
    ] {
        let at = living[world.random.usize(0..living.len())];
        let request = world.new_request(0, kind);
        let before = world.checks.summary.answers;
        world.ask(at, request)?;
        wait(world, 2_000)?;
        if world.checks.summary.answers == before {
            return Err(format!(
                "a cluster at rest gave no answer within 2 s: {}",
                describe(world)
            ));
        }
    }
    Ok(())
}

fn describe(world: &World) -> String {
    let mut text = format!("{:?} {:?} {:?}", world.profile, world.links, world.now);
    for (at, host) in world.hosts.iter().enumerate() {
        text += &match &host.process {
            None => format!("\n  {at} {}: off, destroyed {}", host.id, host.is_destroyed),
            Some(Process::Joiner(_)) => {
                format!("\n  {at} {}: joining at {}", host.id, host.sponsor)
            }
            Some(Process::Member(machine)) => {
                let status = machine.peer.replica().status();
                format!(
                    "\n  {at} {}: {:?}, reach {:?}, view {:?}, members {:?}, tentative {:?}, settled \
                     {:?}, stable {:?}, published {:?}, log {}, aside {}, lag {}, waits for {:?}, \
                     idle {}, folded {}",
                    host.id,
                    status.phase,
                    status.reach,
                    status.view_members,
                    status.members.ids().collect::<Vec<_>>(),
                    status.tentative.hybrid,
                    status.settled.hybrid,
                    status.stable.hybrid,
                    status.published.map(|stamp| stamp.hybrid),
                    status.log_len,
                    status.aside_len,
                    status.lag,
                    status.waits_for,
                    machine.peer.is_idle(),
                    machine.peer.is_folded(),
                )
            }
        };
    }
    text
}
