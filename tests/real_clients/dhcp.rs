//! Kea's DHCP-DDNS daemon, one before each of two peers: two clients want one name (RFC 4703).

use crate::{HEARD_TIMEOUT, KEY, SECRET, peers_for};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;
use tests::client::{dig, dig_short, wait_short};
use tests::cluster::ORIGIN;
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;
use tests::program::{Program, copied};

/// How long a daemon may take for all that it is told.
const DONE_TIMEOUT: Duration = Duration::from_secs(60);
/// Names that both want at once.
const ROUNDS: usize = 50;

/// A daemon that updates at one peer.
struct Kea {
    requests: SocketAddr,
    program: Program,
}

impl Kea {
    fn start(folder: &Path, peer: &Daemon) -> Self {
        fs::create_dir(folder).unwrap();
        let requests = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let domain = |name: &str| {
            serde_json::json!({"ddns-domains": [{
                "name": name,
                "key-name": KEY,
                "dns-servers": [{"ip-address": "127.0.0.1", "port": peer.dns.port()}],
            }]})
        };
        let config = serde_json::json!({"DhcpDdns": {
            "ip-address": "127.0.0.1",
            "port": requests.port(),
            "dns-server-timeout": 5_000,
            "tsig-keys": [{"name": KEY, "algorithm": "HMAC-SHA256", "secret": SECRET}],
            "forward-ddns": domain(&format!("{ORIGIN}.")),
            "reverse-ddns": domain("2.0.192.in-addr.arpa."),
            "loggers": [{
                "name": "kea-dhcp-ddns",
                "output_options": [{"output": "stdout"}],
                "severity": "DEBUG",
                "debuglevel": 50,
            }],
        }});
        let mut command = copied(folder, "kea-dhcp-ddns", "kea-dhcp-ddns-server");
        command
            .env("KEA_PIDFILE_DIR", folder)
            .env("KEA_LOCKFILE_DIR", folder);
        let mut program = Program::start("kea-dhcp-ddns", command, &config.to_string(), folder);
        until(HEARD_TIMEOUT, "Kea listens", || {
            program.check_alive();
            // Only then: it says that it has started before it does.
            let log = program.log();
            log.contains("DHCP_DDNS_QUEUE_MGR_STARTED").then_some(())
        });
        Self { requests, program }
    }

    /// Tells it of a lease: 0 one that is new, 1 one that has ended.
    fn tell(&self, change: u8, host: &str, address: &str, client: u8) {
        let request = serde_json::json!({
            "change-type": change,
            "forward-change": true,
            "reverse-change": false,
            "fqdn": format!("{host}.{ORIGIN}."),
            "ip-address": address,
            "dhcid": format!("{client:02X}").repeat(9),
            "lease-expires-on": "20401231235959",
            "lease-length": 3_600,
            "use-conflict-resolution": true,
        });
        let request = request.to_string();
        let size = (request.len() as u16).to_be_bytes();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let datagram = [&size, request.as_bytes()].concat();
        socket.send_to(&datagram, self.requests).unwrap();
    }

    /// How many leases it has brought to an end, well or not.
    fn count(&self, outcome: &str) -> usize {
        self.program.log().matches(outcome).count()
    }
}

const ADDED: &str = "DHCP_DDNS_ADD_SUCCEEDED";
const NOT_ADDED: &str = "DHCP_DDNS_ADD_FAILED";
const REMOVED: &str = "DHCP_DDNS_REMOVE_SUCCEEDED";

#[test]
fn of_two_clients_that_want_one_name_at_two_peers_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers_for(folder.path(), "hmac-sha256", "zonesub");
    let kea = [0, 1].map(|n| Kea::start(&folder.path().join(format!("kea{n}")), &peers[n]));
    for round in 0..ROUNDS {
        let host = format!("race{round}");
        kea[0].tell(0, &host, "192.0.2.10", 0x0a);
        kea[1].tell(0, &host, "192.0.2.11", 0x0b);
    }
    until(DONE_TIMEOUT, "both have tried all names", || {
        let tried = |kea: &Kea| kea.count(ADDED) + kea.count(NOT_ADDED);
        kea.iter().all(|kea| tried(kea) == ROUNDS).then_some(())
    });
    let won = kea.each_ref().map(|kea| kea.count(ADDED));
    assert_eq!(won[0] + won[1], ROUNDS, "each name has one owner: {won:?}");
    for round in 0..ROUNDS {
        let name = format!("race{round}.{ORIGIN}");
        let address = until(DONE_TIMEOUT, "the name is served everywhere", || {
            let address = dig_short(peers[2].dns, &[&name, "A"]);
            (!address.is_empty()).then_some(address)
        });
        assert_eq!(address.lines().count(), 1, "{name}: {address}");
        let owner = dig(peers[2].dns, &[&name, "DHCID", "+noall", "+answer"]);
        assert_eq!(owner.lines().count(), 1, "{name}: {owner}");
    }

    // Its owner moves, by way of the other peer, and goes; nobody else can do either.
    let owner =
        usize::from(dig_short(peers[2].dns, &[&format!("race0.{ORIGIN}"), "A"]) != "192.0.2.10\n");
    let clients = [0x0a, 0x0b];
    kea[1 - owner].tell(0, "race0", "192.0.2.20", clients[owner]);
    until(DONE_TIMEOUT, "the owner has moved", || {
        (kea[1 - owner].count(ADDED) == won[1 - owner] + 1).then_some(())
    });
    wait_short(
        peers[2].dns,
        &[&format!("race0.{ORIGIN}"), "A"],
        "192.0.2.20\n",
    );
    kea[owner].tell(1, "race0", "192.0.2.20", clients[owner]);
    until(DONE_TIMEOUT, "the owner is gone", || {
        (kea[owner].count(REMOVED) == 1).then_some(())
    });
    for peer in &peers {
        until(DONE_TIMEOUT, "the name is gone everywhere", || {
            let left = dig(peer.dns, &[&format!("race0.{ORIGIN}"), "A"]);
            left.contains("status: NXDOMAIN").then_some(())
        });
    }
}
