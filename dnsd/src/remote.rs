//! Servers outside: those that are told of changes, and those that zones come from.
//!
//! ```text
//! ADDR[:PORT][%KEY]      remotes = count u8 | remote …      remote = address | port u16 | key? name
//! ```
//! What may be missing has a byte 0 or 1 before it.

use crate::prefix::{get_address, put_address};
use bytes::{Buf, BufMut};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use zones::Name;

/// Most servers that one setting of a zone names.
pub const REMOTES_MAX: usize = 32;
/// Where a server listens if nothing else is said.
const DNS_PORT: u16 = 53;

/// A server outside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Remote {
    /// Where.
    pub address: SocketAddr,
    /// The key that requests to it are signed with.
    pub key: Option<Name>,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.port() {
            DNS_PORT => write!(f, "{}", self.address.ip())?,
            _ => write!(f, "{}", self.address)?,
        }
        match &self.key {
            None => Ok(()),
            Some(key) => write!(f, "%{key}"),
        }
    }
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, key) = match text.split_once('%') {
            None => (text, None),
            Some((address, key)) => {
                let key = Name::from_str(key).map_err(|error| format!("key {key}: {error}"))?;
                (address, Some(key))
            }
        };
        let with_port = || address.parse::<SocketAddr>().ok();
        let bare = || Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, DNS_PORT));
        let address = with_port()
            .or_else(bare)
            .ok_or_else(|| format!("{address} is no address; expected ADDR[:PORT][%KEY]"))?;
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            return Err(format!("{address} is no address of a server"));
        }
        Ok(Self { address, key })
    }
}

/// Several of them, with commas between.
pub(crate) struct List<'l>(pub(crate) &'l [Remote]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, remote) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{remote}")?;
        }
        Ok(())
    }
}

/// Reads what [`List`] shows, each server once.
pub(crate) fn read_list(text: &str) -> Result<Vec<Remote>, String> {
    let remotes = text.split(',').filter(|remote| !remote.is_empty());
    let mut read: Vec<Remote> = Vec::new();
    for remote in remotes {
        let remote = remote.parse()?;
        if !read.contains(&remote) {
            read.push(remote);
        }
    }
    if read.len() > REMOTES_MAX {
        return Err(format!("more than {REMOTES_MAX} servers are too many"));
    }
    Ok(read)
}

pub(crate) fn put_remotes(out: &mut Vec<u8>, remotes: &[Remote]) {
    assert!(
        remotes.len() <= REMOTES_MAX,
        "lists are cut where they come in"
    );
    out.put_u8(remotes.len() as u8);
    for remote in remotes {
        put_address(out, remote.address.ip());
        out.put_u16(remote.address.port());
        match &remote.key {
            None => out.put_u8(0),
            Some(key) => {
                out.put_u8(1);
                out.put_slice(key.as_wire());
            }
        }
    }
}

pub(crate) fn get_remotes(rest: &mut &[u8]) -> Option<Vec<Remote>> {
    let count = usize::from(rest.try_get_u8().ok()?);
    if count > REMOTES_MAX {
        return None;
    }
    let remote = |_| {
        let ip = get_address(rest)?;
        let address = SocketAddr::new(ip, rest.try_get_u16().ok()?);
        let key = match rest.try_get_u8().ok()? {
            0 => None,
            1 => Some(Name::take_wire(rest)?),
            _ => return None,
        };
        Some(Remote { address, key })
    };
    (0..count).map(remote).collect()
}
