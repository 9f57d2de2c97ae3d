//! What operators ask about policy, and of updates that are only tried.

use super::admin::{Answer as CallAnswer, Call};
use super::commands::{Waiter, no_such_zone};
use super::driver::{Client, Driver};
use crate::admin::{Carrier, Done, Request, SenderSpec, TestedAction};
use crate::policy::{Action, Asker, PolicyChange, Realm};
use crate::report::rules_of;
use crate::status::RuleRow;
use crate::trial;
use std::time::{Duration, Instant};
use zones::Name;

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_policy_call(&mut self, call: Call, wall: Duration, now: Instant) {
        match call.request {
            Request::PolicyList { zone } => match self.rules(zone) {
                Ok(rules) => call.answer.done(Done::Rules(rules)),
                Err(reason) => call.answer.refuse(reason),
            },
            Request::PolicyGrant(row) => {
                let change = PolicyChange::Grant(row.zone.clone(), row.rule.clone());
                self.change_policy(call.answer, change, Done::Granted(*row), wall, now);
            }
            Request::PolicyRevoke(row) => {
                let change = PolicyChange::Revoke(row.zone.clone(), row.rule.clone());
                self.change_policy(call.answer, change, Done::Revoked(*row), wall, now);
            }
            Request::PolicyTest {
                zone,
                sender,
                action,
            } => match self.permission(&zone, &sender, action) {
                Ok(done) => call.answer.done(done),
                Err(reason) => call.answer.refuse(reason),
            },
            Request::UpdateTry { message, sender } => {
                match self.try_update(&message, sender.as_ref()) {
                    Ok(done) => call.answer.done(done),
                    Err(reason) => call.answer.refuse(reason),
                }
            }
            Request::ZoneOf { name } => match self.zone_of(&name) {
                Some(origin) => call.answer.done(Done::ZoneOf { origin }),
                None => call.answer.refuse(format!("no zone here holds {name}")),
            },
            _ => unreachable!("the caller looked"),
        }
    }

    fn rules(&self, zone: Option<Name>) -> Result<Vec<RuleRow>, String> {
        let now = self.wiring.peer.now();
        let policy = now.policy();
        let Some(zone) = zone else {
            return Ok(policy
                .iter()
                .map(|(zone, rule)| RuleRow::new(zone, rule))
                .collect());
        };
        if !now.has_zone(&zone) {
            return Err(no_such_zone(&zone));
        }
        let zone = Realm::Zone(zone);
        Ok(rules_of(policy, &Realm::All)
            .chain(rules_of(policy, &zone))
            .collect())
    }

    fn permission(
        &self,
        zone: &Name,
        sender: &SenderSpec,
        action: TestedAction,
    ) -> Result<Done, String> {
        let now = self.wiring.peer.now();
        if !now.has_zone(zone) {
            return Err(no_such_zone(zone));
        }
        let (policy, asker) = (now.policy(), sender.asker());
        let (is_allowed, action) = match action {
            TestedAction::Transfer => (policy.allows_transfer(zone, &asker), Action::Transfer),
            TestedAction::Notify => (policy.allows_notify(zone, &asker), Action::Notify),
        };
        let rules = policy.about_action(zone, &asker, &action);
        Ok(Done::Permission {
            is_allowed,
            rules: rules.map(|(zone, rule)| RuleRow::new(zone, rule)).collect(),
        })
    }

    fn try_update(&self, message: &str, sender: Option<&SenderSpec>) -> Result<Done, String> {
        let message = data_encoding::BASE64.decode(message.as_bytes());
        let message = message.map_err(|_| "the message is not base64".to_owned())?;
        let asker = sender.map(SenderSpec::asker);
        let trial = trial::run(self.wiring.peer.now(), &message, asker.as_ref());
        let trial = trial.ok_or_else(|| "the message is no UPDATE that can be read".to_owned())?;
        Ok(Done::Tried(Box::new(trial)))
    }

    fn zone_of(&self, name: &Name) -> Option<Name> {
        let now = self.wiring.peer.now();
        let mut above = Some(name.clone());
        while let Some(origin) = above {
            if let Some(version) = now.version(&origin) {
                return Some(version.origin().clone());
            }
            above = origin.parent();
        }
        None
    }

    fn change_policy(
        &mut self,
        answer: CallAnswer,
        change: PolicyChange,
        done: Done,
        wall: Duration,
        now: Instant,
    ) {
        let client = self.add_client(Client::Command(Waiter::Policy(answer, Box::new(done))));
        let peer = &mut self.wiring.peer;
        let begun = peer.handle_policy(client, change, wall, now);
        self.begun(client, begun);
    }
}

impl SenderSpec {
    /// Who that is to policy.
    fn asker(&self) -> Asker<'_> {
        Asker {
            key: self.key.as_ref(),
            address: self.address,
            is_address_proven: self.by == Carrier::Connection,
        }
    }
}
