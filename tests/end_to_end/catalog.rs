//! Zones that catalogs list (RFC 9432) come and go by themselves: at secondaries, and at our peers.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tests::client::{dig, nsupdate};
use tests::cluster::three_peers;
use tests::daemon::free_port;
use tests::deadline::until;
use tests::program::{Program, named, program};

/// How long a secondary may take to hear of a zone.
const SPREAD: Duration = Duration::from_secs(40);
const CATALOG: &str = "catalog.test";

/// BIND, which knows the catalog alone.
fn bind(folder: &Path, address: SocketAddr, primary: SocketAddr) -> Program {
    fs::create_dir(folder).unwrap();
    let (place, ip, port) = (folder.display(), address.ip(), address.port());
    let primaries = format!("{{ {} port {}; }}", primary.ip(), primary.port());
    let config = format!(
        "options {{ directory \"{place}\"; pid-file none; session-keyfile none;\n\
         listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
         recursion no; notify no; dnssec-validation no; allow-notify {{ 127.0.0.0/8; }};\n\
         catalog-zones {{ zone \"{CATALOG}\" default-primaries {primaries} in-memory yes \
         min-update-interval 1; }};\n}};\ncontrols {{ }};\n\
         zone \"{CATALOG}\" {{ type secondary; primaries {primaries}; file \"catalog\"; }};\n"
    );
    Program::start("named", named(folder), &config, folder)
}

/// Knot, likewise.
fn knot(folder: &Path, address: SocketAddr, primary: SocketAddr) -> Program {
    fs::create_dir_all(folder.join("db")).unwrap();
    let (place, ip, port) = (folder.display(), address.ip(), address.port());
    let config = format!(
        "server:\n  rundir: \"{place}\"\n  listen: {ip}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n\
         control:\n  listen: \"{place}/knot.sock\"\n\
         log:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: \"{place}/db\"\n\
         remote:\n  - id: peer\n    address: {}@{}\n\
         acl:\n  - id: peers\n    address: 127.0.0.0/8\n    action: notify\n\
         template:\n  - id: default\n    storage: \"{place}\"\n  - id: member\n    master: peer\n    \
         acl: peers\n    storage: \"{place}\"\n\
         zone:\n  - domain: {CATALOG}\n    master: peer\n    acl: peers\n    \
         catalog-role: interpret\n    catalog-template: member\n",
        primary.ip(),
        primary.port(),
    );
    Program::start("knotd", program("knotd", &[]), &config, folder)
}

#[test]
fn secondaries_take_up_zones_that_come_and_give_up_those_that_go() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    peers[0].ask(&["policy", "grant", "*", "transfer", "from", "127.0.0.0/8"]);
    let made = peers[1].ask(&["zone", "catalog", CATALOG]);
    assert!(made.contains("is a catalog"), "{made}");
    let secondaries = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let targets = secondaries.map(|address| address.to_string()).join(",");
    peers[2].ask(&["zone", "set", CATALOG, &format!("also-notify={targets}")]);
    let _bind = bind(&folder.path().join("bind"), secondaries[0], peers[0].dns);
    let _knot = knot(&folder.path().join("knot"), secondaries[1], peers[1].dns);
    let serve = |zone: &str, serves: bool| {
        for secondary in secondaries {
            let what = format!("{secondary} serves {zone}: {serves}");
            until(SPREAD, &what, || {
                let answer = dig(secondary, &[zone, "SOA", "+noedns"]);
                (answer.contains("hostmaster") == serves).then_some(())
            });
        }
    };
    // What is there when the catalog comes into being, and what comes later, at any peer.
    serve("example.test", true);
    let file = folder.path().join("zone");
    fs::write(
        &file,
        "@ 60 SOA ns hostmaster 1 3600 600 1209600 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    peers[0].ask(&["zone", "import", "new.test", file]);
    serve("new.test", true);
    peers[1].ask(&["zone", "remove", "example.test"]);
    serve("example.test", false);
    // One that names another catalog is not in this one.
    peers[2].ask(&["zone", "set", "new.test", "in-catalog=other.test"]);
    serve("new.test", false);
    let again = peers[0].command(&["zone", "catalog", CATALOG]);
    assert_eq!(again.status.code(), Some(1));
    let history = peers[0].ask(&["zone", "history", CATALOG]);
    assert!(history.contains("zones that came or went"), "{history}");
}

/// BIND with a catalog that lists the first of two zones, which it tells this server of.
fn bind_with_catalog(folder: &Path, address: SocketAddr, peer: SocketAddr) -> Program {
    fs::create_dir(folder).unwrap();
    let soa = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 1209600 60\n@ NS ns\nns A 192.0.2.53\n";
    for zone in ["one", "two"] {
        fs::write(folder.join(zone), soa).unwrap();
    }
    fs::write(
        folder.join("catalog"),
        "$TTL 60\n@ SOA invalid. invalid. 1 3600 600 1209600 60\n@ NS invalid.\n\
         version TXT \"2\"\nfirst.zones PTR one.test.\n",
    )
    .unwrap();
    let (place, ip, port) = (folder.display(), address.ip(), address.port());
    let tell = format!("{} port {}", peer.ip(), peer.port());
    let zone = |name: &str, file: &str| {
        format!("zone \"{name}\" {{ type primary; file \"{file}\"; allow-update {{ any; }}; }};\n")
    };
    let zones = [
        zone(CATALOG, "catalog"),
        zone("one.test", "one"),
        zone("two.test", "two"),
    ];
    let config = format!(
        "options {{ directory \"{place}\"; pid-file none; session-keyfile none;\n\
         listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
         recursion no; notify explicit; also-notify {{ {tell}; }}; notify-delay 0;\n\
         allow-transfer {{ any; }}; dnssec-validation no; }};\ncontrols {{ }};\n{}",
        zones.concat()
    );
    Program::start("named", named(folder), &config, folder)
}

#[test]
fn zones_come_and_go_as_the_catalog_of_a_primary_says() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut primary = bind_with_catalog(&folder.path().join("primary"), address, peers[1].dns);
    until(SPREAD, "the primary serves", || {
        primary.check_alive();
        dig(address, &["two.test", "SOA", "+tcp"])
            .contains("hostmaster")
            .then_some(())
    });
    let from = address.to_string();
    peers[0].ask(&["zone", "catalog", CATALOG, "--from", &from]);
    let waits = |zone: &str, status: &str| {
        for peer in &peers {
            until(SPREAD, "the zones are as the catalog says", || {
                dig(peer.dns, &[zone, "SOA"])
                    .contains(&format!("status: {status},"))
                    .then_some(())
            });
        }
    };
    waits("one.test", "NOERROR");
    let refused = peers[2].command(&["zone", "remove", "one.test"]);
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(reason.contains("a catalog"), "{reason}");
    let change = |change: &str| {
        nsupdate(address, &format!("zone {CATALOG}\n{change}")).unwrap();
    };
    change(&format!(
        "update add second.zones.{CATALOG} 60 PTR two.test."
    ));
    waits("two.test", "NOERROR");
    change(&format!("update delete first.zones.{CATALOG}"));
    waits("one.test", "REFUSED");
    // A member is followed as any other zone of a primary.
    nsupdate(
        address,
        "zone two.test\nupdate add www.two.test 60 A 192.0.2.1",
    )
    .unwrap();
    until(SPREAD, "a change of a member comes", || {
        dig(peers[2].dns, &["www.two.test"])
            .contains("192.0.2.1")
            .then_some(())
    });
}
