//! A difference as lines for people.

use zones::Record;
use zones::version::Delta;
use zones::zonefile::print_record;

/// Lines with `-` and `+` before records in presentation format, by owner name; of one name first
/// what goes.
pub fn lines(delta: &Delta) -> impl Iterator<Item = String> + '_ {
    let mut removed = delta.removed.iter().peekable();
    let mut added = delta.added.iter().peekable();
    std::iter::from_fn(move || {
        let is_removed = match (removed.peek(), added.peek()) {
            (Some(removed), Some(added)) => removed.owner <= added.owner,
            (removed, _) => removed.is_some(),
        };
        match is_removed {
            true => removed.next().map(|record| line('-', record)),
            false => added.next().map(|record| line('+', record)),
        }
    })
}

/// One of these lines.
#[must_use]
pub fn line(sign: char, record: &Record) -> String {
    let mut line = format!("{sign} ");
    print_record(record, &mut line);
    line
}
