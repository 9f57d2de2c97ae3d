//! A made-up network between peers: delay, loss, duplicates, reordering, cuts, holes for big packets
//! and thin links.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A datagram above this falls into a hole for big packets.
const SMALL: usize = 600;

/// What the paths between the peers do.
pub(crate) struct Network {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// Of a thousand datagrams.
    pub(crate) loss: u32,
    pub(crate) duplicates: u32,
    /// Of a thousand datagrams on single paths, instead of the usual loss.
    pub(crate) lossy: BTreeMap<(usize, usize), u32>,
    /// Streams pass through more tasks and queues than the bytes of a canary: up to so much more.
    pub(crate) stream_lag_max: Duration,
    /// Time that a datagram of full size takes to leave.
    pub(crate) serialization: Duration,
    cuts: BTreeSet<(usize, usize)>,
    /// Paths on which only small packets pass.
    holes: BTreeSet<(usize, usize)>,
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
            lossy: BTreeMap::new(),
            stream_lag_max: Duration::ZERO,
            cuts: BTreeSet::new(),
            holes: BTreeSet::new(),
            random: random.fork(),
        }
    }

    /// When each copy of a packet arrives; none: it is lost.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> Vec<Duration> {
        let loss = self.lossy.get(&(from, to)).copied().unwrap_or(self.loss);
        if self.is_cut(from, to) || self.random.u32(0..1_000) < loss {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.random.u32(0..1_000) < self.duplicates);
        (0..copies).map(|_| self.one_way()).collect()
    }

    /// The same for a datagram of this size.
    pub(crate) fn deliver_datagram(
        &mut self,
        from: usize,
        to: usize,
        size: usize,
    ) -> Vec<Duration> {
        match size > SMALL && self.holes.contains(&(from, to)) {
            true => Vec::new(),
            false => self.deliver(from, to),
        }
    }

    /// What a piece of a stream takes longer than a packet.
    pub(crate) fn stream_lag(&mut self) -> Duration {
        match self.stream_lag_max.as_micros() as u64 {
            0 => Duration::ZERO,
            most => Duration::from_micros(self.random.u64(0..=most)),
        }
    }

    fn one_way(&mut self) -> Duration {
        let jitter = self.jitter.as_micros() as u64;
        self.delay + Duration::from_micros(self.random.u64(0..=jitter))
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Ends the cut of one path.
    pub(crate) fn mend(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
    }

    pub(crate) fn dig(&mut self, from: usize, to: usize) {
        self.holes.insert((from, to));
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub(crate) fn has_cuts(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// Ends all cuts and holes.
    pub(crate) fn join(&mut self) {
        self.cuts.clear();
        self.holes.clear();
    }
}
