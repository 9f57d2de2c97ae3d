//! Keys of TSIG: a name, a method and a secret that both sides share.

use super::algorithm::{Algorithm, Method};
use bytes::{Buf, BufMut};
use std::collections::BTreeMap;
use std::fmt;
use zones::Name;

/// Most keys of a cluster.
pub const KEYS_MAX: usize = 10_000;
/// Longest secret in bytes. One that is longer than a block of its hash is hashed first, so more
/// adds nothing.
pub const SECRET_SIZE_MAX: usize = 256;

/// One key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// By which messages name it.
    pub name: Name,
    /// How MACs are made by it.
    pub method: Method,
    /// What only its two sides know.
    pub secret: Secret,
}

/// What a key's two sides share; never empty. Its debug text does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// The secret is empty, or longer than [`SECRET_SIZE_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretSize;

/// The keys of a cluster, by their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keys(BTreeMap<Name, Key>);

/// A change of the keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyChange {
    /// There is this key, unless another one has its name.
    Add(Key),
    /// There is this key, in the place of one that has its name.
    Replace(Key),
    /// There is none of this name.
    Remove(Name),
}

/// Why a change comes to nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NoKeyChange {
    /// Another key has the name.
    NameInUse,
    /// No key has the name.
    NoSuchKey,
    /// There are [`KEYS_MAX`].
    Full,
}

impl Secret {
    /// The bytes of a secret.
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretSize> {
        if bytes.is_empty() || bytes.len() > SECRET_SIZE_MAX {
            return Err(SecretSize);
        }
        Ok(Self(bytes.into()))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl Key {
    /// Whether its secret is too short for its method to be worth its length (RFC 8945 section 8).
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.secret.as_bytes().len() < self.method.algorithm.mac_size_min()
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(self.name.as_wire());
        let wire = self.method.algorithm.wire();
        out.put_u8(wire.len() as u8);
        out.put_slice(wire);
        out.put_u8(self.method.mac_size() as u8);
        let secret = self.secret.as_bytes();
        out.put_u16(secret.len() as u16);
        out.put_slice(secret);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let name = Name::take_wire(rest)?;
        let size = usize::from(rest.try_get_u8().ok()?);
        let (wire, after) = rest.split_at_checked(size)?;
        *rest = after;
        let algorithm = Algorithm::from_wire(wire)?;
        let method = Method::truncated(algorithm, usize::from(rest.try_get_u8().ok()?))?;
        let size = usize::from(rest.try_get_u16().ok()?);
        let (secret, after) = rest.split_at_checked(size)?;
        *rest = after;
        Some(Self {
            name,
            method,
            secret: Secret::new(secret.to_vec()).ok()?,
        })
    }
}

impl Keys {
    /// The key of this name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Key> {
        self.0.get(name)
    }

    /// All of them, in canonical order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a change, or says why it comes to nothing. What is so already is made.
    pub fn apply(&mut self, change: &KeyChange) -> Result<(), NoKeyChange> {
        match change {
            KeyChange::Add(key) | KeyChange::Replace(key) => match self.0.get(&key.name) {
                Some(held) if held == key => Ok(()),
                Some(_) if matches!(change, KeyChange::Add(_)) => Err(NoKeyChange::NameInUse),
                None if self.0.len() >= KEYS_MAX => Err(NoKeyChange::Full),
                _ => {
                    self.0.insert(key.name.clone(), key.clone());
                    Ok(())
                }
            },
            KeyChange::Remove(name) => match self.0.remove(name) {
                Some(_) => Ok(()),
                None => Err(NoKeyChange::NoSuchKey),
            },
        }
    }

    /// Appends their bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.0.len() as u32);
        self.iter().for_each(|key| key.encode(out));
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let count = rest.try_get_u32().ok()? as usize;
        if count > KEYS_MAX {
            return None;
        }
        let keys = (0..count).map(|_| Key::decode(rest).map(|key| (key.name.clone(), key)));
        keys.collect::<Option<_>>().map(Self)
    }
}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        Self(
            keys.into_iter()
                .map(|key| (key.name.clone(), key))
                .collect(),
        )
    }
}

impl KeyChange {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Add(key) => {
                out.put_u8(1);
                key.encode(out);
            }
            Self::Replace(key) => {
                out.put_u8(2);
                key.encode(out);
            }
            Self::Remove(name) => {
                out.put_u8(3);
                out.put_slice(name.as_wire());
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        match rest.try_get_u8().ok()? {
            1 => Key::decode(rest).map(Self::Add),
            2 => Key::decode(rest).map(Self::Replace),
            3 => Name::take_wire(rest).map(Self::Remove),
            _ => None,
        }
    }
}

impl fmt::Display for SecretSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a secret has 1 to {SECRET_SIZE_MAX} bytes")
    }
}

impl std::error::Error for SecretSize {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, method: &str, secret: &[u8]) -> Key {
        Key {
            name: name.parse().unwrap(),
            method: method.parse().unwrap(),
            secret: Secret::new(secret.to_vec()).unwrap(),
        }
    }

    #[test]
    fn a_name_has_one_key() {
        let mut keys = Keys::default();
        let old = key("k.test", "hmac-sha256", b"old");
        let new = key("K.test", "hmac-sha512", b"new");
        let name: Name = "k.TEST".parse().unwrap();
        assert_eq!(keys.apply(&KeyChange::Add(old.clone())), Ok(()));
        assert_eq!(keys.apply(&KeyChange::Add(old.clone())), Ok(()));
        let in_use = Err(NoKeyChange::NameInUse);
        assert_eq!(keys.apply(&KeyChange::Add(new.clone())), in_use);
        assert_eq!(keys.get(&name), Some(&old));
        assert_eq!(keys.apply(&KeyChange::Replace(new.clone())), Ok(()));
        assert_eq!(keys.get(&name), Some(&new));
        let remove = KeyChange::Remove(name);
        assert_eq!(keys.apply(&remove), Ok(()));
        assert_eq!(keys.apply(&remove), Err(NoKeyChange::NoSuchKey));
        assert!(keys.is_empty());
    }

    #[test]
    fn keys_and_changes_read_back_and_nothing_shorter_does() {
        let (one, two) = (
            key("a.test", "hmac-sha256-128", b"secret"),
            key(".", "hmac-md5", &[7; SECRET_SIZE_MAX]),
        );
        let keys: Keys = [one.clone(), two.clone()].into_iter().collect();
        let mut bytes = Vec::new();
        keys.encode(&mut bytes);
        assert_eq!(Keys::decode(&mut &bytes[..]), Some(keys));
        for cut in 0..bytes.len() {
            assert_eq!(Keys::decode(&mut &bytes[..cut]), None, "cut at {cut}");
        }
        let remove = KeyChange::Remove(one.name.clone());
        for change in [KeyChange::Add(one), KeyChange::Replace(two), remove] {
            let mut bytes = Vec::new();
            change.encode(&mut bytes);
            assert_eq!(KeyChange::decode(&mut &bytes[..]), Some(change));
            for cut in 0..bytes.len() {
                assert_eq!(KeyChange::decode(&mut &bytes[..cut]), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn no_text_shows_a_secret() {
        let key = key("a.test", "hmac-sha256", b"5ecret");
        assert!(format!("{key:?}").contains("Secret(6 bytes)"));
    }
}
