//! Every RR type in one table: the fields of its RDATA in order.
//!
//! The table drives all that is done by type: wire check, compression, canonical form, reading
//! and printing of text. A new type is one line here. What is not in the table holds any bytes
//! (RFC 3597).

use crate::location;
use crate::name::wire_size;
use crate::rdata::RdataError;
use crate::rtype::Rtype;
use crate::svcparams;

/// What the RDATA of one type is made of.
#[derive(Debug)]
pub(crate) struct Schema {
    rtype: Rtype,
    /// The fields in wire order, which is also that of the text.
    pub(crate) fields: &'static [Field],
    /// Whether one of them is a name.
    pub(crate) has_names: bool,
    /// Where the name stands whose addresses belong in the additional section.
    pub(crate) target: Option<usize>,
}

/// One field of RDATA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// A domain name.
    Name(NameRule),
    U8,
    U16,
    U32,
    /// 32 bits of seconds; text may use units as in `1h30m`.
    Period,
    /// 32 bits of seconds since 1970 modulo 2³²; text is YYYYMMDDHHmmSS.
    Time,
    /// 16 bits; text is the mnemonic of an RR type.
    TypeCovered,
    /// 8 bits; text may be the mnemonic of a DNSSEC algorithm.
    Algorithm,
    /// 16 bits; text may be the mnemonic of a certificate type (RFC 4398 section 2.1).
    CertificateType,
    Ipv4,
    Ipv6,
    /// A character string: one byte of length, then as many bytes.
    CharString,
    /// A character string that may be left out at the end.
    CharStringOrNone,
    /// One character string or more, to the end.
    CharStrings,
    /// The property name of CAA: a character string of letters and digits.
    Tag,
    /// Text without a length, to the end; it may be empty, as BIND has it.
    Text,
    /// Bytes to the end, in hexadecimal; at least one.
    Hex,
    /// Bytes to the end, in base64; at least one.
    Base64,
    /// Bytes to the end, in base64.
    Base64OrNone,
    /// 8 bits that say which digest follows to the end, in hexadecimal.
    Digest(&'static [DigestKind]),
    /// Salt of NSEC3: one byte of length, bytes in hexadecimal, `-` for none.
    Salt,
    /// Hashed owner of NSEC3: one byte of length, bytes in base32hex.
    Hash,
    /// The bitmap of types, to the end (RFC 4034 section 4.1.2).
    Types,
    /// The same, where no type at all is allowed too.
    TypesOrNone,
    /// Service parameters, to the end (RFC 9460 section 2.2).
    SvcParams,
    /// The sixteen bytes of LOC (RFC 1876).
    Location,
    /// 64 bits as four groups of hexadecimal digits (RFC 6742).
    Locator,
    Eui48,
    Eui64,
    /// An OSI address, `0x` and hexadecimal (RFC 1706), to the end.
    Nsap,
    /// Address prefixes, to the end (RFC 3123).
    Prefixes,
    /// Gateway type, algorithm and gateway of IPSECKEY (RFC 4025).
    Gateway,
    /// Discovery bit, relay type and relay of AMTRELAY (RFC 8777 section 4).
    Relay,
    /// Protocol and bitmap of ports of WKS, to the end (RFC 1035 section 3.4.2).
    Services,
    /// The bitmap of types below 128 of NXT, to the end (RFC 2535 section 5.2).
    OldTypes,
    /// The whole of A6: prefix length, suffix of the address, name of the prefix (RFC 2874 section 3).
    AddressInParts,
    /// The whole of ATMA: how the address is written, and it.
    AtmAddress,
    /// Bytes to the end, in base64; text is `-` for none.
    Base64OrDash,
    /// The whole of HIP: algorithm, host identity tag, key, servers (RFC 8005).
    HostIdentity,
    /// Bytes to the end that nothing is known of.
    Opaque,
}

/// What may be done to a name in RDATA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NameRule {
    /// Compressed when sent, expanded when received, lower case in canonical form: the types of
    /// RFC 1035 (RFC 3597 section 4).
    Compressed,
    /// Expanded when received, lower case in canonical form, never sent compressed.
    Expanded,
    /// Lower case in canonical form only (RFC 4034 section 6.2).
    Lowered,
    /// Kept as it is (RFC 6840 section 5.1 for NSEC, and all types after RFC 3597).
    Exact,
}

impl NameRule {
    pub(crate) fn is_compressible(self) -> bool {
        self == Self::Compressed
    }

    pub(crate) fn is_expanded(self) -> bool {
        matches!(self, Self::Compressed | Self::Expanded)
    }

    pub(crate) fn is_lowered(self) -> bool {
        self != Self::Exact
    }
}

/// A digest whose size is known.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct DigestKind {
    pub(crate) number: u8,
    pub(crate) size: usize,
    pub(crate) mnemonic: &'static str,
}

const fn digest(number: u8, size: usize, mnemonic: &'static str) -> DigestKind {
    DigestKind {
        number,
        size,
        mnemonic,
    }
}

const DS_DIGESTS: &[DigestKind] = &[
    digest(1, 20, "SHA-1"),
    digest(2, 32, "SHA-256"),
    digest(3, 32, "GOST"),
    digest(4, 48, "SHA-384"),
];
const SSHFP_DIGESTS: &[DigestKind] = &[digest(1, 20, ""), digest(2, 32, "")];
const ZONEMD_DIGESTS: &[DigestKind] = &[digest(1, 48, ""), digest(2, 64, "")];

const fn of(rtype: Rtype, fields: &'static [Field]) -> Schema {
    Schema {
        rtype,
        fields,
        has_names: has_names(fields),
        target: None,
    }
}

const fn with_target(rtype: Rtype, target: usize, fields: &'static [Field]) -> Schema {
    Schema {
        target: Some(target),
        ..of(rtype, fields)
    }
}

const fn has_names(fields: &[Field]) -> bool {
    let mut i = 0;
    while i < fields.len() {
        if matches!(fields[i], Field::Name(_)) {
            return true;
        }
        i += 1;
    }
    false
}

static UNKNOWN: Schema = of(Rtype(0), &[Field::Opaque]);

/// By number; `INDEX` relies on it.
#[rustfmt::skip]
static SCHEMAS: &[Schema] = {
    use Field::*;
    use NameRule::*;
    &[
        of(Rtype::A, &[Ipv4]),
        with_target(Rtype::NS, 0, &[Name(Compressed)]),
        of(Rtype::MD, &[Name(Compressed)]),
        of(Rtype::MF, &[Name(Compressed)]),
        of(Rtype::CNAME, &[Name(Compressed)]),
        of(Rtype::SOA, &[Name(Compressed), Name(Compressed), U32, Period, Period, Period, Period]),
        with_target(Rtype::MB, 0, &[Name(Compressed)]),
        of(Rtype::MG, &[Name(Compressed)]),
        of(Rtype::MR, &[Name(Compressed)]),
        of(Rtype::WKS, &[Ipv4, Services]),
        of(Rtype::PTR, &[Name(Compressed)]),
        of(Rtype::HINFO, &[CharString, CharString]),
        of(Rtype::MINFO, &[Name(Compressed), Name(Compressed)]),
        with_target(Rtype::MX, 2, &[U16, Name(Compressed)]),
        of(Rtype::TXT, &[CharStrings]),
        of(Rtype::RP, &[Name(Expanded), Name(Expanded)]),
        with_target(Rtype::AFSDB, 2, &[U16, Name(Expanded)]),
        of(Rtype::X25, &[CharString]),
        of(Rtype::ISDN, &[CharString, CharStringOrNone]),
        with_target(Rtype::RT, 2, &[U16, Name(Expanded)]),
        of(Rtype::NSAP, &[Nsap]),
        of(Rtype::NSAP_PTR, &[Name(Exact)]),
        of(Rtype::SIG, &[TypeCovered, Algorithm, U8, U32, Time, Time, U16, Name(Expanded), Base64]),
        of(Rtype::KEY, &[U16, U8, Algorithm, Base64OrNone]),
        of(Rtype::PX, &[U16, Name(Expanded), Name(Expanded)]),
        of(Rtype::GPOS, &[CharString, CharString, CharString]),
        of(Rtype::AAAA, &[Ipv6]),
        of(Rtype::LOC, &[Location]),
        of(Rtype::NXT, &[Name(Expanded), OldTypes]),
        of(Rtype::EID, &[Hex]),
        of(Rtype::NIMLOC, &[Hex]),
        with_target(Rtype::SRV, 6, &[U16, U16, U16, Name(Expanded)]),
        of(Rtype::ATMA, &[AtmAddress]),
        of(Rtype::NAPTR, &[U16, U16, CharString, CharString, CharString, Name(Expanded)]),
        with_target(Rtype::KX, 2, &[U16, Name(Lowered)]),
        of(Rtype::CERT, &[CertificateType, U16, Algorithm, Base64]),
        of(Rtype::A6, &[AddressInParts]),
        of(Rtype::DNAME, &[Name(Lowered)]),
        of(Rtype::SINK, &[U8, U8, U8, Base64]),
        of(Rtype::APL, &[Prefixes]),
        of(Rtype::DS, &[U16, Algorithm, Digest(DS_DIGESTS)]),
        of(Rtype::SSHFP, &[U8, Digest(SSHFP_DIGESTS)]),
        of(Rtype::IPSECKEY, &[U8, Gateway, Base64OrNone]),
        of(Rtype::RRSIG, &[TypeCovered, Algorithm, U8, U32, Time, Time, U16, Name(Lowered), Base64]),
        of(Rtype::NSEC, &[Name(Exact), Types]),
        of(Rtype::DNSKEY, &[U16, U8, Algorithm, Base64]),
        of(Rtype::DHCID, &[Base64]),
        of(Rtype::NSEC3, &[U8, U8, U16, Salt, Hash, TypesOrNone]),
        of(Rtype::NSEC3PARAM, &[U8, U8, U16, Salt]),
        of(Rtype::TLSA, &[U8, U8, U8, Hex]),
        of(Rtype::SMIMEA, &[U8, U8, U8, Hex]),
        of(Rtype::HIP, &[HostIdentity]),
        of(Rtype::NINFO, &[CharStrings]),
        of(Rtype::RKEY, &[U16, U8, Algorithm, Base64]),
        of(Rtype::TALINK, &[Name(Exact), Name(Exact)]),
        of(Rtype::CDS, &[U16, Algorithm, Digest(DS_DIGESTS)]),
        of(Rtype::CDNSKEY, &[U16, U8, Algorithm, Base64]),
        of(Rtype::OPENPGPKEY, &[Base64]),
        of(Rtype::CSYNC, &[U32, U16, TypesOrNone]),
        of(Rtype::ZONEMD, &[U32, U8, Digest(ZONEMD_DIGESTS)]),
        with_target(Rtype::SVCB, 2, &[U16, Name(Exact), SvcParams]),
        with_target(Rtype::HTTPS, 2, &[U16, Name(Exact), SvcParams]),
        of(Rtype::SPF, &[CharStrings]),
        of(Rtype::NID, &[U16, Locator]),
        of(Rtype::L32, &[U16, Ipv4]),
        of(Rtype::L64, &[U16, Locator]),
        of(Rtype::LP, &[U16, Name(Exact)]),
        of(Rtype::EUI48, &[Eui48]),
        of(Rtype::EUI64, &[Eui64]),
        of(Rtype::URI, &[U16, U16, Text]),
        of(Rtype::CAA, &[U8, Tag, Text]),
        of(Rtype::AVC, &[CharStrings]),
        of(Rtype::DOA, &[U32, U32, U8, CharString, Base64OrDash]),
        of(Rtype::AMTRELAY, &[U8, Relay]),
        of(Rtype::RESINFO, &[CharStrings]),
        of(Rtype::WALLET, &[CharStrings]),
        of(Rtype::TA, &[U16, Algorithm, Digest(DS_DIGESTS)]),
        of(Rtype::DLV, &[U16, Algorithm, Digest(DS_DIGESTS)]),
    ]
};

/// Types below this number are found by one array access; the few above by a search.
const INDEX_SIZE: usize = 263;
const NO_SCHEMA: u8 = u8::MAX;

static INDEX: [u8; INDEX_SIZE] = {
    let mut index = [NO_SCHEMA; INDEX_SIZE];
    let mut i = 0;
    while i < SCHEMAS.len() {
        let number = SCHEMAS[i].rtype.0 as usize;
        if number < INDEX_SIZE {
            index[number] = i as u8;
        }
        i += 1;
    }
    index
};

/// The schema of a type; unknown types are opaque.
#[inline]
pub(crate) fn schema(rtype: Rtype) -> &'static Schema {
    match INDEX.get(usize::from(rtype.0)) {
        // NO_SCHEMA is the number of none.
        Some(i) => SCHEMAS.get(usize::from(*i)).unwrap_or(&UNKNOWN),
        None => search(rtype),
    }
}

fn search(rtype: Rtype) -> &'static Schema {
    match SCHEMAS.binary_search_by_key(&rtype, |schema| schema.rtype) {
        Ok(i) => &SCHEMAS[i],
        Err(_) => &UNKNOWN,
    }
}

/// All types of the table.
#[cfg(test)]
pub(crate) fn known_types() -> impl Iterator<Item = Rtype> {
    SCHEMAS.iter().map(|schema| schema.rtype)
}

impl Schema {
    pub(crate) fn is_unknown(&self) -> bool {
        self.fields == [Field::Opaque]
    }
}

impl Field {
    /// Checks this field at the start of `rest` and says how long it is.
    pub(crate) fn measure(self, rest: &[u8]) -> Result<usize, RdataError> {
        let size = match self {
            Self::Name(_) => wire_size(rest)?,
            Self::U8 | Self::Algorithm => 1,
            Self::U16 | Self::TypeCovered | Self::CertificateType => 2,
            Self::U32 | Self::Period | Self::Time | Self::Ipv4 => 4,
            Self::Eui48 => 6,
            Self::Eui64 | Self::Locator => 8,
            Self::Ipv6 => 16,
            Self::CharString | Self::Salt => sized(rest)?,
            Self::CharStringOrNone if rest.is_empty() => 0,
            Self::CharStringOrNone => sized(rest)?,
            Self::Hash => at_least(2, sized(rest)?)?,
            Self::CharStrings => {
                let mut at = sized(rest)?;
                while at < rest.len() {
                    at += sized(&rest[at..])?;
                }
                at
            }
            Self::Tag => {
                let size = at_least(2, sized(rest)?)?;
                let tag = rest.get(1..size).ok_or(RdataError::Truncated)?;
                if !tag.iter().all(u8::is_ascii_alphanumeric) {
                    return Err(RdataError::Field("a tag of letters and digits"));
                }
                size
            }
            Self::Hex | Self::Base64 | Self::Nsap => at_least(1, rest.len())?,
            Self::Base64OrNone | Self::Base64OrDash | Self::Text | Self::Opaque => rest.len(),
            Self::Digest(kinds) => {
                let number = *rest.first().ok_or(RdataError::Truncated)?;
                let known = kinds.iter().find(|kind| kind.number == number);
                if known.is_some_and(|kind| rest.len() != 1 + kind.size) {
                    return Err(RdataError::Field("a digest of the size that its type has"));
                }
                at_least(2, rest.len())?
            }
            Self::Types => check_types(rest).and_then(|size| at_least(1, size))?,
            Self::TypesOrNone => check_types(rest)?,
            Self::SvcParams => svcparams::check(rest)?,
            Self::Location => location::check(rest)?,
            Self::Prefixes => check_prefixes(rest)?,
            Self::Gateway => gateway_size(rest)?,
            Self::Relay => relay_size(rest)?,
            Self::Services => check_services(rest)?,
            Self::OldTypes => check_old_types(rest)?,
            Self::AddressInParts => check_address_in_parts(rest)?,
            Self::AtmAddress => check_atm_address(rest)?,
            Self::HostIdentity => check_host_identity(rest)?,
        };
        if size > rest.len() {
            return Err(RdataError::Truncated);
        }
        Ok(size)
    }
}

/// The size of a character string, its length byte included.
fn sized(rest: &[u8]) -> Result<usize, RdataError> {
    let length = *rest.first().ok_or(RdataError::Truncated)?;
    let size = 1 + usize::from(length);
    if size > rest.len() {
        return Err(RdataError::Truncated);
    }
    Ok(size)
}

fn at_least(size_min: usize, size: usize) -> Result<usize, RdataError> {
    if size < size_min {
        return Err(RdataError::Truncated);
    }
    Ok(size)
}

/// RFC 4034 section 4.1.2: windows in ascending order, no empty ones, no trailing zeros.
fn check_types(rest: &[u8]) -> Result<usize, RdataError> {
    let mut at = 0;
    let mut window_last = None;
    while at < rest.len() {
        let &[window, length] = rest.get(at..at + 2).ok_or(RdataError::Truncated)? else {
            return Err(RdataError::Truncated);
        };
        if window_last.is_some_and(|last| window <= last) {
            return Err(RdataError::Field("windows of types in ascending order"));
        }
        if !(1..=32).contains(&length) {
            return Err(RdataError::Field("a window of types of 1 to 32 bytes"));
        }
        let end = at + 2 + usize::from(length);
        match rest.get(at + 2..end) {
            Some([.., 0]) => {
                return Err(RdataError::Field("no trailing zeros in the types"));
            }
            Some(_) => {}
            None => return Err(RdataError::Truncated),
        }
        window_last = Some(window);
        at = end;
    }
    Ok(at)
}

/// RFC 3123 section 4: family, prefix length, negation and length, address without its trailing
/// zeros.
fn check_prefixes(rest: &[u8]) -> Result<usize, RdataError> {
    let mut at = 0;
    while at < rest.len() {
        let &[high, low, prefix, length] = rest.get(at..at + 4).ok_or(RdataError::Truncated)?
        else {
            return Err(RdataError::Truncated);
        };
        let size = usize::from(length & 0x7f);
        let end = at + 4 + size;
        let address = rest.get(at + 4..end).ok_or(RdataError::Truncated)?;
        let size_max = match u16::from_be_bytes([high, low]) {
            1 => 4,
            2 => 16,
            _ => return Err(RdataError::Field("address family 1 (IPv4) or 2 (IPv6)")),
        };
        if usize::from(prefix) > size_max * 8 || size > size_max {
            return Err(RdataError::Field("a prefix that fits its address family"));
        }
        if address.last() == Some(&0) {
            return Err(RdataError::Field("an address without trailing zeros"));
        }
        at = end;
    }
    Ok(at)
}

/// RFC 4025 section 2: gateway type, algorithm, gateway.
fn gateway_size(rest: &[u8]) -> Result<usize, RdataError> {
    match rest.first() {
        None => Err(RdataError::Truncated),
        Some(0) => Ok(2),
        Some(1) => Ok(2 + 4),
        Some(2) => Ok(2 + 16),
        Some(3) => {
            let name = rest.get(2..).ok_or(RdataError::Truncated)?;
            Ok(2 + wire_size(name)?)
        }
        Some(_) => Err(RdataError::Field("a gateway type of 0 to 3")),
    }
}

/// RFC 8777 section 4.2: a bit that is not looked at here, the relay's type, and the relay.
fn relay_size(rest: &[u8]) -> Result<usize, RdataError> {
    let (first, relay) = rest.split_first().ok_or(RdataError::Truncated)?;
    match first & 0x7f {
        0 => Ok(1),
        1 => Ok(1 + 4),
        2 => Ok(1 + 16),
        3 => Ok(1 + wire_size(relay)?),
        _ => Err(RdataError::Field("a relay type of 0 to 3")),
    }
}

/// RFC 1035 section 3.4.2: a bit for each port, zeros at the end left out.
fn check_services(rest: &[u8]) -> Result<usize, RdataError> {
    const BITMAP_SIZE_MAX: usize = 65_536 / 8;
    let (_, bitmap) = rest.split_first().ok_or(RdataError::Truncated)?;
    if bitmap.len() > BITMAP_SIZE_MAX || bitmap.last() == Some(&0) {
        return Err(RdataError::Field("ports without trailing zeros"));
    }
    Ok(rest.len())
}

/// RFC 2535 section 5.2: a bit for each type from 1 to 127, zeros at the end left out.
fn check_old_types(rest: &[u8]) -> Result<usize, RdataError> {
    match rest {
        [] => Err(RdataError::Truncated),
        [first, ..] if first & 0x80 != 0 || rest.len() > 16 => {
            Err(RdataError::Field("types from 1 to 127"))
        }
        [.., 0] => Err(RdataError::Field("no trailing zeros in the types")),
        _ => Ok(rest.len()),
    }
}

/// RFC 2874 section 3.1: the suffix is as long as the prefix leaves it, with zeros in front; a prefix
/// of no length has no name.
fn check_address_in_parts(rest: &[u8]) -> Result<usize, RdataError> {
    let prefix = *rest.first().ok_or(RdataError::Truncated)?;
    if prefix > 128 {
        return Err(RdataError::Field("a prefix of at most 128 bits"));
    }
    let at = 1 + 16 - usize::from(prefix / 8);
    let suffix = rest.get(1..at).ok_or(RdataError::Truncated)?;
    let padding = !(0xff_u8 >> (prefix % 8));
    if suffix.first().is_some_and(|first| first & padding != 0) {
        return Err(RdataError::Field("zeros in front of the suffix"));
    }
    match prefix {
        0 => Ok(at),
        _ => Ok(at + wire_size(&rest[at..])?),
    }
}

/// ATM Name System, version 2.0: 0 and an address of an end system, or 1 and decimal digits.
fn check_atm_address(rest: &[u8]) -> Result<usize, RdataError> {
    match rest.split_first() {
        None | Some((_, [])) => Err(RdataError::Truncated),
        Some((0, _)) => Ok(rest.len()),
        Some((1, digits)) if digits.iter().all(u8::is_ascii_digit) => Ok(rest.len()),
        Some(_) => Err(RdataError::Field("an ATM address of a known kind")),
    }
}

/// RFC 8005 section 5: sizes of tag and key, then both, then names of servers.
fn check_host_identity(rest: &[u8]) -> Result<usize, RdataError> {
    let &[tag_size, _, high, low] = rest.get(..4).ok_or(RdataError::Truncated)? else {
        return Err(RdataError::Truncated);
    };
    let key_size = usize::from(u16::from_be_bytes([high, low]));
    if tag_size == 0 || key_size == 0 {
        return Err(RdataError::Field("a host identity tag and a key"));
    }
    let mut at = 4 + usize::from(tag_size) + key_size;
    if at > rest.len() {
        return Err(RdataError::Truncated);
    }
    while at < rest.len() {
        at += wire_size(&rest[at..])?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_in_order_and_found() {
        assert!(SCHEMAS.is_sorted_by(|a, b| a.rtype < b.rtype));
        for rtype in known_types() {
            assert_eq!(schema(rtype).rtype, rtype);
        }
        assert!(schema(Rtype(65280)).is_unknown());
        assert!(schema(Rtype(200)).is_unknown());
        assert!(schema(Rtype::NULL).is_unknown());
    }

    #[test]
    fn names_are_compressed_and_lowered_as_the_rfcs_list_them() {
        let with = |has: fn(NameRule) -> bool| {
            let is = |field: &Field| matches!(field, Field::Name(rule) if has(*rule));
            let names = SCHEMAS.iter().filter(|schema| schema.fields.iter().any(is));
            names
                .map(|schema| schema.rtype.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            with(NameRule::is_compressible),
            "NS MD MF CNAME SOA MB MG MR PTR MINFO MX"
        );
        // RFC 4034 section 6.2 without HINFO (it has no names), A6, which is one field, and, by
        // RFC 6840 section 5.1, NSEC.
        assert_eq!(
            with(NameRule::is_lowered),
            "NS MD MF CNAME SOA MB MG MR PTR MINFO MX RP AFSDB RT SIG PX NXT SRV NAPTR KX DNAME RRSIG"
        );
    }

    #[test]
    fn targets_stand_where_a_name_stands() {
        for schema in SCHEMAS {
            let Some(target) = schema.target else {
                continue;
            };
            let mut at = 0;
            for field in schema.fields {
                if matches!(field, Field::Name(_)) {
                    break;
                }
                at += field.measure(&[0; 8]).unwrap();
            }
            assert_eq!(at, target, "{}", schema.rtype);
        }
    }

    #[test]
    fn fields_are_measured() {
        let check = |field: Field, bytes: &[u8], expected| {
            assert_eq!(field.measure(bytes).ok(), expected, "{field:?} {bytes:x?}");
        };
        check(Field::U16, &[1], None);
        check(Field::U16, &[1, 2, 3], Some(2));
        check(Field::CharString, &[2, 1], None);
        check(Field::CharStrings, &[], None);
        check(Field::CharStrings, &[0], Some(1));
        check(Field::CharStrings, &[1, b'a', 2, b'b'], None);
        check(Field::Tag, &[0], None);
        check(Field::Tag, b"\x02a-", None);
        check(Field::Tag, b"\x05issue;", Some(6));
        check(Field::Types, &[], None);
        check(Field::Types, &[0, 1, 0x40], Some(3));
        check(Field::Types, &[0, 1, 0], None);
        check(Field::Types, &[0, 0], None);
        check(Field::Types, &[1, 1, 1, 0, 1, 1], None);
        check(Field::TypesOrNone, &[], Some(0));
        check(Field::Digest(DS_DIGESTS), &[2, 1], None);
        check(Field::Digest(DS_DIGESTS), &[99, 1], Some(2));
        check(Field::Prefixes, &[0, 1, 24, 3, 192, 0, 2], Some(7));
        check(Field::Prefixes, &[0, 1, 33, 0], None);
        check(Field::Prefixes, &[0, 1, 24, 1, 0], None);
        check(Field::Prefixes, &[0, 3, 24, 0], None);
        check(Field::Gateway, &[3, 2, 1, b'a', 0], Some(5));
        check(Field::Gateway, &[4, 2], None);
        check(Field::Relay, &[0x83, 1, b'a', 0], Some(4));
        check(Field::Relay, &[4], None);
        check(Field::Services, &[6, 0, 1], Some(3));
        check(Field::Services, &[6, 1, 0], None);
        check(Field::OldTypes, &[0x40], Some(1));
        check(Field::OldTypes, &[0x80], None);
        check(Field::OldTypes, &[0x40, 0], None);
        check(Field::AddressInParts, &[128, 0], Some(2));
        check(Field::AddressInParts, &[124, 0x0f, 1, b'a', 0], Some(5));
        check(Field::AddressInParts, &[124, 0x1f, 1, b'a', 0], None);
        check(Field::AddressInParts, &[129, 0], None);
        check(Field::AtmAddress, &[1, b'1'], Some(2));
        check(Field::AtmAddress, &[1, b'a'], None);
        check(Field::AtmAddress, &[2, b'1'], None);
        check(
            Field::HostIdentity,
            &[1, 2, 0, 1, 7, 8, 1, b'a', 0],
            Some(9),
        );
        check(Field::HostIdentity, &[0, 2, 0, 1, 7], None);
    }
}
