//! Data outside the log, named by its hash: who holds what, and what is to be fetched
//! (replication protocol section 3).
//!
//! The bytes themselves are the daemon's: it streams, checks and stores them.

use crate::entry::{BlobHash, Entry};
use overlay::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Who holds which blob, as far as this peer has heard.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    /// With the moment when it came, or was last offered.
    held: BTreeMap<BlobHash, Instant>,
    holders: BTreeMap<BlobHash, BTreeSet<PeerId>>,
    wanted: BTreeMap<BlobHash, Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// The holder that it is being fetched from.
    from: Option<PeerId>,
    /// Holders that have failed in this round.
    failed: BTreeSet<PeerId>,
    /// All have failed; the next round begins then.
    again: Option<Instant>,
}

impl Blobs {
    /// The blob is durable here, or is spoken of again.
    pub(crate) fn hold(&mut self, hash: BlobHash, now: Instant) {
        self.held.insert(hash, now);
        self.wanted.remove(&hash);
    }

    /// Blobs that have been held unnamed for so long that their imports were given up.
    pub(crate) fn stale(
        &self,
        is_needed: impl Fn(BlobHash) -> bool,
        now: Instant,
    ) -> Vec<BlobHash> {
        let held = self.held.iter();
        held.filter(|(hash, since)| now >= **since + UNNAMED_KEEP && !is_needed(**hash))
            .map(|(hash, _)| *hash)
            .collect()
    }

    /// A peer says that it holds the blob.
    pub(crate) fn hear_holder(&mut self, hash: BlobHash, holder: PeerId) {
        if self.holders.len() < HEARD_MAX || self.holders.contains_key(&hash) {
            self.holders.entry(hash).or_default().insert(holder);
        }
    }

    /// A peer that sends an entry again holds its blobs, one that is being fetched among them.
    pub(crate) fn hear_another_holder(&mut self, hash: BlobHash, holder: PeerId) {
        if self.wanted.contains_key(&hash) {
            self.hear_holder(hash, holder);
        }
    }

    /// The blob is to be fetched.
    pub(crate) fn want(&mut self, hash: BlobHash) {
        if !self.held.contains_key(&hash) && self.wanted.len() < WANTED_MAX {
            self.wanted.entry(hash).or_default();
        }
    }

    /// A fetch came to nothing.
    pub(crate) fn fail(&mut self, hash: BlobHash, from: PeerId) {
        if let Some(wanted) = self.wanted.get_mut(&hash) {
            wanted.from = None;
            wanted.failed.insert(from);
        }
    }

    /// What to start fetching, from whom among `reach`: those that are heard to hold it, then any
    /// neighbor. One that has held it since before this peer, or it, started may never say so again; one
    /// that lacks it says that at once.
    pub(crate) fn start_fetches(
        &mut self,
        reach: impl Fn(PeerId) -> bool,
        neighbors: &BTreeSet<PeerId>,
        now: Instant,
    ) -> Vec<(BlobHash, PeerId)> {
        let mut started = Vec::new();
        for (hash, wanted) in &mut self.wanted {
            if wanted.from.is_some_and(&reach) {
                continue;
            }
            let holders = self.holders.get(hash);
            let is_heard = |peer: &PeerId| holders.is_some_and(|holders| holders.contains(peer));
            let heard = holders.into_iter().flatten().filter(|peer| reach(**peer));
            let others = neighbors.iter().filter(|peer| !is_heard(peer));
            let asked: Vec<PeerId> = heard.chain(others).copied().collect();
            if wanted.again.is_some_and(|again| now >= again) {
                wanted.again = None;
                wanted.failed.clear();
            }
            let has_somebody = !asked.is_empty();
            wanted.from = asked.into_iter().find(|peer| !wanted.failed.contains(peer));
            // A holder that is no neighbor fails at once: asking it again at once would be a loop.
            if wanted.from.is_none() && has_somebody {
                wanted.again.get_or_insert(now + FETCH_REPEAT);
            }
            started.extend(wanted.from.map(|from| (*hash, from)));
        }
        started
    }

    /// When the next round of some blob begins.
    pub(crate) fn due(&self) -> Option<Instant> {
        let idle = self.wanted.values().filter(|wanted| wanted.from.is_none());
        idle.filter_map(|wanted| wanted.again).min()
    }

    /// Its commit lies below the checkpoint, or its import was given up.
    pub(crate) fn forget(&mut self, hash: BlobHash) {
        self.held.remove(&hash);
        self.holders.remove(&hash);
        self.wanted.remove(&hash);
    }

    pub(crate) fn holds(&self, hash: BlobHash) -> bool {
        self.held.contains_key(&hash)
    }

    pub(crate) fn is_held_by(&self, hash: BlobHash, peer: PeerId) -> bool {
        self.holders
            .get(&hash)
            .is_some_and(|holders| holders.contains(&peer))
    }

    pub(crate) fn hold_all(&self, entry: &Entry) -> bool {
        entry.blobs.iter().all(|hash| self.held.contains_key(hash))
    }
}

/// Replication protocol section 3: a fetch is repeated this often, to another holder.
const FETCH_REPEAT: Duration = Duration::from_millis(200);
/// Blobs that others have spoken of: imports that run at the same time, and room.
const HEARD_MAX: usize = 10_000;
/// Replication protocol section 3: an import that nobody has committed by then was given up.
const UNNAMED_KEEP: Duration = Duration::from_secs(600);
/// Blobs to fetch at the same time.
const WANTED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fetch_goes_to_another_holder_and_then_round_again() {
        let (hash, a, b) = (BlobHash([1; 32]), PeerId([1; 8]), PeerId([2; 8]));
        let (mut blobs, none) = (Blobs::default(), BTreeSet::new());
        let start = crate::testing::start();
        let at = |millis| start + Duration::from_millis(millis);
        blobs.want(hash);
        assert_eq!(blobs.start_fetches(|_| true, &none, at(0)), []);
        assert_eq!(blobs.due(), None);
        blobs.hear_holder(hash, a);
        assert_eq!(blobs.start_fetches(|_| true, &none, at(0)), [(hash, a)]);
        assert_eq!(blobs.start_fetches(|_| true, &none, at(0)), []);
        // A new holder is asked at once, the one that failed after a while.
        blobs.fail(hash, a);
        assert_eq!(blobs.start_fetches(|_| true, &none, at(1)), []);
        assert_eq!(blobs.due(), Some(at(201)));
        blobs.hear_holder(hash, b);
        assert_eq!(blobs.start_fetches(|_| true, &none, at(2)), [(hash, b)]);
        blobs.fail(hash, b);
        assert_eq!(blobs.start_fetches(|_| true, &none, at(200)), []);
        assert_eq!(blobs.start_fetches(|_| true, &none, at(201)), [(hash, a)]);
        assert_eq!(blobs.due(), None);
        // Who cannot be reached any more is not waited for.
        assert_eq!(
            blobs.start_fetches(|peer| peer == b, &none, at(202)),
            [(hash, b)]
        );
        blobs.hold(hash, at(300));
        assert_eq!(blobs.start_fetches(|_| true, &none, at(500)), []);
        assert!(blobs.holds(hash));
    }

    #[test]
    fn a_neighbor_is_asked_where_those_that_are_heard_fail() {
        let (hash, a, b) = (BlobHash([1; 32]), PeerId([1; 8]), PeerId([2; 8]));
        let (mut blobs, neighbors) = (Blobs::default(), BTreeSet::from([b]));
        let now = crate::testing::start();
        blobs.want(hash);
        blobs.hear_holder(hash, a);
        assert_eq!(blobs.start_fetches(|_| true, &neighbors, now), [(hash, a)]);
        blobs.fail(hash, a);
        assert_eq!(blobs.start_fetches(|_| true, &neighbors, now), [(hash, b)]);
        blobs.fail(hash, b);
        assert_eq!(blobs.start_fetches(|_| true, &neighbors, now), []);
        assert_eq!(blobs.due(), Some(now + FETCH_REPEAT));
    }

    #[test]
    fn what_no_entry_names_for_long_is_stale_unless_it_is_offered_again() {
        let (hash, start) = (BlobHash([1; 32]), crate::testing::start());
        let mut blobs = Blobs::default();
        blobs.hold(hash, start);
        let late = start + UNNAMED_KEEP;
        assert_eq!(blobs.stale(|_| false, late - Duration::from_millis(1)), []);
        assert_eq!(blobs.stale(|_| true, late), []);
        assert_eq!(blobs.stale(|_| false, late), [hash]);
        blobs.hold(hash, late);
        assert_eq!(blobs.stale(|_| false, late), []);
    }
}
