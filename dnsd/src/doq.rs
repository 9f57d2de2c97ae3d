//! DNS over QUIC (RFC 9250): the one request of a stream.

use crate::message::{Header, Malformed, Request};

/// Size of the length in front of a message.
pub const LENGTH_SIZE: usize = 2;

/// The DNS message of a stream that its client has ended.
pub fn request_of(stream: &[u8]) -> Result<&[u8], Malformed> {
    let (length, message) = stream.split_first_chunk().ok_or(Malformed)?;
    // RFC 9250 section 4.3.3: a stream that ends too early, or holds another request, is an error
    // of its client.
    if usize::from(u16::from_be_bytes(*length)) != message.len() {
        return Err(Malformed);
    }
    let header = Header::read(message)?;
    // RFC 9250 section 4.2.1: streams tell requests from each other, and the ID would tell clients.
    if header.id() != 0 {
        return Err(Malformed);
    }
    let edns = Request::read(message, header)
        .ok()
        .and_then(|read| read.edns);
    // RFC 9250 section 5.5.2: a QUIC connection has a time-out of its own.
    if edns.is_some_and(|edns| edns.wants_keepalive) {
        return Err(Malformed);
    }
    Ok(message)
}

/// A message as it stands in a stream.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let size = u16::try_from(message.len()).expect("responses are bounded by MESSAGE_SIZE_MAX");
    [&size.to_be_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01";

    #[test]
    fn a_stream_holds_one_request_and_no_more() {
        let check = |stream: &[u8], expected: Result<&[u8], Malformed>| {
            assert_eq!(request_of(stream), expected, "{stream:?}");
        };
        let framed = frame(QUERY);
        check(&framed, Ok(QUERY));
        check(&framed[..18], Err(Malformed));
        check(&[&framed[..], &framed].concat(), Err(Malformed));
        check(b"", Err(Malformed));
        check(b"\x00", Err(Malformed));
        check(b"\x00\x00", Err(Malformed));
        // What cannot be read is answered FORMERR, as by all transports.
        check(&frame(&QUERY[..14]), Ok(&QUERY[..14]));
        let numbered = [b"\x00\x01", &QUERY[2..]].concat();
        check(&frame(&numbered), Err(Malformed));
    }

    #[test]
    fn the_option_keepalive_is_forbidden() {
        let with_option = |option: &[u8]| {
            let mut query = QUERY.to_vec();
            query[11] = 1;
            query.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00");
            query.push(option.len() as u8);
            query.extend(option);
            request_of(&frame(&query)).is_ok()
        };
        assert!(with_option(b""));
        assert!(with_option(b"\x00\x0c\x00\x00"));
        assert!(!with_option(b"\x00\x0b\x00\x00"));
    }
}
