//! QUERY: what a name means, said in answer, authority and additional section (RFC 1034 section
//! 4.3.2).
//!
//! Positive answers are minimal: no NS records in the authority section. All data comes from
//! `now`, only the serial in an SOA is that of the published version. Who sets DO gets signatures
//! and proofs too (RFC 4035 section 3.1), and nobody else does.

use super::Served;
use super::asked::Asked;
use super::rate::{Kind, Subject};
use super::records::{Records, put_soa};
use crate::message::compress::Case;
use crate::message::header::{AA, HEADER_SIZE, TC};
use crate::message::{Builder, ExtendedError, Full, Owner, Section};
use zones::lookup::Found;
use zones::name::NameRef;
use zones::rdata;
use zones::rtype::{Class, Rtype};
use zones::zone_set::ZoneState;
use zones::{Below, Collision, Name, Node, Rcode, RrsetRef, Says, Sought, Space};

/// Aliases followed in one answer, as in other servers: longer chains are mistakes, and each
/// costs a lookup.
const ALIASES_MAX: usize = 16;
/// Records of one RRset whose targets get addresses in the additional section: what is left out
/// costs a client a question, what is in costs this server lookups that nobody asked for.
const TARGETS_MAX: usize = 16;

/// Answers a question of class IN, and says what kind of answer it is.
pub(super) fn answer(
    asked: &Asked<'_, '_>,
    spaces: &mut Spaces,
    response: &mut Vec<u8>,
) -> (Rcode, Subject) {
    let request = asked.request;
    let qname = Sought::new(request.question.qname, &mut spaces.qname);
    let mut answer = Answer {
        served: asked.served,
        qtype: request.question.qtype,
        records: Records {
            builder: Builder::new(
                response,
                request,
                Case::Ignored,
                asked.size_max(),
                asked.opt(),
            ),
            dnssec_ok: request.edns.is_some_and(|edns| edns.dnssec_ok),
        },
        flags: 0,
        dnames: None,
        proofs: Vec::new(),
        subject: Subject::of_qname(Kind::Error),
        host: &mut spaces.host,
    };
    let rcode = match answer.zone_of(qname) {
        // RFC 1034 section 4.3.1 leaves names outside of all zones to the server.
        None => {
            answer
                .records
                .builder
                .explain(ExtendedError::NOT_AUTHORITATIVE);
            Rcode::REFUSED
        }
        Some(place) => answer
            .fill(place, &mut spaces.alias)
            .unwrap_or_else(|stop| match stop {
                Stop::Full => {
                    answer.flags |= TC;
                    Rcode::NOERROR
                }
                // RFC 5155 section 7.2.9.
                Stop::Unprovable => {
                    answer.flags = 0;
                    answer.records.builder.clear();
                    Rcode::SERVFAIL
                }
            }),
    };
    // RFC 1035 section 6.2: who asks for all classes gets no authoritative answer, as nobody knows
    // them all.
    if request.question.qclass == Class::ANY {
        answer.flags &= !AA;
    }
    answer
        .records
        .builder
        .finish(request.header, answer.flags, rcode.0);
    (rcode, answer.subject)
}

/// Where the names of one answer are made ready to be looked up. It is large, so its owner keeps it
/// from one answer to the next.
#[derive(Default)]
pub struct Spaces {
    qname: Space,
    /// A name that the QNAME is an alias for.
    alias: Space,
    /// A host whose addresses go into the additional section.
    host: Space,
}

/// The response while it is written.
struct Answer<'a, 'b> {
    served: &'a Served,
    qtype: Rtype,
    records: Records<'b>,
    flags: u16,
    /// Owners of the DNAMEs in the answer section; few have any.
    dnames: Option<Vec<Name>>,
    /// Proofs that wait for the answer section to be complete.
    proofs: Vec<(Node<'a>, RrsetRef<'a>)>,
    subject: Subject,
    host: &'b mut Space,
}

/// A zone, and a name in it.
type Place<'a, 'n> = (&'a ZoneState, Below<'n>);

/// What a name of a chain of aliases, first the QNAME, meets in its zone.
struct Met<'a, 'n, 'f> {
    zone: &'a ZoneState,
    name: Below<'n>,
    /// The name as the owner of records.
    owner: Owner<'n>,
    found: &'f Found<'a>,
}

impl<'n> Met<'_, 'n, '_> {
    /// The name at or above it that has so many labels, as the owner of records.
    fn owner_above(&self, labels: usize) -> Owner<'n> {
        let name = self.name.sought();
        let above = name.ancestor(labels).as_wire();
        match self.owner {
            Owner::Question(_) => Owner::Question(name.name().as_wire().len() - above.len()),
            Owner::Name(_) => Owner::Name(above),
        }
    }
}

/// Why a response is not completed.
enum Stop {
    /// There is no room for what it cannot be without.
    Full,
    /// There is no proof for what it would say.
    Unprovable,
}

impl From<Full> for Stop {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

impl From<Collision> for Stop {
    fn from(Collision: Collision) -> Self {
        Self::Unprovable
    }
}

/// What one name contributes.
enum Step {
    Done(Rcode),
    /// It is an alias for this name.
    Follow(Name),
}

impl<'a> Answer<'a, '_> {
    /// The zone that answers for a name.
    fn zone_of<'n>(&self, name: Sought<'n>) -> Option<Place<'a, 'n>> {
        let place = self.served.zones.find(name)?;
        // RFC 4035 section 3.1.4.1: a DS stands on the parent's side of the cut.
        if self.qtype == Rtype::DS && place.1.is_apex() {
            return self.served.zones.find_above(name).or(Some(place));
        }
        Some(place)
    }

    /// Writes all sections. What was proven on the way stands in the authority section.
    fn fill(&mut self, qname: Place<'a, '_>, alias: &mut Space) -> Result<Rcode, Stop> {
        if qname.0.shown.is_none() {
            self.records.builder.explain(ExtendedError::NOT_READY);
            return Ok(Rcode::SERVFAIL);
        }
        let rcode = match self.step(qname, Owner::Question(0))? {
            Step::Done(rcode) => rcode,
            Step::Follow(target) => self.follow(qname.1.sought().name(), target, alias)?,
        };
        self.put_proofs()?;
        Ok(rcode)
    }

    /// Follows aliases from zone to zone, as far as the zones are ours: from the QNAME to the first
    /// target, and on.
    #[cold]
    fn follow(
        &mut self,
        qname: NameRef<'_>,
        mut target: Name,
        alias: &mut Space,
    ) -> Result<Rcode, Stop> {
        let mut followed = vec![qname.to_name()];
        loop {
            if followed.len() == ALIASES_MAX || followed.contains(&target) {
                return Ok(Rcode::NOERROR);
            }
            let place = self.zone_of(Sought::new(target.borrowed(), alias));
            let Some(place) = place.filter(|(zone, _)| zone.shown.is_some()) else {
                return Ok(Rcode::NOERROR);
            };
            let next = match self.step(place, Owner::Name(target.as_wire()))? {
                Step::Done(rcode) => return Ok(rcode),
                Step::Follow(next) => next,
            };
            followed.push(std::mem::replace(&mut target, next));
        }
    }

    #[inline(always)]
    fn step(&mut self, (zone, name): Place<'a, '_>, owner: Owner<'_>) -> Result<Step, Stop> {
        let found = &zone.now.find(name);
        let met = Met {
            zone,
            name,
            owner,
            found,
        };
        if let Owner::Question(_) = owner {
            self.subject = subject_of(found, zone, name.sought());
        }
        let node = match found {
            Found::Node(node) => node,
            // RFC 4592 section 3.3.1: the records of the source of synthesis, with the QNAME as
            // their owner.
            Found::Wildcard { source, .. } => source,
            Found::Cut(cut) => {
                let labels = name.sought().label_count();
                if self.qtype != Rtype::DS || cut.label_count() != labels {
                    return self.referral(&met, cut);
                }
                cut
            }
            Found::Dname(node) => return self.dname(&met, node),
            Found::NxDomain { .. } => return self.negative(&met, Rcode::NXDOMAIN),
        };
        self.node(&met, node)
    }

    #[inline(always)]
    fn node(&mut self, met: &Met<'a, '_, '_>, node: &Node<'a>) -> Result<Step, Stop> {
        let (zone, owner) = (met.zone, met.owner);
        self.flags |= AA;
        let rrset = match self.qtype {
            // RFC 8482 section 4.1: one RRset is an answer to ANY. So is one to RRSIG, as in other
            // servers: those of all types covered would be as large.
            Rtype::ANY => node.rrsets().next(),
            qtype => node.rrset(qtype),
        };
        if let Some(rrset) = rrset {
            if rrset.rtype() == Rtype::DNAME {
                self.put_dname(zone, node, owner, rrset)?;
            } else {
                self.records.put_here(zone, Section::Answer, owner, rrset)?;
            }
            if self.records.dnssec_ok {
                self.prove(met, Says::Data)?;
                self.put_proofs()?;
            }
            if rdata::has_target(rrset.rtype()) {
                self.add_targets(node, rrset);
            }
            return Ok(Step::Done(Rcode::NOERROR));
        }
        // RFC 4035 section 2.5: these stand beside an alias, or nowhere.
        let is_beside = matches!(self.qtype, Rtype::NSEC | Rtype::RRSIG);
        // RFC 1034 section 3.6.2: an alias answers for all other types but its own.
        if let Some(cname) = node.rrset(Rtype::CNAME).filter(|_| !is_beside) {
            self.records.put(zone, Section::Answer, owner, cname)?;
            if self.records.dnssec_ok {
                self.prove(met, Says::Data)?;
            }
            let target = cname.rdata().next().expect("an RRset is never empty");
            return Ok(Step::Follow(read_name(target).to_name()));
        }
        self.negative(met, Rcode::NOERROR)
    }

    /// RFC 6672 section 3.2: the DNAME, and the CNAME that it means for this name.
    fn dname(&mut self, met: &Met<'a, '_, '_>, node: &Node<'a>) -> Result<Step, Stop> {
        let name = met.name.sought();
        self.flags |= AA;
        let dname = node.rrset(Rtype::DNAME).expect("the node has a DNAME");
        let owner = met.owner_above(node.label_count());
        self.put_dname(met.zone, node, owner, dname)?;
        let target = dname.rdata().next().expect("an RRset is never empty");
        let above = name.ancestor(node.label_count()).as_wire();
        let wire = name.name().as_wire();
        let below = &wire[..wire.len() - above.len()];
        let wire = [below, target].concat();
        // RFC 6672 section 2.2: a name that becomes too long.
        let Ok(target) = Name::from_wire(&wire) else {
            return Ok(Step::Done(Rcode::YXDOMAIN));
        };
        // RFC 6672 section 3.1: the TTL of the CNAME is that of the DNAME. Section 5.3.1: it has no
        // signature; who validates makes it again from the DNAME.
        let ttl = dname.ttl();
        self.records.builder.record(
            Section::Answer,
            met.owner,
            Rtype::CNAME,
            ttl,
            target.as_wire(),
        )?;
        // RFC 6672 section 3.2 goes back to step 1 whatever is asked for; the CNAME itself is there.
        match self.qtype {
            Rtype::CNAME => Ok(Step::Done(Rcode::NOERROR)),
            _ => Ok(Step::Follow(target)),
        }
    }

    /// A chain of aliases may meet a DNAME again, but no RRset is twice in an answer (RFC 2181
    /// section 5).
    fn put_dname(
        &mut self,
        zone: &'a ZoneState,
        node: &Node<'a>,
        owner: Owner<'_>,
        dname: RrsetRef<'a>,
    ) -> Result<(), Full> {
        let name = node.owner();
        let dnames = self.dnames.get_or_insert_default();
        if !dnames.contains(&name) {
            self.records.put(zone, Section::Answer, owner, dname)?;
            dnames.push(name);
        }
        Ok(())
    }

    /// NODATA or NXDOMAIN. Without room for what belongs to it the response is cut, and its RCODE is
    /// still the right one.
    fn negative(&mut self, met: &Met<'a, '_, '_>, rcode: Rcode) -> Result<Step, Stop> {
        self.flags |= AA;
        self.subject.kind = match rcode {
            Rcode::NXDOMAIN => Kind::NxDomain,
            _ => Kind::NoData,
        };
        match self.deny(met) {
            Ok(()) => {}
            Err(Stop::Full) => self.flags |= TC,
            Err(Stop::Unprovable) => return Err(Stop::Unprovable),
        }
        Ok(Step::Done(rcode))
    }

    /// The SOA, which says how long (RFC 2308 sections 2 and 3), and the proof.
    fn deny(&mut self, met: &Met<'a, '_, '_>) -> Result<(), Stop> {
        let zone = met.zone;
        if let Some((soa, shown)) = zone.now.apex().rrset(Rtype::SOA).zip(zone.shown.as_ref()) {
            let minimum = soa.rdata().next().and_then(rdata::soa_minimum);
            let ttl = soa.ttl().min(minimum.unwrap_or(0));
            let owner = met.owner_above(zone.origin().label_count());
            let section = Section::Authority;
            put_soa(
                &mut self.records.builder,
                section,
                owner,
                soa,
                ttl,
                shown.serial,
            )?;
            if self.records.dnssec_ok
                && let Some(signatures) = soa.signatures()
            {
                self.records
                    .put_signatures(section, owner, ttl, signatures)?;
            }
        }
        if self.records.dnssec_ok {
            self.prove(met, Says::NoData)?;
            self.put_proofs()?;
        }
        Ok(())
    }

    /// RFC 1034 section 4.3.2 step 3b: who is asked next.
    fn referral(&mut self, met: &Met<'a, '_, '_>, cut: &Node<'a>) -> Result<Step, Stop> {
        let zone = met.zone;
        let labels = cut.label_count();
        let (name, owner) = (met.name.sought().ancestor(labels), met.owner_above(labels));
        let servers = cut.rrset(Rtype::NS).expect("a cut has NS records");
        self.records.put(zone, Section::Authority, owner, servers)?;
        if self.records.dnssec_ok {
            // RFC 4035 section 3.1.4: the DS with its signature, or the proof that there is none.
            match cut.rrset(Rtype::DS) {
                Some(ds) if ds.signatures().is_some() => {
                    self.records.put(zone, Section::Authority, owner, ds)?;
                }
                // The parent is not signed, and its DS is worth nothing.
                Some(_) => {}
                None => self.prove(met, Says::NoData)?,
            }
            self.put_proofs()?;
        }
        let hosts = || servers.rdata().map(read_name);
        // RFC 9471 section 3.1: a client cannot go on without in-domain glue, so it fits or TC is
        // set. Section 3.2: sibling glue is sent as far as there is room.
        for host in hosts().filter(|host| host.is_at_or_below(name)) {
            self.add_glue(zone, host)?;
        }
        let others = hosts().filter(|host| !host.is_at_or_below(name));
        for host in others.take(TARGETS_MAX) {
            if self.add_glue(zone, host).is_err() {
                break;
            }
        }
        Ok(Step::Done(Rcode::NOERROR))
    }

    /// The addresses of a host as far as this zone holds them.
    fn add_glue(&mut self, zone: &ZoneState, host: NameRef<'_>) -> Result<(), Full> {
        if !host.is_at_or_below(zone.origin().borrowed()) {
            return Ok(());
        }
        let sought = Sought::new(host, self.host).below(zone.origin());
        match sought.and_then(|sought| zone.now.node_of(sought)) {
            Some(node) => self
                .records
                .put_addresses(zone, Owner::Name(host.as_wire()), node),
            None => Ok(()),
        }
    }

    /// RFC 1034 section 4.3.2 step 6: what will be asked next, as far as there is room.
    fn add_targets(&mut self, node: &Node<'a>, rrset: RrsetRef<'a>) {
        let rtype = rrset.rtype();
        let is_service = matches!(rtype, Rtype::SVCB | Rtype::HTTPS) && !node.is_wildcard();
        // RFC 9460 section 2.5.2: the target `.` is the owner itself.
        let itself = is_service.then(|| node.owner());
        let targets = || {
            let targets = rrset.rdata().take(TARGETS_MAX);
            let targets = targets.filter_map(|rdata| rdata::target(rtype, rdata));
            targets.map(|target| match &itself {
                Some(owner) if target == ROOT => owner.as_wire(),
                _ => target,
            })
        };
        for (i, target) in targets().enumerate() {
            let is_there = targets()
                .take(i)
                .any(|earlier| earlier.eq_ignore_ascii_case(target));
            // RFC 7505, RFC 2782: at the root there is no such service.
            if is_there || target == ROOT {
                continue;
            }
            let place = self
                .served
                .zones
                .find(Sought::new(read_name(target), self.host));
            let place = place.filter(|(zone, _)| zone.shown.is_some());
            if let Some((zone, name)) = place
                && let Some(node) = zone.now.node_of(name)
                && self
                    .records
                    .put_addresses(zone, Owner::Name(target), node)
                    .is_err()
            {
                break;
            }
        }
    }

    /// Has the authority section prove that the name meets what it meets.
    fn prove(&mut self, met: &Met<'a, '_, '_>, says: Says) -> Result<(), Stop> {
        let proof = met.zone.now.prove(met.name, met.found, says)?;
        for (node, rrset) in proof.rrsets() {
            let is_there = |(held, _): &(Node<'_>, _)| held.owner_wire() == node.owner_wire();
            if !self.proofs.iter().any(is_there) {
                self.proofs.push((node, rrset));
            }
        }
        Ok(())
    }

    /// Nothing goes into the answer section after this.
    #[inline]
    fn put_proofs(&mut self) -> Result<(), Full> {
        match self.proofs.is_empty() {
            true => Ok(()),
            false => self.put_proofs_there(),
        }
    }

    fn put_proofs_there(&mut self) -> Result<(), Full> {
        for (node, rrset) in std::mem::take(&mut self.proofs) {
            let (section, owner) = (Section::Authority, node.owner());
            let owner = Owner::Name(owner.as_wire());
            self.records.builder.rrset(
                section,
                owner,
                rrset.rtype(),
                rrset.ttl(),
                rrset.rdata(),
            )?;
            if let Some(signatures) = rrset.signatures() {
                self.records
                    .put_signatures(section, owner, signatures.ttl(), signatures)?;
            }
        }
        Ok(())
    }
}

/// What an answer is counted as, by what the QNAME meets. All names that anyone can make up below a
/// cut, a DNAME, a wildcard, or where nothing is, count as one.
fn subject_of(found: &Found<'_>, zone: &ZoneState, qname: Sought<'_>) -> Subject {
    let (kind, labels) = match found {
        Found::Node(_) => return Subject::of_qname(Kind::Answer),
        Found::Cut(cut) => (Kind::Referral, cut.label_count()),
        Found::Dname(node) => (Kind::Answer, node.label_count()),
        Found::Wildcard { .. } => (Kind::Answer, zone.origin().label_count()),
        Found::NxDomain { .. } => (Kind::NxDomain, zone.origin().label_count()),
    };
    let above = qname.ancestor(labels).as_wire();
    Subject {
        kind,
        name_at: (HEADER_SIZE + qname.name().as_wire().len() - above.len()) as u16,
    }
}

const ROOT: &[u8] = &[0];

/// A name that RDATA consists of or ends with.
fn read_name(wire: &[u8]) -> NameRef<'_> {
    NameRef::from_wire(wire).expect("RDATA is checked before it enters a zone")
}
