//! What one peer says about its VIPs: a state of the overlay, signed and flooded.
//!
//! ```text
//! version u8 | view u64 | epoch u64
//! frozen:  name | announced | can | rank u8 | mature u8 | capacity u16 | patience ms u32 |
//!          map digest u64 | Ethernet addresses | quarantined peers, each with ms u32 left
//! growing: ready | given | taken
//! ```
//! The frozen part holds facts of one moment: from it on the peer's own holdings only shrink until
//! all members have the same claims, so all come to the same plan.

use super::address::VipId;
use super::codec::{get_text, get_vips, put_text, put_vips};
use super::kernel::Mac;
use bytes::{Buf, BufMut, Bytes};
use overlay::admit::PEER_NAME_SIZE_MAX;
use overlay::{PeerId, ViewId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

const VERSION: u8 = 1;
/// Most Ethernet addresses of one peer.
pub const MACS_MAX: usize = 64;
/// Most peers that one claim calls quarantined.
const QUARANTINED_MAX: usize = 256;

/// How fit a peer is to hold VIPs; the lowest holds. It orders and never forbids: if all are sick,
/// the least sick one holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Rank {
    /// It answers, and from current data.
    #[default]
    Well = 0,
    /// It came and went too often of late.
    Quarantined = 1,
    /// It lacks entries that it knows of, a zone, or its disk.
    Stale = 2,
    /// It is to hand over: drained by an operator, or stopping.
    Drained = 3,
    /// Its own listener does not answer.
    Sick = 4,
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "well",
            Self::Quarantined => "quarantined",
            Self::Stale => "stale",
            Self::Drained => "drained",
            Self::Sick => "sick",
        })
    }
}

/// One peer's claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The view that it speaks of.
    pub view: ViewId,
    /// Which gathering of that view.
    pub epoch: u64,
    /// The peer's name.
    pub name: String,
    /// What its kernel announces.
    pub announced: BTreeSet<VipId>,
    /// What it is able to announce.
    pub can: BTreeSet<VipId>,
    /// How fit it is.
    pub rank: Rank,
    /// Whether it may take VIPs that nobody holds.
    pub maturity: Maturity,
    /// How much weight it is to carry, compared with others.
    pub capacity: u16,
    /// How much longer than usual its kernel changes may take.
    pub patience: Duration,
    /// Of its map of VIPs.
    pub digest: u64,
    /// Its Ethernet addresses.
    pub macs: BTreeSet<Mac>,
    /// Peers that came and went too often, and for how much longer that counts.
    pub quarantined: BTreeMap<PeerId, Duration>,
    /// What its kernel has got ready, to be announced when the holder has given it.
    pub ready: BTreeSet<VipId>,
    /// What it announced at the freeze and does no more.
    pub given: BTreeSet<VipId>,
    /// What it was given and announces now.
    pub taken: BTreeSet<VipId>,
}

/// Whether a peer may take VIPs that nobody holds. A cluster that boots waits, so that the first
/// peer does not take all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maturity {
    /// Not yet.
    Immature,
    /// It may.
    Mature,
}

impl Claim {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u64(self.view.0);
        out.put_u64(self.epoch);
        put_text(&mut out, &self.name);
        put_vips(&mut out, &self.announced);
        put_vips(&mut out, &self.can);
        out.put_u8(self.rank as u8);
        out.put_u8(u8::from(self.maturity == Maturity::Mature));
        out.put_u16(self.capacity);
        out.put_u32(milliseconds(self.patience));
        out.put_u64(self.digest);
        out.put_u8(self.macs.len().min(MACS_MAX) as u8);
        for mac in self.macs.iter().take(MACS_MAX) {
            out.put_slice(&mac.0);
        }
        out.put_u16(self.quarantined.len().min(QUARANTINED_MAX) as u16);
        for (peer, left) in self.quarantined.iter().take(QUARANTINED_MAX) {
            out.put_slice(&peer.0);
            out.put_u32(milliseconds(*left));
        }
        put_vips(&mut out, &self.ready);
        put_vips(&mut out, &self.given);
        put_vips(&mut out, &self.taken);
        out.into()
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed. What later versions add stands
    /// behind it and is skipped.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        if rest.try_get_u8().ok()? != VERSION {
            return None;
        }
        Some(Self {
            view: ViewId(rest.try_get_u64().ok()?),
            epoch: rest.try_get_u64().ok()?,
            name: Some(get_text(rest)?).filter(|name| name.len() <= PEER_NAME_SIZE_MAX)?,
            announced: get_vips(rest)?,
            can: get_vips(rest)?,
            rank: get_rank(rest)?,
            maturity: match rest.try_get_u8().ok()? {
                0 => Maturity::Immature,
                1 => Maturity::Mature,
                _ => return None,
            },
            capacity: Some(rest.try_get_u16().ok()?).filter(|capacity| *capacity > 0)?,
            patience: Duration::from_millis(rest.try_get_u32().ok()?.into()),
            digest: rest.try_get_u64().ok()?,
            macs: get_macs(rest)?,
            quarantined: get_quarantined(rest)?,
            ready: get_vips(rest)?,
            given: get_vips(rest)?,
            taken: get_vips(rest)?,
        })
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn get_rank(rest: &mut &[u8]) -> Option<Rank> {
    Some(match rest.try_get_u8().ok()? {
        0 => Rank::Well,
        1 => Rank::Quarantined,
        2 => Rank::Stale,
        3 => Rank::Drained,
        4 => Rank::Sick,
        _ => return None,
    })
}

fn get_macs(rest: &mut &[u8]) -> Option<BTreeSet<Mac>> {
    let count = usize::from(rest.try_get_u8().ok()?);
    if count > MACS_MAX {
        return None;
    }
    (0..count)
        .map(|_| {
            let mut mac = Mac([0; 6]);
            rest.try_copy_to_slice(&mut mac.0).ok()?;
            Some(mac)
        })
        .collect()
}

fn get_quarantined(rest: &mut &[u8]) -> Option<BTreeMap<PeerId, Duration>> {
    let count = usize::from(rest.try_get_u16().ok()?);
    if count > QUARANTINED_MAX {
        return None;
    }
    (0..count)
        .map(|_| {
            let mut peer = PeerId([0; 8]);
            rest.try_copy_to_slice(&mut peer.0).ok()?;
            let left = rest.try_get_u32().ok()?;
            Some((peer, Duration::from_millis(left.into())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vips(addresses: &[&str]) -> BTreeSet<VipId> {
        addresses
            .iter()
            .map(|text| VipId(text.parse().expect("an address")))
            .collect()
    }

    #[test]
    fn it_reads_back_skips_what_later_versions_add_and_nothing_shorter_reads() {
        let claim = Claim {
            view: ViewId(7),
            epoch: 3,
            name: "a".to_owned(),
            announced: vips(&["192.0.2.1", "2001:db8::1"]),
            can: vips(&["192.0.2.1"]),
            rank: Rank::Stale,
            maturity: Maturity::Mature,
            capacity: 2,
            patience: Duration::from_millis(1_500),
            digest: 99,
            macs: BTreeSet::from([Mac([1, 2, 3, 4, 5, 6])]),
            quarantined: BTreeMap::from([(PeerId([4; 8]), Duration::from_millis(9_000))]),
            ready: vips(&[]),
            given: vips(&["2001:db8::1"]),
            taken: vips(&["192.0.2.9"]),
        };
        let bytes = claim.encode();
        for cut in 0..bytes.len() {
            assert_eq!(Claim::decode(&bytes[..cut]), None);
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(Claim::decode(&longer), Some(claim));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            if let Some(claim) = Claim::decode(&bytes) {
                let encoded = claim.encode();
                proptest::prop_assert_eq!(Claim::decode(&encoded), Some(claim));
            }
        }
    }
}
