//! A peer of one and its store: zones that change for ever stay small, whenever it crashes, and of
//! very many zones only those that change cost anything.
#![allow(clippy::unwrap_used, reason = "a failing case is a failing test")]
#![allow(
    clippy::disallowed_methods,
    reason = "a machine's first moment; all others are added to it"
)]

use dnsd::birth::Seeds;
use dnsd::body::Replaces;
use dnsd::checkpoint::{Slice, Slices, slices};
use dnsd::durable;
use dnsd::peer::{Effect, Peer};
use dnsd::rebase;
use dnsd::requests::{Answer, ClientId, CommandRefused, Sender};
use dnsd::serve::Served;
use dnsd::state::Outcome;
use dnsd::vip::failover::VipConfig;
use dnsd::vip::timing::VipTiming;
use dnsd::zone_data;
use overlay::Profile;
use overlay::{Admit, ClusterId, PublicKey, View, ViewId};
use replication::{Config, Majority, Replica};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zones::store::{Database, Store};
use zones::{MemoryStore, Name, Rcode, Record, Rtype, Serial, Version};

struct World {
    store: MemoryStore,
    peer: Peer,
    /// A checkpoint that is being written, slice by slice.
    writing: Option<Slices>,
    /// New bases that are being made.
    rebasing: Option<Vec<Version>>,
    wall: Duration,
    now: Instant,
    random: fastrand::Rng,
    answers: BTreeMap<ClientId, Answer>,
    clients: u64,
    /// How many zone rows the last checkpoint wrote, and how many checkpoints and bases came.
    zones_written: usize,
    checkpoints: usize,
    rebases: usize,
    /// How many rows of any kind the last checkpoint wrote.
    rows_written: usize,
    /// How many batches of the log were written, and how many turns showed other zones.
    batches: usize,
    shown: usize,
    served: Served,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::born(seed, Seeds::default())
    }

    fn born(seed: u64, seeds: Seeds) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = PublicKey(key.public_key().as_ref().try_into().unwrap());
        let wall = Duration::from_secs(1_700_000_000);
        let admit = Admit::sign(
            &key,
            ClusterId([1; 16]),
            public,
            "one".to_owned(),
            Vec::new(),
            public.peer_id(),
            wall,
        );
        let mut store = MemoryStore::new(seed);
        let state = seeds.into_state(admit.peer(), wall);
        durable::give_birth(&mut store, &admit, state, wall).unwrap();
        let now = Instant::now();
        let peer = start(&mut store, wall, now);
        let mut world = Self {
            store,
            peer,
            writing: None,
            rebasing: None,
            wall,
            now,
            random: fastrand::Rng::with_seed(seed),
            answers: BTreeMap::new(),
            clients: 0,
            zones_written: 0,
            checkpoints: 0,
            rebases: 0,
            rows_written: 0,
            batches: 0,
            shown: 0,
            served: Served::default(),
        };
        world.begin();
        world
    }

    /// The process dies, anywhere, and starts again.
    fn crash(&mut self) {
        self.store.crash();
        self.writing = None;
        self.rebasing = None;
        self.wall += Duration::from_secs(2);
        self.peer = start(&mut self.store, self.wall, self.now);
        self.begin();
    }

    fn begin(&mut self) {
        self.drain();
        let replica = self.peer.replica();
        let me = replica.status().reach[0];
        let view = View {
            number: 1,
            id: ViewId(1),
            members: vec![(me, replica.incarnation())],
        };
        self.peer.handle_view(&view, self.wall, self.now);
        self.drain();
        for _ in 0..10_000 {
            if self.peer.is_folded() && self.peer.settled().is_some() {
                return;
            }
            self.pass(Duration::from_millis(10));
        }
        panic!("a peer of one settles");
    }

    /// Time passes; some work that goes on beside goes on.
    fn pass(&mut self, time: Duration) {
        self.wall += time;
        self.now += time;
        if self
            .peer
            .poll_timeout(self.now)
            .is_some_and(|due| due <= self.now)
        {
            self.peer.handle_timeout(self.wall, self.now);
            self.drain();
        }
        if self.random.u8(..4) == 0
            && let Some(due) = self.rebasing.take()
        {
            self.rebases += due.len();
            self.peer
                .handle_rebased(rebase::run(due), self.wall, self.now);
            self.drain();
        }
        if let Some(writing) = &mut self.writing {
            match writing.next() {
                Some(Slice::Write(rows)) => {
                    self.zones_written += rows.iter().filter(|row| row.tree == "zone").count();
                    self.rows_written += rows.len();
                    self.store.write(Database::Zones, &rows).unwrap();
                }
                Some(Slice::Flush) => self.store.flush(Database::Zones).unwrap(),
                None => {
                    self.writing = None;
                    self.checkpoints += 1;
                    self.peer.handle_checkpoint(self.wall, self.now);
                    self.drain();
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.peer.poll_effect() {
            match effect {
                Effect::Serve(served) => {
                    self.shown += 1;
                    self.served = *served;
                }
                Effect::Write(batch) => {
                    self.batches += 1;
                    for piece in &batch.pieces {
                        let rows: Vec<zones::Row> = piece
                            .iter()
                            .map(|row| zones::Row {
                                tree: row.tree,
                                key: row.key.clone(),
                                value: row.value.clone(),
                            })
                            .collect();
                        self.store.write(Database::Log, &rows).unwrap();
                    }
                    self.store.flush(Database::Log).unwrap();
                    self.peer.handle_durable(batch.id, self.wall, self.now);
                }
                Effect::Checkpoint(checkpoint) => {
                    (self.zones_written, self.rows_written) = (0, 0);
                    self.writing = Some(slices(&checkpoint));
                }
                Effect::Rebase(due) => self.rebasing = Some(due),
                Effect::Answer(client, answer) => {
                    self.answers.insert(client, answer);
                }
                Effect::DropBlob(hash) => self.store.remove_blob(&hash.0).unwrap(),
                _ => {}
            }
        }
    }

    fn client(&mut self) -> ClientId {
        self.clients += 1;
        ClientId(self.clients)
    }

    fn import(&mut self, origin: &Name, names: u32) {
        let replaces = Replaces::Unchanged(None);
        let client = self.begin_import(origin, names, replaces).unwrap();
        self.expect_noerror(client);
    }

    fn begin_import(
        &mut self,
        origin: &Name,
        names: u32,
        replaces: Replaces,
    ) -> Result<ClientId, CommandRefused> {
        let mut records = vec![record(origin, "@", Rtype::SOA, &soa(5))];
        records.push(record(origin, "@", Rtype::NS, b"\x02ns\x04test\0"));
        records.extend((0..names).map(|n| record(origin, &host(n), Rtype::A, &n.to_be_bytes())));
        let blob = zone_data::encode_blob(origin, &records);
        let version = zone_data::decode_blob(&blob).unwrap();
        let hash = durable::blob_hash(&blob);
        self.store.put_blob(&hash.0, &blob).unwrap();
        let client = self.client();
        let (wall, now) = (self.wall, self.now);
        self.peer.handle_import(
            client,
            origin.clone(),
            Serial(5),
            hash,
            blob.len() as u64,
            version,
            replaces,
            Majority::Needed,
            wall,
            now,
        )?;
        self.drain();
        Ok(client)
    }

    /// Changes one name: a new address, or none at all.
    fn update(&mut self, origin: &Name, name: &str, address: Option<u32>) {
        let mut message = vec![0, 1, 5 << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(origin.as_wire());
        message.extend_from_slice(&[0, 6, 0, 1]);
        let mut change = |class: u16, rtype: u16, rdata: &[u8]| {
            message[9] += 1;
            message.extend_from_slice(&[name.len() as u8]);
            message.extend_from_slice(name.as_bytes());
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&rtype.to_be_bytes());
            message.extend_from_slice(&class.to_be_bytes());
            message.extend_from_slice(&[0; 4]);
            message.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            message.extend_from_slice(rdata);
        };
        change(255, 255, &[]);
        if let Some(address) = address {
            change(1, 1, &address.to_be_bytes());
        }
        let client = self.client();
        // Equal bytes from one port would be one request.
        let port = (self.clients % 60_000) as u16 + 1;
        let sender = Sender::unsigned(([127, 0, 0, 1], port).into());
        self.peer
            .handle_update(client, message.into(), sender, self.wall, self.now);
        self.drain();
        self.pass(Duration::from_millis(3));
        self.expect_noerror(client);
    }

    fn expect_noerror(&mut self, client: ClientId) {
        for _ in 0..100 {
            if let Some(answer) = self.answers.remove(&client) {
                assert_eq!(answer, Answer::Outcome(Outcome::Rcode(Rcode::NOERROR)));
                return;
            }
            self.pass(Duration::from_millis(3));
        }
        panic!("no answer");
    }

    fn now(&self, origin: &Name) -> &Version {
        self.peer.now().version(origin).unwrap()
    }

    /// What must be equal before and after a crash.
    fn content(&self, origin: &Name) -> (u128, Serial, usize) {
        let version = self.now(origin);
        let serial = self.peer.now().serial(origin);
        (version.digest(), serial, version.counts().names)
    }

    fn row_count(&self, tree: &str) -> usize {
        self.store.scan(Database::Zones, tree, &[]).count()
    }

    /// Waits for the next checkpoint.
    fn checkpoint(&mut self) {
        let before = self.checkpoints;
        for _ in 0..100_000 {
            if self.checkpoints > before {
                return;
            }
            self.pass(Duration::from_millis(50));
        }
        panic!("a checkpoint comes in time");
    }

    /// Waits until the next checkpoint has begun.
    fn begin_checkpoint(&mut self) {
        for _ in 0..100_000 {
            if self.writing.is_some() || self.rebasing.is_some() {
                return;
            }
            self.pass(Duration::from_millis(50));
        }
        panic!("a checkpoint begins in time");
    }

    fn allow_updates(&mut self) {
        let client = self.client();
        let body = dnsd::body::Body::Policy {
            update: vec!["127.0.0.0/8".parse().unwrap()],
            transfer: Vec::new(),
        };
        let (wall, now) = (self.wall, self.now);
        self.peer.handle_policy(client, &body, wall, now).unwrap();
        self.drain();
        self.expect_noerror(client);
    }
}

fn start(store: &mut MemoryStore, wall: Duration, now: Instant) -> Peer {
    let member = durable::member(store).unwrap().unwrap();
    let config = Config::new(
        member.admit.peer(),
        member.admit.cluster,
        Duration::from_millis(100),
        Duration::from_millis(100),
    );
    let replica = Replica::resume(config, &member.rows, &member.meta, 9, wall, now).unwrap();
    let vips = VipConfig::new(
        member.admit.peer(),
        member.admit.name.clone(),
        VipTiming::of(Profile::Lan),
    );
    Peer::resume(replica, member.checkpoint, member.imports, vips, wall, now).unwrap()
}

fn record(origin: &Name, name: &str, rtype: Rtype, rdata: &[u8]) -> Record {
    Record {
        owner: match name {
            "@" => origin.clone(),
            name => origin.child(name.as_bytes()).unwrap(),
        },
        rtype,
        ttl: 0,
        rdata: zones::Rdata::from_checked(rdata),
    }
}

fn soa(serial: u32) -> Vec<u8> {
    let names = b"\x02ns\x04test\0\x02ns\x04test\0";
    [&names[..], &serial.to_be_bytes(), &[0, 0, 1, 0].repeat(4)].concat()
}

fn host(n: u32) -> String {
    format!("host{n:07}")
}

#[test]
fn a_large_zone_stays_small_however_much_it_changes() {
    let origin: Name = "example.".parse().unwrap();
    let mut world = World::new(1);
    world.allow_updates();
    world.import(&origin, 200_000);
    world.checkpoint();
    let base_rows = world.row_count("base");
    let mut changed_max = 0;
    // Each name once: nothing but a new base makes the changes fewer.
    for n in 0..45_000 {
        let address = (n % 7 != 0).then_some(n + 1);
        world.update(&origin, &host(n), address);
        changed_max = changed_max.max(world.now(&origin).changed_names());
        if n % 15_000 == 14_999 {
            let before = world.content(&origin);
            world.crash();
            assert_eq!(world.content(&origin), before, "after {n}");
        }
    }
    world.checkpoint();
    assert!(world.rebases >= 1, "{} new bases", world.rebases);
    // One name in ten, and what comes in between two checkpoints: 30 s at 333 updates a second.
    assert!(changed_max < 20_000 + 2 * 10_000, "{changed_max} names");
    let stored = world.peer.checkpoint().version(&origin).unwrap();
    assert_eq!(world.row_count("changed"), stored.changed_names());
    assert!(stored.changed_names() <= 20_000);
    assert!(
        world.row_count("base") <= base_rows,
        "the rows of old bases are gone"
    );
    assert_eq!(world.now(&origin).counts().names, 1 + 200_000 - 6_429);
}

#[test]
fn a_crash_anywhere_around_a_new_base_loses_nothing() {
    let origin: Name = "example.".parse().unwrap();
    let other: Name = "other.".parse().unwrap();
    let mut rebases = 0;
    for seed in 0..8 {
        let mut world = World::new(seed);
        world.allow_updates();
        world.import(&origin, 3_000);
        world.import(&other, 50);
        world.checkpoint();
        for round in 0..3 {
            for n in 0..1_100 {
                let n = round * 1_000 + n;
                world.update(&origin, &host(n % 3_000), Some(n + 1 + seed as u32));
            }
            // Somewhere between the first slice and the end of the checkpoint.
            world.begin_checkpoint();
            for _ in 0..world.random.u32(..40) {
                let n = world.random.u32(..3_000);
                world.update(&origin, &host(n), Some(n));
            }
            let before = (world.content(&origin), world.content(&other));
            world.crash();
            assert_eq!(
                (world.content(&origin), world.content(&other)),
                before,
                "seed {seed}"
            );
        }
        rebases += world.rebases;
    }
    assert!(rebases > 3, "{rebases} new bases");
}

#[test]
fn only_zones_that_changed_are_written() {
    let origin: Name = "example.".parse().unwrap();
    let other: Name = "other.".parse().unwrap();
    let mut world = World::new(3);
    world.allow_updates();
    world.import(&origin, 5_000);
    world.import(&other, 5_000);
    world.checkpoint();
    assert_eq!(world.zones_written, 2);
    for n in 0..1_500 {
        world.update(&origin, &host(n), Some(n + 1));
    }
    world.checkpoint();
    // The new base is written as a generation of its own, the other zone not at all.
    assert_eq!((world.rebases, world.zones_written), (1, 1));
    assert_eq!(world.row_count("changed"), 0);
    assert_eq!(world.now(&origin).changed_names(), 0);
    // An update that changes nothing any more counts: the zone's row says so, and no name is written.
    world.update(&other, &host(1), Some(7));
    world.update(&other, &host(1), Some(1));
    world.checkpoint();
    assert_eq!(world.zones_written, 1);
    assert_eq!(world.row_count("changed"), 0);
    let before = world.content(&other);
    assert_eq!(before.1, Serial(7));
    world.crash();
    assert_eq!(world.content(&other), before);
}

/// An import that was compared with an older state of its zone is refused, and changes nothing; one
/// that is to take the place of whatever stands there does so.
#[test]
fn an_import_discards_what_others_changed_only_if_it_is_told_to() {
    let mut world = World::new(3);
    world.allow_updates();
    let origin: Name = "example.test".parse().unwrap();
    let compared = world.peer.now().changed(&origin);
    world.import(&origin, 10);
    world.update(&origin, "other", Some(1));
    let other = origin.child(b"other").unwrap();
    let since = |world: &World| world.peer.now().changed(&origin);
    assert!(since(&world) > compared);

    let refused = world.begin_import(&origin, 5, Replaces::Unchanged(compared));
    assert_eq!(refused, Err(CommandRefused::ZoneChanged));
    assert!(world.now(&origin).node(&other).is_some());

    let client = world.begin_import(&origin, 5, Replaces::Whatever).unwrap();
    world.expect_noerror(client);
    assert!(world.now(&origin).node(&other).is_none());
    assert_eq!(world.now(&origin).counts().names, 6);
    let before = world.content(&origin);
    world.crash();
    assert_eq!(world.content(&origin), before);
}

/// A cluster is born with thousands of zones at once: no entries, no blobs, no line for each; they
/// are shown together, after slices of work, and what one update costs does not depend on them.
#[test]
fn very_many_zones_cost_only_what_changes_in_them() {
    let cost_of = |count: u32| {
        let zones = (0..count).map(|n| {
            let origin: Name = format!("z{n}.test").parse().unwrap();
            let mut records = vec![record(&origin, "@", Rtype::SOA, &soa(5))];
            records.push(record(&origin, "@", Rtype::NS, b"\x02ns\x04test\0"));
            (Version::from_records(&origin, &records).unwrap(), Serial(n))
        });
        let seeds = Seeds {
            zones: zones.collect(),
            ..Seeds::default()
        };
        let mut world = World::born(1, seeds);
        let expect_all = |world: &mut World, shown: usize| {
            for _ in 0..1_000 {
                if world.peer.shows_all() {
                    break;
                }
                world.pass(Duration::from_millis(10));
            }
            assert!(world.peer.shows_all());
            assert_eq!(world.served.zones.len(), count as usize);
            assert!(world.shown <= shown, "shown {} times", world.shown);
            let last = format!("z{}.test", count - 1).parse().unwrap();
            assert_eq!(world.peer.now().serial(&last), Serial(count - 1));
        };
        // What there was before, that nothing is published, and all zones.
        expect_all(&mut world, 3);
        assert_eq!(world.peer.replica().status().log_len, 0);
        let batches = world.batches;

        world.allow_updates();
        let origin: Name = "z7.test".parse().unwrap();
        world.update(&origin, "a", Some(1));
        world.checkpoint();
        assert_eq!(world.zones_written, 1);
        let rows = world.rows_written;

        world.crash();
        world.shown = 0;
        expect_all(&mut world, 2);
        assert_eq!(world.peer.now().serial(&origin), Serial(8));
        (batches, rows)
    };
    assert_eq!(cost_of(10), cost_of(4_000));
}
