//! DNS cookies, with the clients of BIND and Knot: a cookie of one peer is good at all of them.

use std::time::Duration;
use tests::client::{dig, kdig};
use tests::cluster::{ORIGIN, three_peers, three_peers_with};
use tests::daemon::Daemon;
use tests::deadline::until;

/// How long a peer may take to hear of a step.
const HEARD_TIMEOUT: Duration = Duration::from_secs(20);

/// The cookie in what a client prints, in hexadecimal.
fn cookie_in(output: &str) -> String {
    let line = output.lines().find(|line| line.contains("COOKIE: "));
    let line = line.unwrap_or_else(|| panic!("no cookie in {output}"));
    let (_, cookie) = line.split_once("COOKIE: ").unwrap();
    cookie.split(' ').next().unwrap().to_lowercase()
}

/// Shows a cookie to a peer that asks for one; true if it is good there.
fn is_good(peer: &Daemon, cookie: &str) -> bool {
    let output = dig(
        peer.dns,
        &[ORIGIN, "SOA", "+nobadcookie", &format!("+cookie={cookie}")],
    );
    let is_good = output.contains("status: NOERROR");
    assert_ne!(is_good, output.contains("status: BADCOOKIE"), "{output}");
    is_good
}

#[test]
fn a_cookie_is_good_at_all_peers_over_restarts_and_a_rollover() {
    let folder = tempfile::tempdir().unwrap();
    let mut peers = three_peers_with(folder.path(), &["--require-server-cookie"]);
    let fresh = |peer: &Daemon| {
        let output = dig(peer.dns, &[ORIGIN, "SOA", "+nobadcookie", "+cookie"]);
        assert!(output.contains("status: BADCOOKIE"), "{output}");
        cookie_in(&output)
    };
    let good_everywhere = |peers: &[Daemon], cookie: &str| {
        until(HEARD_TIMEOUT, "the cookie is good everywhere", || {
            peers.iter().all(|peer| is_good(peer, cookie)).then_some(())
        });
    };
    let first = fresh(&peers[0]);
    assert_eq!(first.len(), 48, "{first}");
    good_everywhere(&peers, &first);
    let forged = format!(
        "{}{}",
        &first[..46],
        if first.ends_with("00") { "01" } else { "00" }
    );
    assert!(!is_good(&peers[1], &forged));
    // Clients ask again by themselves, and then get their answer.
    let answered = dig(peers[1].dns, &[ORIGIN, "SOA", "+cookie", "+short"]);
    assert!(answered.contains("hostmaster"), "{answered}");
    let answered = kdig(peers[2].dns, &[ORIGIN, "SOA", "+cookie", "+badcookie"]);
    assert!(answered.contains("hostmaster"), "{answered}");
    // Over TCP, and without cookies, nobody is asked for one.
    for other in ["+tcp", "+nocookie"] {
        let answered = dig(peers[0].dns, &[ORIGIN, "SOA", "+short", other]);
        assert!(answered.contains("hostmaster"), "{answered}");
    }

    let staged = peers[1].ask(&["cookie", "rollover"]);
    assert!(staged.contains("accepted too"), "{staged}");
    good_everywhere(&peers, &first);
    let switched = peers[2].ask(&["cookie", "rollover", "--format", "json"]);
    let switched: serde_json::Value = serde_json::from_str(&switched).unwrap();
    assert_eq!(switched["step"], "switched");
    let second = fresh(&peers[2]);
    good_everywhere(&peers, &first);
    good_everywhere(&peers, &second);
    let refused = peers[0].command(&["cookie", "rollover"]);
    assert_eq!(refused.status.code(), Some(1));
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("for another 1 h"), "{refused}");
    peers[0].kill();
    let steady = peers[1].ask(&["cookie", "rollover", "--force"]);
    assert!(steady.contains("by one secret"), "{steady}");
    peers[0].restart();
    good_everywhere(&peers, &second);
    until(HEARD_TIMEOUT, "the old secret is gone", || {
        (!peers.iter().any(|peer| is_good(peer, &first))).then_some(())
    });
    assert!(peers[0].ask(&["cookie", "show"]).contains("by one secret"));
}

#[test]
fn who_sends_no_good_cookie_is_answered_unless_one_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, _] = three_peers(folder.path());
    let asked = dig(a.dns, &[ORIGIN, "SOA", "+cookie"]);
    assert!(
        asked.contains("hostmaster") && asked.contains("(good)"),
        "{asked}"
    );
    let cookie = cookie_in(&asked);
    // One that is good is kept, any other one is replaced.
    let show = |cookie: &str| {
        let output = kdig(b.dns, &[ORIGIN, "SOA", &format!("+cookie={cookie}")]);
        assert!(output.contains("hostmaster"), "{output}");
        cookie_in(&output)
    };
    assert_eq!(show(&cookie), cookie);
    let forged = format!("{}0102030405060708", &cookie[..32]);
    assert_ne!(show(&forged), forged);
    // Errors carry one, as does the answer to a question of no name (RFC 7873 section 5.4).
    let refused = dig(a.dns, &["example.org", "SOA", "+cookie"]);
    assert!(
        refused.contains("REFUSED") && refused.contains("(good)"),
        "{refused}"
    );
    let alone = dig(a.dns, &["+header-only", "+cookie"]);
    assert!(
        alone.contains("NOERROR") && alone.contains("(good)"),
        "{alone}"
    );
}
