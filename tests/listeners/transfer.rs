//! Zone transfers.

use crate::server::{PATIENCE, Server, question, receive, receive_answer, send};
use dnsd::io::tcp::Limits;
use dnsd::serve::Count;
use std::process::Command;
use std::time::Duration;
use tests::answer::Answer;
use tests::question::Question;
use zones::rtype::Rtype;
use zones::{Rcode, Record, rdata};

const RECORDS: usize = 50_000;

fn many_records() -> String {
    format!("$GENERATE 1-{} host$ 60 A 192.0.2.1\n", RECORDS - 4)
}

fn transfer(id: u16) -> Vec<u8> {
    let mut question = Question::new("example.".parse().unwrap(), Rtype::AXFR);
    question.id = id;
    question.to_wire()
}

#[test]
fn a_large_zone_is_sent_whole() {
    let server = Server::try_start("127.0.0.1:0", Limits::default(), &many_records()).unwrap();
    let mut stream = server.connect();
    send(&mut stream, &transfer(1));
    // Questions are answered meanwhile.
    send(&mut stream, &question(2));
    let mut records: Vec<Record> = Vec::new();
    let mut answered = false;
    while records.len() < 2 || records.last().unwrap().rtype != Rtype::SOA {
        let message = receive(&mut stream).unwrap();
        let answer = Answer::read(&message).unwrap();
        if answer.id == 2 {
            answered = true;
            continue;
        }
        assert_eq!(answer.rcode, Rcode::NOERROR);
        records.extend(answer.sections.into_iter().next().unwrap());
    }
    // One SOA more than there are records.
    assert_eq!(records.len(), RECORDS + 1);
    assert_eq!(records[0], records[RECORDS]);
    assert_eq!(
        rdata::soa_serial(records[0].rdata.as_bytes()).map(|s| s.0),
        Some(5)
    );
    assert!(answered || receive_answer(&mut stream).id == 2);
    server.await_count(Count::TransfersCompleted, 1);
}

#[test]
fn dig_reads_a_large_zone() {
    let server = Server::try_start("127.0.0.1:0", Limits::default(), &many_records()).unwrap();
    let port = server.address.port().to_string();
    let output = Command::new("dig")
        .args(["@127.0.0.1", "-p", &port, "+noidnout", "example.", "AXFR"])
        .output();
    let Ok(output) = output else {
        eprintln!("dig is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = format!("XFR size: {} records", RECORDS + 1);
    assert!(
        text.contains(&expected),
        "{}",
        &text[text.len().saturating_sub(500)..]
    );
}

#[test]
fn who_does_not_read_is_cut_off() {
    let limits = Limits {
        timeout_write: Duration::from_millis(100),
        ..Limits::default()
    };
    // More than all buffers between server and client hold.
    let records = format!("$GENERATE 1-200000 host$ 60 TXT \"{}\"\n", "x".repeat(60));
    let server = Server::try_start("127.0.0.1:0", limits, &records).unwrap();
    let mut stream = server.connect();
    send(&mut stream, &transfer(1));
    server.await_count(Count::TcpSlow, 1);
    let start = std::time::Instant::now();
    while server.listeners.connections() > 0 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    server.await_count(Count::TransfersCompleted, 0);
}

#[test]
fn transfers_over_the_limit_are_answered_servfail() {
    let limits = Limits {
        transfers_max: 0,
        ..Limits::default()
    };
    let server = Server::with_limits(limits);
    let mut stream = server.connect();
    send(&mut stream, &transfer(1));
    assert_eq!(receive_answer(&mut stream).rcode, Rcode::SERVFAIL);
    server.await_count(Count::TransfersOverflowed, 1);
}
