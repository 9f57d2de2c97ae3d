//! What operators ask about what was published: who changed what, and to go back.

use super::admin::{Answer as CallAnswer, Call};
use super::commands::{Waiter, no_such_zone};
use super::driver::{Client, Driver};
use crate::admin::{Done, Request};
use crate::history::report;
use crate::wiring::NoWayBack;
use std::collections::BTreeMap;
use zones::{Name, Serial};

/// Most steps that are told at once.
const STEPS_MAX: usize = 10_000;

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_history_call(&mut self, call: Call) {
        match call.request {
            Request::ZoneHistory {
                origin,
                name,
                limit,
            } => self.tell_history(call.answer, &origin, name, limit as usize),
            Request::ZoneRollback { origin, to, run } => {
                let waiter = Waiter::Import(call.answer, origin.clone(), None);
                let client = self.add_client(Client::Command(waiter));
                let begun = self
                    .wiring
                    .roll_back(client, origin.clone(), Serial(to), run);
                if let Err(no_way) = begun {
                    let reason = match no_way {
                        NoWayBack::NoSuchZone => no_such_zone(&origin),
                        NoWayBack::Unknown { oldest } => format!(
                            "this peer does not know the content of {origin} at serial {to}: its \
                             history goes back to {oldest}; `dnsd zone history {origin}` shows it",
                            oldest = oldest.0
                        ),
                    };
                    self.refuse_import(client, &reason);
                }
            }
            _ => unreachable!("the caller looked"),
        }
    }

    fn tell_history(&self, answer: CallAnswer, origin: &Name, name: Option<Name>, limit: usize) {
        let peer = &self.wiring.peer;
        let chain = peer.history().chains().get(origin).cloned();
        if chain.is_none() && peer.now().version(origin).is_none() {
            answer.refuse(no_such_zone(origin));
            return;
        }
        let members = peer.replica().members().admits();
        let names: BTreeMap<_, _> = members
            .map(|admit| (admit.peer(), admit.name.clone()))
            .collect();
        self.do_aside(move || {
            let chain = chain.unwrap_or_default();
            let steps = report(&chain, name.as_ref(), limit.min(STEPS_MAX), &names);
            answer.done(Done::History(steps));
        });
    }
}
