//! Secondaries take up zones from a catalog (RFC 9432) by themselves, and give them up.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tests::client::dig;
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
