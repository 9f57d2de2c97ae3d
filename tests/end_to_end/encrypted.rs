//! Encrypted DNS as real clients speak it.

use crate::zone_argument;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;
use std::process::Command;
use tests::daemon::{Daemon, free_port};

fn kdig(port: u16, args: &[&str]) -> String {
    let port = port.to_string();
    let mut command = Command::new("kdig");
    command.args(["@127.0.0.1", "-p", &port, "+timeout=10"]);
    let output = command.args(args).output().expect("kdig runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A daemon that listens on the port as `listen` says.
fn start(data_dir: &Path, zone: &str, listen: &str, args: &[&str]) -> (Daemon, u16) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let common = [
        "--zone",
        zone,
        "--allow-transfer",
        "127.0.0.0/8",
        listen,
        &address,
    ];
    (Daemon::start(data_dir, &[&common, args].concat()), port)
}

const NAMED: [&str; 2] = ["--name", "ns1.example.test"];

#[test]
fn dns_over_tls_is_spoken_by_a_certificate_that_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let data_dir = folder.path().join("a");
    let (mut daemon, port) = start(&data_dir, &zone, "--tls-listen", &NAMED);
    let certificate = format!("+tls-ca={}", data_dir.join("tls.crt").display());
    let proven = ["+tls", &certificate, "+tls-hostname=ns1.example.test"];
    let ask = |question: &[&str]| kdig(port, &[&proven, question].concat());
    let answer = ask(&["www.example.test", "A"]);
    assert!(
        answer.contains("192.0.2.80") && answer.contains("TLS1.3"),
        "{answer}"
    );
    // RFC 8467 section 4.1: kdig pads under TLS, and so does the answer.
    assert!(answer.contains("Received 468 B"), "{answer}");
    let whole = ask(&["example.test", "AXFR"]);
    assert_eq!(whole.matches("\tSOA\t").count(), 2, "{whole}");
    let status = daemon.ask(&["status"]);
    assert!(status.contains(&format!("127.0.0.1:{port}")), "{status}");
    daemon.stop();
    daemon.restart();
    assert!(ask(&["www.example.test", "A"]).contains("192.0.2.80"));
    let other = [
        &proven[..2],
        &["+tls-hostname=ns2.example.test", "www.example.test"],
    ]
    .concat();
    assert!(
        !kdig(port, &other).contains("192.0.2.80"),
        "it is another's name"
    );
}

#[test]
fn dns_over_https_is_spoken_by_both_methods() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let data_dir = folder.path().join("a");
    let (daemon, port) = start(&data_dir, &zone, "--https-listen", &NAMED);
    let certificate = format!("+tls-ca={}", data_dir.join("tls.crt").display());
    let hostname = "+tls-hostname=ns1.example.test";
    for method in ["+https", "+https-get"] {
        let args = [
            "+https",
            method,
            &certificate,
            hostname,
            "www.example.test",
            "A",
        ];
        let answer = kdig(port, &args);
        assert!(
            answer.contains("192.0.2.80") && answer.contains("HTTP/2"),
            "{answer}"
        );
        assert!(answer.contains("status: 200"), "{answer}");
    }
    let status = daemon.ask(&["status"]);
    assert!(
        status.contains(&format!("over HTTPS   127.0.0.1:{port}")),
        "{status}"
    );
}

#[test]
fn dns_over_quic_is_spoken_and_transfers_zones() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let data_dir = folder.path().join("a");
    let (_daemon, port) = start(&data_dir, &zone, "--quic-listen", &NAMED);
    let certificate = format!("+tls-ca={}", data_dir.join("tls.crt").display());
    // Of several transports kdig takes the one that is named last.
    let proven = [&certificate, "+tls-hostname=ns1.example.test", "+quic"];
    let ask = |question: &[&str]| kdig(port, &[&proven, question].concat());
    let answer = ask(&["www.example.test", "A"]);
    assert!(
        answer.contains("192.0.2.80") && answer.contains("QUIC session"),
        "{answer}"
    );
    let whole = ask(&["example.test", "AXFR"]);
    assert_eq!(whole.matches("\tSOA\t").count(), 2, "{whole}");
}

#[test]
fn a_zone_is_transferred_to_those_who_prove_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["ns2.example.net".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let file_of_authority = write("ca.pem", authority.pem());
    let shown = [
        format!("+tls-certfile={}", write("client.pem", certificate.pem())),
        format!("+tls-keyfile={}", write("client.key", key.serialize_pem())),
    ];
    let clients = ["--tls-client-ca", &file_of_authority, "--tls-client-name"];
    let args = [&NAMED[..], &clients, &["ns2.example.net"]].concat();
    for (listen, transport) in [("--tls-listen", "+tls"), ("--quic-listen", "+quic")] {
        let data_dir = folder.path().join(listen);
        let (_daemon, port) = start(&data_dir, &zone, listen, &args);
        let whole = [&shown[0], &shown[1], transport, "example.test", "AXFR"];
        assert_eq!(
            kdig(port, &whole).matches("\tSOA\t").count(),
            2,
            "{transport}"
        );
        let refused = kdig(port, &[transport, "example.test", "AXFR"]);
        assert_eq!(refused.matches("\tSOA\t").count(), 0, "{refused}");
        let asked = kdig(port, &[transport, "www.example.test"]);
        assert!(asked.contains("192.0.2.80"), "{asked}");
    }
}
