//! Who a peer is: its Ed25519 public key, the short name made from it, and its life.

use ring::digest;
use std::fmt;
use std::str::FromStr;

/// The first 8 bytes of SHA-256 of the peer's public key (SPKI). Never handed out by a peer:
/// two sides of a partition would hand out the same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 8]);

/// One life of a peer, from start to stop. A later life has a greater number: the high 32 bits
/// are at least wall seconds, the low 32 random, so that a restored backup does not meet its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The life after `self` that starts at `wall_seconds` since the Unix epoch.
    #[must_use]
    pub fn next(self, wall_seconds: u64, random: u32) -> Self {
        let high = (self.0 >> 32)
            .saturating_add(1)
            .max(wall_seconds)
            .min(u64::from(u32::MAX));
        Self(high << 32 | u64::from(random))
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// What stands before the key in its SubjectPublicKeyInfo (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0,
];

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo; none if it is not one of Ed25519.
    #[must_use]
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let key = spki.strip_prefix(&SPKI_PREFIX)?;
        Some(Self(key.try_into().ok()?))
    }

    /// The SubjectPublicKeyInfo, as TLS shows it (RFC 7250).
    #[must_use]
    pub fn spki(&self) -> [u8; 44] {
        let mut spki = [0; 44];
        spki[..12].copy_from_slice(&SPKI_PREFIX);
        spki[12..].copy_from_slice(&self.0);
        spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo, which a token pins.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        digest::digest(&digest::SHA256, &self.spki())
            .as_ref()
            .try_into()
            .expect("SHA-256 has 32 bytes")
    }

    /// The short name of the peer that has this key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        let mut id = [0; 8];
        id.copy_from_slice(&self.fingerprint()[..8]);
        PeerId(id)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key of {}", self.peer_id())
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPeerId;

impl FromStr for PeerId {
    type Err = BadPeerId;

    fn from_str(text: &str) -> Result<Self, BadPeerId> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(|_| BadPeerId)?;
        Ok(Self(bytes.try_into().map_err(|_| BadPeerId)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_from_the_key_and_reads_back() {
        let key = PublicKey([7; 32]);
        assert_eq!(PublicKey::from_spki(&key.spki()), Some(key));
        assert_eq!(PublicKey::from_spki(&key.spki()[1..]), None);
        let id = key.peer_id();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("00".parse::<PeerId>(), Err(BadPeerId));
    }

    #[test]
    fn a_later_life_has_a_greater_number_whatever_the_clock_says() {
        let first = Incarnation::default().next(1_000, 5);
        let second = first.next(10, 0);
        assert!(second > first);
        assert_eq!(first.0 >> 32, 1_000);
        assert_eq!(second.0 >> 32, 1_001);
    }
}
