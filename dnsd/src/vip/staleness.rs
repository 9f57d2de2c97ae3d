//! When the data that a peer serves is too old for it to hold VIPs.

use std::time::{Duration, Instant};

/// How long a peer may be behind without coming closer.
const BOUND: Duration = Duration::from_secs(2);

/// How far this peer is behind, as its replica says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behind {
    /// Entries that it knows of and does not hold.
    pub lag: u64,
    /// It settles with others, or alone as its whole side.
    pub is_settling: bool,
    /// Its disk does not finish writing.
    pub is_withdrawn: bool,
}

/// Judges it over time.
#[derive(Debug)]
pub struct Staleness {
    /// It has settled with others in this life: before, nobody knows how old its data is.
    has_settled: bool,
    /// The smallest lag so far of this time behind, and when it was reached.
    closest: Option<(u64, Instant)>,
}

impl Staleness {
    /// A peer that has just started.
    #[must_use]
    pub fn new() -> Self {
        Self {
            has_settled: false,
            closest: None,
        }
    }

    /// Whether the peer is stale now.
    pub fn judge(&mut self, behind: Behind, now: Instant) -> bool {
        if behind.is_settling {
            self.has_settled = true;
        }
        if behind.is_settling && behind.lag == 0 {
            self.closest = None;
        } else {
            match self.closest {
                Some((lag, _)) if behind.lag >= lag => {}
                _ => self.closest = Some((behind.lag, now)),
            }
        }
        let is_stuck = self.closest.is_some_and(|(_, since)| now >= since + BOUND);
        behind.is_withdrawn || !self.has_settled || is_stuck
    }

    /// When to judge again though nothing has happened.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.closest.map(|(_, since)| since + BOUND)
    }
}

impl Default for Staleness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_stale_until_it_settles_and_when_it_falls_behind_without_catching_up() {
        let start = crate::testing::start();
        let mut staleness = Staleness::new();
        let behind = |lag, is_settling| Behind {
            lag,
            is_settling,
            is_withdrawn: false,
        };
        let mut check = |ms, behind, expected| {
            let now = start + Duration::from_millis(ms);
            assert_eq!(staleness.judge(behind, now), expected, "at {ms}");
        };
        check(0, behind(0, false), true);
        check(10, behind(0, true), false);
        check(20, behind(0, false), false);
        check(1_900, behind(0, true), false);
        check(2_000, behind(50, true), false);
        check(3_000, behind(40, true), false);
        check(4_900, behind(45, true), false);
        check(5_000, behind(40, true), true);
        check(5_100, behind(39, true), false);
        check(5_200, behind(0, true), false);
        let hung = Behind {
            is_withdrawn: true,
            ..behind(0, true)
        };
        check(5_300, hung, true);
    }
}
