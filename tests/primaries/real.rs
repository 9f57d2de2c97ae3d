//! Transfers from BIND, Knot, NSD and a peer of our own, with and without keys, of large zones and of
//! signed ones.

use super::{Came, SECRET, SECRET_TEXT, ask, assert_same, came, key, origin};
use dnsd::io::primaries::{Ask, Fetched, Means, Patience, Wants, fetch};
use dnsd::tsig::Key;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tests::client::{dig, knsupdate, nsupdate};
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;
use tests::program::{Program, named, program};
use tests::signer::{Denial, Signer};
use tests::zone_text;
use zones::{Rtype, Serial, Version};

const ZONE: &str = "big.test";
/// How long a server may take to start, or to do what it was told.
const SPREAD: Duration = Duration::from_secs(60);
const METHODS: [&str; 2] = ["hmac-sha256", "hmac-sha512"];

/// A zone of so many records.
fn zone(count: usize) -> String {
    let mut text = "$TTL 300\n@ SOA ns hostmaster 7 3600 600 1209600 60\n@ NS ns\n\
                    ns A 192.0.2.53\n"
        .to_owned();
    for number in 0..count - 3 {
        // Some below others, some with several records, capitals here and there.
        let (low, high) = (number % 251, number / 251 % 251);
        match number % 4 {
            0 => writeln!(text, "host{number} A 192.{high}.2.{low}"),
            1 => writeln!(text, "Mail.host{number} MX 10 Host{low}.big.test."),
            2 => writeln!(text, "group{} TXT \"text of {number}\"", number / 40),
            _ => writeln!(text, "*.w{number} 60 AAAA 2001:db8::{low:x}:{high:x}"),
        }
        .unwrap();
    }
    text
}

fn version(zone: &str, text: &str) -> Version {
    let records = zone_text::read(&origin(zone), text);
    Version::from_records(&origin(zone), &records).unwrap()
}

fn keys() -> [Key; 2] {
    METHODS.map(|method| key(&format!("{method}.test"), method, SECRET))
}

/// A server with one zone.
struct Primary {
    address: SocketAddr,
    program: Program,
}

fn start(folder: &Path, name: &str, config: impl Fn(SocketAddr) -> String) -> Primary {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let command = match name {
        "named" => named(folder),
        "nsd" => program("nsd", &["-d"]),
        _ => program("knotd", &[]),
    };
    let mut process = Program::start(name, command, &config(address), folder);
    until(SPREAD, "the zone is served", || {
        process.check_alive();
        let soa = dig(address, &[ZONE, "SOA", "+short", "+tcp"]);
        soa.contains("hostmaster").then_some(())
    });
    Primary {
        address,
        program: process,
    }
}

/// BIND with what follows as the text of its zone, which is in the file `zone`.
fn bind(folder: &Path, statements: &str, of_zone: &str) -> Primary {
    start(folder, "named", |address| {
        let (path, ip, port) = (folder.display(), address.ip(), address.port());
        let keys: String = METHODS
            .iter()
            .map(|method| {
                format!(
                    "key \"{method}.test\" {{ algorithm {method}; secret \"{SECRET_TEXT}\"; }};\n"
                )
            })
            .collect();
        format!(
            "options {{\n\
             directory \"{path}\";\n\
             key-directory \"{path}\";\n\
             pid-file none;\n\
             session-keyfile none;\n\
             listen-on port {port} {{ {ip}; }};\n\
             listen-on-v6 {{ none; }};\n\
             recursion no;\n\
             allow-transfer {{ any; }};\n\
             notify no;\n\
             dnssec-validation no;\n\
             empty-zones-enable no;\n\
             }};\n\
             controls {{ }};\n\
             {keys}{statements}\n\
             zone \"{ZONE}\" {{ type primary; file \"zone\"; allow-update {{ any; }}; {of_zone} }};\n"
        )
    })
}

/// The whole zone that a primary has, whatever is held.
fn whole(primary: SocketAddr, key: Option<&Key>) -> Came {
    let ask = Ask {
        origin: origin(ZONE),
        primary,
        key: key.cloned(),
        held: None,
        wants: Wants::Whole,
    };
    came(fetch(&ask, &Patience::DEFAULT).unwrap())
}

/// Follows a primary that may go on by itself until both have the same serial, and then the same
/// content.
fn follow(primary: SocketAddr, key: Option<&Key>, held: &Came) -> Came {
    let mut held = held.clone();
    until(SPREAD, "both have the same serial", || {
        if let Fetched::Newer {
            version,
            serial,
            means,
            ..
        } = ask(primary, ZONE, key, Some(&held), &Patience::DEFAULT).unwrap()
        {
            held = Came {
                version,
                serial,
                means,
            };
        }
        let all = whole(primary, key);
        if all.serial != held.serial {
            return None;
        }
        assert_same(&held.version, &all.version);
        Some(())
    });
    held
}

#[test]
fn a_large_zone_comes_whole_and_then_by_differences() {
    const COUNT: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let text = zone(COUNT);
    fs::write(folder.path().join("zone"), &text).unwrap();
    let server = bind(folder.path(), "", "");
    let primary = server.address;
    let [short, long] = keys();
    let expected = version(ZONE, &text);
    assert_eq!(expected.counts().records as usize, COUNT);
    let mut all_held = Vec::new();
    for key in [None, Some(&short), Some(&long)] {
        let first = came(ask(primary, ZONE, key, None, &Patience::DEFAULT).unwrap());
        assert_eq!((first.serial, first.means), (Serial(7), Means::Whole));
        assert_same(&first.version, &expected);
        let again = ask(primary, ZONE, key, Some(&first), &Patience::DEFAULT);
        assert!(
            matches!(again, Ok(Fetched::UpToDate(Serial(7)))),
            "{again:?}"
        );
        all_held.push((key, first));
    }

    // Each its own serial: several sequences in one answer.
    let updates = [
        "update delete host0.big.test. A\nupdate add new.deep.big.test. 60 TXT new",
        "update add big.test. 300 MX 10 host4.big.test.\nupdate delete ns.big.test. A\n\
         update add ns.big.test. 60 A 192.0.2.54",
        "update delete new.deep.big.test.\nupdate add host8.big.test. 300 A 192.0.2.200\n\
         update add HOST8.big.test. 77 A 192.0.2.201",
        "update delete group3.big.test. TXT\nupdate add x.*.big.test. 1 CNAME ns",
    ];
    for update in updates {
        nsupdate(primary, &format!("zone {ZONE}\n{update}")).unwrap();
    }
    let new = whole(primary, None);
    assert_eq!(new.serial, Serial(11));
    for (key, held) in all_held {
        let next = came(ask(primary, ZONE, key, Some(&held), &Patience::DEFAULT).unwrap());
        assert_eq!((next.serial, next.means), (Serial(11), Means::Differences));
        assert!(
            next.version.changed_names() < 50,
            "it stands on the old base"
        );
        assert_same(&next.version, &new.version);
        // From elsewhere: nothing goes back.
        let ahead = Came {
            serial: Serial(12),
            ..next
        };
        let behind = ask(primary, ZONE, key, Some(&ahead), &Patience::DEFAULT);
        assert!(
            matches!(behind, Ok(Fetched::Behind(Serial(11)))),
            "{behind:?}"
        );
    }
    // The journal does not know this serial, so BIND sends the whole zone.
    let old = Came {
        version: expected,
        serial: Serial(3),
        means: Means::Whole,
    };
    let next = came(ask(primary, ZONE, None, Some(&old), &Patience::DEFAULT).unwrap());
    assert_eq!((next.serial, next.means), (Serial(11), Means::Whole));
    assert_same(&next.version, &new.version);
    // What is held is not what the primary believes.
    let other = Came {
        version: version(ZONE, &zone(50)),
        serial: Serial(10),
        means: Means::Whole,
    };
    let next = came(
        ask(
            primary,
            ZONE,
            Some(&short),
            Some(&other),
            &Patience::DEFAULT,
        )
        .unwrap(),
    );
    assert_eq!((next.serial, next.means), (Serial(11), Means::Whole));

    let refused = |key: Key| {
        let error = ask(primary, ZONE, Some(&key), None, &Patience::DEFAULT).unwrap_err();
        error.to_string()
    };
    let unknown = refused(key("other.test", "hmac-sha256", SECRET));
    assert!(unknown.contains("BADKEY"), "{unknown}");
    let wrong = refused(key("hmac-sha256.test", "hmac-sha256", b"another"));
    assert!(wrong.contains("BADSIG"), "{wrong}");
    let elsewhere = ask(primary, "elsewhere.test", None, None, &Patience::DEFAULT);
    let elsewhere = elsewhere.unwrap_err().to_string();
    assert!(elsewhere.starts_with("the primary answers "), "{elsewhere}");
}

#[test]
fn a_large_zone_comes_from_nsd_to_who_has_a_key() {
    const COUNT: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    // NSD does not keep capitals.
    let text = zone(COUNT).replace("Mail", "mail").replace("Host", "host");
    fs::write(folder.path().join("zone"), &text).unwrap();
    let primary = start(folder.path(), "nsd", |address| {
        let (path, ip, port) = (folder.path().display(), address.ip(), address.port());
        let keys = METHODS.map(|method| {
            format!(
                "key:\n  name: \"{method}.test\"\n  algorithm: {method}\n  secret: \"{SECRET_TEXT}\"\n"
            )
        });
        let provide = METHODS.map(|method| format!("  provide-xfr: 127.0.0.1 {method}.test\n"));
        format!(
            "server:\n\
             \x20 ip-address: {ip}@{port}\n\
             \x20 server-count: 1\n\
             \x20 username: \"\"\n\
             \x20 database: \"\"\n\
             \x20 zonesdir: \"{path}\"\n\
             \x20 pidfile: \"{path}/nsd.pid\"\n\
             \x20 xfrdfile: \"{path}/xfrd.state\"\n\
             \x20 xfrdir: \"{path}\"\n\
             \x20 zonelistfile: \"{path}/zone.list\"\n\
             remote-control:\n\
             \x20 control-enable: no\n\
             {}\
             zone:\n\
             \x20 name: \"{ZONE}\"\n\
             \x20 zonefile: \"zone\"\n\
             {}",
            keys.concat(),
            provide.concat()
        )
    });
    let expected = version(ZONE, &text);
    for key in keys() {
        let first = came(ask(primary.address, ZONE, Some(&key), None, &Patience::DEFAULT).unwrap());
        assert_same(&first.version, &expected);
    }
    let refused = ask(primary.address, ZONE, None, None, &Patience::DEFAULT);
    let refused = refused.unwrap_err().to_string();
    assert_eq!(refused, "the primary answers REFUSED");
}

/// Changes that come while a zone is signed: names with and without others below them, delegations.
const UPDATES: [&str; 4] = [
    "update add new.big.test. 300 A 192.0.2.1",
    "update add a.b.c.big.test. 60 TXT deep\nupdate delete host0.big.test. A",
    "update add sub.big.test. 60 NS ns.sub.big.test.\nupdate add ns.sub.big.test. 60 A 192.0.2.2",
    "update delete a.b.c.big.test. TXT\nupdate add big.test. 300 MX 5 new.big.test.",
];

#[test]
fn a_zone_that_bind_signs_is_followed_by_differences() {
    for denial in ["", "nsec3param iterations 0 optout no salt-length 0;"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("zone"), zone(200)).unwrap();
        let policy = format!(
            "dnssec-policy \"own\" {{ keys {{ csk lifetime unlimited algorithm ecdsap256sha256; }}; \
             {denial} }};"
        );
        let of_zone = "dnssec-policy \"own\"; inline-signing no;";
        let server = bind(folder.path(), &policy, of_zone);
        let primary = server.address;
        let key = &keys()[0];
        let mut held = until(SPREAD, "all is signed", || {
            let came = whole(primary, Some(key));
            let has_chain = |version: &Version| {
                let chain = match denial {
                    "" => Rtype::NSEC,
                    _ => Rtype::NSEC3PARAM,
                };
                version.apex().rrset(chain).is_some() && version.signed_serial().is_some()
            };
            has_chain(&came.version).then_some(came)
        });
        for update in UPDATES {
            nsupdate(primary, &format!("zone {ZONE}\n{update}")).unwrap();
            held = follow(primary, Some(key), &held);
            assert_eq!(held.means, Means::Differences);
            assert_eq!(held.version.signed_serial(), Some(held.serial));
        }
    }
}

#[test]
fn a_zone_that_knot_signs_is_followed_by_differences() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("zone"), zone(200)).unwrap();
    let server = start(folder.path(), "knotd", |address| {
        let (path, ip, port) = (folder.path().display(), address.ip(), address.port());
        format!(
            "server:\n\
             \x20   rundir: \"{path}\"\n\
             \x20   listen: {ip}@{port}\n\
             \x20   udp-workers: 1\n\
             \x20   tcp-workers: 1\n\
             \x20   background-workers: 1\n\
             control:\n\
             \x20   listen: \"{path}/knot.sock\"\n\
             log:\n\
             \x20 - target: stderr\n\
             \x20   any: info\n\
             database:\n\
             \x20   storage: \"{path}\"\n\
             key:\n\
             \x20 - id: hmac-sha256.test\n\
             \x20   algorithm: hmac-sha256\n\
             \x20   secret: {SECRET_TEXT}\n\
             acl:\n\
             \x20 - id: all\n\
             \x20   address: 127.0.0.0/8\n\
             \x20   action: [transfer, update]\n\
             \x20 - id: signed\n\
             \x20   key: hmac-sha256.test\n\
             \x20   action: transfer\n\
             policy:\n\
             \x20 - id: own\n\
             \x20   single-type-signing: on\n\
             \x20   nsec3: on\n\
             \x20   nsec3-iterations: 0\n\
             \x20   nsec3-salt-length: 0\n\
             zone:\n\
             \x20 - domain: \"{ZONE}\"\n\
             \x20   storage: \"{path}\"\n\
             \x20   file: zone\n\
             \x20   zonefile-load: difference\n\
             \x20   acl: [all, signed]\n\
             \x20   dnssec-signing: on\n\
             \x20   dnssec-policy: own\n"
        )
    });
    let primary = server.address;
    let key = &keys()[0];
    let mut held = until(SPREAD, "it is signed", || {
        let came = whole(primary, Some(key));
        came.version.signed_serial().is_some().then_some(came)
    });
    assert!(held.version.apex().rrset(Rtype::NSEC3PARAM).is_some());
    for update in UPDATES {
        knsupdate(primary, &format!("zone {ZONE}\n{update}")).unwrap();
        held = follow(primary, Some(key), &held);
        assert_eq!(held.means, Means::Differences);
        assert_eq!(held.version.signed_serial(), Some(held.serial));
    }
}

#[test]
fn a_zone_signed_elsewhere_and_loaded_again_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new(folder.path().join("signer"));
    let (name, text) = (origin(ZONE), zone(100));
    let first = signer.sign(&name, &text, Denial::Nsec3).text;
    let second = text.replace(" 7 3600", " 8 3600") + "more A 192.0.2.9\n";
    let second = signer.sign(&name, &second, Denial::Nsec3).text;
    let own = folder.path().join("primary");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("zone"), &first).unwrap();
    // What allows updates takes no file again.
    let primary = {
        let config = |address: SocketAddr| {
            let (path, ip, port) = (own.display(), address.ip(), address.port());
            format!(
                "options {{ directory \"{path}\"; pid-file none; session-keyfile none;\n\
                 listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no;\n\
                 allow-transfer {{ any; }}; notify no; dnssec-validation no;\n\
                 empty-zones-enable no; }};\n\
                 controls {{ }};\n\
                 zone \"{ZONE}\" {{ type primary; file \"zone\"; ixfr-from-differences yes;\n\
                 max-ixfr-ratio unlimited; }};\n"
            )
        };
        start(&own, "named", config)
    };
    let address = primary.address;
    let held = whole(address, None);
    assert_eq!(held.version.signed_serial(), Some(Serial(7)));
    assert_same(&held.version, &version(ZONE, &first));
    fs::write(own.join("zone"), &second).unwrap();
    primary.program.hang_up();
    until(SPREAD, "it is loaded again", || {
        let soa = dig(address, &[ZONE, "SOA", "+short", "+tcp"]);
        soa.contains(" 8 3600").then_some(())
    });
    let next = came(ask(address, ZONE, None, Some(&held), &Patience::DEFAULT).unwrap());
    assert_eq!(next.means, Means::Differences);
    assert_same(&next.version, &version(ZONE, &second));
}

#[test]
fn a_peer_of_another_cluster_is_a_primary_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    let text = zone(500);
    fs::write(&file, &text).unwrap();
    let zone_argument = format!("{ZONE}={}", file.display());
    let open = [
        "--allow-update",
        "127.0.0.0/8",
        "--allow-transfer",
        "127.0.0.0/8",
    ];
    let args = [&["--zone", &zone_argument], &open[..]].concat();
    let peer = Daemon::start(&folder.path().join("data"), &args);
    let held = until(SPREAD, "it is published", || {
        let fetched = ask(peer.dns, ZONE, None, None, &Patience::DEFAULT);
        fetched.ok().map(came)
    });
    assert_same(&held.version, &version(ZONE, &text));
    for update in UPDATES {
        nsupdate(peer.dns, &format!("zone {ZONE}\n{update}")).unwrap();
    }
    until(SPREAD, "all is published", || {
        (whole(peer.dns, None).serial == Serial(11)).then_some(())
    });
    let next = follow(peer.dns, None, &held);
    assert_eq!((next.serial, next.means), (Serial(11), Means::Differences));
}
