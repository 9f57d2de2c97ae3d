//! What external-dns and cert-manager say, said by the library that they are made with.

use crate::{KEY, SECRET, file, peers_for, run};
use std::process::Command;
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
