//! What a zone must have, over records with their places: sorts them, drops what stands twice or
//! outside, and finds what cannot be served and what is odd.
//!
//! One sort and linear walks: in canonical order all that lies below a name follows it at once.

mod signed;

use crate::key::{self, Key};
use crate::name::Name;
use crate::rdata::{self, RRSET_SIZE_MAX, rrset_size};
use crate::record::{Record, canonical_order};
use crate::rtype::Rtype;
use crate::serial::Serial;
use crate::zonefile::{
    ERRORS_MAX, Parsed, Place, Placed, Rejected, WARNINGS_MAX, ZonefileError, warn,
};
use std::collections::BTreeMap;

/// The records of a zone that can be served.
#[derive(Clone, Debug)]
pub struct Checked {
    /// In canonical order, no two equal, one TTL in each RRset.
    pub records: Vec<Record>,
    /// What is odd, in the order of places; those of reading come first.
    pub warnings: Vec<ZonefileError>,
}

/// Checks the zone `origin`.
pub fn check(origin: &Name, parsed: Parsed) -> Result<Checked, Rejected> {
    let mut findings = Findings::default();
    let records = in_zone(origin, parsed.records, &mut findings);
    let mut records = in_order(records);
    let zone = Zone::of(origin, &mut records, &mut findings);
    zone.check_apex(&mut findings);
    let glue = zone.check_targets(&mut findings);
    zone.check_cuts(&glue, &mut findings);
    zone.check_signed(&mut findings);
    let duplicates = zone.duplicates;
    if duplicates == Duplicates::Some {
        records.dedup_by(|placed, last| is_same_record(&last.record, &placed.record));
    }

    let mut warnings = parsed.warnings;
    for (place, message) in findings.warnings.in_order() {
        warn(&mut warnings, place.fault(&parsed.files, message));
    }
    let mut errors: Vec<ZonefileError> = Vec::new();
    for message in findings.lacking {
        errors.push(ZonefileError {
            file: parsed.files.first().cloned().unwrap_or_default(),
            line: 0,
            column: 0,
            message,
        });
    }
    for (place, message) in findings.errors.in_order() {
        errors.push(place.fault(&parsed.files, message));
    }
    errors.truncate(ERRORS_MAX);
    if !errors.is_empty() {
        return Err(Rejected { errors, warnings });
    }
    Ok(Checked {
        records: records.into_iter().map(|placed| placed.record).collect(),
        warnings,
    })
}

/// Checks the records of a zone that come from elsewhere than a file; the places of what is found
/// mean nothing.
pub fn check_records(origin: &Name, records: Vec<Record>) -> Result<Vec<Record>, Rejected> {
    let place = Place {
        file: 0,
        column: 0,
        line: 0,
    };
    let placed = records.into_iter();
    let parsed = Parsed {
        records: placed.map(|record| Placed { record, place }).collect(),
        files: vec![String::new()],
        warnings: Vec::new(),
    };
    check(origin, parsed).map(|checked| checked.records)
}

/// The serial of the SOA among the records of a zone.
#[must_use]
pub fn serial_of(records: &[Record]) -> Option<Serial> {
    let soa = records.iter().find(|record| record.rtype == Rtype::SOA)?;
    rdata::soa_serial(soa.rdata.as_bytes())
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
    fn error(&mut self, at: &Placed, message: impl FnOnce() -> String) {
        self.errors.add(at.place, message);
    }

    fn warn(&mut self, at: &Placed, message: impl FnOnce() -> String) {
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

    fn in_order(self) -> impl Iterator<Item = (Place, String)> {
        let found = self.found.into_iter();
        found.map(|((place, _), message)| (place, message))
    }
}

/// Drops what lies outside of the zone, as BIND does.
fn in_zone(origin: &Name, records: Vec<Placed>, findings: &mut Findings) -> Vec<Placed> {
    let mut records = records;
    records.retain(|placed| {
        let is_inside = placed.record.owner.is_at_or_below(origin);
        if !is_inside {
            let owner = &placed.record.owner;
            findings.warn(placed, || {
                format!("{owner} is outside of the zone {origin}; the record is left out")
            });
        }
        is_inside
    });
    records
}

/// Each record is taken from where it stood: moving them within one place is one long chain of
/// steps that wait for memory.
fn in_order(records: Vec<Placed>) -> Vec<Placed> {
    let order = canonical_order(records.iter().map(|placed| &placed.record));
    let mut slots: Vec<Option<Placed>> = records.into_iter().map(Some).collect();
    let mut take = |i: u32| {
        slots[i as usize]
            .take()
            .expect("the order holds each record once")
    };
    order.into_iter().map(&mut take).collect()
}

/// Takes equal records of one owner out; what is left of them stands at the end.
fn leave_out_duplicates<'r>(group: &'r mut [Placed], findings: &mut Findings) -> &'r mut [Placed] {
    let mut kept = 1;
    for at in 1..group.len() {
        let (before, from) = group.split_at_mut(at);
        let (last, placed) = (&mut before[kept - 1], &from[0]);
        if is_same_record(&last.record, &placed.record) {
            // RFC 2181 section 5: an RRset holds no two equal records.
            last.record.ttl = last.record.ttl.min(placed.record.ttl);
            let Record { owner, rtype, .. } = &placed.record;
            findings.warn(placed, || {
                format!("{owner} {rtype} stands twice; one is left out")
            });
        } else {
            group.swap(kept, at);
            kept += 1;
        }
    }
    &mut group[..kept]
}

fn is_same_record(a: &Record, b: &Record) -> bool {
    a.rtype == b.rtype && a.owner == b.owner && a.canonical_rdata() == b.canonical_rdata()
}

/// RFC 2181 section 5.2: the TTLs of an RRset must be equal; the lowest is taken.
fn level_ttls(records: &mut [Placed], findings: &mut Findings) {
    for set in records.chunk_by_mut(|a, b| is_same_rrset(&a.record, &b.record)) {
        let lowest = set
            .iter()
            .map(|placed| placed.record.ttl)
            .min()
            .unwrap_or(0);
        let highest = set
            .iter()
            .map(|placed| placed.record.ttl)
            .max()
            .unwrap_or(0);
        if lowest == highest {
            continue;
        }
        let Record { owner, rtype, .. } = &set[0].record;
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

/// What no message holds can be neither asked for nor transferred.
fn check_sizes(records: &[Placed], findings: &mut Findings) {
    for set in records
        .chunk_by(|a, b| a.record.rtype == b.record.rtype && a.record.owner == b.record.owner)
    {
        let size = rrset_size(set.iter().map(|placed| placed.record.rdata.as_bytes()));
        if size > RRSET_SIZE_MAX {
            let Record { owner, rtype, .. } = &set[0].record;
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
fn is_same_rrset(a: &Record, b: &Record) -> bool {
    let covered = |record: &Record| record.rdata.as_bytes().first_chunk::<2>().copied();
    a.rtype == b.rtype
        && a.owner == b.owner
        && (a.rtype != Rtype::RRSIG || covered(a) == covered(b))
}

/// The records of one owner name.
#[derive(Clone, Copy)]
struct Node<'z> {
    records: &'z [Placed],
    place: NodePlace,
}

/// Where a name lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NodePlace {
    /// In the zone's own data.
    Own,
    /// At a zone cut.
    Cut,
    /// Below the zone cut that the node of this number is.
    BelowCut(u32),
    /// Below the DNAME that the node of this number has.
    BelowDname(u32),
}

struct Zone<'z> {
    origin: &'z Name,
    nodes: Vec<Node<'z>>,
    /// The head of the key of each node: most searches end here.
    heads: Vec<u64>,
    /// Names in the zone to which records point, and those records.
    pointers: Vec<(&'z [u8], &'z Placed)>,
    duplicates: Duplicates,
}

/// Whether records stand twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duplicates {
    Some,
    None,
}

/// What a target name of NS, MX or SRV turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    HasAddress,
    Alias,
    NoAddress,
    /// At or below the zone cut of this node, without an address here.
    NoGlue(u32),
    /// Its data is not in this zone file.
    Elsewhere,
}

impl<'z> Zone<'z> {
    /// Does all that looks at the records of one owner only, in one walk: those of a large zone are
    /// far from each other in memory, and are come to once.
    fn of(origin: &'z Name, records: &'z mut [Placed], findings: &mut Findings) -> Self {
        let mut zone = Self {
            origin,
            nodes: Vec::new(),
            heads: Vec::new(),
            pointers: Vec::new(),
            duplicates: Duplicates::None,
        };
        // The topmost zone cut or DNAME above the names that come now.
        let mut above: Option<(&Name, NodePlace)> = None;
        for group in records.chunk_by_mut(|a, b| a.record.owner == b.record.owner) {
            let size = group.len();
            let group = leave_out_duplicates(group, findings);
            if group.len() < size {
                zone.duplicates = Duplicates::Some;
            }
            level_ttls(group, findings);
            let records: &'z [Placed] = group;
            check_sizes(records, findings);

            let owner = &records[0].record.owner;
            let has = |rtype| records.iter().any(|placed| placed.record.rtype == rtype);
            let number = zone.nodes.len() as u32;
            let place = match above {
                Some((ancestor, place)) if owner.is_at_or_below(ancestor) => place,
                _ if has(Rtype::NS) && owner != origin => {
                    above = Some((owner, NodePlace::BelowCut(number)));
                    NodePlace::Cut
                }
                _ => {
                    above = has(Rtype::DNAME).then_some((owner, NodePlace::BelowDname(number)));
                    NodePlace::Own
                }
            };
            let node = Node { records, place };
            zone.check_node(&node, findings);
            zone.gather_pointers(&node);
            let key = Key::relative(owner, origin).expect("what is outside has been left out");
            zone.heads.push(key::head(key.as_bytes()));
            zone.nodes.push(node);
        }
        zone
    }

    fn check_apex(&self, findings: &mut Findings) {
        let apex = self.find(self.origin).map_or(&[][..], |node| node.records);
        let has = |rtype| apex.iter().any(|placed| placed.record.rtype == rtype);
        // RFC 1035 section 5.2.
        if !has(Rtype::SOA) {
            let origin = self.origin;
            findings
                .lacking
                .push(format!("no SOA at {origin}, expected one at the apex"));
        }
        if !has(Rtype::NS) {
            let origin = self.origin;
            findings.lacking.push(format!(
                "no NS at {origin}, expected at least one at the apex"
            ));
        }
    }

    fn check_node(&self, node: &Node<'z>, findings: &mut Findings) {
        let records = node.records;
        let owner = &records[0].record.owner;
        for rtype in [Rtype::SOA, Rtype::CNAME, Rtype::DNAME] {
            let mut of_type = records.iter().filter(|placed| placed.record.rtype == rtype);
            if rtype == Rtype::SOA
                && owner != self.origin
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
    fn check_below_dname(&self, dname: u32, records: &[Placed], findings: &mut Findings) {
        let above = &self.nodes[dname as usize].records[0].record.owner;
        let is_denial = |record: &Record| {
            let covered = record.rdata.as_bytes().first_chunk::<2>();
            record.rtype == Rtype::NSEC3
                || record.rtype == Rtype::RRSIG
                    && covered.copied() == Some(Rtype::NSEC3.0.to_be_bytes())
        };
        let is_allowed = |record: &Record| above == self.origin && is_denial(record);
        if let Some(below) = records.iter().find(|placed| !is_allowed(&placed.record)) {
            let Record { owner, rtype, .. } = &below.record;
            findings.warn(below, || {
                format!("{owner} {rtype} is below the DNAME at {above}; it is not seen")
            });
        }
    }

    /// Notes the names in the zone to which NS, MX and SRV of a node point.
    fn gather_pointers(&mut self, node: &Node<'z>) {
        if matches!(
            node.place,
            NodePlace::BelowCut(_) | NodePlace::BelowDname(_)
        ) {
            return;
        }
        for placed in node.records {
            let rtype = placed.record.rtype;
            let is_used = rtype == Rtype::NS
                || node.place == NodePlace::Own && matches!(rtype, Rtype::MX | Rtype::SRV);
            let target = rdata::target(rtype, placed.record.rdata.as_bytes());
            if let Some(target) = target.filter(|target| is_used && self.holds(target)) {
                self.pointers.push((target, placed));
            }
        }
    }

    /// Looks at the names to which NS, MX and SRV point. Returns which nodes are glue.
    fn check_targets(&self, findings: &mut Findings) -> Vec<bool> {
        let mut is_glue = vec![false; self.nodes.len()];
        let pointers = &self.pointers;
        // A target of many records is looked up once. Numbers bring equal ones together, and what is
        // looked up in the order of the zone lies near what was looked up before.
        let sum_of = |at: usize| crc32fast::hash(pointers[at].0);
        let mut order: Vec<(u32, usize)> = (0..pointers.len()).map(|at| (sum_of(at), at)).collect();
        order.sort_unstable();
        let same_target =
            |(_, a): &(u32, usize), (_, b): &(u32, usize)| pointers[*a].0 == pointers[*b].0;
        let mut groups: Vec<&[(u32, usize)]> = order.chunk_by(same_target).collect();
        groups.sort_unstable_by_key(|group| group[0].1);
        for group in groups {
            let group = || group.iter().map(|(_, at)| pointers[*at]);
            let wire = group().next().map_or(&[][..], |(target, _)| target);
            let target = Name::from_wire(wire).expect("the target is a whole name");
            let node = self.find_number(&target);
            let is_of_ns = group().any(|(_, placed)| placed.record.rtype == Rtype::NS);
            if let Some(node) = node.filter(|_| is_of_ns) {
                is_glue[node as usize] = true;
            }
            let found = self.follow(&target, node);
            for (_, placed) in group() {
                self.report(placed, &target, found, findings);
            }
        }
        is_glue
    }

    fn report(&self, placed: &Placed, target: &Name, found: Target, findings: &mut Findings) {
        let Record { owner, rtype, .. } = &placed.record;
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
                let cut = &self.nodes[cut as usize].records[0].record.owner;
                let needs_glue = *rtype == Rtype::NS && (owner == cut || owner == self.origin);
                if needs_glue {
                    findings.warn(placed, || {
                        format!("{owner} {rtype} points to {target}, which has no glue")
                    });
                }
            }
        }
    }

    fn follow(&self, target: &Name, node: Option<u32>) -> Target {
        if let Some(node) = node.map(|number| &self.nodes[number as usize]) {
            let records = node.records.iter();
            let has = |rtype| records.clone().any(|placed| placed.record.rtype == rtype);
            if has(Rtype::A) || has(Rtype::AAAA) {
                return Target::HasAddress;
            }
            match node.place {
                NodePlace::Own if has(Rtype::CNAME) => return Target::Alias,
                NodePlace::Own => return Target::NoAddress,
                NodePlace::BelowDname(_) => return Target::Elsewhere,
                NodePlace::Cut | NodePlace::BelowCut(_) => {}
            }
        }
        // The name has no record here: the topmost cut, DNAME or wildcard above it decides.
        let mut found = Target::NoAddress;
        let mut name = Some(target.clone());
        while let Some(ancestor) = name.filter(|name| name.is_at_or_below(self.origin)) {
            if let Some(number) = self.find_number(&ancestor) {
                match self.nodes[number as usize].place {
                    NodePlace::Cut => found = Target::NoGlue(number),
                    NodePlace::Own if self.has_dname(number) => found = Target::Elsewhere,
                    _ => {}
                }
            }
            let wildcard = ancestor.child(b"*").ok();
            let is_wild = wildcard.is_some_and(|wildcard| self.find_number(&wildcard).is_some());
            if is_wild && found == Target::NoAddress {
                found = Target::Elsewhere;
            }
            name = ancestor.parent();
        }
        found
    }

    fn has_dname(&self, number: u32) -> bool {
        let records = self.nodes[number as usize].records;
        records
            .iter()
            .any(|placed| placed.record.rtype == Rtype::DNAME)
    }

    /// Data at and below a zone cut is not served, unless it is glue.
    fn check_cuts(&self, is_glue: &[bool], findings: &mut Findings) {
        for (node, is_glue) in self.nodes.iter().zip(is_glue) {
            let is_cut = match node.place {
                NodePlace::Cut => true,
                NodePlace::BelowCut(_) => false,
                NodePlace::Own | NodePlace::BelowDname(_) => continue,
            };
            let is_occluded = |rtype| match rtype {
                Rtype::A | Rtype::AAAA => !is_glue,
                // RFC 4035 section 2.6: what the parent has at a zone cut.
                Rtype::NS | Rtype::DS | Rtype::NSEC | Rtype::RRSIG => !is_cut,
                _ => true,
            };
            let occluded = node
                .records
                .iter()
                .find(|placed| is_occluded(placed.record.rtype));
            if let Some(placed) = occluded {
                let Record { owner, rtype, .. } = &placed.record;
                findings.warn(placed, || {
                    format!("{owner} {rtype} is hidden by a zone cut and is no glue")
                });
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

    fn find(&self, name: &Name) -> Option<&Node<'z>> {
        self.find_number(name)
            .map(|number| &self.nodes[number as usize])
    }

    fn find_number(&self, name: &Name) -> Option<u32> {
        let key = Key::relative(name, self.origin)?;
        let head = key::head(key.as_bytes());
        let start = self.heads.partition_point(|other| *other < head);
        // Few are alike: their end is near.
        let rest = &self.heads[start..];
        let mut bound = 1;
        while rest.get(bound - 1) == Some(&head) {
            bound *= 2;
        }
        let size = rest[..bound.min(rest.len())].partition_point(|other| *other == head);
        let nodes = &self.nodes[start..start + size];
        let found = nodes.binary_search_by(|node| node.records[0].record.owner.cmp(name));
        found.ok().map(|number| (start + number) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let lines = (0..3 * WARNINGS_MAX).rev();
        let text: String = lines.map(|n| format!("a{n:05} MX 1 b{n}\n")).collect();
        let told = warnings(&text);
        assert_eq!(told.lines().count(), WARNINGS_MAX);
        for (line, told) in told.lines().enumerate() {
            assert!(told.starts_with(&format!("z:{}:1: ", line + 5)), "{told}");
        }
        assert!(told.ends_with("; more warnings are left out"), "{told}");
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
