//! Nearness, candidate, propose, form, install; withdrawal (replication protocol section 4).

use super::{Faults, LOOK_EVERY, Readiness, Replica};
use crate::catch_up::{OFFER_TO_NEAR, OFFER_TO_OTHER};
use crate::entry::{Chain, Stamp};
use crate::log::{Blob, Bounds};
use crate::marks::ViewMarks;
use crate::membership::excluded_by;
use crate::message::{Answer, Known, Message, Propose, State};
use crate::near::{Near, Set, group_of};
use crate::output::{Class, Event, Output};
use crate::rows::{Standing, ViewRecord};
use crate::settling_view::{Formed, IdRule, InUse, Newer, Stage};
use overlay::{Incarnation, PeerId, View};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Whether a view is left although it is not installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quit {
    Forced,
    IfInstalled,
}

/// A hung disk: when it is over, and how long the next hold-off is.
#[derive(Debug)]
pub(super) struct Withdrawal {
    hold_off: Duration,
    /// The flush has ended; agreeing begins again at this time.
    until: Option<Instant>,
    last_return: Option<Instant>,
}

impl Withdrawal {
    pub(super) fn new() -> Self {
        Self {
            hold_off: Duration::ZERO,
            until: None,
            last_return: None,
        }
    }
}

impl Replica {
    /// The overlay agreed on who can be reached.
    pub fn handle_view(&mut self, view: &View, wall: Duration, now: Instant) {
        let before = std::mem::take(&mut self.reach);
        for (peer, incarnation) in &view.members {
            // Every message with a newer incarnation corrects what the view says.
            let life = self.lives.entry(*peer).or_insert(*incarnation);
            *life = (*life).max(*incarnation);
            self.reach.insert(*peer, *life);
        }
        self.reach.insert(self.config.me, self.incarnation);
        self.forget_holders();
        self.review(now);
        // Replication protocol section 3: at once to a peer that has become reachable.
        let new: Vec<PeerId> = self
            .reach
            .keys()
            .copied()
            .filter(|p| !before.contains_key(p))
            .collect();
        for peer in new {
            self.offer_now(peer, now);
        }
        self.drive_later(wall, now);
    }

    /// Another peer's newest `Near`, as the overlay flooded it.
    pub fn handle_near(&mut self, of: PeerId, body: &[u8], wall: Duration, now: Instant) {
        let Some(near) = Near::decode(body) else {
            return;
        };
        if of == self.config.me || !self.hear_life(of, near.incarnation) {
            return;
        }
        self.nears.insert(of, near);
        self.review(now);
        self.drive_later(wall, now);
    }

    /// Notes the life in which a peer speaks; whether it is not an earlier one.
    pub(super) fn hear_life(&mut self, peer: PeerId, incarnation: Incarnation) -> bool {
        let life = self.lives.entry(peer).or_insert(incarnation);
        if incarnation < *life {
            return false;
        }
        if incarnation > *life {
            self.catch_up.forget(peer);
            self.differing.remove(&peer);
        }
        *life = incarnation;
        if let Some(reached) = self.reach.get_mut(&peer) {
            *reached = incarnation;
        }
        true
    }

    /// Looks again at whom this peer states near and with whom it wants to settle. Called after
    /// whatever may have changed either.
    pub(super) fn review(&mut self, now: Instant) {
        if self.readiness == Readiness::AwaitingFlush {
            return;
        }
        self.update_exclusion();
        self.state_near();
        if matches!(self.view.stage, Stage::Withdrawn) {
            return;
        }
        loop {
            let candidate = self.candidate();
            if candidate != self.view.candidate {
                self.view.candidate = candidate;
                self.quit_view(Quit::Forced, now);
            }
            if !self.try_form(now) {
                break;
            }
        }
        self.try_install(now);
    }

    /// Computes again who is excluded, and what follows for the overlay.
    pub(super) fn update_exclusion(&mut self) {
        let own = self.held_evictions();
        let by_own = excluded_by(self.members.evicted(), &own);
        let mut all = own;
        let reachable = self.nears.iter().filter(|(peer, near)| {
            // What this peer stated last is older than what it holds.
            **peer != self.config.me
                && self.reach.get(*peer) == Some(&near.incarnation)
                && !by_own.contains(*peer)
        });
        for (_, near) in reachable {
            all.extend(near.evictions.iter().copied());
        }
        self.excluded = excluded_by(self.members.evicted(), &all);
        self.update_member_set();
    }

    fn state_near(&mut self) {
        let mut near = Set::new();
        if !matches!(self.view.stage, Stage::Withdrawn) {
            for (peer, incarnation) in &self.reach {
                let was_near = self.own_near.near.get(peer) == Some(incarnation);
                if *peer != self.config.me
                    && self.is_admitted(*peer)
                    && !self.excluded.contains(peer)
                    && !self.differing.contains_key(peer)
                    && (was_near || self.is_close(*peer, *incarnation))
                {
                    near.insert(*peer, *incarnation);
                }
            }
        }
        let stated = Near {
            incarnation: self.incarnation,
            near,
            side: self.view.side.clone(),
            lost: Set::new(),
            evictions: self.held_evictions(),
        };
        if stated != self.own_near {
            self.outputs.push_back(Output::Near(stated.encode()));
            self.nears.insert(self.config.me, stated.clone());
            self.own_near = stated;
        }
    }

    /// Whether neither lacks much of what the other states.
    fn is_close(&self, peer: PeerId, incarnation: Incarnation) -> bool {
        let Some(known) = self.catch_up.known_of(peer, incarnation) else {
            return false;
        };
        let lag_max = self.config.join_lag;
        let (lacks, blob) = self.log.lacks(&known.stated, &self.blobs);
        if lacks > lag_max || blob == Blob::Missing {
            return false;
        }
        let (lacks, blob) = self.log.lacked_by(&known.held, &self.stated());
        lacks <= lag_max && blob == Blob::None
    }

    fn candidate(&self) -> Set {
        let me = self.config.me;
        let mut peers = self.reach.clone();
        peers.retain(|peer, _| *peer == me || !self.excluded.contains(peer));
        group_of(me, &peers, &self.nears)
    }

    /// Leaves the view, or begins another attempt.
    pub(super) fn quit_view(&mut self, quit: Quit, now: Instant) {
        if matches!(self.view.stage, Stage::Withdrawn) {
            return;
        }
        self.leave_view(quit);
        self.view.stage = Stage::Proposing;
        if self.view.own.is_none() {
            self.view.own = Some(Propose {
                attempt: self.view.attempt,
                set: self.view.candidate.clone(),
                stable: self.marks.stable,
                known: self.known(),
            });
        }
        self.broadcast_propose(now);
    }

    /// What no longer counts when a view, or an attempt at one, ends.
    fn leave_view(&mut self, quit: Quit) {
        let installed = self.view.in_use().is_some();
        if installed || quit == Quit::Forced {
            self.view.attempt += 1;
            self.view.own = None;
        }
        if installed {
            self.marks.view = None;
            self.tell(Event::ViewLeft);
        }
    }

    pub(super) fn hear_propose(
        &mut self,
        from: PeerId,
        incarnation: Incarnation,
        propose: Propose,
        now: Instant,
    ) {
        self.catch_up
            .hear_known(from, incarnation, propose.known.clone());
        self.catch_up
            .hear(from, &propose.known.stated, &self.log, now);
        self.compare_prefix(from, &propose, now);
        if self.view.hear_propose(from, incarnation, propose) == Newer::No {
            return;
        }
        // A member that proposes has left, or never formed, the view that it is a member of.
        let members = self.view.members();
        if members.is_some_and(|members| members.contains_key(&from)) {
            self.quit_view(Quit::IfInstalled, now);
        }
        self.review(now);
    }

    pub(super) fn hear_state(
        &mut self,
        from: PeerId,
        incarnation: Incarnation,
        state: State,
        now: Instant,
    ) {
        self.catch_up.hear(from, &state.stated, &self.log, now);
        if state.answer == Answer::Wanted {
            self.last_fetching.insert(from, now);
            if let Some(in_use) = self.view.in_use().filter(|in_use| in_use.id == state.view) {
                let mut own = in_use.state.clone();
                own.answer = Answer::NotWanted;
                self.send(from, Message::State(own));
            }
        }
        if self.view.in_use().is_none() {
            self.view.hear_state(from, incarnation, state);
            self.try_install(now);
        }
    }

    /// Forms the view that all of the candidate have proposed. True if the candidate must be
    /// computed again.
    fn try_form(&mut self, now: Instant) -> bool {
        if !matches!(self.view.stage, Stage::Proposing) {
            return false;
        }
        if self.view.candidate.len() == 1 && !self.may_be_alone(now) {
            return false;
        }
        let rule = match self.config.faults {
            Faults::IdWithoutAttempts => IdRule::WithoutAttempts,
            _ => IdRule::WithAttempts,
        };
        let Some((id, stable)) = self.view.agreed(self.config.me, rule) else {
            return false;
        };
        self.drop_aside(stable);
        self.update_exclusion();
        self.state_near();
        if self.candidate() != self.view.candidate {
            return true;
        }
        let state = State {
            view: id,
            stated: self.stated(),
            greatest: self.log.greatest().max(self.marks.stable.stamp),
            promised: self.marks.promised,
            answer: Answer::Wanted,
        };
        let members = self.view.candidate.clone();
        self.view.side = members.clone();
        self.view.stage = Stage::Formed(Formed {
            id,
            members,
            state: state.clone(),
            since: now,
        });
        self.state_near();
        self.catch_up.hurry(now);
        self.multicast(Class::Control, Message::State(state));
        self.repeat_at = now + REPEAT_EVERY;
        self.fetch(now);
        false
    }

    /// Installs the formed view when all have said what they bring, and this peer holds it.
    pub(super) fn try_install(&mut self, now: Instant) {
        let Stage::Formed(formed) = &self.view.stage else {
            return;
        };
        let Some((base, gate)) = self.view.base(self.config.me, formed) else {
            return;
        };
        if !self.log.held().covers(&base) {
            return;
        }
        let open = formed.members.iter().map(|(author, incarnation)| Chain {
            author: *author,
            incarnation: *incarnation,
        });
        let bounds = Bounds {
            open: open.collect(),
            base: base.clone(),
        };
        let in_use = InUse {
            id: formed.id,
            members: formed.members.clone(),
            state: formed.state.clone(),
            base,
            since: now,
        };
        self.clock.see(gate.hybrid);
        self.log.set_bounds(bounds.clone());
        self.record = ViewRecord {
            id: in_use.id,
            members: in_use.members.clone(),
            bounds,
        };
        self.marks.view = Some(ViewMarks::new(self.config.me, &in_use, gate, now));
        self.view.stage = Stage::Installed(in_use);
        let held_all = self.view_holds_all();
        self.commit.set_record(self.record.clone(), held_all);
        self.outputs.push_back(Output::LogChanged);
        let event = Event::ViewInstalled {
            id: self.record.id,
            members: self.record.members.keys().copied().collect(),
            holds_majority: self.holds_majority(),
        };
        self.tell(event);
    }

    /// A newcomer is never alone; a restarted peer is so only after it has looked for others.
    fn may_be_alone(&self, now: Instant) -> bool {
        self.standing == Standing::Settled && self.lone_until.is_none_or(|until| now >= until)
    }

    /// Catching up with somebody reachable makes progress: settling alone waits.
    pub(super) fn wait_longer_alone(&mut self, now: Instant) {
        let others = self.reach.keys().any(|peer| {
            *peer != self.config.me && self.is_admitted(*peer) && !self.excluded.contains(peer)
        });
        if others && self.lone_until.is_some_and(|until| now < until) {
            self.lone_until = Some(now + self.config.lone_after);
        }
    }

    /// Withdraws when a flush takes too long, and comes back when the disk does.
    pub(super) fn watch_disk(&mut self, now: Instant) {
        if self.apart {
            return;
        }
        if matches!(self.view.stage, Stage::Withdrawn) {
            // The batch that was begun meanwhile may hang in its turn.
            let hangs = self
                .commit
                .flushing_since()
                .is_some_and(|since| now >= since + self.withdraw_after());
            if !hangs && self.withdrawal.until.is_some_and(|until| now >= until) {
                self.withdrawal.until = None;
                self.withdrawal.last_return = Some(now);
                self.view.stage = Stage::Proposing;
                self.tell(Event::Returned);
                self.state_near();
                self.view.candidate = self.candidate();
                self.quit_view(Quit::Forced, now);
                self.review(now);
            }
        } else if self
            .commit
            .flushing_since()
            .is_some_and(|since| now >= since + self.withdraw_after())
        {
            self.leave_view(Quit::Forced);
            self.view.stage = Stage::Withdrawn;
            self.withdrawal.until = None;
            // Doubled each time within a minute: a disk that flaps must not make views flap.
            let recent = self
                .withdrawal
                .last_return
                .is_some_and(|last| now < last + HOLD_OFF_MEMORY);
            self.withdrawal.hold_off = if recent {
                (self.withdrawal.hold_off * 2).min(HOLD_OFF_MAX)
            } else {
                self.config.detection
            };
            self.tell(Event::Withdrawn);
            self.state_near();
        }
    }

    /// The flush that hung has ended.
    pub(super) fn end_withdrawal(&mut self, now: Instant) {
        let is_withdrawn = matches!(self.view.stage, Stage::Withdrawn) && !self.apart;
        if is_withdrawn && self.withdrawal.until.is_none() {
            self.withdrawal.until = Some(now + self.withdrawal.hold_off);
        }
    }

    /// What no message reminds of: offers in turn, the wait before settling alone, entries aside.
    pub(super) fn look_around(&mut self, now: Instant) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let me = self.config.me;
        let reach = self.reach.clone();
        let states_me = |near: &Near| near.near.get(&me) == Some(&self.incarnation);
        let one_sided: Vec<PeerId> = self
            .own_near
            .near
            .keys()
            .copied()
            .filter(|peer| !self.nears.get(peer).is_some_and(states_me))
            .collect();
        for peer in one_sided {
            if self.catch_up.offer_is_due(peer, OFFER_TO_NEAR, now) {
                self.offer(peer);
            }
        }
        let outside = |peer: &PeerId| {
            *peer != me
                && self
                    .view
                    .members()
                    .is_none_or(|set| !set.contains_key(peer))
        };
        // An Offer to a neighbor that is in no common overlay view may have been too early, or lost.
        let others = reach.keys().chain(&self.neighbors).copied();
        let outside: BTreeSet<PeerId> = others.filter(outside).collect();
        if let Some(peer) = self.catch_up.next_in_turn(&outside)
            && self.catch_up.offer_is_due(peer, OFFER_TO_OTHER, now)
        {
            self.offer(peer);
        }
        self.judge_prefix(now);
        if self.wants_aside(now) {
            self.quit_view(Quit::Forced, now);
        }
        self.start_blob_fetches(now);
        self.drop_stale_blobs(now);
        self.review(now);
    }

    /// Whether entries aside are due to enter by a new view of the same members: those of authors
    /// that are not in reach, once every member holds all that this peer's State would carry.
    fn wants_aside(&self, now: Instant) -> bool {
        let (Some(in_use), Some(marks)) = (self.view.in_use(), &self.marks.view) else {
            return false;
        };
        if now < in_use.since + ASIDE_AFTER {
            return false;
        }
        let stated = self.stated();
        let enters = self.log.aside().any(|entry| {
            stated.holds(entry.id())
                && self.reach.get(&entry.chain.author) != Some(&entry.chain.incarnation)
        });
        enters && self.log.durable().covers(&stated) && marks.all_hold(&stated)
    }

    pub(super) fn repeat_proposals(&mut self, now: Instant) {
        if now < self.repeat_at {
            return;
        }
        self.repeat_at = now + REPEAT_EVERY;
        match &self.view.stage {
            Stage::Proposing => self.broadcast_propose(now),
            Stage::Formed(formed) => {
                let state = formed.state.clone();
                self.broadcast_propose(now);
                self.multicast(Class::Control, Message::State(state));
            }
            Stage::Installed(_) | Stage::Withdrawn => {}
        }
    }

    /// When something of this section is due, beyond the regular look.
    pub(super) fn agree_due(&self) -> Option<Instant> {
        let stage = match &self.view.stage {
            Stage::Proposing | Stage::Formed(_) => Some(self.repeat_at),
            Stage::Withdrawn => self.withdrawal.until,
            Stage::Installed(_) => None,
        };
        let flush = match self.view.stage {
            Stage::Withdrawn => None,
            _ => self
                .commit
                .flushing_since()
                .map(|since| since + self.withdraw_after()),
        };
        [stage, flush].into_iter().flatten().min()
    }

    /// Complains of members that do not say what all wait for.
    pub(super) fn complain(&mut self, now: Instant) {
        let limit = self.withdraw_after() + self.config.agree;
        let mute = match &self.view.stage {
            Stage::Formed(formed) if now >= formed.since + limit => {
                self.view.missing_states(self.config.me, formed)
            }
            Stage::Installed(_) => match &self.marks.view {
                Some(view) => match view.behind {
                    Some((target, since)) if now >= since + limit => {
                        view.waits_for(&self.log, target)
                    }
                    _ => Vec::new(),
                },
                None => Vec::new(),
            },
            Stage::Proposing | Stage::Formed(_) | Stage::Withdrawn => Vec::new(),
        };
        if mute.is_empty() {
            return;
        }
        // Not at once again, and not of one that is fetching the base or is withdrawn itself.
        match &mut self.view.stage {
            Stage::Formed(formed) => formed.since = now,
            _ => {
                if let Some(view) = &mut self.marks.view {
                    view.behind = view.behind.map(|(target, _)| (target, now));
                }
            }
        }
        for peer in mute {
            let states_me = self
                .nears
                .get(&peer)
                .is_some_and(|near| near.near.contains_key(&self.config.me));
            let last = self.last_fetching.get(&peer);
            let fetches = last.is_some_and(|last| now < *last + REPEAT_EVERY * 10);
            if states_me && !fetches {
                self.outputs.push_back(Output::Complain(peer));
                self.tell(Event::Mute(peer));
            }
        }
    }

    /// The peers for whose word settling, or agreeing, waits.
    pub(super) fn waits_for(&self) -> Vec<PeerId> {
        match &self.view.stage {
            Stage::Installed(_) => {
                let target = self.marks.target(&self.log);
                let view = self.marks.view.as_ref();
                view.map_or_else(Vec::new, |view| view.waits_for(&self.log, target))
            }
            Stage::Formed(formed) => self.view.missing_states(self.config.me, formed),
            Stage::Proposing => {
                let agrees = |peer: &PeerId| {
                    let last = self.view.proposals.get(peer);
                    last.is_some_and(|(_, propose)| propose.set == self.view.candidate)
                };
                let others = self.view.candidate.keys().copied();
                others
                    .filter(|peer| *peer != self.config.me && !agrees(peer))
                    .collect()
            }
            Stage::Withdrawn => Vec::new(),
        }
    }

    /// Drops what lies aside at or below `mark`; what becomes of it on disk is part of the next
    /// batch.
    pub(super) fn drop_aside(&mut self, mark: Stamp) {
        let dropped = self.log.drop_aside(mark);
        if !dropped.is_empty() {
            self.commit.erase(&dropped);
        }
    }

    pub(super) fn known(&self) -> Known {
        Known {
            stated: self.stated(),
            held: self.log.held().clone(),
            start: self.start_frontier.clone(),
        }
    }

    pub(super) fn stated(&self) -> crate::frontier::Frontier {
        self.log.stated(Stamp::last_of(self.marks.floor))
    }

    /// How long a flush may take: less, and peers that share a busy disk would flap.
    fn withdraw_after(&self) -> Duration {
        self.config.detection.max(WITHDRAW_AFTER_MIN)
    }

    fn broadcast_propose(&mut self, now: Instant) {
        if let Some(own) = &self.view.own {
            let message = Message::Propose(own.clone());
            self.multicast(Class::Control, message);
        }
        self.repeat_at = now + REPEAT_EVERY;
    }

    /// Equal stamps of stable must mean equal prefixes (section 12).
    fn compare_prefix(&mut self, of: PeerId, propose: &Propose, now: Instant) {
        let (ours, theirs) = (self.marks.stable, propose.stable);
        if ours.stamp == theirs.stamp && ours != theirs && !self.differing.contains_key(&of) {
            self.differing.insert(of, now);
            self.tell(Event::PrefixDiffers(of));
        }
    }

    /// The peer with fewer members behind it stops (section 12). Who they are is seen in whom each
    /// states near, once both have had the time to take each other out of it. Between equally many
    /// a person must decide.
    fn judge_prefix(&mut self, now: Instant) {
        let behind = |near: &Near| {
            let members = near.near.keys();
            members.filter(|peer| self.members.contains(**peer)).count()
        };
        let own = behind(&self.own_near);
        let outnumbers = |(peer, since): (&PeerId, &Instant)| {
            let near = self.nears.get(peer);
            let near = near.filter(|near| self.reach.get(peer) == Some(&near.incarnation));
            now >= *since + PREFIX_JUDGED_AFTER
                && near.is_some_and(|near| {
                    !near.near.contains_key(&self.config.me) && behind(near) > own
                })
        };
        if self.apart || !self.differing.iter().any(outnumbers) {
            return;
        }
        self.apart = true;
        self.leave_view(Quit::Forced);
        self.view.stage = Stage::Withdrawn;
        self.withdrawal.until = None;
        self.give_up_queued(|_| true);
        self.tell(Event::StandsApart);
        self.state_near();
    }
}

/// Propose and State are repeated this often until the view is installed.
const REPEAT_EVERY: Duration = Duration::from_millis(50);
/// Entries aside enter by a new view of the same members after this long without a view change.
const ASIDE_AFTER: Duration = Duration::from_secs(1);
/// Two floods of `Near`, and room.
const PREFIX_JUDGED_AFTER: Duration = Duration::from_secs(1);
const WITHDRAW_AFTER_MIN: Duration = Duration::from_secs(1);
const HOLD_OFF_MAX: Duration = Duration::from_secs(10);
const HOLD_OFF_MEMORY: Duration = Duration::from_secs(60);
