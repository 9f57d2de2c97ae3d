//! The order in which the kernel closes what a killed process had open.
//!
//! It goes from the highest descriptor down, one after another, and each packet socket (by which
//! VIPs are announced) takes it a grace period of RCU, ten milliseconds and more. What others wait
//! for as the sign of the end must not come after those.

use std::os::fd::OwnedFd;

/// High enough to be above all others but connections of clients, low enough for a usual limit of
/// 1 024.
const HIGH: i32 = 512;

/// The same under a descriptor that is closed early. Where so few may be open that there is none,
/// the old one: the end is seen late, and all else is the same.
#[must_use]
pub fn closed_early(descriptor: OwnedFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(&descriptor, HIGH).unwrap_or(descriptor)
}
