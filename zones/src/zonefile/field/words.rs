//! Words that stand for numbers, types and strings.

use crate::name::unescape;
use crate::rtype::Rtype;

/// A decimal number below 2³².
#[inline]
pub(crate) fn read_number(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(())?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

/// An RR type by mnemonic or as TYPEnnn.
#[inline]
pub(crate) fn read_rtype(text: &[u8]) -> Option<Rtype> {
    match text {
        // Most records of most zones.
        b"A" => Some(Rtype::A),
        b"NS" => Some(Rtype::NS),
        b"AAAA" => Some(Rtype::AAAA),
        b"CNAME" => Some(Rtype::CNAME),
        b"MX" => Some(Rtype::MX),
        b"TXT" => Some(Rtype::TXT),
        b"PTR" => Some(Rtype::PTR),
        b"DS" => Some(Rtype::DS),
        b"RRSIG" => Some(Rtype::RRSIG),
        b"NSEC" => Some(Rtype::NSEC),
        b"NSEC3" => Some(Rtype::NSEC3),
        _ => parse(text),
    }
}

pub(super) fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(super) fn number_or_mnemonic(text: &[u8], mnemonics: &[(&str, u16)]) -> Option<u16> {
    let known = mnemonics
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(text));
    match known {
        Some((_, number)) => Some(*number),
        None => u16::try_from(read_number(text)?).ok(),
    }
}

/// Appends text with its escapes undone (RFC 1035 section 5.1).
pub(crate) fn unescape_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let Some((byte, size)) = unescape(&rest[at..]) else {
            return Err("bad escape, expected \\DDD (000 to 255) or \\ and a character");
        };
        out.push(byte);
        rest = &rest[at + size..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// IANA registry "DNS Security Algorithm Numbers".
pub(super) const ALGORITHMS: &[(&str, u16)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("NSEC3DSA", 6),
    ("DSA-NSEC3-SHA1", 6),
    ("NSEC3RSASHA1", 7),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECCGOST", 12),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// RFC 4398 section 2.1.
pub(super) const CERTIFICATE_TYPES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// Protocols of WKS with names that are in use.
pub(super) const PROTOCOLS: &[(&str, u16)] = &[("icmp", 1), ("tcp", 6), ("udp", 17)];

/// Services of WKS with names that are in use.
pub(super) const SERVICES: &[(&str, u16)] = &[
    ("echo", 7),
    ("discard", 9),
    ("daytime", 13),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("whois", 43),
    ("domain", 53),
    ("tftp", 69),
    ("gopher", 70),
    ("finger", 79),
    ("http", 80),
    ("pop3", 110),
    ("nntp", 119),
    ("ntp", 123),
    ("imap2", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
];
