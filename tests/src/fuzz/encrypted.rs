//! What HTTPS and QUIC put around a message.

use data_encoding::BASE64URL_NOPAD;
use dnsd::doh::{self, Held};
use dnsd::doq;
use hyper::{Method, Uri};

/// Takes the bytes for the stream of a QUIC request, for the URI of an HTTP request, and for a
/// response that a cache may keep.
pub fn run(bytes: &[u8]) {
    if let Ok(message) = doq::request_of(bytes) {
        assert_eq!(doq::frame(message), bytes);
    }
    if let Ok(uri) = Uri::try_from(bytes)
        && let Ok(held) = doh::message_of(&Method::GET, &uri, None)
    {
        let Held::InUri(message) = held else {
            panic!("GET has no body")
        };
        let text = BASE64URL_NOPAD.encode(&message);
        assert!(uri.query().unwrap_or_default().contains(&text));
    }
    let _seconds = doh::seconds_fresh(bytes);
}

/// A stream, URIs, and responses with records.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let question = b"\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04abcd";
    let mut response = [&question[..], record, record].concat();
    response[2] = 0x84;
    response[7] = 1;
    response[9] = 1;
    let uri = format!("/dns-query?a=b&dns={}", BASE64URL_NOPAD.encode(question));
    vec![
        doq::frame(question),
        uri.into_bytes(),
        b"https://ns1.example/dns-query?dns=AAAB".to_vec(),
        response,
    ]
}
