//! Who has a VIP? The segment is asked by ARP or neighbor discovery, and who answers by DNS.
//!
//! ```text
//!  question ─▶ (half the time) again ─▶ no answer: nobody
//!      └─ a station answers ─▶ DNS request to it ─▶ a response: server
//!                                    └─ none: station
//! ```

use super::netlink::Netlink;
use crate::io::clock;
use crate::vip::address::VipId;
use crate::vip::frames;
use crate::vip::ground::Ours;
use crate::vip::kernel::{Heard, Mac, Report};
use std::net::IpAddr;
use std::time::Instant;

/// Stations that are asked for one VIP; more than one is a fault already.
const STATIONS_MAX: usize = 8;

/// A question under way.
#[derive(Debug)]
pub(super) struct Ask {
    vip: VipId,
    /// Each address, the link where it is asked for, and from which address.
    places: Vec<(IpAddr, u32, IpAddr)>,
    /// The id of the DNS requests.
    id: u16,
    again: Option<Instant>,
    end: Instant,
    stations: Vec<(Mac, IpAddr)>,
}

impl Ask {
    pub(super) fn next(&self) -> Instant {
        self.again.map_or(self.end, |again| again.min(self.end))
    }
}

impl Netlink {
    /// Asks the segment who has a VIP.
    pub(super) fn ask(&mut self, vip: VipId) {
        let (addresses, placed) = self.ours();
        let ours = Ours {
            addresses: &addresses,
            placed: &placed,
        };
        let group = self.vips.get(&vip).into_iter().flatten();
        let places = group.filter_map(|address| {
            let index = self.ground.fit(address, ours).ok()?;
            let source = self.ground.source(index, address.address, ours)?;
            Some((address.address, index, source))
        });
        let places: Vec<_> = places.collect();
        if places.is_empty() {
            // Where nobody can be asked, nobody answers.
            return (self.report)(Report::Segment(vip, Heard::Nobody));
        }
        let now = clock::now();
        let ask = Ask {
            vip,
            places,
            id: fastrand::u16(..),
            again: Some(now + self.settings.answer / 2),
            end: now + self.settings.answer,
            stations: Vec::new(),
        };
        self.send_questions(&ask);
        self.asks.push(ask);
    }

    /// Repeats questions and ends those whose time is over.
    pub(super) fn turn_asks(&mut self, now: Instant) {
        let mut asks = std::mem::take(&mut self.asks);
        asks.retain_mut(|ask| {
            if ask.end <= now {
                let heard = match ask.stations.first() {
                    Some((mac, _)) => Heard::Station(*mac),
                    None => Heard::Nobody,
                };
                (self.report)(Report::Segment(ask.vip, heard));
                return false;
            }
            if ask.again.is_some_and(|again| again <= now) {
                ask.again = None;
                self.send_questions(ask);
            }
            true
        });
        self.asks = asks;
    }

    /// A station says that an address is its own.
    pub(super) fn hear_answer(&mut self, index: u32, mac: Mac, address: IpAddr) {
        let mut asks = std::mem::take(&mut self.asks);
        for ask in &mut asks {
            let is_asked =
                |(asked, at, _): &&(IpAddr, u32, IpAddr)| (*asked, *at) == (address, index);
            let station = (mac, address);
            let is_known = ask.stations.contains(&station) || ask.stations.len() == STATIONS_MAX;
            if let Some((_, _, source)) = ask.places.iter().find(is_asked)
                && !is_known
            {
                ask.stations.push(station);
                ask.end = clock::now() + self.settings.answer;
                self.send_request(index, *source, station, ask.id);
            }
        }
        self.asks = asks;
    }

    /// A datagram came to the port of the probes.
    pub(super) fn hear_response(&mut self, mac: Mac, source: IpAddr, payload: &[u8]) {
        let asked = self.asks.iter().position(|ask| {
            ask.stations.iter().any(|(_, address)| *address == source)
                && frames::is_dns_response(payload, ask.id)
        });
        if let Some(asked) = asked {
            let ask = self.asks.swap_remove(asked);
            (self.report)(Report::Segment(ask.vip, Heard::Server(mac)));
        }
    }

    fn send_questions(&self, ask: &Ask) {
        for (address, index, _) in &ask.places {
            if let (Some(mac), Some(segment)) = (self.ground.mac(*index), self.segment(*index)) {
                segment.send(&frames::probe(mac, *address));
            }
        }
        // Those that have answered are asked by DNS again.
        for station in &ask.stations {
            let place = ask
                .places
                .iter()
                .find(|(address, ..)| *address == station.1);
            if let Some((_, index, source)) = place {
                self.send_request(*index, *source, *station, ask.id);
            }
        }
    }

    /// Asks who has an address; `to` is one station or none in particular.
    pub(super) fn send_question(
        &self,
        index: u32,
        source: IpAddr,
        target: IpAddr,
        to: Option<Mac>,
    ) {
        if let (Some(mac), Some(segment)) = (self.ground.mac(index), self.segment(index))
            && let Some(frame) = frames::question(mac, source, target, to)
        {
            segment.send(&frame);
        }
    }

    fn send_request(&self, index: u32, source: IpAddr, station: (Mac, IpAddr), id: u16) {
        let port = self.settings.dns_port;
        if let (Some(mac), Some(segment)) = (self.ground.mac(index), self.segment(index))
            && let Some(frame) = frames::datagram(
                (mac, source, self.probe.port()),
                (station.0, station.1, port),
                &frames::dns_request(id),
            )
        {
            segment.send(&frame);
        }
    }
}
