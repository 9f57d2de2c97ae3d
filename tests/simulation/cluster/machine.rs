//! One process: a joiner, or a member with its `Node` and its `Wiring`, the machines of the daemon's
//! two threads. These hear each other a little later, in order.

use dnsd::admin::Manner;
use dnsd::blobs::Blobs;
use dnsd::disk::{Done, Job};
use dnsd::durable::{self, Member};
use dnsd::feed::{Ask, Brought};
use dnsd::peer::Peer;
use dnsd::requests::{Answer, ClientId};
use dnsd::serve::Served;
use dnsd::sponsor::Signer;
use dnsd::stage::Receiver;
use dnsd::vip::failover::VipConfig;
use dnsd::vip::timing::VipTiming;
use dnsd::wiring::{self, BURST, ImportStep, News, Wiring, Work, Worked};
use dnsd::zone_data::encode_record;
use overlay::join::{JoinEvent, JoinRequest};
use overlay::{
    Admit, Command, Incarnation, Join, Last, LinkId, MemberRow, Node, NodeEvent, PeerId, Router,
    Tag, Token,
};
use replication::{BlobHash, Config, Replica};
use ring::signature::Ed25519KeyPair;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use zones::store::Store;
use zones::{Name, Record};

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
    pub(crate) wiring: Wiring,
    /// What the link thread starts with, until this life is durable.
    links: Option<Links>,
    /// What each thread has yet to hear of the other.
    pub(crate) to_peer: VecDeque<NodeEvent>,
    pub(crate) to_node: VecDeque<Command>,
    /// Whom each fetch of a blob asks.
    fetches: BTreeMap<Tag, PeerId>,
    /// Newcomers that were no members when they asked.
    strangers: BTreeMap<LinkId, PeerId>,
    pub(crate) tick: u64,
    pub(crate) acts: VecDeque<Act>,
    random: u64,
}

struct Links {
    config: overlay::Config,
    key: Ed25519KeyPair,
    join: Join,
    rows: Vec<MemberRow>,
}

/// What a process does to its surroundings.
pub(crate) enum Act {
    Write(Job),
    Answer(ClientId, Answer),
    Serve(Box<Served>),
    Invited(Token),
    Aside(Box<Work>),
    /// Ask the primary.
    Fetch(Box<Ask>),
    /// Some of a blob has come from this holder.
    TookPiece(PeerId),
    /// A newcomer is sent the stage again.
    StageAgain,
    Said(News),
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
            history,
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
        let vips = VipConfig::new(
            admit.peer(),
            admit.name.clone(),
            VipTiming::of(overlay.profile),
        );
        let links = Links {
            config: overlay::Config {
                admit: Some(admit),
                ..overlay
            },
            key,
            join,
            rows: member_rows,
        };
        let peer = Peer::resume(
            replica, checkpoint, imports, history, vips, clock.wall, clock.now,
        )
        .map_err(|error| error.to_string())?;
        let mut machine = Self {
            node: None,
            wiring: Wiring::new(peer, signer, blobs),
            links: Some(links),
            to_peer: VecDeque::new(),
            to_node: VecDeque::new(),
            fetches: BTreeMap::new(),
            strangers: BTreeMap::new(),
            tick: 0,
            acts: VecDeque::new(),
            random,
        };
        machine.drain(clock);
        Ok(machine)
    }

    /// An operator imports a zone; whom the answer goes to.
    pub(crate) fn import(&mut self, origin: Name, records: &[Record]) -> ClientId {
        let client = self.wiring.new_client();
        let mut upload = Vec::new();
        for record in records {
            encode_record(record, &mut upload);
        }
        self.wiring.import(client, origin, upload, Manner::PLAIN);
        client
    }

    /// The link thread has said something.
    pub(crate) fn hear_node(&mut self, clock: Clock) {
        // A quick machine finds one input at a time, a slow one many.
        let burst = if self.random & 1 == 0 { 1 } else { BURST };
        let mut gathered = 0;
        while let Some(event) = self.to_peer.pop_front() {
            let may_gather = wiring::may_gather(&event);
            if !may_gather || gathered == burst {
                self.drain(clock);
                gathered = 0;
            }
            self.look_at(&event);
            self.wiring.handle_node(event, clock.wall, clock.now);
            if may_gather {
                gathered += 1;
            } else {
                self.drain(clock);
            }
        }
        self.drain(clock);
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
        self.wiring.handle_disk(done, clock.wall, clock.now);
        self.drain(clock);
    }

    /// The primary has answered, or not.
    pub(crate) fn handle_fetched(
        &mut self,
        origin: Name,
        fetched: Result<Brought, String>,
        clock: Clock,
    ) {
        self.wiring
            .handle_fetched(origin, fetched, clock.wall, clock.now);
        self.drain(clock);
    }

    pub(crate) fn handle_worked(&mut self, worked: Worked, clock: Clock) {
        self.wiring.handle_worked(worked, clock.wall, clock.now);
        self.drain(clock);
    }

    /// When the peer thread has something to do.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.wiring.poll_timeout(now)
    }

    pub(crate) fn handle_timeout(&mut self, clock: Clock) {
        self.wiring.handle_timeout(clock.wall, clock.now);
        self.drain(clock);
    }

    /// Carries out what the peer thread wants.
    pub(crate) fn drain(&mut self, clock: Clock) {
        while let Some(act) = self.wiring.poll_act() {
            self.carry_out(act, clock);
        }
    }

    fn carry_out(&mut self, act: wiring::Act, clock: Clock) {
        let act = match act {
            wiring::Act::Ready(incarnation) => return self.start_links(incarnation, clock),
            wiring::Act::Say(command) => {
                self.look_at_command(&command);
                return self.to_node.push_back(command);
            }
            wiring::Act::Aside(work) => Act::Aside(Box::new(work)),
            wiring::Act::Write(job) => Act::Write(job),
            wiring::Act::Serve(served) => Act::Serve(served),
            // No VIPs are added here: `simulation/failover` is about these.
            wiring::Act::Address(_) => return,
            // No zone here has anybody to tell.
            wiring::Act::Notify(..) => return,
            wiring::Act::Fetch(ask) => Act::Fetch(ask),
            wiring::Act::Attempted(_) => return,
            wiring::Act::Forward(_) => panic!("nobody updates a zone of a primary here"),
            wiring::Act::Answer(client, answer) => Act::Answer(client, answer),
            wiring::Act::Invited(token) => Act::Invited(token),
            wiring::Act::News(news) => Act::Said(news),
            wiring::Act::Import(_, ImportStep::Refused(reason)) => panic!("a good zone: {reason}"),
            wiring::Act::Import(..) => return,
            wiring::Act::NotInvited => panic!("so few invitations are never refused"),
            wiring::Act::Ended(why) => panic!("nothing here ends a process: {why:?}"),
        };
        self.acts.push_back(act);
    }

    /// Remembers what passages wait for.
    fn look_at(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::Fetched(tag, _, Last::No) => {
                let from = self.fetches.get(tag).copied();
                self.acts.extend(from.map(Act::TookPiece));
            }
            NodeEvent::Join(JoinEvent::Asked { link, key, .. }) => {
                let members = self.wiring.peer.replica().members();
                if !members.contains(key.peer_id()) {
                    self.strangers.insert(*link, key.peer_id());
                }
            }
            _ => {}
        }
    }

    fn look_at_command(&mut self, command: &Command) {
        match command {
            Command::Fetch(tag, from, _) => {
                self.fetches.insert(*tag, *from);
            }
            // A stage is followed by the join; another one after it says that it was too old.
            Command::Stage(link, _) => {
                let members = self.wiring.peer.replica().members();
                if let Some(newcomer) = self.strangers.get(link)
                    && members.contains(*newcomer)
                {
                    self.strangers.remove(link);
                    self.acts.push_back(Act::StageAgain);
                }
            }
            _ => {}
        }
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
}
