//! What one peer says about itself to all (overlay protocol sections 2 and 5).

use crate::admit::{decode_addresses, encode_addresses};
use crate::packet::{get_life, put_life};
use crate::peer_id::{Incarnation, PeerId};
use bytes::{Buf, BufMut, Bytes};
use std::net::SocketAddr;

/// Most links, and most complaints, of one link state.
const LIST_MAX: usize = 1_024;
const FLAG_STOPPING: u8 = 1;

/// The content of a link state. What later versions add stands behind it and is skipped.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LinkState {
    pub(crate) addresses: Vec<SocketAddr>,
    /// Neighbors whose link is up and whose push is acknowledged.
    pub(crate) links: Vec<StatedLink>,
    pub(crate) round: u64,
    pub(crate) set_hash: u64,
    pub(crate) complaints: Vec<(PeerId, Incarnation)>,
    pub(crate) stopping: Stopping,
}

/// A link as one of its ends states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StatedLink {
    pub(crate) peer: PeerId,
    pub(crate) incarnation: Incarnation,
    /// Expected latency from that peer to this one, in microseconds.
    pub(crate) cost: u32,
    pub(crate) loss_permille: u16,
}

/// Whether a peer is about to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Stopping {
    #[default]
    No,
    Yes,
}

impl LinkState {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64 + 22 * self.links.len());
        encode_addresses(&self.addresses, &mut out);
        out.put_u16(self.links.len() as u16);
        for link in &self.links {
            put_life(link.peer, link.incarnation, &mut out);
            out.put_u32(link.cost);
            out.put_u16(link.loss_permille);
        }
        out.put_u64(self.round);
        out.put_u64(self.set_hash);
        out.put_u16(self.complaints.len() as u16);
        for (peer, incarnation) in &self.complaints {
            put_life(*peer, *incarnation, &mut out);
        }
        out.put_u8(match self.stopping {
            Stopping::No => 0,
            Stopping::Yes => FLAG_STOPPING,
        });
        out.into()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let addresses = decode_addresses(bytes)?;
        let links = list(bytes, |bytes| {
            let (peer, incarnation) = get_life(bytes)?;
            Some(StatedLink {
                peer,
                incarnation,
                cost: bytes.try_get_u32().ok()?,
                loss_permille: bytes.try_get_u16().ok()?,
            })
        })?;
        Some(Self {
            addresses,
            links,
            round: bytes.try_get_u64().ok()?,
            set_hash: bytes.try_get_u64().ok()?,
            complaints: list(bytes, |bytes| get_life(bytes))?,
            stopping: match bytes.try_get_u8().ok()? & FLAG_STOPPING {
                0 => Stopping::No,
                _ => Stopping::Yes,
            },
        })
    }

    pub(crate) fn lists(&self, peer: PeerId, incarnation: Incarnation) -> bool {
        let mut links = self.links.iter();
        links.any(|link| (link.peer, link.incarnation) == (peer, incarnation))
    }
}

fn list<T>(bytes: &mut &[u8], item: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::from(bytes.try_get_u16().ok()?);
    if count > LIST_MAX {
        return None;
    }
    (0..count).map(|_| item(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_skips_what_later_versions_add() {
        let state = LinkState {
            addresses: vec!["127.0.0.1:1".parse().unwrap()],
            links: vec![StatedLink {
                peer: PeerId([1; 8]),
                incarnation: Incarnation(2),
                cost: 3,
                loss_permille: 4,
            }],
            round: 5,
            set_hash: 6,
            complaints: vec![(PeerId([7; 8]), Incarnation(8))],
            stopping: Stopping::Yes,
        };
        let mut bytes = state.encode().to_vec();
        bytes.push(9);
        assert_eq!(LinkState::decode(&bytes), Some(state));
        for size in 0..bytes.len() - 1 {
            assert_eq!(LinkState::decode(&bytes[..size]), None);
        }
    }
}
