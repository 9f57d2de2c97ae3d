//! Which NSEC or NSEC3 records prove that a name or a type does not exist (RFC 4035 section 3.1.3,
//! RFC 5155 section 7.2).
//!
//! ```text
//! NSEC    a ───────── c ─ c.c ───── x      in canonical order of the names
//! NSEC3   0a… ───── 5t… ─── 7k… ──── q3…   in the order of hashes, in a region of their own
//! ```
//! Each record is found by its place, and none is looked for. Where a chain has a gap, the proof is
//! one record short. Signatures are not checked.

use data_encoding::BASE32HEX_NOPAD;
use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY};

use crate::key::{AFTER_DENIAL, DENIAL};
use crate::lookup::Found;
use crate::name::{NAME_SIZE_MAX, NameRef};
use crate::node::{Node, RrsetRef};
use crate::rtype::Rtype;
use crate::sought::Below;
use crate::version::Version;

/// Most additional iterations of the hash for which proofs are made. RFC 9276 section 3.2 lets
/// validators take a zone with any at all for unsigned, or answer SERVFAIL. Above 150, the bound of
/// RFC 5155 section 10.3 for the smallest keys, all large ones do: proofs are work for nobody then.
pub const ITERATIONS_MAX: u16 = 150;

/// What a response says of what its QNAME meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// There are records of the QTYPE, or an alias.
    Data,
    /// There are none, or there is no such name.
    NoData,
}

/// The hash of a name that does not exist is that of one that does: nothing can be proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Collision;

/// The records that prove something; each stands in it once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proof<'v> {
    nodes: [Option<Node<'v>>; NODES_MAX],
}

impl<'v> Proof<'v> {
    /// The nodes that own them, and the RRsets.
    pub fn rrsets(&self) -> impl Iterator<Item = (Node<'v>, RrsetRef<'v>)> + use<'v> {
        self.nodes.into_iter().flatten().filter_map(|node| {
            let rtype = if node.is_denial() {
                Rtype::NSEC3
            } else {
                Rtype::NSEC
            };
            Some((node, node.rrset(rtype)?))
        })
    }

    fn add(&mut self, node: Option<Node<'v>>) {
        let Some(node) = node else {
            return;
        };
        for place in &mut self.nodes {
            match place {
                Some(held) if std::ptr::eq(held.bytes(), node.bytes()) => return,
                Some(_) => {}
                None => {
                    *place = Some(node);
                    return;
                }
            }
        }
    }
}

impl Version {
    /// What proves, beside the records that are there, that `found` is what `qname` meets. At a cut
    /// the data is its DS.
    pub fn prove(
        &self,
        qname: Below<'_>,
        found: &Found<'_>,
        says: Says,
    ) -> Result<Proof<'_>, Collision> {
        let mut proof = Proof::default();
        // What stands there says so itself.
        if matches!(found, Found::Dname(_))
            || says == Says::Data && !matches!(found, Found::Wildcard { .. })
        {
            return Ok(proof);
        }
        if let Some(chain) = HashChain::of(self) {
            return chain.prove(qname, found, says);
        }
        if self.apex().rrset(Rtype::NSEC).is_some() {
            self.prove_by_nsec(qname, found, says, &mut proof);
        }
        Ok(proof)
    }

    fn prove_by_nsec<'v>(
        &'v self,
        qname: Below<'_>,
        found: &Found<'_>,
        says: Says,
        proof: &mut Proof<'v>,
    ) {
        match (found, says) {
            (Found::Dname(_), _) => {}
            // RFC 4035 section 3.1.3.1: no such type; section 3.1.4: no DS.
            (Found::Node(node) | Found::Cut(node), _) => {
                proof.add(self.nsec(node.key().as_bytes()));
            }
            // RFC 4035 section 3.1.3.3: nothing closer than the wildcard; section 3.1.3.4: and the
            // wildcard does not have the type, or by section 3.1.3.2 it has none.
            (Found::Wildcard { source, .. }, says) => {
                proof.add(qname.with_key(qname.label_count(), |key| self.nsec(key)));
                if says == Says::NoData {
                    proof.add(self.nsec(source.key().as_bytes()));
                }
            }
            // RFC 4035 section 3.1.3.2: neither the name nor a wildcard.
            (Found::NxDomain { encloser }, _) => {
                proof.add(qname.with_key(qname.label_count(), |key| self.nsec(key)));
                let wildcard = qname.wildcard_key(self.depth(encloser));
                proof.add(self.nsec(wildcard.as_bytes()));
            }
        }
    }

    /// The node whose NSEC record matches this key or covers it.
    fn nsec(&self, key: &[u8]) -> Option<Node<'_>> {
        let mut node = self.node_at(key).or_else(|| self.before(key))?;
        loop {
            // What precedes all names but one is the apex.
            if node.is_denial() {
                node = self.apex();
            }
            node = self.visible(node);
            // RFC 4035 section 2.3: an empty non-terminal has no NSEC record. The name before it is
            // one itself only if it is right above it: there are no more than labels.
            if !node.is_empty() {
                return Some(node);
            }
            node = self.before(node.key().as_bytes())?;
        }
    }

    /// The node itself, or the zone cut or DNAME that hides it.
    fn visible<'v>(&'v self, node: Node<'v>) -> Node<'v> {
        let counts = self.counts();
        if counts.cuts == 0 && counts.dnames == 0 {
            return node;
        }
        let key = node.key();
        let mut above =
            (0..key.label_count()).filter_map(|labels| self.node_at(key.ancestor(labels)));
        above
            .find(|above| above.is_cut() || above.has_dname())
            .unwrap_or(node)
    }

    /// How many labels a name has below the origin.
    fn depth(&self, node: &Node<'_>) -> usize {
        node.label_count() - self.origin().label_count()
    }
}

/// The NSEC3 records of one set of parameters.
struct HashChain<'v> {
    version: &'v Version,
    /// Algorithm, iterations, size of the salt and the salt, as NSEC3 and NSEC3PARAM have them
    /// around their flags.
    parameters: &'v [u8],
}

impl<'v> HashChain<'v> {
    /// The chain from which proofs are made; none if the zone has none.
    fn of(version: &'v Version) -> Option<Self> {
        let mut parameters = version.apex().rrset(Rtype::NSEC3PARAM)?.rdata();
        // RFC 5155 section 4.1.2: with any flag set, a chain is not to be used.
        parameters.find_map(|parameters| {
            let chain = Self {
                version,
                parameters,
            };
            let is_usable = parameters.first_chunk() == Some(&[SHA1, 0]);
            (is_usable && chain.iterations() <= ITERATIONS_MAX).then_some(chain)
        })
    }

    fn prove(
        &self,
        qname: Below<'_>,
        found: &Found<'_>,
        says: Says,
    ) -> Result<Proof<'v>, Collision> {
        let mut proof = Proof::default();
        match (found, says) {
            (Found::Dname(_), _) => {}
            // RFC 5155 section 7.2.3: no such type; sections 7.2.4 and 7.2.7: no DS. What opt-out
            // leaves without a record, an empty non-terminal too, is in the gap of another.
            (Found::Node(node) | Found::Cut(node), _) => {
                let depth = self.version.depth(node);
                match self.matching(&self.hash(&[], qname.ancestor(depth))) {
                    Some(node) => proof.add(Some(node)),
                    None => {
                        self.prove_encloser(qname, depth.saturating_sub(1), &mut proof)?;
                    }
                }
            }
            // RFC 5155 section 7.2.6: nothing closer than the wildcard.
            (Found::Wildcard { encloser, .. }, Says::Data) => {
                let next_closer = qname.ancestor(self.version.depth(encloser) + 1);
                proof.add(self.covering(&self.hash(&[], next_closer))?);
            }
            // RFC 5155 section 7.2.5: and the wildcard does not have the type. Where opt-out leaves
            // it without a record, that in whose gap it is.
            (Found::Wildcard { encloser, .. }, Says::NoData) => {
                let depth = self.prove_encloser(qname, self.version.depth(encloser), &mut proof)?;
                proof.add(self.at_or_before(&self.hash(WILDCARD, qname.ancestor(depth))));
            }
            // RFC 5155 section 7.2.2: neither the name nor a wildcard.
            (Found::NxDomain { encloser }, _) => {
                let depth = self.prove_encloser(qname, self.version.depth(encloser), &mut proof)?;
                proof.add(self.at_or_before(&self.hash(WILDCARD, qname.ancestor(depth))));
            }
        }
        Ok(proof)
    }

    /// RFC 5155 section 7.2.1: the closest encloser that has a record, at this depth or above it,
    /// and that the name one label longer does not exist. Returns its depth.
    fn prove_encloser(
        &self,
        qname: Below<'_>,
        depth: usize,
        proof: &mut Proof<'v>,
    ) -> Result<usize, Collision> {
        let has_record = |depth: usize| self.matching(&self.hash(&[], qname.ancestor(depth)));
        let found = (0..=depth)
            .rev()
            .find_map(|depth| Some((depth, has_record(depth)?)));
        let Some((depth, encloser)) = found else {
            return Ok(depth);
        };
        proof.add(Some(encloser));
        let next_closer = qname.ancestor(depth + 1);
        proof.add(self.covering(&self.hash(&[], next_closer))?);
        Ok(depth)
    }

    /// The record of the name with this hash.
    fn matching(&self, hash: &Hash) -> Option<Node<'v>> {
        self.at_or_before(hash).filter(|node| hash.is_of(node))
    }

    /// The record in whose gap this hash lies.
    fn covering(&self, hash: &Hash) -> Result<Option<Node<'v>>, Collision> {
        let node = self.at_or_before(hash);
        // RFC 5155 section 7.2.9.
        match node.is_some_and(|node| hash.is_of(&node)) {
            true => Err(Collision),
            false => Ok(node),
        }
    }

    fn at_or_before(&self, hash: &Hash) -> Option<Node<'v>> {
        let version = self.version;
        let mut node = version
            .node_at(&hash.key)
            .or_else(|| version.before(&hash.key))?;
        for _ in 0..STEPS_MAX {
            if !node.is_denial() {
                // RFC 5155 section 3.1.7: the last record of a chain leads to the first.
                node = version.before(AFTER_DENIAL).filter(Node::is_denial)?;
            }
            if self.has_record_at(&node) {
                return Some(node);
            }
            node = version.before(node.key().as_bytes())?;
        }
        None
    }

    fn has_record_at(&self, node: &Node<'_>) -> bool {
        let mut records = node.rrset(Rtype::NSEC3).into_iter().flat_map(|r| r.rdata());
        records.any(|record| {
            record.first() == self.parameters.first()
                && record.get(2..self.parameters.len()) == Some(&self.parameters[2..])
        })
    }

    /// RFC 5155 section 5.
    fn hash(&self, label: &[u8], name: NameRef<'_>) -> Hash {
        let name = name.as_wire();
        let mut wire = [0; NAME_SIZE_MAX];
        let wire = &mut wire[..name.len()];
        wire.copy_from_slice(name);
        // Length bytes are below 64 and so never letters.
        wire.make_ascii_lowercase();
        let mut hash = self.hash_once(&[label, wire]);
        for _ in 0..self.iterations() {
            hash = self.hash_once(&[hash.as_ref()]);
        }
        Hash::new(&hash)
    }

    fn hash_once(&self, pieces: &[&[u8]]) -> Digest {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        pieces.iter().for_each(|piece| context.update(piece));
        context.update(&self.parameters[SALT_AT..]);
        context.finish()
    }

    fn iterations(&self) -> u16 {
        u16::from_be_bytes([self.parameters[2], self.parameters[3]])
    }
}

/// A hashed name, as the key of its NSEC3 record.
struct Hash {
    key: [u8; HASH_KEY_SIZE],
}

impl Hash {
    fn new(digest: &Digest) -> Self {
        let mut key = [0; HASH_KEY_SIZE];
        // The label ends with the zero byte that is there.
        let label = &mut key[DENIAL.len()..HASH_KEY_SIZE - 1];
        BASE32HEX_NOPAD.encode_mut(digest.as_ref(), label);
        label.make_ascii_lowercase();
        Self { key }
    }

    fn is_of(&self, node: &Node<'_>) -> bool {
        node.compare(&self.key).is_eq()
    }
}

/// No proof takes more: closest encloser, next closer name, wildcard.
const NODES_MAX: usize = 3;
/// The number of the only hash algorithm (RFC 5155 section 11).
const SHA1: u8 = 1;
/// Where the salt begins in NSEC3 and NSEC3PARAM.
const SALT_AT: usize = 5;
const WILDCARD: &[u8] = b"\x01*";
/// Region, 32 letters and digits for 20 bytes, and the end of the label.
const HASH_KEY_SIZE: usize = 1 + 32 + 1;
/// So many records of other chains may lie side by side while one takes the place of another: with
/// two chains of one length, 64 in a row is as likely as to meet a collision.
const STEPS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::record::{Rdata, Record};

    #[test]
    fn hashes_are_those_of_rfc_5155_appendix_a() {
        let origin: Name = "example.".parse().unwrap();
        let parameters = [1, 0, 0, 12, 4, 0xaa, 0xbb, 0xcc, 0xdd];
        let record = Record {
            owner: origin.clone(),
            rtype: Rtype::NSEC3PARAM,
            ttl: 0,
            rdata: Rdata::from_checked(parameters),
        };
        let version = Version::from_records(&origin, &[record]).unwrap();
        let chain = HashChain::of(&version).unwrap();
        let check = |name: &str, expected: &str| {
            let name: Name = name.parse().unwrap();
            let hash = chain.hash(&[], name.borrowed());
            let expected = format!("\0{expected}\0");
            assert_eq!(hash.key, *expected.as_bytes(), "{name}");
        };
        check("example.", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom");
        check("A.Example.", "35mthgpgcu1qg68fab165klnsnk3dpvl");
        check("*.w.example.", "r53bq7cc2uvmubfu5ocmm6pers9tk9en");
        check("x.y.w.example.", "2vptu5timamqttgl4luu9kg21e0aor3s");
        let encloser: Name = "w.example.".parse().unwrap();
        let wildcard = chain.hash(WILDCARD, encloser.borrowed());
        assert_eq!(wildcard.key[1..4], *b"r53");
    }
}
