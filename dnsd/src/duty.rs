//! Which peer does what one peer does for all: the same one whoever works it out, other tasks at other
//! peers (rendezvous hashing). So the work is spread, and a peer that goes away changes nothing of what
//! the others do.

use overlay::PeerId;
use ring::digest::{SHA256, digest};

/// The peer whose hash with the task is greatest; none if there are no peers.
#[must_use]
pub fn elect(peers: &[PeerId], task: &[u8]) -> Option<PeerId> {
    if peers.len() < 2 {
        return peers.first().copied();
    }
    let weight = |peer: &PeerId| {
        let bytes = [&peer.0[..], task].concat();
        digest(&SHA256, &bytes).as_ref().to_vec()
    };
    peers.iter().copied().max_by_key(weight)
}
