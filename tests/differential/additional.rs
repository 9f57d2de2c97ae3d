//! Our additional section against the zone files themselves: each RRset in it is whole and is one
//! of theirs, and a referral that is not cut has all its glue. What else is there is left to a
//! server.

use crate::reply::{Reply, TC, canonical_line, glue, unlevelled_line};
use crate::world::World;
use tests::answer::Answer;
use zones::{Record, Rtype};

/// What is not as it should be.
pub(crate) fn find_fault(world: &World, reply: &Reply) -> Option<String> {
    let answer = reply.answer()?;
    let untrue = find_untrue(world, answer);
    untrue.or_else(|| find_lacking(world, answer).filter(|_| answer.flags & TC == 0))
}

fn find_untrue(world: &World, answer: &Answer) -> Option<String> {
    let additional = &answer.sections[2];
    let untrue = additional.iter().find(|record| {
        let said = rrset(additional, record);
        !world
            .zones
            .iter()
            .any(|zone| rrset(&zone.records, record) == said)
    })?;
    Some(format!(
        "no zone has this RRset: {}",
        canonical_line(untrue)
    ))
}

/// What glue a referral should have, if it does not. RFC 9471 section 3.1: the addresses of servers
/// in the delegated zone are there, or TC is set.
pub(crate) fn find_lacking(world: &World, answer: &Answer) -> Option<String> {
    let [_, authority, additional] = &answer.sections;
    let has = glue(authority, additional);
    let owner = &authority.first()?.owner;
    // The zone that delegates is the one above.
    let zone = world
        .zones
        .iter()
        .filter(|zone| owner.is_at_or_below(&zone.origin));
    let zone = zone.filter(|zone| zone.origin != *owner);
    let zone = zone.max_by_key(|zone| zone.origin.label_count())?;
    let wants = glue(authority, &zone.records);
    (has != wants).then(|| format!("the glue is {wants}"))
}

/// The records that are in one RRset with this one, in one order. Signatures are in one with those
/// of the same type covered.
fn rrset(records: &[Record], of: &Record) -> Vec<String> {
    let covered = |record: &Record| record.rdata.as_bytes().first_chunk::<2>().copied();
    let is_same = |record: &&Record| {
        record.rtype == of.rtype
            && record.owner == of.owner
            && (of.rtype != Rtype::RRSIG || covered(record) == covered(of))
    };
    let mut lines: Vec<String> = records
        .iter()
        .filter(is_same)
        .map(unlevelled_line)
        .collect();
    lines.sort();
    lines
}
