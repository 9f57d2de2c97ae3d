//! Times and spans of time.

use super::words::read_number;
use std::fmt::Write;

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

/// Fourteen digits are a date, up to ten are seconds (RFC 4034 section 3.2). Times after 2106
/// come round, as RFC 1982 compares them.
pub(super) fn read_time(text: &[u8]) -> Option<u32> {
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

/// RFC 4034 section 3.2: YYYYMMDDHHmmSS in UTC.
pub(super) fn print_time(time: u32, out: &mut String) {
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

pub(super) const DAY: u32 = 86_400;

pub(super) fn year_days(year: u32) -> u32 {
    if is_leap_year(year) { 366 } else { 365 }
}

pub(super) fn month_days(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(super) fn is_leap_year(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}
