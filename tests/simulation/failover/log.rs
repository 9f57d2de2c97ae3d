//! What stands for the log of each peer: which changes of the map it has, and the map of them.

use dnsd::vip::map::{MapChange, VipMap};
use overlay::PeerId;
use replication::{Hybrid, Stamp};
use std::collections::BTreeMap;

/// The changes that a peer has.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Log {
    changes: BTreeMap<Stamp, MapChange>,
}

impl Log {
    pub(super) fn author(&mut self, change: MapChange, at: u64, author: PeerId) -> Stamp {
        let stamp = Stamp {
            hybrid: Hybrid(at),
            author,
        };
        self.changes.insert(stamp, change);
        stamp
    }

    pub(super) fn learn(&mut self, other: &Self) -> bool {
        let before = self.changes.len();
        let changes = other.changes.iter();
        self.changes
            .extend(changes.map(|(stamp, change)| (*stamp, change.clone())));
        self.changes.len() > before
    }

    pub(super) fn learn_one(&mut self, stamp: Stamp, change: &MapChange) -> bool {
        self.changes.insert(stamp, change.clone()).is_none()
    }

    /// What all of them together say, in their order.
    pub(super) fn map(&self) -> VipMap {
        let mut map = VipMap::default();
        for (stamp, change) in &self.changes {
            // What does nothing here is refused at every peer that has the same changes.
            let _nothing = map.apply(change, *stamp);
        }
        map
    }
}
