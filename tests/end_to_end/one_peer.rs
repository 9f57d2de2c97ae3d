//! A cluster of one: it answers, takes updates and keeps them over kill -9.

use crate::{zone_argument, zone_file};
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use tests::answer::Answer;
use tests::client::{dig, dig_short, nsupdate};
use tests::daemon::{Daemon, START_TIMEOUT};
use zones::Rcode;

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
fn a_prerequisite_may_name_the_serial_that_queries_see() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = start(&folder);
    let update_if = |dns, serial: u32, name: &str| {
        let soa =
            format!("ns1.example.test. hostmaster.example.test. {serial} 3600 600 1209600 60");
        let error = nsupdate(
            dns,
            &format!(
                "zone example.test\nprereq yxrrset example.test SOA {soa}\n\
                 update add {name}.example.test 60 A 192.0.2.1"
            ),
        );
        error.err().unwrap_or_default()
    };
    assert_eq!(update_if(daemon.dns, 2_026_010_101, "a"), "");
    // The second of two who read the same zone is told.
    assert!(update_if(daemon.dns, 2_026_010_101, "b").contains("NXRRSET"));
    assert_eq!(update_if(daemon.dns, 2_026_010_102, "b"), "");
    daemon.kill();
    daemon.restart();
    assert!(update_if(daemon.dns, 2_026_010_102, "c").contains("NXRRSET"));
    assert_eq!(update_if(daemon.dns, 2_026_010_103, "c"), "");
}

#[test]
fn a_retransmit_gets_the_first_answer_though_the_zone_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(&folder);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(START_TIMEOUT)).unwrap();
    let ask = |request: &[u8]| {
        client.send_to(request, daemon.dns).unwrap();
        let mut response = [0; 512];
        let size = client.recv(&mut response).unwrap();
        Answer::read(&response[..size]).unwrap().rcode
    };
    let update = |id: u8| {
        let header = [0, id, 5 << 3, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        let zone = b"\x07example\x04test\0\0\x06\0\x01";
        let record = b"\x01x\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02";
        [&header[..], zone, record, &[id]].concat()
    };
    assert_eq!(ask(&update(1)), Rcode::NOERROR);
    daemon.ask(&["zone", "remove", "example.test"]);
    assert_eq!(ask(&update(1)), Rcode::NOERROR);
    assert_eq!(ask(&update(2)), Rcode::NOTAUTH);
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
