//! States and views: what others say is taken and flooded, what follows is said.

use super::Router;
use crate::config::Faults;
use crate::edges::{Edges, Part};
use crate::event::{Event, StateKind};
use crate::link_state::{LinkState, StatedLink, Stopping};
use crate::packet::StateBody;
use crate::peer_id::PeerId;
use crate::route::routes;
use crate::signed::LINK_STATE;
use crate::states::Compared;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// A round further in the future than this is refused: rounds follow wall clocks by far, so only
/// a liar says one, and it would split who believes it from who does not.
const ROUND_AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// Whether the own link state is said again in any case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Issue {
    IfDue,
    Always,
}

impl Router {
    pub(super) fn handle_state(&mut self, from: PeerId, body: StateBody, now: Instant) {
        match self.states.compare(&body) {
            Compared::Old => {}
            Compared::SendBack(known) => {
                if let Some(link) = self.links.get_mut(&from) {
                    link.outbox.push_control(known);
                }
            }
            Compared::OwnUnknown(incarnation) => {
                let key = self.signer.public_key();
                if self.signer.is_state_signed(&body, &key) {
                    self.event(Event::OwnIncarnationSeen(incarnation));
                }
            }
            Compared::Newer => {
                let Some(key) = self.members.key(body.peer) else {
                    self.counters.unknown_peer += 1;
                    return;
                };
                // These are few, so they are verified before they are passed on. The link that a
                // peer's own word comes on has proven its key.
                let is_proven = from == body.peer;
                if !is_proven && !self.signer.is_state_signed(&body, &key) {
                    self.counters.bad_signature += 1;
                    return;
                }
                self.accept_state(from, body, now);
            }
        }
    }

    /// A link state is due, or what it rests on has changed.
    pub(super) fn restate(&mut self, issue: Issue) {
        self.restate_due = self.restate_due.max(Some(issue));
    }

    /// Evaluates link states that came together once, and says what follows from them all: each
    /// word that one of them would lead to is flooded to all.
    pub(super) fn follow_statements(&mut self, now: Instant) {
        let Some(issue) = self.restate_due.take() else {
            return;
        };
        let me = self.signer.me();
        let own = self.own_link_state(now);
        let mut statements = self.states.link_states();
        statements.insert(me, (self.signer.incarnation(), &own));
        let evaluated = self.agreement.evaluate(&statements, now);
        self.routes = routes(&statements, me);
        let edges = Edges::of(&statements);
        if edges != self.edges {
            let mut before = std::mem::replace(&mut self.edges, edges);
            if self.faults != Faults::NothingForLostLinks {
                self.push_recent(&mut before, now);
            }
        }
        if issue == Issue::Always || evaluated.is_issue_due {
            let own = self.own_link_state(now);
            self.refresh_next = now + self.timing.refresh;
            self.say(LINK_STATE, own.encode(), Some(own), now);
        }
        if let Some(view) = evaluated.agreed {
            self.source.set_view(&view, now);
            self.multicasts.set_view(&view, now);
            self.event(Event::ViewChanged(view));
        }
        self.judge_next(now);
    }

    /// Notes when members are to be judged next: it changes only with what is stated, and with
    /// time.
    pub(super) fn judge_next(&mut self, now: Instant) {
        // Only the others are judged.
        let statements = self.states.link_states();
        self.agreement_due = self.agreement.poll_timeout(&statements, now);
    }

    /// Signs a word of this peer and floods it.
    pub(super) fn say(
        &mut self,
        kind: StateKind,
        content: Bytes,
        link_state: Option<LinkState>,
        now: Instant,
    ) {
        let edition = self.states.edition(kind) + 1;
        let body = self.signer.state(kind, edition, content);
        self.states.insert(body, link_state, now);
        self.flood(self.signer.me(), kind, None, now);
    }

    /// A neighbor's session has had its push acknowledged: it is a link for all to know.
    pub(super) fn list_links(&mut self) {
        let mut has_changed = false;
        for link in self.links.values_mut() {
            has_changed |= link.advance_push(self.faults) == crate::link::Listing::Changed;
        }
        if has_changed {
            self.restate(Issue::Always);
        }
    }

    pub(super) fn own_link_state(&self, now: Instant) -> LinkState {
        let listed = self.links.iter().filter(|(_, link)| link.is_listed());
        let links = listed.filter_map(|(peer, link)| {
            Some(StatedLink {
                peer: *peer,
                incarnation: link.neighbor.incarnation()?,
                cost: link.neighbor.cost(),
                loss_permille: link.neighbor.loss_permille(),
            })
        });
        LinkState {
            addresses: self.config.addresses.clone(),
            links: links.collect(),
            round: self.agreement.round(),
            set_hash: self.agreement.set_hash(),
            complaints: self.agreement.complaints_shown(now),
            stopping: self.stopping,
        }
    }

    /// True if complaints of this peer began or ended.
    pub(super) fn judge_members(&mut self, now: Instant) -> bool {
        let own = self.own_link_state(now);
        let mut statements = self.states.link_states();
        statements.insert(self.signer.me(), (self.signer.incarnation(), &own));
        self.agreement.handle_timeout(&statements, now)
    }

    fn accept_state(&mut self, from: PeerId, body: StateBody, now: Instant) {
        let (peer, kind) = (body.peer, body.kind);
        if kind != LINK_STATE {
            self.follow_statements(now);
            let event = Event::State {
                of: peer,
                incarnation: body.incarnation,
                kind,
                body: body.content.clone(),
            };
            self.states.insert(body, None, now);
            self.flood(peer, kind, Some(from), now);
            self.event(event);
            return;
        }
        let Some(link_state) = LinkState::decode(&body.content) else {
            self.counters.malformed += 1;
            return;
        };
        let latest_round = (self.wall + ROUND_AHEAD_MAX).as_millis();
        if u128::from(link_state.round) > latest_round {
            self.counters.bad_round += 1;
            return;
        }
        self.probe_lost(peer, &link_state, now);
        self.tell_stopping(&body, &link_state);
        self.members.learn_addresses(peer, &link_state.addresses);
        self.states.insert(body, Some(link_state), now);
        self.flood(peer, kind, Some(from), now);
        self.restate(Issue::IfDue);
    }

    /// A peer's new link state has lost its link to a neighbor of mine: perhaps that one is dead.
    fn probe_lost(&mut self, peer: PeerId, new: &LinkState, now: Instant) {
        let known = self.states.link_states();
        let Some((_, old)) = known.get(&peer) else {
            return;
        };
        for lost in &old.links {
            if !new.lists(lost.peer, lost.incarnation)
                && let Some(link) = self.links.get_mut(&lost.peer)
            {
                link.neighbor.hint_if_silent(now);
            }
        }
    }

    /// The layers above hear of a clean stop before the view without the peer.
    fn tell_stopping(&mut self, body: &StateBody, new: &LinkState) {
        let known = self.states.link_states();
        let is_known = known.get(&body.peer).is_some_and(|(incarnation, old)| {
            *incarnation == body.incarnation && old.stopping == Stopping::Yes
        });
        if new.stopping == Stopping::Yes && !is_known {
            self.event(Event::Stopping {
                peer: body.peer,
                incarnation: body.incarnation,
            });
        }
    }

    /// Passes a word on to every neighbor that may lack it, but not to the one it came from. With
    /// the push at Up and [`Self::push_recent`] this needs no other repair.
    fn flood(&mut self, peer: PeerId, kind: StateKind, except: Option<PeerId>, now: Instant) {
        let me = self.signer.me();
        for (neighbor, link) in &mut self.links {
            let is_target = link.neighbor.is_up() && Some(*neighbor) != except;
            if !is_target {
                continue;
            }
            match self.edges.part(peer, me, *neighbor) {
                Part::None => {}
                Part::First => link.outbox.push_state(peer, kind),
                Part::Second => {
                    let due = now + self.timing.ack_delay;
                    link.outbox.push_second(peer, kind, due);
                }
            }
        }
    }

    /// Links have come or gone, and with them it is for others to pass words on. What this peer
    /// left to somebody else until now may be lost there, unless it came before a link state's
    /// life: by then it was acknowledged everywhere, or the link in the way had been given up.
    fn push_recent(&mut self, before: &mut Edges, now: Instant) {
        let me = self.signer.me();
        for (source, kinds) in self.states.recent(now) {
            for (neighbor, link) in &mut self.links {
                let is_new = link.neighbor.is_up()
                    && *neighbor != source
                    && self.edges.part(source, me, *neighbor) != Part::None
                    && before.part(source, me, *neighbor) == Part::None;
                for kind in kinds.iter().filter(|_| is_new) {
                    link.outbox.push_state(source, *kind);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::ClusterId;
    use crate::config::Config;
    use crate::event::Output;
    use crate::members::{Member, MemberSet};
    use crate::peer_id::{Incarnation, PublicKey};
    use crate::signed::Signer;
    use crate::timing::Profile;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn router(now: Instant) -> Router {
        let config = Config {
            cluster: CLUSTER,
            name: "a".to_owned(),
            addresses: Vec::new(),
            profile: Profile::Lan,
            links: None,
            extra_addresses: Vec::new(),
            admit: None,
        };
        let (wall, rows) = (Duration::ZERO, Vec::new());
        let mut router = Router::resume(config, key(1), Incarnation(1), rows, 1, wall, now);
        let neighbor = Member {
            key: PublicKey(key(2).public_key().as_ref().try_into().unwrap()),
            name: "b".to_owned(),
            addresses: Vec::new(),
        };
        let members = MemberSet {
            admitted: vec![neighbor],
            ..MemberSet::default()
        };
        router.set_members(&members, now);
        while router.poll_output().is_some() {}
        router
    }

    #[test]
    fn a_clean_stop_is_told_once_in_each_life() {
        let now = crate::testing::start();
        let mut router = router(now);
        let peer = PublicKey(key(2).public_key().as_ref().try_into().unwrap()).peer_id();
        for (life, edition, stopping, is_told) in [
            (5, 1, Stopping::No, false),
            (5, 2, Stopping::Yes, true),
            (5, 3, Stopping::Yes, false),
            (6, 1, Stopping::No, false),
            (6, 2, Stopping::Yes, true),
        ] {
            let incarnation = Incarnation(life);
            let signer = Signer::new(key(2), CLUSTER, incarnation);
            let said = LinkState {
                stopping,
                ..LinkState::default()
            };
            let body = signer.state(LINK_STATE, edition, said.encode());
            router.handle_state(peer, body, now);
            let outputs: Vec<Output> = std::iter::from_fn(|| router.poll_output()).collect();
            let told = Output::Event(Event::Stopping { peer, incarnation });
            assert_eq!(outputs.contains(&told), is_told, "{life} {edition}");
        }
    }

    #[test]
    fn only_what_is_later_than_a_lease_is_told_as_overslept() {
        let start = crate::testing::start();
        let mut router = router(start);
        let lease = Profile::Lan.timing().lease;
        for (late, is_told) in [(lease, false), (lease + Duration::from_millis(1), true)] {
            let due = router.poll_timeout().expect("link states are refreshed");
            router.handle_timeout(Duration::ZERO, due + late);
            let outputs: Vec<Output> = std::iter::from_fn(|| router.poll_output()).collect();
            let told = Output::Event(Event::Overslept(late));
            assert_eq!(outputs.contains(&told), is_told, "{late:?}");
        }
    }
}
