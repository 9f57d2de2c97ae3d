//! A peer of one to test with.

#![allow(
    clippy::disallowed_methods,
    reason = "tests only need some first moment"
)]

use crate::durable;
use crate::peer::{Effect, Peer};
use crate::state::State;
use crate::vip::failover::VipConfig;
use crate::vip::timing::VipTiming;
use overlay::{Admit, ClusterId, Profile, PublicKey};
use replication::{Config, Replica};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::time::{Duration, Instant};
use zones::MemoryStore;

/// Its cluster.
pub(crate) const CLUSTER: ClusterId = ClusterId([1; 16]);
/// The wall time at which it starts.
pub(crate) const WALL: Duration = Duration::from_secs(1_700_000_000);

/// Some first moment.
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// A key; equal seeds give equal keys.
pub(crate) fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// What others know of a key.
pub(crate) fn public(key: &Ed25519KeyPair) -> PublicKey {
    PublicKey(key.public_key().as_ref().try_into().unwrap())
}

/// A peer of one whose disk needs no time, and when it started.
pub(crate) fn peer_of_one() -> (Peer, Instant) {
    let (key, now) = (key(7), Instant::now());
    let public = public(&key);
    let (me, name) = (public.peer_id(), "one".to_owned());
    let admit = Admit::sign(&key, CLUSTER, public, name, Vec::new(), me, WALL);
    let mut store = MemoryStore::new(1);
    durable::give_birth(&mut store, &admit, State::empty(), WALL).unwrap();
    let member = durable::member(&mut store).unwrap().unwrap();
    let limit = Duration::from_millis(100);
    let config = Config::new(me, CLUSTER, limit, limit);
    let replica = Replica::resume(config, &member.rows, &member.meta, 9, WALL, now).unwrap();
    let vips = VipConfig::new(me, "one".to_owned(), VipTiming::of(Profile::Lan));
    let mut peer = Peer::resume(
        replica,
        member.checkpoint,
        member.imports,
        member.history,
        vips,
        WALL,
        now,
    )
    .unwrap();
    while let Some(effect) = peer.poll_effect() {
        if let Effect::Write(batch) = effect {
            peer.handle_durable(batch.id, WALL, now);
        }
    }
    (peer, now)
}
