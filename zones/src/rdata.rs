//! RDATA by the schema: check it, take it out of a message, compare it, find the names in it.
//!
//! All of it is total: RDATA that does not fit its type gives an error or stays plain bytes.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::name::{Name, NameError, wire_size};
use crate::record::{RDATA_SIZE_MAX, Rdata};
use crate::rtype::Rtype;
use crate::schema::{Field, NameRule, schema};
use crate::serial::Serial;

/// Why bytes are not RDATA of their type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RdataError {
    /// The RDATA ends inside a field.
    Truncated,
    /// Bytes follow the last field.
    Trailing,
    /// More than 65535 bytes once its names are written out.
    TooLong,
    /// A name in it is none.
    Name(NameError),
    /// A field holds what its type does not allow; says what was expected.
    Field(&'static str),
}

/// A piece of RDATA, for a writer that compresses names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part<'r> {
    /// An uncompressed name.
    Name {
        /// Its wire format, root byte included.
        wire: &'r [u8],
        /// Whether it may be compressed in a message (RFC 3597 section 4).
        compressible: bool,
    },
    /// Anything else.
    Bytes(&'r [u8]),
}

/// Checks uncompressed RDATA against its type. Unknown types hold anything (RFC 3597).
pub fn check(rtype: Rtype, rdata: &[u8]) -> Result<(), RdataError> {
    if rdata.len() > RDATA_SIZE_MAX {
        return Err(RdataError::TooLong);
    }
    let mut rest = rdata;
    for field in schema(rtype).fields {
        rest = &rest[field.measure(rest)?..];
    }
    if !rest.is_empty() {
        return Err(RdataError::Trailing);
    }
    Ok(())
}

/// Takes RDATA out of a message: writes out compressed names and checks the result.
pub fn from_message(
    rtype: Rtype,
    message: &[u8],
    range: Range<usize>,
) -> Result<Rdata, RdataError> {
    let end = range.end;
    let raw = message.get(range.clone()).ok_or(RdataError::Truncated)?;
    let mut rdata = Vec::with_capacity(raw.len());
    let mut at = range.start;
    for field in schema(rtype).fields {
        let next = match field {
            Field::Name(rule) if rule.is_expanded() => {
                let (name, next) = Name::from_message(message, at)?;
                if next > end {
                    return Err(RdataError::Truncated);
                }
                rdata.extend_from_slice(name.as_wire());
                next
            }
            _ => {
                let next = at + field.measure(&message[at..end])?;
                rdata.extend_from_slice(&message[at..next]);
                next
            }
        };
        at = next;
    }
    if at != end {
        return Err(RdataError::Trailing);
    }
    if rdata.len() > RDATA_SIZE_MAX {
        return Err(RdataError::TooLong);
    }
    Ok(Rdata::from_checked(rdata))
}

/// Bytes that the records of one RRset may take in a message, as [`rrset_size`] counts: the rest
/// of 65 535 is for header, question and OPT.
pub const RRSET_SIZE_MAX: usize = 65_535 - 12 - (255 + 4) - 11;

/// Bytes that an RRset takes in a message: each record with a pointer to its owner.
pub fn rrset_size<'r>(rdatas: impl IntoIterator<Item = &'r [u8]>) -> usize {
    let sizes = rdatas.into_iter().map(|rdata| 2 + 10 + rdata.len());
    sizes.sum()
}

/// The canonical form (RFC 4034 section 6.2): equal data has equal bytes, byte order is the
/// order of records in an RRset.
#[must_use]
pub fn canonical(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    // Most RDATA holds no capital at all: one look at the bytes is faster than one at the fields.
    if !rdata.iter().any(u8::is_ascii_uppercase) {
        return Cow::Borrowed(rdata);
    }
    let has_capitals = |(rule, bytes): (Option<NameRule>, &[u8])| {
        rule.is_some_and(NameRule::is_lowered) && bytes.iter().any(u8::is_ascii_uppercase)
    };
    if !pieces(rtype, rdata).any(has_capitals) {
        return Cow::Borrowed(rdata);
    }
    let mut lowered = Vec::with_capacity(rdata.len());
    for (rule, bytes) in pieces(rtype, rdata) {
        let start = lowered.len();
        lowered.extend_from_slice(bytes);
        if rule.is_some_and(NameRule::is_lowered) {
            // Length bytes are below 64 and so never letters.
            lowered[start..].make_ascii_lowercase();
        }
    }
    Cow::Owned(lowered)
}

/// True if RDATA of this type may hold names that [`parts`] finds.
#[must_use]
#[inline]
pub fn has_names(rtype: Rtype) -> bool {
    schema(rtype).has_names
}

/// The RDATA cut into names and what stands between them; the pieces together are the RDATA.
/// Names inside IPSECKEY and HIP count as plain bytes.
#[must_use]
pub fn parts(rtype: Rtype, rdata: &[u8]) -> Parts<'_> {
    Parts(pieces(rtype, rdata))
}

/// Iterator of [`parts`].
#[derive(Clone, Debug)]
pub struct Parts<'r>(Pieces<'r>);

impl<'r> Iterator for Parts<'r> {
    type Item = Part<'r>;

    fn next(&mut self) -> Option<Part<'r>> {
        let (rule, bytes) = self.0.next()?;
        Some(match rule {
            Some(rule) => Part::Name {
                wire: bytes,
                compressible: rule.is_compressible(),
            },
            None => Part::Bytes(bytes),
        })
    }
}

fn pieces(rtype: Rtype, rdata: &[u8]) -> Pieces<'_> {
    Pieces {
        fields: schema(rtype).fields,
        rest: rdata,
    }
}

/// Names with their rule, and the bytes between them, which have none.
#[derive(Clone, Debug)]
struct Pieces<'r> {
    fields: &'static [Field],
    rest: &'r [u8],
}

impl<'r> Pieces<'r> {
    fn take(&mut self, size: usize) -> &'r [u8] {
        let (piece, rest) = self.rest.split_at(size);
        self.rest = rest;
        piece
    }
}

impl<'r> Iterator for Pieces<'r> {
    type Item = (Option<NameRule>, &'r [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name_at = self
            .fields
            .iter()
            .position(|field| matches!(field, Field::Name(_)));
        let before = &self.fields[..name_at.unwrap_or(0)];
        let mut size = 0;
        for field in before {
            match field.measure(&self.rest[size..]) {
                Ok(more) => size += more,
                Err(_) => return Some((None, self.take(self.rest.len()))),
            }
        }
        self.fields = &self.fields[before.len()..];
        if size > 0 {
            return Some((None, self.take(size)));
        }
        let Some(Field::Name(rule)) = self.fields.first() else {
            // No name is left.
            return Some((None, self.take(self.rest.len())));
        };
        match wire_size(self.rest) {
            Ok(size) => {
                self.fields = &self.fields[1..];
                Some((Some(*rule), self.take(size)))
            }
            Err(_) => Some((None, self.take(self.rest.len()))),
        }
    }
}

/// True if RDATA of this type has a [`target`].
#[must_use]
#[inline]
pub fn has_target(rtype: Rtype) -> bool {
    schema(rtype).target.is_some()
}

/// The name (wire format) whose addresses belong in the additional section (NS, MX, SRV, …).
/// For SVCB and HTTPS the root stands for the owner itself (RFC 9460 section 2.5.2).
#[must_use]
pub fn target(rtype: Rtype, rdata: &[u8]) -> Option<&[u8]> {
    let from = rdata.get(schema(rtype).target?..)?;
    Some(&from[..wire_size(from).ok()?])
}

/// The serial of an SOA.
#[must_use]
pub fn soa_serial(rdata: &[u8]) -> Option<Serial> {
    u32_at(rdata, soa_serial_offset(rdata)?).map(Serial)
}

/// The MINIMUM of an SOA: the upper bound of the TTL of negative answers (RFC 2308 section 4).
#[must_use]
pub fn soa_minimum(rdata: &[u8]) -> Option<u32> {
    u32_at(rdata, soa_serial_offset(rdata)? + 16)
}

/// Where the serial stands in the RDATA of an SOA; four more fields of 4 bytes follow it.
#[must_use]
pub fn soa_serial_offset(rdata: &[u8]) -> Option<usize> {
    let mname = wire_size(rdata).ok()?;
    let offset = mname + wire_size(&rdata[mname..]).ok()?;
    (offset + SOA_NUMBERS_SIZE == rdata.len()).then_some(offset)
}

/// The RDATA of an SOA with serial 0.
pub(crate) fn without_soa_serial(rdata: &[u8]) -> Vec<u8> {
    let mut bytes = rdata.to_vec();
    let offset = soa_serial_offset(&bytes).expect("RDATA of an SOA is checked when it is made");
    bytes[offset..offset + 4].fill(0);
    bytes
}

/// The same SOA with another serial.
#[must_use]
pub fn with_soa_serial(rdata: &Rdata, serial: Serial) -> Rdata {
    let mut bytes = rdata.as_bytes().to_vec();
    let offset = soa_serial_offset(&bytes).expect("RDATA of an SOA is checked when it is made");
    bytes[offset..offset + 4].copy_from_slice(&serial.0.to_be_bytes());
    Rdata::from_checked(bytes)
}

/// Serial, refresh, retry, expire and minimum of an SOA (RFC 1035 section 3.3.13).
pub const SOA_NUMBERS_SIZE: usize = 20;

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

impl From<NameError> for RdataError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl fmt::Display for RdataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the RDATA is cut short"),
            Self::Trailing => f.write_str("bytes follow the last field"),
            Self::TooLong => f.write_str("the RDATA is longer than 65535 bytes"),
            Self::Name(error) => error.fmt(f),
            Self::Field(expected) => write!(f, "expected {expected}"),
        }
    }
}

impl std::error::Error for RdataError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SOA: &[u8] =
        b"\x02Ns\x00\x04root\x00\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\x01\x2c";

    #[test]
    fn rdata_is_checked_to_its_last_byte() {
        let check_one = |rtype, rdata: &[u8], expected| {
            assert_eq!(check(rtype, rdata), expected, "{rtype} {rdata:x?}");
        };
        check_one(Rtype::A, &[192, 0, 2, 1], Ok(()));
        check_one(Rtype::A, &[192, 0, 2], Err(RdataError::Truncated));
        check_one(Rtype::A, &[192, 0, 2, 1, 0], Err(RdataError::Trailing));
        check_one(Rtype::SOA, SOA, Ok(()));
        check_one(
            Rtype::MX,
            b"\0\x0a\x01",
            Err(RdataError::Name(NameError::Truncated)),
        );
        check_one(
            Rtype::MX,
            b"\0\x0a\xc0\x00",
            Err(RdataError::Name(NameError::BadLabelType)),
        );
        check_one(Rtype(65280), &[], Ok(()));
        check_one(Rtype(65280), &vec![0; 65536], Err(RdataError::TooLong));
    }

    #[test]
    fn names_are_expanded_where_they_may_be_compressed() {
        let message = b"\x02ns\x07Example\x00\x00\x0a\xc0\x03";
        assert_eq!(&message[3..4], b"\x07");
        let mx = from_message(Rtype::MX, message, 12..16);
        assert_eq!(mx.unwrap().as_bytes(), b"\x00\x0a\x07Example\x00");
        let lp = from_message(Rtype::LP, message, 12..16);
        assert_eq!(lp, Err(RdataError::Name(NameError::BadLabelType)));
        let cut = from_message(Rtype::NS, message, 0..8);
        assert_eq!(cut, Err(RdataError::Truncated));
        let outside = from_message(Rtype::NS, message, 0..99);
        assert_eq!(outside, Err(RdataError::Truncated));
        let trailing = from_message(Rtype::NS, message, 14..17);
        assert_eq!(trailing, Err(RdataError::Truncated));
        let unknown = from_message(Rtype(65280), message, 12..16);
        assert_eq!(unknown.unwrap().as_bytes(), b"\x00\x0a\xc0\x03");
    }

    #[test]
    fn canonical_form_lowers_only_the_names_of_old_types() {
        assert!(matches!(
            canonical(Rtype::MX, b"\0A\x01a\0"),
            Cow::Borrowed(_)
        ));
        assert_eq!(*canonical(Rtype::MX, b"\0A\x01B\0"), *b"\0A\x01b\0");
        assert_eq!(*canonical(Rtype::LP, b"\0A\x01B\0"), *b"\0A\x01B\0");
        assert_eq!(*canonical(Rtype::TXT, b"\x01A"), *b"\x01A");
        assert_eq!(canonical(Rtype::SOA, SOA)[..4], *b"\x02ns\0");
    }

    #[test]
    fn parts_are_names_and_what_stands_between() {
        let name = |wire, compressible| Part::Name { wire, compressible };
        let check_one = |rtype, rdata, expected: &[Part<'_>]| {
            assert_eq!(parts(rtype, rdata).collect::<Vec<_>>(), expected, "{rtype}");
        };
        check_one(Rtype::A, &[1, 2, 3, 4], &[Part::Bytes(&[1, 2, 3, 4])]);
        check_one(
            Rtype::SOA,
            SOA,
            &[
                name(&SOA[..4], true),
                name(&SOA[4..10], true),
                Part::Bytes(&SOA[10..]),
            ],
        );
        check_one(
            Rtype::SRV,
            b"abcdef\x01a\0",
            &[Part::Bytes(b"abcdef"), name(b"\x01a\0", false)],
        );
        // What is no RDATA of its type stays what it is.
        check_one(
            Rtype::MX,
            b"\0\x0a\x05a",
            &[Part::Bytes(b"\0\x0a"), Part::Bytes(b"\x05a")],
        );
        check_one(Rtype::MX, b"\0", &[Part::Bytes(b"\0")]);
        check_one(Rtype::A, b"", &[]);
    }

    #[test]
    fn targets_are_found() {
        assert_eq!(target(Rtype::MX, b"\0\x0a\x01a\0"), Some(&b"\x01a\0"[..]));
        assert_eq!(
            target(Rtype::SVCB, b"\0\x01\0\0\x03\0\x02\x01\xbb"),
            Some(&b"\0"[..])
        );
        assert_eq!(target(Rtype::A, b"abcd"), None);
        assert_eq!(target(Rtype::MX, b"\0"), None);
        assert_eq!(target(Rtype::MX, b"\0\x0a\x05a"), None);
    }

    #[test]
    fn an_soa_is_read_and_renumbered() {
        assert_eq!(soa_serial(SOA), Some(Serial(7)));
        assert_eq!(soa_minimum(SOA), Some(300));
        assert_eq!(soa_serial(&SOA[1..]), None);
        assert_eq!(soa_serial(&[]), None);
        let raised = with_soa_serial(&Rdata::from_checked(SOA), Serial(8));
        assert_eq!(soa_serial(raised.as_bytes()), Some(Serial(8)));
        assert_eq!(soa_minimum(raised.as_bytes()), Some(300));
    }
}
