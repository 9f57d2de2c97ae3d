//! A zone as one run of bytes: what an import's blob, and an upload of it, hold.
//!
//! ```text
//! record = owner name | type u16 | class u16 | TTL u32 | length u16 | RDATA   (RFC 1035 section 3.2.1)
//! upload = record …
//! blob   = origin name | record …
//! ```
//! Names are not compressed; numbers are big-endian.

use bytes::{Buf, BufMut};
use zones::name::wire_size;
use zones::record::TTL_MAX;
use zones::{Name, Rdata, Record, Rtype, Version, rdata, rtype::Class};

/// Appends one record.
pub fn encode_record(record: &Record, out: &mut Vec<u8>) {
    out.put_slice(record.owner.as_wire());
    put_rest(record.rtype, record.ttl, record.rdata.as_bytes(), out);
}

/// What follows the owner name.
fn put_rest(rtype: Rtype, ttl: u32, rdata: &[u8], out: &mut Vec<u8>) {
    out.put_u16(rtype.0);
    out.put_u16(Class::IN.0);
    out.put_u32(ttl);
    out.put_u16(rdata.len() as u16);
    out.put_slice(rdata);
}

/// Reads records until the bytes end; none if they are malformed.
#[must_use]
pub fn decode_records(mut rest: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let owner = Name::from_wire(rest).ok()?;
        rest.advance(owner.as_wire().len());
        let rtype = Rtype(rest.try_get_u16().ok()?);
        if rest.try_get_u16().ok()? != Class::IN.0 {
            return None;
        }
        let ttl = rest.try_get_u32().ok()?;
        let size = usize::from(rest.try_get_u16().ok()?);
        if rtype.is_meta() || ttl > TTL_MAX {
            return None;
        }
        if rest.len() < size || rdata::check(rtype, &rest[..size]).is_err() {
            return None;
        }
        records.push(Record {
            owner,
            rtype,
            ttl,
            rdata: Rdata::from_checked(&rest[..size]),
        });
        rest.advance(size);
    }
    Some(records)
}

/// Whether these bytes are records, and nothing else. Very many of them are looked at when a peer
/// starts, so nothing is made of them.
#[must_use]
pub fn check_records(mut rest: &[u8]) -> Option<()> {
    while !rest.is_empty() {
        rest.advance(wire_size(rest).ok()?);
        let rtype = Rtype(rest.try_get_u16().ok()?);
        let class = rest.try_get_u16().ok()?;
        let ttl = rest.try_get_u32().ok()?;
        let size = usize::from(rest.try_get_u16().ok()?);
        let (rdata, after) = rest.split_at_checked(size)?;
        if class != Class::IN.0 || rtype.is_meta() || ttl > TTL_MAX {
            return None;
        }
        rdata::check(rtype, rdata).ok()?;
        rest = after;
    }
    Some(())
}

/// The blob of a zone: its records in canonical order.
#[must_use]
pub fn encode_blob(origin: &Name, records: &[Record]) -> Vec<u8> {
    let mut out = origin.as_wire().to_vec();
    for record in records {
        encode_record(record, &mut out);
    }
    out
}

/// The blob of a version, made without a copy of its records.
#[must_use]
pub fn encode_version(version: &Version) -> Vec<u8> {
    let mut out = version.origin().as_wire().to_vec();
    for node in version.walk() {
        let (labels, origin) = node.owner_wire();
        for rrset in node.rrsets() {
            for rdata in rrset.rdata() {
                out.put_slice(labels);
                out.put_slice(origin);
                put_rest(rrset.rtype(), rrset.ttl(), rdata, &mut out);
            }
        }
    }
    out
}

/// The zone in a blob; none if it is not one.
#[must_use]
pub fn decode_blob(blob: &[u8]) -> Option<Version> {
    let origin = Name::from_wire(blob).ok()?;
    let records = decode_records(&blob[origin.as_wire().len()..])?;
    Version::from_records(&origin, &records).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_of_a_version_is_that_of_its_records() {
        let origin: Name = "Example.".parse().unwrap();
        let record = |owner: &str, rtype, rdata: &[u8]| Record {
            owner: owner.parse().unwrap(),
            rtype,
            ttl: 60,
            rdata: Rdata::from_checked(rdata),
        };
        let records = [
            record("b.a.example.", Rtype::A, &[192, 0, 2, 1]),
            record("b.a.example.", Rtype::A, &[192, 0, 2, 2]),
            record("example.", Rtype::NS, b"\x01b\x01a\0"),
            record("Example.", Rtype::TXT, b"\x01x"),
        ];
        let version = Version::from_records(&origin, &records).unwrap();
        let records: Vec<Record> = version.records().collect();
        let blob = encode_version(&version);
        assert_eq!(blob, encode_blob(&origin, &records));
        let read = decode_blob(&blob).expect("it reads back");
        assert!(read.is_same_as(&version));
    }
}
