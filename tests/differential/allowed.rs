//! Where we differ from the majority, and the sentence of an RFC that says so.

use crate::additional::find_lacking;
use crate::reply::{AA, Aspect, Reply, TC, canonical_line, unlevelled_line};
use crate::request::Form;
use crate::verdict::Case;
use crate::world::World;
use std::collections::BTreeSet;
use tests::answer::Answer;
use tests::question::CD;
use zones::rtype::{Class, Rtype};
use zones::{Name, Rcode, Record};

/// One kind of difference that is as it should be.
pub(crate) struct Allowed {
    /// Its name in the account of a run.
    pub(crate) name: &'static str,
    /// In what it shows.
    pub(crate) aspects: &'static [Aspect],
    /// What decides.
    pub(crate) because: &'static str,
    /// Whether a case is one.
    pub(crate) holds: fn(&Case<'_>) -> bool,
}

/// All of them. One that no long run meets is to go.
pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        name: "OPT in FORMERR",
        aspects: &[Aspect::Opt],
        because: "RFC 6891 section 6.1.1: \"If an OPT record is present in a received request, \
                  compliant responders MUST include an OPT record in their respective responses.\"",
        holds: |case| is_format_error(case.ours) && has_opt(case.ours),
    },
    Allowed {
        name: "FORMERR, not silence",
        aspects: &[Aspect::Response],
        because: "RFC 8906 section 3.1.3: \"If the server does not understand the meaning of a \
                  request, it should reply with a FORMERR response\"; section 1: \"There should \
                  be no need to drop queries because a nameserver does not understand them.\"",
        holds: |case| is_format_error(case.ours),
    },
    Allowed {
        name: "what nobody reads",
        aspects: &[Aspect::Rcode],
        because: "RFC 1123 section 1.2.2: \"Be liberal in what you accept\"; of records behind a \
                  question no more than where they end matters, of a QTYPE nothing.",
        holds: |case| {
            let is_damaged = case.request.form == Form::Malformed;
            is_damaged && !is_format_error(case.ours) && case.count(Rcode::FORMERR) == 2
        },
    },
    Allowed {
        name: "YXDOMAIN at the end of a chain",
        aspects: &[Aspect::Rcode],
        because: "RFC 6672 section 3.2: \"If substitution of its <target> for its <owner> in QNAME \
                  would overflow the legal size for a <domain-name>, set RCODE to YXDOMAIN\"; then \
                  \"Go back to step 1\", also for ANY and for a DNAME that was met before.",
        holds: |case| {
            let is_overflow = case.ours.rcode() == Some(Rcode::YXDOMAIN);
            is_overflow && case.count(Rcode::YXDOMAIN) > 0
        },
    },
    Allowed {
        name: "NOTIMP before all else",
        aspects: &[Aspect::Response, Aspect::Rcode],
        because: "RFC 8906 section 3.1.4: \"NOTIMP is the expected rcode to an unknown or \
                  unimplemented opcode\"; \"there is no requirement that anything other than the \
                  DNS header match.\"",
        holds: |case| case.ours.rcode() == Some(Rcode::NOTIMP) && case.request.opcode() != 0,
    },
    Allowed {
        name: "CD is clear",
        aspects: &[Aspect::Cd],
        because: "RFC 4035 section 3.1.6: \"A security-aware name server SHOULD clear the CD bit \
                  when composing an authoritative response.\"",
        holds: |case| {
            case.ours
                .answer()
                .is_some_and(|answer| answer.flags & CD == 0)
        },
    },
    Allowed {
        name: "QCLASS ANY without AA",
        aspects: &[Aspect::Aa],
        because: "RFC 1035 section 6.2: \"When processing queries with QCLASS=*, [...] the \
                  response should never be authoritative unless the server can guarantee that \
                  the response covers all classes.\"",
        holds: |case| case.request.question.qclass == Class::ANY && !has_flag(case.ours, AA),
    },
    Allowed {
        name: "another RRset for ANY or RRSIG",
        aspects: &[Aspect::Answer],
        because: "RFC 8482 section 4.1: \"[...] MAY instead send a response with a single RRset \
                  (or a larger subset of available RRsets) in the answer section.\" Section 7: \
                  \"This document does not specify appropriate behavior for RRSIG queries\"; BIND \
                  and Knot do so for them too, each in its own way.",
        holds: |case| {
            let is_any = case
                .request
                .asked()
                .is_some_and(|(_, qtype)| matches!(qtype, Rtype::ANY | Rtype::RRSIG));
            is_any
                && case
                    .ours
                    .answer()
                    .is_some_and(|answer| is_of_zones(case.world, answer))
        },
    },
    Allowed {
        name: "whole, not cut",
        aspects: &[Aspect::Tc],
        because: "RFC 2181 section 9: \"The TC bit should be set in responses only when an RRSet \
                  is required as a part of the response, but could not be included in its \
                  entirety.\"",
        holds: |case| !has_flag(case.ours, TC),
    },
    Allowed {
        name: "the RCODE of where a chain is cut",
        aspects: &[Aspect::Rcode],
        because: "RFC 2181 section 9: \"When a DNS client receives a reply with TC set, it should \
                  ignore that response\". What comes after the cut is not looked up.",
        holds: |case| {
            let is_chain = |answer: &Answer| !answer.sections[0].is_empty();
            has_flag(case.ours, TC) && case.ours.answer().is_some_and(is_chain)
        },
    },
    Allowed {
        name: "cut, not without glue",
        aspects: &[Aspect::Tc],
        because: "RFC 9471 section 3.1: \"[...] it MUST include all available glue records for \
                  in-domain name servers in the additional section or MUST set TC=1 if constrained \
                  by message size.\"",
        holds: |case| {
            let lacks_glue = |answer: &Answer| find_lacking(case.world, answer).is_some();
            has_flag(case.ours, TC) && case.ours.answer().is_some_and(lacks_glue)
        },
    },
    Allowed {
        name: "cut, not without SOA",
        aspects: &[Aspect::Tc],
        because: "RFC 2308 section 3: \"Name servers authoritative for a zone MUST include the SOA \
                  record of the zone in the authority section of the response when reporting an \
                  NXDOMAIN or indicating that no data of the requested type exists.\"",
        holds: |case| {
            let is_alias = |record: &Record| matches!(record.rtype, Rtype::CNAME | Rtype::DNAME);
            let is_bare = |answer: &Answer| {
                answer.sections[1].is_empty() && answer.sections[0].iter().all(is_alias)
            };
            let mut theirs = case.theirs.iter().filter_map(|(_, reply)| reply.answer());
            has_flag(case.ours, TC) && theirs.all(is_bare)
        },
    },
    Allowed {
        name: "cut, as others are",
        aspects: &[Aspect::Tc],
        because: "RFC 1035 section 4.1.4: \"Programs are free to avoid using pointers in messages \
                  they generate, although this will reduce datagram capacity, and may cause \
                  truncation.\"",
        holds: |case| {
            let is_cut = |(_, reply): &(_, Reply)| has_flag(reply, TC);
            has_flag(case.ours, TC) && case.theirs.iter().any(is_cut)
        },
    },
    Allowed {
        name: "KEY and SIG go on at an alias",
        aspects: &[
            Aspect::Rcode,
            Aspect::Tc,
            Aspect::Answer,
            Aspect::Authority,
            Aspect::Glue,
        ],
        because: "RFC 1034 section 3.6.2: \"When a name server fails to find a desired RR in the \
                  resource set associated with the domain name, it checks to see if the resource \
                  set consists of a CNAME record [...]. If so, the name server includes the CNAME \
                  record in the response and restarts the query\". BIND does not, for these two, \
                  as RFC 2535 section 2.3.5 said before RFC 4033.",
        holds: |case| {
            let asked = case.request.asked();
            let is_special = asked.is_some_and(|(_, t)| matches!(t, Rtype::KEY | Rtype::SIG));
            is_special && !aliases(case.ours).is_empty()
        },
    },
    Allowed {
        name: "no record twice",
        aspects: &[Aspect::Answer],
        because: "RFC 2181 section 5: \"It is meaningless for two records to ever have label, \
                  class, type and data all equal - servers should suppress such duplicates if \
                  encountered.\"",
        holds: |case| {
            let (ours, is_repeated) = distinct_answers(case.ours);
            let repeats = |(_, reply): &(_, Reply)| distinct_answers(reply) == (ours.clone(), true);
            !is_repeated && case.theirs.iter().any(repeats)
        },
    },
    Allowed {
        name: "no glue from wildcards",
        aspects: &[Aspect::Glue],
        because: "RFC 1034 section 4.3.3: \"Wildcard RRs do not apply: - When the query is in \
                  another zone. That is, delegation cancels the wildcard defaults.\"",
        holds: |case| {
            let is_whole = |answer: &Answer| find_lacking(case.world, answer).is_none();
            case.ours.answer().is_some_and(is_whole)
        },
    },
    Allowed {
        name: "what a wildcard without records of its own has",
        aspects: &[Aspect::Authority],
        because: "RFC 4035 section 3.1.3.2: \"An NSEC RR proving that the zone contains no RRsets \
                  that would match <SNAME, SCLASS> via wildcard name expansion.\" RFC 4592 section \
                  3.3.1: \"The source of synthesis could be an empty non-terminal.\" NSD sends it \
                  too; BIND and Knot have it follow from the other one. With NSEC3, and for DS \
                  at a wildcard that opt-out leaves out, BIND sends it, Knot and NSD do not.",
        holds: |case| {
            let ours = authority(case.ours);
            // RFC 1034 section 4.3.2 step 3a: an alias goes "back to step 1", so that the end of a
            // chain is proven as a QNAME is.
            let is_nodata = is_of_no_data(case.ours);
            let is_of_nsec = |line: &String| line.contains(" NSEC ") || line.contains(" NSEC3 ");
            let lacks_only_proofs = |(_, reply): &&(_, Reply)| {
                let theirs = authority(reply);
                reply.rcode() == case.ours.rcode()
                    && theirs.is_subset(&ours)
                    && ours.difference(&theirs).all(is_of_nsec)
            };
            is_nodata && case.theirs.iter().filter(lacks_only_proofs).count() >= 2
        },
    },
    Allowed {
        name: "the TTL of a signature in the answer",
        aspects: &[Aspect::Answer],
        because: "RFC 4034 section 3: \"The TTL value of an RRSIG RR MUST match the TTL value of the \
                  RRset it covers.\" dnssec-signzone gives none more than 30 days.",
        holds: differs_by_ttls_of_signatures,
    },
    Allowed {
        name: "a DNAME met again",
        aspects: &[Aspect::Rcode, Aspect::Tc, Aspect::Answer, Aspect::Authority],
        because: "RFC 6672 section 2.2: \"It is possible for DNAMEs to form loops\"; \"Resolvers \
                  and servers should be cautious in devoting resources to a query, but be aware \
                  that fairly long chains of DNAMEs may be valid.\" How far is left to each.",
        holds: |case| {
            let ours = aliases(case.ours);
            let is_longest = case.theirs.iter().all(|(_, reply)| {
                let theirs = aliases(reply);
                let common = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
                common == theirs.len().min(ours.len())
            });
            is_longest && meets_again(case.ours)
        },
    },
];

/// True if the QNAME, or what it is an alias for, has no records of the QTYPE.
fn is_of_no_data(reply: &Reply) -> bool {
    let is_soa = |record: &Record| record.rtype == Rtype::SOA;
    let has_soa = |answer: &Answer| answer.sections[1].iter().any(is_soa);
    reply.rcode() == Some(Rcode::NOERROR) && reply.answer().is_some_and(has_soa)
}

fn is_format_error(reply: &Reply) -> bool {
    reply.rcode() == Some(Rcode::FORMERR)
}

fn has_flag(reply: &Reply, flag: u16) -> bool {
    reply
        .answer()
        .is_some_and(|answer| answer.flags & flag != 0)
}

/// True if there is an answer, and all records in it are of zone files, perhaps with another owner
/// or TTL, or follow from a DNAME in it.
fn is_of_zones(world: &World, answer: &Answer) -> bool {
    let answers = &answer.sections[0];
    let records = || world.zones.iter().flat_map(|zone| &zone.records);
    let bare = |record: &Record| {
        canonical_line(&Record {
            owner: Name::root(),
            ttl: 0,
            ..record.clone()
        })
    };
    let is_true = |said: &Record| {
        records().any(|record| record.rtype == said.rtype && bare(record) == bare(said))
    };
    // RFC 6672 section 3.1: "A CNAME RR [...] is synthesized and included in the answer section when
    // the DNAME is employed as a substitution instruction."
    let is_synthesized = |said: &Record| {
        let is_above = |dname: &Record| {
            dname.rtype == Rtype::DNAME
                && said.owner.is_at_or_below(&dname.owner)
                && substitute(&said.owner, dname) == read_target(said)
        };
        said.rtype == Rtype::CNAME && answers.iter().any(is_above)
    };
    !answers.is_empty() && (answers.iter()).all(|said| is_true(said) || is_synthesized(said))
}

/// What a name below a DNAME is an alias for.
fn substitute(name: &Name, dname: &Record) -> Option<Name> {
    let below = name.as_wire().len() - dname.owner.as_wire().len();
    let wire = [&name.as_wire()[..below], dname.rdata.as_bytes()].concat();
    Name::from_wire(&wire).ok()
}

fn read_target(alias: &Record) -> Option<Name> {
    Name::from_wire(alias.rdata.as_bytes()).ok()
}

/// The records of the answer section, each once, and whether one stands there again.
fn distinct_answers(reply: &Reply) -> (BTreeSet<String>, bool) {
    let answers = reply.answer().map_or(&[][..], |answer| &answer.sections[0]);
    let distinct: BTreeSet<String> = answers.iter().map(canonical_line).collect();
    let is_repeated = distinct.len() < answers.len();
    (distinct, is_repeated)
}

/// The records of the authority section.
fn authority(reply: &Reply) -> BTreeSet<String> {
    let records = reply.answer().map_or(&[][..], |answer| &answer.sections[1]);
    records.iter().map(canonical_line).collect()
}

fn has_opt(reply: &Reply) -> bool {
    reply.answer().is_some_and(|answer| answer.opt.is_some())
}

/// True if two of the others answer what we answer, but for the TTL of signatures.
fn differs_by_ttls_of_signatures(case: &Case<'_>) -> bool {
    let without_ttls = |reply: &Reply| -> BTreeSet<String> {
        let records = reply.answer().map_or(&[][..], |answer| &answer.sections[0]);
        records.iter().map(unlevelled_line).collect()
    };
    let ours = without_ttls(case.ours);
    let same = |(_, reply): &&(_, Reply)| without_ttls(reply) == ours;
    has_ttls_of_covered(case.ours) && case.theirs.iter().filter(same).count() >= 2
}

/// True if each signature has the TTL of what it covers, as far as that is there.
fn has_ttls_of_covered(reply: &Reply) -> bool {
    let sections = reply
        .answer()
        .map_or(&[][..], |answer| &answer.sections[..2]);
    let records = || sections.iter().flatten();
    let is_right = |signature: &Record| {
        let covered = signature.rdata.as_bytes().first_chunk();
        let covered = covered.map(|covered| Rtype(u16::from_be_bytes(*covered)));
        records()
            .filter(|other| other.owner == signature.owner && Some(other.rtype) == covered)
            .all(|other| other.ttl == signature.ttl)
    };
    records()
        .filter(|record| record.rtype == Rtype::RRSIG)
        .all(is_right)
}

/// The names of a chain of aliases, in its order.
fn aliases(reply: &Reply) -> Vec<Name> {
    let Some(answer) = reply.answer() else {
        return Vec::new();
    };
    let aliases = answer.sections[0]
        .iter()
        .filter(|record| record.rtype == Rtype::CNAME);
    aliases.map(|record| record.owner.clone()).collect()
}

/// True if one DNAME stands for several aliases.
fn meets_again(reply: &Reply) -> bool {
    let Some(answer) = reply.answer() else {
        return false;
    };
    let dnames = answer.sections[0]
        .iter()
        .filter(|record| record.rtype == Rtype::DNAME);
    let aliases = aliases(reply);
    dnames.into_iter().any(|dname| {
        let below = aliases
            .iter()
            .filter(|alias| alias.is_at_or_below(&dname.owner));
        below.count() > 1
    })
}
