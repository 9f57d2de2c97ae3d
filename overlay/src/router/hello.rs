//! LINK_HELLO, and which of two connections to one neighbor stays (overlay protocol section 1).

use super::Router;
use super::connect::ConnectionStage;
use crate::dialing::{Candidate, Kept, Silence, keep};
use crate::event::Event;
use crate::hello::Hello;
use crate::link::{Companion, Link, Side, Triple};
use crate::link_event::{CloseCode, Direction, LinkId, LinkOutput, StreamId};
use crate::members::{KeyClass, Shown};
use crate::peer_id::{Incarnation, PeerId};
use crate::signed::LINK_STATE;
use crate::stream::{KIND_HELLO, frame};
use bytes::Bytes;
use std::time::Instant;

/// The router's number for the stream of its LINK_HELLO; fetches number theirs from 1.
pub(super) const HELLO_STREAM: u64 = 0;

impl Router {
    /// Accepts a connection of a member and opens the stream of the LINK_HELLO, once.
    pub(super) fn greet(&mut self, link: LinkId) {
        match self.connections.get_mut(&link) {
            Some(connection) if !connection.is_greeted => connection.is_greeted = true,
            _ => return,
        }
        self.link_output(LinkOutput::Accept(link));
        self.link_output(LinkOutput::OpenStream {
            link,
            number: HELLO_STREAM,
            direction: Direction::One,
        });
    }

    pub(super) fn send_hello(&mut self, id: LinkId, stream: StreamId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let known = connection.peer.map(|peer| self.states.newest(peer));
        let hello = Hello {
            cluster: self.config.cluster,
            incarnation: self.signer.incarnation(),
            name: self.config.name.clone(),
            nonce: connection.nonce,
            addresses: self.config.addresses.clone(),
            known: known.unwrap_or_default(),
            admit: self.config.admit.clone(),
        };
        self.link_output(LinkOutput::StreamData {
            link: id,
            stream,
            data: frame(KIND_HELLO, &hello.encode()),
            finish: true,
        });
    }

    pub(super) fn handle_hello(&mut self, id: LinkId, peer: PeerId, body: &Bytes, now: Instant) {
        let hello = Hello::decode(body).filter(|hello| hello.cluster == self.config.cluster);
        let Some(hello) = hello else {
            self.counters.malformed += 1;
            return self.close(id, CloseCode::Protocol);
        };
        if self.members.class(peer) == KeyClass::Unknown {
            let admit = hello.admit.as_ref().filter(|admit| admit.peer() == peer);
            let shown = admit.map(|admit| self.members.show(admit));
            if shown != Some(Shown::Accepted) {
                return self.close(id, CloseCode::Unknown);
            }
            self.want_links(now);
        }
        if !self.may_link(peer) {
            return self.close(id, CloseCode::NotWanted);
        }
        self.greet(id);
        let own = (self.signer.incarnation(), self.states.edition(LINK_STATE));
        if hello.known > own {
            self.event(Event::OwnIncarnationSeen(hello.known.0));
        }
        self.establish(id, peer, &hello, now);
    }

    /// Both ends of a connection are known: it carries the link, unless another one stays.
    fn establish(&mut self, id: LinkId, peer: PeerId, hello: &Hello, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.stage == ConnectionStage::Known {
            return;
        }
        connection.stage = ConnectionStage::Known;
        let (remote, my_nonce) = (connection.remote, connection.nonce);
        let side = match connection.dialed {
            Some(_) => Side::Dialer,
            None => Side::Acceptor,
        };
        let timing = self.timing;
        let link = self
            .links
            .entry(peer)
            .or_insert_with(|| Link::new(timing, now));
        let known = link.neighbor.incarnation();
        if known > Some(hello.incarnation) {
            return self.close(id, CloseCode::Superseded);
        }
        let triple = Triple {
            link: id,
            since: now,
            remote,
            side,
            my_nonce,
            their_nonce: hello.nonce,
            beat: Companion::Absent { dial_at: now },
            canary: Companion::Absent { dial_at: now },
        };
        let me = self.signer.me();
        let mut silence = Silence::Heard;
        if known < Some(hello.incarnation) {
            link.forget_receiver(now);
            self.multicasts.forget_neighbor(peer);
            let change = link.neighbor.note_incarnation(hello.incarnation, now);
            self.apply(peer, change, now);
            silence = Silence::Silent;
        }
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if let Some(old) = &link.connection {
            // One that has just been opened had no time to be heard.
            if link.neighbor.is_silent(old.since, now) {
                silence = Silence::Silent;
            }
            let old = candidate(old, me, peer, hello.incarnation, silence);
            let new = candidate(&triple, me, peer, hello.incarnation, Silence::Heard);
            if keep(&old, &new) == Kept::Old {
                return self.close(id, CloseCode::Superseded);
            }
        }
        if let Some(old) = link.connect(triple) {
            self.close_triple(&old, CloseCode::Superseded);
        }
        match side {
            Side::Dialer => {
                self.members.learn_good(peer, remote);
                self.dial_due(now);
            }
            Side::Acceptor => {
                let mut connections = self.connections.iter();
                let claimant = connections.find(|(_, canary)| canary.claim == Some(my_nonce));
                if let Some(canary) = claimant.map(|(canary, _)| *canary) {
                    self.name_canary(canary, my_nonce);
                }
            }
        }
    }
}

fn candidate(
    triple: &Triple,
    me: PeerId,
    peer: PeerId,
    incarnation: Incarnation,
    silence: Silence,
) -> Candidate {
    let (dialer, acceptor_nonce) = match triple.side {
        Side::Dialer => (me, triple.their_nonce),
        Side::Acceptor => (peer, triple.my_nonce),
    };
    Candidate {
        incarnation,
        silence,
        dialer,
        acceptor_nonce,
    }
}
