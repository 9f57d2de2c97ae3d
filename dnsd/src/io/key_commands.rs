//! What operators ask about keys. A secret is told to those alone who ask for that key.

use super::admin::{Answer as CallAnswer, Call};
use super::commands::Waiter;
use super::driver::{Client, Driver};
use crate::admin::{Done, KeyInUse, KeySpec, Request};
use crate::status::{KeyDetail, KeyRow};
use crate::tsig::clause::secret_of;
use crate::tsig::key::SecretSize;
use crate::tsig::{Key, KeyChange, Secret};
use ring::rand::{SecureRandom, SystemRandom};
use std::time::{Duration, Instant};
use zones::Name;

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_key_call(&mut self, call: Call, wall: Duration, now: Instant) {
        let keys = self.wiring.peer.now().keys().clone();
        match call.request {
            Request::KeyList => {
                let row = |key: &Key| KeyRow {
                    name: key.name.clone(),
                    algorithm: key.method,
                };
                call.answer.done(Done::Keys(keys.iter().map(row).collect()));
            }
            Request::KeyShow { name } => match keys.get(&name) {
                Some(key) => call.answer.done(Done::Key(KeyDetail::of(key))),
                None => call.answer.refuse(no_such_key(&name)),
            },
            Request::KeyAdd { key, in_use } => match key_of(key) {
                Ok(key) => {
                    let done = Done::Key(KeyDetail::of(&key));
                    let change = match in_use {
                        KeyInUse::Refused => KeyChange::Add(key),
                        KeyInUse::Replaced => KeyChange::Replace(key),
                    };
                    self.change_keys(call.answer, change, done, wall, now);
                }
                Err(reason) => call.answer.refuse(reason),
            },
            Request::KeyRemove { name } => {
                let done = Done::KeyRemoved { name: name.clone() };
                self.change_keys(call.answer, KeyChange::Remove(name), done, wall, now);
            }
            _ => unreachable!("the caller looked"),
        }
    }

    fn change_keys(
        &mut self,
        answer: CallAnswer,
        change: KeyChange,
        done: Done,
        wall: Duration,
        now: Instant,
    ) {
        let client = self.add_client(Client::Command(Waiter::Key(answer, Box::new(done))));
        let peer = &mut self.wiring.peer;
        let begun = peer.handle_key(client, change, wall, now);
        self.begun(client, begun);
    }
}

fn no_such_key(name: &Name) -> String {
    format!("there is no key {name}; `dnsd key list` shows all")
}

/// The key that is asked for, with a secret that nobody can guess if it comes without.
fn key_of(spec: KeySpec) -> Result<Key, String> {
    let secret = match spec.secret {
        Some(text) => secret_of(&text.0).ok_or_else(|| {
            format!("the secret is not base64, or its size is wrong: {SecretSize}")
        })?,
        None => {
            let mut bytes = vec![0; spec.algorithm.algorithm.mac_size()];
            SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|_| "the system gives no randomness")?;
            Secret::new(bytes).expect("no MAC is longer than a secret may be")
        }
    };
    Ok(Key {
        name: spec.name,
        method: spec.algorithm,
        secret,
    })
}
