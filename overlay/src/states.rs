//! The newest word of every peer and kind: which counts, which is passed on, when it expires
//! (overlay protocol sections 2 and 5).

use crate::event::StateKind;
use crate::link_state::LinkState;
use crate::packet::{Body, StateBody};
use crate::peer_id::{Incarnation, PeerId};
use crate::signed::LINK_STATE;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Kinds that one peer may use: the overlay's own, and a few of the layers above.
const KINDS_MAX: u8 = 16;

/// The table (peer, kind) → newest.
pub(crate) struct States {
    me: PeerId,
    incarnation: Incarnation,
    life: Duration,
    rows: BTreeMap<(PeerId, StateKind), Row>,
}

struct Row {
    incarnation: Incarnation,
    edition: u64,
    encoded: Bytes,
    /// Only of kind [`LINK_STATE`].
    link_state: Option<LinkState>,
    came: Instant,
    freshness: Freshness,
}

/// An expired row is kept, so that it is neither accepted nor pushed again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Freshness {
    Fresh,
    Expired,
}

/// How a word that came compares with what is known, before its signature is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Compared {
    Newer,
    /// Known already, or of no use.
    Old,
    /// Older than one that has expired here: its speaker may have forgotten that it said more,
    /// so the known one goes back on that link.
    SendBack(Bytes),
    /// This peer's own, of a life or an edition that it has not lived.
    OwnUnknown(Incarnation),
}

impl States {
    pub(crate) fn new(me: PeerId, incarnation: Incarnation, life: Duration) -> Self {
        Self {
            me,
            incarnation,
            life,
            rows: BTreeMap::new(),
        }
    }

    pub(crate) fn compare(&self, body: &StateBody) -> Compared {
        let word = (body.incarnation, body.edition);
        let row = self.rows.get(&(body.peer, body.kind));
        let known = row.map(|row| (row.incarnation, row.edition));
        if body.peer == self.me {
            let said = known.unwrap_or((self.incarnation, 0));
            return match word > said {
                true => Compared::OwnUnknown(body.incarnation),
                false => Compared::Old,
            };
        }
        if body.kind.0 >= KINDS_MAX || self.latest(body.peer) > Some(body.incarnation) {
            return match row {
                Some(row) if row.freshness == Freshness::Expired => {
                    Compared::SendBack(row.encoded.clone())
                }
                _ => Compared::Old,
            };
        }
        match row {
            Some(row) if known >= Some(word) => match row.freshness {
                Freshness::Fresh => Compared::Old,
                Freshness::Expired if known == Some(word) => Compared::Old,
                Freshness::Expired => Compared::SendBack(row.encoded.clone()),
            },
            _ => Compared::Newer,
        }
    }

    /// Keeps a word that compares as newer and whose signature holds. A link state is parsed by
    /// the caller.
    pub(crate) fn insert(&mut self, body: StateBody, link_state: Option<LinkState>, now: Instant) {
        if self.latest(body.peer) < Some(body.incarnation) {
            // Words of an earlier life end with it.
            let peer = body.peer;
            self.rows
                .retain(|(of, kind), _| *of != peer || *kind == LINK_STATE);
        }
        let row = Row {
            incarnation: body.incarnation,
            edition: body.edition,
            link_state,
            came: now,
            freshness: Freshness::Fresh,
            encoded: Bytes::new(),
        };
        let key = (body.peer, body.kind);
        let encoded = Body::State(body).encode();
        self.rows.insert(key, Row { encoded, ..row });
    }

    /// Lets link states expire; true if one did.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let (me, life) = (self.me, self.life);
        let mut has_expired = false;
        for ((peer, kind), row) in &mut self.rows {
            let is_over = *kind == LINK_STATE && *peer != me && now >= row.came + life;
            if is_over && row.freshness == Freshness::Fresh {
                row.freshness = Freshness::Expired;
                has_expired = true;
            }
        }
        has_expired
    }

    pub(crate) fn excuse(&mut self, late: Duration, now: Instant) {
        for row in self.rows.values_mut() {
            row.came = (row.came + late).min(now);
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.rows.retain(|(of, _), _| *of != peer);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let rows = self.rows.iter();
        rows.filter(|((peer, kind), _)| *kind == LINK_STATE && *peer != self.me)
            .filter(|(_, row)| row.freshness == Freshness::Fresh)
            .map(|(_, row)| row.came + self.life)
            .min()
    }

    /// The latest life of a peer that one of its words shows.
    pub(crate) fn latest(&self, peer: PeerId) -> Option<Incarnation> {
        let words = self
            .rows
            .range((peer, StateKind(0))..=(peer, StateKind(u8::MAX)));
        words.map(|(_, row)| row.incarnation).max()
    }

    /// The newest life and edition of a peer's link state, for its LINK_HELLO.
    pub(crate) fn newest(&self, peer: PeerId) -> (Incarnation, u64) {
        self.rows
            .get(&(peer, LINK_STATE))
            .map_or_else(Default::default, |row| (row.incarnation, row.edition))
    }

    pub(crate) fn edition(&self, kind: StateKind) -> u64 {
        self.rows.get(&(self.me, kind)).map_or(0, |row| row.edition)
    }

    /// The encoded word, to be sent.
    pub(crate) fn encoded(&self, peer: PeerId, kind: StateKind) -> Option<Bytes> {
        let row = self.rows.get(&(peer, kind))?;
        (row.freshness == Freshness::Fresh).then(|| row.encoded.clone())
    }

    /// All that a neighbor is told when its link comes up.
    pub(crate) fn pushed(&self) -> Vec<(PeerId, StateKind)> {
        let rows = self.rows.iter();
        rows.filter(|(_, row)| row.freshness == Freshness::Fresh)
            .map(|(key, _)| *key)
            .collect()
    }

    /// The words that came within a link state's life, by their speakers.
    pub(crate) fn recent(&self, now: Instant) -> BTreeMap<PeerId, Vec<StateKind>> {
        let mut recent: BTreeMap<PeerId, Vec<StateKind>> = BTreeMap::new();
        for ((peer, kind), row) in &self.rows {
            if row.freshness == Freshness::Fresh && now < row.came + self.life {
                recent.entry(*peer).or_default().push(*kind);
            }
        }
        recent
    }

    /// The fresh link states, with the life that each belongs to.
    pub(crate) fn link_states(&self) -> BTreeMap<PeerId, (Incarnation, &LinkState)> {
        let rows = self.rows.iter();
        rows.filter(|(_, row)| row.freshness == Freshness::Fresh)
            .filter_map(|((peer, _), row)| {
                Some((*peer, (row.incarnation, row.link_state.as_ref()?)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: PeerId = PeerId([1; 8]);
    const OTHER: PeerId = PeerId([2; 8]);
    const LIFE: Duration = Duration::from_secs(3);

    fn word(peer: PeerId, kind: u8, incarnation: u64, edition: u64) -> StateBody {
        StateBody {
            kind: StateKind(kind),
            peer,
            incarnation: Incarnation(incarnation),
            edition,
            signature: [0; 64],
            content: Bytes::new(),
        }
    }

    #[test]
    fn the_newest_word_of_the_latest_life_counts() {
        let now = crate::testing::start();
        let mut states = States::new(ME, Incarnation(5), LIFE);
        states.insert(word(OTHER, 0, 5, 3), None, now);
        states.insert(word(OTHER, 1, 5, 1), None, now);
        assert_eq!(states.compare(&word(OTHER, 0, 5, 4)), Compared::Newer);
        assert_eq!(states.compare(&word(OTHER, 0, 5, 3)), Compared::Old);
        assert_eq!(states.compare(&word(OTHER, 2, 4, 9)), Compared::Old);
        states.insert(word(OTHER, 0, 6, 1), None, now);
        assert_eq!(states.encoded(OTHER, StateKind(1)), None);
        assert_eq!(states.compare(&word(OTHER, 1, 5, 9)), Compared::Old);
    }

    #[test]
    fn an_expired_word_is_sent_back_to_who_says_an_older_one() {
        let now = crate::testing::start();
        let mut states = States::new(ME, Incarnation(5), LIFE);
        states.insert(word(OTHER, 0, 5, 9), None, now);
        assert!(!states.expire(now));
        assert!(states.expire(now + LIFE));
        assert_eq!(
            states.encoded(OTHER, LINK_STATE),
            None,
            "never pushed again"
        );
        let back = Body::State(word(OTHER, 0, 5, 9)).encode();
        let restored = word(OTHER, 0, 5, 2);
        assert_eq!(states.compare(&restored), Compared::SendBack(back));
        assert_eq!(states.compare(&word(OTHER, 0, 5, 9)), Compared::Old);
    }

    #[test]
    fn an_own_word_that_was_not_said_is_seen() {
        let now = crate::testing::start();
        let mut states = States::new(ME, Incarnation(5), LIFE);
        states.insert(word(ME, 0, 5, 2), None, now);
        let table = [
            ((5, 2), false),
            ((4, 9), false),
            ((5, 3), true),
            ((6, 1), true),
        ];
        for ((incarnation, edition), is_unknown) in table {
            let compared = states.compare(&word(ME, 0, incarnation, edition));
            assert_eq!(matches!(compared, Compared::OwnUnknown(_)), is_unknown);
        }
    }
}
