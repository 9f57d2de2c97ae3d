//! What an entry says, and its bytes.
//!
//! An update keeps the compressed wire form in which it came, so that 65 535 bytes of it fit.
//! Membership entries are not here: replication reads those itself.

use crate::cookie::Secrets;
use crate::fed::Freshness;
use crate::policy::PolicyChange;
use crate::prefix::{get_address, put_address};
use crate::tsig::KeyChange;
use crate::vip::map::MapChange;
use crate::zone_settings::SettingChange;
use bytes::{Buf, BufMut, Bytes};
use replication::{BlobHash, Hybrid};
use std::net::IpAddr;
use zones::{Name, Rtype, Serial, Terms};

/// The body of an entry that is not about membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// One RFC 2136 UPDATE.
    Update {
        /// The zone it is for.
        origin: Name,
        /// What its author adds to the serial for the sake of an SOA RR in it.
        offset: Option<i64>,
        /// Who asked for it.
        cause: Cause,
        /// The key that it was signed with.
        key: Option<Name>,
        /// What policy holds each of its changes to; empty if none to anything.
        terms: Vec<Terms>,
        /// The message.
        message: Bytes,
    },
    /// A zone comes into being; its data is a blob.
    Import {
        /// The zone.
        origin: Name,
        /// What makes its first serial the one of the file.
        offset: Option<i64>,
        /// Of what it takes the place.
        replaces: Replaces,
        /// Its data.
        blob: BlobHash,
        /// The serial whose content this is once more, if an operator went back to it.
        rollback: Option<Serial>,
    },
    /// A zone goes.
    Remove {
        /// The zone.
        origin: Name,
    },
    /// Another rule of who may update, transfer and notify, or one less.
    Policy(PolicyChange),
    /// Which virtual addresses there are, and who may hold them.
    Vip(MapChange),
    /// By what server cookies are made and known from here on.
    Cookies(Secrets),
    /// Another key by which requests are signed, or one less.
    Key(KeyChange),
    /// Records of a zone whose lease has ended go.
    Expire {
        /// The zone.
        origin: Name,
        /// Those whose lease has ended by then.
        by: Hybrid,
    },
    /// Other settings of one zone.
    ZoneSettings {
        /// The zone.
        origin: Name,
        /// What is set.
        changes: Vec<SettingChange>,
    },
    /// A fed zone follows its primary by a difference.
    Difference {
        /// The zone.
        origin: Name,
        /// The primary that it came from.
        primary: IpAddr,
        /// The primary's serial of the content that it is a difference to.
        before: Serial,
        /// The serial that it leads to.
        after: Serial,
        /// Records that go, in the form of `zone_data`.
        removed: Bytes,
        /// Records that come.
        added: Bytes,
    },
    /// What a peer has found of the primaries of a fed zone.
    Freshness {
        /// The zone.
        origin: Name,
        /// What that is.
        freshness: Freshness,
    },
    /// A fed zone becomes ours; its content stays.
    Adopt {
        /// The zone.
        origin: Name,
    },
}

/// Who asked for a change of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A requestor at this address.
    Request(IpAddr),
    /// An operator who imported the zone again.
    Import,
    /// An operator who went back to the content of this serial.
    Rollback(Serial),
    /// A peer, for zones that came or went: the zone is a catalog.
    Catalog,
}

const UPDATE: u8 = 1;
const IMPORT: u8 = 2;
const REMOVE: u8 = 3;
const POLICY: u8 = 4;
const VIP: u8 = 5;
const COOKIES: u8 = 6;
const KEY: u8 = 7;
const EXPIRE: u8 = 8;
const DIFFERENCE: u8 = 9;
const FRESHNESS: u8 = 10;
const ADOPT: u8 = 11;
const ZONE_SETTINGS: u8 = 20;

/// Of what an import takes the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replaces {
    /// Of a zone with just this content ([`zones::Version::digest`]), which it was compared with, or of none:
    /// whoever has changed it wins. When it last changed would not tell: what the other side of a
    /// partition did before that is not known to who imports.
    Unchanged(Option<u128>),
    /// Of whatever stands there.
    Whatever,
    /// Of the content of a fed zone: it came from this primary, with this serial.
    Fed {
        /// The primary.
        primary: IpAddr,
        /// Its serial.
        serial: Serial,
        /// Of which content.
        order: Order,
    },
}

/// Whether serials decide what content of a fed zone is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// It is taken if its serial is ahead.
    Ahead,
    /// It is taken whatever its serial is: an operator says so.
    Any,
}

impl Body {
    /// The zone whose serial this entry counts in.
    #[must_use]
    pub fn origin(&self) -> Option<&Name> {
        match self {
            Self::Update { origin, .. }
            | Self::Import { origin, .. }
            | Self::Remove { origin }
            | Self::Expire { origin, .. }
            | Self::Difference { origin, .. }
            | Self::Adopt { origin } => Some(origin),
            Self::Policy(_)
            | Self::Vip(_)
            | Self::Cookies(_)
            | Self::Key(_)
            | Self::ZoneSettings { .. }
            | Self::Freshness { .. } => None,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Update {
                origin,
                offset,
                cause,
                key,
                terms,
                message,
            } => {
                out.reserve(message.len() + origin.as_wire().len() + 32);
                out.put_u8(UPDATE);
                out.put_slice(origin.as_wire());
                put_offset(&mut out, *offset);
                put_cause(&mut out, *cause);
                match key {
                    None => out.put_u8(0),
                    Some(key) => {
                        out.put_u8(1);
                        out.put_slice(key.as_wire());
                    }
                }
                put_terms(&mut out, terms);
                out.put_slice(message);
            }
            Self::Import {
                origin,
                offset,
                replaces,
                blob,
                rollback,
            } => {
                out.put_u8(IMPORT);
                out.put_slice(origin.as_wire());
                put_offset(&mut out, *offset);
                match replaces {
                    Replaces::Unchanged(None) => out.put_u8(0),
                    Replaces::Unchanged(Some(digest)) => {
                        out.put_u8(1);
                        out.put_u128(*digest);
                    }
                    Replaces::Whatever => out.put_u8(2),
                    Replaces::Fed {
                        primary,
                        serial,
                        order,
                    } => {
                        out.put_u8(match order {
                            Order::Ahead => 3,
                            Order::Any => 4,
                        });
                        put_address(&mut out, *primary);
                        out.put_u32(serial.0);
                    }
                }
                out.put_slice(&blob.0);
                match rollback {
                    None => out.put_u8(0),
                    Some(serial) => {
                        out.put_u8(1);
                        out.put_u32(serial.0);
                    }
                }
            }
            Self::Remove { origin } => {
                out.put_u8(REMOVE);
                out.put_slice(origin.as_wire());
            }
            Self::Policy(change) => {
                out.put_u8(POLICY);
                change.encode(&mut out);
            }
            Self::Vip(change) => {
                out.put_u8(VIP);
                change.encode(&mut out);
            }
            Self::Cookies(secrets) => {
                out.put_u8(COOKIES);
                secrets.encode(&mut out);
            }
            Self::Key(change) => {
                out.put_u8(KEY);
                change.encode(&mut out);
            }
            Self::Expire { origin, by } => {
                out.put_u8(EXPIRE);
                out.put_slice(origin.as_wire());
                out.put_u64(by.0);
            }
            Self::ZoneSettings { origin, changes } => {
                out.put_u8(ZONE_SETTINGS);
                out.put_slice(origin.as_wire());
                changes.iter().for_each(|change| change.encode(&mut out));
            }
            Self::Difference {
                origin,
                primary,
                before,
                after,
                removed,
                added,
            } => {
                out.put_u8(DIFFERENCE);
                out.put_slice(origin.as_wire());
                put_address(&mut out, *primary);
                out.put_u32(before.0);
                out.put_u32(after.0);
                for records in [removed, added] {
                    out.put_u32(records.len() as u32);
                    out.put_slice(records);
                }
            }
            Self::Freshness { origin, freshness } => {
                out.put_u8(FRESHNESS);
                out.put_slice(origin.as_wire());
                out.put_u8(match freshness {
                    Freshness::Refreshed => 0,
                    Freshness::Expired => 1,
                });
            }
            Self::Adopt { origin } => {
                out.put_u8(ADOPT);
                out.put_slice(origin.as_wire());
            }
        }
        out.into()
    }

    /// Reads what [`Self::encode`] wrote; none if it is malformed or of a kind that is not known.
    #[must_use]
    pub fn decode(body: &Bytes) -> Option<Self> {
        let mut rest = &body[..];
        let kind = rest.try_get_u8().ok()?;
        let decoded = match kind {
            UPDATE => {
                let origin = Name::take_wire(&mut rest)?;
                let offset = get_offset(&mut rest)?;
                let cause = get_cause(&mut rest)?;
                let key = match rest.try_get_u8().ok()? {
                    0 => None,
                    1 => Some(Name::take_wire(&mut rest)?),
                    _ => return None,
                };
                let terms = get_terms(&mut rest)?;
                let message = body.slice_ref(rest);
                rest = &[];
                Self::Update {
                    origin,
                    offset,
                    cause,
                    key,
                    terms,
                    message,
                }
            }
            IMPORT => {
                let origin = Name::take_wire(&mut rest)?;
                let offset = get_offset(&mut rest)?;
                let replaces = match rest.try_get_u8().ok()? {
                    0 => Replaces::Unchanged(None),
                    1 => Replaces::Unchanged(Some(rest.try_get_u128().ok()?)),
                    2 => Replaces::Whatever,
                    order @ (3 | 4) => Replaces::Fed {
                        primary: get_address(&mut rest)?,
                        serial: Serial(rest.try_get_u32().ok()?),
                        order: match order {
                            3 => Order::Ahead,
                            _ => Order::Any,
                        },
                    },
                    _ => return None,
                };
                let mut hash = [0; 32];
                rest.try_copy_to_slice(&mut hash).ok()?;
                Self::Import {
                    origin,
                    offset,
                    replaces,
                    blob: BlobHash(hash),
                    rollback: match rest.try_get_u8().ok()? {
                        0 => None,
                        1 => Some(Serial(rest.try_get_u32().ok()?)),
                        _ => return None,
                    },
                }
            }
            REMOVE => Self::Remove {
                origin: Name::take_wire(&mut rest)?,
            },
            POLICY => Self::Policy(PolicyChange::decode(&mut rest)?),
            VIP => Self::Vip(MapChange::decode(&mut rest)?),
            COOKIES => Self::Cookies(Secrets::decode(&mut rest)?),
            KEY => Self::Key(KeyChange::decode(&mut rest)?),
            EXPIRE => Self::Expire {
                origin: Name::take_wire(&mut rest)?,
                by: Hybrid(rest.try_get_u64().ok()?),
            },
            ZONE_SETTINGS => {
                let origin = Name::take_wire(&mut rest)?;
                let mut changes = vec![SettingChange::decode(&mut rest)?];
                while !rest.is_empty() {
                    changes.push(SettingChange::decode(&mut rest)?);
                }
                Self::ZoneSettings { origin, changes }
            }
            DIFFERENCE => {
                let origin = Name::take_wire(&mut rest)?;
                let primary = get_address(&mut rest)?;
                let before = Serial(rest.try_get_u32().ok()?);
                let after = Serial(rest.try_get_u32().ok()?);
                let mut records = || {
                    let size = rest.try_get_u32().ok()? as usize;
                    let (records, after) = rest.split_at_checked(size)?;
                    rest = after;
                    Some(body.slice_ref(records))
                };
                let (removed, added) = (records()?, records()?);
                Self::Difference {
                    origin,
                    primary,
                    before,
                    after,
                    removed,
                    added,
                }
            }
            FRESHNESS => Self::Freshness {
                origin: Name::take_wire(&mut rest)?,
                freshness: match rest.try_get_u8().ok()? {
                    0 => Freshness::Refreshed,
                    1 => Freshness::Expired,
                    _ => return None,
                },
            },
            ADOPT => Self::Adopt {
                origin: Name::take_wire(&mut rest)?,
            },
            _ => return None,
        };
        rest.is_empty().then_some(decoded)
    }
}

fn put_offset(out: &mut Vec<u8>, offset: Option<i64>) {
    match offset {
        None => out.put_u8(0),
        Some(offset) => {
            out.put_u8(1);
            out.put_i64(offset);
        }
    }
}

fn get_offset(rest: &mut &[u8]) -> Option<Option<i64>> {
    match rest.try_get_u8().ok()? {
        0 => Some(None),
        1 => Some(Some(rest.try_get_i64().ok()?)),
        _ => None,
    }
}

/// Terms as runs of equal ones: how many runs, and of each how many changes and their terms.
fn put_terms(out: &mut Vec<u8>, terms: &[Terms]) {
    let runs = || terms.chunk_by(|a, b| a == b);
    out.put_u16(runs().count() as u16);
    for run in runs() {
        let Terms {
            records_max,
            ttl_max,
            lease,
            deletes,
        } = &run[0];
        out.put_u16(run.len() as u16);
        for limit in [records_max, ttl_max, lease] {
            match limit {
                None => out.put_u8(0),
                Some(limit) => {
                    out.put_u8(1);
                    out.put_u32(*limit);
                }
            }
        }
        match deletes {
            None => out.put_u8(0),
            Some(types) => {
                out.put_u8(1);
                out.put_u16(types.len() as u16);
                types.iter().for_each(|rtype| out.put_u16(rtype.0));
            }
        }
    }
}

fn get_terms(rest: &mut &[u8]) -> Option<Vec<Terms>> {
    let mut terms = Vec::new();
    for _ in 0..rest.try_get_u16().ok()? {
        let length = usize::from(rest.try_get_u16().ok()?);
        let mut limit = || match rest.try_get_u8().ok()? {
            0 => Some(None),
            1 => Some(Some(rest.try_get_u32().ok()?)),
            _ => None,
        };
        let (records_max, ttl_max, lease) = (limit()?, limit()?, limit()?);
        let deletes = match rest.try_get_u8().ok()? {
            0 => None,
            1 => {
                let count = rest.try_get_u16().ok()?;
                let types = (0..count).map(|_| rest.try_get_u16().ok().map(Rtype));
                Some(types.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        // No message holds more changes than it has bytes.
        if terms.len() + length > usize::from(u16::MAX) {
            return None;
        }
        let run = Terms {
            records_max,
            ttl_max,
            lease,
            deletes,
        };
        terms.extend(std::iter::repeat_n(run, length));
    }
    Some(terms)
}

/// A cause that is no address has a byte of its own where those have 4 or 6.
fn put_cause(out: &mut Vec<u8>, cause: Cause) {
    match cause {
        Cause::Request(source) => put_address(out, source),
        Cause::Import => out.put_u8(0),
        Cause::Rollback(serial) => {
            out.put_u8(1);
            out.put_u32(serial.0);
        }
        Cause::Catalog => out.put_u8(2),
    }
}

fn get_cause(rest: &mut &[u8]) -> Option<Cause> {
    match rest.first()? {
        0 => {
            rest.advance(1);
            Some(Cause::Import)
        }
        1 => {
            rest.advance(1);
            Some(Cause::Rollback(Serial(rest.try_get_u32().ok()?)))
        }
        2 => {
            rest.advance(1);
            Some(Cause::Catalog)
        }
        _ => get_address(rest).map(Cause::Request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::Secret;
    use crate::policy::Realm;
    use crate::vip::address::VipId;
    use replication::Hybrid;

    #[test]
    fn bodies_read_back_and_nothing_shorter_does() {
        let origin: Name = "example.test".parse().unwrap();
        let terms = Terms {
            records_max: Some(2),
            ttl_max: None,
            lease: Some(60),
            deletes: Some([Rtype::TXT].into()),
        };
        let rule = "update key k.test name a.example.test TXT".parse().unwrap();
        let bodies = [
            Body::Update {
                origin: origin.clone(),
                offset: Some(-7),
                cause: Cause::Request("192.0.2.1".parse().unwrap()),
                key: None,
                terms: Vec::new(),
                message: Bytes::from_static(b"message"),
            },
            Body::Update {
                origin: origin.clone(),
                offset: None,
                cause: Cause::Request("2001:db8::1".parse().unwrap()),
                key: Some("key.test".parse().unwrap()),
                terms: vec![terms.clone(), terms, Terms::default()],
                message: Bytes::from_static(b"message"),
            },
            Body::Difference {
                origin: origin.clone(),
                primary: "192.0.2.1".parse().unwrap(),
                before: Serial(7),
                after: Serial(9),
                removed: Bytes::from_static(b"removed"),
                added: Bytes::new(),
            },
            Body::Freshness {
                origin: origin.clone(),
                freshness: Freshness::Expired,
            },
            Body::Adopt {
                origin: origin.clone(),
            },
            Body::Import {
                origin: origin.clone(),
                offset: None,
                replaces: Replaces::Fed {
                    primary: "2001:db8::1".parse().unwrap(),
                    serial: Serial(7),
                    order: Order::Any,
                },
                blob: BlobHash([5; 32]),
                rollback: None,
            },
            Body::Import {
                origin: origin.clone(),
                offset: None,
                replaces: Replaces::Unchanged(Some(9)),
                blob: BlobHash([5; 32]),
                rollback: None,
            },
            Body::Import {
                origin: origin.clone(),
                offset: Some(1),
                replaces: Replaces::Whatever,
                blob: BlobHash([5; 32]),
                rollback: Some(Serial(7)),
            },
            Body::Update {
                origin: origin.clone(),
                offset: None,
                cause: Cause::Rollback(Serial(7)),
                key: None,
                terms: Vec::new(),
                message: Bytes::from_static(b"message"),
            },
            Body::Update {
                origin: origin.clone(),
                offset: None,
                cause: Cause::Import,
                key: None,
                terms: Vec::new(),
                message: Bytes::from_static(b"message"),
            },
            Body::Remove {
                origin: origin.clone(),
            },
            Body::ZoneSettings {
                origin: origin.clone(),
                changes: vec!["notify-ns=yes".parse().unwrap()],
            },
            Body::Expire {
                origin: origin.clone(),
                by: Hybrid(9),
            },
            Body::Import {
                origin: origin.clone(),
                offset: Some(1),
                replaces: Replaces::Whatever,
                blob: BlobHash([6; 32]),
                rollback: None,
            },
            Body::Remove { origin },
            Body::Policy(PolicyChange::Grant(Realm::All, rule)),
            Body::Vip(MapChange::Remove(VipId("192.0.2.1".parse().unwrap()))),
            Body::Cookies(Secrets::new(Secret([1; 16])).stage(Secret([2; 16]))),
            Body::Key(KeyChange::Remove("key.test".parse().unwrap())),
        ];
        for body in bodies {
            let bytes = body.encode();
            assert_eq!(Body::decode(&bytes), Some(body.clone()));
            let ends_open = matches!(body, Body::Update { .. });
            for cut in 0..bytes.len() {
                let decoded = Body::decode(&bytes.slice(..cut));
                assert!(decoded.is_none() || ends_open, "{body:?} cut at {cut}");
            }
        }
        assert_eq!(Body::decode(&Bytes::from_static(&[99])), None);
    }
}
