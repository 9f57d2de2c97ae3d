//! What one fault does, in figures: a lossy link in a chain, a killed peer in a mesh, a hole for big
//! packets.

use super::exchange::numbered;
use super::schedule::start;
use super::world::World;
use crate::fabric::Network;
use bytes::Buf;
use overlay::event::{Class, Event, StateKind};
use overlay::status::LinkStage;
use overlay::{Faults, Incarnation};
use std::collections::BTreeMap;
use std::time::Duration;

/// A message each so often: many follow before a lost one can be sent again.
const PACE: Duration = Duration::from_millis(2);
const MESSAGES: u64 = 1_500;
/// One way of every link of the chain.
const DELAY: Duration = Duration::from_millis(10);
/// What a hop may add on a path that loses nothing.
const SLACK: Duration = Duration::from_millis(1);

/// What one lossy link did to messages that crossed it.
#[derive(Debug)]
pub(super) struct Lossy {
    /// Of a thousand datagrams in both directions.
    pub(super) loss: u32,
    /// Of a thousand messages at the far end.
    pub(super) late: u64,
    /// Packets sent again by the two ends of the lossy link.
    pub(super) resent: u64,
    /// Packets sent again by all others.
    pub(super) resent_elsewhere: u64,
}

/// A chain of five whose second link alone loses packets; the first peer speaks.
pub(super) fn lossy_link(seed: u64, faults: Faults) -> Lossy {
    let mut random = fastrand::Rng::with_seed(seed);
    let loss = random.u32(5..50);
    let mut network = even(&mut random, DELAY);
    network.lossy.extend([((1, 2), loss), ((2, 1), loss)]);
    let links = vec![vec![1], vec![0, 2], vec![1, 3], vec![2, 4], vec![3]];
    let mut world = World::new(links, 5, network, faults, start());
    (0..5).for_each(|number| world.start_peer(number, &mut random));
    run_until(&mut world, Duration::from_secs(2), |_, _, _| {});
    let mut sent = BTreeMap::new();
    let mut late = 0;
    let mut come = 0;
    let begin = world.now();
    for number in 1..=MESSAGES {
        let at = begin + PACE * number as u32;
        sent.insert(number, at);
        let mut note = |now: Duration, number: usize, event: &Event| {
            if let (4, Event::Delivered { payload, .. }) = (number, event) {
                come += 1;
                let taken = now - sent[&payload.clone().get_u64()];
                late += u64::from(taken > (DELAY + SLACK) * 4);
            }
        };
        run_until(&mut world, at, &mut note);
        let payload = numbered(number, 1_000);
        let offered = world.call(0, |router, now| {
            router.multicast(Class::Update, None, payload, now)
        });
        assert_eq!(offered, Some(Ok(())));
        if number == MESSAGES {
            run_until(&mut world, at + Duration::from_secs(1), &mut note);
        }
    }
    assert_eq!(come, MESSAGES, "all arrive");
    let now = world.instant();
    let mut found = Lossy {
        loss,
        late: late * 1_000 / MESSAGES,
        resent: 0,
        resent_elsewhere: 0,
    };
    for (number, peer) in world.peers.iter().enumerate() {
        let status = peer.router.as_ref().unwrap().status(now);
        for neighbor in status.neighbors {
            match (number, world.number(neighbor.peer)) {
                (1, 2) | (2, 1) => found.resent += neighbor.resent,
                _ => found.resent_elsewhere += neighbor.resent,
            }
        }
    }
    found
}

/// Twelve peers that choose their links: a mesh at first, as all start at once. Surplus links go one
/// by one, which no view tells of. Three hosts fall silent at one moment. How long until all others
/// agree without them.
pub(super) fn ring(seed: u64) -> Duration {
    const COUNT: usize = 12;
    let mut random = fastrand::Rng::with_seed(seed);
    let network = even(&mut random, Duration::from_micros(200));
    let mut world = World::new(
        vec![Vec::new(); COUNT],
        COUNT,
        network,
        Faults::None,
        start(),
    );
    (0..COUNT).for_each(|number| world.start_peer(number, &mut random));
    run_until(&mut world, Duration::from_secs(3), |_, _, _| {});
    let until = Duration::from_secs(40);
    run_until(&mut world, until, |_, number, event| {
        assert!(
            !matches!(event, Event::ViewChanged(_)),
            "{number}: {event:?}"
        );
    });
    let now = world.instant();
    for peer in &world.peers {
        let status = peer.router.as_ref().unwrap().status(now);
        let up = status
            .neighbors
            .iter()
            .filter(|link| link.state == LinkStage::Up);
        assert_eq!((up.count(), status.view.members.len()), (4, COUNT));
    }
    let lost = random.usize(0..COUNT);
    for silent in (0..3).map(|n| (lost + n * 2) % COUNT) {
        for other in 0..COUNT {
            world.fabric.network.cut(silent, other);
            world.fabric.network.cut(other, silent);
        }
    }
    let mut agreed = BTreeMap::new();
    run_until(
        &mut world,
        until + Duration::from_secs(20),
        |now, number, event| {
            if let Event::ViewChanged(view) = event {
                agreed.insert(number, (now, view.members.len()));
            }
        },
    );
    agreed.retain(|_, (_, size)| *size == COUNT - 3);
    assert_eq!(agreed.len(), COUNT - 3);
    let last = agreed.values().map(|(now, _)| *now).max();
    last.unwrap_or_default() - until
}

/// Three peers in a mesh; one is killed soon after. How long until the others agree without it.
pub(super) fn killed_peer(seed: u64) -> Duration {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut network = even(&mut random, Duration::from_micros(200));
    network.stream_lag_max = Duration::from_millis(random.u64(0..30));
    let links = vec![vec![1, 2], vec![0, 2], vec![0, 1]];
    let mut world = World::new(links, 3, network, Faults::None, start());
    (0..3).for_each(|number| world.start_peer(number, &mut random));
    let until = Duration::from_millis(random.u64(600..1_500));
    let mut views = [0; 3];
    run_until(&mut world, until, |_, number, event| {
        if let Event::ViewChanged(view) = event {
            views[number] = view.members.len();
        }
    });
    assert_eq!(views, [3; 3]);
    let killed = random.usize(0..3);
    world.kill(killed);
    let mut agreed = Vec::new();
    run_until(
        &mut world,
        until + Duration::from_secs(1),
        |now, _, event| {
            if let Event::ViewChanged(view) = event {
                assert_eq!(view.members.len(), 2);
                agreed.push(now);
            }
        },
    );
    assert_eq!(agreed.len(), 2);
    agreed[1] - until
}

/// Six peers in a mesh. One says a word just after its own way to another, and that of the peer
/// that would send it a second copy, have been cut: both links still count as up. How long until
/// the other has the word all the same.
pub(super) fn word_left_to_lost_links(seed: u64, faults: Faults) -> Option<Duration> {
    const COUNT: usize = 6;
    const WORD: StateKind = StateKind(5);
    let mut random = fastrand::Rng::with_seed(seed);
    let network = even(&mut random, Duration::from_micros(200));
    let links = (0..COUNT).map(|number| (0..COUNT).filter(|other| *other != number).collect());
    let mut world = World::new(links.collect(), COUNT, network, faults, start());
    (0..COUNT).for_each(|number| world.start_peer(number, &mut random));
    let until = Duration::from_secs(2);
    run_until(&mut world, until, |_, _, _| {});
    let mut ring: Vec<usize> = (0..COUNT).collect();
    ring.sort_by_key(|number| world.peers[*number].id);
    let place = random.usize(0..COUNT);
    ring.rotate_left(place);
    let (to, second, source) = (ring[0], ring[1], ring[2 + random.usize(0..COUNT - 2)]);
    for silent in [source, second] {
        world.fabric.network.cut(silent, to);
    }
    let body = numbered(1, 8);
    world.call(source, |router, now| router.state(WORD, body, now));
    let mut heard = None;
    run_until(&mut world, until * 2, |now, number, event| {
        if matches!(event, Event::State { kind: WORD, .. }) && number == to {
            heard.get_or_insert(now - until);
        }
    });
    heard
}

/// A peer is killed while it answers a fetch, and does not come back. How long until who asked
/// hears that it has failed.
pub(super) fn orphaned_fetch() -> Duration {
    let mut random = fastrand::Rng::with_seed(1);
    let network = even(&mut random, Duration::from_micros(200));
    let mut world = World::new(vec![vec![1], vec![0]], 2, network, Faults::None, start());
    (0..2).for_each(|number| world.start_peer(number, &mut random));
    run_until(&mut world, Duration::from_secs(1), |_, _, _| {});
    let neighbor = world.peers[1].id;
    let request = numbered(1, 8);
    world.call(0, |router, now| router.fetch(neighbor, request, now));
    let mut is_asked = false;
    let killed = Duration::from_millis(1_100);
    run_until(&mut world, killed, |_, _, event| {
        is_asked |= matches!(event, Event::FetchRequested { .. });
    });
    assert!(is_asked);
    world.kill(1);
    let mut failed = None;
    run_until(&mut world, killed * 2, |now, _, event| {
        if let Event::FetchFailed(_) = event {
            failed = Some(now - killed);
        }
    });
    failed.expect("nobody waits for a dead peer")
}

/// A peer starts from a backup that has forgotten its last life. Whether it is told of that one.
pub(super) fn restored_backup() -> bool {
    let mut random = fastrand::Rng::with_seed(1);
    let network = even(&mut random, Duration::from_micros(200));
    let mut world = World::new(vec![vec![1], vec![0]], 2, network, Faults::None, start());
    (0..2).for_each(|number| world.start_peer(number, &mut random));
    let second = Duration::from_secs(1);
    let backup = world.peers[1].incarnation;
    run_until(&mut world, second, |_, _, _| {});
    world.kill(1);
    world.start_peer(1, &mut random);
    let latest = world.peers[1].incarnation;
    run_until(&mut world, second * 2, |_, _, _| {});
    world.kill(1);
    world.peers[1].incarnation = Incarnation(backup.0 - (1 << 32));
    world.start_peer(1, &mut random);
    assert!(world.peers[1].incarnation < latest);
    let mut is_told = false;
    run_until(&mut world, second * 3, |_, number, event| {
        is_told |= number == 1 && *event == Event::OwnIncarnationSeen(latest);
    });
    is_told
}

/// Two peers between which only small packets pass, each with a big word to push. How many views
/// the first one forms.
pub(super) fn hole(faults: Faults) -> usize {
    let mut random = fastrand::Rng::with_seed(1);
    let mut network = even(&mut random, Duration::from_micros(200));
    network.dig(0, 1);
    network.dig(1, 0);
    let mut world = World::new(vec![vec![1], vec![0]], 2, network, faults, start());
    for number in 0..2 {
        world.start_peer(number, &mut random);
        let word = numbered(1, 2_000);
        world.call(number, |router, now| router.state(StateKind(1), word, now));
    }
    let mut views = 0;
    run_until(&mut world, Duration::from_secs(10), |_, number, event| {
        views += usize::from(number == 0 && matches!(event, Event::ViewChanged(_)));
    });
    views
}

/// All paths are alike and lose nothing.
fn even(random: &mut fastrand::Rng, delay: Duration) -> Network {
    let mut network = Network::new(random);
    network.delay = delay;
    network.jitter = Duration::ZERO;
    network.loss = 0;
    network.duplicates = 0;
    network.serialization = Duration::from_micros(10);
    network.stream_lag_max = Duration::ZERO;
    network
}

fn run_until(world: &mut World, until: Duration, mut note: impl FnMut(Duration, usize, &Event)) {
    loop {
        let has_stepped = world.step(until);
        while let Some((number, event)) = world.take_event() {
            note(world.now(), number, &event);
        }
        if !has_stepped {
            return;
        }
    }
}
