//! Which VIPs there are, as cluster data: their addresses, whom they prefer, who is drained.
//!
//! An entry changes the map; peers that have folded different entries merge their maps by the
//! stamp at which each row was last changed (overlay protocol section 6).

use super::address::{VipAddress, VipId, group_id};
use super::codec::{get_addresses, get_ip, get_text, put_addresses, put_ip, put_text};
use bytes::{Buf, BufMut};
use overlay::PeerId;
use replication::Stamp;
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};

/// Most addresses of all VIPs together: a map must fit one state of the overlay.
pub const ADDRESSES_MAX: usize = 400;
/// Removed VIPs that are remembered, so that a side that has not heard of it does not bring them
/// back.
const REMOVED_MAX: usize = 128;
/// Most rows that are read from others: those there may be, and the removed.
const ROWS_MAX: usize = ADDRESSES_MAX + REMOVED_MAX;
/// Most peers that are, or once were, drained: those last changed are kept.
const DRAINED_MAX: usize = 256;
/// The heaviest weight, of a VIP or of a peer's capacity.
pub const WEIGHT_MAX: u16 = 1_000;

/// One VIP. Its order means nothing by itself: it decides between two rows of one stamp.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vip {
    /// Its addresses, at least one. They move together.
    pub addresses: BTreeSet<VipAddress>,
    /// The name of the peer that is to hold it while it can.
    pub prefer: Option<String>,
    /// How much of a peer's capacity it takes, from 1 to [`WEIGHT_MAX`].
    pub weight: u16,
    /// The peer from which it was drained.
    pub away: Option<PeerId>,
}

/// The map.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VipMap {
    rows: BTreeMap<VipId, Row>,
    drained: BTreeMap<PeerId, (Stamp, Drained)>,
}

/// The later row is the greater one. Sides that lack different changes of one VIP have different
/// rows of one stamp until they have folded the rest: then its content decides, the same for both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Row {
    stamp: Stamp,
    /// None: it was removed.
    vip: Option<Vip>,
}

/// Whether a peer is to hand over what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// It is.
    Yes,
    /// It may hold VIPs.
    No,
}

/// What an entry does to the map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MapChange {
    /// A VIP comes into being, or one with these very addresses gets another preference or weight.
    Add {
        /// Its addresses.
        addresses: BTreeSet<VipAddress>,
        /// The name of the peer that is to hold it.
        prefer: Option<String>,
        /// Its weight.
        weight: u16,
    },
    /// A VIP goes; any of its addresses names it.
    Remove(VipId),
    /// A VIP is not to be held by this peer, or by any that can.
    Away(VipId, Option<PeerId>),
    /// A peer is drained, or no more.
    Drain(PeerId, Drained),
}

/// Why a change does nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NoChange {
    /// One of the addresses belongs to another VIP.
    Overlaps,
    /// There is no such VIP.
    NoSuchVip,
    /// There are too many.
    Full,
}

impl VipMap {
    /// Does what an entry says.
    pub fn apply(&mut self, change: &MapChange, stamp: Stamp) -> Result<(), NoChange> {
        match change {
            MapChange::Add {
                addresses,
                prefer,
                weight,
            } => self.add(addresses, prefer.as_deref(), *weight, stamp),
            MapChange::Remove(vip) => {
                let id = self.find(*vip)?;
                self.rows.insert(id, Row { stamp, vip: None });
                self.forget_removed();
                Ok(())
            }
            MapChange::Away(vip, peer) => {
                let id = self.find(*vip)?;
                let row = self.rows.get_mut(&id).expect("it was just found");
                row.stamp = stamp;
                row.vip.as_mut().expect("it was just found").away = *peer;
                Ok(())
            }
            MapChange::Drain(peer, drained) => {
                self.drained.insert(*peer, (stamp, *drained));
                self.forget_drained();
                Ok(())
            }
        }
    }

    /// Of every row the later of two maps.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for (id, row) in &other.rows {
            match merged.rows.get(id) {
                Some(mine) if mine >= row => {}
                _ => {
                    merged.rows.insert(*id, row.clone());
                }
            }
        }
        for (peer, row) in &other.drained {
            match merged.drained.get(peer) {
                Some((stamp, _)) if *stamp >= row.0 => {}
                _ => {
                    merged.drained.insert(*peer, *row);
                }
            }
        }
        merged
    }

    /// The VIPs. Where two sides of a partition gave one address to two VIPs, the older one has it
    /// and the other does not count.
    #[must_use]
    pub fn vips(&self) -> BTreeMap<VipId, &Vip> {
        let rows = self.rows.iter();
        let mut by_age: Vec<_> = rows
            .filter_map(|(id, row)| Some((row.stamp, *id, row.vip.as_ref()?)))
            .collect();
        by_age.sort_by_key(|(stamp, id, _)| (*stamp, *id));
        let mut taken = BTreeSet::new();
        by_age
            .into_iter()
            .filter(|(_, _, vip)| {
                let is_free = vip.addresses.iter().all(|a| !taken.contains(&a.address));
                if is_free {
                    taken.extend(vip.addresses.iter().map(|vip| vip.address));
                }
                is_free
            })
            .map(|(_, id, vip)| (id, vip))
            .collect()
    }

    /// The VIP to which the address belongs.
    pub fn find(&self, address: VipId) -> Result<VipId, NoChange> {
        let mut rows = self.rows.iter();
        let found = rows.find(|(_, row)| {
            let addresses = row.vip.iter().flat_map(|vip| &vip.addresses);
            addresses.into_iter().any(|vip| vip.address == address.0)
        });
        found.map(|(id, _)| *id).ok_or(NoChange::NoSuchVip)
    }

    /// True if the peer is drained.
    #[must_use]
    pub fn is_drained(&self, peer: PeerId) -> bool {
        let drained = self.drained.get(&peer);
        drained.is_some_and(|(_, drained)| *drained == Drained::Yes)
    }

    /// The peers that are drained.
    pub fn drained(&self) -> impl Iterator<Item = PeerId> + '_ {
        let peers = self.drained.iter();
        peers
            .filter(|(_, (_, drained))| *drained == Drained::Yes)
            .map(|(peer, _)| *peer)
    }

    /// Equal digests mean equal maps.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let hash = digest(&SHA256, &self.encode());
        let first = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        u64::from_be_bytes(*first)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u16(self.rows.len() as u16);
        for (id, row) in &self.rows {
            put_ip(&mut out, id.0);
            row.stamp.encode(&mut out);
            match &row.vip {
                None => out.put_u8(0),
                Some(vip) => {
                    out.put_u8(1);
                    put_addresses(&mut out, &vip.addresses);
                    put_text(&mut out, vip.prefer.as_deref().unwrap_or(""));
                    out.put_u16(vip.weight);
                    put_peer(&mut out, vip.away);
                }
            }
        }
        out.put_u16(self.drained.len() as u16);
        for (peer, (stamp, drained)) in &self.drained {
            out.put_slice(&peer.0);
            stamp.encode(&mut out);
            out.put_u8(u8::from(*drained == Drained::Yes));
        }
        out
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed.
    #[must_use]
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let mut map = Self::default();
        let rows = usize::from(rest.try_get_u16().ok()?);
        if rows > ROWS_MAX {
            return None;
        }
        for _ in 0..rows {
            let id = VipId(get_ip(rest)?);
            let stamp = Stamp::decode(rest)?;
            let vip = match rest.try_get_u8().ok()? {
                0 => None,
                1 => Some(Vip {
                    addresses: get_addresses(rest)?,
                    prefer: Some(get_text(rest)?).filter(|name| !name.is_empty()),
                    weight: get_weight(rest)?,
                    away: get_peer(rest)?,
                }),
                _ => return None,
            };
            if vip
                .as_ref()
                .is_some_and(|vip| group_id(&vip.addresses) != id)
            {
                return None;
            }
            map.rows.insert(id, Row { stamp, vip });
        }
        let drained = usize::from(rest.try_get_u16().ok()?);
        if drained > DRAINED_MAX {
            return None;
        }
        for _ in 0..drained {
            let mut peer = PeerId([0; 8]);
            rest.try_copy_to_slice(&mut peer.0).ok()?;
            let stamp = Stamp::decode(rest)?;
            let drained = get_drained(rest)?;
            map.drained.insert(peer, (stamp, drained));
        }
        Some(map)
    }

    fn add(
        &mut self,
        addresses: &BTreeSet<VipAddress>,
        prefer: Option<&str>,
        weight: u16,
        stamp: Stamp,
    ) -> Result<(), NoChange> {
        let id = group_id(addresses);
        let same = self.rows.get(&id).and_then(|row| row.vip.as_ref());
        let same = same.filter(|vip| vip.addresses == *addresses);
        let away = same.and_then(|vip| vip.away);
        if same.is_none() {
            let held = self.rows.values().flat_map(|row| &row.vip);
            let held = held.flat_map(|vip| &vip.addresses);
            let held: BTreeSet<_> = held.map(|vip| vip.address).collect();
            if addresses.iter().any(|vip| held.contains(&vip.address)) {
                return Err(NoChange::Overlaps);
            }
            if held.len() + addresses.len() > ADDRESSES_MAX {
                return Err(NoChange::Full);
            }
        }
        let vip = Some(Vip {
            addresses: addresses.clone(),
            prefer: prefer.map(str::to_owned),
            weight,
            away,
        });
        self.rows.insert(id, Row { stamp, vip });
        Ok(())
    }

    fn forget_removed(&mut self) {
        let removed = self.rows.iter().filter(|(_, row)| row.vip.is_none());
        let mut removed: Vec<_> = removed.map(|(id, row)| (row.stamp, *id)).collect();
        if removed.len() > REMOVED_MAX {
            removed.sort_unstable();
            self.rows.remove(&removed[0].1);
        }
    }

    fn forget_drained(&mut self) {
        let rows = self.drained.iter();
        let oldest =
            rows.min_by_key(|(peer, (stamp, drained))| (*drained == Drained::Yes, *stamp, **peer));
        let oldest = oldest.map(|(peer, _)| *peer);
        if let Some(oldest) = oldest
            && self.drained.len() > DRAINED_MAX
        {
            self.drained.remove(&oldest);
        }
    }
}

const ADD: u8 = 1;
const REMOVE: u8 = 2;
const AWAY: u8 = 3;
const DRAIN: u8 = 4;

impl MapChange {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Add {
                addresses,
                prefer,
                weight,
            } => {
                out.put_u8(ADD);
                put_addresses(out, addresses);
                put_text(out, prefer.as_deref().unwrap_or(""));
                out.put_u16(*weight);
            }
            Self::Remove(vip) => {
                out.put_u8(REMOVE);
                put_ip(out, vip.0);
            }
            Self::Away(vip, peer) => {
                out.put_u8(AWAY);
                put_ip(out, vip.0);
                put_peer(out, *peer);
            }
            Self::Drain(peer, drained) => {
                out.put_u8(DRAIN);
                out.put_slice(&peer.0);
                out.put_u8(u8::from(*drained == Drained::Yes));
            }
        }
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        Some(match rest.try_get_u8().ok()? {
            ADD => Self::Add {
                addresses: get_addresses(rest)?,
                prefer: Some(get_text(rest)?).filter(|name| !name.is_empty()),
                weight: get_weight(rest)?,
            },
            REMOVE => Self::Remove(VipId(get_ip(rest)?)),
            AWAY => Self::Away(VipId(get_ip(rest)?), get_peer(rest)?),
            DRAIN => {
                let mut peer = PeerId([0; 8]);
                rest.try_copy_to_slice(&mut peer.0).ok()?;
                Self::Drain(peer, get_drained(rest)?)
            }
            _ => return None,
        })
    }
}

fn get_weight(rest: &mut &[u8]) -> Option<u16> {
    let weight = rest.try_get_u16().ok()?;
    (1..=WEIGHT_MAX).contains(&weight).then_some(weight)
}

fn get_drained(rest: &mut &[u8]) -> Option<Drained> {
    match rest.try_get_u8().ok()? {
        0 => Some(Drained::No),
        1 => Some(Drained::Yes),
        _ => None,
    }
}

fn put_peer(out: &mut Vec<u8>, peer: Option<PeerId>) {
    match peer {
        None => out.put_u8(0),
        Some(peer) => {
            out.put_u8(1);
            out.put_slice(&peer.0);
        }
    }
}

fn get_peer(rest: &mut &[u8]) -> Option<Option<PeerId>> {
    match rest.try_get_u8().ok()? {
        0 => Some(None),
        1 => {
            let mut peer = PeerId([0; 8]);
            rest.try_copy_to_slice(&mut peer.0).ok()?;
            Some(Some(peer))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replication::Hybrid;

    fn stamp(at: u64) -> Stamp {
        Stamp {
            hybrid: Hybrid(at),
            author: PeerId([1; 8]),
        }
    }

    fn add(addresses: &[&str]) -> MapChange {
        MapChange::Add {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            prefer: Some("a".to_owned()),
            weight: 1,
        }
    }

    fn id(address: &str) -> VipId {
        VipId(address.parse().unwrap())
    }

    #[test]
    fn an_address_belongs_to_one_vip() {
        let mut map = VipMap::default();
        assert_eq!(
            map.apply(&add(&["192.0.2.2/24", "192.0.2.1/24@eth0"]), stamp(1)),
            Ok(())
        );
        assert_eq!(
            map.apply(&add(&["192.0.2.2/24"]), stamp(2)),
            Err(NoChange::Overlaps)
        );
        assert_eq!(
            map.apply(&add(&["192.0.2.1/24@eth0", "192.0.2.2/24"]), stamp(3)),
            Ok(())
        );
        assert_eq!(
            map.find(id("192.0.2.2")),
            Ok(id("192.0.2.1")),
            "the lowest names it"
        );
        let remove = MapChange::Remove(id("192.0.2.2"));
        assert_eq!(map.apply(&remove, stamp(4)), Ok(()));
        assert_eq!(map.apply(&remove, stamp(5)), Err(NoChange::NoSuchVip));
        assert_eq!(map.vips().len(), 0);
    }

    #[test]
    fn maps_merge_by_stamp_and_the_older_vip_keeps_an_address() {
        let mut mine = VipMap::default();
        mine.apply(&add(&["192.0.2.1/24"]), stamp(1)).unwrap();
        let mut theirs = mine.clone();
        mine.apply(&MapChange::Remove(id("192.0.2.1")), stamp(3))
            .unwrap();
        mine.apply(&add(&["192.0.2.8/24", "192.0.2.9/24"]), stamp(4))
            .unwrap();
        theirs
            .apply(
                &MapChange::Away(id("192.0.2.1"), Some(PeerId([2; 8]))),
                stamp(2),
            )
            .unwrap();
        theirs.apply(&add(&["192.0.2.9/24"]), stamp(5)).unwrap();
        let merged = mine.merged(&theirs);
        assert_eq!(merged, theirs.merged(&mine));
        assert_eq!(merged.digest(), theirs.merged(&mine).digest());
        assert_ne!(merged.digest(), mine.digest());
        let vips: Vec<_> = merged.vips().into_keys().collect();
        assert_eq!(
            vips,
            [id("192.0.2.8")],
            "what is removed stays so, what overlaps waits"
        );
    }

    #[test]
    fn sides_that_lack_different_changes_of_a_vip_merge_to_one_map() {
        let plain = MapChange::Add {
            addresses: BTreeSet::from(["192.0.2.1/24".parse().unwrap()]),
            prefer: None,
            weight: 1,
        };
        let away = MapChange::Away(id("192.0.2.1"), Some(PeerId([3; 8])));
        let mut all = VipMap::default();
        all.apply(&plain, stamp(1)).unwrap();
        let mut lacks_preference = all.clone();
        all.apply(&add(&["192.0.2.1/24"]), stamp(2)).unwrap();
        all.apply(&away, stamp(3)).unwrap();
        lacks_preference.apply(&away, stamp(3)).unwrap();
        assert_ne!(all, lacks_preference);
        assert_eq!(all.merged(&lacks_preference), lacks_preference.merged(&all));
    }

    #[test]
    fn maps_and_changes_read_back_and_nothing_shorter_does() {
        let changes = [
            add(&["192.0.2.1/24", "2001:db8::1/64@eth0.7"]),
            add(&["192.0.2.7/24"]),
            MapChange::Remove(id("192.0.2.7")),
            MapChange::Away(id("192.0.2.1"), Some(PeerId([7; 8]))),
            MapChange::Drain(PeerId([9; 8]), Drained::Yes),
        ];
        let mut map = VipMap::default();
        for (at, change) in (1..).zip(&changes) {
            map.apply(change, stamp(at)).unwrap();
            let mut bytes = Vec::new();
            change.encode(&mut bytes);
            assert_eq!(MapChange::decode(&mut &bytes[..]).as_ref(), Some(change));
            for cut in 0..bytes.len() {
                assert_eq!(
                    MapChange::decode(&mut &bytes[..cut]),
                    None,
                    "{change:?} at {cut}"
                );
            }
        }
        assert!(map.is_drained(PeerId([9; 8])));
        let bytes = map.encode();
        assert_eq!(VipMap::decode(&mut &bytes[..]).as_ref(), Some(&map));
        for cut in 0..bytes.len() {
            assert_eq!(VipMap::decode(&mut &bytes[..cut]), None);
        }
    }

    #[test]
    fn what_is_remembered_of_the_past_is_bounded() {
        let mut map = VipMap::default();
        for at in 0..300 {
            let address = format!("2001:db8::{at:x}:1/64");
            map.apply(&add(&[&address]), stamp(at * 2 + 1)).unwrap();
            let (address, _) = address.split_once('/').unwrap();
            map.apply(&MapChange::Remove(id(address)), stamp(at * 2 + 2))
                .unwrap();
            let peer = PeerId((at + 1).to_be_bytes());
            map.apply(&MapChange::Drain(peer, Drained::No), stamp(at * 2 + 2))
                .unwrap();
        }
        assert_eq!(map.rows.len(), REMOVED_MAX);
        assert_eq!(map.drained.len(), DRAINED_MAX);
    }

    #[test]
    fn the_largest_map_fits_one_state_of_the_overlay() {
        let mut map = VipMap::default();
        for group in 0..ADDRESSES_MAX {
            let address = format!("2001:db8::{group:x}:1/64@abcdefghijklmno");
            let change = MapChange::Add {
                addresses: BTreeSet::from([address.parse().unwrap()]),
                prefer: Some("p".repeat(overlay::admit::PEER_NAME_SIZE_MAX)),
                weight: 1,
            };
            map.apply(&change, stamp(1)).unwrap();
        }
        assert_eq!(
            map.apply(&add(&["192.0.2.1/24"]), stamp(2)),
            Err(NoChange::Full)
        );
        assert!(
            map.encode().len() <= overlay::router::PAYLOAD_SIZE_MAX,
            "{}",
            map.encode().len()
        );
    }
}
