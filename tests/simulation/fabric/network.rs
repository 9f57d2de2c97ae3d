//! A made-up network between peers: delay, loss, duplicates, reordering, cuts and thin links.

use std::collections::BTreeSet;
use std::time::Duration;

/// What the paths between the peers do.
pub(crate) struct Network {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// Of a thousand datagrams.
    pub(crate) loss: u32,
    pub(crate) duplicates: u32,
    /// Time that a datagram of full size takes to leave.
    pub(crate) serialization: Duration,
    cuts: BTreeSet<(usize, usize)>,
    random: fastrand::Rng,
}

impl Network {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        let micros = Duration::from_micros;
        Self {
            delay: micros(random.u64(100..2_000)),
            jitter: micros(random.u64(0..500)),
            loss: [0, 0, 10, 50, 150][random.usize(0..5)],
            duplicates: [0, 0, 20][random.usize(0..3)],
            serialization: micros([10, 10, 1_000][random.usize(0..3)]),
            cuts: BTreeSet::new(),
            random: random.fork(),
        }
    }

    /// When each copy of a packet arrives; none: it is lost.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> Vec<Duration> {
        if self.is_cut(from, to) || self.random.u32(0..1_000) < self.loss {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.random.u32(0..1_000) < self.duplicates);
        (0..copies).map(|_| self.one_way()).collect()
    }

    pub(crate) fn one_way(&mut self) -> Duration {
        let jitter = self.jitter.as_micros() as u64;
        self.delay + Duration::from_micros(self.random.u64(0..=jitter))
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Ends all cuts.
    pub(crate) fn join(&mut self) {
        self.cuts.clear();
    }
}
