//! The joiner's side: one token, all its addresses, again and again until it is redeemed.

use super::frame::{End, FRAME_SIZE_TO_JOINER, FrameReader, FrameWriter, Message, VERSION};
use super::{
    JoinEvent, JoinOutput, JoinRequest, WINDOW, admit_proof_bytes, join_proof_bytes, secret_key,
    sign,
};
use crate::link_event::{
    CloseCode, DialFailed, DialId, Direction, Expected, LinkEvent, LinkId, LinkOutput, Protocol,
    StreamId,
};
use crate::peer_id::PublicKey;
use bytes::Bytes;
use ring::hmac;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub(super) struct Joiner {
    request: JoinRequest,
    phase: Phase,
    dial_number: u64,
    /// Tries that came to nothing since the last one that brought something.
    failures: u32,
}

enum Phase {
    /// Between two tries.
    Waiting {
        until: Instant,
    },
    /// All addresses of the token are dialed; the first that answers is taken.
    Dialing {
        dials: BTreeSet<DialId>,
        deadline: Instant,
    },
    Connected(Box<Connection>),
    /// The token is redeemed or refused.
    Ended,
}

struct Connection {
    link: LinkId,
    inviter: PublicKey,
    exporter: [u8; 32],
    stream: Option<StreamId>,
    reader: FrameReader,
    writer: FrameWriter,
    stage: Stage,
    /// Bytes of chunks that the owner has not yet stored.
    untaken: usize,
    /// The inviter says something until then, or it is given up.
    deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    AwaitingAdmission,
    Admitted,
    /// All has come; the owner stores it.
    Storing,
    /// The inviter has been told.
    Stored,
}

impl Joiner {
    pub(super) fn new(request: JoinRequest) -> Self {
        Self {
            request,
            phase: Phase::Ended,
            dial_number: 0,
            failures: 0,
        }
    }

    /// Dials all addresses of the token at once.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        random: &mut fastrand::Rng,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        let mut dials = BTreeSet::new();
        for address in &self.request.token.addresses {
            self.dial_number += 1;
            let dial = DialId(self.dial_number);
            dials.insert(dial);
            outputs.push_back(JoinOutput::Link(LinkOutput::Dial {
                dial,
                address: *address,
                protocol: Protocol::Join,
                expected: Expected::Fingerprint(self.request.token.fingerprint),
            }));
        }
        if dials.is_empty() {
            self.retry("the token has no address".into(), now, random, outputs);
        } else {
            self.phase = Phase::Dialing {
                dials,
                deadline: now + DIAL_TIMEOUT,
            };
        }
    }

    pub(super) fn handle_dial_failed(
        &mut self,
        failed: &DialFailed,
        now: Instant,
        random: &mut fastrand::Rng,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        if let Phase::Dialing { dials, .. } = &mut self.phase
            && dials.remove(&failed.dial)
            && dials.is_empty()
        {
            self.retry(failed.reason.clone(), now, random, outputs);
        }
    }

    pub(super) fn handle_link(
        &mut self,
        link: LinkId,
        event: LinkEvent,
        now: Instant,
        random: &mut fastrand::Rng,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        if let LinkEvent::Opened {
            key,
            dialed,
            exporter,
            remote,
            ..
        } = event
        {
            let is_awaited = matches!((&self.phase, dialed),
                (Phase::Dialing { dials, .. }, Some(dial)) if dials.contains(&dial));
            let Some(inviter) = key.filter(|_| is_awaited) else {
                // Another address of the same inviter was faster.
                close(link, CloseCode::Superseded, outputs);
                return;
            };
            self.phase = Phase::Connected(Box::new(Connection {
                link,
                inviter,
                exporter,
                stream: None,
                reader: FrameReader::new(FRAME_SIZE_TO_JOINER),
                writer: FrameWriter::default(),
                stage: Stage::AwaitingAdmission,
                untaken: 0,
                deadline: now + SILENCE_TIMEOUT,
            }));
            // The key is the one that the token names: it may send as much as it likes.
            outputs.push_back(JoinOutput::Link(LinkOutput::Accept(link)));
            outputs.push_back(JoinOutput::Link(LinkOutput::OpenStream {
                link,
                number: 0,
                direction: Direction::Both,
            }));
            outputs.push_back(JoinOutput::Event(JoinEvent::Connected { remote }));
            return;
        }
        let Phase::Connected(connection) = &mut self.phase else {
            return;
        };
        if connection.link != link {
            return;
        }
        match event {
            LinkEvent::StreamOpened { stream, .. } => {
                connection.stream = Some(stream);
                let request = &self.request;
                let bytes = join_proof_bytes(&request.token, &connection.exporter, &request.key);
                let ask = Message::Ask {
                    version: VERSION,
                    proof: sign(&request.token, &bytes),
                    name: request.name.clone(),
                    addresses: request.addresses.clone(),
                };
                connection.send(&ask, End::More, outputs);
            }
            LinkEvent::Stream {
                stream,
                data,
                finished,
            } if connection.stream == Some(stream) => {
                connection.deadline = now + SILENCE_TIMEOUT;
                connection.reader.push(&data);
                let read = self.read(outputs);
                let is_open = matches!(&self.phase,
                    Phase::Connected(connection) if connection.stage < Stage::Storing);
                if let Err(reason) = read {
                    self.give_up(CloseCode::Protocol, reason.into(), now, random, outputs);
                } else if finished && is_open {
                    let reason = "the inviter ended too early".into();
                    self.give_up(CloseCode::Protocol, reason, now, random, outputs);
                }
            }
            LinkEvent::StreamWritable(_) => {
                connection.writer.writable();
                connection.write(outputs);
            }
            // Nothing is missing any more: the inviter only does not hear that it is stored.
            LinkEvent::Closed { .. } if connection.stage >= Stage::Storing => {
                self.phase = Phase::Ended;
            }
            LinkEvent::Closed { code } => {
                let reason = match code {
                    Some(code) if code == CloseCode::Busy as u32 => {
                        "the inviter is busy with other joiners".into()
                    }
                    Some(code) => format!("the inviter closed the connection with code {code}"),
                    None => "the connection broke".into(),
                };
                self.retry(reason, now, random, outputs);
            }
            LinkEvent::StreamReset(_) => {
                let reason = "the inviter broke the stream off".into();
                self.give_up(CloseCode::Protocol, reason, now, random, outputs);
            }
            // Nothing else is part of this handshake.
            LinkEvent::Stream { .. }
            | LinkEvent::Opened { .. }
            | LinkEvent::Datagram(_)
            | LinkEvent::Writable
            | LinkEvent::Mtu(_)
            | LinkEvent::CanaryNonce(_) => {}
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        random: &mut fastrand::Rng,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        match &self.phase {
            Phase::Waiting { until } if *until <= now => self.dial(now, random, outputs),
            Phase::Dialing { deadline, .. } if *deadline <= now => {
                self.retry("no answer".into(), now, random, outputs);
            }
            Phase::Connected(connection) if connection.is_late(now) => {
                if connection.stage == Stage::Stored {
                    close(connection.link, CloseCode::Done, outputs);
                    self.phase = Phase::Ended;
                } else {
                    let reason = "the inviter is silent".into();
                    self.give_up(CloseCode::Done, reason, now, random, outputs);
                }
            }
            Phase::Waiting { .. } | Phase::Dialing { .. } | Phase::Connected(_) | Phase::Ended => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Dialing { deadline, .. } => Some(*deadline),
            // The owner may store for as long as it needs.
            Phase::Connected(connection) if connection.stage != Stage::Storing => {
                Some(connection.deadline)
            }
            Phase::Connected(_) | Phase::Ended => None,
        }
    }

    pub(super) fn taken(&mut self, bytes: usize, outputs: &mut VecDeque<JoinOutput>) {
        if let Phase::Connected(connection) = &mut self.phase
            && connection.stage != Stage::Stored
        {
            // What an earlier connection brought may be reported late.
            let bytes = bytes.min(connection.untaken);
            if bytes > 0 {
                connection.untaken -= bytes;
                connection.send(&Message::Taken(bytes as u32), End::More, outputs);
            }
        }
    }

    pub(super) fn stored(&mut self, now: Instant, outputs: &mut VecDeque<JoinOutput>) {
        match &mut self.phase {
            Phase::Connected(connection) if connection.stage == Stage::Storing => {
                connection.stage = Stage::Stored;
                connection.deadline = now + GOODBYE_TIMEOUT;
                connection.send(&Message::Stored, End::Last, outputs);
            }
            Phase::Waiting { .. } | Phase::Dialing { .. } | Phase::Connected(_) | Phase::Ended => {
                self.phase = Phase::Ended;
            }
        }
    }

    fn read(&mut self, outputs: &mut VecDeque<JoinOutput>) -> Result<(), &'static str> {
        while let Phase::Connected(connection) = &mut self.phase {
            let Some(message) = connection.reader.next().map_err(|_| "malformed frame")? else {
                return Ok(());
            };
            let event = match (connection.stage, message) {
                (Stage::AwaitingAdmission, Message::Refused) => {
                    close(connection.link, CloseCode::Done, outputs);
                    self.phase = Phase::Ended;
                    JoinEvent::Refused
                }
                (Stage::AwaitingAdmission | Stage::Admitted, Message::Progress(text)) => {
                    JoinEvent::Waiting(text)
                }
                (Stage::AwaitingAdmission, Message::Stage(bytes)) => {
                    JoinEvent::Stage(connection.chunk(bytes)?)
                }
                (
                    Stage::AwaitingAdmission,
                    Message::Admitted {
                        proof,
                        admit,
                        members,
                    },
                ) => {
                    // Overlay protocol section 1, step 4: before anything counts, the inviter
                    // proves that it knows the secret, on this connection and for this key.
                    let bytes = admit_proof_bytes(&connection.exporter, &self.request.key);
                    let key = secret_key(&self.request.token);
                    if hmac::verify(&key, &bytes, &proof).is_err() {
                        return Err("the inviter does not know the secret");
                    }
                    if admit.cluster != self.request.token.cluster
                        || admit.key != self.request.key
                        || !admit.is_signed_by(&connection.inviter)
                    {
                        return Err("the admission is not for this peer");
                    }
                    connection.stage = Stage::Admitted;
                    self.failures = 0;
                    JoinEvent::Admitted { admit, members }
                }
                (Stage::Admitted, Message::Snapshot(bytes)) => {
                    JoinEvent::Snapshot(connection.chunk(bytes)?)
                }
                (Stage::Admitted, Message::Done) => {
                    connection.stage = Stage::Storing;
                    JoinEvent::Done
                }
                (
                    Stage::AwaitingAdmission | Stage::Admitted | Stage::Storing | Stage::Stored,
                    _,
                ) => return Err("a message that is not due"),
            };
            outputs.push_back(JoinOutput::Event(event));
        }
        Ok(())
    }

    fn give_up(
        &mut self,
        code: CloseCode,
        reason: String,
        now: Instant,
        random: &mut fastrand::Rng,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        if let Phase::Connected(connection) = &self.phase {
            close(connection.link, code, outputs);
            self.retry(reason, now, random, outputs);
        }
    }

    fn retry(
        &mut self,
        reason: String,
        now: Instant,
        random: &mut fastrand::Rng,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        let backoff = BACKOFF_MIN
            .saturating_mul(1 << self.failures.min(16))
            .min(BACKOFF_MAX);
        self.failures += 1;
        let until = now + backoff.mul_f64(0.75 + random.f64() / 2.0);
        self.phase = Phase::Waiting { until };
        outputs.push_back(JoinOutput::Event(JoinEvent::Retrying { reason }));
    }
}

impl Connection {
    /// Counts a chunk that goes to the owner.
    fn chunk(&mut self, bytes: Bytes) -> Result<Bytes, &'static str> {
        self.untaken += bytes.len();
        if self.untaken > WINDOW {
            return Err("more chunks than there is space for");
        }
        Ok(bytes)
    }

    fn send(&mut self, message: &Message, end: End, outputs: &mut VecDeque<JoinOutput>) {
        self.writer.push(message, end);
        self.write(outputs);
    }

    fn write(&mut self, outputs: &mut VecDeque<JoinOutput>) {
        if let Some(stream) = self.stream
            && let Some(output) = self.writer.next(self.link, stream)
        {
            outputs.push_back(JoinOutput::Link(output));
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.deadline <= now && self.stage != Stage::Storing
    }
}

fn close(link: LinkId, code: CloseCode, outputs: &mut VecDeque<JoinOutput>) {
    outputs.push_back(JoinOutput::Link(LinkOutput::Close { link, code }));
}

/// Overlay protocol section 1: the same back-off as for links.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A driver that is short of dials may forget one.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// An inviter that waits says so every 5 s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(25);
/// Time for the inviter to hear that all is stored; it need not.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
