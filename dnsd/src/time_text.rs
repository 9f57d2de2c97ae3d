//! Times as people read them.

use std::time::Duration;

/// A wall time since the Unix epoch as `2026-11-24T14:00:00.123Z` (RFC 3339).
#[must_use]
pub fn utc(wall: Duration) -> String {
    let (days, second) = (wall.as_secs() / 86_400, wall.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        wall.subsec_millis()
    )
}

/// A length of time with its two greatest units, as `2 h 3 min`; below a minute in seconds or
/// milliseconds.
#[must_use]
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let two = |size: u64, unit: &str, part_size: u64, part_unit: &str| {
        format!(
            "{} {unit} {} {part_unit}",
            seconds / size,
            seconds % size / part_size
        )
    };
    match seconds {
        0 => format!("{:.1} ms", length.as_secs_f64() * 1e3),
        1..60 => format!("{:.1} s", length.as_secs_f64()),
        60..3600 => two(60, "min", 1, "s"),
        3600..86_400 => two(3600, "h", 60, "min"),
        _ => two(86_400, "d", 3600, "h"),
    }
}

/// Reads a length of time as operators write it: `90`, `90s`, `15m`, `1h`, `7d`.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    Some(Duration::from_secs(seconds))
}

/// Year, month and day of the Gregorian calendar. Years are counted from March, so that the leap
/// day is the last one of its year, and in cycles of 400 years, which have equal lengths.
fn date(days_since_epoch: u64) -> (u64, u64, u64) {
    /// From 1 March 0000 to 1 January 1970.
    const EPOCH: u64 = 719_468;
    const DAYS_OF_CYCLE: u64 = 146_097;
    let days = days_since_epoch + EPOCH;
    let (cycle, day_of_cycle) = (days / DAYS_OF_CYCLE, days % DAYS_OF_CYCLE);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Five months from March on have 153 days, again and again.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times_are_dates() {
        let check = |seconds, expected: &str| {
            assert_eq!(
                utc(Duration::from_secs(seconds)),
                format!("{expected}.000Z")
            );
        };
        check(0, "1970-01-01T00:00:00");
        check(951_782_399, "2000-02-28T23:59:59");
        check(951_782_400, "2000-02-29T00:00:00");
        check(951_868_800, "2000-03-01T00:00:00");
        check(1_795_528_800, "2026-11-24T14:00:00");
        check(4_107_542_400, "2100-03-01T00:00:00");
        assert_eq!(
            utc(Duration::from_millis(1_001)),
            "1970-01-01T00:00:01.001Z"
        );
    }

    #[test]
    fn spans_are_read_and_printed() {
        let check = |text: &str, seconds| {
            assert_eq!(
                parse_span(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        };
        check("90", 90);
        check("90s", 90);
        check("15m", 900);
        check("1h", 3600);
        check("7d", 604_800);
        for bad in ["", "h", "1w", "-1s", "1.5h", "99999999999999999999", "1 h"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        let check = |millis, expected: &str| {
            assert_eq!(span(Duration::from_millis(millis)), expected);
        };
        check(12, "12.0 ms");
        check(1_500, "1.5 s");
        check(61_000, "1 min 1 s");
        check(7_380_000, "2 h 3 min");
        check(90_000_000, "1 d 1 h");
    }
}
