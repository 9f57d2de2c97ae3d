//! What a kernel has: its links and addresses, and on which link a VIP may stand.

use super::address::VipAddress;
use super::kernel::{Mac, Unfit};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The links and addresses of a kernel at one time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ground {
    /// By their index.
    pub links: BTreeMap<u32, Link>,
    /// All addresses.
    pub addresses: Vec<Standing>,
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Whether frames can pass.
    pub carrier: Carrier,
    /// What it is.
    pub kind: LinkKind,
}

/// Whether frames can pass a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// It is up, and so is what is at its other end.
    Up,
    /// It is down, or has no carrier.
    Down,
}

/// What a link is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// The loopback interface.
    Loopback,
    /// Ethernet or what looks like it, with ARP.
    Ethernet(Mac),
    /// Anything else: no VIP can stand there.
    Other,
}

/// An address that stands on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Where.
    pub place: Place,
    /// The size of its network.
    pub prefix_len: u8,
    /// Who put it there.
    pub by: By,
}

/// Who put an address where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// It has our mark.
    Us,
    /// It has not.
    Others,
}

/// An address on a link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The index of the link.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
}

/// What is ours on the ground.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// All addresses of all VIPs, held or not.
    pub addresses: &'a BTreeSet<IpAddr>,
    /// What this process has put there.
    pub placed: &'a BTreeSet<Place>,
}

impl Ground {
    /// The loopback interface.
    #[must_use]
    pub fn loopback(&self) -> Option<(u32, &Link)> {
        let mut links = self.links.iter();
        let (index, link) = links.find(|(_, link)| link.kind == LinkKind::Loopback)?;
        Some((*index, link))
    }

    /// The links that a VIP may stand on, with carrier or without, in the order of their index.
    #[must_use]
    pub fn near(&self, vip: &VipAddress, ours: Ours<'_>) -> Vec<(u32, &Link)> {
        let links = self.links.iter().filter(|(index, link)| {
            matches!(link.kind, LinkKind::Ethernet(_))
                && vip.interface.as_ref().is_none_or(|name| *name == link.name)
                && self.own(**index, ours).any(|own| is_at_home(vip, own))
        });
        links.map(|(index, link)| (*index, link)).collect()
    }

    /// The link that a VIP may stand on; that where it stands, if it does.
    pub fn fit(&self, vip: &VipAddress, ours: Ours<'_>) -> Result<u32, Unfit> {
        match self.loopback() {
            Some((_, link)) if link.carrier == Carrier::Up => {}
            _ => return Err(Unfit::Driver("the interface lo is down".to_owned())),
        }
        if let Some(foreign) = self.addresses.iter().find(|standing| {
            standing.place.address == vip.address
                && standing.by == By::Others
                && !ours.placed.contains(&standing.place)
        }) {
            let name = self.name(foreign.place.index);
            return Err(Unfit::Driver(format!(
                "{} stands on {name}, and not by this daemon: remove it there",
                vip.address
            )));
        }
        let near = self.near(vip, ours);
        let is_here = |index: &u32| {
            let (index, address) = (*index, vip.address);
            ours.placed.contains(&Place { index, address })
        };
        let stands = near.iter().find(|(index, _)| is_here(index));
        let with_carrier = near.iter().find(|(_, link)| link.carrier == Carrier::Up);
        match stands.or(with_carrier).or_else(|| near.first()) {
            Some((index, link)) if link.carrier == Carrier::Up => Ok(*index),
            Some((_, link)) => Err(Unfit::NoCarrier(link.name.clone())),
            None => Err(Unfit::NoInterface),
        }
    }

    /// The address of a link from which it speaks to `target`, best one in the same network.
    #[must_use]
    pub fn source(&self, index: u32, target: IpAddr, ours: Ours<'_>) -> Option<IpAddr> {
        let own: Vec<&Standing> = self
            .own(index, ours)
            .filter(|own| own.place.address.is_ipv4() == target.is_ipv4())
            .collect();
        let near = own.iter().find(|own| {
            let network = VipAddress {
                address: own.place.address,
                prefix_len: own.prefix_len,
                interface: None,
            };
            network.is_near(target)
        });
        Some(near.or_else(|| own.first())?.place.address)
    }

    /// The name of a link, for people.
    #[must_use]
    pub fn name(&self, index: u32) -> &str {
        self.links.get(&index).map_or("?", |link| &link.name)
    }

    /// The Ethernet address of a link.
    #[must_use]
    pub fn mac(&self, index: u32) -> Option<Mac> {
        match self.links.get(&index)?.kind {
            LinkKind::Ethernet(mac) => Some(mac),
            LinkKind::Loopback | LinkKind::Other => None,
        }
    }

    /// True if the address stands there, whoever put it.
    #[must_use]
    pub fn has(&self, place: &Place) -> bool {
        self.addresses
            .iter()
            .any(|standing| standing.place == *place)
    }

    /// The addresses that a link has for itself.
    fn own<'g>(&'g self, index: u32, ours: Ours<'g>) -> impl Iterator<Item = &'g Standing> {
        self.addresses.iter().filter(move |standing| {
            standing.place.index == index
                && standing.by == By::Others
                && !ours.addresses.contains(&standing.place.address)
                && !ours.placed.contains(&standing.place)
        })
    }
}

/// Whether a VIP may stand beside an address of the link.
fn is_at_home(vip: &VipAddress, own: &Standing) -> bool {
    let bits = if vip.address.is_ipv4() { 32 } else { 128 };
    // A network of one address has no second one. Its operator names the interface.
    if vip.prefix_len == bits && vip.interface.is_some() {
        return own.place.address.is_ipv4() == vip.address.is_ipv4();
    }
    vip.is_near(own.place.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, carrier: Carrier, kind: LinkKind) -> Link {
        Link {
            name: name.to_owned(),
            carrier,
            kind,
        }
    }

    fn standing(index: u32, text: &str, by: By) -> Standing {
        let (address, prefix_len) = text.split_once('/').unwrap();
        Standing {
            place: Place {
                index,
                address: address.parse().unwrap(),
            },
            prefix_len: prefix_len.parse().unwrap(),
            by,
        }
    }

    fn ground() -> Ground {
        let mac = |last| LinkKind::Ethernet(Mac([2, 0, 0, 0, 0, last]));
        Ground {
            links: BTreeMap::from([
                (1, link("lo", Carrier::Up, LinkKind::Loopback)),
                (2, link("eth0", Carrier::Down, mac(2))),
                (3, link("eth1", Carrier::Up, mac(3))),
                (4, link("tun0", Carrier::Up, LinkKind::Other)),
            ]),
            addresses: vec![
                standing(1, "127.0.0.1/8", By::Others),
                standing(2, "192.0.2.2/24", By::Others),
                standing(3, "192.0.2.3/24", By::Others),
                standing(3, "192.0.2.54/32", By::Us),
                standing(3, "2001:db8::3/64", By::Others),
                standing(3, "198.51.100.53/24", By::Others),
                standing(4, "203.0.113.1/24", By::Others),
            ],
        }
    }

    #[test]
    fn a_vip_stands_where_the_link_is_at_home() {
        let check = |vip: &str, placed: &[(u32, &str)], expected: Result<u32, Unfit>| {
            let vip: VipAddress = vip.parse().unwrap();
            let placed = placed.iter().map(|(index, address)| Place {
                index: *index,
                address: address.parse().unwrap(),
            });
            let ours = Ours {
                addresses: &BTreeSet::from([vip.address]),
                placed: &placed.collect(),
            };
            assert_eq!(ground().fit(&vip, ours), expected, "{vip}");
        };
        check("192.0.2.53/24", &[], Ok(3));
        check("192.0.2.54/24", &[], Ok(3));
        check("2001:db8::53/64", &[], Ok(3));
        let dead = || Err(Unfit::NoCarrier("eth0".to_owned()));
        check("192.0.2.53/24@eth0", &[], dead());
        check("192.0.2.53/24", &[(2, "192.0.2.53")], dead());
        check("192.0.2.53/24@eth9", &[], Err(Unfit::NoInterface));
        check("203.0.113.53/24", &[], Err(Unfit::NoInterface));
        check("192.0.3.53/24", &[], Err(Unfit::NoInterface));
        check("192.0.2.53/32", &[], Err(Unfit::NoInterface));
        check("203.0.113.5/32@eth1", &[], Ok(3));
        let text = "198.51.100.53 stands on eth1, and not by this daemon: remove it there";
        check("198.51.100.53/24", &[], Err(Unfit::Driver(text.to_owned())));
    }

    #[test]
    fn a_link_speaks_from_the_network_of_the_other() {
        let check = |index, target: &str, expected: Option<&str>| {
            let ours = Ours {
                addresses: &BTreeSet::from(["198.51.100.53".parse().unwrap()]),
                placed: &BTreeSet::new(),
            };
            let source = ground().source(index, target.parse().unwrap(), ours);
            assert_eq!(source, expected.map(|text| text.parse().unwrap()));
        };
        check(3, "192.0.2.9", Some("192.0.2.3"));
        check(3, "198.51.100.9", Some("192.0.2.3"));
        check(3, "2001:db8::9", Some("2001:db8::3"));
        check(2, "2001:db8::9", None);
    }
}
