//! Several payloads in one message: one signature, one acknowledgement and few datagrams for all
//! that waited while the one before was handed on.
//!
//! ```text
//! packed = (length u32, payload)*
//! ```

use bytes::{Buf, BufMut, Bytes};

/// A message carries no more bytes of payloads than this, unless one alone is larger: whoever
/// waits for the first of them waits for the last fragment.
pub(crate) const PACK_SIZE_MAX: usize = 16 * 1024;
/// Before each payload.
const LENGTH_SIZE: usize = 4;

pub(crate) fn pack(payloads: &[Bytes]) -> Bytes {
    let size = payloads.iter().map(|payload| LENGTH_SIZE + payload.len());
    let mut packed = Vec::with_capacity(size.sum());
    for payload in payloads {
        packed.put_u32(payload.len() as u32);
        packed.put_slice(payload);
    }
    packed.into()
}

/// None if it is malformed.
pub(crate) fn unpack(mut packed: Bytes) -> Option<Vec<Bytes>> {
    let mut payloads = Vec::new();
    while !packed.is_empty() {
        let size = packed.try_get_u32().ok()? as usize;
        if size > packed.len() {
            return None;
        }
        payloads.push(packed.split_to(size));
    }
    Some(payloads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(
            payloads in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..50),
                0..20,
            ),
        ) {
            let payloads: Vec<Bytes> = payloads.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(unpack(pack(&payloads)), Some(payloads));
        }

        #[test]
        fn no_bytes_make_unpacking_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(bytes.into());
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_malformed() {
        assert_eq!(unpack(Bytes::from_static(b"\0\0\0\x02a")), None);
        assert_eq!(unpack(Bytes::from_static(b"\0\0\0")), None);
    }
}
