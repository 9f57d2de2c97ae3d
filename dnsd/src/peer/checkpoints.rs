//! Checkpoints: what is settled is written as zones, and the log behind it goes.

use super::publication::Urgency;
use super::{Effect, FOLD_BUDGET, Peer};
use crate::fold::Lifted;
use crate::rebase::{self, Carrier, Rebased};
use crate::state::State;
use bytes::Bytes;
use replication::Stamp;
use std::time::{Duration, Instant};

/// A checkpoint is written when the log since the last one has grown to this.
const CHECKPOINT_SIZE: usize = 8 << 20;
/// And at the latest this long after the last one.
pub(super) const CHECKPOINT_PERIOD: Duration = Duration::from_secs(30);

/// What a checkpoint stores: the zones of `state`, and what the replica needs with them.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The state of the checkpoint before: what did not change since need not be written.
    pub previous: State,
    /// The state at the mark.
    pub state: State,
    /// The replica's part.
    pub meta: Bytes,
}

pub(super) enum Checkpointing {
    /// Nothing to do before this.
    Idle { due: Instant },
    /// Folding up to the mark.
    Folding { mark: Stamp, state: Box<State> },
    /// Zones of it get new bases, aside.
    Rebasing { mark: Stamp, state: Box<State> },
    /// The store writes it.
    Writing {
        state: Box<State>,
        rebased: Vec<Rebased>,
    },
}

impl Peer {
    /// The new bases that were asked for are made.
    pub fn handle_rebased(&mut self, rebased: Vec<Rebased>, wall: Duration, now: Instant) {
        let idle = Checkpointing::Idle { due: now };
        let Checkpointing::Rebasing { mark, mut state } =
            std::mem::replace(&mut self.checkpointing, idle)
        else {
            panic!("only bases that were asked for come back");
        };
        for one in &rebased {
            Carrier::new(one).carry(&mut state);
        }
        self.carry(&rebased);
        self.ask_for_checkpoint(mark, state, rebased, wall);
        self.called = Some((wall, now));
    }

    /// The checkpoint that was asked for is on disk.
    pub fn handle_checkpoint(&mut self, wall: Duration, now: Instant) {
        let idle = Checkpointing::Idle {
            due: now + CHECKPOINT_PERIOD,
        };
        let Checkpointing::Writing { state, rebased } =
            std::mem::replace(&mut self.checkpointing, idle)
        else {
            panic!("only a checkpoint that was asked for comes back");
        };
        let mark = state.at();
        self.log_size = 0;
        if self.fold.handle_checkpoint(*state) == Lifted::Yes {
            self.requests.handle_log_changed();
        }
        // A change of the log meanwhile made the fold begin again at the checkpoint before.
        self.carry(&rebased);
        self.replica.handle_checkpoint(mark, wall, now);
        self.called = Some((wall, now));
    }

    /// Takes a checkpoint when the log has grown or time has passed, in slices.
    pub(super) fn write_checkpoint(&mut self, wall: Duration, now: Instant) {
        if let Checkpointing::Idle { due } = self.checkpointing {
            if due > now && self.log_size < CHECKPOINT_SIZE {
                return;
            }
            let Some(mark) = self.replica.checkpoint_mark() else {
                return;
            };
            let state = Box::new(self.fold.checkpoint().clone());
            self.checkpointing = Checkpointing::Folding { mark, state };
        }
        let Checkpointing::Folding { mark, state } = &mut self.checkpointing else {
            return;
        };
        let mark = *mark;
        for (folded, entry) in self.replica.log_after(state.at()).enumerate() {
            if entry.stamp() > mark {
                break;
            }
            if folded == FOLD_BUDGET {
                return;
            }
            state.apply(entry, &self.imports);
        }
        state.reach(mark);
        let state = state.clone();
        let due = rebase::due(self.fold.checkpoint(), &state);
        if due.is_empty() {
            self.ask_for_checkpoint(mark, state, Vec::new(), wall);
        } else {
            self.checkpointing = Checkpointing::Rebasing { mark, state };
            self.effects.push_back(Effect::Rebase(due));
        }
    }

    pub(super) fn ask_for_checkpoint(
        &mut self,
        mark: Stamp,
        state: Box<State>,
        rebased: Vec<Rebased>,
        wall: Duration,
    ) {
        // What comes of the log is durable before the log goes.
        self.write_history(wall, Urgency::Now);
        let checkpoint = Checkpoint {
            previous: self.fold.checkpoint().clone(),
            state: (*state).clone(),
            meta: self.replica.checkpoint_meta(mark),
        };
        self.checkpointing = Checkpointing::Writing { state, rebased };
        self.effects
            .push_back(Effect::Checkpoint(Box::new(checkpoint)));
    }

    /// Takes over to new bases what newer states have changed since. Some microseconds for each
    /// name changed while the bases were made.
    pub(super) fn carry(&mut self, rebased: &[Rebased]) {
        for one in rebased {
            let mut carrier = Carrier::new(one);
            self.publisher.carry(&mut carrier);
            for publication in &mut self.publishing {
                carrier.carry(&mut publication.state);
            }
            self.fold.carry(&mut carrier);
        }
    }
}
