//! Was this peer late itself? Then it blames nobody (overlay protocol section 4).

use crate::timing::Timing;
use std::time::{Duration, Instant};

/// The lateness of the link thread and of the peer's main loop.
pub(crate) struct Health {
    timing: Timing,
    due: Option<Instant>,
    woke: Option<Instant>,
    tick: Option<Tick>,
}

struct Tick {
    number: u64,
    since: Instant,
}

impl Health {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            due: None,
            woke: None,
            tick: None,
        }
    }

    /// Called first in every wake: by how much it came too late, if that is more than two beats.
    /// A time that was slept through counts once, though what was due in it is still to be done.
    pub(crate) fn wake(&mut self, now: Instant) -> Option<Duration> {
        let woke = self.woke.replace(now);
        let late = now.saturating_duration_since(self.due?.max(woke.unwrap_or(now)));
        if late <= self.timing.heartbeat * 2 {
            return None;
        }
        if let Some(tick) = &mut self.tick {
            tick.since += late;
        }
        Some(late)
    }

    /// When the next wake is due, as the driver is told.
    pub(crate) fn set_due(&mut self, due: Option<Instant>) {
        self.due = due;
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn set_tick(&mut self, number: u64, now: Instant) {
        if self.tick.as_ref().is_none_or(|tick| tick.number != number) {
            self.tick = Some(Tick { number, since: now });
        }
    }

    /// A hung daemon must not look alive: its heartbeats stop.
    pub(crate) fn is_main_loop_hung(&self, now: Instant) -> bool {
        let tick = self.tick.as_ref();
        tick.is_some_and(|tick| now.saturating_duration_since(tick.since) > self.timing.lease)
    }

    pub(crate) fn tick(&self) -> u64 {
        self.tick.as_ref().map_or(0, |tick| tick.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Profile;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_late_wake_and_a_standing_tick_are_seen() {
        let start = crate::testing::start();
        let mut health = Health::new(Profile::Lan.timing());
        assert_eq!(health.wake(start + MS * 900), None, "nothing was due");
        health.set_due(Some(start + MS * 925));
        assert_eq!(health.wake(start + MS * 970), None);
        assert_eq!(health.wake(start + MS * 1_025), Some(MS * 55));
        assert_eq!(health.wake(start + MS * 1_030), None, "it has been counted");
        assert!(!health.is_main_loop_hung(start + MS * 5_000), "no tick yet");
        health.set_tick(1, start);
        health.set_tick(1, start + MS * 90);
        assert!(!health.is_main_loop_hung(start + MS * 100));
        assert!(health.is_main_loop_hung(start + MS * 101));
        health.set_tick(2, start + MS * 102);
        assert!(!health.is_main_loop_hung(start + MS * 103));
    }
}
