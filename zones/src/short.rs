//! Bytes that are mostly few, as those of a name: few stand in the value itself, more are shared.
//!
//! ```text
//! few   size u8 | bytes, up to 22        no memory of its own
//! many  ───▶ count | bytes               a clone costs one reference count
//! ```
//! There is a name or a key of one at many places for each zone, and there are very many zones.

use std::ops::Deref;
use std::sync::Arc;

/// The bytes. They never change.
#[derive(Clone)]
pub(crate) struct ShortBytes(Place);

#[derive(Clone)]
enum Place {
    Here { size: u8, bytes: [u8; HERE_MAX] },
    Shared(Arc<[u8]>),
}

/// As many as make the value three words, which is less than a pointer and what it points to take.
const HERE_MAX: usize = 22;

impl From<&[u8]> for ShortBytes {
    fn from(given: &[u8]) -> Self {
        if given.len() > HERE_MAX {
            return Self(Place::Shared(given.into()));
        }
        let mut bytes = [0; HERE_MAX];
        bytes[..given.len()].copy_from_slice(given);
        Self(Place::Here {
            size: given.len() as u8,
            bytes,
        })
    }
}

impl Deref for ShortBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Here { size, bytes } => &bytes[..usize::from(*size)],
            Place::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        for size in 0..all.len() {
            let bytes = ShortBytes::from(&all[..size]);
            assert_eq!(*bytes, all[..size]);
            assert_eq!(*bytes.clone(), all[..size]);
        }
    }

    #[test]
    fn they_take_three_words() {
        assert_eq!(size_of::<ShortBytes>(), 24);
        assert_eq!(size_of::<Option<ShortBytes>>(), 24);
    }
}
