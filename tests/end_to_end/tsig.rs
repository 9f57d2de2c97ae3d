//! TSIG with the clients of BIND and Knot: keys are made at one peer and good at all.

use std::fs;
use std::time::Duration;
use tests::client::{dig, kdig, knsupdate, nsupdate, wait_short};
use tests::cluster::{ORIGIN, three_peers};
use tests::daemon::Daemon;
use tests::deadline::until;

/// How long a peer may take to hear of a key.
const HEARD_TIMEOUT: Duration = Duration::from_secs(20);
/// Secrets of 20 bytes, long enough for each algorithm.
const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODk=";
const OTHER_SECRET: &str = "OTg3NjU0MzIxMDk4NzY1NDMyMTA=";

/// What dig says of the answer to a question that it signs by this key.
fn asked_by(peer: &Daemon, key: &str, secret: &str, more: &[&str]) -> String {
    let key = format!("{key}:{secret}");
    dig(peer.dns, &[&["-y", &key, ORIGIN], more].concat())
}

/// Whether the answer is signed, and the signature is that of the key.
fn is_verified(output: &str) -> bool {
    output.contains("TSIG PSEUDOSECTION") && !output.contains("verify")
}

fn wait_known(peers: &[Daemon], key: &str, secret: &str) {
    until(HEARD_TIMEOUT, "all peers know the key", || {
        peers
            .iter()
            .all(|peer| is_verified(&asked_by(peer, key, secret, &["SOA"])))
            .then_some(())
    });
}

#[test]
fn clients_sign_by_any_algorithm_at_any_peer_until_the_key_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let peers = three_peers(folder.path());
    let clause = |algorithm: &str| {
        format!("key \"{algorithm}.test\" {{ algorithm {algorithm}; secret \"{SECRET}\"; }};\n")
    };
    let algorithms = [
        "hmac-md5",
        "hmac-sha1",
        "hmac-sha224",
        "hmac-sha256",
        "hmac-sha384",
        "hmac-sha512",
    ];
    let file = folder.path().join("keys.conf");
    fs::write(&file, algorithms.map(clause).concat()).unwrap();
    let imported = peers[0].command(&["key", "import", file.to_str().unwrap()]);
    assert!(imported.status.success(), "{imported:?}");
    let warnings = String::from_utf8(imported.stderr).unwrap();
    assert_eq!(warnings.matches("is weak").count(), 2, "{warnings}");
    for algorithm in algorithms {
        wait_known(&peers, &format!("{algorithm}:{algorithm}.test"), SECRET);
    }
    let key = "hmac-sha256:hmac-sha256.test";
    let answered = kdig(
        peers[1].dns,
        &[ORIGIN, "SOA", "-y", &format!("{key}:{SECRET}")],
    );
    assert!(answered.contains("NOERROR"), "{answered}");

    // Who has not the secret learns why, and nothing else.
    let check = |key: &str, secret: &str, error: &str| {
        let output = asked_by(&peers[2], key, secret, &["SOA"]);
        assert!(output.contains("status: NOTAUTH"), "{output}");
        assert!(output.contains(error), "{output}");
        assert!(!output.contains("hostmaster"), "{output}");
    };
    check(key, OTHER_SECRET, "BADSIG");
    check("hmac-sha256:nobody.test", SECRET, "BADKEY");
    check("hmac-sha512:hmac-sha256.test", SECRET, "BADKEY");

    // Updates: each at another peer, and refused if the signature is not good.
    let key_line = format!("key {key} {SECRET}");
    let add = |name: &str| format!("zone {ORIGIN}\nupdate add {name}.{ORIGIN} 60 A 192.0.2.9");
    nsupdate(peers[1].dns, &format!("{key_line}\n{}", add("by-ns"))).unwrap();
    knsupdate(peers[2].dns, &format!("{key_line}\n{}", add("by-kns"))).unwrap();
    let forged = format!("key {key} {OTHER_SECRET}\n{}", add("forged"));
    let refused = nsupdate(peers[1].dns, &forged).unwrap_err();
    assert!(refused.contains("BADSIG"), "{refused}");
    for name in ["by-ns", "by-kns"] {
        wait_short(peers[0].dns, &[&format!("{name}.{ORIGIN}")], "192.0.2.9\n");
    }
    let forged = dig(peers[0].dns, &[&format!("forged.{ORIGIN}"), "A"]);
    assert!(forged.contains("status: NXDOMAIN"), "{forged}");

    peers[2].ask(&["key", "remove", "hmac-sha256.test"]);
    until(HEARD_TIMEOUT, "no peer knows the key", || {
        let knows = |peer: &Daemon| !asked_by(peer, key, SECRET, &["SOA"]).contains("BADKEY");
        (!peers.iter().any(knows)).then_some(())
    });
    let gone = peers[0].command(&["key", "show", "hmac-sha256.test"]);
    assert_eq!(gone.status.code(), Some(1));
}

#[test]
fn every_message_of_a_transfer_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--allow-transfer", "127.0.0.0/8"];
    let peer = Daemon::start(&folder.path().join("one"), &args);
    let printed = peer.ask(&["key", "add", "axfr.test", "--format", "json"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let secret = printed["secret"].as_str().unwrap();
    // Some ten messages.
    let records: String = (0..6_000)
        .map(|n| format!("host-{n} A 192.0.2.1\n"))
        .collect();
    let text = format!(
        "$TTL 60\n@ SOA ns hostmaster 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n{records}"
    );
    let file = folder.path().join("large.zone");
    fs::write(&file, text).unwrap();
    peer.ask(&["zone", "import", "large.test", file.to_str().unwrap()]);
    let key = format!("hmac-sha256:axfr.test:{secret}");
    let output = dig(peer.dns, &["large.test", "AXFR", "-y", &key, "+onesoa"]);
    assert!(!output.contains("verify"), "{output}");
    assert!(!output.contains("failed"), "{output}");
    assert_eq!(output.matches("192.0.2.1\n").count(), 6_001);
    // One a message.
    assert!(output.matches("TSIG\thmac-sha256").count() > 5, "{output}");
    let output = kdig(peer.dns, &["large.test", "AXFR", "-y", &key]);
    assert_eq!(output.matches("192.0.2.1\n").count(), 6_001);
    let forged = format!("hmac-sha256:axfr.test:{OTHER_SECRET}");
    let output = dig(peer.dns, &["large.test", "AXFR", "-y", &forged]);
    assert!(!output.contains("192.0.2.1"), "{output}");
}

#[test]
fn secrets_are_shown_to_those_alone_who_ask_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Daemon::start(&folder.path().join("one"), &["--log-level", "debug"]);
    let add = ["key", "add", "k.test", "--secret", SECRET];
    assert_eq!(peer.ask(&add), "k.test. signs by hmac-sha256\n");
    let again = ["key", "add", "k.test", "--secret", OTHER_SECRET];
    let refused = peer.command(&again);
    assert_eq!(refused.status.code(), Some(1));
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("--replace"), "{refused}");
    peer.stop();
    peer.restart();
    assert_eq!(
        peer.ask(&["key", "list"]),
        "NAME     ALGORITHM\nk.test.  hmac-sha256\n"
    );
    let shown = peer.ask(&["key", "show", "k.test"]);
    let expected =
        format!("key \"k.test\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET}\";\n}};\n");
    assert_eq!(shown, expected);
    peer.ask(&[&again[..], &["--replace"]].concat());
    assert!(peer.ask(&["key", "show", "k.test"]).contains(OTHER_SECRET));
    let log = peer.log();
    assert!(log.contains("started"), "{log}");
    for secret in [SECRET, OTHER_SECRET] {
        assert!(!log.contains(secret), "{log}");
        assert!(!peer.ask(&["status", "--format", "json"]).contains(secret));
    }
}
