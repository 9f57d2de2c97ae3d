//! From what was seen to figures: how long a VIP had no announcer, or two that reach each other.

use crate::segment::Islands;
use std::time::{Duration, Instant};

/// A kernel began or ceased to announce a VIP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// When the observer had it. The order of changes is the kernels'.
    pub at: Instant,
    /// Which host.
    pub host: usize,
    /// Whether it announces the VIP from then on.
    pub announces: bool,
}

/// How a VIP was held in some time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Held {
    /// How long two hosts that reach each other announced it.
    pub by_two: Duration,
    /// How often that began, however short it was.
    pub times_by_two: usize,
    /// How long nobody whom the client reaches announced it.
    pub by_none: Duration,
    /// How often a host began to announce it.
    pub takes: usize,
    /// How often one ceased to.
    pub releases: usize,
}

/// Works through the changes of one VIP, in their order, with the cuts of the segment.
#[must_use]
pub fn held(
    changes: &[Change],
    islands: &[(Instant, Islands)],
    from: Instant,
    until: Instant,
) -> Held {
    let cuts = islands
        .iter()
        .map(|(at, islands)| (*at, Step::Cut(islands)));
    let changes = changes
        .iter()
        .map(|change| (change.at, Step::Change(change)));
    let mut steps: Vec<(Instant, Step<'_>)> = cuts.chain(changes).collect();
    // A stable sort: what came at one moment stays in its order.
    steps.sort_by_key(|(at, _)| *at);
    let mut state = State::default();
    let mut held = Held::default();
    let mut now = from;
    for (at, step) in steps.into_iter().take_while(|(at, _)| *at <= until) {
        state.add_time(&mut held, at.max(from) - now);
        now = at.max(from);
        let (was_by_two, before) = (state.is_by_two(), state.announcers.len());
        state.take(step);
        if at >= from {
            held.times_by_two += usize::from(!was_by_two && state.is_by_two());
            held.takes += usize::from(state.announcers.len() > before);
            held.releases += usize::from(state.announcers.len() < before);
        }
    }
    state.add_time(&mut held, until - now);
    held
}

#[derive(Clone, Copy)]
enum Step<'s> {
    Change(&'s Change),
    Cut(&'s Islands),
}

#[derive(Default)]
struct State {
    announcers: Vec<usize>,
    islands: Islands,
}

impl State {
    fn take(&mut self, step: Step<'_>) {
        match step {
            Step::Cut(islands) => self.islands.clone_from(islands),
            Step::Change(change) => {
                self.announcers.retain(|host| *host != change.host);
                if change.announces {
                    self.announcers.push(change.host);
                }
            }
        }
    }

    fn add_time(&self, held: &mut Held, time: Duration) {
        if self.is_by_two() {
            held.by_two += time;
        }
        let client = self.islands.last();
        let mut reached = self.announcers.iter();
        if !reached.any(|host| self.islands.get(*host) == client) {
            held.by_none += time;
        }
    }

    fn is_by_two(&self) -> bool {
        let mut islands: Vec<_> = self
            .announcers
            .iter()
            .map(|host| self.islands[*host])
            .collect();
        islands.sort_unstable();
        islands.windows(2).any(|pair| pair[0] == pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Changes are (ms, host, announces), cuts (ms, islands); the time looked at is 10 to 100 ms.
    fn check(changes: &[(u32, usize, bool)], cuts: &[(u32, [usize; 3])], expected: [u32; 4]) {
        let start = Instant::now();
        let changes: Vec<Change> = changes
            .iter()
            .map(|(at, host, announces)| Change {
                at: start + *at * MS,
                host: *host,
                announces: *announces,
            })
            .collect();
        let whole = [(0, [0; 3])];
        let islands: Vec<(Instant, Islands)> = whole
            .iter()
            .chain(cuts)
            .map(|(at, islands)| (start + *at * MS, islands.to_vec()))
            .collect();
        let held = held(&changes, &islands, start + 10 * MS, start + 100 * MS);
        let [by_two, times, by_none, takes] = expected;
        let expected = Held {
            by_two: by_two * MS,
            times_by_two: times as usize,
            by_none: by_none * MS,
            takes: takes as usize,
            // In all cases one who withdraws had announced it, and does so in the time looked at.
            releases: changes.iter().filter(|change| !change.announces).count(),
        };
        assert_eq!(held, expected, "{changes:?}");
    }

    #[test]
    fn announcers_are_counted_among_those_who_reach_each_other() {
        // Nobody; one from before; one who comes.
        check(&[], &[], [0, 0, 90, 0]);
        check(&[(5, 0, true)], &[], [0, 0, 0, 0]);
        check(&[(30, 0, true)], &[], [0, 0, 20, 1]);
        // Handed over with a gap; with an overlap; at one moment, in both orders.
        let gap = [(5, 0, true), (40, 0, false), (45, 1, true)];
        check(&gap, &[], [0, 0, 5, 1]);
        let overlap = [(5, 0, true), (40, 1, true), (45, 0, false)];
        check(&overlap, &[], [5, 1, 0, 1]);
        let release = [(5, 0, true), (40, 0, false), (40, 1, true)];
        check(&release, &[], [0, 0, 0, 1]);
        let acquire = [(5, 0, true), (40, 1, true), (40, 0, false)];
        check(&acquire, &[], [0, 1, 0, 1]);
        // A second word for the same is no take.
        check(&[(5, 0, true), (20, 0, true)], &[], [0, 0, 0, 0]);
        // After the time looked at.
        check(&[(5, 0, true), (200, 1, true)], &[], [0, 0, 0, 0]);
    }

    #[test]
    fn two_who_are_cut_apart_are_not_two() {
        let two = [(5, 0, true), (50, 1, true)];
        // The host 0 is alone from 20 on: nobody for 30 ms; healed at 90: two for 10 ms.
        check(&two, &[(20, [7, 0, 0])], [0, 0, 30, 1]);
        check(&two, &[(20, [7, 0, 0]), (90, [0; 3])], [10, 1, 30, 1]);
        // Both are cut off from the client, together.
        check(&two, &[(20, [1, 1, 0])], [50, 1, 80, 1]);
    }
}
