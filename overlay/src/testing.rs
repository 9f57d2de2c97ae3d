//! What tests of views and links begin with.

#![allow(
    clippy::disallowed_methods,
    reason = "tests only need some first moment"
)]

use crate::link_state::{LinkState, StatedLink};
use crate::peer_id::{Incarnation, PeerId};
use std::time::Instant;

pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn peer(n: u8) -> PeerId {
    PeerId([n; 8])
}

/// The link state of a peer that lists these neighbors, all in life 1.
pub(crate) fn linked(to: &[u8]) -> LinkState {
    let links = to.iter().map(|n| StatedLink {
        peer: peer(*n),
        incarnation: Incarnation(1),
        cost: 1,
        loss_permille: 0,
    });
    LinkState {
        links: links.collect(),
        ..LinkState::default()
    }
}
