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

mod contest;
mod gather;
mod inputs;
mod kernel_changes;
mod quarantine;
mod report;
mod run;
#[cfg(test)]
mod tests;
mod words;

pub use words::{Action, Condition, Notice, Taking, VipConfig, VipCounters, VipFaults};

use super::address::{VipAddress, VipId};
use super::assign::Plan;
use super::claim::{Claim, Maturity, Rank};
use super::kernel::{Heard, Kernel, Mac, Order, Unfit};
use super::map::VipMap;
use contest::Probes;
use overlay::{Incarnation, PeerId, Standing, View, ViewId};
use quarantine::Quarantine;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

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
    /// Who else asked.
    probes: Probes,
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
    /// Until when another that asked for it at the same time goes first.
    yields_until: Option<Instant>,
    /// How often others' questions have held up its taking in this plan.
    contests: u32,
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
            yields_until: None,
            contests: 0,
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
    /// It was asked then, and this is what it said by then.
    Answered {
        heard: Heard,
        since: Instant,
        at: Instant,
    },
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
            probes: Probes::default(),
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
                dues.extend(local.yields_until);
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
        self.probes.retain(|vip| vips.contains_key(vip));
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
