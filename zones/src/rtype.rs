//! RR types and classes by number, with their mnemonics.

use std::fmt;
use std::str::FromStr;

/// An RR type (RFC 1035 section 3.2.2, IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

/// A class (RFC 1035 section 3.2.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Class(pub u16);

impl Class {
    /// The Internet.
    pub const IN: Self = Self(1);
    /// Chaosnet, used for questions about the server itself.
    pub const CH: Self = Self(3);
    /// In an UPDATE: delete this, or "must not exist" (RFC 2136 section 2).
    pub const NONE: Self = Self(254);
    /// In a question: any class. In an UPDATE: delete the set, or "must exist".
    pub const ANY: Self = Self(255);
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IN => f.write_str("IN"),
            Self::CH => f.write_str("CH"),
            Self::NONE => f.write_str("NONE"),
            Self::ANY => f.write_str("ANY"),
            // RFC 3597 section 5.
            Self(n) => write!(f, "CLASS{n}"),
        }
    }
}

macro_rules! rtypes {
    ($($name:ident $mnemonic:literal $number:literal,)*) => {
        #[allow(missing_docs, reason = "each is the IANA mnemonic of the same spelling")]
        impl Rtype {
            $(pub const $name: Self = Self($number);)*
        }

        const MNEMONICS: &[(u16, &str)] = &[$(($number, $mnemonic),)*];
    };
}

rtypes! {
    A "A" 1, NS "NS" 2, MD "MD" 3, MF "MF" 4, CNAME "CNAME" 5, SOA "SOA" 6, MB "MB" 7, MG "MG" 8,
    MR "MR" 9, NULL "NULL" 10, WKS "WKS" 11, PTR "PTR" 12, HINFO "HINFO" 13, MINFO "MINFO" 14,
    MX "MX" 15, TXT "TXT" 16, RP "RP" 17, AFSDB "AFSDB" 18, X25 "X25" 19, ISDN "ISDN" 20,
    RT "RT" 21, NSAP "NSAP" 22, NSAP_PTR "NSAP-PTR" 23, SIG "SIG" 24, KEY "KEY" 25, PX "PX" 26, GPOS "GPOS" 27,
    AAAA "AAAA" 28, LOC "LOC" 29, NXT "NXT" 30, EID "EID" 31, NIMLOC "NIMLOC" 32, SRV "SRV" 33,
    ATMA "ATMA" 34, NAPTR "NAPTR" 35, KX "KX" 36,
    CERT "CERT" 37, A6 "A6" 38, DNAME "DNAME" 39, SINK "SINK" 40, OPT "OPT" 41, APL "APL" 42, DS "DS" 43, SSHFP "SSHFP" 44,
    IPSECKEY "IPSECKEY" 45, RRSIG "RRSIG" 46, NSEC "NSEC" 47, DNSKEY "DNSKEY" 48,
    DHCID "DHCID" 49, NSEC3 "NSEC3" 50, NSEC3PARAM "NSEC3PARAM" 51, TLSA "TLSA" 52,
    SMIMEA "SMIMEA" 53, HIP "HIP" 55, NINFO "NINFO" 56, RKEY "RKEY" 57, TALINK "TALINK" 58, CDS "CDS" 59, CDNSKEY "CDNSKEY" 60,
    OPENPGPKEY "OPENPGPKEY" 61, CSYNC "CSYNC" 62, ZONEMD "ZONEMD" 63, SVCB "SVCB" 64,
    HTTPS "HTTPS" 65, SPF "SPF" 99, UINFO "UINFO" 100, UID "UID" 101, GID "GID" 102,
    UNSPEC "UNSPEC" 103, NID "NID" 104, L32 "L32" 105, L64 "L64" 106, LP "LP" 107,
    EUI48 "EUI48" 108, EUI64 "EUI64" 109, TKEY "TKEY" 249, TSIG "TSIG" 250, IXFR "IXFR" 251,
    AXFR "AXFR" 252, MAILB "MAILB" 253, MAILA "MAILA" 254, ANY "ANY" 255, URI "URI" 256,
    CAA "CAA" 257, AVC "AVC" 258, DOA "DOA" 259, AMTRELAY "AMTRELAY" 260, RESINFO "RESINFO" 261,
    WALLET "WALLET" 262, TA "TA" 32768, DLV "DLV" 32769,
}

impl Rtype {
    /// True for types that exist in messages only and can never be in a zone: OPT and the range
    /// of QTYPEs and meta-TYPEs 128 to 255 (RFC 6895 section 3.1).
    #[must_use]
    pub fn is_meta(self) -> bool {
        self == Self::OPT || (128..=255).contains(&self.0) || self.0 == 0
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MNEMONICS.binary_search_by_key(&self.0, |(number, _)| *number) {
            Ok(i) => f.write_str(MNEMONICS[i].1),
            // RFC 3597 section 5.
            Err(_) => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Rtype {
    type Err = UnknownRtype;

    fn from_str(text: &str) -> Result<Self, UnknownRtype> {
        if let Some((number, _)) = MNEMONICS.iter().find(|(_, m)| m.eq_ignore_ascii_case(text)) {
            return Ok(Self(*number));
        }
        match text.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("TYPE") => {
                text[4..].parse().map(Self).map_err(|_| UnknownRtype)
            }
            _ => Err(UnknownRtype),
        }
    }
}

/// The text is neither a mnemonic nor `TYPE` and a number below 65536.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownRtype;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics_are_in_order_and_read_back() {
        assert!(MNEMONICS.is_sorted());
        for (number, text) in MNEMONICS {
            assert_eq!(text.parse(), Ok(Rtype(*number)));
            assert_eq!(Rtype(*number).to_string(), *text);
        }
        assert_eq!("type65280".parse(), Ok(Rtype(65280)));
        assert_eq!(Rtype(65280).to_string(), "TYPE65280");
        assert_eq!("TYPE65536".parse::<Rtype>(), Err(UnknownRtype));
        assert_eq!("BOGUS".parse::<Rtype>(), Err(UnknownRtype));
    }
}
