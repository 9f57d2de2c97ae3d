//! A zone file that is imported again: its difference is applied, and what goes on goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::client::{dig, dig_short, nsupdate, wait_short};
use tests::daemon::Daemon;
use tests::deadline::until;
use tests::signer::{Denial, Signer};

const SPREAD: Duration = Duration::from_secs(20);
const ZONE: &str = "$TTL 300
@ SOA ns hostmaster 7 3600 600 1209600 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.80
";

fn two_peers(folder: &Path) -> [Daemon; 2] {
    let args = ["--name", "a", "--allow-update", "127.0.0.0/8"];
    let a = Daemon::start(&folder.join("a"), &args);
    let token = a.ask(&["invite"]);
    let args = ["--name", "b", "--join", token.trim()];
    let b = Daemon::start(&folder.join("b"), &args);
    let peers = [a, b];
    tests::cluster::wait_together(&peers);
    peers
}

fn write(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("zone");
    fs::write(&file, text).unwrap();
    file
}

fn import(peer: &Daemon, file: &Path, more: &[&str]) -> String {
    let import = ["zone", "import", "example.test", file.to_str().unwrap()];
    peer.ask(&[&import[..], more].concat())
}

/// What an import is refused with.
fn refusal(peer: &Daemon, file: &Path, more: &[&str]) -> String {
    let import = ["zone", "import", "example.test", file.to_str().unwrap()];
    let output = peer.command(&[&import[..], more].concat());
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn serial(peer: &Daemon) -> u32 {
    let soa = dig_short(peer.dns, &["example.test", "SOA"]);
    soa.split(' ').nth(2).unwrap_or_default().parse().unwrap()
}

fn wait_answer(peers: &[Daemon], name: &str, expected: &str) {
    for peer in peers {
        wait_short(peer.dns, &[name], expected);
    }
}

fn wait_serial(peers: &[Daemon], expected: u32) {
    for peer in peers {
        until(SPREAD, &format!("the serial is {expected}"), || {
            (serial(peer) == expected).then_some(())
        });
    }
}

#[test]
fn a_second_import_applies_the_difference_and_the_serial_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let peers = two_peers(folder.path());
    let [a, b] = &peers;
    let file = write(folder.path(), ZONE);
    import(a, &file, &[]);
    wait_serial(&peers, 7);
    let same = import(a, &file, &[]);
    assert!(same.contains("nothing is changed, serial 7"), "{same}");

    nsupdate(
        b.dns,
        "zone example.test\nupdate add host.example.test 60 A 192.0.2.1",
    )
    .unwrap();
    wait_answer(&peers, "host.example.test", "192.0.2.1\n");
    wait_serial(&peers, 8);

    // What came by the update is not in this file, and its serial is behind.
    let edited = ZONE.replace("192.0.2.80", "192.0.2.81") + "new A 192.0.2.82\n";
    let file = write(folder.path(), &edited);
    let difference = import(a, &file, &["--dry-run"]);
    let expected = "\
- example.test.	300	IN	SOA	ns.example.test. hostmaster.example.test. 8 3600 600 1209600 60
+ example.test.	300	IN	SOA	ns.example.test. hostmaster.example.test. 9 3600 600 1209600 60
- host.example.test.	60	IN	A	192.0.2.1
+ new.example.test.	300	IN	A	192.0.2.82
- www.example.test.	300	IN	A	192.0.2.80
+ www.example.test.	300	IN	A	192.0.2.81
example.test. would be reloaded: 2 records added, 2 removed, 3 RRsets changed; serial 8 -> 9
the serial of the file, 7, is not ahead of 8: it goes on
";
    assert_eq!(difference, expected);
    assert_eq!(serial(a), 8, "a dry run changes nothing");
    let reloaded = import(a, &file, &[]);
    assert!(reloaded.contains("serial 8 -> 9"), "{reloaded}");
    wait_answer(&peers, "www.example.test", "192.0.2.81\n");
    wait_answer(&peers, "new.example.test", "192.0.2.82\n");
    wait_answer(&peers, "host.example.test", "");
    wait_serial(&peers, 9);

    // A serial that is ahead is taken, at the other peer as well.
    let file = write(folder.path(), &edited.replace(" 7 ", " 2026113001 "));
    let reloaded = import(b, &file, &["--format", "json"]);
    let reloaded: serde_json::Value = serde_json::from_str(&reloaded).unwrap();
    assert_eq!(reloaded["before"], 9);
    assert_eq!(reloaded["after"], 2_026_113_001);
    wait_serial(&peers, 2_026_113_001);

    // A file that is no good changes nothing.
    let file = write(folder.path(), &(edited + "bad A 192.0.2.256\n"));
    let import = ["zone", "import", "example.test", file.to_str().unwrap()];
    let output = a.command(&import);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("zone:7:"));
    assert_eq!(serial(a), 2_026_113_001);
}

#[test]
fn a_change_that_is_larger_than_an_update_is_one_step_too() {
    let folder = tempfile::tempdir().unwrap();
    let peers = two_peers(folder.path());
    let [a, b] = &peers;
    import(a, &write(folder.path(), ZONE), &[]);
    let many: String = (0..8_000)
        .map(|n| format!("host{n} A 10.0.{}.{}\n", n / 250, n % 250))
        .collect();
    let file = write(folder.path(), &format!("{ZONE}{many}"));
    let reloaded = import(b, &file, &[]);
    assert!(reloaded.contains("8000 records added"), "{reloaded}");
    assert!(reloaded.contains("serial 7 -> 8"), "{reloaded}");
    wait_answer(&peers, "host7999.example.test", "10.0.31.249\n");
    wait_serial(&peers, 8);
    // And back, over a restart.
    import(a, &write(folder.path(), ZONE), &[]);
    let mut peers = peers;
    peers[0].stop();
    peers[0].restart();
    wait_answer(&peers, "host7999.example.test", "");
    wait_answer(&peers, "www.example.test", "192.0.2.80\n");
    wait_serial(&peers, 9);
}

#[test]
fn a_zone_that_was_signed_again_is_loaded_by_a_second_import() {
    let folder = tempfile::tempdir().unwrap();
    let peers = two_peers(folder.path());
    let [a, b] = &peers;
    let signer = Signer::new(folder.path().join("keys"));
    let origin = "example.test.".parse().unwrap();
    let signed = |text: &str| {
        let signed = signer.sign(&origin, text, Denial::Nsec);
        write(folder.path(), &signed.text)
    };
    // A zone becomes a signed one, and a signed one is signed again.
    import(a, &write(folder.path(), ZONE), &[]);
    import(a, &signed(&ZONE.replace(" 7 ", " 8 ")), &[]);
    wait_serial(&peers, 8);
    let refused = nsupdate(
        b.dns,
        "zone example.test\nupdate add host.example.test 60 A 192.0.2.1",
    );
    assert!(refused.unwrap_err().contains("REFUSED"));
    let edited = ZONE.replace("192.0.2.80", "192.0.2.81");
    let file = signed(&edited.replace(" 7 ", " 9 "));
    let difference = import(b, &file, &["--dry-run"]);
    assert!(difference.contains("- www.example.test.\t300\tIN\tRRSIG\tA "));
    import(b, &file, &[]);
    wait_answer(&peers, "www.example.test", "192.0.2.81\n");
    wait_serial(&peers, 9);
    let transfer = dig(a.dns, &["www.example.test", "+dnssec", "+noall", "+answer"]);
    assert_eq!(transfer.lines().count(), 2, "{transfer}");

    // Who takes the unsigned file by mistake is told, before anything is changed.
    let unsigned = write(folder.path(), &ZONE.replace(" 7 ", " 10 "));
    let refused = refusal(a, &unsigned, &["--replace"]);
    assert!(refused.contains("import with --force"), "{refused}");

    // Who forgets the serial is told too.
    let file = signed(&ZONE.replace(" 7 ", " 9 "));
    for more in [&["--dry-run"][..], &[], &["--force"]] {
        let told = refusal(a, &file, more);
        assert!(told.contains("sign it with a greater one"), "{told}");
    }
    wait_answer(&peers, "www.example.test", "192.0.2.81\n");

    let unsigned = write(folder.path(), ZONE);
    import(b, &unsigned, &["--force"]);
    wait_answer(&peers, "www.example.test", "192.0.2.80\n");
    let keys = dig_short(a.dns, &["example.test", "DNSKEY"]);
    assert_eq!(keys, "");
}

#[test]
fn an_import_may_be_told_to_discard_changes_and_to_do_without_a_majority() {
    let folder = tempfile::tempdir().unwrap();
    let [a, mut b] = two_peers(folder.path());
    import(&a, &write(folder.path(), ZONE), &[]);
    nsupdate(
        b.dns,
        "zone example.test\nupdate add host.example.test 60 A 192.0.2.1",
    )
    .unwrap();
    let edited = write(folder.path(), &ZONE.replace("192.0.2.80", "192.0.2.81"));
    let reloaded = import(&b, &edited, &["--replace"]);
    assert!(reloaded.contains("serial 8 -> 9"), "{reloaded}");
    let peers = [a, b];
    wait_answer(&peers, "host.example.test", "");
    wait_answer(&peers, "www.example.test", "192.0.2.81\n");
    wait_serial(&peers, 9);

    let [a, other] = peers;
    b = other;
    b.kill();
    let alone = |more: &[&str]| {
        let file = edited.to_str().unwrap();
        a.command(&[&["zone", "import", "new.test", file], more].concat())
    };
    let told = until(SPREAD, "an import needs the majority", || {
        let output = alone(&[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        told.contains("--force imports without them")
            .then_some(told)
    });
    assert!(told.contains("more than half of the members"), "{told}");
    assert!(alone(&["--force"]).status.success());
    b.restart();
    wait_answer(&[a, b], "www.new.test", "192.0.2.81\n");
}
