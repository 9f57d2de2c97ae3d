//! The OPT record: what a requestor can take, and what a response says back (RFC 6891).

use super::{ExtendedError, MESSAGE_SIZE_MAX, Malformed, read_u16};
use crate::cookie::{COOKIE_SIZE, Cookie};

/// Size of an OPT record without options.
pub const OPT_SIZE: usize = 11;
/// The version that exists.
pub const EDNS_VERSION: u8 = 0;
/// What can be sent to a requestor that says nothing (RFC 1035 section 4.2.1); a smaller stated
/// size counts as this one (RFC 6891 section 6.2.3).
pub const UDP_SIZE_MIN: u16 = 512;

/// What the OPT record of a request says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns<'m> {
    /// Largest UDP message that the requestor can take.
    pub size: u16,
    /// Version asked for.
    pub version: u8,
    /// The DO bit: DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The option edns-tcp-keepalive is there: the requestor asks how long it may keep its
    /// connection (RFC 7828).
    pub wants_keepalive: bool,
    /// The option NSID is there: the requestor asks which server answers (RFC 5001).
    pub wants_nsid: bool,
    /// The option Padding is there: over an encrypted transport the
    /// response is padded (RFC 7830 sections 4 and 6).
    pub wants_padding: bool,
    /// The option COOKIE (RFC 7873).
    pub cookie: Option<Cookie<'m>>,
}

/// What the OPT record of a response says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opt<'o> {
    /// Largest UDP message that we take.
    pub size: u16,
    /// The DO bit, repeated (RFC 3225 section 3).
    pub dnssec_ok: bool,
    /// How long the connection may be idle, in units of 100 milliseconds (RFC 7828 section 3.1).
    pub keepalive: Option<u16>,
    /// Which server this is (RFC 5001).
    pub nsid: Option<&'o [u8]>,
    /// The client's cookie, and ours (RFC 7873).
    pub cookie: Option<[u8; COOKIE_SIZE]>,
    /// Whether the message is filled up, so that its size says little (RFC 7830).
    pub is_padded: bool,
    /// How many bytes come after the record: a signature counts for the size too.
    pub followed_by: usize,
}

/// The option NSID (RFC 5001).
const NSID: u16 = 3;
/// The option COOKIE (RFC 7873).
const COOKIE: u16 = 10;
/// The option edns-tcp-keepalive (RFC 7828).
const TCP_KEEPALIVE: u16 = 11;
/// The option Padding (RFC 7830).
const PADDING: u16 = 12;
/// RFC 8467 section 4.1: responses are filled up to a multiple of this.
const PADDING_BLOCK: usize = 468;
/// The option EDE (RFC 8914).
const EXTENDED_ERROR: u16 = 15;
/// Size of the code and the length before the data of an option.
const OPTION_HEADER_SIZE: usize = 4;

impl<'m> Edns<'m> {
    /// Reads the fixed fields of an OPT record: its class and TTL.
    pub(super) fn fixed(class: u16, ttl: u32) -> Self {
        Self {
            size: class.max(UDP_SIZE_MIN),
            version: (ttl >> 16) as u8,
            dnssec_ok: ttl & 0x8000 != 0,
            wants_keepalive: false,
            wants_nsid: false,
            wants_padding: false,
            cookie: None,
        }
    }

    /// Reads the fixed fields and the options, which stand in the RDATA.
    pub(super) fn read(class: u16, ttl: u32, rdata: &'m [u8]) -> Result<Self, Malformed> {
        let mut edns = Self::fixed(class, ttl);
        let mut at = 0;
        while at < rdata.len() {
            let (code, size) = (read_u16(rdata, at)?, read_u16(rdata, at + 2)?);
            let start = at + OPTION_HEADER_SIZE;
            at = start + usize::from(size);
            // What cannot be read as options is not an OPT record.
            let data = rdata.get(start..at).ok_or(Malformed)?;
            // RFC 6891 section 6.1.2: options that are not understood are ignored.
            match code {
                // RFC 5001 section 2.2: data in a request is ignored.
                NSID => edns.wants_nsid = true,
                // RFC 7873 section 5.2: of several the first one counts.
                COOKIE if edns.cookie.is_none() => edns.cookie = Some(Cookie::read(data)?),
                TCP_KEEPALIVE => edns.wants_keepalive = true,
                PADDING => edns.wants_padding = true,
                _ => {}
            }
        }
        Ok(edns)
    }
}

impl Opt<'_> {
    /// A record without options.
    #[must_use]
    pub fn new(size: u16, dnssec_ok: bool) -> Self {
        Self {
            size,
            dnssec_ok,
            keepalive: None,
            nsid: None,
            cookie: None,
            is_padded: false,
            followed_by: 0,
        }
    }

    /// Size of the record, less the padding itself and the reason.
    pub(crate) fn size(&self) -> usize {
        OPT_SIZE
            + self.nsid.map_or(0, |nsid| OPTION_HEADER_SIZE + nsid.len())
            + self.cookie.map_or(0, |_| OPTION_HEADER_SIZE + COOKIE_SIZE)
            + self.keepalive.map_or(0, |_| OPTION_HEADER_SIZE + 2)
            + if self.is_padded {
                OPTION_HEADER_SIZE
            } else {
                0
            }
    }

    /// The padding of a message that without it is so long.
    fn padding(&self, message_size: usize) -> &'static [u8] {
        static ZEROES: [u8; PADDING_BLOCK] = [0; PADDING_BLOCK];
        let missing = message_size.next_multiple_of(PADDING_BLOCK) - message_size;
        let room = MESSAGE_SIZE_MAX.saturating_sub(message_size);
        if self.is_padded {
            &ZEROES[..missing.min(room)]
        } else {
            &[]
        }
    }

    /// Appends the record, with the high bits of the RCODE and what that does not say (RFC 8914).
    /// Nothing but a signature comes after it.
    pub(super) fn write(&self, message: &mut Vec<u8>, rcode: u16, error: Option<ExtendedError>) {
        let size = self.size() + error.map_or(0, error_size);
        let padding = self.padding(message.len() + size + self.followed_by);
        let [size_high, size_low] = self.size.to_be_bytes();
        let dnssec_ok = if self.dnssec_ok { 0x80 } else { 0 };
        let rcode_high = (rcode >> 4) as u8;
        let rdata_size = size + padding.len() - OPT_SIZE;
        let [rdata_high, rdata_low] = (rdata_size as u16).to_be_bytes();
        message.extend_from_slice(&[
            0,
            0,
            41,
            size_high,
            size_low,
            rcode_high,
            EDNS_VERSION,
            dnssec_ok,
            0,
            rdata_high,
            rdata_low,
        ]);
        if let Some(nsid) = self.nsid {
            put_option(message, NSID, nsid);
        }
        if let Some(cookie) = self.cookie {
            put_option(message, COOKIE, &cookie);
        }
        if let Some(timeout) = self.keepalive {
            put_option(message, TCP_KEEPALIVE, &timeout.to_be_bytes());
        }
        if let Some(error) = error {
            put_header(
                message,
                EXTENDED_ERROR,
                error_size(error) - OPTION_HEADER_SIZE,
            );
            message.extend_from_slice(&error.code.to_be_bytes());
            message.extend_from_slice(error.text.as_bytes());
        }
        if self.is_padded {
            put_option(message, PADDING, padding);
        }
    }
}

/// Size of the option EDE (RFC 8914 section 2).
pub(super) fn error_size(error: ExtendedError) -> usize {
    OPTION_HEADER_SIZE + 2 + error.text.len()
}

fn put_option(message: &mut Vec<u8>, code: u16, data: &[u8]) {
    put_header(message, code, data.len());
    message.extend_from_slice(data);
}

fn put_header(message: &mut Vec<u8>, code: u16, size: usize) {
    message.extend_from_slice(&code.to_be_bytes());
    message.extend_from_slice(&(size as u16).to_be_bytes());
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
            b"\x00\x0c\x00\x02ab\xff\xff\x00\x00",
            Ok((4096, 0, false)),
        );
        check(4096, 0, b"\x00\x0c\x00\x03ab", Err(Malformed));
        check(4096, 0, b"\x00\x0c\x00", Err(Malformed));
        // A cookie of a length that none has.
        check(4096, 0, b"\x00\x0a\x00\x02ab", Err(Malformed));
    }

    #[test]
    fn the_first_cookie_counts() {
        let check = |rdata: &[u8], expected: Option<(&[u8; 8], &[u8])>| {
            let cookie = Edns::read(1232, 0, rdata).unwrap().cookie;
            let found = cookie.as_ref().map(|c| (&c.client, c.server));
            assert_eq!(found, expected, "{rdata:?}");
        };
        check(b"", None);
        check(b"\0\x0a\0\x08clientco", Some((b"clientco", b"")));
        check(
            b"\0\x0a\0\x10clientcoof8bytes\0\x0a\0\x08secondco\0\x0a\0\x01x",
            Some((b"clientco", b"of8bytes")),
        );
    }

    #[test]
    fn options_that_are_known_are_found_among_others() {
        let check = |rdata: &[u8], wants_keepalive, wants_nsid| {
            let edns = Edns::read(1232, 0, rdata).unwrap();
            let wants = (edns.wants_keepalive, edns.wants_nsid);
            assert_eq!(wants, (wants_keepalive, wants_nsid), "{rdata:?}");
        };
        check(b"", false, false);
        check(b"\x00\x0b\x00\x00", true, false);
        check(b"\x00\x03\x00\x00", false, true);
        check(b"\x00\x0b\x00\x00\x00\x03\x00\x01x", true, true);
        // A time-out in a request means nothing.
        check(b"\xff\xff\x00\x01x\x00\x0b\x00\x02\x00\x09", true, false);
        check(b"\xff\xff\x00\x04\x00\x0b\x00\x00", false, false);
    }

    #[test]
    fn a_padded_message_ends_at_a_multiple_of_its_block_unless_that_is_too_long() {
        let check = |size: usize, is_padded, expected: usize| {
            let mut message = vec![0; size];
            let opt = Opt {
                is_padded,
                ..Opt::new(1232, false)
            };
            opt.write(&mut message, 0, None);
            assert_eq!(message.len(), expected, "{size}");
            let rdata = &message[size + OPT_SIZE..];
            let length = read_u16(&message, size + OPT_SIZE - 2).unwrap();
            assert_eq!(usize::from(length), rdata.len());
            assert_eq!(Edns::read(1232, 0, rdata).unwrap().wants_padding, is_padded);
        };
        check(40, false, 40 + OPT_SIZE);
        check(40, true, PADDING_BLOCK);
        check(
            PADDING_BLOCK - OPT_SIZE - OPTION_HEADER_SIZE,
            true,
            PADDING_BLOCK,
        );
        check(PADDING_BLOCK - OPT_SIZE, true, 2 * PADDING_BLOCK);
        check(MESSAGE_SIZE_MAX - 20, true, MESSAGE_SIZE_MAX);
    }

    #[test]
    fn a_response_repeats_do_splits_the_rcode_and_has_its_options() {
        let check = |opt: Opt<'_>, rcode, error: Option<ExtendedError>, expected: &[u8]| {
            let mut message = Vec::new();
            opt.write(&mut message, rcode, error);
            assert_eq!(message, expected, "{opt:?}");
            assert_eq!(message.len(), opt.size() + error.map_or(0, error_size));
        };
        check(
            Opt::new(1232, true),
            16,
            None,
            &[0, 0, 41, 0x04, 0xd0, 1, 0, 0x80, 0, 0, 0],
        );
        let opt = Opt {
            keepalive: Some(0x0102),
            ..Opt::new(1232, false)
        };
        let expected = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 6, 0, 11, 0, 2, 1, 2];
        check(opt, 3, None, &expected);
        let opt = Opt {
            nsid: Some(b"ns"),
            cookie: Some(*b"clientco and server's 16"),
            ..opt
        };
        let expected = [
            &[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 46, 0, 3, 0, 2][..],
            b"ns\0\x0a\0\x18clientco and server's 16",
            &[0, 11, 0, 2, 1, 2, 0, 15, 0, 2, 0, 14],
        ]
        .concat();
        check(opt, 3, Some(ExtendedError::NOT_READY), &expected);
    }
}
