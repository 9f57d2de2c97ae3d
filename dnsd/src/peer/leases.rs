//! The end of leases: an entry takes away what has lasted as long as it may.

use super::Peer;
use crate::body::Body;
use overlay::Pressure;
use replication::Hybrid;
use std::time::{Duration, Instant};

/// Zones whose records go in one turn.
const ZONES_MAX: usize = 20;
/// How long an end waits that could not be written.
const AGAIN: Duration = Duration::from_secs(1);

impl Peer {
    /// Ends leases that are over, if that is for this peer: of those that settle together, the least
    /// does it. Where two sides do, the second entry finds nothing to do. True if anything settled on
    /// the way.
    pub(super) fn end_leases(&mut self, wall: Duration, now: Instant) -> bool {
        self.lease_due = None;
        let Some(end) = self.fold.now().leases().next_end() else {
            return false;
        };
        if self.is_stopping || !self.fold.is_current() || !self.sees_to_duties() {
            return false;
        }
        let by = Hybrid::from_wall(wall);
        if end > by {
            self.lease_due = Some(
                now + end
                    .wall()
                    .saturating_sub(wall)
                    .max(Duration::from_millis(1)),
            );
            return false;
        }
        if self.pressure == Pressure::High {
            self.lease_due = Some(now + AGAIN);
            return false;
        }
        for origin in self.fold.now().leases().zones_with_ended(by, ZONES_MAX) {
            let body = Body::Expire { origin, by }.encode();
            match self.replica.submit(None, body, Vec::new(), wall, now) {
                Ok(submitted) => self.note_authored(submitted),
                Err(_) => {
                    self.lease_due = Some(now + AGAIN);
                    break;
                }
            }
        }
        let has_settled = self.fold_on();
        if self.lease_due.is_none() && !self.fold.now().leases().is_empty() {
            self.lease_due = Some(now + Duration::from_millis(1));
        }
        has_settled
    }
}
