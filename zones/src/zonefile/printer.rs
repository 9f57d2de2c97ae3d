//! Records to zone file text that is the same for the same zone and that other servers load: one
//! record a line, names fully qualified, TTL and class always there.

use crate::name::Name;
use crate::record::canonical_order;
use crate::record::{Rdata, Record};
use crate::rtype::Rtype;
use crate::zonefile::field::{self, Reader};
use crate::zonefile::lexer::Lexer;

/// Appends one record as a line: `owner TTL IN type RDATA` with tabs between them.
pub fn print_record(record: &Record, out: &mut String) {
    use std::fmt::Write;
    let _infallible = write!(
        out,
        "{}\t{}\tIN\t{}\t",
        record.owner, record.ttl, record.rtype
    );
    field::print(record.rtype, record.rdata.as_bytes(), out);
    if out.ends_with('\t') {
        out.pop();
    }
    out.push('\n');
}

/// The text of a zone: the SOA first, then all other records in canonical order of names, types
/// by number, RDATA in canonical order.
#[must_use]
pub fn print_zone(records: &[Record]) -> String {
    let mut out = String::new();
    let order = canonical_order(records.iter());
    let is_soa = |i: &&u32| records[**i as usize].rtype == Rtype::SOA;
    for i in order.iter().filter(is_soa) {
        print_record(&records[*i as usize], &mut out);
    }
    for i in order.iter().filter(|i| !is_soa(i)) {
        print_record(&records[*i as usize], &mut out);
    }
    out
}

/// Appends RDATA in presentation format.
pub fn print_rdata(rtype: Rtype, rdata: &[u8], out: &mut String) {
    field::print(rtype, rdata, out);
}

/// Reads RDATA in presentation format; relative names are completed by `origin` if there is one.
/// An error says what is wrong.
pub fn rdata_from_text(rtype: Rtype, text: &str, origin: Option<&Name>) -> Result<Rdata, String> {
    let mut rdata = Vec::new();
    let mut lexer = Lexer::new(text.as_bytes());
    let mut reader = Reader {
        lexer: &mut lexer,
        origin,
        rdata: &mut rdata,
    };
    reader.read(rtype).map_err(|fault| fault.message)?;
    if lexer.peek().is_some() {
        return Err("expected one line of text".into());
    }
    Ok(Rdata::from_checked(rdata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Checked, check};
    use crate::schema::known_types;
    use crate::zonefile::{Rejected, Source, parse};
    use proptest::collection::vec;
    use proptest::prelude::*;

    const EVERY_TYPE: &[u8] = include_bytes!("../../../tests/zones/every-type.zone");

    fn load(text: &[u8], origin: &str) -> Result<Checked, Rejected> {
        let origin = origin.parse().unwrap();
        let source = Source {
            name: "z".into(),
            text: text.to_vec(),
        };
        let mut include = |_: &str, _: &str| Err("none".to_owned());
        check(&origin, parse(&source, &origin, &mut include, &mut |_| {})?)
    }

    #[test]
    fn the_sample_zone_has_every_type_and_prints_to_itself() {
        let zone = load(EVERY_TYPE, "example.test").unwrap();
        for rtype in known_types() {
            // Other servers refuse the two obsolete ones.
            let is_there = zone.records.iter().any(|record| record.rtype == rtype);
            assert_eq!(
                is_there,
                rtype != Rtype::MD && rtype != Rtype::MF,
                "{rtype}"
            );
        }
        let printed = print_zone(&zone.records);
        assert!(
            printed.starts_with("example.test.\t5400\tIN\tSOA\t"),
            "{printed}"
        );
        let again = load(printed.as_bytes(), "example.test").unwrap();
        assert_eq!(again.records, zone.records);
        assert_eq!(again.warnings, []);
    }

    #[test]
    fn a_record_is_a_line() {
        let zone = load(b"@ 5 IN SOA a. b. 1 2 3 4 5\n@ 5 NS a.\nb 5 APL\n", "Test").unwrap();
        assert_eq!(
            print_zone(&zone.records),
            "Test.\t5\tIN\tSOA\ta. b. 1 2 3 4 5\nTest.\t5\tIN\tNS\ta.\nb.Test.\t5\tIN\tAPL\n"
        );
    }

    fn any_records() -> impl Strategy<Value = Vec<Record>> {
        let name = |top: &'static str| {
            vec(vec(any::<u8>(), 1..5), 1..4).prop_map(move |labels| {
                let top: Name = top.parse().unwrap();
                labels
                    .iter()
                    .fold(top, |name, label| name.child(label).unwrap())
            })
        };
        let rdata = prop_oneof![
            name(".").prop_map(|name| (Rtype::PTR, name.as_wire().to_vec())),
            vec(any::<u8>(), 1..30)
                .prop_map(|text| { (Rtype::TXT, [&[text.len() as u8][..], &text].concat()) }),
            vec(any::<u8>(), 0..30).prop_map(|bytes| (Rtype(65280), bytes)),
        ];
        let record =
            (name("test"), 0..=i32::MAX as u32, rdata).prop_map(|(owner, ttl, (rtype, rdata))| {
                Record {
                    owner,
                    rtype,
                    ttl,
                    rdata: Rdata::from_checked(rdata),
                }
            });
        vec(record, 0..20)
    }

    proptest! {
        #[test]
        fn a_zone_prints_and_reads_back(records in any_records()) {
            let apex = load(b"@ 5 SOA a. b. 1 2 3 4 5\n@ 5 NS a.\n", "test").unwrap();
            let records = [apex.records, records].concat();
            // The first text may hold duplicates and odd TTLs; what comes out of it may not.
            let zone = load(print_zone(&records).as_bytes(), "test").unwrap();
            let printed = print_zone(&zone.records);
            let again = load(printed.as_bytes(), "test").unwrap();
            prop_assert_eq!(&again.records, &zone.records);
            prop_assert_eq!(again.warnings, vec![]);
            for record in &records {
                let is_same = |other: &&Record| {
                    other.owner == record.owner && other.rtype == record.rtype
                        && other.borrowed().canonical_rdata() == record.borrowed().canonical_rdata()
                };
                prop_assert!(zone.records.iter().any(|other| is_same(&other)));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in vec(any::<u8>(), 0..200)) {
            let _any = load(&text, "test");
        }

        #[test]
        fn almost_right_text_is_read_or_refused(
            words in vec(prop_oneof![
                Just("@"), Just("a"), Just(" "), Just("\n"), Just("("), Just(")"), Just("\""),
                Just("60"), Just("IN"), Just("A"), Just("192.0.2.1"), Just("TXT"), Just("\\# 0"),
                Just("$TTL"), Just("$ORIGIN"), Just("$GENERATE"), Just("1-3"), Just("$"), Just(";"),
                Just("\\"), Just("${1,2,x}"), Just("SVCB 1 . alpn="), Just("LOC 1 N 1 E 1m"),
            ], 0..40)
        ) {
            let _any = load(words.join(" ").as_bytes(), "test");
        }
    }
}
