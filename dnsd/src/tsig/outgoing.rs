//! Requests of our own that are signed, and their responses (RFC 8945 sections 5.1, 5.3.1 and 5.4).

use super::algorithm::Algorithm;
use super::{FUDGE, Key};
use crate::message::{Response, Tsig};
use std::fmt;
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
    let Ok(response) = Response::read(response) else {
        return false;
    };
    let mut known = Known::new(key, request_mac.into());
    known.take(&response, wall).is_ok() && known.is_last_signed()
}

/// Knows the messages of one response by the MAC of its request, in their order: those of a zone
/// transfer need not all be signed (RFC 8945 section 5.3.1).
#[derive(Clone, Debug)]
pub struct Known<'k> {
    key: &'k Key,
    /// The MAC of the request, or of the last message that was signed, as far as it was sent.
    prior: Box<[u8]>,
    /// True until a message was signed: its variables are signed with it, later ones' timers alone.
    is_first: bool,
    /// The messages since then, over which the next signature goes too.
    unsigned: Vec<u8>,
    unsigned_count: usize,
}

/// Why a response is not signed as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The first or the last message has no signature.
    Unsigned,
    /// More than [`UNSIGNED_MAX`] messages in a row have none.
    TooManyUnsigned,
    /// By another key, or another algorithm.
    OtherKey,
    /// Less of the MAC was sent than the key asks for, or more than there is.
    MacSize,
    /// The MAC is not that of the messages.
    BadMac,
    /// It was signed too long ago, or will be.
    BadTime,
}

/// So many messages may be between two that are signed. RFC 8945 section 5.3.1: a client "MUST accept
/// up to 99 intermediary messages without a TSIG".
pub const UNSIGNED_MAX: usize = 99;

impl<'k> Known<'k> {
    /// Those of the response to a request that was signed by this key, and has this MAC.
    #[must_use]
    pub fn new(key: &'k Key, request_mac: Box<[u8]>) -> Self {
        Self {
            key,
            prior: request_mac,
            is_first: true,
            unsigned: Vec::new(),
            unsigned_count: 0,
        }
    }

    /// Looks at the next message. What was said since the last signature counts only after the next
    /// one.
    pub fn take(&mut self, response: &Response<'_>, wall: Duration) -> Result<(), Flaw> {
        let Some(tsig) = response.tsig() else {
            return self.take_unsigned(response.message);
        };
        let (key, message) = (self.key, response.message);
        let algorithm = key.method.algorithm;
        let name = Name::from_message(message, tsig.at).map(|(name, _)| name);
        if name.as_ref() != Ok(&key.name) || Algorithm::from_wire(tsig.algorithm) != Some(algorithm)
        {
            return Err(Flaw::OtherKey);
        }
        if !(key.method.mac_size()..=algorithm.mac_size()).contains(&tsig.mac.len()) {
            return Err(Flaw::MacSize);
        }
        // RFC 8945 section 4.3.2: the message as it was before the record was added.
        let mut header = [0; 12];
        header.copy_from_slice(&message[..12]);
        header[..2].copy_from_slice(&tsig.original_id.to_be_bytes());
        let additionals = u16::from_be_bytes([header[10], header[11]]) - 1;
        header[10..].copy_from_slice(&additionals.to_be_bytes());
        let size = (self.prior.len() as u16).to_be_bytes();
        let (variables, timers) = (tsig.variables(key.name.as_wire()), tsig.timers());
        let signed_last: &[u8] = if self.is_first { &variables } else { &timers };
        let body = &message[12..tsig.at];
        let pieces: [&[u8]; 6] = [
            &size,
            &self.prior,
            &self.unsigned,
            &header,
            body,
            signed_last,
        ];
        let mac = algorithm.mac(key.secret.as_bytes(), &pieces);
        let is_equal = mac.as_bytes()[..tsig.mac.len()].ct_eq(tsig.mac);
        if !bool::from(is_equal) {
            return Err(Flaw::BadMac);
        }
        if wall.as_secs().abs_diff(tsig.time_signed) > u64::from(tsig.fudge) {
            return Err(Flaw::BadTime);
        }
        self.prior = tsig.mac.into();
        self.is_first = false;
        self.unsigned.clear();
        self.unsigned_count = 0;
        Ok(())
    }

    /// True if nothing came after the last signature. RFC 8945 section 5.3.1: the last message is
    /// signed.
    #[must_use]
    pub fn is_last_signed(&self) -> bool {
        !self.is_first && self.unsigned_count == 0
    }

    fn take_unsigned(&mut self, message: &[u8]) -> Result<(), Flaw> {
        // RFC 8945 section 5.3.1: the first one is signed.
        if self.is_first {
            return Err(Flaw::Unsigned);
        }
        if self.unsigned_count == UNSIGNED_MAX {
            return Err(Flaw::TooManyUnsigned);
        }
        self.unsigned_count += 1;
        self.unsigned.extend_from_slice(message);
        Ok(())
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "its first or last message has no signature",
            Self::TooManyUnsigned => "too many messages in a row have no signature",
            Self::OtherKey => "it is by another key or algorithm",
            Self::MacSize => "the MAC is longer or shorter than that of the key",
            Self::BadMac => "the MAC is not that of the message; the secrets may differ",
            Self::BadTime => "it was signed at another time; the clocks may differ",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Header, Request};
    use crate::tsig::{Keys, Secret, Signed, Verdict, verify};

    const WALL: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn a_response_is_known_by_the_mac_of_its_request() {
        let wall = WALL;
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

    /// Signs a message of a response as its sender does; the MAC.
    fn seal(message: &mut Vec<u8>, key: &Key, before: &[&[u8]], is_first: bool) -> Box<[u8]> {
        let mut tsig = Tsig {
            at: message.len(),
            algorithm: key.method.algorithm.wire(),
            time_signed: WALL.as_secs(),
            fudge: FUDGE,
            mac: &[],
            original_id: 0x1234,
            error: 0,
            other: &[],
        };
        let name = key.name.as_wire();
        let (variables, timers) = (tsig.variables(name), tsig.timers());
        let last: &[u8] = if is_first { &variables } else { &timers };
        let size = (before[0].len() as u16).to_be_bytes();
        let pieces = [&[&size[..]], before, &[message, last]].concat();
        let mac = key.method.algorithm.mac(key.secret.as_bytes(), &pieces);
        tsig.mac = mac.as_bytes();
        tsig.write(name, message);
        mac.as_bytes().into()
    }

    #[test]
    fn messages_of_a_response_are_known_through_those_without_a_signature() {
        let key = Key {
            name: "key.test".parse().unwrap(),
            method: "hmac-sha512".parse().unwrap(),
            secret: Secret::new(b"secret".to_vec()).unwrap(),
        };
        // `s` is a message with a signature over all since the last one, `u` one without; in upper
        // case one that is changed on its way. Whether the last one is signed, or what is wrong with
        // which.
        let check = |text: &str, expected: Result<bool, (usize, Flaw)>| {
            let mut known = Known::new(&key, b"mac of the request"[..].into());
            let mut before: Vec<Box<[u8]>> = vec![b"mac of the request"[..].into()];
            let mut is_first = true;
            let mut outcome = Ok(());
            for (at, kind) in text.chars().enumerate() {
                let mut message = b"\x12\x34\x84\0\0\0\0\0\0\0\0\0".to_vec();
                message[3] = at as u8 & 0x0f;
                if kind.eq_ignore_ascii_case(&'s') {
                    let pieces: Vec<&[u8]> = before.iter().map(|piece| &piece[..]).collect();
                    let mac = seal(&mut message, &key, &pieces, is_first);
                    (before, is_first) = (vec![mac], false);
                } else {
                    before.push(message[..].into());
                }
                message[3] ^= if kind.is_uppercase() { 0x10 } else { 0 };
                let taken = known.take(&Response::read(&message).unwrap(), WALL);
                if let Err(flaw) = taken {
                    outcome = Err((at, flaw));
                    break;
                }
            }
            let found = outcome.map(|()| known.is_last_signed());
            assert_eq!(found, expected, "{text}");
        };
        check("", Ok(false));
        check("s", Ok(true));
        check("sss", Ok(true));
        check("suus", Ok(true));
        check("suussus", Ok(true));
        check("su", Ok(false));
        check("u", Err((0, Flaw::Unsigned)));
        check("S", Err((0, Flaw::BadMac)));
        check("sS", Err((1, Flaw::BadMac)));
        check("sUs", Err((2, Flaw::BadMac)));
        check("suUus", Err((4, Flaw::BadMac)));
        let many = "u".repeat(UNSIGNED_MAX);
        check(&format!("s{many}s{many}s"), Ok(true));
        let too_many = Flaw::TooManyUnsigned;
        check(&format!("s{many}us"), Err((UNSIGNED_MAX + 1, too_many)));
    }

    #[test]
    fn a_signature_is_by_the_key_and_of_now() {
        let key = |name: &str, method: &str| Key {
            name: name.parse().unwrap(),
            method: method.parse().unwrap(),
            secret: Secret::new(b"secret".to_vec()).unwrap(),
        };
        let ours = key("Key.test", "hmac-sha256");
        let check = |by: &Key, wall: Duration, expected: Result<(), Flaw>| {
            let mut message = b"\x12\x34\x84\0\0\0\0\0\0\0\0\0".to_vec();
            seal(&mut message, by, &[b"mac"], true);
            // The ID may differ on the way (RFC 8945 section 5.3.2).
            message[0] = 9;
            let mut known = Known::new(&ours, b"mac"[..].into());
            let taken = known.take(&Response::read(&message).unwrap(), wall);
            assert_eq!(taken, expected, "{by:?} {wall:?}");
        };
        let fudge = Duration::from_secs(FUDGE.into());
        let late = fudge + Duration::from_secs(1);
        check(&ours, WALL, Ok(()));
        check(&key("KEY.TEST", "hmac-sha256"), WALL + fudge, Ok(()));
        check(&ours, WALL + late, Err(Flaw::BadTime));
        check(&ours, WALL - late, Err(Flaw::BadTime));
        check(&key("other.test", "hmac-sha256"), WALL, Err(Flaw::OtherKey));
        check(&key("key.test", "hmac-sha224"), WALL, Err(Flaw::OtherKey));
    }
}
