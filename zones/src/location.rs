//! LOC (RFC 1876): a place on Earth in sixteen bytes, its wire check, text in, text out.
//!
//! ```text
//! version 0 | size | horizontal precision | vertical precision | latitude | longitude | altitude
//! ```
//! Sizes are a digit times a power of ten in centimetres; angles are thousandths of a second of
//! arc from 2³¹; the altitude is in centimetres from 100 km below the ellipsoid.

use std::fmt::Write;

use crate::rdata::RdataError;
use crate::zonefile::lexer::{Fault, Lexer, Token};

const SIZE: usize = 16;
/// The equator and the prime meridian.
const ZERO_ANGLE: u32 = 1 << 31;
const DEGREE: u32 = 3_600_000;
const LATITUDE_MAX: u32 = 90 * DEGREE;
const LONGITUDE_MAX: u32 = 180 * DEGREE;
/// RFC 1876 section 2: 100 000 m below the reference spheroid.
const ALTITUDE_BASE: i64 = 10_000_000;
/// RFC 1876 section 3: 1 m, 10 000 m, 10 m where the text leaves them out.
const SIZES_DEFAULT: [u8; 3] = [0x12, 0x16, 0x13];
/// Nine times ten to the ninth centimetres.
const SIZE_CENTIMETRES_MAX: i64 = 9_000_000_000;

/// Checks a location at the start of `wire`; returns its size.
pub(crate) fn check(wire: &[u8]) -> Result<usize, RdataError> {
    let Some(location) = wire.first_chunk::<SIZE>() else {
        return Err(RdataError::Truncated);
    };
    if location[0] != 0 {
        return Err(RdataError::Field("version 0 of a location"));
    }
    for size in &location[1..4] {
        let (digit, exponent) = (size >> 4, size & 0x0f);
        if digit > 9 || exponent > 9 || (digit == 0 && exponent > 0) {
            return Err(RdataError::Field("sizes of one digit and a power of ten"));
        }
    }
    let (latitude, longitude, _) = angles_and_altitude(location);
    if latitude.abs_diff(ZERO_ANGLE) > LATITUDE_MAX {
        return Err(RdataError::Field("a latitude up to 90 degrees"));
    }
    if longitude.abs_diff(ZERO_ANGLE) > LONGITUDE_MAX {
        return Err(RdataError::Field("a longitude up to 180 degrees"));
    }
    Ok(SIZE)
}

fn angles_and_altitude(location: &[u8; SIZE]) -> (u32, u32, u32) {
    let [.., a, b, c, d, e, f, g, h, i, j, k, l] = *location;
    (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
        u32::from_be_bytes([i, j, k, l]),
    )
}

/// Reads `d [m [s]] N|S d [m [s]] E|W altitude [size [horizontal [vertical]]]`.
pub(crate) fn read(lexer: &mut Lexer<'_>, rdata: &mut Vec<u8>) -> Result<(), Fault> {
    let latitude = read_angle(lexer, [b'N', b'S'], LATITUDE_MAX)?;
    let longitude = read_angle(lexer, [b'E', b'W'], LONGITUDE_MAX)?;
    let altitude_expected = "an altitude in metres such as `-24.5m`";
    let token = lexer.expect(altitude_expected)?;
    let altitude = centimetres(&token)
        .and_then(|value| u32::try_from(value + ALTITUDE_BASE).ok())
        .ok_or_else(|| token.unexpected(altitude_expected))?;
    let mut sizes = SIZES_DEFAULT;
    for size in &mut sizes {
        let Some(token) = lexer.token()? else { break };
        *size = centimetres(&token)
            .and_then(size_from)
            .ok_or_else(|| token.unexpected("a size in metres up to 90000000.00m"))?;
    }
    rdata.push(0);
    rdata.extend_from_slice(&sizes);
    for number in [latitude, longitude, altitude] {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

/// An angle up to its direction letter, positive for the first one.
fn read_angle(lexer: &mut Lexer<'_>, letters: [u8; 2], max: u32) -> Result<u32, Fault> {
    let [positive, negative] = letters.map(char::from);
    let expected = format!("degrees, minutes, seconds and then {positive} or {negative}");
    let mut angle = 0;
    // Degrees, minutes, seconds, each with the largest value it may have and its unit.
    let places = [
        (max / DEGREE, DEGREE),
        (59, DEGREE / 60),
        (59, DEGREE / 3600),
    ];
    for (i, (number_max, unit)) in places.iter().enumerate() {
        let token = lexer.expect(&expected)?;
        if i > 0
            && let Some(direction) = direction(&token, letters)
        {
            return place(angle, direction, max).ok_or_else(|| token.unexpected(&expected));
        }
        let digits_max = if i == 2 { 3 } else { 0 };
        let value = decimal(token.text, digits_max)
            .filter(|value| !token.is_quoted && *value < i64::from(number_max + 1) * 1000)
            .ok_or_else(|| token.unexpected(&expected))?;
        // `decimal` gives thousandths when it reads three digits after the point.
        angle += (value * i64::from(*unit) / 1000) as u32;
    }
    let token = lexer.expect(&expected)?;
    direction(&token, letters)
        .and_then(|direction| place(angle, direction, max))
        .ok_or_else(|| token.unexpected(&expected))
}

#[derive(Clone, Copy)]
enum Direction {
    Positive,
    Negative,
}

fn direction(token: &Token<'_>, [positive, negative]: [u8; 2]) -> Option<Direction> {
    let &[letter] = token.text else { return None };
    match letter.to_ascii_uppercase() {
        letter if letter == positive => Some(Direction::Positive),
        letter if letter == negative => Some(Direction::Negative),
        _ => None,
    }
}

fn place(angle: u32, direction: Direction, max: u32) -> Option<u32> {
    if angle > max {
        return None;
    }
    Some(match direction {
        Direction::Positive => ZERO_ANGLE + angle,
        Direction::Negative => ZERO_ANGLE - angle,
    })
}

/// Metres with up to two digits after the point and perhaps an `m`, as centimetres.
fn centimetres(token: &Token<'_>) -> Option<i64> {
    if token.is_quoted {
        return None;
    }
    let text = token
        .text
        .strip_suffix(b"m")
        .or_else(|| token.text.strip_suffix(b"M"));
    let text = text.unwrap_or(token.text);
    let (sign, text) = match text {
        [b'-', text @ ..] => (-1, text),
        [b'+', text @ ..] => (1, text),
        _ => (1, text),
    };
    Some(sign * decimal(text, 2)? / 10)
}

/// A decimal number in thousandths, with at most so many digits after the point.
fn decimal(text: &[u8], digits_max: usize) -> Option<i64> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    let is_number = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    // Eight digits of metres are the most that any field holds.
    let is_right = !whole.is_empty() && whole.len() <= 8 && fraction.len() <= digits_max;
    if !is_right || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let padded = fraction.iter().chain(b"000").take(3);
    Some(
        whole
            .iter()
            .chain(padded)
            .fold(0, |value, digit| value * 10 + i64::from(digit - b'0')),
    )
}

/// A size as a digit and a power of ten; lower digits are cut off, as RFC 1876 appendix A does.
fn size_from(centimetres: i64) -> Option<u8> {
    let mut digit = u64::try_from(centimetres).ok()?;
    if centimetres > SIZE_CENTIMETRES_MAX {
        return None;
    }
    let mut exponent = 0;
    while digit > 9 {
        digit /= 10;
        exponent += 1;
    }
    Some((digit as u8) << 4 | exponent)
}

/// Prints a location that passed [`check`].
pub(crate) fn print(wire: &[u8], out: &mut String) {
    let Some(location) = wire.first_chunk::<SIZE>() else {
        return;
    };
    let (latitude, longitude, altitude) = angles_and_altitude(location);
    print_angle(latitude, ['N', 'S'], out);
    print_angle(longitude, ['E', 'W'], out);
    print_metres(i64::from(altitude) - ALTITUDE_BASE, out);
    for size in &location[1..4] {
        out.push(' ');
        print_metres(
            i64::from(size >> 4) * 10_i64.pow(u32::from(size & 0x0f)),
            out,
        );
    }
}

fn print_angle(value: u32, [positive, negative]: [char; 2], out: &mut String) {
    let letter = if value >= ZERO_ANGLE {
        positive
    } else {
        negative
    };
    let angle = value.abs_diff(ZERO_ANGLE);
    let (degrees, minutes) = (angle / DEGREE, angle / 60_000 % 60);
    let (seconds, thousandths) = (angle / 1000 % 60, angle % 1000);
    let _infallible = write!(
        out,
        "{degrees} {minutes} {seconds}.{thousandths:03} {letter} "
    );
}

fn print_metres(centimetres: i64, out: &mut String) {
    let sign = if centimetres < 0 { "-" } else { "" };
    let size = centimetres.unsigned_abs();
    let _infallible = write!(out, "{sign}{}.{:02}m", size / 100, size % 100);
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
    fn locations_are_read_and_printed() {
        let one = |text: &str, printed: &str| {
            let wire = read_text(text).unwrap();
            let mut out = String::new();
            print(&wire, &mut out);
            assert_eq!(out, printed, "{text}");
            assert_eq!(read_text(&out), Ok(wire));
        };
        // The examples of RFC 1876 section 3.
        one(
            "42 21 54 N 71 06 18 W -24m 30m",
            "42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m",
        );
        one(
            "42 21 43.952 N 71 5 6.344 W -24m 1m 200m",
            "42 21 43.952 N 71 5 6.344 W -24.00m 1.00m 200.00m 10.00m",
        );
        one(
            "52 14 05 N 00 08 50 E 10m",
            "52 14 5.000 N 0 8 50.000 E 10.00m 1.00m 10000.00m 10.00m",
        );
        one(
            "32 7 S 116 2 E 10",
            "32 7 0.000 S 116 2 0.000 E 10.00m 1.00m 10000.00m 10.00m",
        );
        one(
            "90 n 180 w -100000.00m 0m 0.01m 90000000m",
            "90 0 0.000 N 180 0 0.000 W -100000.00m 0.00m 0.01m 90000000.00m",
        );
        one(
            "0 0 0.5 S 0 E 42849672.95 15m",
            "0 0 0.500 S 0 0 0.000 E 42849672.95m 10.00m 10000.00m 10.00m",
        );
    }

    #[test]
    fn bad_locations_are_refused() {
        let one = |text: &str| assert!(read_text(text).is_err(), "{text}");
        one("");
        one("91 N 0 E 0m");
        one("90 0 1 N 0 E 0m");
        one("1 60 N 0 E 0m");
        one("1 1 60 N 0 E 0m");
        one("1 1 1.2345 N 0 E 0m");
        one("1 1.5 N 0 E 0m");
        one("1 1 1 1 N 0 E 0m");
        one("1 N 181 E 0m");
        one("1 N 1 E");
        one("N 1 E 0m");
        one("1 N 1 E -100000.01m");
        one("1 N 1 E 42849672.96m");
        one("1 N 1 E 0m 90000000.01m");
        one("1 N 1 E 0m -1m");
        one("1 E 1 N 0m");
    }

    #[test]
    fn wire_is_checked() {
        let mut wire = read_text("0 N 0 E 0m").unwrap();
        assert_eq!(check(&wire), Ok(16));
        assert!(check(&wire[..15]).is_err());
        for bad in [0xa0, 0x0a, 0x05] {
            wire[2] = bad;
            assert!(check(&wire).is_err());
        }
        wire[2] = 0;
        wire[4] = 0xff;
        assert!(check(&wire).is_err());
    }
}
