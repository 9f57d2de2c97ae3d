//! A primary in the test that does what none should, or what few do: what comes of it is an error in
//! plain words, or the zone by another way.

use super::{Came, SECRET, SECRET_TEXT, ask, key, origin};
use dnsd::io::primaries::{FetchError, Fetched, Means, Patience};
use dnsd::message::{Header, Request};
use dnsd::zone_data::encode_record;
use ring::hmac;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::client::dig;
use tests::zone_text;
use zones::{Rtype, Serial, Version};

const ZONE: &str = "odd.test";
const REST: &str = "@ 60 NS ns\nns 60 A 192.0.2.1\n";
/// Enough where an answer comes, on a machine that is busy with other tests.
const PATIENCE: Patience = Patience {
    datagram: Duration::from_secs(1),
    datagrams: 2,
    ..Patience::DEFAULT
};
/// Short, where none comes.
const HASTE: Patience = Patience {
    idle: Duration::from_millis(500),
    ..PATIENCE
};

/// What is said to a request over a connection, which closes then.
type Say = dyn Fn(&[u8], &mut Talk) + Send + Sync;
/// What is said to one by UDP.
type Reply = dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync;

/// The other end of a connection. That it is closed before all was said is no error here.
struct Talk(TcpStream);

impl Talk {
    fn say(&mut self, message: &[u8]) {
        let size = (message.len() as u16).to_be_bytes();
        let _ = self.0.write_all(&[&size[..], message].concat());
    }

    /// Waits until the other one has gone.
    fn wait(&mut self) {
        let _ = self.0.read(&mut [0; 1]);
    }
}

fn soa(serial: u32) -> String {
    format!("@ 60 SOA ns hostmaster {serial} 3600 600 86400 60\n")
}

/// A response to a request that holds these records.
fn response(request: &[u8], lines: &str) -> Vec<u8> {
    let records = zone_text::read(&origin(ZONE), lines);
    let mut message = request[..12 + origin(ZONE).as_wire().len() + 4].to_vec();
    message[2] |= 0x84;
    message[6..12].fill(0);
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for record in &records {
        encode_record(record, &mut message);
    }
    message
}

/// A response without records.
fn error(request: &[u8], rcode: u8) -> Vec<u8> {
    let mut message = response(request, "");
    message[3] = rcode;
    message
}

fn qtype(request: &[u8]) -> Rtype {
    let read = Request::read(request, Header::read(request).unwrap());
    read.unwrap().question.qtype
}

/// Starts one; its threads end with the test.
fn start(reply: Arc<Reply>, say: Arc<Say>) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((size, from)) = udp.recv_from(&mut buffer) {
            for message in reply(&buffer[..size]) {
                udp.send_to(&message, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let say = Arc::clone(&say);
            std::thread::spawn(move || {
                let mut size = [0; 2];
                if stream.read_exact(&mut size).is_err() {
                    return;
                }
                let mut request = vec![0; usize::from(u16::from_be_bytes(size))];
                stream.read_exact(&mut request).unwrap();
                say(&request, &mut Talk(stream));
            });
        }
    });
    address
}

fn held(serial: u32) -> Came {
    let records = zone_text::read(&origin(ZONE), &(soa(serial) + REST));
    Came {
        version: Version::from_records(&origin(ZONE), &records).unwrap(),
        serial: Serial(serial),
        means: Means::Whole,
    }
}

/// What came, in words.
fn told(fetched: Result<Fetched, FetchError>) -> String {
    match fetched {
        Err(error) => error.to_string(),
        Ok(Fetched::UpToDate(serial)) => format!("up to date at {serial}"),
        Ok(Fetched::Behind(serial)) => format!("behind at {serial}"),
        Ok(Fetched::Newer {
            version,
            serial,
            means,
            ..
        }) => format!(
            "{means:?}: {} records at {serial}",
            version.counts().records
        ),
    }
}

/// What comes from one that says nothing by UDP, where nothing is held.
fn check_whole(say: impl Fn(&[u8], &mut Talk) + Send + Sync + 'static, expected: &str) {
    check_within(&PATIENCE, say, expected);
}

fn check_within(
    patience: &Patience,
    say: impl Fn(&[u8], &mut Talk) + Send + Sync + 'static,
    expected: &str,
) {
    let primary = start(Arc::new(|_| Vec::new()), Arc::new(say));
    let fetched = ask(primary, ZONE, None, None, patience);
    assert_eq!(told(fetched), expected);
}

/// The same where serial 7 is held, and it says 9 by UDP.
fn check_newer(say: impl Fn(&[u8], &mut Talk) + Send + Sync + 'static, expected: &str) {
    let reply = |request: &[u8]| vec![response(request, &soa(9))];
    let primary = start(Arc::new(reply), Arc::new(say));
    let fetched = ask(primary, ZONE, None, Some(&held(7)), &PATIENCE);
    assert_eq!(told(fetched), expected);
}

fn zone(serial: u32) -> String {
    format!("{}{REST}{}", soa(serial), soa(serial))
}

#[test]
fn a_transfer_that_is_none_is_an_error() {
    check_whole(
        |request, talk| talk.say(&response(request, &zone(9))),
        "Whole: 3 records at 9",
    );
    let closes = "the primary closes the connection before all is sent";
    check_whole(|_, _| {}, closes);
    check_whole(
        |request, talk| talk.say(&response(request, &(soa(9) + REST))),
        closes,
    );
    check_whole(
        |request, talk| {
            let message = response(request, &zone(9));
            let size = (message.len() as u16).to_be_bytes();
            talk.0.write_all(&size).unwrap();
            talk.0.write_all(&message[..message.len() - 1]).unwrap();
        },
        closes,
    );
    check_whole(
        |request, talk| {
            let mut message = response(request, &zone(9));
            message[0] ^= 1;
            talk.say(&message);
        },
        "its answer is one to another request",
    );
    check_whole(
        |request, talk| talk.say(&error(request, 5)),
        "the primary answers REFUSED",
    );
    check_whole(
        |request, talk| talk.say(&response(request, &(zone(9) + REST))),
        "records follow the last SOA of the transfer",
    );
    check_whole(
        |request, talk| talk.say(&response(request, &(soa(9) + REST + &soa(10)))),
        "the transfer begins with serial 9 and ends with 10",
    );
    check_whole(
        |_, talk| talk.say(b"no message"),
        "its answer cannot be read",
    );
    check_whole(
        |request, talk| {
            let rest = format!("{REST}www 60 CNAME ns\nwww 60 A 192.0.2.2\n");
            talk.say(&response(request, &(soa(9) + &rest + &soa(9))));
        },
        "the zone cannot be served: CNAME and A at www.odd.test., expected a CNAME alone",
    );
    check_whole(
        |request, talk| {
            let outside = "www.example. 60 A 192.0.2.2\n";
            talk.say(&response(request, &(soa(9) + REST + outside + &soa(9))));
        },
        "Whole: 3 records at 9",
    );
}

#[test]
fn who_says_nothing_or_too_much_is_left() {
    let silent = "the primary does not answer in time";
    check_within(&HASTE, |_, talk| talk.wait(), silent);
    check_within(
        &HASTE,
        |request, talk| {
            talk.say(&response(request, &soa(9)));
            talk.wait();
        },
        silent,
    );
    // A byte at a time, forever.
    check_within(
        &HASTE,
        |_, talk| {
            while talk.0.write_all(&[1]).is_ok() {
                std::thread::sleep(HASTE.idle / 10);
            }
        },
        silent,
    );
    let endless = |request: &[u8], talk: &mut Talk| {
        talk.say(&response(request, &soa(9)));
        let more = response(request, REST);
        let framed = [&(more.len() as u16).to_be_bytes()[..], &more].concat();
        while talk.0.write_all(&framed).is_ok() {}
    };
    let patience = Patience {
        whole: Duration::from_secs(1),
        ..PATIENCE
    };
    check_within(&patience, endless, "the transfer takes too long");
    // Nobody is there.
    let free = SocketAddr::from(([127, 0, 0, 1], tests::daemon::free_port()));
    for held in [None, Some(held(7))] {
        let fetched = told(ask(free, ZONE, None, held.as_ref(), &PATIENCE));
        assert!(
            fetched.starts_with("cannot connect to the primary: "),
            "{fetched}"
        );
    }
}

#[test]
fn the_serial_is_asked_for_until_somebody_tells_it() {
    let check = |reply: fn(&[u8]) -> Vec<Vec<u8>>, expected: &str| {
        let say = |request: &[u8], talk: &mut Talk| match qtype(request) {
            Rtype::SOA => talk.say(&response(request, &soa(6))),
            _ => talk.say(&response(request, &zone(9))),
        };
        let primary = start(Arc::new(reply), Arc::new(say));
        let fetched = ask(primary, ZONE, None, Some(&held(7)), &PATIENCE);
        assert_eq!(told(fetched), expected);
    };
    let by_tcp = "behind at 6";
    check(
        |request| vec![response(request, &soa(7))],
        "up to date at 7",
    );
    check(|request| vec![response(request, &soa(5))], "behind at 5");
    check(
        |request| vec![response(request, &soa(7 + (1 << 31)))],
        "behind at 2147483655",
    );
    check(
        |request| vec![response(request, &soa(9))],
        "Whole: 3 records at 9",
    );
    check(|_| Vec::new(), by_tcp);
    check(|request| vec![error(request, 5)], by_tcp);
    let truncated = |request: &[u8]| {
        let mut message = response(request, "");
        message[2] |= 2;
        vec![message]
    };
    check(truncated, by_tcp);
    let not_authoritative = |request: &[u8]| {
        let mut message = response(request, &soa(9));
        message[2] &= !4;
        vec![message]
    };
    check(not_authoritative, by_tcp);
    // What others send does not keep the answer away.
    let spoofed = |request: &[u8]| {
        let mut other = response(request, &soa(5));
        other[1] ^= 1;
        vec![other, b"no message".to_vec(), response(request, &soa(7))]
    };
    check(spoofed, "up to date at 7");
}

#[test]
fn where_no_difference_comes_the_whole_zone_is_asked_for() {
    let difference = |request: &[u8], lines: &str| match qtype(request) {
        Rtype::IXFR => response(request, &(soa(9) + lines + &soa(9))),
        _ => response(request, &zone(9)),
    };
    let whole = "Whole: 3 records at 9";
    check_newer(
        move |request, talk| {
            let lines =
                soa(7) + &soa(8) + "a 60 A 192.0.2.3\n" + &soa(8) + &soa(9) + "b 60 A 192.0.2.3\n";
            talk.say(&difference(request, &lines));
        },
        "Differences: 5 records at 9",
    );
    for rcode in [1, 2, 4, 5, 9] {
        check_newer(
            move |request, talk| match qtype(request) {
                Rtype::IXFR => talk.say(&error(request, rcode)),
                _ => talk.say(&response(request, &zone(9))),
            },
            whole,
        );
    }
    // It closes the connection.
    check_newer(
        |request, talk| {
            if qtype(request) == Rtype::AXFR {
                talk.say(&response(request, &zone(9)));
            }
        },
        whole,
    );
    let odd: [String; 6] = [
        // The whole zone.
        REST.to_owned(),
        // It goes on from elsewhere, has a gap, or is not there.
        soa(6) + &soa(9),
        soa(7) + &soa(8) + &soa(7) + &soa(9),
        soa(7) + "a 60 A 192.0.2.3\n" + &soa(9),
        soa(7) + &soa(9) + "ns 60 A 192.0.2.1\n",
        // What it makes cannot be served.
        soa(7) + &soa(9) + "ns 60 CNAME a\n",
    ];
    for lines in odd {
        check_newer(
            move |request, talk| talk.say(&difference(request, &lines)),
            whole,
        );
    }
    // The whole zone, which cannot be served, is not asked for again.
    check_newer(
        |request, talk| match qtype(request) {
            Rtype::IXFR => talk.say(&response(request, &(soa(9) + "@ 60 TXT x\n" + &soa(9)))),
            _ => talk.say(&response(request, &zone(9))),
        },
        "the zone cannot be served: no NS at odd.test., expected at least one at the apex",
    );
    // What has gone back meanwhile.
    check_newer(
        |request, talk| talk.say(&response(request, &soa(7))),
        "up to date at 7",
    );
    check_newer(
        |request, talk| talk.say(&response(request, &soa(6))),
        "behind at 6",
    );
    check_newer(
        |request, talk| match qtype(request) {
            Rtype::IXFR => talk.say(&error(request, 4)),
            _ => talk.say(&response(request, &zone(7))),
        },
        "up to date at 7",
    );
    // Neither way leads to anything.
    check_newer(
        |request, talk| talk.say(&error(request, 5)),
        "the primary answers REFUSED",
    );
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// Signs messages of a response as RFC 8945 section 5.3.1 says, by another HMAC than ours, over those
/// before it that are not.
struct Seal {
    prior: Vec<u8>,
    is_first: bool,
    unsigned: Vec<u8>,
}

impl Seal {
    fn seal(&mut self, message: &mut Vec<u8>) {
        const KEY: &[u8] = b"\x03key\x04test\0";
        const ALGORITHM: &[u8] = b"\x0bhmac-sha256\0";
        let [_, _, time @ ..] = now().to_be_bytes();
        let timers = [&time[..], &300u16.to_be_bytes()].concat();
        let signed_last = match self.is_first {
            true => [KEY, b"\0\xff\0\0\0\0", ALGORITHM, &timers, &[0; 4]].concat(),
            false => timers.clone(),
        };
        let size = (self.prior.len() as u16).to_be_bytes();
        let all = [
            &size[..],
            &self.prior,
            &self.unsigned,
            message,
            &signed_last,
        ]
        .concat();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let mac = hmac::sign(&secret, &all);
        let id = [message[0], message[1]];
        let rdata = [ALGORITHM, &timers, &[0, 32], mac.as_ref(), &id, &[0; 4]].concat();
        message.extend_from_slice(KEY);
        message.extend_from_slice(b"\0\xfa\0\xff\0\0\0\0");
        message.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(&rdata);
        message[11] += 1;
        self.prior = mac.as_ref().to_vec();
        self.is_first = false;
        self.unsigned.clear();
    }
}

#[test]
fn a_transfer_that_is_not_signed_throughout_is_an_error() {
    let good = key("key.test", "hmac-sha256", SECRET);
    let bad = "the MAC is not that of the message; the secrets may differ";
    let too_many = "too many messages in a row have no signature";
    // Which of the messages are signed, as letters: `s` is over all since the last one, `u` is not
    // signed; in upper case it is changed after that. The last one ends the zone. What comes of it
    // with us and, as another judge, with `dig`.
    let check = |kinds: &str, expected: &str| {
        let sent = kinds.to_owned();
        let say = move |request: &[u8], talk: &mut Talk| {
            let read = Request::read(request, Header::read(request).unwrap()).unwrap();
            let mut seal = Seal {
                prior: read.tsig().unwrap().mac.to_vec(),
                is_first: true,
                unsigned: Vec::new(),
            };
            for (at, kind) in sent.chars().enumerate() {
                let lines = match at {
                    0 => soa(9) + "@ 60 NS ns\n",
                    _ if at + 1 == sent.len() => soa(9),
                    _ => format!("n{at} 60 A 192.0.2.1\n"),
                };
                let mut message = response(request, &lines);
                if kind.eq_ignore_ascii_case(&'s') {
                    seal.seal(&mut message);
                } else {
                    seal.unsigned.extend_from_slice(&message);
                }
                if kind.is_uppercase() {
                    // The TTL of the first record.
                    message[12 + 10 + 4 + 10 + 7] ^= 1;
                }
                talk.say(&message);
            }
        };
        let primary = start(Arc::new(|_| Vec::new()), Arc::new(say));
        let fetched = ask(primary, ZONE, Some(&good), None, &PATIENCE);
        let told = told(fetched);
        let start = "its answer is not signed as it should be: ";
        let cause = told.strip_prefix(start);
        assert_eq!(cause.unwrap_or(&told), expected, "{kinds}");
        let by_key = format!("hmac-sha256:key.test:{SECRET_TEXT}");
        let shown = dig(primary, &[ZONE, "AXFR", "-y", &by_key]);
        let is_whole = shown.contains("XFR size") && !shown.contains("verify");
        // It looks at MACs alone, not at which messages have one.
        if cause.is_none_or(|cause| cause == bad) {
            assert_eq!(is_whole, cause.is_none(), "{kinds}: {shown}");
        }
    };
    let unsigned = "its first or last message has no signature";
    check("ss", "Whole: 2 records at 9");
    check("ssss", "Whole: 4 records at 9");
    check("suus", "Whole: 4 records at 9");
    check("suussus", "Whole: 7 records at 9");
    let many = "u".repeat(99);
    check(&format!("s{many}s"), "Whole: 101 records at 9");
    check(&format!("s{many}us"), too_many);
    check("uu", unsigned);
    check("us", unsigned);
    check("su", unsigned);
    check("sS", bad);
    check("Ss", bad);
    check("sUs", bad);
    check("suUus", bad);
}
