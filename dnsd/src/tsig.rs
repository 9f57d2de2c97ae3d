//! Signatures over messages by a secret that both sides share (RFC 8945): whether a request has a
//! good one, and those of its responses.
//!
//! ```text
//! request with a TSIG record ─ verify ─▶ Signed ─ seal ─▶ the same record over the response
//!                                           └─ stream ─▶ over each message of a zone transfer
//! ```
//! Who may do what by which key is not decided here. When a key signed last is not kept, so an older
//! request may come after a younger one: what it asks is done once all the same (replication
//! protocol section 8).

pub mod algorithm;
pub mod clause;
pub mod key;
pub mod outgoing;

pub use algorithm::{Algorithm, Method, NoMethod};
pub use key::{Key, KeyChange, Keys, NoKeyChange, Secret};

use crate::message::Tsig;
use algorithm::{MAC_SIZE_MAX, Mac};
use std::time::Duration;
use subtle::ConstantTimeEq;
use zones::{Name, Rcode};

/// By how many seconds the clock of a client may differ from ours. RFC 8945 section 10 recommends
/// it.
const FUDGE: u16 = 300;
/// RFC 8945 section 3.
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;
/// Size of a time: 48 bits.
const TIME_SIZE: usize = 6;

/// A request that has a TSIG record, and what that came to.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The request.
    pub message: &'a [u8],
    /// Its record.
    pub tsig: Tsig<'a>,
    /// What [`verify`] said of them.
    pub verdict: Verdict<'a>,
}

/// What a signature came to.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Who has the secret of this key has signed the request, not long ago.
    Good(&'a Key),
    /// The MAC is longer or shorter than any of its algorithm.
    Malformed,
    /// No key of ours has the name and the algorithm.
    UnknownKey,
    /// The MAC is not that of the message.
    BadMac,
    /// It was signed too long ago, or will be.
    BadTime(&'a Key),
    /// Less of the MAC was sent than the key asks for.
    TooShort(&'a Key),
}

/// Signs the messages of one response, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    signed: Signed<'a>,
    /// The MAC of the last message, as far as it was sent.
    prior: Option<([u8; MAC_SIZE_MAX], usize)>,
}

/// How a response is signed.
struct Seal<'a> {
    key: Option<&'a Key>,
    error: u16,
    time_signed: u64,
    fudge: u16,
    has_other: bool,
}

impl<'a> Verdict<'a> {
    /// The key that the request is signed with; none if the signature is not good.
    #[must_use]
    pub fn key(self) -> Option<&'a Key> {
        match self {
            Self::Good(key) => Some(key),
            _ => None,
        }
    }

    /// With what the request is answered, and not read further, if its signature is not good.
    #[must_use]
    pub fn failure(self) -> Option<Rcode> {
        match self {
            Self::Good(_) => None,
            // RFC 8945 section 5.2.2.1.
            Self::Malformed => Some(Rcode::FORMERR),
            // RFC 8945 sections 5.2.1 to 5.2.4.
            Self::UnknownKey | Self::BadMac | Self::BadTime(_) | Self::TooShort(_) => {
                Some(Rcode::NOTAUTH)
            }
        }
    }
}

impl<'a> Signed<'a> {
    /// How many bytes [`Self::seal`] appends to a response.
    #[must_use]
    pub fn size(&self) -> usize {
        match self.verdict {
            Verdict::Malformed => 0,
            Verdict::UnknownKey | Verdict::BadMac => Tsig::size(
                self.key_name().as_wire().len(),
                self.tsig.algorithm.len(),
                0,
                0,
            ),
            Verdict::Good(key) | Verdict::TooShort(key) => sealed_size(key, 0),
            Verdict::BadTime(key) => sealed_size(key, TIME_SIZE),
        }
    }

    /// Appends the signature of a response that is one message, or the error that stands in its
    /// place (RFC 8945 section 5.3).
    pub fn seal(&self, response: &mut Vec<u8>, wall: Duration) {
        self.stream().seal(response, wall);
    }

    /// For a response of several messages.
    #[must_use]
    pub fn stream(&self) -> Stream<'a> {
        Stream {
            signed: *self,
            prior: None,
        }
    }

    /// The name of the key, whether there is such a key or not.
    fn key_name(&self) -> Name {
        let name = Name::from_message(self.message, self.tsig.at);
        name.expect("the record was read with its owner").0
    }

    fn how_sealed(&self, now: u64) -> Option<Seal<'a>> {
        let seal = Seal {
            key: None,
            error: 0,
            time_signed: now,
            fudge: FUDGE,
            has_other: false,
        };
        Some(match self.verdict {
            Verdict::Malformed => return None,
            // RFC 8945 section 5.3.2: an error of the key or the MAC is not signed.
            Verdict::UnknownKey => Seal {
                error: BADKEY,
                ..seal
            },
            Verdict::BadMac => Seal {
                error: BADSIG,
                ..seal
            },
            Verdict::Good(key) => Seal {
                key: Some(key),
                ..seal
            },
            Verdict::TooShort(key) => Seal {
                key: Some(key),
                error: BADTRUNC,
                ..seal
            },
            // RFC 8945 section 5.2.3: by the client's own time, so that it can verify it.
            Verdict::BadTime(key) => Seal {
                key: Some(key),
                error: BADTIME,
                time_signed: self.tsig.time_signed,
                fudge: self.tsig.fudge,
                has_other: true,
            },
        })
    }
}

impl Stream<'_> {
    /// Appends the signature of the next message.
    pub fn seal(&mut self, message: &mut Vec<u8>, wall: Duration) {
        let now = wall.as_secs();
        let signed = &self.signed;
        let Some(seal) = signed.how_sealed(now) else {
            return;
        };
        let [_, _, time @ ..] = now.to_be_bytes();
        let mut tsig = Tsig {
            at: message.len(),
            algorithm: seal
                .key
                .map_or(signed.tsig.algorithm, |key| key.method.algorithm.wire()),
            time_signed: seal.time_signed,
            fudge: seal.fudge,
            mac: &[],
            original_id: u16::from_be_bytes([message[0], message[1]]),
            error: seal.error,
            other: if seal.has_other { &time } else { &[] },
        };
        let Some(key) = seal.key else {
            tsig.write(signed.key_name().as_wire(), message);
            return;
        };
        let name = key.name.as_wire();
        let secret = key.secret.as_bytes();
        let algorithm = key.method.algorithm;
        let mac: Mac = match &self.prior {
            None => {
                let size = (signed.tsig.mac.len() as u16).to_be_bytes();
                let variables = tsig.variables(name);
                algorithm.mac(secret, &[&size, signed.tsig.mac, message, &variables])
            }
            // RFC 8945 section 5.3.1: the prior MAC, and the timers alone.
            Some((prior, size)) => {
                let prior = &prior[..*size];
                let size = (prior.len() as u16).to_be_bytes();
                algorithm.mac(secret, &[&size, prior, message, &tsig.timers()])
            }
        };
        tsig.mac = &mac.as_bytes()[..key.method.mac_size()];
        tsig.write(name, message);
        let mut prior = [0; MAC_SIZE_MAX];
        prior[..tsig.mac.len()].copy_from_slice(tsig.mac);
        self.prior = Some((prior, tsig.mac.len()));
    }

    /// How many bytes are appended to each message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.signed.size()
    }
}

fn sealed_size(key: &Key, other: usize) -> usize {
    let algorithm = key.method.algorithm.wire().len();
    let name = key.name.as_wire().len();
    Tsig::size(name, algorithm, key.method.mac_size(), other)
}

/// Looks at the signature of a request: key, MAC, time, truncation (RFC 8945 section 5.2). `wall` is
/// the time since 1970.
#[must_use]
pub fn verify<'a>(message: &[u8], tsig: &Tsig<'_>, keys: &'a Keys, wall: Duration) -> Verdict<'a> {
    let Ok((name, _)) = Name::from_message(message, tsig.at) else {
        return Verdict::Malformed;
    };
    let algorithm = Algorithm::from_wire(tsig.algorithm);
    let key = keys.get(&name);
    let Some(key) = key.filter(|key| Some(key.method.algorithm) == algorithm) else {
        return Verdict::UnknownKey;
    };
    let algorithm = key.method.algorithm;
    // RFC 8945 section 5.2.2.1.
    if !(algorithm.mac_size_min()..=algorithm.mac_size()).contains(&tsig.mac.len()) {
        return Verdict::Malformed;
    }
    // RFC 8945 section 4.3.2: the message as it was before the record was added, with the ID that
    // it had then.
    let mut header = [0; 12];
    header.copy_from_slice(&message[..12]);
    header[..2].copy_from_slice(&tsig.original_id.to_be_bytes());
    let additionals = u16::from_be_bytes([header[10], header[11]]) - 1;
    header[10..].copy_from_slice(&additionals.to_be_bytes());
    let variables = tsig.variables(name.as_wire());
    let pieces = [&header, &message[12..tsig.at], &variables];
    let mac = algorithm.mac(key.secret.as_bytes(), &pieces);
    let is_equal = mac.as_bytes()[..tsig.mac.len()].ct_eq(tsig.mac);
    if !bool::from(is_equal) {
        return Verdict::BadMac;
    }
    if wall.as_secs().abs_diff(tsig.time_signed) > u64::from(tsig.fudge) {
        return Verdict::BadTime(key);
    }
    if tsig.mac.len() < key.method.mac_size() {
        return Verdict::TooShort(key);
    }
    Verdict::Good(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Header, Malformed, Request};
    use data_encoding::HEXLOWER;

    /// Made by dnspython 2.8 with the key below at [`SIGNED`]: its owner is compressed.
    const REQUEST: &str = "12340100000100000000000103777777076578616d706c65047465737400000100\
        01034b6579c01800fa00ff00000000003d0b686d61632d7368613235360000006553f100012c00205b7e1ddd7a\
        e6c1b82ada866a74a449660a79bb9f77d7f1b5bf2da51285713c8f123400000000";
    /// What it made for a response five seconds later.
    const RESPONSE_MAC: &str = "2a224669368d7f6c241dd68a2e2648ec8f2615cd19425ca0eb7391a96dd40f9d";
    const SIGNED: u64 = 1_700_000_000;

    fn key(name: &str, method: &str, secret: &[u8]) -> Key {
        Key {
            name: name.parse().unwrap(),
            method: method.parse().unwrap(),
            secret: Secret::new(secret.to_vec()).unwrap(),
        }
    }

    fn keys() -> Keys {
        let same = |name, method| key(name, method, b"secret");
        [
            same("key.test", "hmac-sha256"),
            same("md5.test", "hmac-md5"),
            same("half.test", "hmac-sha256-128"),
        ]
        .into_iter()
        .collect()
    }

    fn read(message: &[u8]) -> Result<Request<'_>, Malformed> {
        Request::read(message, Header::read(message)?)
    }

    fn signed<'a>(message: &'a [u8], keys: &'a Keys, wall: u64) -> Signed<'a> {
        let tsig = read(message).unwrap().tsig().unwrap();
        let verdict = verify(message, &tsig, keys, Duration::from_secs(wall));
        Signed {
            message,
            tsig,
            verdict,
        }
    }

    /// A question that is signed by the key at [`SIGNED`], `size` bytes of the MAC sent.
    fn request(key: &Key, size: usize) -> Vec<u8> {
        let mut message = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
        let mut tsig = Tsig {
            at: message.len(),
            algorithm: key.method.algorithm.wire(),
            time_signed: SIGNED,
            fudge: FUDGE,
            mac: &[],
            original_id: 0x1234,
            error: 0,
            other: &[],
        };
        let name = key.name.as_wire();
        let variables = tsig.variables(name);
        let algorithm = key.method.algorithm;
        let mac = algorithm.mac(key.secret.as_bytes(), &[&message, &variables]);
        let mac = [mac.as_bytes(), &[0; 8]].concat();
        tsig.mac = &mac[..size];
        tsig.write(name, &mut message);
        message
    }

    fn response() -> Vec<u8> {
        b"\x12\x34\x81\x00\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01".to_vec()
    }

    #[test]
    fn another_implementation_signs_alike() {
        let (request, keys) = (HEXLOWER.decode(REQUEST.as_bytes()).unwrap(), keys());
        let signed = signed(&request, &keys, SIGNED + 5);
        assert_eq!(signed.verdict.key(), keys.get(&"KEY.test".parse().unwrap()));
        let mut sealed = response();
        signed.seal(&mut sealed, Duration::from_secs(SIGNED + 5));
        assert_eq!(sealed.len(), response().len() + signed.size());
        let tsig = read(&sealed).unwrap().tsig().unwrap();
        assert_eq!(HEXLOWER.encode(tsig.mac), RESPONSE_MAC);
        assert_eq!((tsig.time_signed, tsig.error), (SIGNED + 5, 0));
    }

    #[test]
    fn a_signature_is_checked_in_the_order_of_the_rfc() {
        let keys = keys();
        // The verdict, and the error and the size of the MAC in the response.
        let check =
            |key: &Key, size: usize, wall: u64, expected: Option<(Option<Rcode>, u16, usize)>| {
                let message = request(key, size);
                let signed = signed(&message, &keys, wall);
                let failure = signed.verdict.failure();
                let mut sealed = response();
                signed.seal(&mut sealed, Duration::from_secs(wall));
                assert_eq!(sealed.len(), response().len() + signed.size());
                let found = read(&sealed).unwrap().tsig();
                let found = found.map(|tsig| (failure, tsig.error, tsig.mac.len()));
                assert_eq!(found, expected, "{key:?} {size} {wall}");
                assert!(expected.is_some() || failure == Some(Rcode::FORMERR));
            };
        let notauth = Some(Rcode::NOTAUTH);
        let good = key("key.test", "hmac-sha256", b"secret");
        let late = SIGNED + u64::from(FUDGE);
        check(&good, 32, SIGNED, Some((None, 0, 32)));
        check(&good, 32, late, Some((None, 0, 32)));
        check(&good, 32, late + 1, Some((notauth, BADTIME, 32)));
        check(&good, 32, SIGNED - 301, Some((notauth, BADTIME, 32)));
        check(&good, 16, SIGNED, Some((notauth, BADTRUNC, 32)));
        check(&good, 16, late + 1, Some((notauth, BADTIME, 32)));
        check(&good, 15, SIGNED, None);
        check(&good, 33, SIGNED, None);
        let half = key("half.test", "hmac-sha256-128", b"secret");
        check(&half, 32, SIGNED, Some((None, 0, 16)));
        check(&half, 16, SIGNED, Some((None, 0, 16)));
        let md5 = key("MD5.test", "hmac-md5", b"secret");
        check(&md5, 16, SIGNED, Some((None, 0, 16)));
        // Half of it, but less than ten bytes.
        check(&md5, 8, SIGNED, None);
        let unknown = Some((notauth, BADKEY, 0));
        check(
            &key("other.test", "hmac-sha256", b"secret"),
            32,
            SIGNED,
            unknown,
        );
        check(
            &key("key.test", "hmac-sha512", b"secret"),
            64,
            SIGNED,
            unknown,
        );
        let forged = Some((notauth, BADSIG, 0));
        check(
            &key("key.test", "hmac-sha256", b"guess"),
            32,
            SIGNED,
            forged,
        );
        check(
            &key("key.test", "hmac-sha256", b"guess"),
            32,
            late + 1,
            forged,
        );
    }

    #[test]
    fn any_other_bit_before_the_signature_is_seen() {
        let keys = keys();
        let good = request(&key("key.test", "hmac-sha256", b"secret"), 32);
        let at = read(&good).unwrap().tsig().unwrap().at;
        for bit in 0..at * 8 {
            let mut message = good.clone();
            message[bit / 8] ^= 1 << (bit % 8);
            let Ok(request) = read(&message) else {
                continue;
            };
            let Some(tsig) = request.tsig() else {
                continue;
            };
            let verdict = verify(&message, &tsig, &keys, Duration::from_secs(SIGNED));
            // The ID of the record counts, not that of the header.
            assert_eq!(verdict.key().is_some(), bit < 16, "bit {bit}");
        }
    }

    #[test]
    fn a_late_request_learns_our_time_in_its_own() {
        let keys = keys();
        let message = request(&key("key.test", "hmac-sha256", b"secret"), 32);
        let signed = signed(&message, &keys, SIGNED + 1_000);
        let mut sealed = response();
        signed.seal(&mut sealed, Duration::from_secs(SIGNED + 1_000));
        let tsig = read(&sealed).unwrap().tsig().unwrap();
        assert_eq!(tsig.time_signed, SIGNED);
        assert_eq!(tsig.other, &(SIGNED + 1_000).to_be_bytes()[2..]);
    }

    #[test]
    fn messages_of_one_response_are_chained() {
        let keys = keys();
        let wall = Duration::from_secs(SIGNED);
        let message = request(&key("key.test", "hmac-sha256", b"secret"), 32);
        let signed = signed(&message, &keys, SIGNED);
        let mut stream = signed.stream();
        let (mut first, mut second) = (response(), response());
        stream.seal(&mut first, wall);
        stream.seal(&mut second, wall);
        let first = read(&first).unwrap().tsig().unwrap();
        let second = read(&second).unwrap().tsig().unwrap();
        let algorithm = Algorithm::Sha256;
        let pieces = [&[0, 32], first.mac, &response(), &second.timers()];
        assert_eq!(second.mac, algorithm.mac(b"secret", &pieces).as_bytes());
    }
}
