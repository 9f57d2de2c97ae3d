//! Fed zones: their primaries are asked, at the times and after each NOTIFY that RFC 1034 section 4.3.5
//! and RFC 1996 say, and what they have goes to all peers.

use super::publication::Held;
use super::{Effect, Peer};
use crate::body::{Body, Order};
use crate::feed::{Ask, Difference, Primary, timing};
use crate::message::{Header, Request as Message};
use crate::refresh::{Attempt, Due, Known, Standing};
use crate::requests::{Answer, ClientId, CommandRefused, Sender};
use crate::state::{Outcome, State};
use crate::tsig::Keys;
use crate::zone_settings::ZoneSettings;
use bytes::BufMut;
use overlay::PeerId;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};
use zones::{Name, Rcode, Serial};

/// The first byte of what one peer tells another of a NOTIFY; replicas' messages begin with their version.
const HINT: u8 = 0xf0;

/// How an attempt to fetch a zone ended, for the log and for operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempted {
    /// The zone.
    pub origin: Name,
    /// How it ended.
    pub attempt: Attempt,
    /// Whether the attempt before ended otherwise.
    pub is_news: bool,
}

impl Peer {
    /// An operator makes a fed zone ours.
    pub fn handle_adopt(
        &mut self,
        client: ClientId,
        origin: Name,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        let body = Body::Adopt {
            origin: origin.clone(),
        };
        self.command(client, Some(origin), &body, Vec::new(), wall, now)
    }

    /// A primary has a little that is newer; what becomes of it is told to this client.
    pub fn handle_difference(
        &mut self,
        client: ClientId,
        origin: Name,
        difference: Difference,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        let body = Body::Difference {
            origin: origin.clone(),
            primary: difference.primary,
            before: difference.before,
            after: difference.after,
            removed: difference.removed,
            added: difference.added,
        };
        self.command(client, Some(origin), &body, Vec::new(), wall, now)
    }

    /// What a primary gave goes to all peers as a command of this client, who is nobody outside.
    pub fn begin_feed(&mut self, client: ClientId, origin: Name, serial: Serial) {
        self.feeds.insert(client, (origin, serial));
    }

    /// True if this client is nobody outside.
    #[must_use]
    pub fn is_feed(&self, client: ClientId) -> bool {
        self.feeds.contains_key(&client)
    }

    /// What came of a command of this client. False if it is somebody outside.
    pub fn end_feed(
        &mut self,
        client: ClientId,
        answer: &Answer,
        wall: Duration,
        now: Instant,
    ) -> bool {
        let Some((origin, serial)) = self.feeds.remove(&client) else {
            return false;
        };
        let attempt = self.attempt_of(&origin, serial, answer);
        self.end_attempt(&origin, attempt, wall, now);
        true
    }

    /// How an attempt ended that brought this serial.
    pub(super) fn attempt_of(&self, origin: &Name, serial: Serial, answer: &Answer) -> Attempt {
        let reason = match answer {
            Answer::Outcome(Outcome::Rcode(Rcode::NOERROR)) => return Attempt::Answered,
            Answer::Outcome(Outcome::ZoneNotFed) | Answer::Refused(CommandRefused::ZoneNotFed) => {
                "the zone is ours by now"
            }
            Answer::Outcome(_) | Answer::Refused(CommandRefused::ZoneChanged) => {
                // Another peer was faster.
                let held = self.fold.now().fed(origin).and_then(|fed| fed.serial);
                if held.is_some_and(|held| held >= serial) {
                    return Attempt::Answered;
                }
                "the serial of the primary is not ahead of what was shown here; `dnsd zone refresh \
                 --whole` takes the zone all the same"
            }
            Answer::Refused(CommandRefused::NotSpread) => {
                "the other peers did not fetch it in time"
            }
            Answer::Refused(CommandRefused::Busy) => "too many commands are under way",
            Answer::Refused(_) | Answer::Unavailable | Answer::Silence => {
                "this peer cannot take it now"
            }
        };
        Attempt::Failed(reason.to_owned())
    }

    /// An attempt to fetch a zone has ended.
    pub fn end_attempt(&mut self, origin: &Name, attempt: Attempt, wall: Duration, now: Instant) {
        let failure = |attempt: &Attempt| match attempt {
            Attempt::Answered => None,
            Attempt::Failed(reason) => Some(reason.clone()),
        };
        let before = self.refresher.standing(origin);
        let is_news = before.is_some_and(|standing| standing.failure != failure(&attempt));
        let found = self
            .refresher
            .handle_attempt(origin, attempt.clone(), wall, now);
        if let Some(freshness) = found {
            let origin = origin.clone();
            let body = Body::Freshness { origin, freshness };
            // One that cannot be written is found again.
            if let Ok(submitted) = self
                .replica
                .submit(None, body.encode(), Vec::new(), wall, now)
            {
                self.note_authored(submitted);
            }
        }
        self.effects.push_back(Effect::Attempted(Attempted {
            origin: origin.clone(),
            attempt,
            is_news,
        }));
        self.called = Some((wall, now));
    }

    /// An operator wants to know whether a primary has something newer.
    pub fn refresh(&mut self, origin: &Name, order: Order, wall: Duration, now: Instant) {
        self.refresher.urge(origin, None, order, now);
        self.called = Some((wall, now));
    }

    /// How many zones this peer could not fetch when it last tried, and one of them with the reason.
    #[must_use]
    pub fn failing_feeds(&self) -> Option<(usize, &Name, &str)> {
        self.refresher.failing()
    }

    /// Where a fed zone stands; none if it is not fed.
    #[must_use]
    pub fn feed(&self, origin: &Name) -> Option<Standing> {
        self.refresher.standing(origin)
    }

    /// A NOTIFY of a fed zone came from somebody who may send one. It is acknowledged at once.
    pub(super) fn handle_notify(
        &mut self,
        client: ClientId,
        message: &[u8],
        sender: &Sender,
        wall: Duration,
        now: Instant,
    ) {
        let read = Header::read(message).and_then(|header| Message::read(message, header));
        let Ok(origin) = read.map(|read| read.question.qname.to_name()) else {
            self.answer(client, Answer::Outcome(Outcome::Rcode(Rcode::FORMERR)));
            return;
        };
        self.answer(client, Answer::Outcome(Outcome::Rcode(Rcode::NOERROR)));
        let told_by = sender.address.ip();
        match self.refresher.asker(&origin) {
            Some(asker) if asker != self.replica.me() => {
                let mut hint = vec![HINT];
                hint.put_slice(origin.as_wire());
                crate::prefix::put_address(&mut hint, told_by);
                self.effects.push_back(Effect::Send(asker, hint.into()));
            }
            _ => self
                .refresher
                .urge(&origin, Some(told_by), Order::Ahead, now),
        }
        self.called = Some((wall, now));
    }

    /// Takes what another peer tells of a NOTIFY. False if it is something else.
    pub(super) fn take_hint(&mut self, payload: &[u8], now: Instant) -> bool {
        let Some((&HINT, mut rest)) = payload.split_first() else {
            return false;
        };
        let origin = Name::take_wire(&mut rest);
        if let Some((origin, told_by)) = origin.zip(crate::prefix::get_address(&mut rest)) {
            self.refresher
                .urge(&origin, Some(told_by), Order::Ahead, now);
        }
        true
    }

    /// Looks at who settles together, and which zones are fed otherwise than before.
    pub(super) fn look_for_feeds(&mut self, looked_at: &[Name], now: Instant) {
        let state = self.fold.now();
        let is_fed = |origin| state.fed(origin).is_some();
        if !self.refresher.has_zones() && !looked_at.iter().any(is_fed) {
            return;
        }
        let view = self.replica.view().filter(|_| self.replica.is_settling());
        let members: Option<Vec<PeerId>> = view.map(|(_, members)| members.into_iter().collect());
        self.refresher.handle_view(members.unwrap_or_default());
        for origin in looked_at {
            match known(origin, state) {
                Some(known) => self.refresher.handle_known(origin, known, now),
                None => self.refresher.handle_gone(origin),
            }
        }
    }

    /// Has primaries asked whose zones are due.
    pub(super) fn ask_primaries(&mut self, wall: Duration, now: Instant) {
        for (origin, attempt) in std::mem::take(&mut self.fed) {
            self.end_attempt(&origin, attempt, wall, now);
        }
        if !self.asks() {
            return;
        }
        while let Some(due) = self.refresher.poll_zone(now) {
            match self.ask(&due) {
                Some(ask) => self.effects.push_back(Effect::Fetch(Box::new(ask))),
                None => {
                    let reason = "that it is to be is not settled yet".to_owned();
                    self.end_attempt(&due.origin, Attempt::Failed(reason), wall, now);
                }
            }
        }
    }

    /// Whether this peer asks primaries now: what they have follows what is settled.
    pub(super) fn asks(&self) -> bool {
        !self.is_stopping && !self.is_evicted && self.fold.settled().is_some()
    }

    /// What is asked of the primaries of a zone: what is fetched follows what is settled.
    fn ask(&self, due: &Due) -> Option<Ask> {
        let settled = self.fold.settled()?;
        let settings = settled.settings(&due.origin)?;
        let mut primaries = primaries(settings, settled.keys());
        // Who has said that there is something newer has it.
        primaries.sort_by_key(|primary| Some(primary.remote.address.ip()) != due.told_by);
        let serial = settled.fed(&due.origin)?.serial;
        let held = settled.version(&due.origin).cloned().zip(serial);
        let published = self.publisher.published().and_then(|published| {
            let newer = published.fed(&due.origin)?.serial?;
            let version = published.version(&due.origin)?.clone();
            // At other times it may be an operator who had the zone go back.
            let is_held = matches!(self.held, Held::Until(_));
            let is_newer = is_held && due.order == Order::Ahead && Some(newer) > serial;
            is_newer.then_some((version, newer))
        });
        Some(Ask {
            origin: due.origin.clone(),
            primaries,
            held,
            order: due.order,
            published,
        })
    }
}

fn known(origin: &Name, state: &State) -> Option<Known> {
    let fed = state.fed(origin)?;
    let version = state.version(origin);
    Some(Known {
        serial: fed.serial,
        timing: version.map(timing).unwrap_or_default(),
        refreshed: fed.refreshed.wall(),
        is_expired: fed.is_expired,
        primaries: hash(&primaries(state.settings(origin)?, state.keys())),
    })
}

/// What tells primaries and whether their keys are here from others.
fn hash(primaries: &[Primary]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for primary in primaries {
        primary.remote.to_string().hash(&mut hasher);
        primary.key.is_some().hash(&mut hasher);
    }
    hasher.finish()
}

pub(super) fn primaries(settings: &ZoneSettings, keys: &Keys) -> Vec<Primary> {
    let primaries = settings.primaries.iter().map(|remote| Primary {
        remote: remote.clone(),
        key: remote.key.as_ref().and_then(|name| keys.get(name).cloned()),
    });
    primaries.collect()
}
