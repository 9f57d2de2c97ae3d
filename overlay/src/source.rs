//! This peer as a source: which of its messages may get a number, and when they are gone
//! (overlay protocol section 7).
//!
//! Only the source waits. Updates stay within a window beyond the lowest prefix that a member of
//! the view has acknowledged; control stands outside it. What all members have is kept for a
//! while longer, because they do not all notice a lost link at the same moment.

use crate::event::{Class, Full, Pressure};
use crate::multicast::Life;
use crate::pack::PACK_SIZE_MAX;
use crate::view::View;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Updates beyond the lowest acknowledged prefix.
const WINDOW_MESSAGES: usize = 256;
/// Bytes of updates beyond it.
const WINDOW_SIZE: usize = 1 << 20;
/// Control messages beyond it. Views and marks are few; a source that says more is not heard.
const CONTROL_MESSAGES: usize = 1_024;
/// Updates that wait for the window, in bytes: authoring stops before memory does.
const QUEUE_SIZE_MAX: usize = 4 << 20;
/// With so much waiting the pressure is high: the rest is for what is authored already.
const PRESSURE_HIGH: usize = QUEUE_SIZE_MAX / 2;
/// With so little it is low again.
const PRESSURE_LOW: usize = QUEUE_SIZE_MAX / 4;
/// Control messages without a kind that wait for a number.
const CONTROL_QUEUE_MAX: usize = 1_024;
/// A member that keeps the window full for so long leaves it: one slow link must not set the
/// pace of all. It is told the gap and catches up from the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// The window, the queues before it, and what the members have.
pub(crate) struct Source {
    me: Life,
    last: u64,
    gone_below: u64,
    outstanding: Outstanding,
    members: BTreeMap<Life, Receipt>,
    updates: VecDeque<(Class, Bytes)>,
    updates_size: usize,
    pressure: Pressure,
    control: VecDeque<(Option<u8>, Bytes)>,
    /// (all members have it up to here, since when)
    complete: VecDeque<(u64, Instant)>,
    /// Since when something waits for the window.
    closed_since: Option<Instant>,
    store_keep: Duration,
}

/// Messages beyond the lowest acknowledged prefix, counted as they come and go.
#[derive(Default)]
struct Outstanding {
    /// (sequence, class, size)
    messages: VecDeque<(u64, Class, usize)>,
    control: usize,
    updates: usize,
    updates_size: usize,
}

/// What a member of the view has acknowledged.
struct Receipt {
    prefix: u64,
    moved_at: Instant,
    /// Since when it alone keeps the window full.
    blocks_since: Option<Instant>,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    InWindow,
    Out,
}

impl Source {
    pub(crate) fn new(me: Life, store_keep: Duration) -> Self {
        Self {
            me,
            last: 0,
            gone_below: 1,
            outstanding: Outstanding::default(),
            members: BTreeMap::new(),
            updates: VecDeque::new(),
            updates_size: 0,
            pressure: Pressure::Low,
            control: VecDeque::new(),
            complete: VecDeque::new(),
            closed_since: None,
            store_keep,
        }
    }

    /// Takes a payload; [`Self::take_ready`] gives it back when it may be numbered.
    pub(crate) fn offer(
        &mut self,
        class: Class,
        kind: Option<u8>,
        payload: Bytes,
    ) -> Result<(), Full> {
        match class {
            Class::Control => {
                let same = |(other, _): &&mut (Option<u8>, Bytes)| kind.is_some() && *other == kind;
                if let Some((_, waiting)) = self.control.iter_mut().find(same) {
                    *waiting = payload;
                } else if self.control.len() >= CONTROL_QUEUE_MAX {
                    return Err(Full);
                } else {
                    self.control.push_back((kind, payload));
                }
            }
            Class::Update | Class::Bulk => {
                if self.updates_size + payload.len() > QUEUE_SIZE_MAX {
                    return Err(Full);
                }
                self.updates_size += payload.len();
                self.updates.push_back((class, payload));
            }
        }
        Ok(())
    }

    /// What the next message may carry, and its number.
    pub(crate) fn take_ready(&mut self, now: Instant) -> Option<(u64, Class, Vec<Bytes>)> {
        let (class, payloads) = if self.outstanding.control < CONTROL_MESSAGES
            && let Some((_, payload)) = self.control.pop_front()
        {
            (Class::Control, vec![payload])
        } else if !self.outstanding.is_full() {
            let class = self.updates.front()?.0;
            (class, self.take_updates(class))
        } else {
            self.settle_lowest(now);
            return None;
        };
        self.last += 1;
        let size = payloads.iter().map(Bytes::len).sum();
        self.outstanding.add(self.last, class, size);
        self.settle_lowest(now);
        Some((self.last, class, payloads))
    }

    pub(crate) fn handle_ack(&mut self, from: Life, prefix: u64, now: Instant) {
        let last = self.last;
        if let Some(receipt) = self.members.get_mut(&from)
            && (receipt.prefix + 1..=last).contains(&prefix)
        {
            receipt.prefix = prefix;
            receipt.moved_at = now;
            self.settle_lowest(now);
        }
    }

    pub(crate) fn set_view(&mut self, view: &View, now: Instant) {
        self.members.retain(|life, _| view.members.contains(life));
        for life in &view.members {
            if *life != self.me && !self.members.contains_key(life) {
                // A new member starts at what is not gone; it may have none of it.
                let receipt = Receipt {
                    prefix: self.gone_below - 1,
                    moved_at: now,
                    blocks_since: None,
                    standing: Standing::InWindow,
                };
                self.members.insert(*life, receipt);
                self.complete.clear();
            }
        }
        self.settle_lowest(now);
    }

    /// Lets go of members that keep the window full; moves what is gone.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for life in self.blocking(now) {
            if let Some(receipt) = self.members.get_mut(&life) {
                receipt.standing = Standing::Out;
                receipt.blocks_since = None;
            }
        }
        self.settle_lowest(now);
        while let Some((up_to, since)) = self.complete.front()
            && *since + self.store_keep <= now
        {
            self.gone_below = up_to + 1;
            self.complete.pop_front();
        }
    }

    pub(crate) fn excuse(&mut self, late: Duration, now: Instant) {
        for receipt in self.members.values_mut() {
            receipt.moved_at = (receipt.moved_at + late).min(now);
            receipt.blocks_since = receipt.blocks_since.map(|since| (since + late).min(now));
        }
        self.closed_since = self.closed_since.map(|since| (since + late).min(now));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let gone = self
            .complete
            .front()
            .map(|(_, since)| *since + self.store_keep);
        let full = self
            .is_waiting()
            .then(|| self.limits().map(|(_, limit)| limit).min());
        [gone, full.flatten()].into_iter().flatten().min()
    }

    /// The pressure, if it has changed.
    pub(crate) fn take_pressure(&mut self) -> Option<Pressure> {
        let pressure = match self.updates_size {
            PRESSURE_HIGH.. => Pressure::High,
            ..=PRESSURE_LOW => Pressure::Low,
            _ => self.pressure,
        };
        let has_changed = std::mem::replace(&mut self.pressure, pressure) != pressure;
        has_changed.then_some(pressure)
    }

    /// Messages below this are no longer kept for anybody.
    pub(crate) fn gone_below(&self) -> u64 {
        self.gone_below
    }

    #[cfg(test)]
    fn queued(&self) -> usize {
        self.updates_size
    }

    fn in_window(&self) -> impl Iterator<Item = (&Life, &Receipt)> {
        let members = self.members.iter();
        members.filter(|(_, receipt)| receipt.standing == Standing::InWindow)
    }

    fn lowest(&self) -> u64 {
        let prefixes = self.in_window().map(|(_, receipt)| receipt.prefix);
        prefixes.min().unwrap_or(self.last)
    }

    /// All that waits, as far as one message carries it.
    fn take_updates(&mut self, of: Class) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut size = 0;
        while let Some((class, payload)) = self.updates.front()
            && *class == of
            && (taken.is_empty() || size + payload.len() <= PACK_SIZE_MAX)
        {
            size += payload.len();
            taken.extend(self.updates.pop_front().map(|(_, payload)| payload));
        }
        self.updates_size -= size;
        taken
    }

    fn is_waiting(&self) -> bool {
        !self.updates.is_empty() || !self.control.is_empty()
    }

    /// Members in the window, and until when each may go on as it does: to be without any
    /// progress, or alone far behind another member.
    fn limits(&self) -> impl Iterator<Item = (Life, Instant)> {
        let lowest = self.lowest();
        self.in_window().filter_map(move |(life, receipt)| {
            let closed_since = self.closed_since.filter(|_| receipt.prefix == lowest);
            let stuck = closed_since.map(|since| since.max(receipt.moved_at) + PATIENCE);
            let blocks = receipt.blocks_since.map(|since| since + PATIENCE);
            let limit = [stuck, blocks].into_iter().flatten().min()?;
            Some((*life, limit))
        })
    }

    fn blocking(&self, now: Instant) -> Vec<Life> {
        if !self.is_waiting() {
            return Vec::new();
        }
        let limits = self.limits().filter(|(_, limit)| *limit <= now);
        limits.map(|(life, _)| life).collect()
    }

    /// Notes what follows from the receipts as they are.
    fn settle_lowest(&mut self, now: Instant) {
        let lowest = self.lowest();
        self.outstanding.remove_up_to(lowest);
        let is_new = self
            .complete
            .back()
            .is_none_or(|(up_to, _)| lowest > *up_to);
        if is_new && lowest >= self.gone_below {
            self.complete.push_back((lowest, now));
        }
        let is_waiting = self.is_waiting();
        let is_full = self.outstanding.is_full() || self.outstanding.control >= CONTROL_MESSAGES;
        self.closed_since = match is_waiting && is_full {
            true => self.closed_since.or(Some(now)),
            false => None,
        };
        let half = (WINDOW_MESSAGES / 2) as u64;
        let last = self.last;
        let best = self.members.values().map(|receipt| receipt.prefix).max();
        for receipt in self.members.values_mut() {
            let is_far = best.is_some_and(|best| best > receipt.prefix + half);
            match receipt.standing {
                Standing::InWindow if is_waiting && is_far => {
                    receipt.blocks_since.get_or_insert(now);
                }
                Standing::InWindow => receipt.blocks_since = None,
                Standing::Out if last - receipt.prefix <= half => {
                    receipt.standing = Standing::InWindow;
                    receipt.moved_at = now;
                }
                Standing::Out => {}
            }
        }
    }
}

impl Outstanding {
    fn add(&mut self, sequence: u64, class: Class, size: usize) {
        self.messages.push_back((sequence, class, size));
        match class {
            Class::Control => self.control += 1,
            Class::Update | Class::Bulk => {
                self.updates += 1;
                self.updates_size += size;
            }
        }
    }

    fn remove_up_to(&mut self, prefix: u64) {
        while let Some((sequence, class, size)) = self.messages.front().copied()
            && sequence <= prefix
        {
            self.messages.pop_front();
            match class {
                Class::Control => self.control -= 1,
                Class::Update | Class::Bulk => {
                    self.updates -= 1;
                    self.updates_size -= size;
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.updates >= WINDOW_MESSAGES || self.updates_size >= WINDOW_SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_id::{Incarnation, PeerId};
    use crate::view::ViewId;

    const KEEP: Duration = Duration::from_secs(2);

    fn life(n: u8) -> Life {
        (PeerId([n; 8]), Incarnation(1))
    }

    fn view(members: &[u8]) -> View {
        View {
            number: 1,
            id: ViewId(1),
            members: members.iter().map(|n| life(*n)).collect(),
        }
    }

    fn source(members: &[u8], now: Instant) -> Source {
        let mut source = Source::new(life(1), KEEP);
        source.set_view(&view(members), now);
        source
    }

    fn offer_update(source: &mut Source) {
        let payload = Bytes::from_static(b"x");
        source.offer(Class::Update, None, payload).unwrap();
    }

    fn take_all(source: &mut Source, now: Instant) -> usize {
        std::iter::from_fn(|| source.take_ready(now)).count()
    }

    #[test]
    fn updates_wait_for_the_window_and_control_does_not() {
        let now = crate::testing::start();
        let mut source = source(&[1, 2, 3], now);
        let taken = (0..300).map(|_| {
            offer_update(&mut source);
            take_all(&mut source, now)
        });
        assert_eq!(taken.sum::<usize>(), WINDOW_MESSAGES);
        source
            .offer(Class::Control, Some(1), Bytes::from_static(b"c"))
            .unwrap();
        assert_eq!(take_all(&mut source, now), 1);
        source.handle_ack(life(2), 100, now);
        assert_eq!(take_all(&mut source, now), 0, "the other has none yet");
        source.handle_ack(life(3), 20, now);
        let (_, _, payloads) = source.take_ready(now).unwrap();
        assert_eq!(payloads.len(), 300 - WINDOW_MESSAGES, "all that waited");
        assert_eq!(source.queued(), 0);
    }

    #[test]
    fn what_waits_goes_together_as_far_as_one_message_carries_it() {
        let now = crate::testing::start();
        let mut source = source(&[1, 2], now);
        for size in [10, PACK_SIZE_MAX - 10, 1, 2 * PACK_SIZE_MAX, 1] {
            let payload = Bytes::from(vec![0; size]);
            source.offer(Class::Update, None, payload).unwrap();
        }
        let counts = std::iter::from_fn(|| source.take_ready(now));
        let counts: Vec<usize> = counts.map(|(_, _, payloads)| payloads.len()).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
    }

    #[test]
    fn a_full_queue_refuses() {
        let now = crate::testing::start();
        let mut source = source(&[1, 2], now);
        let payload = Bytes::from(vec![0; 1 << 16]);
        let accepted = (0..200).filter(|_| {
            let offered = source.offer(Class::Update, None, payload.clone());
            take_all(&mut source, now);
            offered.is_ok()
        });
        assert_eq!(accepted.count(), (QUEUE_SIZE_MAX + WINDOW_SIZE) >> 16);
    }

    #[test]
    fn pressure_rises_before_the_queue_is_full_and_falls_when_it_has_drained() {
        let now = crate::testing::start();
        let mut source = source(&[1, 2], now);
        let payload = Bytes::from(vec![0; 1 << 16]);
        let mut offered = 0;
        while source.take_pressure() != Some(Pressure::High) {
            source
                .offer(Class::Update, None, payload.clone())
                .expect("the pressure rises first");
            offered += take_all(&mut source, now);
        }
        assert_eq!(source.take_pressure(), None, "it is told once");
        let mut acked = 0;
        while source.take_pressure() != Some(Pressure::Low) {
            acked += 1;
            assert!(acked < 100, "{offered} went out");
            source.handle_ack(life(2), acked, now);
            take_all(&mut source, now);
        }
        assert!(source.queued() > 0, "not only when nothing waits");
    }

    #[test]
    fn messages_are_gone_when_all_had_them_for_a_while() {
        let now = crate::testing::start();
        let mut source = source(&[1, 2], now);
        source
            .offer(Class::Update, None, Bytes::from_static(b"x"))
            .unwrap();
        take_all(&mut source, now);
        source.handle_timeout(now + KEEP * 2);
        assert_eq!(source.gone_below(), 1);
        source.handle_ack(life(2), 1, now);
        assert_eq!(source.poll_timeout(), Some(now + KEEP));
        source.handle_timeout(now + KEEP);
        assert_eq!(source.gone_below(), 2);
    }

    #[test]
    fn a_stuck_member_leaves_the_window_and_comes_back_when_it_has_caught_up() {
        let now = crate::testing::start();
        let mut source = source(&[1, 2, 3], now);
        for _ in 0..256 {
            offer_update(&mut source);
            take_all(&mut source, now);
        }
        for _ in 0..256 {
            let payload = Bytes::from(vec![0; PACK_SIZE_MAX]);
            source.offer(Class::Update, None, payload).unwrap();
        }
        source.handle_ack(life(2), 256, now);
        assert_eq!(take_all(&mut source, now), 0);
        assert_eq!(source.poll_timeout(), Some(now + PATIENCE));
        source.handle_timeout(now + PATIENCE);
        let window = WINDOW_SIZE / PACK_SIZE_MAX;
        assert_eq!(take_all(&mut source, now), window);
        let last = 256 + window as u64;
        source.handle_ack(life(3), last - 12, now);
        source.handle_ack(life(2), last, now);
        assert_eq!(source.lowest(), last - 12);
    }

    #[test]
    fn a_waiting_control_message_is_replaced_by_the_next_of_its_kind() {
        let now = crate::testing::start();
        let mut source = source(&[1, 2], now);
        for _ in 0..CONTROL_MESSAGES {
            source.offer(Class::Control, None, Bytes::new()).unwrap();
        }
        assert_eq!(take_all(&mut source, now), CONTROL_MESSAGES);
        for text in [&b"a"[..], b"b"] {
            source
                .offer(Class::Control, Some(1), Bytes::from_static(text))
                .unwrap();
        }
        assert_eq!(take_all(&mut source, now), 0);
        source.handle_ack(life(2), 2, now);
        let ready = source.take_ready(now).map(|(_, _, payloads)| payloads);
        assert_eq!(ready, Some(vec![Bytes::from_static(b"b")]));
        assert_eq!(source.take_ready(now), None);
    }
}
