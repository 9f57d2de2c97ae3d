//! What a user does by mistake: a clear line, exit 1, nothing changed.

use crate::{zone_argument, zone_file};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use tests::client::dig_short;
use tests::daemon::{Daemon, START_TIMEOUT, dnsd};
use tests::deadline::until;

#[test]
fn a_bad_zone_file_is_named_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.zone");
    fs::write(
        &path,
        "$TTL 300\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.300\n",
    )
    .unwrap();
    let output = Command::new(dnsd())
        .args(["check", "zone", "example.test", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains(&format!("{}:4:7: ", path.display())),
        "{error}"
    );

    let zone = format!("example.test={}", path.display());
    let mut daemon = Daemon::spawn(&folder.path().join("a"), &["--zone", &zone]);
    let (code, log) = daemon.wait_end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("bad.zone:4:7: "), "{log}");
    assert!(!folder.path().join("a/log").exists(), "nothing was made");
}

#[test]
fn a_bad_configuration_file_is_named_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dnsd.toml");
    fs::write(&path, "name = \"a\"\nlisten = [\"127.0.0.1\"]\n").unwrap();
    let output = Command::new(dnsd())
        .args(["check", "config", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&format!("{}:2:", path.display())), "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = [
        ("udp", udp.local_addr().unwrap()),
        ("tcp", tcp.local_addr().unwrap()),
    ];
    for (protocol, address) in taken {
        let address = address.to_string();
        let data = folder.path().join(protocol);
        let mut daemon = Daemon::spawn(&data, &["--listen", &address, "--zone", &zone]);
        let (code, log) = daemon.wait_end();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(&address) && log.contains("in use"), "{log}");
        // The first start came to nothing; the next one seeds what the first was to.
        let daemon = Daemon::start(&data, &["--zone", &zone]);
        until(START_TIMEOUT, "the zone is served", || {
            (dig_short(daemon.dns, &["www.example.test"]) == "192.0.2.80\n").then_some(())
        });
        // A newcomer that cannot run is no member, and its token is still good.
        let token = daemon.ask(&["invite"]);
        let newcomer = folder.path().join(format!("{protocol}-newcomer"));
        let mut failed = Daemon::spawn(&newcomer, &["--listen", &address, "--join", token.trim()]);
        assert_eq!(failed.wait_end().0, Some(1));
        assert!(!daemon.ask(&["peers"]).contains("unreachable"));
        drop(Daemon::start(&newcomer, &["--join", token.trim()]));
    }
}

#[test]
fn a_lost_key_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let data = folder.path().join("a");
    let mut daemon = Daemon::start(&data, &["--zone", &zone]);
    daemon.stop();
    let kept = folder.path().join("kept");
    fs::rename(data.join("key"), &kept).unwrap();
    let mut daemon = Daemon::spawn(&data, &[]);
    let (code, log) = daemon.wait_end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("key is missing"), "{log}");
    assert!(!data.join("key").exists(), "no other one was made");

    let other = folder.path().join("b");
    Daemon::start(&other, &["--zone", &zone]).stop();
    fs::copy(other.join("key"), data.join("key")).unwrap();
    let mut daemon = Daemon::spawn(&data, &[]);
    let (code, log) = daemon.wait_end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("is not the key of the peer"), "{log}");

    fs::copy(&kept, data.join("key")).unwrap();
    drop(Daemon::start(&data, &[]));
}

#[test]
fn a_second_daemon_on_one_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let data = folder.path().join("a");
    let first = Daemon::start(&data, &["--zone", &zone]);
    let output = Command::new(dnsd())
        .args([
            "serve",
            "--listen",
            "none",
            "--data-dir",
            data.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("in use"), "{error}");
    drop(first);
}

#[test]
fn a_corrupt_store_is_named_and_gives_birth_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone_argument(folder.path());
    let data = folder.path().join("a");
    let mut daemon = Daemon::start(&data, &["--zone", &zone]);
    daemon.stop();
    let file = data.join("log/db");
    let mut bytes = fs::read(&file).unwrap();
    for byte in bytes.iter_mut().step_by(97) {
        *byte ^= 0x5a;
    }
    fs::write(&file, &bytes).unwrap();
    for _ in 0..2 {
        let output = Command::new(dnsd())
            .args([
                "serve",
                "--listen",
                "none",
                "--data-dir",
                data.to_str().unwrap(),
            ])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("corrupt"), "{error}");
        assert!(error.contains("--set-aside-corrupt-store"), "{error}");
        assert!(!error.contains("a new cluster"), "{error}");
        assert!(
            fs::read(&file).unwrap() == bytes,
            "it is left as it was found"
        );
    }
}

#[test]
fn commands_without_a_daemon_say_where_they_looked() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let output = Command::new(dnsd())
        .args(["status", "--data-dir", data.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("admin.sock"), "{error}");
}

#[test]
fn zone_import_of_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("a"), &[]);
    let path = zone_file(folder.path());
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("oops A\n");
    fs::write(&path, text).unwrap();
    let output = daemon.command(&["zone", "import", "example.test", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("example.test.zone:8:"), "{error}");
    assert!(!daemon.ask(&["zone", "list"]).contains("example.test."));
}
