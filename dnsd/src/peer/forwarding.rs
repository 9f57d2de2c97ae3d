//! Updates of fed zones go on to a primary, as they came (RFC 2136 section 6).

use super::feeding::primaries;
use super::{Effect, Peer};
use crate::body::Order;
use crate::feed::Primary;
use crate::requests::{Answer, Request, Waits};
use crate::state::Outcome;
use bytes::Bytes;
use replication::Digest;
use std::time::{Duration, Instant};
use zones::{Name, Rcode};

/// An UPDATE of a fed zone on its way to a primary.
#[derive(Clone, Debug)]
pub struct Forward {
    /// By what its answer is known.
    pub digest: Digest,
    /// Who is asked, in this order until one answers.
    pub primaries: Vec<Primary>,
    /// The message as it came, with its signature.
    pub message: Bytes,
    /// The key and the MAC of its signature, by which the response is known; none if it is not signed.
    pub signature: Option<(crate::tsig::Key, Box<[u8]>)>,
}

/// What became of an UPDATE that was to be sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// A primary answered.
    Answered(Rcode),
    /// None did.
    Unanswered,
    /// So many wait that this one was not sent: its requestor sends it again.
    TooMany,
}

impl Peer {
    /// Sends an update on that is for a fed zone and may be made.
    pub(super) fn forward(&mut self, digest: Digest, origin: &Name) {
        let now_state = self.fold.now();
        let Some(Request::Update(request)) =
            self.requests.get(&digest).map(|waiting| &waiting.request)
        else {
            return;
        };
        let keys = now_state.keys();
        let settings = now_state.settings(origin).cloned().unwrap_or_default();
        let signature = request.sender.signature.as_ref().and_then(|signature| {
            let key = keys.get(&signature.key)?.clone();
            Some((key, signature.mac.clone()))
        });
        let forward = Forward {
            digest,
            primaries: primaries(&settings, keys),
            message: request.message.clone(),
            signature,
        };
        self.effects.push_back(Effect::Forward(Box::new(forward)));
        self.requests.wait(digest, Waits::Primary);
    }

    /// What became of an update that was to be sent on.
    pub fn handle_forwarded(
        &mut self,
        digest: Digest,
        forwarded: Forwarded,
        wall: Duration,
        now: Instant,
    ) {
        let Some(waiting) = self.requests.get(&digest) else {
            return;
        };
        if let Request::Update(request) = &waiting.request
            && forwarded == Forwarded::Answered(Rcode::NOERROR)
        {
            let origin = request.update.zone().clone();
            self.refresher.urge(&origin, None, Order::Ahead, now);
        }
        match forwarded {
            Forwarded::Answered(rcode) => self.finish(&digest, Outcome::Rcode(rcode)),
            Forwarded::Unanswered => self.give_up(&digest),
            Forwarded::TooMany => {
                let waiting = self.requests.remove(&digest);
                for client in waiting.into_iter().flat_map(|waiting| waiting.clients) {
                    self.answer(client, Answer::Silence);
                }
            }
        }
        self.called = Some((wall, now));
    }
}
