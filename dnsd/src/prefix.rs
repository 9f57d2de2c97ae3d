//! Address prefixes.

use bytes::{Buf, BufMut};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that share their first bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// The text is not an address, or an address with `/` and a length, or bits are set beyond it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefixError {
    /// The part before `/` is not an IP address.
    Address,
    /// The part after `/` is not a number, or longer than the address.
    Length,
    /// The address has bits set after the prefix, which is probably a mistake.
    HostBits,
}

impl Prefix {
    /// The first `length` bits of `address`.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let prefix = Self { address, length };
        let (bits, width) = bits_of(address);
        if length > width {
            return Err(PrefixError::Length);
        }
        if bits & !prefix.mask() != 0 {
            return Err(PrefixError::HostBits);
        }
        Ok(prefix)
    }

    /// True if `ip` has this prefix. An IPv4 address counts as such also where it is written as
    /// an IPv6 one (RFC 4291 section 2.5.5.2), as sockets for both do.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match (self.address, ip) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                bits_of(ip).0 & self.mask() == bits_of(self.address).0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The address, its bits after the prefix zero.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_address(out, self.address);
        out.put_u8(self.length);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let address = get_address(rest)?;
        Self::new(address, rest.try_get_u8().ok()?).ok()
    }

    fn mask(&self) -> u128 {
        let (_, width) = bits_of(self.address);
        let host = width - self.length;
        u128::MAX.checked_shl(u32::from(host)).unwrap_or(0)
    }
}

/// The address as a number in the low bits, and how many bits it has.
fn bits_of(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), Ipv4Addr::BITS as u8),
        IpAddr::V6(ip) => (ip.to_bits(), Ipv6Addr::BITS as u8),
    }
}

/// Appends an address: its family, 4 or 6, and its bytes.
pub(crate) fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
}

/// Reads what [`put_address`] wrote.
pub(crate) fn get_address(rest: &mut &[u8]) -> Option<IpAddr> {
    match rest.try_get_u8().ok()? {
        4 => Some(rest.try_get_u32().ok()?.to_be_bytes().into()),
        6 => Some(rest.try_get_u128().ok()?.to_be_bytes().into()),
        _ => None,
    }
}

/// True if one of `prefixes` contains `ip`.
#[must_use]
pub fn any_contains(prefixes: &[Prefix], ip: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(ip))
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let length = match length {
            Some(length) => length.parse().map_err(|_| PrefixError::Length)?,
            None => bits_of(address).1,
        };
        Self::new(address, length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "not an IP address; expected one like 192.0.2.0/24 or 2001:db8::/32",
            Self::Length => "the prefix length must be a number up to 32 (IPv4) or 128 (IPv6)",
            Self::HostBits => "bits are set after the prefix",
        })
    }
}

impl std::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_contain_their_addresses() {
        let check = |prefix: &str, ip: &str, expected| {
            let prefix: Prefix = prefix.parse().unwrap();
            assert_eq!(
                prefix.contains(ip.parse().unwrap()),
                expected,
                "{prefix} {ip}"
            );
        };
        check("127.0.0.0/8", "127.255.0.1", true);
        check("127.0.0.0/8", "128.0.0.1", false);
        check("127.0.0.0/8", "::ffff:127.0.0.1", true);
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("0.0.0.0/0", "192.0.2.1", true);
        check("0.0.0.0/0", "::1", false);
        check("::1/128", "::1", true);
        check("::/0", "2001:db8::1", true);
        check("::/0", "127.0.0.1", false);
        check("2001:db8::/32", "2001:db9::", false);
    }

    #[test]
    fn text_is_read_and_printed() {
        let check = |text: &str, expected: Result<&str, PrefixError>| {
            let read = text.parse::<Prefix>().map(|prefix| prefix.to_string());
            assert_eq!(read.as_deref(), expected.as_ref().map(|t| *t), "{text}");
        };
        check("127.0.0.0/8", Ok("127.0.0.0/8"));
        check("::1", Ok("::1/128"));
        check("127.0.0.1/8", Err(PrefixError::HostBits));
        check("127.0.0.0/33", Err(PrefixError::Length));
        check("127.0.0.0/x", Err(PrefixError::Length));
        check("localhost/8", Err(PrefixError::Address));
        check("", Err(PrefixError::Address));
    }
}
