//! An import of this peer, from what the operator gave to the answer. Spreading and committing are
//! the peer's.
//!
//! ```text
//! building ─built─▶ storing ─durable─▶ spreading ─answered─▶ gone
//!   aside  └─ Refused, UnderWay ─▶ gone
//! ```

use super::{Act, Wiring, Work};
use crate::disk::Job;
use crate::durable::blob_hash;
use crate::requests::{Answer, ClientId};
use crate::zone_data::{decode_records, encode_version};
use bytes::Bytes;
use replication::{BlobHash, Majority};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zones::check::{Built, build_records};
use zones::workers::OneWorker;
use zones::{Name, Serial, Version};

/// How far an import is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImportStep {
    /// It cannot be, for this reason; that is its end.
    Refused(String),
    /// The same data is being imported already; that is its end.
    UnderWay,
    /// Its data, of this size, goes to the disk.
    Storing(u64),
    /// It is there.
    Stored(u64),
}

/// A zone that is fit to be imported.
pub struct BuiltZone {
    origin: Name,
    version: Version,
    serial: Serial,
    hash: BlobHash,
    blob: Bytes,
}

/// Imports under way.
#[derive(Default)]
pub(super) struct Importing {
    /// Those whose data is on its way to the disk.
    storing: BTreeMap<BlobHash, Storing>,
    /// Those whose data the members fetch.
    spreading: BTreeMap<BlobHash, ClientId>,
}

struct Storing {
    client: ClientId,
    origin: Name,
    version: Version,
    serial: Serial,
    size: u64,
}

impl Importing {
    /// A client was answered.
    pub(super) fn end(&mut self, client: ClientId) {
        self.spreading.retain(|_, other| *other != client);
    }
}

impl Wiring {
    /// An operator imports a zone for this client; its records come in the form of `zone_data`.
    pub fn import(&mut self, client: ClientId, origin: Name, upload: Vec<u8>) {
        self.act(Act::Aside(Work::Build(client, origin, upload)));
    }

    /// True if an import of this peer waits until this blob is durable.
    #[must_use]
    pub fn is_storing(&self, blob: &BlobHash) -> bool {
        self.importing.storing.contains_key(blob)
    }

    /// The imports whose data the members fetch.
    pub fn spreading(&self) -> impl Iterator<Item = (BlobHash, ClientId)> + '_ {
        let spreading = self.importing.spreading.iter();
        spreading.map(|(blob, client)| (*blob, *client))
    }

    /// A zone of an import is built, or cannot be.
    pub(super) fn handle_built(&mut self, client: ClientId, zone: Result<BuiltZone, String>) {
        let step = match zone {
            Err(reason) => ImportStep::Refused(reason),
            Ok(zone) if self.importing.storing.contains_key(&zone.hash) => ImportStep::UnderWay,
            Ok(zone) if self.importing.spreading.contains_key(&zone.hash) => ImportStep::UnderWay,
            Ok(zone) => return self.store(client, zone),
        };
        self.act(Act::Import(client, step));
    }

    /// A blob is on disk. True if it is one of an import of this peer.
    pub(super) fn import_durable(&mut self, hash: BlobHash, wall: Duration, now: Instant) -> bool {
        let Some(storing) = self.importing.storing.remove(&hash) else {
            return false;
        };
        let Storing {
            client,
            origin,
            version,
            serial,
            size,
        } = storing;
        self.act(Act::Import(client, ImportStep::Stored(size)));
        let imported = self.peer.handle_import(
            client,
            origin,
            serial,
            hash,
            size,
            version,
            Majority::Needed,
            wall,
            now,
        );
        match imported {
            Ok(()) => {
                self.importing.spreading.insert(hash, client);
            }
            Err(refused) => {
                self.peer.give_up_blob(hash);
                self.act(Act::Answer(client, Answer::Refused(refused)));
            }
        }
        true
    }

    fn store(&mut self, client: ClientId, zone: BuiltZone) {
        let BuiltZone {
            origin,
            version,
            serial,
            hash,
            blob,
        } = zone;
        let size = blob.len() as u64;
        self.act(Act::Import(client, ImportStep::Storing(size)));
        self.blobs.insert(hash, blob.clone());
        let storing = Storing {
            client,
            origin,
            version,
            serial,
            size,
        };
        self.importing.storing.insert(hash, storing);
        self.act(Act::Write(Job::PutBlob(hash, blob)));
    }
}

pub(super) fn built_zone(origin: Name, upload: &[u8]) -> Result<BuiltZone, String> {
    let records = decode_records(upload).ok_or("the upload is malformed")?;
    let built = build_records(&origin, &records, &OneWorker).map_err(|rejected| {
        let first = rejected.errors.into_iter().next();
        first.map_or_else(String::new, |error| error.message)
    })?;
    let Built {
        version, serial, ..
    } = built;
    let blob = Bytes::from(encode_version(&version));
    Ok(BuiltZone {
        origin,
        version,
        serial,
        hash: blob_hash(&blob),
        blob,
    })
}
