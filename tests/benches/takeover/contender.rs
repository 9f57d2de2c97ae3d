//! Who is measured, and what is done to it.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;
use tests::figures::Extent;
use tests::segment::Segment;

/// A program on each host of a segment that moves VIPs; its name is what it displays.
pub(crate) trait Contender: Display {
    /// Starts it on all hosts.
    fn start(&mut self, segment: &Segment, vips: &[IpAddr]);
    /// Does to the host's processes what the event says.
    fn strike(&mut self, event: Event, host: usize);
    /// Makes it good.
    fn make_good(&mut self, event: Event, host: usize);
    /// What is measured.
    fn events(&self, extent: Extent) -> Vec<Event>;
    /// When no kernel changes for so long, nothing is to come: no VIP goes back to its host.
    fn calm(&self) -> Duration;
}

/// How a host is lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// No frame passes, and no link goes down.
    Silent,
    /// Its cable is pulled: no carrier.
    Cable,
    /// `kill -9` of what moves VIPs.
    Killed,
    /// `kill -9` of the DNS server alone.
    ServerKilled,
    /// SIGTERM.
    Stopped,
    /// SIGSTOP.
    Frozen,
    /// Told to hold no VIP.
    Drained,
}

impl Event {
    /// What happens.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Silent => "silent host",
            Self::Cable => "cable pulled",
            Self::Killed => "killed",
            Self::ServerKilled => "DNS server killed",
            Self::Stopped => "stopped cleanly",
            Self::Frozen => "frozen by SIGSTOP",
            Self::Drained => "drained",
        }
    }

    /// What makes it good.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Silent => "silent host heard again",
            Self::Cable => "cable plugged in again",
            Self::Killed => "killed, started again",
            Self::ServerKilled => "DNS server started again",
            Self::Stopped => "stopped, started again",
            Self::Frozen => "frozen, goes on",
            Self::Drained => "drained, resumed",
        }
    }
}
