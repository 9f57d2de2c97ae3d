//! IXFR, message by message: what is sent from which serial, by which transport (RFC 1995).

use dnsd::history::{Chains, Step};
use dnsd::policy::{Policy, Realm, Rule};
use dnsd::serve::{Client, Outcome, Served, Setup, Spaces, Transport, serve, transfer};
use dnsd::state::Content;
use replication::Stamp;
use std::sync::Arc;
use std::time::Duration;
use tests::answer::Answer;
use tests::question::Question;
use tests::zone_text;
use zones::rdata::soa_serial;
use zones::rtype::Rtype;
use zones::zone_set::{Shown, ZoneState, ZoneTable};
use zones::{Name, Record, Serial, Version};

const WALL: Duration = Duration::from_secs(1_800_000_000);
const SOA: &str = "@ 60 SOA ns hostmaster 1 2 3 4 5\n@ 60 NS ns\n";

fn origin() -> Name {
    "example.".parse().unwrap()
}

/// What was published with the serials from 1 on; none: that step is too large to be kept.
fn served(contents: &[Option<&str>]) -> Served {
    let version = |text: &str| {
        let records = zone_text::read(&origin(), text);
        Version::from_records(&origin(), &records).unwrap()
    };
    let mut steps = Vec::new();
    let mut last: Option<Content> = None;
    for (content, serial) in contents.iter().zip(1..) {
        let content = Content {
            version: content.map(|text| version(&text.replace("$SOA\n", SOA))),
            serial: Serial(serial),
        };
        if let Some(last) = &last {
            let step = Step::between(last, &content, Stamp::ZERO);
            steps.push((origin(), step));
        }
        last = Some(content);
    }
    let shown = last.unwrap();
    let version = shown.version.unwrap();
    let mut zones = ZoneTable::default();
    zones.put(ZoneState {
        now: version.clone(),
        shown: Some(Shown {
            version,
            serial: shown.serial,
        }),
    });
    let anybody = Rule::transfer_from("127.0.0.0/8".parse().unwrap());
    Served {
        zones,
        policy: Arc::new(Policy::from_iter([(Realm::All, anybody)])),
        history: steps.into_iter().collect::<Chains>(),
        ..Served::default()
    }
}

fn client(transport: Transport) -> Client {
    Client {
        address: ([127, 0, 0, 1], 5353).into(),
        transport,
        wall: WALL,
        timeout_idle: Duration::ZERO,
        identity: None,
    }
}

fn line(record: &Record) -> String {
    match soa_serial(record.rdata.as_bytes()).filter(|_| record.rtype == Rtype::SOA) {
        Some(serial) => format!("SOA {}", serial.0),
        None => {
            let owner = record.owner.to_string();
            let name = owner
                .strip_suffix("example.")
                .unwrap()
                .trim_end_matches('.');
            format!(
                "{name} {} {}",
                record.rtype,
                record.rdata.as_bytes().last().unwrap()
            )
        }
    }
}

/// What is sent to who holds this serial.
fn sent(served: &Served, serial: u32, transport: Transport) -> Vec<String> {
    let mut question = Question::new(origin(), Rtype::IXFR);
    question.serial = Some(serial);
    let (request, client, setup) = (question.to_wire(), client(transport), Setup::default());
    let mut response = Vec::new();
    let handled = serve(
        &request,
        &client,
        served,
        &setup,
        &mut Spaces::default(),
        &mut response,
    );
    let mut messages = Vec::new();
    match handled.outcome {
        Outcome::Respond(_) => messages.push(response),
        Outcome::Transfer => {
            let mut stream = transfer::messages(&request, &client, served, &setup).unwrap();
            while let Some(message) = stream.next_message(WALL) {
                messages.push(message.unwrap());
            }
        }
        other => panic!("{other:?}"),
    }
    if transport == Transport::Udp {
        assert!(messages[0].len() <= 512, "{}", messages[0].len());
    }
    let records = messages.iter().flat_map(|message| {
        let answer = Answer::read(message).unwrap();
        answer.sections.into_iter().next().unwrap()
    });
    records.map(|record| line(&record)).collect()
}

#[test]
fn a_difference_is_condensed_and_framed_by_the_serials() {
    let served = served(&[
        Some("$SOA\na 60 A 192.0.2.1\nb 60 A 192.0.2.2\n"),
        Some("$SOA\na 60 A 192.0.2.9\nb 60 A 192.0.2.2\n"),
        Some("$SOA\na 60 A 192.0.2.9\nb 60 A 192.0.2.2\n"),
        Some("$SOA\na 60 A 192.0.2.3\nc 60 A 192.0.2.4\n"),
    ]);
    let check = |serial, expected: &[&str]| {
        for transport in [Transport::Tcp, Transport::Udp, Transport::Https] {
            assert_eq!(
                sent(&served, serial, transport),
                expected,
                "{serial} by {transport:?}"
            );
        }
    };
    check(
        1,
        &[
            "SOA 4", "SOA 1", "a A 1", "b A 2", "SOA 4", "a A 3", "c A 4", "SOA 4",
        ],
    );
    check(
        3,
        &[
            "SOA 4", "SOA 3", "a A 9", "b A 2", "SOA 4", "a A 3", "c A 4", "SOA 4",
        ],
    );
    check(4, &["SOA 4"]);
    // RFC 1995 section 2: who is ahead is told where this server stands.
    check(5, &["SOA 4"]);
    // A serial that is not known: the whole zone, or by UDP the hint to ask by TCP.
    let whole = ["SOA 4", " NS 0", "a A 3", "c A 4", "SOA 4"];
    assert_eq!(sent(&served, 4_000_000_000, Transport::Tcp), whole);
    assert_eq!(sent(&served, 4_000_000_000, Transport::Udp), ["SOA 4"]);
}

#[test]
fn a_serial_alone_can_change_and_the_soa_too() {
    let other = "@ 60 SOA other hostmaster 1 2 3 4 5\n@ 60 NS ns\na 60 A 192.0.2.1\n";
    let served = served(&[
        Some("$SOA\na 60 A 192.0.2.1\n"),
        Some("$SOA\na 60 A 192.0.2.1\n"),
        Some(other),
    ]);
    let expected = ["SOA 3", "SOA 1", "SOA 3", "SOA 3"];
    assert_eq!(sent(&served, 1, Transport::Tcp), expected);
    // The one before is shown as it was.
    let mut question = Question::new(origin(), Rtype::IXFR);
    question.serial = Some(1);
    let (request, client) = (question.to_wire(), client(Transport::Udp));
    let mut response = Vec::new();
    serve(
        &request,
        &client,
        &served,
        &Setup::default(),
        &mut Spaces::default(),
        &mut response,
    );
    let [answer, ..] = Answer::read(&response).unwrap().sections;
    let mname = |record: &Record| {
        Name::from_wire(record.rdata.as_bytes())
            .unwrap()
            .to_string()
    };
    let names: Vec<String> = answer.iter().map(mname).collect();
    assert_eq!(
        names,
        [
            "other.example.",
            "ns.example.",
            "other.example.",
            "other.example."
        ]
    );
}

#[test]
fn the_whole_zone_is_sent_where_it_is_less_or_the_way_is_cut() {
    let many: String = (0..40)
        .map(|n| format!("n{n} 60 A 192.0.2.{n}\n"))
        .collect();
    let many = format!("$SOA\n{many}");
    let few = "$SOA\na 60 A 192.0.2.1\n";
    // The difference is larger than what is left.
    let shrunk = served(&[Some(&many), Some(few)]);
    let whole = ["SOA 2", " NS 0", "a A 1", "SOA 2"];
    assert_eq!(sent(&shrunk, 1, Transport::Tcp), whole);
    assert_eq!(sent(&shrunk, 1, Transport::Udp), ["SOA 2"]);
    // It does not fit a datagram of 512 bytes.
    let grown = served(&[Some(few), Some(&many)]);
    assert_eq!(sent(&grown, 1, Transport::Tcp).len(), 4 + 41);
    assert_eq!(sent(&grown, 1, Transport::Udp), ["SOA 2"]);
    // The zone was gone in between.
    let back = served(&[Some(few), None, Some(few)]);
    assert_eq!(sent(&back, 1, Transport::Tcp)[1], " NS 0");
    assert_eq!(sent(&back, 2, Transport::Tcp)[1], " NS 0");
}

#[test]
fn a_large_difference_goes_step_by_step_in_many_messages() {
    const TEXTS: usize = 200;
    let plain: String = (0..3_000)
        .map(|n| format!("host{n} 60 A 192.0.2.1\n"))
        .collect();
    let contents: Vec<String> = ["a", "b", "c", "d", "e", "f"]
        .iter()
        .map(|letter| {
            let strings = format!("\"{}\" ", letter.repeat(250)).repeat(10);
            let texts = (0..TEXTS).map(|n| format!("text{n} 60 TXT {strings}\n"));
            format!("$SOA\n{plain}{}", texts.collect::<String>())
        })
        .collect();
    let contents: Vec<Option<&str>> = contents.iter().map(|text| Some(&text[..])).collect();
    let served = served(&contents);
    let serials = |lines: &[String]| -> Vec<String> {
        let soas = lines.iter().filter(|line| line.starts_with("SOA"));
        soas.cloned().collect()
    };
    // Five steps of 1 MiB each are not condensed, …
    let lines = sent(&served, 1, Transport::Tcp);
    assert_eq!(lines.len(), 2 + 5 * (2 + 2 * TEXTS));
    let expected = [6, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6].map(|serial| format!("SOA {serial}"));
    assert_eq!(serials(&lines), expected);
    // … three are.
    let lines = sent(&served, 3, Transport::Tcp);
    assert_eq!(lines.len(), 2 + 2 + 2 * TEXTS);
    assert_eq!(
        serials(&lines),
        [6, 3, 6, 6].map(|serial| format!("SOA {serial}"))
    );
}
