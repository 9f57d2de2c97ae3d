//! Who may update what: rules made at one peer hold at all, and real clients feel them.

use std::fs;
use std::time::Duration;
use tests::client::{dig, dig_short, nsupdate};
use tests::cluster::{ORIGIN, three_peers};
use tests::daemon::Daemon;
use tests::deadline::until;

/// How long a peer may take to hear of a change.
const HEARD_TIMEOUT: Duration = Duration::from_secs(20);
const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODk=";

/// What nsupdate is told of a change that it signs by this key.
fn update_by(peer: &Daemon, key: &str, change: &str) -> Result<(), String> {
    let script = format!("key hmac-sha256:{key} {SECRET}\nzone {ORIGIN}\nupdate {change}");
    nsupdate(peer.dns, &script)
}

#[test]
fn a_key_does_what_its_rules_say_at_any_peer() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    for key in ["acme.test", "host.test"] {
        peers[0].ask(&["key", "add", key, "--secret", SECRET]);
    }
    // What this machine may do unsigned would hide what the keys may not.
    peers[0].ask(&[
        "policy",
        "revoke",
        "*",
        "update",
        "from",
        "127.0.0.0/8",
        "ANY",
    ]);
    let challenge = format!("_acme-challenge.www.{ORIGIN}");
    let rule = [
        "policy",
        "grant",
        ORIGIN,
        "update",
        "key",
        "acme.test",
        "name",
        &challenge,
    ];
    let terms = ["TXT(2)", "ttl-max", "60", "lease", "5s"];
    let granted = peers[1].ask(&[&rule[..], &terms].concat());
    assert!(granted.starts_with("granted: "), "{granted}");
    peers[2].ask(&[
        "policy",
        "grant",
        ORIGIN,
        "update",
        "key",
        "host.test",
        "subdomain",
        ORIGIN,
    ]);
    let listed = |peer: &Daemon| peer.ask(&["policy", "list", ORIGIN]).lines().count();
    until(HEARD_TIMEOUT, "all peers know the rules", || {
        // The head, and these two.
        peers.iter().all(|peer| listed(peer) == 3).then_some(())
    });

    let refused = |answer: Result<(), String>| {
        let told = answer.unwrap_err();
        assert!(told.contains("REFUSED"), "{told}");
    };
    refused(nsupdate(
        peers[0].dns,
        &format!("zone {ORIGIN}\nupdate add x.{ORIGIN} 60 A 192.0.2.9"),
    ));
    refused(update_by(
        &peers[0],
        "acme.test",
        &format!("add www.{ORIGIN} 60 TXT x"),
    ));
    refused(update_by(
        &peers[1],
        "acme.test",
        &format!("add {challenge} 60 CAA 0 issue x"),
    ));
    refused(update_by(
        &peers[2],
        "host.test",
        &format!("add sub.{ORIGIN} 60 NS ns.test."),
    ));
    update_by(
        &peers[1],
        "host.test",
        &format!("add stays.{ORIGIN} 600 A 192.0.2.9"),
    )
    .unwrap();

    // At most two, at most 60 seconds, and gone after five.
    update_by(
        &peers[2],
        "acme.test",
        &format!("add {challenge} 600 TXT one"),
    )
    .unwrap();
    update_by(
        &peers[0],
        "acme.test",
        &format!("add {challenge} 600 TXT two"),
    )
    .unwrap();
    refused(update_by(
        &peers[1],
        "acme.test",
        &format!("add {challenge} 600 TXT three"),
    ));
    until(HEARD_TIMEOUT, "the second is served everywhere", || {
        let found = dig(peers[2].dns, &[&challenge, "TXT", "+noall", "+answer"]);
        found.contains(" 60 IN\tTXT\t\"two\"").then_some(())
    });
    until(HEARD_TIMEOUT, "the leases end at all peers", || {
        let is_gone = |peer: &Daemon| dig_short(peer.dns, &[&challenge, "TXT"]).is_empty();
        peers.iter().all(is_gone).then_some(())
    });
    for peer in &peers {
        assert_eq!(
            dig_short(peer.dns, &[&format!("stays.{ORIGIN}"), "A"]),
            "192.0.2.9\n"
        );
    }
}

#[test]
fn operators_see_what_would_be_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    let peer = &peers[0];
    peer.ask(&["key", "add", "k.test", "--secret", SECRET]);
    peer.ask(&[
        "policy", "grant", ORIGIN, "update", "key", "k.test", "TXT", "ttl-max", "60",
    ]);
    peer.ask(&["policy", "grant", "*", "transfer", "from", "127.0.0.1"]);
    let test = |sender: &[&str], words: &[&str]| {
        peer.ask(&[&["policy", "test", ORIGIN][..], sender, words].concat())
    };
    let name = format!("new.{ORIGIN}");
    let far = ["--from", "192.0.2.1"];
    let by_key = ["--key", "k.test", "--from", "192.0.2.1"];
    let told = test(&by_key, &["add", &name, "90", "TXT", "x"]);
    assert!(told.contains("policy: allowed"), "{told}");
    assert!(told.contains("TTL 60 at most"), "{told}");
    assert!(
        told.contains(&format!("+ {name}.\t60\tIN\tTXT\t\"x\"")),
        "{told}"
    );
    let told = test(&by_key, &["add", &name, "90", "A", "192.0.2.1"]);
    assert!(
        told.contains(&format!("no rule allows change 1, {name}. A")),
        "{told}"
    );
    let told = test(&far, &["add", &name, "90", "TXT", "x"]);
    assert!(
        told.contains("no rule allows any change by this sender"),
        "{told}"
    );
    assert!(test(&far, &["transfer"]).starts_with("refused: no rule"));
    assert!(test(&["--from", "127.0.0.1"], &["transfer"]).starts_with("allowed"));

    let script = folder.path().join("script");
    let text = format!(
        "server ns.test\nprereq nxdomain {name}\nupdate add {name} 60 A 192.0.2.1\nsend\n\
         prereq yxdomain {name}\nupdate delete {name}\nsend\n"
    );
    fs::write(&script, text).unwrap();
    let script = script.to_str().unwrap();
    let tried = peer.ask(&["update", "--dry-run", script]);
    assert!(tried.contains("answer: NOERROR"), "{tried}");
    assert!(tried.contains("answer: NXDOMAIN"), "{tried}");
    let tried = peer.ask(&[
        "update",
        "--dry-run",
        "--key",
        "k.test",
        script,
        "--format",
        "json",
    ]);
    let tried: serde_json::Value = serde_json::from_str(&tried).unwrap();
    assert_eq!(
        tried[0]["rcode"], "NOERROR",
        "this address may do all: {tried}"
    );
    assert_eq!(dig_short(peer.dns, &[&name, "A"]), "", "nothing was done");

    // What is no rule, no script, no zone: one line each.
    let refused = |args: &[&str], why: &str| {
        let output = peer.command(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains(why) && told.lines().count() == 1,
            "{args:?}: {told}"
        );
    };
    refused(&["policy", "grant", ORIGIN, "update"], "names nobody");
    refused(
        &[
            "policy", "grant", ORIGIN, "update", "key", "k", "name", "a.b",
        ],
        "not in",
    );
    refused(
        &["policy", "grant", "no.test", "transfer", "key", "k.test"],
        "no such zone",
    );
    refused(
        &["policy", "revoke", ORIGIN, "transfer", "key", "k"],
        "no such rule",
    );
    refused(&["policy", "list", "no.test"], "no zone");
    refused(&["policy", "test", ORIGIN, "frob"], "no update");
    fs::write(folder.path().join("bad"), "update add x\n").unwrap();
    let bad = folder.path().join("bad");
    refused(
        &["update", "--dry-run", bad.to_str().unwrap()],
        "bad:1: expected a TTL",
    );
}
