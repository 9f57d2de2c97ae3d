//! Requests of our own that are signed, and their responses (RFC 8945 sections 5.1 and 5.4).

use super::algorithm::Algorithm;
use super::{FUDGE, Key};
use crate::message::{Header, Request, Tsig};
use std::time::Duration;
use subtle::ConstantTimeEq;
use zones::Name;

/// Appends the signature to a request; gives back its MAC, by which the response is known.
pub fn sign(message: &mut Vec<u8>, key: &Key, wall: Duration) -> Box<[u8]> {
    let algorithm = key.method.algorithm;
    let mut tsig = Tsig {
        at: message.len(),
        algorithm: algorithm.wire(),
        time_signed: wall.as_secs(),
        fudge: FUDGE,
        mac: &[],
        original_id: u16::from_be_bytes([message[0], message[1]]),
        error: 0,
        other: &[],
    };
    let name = key.name.as_wire();
    let variables = tsig.variables(name);
    let mac = algorithm.mac(key.secret.as_bytes(), &[message, &variables]);
    let mac = &mac.as_bytes()[..key.method.mac_size()];
    tsig.mac = mac;
    tsig.write(name, message);
    mac.into()
}

/// True if the response is signed by this key, over a request with this MAC, not long ago.
#[must_use]
pub fn is_signed(response: &[u8], key: &Key, request_mac: &[u8], wall: Duration) -> bool {
    let read = Header::read(response).and_then(|header| Request::read(response, header));
    let Some(tsig) = read.ok().and_then(|read| read.tsig()) else {
        return false;
    };
    let algorithm = key.method.algorithm;
    let name = Name::from_message(response, tsig.at).map(|(name, _)| name);
    if name.as_ref() != Ok(&key.name)
        || Algorithm::from_wire(tsig.algorithm) != Some(algorithm)
        || !(key.method.mac_size()..=algorithm.mac_size()).contains(&tsig.mac.len())
        || wall.as_secs().abs_diff(tsig.time_signed) > u64::from(tsig.fudge)
    {
        return false;
    }
    // RFC 8945 section 4.3.2: the message as it was before the record was added.
    let mut header = [0; 12];
    header.copy_from_slice(&response[..12]);
    header[..2].copy_from_slice(&tsig.original_id.to_be_bytes());
    let additionals = u16::from_be_bytes([header[10], header[11]]) - 1;
    header[10..].copy_from_slice(&additionals.to_be_bytes());
    let size = (request_mac.len() as u16).to_be_bytes();
    let variables = tsig.variables(key.name.as_wire());
    let body = &response[12..tsig.at];
    let pieces: [&[u8]; 5] = [&size, request_mac, &header, body, &variables];
    let mac = algorithm.mac(key.secret.as_bytes(), &pieces);
    mac.as_bytes()[..tsig.mac.len()].ct_eq(tsig.mac).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsig::{Keys, Secret, Signed, Verdict, verify};

    #[test]
    fn a_response_is_known_by_the_mac_of_its_request() {
        let wall = Duration::from_secs(1_700_000_000);
        let key = |secret: &[u8]| Key {
            name: "Key.test".parse().unwrap(),
            method: "hmac-sha256-128".parse().unwrap(),
            secret: Secret::new(secret.to_vec()).unwrap(),
        };
        let (ours, other) = (key(b"secret"), key(b"another"));
        let keys: Keys = [ours.clone()].into_iter().collect();
        let mut request = b"\x12\x34\x24\0\0\x01\0\0\0\0\0\0\x04test\0\0\x06\0\x01".to_vec();
        let mut response = request.clone();
        let mac = sign(&mut request, &ours, wall);
        let read = Request::read(&request, Header::read(&request).unwrap()).unwrap();
        let tsig = read.tsig().unwrap();
        let verdict = verify(&request, &tsig, &keys, wall);
        assert!(matches!(verdict, Verdict::Good(_)), "{verdict:?}");
        let signed = Signed {
            message: &request,
            tsig,
            verdict,
        };
        response[2] |= 0x80;
        assert!(!is_signed(&response, &ours, &mac, wall), "it is not yet");
        signed.seal(&mut response, wall);
        assert!(is_signed(&response, &ours, &mac, wall));
        assert!(!is_signed(&response, &other, &mac, wall));
        assert!(!is_signed(&response, &ours, b"another request", wall));
        assert!(!is_signed(
            &response,
            &ours,
            &mac,
            wall + Duration::from_secs(301)
        ));
        response[3] ^= 1;
        assert!(!is_signed(&response, &ours, &mac, wall));
    }
}
