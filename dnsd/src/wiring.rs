//! What goes on in one process between the links, the peer, newcomers, blobs and the disk.
//!
//! ```text
//!  link thread ─ events ─▶┐                              ┌─▶ Say ── link thread
//!  disk ────────── done ─▶├─ Wiring: Peer, Sponsor, ─────┼─▶ Write ─ disk
//!  work aside ── worked ─▶┘          Blobs               ├─▶ Aside ─ work that takes long
//!  requests, commands ─────▶ peer ──────▲                └─▶ Serve, Answer, Import, News, …
//! ```
//! A machine: `handle_*` for what happened, then [`Wiring::poll_act`] until none is left. The
//! daemon carries acts out with threads, the simulation with a made-up network and disk. Threads, the
//! queues between them, and operators' calls are not known here.

mod feeding;
mod import;
mod invitations;
mod links;
mod news;
mod work;

pub use import::{Built, Given, ImportStep, NoWayBack};
pub use links::{BURST, may_gather};
pub use news::News;
pub use work::{Work, Worked};

use crate::blobs::{Blobs, Checked};
use crate::disk::{Done, Job};
use crate::feed::Ask;
use crate::membership::overlay_members;
use crate::peer::{Attempted, Effect, Forward, Peer};
use crate::requests::{Answer, ClientId};
use crate::serve::Served;
use crate::sponsor::{Say, Signer, Sponsor};
use crate::vip::failover::Action;
use crate::vip::kernel::Order;
use crate::vip::{CLAIM, CONFIG};
use bytes::Bytes;
use import::Importing;
use invitations::Invitations;
use overlay::{Class, Command, Incarnation, PublicKey, StateKind, Token};
use replication::{BlobHash, Majority};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use zones::store::{Row, StoreError};

/// The kind of signed overlay state in which replicas say whom they find near.
const NEAR: StateKind = StateKind(1);
/// The kind of announcements to the overlay.
const ANNOUNCEMENT: u8 = 1;

/// All that is to be done outside.
pub enum Act {
    /// This life is durable: start the links. Until then what is said to them waits.
    Ready(Incarnation),
    /// Tell the link thread.
    Say(Command),
    /// Tell the disk; then [`Wiring::handle_disk`].
    Write(Job),
    /// Do this aside; then [`Wiring::handle_worked`].
    Aside(Work),
    /// What queries see from now on.
    Serve(Box<Served>),
    /// Tell the driver of addresses; then [`Peer::handle_address`].
    Address(Order),
    /// Send this datagram to a server outside; what comes back from there goes to the peer.
    Notify(SocketAddr, Bytes),
    /// Ask these primaries aside; then [`Wiring::handle_fetched`].
    Fetch(Box<Ask>),
    /// An attempt to fetch a zone has ended.
    Attempted(Attempted),
    /// Send this update to a primary; then [`Peer::handle_forwarded`].
    Forward(Box<Forward>),
    /// Tell a client.
    Answer(ClientId, Answer),
    /// How far an import is; its end comes as an answer, if it comes that far.
    Import(ClientId, ImportStep),
    /// An invitation is durable.
    Invited(Token),
    /// There are too many invitations.
    NotInvited,
    /// Something for the operator's log.
    News(News),
    /// This process cannot go on.
    Ended(Ended),
}

/// Why a process cannot go on.
#[derive(Debug)]
pub enum Ended {
    /// Others know this life of the peer, which this process has not lived.
    Outlived(Incarnation),
    /// The log names this blob, and it is not a zone.
    Unreadable(BlobHash),
    /// The store does not work.
    StoreFailed(StoreError),
}

/// The machine.
pub struct Wiring {
    /// Takes requests and commands; what comes of them is an act here.
    pub peer: Peer,
    sponsor: Sponsor,
    signer: Signer,
    blobs: Blobs,
    importing: Importing,
    invitations: Invitations,
    /// Numbers of rows whose durability the join handshake waits for.
    keeps: BTreeMap<u64, u64>,
    next_keep: u64,
    next_client: u64,
    acts: VecDeque<Act>,
}

impl Wiring {
    /// Puts the parts together. `blobs` holds those of the store.
    #[must_use]
    pub fn new(peer: Peer, signer: Signer, blobs: Blobs) -> Self {
        Self {
            peer,
            sponsor: Sponsor::default(),
            signer,
            blobs,
            importing: Importing::default(),
            invitations: Invitations::default(),
            keeps: BTreeMap::new(),
            next_keep: 0,
            next_client: 0,
            acts: VecDeque::new(),
        }
    }

    /// Numbers a client.
    pub fn new_client(&mut self) -> ClientId {
        self.next_client += 1;
        ClientId(self.next_client)
    }

    /// An operator makes an invitation; [`Act::Invited`] or [`Act::NotInvited`] comes of it.
    pub fn invite(&mut self, token: Token, majority: Majority) {
        self.invitations.ask(majority);
        self.say(Command::Invite(token));
    }

    /// The disk has done something.
    pub fn handle_disk(&mut self, done: Done, wall: Duration, now: Instant) {
        match done {
            Done::Log(batch) => self.peer.handle_durable(batch, wall, now),
            Done::Checkpoint => self.peer.handle_checkpoint(wall, now),
            Done::Blob(hash) => self.handle_blob_durable(hash, wall, now),
            Done::Kept(keep) => {
                if let Some(number) = self.keeps.remove(&keep) {
                    self.say(Command::Kept(number));
                }
            }
            Done::Failed(error) => self.act(Act::Ended(Ended::StoreFailed(error))),
        }
    }

    /// Work has been done aside.
    pub fn handle_worked(&mut self, worked: Worked, wall: Duration, now: Instant) {
        match worked {
            Worked::Blob(hash, Some(version)) => self.peer.handle_blob(hash, *version, wall, now),
            Worked::Blob(hash, None) => self.act(Act::Ended(Ended::Unreadable(hash))),
            Worked::Fetched(checked) => self.handle_checked(checked, wall, now),
            Worked::Staged(link, staged) => self.sponsor.handle_staged(link, staged, now),
            Worked::Rebased(rebased) => self.peer.handle_rebased(rebased, wall, now),
            Worked::Built(client, built) => {
                self.handle_built(client, built.map(|built| *built), wall, now);
            }
        }
    }

    /// Goes on with what is due.
    pub fn handle_timeout(&mut self, wall: Duration, now: Instant) {
        if self.peer.poll_timeout(now).is_some_and(|due| due <= now) {
            self.peer.handle_timeout(wall, now);
        }
        if self.sponsor.poll_timeout().is_some_and(|due| due <= now) {
            self.go_on_with_guests(wall, now);
        }
    }

    /// The next thing to do. Drain it before an operator's command, and before waiting.
    pub fn poll_act(&mut self) -> Option<Act> {
        if let Some(act) = self.acts.pop_front() {
            return Some(act);
        }
        while let Some(effect) = self.peer.poll_effect() {
            let act = self.act_of(effect);
            if act.is_some() {
                return act;
            }
        }
        if let Some((link, work)) = self.sponsor.poll_work() {
            return Some(Act::Aside(Work::Stage(link, work)));
        }
        let (link, say) = self.sponsor.poll_say()?;
        Some(Act::Say(match say {
            Say::Stage(bytes) => Command::Stage(link, bytes),
            Say::Progress(text) => Command::Progress(link, text),
            Say::Admit(admit, members) => Command::Admit(link, admit, members),
            Say::Snapshot(bytes) => Command::Snapshot(link, bytes),
            Say::Finish => Command::Finish(link),
            Say::Refuse => Command::Refuse(link),
        }))
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        [self.peer.poll_timeout(now), self.sponsor.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What others verify this peer with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.signer.public_key()
    }

    fn act_of(&mut self, effect: Effect) -> Option<Act> {
        Some(match effect {
            Effect::Ready(incarnation) => Act::Ready(incarnation),
            Effect::Multicast(class, payload) => {
                let (class, kind) = class_of(class);
                Act::Say(Command::Multicast(class, kind, payload))
            }
            Effect::Send(to, payload) => Act::Say(Command::Send(to, Class::Control, payload)),
            Effect::Near(body) => Act::Say(Command::State(NEAR, body)),
            Effect::Complain(of) => Act::Say(Command::Complain(of)),
            Effect::Members(members) => Act::Say(Command::Members(overlay_members(&members))),
            Effect::Write(batch) => Act::Write(Job::Log(batch)),
            Effect::Rebase(due) => Act::Aside(Work::Rebase(due)),
            Effect::History(rows) => Act::Write(Job::History(rows)),
            Effect::Checkpoint(checkpoint) => Act::Write(Job::Checkpoint(checkpoint)),
            Effect::Serve(served) => Act::Serve(served),
            Effect::Zone(news) => Act::News(News::Zone(news)),
            Effect::Notify(to, message) => Act::Notify(to, message),
            Effect::Fetch(ask) => Act::Fetch(ask),
            Effect::Attempted(attempted) => Act::Attempted(attempted),
            Effect::Forward(forward) => Act::Forward(forward),
            Effect::Answer(client, answer) => {
                self.importing.end(client);
                Act::Answer(client, answer)
            }
            Effect::Fed(client) => {
                self.importing.end(client);
                return None;
            }
            Effect::FetchBlob(hash, from) => Act::Say(self.blobs.fetch(hash, from)),
            Effect::DropBlob(hash) => {
                self.blobs.remove(&hash);
                Act::Write(Job::DropBlob(hash))
            }
            Effect::Evicted => Act::News(News::Evicted),
            Effect::NotEvicted => Act::News(News::NotEvicted),
            Effect::Log(event) => Act::News(News::Replica(event)),
            Effect::BadCatalog(catalog, why) => Act::News(News::BadCatalog(catalog, why)),
            Effect::Vip(action) => match action {
                Action::Order(order) => Act::Address(order),
                Action::Claim(claim) => Act::Say(Command::State(CLAIM, claim)),
                Action::Config(map) => Act::Say(Command::State(CONFIG, map)),
                Action::Complain(of) => Act::Say(Command::Complain(of)),
                Action::Standing(standing) => Act::Say(Command::Standing(standing)),
                Action::Notice(notice) => Act::News(News::Vip(notice)),
            },
        })
    }

    fn handle_checked(&mut self, checked: Checked, wall: Duration, now: Instant) {
        let Checked { hash, from, bytes } = checked;
        if let Some(bytes) = bytes {
            self.peer.handle_blob_progress(now);
            self.blobs.insert(hash, bytes.clone());
            self.act(Act::Write(Job::PutBlob(hash, bytes)));
        } else {
            self.act(Act::News(News::WrongData { from }));
            self.peer.handle_blob_failed(hash, from, wall, now);
        }
    }

    fn handle_blob_durable(&mut self, hash: BlobHash, wall: Duration, now: Instant) {
        if self.import_durable(hash, wall, now) {
            return;
        }
        if let Some(bytes) = self.blobs.get(&hash) {
            let state = self.peer.now().clone();
            self.act(Act::Aside(Work::Decode(hash, bytes, state)));
        }
    }

    fn go_on_with_guests(&mut self, wall: Duration, now: Instant) {
        self.sponsor
            .handle_timeout(&mut self.peer, &self.signer, &self.blobs, wall, now);
    }

    /// Has rows written; their number comes back when they are durable.
    fn keep(&mut self, rows: Vec<Row>) -> u64 {
        self.next_keep += 1;
        let keep = self.next_keep;
        self.act(Act::Write(Job::Keep(keep, rows)));
        keep
    }

    fn say(&mut self, command: Command) {
        self.act(Act::Say(command));
    }

    fn act(&mut self, act: Act) {
        self.acts.push_back(act);
    }
}

/// The overlay's class of a message, and the kind of those that replace each other.
fn class_of(class: replication::Class) -> (Class, Option<u8>) {
    match class {
        replication::Class::Control => (Class::Control, None),
        replication::Class::Announcement => (Class::Control, Some(ANNOUNCEMENT)),
        replication::Class::Entry => (Class::Update, None),
    }
}
