//! octoDNS: reads a zone by a signed transfer and makes it what its files say.

use crate::{KEY, SECRET, peers_for, run};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::client::wait_short;
use tests::cluster::ORIGIN;

/// Where `tests/run` installs what comes from PyPI.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/python/bin/octodns-sync"
);

#[test]
fn octodns_makes_a_zone_what_its_files_say() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers_for(folder.path(), "hmac-sha256", "zonesub ANY");
    let (ip, port) = (peers[1].dns.ip(), peers[1].dns.port());
    let config = format!(
        "providers:\n\
         \x20 files: {{class: octodns.provider.yaml.YamlProvider, directory: ./zones, enforce_order: false}}\n\
         \x20 peer: {{class: octodns_bind.Rfc2136Provider, host: {ip}, port: {port}, key_name: {KEY}, \
         key_secret: {SECRET}, key_algorithm: hmac-sha256}}\n\
         zones:\n\
         \x20 {ORIGIN}.: {{sources: [files], targets: [peer]}}\n"
    );
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    fs::create_dir(folder.path().join("zones")).unwrap();
    let hosts: String = (0..300)
        .map(|n| {
            format!(
                "h{n}: {{type: A, ttl: 60, value: 192.0.2.{}}}\n",
                n % 250 + 1
            )
        })
        .collect();
    let zone = |more: &str| {
        let text = format!(
            "'': {{type: NS, ttl: 300, values: [ns1.{ORIGIN}.]}}\n\
             ns1: {{type: A, ttl: 300, value: 192.0.2.53}}\n\
             mail: {{type: MX, ttl: 60, values: [{{preference: 10, exchange: ns1.{ORIGIN}.}}]}}\n\
             txt: {{type: TXT, ttl: 60, value: \"v=spf1 -all\"}}\n\
             caa: {{type: CAA, ttl: 60, value: {{flags: 0, tag: issue, value: ca.test}}}}\n{more}"
        );
        fs::write(folder.path().join(format!("zones/{ORIGIN}.yaml")), text).unwrap();
    };
    zone(&hosts);
    let told = sync(folder.path());
    assert!(told.contains("303 total changes"), "{told}");
    for peer in &peers {
        wait_short(peer.dns, &[&format!("h299.{ORIGIN}"), "A"], "192.0.2.50\n");
    }
    let told = sync(folder.path());
    assert!(told.contains("No changes were planned"), "{told}");
    zone("");
    let told = sync(folder.path());
    assert!(told.contains("300 total changes"), "{told}");
    for peer in &peers {
        wait_short(peer.dns, &[&format!("h0.{ORIGIN}"), "A"], "");
    }
}

fn sync(folder: &Path) -> String {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder);
    command.args(["--config-file", "config.yaml", "--doit", "--force"]);
    run(&mut command)
}
