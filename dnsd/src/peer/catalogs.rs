//! Catalogs: one of the peers lists in ours what zones there are, and takes up the zones that those of a
//! primary list.

use super::{Effect, Peer};
use crate::body::{Body, Cause};
use overlay::Pressure;
use std::time::{Duration, Instant};

/// How long a change waits that could not be written.
const AGAIN: Duration = Duration::from_secs(1);

struct NotWritten;

impl Peer {
    /// Lists zones that came, and takes out those that went; has zones come and go as the catalogs of
    /// primaries say; if that is for this peer: of those that settle together, the least does it. Where
    /// two sides do, the second update changes nothing. True if anything settled on the way.
    pub(super) fn keep_catalogs(&mut self, wall: Duration, now: Instant) -> bool {
        self.catalogs_due = None;
        let is_called = !self.fold.now().catalogs().is_empty() && self.sees_to_duties();
        if self.is_stopping || !is_called {
            self.catalogs.rest();
            self.consumed.rest();
            return false;
        }
        if !self.fold.is_current() {
            return false;
        }
        if self.pressure == Pressure::High {
            self.catalogs_due = Some(now + AGAIN);
            return false;
        }
        let mut has_settled = false;
        for (origin, message) in self.catalogs.look(self.fold.now()) {
            let body = Body::Update {
                origin,
                offset: None,
                cause: Cause::Catalog,
                key: None,
                terms: Vec::new(),
                message: message.into(),
            };
            match self.write(&body, wall, now) {
                Ok(settled) => has_settled |= settled,
                Err(NotWritten) => {
                    self.catalogs.rest();
                    return has_settled;
                }
            }
        }
        let found = self.consumed.look(self.fold.now());
        for (catalog, why) in found.troubles {
            self.effects.push_back(Effect::BadCatalog(catalog, why));
        }
        for body in found.bodies {
            match self.write(&body, wall, now) {
                Ok(settled) => has_settled |= settled,
                Err(NotWritten) => {
                    self.consumed.rest();
                    return has_settled;
                }
            }
        }
        if !self.catalogs.is_idle() || !self.consumed.is_idle() {
            self.catalogs_due = Some(now + Duration::from_millis(1));
        }
        has_settled
    }

    /// Writes a change; true if anything settled on the way. One that cannot be written is found again.
    fn write(&mut self, body: &Body, wall: Duration, now: Instant) -> Result<bool, NotWritten> {
        let replica = &mut self.replica;
        match replica.submit(None, body.encode(), Vec::new(), wall, now) {
            Ok(submitted) => {
                self.note_authored(submitted);
                Ok(self.fold_on())
            }
            Err(_) => {
                self.catalogs_due = Some(now + AGAIN);
                Err(NotWritten)
            }
        }
    }

    /// Whether it is for this peer to do what one of those that settle together does for all.
    pub(super) fn sees_to_duties(&self) -> bool {
        let view = self.replica.view().map(|(_, members)| members);
        let least = view.as_ref().and_then(|members| members.first());
        self.replica.is_settling() && least == Some(&self.replica.me())
    }
}
