//! The peer thread: wait, take the inputs that have come, carry out the acts.
//!
//! ```text
//!  UDP, TCP ─ updates ─▶┐                       ┌─▶ disk thread ─ durable ─▶┐
//!  admin    ─ calls ───▶├─ inputs ─▶ Wiring ────┼─▶ link thread ─ events ──▶├─ inputs
//!  link, disk, aside ──▶┘                       └─▶ what queries see; answers to clients
//! ```
//! What one part of the peer says to another is not decided here: `wiring`.

use super::address_driver::{AddressDriver, Running};
use super::aside::Aside;
use super::budget::Share;
use super::clock;
use super::commands::Commands;
use super::feeding::Forwards;
use super::notify::NotifySockets;
use super::vip_log::VipLog;
use crate::blobs::Blobs;
use crate::disk::{Done, Job};
use crate::feed::Brought;
use crate::peer::{Forwarded, Peer};
use crate::publish::ZoneNews;
use crate::report::Zones;
use crate::requests::{Answer, ClientId};
use crate::serve::Served;
use crate::serve::update::{ReplyTo, UpdateRequest};
use crate::sponsor::Signer;
use crate::state::Outcome;
use crate::vip::kernel::Report;
use crate::wiring::{self, Act, BURST, Ended, News, Wiring, Worked};
use arc_swap::ArcSwap;
use overlay::io::link::{LinkThread, SendError, TOGETHER_MAX};
use overlay::join::Refusal;
use overlay::status::RouterStatus;
use overlay::{Command, Incarnation, NodeEvent};
use replication::{Digest, Members};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};
use zones::{Name, Rcode};

/// The tick that heartbeats carry, and that the link thread goes on with, rises at least this often
/// while the loop goes on.
const TICK_PERIOD: Duration = Duration::from_millis(10);
/// Parts of a lease after which it rises in any case: what the guard hears is up to two ticks old,
/// and most of the lease is to be left for a turn that takes long.
const TICKS_PER_LEASE: u32 = 5;
/// Commands that wait for a link thread that is behind; beyond this it is stuck.
const COMMANDS_MAX: usize = 65_536;
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
    /// It wants the zones, for metrics.
    AskZones(oneshot::Sender<Zones>),
    /// The links, for metrics and health.
    Snapshot(RouterStatus),
    /// Work done aside.
    Aside(Worked),
    /// The driver of addresses says something.
    Address(Report),
    /// Whether the own listeners fail to answer this peer's own questions.
    SelfCheck(bool),
    /// It has started, or cannot.
    AddressesStarted(std::io::Result<Running>),
    /// What a primary has of this zone.
    Fetched(Name, Result<Brought, String>),
    /// What a primary answered to an update that was sent on.
    Forwarded(Digest, Forwarded),
    /// A datagram came from this server, which may have been told of a change.
    Notified(SocketAddr, Vec<u8>),
    /// Stop cleanly.
    Stop,
}

impl Input {
    /// What it is, for a log line.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Update(..) => "update",
            Self::Node(NodeEvent::Overlay(_)) => "overlay",
            Self::Node(_) => "node",
            Self::Disk(Done::Log(_)) => "log durable",
            Self::Disk(Done::Checkpoint) => "checkpoint durable",
            Self::Disk(Done::Blob(_)) => "blob durable",
            Self::Disk(_) => "disk",
            Self::Admin(_) | Self::Links(..) => "admin",
            Self::Ask | Self::AskZones(_) | Self::Snapshot(_) => "snapshot",
            Self::Aside(worked) => worked.name(),
            Self::Address(_) => "address",
            Self::SelfCheck(_) => "self check",
            Self::AddressesStarted(_) => "addresses started",
            Self::Fetched(..) => "fetched",
            Self::Forwarded(..) => "forwarded",
            Self::Notified(..) => "notified",
            Self::Stop => "stop",
        }
    }
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
    /// The admin socket.
    Command(super::commands::Waiter),
}

/// Starts the link thread once this life is durable.
pub type StartLinks = Box<dyn FnOnce(Incarnation) -> Option<LinkThread<Command>> + Send>;

/// The peer thread's own state.
pub struct Driver {
    pub(super) wiring: Wiring,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) commands: Commands,
    pub(super) inputs: SyncSender<Input>,
    aside: Aside,
    disk: Sender<Job>,
    start_links: Option<StartLinks>,
    /// This life is durable, and waits for the end of what an earlier one left.
    ready: Option<Incarnation>,
    links: Option<LinkThread<Command>>,
    unsent: VecDeque<Command>,
    served: Arc<ArcSwap<Served>>,
    addresses: AddressDriver,
    notify: NotifySockets,
    pub(super) forwards: Forwards,
    vip_log: VipLog,
    /// Who is later than this lets go of its VIPs.
    lease: Duration,
    tick: u64,
    tick_due: Instant,
    /// Whether the link thread stood still for longer than a lease when it was last looked at.
    links_hang: bool,
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
        addresses: AddressDriver,
        lease: Duration,
    ) -> Self {
        let heard = inputs.clone();
        let notify = NotifySockets::new(Arc::new(move |from, message| {
            // A peer that is so busy is told once more.
            drop(heard.try_send(Input::Notified(from, message)));
        }));
        Self {
            notify,
            forwards: Forwards::default(),
            wiring: Wiring::new(peer, signer, blobs),
            clients: BTreeMap::new(),
            commands,
            inputs,
            aside: Aside::default(),
            disk,
            start_links: Some(start_links),
            ready: None,
            links: None,
            unsent: VecDeque::new(),
            served,
            addresses,
            vip_log: VipLog::default(),
            lease,
            tick: 0,
            tick_due: clock::now(),
            links_hang: false,
            end: None,
            stop_by: None,
        }
    }

    /// Runs until it is stopped.
    pub fn run(mut self, inputs: &Receiver<Input>) -> End {
        self.drain();
        self.tick_due = clock::now();
        loop {
            let now = clock::now();
            let wake = self.wake(now);
            let first = match inputs.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return End::Stopped,
            };
            let mut turn = Turn::begin(clock::now());
            self.look_for_stall();
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
        let id = self.wiring.new_client();
        self.clients.insert(id, client);
        id
    }

    /// Says something to the link thread once all that follows from an input is worked out: that
    /// thread runs at once when it is told of something, and what it is told in one goes to the
    /// others in one packet. It waits here if that thread is behind.
    pub(super) fn say(&mut self, command: Command) {
        if self.unsent.len() == COMMANDS_MAX {
            error!("the link thread does not take commands any more");
            self.end = Some(End::Failed);
            return;
        }
        self.unsent.push_back(command);
    }

    fn wake(&self, now: Instant) -> Instant {
        let mut wake = self.tick_due;
        for due in [
            self.wiring.poll_timeout(now),
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
        let may_gather = match &input {
            Input::Update(..) | Input::Disk(Done::Log(_)) => true,
            Input::Node(event) => wiring::may_gather(event),
            _ => false,
        };
        if may_gather {
            self.handle_input(input);
        } else {
            self.drain();
            self.handle_input(input);
            self.drain();
        }
    }

    /// A thread that should have woken long ago was stopped, starved, or had too much to do at
    /// once: others may have taken what this peer announces.
    fn look_for_stall(&mut self) {
        let (wall, now) = (clock::wall(), clock::now());
        let late = now.saturating_duration_since(self.tick_due);
        if late > self.lease {
            self.tick_due = now;
            self.wiring.handle_stall(late, wall, now);
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
                    sender,
                    reply,
                    ..
                } = request;
                let client = self.add_client(Client::Dns(reply));
                let peer = &mut self.wiring.peer;
                peer.handle_update(client, message, sender, wall, now);
            }
            Input::Node(event) => self.wiring.handle_node(event, wall, now),
            Input::Disk(done) => self.wiring.handle_disk(done, wall, now),
            Input::Admin(call) => self.handle_call(call, wall, now),
            Input::Links(call, links) => self.show(call, &links, wall, now),
            Input::Ask => self.take_snapshot(),
            // Who does not wait any more needs none.
            Input::AskZones(answer) => drop(answer.send(Zones::of(&self.wiring.peer))),
            Input::Snapshot(links) => self.handle_snapshot(&links, wall, now),
            Input::Aside(worked) => self.wiring.handle_worked(worked, wall, now),
            Input::Address(report) => {
                let report = self.addresses.complete(report);
                self.wiring.peer.handle_address(report, wall, now);
            }
            Input::SelfCheck(is_sick) => self.wiring.peer.handle_self_check(is_sick, wall, now),
            Input::AddressesStarted(started) => {
                self.addresses.handle_started(started);
                self.start_links();
            }
            Input::Fetched(origin, fetched) => {
                self.wiring.handle_fetched(origin, fetched, wall, now);
            }
            Input::Forwarded(digest, forwarded) => {
                let peer = &mut self.wiring.peer;
                peer.handle_forwarded(digest, forwarded, wall, now);
            }
            Input::Notified(from, message) => {
                let peer = &mut self.wiring.peer;
                peer.handle_notify_response(from, &message, wall, now);
            }
            Input::Stop => self.begin_stop(wall, now),
        }
    }

    /// Lets what is under way come to its end.
    pub(super) fn begin_stop(&mut self, wall: Duration, now: Instant) {
        info!("stopping");
        self.wiring.peer.stop(wall, now);
        self.stop_by.get_or_insert(now + STOP_TIMEOUT);
    }

    fn handle_time(&mut self) {
        self.look_for_stall();
        let (wall, now) = (clock::wall(), clock::now());
        if now >= self.tick_due {
            self.tick += 1;
            self.tick_due = now + TICK_PERIOD.min(self.lease / TICKS_PER_LEASE);
            self.say(Command::Tick(self.tick));
            self.watch_links(wall, now);
        }
        self.wiring.handle_timeout(wall, now);
        self.drain();
        self.go_on_with_commands(now);
        self.drain();
        self.send_commands();
        if self
            .stop_by
            .is_some_and(|by| self.wiring.peer.is_idle() || by <= now)
        {
            self.end.get_or_insert(End::Stopped);
        }
    }

    /// Passes the older of both threads' beats on to the guard. Once that has removed the VIPs, this
    /// thread must not take them again by what it knows: it knows nothing of the others while the
    /// link thread stands still, and what it is told at first afterwards may be as old.
    fn watch_links(&mut self, wall: Duration, now: Instant) {
        let links = self.links.as_ref();
        let ago = links.map_or(Duration::ZERO, LinkThread::stands_still);
        self.addresses.beat(ago);
        if ago > self.lease {
            if !self.links_hang {
                warn!("the link thread hangs: this peer lets go of its VIPs");
                self.links_hang = true;
                self.wiring.peer.set_links_hang(true, wall, now);
            }
        } else if self.links_hang {
            self.links_hang = false;
            // The link thread says how late it was when it comes to that.
            self.wiring.peer.handle_stall(wall, now);
            self.wiring.peer.set_links_hang(false, wall, now);
        }
    }

    /// Does what takes long beside this thread.
    pub(super) fn do_aside(&self, work: impl FnOnce() + Send + 'static) {
        self.aside.run(work);
    }

    /// Gives work to the disk thread.
    fn write(&mut self, job: Job) {
        // A disk thread that has ended has said why.
        drop(self.disk.send(job));
    }

    fn drain(&mut self) {
        while let Some(act) = self.wiring.poll_act() {
            self.carry_out(act);
        }
        self.send_commands();
    }

    fn carry_out(&mut self, act: Act) {
        match act {
            Act::Ready(incarnation) => {
                self.ready = Some(incarnation);
                self.start_links();
            }
            Act::Say(command) => self.say(command),
            Act::Write(job) => self.write(job),
            Act::Aside(work) => {
                let inputs = self.inputs.clone();
                self.do_aside(move || drop(inputs.send(Input::Aside(work.run()))));
            }
            Act::Serve(served) => self.served.store(Arc::new(*served)),
            Act::Address(order) => self.addresses.order(order),
            Act::Notify(to, message) => self.notify.send(to, &message),
            Act::Fetch(ask) => self.ask(*ask),
            Act::Attempted(attempted) => self.end_attempt(attempted),
            Act::Forward(forward) => self.forward(*forward),
            Act::Answer(client, answer) => self.answer(client, &answer),
            Act::Import(client, step) => self.import_goes_on(client, step),
            Act::Invited(token) => self.answer_invitation(&token, clock::wall()),
            Act::NotInvited => self.refuse_invitation(),
            Act::News(News::Vip(notice)) => {
                let members = self.wiring.peer.replica().members();
                self.vip_log.log(&notice, members);
            }
            Act::News(news) => log(&news, self.wiring.peer.replica().members()),
            Act::Ended(Ended::Outlived(incarnation)) => self.end = Some(End::Outlived(incarnation)),
            Act::Ended(Ended::Unreadable(hash)) => {
                error!("blob {hash:?} is not a zone: this version cannot read it");
                self.end = Some(End::Failed);
            }
            Act::Ended(Ended::StoreFailed(error)) => {
                error!(%error, "the store fails");
                self.end = Some(End::Failed);
            }
        }
    }

    /// Starts the links, once this life is durable and nothing that an earlier one left is in the
    /// way: overlay protocol section 6, before the first heartbeat.
    fn start_links(&mut self) {
        if self.addresses.is_cleaning() {
            return;
        }
        let Some(incarnation) = self.ready.take() else {
            return;
        };
        let start = self.start_links.take();
        let start = start.expect("a life becomes durable once");
        match start(incarnation) {
            Some(links) => self.links = Some(links),
            None => self.end = Some(End::Failed),
        }
    }

    fn answer(&mut self, client: ClientId, answer: &Answer) {
        match self.clients.remove(&client) {
            None => {}
            Some(Client::Dns(reply)) => match answer {
                Answer::Silence => drop(reply),
                Answer::Outcome(Outcome::Rcode(rcode)) => reply.send(*rcode),
                Answer::Outcome(_) | Answer::Unavailable | Answer::Refused(_) => {
                    reply.send(Rcode::SERVFAIL);
                }
            },
            Some(Client::Command(waiter)) => self.end_command(waiter, answer),
        }
    }

    fn send_commands(&mut self) {
        let Some(links) = &self.links else { return };
        while !self.unsent.is_empty() {
            let together = self.unsent.len().min(TOGETHER_MAX);
            match links.send_together(self.unsent.drain(..together).collect()) {
                Ok(()) => {}
                Err(SendError::Full(commands)) => {
                    for command in commands.into_iter().rev() {
                        self.unsent.push_front(command);
                    }
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
        // Whoever says that it stops announces nothing any more.
        self.addresses.stop();
        self.say(Command::Stop);
        self.send_commands();
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

/// One line for what an operator may want to read.
fn log(news: &News, members: &Members) {
    match news {
        News::ViewAgreed(view) => info!(
            number = view.number,
            members = view.members.len(),
            "view agreed"
        ),
        News::LinkUp(neighbor) => info!(%neighbor, "link up"),
        News::LinkDown(neighbor, why) => info!(%neighbor, %why, "link down"),
        News::Stopping(peer) => info!(%peer, "a peer stops"),
        News::Overslept(late) => info!(?late, "a thread of this peer was late"),
        News::Excluded { by } => {
            warn!(%by, "a member holds an eviction of this peer that is not settled");
        }
        News::EvictedBy(by) => {
            error!(%by, "this peer has been evicted: it takes no updates any more");
        }
        News::Evicted => error!("this peer has been evicted: it takes no updates any more"),
        News::NotEvicted => info!("this peer is not evicted: it takes updates again"),
        News::JoinAsked(peer, name) => info!(%peer, name, "a peer asks to join"),
        News::NameTaken(taken) => {
            warn!(name = taken.0, "join refused: another member has this name");
        }
        News::JoinRefused {
            remote,
            peer,
            reason,
        } => warn!(%remote, %peer, reason = refusal_text(*reason), "join refused"),
        News::Joined(peer) => info!(%peer, "the new peer has everything"),
        News::NotJoining => debug!("a member does not join"),
        News::TooMuchData { from } => {
            warn!(%from, "a neighbor sends more data than a zone may have");
        }
        News::WrongData { from } => {
            warn!(%from, "a neighbor sent other data than was asked for");
        }
        News::Zone(ZoneNews::Served {
            origin,
            serial,
            records,
        }) => info!(zone = %origin, serial = serial.0, records, "a zone is served"),
        News::BadCatalog(zone, why) => warn!(%zone, why, "the catalog cannot be followed"),
        News::Zone(ZoneNews::Removed(origin)) => info!(zone = %origin, "a zone was removed"),
        News::Zone(ZoneNews::More(more)) => info!(
            served = more.served,
            records = more.records,
            removed = more.removed,
            "more zones came and went"
        ),
        News::Vip(_) => unreachable!("the caller looked"),
        News::Replica(event) => super::commands::log(event, members),
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
