//! The Ethernet frames by which stations say who has an address: ARP, IPv6 neighbor discovery, and
//! a small DNS request by UDP to one station.
//!
//! ```text
//!  Ethernet  to 6, from 6, type 2                                          14 bytes
//!  ARP       htype, ptype, sizes, op, sender MAC, sender, target MAC, target   28
//!  IPv6      version, size, next header, hop limit, source, destination        40
//!  ICMPv6    type, code, checksum, flags, target, option: link-layer address   32
//! ```
//!
//! A VLAN tag never shows: the kernel takes it off, and puts it on.

use super::kernel::Mac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The Ethernet type of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// The Ethernet type of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// The Ethernet type of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Where an Ethernet header ends.
pub const ETHERNET_SIZE: usize = 14;
/// To all stations.
pub const BROADCAST: Mac = Mac([0xff; 6]);

const ARP_SIZE: usize = 28;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const IPV4_SIZE: usize = 20;
const IPV6_SIZE: usize = 40;
const UDP_SIZE: usize = 8;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Override, RFC 4861 section 4.4: who has another link-layer address in its cache replaces it.
const OVERRIDE: u32 = 0x2000_0000;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
/// RFC 4861 section 7.1: a smaller one has passed a router, and the message is ignored.
const HOP_LIMIT: u8 = 255;
/// Options of a neighbor message that are looked at; nobody sends more than a few.
const OPTIONS_MAX: usize = 16;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a frame says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The station says that the address is its own.
    Claims(Mac, IpAddr),
    /// The station is about to take the address, and asks whether anybody has it.
    Probes(Mac, IpAddr),
    /// A datagram from an address, to a port.
    Datagram {
        /// The station that it came from.
        mac: Mac,
        /// The address that it came from.
        source: IpAddr,
        /// The port that it is for.
        port: u16,
        /// What it carries.
        payload: Vec<u8>,
    },
}

/// What a frame says of addresses; none if nothing, or if it is damaged.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Seen> {
    let from = mac_at(frame, 6)?;
    let body = frame.get(ETHERNET_SIZE..)?;
    match u16_at(frame, 12)? {
        ETHERTYPE_ARP => parse_arp(body),
        ETHERTYPE_IPV4 => parse_ipv4(from, body),
        ETHERTYPE_IPV6 => parse_ipv6(from, body),
        _ => None,
    }
}

fn parse_arp(body: &[u8]) -> Option<Seen> {
    // Ethernet, IPv4, addresses of 6 and 4 bytes.
    if body.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let mac = mac_at(body, 8)?;
    let sender = ipv4_at(body, 14)?;
    let target = ipv4_at(body, 24)?;
    match u16_at(body, 6)? {
        // RFC 5227 section 2.1.1: a probe has no sender yet.
        ARP_REQUEST if sender.is_unspecified() => Some(Seen::Probes(mac, target.into())),
        ARP_REQUEST | ARP_REPLY => Some(Seen::Claims(mac, sender.into())),
        _ => None,
    }
}

fn parse_ipv4(mac: Mac, packet: &[u8]) -> Option<Seen> {
    let first = *packet.first()?;
    let header_size = usize::from(first & 0xf) * 4;
    let is_fragment = u16_at(packet, 6)? & 0x3fff != 0;
    if first >> 4 != 4 || header_size < IPV4_SIZE || is_fragment || *packet.get(9)? != UDP {
        return None;
    }
    let source = ipv4_at(packet, 12)?.into();
    parse_udp(mac, source, packet.get(header_size..)?)
}

fn parse_ipv6(mac: Mac, packet: &[u8]) -> Option<Seen> {
    let source = ipv6_at(packet, 8)?;
    let body = packet.get(IPV6_SIZE..)?;
    match *packet.get(6)? {
        UDP => parse_udp(mac, source.into(), body),
        ICMPV6 if *packet.get(7)? == HOP_LIMIT => parse_neighbor(mac, source, body),
        _ => None,
    }
}

fn parse_neighbor(mac: Mac, source: Ipv6Addr, message: &[u8]) -> Option<Seen> {
    let target = ipv6_at(message, 8)?;
    match *message.first()? {
        ADVERTISEMENT => {
            let said = option(message.get(24..)?, OPTION_TARGET);
            Some(Seen::Claims(said.unwrap_or(mac), target.into()))
        }
        // RFC 4862 section 5.4.2: who makes sure that nobody has an address asks from none.
        SOLICITATION if source.is_unspecified() => Some(Seen::Probes(mac, target.into())),
        SOLICITATION => {
            let said = option(message.get(24..)?, OPTION_SOURCE);
            Some(Seen::Claims(said.unwrap_or(mac), source.into()))
        }
        _ => None,
    }
}

fn option(mut options: &[u8], kind: u8) -> Option<Mac> {
    for _ in 0..OPTIONS_MAX {
        let size = usize::from(*options.get(1)?) * 8;
        if size == 0 {
            return None;
        }
        if options[0] == kind {
            return mac_at(options, 2);
        }
        options = options.get(size..)?;
    }
    None
}

fn parse_udp(mac: Mac, source: IpAddr, datagram: &[u8]) -> Option<Seen> {
    let size = usize::from(u16_at(datagram, 4)?);
    Some(Seen::Datagram {
        mac,
        source,
        port: u16_at(datagram, 2)?,
        payload: datagram.get(UDP_SIZE..size)?.to_vec(),
    })
}

/// The frames that tell every station that the address is here.
#[must_use]
pub fn announcements(mac: Mac, address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        // Some stations learn from requests only, some from replies only.
        IpAddr::V4(address) => vec![
            arp(ARP_REQUEST, mac, BROADCAST, address, address, Mac([0; 6])),
            arp(ARP_REPLY, mac, BROADCAST, address, address, mac),
        ],
        IpAddr::V6(address) => vec![advertisement(mac, group_mac(ALL_NODES), address, ALL_NODES)],
    }
}

/// The frame that tells one station that the address is here.
#[must_use]
pub fn announcement_to(mac: Mac, address: IpAddr, to: Mac, neighbor: IpAddr) -> Option<Vec<u8>> {
    match (address, neighbor) {
        // Linux takes an early change from a gratuitous reply only: sender and target the same
        // address, and the same MAC (arp_is_garp). Others wait for `locktime`, a second.
        (IpAddr::V4(address), IpAddr::V4(_)) => {
            Some(arp(ARP_REPLY, mac, to, address, address, mac))
        }
        (IpAddr::V6(address), IpAddr::V6(neighbor)) => {
            Some(advertisement(mac, to, address, neighbor))
        }
        _ => None,
    }
}

/// The frame that asks who has the address; `to` is one station or none in particular.
#[must_use]
pub fn question(mac: Mac, source: IpAddr, target: IpAddr, to: Option<Mac>) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some(arp(
            ARP_REQUEST,
            mac,
            to.unwrap_or(BROADCAST),
            source,
            target,
            Mac([0; 6]),
        )),
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let group = solicited_node(target);
            let (to, destination) = match to {
                Some(to) => (to, target),
                None => (group_mac(group), group),
            };
            let body = neighbor_message(SOLICITATION, 0, target, Some((OPTION_SOURCE, mac)));
            Some(icmpv6(mac, to, source, destination, body))
        }
        _ => None,
    }
}

/// The frame that asks who has the address, from one that is about to take it: it says so to all
/// of the segment.
#[must_use]
pub fn probe(mac: Mac, target: IpAddr) -> Vec<u8> {
    match target {
        // RFC 5227 section 1.1: a probe has no sender yet.
        IpAddr::V4(target) => arp(
            ARP_REQUEST,
            mac,
            BROADCAST,
            Ipv4Addr::UNSPECIFIED,
            target,
            Mac([0; 6]),
        ),
        IpAddr::V6(target) => {
            // RFC 4862 section 5.4.2. Who may take the address too is not in the group of those that
            // have it, and no switch would pass the frame on to him; to all nodes it does.
            let body = neighbor_message(SOLICITATION, 0, target, None);
            let (source, group) = (Ipv6Addr::UNSPECIFIED, solicited_node(target));
            icmpv6(mac, group_mac(ALL_NODES), source, group, body)
        }
    }
}

/// A datagram from an address and port to a station, if both addresses are of one family.
#[must_use]
pub fn datagram(
    from: (Mac, IpAddr, u16),
    to: (Mac, IpAddr, u16),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let ((mac, source, source_port), (to, destination, port)) = (from, to);
    let size = u16::try_from(UDP_SIZE + payload.len()).ok()?;
    let mut udp = Vec::with_capacity(usize::from(size));
    udp.extend(source_port.to_be_bytes());
    udp.extend(port.to_be_bytes());
    udp.extend(size.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut pseudo = Vec::new();
            pseudo.extend(source.octets());
            pseudo.extend(destination.octets());
            pseudo.extend([0, UDP]);
            pseudo.extend(size.to_be_bytes());
            set_udp_checksum(&mut udp, &pseudo);
            let mut packet = ethernet(to, mac, ETHERTYPE_IPV4);
            let mut header = vec![0x45, 0];
            header.extend((IPV4_SIZE as u16 + size).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&[&header]).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            packet.extend(header);
            packet.extend(udp);
            Some(packet)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let pseudo = pseudo_ipv6(source, destination, UDP, udp.len());
            set_udp_checksum(&mut udp, &pseudo);
            Some(ipv6(mac, to, source, destination, UDP, &udp))
        }
        _ => None,
    }
}

/// A small request that every DNS server answers with something: `. NS`, no recursion.
#[must_use]
pub fn dns_request(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
}

/// True if it is a DNS response to the request with this id, whatever it says.
#[must_use]
pub fn is_dns_response(payload: &[u8], id: u16) -> bool {
    payload.len() >= 12 && payload[..2] == id.to_be_bytes() && payload[2] & 0x80 != 0
}

fn arp(op: u16, mac: Mac, to: Mac, sender: Ipv4Addr, target: Ipv4Addr, target_mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(to, mac, ETHERTYPE_ARP);
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(op.to_be_bytes());
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend(target_mac.0);
    frame.extend(target.octets());
    debug_assert_eq!(frame.len(), ETHERNET_SIZE + ARP_SIZE);
    frame
}

fn advertisement(mac: Mac, to: Mac, address: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let body = neighbor_message(ADVERTISEMENT, OVERRIDE, address, Some((OPTION_TARGET, mac)));
    icmpv6(mac, to, address, destination, body)
}

fn neighbor_message(kind: u8, flags: u32, target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(flags.to_be_bytes());
    message.extend(target.octets());
    // RFC 4861 section 4.3: who has no address yet must not say that of its link.
    if let Some((option, mac)) = option {
        message.extend([option, 1]);
        message.extend(mac.0);
    }
    message
}

fn icmpv6(
    mac: Mac,
    to: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mut message: Vec<u8>,
) -> Vec<u8> {
    let pseudo = pseudo_ipv6(source, destination, ICMPV6, message.len());
    let sum = checksum(&[&pseudo, &message]).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ipv6(mac, to, source, destination, ICMPV6, &message)
}

fn ipv6(
    mac: Mac,
    to: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    body: &[u8],
) -> Vec<u8> {
    let mut frame = ethernet(to, mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((body.len() as u16).to_be_bytes());
    frame.extend([next_header, HOP_LIMIT]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(body);
    frame
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(ethertype.to_be_bytes());
    frame
}

fn pseudo_ipv6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, size: usize) -> Vec<u8> {
    let mut pseudo = Vec::with_capacity(40);
    pseudo.extend(source.octets());
    pseudo.extend(destination.octets());
    pseudo.extend((size as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, next_header]);
    pseudo
}

fn set_udp_checksum(udp: &mut [u8], pseudo: &[u8]) {
    // RFC 768: a sum of zero is sent as all ones; zero says that there is none.
    let sum = match checksum(&[pseudo, udp]) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of RFC 1071. All parts but the last have an even size.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// RFC 4291 section 2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let [b, c] = [b, c].map(u16::from);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), b << 8 | c)
}

/// RFC 2464 section 7.
fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn mac_at(bytes: &[u8], at: usize) -> Option<Mac> {
    Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?))
}

fn ipv4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(bytes.into())
}

fn ipv6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let bytes: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ME: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_built_is_read_as_it_is_meant() {
        let check = |frame: Option<Vec<u8>>, expected: Seen| {
            assert_eq!(parse(&frame.unwrap()), Some(expected));
        };
        for vip in ["192.0.2.53", "2001:db8::53"].map(ip) {
            for frame in announcements(ME, vip) {
                assert_eq!(parse(&frame), Some(Seen::Claims(ME, vip)));
            }
        }
        for (own, vip) in [("192.0.2.1", "192.0.2.53"), ("2001:db8::1", "2001:db8::53")] {
            let (own, vip) = (ip(own), ip(vip));
            check(announcement_to(ME, vip, OTHER, own), Seen::Claims(ME, vip));
            check(question(ME, own, vip, None), Seen::Claims(ME, own));
            check(question(ME, own, vip, Some(OTHER)), Seen::Claims(ME, own));
            assert_eq!(parse(&probe(ME, vip)), Some(Seen::Probes(ME, vip)));
            check(
                datagram((ME, own, 4000), (OTHER, vip, 53), b"odd"),
                Seen::Datagram {
                    mac: ME,
                    source: own,
                    port: 53,
                    payload: b"odd".to_vec(),
                },
            );
        }
        let mixed = [
            announcement_to(ME, ip("192.0.2.53"), OTHER, ip("::1")),
            question(ME, ip("192.0.2.53"), ip("::1"), None),
            datagram((ME, ip("::1"), 1), (OTHER, ip("192.0.2.53"), 2), b""),
        ];
        assert_eq!(mixed, [None, None, None]);
    }

    #[test]
    fn frames_are_those_of_the_books() {
        let [request, reply] = announcements(ME, ip("192.0.2.53")).try_into().unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&request),
            "ffffffffffff02000000000108060001080006040001020000000001c0000235000000000000c0000235"
        );
        assert_eq!(
            data_encoding::HEXLOWER.encode(&reply),
            "ffffffffffff02000000000108060001080006040002020000000001c0000235020000000001c0000235"
        );
        assert_eq!(
            solicited_node("2001:db8::1:53".parse().unwrap()),
            "ff02::1:ff01:53".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!(group_mac(ALL_NODES).to_string(), "33:33:00:00:00:01");
    }

    #[test]
    fn a_sum_over_a_packet_with_its_sum_is_zero() {
        let frame = datagram(
            (ME, ip("192.0.2.1"), 4000),
            (OTHER, ip("192.0.2.53"), 53),
            b"odd",
        )
        .unwrap();
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        let frame = question(ME, ip("2001:db8::1"), ip("2001:db8::53"), None).unwrap();
        let pseudo = pseudo_ipv6(
            ipv6_at(&frame, 22).unwrap(),
            ipv6_at(&frame, 38).unwrap(),
            ICMPV6,
            frame.len() - 54,
        );
        assert_eq!(checksum(&[&pseudo, &frame[54..]]), 0);
    }

    #[test]
    fn only_a_response_with_the_id_is_one() {
        let mut message = dns_request(7);
        assert!(!is_dns_response(&message, 7));
        message[2] |= 0x80;
        assert!(is_dns_response(&message, 7));
        assert!(!is_dns_response(&message, 8));
        assert!(!is_dns_response(&message[..11], 7));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            kind in 0..4_usize,
        ) {
            let kind = [ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, 0][kind];
            if bytes.len() >= 14 {
                bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            }
            let _ = parse(&bytes);
        }

        #[test]
        fn a_damaged_frame_is_read_without_harm(
            kind in 0..5_usize, at in 0..90_usize, byte: u8, size in 0..100_usize,
        ) {
            let frames = [
                announcements(ME, ip("192.0.2.53")).remove(0),
                announcements(ME, ip("2001:db8::53")).remove(0),
                question(ME, ip("2001:db8::1"), ip("2001:db8::53"), None).unwrap(),
                datagram((ME, ip("192.0.2.1"), 1), (OTHER, ip("192.0.2.2"), 2), b"x").unwrap(),
                datagram((ME, ip("::2"), 1), (OTHER, ip("::3"), 2), b"x").unwrap(),
            ];
            let mut frame = frames[kind].clone();
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
            frame.truncate(size);
            let _ = parse(&frame);
        }
    }
}
