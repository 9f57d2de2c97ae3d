//! One line for what an operator may want to read of virtual addresses, and one only: what goes on
//! is said once until it changes.

use super::clock;
use crate::vip::address::VipId;
use crate::vip::failover::{Notice, Taking};
use crate::vip::kernel::Mac;
use replication::Members;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// What goes on for longer is said again.
const AGAIN: Duration = Duration::from_secs(600);

/// What was said last of each VIP, of what may be seen again and again.
#[derive(Default)]
pub(super) struct VipLog {
    foreign: BTreeMap<VipId, (Mac, Instant)>,
    failed: BTreeMap<VipId, (String, Instant)>,
}

impl VipLog {
    /// Says it, unless that has been said.
    pub(super) fn log(&mut self, notice: &Notice, members: &Members) {
        if self.is_news(notice, clock::now()) {
            say(notice, members);
        }
    }

    fn is_news(&mut self, notice: &Notice, now: Instant) -> bool {
        match notice {
            Notice::Foreign(vip, mac) => note(&mut self.foreign, *vip, mac, now),
            Notice::Failed(vip, why) => note(&mut self.failed, *vip, why, now),
            // It is here: whatever was wrong has come to its end.
            Notice::Taken(vip, _) => {
                self.foreign.remove(vip);
                self.failed.remove(vip);
                true
            }
            Notice::Released(_)
            | Notice::Conflict(..)
            | Notice::Lost(_)
            | Notice::Quarantined(..)
            | Notice::Fitness(..)
            | Notice::Uncovered(_) => true,
        }
    }
}

fn note<T: Clone + PartialEq>(
    said: &mut BTreeMap<VipId, (T, Instant)>,
    vip: VipId,
    what: &T,
    now: Instant,
) -> bool {
    said.retain(|_, (_, at)| now < *at + AGAIN);
    let is_news = said.get(&vip).is_none_or(|(last, _)| last != what);
    if is_news {
        said.insert(vip, (what.clone(), now));
    }
    is_news
}

fn say(notice: &Notice, members: &Members) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn what_goes_on_is_said_once() {
        let [a, b] = [1, 2].map(|last| VipId(IpAddr::from([192, 0, 2, last])));
        let [x, y] = [1, 2].map(|last| Mac([last; 6]));
        let failed = |why: &str| Notice::Failed(a, why.to_owned());
        let start = clock::now();
        let mut log = VipLog::default();
        for (after, notice, is_news) in [
            (0, Notice::Foreign(a, x), true),
            (0, Notice::Foreign(a, x), false),
            (0, Notice::Foreign(b, x), true),
            (1, Notice::Foreign(a, y), true),
            (2, Notice::Released(a), true),
            (3, Notice::Foreign(a, y), false),
            (4, failed("refused"), true),
            (5, failed("refused"), false),
            (6, failed("no session"), true),
            (7, Notice::Taken(a, Taking::Takeover), true),
            (8, failed("no session"), true),
            (9, Notice::Foreign(a, y), true),
            (10, Notice::Foreign(a, y), false),
            (609, Notice::Foreign(a, y), true),
        ] {
            let now = start + Duration::from_secs(after);
            assert_eq!(log.is_news(&notice, now), is_news, "{after} s: {notice:?}");
        }
    }
}
