//! The inviter's side: invitations, who has redeemed them, and the guests of this moment.

use super::frame::{End, FRAME_SIZE_TO_INVITER, FrameReader, FrameWriter, Message, VERSION};
use super::{
    BadRow, CHUNK_SIZE_MAX, JoinEvent, JoinOutput, MEMBERS_MAX, PROGRESS_SIZE_MAX, Refusal,
    TooManyInvitations, WINDOW, admit_proof_bytes, join_proof_bytes, secret_key, sign,
};
use crate::admit::{ADDRESSES_MAX, Admit};
use crate::link_event::{CloseCode, LinkEvent, LinkId, LinkOutput, StreamId};
use crate::members::Member;
use crate::peer_id::PublicKey;
use crate::token::Token;
use ring::{digest, hmac};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

pub(super) struct Inviter {
    /// By a hash of their secret, which is also the key of their row.
    invitations: BTreeMap<[u8; 16], Invitation>,
    guests: BTreeMap<LinkId, Guest>,
    /// When each address tried within the last minute.
    tries: BTreeMap<IpAddr, VecDeque<Instant>>,
    keeping: BTreeMap<u64, Keeping>,
    keep_number: u64,
}

struct Invitation {
    token: Token,
    /// The one key that may redeem it, from its first use on.
    bound: Option<PublicKey>,
}

/// A joiner at the other end of a connection.
struct Guest {
    remote: SocketAddr,
    key: PublicKey,
    exporter: [u8; 32],
    state: GuestState,
    stream: Option<StreamId>,
    reader: FrameReader,
    writer: FrameWriter,
    /// The token it has shown.
    token: Option<Token>,
    /// Bytes of chunks that its owner has not yet taken.
    untaken: usize,
    /// When this side last sent something: a silent connection would time out.
    sent: Instant,
    /// The connection is given up then, unless something happens.
    deadline: Option<Instant>,
    /// What it waits for, told again while nothing else is sent.
    waiting: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum GuestState {
    /// Step 2 is missing.
    AwaitingAsk,
    /// The row that binds the token to its key is on its way to the disk.
    AwaitingKept {
        name: String,
        addresses: Vec<SocketAddr>,
    },
    /// The owner streams to it.
    Served,
    /// Everything is sent; it stores that.
    AwaitingStored,
    /// Told so; it closes.
    Refused,
}

/// What goes on when a row is durable.
enum Keeping {
    Invitation([u8; 16]),
    Binding(LinkId),
    Nothing,
}

impl Inviter {
    pub(super) fn resume(
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, BadRow> {
        let mut invitations = BTreeMap::new();
        for (key, value) in rows {
            let invitation = Invitation::decode(&value);
            match (<[u8; 16]>::try_from(key.as_slice()), invitation) {
                (Ok(id), Some(invitation)) if id_of(&invitation.token) == id => {
                    invitations.insert(id, invitation);
                }
                _ => return Err(BadRow { key }),
            }
        }
        Ok(Self {
            invitations,
            guests: BTreeMap::new(),
            tries: BTreeMap::new(),
            keeping: BTreeMap::new(),
            keep_number: 0,
        })
    }

    pub(super) fn add_invitation(
        &mut self,
        token: Token,
        wall: Duration,
        outputs: &mut VecDeque<JoinOutput>,
    ) -> Result<(), TooManyInvitations> {
        self.forget_old(wall, outputs);
        if self.invitations.len() >= INVITATIONS_MAX {
            return Err(TooManyInvitations);
        }
        let id = id_of(&token);
        self.invitations
            .insert(id, Invitation { token, bound: None });
        self.keep(id, Keeping::Invitation(id), outputs);
        Ok(())
    }

    pub(super) fn handle_kept(
        &mut self,
        number: u64,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        match self.keeping.remove(&number) {
            Some(Keeping::Invitation(id)) => {
                if let Some(invitation) = self.invitations.get(&id) {
                    let event = JoinEvent::Invited(invitation.token.clone());
                    outputs.push_back(JoinOutput::Event(event));
                }
            }
            Some(Keeping::Binding(link)) => {
                let Some(guest) = self.guests.get_mut(&link) else {
                    return;
                };
                let GuestState::AwaitingKept { name, addresses } = guest.state.clone() else {
                    return;
                };
                let token = guest.token.clone();
                guest.state = GuestState::Served;
                guest.sent = now;
                outputs.push_back(JoinOutput::Event(JoinEvent::Asked {
                    link,
                    key: guest.key,
                    token: token.expect("a token is shown before its binding is kept"),
                    name,
                    addresses,
                    space: WINDOW,
                }));
            }
            Some(Keeping::Nothing) | None => {}
        }
    }

    pub(super) fn handle_link(
        &mut self,
        link: LinkId,
        event: LinkEvent,
        wall: Duration,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        match event {
            LinkEvent::Opened {
                key: Some(key),
                exporter,
                remote,
                ..
            } => {
                // Overlay protocol section 1: at most 16 that have proven nothing.
                let strangers = self
                    .guests
                    .values()
                    .filter(|guest| !guest.is_served())
                    .count();
                if strangers >= STRANGERS_MAX || self.guests.len() >= GUESTS_MAX {
                    close(link, CloseCode::Busy, outputs);
                    return;
                }
                self.guests
                    .insert(link, Guest::new(key, exporter, remote, now));
            }
            LinkEvent::Stream {
                stream,
                data,
                finished,
            } => {
                let Some(guest) = self.guests.get_mut(&link) else {
                    return;
                };
                // A guest has one stream, the one it opened first.
                if *guest.stream.get_or_insert(stream) != stream {
                    self.drop_guest(link, CloseCode::Protocol, outputs);
                    return;
                }
                guest.reader.push(&data);
                self.read(link, wall, now, outputs);
                if finished && self.guests.get(&link).is_some_and(|g| !g.is_ending()) {
                    self.drop_guest(link, CloseCode::Protocol, outputs);
                }
            }
            LinkEvent::StreamWritable(_) => {
                if let Some(guest) = self.guests.get_mut(&link) {
                    guest.writer.writable();
                    guest.write(link, now, outputs);
                }
            }
            LinkEvent::StreamReset(_) => self.drop_guest(link, CloseCode::Protocol, outputs),
            LinkEvent::Closed { .. } => self.forget_guest(link, outputs),
            // Nothing else is part of this handshake.
            LinkEvent::Opened { key: None, .. }
            | LinkEvent::Datagram(_)
            | LinkEvent::StreamOpened { .. }
            | LinkEvent::Writable
            | LinkEvent::Mtu(_)
            | LinkEvent::CanaryNonce(_) => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, outputs: &mut VecDeque<JoinOutput>) {
        let late: Vec<_> = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(link, guest)| (*link, guest.close_code()))
            .collect();
        for (link, code) in late {
            self.drop_guest(link, code, outputs);
        }
        for (link, guest) in &mut self.guests {
            if guest.keep_alive_at().is_some_and(|at| at <= now) {
                let text = guest.waiting.clone();
                guest.send(*link, &Message::Progress(text), End::More, now, outputs);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let guests = self.guests.values();
        guests
            .flat_map(|guest| guest.deadline.into_iter().chain(guest.keep_alive_at()))
            .min()
    }

    pub(super) fn knows(&self, link: LinkId) -> bool {
        self.guests.contains_key(&link)
    }

    pub(super) fn chunk(
        &mut self,
        link: LinkId,
        message: &Message,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        let (Message::Stage(bytes) | Message::Snapshot(bytes)) = message else {
            return;
        };
        let Some(guest) = self.guests.get_mut(&link) else {
            return;
        };
        guest.untaken += bytes.len();
        assert!(bytes.len() <= CHUNK_SIZE_MAX, "the owner cuts chunks");
        assert!(
            guest.untaken <= WINDOW,
            "the owner sends no more than there is space for"
        );
        guest.deadline = Some(now + TAKE_TIMEOUT);
        guest.send(link, message, End::More, now, outputs);
    }

    pub(super) fn progress(
        &mut self,
        link: LinkId,
        text: &str,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        let Some(guest) = self.guests.get_mut(&link) else {
            return;
        };
        guest.waiting = text.to_owned();
        while guest.waiting.len() > PROGRESS_SIZE_MAX {
            guest.waiting.pop();
        }
        // What waits longer than the transport takes is old news; the next keep-alive tells it.
        if guest.writer.is_idle() {
            let message = Message::Progress(guest.waiting.clone());
            guest.send(link, &message, End::More, now, outputs);
        }
    }

    pub(super) fn admit(
        &mut self,
        link: LinkId,
        admit: Admit,
        members: Vec<Member>,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        let Some(guest) = self.guests.get_mut(&link) else {
            return;
        };
        assert!(members.len() <= MEMBERS_MAX, "a cluster has fewer members");
        let token = guest
            .token
            .as_ref()
            .expect("only who has shown a token is served");
        let proof = sign(token, &admit_proof_bytes(&guest.exporter, &guest.key));
        guest.send(
            link,
            &Message::Admitted {
                proof,
                admit,
                members,
            },
            End::More,
            now,
            outputs,
        );
    }

    pub(super) fn finish(
        &mut self,
        link: LinkId,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        if let Some(guest) = self.guests.get_mut(&link) {
            guest.state = GuestState::AwaitingStored;
            guest.deadline = Some(now + TAKE_TIMEOUT);
            guest.send(link, &Message::Done, End::Last, now, outputs);
        }
    }

    pub(super) fn refuse(
        &mut self,
        link: LinkId,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        if let Some(guest) = self.guests.get_mut(&link) {
            guest.state = GuestState::Refused;
            guest.deadline = Some(now + REFUSED_TIMEOUT);
            guest.send(link, &Message::Refused, End::Last, now, outputs);
        }
    }

    fn read(
        &mut self,
        link: LinkId,
        wall: Duration,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        while let Some(guest) = self.guests.get_mut(&link) {
            match (&guest.state, guest.reader.next()) {
                (_, Ok(None)) => return,
                // Who is refused may say what it likes.
                (GuestState::Refused, _) => return,
                (GuestState::AwaitingAsk, Ok(Some(message))) => {
                    self.ask(link, message, wall, now, outputs);
                }
                (GuestState::AwaitingAsk, Err(_)) => {
                    self.refuse_ask(link, Refusal::Malformed, now, outputs);
                }
                (
                    GuestState::Served | GuestState::AwaitingStored,
                    Ok(Some(Message::Taken(bytes))),
                ) if bytes as usize <= guest.untaken => {
                    let bytes = bytes as usize;
                    guest.untaken -= bytes;
                    guest.deadline = (guest.untaken > 0
                        || guest.state == GuestState::AwaitingStored)
                        .then(|| now + TAKE_TIMEOUT);
                    let event = JoinEvent::Space { link, bytes };
                    outputs.push_back(JoinOutput::Event(event));
                }
                (GuestState::AwaitingStored, Ok(Some(Message::Stored))) => {
                    let event = JoinEvent::Joined {
                        link,
                        key: guest.key,
                    };
                    outputs.push_back(JoinOutput::Event(event));
                    self.guests.remove(&link);
                    close(link, CloseCode::Done, outputs);
                }
                (
                    GuestState::AwaitingKept { .. }
                    | GuestState::Served
                    | GuestState::AwaitingStored,
                    Ok(Some(_)) | Err(_),
                ) => self.drop_guest(link, CloseCode::Protocol, outputs),
            }
        }
    }

    /// Overlay protocol section 1, step 3.
    fn ask(
        &mut self,
        link: LinkId,
        message: Message,
        wall: Duration,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        let guest = self.guests.get(&link).expect("its message is being read");
        let (key, exporter, remote) = (guest.key, guest.exporter, guest.remote);
        let Message::Ask {
            version,
            proof,
            name,
            addresses,
        } = message
        else {
            return self.refuse_ask(link, Refusal::Malformed, now, outputs);
        };
        if version != VERSION {
            return self.refuse_ask(link, Refusal::Version, now, outputs);
        }
        if !self.may_try(remote, now) {
            let event = JoinEvent::AskRefused {
                remote,
                key,
                reason: Refusal::TooOften,
            };
            outputs.push_back(JoinOutput::Event(event));
            return self.drop_guest(link, CloseCode::Busy, outputs);
        }
        // Every invitation is tried, so that the time taken says nothing about any of them.
        let mut shown = None;
        for (id, invitation) in &self.invitations {
            let bytes = join_proof_bytes(&invitation.token, &exporter, &key);
            if hmac::verify(&secret_key(&invitation.token), &bytes, &proof).is_ok() {
                shown = Some(*id);
            }
        }
        let Some(id) = shown else {
            return self.refuse_ask(link, Refusal::WrongSecret, now, outputs);
        };
        let invitation = self
            .invitations
            .get_mut(&id)
            .expect("its proof has just been found");
        match invitation.bound {
            // The bound key comes again, also after the end: a broken connection burns nothing.
            Some(bound) if bound == key => {}
            Some(_) => return self.refuse_ask(link, Refusal::Used, now, outputs),
            None if invitation.token.is_expired(wall) => {
                return self.refuse_ask(link, Refusal::Expired, now, outputs);
            }
            None => invitation.bound = Some(key),
        }
        let token = invitation.token.clone();

        let older: Vec<_> = self
            .guests
            .iter()
            .filter(|(other, guest)| **other != link && guest.key == key && guest.token.is_some())
            .map(|(other, _)| *other)
            .collect();
        for other in older {
            self.drop_guest(other, CloseCode::Superseded, outputs);
        }
        let guest = self
            .guests
            .get_mut(&link)
            .expect("its message is being read");
        guest.token = Some(token);
        guest.deadline = None;
        guest.state = GuestState::AwaitingKept { name, addresses };
        outputs.push_back(JoinOutput::Link(LinkOutput::Accept(link)));
        self.keep(id, Keeping::Binding(link), outputs);
    }

    /// One answer whatever the reason; the reason goes to the log here.
    fn refuse_ask(
        &mut self,
        link: LinkId,
        reason: Refusal,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        let guest = self.guests.get(&link).expect("its message is being read");
        let event = JoinEvent::AskRefused {
            remote: guest.remote,
            key: guest.key,
            reason,
        };
        outputs.push_back(JoinOutput::Event(event));
        self.refuse(link, now, outputs);
    }

    /// Overlay protocol section 1: ten tries a minute from one address.
    fn may_try(&mut self, remote: SocketAddr, now: Instant) -> bool {
        self.tries.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < TRIES_PERIOD);
            !times.is_empty()
        });
        let address = subscriber(remote.ip());
        if !self.tries.contains_key(&address) && self.tries.len() >= TRIED_ADDRESSES_MAX {
            return false;
        }
        let times = self.tries.entry(address).or_default();
        if times.len() >= TRIES_MAX {
            return false;
        }
        times.push_back(now);
        true
    }

    fn keep(&mut self, id: [u8; 16], then: Keeping, outputs: &mut VecDeque<JoinOutput>) {
        self.keep_number += 1;
        self.keeping.insert(self.keep_number, then);
        let value = self.invitations.get(&id).map(Invitation::encode);
        outputs.push_back(JoinOutput::Keep {
            number: self.keep_number,
            key: id.into(),
            value,
        });
    }

    /// Invitations that nobody can use any more.
    fn forget_old(&mut self, wall: Duration, outputs: &mut VecDeque<JoinOutput>) {
        let old: Vec<_> = self
            .invitations
            .iter()
            .filter(|(_, invitation)| {
                let grace = invitation.bound.map_or(Duration::ZERO, |_| BOUND_GRACE);
                wall >= invitation.token.expires + grace
            })
            .map(|(id, _)| *id)
            .collect();
        for id in old {
            self.invitations.remove(&id);
            self.keep(id, Keeping::Nothing, outputs);
        }
    }

    fn drop_guest(&mut self, link: LinkId, code: CloseCode, outputs: &mut VecDeque<JoinOutput>) {
        if self.guests.contains_key(&link) {
            close(link, code, outputs);
            self.forget_guest(link, outputs);
        }
    }

    fn forget_guest(&mut self, link: LinkId, outputs: &mut VecDeque<JoinOutput>) {
        let Some(guest) = self.guests.remove(&link) else {
            return;
        };
        match guest.state {
            GuestState::Served | GuestState::AwaitingStored => {
                outputs.push_back(JoinOutput::Event(JoinEvent::Gone { link }));
            }
            // The owner has not heard of it, or has refused it.
            GuestState::AwaitingAsk | GuestState::AwaitingKept { .. } | GuestState::Refused => {}
        }
    }
}

impl Invitation {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.token.encode(&mut out);
        if let Some(key) = &self.bound {
            out.extend_from_slice(&key.0);
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let token = Token::decode(&mut bytes)?;
        let bound = match bytes.len() {
            0 => None,
            _ => Some(PublicKey(bytes.try_into().ok()?)),
        };
        Some(Self { token, bound })
    }
}

impl Guest {
    fn new(key: PublicKey, exporter: [u8; 32], remote: SocketAddr, now: Instant) -> Self {
        Self {
            remote,
            key,
            exporter,
            state: GuestState::AwaitingAsk,
            stream: None,
            reader: FrameReader::new(FRAME_SIZE_TO_INVITER),
            writer: FrameWriter::default(),
            token: None,
            untaken: 0,
            sent: now,
            deadline: Some(now + ASK_TIMEOUT),
            waiting: String::new(),
        }
    }

    fn send(
        &mut self,
        link: LinkId,
        message: &Message,
        end: End,
        now: Instant,
        outputs: &mut VecDeque<JoinOutput>,
    ) {
        self.writer.push(message, end);
        self.write(link, now, outputs);
    }

    fn write(&mut self, link: LinkId, now: Instant, outputs: &mut VecDeque<JoinOutput>) {
        let stream = self
            .stream
            .expect("a guest that is answered has sent something");
        if let Some(output) = self.writer.next(link, stream) {
            self.sent = now;
            outputs.push_back(JoinOutput::Link(output));
        }
    }

    fn is_served(&self) -> bool {
        matches!(self.state, GuestState::Served | GuestState::AwaitingStored)
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, GuestState::AwaitingStored | GuestState::Refused)
    }

    fn close_code(&self) -> CloseCode {
        match self.state {
            GuestState::Refused => CloseCode::Done,
            _ => CloseCode::Protocol,
        }
    }

    /// A connection on which nothing is said would time out while the owner waits.
    fn keep_alive_at(&self) -> Option<Instant> {
        (self.state == GuestState::Served && self.writer.is_idle()).then(|| self.sent + KEEP_ALIVE)
    }
}

fn close(link: LinkId, code: CloseCode, outputs: &mut VecDeque<JoinOutput>) {
    outputs.push_back(JoinOutput::Link(LinkOutput::Close { link, code }));
}

fn id_of(token: &Token) -> [u8; 16] {
    let digest = digest::digest(&digest::SHA256, &token.secret.0);
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// Who may be behind an address: an IPv6 subscriber has a whole /64.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// An operator makes a handful; each costs one HMAC at each try.
const INVITATIONS_MAX: usize = 256;
/// A bound key may come again for so long after the end of its invitation.
const BOUND_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Overlay protocol section 1: connections that have not shown a good token.
const STRANGERS_MAX: usize = 16;
/// With those that are served: each may have a window of chunks in memory.
const GUESTS_MAX: usize = 32;
/// Overlay protocol section 1: until step 2 is done.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// A joiner that takes nothing for so long is stuck.
const TAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a refused joiner to read that and close.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(2);
/// Well below the transport's idle time-out of 30 s and the joiner's patience.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const TRIES_PERIOD: Duration = Duration::from_secs(60);
/// Overlay protocol section 1: within that period.
const TRIES_MAX: usize = 10;
/// When more addresses than this try within a minute, new ones have to wait.
const TRIED_ADDRESSES_MAX: usize = 1024;

const _: () = assert!(ADDRESSES_MAX * 19 + 128 < FRAME_SIZE_TO_INVITER);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::ClusterId;
    use crate::token::TokenSecret;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn token(secret: u8) -> Token {
        Token {
            cluster: ClusterId([1; 16]),
            fingerprint: [2; 32],
            secret: TokenSecret([secret; 16]),
            expires: Duration::from_secs(100),
            addresses: vec!["192.0.2.1:1".parse().unwrap()],
        }
    }

    #[test]
    fn an_invitation_reads_back_bound_or_not() {
        for bound in [None, Some(PublicKey([9; 32]))] {
            let bytes = Invitation {
                token: token(3),
                bound,
            }
            .encode();
            let read = Invitation::decode(&bytes).unwrap();
            assert_eq!((read.token, read.bound), (token(3), bound));
            assert!(Invitation::decode(&bytes[..bytes.len() - 1]).is_none());
        }
    }

    #[test]
    fn old_invitations_make_room_and_a_bound_one_stays_longer() {
        let mut outputs = VecDeque::new();
        let bound = Invitation {
            token: token(0),
            bound: Some(PublicKey([9; 32])),
        };
        let row = (id_of(&token(0)).to_vec(), bound.encode());
        let mut inviter = Inviter::resume([row]).unwrap();
        let mut add = |secret: usize, wall: u64| {
            let mut token = token(0);
            token.secret.0[..8].copy_from_slice(&secret.to_be_bytes());
            token.secret.0[15] = 1;
            inviter.add_invitation(token, Duration::from_secs(wall), &mut outputs)
        };
        for secret in 1..INVITATIONS_MAX {
            assert_eq!(add(secret, 0), Ok(()));
        }
        assert_eq!(add(INVITATIONS_MAX, 99), Err(TooManyInvitations));
        assert_eq!(add(INVITATIONS_MAX, 100), Ok(()));
        assert_eq!(inviter.invitations.len(), 2);
    }

    #[test]
    fn a_row_of_another_secret_is_bad() {
        let value = Invitation {
            token: token(1),
            bound: None,
        }
        .encode();
        let row = (id_of(&token(2)).to_vec(), value);
        assert!(Inviter::resume([row]).is_err());
    }

    proptest! {
        #[test]
        fn any_row_is_read_without_harm(key: Vec<u8>, value: Vec<u8>) {
            prop_assert!(Inviter::resume([(key, value)]).is_err());
        }

        #[test]
        fn a_guest_that_babbles_is_dropped_or_refused(pieces: Vec<Vec<u8>>) {
            let mut outputs = VecDeque::new();
            let mut inviter = Inviter::resume([]).unwrap();
            let now = crate::testing::start();
            let opened = LinkEvent::Opened {
                key: Some(PublicKey([1; 32])),
                protocol: crate::link_event::Protocol::Join,
                dialed: None,
                exporter: [0; 32],
                remote: "192.0.2.9:9".parse().unwrap(),
            };
            let link = LinkId(1);
            inviter.handle_link(link, opened, Duration::ZERO, now, &mut outputs);
            for piece in pieces {
                let data = Bytes::from(piece);
                let event = LinkEvent::Stream { stream: StreamId(0), data, finished: false };
                inviter.handle_link(link, event, Duration::ZERO, now, &mut outputs);
            }
            inviter.handle_timeout(now + ASK_TIMEOUT, &mut outputs);
            inviter.handle_timeout(now + ASK_TIMEOUT + REFUSED_TIMEOUT, &mut outputs);
            prop_assert!(!inviter.knows(link));
        }
    }
}
