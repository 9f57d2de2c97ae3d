//! Messages that are larger than what the overlay carries in one payload: cut and put together.
//!
//! Chains are never forgotten, so the frontiers in Propose, State and Offer grow by 24 bytes with
//! every life that authored (replication protocol section 7).

use crate::message::Message;
use bytes::{Bytes, BytesMut};
use overlay::{Incarnation, PeerId};
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, VecDeque};

/// Names the message that a part belongs to: a repetition has the same name, so that it fills what
/// was lost of the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PartOf(pub(crate) [u8; 16]);

/// One part of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) of: PartOf,
    pub(crate) index: u16,
    pub(crate) count: u16,
    pub(crate) bytes: Bytes,
}

/// Cuts an encoded message.
pub(crate) fn cut(message: &Bytes) -> Vec<Part> {
    let mut of = [0; 16];
    of.copy_from_slice(&digest(&SHA256, message).as_ref()[..16]);
    let count = message.len().div_ceil(PART_SIZE);
    (0..count)
        .map(|index| Part {
            of: PartOf(of),
            index: index as u16,
            count: count as u16,
            bytes: message.slice(index * PART_SIZE..message.len().min((index + 1) * PART_SIZE)),
        })
        .collect()
}

/// Messages of which parts have come, the latest few of each sender.
#[derive(Debug, Default)]
pub(crate) struct Gathering(BTreeMap<PeerId, VecDeque<Gathered>>);

#[derive(Debug)]
struct Gathered {
    of: PartOf,
    incarnation: Incarnation,
    count: u16,
    parts: BTreeMap<u16, Bytes>,
}

impl Gathering {
    /// Takes a part; the message, if it is complete with it.
    pub(crate) fn take(
        &mut self,
        from: PeerId,
        incarnation: Incarnation,
        part: Part,
    ) -> Option<Message> {
        let count = usize::from(part.count);
        let is_possible = part.index < part.count
            && count * PART_SIZE <= MESSAGE_WHOLE_MAX + PART_SIZE
            && part.bytes.len() <= PART_SIZE;
        if !is_possible {
            return None;
        }
        let messages = self.0.entry(from).or_default();
        let position = messages.iter().position(|message| {
            message.of == part.of
                && message.count == part.count
                && message.incarnation == incarnation
        });
        let position = position.unwrap_or_else(|| {
            if messages.len() == GATHERED_MAX {
                messages.pop_front();
            }
            messages.push_back(Gathered {
                of: part.of,
                incarnation,
                count: part.count,
                parts: BTreeMap::new(),
            });
            messages.len() - 1
        });
        let message = &mut messages[position];
        message.parts.insert(part.index, part.bytes);
        if message.parts.len() < count {
            return None;
        }
        let message = messages.remove(position).expect("it was just there");
        let mut whole = BytesMut::new();
        for bytes in message.parts.values() {
            whole.extend_from_slice(bytes);
        }
        Message::decode_whole(&whole)
    }

    /// Forgets what peers out of reach have begun to say.
    pub(crate) fn retain_peers(&mut self, is_here: impl Fn(PeerId) -> bool) {
        self.0.retain(|peer, _| is_here(*peer));
    }
}

/// Bytes of one part.
const PART_SIZE: usize = 60 * 1024;
/// The largest message that is taken: frontiers of some 700 000 chains.
const MESSAGE_WHOLE_MAX: usize = 16 << 20;
/// Messages of one sender that come at the same time: Propose, State, and Offers.
const GATHERED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Chain;

    const SENDER: PeerId = PeerId([2; 8]);
    const LIFE: Incarnation = Incarnation(1);

    fn message(chains: u64) -> Message {
        let chain = |number| Chain {
            author: SENDER,
            incarnation: Incarnation(number),
        };
        Message::ReseedAsk((1..=chains).map(|number| (chain(number), 1)).collect())
    }

    fn parts(message: &Message) -> Vec<Part> {
        cut(&message.encode_whole())
    }

    #[test]
    fn parts_make_the_message_in_any_order_and_repetitions_fill_gaps() {
        let whole = message(10_000);
        let parts = parts(&whole);
        assert_eq!(parts.len(), 4);
        let mut gathering = Gathering::default();
        let mut take = |index: usize| gathering.take(SENDER, LIFE, parts[index].clone());
        assert_eq!(take(3), None);
        assert_eq!(take(0), None);
        assert_eq!(take(0), None);
        assert_eq!(take(2), None);
        assert_eq!(take(1), Some(whole));
        assert!(gathering.0[&SENDER].is_empty());
    }

    #[test]
    fn parts_of_other_messages_and_lives_are_not_mixed_and_have_a_bound() {
        let mut gathering = Gathering::default();
        let whole = message(4_000);
        let parts = parts(&whole);
        assert_eq!(gathering.take(SENDER, LIFE, parts[0].clone()), None);
        assert_eq!(
            gathering.take(SENDER, Incarnation(2), parts[1].clone()),
            None
        );
        for chains in 5_000..5_010 {
            let other = cut(&message(chains).encode_whole());
            assert_eq!(gathering.take(SENDER, LIFE, other[0].clone()), None);
        }
        assert_eq!(gathering.0[&SENDER].len(), GATHERED_MAX);
        // The first was forgotten for them.
        assert_eq!(gathering.take(SENDER, LIFE, parts[1].clone()), None);
        for (index, count) in [(2, 2), (0, 0), (0, u16::MAX)] {
            let bad = Part {
                index,
                count,
                ..parts[0].clone()
            };
            assert_eq!(gathering.take(SENDER, LIFE, bad), None);
        }
        gathering.retain_peers(|_| false);
        assert!(gathering.0.is_empty());
    }
}
