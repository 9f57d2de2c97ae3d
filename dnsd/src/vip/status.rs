//! What a peer says of the VIPs: the data behind `vip list` and `vip simulate`.

use super::kernel::Kernel;
use crate::text::{as_some_seconds, as_text};
use overlay::PeerId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// All VIPs, and the peers that may hold them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Vips {
    /// What the peer that was asked is doing about them.
    pub phase: VipPhase,
    /// The VIPs, in order of their lowest addresses.
    pub vips: Vec<VipRow>,
    /// The peers of the view.
    pub peers: Vec<VipPeer>,
}

/// What a peer is doing about the VIPs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VipPhase {
    /// It collects the claims of all peers that it reaches.
    Gather,
    /// All peers that it reaches have the same plan.
    Run,
    /// It has given everything up, as it stops.
    Stopping,
}

/// One VIP.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VipRow {
    /// Its addresses, each `ADDRESS/LEN` or `ADDRESS/LEN@IFACE`.
    pub addresses: Vec<String>,
    /// The name of the peer that announces it; none: nobody that this peer reaches.
    pub holder: Option<String>,
    /// For how long, as the peer that was asked has seen it.
    #[serde(with = "as_some_seconds", rename = "since_seconds")]
    pub since: Option<Duration>,
    /// Why it is there, or why it is nowhere.
    pub why: String,
    /// Where it is about to move.
    pub next: Option<String>,
    /// The peer that is to hold it while it can.
    pub prefer: Option<String>,
    /// How much of a peer's capacity it takes.
    pub weight: u16,
    /// The peer from which it was drained.
    pub drained_from: Option<String>,
    /// What the kernel does for it at the peer that was asked.
    pub here: Kernel,
    /// Why the peer that was asked cannot hold it.
    pub unfit: Option<String>,
}

/// A peer as a holder of VIPs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VipPeer {
    /// Its id.
    #[serde(with = "as_text")]
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// How fit it is: well, quarantined, stale, drained or sick; the fittest hold.
    pub rank: String,
    /// How many VIPs it announces.
    pub holds: usize,
    /// How many it can hold.
    pub can: usize,
    /// How much weight it is to carry, compared with the others.
    pub capacity: u16,
}

/// Where a VIP would be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VipGoal {
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Who announces it now.
    pub now: Option<String>,
    /// Who would; none: nobody can.
    pub then: Option<String>,
    /// Why.
    pub why: String,
}
