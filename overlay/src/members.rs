//! Whom this peer knows: the member list with its rows, and which class a key belongs to.

use crate::admit::{
    ADDRESSES_MAX, Admit, ClusterId, PEER_NAME_SIZE_MAX, decode_addresses, encode_addresses,
};
use crate::peer_id::{PeerId, PublicKey};
use bytes::{Buf, BufMut};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Most admissions that are believed before the log has brought them.
const SHOWN_MAX: usize = 16;

/// Whom the log names (overlay protocol section 1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberSet {
    /// Peers whose join is held durably; this peer may be among them.
    pub admitted: Vec<Member>,
    /// Keys whose eviction is held durably but not settled.
    pub excluded: Vec<PeerId>,
    /// Keys whose eviction is settled.
    pub evicted: Vec<PeerId>,
}

/// A peer as its admission names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its key.
    pub key: PublicKey,
    /// Its name.
    pub name: String,
    /// Where it could be dialed when it joined.
    pub addresses: Vec<SocketAddr>,
}

/// A row of the member list, kept durably: newer addresses than the admission's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberRow {
    /// Whose.
    pub key: PublicKey,
    /// Its name.
    pub name: String,
    /// Where it says that it can be dialed.
    pub addresses: Vec<SocketAddr>,
    /// Where it was reached last.
    pub last_good: Option<SocketAddr>,
}

impl MemberRow {
    /// The row as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_slice(&self.key.0);
        out.put_u8(self.name.len().min(PEER_NAME_SIZE_MAX) as u8);
        out.put_slice(&self.name.as_bytes()[..self.name.len().min(PEER_NAME_SIZE_MAX)]);
        encode_addresses(&self.addresses, &mut out);
        encode_addresses(self.last_good.as_slice(), &mut out);
        out
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let mut key = [0; 32];
        bytes.try_copy_to_slice(&mut key).ok()?;
        let name_size = usize::from(bytes.try_get_u8().ok()?);
        if bytes.len() < name_size {
            return None;
        }
        let name = String::from_utf8(bytes[..name_size].to_vec()).ok()?;
        bytes.advance(name_size);
        let addresses = decode_addresses(bytes)?;
        let last_good = decode_addresses(bytes)?.first().copied();
        bytes.is_empty().then_some(Self {
            key: PublicKey(key),
            name,
            addresses,
            last_good,
        })
    }
}

/// What a key may do here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyClass {
    /// This peer's own.
    Myself,
    /// Admitted, or shown by an admission of a member.
    Member,
    /// An eviction is held, not settled.
    Excluded,
    /// An eviction is settled.
    Evicted,
    /// Nobody has admitted it yet.
    Unknown,
}

/// The member list and the table of keys.
pub(crate) struct Members {
    me: PeerId,
    cluster: ClusterId,
    rows: BTreeMap<PeerId, MemberRow>,
    shown: BTreeSet<PeerId>,
    excluded: BTreeSet<PeerId>,
    evicted: BTreeSet<PeerId>,
    changed: BTreeSet<PeerId>,
}

impl Members {
    pub(crate) fn new(me: PeerId, cluster: ClusterId, rows: Vec<MemberRow>) -> Self {
        let rows = rows.into_iter().map(|row| (row.key.peer_id(), row));
        Self {
            me,
            cluster,
            rows: rows.filter(|(peer, _)| *peer != me).collect(),
            shown: BTreeSet::new(),
            excluded: BTreeSet::new(),
            evicted: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes the log's word; returns the peers that are members no more.
    pub(crate) fn set(&mut self, set: &MemberSet) -> Vec<PeerId> {
        let before: Vec<_> = self.peers().collect();
        self.excluded = set.excluded.iter().copied().collect();
        self.evicted = set.evicted.iter().copied().collect();
        let admitted: BTreeSet<_> = set.admitted.iter().map(|m| m.key.peer_id()).collect();
        self.shown.retain(|peer| !admitted.contains(peer));
        for member in &set.admitted {
            let peer = member.key.peer_id();
            if peer != self.me && !self.rows.contains_key(&peer) {
                self.insert(member.key, &member.name, &member.addresses);
            }
        }
        let shown = &self.shown;
        self.rows
            .retain(|peer, _| admitted.contains(peer) || shown.contains(peer));
        let after: BTreeSet<_> = self.peers().collect();
        before.into_iter().filter(|p| !after.contains(p)).collect()
    }

    /// Overlay protocol section 1: an admission counts before the log has brought it if its
    /// signer is a member and neither is evicted. One step only, no chains.
    pub(crate) fn show(&mut self, admit: &Admit) -> Shown {
        let signer = self.rows.get(&admit.by).map(|row| row.key);
        let signed = admit.cluster == self.cluster
            && !self.shown.contains(&admit.by)
            && !self.is_out(admit.by)
            && !self.is_out(admit.peer())
            && signer.is_some_and(|key| admit.is_signed_by(&key));
        if !signed || self.shown.len() >= SHOWN_MAX {
            return Shown::Refused;
        }
        self.shown.insert(admit.peer());
        self.insert(admit.key, &admit.name, &admit.addresses);
        Shown::Accepted
    }

    /// Newer words about where a member is.
    pub(crate) fn learn_addresses(&mut self, peer: PeerId, addresses: &[SocketAddr]) {
        if let Some(row) = self.rows.get_mut(&peer)
            && row.addresses != addresses
        {
            row.addresses = addresses.to_vec();
            self.changed.insert(peer);
        }
    }

    pub(crate) fn learn_good(&mut self, peer: PeerId, address: SocketAddr) {
        if let Some(row) = self.rows.get_mut(&peer)
            && row.last_good != Some(address)
        {
            row.last_good = Some(address);
            self.changed.insert(peer);
        }
    }

    /// A row that changed since it was last taken.
    pub(crate) fn take_changed(&mut self) -> Option<MemberRow> {
        while let Some(peer) = self.changed.pop_first() {
            if let Some(row) = self.rows.get(&peer) {
                return Some(row.clone());
            }
        }
        None
    }

    pub(crate) fn class(&self, peer: PeerId) -> KeyClass {
        match peer {
            _ if peer == self.me => KeyClass::Myself,
            _ if self.evicted.contains(&peer) => KeyClass::Evicted,
            _ if self.excluded.contains(&peer) => KeyClass::Excluded,
            _ if self.rows.contains_key(&peer) => KeyClass::Member,
            _ => KeyClass::Unknown,
        }
    }

    /// All members but this peer.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.rows.keys().copied().filter(|p| !self.is_out(*p))
    }

    /// The key of a member; none if it is no member, or an evicted one.
    pub(crate) fn key(&self, peer: PeerId) -> Option<PublicKey> {
        (!self.is_out(peer))
            .then(|| self.rows.get(&peer).map(|row| row.key))
            .flatten()
    }

    pub(crate) fn name(&self, peer: PeerId) -> &str {
        self.rows.get(&peer).map_or("", |row| &row.name)
    }

    /// Where to dial a member, the best address first.
    pub(crate) fn addresses(&self, peer: PeerId) -> Vec<SocketAddr> {
        let Some(row) = self.rows.get(&peer) else {
            return Vec::new();
        };
        let mut addresses: Vec<_> = row.last_good.into_iter().collect();
        for address in &row.addresses {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }

    fn is_out(&self, peer: PeerId) -> bool {
        self.excluded.contains(&peer) || self.evicted.contains(&peer)
    }

    fn insert(&mut self, key: PublicKey, name: &str, addresses: &[SocketAddr]) {
        let row = MemberRow {
            key,
            name: name.to_owned(),
            addresses: addresses[..addresses.len().min(ADDRESSES_MAX)].to_vec(),
            last_good: None,
        };
        self.rows.insert(key.peer_id(), row);
        self.changed.insert(key.peer_id());
    }
}

/// What became of a shown admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// Its peer is a member from here on.
    Accepted,
    /// It is not believed.
    Refused,
}
