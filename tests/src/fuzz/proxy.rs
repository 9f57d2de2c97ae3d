//! What a proxy puts before a message.

use dnsd::proxy::{Proxies, SIGNATURE};

/// Reads a datagram of a proxy. What is left is its end, and says the same of the client however
/// often it is read.
pub fn run(bytes: &[u8]) {
    let proxies = Proxies(vec!["0.0.0.0/0".parse().expect("it is a prefix")]);
    let source = std::net::SocketAddr::from(([192, 0, 2, 1], 53));
    let Ok((client, message)) = proxies.unwrap(source, bytes) else {
        return;
    };
    assert!(bytes.ends_with(message));
    assert!(message.len() == bytes.len() || bytes.starts_with(&SIGNATURE));
    assert_eq!(proxies.unwrap(source, bytes), Ok((client, message)));
}

/// Headers of both families, with and without what may follow.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let header = |rest: &[u8]| [&SIGNATURE[..], rest, b"a message"].concat();
    vec![
        b"a message".to_vec(),
        header(b"\x20\x00\x00\x00"),
        header(b"\x21\x12\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x35\x12\x34\x00\x35"),
        header(b"\x21\x11\x00\x10\xc0\x00\x02\x01\xc0\x00\x02\x35\x12\x34\x00\x35\x04\x00\x01x"),
        header(&[b"\x21\x22\x00\x24", &[7; 36][..]].concat()),
    ]
}
