//! One peer: `Replica`, `Failover`, fold, requests and publishing wired together.
//!
//! ```text
//!   UPDATE ─▶ requests ─▶ Replica::submit ─▶ Arrived ─▶ fold ─▶ Serve: queries see it
//!                ▲                             …
//!                └── outcome ◀── fold ◀── Settled ─▶ publish ─▶ Serve: serials and transfers
//! ```
//! A machine: `handle_*` for what happened, then [`Peer::poll_effect`] until none is left. What
//! follows from several calls is worked out once, when it is asked for: a burst of requests makes
//! one message, one batch for the disk and one set of zones to serve. What takes long (folding a
//! long log, writing a checkpoint) goes on in slices.

mod addresses;
mod catalogs;
mod checkpoints;
mod feeding;
mod forwarding;
mod imports;
mod leases;
mod notification;
mod publication;
mod updates;

pub use checkpoints::Checkpoint;
pub use feeding::Attempted;
pub use forwarding::{Forward, Forwarded};

use crate::body::Body;
use crate::catalog::{Catalogs, Consumed};
use crate::cookie::Secrets;
use crate::durable::LoadError;
use crate::feed::Ask;
use crate::fold::Fold;
use crate::history::{Found, History};
use crate::imports::Imports;
use crate::notify::Notifier;
use crate::policy::PolicyChange;
use crate::publish::{Publisher, ZoneNews};
use crate::refresh::{Attempt, Refresher};
use crate::requests::{Answer, ClientId, CommandRefused, Request, Requests, Waits, command_digest};
use crate::serve::served::Served;
use crate::state::{Counted, Outcome, State, is_remembered};
use crate::tsig::KeyChange;
use crate::vip::failover::{Action, Failover, VipConfig};
use crate::vip::map::VipMap;
use crate::vip::staleness::Staleness;
use crate::zone_settings::SettingChange;
use addresses::Facts;
use bytes::Bytes;
use checkpoints::{CHECKPOINT_PERIOD, Checkpointing};
use imports::{IMPORT_PATIENCE, Import, OFFER_AGAIN};
use overlay::{Admit, Incarnation, PeerId, Pressure, View};
use publication::{Held, Publication, Urgency};
use replication::{
    Batch, BatchId, BlobHash, Class, Event, Majority, MemberSet, NotNow, Output, Replica, Stamp,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zones::store::Row;
use zones::{Name, Serial, Version};

/// Entries folded in one call: about a millisecond, far below the 5 ms after which neighbors
/// would notice that the peer's tick stands still.
const FOLD_BUDGET: usize = 1_000;

/// All that a peer does to the world.
pub enum Effect {
    /// The incarnation is durable: open the links.
    Ready(Incarnation),
    /// Send to all peers.
    Multicast(Class, Bytes),
    /// Send to one peer.
    Send(PeerId, Bytes),
    /// State this as the newest `Near` of this peer.
    Near(Bytes),
    /// Complain of a member to the overlay.
    Complain(PeerId),
    /// Tell the overlay who is a member.
    Members(MemberSet),
    /// Write rows of the log, flush once, then `handle_durable`.
    Write(Batch),
    /// Make new bases for these zones aside by [`crate::rebase::run`], then `handle_rebased`.
    Rebase(Vec<Version>),
    /// Write these rows of the history and flush, before any checkpoint that is asked for later.
    History(Vec<Row>),
    /// Write a checkpoint, then `handle_checkpoint`.
    Checkpoint(Box<Checkpoint>),
    /// What queries see from now on.
    Serve(Box<Served>),
    /// A zone is served from now on, or no more.
    Zone(ZoneNews),
    /// Send this datagram to a server outside; what comes back from there goes to
    /// `handle_notify_response`.
    Notify(SocketAddr, Bytes),
    /// Ask primaries aside, then `end_attempt`, `handle_difference` or `handle_import`.
    Fetch(Box<Ask>),
    /// An attempt to fetch a zone has ended.
    Attempted(Attempted),
    /// Send an update to a primary, then `handle_forwarded`.
    Forward(Box<Forward>),
    /// Tell a client.
    Answer(ClientId, Answer),
    /// What a primary gave has its end; it was brought by this client, to whom nothing is said.
    Fed(ClientId),
    /// Fetch a blob from a neighbor, store it, read the zone in it, then `handle_blob`.
    FetchBlob(BlobHash, PeerId),
    /// Delete a blob.
    DropBlob(BlobHash),
    /// This peer's eviction is settled.
    Evicted,
    /// Whoever said that this peer is evicted took it back.
    NotEvicted,
    /// Something for the operator's log.
    Log(Event),
    /// This catalog of a primary cannot be followed, and why.
    BadCatalog(Name, &'static str),
    /// What the machine of VIPs wants.
    Vip(Action),
}

/// The machine.
pub struct Peer {
    replica: Replica,
    fold: Fold,
    imports: Imports,
    requests: Requests,
    publisher: Publisher,
    /// Settled states whose published mark is on its way to the disk.
    publishing: VecDeque<Publication>,
    is_published_in_view: bool,
    /// Whether the first publication in this view waits.
    held: Held,
    /// What settled since the last of them, above the gate.
    counted: Vec<Counted>,
    /// Whether `counted` holds all that settled above the gate and is not published.
    is_counted_whole: bool,
    history: History,
    notifier: Notifier,
    refresher: Refresher,
    /// What primaries gave, on its way to all peers.
    feeds: BTreeMap<ClientId, (Name, Serial)>,
    /// Attempts to fetch zones that have ended, which the refresher is to be told of.
    fed: Vec<(Name, Attempt)>,
    spreading: BTreeMap<BlobHash, Import>,
    /// Commands that are settled and not yet published: where, who gave them, what came of them.
    unpublished: Vec<(Stamp, ClientId, Outcome)>,
    checkpointing: Checkpointing,
    /// Bytes of entries since the last checkpoint.
    log_size: usize,
    commands: u64,
    is_stopping: bool,
    is_evicted: bool,
    /// The link thread stands still for longer than a lease.
    links_hang: bool,
    /// How much waits to be multicast.
    pressure: Pressure,
    /// When something happened whose consequences nobody has asked for yet.
    called: Option<(Duration, Instant)>,
    effects: VecDeque<Effect>,
    refused: u64,
    failover: Failover,
    /// The map that it was last told of.
    vips_seen: Arc<VipMap>,
    vip_facts: Option<Facts>,
    staleness: Staleness,
    staleness_due: Option<Instant>,
    is_sick: bool,
    /// When the next lease ends, if it is for this peer to see to it.
    lease_due: Option<Instant>,
    catalogs: Catalogs,
    consumed: Consumed,
    /// When they are looked at again.
    catalogs_due: Option<Instant>,
}

impl Peer {
    /// Takes up a life from what is durable: the checkpoint's state, the replica resumed on it,
    /// and the zones in the blobs that the log names; all of them must be there.
    pub fn resume(
        mut replica: Replica,
        checkpoint: State,
        imports: Imports,
        found: Found,
        vips: VipConfig,
        wall: Duration,
        now: Instant,
    ) -> Result<Self, LoadError> {
        if let Some(lacking) = replica.named_blobs().find(|blob| !imports.contains(blob)) {
            return Err(LoadError::Blob(lacking));
        }
        for blob in imports.hashes() {
            replica.handle_blob_held(blob, wall, now);
        }
        let mut history = History::resume(found);
        let published = publication::refold(&replica, &checkpoint, &imports, &mut history);
        let is_published = replica.published().is_some();
        // A peer that is restarted again and again comes to a checkpoint all the same.
        let log_size = replica
            .log_after(Stamp::ZERO)
            .map(|entry| entry.encoded_size())
            .sum();
        let notifier = Notifier::new(vips.me, replica.incarnation().0);
        let refresher = Refresher::new(vips.me, replica.incarnation().0);
        let mut peer = Self {
            fold: Fold::new(checkpoint),
            publisher: Publisher::new(is_published.then_some(published)),
            replica,
            imports,
            requests: Requests::default(),
            publishing: VecDeque::new(),
            is_published_in_view: false,
            held: Held::No,
            counted: Vec::new(),
            is_counted_whole: true,
            history,
            notifier,
            refresher,
            feeds: BTreeMap::new(),
            fed: Vec::new(),
            spreading: BTreeMap::new(),
            unpublished: Vec::new(),
            checkpointing: Checkpointing::Idle {
                due: now + CHECKPOINT_PERIOD,
            },
            log_size,
            commands: 0,
            is_stopping: false,
            is_evicted: false,
            links_hang: false,
            pressure: Pressure::Low,
            called: None,
            effects: VecDeque::new(),
            refused: 0,
            failover: Failover::new(vips, VipMap::default(), now),
            vips_seen: Arc::default(),
            vip_facts: None,
            staleness: Staleness::new(),
            staleness_due: None,
            is_sick: false,
            lease_due: None,
            catalogs: Catalogs::default(),
            consumed: Consumed::default(),
            catalogs_due: None,
        };
        peer.drain();
        Ok(peer)
    }

    /// An operator removes a zone.
    pub fn handle_remove(
        &mut self,
        client: ClientId,
        origin: Name,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        let state = self.fold.now();
        if !state.has_zone(&origin) {
            return Err(CommandRefused::NoSuchZone);
        }
        let settings = state.settings(&origin);
        let membership = settings.and_then(|settings| settings.member_of.as_ref());
        if membership.is_some_and(|it| state.fed(&it.catalog).is_some()) {
            return Err(CommandRefused::ZoneListed);
        }
        let body = Body::Remove {
            origin: origin.clone(),
        };
        self.command(client, Some(origin), &body, Vec::new(), wall, now)
    }

    /// An operator changes who may update, transfer and notify.
    pub fn handle_policy(
        &mut self,
        client: ClientId,
        change: PolicyChange,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        self.command(client, None, &Body::Policy(change), Vec::new(), wall, now)
    }

    /// An operator sets by what server cookies are made and known.
    pub fn handle_cookies(
        &mut self,
        client: ClientId,
        secrets: Secrets,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        let body = Body::Cookies(secrets);
        self.command(client, None, &body, Vec::new(), wall, now)
    }

    /// An operator sets what holds for one zone.
    pub fn handle_zone_settings(
        &mut self,
        client: ClientId,
        origin: Name,
        changes: Vec<SettingChange>,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        let feeds = |change: &SettingChange| match change {
            SettingChange::Primaries(primaries) => !primaries.is_empty(),
            _ => false,
        };
        if !self.fold.now().has_zone(&origin) && !changes.iter().any(feeds) {
            return Err(CommandRefused::NoSuchZone);
        }
        let body = Body::ZoneSettings { origin, changes };
        self.command(client, None, &body, Vec::new(), wall, now)
    }

    /// An operator changes the keys by which requests are signed.
    pub fn handle_key(
        &mut self,
        client: ClientId,
        change: KeyChange,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        self.command(client, None, &Body::Key(change), Vec::new(), wall, now)
    }

    /// An operator evicts a member.
    pub fn handle_evict(
        &mut self,
        victim: PeerId,
        majority: Majority,
        wall: Duration,
        now: Instant,
    ) -> Result<(), NotNow> {
        let authored = self.replica.author_evict(victim, majority, wall, now)?;
        self.note_authored(authored);
        self.called = Some((wall, now));
        Ok(())
    }

    /// A newcomer has its stage: let it join.
    pub fn handle_join(
        &mut self,
        admit: Admit,
        majority: Majority,
        wall: Duration,
        now: Instant,
    ) -> Result<(), NotNow> {
        let authored = self.replica.author_join(admit, majority, wall, now)?;
        self.note_authored(authored);
        self.called = Some((wall, now));
        Ok(())
    }

    /// The overlay agreed on another view.
    pub fn handle_view(&mut self, view: &View, wall: Duration, now: Instant) {
        self.replica.handle_view(view, wall, now);
        self.failover.handle_view(view, now);
        self.called = Some((wall, now));
    }

    /// A payload of another peer.
    pub fn handle_message(&mut self, from: PeerId, payload: &[u8], wall: Duration, now: Instant) {
        if !self.take_hint(payload, now) {
            self.replica.handle_message(from, payload, wall, now);
        }
        self.called = Some((wall, now));
    }

    /// Another peer's newest `Near`.
    pub fn handle_near(&mut self, of: PeerId, body: &[u8], wall: Duration, now: Instant) {
        self.replica.handle_near(of, body, wall, now);
        self.called = Some((wall, now));
    }

    /// The overlay lost multicasts of a peer.
    pub fn handle_gap(&mut self, of: PeerId, wall: Duration, now: Instant) {
        self.replica.handle_gap(of, wall, now);
        self.called = Some((wall, now));
    }

    /// The overlay takes entries more slowly than they are authored, or again fast enough.
    pub fn handle_pressure(&mut self, pressure: Pressure) {
        self.pressure = pressure;
    }

    /// A link to a neighbor came up.
    pub fn handle_neighbor_up(&mut self, neighbor: PeerId, wall: Duration, now: Instant) {
        self.replica.handle_neighbor_up(neighbor, now);
        self.called = Some((wall, now));
    }

    /// The link to a neighbor went down.
    pub fn handle_neighbor_down(&mut self, neighbor: PeerId, wall: Duration, now: Instant) {
        self.replica.handle_neighbor_down(neighbor);
        self.failover.handle_suspected(neighbor, now);
        self.called = Some((wall, now));
    }

    /// A batch of log rows is on disk.
    pub fn handle_durable(&mut self, batch: BatchId, wall: Duration, now: Instant) {
        self.replica.handle_durable(batch, wall, now);
        self.called = Some((wall, now));
    }

    /// A blob is on disk, and this zone is in it.
    pub fn handle_blob(&mut self, blob: BlobHash, version: Version, wall: Duration, now: Instant) {
        self.imports.insert(blob, version);
        self.replica.handle_blob_held(blob, wall, now);
        self.called = Some((wall, now));
    }

    /// A piece of a blob came from a neighbor.
    pub fn handle_blob_progress(&mut self, now: Instant) {
        self.replica.handle_blob_progress(now);
    }

    /// A neighbor did not give the blob, or what it gave is not it.
    pub fn handle_blob_failed(
        &mut self,
        blob: BlobHash,
        from: PeerId,
        wall: Duration,
        now: Instant,
    ) {
        self.replica.handle_blob_failed(blob, from, now);
        self.called = Some((wall, now));
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, wall: Duration, now: Instant) {
        self.replica.handle_timeout(wall, now);
        if self.failover.poll_timeout().is_some_and(|due| due <= now) {
            self.failover.handle_timeout(now);
        }
        self.offer_again(wall, now);
        for waiting in self.requests.take_impatient(now) {
            if let Waits::Read(read, _) = waiting.waits {
                self.replica.release_read(read);
            }
            for client in waiting.clients {
                self.answer(client, Answer::Unavailable);
            }
        }
        self.called = Some((wall, now));
    }

    /// Takes no more updates and hands its VIPs over; the driver waits until [`Self::is_idle`], two
    /// seconds at most.
    pub fn stop(&mut self, wall: Duration, now: Instant) {
        self.is_stopping = true;
        self.failover.stop(now);
        self.called = Some((wall, now));
    }

    /// The overlay says that this peer's eviction is settled.
    pub fn set_evicted(&mut self) {
        self.is_evicted = true;
    }

    /// True if it was asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// True if it has been evicted.
    #[must_use]
    pub fn is_evicted(&self) -> bool {
        self.is_evicted
    }

    /// Bytes written to the log since the last checkpoint.
    #[must_use]
    pub fn log_size(&self) -> usize {
        self.log_size
    }

    /// True if no request waits and, after a stop, no VIP is held.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_closed = !self.is_stopping || self.failover.is_closed();
        self.requests.is_empty() && self.unpublished.is_empty() && is_closed
    }

    /// The next thing to do. Drain it before an operator's command, and before waiting.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        // What the disk and the others wait for comes before what takes a while here.
        if self.effects.is_empty() {
            self.drain();
        }
        if self.effects.is_empty()
            && let Some((wall, now)) = self.called.take()
        {
            self.go_on(wall, now);
        }
        self.effects.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let has_work = !self.fold.is_complete()
            || !self.publisher.is_complete()
            || matches!(self.checkpointing, Checkpointing::Folding { .. });
        if has_work {
            return Some(now);
        }
        let checkpoint = match self.checkpointing {
            Checkpointing::Idle { due } => self
                .replica
                .checkpoint_mark()
                .is_some()
                .then(|| due.max(now)),
            Checkpointing::Folding { .. }
            | Checkpointing::Rebasing { .. }
            | Checkpointing::Writing { .. } => None,
        };
        let imports = self
            .spreading
            .values()
            .map(|import| (import.since + IMPORT_PATIENCE).min(import.offered + OFFER_AGAIN))
            .min();
        [
            self.replica.poll_timeout(),
            self.requests.poll_timeout(),
            self.failover.poll_timeout(),
            self.notifier.poll_timeout(now),
            self.refresher.poll_timeout(now).filter(|_| self.asks()),
            self.held.due(),
            self.staleness_due,
            self.lease_due,
            self.catalogs_due,
            checkpoint,
            imports,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The replica, for `status`.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What queries see.
    #[must_use]
    pub fn now(&self) -> &State {
        self.fold.now()
    }

    /// The settled state; none between an installed view and its first settling.
    #[must_use]
    pub fn settled(&self) -> Option<&State> {
        self.fold.settled()
    }

    /// What was published, step by step.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The published state.
    #[must_use]
    pub fn published(&self) -> Option<&State> {
        self.publisher.published()
    }

    /// True if queries see all that is published, where this side may publish.
    #[must_use]
    pub fn shows_all(&self) -> bool {
        let is_published = self.published().is_some() || !self.replica.may_publish();
        is_published && self.publisher.is_complete()
    }

    /// The state of the last durable checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &State {
        self.fold.checkpoint()
    }

    /// Whether everything that is known is folded.
    #[must_use]
    pub fn is_folded(&self) -> bool {
        self.fold.is_complete()
    }

    /// How many requests wait, and how many were refused because too many did.
    #[must_use]
    pub fn request_figures(&self) -> (usize, u64) {
        (self.requests.len(), self.refused)
    }

    fn go_on(&mut self, wall: Duration, now: Instant) {
        loop {
            self.drain();
            let has_settled = self.fold_on();
            self.publish(wall, now);
            self.answer_reads();
            let mut has_settled = has_settled;
            if self.fold.is_current() && self.is_taking() {
                for digest in self.requests.take_turns() {
                    has_settled |= self.consider(digest, wall, now);
                }
            }
            self.commit_imports(wall, now);
            has_settled |= self.end_leases(wall, now);
            has_settled |= self.keep_catalogs(wall, now);
            self.write_history(wall, Urgency::IfDue);
            self.write_checkpoint(wall, now);
            let has_more = self.drain() || has_settled;
            if !has_more {
                break;
            }
        }
        let (now_shown, steps) = (self.fold.now(), self.history.chains());
        let served = self.publisher.update(now_shown, steps);
        let looked_at = self.publisher.take_looked_at();
        self.look_for_notices(&looked_at, now);
        self.look_for_feeds(&looked_at, now);
        if let Some(served) = served {
            // Before the answers: who is told of an update and asks for a transfer then finds that
            // there is something to wait for.
            self.effects.push_front(Effect::Serve(Box::new(served)));
            let news = self.publisher.take_news().into_iter().map(Effect::Zone);
            self.effects.extend(news);
        }
        self.answer_commands();
        self.send_notices(wall, now);
        self.ask_primaries(wall, now);
        self.go_on_with_vips(now);
    }

    /// Folds a slice and answers what settled in it. True if anything did.
    fn fold_on(&mut self) -> bool {
        let advanced = self.fold.advance(&self.replica, &self.imports, FOLD_BUDGET);
        let has_settled = !advanced.settled.is_empty();
        self.count(advanced.counted);
        for (stamp, digest, outcome) in advanced.settled {
            let Some(digest) = digest else { continue };
            // After a view change all is folded again: an outcome that was told long ago is not
            // that of a newer request with the same bytes.
            let is_awaited = self.requests.get(&digest).is_some_and(|waiting| {
                !matches!(waiting.waits, Waits::Entry(asked) if !is_remembered(digest, stamp, asked))
            });
            let is_command = self
                .requests
                .get(&digest)
                .is_some_and(|waiting| matches!(waiting.request, Request::Command { .. }));
            if is_command && let Some(waiting) = self.requests.remove(&digest) {
                let clients = waiting.clients.into_iter();
                self.unpublished
                    .extend(clients.map(|client| (stamp, client, outcome)));
            } else if is_awaited {
                self.finish(&digest, outcome);
            }
        }
        has_settled
    }

    /// Takes what the replica has to say. True if it said anything that the fold must follow.
    fn drain(&mut self) -> bool {
        let mut changed = false;
        while let Some(output) = self.replica.poll_output() {
            let effect = match output {
                Output::Arrived(stamp) => {
                    changed = true;
                    self.fold.handle_arrived(stamp);
                    continue;
                }
                Output::LogChanged => {
                    changed = true;
                    self.fold.handle_log_changed();
                    self.fold.count_above(self.replica.gate());
                    self.publishing.clear();
                    self.counted.clear();
                    self.is_counted_whole = true;
                    self.is_published_in_view = false;
                    self.held = Held::No;
                    self.requests.handle_log_changed();
                    continue;
                }
                Output::Settled(mark) => {
                    changed = true;
                    self.fold.handle_settled(mark);
                    continue;
                }
                Output::GaveUp(digest) => {
                    self.give_up(&digest);
                    continue;
                }
                // The checkpoint asks for the mark when it is due.
                Output::Stable(_) => continue,
                Output::Published(mark) => {
                    changed = true;
                    self.handle_published(mark);
                    continue;
                }
                Output::Ready(incarnation) => Effect::Ready(incarnation),
                Output::Write(batch) => {
                    self.log_size += batch
                        .pieces
                        .iter()
                        .flatten()
                        .map(|row| row.value.as_ref().map_or(0, Vec::len))
                        .sum::<usize>();
                    Effect::Write(batch)
                }
                Output::Multicast { class, payload } => Effect::Multicast(class, payload),
                Output::Send { to, payload } => Effect::Send(to, payload),
                Output::Near(body) => Effect::Near(body),
                Output::Complain(peer) => Effect::Complain(peer),
                Output::Members(members) => Effect::Members(members),
                Output::FetchBlob { hash, from } => Effect::FetchBlob(hash, from),
                Output::DropBlob(hash) => {
                    self.imports.remove(&hash);
                    Effect::DropBlob(hash)
                }
                Output::Evicted => {
                    self.is_evicted = true;
                    Effect::Evicted
                }
                Output::NotEvicted => {
                    self.is_evicted = false;
                    Effect::NotEvicted
                }
                Output::Event(event) => Effect::Log(event),
            };
            self.effects.push_back(effect);
        }
        changed
    }

    fn command(
        &mut self,
        client: ClientId,
        origin: Option<Name>,
        body: &Body,
        blobs: Vec<BlobHash>,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        self.commands += 1;
        let digest = command_digest(self.replica.incarnation().0, self.commands);
        self.requests
            .add(digest, Request::Command { origin }, client, now)
            .map_err(|_| CommandRefused::Busy)?;
        if let Err(refused) = self.submit(digest, body, blobs, wall, now) {
            self.requests.remove(&digest);
            return Err(CommandRefused::Replica(refused));
        }
        self.called = Some((wall, now));
        self.requests.wait(digest, Waits::Entry(Stamp::ZERO));
        Ok(())
    }

    fn answer(&mut self, client: ClientId, answer: Answer) {
        if let Some((origin, serial)) = self.feeds.remove(&client) {
            let attempt = self.attempt_of(&origin, serial, &answer);
            self.fed.push((origin, attempt));
            self.effects.push_back(Effect::Fed(client));
            return;
        }
        self.effects.push_back(Effect::Answer(client, answer));
    }
}
