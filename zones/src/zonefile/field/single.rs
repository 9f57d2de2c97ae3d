//! Fields that one type alone has: how each is read.

use super::Reader;
use super::words::{PROTOCOLS, SERVICES, number_or_mnemonic, parse, read_number, read_rtype};
use crate::schema::Field;
use crate::zonefile::lexer::Fault;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use std::net::{Ipv4Addr, Ipv6Addr};

impl Reader<'_, '_> {
    /// RFC 3123 section 5: `[!]family:address/prefix`, none or more.
    pub(super) fn prefixes(&mut self) -> Result<(), Fault> {
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
    pub(super) fn gateway(&mut self) -> Result<(), Fault> {
        let kind = self.number(3, "a gateway type from 0 to 3")?;
        self.rdata.push(kind as u8);
        self.u8("an algorithm from 0 to 255")?;
        self.host(kind)
    }

    /// RFC 8777 section 4.3.1: whether discovery is optional, the relay's type, then as above.
    pub(super) fn relay(&mut self) -> Result<(), Fault> {
        let discovery = self.number(1, "0 or 1 for the discovery bit")?;
        let kind = self.number(3, "a relay type from 0 to 3")?;
        self.rdata.push((discovery << 7 | kind) as u8);
        self.host(kind)
    }

    /// Nobody, an address or a name.
    pub(super) fn host(&mut self, kind: u32) -> Result<(), Fault> {
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
    pub(super) fn services(&mut self) -> Result<(), Fault> {
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
    pub(super) fn old_types(&mut self) -> Result<(), Fault> {
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
    pub(super) fn address_in_parts(&mut self) -> Result<(), Fault> {
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
    pub(super) fn atm_address(&mut self) -> Result<(), Fault> {
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
    pub(super) fn host_identity(&mut self) -> Result<(), Fault> {
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

/// Makes the bitmap as long as it must be for this bit.
pub(super) fn set_bit(bitmap: &mut Vec<u8>, bit: u16) {
    let at = usize::from(bit / 8);
    if bitmap.len() <= at {
        bitmap.resize(at + 1, 0);
    }
    bitmap[at] |= 0x80 >> (bit % 8);
}

/// RFC 6742 section 2.1.2: four groups of up to four hexadecimal digits.
pub(super) fn read_locator(text: &[u8]) -> Option<[u8; 8]> {
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
pub(super) fn read_eui<const SIZE: usize>(text: &[u8]) -> Option<[u8; SIZE]> {
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
pub(super) fn read_nsap(text: &[u8]) -> Option<Vec<u8>> {
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
pub(super) fn read_prefix(text: &[u8]) -> Option<Vec<u8>> {
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
