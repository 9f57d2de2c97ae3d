//! Dynamic updates (RFC 2136): an UPDATE message as data, its prerequisites, and what it makes of
//! a version.
//!
//! ```text
//! message ─from_message─► Update ─check─► all prerequisites hold ─apply─► the next version
//! ```
//! All of it is pure. Who may update what, and what number the serial becomes, is decided elsewhere.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::key::{self, Key};
use crate::name::Name;
use crate::node::{self, Rank, labels_of};
use crate::rcode::Rcode;
use crate::rdata::{self, RRSET_SIZE_MAX, canonical, rrset_size, soa_serial, soa_serial_offset};
use crate::record::{Rdata, Record, TTL_MAX};
use crate::rtype::{Class, Rtype};
use crate::serial::Serial;
use crate::terms::Terms;
use crate::version::{Delta, Version, sort_rdata};

/// An UPDATE message, read.
#[derive(Clone)]
pub struct Update {
    zone: Name,
    prerequisites: Vec<Prerequisite>,
    /// The update section, or why the prescan refuses it (RFC 2136 section 3.4.1).
    changes: Result<Vec<Change>, Rcode>,
    /// What each change is held to; empty if none is to anything.
    terms: Vec<Terms>,
}

/// One RR of the prerequisite section (RFC 2136 section 2.4).
#[derive(Clone)]
enum Prerequisite {
    NameInUse(Name),
    NameNotInUse(Name),
    RrsetExists(Name, Rtype),
    RrsetDoesNotExist(Name, Rtype),
    /// Part of an RRset that must exist with just these records.
    RrsetEquals(Name, Rtype, Rdata),
    /// An RR that is none of these; its place decides what the response says.
    Bad(Rcode),
}

/// One RR of the update section (RFC 2136 section 2.5).
#[derive(Clone)]
enum Change {
    Add(Record),
    DeleteRrset(Name, Rtype),
    DeleteName(Name),
    DeleteRecord(Name, Rtype, Rdata),
}

/// What one change touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch<'u> {
    /// The owner name.
    pub owner: &'u Name,
    /// The type; `ANY`: all types of the name are deleted.
    pub rtype: Rtype,
    /// Whether a record is added, not deleted.
    pub is_addition: bool,
}

/// An update has another number of changes than there are terms for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TermsCount;

/// What an update makes of a version.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The next version; the same content if nothing changed.
    pub version: Version,
    before: Version,
    /// The serial of the SOA RR that the update put in place.
    pub wanted: Option<Serial>,
}

impl Applied {
    /// True if the zone is not the same as before: records differ, or the serial shall rise.
    #[must_use]
    pub fn changed(&self) -> bool {
        !self.version.is_identical_to(&self.before) || self.wanted.is_some()
    }

    /// The records removed and added, the serial of the SOA apart.
    #[must_use]
    pub fn delta(&self) -> Delta {
        Version::difference(&self.before, &self.version)
    }
}

/// Why a message is no UPDATE that can be evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpdateError {
    rcode: Rcode,
    cause: &'static str,
}

impl UpdateError {
    /// What the response says.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rcode, self.cause)
    }
}

impl std::error::Error for UpdateError {}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "update of {} with {} prerequisites, ",
            self.zone,
            self.prerequisites.len()
        )?;
        match &self.changes {
            Ok(changes) => write!(f, "{} changes", changes.len()),
            Err(rcode) => write!(f, "refused by its prescan: {rcode}"),
        }
    }
}

impl Update {
    /// Reads a whole message. What stands in the additional section (OPT, TSIG, SIG(0)) is for
    /// others. An RR that is well formed but not allowed where it stands is no error here: `check`
    /// reports it in the order of RFC 2136 section 3.
    pub fn from_message(message: &[u8]) -> Result<Self, UpdateError> {
        let Some(([_, _, flags, _, counts @ ..], _)) = message.split_first_chunk::<HEADER_SIZE>()
        else {
            return Err(form_error("the header is cut short"));
        };
        if flags & 0x80 != 0 || flags >> 3 & 0x0f != OPCODE_UPDATE {
            return Err(form_error("not an UPDATE request"));
        }
        let count = |i: usize| u16::from_be_bytes([counts[2 * i], counts[2 * i + 1]]);

        // RFC 2136 section 3.1.1: exactly one zone, ZTYPE SOA.
        if count(0) != 1 {
            return Err(form_error("not exactly one zone"));
        }
        let (zone, end) = read_name(message, HEADER_SIZE)?;
        let fixed = message
            .get(end..end + 4)
            .ok_or_else(|| form_error("the zone section is cut short"))?;
        let mut at = end + 4;
        if u16::from_be_bytes([fixed[0], fixed[1]]) != Rtype::SOA.0 {
            return Err(form_error("the type in the zone section is not SOA"));
        }
        // RFC 2136 section 3.1.2: all of our zones have class IN.
        if u16::from_be_bytes([fixed[2], fixed[3]]) != Class::IN.0 {
            return Err(UpdateError {
                rcode: Rcode::NOTAUTH,
                cause: "the class is not IN",
            });
        }

        let mut prerequisites = Vec::new();
        for _ in 0..count(1) {
            let rr = Rr::read(message, &mut at)?;
            prerequisites.push(read_prerequisite(message, &zone, rr)?);
        }
        let mut changes = Ok(Vec::new());
        for _ in 0..count(2) {
            let rr = Rr::read(message, &mut at)?;
            match (read_change(message, &zone, rr)?, &mut changes) {
                (Ok(change), Ok(changes)) => changes.push(change),
                // The first RR that is not allowed decides.
                (Err(rcode), Ok(_)) => changes = Err(rcode),
                (_, Err(_)) => {}
            }
        }
        for _ in 0..count(3) {
            Rr::read(message, &mut at)?;
        }
        if at != message.len() {
            return Err(form_error("bytes follow the last section"));
        }
        Ok(Self {
            zone,
            prerequisites,
            changes,
            terms: Vec::new(),
        })
    }

    /// An update that deletes these records, whatever else there is.
    #[must_use]
    pub fn deletion(zone: Name, records: impl IntoIterator<Item = (Name, Rtype, Rdata)>) -> Self {
        let delete = |(owner, rtype, rdata)| Change::DeleteRecord(owner, rtype, rdata);
        Self {
            zone,
            prerequisites: Vec::new(),
            changes: Ok(records.into_iter().map(delete).collect()),
            terms: Vec::new(),
        }
    }

    /// Holds its changes to these terms, in the order of the update section. An update that its
    /// prescan refuses has no changes.
    ///
    /// # Errors
    ///
    /// If they are not as many as the changes.
    pub fn hold_to(&mut self, terms: Vec<Terms>) -> Result<(), TermsCount> {
        let are_any = terms.iter().any(Terms::are_any);
        if are_any && terms.len() != self.changes.iter().flatten().count() {
            return Err(TermsCount);
        }
        self.terms = if are_any { terms } else { Vec::new() };
        Ok(())
    }

    /// What each change is held to; empty if none is to anything.
    #[must_use]
    pub fn terms(&self) -> &[Terms] {
        &self.terms
    }

    /// The apex of the zone to update.
    #[must_use]
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// True if the update section is empty: the message only asks whether the prerequisites hold.
    #[must_use]
    pub fn is_question(&self) -> bool {
        self.changes.as_ref().is_ok_and(Vec::is_empty)
    }

    /// What its changes touch, in order, for policy.
    pub fn touched(&self) -> impl Iterator<Item = Touch<'_>> {
        self.changes.iter().flatten().map(|change| {
            let (owner, rtype, is_addition) = match change {
                Change::Add(record) => (&record.owner, record.rtype, true),
                Change::DeleteRrset(name, rtype) | Change::DeleteRecord(name, rtype, _) => {
                    (name, *rtype, false)
                }
                Change::DeleteName(name) => (name, Rtype::ANY, false),
            };
            Touch {
                owner,
                rtype,
                is_addition,
            }
        })
    }

    /// The records that it adds, and how long each lasts if not for ever.
    pub fn additions(&self) -> impl Iterator<Item = (&Record, Option<u32>)> {
        let changes = self.changes.iter().flatten().enumerate();
        changes.filter_map(|(at, change)| match change {
            Change::Add(record) => Some((record, self.terms.get(at).and_then(|terms| terms.lease))),
            _ => None,
        })
    }

    fn adds_denial(&self) -> bool {
        self.changes.iter().flatten().any(|change| match change {
            Change::Add(record) => {
                let rank = Rank::of(record.rtype, record.rdata.as_bytes());
                rank.is_denial(record.owner.as_wire()) && record.owner != self.zone
            }
            _ => false,
        })
    }

    /// The serial that the update wants: that of an SOA RR added at the apex, the greatest if
    /// there are several.
    #[must_use]
    pub fn soa_serial(&self) -> Option<Serial> {
        let serials = self
            .changes
            .iter()
            .flatten()
            .filter_map(|change| match change {
                Change::Add(record) if record.rtype == Rtype::SOA && record.owner == self.zone => {
                    soa_serial(record.rdata.as_bytes())
                }
                _ => None,
            });
        serials.reduce(|greatest, serial| if serial > greatest { serial } else { greatest })
    }
}

impl Version {
    /// Whether all prerequisites hold and the update section is allowed; if not, what the
    /// response says (RFC 2136 sections 3.2 and 3.4.1). `current` is the serial that this version
    /// has where it stands. REFUSED if the zone is signed: what changes would need new signatures,
    /// and nobody here makes them; or if a part of an NSEC3 chain would be added.
    pub fn check(&self, update: &Update, current: Serial) -> Result<(), Rcode> {
        assert_eq!(
            self.origin(),
            &update.zone,
            "an update goes to its own zone"
        );
        if self.is_signed() || update.adds_denial() {
            return Err(Rcode::REFUSED);
        }
        let mut expected: BTreeMap<(&Name, Rtype), BTreeSet<Vec<u8>>> = BTreeMap::new();
        // Exact names only: no aliases count (RFC 2136 section 3.2.2 speaks of the zone's own RRs),
        // and no wildcards (section 1.1.3).
        let rrset = |name, rtype| self.node(name).and_then(|node| node.rrset(rtype));
        let in_use = |name| self.node(name).is_some_and(|node| !node.is_empty());
        for prerequisite in &update.prerequisites {
            match prerequisite {
                Prerequisite::NameInUse(name) if !in_use(name) => return Err(Rcode::NXDOMAIN),
                Prerequisite::NameNotInUse(name) if in_use(name) => return Err(Rcode::YXDOMAIN),
                Prerequisite::RrsetExists(name, rtype) if rrset(name, *rtype).is_none() => {
                    return Err(Rcode::NXRRSET);
                }
                Prerequisite::RrsetDoesNotExist(name, rtype) if rrset(name, *rtype).is_some() => {
                    return Err(Rcode::YXRRSET);
                }
                Prerequisite::RrsetEquals(name, rtype, rdata) => {
                    let set = expected.entry((name, *rtype)).or_default();
                    set.insert(canonical(*rtype, rdata.as_bytes()).into_owned());
                }
                Prerequisite::Bad(rcode) => return Err(*rcode),
                _ => {}
            }
        }
        // RFC 2136 section 3.2.3: value-dependent prerequisites are compared last, RRset by RRset.
        for ((name, rtype), expected) in expected {
            let rrsets = self.node(name).into_iter().flat_map(|node| node.rrsets());
            let found: BTreeSet<Vec<u8>> = rrsets
                .filter(|rrset| rrset.rtype() == rtype)
                .flat_map(|rrset| rrset.rdata())
                .map(|rdata| shown(rtype, rdata, current))
                .collect();
            if found != expected {
                return Err(Rcode::NXRRSET);
            }
        }
        update.changes.as_ref().map(|_| ()).map_err(|rcode| *rcode)
    }

    /// The version that the update section makes of this one (RFC 2136 section 3.4.2). `check`
    /// passed; `current` is the serial that an SOA RR has to exceed. REFUSED if an RRset would
    /// grow beyond what a message holds ([`RRSET_SIZE_MAX`]) or its terms allow, or the zone become a
    /// signed one, which no further update could mend.
    pub fn apply(&self, update: &Update, current: Serial) -> Result<Applied, Rcode> {
        let changes = update
            .changes
            .as_ref()
            .expect("the update passed its check");
        let mut work = Work {
            version: self,
            current,
            wanted: None,
            touched: BTreeMap::new(),
        };
        let free = Terms::default();
        for (at, change) in changes.iter().enumerate() {
            work.change(change, update.terms.get(at).unwrap_or(&free));
        }
        if work.touched.values().any(Touched::is_too_large) {
            return Err(Rcode::REFUSED);
        }
        let (version, wanted) = work.finish();
        if version.is_signed() {
            return Err(Rcode::REFUSED);
        }
        Ok(Applied {
            before: self.clone(),
            version,
            wanted,
        })
    }

    /// Takes the records of a name away, and the names above that exist only because of it.
    pub(crate) fn clear(&mut self, key: &[u8]) {
        let mut key = key;
        loop {
            let above = key::parent(key).filter(|_| !self.has_names_below(key));
            let Some(above) = above else {
                // RFC 4592 section 2.2.2: a name with names below it exists without records.
                let node = self.node_at(key).expect("the name was found before");
                if !node.is_empty() {
                    let empty = node::encode::<Rdata>(node.labels(), &[]);
                    self.put(key, Some(&empty));
                }
                return;
            };
            self.put(key, None);
            if !self
                .node_at(above)
                .expect("every name has the one above")
                .is_empty()
            {
                return;
            }
            key = above;
        }
    }

    /// Sees to it that the names above this one exist.
    pub(crate) fn put_missing_ancestors(&mut self, key: &Key, labels: &[u8]) {
        let mut rest = labels;
        for above in (1..key.label_count()).rev() {
            rest = &rest[usize::from(rest[0]) + 1..];
            if self.node_at(key.ancestor(above)).is_some() {
                return;
            }
            self.put(key.ancestor(above), Some(&node::encode::<Rdata>(rest, &[])));
        }
    }
}

/// The names that an update touches, while it is applied.
struct Work<'v> {
    version: &'v Version,
    current: Serial,
    wanted: Option<Serial>,
    touched: BTreeMap<Vec<u8>, Touched>,
}

struct Touched {
    owner: Name,
    rrsets: BTreeMap<Rank, Held>,
}

/// The records of one type, by that in which they differ: an update may bring thousands.
#[derive(Default)]
struct Held {
    ttl: u32,
    rdata: BTreeMap<Vec<u8>, Rdata>,
    /// What it took in a message before the update.
    size_before: usize,
    /// How many there were before it.
    count_before: usize,
    /// Most that there may be, if one was added.
    count_max: Option<usize>,
}

impl Held {
    /// One that was too large before may shrink step by step.
    fn is_too_large(&self) -> bool {
        let size = rrset_size(self.rdata.values().map(Rdata::as_bytes));
        let count = self.rdata.len();
        let exceeds = |max| count > max && count > self.count_before;
        (size > RRSET_SIZE_MAX && size > self.size_before) || self.count_max.is_some_and(exceeds)
    }
}

impl Work<'_> {
    fn change(&mut self, change: &Change, terms: &Terms) {
        let origin = self.version.origin().clone();
        match change {
            Change::Add(record) => self.add(record, terms),
            // RFC 2136 section 3.4.2.3: SOA and NS of the apex are never deleted as a whole.
            Change::DeleteRrset(name, rtype) => {
                if *name != origin || !APEX_TYPES.contains(rtype) {
                    let rrsets = &mut self.touch(name).rrsets;
                    rrsets.retain(|rank, _| rank.rtype() != *rtype);
                }
            }
            Change::DeleteName(name) => {
                let is_apex = *name == origin;
                let spares = |rtype| match &terms.deletes {
                    None => false,
                    Some(types) => !types.contains(&rtype),
                };
                let keeps = |rank: &Rank| {
                    let rtype = rank.rtype();
                    (is_apex && APEX_TYPES.contains(&rtype)) || spares(rtype)
                };
                self.touch(name).rrsets.retain(|rank, _| keeps(rank));
            }
            Change::DeleteRecord(name, rtype, rdata) => {
                let is_apex = *name == origin;
                let touched = self.touch(name);
                let rank = Rank::of(*rtype, rdata.as_bytes());
                let Some(held) = touched.rrsets.get_mut(&rank) else {
                    return;
                };
                // RFC 2136 section 3.4.2.4: neither an SOA nor the last NS of the apex goes.
                let is_last_ns = is_apex && *rtype == Rtype::NS && held.rdata.len() == 1;
                if *rtype == Rtype::SOA || is_last_ns {
                    return;
                }
                held.rdata.remove(&*comparable(*rtype, rdata.as_bytes()));
                if held.rdata.is_empty() {
                    touched.rrsets.remove(&rank);
                }
            }
        }
    }

    /// RFC 2136 section 3.4.2.2.
    fn add(&mut self, record: &Record, terms: &Terms) {
        let rtype = record.rtype;
        let current = self.current;
        let touched = self.touch(&record.owner);
        // What `check` refuses in a zone file is ignored here, as in BIND.
        if rtype == Rtype::NS && record.owner.is_wildcard() {
            return;
        }
        // An RR that would put an alias beside other data, either way round, is ignored.
        let clashes = match rtype {
            Rtype::CNAME => touched
                .rrsets
                .keys()
                .any(|held| !stands_beside_cname(held.rtype())),
            _ => !stands_beside_cname(rtype) && touched.has(Rtype::CNAME),
        };
        if clashes {
            return;
        }
        if rtype == Rtype::SOA {
            let serial = soa_serial(record.rdata.as_bytes()).expect("the RDATA is checked");
            // Only the apex has an SOA, and its serial goes upwards only.
            if !touched.has(Rtype::SOA) || serial.partial_cmp(&current) != Some(Ordering::Greater) {
                return;
            }
            touched.add(record, terms);
            self.current = serial;
            self.wanted = Some(serial);
            return;
        }
        touched.add(record, terms);
    }

    fn touch(&mut self, name: &Name) -> &mut Touched {
        let version = self.version;
        let key = Key::relative(name, version.origin()).expect("the prescan found it in the zone");
        self.touched
            .entry(key.as_bytes().to_vec())
            .or_insert_with(|| {
                let node = version
                    .node_at(key.as_bytes())
                    .filter(|node| !node.is_empty());
                let rrsets = node
                    .into_iter()
                    .flat_map(|node| node.rrsets())
                    .map(|rrset| {
                        let (rtype, ttl) = (rrset.rtype(), rrset.ttl());
                        let rdata = rrset.rdata().map(|rdata| {
                            let differs_in = comparable(rtype, rdata).into_owned();
                            (differs_in, Rdata::from_checked(rdata))
                        });
                        let held = Held {
                            ttl,
                            rdata: rdata.collect(),
                            size_before: rrset_size(rrset.rdata()),
                            count_before: rrset.len(),
                            count_max: None,
                        };
                        (rrset.rank(), held)
                    });
                Touched {
                    owner: node.map_or_else(|| name.clone(), |node| node.owner()),
                    rrsets: rrsets.collect(),
                }
            })
    }

    fn finish(self) -> (Version, Option<Serial>) {
        let mut version = self.version.clone();
        let origin = version.origin().clone();
        let (mut cleared, mut kept) = (Vec::new(), Vec::new());
        for (key, touched) in self.touched {
            if touched.rrsets.is_empty() {
                cleared.push(key);
            } else {
                kept.push((key, touched));
            }
        }
        for (key, Touched { owner, rrsets }) in kept {
            let labels = labels_of(&owner, &origin);
            let rrsets: Vec<_> = rrsets
                .into_iter()
                .map(|(rank, Held { ttl, rdata, .. })| {
                    let rtype = rank.rtype();
                    let rdata = rdata.into_values();
                    let rdata = rdata.map(|rdata| Cow::from(rdata.into_bytes()));
                    (rtype, ttl, sort_rdata(rtype, rdata.collect()))
                })
                .collect();
            let bytes = node::encode(labels, &rrsets);
            if version
                .node_at(&key)
                .is_none_or(|node| node.bytes() != bytes)
            {
                version.put(&key, Some(&bytes));
                version.put_missing_ancestors(&Key::of_labels(labels), labels);
            }
        }
        // From the bottom up: a name goes after those below it.
        for key in cleared.iter().rev() {
            if self
                .version
                .node_at(key)
                .is_some_and(|node| !node.is_empty())
            {
                version.clear(key);
            }
        }
        (version, self.wanted)
    }
}

impl Touched {
    fn is_too_large(&self) -> bool {
        self.rrsets.values().any(Held::is_too_large)
    }

    fn has(&self, rtype: Rtype) -> bool {
        self.rrsets.keys().any(|rank| rank.rtype() == rtype)
    }

    fn add(&mut self, record: &Record, terms: &Terms) {
        // A name keeps its case while it has records.
        if self.rrsets.is_empty() {
            self.owner = record.owner.clone();
        }
        let rank = Rank::of(record.rtype, record.rdata.as_bytes());
        let Held {
            ttl,
            rdata: held,
            count_max,
            ..
        } = self.rrsets.entry(rank).or_default();
        // RFC 2181 section 5.2: an RRset has one TTL. It is that of the newest record.
        *ttl = record.ttl.min(terms.ttl_max.unwrap_or(TTL_MAX));
        *count_max = terms.records_max.map(|max| max as usize);
        let differs_in = comparable(record.rtype, record.rdata.as_bytes());
        if held.contains_key(&*differs_in) {
            return;
        }
        match record.rtype {
            // One RR at a name (RFC 1034 section 3.6.2, RFC 6672 section 2.4).
            Rtype::CNAME | Rtype::DNAME | Rtype::SOA => held.clear(),
            Rtype::WKS => {
                let new = address_and_protocol(&record.rdata);
                held.retain(|_, held| address_and_protocol(held) != new);
            }
            _ => {}
        }
        held.insert(differs_in.into_owned(), record.rdata.clone());
    }
}

/// What makes two WKS records the same (RFC 2136 section 1.1.5).
fn address_and_protocol(rdata: &Rdata) -> &[u8; 5] {
    let bytes = rdata.as_bytes();
    bytes.first_chunk().expect("the RDATA is checked")
}

/// One RR of a message.
struct Rr {
    name: Name,
    rtype: Rtype,
    class: Class,
    ttl: u32,
    rdata: std::ops::Range<usize>,
}

impl Rr {
    fn read(message: &[u8], at: &mut usize) -> Result<Self, UpdateError> {
        let (name, end) = read_name(message, *at)?;
        let cut_short = form_error("a record is cut short");
        let fixed: &[u8; 10] = message
            .get(end..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(cut_short)?;
        let [t, t_low, c, c_low, ttl @ .., size, size_low] = *fixed;
        let start = end + fixed.len();
        let rdata = start..start + usize::from(u16::from_be_bytes([size, size_low]));
        if rdata.end > message.len() {
            return Err(cut_short);
        }
        *at = rdata.end;
        let ttl = u32::from_be_bytes(ttl);
        Ok(Self {
            name,
            rtype: Rtype(u16::from_be_bytes([t, t_low])),
            class: Class(u16::from_be_bytes([c, c_low])),
            // RFC 2181 section 8: a TTL with the top bit set is 0.
            ttl: if ttl > TTL_MAX { 0 } else { ttl },
            rdata,
        })
    }

    fn rdata(&self, message: &[u8]) -> Result<Rdata, UpdateError> {
        rdata::from_message(self.rtype, message, self.rdata.clone())
            .map_err(|_| form_error("the RDATA of a record does not fit its type"))
    }
}

/// RFC 2136 section 3.2.5.
fn read_prerequisite(message: &[u8], zone: &Name, rr: Rr) -> Result<Prerequisite, UpdateError> {
    if rr.ttl != 0 {
        return Ok(Prerequisite::Bad(Rcode::FORMERR));
    }
    if !rr.name.is_at_or_below(zone) {
        return Ok(Prerequisite::Bad(Rcode::NOTZONE));
    }
    Ok(match (rr.class, rr.rtype) {
        (Class::ANY | Class::NONE, _) if !rr.rdata.is_empty() => Prerequisite::Bad(Rcode::FORMERR),
        (Class::ANY, Rtype::ANY) => Prerequisite::NameInUse(rr.name),
        (Class::ANY, rtype) => Prerequisite::RrsetExists(rr.name, rtype),
        (Class::NONE, Rtype::ANY) => Prerequisite::NameNotInUse(rr.name),
        (Class::NONE, rtype) => Prerequisite::RrsetDoesNotExist(rr.name, rtype),
        (Class::IN, rtype) if !rtype.is_meta() => {
            let rdata = rr.rdata(message)?;
            Prerequisite::RrsetEquals(rr.name, rtype, rdata)
        }
        _ => Prerequisite::Bad(Rcode::FORMERR),
    })
}

/// RFC 2136 section 3.4.1.3.
fn read_change(message: &[u8], zone: &Name, rr: Rr) -> Result<Result<Change, Rcode>, UpdateError> {
    if !rr.name.is_at_or_below(zone) {
        return Ok(Err(Rcode::NOTZONE));
    }
    let is_bare = rr.ttl == 0 && rr.rdata.is_empty();
    Ok(match (rr.class, rr.rtype) {
        (Class::IN, rtype) if !rtype.is_meta() => {
            let rdata = rr.rdata(message)?;
            Ok(Change::Add(Record {
                owner: rr.name,
                rtype,
                ttl: rr.ttl,
                rdata,
            }))
        }
        (Class::ANY, Rtype::ANY) if is_bare => Ok(Change::DeleteName(rr.name)),
        (Class::ANY, rtype) if is_bare && !rtype.is_meta() => {
            Ok(Change::DeleteRrset(rr.name, rtype))
        }
        (Class::NONE, rtype) if rr.ttl == 0 && !rtype.is_meta() => {
            let rdata = rr.rdata(message)?;
            Ok(Change::DeleteRecord(rr.name, rtype, rdata))
        }
        _ => Err(Rcode::FORMERR),
    })
}

/// The canonical form of RDATA as requestors see it: an SOA with the serial of its version.
fn shown(rtype: Rtype, rdata: &[u8], current: Serial) -> Vec<u8> {
    let mut shown = canonical(rtype, rdata).into_owned();
    if rtype == Rtype::SOA
        && let Some(at) = soa_serial_offset(&shown)
    {
        shown[at..at + 4].copy_from_slice(&current.0.to_be_bytes());
    }
    shown
}

/// The form in which changes compare RDATA: canonical, an SOA without its serial.
pub(crate) fn comparable(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let mut comparable = canonical(rtype, rdata);
    if rtype == Rtype::SOA
        && let Some(at) = soa_serial_offset(&comparable)
    {
        comparable.to_mut()[at..at + 4].fill(0);
    }
    comparable
}

/// RFC 4035 section 2.5, RFC 2181 section 10.1: what secures an alias stands beside it.
fn stands_beside_cname(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::KEY | Rtype::SIG | Rtype::NXT
    )
}

fn read_name(message: &[u8], at: usize) -> Result<(Name, usize), UpdateError> {
    Name::from_message(message, at).map_err(|_| form_error("a name cannot be read"))
}

fn form_error(cause: &'static str) -> UpdateError {
    UpdateError {
        rcode: Rcode::FORMERR,
        cause,
    }
}

/// What a zone cannot be without.
const APEX_TYPES: [Rtype; 2] = [Rtype::SOA, Rtype::NS];
const HEADER_SIZE: usize = 12;
/// RFC 2136 section 1.3.
const OPCODE_UPDATE: u8 = 5;
