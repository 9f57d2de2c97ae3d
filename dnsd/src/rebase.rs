//! New bases for zones of which much has changed, so that versions stay small and restart stays
//! quick.
//!
//! ```text
//! checkpoint ─▶ due: zones past the bound ─ aside ─▶ the same zones on new bases ─▶ checkpoint written
//!                                             └▶ carried over: published, settled, steps, now
//! ```
//! A base changes with a checkpoint only, so the state in memory and the rows of the store always
//! speak of the same bases. While no checkpoint can be taken, since a member is away, changes
//! grow by less than the log itself.

use crate::state::{State, Zone};
use imbl::ordmap::DiffItem;
use std::sync::Arc;
use zones::Version;

/// One zone that stands on a new base.
#[derive(Clone)]
pub struct Rebased {
    /// As it stands in the state that is to become the checkpoint.
    pub from: Version,
    /// The same content, without changes.
    pub onto: Version,
}

/// The zones of `state` that are worth a new base. Only those that changed since the last
/// checkpoint are looked at.
#[must_use]
pub fn due(previous: &State, state: &State) -> Vec<Version> {
    previous
        .zones()
        .diff(state.zones())
        .filter_map(|item| match item {
            DiffItem::Add(_, zone) | DiffItem::Update { new: (_, zone), .. } => {
                zone.version.clone()
            }
            DiffItem::Remove(..) => None,
        })
        .filter(Version::wants_rebase)
        .collect()
}

/// Makes the new bases. It takes some 0.15 s for a million names: to be done aside.
#[must_use]
pub fn run(due: Vec<Version>) -> Vec<Rebased> {
    due.into_iter()
        .map(|from| {
            let onto = Version::from_base(Arc::new(from.rebase()));
            Rebased { from, onto }
        })
        .collect()
}

/// Takes later states of one zone over to its new base, each from the one before it, so that they
/// go on sharing what they have in common.
pub struct Carrier {
    from: Version,
    onto: Version,
}

impl Carrier {
    /// Begins at the state for which the base was made.
    #[must_use]
    pub fn new(rebased: &Rebased) -> Self {
        Self {
            from: rebased.from.clone(),
            onto: rebased.onto.clone(),
        }
    }

    /// Takes one more state over; one that has the zone on any other base is left alone.
    pub fn carry(&mut self, state: &mut State) {
        let origin = self.onto.origin();
        let Some(zone) = state.zones().get(origin) else {
            return;
        };
        let Some(version) = zone.version.clone() else {
            return;
        };
        if !Arc::ptr_eq(version.base(), self.from.base()) {
            return;
        }
        let carried = version.carry(&self.from, &self.onto);
        let zone = Zone {
            version: Some(carried.clone()),
            ..zone.clone()
        };
        state.put_zone(origin.clone(), zone);
        self.from = version;
        self.onto = carried;
    }
}
