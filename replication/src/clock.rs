//! The hybrid logical clock and its durable ceiling (replication protocol sections 1, 13).

use crate::entry::{HYBRID_MAX, Hybrid};
use std::time::Duration;

/// Gives stamps; never above what a restart would begin with.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    hybrid: Hybrid,
    /// Durable: no stamp is given and no clock announced above it.
    ceiling: Hybrid,
    /// What somebody waits for above the ceiling.
    wanted: Hybrid,
    source: Source,
    /// What the wall clock said last.
    seen: Option<Duration>,
    /// Where the clock began.
    start: Hybrid,
    /// How far the wall clock has gone on since then, its steps not counted.
    passed: Duration,
}

/// What *next* may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// The wall clock agrees with the members'.
    Wall,
    /// Not compared yet, or off: one clock in 2099 would otherwise raise all of them for ever. The
    /// time that has passed counts all the same: a request is remembered for so long by stamps.
    CountOnly,
}

impl Clock {
    /// Replication protocol section 11: a restart begins at its old ceiling.
    pub(crate) fn resume(hybrid: Hybrid, ceiling: Hybrid) -> Self {
        Self {
            hybrid,
            ceiling,
            wanted: Hybrid(0),
            source: Source::CountOnly,
            seen: None,
            start: hybrid,
            passed: Duration::ZERO,
        }
    }

    /// Called often. True if the wall clock has been set since: no comparison counts any more.
    pub(crate) fn has_stepped(&mut self, wall: Duration) -> bool {
        let is_near = self.is_near(wall);
        if is_near && let Some(seen) = self.seen {
            self.passed += wall.saturating_sub(seen);
        }
        self.seen = Some(wall);
        !is_near
    }

    pub(crate) fn set_source(&mut self, source: Source) {
        self.source = source;
    }

    /// The next stamp's time, not yet taken.
    pub(crate) fn next(&self, wall: Duration) -> Hybrid {
        let counted = Hybrid(self.hybrid.0 + 1);
        counted.max(self.idle_time(wall))
    }

    /// Takes the next time for a stamp; none, and a higher ceiling wanted, if it is above it.
    pub(crate) fn take(&mut self, wall: Duration) -> Option<Hybrid> {
        let next = self.next(wall);
        if next > self.ceiling {
            self.wanted = self.wanted.max(next);
            return None;
        }
        self.hybrid = next;
        Some(next)
    }

    /// Covers a stamp or clock that was received.
    pub(crate) fn see(&mut self, seen: Hybrid) {
        self.hybrid = self.hybrid.max(seen.min(HYBRID_MAX));
    }

    /// Somebody waits until the announced clock reaches `target`.
    pub(crate) fn reach(&mut self, target: Hybrid) {
        self.see(target);
        if target > self.ceiling {
            self.wanted = self.wanted.max(target.min(HYBRID_MAX));
        }
    }

    /// The clock that may be announced and used for settling.
    pub(crate) fn announced(&self) -> Hybrid {
        self.hybrid.min(self.ceiling)
    }

    pub(crate) fn hybrid(&self) -> Hybrid {
        self.hybrid
    }

    pub(crate) fn ceiling(&self) -> Hybrid {
        self.ceiling
    }

    /// Whether something waits for a batch that raises the ceiling.
    pub(crate) fn is_blocked(&self) -> bool {
        self.wanted > self.ceiling
    }

    /// Whether an idle peer must raise its ceiling; otherwise nothing could be stamped or read
    /// after a rest without one more flush.
    pub(crate) fn is_low(&self, wall: Duration) -> bool {
        self.idle_time(wall).after(LOW_IDLE) > self.ceiling
    }

    /// The ceiling that a batch written at this moment sets.
    pub(crate) fn ceiling_for_batch(&self, wall: Duration, idle: Idle) -> Hybrid {
        let mut ceiling = self.ceiling;
        if self.hybrid.after(LOW) > ceiling {
            ceiling = ceiling.max(self.hybrid.after(STEP));
        }
        if self.wanted > self.ceiling {
            ceiling = ceiling.max(self.wanted.after(STEP));
        }
        if idle == Idle::Installed && self.is_low(wall) {
            ceiling = ceiling.max(self.idle_time(wall).after(STEP_IDLE));
        }
        ceiling
    }

    /// A batch with this ceiling is durable.
    pub(crate) fn raise_ceiling(&mut self, ceiling: Hybrid) {
        self.ceiling = self.ceiling.max(ceiling);
    }

    fn idle_time(&self, wall: Duration) -> Hybrid {
        match self.source {
            Source::Wall if self.is_near(wall) => self.hybrid.max(Hybrid::from_wall(wall)),
            Source::Wall | Source::CountOnly => self
                .hybrid
                .max(self.start.after(self.passed))
                .min(HYBRID_MAX),
        }
    }

    fn is_near(&self, wall: Duration) -> bool {
        let seen = self.seen.unwrap_or(wall);
        wall.abs_diff(seen) <= OFF_MAX
    }
}

/// Whether the rule for idle peers applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Idle {
    /// A settling view is in use.
    Installed,
    /// None is.
    No,
}

/// Replication protocol section 13: a clock that is further off is an outlier.
pub(crate) const OFF_MAX: Duration = Duration::from_secs(60);
/// A batch raises the ceiling when less than this is left …
const LOW: Duration = Duration::from_millis(500);
/// … by this much.
pub(crate) const STEP: Duration = Duration::from_secs(1);
/// An idle peer raises it when less than this is left: one flush in five seconds …
const LOW_IDLE: Duration = Duration::from_secs(5);
/// … by this much.
const STEP_IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(1_000);

    #[test]
    fn no_stamp_is_given_above_the_ceiling() {
        let start = Hybrid::from_wall(WALL);
        let mut clock = Clock::resume(start, Hybrid(start.0 + 1));
        assert_eq!(clock.take(WALL), Some(Hybrid(start.0 + 1)));
        assert_eq!(clock.take(WALL), None);
        assert!(clock.is_blocked());
        clock.raise_ceiling(clock.ceiling_for_batch(WALL, Idle::No));
        assert_eq!(clock.take(WALL), Some(Hybrid(start.0 + 2)));
    }

    #[test]
    fn the_wall_counts_only_after_the_comparison() {
        let mut clock = Clock::resume(Hybrid(7), Hybrid(8));
        assert_eq!(clock.next(WALL), Hybrid(8));
        clock.set_source(Source::Wall);
        assert_eq!(clock.next(WALL), Hybrid::from_wall(WALL));
        assert!(clock.is_low(WALL));
    }

    #[test]
    fn time_passes_without_the_wall_and_its_steps() {
        let start = Hybrid::from_wall(Duration::from_secs(7));
        let mut clock = Clock::resume(start, start);
        let at = |seconds: u64| WALL + Duration::from_secs(seconds);
        for seconds in [0, 20, 50, 500, 480, 490] {
            clock.has_stepped(at(seconds));
        }
        // 500 was a step, and 480 went back.
        let passed = start.after(Duration::from_secs(50 + 10));
        assert_eq!(clock.next(at(490)), passed);
        assert!(clock.is_low(at(490)));
        clock.see(passed);
        assert_eq!(clock.next(at(490)), Hybrid(passed.0 + 1));
    }

    #[test]
    fn a_step_of_the_wall_does_not_count_before_it_is_seen() {
        let mut clock = Clock::resume(Hybrid(7), Hybrid(8));
        clock.set_source(Source::Wall);
        assert!(!clock.has_stepped(WALL));
        let later = WALL + OFF_MAX * 2;
        assert_eq!(clock.next(later), Hybrid(8));
        assert!(clock.has_stepped(later));
        assert_eq!(clock.next(later), Hybrid::from_wall(later));
        assert!(clock.has_stepped(WALL));
    }
}
