//! An Ethernet segment of hosts and one client, each in a network namespace, that can be cut apart.
//!
//! ```text
//!        switch ── bridge br0, nftables drops what is cut
//!    p0 │   p1 │   p2 │      │ client
//!  eth0 │ eth0 │ eth0 │ eth0 │
//!   host 0 host 1 host 2   client
//! ```
//! Addresses are the same in all segments; each is a world of its own. There is no loss, delay or
//! reordering: this is about links that carry frames or do not.

use crate::namespace::{Namespace, succeed_with};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Most hosts: those of the largest cluster that was measured before us.
pub const HOSTS_MAX: usize = 12;
/// The client, where a host is named by its number.
pub const CLIENT: usize = HOSTS_MAX;
/// Length of the IPv4 prefix.
pub const PREFIX_4: u8 = 24;
/// Length of the IPv6 prefix.
pub const PREFIX_6: u8 = 64;

/// One segment; all of it is removed when it is dropped.
pub struct Segment {
    /// The hosts, by number.
    pub hosts: Vec<Host>,
    /// Where clients run.
    pub client: Arc<Namespace>,
    switch: Namespace,
    cuts: Cuts,
    islands: Vec<(Instant, Islands)>,
}

/// One host of a segment.
#[derive(Clone)]
pub struct Host {
    /// Its place among the hosts.
    pub number: usize,
    /// Where its processes run.
    pub namespace: Arc<Namespace>,
}

/// Which frames a silent cut takes away; the link stays up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Those from the host and those to it.
    Both,
    /// Those that the host sends.
    FromHost,
    /// Those that are for the host.
    ToHost,
}

/// Which hosts reach each other: the number of each host's island, that of the client last.
/// A host that is cut off in one direction only is an island too: no question is answered there.
pub type Islands = Vec<usize>;

/// What is cut now.
#[derive(Default)]
struct Cuts {
    pulled: Vec<usize>,
    silent: Vec<(usize, Cut)>,
    sets: Vec<Vec<usize>>,
}

impl Segment {
    /// Makes one.
    ///
    /// # Panics
    ///
    /// If `hosts` is above [`HOSTS_MAX`], or without the right to make namespaces.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        assert!(
            hosts <= HOSTS_MAX,
            "the addresses of hosts end at {HOSTS_MAX}"
        );
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = |role: String| Namespace::new(&format!("{number}-{role}"));
        let switch = namespace("switch".to_owned());
        // Ports forward at once, and multicast goes everywhere, as on a switch that does not snoop.
        switch.ip(
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set br0 addrgenmode none up\n",
        );
        let client = Arc::new(namespace("client".to_owned()));
        let client_name = client.name();
        switch.ip(&format!("netns set {client_name} {CLIENT}\n"));
        plug(
            &switch,
            &client,
            "client",
            hosts_mac(HOSTS_MAX),
            client_ip(),
        );
        let hosts: Vec<Host> = (0..hosts)
            .map(|number| Host {
                number,
                namespace: Arc::new(namespace(format!("h{number}"))),
            })
            .collect();
        for host in &hosts {
            let (number, namespace) = (host.number, &host.namespace);
            // With an id there the switch hears what the kernel says of its addresses. A link to it
            // would bring an id of the kernel's choice.
            switch.ip(&format!("netns set {} {number}\n", namespace.name()));
            let addresses = (host.ip(), host.ip6());
            plug(
                &switch,
                namespace,
                &port(number),
                hosts_mac(number),
                addresses,
            );
        }
        let mut segment = Self {
            hosts,
            client,
            switch,
            cuts: Cuts::default(),
            islands: Vec::new(),
        };
        segment.note_islands();
        segment
    }

    /// Pulls the cable of a host: it sees that it has no carrier.
    pub fn pull_cable(&mut self, host: usize) {
        self.cuts.pulled.push(host);
        self.switch.ip(&format!("link set {} down\n", port(host)));
        self.note_islands();
    }

    /// Plugs it in again.
    pub fn plug_cable(&mut self, host: usize) {
        self.cuts.pulled.retain(|pulled| *pulled != host);
        self.switch.ip(&format!("link set {} up\n", port(host)));
        self.note_islands();
    }

    /// Takes a host's carrier away and gives it back at once.
    pub fn flap_carrier(&mut self, host: usize) {
        let port = port(host);
        self.switch
            .ip(&format!("link set {port} down\nlink set {port} up\n"));
    }

    /// Lets frames of a host or the client vanish; nobody's link goes down.
    pub fn cut(&mut self, host: usize, cut: Cut) {
        self.cuts.silent.push((host, cut));
        self.drop_what_is_cut();
    }

    /// Cuts the segment into sets of hosts; the client is with the first.
    pub fn partition(&mut self, sets: &[&[usize]]) {
        self.cuts.sets = sets.iter().map(|set| set.to_vec()).collect();
        self.drop_what_is_cut();
    }

    /// Takes back all cuts and the partition; pulled cables stay pulled.
    pub fn heal(&mut self) {
        self.cuts.silent.clear();
        self.cuts.sets.clear();
        self.drop_what_is_cut();
    }

    /// Which hosts reached each other since when, from the beginning. A moment is that at which the
    /// change was known to be done, some milliseconds late at worst.
    #[must_use]
    pub fn islands(&self) -> &[(Instant, Islands)] {
        &self.islands
    }

    /// Where the client's questions go now.
    #[must_use]
    pub fn reach_of_client(&self) -> Vec<usize> {
        let (_, islands) = self.islands.last().expect("noted at the beginning");
        let client = islands[self.hosts.len()];
        let hosts = 0..self.hosts.len();
        hosts.filter(|host| islands[*host] == client).collect()
    }

    /// The namespace of the switch, which has an id for that of each host: its number.
    #[must_use]
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// One atomic change: no frame passes between an old rule and a new one.
    fn drop_what_is_cut(&mut self) {
        let rules = self.cuts.rules(self.hosts.len());
        let script = format!(
            "table bridge cuts\n\
             delete table bridge cuts\n\
             table bridge cuts {{\n\
             chain forward {{\n\
             type filter hook forward priority 0; policy accept;\n\
             {rules}}}\n}}\n"
        );
        let mut nft = self.switch.command("nft");
        succeed_with(nft.args(["-f", "-"]), &script);
        self.note_islands();
    }

    fn note_islands(&mut self) {
        let islands = self.cuts.islands(self.hosts.len());
        self.islands.push((Instant::now(), islands));
    }
}

impl Host {
    /// Its IPv4 address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 1 + self.number as u8)
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn ip6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1 + self.number as u16)
    }
}

/// The IPv4 address of VIP `number`.
#[must_use]
pub fn vip(number: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, 100 + number as u8).into()
}

/// The IPv6 address of VIP `number`.
#[must_use]
pub fn vip6(number: usize) -> IpAddr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100 + number as u16).into()
}

/// `10.77.0.100/24`: a VIP as it is configured.
#[must_use]
pub fn with_prefix(vip: IpAddr) -> String {
    let prefix = if vip.is_ipv4() { PREFIX_4 } else { PREFIX_6 };
    format!("{vip}/{prefix}")
}

/// Which host has this Ethernet address.
pub(crate) fn station(mac: [u8; 6]) -> Option<usize> {
    let number = usize::from(mac[5]);
    (number <= CLIENT && mac == hosts_mac(number)).then_some(number)
}

/// The Ethernet address of a host.
pub(crate) fn hosts_mac(number: usize) -> [u8; 6] {
    // The second bit of the first byte: administered locally.
    [2, 0x5a, 0, 0, 0, number as u8]
}

fn client_ip() -> (Ipv4Addr, Ipv6Addr) {
    let ip6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x250);
    (Ipv4Addr::new(10, 77, 0, 250), ip6)
}

/// Name of the bridge's port for a host or the client.
fn port(host: usize) -> String {
    match host {
        CLIENT => "client".to_owned(),
        _ => format!("p{host}"),
    }
}

/// Connects a namespace to the bridge, and gives it its addresses.
fn plug(
    switch: &Namespace,
    namespace: &Namespace,
    port: &str,
    mac: [u8; 6],
    (ip, ip6): (Ipv4Addr, Ipv6Addr),
) {
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    namespace.within(|| {
        // Addresses are there at once: nobody else is on the segment.
        std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
    });
    let name = namespace.name();
    switch.ip(&format!(
        "link add {port} type veth peer name eth0 address {mac} netns {name}\n\
         link set {port} addrgenmode none master br0 up\n"
    ));
    namespace.ip(&format!(
        "link set lo up\n\
         link set eth0 up\n\
         address add {ip}/{PREFIX_4} broadcast + dev eth0\n\
         address add {ip6}/{PREFIX_6} dev eth0 nodad\n"
    ));
}

impl Cuts {
    /// The rules that drop what may not pass.
    fn rules(&self, hosts: usize) -> String {
        let mut rules = String::new();
        for (host, cut) in &self.silent {
            let port = port(*host);
            if *cut != Cut::ToHost {
                writeln!(rules, "iifname \"{port}\" drop").unwrap();
            }
            if *cut != Cut::FromHost {
                writeln!(rules, "oifname \"{port}\" drop").unwrap();
            }
        }
        let set_of = |host: usize| self.sets.iter().position(|set| set.contains(&host));
        let mut ports: Vec<_> = (0..hosts).map(|host| (port(host), set_of(host))).collect();
        ports.push((port(CLIENT), self.sets.first().map(|_| 0)));
        for (from, set) in &ports {
            for (to, _) in ports.iter().filter(|(_, other)| other != set) {
                writeln!(rules, "iifname \"{from}\" oifname \"{to}\" drop").unwrap();
            }
        }
        rules
    }

    fn islands(&self, hosts: usize) -> Islands {
        let alone = |host: usize| {
            self.pulled.contains(&host) || self.silent.iter().any(|(silent, _)| *silent == host)
        };
        // Sets come first, then those who are in none, then each who is alone.
        let set_of = |host: usize| match self.sets.iter().position(|set| set.contains(&host)) {
            Some(set) => set,
            None if self.sets.is_empty() => 0,
            None => self.sets.len(),
        };
        let hosts = (0..hosts).map(|host| (host, set_of(host)));
        let stations = hosts.chain([(CLIENT, 0)]);
        let islands = stations.map(|(station, set)| match alone(station) {
            true => 1 + self.sets.len() + station,
            false => set,
        });
        islands.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::until;
    use crate::namespace::succeed;
    use std::net::UdpSocket;
    use std::process::Command;
    use std::time::Duration;

    /// How long a datagram may take on a machine that is busy with other tests.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// One datagram there, one back.
    fn reaches(from: &Host, to: &Host) -> bool {
        let open = |host: &Host| {
            let socket = host
                .namespace
                .within(|| UdpSocket::bind((host.ip(), 0)).unwrap());
            socket
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            let address = socket.local_addr().unwrap();
            (socket, address)
        };
        let ((asking, asker), (asked, at)) = (open(from), open(to));
        let passes = |sender: &UdpSocket, receiver: &UdpSocket, to| {
            sender.send_to(b"?", to).is_ok() && receiver.recv(&mut [0]).is_ok()
        };
        passes(&asking, &asked, at) && passes(&asked, &asking, asker)
    }

    fn wait_reach(segment: &Segment, expected: &[(usize, usize)], unreached: &[(usize, usize)]) {
        let host = |number: usize| &segment.hosts[number];
        for (from, to) in expected {
            until(PATIENCE, &format!("{from} reaches {to}"), || {
                reaches(host(*from), host(*to)).then_some(())
            });
        }
        for (from, to) in unreached {
            assert!(!reaches(host(*from), host(*to)), "{from} to {to} is cut");
        }
    }

    fn has_carrier(host: &Host) -> bool {
        let mut ip = Command::new("ip");
        let shown = succeed(ip.args(["-n", host.namespace.name(), "link", "show", "eth0"]));
        !shown.contains("NO-CARRIER")
    }

    #[test]
    fn a_segment_is_cut_and_healed() {
        let mut segment = Segment::new(4);
        wait_reach(&segment, &[(0, 1), (1, 2), (3, 0)], &[]);
        segment.cut(1, Cut::Both);
        wait_reach(&segment, &[(0, 2)], &[(0, 1), (1, 2)]);
        assert!(has_carrier(&segment.hosts[1]));
        assert_eq!(segment.reach_of_client(), [0, 2, 3]);
        segment.heal();
        wait_reach(&segment, &[(0, 1)], &[]);
        segment.cut(1, Cut::FromHost);
        wait_reach(&segment, &[], &[(0, 1), (1, 0)]);
        segment.heal();
        segment.partition(&[&[0, 2], &[1, 3]]);
        wait_reach(&segment, &[(0, 2), (1, 3)], &[(0, 1), (2, 3)]);
        assert_eq!(segment.reach_of_client(), [0, 2]);
        segment.heal();
        wait_reach(&segment, &[(0, 1), (2, 3)], &[]);
        segment.pull_cable(2);
        assert!(!has_carrier(&segment.hosts[2]));
        wait_reach(&segment, &[(0, 1)], &[(0, 2)]);
        segment.plug_cable(2);
        segment.flap_carrier(2);
        wait_reach(&segment, &[(0, 2)], &[]);
        assert_eq!(segment.islands().last().unwrap().1, [0; 5]);
    }

    #[test]
    fn a_segment_goes_with_its_owner_also_after_a_panic() {
        let name = std::sync::Mutex::new(String::new());
        let panicked = std::thread::scope(|scope| {
            let test = scope.spawn(|| {
                let segment = Segment::new(1);
                name.lock().unwrap().push_str(segment.switch().name());
                drop(name.lock().unwrap());
                panic!("as a test does that fails");
            });
            test.join().is_err()
        });
        assert!(panicked);
        let names = succeed(Command::new("ip").args(["netns", "list"]));
        assert!(!names.contains(name.lock().unwrap().as_str()), "{names}");
    }
}
