//! The cases of `rfc2136.txt`, and the message of each for one zone.

use dnsd::message::{UpdateBuilder, UpdateRecord};
use std::collections::BTreeSet;
use zones::rdata::with_soa_serial;
use zones::rtype::Class;
use zones::zonefile::rdata_from_text;
use zones::{Name, Rcode, Record, Rtype, Serial};

use crate::server::Kind;

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) title: String,
    zone: Option<(String, Class, Rtype)>,
    zones: Option<u8>,
    prerequisites: Vec<String>,
    changes: Vec<String>,
    cut: usize,
    bytes: Vec<u8>,
    pub(crate) rcode: Rcode,
    pub(crate) serial: Option<u32>,
    removed: Vec<String>,
    added: Vec<String>,
    /// Where another server differs: its RCODE, or `silent`. The same RCODE: in what it does.
    pub(crate) differs: Vec<(Kind, String)>,
}

/// Reads the table.
pub(crate) fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').expect("a word and more");
        if word == "==" {
            cases.push(Case::new(rest));
            continue;
        }
        let case = cases.last_mut().expect("a title comes first");
        case.read_line(word, rest);
    }
    cases
}

impl Case {
    fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            zone: None,
            zones: None,
            prerequisites: Vec::new(),
            changes: Vec::new(),
            cut: 0,
            bytes: Vec::new(),
            rcode: Rcode::NOERROR,
            serial: None,
            removed: Vec::new(),
            added: Vec::new(),
            differs: Vec::new(),
        }
    }

    fn read_line(&mut self, word: &str, rest: &str) {
        let title = &self.title;
        match word {
            "zone" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let [name, class, rtype] = words[..] else {
                    panic!("{title}: {rest}")
                };
                self.zone = Some((name.to_owned(), class_of(class), rtype.parse().unwrap()));
            }
            "zones" => self.zones = Some(rest.parse().unwrap()),
            "cut" => self.cut = rest.parse().unwrap(),
            "bytes" => self.bytes = hex(rest),
            "pre" => self.prerequisites.push(rest.to_owned()),
            "up" => self.changes.push(rest.to_owned()),
            "=" => self.rcode = rcode_of(rest),
            "-" => self.removed.push(rest.to_owned()),
            "+" => self.added.push(rest.to_owned()),
            "serial" => self.serial = Some(rest.parse().unwrap()),
            "bind" | "knot" => {
                let kind = if word == "bind" {
                    Kind::Bind
                } else {
                    Kind::Knot
                };
                let (rcode, why) = rest.split_once(": ").expect("a reason");
                assert!(!why.is_empty(), "{title}");
                self.differs.push((kind, rcode.to_owned()));
            }
            _ => panic!("{title}: {word}"),
        }
    }

    /// The message for the zone at `origin`.
    pub(crate) fn message(&self, id: u16, origin: &Name) -> Vec<u8> {
        let (zone, class, rtype) = match &self.zone {
            None => (origin.clone(), Class::IN, Rtype::SOA),
            Some((name, class, rtype)) => {
                let name = match name.as_str() {
                    "{UPPER}" => origin.to_string().to_uppercase().parse().unwrap(),
                    name => name_of(name, origin),
                };
                (name, *class, *rtype)
            }
        };
        let mut builder = UpdateBuilder::new(&zone);
        for line in &self.prerequisites {
            put(line, origin, &mut |record| builder.prerequisite(record));
        }
        for line in &self.changes {
            put(line, origin, &mut |record| builder.change(record));
        }
        let mut message = builder.finish().expect("no case is that large");
        message[..2].copy_from_slice(&id.to_be_bytes());
        let fixed = 12 + zone.as_wire().len();
        message[fixed..fixed + 2].copy_from_slice(&rtype.0.to_be_bytes());
        message[fixed + 2..fixed + 4].copy_from_slice(&class.0.to_be_bytes());
        if let Some(zones) = self.zones {
            let section = message.split_off(12);
            message.extend(section.repeat(usize::from(zones)));
            message[5] = zones;
        }
        message.truncate(message.len() - self.cut);
        message.extend(&self.bytes);
        message
    }

    /// The content of the zone after it, from that before it.
    pub(crate) fn applied(&self, before: &BTreeSet<String>, origin: &Name) -> BTreeSet<String> {
        let mut after = before.clone();
        for line in &self.removed {
            let removed = after.remove(&content_line(line, origin));
            assert!(removed, "{}: {line} is there before", self.title);
        }
        for line in &self.added {
            let added = after.insert(content_line(line, origin));
            assert!(added, "{}: {line} is not there before", self.title);
        }
        after
    }

    pub(crate) fn is_change(&self) -> bool {
        !self.removed.is_empty() || !self.added.is_empty() || self.serial.is_some()
    }
}

/// A record as a line of content: an SOA without its serial.
pub(crate) fn line_of(record: &Record) -> String {
    let mut record = record.clone();
    if record.rtype == Rtype::SOA {
        record.rdata = with_soa_serial(&record.rdata, Serial(0));
    }
    tests::zone_text::line(&record).to_lowercase()
}

/// A line `NAME TTL TYPE RDATA` of the table; that of an SOA has no serial.
fn content_line(line: &str, origin: &Name) -> String {
    let (owner, ttl, rtype, rest) = words(line);
    let rtype: Rtype = rtype.parse().unwrap();
    let mut text = rest.to_owned();
    if rtype == Rtype::SOA {
        let (names, numbers) = rest
            .match_indices(' ')
            .nth(1)
            .map_or((rest, ""), |(at, _)| rest.split_at(at));
        text = format!("{names} 0{numbers}");
    }
    line_of(&Record {
        owner: name_of(owner, origin),
        rtype,
        ttl: ttl.parse().unwrap(),
        rdata: rdata_from_text(rtype, &text, Some(origin)).unwrap(),
    })
}

fn put(line: &str, origin: &Name, put: &mut dyn FnMut(UpdateRecord<'_>)) {
    let (owner, ttl, class, rest) = words(line);
    let (rtype, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let rtype: Rtype = rtype.parse().unwrap_or_else(|_| panic!("{line}"));
    let owner = name_of(owner, origin);
    let rdata = match rest.strip_prefix("\\# ") {
        // As it stands, whether it fits its type or not.
        Some(unknown) => hex(unknown.split_once(' ').map_or("", |(_, hex)| hex)),
        None if rest.is_empty() => Vec::new(),
        None => {
            let rdata = rdata_from_text(rtype, rest, Some(origin));
            let rdata = rdata.unwrap_or_else(|error| panic!("{line}: {error}"));
            rdata.as_bytes().to_vec()
        }
    };
    put(UpdateRecord {
        owner: &owner,
        rtype,
        class: class_of(class),
        ttl: ttl.parse().unwrap(),
        rdata: &rdata,
    });
}

/// The first three words, and the rest.
fn words(line: &str) -> (&str, &str, &str, &str) {
    let mut words = line.splitn(4, ' ');
    let mut next = || words.next().unwrap_or("");
    (next(), next(), next(), next())
}

fn name_of(text: &str, origin: &Name) -> Name {
    Name::from_text(text.as_bytes(), Some(origin)).unwrap()
}

fn class_of(text: &str) -> Class {
    match text {
        "IN" => Class::IN,
        "CH" => Class::CH,
        "NONE" => Class::NONE,
        "ANY" => Class::ANY,
        _ => panic!("class {text}"),
    }
}

fn rcode_of(text: &str) -> Rcode {
    let found = (0..=11).map(Rcode).find(|rcode| rcode.to_string() == text);
    found.unwrap_or_else(|| panic!("RCODE {text}"))
}

fn hex(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes().chunks(2);
    let byte = |two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    bytes.map(byte).collect()
}
