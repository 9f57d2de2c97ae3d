//! Publishing: what is settled is made public once its mark is durable, step by step (replication
//! protocol section 10).

use super::{Effect, Peer};
use crate::body::Order;
use crate::history::History;
use crate::imports::Imports;
use crate::state::{Counted, State};
use imbl::ordmap::DiffItem;
use replication::{Publish, Replica, Stamp};
use std::time::{Duration, Instant};
use zones::Name;

/// A settled state whose published mark is on its way to the disk.
pub(super) struct Publication {
    number: u64,
    pub(super) state: State,
    /// For the first one in a settling view: the place above which `counted` holds all.
    first_above: Option<Stamp>,
    /// What settled since the one before.
    counted: Vec<Counted>,
}

/// For how long at most: what is put in again settles within a round trip.
const HELD_MAX: Duration = Duration::from_secs(2);
/// Whether the first publication of a view waits, as a serial would go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// None would.
    No,
    /// It waits, no longer than this.
    Until(Instant),
    /// It has waited for as long as it may.
    Enough,
}

impl Held {
    /// When it is to be looked at again.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Until(until) => Some(until),
            Self::No | Self::Enough => None,
        }
    }
}

/// Of so many entries that settled and cannot be published the single steps are given up: one takes
/// the place of all.
const COUNTED_MAX: usize = 50_000;

/// The version that was published last before a restart: the log up to its mark, with the steps that
/// led there.
pub(super) fn refold(
    replica: &Replica,
    checkpoint: &State,
    imports: &Imports,
    history: &mut History,
) -> State {
    let mut published = checkpoint.clone();
    let mut counted = Vec::new();
    let gate = replica.published_gate();
    for entry in replica.published_entries() {
        if gate.is_some_and(|gate| entry.stamp() > gate) {
            let (_, done) = published.apply_counted(&entry, imports);
            counted.extend(done.map(|done| *done));
        } else {
            published.apply(&entry, imports);
        }
    }
    if let Some(mark) = replica.published() {
        published.reach(mark);
    }
    history.replay(counted);
    published
}

impl Peer {
    /// Takes what has settled, to be published in steps.
    pub(super) fn count(&mut self, counted: Vec<Counted>) {
        if counted.is_empty() {
            return;
        }
        self.counted.extend(counted);
        // A side that may not publish starts with the version of the moment in which it may.
        if !self.replica.may_publish() || self.counted.len() > COUNTED_MAX {
            self.counted.clear();
            self.is_published_in_view = false;
            self.is_counted_whole = false;
        }
    }

    /// Publishes what is settled, where this side may.
    pub(super) fn publish(&mut self, wall: Duration, now: Instant) {
        let Some(settled) = self.fold.settled() else {
            return;
        };
        let last = match self.publishing.back() {
            Some(publication) => Some(publication.state.at()),
            None => self.publisher.published().map(State::at),
        };
        // An idle cluster's mark moves with the clock alone: that is not worth a flush. The first
        // settling in a view is, as it may have put entries anywhere.
        let has_news = match last {
            Some(last) if self.is_published_in_view => self
                .replica
                .log_after(last)
                .next()
                .is_some_and(|entry| entry.stamp() <= settled.at()),
            _ => true,
        };
        if !has_news || self.is_held_back(wall, now) {
            return;
        }
        let Some(settled) = self.fold.settled() else {
            return;
        };
        if self.replica.publish(wall, now) != Publish::Begun {
            return;
        }
        assert_eq!(
            settled.at(),
            self.replica.settled(),
            "what is settled is what is shown"
        );
        let gate = self.replica.gate().filter(|_| self.is_counted_whole);
        if !self.is_counted_whole {
            self.counted.clear();
        }
        self.publishing.push_back(Publication {
            number: self.publisher.begin(),
            state: settled.clone(),
            first_above: (!self.is_published_in_view).then(|| gate.unwrap_or_else(|| settled.at())),
            counted: std::mem::take(&mut self.counted),
        });
        self.is_published_in_view = true;
        self.is_counted_whole = true;
    }

    /// Whether publishing waits a moment, as a serial would go back. Of a fed zone two sides of a
    /// partition may have fetched other steps: the differences of the one that this peer was on then
    /// lead on from content that is not there. What it has published is put in again.
    fn is_held_back(&mut self, wall: Duration, now: Instant) -> bool {
        // A side that may not publish has nothing to wait for.
        let is_first = !self.is_published_in_view && self.replica.may_publish();
        let may_go_back = is_first && self.refresher.has_zones();
        let settled = self.fold.settled().filter(|_| may_go_back);
        let behind = settled
            .map(|settled| self.behind(settled))
            .unwrap_or_default();
        if behind.is_empty() {
            self.held = Held::No;
            return false;
        }
        self.held = match self.held {
            Held::No => {
                for origin in &behind {
                    self.refresh(origin, Order::Ahead, wall, now);
                }
                Held::Until(now + HELD_MAX)
            }
            Held::Until(until) if until <= now => Held::Enough,
            held => held,
        };
        matches!(self.held, Held::Until(_))
    }

    /// Fed zones of which this peer has published something newer.
    fn behind(&self, settled: &State) -> Vec<Name> {
        let Some(published) = self.publisher.published() else {
            return Vec::new();
        };
        let changed = published.zones().diff(settled.zones());
        let changed = changed.filter_map(|item| match item {
            DiffItem::Update { new, .. } => Some(new.0),
            DiffItem::Add(..) | DiffItem::Remove(..) => None,
        });
        let is_behind = |origin: &&Name| {
            let serial = |state: &State| state.fed(origin)?.serial;
            serial(published)
                .zip(serial(settled))
                .is_some_and(|(old, new)| old > new)
        };
        changed.filter(is_behind).cloned().collect()
    }

    /// This mark is durable: what was settled there is public.
    pub(super) fn handle_published(&mut self, mark: Stamp) {
        let (mut first_above, mut counted) = (None, Vec::new());
        while let Some(publication) = self.publishing.pop_front() {
            first_above = first_above.or(publication.first_above);
            counted.extend(publication.counted);
            let state = publication.state;
            assert!(state.at() <= mark, "marks become durable in their order");
            if state.at() < mark {
                continue;
            }
            match (first_above, self.publisher.published()) {
                (None, _) => self.history.publish_next(counted),
                (Some(above), Some(before)) => {
                    self.history.publish_first(before, &state, above, counted);
                }
                // Nobody holds a serial that was not published.
                (Some(_), None) => self.history.publish_next(counted),
            }
            self.publisher.publish(publication.number, state);
            break;
        }
    }

    /// Has steps written, if there are many, or at once.
    pub(super) fn write_history(&mut self, wall: Duration, urgency: Urgency) {
        if urgency == Urgency::IfDue && !self.history.is_writing_due() {
            return;
        }
        self.history.forget(wall);
        let rows = self.history.take_rows(wall);
        if !rows.is_empty() {
            self.effects.push_back(Effect::History(rows));
        }
    }
}

/// Whether steps wait for others to be written with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    IfDue,
    /// The log that they come from is about to go.
    Now,
}
