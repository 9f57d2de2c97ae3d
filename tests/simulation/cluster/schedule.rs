//! What happens to a cluster by chance under one seed: it grows, then trouble of every kind.

use super::Fault;
use super::checks::Summary;
use super::ending::{describe, end};
use super::requests::{Kind, PAIRS, ZONES};
use super::world::{HOSTS_MAX, World};
use overlay::PeerId;
use replication::Majority;
use std::collections::BTreeSet;
use std::time::Duration;

/// A retransmit comes while the first request is surely remembered.
const RETRANSMIT_WITHIN: Duration = Duration::from_secs(3);

pub(crate) fn run(seed: u64, fault: Fault) -> Result<Summary, String> {
    let mut world = World::new(seed, fault);
    world.birth()?;
    let size = world.random.usize(2..=4);
    grow(&mut world, size)?;
    for _ in 0..world.random.usize(15..60) {
        act(&mut world)?;
    }
    end(&mut world)?;
    let mut summary = std::mem::take(&mut world.checks.summary);
    summary.trace = world.trace();
    Ok(summary)
}

pub(crate) fn wait(world: &mut World, millis: u64) -> Result<(), String> {
    world.run_until(world.now + Duration::from_millis(millis))
}

/// Members join one by one; updates go on meanwhile.
pub(crate) fn grow(world: &mut World, size: usize) -> Result<(), String> {
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

/// One thing happens.
pub(crate) fn act(world: &mut World) -> Result<(), String> {
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

pub(crate) fn start(world: &mut World, at: usize) -> Result<(), String> {
    let host = &world.hosts[at];
    if host.process.is_none() && !host.is_destroyed {
        world.start_process(at)?;
    }
    Ok(())
}

/// A random client asks something, at one peer or, for a claim, another one at another.
pub(crate) fn request(world: &mut World) -> Result<(), String> {
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
pub(crate) fn retransmit(world: &mut World) -> Result<(), String> {
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
pub(crate) fn evict_a_destroyed(world: &mut World, majority: Majority) -> Result<bool, String> {
    let survivors = world.survivors();
    for at in 0..world.hosts.len() {
        let Some(machine) = world.ready(at) else {
            continue;
        };
        let members: Vec<PeerId> = machine.wiring.peer.replica().members().ids().collect();
        let gone = members.iter().find(|member| !survivors.contains(member));
        if let Some(victim) = gone
            && world.evict(at, *victim, majority)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
