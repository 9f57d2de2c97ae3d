//! A member's signed admission, and the cluster it is admitted to.

use crate::peer_id::{PeerId, PublicKey};
use bytes::{Buf, BufMut};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Most addresses that one peer may state.
pub const ADDRESSES_MAX: usize = 8;
/// Longest name of a peer, in bytes.
pub const PEER_NAME_SIZE_MAX: usize = 64;

const SIGNATURE_CONTEXT: &[u8] = b"zc admit 1";

/// Which cluster; random at its birth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One member's word that a key belongs to the cluster (overlay protocol section 1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admit {
    /// The cluster.
    pub cluster: ClusterId,
    /// The key that is admitted; the peer's id follows from it.
    pub key: PublicKey,
    /// The peer's name, for people; unique in the cluster.
    pub name: String,
    /// Where it can be dialed.
    pub addresses: Vec<SocketAddr>,
    /// The member that admits it.
    pub by: PeerId,
    /// When, since the Unix epoch, in whole milliseconds.
    pub wall: Duration,
    /// Ed25519 of `by` over all of the above.
    pub signature: [u8; 64],
}

impl Admit {
    /// Signs an admission.
    #[must_use]
    pub fn sign(
        signer: &Ed25519KeyPair,
        cluster: ClusterId,
        key: PublicKey,
        name: String,
        addresses: Vec<SocketAddr>,
        by: PeerId,
        wall: Duration,
    ) -> Self {
        let wall = Duration::from_millis(wall.as_millis() as u64);
        let mut admit = Self {
            cluster,
            key,
            name,
            addresses,
            by,
            wall,
            signature: [0; 64],
        };
        let signature = signer.sign(&admit.signed_bytes());
        admit.signature.copy_from_slice(signature.as_ref());
        admit
    }

    /// True if `signer`, the key of `by`, made the signature.
    #[must_use]
    pub fn is_signed_by(&self, signer: &PublicKey) -> bool {
        signer.peer_id() == self.by
            && UnparsedPublicKey::new(&ED25519, signer.0)
                .verify(&self.signed_bytes(), &self.signature)
                .is_ok()
    }

    /// The peer that is admitted.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.key.peer_id()
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_fields(out);
        out.put_slice(&self.signature);
    }

    /// Reads what [`Self::encode`] wrote and moves `bytes` past it; none if it is malformed.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut cluster = [0; 16];
        bytes.try_copy_to_slice(&mut cluster).ok()?;
        let mut key = [0; 32];
        bytes.try_copy_to_slice(&mut key).ok()?;
        let name_size = usize::from(bytes.try_get_u8().ok()?);
        if name_size > PEER_NAME_SIZE_MAX || bytes.len() < name_size {
            return None;
        }
        let name = String::from_utf8(bytes[..name_size].to_vec()).ok()?;
        bytes.advance(name_size);
        let addresses = decode_addresses(bytes)?;
        let mut by = [0; 8];
        bytes.try_copy_to_slice(&mut by).ok()?;
        let wall = Duration::from_millis(bytes.try_get_u64().ok()?);
        let mut signature = [0; 64];
        bytes.try_copy_to_slice(&mut signature).ok()?;
        Some(Self {
            cluster: ClusterId(cluster),
            key: PublicKey(key),
            name,
            addresses,
            by: PeerId(by),
            wall,
            signature,
        })
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = SIGNATURE_CONTEXT.to_vec();
        self.encode_fields(&mut bytes);
        bytes
    }

    fn encode_fields(&self, out: &mut Vec<u8>) {
        assert!(
            self.name.len() <= PEER_NAME_SIZE_MAX,
            "names are cut where they come in"
        );
        out.put_slice(&self.cluster.0);
        out.put_slice(&self.key.0);
        out.put_u8(self.name.len() as u8);
        out.put_slice(self.name.as_bytes());
        encode_addresses(&self.addresses, out);
        out.put_slice(&self.by.0);
        out.put_u64(self.wall.as_millis() as u64);
    }
}

/// Appends a list of at most [`ADDRESSES_MAX`] addresses.
pub fn encode_addresses(addresses: &[SocketAddr], out: &mut Vec<u8>) {
    assert!(
        addresses.len() <= ADDRESSES_MAX,
        "lists are cut where they come in"
    );
    out.put_u8(addresses.len() as u8);
    for address in addresses {
        match address.ip() {
            IpAddr::V4(ip) => {
                out.put_u8(4);
                out.put_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.put_u8(6);
                out.put_slice(&ip.octets());
            }
        }
        out.put_u16(address.port());
    }
}

/// Reads a list of at most [`ADDRESSES_MAX`] addresses; none if it is malformed.
pub fn decode_addresses(bytes: &mut &[u8]) -> Option<Vec<SocketAddr>> {
    let count = usize::from(bytes.try_get_u8().ok()?);
    if count > ADDRESSES_MAX {
        return None;
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let ip: IpAddr = match bytes.try_get_u8().ok()? {
            4 => bytes.try_get_u32().ok()?.to_be_bytes().into(),
            6 => bytes.try_get_u128().ok()?.to_be_bytes().into(),
            _ => return None,
        };
        addresses.push(SocketAddr::new(ip, bytes.try_get_u16().ok()?));
    }
    Some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::KeyPair;

    #[test]
    fn an_admission_reads_back_and_any_change_breaks_it() {
        let signer = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let by = PublicKey(signer.public_key().as_ref().try_into().unwrap());
        let admit = Admit::sign(
            &signer,
            ClusterId([2; 16]),
            PublicKey([3; 32]),
            "b".into(),
            vec![
                "127.0.0.1:5300".parse().unwrap(),
                "[::1]:5300".parse().unwrap(),
            ],
            by.peer_id(),
            Duration::from_micros(1_234_567),
        );
        assert!(admit.is_signed_by(&by));
        let mut bytes = Vec::new();
        admit.encode(&mut bytes);
        assert_eq!(Admit::decode(&mut &bytes[..]), Some(admit.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(Admit::decode(&mut &bytes[..cut]), None);
        }
        let changed = Admit {
            name: "c".into(),
            ..admit
        };
        assert!(!changed.is_signed_by(&by));
    }
}
