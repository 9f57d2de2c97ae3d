//! Who is told of which change (RFC 1996): for each zone and each server outside one peer, which
//! sends until it is acknowledged.
//!
//! ```text
//! shown ─▶ due (a moment later, as changes come in bursts) ─▶ sent ─┬─ response ─▶ acknowledged, or refused
//!            ▲                                               │      └─ a newer serial meanwhile ─▶ due
//!            └───────────── no response: later and later ◀───┘
//! ```
//! All peers of the settling view that publishes know of all changes; of each zone and server the
//! same one of them comes first in an order by hashes, so the work is spread, and goes over to
//! others when the view changes. What another peer was acknowledged is not known: the one that
//! takes over tells once more.
//!
//! A machine: no socket, no clock. Messages are made and read by `peer/notification.rs`.

use crate::duty::elect;
use crate::remote::Remote;
use overlay::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::{Duration, Instant};
use zones::{Name, Rcode, Serial};

/// How long a change waits for others that come at the same time, and for the other peers to show it
/// too: who is told asks any of them.
const GATHER: Duration = Duration::from_millis(20);
/// A server is told of one zone no more often: some load a zone again for each difference, and a
/// further one that comes meanwhile can make them ask for all of it.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// When a message is sent again for the first time; then after twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// And no later than after this (RFC 1996 section 3.6 has 60 s).
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Messages sent in one go; the next go is [`PAUSE`] later: a peer that takes over very many zones
/// overruns nobody.
const SENDS_MAX: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// Zones looked at in one go after a change of the view.
const ZONES_MAX: usize = 500;

/// The machine.
pub struct Notifier {
    me: PeerId,
    /// The members of the settling view that publishes; none: nobody tells anybody.
    members: Vec<PeerId>,
    zones: BTreeMap<Name, Told>,
    due: BTreeSet<(Instant, Name, Remote)>,
    in_flight: BTreeMap<u16, InFlight>,
    /// Zones up to this one have been looked at since the view changed.
    walk: Option<Bound<Name>>,
    not_before: Option<Instant>,
    random: fastrand::Rng,
    figures: Figures,
}

/// A message that waits for a response.
struct InFlight {
    origin: Name,
    target: Remote,
    /// The MAC that it was signed with; empty if it was not.
    mac: Box<[u8]>,
}

/// What of one zone is told to whom.
struct Told {
    serial: Serial,
    targets: BTreeMap<Remote, Target>,
}

/// What one server was told of one zone.
#[derive(Clone, Default)]
struct Target {
    /// The last serial that it has acknowledged to this peer.
    acknowledged: Option<Serial>,
    /// Why it did not want to know of the serial that was sent last.
    refused: Option<Rcode>,
    /// The message that waits for a response.
    sent: Option<Sent>,
    /// When the last one was sent.
    last: Option<Instant>,
    due: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Sent {
    id: u16,
    serial: Serial,
    attempts: u32,
}

/// A message to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Its id.
    pub id: u16,
    /// To whom.
    pub target: Remote,
    /// The zone that has changed.
    pub origin: Name,
    /// The serial that it has.
    pub serial: Serial,
}

/// How many messages there were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Sent, again too.
    pub sent: u64,
    /// Sent again.
    pub repeated: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Answered by an error.
    pub refused: u64,
}

/// What is known of one server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which.
    pub target: Remote,
    /// Which peer tells it; none while nobody does.
    pub teller: Option<PeerId>,
    /// The last serial that it has acknowledged to this peer.
    pub acknowledged: Option<Serial>,
    /// Why it did not want to know of the last one.
    pub refused: Option<Rcode>,
}

impl Notifier {
    /// Starts with no zones; the seed chooses the ids of messages.
    #[must_use]
    pub fn new(me: PeerId, seed: u64) -> Self {
        Self {
            me,
            members: Vec::new(),
            zones: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            walk: None,
            not_before: None,
            random: fastrand::Rng::with_seed(seed),
            figures: Figures::default(),
        }
    }

    /// These peers publish together from now on, or nobody does.
    pub fn handle_view(&mut self, members: Vec<PeerId>) {
        if members != self.members {
            self.members = members;
            self.walk = Some(Bound::Unbounded);
        }
    }

    /// A zone is shown with this serial, and these servers are to know; it may be none.
    pub fn handle_shown(
        &mut self,
        origin: &Name,
        serial: Serial,
        targets: Vec<Remote>,
        now: Instant,
    ) {
        if targets.is_empty() {
            self.handle_gone(origin);
            return;
        }
        let told = self.zones.entry(origin.clone()).or_insert_with(|| Told {
            serial,
            targets: BTreeMap::new(),
        });
        told.serial = serial;
        let mut before = std::mem::take(&mut told.targets);
        for target in targets {
            let known = before.remove(&target).unwrap_or_default();
            told.targets.insert(target, known);
        }
        for (target, known) in before {
            self.forget(origin, &target, &known);
        }
        self.look_at(origin, now);
    }

    /// A zone is gone, or nobody is to know of it.
    pub fn handle_gone(&mut self, origin: &Name) {
        if let Some(told) = self.zones.remove(origin) {
            for (target, known) in told.targets {
                self.forget(origin, &target, &known);
            }
        }
    }

    /// The server at this address has answered the message with this id. False if there is none.
    pub fn handle_response(
        &mut self,
        id: u16,
        from: SocketAddr,
        rcode: Rcode,
        now: Instant,
    ) -> bool {
        let asked = self.in_flight.get(&id);
        let Some(asked) = asked.filter(|asked| asked.target.address == from) else {
            return false;
        };
        let (origin, target) = (asked.origin.clone(), asked.target.clone());
        // It may know better soon.
        if rcode == Rcode::SERVFAIL {
            return true;
        }
        self.in_flight.remove(&id);
        let Some(known) = self.target_mut(&origin, &target) else {
            return true;
        };
        if let Some(sent) = known.sent.take() {
            match rcode {
                Rcode::NOERROR => {
                    known.acknowledged = Some(sent.serial);
                    known.refused = None;
                    self.figures.acknowledged += 1;
                }
                rcode => {
                    known.refused = Some(rcode);
                    self.figures.refused += 1;
                }
            }
            let is_newer = self.zones[&origin].serial != sent.serial;
            let again = is_newer.then(|| now + INTERVAL_MIN);
            self.set_due(&origin, &target, again);
        }
        true
    }

    /// The message with this id was signed with this MAC.
    pub fn set_mac(&mut self, id: u16, mac: Box<[u8]>) {
        if let Some(sent) = self.in_flight.get_mut(&id) {
            sent.mac = mac;
        }
    }

    /// To whom the message with this id was sent, and its MAC, while it waits for a response.
    #[must_use]
    pub fn awaited(&self, id: u16) -> Option<(&Remote, &[u8])> {
        let sent = self.in_flight.get(&id)?;
        Some((&sent.target, &sent.mac))
    }

    /// The next message to send, if one is due.
    pub fn poll_notice(&mut self, now: Instant) -> Option<Notice> {
        self.walk_on(now);
        if self.not_before.is_some_and(|moment| moment > now) {
            return None;
        }
        loop {
            let (due, origin, target) = self.due.first()?.clone();
            if due > now {
                return None;
            }
            self.set_due(&origin, &target, None);
            if self.teller(&origin, &target) == Some(self.me) {
                return Some(self.send(origin, target, now));
            }
        }
    }

    /// So many were sent in one go: the rest waits a little.
    pub fn pause(&mut self, sent: usize, now: Instant) {
        if sent >= SENDS_MAX {
            self.not_before = Some(now + PAUSE);
        }
    }

    /// How many messages may go out in one go.
    pub const SENDS_MAX: usize = SENDS_MAX;

    /// When something is due.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.walk.is_some() {
            return Some(now);
        }
        let (due, ..) = self.due.first()?;
        Some(self.not_before.map_or(*due, |moment| moment.max(*due)))
    }

    /// What is known of the servers that are told of a zone.
    #[must_use]
    pub fn standing(&self, origin: &Name) -> Vec<Standing> {
        let told = self.zones.get(origin);
        let targets = told.into_iter().flat_map(|told| &told.targets);
        targets
            .map(|(target, known)| Standing {
                target: target.clone(),
                teller: self.teller(origin, target),
                acknowledged: known.acknowledged,
                refused: known.refused,
            })
            .collect()
    }

    /// True if anybody is told of any zone.
    #[must_use]
    pub fn has_zones(&self) -> bool {
        !self.zones.is_empty()
    }

    /// How many messages there were.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// How many wait to be sent, or for a response.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    fn send(&mut self, origin: Name, target: Remote, now: Instant) -> Notice {
        let id = loop {
            let id = self.random.u16(..);
            if !self.in_flight.contains_key(&id) {
                break id;
            }
        };
        let serial = self.zones[&origin].serial;
        let known = self
            .target_mut(&origin, &target)
            .expect("what is due is known");
        let before = known.sent.filter(|sent| sent.serial == serial);
        let attempts = before.map_or(0, |sent| sent.attempts) + 1;
        let old = known.sent.replace(Sent {
            id,
            serial,
            attempts,
        });
        known.last = Some(now);
        known.refused = None;
        self.figures.sent += 1;
        if let Some(old) = old {
            self.in_flight.remove(&old.id);
            self.figures.repeated += 1;
        }
        let wait = RETRY_FIRST.saturating_mul(1 << (attempts - 1).min(16));
        self.set_due(&origin, &target, Some(now + wait.min(RETRY_MAX)));
        let in_flight = InFlight {
            origin: origin.clone(),
            target: target.clone(),
            mac: Box::default(),
        };
        self.in_flight.insert(id, in_flight);
        Notice {
            id,
            target,
            origin,
            serial,
        }
    }

    /// Goes on with the zones of which others may be told by this peer since the view changed.
    fn walk_on(&mut self, now: Instant) {
        let Some(from) = self.walk.take() else { return };
        let next = self.zones.range((from, Bound::Unbounded));
        let next: Vec<Name> = next
            .map(|(origin, _)| origin.clone())
            .take(ZONES_MAX)
            .collect();
        for origin in &next {
            self.look_at(origin, now);
        }
        if next.len() == ZONES_MAX {
            self.walk = next.last().cloned().map(Bound::Excluded);
        }
    }

    /// Sees to it that all servers of a zone that this peer tells come to know of its serial.
    fn look_at(&mut self, origin: &Name, now: Instant) {
        let told = &self.zones[origin];
        let mut due = Vec::new();
        for (target, known) in &told.targets {
            let is_mine = self.teller(origin, target) == Some(self.me);
            let is_known = known.acknowledged == Some(told.serial);
            if !is_mine || is_known {
                due.push((target.clone(), None));
            } else if known.sent.is_none() && known.due.is_none() {
                let earliest = known.last.map_or(now, |last| last + INTERVAL_MIN);
                due.push((target.clone(), Some(earliest.max(now + GATHER))));
            } else if let Some(sent) = known.sent
                && sent.serial != told.serial
                && known.due.is_some_and(|due| due > now + RETRY_FIRST)
            {
                // It may be there again.
                due.push((target.clone(), Some(now + RETRY_FIRST)));
            }
        }
        for (target, moment) in due {
            self.set_due(origin, &target, moment);
        }
    }

    /// Which peer tells this server of this zone.
    fn teller(&self, origin: &Name, target: &Remote) -> Option<PeerId> {
        if self.members.len() < 2 {
            return self.members.first().copied();
        }
        let address = target.address.to_string();
        elect(
            &self.members,
            &[address.as_bytes(), &origin.canonical_key()].concat(),
        )
    }

    fn target_mut(&mut self, origin: &Name, target: &Remote) -> Option<&mut Target> {
        self.zones.get_mut(origin)?.targets.get_mut(target)
    }

    fn set_due(&mut self, origin: &Name, target: &Remote, moment: Option<Instant>) {
        let Some(known) = self.target_mut(origin, target) else {
            return;
        };
        let before = std::mem::replace(&mut known.due, moment);
        if let Some(before) = before {
            self.due.remove(&(before, origin.clone(), target.clone()));
        }
        if let Some(moment) = moment {
            self.due.insert((moment, origin.clone(), target.clone()));
        }
    }

    fn forget(&mut self, origin: &Name, target: &Remote, known: &Target) {
        if let Some(due) = known.due {
            self.due.remove(&(due, origin.clone(), target.clone()));
        }
        if let Some(sent) = known.sent {
            self.in_flight.remove(&sent.id);
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a machine's first moment; all others are added to it"
)]
mod tests {
    use super::*;

    const PEERS: [PeerId; 3] = [PeerId([1; 8]), PeerId([2; 8]), PeerId([3; 8])];

    struct World {
        notifiers: Vec<Notifier>,
        now: Instant,
    }

    fn zone(n: u32) -> Name {
        format!("z{n}.test").parse().unwrap()
    }

    fn target(n: u8) -> Remote {
        format!("192.0.2.{n}").parse().unwrap()
    }

    impl World {
        fn new() -> Self {
            let mut world = Self {
                notifiers: PEERS.iter().map(|peer| Notifier::new(*peer, 1)).collect(),
                now: Instant::now(),
            };
            world.view(&PEERS);
            world
        }

        fn view(&mut self, members: &[PeerId]) {
            for notifier in &mut self.notifiers {
                let is_in = members.contains(&notifier.me);
                notifier.handle_view(if is_in { members.to_vec() } else { Vec::new() });
            }
        }

        fn shown(&mut self, origin: &Name, serial: u32, targets: &[Remote]) {
            for notifier in &mut self.notifiers {
                notifier.handle_shown(origin, Serial(serial), targets.to_vec(), self.now);
            }
        }

        /// What is sent within this time, by whom.
        fn pass(&mut self, time: Duration) -> Vec<(usize, Notice)> {
            self.now += time;
            let mut sent = Vec::new();
            for (number, notifier) in self.notifiers.iter_mut().enumerate() {
                while let Some(notice) = notifier.poll_notice(self.now) {
                    sent.push((number, notice));
                }
            }
            sent
        }

        fn answer(&mut self, (number, notice): &(usize, Notice), rcode: Rcode) {
            let from = notice.target.address;
            assert!(self.notifiers[*number].handle_response(notice.id, from, rcode, self.now));
        }
    }

    #[test]
    fn one_peer_tells_each_server_and_another_takes_over() {
        let mut world = World::new();
        let targets = [target(1), target(2)];
        for n in 0..50 {
            world.shown(&zone(n), 7, &targets);
        }
        let sent = world.pass(GATHER);
        assert_eq!(sent.len(), 100);
        let by = |number: usize| sent.iter().filter(|(by, _)| *by == number).count();
        assert!((0..3).all(|number| by(number) > 15), "the work is spread");
        sent.iter()
            .for_each(|sent| world.answer(sent, Rcode::NOERROR));
        assert_eq!(world.pass(RETRY_MAX), []);
        // Those of the peer that is gone are told again, by the others, and no more.
        let gone = by(0);
        world.view(&PEERS[1..]);
        let again = world.pass(GATHER);
        let again = [again, world.pass(GATHER)].concat();
        assert_eq!(again.len(), gone);
        again
            .iter()
            .for_each(|sent| world.answer(sent, Rcode::NOERROR));
        assert_eq!(world.pass(RETRY_MAX), []);
        // A side that does not publish tells nobody.
        world.view(&[]);
        world.shown(&zone(1), 8, &targets);
        assert_eq!(world.pass(RETRY_MAX), []);
    }

    #[test]
    fn a_burst_is_one_message_and_the_newest_serial() {
        let mut world = World::new();
        for serial in 1..100 {
            world.shown(&zone(1), serial, &[target(1)]);
        }
        let sent = world.pass(GATHER);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].1.serial, Serial(99));
        // One in flight: what comes meanwhile waits for its response.
        for serial in 100..200 {
            world.shown(&zone(1), serial, &[target(1)]);
        }
        assert_eq!(world.pass(GATHER), []);
        world.answer(&sent[0], Rcode::NOERROR);
        let sent = world.pass(INTERVAL_MIN);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].1.serial, Serial(199));
        let known = |world: &World| {
            let teller = world.notifiers[sent[0].0].standing(&zone(1));
            (teller[0].acknowledged, teller[0].refused)
        };
        assert_eq!(known(&world), (Some(Serial(99)), None));
        world.answer(&sent[0], Rcode::REFUSED);
        assert_eq!(known(&world), (Some(Serial(99)), Some(Rcode::REFUSED)));
        assert_eq!(world.pass(RETRY_MAX), []);
    }

    #[test]
    fn it_is_sent_later_and_later_until_it_is_acknowledged() {
        let mut world = World::new();
        world.shown(&zone(1), 1, &[target(1)]);
        let mut last = world.pass(GATHER).remove(0);
        let mut waits = Vec::new();
        while waits.len() < 8 {
            let mut waited = Duration::ZERO;
            loop {
                waited += Duration::from_secs(1);
                let sent = world.pass(Duration::from_secs(1));
                if let Some(sent) = sent.into_iter().next() {
                    assert_ne!(sent.1.id, last.1.id);
                    last = sent;
                    break;
                }
            }
            waits.push(waited.as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
        let wrong = target(2).address;
        let (number, notice) = &last;
        let notifier = &mut world.notifiers[*number];
        assert!(!notifier.handle_response(notice.id, wrong, Rcode::NOERROR, world.now));
        world.answer(&last, Rcode::NOERROR);
        assert_eq!(world.pass(RETRY_MAX), []);
        let figures = world.notifiers[last.0].figures();
        assert_eq!(
            (figures.sent, figures.repeated, figures.acknowledged),
            (9, 8, 1)
        );
        // Whoever is not to be told any more is told nothing.
        world.shown(&zone(1), 2, &[]);
        assert_eq!(world.pass(RETRY_MAX), []);
        assert!(
            world
                .notifiers
                .iter()
                .all(|notifier| notifier.waiting() == 0)
        );
    }
}
