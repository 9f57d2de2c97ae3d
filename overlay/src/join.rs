//! The invitation's handshake, at both ends of a `zc-join/1` connection (overlay protocol
//! section 1):
//!
//! ```text
//! joiner                                   inviter
//!   dial, handshake ─────────────────────▶   at most 16 that have not asked, 5 s, 4 KiB
//!   Ask{proof, name, addresses} ─────────▶   Keep(token → key), durable, then Asked to its owner
//!   ◀─── Progress* Stage* Admitted{proof, admit, members} Snapshot* Done
//!   Taken* ──────────────────────────────▶   Space: the owner may send more
//!   Stored ──────────────────────────────▶   Joined
//! ```
//!
//! What is staged and kept, and when a joiner may be admitted, is the owner's business.

mod frame;
mod inviter;
mod joiner;
#[cfg(test)]
mod tests;

pub(crate) use frame::{read_frames, sample_frames};

use crate::admit::Admit;
use crate::link_event::{DialFailed, LinkEvent, LinkId, LinkOutput};
use crate::members::Member;
use crate::peer_id::PublicKey;
use crate::token::Token;
use bytes::Bytes;
use inviter::Inviter;
use joiner::Joiner;
use ring::hmac;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Largest piece of a checkpoint or snapshot that is handed over at once.
pub const CHUNK_SIZE_MAX: usize = 64 * 1024;
/// Bytes of chunks that may be on their way and not yet taken by the joiner's owner.
pub const WINDOW: usize = 1024 * 1024;
/// Most members that an admission lists.
pub const MEMBERS_MAX: usize = 1000;
/// Longest text of what the joiner waits for, in bytes.
pub const PROGRESS_SIZE_MAX: usize = 1024;

/// Both sides of the handshake; a peer is mostly neither.
pub struct Join {
    inviter: Inviter,
    joiner: Option<Joiner>,
    random: fastrand::Rng,
    outputs: VecDeque<JoinOutput>,
}

/// What a joiner says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinRequest {
    /// The invitation; kept durably by the owner before it is used, as its key is.
    pub token: Token,
    /// The joiner's own key.
    pub key: PublicKey,
    /// The name it wants.
    pub name: String,
    /// Where it can be dialed.
    pub addresses: Vec<SocketAddr>,
}

/// What [`Join`] asks of its driver. Dials are numbered for this machine alone; the driver gives
/// them numbers that are free and turns them back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JoinOutput {
    /// Ask this of the link thread.
    Link(LinkOutput),
    /// Write the row durably, then call [`Join::handle_kept`] with the number.
    Keep {
        /// Which.
        number: u64,
        /// The row's key.
        key: Vec<u8>,
        /// The row; none to remove it.
        value: Option<Vec<u8>>,
    },
    /// Tell the owner.
    Event(JoinEvent),
}

/// What the owner hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JoinEvent {
    /// Inviter: the invitation is durable and may be shown.
    Invited(Token),
    /// Inviter: somebody whom the token binds asks to join. Answer with [`Join::stage`],
    /// [`Join::progress`], [`Join::admit`] and so on, or [`Join::refuse`]. A key that asks again
    /// gets the same admission.
    Asked {
        /// Names the joiner in the answers.
        link: LinkId,
        /// Its key, proven.
        key: PublicKey,
        /// The invitation that it redeems.
        token: Token,
        /// The name it wants.
        name: String,
        /// Where it can be dialed.
        addresses: Vec<SocketAddr>,
        /// Bytes of chunks that may be handed over now.
        space: usize,
    },
    /// Inviter: so many more bytes may be handed over.
    Space {
        /// To whom.
        link: LinkId,
        /// How many.
        bytes: usize,
    },
    /// Inviter: the joiner has stored everything.
    Joined {
        /// Which.
        link: LinkId,
        /// Its key.
        key: PublicKey,
    },
    /// Inviter: the joiner is gone before the end; it will come again.
    Gone {
        /// Which.
        link: LinkId,
    },
    /// Inviter: somebody was refused, for the log; the other side is not told why.
    AskRefused {
        /// Where it came from.
        remote: SocketAddr,
        /// The key that it proved.
        key: PublicKey,
        /// Why.
        reason: Refusal,
    },
    /// Joiner: connected. What an earlier connection brought is void.
    Connected {
        /// The inviter's address.
        remote: SocketAddr,
    },
    /// Joiner: what the inviter waits for.
    Waiting(String),
    /// Joiner: a piece of the checkpoint and log; say [`Join::taken`] when it is stored. It
    /// counts only after `Admitted`.
    Stage(Bytes),
    /// Joiner: admitted; the inviter has proven that it knows the token's secret.
    Admitted {
        /// The admission.
        admit: Admit,
        /// All members.
        members: Vec<Member>,
    },
    /// Joiner: a piece of what came since; say [`Join::taken`].
    Snapshot(Bytes),
    /// Joiner: that was all. When it is stored, say [`Join::stored`].
    Done,
    /// Joiner: the token is used, expired or wrong; the inviter's log says which. No more tries.
    Refused,
    /// Joiner: this try came to nothing, another follows.
    Retrying {
        /// Why, for the log.
        reason: String,
    },
}

/// Why an inviter refuses, for its own log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No invitation has this secret.
    WrongSecret,
    /// The invitation has ended.
    Expired,
    /// Another key has redeemed the invitation.
    Used,
    /// More than ten tries a minute from one address.
    TooOften,
    /// The bytes are no request of ours.
    Malformed,
    /// It speaks a version of this handshake that is not known here.
    Version,
}

/// There are too many open invitations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyInvitations;

/// A kept row does not read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRow {
    /// The row's key.
    pub key: Vec<u8>,
}

impl Join {
    /// Starts with the rows that were kept.
    pub fn resume(
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        seed: u64,
    ) -> Result<Self, BadRow> {
        Ok(Self {
            inviter: Inviter::resume(rows)?,
            joiner: None,
            random: fastrand::Rng::with_seed(seed),
            outputs: VecDeque::new(),
        })
    }

    /// Begins to redeem a token, at all its addresses, again and again until it is redeemed or
    /// refused.
    pub fn dial(&mut self, request: JoinRequest, now: Instant) {
        let joiner = self.joiner.insert(Joiner::new(request));
        joiner.dial(now, &mut self.random, &mut self.outputs);
    }

    /// Remembers an invitation made here; `Invited` follows when it is durable.
    pub fn add_invitation(
        &mut self,
        token: Token,
        wall: Duration,
    ) -> Result<(), TooManyInvitations> {
        self.inviter.add_invitation(token, wall, &mut self.outputs)
    }

    /// The row of this number is durable.
    pub fn handle_kept(&mut self, number: u64, now: Instant) {
        self.inviter.handle_kept(number, now, &mut self.outputs);
    }

    /// Something happened to a connection of [`crate::link_event::Protocol::Join`].
    pub fn handle_link(&mut self, link: LinkId, event: LinkEvent, wall: Duration, now: Instant) {
        let is_dialed = match &event {
            LinkEvent::Opened { dialed, .. } => dialed.is_some(),
            _ => !self.inviter.knows(link),
        };
        match &mut self.joiner {
            Some(joiner) if is_dialed => {
                joiner.handle_link(link, event, now, &mut self.random, &mut self.outputs);
            }
            _ if is_dialed => {}
            _ => self
                .inviter
                .handle_link(link, event, wall, now, &mut self.outputs),
        }
    }

    /// A dial of ours came to nothing.
    pub fn handle_dial_failed(&mut self, failed: &DialFailed, now: Instant) {
        if let Some(joiner) = &mut self.joiner {
            joiner.handle_dial_failed(failed, now, &mut self.random, &mut self.outputs);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.inviter.handle_timeout(now, &mut self.outputs);
        if let Some(joiner) = &mut self.joiner {
            joiner.handle_timeout(now, &mut self.random, &mut self.outputs);
        }
    }

    /// Inviter: hands over a piece of the checkpoint and log, at most [`CHUNK_SIZE_MAX`] bytes
    /// and never more than there is space for.
    pub fn stage(&mut self, link: LinkId, bytes: Bytes, now: Instant) {
        self.inviter
            .chunk(link, &frame::Message::Stage(bytes), now, &mut self.outputs);
    }

    /// Inviter: tells the joiner what it waits for.
    pub fn progress(&mut self, link: LinkId, text: &str, now: Instant) {
        self.inviter.progress(link, text, now, &mut self.outputs);
    }

    /// Inviter: the join entry is settled; `members` are all members, the joiner among them.
    pub fn admit(&mut self, link: LinkId, admit: Admit, members: Vec<Member>, now: Instant) {
        self.inviter
            .admit(link, admit, members, now, &mut self.outputs);
    }

    /// Inviter: hands over a piece of what came since the checkpoint, as [`Self::stage`] does.
    pub fn snapshot(&mut self, link: LinkId, bytes: Bytes, now: Instant) {
        self.inviter.chunk(
            link,
            &frame::Message::Snapshot(bytes),
            now,
            &mut self.outputs,
        );
    }

    /// Inviter: that was all.
    pub fn finish(&mut self, link: LinkId, now: Instant) {
        self.inviter.finish(link, now, &mut self.outputs);
    }

    /// Inviter: the owner does not admit the joiner, for a reason of its own (a taken name).
    pub fn refuse(&mut self, link: LinkId, now: Instant) {
        self.inviter.refuse(link, now, &mut self.outputs);
    }

    /// Joiner: so many bytes of chunks are stored, more may come.
    pub fn taken(&mut self, bytes: usize) {
        if let Some(joiner) = &mut self.joiner {
            joiner.taken(bytes, &mut self.outputs);
        }
    }

    /// Joiner: everything is stored durably; the handshake ends.
    pub fn stored(&mut self, now: Instant) {
        if let Some(joiner) = &mut self.joiner {
            joiner.stored(now, &mut self.outputs);
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<JoinOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let joiner = self.joiner.as_ref().and_then(Joiner::poll_timeout);
        self.inviter.poll_timeout().into_iter().chain(joiner).min()
    }
}

/// What a joiner shows to prove that it knows the secret, on this connection and for its key.
fn join_proof_bytes(token: &Token, exporter: &[u8; 32], joiner: &PublicKey) -> Vec<u8> {
    [
        b"join".as_slice(),
        &token.cluster.0,
        exporter,
        &joiner.spki(),
    ]
    .concat()
}

/// What an inviter shows.
fn admit_proof_bytes(exporter: &[u8; 32], joiner: &PublicKey) -> Vec<u8> {
    [b"admit".as_slice(), exporter, &joiner.spki()].concat()
}

fn secret_key(token: &Token) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &token.secret.0)
}

fn sign(token: &Token, bytes: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&secret_key(token), bytes);
    tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}
