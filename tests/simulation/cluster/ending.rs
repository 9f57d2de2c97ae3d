//! How every run ends: all that can come back does, all comes to rest, what must hold then holds,
//! and the cluster still works.

use super::feeding;
use super::machine::{Machine, Process};
use super::met::Met;
use super::requests::{self, Kind};
use super::schedule::{evict_a_destroyed, start, wait};
use super::world::{Host, World};
use dnsd::state::State;
use overlay::PeerId;
use replication::Majority;
use std::collections::BTreeSet;
use std::time::Duration;

/// After the last fault; evictions, hold-offs and joins take some of it.
const REST_WITHIN: Duration = Duration::from_secs(120);

/// The whole of it.
pub(crate) fn end(world: &mut World) -> Result<(), String> {
    heal(world)?;
    feeding::tell_all(world)?;
    come_to_rest(world)?;
    check_the_end(world)?;
    check_that_it_answers(world)
}

/// Everything that can come back does.
pub(crate) fn heal(world: &mut World) -> Result<(), String> {
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

pub(crate) fn come_to_rest(world: &mut World) -> Result<(), String> {
    let limit = world.now + REST_WITHIN;
    loop {
        wait(world, 500)?;
        if is_at_rest(world) {
            wait(world, 1_500)?;
            if is_at_rest(world) {
                return Ok(());
            }
        }
        retire_the_evicted(world);
        evict_a_destroyed(world, Majority::Forced)?;
        feeding::go_back_anywhere(world)?;
        if world.now > limit {
            return Err(format!("it does not come to rest: {}", describe(world)));
        }
    }
}

/// Operators end peers that have been told of their eviction, where it is settled.
fn retire_the_evicted(world: &mut World) {
    for at in 0..world.hosts.len() {
        let is_told = world
            .member(at)
            .is_some_and(|machine| machine.wiring.peer.is_evicted());
        let victim = world.hosts[at].id;
        let is_settled = is_told
            && (0..world.hosts.len()).any(|other| {
                let evicts = |machine: &mut Machine| {
                    !machine.wiring.peer.is_evicted()
                        && machine
                            .wiring
                            .peer
                            .replica()
                            .members()
                            .evicted()
                            .contains(&victim)
                };
                world.member(other).is_some_and(evicts)
            });
        if is_settled {
            world.checks.summary.meet(Met::EvictionTold);
            world.kill(at);
            world.hosts[at].is_destroyed = true;
        }
    }
}

fn is_at_rest(world: &World) -> bool {
    let survivors = world.survivors();
    let living = world.hosts.iter().filter(|host| !host.is_destroyed);
    living.into_iter().all(|host| match &host.process {
        Some(Process::Member(machine)) => {
            let peer = &machine.wiring.peer;
            let status = peer.replica().status();
            peer.replica().is_settling()
                && status.view_members == survivors
                && status.members.ids().collect::<BTreeSet<_>>() == survivors
                && status.tentative <= status.settled
                && status.stable == status.settled
                && status.published >= Some(status.tentative)
                && peer.is_idle()
                && peer.is_folded()
                && world.primary.as_ref().is_none_or(|primary| {
                    let settled = peer.settled();
                    primary.has(settled.and_then(|state| state.version(&feeding::origin())))
                })
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
        .filter_map(|(_, machine)| machine.wiring.peer.settled().cloned())
        .collect();
    assert_eq!(states.len(), machines.len(), "all settle at rest");
    let last = states.iter().map(State::at).max();
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
    // Promise 1: what somebody was told stands at everybody, unless all who settled it are gone. Others
    // may hold it below a floor: by them it is never offered.
    for (digest, members) in &world.checks.told {
        let holds = |host: &Host| host.disk.durable.contains(digest);
        if survives(world, members) && !machines.iter().all(|(host, _)| holds(host)) {
            let lacks: Vec<_> = machines
                .iter()
                .filter(|(host, _)| !holds(host))
                .map(|(host, _)| host.id)
                .collect();
            let mut requests = world.requests.iter();
            let number = requests.position(|request| request.digest == *digest);
            return Err(format!(
                "{lacks:?} lack the entry of request {number:?}, which was answered NOERROR"
            ));
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
        // Not what only machines settled that burned.
        .filter(|request| {
            let members = world.checks.told.get(&request.digest);
            members.is_some_and(|members| survives(world, members))
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
    let state = machine
        .expect("it is at rest")
        .wiring
        .peer
        .settled()
        .cloned();
    let state = state.expect("it is at rest");
    let origin = requests::origin(0);
    let version = state.version(&origin).ok_or("the first zone is gone")?;
    for name in deleted {
        let owner = requests::owner(0, &format!("made{name}"));
        if version.node(&owner).is_some() {
            return Err(format!("{owner} was deleted and stands again"));
        }
    }
    Ok(())
}

/// Whether the disk of one of these is left.
fn survives(world: &World, members: &BTreeSet<PeerId>) -> bool {
    let mut hosts = world.hosts.iter();
    hosts.any(|host| !host.is_destroyed && members.contains(&host.id))
}

/// An idle cluster takes requests at once, with an entry and without.
pub(crate) fn check_that_it_answers(world: &mut World) -> Result<(), String> {
    let living: Vec<usize> = (0..world.hosts.len())
        .filter(|at| !world.hosts[*at].is_destroyed)
        .collect();
    let name = world.requests.len() as u64;
    for kind in [Kind::Create { name }, Kind::Delete { name: 7_777_777 }] {
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

pub(crate) fn describe(world: &World) -> String {
    let mut text = format!("{:?} {:?} {:?}", world.profile, world.links, world.now);
    for (at, host) in world.hosts.iter().enumerate() {
        text += &match &host.process {
            None => format!("\n  {at} {}: off, destroyed {}", host.id, host.is_destroyed),
            Some(Process::Joiner(_)) => {
                format!("\n  {at} {}: joining at {}", host.id, host.sponsor)
            }
            Some(Process::Member(machine)) => {
                let status = machine.wiring.peer.replica().status();
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
                    machine.wiring.peer.is_idle(),
                    machine.wiring.peer.is_folded(),
                )
            }
        };
    }
    text
}
