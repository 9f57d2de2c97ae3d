//! What a peer signs so that others may pass it on: states and multicast messages
//! (overlay protocol section 2).

use crate::admit::ClusterId;
use crate::event::{Class, StateKind};
use crate::packet::{HOPS_MAX, Multicast, StateBody, put_life};
use crate::peer_id::{Incarnation, PeerId, PublicKey};
use bytes::{BufMut, Bytes};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// The overlay's own kind of state.
pub(crate) const LINK_STATE: StateKind = StateKind(0);

/// This peer's key, and the cluster that is part of everything it signs.
pub(crate) struct Signer {
    key: Ed25519KeyPair,
    cluster: ClusterId,
    public: PublicKey,
    me: PeerId,
    incarnation: Incarnation,
}

impl Signer {
    pub(crate) fn new(key: Ed25519KeyPair, cluster: ClusterId, incarnation: Incarnation) -> Self {
        let public = key.public_key().as_ref().try_into();
        let public = PublicKey(public.expect("an Ed25519 key has 32 bytes"));
        Self {
            key,
            cluster,
            public,
            me: public.peer_id(),
            incarnation,
        }
    }

    pub(crate) fn me(&self) -> PeerId {
        self.me
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn state(&self, kind: StateKind, edition: u64, content: Bytes) -> StateBody {
        let mut state = StateBody {
            kind,
            peer: self.me,
            incarnation: self.incarnation,
            edition,
            signature: [0; 64],
            content,
        };
        state.signature = self.sign(&state_bytes(self.cluster, &state));
        state
    }

    pub(crate) fn multicast(
        &self,
        class: Class,
        sequence: u64,
        gone_below: u64,
        payload: Bytes,
    ) -> Multicast {
        let mut message = Multicast {
            group: 0,
            class,
            source: self.me,
            incarnation: self.incarnation,
            sequence,
            gone_below,
            hops: HOPS_MAX,
            signature: [0; 64],
            payload,
        };
        message.signature = self.sign(&multicast_bytes(self.cluster, &message));
        message
    }

    pub(crate) fn is_state_signed(&self, state: &StateBody, key: &PublicKey) -> bool {
        verify(key, &state_bytes(self.cluster, state), &state.signature)
    }

    pub(crate) fn is_multicast_signed(&self, message: &Multicast, key: &PublicKey) -> bool {
        verify(
            key,
            &multicast_bytes(self.cluster, message),
            &message.signature,
        )
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.key.sign(bytes).as_ref());
        signature
    }
}

fn verify(key: &PublicKey, bytes: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.0)
        .verify(bytes, signature)
        .is_ok()
}

fn state_bytes(cluster: ClusterId, state: &StateBody) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + state.content.len());
    bytes.put_slice(match state.kind {
        LINK_STATE => b"zc link state 1",
        _ => b"zc state 1",
    });
    bytes.put_slice(&cluster.0);
    bytes.put_u8(state.kind.0);
    put_life(state.peer, state.incarnation, &mut bytes);
    bytes.put_u64(state.edition);
    bytes.put_slice(&state.content);
    bytes
}

/// Hops change under way; all else is the source's word.
fn multicast_bytes(cluster: ClusterId, message: &Multicast) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(80 + message.payload.len());
    bytes.put_slice(b"zc multicast 1");
    bytes.put_slice(&cluster.0);
    bytes.put_u16(message.group);
    bytes.put_u8(message.class as u8);
    put_life(message.source, message.incarnation, &mut bytes);
    bytes.put_u64(message.sequence);
    bytes.put_u64(message.gone_below);
    bytes.put_slice(&message.payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_field_breaks_the_signature() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let public = PublicKey(key.public_key().as_ref().try_into().unwrap());
        let signer = Signer::new(key, ClusterId([1; 16]), Incarnation(3));
        let state = signer.state(LINK_STATE, 4, Bytes::from_static(b"content"));
        assert!(signer.is_state_signed(&state, &public));
        assert!(!signer.is_state_signed(&state, &PublicKey([2; 32])));
        let other_kind = StateBody {
            kind: StateKind(1),
            ..state
        };
        assert!(!signer.is_state_signed(&other_kind, &public));
        let message = signer.multicast(Class::Update, 2, 1, Bytes::from_static(b"payload"));
        assert!(signer.is_multicast_signed(&message, &public));
        let forwarded = Multicast {
            hops: 1,
            ..message.clone()
        };
        assert!(signer.is_multicast_signed(&forwarded, &public));
        let changed = Multicast {
            gone_below: 2,
            ..message
        };
        assert!(!signer.is_multicast_signed(&changed, &public));
    }
}
