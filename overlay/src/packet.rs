//! Frames of a link datagram and the bodies that they carry: fields, encoding, limits
//! (overlay protocol section 2).
//!
//! ```text
//! datagram = frame*      frame = kind u8, length u16, fields      (unknown kinds are skipped)
//! DATA: session u32, sequence u32, class, flags, fragment i of n, body ≤ 1 088 bytes
//! ACK:  own session, session acknowledged, cumulative, bitmap, asked now, newest, waited µs
//! body = kind u8, fields  (whole again after its fragments are joined)
//! ```
//! All integers are big-endian. Signed bodies are in `signed.rs`; here nothing is verified.

use crate::event::{Class, Standing, StateKind};
use crate::peer_id::{Incarnation, PeerId};
use crate::view::ViewId;
use bytes::{Buf, BufMut, Bytes};
use std::time::Duration;

/// Most bytes of a body in one DATA frame: with its header it fits when the MTU falls to 1 200.
pub(crate) const FRAGMENT_SIZE: usize = 1_088;
/// Most fragments of one body.
pub(crate) const FRAGMENTS_MAX: usize = 64;
/// Largest body.
pub(crate) const BODY_SIZE_MAX: usize = FRAGMENT_SIZE * FRAGMENTS_MAX;
/// Most sources of one SUMMARY.
pub(crate) const SUMMARY_MAX: usize = 256;
/// Most sequences of one PULL.
pub(crate) const PULL_MAX: usize = 64;
/// Most hops of a message: longer than any sensible path, so a loop of wrong routes ends.
pub(crate) const HOPS_MAX: u8 = 16;
/// Bytes before the body of a DATA frame.
pub(crate) const DATA_HEADER_SIZE: usize = 15;
/// Bytes of an ACK frame.
pub(crate) const ACK_SIZE: usize = 39;

const FRAME_DATA: u8 = 1;
const FRAME_ACK: u8 = 2;
const FLAG_URGENT: u8 = 1;

/// One frame of a link datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    Data(Data),
    Ack(Ack),
}

/// A body, or a fragment of one, on one hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Data {
    pub(crate) session: u32,
    pub(crate) sequence: u32,
    pub(crate) class: Class,
    pub(crate) urgency: Urgency,
    pub(crate) fragment: u8,
    pub(crate) fragments: u8,
    pub(crate) body: Bytes,
}

/// Whether an acknowledgement may wait for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    Normal,
    Urgent,
}

/// What came, what is missing and what is wanted again now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ack {
    /// The sender's own session, zero if it has none.
    pub(crate) session: u32,
    /// The session whose packets are acknowledged.
    pub(crate) of_session: u32,
    /// All up to here came.
    pub(crate) cumulative: u32,
    /// Bit i: `cumulative + 1 + i` came.
    pub(crate) beyond: u64,
    /// Bit i: `cumulative + 1 + i` is missing and wanted again. A hole in `beyond` is no request.
    pub(crate) asked: u64,
    /// The packet that came last, from which the round trip is measured.
    pub(crate) newest: u32,
    /// How long its acknowledgement waited here, in microseconds.
    pub(crate) waited: u32,
}

impl Data {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(FRAME_DATA);
        out.put_u16((DATA_HEADER_SIZE - 3 + self.body.len()) as u16);
        out.put_u32(self.session);
        out.put_u32(self.sequence);
        out.put_u8(self.class as u8);
        out.put_u8(match self.urgency {
            Urgency::Normal => 0,
            Urgency::Urgent => FLAG_URGENT,
        });
        out.put_u8(self.fragment);
        out.put_u8(self.fragments);
        out.put_slice(&self.body);
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let data = Self {
            session: bytes.try_get_u32().ok()?,
            sequence: bytes.try_get_u32().ok()?,
            class: class(bytes.try_get_u8().ok()?)?,
            urgency: match bytes.try_get_u8().ok()? & FLAG_URGENT {
                0 => Urgency::Normal,
                _ => Urgency::Urgent,
            },
            fragment: bytes.try_get_u8().ok()?,
            fragments: bytes.try_get_u8().ok()?,
            body: bytes,
        };
        let fits = data.fragment < data.fragments
            && usize::from(data.fragments) <= FRAGMENTS_MAX
            && data.body.len() <= FRAGMENT_SIZE;
        fits.then_some(data)
    }
}

impl Ack {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(FRAME_ACK);
        out.put_u16((ACK_SIZE - 3) as u16);
        out.put_u32(self.session);
        out.put_u32(self.of_session);
        out.put_u32(self.cumulative);
        out.put_u64(self.beyond);
        out.put_u64(self.asked);
        out.put_u32(self.newest);
        out.put_u32(self.waited);
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        Some(Self {
            session: bytes.try_get_u32().ok()?,
            of_session: bytes.try_get_u32().ok()?,
            cumulative: bytes.try_get_u32().ok()?,
            beyond: bytes.try_get_u64().ok()?,
            asked: bytes.try_get_u64().ok()?,
            newest: bytes.try_get_u32().ok()?,
            waited: bytes.try_get_u32().ok()?,
        })
    }
}

/// The frames of a datagram; none if it is malformed.
pub(crate) fn decode_frames(mut datagram: Bytes) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    while datagram.has_remaining() {
        let kind = datagram.try_get_u8().ok()?;
        let size = usize::from(datagram.try_get_u16().ok()?);
        if datagram.len() < size {
            return None;
        }
        let fields = datagram.split_to(size);
        match kind {
            FRAME_DATA => frames.push(Frame::Data(Data::decode(fields)?)),
            FRAME_ACK => frames.push(Frame::Ack(Ack::decode(fields)?)),
            _ => {}
        }
    }
    Some(frames)
}

/// What a DATA frame, or several, carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    State(StateBody),
    Multicast(Multicast),
    Unicast(Unicast),
    Summary(Vec<SummaryRow>),
    Pull(Pull),
}

/// A peer's newest word of a kind; kind 0 is its link state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StateBody {
    pub(crate) kind: StateKind,
    pub(crate) peer: PeerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) edition: u64,
    pub(crate) signature: [u8; 64],
    pub(crate) content: Bytes,
}

/// A message to all members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Multicast {
    pub(crate) group: u16,
    pub(crate) class: Class,
    pub(crate) source: PeerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) sequence: u64,
    pub(crate) gone_below: u64,
    pub(crate) hops: u8,
    pub(crate) signature: [u8; 64],
    pub(crate) payload: Bytes,
}

/// A payload to one peer, over any hops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unicast {
    pub(crate) source: PeerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) destination: PeerId,
    pub(crate) sequence: u64,
    pub(crate) hops: u8,
    pub(crate) class: Class,
    pub(crate) purpose: Purpose,
    pub(crate) payload: Bytes,
}

/// Whose a unicast payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The peer's above.
    Payload,
    /// A [`SourceAck`].
    SourceAck,
}

/// All up to `prefix` of the chain of the destination came here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SourceAck {
    pub(crate) incarnation: Incarnation,
    pub(crate) prefix: u64,
}

/// What the sender of a SUMMARY has of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SummaryRow {
    pub(crate) source: PeerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) prefix: u64,
    /// Bit i: `prefix + 1 + i` came.
    pub(crate) beyond: u64,
    /// The source's word: nobody needs to keep what is below.
    pub(crate) gone_below: u64,
    /// The sender's own: below this it keeps none, though others may.
    pub(crate) kept_from: u64,
}

/// Messages wanted from a neighbor that says it has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pull {
    pub(crate) source: PeerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) sequences: Vec<u64>,
}

const BODY_STATE: u8 = 1;
const BODY_MULTICAST: u8 = 2;
const BODY_UNICAST: u8 = 3;
const BODY_SUMMARY: u8 = 4;
const BODY_PULL: u8 = 5;

impl Body {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::State(state) => {
                out.reserve(state.content.len() + 128);
                out.put_u8(BODY_STATE);
                out.put_u8(state.kind.0);
                put_life(state.peer, state.incarnation, &mut out);
                out.put_u64(state.edition);
                out.put_slice(&state.signature);
                out.put_slice(&state.content);
            }
            Self::Multicast(message) => {
                out.reserve(message.payload.len() + 128);
                out.put_u8(BODY_MULTICAST);
                out.put_u8(message.hops);
                out.put_u16(message.group);
                out.put_u8(message.class as u8);
                put_life(message.source, message.incarnation, &mut out);
                out.put_u64(message.sequence);
                out.put_u64(message.gone_below);
                out.put_slice(&message.signature);
                out.put_slice(&message.payload);
            }
            Self::Unicast(message) => {
                out.reserve(message.payload.len() + 64);
                out.put_u8(BODY_UNICAST);
                out.put_u8(message.hops);
                put_life(message.source, message.incarnation, &mut out);
                out.put_slice(&message.destination.0);
                out.put_u64(message.sequence);
                out.put_u8(message.class as u8);
                out.put_u8(match message.purpose {
                    Purpose::Payload => 0,
                    Purpose::SourceAck => 1,
                });
                out.put_slice(&message.payload);
            }
            Self::Summary(rows) => {
                out.put_u8(BODY_SUMMARY);
                out.put_u16(rows.len() as u16);
                for row in rows {
                    put_life(row.source, row.incarnation, &mut out);
                    out.put_u64(row.prefix);
                    out.put_u64(row.beyond);
                    out.put_u64(row.gone_below);
                    out.put_u64(row.kept_from);
                }
            }
            Self::Pull(pull) => {
                out.put_u8(BODY_PULL);
                put_life(pull.source, pull.incarnation, &mut out);
                out.put_u8(pull.sequences.len() as u8);
                pull.sequences.iter().for_each(|s| out.put_u64(*s));
            }
        }
        assert!(
            out.len() <= BODY_SIZE_MAX,
            "payloads are checked where they come in"
        );
        out.into()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        match bytes.try_get_u8().ok()? {
            BODY_STATE => {
                let kind = StateKind(bytes.try_get_u8().ok()?);
                let (peer, incarnation) = get_life(&mut bytes)?;
                Some(Self::State(StateBody {
                    kind,
                    peer,
                    incarnation,
                    edition: bytes.try_get_u64().ok()?,
                    signature: get_array(&mut bytes)?,
                    content: bytes,
                }))
            }
            BODY_MULTICAST => {
                let hops = bytes.try_get_u8().ok()?;
                let group = bytes.try_get_u16().ok()?;
                let class = class(bytes.try_get_u8().ok()?)?;
                let (source, incarnation) = get_life(&mut bytes)?;
                let sequence = bytes.try_get_u64().ok()?;
                let gone_below = bytes.try_get_u64().ok()?;
                let is_possible = gone_below <= sequence && sequence > 0 && sequence < u64::MAX;
                is_possible.then_some(())?;
                Some(Self::Multicast(Multicast {
                    group,
                    class,
                    source,
                    incarnation,
                    sequence,
                    gone_below,
                    hops,
                    signature: get_array(&mut bytes)?,
                    payload: bytes,
                }))
            }
            BODY_UNICAST => {
                let hops = bytes.try_get_u8().ok()?;
                let (source, incarnation) = get_life(&mut bytes)?;
                Some(Self::Unicast(Unicast {
                    source,
                    incarnation,
                    destination: PeerId(get_array(&mut bytes)?),
                    sequence: bytes.try_get_u64().ok()?,
                    hops,
                    class: class(bytes.try_get_u8().ok()?)?,
                    purpose: match bytes.try_get_u8().ok()? {
                        0 => Purpose::Payload,
                        1 => Purpose::SourceAck,
                        _ => return None,
                    },
                    payload: bytes,
                }))
            }
            BODY_SUMMARY => {
                let count = usize::from(bytes.try_get_u16().ok()?);
                if count > SUMMARY_MAX {
                    return None;
                }
                let rows = (0..count).map(|_| {
                    let (source, incarnation) = get_life(&mut bytes)?;
                    let row = SummaryRow {
                        source,
                        incarnation,
                        prefix: bytes.try_get_u64().ok()?,
                        beyond: bytes.try_get_u64().ok()?,
                        gone_below: bytes.try_get_u64().ok()?,
                        kept_from: bytes.try_get_u64().ok()?,
                    };
                    let is_possible = row.prefix < u64::MAX - 64
                        && row.gone_below <= row.kept_from
                        && row.kept_from <= row.prefix + 1;
                    is_possible.then_some(row)
                });
                rows.collect::<Option<_>>().map(Self::Summary)
            }
            BODY_PULL => {
                let (source, incarnation) = get_life(&mut bytes)?;
                let count = usize::from(bytes.try_get_u8().ok()?);
                if count > PULL_MAX {
                    return None;
                }
                let sequences = (0..count).map(|_| bytes.try_get_u64().ok());
                Some(Self::Pull(Pull {
                    source,
                    incarnation,
                    sequences: sequences.collect::<Option<_>>()?,
                }))
            }
            _ => None,
        }
    }
}

impl SourceAck {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(16);
        out.put_u64(self.incarnation.0);
        out.put_u64(self.prefix);
        out.into()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        Some(Self {
            incarnation: Incarnation(bytes.try_get_u64().ok()?),
            prefix: bytes.try_get_u64().ok()?,
        })
    }
}

/// A datagram of a beat connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BeatPacket {
    Heartbeat(Heartbeat),
    Ping(u64),
    Pong(u64),
}

/// I live, and whom I hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Heartbeat {
    /// The receiver's nonce of the link it belongs to.
    pub(crate) nonce: [u8; 16],
    pub(crate) incarnation: Incarnation,
    /// The receiver's life that the sender hears; zero: none.
    pub(crate) hears: Incarnation,
    pub(crate) sequence: u64,
    /// The receiver's heartbeat that came last here, and how long ago.
    pub(crate) echo: u64,
    pub(crate) waited: Duration,
    pub(crate) view: ViewId,
    pub(crate) view_size: u16,
    pub(crate) tick: u64,
    pub(crate) standing: Standing,
}

const BEAT_HEARTBEAT: u8 = 1;
const BEAT_PING: u8 = 2;
const BEAT_PONG: u8 = 3;

impl BeatPacket {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(80);
        match self {
            Self::Heartbeat(beat) => {
                out.put_u8(BEAT_HEARTBEAT);
                out.put_slice(&beat.nonce);
                out.put_u64(beat.incarnation.0);
                out.put_u64(beat.hears.0);
                out.put_u64(beat.sequence);
                out.put_u64(beat.echo);
                out.put_u32(beat.waited.as_micros().min(u128::from(u32::MAX)) as u32);
                out.put_u64(beat.view.0);
                out.put_u16(beat.view_size);
                out.put_u64(beat.tick);
                out.put_u8(u8::from(beat.standing == Standing::Yes));
            }
            Self::Ping(nonce) => {
                out.put_u8(BEAT_PING);
                out.put_u64(*nonce);
            }
            Self::Pong(nonce) => {
                out.put_u8(BEAT_PONG);
                out.put_u64(*nonce);
            }
        }
        out.into()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        match bytes.try_get_u8().ok()? {
            BEAT_HEARTBEAT => Some(Self::Heartbeat(Heartbeat {
                nonce: get_array(&mut bytes)?,
                incarnation: Incarnation(bytes.try_get_u64().ok()?),
                hears: Incarnation(bytes.try_get_u64().ok()?),
                sequence: bytes.try_get_u64().ok()?,
                echo: bytes.try_get_u64().ok()?,
                waited: Duration::from_micros(u64::from(bytes.try_get_u32().ok()?)),
                view: ViewId(bytes.try_get_u64().ok()?),
                view_size: bytes.try_get_u16().ok()?,
                tick: bytes.try_get_u64().ok()?,
                standing: match bytes.try_get_u8().ok()? {
                    0 => Standing::No,
                    1 => Standing::Yes,
                    _ => return None,
                },
            })),
            BEAT_PING => Some(Self::Ping(bytes.try_get_u64().ok()?)),
            BEAT_PONG => Some(Self::Pong(bytes.try_get_u64().ok()?)),
            _ => None,
        }
    }
}

/// Appends a peer and its life.
pub(crate) fn put_life(peer: PeerId, incarnation: Incarnation, out: &mut Vec<u8>) {
    out.put_slice(&peer.0);
    out.put_u64(incarnation.0);
}

/// Reads what [`put_life`] wrote.
pub(crate) fn get_life(bytes: &mut impl Buf) -> Option<(PeerId, Incarnation)> {
    let peer = PeerId(get_array(bytes)?);
    Some((peer, Incarnation(bytes.try_get_u64().ok()?)))
}

/// Reads a fixed number of bytes.
pub(crate) fn get_array<const N: usize>(bytes: &mut impl Buf) -> Option<[u8; N]> {
    let mut array = [0; N];
    bytes.try_copy_to_slice(&mut array).ok()?;
    Some(array)
}

fn class(number: u8) -> Option<Class> {
    match number {
        0 => Some(Class::Control),
        1 => Some(Class::Update),
        2 => Some(Class::Bulk),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn multicast() -> Multicast {
        Multicast {
            group: 0,
            class: Class::Update,
            source: PeerId([1; 8]),
            incarnation: Incarnation(7),
            sequence: 9,
            gone_below: 3,
            hops: 16,
            signature: [5; 64],
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[test]
    fn every_body_reads_back() {
        let life = (PeerId([1; 8]), Incarnation(7));
        let bodies = [
            Body::State(StateBody {
                kind: StateKind(3),
                peer: life.0,
                incarnation: life.1,
                edition: 4,
                signature: [9; 64],
                content: Bytes::from_static(b"content"),
            }),
            Body::Multicast(multicast()),
            Body::Unicast(Unicast {
                source: life.0,
                incarnation: life.1,
                destination: PeerId([2; 8]),
                sequence: 1,
                hops: 3,
                class: Class::Bulk,
                purpose: Purpose::SourceAck,
                payload: Bytes::from_static(b"x"),
            }),
            Body::Summary(vec![SummaryRow {
                source: life.0,
                incarnation: life.1,
                prefix: 4,
                beyond: 6,
                gone_below: 5,
                kept_from: 5,
            }]),
            Body::Pull(Pull {
                source: life.0,
                incarnation: life.1,
                sequences: vec![5, 6],
            }),
        ];
        for body in bodies {
            assert_eq!(Body::decode(body.encode()), Some(body));
        }
    }

    #[test]
    fn frames_are_packed_and_unknown_ones_skipped() {
        let data = Data {
            session: 1,
            sequence: 2,
            class: Class::Control,
            urgency: Urgency::Urgent,
            fragment: 1,
            fragments: 2,
            body: Bytes::from(vec![3; FRAGMENT_SIZE]),
        };
        let ack = Ack {
            session: 1,
            of_session: 2,
            cumulative: 3,
            beyond: 4,
            asked: 5,
            newest: 6,
            waited: 7,
        };
        let mut datagram = Vec::new();
        ack.encode(&mut datagram);
        assert_eq!(datagram.len(), ACK_SIZE);
        datagram.extend([77, 0, 2, 1, 1]);
        data.encode(&mut datagram);
        assert_eq!(
            datagram.len(),
            ACK_SIZE + 5 + DATA_HEADER_SIZE + FRAGMENT_SIZE
        );
        let frames = decode_frames(datagram.into());
        assert_eq!(frames, Some(vec![Frame::Ack(ack), Frame::Data(data)]));
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for (sequence, gone_below) in [(0, 0), (3, 4), (u64::MAX, 0)] {
            let message = Multicast {
                sequence,
                gone_below,
                ..multicast()
            };
            assert_eq!(Body::decode(Body::Multicast(message).encode()), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            decode_frames(bytes.clone());
            Body::decode(bytes.clone());
            BeatPacket::decode(bytes);
        }
    }
}
