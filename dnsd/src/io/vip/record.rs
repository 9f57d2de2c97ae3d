//! The file that lists what was put into the kernel, written before it is there, so that a start
//! after a crash finds what the last run left.

use super::told::KernelSetting;
use crate::vip::ground::Place;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tracing::warn;

/// The name of the file in a data directory.
pub const RECORD: &str = "vips.json";

/// What the file lists.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// The start of the machine that it speaks of: nothing of it outlives the next one.
    boot: String,
    /// Addresses.
    pub(super) places: BTreeSet<Place>,
    /// What settings were before they were changed.
    pub(super) settings: Vec<KernelSetting>,
}

impl Record {
    /// Reads it; empty if it is of an earlier start of the machine, or not there.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let fresh = Self {
            boot: boot(),
            ..Self::default()
        };
        match fs::read(path) {
            Ok(text) => {
                let Ok(record) = serde_json::from_slice::<Self>(&text) else {
                    // It is renamed into its place whole, so only a loss of power tears it, and
                    // nothing that it lists outlives that.
                    warn!(file = %path.display(), "the list of virtual addresses is torn: ignored");
                    return Ok(fresh);
                };
                Ok(if record.boot == fresh.boot {
                    record
                } else {
                    fresh
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fresh),
            Err(error) => Err(error),
        }
    }

    /// Writes it. It need not outlive a loss of power, as what it lists does not.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        fs::write(&beside, serde_json::to_vec(self)?)?;
        fs::rename(beside, path)
    }
}

/// The settings by which a link answers ARP for its own addresses alone, and asks by ARP from its
/// own ones: who is ready for a VIP must not be taken for its holder.
pub(super) fn hush(interface: &str) -> [(PathBuf, &'static str); 2] {
    // With arp_announce below 2 a response that leaves from a ready VIP to a client that is not in
    // the cache of ARP asks for it in the name of the VIP, and moves the client here.
    [("arp_ignore", "1"), ("arp_announce", "2")].map(|(name, value)| {
        let folder = Path::new("/proc/sys/net/ipv4/conf").join(interface);
        (folder.join(name), value)
    })
}

/// Whether the settings are as they should be, or can be written. If not, what to do.
pub(super) fn can_hush(interface: &str) -> Result<(), String> {
    let all = Path::new("/proc/sys/net/ipv4/conf/all/arp_ignore");
    let of_all = fs::read_to_string(all).unwrap_or_default();
    // The kernel takes the higher one of `all` and of the interface.
    if !matches!(of_all.trim(), "0" | "1") {
        return Err(format!("{} must be 0 or 1", all.display()));
    }
    for (path, value) in hush(interface) {
        let is_so = fs::read_to_string(&path).is_ok_and(|text| text.trim() == value);
        if !is_so && let Err(error) = fs::OpenOptions::new().write(true).open(&path) {
            return Err(format!(
                "cannot write {}: {error}; permit it, or set it to {value}",
                path.display()
            ));
        }
    }
    Ok(())
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
