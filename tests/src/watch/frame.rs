//! Ethernet frames, as far as the observers look at them: answers of DNS servers, and who says
//! where an address is. Untagged frames, IPv6 without extension headers: nothing else is on a
//! segment of the tests.

use crate::segment::station;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;
const DNS_PORT: u16 = 53;
/// RFC 4861 section 4.4.
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// What a frame says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A DNS response.
    Answer {
        /// The host that sent the frame.
        from: usize,
        /// The address that was asked.
        server: IpAddr,
        /// Repeats that of the query.
        id: u16,
        /// The RCODE.
        rcode: u8,
    },
    /// Someone says that an address is his, by ARP or in a neighbor advertisement.
    Claim {
        /// The host that sent the frame.
        from: usize,
        /// Which address.
        address: IpAddr,
        /// To whom.
        to: Told,
    },
}

/// Who is told where an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// All, and nobody had asked: gratuitous ARP, or an unsolicited advertisement.
    All,
    /// The one who asked, or whoever hears the question of the address's owner.
    One,
}

impl Frame {
    /// Reads a frame; none if it is neither.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let from = station(frame.get(6..12)?.try_into().ok()?)?;
        let packet = frame.get(14..)?;
        match word(frame, 12)? {
            ETHERTYPE_ARP => read_arp(from, packet),
            ETHERTYPE_IPV4 => {
                let header_size = usize::from(packet.first()? & 15) * 4;
                let server: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
                let is_udp = *packet.get(9)? == PROTOCOL_UDP;
                let datagram = packet.get(header_size..).filter(|_| is_udp)?;
                read_answer(from, Ipv4Addr::from(server).into(), datagram)
            }
            ETHERTYPE_IPV6 => {
                let server: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
                let payload = packet.get(40..)?;
                match *packet.get(6)? {
                    PROTOCOL_UDP => read_answer(from, Ipv6Addr::from(server).into(), payload),
                    PROTOCOL_ICMPV6 => read_advertisement(from, payload),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn read_answer(from: usize, server: IpAddr, datagram: &[u8]) -> Option<Frame> {
    let message = datagram.get(8..)?;
    let flags = word(message, 2)?;
    let is_answer = word(datagram, 0)? == DNS_PORT && flags & 0x8000 != 0;
    is_answer.then_some(Frame::Answer {
        from,
        server,
        id: word(message, 0)?,
        rcode: (flags & 15) as u8,
    })
}

fn read_arp(from: usize, packet: &[u8]) -> Option<Frame> {
    let sender: [u8; 4] = packet.get(14..18)?.try_into().ok()?;
    let target: [u8; 4] = packet.get(24..28)?.try_into().ok()?;
    // A probe (RFC 5227) asks, and says nothing of its sender.
    (sender != [0; 4]).then_some(Frame::Claim {
        from,
        address: Ipv4Addr::from(sender).into(),
        to: if sender == target {
            Told::All
        } else {
            Told::One
        },
    })
}

fn read_advertisement(from: usize, message: &[u8]) -> Option<Frame> {
    if *message.first()? != NEIGHBOR_ADVERTISEMENT {
        return None;
    }
    let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let was_asked = message[4] & 0x40 != 0;
    Some(Frame::Claim {
        from,
        address: Ipv6Addr::from(target).into(),
        to: if was_asked { Told::One } else { Told::All },
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{hosts_mac, vip, vip6};

    fn frame(ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let ethertype = ethertype.to_be_bytes();
        [&hosts_mac(12)[..], &hosts_mac(2), &ethertype, packet].concat()
    }

    fn datagram(port: u16, flags: u16) -> Vec<u8> {
        let [port, flags] = [port, flags].map(u16::to_be_bytes);
        let id = 513_u16.to_be_bytes();
        [&port[..], &[0; 6], &id, &flags, &[0; 8]].concat()
    }

    fn octets(address: IpAddr) -> Vec<u8> {
        match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }

    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let header = [
            &[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0][..],
            &octets(vip(0)),
        ]
        .concat();
        frame(
            ETHERTYPE_IPV4,
            &[&header, &[10, 77, 0, 250][..], payload].concat(),
        )
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let header = [&[0x60, 0, 0, 0, 0, 0, next, 64][..], &octets(vip6(0))].concat();
        frame(ETHERTYPE_IPV6, &[&header, &[0; 16][..], payload].concat())
    }

    fn arp(sender: IpAddr, target: IpAddr) -> Vec<u8> {
        let (sender, target) = (octets(sender), octets(target));
        let packet = [&[0; 14][..], &sender, &[0; 6], &target].concat();
        frame(ETHERTYPE_ARP, &packet)
    }

    fn advertisement(flags: u8) -> Vec<u8> {
        let header = [NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
        ipv6(PROTOCOL_ICMPV6, &[&header[..], &octets(vip6(0))].concat())
    }

    #[test]
    fn frames_say_who_answers_and_who_claims() {
        let answer = |server, rcode| {
            let (from, id) = (2, 513);
            Some(Frame::Answer {
                from,
                server,
                id,
                rcode,
            })
        };
        let claim = |address, to| {
            Some(Frame::Claim {
                from: 2,
                address,
                to,
            })
        };
        let nobody = IpAddr::from([0, 0, 0, 0]);
        for (frame, expected) in [
            (ipv4(&datagram(53, 0x8000)), answer(vip(0), 0)),
            (ipv4(&datagram(53, 0x8005)), answer(vip(0), 5)),
            (ipv4(&datagram(53, 0)), None),
            (ipv4(&datagram(54, 0x8000)), None),
            (ipv6(17, &datagram(53, 0x8400)), answer(vip6(0), 0)),
            (arp(vip(0), vip(0)), claim(vip(0), Told::All)),
            (arp(vip(0), vip(1)), claim(vip(0), Told::One)),
            (arp(nobody, vip(1)), None),
            (advertisement(0x20), claim(vip6(0), Told::All)),
            (advertisement(0x60), claim(vip6(0), Told::One)),
            (frame(0x88cc, &[0; 60]), None),
        ] {
            assert_eq!(Frame::read(&frame), expected);
            for size in 0..frame.len() {
                // What is cut short is no frame, and no panic.
                let _ = Frame::read(&frame[..size]);
            }
        }
    }
}
