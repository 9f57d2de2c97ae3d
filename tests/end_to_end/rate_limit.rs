//! Response rate limiting in the daemon: what the operator sees, and that its own questions pass.

use crate::metrics::get;
use crate::zone_argument;
use std::net::UdpSocket;
use std::time::Duration;
use tests::client::dig_short;
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;
use tests::question::Question;
use zones::rtype::Rtype;

const TIMEOUT: Duration = Duration::from_secs(30);

/// How often something was counted.
fn count(port: u16, event: &str) -> Option<u64> {
    let page = get(port, "/metrics")?;
    let line = page
        .lines()
        .find(|line| line.contains(&format!("\"{event}\"")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_flood_is_limited_and_told_once_and_the_self_check_passes() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let port = free_port();
    let metrics = format!("127.0.0.1:{port}");
    let daemon = Daemon::start(
        &folder.path().join("a"),
        &[
            "--zone",
            &zone,
            "--metrics",
            &metrics,
            "--vip-driver",
            "log",
            "--rate-limit-responses-per-second",
            "1",
        ],
    );
    // With the first VIP the peer begins to ask its own listeners, ten times a second.
    daemon.ask(&["vip", "add", "192.0.2.200/24"]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let question = Question::new("example.test".parse().unwrap(), Rtype::SOA).to_wire();
    for _ in 0..300 {
        client.send_to(&question, daemon.dns).unwrap();
    }
    until(TIMEOUT, "responses are dropped and truncated", || {
        let (dropped, slipped) = (count(port, "rate_dropped")?, count(port, "rate_slipped")?);
        (dropped > 50 && slipped > 50).then_some(())
    });
    // Told by TC to come by TCP, a client gets its answer.
    let answer = dig_short(daemon.dns, &["example.test", "SOA", "+retry=9", "+time=1"]);
    assert!(answer.contains("hostmaster"), "{answer}");
    let good = count(port, "cookies_good").unwrap();
    until(TIMEOUT, "it has asked itself for some seconds", || {
        client.send_to(&question, daemon.dns).unwrap();
        (count(port, "cookies_good")? > good + 30).then_some(())
    });
    let status = daemon.ask(&["status", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["health"]["reasons"], serde_json::json!([]));
    let log = daemon.log();
    assert_eq!(log.matches("responses are limited").count(), 1, "{log}");
    assert!(log.contains("127.0.0.0/24"), "{log}");
}
