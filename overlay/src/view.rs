//! Agreed views: the peers that reach each other now (overlay protocol section 5).
//!
//! A peer states one set per round, because a changed set raises its round. So two views of one
//! round that share a member are the same view, a peer's view numbers only rise, and a view never
//! comes back. When links have settled all members see the same link states, so the same set, and
//! the highest round wins everywhere.

use crate::config::Faults;
use crate::link_state::{LinkState, Stopping};
use crate::peer_id::{Incarnation, PeerId};
use ring::digest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// H(round, set): equal ids mean equal members, and an id never comes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ViewId(pub u64);

/// A set of peers that all of them have agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The round in which it was agreed; a peer's view numbers only rise.
    pub number: u64,
    /// What everything that holds "in a view" names it by.
    pub id: ViewId,
    /// The members in order of their ids.
    pub members: Vec<(PeerId, Incarnation)>,
}

impl View {
    /// True if the peer, in this life, is a member.
    #[must_use]
    pub fn holds(&self, peer: PeerId, incarnation: Incarnation) -> bool {
        self.members.binary_search(&(peer, incarnation)).is_ok()
    }
}

/// How long a complaint counts; doubled with each further one of the same peer.
const COMPLAINT_MIN: Duration = Duration::from_secs(1);
const COMPLAINT_MAX: Duration = Duration::from_secs(60);
/// Complaints older than this double nothing.
const COMPLAINT_MEMORY: Duration = Duration::from_secs(600);

/// The link states that count, each with the life of its peer; this peer's own among them.
pub(crate) type Statements<'a> = BTreeMap<PeerId, (Incarnation, &'a LinkState)>;

/// Both ends state the link, in each other's current life, and neither stops.
pub(crate) fn is_edge(statements: &Statements<'_>, a: PeerId, b: PeerId) -> bool {
    let (Some((a_life, a_state)), Some((b_life, b_state))) =
        (statements.get(&a), statements.get(&b))
    else {
        return false;
    };
    a_state.stopping == Stopping::No
        && b_state.stopping == Stopping::No
        && a_state.lists(b, *b_life)
        && b_state.lists(a, *a_life)
}

/// This peer's part in agreeing.
pub(crate) struct Agreement {
    me: PeerId,
    agree_limit: Duration,
    round: u64,
    set: Vec<(PeerId, Incarnation)>,
    set_hash: u64,
    set_since: Instant,
    round_since: Instant,
    /// Members whose link state does not show this peer's round and set, and since when.
    differing_since: BTreeMap<PeerId, Instant>,
    complaints: BTreeMap<(PeerId, Incarnation), Complaint>,
    view: Option<View>,
    faults: Faults,
}

struct Complaint {
    until: Instant,
    made: VecDeque<Instant>,
}

/// What an evaluation leads to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Evaluated {
    /// The own link state is to be issued: set, round or complaints changed.
    pub(crate) is_issue_due: bool,
    pub(crate) agreed: Option<View>,
}

impl Agreement {
    pub(crate) fn new(me: PeerId, agree_limit: Duration, now: Instant) -> Self {
        Self {
            me,
            agree_limit,
            round: 0,
            set: Vec::new(),
            set_hash: 0,
            set_since: now,
            round_since: now,
            differing_since: BTreeMap::new(),
            complaints: BTreeMap::new(),
            view: None,
            faults: Faults::None,
        }
    }

    pub(crate) fn plant(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Called after every accepted link state, link change, expiry and complaint.
    pub(crate) fn evaluate(&mut self, statements: &Statements<'_>, now: Instant) -> Evaluated {
        let mut evaluated = Evaluated::default();
        let set = self.component(statements);
        let others = set.iter().filter(|(peer, _)| *peer != self.me);
        let others = others.filter_map(|(peer, _)| Some(statements.get(peer)?.1));
        let highest = others.clone().map(|state| state.round).max().unwrap_or(0);
        let alike = others.filter(|state| state.set_hash == self.set_hash);
        let highest_alike = alike.map(|state| state.round).max().unwrap_or(0);
        if set != self.set {
            // A round in which this peer has stated nothing yet will do: those who see one change
            // one after the other need one round for it, and not one each.
            self.round = highest.max(self.round + 1);
            self.set_hash = hash_of(&set);
            self.set = set;
            self.set_since = now;
            self.round_since = now;
            evaluated.is_issue_due = true;
        } else if highest_alike > self.round {
            // A round in which another set is stated agrees on nothing before that one changes.
            self.round = highest_alike;
            self.round_since = now;
            evaluated.is_issue_due = true;
        }
        let round = match self.faults {
            Faults::IdWithoutRound => 0,
            _ => self.round,
        };
        let differing = self.differing(statements);
        let since = |peer: &PeerId| self.differing_since.get(peer).copied().unwrap_or(now);
        let differing_since = differing.iter().map(|(peer, _)| (*peer, since(peer)));
        self.differing_since = differing_since.collect();
        let id = view_id(round, &self.set);
        let is_new = self.view.as_ref().is_none_or(|view| view.id != id);
        if is_new && differing.is_empty() {
            let view = View {
                number: self.round,
                id,
                members: self.set.clone(),
            };
            self.view = Some(view.clone());
            evaluated.agreed = Some(view);
        }
        evaluated
    }

    /// True if a complaint of this peer began or ended, so that its link state is to be issued.
    pub(crate) fn handle_timeout(&mut self, statements: &Statements<'_>, now: Instant) -> bool {
        let mut has_changed = self.lapse(now);
        for (peer, limit) in self.limits(statements) {
            if now >= limit {
                has_changed |= self.complain(peer, now);
            }
        }
        has_changed
    }

    /// Complains of a member; true if it was not done already.
    pub(crate) fn complain(&mut self, of: PeerId, now: Instant) -> bool {
        let Some(member) = self.set.iter().find(|(peer, _)| *peer == of) else {
            return false;
        };
        if of == self.me || self.is_complained(member, now) {
            return false;
        }
        let complaint = self.complaints.entry(*member).or_insert_with(|| Complaint {
            until: now,
            made: VecDeque::new(),
        });
        complaint.made.retain(|made| *made + COMPLAINT_MEMORY > now);
        let lasts = COMPLAINT_MIN * (1 << complaint.made.len().min(6));
        complaint.until = now + lasts.min(COMPLAINT_MAX);
        complaint.made.push_back(now);
        if complaint.made.len() > 8 {
            complaint.made.pop_front();
        }
        true
    }

    pub(crate) fn poll_timeout(
        &self,
        statements: &Statements<'_>,
        now: Instant,
    ) -> Option<Instant> {
        let ends = self.complaints.values().map(|complaint| complaint.until);
        let limits = self.limits(statements);
        let limits = limits.iter().filter(|(peer, _)| {
            let member = self.set.iter().find(|(member, _)| member == peer);
            member.is_some_and(|member| !self.is_complained(member, now))
        });
        ends.filter(|until| *until > now)
            .chain(limits.map(|(_, limit)| *limit))
            .min()
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn set_hash(&self) -> u64 {
        self.set_hash
    }

    /// The complaints that this peer's link state says.
    pub(crate) fn complaints_shown(&self, now: Instant) -> Vec<(PeerId, Incarnation)> {
        let complaints = self.complaints.iter();
        complaints
            .filter(|(_, complaint)| complaint.until > now)
            .map(|(member, _)| *member)
            .collect()
    }

    /// Since when the set of members that can be reached has not changed.
    pub(crate) fn set_since(&self) -> Instant {
        self.set_since
    }

    pub(crate) fn view(&self) -> &View {
        self.view
            .as_ref()
            .expect("evaluated at the start: a view of one")
    }

    /// The peers reached over edges, without those (also as relays) of which more than half of
    /// the others complain. A peer that sees itself left out is alone.
    fn component(&self, statements: &Statements<'_>) -> Vec<(PeerId, Incarnation)> {
        let all = self.reached(statements, &BTreeSet::new());
        let blamed: BTreeSet<PeerId> = all
            .iter()
            .filter(|(peer, life)| {
                let complains = |(other, _): &&(PeerId, Incarnation)| {
                    other != peer && statements[other].1.complaints.contains(&(*peer, *life))
                };
                let complainers = all.iter().filter(complains).count();
                match self.faults {
                    Faults::OneComplaintSuffices => complainers > 0,
                    _ => complainers * 2 > all.len() - 1,
                }
            })
            .map(|(peer, _)| *peer)
            .collect();
        match blamed.is_empty() {
            true => all,
            false => self.reached(statements, &blamed),
        }
    }

    fn reached(
        &self,
        statements: &Statements<'_>,
        without: &BTreeSet<PeerId>,
    ) -> Vec<(PeerId, Incarnation)> {
        let mut reached = BTreeSet::from([self.me]);
        let mut edge = vec![self.me];
        while let Some(peer) = edge.pop() {
            if without.contains(&self.me) {
                break;
            }
            for link in &statements[&peer].1.links {
                let is_new = !reached.contains(&link.peer) && !without.contains(&link.peer);
                if is_new && is_edge(statements, peer, link.peer) {
                    reached.insert(link.peer);
                    edge.push(link.peer);
                }
            }
        }
        let lives = reached.into_iter().map(|peer| (peer, statements[&peer].0));
        lives.collect()
    }

    /// Members whose link state does not show this peer's round and set.
    fn differing(&self, statements: &Statements<'_>) -> Vec<(PeerId, Differs)> {
        let others = self.set.iter().filter(|(peer, _)| *peer != self.me);
        others
            .filter_map(|(peer, _)| {
                let (_, state) = statements.get(peer)?;
                if state.set_hash != self.set_hash {
                    Some((*peer, Differs::Set))
                } else if state.round != self.round {
                    Some((*peer, Differs::Round))
                } else {
                    None
                }
            })
            .collect()
    }

    /// When each differing member is to be complained of: it may only be the first from which
    /// this peer hears of a change.
    fn limits(&self, statements: &Statements<'_>) -> Vec<(PeerId, Instant)> {
        let differing = self.differing(statements).into_iter();
        let limit = |(peer, differs)| {
            let own = match differs {
                Differs::Set => self.set_since,
                Differs::Round => self.round_since,
            };
            let since = self.differing_since.get(&peer).copied();
            (
                peer,
                since.map_or(own, |since| since.max(own)) + self.agree_limit,
            )
        };
        differing.map(limit).collect()
    }

    fn is_complained(&self, member: &(PeerId, Incarnation), now: Instant) -> bool {
        let complaint = self.complaints.get(member);
        complaint.is_some_and(|complaint| complaint.until > now)
    }

    /// Forgets complaints that lie long back; true if one has just ended.
    fn lapse(&mut self, now: Instant) -> bool {
        let mut has_ended = false;
        self.complaints.retain(|_, complaint| {
            if complaint.until <= now && !complaint.made.is_empty() {
                has_ended |= complaint
                    .made
                    .back()
                    .is_some_and(|made| complaint.until > *made);
                // The end is reported once; the number of complaints is remembered.
                complaint.until = *complaint.made.back().unwrap_or(&now);
            }
            let last = complaint.made.back();
            last.is_some_and(|made| *made + COMPLAINT_MEMORY > now)
        });
        has_ended
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Differs {
    Set,
    Round,
}

fn hash_of(set: &[(PeerId, Incarnation)]) -> u64 {
    hash(b"zc set 1", 0, set)
}

fn view_id(round: u64, set: &[(PeerId, Incarnation)]) -> ViewId {
    ViewId(hash(b"zc view 1", round, set))
}

fn hash(context: &[u8], round: u64, set: &[(PeerId, Incarnation)]) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(context);
    hash.update(&round.to_be_bytes());
    for (peer, incarnation) in set {
        hash.update(&peer.0);
        hash.update(&incarnation.0.to_be_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finish().as_ref()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{linked, peer};

    /// The link state of a peer that lists these neighbors, all in life 1.
    fn state(links: &[u8], round: u64, hash: u64, complaints: &[u8]) -> LinkState {
        LinkState {
            round,
            set_hash: hash,
            complaints: complaints
                .iter()
                .map(|n| (peer(*n), Incarnation(1)))
                .collect(),
            ..linked(links)
        }
    }

    fn statements(states: &[LinkState]) -> Statements<'_> {
        let peers = states.iter().enumerate();
        peers
            .map(|(n, state)| (peer(n as u8 + 1), (Incarnation(1), state)))
            .collect()
    }

    #[test]
    fn a_view_is_agreed_when_all_show_the_same_round_and_set() {
        let now = crate::testing::start();
        let mut agreement = Agreement::new(peer(1), Duration::from_millis(500), now);
        let alone = agreement.evaluate(&statements(&[state(&[], 0, 0, &[])]), now);
        assert_eq!(alone.agreed.map(|view| view.number), Some(1));

        for (stated, round) in [(0, 2), (7, 7)] {
            let mut other = Agreement::new(peer(1), Duration::from_millis(500), now);
            other.evaluate(&statements(&[state(&[], 0, 0, &[])]), now);
            let both = [state(&[2], 1, 0, &[]), state(&[1], stated, 99, &[])];
            let evaluated = other.evaluate(&statements(&both), now);
            assert!(evaluated.is_issue_due && evaluated.agreed.is_none());
            assert_eq!(other.round(), round, "one that it has stated nothing in");
        }

        let both = [state(&[2], 1, 0, &[]), state(&[1], 7, 99, &[])];
        agreement.evaluate(&statements(&both), now);
        let another_set = [state(&[2], 7, 0, &[]), state(&[1], 8, 99, &[])];
        let evaluated = agreement.evaluate(&statements(&another_set), now);
        assert_eq!(evaluated, Evaluated::default(), "that one has to change");

        let hash = agreement.set_hash();
        let ahead = [state(&[2], 7, hash, &[]), state(&[1], 9, hash, &[])];
        let evaluated = agreement.evaluate(&statements(&ahead), now);
        assert!(evaluated.is_issue_due);
        let view = evaluated.agreed.unwrap();
        assert_eq!((view.number, view.members.len()), (9, 2));
        let same = [state(&[2], 9, hash, &[]), state(&[1], 9, hash, &[])];
        let again = agreement.evaluate(&statements(&same), now);
        assert_eq!(again, Evaluated::default(), "once per id");
    }

    #[test]
    fn one_sided_links_and_stopping_peers_do_not_count() {
        let now = crate::testing::start();
        for other in [
            state(&[], 1, 0, &[]),
            LinkState {
                stopping: Stopping::Yes,
                ..state(&[1], 1, 0, &[])
            },
        ] {
            let mut agreement = Agreement::new(peer(1), Duration::from_millis(500), now);
            let states = [state(&[2], 0, 0, &[]), other];
            let view = agreement.evaluate(&statements(&states), now).agreed;
            assert_eq!(view.map(|view| view.members.len()), Some(1));
        }
    }

    #[test]
    fn only_a_majority_of_the_others_leaves_a_peer_out() {
        let now = crate::testing::start();
        let table: [(&[u8], &[u8], usize); 3] = [(&[], &[], 4), (&[4], &[], 4), (&[4], &[4], 3)];
        for (second, third, members) in table {
            let states = [
                state(&[2, 3, 4], 0, 0, &[]),
                state(&[1, 3, 4], 0, 0, second),
                state(&[1, 2, 4], 0, 0, third),
                state(&[1, 2, 3], 0, 0, &[]),
            ];
            let agreement = Agreement::new(peer(1), Duration::from_millis(500), now);
            assert_eq!(agreement.component(&statements(&states)).len(), members);
            let left_out = Agreement::new(peer(4), Duration::from_millis(500), now);
            let expected = if members == 3 { 1 } else { 4 };
            assert_eq!(left_out.component(&statements(&states)).len(), expected);
        }
    }

    #[test]
    fn who_changes_late_is_not_complained_of_at_once() {
        let start = crate::testing::start();
        let limit = Duration::from_millis(500);
        let mut agreement = Agreement::new(peer(1), limit, start);
        agreement.evaluate(
            &statements(&[state(&[2], 0, 0, &[]), state(&[1], 0, 0, &[])]),
            start,
        );
        let (round, hash) = (agreement.round(), agreement.set_hash());
        let both = [state(&[2], round, hash, &[]), state(&[1], round, hash, &[])];
        assert!(
            agreement
                .evaluate(&statements(&both), start)
                .agreed
                .is_some()
        );
        let later = start + limit * 10;
        let changed = [both[0].clone(), state(&[1], round + 1, 99, &[])];
        let changed = statements(&changed);
        agreement.evaluate(&changed, later);
        assert!(!agreement.handle_timeout(&changed, later));
        assert_eq!(agreement.poll_timeout(&changed, later), Some(later + limit));
        assert!(agreement.handle_timeout(&changed, later + limit));
    }

    #[test]
    fn who_differs_for_too_long_is_complained_of_ever_longer() {
        let start = crate::testing::start();
        let limit = Duration::from_millis(500);
        let mut agreement = Agreement::new(peer(1), limit, start);
        let states = [state(&[2], 0, 0, &[]), state(&[1], 0, 0, &[])];
        let states = statements(&states);
        agreement.evaluate(&states, start);
        assert_eq!(agreement.poll_timeout(&states, start), Some(start + limit));
        assert!(!agreement.handle_timeout(&states, start));
        let mut now = start + limit;
        for lasts in [1, 2, 4] {
            assert!(agreement.handle_timeout(&states, now));
            assert_eq!(agreement.complaints_shown(now).len(), 1);
            let end = now + Duration::from_secs(lasts);
            assert_eq!(agreement.poll_timeout(&states, now), Some(end));
            now = end;
        }
    }
}
