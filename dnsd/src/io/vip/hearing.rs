//! Whether anything at all is heard on a link: a machine whose frames come in nowhere must not
//! hold what all of its segment asks for.
//!
//! ```text
//!  heard ─ no frame for a lease, and witnesses to ask ─▶ asking ─ 3 unanswered ─▶ deaf
//!    ▲                                                     │                      │
//!    └──────────────────── a frame came in ────────────────┴──────────────────────┘
//! ```
//!
//! One station alone is no witness: if it is silent it may as well be gone, and it may be the very
//! peer whose VIPs are to be taken.

use super::netlink::Netlink;
use crate::io::clock;
use crate::vip::ground::{Carrier, Ours};
use crate::vip::kernel::Mac;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tracing::debug;

/// How long each of the questions is waited for.
const ROUND: Duration = Duration::from_millis(5);
/// So many questions are asked.
const ROUNDS: u32 = 3;
/// Stations that are asked.
const ASKED_MAX: usize = 4;
/// Stations that are remembered.
const KNOWN_MAX: usize = 16;
/// So many stations are not all gone at once.
const WITNESSES_MIN: usize = 2;
/// A station that said nothing for longer may be gone for good.
const KNOWN_FOR: Duration = Duration::from_secs(300);

/// What is known of a link.
#[derive(Debug)]
pub(super) struct Hearing {
    /// The kernel's count of frames, and when it last rose.
    count: Option<u64>,
    heard: Instant,
    ever: Ever,
    next: Instant,
    state: State,
    /// Stations that spoke by ARP or neighbor discovery, and when.
    known: BTreeMap<IpAddr, (Mac, Instant)>,
}

/// Whether a frame has come since the link is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ever {
    Heard,
    Silent,
}

/// Whom to ask: an address and, of those that were heard before, that of its Ethernet.
type Asked = (IpAddr, Option<Mac>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Frames come, or there is nobody to ask.
    Heard,
    /// These were asked so many times.
    Asking(u32, Vec<Asked>),
    /// Nobody has answered.
    Deaf,
}

impl Hearing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            count: None,
            heard: now,
            ever: Ever::Silent,
            next: now,
            state: State::Heard,
            known: BTreeMap::new(),
        }
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.state == State::Deaf
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

impl Netlink {
    /// Remembers who can be asked whether this machine hears.
    pub(super) fn remember(&mut self, index: u32, address: IpAddr, mac: Mac) {
        let Some(hearing) = self.hearing.get_mut(&index) else {
            return;
        };
        let now = clock::now();
        hearing.known.retain(|_, (_, seen)| now < *seen + KNOWN_FOR);
        if hearing.known.len() < KNOWN_MAX || hearing.known.contains_key(&address) {
            hearing.known.insert(address, (mac, now));
        }
    }

    /// Looks at the links whose time has come.
    pub(super) async fn hear_due(&mut self, now: Instant) {
        let due: Vec<u32> = self
            .hearing
            .iter()
            .filter(|(_, hearing)| hearing.next <= now)
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            self.hear(index).await;
        }
    }

    async fn hear(&mut self, index: u32) {
        let lease = self.settings.lease;
        let received = self.tables.received(index).await;
        let now = clock::now();
        let link = self.ground.links.get(&index);
        let (Some(hearing), Some(link)) = (self.hearing.get_mut(&index), link) else {
            return;
        };
        hearing.next = now + lease / 2;
        let count = match received {
            Ok((count, carrier)) => {
                if carrier != link.carrier {
                    // The kernel's news of a lost carrier may be a second late.
                    return self.refresh().await;
                }
                count
            }
            // It is going away, of which the news come.
            Err(error) => return debug!(%error, "a link cannot be read"),
        };
        let is_quiet = hearing.count == Some(count) && link.carrier == Carrier::Up;
        if !is_quiet {
            if hearing.count.is_some_and(|before| before != count) {
                hearing.ever = Ever::Heard;
            }
            hearing.count = Some(count);
            hearing.heard = now;
            let was_deaf = hearing.is_deaf();
            hearing.state = State::Heard;
            if was_deaf {
                self.tell_can();
            }
            return;
        }
        if now < hearing.heard + lease {
            hearing.next = hearing.next.min(hearing.heard + lease);
            return;
        }
        match hearing.state.clone() {
            State::Heard => {
                let ever = hearing.ever;
                let (gateways, asked) = self.who_answers(index).await;
                if are_witnesses(&asked, &gateways, ever) {
                    self.ask_round(index, 1, asked);
                }
            }
            State::Asking(rounds, asked) if rounds < ROUNDS => {
                self.ask_round(index, rounds + 1, asked);
            }
            State::Asking(..) => {
                hearing.state = State::Deaf;
                self.tell_can();
            }
            // Somebody may answer again though nobody else speaks.
            State::Deaf => {
                let (_, asked) = self.who_answers(index).await;
                if asked.is_empty() {
                    // There is nobody whose silence could say anything.
                    if let Some(hearing) = self.hearing.get_mut(&index) {
                        hearing.state = State::Heard;
                    }
                    self.tell_can();
                }
                for (address, mac) in asked {
                    self.ask_one(index, address, mac);
                }
            }
        }
    }

    fn ask_round(&mut self, index: u32, round: u32, asked: Vec<Asked>) {
        // One at first: on a quiet segment this happens each lease.
        let first = if round == 1 { 1 } else { asked.len() };
        for (address, mac) in &asked[..first] {
            self.ask_one(index, *address, *mac);
        }
        if let Some(hearing) = self.hearing.get_mut(&index) {
            hearing.state = State::Asking(round, asked);
            hearing.next = clock::now() + ROUND;
        }
    }

    fn ask_one(&self, index: u32, address: IpAddr, mac: Option<Mac>) {
        let (addresses, placed) = self.ours();
        let ours = Ours {
            addresses: &addresses,
            placed: &placed,
        };
        if let Some(source) = self.ground.source(index, address, ours) {
            self.send_question(index, source, address, mac);
        }
    }

    /// The gateways, and who can be expected to answer: they, then whom kernel and driver know.
    async fn who_answers(&self, index: u32) -> (Vec<IpAddr>, Vec<Asked>) {
        // What cannot be read names nobody.
        let gateways = self.tables.gateways(index).await.unwrap_or_default();
        let neighbors = self.tables.neighbors(index).await.unwrap_or_default();
        let known = self.hearing.get(&index).into_iter();
        let known = known.flat_map(|hearing| &hearing.known);
        let mac_of = |address| {
            let mut neighbors = neighbors.iter();
            let neighbor = neighbors.find(|(other, _)| *other == address);
            let neighbor = neighbor.map(|(_, mac)| *mac);
            let spoke = || known.clone().find(|(other, _)| **other == address);
            neighbor.or_else(|| spoke().map(|(_, (mac, _))| *mac))
        };
        let mut asked: Vec<Asked> = Vec::new();
        let all = gateways
            .iter()
            .map(|address| (*address, mac_of(*address)))
            .chain(
                neighbors
                    .iter()
                    .map(|(address, mac)| (*address, Some(*mac))),
            )
            .chain(
                known
                    .clone()
                    .map(|(address, (mac, _))| (*address, Some(*mac))),
            );
        for (address, mac) in all {
            let is_new = asked.iter().all(|(other, _)| *other != address);
            // A VIP may be at home anywhere, or nowhere.
            let is_vip = self
                .vips
                .values()
                .flatten()
                .any(|vip| vip.address == address);
            let is_group = address.is_multicast() || address.is_unspecified();
            if is_new && !is_vip && !is_group && asked.len() < ASKED_MAX {
                asked.push((address, mac));
            }
        }
        (gateways, asked)
    }
}

/// Whether the silence of all of these says that this machine does not hear: of a gateway that was
/// heard before or, where nothing ever was, should be; or of more than one station.
fn are_witnesses(asked: &[Asked], gateways: &[IpAddr], ever: Ever) -> bool {
    let mut by_gateway = asked
        .iter()
        .filter(|(address, _)| gateways.contains(address));
    // One station may have several addresses.
    let stations: BTreeSet<Mac> = asked.iter().filter_map(|(_, mac)| *mac).collect();
    by_gateway.any(|(_, mac)| mac.is_some() || ever == Ever::Silent)
        || stations.len() >= WITNESSES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_station_is_no_witness() {
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        let station = |last, mac| (ip(last), Some(Mac([mac; 6])));
        let check = |asked: &[Asked], gateways: &[IpAddr], ever, expected| {
            let are = are_witnesses(asked, gateways, ever);
            assert_eq!(are, expected, "{asked:?} {gateways:?} {ever:?}");
        };
        for ever in [Ever::Heard, Ever::Silent] {
            check(&[], &[], ever, false);
            check(&[station(7, 7)], &[], ever, false);
            check(&[station(7, 7), station(8, 7)], &[], ever, false);
            check(&[station(7, 7), station(8, 8)], &[], ever, true);
            check(&[station(1, 1)], &[ip(1)], ever, true);
        }
        let unheard = [(ip(1), None)];
        check(&unheard, &[ip(1)], Ever::Silent, true);
        check(&unheard, &[ip(1)], Ever::Heard, false);
        check(&[unheard[0], station(7, 7)], &[ip(1)], Ever::Heard, false);
    }
}
