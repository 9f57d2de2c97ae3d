//! Smoothed round-trip time with its deviation (RFC 6298, without its clock granularity).

use std::time::Duration;

/// The transport's own guess for a path it knows nothing of.
const INITIAL: Duration = Duration::from_millis(20);

/// A round-trip time as measured so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rtt {
    measured: Option<(Duration, Duration)>,
}

impl Rtt {
    pub(crate) fn sample(&mut self, sample: Duration) {
        self.measured = Some(match self.measured {
            None => (sample, sample / 2),
            Some((smoothed, deviation)) => (
                (smoothed * 7 + sample) / 8,
                (deviation * 3 + smoothed.abs_diff(sample)) / 4,
            ),
        });
    }

    pub(crate) fn measured(&self) -> Option<Duration> {
        self.measured.map(|(smoothed, _)| smoothed)
    }

    pub(crate) fn smoothed(&self) -> Duration {
        self.measured().unwrap_or(INITIAL)
    }

    pub(crate) fn deviation(&self) -> Duration {
        self.measured
            .map_or(INITIAL / 2, |(_, deviation)| deviation)
    }
}
