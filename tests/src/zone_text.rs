//! Zone files for tests: read whole, or the test fails.

use zones::record::RecordRef;
use zones::zonefile::{Source, parse, print_record};
use zones::{Name, Record};

/// The records of a zone file. They need not make a good zone.
#[must_use]
pub fn read(origin: &Name, text: &str) -> Vec<Record> {
    let source = Source {
        name: "script".to_owned(),
        text: text.as_bytes().to_vec(),
    };
    let mut include = |_: &str, _: &str| Err("there are no other files".to_owned());
    match parse(&source, origin, &mut include, &mut |_| {}) {
        Ok(parsed) => parsed.records.iter().map(RecordRef::to_record).collect(),
        Err(rejected) => panic!("{rejected}"),
    }
}

/// A record as a line, without the class and with blanks between its fields.
#[must_use]
pub fn line(record: &Record) -> String {
    let mut line = String::new();
    print_record(record, &mut line);
    line.trim_end()
        .replacen("\tIN\t", " ", 1)
        .replace('\t', " ")
}
