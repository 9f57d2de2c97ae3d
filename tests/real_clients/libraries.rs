//! What external-dns and cert-manager say, said by the library that they are made with; and scripts.

use crate::{KEY, SECRET, file, peers_for, run};
use std::process::Command;
use tests::client::{nsupdate, wait_short};
use tests::cluster::ORIGIN;

/// Where Debian puts the sources of Go libraries.
const GO_PATH: &str = "/usr/share/gocode";

#[test]
fn external_dns_and_cert_manager() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers_for(folder.path(), "hmac-sha256", "zonesub");
    let program = folder.path().join("replay");
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .arg(&program)
        .arg(file("replay.go"));
    build.env("GO111MODULE", "off").env("GOPATH", GO_PATH);
    build.env("GOCACHE", folder.path().join("cache"));
    run(&mut build);
    for flow in ["external-dns", "cert-manager"] {
        let mut command = Command::new(&program);
        command.args([flow, ORIGIN, KEY, "hmac-sha256", SECRET]);
        command.args(peers.iter().map(|peer| peer.dns.to_string()));
        run(&mut command);
    }
}

#[test]
fn scripts_of_dnspython() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers_for(folder.path(), "hmac-sha256", "zonesub");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(file("records.py"));
    command.args([ORIGIN, KEY, SECRET]);
    command.args(peers.iter().map(|peer| peer.dns.to_string()));
    run(&mut command);
}

#[test]
fn nsupdate_finds_the_zone_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers_for(folder.path(), "hmac-sha256", "zonesub");
    // It asks for the SOA of the name, and of those above it.
    let key = format!("key hmac-sha256:{KEY} {SECRET}");
    let update = format!("{key}\nupdate add far.below.{ORIGIN} 60 A 192.0.2.1");
    nsupdate(peers[1].dns, &update).unwrap();
    wait_short(
        peers[2].dns,
        &[&format!("far.below.{ORIGIN}")],
        "192.0.2.1\n",
    );
}
