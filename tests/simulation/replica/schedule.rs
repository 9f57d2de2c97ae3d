//! What happens to a cluster under one seed: trouble, then healing, then rest.

use super::Fault;
use super::checks::Summary;
use super::cluster::{Cluster, Place};
use super::fold::{Change, Request};
use overlay::PeerId;
use replication::{Digest, Majority, Phase};
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) fn run(seed: u64, fault: Fault) -> Result<Summary, String> {
    let mut cluster = Cluster::new(seed, fault);
    cluster.birth();
    let size = cluster.random.usize(2..=5);
    let mut asked: Vec<(Request, Digest)> = Vec::new();

    grow(&mut cluster, size, &mut asked)?;
    let actions = cluster.random.usize(20..120);
    for _ in 0..actions {
        act(&mut cluster, &mut asked)?;
    }
    heal(&mut cluster)?;
    come_to_rest(&mut cluster)?;
    check_the_end(&cluster)?;
    // An idle cluster takes a request at once, with an entry and without.
    for (request, _) in [
        asked_now(&mut cluster, &mut asked),
        asked_now(&mut cluster, &mut asked),
    ] {
        let live = cluster.live();
        let at = live[cluster.random.usize(0..live.len())];
        let digest = cluster.new_digest();
        cluster.request(at, request, digest)?;
        let limit = cluster.time + Duration::from_secs(2);
        cluster.run_until(limit)?;
        if cluster.life(at).waiting() > 0 {
            return Err("an idle cluster at rest gave no answer within 2 s".into());
        }
    }
    Ok(cluster.checks.summary)
}

/// Members join one by one; updates go on meanwhile.
fn grow(
    cluster: &mut Cluster,
    size: usize,
    asked: &mut Vec<(Request, Digest)>,
) -> Result<(), String> {
    let limit = cluster.time + Duration::from_secs(120);
    while cluster.peers.len() < size {
        wait(cluster, 200)?;
        if cluster.joins.is_empty() {
            cluster.begin_join(0, Majority::Needed);
        }
        cluster.advance_joins(0)?;
        cluster.drain(0)?;
        request(cluster, asked)?;
        if cluster.time > limit {
            return Err(format!("the cluster does not grow: {}", describe(cluster)));
        }
    }
    wait(cluster, 500)
}

fn act(cluster: &mut Cluster, asked: &mut Vec<(Request, Digest)>) -> Result<(), String> {
    let at = cluster.random.usize(0..cluster.peers.len());
    match cluster.random.u8(0..100) {
        0..50 => {
            for _ in 0..cluster.random.usize(1..6) {
                request(cluster, asked)?;
            }
        }
        50..60 => {
            // A retransmit, at whatever peer.
            if !asked.is_empty() {
                let (request, digest) = asked[cluster.random.usize(0..asked.len())];
                cluster.request(at, request, digest)?;
            }
        }
        60..66 => {
            let sides = cluster.random.u8(2..4);
            for side in &mut cluster.side {
                *side = cluster.random.u8(0..sides);
            }
            cluster.connectivity_changed();
        }
        66..72 => unite(cluster),
        72..77 => {
            let whom = cluster.random.usize(0..cluster.peers.len());
            let time = Duration::from_millis(cluster.random.u64(10..400));
            if at != whom {
                cluster.suspect(at, whom, time);
            }
        }
        77..84 => cluster.crash(at),
        84..91 => {
            if cluster.peers[at].life.is_none() && !cluster.peers[at].destroyed {
                cluster.start(at);
            }
        }
        91..93 => {
            // All at once: a power cut.
            for at in 0..cluster.peers.len() {
                if cluster.random.u8(0..3) > 0 {
                    cluster.crash(at);
                }
            }
        }
        93..95 => {
            if cluster.peers.len() < PEERS_MAX && cluster.joins.is_empty() {
                cluster.begin_join(at, Majority::Needed);
                cluster.advance_joins(at)?;
                if cluster.peers[at].life.is_some() {
                    cluster.drain(at)?;
                }
            }
        }
        95 => destroy_one(cluster, at),
        96 => evict_a_destroyed(cluster, Majority::Needed)?,
        97 => cluster.write_checkpoint(at)?,
        98 => cluster.peers[at].skew_millis = cluster.random.i64(-1_500..1_500),
        _ => wait(cluster, 6_000)?,
    }
    for place in 0..cluster.peers.len() {
        cluster.advance_joins(place)?;
        if cluster.peers[place].life.is_some() {
            cluster.drain(place)?;
        }
    }
    let pause = [5, 30, 200, 800][cluster.random.usize(0..4)];
    let pause = cluster.random.u64(0..pause);
    wait(cluster, pause)
}

fn asked_now(cluster: &mut Cluster, asked: &mut Vec<(Request, Digest)>) -> (Request, Digest) {
    let value = cluster.random.u64(0..1_000_000);
    let change = match cluster.random.u8(0..4) {
        0 | 1 => Change::AddIfAbsent(value),
        2 => Change::Set(value),
        _ => Change::Delete,
    };
    let request = Request {
        zone: cluster.random.u8(0..2),
        name: cluster.random.u8(0..4),
        change,
    };
    let digest = cluster.new_digest();
    asked.push((request, digest));
    (request, digest)
}

fn request(cluster: &mut Cluster, asked: &mut Vec<(Request, Digest)>) -> Result<(), String> {
    let (request, digest) = asked_now(cluster, asked);
    let at = cluster.random.usize(0..cluster.peers.len());
    cluster.request(at, request, digest)
}

fn unite(cluster: &mut Cluster) {
    cluster.side.fill(0);
    cluster.connectivity_changed();
}

/// A disk is lost, at most of a minority, and never of a peer that alone was told something.
fn destroy_one(cluster: &mut Cluster, at: Place) {
    let left = cluster.peers.iter().filter(|peer| !peer.destroyed).count();
    if left > 2 && !cluster.peers[at].destroyed {
        cluster.crash(at);
        cluster.peers[at].destroyed = true;
    }
}

fn evict_a_destroyed(cluster: &mut Cluster, majority: Majority) -> Result<(), String> {
    let gone: Vec<PeerId> = cluster
        .peers
        .iter()
        .filter(|peer| peer.destroyed)
        .map(|peer| peer.id)
        .collect();
    let named = cluster.living_and_named();
    for at in cluster.live() {
        let (wall, now) = (cluster.wall(at), cluster.now());
        let members: BTreeSet<PeerId> = cluster.life(at).replica.members().ids().collect();
        let dangling = members.iter().find(|member| {
            gone.contains(member) || majority == Majority::Forced && !named.contains(member)
        });
        if let Some(victim) = dangling {
            let victim = *victim;
            let evicted = cluster
                .life(at)
                .replica
                .author_evict(victim, majority, wall, now);
            cluster.drain(at)?;
            if evicted.is_ok() {
                cluster.checks.summary.evictions += 1;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Everything that can come back does.
fn heal(cluster: &mut Cluster) -> Result<(), String> {
    cluster.weather.loss_percent = 0;
    cluster.weather.stall_percent = 0;
    cluster.joins.clear();
    for at in 0..cluster.peers.len() {
        if cluster.peers[at].life.is_none() && !cluster.peers[at].destroyed {
            cluster.start(at);
        }
    }
    unite(cluster);
    wait(cluster, 2_000)
}

fn come_to_rest(cluster: &mut Cluster) -> Result<(), String> {
    let limit = cluster.time + REST_WITHIN;
    loop {
        wait(cluster, 500)?;
        if is_at_rest(cluster) {
            wait(cluster, 1_500)?;
            if is_at_rest(cluster) {
                return Ok(());
            }
        }
        evict_a_destroyed(cluster, Majority::Forced)?;
        if cluster.time > limit {
            return Err(format!("it does not come to rest: {}", describe(cluster)));
        }
    }
}

fn is_at_rest(cluster: &Cluster) -> bool {
    let named = cluster.living_and_named();
    cluster
        .peers
        .iter()
        .filter(|peer| !peer.destroyed)
        .all(|peer| {
            peer.life.as_ref().is_some_and(|life| {
                let status = life.replica.status();
                life.replica.is_settling()
                    && status.view_members == named
                    && status.members.ids().collect::<BTreeSet<_>>() == named
                    && status.tentative <= status.settled
                    && status.stable == status.settled
                    && life.waiting() == 0
            })
        })
}

fn check_the_end(cluster: &Cluster) -> Result<(), String> {
    let lives: Vec<_> = cluster
        .peers
        .iter()
        .filter_map(|peer| peer.life.as_ref())
        .collect();
    let first = lives[0].settled_version();
    for life in &lives {
        // Where the checkpoint stands differs; what the versions say does not.
        let version = life.settled_version();
        if version.serials() != first.serials() {
            return Err("settled zones differ at the end".into());
        }
        if version.position != first.position || version.digests != first.digests {
            return Err("positions or digests differ at the end".into());
        }
    }
    // Promise 1: what somebody was told is there, unless all who held it are destroyed.
    for (entry, holders) in &cluster.checks.told {
        let survivor = cluster
            .peers
            .iter()
            .any(|peer| holders.contains(&peer.id) && !peer.destroyed);
        let chain_held = lives.iter().all(|life| life.replica.holds(*entry));
        if survivor && !chain_held {
            return Err(format!("{entry:?} was answered and is lost"));
        }
    }
    Ok(())
}

fn wait(cluster: &mut Cluster, millis: u64) -> Result<(), String> {
    let limit = cluster.time + Duration::from_millis(millis);
    cluster.run_until(limit)
}

fn describe(cluster: &Cluster) -> String {
    let mut text = String::new();
    for (at, peer) in cluster.peers.iter().enumerate() {
        text += &match &peer.life {
            None => format!("\n  {at} {}: off, destroyed {}", peer.id, peer.destroyed),
            Some(life) => {
                let status = life.replica.status();
                format!(
                    "\n  {at} {}: {:?}, reach {:?}, view {:?}, members {:?}, tentative {:?}, settled \
                     {:?}, stable {:?}, log {}, aside {}, lag {}, waits for {:?}, {} requests, \
                     flushing until {:?}",
                    peer.id,
                    status.phase,
                    status.reach,
                    status.view_members,
                    status.members.ids().collect::<Vec<_>>(),
                    status.tentative.hybrid,
                    status.settled.hybrid,
                    status.stable.hybrid,
                    status.log_len,
                    status.aside_len,
                    status.lag,
                    status.waits_for,
                    life.waiting(),
                    life.flush_until,
                )
            }
        };
        if peer
            .life
            .as_ref()
            .is_some_and(|life| life.replica.phase() == Phase::Starting)
        {
            text += " (starting)";
        }
    }
    text
}

const PEERS_MAX: usize = 6;
/// After the last fault; lone_after, hold-offs and evictions take some of it.
const REST_WITHIN: Duration = Duration::from_secs(60);
