//! Frames on the stream of a join: length u32 of what follows, kind u8, fields.

use super::{MEMBERS_MAX, PROGRESS_SIZE_MAX};
use crate::admit::{Admit, PEER_NAME_SIZE_MAX, decode_addresses, encode_addresses};
use crate::link_event::{LinkId, LinkOutput, StreamId};
use crate::members::Member;
use crate::peer_id::PublicKey;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The version of the handshake that a joiner names first.
pub(super) const VERSION: u16 = 1;
/// Largest frame that an inviter takes: a request is small, and whoever sends it is a stranger.
pub(super) const FRAME_SIZE_TO_INVITER: usize = 4 * 1024;
/// Largest frame that a joiner takes: all members with all their addresses.
pub(super) const FRAME_SIZE_TO_JOINER: usize = 512 * 1024;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    Ask {
        version: u16,
        proof: [u8; 32],
        name: String,
        addresses: Vec<SocketAddr>,
    },
    Refused,
    Progress(String),
    Stage(Bytes),
    Admitted {
        proof: [u8; 32],
        admit: Admit,
        members: Vec<Member>,
    },
    Snapshot(Bytes),
    Done,
    Taken(u32),
    Stored,
}

/// The bytes are no frame of this protocol, or one that is too long here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = vec![0; LENGTH_SIZE];
        match self {
            Self::Ask {
                version,
                proof,
                name,
                addresses,
            } => {
                out.put_u8(1);
                out.put_u16(*version);
                out.put_slice(proof);
                encode_name(name, &mut out);
                encode_addresses(addresses, &mut out);
            }
            Self::Refused => out.put_u8(2),
            Self::Progress(text) => {
                out.put_u8(3);
                out.put_slice(text.as_bytes());
            }
            Self::Stage(bytes) => {
                out.put_u8(4);
                out.put_slice(bytes);
            }
            Self::Admitted {
                proof,
                admit,
                members,
            } => {
                out.put_u8(5);
                out.put_slice(proof);
                admit.encode(&mut out);
                out.put_u16(members.len() as u16);
                for member in members {
                    out.put_slice(&member.key.0);
                    encode_name(&member.name, &mut out);
                    encode_addresses(&member.addresses, &mut out);
                }
            }
            Self::Snapshot(bytes) => {
                out.put_u8(6);
                out.put_slice(bytes);
            }
            Self::Done => out.put_u8(7),
            Self::Taken(bytes) => {
                out.put_u8(8);
                out.put_u32(*bytes);
            }
            Self::Stored => out.put_u8(9),
        }
        let length = (out.len() - LENGTH_SIZE) as u32;
        out[..LENGTH_SIZE].copy_from_slice(&length.to_be_bytes());
        out.into()
    }

    /// Reads a frame without its length.
    fn decode(mut frame: Bytes) -> Option<Self> {
        let kind = frame.try_get_u8().ok()?;
        if kind == 4 {
            return Some(Self::Stage(frame));
        }
        if kind == 6 {
            return Some(Self::Snapshot(frame));
        }
        let mut bytes: &[u8] = &frame;
        let message = match kind {
            1 => Self::Ask {
                version: bytes.try_get_u16().ok()?,
                proof: take_array(&mut bytes)?,
                name: decode_name(&mut bytes)?,
                addresses: decode_addresses(&mut bytes)?,
            },
            2 => Self::Refused,
            3 if bytes.len() <= PROGRESS_SIZE_MAX => {
                let text = String::from_utf8(bytes.to_vec()).ok()?;
                bytes.advance(text.len());
                Self::Progress(text)
            }
            5 => Self::Admitted {
                proof: take_array(&mut bytes)?,
                admit: Admit::decode(&mut bytes)?,
                members: decode_members(&mut bytes)?,
            },
            7 => Self::Done,
            8 => Self::Taken(bytes.try_get_u32().ok()?),
            9 => Self::Stored,
            _ => return None,
        };
        bytes.is_empty().then_some(message)
    }
}

/// Puts the bytes of a stream together to frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    held: BytesMut,
    size_max: usize,
}

impl FrameReader {
    pub(super) fn new(size_max: usize) -> Self {
        Self {
            held: BytesMut::new(),
            size_max,
        }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.held.extend_from_slice(data);
    }

    /// The next whole frame; call until none. What is held then is less than one frame.
    pub(super) fn next(&mut self) -> Result<Option<Message>, Malformed> {
        let Some(length) = self.held.first_chunk::<LENGTH_SIZE>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.size_max {
            return Err(Malformed);
        }
        if self.held.len() < LENGTH_SIZE + length {
            return Ok(None);
        }
        self.held.advance(LENGTH_SIZE);
        let frame = self.held.split_to(length).freeze();
        Message::decode(frame).map(Some).ok_or(Malformed)
    }
}

/// Frames on their way out: one is with the transport, the others wait here.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    waiting: VecDeque<(Bytes, End)>,
    is_busy: bool,
}

/// Whether more frames follow on the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Last,
    More,
}

impl FrameWriter {
    pub(super) fn push(&mut self, message: &Message, end: End) {
        self.waiting.push_back((message.encode(), end));
    }

    /// The transport has taken what it had.
    pub(super) fn writable(&mut self) {
        self.is_busy = false;
    }

    /// Nothing waits, and the transport has taken everything.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_busy && self.waiting.is_empty()
    }

    /// What to hand to the transport now.
    pub(super) fn next(&mut self, link: LinkId, stream: StreamId) -> Option<LinkOutput> {
        if self.is_busy {
            return None;
        }
        let (data, end) = self.waiting.pop_front()?;
        self.is_busy = true;
        Some(LinkOutput::StreamData {
            link,
            stream,
            data,
            finish: end == End::Last,
        })
    }
}

fn encode_name(name: &str, out: &mut Vec<u8>) {
    assert!(
        name.len() <= PEER_NAME_SIZE_MAX,
        "names are cut where they come in"
    );
    out.put_u8(name.len() as u8);
    out.put_slice(name.as_bytes());
}

fn decode_name(bytes: &mut &[u8]) -> Option<String> {
    let size = usize::from(bytes.try_get_u8().ok()?);
    if size > PEER_NAME_SIZE_MAX || bytes.len() < size {
        return None;
    }
    let name = String::from_utf8(bytes[..size].to_vec()).ok()?;
    bytes.advance(size);
    Some(name)
}

fn decode_members(bytes: &mut &[u8]) -> Option<Vec<Member>> {
    let count = usize::from(bytes.try_get_u16().ok()?);
    if count > MEMBERS_MAX {
        return None;
    }
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member {
            key: PublicKey(take_array(bytes)?),
            name: decode_name(bytes)?,
            addresses: decode_addresses(bytes)?,
        });
    }
    Some(members)
}

/// Reads a stream of frames as either side does; true if all of them are well formed. For the
/// fuzz targets: what reads must be written and read again as the same.
pub(crate) fn read_frames(stream: &[u8]) -> bool {
    let mut reader = FrameReader::new(FRAME_SIZE_TO_JOINER);
    reader.push(stream);
    loop {
        match reader.next() {
            Ok(None) => return true,
            Ok(Some(message)) => {
                let mut again = FrameReader::new(FRAME_SIZE_TO_JOINER);
                again.push(&message.encode());
                assert_eq!(again.next(), Ok(Some(message)));
            }
            Err(Malformed) => return false,
        }
    }
}

/// Well-formed frames for the fuzz targets.
pub(crate) fn sample_frames() -> Vec<Vec<u8>> {
    let ask = Message::Ask {
        version: VERSION,
        proof: [7; 32],
        name: "b".into(),
        addresses: vec!["[2001:db8::1]:5300".parse().expect("it is an address")],
    };
    let progress = Message::Progress("waits for the third peer".into());
    [
        ask,
        progress,
        Message::Stage(Bytes::from_static(b"rows")),
        Message::Taken(70_000),
    ]
    .iter()
    .map(|message| message.encode().to_vec())
    .collect()
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let mut array = [0; N];
    bytes.try_copy_to_slice(&mut array).ok()?;
    Some(array)
}

const LENGTH_SIZE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::ClusterId;
    use crate::peer_id::PeerId;
    use proptest::prelude::*;
    use std::time::Duration;

    fn messages() -> Vec<Message> {
        let member = Member {
            key: PublicKey([1; 32]),
            name: "a".into(),
            addresses: vec!["192.0.2.1:5300".parse().unwrap()],
        };
        let admit = Admit {
            cluster: ClusterId([2; 16]),
            key: PublicKey([3; 32]),
            name: "b".into(),
            addresses: Vec::new(),
            by: PeerId([4; 8]),
            wall: Duration::from_millis(5),
            signature: [6; 64],
        };
        vec![
            Message::Ask {
                version: VERSION,
                proof: [7; 32],
                name: "b".into(),
                addresses: member.addresses.clone(),
            },
            Message::Refused,
            Message::Progress("waits for the third peer".into()),
            Message::Stage(Bytes::from_static(b"rows")),
            Message::Admitted {
                proof: [8; 32],
                admit,
                members: vec![member],
            },
            Message::Snapshot(Bytes::new()),
            Message::Done,
            Message::Taken(70_000),
            Message::Stored,
        ]
    }

    #[test]
    fn every_message_reads_back_from_bytes_in_any_pieces() {
        let wire: Vec<u8> = messages().iter().flat_map(Message::encode).collect();
        for size in 1..9 {
            let mut reader = FrameReader::new(FRAME_SIZE_TO_JOINER);
            let mut read = Vec::new();
            for piece in wire.chunks(size) {
                reader.push(piece);
                while let Some(message) = reader.next().unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, messages());
        }
    }

    #[test]
    fn the_longest_admission_fits_a_frame() {
        let member = Member {
            key: PublicKey([1; 32]),
            name: "n".repeat(PEER_NAME_SIZE_MAX),
            addresses: vec!["[::1]:5300".parse().unwrap(); 8],
        };
        let mut message = messages().remove(4);
        if let Message::Admitted { members, .. } = &mut message {
            *members = vec![member; MEMBERS_MAX];
        }
        assert!(message.encode().len() <= FRAME_SIZE_TO_JOINER);
    }

    #[test]
    fn a_frame_that_is_cut_or_too_long_is_malformed() {
        for message in messages() {
            let wire = message.encode();
            let mut longer = wire.to_vec();
            longer.push(0);
            longer[..4].copy_from_slice(&(wire.len() as u32 - 3).to_be_bytes());
            let mut reader = FrameReader::new(FRAME_SIZE_TO_JOINER);
            reader.push(&longer);
            let is_free_text = matches!(
                message,
                Message::Stage(_) | Message::Snapshot(_) | Message::Progress(_)
            );
            assert_eq!(reader.next().is_err(), !is_free_text, "{message:?}");
        }
        let mut reader = FrameReader::new(10);
        reader.push(&11u32.to_be_bytes());
        assert_eq!(reader.next(), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(kind in 0u8..12, body: Vec<u8>) {
            let mut reader = FrameReader::new(FRAME_SIZE_TO_INVITER);
            reader.push(&(body.len() as u32 + 1).to_be_bytes());
            reader.push(&[kind]);
            reader.push(&body);
            if let Ok(Some(message)) = reader.next() {
                // What reads is written the same way.
                prop_assert_eq!(&message.encode()[5..], &body[..]);
            }
        }
    }
}
