//! Pieces of the bytes in which VIPs travel, shared by claims, maps and entries.

use super::address::{GROUP_MAX, VipAddress, VipId};
use bytes::{Buf, BufMut};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Most VIPs in one list.
const LIST_MAX: usize = 1_024;

pub(super) fn put_ip(out: &mut Vec<u8>, address: IpAddr) {
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

pub(super) fn get_ip(rest: &mut &[u8]) -> Option<IpAddr> {
    match rest.try_get_u8().ok()? {
        4 => Some(rest.try_get_u32().ok()?.to_be_bytes().into()),
        6 => Some(rest.try_get_u128().ok()?.to_be_bytes().into()),
        _ => None,
    }
}

/// A text of at most 255 bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() <= 255, "names are checked where they come in");
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}

pub(super) fn get_text(rest: &mut &[u8]) -> Option<String> {
    let size = usize::from(rest.try_get_u8().ok()?);
    let (text, after) = rest.split_at_checked(size)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

pub(super) fn put_vips(out: &mut Vec<u8>, vips: &BTreeSet<VipId>) {
    assert!(vips.len() <= LIST_MAX, "the map of VIPs is bounded");
    out.put_u16(vips.len() as u16);
    for vip in vips {
        put_ip(out, vip.0);
    }
}

pub(super) fn get_vips(rest: &mut &[u8]) -> Option<BTreeSet<VipId>> {
    let count = usize::from(rest.try_get_u16().ok()?);
    if count > LIST_MAX {
        return None;
    }
    (0..count).map(|_| get_ip(rest).map(VipId)).collect()
}

pub(super) fn put_addresses(out: &mut Vec<u8>, addresses: &BTreeSet<VipAddress>) {
    assert!(
        addresses.len() <= GROUP_MAX,
        "groups are cut where they come in"
    );
    out.put_u8(addresses.len() as u8);
    for vip in addresses {
        put_ip(out, vip.address);
        out.put_u8(vip.prefix_len);
        put_text(out, vip.interface.as_deref().unwrap_or(""));
    }
}

pub(super) fn get_addresses(rest: &mut &[u8]) -> Option<BTreeSet<VipAddress>> {
    let count = usize::from(rest.try_get_u8().ok()?);
    if count == 0 || count > GROUP_MAX {
        return None;
    }
    (0..count)
        .map(|_| {
            let vip = VipAddress {
                address: get_ip(rest)?,
                prefix_len: rest.try_get_u8().ok()?,
                interface: Some(get_text(rest)?).filter(|name| !name.is_empty()),
            };
            vip.check().ok()?;
            Some(vip)
        })
        .collect()
}
