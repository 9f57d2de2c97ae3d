//! The service parameters of SVCB and HTTPS (RFC 9460): wire check, text in, text out.
//!
//! On the wire a parameter is a key, a length and a value, keys in ascending order.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;

use crate::name::unescape;
use crate::rdata::RdataError;
use crate::zonefile::field::{print_escaped, unescape_into};
use crate::zonefile::lexer::{Fault, Lexer, Position, shown};

/// RFC 9460 section 14.3.2, RFC 9461 (dohpath), RFC 9540 (ohttp).
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;

const KEYS: &[(&str, u16)] = &[
    ("mandatory", MANDATORY),
    ("alpn", ALPN),
    ("no-default-alpn", NO_DEFAULT_ALPN),
    ("port", PORT),
    ("ipv4hint", IPV4HINT),
    ("ech", ECH),
    ("ipv6hint", IPV6HINT),
    ("dohpath", DOHPATH),
    ("ohttp", OHTTP),
];

/// Keys above this one are printed by number, because other servers may not know their names.
const KEY_PRINTED_BY_NAME_MAX: u16 = DOHPATH;

/// Checks parameters that go to the end of `wire`; returns their size.
pub(crate) fn check(wire: &[u8]) -> Result<usize, RdataError> {
    let bad = RdataError::Field;
    let mut last = None;
    for param in params(wire) {
        let (key, value) = param?;
        if last.is_some_and(|last| key <= last) {
            return Err(bad("service parameters in ascending order, each key once"));
        }
        last = Some(key);
        let is_right = match key {
            MANDATORY => check_mandatory(wire, value).map(|()| true)?,
            ALPN => {
                !value.is_empty() && alpn_ids(value).all(|id| id.is_some_and(|id| !id.is_empty()))
            }
            NO_DEFAULT_ALPN | OHTTP => value.is_empty(),
            PORT => value.len() == 2,
            IPV4HINT => !value.is_empty() && value.len() % 4 == 0,
            IPV6HINT => !value.is_empty() && value.len() % 16 == 0,
            // RFC 9461 section 5: a URI template in UTF-8 that uses the variable dns.
            DOHPATH => std::str::from_utf8(value).is_ok_and(|path| path.contains("{?dns}")),
            _ => true,
        };
        if !is_right {
            return Err(bad(match key {
                ALPN => "one protocol in alpn or more, none empty",
                NO_DEFAULT_ALPN | OHTTP => "no value with this key",
                PORT => "a port of two bytes",
                IPV4HINT => "IPv4 addresses",
                IPV6HINT => "IPv6 addresses",
                _ => "a path with `{?dns}` in dohpath",
            }));
        }
    }
    // RFC 9460 section 7.1.1.
    if find(wire, NO_DEFAULT_ALPN).is_some() && find(wire, ALPN).is_none() {
        return Err(bad("alpn beside no-default-alpn"));
    }
    Ok(wire.len())
}

/// RFC 9460 section 8: keys in ascending order, each present, mandatory itself not among them.
fn check_mandatory(wire: &[u8], value: &[u8]) -> Result<(), RdataError> {
    if value.is_empty() || !value.len().is_multiple_of(2) {
        return Err(RdataError::Field("keys in mandatory"));
    }
    let mut last = MANDATORY;
    // Both lists ascend, so one walk over the parameters finds all.
    let mut present = params(wire).map_while(Result::ok);
    for key in value.chunks_exact(2) {
        let key = u16::from_be_bytes([key[0], key[1]]);
        if key <= last {
            return Err(RdataError::Field(
                "other keys in mandatory, in ascending order",
            ));
        }
        if !present.any(|(present, _)| present == key) {
            return Err(RdataError::Field("every key that mandatory lists"));
        }
        last = key;
    }
    Ok(())
}

fn find(wire: &[u8], wanted: u16) -> Option<&[u8]> {
    params(wire)
        .map_while(Result::ok)
        .find(|(key, _)| *key == wanted)
        .map(|(_, value)| value)
}

fn params(wire: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), RdataError>> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((&[k1, k2, l1, l2], more)) = rest.split_first_chunk::<4>() else {
            rest = &[];
            return Some(Err(RdataError::Truncated));
        };
        let length = usize::from(u16::from_be_bytes([l1, l2]));
        let Some((value, more)) = more.split_at_checked(length) else {
            rest = &[];
            return Some(Err(RdataError::Truncated));
        };
        rest = more;
        Some(Ok((u16::from_be_bytes([k1, k2]), value)))
    })
}

/// The protocols of alpn; none for one that is cut short.
fn alpn_ids(value: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (length, more) = rest.split_first()?;
        let Some((id, more)) = more.split_at_checked(usize::from(*length)) else {
            rest = &[];
            return Some(None);
        };
        rest = more;
        Some(Some(id))
    })
}

/// Reads parameters to the end of the entry, in any order (RFC 9460 section 2.1).
pub(crate) fn read(lexer: &mut Lexer<'_>, rdata: &mut Vec<u8>) -> Result<(), Fault> {
    let mut params: Vec<(u16, Vec<u8>)> = Vec::new();
    while let Some(token) = lexer.pair()? {
        let split = token.text.iter().position(|byte| *byte == b'=');
        let (name, text) = match split {
            Some(at) => (&token.text[..at], Some(unquoted(&token.text[at + 1..]))),
            None => (token.text, None),
        };
        let Some((key, kind)) = (!token.is_quoted).then(|| key_of(name)).flatten() else {
            return Err(token.unexpected("a service parameter such as `port=53`"));
        };
        if params.iter().any(|(other, _)| *other == key) {
            return Err(Fault::new(
                token.at,
                format!("the key {} stands twice", shown(name)),
            ));
        }
        params.push((key, read_value(kind, text, token.at)?));
    }
    params.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in params {
        let length = u16::try_from(value.len())
            .map_err(|_| lexer.fault("a service parameter is longer than 65535 bytes"))?;
        rdata.extend_from_slice(&key.to_be_bytes());
        rdata.extend_from_slice(&length.to_be_bytes());
        rdata.extend_from_slice(&value);
    }
    Ok(())
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

/// The key and how its value is written; `keyNNNNN` takes plain bytes whatever the key is.
fn key_of(name: &[u8]) -> Option<(u16, Option<u16>)> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some((_, key)) = KEYS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
    {
        return Some((*key, Some(*key)));
    }
    let (prefix, number) = name.split_at_checked(3)?;
    let is_plain = number == "0" || !number.starts_with(['0', '+']);
    if !prefix.eq_ignore_ascii_case("key") || !is_plain {
        return None;
    }
    Some((number.parse().ok()?, None))
}

fn read_value(kind: Option<u16>, text: Option<&[u8]>, at: Position) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let text = text.unwrap_or_default();
    unescape_into(text, &mut bytes).map_err(|message| Fault::new(at, message))?;
    let wrong = |expected: &str| {
        Fault::new(
            at,
            format!("unexpected {}, expected {expected}", shown(text)),
        )
    };
    let words = || std::str::from_utf8(&bytes).map(|text| text.split(','));
    Ok(match kind {
        Some(MANDATORY) => {
            let expected = "keys with commas between them";
            let mut keys = Vec::new();
            for word in bytes.split(|byte| *byte == b',') {
                keys.push(key_of(word).ok_or_else(|| wrong(expected))?.0);
            }
            keys.sort_unstable();
            keys.iter().flat_map(|key| key.to_be_bytes()).collect()
        }
        Some(ALPN) => {
            read_alpn(&bytes).ok_or_else(|| wrong("protocols with commas between them"))?
        }
        Some(PORT) => {
            let port = std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.parse::<u16>().ok());
            port.ok_or_else(|| wrong("a port from 0 to 65535"))?
                .to_be_bytes()
                .to_vec()
        }
        Some(IPV4HINT) => {
            let addresses: Option<Vec<[u8; 4]>> = words().ok().and_then(|mut words| {
                words.try_fold(Vec::new(), |mut all, word| {
                    all.push(word.parse::<Ipv4Addr>().ok()?.octets());
                    Some(all)
                })
            });
            addresses
                .ok_or_else(|| wrong("IPv4 addresses with commas between them"))?
                .concat()
        }
        Some(IPV6HINT) => {
            let addresses: Option<Vec<[u8; 16]>> = words().ok().and_then(|mut words| {
                words.try_fold(Vec::new(), |mut all, word| {
                    all.push(word.parse::<Ipv6Addr>().ok()?.octets());
                    Some(all)
                })
            });
            addresses
                .ok_or_else(|| wrong("IPv6 addresses with commas between them"))?
                .concat()
        }
        Some(ECH) => BASE64.decode(&bytes).map_err(|_| wrong("base64"))?,
        _ => bytes,
    })
}

/// RFC 9460 appendix A.1: a list with commas, where `\,` and `\\` stand for themselves.
fn read_alpn(text: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0];
    let mut start = 0;
    let mut at = 0;
    let close = |value: &mut Vec<u8>, start: usize| {
        value[start] = u8::try_from(value.len() - start - 1)
            .ok()
            .filter(|size| *size > 0)?;
        Some(())
    };
    while at < text.len() {
        match text[at] {
            b',' => {
                close(&mut value, start)?;
                start = value.len();
                value.push(0);
                at += 1;
            }
            b'\\' => {
                let (byte, size) = unescape(&text[at..])?;
                value.push(byte);
                at += size;
            }
            byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
    close(&mut value, start)?;
    Some(value)
}

/// Prints parameters that passed [`check`], each with a blank before it.
pub(crate) fn print(wire: &[u8], out: &mut String) {
    for (key, value) in params(wire).map_while(Result::ok) {
        out.push(' ');
        print_key(key, out);
        let kind = if key <= KEY_PRINTED_BY_NAME_MAX {
            Some(key)
        } else {
            None
        };
        match kind {
            Some(NO_DEFAULT_ALPN) => continue,
            None if value.is_empty() => continue,
            _ => out.push('='),
        }
        match kind {
            Some(MANDATORY) => print_list(out, value.chunks_exact(2), |key, out| {
                print_key(u16::from_be_bytes([key[0], key[1]]), out);
            }),
            Some(ALPN) => {
                let mut list = Vec::new();
                for id in alpn_ids(value).flatten() {
                    if !list.is_empty() {
                        list.push(b',');
                    }
                    for byte in id {
                        if matches!(byte, b',' | b'\\') {
                            list.push(b'\\');
                        }
                        list.push(*byte);
                    }
                }
                print_quoted(&list, out);
            }
            Some(PORT) => print_list(out, value.chunks_exact(2), |port, out| {
                let _infallible = write!(out, "{}", u16::from_be_bytes([port[0], port[1]]));
            }),
            Some(IPV4HINT) => print_list(out, value.as_chunks::<4>().0.iter(), |address, out| {
                let _infallible = write!(out, "{}", Ipv4Addr::from(*address));
            }),
            Some(IPV6HINT) => print_list(out, value.as_chunks::<16>().0.iter(), |address, out| {
                let _infallible = write!(out, "{}", Ipv6Addr::from(*address));
            }),
            Some(ECH) => out.push_str(&BASE64.encode(value)),
            _ => print_quoted(value, out),
        }
    }
}

fn print_key(key: u16, out: &mut String) {
    match KEYS.get(usize::from(key)) {
        Some((name, _)) if key <= KEY_PRINTED_BY_NAME_MAX => out.push_str(name),
        _ => {
            let _infallible = write!(out, "key{key}");
        }
    }
}

fn print_list<T>(out: &mut String, items: impl Iterator<Item = T>, print: impl Fn(T, &mut String)) {
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        print(item, out);
    }
}

fn print_quoted(bytes: &[u8], out: &mut String) {
    out.push('"');
    print_escaped(bytes, out);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<u8>, String> {
        let mut rdata = Vec::new();
        read(&mut Lexer::new(text.as_bytes()), &mut rdata).map_err(|fault| fault.message)?;
        check(&rdata).map_err(|error| error.to_string())?;
        Ok(rdata)
    }

    #[test]
    fn parameters_are_read_and_printed() {
        let one = |text: &str, printed: &str| {
            let wire = read_text(text).unwrap();
            let mut out = String::new();
            print(&wire, &mut out);
            assert_eq!(out, printed, "{text}");
            assert_eq!(read_text(&out), Ok(wire));
        };
        one("", "");
        one("port=53", " port=53");
        one("port=\"53\" alpn=h2", " alpn=\"h2\" port=53");
        one(
            "alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1,192.0.2.2",
            " mandatory=alpn,ipv4hint alpn=\"h2,h3-19\" ipv4hint=192.0.2.1,192.0.2.2",
        );
        // RFC 9460 appendix D.2, figure 9 and 10.
        one(r#"alpn="f\\\\oo\\,bar,h2""#, r#" alpn="f\\\\oo\\,bar,h2""#);
        one(r"alpn=f\\\092oo\092,bar,h2", r#" alpn="f\\\\oo\\,bar,h2""#);
        one("key667=\"hello\\210qoo\"", " key667=\"hello\\210qoo\"");
        one("key667", " key667");
        one(
            "ipv6hint=2001:db8::1,2001:db8::53:1",
            " ipv6hint=2001:db8::1,2001:db8::53:1",
        );
        one(
            "alpn=h2 no-default-alpn ech=AEn+",
            " alpn=\"h2\" no-default-alpn ech=AEn+",
        );
        one("dohpath=/dns-query{?dns}", " dohpath=\"/dns-query{?dns}\"");
        one(r"key3=\002\001", " port=513");
        one("ohttp", " key8");
        one("ech", " ech=");
    }

    #[test]
    fn bad_parameters_are_refused() {
        let one = |text: &str, part: &str| {
            let message = read_text(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        };
        one("port=1 port=2", "stands twice");
        one("port=65536", "a port from 0");
        one("port", "a port from 0");
        one("mandatory=port", "every key");
        one("mandatory=mandatory", "other keys");
        one("mandatory", "keys with commas");
        one("alpn=", "protocols");
        one("alpn=a,,b", "protocols");
        one("no-default-alpn", "alpn beside");
        one("no-default-alpn=x alpn=h2", "no value");
        one("ipv4hint=192.0.2.1,", "IPv4 addresses");
        one("ipv6hint=192.0.2.1", "IPv6 addresses");
        one("ech=!", "base64");
        one("key01=a", "a service parameter");
        one("key65536=a", "a service parameter");
        one("bogus=1", "a service parameter");
        one("\"port=1\"", "a service parameter");
        one("dohpath=/", "a path");
    }

    #[test]
    fn wire_is_checked() {
        let one = |wire: &[u8], is_right| assert_eq!(check(wire).is_ok(), is_right, "{wire:x?}");
        one(&[0, 3, 0, 2, 0, 53], true);
        one(&[0, 3, 0, 2, 0], false);
        one(&[0, 3, 0], false);
        one(&[0, 3, 0, 1, 53], false);
        one(&[0, 9, 0, 0, 0, 3, 0, 2, 0, 53], false);
        one(&[0, 1, 0, 3, 2, b'h', b'2'], true);
        one(&[0, 1, 0, 3, 3, b'h', b'2'], false);
        one(&[0, 1, 0, 1, 0], false);
    }
}
