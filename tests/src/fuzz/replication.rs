//! What another member may send to a replica: messages, near statements, entries, snapshots.
//!
//! A whole replica of one takes the input, with the header of a real sender before it, so that
//! what reads is acted upon too.

use bytes::Bytes;
use overlay::{Admit, ClusterId, Incarnation, PeerId, PublicKey, View, ViewId};
use replication::{Config, Entry, Frontier, Output, Replica};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const CLUSTER: ClusterId = ClusterId([1; 16]);
const OTHER: PeerId = PeerId([9; 8]);
const LIFE: Incarnation = Incarnation(5);
const WALL: Duration = Duration::from_secs(1_700_000_000);

static ADMIT: LazyLock<Admit> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = PublicKey(key.public_key().as_ref().try_into().unwrap());
    let (name, me) = ("one".to_owned(), public.peer_id());
    Admit::sign(&key, CLUSTER, public, name, Vec::new(), me, WALL)
});

struct World {
    replica: Replica,
    now: Instant,
    sent: Vec<Bytes>,
}

impl World {
    fn new() -> Self {
        let birth = Replica::birth(ADMIT.clone(), WALL);
        let limit = Duration::from_millis(100);
        let config = Config::new(ADMIT.peer(), CLUSTER, limit, limit);
        let (rows, now) = (birth.pieces.concat(), Instant::now());
        let meta = &birth.checkpoint_meta;
        let mut world = Self {
            replica: Replica::resume(config, &rows, meta, 1, WALL, now).unwrap(),
            now,
            sent: Vec::new(),
        };
        world.drain();
        let view = View {
            number: 1,
            id: ViewId(1),
            members: vec![(OTHER, LIFE)],
        };
        world.replica.handle_view(&view, WALL, now);
        world.drain();
        world
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.poll_output() {
            match output {
                Output::Write(batch) => self.replica.handle_durable(batch.id, WALL, self.now),
                Output::Multicast { payload, .. } | Output::Send { payload, .. } => {
                    self.sent.push(payload);
                }
                _ => {}
            }
        }
    }

    fn pass(&mut self) {
        for _ in 0..5 {
            self.now += Duration::from_millis(200);
            self.replica.handle_timeout(WALL, self.now);
            self.drain();
        }
    }
}

/// The first byte chooses the door.
pub fn run(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind {
        0 => {
            if let Some(entry) = Entry::decode(&mut &*bytes) {
                let mut out = Vec::new();
                entry.encode(&mut out);
                assert_eq!(Entry::decode(&mut &out[..]), Some(entry));
            }
            let _ = Frontier::decode(&mut &*bytes);
        }
        1 => {
            let mut world = World::new();
            world.replica.handle_near(OTHER, bytes, WALL, world.now);
            world.drain();
            world.pass();
        }
        2 => {
            let birth = Replica::birth(ADMIT.clone(), WALL);
            let stage = replication::Stage {
                checkpoint: replication::Stamp::ZERO,
                checkpoint_meta: birth.checkpoint_meta,
                runs: vec![Bytes::copy_from_slice(bytes)],
                id: Bytes::from_static(b"id"),
            };
            let _ = Replica::from_snapshot(&stage, bytes);
        }
        _ => {
            let mut world = World::new();
            // Version, cluster, sender, incarnation.
            let mut payload = vec![world.sent[0][0]];
            payload.extend_from_slice(&CLUSTER.0);
            payload.extend_from_slice(&OTHER.0);
            payload.extend_from_slice(&LIFE.0.to_be_bytes());
            payload.extend_from_slice(bytes);
            world
                .replica
                .handle_message(OTHER, &payload, WALL, world.now);
            world.drain();
            world.pass();
            let body = Bytes::from_static(b"an update of this peer's own");
            let submitted = world
                .replica
                .submit(None, body, Vec::new(), WALL, world.now);
            let _ = submitted;
            world.drain();
            world.pass();
        }
    }
}

/// What a replica itself sends, as if another did.
pub fn samples() -> Vec<Vec<u8>> {
    let mut world = World::new();
    for n in 0..3u8 {
        let body = Bytes::from(vec![n; 40]);
        world
            .replica
            .submit(None, body, Vec::new(), WALL, world.now)
            .unwrap();
        world.drain();
    }
    world.pass();
    let header = 1 + CLUSTER.0.len() + OTHER.0.len() + 8;
    let mut samples: Vec<Vec<u8>> = world
        .sent
        .iter()
        .map(|payload| [&[9], &payload[header..]].concat())
        .collect();
    samples.sort();
    samples.dedup();
    samples.truncate(20);
    for entry in world.replica.log_after(replication::Stamp::ZERO).take(1) {
        let mut bytes = vec![0];
        entry.encode(&mut bytes);
        samples.push(bytes);
    }
    let stage = world.replica.stage().encode();
    samples.extend(stage.runs.iter().map(|run| [&[2], &run[..]].concat()));
    samples.push([&[1], &LIFE.0.to_be_bytes()[..], &[0; 16]].concat());
    samples
}
