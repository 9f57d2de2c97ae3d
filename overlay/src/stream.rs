//! One framing for all streams: length u32, kind, bytes (overlay protocol section 1).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest frame of a stream.
pub(crate) const STREAM_FRAME_SIZE_MAX: usize = 256 * 1024;

/// The first frame of each side's first unidirectional stream.
pub(crate) const KIND_HELLO: u8 = 1;
/// What the opener of a bidirectional stream asks for.
pub(crate) const KIND_FETCH: u8 = 2;
/// A piece of an answer.
pub(crate) const KIND_CHUNK: u8 = 3;
/// The last piece; a stream that ends without it has failed.
pub(crate) const KIND_LAST: u8 = 4;

/// A frame as bytes.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(5 + body.len());
    out.put_u32(body.len() as u32 + 1);
    out.put_u8(kind);
    out.put_slice(body);
    out.into()
}

/// What has come of a stream and is no whole frame yet.
#[derive(Default)]
pub(crate) struct StreamReader {
    buffer: BytesMut,
}

/// A frame is longer than the limit, or has no kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadFrame;

impl StreamReader {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole frame: its kind and its bytes.
    pub(crate) fn next(&mut self, size_max: usize) -> Result<Option<(u8, Bytes)>, BadFrame> {
        let Some(size) = self
            .buffer
            .first_chunk()
            .map(|size| u32::from_be_bytes(*size))
        else {
            return Ok(None);
        };
        let size = size as usize;
        if size == 0 || size > size_max {
            return Err(BadFrame);
        }
        if self.buffer.len() < 4 + size {
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut frame = self.buffer.split_to(size).freeze();
        let kind = frame.get_u8();
        Ok(Some((kind, frame)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let bytes = [frame(1, b"one"), frame(2, b""), frame(3, b"three")].concat();
        for cut in 1..bytes.len() {
            let mut reader = StreamReader::default();
            let mut frames = Vec::new();
            for piece in bytes.chunks(cut) {
                reader.push(piece);
                while let Some(frame) = reader.next(100).unwrap() {
                    frames.push(frame);
                }
            }
            let expected = [(1, &b"one"[..]), (2, b""), (3, b"three")];
            let expected = expected.map(|(kind, body)| (kind, Bytes::from_static(body)));
            assert_eq!(frames, expected);
        }
    }

    #[test]
    fn a_frame_has_a_limit() {
        let mut reader = StreamReader::default();
        reader.push(&frame(1, &[0; 100]));
        assert_eq!(reader.next(100), Err(BadFrame));
    }
}
