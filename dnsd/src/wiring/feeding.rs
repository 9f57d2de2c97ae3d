//! What a primary gave: on its way to all peers it is a command, given by nobody.

use super::import::BuiltZone;
use super::{Act, Wiring};
use crate::body::Replaces;
use crate::feed::Brought;
use crate::refresh::Attempt;
use crate::requests::{Answer, ClientId};
use replication::Majority;
use std::time::{Duration, Instant};
use zones::Name;

impl Wiring {
    /// Primaries of a zone were asked.
    pub fn handle_fetched(
        &mut self,
        origin: Name,
        fetched: Result<Brought, String>,
        wall: Duration,
        now: Instant,
    ) {
        let attempt = match fetched {
            Err(reason) => Attempt::Failed(reason),
            Ok(Brought::Nothing) => Attempt::Answered,
            Ok(Brought::Difference(difference)) => {
                let client = self.new_client();
                let serial = difference.after;
                self.peer.begin_feed(client, origin.clone(), serial);
                let peer = &mut self.peer;
                let begun = peer.handle_difference(client, origin, difference, wall, now);
                if let Err(refused) = begun {
                    self.answer(client, Answer::Refused(refused), wall, now);
                }
                return;
            }
            Ok(Brought::Whole(whole)) if self.importing.is_under_way(&whole.hash) => {
                Attempt::Failed("the same data is being imported already".to_owned())
            }
            Ok(Brought::Whole(whole)) => {
                let client = self.new_client();
                self.peer.begin_feed(client, origin.clone(), whole.serial);
                let zone = BuiltZone {
                    origin,
                    version: whole.version,
                    serial: whole.serial,
                    replaces: Replaces::Fed {
                        primary: whole.primary,
                        serial: whole.serial,
                        order: whole.order,
                    },
                    rollback: None,
                    // What two sides fetch is the same zone of the same primary.
                    majority: Majority::Forced,
                    hash: whole.hash,
                    blob: whole.blob,
                };
                self.store(client, zone);
                return;
            }
        };
        self.peer.end_attempt(&origin, attempt, wall, now);
    }

    /// Tells a client, whoever it is.
    pub(super) fn answer(
        &mut self,
        client: ClientId,
        answer: Answer,
        wall: Duration,
        now: Instant,
    ) {
        self.importing.end(client);
        if !self.peer.end_feed(client, &answer, wall, now) {
            self.act(Act::Answer(client, answer));
        }
    }
}
