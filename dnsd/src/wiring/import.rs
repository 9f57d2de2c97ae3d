//! An import of this peer, or a rollback, from what the operator gave to the answer. Spreading and committing are
//! the peer's.
//!
//! ```text
//! building ─built─▶ storing ─durable─▶ spreading ─answered─▶ gone
//!   aside  ├─ a change as an update ─────────────answered─▶ gone
//!          └─ Refused, UnderWay, Shown ─▶ gone
//! ```

use super::{Act, Wiring, Work};
use crate::admin::{Manner, Meanwhile, Obstacles, Run};
use crate::body::{Cause, Replaces};
use crate::disk::Job;
use crate::durable::blob_hash;
use crate::history::{Chain, STEPS_SIZE_MAX, content_at};
use crate::reload::Comparison;
use crate::requests::{Answer, ClientId, SERIAL_BEHIND};
use crate::state::State;
use crate::status::Reload;
use crate::zone_data::{decode_records, encode_version};
use bytes::Bytes;
use replication::{BlobHash, Majority};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zones::check::build_records;
use zones::workers::OneWorker;
use zones::zone_set::Shown;
use zones::{Name, Serial, Version};

/// How far an import is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImportStep {
    /// It cannot be, for this reason; that is its end.
    Refused(String),
    /// The same data is being imported already; that is its end.
    UnderWay,
    /// It changes nothing, as nothing differs or only the difference was asked for; that is its
    /// end.
    Shown(Box<Comparison>),
    /// It is one of a zone that is served, and this is what it changes.
    Compared(Reload),
    /// Its data, of this size, goes to the disk.
    Storing(u64),
    /// It is there.
    Stored(u64),
}

/// What an operator gave, and what it is compared with.
pub struct Given {
    origin: Name,
    content: Content,
    manner: Manner,
    now: State,
}

/// What the zone is to be.
enum Content {
    /// These records, in the form of `zone_data`.
    Upload(Vec<u8>),
    /// What it was at this serial, by the steps that led from there to what is shown.
    At(Serial, Chain, Shown),
}

/// What an import is to do, once its zone is found to be fit.
pub enum Built {
    /// Nothing.
    Nothing(Comparison),
    /// A small change of a zone that is served: this update, for this reason.
    Update(Reload, Bytes, Cause),
    /// Spread the whole zone; what it changes in one that is served.
    Zone(Option<Reload>, BuiltZone),
}

/// A zone that is to be spread.
pub struct BuiltZone {
    pub(super) origin: Name,
    pub(super) version: Version,
    pub(super) serial: Serial,
    pub(super) replaces: Replaces,
    pub(super) rollback: Option<Serial>,
    pub(super) majority: Majority,
    pub(super) hash: BlobHash,
    pub(super) blob: Bytes,
}

/// Why a zone cannot go back to a serial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoWayBack {
    /// There is no such zone.
    NoSuchZone,
    /// No steps lead there.
    Unknown {
        /// The serial that they do lead back to.
        oldest: Serial,
    },
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
    replaces: Replaces,
    rollback: Option<Serial>,
    majority: Majority,
    size: u64,
}

impl Importing {
    pub(super) fn is_under_way(&self, hash: &BlobHash) -> bool {
        self.storing.contains_key(hash) || self.spreading.contains_key(hash)
    }

    /// A client was answered.
    pub(super) fn end(&mut self, client: ClientId) {
        self.spreading.retain(|_, other| *other != client);
    }
}

impl Wiring {
    /// An operator imports a zone for this client; its records come in the form of `zone_data`.
    pub fn import(&mut self, client: ClientId, origin: Name, upload: Vec<u8>, manner: Manner) {
        self.build(client, origin, Content::Upload(upload), manner);
    }

    /// An operator goes back to what a zone was at this serial.
    pub fn roll_back(
        &mut self,
        client: ClientId,
        origin: Name,
        serial: Serial,
        run: Run,
    ) -> Result<(), NoWayBack> {
        let published = self.peer.published().map(|state| state.content(&origin));
        let Some((version, shown)) = published.and_then(|it| Some((it.version?, it.serial))) else {
            return Err(NoWayBack::NoSuchZone);
        };
        let shown = Shown {
            version,
            serial: shown,
        };
        let chain = self.peer.history().chains().get(&origin);
        let chain = chain.cloned().unwrap_or_default();
        if chain.back(shown.serial, serial, STEPS_SIZE_MAX).is_none() {
            return Err(NoWayBack::Unknown {
                oldest: chain.oldest(shown.serial),
            });
        }
        let manner = Manner {
            run,
            ..Manner::PLAIN
        };
        self.build(client, origin, Content::At(serial, chain, shown), manner);
        Ok(())
    }

    fn build(&mut self, client: ClientId, origin: Name, content: Content, manner: Manner) {
        let given = Given {
            origin,
            content,
            manner,
            now: self.peer.now().clone(),
        };
        self.act(Act::Aside(Work::Build(client, given)));
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
    pub(super) fn handle_built(
        &mut self,
        client: ClientId,
        built: Result<Built, String>,
        wall: Duration,
        now: Instant,
    ) {
        match built {
            Err(reason) => self.act(Act::Import(client, ImportStep::Refused(reason))),
            Ok(Built::Nothing(comparison)) => {
                let shown = ImportStep::Shown(Box::new(comparison));
                self.act(Act::Import(client, shown));
            }
            Ok(Built::Update(reload, message, cause)) => {
                let origin = reload.origin.clone();
                self.act(Act::Import(client, ImportStep::Compared(reload)));
                let peer = &mut self.peer;
                let begun = peer.handle_reload(client, &origin, message, cause, wall, now);
                if let Err(refused) = begun {
                    self.answer(client, Answer::Refused(refused), wall, now);
                }
            }
            Ok(Built::Zone(_, zone)) if self.importing.is_under_way(&zone.hash) => {
                self.act(Act::Import(client, ImportStep::UnderWay));
            }
            Ok(Built::Zone(reload, zone)) => {
                if let Some(reload) = reload {
                    self.act(Act::Import(client, ImportStep::Compared(reload)));
                }
                self.store(client, zone);
            }
        }
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
            replaces,
            rollback,
            majority,
            size,
        } = storing;
        self.tell(client, ImportStep::Stored(size));
        let imported = self.peer.handle_import(
            client, origin, serial, hash, size, version, replaces, rollback, majority, wall, now,
        );
        match imported {
            Ok(()) => {
                self.importing.spreading.insert(hash, client);
            }
            Err(refused) => {
                self.peer.give_up_blob(hash);
                self.answer(client, Answer::Refused(refused), wall, now);
            }
        }
        true
    }

    pub(super) fn store(&mut self, client: ClientId, zone: BuiltZone) {
        let BuiltZone {
            origin,
            version,
            serial,
            replaces,
            rollback,
            majority,
            hash,
            blob,
        } = zone;
        let size = blob.len() as u64;
        self.tell(client, ImportStep::Storing(size));
        self.blobs.insert(hash, blob.clone());
        let storing = Storing {
            client,
            origin,
            version,
            serial,
            replaces,
            rollback,
            majority,
            size,
        };
        self.importing.storing.insert(hash, storing);
        self.act(Act::Write(Job::PutBlob(hash, blob)));
    }

    /// How far an import is; nobody waits for what comes from a primary.
    fn tell(&mut self, client: ClientId, step: ImportStep) {
        if !self.peer.is_feed(client) {
            self.act(Act::Import(client, step));
        }
    }
}

/// What an operator is told who would take the signatures of a zone away.
const UNSIGNED: &str = "the zone is signed and the file is not: who validates would find no good answer \
     as long as the zone above has a DS; sign the file, or take the DS away, wait until it is out of \
     all caches, and import with --force";

pub(super) fn build(given: Given) -> Result<Built, String> {
    let Given {
        origin,
        content,
        manner,
        now,
    } = given;
    let Manner {
        run,
        meanwhile,
        obstacles,
    } = manner;
    let rollback = match &content {
        Content::Upload(_) => None,
        Content::At(serial, ..) => Some(*serial),
    };
    let (version, serial) = match content {
        Content::Upload(upload) => {
            let records = decode_records(&upload).ok_or("the upload is malformed")?;
            drop(upload);
            let checked = build_records(&origin, &records, &OneWorker).map_err(|rejected| {
                let first = rejected.errors.into_iter().next();
                first.map_or_else(String::new, |error| error.message)
            })?;
            (checked.version, checked.serial)
        }
        Content::At(serial, chain, shown) => {
            let records = content_at(&chain, &shown, serial).expect("the way back was found");
            let version = Version::from_records(&origin, &records).map_err(|it| it.to_string())?;
            // None is asked for: it goes on.
            (version, now.serial(&origin))
        }
    };
    let mut reload = None;
    let held = now.version(&origin);
    if obstacles == Obstacles::Heeded
        && held.is_some_and(Version::is_signed)
        && !version.is_signed()
    {
        return Err(UNSIGNED.to_owned());
    }
    if run == Run::Dry || held.is_some() {
        let comparison = Comparison::new(&now, &version, serial);
        let is_change = comparison.reload.is_change();
        let signed = version.signed_serial();
        if is_change && signed.is_some_and(|serial| !now.takes_signed(&origin, serial)) {
            return Err(SERIAL_BEHIND.to_owned());
        }
        if run == Run::Dry || !is_change {
            return Ok(Built::Nothing(comparison));
        }
        if meanwhile == Meanwhile::Stays
            && let Some(message) = comparison.update(&now, &version)
        {
            let cause = rollback.map_or(Cause::Import, Cause::Rollback);
            return Ok(Built::Update(comparison.reload, message, cause));
        }
        reload = Some(comparison.reload);
    }
    let blob = Bytes::from(encode_version(&version));
    let zone = BuiltZone {
        replaces: match meanwhile {
            Meanwhile::Stays => Replaces::Unchanged(held.map(Version::digest)),
            Meanwhile::Goes => Replaces::Whatever,
        },
        majority: match obstacles {
            Obstacles::Heeded => Majority::Needed,
            Obstacles::Ignored => Majority::Forced,
        },
        origin,
        version: now.onto_held(version),
        serial,
        rollback,
        hash: blob_hash(&blob),
        blob,
    };
    Ok(Built::Zone(reload, zone))
}
