//! The OPT record: what a requestor can take, and what a response says back (RFC 6891).

use super::{Malformed, read_u16};

/// Size of an OPT record without options.
pub const OPT_SIZE: usize = 11;
/// The version that exists.
pub const EDNS_VERSION: u8 = 0;
/// What can be sent to a requestor that says nothing (RFC 1035 section 4.2.1); a smaller stated
/// size counts as this one (RFC 6891 section 6.2.3).
pub const UDP_SIZE_MIN: u16 = 512;

/// What the OPT record of a request says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns {
    /// Largest UDP message that the requestor can take.
    pub size: u16,
    /// Version asked for.
    pub version: u8,
    /// The DO bit: DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
}

impl Edns {
    /// Reads the fixed fields and options of an OPT record: its class, TTL and RDATA.
    pub(super) fn read(class: u16, ttl: u32, rdata: &[u8]) -> Result<Self, Malformed> {
        let mut at = 0;
        while at < rdata.len() {
            // RFC 6891 section 6.1.2: options that are not understood are ignored; what cannot
            // be read as options is not an OPT record.
            at += 4 + usize::from(read_u16(rdata, at + 2)?);
        }
        if at != rdata.len() {
            return Err(Malformed);
        }
        Ok(Self {
            size: class.max(UDP_SIZE_MIN),
            version: (ttl >> 16) as u8,
            dnssec_ok: ttl & 0x8000 != 0,
        })
    }

    /// The OPT record of a response: our own size, the high bits of the RCODE, the DO bit
    /// repeated (RFC 3225 section 3).
    #[must_use]
    pub(super) fn response(self, size: u16, rcode: u16) -> [u8; OPT_SIZE] {
        let [size_high, size_low] = size.to_be_bytes();
        let dnssec_ok = if self.dnssec_ok { 0x80 } else { 0 };
        let rcode_high = (rcode >> 4) as u8;
        let version = EDNS_VERSION;
        [
            0, 0, 41, size_high, size_low, rcode_high, version, dnssec_ok, 0, 0, 0,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opt_records_are_read_or_refused() {
        let check = |class, ttl, rdata: &[u8], expected: Result<(u16, u8, bool), Malformed>| {
            let read = Edns::read(class, ttl, rdata);
            assert_eq!(
                read.map(|e| (e.size, e.version, e.dnssec_ok)),
                expected,
                "{rdata:?}"
            );
        };
        check(1232, 0, b"", Ok((1232, 0, false)));
        check(100, 0x0001_8000, b"", Ok((512, 1, true)));
        check(
            4096,
            0,
            b"\x00\x0a\x00\x02ab\xff\xff\x00\x00",
            Ok((4096, 0, false)),
        );
        check(4096, 0, b"\x00\x0a\x00\x03ab", Err(Malformed));
        check(4096, 0, b"\x00\x0a\x00", Err(Malformed));
    }

    #[test]
    fn a_response_repeats_do_and_splits_the_rcode() {
        let edns = Edns {
            size: 4096,
            version: 1,
            dnssec_ok: true,
        };
        let expected = [0, 0, 41, 0x04, 0xd0, 1, 0, 0x80, 0, 0, 0];
        assert_eq!(edns.response(1232, 16), expected);
    }
}
