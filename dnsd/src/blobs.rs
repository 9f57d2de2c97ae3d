//! Data of imports on their way: fetched from neighbors, given to neighbors.

use crate::durable::blob_hash;
use bytes::{Bytes, BytesMut};
use overlay::router::CHUNK_SIZE_MAX;
use overlay::{Command, FetchId, Last, PeerId, Tag};
use replication::BlobHash;
use std::collections::BTreeMap;

/// Largest blob: what one upload may be.
const BLOB_SIZE_MAX: usize = 1 << 30;
/// A blob is gathered in pieces of this size: one growing run would be copied again and again.
const PIECE_SIZE: usize = 1 << 20;
/// Neighbors that are served at once; each holds one chunk beside the blob itself.
const ANSWERS_MAX: usize = 64;

/// Blobs that the log names, and those on their way.
#[derive(Default)]
pub struct Blobs {
    held: BTreeMap<BlobHash, Bytes>,
    fetching: BTreeMap<Tag, Fetching>,
    answering: BTreeMap<FetchId, Answering>,
    next_tag: u64,
}

struct Fetching {
    hash: BlobHash,
    from: PeerId,
    size: usize,
    pieces: Vec<BytesMut>,
}

struct Answering {
    blob: Bytes,
    at: usize,
}

/// What a fetch has come to.
pub enum Fetched {
    /// More is to come.
    Going,
    /// It is complete.
    Complete(Unchecked),
    /// The neighbor sends more than any blob has.
    TooLarge(BlobHash, PeerId),
}

/// All that a neighbor sent; whether it is what was asked for is still to be seen.
pub struct Unchecked {
    hash: BlobHash,
    from: PeerId,
    size: usize,
    pieces: Vec<BytesMut>,
}

/// What a neighbor was asked for, and what it gave.
pub struct Checked {
    /// What it was asked for.
    pub hash: BlobHash,
    /// The neighbor.
    pub from: PeerId,
    /// The blob; none if it sent something else.
    pub bytes: Option<Bytes>,
}

impl Unchecked {
    /// Puts the pieces together and compares the hash. It takes some milliseconds for each ten
    /// megabytes: to be done aside.
    #[must_use]
    pub fn check(self) -> Checked {
        let mut bytes = Vec::with_capacity(self.size);
        for piece in self.pieces {
            bytes.extend_from_slice(&piece);
        }
        let is_right = blob_hash(&bytes) == self.hash;
        Checked {
            hash: self.hash,
            from: self.from,
            bytes: is_right.then(|| bytes.into()),
        }
    }
}

impl Blobs {
    /// Keeps a blob at hand for neighbors.
    pub fn insert(&mut self, hash: BlobHash, bytes: Bytes) {
        self.held.insert(hash, bytes);
    }

    /// Forgets a blob.
    pub fn remove(&mut self, hash: &BlobHash) {
        self.held.remove(hash);
    }

    /// One that is at hand.
    #[must_use]
    pub fn get(&self, hash: &BlobHash) -> Option<Bytes> {
        self.held.get(hash).cloned()
    }

    /// Asks a neighbor.
    pub fn fetch(&mut self, hash: BlobHash, from: PeerId) -> Command {
        self.next_tag += 1;
        let tag = Tag(self.next_tag);
        self.fetching.insert(
            tag,
            Fetching {
                hash,
                from,
                size: 0,
                pieces: Vec::new(),
            },
        );
        Command::Fetch(tag, from, Bytes::copy_from_slice(&hash.0))
    }

    /// A piece came.
    pub fn handle_fetched(&mut self, tag: Tag, data: &[u8], last: Last) -> Fetched {
        let Some(fetching) = self.fetching.get_mut(&tag) else {
            return Fetched::Going;
        };
        if fetching.size + data.len() > BLOB_SIZE_MAX {
            let Fetching { hash, from, .. } = self.fetching.remove(&tag).expect("it was just seen");
            return Fetched::TooLarge(hash, from);
        }
        fetching.size += data.len();
        match fetching.pieces.last_mut() {
            Some(piece) if piece.capacity() - piece.len() >= data.len() => {
                piece.extend_from_slice(data);
            }
            _ => {
                let mut piece = BytesMut::with_capacity(PIECE_SIZE.max(data.len()));
                piece.extend_from_slice(data);
                fetching.pieces.push(piece);
            }
        }
        match last {
            Last::No => Fetched::Going,
            Last::Yes => {
                let Fetching {
                    hash,
                    from,
                    size,
                    pieces,
                } = self.fetching.remove(&tag).expect("it was just seen");
                Fetched::Complete(Unchecked {
                    hash,
                    from,
                    size,
                    pieces,
                })
            }
        }
    }

    /// The fetch came to nothing; what it was for.
    pub fn handle_failed(&mut self, tag: Tag) -> Option<(BlobHash, PeerId)> {
        let fetching = self.fetching.remove(&tag)?;
        Some((fetching.hash, fetching.from))
    }

    /// A neighbor asks.
    pub fn handle_asked(&mut self, fetch: FetchId, request: &[u8]) -> Command {
        let hash = <[u8; 32]>::try_from(request).map(BlobHash);
        let blob = hash.ok().and_then(|hash| self.held.get(&hash));
        match blob {
            Some(blob) if self.answering.len() < ANSWERS_MAX => {
                self.answering.insert(
                    fetch,
                    Answering {
                        blob: blob.clone(),
                        at: 0,
                    },
                );
                self.next_chunk(fetch).expect("it was just put there")
            }
            Some(_) | None => Command::Cancel(fetch),
        }
    }

    /// The neighbor can take more.
    pub fn handle_writable(&mut self, fetch: FetchId) -> Option<Command> {
        self.next_chunk(fetch)
    }

    /// The neighbor's fetch has ended.
    pub fn handle_answer_failed(&mut self, fetch: FetchId) {
        self.answering.remove(&fetch);
    }

    fn next_chunk(&mut self, fetch: FetchId) -> Option<Command> {
        let answering = self.answering.get_mut(&fetch)?;
        let end = answering.blob.len().min(answering.at + CHUNK_SIZE_MAX);
        let chunk = answering.blob.slice(answering.at..end);
        answering.at = end;
        let last = if end == answering.blob.len() {
            self.answering.remove(&fetch);
            Last::Yes
        } else {
            Last::No
        };
        Some(Command::Respond(fetch, chunk, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_are_put_together_and_checked() {
        let blob: Vec<u8> = (0..3 * PIECE_SIZE as u32 + 5).map(|n| n as u8).collect();
        let from = PeerId([1; 8]);
        for (hash, is_right) in [(blob_hash(&blob), true), (BlobHash([0; 32]), false)] {
            for size in [60_000, PIECE_SIZE, PIECE_SIZE + 1, blob.len()] {
                let mut blobs = Blobs::default();
                let Command::Fetch(tag, ..) = blobs.fetch(hash, from) else {
                    panic!("it is fetched");
                };
                let count = blob.len().div_ceil(size);
                let mut complete = None;
                for (number, data) in blob.chunks(size).enumerate() {
                    let last = if number + 1 == count {
                        Last::Yes
                    } else {
                        Last::No
                    };
                    if let Fetched::Complete(unchecked) = blobs.handle_fetched(tag, data, last) {
                        complete = Some(unchecked.check());
                    }
                }
                let checked = complete.expect("the last piece came");
                assert_eq!((checked.hash, checked.from), (hash, from));
                let expected = is_right.then_some(blob.as_slice());
                assert_eq!(checked.bytes.as_deref(), expected);
            }
        }
    }
}
