//! A reliable hop: number, acknowledge, ask again, tail guard (overlay protocol section 7).
//!
//! Every received packet goes up at once: nothing is held back for order. A session begins when
//! the link comes up; what was unacknowledged when it ends is forgotten.

use crate::event::Class;
use crate::packet::{Ack, DATA_HEADER_SIZE, Data, FRAGMENT_SIZE, Urgency};
use crate::rtt::Rtt;
use crate::timing::Timing;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The tail guard never fires earlier: timers of the other side are not finer.
const GUARD_MIN: Duration = Duration::from_millis(2);
/// A guard stops doubling here, whatever the path.
const GUARD_DOUBLINGS_MAX: u32 = 6;
/// Unacknowledged bytes at which updates and bulk wait in their queues.
const HISTORY_SIZE_MAX: usize = 2 << 20;
/// Unacknowledged frames at which updates and bulk wait in their queues.
const HISTORY_FRAMES_MAX: usize = 4_096;
/// Frames beyond the first hole that a receiver keeps track of; control may fill them all.
const BEYOND_MAX: u64 = 8_192;
/// Bits of the two bitmaps of an ACK.
const BITMAP_SIZE: u64 = 64;

/// The sending half of one session.
pub(crate) struct Sender {
    session: u32,
    next: u64,
    acked: u64,
    history: BTreeMap<u64, Sent>,
    history_size: usize,
    /// Numbered, never sent.
    ready: VecDeque<u64>,
    /// To be sent again.
    again: BTreeSet<u64>,
    is_answered: bool,
    rtt: Rtt,
    ack_delay: Duration,
    /// A guard never doubles beyond a heartbeat: within the link's deadline a control packet must
    /// have as many tries as a heartbeat has.
    heartbeat: Duration,
    figures: Figures,
}

/// What a session has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sent: u64,
    pub(crate) resent: u64,
}

struct Sent {
    data: Data,
    numbered_at: Instant,
    sent_at: Option<Instant>,
    tries: u32,
}

impl Sender {
    pub(crate) fn new(session: u32, rtt: Rtt, timing: Timing) -> Self {
        Self {
            session,
            next: 1,
            acked: 0,
            history: BTreeMap::new(),
            history_size: 0,
            ready: VecDeque::new(),
            again: BTreeSet::new(),
            is_answered: false,
            rtt,
            ack_delay: timing.ack_delay,
            heartbeat: timing.heartbeat,
            figures: Figures::default(),
        }
    }

    /// Numbers the fragments of a body; they wait for [`Self::transmit`].
    pub(crate) fn number(&mut self, body: &Bytes, class: Class, urgency: Urgency, now: Instant) {
        let fragments = body.len().div_ceil(FRAGMENT_SIZE).max(1);
        for fragment in 0..fragments {
            let from = fragment * FRAGMENT_SIZE;
            let to = body.len().min(from + FRAGMENT_SIZE);
            let data = Data {
                session: self.session,
                sequence: self.next as u32,
                class,
                urgency,
                fragment: fragment as u8,
                fragments: fragments as u8,
                body: body.slice(from..to),
            };
            self.history_size += data.body.len();
            let sent = Sent {
                data,
                numbered_at: now,
                sent_at: None,
                tries: 0,
            };
            self.history.insert(self.next, sent);
            self.ready.push_back(self.next);
            self.next += 1;
        }
    }

    /// Appends the next frame that is due and fits into `room`.
    pub(crate) fn transmit(&mut self, room: usize, now: Instant, out: &mut Vec<u8>) -> Transmitted {
        while let Some(sequence) = self.again.first().or_else(|| self.ready.front()).copied() {
            let Some(sent) = self.history.get_mut(&sequence) else {
                // It was acknowledged while it waited.
                self.forget(sequence);
                continue;
            };
            if DATA_HEADER_SIZE + sent.data.body.len() > room {
                return Transmitted::Nothing;
            }
            sent.data.encode(out);
            sent.sent_at = Some(now);
            sent.tries += 1;
            self.figures.sent += 1;
            self.figures.resent += u64::from(sent.tries > 1);
            self.forget(sequence);
            return Transmitted::Frame;
        }
        Transmitted::Nothing
    }

    pub(crate) fn handle_ack(&mut self, ack: &Ack, now: Instant) {
        if ack.of_session != self.session {
            return;
        }
        let cumulative = expand(ack.cumulative, self.acked);
        if cumulative >= self.next {
            return;
        }
        self.is_answered = true;
        // RTT from first sends only, minus the time the acknowledgement waited.
        let newest = expand(ack.newest, cumulative);
        if let Some(sent) = self.history.get(&newest)
            && let (Some(sent_at), 1) = (sent.sent_at, sent.tries)
        {
            let waited = Duration::from_micros(u64::from(ack.waited));
            let sample = now.saturating_duration_since(sent_at);
            self.rtt.sample(sample.saturating_sub(waited));
        }
        for sequence in self.acked + 1..=cumulative {
            self.acknowledge(sequence);
        }
        self.acked = self.acked.max(cumulative);
        for bit in 0..BITMAP_SIZE {
            let sequence = cumulative + 1 + bit;
            if ack.beyond & (1 << bit) != 0 {
                self.acknowledge(sequence);
            } else if ack.asked & (1 << bit) != 0 && self.may_send_again(sequence, now) {
                self.again.insert(sequence);
            }
        }
    }

    /// Sends again what nobody has acknowledged or asked for.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let guarded = self.guarded();
        let late: Vec<u64> = guarded
            .filter(|(_, guard)| *guard <= now)
            .map(|(sequence, _)| sequence)
            .filter(|sequence| self.may_send_again(*sequence, now))
            .collect();
        self.again.extend(late);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.guarded().map(|(_, guard)| guard).min()
    }

    pub(crate) fn session(&self) -> u32 {
        self.session
    }

    /// The last number given so far.
    pub(crate) fn last(&self) -> u64 {
        self.next - 1
    }

    /// All up to here is acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    pub(crate) fn rtt(&self) -> Rtt {
        self.rtt
    }

    pub(crate) fn figures(&self) -> Figures {
        self.figures
    }

    pub(crate) fn has_frames(&self) -> bool {
        !self.again.is_empty() || !self.ready.is_empty()
    }

    /// Whether another body of this class may be numbered. The history has a bound; where it is
    /// full, updates and bulk stay in their queues, and only control goes on.
    pub(crate) fn has_room(&self, class: Class) -> bool {
        let factor = if class == Class::Control { 2 } else { 1 };
        let in_flight = (self.next - 1 - self.acked) as usize;
        self.history_size < HISTORY_SIZE_MAX * factor
            && in_flight + 128 < HISTORY_FRAMES_MAX * factor
    }

    /// The session has had an acknowledgement.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// When the oldest unacknowledged control packet was numbered: a hole for big packets lets
    /// the small heartbeats pass.
    pub(crate) fn oldest_control(&self) -> Option<Instant> {
        let mut sent = self.history.values();
        let control = sent.find(|sent| sent.data.class == Class::Control);
        control.map(|sent| sent.numbered_at)
    }

    /// This peer's own loop stood still: nobody else is to blame for the time.
    pub(crate) fn excuse(&mut self, late: Duration) {
        for sent in self.history.values_mut() {
            sent.numbered_at += late;
        }
    }

    fn acknowledge(&mut self, sequence: u64) {
        if let Some(sent) = self.history.remove(&sequence) {
            self.history_size -= sent.data.body.len();
        }
    }

    fn forget(&mut self, sequence: u64) {
        if !self.again.remove(&sequence) {
            self.ready.pop_front();
        }
    }

    /// Never within 0.9 round trips of the last time: a request and a guard must not both fire.
    fn may_send_again(&self, sequence: u64, now: Instant) -> bool {
        let pause = self.rtt.smoothed() * 9 / 10;
        self.history
            .get(&sequence)
            .and_then(|sent| sent.sent_at)
            .is_some_and(|sent_at| now >= sent_at + pause)
    }

    /// The packets whose acknowledgement an ACK can say, and when each is sent again without
    /// one. Those beyond its bitmap may have come without anybody being able to say so.
    fn guarded(&self) -> impl Iterator<Item = (u64, Instant)> + '_ {
        let patience = (self.rtt.smoothed() * 5 / 4 + self.rtt.deviation() * 4 + self.ack_delay)
            .max(GUARD_MIN);
        self.history
            .range(..=self.acked + BITMAP_SIZE)
            .filter(|(sequence, _)| !self.again.contains(sequence))
            .filter_map(move |(sequence, sent)| {
                let doublings = (sent.tries.max(1) - 1).min(GUARD_DOUBLINGS_MAX);
                let guard = (patience * (1 << doublings)).min(patience.max(self.heartbeat));
                Some((*sequence, sent.sent_at? + guard))
            })
    }
}

/// Whether a frame was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transmitted {
    Frame,
    Nothing,
}

/// The receiving half: the neighbor's session.
pub(crate) struct Receiver {
    session: u32,
    cumulative: u64,
    highest: u64,
    beyond: BTreeSet<u64>,
    holes: BTreeMap<u64, Hole>,
    /// Bodies of which fragments are missing, by the number of their first.
    partial: BTreeMap<u64, Vec<Option<Bytes>>>,
    newest: (u64, Instant),
    waiting: u32,
    ack_at: Option<Instant>,
    allowance: Duration,
    ack_delay: Duration,
}

struct Hole {
    ask_at: Instant,
    asked_at: Option<Instant>,
}

/// What a DATA frame brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// A body is whole.
    Body(Bytes),
    /// Nothing whole yet, or nothing new.
    Nothing,
}

impl Receiver {
    pub(crate) fn new(ack_delay: Duration, now: Instant) -> Self {
        Self {
            session: 0,
            cumulative: 0,
            highest: 0,
            beyond: BTreeSet::new(),
            holes: BTreeMap::new(),
            partial: BTreeMap::new(),
            newest: (0, now),
            waiting: 0,
            ack_at: None,
            allowance: Duration::ZERO,
            ack_delay,
        }
    }

    pub(crate) fn handle_data(&mut self, data: Data, srtt: Duration, now: Instant) -> Received {
        // Overlay protocol section 2: a higher session starts anew, a lower one is dropped.
        if data.session > self.session {
            *self = Self {
                session: data.session,
                ..Self::new(self.ack_delay, now)
            };
        } else if data.session < self.session {
            return Received::Nothing;
        }
        let sequence = expand(data.sequence, self.cumulative);
        if sequence <= self.cumulative || self.beyond.contains(&sequence) {
            self.ack_at = Some(now);
            return Received::Nothing;
        }
        if sequence > self.cumulative + BEYOND_MAX {
            return Received::Nothing;
        }
        self.note_arrival(sequence, srtt, now);
        self.waiting += 1;
        let is_due = self.waiting >= 2 || !self.holes.is_empty();
        let due = match data.urgency {
            Urgency::Urgent => now,
            Urgency::Normal if is_due => now,
            Urgency::Normal => now + self.ack_delay,
        };
        self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
        self.join(sequence, data)
    }

    /// An ACK if one is due, or one is under way anyway for the other packet of a datagram.
    pub(crate) fn ack(&mut self, own_session: u32, srtt: Duration, now: Instant) -> Option<Ack> {
        self.ack_at?;
        let mut asked = 0;
        for (sequence, hole) in self.holes.range_mut(..=self.cumulative + BITMAP_SIZE) {
            if hole.ask_at <= now {
                asked |= 1 << (sequence - self.cumulative - 1);
                hole.asked_at = Some(now);
                hole.ask_at = now + srtt * 5 / 4;
            }
        }
        let mut beyond = 0;
        for sequence in self.beyond.range(..=self.cumulative + BITMAP_SIZE) {
            beyond |= 1 << (sequence - self.cumulative - 1);
        }
        self.ack_at = None;
        self.waiting = 0;
        let waited = now.saturating_duration_since(self.newest.1).as_micros();
        Some(Ack {
            session: own_session,
            of_session: self.session,
            cumulative: self.cumulative as u32,
            beyond,
            asked,
            newest: self.newest.0 as u32,
            waited: waited.min(u128::from(u32::MAX)) as u32,
        })
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let mut holes = self.holes.range(..=self.cumulative + BITMAP_SIZE);
        if holes.any(|(_, hole)| hole.ask_at <= now) {
            self.ack_at = Some(now);
        }
    }

    pub(crate) fn is_ack_due(&self, now: Instant) -> bool {
        self.ack_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let holes = self.holes.range(..=self.cumulative + BITMAP_SIZE);
        holes.map(|(_, hole)| hole.ask_at).chain(self.ack_at).min()
    }

    fn note_arrival(&mut self, sequence: u64, srtt: Duration, now: Instant) {
        if let Some(hole) = self.holes.remove(&sequence)
            && let Some(asked_at) = hole.asked_at
            && now.saturating_duration_since(asked_at) < srtt / 2
        {
            // It came by itself: this path reorders, so the next hole gets a little time.
            self.allowance = srtt / 8;
        }
        for missing in self.highest.max(self.cumulative) + 1..sequence {
            let ask_at = now + self.allowance;
            let hole = Hole {
                ask_at,
                asked_at: None,
            };
            self.holes.insert(missing, hole);
        }
        self.highest = self.highest.max(sequence);
        self.newest = (sequence, now);
        self.beyond.insert(sequence);
        while self.beyond.remove(&(self.cumulative + 1)) {
            self.cumulative += 1;
        }
    }

    fn join(&mut self, sequence: u64, data: Data) -> Received {
        if data.fragments == 1 {
            return Received::Body(data.body);
        }
        let Some(first) = sequence.checked_sub(u64::from(data.fragment)) else {
            return Received::Nothing;
        };
        let count = usize::from(data.fragments);
        let pieces = self
            .partial
            .entry(first)
            .or_insert_with(|| vec![None; count]);
        if pieces.len() == count {
            pieces[usize::from(data.fragment)] = Some(data.body);
        }
        if pieces.iter().any(Option::is_none) {
            self.forget_contradictions();
            return Received::Nothing;
        }
        let pieces = self.partial.remove(&first).unwrap_or_default();
        let mut body = BytesMut::with_capacity(count * FRAGMENT_SIZE);
        for piece in pieces.into_iter().flatten() {
            body.extend_from_slice(&piece);
        }
        Received::Body(body.freeze())
    }

    /// A neighbor that contradicts itself about its fragments leaves pieces that never join: all
    /// of them came, and something is missing.
    fn forget_contradictions(&mut self) {
        while let Some(oldest) = self.partial.first_entry()
            && oldest.key() + oldest.get().len() as u64 <= self.cumulative + 1
        {
            oldest.remove();
        }
    }
}

/// The number whose low half is `low` that is nearest to `near`.
fn expand(low: u32, near: u64) -> u64 {
    let offset = low.wrapping_sub(near as u32) as i32;
    near.saturating_add_signed(i64::from(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Frame, decode_frames};
    use crate::timing::Profile;

    const RTT: Duration = Duration::from_millis(10);

    /// Sends bodies over a path that loses every packet for which `loses` says so; returns what
    /// arrived and how often the sender sent.
    fn deliver(bodies: &[Bytes], mut loses: impl FnMut() -> bool) -> (Vec<Bytes>, Figures) {
        let start = crate::testing::start();
        let mut sender = Sender::new(1, Rtt::default(), Profile::Lan.timing());
        let mut receiver = Receiver::new(Duration::from_millis(2), start);
        let mut arrived = Vec::new();
        let mut under_way: VecDeque<(Instant, bool, Bytes)> = VecDeque::new();
        let mut bodies = bodies.iter();
        for step in 0..20_000_u64 {
            let now = start + Duration::from_micros(500) * step as u32;
            if let Some(body) = bodies.next() {
                sender.number(body, Class::Update, Urgency::Normal, now);
            }
            sender.handle_timeout(now);
            receiver.handle_timeout(now);
            let mut packet = Vec::new();
            while sender.transmit(2_000, now, &mut packet) == Transmitted::Frame {
                if !loses() {
                    under_way.push_back((now + RTT / 2, true, packet.clone().into()));
                }
                packet.clear();
            }
            if receiver.is_ack_due(now)
                && let Some(ack) = receiver.ack(0, RTT, now)
            {
                ack.encode(&mut packet);
                if !loses() {
                    under_way.push_back((now + RTT / 2, false, packet.into()));
                }
            }
            while under_way.front().is_some_and(|(at, _, _)| *at <= now) {
                let (_, _, packet) = under_way.pop_front().unwrap();
                for frame in decode_frames(packet).unwrap() {
                    match frame {
                        Frame::Data(data) => match receiver.handle_data(data, RTT, now) {
                            Received::Body(body) => arrived.push(body),
                            Received::Nothing => {}
                        },
                        Frame::Ack(ack) => sender.handle_ack(&ack, now),
                    }
                }
            }
        }
        assert_eq!(sender.acked(), sender.last(), "all is acknowledged");
        assert!(sender.poll_timeout().is_none());
        (arrived, sender.figures())
    }

    fn bodies(count: u32, size: usize) -> Vec<Bytes> {
        (0..count)
            .map(|n| Bytes::from([n.to_be_bytes().as_slice(), &vec![7; size]].concat()))
            .collect()
    }

    #[test]
    fn without_loss_nothing_is_sent_twice() {
        let sent = bodies(500, 100);
        let (arrived, figures) = deliver(&sent, || false);
        assert_eq!(arrived, sent);
        assert_eq!(figures.resent, 0);
    }

    #[test]
    fn each_body_arrives_once_through_loss() {
        for percent in [1, 5, 20] {
            let mut random = fastrand::Rng::with_seed(percent);
            let mut sent = bodies(500, 100);
            let (mut arrived, figures) = deliver(&sent, || random.u64(0..100) < percent);
            arrived.sort();
            sent.sort();
            assert_eq!(arrived, sent);
            let bound = 500 * percent / 100 * 4 + 10;
            assert!(figures.resent < bound, "{} at {percent} %", figures.resent);
        }
    }

    #[test]
    fn a_packet_has_as_many_tries_within_the_deadline_as_a_heartbeat() {
        let start = crate::testing::start();
        let timing = Profile::Lan.timing();
        let mut rtt = Rtt::default();
        (0..50).for_each(|_| rtt.sample(Duration::from_millis(1)));
        let mut sender = Sender::new(1, rtt, timing);
        sender.number(
            &Bytes::from_static(b"x"),
            Class::Control,
            Urgency::Normal,
            start,
        );
        let mut now = start;
        while now < start + timing.deadline_max {
            sender.handle_timeout(now);
            while sender.transmit(2_000, now, &mut Vec::new()) == Transmitted::Frame {}
            now = sender.poll_timeout().expect("nothing acknowledges it");
        }
        let beats = timing.deadline_max.div_duration_f64(timing.heartbeat);
        assert!(
            sender.figures().sent as f64 >= beats.floor(),
            "{}",
            sender.figures().sent
        );
    }

    #[test]
    fn fragments_join() {
        let mut random = fastrand::Rng::with_seed(1);
        let sent = bodies(3, 60_000);
        let (mut arrived, _) = deliver(&sent, || random.u64(0..100) < 5);
        arrived.sort();
        assert_eq!(arrived, sent);
    }

    #[test]
    fn pieces_that_never_join_are_forgotten() {
        let now = crate::testing::start();
        let mut receiver = Receiver::new(Duration::ZERO, now);
        for sequence in 1..=100_000_u32 {
            // Each says that it is the first of two, which the next one denies.
            let data = Data {
                session: 1,
                sequence,
                class: Class::Update,
                urgency: Urgency::Normal,
                fragment: 0,
                fragments: 2,
                body: Bytes::from_static(b"piece"),
            };
            assert_eq!(receiver.handle_data(data, RTT, now), Received::Nothing);
        }
        assert!(receiver.partial.len() <= 2, "{}", receiver.partial.len());
    }

    #[test]
    fn numbers_go_on_past_four_bytes() {
        let near = (1 << 32) - 2;
        assert_eq!(expand(1, near), (1 << 32) + 1);
        assert_eq!(expand(u32::MAX, near), near + 1);
        assert_eq!(expand(5, 0), 5);
    }
}
