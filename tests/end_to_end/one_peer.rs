//! A cluster of one: it answers, takes updates and keeps them over kill -9.

use crate::{zone_argument, zone_file};
use std::fs;
use std::process::Command;
use tests::client::{dig, dig_short, nsupdate};
use tests::daemon::Daemon;

fn start(folder: &tempfile::TempDir) -> Daemon {
    let zone = zone_argument(folder.path());
    Daemon::start(
        &folder.path().join("a"),
        &[
            "--zone",
            &zone,
            "--allow-update",
            "127.0.0.0/8",
            "--allow-transfer",
            "127.0.0.0/8",
        ],
    )
}

#[test]
fn queries_are_answered_by_udp_and_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(&folder);
    for transport in ["+notcp", "+tcp"] {
        let ask = |question: &[&str]| dig_short(daemon.dns, &[question, &[transport]].concat());
        assert_eq!(ask(&["www.example.test", "A"]), "192.0.2.80\n");
        assert_eq!(ask(&["WWW.Example.Test", "AAAA"]), "2001:db8::80\n");
        assert_eq!(
            ask(&["a.b.wild.example.test", "TXT"]),
            "\"any name below\"\n"
        );
        assert!(dig(daemon.dns, &["none.example.test", transport]).contains("NXDOMAIN"));
        assert!(dig(daemon.dns, &["example.org", transport]).contains("REFUSED"));
    }
    let soa = dig_short(daemon.dns, &["example.test", "SOA"]);
    assert!(
        soa.contains(" 2026010101 "),
        "the file's serial is the zone's: {soa}"
    );
}

#[test]
fn an_update_answered_noerror_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = start(&folder);
    for round in 0..5 {
        let update =
            format!("zone example.test\nupdate add n{round}.example.test 60 A 192.0.2.{round}");
        nsupdate(daemon.dns, &update).unwrap();
        daemon.kill();
        daemon.restart();
        for earlier in 0..=round {
            assert_eq!(
                dig_short(daemon.dns, &[&format!("n{earlier}.example.test")]),
                format!("192.0.2.{earlier}\n")
            );
        }
        let soa = dig_short(daemon.dns, &["example.test", "SOA"]);
        let serial = 2_026_010_102 + round;
        assert!(soa.contains(&format!(" {serial} ")), "{soa}");
    }
}

#[test]
fn updates_are_refused_where_nothing_allows_them() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let daemon = Daemon::start(&folder.path().join("a"), &["--zone", &zone]);
    let error = nsupdate(
        daemon.dns,
        "zone example.test\nupdate add x.example.test 60 A 192.0.2.1",
    );
    assert!(error.unwrap_err().contains("REFUSED"));
    assert_eq!(dig_short(daemon.dns, &["x.example.test"]), "");
    assert!(dig(daemon.dns, &["example.test", "AXFR"]).contains("Transfer failed"));
}

#[test]
fn prerequisites_hold_and_answers_say_which_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(&folder);
    let update = |commands: &str| {
        nsupdate(daemon.dns, &format!("zone example.test\n{commands}"))
            .err()
            .unwrap_or_default()
    };
    let add = "update add once.example.test 60 A 192.0.2.1";
    assert_eq!(
        update(&format!("prereq nxdomain once.example.test\n{add}")),
        ""
    );
    assert!(update(&format!("prereq nxdomain once.example.test\n{add}")).contains("YXDOMAIN"));
    assert!(update(&format!("prereq yxrrset once.example.test AAAA\n{add}")).contains("NXRRSET"));
    assert!(update(&format!("prereq yxdomain none.example.test\n{add}")).contains("NXDOMAIN"));
    assert_eq!(update("update delete once.example.test A"), "");
    assert_eq!(dig_short(daemon.dns, &["once.example.test"]), "");
}

#[test]
fn a_transfer_and_an_export_give_the_whole_zone() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(&folder);
    nsupdate(
        daemon.dns,
        "zone example.test\nupdate add x.example.test 60 A 192.0.2.1",
    )
    .unwrap();
    let transfer = dig(
        daemon.dns,
        &["example.test", "AXFR", "+noall", "+answer", "+onesoa"],
    );
    assert_eq!(transfer.lines().count(), 7, "{transfer}");
    assert!(transfer.contains("2026010102"), "{transfer}");
    let export = folder.path().join("export.zone");
    daemon.ask(&["zone", "export", "example.test", export.to_str().unwrap()]);
    let checked = Command::new("named-checkzone")
        .arg("example.test")
        .arg(&export)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success() && printed.contains("serial 2026010102"),
        "{printed}"
    );
    assert_eq!(fs::read_to_string(&export).unwrap().lines().count(), 7);
}

#[test]
fn zones_are_imported_listed_shown_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("a"), &[]);
    let file = zone_file(folder.path());
    daemon.ask(&["zone", "import", "example.test", file.to_str().unwrap()]);
    assert_eq!(dig_short(daemon.dns, &["www.example.test"]), "192.0.2.80\n");
    assert!(daemon.ask(&["zone", "list"]).contains("example.test."));
    assert!(
        daemon
            .ask(&["zone", "show", "example.test"])
            .contains("2026010101")
    );
    let again = daemon.command(&["zone", "import", "example.test", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists"));
    daemon.ask(&["zone", "remove", "example.test"]);
    assert!(dig(daemon.dns, &["www.example.test"]).contains("REFUSED"));
}

#[test]
fn a_clean_stop_loses_nothing_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = start(&folder);
    nsupdate(
        daemon.dns,
        "zone example.test\nupdate add x.example.test 60 A 192.0.2.1",
    )
    .unwrap();
    daemon.stop();
    daemon.restart();
    assert_eq!(dig_short(daemon.dns, &["x.example.test"]), "192.0.2.1\n");
}
