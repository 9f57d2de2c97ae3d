//! A state as bytes, its zones' contents apart: policy, leases, VIPs, secrets of cookies, keys,
//! counters, remembered requests.
//!
//! ```text
//! version u8 | at stamp | evictions u64 | policy | leases | VIPs u32 length + bytes |
//! cookies? stamp + secrets | keys
//! zones u32, each: origin name | exists u8 | counters
//! remembered u32, each: digest 32 | stamp | outcome u8 + u16
//! counters: counted u64 | offset? i64 | unused? stamp | settings? | fed?
//! ```
//! What goes to a newcomer lists all zones. In the store a zone's counters stand in its own row, so
//! that a checkpoint costs what has changed.
//! Integers are big-endian; what may be missing has a byte 0 or 1 before it. Unused is what a peer of
//! an earlier release may have written and nobody asks for. Version 12 is that of the store: of the
//! zones it says only how many there are.

use crate::cookie::Secrets;
use crate::fed::Fed;
use crate::leases::Leases;
use crate::policy::{NoPolicyChange, Policy};
use crate::state::{Answered, CookieSecrets, Outcome, State, Zone};
use crate::tsig::{Keys, NoKeyChange};
use crate::vip::map::{NoChange, VipMap};
use crate::zone_settings::ZoneSettings;
use bytes::{Buf, BufMut};
use replication::{Digest, Stamp};
use std::sync::Arc;
use zones::{Name, Rcode, Version};

const VERSION_WITHOUT_ZONES: u8 = 12;
const VERSION: u8 = 11;

/// The bytes of a state, the counters of all its zones with it.
#[must_use]
pub fn encode(state: &State) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_head(state, &mut out);
    for (origin, zone) in state.zones() {
        out.put_slice(origin.as_wire());
        out.put_u8(u8::from(zone.version.is_some()));
        put_counters(zone, &mut out);
    }
    put_answered(state, &mut out);
    out
}

/// The bytes of what a state holds beside its zones.
#[must_use]
pub fn encode_without_zones(state: &State) -> Vec<u8> {
    let mut out = vec![VERSION_WITHOUT_ZONES];
    put_head(state, &mut out);
    put_answered(state, &mut out);
    out
}

/// The bytes of a zone's counters.
#[must_use]
pub fn encode_counters(zone: &Zone) -> Vec<u8> {
    let mut out = Vec::new();
    put_counters(zone, &mut out);
    out
}

fn put_head(state: &State, out: &mut Vec<u8>) {
    state.at.encode(out);
    out.put_u64(state.evictions);
    state.policy.encode(out);
    state.leases.encode(out);
    let vips = state.vips.encode();
    out.put_u32(vips.len() as u32);
    out.put_slice(&vips);
    match &state.cookies {
        None => out.put_u8(0),
        Some(cookies) => {
            out.put_u8(1);
            cookies.since.encode(out);
            cookies.secrets.encode(out);
        }
    }
    state.keys.encode(out);
    out.put_u32(state.zones().len() as u32);
}

fn put_answered(state: &State, out: &mut Vec<u8>) {
    out.put_u32(state.answered.len() as u32);
    for (digest, answered) in &state.answered {
        out.put_slice(&digest.0);
        answered.stamp.encode(out);
        let (kind, rcode) = match answered.outcome {
            Outcome::Rcode(rcode) => (0, rcode.0),
            Outcome::ZoneExists => (1, 0),
            Outcome::ZoneChanged => (2, 0),
            Outcome::NoSuchZone => (3, 0),
            Outcome::ZoneFed => (7, 0),
            Outcome::ZoneNotFed => (7, 1),
            Outcome::Vip(NoChange::Overlaps) => (4, 0),
            Outcome::Vip(NoChange::NoSuchVip) => (4, 1),
            Outcome::Vip(NoChange::Full) => (4, 2),
            Outcome::Key(NoKeyChange::NameInUse) => (5, 0),
            Outcome::Key(NoKeyChange::NoSuchKey) => (5, 1),
            Outcome::Key(NoKeyChange::Full) => (5, 2),
            Outcome::Policy(NoPolicyChange::NoSuchRule) => (6, 0),
            Outcome::Policy(NoPolicyChange::Full) => (6, 1),
            Outcome::Policy(NoPolicyChange::NoSuchZone) => (6, 2),
        };
        out.put_u8(kind);
        out.put_u16(rcode);
    }
}

/// Reads what [`encode`] wrote; `content` gives the zone of an origin that exists. None if the
/// bytes are malformed, or a zone is missing.
pub fn decode(
    mut bytes: &[u8],
    mut content: impl FnMut(&Name) -> Option<Version>,
) -> Option<State> {
    let rest = &mut bytes;
    if rest.try_get_u8().ok()? != VERSION {
        return None;
    }
    let (mut state, zones) = take_head(rest)?;
    for _ in 0..zones {
        let origin = Name::take_wire(rest)?;
        let version = match rest.try_get_u8().ok()? {
            0 => None,
            1 => Some(content(&origin)?),
            _ => return None,
        };
        let zone = take_zone(rest, version)?;
        state.put_zone(origin, zone);
    }
    take_answered(rest, &mut state)?;
    rest.is_empty().then_some(state)
}

/// Reads what [`encode_without_zones`] wrote: the state without its zones, and how many it has.
#[must_use]
pub fn decode_without_zones(mut bytes: &[u8]) -> Option<(State, usize)> {
    let rest = &mut bytes;
    if rest.try_get_u8().ok()? != VERSION_WITHOUT_ZONES {
        return None;
    }
    let (mut state, zones) = take_head(rest)?;
    take_answered(rest, &mut state)?;
    rest.is_empty().then_some((state, zones as usize))
}

fn take_head(rest: &mut &[u8]) -> Option<(State, u32)> {
    let mut state = State::empty();
    state.at = Stamp::decode(rest)?;
    state.evictions = rest.try_get_u64().ok()?;
    state.policy = Arc::new(Policy::decode(rest)?);
    state.leases = Leases::decode(rest)?;
    let size = rest.try_get_u32().ok()? as usize;
    let (mut vips, after) = rest.split_at_checked(size)?;
    state.vips = Arc::new(VipMap::decode(&mut vips)?);
    *rest = after;
    state.cookies = match rest.try_get_u8().ok()? {
        0 => None,
        1 => Some(Arc::new(CookieSecrets {
            since: Stamp::decode(rest)?,
            secrets: Secrets::decode(rest)?,
        })),
        _ => return None,
    };
    state.keys = Arc::new(Keys::decode(rest)?);
    let zones = rest.try_get_u32().ok()?;
    Some((state, zones))
}

fn take_answered(rest: &mut &[u8], state: &mut State) -> Option<()> {
    for _ in 0..rest.try_get_u32().ok()? {
        let mut digest = [0; 32];
        rest.try_copy_to_slice(&mut digest).ok()?;
        let stamp = Stamp::decode(rest)?;
        let outcome = match (rest.try_get_u8().ok()?, rest.try_get_u16().ok()?) {
            (0, rcode) => Outcome::Rcode(Rcode(rcode)),
            (1, 0) => Outcome::ZoneExists,
            (2, 0) => Outcome::ZoneChanged,
            (3, 0) => Outcome::NoSuchZone,
            (7, 0) => Outcome::ZoneFed,
            (7, 1) => Outcome::ZoneNotFed,
            (4, 0) => Outcome::Vip(NoChange::Overlaps),
            (4, 1) => Outcome::Vip(NoChange::NoSuchVip),
            (4, 2) => Outcome::Vip(NoChange::Full),
            (5, 0) => Outcome::Key(NoKeyChange::NameInUse),
            (5, 1) => Outcome::Key(NoKeyChange::NoSuchKey),
            (5, 2) => Outcome::Key(NoKeyChange::Full),
            (6, 0) => Outcome::Policy(NoPolicyChange::NoSuchRule),
            (6, 1) => Outcome::Policy(NoPolicyChange::Full),
            (6, 2) => Outcome::Policy(NoPolicyChange::NoSuchZone),
            _ => return None,
        };
        state.remember_answered(Digest(digest), Answered { stamp, outcome });
    }
    Some(())
}

/// Reads what [`encode_counters`] wrote of the zone with this content; none if it is malformed.
#[must_use]
pub fn decode_zone(mut bytes: &[u8], version: Option<Version>) -> Option<Zone> {
    let zone = take_zone(&mut bytes, version)?;
    bytes.is_empty().then_some(zone)
}

fn put_counters(zone: &Zone, out: &mut Vec<u8>) {
    out.put_u64(zone.counted);
    match zone.offset {
        None => out.put_u8(0),
        Some(offset) => {
            out.put_u8(1);
            out.put_i64(offset);
        }
    }
    out.put_u8(0);
    match &zone.settings {
        None => out.put_u8(0),
        Some(settings) => {
            out.put_u8(1);
            settings.encode(out);
        }
    }
    match &zone.fed {
        None => out.put_u8(0),
        Some(fed) => {
            out.put_u8(1);
            fed.encode(out);
        }
    }
}

fn take_zone(rest: &mut &[u8], version: Option<Version>) -> Option<Zone> {
    let counted = rest.try_get_u64().ok()?;
    let offset = match rest.try_get_u8().ok()? {
        0 => None,
        1 => Some(rest.try_get_i64().ok()?),
        _ => return None,
    };
    match rest.try_get_u8().ok()? {
        0 => {}
        1 => {
            Stamp::decode(rest)?;
        }
        _ => return None,
    }
    Some(Zone {
        version,
        counted,
        offset,
        settings: match rest.try_get_u8().ok()? {
            0 => None,
            1 => Some(Arc::new(ZoneSettings::decode(rest)?)),
            _ => return None,
        },
        fed: match rest.try_get_u8().ok()? {
            0 => None,
            1 => Some(Arc::new(Fed::decode(rest)?)),
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::Secret;
    use overlay::PeerId;
    use replication::Hybrid;

    fn state(cookies: Option<CookieSecrets>) -> State {
        let mut state = State::empty();
        state.evictions = 7;
        state.cookies = cookies.map(Arc::new);
        state
    }

    fn decode_alone(bytes: &[u8]) -> Option<(u64, Option<CookieSecrets>)> {
        let state = decode(bytes, |_| None)?;
        Some((state.evictions, state.cookies()))
    }

    #[test]
    fn secrets_of_cookies_read_back() {
        let stamp = Stamp {
            hybrid: Hybrid(9),
            author: PeerId([3; 8]),
        };
        let secrets = Secrets::new(Secret([1; 16])).stage(Secret([2; 16]));
        let cookies = CookieSecrets {
            secrets,
            since: stamp,
        };
        for cookies in [None, Some(cookies)] {
            let bytes = encode(&state(cookies));
            assert_eq!(decode_alone(&bytes), Some((7, cookies)));
            for cut in 0..bytes.len() {
                assert_eq!(decode_alone(&bytes[..cut]), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_stamp_of_an_earlier_release_is_passed_over() {
        let counted = 7u64.to_be_bytes();
        let with_stamp = [&counted[..], &[0, 1], &[9; 16], &[0, 0]].concat();
        for (bytes, expected) in [(&[0; 12][..], Some(0)), (&with_stamp, Some(7))] {
            let counted = decode_zone(bytes, None).map(|zone| zone.counted);
            assert_eq!(counted, expected);
        }
        let cut = &with_stamp[..with_stamp.len() - 3];
        assert!(decode_zone(cut, None).is_none());
    }

    #[test]
    fn another_version_is_not_read() {
        let mut bytes = encode(&state(None));
        for version in [VERSION - 2, VERSION + 1] {
            bytes[0] = version;
            assert_eq!(decode_alone(&bytes), None);
        }
    }
}
