//! The PROXY protocol, version 2: a proxy in front says who it asks for (HAProxy's
//! doc/proxy-protocol.txt, section 2.2).
//!
//! ```text
//! signature 12 | version and command 1 | family 1 | length 2 | source, destination, ports | TLVs
//! ```

use crate::message::Malformed;
use crate::prefix::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// By which a header is known. No DNS message begins so: its opcode would be none that is in use.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Size of what every header has.
pub const FIXED_SIZE: usize = 16;
/// What follows is no longer than this: addresses, and some hundred bytes of TLVs.
const REST_SIZE_MAX: usize = 2_048;

/// The fixed part of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fixed {
    command: u8,
    family: u8,
    /// Size of what follows.
    pub rest_size: usize,
}

/// Those whose headers count.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies(pub Vec<Prefix>);

impl Proxies {
    /// True if what comes from there may begin with a header.
    #[must_use]
    pub fn contain(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|prefix| prefix.contains(ip))
    }

    /// The client of a datagram from `source`, and its message, from behind the header that a
    /// proxy puts before it. Whoever is no proxy speaks for itself.
    pub fn unwrap<'m>(
        &self,
        source: SocketAddr,
        datagram: &'m [u8],
    ) -> Result<(SocketAddr, &'m [u8]), Malformed> {
        // Most servers have no proxy in front, and most proxies send no other's requests as theirs.
        if self.0.is_empty() || !datagram.starts_with(&SIGNATURE) || !self.contain(source.ip()) {
            return Ok((source, datagram));
        }
        let (fixed, rest) = datagram.split_first_chunk().ok_or(Malformed)?;
        let fixed = Fixed::read(fixed)?;
        let (rest, message) = rest.split_at_checked(fixed.rest_size).ok_or(Malformed)?;
        Ok((fixed.client(rest)?.unwrap_or(source), message))
    }
}

impl Fixed {
    /// Reads it.
    pub fn read(bytes: &[u8; FIXED_SIZE]) -> Result<Self, Malformed> {
        let [signature @ .., command, family, high, low] = bytes;
        let fixed = Self {
            command: *command,
            family: *family,
            rest_size: usize::from(u16::from_be_bytes([*high, *low])),
        };
        let is_known = matches!(fixed.command, LOCAL | PROXY);
        let is_whole = *signature == SIGNATURE && is_known && fixed.rest_size <= REST_SIZE_MAX;
        is_whole.then_some(fixed).ok_or(Malformed)
    }

    /// Who is asked for; none: the proxy itself asks, or does not know.
    pub fn client(&self, rest: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
        if self.command == LOCAL {
            return Ok(None);
        }
        match self.family {
            UNSPECIFIED => Ok(None),
            TCP_IPV4 | UDP_IPV4 => {
                let [a, b, c, d, _, _, _, _, high, low, _, _] =
                    rest.first_chunk::<12>().ok_or(Malformed)?;
                let ip = Ipv4Addr::new(*a, *b, *c, *d);
                Ok(Some((ip, u16::from_be_bytes([*high, *low])).into()))
            }
            TCP_IPV6 | UDP_IPV6 => {
                let rest = rest.first_chunk::<36>().ok_or(Malformed)?;
                let (ip, _) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
                let port = u16::from_be_bytes([rest[32], rest[33]]);
                Ok(Some((Ipv6Addr::from(*ip), port).into()))
            }
            // Unix sockets, and what may come.
            _ => Err(Malformed),
        }
    }
}

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_IPV4: u8 = 0x11;
const UDP_IPV4: u8 = 0x12;
const TCP_IPV6: u8 = 0x21;
const UDP_IPV6: u8 = 0x22;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let size = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &size, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 53, 0x12, 0x34, 0, 53];

    #[test]
    fn a_proxy_says_who_asks_and_others_ask_for_themselves() {
        let proxies = Proxies(vec!["127.0.0.0/8".parse().unwrap()]);
        let check = |source: &str, datagram: &[u8], expected: Result<(&str, &[u8]), Malformed>| {
            let expected = expected.map(|(client, message)| (client.parse().unwrap(), message));
            let found = proxies.unwrap(source.parse().unwrap(), datagram);
            assert_eq!(found, expected, "{source} {datagram:?}");
        };
        let with = |header: Vec<u8>| [&header[..], b"message"].concat();
        let proxy = "127.0.0.1:9";
        let message = &b"message"[..];
        check(proxy, message, Ok((proxy, message)));
        check(proxy, b"", Ok((proxy, b"")));
        let named = with(header(PROXY, UDP_IPV4, &IPV4));
        check(proxy, &named, Ok(("192.0.2.1:4660", message)));
        // From elsewhere it is no header, so it is no message either.
        check("192.0.2.9:9", &named, Ok(("192.0.2.9:9", &named)));
        let longer = with(header(
            PROXY,
            TCP_IPV4,
            &[&IPV4[..], b"\x04\x00\x01x"].concat(),
        ));
        check(proxy, &longer, Ok(("192.0.2.1:4660", message)));
        let mut ipv6 = [0; 36];
        ipv6[15] = 7;
        ipv6[33] = 8;
        let ipv6 = with(header(PROXY, UDP_IPV6, &ipv6));
        check(proxy, &ipv6, Ok(("[::7]:8", message)));
        check(proxy, &with(header(LOCAL, 0, b"")), Ok((proxy, message)));
        check(
            proxy,
            &with(header(PROXY, UNSPECIFIED, b"")),
            Ok((proxy, message)),
        );
        for bad in [
            header(0x22, UDP_IPV4, &IPV4),
            header(0x11, UDP_IPV4, &IPV4),
            header(PROXY, 0x31, &[0; 216]),
            header(PROXY, UDP_IPV4, &IPV4[..11]),
            header(PROXY, UDP_IPV6, &IPV4),
            header(LOCAL, 0, &[0; REST_SIZE_MAX + 1]),
            header(PROXY, UDP_IPV4, &IPV4)[..20].to_vec(),
            SIGNATURE.to_vec(),
        ] {
            check(proxy, &bad, Err(Malformed));
        }
    }

    #[test]
    fn without_proxies_nothing_is_unwrapped() {
        let datagram = header(PROXY, UDP_IPV4, &IPV4);
        let source = "127.0.0.1:9".parse().unwrap();
        let found = Proxies::default().unwrap(source, &datagram);
        assert_eq!(found, Ok((source, &datagram[..])));
    }
}
