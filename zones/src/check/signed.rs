//! What is odd about a zone that was signed elsewhere: signatures of nothing, data without one, and
//! chains of NSEC or NSEC3 records with a gap.
//!
//! Neither signatures nor hashes are worked out: that is for a validator.

use super::{Findings, NodePlace, Zone, has};
use crate::denial::ITERATIONS_MAX;
use crate::name::Name;
use crate::records::Placed;
use crate::rtype::Rtype;

use data_encoding::BASE32HEX_NOPAD;

impl Zone<'_> {
    pub(super) fn check_signed(&self, findings: &mut Findings) {
        let apex = self.apex();
        let is_signed = apex
            .iter()
            .any(|placed| covered(placed) == Some(Rtype::SOA));
        for (records, _) in self.names() {
            check_covered(records, findings);
        }
        if is_signed {
            self.check_uncovered(findings);
        }
        if has(apex, Rtype::NSEC) {
            self.check_nsec_chain(findings);
        }
        for parameters in apex.iter().filter(|p| p.record.rtype == Rtype::NSEC3PARAM) {
            check_iterations(parameters, findings);
            self.check_nsec3_chain(parameters, findings);
        }
    }

    /// RFC 4035 section 2.2: all authoritative RRsets are signed; at a cut, DS and NSEC.
    fn check_uncovered(&self, findings: &mut Findings) {
        let mut bare: Vec<&Placed<'_>> = Vec::new();
        for (records, place) in self.names() {
            let is_authoritative = |rtype| match place {
                NodePlace::Own => rtype != Rtype::RRSIG,
                NodePlace::Cut => matches!(rtype, Rtype::DS | Rtype::NSEC),
                NodePlace::BelowCut | NodePlace::BelowDname(_) => false,
            };
            for rrset in records.chunk_by(|a, b| a.record.rtype == b.record.rtype) {
                let rtype = rrset[0].record.rtype;
                let is_covered = || records.iter().any(|p| covered(p) == Some(rtype));
                if is_authoritative(rtype) && !is_covered() {
                    bare.push(&rrset[0]);
                }
            }
        }
        // A zone of which little is signed is one mistake.
        if let [first, others @ ..] = bare.as_slice() {
            let (owner, rtype) = (first.record.owner, first.record.rtype);
            let more = match others.len() {
                0 => String::new(),
                1 => ", nor has another RRset".to_owned(),
                more => format!(", nor have {more} other RRsets"),
            };
            findings.warn(first, || format!("{owner} {rtype} has no signature{more}"));
        }
    }

    /// RFC 4035 section 2.3: every name with authoritative data and every cut has an NSEC record, and
    /// it leads to the next.
    fn check_nsec_chain(&self, findings: &mut Findings) {
        let in_chain: Vec<&[Placed<'_>]> = self
            .names()
            .filter(|(_, place)| matches!(place, NodePlace::Own | NodePlace::Cut))
            .map(|(records, _)| records)
            .filter(|records| !records.iter().all(is_of_nsec3))
            .collect();
        let nexts = in_chain.iter().cycle().skip(1);
        for (records, next) in in_chain.iter().zip(nexts) {
            let (owner, expected) = (records[0].record.owner, next[0].record.owner);
            let nsec = records.iter().find(|p| p.record.rtype == Rtype::NSEC);
            let Some(nsec) = nsec else {
                findings.warn(&records[0], || format!("{owner} has no NSEC record"));
                continue;
            };
            let next = Name::from_wire(nsec.record.rdata);
            if !next.is_ok_and(|next| next.borrowed() == expected) {
                findings.warn(nsec, || {
                    format!("{owner} NSEC leads past {expected}, which exists")
                });
            }
        }
    }

    /// RFC 5155 section 7.1: the records of one set of parameters lead from hash to hash, in a circle.
    fn check_nsec3_chain(&self, parameters: &Placed<'_>, findings: &mut Findings) {
        let is_of_chain = |placed: &&Placed<'_>| {
            let (rdata, parameters) = (placed.record.rdata, parameters.record.rdata);
            placed.record.rtype == Rtype::NSEC3
                && rdata.first() == parameters.first()
                && rdata.get(2..parameters.len()) == Some(&parameters[2..])
        };
        let records = self.names().flat_map(|(records, _)| records);
        let chain: Vec<&Placed<'_>> = records.filter(is_of_chain).collect();
        if chain.is_empty() {
            findings.warn(parameters, || {
                "NSEC3PARAM names a chain that has no NSEC3 record".to_owned()
            });
        }
        // Where the salt ends, the size of the hash stands.
        let at = parameters.record.rdata.len();
        let nexts = chain.iter().cycle().skip(1);
        for (placed, next) in chain.iter().zip(nexts) {
            let rdata = placed.record.rdata;
            let size = usize::from(rdata[at]);
            let hash = BASE32HEX_NOPAD.encode(&rdata[at + 1..=at + size]);
            let expected = next.record.owner.labels().next().unwrap_or_default();
            if !hash.as_bytes().eq_ignore_ascii_case(expected) {
                let (owner, expected) = (placed.record.owner, next.record.owner);
                findings.warn(placed, || {
                    format!("{owner} NSEC3 does not lead to the next one, {expected}")
                });
            }
        }
    }
}

/// RFC 4034 section 3: a signature covers an RRset of its own name and has its TTL.
fn check_covered(records: &[Placed<'_>], findings: &mut Findings) {
    for placed in records {
        let Some(covered) = covered(placed) else {
            continue;
        };
        let owner = placed.record.owner;
        if !records.iter().any(|other| other.record.rtype == covered) {
            findings.warn(placed, || {
                format!("{owner} RRSIG covers {covered}, which {owner} does not have")
            });
        }
    }
}

/// RFC 9276 section 3.1: "If NSEC3 must be used, then an iterations count of 0 MUST be used". Above the
/// bound no proof is made here, so that no validator would believe what does not exist.
fn check_iterations(parameters: &Placed<'_>, findings: &mut Findings) {
    let [_, _, high, low] = *parameters
        .record
        .rdata
        .first_chunk()
        .expect("the RDATA is checked");
    let iterations = u16::from_be_bytes([high, low]);
    if iterations > ITERATIONS_MAX {
        findings.error(parameters, || {
            format!("NSEC3PARAM has {iterations} iterations, expected at most {ITERATIONS_MAX}")
        });
    } else if iterations > 0 {
        // RFC 9276 section 3.2 lets validators do either.
        findings.warn(parameters, || {
            let s = if iterations == 1 { "" } else { "s" };
            format!(
                "NSEC3PARAM has {iterations} iteration{s}, expected 0 (RFC 9276): validators may \
                 take the zone for unsigned, or answer SERVFAIL"
            )
        });
    }
}

/// The type that a signature covers.
pub(super) fn covered(placed: &Placed<'_>) -> Option<Rtype> {
    if placed.record.rtype != Rtype::RRSIG {
        return None;
    }
    let covered = placed.record.rdata.first_chunk()?;
    Some(Rtype(u16::from_be_bytes(*covered)))
}

fn is_of_nsec3(placed: &Placed<'_>) -> bool {
    placed.record.rtype == Rtype::NSEC3 || covered(placed) == Some(Rtype::NSEC3)
}

#[cfg(test)]
mod tests {
    use crate::check::tests::{errors, warnings};

    const RRSIG: &str = "8 1 60 20300101000000 20260101000000 1 test. AA==";

    #[test]
    fn a_signature_covers_what_is_there() {
        let check = |text: &str, expected: &str| {
            assert_eq!(warnings(&text.replace('%', RRSIG)), expected, "{text}");
        };
        check("ns RRSIG A %", "");
        check(
            "ns RRSIG AAAA %",
            "z:5:1: ns.test. RRSIG covers AAAA, which ns.test. does not have",
        );
        check(
            "ns 61 RRSIG A %",
            "z:5:1: ns.test. RRSIG of A has the TTL 61; that of A, 60, is taken",
        );
        let cut = "sub NS ns.sub\nns.sub A 192.0.2.1";
        check(
            &format!("@ RRSIG SOA %\n@ RRSIG NS %\n{cut}"),
            "z:4:1: ns.test. A has no signature",
        );
        check(
            &format!("@ RRSIG SOA %\n{cut}"),
            "z:3:1: test. NS has no signature, nor has another RRset",
        );
    }

    #[test]
    fn a_chain_of_nsec_records_has_no_gap() {
        let check = |text: &str, expected: &str| assert_eq!(warnings(text), expected, "{text}");
        check(
            "@ NSEC ns SOA\nns NSEC sub A\nsub NS a.sub\na.sub A 192.0.2.1\nsub NSEC @ NS",
            "",
        );
        check("@ NSEC ns SOA", "z:4:1: ns.test. has no NSEC record");
        check(
            "@ NSEC @ SOA\nns NSEC @ A",
            "z:5:1: test. NSEC leads past ns.test., which exists",
        );
    }

    #[test]
    fn a_chain_of_nsec3_records_has_no_gap() {
        let check = |text: &str, expected: &str| {
            let text = text.replace("0t", "0000000000000000000000000000000");
            assert_eq!(
                warnings(&format!("@ NSEC3PARAM 1 0 0 AB\n{text}")),
                expected
            );
        };
        check("0t1 NSEC3 1 1 0 AB 0t2 A\n0t2 NSEC3 1 0 0 AB 0t1 A", "");
        check(
            "0t1 NSEC3 1 1 0 AB 0t2 A\n0t2 NSEC3 1 0 0 AB 0t3 A",
            "z:7:1: 00000000000000000000000000000002.test. NSEC3 does not lead to the next one, \
             00000000000000000000000000000001.test.",
        );
        check(
            "0t1 NSEC3 1 1 0 AC 0t1 A",
            "z:5:1: NSEC3PARAM names a chain that has no NSEC3 record",
        );
    }

    #[test]
    fn further_iterations_are_odd_and_too_many_are_refused() {
        let check = |iterations: u16, expected: &str| {
            let text = format!(
                "@ NSEC3PARAM 1 0 {iterations} -\n\
                 00000000000000000000000000000001 NSEC3 1 0 {iterations} - \
                 00000000000000000000000000000001 A"
            );
            let found = match iterations > 150 {
                true => errors(&text),
                false => warnings(&text),
            };
            assert_eq!(found, expected);
        };
        let told = "expected 0 (RFC 9276): validators may take the zone for unsigned, or answer \
                    SERVFAIL";
        check(0, "");
        check(1, &format!("z:5:1: NSEC3PARAM has 1 iteration, {told}"));
        check(
            150,
            &format!("z:5:1: NSEC3PARAM has 150 iterations, {told}"),
        );
        check(
            151,
            "z:5:1: NSEC3PARAM has 151 iterations, expected at most 150",
        );
    }
}
