//! Payloads: multicast to all, unicast over hops, and what goes out on each link.

use super::Router;
use crate::config::Faults;
use crate::edges::Part;
use crate::event::{Class, Event};
use crate::link_event::{LinkId, LinkOutput};
use crate::multicast::{Life, Multicasts, Novelty, forwarded};
use crate::outbox::{Item, Queued};
use crate::pack::{pack, unpack};
use crate::packet::{
    Body, Frame, HOPS_MAX, Multicast, Pull, Purpose, SUMMARY_MAX, SourceAck, SummaryRow, Unicast,
    Urgency, decode_frames,
};
use crate::peer_id::PeerId;
use crate::repair::Received;
use crate::signed::LINK_STATE;
use crate::states::States;
use bytes::Bytes;
use std::time::{Duration, Instant};

impl Router {
    /// A datagram of the connection that carries the link to `peer`.
    pub(super) fn handle_datagram(&mut self, peer: PeerId, datagram: Bytes, now: Instant) {
        let Some(frames) = decode_frames(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        for frame in frames {
            let Some(link) = self.links.get_mut(&peer) else {
                return;
            };
            // Data counts in Heard as in Up: the holds of both ends need not be in phase.
            if link.neighbor.hears().is_none() {
                return;
            }
            link.neighbor.handle_packet(now);
            match frame {
                Frame::Data(data) => {
                    let (receiver, srtt) = link.receiver();
                    if let Received::Body(body) = receiver.handle_data(data, srtt, now) {
                        self.handle_body(peer, body, now);
                    }
                }
                Frame::Ack(ack) => {
                    if let Some(sender) = link.sender() {
                        sender.handle_ack(&ack, now);
                    }
                }
            }
        }
    }

    /// Numbers own messages that the window admits and sends them.
    pub(super) fn number_ready(&mut self, now: Instant) {
        while let Some((sequence, class, payloads)) = self.source.take_ready(now) {
            let gone_below = self.source.gone_below();
            let packed = pack(&payloads);
            let message = self.signer.multicast(class, sequence, gone_below, packed);
            let life = (message.source, message.incarnation);
            self.multicasts.insert(message, now);
            self.pass_on(life, sequence, class, None);
            self.note_news(life, now);
        }
        if self.multicasts.raise_own_gone(self.source.gone_below()) {
            self.note_news((self.signer.me(), self.signer.incarnation()), now);
        }
    }

    pub(super) fn tell_gaps(&mut self) {
        for gap in self.multicasts.take_gaps() {
            self.event(Event::Gap {
                source: gap.life.0,
                incarnation: gap.life.1,
                from: gap.from,
                to: gap.to,
            });
        }
    }

    pub(super) fn send_unicast(
        &mut self,
        to: PeerId,
        class: Class,
        purpose: Purpose,
        payload: Bytes,
    ) {
        self.unicast_sequence += 1;
        self.pass_unicast(Unicast {
            source: self.signer.me(),
            incarnation: self.signer.incarnation(),
            destination: to,
            sequence: self.unicast_sequence,
            hops: HOPS_MAX,
            class,
            purpose,
            payload,
        });
    }

    /// Summaries, pulls and acknowledgements to sources that are due.
    pub(super) fn repair_multicasts(&mut self, now: Instant) {
        let links = &self.links;
        let again = |peer| {
            let link = links.get(&peer).filter(|link| link.neighbor.is_up());
            link.map(|link| link.srtt() * 3 / 2)
        };
        let mut pulls = self.multicasts.take_pulls(again, now);
        pulls.retain(|_| self.faults != Faults::NoPulls);
        for (holder, pull) in pulls {
            self.counters.pulled += pull.sequences.len() as u64;
            if let Some(link) = self.links.get_mut(&holder) {
                link.outbox.push_control(Body::Pull(pull).encode());
            }
        }
        for (source, prefix) in self.multicasts.take_acks(now) {
            let ack = SourceAck {
                incarnation: source.1,
                prefix,
            };
            self.send_unicast(source.0, Class::Control, Purpose::SourceAck, ack.encode());
        }
        self.source.handle_timeout(now);
        for life in self.multicasts.handle_timeout(now) {
            self.note_news(life, now);
        }
        for link in self.links.values_mut() {
            if !link.neighbor.is_up() || link.summary.next > now || link.summary.news.is_empty() {
                continue;
            }
            let news = std::mem::take(&mut link.summary.news);
            for rows in self.multicasts.summary(Some(&news)).chunks(SUMMARY_MAX) {
                let summary = Body::Summary(rows.to_vec());
                link.outbox.push_control(summary.encode());
            }
            link.forget_sent(now);
        }
    }

    /// All that this peer has, for a link that has come up.
    pub(super) fn push_summary(&mut self, peer: PeerId) {
        if let Some(link) = self.links.get_mut(&peer) {
            for rows in self.multicasts.summary(None).chunks(SUMMARY_MAX) {
                let summary = Body::Summary(rows.to_vec());
                link.outbox.push_control(summary.encode());
            }
        }
    }

    /// Sends what waits on every link as far as there is room.
    pub(super) fn pump(&mut self, now: Instant) {
        // Any packet counts as a sign of life, also one that only passes another's word on.
        if self.health.is_main_loop_hung(now) {
            return;
        }
        let (states, multicasts) = (&self.states, &self.multicasts);
        let mut datagrams: Vec<(LinkId, Bytes)> = Vec::new();
        for (peer, link) in &mut self.links {
            let mut sent = Vec::new();
            let mut resolve = |item| resolve(states, multicasts, *peer, item, &mut sent);
            while let Some(datagram) = link.poll_datagram(&mut resolve, now) {
                datagrams.push(datagram);
            }
            link.note_sent(sent, now);
        }
        for (link, data) in datagrams {
            self.link_output(LinkOutput::Datagram { link, data });
        }
    }

    fn handle_body(&mut self, from: PeerId, body: Bytes, now: Instant) {
        let body = Body::decode(body);
        if !matches!(body, Some(Body::State(_))) {
            // The layers above hear of a view before what came after it.
            self.follow_statements(now);
        }
        match body {
            None => self.counters.malformed += 1,
            Some(Body::State(state)) => self.handle_state(from, state, now),
            Some(Body::Multicast(message)) => self.handle_multicast(from, message, now),
            Some(Body::Unicast(message)) => self.handle_unicast(message, now),
            Some(Body::Summary(rows)) => self.handle_summary(from, rows, now),
            Some(Body::Pull(pull)) => self.handle_pull(from, &pull, now),
        }
    }

    fn handle_multicast(&mut self, from: PeerId, message: Multicast, now: Instant) {
        let life = (message.source, message.incarnation);
        let (sequence, class) = (message.sequence, message.class);
        if let Some(link) = self.links.get_mut(&from) {
            link.outbox.remove_message(class, life, sequence);
        }
        if self.faults == Faults::HoldForOrder && !self.multicasts.is_next(life, sequence) {
            return;
        }
        match self.multicasts.novelty(life, sequence) {
            Novelty::Known if self.faults == Faults::NoDuplicateSuppression => {}
            Novelty::Known => {
                self.counters.duplicates += 1;
                return;
            }
            Novelty::Useless => return,
            Novelty::New => {}
        }
        let Some(key) = self.members.key(message.source) else {
            self.counters.unknown_peer += 1;
            return;
        };
        // The link that a source's own message comes on has proven its key.
        let is_proven = from == message.source;
        if !is_proven && !self.signer.is_multicast_signed(&message, &key) {
            self.counters.bad_signature += 1;
            return;
        }
        let payloads = unpack(message.payload.clone());
        self.counters.malformed += u64::from(payloads.is_none());
        self.multicasts.insert(message, now);
        for payload in payloads.into_iter().flatten() {
            self.event(Event::Delivered {
                from: life.0,
                incarnation: life.1,
                payload,
            });
        }
        self.pass_on(life, sequence, class, Some(from));
        self.note_news(life, now);
    }

    /// Sends a message to every neighbor that has it from nobody else. Should that one fail, the
    /// neighbor sees a summary and pulls.
    fn pass_on(&mut self, life: Life, sequence: u64, class: Class, from: Option<PeerId>) {
        let me = self.signer.me();
        for (neighbor, link) in &mut self.links {
            let is_target = Some(*neighbor) != from
                && *neighbor != life.0
                && self.edges.part(life.0, me, *neighbor) == Part::First;
            if is_target && link.neighbor.is_up() {
                link.outbox.push_message(class, life, sequence);
            }
        }
    }

    fn handle_unicast(&mut self, message: Unicast, now: Instant) {
        if message.destination != self.signer.me() {
            if let Some(hops) = message.hops.checked_sub(1) {
                self.pass_unicast(Unicast { hops, ..message });
            }
            return;
        }
        let life = (message.source, message.incarnation);
        match message.purpose {
            Purpose::Payload => self.event(Event::Unicast {
                from: life.0,
                incarnation: life.1,
                payload: message.payload,
            }),
            Purpose::SourceAck => match SourceAck::decode(message.payload) {
                Some(ack) if ack.incarnation == self.signer.incarnation() => {
                    self.source.handle_ack(life, ack.prefix, now);
                }
                Some(_) => {}
                None => self.counters.malformed += 1,
            },
        }
    }

    fn pass_unicast(&mut self, message: Unicast) {
        let route = self.routes.get(&message.destination);
        let link = route.and_then(|route| self.links.get_mut(&route.by));
        let queued = match link {
            Some(link) if link.neighbor.is_up() => {
                let class = message.class;
                link.outbox
                    .push_unicast(class, Body::Unicast(message).encode())
            }
            _ => Queued::Dropped,
        };
        self.counters.unicast_dropped += u64::from(queued == Queued::Dropped);
    }

    fn handle_summary(&mut self, from: PeerId, mut rows: Vec<SummaryRow>, now: Instant) {
        rows.retain(|row| self.members.key(row.source).is_some());
        let wait = self
            .links
            .get(&from)
            .map_or(Duration::ZERO, |link| link.srtt() * 2);
        for life in self.multicasts.handle_summary(from, rows, wait, now) {
            self.note_news(life, now);
        }
    }

    fn handle_pull(&mut self, from: PeerId, pull: &Pull, now: Instant) {
        let life = (pull.source, pull.incarnation);
        let Some(link) = self.links.get_mut(&from) else {
            return;
        };
        if !link.neighbor.is_up() {
            return;
        }
        for (class, sequence) in self.multicasts.pulled(pull) {
            if !link.is_under_way((life, sequence), now) {
                link.outbox.push_message(class, life, sequence);
            }
        }
    }

    /// What this peer has of a source has changed: the next summary on every link says so.
    fn note_news(&mut self, life: Life, now: Instant) {
        for link in self.links.values_mut() {
            if link.summary.news.is_empty() {
                link.summary.next = now + self.timing.summary;
            }
            link.summary.news.insert(life);
        }
    }
}

/// The body of an item at the moment it goes out; none if it is gone or known there already.
fn resolve(
    states: &States,
    multicasts: &Multicasts,
    neighbor: PeerId,
    item: Item,
    sent: &mut Vec<(Life, u64)>,
) -> Option<(Bytes, Class, Urgency)> {
    match item {
        Item::Body(body, class, urgency) => Some((body, class, urgency)),
        Item::State(peer, kind) => {
            let urgency = match kind {
                LINK_STATE => Urgency::Urgent,
                _ => Urgency::Normal,
            };
            Some((states.encoded(peer, kind)?, Class::Control, urgency))
        }
        Item::Message(life, sequence) => {
            if multicasts.neighbor_has(neighbor, life, sequence) {
                return None;
            }
            let stored = multicasts.stored(life, sequence)?;
            sent.push((life, sequence));
            Some((forwarded(stored)?, stored.class, Urgency::Normal))
        }
    }
}
