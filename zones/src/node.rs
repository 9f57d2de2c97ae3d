//! One name of a zone with its RRsets, as bytes. The same bytes stand in a base, among the
//! changes of a version and in the store.
//!
//! ```text
//! node  = flags u8 | labels below the origin, ended by 00 | size of the rest | RRset …
//! RRset = type u8 (00: u16 follows) | TTL code u8 (ff: u32 follows) | count | (size, RDATA) …
//! ```
//! Sizes and counts are LEB128. RRsets ascend by [`Rank`], so that the signatures of an RRset come
//! right after it; RDATA within one ascends by canonical form. Names inside RDATA are written in
//! full, so that RDATA is handed out as it stands.

use std::cmp::Ordering;

use crate::key::{DENIAL, Key, compare, relative_labels};
use crate::name::{Name, wire_size};
use crate::rdata::soa_serial_offset;
use crate::record::{Rdata, Record};
use crate::rtype::Rtype;
use crate::word;

/// A name that exists in a version. Without RRsets it is an empty non-terminal.
#[derive(Clone, Copy)]
pub struct Node<'v> {
    origin: &'v Name,
    bytes: &'v [u8],
    /// Where the zero byte is that ends its labels.
    labels_end: u16,
    /// Where its RRsets begin.
    body_at: u16,
}

impl<'v> Node<'v> {
    /// Reads the node at the start of `bytes`, which passed [`check`] when they came in.
    pub(crate) fn read(origin: &'v Name, bytes: &'v [u8]) -> Self {
        let labels_end = labels_end(bytes).expect("node bytes are checked when they come in");
        Self::read_rest(origin, bytes, labels_end)
    }

    /// Reads the node at the start of `bytes` if these are its labels, in any case.
    #[inline(always)]
    pub(crate) fn read_if_of(origin: &'v Name, bytes: &'v [u8], labels: &[u8]) -> Option<Self> {
        let (own, [0, ..]) = bytes[LABELS_AT..].split_at_checked(labels.len())? else {
            return None;
        };
        // Case differs rarely.
        (word::are_equal(own, labels) || own.eq_ignore_ascii_case(labels))
            .then(|| Self::read_rest(origin, bytes, LABELS_AT + labels.len()))
    }

    /// Reads what follows its labels.
    #[inline]
    fn read_rest(origin: &'v Name, bytes: &'v [u8], labels_end: usize) -> Self {
        let (size, body) = take_number(&bytes[labels_end + 1..])
            .expect("node bytes are checked when they come in");
        let body_at = bytes.len() - body.len();
        Self {
            origin,
            bytes: &bytes[..body_at + size],
            // Of all that stands before a body there are less than 300 bytes.
            labels_end: labels_end as u16,
            body_at: body_at as u16,
        }
    }

    /// The owner name.
    #[must_use]
    pub fn owner(&self) -> Name {
        let mut wire = Vec::with_capacity(self.labels().len() + self.origin.as_wire().len());
        wire.extend_from_slice(self.labels());
        wire.extend_from_slice(self.origin.as_wire());
        Name::from_wire(&wire).expect("labels below an origin make a name")
    }

    /// The wire format of the owner name in two pieces: its labels below the origin, and the
    /// origin. For writers that allocate nothing.
    #[must_use]
    pub fn owner_wire(&self) -> (&'v [u8], &'v [u8]) {
        (self.labels(), self.origin.as_wire())
    }

    /// How many labels the owner name has, the root not counted. For a node at or above a QNAME
    /// this says which part of the QNAME it is.
    #[must_use]
    pub fn label_count(&self) -> usize {
        let mut count = self.origin.label_count();
        let mut rest = self.labels();
        while let Some(length) = rest.first() {
            rest = &rest[usize::from(*length) + 1..];
            count += 1;
        }
        count
    }

    /// True for the apex of the zone.
    #[must_use]
    pub fn is_apex(&self) -> bool {
        self.labels().is_empty()
    }

    /// True if no RRset stands here: an empty non-terminal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body().is_empty()
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

    /// True if NSEC3 records, their signatures or both stand here, and nothing else does. The other
    /// records of the same name are in a node of their own.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        is_denial(self.bytes)
    }

    /// True if the first label is `*` alone.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.labels().starts_with(b"\x01*")
    }

    /// The RRset of this type. Signatures are several RRsets, one for each type that they cover;
    /// of these it is the first.
    #[must_use]
    #[inline]
    pub fn rrset(&self, rtype: Rtype) -> Option<RrsetRef<'v>> {
        self.rrsets().find(|rrset| rrset.rtype == rtype)
    }

    /// The RRset of this rank.
    pub(crate) fn ranked(&self, rank: Rank) -> Option<RrsetRef<'v>> {
        self.rrsets().find(|rrset| rrset.rank() == rank)
    }

    /// All RRsets, by type, each followed by its signatures.
    #[must_use]
    #[inline]
    pub fn rrsets(&self) -> Rrsets<'v> {
        Rrsets {
            rest: self.body(),
            rdata_before: 0,
        }
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

    #[inline]
    pub(crate) fn labels(&self) -> &'v [u8] {
        &self.bytes[LABELS_AT..usize::from(self.labels_end)]
    }

    #[inline]
    fn body(&self) -> &'v [u8] {
        &self.bytes[usize::from(self.body_at)..]
    }

    /// The place of the node in its version.
    pub(crate) fn key(&self) -> Key {
        key_of(self.bytes)
    }

    /// Compares a key with that of this node.
    pub(crate) fn compare(&self, key: &[u8]) -> Ordering {
        compare_key(key, self.bytes)
    }
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.owner(), self.rrsets())
    }
}

/// The place of an RRset among those of its name: by type, signatures right behind what they cover.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank {
    /// The type, or the one that is covered.
    of: Rtype,
    is_signature: bool,
}

impl Rank {
    /// That of the signatures of the SOA.
    pub(crate) const OF_SOA_SIGNATURE: Self = Self {
        of: Rtype::SOA,
        is_signature: true,
    };

    /// That of the RRset to which a record belongs.
    pub(crate) fn of(rtype: Rtype, rdata: &[u8]) -> Self {
        // RFC 4034 section 3: an RRSIG belongs to the RRset of the type covered, and has its TTL.
        match rdata.first_chunk() {
            Some(covered) if rtype == Rtype::RRSIG => Self {
                of: Rtype(u16::from_be_bytes(*covered)),
                is_signature: true,
            },
            _ => Self {
                of: rtype,
                is_signature: false,
            },
        }
    }

    /// True for NSEC3 records and their signatures, which are apart from all others. At the apex,
    /// where no hash leads, they are records like all others.
    pub(crate) fn is_denial(self, labels: &[u8]) -> bool {
        self.is_of_nsec3() && labels.first().is_some_and(|length| *length != 0)
    }

    /// True for NSEC3 records and their signatures, wherever they stand.
    pub(crate) fn is_of_nsec3(self) -> bool {
        self.of == Rtype::NSEC3
    }

    /// The type of its records.
    pub(crate) fn rtype(self) -> Rtype {
        if self.is_signature {
            Rtype::RRSIG
        } else {
            self.of
        }
    }
}

/// One RRset of a node.
#[derive(Clone, Copy)]
pub struct RrsetRef<'v> {
    rtype: Rtype,
    ttl: u32,
    count: usize,
    /// The RDATA, and all that follows it in the node.
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

    /// The RDATA of each record in canonical order, uncompressed; that of an SOA has serial 0, or
    /// the one that is signed.
    #[must_use]
    #[inline]
    pub fn rdata(&self) -> RdataIter<'v> {
        RdataIter {
            rest: self.rdata,
            left: self.count,
        }
    }

    /// The RRSIG records that cover it.
    #[must_use]
    pub fn signatures(&self) -> Option<Self> {
        let mut behind = Rrsets {
            rest: self.rdata,
            rdata_before: self.count,
        };
        let next = behind.next()?;
        let mine = Rank {
            of: self.rtype,
            is_signature: true,
        };
        (next.rank() == mine && self.rtype != Rtype::RRSIG).then_some(next)
    }

    pub(crate) fn rank(&self) -> Rank {
        let first = self.rdata().next().expect("an RRset is never empty");
        Rank::of(self.rtype, first)
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
    /// So many RDATA of the RRset before come first. Who finds the first RRset does not need to know
    /// where it ends.
    rdata_before: usize,
}

impl<'v> Iterator for Rrsets<'v> {
    type Item = RrsetRef<'v>;

    #[inline(always)]
    fn next(&mut self) -> Option<RrsetRef<'v>> {
        if self.rdata_before > 0 {
            self.skip_rdata();
        }
        if self.rest.is_empty() {
            return None;
        }
        let rrset = read_rrset(self.rest).expect("node bytes are checked when they come in");
        (self.rest, self.rdata_before) = (rrset.rdata, rrset.count);
        Some(rrset)
    }
}

impl Rrsets<'_> {
    fn skip_rdata(&mut self) {
        for _ in 0..self.rdata_before {
            let rdata = take_sized(self.rest);
            self.rest = rdata.expect("node bytes are checked when they come in").1;
        }
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

    #[inline]
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
/// `rrsets` ascend by rank.
pub(crate) fn encode<R: AsRef<[u8]>>(labels: &[u8], rrsets: &[(Rtype, u32, Vec<R>)]) -> Vec<u8> {
    let mut writer = Writer::default();
    for (rtype, ttl, rdata) in rrsets {
        let first = rdata.first().map_or(&[][..], AsRef::as_ref);
        writer.begin_rrset(labels, Rank::of(*rtype, first), *ttl, rdata.len());
        for rdata in rdata {
            writer.put_rdata(rdata.as_ref());
        }
    }
    let mut bytes = Vec::with_capacity(labels.len() + writer.body.len() + 5);
    writer.finish(labels, &mut bytes);
    bytes
}

/// Writes nodes one after the other, and allocates for none.
#[derive(Default)]
pub(crate) struct Writer {
    flags: u8,
    body: Vec<u8>,
}

impl Writer {
    /// The next RRset of the node; so many RDATA follow.
    pub(crate) fn begin_rrset(&mut self, labels: &[u8], rank: Rank, ttl: u32, count: usize) {
        self.flags |= flag_of(rank, labels);
        let rtype = rank.rtype();
        match u8::try_from(rtype.0) {
            Ok(code) => self.body.push(code),
            Err(_) => {
                self.body.push(0);
                self.body.extend_from_slice(&rtype.0.to_be_bytes());
            }
        }
        match TTLS.iter().position(|common| *common == ttl) {
            Some(code) => self.body.push(code as u8),
            None => {
                self.body.push(TTL_IN_FULL);
                self.body.extend_from_slice(&ttl.to_be_bytes());
            }
        }
        put_number(&mut self.body, count);
    }

    /// The next RDATA of the RRset.
    pub(crate) fn put_rdata(&mut self, rdata: &[u8]) {
        put_number(&mut self.body, rdata.len());
        self.body.extend_from_slice(rdata);
    }

    /// Appends the node to `out`; the next one begins.
    pub(crate) fn finish(&mut self, labels: &[u8], out: &mut Vec<u8>) {
        out.push(self.flags);
        out.extend_from_slice(labels);
        out.push(0);
        put_number(out, self.body.len());
        out.extend_from_slice(&self.body);
        self.flags = 0;
        self.body.clear();
    }
}

/// What an RRset makes of a node.
fn flag_of(rank: Rank, labels: &[u8]) -> u8 {
    match rank.rtype() {
        _ if rank.is_denial(labels) => FLAG_DENIAL,
        Rtype::NS if !labels.is_empty() => FLAG_CUT,
        Rtype::DNAME => FLAG_DNAME,
        _ => 0,
    }
}

/// Checks bytes that come from outside: how long the node at their start is, or none if they are
/// not a node that `encode` writes below this origin.
pub(crate) fn check(origin: &Name, bytes: &[u8]) -> Option<usize> {
    let labels_end = labels_end(bytes)?;
    if labels_end - 1 + origin.as_wire().len() > crate::name::NAME_SIZE_MAX {
        return None;
    }
    wire_size(&bytes[1..]).ok()?;
    let labels = &bytes[1..labels_end];
    let (size, rest) = take_number(&bytes[labels_end + 1..])?;
    let mut body = rest.get(..size)?;
    let mut last = None;
    let mut flags = 0;
    while !body.is_empty() {
        let rrset = read_rrset(body)?;
        let mut rest = rrset.rdata;
        for _ in 0..rrset.count {
            rest = take_sized(rest)?.1;
        }
        let rank = rrset.rank();
        let is_mixed = rrset.rtype == Rtype::RRSIG
            && rrset
                .rdata()
                .any(|rdata| Rank::of(Rtype::RRSIG, rdata) != rank);
        if last >= Some(rank) || rrset.rtype.is_meta() || is_mixed {
            return None;
        }
        last = Some(rank);
        // NSEC3 records and others never share a node.
        if rank.is_denial(labels) != is_denial(bytes) {
            return None;
        }
        flags |= flag_of(rank, labels);
        // The serial of an SOA is not part of a version.
        if rrset.rtype == Rtype::SOA {
            rrset
                .rdata()
                .all(|rdata| soa_serial_offset(rdata).is_some())
                .then_some(())?;
        }
        body = rest;
    }
    (flags == bytes[0]).then_some(bytes.len() - rest.len() + size)
}

/// True if the node at the start of `bytes` holds NSEC3 records.
pub(crate) fn is_denial(bytes: &[u8]) -> bool {
    bytes[0] & FLAG_DENIAL != 0
}

/// Compares the key of a name with the name of the node at the start of `bytes`.
pub(crate) fn compare_name(key: &[u8], bytes: &[u8]) -> Ordering {
    compare(key, &bytes[1..])
}

/// Compares a key with that of the node at the start of `bytes`.
pub(crate) fn compare_key(key: &[u8], bytes: &[u8]) -> Ordering {
    if !is_denial(bytes) {
        return compare_name(key, bytes);
    }
    match key.strip_prefix(DENIAL) {
        Some(key) => compare_name(key, bytes),
        // The apex comes before all NSEC3 records, every other name after them.
        None if key.is_empty() => Ordering::Less,
        None => Ordering::Greater,
    }
}

/// The key of the node at the start of `bytes`.
pub(crate) fn key_of(bytes: &[u8]) -> Key {
    if is_denial(bytes) {
        Key::denial(&bytes[1..])
    } else {
        Key::of_labels(&bytes[1..])
    }
}

/// The labels of `name` below `origin` as a node keeps them.
pub(crate) fn labels_of<'n>(name: &'n Name, origin: &Name) -> &'n [u8] {
    relative_labels(name.borrowed(), origin.borrowed())
        .expect("the name was found to be in the zone")
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

/// How many bytes the node at the start of `bytes` has, which passed [`check`] when they came in.
pub(crate) fn size(bytes: &[u8]) -> usize {
    let body = labels_end(bytes).and_then(|end| {
        let (size, rest) = take_number(&bytes[end + 1..])?;
        Some(bytes.len() - rest.len() + size)
    });
    body.expect("node bytes are checked when they come in")
}

/// Reads the RRset at the start of `bytes`, but not its RDATA.
#[inline(always)]
fn read_rrset(bytes: &[u8]) -> Option<RrsetRef<'_>> {
    let (rtype, rest) = match bytes {
        [0, a, b, rest @ ..] => (u16::from_be_bytes([*a, *b]), rest),
        [code, rest @ ..] => (u16::from(*code), rest),
        [] => return None,
    };
    let (ttl, rest) = match rest {
        [TTL_IN_FULL, a, b, c, d, rest @ ..] => (u32::from_be_bytes([*a, *b, *c, *d]), rest),
        [code, rest @ ..] => (*TTLS.get(usize::from(*code))?, rest),
        [] => return None,
    };
    let (count, rdata) = take_number(rest)?;
    (count > 0).then_some(RrsetRef {
        rtype: Rtype(rtype),
        ttl,
        count,
        rdata,
    })
}

#[inline]
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

#[inline]
fn take_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [byte @ 0..0x80, rest @ ..] => Some((usize::from(*byte), rest)),
        _ => take_large_number(bytes),
    }
}

fn take_large_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(NUMBER_SIZE_MAX).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// Where the labels of a node begin.
pub(crate) const LABELS_AT: usize = 1;
const FLAG_CUT: u8 = 1;
const FLAG_DNAME: u8 = 2;
const FLAG_DENIAL: u8 = 4;

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
    fn signatures_follow_what_they_cover() {
        let origin: Name = "example.".parse().unwrap();
        let covers = |rtype: Rtype, ttl| {
            let rdata = [&rtype.0.to_be_bytes()[..], b"rest"].concat();
            (
                Rtype::RRSIG,
                ttl,
                vec![rdata.clone(), [rdata, vec![1]].concat()],
            )
        };
        let one = |rtype| (rtype, 60, vec![b"one".to_vec()]);
        let rrsets = [
            one(Rtype::A),
            covers(Rtype::A, 60),
            covers(Rtype::MX, 61),
            one(Rtype::AAAA),
            one(Rtype::DS),
            covers(Rtype::DS, 62),
        ];
        let bytes = encode(b"\x03www", &rrsets);
        assert_eq!(check(&origin, &bytes), Some(bytes.len()));
        let node = Node::read(&origin, &bytes);
        let check_one = |rtype, expected: Option<(u32, usize)>| {
            let signatures = node.rrset(rtype).unwrap().signatures();
            let found = signatures.map(|rrset| (rrset.ttl(), rrset.len()));
            assert_eq!(found, expected, "{rtype}");
        };
        check_one(Rtype::A, Some((60, 2)));
        check_one(Rtype::AAAA, None);
        check_one(Rtype::DS, Some((62, 2)));
        check_one(Rtype::RRSIG, None);
        let mut swapped = rrsets.clone();
        swapped.swap(0, 1);
        assert_eq!(check(&origin, &encode(b"\x03www", &swapped)), None);
        let mut mixed = rrsets[..2].to_vec();
        mixed[1].2[1] = covers(Rtype::MX, 0).2[1].clone();
        assert_eq!(check(&origin, &encode(b"\x03www", &mixed)), None);
    }

    #[test]
    fn nsec3_records_share_their_node_with_no_others() {
        let origin: Name = "example.".parse().unwrap();
        let nsec3 = (Rtype::NSEC3, 60, vec![vec![1]]);
        let address = (Rtype::A, 60, vec![vec![192, 0, 2, 1]]);
        let bytes = encode(b"\x02q0", std::slice::from_ref(&nsec3));
        assert_eq!(check(&origin, &bytes), Some(bytes.len()));
        let node = Node::read(&origin, &bytes);
        assert!(node.is_denial());
        assert_eq!(node.key().as_bytes(), b"\0q0\0");
        assert!(node.compare(b"\0q0\0").is_eq());
        assert!(node.compare(b"\0q1\0").is_gt() && node.compare(b"q0\0").is_gt());
        assert!(node.compare(b"").is_lt() && node.compare(b"\0a\0").is_lt());
        assert_eq!(
            check(&origin, &encode(b"\x02q0", &[address, nsec3.clone()])),
            None
        );
        // At the apex they are records like all others.
        assert!(!Node::read(&origin, &encode(b"", &[nsec3])).is_denial());
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
