//! One line for what an operator may want to read of virtual addresses.

use crate::vip::failover::{Notice, Taking};
use replication::Members;
use tracing::{info, warn};

pub(super) fn log(notice: &Notice, members: &Members) {
    let name = |peer| {
        let mut admits = members.admits();
        let admit = admits.find(|admit| admit.peer() == peer);
        admit.map_or_else(|| peer.to_string(), |admit| admit.name.clone())
    };
    match notice {
        Notice::Taken(vip, Taking::Takeover) => info!(%vip, "takeover: this peer announces it now"),
        Notice::Taken(vip, Taking::HandOver) => info!(%vip, "handed over to this peer"),
        Notice::Released(vip) => info!(%vip, "this peer does not announce it any more"),
        Notice::Conflict(vip, peer) => {
            info!(%vip, peer = name(*peer), "two sides of a partition announced it");
        }
        Notice::Foreign(vip, mac) => {
            warn!(%vip, %mac, "a station that is no peer in reach has this address");
        }
        Notice::Failed(vip, why) => warn!(%vip, why, "the address could not be changed here"),
        Notice::Lost(vip) => warn!(%vip, "somebody else took the address away from this machine"),
        Notice::Quarantined(peer, lasts) => warn!(
            peer = name(*peer),
            seconds = lasts.as_secs(),
            "it comes and goes: it gets no address for a while if others can hold them"
        ),
        Notice::Fitness(vip, None) => info!(%vip, "this peer can hold it"),
        Notice::Fitness(vip, Some(unfit)) => info!(%vip, why = %unfit, "this peer cannot hold it"),
        Notice::Uncovered(vip) => warn!(%vip, "no peer in reach can hold it"),
    }
}
