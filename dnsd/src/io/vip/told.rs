//! What the driver and the guard say to each other: a packet each, over a pair of sockets.

use crate::vip::ground::Place;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The packet that says that the main loop goes on begins with it; all others are JSON.
const BEAT: u8 = b'b';
/// Longest packet: a VIP of 32 addresses, each on two links, takes 3 KB.
pub(super) const PACKET_SIZE_MAX: usize = 32 << 10;

/// The packet of a beat. Eight bytes say how many microseconds ago it is that both threads had
/// gone on.
pub(super) fn beat(ago: Duration) -> [u8; 9] {
    let micros = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
    let mut packet = [BEAT; 9];
    packet[1..].copy_from_slice(&micros.to_be_bytes());
    packet
}

/// How long ago it is by such a packet; none if it is another one.
pub(super) fn beaten(packet: &[u8]) -> Option<Duration> {
    let (BEAT, micros) = packet.split_first().map(|(first, rest)| (*first, rest))? else {
        return None;
    };
    Some(Duration::from_micros(u64::from_be_bytes(
        micros.try_into().ok()?,
    )))
}

/// What the driver says to the guard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Tell {
    /// The first packet.
    Begin {
        /// After so long without a beat all is removed.
        lease: Duration,
        /// Whether another guard may be there.
        alone: Alone,
        /// Removed once nothing is left.
        record: Option<PathBuf>,
    },
    /// This is what a VIP has from here on. Said before it has more, and after it has less.
    Hold(IpAddr, Holding),
    /// These settings of the kernel are to be written at the end.
    Restore(Vec<KernelSetting>),
}

/// What the guard says to the driver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Say {
    /// It is there, and whether it may remove addresses; if not, why.
    Stands(Option<String>),
    /// Another guard is there: it waits for its end.
    Waits,
    /// No beat came for a lease: it runs the programs that release what it was told of.
    Removing,
    /// All that it was told of is gone, but for VIPs whose program failed.
    Removed(BTreeSet<IpAddr>),
}

/// Whether there may be another guard in this network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Alone {
    /// It waits until no other is there: two would take from each other.
    Yes,
    /// It is of no matter.
    No,
}

/// What is to be undone for a VIP.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Holding {
    /// Addresses to remove.
    pub(super) places: Vec<Place>,
    /// A program to run.
    pub(super) run: Option<Run>,
}

impl Holding {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.run.is_none()
    }
}

/// A program with its arguments and environment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// What is run.
    pub(super) program: PathBuf,
    /// With these arguments.
    pub(super) args: Vec<String>,
    /// These variables are set.
    pub(super) env: BTreeMap<String, String>,
    /// It is killed after so long.
    pub(super) timeout: Duration,
}

/// A file below `/proc/sys` and what it held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct KernelSetting {
    /// The file.
    pub(super) path: PathBuf,
    /// What it held.
    pub(super) value: String,
}

impl KernelSetting {
    /// True for what this daemon changes: a file on disk must not make it write anything else.
    pub(super) fn is_ours(&self) -> bool {
        let name = self.path.file_name();
        let is_known = name.is_some_and(|name| name == "arp_ignore" || name == "arp_announce");
        let interface = self.path.parent();
        // A path that ends in `..` has no file name.
        let is_interface = interface.is_some_and(|path| path.file_name().is_some());
        let base = interface.and_then(Path::parent);
        is_known && is_interface && base == Some(Path::new("/proc/sys/net/ipv4/conf"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_read_as_it_was_written() {
        let check = |packet: &[u8], expected| assert_eq!(beaten(packet), expected);
        for ago in [Duration::ZERO, Duration::from_micros(100_001)] {
            check(&beat(ago), Some(ago));
        }
        check(&beat(Duration::MAX), Some(Duration::from_micros(u64::MAX)));
        for other in [&b""[..], b"b", b"{\"Hold\":1", b"xxxxxxxxx"] {
            check(other, None);
        }
    }
}
