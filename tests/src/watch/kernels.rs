//! Which kernels announce which VIPs: what rtnetlink says of the addresses of all hosts.
//!
//! One socket in the switch hears all namespaces, so the changes come in the order in which the
//! kernel made them, and a withdrawal before a take is never seen after it. The time of a change is
//! that at which the observer read it: on a machine that is busy that is later, for all alike.
//!
//! The kernel tells of a new IPv6 address a moment later than it answers for it, and does not if it
//! has gone meanwhile: what is seen as nobody may be somebody for that moment.
//!
//! An address on `lo` is not announced; nobody answers for it.

use super::timeline::{Change, Held, held};
use super::worker::Worker;
use crate::raw::AddressSocket;
use crate::segment::Segment;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// `lo` has this index in every namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Longest message that the kernel sends here.
const MESSAGE_SIZE_MAX: usize = 32 << 10;

/// Watches the kernels of a segment from when it is made; ends when it is dropped.
pub struct Kernels {
    changes: Arc<Mutex<BTreeMap<IpAddr, Vec<Change>>>>,
    _reader: Worker,
}

impl Kernels {
    /// Begins to watch. Nobody may hold one of the VIPs yet: what is there is not asked for.
    #[must_use]
    pub fn watch(segment: &Segment, vips: &[IpAddr]) -> Self {
        let socket = segment.switch().within(AddressSocket::open).unwrap();
        let changes: BTreeMap<IpAddr, Vec<Change>> =
            vips.iter().map(|vip| (*vip, Vec::new())).collect();
        let changes = Arc::new(Mutex::new(changes));
        let reader = Worker::start({
            let changes = Arc::clone(&changes);
            move |ends| read(&socket, &changes, ends)
        });
        Self {
            changes,
            _reader: reader,
        }
    }

    /// Who announces a VIP now, whether the client reaches them or not.
    #[must_use]
    pub fn announcers(&self, vip: IpAddr) -> Vec<usize> {
        let mut announcers = Vec::new();
        for change in &self.changes.lock().unwrap()[&vip] {
            announcers.retain(|host| *host != change.host);
            if change.announces {
                announcers.push(change.host);
            }
        }
        announcers
    }

    /// The one host among `reached` that announces a VIP now; none if nobody does, or two.
    #[must_use]
    pub fn holder(&self, vip: IpAddr, reached: &[usize]) -> Option<usize> {
        let mut announcers = self.announcers(vip);
        announcers.retain(|host| reached.contains(host));
        match announcers[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// When a kernel last began or ceased to announce any VIP.
    #[must_use]
    pub fn last_change(&self) -> Option<Instant> {
        let changes = self.changes.lock().unwrap();
        changes.values().filter_map(|of| Some(of.last()?.at)).max()
    }

    /// How a VIP was held.
    #[must_use]
    pub fn held(&self, segment: &Segment, vip: IpAddr, from: Instant, until: Instant) -> Held {
        let changes = self.changes.lock().unwrap();
        held(&changes[&vip], segment.islands(), from, until)
    }

    /// What a failed test shows: all changes of a VIP since a moment, in milliseconds.
    #[must_use]
    pub fn show(&self, vip: IpAddr, since: Instant) -> String {
        let changes = self.changes.lock().unwrap();
        let shown = changes[&vip].iter().map(|change| {
            let sign = if change.announces { '+' } else { '-' };
            let after = change.at.saturating_duration_since(since).as_millis();
            format!("{after}: {sign}{}", change.host)
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

fn read(socket: &AddressSocket, changes: &Mutex<BTreeMap<IpAddr, Vec<Change>>>, ends: &AtomicBool) {
    let mut buffer = vec![0; MESSAGE_SIZE_MAX];
    while !ends.load(Ordering::Relaxed) {
        let received = socket.receive(&mut buffer).expect("no message is lost");
        let Some(received) = received else { continue };
        // Messages of the switch itself carry no id; the client holds no VIP.
        let Some(host) = received.namespace else {
            continue;
        };
        let mut changes = changes.lock().unwrap();
        for said in Said::read_all(&buffer[..received.size]) {
            let Some(of_vip) = changes.get_mut(&said.address) else {
                continue;
            };
            of_vip.push(Change {
                at: received.at,
                host: host as usize,
                announces: said.is_there,
            });
        }
    }
}

/// What a message of rtnetlink says of an address on an interface other than `lo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    address: IpAddr,
    is_there: bool,
}

impl Said {
    /// Reads messages: `nlmsghdr` (length, type, …), `ifaddrmsg` (family, prefix, flags, scope,
    /// index), then attributes (length, type, value), each at a multiple of four.
    fn read_all(mut bytes: &[u8]) -> Vec<Self> {
        const HEADER_SIZE: usize = 16;
        let mut all = Vec::new();
        while let Some(size) = native_u32(bytes, 0) {
            let message = bytes.get(HEADER_SIZE..size as usize);
            let message = message.expect("the kernel sends whole messages");
            let kind = native_u32(bytes, 4).expect("there is a header") as u16;
            all.extend(Self::read(kind, message));
            bytes = &bytes[(size as usize).next_multiple_of(4).min(bytes.len())..];
        }
        all
    }

    fn read(kind: u16, message: &[u8]) -> Option<Self> {
        const ADDRESS_HEADER_SIZE: usize = 8;
        let is_there = match kind {
            libc::RTM_NEWADDR => true,
            libc::RTM_DELADDR => false,
            _ => return None,
        };
        if native_u32(message, 4)? == LOOPBACK_INDEX {
            return None;
        }
        let mut flags = u32::from(message[2]);
        let (mut of_peer, mut local) = (None, None);
        let mut rest = &message[ADDRESS_HEADER_SIZE..];
        while let Some(head) = native_u32(rest, 0) {
            let (size, kind) = ((head & 0xffff) as usize, (head >> 16) as u16);
            let value = rest.get(4..size)?;
            match kind {
                libc::IFA_ADDRESS => of_peer = read_address(value),
                libc::IFA_LOCAL => local = read_address(value),
                libc::IFA_FLAGS => flags = native_u32(value, 0)?,
                _ => {}
            }
            rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        }
        // While it is looked for duplicates, nobody answers for it.
        let is_tentative = flags & libc::IFA_F_TENTATIVE != 0;
        (!is_tentative || !is_there).then_some(Self {
            address: local.or(of_peer)?,
            is_there,
        })
    }
}

fn read_address(value: &[u8]) -> Option<IpAddr> {
    let ip4 = <[u8; 4]>::try_from(value).map(|octets| Ipv4Addr::from(octets).into());
    let ip6 = <[u8; 16]>::try_from(value).map(|octets| Ipv6Addr::from(octets).into());
    ip4.or(ip6).ok()
}

fn native_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::until;
    use crate::segment::{vip, vip6, with_prefix};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn kernels_are_seen_to_announce_and_withdraw_in_their_order() {
        let segment = Segment::new(3);
        for vip in [vip(0), vip6(0)] {
            let kernels = Kernels::watch(&segment, &[vip]);
            let address = with_prefix(vip);
            let ip = |host: usize, what: &str, interface: &str| {
                let nodad = if vip.is_ipv6() && what == "add" {
                    "nodad"
                } else {
                    ""
                };
                let namespace = &segment.hosts[host].namespace;
                namespace.ip(&format!(
                    "address {what} {address} dev {interface} {nodad}\n"
                ));
            };
            let wait = |expected: &[usize]| {
                until(PATIENCE, &format!("{expected:?} announce"), || {
                    (kernels.announcers(vip) == expected).then_some(())
                });
            };
            let start = Instant::now();
            // On `lo` it is not announced; what is seen next came later.
            ip(0, "add", "lo");
            ip(1, "add", "eth0");
            wait(&[1]);
            for _ in 0..20 {
                ip(1, "delete", "eth0");
                ip(2, "add", "eth0");
                wait(&[2]);
                ip(2, "delete", "eth0");
                ip(1, "add", "eth0");
                wait(&[1]);
            }
            ip(2, "add", "eth0");
            wait(&[1, 2]);
            ip(1, "delete", "eth0");
            wait(&[2]);
            assert_eq!(kernels.holder(vip, &[0, 1]), None);
            assert_eq!(kernels.holder(vip, &[0, 2]), Some(2));
            let held = kernels.held(&segment, vip, start, Instant::now());
            assert_eq!(
                (held.times_by_two, held.takes),
                (1, 42),
                "{}",
                kernels.show(vip, start)
            );
            assert!(kernels.last_change() > Some(start));
        }
    }
}
