//! RDATA in text, field by field as the schema lists them: how each kind is read.

mod print;
mod single;
mod time;
mod words;

use single::{read_eui, read_locator, read_nsap};
use time::read_time;
use words::{ALGORITHMS, CERTIFICATE_TYPES, number_or_mnemonic, parse};

pub(crate) use print::{print, print_escaped};
pub(crate) use time::read_period;
pub(crate) use words::{read_number, read_rtype, unescape_into};

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE32_DNSSEC, BASE64, Encoding, HEXLOWER_PERMISSIVE};

use crate::location;
use crate::name::{Name, append_text};
use crate::rdata;
use crate::record::RDATA_SIZE_MAX;
use crate::rtype::Rtype;
use crate::schema::{DigestKind, Field, schema};
use crate::svcparams;
use crate::zonefile::lexer::{Fault, Lexer, Position, Token};

/// Reads the RDATA of one record from text, up to the end of its entry.
pub(crate) struct Reader<'r, 's> {
    pub(crate) lexer: &'r mut Lexer<'s>,
    pub(crate) origin: Option<&'r Name>,
    /// The RDATA is appended here.
    pub(crate) rdata: &'r mut Vec<u8>,
}

impl Reader<'_, '_> {
    pub(crate) fn read(&mut self, rtype: Rtype) -> Result<(), Fault> {
        self.lexer.pass_blanks()?;
        let at = self.lexer.position();
        let schema = schema(rtype);
        if self.lexer.peek() == Some(b'\\') && self.takes_generic_mark()? {
            self.read_generic()?;
        } else if schema.is_unknown() {
            let expected =
                format!("`\\#`, a length and hexadecimal, as the type {rtype} has no other text");
            return Err(match self.lexer.token()? {
                Some(token) => token.unexpected(expected),
                None => Fault::new(at, format!("the entry ends here, expected {expected}")),
            });
        } else {
            for field in schema.fields {
                self.read_field(*field)?;
            }
        }
        self.lexer.expect_end()?;
        if self.rdata.len() > RDATA_SIZE_MAX {
            return Err(Fault::new(at, "the RDATA is longer than 65535 bytes"));
        }
        rdata::check(rtype, self.rdata)
            .map_err(|error| Fault::new(at, format!("RDATA of type {rtype}: {error}")))
    }

    /// RFC 3597 section 5: `\#` stands before RDATA in hexadecimal, whatever the type.
    fn takes_generic_mark(&mut self) -> Result<bool, Fault> {
        let before = self.lexer.clone();
        if self
            .lexer
            .token()?
            .is_some_and(|token| token.text == b"\\#")
        {
            return Ok(true);
        }
        *self.lexer = before;
        Ok(false)
    }

    fn read_generic(&mut self) -> Result<(), Fault> {
        let at = self.lexer.position();
        let length = self.number(u32::from(u16::MAX), "the length of the RDATA, 0 to 65535")?;
        let start = self.rdata.len();
        self.decode_rest(&HEXLOWER_PERMISSIVE, "hexadecimal digits in pairs")?;
        let found = self.rdata.len() - start;
        if found != length as usize {
            let message =
                format!("the RDATA has {found} bytes, expected {length} as its length says");
            return Err(Fault::new(at, message));
        }
        Ok(())
    }

    fn read_field(&mut self, field: Field) -> Result<(), Fault> {
        match field {
            Field::Name(_) => self.name(),
            Field::U8 => self.u8("a number from 0 to 255"),
            Field::U16 => self.u16("a number from 0 to 65535"),
            Field::U32 => {
                let number = self.number(u32::MAX, "a number from 0 to 4294967295")?;
                self.u32(number)
            }
            Field::Period => {
                let expected = "seconds, or a period such as `1h30m`";
                let period = self.parsed(expected, read_period)?;
                self.u32(period)
            }
            Field::Time => {
                let time =
                    self.parsed("a time as YYYYMMDDHHmmSS, or seconds since 1970", read_time)?;
                self.u32(time)
            }
            Field::TypeCovered => {
                let rtype = self.parsed("an RR type", read_rtype)?;
                self.rdata.extend_from_slice(&rtype.0.to_be_bytes());
                Ok(())
            }
            Field::Algorithm => self.algorithm(),
            Field::CertificateType => {
                let kind = self.parsed("a certificate type", |text| {
                    number_or_mnemonic(text, CERTIFICATE_TYPES)
                })?;
                self.rdata.extend_from_slice(&kind.to_be_bytes());
                Ok(())
            }
            Field::Ipv4 => {
                let address = self.parsed("an IPv4 address", parse::<Ipv4Addr>)?;
                self.rdata.extend_from_slice(&address.octets());
                Ok(())
            }
            Field::Ipv6 => {
                let address = self.parsed("an IPv6 address", parse::<Ipv6Addr>)?;
                self.rdata.extend_from_slice(&address.octets());
                Ok(())
            }
            Field::CharString => {
                let token = self.lexer.expect("a character string")?;
                self.char_string(token)
            }
            Field::CharStringOrNone => match self.lexer.token()? {
                Some(token) => self.char_string(token),
                None => Ok(()),
            },
            Field::CharStrings => {
                let first = self.lexer.expect("a character string")?;
                self.char_string(first)?;
                while let Some(token) = self.lexer.token()? {
                    self.char_string(token)?;
                }
                Ok(())
            }
            Field::Tag => {
                let token = self.lexer.expect("a tag such as `issue`")?;
                self.char_string(token)
            }
            Field::Text => {
                let token = self.lexer.expect("a string")?;
                unescape_into(token.text, self.rdata).map_err(|m| Fault::new(token.at, m))
            }
            Field::Hex => self.decode_rest(&HEXLOWER_PERMISSIVE, "hexadecimal digits in pairs"),
            Field::Base64 | Field::Base64OrNone => self.decode_rest(&BASE64, "base64"),
            Field::Digest(kinds) => self.digest(kinds),
            Field::Salt => self.salt(),
            Field::Hash => self.sized("a hash in base32hex", |text| {
                BASE32_DNSSEC.decode(text).ok()
            }),
            Field::Types | Field::TypesOrNone => self.types(),
            Field::SvcParams => svcparams::read(self.lexer, self.rdata),
            Field::Location => location::read(self.lexer, self.rdata),
            Field::Locator => {
                let locator =
                    self.parsed("a locator such as `2001:db8:1140:1000`", read_locator)?;
                self.rdata.extend_from_slice(&locator);
                Ok(())
            }
            Field::Eui48 => {
                let address = self
                    .parsed("six pairs of hexadecimal digits with `-` between", |text| {
                        read_eui::<6>(text)
                    })?;
                self.rdata.extend_from_slice(&address);
                Ok(())
            }
            Field::Eui64 => {
                let address = self.parsed(
                    "eight pairs of hexadecimal digits with `-` between",
                    read_eui::<8>,
                )?;
                self.rdata.extend_from_slice(&address);
                Ok(())
            }
            Field::Nsap => {
                let address = self.parsed("`0x` and hexadecimal digits in pairs", read_nsap)?;
                self.rdata.extend_from_slice(&address);
                Ok(())
            }
            Field::Prefixes => self.prefixes(),
            Field::Gateway => self.gateway(),
            Field::Relay => self.relay(),
            Field::Services => self.services(),
            Field::OldTypes => self.old_types(),
            Field::AddressInParts => self.address_in_parts(),
            Field::AtmAddress => self.atm_address(),
            Field::Base64OrDash => {
                let before = self.lexer.clone();
                let token = self.lexer.expect("base64, or `-`")?;
                if token.text == b"-" && !token.is_quoted {
                    return Ok(());
                }
                *self.lexer = before;
                self.decode_rest(&BASE64, "base64, or `-`")
            }
            Field::HostIdentity => self.host_identity(),
            Field::Opaque => unreachable!("unknown types are read in their generic form"),
        }
    }

    /// A word that `read` understands.
    #[inline]
    fn parsed<T>(&mut self, expected: &str, read: impl Fn(&[u8]) -> Option<T>) -> Result<T, Fault> {
        let token = self.lexer.expect(expected)?;
        match read(token.text) {
            Some(value) if !token.is_quoted => Ok(value),
            _ => Err(token.unexpected(expected)),
        }
    }

    #[inline]
    fn number(&mut self, max: u32, expected: &str) -> Result<u32, Fault> {
        self.parsed(expected, |text| {
            read_number(text).filter(|number| *number <= max)
        })
    }

    fn u8(&mut self, expected: &str) -> Result<(), Fault> {
        let number = self.number(u32::from(u8::MAX), expected)?;
        self.rdata.push(number as u8);
        Ok(())
    }

    fn u16(&mut self, expected: &str) -> Result<(), Fault> {
        let number = self.number(u32::from(u16::MAX), expected)?;
        self.rdata.extend_from_slice(&(number as u16).to_be_bytes());
        Ok(())
    }

    fn u32(&mut self, number: u32) -> Result<(), Fault> {
        self.rdata.extend_from_slice(&number.to_be_bytes());
        Ok(())
    }

    #[inline]
    fn name(&mut self) -> Result<(), Fault> {
        let token = self.lexer.expect("a domain name")?;
        self.name_from(token)
    }

    fn name_from(&mut self, token: Token<'_>) -> Result<(), Fault> {
        if token.is_quoted {
            return Err(token.unexpected("a domain name without quotes"));
        }
        append_text(token.text, self.origin, self.rdata)
            .map_err(|error| Fault::new(token.at, format!("{error}, expected a domain name")))
    }

    fn char_string(&mut self, token: Token<'_>) -> Result<(), Fault> {
        let start = self.rdata.len();
        self.rdata.push(0);
        unescape_into(token.text, self.rdata).map_err(|m| Fault::new(token.at, m))?;
        let length = self.rdata.len() - start - 1;
        self.rdata[start] = u8::try_from(length).map_err(|_| {
            let message = format!("a character string of {length} bytes, expected at most 255");
            Fault::new(token.at, message)
        })?;
        Ok(())
    }

    fn algorithm(&mut self) -> Result<(), Fault> {
        let algorithm = self.parsed("a DNSSEC algorithm", |text| {
            number_or_mnemonic(text, ALGORITHMS).and_then(|number| u8::try_from(number).ok())
        })?;
        self.rdata.push(algorithm);
        Ok(())
    }

    fn digest(&mut self, kinds: &[DigestKind]) -> Result<(), Fault> {
        let number = self.parsed("a digest type", |text| {
            let known = kinds.iter().find(|kind| {
                !kind.mnemonic.is_empty() && kind.mnemonic.as_bytes().eq_ignore_ascii_case(text)
            });
            match known {
                Some(kind) => Some(kind.number),
                None => u8::try_from(read_number(text)?).ok(),
            }
        })?;
        self.rdata.push(number);
        self.decode_rest(&HEXLOWER_PERMISSIVE, "hexadecimal digits in pairs")
    }

    /// RFC 5155 section 3.3: the salt is `-` when it is empty.
    fn salt(&mut self) -> Result<(), Fault> {
        self.sized("a salt in hexadecimal, or `-`", |text| match text {
            b"-" => Some(Vec::new()),
            _ => HEXLOWER_PERMISSIVE.decode(text).ok(),
        })
    }

    /// One byte of length and what `decode` makes of a word.
    fn sized(
        &mut self,
        expected: &str,
        decode: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<(), Fault> {
        let bytes = self.parsed(expected, |text| {
            decode(text).filter(|bytes| bytes.len() <= usize::from(u8::MAX))
        })?;
        self.rdata.push(bytes.len() as u8);
        self.rdata.extend_from_slice(&bytes);
        Ok(())
    }

    /// Decodes all words up to the end of the entry as if they were one.
    fn decode_rest(&mut self, encoding: &Encoding, expected: &str) -> Result<(), Fault> {
        let at = self.lexer.position();
        let mut digits = Vec::new();
        while let Some(token) = self.lexer.token()? {
            if token.is_quoted {
                return Err(token.unexpected(expected));
            }
            digits.extend_from_slice(token.text);
        }
        self.decode(encoding, &digits, at, expected)
    }

    fn decode(
        &mut self,
        encoding: &Encoding,
        digits: &[u8],
        at: Position,
        expected: &str,
    ) -> Result<(), Fault> {
        match encoding.decode(digits) {
            Ok(bytes) => {
                self.rdata.extend_from_slice(&bytes);
                Ok(())
            }
            Err(error) => Err(Fault::new(
                at,
                format!(
                    "the text from here on has a fault at digit {}, expected {expected}",
                    error.position + 1
                ),
            )),
        }
    }

    /// RFC 4034 section 4.1.2: a bitmap for each window of 256 types.
    fn types(&mut self) -> Result<(), Fault> {
        let mut types = Vec::new();
        while let Some(token) = self.lexer.token()? {
            let rtype = read_rtype(token.text).filter(|_| !token.is_quoted);
            types.push(rtype.ok_or_else(|| token.unexpected("an RR type"))?.0);
        }
        types.sort_unstable();
        for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
            let mut bitmap = [0; 32];
            let mut size = 0;
            for rtype in window {
                let byte = usize::from(rtype & 0xff) / 8;
                bitmap[byte] |= 0x80 >> (rtype & 7);
                size = byte + 1;
            }
            self.rdata
                .extend_from_slice(&[(window[0] >> 8) as u8, size as u8]);
            self.rdata.extend_from_slice(&bitmap[..size]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{NameRule, known_types};
    use crate::zonefile::rdata_from_text;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn text_is_read_into_wire_and_printed() {
        let origin: Name = "test".parse().unwrap();
        let check = |rtype: &str, text: &str, printed: &str| {
            let rtype = rtype.parse().unwrap();
            let rdata = rdata_from_text(rtype, text, Some(&origin)).unwrap();
            let mut out = String::new();
            print(rtype, rdata.as_bytes(), &mut out);
            assert_eq!(out, printed, "{rtype} {text}");
            assert_eq!(rdata_from_text(rtype, &out, None), Ok(rdata));
        };
        let same = |rtype: &str, text: &str| check(rtype, text, text);
        check(
            "SOA",
            "ns root 1 1h 2m 1w2d 60",
            "ns.test. root.test. 1 3600 120 777600 60",
        );
        check(
            "TXT",
            r#"a "b c" "" "\"\;\255\009""#,
            r#""a" "b c" "" "\";\255\009""#,
        );
        check("HINFO", "PC \"Linux 6\"", "\"PC\" \"Linux 6\"");
        check("AAAA", "2001:DB8:0:0::1", "2001:db8::1");
        check(
            "DS",
            "1 RSASHA256 sha-1 aabb ccddeeff00112233445566778899aabbcc dd",
            "1 8 1 AABBCCDDEEFF00112233445566778899AABBCCDD",
        );
        check(
            "RRSIG",
            "A 13 2 60 20300102030405 1262304000 7 @ AAEC Aw==",
            "A 13 2 60 20300102030405 20100101000000 7 test. AAECAw==",
        );
        check(
            "NSEC",
            "a TYPE65280 A RRSIG NSEC A",
            "a.test. A RRSIG NSEC TYPE65280",
        );
        check(
            "NSEC3",
            "1 0 5 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr",
            "1 0 5 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr",
        );
        check(
            "NSEC3",
            "1 0 5 ab 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A",
            "1 0 5 AB 2t7b4g4vsa5smi47k61mv5bv1a22bojr A",
        );
        check("CAA", "0 issue ca.test", r#"0 issue "ca.test""#);
        check("CAA", r#"128 iodef """#, r#"128 iodef """#);
        check("CERT", "PGP 1 RSASHA1 AAEC", "3 1 5 AAEC");
        check(
            "APL",
            "1:192.0.2.0/24 !2:2001:db8::/32 1:0.0.0.0/0",
            "1:192.0.2.0/24 !2:2001:db8::/32 1:0.0.0.0/0",
        );
        check("APL", "", "");
        check("IPSECKEY", "10 1 2 192.0.2.1 AAEC", "10 1 2 192.0.2.1 AAEC");
        check("IPSECKEY", "10 3 2 gw AAEC", "10 3 2 gw.test. AAEC");
        check("IPSECKEY", "10 0 0 .", "10 0 0 .");
        check(
            "HIP",
            "2 2001 AAEC rvs rvs2",
            "2 2001 AAEC rvs.test. rvs2.test.",
        );
        check("NSAP", "0x47.0005.80", "0x47000580");
        check("NID", "10 14:4fff:ff20:ee64", "10 0014:4fff:ff20:ee64");
        check("EUI48", "00-00-5E-00-53-2a", "00-00-5e-00-53-2a");
        check("SVCB", "1 @ port=53", "1 test. port=53");
        same("URI", r#"10 1 "https://www.test/""#);
        same("NAPTR", r#"100 10 "u" "E2U+sip" "!^.*$!sip:info@test!" ."#);
        same("ISDN", r#""150862028003217" "004""#);
        same("ISDN", r#""150862028003217""#);
        same("KEY", "256 3 0");
        same("CDS", "0 0 0 00");
        same("CSYNC", "66 3");
        same("TYPE10", r"\# 2 AABB");
    }

    #[test]
    fn bad_text_is_refused() {
        let check = |rtype: &str, text: &str, part: &str| {
            let error = rdata_from_text(rtype.parse().unwrap(), text, None).unwrap_err();
            assert!(error.contains(part), "{rtype} {text}: {error}");
        };
        check("MX", "65536 a.", "a number from 0 to 65535");
        check("MX", "1 a", "no origin is known");
        check("MX", "1 \"a.\"", "a domain name without quotes");
        check("TXT", "", "a character string");
        check("TXT", &"a".repeat(256), "at most 255");
        check("TXT", r"\25", "bad escape");
        check("DS", "1 8 1 aabb", "a digest of the size");
        check("DS", "1 8 2 aabbc", "hexadecimal digits in pairs");
        check("DS", "1 8 2", "a digest of the size");
        check("TLSA", "1 1 1", "cut short");
        check("NSEC", "a. BOGUS", "an RR type");
        check("RRSIG", "A 13 2 60 20300230000000 0 7 a. AA==", "a time");
        check("CAA", "0 is-sue x", "letters and digits");
        check("DNSKEY", "256 3 8 AAA", "base64");
        check("EUI48", "00-00-5e-00-53", "six pairs");
        check("EUI48", "0-0-5e-00-53-2a", "six pairs");
        check("APL", "1:192.0.2.0/33", "a prefix");
        check("IPSECKEY", "10 0 0 x.", "no gateway");
        check("NID", "10 1:2:3", "a locator");
        check("NID", "10 +1:2:3:4", "a locator");
        check("A", "192.0.2.1\n192.0.2.2", "one line");
    }

    #[test]
    fn periods_and_times_are_read() {
        let period =
            |text: &str, expected| assert_eq!(read_period(text.as_bytes()), expected, "{text}");
        period("0", Some(0));
        period("1h30m", Some(5400));
        period("1W2D3H4M5S", Some(788_645));
        period("4294967295", Some(u32::MAX));
        period("4294967296", None);
        period("7102w", None);
        period("1h30", None);
        period("h", None);
        period("", None);
        let time =
            |text: &str, expected| assert_eq!(read_time(text.as_bytes()), expected, "{text}");
        time("19700101000000", Some(0));
        time("20000229235959", Some(951_868_799));
        time("21060207062815", Some(u32::MAX));
        time("21060207062816", Some(0));
        time("20010229000000", None);
        time("20010101240000", None);
        time("1262304000", Some(1_262_304_000));
    }

    /// Bytes that a field of this kind may hold.
    fn any_field(field: Field) -> BoxedStrategy<Vec<u8>> {
        let bytes = |sizes: std::ops::Range<usize>| vec(any::<u8>(), sizes).boxed();
        let string =
            || vec(any::<u8>(), 0..20).prop_map(|text| [&[text.len() as u8][..], &text].concat());
        let name = || {
            vec(vec(any::<u8>(), 1..6), 0..4).prop_map(|labels| {
                let root = Name::root();
                let name = labels
                    .iter()
                    .fold(root, |name, label| name.child(label).unwrap());
                name.as_wire().to_vec()
            })
        };
        match field {
            Field::Name(_) => name().boxed(),
            Field::U8 | Field::Algorithm => bytes(1..2),
            Field::U16 | Field::TypeCovered | Field::CertificateType => bytes(2..3),
            Field::U32 | Field::Period | Field::Time | Field::Ipv4 => bytes(4..5),
            Field::Ipv6 => bytes(16..17),
            Field::Eui48 => bytes(6..7),
            Field::Eui64 | Field::Locator => bytes(8..9),
            Field::CharString | Field::Salt => string().boxed(),
            Field::CharStringOrNone => prop_oneof![Just(vec![]), string()].boxed(),
            Field::CharStrings => vec(string(), 1..4).prop_map(|all| all.concat()).boxed(),
            Field::Hash => string()
                .prop_filter("a hash is not empty", |hash| hash[0] > 0)
                .boxed(),
            Field::Tag => Just(b"\x05issue".to_vec()).boxed(),
            Field::Hex | Field::Base64 | Field::Nsap => bytes(1..40),
            Field::Base64OrNone | Field::Base64OrDash | Field::Text | Field::Opaque => bytes(0..40),
            Field::Digest(kinds) => {
                let numbers = kinds
                    .iter()
                    .map(|kind| (kind.number, kind.size))
                    .collect::<Vec<_>>();
                let known = proptest::sample::select(numbers).prop_flat_map(|(number, size)| {
                    vec(any::<u8>(), size).prop_map(move |digest| [&[number][..], &digest].concat())
                });
                prop_oneof![known, Just(vec![99, 1, 2, 3])].boxed()
            }
            Field::Types | Field::TypesOrNone => vec(any::<u16>(), 1..10)
                .prop_map(|types| {
                    let text: Vec<String> =
                        types.iter().map(|rtype| format!("TYPE{rtype}")).collect();
                    let wire = rdata_from_text(Rtype::NSEC, &format!(". {}", text.join(" ")), None);
                    wire.unwrap().as_bytes()[1..].to_vec()
                })
                .boxed(),
            Field::SvcParams => proptest::sample::subsequence(
                vec![
                    &b"\0\x01\0\x05\x02h2\x01,"[..],
                    b"\0\x02\0\0",
                    b"\0\x03\0\x02\0\x35",
                    b"\0\x04\0\x04\xc0\0\x02\x01",
                    b"\0\x05\0\x02\x01\x02",
                    b"\0\x08\0\0",
                    b"\xff\0\0\x03\"\\\0",
                ],
                0..7,
            )
            .prop_map(|params| params.concat())
            .prop_filter("no-default-alpn needs alpn", |wire| {
                svcparams::check(wire).is_ok()
            })
            .boxed(),
            Field::Location => (
                0..=648_000_000u32,
                0..=1_296_000_000u32,
                any::<u32>(),
                0..10u8,
            )
                .prop_map(|(latitude, longitude, altitude, exponent)| {
                    let mut wire = vec![0, 0x10 | exponent, 0, 0x99];
                    wire.extend((latitude + (1 << 31) - 324_000_000).to_be_bytes());
                    wire.extend((longitude + (1 << 31) - 648_000_000).to_be_bytes());
                    wire.extend(altitude.to_be_bytes());
                    wire
                })
                .boxed(),
            Field::Prefixes => vec((any::<u8>(), vec(1u8.., 0..5), 0..=32u8), 0..4)
                .prop_map(|items| {
                    let item = |(sign, address, prefix): &(u8, Vec<u8>, u8)| {
                        let length = sign & 0x80 | address.len() as u8;
                        [&[0, 1 + sign % 2, *prefix, length][..], address].concat()
                    };
                    items.iter().map(item).collect::<Vec<_>>().concat()
                })
                .prop_filter("IPv4 has four bytes", |wire| {
                    Field::Prefixes.measure(wire).is_ok()
                })
                .boxed(),
            Field::Gateway => prop_oneof![
                Just(vec![0, 2]),
                bytes(4..5).prop_map(|address| [&[1, 2][..], &address].concat()),
                bytes(16..17).prop_map(|address| [&[2, 2][..], &address].concat()),
                name().prop_map(|name| [&[3, 2][..], &name].concat()),
            ]
            .boxed(),
            Field::Relay => prop_oneof![
                Just(vec![0x80]),
                bytes(4..5).prop_map(|address| [&[1][..], &address].concat()),
                bytes(16..17).prop_map(|address| [&[0x82][..], &address].concat()),
                name().prop_map(|name| [&[3][..], &name].concat()),
            ]
            .boxed(),
            Field::Services => vec(any::<u8>(), 1..20)
                .prop_filter("no trailing zeros", |wire| {
                    Field::Services.measure(wire).is_ok()
                })
                .boxed(),
            Field::OldTypes => vec(any::<u8>(), 1..16)
                .prop_map(|mut wire| {
                    wire[0] &= 0x7f;
                    wire
                })
                .prop_filter("no trailing zeros", |wire| {
                    Field::OldTypes.measure(wire).is_ok()
                })
                .boxed(),
            Field::AddressInParts => (0..=128u8, bytes(16..17), name())
                .prop_map(|(prefix, mut address, name)| {
                    let skipped = usize::from(prefix / 8);
                    if let Some(first) = address.get_mut(skipped) {
                        *first &= 0xff >> (prefix % 8);
                    }
                    let name = if prefix == 0 { &[] } else { &name[..] };
                    [&[prefix][..], &address[skipped..], name].concat()
                })
                .boxed(),
            Field::AtmAddress => prop_oneof![
                bytes(1..20).prop_map(|address| [&[0][..], &address].concat()),
                Just(b"\x0161200000000".to_vec()),
            ]
            .boxed(),
            Field::HostIdentity => (bytes(1..20), bytes(1..20), vec(name(), 0..3))
                .prop_map(|(tag, key, servers)| {
                    let head = [tag.len() as u8, 2, 0, key.len() as u8];
                    [&head[..], &tag, &key, &servers.concat()].concat()
                })
                .boxed(),
        }
    }

    fn any_rdata() -> impl Strategy<Value = (Rtype, Vec<u8>)> {
        let types = known_types()
            .chain([Rtype::NULL, Rtype(65280)])
            .collect::<Vec<_>>();
        proptest::sample::select(types).prop_flat_map(|rtype| {
            let fields = schema(rtype).fields.iter().map(|field| any_field(*field));
            fields
                .collect::<Vec<_>>()
                .prop_map(move |fields| (rtype, fields.concat()))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_printed_reads_back((rtype, rdata) in any_rdata()) {
            prop_assert_eq!(rdata::check(rtype, &rdata), Ok(()));
            let mut text = String::new();
            print(rtype, &rdata, &mut text);
            let is_generic = text.starts_with(r"\#");
            prop_assert_eq!(is_generic, schema(rtype).is_unknown());
            let back = rdata_from_text(rtype, &text, None);
            prop_assert_eq!(back.as_ref().map(|rdata| rdata.as_bytes()), Ok(&rdata[..]), "{}", text);
            let parts = rdata::parts(rtype, &rdata).flat_map(|part| match part {
                rdata::Part::Name { wire: bytes, .. } | rdata::Part::Bytes(bytes) => bytes,
            });
            prop_assert_eq!(parts.copied().collect::<Vec<u8>>(), rdata);
        }

        #[test]
        fn any_bytes_are_printed_and_read_back(number in any::<u16>(), rdata in vec(any::<u8>(), 0..60)) {
            let rtype = Rtype(number % 270);
            let mut text = String::new();
            print(rtype, &rdata, &mut text);
            let is_valid = rdata::check(rtype, &rdata).is_ok();
            let back = rdata_from_text(rtype, &text, None);
            prop_assert_eq!(back.is_ok_and(|back| back.as_bytes() == rdata), is_valid, "{}", text);
            let from_message = rdata::from_message(rtype, &rdata, 0..rdata.len());
            prop_assert!(!is_valid || from_message.is_ok_and(|same| same.as_bytes() == rdata));
            let parts = rdata::parts(rtype, &rdata).flat_map(|part| match part {
                rdata::Part::Name { wire: bytes, .. } | rdata::Part::Bytes(bytes) => bytes,
            });
            prop_assert_eq!(parts.copied().collect::<Vec<u8>>(), rdata.clone());
            let canonical = rdata::canonical(rtype, &rdata);
            prop_assert!(canonical.eq_ignore_ascii_case(&rdata));
            prop_assert_eq!(&rdata::canonical(rtype, &canonical), &canonical);
        }

        #[test]
        fn any_text_is_read_or_refused(number in any::<u16>(), text in "[ -~]{0,40}") {
            let rtype = Rtype(number % 270);
            if let Ok(rdata) = rdata_from_text(rtype, &text, Some(&Name::root())) {
                prop_assert_eq!(rdata::check(rtype, rdata.as_bytes()), Ok(()));
            }
        }
    }

    #[test]
    fn no_rule_is_left_untested() {
        // Every rule for names is used by some type, so that the properties above reach it.
        let rules = [
            NameRule::Compressed,
            NameRule::Expanded,
            NameRule::Lowered,
            NameRule::Exact,
        ];
        for rule in rules {
            let is_used = |rtype| schema(rtype).fields.contains(&Field::Name(rule));
            assert!(known_types().any(is_used), "{rule:?}");
        }
    }
}
