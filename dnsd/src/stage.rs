//! What a newcomer is streamed: a checkpoint with its zones, the log after it, the log's blobs;
//! and once it is admitted, what came since.
//!
//! ```text
//! stream = part … end part … snapshot        part = kind u8 | size u32 | bytes
//! meta: stage id, checkpoint mark, the replica's meta data     state: see state_rows
//! zone: origin, records      run: packed entries      blob: SHA-256, bytes      end: nothing
//! snapshot: the replica's
//! ```

use crate::state::State;
use crate::state_rows;
use crate::zone_data;
use bytes::{Buf, BufMut, Bytes};
use replication::{BlobHash, Stage, Stamp};
use std::collections::BTreeMap;
use zones::{Name, Version};

/// Largest part: a zone of some ten million records. A sponsor that states more is not one.
const PART_SIZE_MAX: usize = 1 << 30;

const META: u8 = 1;
const STATE: u8 = 2;
const ZONE: u8 = 3;
const RUN: u8 = 4;
const BLOB: u8 = 5;
const END: u8 = 6;
const SNAPSHOT: u8 = 7;

/// Puts the parts together; `blobs` are those that the log's entries name. It takes some 0.1 s
/// for a million names: to be done aside.
#[must_use]
pub fn encode(stage: &Stage, checkpoint: &State, blobs: &[(BlobHash, Bytes)]) -> Vec<Bytes> {
    let mut meta = Vec::new();
    meta.put_u32(stage.id.len() as u32);
    meta.put_slice(&stage.id);
    stage.checkpoint.encode(&mut meta);
    meta.put_slice(&stage.checkpoint_meta);
    let mut parts = vec![
        part(META, &meta),
        part(STATE, &state_rows::encode(checkpoint)),
    ];
    for zone in checkpoint.zones().values() {
        if let Some(version) = &zone.version {
            parts.push(part(ZONE, &zone_data::encode_version(version)));
        }
    }
    parts.extend(stage.runs.iter().map(|run| part(RUN, run)));
    parts.extend(blobs.iter().flat_map(blob_part));
    parts.push(part(END, &[]));
    parts
}

/// The parts after the end of the stage; `blobs` are those that the stage did not bring.
#[must_use]
pub fn encode_snapshot(snapshot: &Bytes, blobs: &[(BlobHash, Bytes)]) -> Vec<Bytes> {
    let blobs = blobs.iter().flat_map(blob_part);
    blobs.chain([part(SNAPSHOT, snapshot)]).collect()
}

/// The part in two runs of bytes, as a blob is too large to be copied.
fn blob_part((hash, blob): &(BlobHash, Bytes)) -> [Bytes; 2] {
    let mut header = part_header(BLOB, hash.0.len() + blob.len());
    header.put_slice(&hash.0);
    [header.into(), blob.clone()]
}

/// What a newcomer has got.
pub struct Received {
    /// The replica's part.
    pub stage: Stage,
    /// The state of the checkpoint, with its zones.
    pub checkpoint: State,
    /// Blobs that the log's entries name.
    pub blobs: Vec<(BlobHash, Bytes)>,
    /// What completes the stage.
    pub snapshot: Bytes,
}

/// Takes the stream apart as it comes.
#[derive(Default)]
pub struct Receiver {
    buffer: Vec<u8>,
    meta: Option<(Bytes, Stamp, Bytes)>,
    state: Option<Bytes>,
    zones: BTreeMap<Name, Version>,
    runs: Vec<Bytes>,
    blobs: Vec<(BlobHash, Bytes)>,
    snapshot: Option<Bytes>,
    is_complete: bool,
}

/// The stream is not one that a sponsor sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl Receiver {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.buffer.extend_from_slice(bytes);
        loop {
            let mut rest = &self.buffer[..];
            let (Ok(kind), Ok(size)) = (rest.try_get_u8(), rest.try_get_u32()) else {
                return Ok(());
            };
            let size = size as usize;
            if size > PART_SIZE_MAX {
                return Err(Malformed);
            }
            if rest.len() < size {
                return Ok(());
            }
            let part = Bytes::copy_from_slice(&rest[..size]);
            self.buffer.drain(..5 + size);
            self.take(kind, part).ok_or(Malformed)?;
        }
    }

    /// All that came, once the end has come and everything fits together.
    pub fn finish(self) -> Result<Received, Malformed> {
        if !self.is_complete {
            return Err(Malformed);
        }
        let (id, checkpoint, checkpoint_meta) = self.meta.ok_or(Malformed)?;
        let state = self.state.ok_or(Malformed)?;
        let mut zones = self.zones;
        let state = state_rows::decode(&state, |origin| zones.remove(origin)).ok_or(Malformed)?;
        if state.at() != checkpoint || !zones.is_empty() {
            return Err(Malformed);
        }
        let stage = Stage {
            checkpoint,
            checkpoint_meta,
            runs: self.runs,
            id,
        };
        Ok(Received {
            stage,
            checkpoint: state,
            blobs: self.blobs,
            snapshot: self.snapshot.ok_or(Malformed)?,
        })
    }

    fn take(&mut self, kind: u8, part: Bytes) -> Option<()> {
        let mut rest = &part[..];
        match kind {
            META => {
                // A sponsor whose checkpoint has moved on begins again.
                let buffer = std::mem::take(&mut self.buffer);
                *self = Self {
                    buffer,
                    ..Self::default()
                };
                let size = rest.try_get_u32().ok()? as usize;
                let id = Bytes::copy_from_slice(rest.get(..size)?);
                rest.advance(size);
                let mark = Stamp::decode(&mut rest)?;
                self.meta = Some((id, mark, Bytes::copy_from_slice(rest)));
            }
            STATE => self.state = Some(part),
            ZONE => {
                let version = zone_data::decode_blob(&part)?;
                self.zones.insert(version.origin().clone(), version);
            }
            RUN => self.runs.push(part),
            BLOB => {
                let mut hash = [0; 32];
                rest.try_copy_to_slice(&mut hash).ok()?;
                self.blobs
                    .push((BlobHash(hash), Bytes::copy_from_slice(rest)));
            }
            END if !self.is_complete => self.is_complete = true,
            SNAPSHOT if self.is_complete && self.snapshot.is_none() => self.snapshot = Some(part),
            _ => return None,
        }
        Some(())
    }
}

fn part(kind: u8, bytes: &[u8]) -> Bytes {
    let mut out = part_header(kind, bytes.len());
    out.put_slice(bytes);
    out.into()
}

fn part_header(kind: u8, size: usize) -> Vec<u8> {
    assert!(
        size <= PART_SIZE_MAX,
        "zones are limited where they come in"
    );
    let mut out = Vec::new();
    out.put_u8(kind);
    out.put_u32(size as u32);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_reads_back_however_it_is_cut() {
        let stage = Stage {
            checkpoint: Stamp::ZERO,
            checkpoint_meta: Bytes::from_static(b"meta"),
            runs: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
            id: Bytes::from_static(b"id"),
        };
        let blobs = [(BlobHash([7; 32]), Bytes::from_static(b"blob"))];
        let later = [(BlobHash([8; 32]), Bytes::from_static(b"later"))];
        let snapshot = Bytes::from_static(b"snapshot");
        let mut bytes = encode(&stage, &State::empty(), &blobs).concat();
        bytes.extend(encode_snapshot(&snapshot, &later).concat());
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut receiver = Receiver::default();
            bytes
                .chunks(size)
                .for_each(|chunk| receiver.push(chunk).unwrap());
            let received = receiver.finish().map_err(|_| ()).unwrap();
            assert_eq!(received.stage, stage);
            assert_eq!(received.blobs, [blobs[0].clone(), later[0].clone()]);
            assert_eq!(received.snapshot, snapshot);
        }
        let mut receiver = Receiver::default();
        receiver.push(&bytes[..bytes.len() - 1]).unwrap();
        assert!(receiver.finish().is_err());
        assert_eq!(Receiver::default().push(&[9, 0, 0, 0, 0]), Err(Malformed));
    }
}
