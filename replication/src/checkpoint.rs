//! What stands beside the zones of a checkpoint: place, frontier, members.

use crate::entry::{Chain, Entry, Stamp};
use crate::frontier::Frontier;
use crate::membership::Members;
use crate::message::Prefix;
use crate::near::{Set, decode_set, encode_set};
use bytes::Bytes;

/// The durable beginning of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Checkpoint {
    /// Its mark, its position and the digest of all before it.
    pub(crate) prefix: Prefix,
    /// What it covers of each chain.
    pub(crate) frontier: Frontier,
    pub(crate) members: Members,
    /// The lives of the members in whose view it became stable.
    pub(crate) incarnations: Set,
}

impl Checkpoint {
    pub(crate) fn mark(&self) -> Stamp {
        self.prefix.stamp
    }

    /// The checkpoint that stands at `mark`, after these entries of the log.
    pub(crate) fn advance<'a>(
        &self,
        mark: Stamp,
        entries: impl Iterator<Item = &'a Entry>,
        incarnations: Set,
    ) -> Self {
        let mut next = self.clone();
        for entry in entries {
            next.prefix.extend(entry);
            next.frontier.raise(entry.chain, entry.sequence);
            next.members.fold(entry);
        }
        next.prefix.stamp = mark;
        next.incarnations = incarnations;
        next
    }

    pub(crate) fn covers(&self, chain: Chain, sequence: u64) -> bool {
        sequence <= self.frontier.get(chain)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        self.prefix.encode(&mut out);
        self.frontier.encode(&mut out);
        self.members.encode(&mut out);
        encode_set(&self.incarnations, &mut out);
        out.into()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Self {
            prefix: Prefix::decode(bytes)?,
            frontier: Frontier::decode(bytes)?,
            members: Members::decode(bytes)?,
            incarnations: decode_set(bytes)?,
        })
    }
}
