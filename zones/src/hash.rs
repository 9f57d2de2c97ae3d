//! The hash of labels, by which names and zones are found.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use crate::word::{self, WORD_SIZE};

/// The hash of labels in wire format, in any case. It is another one in each process, and nobody who
/// chooses names knows it: many of one hash would make lookups slow. Nothing but speed hangs on it.
#[inline(always)]
pub(crate) fn of(labels: &[u8]) -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    // Labels of different length may be made of the same words.
    let mut hash = *SEED ^ labels.len() as u64;
    let Some(last) = labels.last_chunk::<WORD_SIZE>() else {
        return mix(hash, word::load(labels));
    };
    for word in labels.chunks_exact(WORD_SIZE) {
        hash = mix(hash, word::load(word));
    }
    // It overlaps the word before, or is the same.
    mix(hash, word::load(last))
}

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    // Length bytes are below 64 and so never letters.
    word::mix(hash, word::to_lowercase(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_case_does_not_make_another_hash() {
        let all = b"\x0bAbcdefghijk\x04test\x00\x01a";
        let mut hashes = Vec::new();
        for size in 0..=all.len() {
            let lower = all[..size].to_ascii_lowercase();
            assert_eq!(of(&all[..size]), of(&lower), "{size}");
            hashes.push(of(&lower));
            for at in 0..size {
                let mut other = lower.clone();
                other[at] ^= 1;
                hashes.push(of(&other));
            }
        }
        let made = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), made);
    }
}
