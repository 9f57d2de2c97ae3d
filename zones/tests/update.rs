//! RFC 2136, rule by rule.
#![allow(clippy::unwrap_used, reason = "a failing sample is a failing test")]

mod samples;

use samples::{message, message_for, name, records, sorted, version};
use zones::update::TermsCount;
use zones::{Rcode, Rtype, Serial, Terms, Update, Version};

const ZONE: &str = "
    @          3600 SOA   ns1 10
    @          3600 NS    ns1
    @          3600 NS    ns2
    ns1        3600 A     192.0.2.53
    www        300  A     192.0.2.1
    www        300  A     192.0.2.2
    alias      300  CNAME www
    mail       300  MX    10 Mx1
    a.b.ent    300  TXT   deep
    *.wild     300  A     192.0.2.9
    d          300  DNAME target
    sub        300  NS    ns.sub
    ns.sub     300  A     192.0.2.7
";

fn rcode(lines: &str) -> Rcode {
    match Update::from_message(&message(lines)) {
        Ok(update) => version(ZONE)
            .check(&update, Serial(10))
            .err()
            .unwrap_or(Rcode::NOERROR),
        Err(error) => error.rcode(),
    }
}

#[test]
fn prerequisites_hold_or_name_the_reason() {
    let check = |lines: &str, expected| assert_eq!(rcode(lines), expected, "{lines}");
    // Section 2.4.4 and 2.4.5: a name is in use if at least one record has it.
    check("yxdomain www", Rcode::NOERROR);
    check("yxdomain WWW", Rcode::NOERROR);
    check("yxdomain none", Rcode::NXDOMAIN);
    check("nxdomain none", Rcode::NOERROR);
    check("nxdomain www", Rcode::YXDOMAIN);
    check("yxdomain ent", Rcode::NXDOMAIN);
    check("nxdomain b.ent", Rcode::NOERROR);
    // Neither wildcards nor aliases are followed; data below a cut or a DNAME is data.
    check("nxdomain x.wild", Rcode::NOERROR);
    check("yxrrset x.wild A", Rcode::NXRRSET);
    check("yxrrset alias A", Rcode::NXRRSET);
    check("yxrrset alias CNAME", Rcode::NOERROR);
    check("yxdomain ns.sub", Rcode::NOERROR);
    check("nxdomain x.d", Rcode::NOERROR);
    // Sections 2.4.1 and 2.4.3.
    check("yxrrset www A", Rcode::NOERROR);
    check("yxrrset www TXT", Rcode::NXRRSET);
    check("yxrrset none A", Rcode::NXRRSET);
    check("nxrrset www A", Rcode::YXRRSET);
    check("nxrrset www TXT", Rcode::NOERROR);
    check("nxrrset none A", Rcode::NOERROR);
    // Section 2.4.2: RRset against RRset, whatever the order, case and repetition.
    check(
        "yxrrset www A 192.0.2.2\nyxrrset www A 192.0.2.1",
        Rcode::NOERROR,
    );
    check(
        "yxrrset www A 192.0.2.2\nyxrrset WWW A 192.0.2.1\nyxrrset www A 192.0.2.2",
        Rcode::NOERROR,
    );
    check("yxrrset www A 192.0.2.1", Rcode::NXRRSET);
    check("yxrrset none A 192.0.2.1", Rcode::NXRRSET);
    check(
        "yxrrset www A 192.0.2.1\nyxrrset www A 192.0.2.2\nyxrrset www A 192.0.2.3",
        Rcode::NXRRSET,
    );
    check("yxrrset mail MX 10 MX1", Rcode::NOERROR);
    check("yxrrset mail MX 11 mx1", Rcode::NXRRSET);
    // Section 3.2.3 with the serial that queries see, whatever the version holds.
    check("yxrrset @ SOA ns1 10", Rcode::NOERROR);
    check("yxrrset @ SOA NS1 10", Rcode::NOERROR);
    check("yxrrset @ SOA ns1 11", Rcode::NXRRSET);
    check("yxrrset @ SOA ns1 0", Rcode::NXRRSET);
    check("yxrrset @ SOA ns2 10", Rcode::NXRRSET);
    check("yxrrset www SOA ns1 10", Rcode::NXRRSET);
    // What is not allowed (section 3.2.5).
    check("nxdomain www.example.org.", Rcode::NOTZONE);
    check("raw-prereq www ANY A 1", Rcode::FORMERR);
    check("raw-prereq www ANY A 0 c0000201", Rcode::FORMERR);
    check("raw-prereq www NONE A 0 c0000201", Rcode::FORMERR);
    check("raw-prereq www CH A 0", Rcode::FORMERR);
    check("raw-prereq www IN ANY 0", Rcode::FORMERR);
    check("raw-prereq www IN A 0 c000", Rcode::FORMERR);
}

#[test]
fn the_first_failure_decides() {
    let check = |lines: &str, expected| assert_eq!(rcode(lines), expected, "{lines}");
    check("nxdomain www\nyxdomain none", Rcode::YXDOMAIN);
    check("yxdomain none\nnxdomain www", Rcode::NXDOMAIN);
    check("yxdomain none\nnxdomain www.example.org.", Rcode::NXDOMAIN);
    check("nxdomain www.example.org.\nyxdomain none", Rcode::NOTZONE);
    // Values are compared after all other prerequisites, the prescan comes after both.
    check("yxrrset www A 192.0.2.9\nyxdomain none", Rcode::NXDOMAIN);
    check("raw-update www IN ANY 0\nyxdomain none", Rcode::NXDOMAIN);
    check(
        "raw-update www IN ANY 0\nyxrrset www A 192.0.2.9",
        Rcode::NXRRSET,
    );
    check(
        "raw-update www IN ANY 0\nadd x.example.org. 1 A 192.0.2.1",
        Rcode::FORMERR,
    );
    check(
        "add x.example.org. 1 A 192.0.2.1\nraw-update www IN ANY 0",
        Rcode::NOTZONE,
    );
}

#[test]
fn the_prescan_refuses_what_is_not_allowed() {
    let check = |lines: &str, expected| assert_eq!(rcode(lines), expected, "{lines}");
    check(
        "add new 60 A 192.0.2.1\nadd x.example.org. 60 A 192.0.2.1",
        Rcode::NOTZONE,
    );
    check("delete x.example.org. A", Rcode::NOTZONE);
    for meta in [
        "ANY", "AXFR", "IXFR", "MAILA", "MAILB", "OPT", "TSIG", "TKEY", "TYPE0",
    ] {
        check(&format!("raw-update www IN {meta} 0"), Rcode::FORMERR);
        check(&format!("raw-update www NONE {meta} 0"), Rcode::FORMERR);
        if meta != "ANY" {
            check(&format!("raw-update www ANY {meta} 0"), Rcode::FORMERR);
        }
    }
    check("raw-update www ANY A 1", Rcode::FORMERR);
    check("raw-update www ANY A 0 c0000201", Rcode::FORMERR);
    check("raw-update www NONE A 1 c0000201", Rcode::FORMERR);
    check("raw-update www CH A 0 c0000201", Rcode::FORMERR);
    check("raw-update www IN A 0 c00002", Rcode::FORMERR);
    check("raw-update www IN A 0", Rcode::FORMERR);
    check("raw-update www IN WKS 0 01", Rcode::FORMERR);
    check("raw-update www NONE A 0", Rcode::FORMERR);
    check("raw-update www IN TYPE65280 0", Rcode::NOERROR);
}

/// Applies an update to the zone, and compares what it removes and adds.
fn applied(before: &Version, lines: &str, expected: &str) -> Version {
    let update = Update::from_message(&message(lines)).unwrap();
    assert_eq!(before.check(&update, Serial(10)), Ok(()), "{lines}");
    let applied = before.apply(&update, Serial(10)).unwrap();
    let side = |sign: char| {
        let lines = expected
            .lines()
            .filter_map(|line| line.trim().strip_prefix(sign));
        sorted(&records(&lines.collect::<Vec<_>>().join("\n")))
    };
    let delta = applied.delta();
    assert_eq!(sorted(&delta.removed), side('-'), "removed by {lines}");
    assert_eq!(sorted(&delta.added), side('+'), "added by {lines}");
    assert_eq!(
        applied.changed(),
        !expected.trim().is_empty() || applied.wanted.is_some()
    );
    let all: Vec<_> = applied.version.records().collect();
    let again = Version::from_records(&name("@"), &all).unwrap();
    assert_eq!(applied.version.counts(), again.counts(), "{lines}");
    assert_eq!(applied.version.digest(), again.digest(), "{lines}");
    assert!(applied.version.is_same_as(&again), "{lines}");
    applied.version
}

#[test]
fn records_are_added() {
    let zone = version(ZONE);
    let check = |lines: &str, expected: &str| drop(applied(&zone, lines, expected));
    check("add new 60 A 192.0.2.1", "+ new 60 A 192.0.2.1");
    check("add x.y.new 60 A 192.0.2.1", "+ x.y.new 60 A 192.0.2.1");
    check("add b.ent 60 A 192.0.2.1", "+ b.ent 60 A 192.0.2.1");
    check("add www 300 A 192.0.2.3", "+ www 300 A 192.0.2.3");
    check("add www 60 TYPE65280 00ff", "+ www 60 TYPE65280 00ff");
    check("add below.d 60 A 192.0.2.1", "+ below.d 60 A 192.0.2.1");
    // The same record changes nothing, whatever its case.
    check("add www 300 A 192.0.2.1", "");
    check("add WWW 300 A 192.0.2.1", "");
    check("add mail 300 MX 10 MX1", "");
    // RFC 2181 section 5.2: another TTL is that of the whole RRset.
    check(
        "add www 60 A 192.0.2.1",
        "- www 300 A 192.0.2.1
         - www 300 A 192.0.2.2
         + www 60 A 192.0.2.1
         + www 60 A 192.0.2.2",
    );
    check(
        "add www 60 A 192.0.2.3\nadd www 61 A 192.0.2.3",
        "- www 300 A 192.0.2.1
         - www 300 A 192.0.2.2
         + www 61 A 192.0.2.1
         + www 61 A 192.0.2.2
         + www 61 A 192.0.2.3",
    );
    // RFC 2181 section 8: a TTL with the top bit set is 0.
    check("add new 2147483648 A 192.0.2.1", "+ new 0 A 192.0.2.1");
}

#[test]
fn an_alias_never_stands_beside_other_data() {
    let zone = version(ZONE);
    let check = |lines: &str, expected: &str| drop(applied(&zone, lines, expected));
    check("add www 60 CNAME other", "");
    check("add alias 60 A 192.0.2.1", "");
    check("add @ 60 CNAME other", "");
    check("add d 60 CNAME other", "");
    check("add alias 60 DNAME other", "");
    check("add b.ent 60 CNAME other", "+ b.ent 60 CNAME other");
    // An alias replaces an alias, a DNAME a DNAME.
    check(
        "add alias 60 CNAME other",
        "- alias 300 CNAME www\n+ alias 60 CNAME other",
    );
    check("add alias 300 CNAME WWW", "");
    check(
        "add d 300 DNAME other",
        "- d 300 DNAME target\n+ d 300 DNAME other",
    );
    // Nobody knows what a zone cut at a wildcard means.
    check("add *.wild 60 NS ns1", "");
    // Section 1.1.5: a WKS replaces that of the same address and protocol.
    check(
        "raw-update www IN WKS 60 c000020106aa\nraw-update www IN WKS 60 c000020106bb",
        "+ www 60 WKS c000020106bb",
    );
    // In one update the order counts.
    check(
        "delete www A\nadd www 60 CNAME other",
        "- www 300 A 192.0.2.1
         - www 300 A 192.0.2.2
         + www 60 CNAME other",
    );
    check(
        "add www 60 CNAME other\ndelete www A",
        "- www 300 A 192.0.2.1\n- www 300 A 192.0.2.2",
    );
    check(
        "add alias 60 A 192.0.2.1\ndelete alias",
        "- alias 300 CNAME www",
    );
    // RFC 2136 section 1.1.5: a WKS is the same if address and protocol are.
    let with = applied(
        &zone,
        "add wks 60 WKS c00002010601",
        "+ wks 60 WKS c00002010601",
    );
    applied(
        &with,
        "add wks 60 WKS c00002010602\nadd wks 60 WKS c00002011101",
        "- wks 60 WKS c00002010601
         + wks 60 WKS c00002010602
         + wks 60 WKS c00002011101",
    );
}

#[test]
fn records_are_deleted() {
    let zone = version(ZONE);
    let check = |lines: &str, expected: &str| drop(applied(&zone, lines, expected));
    check("delete www A 192.0.2.1", "- www 300 A 192.0.2.1");
    check("delete WWW A 192.0.2.1", "- www 300 A 192.0.2.1");
    check("delete mail MX 10 MX1", "- mail 300 MX 10 mx1");
    check("delete www A 192.0.2.9", "");
    check("delete www TXT", "");
    check("delete none", "");
    check("delete ent", "");
    check("delete x.wild A", "");
    check(
        "delete www A",
        "- www 300 A 192.0.2.1\n- www 300 A 192.0.2.2",
    );
    check("delete www", "- www 300 A 192.0.2.1\n- www 300 A 192.0.2.2");
    check("delete a.b.ent", "- a.b.ent 300 TXT deep");
    check("add new 60 A 192.0.2.1\ndelete new A", "");
    check("delete www A 192.0.2.1\nadd WWW 300 A 192.0.2.1", "");
    // A name without records takes the case of the next one.
    check(
        "delete mail\nadd MAIL 300 MX 10 Mx1",
        "- mail 300 MX 10 mx1\n+ MAIL 300 MX 10 mx1",
    );
    check(
        "add x.new 60 A 192.0.2.1\nadd new 60 A 192.0.2.1\ndelete new",
        "+ x.new 60 A 192.0.2.1",
    );
}

#[test]
fn the_apex_keeps_what_a_zone_needs() {
    let zone = version(ZONE);
    let check = |lines: &str, expected: &str| drop(applied(&zone, lines, expected));
    check("delete @ SOA", "");
    check("delete @ NS", "");
    check("delete @", "");
    check("delete @ SOA ns1 10", "");
    check("delete @ NS ns1", "- @ 3600 NS ns1");
    check("delete @ NS ns1\ndelete @ NS ns2", "- @ 3600 NS ns1");
    check(
        "delete @ NS ns1\nadd @ 3600 NS ns3\ndelete @ NS ns2",
        "
         - @ 3600 NS ns1
         - @ 3600 NS ns2
         + @ 3600 NS ns3",
    );
    check("add @ 60 TXT t\ndelete @", "");
    check("delete sub NS", "- sub 300 NS ns.sub");
    check("delete sub NS ns.sub", "- sub 300 NS ns.sub");
}

#[test]
fn the_serial_goes_upwards_only() {
    let zone = version(ZONE);
    let check = |lines: &str, expected: &str, wanted: Option<u32>| {
        let update = Update::from_message(&message(lines)).unwrap();
        applied(&zone, lines, expected);
        assert_eq!(
            zone.apply(&update, Serial(10)).unwrap().wanted,
            wanted.map(Serial),
            "{lines}"
        );
    };
    check("add @ 3600 SOA ns1 11", "", Some(11));
    check("add @ 3600 SOA ns1 10", "", None);
    check("add @ 3600 SOA ns1 9", "", None);
    check("add @ 3600 SOA ns2 9", "", None);
    check(
        "add @ 3600 SOA ns2 11",
        "- @ 3600 SOA ns1 0\n+ @ 3600 SOA ns2 0",
        Some(11),
    );
    check(
        "add @ 60 SOA ns1 11",
        "- @ 3600 SOA ns1 0\n+ @ 60 SOA ns1 0",
        Some(11),
    );
    check("add @ 3600 SOA ns1 2147483657", "", Some(2_147_483_657));
    check("add @ 3600 SOA ns1 2147483658", "", None);
    check("add @ 3600 SOA ns1 12\nadd @ 3600 SOA ns2 11", "", Some(12));
    check("add www 3600 SOA ns1 12", "", None);

    let wanted = |lines: &str| Update::from_message(&message(lines)).unwrap().soa_serial();
    assert_eq!(
        wanted("add @ 3600 SOA ns1 12\nadd @ 3600 SOA ns1 11"),
        Some(Serial(12))
    );
    assert_eq!(wanted("add www 3600 SOA ns1 12"), None);
    assert_eq!(wanted("delete @ SOA ns1 12"), None);
}

#[test]
fn names_in_between_come_and_go() {
    let zone = version(ZONE);
    let exists = |version: &Version, text: &str| version.node(&name(text)).is_some();
    let deep = applied(&zone, "add x.y.z 60 A 192.0.2.1", "+ x.y.z 60 A 192.0.2.1");
    assert!(exists(&deep, "y.z") && exists(&deep, "z") && !exists(&zone, "z"));
    let middle = applied(&deep, "add z 60 A 192.0.2.1", "+ z 60 A 192.0.2.1");
    let gone = applied(&middle, "delete x.y.z", "- x.y.z 60 A 192.0.2.1");
    assert!(!exists(&gone, "y.z") && exists(&gone, "z"));
    let empty = applied(&middle, "delete z", "- z 60 A 192.0.2.1");
    assert!(empty.node(&name("z")).unwrap().is_empty());
    let both = applied(
        &middle,
        "delete z\ndelete x.y.z",
        "- z 60 A 192.0.2.1\n- x.y.z 60 A 192.0.2.1",
    );
    assert!(!exists(&both, "y.z") && !exists(&both, "z"));
    assert!(exists(&zone, "b.ent"));
    let cleared = applied(&zone, "delete a.b.ent", "- a.b.ent 300 TXT deep");
    assert!(!exists(&cleared, "b.ent") && !exists(&cleared, "ent"));
}

/// What an update makes of the zone, each of its changes held to these terms.
fn held_to(terms: &Terms, lines: &str) -> Result<Version, Rcode> {
    let mut update = Update::from_message(&message(lines)).unwrap();
    let changes = update.touched().count();
    update.hold_to(vec![terms.clone(); changes]).unwrap();
    let applied = version(ZONE).apply(&update, Serial(10))?;
    Ok(applied.version)
}

#[test]
fn changes_are_held_to_their_terms() {
    let at_most = |records_max| Terms {
        records_max: Some(records_max),
        ..Terms::default()
    };
    let check = |max, lines: &str, expected| {
        let found = held_to(&at_most(max), lines);
        assert_eq!(found.err(), expected, "{max}: {lines}");
    };
    let refused = Some(Rcode::REFUSED);
    check(2, "add new 60 TXT a\nadd new 60 TXT b", None);
    check(1, "add new 60 TXT a\nadd new 60 TXT b", refused);
    // What there is counts, whatever the order; what is there already is no more.
    check(2, "add www 60 A 192.0.2.3", refused);
    check(2, "add www 60 A 192.0.2.3\ndelete www A 192.0.2.1", None);
    check(2, "add www 60 A 192.0.2.2", None);
    check(1, "add www 60 A 192.0.2.2", None);
    check(1, "delete www A\nadd www 60 A 192.0.2.3", None);
    check(1, "add new 60 TXT a\nadd new 60 A 192.0.2.1", None);

    let ttl_of = |ttl: u32| {
        let terms = Terms {
            ttl_max: Some(120),
            ..Terms::default()
        };
        let version = held_to(&terms, &format!("add new {ttl} TXT a")).unwrap();
        let node = version.node(&name("new")).unwrap();
        node.rrset(Rtype::TXT).unwrap().ttl()
    };
    assert_eq!([ttl_of(60), ttl_of(120), ttl_of(121)], [60, 120, 120]);

    let terms = Terms {
        deletes: Some([Rtype::TXT].into()),
        ..Terms::default()
    };
    let version = held_to(&terms, "delete www\ndelete a.b.ent").unwrap();
    let exists = |version: &Version, text| version.node(&name(text)).is_some();
    assert!(exists(&version, "www") && !exists(&version, "a.b.ent"));

    let terms = Terms {
        lease: Some(60),
        ..Terms::default()
    };
    let mut update = Update::from_message(&message("delete www\nadd new 60 TXT a")).unwrap();
    assert_eq!(update.hold_to(vec![terms.clone()]), Err(TermsCount));
    update.hold_to(vec![Terms::default(), terms]).unwrap();
    let leases: Vec<_> = update.additions().map(|(_, lease)| lease).collect();
    assert_eq!(leases, [Some(60)]);
}

#[test]
fn a_deletion_takes_its_records_alone() {
    let zone = version(ZONE);
    let records = zone.node(&name("www")).unwrap().records();
    let first = records.take(1);
    let update = Update::deletion(
        name("@"),
        first.map(|record| (record.owner, record.rtype, record.rdata)),
    );
    let applied = zone.apply(&update, Serial(10)).unwrap();
    let rrset = applied.version.node(&name("www")).unwrap();
    assert_eq!(rrset.rrset(Rtype::A).unwrap().len(), 1);
}

#[test]
fn messages_are_read_whole_or_refused() {
    let whole = message("yxdomain www\nadd new 60 MX 10 mx1\ndelete www A 192.0.2.1");
    for size in 0..whole.len() {
        let error = Update::from_message(&whole[..size]).unwrap_err();
        assert_eq!(error.rcode(), Rcode::FORMERR, "cut to {size}");
    }
    let update = Update::from_message(&whole).unwrap();
    assert_eq!(update.zone(), &name("@"));
    let touched: Vec<_> = update
        .touched()
        .map(|touch| (touch.owner.clone(), touch.rtype, touch.is_addition))
        .collect();
    let expected = [
        (name("new"), Rtype::MX, true),
        (name("www"), Rtype::A, false),
    ];
    assert_eq!(touched, expected);
    assert!(!update.is_question());
    assert!(
        Update::from_message(&message("yxdomain www"))
            .unwrap()
            .is_question()
    );

    let check = |change: &dyn Fn(&mut Vec<u8>), expected| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        let found = Update::from_message(&bytes).map_err(|error| error.rcode());
        assert_eq!(found.err(), Some(expected));
    };
    check(&|bytes| bytes.push(0), Rcode::FORMERR);
    check(&|bytes| bytes[2] |= 0x80, Rcode::FORMERR);
    check(&|bytes| bytes[2] = 0, Rcode::FORMERR);
    check(&|bytes| bytes[5] = 2, Rcode::FORMERR);
    check(&|bytes| bytes[5] = 0, Rcode::FORMERR);
    // The zone section: ZTYPE and ZCLASS.
    check(&|bytes| bytes[12 + 9 + 1] = 2, Rcode::FORMERR);
    check(&|bytes| bytes[12 + 9 + 3] = 3, Rcode::NOTAUTH);

    // Names may be compressed, also inside RDATA; the additional section is for others.
    let mut compressed = message("");
    compressed[9] = 1;
    compressed[11] = 1;
    compressed
        .extend_from_slice(b"\x03new\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x08\0\x0a\x03mx1\xc0\x0c");
    compressed.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    let update = Update::from_message(&compressed).unwrap();
    let delta = version(ZONE).apply(&update, Serial(10)).unwrap().delta();
    assert_eq!(sorted(&delta.added), sorted(&records("new 60 MX 10 mx1")));
}

#[test]
fn an_update_of_another_zone_says_so() {
    let update = Update::from_message(&message_for("example.org.", "")).unwrap();
    assert_eq!(update.zone().to_string(), "example.org.");
}

#[test]
fn thousands_of_records_and_names_take_moments() {
    let full = version(ZONE);
    // One name: each record is compared with those there by order, not one by one.
    let mut lines = String::new();
    for number in 0..3_000 {
        lines += &format!("add www 60 TXT r{number}\n");
    }
    let update = Update::from_message(&message(&lines)).unwrap();
    let mut grown = full.apply(&update, Serial(10)).unwrap().version;
    for number in 0..3_000 {
        let lines = format!("add n{number}.many 60 A 192.0.2.1");
        let update = Update::from_message(&message(&lines)).unwrap();
        grown = grown.apply(&update, Serial(10)).unwrap().version;
    }
    // Names that are gone are not walked over again and again.
    let mut lines = String::new();
    for number in 0..3_000 {
        lines += &format!("delete n{number}.many\n");
    }
    let update = Update::from_message(&message(&lines)).unwrap();
    let gone = grown.apply(&update, Serial(10)).unwrap().version;
    assert!(gone.node(&name("many")).is_none());
    assert_eq!(gone.counts().names, full.counts().names);
}

/// RDATA of an RRSIG over this type.
fn rrsig(covered: &str) -> String {
    format!("{covered}0d020000003c0000000000000000000100aa")
}

#[test]
fn what_would_need_signatures_is_refused() {
    let check = |zone: &str, lines: &str, expected: Result<(), Rcode>| {
        let update = Update::from_message(&message(lines)).unwrap();
        let version = version(&format!("{ZONE}\n{zone}"));
        let done = version
            .check(&update, Serial(10))
            .and_then(|()| version.apply(&update, Serial(10)).map(drop));
        assert_eq!(done, expected, "{zone}: {lines}");
    };
    let (dnskey, of_soa) = ("DNSKEY 0101030da1a1a1", format!("RRSIG {}", rrsig("0006")));
    let refused = Err(Rcode::REFUSED);
    check("", "add www 60 A 192.0.2.9", Ok(()));
    check(&format!("@ 60 {dnskey}"), "add www 60 A 192.0.2.9", refused);
    check(&format!("@ 60 {of_soa}"), "delete www", refused);
    // Nor does an update make a zone a signed one, or a part of a chain of hashes.
    check("", &format!("add @ 60 {dnskey}"), refused);
    check("", &format!("add @ 60 {of_soa}"), refused);
    check("", &format!("add www 60 {dnskey}"), Ok(()));
    check("", "add 0p 60 NSEC3 01000000000100", refused);
    let of_nsec3 = rrsig("0032");
    check("", &format!("add 0p 60 RRSIG {of_nsec3}"), refused);
}

#[test]
fn signatures_over_each_type_have_a_ttl_of_their_own() {
    let (of_a, of_mx) = (rrsig("0001"), rrsig("000f"));
    let check = |lines: &str, expected: &str| {
        let update = Update::from_message(&message(lines)).unwrap();
        let zone = format!("{ZONE}\nwww 300 RRSIG {of_a}\nwww 301 RRSIG {of_mx}");
        let applied = version(&zone).apply(&update, Serial(10)).unwrap();
        let www = applied.version.node(&name("www")).unwrap();
        let ttls = www
            .rrsets()
            .map(|rrset| format!("{} {}", rrset.rtype(), rrset.ttl()));
        assert_eq!(ttls.collect::<Vec<_>>().join(", "), expected, "{lines}");
    };
    check("add x 60 A 192.0.2.1", "A 300, RRSIG 300, RRSIG 301");
    check(
        &format!("add www 60 RRSIG {of_a}"),
        "A 300, RRSIG 60, RRSIG 301",
    );
    check(&format!("delete www RRSIG {of_a}"), "A 300, RRSIG 301");
    check("delete www RRSIG", "A 300");
    check("delete www A", "RRSIG 300, RRSIG 301");
}
