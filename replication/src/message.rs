//! What replicas say to each other (replication protocol section 3).
//!
//! ```text
//! version u8, cluster 16, sender 8, incarnation 8, kind u8, fields
//! ```

use crate::entry::{BlobHash, Chain, Entry, Hybrid, Stamp, take_array};
use crate::frontier::{Frontier, SEQUENCE_MAX, decode_chains, encode_chains};
use crate::near::{Set, decode_set, encode_set};
use crate::parts::{self, Part, PartOf};
use crate::settling_view::SettlingViewId;
use bytes::{Buf, BufMut, Bytes};
use overlay::{ClusterId, Incarnation, PeerId};
use std::sync::Arc;
use std::time::Duration;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Entries {
        entries: Vec<Arc<Entry>>,
        end: RunEnd,
    },
    Announce(Announce),
    Propose(Propose),
    State(State),
    Fetch {
        chain: Chain,
        from: u64,
        to: u64,
    },
    Offer {
        known: Known,
        ask: Ask,
    },
    BlobOffer {
        hash: BlobHash,
        size: u64,
    },
    BlobHeld(BlobHash),
    /// Your eviction is settled here.
    Evicted,
    /// I was told that I am evicted: is it so?
    ReseedAsk(Frontier),
    /// No such eviction is known here: go on.
    NotEvicted,
    /// A part of one that is too large for one payload.
    Part(Part),
}

/// Receipts and clock in one (section 6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Announce {
    pub(crate) view: SettlingViewId,
    pub(crate) clock: Hybrid,
    /// The sender's last own sequence.
    pub(crate) last: u64,
    /// What is durable at the sender above the base of the view.
    pub(crate) durable: Frontier,
    /// The clock that the sender waits for; zero if for none.
    pub(crate) wanted: Hybrid,
    pub(crate) wall: Duration,
}

/// With whom the sender wants to settle (section 4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Propose {
    pub(crate) attempt: u64,
    pub(crate) set: Set,
    pub(crate) stable: Prefix,
    pub(crate) known: Known,
}

/// Everything at or below a stable mark, in short: equal stamps mean equal prefixes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prefix {
    pub(crate) stamp: Stamp,
    pub(crate) position: u64,
    pub(crate) digest: [u8; 32],
}

/// What a member brings into a view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) view: SettlingViewId,
    pub(crate) stated: Frontier,
    pub(crate) greatest: Stamp,
    pub(crate) promised: Hybrid,
    pub(crate) answer: Answer,
}

/// The three frontiers that say what a peer has (section 1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Known {
    pub(crate) stated: Frontier,
    pub(crate) held: Frontier,
    pub(crate) start: Frontier,
}

/// Whether the receiver of a State shall send its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Wanted,
    NotWanted,
}

/// Whether the receiver of an Offer shall send what the sender lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Entries,
    Nothing,
}

/// What follows after a run of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RunEnd {
    /// Nothing is known to follow.
    Complete,
    /// The budget cut the run: ask again.
    Cut,
}

/// A message with who sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Envelope {
    pub(crate) cluster: ClusterId,
    pub(crate) sender: PeerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) message: Message,
}

impl Envelope {
    /// The payloads that carry it: one, or its parts.
    pub(crate) fn payloads(self) -> Vec<Bytes> {
        let whole = self.encode();
        if whole.len() <= MESSAGE_SIZE_MAX {
            return vec![whole];
        }
        let parts = parts::cut(&self.message.encode_whole());
        let payload = |part| {
            let message = Message::Part(part);
            Self { message, ..self }.encode()
        };
        parts.into_iter().map(payload).collect()
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        out.put_u8(VERSION);
        out.put_slice(&self.cluster.0);
        out.put_slice(&self.sender.0);
        out.put_u64(self.incarnation.0);
        self.message.encode(&mut out);
        out.into()
    }

    /// None if it is malformed or of another version.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        if bytes.len() > MESSAGE_SIZE_MAX || bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let envelope = Self {
            cluster: ClusterId(take_array(bytes)?),
            sender: PeerId(take_array(bytes)?),
            incarnation: Incarnation(bytes.try_get_u64().ok()?),
            message: Message::decode(bytes)?,
        };
        bytes.is_empty().then_some(envelope)
    }
}

impl Message {
    pub(crate) fn encode_whole(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.into()
    }

    /// None if it is malformed, or itself a part.
    pub(crate) fn decode_whole(mut bytes: &[u8]) -> Option<Self> {
        let message = Self::decode(&mut bytes)?;
        (bytes.is_empty() && !matches!(message, Self::Part(_))).then_some(message)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entries { entries, end } => {
                out.put_u8(0);
                out.put_u8(u8::from(*end == RunEnd::Cut));
                out.put_u16(entries.len() as u16);
                for entry in entries {
                    entry.encode(out);
                }
            }
            Self::Announce(announce) => {
                out.put_u8(1);
                out.put_slice(&announce.view.0);
                out.put_u64(announce.clock.0);
                out.put_u64(announce.last);
                announce.durable.encode(out);
                out.put_u64(announce.wanted.0);
                out.put_u64(announce.wall.as_millis() as u64);
            }
            Self::Propose(propose) => {
                out.put_u8(2);
                out.put_u64(propose.attempt);
                encode_set(&propose.set, out);
                propose.stable.encode(out);
                propose.known.encode(out);
            }
            Self::State(state) => {
                out.put_u8(3);
                out.put_slice(&state.view.0);
                state.stated.encode(out);
                state.greatest.encode(out);
                out.put_u64(state.promised.0);
                out.put_u8(u8::from(state.answer == Answer::Wanted));
            }
            Self::Fetch { chain, from, to } => {
                out.put_u8(4);
                chain.encode(out);
                out.put_u64(*from);
                out.put_u64(*to);
            }
            Self::Offer { known, ask } => {
                out.put_u8(5);
                known.encode(out);
                out.put_u8(u8::from(*ask == Ask::Entries));
            }
            Self::BlobOffer { hash, size } => {
                out.put_u8(6);
                out.put_slice(&hash.0);
                out.put_u64(*size);
            }
            Self::BlobHeld(hash) => {
                out.put_u8(7);
                out.put_slice(&hash.0);
            }
            Self::Evicted => out.put_u8(8),
            Self::ReseedAsk(stated) => {
                out.put_u8(9);
                stated.encode(out);
            }
            Self::NotEvicted => out.put_u8(10),
            Self::Part(part) => {
                out.put_u8(11);
                out.put_slice(&part.of.0);
                out.put_u16(part.index);
                out.put_u16(part.count);
                out.put_u32(part.bytes.len() as u32);
                out.put_slice(&part.bytes);
            }
        }
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(match bytes.try_get_u8().ok()? {
            0 => {
                let end = if take_flag(bytes)? {
                    RunEnd::Cut
                } else {
                    RunEnd::Complete
                };
                let count = bytes.try_get_u16().ok()?;
                let entries = (0..count)
                    .map(|_| Entry::decode(bytes).map(Arc::new))
                    .collect::<Option<Vec<_>>>()?;
                Self::Entries { entries, end }
            }
            1 => Self::Announce(Announce {
                view: SettlingViewId(take_array(bytes)?),
                clock: Hybrid(bytes.try_get_u64().ok()?),
                last: bytes
                    .try_get_u64()
                    .ok()
                    .filter(|last| *last <= SEQUENCE_MAX)?,
                durable: Frontier::decode(bytes)?,
                wanted: Hybrid(bytes.try_get_u64().ok()?),
                wall: Duration::from_millis(bytes.try_get_u64().ok()?),
            }),
            2 => Self::Propose(Propose {
                attempt: bytes.try_get_u64().ok()?,
                set: decode_set(bytes)?,
                stable: Prefix::decode(bytes)?,
                known: Known::decode(bytes)?,
            }),
            3 => Self::State(State {
                view: SettlingViewId(take_array(bytes)?),
                stated: Frontier::decode(bytes)?,
                greatest: Stamp::decode(bytes)?,
                promised: Hybrid(bytes.try_get_u64().ok()?),
                answer: if take_flag(bytes)? {
                    Answer::Wanted
                } else {
                    Answer::NotWanted
                },
            }),
            4 => Self::Fetch {
                chain: Chain::decode(bytes)?,
                from: bytes.try_get_u64().ok()?,
                to: bytes.try_get_u64().ok()?,
            },
            5 => Self::Offer {
                known: Known::decode(bytes)?,
                ask: if take_flag(bytes)? {
                    Ask::Entries
                } else {
                    Ask::Nothing
                },
            },
            6 => Self::BlobOffer {
                hash: BlobHash(take_array(bytes)?),
                size: bytes.try_get_u64().ok()?,
            },
            7 => Self::BlobHeld(BlobHash(take_array(bytes)?)),
            8 => Self::Evicted,
            9 => Self::ReseedAsk(Frontier::decode(bytes)?),
            10 => Self::NotEvicted,
            11 => {
                let of = PartOf(take_array(bytes)?);
                let (index, count) = (bytes.try_get_u16().ok()?, bytes.try_get_u16().ok()?);
                let size = bytes.try_get_u32().ok()? as usize;
                let part = bytes.get(..size)?;
                let part = Bytes::copy_from_slice(part);
                bytes.advance(size);
                Self::Part(Part {
                    of,
                    index,
                    count,
                    bytes: part,
                })
            }
            _ => return None,
        })
    }
}

impl Known {
    /// Held and start frontiers differ from the stated one in few chains: only those travel.
    fn encode(&self, out: &mut Vec<u8>) {
        self.stated.encode(out);
        encode_chains(&self.held.difference(&self.stated), out);
        encode_chains(&self.start.difference(&self.stated), out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let stated = Frontier::decode(bytes)?;
        let held = stated.with(&decode_chains(bytes)?);
        let start = stated.with(&decode_chains(bytes)?);
        Some(Self {
            stated,
            held,
            start,
        })
    }
}

impl Prefix {
    pub(crate) const EMPTY: Self = Self {
        stamp: Stamp::ZERO,
        position: 0,
        digest: [0; 32],
    };

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.stamp.encode(out);
        out.put_u64(self.position);
        out.put_slice(&self.digest);
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            stamp: Stamp::decode(bytes)?,
            position: bytes.try_get_u64().ok()?,
            digest: take_array(bytes)?,
        })
    }

    /// This prefix and one more entry.
    pub(crate) fn extend(&mut self, entry: &Entry) {
        let mut bytes = self.digest.to_vec();
        entry.encode(&mut bytes);
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        self.digest.copy_from_slice(digest.as_ref());
        self.position += 1;
    }
}

fn take_flag(bytes: &mut &[u8]) -> Option<bool> {
    match bytes.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

const VERSION: u8 = 1;
/// What the overlay carries in one payload.
pub(crate) const MESSAGE_SIZE_MAX: usize = 68 * 1024;
/// A run of entries is cut into messages of about this size; one large entry may exceed it.
pub(crate) const RUN_MESSAGE_SIZE: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Body;
    use proptest::prelude::*;

    fn check(message: Message) {
        let envelope = Envelope {
            cluster: ClusterId([1; 16]),
            sender: PeerId([2; 8]),
            incarnation: Incarnation(3),
            message,
        };
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(&bytes), Some(envelope));
        for cut in 0..bytes.len() {
            assert_eq!(Envelope::decode(&bytes[..cut]), None);
        }
    }

    #[test]
    fn every_message_reads_back_and_no_prefix_of_it_does() {
        let chain = Chain {
            author: PeerId([2; 8]),
            incarnation: Incarnation(3),
        };
        let stated: Frontier = [(chain, 9)].into_iter().collect();
        let stamp = Stamp {
            hybrid: Hybrid(8),
            author: chain.author,
        };
        let known = Known {
            stated: stated.clone(),
            held: [(chain, 11)].into_iter().collect(),
            start: Frontier::default(),
        };
        check(Message::Entries {
            entries: vec![Arc::new(Entry {
                chain,
                sequence: 1,
                hybrid: Hybrid(5),
                digest: None,
                blobs: vec![BlobHash([1; 32])],
                body: Body::Data(Bytes::from_static(b"body")),
            })],
            end: RunEnd::Cut,
        });
        check(Message::Announce(Announce {
            view: SettlingViewId([4; 16]),
            clock: Hybrid(5),
            last: 6,
            durable: stated.clone(),
            wanted: Hybrid(0),
            wall: Duration::from_millis(7),
        }));
        check(Message::Propose(Propose {
            attempt: 1,
            set: [(chain.author, chain.incarnation)].into(),
            stable: Prefix::EMPTY,
            known: known.clone(),
        }));
        check(Message::State(State {
            view: SettlingViewId([4; 16]),
            stated: stated.clone(),
            greatest: stamp,
            promised: Hybrid(9),
            answer: Answer::Wanted,
        }));
        check(Message::Fetch {
            chain,
            from: 1,
            to: 2,
        });
        check(Message::Offer {
            known,
            ask: Ask::Entries,
        });
        check(Message::BlobOffer {
            hash: BlobHash([1; 32]),
            size: 5,
        });
        check(Message::BlobHeld(BlobHash([1; 32])));
        check(Message::Evicted);
        check(Message::ReseedAsk(stated));
        check(Message::NotEvicted);
        check(Message::Part(Part {
            of: PartOf([1; 16]),
            index: 0,
            count: 2,
            bytes: Bytes::from_static(b"part"),
        }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::decode(&bytes);
            let _ = Message::decode(&mut &bytes[..]);
        }
    }
}
