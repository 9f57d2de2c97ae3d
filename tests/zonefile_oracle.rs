//! Zone files against BIND: what `named-compilezone` makes of a file, down to the bytes of each
//! RDATA, is what the `zones` crate makes of it.
#![allow(clippy::unwrap_used, reason = "a test stops at what does not hold")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use zones::check::Checked;
use zones::io::files;
use zones::zonefile::print_zone;
use zones::{Name, Rdata, Record, Rtype};

const ORIGIN: &str = "example.test";
/// When the signatures in the files are good.
const WALL: Duration = Duration::from_secs(1_800_000_000);

#[test]
fn every_type_is_read_as_bind_reads_it() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/every-type.zone");
    let ours = load(&sample);
    assert_eq!(ours.warnings, []);
    assert_same(&ours.records, &compiled(&sample));
}

#[test]
fn bind_reads_what_is_printed() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/every-type.zone");
    let ours = load(&sample);
    let directory = tempfile::tempdir().unwrap();
    let printed = directory.path().join("printed");
    fs::write(&printed, print_zone(&ours.records)).unwrap();
    assert_same(&ours.records, &compiled(&printed));
}

#[test]
fn lines_are_taken_and_refused_as_bind_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    fs::write(directory.path().join("part"), "included A 192.0.2.77\n").unwrap();
    let part = format!("$INCLUDE {}/part sub", directory.path().display());
    let mut differences = Vec::new();
    for line in LINES.iter().copied().chain([part.as_str()]) {
        let text = format!(
            "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{line}\nlast A 192.0.2.99\n"
        );
        fs::write(&path, text).unwrap();
        let origin = ORIGIN.parse().unwrap();
        let ours = files::load(&path, &origin, WALL, &mut |_| {});
        let theirs = compile(&path);
        let says = String::from_utf8_lossy(&theirs.stdout);
        match ours {
            Ok(ours) if theirs.status.success() => {
                assert_same(
                    &ours.records,
                    &raw_records(&fs::read(raw_path(&path)).unwrap()),
                );
            }
            Ok(_) => differences.push(format!("only we take {line:?}: {says}")),
            Err(rejected) if theirs.status.success() => {
                differences.push(format!("only we refuse {line:?}: {rejected}"));
            }
            Err(_) => {}
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Each is put into a small zone.
const LINES: &[&str] = &[
    "a A 192.0.2.1",
    "a 1h30m A 192.0.2.1",
    "a 1W2D3H4M5S A 192.0.2.1",
    "a 1h30 A 192.0.2.1",
    "a 2147483647 A 192.0.2.1",
    "a 2147483648 A 192.0.2.1",
    "a 4294967295 A 192.0.2.1",
    "a 4294967296 A 192.0.2.1",
    "a 49711d A 192.0.2.1",
    "$TTL 2147483648\na A 192.0.2.1\n$TTL 60",
    "a IN 30 A 192.0.2.1",
    "a 30 IN A 192.0.2.1",
    "a class1 a 192.0.2.1",
    "a CH A 192.0.2.1",
    "a A 192.0.2",
    "a A 192.0.2.256",
    "a A 192.0.2.1 x",
    "a A",
    "a BOGUS x",
    "a AXFR x",
    "a.b. A 192.0.2.1",
    "a A ( 192.0.2.1",
    "a A 192.0.2.1 )",
    "( a A 192.0.2.1 )",
    "a ( ( A\n\n ) ; comment \"\n 192.0.2.1\n )",
    "\ta A 192.0.2.1",
    "  A 192.0.2.1",
    "a A 192.0.2.1 ; comment\r",
    "a..b A 192.0.2.1",
    "a\\032b TXT x",
    "a\\256 TXT x",
    "$ORIGIN sub\na A 192.0.2.1\n$ORIGIN example.test.",
    "$TTL 5\na A 192.0.2.1\n$TTL 60",
    "$ttl 1d",
    "$TTL x",
    "$BOGUS x",
    "$INCLUDE nowhere",
    "a CNAME ns\na A 192.0.2.1",
    "a CNAME ns\na CNAME b",
    "a DNAME ns\na DNAME b",
    "a SOA ns root 1 2 3 4 5",
    "@ SOA ns root 2 2 3 4 5",
    "a TXT",
    "a TXT \"\"",
    "a TXT x\"y\"z",
    "a TXT \"x",
    "a TXT \"x\\\"y\" \\\"z",
    "a TXT \\000\\255\\;;comment",
    "a TXT alpn=\"x y\"",
    "a TXT (\"x\"\n\"y\")",
    "a MX 10 @",
    "a MX 65536 ns",
    "a MX ns 10",
    "a MX 10 \"ns\"",
    "a AAAA ::ffff:192.0.2.1",
    "a AAAA 1::2::3",
    "a CAA 0 issue \";\"",
    "a CAA 256 issue x",
    "a CAA 0 is-sue x",
    "a DS 1 8 1 00",
    "a DS 1 8 99 00",
    "a DS 1 RSASHA256 SHA-256 ( 0000000000000000000000000000000000000000\n000000000000000000000000 )",
    "a DS 1 8 2",
    "a SSHFP 1 1 00",
    "a TLSA 3 1 1",
    "a TLSA 3 1 1 0",
    "a TLSA 3 1 1 00",
    "a DNSKEY 256 3 8 AAAA",
    "a DNSKEY 256 3 8 AAA",
    "a DNSKEY 256 3 BOGUS AAAA",
    "a CDS 0 0 0 00",
    "a AMTRELAY 10 2 0 .",
    "a AMTRELAY 10 0 0 ns",
    "a AMTRELAY 10 0 4 .",
    "a AMTRELAY 10 0 1 2001:db8::1",
    "a WKS 192.0.2.1 tcp 65536",
    "a WKS 192.0.2.1 bogus 25",
    "a NXT b A TYPE128",
    "a A6 129 ::1 b",
    "a A6 0 ::1 b",
    "a A6 64 ::1",
    "a ATMA +12x4",
    "a ATMA 47.000",
    "a DOA 1 2 3 x",
    "a SINK 1 2",
    "a CDNSKEY 0 3 0 AA==",
    "a RRSIG A 8 3 60 20300101000000 20260101000000 1 @ AQIDBA==",
    "a RRSIG A 8 3 60 1900000000 1800000000 1 @ AQIDBA==",
    "a RRSIG A 8 3 60 20301301000000 20260101000000 1 @ AQIDBA==",
    "a NSEC b",
    "a NSEC b A A NS TYPE1",
    "a NSEC b BOGUS",
    "a NSEC3PARAM 1 0 5 -",
    "a NSEC3PARAM 1 0 5 0",
    "a SVCB 0 b",
    "a SVCB 0 b port=1",
    "a SVCB 1 .",
    "a SVCB 1 . port=53 port=54",
    "a SVCB 1 . port=65536",
    "a SVCB 1 . port=\"53\"",
    "a SVCB 1 . alpn=h2,h3",
    "a SVCB 1 . alpn=\"h2,h3\" key65280=x",
    "a SVCB 1 . alpn=",
    "a SVCB 1 . alpn",
    "a SVCB 1 . alpn=h2,,h3",
    "a SVCB 1 . mandatory=port",
    "a SVCB 1 . mandatory=port port=1",
    "a SVCB 1 . mandatory=mandatory",
    "a SVCB 1 . mandatory=port,port port=1",
    "a SVCB 1 . no-default-alpn",
    "a SVCB 1 . no-default-alpn alpn=h2",
    "a SVCB 1 . ipv4hint=192.0.2.1,192.0.2.2",
    "a SVCB 1 . ipv4hint=",
    "a SVCB 1 . ipv6hint=2001:db8::1",
    "a SVCB 1 . ech=AAEC",
    "a SVCB 1 . ech=",
    "a SVCB 1 . key65535=x",
    "a SVCB 1 . key5=x",
    "a SVCB 1 . key00=x",
    "a SVCB 1 . bogus=x",
    "a SVCB 1 . dohpath=/q{?dns}",
    "a SVCB 1 . dohpath=/q",
    "a LOC 42 21 54 N 71 06 18 W -24m 30m",
    "a LOC 42 21 54.1234 N 71 06 18 W -24m 30m",
    "a LOC 91 N 71 W 0m",
    "a LOC 42 N 71 W 0 15m 12345m",
    "a LOC 42 N 71 W",
    "a URI 1 2 \"\"",
    "a URI 1 2 \"x\" y",
    "a HINFO PC",
    "a APL 1:192.0.2.0/24 !2:2001:db8::/32",
    "a APL 1:192.0.2.0/33",
    "a APL 3:192.0.2.0/24",
    "a EUI48 00-00-5e-00-53",
    "a NID 10 1:2:3:4",
    "a NID 10 1:2:3",
    "a TYPE65280 \\# 4 0a 00 0001",
    "a TYPE65280 \\# 3 0a000001",
    "a TYPE65280 0a000001",
    "a TYPE1 192.0.2.1",
    "a TYPE1 \\# 4 c0000201",
    "a A \\# 4 c0000201",
    "a A \\# 3 c00002",
    "$GENERATE 1-3 a$ A 192.0.2.$",
    "$GENERATE 1-9/4 a${-1,3,o} 30 IN A 192.0.2.$",
    "$GENERATE 1-2 a$ TXT \"x y$\"",
    "$GENERATE 1-2 a$ TXT \\$$$",
    "$GENERATE 160-161 ${0,3,N} PTR a${0,3,X}",
    "$GENERATE 2-1 a$ A 192.0.2.$",
    "$GENERATE 1-3 a${0,0,q} A 192.0.2.$",
    "$GENERATE 255-256 a$ A 192.0.2.$",
];

fn load(path: &Path) -> Checked {
    let origin = ORIGIN.parse().unwrap();
    files::load(path, &origin, WALL, &mut |_| {}).unwrap_or_else(|rejected| panic!("{rejected}"))
}

/// Owners are compared without case, all else to the byte, the order not at all.
fn assert_same(ours: &[Record], theirs: &[Record]) {
    let shown = |records: &[Record]| {
        let mut lines: Vec<String> = records
            .iter()
            .map(|record| {
                let Record {
                    owner,
                    rtype,
                    ttl,
                    rdata,
                } = record;
                format!("{} {ttl} {rtype} {rdata:?}", owner.to_lowercase())
            })
            .collect();
        lines.sort();
        lines
    };
    let (ours, theirs) = (shown(ours), shown(theirs));
    let only = |a: &[String], b: &[String]| {
        a.iter()
            .filter(|line| !b.contains(line))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        only(&ours, &theirs),
        only(&theirs, &ours),
        "only with us, only with BIND"
    );
    assert_eq!(ours.len(), theirs.len());
}

/// The records that BIND finds in a zone file.
fn compiled(path: &Path) -> Vec<Record> {
    let output = compile(path);
    let says = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "named-compilezone refuses {}: {says}",
        path.display()
    );
    raw_records(&fs::read(raw_path(path)).unwrap())
}

fn raw_path(path: &Path) -> PathBuf {
    std::env::temp_dir().join(format!(
        "zonefile-oracle-{}-{}",
        std::process::id(),
        path.display().to_string().replace('/', "-")
    ))
}

/// Names are not checked (`-k`) and no address is looked up (`-i`): a zone file is data here.
fn compile(path: &Path) -> Output {
    Command::new("named-compilezone")
        .args(["-k", "ignore", "-i", "none", "-F", "raw", "-o"])
        .arg(raw_path(path))
        .arg(ORIGIN)
        .arg(path)
        .output()
        .unwrap_or_else(|error| panic!("named-compilezone (Debian package bind9-utils): {error}"))
}

/// Reads the raw format of BIND, version 1, big-endian:
/// `format u32, version u32, dump time u32, flags u32, serial u32, last transfer u32`, then for
/// each RRset `size u32, class u16, type u16, covers u16, TTL u32, count u32, owner (u16 size)`
/// and its RDATA, each with a u16 size.
fn raw_records(raw: &[u8]) -> Vec<Record> {
    let u16_at = |at: usize| u16::from_be_bytes(raw[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_be_bytes(raw[at..at + 4].try_into().unwrap());
    assert_eq!(
        (u32_at(0), u32_at(4)),
        (2, 1),
        "format and version of the raw file"
    );
    let mut records = Vec::new();
    let mut at = 24;
    while at < raw.len() {
        let end = at + u32_at(at) as usize;
        let rtype = Rtype(u16_at(at + 6));
        let ttl = u32_at(at + 10);
        let count = u32_at(at + 14);
        let owner = Name::from_wire(&raw[at + 20..]).unwrap();
        at += 20 + usize::from(u16_at(at + 18));
        for _ in 0..count {
            let size = usize::from(u16_at(at));
            records.push(Record {
                owner: owner.clone(),
                rtype,
                ttl,
                rdata: Rdata::from_checked(&raw[at + 2..at + 2 + size]),
            });
            at += 2 + size;
        }
        assert_eq!(at, end, "the size of an RRset");
    }
    records
}
