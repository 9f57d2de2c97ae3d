//! Each message once to all: what came of every source, the store, summaries and pulls
//! (overlay protocol section 7).
//!
//! Messages go up as they arrive. Every link says by summaries what its peer has, and who lacks
//! something pulls it. A source says below which sequence its messages are gone; who needs one of
//! those is told the gap.

use crate::event::Class;
use crate::packet::{Multicast, PULL_MAX, Pull, SummaryRow};
use crate::peer_id::{Incarnation, PeerId};
use crate::view::View;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A peer in one of its lives: a source of messages.
pub(crate) type Life = (PeerId, Incarnation);

/// Messages of one source beyond the first that is missing; a source's window holds far fewer.
const BEYOND_MAX: usize = 65_536;
/// Bytes of one source that are kept; what a peer cannot keep others may still have.
const STORE_SIZE_MAX: usize = 32 << 20;
/// Missing messages of one source that are looked for at a time.
const WANTED_MAX: usize = 256;
/// Acknowledgements to a source are gathered for so long.
const SOURCE_ACK_DELAY: Duration = Duration::from_millis(10);
/// An acknowledgement may be lost: it is said again as long as the source keeps what it covers.
const SOURCE_ACK_REPEAT: Duration = Duration::from_millis(500);
/// How long what a source said is kept after it left the view: the others notice within that.
const LEFT_KEEP: Duration = Duration::from_secs(10);
/// A pull never comes sooner: summaries are no finer.
const PULL_WAIT_MIN: Duration = Duration::from_millis(10);
/// Who has the message has no link that is up: look again after this.
const PULL_RETRY: Duration = Duration::from_millis(100);
/// Nor does the next one for the same message.
const PULL_AGAIN_MIN: Duration = Duration::from_millis(20);

/// All sources that are known, this peer among them.
pub(crate) struct Multicasts {
    me: Life,
    chains: BTreeMap<Life, Chain>,
    /// What each neighbor says that it has. It outlives a down of this end of the link: the
    /// other end may not have noticed, and then it does not say it again.
    said: BTreeMap<PeerId, BTreeMap<Life, SummaryRow>>,
    wanted: BTreeMap<(Life, u64), Wanted>,
    gaps: Vec<Gap>,
}

/// What came of one source.
struct Chain {
    /// All up to here came, or is gone.
    prefix: u64,
    beyond: BTreeSet<u64>,
    /// The source's word: what is below is gone.
    gone_below: u64,
    /// What is below is not kept here, though others may have it.
    kept_from: u64,
    store: BTreeMap<u64, Stored>,
    store_size: usize,
    left_at: Option<Instant>,
    ack_at: Option<Instant>,
}

/// A message as it is passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stored {
    pub(crate) class: Class,
    pub(crate) message: Multicast,
}

struct Wanted {
    due: Instant,
    asked: Option<PeerId>,
}

/// Messages that will never come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    pub(crate) life: Life,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// How a message that came compares with what is known, before its signature is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Novelty {
    New,
    Known,
    /// It is of an ended life, or there is no room to keep track of it.
    Useless,
}

impl Multicasts {
    pub(crate) fn new(me: Life) -> Self {
        Self {
            me,
            chains: BTreeMap::from([(me, Chain::starting_at(1))]),
            said: BTreeMap::new(),
            wanted: BTreeMap::new(),
            gaps: Vec::new(),
        }
    }

    pub(crate) fn novelty(&self, life: Life, sequence: u64) -> Novelty {
        match self.chains.get(&life) {
            Some(chain) if chain.holds(sequence) => Novelty::Known,
            Some(chain) if chain.beyond.len() < BEYOND_MAX && life != self.me => Novelty::New,
            None if self.is_welcome(life) => Novelty::New,
            _ => Novelty::Useless,
        }
    }

    /// Keeps a message that is new and whose signature holds, or an own one.
    pub(crate) fn insert(&mut self, message: Multicast, now: Instant) {
        let life = (message.source, message.incarnation);
        let sequence = message.sequence;
        let was_wanting = self.is_wanting(life);
        // First contact with a source starts at what is not gone, without a gap.
        let chain = self.chains.entry(life);
        chain.or_insert_with(|| Chain::starting_at(message.gone_below));
        self.raise_gone(life, message.gone_below);
        let me = self.me;
        let Some(chain) = self.chains.get_mut(&life) else {
            return;
        };
        chain.insert(sequence, message);
        if life != me {
            chain.acknowledge_by(now + SOURCE_ACK_DELAY);
        }
        self.wanted.remove(&(life, sequence));
        let overflow = chain.overflow();
        if life != me && overflow > 0 {
            self.give_up(life, overflow);
        }
        if was_wanting && !self.is_wanting(life) {
            self.want_rest(life, now);
        }
    }

    /// This peer's own messages below this are gone.
    pub(crate) fn raise_own_gone(&mut self, gone_below: u64) -> bool {
        let is_news = self
            .chains
            .get(&self.me)
            .is_some_and(|chain| chain.gone_below < gone_below);
        self.raise_gone(self.me, gone_below);
        is_news
    }

    pub(crate) fn handle_summary(
        &mut self,
        from: PeerId,
        rows: Vec<SummaryRow>,
        first_wait: Duration,
        now: Instant,
    ) -> BTreeSet<Life> {
        let mut news = BTreeSet::new();
        for row in rows {
            let life = (row.source, row.incarnation);
            if life.0 == self.me.0 {
                continue;
            }
            if !self.chains.contains_key(&life) {
                if !self.is_welcome(life) {
                    continue;
                }
                let mut chain = Chain::starting_at(row.kept_from);
                chain.gone_below = row.gone_below.max(1);
                chain.ack_at = Some(now + SOURCE_ACK_DELAY);
                self.chains.insert(life, chain);
                news.insert(life);
            }
            if self.raise_gone(life, row.gone_below) {
                news.insert(life);
            }
            self.said.entry(from).or_default().insert(life, row);
            self.want(life, &row, now + first_wait.max(PULL_WAIT_MIN));
        }
        news
    }

    /// The messages that a neighbor asks for and that are still kept.
    pub(crate) fn pulled(&self, pull: &Pull) -> Vec<(Class, u64)> {
        let Some(chain) = self.chains.get(&(pull.source, pull.incarnation)) else {
            return Vec::new();
        };
        let kept = pull.sequences.iter().filter_map(|sequence| {
            let stored = chain.store.get(sequence)?;
            Some((stored.class, *sequence))
        });
        kept.collect()
    }

    /// The pulls that are due, each with the neighbor to ask. `again` says after what time to ask
    /// another; none: the link to this neighbor is not up.
    pub(crate) fn take_pulls(
        &mut self,
        again: impl Fn(PeerId) -> Option<Duration>,
        now: Instant,
    ) -> Vec<(PeerId, Pull)> {
        let mut pulls: BTreeMap<(PeerId, Life), Vec<u64>> = BTreeMap::new();
        let said = &self.said;
        self.wanted.retain(|(life, sequence), wanted| {
            if wanted.due > now {
                return true;
            }
            let mut holders: Vec<PeerId> = said
                .iter()
                .filter(|(_, rows)| rows.get(life).is_some_and(|row| has(row, *sequence)))
                .map(|(peer, _)| *peer)
                .collect();
            if holders.is_empty() {
                return false;
            }
            holders.retain(|holder| again(*holder).is_some());
            if holders.len() > 1 {
                holders.retain(|holder| Some(*holder) != wanted.asked);
            }
            let Some((holder, pause)) = holders.first().and_then(|h| Some((h, again(*h)?))) else {
                wanted.due = now + PULL_RETRY;
                return true;
            };
            let sequences = pulls.entry((*holder, *life)).or_default();
            if sequences.len() < PULL_MAX {
                sequences.push(*sequence);
                wanted.asked = Some(*holder);
                wanted.due = now + pause.max(PULL_AGAIN_MIN);
            } else {
                wanted.due = now + PULL_AGAIN_MIN;
            }
            true
        });
        let pulls = pulls.into_iter().map(|((holder, life), sequences)| {
            let pull = Pull {
                source: life.0,
                incarnation: life.1,
                sequences,
            };
            (holder, pull)
        });
        pulls.collect()
    }

    /// The acknowledgements that are due: to whom, and up to where all came.
    pub(crate) fn take_acks(&mut self, now: Instant) -> Vec<(Life, u64)> {
        let mut acks = Vec::new();
        for (life, chain) in &mut self.chains {
            if chain.ack_at.is_some_and(|at| at <= now) {
                let is_kept = chain.prefix >= chain.gone_below;
                chain.ack_at = is_kept.then(|| now + SOURCE_ACK_REPEAT);
                acks.push((*life, chain.prefix));
            }
        }
        acks
    }

    /// What this peer has, of these sources or of all.
    pub(crate) fn summary(&self, of: Option<&BTreeSet<Life>>) -> Vec<SummaryRow> {
        let chains = self.chains.iter();
        let chains = chains.filter(|(life, _)| of.is_none_or(|of| of.contains(life)));
        let rows = chains.map(|(life, chain)| {
            let mut beyond = 0;
            for sequence in chain.beyond.range(..=chain.prefix + 64) {
                beyond |= 1 << (sequence - chain.prefix - 1);
            }
            SummaryRow {
                source: life.0,
                incarnation: life.1,
                prefix: chain.prefix,
                beyond,
                gone_below: chain.gone_below,
                kept_from: chain.kept_from,
            }
        });
        rows.collect()
    }

    /// The neighbor lives anew, or is no member any more: it has nothing of before.
    pub(crate) fn forget_neighbor(&mut self, neighbor: PeerId) {
        self.said.remove(&neighbor);
    }

    pub(crate) fn set_view(&mut self, view: &View, now: Instant) {
        for (life, chain) in &mut self.chains {
            if view.holds(life.0, life.1) {
                chain.left_at = None;
                // The source forgot what this peer had when it left its view.
                if *life != self.me {
                    chain.acknowledge_by(now + SOURCE_ACK_DELAY);
                }
            } else {
                chain.left_at.get_or_insert(now);
            }
        }
    }

    /// Drops what sources said that left the view long ago; returns them.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> BTreeSet<Life> {
        let chains = self.chains.iter();
        let over = chains.filter(|(_, chain)| chain.is_over(now));
        let over: BTreeSet<Life> = over.map(|(life, _)| *life).collect();
        for life in &over {
            let next = self.chains.get(life).map_or(0, |chain| chain.highest() + 1);
            self.give_up(*life, next);
            if self.latest(life.0) > Some(life.1) {
                // A later life is known, so nothing of this one is accepted again.
                self.chains.remove(life);
                self.said.values_mut().for_each(|rows| {
                    rows.remove(life);
                });
            } else if let Some(chain) = self.chains.get_mut(life) {
                chain.left_at = None;
            }
        }
        over
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let acks = self.chains.values().filter_map(|chain| chain.ack_at);
        let lefts = self.chains.values().filter_map(|chain| chain.left_at);
        let pulls = self.wanted.values().map(|wanted| wanted.due);
        acks.chain(lefts.map(|at| at + LEFT_KEEP))
            .chain(pulls)
            .min()
    }

    /// Forgets the sources of which that is not true.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(PeerId) -> bool) {
        self.chains.retain(|(source, _), _| is_kept(*source));
        self.wanted.retain(|((source, _), _), _| is_kept(*source));
        let said = self.said.values_mut();
        said.for_each(|rows| rows.retain(|(source, _), _| is_kept(*source)));
    }

    pub(crate) fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    pub(crate) fn stored(&self, life: Life, sequence: u64) -> Option<&Stored> {
        self.chains.get(&life)?.store.get(&sequence)
    }

    /// True if this neighbor says that it has the message.
    pub(crate) fn neighbor_has(&self, neighbor: PeerId, life: Life, sequence: u64) -> bool {
        let row = self.said.get(&neighbor).and_then(|rows| rows.get(&life));
        row.is_some_and(|row| sequence <= row.prefix || has(row, sequence))
    }

    /// True if the message continues what came of its source, or begins it.
    pub(crate) fn is_next(&self, life: Life, sequence: u64) -> bool {
        let chain = self.chains.get(&life);
        chain.is_none_or(|chain| sequence <= chain.prefix + 1)
    }

    /// A first contact counts unless the source has lived on since.
    fn is_welcome(&self, life: Life) -> bool {
        life.0 != self.me.0 && self.latest(life.0) < Some(life.1)
    }

    fn latest(&self, source: PeerId) -> Option<Incarnation> {
        let first = (source, Incarnation(0));
        let last = (source, Incarnation(u64::MAX));
        let mut lives = self.chains.range(first..=last);
        lives.next_back().map(|((_, incarnation), _)| *incarnation)
    }

    /// Looks for what a neighbor has and this peer lacks.
    fn want(&mut self, life: Life, row: &SummaryRow, due: Instant) {
        let Some(chain) = self.chains.get(&life) else {
            return;
        };
        let from = (chain.prefix + 1).max(row.kept_from);
        let lacks = (from..=row.prefix + 64).take_while(|s| *s < from + WANTED_MAX as u64);
        for sequence in lacks.filter(|s| has(row, *s) && !chain.holds(*s)) {
            let wanted = Wanted { due, asked: None };
            self.wanted.entry((life, sequence)).or_insert(wanted);
        }
    }

    fn is_wanting(&self, life: Life) -> bool {
        let mut wanted = self.wanted.range((life, 0)..=(life, u64::MAX));
        wanted.next().is_some()
    }

    /// Only so many are looked for at a time. When those are there the next ones are, also if
    /// the source has fallen silent: then no summary comes again.
    fn want_rest(&mut self, life: Life, now: Instant) {
        let said = self.said.values();
        let rows: Vec<SummaryRow> = said.filter_map(|rows| rows.get(&life)).copied().collect();
        for row in rows {
            self.want(life, &row, now + PULL_WAIT_MIN);
        }
    }

    /// The source says what is gone. True if that is news.
    fn raise_gone(&mut self, life: Life, gone_below: u64) -> bool {
        let Some(chain) = self.chains.get_mut(&life) else {
            return false;
        };
        if gone_below <= chain.gone_below {
            return false;
        }
        chain.gone_below = gone_below;
        self.give_up(life, gone_below);
        true
    }

    /// Keeps nothing below, and waits for none of it: what is missing is told as a gap.
    fn give_up(&mut self, life: Life, below: u64) {
        let Some(chain) = self.chains.get_mut(&life) else {
            return;
        };
        chain.kept_from = chain.kept_from.max(below);
        while let Some(first) = chain.store.first_entry()
            && *first.key() < below
        {
            chain.store_size -= first.remove().message.payload.len();
        }
        while chain.prefix + 1 < below {
            let from = chain.prefix + 1;
            let next = chain.beyond.first().copied().unwrap_or(below);
            let to = next.min(below) - 1;
            if to >= from {
                self.gaps.push(Gap { life, from, to });
            }
            chain.prefix = to;
            chain.absorb();
        }
        let wanted = &mut self.wanted;
        wanted.retain(|(of, sequence), _| *of != life || *sequence >= below);
    }
}

/// True if the row says that this message can be had from its neighbor.
fn has(row: &SummaryRow, sequence: u64) -> bool {
    let is_beyond = sequence > row.prefix
        && sequence <= row.prefix + 64
        && row.beyond & (1 << (sequence - row.prefix - 1)) != 0;
    sequence >= row.kept_from && (sequence <= row.prefix || is_beyond)
}

impl Chain {
    fn starting_at(gone_below: u64) -> Self {
        let gone_below = gone_below.max(1);
        Self {
            prefix: gone_below - 1,
            beyond: BTreeSet::new(),
            gone_below,
            kept_from: gone_below,
            store: BTreeMap::new(),
            store_size: 0,
            left_at: None,
            ack_at: None,
        }
    }

    fn holds(&self, sequence: u64) -> bool {
        sequence <= self.prefix || self.beyond.contains(&sequence)
    }

    fn insert(&mut self, sequence: u64, message: Multicast) {
        self.beyond.insert(sequence);
        self.absorb();
        self.store_size += message.payload.len();
        let class = message.class;
        self.store.insert(sequence, Stored { class, message });
    }

    /// Something new is acknowledged sooner than something old is again.
    fn acknowledge_by(&mut self, due: Instant) {
        self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
    }

    fn absorb(&mut self) {
        while self.beyond.remove(&(self.prefix + 1)) {
            self.prefix += 1;
        }
    }

    fn highest(&self) -> u64 {
        self.beyond.last().copied().unwrap_or(self.prefix)
    }

    /// Below which sequence messages must go so that the store keeps its bound; zero: none.
    fn overflow(&self) -> u64 {
        let mut size = self.store_size;
        let mut below = 0;
        for (sequence, stored) in &self.store {
            // What came out of order is not given up: its predecessors may still come.
            if size <= STORE_SIZE_MAX || *sequence > self.prefix {
                break;
            }
            size -= stored.message.payload.len();
            below = sequence + 1;
        }
        below
    }

    fn is_over(&self, now: Instant) -> bool {
        self.left_at.is_some_and(|at| at + LEFT_KEEP <= now)
    }
}

/// The body of a message as it goes on to the next peer.
pub(crate) fn forwarded(stored: &Stored) -> Option<Bytes> {
    let hops = stored.message.hops.checked_sub(1)?;
    let message = Multicast {
        hops,
        ..stored.message.clone()
    };
    Some(crate::packet::Body::Multicast(message).encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Life = (PeerId([1; 8]), Incarnation(1));
    const SOURCE: Life = (PeerId([2; 8]), Incarnation(1));
    const NEIGHBOR: PeerId = PeerId([3; 8]);

    fn message(sequence: u64, gone_below: u64) -> Multicast {
        Multicast {
            group: 0,
            class: Class::Update,
            source: SOURCE.0,
            incarnation: SOURCE.1,
            sequence,
            gone_below,
            hops: 16,
            signature: [0; 64],
            payload: Bytes::from_static(b"payload"),
        }
    }

    fn row(prefix: u64, beyond: u64, gone_below: u64) -> SummaryRow {
        SummaryRow {
            source: SOURCE.0,
            incarnation: SOURCE.1,
            prefix,
            beyond,
            gone_below,
            kept_from: gone_below,
        }
    }

    fn pulls(multicasts: &mut Multicasts, now: Instant) -> Vec<(PeerId, Vec<u64>)> {
        let pulls = multicasts
            .take_pulls(|_| Some(Duration::ZERO), now)
            .into_iter();
        pulls.map(|(peer, pull)| (peer, pull.sequences)).collect()
    }

    #[test]
    fn each_message_is_new_once_also_out_of_order() {
        let now = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        for sequence in [3, 1, 2, 5] {
            assert_eq!(multicasts.novelty(SOURCE, sequence), Novelty::New);
            multicasts.insert(message(sequence, 1), now);
            assert_eq!(multicasts.novelty(SOURCE, sequence), Novelty::Known);
        }
        assert!(multicasts.summary(None).contains(&row(3, 0b10, 1)));
        let earlier = (SOURCE.0, Incarnation(0));
        assert_eq!(multicasts.novelty(earlier, 1), Novelty::Useless);
    }

    #[test]
    fn first_contact_starts_at_what_is_not_gone_and_later_losses_are_told() {
        let now = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        multicasts.insert(message(9, 7), now);
        assert_eq!(multicasts.take_gaps(), []);
        assert_eq!(multicasts.novelty(SOURCE, 6), Novelty::Known);
        multicasts.insert(message(20, 12), now);
        let gap = |from, to| Gap {
            life: SOURCE,
            from,
            to,
        };
        assert_eq!(multicasts.take_gaps(), [gap(7, 8), gap(10, 11)]);
    }

    #[test]
    fn what_a_neighbor_has_is_pulled_after_a_while_then_from_another() {
        let now = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        multicasts.insert(message(1, 1), now);
        multicasts.handle_summary(NEIGHBOR, vec![row(3, 0b100, 1)], Duration::ZERO, now);
        assert_eq!(pulls(&mut multicasts, now), []);
        multicasts.insert(message(2, 1), now);
        let due = now + PULL_WAIT_MIN;
        assert_eq!(pulls(&mut multicasts, due), [(NEIGHBOR, vec![3, 6])]);
        let other = PeerId([4; 8]);
        multicasts.handle_summary(other, vec![row(3, 0, 1)], Duration::ZERO, now);
        let again = due + PULL_AGAIN_MIN;
        let expected = [(NEIGHBOR, vec![6]), (other, vec![3])];
        assert_eq!(pulls(&mut multicasts, again), expected);
    }

    #[test]
    fn what_is_missing_beyond_a_first_lot_is_pulled_when_that_has_come() {
        let now = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        let all = 2 * WANTED_MAX as u64 + 7;
        multicasts.handle_summary(NEIGHBOR, vec![row(all, 0, 1)], Duration::ZERO, now);
        let mut later = now;
        let mut come = BTreeSet::new();
        while come.len() < all as usize {
            later += PULL_AGAIN_MIN;
            let pulled = pulls(&mut multicasts, later);
            assert!(!pulled.is_empty(), "{} have come", come.len());
            for sequence in pulled.into_iter().flat_map(|(_, sequences)| sequences) {
                assert!(come.insert(sequence));
                multicasts.insert(message(sequence, 1), later);
            }
        }
        assert_eq!(multicasts.poll_timeout(), Some(now + SOURCE_ACK_DELAY));
    }

    #[test]
    fn what_comes_is_acknowledged_soon_and_what_has_come_again_later() {
        let start = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        let mut now = start;
        for (sequence, due) in [
            (Some(1), SOURCE_ACK_DELAY),
            (Some(2), SOURCE_ACK_DELAY),
            (None, SOURCE_ACK_REPEAT),
            (None, SOURCE_ACK_REPEAT),
            (Some(3), SOURCE_ACK_DELAY),
        ] {
            if let Some(sequence) = sequence {
                multicasts.insert(message(sequence, 1), now);
            }
            assert_eq!(multicasts.poll_timeout(), Some(now + due));
            now += due;
            assert_eq!(multicasts.take_acks(now).len(), 1);
        }
    }

    #[test]
    fn the_store_answers_pulls_until_the_messages_are_gone() {
        let now = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        for sequence in 1..=4 {
            multicasts.insert(message(sequence, 1), now);
        }
        let pull = Pull {
            source: SOURCE.0,
            incarnation: SOURCE.1,
            sequences: vec![1, 3, 9],
        };
        assert_eq!(multicasts.pulled(&pull).len(), 2);
        multicasts.handle_summary(NEIGHBOR, vec![row(4, 0, 3)], Duration::ZERO, now);
        assert_eq!(multicasts.pulled(&pull), [(Class::Update, 3)]);
    }

    #[test]
    fn a_source_that_left_is_forgotten_later() {
        let now = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        multicasts.insert(message(1, 1), now);
        multicasts.insert(message(3, 1), now);
        let alone = View {
            number: 1,
            id: crate::view::ViewId(1),
            members: vec![ME],
        };
        multicasts.set_view(&alone, now);
        multicasts.handle_timeout(now + LEFT_KEEP);
        let gap = Gap {
            life: SOURCE,
            from: 2,
            to: 2,
        };
        assert_eq!(multicasts.take_gaps(), [gap]);
        assert!(multicasts.stored(SOURCE, 3).is_none());
        let given_up = SummaryRow {
            kept_from: 4,
            ..row(3, 0, 1)
        };
        assert!(multicasts.summary(None).contains(&given_up));
    }

    #[test]
    fn what_one_neighbor_gave_up_is_had_from_another() {
        let now = crate::testing::start();
        let mut multicasts = Multicasts::new(ME);
        multicasts.insert(message(1, 1), now);
        let given_up = SummaryRow {
            kept_from: 4,
            ..row(3, 0, 1)
        };
        multicasts.handle_summary(NEIGHBOR, vec![given_up], Duration::ZERO, now);
        assert_eq!(pulls(&mut multicasts, now + PULL_WAIT_MIN), []);
        assert_eq!(multicasts.take_gaps(), []);
        let other = PeerId([4; 8]);
        multicasts.handle_summary(other, vec![row(3, 0, 1)], Duration::ZERO, now);
        let due = now + PULL_WAIT_MIN;
        assert_eq!(pulls(&mut multicasts, due), [(other, vec![2, 3])]);
    }
}
