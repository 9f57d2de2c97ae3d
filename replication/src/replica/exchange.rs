//! Messages in; entries, fetches, offers and blobs (replication protocol section 3).

use super::{Eviction, Replica};
use crate::catch_up::{OFFER_TO_OTHER, RUN_BUDGET, runs};
use crate::entry::{BlobHash, Chain, Entry, EntryId};
use crate::frontier::Frontier;
use crate::log::Accepted;
use crate::message::{Ask, Envelope, Known, Message, RunEnd};
use crate::output::{Class, Output};
use overlay::{Incarnation, PeerId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Replica {
    /// A payload of another replica; what is malformed or of another cluster is dropped.
    pub fn handle_message(&mut self, from: PeerId, payload: &[u8], wall: Duration, now: Instant) {
        let Some(envelope) = Envelope::decode(payload) else {
            return;
        };
        if envelope.cluster != self.config.cluster
            || envelope.sender != from
            || from == self.config.me
            || self.phase() == super::Phase::Starting
        {
            return;
        }
        let incarnation = envelope.incarnation;
        let before = self.reach.get(&from).copied();
        let current = self.hear_life(from, incarnation);
        if self.reach.get(&from).copied() != before {
            self.review(now);
        }
        let message = match envelope.message {
            Message::Part(part) => self.gathering.take(from, incarnation, part),
            message => Some(message),
        };
        let Some(message) = message else {
            return;
        };
        match message {
            Message::Entries { entries, end } => self.take_entries(from, entries, end, now),
            Message::Fetch {
                chain,
                from: first,
                to,
            } => self.answer_fetch(from, chain, first, to),
            Message::BlobOffer { hash, size: _ } => {
                self.blobs.hear_holder(hash, from);
                if self.blobs.holds(hash) {
                    // The import is under way again, or its author did not hear it before.
                    self.blobs.hold(hash, now);
                    self.send(from, Message::BlobHeld(hash));
                } else {
                    self.blobs.want(hash);
                    self.start_blob_fetches(now);
                }
            }
            Message::BlobHeld(hash) => self.blobs.hear_holder(hash, from),
            // What follows speaks of the sender's state: only its present life may.
            _ if !current => {}
            Message::Announce(announce) => {
                self.hear_announce(from, incarnation, &announce, wall, now);
            }
            Message::Propose(propose) => {
                self.tell_if_evicted(from);
                self.hear_propose(from, incarnation, propose, now);
            }
            Message::State(state) => self.hear_state(from, incarnation, state, now),
            Message::Offer { known, ask } => self.hear_offer(from, incarnation, known, ask, now),
            Message::Evicted => {
                if self.eviction == Eviction::None {
                    self.eviction = Eviction::Told;
                    self.give_up_queued(|_| true);
                    self.outputs.push_back(Output::Evicted);
                    let stated = self.stated();
                    self.send(from, Message::ReseedAsk(stated));
                }
            }
            Message::ReseedAsk(stated) => {
                if !self.members.evicted().contains(&from) {
                    self.catch_up.hear_all(from, &stated, &self.log, now);
                    self.send(from, Message::NotEvicted);
                }
            }
            Message::Part(_) => unreachable!("no message is made of parts of parts"),
            Message::NotEvicted => {
                if self.eviction == Eviction::Told {
                    self.eviction = Eviction::None;
                    self.outputs.push_back(Output::NotEvicted);
                }
            }
        }
        self.drive_later(wall, now);
    }

    /// The overlay lost multicasts of this peer: what it holds is asked for.
    pub fn handle_gap(&mut self, of: PeerId, wall: Duration, now: Instant) {
        if self.phase() != super::Phase::Starting && of != self.config.me {
            self.offer(of);
            self.drive_later(wall, now);
        }
    }

    /// A link to this neighbor came up: offers go out also where overlay views lie apart, since a
    /// join that one of the two lacks would keep them so.
    pub fn handle_neighbor_up(&mut self, neighbor: PeerId, now: Instant) {
        self.neighbors.insert(neighbor);
        self.offer_now(neighbor, now);
    }

    /// The link to this neighbor went down.
    pub fn handle_neighbor_down(&mut self, neighbor: PeerId) {
        self.neighbors.remove(&neighbor);
        self.forget_holders();
    }

    /// Offers a blob to all: it is durable here, and an entry will name it. Another peer's entry may name
    /// it already, where both bring the same data.
    pub fn offer_blob(&mut self, hash: BlobHash, size: u64, wall: Duration, now: Instant) {
        self.blobs.hold(hash, now);
        self.multicast(Class::Control, Message::BlobOffer { hash, size });
        self.release_waiting(wall, now);
    }

    /// A blob is durable here: one that was fetched, or one found on disk at the start.
    pub fn handle_blob_held(&mut self, hash: BlobHash, wall: Duration, now: Instant) {
        self.blobs.hold(hash, now);
        if self.phase() == super::Phase::Starting {
            return;
        }
        self.multicast(Class::Control, Message::BlobHeld(hash));
        self.release_waiting(wall, now);
    }

    /// Takes the entries that have waited for a blob that is here.
    fn release_waiting(&mut self, wall: Duration, now: Instant) {
        for chain in self.log.waiting_chains() {
            let newly = self.log.release(chain, &self.blobs);
            self.take_held(&newly, now);
        }
        self.review(now);
        self.drive_later(wall, now);
    }

    /// A blob that is being fetched comes on: settling alone waits for it, as for entries.
    pub fn handle_blob_progress(&mut self, now: Instant) {
        self.wait_longer_alone(now);
    }

    /// A blob did not come from this holder.
    pub fn handle_blob_failed(&mut self, hash: BlobHash, from: PeerId, now: Instant) {
        self.blobs.fail(hash, from);
        self.start_blob_fetches(now);
    }

    /// Blobs whose imports were given up go.
    pub(super) fn drop_stale_blobs(&mut self, now: Instant) {
        for hash in self.blobs.stale(|hash| self.needs_blob(hash), now) {
            self.blobs.forget(hash);
            self.outputs.push_back(Output::DropBlob(hash));
        }
    }

    /// Whether an entry that is held, or about to be made, names the blob: then it stays.
    #[must_use]
    pub fn needs_blob(&self, hash: BlobHash) -> bool {
        self.log.entries().any(|entry| entry.blobs.contains(&hash))
            || self.queue.iter().any(|queued| queued.blobs.contains(&hash))
    }

    /// The blobs that the log's entries name.
    pub fn named_blobs(&self) -> impl Iterator<Item = BlobHash> + '_ {
        self.log.entries().flat_map(|entry| &entry.blobs).copied()
    }

    /// Nobody wants the blob any more: its import was given up.
    pub fn forget_blob(&mut self, hash: BlobHash) {
        self.blobs.forget(hash);
    }

    /// Who of the view, and of those near, does not hold the blob yet.
    #[must_use]
    pub fn blob_lackers(&self, hash: BlobHash) -> Vec<PeerId> {
        let members = self.view.in_use().map(|in_use| in_use.members.keys());
        let near = self.own_near.near.keys();
        let needed: BTreeSet<PeerId> = members.into_iter().flatten().chain(near).copied().collect();
        let lacks = |peer: &PeerId| {
            if *peer == self.config.me {
                !self.blobs.holds(hash)
            } else {
                !self.blobs.is_held_by(hash, *peer)
            }
        };
        needed.into_iter().filter(lacks).collect()
    }

    pub(super) fn start_blob_fetches(&mut self, now: Instant) {
        // From neighbors also outside the view: without its data no later entry of the chain is
        // held, and one of them may be the very join that keeps the overlay views apart.
        let (reach, neighbors) = (&self.reach, &self.neighbors);
        let is_reachable = |peer| reach.contains_key(&peer) || neighbors.contains(&peer);
        let fetches = self.blobs.start_fetches(is_reachable, neighbors, now);
        for (hash, from) in fetches {
            self.outputs.push_back(Output::FetchBlob { hash, from });
        }
    }

    fn take_entries(&mut self, from: PeerId, entries: Vec<Arc<Entry>>, end: RunEnd, now: Instant) {
        for entry in entries {
            // My own chain grows here only; another's word about it is of no use.
            if entry.chain == self.own_chain() {
                continue;
            }
            let id = entry.id();
            match self.log.accept(entry.clone(), &self.blobs) {
                Accepted::Held(newly) => self.take_held(&newly, now),
                Accepted::Waits => {
                    for hash in &entry.blobs {
                        self.blobs.hear_holder(*hash, from);
                        self.blobs.want(*hash);
                    }
                    let has: Frontier = [(id.chain, id.sequence)].into_iter().collect();
                    self.catch_up.hear(from, &has, &self.log, now);
                }
                // Perhaps the first that sent it is no neighbor, and gives no blob.
                Accepted::Known => {
                    for hash in &entry.blobs {
                        self.blobs.hear_another_holder(*hash, from);
                    }
                }
                Accepted::Refused => {}
            }
        }
        self.start_blob_fetches(now);
        if end == RunEnd::Cut {
            self.catch_up.hurry_after_cut(now);
            self.offer(from);
        }
        self.try_install(now);
        if self.own_near.near.len() + 1 < self.reach.len() {
            self.review(now);
        }
        self.fetch(now);
    }

    fn take_held(&mut self, newly: &[Arc<Entry>], now: Instant) {
        for entry in newly {
            self.clock.see(entry.hybrid);
            self.commit.add(entry.clone());
            if self.log.in_log(entry.stamp()) {
                self.outputs.push_back(Output::Arrived(entry.stamp()));
            }
            let chain = entry.chain;
            let is_member = self.view.in_use().is_some_and(|in_use| {
                in_use.members.get(&chain.author) == Some(&chain.incarnation)
            });
            if let Some(view) = self.marks.view.as_mut().filter(|_| is_member) {
                view.count(chain.author, self.log.held().get(chain));
            }
            self.catch_up.progress(chain, now);
        }
        self.wait_longer_alone(now);
    }

    pub(super) fn fetch(&mut self, now: Instant) {
        // From neighbors also outside the view: what this peer lacks may be the very join that keeps
        // the overlay views apart.
        let is_reachable =
            |peer: PeerId| self.reach.contains_key(&peer) || self.neighbors.contains(&peer);
        let fetches = self.catch_up.fetches(&self.log, is_reachable, now);
        for (holder, message) in fetches.messages {
            self.send(holder, message);
        }
        for holder in fetches.doubted {
            if self.catch_up.offer_is_due(holder, OFFER_TO_OTHER, now) {
                self.offer(holder);
            }
        }
    }

    /// What peers hold that cannot be asked cannot be fetched either.
    pub(super) fn forget_holders(&mut self) {
        let (reach, neighbors) = (&self.reach, &self.neighbors);
        let can_be_asked = |peer| reach.contains_key(&peer) || neighbors.contains(&peer);
        self.catch_up.retain_peers(can_be_asked);
        self.gathering.retain_peers(can_be_asked);
    }

    fn answer_fetch(&mut self, to: PeerId, chain: Chain, first: u64, last: u64) {
        // What lies aside at or below the floor is never offered.
        let last = last.min(self.stated().get(chain));
        let messages = runs(self.log.range(chain, first, last), RUN_BUDGET);
        for message in messages {
            self.send(to, message);
        }
    }

    fn hear_offer(
        &mut self,
        from: PeerId,
        incarnation: Incarnation,
        known: Known,
        ask: Ask,
        now: Instant,
    ) {
        self.catch_up.hear_all(from, &known.stated, &self.log, now);
        self.tell_if_evicted(from);
        if ask == Ask::Entries {
            let answer = Message::Offer {
                known: self.known(),
                ask: Ask::Nothing,
            };
            self.send(from, answer);
            let stated = self.stated();
            let lacking = stated
                .iter()
                .flat_map(|(chain, to)| self.log.range(chain, known.held.get(chain) + 1, to));
            for message in runs(lacking, RUN_BUDGET) {
                self.send(from, message);
            }
        }
        self.catch_up.hear_known(from, incarnation, known);
        self.review(now);
    }

    /// Sends an Offer to a peer, which answers with what this one does not hold.
    pub(super) fn offer(&mut self, to: PeerId) {
        let known = self.known();
        self.send(
            to,
            Message::Offer {
                known,
                ask: Ask::Entries,
            },
        );
    }

    pub(super) fn offer_now(&mut self, to: PeerId, now: Instant) {
        if to != self.config.me && self.phase() != super::Phase::Starting {
            self.catch_up.offer_is_due(to, Duration::ZERO, now);
            self.offer(to);
        }
    }

    /// The victim is told only where its eviction is settled.
    fn tell_if_evicted(&mut self, peer: PeerId) {
        if self.members.evicted().contains(&peer) {
            self.send(peer, Message::Evicted);
        }
    }

    /// Whether this peer holds the entry, in the log, aside, or below its checkpoint.
    #[must_use]
    pub fn holds(&self, id: EntryId) -> bool {
        self.log.held().holds(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::entry::Digest;
    use crate::message::{Prefix, Propose};
    use crate::near::Near;
    use crate::replica::{Config, Majority, Phase, Refused, Submitted};
    use bytes::Bytes;
    use overlay::{Admit, ClusterId, PublicKey};
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const CLUSTER: ClusterId = ClusterId([1; 16]);
    const OTHER: PeerId = PeerId([9; 8]);
    const WALL: Duration = Duration::from_secs(1_700_000_000);

    /// A peer of one, settled, and what it says to others.
    struct World {
        replica: Replica,
        wall: Duration,
        now: Instant,
        disk: Disk,
        said: Vec<Message>,
        told: Vec<Output>,
        rows: Vec<crate::output::Row>,
        meta: Bytes,
        gathering: crate::parts::Gathering,
    }

    #[derive(PartialEq, Eq)]
    enum Disk {
        Works,
        /// No flush ends.
        Hangs,
    }

    fn config() -> Config {
        let limit = Duration::from_millis(100);
        Config::new(admit(7).peer(), CLUSTER, limit, limit)
    }

    fn admit(seed: u8) -> Admit {
        let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = PublicKey(key.public_key().as_ref().try_into().unwrap());
        let (me, name) = (public.peer_id(), format!("peer {seed}"));
        Admit::sign(&key, CLUSTER, public, name, Vec::new(), me, WALL)
    }

    impl World {
        fn new() -> Self {
            let birth = Replica::birth(admit(7), WALL);
            Self::resume(birth.pieces.concat(), birth.checkpoint_meta)
        }

        fn resume(rows: Vec<crate::output::Row>, meta: Bytes) -> Self {
            let now = crate::testing::start();
            let mut world = Self {
                replica: Replica::resume(config(), &rows, &meta, 1, WALL, now).unwrap(),
                wall: WALL,
                now,
                disk: Disk::Works,
                said: Vec::new(),
                told: Vec::new(),
                rows,
                meta,
                gathering: crate::parts::Gathering::default(),
            };
            world.drain();
            world
        }

        /// The process dies and starts again on what is durable.
        fn restart(self) -> Self {
            let mut store = std::collections::BTreeMap::new();
            for row in self.rows {
                store.insert((row.tree, row.key.clone()), row);
            }
            store.retain(|_, row| row.value.is_some());
            Self::resume(store.into_values().collect(), self.meta)
        }

        fn drain(&mut self) {
            while let Some(output) = self.replica.poll_output() {
                match output {
                    Output::Write(batch) if self.disk == Disk::Works => {
                        self.rows.extend(batch.pieces.concat());
                        self.replica.handle_durable(batch.id, self.wall, self.now);
                    }
                    Output::Send { payload, .. } => {
                        let envelope = Envelope::decode(&payload).unwrap();
                        let message = match envelope.message {
                            Message::Part(part) => {
                                self.gathering
                                    .take(envelope.sender, envelope.incarnation, part)
                            }
                            message => Some(message),
                        };
                        self.said.extend(message);
                    }
                    output => self.told.push(output),
                }
            }
        }

        fn hear(&mut self, message: Message) {
            self.hear_from(OTHER, message);
        }

        fn hear_from(&mut self, from: PeerId, message: Message) {
            let envelope = Envelope {
                cluster: CLUSTER,
                sender: from,
                incarnation: Incarnation(5),
                message,
            };
            for payload in envelope.payloads() {
                self.replica
                    .handle_message(from, &payload, self.wall, self.now);
            }
            self.drain();
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.wall += time;
            self.replica.handle_timeout(self.wall, self.now);
            self.drain();
        }

        /// Requests that were given up since the last look.
        fn given_up(&mut self) -> Vec<Digest> {
            let told = std::mem::take(&mut self.told).into_iter();
            told.filter_map(|output| match output {
                Output::GaveUp(digest) => Some(digest),
                _ => None,
            })
            .collect()
        }

        fn submit(&mut self) -> Result<Submitted, Refused> {
            let body = Bytes::from_static(b"body");
            let submitted = self
                .replica
                .submit(None, body, Vec::new(), self.wall, self.now);
            self.drain();
            submitted
        }

        fn told_of_eviction(&mut self) -> Vec<Output> {
            let mut told = std::mem::take(&mut self.told);
            told.retain(|output| matches!(output, Output::Evicted | Output::NotEvicted));
            told
        }
    }

    #[test]
    fn who_is_told_that_it_is_evicted_asks_and_goes_on_if_it_is_not() {
        let mut world = World::new();
        assert!(world.submit().is_ok());
        // Word of an eviction that nobody spoke of changes nothing.
        world.hear(Message::NotEvicted);
        assert!(world.told_of_eviction().is_empty());
        for _ in 0..2 {
            world.said.clear();
            world.hear(Message::Evicted);
            world.hear(Message::Evicted);
            assert!(matches!(world.told_of_eviction()[..], [Output::Evicted]));
            assert_eq!(world.submit(), Err(Refused::Evicted));
            let asked = world.said.iter().filter_map(|message| match message {
                Message::ReseedAsk(stated) => Some(stated),
                _ => None,
            });
            // It states all that it holds, so that the other fetches what it lacks.
            assert_eq!(asked.collect::<Vec<_>>(), [&world.replica.stated()]);
            world.hear(Message::NotEvicted);
            assert!(matches!(world.told_of_eviction()[..], [Output::NotEvicted]));
            assert!(world.submit().is_ok());
        }
    }

    #[test]
    fn who_knows_of_no_eviction_says_so_and_fetches_what_it_lacks() {
        let mut world = World::new();
        let view = overlay::View {
            number: 1,
            id: overlay::ViewId(1),
            members: vec![(OTHER, Incarnation(5))],
        };
        world.replica.handle_view(&view, world.wall, world.now);
        world.drain();
        world.said.clear();
        let chain = Chain {
            author: OTHER,
            incarnation: Incarnation(4),
        };
        world.hear(Message::ReseedAsk([(chain, 3)].into_iter().collect()));
        assert!(world.said.contains(&Message::NotEvicted));
        world.now += Duration::from_secs(1);
        world.replica.handle_timeout(world.wall, world.now);
        world.drain();
        let fetch = Message::Fetch {
            chain,
            from: 1,
            to: 3,
        };
        assert!(world.said.contains(&fetch), "{:?}", world.said);
    }

    #[test]
    fn frontiers_of_thousands_of_lives_go_and_come_in_parts() {
        let chains: Vec<Chain> = (1..=4_000)
            .map(|life| Chain {
                author: PeerId([8; 8]),
                incarnation: Incarnation(life),
            })
            .collect();
        let birth = Replica::birth(admit(7), WALL);
        let mut checkpoint = Checkpoint::decode(&birth.checkpoint_meta).unwrap();
        chains
            .iter()
            .for_each(|chain| checkpoint.frontier.raise(*chain, 1));
        let mut world = World::resume(birth.pieces.concat(), checkpoint.encode());
        world.said.clear();
        world.replica.handle_neighbor_up(OTHER, world.now);
        world.drain();
        let stated = world.replica.stated();
        assert_eq!(stated.iter().count(), 4_000);
        let offers = |message: &Message| match message {
            Message::Offer { known, .. } => known.stated == stated,
            _ => false,
        };
        assert!(world.said.iter().any(offers));
        // And what another says in parts is heard.
        let more: Frontier = chains.iter().map(|chain| (*chain, 2)).collect();
        world.hear(Message::ReseedAsk(more));
        world.said.clear();
        world.pass(Duration::from_millis(100));
        let fetches = |message: &Message| matches!(message, Message::Fetch { from: 2, to: 2, .. });
        assert!(world.said.iter().any(fetches), "{:?}", world.said);
    }

    #[test]
    fn what_waits_too_long_for_a_stamp_makes_no_entry_and_is_told() {
        for told_of_eviction in [false, true] {
            let mut world = World::new();
            world.disk = Disk::Hangs;
            // Beyond the ceiling, which the hanging disk would have to raise, and yet no clock that
            // was set.
            world.wall += Duration::from_secs(30);
            let digest = Digest([3; 32]);
            let body = Bytes::from_static(b"body");
            let submitted =
                world
                    .replica
                    .submit(Some(digest), body, Vec::new(), world.wall, world.now);
            assert_eq!(submitted, Ok(Submitted::Waiting));
            world.drain();
            let before = world.replica.status().log_len;
            if told_of_eviction {
                world.hear(Message::Evicted);
            } else {
                world.pass(Duration::from_secs(7));
                assert_eq!(world.given_up(), []);
                world.pass(Duration::from_secs(1));
            }
            assert_eq!(world.given_up(), [digest]);
            let mut world = world.restart();
            world.pass(Duration::from_secs(20));
            assert_eq!(world.replica.status().log_len, before);
        }
    }

    #[test]
    fn who_fetches_a_blob_from_a_reachable_member_does_not_settle_alone() {
        let mut world = World::new();
        world.pass(Duration::from_millis(100));
        let other = admit(8);
        let peer = other.peer();
        world
            .replica
            .author_join(other, Majority::Needed, world.wall, world.now)
            .unwrap();
        world.drain();
        let mut world = world.restart();
        let view = overlay::View {
            number: 1,
            id: overlay::ViewId(1),
            members: vec![(peer, Incarnation(5))],
        };
        world.replica.handle_view(&view, world.wall, world.now);
        let second = Duration::from_secs(1);
        for _ in 0..20 {
            world.replica.handle_blob_progress(world.now);
            world.pass(second);
            assert_eq!(world.replica.phase(), Phase::Proposing);
        }
        for _ in 0..6 {
            world.pass(second);
        }
        assert_eq!(world.replica.phase(), Phase::Installed);
    }

    #[test]
    fn of_two_settled_pasts_the_one_with_fewer_members_behind_it_stops() {
        for (behind_other, stops) in [(1, true), (0, false)] {
            let mut world = World::new();
            world.pass(Duration::from_millis(100));
            let peers = [admit(8), admit(9)].map(|admit| {
                let peer = admit.peer();
                let (wall, now) = (world.wall, world.now);
                let authored = world
                    .replica
                    .author_join(admit, Majority::Forced, wall, now);
                authored.unwrap();
                world.drain();
                peer
            });
            let life = Incarnation(5);
            let view = overlay::View {
                number: 1,
                id: overlay::ViewId(1),
                members: peers.map(|peer| (peer, life)).to_vec(),
            };
            world.replica.handle_view(&view, world.wall, world.now);
            let other = world.replica.marks.stable;
            world.hear_from(
                peers[0],
                Message::Propose(Propose {
                    attempt: 1,
                    set: peers.map(|peer| (peer, life)).into(),
                    stable: Prefix {
                        position: other.position + 1,
                        ..other
                    },
                    known: Known::default(),
                }),
            );
            let near = Near {
                incarnation: life,
                near: [(peers[1], life)].into_iter().take(behind_other).collect(),
                ..Near::default()
            };
            let (wall, now) = (world.wall, world.now);
            world
                .replica
                .handle_near(peers[0], &near.encode(), wall, now);
            assert!(!world.replica.stands_apart());
            for _ in 0..20 {
                world.pass(Duration::from_millis(100));
            }
            assert_eq!(world.replica.stands_apart(), stops);
            assert_eq!(world.submit() == Err(Refused::Evicted), stops);
            world.pass(Duration::from_secs(20));
            assert_eq!(world.replica.phase() == Phase::Withdrawn, stops);
        }
    }
}
