//! Labels eight bytes at a time: their case folded, and what of them takes more room in a key.

/// Bytes that are looked at at once.
pub const WORD_SIZE: usize = 8;

/// Up to eight bytes, the first one in the lowest place; zeroes where there are fewer.
#[inline]
#[must_use]
pub fn load(bytes: &[u8]) -> u64 {
    if let Some(whole) = bytes.first_chunk() {
        return u64::from_le_bytes(*whole);
    }
    let (first, last) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>());
    if let (Some(first), Some(last)) = (first, last) {
        // Where the two overlap they say the same.
        let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
        return u64::from(u32::from_le_bytes(*first)) | last;
    }
    let bytes = bytes.iter().rev();
    bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The bytes from `at` on, so many of them, one to eight, as [`load`] has them.
#[inline]
pub(crate) fn load_some(bytes: &[u8], at: usize, size: usize) -> u64 {
    let above = 8 * (WORD_SIZE - size);
    if let Some(word) = bytes.get(at..at + WORD_SIZE) {
        return load(word) << above >> above;
    }
    // What stands before them makes the word whole.
    match (at + size).checked_sub(WORD_SIZE) {
        Some(from) => load(&bytes[from..at + size]) >> above,
        None => load(&bytes[at..at + size]),
    }
}

/// The lowest `size` bytes of a word, one to eight, above which are zeroes, as a key has them. None
/// if one of them takes two bytes in a key.
#[inline]
pub(crate) fn fold(word: u64, size: usize) -> Option<u64> {
    let mask = u64::MAX >> (8 * (WORD_SIZE - size));
    // Small letters, digits and the hyphen have this bit; capitals, 00 and 01 do not.
    if !word & SMALL & mask == 0 {
        return Some(word);
    }
    (!has_zero_or_one(word | !mask)).then(|| to_lowercase(word))
}

/// True if both are the same bytes.
#[inline(always)]
pub(crate) fn are_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (Some(last_a), Some(last_b)) = (a.last_chunk(), b.last_chunk()) else {
        return load(a) == load(b);
    };
    let mut words = a.chunks_exact(WORD_SIZE).zip(b.chunks_exact(WORD_SIZE));
    // Where the last word overlaps the one before they say the same.
    words.all(|(a, b)| load(a) == load(b))
        && u64::from_le_bytes(*last_a) == u64::from_le_bytes(*last_b)
}

/// The bytes before the first zero; and whether there is one.
#[inline]
pub(crate) fn until_zero(word: u64) -> (u64, bool) {
    // Below the first zero byte nothing borrows.
    let zeroes = word.wrapping_sub(ONES) & !word & HIGH;
    if zeroes == 0 {
        return (word, false);
    }
    let first = zeroes & zeroes.wrapping_neg();
    (word & ((first >> 7) - 1), true)
}

/// Eight bytes with small letters for capitals.
#[inline(always)]
pub(crate) fn to_lowercase(word: u64) -> u64 {
    // Capitals have the bit of letters and not that of small ones, which stands right below it. Most
    // names have none.
    if word & !(word << 1) & LETTER == 0 {
        return word;
    }
    let low = word & !HIGH;
    // The high bit of each byte tells: it is `A` or above, it is above `Z`.
    let from_a = low + ONES * u64::from(0x80 - b'A');
    let above_z = low + ONES * u64::from(0x7f - b'Z');
    let capitals = (from_a ^ above_z) & !word & HIGH;
    word | capitals >> 2
}

fn has_zero_or_one(word: u64) -> bool {
    // A byte 00 or 01 without its lowest bit is zero, and only what is zero borrows from above.
    let even = word & !ONES;
    even.wrapping_sub(ONES) & !even & HIGH != 0
}

const ONES: u64 = u64::from_le_bytes([1; WORD_SIZE]);
const HIGH: u64 = ONES << 7;
const LETTER: u64 = ONES << 6;
const SMALL: u64 = ONES << 5;

/// The hash of what has this hash so far with a word behind it: each bit tells of all bits before.
#[inline]
#[must_use]
pub fn mix(hash: u64, word: u64) -> u64 {
    // Both halves of the product.
    let product = u128::from(hash ^ word) * MULTIPLIER;
    product as u64 ^ (product >> 64) as u64
}

/// Odd, its bits without a pattern: the first 64 after the point of the golden ratio.
const MULTIPLIER: u128 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_folded_or_need_two() {
        for byte in 0..=255u8 {
            for at in 0..WORD_SIZE {
                for size in at + 1..=WORD_SIZE {
                    let mut bytes = *b"aZ-9\xff@[`";
                    bytes[at] = byte;
                    let mut expected = bytes;
                    expected.make_ascii_lowercase();
                    expected[size..].fill(0);
                    let expected = (byte > 1).then(|| u64::from_le_bytes(expected));
                    let folded = fold(load(&bytes[..size]), size);
                    assert_eq!(folded, expected, "{bytes:?} {size}");
                }
            }
        }
    }

    #[test]
    fn fewer_bytes_leave_zeroes() {
        let bytes = *b"abcdefghi";
        for size in 0..=bytes.len() {
            let mut expected = [0; WORD_SIZE];
            let whole = size.min(WORD_SIZE);
            expected[..whole].copy_from_slice(&bytes[..whole]);
            assert_eq!(load(&bytes[..size]), u64::from_le_bytes(expected), "{size}");
        }
    }

    #[test]
    fn some_bytes_are_those_wherever_they_stand() {
        let bytes = *b"abcdefghijk";
        for whole in 1..=bytes.len() {
            for at in 0..whole {
                for size in 1..=WORD_SIZE.min(whole - at) {
                    let some = load_some(&bytes[..whole], at, size);
                    assert_eq!(some, load(&bytes[at..at + size]), "{whole} {at} {size}");
                }
            }
        }
    }

    #[test]
    fn one_other_byte_makes_them_different() {
        let bytes = *b"abcdefghijklmnopqrst";
        for size in 0..=bytes.len() {
            assert!(are_equal(&bytes[..size], &{ bytes }[..size]));
            for at in 0..size {
                let mut other = bytes;
                other[at] ^= 1;
                assert!(!are_equal(&bytes[..size], &other[..size]), "{size} {at}");
            }
            assert!(size == 0 || !are_equal(&bytes[..size], &bytes[..size - 1]));
        }
    }
}
