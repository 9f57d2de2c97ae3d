//! ACME clients: certbot and lego, each with a key that may do its task and nothing else.

use crate::{HEARD_TIMEOUT, KEY, SECRET, file, peers_for, run};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use tests::client::wait_short;
use tests::cluster::ORIGIN;
use tests::daemon::free_port;
use tests::deadline::until;
use tests::program::Program;

const CHALLENGE: &str = "_acme-challenge.www.example.test";
/// What such a key may do.
const RULE: &str = "name _acme-challenge.www.example.test TXT(4) ttl-max 120 lease 1h";

#[test]
fn certbot() {
    let folder = tempfile::tempdir().unwrap();
    // Its plugin signs by HMAC-MD5 unless it is told another one.
    let peers = peers_for(folder.path(), "hmac-md5", RULE);
    for (peer, signs_questions) in peers.iter().zip([false, true, false]) {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(file("acme_plugin.py"))
            .arg(peer.dns.ip().to_string());
        command.args([&peer.dns.port().to_string(), KEY, SECRET, CHALLENGE]);
        if signs_questions {
            command.arg("sign");
        }
        run(&mut command);
        for other in &peers {
            wait_short(other.dns, &[CHALLENGE, "TXT"], "\"two\"\n");
        }
    }
}

#[test]
fn lego_has_a_certificate_issued() {
    let folder = tempfile::tempdir().unwrap();
    // Its default is HMAC-SHA1.
    let peers = peers_for(folder.path(), "hmac-sha1", RULE);
    let authority = Authority::start(&folder.path().join("authority"), &peers[1].dns.to_string());
    let host = format!("www.{ORIGIN}");
    let mut command = Command::new("lego");
    command.current_dir(folder.path());
    command.args([
        "--server",
        &authority.directory,
        "--accept-tos",
        "--email",
        "a@example.test",
    ]);
    command.args([
        "--dns",
        "rfc2136",
        "--dns.resolvers",
        &peers[2].dns.to_string(),
    ]);
    command.args([
        "--dns.disable-cp",
        "--domains",
        &host,
        "--path",
        "lego",
        "run",
    ]);
    command.env("LEGO_CA_CERTIFICATES", &authority.certificate);
    command.env("RFC2136_NAMESERVER", peers[0].dns.to_string());
    command.env("RFC2136_TSIG_KEY", format!("{KEY}."));
    command.env("RFC2136_TSIG_SECRET", SECRET);
    command.env("RFC2136_POLLING_INTERVAL", "1");
    command.env("RFC2136_PROPAGATION_TIMEOUT", "20");
    let told = run(&mut command);
    assert!(
        told.contains("Server responded with a certificate"),
        "{told}"
    );
    let issued = folder.path().join(format!("lego/certificates/{host}.crt"));
    assert!(issued.is_file());
    for peer in &peers {
        wait_short(peer.dns, &[CHALLENGE, "TXT"], "");
    }
}

/// An ACME server for tests that asks one peer for challenges.
struct Authority {
    directory: String,
    certificate: String,
    _program: Program,
}

impl Authority {
    fn start(folder: &Path, resolver: &str) -> Self {
        fs::create_dir(folder).unwrap();
        let certified =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .unwrap();
        let certificate = folder.join("certificate.pem").display().to_string();
        let key = folder.join("key.pem").display().to_string();
        fs::write(&certificate, certified.cert.pem()).unwrap();
        fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let management = format!("127.0.0.1:{}", free_port());
        let config = serde_json::json!({"pebble": {
            "listenAddress": address,
            "managementListenAddress": management,
            "certificate": certificate,
            "privateKey": key,
            "httpPort": 5002,
            "tlsPort": 5001,
        }});
        let path = folder.join("config.json");
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("pebble");
        command
            .arg("-config")
            .arg(&path)
            .args(["-dnsserver", resolver]);
        command
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0");
        let mut program = Program::run("pebble", command, folder);
        until(HEARD_TIMEOUT, "the ACME server listens", || {
            program.check_alive();
            TcpStream::connect(&address).ok()
        });
        Self {
            directory: format!("https://{address}/dir"),
            certificate,
            _program: program,
        }
    }
}
