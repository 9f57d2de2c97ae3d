//! Aliases that lead from one zone into another.
//!
//! RFC 1034 section 4.3.2 has a server go on with the other zone if it is there. BIND, as long as
//! it does no recursion, and Knot leave that to the client. So the test is their client: what they
//! say of the target is put behind what they said of the name.

use crate::reply::Reply;
use crate::request::Request;
use crate::world::World;
use tests::question::Question;
use zones::rtype::Rtype;
use zones::{Name, Rdata, Record};

/// More crossings than any server follows.
const CROSSINGS_MAX: usize = 20;

/// What a server says to a request if it is asked on for as long as its answer leaves a zone for
/// another that it has.
pub(crate) fn follow(
    world: &World,
    request: &Request,
    first: Reply,
    mut ask: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Reply {
    let Some((qname, qtype)) = request.asked() else {
        return first;
    };
    let mut joined = first;
    let mut seen = vec![qname];
    for _ in 0..CROSSINGS_MAX {
        let Some((kept, target)) = crossing(world, &joined, qtype, &mut seen) else {
            break;
        };
        let question = Question {
            qname: target,
            qtype,
            ..request.question.clone()
        };
        let next = Reply::new(ask(&question.to_wire()).as_deref());
        let (Some(before), Some(after)) = (joined.answer(), next.answer()) else {
            return next;
        };
        let mut whole = before.clone();
        whole.rcode = after.rcode;
        whole.sections = after.sections.clone();
        // What proves that a wildcard was used on the way stays where it is.
        let proofs = before.sections[1].iter().filter(|record| is_proof(record));
        whole.sections[1].splice(..0, proofs.cloned());
        // A loop comes back to records that are there.
        let kept = &before.sections[0][..kept];
        let is_new = |record: &&Record| !kept.contains(record);
        let more = after.sections[0].iter().filter(is_new).cloned();
        whole.sections[0] = kept.iter().cloned().chain(more).collect();
        joined = Reply::Joined(Box::new(whole));
    }
    joined
}

/// Where the chain of aliases in an answer leaves a zone for another: how many records come before
/// that, and the name with which it goes on. `seen` are the names of the chain up to there.
fn crossing(
    world: &World,
    reply: &Reply,
    qtype: Rtype,
    seen: &mut Vec<Name>,
) -> Option<(usize, Name)> {
    if reply.is_truncated() || qtype == Rtype::CNAME {
        return None;
    }
    let answers = &reply.answer()?.sections[0];
    let is_redirected = |name: &Name| {
        let mut dnames = answers.iter().filter(|record| record.rtype == Rtype::DNAME);
        dnames.any(|dname| *name != dname.owner && name.is_at_or_below(&dname.owner))
    };
    loop {
        let name = seen.last().expect("the QNAME is in it");
        // A CNAME of the zone is an answer to ANY, and not followed.
        if qtype == Rtype::ANY && !is_redirected(name) {
            return None;
        }
        let is_next = |r: &Record| r.rtype == Rtype::CNAME && r.owner == *name;
        let place = answers.iter().position(is_next)?;
        let target = read_target(&answers[place].rdata)?;
        let origin = |name: &Name| world.zone_of(name, qtype).map(|zone| zone.origin.clone());
        let (before, after) = (origin(name), origin(&target));
        if seen.contains(&target) {
            return None;
        }
        seen.push(target.clone());
        if after.is_some() && before != after {
            let signatures = answers[place + 1..]
                .iter()
                .take_while(|record| record.rtype == Rtype::RRSIG);
            return Some((place + 1 + signatures.count(), target));
        }
    }
}

fn is_proof(record: &Record) -> bool {
    let covered = record.rdata.as_bytes().first_chunk();
    let covered = covered.map_or(record.rtype, |covered| Rtype(u16::from_be_bytes(*covered)));
    match record.rtype {
        Rtype::RRSIG => matches!(covered, Rtype::NSEC | Rtype::NSEC3),
        rtype => matches!(rtype, Rtype::NSEC | Rtype::NSEC3),
    }
}

fn read_target(rdata: &Rdata) -> Option<Name> {
    Name::from_wire(rdata.as_bytes()).ok()
}
