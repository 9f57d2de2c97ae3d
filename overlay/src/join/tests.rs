//! Joiners and inviters whose connections are queues.

use super::*;
use crate::admit::ClusterId;
use crate::link_event::{CloseCode, Expected, Protocol, StreamId};
use crate::token::TokenSecret;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;

const INVITER: usize = 0;
const STAGE_SIZE: usize = 3 * WINDOW + 5;

/// An inviter and joiners, with owners that store at once, on connections that lose nothing
/// until they are cut.
struct World {
    nodes: Vec<Node>,
    /// Each end of a connection: whose it is, and the other end.
    ends: BTreeMap<LinkId, (usize, LinkId)>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Chunks that are still to be sent to a guest, and the space that it has.
    serving: BTreeMap<LinkId, Serving>,
    /// Cut every connection once so many bytes of the stage have come.
    cut_at: Option<usize>,
    stores_rows: bool,
    now: Instant,
    wall: Duration,
    link_number: u64,
}

struct Node {
    join: Join,
    signer: Ed25519KeyPair,
    events: Vec<JoinEvent>,
    received: usize,
}

struct Serving {
    left: usize,
    space: usize,
    key: PublicKey,
    name: String,
}

fn key_of(signer: &Ed25519KeyPair) -> PublicKey {
    PublicKey(signer.public_key().as_ref().try_into().unwrap())
}

impl World {
    fn new(joiners: usize) -> Self {
        let nodes = (0..=joiners).map(|number| Node {
            join: Join::resume([], number as u64).unwrap(),
            signer: Ed25519KeyPair::from_seed_unchecked(&[number as u8; 32]).unwrap(),
            events: Vec::new(),
            received: 0,
        });
        Self {
            nodes: nodes.collect(),
            ends: BTreeMap::new(),
            rows: BTreeMap::new(),
            serving: BTreeMap::new(),
            cut_at: None,
            stores_rows: true,
            now: crate::testing::start(),
            wall: Duration::from_secs(1_000),
            link_number: 0,
        }
    }

    fn token(&self) -> Token {
        Token {
            cluster: ClusterId([5; 16]),
            fingerprint: key_of(&self.nodes[INVITER].signer).fingerprint(),
            secret: TokenSecret([6; 16]),
            expires: Duration::from_secs(2_000),
            addresses: vec![
                "192.0.2.1:1".parse().unwrap(),
                "192.0.2.2:1".parse().unwrap(),
            ],
        }
    }

    fn invite(&mut self, token: &Token) {
        self.nodes[INVITER]
            .join
            .add_invitation(token.clone(), self.wall)
            .unwrap();
        self.settle();
    }

    fn dial(&mut self, joiner: usize, token: Token) {
        let key = key_of(&self.nodes[joiner].signer);
        let request = JoinRequest {
            token,
            key,
            name: format!("peer{joiner}"),
            addresses: vec!["192.0.2.9:1".parse().unwrap()],
        };
        let now = self.now;
        self.nodes[joiner].join.dial(request, now);
        self.settle();
    }

    /// Does all that is asked for until nobody asks for anything.
    fn settle(&mut self) {
        loop {
            let next = self.nodes.iter_mut().enumerate();
            let next = next.filter_map(|(at, node)| Some((at, node.join.poll_output()?)));
            let Some((at, output)) = { next }.next() else {
                return;
            };
            match output {
                JoinOutput::Link(output) => self.perform(at, output),
                JoinOutput::Keep { number, key, value } => {
                    match value {
                        Some(value) => self.rows.insert(key, value),
                        None => self.rows.remove(&key),
                    };
                    if self.stores_rows {
                        let now = self.now;
                        self.nodes[at].join.handle_kept(number, now);
                    }
                }
                JoinOutput::Event(event) => self.own(at, event),
            }
        }
    }

    /// Lets time pass until something is due, at most so long.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self
                .nodes
                .iter()
                .filter_map(|node| node.join.poll_timeout())
                .min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            for node in &mut self.nodes {
                node.join.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn tell(&mut self, link: LinkId, event: LinkEvent) {
        if let Some((at, _)) = self.ends.get(&link) {
            self.nodes[*at]
                .join
                .handle_link(link, event, self.wall, self.now);
        }
    }

    fn perform(&mut self, at: usize, output: LinkOutput) {
        match output {
            LinkOutput::Dial {
                dial,
                protocol,
                expected,
                ..
            } => {
                assert_eq!(protocol, Protocol::Join);
                let key = key_of(&self.nodes[INVITER].signer);
                assert_eq!(expected, Expected::Fingerprint(key.fingerprint()));
                self.link_number += 2;
                let (mine, other) = (LinkId(self.link_number), LinkId(self.link_number + 1));
                self.ends.insert(mine, (at, other));
                self.ends.insert(other, (INVITER, mine));
                let exporter = [self.link_number as u8; 32];
                let opened = |key, dialed| LinkEvent::Opened {
                    key: Some(key),
                    protocol: Protocol::Join,
                    dialed,
                    exporter,
                    remote: "192.0.2.7:1".parse().unwrap(),
                };
                let joiner = key_of(&self.nodes[at].signer);
                self.tell(other, opened(joiner, None));
                self.tell(mine, opened(key, Some(dial)));
            }
            LinkOutput::Close { link, code } => {
                if let Some((_, other)) = self.ends.remove(&link) {
                    self.tell(
                        other,
                        LinkEvent::Closed {
                            code: Some(code as u32),
                        },
                    );
                    self.ends.remove(&other);
                }
            }
            LinkOutput::Accept(_) => {}
            LinkOutput::OpenStream { link, number, .. } => {
                self.tell(
                    link,
                    LinkEvent::StreamOpened {
                        number,
                        stream: StreamId(0),
                    },
                );
            }
            LinkOutput::StreamData {
                link,
                stream,
                data,
                finish,
            } => {
                if let Some((_, other)) = self.ends.get(&link).copied() {
                    self.tell(
                        other,
                        LinkEvent::Stream {
                            stream,
                            data,
                            finished: finish,
                        },
                    );
                    self.tell(link, LinkEvent::StreamWritable(stream));
                }
            }
            LinkOutput::Datagram { .. } | LinkOutput::CanaryNonce { .. } => unreachable!(),
        }
    }

    fn cut(&mut self) {
        for (link, (at, _)) in std::mem::take(&mut self.ends) {
            let closed = LinkEvent::Closed { code: None };
            self.nodes[at]
                .join
                .handle_link(link, closed, self.wall, self.now);
        }
    }

    /// What the owners do about an event.
    fn own(&mut self, at: usize, event: JoinEvent) {
        let now = self.now;
        match &event {
            JoinEvent::Asked {
                link,
                key,
                name,
                space,
                ..
            } => {
                let serving = Serving {
                    left: STAGE_SIZE,
                    space: *space,
                    key: *key,
                    name: name.clone(),
                };
                self.serving.insert(*link, serving);
                self.serve(*link);
            }
            JoinEvent::Space { link, bytes } => {
                if let Some(serving) = self.serving.get_mut(link) {
                    serving.space += bytes;
                    self.serve(*link);
                }
            }
            JoinEvent::Gone { link } => {
                self.serving.remove(link);
            }
            JoinEvent::Connected { .. } => self.nodes[at].received = 0,
            JoinEvent::Stage(bytes) | JoinEvent::Snapshot(bytes) => {
                self.nodes[at].received += bytes.len();
                if self
                    .cut_at
                    .is_some_and(|limit| self.nodes[at].received >= limit)
                {
                    self.cut_at = None;
                    self.cut();
                }
                self.nodes[at].join.taken(bytes.len());
                return;
            }
            JoinEvent::Done => self.nodes[at].join.stored(now),
            _ => {}
        }
        self.nodes[at].events.push(event);
    }

    fn serve(&mut self, link: LinkId) {
        let now = self.now;
        let serving = self.serving.get_mut(&link).unwrap();
        let join = &mut self.nodes[INVITER].join;
        while serving.left > 0 {
            let size = serving.left.min(CHUNK_SIZE_MAX);
            if serving.space < size {
                return;
            }
            serving.left -= size;
            serving.space -= size;
            join.stage(link, vec![0; size].into(), now);
        }
        let serving = self.serving.remove(&link).unwrap();
        let admit = self.admission(serving.key, &serving.name);
        let join = &mut self.nodes[INVITER].join;
        join.progress(link, "waits for the third peer", now);
        let member = Member {
            key: serving.key,
            name: serving.name.clone(),
            addresses: Vec::new(),
        };
        join.admit(link, admit, vec![member], now);
        join.snapshot(link, Bytes::from_static(b"rest"), now);
        join.finish(link, now);
    }

    fn admission(&self, key: PublicKey, name: &str) -> Admit {
        let inviter = &self.nodes[INVITER].signer;
        let by = key_of(inviter).peer_id();
        let (cluster, wall) = (ClusterId([5; 16]), Duration::from_secs(7));
        Admit::sign(inviter, cluster, key, name.into(), Vec::new(), by, wall)
    }

    fn refusals(&self) -> Vec<Refusal> {
        let events = self.nodes[INVITER].events.iter();
        let refusals = events.filter_map(|event| match event {
            JoinEvent::AskRefused { reason, .. } => Some(*reason),
            _ => None,
        });
        refusals.collect()
    }

    fn joins(&self) -> usize {
        let events = self.nodes[INVITER].events.iter();
        events
            .filter(|event| matches!(event, JoinEvent::Joined { .. }))
            .count()
    }

    fn has_seen(&self, node: usize, wanted: &JoinEvent) -> bool {
        self.nodes[node].events.contains(wanted)
    }
}

fn check_joined(world: &World, joiner: usize) {
    let key = key_of(&world.nodes[joiner].signer);
    let name = format!("peer{joiner}");
    let admit = world.admission(key, &name);
    let members = vec![Member {
        key,
        name,
        addresses: Vec::new(),
    }];
    assert!(world.has_seen(joiner, &JoinEvent::Admitted { admit, members }));
    assert!(world.has_seen(joiner, &JoinEvent::Done));
    assert_eq!(world.nodes[joiner].received, STAGE_SIZE + 4);
    assert!(world.ends.is_empty());
    assert!(
        world
            .nodes
            .iter()
            .all(|node| node.join.poll_timeout().is_none())
    );
}

#[test]
fn a_good_token_brings_everything_through_a_small_window() {
    let mut world = World::new(1);
    let token = world.token();
    world.invite(&token);
    assert!(world.has_seen(INVITER, &JoinEvent::Invited(token.clone())));
    world.dial(1, token);
    check_joined(&world, 1);
    assert_eq!(world.joins(), 1);
}

#[test]
fn a_wrong_secret_is_refused_without_a_word_why_and_not_tried_again() {
    let mut world = World::new(1);
    let mut token = world.token();
    world.invite(&token);
    token.secret.0[0] ^= 1;
    world.dial(1, token);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.refusals(), [Refusal::WrongSecret]);
    assert!(world.has_seen(1, &JoinEvent::Refused));
    assert!(world.ends.is_empty());
}

#[test]
fn another_cluster_s_token_is_refused() {
    let mut world = World::new(1);
    let mut token = world.token();
    world.invite(&token);
    token.cluster.0[0] ^= 1;
    world.dial(1, token);
    assert_eq!(world.refusals(), [Refusal::WrongSecret]);
}

#[test]
fn an_expired_token_is_refused_unless_its_key_has_used_it() {
    let mut world = World::new(1);
    let token = world.token();
    world.invite(&token);
    world.wall = token.expires;
    world.dial(1, token.clone());
    assert_eq!(world.refusals(), [Refusal::Expired]);

    world.wall = Duration::from_secs(1_000);
    world.dial(1, token.clone());
    assert_eq!(world.joins(), 1);
    world.wall = token.expires;
    world.dial(1, token);
    assert_eq!(world.joins(), 2);
}

#[test]
fn a_token_joins_one_key_also_after_a_restart_of_the_inviter() {
    let mut world = World::new(2);
    let token = world.token();
    world.invite(&token);
    world.dial(1, token.clone());
    world.nodes[INVITER].join = Join::resume(world.rows.clone(), 9).unwrap();
    world.dial(2, token.clone());
    assert_eq!(world.refusals(), [Refusal::Used]);
    assert!(world.has_seen(2, &JoinEvent::Refused));
    world.dial(1, token);
    assert_eq!(world.joins(), 2);
    check_joined(&world, 1);
}

#[test]
fn nobody_is_served_before_the_binding_is_durable() {
    let mut world = World::new(1);
    let token = world.token();
    world.invite(&token);
    world.stores_rows = false;
    world.dial(1, token.clone());
    world.pass(Duration::from_secs(20));
    let asked = |world: &World| {
        let mut events = world.nodes[INVITER].events.iter();
        events.any(|event| matches!(event, JoinEvent::Asked { .. }))
    };
    assert!(!asked(&world));
    // The joiner gives up the silent connection and is served on its next one.
    world.stores_rows = true;
    world.pass(Duration::from_secs(20));
    assert!(asked(&world));
    check_joined(&world, 1);
}

#[test]
fn a_cut_connection_burns_nothing() {
    for cut_at in [1, WINDOW, STAGE_SIZE, STAGE_SIZE + 4] {
        let mut world = World::new(1);
        let token = world.token();
        world.invite(&token);
        world.cut_at = Some(cut_at);
        world.dial(1, token);
        assert_eq!(world.joins(), 0);
        assert!(
            world.nodes[INVITER]
                .events
                .iter()
                .any(|e| matches!(e, JoinEvent::Gone { .. }))
        );
        world.pass(Duration::from_secs(1));
        check_joined(&world, 1);
        // What was under way when the connection was cut may have been all there was; who has
        // everything does not come again only to say so.
        assert_eq!(world.joins(), usize::from(cut_at <= WINDOW));
        assert!(world.refusals().is_empty());
    }
}

#[test]
fn a_waiting_joiner_is_kept_and_told_why() {
    let mut world = World::new(1);
    let token = world.token();
    world.invite(&token);
    world.cut_at = None;
    world.stores_rows = false;
    world.dial(1, token);
    world.stores_rows = true;
    // The row becomes durable, and the owner has nothing to send for a while.
    let number = 2;
    let now = world.now;
    world.nodes[INVITER].join.handle_kept(number, now);
    let Some(JoinOutput::Event(JoinEvent::Asked { link, .. })) =
        world.nodes[INVITER].join.poll_output()
    else {
        panic!("the second row binds the token");
    };
    world.nodes[INVITER]
        .join
        .progress(link, "waits for a majority", now);
    world.settle();
    world.pass(Duration::from_secs(30));
    let told = JoinEvent::Waiting("waits for a majority".into());
    assert_eq!(
        world.nodes[1]
            .events
            .iter()
            .filter(|event| **event == told)
            .count(),
        7
    );
    world.nodes[INVITER].join.refuse(link, world.now);
    world.settle();
    assert!(world.has_seen(1, &JoinEvent::Refused));
}

#[test]
fn an_inviter_that_does_not_know_the_secret_admits_nobody() {
    let mut world = World::new(1);
    let token = world.token();
    // The joiner's token has another secret than the one by which the inviter proves itself.
    world.invite(&token);
    world.stores_rows = false;
    world.dial(1, token);
    let (link, (_, guest)) = world.ends.iter().find(|(_, end)| end.0 == 1).unwrap();
    let (link, guest) = (*link, *guest);
    let key = key_of(&world.nodes[1].signer);
    let admit = world.admission(key, "peer1");
    let forged = frame::Message::Admitted {
        proof: [0; 32],
        admit,
        members: Vec::new(),
    };
    let data = forged.encode();
    world.tell(
        link,
        LinkEvent::Stream {
            stream: StreamId(0),
            data,
            finished: false,
        },
    );
    world.settle();
    assert!(world.nodes[1].events.iter().any(|event| matches!(event,
        JoinEvent::Retrying { reason } if reason.contains("does not know the secret"))));
    assert!(!world.ends.contains_key(&guest) || !world.ends.contains_key(&link));
}

#[test]
fn strangers_are_few_short_and_seldom() {
    let mut world = World::new(1);
    let token = world.token();
    world.invite(&token);
    let opened = |number: u8| LinkEvent::Opened {
        key: Some(PublicKey([number; 32])),
        protocol: Protocol::Join,
        dialed: None,
        exporter: [0; 32],
        remote: "198.51.100.1:1".parse().unwrap(),
    };
    let (now, wall) = (world.now, world.wall);
    let closed = |world: &mut World| {
        let mut codes = Vec::new();
        while let Some(output) = world.nodes[INVITER].join.poll_output() {
            if let JoinOutput::Link(LinkOutput::Close { code, .. }) = output {
                codes.push(code);
            }
        }
        codes
    };
    for number in 0..17 {
        let link = LinkId(1_000 + u64::from(number));
        world.nodes[INVITER]
            .join
            .handle_link(link, opened(number), wall, now);
    }
    assert_eq!(closed(&mut world), [CloseCode::Busy]);
    world.nodes[INVITER]
        .join
        .handle_timeout(now + Duration::from_secs(5));
    assert_eq!(closed(&mut world).len(), 16);

    for number in 0..11 {
        let link = LinkId(2_000 + u64::from(number));
        let join = &mut world.nodes[INVITER].join;
        join.handle_link(link, opened(number), wall, now);
        let ask = frame::Message::Ask {
            version: frame::VERSION,
            proof: [number; 32],
            name: "x".into(),
            addresses: Vec::new(),
        };
        let data = ask.encode();
        let event = LinkEvent::Stream {
            stream: StreamId(0),
            data,
            finished: false,
        };
        join.handle_link(link, event, wall, now);
    }
    // Ten are told that they are refused; the eleventh has to come later.
    assert_eq!(closed(&mut world), [CloseCode::Busy]);
}

#[test]
fn a_guest_that_sends_nonsense_is_refused_and_one_that_sends_too_much_too() {
    for data in [&[0, 0, 0, 1, 77][..], &[0, 1, 0, 0, 1], &[0, 0, 0, 0]] {
        let mut world = World::new(0);
        let opened = LinkEvent::Opened {
            key: Some(PublicKey([1; 32])),
            protocol: Protocol::Join,
            dialed: None,
            exporter: [0; 32],
            remote: "198.51.100.1:1".parse().unwrap(),
        };
        let data = Bytes::copy_from_slice(data);
        let event = LinkEvent::Stream {
            stream: StreamId(0),
            data,
            finished: false,
        };
        for event in [opened, event] {
            world.nodes[INVITER]
                .join
                .handle_link(LinkId(1), event, world.wall, world.now);
        }
        world.settle();
        assert_eq!(world.refusals(), [Refusal::Malformed]);
    }
}
