//! Peers that come and go too often: they are trusted with VIPs less, for ever longer.

use overlay::PeerId;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Departures in [`WINDOW`] that a peer may have before it is quarantined.
const DEPARTURES_MAX: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);
const LASTS_MIN: Duration = Duration::from_secs(10);
const LASTS_MAX: Duration = Duration::from_secs(600);
/// How long after its end a quarantine lengthens the next one.
const MEMORY: Duration = Duration::from_secs(600);

/// What is remembered of each peer that departed of late.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    peers: BTreeMap<PeerId, Record>,
}

#[derive(Debug, Default)]
struct Record {
    departures: VecDeque<Instant>,
    until: Option<Instant>,
    times: u32,
    /// When the last quarantine ended or will end.
    last: Option<Instant>,
}

impl Quarantine {
    /// A peer left the view without saying so. If that makes it quarantined: for how long.
    pub(super) fn note_departure(&mut self, peer: PeerId, now: Instant) -> Option<Duration> {
        let record = self.peers.entry(peer).or_default();
        record.departures.retain(|at| now < *at + WINDOW);
        record.departures.push_back(now);
        if record.departures.len() <= DEPARTURES_MAX {
            return None;
        }
        record.departures.pop_front();
        let lasts = (LASTS_MIN * (1 << record.times.min(6))).min(LASTS_MAX);
        record.times += 1;
        record.extend(now + lasts);
        Some(lasts)
    }

    /// Another member says that the peer is quarantined for so much longer.
    pub(super) fn merge(&mut self, peer: PeerId, left: Duration, now: Instant) {
        let until = now + left.min(LASTS_MAX);
        self.peers.entry(peer).or_default().extend(until);
    }

    /// Forgets what has lasted long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        self.peers.retain(|_, record| {
            record.until = record.until.filter(|until| *until > now);
            record.departures.retain(|at| now < *at + WINDOW);
            if record.last.is_some_and(|last| now >= last + MEMORY) {
                record.times = 0;
                record.last = None;
            }
            record.last.is_some() || !record.departures.is_empty()
        });
    }

    /// Who is quarantined, and for how much longer.
    pub(super) fn left(&self, now: Instant) -> BTreeMap<PeerId, Duration> {
        let records = self.peers.iter();
        records
            .filter_map(|(peer, record)| {
                let left = record.until?.checked_duration_since(now)?;
                (left > Duration::ZERO).then_some((*peer, left))
            })
            .collect()
    }
}

impl Record {
    fn extend(&mut self, until: Instant) {
        self.until = self.until.max(Some(until));
        self.last = self.last.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_departure_in_a_minute_quarantines_ever_longer() {
        let start = crate::testing::start();
        let seconds = Duration::from_secs;
        let mut quarantine = Quarantine::default();
        let peer = PeerId([1; 8]);
        for n in 0..3 {
            assert_eq!(quarantine.note_departure(peer, start + seconds(n)), None);
        }
        let later = start + seconds(3);
        assert_eq!(quarantine.note_departure(peer, later), Some(seconds(10)));
        assert_eq!(
            quarantine.left(later),
            BTreeMap::from([(peer, seconds(10))])
        );
        let later = start + seconds(14);
        quarantine.expire(later);
        assert_eq!(quarantine.left(later), BTreeMap::new());
        assert_eq!(quarantine.note_departure(peer, later), Some(seconds(20)));
        for n in 0..10 {
            quarantine.note_departure(peer, later + seconds(n));
        }
        assert_eq!(quarantine.left(later + seconds(9))[&peer], seconds(600));
        let much_later = later + seconds(1_300);
        quarantine.expire(much_later);
        assert_eq!(quarantine.note_departure(peer, much_later), None);
    }
}
