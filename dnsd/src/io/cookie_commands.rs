//! What operators ask about the secrets of DNS cookies. The secrets themselves are never told.

use super::admin::{Answer as CallAnswer, Call};
use super::commands::Waiter;
use super::driver::{Client, Driver};
use crate::admin::{Done, Obstacles, Request};
use crate::cookie::{Secret, Secrets};
use crate::rollover::{Rollover, Settled};
use crate::status::Cookies;
use ring::rand::{SecureRandom, SystemRandom};
use std::time::{Duration, Instant};

/// A secret that nobody can guess; none if the system gives no randomness.
pub(super) fn new_secret() -> Option<Secret> {
    let mut secret = [0; 16];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(Secret(secret))
}

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_cookie_call(&mut self, call: Call, wall: Duration, now: Instant) {
        let obstacles = match call.request {
            Request::CookieShow => {
                call.answer.done(Done::Cookies(self.cookies(wall)));
                return;
            }
            Request::CookieRollover { obstacles } => obstacles,
            _ => unreachable!("the caller looked"),
        };
        let rollover = self.rollover();
        if obstacles == Obstacles::Heeded
            && let Some(obstacle) = rollover.obstacle(wall)
        {
            call.answer.refuse(format!(
                "{obstacle}; wait, or use --force: some clients then have to ask twice"
            ));
            return;
        }
        let Some(fresh) = new_secret() else {
            call.answer.refuse("the system gives no randomness");
            return;
        };
        self.set_cookies(call.answer, rollover.next(fresh), wall, now);
    }

    /// Makes these the secrets of the cluster.
    fn set_cookies(&mut self, answer: CallAnswer, secrets: Secrets, wall: Duration, now: Instant) {
        let client = self.add_client(Client::Command(Waiter::Cookies(answer)));
        let peer = &mut self.wiring.peer;
        let begun = peer.handle_cookies(client, secrets, wall, now);
        self.begun(client, begun);
    }

    /// How far a rollover has come.
    pub(super) fn cookies(&self, wall: Duration) -> Cookies {
        let rollover = self.rollover();
        Cookies {
            step: rollover.cookies.map(|cookies| cookies.secrets.step()),
            since: rollover
                .cookies
                .map(|cookies| wall.saturating_sub(cookies.since.hybrid.wall())),
            waits_for: rollover.obstacle(wall).map(|obstacle| obstacle.to_string()),
        }
    }

    fn rollover(&self) -> Rollover {
        let peer = &self.wiring.peer;
        let cookies = peer.now().cookies();
        let is_settled = peer.settled().is_some_and(|s| s.cookies() == cookies);
        let status = peer.replica().status();
        let members = peer.replica().members().admits();
        Rollover {
            cookies,
            settled: if is_settled {
                Settled::Yes
            } else {
                Settled::No
            },
            missing: members
                .filter(|admit| {
                    status.view.is_none() || !status.view_members.contains(&admit.peer())
                })
                .map(|admit| admit.name.clone())
                .collect(),
        }
    }
}
