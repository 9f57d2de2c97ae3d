//! What a router shows of itself to people.

use crate::peer_id::{Incarnation, PeerId};
use crate::view::View;
use std::net::SocketAddr;
use std::time::Duration;

/// A router at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterStatus {
    /// This peer.
    pub me: PeerId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The agreed view.
    pub view: View,
    /// The links, in order of the neighbors' ids.
    pub neighbors: Vec<NeighborStatus>,
    /// For each peer that can be reached: the neighbor that leads there.
    pub routes: Vec<Route>,
    /// What was dropped because it was wrong or there was no room.
    pub counters: Counters,
}

/// A link to a neighbor at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighborStatus {
    /// The neighbor.
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// Its life, if it has been heard.
    pub incarnation: Option<Incarnation>,
    /// How far the link has come.
    pub state: LinkStage,
    /// For how long.
    pub since: Duration,
    /// The address at the other end.
    pub remote: Option<SocketAddr>,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Lost heartbeats of a thousand.
    pub loss_permille: u16,
    /// Packets sent again to it.
    pub resent: u64,
    /// Packets sent to it.
    pub sent: u64,
}

/// How far a link has come (overlay protocol section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkStage {
    /// Nothing is heard.
    Down,
    /// Heartbeats are heard.
    Heard,
    /// Packets pass.
    Up,
}

/// The way to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Whereto.
    pub to: PeerId,
    /// The neighbor that leads there.
    pub by: PeerId,
    /// Expected latency in microseconds.
    pub cost: u32,
}

/// What was dropped, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Datagrams, bodies or streams that do not decode.
    pub malformed: u64,
    /// Words whose signature is false.
    pub bad_signature: u64,
    /// Words of peers that are not members.
    pub unknown_peer: u64,
    /// Link states whose round lies in the future.
    pub bad_round: u64,
    /// Unicast payloads that found no way or no room.
    pub unicast_dropped: u64,
    /// Multicast payloads refused at their source because its queue was full.
    pub refused: u64,
    /// Multicast messages that came a second time.
    pub duplicates: u64,
    /// Messages asked for again from a neighbor.
    pub pulled: u64,
    /// Wakes that came too late: others are not blamed for them.
    pub overslept: u64,
}
