//! RDATA as text, field by field.

use super::time::print_time;
use crate::location;
use crate::name::{print_wire, wire_size};
use crate::rdata;
use crate::rtype::Rtype;
use crate::schema::{Field, NameRule, schema};
use crate::svcparams;
use data_encoding::{BASE32_DNSSEC, BASE64, HEXUPPER};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

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

fn set_bits(bitmap: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let bits = (0..bitmap.len() * 8).filter(|bit| bitmap[bit / 8] & 0x80 >> (bit % 8) != 0);
    bits.map(|bit| bit as u16)
}

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
