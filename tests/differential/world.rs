//! Made-up zones in which names are in each other's way: wildcards, empty non-terminals, zone
//! cuts, aliases from zone to zone, odd labels and unknown types. The same seed makes the same
//! zones.
//!
//! Only what all servers load is made: what they refuse in a zone file is a matter of
//! `zonefile_oracle.rs`.

use crate::rdata_text::{self, text_of_size};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use tests::signer::{Denial, Signer};
use tests::zone_text;
use zones::rtype::Rtype;
use zones::{Name, Record};

/// Zones that are served together.
pub(crate) struct World {
    pub(crate) zones: Vec<Zone>,
    /// What aliases, servers and exchanges point to; also names outside of all zones.
    pub(crate) targets: Vec<Name>,
}

/// One zone.
pub(crate) struct Zone {
    pub(crate) origin: Name,
    /// Its zone file, all names absolute.
    pub(crate) text: String,
    /// What is in it, in the order of the file.
    pub(crate) records: Vec<Record>,
}

/// The origins from which a world takes some; above each other, beside each other, and with an
/// empty non-terminal between two of them.
const ORIGINS: &[(&str, f64)] = &[
    (".", 0.1),
    ("test.", 0.3),
    ("alpha.test.", 1.0),
    ("sub.alpha.test.", 0.7),
    ("Deep.er.sub.alpha.test.", 0.3),
    ("beta.test.", 0.8),
];

/// Labels come again and again, so that names meet.
const LABELS: &[&[u8]] = &[
    b"a",
    b"a",
    b"b",
    b"b",
    b"c",
    b"www",
    b"MAIL",
    b"ns",
    b"sub",
    b"alpha",
    b"*",
    b"*",
    b"*",
    b"_tcp",
    b"a.b",
    b"x y",
    b"\x00",
    b"\xff\x80",
    b"*a",
    b"**",
    b"@",
    b"\\q\"",
    b"0",
    b"xn--a",
    &[b'l'; 63],
];

/// Names outside of all zones.
const OUTSIDE: &[&str] = &["outside.example.", "ns.outside.example.", "invalid."];

/// What can stand at a name without a meaning of its own.
const PLAIN: &[Rtype] = &[
    Rtype::A,
    Rtype::A,
    Rtype::A,
    Rtype::AAAA,
    Rtype::AAAA,
    Rtype::TXT,
    Rtype::TXT,
    Rtype::MX,
    Rtype::MX,
    Rtype::SRV,
    Rtype::PTR,
    Rtype::HINFO,
    Rtype::RP,
    Rtype::NAPTR,
    Rtype::CAA,
    Rtype::SVCB,
    Rtype::HTTPS,
    Rtype::TLSA,
    Rtype::URI,
    Rtype(1234),
    Rtype(65280),
];

impl World {
    /// Makes one up.
    pub(crate) fn generate(random: &mut Rng) -> Self {
        let origins: Vec<Name> = ORIGINS
            .iter()
            .filter(|(_, chance)| random.f64() < *chance)
            .map(|(origin, _)| origin.parse().unwrap())
            .collect();
        let plans: Vec<Vec<Name>> = origins.iter().map(|o| owners(o, random)).collect();
        let mut targets: Vec<Name> = plans.concat();
        targets.extend(origins.iter().cloned());
        targets.extend(OUTSIDE.iter().map(|name| name.parse().unwrap()));
        // Names of which some do not exist, and some are below a wildcard.
        for _ in 0..8 {
            let above = targets[random.usize(..targets.len())].clone();
            targets.extend(above.child(label(random)));
        }
        let mut taken = Taken {
            owners: origins.iter().cloned().collect(),
            dnames: BTreeSet::new(),
        };
        let zones = origins
            .iter()
            .zip(plans)
            .map(|(origin, owners)| {
                let mut draft = Draft::new(origin, &origins, &targets, &mut taken, random);
                for child in origins
                    .iter()
                    .filter(|o| o.is_at_or_below(origin) && *o != origin)
                {
                    // Some parents do not know of their children.
                    if draft.random.f64() < 0.8 {
                        draft.delegate(child);
                    }
                }
                for owner in owners {
                    draft.fill(&owner);
                }
                draft.finish()
            })
            .collect();
        Self { zones, targets }
    }

    /// Signs most zones, each with a denial of its own, children before their parents.
    pub(crate) fn sign(&mut self, signer: &Signer, random: &mut Rng) {
        for zone in self.zones.iter_mut().rev() {
            let denials = [Denial::Nsec, Denial::Nsec3, Denial::Nsec3OptOut];
            if random.u8(..8) == 0 {
                continue;
            }
            let denial = denials[random.usize(..denials.len())];
            zone.text = signer.sign(&zone.origin, &zone.text, denial).text;
            zone.records = zone_text::read(&zone.origin, &zone.text);
            // Signers work side by side, and write in the order in which they are done.
            let place =
                |record: &Record| (record.owner.clone(), record.rtype, record.rdata.clone());
            zone.records.sort_by_cached_key(place);
        }
    }

    /// The zone that answers for a name.
    pub(crate) fn zone_of(&self, name: &Name, qtype: Rtype) -> Option<&Zone> {
        let closest = |name: &Name| {
            let above = self
                .zones
                .iter()
                .filter(|zone| name.is_at_or_below(&zone.origin));
            above.max_by_key(|zone| zone.origin.label_count())
        };
        let zone = closest(name)?;
        // RFC 4035 section 3.1.4.1: a DS stands on the parent's side of the cut.
        if qtype == Rtype::DS && zone.origin == *name {
            return name
                .parent()
                .and_then(|parent| closest(&parent))
                .or(Some(zone));
        }
        Some(zone)
    }
}

/// Owner names of a zone, those with fewer labels first.
fn owners(origin: &Name, random: &mut Rng) -> Vec<Name> {
    let mut owners = vec![origin.clone()];
    for _ in 0..random.usize(6..30) {
        let mut name = owners[random.usize(..owners.len())].clone();
        // With several labels at once, the names between are empty non-terminals.
        for _ in 0..*random.choice(&[1, 1, 1, 2, 2, 3]).unwrap() {
            if let Ok(child) = name.child(label(random)) {
                name = child;
            }
        }
        owners.push(name);
    }
    // One that leaves little room for more, so that a DNAME above it or a label more is too much.
    let mut long = origin.child(&[b'o'; 60]).unwrap();
    while let Ok(child) = long.child(&[b'n'; 50]) {
        long = child;
    }
    owners.push(long);
    owners.sort_by_key(Name::label_count);
    owners.dedup();
    owners
}

pub(crate) fn label(random: &mut Rng) -> &'static [u8] {
    LABELS[random.usize(..LABELS.len())]
}

/// A zone while it is made.
struct Draft<'w> {
    origin: &'w Name,
    origins: &'w [Name],
    targets: &'w [Name],
    random: &'w mut Rng,
    nodes: BTreeMap<Name, BTreeMap<Rtype, Rrset>>,
    taken: &'w mut Taken,
}

/// Names of all zones: NSD takes what a parent has below a DNAME of its child for data of the
/// child, and does not load that.
struct Taken {
    owners: BTreeSet<Name>,
    dnames: BTreeSet<Name>,
}

impl Taken {
    fn has_below(&self, name: &Name) -> bool {
        self.owners
            .iter()
            .any(|owner| owner != name && owner.is_at_or_below(name))
    }

    fn has_dname_above(&self, name: &Name) -> bool {
        self.dnames
            .iter()
            .any(|dname| dname != name && name.is_at_or_below(dname))
    }
}

/// A TTL and RDATA in text.
type Rrset = (u32, Vec<String>);

impl<'w> Draft<'w> {
    /// With what an apex must have, and perhaps more.
    fn new(
        origin: &'w Name,
        origins: &'w [Name],
        targets: &'w [Name],
        taken: &'w mut Taken,
        random: &'w mut Rng,
    ) -> Self {
        let nodes = BTreeMap::new();
        let mut draft = Self {
            origin,
            origins,
            targets,
            random,
            nodes,
            taken,
        };
        let serial = draft.random.u32(1..);
        // RFC 2308 section 3: the lower of TTL and MINIMUM counts, so either is.
        let minimum = *draft.random.choice(&[0, 60, 86_400]).unwrap();
        let host = draft.target();
        let soa = format!("{host} hostmaster.outside.example. {serial} 3600 600 604800 {minimum}");
        draft.put(origin, Rtype::SOA, vec![soa]);
        // BIND loads no zone with a server in it that has no address, so others have none at all,
        // and there is room for a DNAME at the apex.
        let mut hosts = vec![OUTSIDE[1].parse().unwrap()];
        if draft.random.u8(..4) > 0 || origin.is_root() {
            hosts[0] = origin.child(b"Ns").unwrap();
            draft.put_some(&hosts[0], Rtype::A);
        }
        let other = draft.target();
        if !other.is_at_or_below(origin) && !other.is_wildcard() {
            hosts.push(other);
        }
        draft.put(
            origin,
            Rtype::NS,
            hosts.iter().map(Name::to_string).collect(),
        );
        draft
    }

    /// NS records, and addresses for some of the servers that are within reach.
    fn delegate(&mut self, cut: &Name) {
        let mut hosts = Vec::new();
        for _ in 0..self.random.usize(1..4) {
            let host = match self.random.u8(..6) {
                0 => cut.clone(),
                1 | 2 => cut.child(b"ns").unwrap_or_else(|_| cut.clone()),
                3 => cut
                    .child(b"ns")
                    .and_then(|n| n.child(b"Two"))
                    .unwrap_or_else(|_| cut.clone()),
                _ => self.target(),
            };
            // A wildcard is no host, and what servers think of one is not the question.
            if !host.is_wildcard() && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            hosts.push(cut.clone());
        }
        self.put(cut, Rtype::NS, hosts.iter().map(Name::to_string).collect());
        for host in hosts.iter().filter(|host| host.is_at_or_below(self.origin)) {
            for rtype in [Rtype::A, Rtype::AAAA] {
                if self.random.f64() < 0.6 {
                    self.put_some(host, rtype);
                }
            }
        }
    }

    /// Decides what a name is.
    fn fill(&mut self, owner: &Name) {
        let target = self.target().to_string();
        match self.random.u8(..20) {
            0..=3 if owner != self.origin => self.put(owner, Rtype::CNAME, vec![target]),
            // RFC 4592 section 4.4 leaves a DNAME at a wildcard open.
            4 | 5 if !owner.is_wildcard() => self.put(owner, Rtype::DNAME, vec![target]),
            6..=8 if owner != self.origin && !owner.is_wildcard() => {
                self.delegate(owner);
                if self.random.bool() {
                    self.put_some(owner, Rtype::DS);
                }
                if self.random.u8(..8) == 0 {
                    self.put_some(owner, Rtype::TXT);
                }
            }
            // More than fits a datagram, in one RRset.
            9 => {
                let texts = (0..self.random.usize(2..9)).map(|i| text_of_size(i, 200));
                let texts = texts.collect();
                self.put(owner, Rtype::TXT, texts);
            }
            _ => {
                for _ in 0..self.random.usize(1..4) {
                    let rtype = PLAIN[self.random.usize(..PLAIN.len())];
                    self.put_some(owner, rtype);
                }
            }
        }
    }

    fn put_some(&mut self, owner: &Name, rtype: Rtype) {
        let count = *self.random.choice(&[1, 1, 1, 2, 3]).unwrap();
        let mut rdatas = Vec::new();
        for _ in 0..count {
            let target = self.target();
            let rdata = rdata_text::make(rtype, &target, self.random);
            if !rdatas.contains(&rdata) {
                rdatas.push(rdata);
            }
        }
        self.put(owner, rtype, rdatas);
    }

    /// Puts an RRset in, unless one is there or no server would load it.
    fn put(&mut self, owner: &Name, rtype: Rtype, rdatas: Vec<String>) {
        let ttl = *self
            .random
            .choice(&[0, 60, 300, 3600, i32::MAX as u32])
            .unwrap();
        let has = |name: &Name, rtype| self.nodes.get(name).is_some_and(|n| n.contains_key(&rtype));
        let is_new = !self.nodes.contains_key(owner);
        let may_stand = match rtype {
            // RFC 2181 section 10.1: an alias stands alone.
            Rtype::CNAME => is_new,
            // RFC 6672 section 2.3: not beside NS, the apex apart; section 2.4: nothing is below.
            Rtype::DNAME => {
                let is_beside_ns = owner != self.origin && has(owner, Rtype::NS);
                let is_childs = owner != self.origin && self.origins.contains(owner);
                !is_beside_ns && !is_childs && !self.taken.has_below(owner)
            }
            Rtype::NS => owner == self.origin || !has(owner, Rtype::DNAME),
            // RFC 4035 section 2.4: at a cut, on the parent's side. BIND takes one at a server of the
            // zone itself for one at the apex, and loads none of it.
            Rtype::DS => owner != self.origin && has(owner, Rtype::NS) && !self.is_server(owner),
            _ => true,
        };
        let is_free = !has(owner, Rtype::CNAME) && !has(owner, rtype);
        if !may_stand || !is_free || self.taken.has_dname_above(owner) {
            return;
        }
        self.taken.owners.insert(owner.clone());
        if rtype == Rtype::DNAME {
            self.taken.dnames.insert(owner.clone());
        }
        self.nodes
            .entry(owner.clone())
            .or_default()
            .insert(rtype, (ttl, rdatas));
    }

    /// True for a name server of the zone.
    fn is_server(&self, name: &Name) -> bool {
        let servers = self
            .nodes
            .get(self.origin)
            .and_then(|apex| apex.get(&Rtype::NS));
        let mut hosts = servers.into_iter().flat_map(|(_, hosts)| hosts);
        hosts.any(|host| host.parse::<Name>().as_ref() == Ok(name))
    }

    fn target(&mut self) -> Name {
        self.targets[self.random.usize(..self.targets.len())].clone()
    }

    fn finish(self) -> Zone {
        let mut text = String::new();
        for (owner, rrsets) in &self.nodes {
            for (rtype, (ttl, rdatas)) in rrsets {
                for rdata in rdatas {
                    writeln!(text, "{owner}\t{ttl}\tIN\t{rtype}\t{rdata}").unwrap();
                }
            }
        }
        Zone {
            origin: self.origin.clone(),
            records: zone_text::read(self.origin, &text),
            text,
        }
    }
}
