//! Who waits for what: requests by their digest (replication protocol section 8).
//!
//! A request waits for its entry to settle, or, if it makes no entry, until everything before its
//! read stamp has. No request is answered from tentative state.

use crate::policy::Asker;
use crate::state::{DIGEST_SIGNED, DIGEST_UNSIGNED, Outcome};
use crate::vip::map::NoChange;
use bytes::Bytes;
use replication::{Digest, ReadId, Refused, Stamp};
use ring::digest::{Context, SHA256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use zones::{Name, Terms, Update};

/// Most requests that wait at once; further ones are refused, as memory has an end.
pub const REQUESTS_MAX: usize = 20_000;
/// Bytes of their messages: one that is read takes up to eight times its size in memory.
const REQUESTS_SIZE_MAX: usize = 32 << 20;
/// Most clients that wait for one request: a requestor sends again a few times, not more.
const CLIENTS_MAX: usize = 16;
/// A request that found no settling view is given up after this; its requestor has long turned
/// to another peer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One client that waits for an answer, as the driver numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

/// An UPDATE that was read, and where it came from.
#[derive(Clone, Debug)]
pub struct UpdateRequest {
    /// The message as it came.
    pub message: Bytes,
    /// What it says.
    pub update: Update,
    /// Who sent it.
    pub sender: Sender,
}

/// Who sent an UPDATE, as far as that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sender {
    /// From where it came.
    pub address: SocketAddr,
    /// Whether it came by a connection, which proves that address.
    pub is_address_proven: bool,
    /// The signature that it came with, which is a good one. Most requests have none, and are moved
    /// from hand to hand.
    pub signature: Option<Box<Signature>>,
}

/// A signature by TSIG.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// The name of the key.
    pub key: Name,
    /// The MAC.
    pub mac: Box<[u8]>,
}

impl Sender {
    /// Without a signature.
    #[must_use]
    pub fn unsigned(address: SocketAddr) -> Self {
        Self {
            address,
            is_address_proven: false,
            signature: None,
        }
    }

    /// Who that is to policy.
    #[must_use]
    pub fn asker(&self) -> Asker<'_> {
        Asker {
            key: self.signature.as_ref().map(|signature| &signature.key),
            address: self.address.ip(),
            is_address_proven: self.is_address_proven,
        }
    }

    /// The digest of the request with these bytes.
    #[must_use]
    pub fn digest(&self, message: &[u8]) -> Digest {
        match self.signature.as_deref() {
            None => unsigned_digest(message, self.address),
            Some(Signature { key, mac }) => signed_digest(key, mac),
        }
    }
}

/// What a waiting request is.
#[derive(Clone, Debug)]
pub enum Request {
    /// From a DNS client.
    Update(UpdateRequest),
    /// From an operator: it is an entry already and waits for its outcome.
    Command {
        /// The zone that it is about, if it is about one.
        origin: Option<Name>,
    },
}

/// What a request waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// To be looked at: just arrived, or what it waited for is gone.
    Turn,
    /// Its entry to settle: one that is remembered at this stamp, at which the request came.
    Entry(Stamp),
    /// The disk to return: nothing is stamped meanwhile.
    Disk,
    /// Everything at or below the stamp to settle.
    Read(ReadId, Stamp),
    /// The answer of the primary that its zone comes from.
    Primary,
}

impl Request {
    fn size(&self) -> usize {
        match self {
            Self::Update(request) => request.message.len(),
            Self::Command { .. } => 0,
        }
    }
}

/// One request and its clients.
#[derive(Debug)]
pub struct Waiting {
    /// What is asked.
    pub request: Request,
    /// Who waits.
    pub clients: Vec<ClientId>,
    /// For what.
    pub waits: Waits,
    /// When it was first looked at: what it says was done by then was done by itself.
    asked: Option<Stamp>,
    since: Instant,
}

impl Waiting {
    /// True if it came longer ago than that.
    #[must_use]
    pub fn is_older_than(&self, age: Duration, now: Instant) -> bool {
        now >= self.since + age
    }
}

/// All requests that wait.
#[derive(Debug, Default)]
pub struct Requests {
    waiting: BTreeMap<Digest, Waiting>,
    /// Bytes of the messages of all that wait.
    size: usize,
    /// Those whose turn it is, in order of arrival.
    turn: Vec<Digest>,
    /// Those that wait for the disk, in order of arrival.
    parked: Vec<Digest>,
    /// Those that wait for a read stamp, by it.
    reads: BTreeSet<(Stamp, Digest)>,
    /// All arrivals not older than the patience; answered ones are skipped.
    arrivals: VecDeque<(Instant, Digest)>,
}

/// There is no room for another request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Requests {
    /// A request came from a client. A retransmit joins the row that stands.
    pub fn add(
        &mut self,
        digest: Digest,
        request: Request,
        client: ClientId,
        now: Instant,
    ) -> Result<(), Full> {
        if let Some(waiting) = self.waiting.get_mut(&digest) {
            if waiting.clients.len() == CLIENTS_MAX {
                return Err(Full);
            }
            waiting.clients.push(client);
            return Ok(());
        }
        let size = self.size + request.size();
        if self.waiting.len() == REQUESTS_MAX || size > REQUESTS_SIZE_MAX {
            return Err(Full);
        }
        self.size = size;
        let waiting = Waiting {
            request,
            clients: vec![client],
            waits: Waits::Turn,
            asked: None,
            since: now,
        };
        self.waiting.insert(digest, waiting);
        while let Some((_, oldest)) = self.arrivals.front()
            && !self.waiting.contains_key(oldest)
        {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back((now, digest));
        self.turn.push(digest);
        Ok(())
    }

    /// Takes the requests whose turn it is; each must be answered, given up or made to wait.
    pub fn take_turns(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.turn)
    }

    /// True if requests wait to be looked at.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        !self.turn.is_empty()
    }

    /// One waiting request.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&Waiting> {
        self.waiting.get(digest)
    }

    /// The stamp at which a request was first looked at: `next`, if this is the first time. However long
    /// it waits, the entry that it made then is its own.
    pub fn asked(&mut self, digest: &Digest, next: Stamp) -> Stamp {
        let waiting = self.waiting.get_mut(digest);
        waiting.map_or(next, |waiting| *waiting.asked.get_or_insert(next))
    }

    /// Holds an update that waits to terms: none, or as many as it has changes.
    ///
    /// # Panics
    ///
    /// If no such update waits.
    pub fn hold_to(&mut self, digest: &Digest, terms: Vec<Terms>) -> &UpdateRequest {
        let waiting = self.waiting.get_mut(digest);
        let Some(Request::Update(request)) = waiting.map(|waiting| &mut waiting.request) else {
            panic!("the update waits");
        };
        let held = request.update.hold_to(terms);
        held.expect("each change is judged");
        request
    }

    /// Makes a request wait for something else.
    pub fn wait(&mut self, digest: Digest, waits: Waits) {
        let Some(waiting) = self.waiting.get_mut(&digest) else {
            return;
        };
        if let Waits::Read(_, stamp) = waiting.waits {
            self.reads.remove(&(stamp, digest));
        }
        waiting.waits = waits;
        match waits {
            Waits::Turn => self.turn.push(digest),
            Waits::Disk => self.parked.push(digest),
            Waits::Entry(_) | Waits::Primary => {}
            Waits::Read(_, stamp) => {
                self.reads.insert((stamp, digest));
            }
        }
    }

    /// Ends a request; its clients are to be told.
    pub fn remove(&mut self, digest: &Digest) -> Option<Waiting> {
        let waiting = self.waiting.remove(digest)?;
        self.size -= waiting.request.size();
        if let Waits::Read(_, stamp) = waiting.waits {
            self.reads.remove(&(stamp, *digest));
        }
        Some(waiting)
    }

    /// Requests whose read stamp is at or below the mark.
    #[must_use]
    pub fn reads_up_to(&self, mark: Stamp) -> Vec<Digest> {
        self.reads
            .iter()
            .take_while(|(stamp, _)| *stamp <= mark)
            .map(|(_, digest)| *digest)
            .collect()
    }

    /// The disk is back: those that waited for it come first.
    pub fn handle_disk_returned(&mut self) {
        let mut turn = std::mem::take(&mut self.parked);
        for digest in &turn {
            if let Some(waiting) = self.waiting.get_mut(digest) {
                waiting.waits = Waits::Turn;
            }
        }
        turn.append(&mut self.turn);
        self.turn = turn;
    }

    /// The log has changed, or what is settled has passed entries unseen: entries that requests
    /// wait for may be gone, so all are looked at again.
    pub fn handle_log_changed(&mut self) {
        for (digest, waiting) in &mut self.waiting {
            let waits_for_entry = matches!(waiting.waits, Waits::Entry(_));
            if waits_for_entry && matches!(waiting.request, Request::Update(_)) {
                waiting.waits = Waits::Turn;
                self.turn.push(*digest);
            }
        }
    }

    /// Takes the requests that have waited beyond all patience. Commands wait as long as it
    /// takes: an operator sees the progress and can break off.
    pub fn take_impatient(&mut self, now: Instant) -> Vec<Waiting> {
        let mut impatient = Vec::new();
        while let Some((arrived, digest)) = self.arrivals.front().copied() {
            if arrived + PATIENCE > now {
                break;
            }
            self.arrivals.pop_front();
            let is_due = self.waiting.get(&digest).is_some_and(|waiting| {
                matches!(waiting.request, Request::Update(_)) && waiting.since == arrived
            });
            if is_due && let Some(waiting) = self.remove(&digest) {
                impatient.push(waiting);
            }
        }
        impatient
    }

    /// When the next request may lose patience.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.arrivals
            .front()
            .map(|(arrived, _)| *arrived + PATIENCE)
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The digest of an unsigned request: its bytes, source address and port.
fn unsigned_digest(message: &[u8], source: SocketAddr) -> Digest {
    let mut context = Context::new(&SHA256);
    match source {
        SocketAddr::V4(source) => context.update(&source.ip().octets()),
        SocketAddr::V6(source) => context.update(&source.ip().octets()),
    }
    context.update(&source.port().to_be_bytes());
    context.update(message);
    tagged(DIGEST_UNSIGNED, context)
}

/// The digest of a request that is signed: the MAC, from wherever it comes. What it covers tells
/// requests apart.
fn signed_digest(key: &Name, mac: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(key.to_lowercase().as_wire());
    context.update(mac);
    tagged(DIGEST_SIGNED, context)
}

/// The digest of an operator's command: never equal to another's.
#[must_use]
pub fn command_digest(incarnation: u64, count: u64) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&incarnation.to_be_bytes());
    context.update(&count.to_be_bytes());
    tagged(DIGEST_SIGNED, context)
}

fn tagged(tag: u8, context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    // All peers must agree on how long a request is remembered, so its digest says it.
    digest[0] = tag;
    Digest(digest)
}

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The outcome at its settled place, or one that needs no entry.
    Outcome(Outcome),
    /// Try another peer: this one cannot answer now.
    Unavailable,
    /// None, as too many wait: the client sends it again.
    Silence,
    /// An operator's command that came to nothing.
    Refused(CommandRefused),
}

/// What an operator is told of [`CommandRefused::SerialBehind`].
pub const SERIAL_BEHIND: &str = "the zone is signed with a serial that was shown here before, or \
     one below it; sign it with a greater one than `dnsd zone list` shows";

/// Why a command of an operator is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandRefused {
    /// No such zone.
    NoSuchZone,
    /// The zone changed, or came into being, while it was being imported.
    ZoneChanged,
    /// The zone is signed with a serial that is not ahead of what was shown.
    SerialBehind,
    /// The zone comes from a primary.
    ZoneFed,
    /// The zone is ours.
    ZoneNotFed,
    /// A catalog of a primary brings the zone.
    ZoneListed,
    /// The settling view holds no majority of the members.
    NoMajority,
    /// Members did not fetch the data in time.
    NotSpread,
    /// The change of the VIPs would do nothing.
    Vip(NoChange),
    /// Too many imports are under way.
    Busy,
    /// The replica does not take it now.
    Replica(Refused),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_requests_apart() {
        let a: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let b: SocketAddr = "192.0.2.1:6".parse().unwrap();
        assert_eq!(unsigned_digest(b"x", a), unsigned_digest(b"x", a));
        assert_ne!(unsigned_digest(b"x", a), unsigned_digest(b"x", b));
        assert_ne!(unsigned_digest(b"x", a), unsigned_digest(b"y", a));
        assert_ne!(command_digest(1, 2), command_digest(2, 1));
        assert_eq!(unsigned_digest(b"x", a).0[0], DIGEST_UNSIGNED);
        let signed = |address, key: &str, mac: &[u8], message: &[u8]| {
            let signature = Signature {
                key: key.parse().unwrap(),
                mac: mac.into(),
            };
            let signature = Some(Box::new(signature));
            let is_address_proven = false;
            let sender = Sender {
                address,
                is_address_proven,
                signature,
            };
            sender.digest(message)
        };
        // From another address, by another peer: the same request.
        assert_eq!(signed(a, "k", b"mac", b"x"), signed(b, "K", b"mac", b"y"));
        assert_ne!(signed(a, "k", b"mac", b"x"), signed(a, "k", b"mad", b"x"));
        assert_ne!(signed(a, "k", b"mac", b"x"), signed(a, "l", b"mac", b"x"));
        assert_eq!(signed(a, "k", b"mac", b"x").0[0], DIGEST_SIGNED);
        assert_eq!(command_digest(1, 2).0[0], DIGEST_SIGNED);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn large_requests_have_a_bound_of_their_own() {
        let zone = b"\0\x01\x28\0\0\x01\0\0\0\0\0\0\x07example\0\0\x06\0\x01";
        let update = Update::from_message(zone).unwrap();
        let now = Instant::now();
        let sender = Sender::unsigned(SocketAddr::from(([192, 0, 2, 1], 5)));
        let mut requests = Requests::default();
        let add = |requests: &mut Requests, number: u64| {
            let message = Bytes::from(vec![0; 65_535]);
            let digest = command_digest(0, number);
            let update = update.clone();
            let request = UpdateRequest {
                message,
                update,
                sender: sender.clone(),
            };
            requests.add(digest, Request::Update(request), ClientId(number), now)
        };
        let taken = (0..).take_while(|n| add(&mut requests, *n).is_ok()).count();
        assert_eq!(taken, REQUESTS_SIZE_MAX / 65_535);
        assert!(requests.remove(&command_digest(0, 0)).is_some());
        assert_eq!(add(&mut requests, u64::MAX), Ok(()));
    }
}
