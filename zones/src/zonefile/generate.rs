//! `$GENERATE`: the numbers it counts and how they stand in its texts, as BIND has them.

use std::io::Write;

use crate::zonefile::field::read_number;

/// How many records a zone may generate: one for each address of a /8.
pub(crate) const GENERATED_MAX: u64 = 1 << 24;
/// Wider than any number or any chain of nibbles that fits a name.
const WIDTH_MAX: usize = 128;

/// `start-stop[/step]`, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    next: u32,
    stop: u32,
    step: u32,
}

impl Range {
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|byte| *byte == b'-')?;
        let (stop, step) = match text.iter().position(|byte| *byte == b'/') {
            Some(slash) => (text.get(dash + 1..slash)?, read_number(&text[slash + 1..])?),
            None => (&text[dash + 1..], 1),
        };
        let range = Self {
            next: read_number(&text[..dash])?,
            stop: read_number(stop)?,
            step,
        };
        let is_right = range.next <= range.stop && range.stop <= i32::MAX as u32;
        (is_right && (1..=i32::MAX as u32).contains(&step)).then_some(range)
    }

    pub(crate) fn count(self) -> u64 {
        u64::from((self.stop - self.next) / self.step) + 1
    }
}

impl Iterator for Range {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let number = self.next;
        if number > self.stop {
            return None;
        }
        // Both are below 2³¹.
        self.next = number + self.step;
        Some(number)
    }
}

/// Appends `template` with `number` in place of each `$` or `${offset[,width[,base]]}`. `$$` is
/// one `$`; a backslash keeps the next byte as it is. An error says what was expected.
pub(crate) fn substitute(
    template: &[u8],
    number: u32,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let mut rest = template;
    while let Some((byte, more)) = rest.split_first() {
        rest = more;
        match (byte, more.first()) {
            (b'\\', Some(escaped)) => {
                out.extend_from_slice(&[b'\\', *escaped]);
                rest = &more[1..];
            }
            (b'$', Some(b'$')) => {
                out.extend_from_slice(b"\\$");
                rest = &more[1..];
            }
            (b'$', Some(b'{')) => {
                let expected = "`${offset,width,base}` with a base of d, o, x, X, n or N";
                let end = more.iter().position(|byte| *byte == b'}').ok_or(expected)?;
                let format = Format::from_text(&more[1..end]).ok_or(expected)?;
                format
                    .print(number, out)
                    .ok_or("a number from -2147483648 to 2147483647")?;
                rest = &more[end + 1..];
            }
            (b'$', _) => {
                let _infallible = write!(out, "{number}");
            }
            _ => out.push(*byte),
        }
    }
    Ok(())
}

/// What stands in braces.
struct Format {
    offset: i64,
    width: usize,
    base: u8,
}

impl Format {
    fn from_text(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b',');
        let offset = parts.next()?;
        let (sign, digits) = match offset {
            [b'-', digits @ ..] => (-1, digits),
            [b'+', digits @ ..] => (1, digits),
            digits => (1, digits),
        };
        let format = Self {
            offset: sign * i64::from(read_number(digits)?),
            width: match parts.next() {
                Some(width) => read_number(width)? as usize,
                None => 0,
            },
            base: match parts.next() {
                Some(&[base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')]) => base,
                Some(_) => return None,
                None => b'd',
            },
        };
        (parts.next().is_none() && format.width <= WIDTH_MAX).then_some(format)
    }

    fn print(&self, number: u32, out: &mut Vec<u8>) -> Option<()> {
        let value = i32::try_from(i64::from(number) + self.offset).ok()?;
        // Other bases show a negative number in its 32 bits, as C does.
        let bits = value as u32;
        let width = self.width;
        // Writing to a Vec cannot fail.
        let _infallible = match self.base {
            b'o' => write!(out, "{bits:0width$o}"),
            b'x' => write!(out, "{bits:0width$x}"),
            b'X' => write!(out, "{bits:0width$X}"),
            b'n' => {
                print_nibbles(bits, width, b"0123456789abcdef", out);
                Ok(())
            }
            b'N' => {
                print_nibbles(bits, width, b"0123456789ABCDEF", out);
                Ok(())
            }
            _ => write!(out, "{value:0width$}"),
        };
        Some(())
    }
}

/// Hexadecimal digits from the last to the first with dots between them, as names below
/// ip6.arpa have them; the dots count for the width.
fn print_nibbles(bits: u32, width: usize, digits: &[u8; 16], out: &mut Vec<u8>) {
    let mut bits = bits;
    let mut width = width;
    loop {
        out.push(digits[(bits & 0x0f) as usize]);
        bits >>= 4;
        width = width.saturating_sub(1);
        if bits == 0 && width == 0 {
            return;
        }
        out.push(b'.');
        width = width.saturating_sub(1);
        // A dot at the end of the width stays: BIND prints it so.
        if bits == 0 && width == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted() {
        let check = |text: &str, expected: Option<&[u32]>| {
            let range = Range::from_text(text.as_bytes());
            assert_eq!(
                range.map(Iterator::collect::<Vec<_>>).as_deref(),
                expected,
                "{text}"
            );
            if let Some(range) = range {
                assert_eq!(range.count(), range.collect::<Vec<_>>().len() as u64);
            }
        };
        check("1-3", Some(&[1, 2, 3]));
        check("0-5/2", Some(&[0, 2, 4]));
        check("7-7/9", Some(&[7]));
        check("2147483647-2147483647", Some(&[i32::MAX as u32]));
        check("3-1", None);
        check("1-3/0", None);
        check("1", None);
        check("1-", None);
        check("-1-3", None);
        check("1-2147483648", None);
        check("1/2-3", None);
    }

    #[test]
    fn numbers_are_put_in() {
        let check = |template: &str, number, expected: Result<&str, ()>| {
            let mut out = Vec::new();
            let result = substitute(template.as_bytes(), number, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(
                result.map(|()| text.as_str()).map_err(|_| ()),
                expected,
                "{template}"
            );
        };
        check("a$b$", 7, Ok("a7b7"));
        check("$$", 7, Ok("\\$"));
        check("\\$$", 7, Ok("\\$7"));
        check("${10}", 7, Ok("17"));
        check("${-8}", 7, Ok("-1"));
        check("${0,3}", 7, Ok("007"));
        check("${0,3,d}", 7, Ok("007"));
        check("${0,0,x}${0,4,X}${0,2,o}", 171, Ok("ab00AB253"));
        check("${-1,0,x}", 0, Ok("ffffffff"));
        check("${0,4,n}", 0xa1, Ok("1.a."));
        check("${0,3,N}", 0xa1, Ok("1.A"));
        check("${0,0,n}", 0x1a1, Ok("1.a.1"));
        check("${0,7,n}", 1, Ok("1.0.0.0"));
        check("${0", 7, Err(()));
        check("${}", 7, Err(()));
        check("${0,1,q}", 7, Err(()));
        check("${0,999}", 7, Err(()));
        check("${2147483647}", 7, Err(()));
    }
}
