//! What is asked of a segment, and what is heard there.

use crate::bridge::Segment;
use crate::host::{Host, SOON, Server, mac, neighbor};
use dnsd::vip::kernel::{Heard, Kernel, Order, Report, Unfit};
use tempfile::tempdir;
use tests::deadline::until;

const VIPS: [(&str, &str); 2] = [
    ("192.0.2.53", "192.0.2.53/24"),
    ("2001:db8::53", "2001:db8::53/64"),
];

#[test]
fn a_segment_says_who_has_a_vip() {
    for (address, vip) in VIPS {
        let (segment, data) = (Segment::new(2), tempdir().unwrap());
        let mut host = Host::start(&segment, 1, data.path());
        let vip = host.vip(&[vip]);
        assert_eq!(host.ask(vip), Heard::Nobody);
        let bits = if address.contains(':') {
            "128 nodad"
        } else {
            "32"
        };
        segment.ip(2, &format!("address add {address}/{bits} dev eth0"));
        let other = mac(&segment, 2);
        assert_eq!(host.ask(vip), Heard::Station(other), "{address}");
        let _server = Server::start(&segment, 2, address);
        assert_eq!(host.ask(vip), Heard::Server(other), "{address}");
        // Also who is ready for the VIP hears the one that has it.
        host.bring(vip, Kernel::Ready);
        assert_eq!(host.ask(vip), Heard::Server(other), "{address}");
    }
}

#[test]
fn two_that_ask_at_once_are_both_answered() {
    let (segment, data) = (Segment::new(2), tempdir().unwrap());
    segment.ip(2, "address add 192.0.2.54/32 dev eth0");
    let host = Host::start(&segment, 1, data.path());
    let mut host = host;
    let vips = host.vips(&[&["192.0.2.53/24"], &["192.0.2.54/24"]]);
    host.wait_can(vips[1], &Ok(()));
    for vip in &vips {
        host.order(Order::Ask(*vip));
    }
    let mut heard = std::collections::BTreeMap::new();
    host.wait("both", |report| {
        if let Report::Segment(vip, of) = report {
            heard.insert(*vip, *of);
        }
        (heard.len() == 2).then_some(())
    });
    assert_eq!(heard[&vips[0]], Heard::Nobody);
    assert_eq!(heard[&vips[1]], Heard::Station(mac(&segment, 2)));
}

#[test]
fn who_only_probes_for_a_vip_takes_nothing_away() {
    let (segment, data) = (Segment::new(2), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    let vip = host.vip(&["2001:db8::53/64"]);
    host.bring(vip, Kernel::Announced);
    // This kernel asks from no address before it takes one, and is answered.
    segment.ip(2, "address add 2001:db8::53/128 dev eth0");
    until(SOON, "the address is refused", || {
        let shown = segment.ip(2, "-o address show dev eth0");
        shown.contains("dadfailed").then_some(())
    });
    // Had it been told of, that would have come before this.
    host.order(Order::Ask(vip));
    host.wait("its own answer", |report| match report {
        Report::Segment(..) => Some(()),
        Report::Foreign { .. } => panic!("{report:?}"),
        _ => None,
    });
}

#[test]
fn who_else_asks_for_a_vip_is_told_of() {
    for (address, vip) in VIPS {
        let (segment, data) = (Segment::new(2), [tempdir().unwrap(), tempdir().unwrap()]);
        let mut host = Host::start(&segment, 1, data[0].path());
        let mut other = Host::start(&segment, 2, data[1].path());
        let group = [vip];
        let vip = host.vip(&group);
        other.vip(&group);
        assert_eq!(other.ask(vip), Heard::Nobody);
        let heard = host.wait("a probe", |report| match report {
            Report::Probed {
                vip: of,
                theirs,
                mine,
            } if *of == vip => Some((*theirs, *mine)),
            _ => None,
        });
        assert_eq!(heard, (mac(&segment, 2), mac(&segment, 1)), "{address}");
    }
}

#[test]
fn another_that_claims_a_vip_is_told_of_and_an_announcement_wins_it_back() {
    for (address, vip) in VIPS {
        let (segment, data) = (Segment::new(3), [tempdir().unwrap(), tempdir().unwrap()]);
        let mut host = Host::start(&segment, 1, data[0].path());
        let mut other = Host::start(&segment, 2, data[1].path());
        let group = [vip];
        let vip = host.vip(&group);
        other.vip(&group);
        host.bring(vip, Kernel::Announced);
        let _server = Server::start(&segment, 1, address);
        let mut client = crate::host::Client::new(&segment, 3, address);
        assert_eq!(client.ask(SOON), Some(1));
        other.bring(vip, Kernel::Announced);
        let foreign = host.wait("a foreign announcement", |report| match report {
            Report::Foreign {
                vip: of, theirs, ..
            } if *of == vip => Some(*theirs),
            _ => None,
        });
        assert_eq!(foreign, mac(&segment, 2), "{address}");
        other.bring(vip, Kernel::Absent);
        host.order(Order::Announce(vip));
        until(SOON, "the client has learnt of it", || {
            (neighbor(&segment, 3, address)? == segment.mac(1)).then_some(())
        });
    }
}

#[test]
fn its_own_addresses_are_told() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    host.vips(&[&["192.0.2.53/24"]]);
    assert_eq!(host.wait_macs(), [mac(&segment, 1)].into());
}

#[test]
fn who_hears_nothing_is_deaf_until_it_hears() {
    for witness in ["gateway", "stations"] {
        let (segment, data) = (Segment::new(2), tempdir().unwrap());
        let mut host = Host::start(&segment, 1, data.path());
        let vip = host.vip(&["192.0.2.53/24"]);
        // A neighbor that can be asked.
        let add = |address: &str, mac: &str| {
            let known = format!("neigh replace {address} lladdr {mac} dev eth0 nud stale");
            segment.ip(1, &known);
        };
        add("192.0.2.2", &segment.mac(2));
        match witness {
            "gateway" => segment.ip(1, "route add default via 192.0.2.2"),
            _ => {
                add("192.0.2.9", "02:00:00:00:00:09");
                String::new()
            }
        };
        segment.in_bridge("link set p1 nomaster");
        host.wait_can(vip, &Err(Unfit::Deaf("eth0".to_owned())));
        segment.in_bridge("link set p1 master br0");
        host.wait_can(vip, &Ok(()));
    }
}
