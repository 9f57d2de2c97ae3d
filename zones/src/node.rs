//! One name of a zone with its RRsets, as bytes. The same bytes stand in a base, among the
//! changes of a version and in the store.
//!
//! ```text
//! node  = flags u8 | labels below the origin, ended by 00 | size of the rest | RRset …
//! RRset = type u8 (00: u16 follows) | TTL code u8 (ff: u32 follows) | count | (size, RDATA) …
//! ```
//! Sizes and counts are LEB128. RRsets ascend by type, RDATA within one by canonical form. Names
//! inside RDATA are written in full, so that RDATA is handed out as it stands.

use crate::key::{compare, relative_labels};
use crate::name::{Name, wire_size};
use crate::rdata::soa_serial_offset;
use crate::record::{Rdata, Record};
use crate::rtype::Rtype;

/// A name that exists in a version. Without RRsets it is an empty non-terminal.
#[derive(Clone, Copy)]
pub struct Node<'v> {
    origin: &'v Name,
    bytes: &'v [u8],
    labels: &'v [u8],
    body: &'v [u8],
}

impl<'v> Node<'v> {
    /// Reads the node at the start of `bytes`, which passed [`check`] when they came in.
    pub(crate) fn read(origin: &'v Name, bytes: &'v [u8]) -> Self {
        let labels_end = labels_end(bytes).expect("node bytes are checked when they come in");
        let (size, body) = take_number(&bytes[labels_end + 1..])
            .expect("node bytes are checked when they come in");
        let body_start = bytes.len() - body.len();
        Self {
            origin,
            bytes: &bytes[..body_start + size],
            labels: &bytes[1..labels_end],
            body: &body[..size],
        }
    }

    /// The owner name.
    #[must_use]
    pub fn owner(&self) -> Name {
        let mut wire = Vec::with_capacity(self.labels.len() + self.origin.as_wire().len());
        wire.extend_from_slice(self.labels);
        wire.extend_from_slice(self.origin.as_wire());
        Name::from_wire(&wire).expect("labels below an origin make a name")
    }

    /// The wire format of the owner name in two pieces: its labels below the origin, and the
    /// origin. For writers that allocate nothing.
    #[must_use]
    pub fn owner_wire(&self) -> (&'v [u8], &'v [u8]) {
        (self.labels, self.origin.as_wire())
    }

    /// How many labels the owner name has, the root not counted. For a node at or above a QNAME
    /// this says which part of the QNAME it is.
    #[must_use]
    pub fn label_count(&self) -> usize {
        let mut count = self.origin.label_count();
        let mut rest = self.labels;
        while let Some(length) = rest.first() {
            rest = &rest[usize::from(*length) + 1..];
            count += 1;
        }
        count
    }

    /// True for the apex of the zone.
    #[must_use]
    pub fn is_apex(&self) -> bool {
        self.labels.is_empty()
    }

    /// True if no RRset stands here: an empty non-terminal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// True if an NS RRset below the apex stands here.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.bytes[0] & FLAG_CUT != 0
    }

    /// True if a DNAME stands here.
    #[must_use]
    pub fn has_dname(&self) -> bool {
        self.bytes[0] & FLAG_DNAME != 0
    }

    /// True if the first label is `*` alone.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.labels.starts_with(b"\x01*")
    }

    /// The RRset of this type.
    #[must_use]
    pub fn rrset(&self, rtype: Rtype) -> Option<RrsetRef<'v>> {
        self.rrsets().find(|rrset| rrset.rtype == rtype)
    }

    /// All RRsets, by type.
    #[must_use]
    pub fn rrsets(&self) -> Rrsets<'v> {
        Rrsets { rest: self.body }
    }

    /// All records, the SOA with serial 0.
    pub fn records(&self) -> impl Iterator<Item = Record> + use<'v> {
        let owner = self.owner();
        self.rrsets().flat_map(move |rrset| {
            let owner = owner.clone();
            rrset.rdata().map(move |rdata| Record {
                owner: owner.clone(),
                rtype: rrset.rtype,
                ttl: rrset.ttl,
                rdata: Rdata::from_checked(rdata),
            })
        })
    }

    pub(crate) fn bytes(&self) -> &'v [u8] {
        self.bytes
    }

    pub(crate) fn labels(&self) -> &'v [u8] {
        self.labels
    }
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.owner(), self.rrsets())
    }
}

/// One RRset of a node.
#[derive(Clone, Copy)]
pub struct RrsetRef<'v> {
    rtype: Rtype,
    ttl: u32,
    count: usize,
    rdata: &'v [u8],
}

impl<'v> RrsetRef<'v> {
    /// The type.
    #[must_use]
    pub fn rtype(&self) -> Rtype {
        self.rtype
    }

    /// The one TTL of all its records (RFC 2181 section 5.2).
    #[must_use]
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// How many records; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an RRset is never empty")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The RDATA of each record in canonical order, uncompressed; that of an SOA has serial 0.
    #[must_use]
    pub fn rdata(&self) -> RdataIter<'v> {
        RdataIter {
            rest: self.rdata,
            left: self.count,
        }
    }
}

impl std::fmt::Debug for RrsetRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.ttl, self.rtype)?;
        self.rdata()
            .try_for_each(|rdata| write!(f, " {}", rdata.escape_ascii()))
    }
}

/// The RRsets of a node.
#[derive(Clone, Copy)]
pub struct Rrsets<'v> {
    rest: &'v [u8],
}

impl<'v> Iterator for Rrsets<'v> {
    type Item = RrsetRef<'v>;

    fn next(&mut self) -> Option<RrsetRef<'v>> {
        if self.rest.is_empty() {
            return None;
        }
        let (rrset, rest) =
            take_rrset(self.rest).expect("node bytes are checked when they come in");
        self.rest = rest;
        Some(rrset)
    }
}

impl std::fmt::Debug for Rrsets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// The RDATA of an RRset.
#[derive(Clone, Debug)]
pub struct RdataIter<'v> {
    rest: &'v [u8],
    left: usize,
}

impl<'v> Iterator for RdataIter<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (rdata, rest) =
            take_sized(self.rest).expect("node bytes are checked when they come in");
        self.rest = rest;
        Some(rdata)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Writes the bytes of a node. `labels` are those below the origin, without an ending zero byte;
/// `rrsets` ascend by type.
pub(crate) fn encode<R: AsRef<[u8]>>(labels: &[u8], rrsets: &[(Rtype, u32, Vec<R>)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut flags = 0;
    for (rtype, ttl, rdata) in rrsets {
        match *rtype {
            Rtype::NS if !labels.is_empty() => flags |= FLAG_CUT,
            Rtype::DNAME => flags |= FLAG_DNAME,
            _ => {}
        }
        match u8::try_from(rtype.0) {
            Ok(code) => body.push(code),
            Err(_) => {
                body.push(0);
                body.extend_from_slice(&rtype.0.to_be_bytes());
            }
        }
        match TTLS.iter().position(|common| common == ttl) {
            Some(code) => body.push(code as u8),
            None => {
                body.push(TTL_IN_FULL);
                body.extend_from_slice(&ttl.to_be_bytes());
            }
        }
        put_number(&mut body, rdata.len());
        for rdata in rdata {
            put_number(&mut body, rdata.as_ref().len());
            body.extend_from_slice(rdata.as_ref());
        }
    }
    let mut bytes = Vec::with_capacity(labels.len() + body.len() + 5);
    bytes.push(flags);
    bytes.extend_from_slice(labels);
    bytes.push(0);
    put_number(&mut bytes, body.len());
    bytes.extend_from_slice(&body);
    bytes
}

/// Checks bytes that come from outside: how long the node at their start is, or none if they are
/// not a node that `encode` writes below this origin.
pub(crate) fn check(origin: &Name, bytes: &[u8]) -> Option<usize> {
    let labels_end = labels_end(bytes)?;
    if labels_end - 1 + origin.as_wire().len() > crate::name::NAME_SIZE_MAX {
        return None;
    }
    wire_size(&bytes[1..]).ok()?;
    let (size, rest) = take_number(&bytes[labels_end + 1..])?;
    let mut body = rest.get(..size)?;
    let mut last = None;
    let mut flags = 0;
    while !body.is_empty() {
        let (rrset, rest) = take_rrset(body)?;
        if last >= Some(rrset.rtype) || rrset.rtype.is_meta() {
            return None;
        }
        last = Some(rrset.rtype);
        match rrset.rtype {
            Rtype::NS if labels_end > 1 => flags |= FLAG_CUT,
            Rtype::DNAME => flags |= FLAG_DNAME,
            // The serial of an SOA is not part of a version.
            Rtype::SOA => {
                rrset
                    .rdata()
                    .all(|rdata| soa_serial_offset(rdata).is_some())
                    .then_some(())?;
            }
            _ => {}
        }
        body = rest;
    }
    (flags == bytes[0]).then_some(bytes.len() - rest.len() + size)
}

/// Compares a key with the name of the node at the start of `bytes`.
pub(crate) fn compare_key(key: &[u8], bytes: &[u8]) -> std::cmp::Ordering {
    compare(key, &bytes[1..])
}

/// The labels of `name` below `origin` as a node keeps them.
pub(crate) fn labels_of<'n>(name: &'n Name, origin: &Name) -> &'n [u8] {
    relative_labels(name, origin).expect("the name was found to be in the zone")
}

/// The offset of the zero byte that ends the labels.
fn labels_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at),
            length => at += usize::from(length) + 1,
        }
    }
}

fn take_rrset(bytes: &[u8]) -> Option<(RrsetRef<'_>, &[u8])> {
    let (code, rest) = bytes.split_first()?;
    let (rtype, rest) = match code {
        0 => {
            let (rtype, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*rtype), rest)
        }
        code => (u16::from(*code), rest),
    };
    let (code, rest) = rest.split_first()?;
    let (ttl, rest) = match *code {
        TTL_IN_FULL => {
            let (ttl, rest) = rest.split_first_chunk()?;
            (u32::from_be_bytes(*ttl), rest)
        }
        code => (*TTLS.get(usize::from(code))?, rest),
    };
    let (count, rdata) = take_number(rest)?;
    if count == 0 {
        return None;
    }
    let mut rest = rdata;
    for _ in 0..count {
        rest = take_sized(rest)?.1;
    }
    let rdata = &rdata[..rdata.len() - rest.len()];
    Some((
        RrsetRef {
            rtype: Rtype(rtype),
            ttl,
            count,
            rdata,
        },
        rest,
    ))
}

fn take_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = take_number(bytes)?;
    rest.split_at_checked(size)
}

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(NUMBER_SIZE_MAX).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

const FLAG_CUT: u8 = 1;
const FLAG_DNAME: u8 = 2;

/// Common TTLs take one byte. Their places are part of the stored format: only append.
const TTLS: [u32; 26] = [
    0, 1, 5, 10, 15, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400,
    21_600, 28_800, 43_200, 86_400, 172_800, 259_200, 604_800, 2_592_000,
];
const TTL_IN_FULL: u8 = 255;

/// 35 bits: no node comes near.
const NUMBER_SIZE_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_read_back() {
        let origin: Name = "example.".parse().unwrap();
        let long = vec![7; 70_000 / 4];
        let rrsets = vec![
            (Rtype::A, 3600, vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]]),
            (Rtype::NS, 3601, vec![b"\x02ns\0".to_vec()]),
            (Rtype::DNAME, 0, vec![b"\0".to_vec()]),
            (
                Rtype(65280),
                u32::MAX,
                vec![Vec::new(), long.clone(), long.clone(), long],
            ),
        ];
        let bytes = encode(b"\x03Www\x01*", &rrsets);
        assert_eq!(check(&origin, &bytes), Some(bytes.len()));
        let mut followed = bytes.clone();
        followed.extend_from_slice(b"next");
        assert_eq!(check(&origin, &followed), Some(bytes.len()));
        let node = Node::read(&origin, &followed);
        assert_eq!(node.bytes(), bytes);
        assert_eq!(node.owner().to_string(), "Www.*.example.");
        assert_eq!(node.label_count(), 3);
        assert!(node.is_cut() && node.has_dname() && !node.is_apex() && !node.is_wildcard());
        let read: Vec<_> = node
            .rrsets()
            .map(|r| {
                (
                    r.rtype(),
                    r.ttl(),
                    r.rdata().map(<[u8]>::to_vec).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(read, rrsets);
        assert_eq!(node.rrset(Rtype::NS).map(|r| r.len()), Some(1));
        assert!(node.rrset(Rtype::AAAA).is_none());
    }

    #[test]
    fn damaged_nodes_are_refused() {
        let origin: Name = "example.".parse().unwrap();
        let bytes = encode(b"\x03www", &[(Rtype::A, 77, vec![vec![192, 0, 2, 1]])]);
        for size in 0..bytes.len() {
            assert_eq!(check(&origin, &bytes[..size]), None, "cut to {size}");
        }
        let wrong_flag = [&[FLAG_CUT], &bytes[1..]].concat();
        assert_eq!(check(&origin, &wrong_flag), None);
        let no_records = encode(b"\x03www", &[(Rtype::A, 77, Vec::<Vec<u8>>::new())]);
        assert_eq!(check(&origin, &no_records), None);
        let pair = (Rtype::A, 77, vec![vec![192, 0, 2, 1]]);
        assert_eq!(
            check(&origin, &encode(b"\x03www", &[pair.clone(), pair])),
            None
        );
    }
}
