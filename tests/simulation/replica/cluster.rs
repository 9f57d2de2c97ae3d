//! The world: clock, network, an oracle in place of the overlay, and all peers.

use super::Fault;
use super::checks::Checks;
use super::disk::Disk;
use super::fold::{Request, Version};
use super::peer::{Answers, Life, Peer};
use bytes::Bytes;
use overlay::{Admit, ClusterId, Incarnation, PeerId, PublicKey, View, ViewId};
use replication::replica::Faults;
use replication::{
    Batch, BatchId, Config, Digest, EntryId, Event as ReplicaEvent, Majority, NotNow,
};
use replication::{Output, Publish, Replica, Stage, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub(crate) type Place = usize;

pub(crate) struct Cluster {
    pub(crate) peers: Vec<Peer>,
    pub(crate) random: fastrand::Rng,
    pub(crate) time: Duration,
    base: Instant,
    events: BTreeMap<(Duration, u64), Event>,
    next_event: u64,
    pub(crate) checks: Checks,
    fault: Fault,
    /// Peers with the same number reach each other.
    pub(crate) side: Vec<u8>,
    /// Whom a peer falsely suspects, until when.
    suspicions: BTreeMap<(Place, Place), Duration>,
    pub(crate) weather: Weather,
    pub(crate) joins: Vec<Join>,
    next_digest: u64,
}

/// How bad the network and the disks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_percent: u8,
    pub(crate) late_percent: u8,
    pub(crate) late_millis: u64,
    pub(crate) flush_millis: u64,
    pub(crate) stall_percent: u8,
}

/// A join that is under way.
pub(crate) struct Join {
    pub(crate) sponsor: Place,
    life: Incarnation,
    admit: Admit,
    stage: Stage,
    version: Version,
    pub(crate) authored: bool,
    majority: Majority,
}

enum Event {
    Message {
        to: Place,
        from: PeerId,
        payload: Bytes,
    },
    Near {
        to: Place,
        from: PeerId,
        edition: u64,
        body: Vec<u8>,
    },
    View {
        to: Place,
    },
    NeighborUp {
        to: Place,
        from: PeerId,
    },
    Flushed {
        at: Place,
        life: Incarnation,
        batch: BatchId,
    },
    EarlyDurable {
        at: Place,
        life: Incarnation,
        batch: BatchId,
    },
}

impl Cluster {
    #[allow(
        clippy::disallowed_methods,
        reason = "the made-up clock needs one real instant"
    )]
    pub(crate) fn new(seed: u64, fault: Fault) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let rough = random.u8(0..3);
        let weather = Weather {
            loss_percent: [0, 3, 20][rough as usize],
            late_percent: [1, 5, 15][rough as usize],
            late_millis: [100, 250, 1_000][random.usize(0..3)],
            flush_millis: [3, 20, 120][random.usize(0..3)],
            stall_percent: [0, 0, 1][random.usize(0..3)],
        };
        Self {
            peers: Vec::new(),
            random,
            time: Duration::from_secs(1),
            base: Instant::now(),
            events: BTreeMap::new(),
            next_event: 0,
            checks: Checks::default(),
            fault,
            side: Vec::new(),
            suspicions: BTreeMap::new(),
            weather,
            joins: Vec::new(),
            next_digest: 0,
        }
    }

    /// The first peer of the cluster.
    pub(crate) fn birth(&mut self) {
        let admit = self.admit(0);
        let birth = Replica::birth(admit, self.wall(0));
        let checkpoint = (
            Stamp::ZERO,
            Version::default(),
            birth.checkpoint_meta.to_vec(),
        );
        self.add_peer(Disk::new(birth.pieces, checkpoint));
    }

    fn add_peer(&mut self, disk: Disk) {
        let place = self.peers.len();
        let skew_millis = self.random.i64(-1_500..1_500);
        self.peers.push(Peer {
            id: key(place).peer_id(),
            disk,
            life: None,
            destroyed: false,
            skew_millis,
            near: (0, Vec::new()),
            view_number: 0,
        });
        let side = self.joins.first().map_or(0, |join| self.side[join.sponsor]);
        self.side.push(side);
        self.start(place);
    }

    pub(crate) fn start(&mut self, at: Place) {
        let mut config = Config::new(
            self.peers[at].id,
            CLUSTER,
            Duration::from_millis(200),
            Duration::from_millis(500),
        );
        config.lone_after = Duration::from_secs(1);
        config.join_lag = 20;
        if let Fault::Replica(fault) = self.fault {
            config.faults = fault;
        } else {
            config.faults = Faults::None;
        }
        let random = self.random.u32(..);
        let (wall, now) = (self.wall(at), self.now());
        let peer = &mut self.peers[at];
        let meta = peer.disk.checkpoint.2.clone();
        let replica = Replica::resume(config, &peer.disk.rows(), &meta, random, wall, now)
            .expect("a disk that kept a prefix reads");
        let answers = match self.fault {
            Fault::TentativeAnswers => Answers::FromTentative,
            _ => Answers::FromSettled,
        };
        peer.life = Some(Life::new(replica, &peer.disk.checkpoint, answers));
        self.drain(at).expect("a start answers nobody");
    }

    pub(crate) fn crash(&mut self, at: Place) {
        if self.peers[at].life.take().is_some() {
            self.checks.summary.crashes += 1;
            if self.peers[at].disk.crash(&mut self.random) {
                self.checks.summary.crashes_in_flush += 1;
            }
            self.joins.retain(|join| join.sponsor != at);
            self.connectivity_changed();
        }
    }

    /// The next event, or a timer; false if nothing happens before `limit`.
    pub(crate) fn step(&mut self, limit: Duration) -> Result<bool, String> {
        let timer = (0..self.peers.len())
            .filter_map(|at| {
                let due = self.peers[at].life.as_ref()?.replica.poll_timeout()?;
                Some((due.saturating_duration_since(self.base).max(self.time), at))
            })
            .min();
        let event = self.events.first_key_value().map(|((time, _), _)| *time);
        match (timer, event) {
            (Some((due, at)), event) if event.is_none_or(|time| due < time) => {
                if due > limit {
                    self.time = limit;
                    return Ok(false);
                }
                self.time = due;
                let (wall, now) = (self.wall(at), self.now());
                if let Some(life) = &mut self.peers[at].life {
                    life.replica.handle_timeout(wall, now);
                    assert!(
                        life.replica.poll_timeout().is_none_or(|next| next > now),
                        "a timer that has fired is not due again"
                    );
                }
                self.drain(at)?;
            }
            (_, Some(time)) if time <= limit => {
                self.time = time.max(self.time);
                let (_, event) = self.events.pop_first().expect("it was just seen");
                self.handle(event)?;
            }
            _ => {
                self.time = limit;
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn run_until(&mut self, limit: Duration) -> Result<(), String> {
        while self.step(limit)? {}
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        let now = self.now();
        let at = match event {
            Event::Message { to, from, payload } => {
                let wall = self.wall(to);
                if let Some(life) = self.ready_life(to) {
                    life.replica.handle_message(from, &payload, wall, now);
                }
                to
            }
            Event::Near {
                to,
                from,
                edition,
                body,
            } => {
                let wall = self.wall(to);
                let newest = self.peers.iter().find(|peer| peer.id == from);
                // The overlay floods the newest edition; an older one is dropped on the way.
                if newest.is_some_and(|peer| peer.near.0 == edition)
                    && let Some(life) = self.ready_life(to)
                {
                    life.replica.handle_near(from, &body, wall, now);
                }
                to
            }
            Event::View { to } => {
                self.give_view(to);
                to
            }
            Event::NeighborUp { to, from } => {
                if let Some(life) = self.ready_life(to) {
                    life.replica.handle_neighbor_up(from, now);
                }
                to
            }
            Event::Flushed { at, life, batch } => {
                let wall = self.wall(at);
                let peer = &mut self.peers[at];
                if let Some(present) = &mut peer.life
                    && present.incarnation == life
                {
                    peer.disk.flush(batch);
                    present.flush_until = None;
                    if self.fault != Fault::DurableBeforeFlush {
                        present.replica.handle_durable(batch, wall, now);
                    }
                }
                at
            }
            Event::EarlyDurable { at, life, batch } => {
                let wall = self.wall(at);
                if let Some(present) = &mut self.peers[at].life
                    && present.incarnation == life
                {
                    present.replica.handle_durable(batch, wall, now);
                }
                at
            }
        };
        self.drain(at)
    }

    /// Does what the replica asks, until it asks nothing more.
    pub(crate) fn drain(&mut self, at: Place) -> Result<(), String> {
        loop {
            while let Some(output) = self.peers[at]
                .life
                .as_mut()
                .and_then(|life| life.replica.poll_output())
            {
                self.trace(at, &output);
                self.obey(at, output)?;
            }
            let (wall, now) = (self.wall(at), self.now());
            let peer = &mut self.peers[at];
            let Some(life) = &mut peer.life else {
                return Ok(());
            };
            let view = life.last_view.clone();
            for answer in life.consider_all(&peer.disk.checkpoint, wall, now) {
                let Some((view, members)) = &view else {
                    // From the version published before the start.
                    continue;
                };
                self.checks.summary.answers += 1;
                if answer.has_entry {
                    self.checks.answered(*view, answer.digest, answer.outcome)?;
                }
                let Some(rests_on) = answer.rests_on else {
                    continue;
                };
                // Promise 1: what an answer rests on is on the disk of every member.
                for member in &self.peers {
                    if members.contains(&member.id) && !member.disk.ever.contains(&rests_on) {
                        return Err(format!(
                            "{:?}: {rests_on:?} was answered in {view:?} at {at} and is not on the disk of {}",
                            self.time, member.id
                        ));
                    }
                }
                self.checks
                    .told
                    .entry(rests_on)
                    .or_default()
                    .extend(members);
            }
            let life = self.peers[at].life.as_mut().expect("it lives");
            let Some(output) = life.replica.poll_output() else {
                return Ok(());
            };
            self.trace(at, &output);
            self.obey(at, output)?;
        }
    }

    fn obey(&mut self, at: Place, output: Output) -> Result<(), String> {
        let id = self.peers[at].id;
        match output {
            Output::Ready(_) => {
                self.life(at).ready = true;
                self.peers[at].near.0 += 1;
                self.connectivity_changed();
            }
            Output::Write(batch) => self.write(at, batch),
            Output::Multicast { payload, .. } => {
                for to in 0..self.peers.len() {
                    if to != at {
                        self.transmit(at, to, &payload);
                    }
                }
            }
            Output::Send { to, payload } => {
                if let Some(to) = self.peers.iter().position(|peer| peer.id == to) {
                    self.transmit(at, to, &payload);
                }
            }
            Output::Near(body) => {
                self.peers[at].near.0 += 1;
                self.peers[at].near.1 = body.to_vec();
                self.flood_near(at);
            }
            Output::Complain(_)
            | Output::Arrived(_)
            | Output::Stable(_)
            | Output::FetchBlob { .. }
            | Output::DropBlob(_)
            | Output::Evicted
            | Output::NotEvicted => {}
            Output::LogChanged => self.life(at).log_changed(),
            Output::Settled(mark) => {
                let peer = &mut self.peers[at];
                let life = peer.life.as_mut().expect("it speaks");
                life.settle(mark, &peer.disk.checkpoint, &mut self.checks)?;
                let (wall, now) = (self.wall(at), self.now());
                let life = self.life(at);
                if life.publishing.is_none() && life.replica.settled() == mark {
                    let version = life.settled_version().clone();
                    if life.replica.publish(wall, now) == Publish::Begun {
                        life.publishing = Some((mark, version));
                    }
                }
                self.advance_joins(at)?;
            }
            Output::Published(mark) => {
                let life = self.life(at);
                if let Some(publishing) = life.publishing.take() {
                    if publishing.0 != mark {
                        return Err("another mark was published than asked for".into());
                    }
                    life.published = publishing;
                    let version = life.published.1.clone();
                    self.checks.published(id, &version)?;
                }
            }
            Output::Members(set) => {
                self.life(at).members = set;
                self.connectivity_changed();
            }
            Output::GaveUp(_) => {}
            Output::Event(ReplicaEvent::ViewInstalled { .. }) => self.checks.summary.views += 1,
            Output::Event(ReplicaEvent::Withdrawn) => self.checks.summary.withdrawals += 1,
            Output::Event(ReplicaEvent::PrefixDiffers(of)) => {
                return Err(format!("the stable prefixes of {id} and {of} differ"));
            }
            Output::Event(_) => {}
        }
        Ok(())
    }

    /// Writes a checkpoint where it may stand.
    pub(crate) fn write_checkpoint(&mut self, at: Place) -> Result<(), String> {
        let (wall, now) = (self.wall(at), self.now());
        let peer = &mut self.peers[at];
        let Some(life) = &mut peer.life else {
            return Ok(());
        };
        let Some(mark) = life.replica.checkpoint_mark() else {
            return Ok(());
        };
        let meta = life.replica.checkpoint_meta(mark).to_vec();
        let mut version = peer.disk.checkpoint.1.clone();
        for entry in life.replica.log_after(peer.disk.checkpoint.0) {
            if entry.stamp() <= mark {
                version.fold(entry);
            }
        }
        peer.disk.checkpoint = (mark, version, meta);
        self.checks.summary.checkpoints += 1;
        life.replica.handle_checkpoint(mark, wall, now);
        self.drain(at)
    }

    pub(crate) fn request(
        &mut self,
        at: Place,
        request: Request,
        digest: Digest,
    ) -> Result<(), String> {
        if let Some(life) = self.ready_life(at) {
            life.ask(request, digest);
        }
        self.drain(at)
    }

    pub(crate) fn new_digest(&mut self) -> Digest {
        self.next_digest += 1;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.next_digest.to_be_bytes());
        Digest(digest)
    }

    /// A sponsor begins a join: it streams its stage, then authors the join when it may.
    pub(crate) fn begin_join(&mut self, sponsor: Place, majority: Majority) {
        let admit = self.admit(self.peers.len());
        let Some(life) = self.peers[sponsor].life.as_ref().filter(|life| life.ready) else {
            return;
        };
        self.joins.push(Join {
            sponsor,
            life: life.incarnation,
            admit,
            stage: life.replica.stage().encode(),
            version: self.peers[sponsor].disk.checkpoint.1.clone(),
            authored: false,
            majority,
        });
    }

    pub(crate) fn advance_joins(&mut self, at: Place) -> Result<(), String> {
        let (wall, now) = (self.wall(at), self.now());
        let Some(position) = self.joins.iter().position(|join| join.sponsor == at) else {
            return Ok(());
        };
        let join = &mut self.joins[position];
        let peer = &mut self.peers[at];
        let Some(life) = peer.life.as_mut().filter(|l| l.incarnation == join.life) else {
            self.joins.remove(position);
            return Ok(());
        };
        if !join.authored {
            let admit = join.admit.clone();
            join.authored = life
                .replica
                .author_join(admit, join.majority, wall, now)
                .is_ok();
            return Ok(());
        }
        match life
            .replica
            .snapshot_for(join.admit.peer(), &join.stage.id, join.majority)
        {
            Ok(snapshot) => {
                let birth = Replica::from_snapshot(&join.stage, &snapshot)
                    .expect("a sponsor's own words read");
                let checkpoint = (
                    join.stage.checkpoint,
                    join.version.clone(),
                    birth.checkpoint_meta.to_vec(),
                );
                self.checks.summary.joins += 1;
                let mut disk = Disk::new(birth.pieces, checkpoint);
                // What went into the sponsor's checkpoint came with it, not as entries.
                let sponsor = &peer.disk;
                let log = &life.replica;
                let below = |id: &EntryId| log.holds(*id) && log.entry(*id).is_none();
                disk.ever.extend(sponsor.ever.iter().copied().filter(below));
                self.add_peer(disk);
                self.joins.remove(position);
            }
            Err(NotNow::StageTooOld) => {
                join.stage = life.replica.stage().encode();
                join.version = peer.disk.checkpoint.1.clone();
            }
            Err(_) => {}
        }
        Ok(())
    }

    pub(crate) fn suspect(&mut self, who: Place, whom: Place, time: Duration) {
        self.suspicions.insert((who, whom), self.time + time);
        self.schedule(Duration::from_millis(5), Event::View { to: who });
        self.schedule(time + Duration::from_millis(1), Event::View { to: who });
    }

    /// Each peer learns it in its own time.
    pub(crate) fn connectivity_changed(&mut self) {
        for to in 0..self.peers.len() {
            let delay = Duration::from_millis(self.random.u64(3..150));
            self.schedule(delay, Event::View { to });
            for from in 0..self.peers.len() {
                if to != from && self.connected(from, to) && self.acquainted(from, to) {
                    let from = self.peers[from].id;
                    self.schedule(delay, Event::NeighborUp { to, from });
                }
            }
            self.flood_near(to);
        }
    }

    pub(crate) fn live(&self) -> Vec<Place> {
        let live = |at: &Place| self.peers[*at].life.as_ref().is_some_and(|life| life.ready);
        (0..self.peers.len()).filter(live).collect()
    }

    pub(crate) fn life(&mut self, at: Place) -> &mut Life {
        self.peers[at].life.as_mut().expect("it lives")
    }

    pub(crate) fn now(&self) -> Instant {
        self.base + self.time
    }

    pub(crate) fn wall(&self, at: Place) -> Duration {
        let skew = self.peers.get(at).map_or(0, |peer| peer.skew_millis);
        let millis = EPOCH_MILLIS + self.time.as_millis() as i64 + skew;
        Duration::from_millis(millis as u64)
    }

    fn ready_life(&mut self, at: Place) -> Option<&mut Life> {
        self.peers[at].life.as_mut().filter(|life| life.ready)
    }

    fn write(&mut self, at: Place, batch: Batch) {
        let stalls = self.random.u8(0..100) < self.weather.stall_percent;
        let millis = if stalls {
            self.random.u64(1_000..2_500)
        } else {
            self.random.u64(1..=self.weather.flush_millis)
        };
        let id = batch.id;
        let early = self.fault == Fault::DurableBeforeFlush;
        let peer = &mut self.peers[at];
        if early && let Some(last) = peer.life.as_ref().and_then(|_| batch.id.0.checked_sub(1)) {
            // The lying driver has at most one real flush under way.
            peer.disk.flush(BatchId(last));
        }
        peer.disk.write(batch);
        let life = self.life(at).incarnation;
        self.life(at).flush_until = Some(self.time + Duration::from_millis(millis));
        if early {
            let event = Event::EarlyDurable {
                at,
                life,
                batch: id,
            };
            self.schedule(Duration::ZERO, event);
        }
        self.schedule(
            Duration::from_millis(millis),
            Event::Flushed {
                at,
                life,
                batch: id,
            },
        );
    }

    fn transmit(&mut self, from: Place, to: Place, payload: &Bytes) {
        if !self.connected(from, to) || self.random.u8(0..100) < self.weather.loss_percent {
            return;
        }
        let sender = self.peers[from].id;
        let copies = if self.random.u8(0..100) < 3 { 2 } else { 1 };
        for _ in 0..copies {
            let late = self.random.u8(0..100) < self.weather.late_percent;
            let micros = if late {
                self.random.u64(0..self.weather.late_millis * 1_000)
            } else {
                self.random.u64(200..3_000)
            };
            let event = Event::Message {
                to,
                from: sender,
                payload: payload.clone(),
            };
            self.schedule(Duration::from_micros(micros), event);
        }
    }

    fn flood_near(&mut self, at: Place) {
        let (edition, body) = self.peers[at].near.clone();
        let from = self.peers[at].id;
        for to in 0..self.peers.len() {
            if to != at && self.connected(at, to) && !body.is_empty() {
                let micros = self.random.u64(200..20_000);
                let body = body.clone();
                let event = Event::Near {
                    to,
                    from,
                    edition,
                    body,
                };
                self.schedule(Duration::from_micros(micros), event);
            }
        }
    }

    fn give_view(&mut self, to: Place) {
        if !self.peers[to].life.as_ref().is_some_and(|life| life.ready) {
            return;
        }
        let time = self.time;
        let mut members: Vec<(PeerId, Incarnation)> = (0..self.peers.len())
            .filter(|from| {
                *from == to
                    || self.connected(*from, to)
                        && self.admits(to, *from)
                        && self.admits(*from, to)
                        && self
                            .suspicions
                            .get(&(to, *from))
                            .is_none_or(|until| *until <= time)
            })
            .filter_map(|from| {
                let peer = &self.peers[from];
                Some((peer.id, peer.life.as_ref()?.incarnation))
            })
            .collect();
        members.sort();
        self.peers[to].view_number += 1;
        let view = View {
            number: self.peers[to].view_number,
            id: ViewId(self.random.u64(..)),
            members,
        };
        let (wall, now) = (self.wall(to), self.now());
        self.life(to).replica.handle_view(&view, wall, now);
    }

    fn connected(&self, from: Place, to: Place) -> bool {
        let ready = |at: Place| self.peers[at].life.as_ref().is_some_and(|life| life.ready);
        self.side[from] == self.side[to] && ready(from) && ready(to)
    }

    /// A link may be open: one of the two knows the other, and neither excludes it.
    fn acquainted(&self, a: Place, b: Place) -> bool {
        self.admits(a, b) || self.admits(b, a)
    }

    fn admits(&self, who: Place, whom: Place) -> bool {
        let id = self.peers[whom].id;
        self.peers[who].life.as_ref().is_some_and(|life| {
            life.members.admitted.iter().any(|admit| admit.peer() == id)
                && !life.members.excluded.contains(&id)
                && !life.members.evicted.contains(&id)
        })
    }

    fn schedule(&mut self, delay: Duration, event: Event) {
        self.next_event += 1;
        self.events
            .insert((self.time + delay, self.next_event), event);
    }

    fn admit(&self, place: Place) -> Admit {
        Admit {
            cluster: CLUSTER,
            key: key(place),
            name: format!("peer-{place}"),
            addresses: Vec::new(),
            by: key(0).peer_id(),
            wall: Duration::ZERO,
            signature: [0; 64],
        }
    }

    fn trace(&mut self, at: Place, output: &Output) {
        let line = match output {
            Output::Send { payload, .. } | Output::Multicast { payload, .. } => payload.to_vec(),
            Output::Write(batch) => batch.id.0.to_be_bytes().to_vec(),
            other => format!("{other:?}").into_bytes(),
        };
        let mut hash = self.checks.summary.trace ^ at as u64 ^ self.time.as_nanos() as u64;
        for byte in line {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.checks.summary.trace = hash;
        if std::env::var_os("SIMULATION_TRACE").is_some() {
            match output {
                Output::Multicast { .. } | Output::Send { .. } | Output::Write(_) => {}
                other => eprintln!("{:?} {at}: {other:?}", self.time),
            }
        }
    }

    pub(crate) fn living_and_named(&self) -> BTreeSet<PeerId> {
        let living = self.peers.iter().filter(|peer| !peer.destroyed);
        living.map(|peer| peer.id).collect()
    }
}

fn key(place: Place) -> PublicKey {
    PublicKey([place as u8 + 1; 32])
}

const CLUSTER: ClusterId = ClusterId([7; 16]);
const EPOCH_MILLIS: i64 = 1_700_000_000_000;
