//! Whom to dial and when, and which of two connections stays (overlay protocol section 1).

use crate::link_event::{DialId, LinkId, Protocol};
use crate::peer_id::{Incarnation, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A link that was up lately comes back soon.
const BACKOFF_KNOWN_MAX: Duration = Duration::from_millis(500);
const KNOWN_FOR: Duration = Duration::from_secs(3_600);
/// After so many turns without an answer a member is passed over.
const TURNS_MAX: u32 = 4;
/// Dials to one address that may be under way: the transport gives each up after some seconds,
/// and a path that has healed must not wait for that.
const PENDING_MAX: usize = 4;

/// The back-off of every wanted link, and the dials under way.
pub(crate) struct Dialing {
    attempts: BTreeMap<PeerId, Attempt>,
    pending: BTreeMap<DialId, Target>,
    next_dial: u64,
}

struct Attempt {
    due: Option<Instant>,
    backoff: Duration,
    last_up: Option<Instant>,
    /// Turns since it was up or wanted for the first time.
    turns: u32,
}

/// What a dial is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A neighbor at an address.
    Link(PeerId, SocketAddr),
    /// The second or third connection of a link.
    Companion(PeerId, LinkId, Protocol),
    /// A dial of the machine `Join`, which numbers it so.
    Join(DialId),
}

impl Dialing {
    pub(crate) fn new() -> Self {
        Self {
            attempts: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_dial: 0,
        }
    }

    /// These links are wanted; new ones are dialed at once.
    pub(crate) fn want(&mut self, peers: &BTreeSet<PeerId>, now: Instant) {
        self.attempts.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.attempts.entry(*peer).or_insert_with(|| Attempt {
                due: Some(now),
                backoff: BACKOFF_MIN,
                last_up: None,
                turns: 0,
            });
        }
    }

    /// The links to dial now. Their next turn comes after the back-off, ± 25 %.
    pub(crate) fn take_due(&mut self, now: Instant, random: &mut fastrand::Rng) -> Vec<PeerId> {
        let mut due = Vec::new();
        for (peer, attempt) in &mut self.attempts {
            if attempt.due.is_some_and(|at| at <= now) {
                attempt.due = Some(now + attempt.backoff.mul_f64(0.75 + random.f64() / 2.0));
                let is_known = attempt.last_up.is_some_and(|up| up + KNOWN_FOR > now);
                let most = if is_known {
                    BACKOFF_KNOWN_MAX
                } else {
                    BACKOFF_MAX
                };
                attempt.backoff = (attempt.backoff * 2).min(most);
                attempt.turns = attempt.turns.saturating_add(1);
                due.push(*peer);
            }
        }
        due
    }

    pub(crate) fn went_up(&mut self, peer: PeerId, now: Instant) {
        if let Some(attempt) = self.attempts.get_mut(&peer) {
            attempt.due = None;
            attempt.backoff = BACKOFF_MIN;
            attempt.last_up = Some(now);
            attempt.turns = 0;
        }
    }

    /// True if this one is dialed in vain: others take its part.
    pub(crate) fn is_in_vain(&self, peer: PeerId) -> bool {
        let attempt = self.attempts.get(&peer);
        attempt.is_some_and(|attempt| attempt.turns >= TURNS_MAX)
    }

    pub(crate) fn went_down(&mut self, peer: PeerId, now: Instant) {
        if let Some(attempt) = self.attempts.get_mut(&peer)
            && attempt.due.is_none()
        {
            attempt.due = Some(now);
        }
    }

    /// A number for a new dial; none if enough of the same are under way.
    pub(crate) fn start(&mut self, target: Target) -> Option<DialId> {
        let same = self.pending.values().filter(|pending| **pending == target);
        if same.count() >= PENDING_MAX {
            return None;
        }
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        self.pending.insert(dial, target);
        Some(dial)
    }

    /// The dial has ended in a connection or in nothing.
    pub(crate) fn finish(&mut self, dial: DialId) -> Option<Target> {
        self.pending.remove(&dial)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.attempts
            .values()
            .filter_map(|attempt| attempt.due)
            .min()
    }
}

/// One of two connections to the same neighbor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) incarnation: Incarnation,
    pub(crate) silence: Silence,
    pub(crate) dialer: PeerId,
    /// The nonce of the end that did not dial.
    pub(crate) acceptor_nonce: [u8; 16],
}

/// Whether a connection has been silent past the deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Silence {
    Heard,
    Silent,
}

/// Which of two connections stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    Old,
    New,
}

/// The one rule by which both ends keep the same connection.
pub(crate) fn keep(old: &Candidate, new: &Candidate) -> Kept {
    let rank = |candidate: &Candidate| {
        (
            std::cmp::Reverse(candidate.incarnation),
            candidate.silence,
            candidate.dialer,
            candidate.acceptor_nonce,
        )
    };
    match rank(new) < rank(old) {
        true => Kept::New,
        false => Kept::Old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_grows_less_for_a_link_that_was_up() {
        let start = crate::testing::start();
        let mut random = fastrand::Rng::with_seed(1);
        let peer = PeerId([1; 8]);
        for (was_up, least, most) in [(false, 12, 20), (true, 90, 150)] {
            let mut dialing = Dialing::new();
            dialing.want(&BTreeSet::from([peer]), start);
            if was_up {
                dialing.went_up(peer, start);
                dialing.went_down(peer, start);
            }
            let mut dials = 0;
            while dialing.poll_timeout().unwrap() < start + Duration::from_secs(60) {
                let now = dialing.poll_timeout().unwrap();
                dials += dialing.take_due(now, &mut random).len();
            }
            assert!((least..=most).contains(&dials), "{dials}");
        }
    }

    #[test]
    fn who_does_not_answer_four_dials_is_passed_over_until_it_is_up() {
        let now = crate::testing::start();
        let mut random = fastrand::Rng::with_seed(1);
        let peer = PeerId([1; 8]);
        let mut dialing = Dialing::new();
        dialing.want(&BTreeSet::from([peer]), now);
        for turn in 0..TURNS_MAX {
            assert!(!dialing.is_in_vain(peer), "{turn}");
            let due = dialing.poll_timeout().unwrap();
            assert_eq!(dialing.take_due(due, &mut random), [peer]);
        }
        assert!(dialing.is_in_vain(peer));
        dialing.went_up(peer, now);
        dialing.went_down(peer, now);
        assert!(!dialing.is_in_vain(peer));
    }

    #[test]
    fn dials_under_way_have_a_bound() {
        let mut dialing = Dialing::new();
        let target = Target::Link(PeerId([1; 8]), "127.0.0.1:1".parse().unwrap());
        let dials: Vec<_> = (0..9).filter_map(|_| dialing.start(target)).collect();
        assert_eq!(dials.len(), PENDING_MAX);
        assert_eq!(dialing.finish(dials[0]), Some(target));
        assert_eq!(dialing.finish(dials[0]), None);
        assert!(dialing.start(target).is_some());
    }

    #[test]
    fn both_ends_keep_the_same_connection() {
        let base = Candidate {
            incarnation: Incarnation(1),
            silence: Silence::Heard,
            dialer: PeerId([5; 8]),
            acceptor_nonce: [5; 16],
        };
        let better = [
            Candidate {
                incarnation: Incarnation(2),
                ..base
            },
            Candidate {
                dialer: PeerId([1; 8]),
                ..base
            },
            Candidate {
                acceptor_nonce: [1; 16],
                ..base
            },
        ];
        for new in better {
            assert_eq!(keep(&base, &new), Kept::New);
            assert_eq!(keep(&new, &base), Kept::Old);
        }
        let silent = Candidate {
            silence: Silence::Silent,
            dialer: PeerId([1; 8]),
            ..base
        };
        assert_eq!(keep(&silent, &base), Kept::New);
    }
}
