//! What benches have in common: their arguments, percentiles, and the time that processes take.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// How much a bench does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// A second or two, to see that it works and that its results are sane.
    Smoke,
    /// Enough to measure.
    Long,
}

impl Extent {
    /// `--smoke` from the command line.
    #[must_use]
    pub fn from_args() -> Self {
        if std::env::args().any(|arg| arg == "--smoke") {
            Self::Smoke
        } else {
            Self::Long
        }
    }

    /// One of two numbers.
    #[must_use]
    pub fn choose<T>(self, smoke: T, long: T) -> T {
        match self {
            Self::Smoke => smoke,
            Self::Long => long,
        }
    }
}

/// Ends the bench with what it understands, if the command line says anything else. Long benches
/// must not begin because somebody asked for help.
pub fn refuse_other_args(options: &[&str]) {
    // `cargo bench` gives `--bench`.
    let flags = ["--bench", "--smoke"];
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let is_whole = match options.contains(&arg.as_str()) {
            true => args.next().is_some(),
            false => flags.contains(&arg.as_str()),
        };
        if !is_whole {
            let options = options.iter().map(|option| format!(" [{option} VALUE]"));
            eprintln!("usage: [--smoke]{}", options.collect::<String>());
            std::process::exit(2);
        }
    }
}

/// What stands after an option on the command line.
#[must_use]
pub fn value_of(option: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != option);
    args.nth(1)
}

/// The value below which `part` of the sorted values lie.
#[must_use]
pub fn percentile<T: Copy>(sorted: &[T], part: f64) -> T {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// Median, least and greatest of some rounds: `1 234 (1 100–1 300)`.
#[must_use]
pub fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part| percentile(&sorted, part);
    format!(
        "{:.digits$} ({:.digits$}–{:.digits$})",
        at(0.5),
        at(0.0),
        at(1.0)
    )
}

/// A duration in milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The time on a core that a process and its descendants have taken, in all their threads.
#[must_use]
pub fn cpu_time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut time = Duration::ZERO;
    for task in tasks.map(|task| task.path()) {
        time += on_core(&task);
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        let children = children.split_whitespace();
        time += children
            .map(|child| cpu_time(child.parse().unwrap()))
            .sum::<Duration>();
    }
    time
}

/// The first figure of `schedstat` counts nanoseconds on a core. A thread may end meanwhile.
fn on_core(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let nanos = text.split_whitespace().next();
    Duration::from_nanos(nanos.map_or(0, |nanos| nanos.parse().unwrap()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_values() {
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 0.5), 3);
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 0.99), 5);
        assert_eq!(spread(&[3.0, 1.0, 2.0], 1), "2.0 (1.0–3.0)");
        assert!(cpu_time(std::process::id()) > Duration::ZERO);
    }
}
