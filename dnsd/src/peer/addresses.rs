//! Virtual addresses: what the machine [`Failover`] needs to know of the peer.

use super::{Effect, Peer};
use crate::body::Body;
use crate::requests::{ClientId, CommandRefused};
use crate::vip::failover::{Condition, Failover};
use crate::vip::kernel::Report;
use crate::vip::map::MapChange;
use crate::vip::staleness::Behind;
use overlay::{Incarnation, PeerId, Unheard};
use replication::Phase;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What was last told to the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    condition: Condition,
    is_lone: bool,
    is_barred: bool,
}

impl Peer {
    /// An operator changes which VIPs there are, or who may hold them.
    pub fn handle_vip_change(
        &mut self,
        client: ClientId,
        change: MapChange,
        wall: Duration,
        now: Instant,
    ) -> Result<(), CommandRefused> {
        // What does nothing now would do nothing in its place of the log either, but for what
        // others have changed meanwhile: only then the outcome is of the log.
        let mut map = self.fold.now().vips().as_ref().clone();
        let at = self.replica.next_stamp(wall);
        map.apply(&change, at).map_err(CommandRefused::Vip)?;
        self.command(client, None, &Body::Vip(change), Vec::new(), wall, now)
    }

    /// Another peer's newest claim.
    pub fn handle_claim(
        &mut self,
        of: PeerId,
        life: Incarnation,
        body: &[u8],
        wall: Duration,
        now: Instant,
    ) {
        self.failover.handle_claim(of, life, body, now);
        self.called = Some((wall, now));
    }

    /// Another peer's newest map of VIPs.
    pub fn handle_vip_map(&mut self, of: PeerId, body: &[u8], wall: Duration, now: Instant) {
        self.failover.handle_config(of, body, now);
        self.called = Some((wall, now));
    }

    /// The driver of addresses says something.
    pub fn handle_address(&mut self, report: Report, wall: Duration, now: Instant) {
        self.failover.handle_report(report, now);
        self.called = Some((wall, now));
    }

    /// A thread of this peer was late by more than a lease.
    pub fn handle_stall(&mut self, wall: Duration, now: Instant) {
        self.failover.handle_stall(now);
        self.called = Some((wall, now));
    }

    /// Whether the link thread stands still for longer than a lease: nothing is heard of others.
    pub fn set_links_hang(&mut self, hang: bool, wall: Duration, now: Instant) {
        self.links_hang = hang;
        self.called = Some((wall, now));
    }

    /// A peer says that it stops: it has given up its VIPs.
    pub fn handle_stopping(
        &mut self,
        peer: PeerId,
        life: Incarnation,
        wall: Duration,
        now: Instant,
    ) {
        self.failover.handle_stopping(peer, life);
        self.called = Some((wall, now));
    }

    /// Whether this peer hears others that do not hear it.
    pub fn handle_unheard(&mut self, unheard: Unheard, wall: Duration, now: Instant) {
        self.failover.set_unheard(unheard == Unheard::Yes, now);
        self.called = Some((wall, now));
    }

    /// The own listener answers this peer's own questions, or does not.
    pub fn handle_self_check(&mut self, is_sick: bool, wall: Duration, now: Instant) {
        self.is_sick = is_sick;
        self.called = Some((wall, now));
    }

    /// True if the own listeners do not answer this peer's own questions.
    #[must_use]
    pub fn is_sick(&self) -> bool {
        self.is_sick
    }

    /// True if what this peer serves is too old for it to hold VIPs.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.vip_facts.is_some_and(|facts| facts.condition.is_stale)
    }

    /// Who holds which VIP.
    #[must_use]
    pub fn failover(&self) -> &Failover {
        &self.failover
    }

    /// Tells the machine what has changed here, and takes what it wants done.
    pub(super) fn go_on_with_vips(&mut self, now: Instant) {
        let map = self.fold.now().vips();
        if !Arc::ptr_eq(map, &self.vips_seen) {
            self.vips_seen = Arc::clone(map);
            self.failover.set_map(map.as_ref().clone(), now);
        }
        let behind = Behind {
            lag: self.replica.lag(),
            is_settling: self.replica.is_settling(),
            is_withdrawn: self.replica.phase() == Phase::Withdrawn,
        };
        let facts = Facts {
            condition: Condition {
                is_sick: self.is_sick,
                is_stale: self.staleness.judge(behind, now),
            },
            is_lone: self.replica.members().len() == 1,
            is_barred: self.is_evicted || self.links_hang,
        };
        self.staleness_due = self.staleness.poll_timeout().filter(|due| *due > now);
        if self.vip_facts != Some(facts) {
            self.vip_facts = Some(facts);
            self.failover.set_condition(facts.condition, now);
            self.failover.set_lone_member(facts.is_lone, now);
            self.failover.set_barred(facts.is_barred, now);
        }
        while let Some(action) = self.failover.poll_action() {
            self.effects.push_back(Effect::Vip(action));
        }
    }
}
