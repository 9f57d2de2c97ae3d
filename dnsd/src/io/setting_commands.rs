//! What operators set for one zone.

use super::admin::{Answer as CallAnswer, Call};
use super::commands::Waiter;
use super::driver::{Client, Driver};
use crate::admin::Request;
use crate::status::NotifyRow;
use crate::zone_settings::SettingChange;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zones::Name;

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_setting_call(&mut self, call: Call, wall: Duration, now: Instant) {
        let Request::ZoneSet { origin, settings } = call.request else {
            unreachable!("the caller looked");
        };
        let changes: Result<Vec<SettingChange>, String> =
            settings.iter().map(|text| text.parse()).collect();
        match changes {
            Ok(changes) if !changes.is_empty() => {
                self.set(call.answer, origin, changes, wall, now);
            }
            Ok(_) => call.answer.refuse("nothing is to be set"),
            Err(reason) => call.answer.refuse(reason),
        }
    }

    fn set(
        &mut self,
        answer: CallAnswer,
        origin: Name,
        changes: Vec<SettingChange>,
        wall: Duration,
        now: Instant,
    ) {
        let waiter = Waiter::Set(answer, origin.clone());
        let client = self.add_client(Client::Command(waiter));
        let peer = &mut self.wiring.peer;
        let begun = peer.handle_zone_settings(client, origin, changes, wall, now);
        self.begun(client, begun);
    }

    /// Who is told of a zone's changes.
    pub(super) fn notified(&self, origin: &Name) -> Vec<NotifyRow> {
        let peer = &self.wiring.peer;
        let members = peer.replica().members().admits();
        let names: BTreeMap<_, _> = members
            .map(|admit| (admit.peer(), admit.name.clone()))
            .collect();
        let rows = peer.notified(origin).into_iter().map(|standing| NotifyRow {
            target: standing.target.to_string(),
            teller: standing
                .teller
                .and_then(|teller| names.get(&teller).cloned()),
            acknowledged: standing.acknowledged.map(|serial| serial.0),
            refused: standing.refused.map(|rcode| rcode.to_string()),
        });
        rows.collect()
    }
}
