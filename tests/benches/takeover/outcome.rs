//! What some trials of one event came to, as a line and as a row of BENCHMARKS.md.

use crate::Half;
use crate::contender::Event;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::process::Command;
use std::time::Duration;
use tests::figures::{millis, percentile};
use tests::watch::prober::Outage;
use tests::watch::timeline::Held;

/// The trials of one half of an event.
#[derive(Default)]
pub(crate) struct Outcome {
    /// One a VIP and trial.
    pub(crate) samples: Vec<Sample>,
    /// Longest outage of a VIP that had nothing to do with it.
    pub(crate) others: Duration,
    /// Questions that the prober left out: it had no core in time.
    pub(crate) left_out: usize,
}

/// One VIP in one trial.
pub(crate) struct Sample {
    /// To its clients.
    pub(crate) outage: Outage,
    /// In the kernels.
    pub(crate) held: Held,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.samples.is_empty() {
            return write!(f, "nothing moved, others {:.1} ms", millis(self.others));
        }
        let sorted = |of: &dyn Fn(&Sample) -> f64| {
            let mut values: Vec<f64> = self.samples.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            [0.5, 0.99, 1.0].map(|part| percentile(&values, part))
        };
        let [p50, p99, max] = sorted(&|sample| millis(sample.outage.silence));
        write!(f, "outage {p50:.1} / {p99:.1} / {max:.1} ms")?;
        let [p50, _, max] = sorted(&|sample| sample.outage.lost as f64);
        write!(f, ", lost {p50} (max {max})")?;
        let [p50, _, max] = sorted(&|sample| millis(sample.held.by_two));
        write!(f, ", two {p50:.1} (max {max:.1}) ms")?;
        // It begins and ends with one batch of messages: no time, and two all the same.
        let times = self.samples.iter().map(|sample| sample.held.times_by_two);
        write!(f, " {} times", times.sum::<usize>())?;
        let [p50, _, max] = sorted(&|sample| millis(sample.held.by_none));
        write!(f, ", none {p50:.1} (max {max:.1}) ms")?;
        write!(f, ", others {:.1} ms", millis(self.others))?;
        if self.left_out > 0 {
            write!(f, " ({} rounds of questions left out)", self.left_out)?;
        }
        Ok(())
    }
}

/// Prints what belongs into BENCHMARKS.md.
pub(crate) fn print_rows(
    setting: &str,
    outcomes: &BTreeMap<(Event, Half), Vec<(String, Outcome)>>,
) {
    let (date, commit) = (
        printed_by("date", &["+%F"]),
        printed_by("git", &["rev-parse", "--short", "HEAD"]),
    );
    for ((event, half), of_event) in outcomes {
        let cell = |ours: bool| {
            let cells = of_event
                .iter()
                .filter(|(name, _)| name.starts_with("dnsd") == ours);
            let cells: Vec<String> = cells
                .map(|(name, outcome)| format!("{name}: {outcome}"))
                .collect();
            cells.join("; ")
        };
        println!(
            "| {date} | {commit} | VIP, {}: outage p50 / p99 / max; {setting} | \
             `cargo bench -p tests --bench takeover` | – | {} | {} |",
            half.of(*event),
            cell(true),
            cell(false)
        );
    }
}

fn printed_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
