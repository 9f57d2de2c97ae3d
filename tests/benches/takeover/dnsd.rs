//! dnsd itself: one cluster on all hosts, which serves the zone and moves the VIPs.

use crate::contender::{Contender, Event};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::time::Duration;
use tempfile::TempDir;
use tests::cluster::{add_vip, peers_on};
use tests::daemon::Daemon;
use tests::figures::Extent;
use tests::segment::Segment;

/// A cluster on all hosts of a segment.
pub(crate) struct Dnsd {
    profile: &'static str,
    peers: Vec<Daemon>,
    folder: TempDir,
}

impl Dnsd {
    /// With this profile of the overlay; nothing runs yet.
    pub(crate) fn new(profile: &'static str) -> Self {
        Self {
            profile,
            folder: tempfile::tempdir().unwrap(),
            peers: Vec::new(),
        }
    }
}

impl Contender for Dnsd {
    fn start(&mut self, segment: &Segment, vips: &[IpAddr]) {
        let args = ["--overlay-profile", self.profile];
        self.peers = peers_on(segment, self.folder.path(), &args);
        for vip in vips {
            add_vip(&self.peers, &[*vip], &[]);
        }
    }

    fn strike(&mut self, event: Event, host: usize) {
        let peer = &mut self.peers[host];
        match event {
            Event::Killed => peer.kill(),
            Event::Stopped => peer.stop(),
            Event::Frozen => peer.signal("-STOP"),
            Event::Drained => drop(peer.ask(&["vip", "drain"])),
            Event::ServerKilled => unreachable!("it is the DNS server"),
            Event::Silent | Event::Cable => unreachable!("a matter of the segment"),
        }
    }

    fn make_good(&mut self, event: Event, host: usize) {
        let peer = &mut self.peers[host];
        match event {
            Event::Killed | Event::Stopped => peer.restart(),
            Event::Frozen => peer.signal("-CONT"),
            Event::Drained => drop(peer.ask(&["vip", "resume"])),
            Event::ServerKilled => unreachable!("it is the DNS server"),
            Event::Silent | Event::Cable => unreachable!("a matter of the segment"),
        }
    }

    fn events(&self, extent: Extent) -> Vec<Event> {
        let all = [
            Event::Silent,
            Event::Stopped,
            Event::Cable,
            Event::Killed,
            Event::Frozen,
            Event::Drained,
        ];
        all[..extent.choose(2, all.len())].to_vec()
    }

    fn calm(&self) -> Duration {
        // The VIPs are spread anew five seconds after a host is back, one after the other.
        Duration::from_secs(7)
    }
}

impl Display for Dnsd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "dnsd {}", self.profile)
    }
}
