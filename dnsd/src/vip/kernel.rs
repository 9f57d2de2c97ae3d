//! What the machine and the driver of addresses say to each other.

use super::address::{VipAddress, VipId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

/// What a kernel does for a VIP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// Nothing.
    Absent,
    /// It takes packets to the VIP, and answers nobody who asks for it by ARP or ND.
    Ready,
    /// It has told the segment that the VIP is here, and answers who asks.
    Announced,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// What the machine asks of the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// These are the VIPs: watch the interfaces that they may stand on, and say which can be
    /// held here. One that is no longer among them keeps its state until a change.
    Vips(BTreeMap<VipId, BTreeSet<VipAddress>>),
    /// Bring the VIP to this state, then report `Is` or `Failed`. Never given while another
    /// change is under way.
    Change(VipId, Kernel),
    /// Tell the segment again that an announced VIP is here.
    Announce(VipId),
    /// Ask the segment who has the VIP, then report `Segment`. Several may be under way.
    Ask(VipId),
}

/// What the driver tells the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The change is done.
    Is(VipId, Kernel),
    /// The change could not be done; the VIP is in this state now, and why.
    Failed(VipId, Kernel, String),
    /// The VIP is in this state now though nobody here asked for it: the guard took it away, or
    /// somebody by hand.
    Lost(VipId, Kernel),
    /// Another station says that an announced VIP is its own.
    Foreign {
        /// The VIP.
        vip: VipId,
        /// The Ethernet address of that station.
        theirs: Mac,
        /// That of the interface on which the VIP is announced here.
        mine: Mac,
    },
    /// What the segment said.
    Segment(VipId, Heard),
    /// Another station asks who has the VIP, to take it if nobody does.
    Probed {
        /// The VIP.
        vip: VipId,
        /// The Ethernet address of that station.
        theirs: Mac,
        /// That of the interface on which it was heard here.
        mine: Mac,
    },
    /// Which VIPs can be held here, and why not the others. All of them, whenever one changes; one
    /// that is missing has not been looked at yet.
    Can(BTreeMap<VipId, Result<(), Unfit>>),
    /// The Ethernet addresses of this machine.
    Macs(BTreeSet<Mac>),
}

/// What a segment answered to the question who has a VIP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Heard {
    /// Nothing.
    Nobody,
    /// A station has the address, but no DNS server there answers.
    Station(Mac),
    /// A DNS server answers at the address.
    Server(Mac),
}

/// Why a VIP cannot be held here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The process lacks a right, or the kernel a facility: what.
    Driver(String),
    /// No interface here has an address in its network, or the named one is not there.
    NoInterface,
    /// The interface has no carrier, or is down.
    NoCarrier(String),
    /// Nothing at all is heard on the interface.
    Deaf(String),
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::Ready => "ready",
            Self::Announced => "announced",
        })
    }
}

impl Display for Mac {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Display for Unfit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(what) => f.write_str(what),
            Self::NoInterface => f.write_str("no interface here has an address in its network"),
            Self::NoCarrier(interface) => write!(f, "{interface} has no carrier"),
            Self::Deaf(interface) => write!(f, "nothing is heard on {interface}"),
        }
    }
}
