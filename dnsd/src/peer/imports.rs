//! Imports: a zone's data is spread to the members as a blob, and one entry then makes it a zone. A
//! small change of a zone that is served is an update instead.

use super::{Effect, Peer};
use crate::body::{Body, Cause, Replaces};
use crate::requests::{Answer, ClientId, CommandRefused};
use crate::state::{Effect as Change, Outcome};
use bytes::Bytes;
use overlay::PeerId;
use replication::{BlobHash, Majority};
use std::time::{Duration, Instant};
use zones::{Name, Rcode, Serial, Update, Version};

/// An import that the members have not fetched by then is given up.
pub(super) const IMPORT_PATIENCE: Duration = Duration::from_secs(600);
/// How often the data of an import is offered to those who lack it.
pub(super) const OFFER_AGAIN: Duration = Duration::from_secs(1);
/// Most imports under way at once: each holds a zone in memory.
const IMPORTS_MAX: usize = 16;

/// An import whose data is being spread.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) client: ClientId,
    pub(super) origin: Name,
    pub(super) serial: Serial,
    pub(super) size: u64,
    pub(super) majority: Majority,
    pub(super) replaces: Replaces,
    pub(super) rollback: Option<Serial>,
    pub(super) since: Instant,
    pub(super) offered: Instant,
}

impl Peer {
    /// An operator changes a zone that is served by importing it again, or goes back to what it was:
    /// this update does it. What
    /// others change meanwhile stays, as with any other update.
    pub fn handle_reload(
        &mut self,
        client: ClientId,
        origin: &Name,
        message: Bytes,
        cause: Cause,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        if self.fold.now().fed(origin).is_some() {
            return Err(CommandRefused::ZoneFed);
        }
        let update = Update::from_message(&message).expect("the message was made here");
        let offset = match self.fold.now().consider(origin, &update) {
            Change::Changes(offset) => offset,
            Change::Nothing(Rcode::NOTAUTH) => return Err(CommandRefused::NoSuchZone),
            Change::Nothing(Rcode::NOERROR) => {
                // Somebody else has done the same meanwhile.
                self.answer(client, Answer::Outcome(Outcome::Rcode(Rcode::NOERROR)));
                self.called = Some((wall, now));
                return Ok(());
            }
            Change::Nothing(_) => return Err(CommandRefused::ZoneChanged),
        };
        let body = Body::Update {
            origin: origin.clone(),
            offset,
            cause,
            key: None,
            terms: Vec::new(),
            message,
        };
        self.command(client, Some(origin.clone()), &body, Vec::new(), wall, now)
    }

    /// An operator imports a zone, or goes back to what it was at the serial `rollback`: its data is
    /// durable here as a blob. It is refused if the zone has changed since it was compared with the
    /// file, and that matters.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different fact of one command"
    )]
    pub fn handle_import(
        &mut self,
        client: ClientId,
        origin: Name,
        serial: Serial,
        blob: BlobHash,
        size: u64,
        version: Version,
        replaces: Replaces,
        rollback: Option<Serial>,
        majority: Majority,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        self.fold.now().admits(&origin, replaces).map_err(refused)?;
        if self.spreading.len() == IMPORTS_MAX {
            return Err(CommandRefused::Busy);
        }
        let is_fed = matches!(replaces, Replaces::Fed { .. });
        let signed = version.signed_serial().filter(|_| !is_fed);
        if signed.is_some_and(|serial| !self.fold.now().takes_signed(&origin, serial)) {
            return Err(CommandRefused::SerialBehind);
        }
        self.imports.insert(blob, version);
        self.replica.offer_blob(blob, size, wall, now);
        let import = Import {
            client,
            origin,
            serial,
            size,
            majority,
            replaces,
            rollback,
            since: now,
            offered: now,
        };
        self.spreading.insert(blob, import);
        self.called = Some((wall, now));
        Ok(())
    }

    /// How many members still lack the data of an import.
    #[must_use]
    pub fn import_lackers(&self, blob: BlobHash) -> Vec<PeerId> {
        self.replica.blob_lackers(blob)
    }

    /// A peer that was starting, or out of reach, has not heard of an import.
    pub(super) fn offer_again(&mut self, wall: Duration, now: Instant) {
        for (blob, import) in &mut self.spreading {
            if import.offered + OFFER_AGAIN > now {
                continue;
            }
            import.offered = now;
            if !self.replica.blob_lackers(*blob).is_empty() {
                self.replica.offer_blob(*blob, import.size, wall, now);
            }
        }
    }

    /// Writes the one commit entry of an import when everybody holds its data.
    pub(super) fn commit_imports(&mut self, wall: Duration, now: Instant) {
        let due: Vec<BlobHash> = self
            .spreading
            .iter()
            .filter(|(blob, import)| {
                self.replica.blob_lackers(**blob).is_empty()
                    || import.since + IMPORT_PATIENCE <= now
            })
            .map(|(blob, _)| *blob)
            .collect();
        for blob in due {
            if !self.replica.is_settling() && self.spreading[&blob].since + IMPORT_PATIENCE > now {
                continue;
            }
            let import = self.spreading.remove(&blob).expect("it was just found");
            if let Err(refused) = self.commit_import(blob, &import, wall, now) {
                self.give_up_blob(blob);
                self.answer(import.client, Answer::Refused(refused));
            }
        }
    }

    /// The data of an import that will not be: it goes, unless something else needs it.
    pub fn give_up_blob(&mut self, blob: BlobHash) {
        if self.replica.needs_blob(blob) || self.spreading.contains_key(&blob) {
            return;
        }
        self.imports.remove(&blob);
        self.replica.forget_blob(blob);
        self.effects.push_back(Effect::DropBlob(blob));
    }

    pub(super) fn commit_import(
        &mut self,
        blob: BlobHash,
        import: &Import,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        if !self.replica.blob_lackers(blob).is_empty() {
            return Err(CommandRefused::NotSpread);
        }
        if import.majority == Majority::Needed && !self.replica.may_publish() {
            return Err(CommandRefused::NoMajority);
        }
        let state = self.fold.now();
        let admitted = state.admits(&import.origin, import.replaces);
        admitted.map_err(refused)?;
        let is_fed = matches!(import.replaces, Replaces::Fed { .. });
        let signed = self.imports.get(&blob).signed_serial();
        let signed = signed.filter(|_| !is_fed);
        if signed.is_some_and(|serial| !state.takes_signed(&import.origin, serial)) {
            return Err(CommandRefused::SerialBehind);
        }
        let body = Body::Import {
            origin: import.origin.clone(),
            offset: match import.replaces {
                Replaces::Fed { .. } => None,
                _ => state.offset(&import.origin, import.serial),
            },
            replaces: import.replaces,
            blob,
            rollback: import.rollback,
        };
        let origin = Some(import.origin.clone());
        self.command(import.client, origin, &body, vec![blob], wall, now)
    }
}

fn refused(outcome: Outcome) -> CommandRefused {
    match outcome {
        Outcome::ZoneFed => CommandRefused::ZoneFed,
        Outcome::ZoneNotFed => CommandRefused::ZoneNotFed,
        _ => CommandRefused::ZoneChanged,
    }
}
