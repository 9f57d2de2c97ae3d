//! One process: a joiner, or a member with its `Node` and its `Peer`, wired as the peer thread of
//! the daemon wires them. The two threads hear each other a little later, in order.

use bytes::Bytes;
use dnsd::blobs::{Blobs, Fetched};
use dnsd::durable::{self, Member, blob_hash, join_row, member_row};
use dnsd::io::disk::{Done, Job};
use dnsd::io::driver::class_of;
use dnsd::membership::overlay_members;
use dnsd::peer::{Effect, Peer};
use dnsd::requests::{Answer, ClientId};
use dnsd::serve::Served;
use dnsd::sponsor::{Say, Signer, Sponsor};
use dnsd::stage::Receiver;
use dnsd::zone_data;
use overlay::join::{JoinEvent, JoinRequest};
use overlay::{
    Admit, Class, Command, Event, Incarnation, Join, LinkId, MemberRow, Node, NodeEvent, PeerId,
    Router, StateKind, Tag, Token,
};
use replication::{BlobHash, Config, Majority, Replica};
use ring::signature::Ed25519KeyPair;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use zones::store::Store;
use zones::{Name, Serial, Version};

/// The kind of signed overlay state in which replicas say whom they find near.
const NEAR: StateKind = StateKind(1);

/// The two clocks as one process sees them.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) wall: Duration,
    pub(crate) now: Instant,
}

/// What a host runs.
pub(crate) enum Process {
    Joiner(Box<Joiner>),
    Member(Box<Machine>),
}

/// A process that has not joined yet.
pub(crate) struct Joiner {
    pub(crate) node: Node,
    stage: Receiver,
    /// Something of the stage has come on this connection.
    pub(crate) has_staged: bool,
    admitted: Option<(Admit, Vec<overlay::Member>)>,
}

/// A member's process.
pub(crate) struct Machine {
    /// None until this life is durable.
    pub(crate) node: Option<Node>,
    pub(crate) peer: Peer,
    sponsor: Sponsor,
    signer: Signer,
    blobs: Blobs,
    /// What the link thread starts with, until this life is durable.
    links: Option<Links>,
    /// What each thread has yet to hear of the other.
    pub(crate) to_peer: VecDeque<NodeEvent>,
    pub(crate) to_node: VecDeque<Command>,
    /// Whom each fetch of a blob asks.
    fetches: BTreeMap<Tag, PeerId>,
    /// Newcomers that were no members when they asked.
    strangers: BTreeMap<LinkId, PeerId>,
    keeps: BTreeMap<u64, u64>,
    next_keep: u64,
    next_client: u64,
    pub(crate) tick: u64,
    imports: BTreeMap<BlobHash, Import>,
    pub(crate) acts: VecDeque<Act>,
    random: u64,
}

struct Links {
    config: overlay::Config,
    key: Ed25519KeyPair,
    join: Join,
    rows: Vec<MemberRow>,
}

struct Import {
    client: ClientId,
    origin: Name,
    size: u64,
    version: Version,
}

/// What a process does to its surroundings.
pub(crate) enum Act {
    Write(Job),
    Answer(ClientId, Answer),
    Serve(Box<Served>),
    Invited(Token),
    Rebase(Vec<Version>),
    ViewAgreed,
    /// Some of a blob has come from this holder.
    TookPiece(PeerId),
    /// A newcomer is sent the stage again.
    StageAgain,
    Said(replication::Event),
}

impl Joiner {
    pub(crate) fn new(request: JoinRequest, seed: u64, clock: Clock) -> Self {
        let join = Join::resume([], seed).expect("there are no rows to misread");
        let mut node = Node::new(None, join);
        node.handle_command(Command::Join(request), clock.wall, clock.now);
        Self {
            node,
            stage: Receiver::default(),
            has_staged: false,
            admitted: None,
        }
    }

    /// Hears its own link thread. True once the store is a member's.
    pub(crate) fn go_on(&mut self, store: &mut dyn Store, clock: Clock) -> Result<bool, String> {
        while let Some(event) = self.node.poll_event() {
            let NodeEvent::Join(event) = event else {
                continue;
            };
            let command = match event {
                JoinEvent::Connected { .. } => {
                    self.stage = Receiver::default();
                    self.has_staged = false;
                    self.admitted = None;
                    continue;
                }
                JoinEvent::Stage(bytes) | JoinEvent::Snapshot(bytes) => {
                    self.stage.push(&bytes).map_err(|_| "a malformed stage")?;
                    self.has_staged = true;
                    Command::Taken(bytes.len())
                }
                JoinEvent::Admitted { admit, members } => {
                    self.admitted = Some((admit, members));
                    continue;
                }
                JoinEvent::Done => {
                    let (admit, members) = self.admitted.take().ok_or("no admission came")?;
                    let received = std::mem::take(&mut self.stage)
                        .finish()
                        .map_err(|_| "the stage does not fit together")?;
                    durable::take_snapshot(store, &admit, &received, &members)
                        .map_err(|error| format!("a snapshot does not read: {error}"))?;
                    self.node
                        .handle_command(Command::Stored, clock.wall, clock.now);
                    return Ok(true);
                }
                JoinEvent::Refused => return Err("a good token is refused".into()),
                _ => continue,
            };
            self.node.handle_command(command, clock.wall, clock.now);
        }
        Ok(false)
    }
}

impl Machine {
    /// Starts on what the store holds.
    pub(crate) fn start(
        store: &mut dyn Store,
        signer: Signer,
        key: Ed25519KeyPair,
        overlay: overlay::Config,
        replica: impl FnOnce(&Admit) -> Config,
        random: u64,
        clock: Clock,
    ) -> Result<Self, String> {
        let member = durable::member(store).map_err(|error| format!("the store: {error}"))?;
        let Member {
            admit,
            checkpoint,
            meta,
            rows,
            imports,
            ..
        } = member.ok_or("the store of a member is empty")?;
        let config = replica(&admit);
        let replica = Replica::resume(config, &rows, &meta, random as u32, clock.wall, clock.now)
            .map_err(|corrupt| format!("the log does not fit together: {corrupt:?}"))?;
        let mut blobs = Blobs::default();
        for hash in store.blobs().expect("no fault") {
            let bytes = store.blob(&hash).expect("no fault").expect("it was listed");
            blobs.insert(BlobHash(hash), bytes.into());
        }
        let member_rows = durable::member_rows(store).map_err(|error| error.to_string())?;
        let join_rows = durable::join_rows(store).map_err(|error| error.to_string())?;
        let join = Join::resume(join_rows, random).map_err(|row| format!("{row:?}"))?;
        let links = Links {
            config: overlay::Config {
                admit: Some(admit),
                ..overlay
            },
            key,
            join,
            rows: member_rows,
        };
        let peer = Peer::resume(replica, checkpoint, imports, clock.wall, clock.now)
            .map_err(|error| error.to_string())?;
        let mut machine = Self {
            node: None,
            peer,
            sponsor: Sponsor::default(),
            signer,
            blobs,
            links: Some(links),
            to_peer: VecDeque::new(),
            to_node: VecDeque::new(),
            fetches: BTreeMap::new(),
            strangers: BTreeMap::new(),
            keeps: BTreeMap::new(),
            next_keep: 0,
            next_client: 0,
            tick: 0,
            imports: BTreeMap::new(),
            acts: VecDeque::new(),
            random,
        };
        machine.drain(clock);
        Ok(machine)
    }

    pub(crate) fn new_client(&mut self) -> ClientId {
        self.next_client += 1;
        ClientId(self.next_client)
    }

    /// An operator imports a zone; whom the answer goes to, and the data.
    pub(crate) fn import(&mut self, origin: Name, version: Version) -> (ClientId, BlobHash) {
        let client = self.new_client();
        let records: Vec<_> = version.records().collect();
        let blob = Bytes::from(zone_data::encode_blob(&origin, &records));
        let hash = blob_hash(&blob);
        if self.imports.contains_key(&hash) {
            return (client, hash);
        }
        self.blobs.insert(hash, blob.clone());
        let import = Import {
            client,
            origin,
            size: blob.len() as u64,
            version,
        };
        self.imports.insert(hash, import);
        self.acts.push_back(Act::Write(Job::PutBlob(hash, blob)));
        (client, hash)
    }

    /// True if this peer's own import brings the blob.
    pub(crate) fn is_importing(&self, blob: BlobHash) -> bool {
        self.imports.contains_key(&blob)
    }

    /// The link thread has said something.
    pub(crate) fn hear_node(&mut self, clock: Clock) {
        while let Some(event) = self.to_peer.pop_front() {
            self.handle_node(event, clock);
            self.drain(clock);
        }
    }

    /// The peer thread has said something.
    pub(crate) fn hear_peer(&mut self, clock: Clock) {
        if let Some(node) = &mut self.node {
            while let Some(command) = self.to_node.pop_front() {
                node.handle_command(command, clock.wall, clock.now);
            }
        }
    }

    pub(crate) fn handle_disk(&mut self, done: Done, clock: Clock) {
        let Clock { wall, now } = clock;
        match done {
            Done::Log(batch) => self.peer.handle_durable(batch, wall, now),
            Done::Checkpoint => self.peer.handle_checkpoint(wall, now),
            Done::Blob(hash) => self.handle_blob_durable(hash, clock),
            Done::Kept(keep) => {
                if let Some(number) = self.keeps.remove(&keep) {
                    self.to_node.push_back(Command::Kept(number));
                }
            }
            Done::Failed(error) => panic!("this disk has no faults: {error}"),
        }
        self.drain(clock);
    }

    /// When the peer thread has something to do.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        [self.peer.poll_timeout(now), self.sponsor.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn handle_timeout(&mut self, clock: Clock) {
        let Clock { wall, now } = clock;
        if self.peer.poll_timeout(now).is_some_and(|due| due <= now) {
            self.peer.handle_timeout(wall, now);
            self.drain(clock);
        }
        if self.sponsor.poll_timeout().is_some_and(|due| due <= now) {
            self.sponsor
                .handle_timeout(&mut self.peer, &self.signer, &self.blobs, wall, now);
        }
        self.drain(clock);
    }

    /// Carries out what the peer and the sponsor want.
    pub(crate) fn drain(&mut self, clock: Clock) {
        while let Some(effect) = self.peer.poll_effect() {
            self.carry_out(effect, clock);
        }
        while let Some((link, work)) = self.sponsor.poll_work() {
            self.sponsor.handle_staged(link, work.run(), clock.now);
        }
        while let Some((link, say)) = self.sponsor.poll_say() {
            // A stage is followed by the join; another one after it says that it was too old.
            if matches!(say, Say::Stage(_))
                && let Some(newcomer) = self.strangers.get(&link)
                && self.peer.replica().members().contains(*newcomer)
            {
                self.strangers.remove(&link);
                self.act(Act::StageAgain);
            }
            self.to_node.push_back(match say {
                Say::Stage(bytes) => Command::Stage(link, bytes),
                Say::Progress(text) => Command::Progress(link, text),
                Say::Admit(admit, members) => Command::Admit(link, admit, members),
                Say::Snapshot(bytes) => Command::Snapshot(link, bytes),
                Say::Finish => Command::Finish(link),
                Say::Refuse => Command::Refuse(link),
            });
        }
    }

    fn carry_out(&mut self, effect: Effect, clock: Clock) {
        let command = match effect {
            Effect::Ready(incarnation) => return self.start_links(incarnation, clock),
            Effect::Multicast(class, payload) => {
                let (class, kind) = class_of(class);
                Command::Multicast(class, kind, payload)
            }
            Effect::Send(to, payload) => Command::Send(to, Class::Control, payload),
            Effect::Near(body) => Command::State(NEAR, body),
            Effect::Complain(of) => Command::Complain(of),
            Effect::Members(members) => Command::Members(overlay_members(&members)),
            Effect::FetchBlob(hash, from) => {
                let command = self.blobs.fetch(hash, from);
                if let Command::Fetch(tag, ..) = command {
                    self.fetches.insert(tag, from);
                }
                command
            }
            Effect::Write(batch) => return self.act(Act::Write(Job::Log(batch))),
            Effect::Checkpoint(checkpoint) => {
                return self.act(Act::Write(Job::Checkpoint(checkpoint)));
            }
            Effect::Serve(served) => return self.act(Act::Serve(served)),
            Effect::Answer(client, answer) => return self.act(Act::Answer(client, answer)),
            Effect::DropBlob(hash) => {
                self.blobs.remove(&hash);
                return self.act(Act::Write(Job::DropBlob(hash)));
            }
            Effect::Rebase(due) => return self.act(Act::Rebase(due)),
            Effect::Log(event) => return self.act(Act::Said(event)),
            Effect::Zone(_) | Effect::Evicted | Effect::NotEvicted => return,
        };
        self.to_node.push_back(command);
    }

    fn act(&mut self, act: Act) {
        self.acts.push_back(act);
    }

    fn start_links(&mut self, incarnation: Incarnation, clock: Clock) {
        let Links {
            config,
            key,
            join,
            rows,
        } = self.links.take().expect("a life becomes durable once");
        let router = Router::resume(
            config,
            key,
            incarnation,
            rows,
            self.random,
            clock.wall,
            clock.now,
        );
        self.node = Some(Node::new(Some(router), join));
    }

    fn keep(&mut self, rows: Vec<zones::store::Row>) -> u64 {
        self.next_keep += 1;
        let keep = self.next_keep;
        self.act(Act::Write(Job::Keep(keep, rows)));
        keep
    }

    fn handle_node(&mut self, event: NodeEvent, clock: Clock) {
        let Clock { wall, now } = clock;
        match event {
            NodeEvent::Overlay(event) => self.handle_overlay(event, clock),
            NodeEvent::Join(event) => self.handle_join(event, clock),
            NodeEvent::Fetched(tag, data, last) => {
                match self.blobs.handle_fetched(tag, &data, last) {
                    Fetched::Going => {
                        if let Some(from) = self.fetches.get(&tag) {
                            self.act(Act::TookPiece(*from));
                        }
                        self.peer.handle_blob_progress(now);
                    }
                    Fetched::Complete(unchecked) => {
                        let checked = unchecked.check();
                        let bytes = checked.bytes.expect("nobody lies here");
                        self.blobs.insert(checked.hash, bytes.clone());
                        self.act(Act::Write(Job::PutBlob(checked.hash, bytes)));
                    }
                    Fetched::TooLarge(..) => panic!("no blob is that large here"),
                }
            }
            NodeEvent::FetchFailed(tag) => {
                if let Some((hash, from)) = self.blobs.handle_failed(tag) {
                    self.peer.handle_blob_failed(hash, from, wall, now);
                }
            }
            NodeEvent::KeepMember(row) => {
                self.keep(vec![member_row(&row)]);
            }
            NodeEvent::KeepJoin { number, key, value } => {
                let keep = self.keep(vec![join_row(key, value)]);
                self.keeps.insert(keep, number);
            }
            NodeEvent::NotInvited => panic!("so few invitations are never refused"),
        }
    }

    fn handle_overlay(&mut self, event: Event, clock: Clock) {
        let Clock { wall, now } = clock;
        match event {
            Event::Delivered { from, payload, .. } | Event::Unicast { from, payload, .. } => {
                self.peer.handle_message(from, &payload, wall, now);
            }
            Event::Gap { source, .. } => self.peer.handle_gap(source, wall, now),
            Event::State { of, kind, body, .. } if kind == NEAR => {
                self.peer.handle_near(of, &body, wall, now);
            }
            Event::ViewChanged(view) => {
                self.act(Act::ViewAgreed);
                self.peer.handle_view(&view, wall, now);
            }
            Event::NeighborUp(neighbor) => self.peer.handle_neighbor_up(neighbor, wall, now),
            Event::NeighborDown(neighbor, _) => self.peer.handle_neighbor_down(neighbor, wall, now),
            Event::Pressure(pressure) => self.peer.handle_pressure(pressure),
            Event::Evicted { .. } => self.peer.set_evicted(),
            Event::OwnIncarnationSeen(_) => panic!("nobody runs twice with one key here"),
            Event::FetchRequested { fetch, request, .. } => {
                let command = self.blobs.handle_asked(fetch, &request);
                self.to_node.push_back(command);
            }
            Event::FetchWritable(fetch) => {
                if let Some(command) = self.blobs.handle_writable(fetch) {
                    self.to_node.push_back(command);
                }
            }
            Event::FetchFailed(fetch) => self.blobs.handle_answer_failed(fetch),
            _ => {}
        }
    }

    fn handle_join(&mut self, event: JoinEvent, clock: Clock) {
        let Clock { wall, now } = clock;
        match event {
            JoinEvent::Invited(token) => self.act(Act::Invited(token)),
            JoinEvent::Asked {
                link,
                key,
                name,
                addresses,
                space,
                ..
            } => {
                let majority = Majority::Needed;
                if !self.peer.replica().members().contains(key.peer_id()) {
                    self.strangers.insert(link, key.peer_id());
                }
                self.sponsor
                    .handle_asked(
                        link,
                        key,
                        name,
                        addresses,
                        space,
                        majority,
                        &self.peer,
                        &self.blobs,
                        now,
                    )
                    .expect("names differ here");
                self.sponsor
                    .handle_timeout(&mut self.peer, &self.signer, &self.blobs, wall, now);
            }
            JoinEvent::Space { link, bytes } => self.sponsor.handle_space(link, bytes, now),
            JoinEvent::Joined { link, .. } | JoinEvent::Gone { link } => {
                self.sponsor.handle_gone(link);
            }
            _ => {}
        }
    }

    fn handle_blob_durable(&mut self, hash: BlobHash, clock: Clock) {
        let Clock { wall, now } = clock;
        if let Some(import) = self.imports.remove(&hash) {
            let imported = self.peer.handle_import(
                import.client,
                import.origin,
                Serial(1),
                hash,
                import.size,
                import.version,
                Majority::Needed,
                wall,
                now,
            );
            if imported.is_err() {
                self.peer.give_up_blob(hash);
            }
        } else if let Some(bytes) = self.blobs.get(&hash) {
            let version = zone_data::decode_blob(&bytes).expect("nobody lies here");
            self.peer.handle_blob(hash, version, wall, now);
        }
    }
}
