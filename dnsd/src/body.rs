//! What an entry says, and its bytes.
//!
//! An update keeps the compressed wire form in which it came, so that 65 535 bytes of it fit.
//! Membership entries are not here: replication reads those itself.

use crate::cookie::Secrets;
use crate::prefix::Prefix;
use crate::tsig::KeyChange;
use crate::vip::map::MapChange;
use bytes::{Buf, BufMut, Bytes};
use replication::{BlobHash, Stamp};
use std::net::IpAddr;
use zones::Name;

/// Most prefixes that one policy entry may carry: more would not fit an entry.
pub const PREFIXES_MAX: usize = 1_000;

/// The body of an entry that is not about membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// One RFC 2136 UPDATE.
    Update {
        /// The zone it is for.
        origin: Name,
        /// What its author adds to the serial for the sake of an SOA RR in it.
        offset: Option<i64>,
        /// Who sent it.
        source: IpAddr,
        /// The key that it was signed with.
        key: Option<Name>,
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
    },
    /// A zone goes.
    Remove {
        /// The zone.
        origin: Name,
    },
    /// Which addresses may update and transfer, for all zones.
    Policy {
        /// Sources of updates.
        update: Vec<Prefix>,
        /// Sources of transfer requests.
        transfer: Vec<Prefix>,
    },
    /// Which virtual addresses there are, and who may hold them.
    Vip(MapChange),
    /// By what server cookies are made and known from here on.
    Cookies(Secrets),
    /// Another key by which requests are signed, or one less.
    Key(KeyChange),
}

const UPDATE: u8 = 1;
const IMPORT: u8 = 2;
const REMOVE: u8 = 3;
const POLICY: u8 = 4;
const VIP: u8 = 5;
const COOKIES: u8 = 6;
const KEY: u8 = 7;

/// Of what an import takes the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replaces {
    /// Of the zone that had changed last by this entry when the command arrived, or of none: whoever
    /// changed it since wins.
    Unchanged(Option<Stamp>),
    /// Of whatever stands there.
    Whatever,
}

impl Replaces {
    /// True if it may take the place of a zone that has changed last by this entry.
    #[must_use]
    pub fn admits(self, changed: Option<Stamp>) -> bool {
        match self {
            Self::Unchanged(since) => changed <= since,
            Self::Whatever => true,
        }
    }
}

impl Body {
    /// The zone whose serial this entry counts in.
    #[must_use]
    pub fn origin(&self) -> Option<&Name> {
        match self {
            Self::Update { origin, .. } | Self::Import { origin, .. } | Self::Remove { origin } => {
                Some(origin)
            }
            Self::Policy { .. } | Self::Vip(_) | Self::Cookies(_) | Self::Key(_) => None,
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
                source,
                key,
                message,
            } => {
                out.reserve(message.len() + origin.as_wire().len() + 32);
                out.put_u8(UPDATE);
                out.put_slice(origin.as_wire());
                put_offset(&mut out, *offset);
                put_address(&mut out, *source);
                match key {
                    None => out.put_u8(0),
                    Some(key) => {
                        out.put_u8(1);
                        out.put_slice(key.as_wire());
                    }
                }
                out.put_slice(message);
            }
            Self::Import {
                origin,
                offset,
                replaces,
                blob,
            } => {
                out.put_u8(IMPORT);
                out.put_slice(origin.as_wire());
                put_offset(&mut out, *offset);
                match replaces {
                    Replaces::Unchanged(None) => out.put_u8(0),
                    Replaces::Unchanged(Some(stamp)) => {
                        out.put_u8(1);
                        stamp.encode(&mut out);
                    }
                    Replaces::Whatever => out.put_u8(2),
                }
                out.put_slice(&blob.0);
            }
            Self::Remove { origin } => {
                out.put_u8(REMOVE);
                out.put_slice(origin.as_wire());
            }
            Self::Policy { update, transfer } => {
                out.put_u8(POLICY);
                put_prefixes(&mut out, update);
                put_prefixes(&mut out, transfer);
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
                let origin = get_name(&mut rest)?;
                let offset = get_offset(&mut rest)?;
                let source = get_address(&mut rest)?;
                let key = match rest.try_get_u8().ok()? {
                    0 => None,
                    1 => Some(get_name(&mut rest)?),
                    _ => return None,
                };
                let message = body.slice_ref(rest);
                rest = &[];
                Self::Update {
                    origin,
                    offset,
                    source,
                    key,
                    message,
                }
            }
            IMPORT => {
                let origin = get_name(&mut rest)?;
                let offset = get_offset(&mut rest)?;
                let replaces = match rest.try_get_u8().ok()? {
                    0 => Replaces::Unchanged(None),
                    1 => Replaces::Unchanged(Some(Stamp::decode(&mut rest)?)),
                    2 => Replaces::Whatever,
                    _ => return None,
                };
                let mut hash = [0; 32];
                rest.try_copy_to_slice(&mut hash).ok()?;
                Self::Import {
                    origin,
                    offset,
                    replaces,
                    blob: BlobHash(hash),
                }
            }
            REMOVE => Self::Remove {
                origin: get_name(&mut rest)?,
            },
            POLICY => {
                let update = get_prefixes(&mut rest)?;
                Self::Policy {
                    update,
                    transfer: get_prefixes(&mut rest)?,
                }
            }
            VIP => Self::Vip(MapChange::decode(&mut rest)?),
            COOKIES => Self::Cookies(Secrets::decode(&mut rest)?),
            KEY => Self::Key(KeyChange::decode(&mut rest)?),
            _ => return None,
        };
        rest.is_empty().then_some(decoded)
    }
}

fn get_name(rest: &mut &[u8]) -> Option<Name> {
    let name = Name::from_wire(rest).ok()?;
    rest.advance(name.as_wire().len());
    Some(name)
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

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
}

fn get_address(rest: &mut &[u8]) -> Option<IpAddr> {
    match rest.try_get_u8().ok()? {
        4 => Some(rest.try_get_u32().ok()?.to_be_bytes().into()),
        6 => Some(rest.try_get_u128().ok()?.to_be_bytes().into()),
        _ => None,
    }
}

fn put_prefixes(out: &mut Vec<u8>, prefixes: &[Prefix]) {
    assert!(
        prefixes.len() <= PREFIXES_MAX,
        "lists are cut where they come in"
    );
    out.put_u16(prefixes.len() as u16);
    for prefix in prefixes {
        put_address(out, prefix.address());
        out.put_u8(prefix.length());
    }
}

fn get_prefixes(rest: &mut &[u8]) -> Option<Vec<Prefix>> {
    let count = usize::from(rest.try_get_u16().ok()?);
    if count > PREFIXES_MAX {
        return None;
    }
    (0..count)
        .map(|_| {
            let address = get_address(rest)?;
            Prefix::new(address, rest.try_get_u8().ok()?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::Secret;
    use crate::vip::address::VipId;
    use replication::Hybrid;

    #[test]
    fn bodies_read_back_and_nothing_shorter_does() {
        let origin: Name = "example.test".parse().unwrap();
        let bodies = [
            Body::Update {
                origin: origin.clone(),
                offset: Some(-7),
                source: "192.0.2.1".parse().unwrap(),
                key: None,
                message: Bytes::from_static(b"message"),
            },
            Body::Update {
                origin: origin.clone(),
                offset: None,
                source: "2001:db8::1".parse().unwrap(),
                key: Some("key.test".parse().unwrap()),
                message: Bytes::from_static(b"message"),
            },
            Body::Import {
                origin: origin.clone(),
                offset: None,
                replaces: Replaces::Unchanged(Some(Stamp {
                    hybrid: Hybrid(9),
                    author: overlay::PeerId([3; 8]),
                })),
                blob: BlobHash([5; 32]),
            },
            Body::Import {
                origin: origin.clone(),
                offset: Some(1),
                replaces: Replaces::Whatever,
                blob: BlobHash([6; 32]),
            },
            Body::Remove { origin },
            Body::Policy {
                update: vec!["127.0.0.0/8".parse().unwrap()],
                transfer: vec!["::1/128".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
            },
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
