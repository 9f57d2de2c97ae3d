//! Entries in order become versions of zones, outcomes and serials (replication protocol
//! section 9).
//!
//! ```text
//!   checkpoint ──fold──▶ settled ──fold──▶ step ──▶ step ──▶ … ──▶ now
//! ```
//! Every state is cheap to copy and shares what did not change, so a late entry takes the newest
//! step before its place and folds on from there; nothing is ever undone. What settles in the order
//! in which it was folded is not folded again: the settled state is one of the steps.

use crate::imports::Imports;
use crate::rebase::Carrier;
use crate::state::{Counted, Outcome, State};
use replication::{Digest, Entry, Replica, Stamp};
use std::collections::BTreeMap;

/// How many entries lie between two steps that are kept.
const STEP_LENGTH: usize = 64;
/// Steps beyond this are thinned: every second one goes.
const STEPS_MAX: usize = 64;

/// The states of one peer's zones.
pub struct Fold {
    checkpoint: State,
    settled: State,
    /// How far settled may go; none between a change of the log and the first settling after it.
    settled_goal: Option<Stamp>,
    /// Ascending; the last one is on its way to the end of the log.
    steps: Vec<State>,
    /// What the entries in the steps came to, above `settled`.
    outcomes: BTreeMap<Stamp, Folded>,
    /// Above it, what entries did to their zones is kept until they settle; none: it is not.
    counted_above: Option<Stamp>,
    /// The newest complete state: what queries see.
    now: State,
    /// Whether `now` holds every entry of the log.
    is_current: bool,
}

/// What an entry came to, and did.
struct Folded {
    outcome: Outcome,
    counted: Option<Box<Counted>>,
}

/// What one call of [`Fold::advance`] did.
#[derive(Default)]
pub struct Advanced {
    /// Entries that settled on the way, in order, with their outcomes.
    pub settled: Vec<(Stamp, Option<Digest>, Outcome)>,
    /// What those above the place of [`Fold::count_above`] did to their zones, in order.
    pub counted: Vec<Counted>,
}

/// Whether a checkpoint took settled past entries whose outcomes [`Fold::advance`] has not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifted {
    /// It did: [`Fold::answered`] knows them.
    Yes,
    /// It did not.
    No,
}

impl Fold {
    /// Starts from a checkpoint.
    #[must_use]
    pub fn new(checkpoint: State) -> Self {
        Self {
            settled: checkpoint.clone(),
            settled_goal: None,
            steps: vec![checkpoint.clone()],
            outcomes: BTreeMap::new(),
            counted_above: None,
            now: checkpoint.clone(),
            is_current: false,
            checkpoint,
        }
    }

    /// A tentative entry has come to stand at `stamp`.
    pub fn handle_arrived(&mut self, stamp: Stamp) {
        while self.steps.last().is_some_and(|step| step.at() >= stamp) {
            self.steps.pop();
        }
        self.outcomes.split_off(&stamp);
        if self.steps.is_empty() {
            let settled = &self.settled;
            let before = if settled.at() < stamp {
                settled
            } else {
                &self.checkpoint
            };
            self.steps.push(before.clone());
        }
        self.is_current = false;
    }

    /// The log has other entries than before.
    pub fn handle_log_changed(&mut self) {
        self.settled = self.checkpoint.clone();
        self.settled_goal = None;
        self.steps = vec![self.checkpoint.clone()];
        self.outcomes.clear();
        self.is_current = false;
    }

    /// Keeps what entries above this place do to their zones: it is asked for when they settle.
    /// To be said before any of them is folded.
    pub fn count_above(&mut self, place: Option<Stamp>) {
        self.counted_above = place;
    }

    /// Everything at or below the mark is settled.
    pub fn handle_settled(&mut self, mark: Stamp) {
        assert!(
            self.settled_goal <= Some(mark),
            "the settled mark only rises in a view"
        );
        self.settled_goal = Some(mark);
    }

    /// The checkpoint stands at `state` durably; the log below it goes. What was being folded from
    /// an earlier one goes on from here: what is stable stands in every view's order.
    pub fn handle_checkpoint(&mut self, state: State) -> Lifted {
        assert!(
            self.checkpoint.at() <= state.at(),
            "a checkpoint never goes back"
        );
        self.steps.retain(|step| step.at() >= state.at());
        if self.steps.is_empty() {
            self.steps.push(state.clone());
            self.is_current = false;
        }
        let lifted = if self.settled.at() < state.at() {
            self.settled = state.clone();
            Lifted::Yes
        } else {
            Lifted::No
        };
        self.checkpoint = state;
        lifted
    }

    /// Takes all states of a zone that stand on its old base over to its new one.
    pub fn carry(&mut self, carrier: &mut Carrier) {
        carrier.carry(&mut self.settled);
        for step in &mut self.steps {
            carrier.carry(step);
        }
        carrier.carry(&mut self.now);
    }

    /// Folds on by at most `budget` entries. Call again until [`Self::is_complete`].
    pub fn advance(&mut self, replica: &Replica, imports: &Imports, budget: usize) -> Advanced {
        let mut advanced = Advanced::default();
        let folded = self.advance_settled(replica, imports, budget, &mut advanced);
        self.advance_now(replica, imports, budget - folded);
        advanced
    }

    /// True if nothing is left to fold.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_current
            && self
                .settled_goal
                .is_none_or(|goal| self.settled.at() >= goal)
    }

    /// True if `now` holds every entry of the log.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current
    }

    /// The settled state, once this settling view has one and it is folded up to its mark.
    #[must_use]
    pub fn settled(&self) -> Option<&State> {
        let goal = self.settled_goal?;
        (self.settled.at() >= goal).then_some(&self.settled)
    }

    /// The final outcome of the request with this digest, if it is remembered at `stamp`. What has
    /// been folded into settled, or came with the checkpoint, is final, even while more is folded.
    #[must_use]
    pub fn answered(&self, digest: Digest, stamp: Stamp) -> Option<Outcome> {
        self.settled.answered(digest, stamp)
    }

    /// What queries see.
    #[must_use]
    pub fn now(&self) -> &State {
        &self.now
    }

    /// The state of the last checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &State {
        &self.checkpoint
    }

    fn advance_settled(
        &mut self,
        replica: &Replica,
        imports: &Imports,
        budget: usize,
        advanced: &mut Advanced,
    ) -> usize {
        let Some(goal) = self.settled_goal else {
            return 0;
        };
        let newest = self.steps.iter().rfind(|step| step.at() <= goal);
        if let Some(step) = newest.filter(|step| step.at() > self.settled.at()) {
            for entry in replica.log_after(self.settled.at()) {
                if entry.stamp() > step.at() {
                    break;
                }
                let folded = self.outcomes.remove(&entry.stamp());
                let folded = folded.expect("a step holds all entries before it");
                let settled = (entry.stamp(), entry.digest, folded.outcome);
                advanced.settled.push(settled);
                advanced
                    .counted
                    .extend(folded.counted.map(|counted| *counted));
            }
            self.settled = step.clone();
        }
        let mut folded = 0;
        for entry in replica.log_after(self.settled.at()) {
            if entry.stamp() > goal {
                break;
            }
            if folded == budget {
                return folded;
            }
            folded += 1;
            let folded = apply(&mut self.settled, entry, imports, self.counted_above);
            advanced
                .settled
                .push((entry.stamp(), entry.digest, folded.outcome));
            advanced
                .counted
                .extend(folded.counted.map(|counted| *counted));
        }
        self.settled.reach(goal);
        self.outcomes = self.outcomes.split_off(&goal);
        folded
    }

    fn advance_now(&mut self, replica: &Replica, imports: &Imports, budget: usize) {
        if self.is_current {
            return;
        }
        let mut last = self.steps.pop().expect("there is always a step");
        self.is_current = true;
        for (folded, entry) in replica.log_after(last.at()).enumerate() {
            if folded == budget {
                self.is_current = false;
                break;
            }
            if folded % STEP_LENGTH == 0 {
                self.steps.push(last.clone());
            }
            let folded = apply(&mut last, entry, imports, self.counted_above);
            if entry.stamp() > self.settled.at() {
                self.outcomes.insert(entry.stamp(), folded);
            }
        }
        if self.is_current {
            self.now = last.clone();
        }
        self.steps.push(last);
        self.thin_steps();
    }

    fn thin_steps(&mut self) {
        // Steps at or below settled serve no late entry: those are ordered above settled.
        let settled = self.settled.at();
        let useless = self
            .steps
            .iter()
            .take_while(|step| step.at() < settled)
            .count();
        self.steps.drain(..useless.min(self.steps.len() - 1));
        if self.steps.len() > STEPS_MAX {
            let last = self.steps.len() - 1;
            let mut index = 0;
            self.steps.retain(|_| {
                let keep = index % 2 == 0 || index == last;
                index += 1;
                keep
            });
        }
    }
}

fn apply(
    state: &mut State,
    entry: &Entry,
    imports: &Imports,
    counted_above: Option<Stamp>,
) -> Folded {
    let (outcome, counted) = match counted_above {
        Some(place) if entry.stamp() > place => state.apply_counted(entry, imports),
        _ => (state.apply(entry, imports), None),
    };
    Folded { outcome, counted }
}
