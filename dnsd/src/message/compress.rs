//! Name compression (RFC 1035 section 4.1.4): where suffixes of names already stand in a message.
//!
//! A small table maps the hash of a suffix to the offset where it was written last. An entry is a
//! hint that is checked against the message before it is used, so collisions and overwritten
//! entries cost bytes, never an answer.

use zones::word::{self, WORD_SIZE};

/// Slots of the table. An answer rarely holds more suffixes; in a zone transfer, whose messages
/// hold many, the newer names push out the older ones, which are the less likely to come again.
const SLOTS: usize = 128;
/// Offsets from here on do not fit the fourteen bits of a pointer.
const POINTER_END: usize = 0x4000;
/// Labels of a name that are looked up and entered, those nearest to the root, which names share.
/// An address below `ip6.arpa` has 34.
const LABELS_MAX: usize = 40;

/// Whether names of different case may share their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// They may: shortest.
    Ignored,
    /// They may not: a zone transfer keeps the case of every name.
    Kept,
}

/// The suffixes that a message holds.
#[derive(Clone, Debug)]
pub struct Compressor {
    slots: [u16; SLOTS],
    case: Case,
}

impl Compressor {
    /// Knows of nothing yet.
    #[must_use]
    pub fn new(case: Case) -> Self {
        Self {
            slots: [0; SLOTS],
            case,
        }
    }

    /// Appends the name `wire` to `message`, as a pointer as far as a suffix of it is known.
    pub fn write(&mut self, message: &mut Vec<u8>, wire: &[u8]) {
        let suffixes = Suffixes::of(wire);
        for i in 0..suffixes.count {
            let start = usize::from(suffixes.starts[i]);
            let known = self.slots[usize::from(suffixes.slots[i])];
            if known != 0 && self.stands_at(message, known.into(), &wire[start..]) {
                self.enter(message.len(), &suffixes, i);
                message.extend_from_slice(&wire[..start]);
                message.extend_from_slice(&(POINTER | known).to_be_bytes());
                return;
            }
        }
        self.enter(message.len(), &suffixes, suffixes.count);
        message.extend_from_slice(wire);
    }

    /// Learns the name `wire`, which stands uncompressed at `at`.
    pub fn learn(&mut self, at: usize, wire: &[u8]) {
        let suffixes = Suffixes::of(wire);
        self.enter(at, &suffixes, suffixes.count);
    }

    /// Forgets what stands at `end` and beyond, because it is taken back.
    pub fn forget_from(&mut self, end: usize) {
        for slot in &mut self.slots {
            if usize::from(*slot) >= end {
                *slot = 0;
            }
        }
    }

    /// Enters the first `count` suffixes of a name that stands at `at`.
    fn enter(&mut self, at: usize, suffixes: &Suffixes, count: usize) {
        let suffixes = suffixes.starts.iter().zip(&suffixes.slots);
        for (start, slot) in suffixes.take(count) {
            let offset = at + usize::from(*start);
            if offset < POINTER_END {
                self.slots[usize::from(*slot)] = offset as u16;
            }
        }
    }

    /// True if the name at `at` of the message is `suffix`.
    fn stands_at(&self, message: &[u8], mut at: usize, mut suffix: &[u8]) -> bool {
        // Most often it stands there in full, and in the same case.
        if message.get(at..at + suffix.len()) == Some(suffix) {
            return true;
        }
        loop {
            let Some(&length) = message.get(at) else {
                return false;
            };
            if length >= 0xc0 {
                // Pointers in the message are our own and go backwards.
                let Some(&low) = message.get(at + 1) else {
                    return false;
                };
                at = usize::from(length & 0x3f) << 8 | usize::from(low);
                continue;
            }
            let size = usize::from(length) + 1;
            let (Some(here), Some(there)) = (message.get(at..at + size), suffix.get(..size)) else {
                return false;
            };
            let equal = match self.case {
                Case::Ignored => here.eq_ignore_ascii_case(there),
                Case::Kept => here == there,
            };
            if !equal {
                return false;
            }
            if length == 0 {
                return true;
            }
            at += size;
            suffix = &suffix[size..];
        }
    }
}

/// The suffixes of a name, longest first; the root is not one of them, because a pointer is longer
/// than it.
struct Suffixes {
    starts: [u8; LABELS_MAX],
    /// Their places in the table.
    slots: [u8; LABELS_MAX],
    count: usize,
}

impl Suffixes {
    #[inline]
    fn of(wire: &[u8]) -> Self {
        let mut suffixes = Self {
            starts: [0; LABELS_MAX],
            slots: [0; LABELS_MAX],
            count: 0,
        };
        let (starts, count) = (&mut suffixes.starts, &mut suffixes.count);
        let mut end = 0;
        while wire[end] != 0 {
            if *count == LABELS_MAX {
                starts.copy_within(1.., 0);
                *count -= 1;
            }
            starts[*count] = end as u8;
            *count += 1;
            end += usize::from(wire[end]) + 1;
        }
        let mut hash = 0;
        let places = starts[..*count].iter().zip(&mut suffixes.slots);
        for (start, slot) in places.rev() {
            let start = usize::from(*start);
            for piece in wire[start..end].chunks(WORD_SIZE) {
                // This bit is all that tells upper from lower case; that it also joins some other
                // bytes does no harm to a hash.
                hash = word::mix(hash, word::load(piece) | SMALL);
            }
            *slot = (hash % SLOTS as u64) as u8;
            end = start;
        }
        suffixes
    }
}

const SMALL: u64 = 0x2020_2020_2020_2020;
/// RFC 1035 section 4.1.4: the two bits that begin a pointer.
pub(super) const POINTER: u16 = 0xc000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zones::Name;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// Writes the names one after the other, and reads them back.
    fn sizes(case: Case, names: &[&str]) -> Vec<usize> {
        let mut message = vec![0; 12];
        let mut compressor = Compressor::new(case);
        let mut sizes = Vec::new();
        for text in names {
            let at = message.len();
            compressor.write(&mut message, name(text).as_wire());
            let (back, end) = Name::from_message(&message, at).unwrap();
            assert_eq!(back, name(text));
            if case == Case::Kept {
                assert_eq!(back.as_wire(), name(text).as_wire());
            }
            assert_eq!(end, message.len());
            sizes.push(end - at);
        }
        sizes
    }

    #[test]
    fn suffixes_are_shared() {
        let check = |case, names: &[&str], expected: &[usize]| {
            assert_eq!(sizes(case, names), expected, "{names:?}");
        };
        check(
            Case::Ignored,
            &["a.b.", "a.b.", "c.b.", "b.", "c.b."],
            &[5, 2, 4, 2, 2],
        );
        check(Case::Ignored, &["a.b.", "A.B."], &[5, 2]);
        check(Case::Kept, &["a.b.", "A.B.", "c.B."], &[5, 5, 4]);
        check(Case::Ignored, &[".", "."], &[1, 1]);
        // 18 and 104 labels.
        let reverse = "1.2.3.4.5.6.7.8.9.a.b.c.d.e.f.0.ip6.arpa.";
        check(
            Case::Ignored,
            &[reverse, "ip6.arpa.", "9.ip6.arpa."],
            &[42, 2, 4],
        );
        let deep = format!("{}b.c.", "a.".repeat(102));
        check(Case::Ignored, &[&deep, "b.c.", "x.a.b.c."], &[209, 2, 4]);
    }

    #[test]
    fn what_is_taken_back_is_not_pointed_to() {
        let mut message = vec![0; 12];
        let mut compressor = Compressor::new(Case::Ignored);
        compressor.write(&mut message, name("b.").as_wire());
        let mark = message.len();
        compressor.write(&mut message, name("a.b.").as_wire());
        message.truncate(mark);
        compressor.forget_from(mark);
        compressor.write(&mut message, name("a.b.").as_wire());
        assert_eq!(message[mark..], *b"\x01a\xc0\x0c");
    }

    #[test]
    fn far_offsets_are_not_pointed_to() {
        let mut message = vec![0; POINTER_END];
        let mut compressor = Compressor::new(Case::Ignored);
        compressor.write(&mut message, name("b.").as_wire());
        compressor.write(&mut message, name("b.").as_wire());
        assert_eq!(message[POINTER_END..], *b"\x01b\x00\x01b\x00");
    }

    proptest! {
        #[test]
        fn all_names_read_back(
            texts in proptest::collection::vec("([abAB]{1,9}\\.){1,20}", 1..40),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            sizes(Case::Kept, &texts);
            sizes(Case::Ignored, &texts);
        }
    }
}
