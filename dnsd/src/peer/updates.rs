//! Requests: what each waits for, and its answer (replication protocol section 8).

use super::Peer;
use crate::body::{Body, Cause};
use crate::message::{Header, Opcode};
use crate::requests::{Answer, ClientId, Request, Sender, UpdateRequest, Waits};
use crate::state::{Effect as Change, Outcome, State};
use bytes::Bytes;
use overlay::Pressure;
use replication::{BlobHash, Digest, Phase, Refused, Submitted};
use std::time::{Duration, Instant};
use zones::{Rcode, Update};

/// A request that could not be looked at for so long makes no entry any more: an unsigned one is
/// remembered for 15 s, in stamps of clocks that may differ a little.
const SUBMIT_WITHIN: Duration = Duration::from_secs(8);

impl Peer {
    /// An UPDATE came. It is answered by [`super::Effect::Answer`].
    pub fn handle_update(
        &mut self,
        client: ClientId,
        message: Bytes,
        sender: Sender,
        wall: Duration,
        now: Instant,
    ) {
        if self.is_stopping || self.is_evicted || self.replica.stands_apart() {
            self.answer(client, Answer::Unavailable);
            return;
        }
        if Header::read(&message).is_ok_and(|header| header.opcode() == Opcode::NOTIFY) {
            self.handle_notify(client, &message, &sender, wall, now);
            return;
        }
        let update = match Update::from_message(&message) {
            Ok(update) => update,
            Err(error) => {
                self.answer(client, Answer::Outcome(Outcome::Rcode(error.rcode())));
                return;
            }
        };
        let digest = sender.digest(&message);
        let request = Request::Update(UpdateRequest {
            message,
            update,
            sender,
        });
        if self.requests.add(digest, request, client, now).is_err() {
            self.refused += 1;
            self.answer(client, Answer::Silence);
        }
        self.called = Some((wall, now));
    }

    /// Answers operators: what a command did is seen by queries when it is said to be done. A side
    /// that may not publish has nothing to wait for.
    pub(super) fn answer_commands(&mut self) {
        let published = self.publisher.published().map(State::at);
        let published = published.filter(|_| self.publisher.is_complete());
        let may_publish = self.replica.may_publish();
        for (stamp, client, outcome) in std::mem::take(&mut self.unpublished) {
            if may_publish && published < Some(stamp) {
                self.unpublished.push((stamp, client, outcome));
            } else {
                self.answer(client, Answer::Outcome(outcome));
            }
        }
    }

    /// Whether requests may be looked at: while the disk hangs nothing can be stamped, while too much
    /// waits to be multicast nothing should be, and looking at all of them at every event would stop
    /// this thread.
    pub(super) fn is_taking(&mut self) -> bool {
        let is_away = matches!(self.replica.phase(), Phase::Withdrawn | Phase::Starting)
            || self.pressure == Pressure::High;
        if !is_away {
            self.requests.handle_disk_returned();
        }
        !is_away
    }

    /// Decides what a request waits for, or answers it (replication protocol section 8). True if
    /// anything settled on the way.
    pub(super) fn consider(&mut self, digest: Digest, wall: Duration, now: Instant) -> bool {
        let asked = self.requests.asked(&digest, self.replica.next_stamp(wall));
        let Some(waiting) = self.requests.get(&digest) else {
            return false;
        };
        let Request::Update(request) = &waiting.request else {
            return false;
        };
        let is_old = waiting.is_older_than(SUBMIT_WITHIN, now);
        if let Some(outcome) = self.fold.answered(digest, asked) {
            self.finish(&digest, outcome);
            return false;
        }
        if self.fold.now().answered(digest, asked).is_some() {
            self.requests.wait(digest, Waits::Entry(asked));
            return false;
        }
        // Authorisation is decided here and never again; this and NOTAUTH are the only answers
        // that do not wait for settled state.
        let now_state = self.fold.now();
        let origin = request.update.zone().clone();
        let Some(version) = now_state.version(&origin) else {
            self.finish(&digest, Outcome::Rcode(Rcode::NOTAUTH));
            return false;
        };
        let asker = request.sender.asker();
        let policy = now_state.policy();
        let Ok(judgement) = policy.judge(version, &request.update, &asker) else {
            self.finish(&digest, Outcome::Rcode(Rcode::REFUSED));
            return false;
        };
        let terms = judgement.terms();
        if now_state.fed(&origin).is_some() {
            // Nobody holds the primary to what is allowed here in part.
            match terms.is_empty() {
                true => self.forward(digest, &origin),
                false => self.finish(&digest, Outcome::Rcode(Rcode::REFUSED)),
            }
            return false;
        }
        let request = self.requests.hold_to(&digest, terms.clone());
        match now_state.consider(&origin, &request.update) {
            // Its first answer may be forgotten by now, and it must not be done twice.
            Change::Changes(_) if is_old => self.give_up(&digest),
            Change::Changes(offset) => {
                let body = Body::Update {
                    origin,
                    offset,
                    cause: Cause::Request(request.sender.address.ip()),
                    key: request.sender.signature.as_ref().map(|by| by.key.clone()),
                    terms,
                    message: request.message.clone(),
                };
                match self.submit(digest, &body, Vec::new(), wall, now) {
                    Ok(()) => {
                        self.requests.wait(digest, Waits::Entry(asked));
                        // The next request must see what this one does.
                        return self.fold_on();
                    }
                    Err(Refused::Withdrawn) => self.requests.wait(digest, Waits::Disk),
                    Err(
                        Refused::Full | Refused::Evicted | Refused::TooLarge | Refused::BlobMissing,
                    ) => {
                        self.give_up(&digest);
                    }
                }
            }
            Change::Nothing(_) => {
                let (read, stamp) = self.replica.read_stamp(wall, now);
                self.requests.wait(digest, Waits::Read(read, stamp));
            }
        }
        false
    }

    /// Answers requests whose read stamp is settled: nothing can come before it any more.
    pub(super) fn answer_reads(&mut self) {
        let Some(settled) = self.fold.settled() else {
            return;
        };
        let mut answers = Vec::new();
        let mut again = Vec::new();
        for digest in self.requests.reads_up_to(settled.at()) {
            let Some(waiting) = self.requests.get(&digest) else {
                continue;
            };
            let (Request::Update(request), Waits::Read(read, stamp)) =
                (&waiting.request, waiting.waits)
            else {
                continue;
            };
            self.replica.release_read(read);
            if let Some(outcome) = settled.answered(digest, stamp) {
                answers.push((digest, outcome));
                continue;
            }
            match settled.consider(request.update.zone(), &request.update) {
                Change::Nothing(rcode) => answers.push((digest, Outcome::Rcode(rcode))),
                Change::Changes(_) => again.push(digest),
            }
        }
        for (digest, outcome) in answers {
            self.finish(&digest, outcome);
        }
        for digest in again {
            self.requests.wait(digest, Waits::Turn);
        }
    }

    pub(super) fn submit(
        &mut self,
        digest: Digest,
        body: &Body,
        blobs: Vec<BlobHash>,
        wall: Duration,
        now: Instant,
    ) -> Result<(), Refused> {
        let submitted = self
            .replica
            .submit(Some(digest), body.encode(), blobs, wall, now)?;
        self.note_authored(submitted);
        Ok(())
    }

    pub(super) fn note_authored(&mut self, submitted: Submitted) {
        if let Submitted::Stamped(stamp) = submitted {
            self.fold.handle_arrived(stamp);
        }
    }

    pub(super) fn finish(&mut self, digest: &Digest, outcome: Outcome) {
        let Some(waiting) = self.requests.remove(digest) else {
            return;
        };
        if let Waits::Read(read, _) = waiting.waits {
            self.replica.release_read(read);
        }
        for client in waiting.clients {
            self.answer(client, Answer::Outcome(outcome));
        }
    }

    pub(super) fn give_up(&mut self, digest: &Digest) {
        let Some(waiting) = self.requests.remove(digest) else {
            return;
        };
        self.refused += 1;
        for client in waiting.clients {
            self.answer(client, Answer::Unavailable);
        }
    }
}
