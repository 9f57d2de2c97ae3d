//! Differences of zone transfers against the whole: a version with a difference is the version of
//! all records that there are then.
#![allow(clippy::unwrap_used, reason = "a failing sample is a failing test")]

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use samples::{name, record, records, version};
use zones::check::check_difference;
use zones::{DifferenceError, Record, Version};

/// The beginning of the lines of an RRset: owner and type.
type Start = (&'static str, &'static str);
/// TTL, and the rest of each line.
type Rest = (u32, BTreeSet<String>);
type Content = BTreeMap<Start, Rest>;

const OWNERS: [&str; 12] = [
    "@", "a", "B", "*", "b.a", "*.a", "x.y.z", "y.z", "2p", "Q5", "c.Q5", "d.b.a",
];

/// Types, and the RDATA that each may have; of RRSIG the first two bytes say what is covered.
const RDATA: [(&str, &[&str]); 12] = [
    ("A", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
    ("NS", &["ns1", "ns2"]),
    ("CNAME", &["target"]),
    ("DNAME", &["target"]),
    ("MX", &["1 Mail", "2 mail"]),
    ("TXT", &["x", "X"]),
    ("RRSIG of A", &["000100", "000101"]),
    ("RRSIG of NS", &["000200"]),
    ("NSEC", &["0000", "0100"]),
    ("RRSIG of NSEC", &["002f00"]),
    ("NSEC3", &["01000000000100", "01000000000101"]),
    ("RRSIG of NSEC3", &["003200", "003201"]),
];

fn rrset() -> impl Strategy<Value = (Start, Rest)> {
    let owner = proptest::sample::select(&OWNERS[..]);
    let of_type = proptest::sample::select(&RDATA[..]);
    (owner, of_type, 1..3u32, any::<u8>()).prop_map(|(owner, (rtype, rdata), ttl, which)| {
        let chosen = rdata.iter().enumerate();
        let chosen = chosen
            .filter(|(at, _)| which >> at & 1 == 1 || *at == usize::from(which) % rdata.len());
        let rdata = chosen.map(|(_, rdata)| (*rdata).to_owned()).collect();
        ((owner, rtype), (ttl, rdata))
    })
}

/// What stands at the apex of every zone: its SOA, and sometimes a signature of it.
fn soa() -> impl Strategy<Value = Content> {
    (1..4u32, 1..3u32, 1..3u8, any::<bool>()).prop_map(|(serial, ttl, primary, is_signed)| {
        let mut content = Content::new();
        let soa = BTreeSet::from([format!("ns{primary} {serial}")]);
        content.insert(("@", "SOA"), (ttl, soa));
        if is_signed {
            let signature = BTreeSet::from([format!("0006{serial:02}")]);
            content.insert(("@", "RRSIG of SOA"), (ttl, signature));
        }
        content
    })
}

fn content(rrsets: Vec<(Start, Rest)>, soa: Content) -> Content {
    let mut content = soa;
    content.extend(rrsets);
    content
}

fn lines(content: &Content) -> BTreeSet<String> {
    let lines = content.iter().flat_map(|((owner, rtype), (ttl, rdata))| {
        let rtype = rtype.split(' ').next().unwrap();
        rdata
            .iter()
            .map(move |rdata| format!("{owner} {ttl} {rtype} {rdata}"))
    });
    lines.collect()
}

/// As a primary tells it: the SOA goes and comes whatever it holds.
fn difference(before: &Content, after: &Content) -> (Vec<Record>, Vec<Record>) {
    let missing = |these: &Content, those: &Content| {
        let these = lines(these);
        let those = lines(those);
        let told = these
            .iter()
            .filter(|line| line.contains(" SOA ") || !those.contains(*line));
        told.map(|line| record(line)).collect()
    };
    (missing(before, after), missing(after, before))
}

fn whole(content: &Content) -> Version {
    let records: Vec<Record> = lines(content).iter().map(|line| record(line)).collect();
    Version::from_records(&name("@"), &records).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_version_with_differences_is_that_of_all_records(
        common in proptest::collection::vec(rrset(), 0..12),
        steps in proptest::collection::vec((proptest::collection::vec(rrset(), 0..8), soa()), 2..6),
        taken in 0..12usize,
    ) {
        let contents: Vec<Content> = (steps.into_iter().enumerate())
            .map(|(at, (own, soa))| {
                // What is common to all comes and goes in part.
                let some = common.iter().enumerate().filter(|(number, _)| (number + at) % 12 != taken);
                content(some.map(|(_, rrset)| rrset.clone()).chain(own).collect(), soa)
            })
            .collect();
        let mut version = whole(&contents[0]);
        for pair in contents.windows(2) {
            let (removed, added) = difference(&pair[0], &pair[1]);
            let next = version.with_difference(&removed, &added).unwrap();
            let expected = whole(&pair[1]);
            prop_assert!(next.is_same_as(&expected), "{:?}\n{:?}", next, expected);
            prop_assert_eq!(next.digest(), expected.digest());
            prop_assert_eq!(next.counts(), expected.counts());
            prop_assert_eq!(next.signed_serial(), expected.signed_serial());
            // What stands below is told by neither.
            let walked = |version: &Version| -> Vec<String> {
                version.walk().map(|node| format!("{node:?}").to_lowercase()).collect()
            };
            prop_assert_eq!(walked(&next), walked(&expected));
            // A difference between versions, as the history keeps it, does the same.
            let delta = Version::difference(&version, &next);
            let again = version.with_difference(&delta.removed, &delta.added).unwrap();
            prop_assert!(again.is_same_as(&next));
            prop_assert_eq!(again.digest(), next.digest());
            version = next;
        }
    }
}

const ZONE: &str = "
    @   60 SOA ns1 7
    @   60 NS  ns1
    a   60 A   192.0.2.1
    a   60 A   192.0.2.2
    a   60 MX  1 Mail
    b.c 60 A   192.0.2.3
    5   60 NSEC3 01000000000100";

#[test]
fn what_does_not_fit_is_an_error() {
    let check = |removed: &str, added: &str, expected: Result<&str, &str>| {
        let made = version(ZONE).with_difference(&records(removed), &records(added));
        let told = made.map_err(|error| error.to_string());
        match (&told, expected) {
            (Ok(made), Ok(lines)) => {
                let expected = version(lines);
                assert!(made.is_same_as(&expected), "-{removed} +{added}: {made:?}");
                assert_eq!(made.digest(), expected.digest());
            }
            (Err(told), Err(expected)) => assert_eq!(told, expected),
            _ => panic!("-{removed} +{added}: {told:?}"),
        }
    };
    let not_there = |what: &str| format!("a record {what} goes that is not there");
    let there = |what: &str| format!("a record {what} comes that is there already");
    check("a 60 A 192.0.2.9", "", Err(&not_there("a.example. A")));
    check("x 60 A 192.0.2.1", "", Err(&not_there("x.example. A")));
    check("c 60 A 192.0.2.1", "", Err(&not_there("c.example. A")));
    check("@ 60 SOA ns2 7", "", Err(&not_there("example. SOA")));
    let twice = "a 60 A 192.0.2.1\na 60 A 192.0.2.1";
    check(twice, "", Err(&not_there("a.example. A")));
    check("", "A 60 A 192.0.2.1", Err(&there("A.example. A")));
    check("", "a 60 MX 1 mail", Err(&there("a.example. MX")));
    check("", "@ 60 SOA ns1 8", Err(&there("example. SOA")));
    check("", "@ 60 SOA ns2 8", Err(&there("example. SOA")));
    let outside = "www.example.org. 60 A 192.0.2.1";
    let error = Err("www.example.org. is not within the zone");
    check("", outside, error);
    check(outside, "", error);
    // What goes is gone before anything comes, whatever its TTL.
    let without = |line: &str| ZONE.replace(line, "");
    check(
        "a 5 A 192.0.2.1\na 5 A 192.0.2.2",
        "a 7 A 192.0.2.1",
        Ok(&without("a   60 A   192.0.2.2").replace("a   60 A ", "a 7 A ")),
    );
    // The lower TTL holds for all.
    check(
        "",
        "a 7 A 192.0.2.9",
        Ok(&format!(
            "{}\na 7 A 192.0.2.9",
            ZONE.replace("a   60 A ", "a 7 A ")
        )),
    );
    check(
        "b.c 60 A 192.0.2.3\n5 60 NSEC3 01000000000100",
        "",
        Ok(&without("b.c 60 A   192.0.2.3").replace("5   60 NSEC3 01000000000100", "")),
    );
}

#[test]
fn names_are_touched_only_where_a_difference_names_them() {
    let before = version(ZONE);
    let after = before
        .with_difference(&records("a 60 MX 1 MAIL"), &records("new 60 A 192.0.2.1"))
        .unwrap();
    assert_eq!(after.changed_names(), 2);
    let unchanged = before.with_difference(&records("a 60 MX 1 mail"), &records("a 60 MX 1 Mail"));
    assert!(before.is_identical_to(&unchanged.unwrap()) && before.changed_names() == 0);
    let outside = before.with_difference(&[], &records("example.org. 60 A 192.0.2.1"));
    assert!(matches!(outside, Err(DifferenceError::OutOfZone(_))));
}

#[test]
fn what_a_difference_made_is_held_to_the_checks_of_a_zone() {
    let check = |removed: &str, added: &str, expected: &str| {
        let before = version(ZONE);
        let after = before.with_difference(&records(removed), &records(added));
        let found = check_difference(&before, &after.unwrap());
        let found = found
            .err()
            .map_or_else(String::new, |it| it.errors[0].message.clone());
        assert_eq!(found, expected, "-{removed} +{added}");
    };
    check("", "", "");
    check("a 60 MX 1 mail", "x.a 60 NS far.away.", "");
    let alone = "CNAME and A at a.example., expected a CNAME alone";
    check("", "a 60 CNAME b.c", alone);
    check(
        "@ 60 NS ns1",
        "",
        "no NS at example., expected at least one at the apex",
    );
    check(
        "@ 60 SOA ns1 7",
        "",
        "no SOA at example., expected one at the apex",
    );
    check(
        "",
        "a 60 SOA ns1 8",
        "SOA at a.example., expected it at the apex example. only",
    );
    check(
        "",
        "*.x 60 NS ns1",
        "NS at *.x.example., expected no zone cut at a wildcard",
    );
    let two = "x 60 DNAME a\nx 60 DNAME b";
    check(
        "",
        two,
        "a second DNAME at x.example., expected one at most",
    );
}
