//! LINK_HELLO: what each side of a `zc-link` says first. Nothing in it is signed: the key of the
//! connection is the proof (overlay protocol section 2).

use crate::admit::{Admit, ClusterId, PEER_NAME_SIZE_MAX, decode_addresses, encode_addresses};
use crate::packet::get_array;
use crate::peer_id::Incarnation;
use bytes::{Buf, BufMut};
use std::net::SocketAddr;

/// Largest LINK_HELLO: it comes before the other side is trusted.
pub(crate) const HELLO_SIZE_MAX: usize = 4 * 1024;

const PROTOCOL_VERSION: u16 = 1;

/// What each side of a `zc-link` says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    pub(crate) cluster: ClusterId,
    pub(crate) incarnation: Incarnation,
    pub(crate) name: String,
    /// By which the speaker knows this link: its heartbeats and its canary bring it back.
    pub(crate) nonce: [u8; 16],
    pub(crate) addresses: Vec<SocketAddr>,
    /// The highest life and edition of the hearer that the speaker knows.
    pub(crate) known: (Incarnation, u64),
    pub(crate) admit: Option<Admit>,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u16(PROTOCOL_VERSION);
        out.put_slice(&self.cluster.0);
        out.put_u64(self.incarnation.0);
        let name = &self.name.as_bytes()[..self.name.len().min(PEER_NAME_SIZE_MAX)];
        out.put_u8(name.len() as u8);
        out.put_slice(name);
        out.put_slice(&self.nonce);
        encode_addresses(&self.addresses, &mut out);
        out.put_u64(self.known.0.0);
        out.put_u64(self.known.1);
        match &self.admit {
            None => out.put_u8(0),
            Some(admit) => {
                out.put_u8(1);
                admit.encode(&mut out);
            }
        }
        out
    }

    /// None if it is malformed or of another protocol version. Later fields are skipped.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        if bytes.try_get_u16().ok()? != PROTOCOL_VERSION {
            return None;
        }
        let cluster = ClusterId(get_array(bytes)?);
        let incarnation = Incarnation(bytes.try_get_u64().ok()?);
        let name_size = usize::from(bytes.try_get_u8().ok()?);
        if name_size > PEER_NAME_SIZE_MAX || bytes.len() < name_size {
            return None;
        }
        let name = String::from_utf8(bytes[..name_size].to_vec()).ok()?;
        bytes.advance(name_size);
        Some(Self {
            cluster,
            incarnation,
            name,
            nonce: get_array(bytes)?,
            addresses: decode_addresses(bytes)?,
            known: (
                Incarnation(bytes.try_get_u64().ok()?),
                bytes.try_get_u64().ok()?,
            ),
            admit: match bytes.try_get_u8().ok()? {
                0 => None,
                _ => Some(Admit::decode(bytes)?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back() {
        let hello = Hello {
            cluster: ClusterId([1; 16]),
            incarnation: Incarnation(2),
            name: "a".into(),
            nonce: [3; 16],
            addresses: vec!["127.0.0.1:4".parse().unwrap()],
            known: (Incarnation(5), 6),
            admit: None,
        };
        let bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes), Some(hello));
        for size in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..size]), None);
        }
    }
}
