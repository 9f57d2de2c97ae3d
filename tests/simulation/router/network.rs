//! A made-up network between peers: delay, loss, duplicates, reordering, cuts and thin links.

use std::collections::BTreeSet;
use std::time::Duration;

/// What the paths between the peers do.
pub(super) struct Network {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    /// Of a thousand datagrams.
    pub(super) loss: u32,
    pub(super) duplicates: u32,
    /// Time that a datagram of full size takes to leave.
    pub(super) serialization: Duration,
    cuts: BTreeSet<(usize, usize)>,
    random: fastrand::Rng,
}

impl Network {
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
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
    pub(super) fn deliver(&mut self, from: usize, to: usize) -> Vec<Duration> {
        if self.is_cut(from, to) || self.random.u32(0..1_000) < self.loss {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.random.u32(0..1_000) < self.duplicates);
        (0..copies).map(|_| self.one_way()).collect()
    }

    pub(super) fn one_way(&mut self) -> Duration {
        let jitter = self.jitter.as_micros() as u64;
        self.delay + Duration::from_micros(self.random.u64(0..=jitter))
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Ends all cuts.
    pub(super) fn join(&mut self) {
        self.cuts.clear();
    }
}
