//! A link to one neighbor: its three connections, the session on it and what waits to be sent.
//! It comes and goes with the neighbor's stage; what its packets mean is not known here.

use crate::config::Faults;
use crate::event::Class;
use crate::link_event::LinkId;
use crate::multicast::Life;
use crate::neighbor::Neighbor;
use crate::outbox::{Item, Outbox};
use crate::packet::{ACK_SIZE, DATA_HEADER_SIZE, FRAGMENT_SIZE, Urgency};
use crate::repair::{Receiver, Sender, Transmitted};
use crate::timing::Timing;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Datagrams under way before the driver says that there is room again: more would wait in the
/// transport's queue, where control cannot overtake them.
const CREDIT: u8 = 2;
/// The least that any path takes: a full fragment.
const DATAGRAM_SIZE_MIN: usize = DATA_HEADER_SIZE + FRAGMENT_SIZE;
/// A message that went out so lately may be under way still.
const UNDER_WAY_MIN: Duration = Duration::from_millis(20);
/// How long after a failed dial of a beat or canary the next one starts.
const COMPANION_BACKOFF: Duration = Duration::from_millis(200);
const CANARY_BACKOFF: Duration = Duration::from_secs(2);

/// A link to one neighbor.
pub(crate) struct Link {
    pub(crate) neighbor: Neighbor,
    pub(crate) connection: Option<Triple>,
    pub(crate) outbox: Outbox,
    pub(crate) summary: SummaryClock,
    timing: Timing,
    sender: Option<Sender>,
    receiver: Receiver,
    session: u32,
    push: Push,
    credit: u8,
    /// Since when the transport has had no room.
    blocked_since: Option<Instant>,
    datagram_size: usize,
    /// Messages that went out in the last moments: a pull for one of them is too early.
    sent_lately: BTreeMap<(Life, u64), Instant>,
}

/// The connections that make up a link.
pub(crate) struct Triple {
    pub(crate) link: LinkId,
    pub(crate) since: Instant,
    pub(crate) remote: SocketAddr,
    pub(crate) side: Side,
    pub(crate) my_nonce: [u8; 16],
    pub(crate) their_nonce: [u8; 16],
    pub(crate) beat: Companion,
    pub(crate) canary: Companion,
}

/// Which end dialed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Dialer,
    Acceptor,
}

/// The beat or the canary of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Companion {
    Open(LinkId),
    Dialing,
    /// The dialer dials at this time; the acceptor waits.
    Absent {
        dial_at: Instant,
    },
}

/// What changed since the last summary on this link, and when the next one goes.
pub(crate) struct SummaryClock {
    pub(crate) news: BTreeSet<Life>,
    pub(crate) next: Instant,
}

/// How far the push of this session has come: the link is listed when it is acknowledged.
/// Through a hole for big packets it never is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Push {
    None,
    /// Until so many items of control are taken from the outbox.
    Queued {
        items: u64,
    },
    /// Until this packet is acknowledged.
    Sent {
        last: u64,
    },
    Acknowledged,
}

/// Whether the link counts in the link state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listing {
    Changed,
    AsBefore,
}

impl Link {
    pub(crate) fn new(timing: Timing, now: Instant) -> Self {
        Self {
            neighbor: Neighbor::new(timing, now),
            connection: None,
            outbox: Outbox::default(),
            summary: SummaryClock {
                news: BTreeSet::new(),
                next: now,
            },
            timing,
            sender: None,
            receiver: Receiver::new(timing.ack_delay, now),
            session: 0,
            push: Push::None,
            credit: CREDIT,
            blocked_since: None,
            datagram_size: DATAGRAM_SIZE_MIN,
            sent_lately: BTreeMap::new(),
        }
    }

    /// The link is up: a new session begins. What the outbox holds from here to
    /// [`Self::close_push`] is the push.
    pub(crate) fn begin_session(&mut self, now: Instant) {
        self.session += 1;
        let rtt = self.neighbor.rtt();
        self.sender = Some(Sender::new(self.session, rtt, self.timing));
        self.outbox = Outbox::default();
        self.push = Push::None;
        self.summary.news.clear();
        self.summary.next = now;
        self.sent_lately.clear();
    }

    /// All of the push is queued.
    pub(crate) fn close_push(&mut self) {
        let items = self.outbox.pushed();
        self.push = Push::Queued { items };
    }

    /// The link is down: what was unacknowledged is forgotten.
    pub(crate) fn end_session(&mut self) -> Listing {
        let was_listed = self.is_listed();
        self.sender = None;
        self.outbox = Outbox::default();
        self.push = Push::None;
        match was_listed {
            true => Listing::Changed,
            false => Listing::AsBefore,
        }
    }

    /// The neighbor lives anew: its sessions begin again.
    pub(crate) fn forget_receiver(&mut self, now: Instant) {
        self.receiver = Receiver::new(self.timing.ack_delay, now);
    }

    /// A new connection carries the link.
    pub(crate) fn connect(&mut self, triple: Triple) -> Option<Triple> {
        self.neighbor.set_connected(true);
        self.writable();
        self.datagram_size = DATAGRAM_SIZE_MIN;
        self.connection.replace(triple)
    }

    /// Its connection has ended.
    pub(crate) fn disconnect(&mut self) -> Option<Triple> {
        self.neighbor.set_connected(false);
        self.connection.take()
    }

    pub(crate) fn receiver(&mut self) -> (&mut Receiver, Duration) {
        let srtt = self.srtt();
        (&mut self.receiver, srtt)
    }

    pub(crate) fn sender(&mut self) -> Option<&mut Sender> {
        self.sender.as_mut()
    }

    pub(crate) fn writable(&mut self) {
        self.credit = CREDIT;
        self.blocked_since = None;
    }

    pub(crate) fn set_datagram_size(&mut self, size: usize) {
        self.datagram_size = size.max(DATAGRAM_SIZE_MIN);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.receiver.handle_timeout(now);
        if let Some(sender) = &mut self.sender {
            sender.handle_timeout(now);
        }
    }

    /// This peer's own loop stood still.
    pub(crate) fn excuse(&mut self, late: Duration, now: Instant) {
        self.neighbor.excuse(late, now);
        if let Some(sender) = &mut self.sender {
            sender.excuse(late);
        }
        self.blocked_since = self.blocked_since.map(|since| (since + late).min(now));
    }

    /// Follows the push; whether the link is to be listed from here on.
    pub(crate) fn advance_push(&mut self, faults: Faults) -> Listing {
        let Some(sender) = &self.sender else {
            return Listing::AsBefore;
        };
        if let Push::Queued { items } = self.push
            && self.outbox.taken() >= items
        {
            self.push = Push::Sent {
                last: sender.last(),
            };
        }
        match self.push {
            Push::Sent { last } if sender.acked() >= last || faults == Faults::ListedBeforePush => {
                self.push = Push::Acknowledged;
                Listing::Changed
            }
            _ => Listing::AsBefore,
        }
    }

    /// These messages have just gone out.
    pub(crate) fn note_sent(&mut self, sent: Vec<(Life, u64)>, now: Instant) {
        let sent = sent.into_iter().map(|message| (message, now));
        self.sent_lately.extend(sent);
    }

    pub(crate) fn forget_sent(&mut self, now: Instant) {
        let lately = self.lately();
        self.sent_lately.retain(|_, at| *at + lately > now);
    }

    pub(crate) fn is_under_way(&self, message: (Life, u64), now: Instant) -> bool {
        let sent_at = self.sent_lately.get(&message);
        sent_at.is_some_and(|at| *at + self.lately() > now)
    }

    /// The next datagram, if something is due and there is room for it. `resolve` gives the body
    /// of an item; none: it is gone, or known there already.
    pub(crate) fn poll_datagram(
        &mut self,
        mut resolve: impl FnMut(Item) -> Option<(Bytes, Class, Urgency)>,
        now: Instant,
    ) -> Option<(LinkId, Bytes)> {
        let link = self.connection.as_ref()?.link;
        if self.credit == 0 {
            return None;
        }
        let srtt = self.srtt();
        let mut datagram = Vec::new();
        let is_ack_due = self.receiver.is_ack_due(now);
        if self.outbox.second_due().is_some_and(|due| due <= now) {
            self.outbox.take_along();
        }
        let has_data = match &mut self.sender {
            None => false,
            Some(sender) => {
                number_next(sender, &mut self.outbox, &mut resolve, now);
                sender.has_frames()
            }
        };
        if is_ack_due || has_data {
            self.outbox.take_along();
            let session = self.sender.as_ref().map_or(0, Sender::session);
            if let Some(ack) = self.receiver.ack(session, srtt, now) {
                ack.encode(&mut datagram);
            }
        }
        if let Some(sender) = &mut self.sender {
            loop {
                number_next(sender, &mut self.outbox, &mut resolve, now);
                let room = self.datagram_size - datagram.len();
                if sender.transmit(room, now, &mut datagram) == Transmitted::Nothing {
                    break;
                }
            }
        }
        if datagram.is_empty() {
            return None;
        }
        self.credit -= 1;
        if self.credit == 0 {
            self.blocked_since = Some(now);
        }
        Some((link, datagram.into()))
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.push == Push::Acknowledged
    }

    /// When the oldest unacknowledged control packet is too old, also one that the transport has
    /// had no room for.
    pub(crate) fn unacknowledged_limit(&self) -> Option<Instant> {
        let sender = self.sender.as_ref().filter(|sender| sender.is_answered())?;
        let blocked = self
            .blocked_since
            .filter(|_| self.outbox.has(Class::Control));
        let oldest = [sender.oldest_control(), blocked].into_iter().flatten();
        let patience = self.neighbor.deadline() + self.srtt() * 2;
        Some(oldest.min()? + patience)
    }

    /// The round trip as the packets see it.
    pub(crate) fn srtt(&self) -> Duration {
        let sender = self
            .sender
            .as_ref()
            .and_then(|sender| sender.rtt().measured());
        sender.unwrap_or_else(|| self.neighbor.rtt().smoothed())
    }

    fn lately(&self) -> Duration {
        UNDER_WAY_MIN.max(self.srtt() * 2)
    }

    pub(crate) fn figures(&self) -> (u64, u64) {
        let figures = self
            .sender
            .as_ref()
            .map(Sender::figures)
            .unwrap_or_default();
        (figures.sent, figures.resent)
    }

    /// When something is due; acknowledgements only while this peer may send.
    pub(crate) fn poll_timeout(&self, is_silenced: bool) -> Option<Instant> {
        let mut next = vec![self.neighbor.poll_timeout(), self.unacknowledged_limit()];
        if let Some(triple) = &self.connection {
            if let Companion::Open(_) = triple.beat {
                next.extend([Some(self.neighbor.beat_next()), self.neighbor.ping_next()]);
            }
            if triple.side == Side::Dialer {
                next.extend([triple.beat.dial_at(), triple.canary.dial_at()]);
            }
            if self.credit > 0 && !is_silenced {
                next.extend([self.receiver.poll_timeout(), self.outbox.second_due()]);
            }
        }
        if let Some(sender) = &self.sender {
            next.push(sender.poll_timeout());
            next.push((!self.summary.news.is_empty()).then_some(self.summary.next));
        }
        next.into_iter().flatten().min()
    }
}

/// Keeps a frame ready as long as the outbox has something that may be numbered.
fn number_next(
    sender: &mut Sender,
    outbox: &mut Outbox,
    resolve: &mut impl FnMut(Item) -> Option<(Bytes, Class, Urgency)>,
    now: Instant,
) {
    while !sender.has_frames()
        && let Some(item) = outbox.pop(|class| sender.has_room(class))
    {
        if let Some((body, class, urgency)) = resolve(item) {
            sender.number(&body, class, urgency, now);
        }
    }
}

impl Companion {
    /// After a dial failed or the connection broke.
    pub(crate) fn beat_again(now: Instant) -> Self {
        Self::Absent {
            dial_at: now + COMPANION_BACKOFF,
        }
    }

    /// Without a canary a link is up all the same: it is filtered, so it is tried more rarely.
    pub(crate) fn canary_again(now: Instant) -> Self {
        Self::Absent {
            dial_at: now + CANARY_BACKOFF,
        }
    }

    pub(crate) fn id(self) -> Option<LinkId> {
        match self {
            Self::Open(link) => Some(link),
            Self::Dialing | Self::Absent { .. } => None,
        }
    }

    fn dial_at(self) -> Option<Instant> {
        match self {
            Self::Absent { dial_at } => Some(dial_at),
            Self::Open(_) | Self::Dialing => None,
        }
    }
}

const _: () = assert!(
    ACK_SIZE < DATAGRAM_SIZE_MIN,
    "an acknowledgement fits alone"
);
