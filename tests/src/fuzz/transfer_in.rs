//! Answers of a primary: the messages of a transfer, and what is made of them.

use dnsd::transfer_in::{Progress, Reader, Request, Transferred};
use dnsd::zone_data::encode_record;
use std::sync::LazyLock;
use std::time::Duration;
use zones::{Name, Record, Serial, Version};

const WALL: Duration = Duration::from_secs(1_800_000_000);
const HELD: &str = "@ 60 SOA ns hostmaster 7 3600 600 86400 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n\
                    a.b 60 TXT x\n";

static ORIGIN: LazyLock<Name> = LazyLock::new(|| "example.".parse().unwrap());
static VERSION: LazyLock<Version> = LazyLock::new(|| {
    let records = crate::zone_text::read(&ORIGIN, HELD);
    Version::from_records(&ORIGIN, &records).unwrap()
});

fn ixfr() -> Request<'static> {
    Request::ixfr(&VERSION, Serial(7), 1).unwrap()
}

/// Takes messages, each with its size before it as over TCP, for the answer to each kind of request.
pub fn run(bytes: &[u8]) {
    let soa = Request::soa(&ORIGIN, 1);
    let _serial = soa.read_soa(bytes, WALL);
    for request in [Request::axfr(&ORIGIN, 1), ixfr()] {
        if let Some(transferred) = read(&request, bytes) {
            check(transferred);
        }
    }
}

fn read(request: &Request<'_>, bytes: &[u8]) -> Option<Transferred> {
    let mut reader = Reader::new(request);
    let mut rest = bytes;
    loop {
        let (size, after) = rest.split_first_chunk()?;
        let size = usize::from(u16::from_be_bytes(*size)).min(after.len());
        let (message, after) = after.split_at(size);
        rest = after;
        if reader.take(message, WALL).ok()? == Progress::Complete {
            return reader.finish().ok();
        }
    }
}

/// What comes has the content of its records, however it came.
fn check(transferred: Transferred) {
    let Ok(Some(made)) = transferred.make(&ORIGIN, Some(&VERSION)) else {
        return;
    };
    let records: Vec<Record> = made.version.records().collect();
    let again = Version::from_records(&ORIGIN, &records).unwrap();
    assert!(made.version.is_same_as(&again));
    assert_eq!(made.version.digest(), again.digest());
    assert_eq!(made.version.counts(), again.counts());
}

/// Transfers of each form, in one message and in several.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let message = |qtype: u16, lines: &str, is_first: bool| {
        let records = crate::zone_text::read(&ORIGIN, lines);
        let mut message = vec![0, 1, 0x84, 0, 0, u8::from(is_first), 0, 0, 0, 0, 0, 0];
        message[7] = records.len() as u8;
        if is_first {
            message.extend_from_slice(ORIGIN.as_wire());
            message.extend_from_slice(&qtype.to_be_bytes());
            message.extend_from_slice(&[0, 1]);
        }
        for record in &records {
            encode_record(record, &mut message);
        }
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    };
    let soa = |serial: u32| format!("@ 60 SOA ns hostmaster {serial} 3600 600 86400 60\n");
    let (held, newest) = (soa(7), soa(9));
    let rest = HELD.split_once('\n').unwrap().1;
    let whole = format!("{newest}{rest}* 60 MX 1 a.b\n{newest}");
    let signed = "@ 60 RRSIG SOA 13 1 60 20360101000000 20260101000000 1 @ AA==\n\
         00000000000000000000000000000000 60 NSEC3 1 1 2 AB vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv A\n";
    let middle = soa(8);
    let step = format!("{held}a.b 60 TXT x\n{middle}a.b 60 TXT y\nc.b 60 NS ns\n");
    let second = format!("{middle}ns 60 A 192.0.2.1\n{newest}{signed}ns 5 A 192.0.2.1\n");
    // A record after the question that says its names by pointers.
    let mut compressed = message(252, &newest, true);
    compressed
        .extend(b"\0\x1c\0\x01\x84\0\0\0\0\x01\0\0\0\0\x01a\0\0\x02\0\x01\0\0\0\x3c\0\x02\xc0\x0c");
    let answer = message(6, &newest, true);
    vec![
        message(252, &whole, true),
        message(251, &whole, true),
        [
            message(252, &newest, true),
            message(252, &format!("{rest}{newest}"), false),
        ]
        .concat(),
        message(251, &held, true),
        message(251, &format!("{middle}{step}{middle}"), true),
        message(251, &format!("{newest}{step}{second}{newest}"), true),
        [
            message(251, &newest, true),
            message(251, &step, false),
            message(251, &second, false),
            message(251, &newest, false),
        ]
        .concat(),
        compressed,
        answer[2..].to_vec(),
    ]
}
