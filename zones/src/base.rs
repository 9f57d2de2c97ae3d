//! The immutable base of a version: all nodes of a zone in canonical order, in chunks of about
//! 4 KiB.
//!
//! ```text
//! chunk = node … | u16 offset of each eighth node but the first | u16 how many of these
//! ```
//! A chunk stands alone: the same bytes are the row in the store and the image in memory. A name that
//! is asked for is found by its hash, among few by a look at each; a place in the order by binary search
//! over the first keys of the chunks, then over the offsets in one, and from there node by node. No
//! chunk holds nodes of two regions of the key space, so that one look tells how its keys compare.

use std::cmp::Ordering;
use std::sync::OnceLock;

use crate::hash;
use crate::index::Index;
use crate::key::{DENIAL, Target, head};
use crate::name::Name;
use crate::node::{self, Node};
use crate::sought::Below;

/// All nodes of a zone at one time.
pub struct Base {
    origin: Name,
    /// All chunks, one behind the other: a large zone is one run of memory, which goes back to the
    /// system whole.
    bytes: Box<[u8]>,
    /// None where there is one chunk only: most zones are small, and there are very many of them.
    table: Option<Box<Table>>,
    counts: Counts,
}

/// What finds nodes and chunks among many, and what is not worth counting twice for a large zone.
struct Table {
    /// Where each chunk begins.
    starts: Box<[usize]>,
    /// The head of the key of each chunk's first node.
    first: Box<[u64]>,
    /// Where the nodes of names are; none if there are more than it has places for.
    index: Option<Index>,
    digest: OnceLock<u128>,
    id: OnceLock<BaseId>,
}

/// Chunks that are being put together.
#[derive(Clone, Default)]
pub(crate) struct Chunks {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// A base by its content: the first half of the SHA-256 of its chunks.
pub(crate) type BaseId = [u8; 16];

/// What a version holds, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Names, empty non-terminals included, and owners of NSEC3 records.
    pub names: u32,
    /// Records.
    pub records: u32,
    /// Zone cuts.
    pub cuts: u32,
    /// Names with a DNAME.
    pub dnames: u32,
    /// Names whose first label is `*`.
    pub wildcards: u32,
}

/// A place among the nodes of a base; past the last chunk it is the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    chunk: usize,
    /// Among the bytes of the chunk.
    offset: usize,
}

/// The chunk of a base that does not hold what a base must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadChunk(pub(crate) usize);

impl Base {
    /// A base from chunks that come from outside; each node and the order are checked.
    pub(crate) fn from_chunks(origin: Name, chunks: Chunks) -> Result<Self, BadChunk> {
        let mut counts = Counts::default();
        let mut first = Vec::with_capacity(chunks.starts.len());
        let mut last_key = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            check_chunk(&origin, chunk, &mut last_key, |node, key| {
                counts.add(node);
                if first.len() == number {
                    first.push(head(key));
                }
            })
            .ok_or(BadChunk(number))?;
        }
        if counts.names == 0 {
            return Err(BadChunk(0));
        }
        Ok(Self::new(origin, chunks, first, counts))
    }

    fn new(origin: Name, chunks: Chunks, first: Vec<u64>, counts: Counts) -> Self {
        let is_large = first.len() > 1;
        let index = is_large.then(|| index_of(&origin, &chunks, counts.names as usize));
        let table = index.map(|index| {
            Box::new(Table {
                index,
                starts: chunks.starts.into(),
                first: first.into(),
                digest: OnceLock::new(),
                id: OnceLock::new(),
            })
        });
        Self {
            origin,
            bytes: chunks.bytes.into(),
            table,
            counts,
        }
    }

    /// The apex of the zone.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// What the base holds, by number.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many chunks there are.
    pub(crate) fn chunk_count(&self) -> usize {
        self.table.as_ref().map_or(1, |table| table.starts.len())
    }

    /// The chunk of this number, in canonical order.
    pub(crate) fn chunk(&self, number: usize) -> &[u8] {
        match &self.table {
            Some(table) => chunk_of(&self.bytes, &table.starts, number),
            None => &self.bytes,
        }
    }

    /// What the base is called in the store. For a large one it is counted when first asked for.
    pub(crate) fn id(&self) -> BaseId {
        let count = || {
            let digest = ring::digest::digest(&ring::digest::SHA256, &self.bytes);
            *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
        };
        match &self.table {
            Some(table) => *table.id.get_or_init(count),
            None => count(),
        }
    }

    /// Tells the base what it is called, where that is known without counting.
    pub(crate) fn set_id(&self, id: BaseId) {
        if let Some(table) = &self.table {
            table.id.get_or_init(|| id);
        }
    }

    /// The sum of the digests of all nodes. For a large one it is counted when first asked for.
    pub(crate) fn digest(&self) -> u128 {
        let count = || {
            let mut sum = 0u128;
            let mut at = Position {
                chunk: 0,
                offset: 0,
            };
            while let Some(node) = self.node(at) {
                sum = sum.wrapping_add(node_digest(&node));
                at = self.after(at);
            }
            sum
        };
        match &self.table {
            Some(table) => *table.digest.get_or_init(count),
            None => count(),
        }
    }

    /// Tells the base its digest, where that is known without counting.
    pub(crate) fn set_digest(&self, digest: u128) {
        if let Some(table) = &self.table {
            let known = *table.digest.get_or_init(|| digest);
            debug_assert_eq!(known, digest, "equal content has equal digests");
        }
    }

    /// The node of the apex, which is the first.
    pub(crate) fn apex(&self) -> Node<'_> {
        Node::read(&self.origin, self.chunk(0))
    }

    /// The node with this key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Node<'_>> {
        self.node(self.search(key).ok()?)
    }

    /// The node of the ancestor of a name that has so many labels below the origin.
    #[inline(always)]
    pub(crate) fn find(&self, name: Below<'_>, labels: usize) -> Option<Node<'_>> {
        if labels == 0 {
            return Some(self.apex());
        }
        match (self.index(), self.few_nodes()) {
            (Some(index), _) => self.find_indexed(index, name.labels(labels)),
            (None, Some(nodes)) => self.find_among(nodes, name.labels(labels)),
            (None, None) => name.with_key(labels, |key| self.get(key)),
        }
    }

    /// The node of the wildcard right below the ancestor of a name that has so many labels below the
    /// origin.
    pub(crate) fn find_wildcard(&self, name: Below<'_>, labels: usize) -> Option<Node<'_>> {
        match (self.index(), self.few_nodes()) {
            (Some(index), _) => self.find_indexed(index, name.wildcard_labels(labels).as_bytes()),
            (None, Some(nodes)) => self.find_among(nodes, name.wildcard_labels(labels).as_bytes()),
            (None, None) => self.get(name.wildcard_key(labels).as_bytes()),
        }
    }

    /// The node of a name that has these labels below the origin, one at least.
    fn find_indexed(&self, index: &Index, labels: &[u8]) -> Option<Node<'_>> {
        index.find(hash::of(labels), |offset| {
            Node::read_if_of(&self.origin, &self.bytes[offset..], labels)
        })
    }

    /// The nodes, if they are so few that to look at each is quicker than to make a key: as in most
    /// zones.
    fn few_nodes(&self) -> Option<Nodes<'_>> {
        let nodes = Nodes::of(self.table.is_none().then_some(&self.bytes)?);
        nodes.marks.is_empty().then_some(nodes)
    }

    fn find_among(&self, nodes: Nodes<'_>, labels: &[u8]) -> Option<Node<'_>> {
        // All are of names: those of NSEC3 records do not stand in the chunk of the apex.
        let mut nodes = nodes.iter();
        nodes.find_map(|offset| Node::read_if_of(&self.origin, &self.bytes[offset..], labels))
    }

    #[inline]
    fn index(&self) -> Option<&Index> {
        self.table.as_ref()?.index.as_ref()
    }

    /// The place of the first node whose key is `key` or greater.
    pub(crate) fn seek(&self, key: &[u8]) -> Position {
        match self.search(key) {
            Ok(at) => at,
            Err(at) => self.normal(at),
        }
    }

    /// The place of the node with this key, or where it would be, which may be past the end of a
    /// chunk.
    fn search(&self, key: &[u8]) -> Result<Position, Position> {
        // The first chunk begins with the apex, and no key is less than its.
        let chunk = self.seek_chunk(key).unwrap_or(0);
        let nodes = Nodes::of(self.chunk(chunk));
        let mut rest = key;
        if node::is_denial(nodes.bytes) {
            match key.strip_prefix(DENIAL) {
                Some(stripped) => rest = stripped,
                // It is in the next region.
                None => {
                    return Err(Position {
                        chunk,
                        offset: nodes.bytes.len(),
                    });
                }
            }
        }
        let at = |offset| Position { chunk, offset };
        nodes.search(&Target::new(rest)).map(at).map_err(at)
    }

    /// The last chunk whose first node is `key` or less.
    fn seek_chunk(&self, key: &[u8]) -> Option<usize> {
        let Some(table) = &self.table else {
            return Some(0);
        };
        let target = head(key);
        let mut low = table.first.partition_point(|first| *first < target);
        if table.first.get(low) == Some(&target) {
            // Of those that begin alike only the first nodes themselves tell.
            let alike = table.first[low..].partition_point(|first| *first == target);
            let mut high = low + alike;
            while low < high {
                let middle = low.midpoint(high);
                if node::compare_key(key, self.chunk(middle)).is_lt() {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
        }
        low.checked_sub(1)
    }

    /// The node at a place; none at the end.
    pub(crate) fn node(&self, at: Position) -> Option<Node<'_>> {
        self.bytes(at).map(|bytes| Node::read(&self.origin, bytes))
    }

    /// The place after `at`.
    pub(crate) fn after(&self, at: Position) -> Position {
        let nodes = Nodes::of(self.chunk(at.chunk));
        self.normal(Position {
            offset: at.offset + node::size(&nodes.bytes[at.offset..]),
            ..at
        })
    }

    /// The place before `at`; none at the beginning.
    pub(crate) fn before(&self, at: Position) -> Option<Position> {
        let (chunk, end) = match at.offset {
            0 => (at.chunk.checked_sub(1)?, usize::MAX),
            offset => (at.chunk, offset),
        };
        let nodes = Nodes::of(self.chunk(chunk));
        Some(Position {
            chunk,
            offset: nodes.last_before(end),
        })
    }

    fn bytes(&self, at: Position) -> Option<&[u8]> {
        (at.chunk < self.chunk_count()).then(|| &self.chunk(at.chunk)[at.offset..])
    }

    fn normal(&self, at: Position) -> Position {
        if at.offset < Nodes::of(self.chunk(at.chunk)).bytes.len() {
            return at;
        }
        Position {
            chunk: at.chunk + 1,
            offset: 0,
        }
    }
}

impl Chunks {
    /// Puts a chunk behind the others.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(chunk);
    }

    /// Puts more bytes to the last chunk.
    pub(crate) fn extend_last(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the place of what was there.
    pub(crate) fn set(&mut self, bytes: &[u8], starts: impl Iterator<Item = usize>) {
        self.bytes = bytes.to_vec();
        self.starts = starts.collect();
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of all chunks, one behind the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each chunk begins.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> {
        self.starts.iter().copied()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|number| chunk_of(&self.bytes, &self.starts, number))
    }
}

fn chunk_of<'c>(bytes: &'c [u8], starts: &[usize], number: usize) -> &'c [u8] {
    let end = starts.get(number + 1).copied().unwrap_or(bytes.len());
    &bytes[starts[number]..end]
}

impl Counts {
    pub(crate) fn add(&mut self, node: &Node<'_>) {
        self.names += 1;
        self.records += node.rrsets().map(|rrset| rrset.len() as u32).sum::<u32>();
        self.cuts += u32::from(node.is_cut());
        self.dnames += u32::from(node.has_dname());
        self.wildcards += u32::from(node.is_wildcard());
    }

    fn add_all(&mut self, other: &Self) {
        self.names += other.names;
        self.records += other.records;
        self.cuts += other.cuts;
        self.dnames += other.dnames;
        self.wildcards += other.wildcards;
    }

    pub(crate) fn remove(&mut self, node: &Node<'_>) {
        let mut one = Self::default();
        one.add(node);
        self.names -= one.names;
        self.records -= one.records;
        self.cuts -= one.cuts;
        self.dnames -= one.dnames;
        self.wildcards -= one.wildcards;
    }
}

/// What one node adds to the digest of its version. Empty non-terminals add nothing: they follow
/// from the names below them.
pub(crate) fn node_digest(node: &Node<'_>) -> u128 {
    if node.is_empty() {
        return 0;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, node.bytes());
    let (first, _) = digest
        .as_ref()
        .split_first_chunk()
        .expect("SHA-256 has 32 bytes");
    u128::from_be_bytes(*first)
}

/// Makes a base from nodes in canonical order.
pub(crate) struct Builder {
    origin: Name,
    chunk: Vec<u8>,
    /// How many nodes the chunk holds.
    nodes: usize,
    marks: Vec<u16>,
    chunks: Chunks,
    first: Vec<u64>,
    counts: Counts,
}

impl Builder {
    pub(crate) fn new(origin: Name) -> Self {
        Self {
            origin,
            chunk: Vec::with_capacity(CHUNK_SIZE_MAX),
            nodes: 0,
            marks: Vec::new(),
            chunks: Chunks::default(),
            first: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Appends the node with this key, which is greater than all before.
    pub(crate) fn push(&mut self, key: &[u8], bytes: &[u8]) {
        self.counts.add(&Node::read(&self.origin, bytes));
        let size = self.chunk.len() + bytes.len() + 2 * (self.marks.len() + 2);
        let is_full = size > CHUNK_SIZE_MAX;
        if self.nodes > 0 && (is_full || node::is_denial(&self.chunk) != node::is_denial(bytes)) {
            self.close_chunk();
        }
        if self.nodes == 0 {
            self.first.push(head(key));
        } else if self.nodes.is_multiple_of(MARK_EVERY) {
            // It begins below the size of a chunk, whatever size the first node has.
            self.marks.push(self.chunk.len() as u16);
        }
        self.nodes += 1;
        self.chunk.extend_from_slice(bytes);
    }

    /// Puts the nodes of another region of the key space behind these.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.close_chunk();
        other.close_chunk();
        let start = self.chunks.bytes.len();
        self.chunks.bytes.extend_from_slice(&other.chunks.bytes);
        let starts = other.chunks.starts.iter().map(|at| start + at);
        self.chunks.starts.extend(starts);
        self.first.extend_from_slice(&other.first);
        self.counts.add_all(&other.counts);
    }

    /// True if there is no node yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.names == 0
    }

    pub(crate) fn finish(mut self) -> Base {
        assert!(self.counts.names > 0, "a zone has its apex");
        self.close_chunk();
        Base::new(self.origin, self.chunks, self.first, self.counts)
    }

    fn close_chunk(&mut self) {
        if self.nodes == 0 {
            return;
        }
        for mark in &self.marks {
            self.chunk.extend_from_slice(&mark.to_be_bytes());
        }
        self.chunk
            .extend_from_slice(&(self.marks.len() as u16).to_be_bytes());
        self.chunks.push(&self.chunk);
        self.chunk.clear();
        self.marks.clear();
        self.nodes = 0;
    }
}

/// The index of all names of a base.
fn index_of(origin: &Name, chunks: &Chunks, names: usize) -> Option<Index> {
    // Who asks for the proof that there is no such name goes by the order.
    let named = || {
        let chunks = chunks.iter().zip(chunks.starts());
        chunks.filter(|(chunk, _)| !node::is_denial(chunk))
    };
    let names = match named().count() < chunks.len() {
        true => named()
            .map(|(chunk, _)| Nodes::of(chunk).iter().count())
            .sum(),
        false => names,
    };
    let mut index = Index::new(names, chunks.bytes.len())?;
    for (chunk, start) in named() {
        for offset in Nodes::of(chunk).iter() {
            let node = Node::read(origin, &chunk[offset..]);
            if !node.is_apex() {
                index.put(hash::of(node.labels()), start + offset);
            }
        }
    }
    Some(index)
}

/// The nodes of a chunk.
#[derive(Clone, Copy)]
struct Nodes<'c> {
    bytes: &'c [u8],
    /// The offset of each eighth node but the first.
    marks: &'c [[u8; 2]],
}

impl<'c> Nodes<'c> {
    fn of(chunk: &'c [u8]) -> Self {
        let table = chunk.len() - 2 - 2 * usize::from(u16_at(chunk, chunk.len() - 2));
        let (marks, _) = chunk[table..chunk.len() - 2].as_chunks();
        Self {
            bytes: &chunk[..table],
            marks,
        }
    }

    /// The offsets of all nodes.
    fn iter(self) -> impl Iterator<Item = usize> + use<'c> {
        self.iter_from(0)
    }

    /// The offsets of the nodes from one on.
    fn iter_from(self, offset: usize) -> impl Iterator<Item = usize> + use<'c> {
        let is_there = move |offset: &usize| *offset < self.bytes.len();
        std::iter::successors(Some(offset).filter(is_there), move |offset| {
            let next = offset + node::size(&self.bytes[*offset..]);
            Some(next).filter(is_there)
        })
    }

    /// The offset of the node with this key, or where it would be.
    fn search(self, target: &Target<'_>) -> Result<usize, usize> {
        let compare = |offset: usize| target.compare(&self.bytes[offset + node::LABELS_AT..]);
        let is_at_or_before = |mark: &[u8; 2]| compare(offset_of(*mark)).is_ge();
        let passed = self.marks.partition_point(is_at_or_before);
        let start = self.mark_before(passed);
        for offset in self.iter_from(start) {
            match compare(offset) {
                Ordering::Greater => {}
                Ordering::Equal => return Ok(offset),
                Ordering::Less => return Err(offset),
            }
        }
        Err(self.bytes.len())
    }

    /// The offset of the last node that begins before `end`.
    fn last_before(self, end: usize) -> usize {
        let passed = self.marks.partition_point(|mark| offset_of(*mark) < end);
        let start = self.mark_before(passed);
        let before = self.iter_from(start).take_while(|offset| *offset < end);
        before.last().unwrap_or(start)
    }

    /// The mark before the one of this number; before the first one the nodes begin.
    fn mark_before(self, number: usize) -> usize {
        number
            .checked_sub(1)
            .map_or(0, |last| offset_of(self.marks[last]))
    }
}

fn offset_of(mark: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(mark))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Checks a chunk from outside and calls `each` for its nodes; none if it is not whole.
fn check_chunk(
    origin: &Name,
    chunk: &[u8],
    last_key: &mut Vec<u8>,
    mut each: impl FnMut(&Node<'_>, &[u8]),
) -> Option<()> {
    let (data, count) = chunk.split_last_chunk()?;
    let table = data
        .len()
        .checked_sub(2 * usize::from(u16::from_be_bytes(*count)))?;
    let mut marks = data[table..].as_chunks().0.iter();
    let (mut at, mut nodes) = (0, 0);
    while at < table {
        if nodes > 0 && usize::is_multiple_of(nodes, MARK_EVERY) && offset_of(*marks.next()?) != at
        {
            return None;
        }
        nodes += 1;
        let bytes = &data[at..table];
        at += node::check(origin, bytes)?;
        let node = Node::read(origin, bytes);
        let key = node.key();
        let is_first = last_key.is_empty() && node.is_apex();
        if !is_first && key.as_bytes() <= last_key.as_slice() {
            return None;
        }
        if node.is_denial() != node::is_denial(chunk) {
            return None;
        }
        each(&node, key.as_bytes());
        last_key.clear();
        last_key.extend_from_slice(key.as_bytes());
    }
    (nodes > 0 && marks.next().is_none()).then_some(())
}

/// So many nodes have one offset: who looks for a place in the order passes half of them.
const MARK_EVERY: usize = 8;
/// Measured: from 1 to 16 KiB the memory changes by less than 4 %; 4 KiB make a row of the store
/// that sled keeps inside its pages.
const CHUNK_SIZE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::record::{Rdata, Record};
    use crate::rtype::Rtype;
    use crate::sought::{Sought, Space};
    use crate::version::Version;

    fn build(sizes: &[usize]) -> Base {
        let mut builder = Builder::new("example.".parse().unwrap());
        builder.push(b"", &node::encode::<Vec<u8>>(b"", &[]));
        for (i, size) in sizes.iter().enumerate() {
            let labels = format!("\x09host{i:05}").into_bytes();
            let bytes = node::encode(&labels, &[(Rtype::NULL, 60, vec![vec![7; *size]])]);
            builder.push(Key::of_labels(&labels).as_bytes(), &bytes);
        }
        builder.finish()
    }

    fn walk(base: &Base) -> Vec<String> {
        let mut at = base.seek(b"");
        let mut names = Vec::new();
        while let Some(node) = base.node(at) {
            names.push(node.owner().to_string());
            at = base.after(at);
        }
        names
    }

    #[test]
    fn every_node_is_found_whatever_its_size() {
        let sizes: Vec<usize> = (0..700)
            .map(|i| if i % 97 == 5 { 66_000 / 2 } else { i })
            .collect();
        let base = build(&sizes);
        assert!(base.chunk_count() > 30);
        assert_eq!(base.counts().names, 701);
        let names = walk(&base);
        assert_eq!(names.len(), 701);
        for i in 0..700 {
            let key = format!("host{i:05}\0").into_bytes();
            let node = base.get(&key).unwrap();
            assert_eq!(node.owner().to_string(), names[i + 1]);
            let before = base
                .before(base.seek(&key))
                .and_then(|at| base.node(at))
                .unwrap();
            assert_eq!(before.owner().to_string(), names[i]);
            assert!(base.get(format!("host{i:05}x\0").as_bytes()).is_none());
        }
        assert!(base.get(b"a\0").is_none() && base.get(b"z\0").is_none());
        assert_eq!(base.before(base.seek(b"")), None);
    }

    #[test]
    fn a_name_is_found_where_its_place_in_the_order_is() {
        // By its hash, by its key, and by a look at each.
        for (names, wildcards) in [(2_000, 100), (60, 5), (3, 1)] {
            look_for_all(names, wildcards);
        }
    }

    fn look_for_all(count: usize, wildcards: usize) {
        let origin: Name = "example.".parse().unwrap();
        let label = |n: usize| match n % 4 {
            0 => format!("Host-{n}"),
            1 => format!("a\\000b\\001-{n}"),
            2 => format!("a-label-that-is-longer-than-two-words-{n}"),
            _ => format!("{n}"),
        };
        // Every third one is missing.
        let name = |n: usize, owner: &str| -> Name {
            format!("{owner}{}.z{}.example.", label(n), n % 7)
                .parse()
                .unwrap()
        };
        let names = (0..count).filter(|n| n % 3 > 0).flat_map(|n| {
            let wildcard = (n % 5 == 0 || count < 5).then(|| name(n, "*."));
            std::iter::once(name(n, "")).chain(wildcard)
        });
        let records: Vec<Record> = names
            .map(|owner| Record {
                owner,
                rtype: Rtype::NULL,
                ttl: 60,
                rdata: Rdata::from_checked([7; 20]),
            })
            .collect();
        let base = Version::from_records(&origin, &records).unwrap().rebase();
        assert_eq!(base.chunk_count() > 10, count > 1_000);
        assert_eq!(base.few_nodes().is_some(), count < 5);
        let by_order = |key: &[u8]| base.search(key).ok().and_then(|at| base.bytes(at));
        let is_same = |found: Option<Node<'_>>, key: &[u8]| {
            let expected = by_order(key).map(|bytes| Node::read(&origin, bytes).bytes().as_ptr());
            assert_eq!(found.map(|node| node.bytes().as_ptr()), expected);
        };
        let mut space = Space::default();
        let mut found = 0;
        for n in 0..count {
            for name in [name(n, ""), name(n, "x."), name(n, "").to_lowercase()] {
                let sought = Sought::new(name.borrowed(), &mut space);
                let below = sought.below(&origin).unwrap();
                for labels in 0..=below.label_count() {
                    below.with_key(labels, |key| is_same(base.find(below, labels), key));
                    let wildcard = below.wildcard_key(labels);
                    let source = base.find_wildcard(below, labels);
                    found += usize::from(source.is_some());
                    is_same(source, wildcard.as_bytes());
                }
            }
        }
        assert!(found > wildcards);
    }

    #[test]
    fn no_chunk_holds_nodes_of_two_regions() {
        let mut builder = Builder::new("example.".parse().unwrap());
        builder.push(b"", &node::encode::<Vec<u8>>(b"", &[]));
        for rtype in [Rtype::NSEC3, Rtype::NULL] {
            for i in 0..300 {
                let labels = format!("\x04q{i:03}").into_bytes();
                let bytes = node::encode(&labels, &[(rtype, 60, vec![vec![7; 40]])]);
                builder.push(node::key_of(&bytes).as_bytes(), &bytes);
            }
        }
        let base = builder.finish();
        let mut chunks = Chunks::default();
        (0..base.chunk_count()).for_each(|number| chunks.push(base.chunk(number)));
        let again = Base::from_chunks(base.origin().clone(), chunks).unwrap();
        for i in 0..300 {
            let name = format!("q{i:03}\0");
            assert!(!again.get(name.as_bytes()).unwrap().is_denial());
            let denial = again.get(format!("\0{name}").as_bytes()).unwrap();
            assert!(denial.is_denial());
        }
        let before = |key: &[u8]| again.node(again.before(again.seek(key)).unwrap()).unwrap();
        assert_eq!(before(b"a\0").key().as_bytes(), b"\0q299\0");
        assert_eq!(before(b"\0a\0").key().as_bytes(), b"");
        assert!(again.get(b"a\0").is_none() && again.get(b"\0z\0").is_none());
        assert!(again.apex().is_apex());
    }

    #[test]
    fn chunks_read_back_and_damage_is_seen() {
        let base = build(&[10; 600]);
        let chunks: Vec<Vec<u8>> = (0..base.chunk_count())
            .map(|number| base.chunk(number).to_vec())
            .collect();
        let from_chunks = |chunks: &[Vec<u8>]| {
            let mut together = Chunks::default();
            chunks.iter().for_each(|chunk| together.push(chunk));
            Base::from_chunks(base.origin().clone(), together)
        };
        let again = from_chunks(&chunks).unwrap();
        assert_eq!(again.counts(), base.counts());
        assert_eq!(walk(&again), walk(&base));
        assert_eq!(again.digest(), base.digest());

        assert_eq!(again.id(), base.id());

        let check = |chunks: Vec<Vec<u8>>| from_chunks(&chunks).err().map(|bad| bad.0);
        let mut swapped = chunks.clone();
        swapped.swap(1, 2);
        assert_eq!(check(swapped), Some(2));
        let mut cut = chunks.clone();
        cut[1].pop();
        assert_eq!(check(cut), Some(1));
        assert_eq!(check(Vec::new()), Some(0));
    }
}
