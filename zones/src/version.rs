//! One state of a zone: an immutable base and the names changed since.
//!
//! ```text
//! base     a ─ b ─ c ─ d ─ e            shared by many versions
//! changes      b' ─ c† ─────── f        a persistent tree; † is "gone"
//! version  a ─ b' ───── d ─ e ─ f
//! ```
//! Every name between a name and the apex exists, as an empty non-terminal if need be. The serial
//! is no part of a version: the SOA holds 0, and who shows it puts in the serial to show.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::iter::{Peekable, Take};
use std::sync::Arc;

use crate::base::{Base, Builder, Counts, Position, node_digest};
use crate::changes::{Change, Changes};
use crate::key::{AFTER_DENIAL, DENIAL, Key};
use crate::name::Name;
use crate::node::Node;
use crate::rdata::{canonical, soa_serial, without_soa_serial};
use crate::record::{Rdata, Record};
use crate::rtype::Rtype;
use crate::serial::Serial;
use crate::sought::{Below, Sought, Space};
use crate::tree::{self, Keyed, Tree};

/// One state of a zone. It never changes; a clone costs two reference counts. Of most zones nothing
/// has changed since the base, and there are very many zones: then a version is two words.
#[derive(Clone)]
pub struct Version {
    base: Arc<Base>,
    changed: Option<Arc<Changed>>,
}

/// What of a zone has changed since its base, and what that makes of the whole.
#[derive(Clone)]
struct Changed {
    names: Changes,
    counts: Counts,
    /// What the changes add to the digest of the base.
    digest: u128,
}

static NO_CHANGES: Changes = Changes::EMPTY;

/// The records by which two versions differ, in canonical order: one step of an IXFR, without
/// the SOA records that frame it. A TTL that changes, or the case of an owner name, removes the
/// record and adds it again.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Records of the old version that the new one does not have.
    pub removed: Vec<Record>,
    /// Records of the new version that the old one does not have.
    pub added: Vec<Record>,
}

impl Delta {
    /// True if the records are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

impl std::fmt::Debug for Delta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (sign, records) in [('-', &self.removed), ('+', &self.added)] {
            for Record {
                owner,
                rtype,
                ttl,
                rdata,
            } in records
            {
                writeln!(f, "{sign} {owner} {ttl} {rtype} {rdata:?}")?;
            }
        }
        Ok(())
    }
}

/// A record whose owner name is not within the zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutOfZone(pub Name);

impl std::fmt::Display for OutOfZone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not within the zone", self.0)
    }
}

impl std::error::Error for OutOfZone {}

impl Version {
    /// The version that is just this base.
    #[must_use]
    pub fn from_base(base: Arc<Base>) -> Self {
        Self {
            base,
            changed: None,
        }
    }

    /// The apex of the zone.
    #[must_use]
    pub fn origin(&self) -> &Name {
        self.base.origin()
    }

    /// What the version holds, by number.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match &self.changed {
            Some(changed) => changed.counts,
            None => self.base.counts(),
        }
    }

    /// A digest of all records, the serial excluded: equal content has equal digests, however it
    /// came about. It tells apart what went wrong, not what somebody forged.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.base.digest().wrapping_add(self.digest_changes())
    }

    /// The apex, which always exists.
    #[must_use]
    pub fn apex(&self) -> Node<'_> {
        match self.changes().get(&[]) {
            Some(change) => {
                let bytes = change.node().expect("the apex always exists");
                Node::read(self.origin(), bytes)
            }
            None => self.base.apex(),
        }
    }

    /// The node of exactly this name, whatever stands above it.
    #[must_use]
    pub fn node(&self, name: &Name) -> Option<Node<'_>> {
        let mut space = Space::default();
        let sought = Sought::new(name.borrowed(), &mut space);
        self.node_of(sought.below(self.origin())?)
    }

    /// The node of exactly this name, whatever stands above it: for glue.
    #[must_use]
    pub fn node_of(&self, name: Below<'_>) -> Option<Node<'_>> {
        self.node_below(name, name.label_count())
    }

    /// The node of the ancestor of a name that has so many labels below the origin.
    pub(crate) fn node_below(&self, name: Below<'_>, labels: usize) -> Option<Node<'_>> {
        self.node_here(name, labels)
    }

    /// The same for the one lookup of most answers.
    #[inline(always)]
    pub(crate) fn node_here(&self, name: Below<'_>, labels: usize) -> Option<Node<'_>> {
        let change = match &self.changed {
            Some(changed) => name.with_key(labels, |key| changed.names.get(key)),
            None => None,
        };
        match change {
            Some(change) => change.node().map(|bytes| Node::read(self.origin(), bytes)),
            None => self.base.find(name, labels),
        }
    }

    /// The wildcard right below the ancestor of a name that has so many labels below the origin.
    pub(crate) fn wildcard_below(&self, name: Below<'_>, labels: usize) -> Option<Node<'_>> {
        if let Some(changed) = &self.changed
            && let Some(change) = changed.names.get(name.wildcard_key(labels).as_bytes())
        {
            return change.node().map(|bytes| Node::read(self.origin(), bytes));
        }
        self.base.find_wildcard(name, labels)
    }

    /// The last name at or before `name` in canonical order, none for one outside the zone.
    #[must_use]
    pub fn floor(&self, name: &Name) -> Option<Node<'_>> {
        let key = Key::relative(name, self.origin())?;
        let found = self
            .node_at(key.as_bytes())
            .or_else(|| self.before(key.as_bytes()))?;
        // Between the apex and the first name stand the NSEC3 records, which are no names.
        Some(if found.is_denial() {
            self.apex()
        } else {
            found
        })
    }

    /// The last node before this key.
    pub(crate) fn before(&self, key: &[u8]) -> Option<Node<'_>> {
        let mut base = self.base.before(self.base.seek(key));
        let mut change = self.changes().before(key);
        loop {
            let standing = base.and_then(|at| self.base.node(at));
            let order = match (&standing, change) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(node), Some(change)) => node.compare(change.key()),
            };
            if order.is_lt() {
                return standing;
            }
            let changed = change.expect("the change is the later one");
            if let Some(bytes) = changed.node() {
                return Some(Node::read(self.origin(), bytes));
            }
            if order.is_eq() {
                base = base.and_then(|at| self.base.before(at));
            }
            change = self.changes().before(changed.key());
        }
    }

    /// All nodes in canonical order of their names, the apex first.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk::merge(
            self.walk_from(&[]).take(1),
            self.walk_from(AFTER_DENIAL),
            self.walk_from(DENIAL),
        )
    }

    /// The nodes after `name` in canonical order; none for a name outside the zone.
    #[must_use]
    pub fn walk_after(&self, name: &Name) -> Option<Walk<'_>> {
        let key = Key::relative(name, self.origin())?;
        // No key lies between a key and that key with a zero byte.
        let after = [key.as_bytes(), &[0]].concat();
        Some(Walk::merge(
            self.walk_from(&[]).take(0),
            self.walk_from(after.as_slice().max(AFTER_DENIAL)),
            self.walk_from(&[DENIAL, &after].concat()),
        ))
    }

    /// True if the zone was signed elsewhere: keys or a signature of the SOA stand at its apex.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let apex = self.apex();
        apex.rrset(Rtype::DNSKEY).is_some() || self.signed_serial().is_some()
    }

    /// The serial over which the SOA is signed, and which alone can be shown.
    #[must_use]
    pub fn signed_serial(&self) -> Option<Serial> {
        let soa = self.apex().rrset(Rtype::SOA)?;
        soa.signatures()?;
        soa.rdata().next().and_then(soa_serial)
    }

    /// All records in canonical order, the SOA with serial 0 unless it is signed.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.walk().flat_map(|node| node.records())
    }

    /// How many names changed since the base, gone ones included.
    #[must_use]
    pub fn changed_names(&self) -> usize {
        self.changes().len()
    }

    /// True if so much changed since the base that a new one is worth its work.
    #[must_use]
    pub fn wants_rebase(&self) -> bool {
        let changed = self.changed_names();
        changed > CHANGED_NAMES_MAX
            || (changed > CHANGED_NAMES_FREE
                && changed > self.base.counts().names as usize / CHANGED_PART_MAX)
    }

    /// The base below this version.
    #[must_use]
    pub fn base(&self) -> &Arc<Base> {
        &self.base
    }

    /// A base with the content of this version. It takes long for a large zone: to be done aside.
    #[must_use]
    pub fn rebase(&self) -> Base {
        let mut builder = Builder::new(self.origin().clone());
        for node in self.walk_from(&[]) {
            builder.push(node.key().as_bytes(), node.bytes());
        }
        let base = builder.finish();
        // Both take long for a large zone, and are asked for where nothing may.
        base.set_digest(self.digest());
        base.id();
        base
    }

    /// This version on the base of `onto`, which has the content of `from`. What the two share
    /// stays shared, and the cost is that of what differs between `from` and this version.
    #[must_use]
    pub fn carry(&self, from: &Self, onto: &Self) -> Self {
        let mut carried = onto.clone();
        Self::changed(from, self, |key, _, after| {
            carried.put(key, after.map(|node| node.bytes()));
        });
        carried
    }

    /// This content on the base of `held`, another version of the zone, where few names differ: what
    /// is the same is in memory once, and later comparisons cost what differs. It takes long for a
    /// large zone: to be done aside.
    #[must_use]
    pub fn onto(self, held: &Self) -> Self {
        if Arc::ptr_eq(&self.base, &held.base) {
            return self;
        }
        let mut carried = held.clone();
        let mut differing = 0;
        Self::changed(held, &self, |key, _, after| {
            differing += 1;
            if differing <= DIFFERING_NAMES_MAX {
                carried.put(key, after.map(|node| node.bytes()));
            }
        });
        if differing > DIFFERING_NAMES_MAX {
            return self;
        }
        carried
    }

    /// The records by which two versions of one zone differ. Among versions of one base the cost
    /// is that of what changed.
    #[must_use]
    pub fn difference(old: &Self, new: &Self) -> Delta {
        let mut delta = Delta::default();
        Self::changed(old, new, |_, before, after| {
            record_difference(before, after, &mut delta);
        });
        delta
    }

    /// True if two versions of one zone hold the same records. Among versions of one base the cost
    /// is that of what changed.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let mut is_same = true;
        Self::changed(self, other, |_, _, _| is_same = false);
        is_same
    }

    /// True if both have the same content on the same base: there is nothing to write or to show
    /// anew. It costs no look at the records.
    #[must_use]
    pub fn is_identical_to(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base) && self.digest_changes() == other.digest_changes()
    }

    /// Calls `each` with key and nodes of every name that differs between two versions of one
    /// zone, in the order of keys.
    pub(crate) fn changed<'v>(
        old: &'v Self,
        new: &'v Self,
        mut each: impl FnMut(&[u8], Option<Node<'v>>, Option<Node<'v>>),
    ) {
        let mut report = |key: &[u8], before: Option<Node<'v>>, after: Option<Node<'v>>| {
            let is_same = match (&before, &after) {
                // Empty non-terminals differ at most in case, by how they came about.
                (Some(before), Some(after)) => {
                    before.bytes() == after.bytes() || before.is_empty() && after.is_empty()
                }
                _ => before.is_none() && after.is_none(),
            };
            if !is_same {
                each(key, before, after);
            }
        };
        if Arc::ptr_eq(&old.base, &new.base) {
            Tree::difference(old.changes(), new.changes(), |before, after| {
                let key = before.or(after).expect("one side has the name").key();
                let read = |change: Option<&'v Change>, version: &'v Self| match change {
                    Some(change) => change.node().map(|node| Node::read(version.origin(), node)),
                    None => version.base.get(key),
                };
                report(key, read(before, old), read(after, new));
            });
            return;
        }
        let (mut left, mut right) = (old.walk_from(&[]).peekable(), new.walk_from(&[]).peekable());
        loop {
            let (before, after) = (left.peek().copied(), right.peek().copied());
            let Some(name) = before.or(after) else {
                return;
            };
            let left_key = before.unwrap_or(name).key();
            let order = match (before, after) {
                (_, None) => Ordering::Less,
                (None, _) => Ordering::Greater,
                (Some(_), Some(after)) => after.compare(left_key.as_bytes()),
            };
            let before = if order.is_le() { left.next() } else { None };
            let after = if order.is_ge() { right.next() } else { None };
            let name = before.or(after).expect("one side has the name");
            report(name.key().as_bytes(), before, after);
        }
    }

    /// The node with this key.
    pub(crate) fn node_at(&self, key: &[u8]) -> Option<Node<'_>> {
        match self.changes().get(key) {
            Some(change) => change.node().map(|bytes| Node::read(self.origin(), bytes)),
            None => self.base.get(key),
        }
    }

    /// Puts the node with this key in, or takes it out. The caller sees to the names above.
    pub(crate) fn put(&mut self, key: &[u8], bytes: Option<&[u8]>) {
        let base = &self.base;
        let changed = self.changed.get_or_insert_with(|| {
            Arc::new(Changed {
                names: Changes::default(),
                counts: base.counts(),
                digest: 0,
            })
        });
        let changed = Arc::make_mut(changed);
        let before = match changed.names.get(key) {
            Some(change) => change.node().map(|bytes| Node::read(base.origin(), bytes)),
            None => base.get(key),
        };
        if let Some(before) = before {
            changed.digest = changed.digest.wrapping_sub(node_digest(&before));
            changed.counts.remove(&before);
        }
        if let Some(bytes) = bytes {
            let node = Node::read(base.origin(), bytes);
            changed.digest = changed.digest.wrapping_add(node_digest(&node));
            changed.counts.add(&node);
        }
        changed.names.put(Change::new(key, bytes));
    }

    /// True if names exist below this key. Of those that are gone since the base only such below
    /// it cost anything.
    pub(crate) fn has_names_below(&self, key: &[u8]) -> bool {
        // No key lies between a key and that key with a zero byte.
        let after = [key, &[0]].concat();
        let changes = self.changes().iter_from(&after);
        let mut below = changes.take_while(|change| change.key().starts_with(key));
        if below.any(|change| change.node().is_some()) {
            return true;
        }
        let mut at = self.base.seek(&after);
        while let Some(node) = self.base.node(at) {
            let standing = node.key();
            if !standing.as_bytes().starts_with(key) {
                return false;
            }
            if self.changes().get(standing.as_bytes()).is_none() {
                return true;
            }
            at = self.base.after(at);
        }
        false
    }

    /// The nodes from `key` on, in the order of keys.
    pub(crate) fn walk_from(&self, key: &[u8]) -> WalkKeys<'_> {
        WalkKeys {
            version: self,
            at: self.base.seek(key),
            changes: self.changes().iter_from(key).peekable(),
        }
    }

    /// The names changed since the base.
    pub(crate) fn changes(&self) -> &Changes {
        self.changed
            .as_ref()
            .map_or(&NO_CHANGES, |changed| &changed.names)
    }

    fn digest_changes(&self) -> u128 {
        self.changed.as_ref().map_or(0, |changed| changed.digest)
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.walk()).finish()
    }
}

/// The nodes of a version in canonical order of their names. Where a name owns NSEC3 records beside
/// others, its two nodes follow each other.
pub struct Walk<'v> {
    apex: Take<WalkKeys<'v>>,
    names: Peekable<WalkKeys<'v>>,
    denials: Peekable<WalkKeys<'v>>,
}

impl<'v> Walk<'v> {
    fn merge(apex: Take<WalkKeys<'v>>, names: WalkKeys<'v>, denials: WalkKeys<'v>) -> Self {
        Self {
            apex,
            names: names.peekable(),
            denials: denials.peekable(),
        }
    }
}

impl<'v> Iterator for Walk<'v> {
    type Item = Node<'v>;

    fn next(&mut self) -> Option<Node<'v>> {
        if let Some(apex) = self.apex.next() {
            return Some(apex);
        }
        let Some(denial) = self.denials.peek().filter(|node| node.is_denial()) else {
            return self.names.next();
        };
        let place = Key::of_labels(denial.labels());
        let is_before = self
            .names
            .peek()
            .is_none_or(|node| node.compare(place.as_bytes()).is_lt());
        match is_before {
            true => self.denials.next(),
            false => self.names.next(),
        }
    }
}

/// The nodes of a version in the order of their keys: the base merged with what changed.
pub(crate) struct WalkKeys<'v> {
    version: &'v Version,
    at: Position,
    changes: Peekable<tree::Iter<'v, Change>>,
}

impl<'v> Iterator for WalkKeys<'v> {
    type Item = Node<'v>;

    fn next(&mut self) -> Option<Node<'v>> {
        let base = &*self.version.base;
        loop {
            let standing = base.node(self.at);
            let order = match (&standing, self.changes.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (Some(node), Some(change)) => node.compare(change.key()),
            };
            if order.is_ge() {
                self.at = base.after(self.at);
            }
            if order.is_gt() {
                return standing;
            }
            let change = self.changes.next().expect("the change was peeked at");
            if let Some(bytes) = change.node() {
                return Some(Node::read(base.origin(), bytes));
            }
        }
    }
}

/// The RDATA of an RRset as a node keeps it: in canonical order, each once, an SOA without its
/// serial and alone.
pub(crate) fn sort_rdata(rtype: Rtype, mut rdata: Vec<Cow<'_, [u8]>>) -> Vec<Cow<'_, [u8]>> {
    if rtype == Rtype::SOA {
        rdata.truncate(1);
        for rdata in &mut rdata {
            *rdata = Cow::Owned(without_soa_serial(rdata));
        }
        return rdata;
    }
    if rdata.len() > 1 {
        rdata.sort_by(|a, b| canonical(rtype, a).cmp(&canonical(rtype, b)));
        rdata.dedup_by(|a, b| canonical(rtype, a) == canonical(rtype, b));
    }
    rdata
}

fn record_difference(before: Option<Node<'_>>, after: Option<Node<'_>>, delta: &mut Delta) {
    let (removed, added) = (missing(before, after), missing(after, before));
    delta.removed.extend(removed);
    delta.added.extend(added);
}

/// The records of `these` that `those` does not have.
fn missing(these: Option<Node<'_>>, those: Option<Node<'_>>) -> Vec<Record> {
    let Some(these) = these else {
        return Vec::new();
    };
    let mut records = Vec::new();
    for rrset in these.rrsets() {
        let other = those
            .filter(|node| node.labels() == these.labels())
            .and_then(|node| node.ranked(rrset.rank()))
            .filter(|other| other.ttl() == rrset.ttl());
        let kept: BTreeSet<&[u8]> = other.iter().flat_map(|other| other.rdata()).collect();
        for rdata in rrset.rdata().filter(|rdata| !kept.contains(rdata)) {
            records.push(Record {
                owner: these.owner(),
                rtype: rrset.rtype(),
                ttl: rrset.ttl(),
                rdata: Rdata::from_checked(rdata),
            });
        }
    }
    records
}

/// More than so many names by which a version differs from another are not put on its base: a
/// secondary may as well have the whole zone.
const DIFFERING_NAMES_MAX: usize = 10_000;
/// Above it the changes take more memory than they are worth, and restart becomes slow.
const CHANGED_NAMES_MAX: usize = 50_000;
/// A new base is due when one name in ten changed, …
const CHANGED_PART_MAX: usize = 10;
/// … but for so few a new one is not worth it.
const CHANGED_NAMES_FREE: usize = 1_000;
