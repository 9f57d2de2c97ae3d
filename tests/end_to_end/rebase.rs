//! A zone of which much has changed gets a new base: nothing is lost, whenever the peer is killed.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use tests::answer::Answer;
use tests::daemon::{Daemon, START_TIMEOUT};
use tests::deadline::until;
use zones::Rcode;

/// Names of the zone.
const NAMES: u32 = 6_000;
/// Updates, each of this many names: in all, more than the 8 MiB of log that ask for a checkpoint.
const UPDATES: u32 = 180;
const NAMES_PER_UPDATE: u32 = 8;
const TEXT_SIZE: usize = 6_500;

/// Adds a long TXT record to some names.
fn update(number: u32) -> Vec<u8> {
    let mut message = vec![(number >> 8) as u8, number as u8, 5 << 3, 0, 0, 1, 0, 0];
    message.extend([0, NAMES_PER_UPDATE as u8, 0, 0]);
    message.extend(b"\x07example\x04test\0\0\x06\0\x01");
    let strings = [&[250][..], &[b'a' + (number % 26) as u8; 250]].concat();
    let text = strings.repeat(TEXT_SIZE / strings.len());
    for n in 0..NAMES_PER_UPDATE {
        let name = format!("n{:05}", (number * NAMES_PER_UPDATE + n) % NAMES);
        message.push(name.len() as u8);
        message.extend(name.as_bytes());
        message.extend(b"\xc0\x0c\0\x10\0\x01\0\0\0\x3c");
        message.extend((text.len() as u16).to_be_bytes());
        message.extend(&text);
    }
    message
}

fn send(daemon: &Daemon, message: &[u8]) -> Rcode {
    let mut stream = TcpStream::connect(daemon.dns).unwrap();
    stream.set_read_timeout(Some(START_TIMEOUT)).unwrap();
    let size = (message.len() as u16).to_be_bytes();
    stream.write_all(&[&size, message].concat()).unwrap();
    let mut response = [0; 512];
    stream.read_exact(&mut response[..2]).unwrap();
    let size = usize::from(u16::from_be_bytes([response[0], response[1]]));
    stream.read_exact(&mut response[..size]).unwrap();
    Answer::read(&response[..size]).unwrap().rcode
}

fn export(daemon: &Daemon) -> String {
    daemon.ask(&["zone", "export", "example.test"])
}

fn status(daemon: &Daemon) -> serde_json::Value {
    serde_json::from_str(&daemon.ask(&["status", "--format", "json"])).unwrap()
}

#[test]
fn a_zone_that_gets_a_new_base_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut zone = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    for n in 0..NAMES {
        writeln!(zone, "n{n:05} A 192.0.2.{}", n % 250).unwrap();
    }
    let path = folder.path().join("zone");
    fs::write(&path, zone).unwrap();
    let zone = format!("example.test={}", path.display());
    let arguments = ["--zone", &zone, "--allow-update", "127.0.0.0/8"];
    let mut daemon = Daemon::start(&folder.path().join("a"), &arguments);

    for number in 0..UPDATES {
        assert_eq!(send(&daemon, &update(number)), Rcode::NOERROR);
        // The log that is read again counts towards the checkpoint.
        if number == UPDATES / 2 {
            daemon.kill();
            daemon.restart();
        }
    }
    until(START_TIMEOUT, "the log is behind a checkpoint", || {
        let size = status(&daemon)["log"]["size"].as_u64().unwrap();
        (size < 4 << 20).then_some(())
    });
    let before = export(&daemon);
    assert_eq!(
        before.lines().count() as u32,
        3 + NAMES + UPDATES * NAMES_PER_UPDATE
    );
    daemon.kill();
    daemon.restart();
    assert!(export(&daemon) == before, "what was answered is there");
    daemon.stop();
    daemon.restart();
    assert!(export(&daemon) == before, "a clean stop changes nothing");
}
