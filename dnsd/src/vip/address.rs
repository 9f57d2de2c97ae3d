//! What a VIP is: one address, or several that move together.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

/// Most addresses in one group.
pub const GROUP_MAX: usize = 32;
/// Longest name of a Linux interface, in bytes.
const INTERFACE_MAX: usize = 15;

/// An address with the length of its prefix, written `192.0.2.53/24` or `192.0.2.53/24@eth0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VipAddress {
    /// The address.
    pub address: IpAddr,
    /// How many of its bits name the network that it stands in.
    pub prefix_len: u8,
    /// The only interface that it may stand on; none: any with an address in that network.
    pub interface: Option<String>,
}

/// Names a VIP: the lowest of its addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VipId(pub IpAddr);

/// Why a text is no virtual address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressError {
    /// It is not `ADDRESS/LEN` or `ADDRESS/LEN@IFACE`.
    Form,
    /// The prefix is longer than the address.
    PrefixLen,
    /// No host may have this address: unspecified, loopback, multicast, IPv6 link-local or broadcast.
    NotForHosts,
    /// No interface can have this name.
    Interface,
}

impl VipAddress {
    /// True if the other address is in the same network.
    #[must_use]
    pub fn is_near(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let differ = u32::from(mine) ^ u32::from(other);
                u32::from(self.prefix_len) <= differ.leading_zeros()
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => {
                let differ = u128::from(mine) ^ u128::from(other);
                u32::from(self.prefix_len) <= differ.leading_zeros()
            }
            _ => false,
        }
    }
}

impl FromStr for VipAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (network, interface) = match text.split_once('@') {
            Some((network, interface)) => (network, Some(interface)),
            None => (text, None),
        };
        let (address, prefix_len) = network.split_once('/').ok_or(AddressError::Form)?;
        let address: IpAddr = address.parse().map_err(|_| AddressError::Form)?;
        let prefix_len: u8 = prefix_len.parse().map_err(|_| AddressError::Form)?;
        if interface.is_some_and(|name| !is_interface_name(name)) {
            return Err(AddressError::Interface);
        }
        let address = Self {
            address,
            prefix_len,
            interface: interface.map(str::to_owned),
        };
        address.check()?;
        Ok(address)
    }
}

impl VipAddress {
    /// Whether a host may have it.
    pub fn check(&self) -> Result<(), AddressError> {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix_len == 0 || self.prefix_len > bits {
            return Err(AddressError::PrefixLen);
        }
        let unfit = match self.address {
            IpAddr::V4(address) => {
                // RFC 1122 section 3.2.1.3: all bits of the host part set, or none.
                let host = u32::from(address) & (u32::MAX >> self.prefix_len.min(31));
                let all = u32::MAX >> self.prefix_len.min(31);
                address.is_broadcast() || (self.prefix_len < 31 && (host == all || host == 0))
            }
            // A link-local address means another host on each link.
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if unfit
            || self.address.is_unspecified()
            || self.address.is_loopback()
            || self.address.is_multicast()
        {
            return Err(AddressError::NotForHosts);
        }
        if self
            .interface
            .as_deref()
            .is_some_and(|name| !is_interface_name(name))
        {
            return Err(AddressError::Interface);
        }
        Ok(())
    }
}

fn is_interface_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= INTERFACE_MAX
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

impl Display for VipAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)?;
        match &self.interface {
            Some(interface) => write!(f, "@{interface}"),
            None => Ok(()),
        }
    }
}

impl Display for VipId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Display for AddressError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "write it as ADDRESS/LEN or ADDRESS/LEN@INTERFACE, as in 192.0.2.53/24",
            Self::PrefixLen => "the prefix length does not fit the address",
            Self::NotForHosts => "no host can have this address",
            Self::Interface => "no interface can have this name",
        })
    }
}

impl std::error::Error for AddressError {}

/// Names the group of these addresses.
///
/// # Panics
///
/// If there are none.
#[must_use]
pub fn group_id(addresses: &BTreeSet<VipAddress>) -> VipId {
    let lowest = addresses.iter().map(|vip| vip.address).min();
    VipId(lowest.expect("a VIP has an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in [
            "192.0.2.53/24",
            "192.0.2.53/24@eth0",
            "192.0.2.0/31",
            "192.0.2.255/32",
            "2001:db8::53/64@bond0.12",
        ] {
            let address: VipAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_no_host_can_have_is_refused() {
        use AddressError::{Form, Interface, NotForHosts, PrefixLen};
        for (text, error) in [
            ("192.0.2.53", Form),
            ("ns1/24", Form),
            ("192.0.2.53/", Form),
            ("192.0.2.53/33", PrefixLen),
            ("192.0.2.53/0", PrefixLen),
            ("2001:db8::1/129", PrefixLen),
            ("192.0.2.255/24", NotForHosts),
            ("192.0.2.0/24", NotForHosts),
            ("0.0.0.0/32", NotForHosts),
            ("127.0.0.1/8", NotForHosts),
            ("224.0.0.1/24", NotForHosts),
            ("255.255.255.255/32", NotForHosts),
            ("fe80::1/64", NotForHosts),
            ("ff02::1/64", NotForHosts),
            ("192.0.2.53/24@", Interface),
            ("192.0.2.53/24@a/b", Interface),
            ("192.0.2.53/24@abcdefghijklmnop", Interface),
        ] {
            assert_eq!(text.parse::<VipAddress>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_prefix_says_who_is_near() {
        let vip: VipAddress = "192.0.2.53/25".parse().expect("written well");
        for (other, near) in [
            ("192.0.2.1", true),
            ("192.0.2.127", true),
            ("192.0.2.128", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(
                vip.is_near(other.parse().expect("an address")),
                near,
                "{other}"
            );
        }
    }
}
