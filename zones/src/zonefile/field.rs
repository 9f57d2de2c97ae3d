//! RDATA in text, field by field as the schema lists them: how each kind is read and printed.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE32_DNSSEC, BASE64, Encoding, HEXLOWER_PERMISSIVE, HEXUPPER};

use crate::location;
use crate::name::{Name, append_text, print_wire, unescape, wire_size};
use crate::rdata;
use crate::record::RDATA_SIZE_MAX;
use crate::rtype::Rtype;
use crate::schema::{DigestKind, Field, NameRule, schema};
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

    /// RFC 3123 section 5: `[!]family:address/prefix`, none or more.
    fn prefixes(&mut self) -> Result<(), Fault> {
        while let Some(token) = self.lexer.token()? {
            let Some(item) = read_prefix(token.text).filter(|_| !token.is_quoted) else {
                return Err(
                    token.unexpected("a prefix such as `1:192.0.2.0/24` or `!2:2001:db8::/32`")
                );
            };
            self.rdata.extend_from_slice(&item);
        }
        Ok(())
    }

    /// RFC 4025 section 3: gateway type, algorithm, then `.`, an address or a name.
    fn gateway(&mut self) -> Result<(), Fault> {
        let kind = self.number(3, "a gateway type from 0 to 3")?;
        self.rdata.push(kind as u8);
        self.u8("an algorithm from 0 to 255")?;
        self.host(kind)
    }

    /// RFC 8777 section 4.3.1: whether discovery is optional, the relay's type, then as above.
    fn relay(&mut self) -> Result<(), Fault> {
        let discovery = self.number(1, "0 or 1 for the discovery bit")?;
        let kind = self.number(3, "a relay type from 0 to 3")?;
        self.rdata.push((discovery << 7 | kind) as u8);
        self.host(kind)
    }

    /// Nobody, an address or a name.
    fn host(&mut self, kind: u32) -> Result<(), Fault> {
        match kind {
            0 => self.parsed("`.`, as there is no gateway", |text| {
                (text == b".").then_some(())
            }),
            1 => self.read_field(Field::Ipv4),
            2 => self.read_field(Field::Ipv6),
            _ => self.name(),
        }
    }

    /// RFC 1035 section 3.4.2: a protocol and its ports, by number or by name.
    fn services(&mut self) -> Result<(), Fault> {
        let protocol = self.parsed("a protocol", |text| number_or_mnemonic(text, PROTOCOLS))?;
        let Ok(protocol) = u8::try_from(protocol) else {
            return Err(self
                .lexer
                .fault("a protocol above 255, expected one up to it"));
        };
        self.rdata.push(protocol);
        let mut bitmap = Vec::new();
        while let Some(token) = self.lexer.token()? {
            let port = number_or_mnemonic(token.text, SERVICES).filter(|_| !token.is_quoted);
            let port =
                port.ok_or_else(|| token.unexpected("a port, or a service such as `smtp`"))?;
            set_bit(&mut bitmap, port);
        }
        self.rdata.extend_from_slice(&bitmap);
        Ok(())
    }

    /// RFC 2535 section 5.2: a bitmap of types below 128.
    fn old_types(&mut self) -> Result<(), Fault> {
        let mut bitmap = Vec::new();
        while let Some(token) = self.lexer.token()? {
            let read = |text| {
                read_rtype(text).map_or_else(
                    || u16::try_from(read_number(text)?).ok(),
                    |rtype| Some(rtype.0),
                )
            };
            let rtype =
                read(token.text).filter(|rtype| (1..128).contains(rtype) && !token.is_quoted);
            let rtype = rtype.ok_or_else(|| token.unexpected("an RR type from 1 to 127"))?;
            set_bit(&mut bitmap, rtype);
        }
        self.rdata.extend_from_slice(&bitmap);
        Ok(())
    }

    /// RFC 2874 section 3.2: the length of the prefix, the rest of the address unless it is all of
    /// it, the name of the prefix unless there is none.
    fn address_in_parts(&mut self) -> Result<(), Fault> {
        let prefix = self.number(128, "a prefix length from 0 to 128")? as u8;
        self.rdata.push(prefix);
        if prefix < 128 {
            let address = self.parsed("an IPv6 address", parse::<Ipv6Addr>)?;
            let start = self.rdata.len();
            let suffix = &address.octets()[usize::from(prefix / 8)..];
            self.rdata.extend_from_slice(suffix);
            self.rdata[start] &= 0xff >> (prefix % 8);
        }
        match prefix {
            0 => Ok(()),
            _ => self.name(),
        }
    }

    /// ATM Name System, version 2.0: `+` and decimal digits, or hexadecimal with dots anywhere.
    fn atm_address(&mut self) -> Result<(), Fault> {
        let address =
            self.parsed(
                "`+` and digits, or hexadecimal digits in pairs",
                |text| match text.split_first() {
                    Some((b'+', digits)) => Some([&[1], digits].concat()),
                    _ => {
                        let digits: Vec<u8> = text.iter().copied().filter(|b| *b != b'.').collect();
                        let bytes = HEXLOWER_PERMISSIVE.decode(&digits).ok()?;
                        Some([&[0][..], &bytes].concat())
                    }
                },
            )?;
        self.rdata.extend_from_slice(&address);
        Ok(())
    }

    /// RFC 8005 section 6: algorithm, tag in hexadecimal, key in base64, names of servers.
    fn host_identity(&mut self) -> Result<(), Fault> {
        let algorithm = self.number(u32::from(u8::MAX), "an algorithm from 0 to 255")?;
        let tag = self.parsed("a host identity tag in hexadecimal", |text| {
            HEXLOWER_PERMISSIVE
                .decode(text)
                .ok()
                .filter(|tag| tag.len() <= usize::from(u8::MAX))
        })?;
        let key = self.parsed("a key in base64, in one piece", |text| {
            BASE64
                .decode(text)
                .ok()
                .filter(|key| key.len() <= usize::from(u16::MAX))
        })?;
        self.rdata
            .extend_from_slice(&[tag.len() as u8, algorithm as u8]);
        self.rdata
            .extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.rdata.extend_from_slice(&tag);
        self.rdata.extend_from_slice(&key);
        while let Some(token) = self.lexer.token()? {
            self.name_from(token)?;
        }
        Ok(())
    }
}

/// Prints RDATA of a type: by its schema, or as `\# length hexadecimal` if it does not fit it.
pub(crate) fn print(rtype: Rtype, rdata: &[u8], out: &mut String) {
    let schema = schema(rtype);
    if schema.is_unknown() || rdata::check(rtype, rdata).is_err() {
        let _infallible = write!(out, "\\# {}", rdata.len());
        if !rdata.is_empty() {
            out.push(' ');
            HEXUPPER.encode_append(rdata, out);
        }
        return;
    }
    let mut rest = rdata;
    for (i, field) in schema.fields.iter().enumerate() {
        let size = field
            .measure(rest)
            .expect("the RDATA passed its check above");
        let (bytes, more) = rest.split_at(size);
        // These begin with their own blanks, one for each item.
        let has_items = matches!(
            field,
            Field::SvcParams
                | Field::Types
                | Field::TypesOrNone
                | Field::OldTypes
                | Field::Prefixes
                | Field::CharStrings
        );
        let is_left_out = bytes.is_empty() && !matches!(field, Field::Text | Field::Base64OrDash);
        if i > 0 && !has_items && !is_left_out {
            out.push(' ');
        }
        let start = out.len();
        print_field(*field, bytes, out);
        if i == 0 && has_items && out.len() > start {
            out.remove(start);
        }
        rest = more;
    }
}

fn print_field(field: Field, bytes: &[u8], out: &mut String) {
    // Writing to a String cannot fail.
    let _infallible = match field {
        Field::Name(_) => print_wire(bytes, out),
        Field::U8 | Field::Algorithm => write!(out, "{}", bytes[0]),
        Field::U16 | Field::CertificateType => write!(out, "{}", u16_of(bytes)),
        Field::U32 | Field::Period => write!(out, "{}", u32_of(bytes)),
        Field::Time => {
            print_time(u32_of(bytes), out);
            Ok(())
        }
        Field::TypeCovered => write!(out, "{}", Rtype(u16_of(bytes))),
        Field::Ipv4 => match bytes.first_chunk::<4>() {
            Some(address) => write!(out, "{}", Ipv4Addr::from(*address)),
            None => Ok(()),
        },
        Field::Ipv6 => match bytes.first_chunk::<16>() {
            Some(address) => write!(out, "{}", Ipv6Addr::from(*address)),
            None => Ok(()),
        },
        Field::CharString | Field::CharStringOrNone => {
            if let Some((_, text)) = bytes.split_first() {
                print_quoted(text, out);
            }
            Ok(())
        }
        Field::CharStrings => {
            let mut rest = bytes;
            while let Some((length, more)) = rest.split_first() {
                let (text, more) = more.split_at(usize::from(*length));
                out.push(' ');
                print_quoted(text, out);
                rest = more;
            }
            Ok(())
        }
        Field::Tag => {
            print_escaped(&bytes[1..], out);
            Ok(())
        }
        Field::Text => {
            print_quoted(bytes, out);
            Ok(())
        }
        Field::Hex | Field::Opaque => {
            HEXUPPER.encode_append(bytes, out);
            Ok(())
        }
        Field::Base64OrDash if bytes.is_empty() => write!(out, "-"),
        Field::Base64 | Field::Base64OrNone | Field::Base64OrDash => {
            BASE64.encode_append(bytes, out);
            Ok(())
        }
        Field::Digest(_) => write!(out, "{} {}", bytes[0], HEXUPPER.encode_display(&bytes[1..])),
        Field::Salt if bytes.len() == 1 => write!(out, "-"),
        Field::Salt => {
            HEXUPPER.encode_append(&bytes[1..], out);
            Ok(())
        }
        Field::Hash => write!(out, "{}", BASE32_DNSSEC.encode_display(&bytes[1..])),
        Field::Types | Field::TypesOrNone => {
            print_types(bytes, out);
            Ok(())
        }
        Field::SvcParams => {
            svcparams::print(bytes, out);
            Ok(())
        }
        Field::Location => {
            location::print(bytes, out);
            Ok(())
        }
        Field::Locator => {
            let groups = [&bytes[..2], &bytes[2..4], &bytes[4..6], &bytes[6..8]].map(u16_of);
            let [a, b, c, d] = groups;
            write!(out, "{a:04x}:{b:04x}:{c:04x}:{d:04x}")
        }
        Field::Eui48 | Field::Eui64 => bytes.iter().enumerate().try_for_each(|(i, byte)| {
            let dash = if i == 0 { "" } else { "-" };
            write!(out, "{dash}{byte:02x}")
        }),
        Field::Nsap => write!(out, "0x{}", HEXUPPER.encode_display(bytes)),
        Field::Prefixes => {
            print_prefixes(bytes, out);
            Ok(())
        }
        Field::Gateway => {
            let _infallible = write!(out, "{} {} ", bytes[0], bytes[1]);
            print_host(bytes[0], &bytes[2..], out);
            Ok(())
        }
        Field::Relay => {
            let (discovery, kind) = (bytes[0] >> 7, bytes[0] & 0x7f);
            let _infallible = write!(out, "{discovery} {kind} ");
            print_host(kind, &bytes[1..], out);
            Ok(())
        }
        Field::Services => {
            let _infallible = write!(out, "{}", bytes[0]);
            set_bits(&bytes[1..]).try_for_each(|port| write!(out, " {port}"))
        }
        Field::OldTypes => set_bits(bytes).try_for_each(|rtype| write!(out, " {}", Rtype(rtype))),
        Field::AddressInParts => {
            let prefix = bytes[0];
            let _infallible = write!(out, "{prefix}");
            let (suffix, name) = bytes[1..].split_at(16 - usize::from(prefix / 8));
            if !suffix.is_empty() {
                let mut address = [0; 16];
                address[16 - suffix.len()..].copy_from_slice(suffix);
                let _infallible = write!(out, " {}", Ipv6Addr::from(address));
            }
            if !name.is_empty() {
                out.push(' ');
                print_field(Field::Name(NameRule::Exact), name, out);
            }
            Ok(())
        }
        Field::AtmAddress if bytes[0] == 1 => write!(out, "+{}", bytes[1..].escape_ascii()),
        Field::AtmAddress => {
            HEXUPPER.encode_append(&bytes[1..], out);
            Ok(())
        }
        Field::HostIdentity => {
            let (tag, rest) = bytes[4..].split_at(usize::from(bytes[0]));
            let (key, mut servers) = rest.split_at(usize::from(u16_of(&bytes[2..4])));
            let _infallible = write!(
                out,
                "{} {} {}",
                bytes[1],
                HEXUPPER.encode_display(tag),
                BASE64.encode_display(key)
            );
            while let Ok(size) = wire_size(servers) {
                out.push(' ');
                print_field(Field::Name(NameRule::Exact), &servers[..size], out);
                servers = &servers[size..];
            }
            Ok(())
        }
    };
}

/// Nobody, an address or a name.
fn print_host(kind: u8, bytes: &[u8], out: &mut String) {
    match kind {
        0 => out.push('.'),
        1 => print_field(Field::Ipv4, bytes, out),
        2 => print_field(Field::Ipv6, bytes, out),
        _ => print_field(Field::Name(NameRule::Exact), bytes, out),
    }
}

/// Makes the bitmap as long as it must be for this bit.
fn set_bit(bitmap: &mut Vec<u8>, bit: u16) {
    let at = usize::from(bit / 8);
    if bitmap.len() <= at {
        bitmap.resize(at + 1, 0);
    }
    bitmap[at] |= 0x80 >> (bit % 8);
}

fn set_bits(bitmap: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let bits = (0..bitmap.len() * 8).filter(|bit| bitmap[bit / 8] & 0x80 >> (bit % 8) != 0);
    bits.map(|bit| bit as u16)
}

/// Protocols of WKS with names that are in use.
const PROTOCOLS: &[(&str, u16)] = &[("icmp", 1), ("tcp", 6), ("udp", 17)];

/// Services of WKS with names that are in use.
const SERVICES: &[(&str, u16)] = &[
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

fn u16_of(bytes: &[u8]) -> u16 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn print_quoted(bytes: &[u8], out: &mut String) {
    out.push('"');
    print_escaped(bytes, out);
    out.push('"');
}

/// Prints bytes so that they read back inside quotes (RFC 1035 section 5.1).
pub(crate) fn print_escaped(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => {
                let _infallible = write!(out, "\\{byte:03}");
            }
        }
    }
}

fn print_types(bytes: &[u8], out: &mut String) {
    let mut rest = bytes;
    while let [window, length, more @ ..] = rest {
        let (bitmap, more) = more.split_at(usize::from(*length));
        for (i, byte) in bitmap.iter().enumerate() {
            for bit in 0..8 {
                if byte & 0x80 >> bit != 0 {
                    let rtype = Rtype(u16::from(*window) << 8 | (i * 8 + bit) as u16);
                    let _infallible = write!(out, " {rtype}");
                }
            }
        }
        rest = more;
    }
}

fn print_prefixes(bytes: &[u8], out: &mut String) {
    let mut rest = bytes;
    while let [_, family, prefix, length, more @ ..] = rest {
        let negation = if length & 0x80 != 0 { "!" } else { "" };
        let (address, more) = more.split_at(usize::from(length & 0x7f));
        let mut whole = [0; 16];
        whole[..address.len()].copy_from_slice(address);
        let [a, b, c, d, ..] = whole;
        let _infallible = match family {
            1 => write!(out, " {negation}1:{}/{prefix}", Ipv4Addr::new(a, b, c, d)),
            _ => write!(out, " {negation}2:{}/{prefix}", Ipv6Addr::from(whole)),
        };
        rest = more;
    }
}

/// RFC 4034 section 3.2: YYYYMMDDHHmmSS in UTC.
fn print_time(time: u32, out: &mut String) {
    let (days, second) = (time / DAY, time % DAY);
    let mut year = 1970;
    let mut day = days;
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while day >= month_days(year, month) {
        day -= month_days(year, month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _infallible = write!(
        out,
        "{year}{month:02}{:02}{hour:02}{minute:02}{second:02}",
        day + 1
    );
}

const DAY: u32 = 86_400;

fn year_days(year: u32) -> u32 {
    if is_leap_year(year) { 366 } else { 365 }
}

fn month_days(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap_year(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Fourteen digits are a date, up to ten are seconds (RFC 4034 section 3.2). Times after 2106
/// come round, as RFC 1982 compares them.
fn read_time(text: &[u8]) -> Option<u32> {
    if text.len() != 14 {
        return read_number(text);
    }
    let part = |range: std::ops::Range<usize>| read_number(&text[range]);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    let is_date = year >= 1970 && (1..=12).contains(&month);
    if !is_date || !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = (1970..year).map(year_days).sum::<u32>()
        + (1..month).map(|month| month_days(year, month)).sum::<u32>()
        + (day - 1);
    let seconds = u64::from(days) * u64::from(DAY) + u64::from(hour * 3600 + minute * 60 + second);
    Some(seconds as u32)
}

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

/// Seconds, or numbers with the units w, d, h, m, s, each number with its unit.
#[inline]
pub(crate) fn read_period(text: &[u8]) -> Option<u32> {
    if let Some(seconds) = read_number(text) {
        return Some(seconds);
    }
    let mut seconds = 0u32;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let unit = match rest[digits].to_ascii_lowercase() {
            b'w' => 7 * DAY,
            b'd' => DAY,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        let part = read_number(&rest[..digits])?.checked_mul(unit)?;
        seconds = seconds.checked_add(part)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(seconds)
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

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn number_or_mnemonic(text: &[u8], mnemonics: &[(&str, u16)]) -> Option<u16> {
    let known = mnemonics
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(text));
    match known {
        Some((_, number)) => Some(*number),
        None => u16::try_from(read_number(text)?).ok(),
    }
}

/// IANA registry "DNS Security Algorithm Numbers".
const ALGORITHMS: &[(&str, u16)] = &[
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
const CERTIFICATE_TYPES: &[(&str, u16)] = &[
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

/// RFC 6742 section 2.1.2: four groups of up to four hexadecimal digits.
fn read_locator(text: &[u8]) -> Option<[u8; 8]> {
    let mut locator = [0; 8];
    let mut groups = text.split(|byte| *byte == b':');
    for place in locator.chunks_exact_mut(2) {
        let group = groups.next()?;
        if group.is_empty() || group.len() > 4 || !group.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let digits = std::str::from_utf8(group).ok()?;
        place.copy_from_slice(&u16::from_str_radix(digits, 16).ok()?.to_be_bytes());
    }
    groups.next().is_none().then_some(locator)
}

/// RFC 7043 sections 3.2 and 4.2.
fn read_eui<const SIZE: usize>(text: &[u8]) -> Option<[u8; SIZE]> {
    let mut address = [0; SIZE];
    let mut pairs = text.split(|byte| *byte == b'-');
    for place in &mut address {
        let pair = HEXLOWER_PERMISSIVE.decode(pairs.next()?).ok()?;
        let &[byte] = pair.as_slice() else {
            return None;
        };
        *place = byte;
    }
    pairs.next().is_none().then_some(address)
}

/// RFC 1706 section 7: dots between the digits mean nothing.
fn read_nsap(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text
        .strip_prefix(b"0x")
        .or_else(|| text.strip_prefix(b"0X"))?;
    let digits: Vec<u8> = digits
        .iter()
        .copied()
        .filter(|byte| *byte != b'.')
        .collect();
    HEXLOWER_PERMISSIVE.decode(&digits).ok()
}

/// RFC 3123 section 5: one item, in wire format.
fn read_prefix(text: &[u8]) -> Option<Vec<u8>> {
    let (negation, text) = match text.strip_prefix(b"!") {
        Some(text) => (0x80, text),
        None => (0, text),
    };
    let (family, text) = text.split_at_checked(2)?;
    let slash = text.iter().position(|byte| *byte == b'/')?;
    let prefix = u8::try_from(read_number(&text[slash + 1..])?).ok()?;
    let (number, address) = match family {
        b"1:" => (1, parse::<Ipv4Addr>(&text[..slash])?.octets().to_vec()),
        b"2:" => (2, parse::<Ipv6Addr>(&text[..slash])?.octets().to_vec()),
        _ => return None,
    };
    if usize::from(prefix) > address.len() * 8 {
        return None;
    }
    let size = address
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let mut item = vec![0, number, prefix, negation | size as u8];
    item.extend_from_slice(&address[..size]);
    Some(item)
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
