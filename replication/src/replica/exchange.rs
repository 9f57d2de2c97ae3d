//! Messages in; entries, fetches, offers and blobs (replication protocol section 3).

use super::{Eviction, Replica};
use crate::catch_up::{RUN_BUDGET, runs};
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
        match envelope.message {
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
                    self.outputs.push_back(Output::Evicted);
                    let stated = self.stated();
                    self.send(from, Message::ReseedAsk(stated));
                }
            }
            Message::ReseedAsk(stated) => {
                if !self.members.evicted().contains(&from) {
                    self.catch_up.hear(from, &stated, &self.log, now);
                    self.send(from, Message::NotEvicted);
                }
            }
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
    }

    /// Offers a blob to all: it is durable here, and an entry will name it.
    pub fn offer_blob(&mut self, hash: BlobHash, size: u64, now: Instant) {
        self.blobs.hold(hash, now);
        self.multicast(Class::Control, Message::BlobOffer { hash, size });
    }

    /// A blob is durable here: one that was fetched, or one found on disk at the start.
    pub fn handle_blob_held(&mut self, hash: BlobHash, wall: Duration, now: Instant) {
        self.blobs.hold(hash, now);
        if self.phase() == super::Phase::Starting {
            return;
        }
        self.multicast(Class::Control, Message::BlobHeld(hash));
        for chain in self.log.waiting_chains() {
            let newly = self.log.release(chain, &self.blobs);
            self.take_held(&newly, now);
        }
        self.review(now);
        self.drive_later(wall, now);
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
        let fetches = self.blobs.start_fetches(is_reachable, now);
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
        for (holder, message) in fetches {
            self.send(holder, message);
        }
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
        self.catch_up.hear(from, &known.stated, &self.log, now);
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
    use crate::replica::{Config, Refused, Submitted};
    use bytes::Bytes;
    use overlay::{Admit, ClusterId, PublicKey};
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const CLUSTER: ClusterId = ClusterId([1; 16]);
    const OTHER: PeerId = PeerId([9; 8]);

    /// A peer of one, settled, and what it says to others.
    struct World {
        replica: Replica,
        wall: Duration,
        now: Instant,
        said: Vec<Message>,
        told: Vec<Output>,
    }

    impl World {
        fn new() -> Self {
            let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
            let public = PublicKey(key.public_key().as_ref().try_into().unwrap());
            let wall = Duration::from_secs(1_700_000_000);
            let name = "one".to_owned();
            let admit = Admit::sign(
                &key,
                CLUSTER,
                public,
                name,
                Vec::new(),
                public.peer_id(),
                wall,
            );
            let birth = Replica::birth(admit, wall);
            let limit = Duration::from_millis(100);
            let config = Config::new(public.peer_id(), CLUSTER, limit, limit);
            let rows = birth.pieces.concat();
            let now = crate::testing::start();
            let mut world = Self {
                replica: Replica::resume(config, &rows, &birth.checkpoint_meta, 1, wall, now)
                    .unwrap(),
                wall,
                now,
                said: Vec::new(),
                told: Vec::new(),
            };
            world.drain();
            world
        }

        fn drain(&mut self) {
            while let Some(output) = self.replica.poll_output() {
                match output {
                    Output::Write(batch) => {
                        self.replica.handle_durable(batch.id, self.wall, self.now);
                    }
                    Output::Send { to, payload } => {
                        assert_eq!(to, OTHER);
                        self.said.push(Envelope::decode(&payload).unwrap().message);
                    }
                    output => self.told.push(output),
                }
            }
        }

        fn hear(&mut self, message: Message) {
            let envelope = Envelope {
                cluster: CLUSTER,
                sender: OTHER,
                incarnation: Incarnation(5),
                message,
            };
            let payload = envelope.encode();
            self.replica
                .handle_message(OTHER, &payload, self.wall, self.now);
            self.drain();
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
}
