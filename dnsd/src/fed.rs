//! Zones that are fed: their content comes from a primary outside, one of the peers fetches it for
//! all, and it is shown with the primary's serial until the zone is adopted.
//!
//! ```text
//! fed = serial? u32 | refreshed u64 | expired u8
//! ```
//! What may be missing has a byte 0 or 1 before it.

use bytes::{Buf, BufMut};
use replication::Hybrid;
use zones::Serial;

/// What all peers know of where a fed zone stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fed {
    /// The primary's serial of the content; none while nothing has come from it: there is no content, or
    /// one that was ours.
    pub serial: Option<Serial>,
    /// When a primary was last known to answer; it is written down now and then only.
    pub refreshed: Hybrid,
    /// Whether none has for so long that the content is not to be trusted any more (RFC 1035
    /// section 3.3.13, EXPIRE).
    pub is_expired: bool,
}

/// What one peer has found of the primaries of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// One of them answers, and has nothing newer.
    Refreshed,
    /// None has answered for as long as the SOA of the zone allows.
    Expired,
}

impl Fed {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self.serial {
            None => out.put_u8(0),
            Some(serial) => {
                out.put_u8(1);
                out.put_u32(serial.0);
            }
        }
        out.put_u64(self.refreshed.0);
        out.put_u8(u8::from(self.is_expired));
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            serial: match rest.try_get_u8().ok()? {
                0 => None,
                1 => Some(Serial(rest.try_get_u32().ok()?)),
                _ => return None,
            },
            refreshed: Hybrid(rest.try_get_u64().ok()?),
            is_expired: match rest.try_get_u8().ok()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        })
    }
}
