//! Records and UPDATE messages for tests, from short text with names relative to `example.`.
#![allow(dead_code, reason = "each test target uses its part")]

use zones::rtype::Class;
use zones::{Name, Rdata, Record, Rtype, Version};

/// The zone of all samples.
pub(crate) const ORIGIN: &str = "example.";

/// A name below the origin; `@` is the origin.
pub(crate) fn name(text: &str) -> Name {
    Name::from_text(text.as_bytes(), Some(&ORIGIN.parse().unwrap())).unwrap()
}

/// Records from lines `OWNER TTL TYPE RDATA`.
pub(crate) fn records(lines: &str) -> Vec<Record> {
    lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(record)
        .collect()
}

pub(crate) fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [owner, ttl, rtype, rest @ ..] = words.as_slice() else {
        panic!("record {line}")
    };
    let rtype = rtype.parse().unwrap();
    let rdata = rdata(rtype, rest);
    Record {
        owner: name(owner),
        rtype,
        ttl: ttl.parse().unwrap(),
        rdata,
    }
}

pub(crate) fn version(lines: &str) -> Version {
    Version::from_records(&name("@"), &records(lines)).unwrap()
}

fn rdata(rtype: Rtype, words: &[&str]) -> Rdata {
    let wire = |text: &str| name(text).as_wire().to_vec();
    let bytes = match rtype {
        Rtype::A => words[0].split('.').map(|n| n.parse().unwrap()).collect(),
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => wire(words[0]),
        Rtype::MX => [
            &words[0].parse::<u16>().unwrap().to_be_bytes(),
            &wire(words[1])[..],
        ]
        .concat(),
        Rtype::TXT => [&[words[0].len() as u8], words[0].as_bytes()].concat(),
        // Primary, serial; the rest is fixed.
        Rtype::SOA => {
            let serial = words[1].parse::<u32>().unwrap().to_be_bytes();
            [
                &wire(words[0])[..],
                &wire("hostmaster"),
                &serial,
                &[0, 0, 1, 0].repeat(4),
            ]
            .concat()
        }
        _ => (0..words[0].len())
            .step_by(2)
            .map(|i| hex(&words[0][i..i + 2]))
            .collect(),
    };
    Rdata::from_checked(bytes)
}

fn hex(text: &str) -> u8 {
    u8::from_str_radix(text, 16).unwrap()
}

/// An UPDATE message from lines as nsupdate takes them:
///
/// ```text
/// yxdomain NAME | nxdomain NAME | yxrrset NAME TYPE [RDATA] | nxrrset NAME TYPE
/// add NAME TTL TYPE RDATA | delete NAME [TYPE [RDATA]]
/// raw-prereq | raw-update NAME CLASS TYPE TTL [HEX]
/// ```
pub(crate) fn message(lines: &str) -> Vec<u8> {
    message_for(ORIGIN, lines)
}

pub(crate) fn message_for(zone: &str, lines: &str) -> Vec<u8> {
    let (mut prerequisites, mut updates) = (Vec::new(), Vec::new());
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rtype = |at: usize| {
            words
                .get(at)
                .map_or(Rtype::ANY, |text| text.parse().unwrap())
        };
        let empty = |class, rtype| rr(words[1], rtype, class, 0, &[]);
        let full = |class, rtype, ttl, from: usize| {
            let rdata = rdata(rtype, &words[from..]);
            rr(words[1], rtype, class, ttl, rdata.as_bytes())
        };
        match (words[0], words.len()) {
            ("yxdomain", _) => prerequisites.push(empty(Class::ANY, Rtype::ANY)),
            ("nxdomain", _) => prerequisites.push(empty(Class::NONE, Rtype::ANY)),
            ("yxrrset", 3) => prerequisites.push(empty(Class::ANY, rtype(2))),
            ("yxrrset", _) => prerequisites.push(full(Class::IN, rtype(2), 0, 3)),
            ("nxrrset", _) => prerequisites.push(empty(Class::NONE, rtype(2))),
            ("add", _) => updates.push(full(Class::IN, rtype(3), words[2].parse().unwrap(), 4)),
            ("delete", 2 | 3) => updates.push(empty(Class::ANY, rtype(2))),
            ("delete", _) => updates.push(full(Class::NONE, rtype(2), 0, 3)),
            (raw, _) => {
                let class = match words[2] {
                    "IN" => Class::IN,
                    "CH" => Class::CH,
                    "NONE" => Class::NONE,
                    _ => Class::ANY,
                };
                let bytes = words.get(5).map_or(Vec::new(), |text| {
                    (0..text.len())
                        .step_by(2)
                        .map(|i| hex(&text[i..i + 2]))
                        .collect()
                });
                let rr = rr(words[1], rtype(3), class, words[4].parse().unwrap(), &bytes);
                match raw {
                    "raw-prereq" => prerequisites.push(rr),
                    "raw-update" => updates.push(rr),
                    _ => panic!("line {line}"),
                }
            }
        }
    }
    let mut message = vec![0, 1, 5 << 3, 0, 0, 1];
    message.extend_from_slice(&(prerequisites.len() as u16).to_be_bytes());
    message.extend_from_slice(&(updates.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(zone.parse::<Name>().unwrap().as_wire());
    message.extend_from_slice(&[0, 6, 0, 1]);
    message.extend(prerequisites.concat());
    message.extend(updates.concat());
    message
}

fn rr(owner: &str, rtype: Rtype, class: Class, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let mut rr = name(owner).as_wire().to_vec();
    rr.extend_from_slice(&rtype.0.to_be_bytes());
    rr.extend_from_slice(&class.0.to_be_bytes());
    rr.extend_from_slice(&ttl.to_be_bytes());
    rr.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    rr.extend_from_slice(rdata);
    rr
}

/// A record as text that compares: canonical RDATA, an SOA without serial.
pub(crate) fn comparable(record: &Record) -> String {
    let rdata = match record.rtype {
        Rtype::SOA => zones::rdata::with_soa_serial(&record.rdata, zones::Serial(0)),
        _ => record.rdata.clone(),
    };
    let rdata = zones::rdata::canonical(record.rtype, rdata.as_bytes()).into_owned();
    let Record {
        owner, ttl, rtype, ..
    } = record;
    format!("{owner} {ttl} {rtype} {}", rdata.escape_ascii())
}

/// Records in the order of their text.
pub(crate) fn sorted(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(comparable).collect();
    lines.sort();
    lines
}
