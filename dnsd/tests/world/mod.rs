//! A peer of one with a store that forgets what was not flushed, for the tests of this folder.
#![allow(dead_code, reason = "each test looks at its own part of it")]

use dnsd::birth::Seeds;
use dnsd::body::Replaces;
use dnsd::checkpoint::{Slice, Slices, slices};
use dnsd::durable;
use dnsd::peer::{Effect, Peer};
use dnsd::policy::{PolicyChange, Realm, Rule};
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
use zones::store::{Database, PIECE_ROWS_MAX, Store, pieces};
use zones::{MemoryStore, Name, Rcode, Record, Rtype, Serial, Version};

/// A peer of one and its store.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) peer: Peer,
    /// A checkpoint that is being written, slice by slice.
    pub(crate) writing: Option<Slices>,
    /// New bases that are being made.
    pub(crate) rebasing: Option<Vec<Version>>,
    pub(crate) wall: Duration,
    pub(crate) now: Instant,
    pub(crate) random: fastrand::Rng,
    pub(crate) answers: BTreeMap<ClientId, Answer>,
    pub(crate) clients: u64,
    /// How many zone rows the last checkpoint wrote, and how many checkpoints and bases came.
    pub(crate) zones_written: usize,
    pub(crate) checkpoints: usize,
    pub(crate) rebases: usize,
    /// How many rows of any kind the last checkpoint wrote.
    pub(crate) rows_written: usize,
    /// How many batches of the log were written, and how many turns showed other zones.
    pub(crate) batches: usize,
    pub(crate) shown: usize,
    pub(crate) served: Served,
    /// Rows of the history are written and not flushed.
    pub(crate) history_waits: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::born(seed, Seeds::default())
    }

    pub(crate) fn born(seed: u64, seeds: Seeds) -> Self {
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
            history_waits: false,
        };
        world.begin();
        world
    }

    /// The process dies, anywhere, and starts again.
    pub(crate) fn crash(&mut self) {
        self.store.crash();
        self.writing = None;
        self.rebasing = None;
        self.history_waits = false;
        self.wall += Duration::from_secs(2);
        self.peer = start(&mut self.store, self.wall, self.now);
        self.begin();
    }

    pub(crate) fn begin(&mut self) {
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
    pub(crate) fn pass(&mut self, time: Duration) {
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
        // Before any slice of a checkpoint that was asked for later.
        if std::mem::take(&mut self.history_waits) {
            self.store.flush(Database::History).unwrap();
            return;
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

    pub(crate) fn drain(&mut self) {
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
                Effect::History(rows) => {
                    for piece in pieces(rows, PIECE_ROWS_MAX) {
                        self.store.write(Database::History, &piece).unwrap();
                    }
                    self.history_waits = true;
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

    pub(crate) fn client(&mut self) -> ClientId {
        self.clients += 1;
        ClientId(self.clients)
    }

    pub(crate) fn import(&mut self, origin: &Name, names: u32) {
        let replaces = Replaces::Unchanged(None);
        let client = self.begin_import(origin, names, replaces).unwrap();
        self.expect_noerror(client);
    }

    pub(crate) fn begin_import(
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
            None,
            Majority::Needed,
            wall,
            now,
        )?;
        self.drain();
        Ok(client)
    }

    /// Changes one name: a new address, or none at all.
    pub(crate) fn update(&mut self, origin: &Name, name: &str, address: Option<u32>) {
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

    pub(crate) fn expect_noerror(&mut self, client: ClientId) {
        for _ in 0..100 {
            if let Some(answer) = self.answers.remove(&client) {
                assert_eq!(answer, Answer::Outcome(Outcome::Rcode(Rcode::NOERROR)));
                return;
            }
            self.pass(Duration::from_millis(3));
        }
        panic!("no answer");
    }

    pub(crate) fn now(&self, origin: &Name) -> &Version {
        self.peer.now().version(origin).unwrap()
    }

    /// What must be equal before and after a crash.
    pub(crate) fn content(&self, origin: &Name) -> (u128, Serial, usize) {
        let version = self.now(origin);
        let serial = self.peer.now().serial(origin);
        (version.digest(), serial, version.counts().names as usize)
    }

    pub(crate) fn row_count(&self, tree: &str) -> usize {
        self.store.scan(Database::Zones, tree, &[]).count()
    }

    /// Waits for the next checkpoint.
    pub(crate) fn checkpoint(&mut self) {
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
    pub(crate) fn begin_checkpoint(&mut self) {
        for _ in 0..100_000 {
            if self.writing.is_some() || self.rebasing.is_some() {
                return;
            }
            self.pass(Duration::from_millis(50));
        }
        panic!("a checkpoint begins in time");
    }

    pub(crate) fn allow_updates(&mut self) {
        let client = self.client();
        let rule = Rule::update_from("127.0.0.0/8".parse().unwrap());
        let grant = PolicyChange::Grant(Realm::All, rule);
        let (wall, now) = (self.wall, self.now);
        self.peer.handle_policy(client, grant, wall, now).unwrap();
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
    Peer::resume(
        replica,
        member.checkpoint,
        member.imports,
        member.history,
        vips,
        wall,
        now,
    )
    .unwrap()
}

pub(crate) fn record(origin: &Name, name: &str, rtype: Rtype, rdata: &[u8]) -> Record {
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

pub(crate) fn soa(serial: u32) -> Vec<u8> {
    let names = b"\x02ns\x04test\0\x02ns\x04test\0";
    [&names[..], &serial.to_be_bytes(), &[0, 0, 1, 0].repeat(4)].concat()
}

pub(crate) fn host(n: u32) -> String {
    format!("host{n:07}")
}
