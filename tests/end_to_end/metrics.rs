//! What monitoring reads: metrics, health, readiness.

use crate::zone_argument;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::client::dig_short;
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;

pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    Some(reply)
}

#[test]
fn health_and_counters_are_served_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let port = free_port();
    let metrics = format!("127.0.0.1:{port}");
    let daemon = Daemon::start(
        &folder.path().join("a"),
        &["--zone", &zone, "--metrics", &metrics],
    );
    assert_eq!(dig_short(daemon.dns, &["www.example.test"]), "192.0.2.80\n");
    until(Duration::from_secs(20), "the query is counted", || {
        let page = get(port, "/metrics")?;
        (page.contains("zonecast_serving_current_data 1")
            && page.contains("zonecast_dns_requests_total{opcode=\"QUERY\"} 1\n")
            && page.contains("zonecast_zone_serial{zone=\"example.test.\"} 2026010101"))
        .then_some(())
    });
    for path in ["/health", "/ready"] {
        let reply = get(port, path).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    }
}
