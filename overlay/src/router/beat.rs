//! Heartbeats, probes and the stages of the links.

use super::Router;
use super::agree::Issue;
use crate::event::{Event, Unheard, Why};
use crate::link::{Companion, Listing, Side};
use crate::link_event::{LinkId, LinkOutput};
use crate::link_state::Stopping;
use crate::neighbor::Change;
use crate::packet::{BeatPacket, Heartbeat};
use crate::peer_id::{Incarnation, PeerId};
use bytes::Bytes;
use std::time::Instant;

impl Router {
    /// A datagram of a beat connection.
    pub(super) fn handle_beat(&mut self, id: LinkId, peer: PeerId, data: Bytes, now: Instant) {
        let Some(packet) = BeatPacket::decode(data) else {
            self.counters.malformed += 1;
            return;
        };
        let me = self.signer.incarnation();
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let Some(triple) = &mut link.connection else {
            return;
        };
        if let BeatPacket::Heartbeat(beat) = &packet
            && beat.nonce == triple.my_nonce
            && triple.side == Side::Acceptor
        {
            // The dialer's beat connection says by the nonce which link it belongs to.
            triple.beat = Companion::Open(id);
        }
        if triple.beat.id() != Some(id) {
            return;
        }
        let hears = match &packet {
            BeatPacket::Heartbeat(beat) if beat.nonce == triple.my_nonce => beat.hears,
            _ => Incarnation(0),
        };
        let change = match packet {
            BeatPacket::Heartbeat(beat) if beat.nonce == triple.my_nonce => {
                link.neighbor.handle_heartbeat(&beat, me, now)
            }
            BeatPacket::Heartbeat(_) => Change::None,
            BeatPacket::Ping(nonce) => {
                link.neighbor.handle_packet(now);
                if !self.health.is_main_loop_hung(now) {
                    let data = BeatPacket::Pong(nonce).encode();
                    self.link_output(LinkOutput::Datagram { link: id, data });
                }
                Change::None
            }
            BeatPacket::Pong(nonce) => {
                link.neighbor.handle_pong(nonce, now);
                Change::None
            }
        };
        if hears > me {
            self.event(Event::OwnIncarnationSeen(hears));
        }
        self.apply(peer, change, now);
    }

    /// Looks at every neighbor's deadline, hold and probe, and at what it has not acknowledged.
    pub(super) fn judge_neighbors(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in peers {
            let Some(link) = self.links.get_mut(&peer) else {
                continue;
            };
            link.handle_timeout(now);
            let change = link.neighbor.handle_timeout(now);
            let is_late = link
                .unacknowledged_limit()
                .is_some_and(|limit| limit <= now);
            match change {
                // Through a hole for big packets the small heartbeats pass.
                Change::None if is_late => self.take_down(peer, Why::Unacknowledged, now),
                change => self.apply(peer, change, now),
            }
        }
    }

    /// Sends the heartbeats and pings that are due.
    pub(super) fn beat(&mut self, now: Instant) {
        let is_hung = self.health.is_main_loop_hung(now);
        let (view, size) = (self.view().id, self.view().members.len() as u16);
        let mut datagrams = Vec::new();
        for link in self.links.values_mut() {
            let Some(triple) = &link.connection else {
                continue;
            };
            let Companion::Open(id) = triple.beat else {
                continue;
            };
            if let Some(sequence) = link.neighbor.take_beat(now)
                && !is_hung
            {
                let (echo, waited) = link.neighbor.echo(now);
                let beat = Heartbeat {
                    nonce: triple.their_nonce,
                    incarnation: self.signer.incarnation(),
                    hears: link.neighbor.hears().unwrap_or(Incarnation(0)),
                    sequence,
                    echo,
                    waited,
                    view,
                    view_size: size,
                    tick: self.health.tick(),
                    standing: self.standing,
                };
                datagrams.push((id, BeatPacket::Heartbeat(beat).encode()));
            }
            if let Some(nonce) = link.neighbor.take_ping(now, &mut self.random) {
                datagrams.push((id, BeatPacket::Ping(nonce).encode()));
            }
        }
        for (link, data) in datagrams {
            self.link_output(LinkOutput::Datagram { link, data });
        }
    }

    /// Is there a standing peer outside the view that is heard and does not hear this peer, in a
    /// view that is no smaller? To it this peer is dead.
    pub(super) fn judge_unheard(&mut self, now: Instant) {
        let view = self.view();
        let mut links = self.links.iter();
        let is_unheard = links.any(|(peer, link)| {
            link.neighbor.is_deaf(view.members.len(), now)
                && !view.members.iter().any(|(member, _)| member == peer)
        });
        let unheard = match is_unheard {
            true => Unheard::Yes,
            false => Unheard::No,
        };
        if unheard != self.unheard {
            self.unheard = unheard;
            self.event(Event::Unheard(unheard));
        }
    }

    pub(super) fn take_down(&mut self, peer: PeerId, why: Why, now: Instant) {
        let states = self.states.link_states();
        let is_stopping = states
            .get(&peer)
            .is_some_and(|(_, state)| state.stopping == Stopping::Yes);
        let why = if is_stopping { Why::Stopping } else { why };
        if let Some(link) = self.links.get_mut(&peer) {
            let change = link.neighbor.go_down(why, now);
            self.apply(peer, change, now);
        }
    }

    pub(super) fn apply(&mut self, peer: PeerId, change: Change, now: Instant) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        match change {
            Change::None => {}
            Change::WentUp => {
                link.begin_session(now);
                for (of, kind) in self.states.pushed() {
                    link.outbox.push_state(of, kind);
                }
                link.close_push();
                self.push_summary(peer);
                self.dialing.went_up(peer, now);
                self.want_links(now);
                self.event(Event::NeighborUp(peer));
            }
            Change::WentDown(why) => {
                let listing = link.end_session();
                // A dead neighbor's connection ends only after the transport's idle time-out;
                // another neighbor may have what was asked for.
                let carrier = link.connection.as_ref().map(|triple| triple.link);
                for fetch in carrier.map_or_else(Vec::new, |link| self.fetches.remove_link(link)) {
                    self.event(Event::FetchFailed(fetch));
                }
                self.dialing.went_down(peer, now);
                self.event(Event::NeighborDown(peer, why));
                // Bad news does not wait.
                if listing == Listing::Changed {
                    self.restate(Issue::Always);
                }
            }
        }
    }
}
