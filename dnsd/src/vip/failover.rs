//! Which VIPs this peer announces (overlay protocol section 6).
//!
//! ```text
//!            agreed view, or epoch + 1
//!  Idle ────────────▶ Gather ── no change of an announced VIP under way ──▶ frozen: claim flooded
//!                        ▲                                                        │
//!                        │ view; rank, can, map, maturity changed; higher epoch   │ claims of all
//!                        └───────────────────────── Run ◀── plan = assign(claims) ┘ members here
//! ```
//! In Gather own holdings only shrink: of two that announce one VIP the loser lets go. In Run holes
//! are filled, and everything else is a move: the next holder gets ready, the holder lets go, the
//! next one announces. All members have the same claims, so the same plan; there is no
//! representative and no order of messages to rely on.
//!
//! A machine: `handle_*` for what happened, then [`Failover::poll_action`] until none is left.

mod gather;
mod kernel_changes;
mod quarantine;
mod report;
mod run;
#[cfg(test)]
mod tests;

use super::address::{VipAddress, VipId};
use super::assign::Plan;
use super::claim::{Claim, Maturity, Rank};
use super::kernel::{Heard, Kernel, Mac, Order, Report, Unfit};
use super::map::VipMap;
use super::timing::VipTiming;
use bytes::Bytes;
use overlay::{Incarnation, PeerId, Standing, View, ViewId};
use quarantine::Quarantine;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// What does not change during a life.
#[derive(Clone, Debug)]
pub struct VipConfig {
    /// This peer.
    pub me: PeerId,
    /// Its name, by which VIPs prefer it.
    pub name: String,
    /// How much weight it is to carry, compared with others; at least 1.
    pub capacity: u16,
    /// How much longer than netlink the driver may take for a change.
    pub patience: Duration,
    /// The timers.
    pub timing: VipTiming,
}

impl VipConfig {
    /// A peer that carries as much as any other, by netlink.
    #[must_use]
    pub fn new(me: PeerId, name: String, timing: VipTiming) -> Self {
        Self {
            me,
            name,
            capacity: 1,
            patience: Duration::ZERO,
            timing,
        }
    }
}

/// What the machine wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// By the driver of addresses.
    Order(Order),
    /// Say this as the newest claim of this peer.
    Claim(Bytes),
    /// Say this as the newest map of this peer.
    Config(Bytes),
    /// Complain of a member to the overlay: its claim is missing for too long.
    Complain(PeerId),
    /// Tell the neighbors whether this peer may hold VIPs.
    Standing(Standing),
    /// Something for the operator's log.
    Notice(Notice),
}

/// Something worth a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// This peer announces the VIP now.
    Taken(VipId, Taking),
    /// It does no more.
    Released(VipId),
    /// Two sides of a partition both announced it; this peer keeps it, or does not.
    Conflict(VipId, PeerId),
    /// A station that is no member of the view says that the VIP is its own.
    Foreign(VipId, Mac),
    /// The kernel refuses the VIP.
    Failed(VipId, String),
    /// Somebody took the VIP away by hand, or the guard did.
    Lost(VipId),
    /// A peer comes and goes too often.
    Quarantined(PeerId, Duration),
    /// This peer cannot hold the VIP, and why, or can again.
    Fitness(VipId, Option<Unfit>),
    /// No member can hold the VIP, so nobody announces it.
    Uncovered(VipId),
}

/// How a VIP came to this peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// Nobody announced it.
    Takeover,
    /// Its holder handed it over.
    HandOver,
}

/// How well this peer serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// Its own listener does not answer its own questions.
    pub is_sick: bool,
    /// It lacks what it knows of and does not catch up, or a zone, or its disk.
    pub is_stale: bool,
}

/// What happened so far, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VipCounters {
    /// VIPs taken that nobody announced.
    pub takeovers: u64,
    /// VIPs taken from a holder that handed them over.
    pub handovers: u64,
    /// Times two peers announced one VIP, seen at one of them.
    pub conflicts: u64,
    /// Times a station that is no member of the view claimed a VIP announced here.
    pub foreign: u64,
    /// Kernel changes that failed.
    pub failed: u64,
}

/// The machine.
pub struct Failover {
    config: VipConfig,
    view: Option<View>,
    epoch: u64,
    phase: Phase,
    vips: BTreeMap<VipId, Local>,
    /// The change that the driver is doing.
    changing: Option<(VipId, Kernel)>,
    map: VipMap,
    map_digest: u64,
    condition: Condition,
    /// What the driver says can be held here.
    fitness: BTreeMap<VipId, Result<(), Unfit>>,
    macs: BTreeSet<Mac>,
    /// What the heartbeats say.
    standing: Standing,
    may_stand: bool,
    is_barred: bool,
    is_unheard: bool,
    maturity: Maturity,
    mature_at: Instant,
    /// The view in which this peer overslept: the words of its members may be older than that.
    overslept_in: Option<ViewId>,
    is_lone_member: bool,
    is_stopping: bool,
    closing: Closing,
    claims: BTreeMap<PeerId, (Incarnation, Claim)>,
    configs: BTreeMap<PeerId, (u64, VipMap)>,
    /// Who last announced each VIP, as far as this peer knows.
    last_held: BTreeMap<VipId, LastHeld>,
    asked: BTreeMap<VipId, Asked>,
    /// Peers, in their lives, that stopped cleanly.
    stopped: BTreeSet<(PeerId, Incarnation)>,
    quarantine: Quarantine,
    /// Who announces each VIP by the plan, and since when.
    since: BTreeMap<VipId, (PeerId, Instant)>,
    /// VIPs that nobody can hold.
    uncovered: BTreeSet<VipId>,
    /// Since when it is these, and what was before: time times VIPs.
    uncovered_at: Instant,
    uncovered_before: Duration,
    counters: VipCounters,
    called: Option<Instant>,
    due: Option<Instant>,
    actions: VecDeque<Action>,
    faults: VipFaults,
}

/// Breaks a rule, so that a test can show that it is needed.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VipFaults {
    /// None.
    #[default]
    None,
    /// The claim is stated while the kernel still changes.
    FreezeAtOnce,
    /// Holes are filled before all claims are here.
    FillEarly,
    /// The next holder does not wait until the VIP is given.
    TakeBeforeGiven,
    /// A move does not wait for those that lost the VIP when two sides met.
    HolderGivesAlone,
    /// What is given is withdrawn at once: clients that have not heard of it are not served.
    NoLinger,
    /// Of two that announce one VIP both keep it.
    KeepConflict,
    /// Who keeps a VIP that two announced does not tell the segment again.
    NoSecondTelling,
    /// A stopping peer does not close before it leaves.
    StayOpen,
    /// The members' maps are not merged.
    OwnMapOnly,
    /// A sick or stale peer holds nothing, whoever else is sick.
    Veto,
    /// Epochs of the same view are mixed.
    MixEpochs,
    /// A peer that overslept goes on at once.
    NoConvalescence,
    /// The segment is not asked before a takeover in doubt.
    NeverAsk,
    /// A peer that others do not hear stands all the same.
    StandUnheard,
    /// Each member plans with the quarantines that it has seen itself.
    OwnQuarantine,
}

/// What the machine is doing about the view.
enum Phase {
    /// No view yet.
    Idle,
    /// Claims are collected.
    Gather(Gather),
    /// All members have the same plan.
    Run(Run),
}

/// Where a stop stands. The peer goes on to state what it holds: others may have to agree anew
/// meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    /// It may hold VIPs.
    No,
    /// It gives everything up; what it has given still takes packets.
    GivingUp,
    /// Nothing is held, and nothing will be.
    Done,
}

struct Gather {
    began: Instant,
    /// When the next complaint of those whose claim is missing is due.
    complain_at: Instant,
    frozen: Option<Frozen>,
}

struct Run {
    frozen: Frozen,
    plan: Plan,
    began: Instant,
    /// Peers that count as quarantined in this plan.
    quarantined: BTreeSet<PeerId>,
    /// What this peer is to take and has not begun to.
    filling: BTreeMap<VipId, Doubt>,
}

/// Whether somebody out of reach may announce a VIP still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doubt {
    /// The segment is asked first.
    Yes,
    /// Its last holder let go, or is a member that says it does not announce it.
    No,
}

/// What this peer stated for this view and epoch.
struct Frozen {
    claim: Claim,
    /// Conflicts that this peer has won, to be announced anew.
    won: BTreeSet<VipId>,
    /// Who lost them, so that each is counted once.
    met: BTreeSet<(VipId, PeerId)>,
    is_map_said: bool,
}

/// One VIP here.
struct Local {
    want: Kernel,
    is: Kernel,
    /// Until when it stays ready after it was given.
    linger: Option<Instant>,
    failures: u32,
    failed: Option<Instant>,
    blocked_until: Option<Instant>,
    /// Until when another DNS server's hold on it is respected.
    foreign_until: Option<Instant>,
    /// Until when the segment is not told again because another station claims the VIP.
    defended_until: Option<Instant>,
}

impl Local {
    const fn new() -> Self {
        Self {
            want: Kernel::Absent,
            is: Kernel::Absent,
            linger: None,
            failures: 0,
            failed: None,
            blocked_until: None,
            foreign_until: None,
            defended_until: None,
        }
    }

    fn is_absent(&self) -> bool {
        self.want == Kernel::Absent && self.is == Kernel::Absent
    }
}

/// Who announced a VIP last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LastHeld {
    /// This peer, and it has not said that it let go.
    By(PeerId),
    /// Its holder let go.
    Given,
}

/// A question to the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Since(Instant),
    Answered(Heard, Instant),
}

impl Failover {
    /// A machine that knows no view and holds nothing.
    #[must_use]
    pub fn new(config: VipConfig, map: VipMap, now: Instant) -> Self {
        assert!(
            config.capacity > 0,
            "a capacity of zero is refused at the door"
        );
        let mut failover = Self {
            mature_at: now + config.timing.maturity,
            config,
            view: None,
            epoch: 0,
            phase: Phase::Idle,
            vips: BTreeMap::new(),
            changing: None,
            map: VipMap::default(),
            map_digest: 0,
            condition: Condition::default(),
            fitness: BTreeMap::new(),
            macs: BTreeSet::new(),
            standing: Standing::Yes,
            may_stand: true,
            is_barred: false,
            is_unheard: false,
            maturity: Maturity::Immature,
            overslept_in: None,
            is_lone_member: false,
            is_stopping: false,
            closing: Closing::No,
            claims: BTreeMap::new(),
            configs: BTreeMap::new(),
            last_held: BTreeMap::new(),
            asked: BTreeMap::new(),
            stopped: BTreeSet::new(),
            quarantine: Quarantine::default(),
            since: BTreeMap::new(),
            uncovered: BTreeSet::new(),
            uncovered_at: now,
            uncovered_before: Duration::ZERO,
            counters: VipCounters::default(),
            called: None,
            due: None,
            actions: VecDeque::new(),
            faults: VipFaults::None,
        };
        failover.take_map(map);
        failover.called = Some(now);
        failover
    }

    /// The overlay agreed on another view.
    pub fn handle_view(&mut self, view: &View, now: Instant) {
        if let Some(old) = &self.view {
            let gone = old.members.iter().filter(|(peer, incarnation)| {
                !view.holds(*peer, *incarnation) && !self.stopped.contains(&(*peer, *incarnation))
            });
            for (peer, _) in gone.copied().collect::<Vec<_>>() {
                if let Some(lasts) = self.quarantine.note_departure(peer, now) {
                    self.notice(Notice::Quarantined(peer, lasts));
                }
            }
        }
        self.stopped.clear();
        self.view = Some(view.clone());
        let stored = self.claims_of_view();
        let highest = stored.values().map(|claim| claim.epoch).max();
        self.epoch = highest.unwrap_or(0).max(1);
        self.gather(now);
    }

    /// A peer says that it stops: it has given up all its VIPs before.
    pub fn handle_stopping(&mut self, peer: PeerId, incarnation: Incarnation) {
        self.stopped.insert((peer, incarnation));
        for held in self.last_held.values_mut() {
            if *held == LastHeld::By(peer) {
                *held = LastHeld::Given;
            }
        }
    }

    /// The link to a neighbor went down: perhaps it is dead, and its VIPs are taken soon.
    pub fn handle_suspected(&mut self, peer: PeerId, now: Instant) {
        if self.config.timing.asks == super::timing::Asks::No {
            return;
        }
        let held = self.last_held.iter();
        let held = held.filter(|(_, held)| **held == LastHeld::By(peer));
        let vips: Vec<VipId> = held.map(|(vip, _)| *vip).collect();
        for vip in vips {
            if self.can(vip, now) && self.local(vip).is != Kernel::Announced {
                self.ask(vip, now);
            }
        }
        self.called = Some(now);
    }

    /// A peer's newest claim.
    pub fn handle_claim(
        &mut self,
        of: PeerId,
        incarnation: Incarnation,
        body: &[u8],
        now: Instant,
    ) {
        let Some(claim) = Claim::decode(body) else {
            return;
        };
        let is_absurd = claim.epoch > self.epoch.saturating_add(EPOCHS_AHEAD_MAX);
        if of == self.config.me || is_absurd {
            return;
        }
        self.note_held(of, &claim);
        self.claims.insert(of, (incarnation, claim));
        self.called = Some(now);
        let newest = self
            .claims_of_view()
            .values()
            .map(|claim| claim.epoch)
            .max();
        let is_behind = newest.is_some_and(|epoch| epoch > self.epoch);
        if is_behind && matches!(self.phase, Phase::Gather(_) | Phase::Run(_)) {
            self.epoch = newest.expect("it was just seen");
            self.gather(now);
        }
    }

    /// A peer's newest map.
    pub fn handle_config(&mut self, of: PeerId, body: &[u8], now: Instant) {
        let Some(map) = VipMap::decode(&mut &body[..]) else {
            return;
        };
        self.configs.insert(of, (map.digest(), map));
        self.called = Some(now);
    }

    /// The driver tells something.
    pub fn handle_report(&mut self, report: Report, now: Instant) {
        self.called = Some(now);
        match report {
            Report::Is(vip, state) => self.handle_is(vip, state, now),
            Report::Failed(vip, state, why) => self.handle_failed(vip, state, why, now),
            Report::Lost(vip, state) => self.handle_lost(vip, state, now),
            Report::Foreign { vip, theirs, mine } => self.handle_foreign(vip, theirs, mine, now),
            Report::Segment(vip, heard) => {
                self.asked.insert(vip, Asked::Answered(heard, now));
            }
            Report::Can(fitness) => self.handle_fitness(fitness),
            Report::Macs(macs) => self.macs = macs,
        }
    }

    /// The log says that these are the VIPs now.
    pub fn set_map(&mut self, map: VipMap, now: Instant) {
        if map != self.map {
            self.take_map(map);
            self.called = Some(now);
        }
    }

    /// How well this peer serves, as its own questions show.
    pub fn set_condition(&mut self, condition: Condition, now: Instant) {
        self.condition = condition;
        self.called = Some(now);
    }

    /// Whether the log names this peer as the only member: then nobody else can hold anything.
    pub fn set_lone_member(&mut self, is_lone: bool, now: Instant) {
        self.is_lone_member = is_lone;
        if is_lone {
            self.maturity = Maturity::Mature;
        }
        self.called = Some(now);
    }

    /// Whether this peer hears a standing peer outside its view that does not hear it.
    pub fn set_unheard(&mut self, is_unheard: bool, now: Instant) {
        self.is_unheard = is_unheard;
        self.called = Some(now);
    }

    /// This peer is no member any more or hears nothing of the others, or is and does again.
    pub fn set_barred(&mut self, is_barred: bool, now: Instant) {
        self.is_barred = is_barred;
        self.called = Some(now);
    }

    /// The main loop, or the link thread, was late by more than a lease: others may have taken
    /// what this peer announces.
    pub fn handle_stall(&mut self, now: Instant) {
        for local in self.vips.values_mut() {
            local.want = Kernel::Absent;
            local.linger = None;
        }
        if !self.is_lone_member && self.faults != VipFaults::NoConvalescence {
            self.maturity = Maturity::Immature;
            self.overslept_in = self.view.as_ref().map(|view| view.id);
            self.mature_at = self.mature_at.max(now + self.config.timing.convalescence);
        }
        self.gather_anew(now);
    }

    /// The peer stops: what others can hold is handed over, then everything is given up.
    pub fn stop(&mut self, now: Instant) {
        if self.is_stopping {
            return;
        }
        self.is_stopping = true;
        if self.faults == VipFaults::StayOpen {
            return;
        }
        let mut vips = self.vips.values();
        let is_empty = vips.all(|local| local.is == Kernel::Absent) && self.changing.is_none();
        if is_empty || matches!(self.phase, Phase::Idle) {
            self.closing = Closing::Done;
        }
        self.gather_anew(now);
        self.called = Some(now);
    }

    /// True once everything is given up after a stop: the peer may leave its view.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing == Closing::Done || self.faults == VipFaults::StayOpen
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.called = Some(now);
        let limit = match &self.phase {
            Phase::Gather(gather) => gather.complain_at <= now,
            _ => false,
        };
        if limit {
            self.complain_of_missing(now);
        }
    }

    /// The next thing to do; none: wait.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.actions.is_empty()
            && let Some(now) = self.called.take()
        {
            self.go_on(now);
        }
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`], once [`Self::poll_action`] has no more to say.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Breaks a rule, right after [`Self::new`].
    #[doc(hidden)]
    pub fn plant(&mut self, faults: VipFaults) {
        self.faults = faults;
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> VipCounters {
        self.counters
    }

    /// The VIPs that the kernel announces here.
    pub fn announced(&self) -> impl Iterator<Item = VipId> + '_ {
        let vips = self.vips.iter();
        vips.filter(|(_, local)| local.is == Kernel::Announced)
            .map(|(vip, _)| *vip)
    }

    /// What the kernel does for a VIP here.
    #[must_use]
    pub fn state(&self, vip: VipId) -> Kernel {
        self.vips.get(&vip).map_or(Kernel::Absent, |local| local.is)
    }

    /// The plan in force, with the view and epoch that it is for; none while claims are gathered.
    #[must_use]
    pub fn plan(&self) -> Option<(ViewId, u64, &Plan)> {
        match &self.phase {
            Phase::Run(run) => Some((self.view.as_ref()?.id, self.epoch, &run.plan)),
            _ => None,
        }
    }

    /// Works out what follows from all that has happened.
    fn go_on(&mut self, now: Instant) {
        self.mature(now);
        self.expire(now);
        self.judge_standing();
        if self.has_changed_since_frozen(now) {
            self.gather_anew(now);
        }
        self.withhold(now);
        self.try_freeze(now);
        self.meet_claims(now);
        self.try_run(now);
        self.run(now);
        self.try_close(now);
        self.change_next(now);
        self.due = self.next_due(now);
    }

    /// When something will change though nothing happens. What is late already waits for others.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let mut dues: Vec<Instant> = Vec::new();
        for (vip, local) in &self.vips {
            let is_ready = local.want == Kernel::Ready;
            dues.extend(local.linger.filter(|_| is_ready));
            dues.extend(local.blocked_until);
            if let Phase::Run(run) = &self.phase
                && run.filling.contains_key(vip)
            {
                dues.extend(local.foreign_until);
            }
        }
        if self.maturity == Maturity::Immature {
            dues.push(self.mature_at);
        }
        match &self.phase {
            Phase::Gather(gather) => dues.push(gather.complain_at),
            Phase::Run(run) => self.run_dues(run, &mut dues),
            Phase::Idle => {}
        }
        dues.into_iter().filter(|due| *due > now).min()
    }

    fn take_map(&mut self, map: VipMap) {
        let vips = map.vips().into_iter();
        let vips: BTreeMap<VipId, BTreeSet<VipAddress>> =
            vips.map(|(id, vip)| (id, vip.addresses.clone())).collect();
        for vip in vips.keys() {
            self.vips.entry(*vip).or_insert_with(Local::new);
        }
        let changing = self.changing.map(|(vip, _)| vip);
        self.vips.retain(|vip, local| {
            vips.contains_key(vip) || changing == Some(*vip) || !local.is_absent()
        });
        self.fitness.retain(|vip, _| vips.contains_key(vip));
        self.last_held.retain(|vip, _| vips.contains_key(vip));
        self.asked.retain(|vip, _| vips.contains_key(vip));
        self.order(Order::Vips(vips));
        self.map_digest = map.digest();
        self.map = map;
    }

    fn mature(&mut self, now: Instant) {
        if self.is_lone_member || now >= self.mature_at {
            self.maturity = Maturity::Mature;
        }
    }

    /// Ends what has lasted long enough.
    fn expire(&mut self, now: Instant) {
        for local in self.vips.values_mut() {
            // A slow driver has not made it ready yet: then the linger has not begun.
            let is_ready = local.want == Kernel::Ready && local.is == Kernel::Ready;
            if is_ready && local.linger.is_some_and(|until| until <= now) {
                local.want = Kernel::Absent;
                local.linger = None;
            }
            local.blocked_until = local.blocked_until.filter(|until| *until > now);
        }
        self.quarantine.expire(now);
    }

    fn judge_standing(&mut self) {
        let is_unheard = self.is_unheard && self.faults != VipFaults::StandUnheard;
        // A deaf peer hears nobody, so it must not make others believe that they are unheard.
        let mut fitness = self.fitness.values();
        let is_deaf = fitness.any(|fit| matches!(fit, Err(Unfit::Deaf(_))));
        self.may_stand = !self.is_barred && !is_unheard;
        let standing = match self.may_stand && !is_deaf {
            true => Standing::Yes,
            false => Standing::No,
        };
        if standing != self.standing {
            self.standing = standing;
            self.actions.push_back(Action::Standing(standing));
        }
    }

    /// Whether this peer can hold the VIP now.
    fn can(&self, vip: VipId, now: Instant) -> bool {
        let is_vetoed =
            self.faults == VipFaults::Veto && (self.condition.is_sick || self.condition.is_stale);
        let local = self.vips.get(&vip);
        let is_blocked = local
            .and_then(|local| local.blocked_until)
            .is_some_and(|until| until > now);
        let is_fit = matches!(self.fitness.get(&vip), Some(Ok(())));
        let may_hold = self.may_stand && self.closing == Closing::No && !self.is_convalescing();
        may_hold && is_fit && !is_blocked && !is_vetoed
    }

    /// True while all that this peer knows of the others may have been said before they dropped it:
    /// all words of the view may be here, and yet nobody else may be in it any more.
    fn is_convalescing(&self) -> bool {
        let view = self.view.as_ref().map(|view| view.id);
        self.maturity == Maturity::Immature
            && self.overslept_in.is_some()
            && self.overslept_in == view
    }

    fn rank(&self) -> Rank {
        if self.condition.is_sick {
            Rank::Sick
        } else if self.is_stopping || self.map.is_drained(self.config.me) {
            Rank::Drained
        } else if self.condition.is_stale {
            Rank::Stale
        } else {
            Rank::Well
        }
    }

    fn local(&mut self, vip: VipId) -> &mut Local {
        self.vips.entry(vip).or_insert_with(Local::new)
    }

    /// The claims of the members of the current view, made in it.
    fn claims_of_view(&self) -> BTreeMap<PeerId, &Claim> {
        let Some(view) = &self.view else {
            return BTreeMap::new();
        };
        let claims = self.claims.iter();
        claims
            .filter(|(peer, (incarnation, claim))| {
                claim.view == view.id && view.holds(**peer, *incarnation)
            })
            .map(|(peer, (_, claim))| (*peer, claim))
            .collect()
    }

    /// The claims of the other members of this view and epoch.
    fn claims_of_epoch(&self) -> BTreeMap<PeerId, &Claim> {
        let mut claims = self.claims_of_view();
        if self.faults != VipFaults::MixEpochs {
            claims.retain(|_, claim| claim.epoch == self.epoch);
        }
        claims
    }

    /// Remembers who announces what, to know later whether it gave it.
    fn note_held(&mut self, of: PeerId, claim: &Claim) {
        let held = claim.announced.union(&claim.taken);
        for vip in held {
            let held = match claim.given.contains(vip) {
                true => LastHeld::Given,
                false => LastHeld::By(of),
            };
            // Who gave a VIP says so also after another has taken it.
            let is_old = held == LastHeld::Given
                && matches!(self.last_held.get(vip), Some(LastHeld::By(other)) if *other != of);
            if !is_old {
                self.last_held.insert(*vip, held);
            }
        }
    }

    fn ask(&mut self, vip: VipId, now: Instant) {
        let is_asking = matches!(
            self.asked.get(&vip),
            Some(Asked::Since(since)) if now < *since + ASK_PATIENCE
        );
        if !is_asking {
            self.asked.insert(vip, Asked::Since(now));
            self.order(Order::Ask(vip));
        }
    }

    fn order(&mut self, order: Order) {
        self.actions.push_back(Action::Order(order));
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.push_back(Action::Notice(notice));
    }
}

/// No view sees so many epochs: a claim that is further ahead is a liar's.
const EPOCHS_AHEAD_MAX: u64 = 1 << 32;
/// A driver that has not answered a question for so long has lost it.
const ASK_PATIENCE: Duration = Duration::from_secs(1);
/// What the segment said counts for so long.
const ANSWER_FRESH: Duration = Duration::from_millis(50);
