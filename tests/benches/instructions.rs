//! What an answer costs in user-space instructions, counted by callgrind: the same on every machine
//! and under any load.
//!
//! ```text
//! cargo bench -p tests --bench instructions             a zone of a million names; some minutes
//! cargo bench -p tests --bench instructions -- --smoke  of a thousand
//! ```
//! It runs itself under `valgrind` (Debian package of that name), once a case, which counts while
//! [`measured`] runs and no longer.
#![allow(clippy::unwrap_used, reason = "a bench stops at what does not hold")]

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use dnsd::serve::{Client, Outcome, Served, Setup, Spaces, Transport, serve};
use tests::answer::Answer;
use tests::figures::{Extent, refuse_other_args, value_of};
use tests::question::Question;
use zones::rtype::Rtype;
use zones::zonefile::{Source, parse};
use zones::{Name, Rcode, Shown, ZoneState, ZoneTable};

/// Each a question that is asked for names all over the zone.
const CASES: [Case; 4] = [
    Case {
        name: "positive",
        qname: |n| format!("host{n}.big.test"),
        is_right: |answer| answer.rcode == Rcode::NOERROR && answer.sections[0].len() == 1,
    },
    Case {
        name: "NXDOMAIN",
        qname: |n| format!("none{n}.big.test"),
        is_right: |answer| answer.rcode == Rcode::NXDOMAIN,
    },
    Case {
        name: "referral",
        qname: |n| format!("www.sub{}.cuts.test", n / 4),
        is_right: |answer| answer.rcode == Rcode::NOERROR && answer.sections[1].len() == 2,
    },
    Case {
        name: "wildcard",
        qname: |n| format!("any{n}.wild.big.test"),
        is_right: |answer| answer.rcode == Rcode::NOERROR && answer.sections[0].len() == 1,
    },
];
/// Questions of a case.
const QUESTIONS: usize = 1_000;

struct Case {
    name: &'static str,
    qname: fn(usize) -> String,
    is_right: fn(&Answer) -> bool,
}

fn main() {
    refuse_other_args(&["--measured", "--names"]);
    let extent = Extent::from_args();
    if let Some(case) = value_of("--measured") {
        let case = CASES.into_iter().find(|known| known.name == case);
        let names = value_of("--names").unwrap().parse().unwrap();
        measure(&case.unwrap(), names);
        return;
    }
    let names = extent.choose(QUESTIONS, 1_000_000);
    println!("zones of {names} names and of {} cuts", names / 4);
    for case in CASES {
        match count(&case, names) {
            Ok(instructions) => println!("  {:<9} {instructions} instructions", case.name),
            Err(error) => {
                println!("valgrind cannot be run, nothing is counted: {error}");
                return;
            }
        }
    }
}

/// What one answer takes.
fn count(case: &Case, names: usize) -> io::Result<usize> {
    let folder = tempfile::tempdir()?;
    let counts = folder.path().join("counts");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*measured*")
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe()?)
        .args(["--measured", case.name, "--names", &names.to_string()])
        .stderr(Stdio::null())
        .status()?;
    assert!(status.success(), "{}: {status}", case.name);
    let text = fs::read_to_string(counts)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: usize = total.unwrap().trim().parse().unwrap();
    Ok(total / QUESTIONS)
}

/// What runs under valgrind.
fn measure(case: &Case, names: usize) {
    let mut big = apex();
    for n in 0..names {
        writeln!(big, "host{n} A 192.0.2.{}", n % 256).unwrap();
    }
    big += "*.wild A 192.0.2.1\n";
    let mut cuts = apex();
    for n in 0..names / 4 {
        writeln!(cuts, "sub{n} NS ns1.other.test.\nsub{n} NS ns2.other.test.").unwrap();
    }
    let zones = [("big.test", big), ("cuts.test", cuts)];
    let zones = zones.into_iter().map(|(origin, text)| zone(origin, text));
    let served = Served {
        zones: zones.fold(ZoneTable::default(), |table, zone| table.with(zone)),
        ..Served::default()
    };
    let step = names / QUESTIONS;
    let questions = (0..QUESTIONS).map(|n| {
        let qname: Name = (case.qname)(n * step).parse().unwrap();
        Question::new(qname, Rtype::A).to_wire()
    });
    let questions: Vec<Vec<u8>> = questions.collect();
    let last = measured(&questions, &served);
    let answer = Answer::read(&last).unwrap();
    assert!((case.is_right)(&answer), "{}: {answer}", case.name);
}

/// Answers all questions; the last answer.
#[inline(never)]
fn measured(questions: &[Vec<u8>], served: &Served) -> Vec<u8> {
    let client = Client {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 5_353)),
        transport: Transport::Udp,
        wall: Duration::from_secs(1_800_000_000),
        timeout_idle: Duration::ZERO,
        identity: None,
    };
    let setup = Setup::default();
    // As a worker has them.
    let mut spaces = Spaces::default();
    let mut response = Vec::with_capacity(1_232);
    for question in questions {
        response.clear();
        let handled = serve(
            black_box(question),
            &client,
            served,
            &setup,
            &mut spaces,
            &mut response,
        );
        assert!(matches!(handled.outcome, Outcome::Respond(_)));
    }
    response
}

fn zone(origin: &str, text: String) -> ZoneState {
    let origin: Name = origin.parse().unwrap();
    let source = Source {
        name: origin.to_string(),
        text: text.into_bytes(),
    };
    let mut include = |_: &str, _: &str| Err("there are no other files".to_owned());
    let parsed = parse(&source, &origin, &mut include, &mut |_| {}).unwrap();
    let built = zones::check::build(&origin, parsed, &zones::workers::OneWorker).unwrap();
    ZoneState {
        now: built.version.clone(),
        shown: Some(Shown {
            version: built.version,
            serial: built.serial,
        }),
    }
}

fn apex() -> String {
    "$TTL 3600\n@ SOA ns h 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.53\n".to_owned()
}
