//! What goes into the machine of VIPs, and what it says.

use crate::vip::address::VipId;
use crate::vip::kernel::{Mac, Order, Unfit};
use crate::vip::timing::VipTiming;
use bytes::Bytes;
use overlay::{PeerId, Standing};
use std::time::Duration;

/// What does not change during a life.
#[derive(Clone, Debug)]
pub struct VipConfig {
    /// This peer.
    pub me: PeerId,
    /// Its name, by which VIPs prefer it.
    pub name: String,
    /// How much weight it is to carry, compared with others; at least 1.
    pub capacity: u16,
    /// How much longer than netlink the driver may take for a change.
    pub patience: Duration,
    /// The timers.
    pub timing: VipTiming,
}

impl VipConfig {
    /// A peer that carries as much as any other, by netlink.
    #[must_use]
    pub fn new(me: PeerId, name: String, timing: VipTiming) -> Self {
        Self {
            me,
            name,
            capacity: 1,
            patience: Duration::ZERO,
            timing,
        }
    }
}

/// What the machine wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// By the driver of addresses.
    Order(Order),
    /// Say this as the newest claim of this peer.
    Claim(Bytes),
    /// Say this as the newest map of this peer.
    Config(Bytes),
    /// Complain of a member to the overlay: its claim is missing for too long.
    Complain(PeerId),
    /// Tell the neighbors whether this peer may hold VIPs.
    Standing(Standing),
    /// Something for the operator's log.
    Notice(Notice),
}

/// Something worth a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// This peer announces the VIP now.
    Taken(VipId, Taking),
    /// It does no more.
    Released(VipId),
    /// Two sides of a partition both announced it; this peer keeps it, or does not.
    Conflict(VipId, PeerId),
    /// A station that is no member of the view says that the VIP is its own.
    Foreign(VipId, Mac),
    /// The kernel refuses the VIP.
    Failed(VipId, String),
    /// Somebody took the VIP away by hand, or the guard did.
    Lost(VipId),
    /// A peer comes and goes too often.
    Quarantined(PeerId, Duration),
    /// This peer cannot hold the VIP, and why, or can again.
    Fitness(VipId, Option<Unfit>),
    /// No member can hold the VIP, so nobody announces it.
    Uncovered(VipId),
}

/// How a VIP came to this peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// Nobody announced it.
    Takeover,
    /// Its holder handed it over.
    HandOver,
}

/// How well this peer serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// Its own listener does not answer its own questions.
    pub is_sick: bool,
    /// It lacks what it knows of and does not catch up, or a zone, or its disk.
    pub is_stale: bool,
}

/// What happened so far, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VipCounters {
    /// VIPs taken that nobody announced.
    pub takeovers: u64,
    /// VIPs taken from a holder that handed them over.
    pub handovers: u64,
    /// Times two peers announced one VIP, seen at one of them.
    pub conflicts: u64,
    /// Times a station that is no member of the view claimed a VIP announced here.
    pub foreign: u64,
    /// Kernel changes that failed.
    pub failed: u64,
}

/// Breaks a rule, so that a test can show that it is needed.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VipFaults {
    /// None.
    #[default]
    None,
    /// The claim is stated while the kernel still changes.
    FreezeAtOnce,
    /// Holes are filled before all claims are here.
    FillEarly,
    /// The next holder does not wait until the VIP is given.
    TakeBeforeGiven,
    /// A move does not wait for those that lost the VIP when two sides met.
    HolderGivesAlone,
    /// What is given is withdrawn at once: clients that have not heard of it are not served.
    NoLinger,
    /// Of two that announce one VIP both keep it.
    KeepConflict,
    /// Who keeps a VIP that two announced does not tell the segment again.
    NoSecondTelling,
    /// A stopping peer does not close before it leaves.
    StayOpen,
    /// The members' maps are not merged.
    OwnMapOnly,
    /// A sick or stale peer holds nothing, whoever else is sick.
    Veto,
    /// Epochs of the same view are mixed.
    MixEpochs,
    /// A peer that overslept goes on at once.
    NoConvalescence,
    /// The segment is not asked before a takeover in doubt.
    NeverAsk,
    /// Two sides that ask the segment at once do not heed each other.
    IgnoreProbes,
    /// A peer that others do not hear stands all the same.
    StandUnheard,
    /// Each member plans with the quarantines that it has seen itself.
    OwnQuarantine,
}
