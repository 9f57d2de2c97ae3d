//! The order in which the kernel closes what a killed process had open.
//!
//! It goes from the highest descriptor down, one after another, and each packet socket (by which
//! VIPs are announced) takes it a grace period of RCU, ten milliseconds and more. What others wait
//! for as the sign of the end must not come after those.

use std::os::fd::{OwnedFd, RawFd};

/// High enough to be above all others but connections of clients, low enough for a usual limit of
/// 1 024.
const EARLY: RawFd = 512;
/// Above those, of which there are a few for each neighbor and some that have not said whose they
/// are.
const FIRST: RawFd = 768;

/// The same under a descriptor that is closed early. Where so few may be open that there is none,
/// the old one: the end is seen late, and all else is the same.
#[must_use]
pub fn closed_early(descriptor: OwnedFd) -> OwnedFd {
    at_least(EARLY, descriptor).unwrap_or_else(|low| low)
}

/// The same under a descriptor that is closed before those that are closed early. A process that
/// others hinder takes long from one to the next, so the order decides who sees the end first.
#[must_use]
pub fn closed_first(descriptor: OwnedFd) -> OwnedFd {
    at_least(FIRST, descriptor).unwrap_or_else(closed_early)
}

/// The same under a descriptor that is at least so high; the old one if none is free.
fn at_least(lowest: RawFd, descriptor: OwnedFd) -> Result<OwnedFd, OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(&descriptor, lowest).map_err(|_full| descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_is_closed_first_is_above_what_is_closed_early_and_that_above_all_else() {
        let open = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let first = closed_first(open());
        let early = closed_early(open());
        let usual = open();
        assert!(first.as_raw_fd() > early.as_raw_fd());
        assert!(early.as_raw_fd() > usual.as_raw_fd());
    }
}
