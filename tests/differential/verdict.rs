//! Who differs from whom: what at least two of the three others say is right, unless the allow-list
//! has a sentence of an RFC that says otherwise.

use crate::allowed::{ALLOWED, Allowed};
use crate::oracle::Kind;
use crate::reply::{ASPECTS, Aspect, Reply};
use crate::request::Request;
use crate::world::World;
use std::fmt;
use zones::Rcode;

/// One request and all that came back.
pub(crate) struct Case<'c> {
    pub(crate) world: &'c World,
    pub(crate) request: &'c Request,
    pub(crate) ours: &'c Reply,
    pub(crate) theirs: &'c [(Kind, Reply)],
}

/// What is found in one aspect of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// We differ from the majority.
    Differs(Aspect),
    /// We do, and an RFC lets us.
    Allowed(Aspect, &'static str),
    /// There is no majority, and we say what no one else says.
    Undecided(Aspect),
    /// All others say the same, this one does not.
    Dissents(Aspect, Kind),
}

impl Case<'_> {
    /// What is found, aspect by aspect.
    pub(crate) fn judge(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for aspect in ASPECTS {
            let finding = self.judge_aspect(aspect);
            let is_ours = matches!(
                finding,
                Some(Finding::Differs(_) | Finding::Allowed(..) | Finding::Undecided(_))
            );
            findings.extend(finding);
            // What follows from a difference is no second one.
            if is_ours && matches!(aspect, Aspect::Response | Aspect::Rcode) {
                break;
            }
        }
        findings
    }

    fn judge_aspect(&self, aspect: Aspect) -> Option<Finding> {
        let ours = self.ours.aspect(aspect)?;
        let theirs: Vec<(Kind, String)> = self
            .theirs
            .iter()
            .filter(|(_, reply)| self.can_be_compared(reply, aspect))
            .filter_map(|(kind, reply)| Some((*kind, reply.aspect(aspect)?)))
            .collect();
        let as_many = |said: &String| theirs.iter().filter(|(_, other)| other == said).count();
        let Some((_, majority)) = theirs.iter().find(|(_, said)| as_many(said) >= 2) else {
            let is_alone = theirs.len() >= 2 && as_many(&ours) == 0;
            return is_alone.then_some(match self.find_allowed(aspect) {
                Some(allowed) => Finding::Allowed(aspect, allowed.name),
                None => Finding::Undecided(aspect),
            });
        };
        if ours == *majority {
            let dissents = theirs.iter().find(|(_, said)| said != majority);
            return dissents.map(|(kind, _)| Finding::Dissents(aspect, *kind));
        }
        Some(match self.find_allowed(aspect) {
            Some(allowed) => Finding::Allowed(aspect, allowed.name),
            None => Finding::Differs(aspect),
        })
    }

    /// How many of the others have this RCODE.
    pub(crate) fn count(&self, rcode: Rcode) -> usize {
        let have = self
            .theirs
            .iter()
            .filter(|(_, reply)| reply.rcode() == Some(rcode));
        have.count()
    }

    fn can_be_compared(&self, reply: &Reply, aspect: Aspect) -> bool {
        match aspect {
            Aspect::Response => true,
            // A chain that is cut short has the RCODE of where it was cut, or of its end.
            Aspect::Rcode => reply.is_truncated() == self.ours.is_truncated(),
            // Who says another RCODE has nothing to say of what belongs to ours.
            _ => reply.rcode() == self.ours.rcode(),
        }
    }

    fn find_allowed(&self, aspect: Aspect) -> Option<&'static Allowed> {
        let of_aspect = |allowed: &&Allowed| allowed.aspects.contains(&aspect);
        ALLOWED
            .iter()
            .filter(of_aspect)
            .find(|allowed| (allowed.holds)(self))
    }
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        write!(f, "dnsd: {}", self.ours)?;
        self.theirs
            .iter()
            .try_for_each(|(kind, reply)| write!(f, "{kind:?}: {reply}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::KINDS;
    use fastrand::Rng;

    const AA: u16 = 0x8400;
    const TC: u16 = 0x0200;

    /// A response with these flags and RCODE, `count` answers and no question.
    fn response(flags: u16, count: u8, answers: &[u8]) -> Vec<u8> {
        let [high, low] = flags.to_be_bytes();
        [&[0, 1, high, low, 0, 0, 0, count, 0, 0, 0, 0], answers].concat()
    }

    /// `a. A`, this address.
    fn address(last: u8) -> Vec<u8> {
        [
            b"\x01a\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02",
            &[last][..],
        ]
        .concat()
    }

    /// What is found if we, BIND, Knot and NSD respond with these.
    fn check(responses: [Option<&[u8]>; 4], expected: &[Finding]) {
        let mut random = Rng::with_seed(0);
        let world = World::generate(&mut random);
        let mut request = Request::generate(&world, &mut random);
        request.wire = response(0, 0, b"");
        let [ours, theirs @ ..] = responses.map(Reply::new);
        let theirs: Vec<_> = KINDS.into_iter().zip(theirs).collect();
        let case = Case {
            world: &world,
            request: &request,
            ours: &ours,
            theirs: &theirs,
        };
        assert_eq!(case.judge(), expected, "{case}");
    }

    #[test]
    fn who_differs_is_found() {
        let right = response(AA, 1, &address(1));
        let wrong = response(AA, 1, &address(2));
        let other = response(AA, 1, &address(3));
        let (right, wrong, other) = (Some(&right[..]), Some(&wrong[..]), Some(&other[..]));
        check([right, right, right, right], &[]);
        let finding = Finding::Differs(Aspect::Answer);
        check([wrong, right, right, right], std::slice::from_ref(&finding));
        check([wrong, wrong, right, right], &[finding]);
        let finding = Finding::Dissents(Aspect::Answer, Kind::Knot);
        check([right, right, wrong, right], &[finding]);
        check([right, right, wrong, other], &[]);
        check(
            [right, wrong, wrong, other],
            &[Finding::Differs(Aspect::Answer)],
        );
        let fourth = response(AA, 1, &address(4));
        check(
            [Some(&fourth), right, wrong, other],
            &[Finding::Undecided(Aspect::Answer)],
        );
        check(
            [right, right, right, None],
            &[Finding::Dissents(Aspect::Response, Kind::Nsd)],
        );
        check(
            [None, right, right, right],
            &[Finding::Differs(Aspect::Response)],
        );
    }

    #[test]
    fn what_follows_from_a_difference_is_no_second_one() {
        let answer = response(AA, 1, &address(1));
        let nxdomain = response(AA | 3, 0, b"");
        let cut = response(AA | TC, 0, b"");
        let check = |ours: &[u8], aspect| {
            let theirs = Some(&answer[..]);
            check(
                [Some(ours), theirs, theirs, theirs],
                &[Finding::Differs(aspect)],
            );
        };
        check(&nxdomain, Aspect::Rcode);
        check(&cut, Aspect::Tc);
        check(&response(0x8000, 1, &address(1)), Aspect::Aa);
        check(
            &response(AA, 2, &[address(1), address(2)].concat()),
            Aspect::Answer,
        );
    }

    #[test]
    fn order_within_an_rrset_and_case_mean_nothing() {
        let ours = response(AA, 2, &[address(1), address(2)].concat());
        let theirs = [address(2), address(1)].concat().to_ascii_uppercase();
        let theirs = response(AA, 2, &theirs);
        let theirs = Some(&theirs[..]);
        check([Some(&ours), theirs, theirs, theirs], &[]);
    }
}
