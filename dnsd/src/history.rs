//! What was published, step by step: a secondary that holds any serial of it goes on by IXFR, and an
//! operator sees who changed what.
//!
//! ```text
//!   last view │              this settling view
//!      101 ───┼─▶ 110 ──▶ 111 ──▶ 112 ──▶ …        one step for each entry that counts
//!           several      gate
//! ```
//! In a settling view all peers publish the same contents from its gate on (replication protocol
//! section 10), so the steps above the gate are the same everywhere, and one step leads up to it
//! from what this peer published last. Where a serial jumps for another reason, or two versions
//! differ too much, the chain simply ends: who holds an older serial gets the whole zone.
//!
//! A machine: it is told what is published, and says what to write. It bounds itself, by bytes in
//! all, a share for each zone, and age.

mod chain;
mod difference;
mod disk;
mod report;
mod step;

pub use chain::{Chain, Chains};
pub use difference::{Difference, STEPS_SIZE_MAX, Sequence, content_at};
pub use disk::{Found, read, trees};
pub use report::report;
pub use step::{Step, StepRecord, What};

use crate::state::{Counted, State};
use disk::DiskRows;
use imbl::ordmap::DiffItem;
use replication::Stamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use zones::Name;
use zones::store::Row;

/// Memory that all steps take together: some 300 000 updates of one record.
const SIZE_MAX: usize = 64 << 20;
/// What one zone may take of it, so that a busy one leaves room for all others.
const ZONE_SIZE_MAX: usize = SIZE_MAX / 2;
/// What is older is forgotten: a secondary that was away for longer has expired.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Steps that wait to be written are, when they have grown to this.
const UNWRITTEN_SIZE_MAX: usize = 1 << 20;
/// Zones of which the first publication in a view makes a step; it is made at once for all.
const FIRST_ZONES_MAX: usize = 1_000;

/// The machine.
pub struct History {
    chains: Chains,
    /// Where the first step of each chain stands, to find the oldest of all.
    fronts: BTreeSet<(Stamp, Name)>,
    size: usize,
    unwritten: Vec<(Name, Arc<Step>)>,
    unwritten_size: usize,
    is_writing_due: bool,
    disk: DiskRows,
}

impl History {
    /// Takes up what the store holds.
    #[must_use]
    pub fn resume(found: Found) -> Self {
        let mut history = Self {
            chains: Chains::default(),
            fronts: BTreeSet::new(),
            size: 0,
            unwritten: Vec::new(),
            unwritten_size: 0,
            is_writing_due: false,
            disk: found.rows,
        };
        for (origin, step) in found.steps {
            history.push(&origin, Arc::new(step));
        }
        history
    }

    /// Takes the steps that stand in the log alone: what was published before a restart, and is
    /// folded once more. Only entries above the gate of the view in which it was published are
    /// among `counted`: below it, versions were published that the log tells nothing of.
    pub fn replay(&mut self, counted: impl IntoIterator<Item = Counted>) {
        let last = self.disk.last();
        for counted in counted {
            if Some(counted.stamp) > last {
                self.push_published(&counted);
                // The next published mark may stand in a view with a later gate.
                self.is_writing_due = true;
            }
        }
    }

    /// What follows in a settling view in which something was published before.
    pub fn publish_next(&mut self, counted: Vec<Counted>) {
        for counted in counted {
            self.push_published(&counted);
        }
    }

    /// The first publication in a settling view: `counted` are all entries above this place, its
    /// gate or a later one.
    pub fn publish_first(
        &mut self,
        before: &State,
        after: &State,
        above: Stamp,
        counted: Vec<Counted>,
    ) {
        if before.at() > above {
            // It was published in this very view.
            let is_new = |one: &Counted| one.stamp > before.at();
            return self.publish_next(counted.into_iter().filter(is_new).collect());
        }
        let mut at_gate = BTreeMap::new();
        for one in &counted {
            let origin = one.origin.clone();
            at_gate.entry(origin).or_insert_with(|| one.before.clone());
        }
        let changed = before.zones().diff(after.zones()).map(|item| match item {
            DiffItem::Add(origin, _) => origin,
            DiffItem::Update { new, .. } => new.0,
            DiffItem::Remove(..) => unreachable!("the counters of an origin outlive its zone"),
        });
        for origin in changed.take(FIRST_ZONES_MAX) {
            let before = before.content(origin);
            let at_gate = at_gate.remove(origin);
            let gate = at_gate.unwrap_or_else(|| after.content(origin));
            // What goes back leads nobody anywhere.
            let is_behind = after.fed(origin).is_some() && gate.serial < before.serial;
            if before.serial != gate.serial && !is_behind {
                let stamp = above.min(after.at());
                self.keep(origin.clone(), Step::between(&before, &gate, stamp));
            }
        }
        self.publish_next(counted);
        self.is_writing_due = true;
    }

    /// Forgets what is too old.
    pub fn forget(&mut self, wall: Duration) {
        while let Some((stamp, origin)) = self.fronts.first() {
            if stamp.hybrid.wall() + AGE_MAX >= wall {
                break;
            }
            let origin = origin.clone();
            self.drop_first(&origin);
        }
    }

    /// All steps, by zone. A copy costs one reference count.
    #[must_use]
    pub fn chains(&self) -> &Chains {
        &self.chains
    }

    /// Memory that the steps take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// True if rows are to be written without waiting for a checkpoint.
    #[must_use]
    pub fn is_writing_due(&self) -> bool {
        self.is_writing_due || self.unwritten_size >= UNWRITTEN_SIZE_MAX
    }

    /// The rows of all steps that are not written yet, and the removal of rows that are too old or
    /// too many. They are to be durable before the log that the steps come from goes.
    pub fn take_rows(&mut self, wall: Duration) -> Vec<Row> {
        self.is_writing_due = false;
        self.unwritten_size = 0;
        let steps = std::mem::take(&mut self.unwritten);
        self.disk.write(&steps, wall)
    }

    fn push_published(&mut self, counted: &Counted) {
        // One that was passed over leads nowhere.
        if counted.before.serial != counted.after.serial {
            self.keep(counted.origin.clone(), Step::of(counted));
        }
    }

    /// Takes a new step, which is to be written too.
    fn keep(&mut self, origin: Name, step: Step) {
        let step = Arc::new(step);
        self.unwritten_size += step.size();
        self.push(&origin, Arc::clone(&step));
        self.unwritten.push((origin, step));
    }

    fn push(&mut self, origin: &Name, step: Arc<Step>) {
        self.size += step.size();
        let stamp = step.stamp;
        let (size, is_first) = self.chains.push(origin, step);
        if is_first {
            self.fronts.insert((stamp, origin.clone()));
        }
        if size > ZONE_SIZE_MAX {
            self.drop_first(origin);
        }
        while self.size > SIZE_MAX
            && let Some((_, oldest)) = self.fronts.first()
        {
            let oldest = oldest.clone();
            self.drop_first(&oldest);
        }
    }

    fn drop_first(&mut self, origin: &Name) {
        let (gone, next) = self.chains.drop_first(origin);
        self.size -= gone.size();
        self.fronts.remove(&(gone.stamp, origin.clone()));
        if let Some(next) = next {
            self.fronts.insert((next, origin.clone()));
        }
    }
}
