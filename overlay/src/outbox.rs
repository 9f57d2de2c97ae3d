//! What waits to be sent to one neighbor: control first, then updates, then bulk
//! (overlay protocol section 7).
//!
//! Multicast messages and states are references: into the store, which the source's window
//! bounds, and into the table of states, of which the newest goes out. Sources take turns within
//! a class, so nobody in the middle ever blocks.

use crate::event::{Class, StateKind};
use crate::multicast::Life;
use crate::packet::Urgency;
use crate::peer_id::PeerId;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// Unicast payloads that wait for one link; more are dropped, as every user of them repeats.
const UNICAST_SIZE_MAX: usize = 8 << 20;

/// The queues of one link.
#[derive(Default)]
pub(crate) struct Outbox {
    control: VecDeque<Item>,
    /// Words that the neighbor most likely gets from another: they go along with the next packet.
    second: Vec<(PeerId, StateKind)>,
    /// When they go without one.
    second_due: Option<Instant>,
    states: BTreeSet<(PeerId, StateKind)>,
    messages: BTreeMap<(Class, Life), VecDeque<u64>>,
    unicast: BTreeMap<Class, VecDeque<Bytes>>,
    unicast_size: usize,
    /// Whose turn was last, for each class.
    turns: BTreeMap<Class, Life>,
    control_pushed: u64,
    control_taken: u64,
}

/// Something to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    /// An encoded body.
    Body(Bytes, Class, Urgency),
    /// The newest word of a peer, of one kind.
    State(PeerId, StateKind),
    /// A message of the store.
    Message(Life, u64),
}

/// Whether there was room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Queued {
    Yes,
    Dropped,
}

impl Outbox {
    /// A body of the overlay itself: a summary, a pull.
    pub(crate) fn push_control(&mut self, body: Bytes) {
        self.push(Item::Body(body, Class::Control, Urgency::Normal));
    }

    pub(crate) fn push_state(&mut self, peer: PeerId, kind: StateKind) {
        if self.states.insert((peer, kind)) {
            self.push(Item::State(peer, kind));
        }
    }

    /// A word that the neighbor most likely has from another: it goes with the next packet, or
    /// alone once this time has come.
    pub(crate) fn push_second(&mut self, peer: PeerId, kind: StateKind, due: Instant) {
        if !self.states.contains(&(peer, kind)) && !self.second.contains(&(peer, kind)) {
            self.second.push((peer, kind));
            self.second_due.get_or_insert(due);
        }
    }

    /// A packet goes out: those that wait for one go with it.
    pub(crate) fn take_along(&mut self) {
        self.second_due = None;
        for (peer, kind) in std::mem::take(&mut self.second) {
            self.push_state(peer, kind);
        }
    }

    /// When those that wait for a packet go without one.
    pub(crate) fn second_due(&self) -> Option<Instant> {
        self.second_due
    }

    pub(crate) fn push_message(&mut self, class: Class, life: Life, sequence: u64) {
        let queue = self.messages.entry((class, life)).or_default();
        if !queue.contains(&sequence) {
            queue.push_back(sequence);
        }
    }

    pub(crate) fn push_unicast(&mut self, class: Class, body: Bytes) -> Queued {
        if self.unicast_size + body.len() > UNICAST_SIZE_MAX {
            return Queued::Dropped;
        }
        self.unicast_size += body.len();
        self.unicast.entry(class).or_default().push_back(body);
        Queued::Yes
    }

    /// The neighbor has this message from elsewhere.
    pub(crate) fn remove_message(&mut self, class: Class, life: Life, sequence: u64) {
        if let Some(queue) = self.messages.get_mut(&(class, life)) {
            queue.retain(|queued| *queued != sequence);
        }
    }

    /// The next item of a class that may be sent at present.
    pub(crate) fn pop(&mut self, may_send: impl Fn(Class) -> bool) -> Option<Item> {
        if may_send(Class::Control)
            && let Some(item) = self.control.pop_front()
        {
            self.control_taken += 1;
            if let Item::State(peer, kind) = &item {
                self.states.remove(&(*peer, *kind));
            }
            return Some(item);
        }
        for class in [Class::Control, Class::Update, Class::Bulk] {
            if !may_send(class) {
                continue;
            }
            if let Some(body) = self.unicast.get_mut(&class).and_then(VecDeque::pop_front) {
                self.unicast_size -= body.len();
                return Some(Item::Body(body, class, Urgency::Normal));
            }
            if let Some(item) = self.pop_message(class) {
                return Some(item);
            }
        }
        None
    }

    /// True if something of this class waits.
    pub(crate) fn has(&self, class: Class) -> bool {
        let mut messages = self.messages.iter();
        let unicast = self.unicast.get(&class);
        (class == Class::Control && !self.control.is_empty())
            || unicast.is_some_and(|queue| !queue.is_empty())
            || messages.any(|((of, _), queue)| *of == class && !queue.is_empty())
    }

    /// How many items of control were pushed so far.
    pub(crate) fn pushed(&self) -> u64 {
        self.control_pushed
    }

    /// How many of them were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.control_taken
    }

    fn push(&mut self, item: Item) {
        self.control_pushed += 1;
        self.control.push_back(item);
    }

    fn pop_message(&mut self, class: Class) -> Option<Item> {
        loop {
            let turn = self.turns.get(&class).copied();
            let mut lives = self.messages.keys().filter(|(of, _)| *of == class);
            let next = lives.find(|(_, life)| Some(*life) > turn);
            let next = next.or_else(|| self.messages.keys().find(|(of, _)| *of == class));
            let (_, life) = *next?;
            self.turns.insert(class, life);
            match self.messages.get_mut(&(class, life))?.pop_front() {
                Some(sequence) => return Some(Item::Message(life, sequence)),
                None => self.messages.remove(&(class, life)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_id::Incarnation;

    fn life(n: u8) -> Life {
        (PeerId([n; 8]), Incarnation(1))
    }

    #[test]
    fn control_goes_first_and_sources_take_turns() {
        let mut outbox = Outbox::default();
        for sequence in [1, 2, 2] {
            outbox.push_message(Class::Update, life(1), sequence);
            outbox.push_message(Class::Update, life(2), sequence);
        }
        outbox.push_state(PeerId([1; 8]), StateKind(0));
        outbox.push_state(PeerId([1; 8]), StateKind(0));
        let order: Vec<_> = std::iter::from_fn(|| outbox.pop(|_| true)).collect();
        let expected = [
            Item::State(PeerId([1; 8]), StateKind(0)),
            Item::Message(life(1), 1),
            Item::Message(life(2), 1),
            Item::Message(life(1), 2),
            Item::Message(life(2), 2),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn unicast_has_a_bound() {
        let mut outbox = Outbox::default();
        let body = Bytes::from(vec![0; UNICAST_SIZE_MAX]);
        assert_eq!(outbox.push_unicast(Class::Bulk, body), Queued::Yes);
        let more = Bytes::from_static(b"x");
        assert_eq!(
            outbox.push_unicast(Class::Control, more.clone()),
            Queued::Dropped
        );
        assert!(outbox.pop(|class| class != Class::Bulk).is_none());
        assert!(outbox.pop(|_| true).is_some());
        assert_eq!(outbox.push_unicast(Class::Control, more), Queued::Yes);
    }
}
