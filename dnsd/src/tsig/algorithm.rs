//! The algorithms of TSIG (RFC 8945 section 6) and their MACs.

use hmac::{Hmac, KeyInit};
use std::fmt;
use std::str::FromStr;

/// Size of the longest MAC.
pub const MAC_SIZE_MAX: usize = 64;

/// A hash by which HMAC is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Algorithm {
    /// HMAC-MD5. Weak; certbot's plugin has it as its default.
    Md5,
    /// HMAC-SHA1. Weak; lego has it as its default.
    Sha1,
    /// HMAC-SHA224.
    Sha224,
    /// HMAC-SHA256: the one that every implementation has.
    Sha256,
    /// HMAC-SHA384.
    Sha384,
    /// HMAC-SHA512.
    Sha512,
}

/// An algorithm, and how much of its MAC is sent at least: all, or as many leading bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Method {
    /// The algorithm.
    pub algorithm: Algorithm,
    mac_size: u8,
}

/// The text names no algorithm, or a MAC too short or too long for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMethod;

/// A MAC of full length.
#[derive(Clone, Copy)]
pub(super) struct Mac {
    bytes: [u8; MAC_SIZE_MAX],
    size: usize,
}

/// The algorithms, their names in text and in wire format.
const NAMES: [(Algorithm, &str, &[u8]); 6] = [
    (
        Algorithm::Md5,
        "hmac-md5",
        b"\x08hmac-md5\x07sig-alg\x03reg\x03int\x00",
    ),
    (Algorithm::Sha1, "hmac-sha1", b"\x09hmac-sha1\x00"),
    (Algorithm::Sha224, "hmac-sha224", b"\x0bhmac-sha224\x00"),
    (Algorithm::Sha256, "hmac-sha256", b"\x0bhmac-sha256\x00"),
    (Algorithm::Sha384, "hmac-sha384", b"\x0bhmac-sha384\x00"),
    (Algorithm::Sha512, "hmac-sha512", b"\x0bhmac-sha512\x00"),
];

impl Algorithm {
    /// The one with this name in wire format.
    #[must_use]
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        // Length bytes are below 64 and so never letters.
        let found = NAMES
            .iter()
            .find(|(_, _, name)| name.eq_ignore_ascii_case(wire));
        found.map(|(algorithm, ..)| *algorithm)
    }

    /// Its name in canonical wire format.
    #[must_use]
    pub fn wire(self) -> &'static [u8] {
        self.names().2
    }

    /// Size of its MAC in bytes.
    #[must_use]
    pub fn mac_size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// RFC 8945 section 5.2.2.1: no MAC has fewer bytes.
    #[must_use]
    pub fn mac_size_min(self) -> usize {
        (self.mac_size() / 2).max(10)
    }

    /// Whether it should not be chosen today (RFC 8945 section 6, "NOT RECOMMENDED").
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(self, Self::Md5 | Self::Sha1)
    }

    /// The MAC of these bytes, one after the other.
    pub(super) fn mac(self, secret: &[u8], pieces: &[&[u8]]) -> Mac {
        match self {
            Self::Md5 => mac::<Hmac<md5::Md5>>(secret, pieces),
            Self::Sha1 => mac::<Hmac<sha1::Sha1>>(secret, pieces),
            Self::Sha224 => mac::<Hmac<sha2::Sha224>>(secret, pieces),
            Self::Sha256 => mac::<Hmac<sha2::Sha256>>(secret, pieces),
            Self::Sha384 => mac::<Hmac<sha2::Sha384>>(secret, pieces),
            Self::Sha512 => mac::<Hmac<sha2::Sha512>>(secret, pieces),
        }
    }

    fn names(self) -> (Self, &'static str, &'static [u8]) {
        let mut names = NAMES.into_iter();
        names
            .find(|(algorithm, ..)| *algorithm == self)
            .expect("each has a name")
    }
}

impl Method {
    /// The whole MAC.
    #[must_use]
    pub fn whole(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            mac_size: algorithm.mac_size() as u8,
        }
    }

    /// So many bytes of it; none if RFC 8945 section 5.2.2.1 does not let so few or so many be sent.
    #[must_use]
    pub fn truncated(algorithm: Algorithm, mac_size: usize) -> Option<Self> {
        let sizes = algorithm.mac_size_min()..=algorithm.mac_size();
        sizes.contains(&mac_size).then_some(Self {
            algorithm,
            mac_size: mac_size as u8,
        })
    }

    /// How many bytes of a MAC are sent, and needed.
    #[must_use]
    pub fn mac_size(self) -> usize {
        usize::from(self.mac_size)
    }
}

/// As BIND writes it: `hmac-sha256`, or `hmac-sha256-128` where 128 bits are enough.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.names().1)?;
        if self.mac_size() == self.algorithm.mac_size() {
            return Ok(());
        }
        write!(f, "-{}", self.mac_size() * 8)
    }
}

impl FromStr for Method {
    type Err = NoMethod;

    fn from_str(text: &str) -> Result<Self, NoMethod> {
        let text = text.to_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        // So it is called in messages, and in the files of some clients.
        let text = text.strip_suffix(".sig-alg.reg.int").unwrap_or(text);
        for (algorithm, name, _) in NAMES {
            let Some(rest) = text.strip_prefix(name) else {
                continue;
            };
            if rest.is_empty() {
                return Ok(Self::whole(algorithm));
            }
            let bits: usize = rest
                .strip_prefix('-')
                .and_then(|bits| bits.parse().ok())
                .ok_or(NoMethod)?;
            if !bits.is_multiple_of(8) {
                return Err(NoMethod);
            }
            return Self::truncated(algorithm, bits / 8).ok_or(NoMethod);
        }
        Err(NoMethod)
    }
}

impl fmt::Display for NoMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected hmac-sha256, hmac-sha512, hmac-sha384, hmac-sha224, hmac-sha1 or hmac-md5; \
             with -BITS behind it if a truncated MAC is enough, at least half of it and 80",
        )
    }
}

impl std::error::Error for NoMethod {}

impl Mac {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

fn mac<M: hmac::Mac + KeyInit>(secret: &[u8], pieces: &[&[u8]]) -> Mac {
    let mut hmac = <M as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any size");
    pieces.iter().for_each(|piece| hmac.update(piece));
    let made = hmac.finalize().into_bytes();
    let mut mac = Mac {
        bytes: [0; MAC_SIZE_MAX],
        size: made.len(),
    };
    mac.bytes[..made.len()].copy_from_slice(&made);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// The cases of RFC 2202 and RFC 4231 with this key and text.
    #[test]
    fn macs_are_those_of_the_rfcs() {
        let check = |algorithm: Algorithm, expected: &str| {
            let mac = algorithm.mac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
            assert_eq!(HEXLOWER.encode(mac.as_bytes()), expected, "{algorithm:?}");
            assert_eq!(mac.as_bytes().len(), algorithm.mac_size());
        };
        check(Algorithm::Md5, "750c783e6ab0b503eaa86e310a5db738");
        check(Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        check(
            Algorithm::Sha224,
            "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
        );
        check(
            Algorithm::Sha256,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            Algorithm::Sha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
             8e2240ca5e69e2c78b3239ecfab21649",
        );
        check(
            Algorithm::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        );
    }

    #[test]
    fn methods_are_read_and_printed() {
        let check = |text: &str, expected: Result<(&str, usize), NoMethod>| {
            let read = text.parse::<Method>();
            let read = read.map(|method| (method.to_string(), method.mac_size()));
            let read = read.as_ref().map(|(text, size)| (&**text, *size));
            assert_eq!(read, expected.as_ref().map(|e| *e), "{text}");
        };
        check("hmac-sha256", Ok(("hmac-sha256", 32)));
        check("HMAC-SHA512.", Ok(("hmac-sha512", 64)));
        check("hmac-md5.sig-alg.reg.int.", Ok(("hmac-md5", 16)));
        check("hmac-md5.sig-alg.reg.int", Ok(("hmac-md5", 16)));
        check("hmac-sha256-128", Ok(("hmac-sha256-128", 16)));
        check("hmac-sha1-160", Ok(("hmac-sha1", 20)));
        check("hmac-sha1-80", Ok(("hmac-sha1-80", 10)));
        check("hmac-sha1-72", Err(NoMethod));
        check("hmac-sha256-264", Err(NoMethod));
        check("hmac-sha256-130", Err(NoMethod));
        check("hmac-sha256-", Err(NoMethod));
        check("hmac-sha3", Err(NoMethod));
        check("", Err(NoMethod));
    }

    #[test]
    fn names_of_messages_are_known_whatever_their_case() {
        for (algorithm, _, wire) in NAMES {
            assert_eq!(
                Algorithm::from_wire(&wire.to_ascii_uppercase()),
                Some(algorithm)
            );
        }
        assert_eq!(Algorithm::from_wire(b"\x08gss-tsig\x00"), None);
    }
}
