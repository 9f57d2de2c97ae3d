//! The serial of a zone: what its entries count, or what it is signed with, or what its primary has
//! (replication protocol section 9).

use super::State;
use crate::body::{Body, Replaces};
use zones::{Name, Serial};

/// By how much an eviction raises every serial (J of the replication protocol, section 9).
const EVICTION_JUMP: i128 = 1_000;
/// A serial may be set ahead by less than 2³¹ less this, which leaves room for what another side
/// of a partition counts meanwhile.
const SERIAL_ROOM: u32 = 1 << 24;
impl State {
    /// The serial of a zone: E + N + J·K modulo 2³², or the one that its SOA is signed with, or that
    /// its primary has.
    #[must_use]
    pub fn serial(&self, origin: &Name) -> Serial {
        let zone = self.zones.get(origin);
        let signed = zone.and_then(|zone| zone.version.as_ref()?.signed_serial());
        let fed = || zone?.fed.as_ref()?.serial;
        signed
            .or_else(fed)
            .unwrap_or_else(|| self.counted_serial(origin))
    }

    /// Whether a zone that is signed with this serial can come to be at `origin`: it is the only one
    /// that it can be shown with, so it must lie ahead of all that were shown there before. Those of
    /// a zone that is gone are below what is counted; what a signed one was shown with before its
    /// own serial was below that.
    #[must_use]
    pub fn takes_signed(&self, origin: &Name, serial: Serial) -> bool {
        let ahead = serial.distance_from(self.serial(origin));
        let least = u32::from(self.version(origin).is_some());
        let is_new = self.zones.get(origin).is_none_or(|zone| zone.counted == 0);
        is_new || (least..(1 << 31) - SERIAL_ROOM).contains(&ahead)
    }

    /// The offset that makes `wanted` the serial after the next entry of this origin.
    #[must_use]
    pub fn offset(&self, origin: &Name, wanted: Serial) -> Option<i64> {
        let counted = self.zones.get(origin).map_or(0, |zone| zone.counted);
        let next = i128::from(counted) + 1 + EVICTION_JUMP * i128::from(self.evictions);
        let wanted = if counted == 0 {
            i128::from(wanted.0)
        } else {
            let serial = self.unbounded_serial(origin);
            let ahead = wanted.distance_from(Serial(serial as u32));
            if ahead == 0 || ahead >= (1 << 31) - SERIAL_ROOM {
                return None;
            }
            serial + i128::from(ahead)
        };
        i64::try_from(wanted - next).ok()
    }

    fn counted_serial(&self, origin: &Name) -> Serial {
        Serial(self.unbounded_serial(origin) as u32)
    }

    fn unbounded_serial(&self, origin: &Name) -> i128 {
        let (counted, offset) = self
            .zones
            .get(origin)
            .map_or((0, None), |zone| (zone.counted, zone.offset));
        i128::from(offset.unwrap_or(0))
            + i128::from(counted)
            + EVICTION_JUMP * i128::from(self.evictions)
    }

    /// Counting never depends on the outcome: two peers that order other zones' entries
    /// differently still agree on this one's serial.
    pub(super) fn count(&mut self, body: &Body) {
        let (origin, offset, shown) = match body {
            Body::Import {
                origin,
                replaces: Replaces::Fed { serial, .. },
                ..
            }
            | Body::Difference {
                origin,
                after: serial,
                ..
            } => (origin, None, Some(*serial)),
            Body::Update { origin, offset, .. } | Body::Import { origin, offset, .. } => {
                (origin, *offset, None)
            }
            Body::Remove { origin } | Body::Expire { origin, .. } | Body::Adopt { origin } => {
                (origin, None, None)
            }
            Body::Policy(_)
            | Body::Vip(_)
            | Body::Cookies(_)
            | Body::Key(_)
            | Body::ZoneSettings { .. }
            | Body::Freshness { .. } => return,
        };
        let mut zone = self.zone(origin);
        zone.counted += 1;
        zone.offset = zone.offset.max(offset);
        self.put_zone(origin.clone(), zone);
        if let Some(serial) = shown {
            self.count_from(origin, serial);
        }
    }

    /// What is counted never falls behind what a primary has shown, so that a zone that is adopted
    /// goes on from there. Each such entry is a floor at its place, whatever stands around it: with
    /// more entries the count is greater, never less.
    fn count_from(&mut self, origin: &Name, shown: Serial) {
        let counted = self.unbounded_serial(origin);
        let mut zone = self.zone(origin);
        let ahead = match zone.offset {
            None if zone.counted == 1 => i128::from(shown.0) - counted,
            _ => match shown.distance_from(Serial(counted as u32)) {
                ahead if ahead < 1 << 31 => i128::from(ahead),
                _ => return,
            },
        };
        let offset = i128::from(zone.offset.unwrap_or(0)) + ahead;
        if let Ok(offset) = i64::try_from(offset) {
            zone.offset = Some(offset);
            self.put_zone(origin.clone(), zone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Order;
    use crate::imports::Imports;
    use crate::state::{Outcome, Zone};
    use replication::Stamp;
    use zones::{Rcode, Rdata, Record, Rtype, Version};

    /// A state with one zone that has this serial; signed if `signature` has a byte.
    fn state(serial: u32, signature: &[u8]) -> State {
        let origin: Name = "example.".parse().unwrap();
        let record = |rtype, rdata: Vec<u8>| Record {
            owner: origin.clone(),
            rtype,
            ttl: 60,
            rdata: Rdata::from_checked(rdata),
        };
        let soa = [b"\0\0", &serial.to_be_bytes()[..], &[0; 16]].concat();
        let covered = Rtype::SOA.0.to_be_bytes();
        let mut records = vec![record(Rtype::SOA, soa)];
        records.extend(
            signature
                .iter()
                .map(|_| record(Rtype::RRSIG, covered.to_vec())),
        );
        let version = Version::from_records(&origin, &records).unwrap();
        let zone = Zone {
            version: Some(version),
            counted: 1,
            offset: Some(i64::from(serial) - 1),
            settings: None,
            fed: None,
        };
        let mut state = State::empty();
        state.put_zone(origin, zone);
        state
    }

    #[test]
    fn the_serial_of_a_signed_zone_is_the_signed_one() {
        let check = |signature: &[u8], expected: u32| {
            let origin: Name = "example.".parse().unwrap();
            let mut state = state(7, signature);
            assert_eq!(state.serial(&origin), Serial(7));
            state.evictions += 1;
            assert_eq!(state.serial(&origin), Serial(expected));
            // What is imported next is above what is shown.
            let takes = |state: &State, serial| state.takes_signed(&origin, Serial(serial));
            assert!(!takes(&state, expected - 1) && !takes(&state, expected));
            assert!(takes(&state, expected + 1));
            // After a removal it is above all that was counted, the removal too.
            let removal = Body::Remove {
                origin: origin.clone(),
            };
            state.apply_body(&removal, Stamp::ZERO, &Imports::default());
            state.count(&removal);
            assert!(!takes(&state, 1_007) && takes(&state, 1_008));
            let other: Name = "other.".parse().unwrap();
            assert!(state.takes_signed(&other, Serial(1)));
        };
        check(b"", 1_007);
        check(b"x", 7);
    }

    /// A fed zone as its peers fold it.
    struct Following {
        state: State,
        imports: Imports,
        origin: Name,
    }

    impl Following {
        fn new(mut state: State) -> Self {
            let origin: Name = "example.".parse().unwrap();
            let changes = vec!["primaries=192.0.2.1".parse().unwrap()];
            let settings = Body::ZoneSettings {
                origin: origin.clone(),
                changes,
            };
            let outcome = state.apply_body(&settings, Stamp::ZERO, &Imports::default());
            assert_eq!(outcome, Outcome::Rcode(Rcode::NOERROR));
            Self {
                state,
                imports: Imports::default(),
                origin,
            }
        }

        fn apply(&mut self, body: &Body) -> Outcome {
            let outcome = self.state.apply_body(body, Stamp::ZERO, &self.imports);
            self.state.count(body);
            outcome
        }

        /// Content whose TXT at the apex is the serial.
        fn text(serial: u32) -> Record {
            let text = serial.to_string();
            Record {
                owner: "example.".parse().unwrap(),
                rtype: Rtype::TXT,
                ttl: 60,
                rdata: Rdata::from_checked([&[text.len() as u8], text.as_bytes()].concat()),
            }
        }

        fn whole(&mut self, serial: u32, order: Order) -> Outcome {
            let blob = replication::BlobHash([serial as u8; 32]);
            let version = Version::from_records(&self.origin, &[Self::text(serial)]).unwrap();
            self.imports.insert(blob, version);
            self.apply(&Body::Import {
                origin: self.origin.clone(),
                offset: None,
                replaces: Replaces::Fed {
                    primary: "192.0.2.1".parse().unwrap(),
                    serial: Serial(serial),
                    order,
                },
                blob,
                rollback: None,
            })
        }

        fn difference(&mut self, before: u32, after: u32) -> Outcome {
            let records = |serial| {
                let mut bytes = Vec::new();
                crate::zone_data::encode_record(&Self::text(serial), &mut bytes);
                bytes.into()
            };
            self.apply(&Body::Difference {
                origin: self.origin.clone(),
                primary: "192.0.2.1".parse().unwrap(),
                before: Serial(before),
                after: Serial(after),
                removed: records(before),
                added: records(after),
            })
        }

        fn adopt(&mut self) -> Outcome {
            let origin = self.origin.clone();
            self.apply(&Body::Adopt { origin })
        }

        fn serial(&self) -> u32 {
            self.state.serial(&self.origin).0
        }
    }

    const DONE: Outcome = Outcome::Rcode(Rcode::NOERROR);

    #[test]
    fn a_fed_zone_has_the_serial_of_its_primary_until_it_is_adopted() {
        let mut zone = Following::new(State::empty());
        assert_eq!(zone.whole(3_000_000_000, Order::Ahead), DONE);
        assert_eq!(zone.serial(), 3_000_000_000);
        assert_eq!(zone.difference(3_000_000_000, 3_000_000_007), DONE);
        assert_eq!(zone.serial(), 3_000_000_007);
        // An eviction raises what is counted, not what is shown.
        zone.state.evictions += 1;
        assert_eq!(zone.serial(), 3_000_000_007);
        // What leads on from elsewhere, or back, does nothing.
        assert_eq!(
            zone.difference(3_000_000_000, 3_000_000_009),
            Outcome::ZoneChanged
        );
        assert_eq!(
            zone.whole(3_000_000_007, Order::Ahead),
            Outcome::ZoneChanged
        );
        assert_eq!(
            zone.whole(2_999_999_999, Order::Ahead),
            Outcome::ZoneChanged
        );
        assert_eq!(zone.serial(), 3_000_000_007);
        // An operator may say that it goes back.
        assert_eq!(zone.whole(2_999_999_000, Order::Any), DONE);
        assert_eq!(zone.serial(), 2_999_999_000);
        assert_eq!(zone.adopt(), DONE);
        let adopted = zone.serial();
        let ahead = Serial(adopted).distance_from(Serial(3_000_000_009));
        assert!(
            (1..2_000).contains(&ahead),
            "it goes on from all that was shown: {adopted}"
        );
        assert_eq!(zone.adopt(), Outcome::ZoneNotFed);
        // What another side fetched before it heard of that still counts.
        assert_eq!(
            zone.difference(2_999_999_000, adopted + 50),
            Outcome::ZoneChanged
        );
        let ahead = Serial(zone.serial()).distance_from(Serial(adopted + 50));
        assert!(ahead < 10, "{}", zone.serial());
    }

    #[test]
    fn a_zone_of_ours_that_is_fed_goes_on_from_its_serial() {
        let mut zone = Following::new(state(7, b""));
        assert_eq!(zone.serial(), 7);
        // No difference leads on from content that no primary had.
        assert_eq!(zone.difference(7, 9), Outcome::ZoneChanged);
        assert_eq!(zone.whole(6, Order::Ahead), Outcome::ZoneChanged);
        assert_eq!(zone.whole(20, Order::Ahead), DONE);
        assert_eq!(zone.serial(), 20);
        let origin = zone.origin.clone();
        let settings = |text: &str| Body::ZoneSettings {
            origin: origin.clone(),
            changes: vec![text.parse().unwrap()],
        };
        assert_eq!(zone.apply(&settings("primaries=")), Outcome::ZoneFed);
        assert_eq!(zone.apply(&settings("primaries=192.0.2.2")), DONE);
        assert_eq!(zone.serial(), 20);
        let removal = Body::Remove {
            origin: origin.clone(),
        };
        assert_eq!(zone.apply(&removal), DONE);
        assert_eq!(zone.state.fed(&origin), None);
        assert_eq!(zone.apply(&removal), Outcome::NoSuchZone);
        assert_eq!(zone.apply(&settings("notify-ns=yes")), Outcome::NoSuchZone);
    }
}
