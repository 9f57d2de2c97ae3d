//! One peer's part in the log that all peers have in common: ties the parts together.
//!
//! ```text
//! replica/start.rs     birth, restart, a newcomer's beginning       (section 11)
//! replica/agree.rs     nearness, candidate, propose, form, install  (section 4)
//! replica/settle.rs    announce; settled, stable, published         (sections 6, 7, 10)
//! replica/exchange.rs  messages in; entries, fetches, offers        (section 3)
//! replica/commit.rs    batches and what becomes true with them      (section 2)
//! replica/change.rs    joins and evictions                          (section 12)
//! ```
//!
//! Leave, away, re-seed, lost disks and the withdrawal of a clock outlier are not built here.

mod agree;
mod change;
mod commit;
mod exchange;
mod settle;
mod start;

use crate::blobs::Blobs;
use crate::catch_up::{CatchUp, runs};
use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::entry::{BlobHash, Body, Chain, Digest, ENTRY_BLOBS_MAX, ENTRY_SIZE_MAX};
use crate::entry::{Entry, EntryId, Stamp};
use crate::frontier::Frontier;
use crate::log::{Accepted, Log};
use crate::marks::Marks;
use crate::membership::{MemberSet, Members};
use crate::message::{Envelope, Message};
use crate::near::{Near, Set};
use crate::output::{Class, Event, Output};
use crate::parts::Gathering;
use crate::rows::{HeldAll, Published, Standing, ViewRecord};
use crate::settling_view::{SettlingView, SettlingViewId, Stage as ViewStage};
use bytes::Bytes;
use overlay::{ClusterId, Incarnation, PeerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agree::Withdrawal;
use commit::Commit;
pub use settle::Publish;
pub use start::{Birth, Corrupt, Stage, Staging};

/// One peer's part in the log that all peers have in common.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    incarnation: Incarnation,
    readiness: Readiness,
    standing: Standing,
    clock: Clock,
    log: Log,
    blobs: Blobs,
    checkpoint: Checkpoint,
    checkpoint_meta: Bytes,
    start_frontier: Frontier,
    /// Who can be reached, by the overlay's view and by newer lives heard of.
    reach: Set,
    /// Peers to which a link is up, in a common overlay view or not.
    neighbors: BTreeSet<PeerId>,
    /// The latest life of each peer.
    lives: Set,
    nears: BTreeMap<PeerId, Near>,
    own_near: Near,
    view: SettlingView,
    withdrawal: Withdrawal,
    /// Until then a restarted peer looks for others before it settles alone.
    lone_until: Option<Instant>,
    /// Repeats of Propose and State.
    repeat_at: Instant,
    /// When a peer last said that it still fetches the base.
    last_fetching: BTreeMap<PeerId, Instant>,
    marks: Marks,
    members: Members,
    excluded: BTreeSet<PeerId>,
    member_set: MemberSet,
    /// Reachable peers whose stable prefix differs, since when.
    differing: BTreeMap<PeerId, Instant>,
    /// More members stand behind another stable prefix: this peer takes part in nothing more.
    apart: bool,
    eviction: Eviction,
    catch_up: CatchUp,
    /// Messages that come in parts.
    gathering: Gathering,
    look_at: Instant,
    commit: Commit,
    /// The view record in use and that of the published mark.
    record: ViewRecord,
    published: Option<Published>,
    published_record: ViewRecord,
    queue: VecDeque<Queued>,
    /// Authored, not yet handed on: what is authored before the next drain is one message.
    authored: Vec<Arc<Entry>>,
    next_read: u64,
    clock_off: Option<i64>,
    /// When something happened whose consequences nobody has asked for yet.
    called: Option<(Duration, Instant)>,
    outputs: VecDeque<Output>,
}

/// What a replica must know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// This peer.
    pub me: PeerId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// How long a restarted peer looks for others before it settles alone.
    pub lone_after: Duration,
    /// How many entries a peer may lack and still settle with others at once.
    pub join_lag: u64,
    /// The latest life of this peer that others are known to know: this one is later.
    pub known: Incarnation,
    /// The overlay's failure detection time.
    pub detection: Duration,
    /// The overlay's limit for agreeing on a view.
    pub agree: Duration,
    /// Rules that the simulation breaks on purpose, to show that its checks can fail.
    #[doc(hidden)]
    pub faults: Faults,
}

/// Rules that can be broken on purpose; none is in a daemon.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Faults {
    #[default]
    None,
    NoGate,
    ClockWithoutChain,
    IdWithoutAttempts,
}

impl Config {
    /// The usual figures, for the overlay's profile with these times.
    #[must_use]
    pub fn new(me: PeerId, cluster: ClusterId, detection: Duration, agree: Duration) -> Self {
        Self {
            me,
            cluster,
            lone_after: Duration::from_secs(5),
            join_lag: 1_000,
            known: Incarnation::default(),
            detection,
            agree,
            faults: Faults::None,
        }
    }
}

/// What has become of a submitted body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submitted {
    /// It is an entry, in the log; no `Arrived` tells it.
    Stamped(Stamp),
    /// It becomes one when the clock's ceiling is raised; `Arrived` tells then.
    Waiting,
}

/// Why a body does not become an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Too many wait already.
    Full,
    /// The disk hangs, or this life has not begun: try again when it has.
    Withdrawn,
    /// This peer has been evicted, or its settled past is wrong.
    Evicted,
    /// The encoded entry would be larger than `ENTRY_SIZE_MAX`.
    TooLarge,
    /// A blob that it names is not durable here.
    BlobMissing,
}

/// Names one parked read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);

/// Where a replica stands in agreeing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Its incarnation is not durable yet.
    Starting,
    /// Looking for the set to settle with.
    Proposing,
    /// Agreed on the set; exchanging what each holds.
    Formed,
    /// Settling.
    Installed,
    /// The disk hangs, or has just returned.
    Withdrawn,
}

/// Whether a membership change waits for a majority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Majority {
    /// The view must hold one.
    Needed,
    /// The operator vouches that the missing members are off.
    Forced,
}

/// What `status` shows.
#[derive(Clone, Debug)]
pub struct Status {
    /// This life.
    pub incarnation: Incarnation,
    /// The members by the settled version.
    pub members: Members,
    /// Who can be reached.
    pub reach: Vec<PeerId>,
    /// Where it stands.
    pub phase: Phase,
    /// The settling view in use, if one is.
    pub view: Option<SettlingViewId>,
    /// The members of the settling view last formed.
    pub view_members: BTreeSet<PeerId>,
    /// More than half of the members are in the view in use.
    pub holds_majority: bool,
    /// The greatest stamp in the log.
    pub tentative: Stamp,
    /// The settled mark.
    pub settled: Stamp,
    /// The stable mark.
    pub stable: Stamp,
    /// The published mark.
    pub published: Option<Stamp>,
    /// The checkpoint.
    pub checkpoint: Stamp,
    /// Entries in the log after the checkpoint.
    pub log_len: usize,
    /// Held entries that are not in the log.
    pub aside_len: usize,
    /// Entries that somebody has and this peer lacks.
    pub lag: u64,
    /// The peers for whose word settling, or agreeing, waits.
    pub waits_for: Vec<PeerId>,
    /// This wall clock less the median of the members', in milliseconds, if compared.
    pub clock_off_millis: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readiness {
    AwaitingFlush,
    Ready,
}

/// Whether somebody said that this peer is evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Eviction {
    None,
    Told,
}

#[derive(Debug)]
struct Queued {
    since: Instant,
    digest: Option<Digest>,
    body: Body,
    blobs: Vec<BlobHash>,
}

impl Replica {
    /// Makes an entry of a request that changes something.
    pub fn submit(
        &mut self,
        digest: Option<Digest>,
        body: Bytes,
        blobs: Vec<BlobHash>,
        wall: Duration,
        now: Instant,
    ) -> Result<Submitted, Refused> {
        let submitted = self.author(digest, Body::Data(body), blobs, wall, now)?;
        self.drive_later(wall, now);
        Ok(submitted)
    }

    /// The next stamp, for a request that is answered without an entry: parked until `settled`
    /// reaches it. All members announce up to it until it is released.
    pub fn read_stamp(&mut self, wall: Duration, now: Instant) -> (ReadId, Stamp) {
        let stamp = Stamp {
            hybrid: self.clock.next(wall),
            author: self.config.me,
        };
        self.next_read += 1;
        let read = ReadId(self.next_read);
        self.marks.reads.insert(read, stamp);
        self.drive_later(wall, now);
        (read, stamp)
    }

    /// The next stamp, not taken: what an arriving request is compared at (section 1).
    #[must_use]
    pub fn next_stamp(&self, wall: Duration) -> Stamp {
        Stamp::last_of(self.clock.next(wall))
    }

    /// The read is answered or given up.
    pub fn release_read(&mut self, read: ReadId) {
        self.marks.reads.remove(&read);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, wall: Duration, now: Instant) {
        if self.readiness == Readiness::Ready {
            self.watch_disk(now);
            self.look_around(now);
            self.repeat_proposals(now);
            self.complain(now);
            self.fetch(now);
            self.start_blob_fetches(now);
            self.give_up_queued(|queued| now >= queued.since + QUEUE_PATIENCE);
        }
        // At once: the caller may ask for the next timeout before it drains.
        self.drive(wall, now);
    }

    /// What to do next. Drain it before waiting for anything: what follows from several calls is
    /// worked out once, so a burst of requests makes one message and one batch.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty()
            && let Some((wall, now)) = self.called
        {
            self.drive(wall, now);
        }
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.readiness == Readiness::AwaitingFlush {
            return None;
        }
        let times = [
            Some(self.look_at),
            self.agree_due(),
            self.announce_due(),
            self.catch_up.due(),
            self.blobs.due(),
            self.commit.publish_due(),
            self.queued_due(),
        ];
        times.into_iter().flatten().min()
    }

    /// The entries of the log with stamps above `after`, in stamp order.
    pub fn log_after(&self, after: Stamp) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        self.log.after(after)
    }

    /// One held entry, in the log or aside.
    #[must_use]
    pub fn entry(&self, id: EntryId) -> Option<&Arc<Entry>> {
        self.log.get(id)
    }

    /// The mark up to which everything is settled; that of the last view until the first
    /// settling in the next.
    #[must_use]
    pub fn settled(&self) -> Stamp {
        self.marks.settled
    }

    /// The stable mark.
    #[must_use]
    pub fn stable(&self) -> Stamp {
        self.marks.stable.stamp
    }

    /// Where the log begins.
    #[must_use]
    pub fn checkpoint(&self) -> Stamp {
        self.checkpoint.mark()
    }

    /// How many entries somebody has that this peer lacks.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.catch_up.lag(&self.log)
    }

    /// Where it stands in agreeing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (self.readiness, &self.view.stage) {
            (Readiness::AwaitingFlush, _) => Phase::Starting,
            (_, ViewStage::Proposing) => Phase::Proposing,
            (_, ViewStage::Formed(_)) => Phase::Formed,
            (_, ViewStage::Installed(_)) => Phase::Installed,
            (_, ViewStage::Withdrawn) => Phase::Withdrawn,
        }
    }

    /// The settling view in use and its members.
    #[must_use]
    pub fn view(&self) -> Option<(SettlingViewId, BTreeSet<PeerId>)> {
        let in_use = self.view.in_use()?;
        Some((in_use.id, in_use.members.keys().copied().collect()))
    }

    /// Whether more members stand behind another settled past than this peer's: it takes part in
    /// nothing more, and is to be joined anew.
    #[must_use]
    pub fn stands_apart(&self) -> bool {
        self.apart
    }

    /// Who this peer is.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.config.me
    }

    /// The members by the settled version.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// This life.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// All that `status` shows.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            incarnation: self.incarnation,
            members: self.members.clone(),
            reach: self.reach.keys().copied().collect(),
            phase: self.phase(),
            view: self.view.in_use().map(|in_use| in_use.id),
            view_members: self.view.side.keys().copied().collect(),
            holds_majority: self.holds_majority(),
            tentative: self.log.greatest_in_log().max(self.checkpoint.mark()),
            settled: self.settled(),
            stable: self.stable(),
            published: self.published(),
            checkpoint: self.checkpoint(),
            log_len: self.log.len(),
            aside_len: self.log.aside().count(),
            lag: self.lag(),
            waits_for: self.waits_for(),
            clock_off_millis: self.clock_off,
        }
    }

    fn author(
        &mut self,
        digest: Option<Digest>,
        body: Body,
        blobs: Vec<BlobHash>,
        wall: Duration,
        now: Instant,
    ) -> Result<Submitted, Refused> {
        if self.eviction == Eviction::Told || self.apart {
            return Err(Refused::Evicted);
        }
        if matches!(self.phase(), Phase::Withdrawn | Phase::Starting) {
            return Err(Refused::Withdrawn);
        }
        if blobs.len() > ENTRY_BLOBS_MAX || !blobs.iter().all(|hash| self.blobs.holds(*hash)) {
            return Err(Refused::BlobMissing);
        }
        if let Body::Data(data) = &body
            && data.len() > ENTRY_SIZE_MAX - ENTRY_FIELDS_SIZE_MAX
        {
            return Err(Refused::TooLarge);
        }
        if self.queue.len() >= QUEUE_MAX {
            return Err(Refused::Full);
        }
        let is_first = self.queue.is_empty();
        self.queue.push_back(Queued {
            since: now,
            digest,
            body,
            blobs,
        });
        if is_first && let Some(stamp) = self.author_next(wall) {
            return Ok(Submitted::Stamped(stamp));
        }
        Ok(Submitted::Waiting)
    }

    /// Stamps what waits, as far as the ceiling allows.
    fn author_queued(&mut self, wall: Duration) {
        while let Some(stamp) = self.author_next(wall) {
            self.outputs.push_back(Output::Arrived(stamp));
        }
    }

    /// Requests that wait for a stamp in vain make no entry any more: whoever sent one has turned to
    /// another peer, and may be forgotten there when this one is stamped. Changes of the
    /// membership are sent once, and wait.
    fn give_up_queued(&mut self, is_given_up: impl Fn(&Queued) -> bool) {
        let outputs = &mut self.outputs;
        self.queue.retain(|queued| {
            let stays = !matches!(queued.body, Body::Data(_)) || !is_given_up(queued);
            if !stays {
                outputs.extend(queued.digest.map(Output::GaveUp));
            }
            stays
        });
    }

    fn queued_due(&self) -> Option<Instant> {
        let first = self
            .queue
            .iter()
            .find(|queued| matches!(queued.body, Body::Data(_)));
        first.map(|queued| queued.since + QUEUE_PATIENCE)
    }

    fn author_next(&mut self, wall: Duration) -> Option<Stamp> {
        if self.queue.is_empty() || self.phase() == Phase::Withdrawn {
            return None;
        }
        let hybrid = self.clock.take(wall)?;
        let queued = self.queue.pop_front()?;
        let chain = self.own_chain();
        let entry = Arc::new(Entry {
            chain,
            sequence: self.log.held().get(chain) + 1,
            hybrid,
            digest: queued.digest,
            blobs: queued.blobs,
            body: queued.body,
        });
        self.authored.push(entry.clone());
        let accepted = self.log.accept(entry.clone(), &self.blobs);
        assert!(
            matches!(accepted, Accepted::Held(_)),
            "an author holds its own entry: {accepted:?}"
        );
        self.commit.add(entry.clone());
        Some(entry.stamp())
    }

    fn drive_later(&mut self, wall: Duration, now: Instant) {
        self.called = Some((wall, now));
    }

    /// Does what has become due: hands on, settles, announces, writes.
    fn drive(&mut self, wall: Duration, now: Instant) {
        self.called = None;
        self.watch_clock(wall);
        // Replication protocol section 3: multicast by its author at once, before its flush.
        let authored = std::mem::take(&mut self.authored);
        for message in runs(authored.iter(), usize::MAX) {
            self.multicast(Class::Entry, message);
        }
        if self.readiness == Readiness::Ready {
            self.settle(wall, now);
            self.announce(wall, now);
        }
        self.start_batch(wall, now);
    }

    fn own_chain(&self) -> Chain {
        Chain {
            author: self.config.me,
            incarnation: self.incarnation,
        }
    }

    fn payloads(&self, message: Message) -> Vec<Bytes> {
        let envelope = Envelope {
            cluster: self.config.cluster,
            sender: self.config.me,
            incarnation: self.incarnation,
            message,
        };
        envelope.payloads()
    }

    fn multicast(&mut self, class: Class, message: Message) {
        let payloads = self.payloads(message);
        // Announcements replace each other; the parts of one must not.
        let class = if payloads.len() > 1 {
            Class::Control
        } else {
            class
        };
        for payload in payloads {
            self.outputs.push_back(Output::Multicast { class, payload });
        }
    }

    fn send(&mut self, to: PeerId, message: Message) {
        for payload in self.payloads(message) {
            self.outputs.push_back(Output::Send { to, payload });
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn held_all(&self) -> HeldAll {
        self.commit.says_held_all()
    }
}

/// Bodies that wait for the ceiling: the batch that raises it takes less than a second.
const QUEUE_MAX: usize = 10_000;
/// A request that is not stamped by then is given up: an unsigned one is remembered for 15 s only.
const QUEUE_PATIENCE: Duration = Duration::from_secs(8);
/// What an entry has around its body.
const ENTRY_FIELDS_SIZE_MAX: usize = 128 + 32 * ENTRY_BLOBS_MAX;
/// How often a replica looks at what no message reminds it of.
const LOOK_EVERY: Duration = Duration::from_millis(100);
