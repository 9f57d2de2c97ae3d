//! `Router` and `Join` behind one door: what the link thread drives.
//!
//! A peer that has not joined yet has no router: it only dials its inviter.

use crate::admit::Admit;
use crate::event::{Class, Event, FetchId, Last, Output, Standing, StateKind};
use crate::join::{Join, JoinEvent, JoinOutput, JoinRequest, TooManyInvitations};
use crate::link_event::{DialFailed, LinkEvent, LinkId, LinkOutput};
use crate::members::{Member, MemberRow, MemberSet};
use crate::peer_id::PeerId;
use crate::router::Router;
use crate::status::RouterStatus;
use crate::token::Token;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What the peer thread asks of the link thread.
pub enum Command {
    /// Send to all. What has a kind takes the place of what waits of the same kind.
    Multicast(Class, Option<u8>, Bytes),
    /// Send to one peer.
    Send(PeerId, Class, Bytes),
    /// Say a new word of a kind.
    State(StateKind, Bytes),
    /// A member's word is missing for too long.
    Complain(PeerId),
    /// Whether this peer may hold what only one can hold.
    Standing(Standing),
    /// Who is a member.
    Members(MemberSet),
    /// The peer thread goes on.
    Tick(u64),
    /// Ask a neighbor for bulk data; events name it by the tag.
    Fetch(Tag, PeerId, Bytes),
    /// A piece of an answer to a neighbor.
    Respond(FetchId, Bytes, Last),
    /// No answer (or no more of it) to a neighbor.
    Cancel(FetchId),
    /// Make an invitation; answered by `JoinEvent::Invited`.
    Invite(Token),
    /// A row of the join handshake is durable.
    Kept(u64),
    /// A piece of the stage for a newcomer.
    Stage(LinkId, Bytes),
    /// What a newcomer waits for.
    Progress(LinkId, String),
    /// A newcomer is admitted.
    Admit(LinkId, Admit, Vec<Member>),
    /// A piece of the snapshot for a newcomer.
    Snapshot(LinkId, Bytes),
    /// A newcomer has been sent everything.
    Finish(LinkId),
    /// A newcomer is refused.
    Refuse(LinkId),
    /// Join a cluster.
    Join(JoinRequest),
    /// So many bytes of what the inviter sent are stored.
    Taken(usize),
    /// All that the inviter sent is stored.
    Stored,
    /// Tell how the links are.
    Status(Box<dyn FnOnce(RouterStatus) + Send>),
    /// Tell the neighbors that this peer stops.
    Stop,
}

/// The peer thread's own name for a fetch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(pub u64);

/// What the peer thread hears.
#[derive(Debug)]
pub enum NodeEvent {
    /// From the router. Its own fetches come as `Fetched` and `FetchFailed`.
    Overlay(Event),
    /// From the join handshake.
    Join(JoinEvent),
    /// A piece of what was fetched.
    Fetched(Tag, Bytes, Last),
    /// The fetch came to nothing.
    FetchFailed(Tag),
    /// A row of the member list: keep it durably.
    KeepMember(MemberRow),
    /// A row of the join handshake: keep it durably, then say `Kept`.
    KeepJoin {
        /// Names it in `Kept`.
        number: u64,
        /// The row's key.
        key: Vec<u8>,
        /// The row; none to remove it.
        value: Option<Vec<u8>>,
    },
    /// There are too many open invitations.
    NotInvited,
}

/// The machine of the link thread.
pub struct Node {
    router: Option<Router>,
    join: Join,
    fetches: BTreeMap<FetchId, Tag>,
    /// When something happened whose consequences nobody has asked for yet.
    called: Option<(Duration, Instant)>,
    events: VecDeque<NodeEvent>,
    links: VecDeque<LinkOutput>,
}

impl Node {
    /// A member's, or, without a router, a joiner's.
    #[must_use]
    pub fn new(router: Option<Router>, join: Join) -> Self {
        let mut node = Self {
            router,
            join,
            fetches: BTreeMap::new(),
            called: None,
            events: VecDeque::new(),
            links: VecDeque::new(),
        };
        node.drain(Duration::ZERO, None);
        node
    }

    /// Does what the peer thread asks.
    pub fn handle_command(&mut self, command: Command, wall: Duration, now: Instant) {
        if let Some(command) = self.command_join(command, wall, now) {
            self.command_router(command, now);
        }
        self.called = Some((wall, now));
    }

    /// Something happened on a connection.
    pub fn handle_link(&mut self, link: LinkId, event: LinkEvent, wall: Duration, now: Instant) {
        match &mut self.router {
            Some(router) => router.handle_link(link, event, wall, now),
            None => self.join.handle_link(link, event, wall, now),
        }
        self.called = Some((wall, now));
    }

    /// A dial came to nothing.
    pub fn handle_dial_failed(&mut self, failed: DialFailed, wall: Duration, now: Instant) {
        match &mut self.router {
            Some(router) => router.handle_dial_failed(failed, wall, now),
            None => self.join.handle_dial_failed(&failed, now),
        }
        self.called = Some((wall, now));
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, wall: Duration, now: Instant) {
        if let Some(router) = &mut self.router {
            router.handle_timeout(wall, now);
        }
        self.join.handle_timeout(now);
        self.called = Some((wall, now));
    }

    /// The next thing for the driver to do.
    pub fn poll_link(&mut self) -> Option<LinkOutput> {
        self.go_on();
        self.links.pop_front()
    }

    /// The next thing for the peer thread to hear.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        self.go_on();
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`], once there is no more to do and to hear.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let router = self.router.as_ref().and_then(Router::poll_timeout);
        [router, self.join.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes a command that is for the handshake; gives back any other.
    fn command_join(&mut self, command: Command, wall: Duration, now: Instant) -> Option<Command> {
        match command {
            Command::Invite(token) => {
                if let Err(TooManyInvitations) = self.join.add_invitation(token, wall) {
                    self.events.push_back(NodeEvent::NotInvited);
                }
            }
            Command::Kept(number) => self.join.handle_kept(number, now),
            Command::Stage(link, bytes) => self.join.stage(link, bytes, now),
            Command::Progress(link, text) => self.join.progress(link, &text, now),
            Command::Admit(link, admit, members) => self.join.admit(link, admit, members, now),
            Command::Snapshot(link, bytes) => self.join.snapshot(link, bytes, now),
            Command::Finish(link) => self.join.finish(link, now),
            Command::Refuse(link) => self.join.refuse(link, now),
            Command::Join(request) => self.join.dial(request, now),
            Command::Taken(bytes) => self.join.taken(bytes),
            Command::Stored => self.join.stored(now),
            other => return Some(other),
        }
        None
    }

    fn command_router(&mut self, command: Command, now: Instant) {
        let Some(router) = &mut self.router else {
            return;
        };
        match command {
            // A full queue only means that others fetch the entry when they learn of it.
            Command::Multicast(class, kind, payload) => {
                let _ = router.multicast(class, kind, payload, now);
            }
            Command::Send(to, class, payload) => router.send(to, class, payload, now),
            Command::State(kind, body) => router.state(kind, body, now),
            Command::Complain(of) => router.complain(of, now),
            Command::Standing(standing) => router.set_standing(standing),
            Command::Members(members) => router.set_members(&members, now),
            Command::Tick(tick) => router.set_tick(tick, now),
            Command::Fetch(tag, from, request) => {
                let fetch = router.fetch(from, request, now);
                self.fetches.insert(fetch, tag);
            }
            Command::Respond(fetch, data, last) => router.respond(fetch, data, last, now),
            Command::Cancel(fetch) => router.cancel(fetch, now),
            Command::Status(reply) => reply(router.status(now)),
            Command::Stop => router.stop(now),
            Command::Invite(_)
            | Command::Kept(_)
            | Command::Stage(..)
            | Command::Progress(..)
            | Command::Admit(..)
            | Command::Snapshot(..)
            | Command::Finish(_)
            | Command::Refuse(_)
            | Command::Join(_)
            | Command::Taken(_)
            | Command::Stored => unreachable!("the handshake has taken these"),
        }
    }

    fn go_on(&mut self) {
        if self.links.is_empty()
            && self.events.is_empty()
            && let Some((wall, now)) = self.called.take()
        {
            self.drain(wall, Some(now));
        }
    }

    /// Passes on what the two machines have to say, also to each other.
    fn drain(&mut self, wall: Duration, now: Option<Instant>) {
        loop {
            let mut is_quiet = true;
            while let Some(output) = self.join.poll_output() {
                is_quiet = false;
                match output {
                    JoinOutput::Link(output) => match &mut self.router {
                        Some(router) => router.join_output(output),
                        None => self.links.push_back(output),
                    },
                    JoinOutput::Keep { number, key, value } => {
                        self.events
                            .push_back(NodeEvent::KeepJoin { number, key, value });
                    }
                    JoinOutput::Event(event) => self.events.push_back(NodeEvent::Join(event)),
                }
            }
            while let Some(output) = self.router.as_mut().and_then(Router::poll_output) {
                is_quiet = false;
                match output {
                    Output::Link(output) => self.links.push_back(output),
                    Output::Keep(row) => self.events.push_back(NodeEvent::KeepMember(row)),
                    Output::Event(event) => self.pass_event(event, wall, now),
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn pass_event(&mut self, event: Event, wall: Duration, now: Option<Instant>) {
        match event {
            Event::JoinLink { link, event } => {
                let now = now.expect("connections only change while time is known");
                self.join.handle_link(link, event, wall, now);
            }
            Event::JoinDialFailed(failed) => {
                let now = now.expect("dials only fail while time is known");
                self.join.handle_dial_failed(&failed, now);
            }
            Event::FetchChunk { fetch, data, last } => {
                let tag = match last {
                    Last::Yes => self.fetches.remove(&fetch),
                    Last::No => self.fetches.get(&fetch).copied(),
                };
                if let Some(tag) = tag {
                    self.events.push_back(NodeEvent::Fetched(tag, data, last));
                }
            }
            Event::FetchFailed(fetch) if self.fetches.contains_key(&fetch) => {
                let tag = self.fetches.remove(&fetch).expect("it was just seen");
                self.events.push_back(NodeEvent::FetchFailed(tag));
            }
            event => self.events.push_back(NodeEvent::Overlay(event)),
        }
    }
}
