//! Domain names in wire format: length-prefixed labels up to the root.
//!
//! Case is kept for output and ignored for comparison (RFC 4343). The order is the canonical one
//! (RFC 4034 section 6.1): by labels from the root down. Only absolute names exist; what a zone
//! file writes relative to an origin is made absolute while it is read.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::short::ShortBytes;
use crate::word;

/// Longest name in wire format (RFC 1035 section 3.1).
pub const NAME_SIZE_MAX: usize = 255;
/// Longest label (RFC 1035 section 3.1).
pub const LABEL_SIZE_MAX: usize = 63;

/// An absolute domain name. A clone costs next to nothing.
#[derive(Clone)]
pub struct Name(ShortBytes);

/// A name that stands in bytes which somebody else holds; it compares and prints as [`Name`] does.
#[derive(Clone, Copy)]
pub struct NameRef<'n>(&'n [u8]);

/// Why bytes or text are not a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// A label of no bytes inside the name, as in `a..b`.
    EmptyLabel,
    /// A label over 63 bytes.
    LabelTooLong,
    /// A name over 255 bytes.
    NameTooLong,
    /// An escape that is neither `\DDD` up to 255 nor `\` and one character.
    BadEscape,
    /// The bytes end inside the name.
    Truncated,
    /// A label type other than 00, or a pointer where none is allowed (RFC 1035 section 4.1.4).
    BadLabelType,
    /// A compression pointer that does not point backwards.
    BadPointer,
    /// A relative name where no origin is known.
    NoOrigin,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLabel => "a label is empty",
            Self::LabelTooLong => "a label is longer than 63 bytes",
            Self::NameTooLong => "the name is longer than 255 bytes",
            Self::BadEscape => "bad escape; expected \\DDD (000 to 255) or \\ and a character",
            Self::Truncated => "the name is cut short",
            Self::BadLabelType => "unknown label type",
            Self::BadPointer => "a compression pointer does not point backwards",
            Self::NoOrigin => "the name is relative and no origin is known",
        })
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// The root of the name space.
    #[must_use]
    pub fn root() -> Self {
        Self([0].as_slice().into())
    }

    /// Reads an uncompressed name from the start of `bytes`; it may be followed by others.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, NameError> {
        let size = wire_size(bytes)?;
        Ok(Self(bytes[..size].into()))
    }

    /// Takes an uncompressed name off the start of `rest`; none if there is none.
    pub fn take_wire(rest: &mut &[u8]) -> Option<Self> {
        let name = Self::from_wire(rest).ok()?;
        *rest = &rest[name.as_wire().len()..];
        Some(name)
    }

    /// Reads a name that may be compressed, at `offset` of a message. Returns it with the offset
    /// of what follows it.
    pub fn from_message(message: &[u8], offset: usize) -> Result<(Self, usize), NameError> {
        let mut wire = [0; NAME_SIZE_MAX];
        let mut size = 0;
        let mut at = offset;
        let mut end = None;
        // Each pointer must go below the place where the run of labels that holds it began:
        // that ends every chain (RFC 1035 section 4.1.4: "a prior occurance").
        let mut run_start = offset;
        loop {
            let length = *message.get(at).ok_or(NameError::Truncated)?;
            match length {
                0 => {
                    if size + 1 > NAME_SIZE_MAX {
                        return Err(NameError::NameTooLong);
                    }
                    wire[size] = 0;
                    let end = end.unwrap_or(at + 1);
                    return Ok((Self(wire[..=size].into()), end));
                }
                1..=63 => {
                    let next = at + 1 + usize::from(length);
                    let label = message.get(at..next).ok_or(NameError::Truncated)?;
                    if size + label.len() + 1 > NAME_SIZE_MAX {
                        return Err(NameError::NameTooLong);
                    }
                    wire[size..size + label.len()].copy_from_slice(label);
                    size += label.len();
                    at = next;
                }
                0xc0.. => {
                    let low = *message.get(at + 1).ok_or(NameError::Truncated)?;
                    let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if target >= run_start {
                        return Err(NameError::BadPointer);
                    }
                    end.get_or_insert(at + 2);
                    run_start = target;
                    at = target;
                }
                64..=0xbf => return Err(NameError::BadLabelType),
            }
        }
    }

    /// Reads presentation format (RFC 1035 section 5.1): a name without a final dot is completed
    /// by `origin`, and `@` alone is the origin.
    pub fn from_text(text: &[u8], origin: Option<&Self>) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        append_text(text, origin, &mut wire)?;
        Ok(Self(wire.as_slice().into()))
    }

    /// This name with `label` put in front.
    pub fn child(&self, label: &[u8]) -> Result<Self, NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > LABEL_SIZE_MAX {
            return Err(NameError::LabelTooLong);
        }
        if label.len() + 1 + self.0.len() > NAME_SIZE_MAX {
            return Err(NameError::NameTooLong);
        }
        let mut wire = Vec::with_capacity(label.len() + 1 + self.0.len());
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
        wire.extend_from_slice(&self.0);
        Ok(Self(wire.as_slice().into()))
    }

    /// The wire format, ended by the root's zero byte.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// True for the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The labels from the first one up to, but not with, the root.
    #[must_use]
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// How many labels there are, the root not counted.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name one label up; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let first = usize::from(self.0[0]) + 1;
        Some(Self(self.0[first..].into()))
    }

    /// The same name without a share in its bytes.
    #[must_use]
    pub fn borrowed(&self) -> NameRef<'_> {
        NameRef(&self.0)
    }

    /// True if this name is `ancestor` or lies below it.
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        self.borrowed().is_at_or_below(ancestor.borrowed())
    }

    /// True if the first label is `*` alone (RFC 4592 section 2.1.1).
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.borrowed().is_wildcard()
    }

    /// The name in lower case (RFC 4034 section 6.2).
    #[must_use]
    pub fn to_lowercase(&self) -> Self {
        // Length bytes are below 64 and so never letters.
        Self(self.0.to_ascii_lowercase().as_slice().into())
    }

    /// A key whose byte order is the canonical order of names: the labels from the top down in
    /// lower case, each ended by 00; a byte 00 or 01 inside a label is written 01 01 or 01 02.
    #[must_use]
    pub fn canonical_key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.0.len() + 4);
        self.borrowed().append_canonical_key(&mut key);
        key
    }
}

impl<'n> NameRef<'n> {
    /// Reads an uncompressed name from the start of `bytes`; it may be followed by others.
    #[inline]
    pub fn from_wire(bytes: &'n [u8]) -> Result<Self, NameError> {
        Ok(Self(&bytes[..wire_size(bytes)?]))
    }

    /// Takes bytes that are known to be one whole name.
    pub(crate) fn from_checked(wire: &'n [u8]) -> Self {
        Self(wire)
    }

    /// The wire format, ended by the root's zero byte.
    #[must_use]
    pub fn as_wire(self) -> &'n [u8] {
        self.0
    }

    /// The labels from the first one up to, but not with, the root.
    #[must_use]
    pub fn labels(self) -> Labels<'n> {
        Labels(self.0)
    }

    /// How many labels there are, the root not counted.
    #[must_use]
    pub fn label_count(self) -> usize {
        self.labels().count()
    }

    /// The name with bytes of its own.
    #[must_use]
    pub fn to_name(self) -> Name {
        Name(self.0.into())
    }

    /// True if this name is `ancestor` or lies below it.
    #[must_use]
    pub fn is_at_or_below(self, ancestor: NameRef<'_>) -> bool {
        let Some(skipped) = self.0.len().checked_sub(ancestor.0.len()) else {
            return false;
        };
        let mut at = 0;
        while at < skipped {
            at += usize::from(self.0[at]) + 1;
        }
        at == skipped && NameRef(&self.0[at..]) == ancestor
    }

    /// True if the first label is `*` alone (RFC 4592 section 2.1.1).
    #[must_use]
    pub fn is_wildcard(self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// Appends what [`Name::canonical_key`] gives.
    pub(crate) fn append_canonical_key(self, key: &mut Vec<u8>) {
        let (starts, count) = label_starts(self.0);
        for start in starts[..count].iter().rev() {
            let start = usize::from(*start);
            let label = &self.0[start + 1..=start + usize::from(self.0[start])];
            for byte in label {
                match byte.to_ascii_lowercase() {
                    0 => key.extend_from_slice(&[1, 1]),
                    1 => key.extend_from_slice(&[1, 2]),
                    byte => key.push(byte),
                }
            }
            key.push(0);
        }
    }
}

/// The labels of a name, first to last, without the root.
#[derive(Clone, Debug)]
pub struct Labels<'n>(&'n [u8]);

impl<'n> Iterator for Labels<'n> {
    type Item = &'n [u8];

    fn next(&mut self) -> Option<&'n [u8]> {
        let length = usize::from(self.0[0]);
        if length == 0 {
            return None;
        }
        let label = &self.0[1..=length];
        self.0 = &self.0[length + 1..];
        Some(label)
    }
}

/// The size of the uncompressed name at the start of `bytes`.
#[inline]
pub fn wire_size(bytes: &[u8]) -> Result<usize, NameError> {
    let within = bytes.get(..NAME_SIZE_MAX).unwrap_or(bytes);
    let mut at = 0;
    while let Some(length) = within.get(at) {
        let length = usize::from(*length);
        if length > LABEL_SIZE_MAX {
            return Err(NameError::BadLabelType);
        }
        at += length + 1;
        if length == 0 {
            return Ok(at);
        }
    }
    Err(if at >= NAME_SIZE_MAX {
        NameError::NameTooLong
    } else {
        NameError::Truncated
    })
}

/// Reads the escape at the start of `text` (RFC 1035 section 5.1). Returns the byte that it
/// stands for and how long the escape is.
#[must_use]
pub fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let first = *text.get(1)?;
    if !first.is_ascii_digit() {
        return Some((first, 2));
    }
    let digits = text.get(1..4)?;
    let mut value = 0u16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    Some((u8::try_from(value).ok()?, 4))
}

/// Appends the wire format of a name in presentation format; see [`Name::from_text`]. After an
/// error `wire` may end in part of the name.
pub(crate) fn append_text(
    text: &[u8],
    origin: Option<&Name>,
    wire: &mut Vec<u8>,
) -> Result<(), NameError> {
    let start = wire.len();
    match text {
        b"@" => {
            wire.extend_from_slice(&origin.ok_or(NameError::NoOrigin)?.0);
            return Ok(());
        }
        b"." => {
            wire.push(0);
            return Ok(());
        }
        _ => {}
    }
    let mut label_start = start;
    wire.push(0);
    let mut at = 0;
    let mut is_absolute = false;
    while at < text.len() {
        is_absolute = false;
        match text[at] {
            b'.' => {
                close_label(wire, label_start)?;
                label_start = wire.len();
                // The byte opened for the next label is the root's if none follows.
                wire.push(0);
                at += 1;
                is_absolute = true;
            }
            b'\\' => {
                let (byte, size) = unescape(&text[at..]).ok_or(NameError::BadEscape)?;
                wire.push(byte);
                at += size;
            }
            byte => {
                wire.push(byte);
                at += 1;
            }
        }
        if wire.len() - start > NAME_SIZE_MAX + 1 {
            return Err(NameError::NameTooLong);
        }
    }
    if !is_absolute {
        close_label(wire, label_start)?;
        wire.extend_from_slice(&origin.ok_or(NameError::NoOrigin)?.0);
    }
    if wire.len() - start > NAME_SIZE_MAX {
        return Err(NameError::NameTooLong);
    }
    Ok(())
}

fn close_label(wire: &mut [u8], start: usize) -> Result<(), NameError> {
    match wire.len() - start - 1 {
        0 => Err(NameError::EmptyLabel),
        length if length <= LABEL_SIZE_MAX => {
            wire[start] = length as u8;
            Ok(())
        }
        _ => Err(NameError::LabelTooLong),
    }
}

/// Prints a name in wire format that is known to be whole, with its final dot.
pub(crate) fn print_wire(wire: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    if wire == [0] {
        return out.write_char('.');
    }
    for label in Labels(wire) {
        match std::str::from_utf8(label) {
            Ok(text) if label.iter().all(|byte| is_plain(*byte)) => out.write_str(text)?,
            _ => print_escaped_label(label, out)?,
        }
        out.write_char('.')?;
    }
    Ok(())
}

fn print_escaped_label(label: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    for byte in label {
        match byte {
            byte if is_plain(*byte) => out.write_char(char::from(*byte))?,
            0x21..=0x7e => write!(out, "\\{}", char::from(*byte))?,
            _ => write!(out, "\\{byte:03}")?,
        }
    }
    Ok(())
}

/// True for what means itself in a name.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$')
}

/// The offsets of the labels, and how many there are.
fn label_starts(wire: &[u8]) -> ([u8; 127], usize) {
    let mut starts = [0; 127];
    let mut count = 0;
    let mut at = 0;
    while wire[at] != 0 {
        starts[count] = at as u8;
        count += 1;
        at += usize::from(wire[at]) + 1;
    }
    (starts, count)
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed() == other.borrowed()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.as_wire() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.borrowed().cmp(&other.borrowed())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_wire(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for NameRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, my_count) = label_starts(self.0);
        let (theirs, their_count) = label_starts(other.0);
        for (a, b) in mine[..my_count]
            .iter()
            .rev()
            .zip(theirs[..their_count].iter().rev())
        {
            let (a, b) = (usize::from(*a), usize::from(*b));
            let a = &self.0[a + 1..=a + usize::from(self.0[a])];
            let b = &other.0[b + 1..=b + usize::from(other.0[b])];
            let order = a
                .iter()
                .map(u8::to_ascii_lowercase)
                .cmp(b.iter().map(u8::to_ascii_lowercase));
            if order.is_ne() {
                return order;
            }
        }
        my_count.cmp(&their_count)
    }
}

impl PartialOrd for NameRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for NameRef<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Case differs rarely, and a look without it is quick.
        word::are_equal(self.0, other.0) || self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for NameRef<'_> {}

impl fmt::Display for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_wire(self.0, f)
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads an absolute name; the final dot may be left out.
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::from_text(text.as_bytes(), Some(&Self::root()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_is_read_and_printed() {
        let check = |text: &str, printed: &str| assert_eq!(name(text).to_string(), printed);
        check("example.test", "example.test.");
        check("Example.TEST.", "Example.TEST.");
        check(".", ".");
        check(r"a\.b.c", r"a\.b.c.");
        check(r"a\046b.c", r"a\.b.c.");
        check(r"\000\255.c", r"\000\255.c.");
        let origin = name("example.test");
        let relative = |text: &[u8]| Name::from_text(text, Some(&origin)).unwrap().to_string();
        assert_eq!(relative(b"www"), "www.example.test.");
        assert_eq!(relative(b"@"), "example.test.");
    }

    #[test]
    fn bad_text_is_refused_with_the_reason() {
        let check = |text: &str, error| assert_eq!(text.parse::<Name>(), Err(error), "{text}");
        check("a..b", NameError::EmptyLabel);
        check(".a", NameError::EmptyLabel);
        check("", NameError::EmptyLabel);
        check(r"a\25", NameError::BadEscape);
        check(r"a\256", NameError::BadEscape);
        check(r"a\", NameError::BadEscape);
        check(&"a".repeat(64), NameError::LabelTooLong);
        check(&"a.".repeat(128), NameError::NameTooLong);
        assert!("a.".repeat(127).parse::<Name>().is_ok());
        assert_eq!(Name::from_text(b"www", None), Err(NameError::NoOrigin));
    }

    #[test]
    fn order_is_that_of_rfc_4034() {
        let ordered = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            r"\001.z.example.",
            "*.z.example.",
            r"\200.z.example.",
        ];
        for pair in ordered.windows(2) {
            assert!(name(pair[0]) < name(pair[1]), "{pair:?}");
            assert!(
                name(pair[0]).canonical_key() < name(pair[1]).canonical_key(),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn pointers_must_go_backwards() {
        let message = b"\x01a\xc0\x00\x01b\xc0\x00\x00\x01c\xc0\x04";
        assert_eq!(Name::from_message(message, 0), Err(NameError::BadPointer));
        let message = b"\x01a\x00\x01b\xc0\x00";
        assert_eq!(Name::from_message(message, 3), Ok((name("b.a."), 7)));
        assert_eq!(Name::from_message(message, 5), Ok((name("a."), 7)));
        assert_eq!(
            Name::from_message(b"\xc0\x05", 0),
            Err(NameError::BadPointer)
        );
        assert_eq!(Name::from_message(b"\x05ab", 0), Err(NameError::Truncated));
        assert_eq!(
            Name::from_message(b"\x41ab", 0),
            Err(NameError::BadLabelType)
        );
    }

    #[test]
    fn ancestors_are_whole_labels() {
        let check = |a: &str, b: &str, expected| {
            assert_eq!(name(a).is_at_or_below(&name(b)), expected, "{a} below {b}");
        };
        check("www.example.test", "EXAMPLE.test", true);
        check("example.test", "example.test", true);
        check("example.test", ".", true);
        check("anexample.test", "example.test", false);
        check("test", "example.test", false);
        check(r"\003www\007example.test", "example.test", false);
    }

    fn any_name() -> impl Strategy<Value = Name> {
        let byte = prop_oneof![0u8..3, b'.'..=b'.', b'A'..=b'C', b'a'..=b'c', 250u8..];
        let label = proptest::collection::vec(byte, 1..4);
        proptest::collection::vec(label, 0..5).prop_map(|labels| {
            labels
                .iter()
                .fold(Name::root(), |name, label| name.child(label).unwrap())
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(name in any_name()) {
            let back: Name = name.to_string().parse().unwrap();
            prop_assert_eq!(back.as_wire(), name.as_wire());
        }

        #[test]
        fn keys_order_as_names_do(a in any_name(), b in any_name()) {
            prop_assert_eq!(a.cmp(&b), a.canonical_key().cmp(&b.canonical_key()));
            prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        }
    }
}
