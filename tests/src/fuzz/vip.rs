//! What peers say of virtual addresses, and the frames of a segment.

use dnsd::vip::address::VipAddress;
use dnsd::vip::claim::{Claim, Maturity, Rank};
use dnsd::vip::kernel::Mac;
use dnsd::vip::map::{Drained, MapChange, VipMap};
use overlay::{PeerId, ViewId};
use replication::{Hybrid, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The first byte says which door.
pub fn run(bytes: &[u8]) {
    let Some((door, bytes)) = bytes.split_first() else {
        return;
    };
    match door % 4 {
        0 => {
            if let Some(claim) = Claim::decode(bytes) {
                assert_eq!(Claim::decode(&claim.encode()), Some(claim));
            }
        }
        1 => {
            if let Some(map) = VipMap::decode(&mut &bytes[..]) {
                let encoded = map.encode();
                assert_eq!(VipMap::decode(&mut &encoded[..]).as_ref(), Some(&map));
                assert_eq!(map.merged(&map), map);
                // However two VIPs overlap, an address belongs to one.
                let mut taken = BTreeSet::new();
                for vip in map.vips().values() {
                    assert!(vip.addresses.iter().all(|vip| taken.insert(vip.address)));
                }
            }
        }
        2 => {
            if let Some(change) = MapChange::decode(&mut &bytes[..]) {
                let mut encoded = Vec::new();
                change.encode(&mut encoded);
                assert_eq!(MapChange::decode(&mut &encoded[..]), Some(change.clone()));
                let _ = VipMap::default().apply(&change, stamp(1));
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(bytes)
                && let Ok(address) = text.parse::<VipAddress>()
            {
                assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}

/// One of each, and a change of each kind.
pub fn samples() -> Vec<Vec<u8>> {
    let addresses: BTreeSet<VipAddress> = ["192.0.2.1/24", "2001:db8::1/64@eth0.7"]
        .iter()
        .map(|text| text.parse().expect("written well"))
        .collect();
    let vip = dnsd::vip::address::group_id(&addresses);
    let changes = [
        MapChange::Add {
            addresses,
            prefer: Some("a".to_owned()),
            weight: 3,
        },
        MapChange::Away(vip, Some(PeerId([7; 8]))),
        MapChange::Drain(PeerId([9; 8]), Drained::Yes),
        MapChange::Remove(vip),
    ];
    let mut map = VipMap::default();
    let mut samples = Vec::new();
    for (at, change) in (1..).zip(&changes) {
        let mut bytes = vec![2];
        change.encode(&mut bytes);
        samples.push(bytes);
        map.apply(change, stamp(at)).expect("each fits the last");
        samples.push([vec![1], map.encode()].concat());
    }
    let claim = Claim {
        view: ViewId(7),
        epoch: 3,
        name: "a".to_owned(),
        announced: BTreeSet::from([vip]),
        can: BTreeSet::from([vip]),
        rank: Rank::Stale,
        maturity: Maturity::Mature,
        capacity: 2,
        patience: Duration::from_millis(1_500),
        digest: map.digest(),
        macs: BTreeSet::from([Mac([1, 2, 3, 4, 5, 6])]),
        quarantined: BTreeMap::from([(PeerId([4; 8]), Duration::from_secs(9))]),
        ready: BTreeSet::new(),
        given: BTreeSet::from([vip]),
        taken: BTreeSet::new(),
    };
    samples.push([&[0], &claim.encode()[..]].concat());
    samples.push([&[3], &b"192.0.2.1/24@eth0"[..]].concat());
    samples
}

fn stamp(at: u64) -> Stamp {
    Stamp {
        hybrid: Hybrid(at),
        author: PeerId([1; 8]),
    }
}
