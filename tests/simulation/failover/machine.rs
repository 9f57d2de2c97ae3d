//! What of a machine outlives the process: its kernel's VIPs, the guard that takes them away, its
//! card on the segment. The process that drives it is in `world.rs`.

use dnsd::vip::address::VipId;
use dnsd::vip::kernel::{Kernel, Mac};
use std::collections::BTreeMap;
use std::time::Duration;

/// One machine.
pub(super) struct Machine {
    pub(super) mac: Mac,
    /// What the kernel does; what is absent is not in it.
    vips: BTreeMap<VipId, Kernel>,
    /// Counts the times that a VIP was announced here, so that an old round of telling ends.
    pub(super) announcements: u64,
    announcing: BTreeMap<VipId, u64>,
    pub(super) card: Card,
    /// How many times longer than others' its driver takes.
    pub(super) slowness: u32,
    /// The guard takes away what is announced, as no beat comes.
    pub(super) is_guard_raised: bool,
    /// Raised when the guard is to act or no more, so that an earlier plan of it ends.
    pub(super) guard_round: u64,
    /// The driver's change under way: the VIP, to what, and whether it will fail.
    pub(super) change: Option<Change>,
}

/// A change that the driver is making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) vip: VipId,
    pub(super) to: Kernel,
    pub(super) fails: bool,
    /// The lease was over since it was asked for.
    pub(super) is_late: bool,
    pub(super) began: Duration,
    pub(super) number: u64,
}

/// How a machine's card on the segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Card {
    Well,
    /// It sends and hears nothing of what others send.
    Deaf,
    /// It hears, and nothing of what it sends arrives.
    Mute,
    /// The cable is out, and the kernel says so.
    NoCarrier,
}

impl Machine {
    pub(super) fn new(number: usize) -> Self {
        Self {
            mac: Mac([2, 0, 0, 0, 0, number as u8 + 1]),
            vips: BTreeMap::new(),
            announcements: 0,
            announcing: BTreeMap::new(),
            card: Card::Well,
            slowness: 1,
            is_guard_raised: false,
            guard_round: 0,
            change: None,
        }
    }

    pub(super) fn state(&self, vip: VipId) -> Kernel {
        self.vips.get(&vip).copied().unwrap_or(Kernel::Absent)
    }

    pub(super) fn set(&mut self, vip: VipId, state: Kernel) {
        match state {
            Kernel::Absent => self.vips.remove(&vip),
            Kernel::Ready | Kernel::Announced => self.vips.insert(vip, state),
        };
        if state == Kernel::Announced {
            self.announcements += 1;
            self.announcing.insert(vip, self.announcements);
        } else {
            self.announcing.remove(&vip);
        }
    }

    /// Takes all away; what was there.
    pub(super) fn clear(&mut self) -> Vec<(VipId, Kernel)> {
        self.announcing.clear();
        std::mem::take(&mut self.vips).into_iter().collect()
    }

    /// Which round of telling the segment is the present one.
    pub(super) fn announcement(&self, vip: VipId) -> Option<u64> {
        self.announcing.get(&vip).copied()
    }

    pub(super) fn announced(&self) -> impl Iterator<Item = VipId> + '_ {
        let vips = self.vips.iter();
        vips.filter(|(_, state)| **state == Kernel::Announced)
            .map(|(vip, _)| *vip)
    }
}

/// Between what machines frames of the segment pass.
#[derive(Default)]
pub(super) struct Segment {
    cuts: std::collections::BTreeSet<(usize, usize)>,
}

impl Segment {
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
    }

    pub(super) fn join(&mut self) {
        self.cuts.clear();
    }

    /// Whether a frame from one machine arrives at the other.
    pub(super) fn reaches(&self, machines: &[Machine], from: usize, to: usize) -> bool {
        matches!(machines[from].card, Card::Well | Card::Deaf)
            && matches!(machines[to].card, Card::Well | Card::Mute)
            && !self.cuts.contains(&(from, to))
    }

    /// Whether a question arrives and its answer comes back.
    pub(super) fn is_two_way(&self, machines: &[Machine], a: usize, b: usize) -> bool {
        self.reaches(machines, a, b) && self.reaches(machines, b, a)
    }
}

/// What a machine's driver is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driver {
    /// The longest and shortest time that a change takes.
    pub(super) takes: (Duration, Duration),
    /// Of a thousand changes towards the segment.
    pub(super) failing: u32,
}
