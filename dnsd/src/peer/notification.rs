//! The messages by which servers outside are told that a zone has changed (RFC 1996). Who is told,
//! and when, is decided in `notify.rs`.

use super::{Effect, Peer};
use crate::message::Header;
use crate::message::Opcode;
use crate::message::header::AA;
use crate::notify::{Notice, Notifier, Standing};
use crate::remote::Remote;
use crate::state::State;
use crate::tsig::outgoing::{is_signed, sign};
use crate::vip::address::VipId;
use crate::zone_settings::NotifyNs;
use bytes::{BufMut, Bytes};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use zones::rdata::{target, with_soa_serial};
use zones::rtype::{Class, Rtype};
use zones::{Name, Rcode};

/// RCODE of a message that could not be signed, as there is no such key (RFC 8945 section 3).
const BADKEY: Rcode = Rcode(17);
const HEADER_SIZE: u16 = 12;
const DNS_PORT: u16 = 53;

impl Peer {
    /// A datagram came to where these messages are sent from.
    pub fn handle_notify_response(
        &mut self,
        from: SocketAddr,
        message: &[u8],
        wall: Duration,
        now: Instant,
    ) {
        let Ok(header) = Header::read(message) else {
            return;
        };
        if !header.is_response() || header.opcode() != Opcode::NOTIFY {
            return;
        }
        let Some((asked, mac)) = self.notifier.awaited(header.id()) else {
            return;
        };
        // RFC 8945 section 5.4: what is not signed as it should be is no response.
        if let Some(name) = &asked.key {
            let keys = self.fold.now().keys();
            let is_good = |key| is_signed(message, key, mac, wall);
            if !keys.get(name).is_some_and(is_good) {
                return;
            }
        }
        let rcode = Rcode(header.flags() & 15);
        self.notifier.handle_response(header.id(), from, rcode, now);
        self.called = Some((wall, now));
    }

    /// Who is told of a zone, and what each has acknowledged to this peer.
    #[must_use]
    pub fn notified(&self, origin: &Name) -> Vec<Standing> {
        self.notifier.standing(origin)
    }

    /// Who tells others of changes.
    #[must_use]
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Looks at who publishes together, and which of the zones are shown with other serials.
    pub(super) fn look_for_notices(&mut self, looked_at: &[Name], now: Instant) {
        let has_any = |origin| self.fold.now().settings(origin).is_some();
        if !self.notifier.has_zones() && !looked_at.iter().any(has_any) {
            return;
        }
        let view = self.replica.view().filter(|_| self.replica.may_publish());
        let members = view.map(|(_, members)| members.into_iter().collect());
        self.notifier.handle_view(members.unwrap_or_default());
        for origin in looked_at {
            let targets = targets(origin, self.fold.now());
            let zone = self.publisher.table().get(origin);
            match zone.and_then(|zone| zone.shown.as_ref()) {
                Some(shown) if !targets.is_empty() => {
                    let serial = shown.serial;
                    self.notifier.handle_shown(origin, serial, targets, now);
                }
                _ => self.notifier.handle_gone(origin),
            }
        }
    }

    /// Sends what is due.
    pub(super) fn send_notices(&mut self, wall: Duration, now: Instant) {
        let mut sent = 0;
        while sent < Notifier::SENDS_MAX
            && let Some(notice) = self.notifier.poll_notice(now)
        {
            sent += 1;
            self.send_notice(&notice, wall, now);
        }
        self.notifier.pause(sent, now);
    }

    fn send_notice(&mut self, notice: &Notice, wall: Duration, now: Instant) {
        let to = notice.target.address;
        let key = match &notice.target.key {
            None => None,
            Some(name) => match self.fold.now().keys().get(name) {
                Some(key) => Some(key),
                None => {
                    self.notifier.handle_response(notice.id, to, BADKEY, now);
                    return;
                }
            },
        };
        let mut message = message(notice, self.publisher.published());
        if let Some(key) = key {
            let mac = sign(&mut message, key, wall);
            self.notifier.set_mac(notice.id, mac);
        }
        self.effects
            .push_back(Effect::Notify(to, Bytes::from(message)));
    }
}

/// The message: the question of which zone has changed, and its SOA (RFC 1996 section 3.7).
fn message(notice: &Notice, published: Option<&State>) -> Vec<u8> {
    let mut message = Vec::new();
    message.put_u16(notice.id);
    message.put_u16(u16::from(Opcode::NOTIFY.0) << 11 | AA);
    message.put_u16(1);
    message.put_slice(&[0; 6]);
    message.put_slice(notice.origin.as_wire());
    message.put_u16(Rtype::SOA.0);
    message.put_u16(Class::IN.0);
    let version = published.and_then(|state| state.version(&notice.origin));
    let soa = version.and_then(|version| {
        let mut records = version.apex().records();
        records.find(|record| record.rtype == Rtype::SOA)
    });
    if let Some(soa) = soa {
        let rdata = with_soa_serial(&soa.rdata, notice.serial);
        message.put_u16(0xc000 | HEADER_SIZE);
        message.put_u16(Rtype::SOA.0);
        message.put_u16(Class::IN.0);
        message.put_u32(soa.ttl);
        message.put_u16(rdata.as_bytes().len() as u16);
        message.put_slice(rdata.as_bytes());
        message[7] = 1;
    }
    message
}

/// Who is to know of a zone's changes.
fn targets(origin: &Name, state: &State) -> Vec<Remote> {
    let Some(settings) = state.settings(origin) else {
        return Vec::new();
    };
    let mut targets = settings.also_notify.clone();
    if settings.notify_ns == NotifyNs::Yes {
        for ip in name_servers(origin, state) {
            let address = SocketAddr::new(ip, DNS_PORT);
            if !targets.iter().any(|target| target.address == address) {
                targets.push(Remote { address, key: None });
            }
        }
    }
    targets
}

/// The addresses of a zone's name servers that stand in our zones, those of the one in its SOA left
/// out (RFC 1996 section 2.1), and addresses that move over our peers too.
fn name_servers(origin: &Name, state: &State) -> Vec<IpAddr> {
    let Some(apex) = state.version(origin).map(zones::Version::apex) else {
        return Vec::new();
    };
    let soa = apex.rrset(Rtype::SOA).and_then(|soa| soa.rdata().next());
    let primary = soa.and_then(|soa| Name::from_wire(soa).ok());
    let servers = apex.rrset(Rtype::NS);
    let servers = servers.into_iter().flat_map(|ns| ns.rdata());
    let servers = servers
        .filter_map(|rdata| Name::from_wire(target(Rtype::NS, rdata)?).ok())
        .filter(|name| Some(name) != primary.as_ref());
    let mut addresses: Vec<IpAddr> = servers.flat_map(|name| addresses(&name, state)).collect();
    addresses.retain(|ip| state.vips().find(VipId(*ip)).is_err());
    addresses
}

fn addresses(name: &Name, state: &State) -> Vec<IpAddr> {
    let mut above = Some(name.clone());
    while let Some(origin) = above {
        if let Some(version) = state.version(&origin) {
            let rdata = |rtype| {
                let node = version.node(name)?;
                Some(node.rrset(rtype)?.rdata().map(<[u8]>::to_vec).collect())
            };
            let v4: Vec<Vec<u8>> = rdata(Rtype::A).unwrap_or_default();
            let v6: Vec<Vec<u8>> = rdata(Rtype::AAAA).unwrap_or_default();
            let v4 = v4.iter().filter_map(|rdata| {
                <[u8; 4]>::try_from(&rdata[..])
                    .ok()
                    .map(|octets| Ipv4Addr::from(octets).into())
            });
            let v6 = v6.iter().filter_map(|rdata| {
                <[u8; 16]>::try_from(&rdata[..])
                    .ok()
                    .map(|octets| Ipv6Addr::from(octets).into())
            });
            return v4.chain(v6).collect();
        }
        above = origin.parent();
    }
    Vec::new()
}
