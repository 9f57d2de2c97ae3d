//! What a zone must have, over records with their places: brings them into order, drops what stands
//! twice or outside, and finds what cannot be served and what is odd.
//!
//! One sort and linear walks: in canonical order all that lies below a name follows it at once. The
//! first walk comes to each record once, as those of a large zone are far from each other in
//! memory; what makes a base of them is handed each name on the way.

mod pointers;
mod signed;

use crate::assembly::{Assembly, Denial};
use crate::base::Base;
use crate::key::{self, Key};
use crate::name::{Name, NameRef};
use crate::rdata::{self, RRSET_SIZE_MAX, rrset_size};
use crate::record::{OWNERS_MANY, Record, RecordRef};
use crate::records::{Placed, Records};
use crate::rtype::Rtype;
use crate::serial::Serial;
use crate::version::Version;
use crate::workers::{OneWorker, Workers};
use crate::zonefile::{ERRORS_MAX, Parsed, Place, Rejected, WARNINGS_MAX, ZonefileError, warn};
use pointers::Pointers;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The records of a zone that can be served.
#[derive(Clone, Debug)]
pub struct Checked {
    /// In canonical order, no two equal, one TTL in each RRset.
    pub records: Vec<Record>,
    /// What is odd, in the order of places; those of reading come first.
    pub warnings: Vec<ZonefileError>,
}

/// A zone that can be served, made of its records.
#[derive(Clone, Debug)]
pub struct Built {
    /// The zone.
    pub version: Version,
    /// The serial that its SOA had.
    pub serial: Serial,
    /// As in [`Checked`].
    pub warnings: Vec<ZonefileError>,
}

/// Checks the zone `origin`.
pub fn check(origin: &Name, parsed: Parsed) -> Result<Checked, Rejected> {
    let (zone, (), findings) = Zone::examine::<()>(origin, &parsed.records, &OneWorker);
    let warnings = findings.told(&parsed.files, parsed.warnings)?;
    let records = zone.names().flat_map(|(records, _)| records);
    Ok(Checked {
        records: records.map(|placed| placed.record.to_record()).collect(),
        warnings,
    })
}

/// Checks the zone `origin`, and makes it.
pub fn build(origin: &Name, parsed: Parsed, workers: &impl Workers) -> Result<Built, Rejected> {
    let (zone, base, findings) = Zone::examine::<Assembly<'_>>(origin, &parsed.records, workers);
    let warnings = findings.told(&parsed.files, parsed.warnings)?;
    let serial = zone
        .serial()
        .expect("a zone that passes its checks has an SOA");
    let base = base.expect("the SOA is in it");
    Ok(Built {
        version: Version::from_base(Arc::new(base)),
        serial,
        warnings,
    })
}

/// Checks records that come from elsewhere than a file, and makes a zone of them; the places of what
/// is found mean nothing.
pub fn build_records(
    origin: &Name,
    records: &[Record],
    workers: &impl Workers,
) -> Result<Built, Rejected> {
    let mut placed = Records::with_capacity(records.len());
    records
        .iter()
        .for_each(|record| placed.append(record.borrowed()));
    build_unplaced(origin, placed, workers)
}

/// The same of many records, which it takes.
pub fn build_unplaced(
    origin: &Name,
    records: Records,
    workers: &impl Workers,
) -> Result<Built, Rejected> {
    build(origin, unplaced(records), workers)
}

fn unplaced(records: Records) -> Parsed {
    Parsed {
        records,
        files: vec![String::new()],
        warnings: Vec::new(),
    }
}

/// Checks what a difference made of a zone that has passed its checks: all that is wrong is wrong
/// at one name, so those that differ are looked at, and the apex. What is odd is not told.
pub fn check_difference(before: &Version, after: &Version) -> Result<(), Rejected> {
    let mut records = Records::default();
    let mut append = |node: crate::node::Node<'_>| {
        let owned: Vec<Record> = node.records().collect();
        owned
            .iter()
            .for_each(|record| records.append(record.borrowed()));
    };
    append(after.apex());
    Version::changed(before, after, |_, _, node| {
        if let Some(node) = node.filter(|node| !node.is_apex()) {
            append(node);
        }
    });
    check(after.origin(), unplaced(records)).map(|_| ())
}

/// What is made of the names of a zone on the way.
trait Product<'z>: Send + Sized {
    type Made: Send;
    fn begin(origin: &'z Name, records: &Records) -> Self;
    /// The records of the next name, in canonical order.
    fn take(&mut self, name: &[Placed<'z>]);
    /// Makes it, with what was made of later names behind this.
    fn finish(self, later: Self) -> Self::Made;
}

/// Nothing.
impl<'z> Product<'z> for () {
    type Made = ();

    fn begin(_: &'z Name, _: &Records) -> Self {}
    fn take(&mut self, _: &[Placed<'z>]) {}
    fn finish(self, (): Self) -> Self::Made {}
}

/// A base, if there is any name.
impl<'z> Product<'z> for Assembly<'z> {
    type Made = Option<Base>;

    fn begin(origin: &'z Name, records: &Records) -> Self {
        Self::new(origin, Denial::of(records.iter()))
    }

    fn take(&mut self, name: &[Placed<'z>]) {
        self.push(name.iter().map(|placed| placed.record));
    }

    fn finish(self, later: Self) -> Self::Made {
        let mut assembly = self;
        assembly.append(later);
        if assembly.is_empty() {
            return None;
        }
        let base = Self::finish(assembly);
        // It takes long for a large zone, and is asked for where others wait.
        if base.chunk_count() > 1 {
            base.id();
        }
        Some(base)
    }
}

struct Findings {
    errors: FirstFound,
    warnings: FirstFound,
    /// Errors without a place: what is not there.
    lacking: Vec<String>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            errors: FirstFound::new(ERRORS_MAX),
            warnings: FirstFound::new(WARNINGS_MAX),
            lacking: Vec::new(),
        }
    }
}

impl Findings {
    /// Adds what was found in what comes later in the zone.
    fn append(&mut self, later: Self) {
        self.errors.append(later.errors);
        self.warnings.append(later.warnings);
        self.lacking.extend(later.lacking);
    }

    /// What is odd, if nothing is wrong.
    fn told(
        self,
        files: &[String],
        warnings: Vec<ZonefileError>,
    ) -> Result<Vec<ZonefileError>, Rejected> {
        let mut warnings = warnings;
        for (place, message) in self.warnings.in_order() {
            warn(&mut warnings, place.fault(files, message));
        }
        let lacking = self.lacking.into_iter().map(|message| ZonefileError {
            file: files.first().cloned().unwrap_or_default(),
            line: 0,
            column: 0,
            message,
        });
        let placed = self.errors.in_order();
        let placed = placed.map(|(place, message)| place.fault(files, message));
        let errors: Vec<ZonefileError> = lacking.chain(placed).take(ERRORS_MAX).collect();
        match errors.is_empty() {
            true => Ok(warnings),
            false => Err(Rejected { errors, warnings }),
        }
    }

    fn error(&mut self, at: &Placed<'_>, message: impl FnOnce() -> String) {
        self.errors.add(at.place, message);
    }

    fn warn(&mut self, at: &Placed<'_>, message: impl FnOnce() -> String) {
        self.warnings.add(at.place, message);
    }
}

/// What is found first in the order of places, up to a bound. A large zone may be odd a million
/// times; no text is made for what is not told.
struct FirstFound {
    found: BTreeMap<(Place, u64), String>,
    count: u64,
    count_max: usize,
}

impl FirstFound {
    fn new(count_max: usize) -> Self {
        Self {
            found: BTreeMap::new(),
            count: 0,
            count_max,
        }
    }

    fn add(&mut self, place: Place, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.found.len() == self.count_max {
            let last = self.found.last_entry().expect("the bound is above zero");
            if last.key().0 <= place {
                return;
            }
            last.remove();
        }
        self.found.insert((place, self.count), message());
    }

    fn append(&mut self, later: Self) {
        for ((place, _), message) in later.found {
            self.add(place, || message);
        }
    }

    fn in_order(self) -> impl Iterator<Item = (Place, String)> {
        let found = self.found.into_iter();
        found.map(|((place, _), message)| (place, message))
    }
}

/// Drops what lies outside of the zone, as BIND does. Returns the runs of the others.
fn runs_in_zone(
    origin: &Name,
    records: &Records,
    workers: &impl Workers,
    findings: &mut Findings,
) -> Vec<u32> {
    let mut runs = records.runs_in_order(workers);
    let is_inside = |run: usize| records.owner(run).is_at_or_below(origin.borrowed());
    let mut count_outside = 0;
    for run in (0..runs.len()).filter(|run| !is_inside(*run)) {
        count_outside += 1;
        let owner = records.owner(run);
        for placed in records.run(run) {
            findings.warn(&placed, || {
                format!("{owner} is outside of the zone {origin}; the record is left out")
            });
        }
    }
    if count_outside > 0 {
        runs.retain(|run| is_inside(*run as usize));
    }
    runs
}

/// Where runs in canonical order can be cut in two so that no name of one part lies below one of the
/// other: between two labels right below the apex. A zone that is not large stays in one.
fn seam(origin: &Name, records: &Records, runs: &[u32]) -> usize {
    if runs.len() < OWNERS_MANY {
        return runs.len();
    }
    let top = |run: &u32| {
        let owner = records.owner(*run as usize);
        let mut labels = owner.labels();
        let below = owner.label_count().checked_sub(origin.label_count() + 1);
        below.and_then(|above| labels.nth(above))
    };
    let (early, late) = runs.split_at(runs.len() / 2);
    let last = early.last().and_then(top);
    let is_beside = |run: &u32| match (last, top(run)) {
        (Some(last), Some(top)) => !last.eq_ignore_ascii_case(top),
        _ => false,
    };
    let more = late.iter().position(is_beside).unwrap_or(late.len());
    early.len() + more
}

/// Takes equal records of one owner out, from `start` on.
fn leave_out_duplicates(records: &mut Vec<Placed<'_>>, start: usize, findings: &mut Findings) {
    let mut kept = start + 1;
    for at in start + 1..records.len() {
        let placed = records[at];
        let last = &mut records[kept - 1];
        if last.record.cmp_below_owner(&placed.record).is_eq() {
            // RFC 2181 section 5: an RRset holds no two equal records.
            last.record.ttl = last.record.ttl.min(placed.record.ttl);
            let RecordRef { owner, rtype, .. } = placed.record;
            findings.warn(&placed, || {
                format!("{owner} {rtype} stands twice; one is left out")
            });
        } else {
            records[kept] = placed;
            kept += 1;
        }
    }
    records.truncate(kept);
}

/// RFC 2181 section 5.2: the TTLs of an RRset must be equal; the lowest is taken.
fn level_ttls(records: &mut [Placed<'_>], findings: &mut Findings) {
    for set in records.chunk_by_mut(|a, b| is_same_rrset(&a.record, &b.record)) {
        let ttls = || set.iter().map(|placed| placed.record.ttl);
        let (lowest, highest) = (ttls().min().unwrap_or(0), ttls().max().unwrap_or(0));
        if lowest == highest {
            continue;
        }
        let RecordRef { owner, rtype, .. } = set[0].record;
        if let Some(odd) = set.iter().find(|placed| placed.record.ttl != lowest) {
            findings.warn(odd, || {
                format!("the TTLs of {owner} {rtype} are {lowest} to {highest}; {lowest} is taken")
            });
        }
        for placed in set {
            placed.record.ttl = lowest;
        }
    }
}

/// RFC 4034 section 3: a signature has the TTL of the RRset that it covers.
fn level_signatures(records: &mut [Placed<'_>], findings: &mut Findings) {
    for at in 0..records.len() {
        let RecordRef { owner, ttl, .. } = records[at].record;
        let Some(rtype) = signed::covered(&records[at]) else {
            continue;
        };
        let mut others = records.iter().map(|placed| placed.record);
        let Some(covered) = others.find(|other| other.rtype == rtype && other.ttl != ttl) else {
            continue;
        };
        let taken = covered.ttl;
        findings.warn(&records[at], || {
            format!(
                "{owner} RRSIG of {rtype} has the TTL {ttl}; that of {rtype}, {taken}, is taken"
            )
        });
        records[at].record.ttl = taken;
    }
}

/// What no message holds can be neither asked for nor transferred.
fn check_sizes(records: &[Placed<'_>], findings: &mut Findings) {
    for set in records.chunk_by(|a, b| a.record.rtype == b.record.rtype) {
        let size = rrset_size(set.iter().map(|placed| placed.record.rdata));
        if size > RRSET_SIZE_MAX {
            let RecordRef { owner, rtype, .. } = set[0].record;
            findings.error(&set[0], || {
                format!(
                    "{owner} {rtype} takes {size} bytes in a message, expected at most \
                     {RRSET_SIZE_MAX}"
                )
            });
        }
    }
}

/// RRSIGs have the TTL of the RRset that they cover (RFC 4034 section 3), so each covered type
/// is a set of its own.
fn is_same_rrset(a: &RecordRef<'_>, b: &RecordRef<'_>) -> bool {
    let covered = |record: &RecordRef<'_>| record.rdata.first_chunk::<2>().copied();
    a.rtype == b.rtype && (a.rtype != Rtype::RRSIG || covered(a) == covered(b))
}

/// One owner name, and which of the records are its.
#[derive(Clone, Copy)]
struct Node {
    start: u32,
    end: u32,
    place: NodePlace,
}

/// Where a name lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NodePlace {
    /// In the zone's own data.
    Own,
    /// At a zone cut.
    Cut,
    BelowCut,
    /// Below the DNAME that the node of this number in the same part has.
    BelowDname(u32),
}

struct Zone<'z> {
    origin: &'z Name,
    /// In canonical order. What lies below a label right below the apex is in one of them.
    parts: [Part<'z>; 2],
}

/// Names of a zone that follow each other.
struct Part<'z> {
    origin: &'z Name,
    /// In canonical order.
    records: Vec<Placed<'z>>,
    nodes: Vec<Node>,
    /// The head of the key of each node: most searches end here.
    heads: Vec<u64>,
    /// The names in the zone to which records point.
    pointers: Pointers<'z>,
}

/// A node, by its part and by its number there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct At(usize, u32);

/// What a target name of NS, MX or SRV turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    HasAddress,
    Alias,
    NoAddress,
    /// At or below the zone cut of this node, without an address here.
    NoGlue(At),
    /// Its data is not in this zone file.
    Elsewhere,
}

impl<'z> Zone<'z> {
    /// Finds all that is wrong or odd, and makes something of the names.
    fn examine<P: Product<'z>>(
        origin: &'z Name,
        records: &'z Records,
        workers: &impl Workers,
    ) -> (Self, P::Made, Findings) {
        let mut findings = Findings::default();
        let runs = runs_in_zone(origin, records, workers, &mut findings);
        let (early, late) = runs.split_at(seam(origin, records, &runs));
        let walk = |runs: &[u32]| {
            let (mut found, mut product) = (Findings::default(), P::begin(origin, records));
            let part = Part::of(origin, records, runs, &mut found, &mut product);
            (part, product, found)
        };
        let ((early, product, found), (late, product_late, found_late)) =
            workers.both(|| walk(early), || walk(late));
        findings.append(found);
        findings.append(found_late);
        let parts = [early, late];
        let zone = Self { origin, parts };

        zone.check_apex(&mut findings);
        let (found, found_late) = workers.both(|| zone.check_targets(0), || zone.check_targets(1));
        let mut is_glue = zone
            .parts
            .each_ref()
            .map(|part| vec![false; part.nodes.len()]);
        for (glue, found) in [found, found_late] {
            glue.iter()
                .for_each(|At(part, number)| is_glue[*part][*number as usize] = true);
            findings.append(found);
        }
        let (made, ()) = workers.both(
            || product.finish(product_late),
            || {
                zone.check_cuts(&is_glue, &mut findings);
                zone.check_signed(&mut findings);
            },
        );
        (zone, made, findings)
    }
}

impl<'z> Part<'z> {
    /// Does all that looks at the records of one owner only, in one walk.
    fn of(
        origin: &'z Name,
        records: &'z Records,
        runs: &[u32],
        findings: &mut Findings,
        product: &mut impl Product<'z>,
    ) -> Self {
        let mut part = Self {
            origin,
            records: Vec::with_capacity(records.len()),
            nodes: Vec::with_capacity(runs.len()),
            heads: Vec::with_capacity(runs.len()),
            pointers: Pointers::default(),
        };
        // The topmost zone cut or DNAME above the names that come now.
        let mut above: Option<(NameRef<'_>, NodePlace)> = None;
        let owner = |run: &u32| records.owner(*run as usize);
        for runs in runs.chunk_by(|a, b| owner(a) == owner(b)) {
            let start = part.records.len();
            for run in runs {
                part.records.extend(records.run(*run as usize));
            }
            part.records[start..].sort_by(|a, b| a.record.cmp_below_owner(&b.record));
            leave_out_duplicates(&mut part.records, start, findings);
            level_ttls(&mut part.records[start..], findings);
            level_signatures(&mut part.records[start..], findings);

            let group = &part.records[start..];
            check_sizes(group, findings);
            let owner = group[0].record.owner;
            let number = part.nodes.len() as u32;
            let place = match above {
                Some((ancestor, place)) if owner.is_at_or_below(ancestor) => place,
                _ if has(group, Rtype::NS) && owner != origin.borrowed() => {
                    above = Some((owner, NodePlace::BelowCut));
                    NodePlace::Cut
                }
                _ => {
                    let has_dname = has(group, Rtype::DNAME);
                    above = has_dname.then_some((owner, NodePlace::BelowDname(number)));
                    NodePlace::Own
                }
            };
            let node = Node {
                start: start as u32,
                end: part.records.len() as u32,
                place,
            };
            part.check_node(&node, findings);
            product.take(group);
            part.gather_pointers(&node);
            let labels = key::relative_labels(owner, origin.borrowed())
                .expect("what is outside has been left out");
            part.heads
                .push(key::head(Key::of_labels(labels).as_bytes()));
            part.nodes.push(node);
        }
        part
    }

    fn records(&self, node: &Node) -> &[Placed<'z>] {
        &self.records[node.start as usize..node.end as usize]
    }

    /// The owner of the node of this number.
    fn owner(&self, number: u32) -> NameRef<'z> {
        let first = self.nodes[number as usize].start;
        self.records[first as usize].record.owner
    }

    fn check_node(&self, node: &Node, findings: &mut Findings) {
        let records = self.records(node);
        let owner = records[0].record.owner;
        for rtype in [Rtype::SOA, Rtype::CNAME, Rtype::DNAME] {
            let mut of_type = records.iter().filter(|placed| placed.record.rtype == rtype);
            if rtype == Rtype::SOA
                && owner != self.origin.borrowed()
                && let Some(soa) = of_type.clone().next()
            {
                findings.error(soa, || {
                    format!(
                        "SOA at {owner}, expected it at the apex {} only",
                        self.origin
                    )
                });
            }
            // RFC 2181 section 10.1 (CNAME), RFC 6672 section 2.4 (DNAME).
            if let Some(second) = of_type.nth(1) {
                findings.error(second, || {
                    format!("a second {rtype} at {owner}, expected one at most")
                });
            }
        }
        // RFC 1034 section 3.6.2, RFC 2181 section 10.1, RFC 4035 section 2.5.
        let may_stand_beside_cname = |rtype| {
            matches!(
                rtype,
                Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::SIG | Rtype::KEY | Rtype::NXT
            )
        };
        let cname = records
            .iter()
            .find(|placed| placed.record.rtype == Rtype::CNAME);
        let other = records
            .iter()
            .find(|placed| !may_stand_beside_cname(placed.record.rtype));
        if let (Some(cname), Some(other)) = (cname, other) {
            let rtype = other.record.rtype;
            findings.error(cname, || {
                format!("CNAME and {rtype} at {owner}, expected a CNAME alone")
            });
        }
        // RFC 4592 section 4.2 leaves its meaning open, and BIND loads no zone that has it.
        let mut cuts = records.iter().filter(|p| p.record.rtype == Rtype::NS);
        if let Some(cut) = cuts.next().filter(|_| owner.is_wildcard()) {
            findings.error(cut, || {
                format!("NS at {owner}, expected no zone cut at a wildcard")
            });
        }
        if let NodePlace::BelowDname(dname) = node.place {
            self.check_below_dname(dname, records, findings);
        }
    }

    /// RFC 6672 section 2.4: no data below a DNAME. An update may put a DNAME above some, and then
    /// nobody sees it (section 5.2). The NSEC3 records of a zone with a DNAME at its apex are the
    /// exception.
    fn check_below_dname(&self, dname: u32, records: &[Placed<'_>], findings: &mut Findings) {
        let above = self.owner(dname);
        let is_denial = |record: &RecordRef<'_>| {
            let covered = record.rdata.first_chunk::<2>();
            record.rtype == Rtype::NSEC3
                || record.rtype == Rtype::RRSIG
                    && covered.copied() == Some(Rtype::NSEC3.0.to_be_bytes())
        };
        let is_allowed =
            |record: &RecordRef<'_>| above == self.origin.borrowed() && is_denial(record);
        if let Some(below) = records.iter().find(|placed| !is_allowed(&placed.record)) {
            let RecordRef { owner, rtype, .. } = below.record;
            findings.warn(below, || {
                format!("{owner} {rtype} is below the DNAME at {above}; it is not seen")
            });
        }
    }

    /// Notes the names in the zone to which NS, MX and SRV of a node point.
    fn gather_pointers(&mut self, node: &Node) {
        if matches!(node.place, NodePlace::BelowCut | NodePlace::BelowDname(_)) {
            return;
        }
        for at in node.start..node.end {
            let RecordRef { rtype, rdata, .. } = self.records[at as usize].record;
            let is_used = rtype == Rtype::NS
                || node.place == NodePlace::Own && matches!(rtype, Rtype::MX | Rtype::SRV);
            let target = rdata::target(rtype, rdata);
            if let Some(target) = target.filter(|target| is_used && self.holds(target)) {
                self.pointers.add(target, at, rtype);
            }
        }
    }

    /// True if the name in wire format lies in the zone. Nothing is allocated for those that do not.
    fn holds(&self, name: &[u8]) -> bool {
        let origin = self.origin.as_wire();
        let mut rest = name;
        while rest.len() > origin.len() {
            rest = &rest[usize::from(rest[0]) + 1..];
        }
        rest.eq_ignore_ascii_case(origin)
    }

    /// The number of the node with this name, whose key begins like this.
    fn find(&self, head: u64, name: &Name) -> Option<u32> {
        let start = self.heads.partition_point(|other| *other < head);
        // Few are alike: their end is near.
        let rest = &self.heads[start..];
        let mut bound = 1;
        while rest.get(bound - 1) == Some(&head) {
            bound *= 2;
        }
        let size = rest[..bound.min(rest.len())].partition_point(|other| *other == head);
        let nodes = &self.nodes[start..start + size];
        let owner = |node: &Node| self.records[node.start as usize].record.owner;
        let found = nodes.binary_search_by(|node| owner(node).cmp(&name.borrowed()));
        found.ok().map(|number| (start + number) as u32)
    }
}

impl<'z> Zone<'z> {
    /// The records of each name, and where it lies, in canonical order.
    fn names(&self) -> impl Iterator<Item = (&[Placed<'z>], NodePlace)> {
        let parts = self.parts.iter();
        parts.flat_map(|part| {
            part.nodes
                .iter()
                .map(|node| (part.records(node), node.place))
        })
    }

    fn node(&self, At(part, number): At) -> (&[Placed<'z>], NodePlace) {
        let part = &self.parts[part];
        let node = &part.nodes[number as usize];
        (part.records(node), node.place)
    }

    fn find(&self, name: &Name) -> Option<At> {
        let key = Key::relative(name, self.origin)?;
        let head = key::head(key.as_bytes());
        let may_hold = |part: &Part<'_>| part.heads.first().is_some_and(|first| *first <= head);
        let mut parts = self.parts.iter().enumerate().rev();
        parts.find_map(|(number, part)| {
            let found = may_hold(part).then(|| part.find(head, name)).flatten()?;
            Some(At(number, found))
        })
    }

    /// The records of the apex.
    fn apex(&self) -> &[Placed<'z>] {
        self.find(self.origin).map_or(&[][..], |at| self.node(at).0)
    }

    fn serial(&self) -> Option<Serial> {
        let soa = self.apex().iter().find(|p| p.record.rtype == Rtype::SOA)?;
        rdata::soa_serial(soa.record.rdata)
    }

    fn check_apex(&self, findings: &mut Findings) {
        let apex = self.apex();
        // RFC 1035 section 5.2.
        if !has(apex, Rtype::SOA) {
            let origin = self.origin;
            findings
                .lacking
                .push(format!("no SOA at {origin}, expected one at the apex"));
        }
        if !has(apex, Rtype::NS) {
            let origin = self.origin;
            findings.lacking.push(format!(
                "no NS at {origin}, expected at least one at the apex"
            ));
        }
    }

    /// Looks at the names to which NS, MX and SRV of a part point. Returns which nodes are glue.
    fn check_targets(&self, part: usize) -> (Vec<At>, Findings) {
        let (mut glue, mut findings) = (Vec::new(), Findings::default());
        let part = &self.parts[part];
        let targets = part.pointers.targets().iter().map(|target| {
            let name = target.name.to_name();
            let at = self.find(&name);
            glue.extend(at.filter(|_| target.is_of_ns));
            self.follow(&name, at)
        });
        let found: Vec<Target> = targets.collect();
        for (record, target) in part.pointers.uses() {
            let placed = &part.records[record as usize];
            let (target, found) = (target as usize, found[target as usize]);
            let name = part.pointers.targets()[target].name;
            self.report(placed, name, found, &mut findings);
        }
        (glue, findings)
    }

    fn report(
        &self,
        placed: &Placed<'_>,
        target: NameRef<'_>,
        found: Target,
        findings: &mut Findings,
    ) {
        let RecordRef { owner, rtype, .. } = placed.record;
        match found {
            Target::HasAddress | Target::Elsewhere => {}
            // RFC 2181 section 10.3.
            Target::Alias => {
                findings.warn(placed, || {
                    format!("{owner} {rtype} points to {target}, which is an alias")
                });
            }
            Target::NoAddress => {
                findings.warn(placed, || {
                    format!("{owner} {rtype} points to {target}, which has no address")
                });
            }
            // RFC 9471 section 3: a delegation cannot be followed without its in-domain glue.
            Target::NoGlue(cut) => {
                let (cut, _) = self.node(cut);
                let (cut, origin) = (cut[0].record.owner, self.origin.borrowed());
                let needs_glue = rtype == Rtype::NS && (owner == cut || owner == origin);
                if needs_glue {
                    findings.warn(placed, || {
                        format!("{owner} {rtype} points to {target}, which has no glue")
                    });
                }
            }
        }
    }

    fn follow(&self, target: &Name, at: Option<At>) -> Target {
        if let Some((records, place)) = at.map(|at| self.node(at)) {
            if has(records, Rtype::A) || has(records, Rtype::AAAA) {
                return Target::HasAddress;
            }
            match place {
                NodePlace::Own if has(records, Rtype::CNAME) => return Target::Alias,
                NodePlace::Own => return Target::NoAddress,
                NodePlace::BelowDname(_) => return Target::Elsewhere,
                NodePlace::Cut | NodePlace::BelowCut => {}
            }
        }
        // The name has no record here: the topmost cut, DNAME or wildcard above it decides.
        let mut found = Target::NoAddress;
        let mut name = Some(target.clone());
        while let Some(ancestor) = name.filter(|name| name.is_at_or_below(self.origin)) {
            if let Some(at) = self.find(&ancestor) {
                let (records, place) = self.node(at);
                match place {
                    NodePlace::Cut => found = Target::NoGlue(at),
                    NodePlace::Own if has(records, Rtype::DNAME) => found = Target::Elsewhere,
                    _ => {}
                }
            }
            let wildcard = ancestor.child(b"*").ok();
            let is_wild = wildcard.is_some_and(|wildcard| self.find(&wildcard).is_some());
            if is_wild && found == Target::NoAddress {
                found = Target::Elsewhere;
            }
            name = ancestor.parent();
        }
        found
    }

    /// Data at and below a zone cut is not served, unless it is glue.
    fn check_cuts(&self, is_glue: &[Vec<bool>; 2], findings: &mut Findings) {
        for ((records, place), is_glue) in self.names().zip(is_glue.iter().flatten()) {
            let is_cut = match place {
                NodePlace::Cut => true,
                NodePlace::BelowCut => false,
                NodePlace::Own | NodePlace::BelowDname(_) => continue,
            };
            let is_occluded = |rtype| match rtype {
                Rtype::A | Rtype::AAAA => !is_glue,
                // RFC 4035 section 2.6: what the parent has at a zone cut.
                Rtype::NS | Rtype::DS | Rtype::NSEC | Rtype::RRSIG => !is_cut,
                _ => true,
            };
            let occluded = records
                .iter()
                .find(|placed| is_occluded(placed.record.rtype));
            if let Some(placed) = occluded {
                let RecordRef { owner, rtype, .. } = placed.record;
                findings.warn(placed, || {
                    format!("{owner} {rtype} is hidden by a zone cut and is no glue")
                });
            }
        }
    }
}

fn has(records: &[Placed<'_>], rtype: Rtype) -> bool {
    records.iter().any(|placed| placed.record.rtype == rtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::threads::TwoThreads;
    use crate::zonefile::{Source, parse};

    const HEAD: &str = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

    fn check_text(text: &str) -> Result<Checked, Rejected> {
        let origin = "test".parse().unwrap();
        let source = Source {
            name: "z".into(),
            text: text.as_bytes().to_vec(),
        };
        let mut include = |_: &str, _: &str| Err("none".to_owned());
        check(
            &origin,
            parse(&source, &origin, &mut include, &mut |_| {}).unwrap(),
        )
    }

    pub(super) fn warnings(text: &str) -> String {
        let checked = check_text(&format!("{HEAD}{text}"));
        let checked = checked.unwrap_or_else(|rejected| panic!("{text}: {rejected}"));
        checked
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(super) fn errors(text: &str) -> String {
        check_text(&format!("{HEAD}{text}"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_apex_has_one_soa_and_an_ns() {
        assert_eq!(
            check_text("a 60 A 192.0.2.1").unwrap_err().to_string(),
            "z: no SOA at test., expected one at the apex\n\
             z: no NS at test., expected at least one at the apex"
        );
        let check = |text: &str, expected: &str| assert_eq!(errors(text), expected, "{text}");
        check(
            "@ SOA ns root 2 2 3 4 5",
            "z:5:1: a second SOA at test., expected one at most",
        );
        check(
            "a SOA ns root 1 2 3 4 5",
            "z:5:1: SOA at a.test., expected it at the apex test. only",
        );
    }

    #[test]
    fn aliases_stand_alone() {
        let check = |text: &str, expected: &str| assert_eq!(errors(text), expected, "{text}");
        check(
            "a CNAME b\na A 192.0.2.1",
            "z:5:1: CNAME and A at a.test., expected a CNAME alone",
        );
        check(
            "a CNAME b\na CNAME c",
            "z:6:1: a second CNAME at a.test., expected one at most",
        );
        check(
            "a DNAME b\na DNAME c",
            "z:6:1: a second DNAME at a.test., expected one at most",
        );
        check(
            "*.a NS ns",
            "z:5:1: NS at *.a.test., expected no zone cut at a wildcard",
        );
        assert_eq!(
            warnings("a DNAME b\nc.a A 192.0.2.1"),
            "z:6:1: c.a.test. A is below the DNAME at a.test.; it is not seen"
        );
        assert_eq!(
            warnings("a CNAME b\na NSEC b CNAME RRSIG NSEC\nd DNAME b\nda A 192.0.2.1"),
            ""
        );
    }

    #[test]
    fn what_is_odd_is_told_and_mended() {
        let check = |text: &str, expected: &str| assert_eq!(warnings(text), expected, "{text}");
        check("", "");
        check(
            "a.b. A 192.0.2.1",
            "z:5:1: a.b. is outside of the zone test.; the record is left out",
        );
        check(
            "a A 192.0.2.1\nA A 192.0.2.1",
            "z:6:1: A.test. A stands twice; one is left out",
        );
        check(
            "a MX 1 ns\na MX 1 NS",
            "z:6:1: a.test. MX stands twice; one is left out",
        );
        check(
            "a 60 A 192.0.2.1\na 30 A 192.0.2.2",
            "z:5:1: the TTLs of a.test. A are 30 to 60; 30 is taken",
        );
        check(
            "a MX 1 b",
            "z:5:1: a.test. MX points to b.test., which has no address",
        );
        check("a MX 1 b\n*.test. A 192.0.2.1", "");
        check(
            "a MX 1 b\nb CNAME ns",
            "z:5:1: a.test. MX points to b.test., which is an alias",
        );
        check("a MX 1 b.\na MX 0 .", "");
        check("a MX 1 c.b\nb DNAME x.", "");
    }

    #[test]
    fn of_very_many_oddities_the_first_are_told() {
        // The last lines come first in the order of names.
        let lines = (0..12 * WARNINGS_MAX).rev();
        assert!(lines.len() > OWNERS_MANY);
        let text: String = lines.map(|n| format!("a{n:05} MX 1 b{n}\n")).collect();
        let told = warnings(&text);
        assert_eq!(told.lines().count(), WARNINGS_MAX);
        for (line, told) in told.lines().enumerate() {
            assert!(told.starts_with(&format!("z:{}:1: ", line + 5)), "{told}");
        }
        assert!(told.ends_with("; more warnings are left out"), "{told}");
    }

    #[test]
    fn a_large_zone_is_what_its_records_make() {
        let check = |more: &dyn Fn(usize) -> String| {
            let mut text = HEAD.to_owned();
            for n in 0..OWNERS_MANY / 4 {
                text += &format!("d{n} NS ns.d{n}\nD{n} NS ns\nns.d{n} A 192.0.2.1\n");
                text += &format!("x.y{n} A 192.0.2.2\nz{n} MX 1 x.y{n}\nz{n} MX 1 ns.D{n}\n");
                text += &more(n);
            }
            let (origin, checked): (Name, _) = ("test".parse().unwrap(), check_text(&text));
            let source = Source {
                name: "z".into(),
                text: text.into_bytes(),
            };
            let mut include = |_: &str, _: &str| Err("none".to_owned());
            let parsed = parse(&source, &origin, &mut include, &mut |_| {}).unwrap();
            let built = build(&origin, parsed, &TwoThreads).unwrap();
            let checked = checked.unwrap();
            let expected = Version::from_records(&origin, &checked.records).unwrap();
            assert_eq!(built.warnings, checked.warnings);
            assert_eq!(built.serial, Serial(1));
            assert_eq!(built.version.counts(), expected.counts());
            assert_eq!(built.version.digest(), expected.digest());
            assert!(built.version.is_same_as(&expected));
        };
        check(&|_| String::new());
        check(&|n| format!("*.w{n} A 192.0.2.3\ne{n} DNAME x.\nbelow.e{n} A 192.0.2.4\n"));
        check(&|n| format!("{n:032} NSEC3 1 0 0 - {n:032} A\n{n:032} A 192.0.2.5\n"));
    }

    #[test]
    fn zone_cuts_have_glue_and_nothing_else() {
        let check = |text: &str, expected: &str| assert_eq!(warnings(text), expected, "{text}");
        check("s NS ns\ns DS 1 8 99 00", "");
        check("s NS n.s\nn.s A 192.0.2.1", "");
        check(
            "s NS n.s",
            "z:5:1: s.test. NS points to n.s.test., which has no glue",
        );
        check("s NS n.u\nu NS n.u\nn.u A 192.0.2.1", "");
        check("s NS n.u\nu NS ns", "");
        check(
            "s NS ns\na.s A 192.0.2.1",
            "z:6:1: a.s.test. A is hidden by a zone cut and is no glue",
        );
        check(
            "s NS ns\ns TXT x",
            "z:6:1: s.test. TXT is hidden by a zone cut and is no glue",
        );
        check(
            "s NS ns\na.s NS ns",
            "z:6:1: a.s.test. NS is hidden by a zone cut and is no glue",
        );
        check("s NS s\ns A 192.0.2.1", "");
        check("a MX 1 m.s\ns NS ns", "");
    }

    #[test]
    fn a_signature_has_the_ttl_of_what_it_covers() {
        let signature = |owner: &str, ttl: u32, covered: &str| {
            format!(
                "{owner} {ttl} RRSIG {covered} 8 2 60 20300101000000 20260101000000 1 test. AA==\n"
            )
        };
        let text = format!(
            "$TTL 60\n{HEAD}\na 50 A 192.0.2.1\na 40 TXT x\n{}{}{}",
            signature("a", 70, "A"),
            signature("a", 40, "TXT"),
            signature("b", 70, "A"),
        );
        let checked = check_text(&text).unwrap();
        let signatures = checked.records.iter().filter(|r| r.rtype == Rtype::RRSIG);
        let ttls: Vec<u32> = signatures.map(|record| record.ttl).collect();
        assert_eq!(ttls, [50, 40, 70]);
        let says = "a.test. RRSIG of A has the TTL 70; that of A, 50, is taken";
        assert!(checked.warnings.iter().any(|w| w.message == says));
    }

    #[test]
    fn records_come_in_canonical_order_with_one_ttl_a_set() {
        let text = format!(
            "b 9 A 192.0.2.2\nb A 192.0.2.1\nb TXT x\na.b A 192.0.2.1\n*.b A 192.0.2.1\n{HEAD}"
        );
        let checked = check_text(&format!("$TTL 60\n{text}")).unwrap();
        let shown: Vec<String> = checked
            .records
            .iter()
            .map(|record| format!("{} {} {}", record.owner, record.rtype, record.ttl))
            .collect();
        let expected = [
            "test. NS 60",
            "test. SOA 60",
            "b.test. A 9",
            "b.test. A 9",
            "b.test. TXT 60",
            "*.b.test. A 60",
            "a.b.test. A 60",
            "ns.test. A 60",
        ];
        assert_eq!(shown, expected);
    }
}
