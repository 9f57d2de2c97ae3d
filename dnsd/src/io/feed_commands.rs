//! What operators ask of zones that come from a primary, and what becomes of attempts to fetch one.

use super::admin::{Answer as CallAnswer, Call};
use super::commands::{Waiter, no_such_zone};
use super::driver::{Client, Driver};
use crate::admin::{Done, Fetch, Ours, Request};
use crate::body::Order;
use crate::peer::Attempted;
use crate::refresh::Attempt;
use crate::remote::{List, REMOTES_MAX, Remote};
use crate::report::Zones;
use crate::status::FeedRow;
use crate::zone_settings::SettingChange;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};
use zones::Name;

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_feed_call(&mut self, call: Call, wall: Duration, now: Instant) {
        match call.request {
            Request::ZoneFeed {
                origin,
                primaries,
                ours,
            } => {
                let read: Result<Vec<Remote>, String> =
                    primaries.iter().map(|text| text.parse()).collect();
                match read {
                    Ok(primaries) => {
                        self.begin_feed(call.answer, origin, primaries, ours, wall, now);
                    }
                    Err(reason) => call.answer.refuse(reason),
                }
            }
            Request::ZoneRefresh { origin, content } => {
                if self.wiring.peer.now().fed(&origin).is_none() {
                    call.answer.refuse(self.not_fed(&origin));
                    return;
                }
                let order = match content {
                    Fetch::Newer => Order::Ahead,
                    Fetch::Whole => Order::Any,
                };
                self.fetch(call.answer, origin, order, wall, now);
            }
            Request::ZoneAdopt { origin } => {
                let state = self.wiring.peer.now();
                // Without content there is nothing to adopt.
                if state.fed(&origin).is_none() || state.version(&origin).is_none() {
                    call.answer.refuse(self.not_fed(&origin));
                    return;
                }
                let waiter = Waiter::Adopt(call.answer, origin.clone());
                let client = self.add_client(Client::Command(waiter));
                let begun = self.wiring.peer.handle_adopt(client, origin, wall, now);
                self.begun(client, begun);
            }
            _ => unreachable!("the caller looked"),
        }
    }

    fn begin_feed(
        &mut self,
        answer: CallAnswer,
        origin: Name,
        primaries: Vec<Remote>,
        ours: Ours,
        wall: Duration,
        now: Instant,
    ) {
        if primaries.is_empty() || primaries.len() > REMOTES_MAX {
            answer.refuse(format!("a zone may have 1 to {REMOTES_MAX} primaries"));
            return;
        }
        let state = self.wiring.peer.now();
        let is_ours = state.version(&origin).is_some() && state.fed(&origin).is_none();
        if is_ours && ours == Ours::Stays {
            answer.refuse(format!(
                "{origin} is a zone of ours: --replace lets what the primary has take its place"
            ));
            return;
        }
        let waiter = Waiter::Feed(answer, origin.clone());
        let client = self.add_client(Client::Command(waiter));
        let changes = vec![SettingChange::Primaries(primaries)];
        let peer = &mut self.wiring.peer;
        let begun = peer.handle_zone_settings(client, origin, changes, wall, now);
        self.begun(client, begun);
    }

    /// Asks the primaries of a zone, and lets somebody wait for what comes of it.
    pub(super) fn fetch(
        &mut self,
        answer: CallAnswer,
        origin: Name,
        order: Order,
        wall: Duration,
        now: Instant,
    ) {
        if self.wiring.peer.feed(&origin).is_none() {
            answer.refuse("this peer is not that far yet; try again");
            return;
        }
        self.wiring.peer.refresh(&origin, order, wall, now);
        self.commands.fetches.push((origin, answer));
    }

    /// An attempt to fetch a zone has ended.
    pub(super) fn end_attempt(&mut self, attempted: Attempted) {
        let Attempted {
            origin,
            attempt,
            is_news,
        } = attempted;
        match &attempt {
            Attempt::Answered if is_news => info!(zone = %origin, "a primary answers again"),
            Attempt::Answered => {}
            Attempt::Failed(reason) if is_news => {
                warn!(zone = %origin, reason, "the zone cannot be fetched; it is tried again");
            }
            Attempt::Failed(reason) => {
                debug!(zone = %origin, reason, "the zone still cannot be fetched");
            }
        }
        let waiting = std::mem::take(&mut self.commands.fetches);
        for (of, answer) in waiting {
            if of != origin {
                self.commands.fetches.push((of, answer));
                continue;
            }
            let zone = Zones::of(&self.wiring.peer).get(&origin);
            match (&attempt, zone) {
                (Attempt::Answered, Some(zone)) => answer.done(Done::Fetched(zone)),
                (Attempt::Answered, None) => answer.refuse(no_such_zone(&origin)),
                (Attempt::Failed(reason), _) => answer.refuse(format!(
                    "{origin} could not be fetched: {reason}; it is tried again and again, as long \
                     as the zone is there"
                )),
            }
        }
    }

    /// Where a zone that comes from a primary stands; none if it is ours.
    pub(super) fn feed_row(&self, origin: &Name, wall: Duration, now: Instant) -> Option<FeedRow> {
        let peer = &self.wiring.peer;
        let standing = peer.feed(origin)?;
        let state = peer.now();
        let settings = state.settings(origin)?;
        let members = peer.replica().members().admits();
        let mut names = members.map(|admit| (admit.peer(), admit.name.clone()));
        let asker = standing
            .asker
            .and_then(|asker| names.find(|(peer, _)| *peer == asker));
        let version = state.version(origin);
        let expire = version.map(|version| crate::feed::timing(version).expire);
        Some(FeedRow {
            primaries: List(&settings.primaries).to_string(),
            asker: asker.map(|(_, name)| name),
            answered_ago: wall.saturating_sub(standing.answered),
            expires_in: expire.map(|expire| (standing.answered + expire).saturating_sub(wall)),
            asked_in: standing.due.map(|due| due.saturating_duration_since(now)),
            is_expired: state.fed(origin).is_some_and(|fed| fed.is_expired),
            failure: standing.failure,
        })
    }

    /// Why nothing can be shown of a zone.
    pub(super) fn no_content(&self, origin: &Name) -> String {
        let peer = &self.wiring.peer;
        let Some(standing) = peer
            .feed(origin)
            .filter(|_| peer.now().fed(origin).is_some())
        else {
            return no_such_zone(origin);
        };
        let primaries = peer.now().settings(origin).cloned().unwrap_or_default();
        let failure = standing.failure.map_or_else(
            || "`dnsd zone refresh` tells what becomes of it".to_owned(),
            |failure| format!("the last attempt of this peer: {failure}"),
        );
        format!(
            "nothing of {origin} has come from {} yet; {failure}",
            List(&primaries.primaries)
        )
    }

    fn not_fed(&self, origin: &Name) -> String {
        let state = self.wiring.peer.now();
        match (state.fed(origin), state.version(origin)) {
            (Some(_), None) => self.no_content(origin),
            (None, Some(_)) => format!("{origin} is ours: it comes from no primary"),
            _ => no_such_zone(origin),
        }
    }
}
