//! The kernel's tables of links, addresses, neighbors and routes, by rtnetlink.

use crate::vip::ground::{By, Carrier, Ground, Link, LinkKind, Place, Standing};
use crate::vip::kernel::Mac;
use futures_util::{StreamExt, TryStreamExt, pin_mut};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
    AddressScope, CacheInfo,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, MulticastGroup};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// The number by which `ip address show proto 90` finds what we put there. The kernel uses the
/// first few, keepalived 18.
const MARK: u8 = 90;
/// Set on an address of IPv4 beside the mark, which kernels before 5.18 do not keep.
const LABEL: &str = ":zc";
/// Longest label, with the name of the interface that it begins with.
const LABEL_MAX: usize = 15;
/// Most neighbors of one link that are looked at.
pub(super) const NEIGHBORS_MAX: usize = 256;
/// Most default routes by one link.
const GATEWAYS_MAX: usize = 4;

/// The tables.
pub(super) struct Tables {
    handle: Handle,
}

/// What tells that a link or an address has changed.
pub(super) struct News(Pin<Box<dyn Changes>>);

trait Changes: futures_util::Stream<Item = ()> {}

impl<S: futures_util::Stream<Item = ()>> Changes for S {}

/// Why the kernel did not do it.
#[derive(Debug)]
pub(super) enum TableError {
    /// The address stands there already.
    Exists,
    /// There is no such address, or no such link.
    Missing,
    /// Anything else.
    System(io::Error),
}

impl Tables {
    /// Opens them; called within the runtime that is to carry it.
    pub(super) fn open() -> io::Result<(Self, News)> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (watch, _, changes) = rtnetlink::new_multicast_connection(&groups)?;
        let (ask, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(watch);
        tokio::spawn(ask);
        // What has changed is read anew in any case, so lost news does no harm (`Overrun`).
        let changes = changes.map(|_| ());
        Ok((Self { handle }, News(Box::pin(changes))))
    }

    /// All links and addresses.
    pub(super) async fn ground(&self) -> io::Result<Ground> {
        let mut ground = Ground::default();
        let links = self.handle.link().get().execute();
        pin_mut!(links);
        while let Some(message) = links.try_next().await.map_err(system)? {
            ground.links.insert(message.header.index, link(&message));
        }
        let addresses = self.handle.address().get().execute();
        pin_mut!(addresses);
        while let Some(message) = addresses.try_next().await.map_err(system)? {
            ground.addresses.extend(standing(&message));
        }
        Ok(ground)
    }

    /// Puts an address where it shall stand, in such a way that it harms nothing else.
    pub(super) async fn add(&self, place: &Place, link: &Link) -> Result<(), TableError> {
        let bits = if place.address.is_ipv4() { 32 } else { 128 };
        let mut request = self.handle.address().add(place.index, place.address, bits);
        let message = request.message_mut();
        let attributes = &mut message.attributes;
        attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(MARK)));
        if place.address.is_ipv4() {
            // Tried with kernel 6.18. With the prefix of its network the VIP becomes secondary to
            // the address of the link, and either goes with it (promote_secondaries=0) or takes
            // its place and is the source of all that the machine sends (=1). As /32 it stands by
            // itself; with scope `host` it is also never the source of what goes by a route
            // without a gateway to another network, as it is with `global` and `link`. ARP is
            // answered all the same.
            message.header.scope = AddressScope::Host;
            let label = format!("{}{LABEL}", link.name);
            if label.len() <= LABEL_MAX {
                attributes.retain(|each| !matches!(each, AddressAttribute::Label(_)));
                attributes.push(AddressAttribute::Label(label));
            }
        } else {
            // NODAD: it can be used at once, also while the last holder still answers for it.
            // Deprecated from the start: RFC 6724 section 5 rule 3 prefers any other source.
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            message.header.flags = AddressHeaderFlags::Nodad;
            attributes.push(AddressAttribute::Flags(flags));
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_valid = u32::MAX;
            attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        request.execute().await.map_err(refused)
    }

    /// Whether packets to an address are taken by where it stands. IPv6 does that some time after
    /// it has added the address, in a thread of the kernel (`addrconf_dad_work`).
    pub(super) async fn takes(&self, place: &Place) -> bool {
        let IpAddr::V6(address) = place.address else {
            return true;
        };
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet6;
        question.header.destination_prefix_length = 128;
        question.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet6(address)),
            RouteAttribute::Oif(place.index),
        ];
        let routes = self.handle.route().get(question).execute();
        pin_mut!(routes);
        // An error says that no route leads there.
        matches!(routes.try_next().await, Ok(Some(route)) if route.header.kind == RouteType::Local)
    }

    /// Takes an address away.
    pub(super) async fn remove(&self, place: &Place) -> Result<(), TableError> {
        let mut message = AddressMessage::default();
        message.header.index = place.index;
        (message.header.family, message.header.prefix_len) = match place.address {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        message
            .attributes
            .push(AddressAttribute::Local(place.address));
        let request = self.handle.address().del(message);
        request.execute().await.map_err(refused)
    }

    /// How many frames a link has received, and whether it has carrier.
    pub(super) async fn received(&self, index: u32) -> io::Result<(u64, Carrier)> {
        let links = self.handle.link().get().match_index(index).execute();
        pin_mut!(links);
        let message = links.try_next().await.map_err(system)?;
        let message = message.ok_or(io::ErrorKind::NotFound)?;
        let count = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(stats.rx_packets),
                _ => None,
            });
        Ok((count.unwrap_or_default(), carrier(message.header.flags)))
    }

    /// Stations of which the kernel has heard lately on a link.
    pub(super) async fn neighbors(&self, index: u32) -> io::Result<Vec<(IpAddr, Mac)>> {
        let mut found = Vec::new();
        let neighbors = self.handle.neighbours().get().execute();
        pin_mut!(neighbors);
        while let Some(message) = neighbors.try_next().await.map_err(system)? {
            let is_recent = matches!(
                message.header.state,
                NeighbourState::Reachable
                    | NeighbourState::Stale
                    | NeighbourState::Delay
                    | NeighbourState::Probe
                    | NeighbourState::Permanent
            );
            if message.header.ifindex != index || !is_recent || found.len() == NEIGHBORS_MAX {
                continue;
            }
            let address = message.attributes.iter().find_map(|each| match each {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some((*ip).into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some((*ip).into()),
                _ => None,
            });
            let mac = message.attributes.iter().find_map(|each| match each {
                NeighbourAttribute::LinkLayerAddress(mac) => mac_of(mac),
                _ => None,
            });
            found.extend(address.zip(mac));
        }
        Ok(found)
    }

    /// The routers that a link leads to by default.
    pub(super) async fn gateways(&self, index: u32) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let routes = self.handle.route().get(question).execute();
            pin_mut!(routes);
            while let Some(route) = routes.try_next().await.map_err(system)? {
                let is_ours = route.header.destination_prefix_length == 0
                    && route.attributes.contains(&RouteAttribute::Oif(index));
                if is_ours && found.len() < GATEWAYS_MAX {
                    found.extend(route.attributes.iter().find_map(|each| match each {
                        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
                        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
                        _ => None,
                    }));
                }
            }
        }
        Ok(found)
    }
}

impl News {
    /// Waits until something has changed, and takes with it what else has.
    pub(super) async fn wait(&mut self) {
        if self.0.next().await.is_none() {
            // The connection has ended; what is polled goes on.
            std::future::pending::<()>().await;
        }
        while let Some(Some(())) = futures_util::FutureExt::now_or_never(self.0.next()) {}
    }
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let name = message.attributes.iter().find_map(|each| match each {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    let mac = message.attributes.iter().find_map(|each| match each {
        LinkAttribute::Address(mac) => mac_of(mac),
        _ => None,
    });
    let kind = if flags.contains(LinkFlags::Loopback) {
        LinkKind::Loopback
    } else {
        let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        match mac {
            Some(mac) if is_ethernet && !flags.contains(LinkFlags::Noarp) => {
                LinkKind::Ethernet(mac)
            }
            _ => LinkKind::Other,
        }
    };
    Link {
        name: name.unwrap_or_default(),
        carrier: carrier(flags),
        kind,
    }
}

/// The flags of `ip link`: the kernel tells a loss of carrier up to a second late by news, but
/// these are what holds when they are read.
fn carrier(flags: LinkFlags) -> Carrier {
    if flags.contains(LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp) {
        Carrier::Up
    } else {
        Carrier::Down
    }
}

fn standing(message: &AddressMessage) -> Option<Standing> {
    let mut local = None;
    let mut address = None;
    let mut by = By::Others;
    let bits = message.header.prefix_len;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Protocol(protocol) if u8::from(*protocol) == MARK => by = By::Us,
            // Kernels before 5.18 keep no mark, and only IPv4 has labels: what stands there of
            // IPv6 is found by the record alone.
            AddressAttribute::Label(label) if label.ends_with(LABEL) && bits == 32 => by = By::Us,
            AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Dadfailed) => {
                return None;
            }
            _ => {}
        }
    }
    Some(Standing {
        place: Place {
            index: message.header.index,
            address: local.or(address)?,
        },
        prefix_len: bits,
        by,
    })
}

fn mac_of(bytes: &[u8]) -> Option<Mac> {
    Some(Mac(bytes.try_into().ok()?))
}

fn system(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        error => io::Error::other(error),
    }
}

fn refused(error: rtnetlink::Error) -> TableError {
    let error = system(error);
    match error.raw_os_error() {
        Some(libc::EEXIST) => TableError::Exists,
        Some(libc::EADDRNOTAVAIL | libc::ENODEV) => TableError::Missing,
        _ => TableError::System(error),
    }
}

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists => f.write_str("it stands there already"),
            Self::Missing => f.write_str("there is no such interface or address"),
            Self::System(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_known_by_its_mark_or_its_label() {
        let check = |prefix_len, attributes: &[AddressAttribute], expected| {
            let mut message = AddressMessage::default();
            message.header.prefix_len = prefix_len;
            let address = IpAddr::from([192, 0, 2, 53]);
            message.attributes = vec![AddressAttribute::Local(address)];
            message.attributes.extend(attributes.iter().cloned());
            let by = standing(&message).unwrap().by;
            assert_eq!(by, expected, "/{prefix_len} {attributes:?}");
        };
        let label = |text: &str| AddressAttribute::Label(text.to_owned());
        let mark = |number| AddressAttribute::Protocol(AddressProtocol::Other(number));
        check(32, &[], By::Others);
        check(32, &[mark(MARK)], By::Us);
        check(32, &[mark(18), label("eth0")], By::Others);
        check(32, &[label("eth0:zc")], By::Us);
        check(32, &[label("eth0:zcx")], By::Others);
        // No VIP is put there so.
        check(24, &[label("eth0:zc")], By::Others);
    }
}
