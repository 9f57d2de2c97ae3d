//! The steps of each zone in their order. What is served holds a copy, so that a serial and the way
//! to it are of one moment.

use super::Step;
use imbl::{OrdMap, Vector};
use replication::Stamp;
use std::sync::Arc;
use zones::{Name, Serial};

/// The steps of all zones.
#[derive(Clone, Default)]
pub struct Chains(OrdMap<Name, Chain>);

/// The steps of one zone, oldest first. Where one does not go on from the serial that the one before
/// it came to, no IXFR passes.
#[derive(Clone, Default, Debug)]
pub struct Chain {
    steps: Vector<Arc<Step>>,
    size: usize,
}

impl Chains {
    /// The steps of a zone.
    #[must_use]
    pub fn get(&self, origin: &Name) -> Option<&Chain> {
        self.0.get(origin)
    }

    /// Every zone that has steps, with them.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Chain)> {
        self.0.iter()
    }

    /// Appends a step. What the chain takes now, and whether it is its first step.
    pub(super) fn push(&mut self, origin: &Name, step: Arc<Step>) -> (usize, bool) {
        if !self.0.contains_key(origin) {
            self.0.insert(origin.clone(), Chain::default());
        }
        let chain = self.0.get_mut(origin).expect("it was just put in");
        chain.size += step.size();
        chain.steps.push_back(step);
        (chain.size, chain.steps.len() == 1)
    }

    /// Takes the oldest step away; where the next one stands.
    pub(super) fn drop_first(&mut self, origin: &Name) -> (Arc<Step>, Option<Stamp>) {
        let chain = self.0.get_mut(origin).expect("a chain with a front");
        let gone = chain.steps.pop_front().expect("no chain is empty");
        chain.size -= gone.size();
        let next = chain.steps.front().map(|step| step.stamp);
        if next.is_none() {
            self.0.remove(origin);
        }
        (gone, next)
    }
}

impl FromIterator<(Name, Step)> for Chains {
    fn from_iter<I: IntoIterator<Item = (Name, Step)>>(steps: I) -> Self {
        let mut chains = Self::default();
        for (origin, step) in steps {
            chains.push(&origin, Arc::new(step));
        }
        chains
    }
}

impl Chain {
    /// The steps, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Step>> {
        self.steps.iter()
    }

    /// The oldest serial from which the steps lead to this one.
    #[must_use]
    pub fn oldest(&self, to: Serial) -> Serial {
        let mut at = to;
        for step in self.steps.iter().rev() {
            match step.after == at {
                true if step.has_delta() => at = step.before,
                false if at == to => {}
                _ => break,
            }
        }
        at
    }

    /// The steps from one serial to another, newest first; none if they do not lead there without a
    /// gap, or are larger than `size_max` together.
    #[must_use]
    pub fn back(&self, to: Serial, from: Serial, size_max: usize) -> Option<Vec<&Step>> {
        let mut steps = Vec::new();
        let (mut at, mut size) = (to, 0);
        for step in self.steps.iter().rev() {
            if steps.is_empty() && step.after != to {
                continue;
            }
            if step.after != at || !step.has_delta() {
                return None;
            }
            size += step.delta_size();
            if size > size_max {
                return None;
            }
            steps.push(&**step);
            at = step.before;
            if at == from {
                return Some(steps);
            }
        }
        None
    }
}
