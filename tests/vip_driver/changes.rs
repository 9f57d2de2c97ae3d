//! What a change does to the kernel and to the segment.

use crate::bridge::Segment;
use crate::host::{Client, Host, SOON, Server, forget_neighbors, neighbor, settings, stands};
use dnsd::io::vip::{Kind, start};
use dnsd::vip::kernel::{Kernel, Order, Report, Unfit};
use std::sync::mpsc::channel;
use std::time::Duration;
use tempfile::tempdir;
use tests::deadline::until;

/// Both families behave the same.
const VIPS: [(&str, &str); 2] = [
    ("192.0.2.53", "192.0.2.53/24"),
    ("2001:db8::53", "2001:db8::53/64"),
];
/// So long nobody answers who is not to answer.
const SILENCE: Duration = Duration::from_millis(300);

#[test]
fn announced_is_answered_for_and_ready_is_only_taken() {
    for (address, vip) in VIPS {
        let (segment, data) = (Segment::new(2), tempdir().unwrap());
        let mut host = Host::start(&segment, 1, data.path());
        let _server = Server::start(&segment, 1, address);
        let mut client = Client::new(&segment, 2, address);
        let vip = host.vip(&[vip]);
        assert_eq!(host.ask(vip), dnsd::vip::kernel::Heard::Nobody);
        forget_neighbors(&segment, 2);

        host.bring(vip, Kernel::Announced);
        assert_eq!(client.ask(SOON), Some(1), "{address}");
        assert_eq!(neighbor(&segment, 2, address), Some(segment.mac(1)));
        assert!(stands(&segment, 1, address, "eth0"));

        host.bring(vip, Kernel::Ready);
        assert!(!stands(&segment, 1, address, "eth0"));
        assert!(stands(&segment, 1, address, "lo"));
        // The client knows where it stood: packets are taken.
        assert_eq!(client.ask(SOON), Some(1), "{address}");
        // Who asks gets no answer, neither the client nor for the sake of the client.
        forget_neighbors(&segment, 2);
        assert_eq!(client.ask(SILENCE), None, "{address}");
        assert_eq!(neighbor(&segment, 2, address), None);
        let mac = segment.mac(1);
        let known = format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent");
        segment.ip(2, &known);
        // Its answer needs the client's address: it must not ask in the name of the VIP.
        forget_neighbors(&segment, 1);
        assert_eq!(client.ask(SOON), Some(1), "{address}");

        host.bring(vip, Kernel::Absent);
        assert_eq!(client.ask(SILENCE), None, "{address}");
        for link in ["eth0", "lo"] {
            assert!(!stands(&segment, 1, address, link));
        }
        host.stop();
        let setting = read_setting(&segment, 1, "arp_ignore");
        assert_eq!(setting, "0", "as it was");
    }
}

#[test]
fn who_is_ready_asks_for_clients_in_its_own_name() {
    let (segment, data) = (Segment::new(3), tempdir().unwrap());
    let mut ready = Host::start(&segment, 1, data.path());
    let _server = Server::start(&segment, 1, "192.0.2.53");
    let vip = ready.vip(&["192.0.2.53/24"]);
    ready.bring(vip, Kernel::Ready);
    let mac = segment.mac(1);
    segment.ip(
        2,
        &format!("neigh replace 192.0.2.53 lladdr {mac} dev eth0 nud stale"),
    );
    let mut client = Client::new(&segment, 2, "192.0.2.53");
    forget_neighbors(&segment, 1);
    assert_eq!(client.ask(SOON), Some(1));
    // Host 3 hears the broadcast by which host 1 asked for host 2.
    assert_eq!(neighbor(&segment, 3, "192.0.2.53"), None);
}

#[test]
fn a_hand_over_loses_nothing() {
    for (address, vip) in VIPS {
        let (segment, data) = (Segment::new(3), [tempdir().unwrap(), tempdir().unwrap()]);
        let mut first = Host::start(&segment, 1, data[0].path());
        let mut second = Host::start(&segment, 2, data[1].path());
        let _servers = [1, 2].map(|host| Server::start(&segment, host, address));
        let group = [vip];
        let vip = first.vip(&group);
        second.vip(&group);
        first.bring(vip, Kernel::Announced);
        let mut client = Client::new(&segment, 3, address);
        assert_eq!(client.ask(SOON), Some(1));
        let (lost, asked) = client.ask_while(|settled| {
            for round in 0..40 {
                let (from, to, number) = match round % 2 {
                    0 => (&mut first, &mut second, 2),
                    _ => (&mut second, &mut first, 1),
                };
                to.bring(vip, Kernel::Ready);
                from.bring(vip, Kernel::Ready);
                to.bring(vip, Kernel::Announced);
                until(SOON, "the client has learnt of it", || {
                    (neighbor(&segment, 3, address)? == segment.mac(number)).then_some(())
                });
                // What came before is answered from an address that still stands: it lingers.
                settled();
                from.bring(vip, Kernel::Absent);
            }
        });
        assert_eq!(lost, 0, "of {asked} to {address}");
    }
}

#[test]
fn a_vip_is_never_the_source_of_other_traffic() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    segment.ip(1, "route add default via 192.0.2.254");
    segment.ip(1, "route add 198.51.100.0/24 dev eth0");
    segment.ip(1, "-6 route add default via 2001:db8::fe");
    let mut host = Host::start(&segment, 1, data.path());
    let vip = host.vip(&["192.0.2.53/24", "2001:db8::53/64"]);
    let sources = |state| {
        for (target, source) in [
            ("192.0.2.7", "192.0.2.1"),
            ("203.0.113.7", "192.0.2.1"),
            ("198.51.100.7", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::1"),
            ("2001:db8:1::7", "2001:db8::1"),
        ] {
            let route = segment.ip(1, &format!("route get {target}"));
            assert!(
                route.contains(&format!("src {source} ")),
                "{state}: {route}"
            );
        }
    };
    for state in [Kernel::Ready, Kernel::Announced] {
        host.bring(vip, state);
        sources(state);
    }
    // The address of the interface comes anew, as with DHCP: it is last in the kernel's list.
    segment.ip(1, "address del 192.0.2.1/24 dev eth0");
    assert!(stands(&segment, 1, "192.0.2.53", "eth0"));
    segment.ip(1, "address add 192.0.2.1/24 dev eth0");
    segment.ip(1, "route replace default via 192.0.2.254");
    segment.ip(1, "route replace 198.51.100.0/24 dev eth0");
    sources(Kernel::Announced);
}

#[test]
fn a_group_comes_whole_or_not_at_all() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    let group = ["192.0.2.53/24", "192.0.2.54/24", "2001:db8::53/64"];
    let vip = host.vip(&group);
    segment.ip(1, "address add 192.0.2.54/32 dev lo");
    let (is, why) = host.fail(vip, Kernel::Ready);
    assert_eq!(
        (is, why.as_str()),
        (Kernel::Absent, "192.0.2.54 stands on lo already")
    );
    assert!(!stands(&segment, 1, "192.0.2.53", "lo"));
    let unfit = host.wait_unfit(vip);
    assert!(unfit.to_string().contains("remove it there"), "{unfit}");
    segment.ip(1, "address del 192.0.2.54/32 dev lo");
    host.wait_can(vip, &Ok(()));
    host.bring(vip, Kernel::Announced);
    // One of them is taken away by hand: the others go too.
    segment.ip(1, "address del 192.0.2.54/32 dev eth0");
    host.wait_lost(vip);
    for address in ["192.0.2.53", "2001:db8::53"] {
        assert!(!stands(&segment, 1, address, "eth0"));
    }
    host.bring(vip, Kernel::Announced);
    assert!(stands(&segment, 1, "192.0.2.54", "eth0"));
}

#[test]
fn what_an_interface_can_is_told_at_once() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    let vips = host.vips(&[
        &["192.0.2.53/24"],
        &["198.51.100.53/24"],
        &["192.0.2.54/24@eth1"],
    ]);
    let [here, named, elsewhere] = vips[..] else {
        panic!("three VIPs");
    };
    host.wait_of_can("what can be held", |can| {
        (can.get(&here)?.is_ok()
            && can[&elsewhere] == Err(Unfit::NoInterface)
            && can[&named] == Err(Unfit::NoInterface))
        .then_some(())
    });
    segment.in_bridge("link set p1 down");
    host.wait_can(here, &Err(Unfit::NoCarrier("eth0".to_owned())));
    segment.in_bridge("link set p1 up");
    host.wait_can(here, &Ok(()));
    segment.ip(1, "link add eth1 type veth peer name other");
    segment.ip(1, "address add 198.51.100.1/24 dev eth1");
    host.wait_can(elsewhere, &Err(Unfit::NoCarrier("eth1".to_owned())));
    segment.ip(1, "link set other up");
    segment.ip(1, "link set eth1 up");
    host.wait_can(elsewhere, &Ok(()));
    host.bring(elsewhere, Kernel::Announced);
    segment.ip(1, "address add 192.0.2.9/24 dev eth1");
    host.wait_can(named, &Ok(()));
    segment.ip(1, "link del eth1");
    host.wait_lost(elsewhere);
    host.wait_can(elsewhere, &Err(Unfit::NoInterface));
    segment.ip(1, "address del 192.0.2.1/24 dev eth0");
    host.wait_can(here, &Err(Unfit::NoInterface));
}

#[test]
fn a_dry_run_changes_nothing() {
    let data = tempdir().unwrap();
    let (sender, reports) = channel();
    let settings = dnsd::io::vip::Settings {
        kind: Kind::Log,
        ..settings(data.path())
    };
    let report = Box::new(move |report| drop(sender.send(report)));
    let handle = start(settings, None, report).unwrap();
    let group: std::collections::BTreeSet<_> = ["192.0.2.53/24".parse().unwrap()].into();
    let vip = dnsd::vip::address::group_id(&group);
    handle.order(Order::Vips([(vip, group)].into()));
    handle.order(Order::Change(vip, Kernel::Announced));
    drop(handle);
    assert_eq!(
        reports.iter().collect::<Vec<_>>(),
        [
            Report::Can([(vip, Ok(()))].into()),
            Report::Is(vip, Kernel::Announced)
        ]
    );
}

fn read_setting(segment: &Segment, host: u8, name: &str) -> String {
    segment.within(host, || {
        let path = format!("/proc/sys/net/ipv4/conf/eth0/{name}");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    })
}
