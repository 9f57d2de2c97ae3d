//! Whether a peer's own listeners answer its own questions: judged over time, so that one lost
//! datagram moves no VIP, and a peer that is well again for a moment gets none.

use std::time::{Duration, Instant};

/// So many bad answers in a row make a peer sick.
const BAD_MAX: u32 = 3;
/// How long all answers must be good until it is well again; doubled with each further time.
const GOOD_MIN: Duration = Duration::from_secs(2);
const GOOD_MAX: Duration = Duration::from_secs(120);
/// How long a peer must have been well for that to be forgotten.
const MEMORY: Duration = Duration::from_secs(600);

/// The judge.
#[derive(Debug, Default)]
pub struct SelfCheck {
    bad: u32,
    is_sick: bool,
    times: u32,
    good_since: Option<Instant>,
}

/// One answer of the own listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It was right and came in time.
    Good,
    /// It was wrong, late or none.
    Bad,
}

impl SelfCheck {
    /// Takes an answer; true if the peer is sick.
    pub fn judge(&mut self, answer: Answer, now: Instant) -> bool {
        match answer {
            Answer::Bad => {
                self.bad += 1;
                self.good_since = None;
                if self.bad >= BAD_MAX && !self.is_sick {
                    self.is_sick = true;
                    self.times += 1;
                }
            }
            Answer::Good => {
                self.bad = 0;
                let since = *self.good_since.get_or_insert(now);
                let needed = (GOOD_MIN * (1 << (self.times.max(1) - 1).min(6))).min(GOOD_MAX);
                if self.is_sick && now >= since + needed {
                    self.is_sick = false;
                }
                if !self.is_sick && now >= since + MEMORY {
                    self.times = 0;
                }
            }
        }
        self.is_sick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bad_answers_make_it_sick_and_it_takes_ever_longer_to_be_trusted() {
        let start = crate::testing::start();
        let mut check = SelfCheck::default();
        let mut judge = |ms, answer, sick| {
            let now = start + Duration::from_millis(ms);
            assert_eq!(check.judge(answer, now), sick, "at {ms}");
        };
        judge(0, Answer::Bad, false);
        judge(100, Answer::Bad, false);
        judge(200, Answer::Good, false);
        for at in [300, 400] {
            judge(at, Answer::Bad, false);
        }
        judge(500, Answer::Bad, true);
        judge(600, Answer::Good, true);
        judge(2_599, Answer::Good, true);
        judge(2_600, Answer::Good, false);
        for at in [2_700, 2_800] {
            judge(at, Answer::Bad, false);
        }
        judge(2_900, Answer::Bad, true);
        judge(3_000, Answer::Good, true);
        judge(6_900, Answer::Good, true);
        judge(7_000, Answer::Good, false);
    }
}
