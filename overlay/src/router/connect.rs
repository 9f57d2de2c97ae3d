//! Connections: who may open which, and what comes on them (overlay protocol section 1).

use super::Router;
use super::agree::Issue;
use super::hello::HELLO_STREAM;
use crate::dialing::Target;
use crate::event::{Event, Output, Why};
use crate::hello::HELLO_SIZE_MAX;
use crate::link::{Link, Triple};
use crate::link_event::{
    CloseCode, DialFailed, DialId, Expected, LinkEvent, LinkId, LinkOutput, Protocol, StreamId,
};
use crate::members::KeyClass;
use crate::peer_id::{PeerId, PublicKey};
use crate::status::LinkStage;
use crate::stream::{KIND_FETCH, KIND_HELLO, STREAM_FRAME_SIZE_MAX, StreamReader};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a connection may say nothing of what it is for.
const MUTE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections of unknown keys that wait for a LINK_HELLO with an admission.
const UNKNOWN_MAX: usize = 16;
/// Canaries that have not named their link.
const UNNAMED_CANARIES_MAX: usize = 64;
/// Streams of one connection that have begun and say nothing whole yet.
const STREAMS_MAX: usize = 64;

/// A connection, until it is closed.
pub(super) struct Connection {
    pub(super) protocol: Protocol,
    /// None for a canary: its nonce says whose it is.
    pub(super) peer: Option<PeerId>,
    pub(super) dialed: Option<Target>,
    pub(super) remote: SocketAddr,
    /// By which this end knows a `zc-link`.
    pub(super) nonce: [u8; 16],
    /// The nonce that a canary brought before its link's LINK_HELLO.
    pub(super) claim: Option<[u8; 16]>,
    pub(super) stage: ConnectionStage,
    /// This end has accepted it and says its LINK_HELLO.
    pub(super) is_greeted: bool,
    streams: BTreeMap<StreamId, StreamReader>,
}

/// Whether a connection has said what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionStage {
    /// Closed at this time unless it says what it is for.
    Mute {
        until: Instant,
    },
    Known,
}

impl Router {
    pub(super) fn handle_link_event(&mut self, id: LinkId, event: LinkEvent, now: Instant) {
        if let LinkEvent::Opened {
            key,
            protocol,
            dialed,
            remote,
            ..
        } = &event
        {
            let target = dialed.and_then(|dial| self.dialing.finish(dial));
            if *protocol == Protocol::Join {
                // Overlay protocol section 1: also an invitation that the key has redeemed opens
                // nothing any more; a joiner is streamed all data before it is admitted.
                let class = key.map(|key| self.members.class(key.peer_id()));
                return match class.and_then(close_code) {
                    Some(code) => self.link_output(LinkOutput::Close { link: id, code }),
                    None => self.pass_join_opened(id, &event, target),
                };
            }
            return self.handle_opened(id, *key, *protocol, target, *remote, now);
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.protocol == Protocol::Join {
            if let LinkEvent::Closed { .. } = event {
                self.connections.remove(&id);
            }
            return self.event(Event::JoinLink { link: id, event });
        }
        let (protocol, peer) = (connection.protocol, connection.peer);
        match event {
            LinkEvent::Opened { .. } => {}
            LinkEvent::Closed { code } => self.handle_closed(id, code, now),
            LinkEvent::Datagram(data) => match (protocol, peer) {
                (Protocol::Beat, Some(peer)) => {
                    connection.stage = ConnectionStage::Known;
                    self.handle_beat(id, peer, data, now);
                }
                (Protocol::Link, Some(peer)) if self.carries(peer, id) => {
                    self.handle_datagram(peer, data, now);
                }
                _ => {}
            },
            LinkEvent::Stream {
                stream,
                data,
                finished,
            } => self.handle_stream(id, stream, &data, finished, now),
            LinkEvent::StreamReset(stream) => {
                connection.streams.remove(&stream);
                if let Some(fetch) = self.fetches.find(id, stream) {
                    self.fail_fetch(fetch);
                }
            }
            LinkEvent::StreamOpened { number, stream } if number == HELLO_STREAM => {
                self.send_hello(id, stream);
            }
            LinkEvent::StreamOpened { number, stream } => self.open_fetch(number, stream),
            LinkEvent::StreamWritable(stream) => {
                if let Some(fetch) = self.fetches.find(id, stream) {
                    self.event(Event::FetchWritable(fetch));
                }
            }
            LinkEvent::Writable => {
                if let Some(link) = self.carried(id) {
                    link.writable();
                }
            }
            LinkEvent::Mtu(size) => {
                if let Some(link) = self.carried(id) {
                    link.set_datagram_size(size);
                    // A datagram that did not fit is lost and gives its room back.
                    link.writable();
                }
            }
            LinkEvent::CanaryNonce(nonce) => self.name_canary(id, nonce),
        }
    }

    pub(super) fn fail_dial(&mut self, failed: DialFailed, now: Instant) {
        match self.dialing.finish(failed.dial) {
            Some(Target::Join(dial)) => {
                let reason = failed.reason;
                self.event(Event::JoinDialFailed(DialFailed { dial, reason }));
            }
            Some(Target::Companion(peer, link, protocol)) => {
                self.set_companion(peer, link, protocol, None, now);
            }
            Some(Target::Link(..)) | None => {}
        }
    }

    /// Dials wanted links that are down, and what is absent beside those that are up.
    pub(super) fn dial_due(&mut self, now: Instant) {
        let due = self.dialing.take_due(now, &mut self.random);
        if !due.is_empty() {
            self.want_links(now);
        }
        for peer in due {
            let is_alive = self.links.get(&peer).is_some_and(|link| {
                link.connection.is_some() && link.neighbor.stage() != LinkStage::Down
            });
            if !is_alive {
                self.dial_peer(peer);
            }
        }
        self.dial_companions(now);
    }

    pub(super) fn close_mute_connections(&mut self, now: Instant) {
        let connections = self.connections.iter();
        let mute = connections.filter(|(_, connection)| {
            matches!(connection.stage, ConnectionStage::Mute { until } if until <= now)
        });
        let mute: Vec<(LinkId, Option<PeerId>)> = mute
            .map(|(id, connection)| (*id, connection.peer))
            .collect();
        for (id, peer) in mute {
            let is_unknown = peer.is_some_and(|peer| self.members.class(peer) == KeyClass::Unknown);
            let code = if is_unknown {
                CloseCode::Unknown
            } else {
                CloseCode::Protocol
            };
            self.close(id, code);
        }
    }

    pub(super) fn mute_connections_due(&self) -> Option<Instant> {
        let stages = self.connections.values().map(|connection| connection.stage);
        let ends = stages.filter_map(|stage| match stage {
            ConnectionStage::Mute { until } => Some(until),
            ConnectionStage::Known => None,
        });
        ends.min()
    }

    /// The peer is no member any more. Its eviction may prove void, and then the key works again:
    /// what both ends have counted of the link's sessions and of its messages goes on.
    pub(super) fn drop_peer(&mut self, peer: PeerId, now: Instant) {
        self.take_down(peer, Why::Closed, now);
        if let Some(link) = self.links.get_mut(&peer) {
            link.disconnect();
        }
        self.multicasts.forget_neighbor(peer);
        self.states.remove(peer);
        self.restate(Issue::Always);
    }

    /// Computes the table of section 1 again, after a change of members: closes what no longer
    /// fits, and forgets who is gone for good.
    pub(super) fn close_unfit(&mut self) {
        let connections = self.connections.iter();
        let unfit = connections.filter_map(|(id, connection)| {
            let class = self.members.class(connection.peer?);
            let code = close_code(class).or_else(|| match (class, connection.stage) {
                // Until then its LINK_HELLO may bring an admission.
                (KeyClass::Unknown, ConnectionStage::Known)
                    if connection.protocol != Protocol::Join =>
                {
                    Some(CloseCode::Unknown)
                }
                _ => None,
            })?;
            Some((*id, code))
        });
        let unfit: Vec<(LinkId, CloseCode)> = unfit.collect();
        unfit
            .into_iter()
            .for_each(|(id, code)| self.close(id, code));
        let members = &self.members;
        self.links
            .retain(|peer, _| members.class(*peer) != KeyClass::Evicted);
        self.multicasts
            .retain(|peer| members.class(peer) != KeyClass::Evicted);
    }

    fn handle_opened(
        &mut self,
        id: LinkId,
        key: Option<PublicKey>,
        protocol: Protocol,
        dialed: Option<Target>,
        remote: SocketAddr,
        now: Instant,
    ) {
        let peer = key.map(|key| key.peer_id());
        if let Some(code) = self.refuses(protocol, peer, dialed) {
            if let Some(Target::Companion(peer, link, protocol)) = dialed {
                self.set_companion(peer, link, protocol, None, now);
            }
            return self.link_output(LinkOutput::Close { link: id, code });
        }
        let until = now + MUTE_TIMEOUT;
        self.remember(
            id,
            protocol,
            peer,
            dialed,
            remote,
            ConnectionStage::Mute { until },
        );
        match (protocol, dialed) {
            (Protocol::Link, _)
                if peer.is_some_and(|p| self.members.class(p) == KeyClass::Member) =>
            {
                self.greet(id);
            }
            (_, Some(Target::Companion(peer, link, protocol))) => {
                self.link_output(LinkOutput::Accept(id));
                self.set_companion(peer, link, protocol, Some(id), now);
            }
            (Protocol::Beat, _) => self.link_output(LinkOutput::Accept(id)),
            _ => {}
        }
    }

    /// Why a connection is closed at once; none: it may go on. The table (protocol × class of the
    /// key) of overlay protocol section 1.
    pub(super) fn refuses(
        &self,
        protocol: Protocol,
        peer: Option<PeerId>,
        dialed: Option<Target>,
    ) -> Option<CloseCode> {
        if let Some(Target::Companion(peer, link, _)) = dialed
            && !self.carries(peer, link)
        {
            return Some(CloseCode::Superseded);
        }
        let Some(peer) = peer else {
            let connections = self.connections.values();
            let is_unnamed = |c: &&Connection| {
                c.protocol == Protocol::Canary && c.stage != ConnectionStage::Known
            };
            return match protocol {
                Protocol::Canary
                    if connections.filter(is_unnamed).count() < UNNAMED_CANARIES_MAX =>
                {
                    None
                }
                Protocol::Canary => Some(CloseCode::Busy),
                _ => Some(CloseCode::Protocol),
            };
        };
        match (protocol, self.members.class(peer)) {
            (Protocol::Link | Protocol::Beat, class @ (KeyClass::Excluded | KeyClass::Evicted)) => {
                close_code(class)
            }
            (Protocol::Link, KeyClass::Member) if !self.may_link(peer) => {
                Some(CloseCode::NotWanted)
            }
            (Protocol::Link | Protocol::Beat, KeyClass::Member) => None,
            (Protocol::Link, KeyClass::Unknown) => {
                let connections = self.connections.values();
                let unknown = connections.filter(|connection| {
                    let peer = connection
                        .peer
                        .filter(|_| connection.protocol == Protocol::Link);
                    peer.is_some_and(|peer| self.members.class(peer) == KeyClass::Unknown)
                });
                (unknown.count() >= UNKNOWN_MAX).then_some(CloseCode::Busy)
            }
            (Protocol::Beat, KeyClass::Unknown) => Some(CloseCode::Unknown),
            // What an excluded key may still say comes with re-seeding.
            _ => Some(CloseCode::Protocol),
        }
    }

    pub(super) fn remember(
        &mut self,
        id: LinkId,
        protocol: Protocol,
        peer: Option<PeerId>,
        dialed: Option<Target>,
        remote: SocketAddr,
        stage: ConnectionStage,
    ) {
        let mut nonce = [0; 16];
        self.random.fill(&mut nonce);
        let connection = Connection {
            protocol,
            peer,
            dialed,
            remote,
            nonce,
            claim: None,
            stage,
            is_greeted: false,
            streams: BTreeMap::new(),
        };
        self.connections.insert(id, connection);
    }

    fn handle_stream(
        &mut self,
        id: LinkId,
        stream: StreamId,
        data: &[u8],
        finished: bool,
        now: Instant,
    ) {
        if let Some(fetch) = self.fetches.find(id, stream) {
            return self.take_answer(fetch, data, finished);
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let size_max = match connection.stage {
            ConnectionStage::Known => STREAM_FRAME_SIZE_MAX,
            ConnectionStage::Mute { .. } => HELLO_SIZE_MAX,
        };
        if !connection.streams.contains_key(&stream) && connection.streams.len() >= STREAMS_MAX {
            self.counters.malformed += 1;
            return self.close(id, CloseCode::Protocol);
        }
        let reader = connection.streams.entry(stream).or_default();
        reader.push(data);
        let next = reader.next(size_max);
        if finished || !matches!(next, Ok(None)) {
            connection.streams.remove(&stream);
        }
        let peer = connection.peer;
        match (next, peer) {
            (Ok(Some((KIND_HELLO, body))), Some(peer)) => self.handle_hello(id, peer, &body, now),
            (Ok(Some((KIND_FETCH, request))), Some(peer)) if self.carries(peer, id) => {
                self.begin_answer(peer, id, stream, request);
            }
            // Later kinds, and the rest of a fetch that was given up.
            (Ok(_), _) => {}
            (Err(_), _) => {
                self.counters.malformed += 1;
                self.close(id, CloseCode::Protocol);
            }
        }
    }

    fn handle_closed(&mut self, id: LinkId, code: Option<u32>, now: Instant) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        for fetch in self.fetches.remove_link(id) {
            self.event(Event::FetchFailed(fetch));
        }
        let is_from_member = connection
            .peer
            .filter(|peer| self.members.class(*peer) == KeyClass::Member);
        if let Some(by) = is_from_member {
            if code == Some(CloseCode::Excluded as u32) {
                self.event(Event::Excluded { by });
            } else if code == Some(CloseCode::Evicted as u32) {
                self.event(Event::Evicted { by });
            }
        }
        let links = self.links.iter();
        let mut of_link = links.filter_map(|(peer, link)| {
            let triple = link.connection.as_ref()?;
            let ids = [Some(triple.link), triple.beat.id(), triple.canary.id()];
            let part = ids.into_iter().position(|part| part == Some(id))?;
            Some((*peer, triple.link, part))
        });
        match of_link.next() {
            None => {}
            Some((peer, _, 0)) => {
                let triple = self.links.get_mut(&peer).and_then(Link::disconnect);
                if let Some(triple) = triple {
                    self.close_triple(&triple, CloseCode::Superseded);
                }
                // The other end keeps another connection of this pair: its heartbeats decide.
                if code == Some(CloseCode::NotWanted as u32) {
                    self.take_down(peer, Why::NotWanted, now);
                } else if code != Some(CloseCode::Superseded as u32) {
                    self.take_down(peer, Why::Closed, now);
                }
            }
            Some((peer, link, 1)) => {
                self.set_companion(peer, link, Protocol::Beat, None, now);
                // Whoever closes it lives, and without it no ping is answered.
                if let Some(link) = self.links.get_mut(&peer) {
                    link.neighbor.forget_probe();
                }
            }
            Some((peer, link, _)) => {
                self.set_companion(peer, link, Protocol::Canary, None, now);
                // FIN or RST is a hint: a killed process closes its canary at once.
                if let Some(link) = self.links.get_mut(&peer) {
                    link.neighbor.hint(now);
                }
            }
        }
    }

    fn dial_peer(&mut self, peer: PeerId) {
        let mut addresses = self.members.addresses(peer);
        for address in &self.config.extra_addresses {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        for address in addresses {
            self.dial(Target::Link(peer, address), Protocol::Link, address);
        }
    }

    pub(super) fn dial(
        &mut self,
        target: Target,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Option<DialId> {
        let (Target::Link(peer, _) | Target::Companion(peer, ..)) = target else {
            return None;
        };
        let key = self.members.key(peer)?;
        let expected = match protocol {
            Protocol::Canary => Expected::Nothing,
            _ => Expected::Key(key),
        };
        let dial = self.dialing.start(target)?;
        self.link_output(LinkOutput::Dial {
            dial,
            address,
            protocol,
            expected,
        });
        Some(dial)
    }

    pub(super) fn close(&mut self, id: LinkId, code: CloseCode) {
        let closed = self.connections.remove(&id);
        if closed.is_some_and(|closed| closed.protocol == Protocol::Join) {
            let event = LinkEvent::Closed { code: None };
            self.event(Event::JoinLink { link: id, event });
        }
        for fetch in self.fetches.remove_link(id) {
            self.event(Event::FetchFailed(fetch));
        }
        self.outputs
            .push_back(Output::Link(LinkOutput::Close { link: id, code }));
    }

    pub(super) fn close_triple(&mut self, triple: &Triple, code: CloseCode) {
        let ids = [Some(triple.link), triple.beat.id(), triple.canary.id()];
        for id in ids.into_iter().flatten() {
            if self.connections.contains_key(&id) {
                self.close(id, code);
            }
        }
    }

    pub(super) fn may_link(&self, peer: PeerId) -> bool {
        let name = self.members.name(peer);
        let specs = self.config.links.as_ref();
        specs.is_none_or(|specs| specs.iter().any(|spec| spec.names(peer, name)))
    }

    /// True if this connection is the one that carries the link to the peer.
    pub(super) fn carries(&self, peer: PeerId, id: LinkId) -> bool {
        let link = self.links.get(&peer);
        let triple = link.and_then(|link| link.connection.as_ref());
        triple.is_some_and(|triple| triple.link == id)
    }

    fn carried(&mut self, id: LinkId) -> Option<&mut Link> {
        let peer = self.connections.get(&id)?.peer?;
        self.carries(peer, id).then(|| self.links.get_mut(&peer))?
    }
}

fn close_code(class: KeyClass) -> Option<CloseCode> {
    match class {
        KeyClass::Excluded => Some(CloseCode::Excluded),
        KeyClass::Evicted => Some(CloseCode::Evicted),
        KeyClass::Myself | KeyClass::Member | KeyClass::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::ClusterId;
    use crate::config::Config;
    use crate::event::{Standing, Unheard};
    use crate::hello::Hello;
    use crate::members::{Member, MemberSet};
    use crate::packet::{BeatPacket, Heartbeat};
    use crate::peer_id::Incarnation;
    use crate::stream::frame;
    use crate::timing::Profile;
    use crate::view::ViewId;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const JOIN: LinkId = LinkId(1);
    const BEAT: LinkId = LinkId(3);

    fn key(seed: u8) -> (Ed25519KeyPair, PublicKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = PublicKey(pair.public_key().as_ref().try_into().unwrap());
        (pair, public)
    }

    fn router(members: &MemberSet, now: Instant) -> Router {
        let config = Config {
            cluster: ClusterId([7; 16]),
            name: "a".to_owned(),
            addresses: Vec::new(),
            profile: Profile::Lan,
            links: None,
            extra_addresses: Vec::new(),
            admit: None,
        };
        let (pair, _) = key(1);
        let mut router = Router::resume(
            config,
            pair,
            Incarnation(1),
            Vec::new(),
            1,
            Duration::ZERO,
            now,
        );
        router.set_members(members, now);
        while router.poll_output().is_some() {}
        router
    }

    fn open_join(router: &mut Router, now: Instant) -> Vec<Output> {
        let opened = LinkEvent::Opened {
            key: Some(key(2).1),
            protocol: Protocol::Join,
            dialed: None,
            exporter: [0; 32],
            remote: SocketAddr::from(([127, 0, 0, 1], 1)),
        };
        router.handle_link(JOIN, opened, Duration::ZERO, now);
        std::iter::from_fn(|| router.poll_output()).collect()
    }

    fn is_passed(outputs: &[Output]) -> bool {
        let passed = |output: &Output| matches!(output, Output::Event(Event::JoinLink { .. }));
        outputs.iter().any(passed)
    }

    #[test]
    fn who_is_evicted_or_excluded_joins_no_more() {
        let now = crate::testing::start();
        let who = vec![key(2).1.peer_id()];
        let check = |members: MemberSet, expected: Option<CloseCode>| {
            let outputs = open_join(&mut router(&members, now), now);
            let closed = outputs.iter().find_map(|output| match output {
                Output::Link(LinkOutput::Close { link: JOIN, code }) => Some(*code),
                _ => None,
            });
            assert_eq!(closed, expected);
            assert_eq!(is_passed(&outputs), expected.is_none());
        };
        check(MemberSet::default(), None);
        check(
            MemberSet {
                evicted: who.clone(),
                ..MemberSet::default()
            },
            Some(CloseCode::Evicted),
        );
        check(
            MemberSet {
                excluded: who,
                ..MemberSet::default()
            },
            Some(CloseCode::Excluded),
        );
    }

    const LINK: LinkId = LinkId(2);

    fn admitted() -> MemberSet {
        MemberSet {
            admitted: vec![Member {
                key: key(2).1,
                name: "b".to_owned(),
                addresses: Vec::new(),
            }],
            ..MemberSet::default()
        }
    }

    fn outputs(router: &mut Router) -> Vec<Output> {
        std::iter::from_fn(|| router.poll_output()).collect()
    }

    fn open_link(router: &mut Router, now: Instant) {
        let opened = LinkEvent::Opened {
            key: Some(key(2).1),
            protocol: Protocol::Link,
            dialed: None,
            exporter: [0; 32],
            remote: SocketAddr::from(([127, 0, 0, 1], 1)),
        };
        router.handle_link(LINK, opened, Duration::ZERO, now);
    }

    fn say_hello(router: &mut Router, now: Instant) {
        let hello = Hello {
            cluster: ClusterId([7; 16]),
            incarnation: Incarnation(5),
            name: "b".to_owned(),
            nonce: [1; 16],
            addresses: Vec::new(),
            known: Default::default(),
            admit: None,
        };
        let said = LinkEvent::Stream {
            stream: StreamId(1),
            data: frame(KIND_HELLO, &hello.encode()),
            finished: true,
        };
        router.handle_link(LINK, said, Duration::ZERO, now);
    }

    fn closed_by(outputs: &[Output]) -> Option<CloseCode> {
        outputs.iter().find_map(|output| match output {
            Output::Link(LinkOutput::Close { link: LINK, code }) => Some(*code),
            _ => None,
        })
    }

    fn is_greeted(outputs: &[Output]) -> bool {
        outputs.contains(&Output::Link(LinkOutput::Accept(LINK)))
    }

    #[test]
    fn what_a_link_has_counted_outlives_an_eviction_that_proves_void() {
        let now = crate::testing::start();
        let peer = key(2).1.peer_id();
        let mut router = router(&admitted(), now);
        for session in [1, 2] {
            open_link(&mut router, now);
            say_hello(&mut router, now);
            let link = router.links.get_mut(&peer).expect("the hello was good");
            assert!(link.connection.is_some());
            link.begin_session(now);
            assert_eq!(link.sender().map(|sender| sender.session()), Some(session));
            outputs(&mut router);
            let excluded = MemberSet {
                excluded: vec![peer],
                ..admitted()
            };
            router.set_members(&excluded, now);
            assert_eq!(closed_by(&outputs(&mut router)), Some(CloseCode::Excluded));
            router.set_members(&admitted(), now);
        }
        let evicted = MemberSet {
            evicted: vec![peer],
            ..admitted()
        };
        router.set_members(&evicted, now);
        assert!(router.links.is_empty(), "it never comes back");
    }

    /// A router with a link to a neighbor whose beat connection is open.
    fn linked(start: Instant) -> Router {
        let mut router = router(&admitted(), start);
        open_link(&mut router, start);
        say_hello(&mut router, start);
        let opened = LinkEvent::Opened {
            key: Some(key(2).1),
            protocol: Protocol::Beat,
            dialed: None,
            exporter: [0; 32],
            remote: SocketAddr::from(([127, 0, 0, 1], 1)),
        };
        router.handle_link(BEAT, opened, Duration::ZERO, start);
        router
    }

    fn say_beat(router: &mut Router, beat: Heartbeat, now: Instant) {
        let triple = router.links[&key(2).1.peer_id()]
            .connection
            .as_ref()
            .unwrap();
        let nonce = triple.my_nonce;
        let beat = BeatPacket::Heartbeat(Heartbeat { nonce, ..beat });
        let datagram = LinkEvent::Datagram(beat.encode());
        router.handle_link(BEAT, datagram, Duration::ZERO, now);
    }

    fn heartbeat(sequence: u64, hears: u64) -> Heartbeat {
        Heartbeat {
            nonce: [0; 16],
            incarnation: Incarnation(5),
            hears: Incarnation(hears),
            sequence,
            echo: 0,
            waited: Duration::ZERO,
            view: ViewId(0),
            view_size: 1,
            tick: 0,
            standing: Standing::Yes,
        }
    }

    #[test]
    fn a_peer_whose_main_loop_hangs_answers_no_ping() {
        let start = crate::testing::start();
        let mut router = linked(start);
        say_beat(&mut router, heartbeat(1, 1), start);
        let pong = Output::Link(LinkOutput::Datagram {
            link: BEAT,
            data: BeatPacket::Pong(7).encode(),
        });
        let mut now = start;
        for (tick, lasts, is_answered) in [(1, 50, true), (2, 250, false), (3, 50, true)] {
            router.set_tick(tick, now);
            for _ in 0..lasts / 10 {
                now += Duration::from_millis(10);
                router.handle_timeout(Duration::ZERO, now);
                outputs(&mut router);
            }
            let ping = LinkEvent::Datagram(BeatPacket::Ping(7).encode());
            router.handle_link(BEAT, ping, Duration::ZERO, now);
            assert_eq!(outputs(&mut router).contains(&pong), is_answered, "{tick}");
        }
    }

    #[test]
    fn who_hears_a_standing_peer_that_does_not_hear_it_is_told() {
        let start = crate::testing::start();
        let told = |unheard| Output::Event(Event::Unheard(unheard));
        let small = Heartbeat {
            view_size: 0,
            ..heartbeat(1, 0)
        };
        let fallen = Heartbeat {
            standing: Standing::No,
            ..heartbeat(1, 0)
        };
        for (beat, is_told) in [
            (heartbeat(1, 0), true),
            (heartbeat(1, 1), false),
            (small, false),
            (fallen, false),
        ] {
            let mut router = linked(start);
            let mut now = start;
            let mut heard = Vec::new();
            for sequence in 1..=5 {
                say_beat(&mut router, Heartbeat { sequence, ..beat }, now);
                heard.extend(outputs(&mut router));
                let is_early = now < start + Duration::from_millis(75);
                assert!(!is_early || !heard.contains(&told(Unheard::Yes)));
                now += Duration::from_millis(25);
            }
            assert_eq!(heard.contains(&told(Unheard::Yes)), is_told, "{beat:?}");
            say_beat(&mut router, heartbeat(9, 1), now);
            let is_over = outputs(&mut router).contains(&told(Unheard::No));
            assert_eq!(is_over, is_told, "{beat:?}");
        }
    }

    #[test]
    fn a_heartbeat_says_whether_the_peer_stands() {
        let start = crate::testing::start();
        let mut router = linked(start);
        say_beat(&mut router, heartbeat(1, 1), start);
        for standing in [Standing::Yes, Standing::No] {
            router.set_standing(standing);
            let due = router.poll_timeout().expect("a heartbeat is due");
            router.handle_timeout(Duration::ZERO, due + Duration::from_millis(25));
            let said = outputs(&mut router).into_iter().find_map(|output| {
                let Output::Link(LinkOutput::Datagram { link: BEAT, data }) = output else {
                    return None;
                };
                match BeatPacket::decode(data) {
                    Some(BeatPacket::Heartbeat(beat)) => Some(beat.standing),
                    _ => None,
                }
            });
            assert_eq!(said, Some(standing));
        }
    }

    #[test]
    fn a_key_that_is_admitted_before_its_hello_is_greeted() {
        let now = crate::testing::start();
        let mut router = router(&MemberSet::default(), now);
        open_link(&mut router, now);
        assert!(!is_greeted(&outputs(&mut router)));
        router.set_members(&admitted(), now);
        say_hello(&mut router, now);
        assert!(is_greeted(&outputs(&mut router)));
    }

    #[test]
    fn a_key_that_is_evicted_before_its_hello_is_closed() {
        let now = crate::testing::start();
        let mut router = router(&MemberSet::default(), now);
        open_link(&mut router, now);
        let evicted = MemberSet {
            evicted: vec![key(2).1.peer_id()],
            ..MemberSet::default()
        };
        router.set_members(&evicted, now);
        assert_eq!(closed_by(&outputs(&mut router)), Some(CloseCode::Evicted));
        say_hello(&mut router, now);
        assert!(!is_greeted(&outputs(&mut router)));
    }

    #[test]
    fn an_eviction_ends_the_join_that_is_under_way() {
        let now = crate::testing::start();
        let admitted = MemberSet {
            admitted: vec![Member {
                key: key(2).1,
                name: "b".to_owned(),
                addresses: Vec::new(),
            }],
            ..MemberSet::default()
        };
        let mut router = router(&admitted, now);
        assert!(is_passed(&open_join(&mut router, now)));
        let evicted = MemberSet {
            evicted: vec![key(2).1.peer_id()],
            ..MemberSet::default()
        };
        router.set_members(&evicted, now);
        let outputs: Vec<Output> = std::iter::from_fn(|| router.poll_output()).collect();
        assert!(outputs.contains(&Output::Event(Event::JoinLink {
            link: JOIN,
            event: LinkEvent::Closed { code: None },
        })));
    }
}
