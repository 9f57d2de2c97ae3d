//! Whether anything at all is heard on a link: a machine whose frames come in nowhere must not
//! hold what all of its segment asks for.
//!
//! ```text
//!  heard ─ no frame for a lease, and somebody to ask ─▶ asking ─ 3 unanswered ─▶ deaf
//!    ▲                                                     │                      │
//!    └──────────────────── a frame came in ────────────────┴──────────────────────┘
//! ```

use super::netlink::Netlink;
use crate::io::clock;
use crate::vip::ground::{Carrier, Ours};
use crate::vip::kernel::Mac;
use std::collections::BTreeMap;
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
/// A station that said nothing for longer may be gone for good.
const KNOWN_FOR: Duration = Duration::from_secs(300);

/// What is known of a link.
#[derive(Debug)]
pub(super) struct Hearing {
    /// The kernel's count of frames, and when it last rose.
    count: Option<u64>,
    heard: Instant,
    next: Instant,
    state: State,
    /// Stations that spoke by ARP or neighbor discovery, and when.
    known: BTreeMap<IpAddr, (Mac, Instant)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Frames come, or there is nobody to ask.
    Heard,
    /// These were asked so many times.
    Asking(u32, Vec<(IpAddr, Option<Mac>)>),
    /// Nobody has answered.
    Deaf,
}

impl Hearing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            count: None,
            heard: now,
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
                let asked = self.who_answers(index).await;
                if !asked.is_empty() {
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
                let asked = self.who_answers(index).await;
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

    fn ask_round(&mut self, index: u32, round: u32, asked: Vec<(IpAddr, Option<Mac>)>) {
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

    /// Who can be expected to answer: the gateways, then whom kernel and driver know.
    async fn who_answers(&self, index: u32) -> Vec<(IpAddr, Option<Mac>)> {
        // What cannot be read names nobody.
        let gateways = self.tables.gateways(index).await.unwrap_or_default();
        let neighbors = self.tables.neighbors(index).await.unwrap_or_default();
        let known = self.hearing.get(&index).into_iter();
        let known = known.flat_map(|hearing| &hearing.known);
        let mac_of = |address| {
            let mut neighbors = neighbors.iter();
            neighbors
                .find(|(other, _)| *other == address)
                .map(|(_, mac)| *mac)
        };
        let mut asked: Vec<(IpAddr, Option<Mac>)> = Vec::new();
        let all = gateways
            .iter()
            .map(|address| (*address, mac_of(*address)))
            .chain(
                neighbors
                    .iter()
                    .map(|(address, mac)| (*address, Some(*mac))),
            )
            .chain(known.map(|(address, (mac, _))| (*address, Some(*mac))));
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
        asked
    }
}
