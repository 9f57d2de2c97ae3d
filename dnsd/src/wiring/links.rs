//! What the link thread says: to the peer, to the sponsor of newcomers, to blobs on their way.

use super::{Act, Ended, NEAR, News, Wiring, Work};
use crate::blobs::Fetched;
use crate::durable::{join_row, member_row};
use crate::vip::{CLAIM, CONFIG};
use overlay::join::JoinEvent;
use overlay::{Event, NodeEvent};
use std::time::{Duration, Instant};

/// Most inputs that are worked out together, and between two looks at the timers: well below 5 ms.
pub const BURST: usize = 64;

/// True for what may be worked out together with more of its kind that has come. All else is
/// handled with nothing left to drain, and drained after.
#[must_use]
pub fn may_gather(event: &NodeEvent) -> bool {
    matches!(event, NodeEvent::Overlay(_))
}

impl Wiring {
    /// The link thread has said something.
    pub fn handle_node(&mut self, event: NodeEvent, wall: Duration, now: Instant) {
        match event {
            NodeEvent::Overlay(event) => self.handle_overlay(event, wall, now),
            NodeEvent::Join(event) => self.handle_join(event, wall, now),
            NodeEvent::Fetched(tag, data, last) => {
                match self.blobs.handle_fetched(tag, &data, last) {
                    Fetched::Going => self.peer.handle_blob_progress(now),
                    Fetched::Complete(unchecked) => self.act(Act::Aside(Work::Check(unchecked))),
                    Fetched::TooLarge(hash, from) => {
                        self.act(Act::News(News::TooMuchData { from }));
                        self.peer.handle_blob_failed(hash, from, wall, now);
                    }
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
            NodeEvent::NotInvited => {
                self.invitations.handle_refused();
                self.act(Act::NotInvited);
            }
        }
    }

    fn handle_overlay(&mut self, event: Event, wall: Duration, now: Instant) {
        match event {
            Event::Delivered { from, payload, .. } | Event::Unicast { from, payload, .. } => {
                self.peer.handle_message(from, &payload, wall, now);
            }
            Event::Gap { source, .. } => self.peer.handle_gap(source, wall, now),
            Event::State { of, kind, body, .. } if kind == NEAR => {
                self.peer.handle_near(of, &body, wall, now);
            }
            Event::State {
                of,
                incarnation,
                kind: CLAIM,
                body,
            } => self.peer.handle_claim(of, incarnation, &body, wall, now),
            Event::State {
                of,
                kind: CONFIG,
                body,
                ..
            } => self.peer.handle_vip_map(of, &body, wall, now),
            Event::State { .. } => {}
            Event::Pressure(pressure) => self.peer.handle_pressure(pressure),
            Event::ViewChanged(view) => {
                self.peer.handle_view(&view, wall, now);
                self.act(Act::News(News::ViewAgreed(view)));
            }
            Event::Stopping { peer, incarnation } => {
                self.act(Act::News(News::Stopping(peer)));
                self.peer.handle_stopping(peer, incarnation, wall, now);
            }
            Event::Unheard(unheard) => self.peer.handle_unheard(unheard, wall, now),
            Event::Overslept(late) => self.handle_stall(late, wall, now),
            Event::NeighborUp(neighbor) => {
                self.act(Act::News(News::LinkUp(neighbor)));
                self.peer.handle_neighbor_up(neighbor, wall, now);
            }
            Event::NeighborDown(neighbor, why) => {
                self.act(Act::News(News::LinkDown(neighbor, why)));
                self.peer.handle_neighbor_down(neighbor, wall, now);
            }
            Event::Excluded { by } => self.act(Act::News(News::Excluded { by })),
            // Every link that is tried again ends so: it is said once.
            Event::Evicted { by } if !self.peer.is_evicted() => {
                self.act(Act::News(News::EvictedBy(by)));
                self.peer.set_evicted();
            }
            Event::Evicted { .. } => {}
            Event::OwnIncarnationSeen(incarnation) => {
                self.act(Act::Ended(Ended::Outlived(incarnation)));
            }
            Event::FetchRequested { fetch, request, .. } => {
                let command = self.blobs.handle_asked(fetch, &request);
                self.say(command);
            }
            Event::FetchWritable(fetch) => {
                if let Some(command) = self.blobs.handle_writable(fetch) {
                    self.say(command);
                }
            }
            Event::FetchFailed(fetch) => self.blobs.handle_answer_failed(fetch),
            Event::FetchChunk { .. } | Event::JoinLink { .. } | Event::JoinDialFailed(_) => {
                unreachable!("the node passes these on under other names")
            }
        }
    }

    /// A thread was late by more than a lease: others may have taken what this peer announces.
    pub fn handle_stall(&mut self, late: Duration, wall: Duration, now: Instant) {
        self.act(Act::News(News::Overslept(late)));
        self.peer.handle_stall(wall, now);
    }

    fn handle_join(&mut self, event: JoinEvent, wall: Duration, now: Instant) {
        match event {
            JoinEvent::Invited(token) => {
                self.invitations.handle_made(&token, wall);
                self.act(Act::Invited(token));
            }
            JoinEvent::Asked {
                link,
                key,
                token,
                name,
                addresses,
                space,
            } => {
                let peer = key.peer_id();
                self.act(Act::News(News::JoinAsked(peer, name.clone())));
                let majority = self.invitations.majority_for(&token);
                if let Err(taken) = self.sponsor.handle_asked(
                    link,
                    key,
                    name,
                    addresses,
                    space,
                    majority,
                    &self.peer,
                    &self.blobs,
                    now,
                ) {
                    self.act(Act::News(News::NameTaken(taken)));
                }
                self.go_on_with_guests(wall, now);
            }
            JoinEvent::Space { link, bytes } => self.sponsor.handle_space(link, bytes, now),
            JoinEvent::Joined { link, key } => {
                self.act(Act::News(News::Joined(key.peer_id())));
                self.sponsor.handle_gone(link);
            }
            JoinEvent::Gone { link } => self.sponsor.handle_gone(link),
            JoinEvent::AskRefused {
                remote,
                key,
                reason,
            } => self.act(Act::News(News::JoinRefused {
                remote,
                peer: key.peer_id(),
                reason,
            })),
            JoinEvent::Connected { .. }
            | JoinEvent::Waiting(_)
            | JoinEvent::Stage(_)
            | JoinEvent::Admitted { .. }
            | JoinEvent::Snapshot(_)
            | JoinEvent::Done
            | JoinEvent::Refused
            | JoinEvent::Retrying { .. } => self.act(Act::News(News::NotJoining)),
        }
    }
}
