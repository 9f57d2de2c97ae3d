//! The peer thread: wait, take the inputs that have come, drain the effects.
//!
//! ```text
//!  UDP, TCP ─ updates ─▶┐                       ┌─▶ disk thread ─ durable ─▶┐
//!  admin    ─ calls ───▶├─ inputs ─▶ Peer ──────┼─▶ link thread ─ events ──▶├─ inputs
//!  link, disk, aside ──▶┘                       └─▶ what queries see; answers to clients
//! ```

use super::budget::Share;
use super::clock;
use super::commands::Commands;
use super::disk::{Done, Job};
use crate::blobs::{Blobs, Checked, Fetched};
use crate::durable::{join_row, member_row, seeded_row};
use crate::membership::overlay_members;
use crate::peer::{Effect, Peer};
use crate::publish::ZoneNews;
use crate::rebase::{self, Rebased};
use crate::requests::{Answer, ClientId};
use crate::serve::Served;
use crate::serve::update::{ReplyTo, UpdateRequest};
use crate::sponsor::{Say, Signer, Sponsor, Staged};
use crate::state::Outcome;
use crate::zone_data;
use arc_swap::ArcSwap;
use overlay::io::link::{LinkThread, SendError};
use overlay::join::{JoinEvent, Refusal};
use overlay::status::RouterStatus;
use overlay::{Class, Command, Event, Incarnation, LinkId, NodeEvent, StateKind};
use replication::BlobHash;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};
use zones::{Rcode, Version};

/// The kind of signed overlay state in which replicas say whom they find near.
const NEAR: StateKind = StateKind(1);
/// The kind of announcements to the overlay.
const ANNOUNCEMENT: u8 = 1;
/// The tick that heartbeats carry rises at least this often while the loop goes on.
const TICK_PERIOD: Duration = Duration::from_millis(10);
/// Commands that wait for a link thread that is behind; beyond this it is stuck.
const COMMANDS_MAX: usize = 65_536;
/// Most inputs that are worked out together, and between two looks at the timers: well below 5 ms.
const BURST: usize = 64;
/// A turn that takes longer is worth a line: neighbors drop a link after some 100 ms of it.
const TURN_LONG: Duration = Duration::from_millis(20);
/// How long a clean stop waits for requests that are under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What comes to the peer thread.
pub enum Input {
    /// An UPDATE from a listener, with its share of what may wait.
    Update(UpdateRequest, Share),
    /// From the link thread.
    Node(NodeEvent),
    /// From the disk thread.
    Disk(Done),
    /// From the admin socket.
    Admin(super::admin::Call),
    /// The links, for a call that wants to show them.
    Links(super::admin::Call, RouterStatus),
    /// The HTTP server wants metrics or health.
    Ask,
    /// The links, for metrics and health.
    Snapshot(RouterStatus),
    /// Work done aside.
    Aside(Aside),
    /// Stop cleanly.
    Stop,
}

impl Input {
    /// What it is, for a log line.
    fn name(&self) -> &'static str {
        match self {
            Self::Update(..) => "update",
            Self::Node(NodeEvent::Overlay(_)) => "overlay",
            Self::Node(_) => "node",
            Self::Disk(Done::Log(_)) => "log durable",
            Self::Disk(Done::Checkpoint) => "checkpoint durable",
            Self::Disk(Done::Blob(_)) => "blob durable",
            Self::Disk(_) => "disk",
            Self::Admin(_) | Self::Links(..) => "admin",
            Self::Ask | Self::Snapshot(_) => "snapshot",
            Self::Aside(Aside::Blob(..)) => "zone of a blob",
            Self::Aside(Aside::Fetched(_)) => "blob fetched",
            Self::Aside(Aside::Staged(..)) => "stage",
            Self::Aside(Aside::Rebased(_)) => "new bases",
            Self::Aside(Aside::Import(_)) => "import",
            Self::Stop => "stop",
        }
    }
}

/// Work that takes longer than 5 ms is done by a thread of its own and comes back so.
pub enum Aside {
    /// The zone in a blob that is durable; none if the blob is not a zone.
    Blob(BlobHash, Option<Box<Version>>),
    /// What a neighbor gave.
    Fetched(Checked),
    /// What a newcomer is to be streamed.
    Staged(LinkId, Staged),
    /// Zones on new bases.
    Rebased(Vec<Rebased>),
    /// The zone of an import.
    Import(Box<super::commands::Built>),
}

/// How the peer thread ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// Others know this life of the peer, which this process has not lived.
    Outlived(Incarnation),
    /// It cannot go on; why is in the log.
    Failed,
}

/// Who waits for an answer.
pub(super) enum Client {
    /// A DNS client.
    Dns(ReplyTo),
    /// The admin socket, or the birth of the cluster.
    Command(super::commands::Waiter),
}

/// Starts the link thread once this life is durable.
pub type StartLinks = Box<dyn FnOnce(Incarnation) -> Option<LinkThread<Command>> + Send>;

/// The peer thread's own state.
pub struct Driver {
    pub(super) peer: Peer,
    pub(super) sponsor: Sponsor,
    pub(super) signer: Signer,
    pub(super) blobs: Blobs,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) commands: Commands,
    pub(super) inputs: SyncSender<Input>,
    disk: Sender<Job>,
    start_links: Option<StartLinks>,
    links: Option<LinkThread<Command>>,
    unsent: VecDeque<Command>,
    served: Arc<ArcSwap<Served>>,
    next_client: u64,
    /// Numbers of rows whose durability the join handshake waits for.
    keeps: BTreeMap<u64, u64>,
    next_keep: u64,
    tick: u64,
    tick_due: Instant,
    end: Option<End>,
    stop_by: Option<Instant>,
}

impl Driver {
    /// Puts the parts together.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of the daemon"
    )]
    #[must_use]
    pub fn new(
        peer: Peer,
        signer: Signer,
        blobs: Blobs,
        commands: Commands,
        inputs: SyncSender<Input>,
        disk: Sender<Job>,
        start_links: StartLinks,
        served: Arc<ArcSwap<Served>>,
    ) -> Self {
        Self {
            peer,
            sponsor: Sponsor::default(),
            signer,
            blobs,
            clients: BTreeMap::new(),
            commands,
            inputs,
            disk,
            start_links: Some(start_links),
            links: None,
            unsent: VecDeque::new(),
            served,
            next_client: 0,
            keeps: BTreeMap::new(),
            next_keep: 0,
            tick: 0,
            tick_due: clock::now(),
            end: None,
            stop_by: None,
        }
    }

    /// Runs until it is stopped.
    pub fn run(mut self, inputs: &Receiver<Input>) -> End {
        self.drain();
        loop {
            let now = clock::now();
            let wake = self.wake(now);
            let first = match inputs.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return End::Stopped,
            };
            let mut turn = Turn::begin(clock::now());
            if let Some(input) = first {
                self.handle_in_turn(input, &mut turn);
                for _ in 1..BURST {
                    let Ok(input) = inputs.try_recv() else { break };
                    self.handle_in_turn(input, &mut turn);
                }
                self.drain();
                turn.note("what follows", clock::now());
            }
            self.handle_time();
            turn.note("timers", clock::now());
            turn.end();
            if let Some(end) = self.end.take() {
                self.finish();
                return end;
            }
        }
    }

    /// Numbers a client.
    pub(super) fn add_client(&mut self, client: Client) -> ClientId {
        self.next_client += 1;
        let id = ClientId(self.next_client);
        self.clients.insert(id, client);
        id
    }

    /// Says something to the link thread; it waits here if that one is behind.
    pub(super) fn say(&mut self, command: Command) {
        if self.unsent.len() == COMMANDS_MAX {
            error!("the link thread does not take commands any more");
            self.end = Some(End::Failed);
            return;
        }
        self.unsent.push_back(command);
        self.send_commands();
    }

    /// Gives work to the disk thread.
    pub(super) fn write(&mut self, job: Job) {
        // A disk thread that has ended has said why.
        drop(self.disk.send(job));
    }

    /// Remembers that what the command line seeds is in.
    pub(super) fn set_seeded(&mut self) {
        self.next_keep += 1;
        let keep = self.next_keep;
        self.write(Job::Keep(keep, vec![seeded_row()]));
    }

    fn wake(&self, now: Instant) -> Instant {
        let mut wake = self.tick_due;
        for due in [
            self.peer.poll_timeout(now),
            self.sponsor.poll_timeout(),
            self.commands.poll_timeout(),
            self.stop_by,
        ] {
            wake = due.map_or(wake, |due| wake.min(due));
        }
        wake
    }

    /// Requests, messages and flushes that come together are worked out together: nobody waits
    /// for another, as what has not come yet is not waited for.
    fn handle(&mut self, input: Input) {
        let may_gather = matches!(
            input,
            Input::Update(..) | Input::Disk(Done::Log(_)) | Input::Node(NodeEvent::Overlay(_))
        );
        if may_gather {
            self.handle_input(input);
        } else {
            self.drain();
            self.handle_input(input);
            self.drain();
        }
    }

    fn handle_in_turn(&mut self, input: Input, turn: &mut Turn) {
        let what = input.name();
        self.handle(input);
        turn.note(what, clock::now());
    }

    fn handle_input(&mut self, input: Input) {
        let (wall, now) = (clock::wall(), clock::now());
        match input {
            Input::Update(request, _share) => {
                let UpdateRequest {
                    message,
                    source,
                    reply,
                    ..
                } = request;
                let client = self.add_client(Client::Dns(reply));
                self.peer.handle_update(client, message, source, wall, now);
            }
            Input::Node(event) => self.handle_node(event, wall, now),
            Input::Disk(done) => self.handle_disk(done, wall, now),
            Input::Admin(call) => self.handle_call(call, wall, now),
            Input::Links(call, links) => self.show(call, &links, wall, now),
            Input::Ask => self.take_snapshot(),
            Input::Snapshot(links) => self.handle_snapshot(&links, wall, now),
            Input::Aside(Aside::Blob(hash, version)) => match version {
                Some(version) => self.peer.handle_blob(hash, *version, wall, now),
                None => {
                    error!("blob {hash:?} is not a zone: this version cannot read it");
                    self.end = Some(End::Failed);
                }
            },
            Input::Aside(Aside::Fetched(checked)) => self.handle_checked(checked, wall, now),
            Input::Aside(Aside::Staged(link, staged)) => {
                self.sponsor.handle_staged(link, staged, now);
            }
            Input::Aside(Aside::Rebased(rebased)) => {
                self.peer.handle_rebased(rebased, wall, now);
            }
            Input::Aside(Aside::Import(built)) => self.handle_built(*built),
            Input::Stop => self.begin_stop(now),
        }
    }

    /// Lets what is under way come to its end.
    pub(super) fn begin_stop(&mut self, now: Instant) {
        info!("stopping");
        self.peer.stop();
        self.stop_by.get_or_insert(now + STOP_TIMEOUT);
    }

    fn handle_time(&mut self) {
        let (wall, now) = (clock::wall(), clock::now());
        if now >= self.tick_due {
            self.tick += 1;
            self.tick_due = now + TICK_PERIOD;
            self.say(Command::Tick(self.tick));
        }
        if self.peer.poll_timeout(now).is_some_and(|due| due <= now) {
            self.peer.handle_timeout(wall, now);
        }
        if self.sponsor.poll_timeout().is_some_and(|due| due <= now) {
            self.sponsor
                .handle_timeout(&mut self.peer, &self.signer, &self.blobs, wall, now);
        }
        self.drain();
        self.go_on_with_commands(wall, now);
        self.drain();
        self.send_commands();
        if self
            .stop_by
            .is_some_and(|by| self.peer.is_idle() || by <= now)
        {
            self.end.get_or_insert(End::Stopped);
        }
    }

    fn handle_node(&mut self, event: NodeEvent, wall: Duration, now: Instant) {
        match event {
            NodeEvent::Overlay(event) => self.handle_overlay(event, wall, now),
            NodeEvent::Join(event) => self.handle_join(event, wall, now),
            NodeEvent::Fetched(tag, data, last) => {
                match self.blobs.handle_fetched(tag, &data, last) {
                    Fetched::Going => self.peer.handle_blob_progress(now),
                    Fetched::Complete(unchecked) => {
                        self.aside("blob", move || Aside::Fetched(unchecked.check()));
                    }
                    Fetched::TooLarge(hash, from) => {
                        warn!(%from, "a neighbor sends more data than a zone may have");
                        self.peer.handle_blob_failed(hash, from, wall, now);
                    }
                }
            }
            NodeEvent::FetchFailed(tag) => {
                if let Some((hash, from)) = self.blobs.handle_failed(tag) {
                    self.peer.handle_blob_failed(hash, from, wall, now);
                }
            }
            NodeEvent::KeepMember(row) => {
                self.next_keep += 1;
                let keep = self.next_keep;
                self.write(Job::Keep(keep, vec![member_row(&row)]));
            }
            NodeEvent::KeepJoin { number, key, value } => {
                self.next_keep += 1;
                let keep = self.next_keep;
                self.keeps.insert(keep, number);
                self.write(Job::Keep(keep, vec![join_row(key, value)]));
            }
            NodeEvent::NotInvited => self.refuse_invitation(),
        }
    }

    fn handle_overlay(&mut self, event: Event, wall: Duration, now: Instant) {
        match event {
            Event::Delivered { from, payload, .. } | Event::Unicast { from, payload, .. } => {
                self.peer.handle_message(from, &payload, wall, now);
            }
            Event::Gap { source, .. } => self.peer.handle_gap(source, wall, now),
            Event::State { of, kind, body, .. } if kind == NEAR => {
                self.peer.handle_near(of, &body, wall, now);
            }
            Event::State { .. } => {}
            Event::Pressure(pressure) => self.peer.handle_pressure(pressure),
            Event::ViewChanged(view) => {
                info!(
                    number = view.number,
                    members = view.members.len(),
                    "view agreed"
                );
                self.peer.handle_view(&view, wall, now);
            }
            Event::Stopping { peer, .. } => info!(%peer, "a peer stops"),
            Event::Unheard(_) => {}
            Event::Overslept(late) => warn!(?late, "the link thread was late"),
            Event::NeighborUp(neighbor) => {
                info!(%neighbor, "link up");
                self.peer.handle_neighbor_up(neighbor, wall, now);
            }
            Event::NeighborDown(neighbor, why) => {
                info!(%neighbor, %why, "link down");
                self.peer.handle_neighbor_down(neighbor, wall, now);
            }
            Event::Excluded { by } => {
                warn!(%by, "a member holds an eviction of this peer that is not settled");
            }
            // Every link that is tried again ends so: it is said once.
            Event::Evicted { by } if !self.peer.is_evicted() => {
                error!(%by, "this peer has been evicted: it takes no updates any more");
                self.peer.set_evicted();
            }
            Event::Evicted { .. } => {}
            Event::OwnIncarnationSeen(incarnation) => self.end = Some(End::Outlived(incarnation)),
            Event::FetchRequested { fetch, request, .. } => {
                let command = self.blobs.handle_asked(fetch, &request);
                self.say(command);
            }
            Event::FetchWritable(fetch) => {
                if let Some(command) = self.blobs.handle_writable(fetch) {
                    self.say(command);
                }
            }
            Event::FetchFailed(fetch) => self.blobs.handle_answer_failed(fetch),
            Event::FetchChunk { .. } | Event::JoinLink { .. } | Event::JoinDialFailed(_) => {
                unreachable!("the node passes these on under other names")
            }
        }
    }

    fn handle_join(&mut self, event: JoinEvent, wall: Duration, now: Instant) {
        match event {
            JoinEvent::Invited(token) => self.answer_invitation(&token, wall),
            JoinEvent::Asked {
                link,
                key,
                token,
                name,
                addresses,
                space,
            } => {
                info!(peer = %key.peer_id(), name, "a peer asks to join");
                let majority = self.commands.join_majority(&token);
                if let Err(taken) = self.sponsor.handle_asked(
                    link,
                    key,
                    name,
                    addresses,
                    space,
                    majority,
                    &self.peer,
                    &self.blobs,
                    now,
                ) {
                    warn!(name = taken.0, "join refused: another member has this name");
                }
                self.sponsor
                    .handle_timeout(&mut self.peer, &self.signer, &self.blobs, wall, now);
            }
            JoinEvent::Space { link, bytes } => self.sponsor.handle_space(link, bytes, now),
            JoinEvent::Joined { link, key } => {
                info!(peer = %key.peer_id(), "the new peer has everything");
                self.sponsor.handle_gone(link);
            }
            JoinEvent::Gone { link } => self.sponsor.handle_gone(link),
            JoinEvent::AskRefused {
                remote,
                key,
                reason,
            } => {
                warn!(%remote, peer = %key.peer_id(), reason = refusal_text(reason), "join refused");
            }
            JoinEvent::Connected { .. }
            | JoinEvent::Waiting(_)
            | JoinEvent::Stage(_)
            | JoinEvent::Admitted { .. }
            | JoinEvent::Snapshot(_)
            | JoinEvent::Done
            | JoinEvent::Refused
            | JoinEvent::Retrying { .. } => debug!("a member does not join"),
        }
    }

    fn handle_disk(&mut self, done: Done, wall: Duration, now: Instant) {
        match done {
            Done::Log(batch) => self.peer.handle_durable(batch, wall, now),
            Done::Checkpoint => self.peer.handle_checkpoint(wall, now),
            Done::Blob(hash) => self.handle_blob_durable(hash, wall, now),
            Done::Kept(keep) => {
                if let Some(number) = self.keeps.remove(&keep) {
                    self.say(Command::Kept(number));
                }
            }
            Done::Failed(error) => {
                error!(%error, "the store fails");
                self.end = Some(End::Failed);
            }
        }
    }

    fn handle_checked(&mut self, checked: Checked, wall: Duration, now: Instant) {
        let Checked { hash, from, bytes } = checked;
        if let Some(bytes) = bytes {
            self.peer.handle_blob_progress(now);
            self.blobs.insert(hash, bytes.clone());
            self.write(Job::PutBlob(hash, bytes));
        } else {
            warn!(%from, "a neighbor sent other data than was asked for");
            self.peer.handle_blob_failed(hash, from, wall, now);
        }
    }

    fn handle_blob_durable(&mut self, hash: BlobHash, wall: Duration, now: Instant) {
        if self.import_durable(hash, wall, now) {
            return;
        }
        let Some(bytes) = self.blobs.get(&hash) else {
            return;
        };
        self.aside("blob", move || {
            Aside::Blob(hash, zone_data::decode_blob(&bytes).map(Box::new))
        });
    }

    /// Does work on a thread of its own; the result comes back as an input.
    pub(super) fn aside(&self, name: &str, work: impl FnOnce() -> Aside + Send + 'static) {
        let inputs = self.inputs.clone();
        clock::spawn(name, move || drop(inputs.send(Input::Aside(work()))));
    }

    fn drain(&mut self) {
        while let Some(effect) = self.peer.poll_effect() {
            self.carry_out(effect);
        }
        while let Some((link, work)) = self.sponsor.poll_work() {
            self.aside("stage", move || Aside::Staged(link, work.run()));
        }
        while let Some((link, say)) = self.sponsor.poll_say() {
            self.say(match say {
                Say::Stage(bytes) => Command::Stage(link, bytes),
                Say::Progress(text) => Command::Progress(link, text),
                Say::Admit(admit, members) => Command::Admit(link, admit, members),
                Say::Snapshot(bytes) => Command::Snapshot(link, bytes),
                Say::Finish => Command::Finish(link),
                Say::Refuse => Command::Refuse(link),
            });
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ready(incarnation) => {
                let start = self
                    .start_links
                    .take()
                    .expect("a life becomes durable once");
                match start(incarnation) {
                    Some(links) => self.links = Some(links),
                    None => self.end = Some(End::Failed),
                }
            }
            Effect::Multicast(class, payload) => {
                let (class, kind) = class_of(class);
                self.say(Command::Multicast(class, kind, payload));
            }
            Effect::Send(to, payload) => self.say(Command::Send(to, Class::Control, payload)),
            Effect::Near(body) => self.say(Command::State(NEAR, body)),
            Effect::Complain(of) => self.say(Command::Complain(of)),
            Effect::Members(members) => {
                let members = overlay_members(&members);
                self.say(Command::Members(members));
            }
            Effect::Write(batch) => self.write(Job::Log(batch)),
            Effect::Rebase(due) => self.aside("rebase", move || Aside::Rebased(rebase::run(due))),
            Effect::Checkpoint(checkpoint) => self.write(Job::Checkpoint(checkpoint)),
            Effect::Serve(served) => self.served.store(Arc::new(*served)),
            Effect::Zone(ZoneNews::Served {
                origin,
                serial,
                records,
            }) => info!(zone = %origin, serial = serial.0, records, "a zone is served"),
            Effect::Zone(ZoneNews::Removed(origin)) => info!(zone = %origin, "a zone was removed"),
            Effect::Answer(client, answer) => self.answer(client, &answer),
            Effect::FetchBlob(hash, from) => {
                let command = self.blobs.fetch(hash, from);
                self.say(command);
            }
            Effect::DropBlob(hash) => {
                self.blobs.remove(&hash);
                self.write(Job::DropBlob(hash));
            }
            Effect::Evicted => {
                error!("this peer has been evicted: it takes no updates any more");
            }
            Effect::NotEvicted => info!("this peer is not evicted: it takes updates again"),
            Effect::Log(event) => super::commands::log(&event, self.peer.replica().members()),
        }
    }

    fn answer(&mut self, client: ClientId, answer: &Answer) {
        match self.clients.remove(&client) {
            None => {}
            Some(Client::Dns(reply)) => reply.send(match answer {
                Answer::Outcome(Outcome::Rcode(rcode)) => *rcode,
                Answer::Outcome(_) | Answer::Unavailable | Answer::Refused(_) => Rcode::SERVFAIL,
            }),
            Some(Client::Command(waiter)) => self.end_command(waiter, answer),
        }
    }

    fn send_commands(&mut self) {
        let Some(links) = &self.links else { return };
        while let Some(command) = self.unsent.pop_front() {
            match links.send(command) {
                Ok(()) => {}
                Err(SendError::Full(command)) => {
                    self.unsent.push_front(command);
                    return;
                }
                Err(SendError::Ended(_)) => {
                    error!("the link thread has ended");
                    self.end = Some(End::Failed);
                    return;
                }
            }
        }
    }

    /// Tells the neighbors, and ends the threads that this one feeds.
    fn finish(&mut self) {
        self.say(Command::Stop);
        if let Some(links) = self.links.take() {
            links.stop();
        }
        self.write(Job::Stop);
    }
}

/// One turn of the peer thread, and the step of it that took longest.
struct Turn {
    began: Instant,
    last: Instant,
    steps: u32,
    longest: (Duration, &'static str),
}

impl Turn {
    fn begin(now: Instant) -> Self {
        Self {
            began: now,
            last: now,
            steps: 0,
            longest: (Duration::ZERO, ""),
        }
    }

    /// A step has ended.
    fn note(&mut self, what: &'static str, now: Instant) {
        self.steps += 1;
        self.longest = self.longest.max((now - self.last, what));
        self.last = now;
    }

    /// Says so if the turn was long: neighbors that see the tick stand still drop the link.
    fn end(self) {
        let took = self.last - self.began;
        if took > TURN_LONG {
            let (longest_took, longest) = self.longest;
            debug!(
                ?took,
                steps = self.steps,
                longest,
                ?longest_took,
                "a long turn"
            );
        }
    }
}

/// The overlay's class of a message, and the kind of those that replace each other.
#[must_use]
pub fn class_of(class: replication::Class) -> (Class, Option<u8>) {
    match class {
        replication::Class::Control => (Class::Control, None),
        replication::Class::Announcement => (Class::Control, Some(ANNOUNCEMENT)),
        replication::Class::Entry => (Class::Update, None),
    }
}

fn refusal_text(reason: Refusal) -> &'static str {
    match reason {
        Refusal::WrongSecret => "no invitation of this peer has this secret",
        Refusal::Expired => "the invitation has ended",
        Refusal::Used => "another key has redeemed the invitation",
        Refusal::TooOften => "too many tries from one address",
        Refusal::Malformed => "the request is malformed",
        Refusal::Version => "the request is of another version",
    }
}
