//! The canonical key of a name relative to the origin of its zone.
//!
//! Byte order of keys is the canonical order of names (RFC 4034 section 6.1): the labels from the
//! top down in lower case, each ended by 00; a byte 00 or 01 inside a label is written 01 01 or
//! 01 02. The origin itself has the empty key, and the key of an ancestor is a prefix.
//!
//! NSEC3 records have a region of their own: 00 before the key of their owner name, which no other
//! key begins with. There the one before a hash is next to it, and no QNAME meets them.

use std::cmp::Ordering;

use crate::name::{Name, NameRef};
use crate::word::{self, WORD_SIZE};

/// A key on the stack, so that a lookup allocates nothing.
pub(crate) struct Key {
    bytes: KeyBytes,
    /// Where each label of the key ends; the label nearest to the origin first.
    ends: [u16; LABELS_MAX],
    labels: usize,
}

/// Behind the key there is room for a word.
type KeyBytes = [u8; KEY_SIZE_MAX + WORD_SIZE];

impl Key {
    /// The key of `name` relative to `origin`; none if `name` lies elsewhere.
    pub(crate) fn relative(name: &Name, origin: &Name) -> Option<Self> {
        let labels = relative_labels(name.borrowed(), origin.borrowed())?;
        Some(Self::of_labels(labels))
    }

    /// The key of no labels.
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; KEY_SIZE_MAX + WORD_SIZE],
        ends: [0; LABELS_MAX],
        labels: 0,
    };

    /// The key of labels that end with the zero byte or with the slice.
    pub(crate) fn of_labels(wire: &[u8]) -> Self {
        let mut key = Self::EMPTY;
        key.set(wire);
        key
    }

    /// Becomes the key of labels that end with the zero byte or with the slice.
    pub(crate) fn set(&mut self, wire: &[u8]) {
        let mut starts = [0; LABELS_MAX + 1];
        self.labels = put_label_starts(wire, &mut starts);
        let mut size = 0;
        for (start, end) in starts[..self.labels].iter().rev().zip(&mut self.ends) {
            size = put_label(&mut self.bytes, size, wire, usize::from(*start));
            self.bytes[size] = 0;
            size += 1;
            *end = size as u16;
        }
    }

    /// The key of the NSEC3 records of labels below the origin.
    pub(crate) fn denial(wire: &[u8]) -> Self {
        let mut key = Self::of_labels(wire);
        let size = key.as_bytes().len();
        key.bytes.copy_within(..size, DENIAL.len());
        key.bytes[..DENIAL.len()].copy_from_slice(DENIAL);
        for end in &mut key.ends[..key.labels] {
            *end += DENIAL.len() as u16;
        }
        key
    }

    /// The whole key.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.ancestor(self.labels)
    }

    /// How many labels the name has below the origin.
    pub(crate) fn label_count(&self) -> usize {
        self.labels
    }

    /// The key of the ancestor that has `labels` labels below the origin.
    pub(crate) fn ancestor(&self, labels: usize) -> &[u8] {
        match labels {
            0 => &[],
            n => &self.bytes[..usize::from(self.ends[n - 1])],
        }
    }
}

/// The key of a wildcard.
pub(crate) struct WildcardKey {
    bytes: [u8; KEY_SIZE_MAX + 2],
    size: usize,
}

impl WildcardKey {
    /// The key of the wildcard right below the name with this key.
    pub(crate) fn below(encloser: &[u8]) -> Self {
        let mut key = Self {
            bytes: [0; KEY_SIZE_MAX + 2],
            size: encloser.len() + 2,
        };
        key.bytes[..encloser.len()].copy_from_slice(encloser);
        key.bytes[encloser.len()] = b'*';
        key
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

/// The labels of `name` in front of `origin`, still followed by those of the origin's wire.
pub(crate) fn relative_labels<'n>(name: NameRef<'n>, origin: NameRef<'_>) -> Option<&'n [u8]> {
    if !name.is_at_or_below(origin) {
        return None;
    }
    let size = name.as_wire().len() - origin.as_wire().len();
    Some(&name.as_wire()[..size])
}

/// The first eight bytes of a key as a number: most comparisons end here.
#[inline]
pub(crate) fn head(key: &[u8]) -> u64 {
    word::load(key).swap_bytes()
}

/// The key of the name one label up; none for the origin.
pub(crate) fn parent(key: &[u8]) -> Option<&[u8]> {
    // 00 stands at label ends only.
    let inner = &key[..key.len().checked_sub(1)?];
    let size = inner
        .iter()
        .rposition(|byte| *byte == 0)
        .map_or(0, |at| at + 1);
    Some(&key[..size])
}

/// Compares a key with the key that `labels` would have.
pub(crate) fn compare(key: &[u8], labels: &[u8]) -> Ordering {
    let (starts, count) = label_starts(labels);
    let mut rest = key;
    for start in starts[..count].iter().rev() {
        match compare_label(&mut rest, label_at(labels, *start)) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    if rest.is_empty() {
        Ordering::Equal
    } else {
        Ordering::Greater
    }
}

/// A key that is compared with the names of many nodes.
pub(crate) struct Target<'k> {
    key: &'k [u8],
    /// Its first label, the first byte of a word in the highest place, and zeroes. A label that
    /// has more bytes than this in a key is one that no node has word for word.
    words: [u64; LABEL_WORDS],
}

impl<'k> Target<'k> {
    pub(crate) fn new(key: &'k [u8]) -> Self {
        let mut words = [0; LABEL_WORDS];
        for (piece, word) in key.chunks(WORD_SIZE).zip(&mut words) {
            let loaded = word::load(piece);
            let (label, is_end) = word::until_zero(loaded);
            *word = label.swap_bytes();
            if is_end {
                break;
            }
        }
        Self { key, words }
    }

    /// Compares the key with the key that `labels` would have, which end with the zero byte. A search
    /// does it a dozen times, and mostly the first label tells.
    #[inline]
    pub(crate) fn compare(&self, labels: &[u8]) -> Ordering {
        let (start, size) = top_label(labels);
        let mut at = 0;
        for mine in &self.words {
            let theirs = if at < size {
                let from = start + at;
                let word_size = WORD_SIZE.min(size - at);
                match word::fold(word::load_some(labels, from, word_size), word_size) {
                    Some(folded) => folded.swap_bytes(),
                    None => return compare(self.key, labels),
                }
            } else {
                0
            };
            if *mine != theirs {
                return mine.cmp(&theirs);
            }
            at += WORD_SIZE;
            if at > size {
                break;
            }
        }
        if start > 1 {
            return compare(self.key, labels);
        }
        // There is no other label, and the key may go on.
        let end = if size == 0 { 0 } else { size + 1 };
        self.key.len().cmp(&end)
    }
}

/// Where the last of some labels begins behind its length, and how long it is.
#[inline]
fn top_label(labels: &[u8]) -> (usize, usize) {
    let mut at = 0;
    loop {
        let size = usize::from(labels[at]);
        let next = at + 1 + size;
        if size == 0 || labels[next] == 0 {
            return (at + 1, size);
        }
        at = next;
    }
}

/// Compares what comes next in a key with a label and the byte that ends it; takes it if it is equal.
fn compare_label(key: &mut &[u8], label: &[u8]) -> Ordering {
    let mut rest = *key;
    for byte in label {
        let (first, second) = escape(*byte);
        let (mine, tail) = match rest.split_first() {
            Some((mine, tail)) => (*mine, tail),
            None => return Ordering::Less,
        };
        if mine != first {
            return mine.cmp(&first);
        }
        rest = tail;
        if let Some(second) = second {
            match rest.split_first() {
                Some((mine, tail)) if *mine == second => rest = tail,
                Some((mine, _)) => return mine.cmp(&second),
                None => return Ordering::Less,
            }
        }
    }
    match rest.split_first() {
        Some((0, tail)) => {
            *key = tail;
            Ordering::Equal
        }
        Some(_) => Ordering::Greater,
        None => Ordering::Less,
    }
}

/// Writes the label that stands in `wire` at `start` into a key from `size` on; how long the key is
/// then. What comes behind it is undone.
fn put_label(key: &mut KeyBytes, mut size: usize, wire: &[u8], start: usize) -> usize {
    let end = start + 1 + usize::from(wire[start]);
    let mut at = start + 1;
    while at < end {
        let piece = WORD_SIZE.min(end - at);
        match word::fold(word::load_some(wire, at, piece), piece) {
            Some(folded) => {
                key[size..size + WORD_SIZE].copy_from_slice(&folded.to_le_bytes());
                size += piece;
            }
            None => size = put_bytes(key, size, &wire[at..at + piece]),
        }
        at += piece;
    }
    size
}

fn put_bytes(key: &mut [u8], mut size: usize, bytes: &[u8]) -> usize {
    for byte in bytes {
        let (first, second) = escape(*byte);
        for byte in std::iter::once(first).chain(second) {
            key[size] = byte;
            size += 1;
        }
    }
    size
}

fn escape(byte: u8) -> (u8, Option<u8>) {
    match byte.to_ascii_lowercase() {
        0 => (1, Some(1)),
        1 => (1, Some(2)),
        byte => (byte, None),
    }
}

fn label_at(wire: &[u8], start: u8) -> &[u8] {
    let start = usize::from(start);
    &wire[start + 1..=start + usize::from(wire[start])]
}

fn label_starts(wire: &[u8]) -> (LabelStarts, usize) {
    let mut starts = [0; LABELS_MAX + 1];
    let count = put_label_starts(wire, &mut starts);
    (starts, count)
}

/// Where each label of a name begins, the first label first; and what is behind the last.
pub(crate) type LabelStarts = [u8; LABELS_MAX + 1];

/// Writes down where each label begins; how many there are.
pub(crate) fn put_label_starts(wire: &[u8], starts: &mut LabelStarts) -> usize {
    let mut count = 0;
    let mut at = 0;
    while let Some(length) = wire.get(at)
        && *length != 0
    {
        starts[count] = at as u8;
        count += 1;
        at += usize::from(*length) + 1;
    }
    starts[count] = at as u8;
    count
}

/// A name of 255 bytes has at most 127 labels of one byte each (RFC 1035 section 3.1).
pub(crate) const LABELS_MAX: usize = 127;
/// Words that hold the longest label as it stands, which has 63 bytes.
const LABEL_WORDS: usize = 8;
/// What keys of NSEC3 records begin with.
pub(crate) const DENIAL: &[u8] = &[0];
/// Above all keys of NSEC3 records, and at or below those of all names but the apex.
pub(crate) const AFTER_DENIAL: &[u8] = &[1];
/// Every byte of a name takes at most two bytes of its key, and one tells the region.
const KEY_SIZE_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_names_and_compare_with_labels() {
        let origin: Name = "Example.".parse().unwrap();
        let names: Vec<Name> = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        // RFC 4034 section 6.1 gives this order.
        assert!(names.is_sorted());
        for a in &names {
            let key = Key::relative(a, &origin).unwrap();
            for b in &names {
                let other = Key::relative(b, &origin).unwrap();
                assert_eq!(
                    key.as_bytes().cmp(other.as_bytes()),
                    a.cmp(b),
                    "{a} and {b}"
                );
                let labels = relative_labels(b.borrowed(), origin.borrowed()).unwrap();
                assert_eq!(compare(key.as_bytes(), labels), a.cmp(b), "{a} and {b}");
            }
        }
        assert!(Key::relative(&"example.org.".parse().unwrap(), &origin).is_none());
    }

    #[test]
    fn labels_compare_as_their_keys() {
        // Around the bytes that are compared at once, and those that take two in a key.
        let bytes = [
            b"",
            &b"a"[..],
            b"A",
            b"b",
            b"\x00",
            b"\x01",
            b"\x02",
            b"aA\x01b",
        ];
        let mut labels = Vec::new();
        for size in [1, 7, 8, 9, 15, 16, 17] {
            for (before, after) in bytes
                .iter()
                .zip(bytes)
                .chain(bytes.iter().zip(bytes.iter().rev().copied()))
            {
                let label = [*before, &b"abcdefghabcdefgh-"[..size], after].concat();
                let wire = [&[label.len() as u8][..], &label].concat();
                labels.push([&wire[..], b"\x02xy"].concat());
                labels.push(wire);
            }
        }
        for a in &labels {
            let key = Key::of_labels(a);
            for b in &labels {
                let expected = key.as_bytes().cmp(Key::of_labels(b).as_bytes());
                assert_eq!(compare(key.as_bytes(), b), expected, "{a:?} {b:?}");
                let ended = [&b[..], b"\0\x07rest"].concat();
                assert_eq!(compare(key.as_bytes(), &ended), expected, "{a:?} {b:?}");
                let target = Target::new(key.as_bytes());
                assert_eq!(target.compare(&ended), expected, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn ancestors_are_prefixes() {
        let origin: Name = "example.".parse().unwrap();
        let key = Key::relative(&"a.\\000b.c.example.".parse().unwrap(), &origin).unwrap();
        assert_eq!(key.label_count(), 3);
        assert_eq!(key.ancestor(0), b"");
        assert_eq!(key.ancestor(1), b"c\0");
        assert_eq!(key.ancestor(2), b"c\0\x01\x01b\0");
        assert_eq!(key.as_bytes(), b"c\0\x01\x01b\0a\0");
        assert_eq!(parent(key.as_bytes()), Some(key.ancestor(2)));
        assert_eq!(parent(b"c\0"), Some(&b""[..]));
        assert_eq!(parent(b""), None);
        assert_eq!(WildcardKey::below(key.ancestor(1)).as_bytes(), b"c\0*\0");
    }

    #[test]
    fn nsec3_records_come_after_the_apex_and_before_all_names() {
        let denial = Key::denial(b"\x02zz\x01\0\0");
        assert_eq!(denial.as_bytes(), b"\0\x01\x01\0zz\0");
        assert!(denial.as_bytes() > &b""[..] && denial.as_bytes() < AFTER_DENIAL);
        assert!(Key::of_labels(b"\x01\0\0").as_bytes() > AFTER_DENIAL);
    }
}
