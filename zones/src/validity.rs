//! From when to when signatures are good. What time it is, the caller says.
//!
//! RFC 4034 section 3.1.5: the times are seconds since 1970 modulo 2³², compared as serials are: so
//! each is less than 68 years away.

use crate::record::RecordRef;
use crate::records::Placed;
use crate::rtype::Rtype;
use crate::version::Version;
use crate::zonefile::{Parsed, print_rdata, warn};
use std::collections::BTreeMap;
use std::time::Duration;

/// A signature that has no more than this left expires soon, …
const SOON: i64 = 7 * 86_400;
/// … if that is less than this part of its life, as signers renew what is left of a shorter one.
const SOON_PART: i64 = 4;

/// What is odd about the times of signatures; no error, as who serves the zone may know better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Oddity {
    Expired,
    ExpiresSoon,
    NotYetValid,
}

/// From when to when one signature is good, in seconds from now.
#[derive(Clone, Copy)]
struct Validity {
    inception: i64,
    expiration: i64,
}

impl Parsed {
    /// Warns of signatures that are not good at this time since 1970, or soon will not be: one line
    /// of each kind, at the signature that is worst.
    pub fn check_validity(&mut self, wall: Duration) {
        let mut found: BTreeMap<Oddity, (u64, i64, Placed<'_>)> = BTreeMap::new();
        for placed in self.records.placed() {
            let validity = Validity::of(placed.record, wall);
            let Some((oddity, badness)) = validity.and_then(Validity::oddity) else {
                continue;
            };
            let (count, least, worst) = found.entry(oddity).or_insert((0, badness, placed));
            *count += 1;
            // Of equally bad ones that which stands first.
            if (badness, placed.place) < (*least, worst.place) {
                (*least, *worst) = (badness, placed);
            }
        }
        for (oddity, (count, _, worst)) in found {
            let text = text_of(worst, oddity, count - 1);
            warn(&mut self.warnings, worst.place.fault(&self.files, text));
        }
    }
}

/// When the first signature of a zone expires, or has expired: a time since 1970. It looks at all
/// records: to be done aside.
#[must_use]
pub fn earliest_expiration(version: &Version, wall: Duration) -> Option<Duration> {
    let nodes = version.walk();
    let rrsets = nodes.flat_map(|node| node.rrsets());
    let signatures = rrsets.filter(|rrset| rrset.rtype() == Rtype::RRSIG);
    let earliest = signatures
        .flat_map(|rrset| rrset.rdata())
        .filter_map(|rdata| Validity::read(rdata, wall))
        .map(|validity| validity.expiration)
        .min()?;
    let at = wall.as_secs().checked_add_signed(earliest)?;
    Some(Duration::from_secs(at))
}

impl Validity {
    fn of(record: RecordRef<'_>, wall: Duration) -> Option<Self> {
        let is_signature = record.rtype == Rtype::RRSIG;
        let rdata = is_signature.then_some(record.rdata)?;
        Self::read(rdata, wall)
    }

    /// That in the RDATA of an RRSIG (RFC 4034 section 3.1).
    fn read(rdata: &[u8], wall: Duration) -> Option<Self> {
        const EXPIRATION_AT: usize = 8;
        let [a, b, c, d, e, f, g, h] = *rdata.get(EXPIRATION_AT..)?.first_chunk()?;
        let now = wall.as_secs() as u32;
        let from_now = |time: [u8; 4]| {
            let distance = u32::from_be_bytes(time).wrapping_sub(now);
            i64::from(distance.cast_signed())
        };
        Some(Self {
            expiration: from_now([a, b, c, d]),
            inception: from_now([e, f, g, h]),
        })
    }

    /// What is odd, if something is, and how it compares with others: the least is the worst.
    fn oddity(self) -> Option<(Oddity, i64)> {
        let life = self.expiration - self.inception;
        if self.expiration < 0 {
            Some((Oddity::Expired, self.expiration))
        } else if self.inception > 0 {
            Some((Oddity::NotYetValid, -self.inception))
        } else if self.expiration < SOON.min(life / SOON_PART) {
            Some((Oddity::ExpiresSoon, self.expiration))
        } else {
            None
        }
    }
}

/// What is told of a signature, with its times as the file has them, and of so many others.
fn text_of(placed: Placed<'_>, oddity: Oddity, others: u64) -> String {
    let mut rdata = String::new();
    let record = &placed.record;
    print_rdata(record.rtype, record.rdata, &mut rdata);
    let fields: Vec<&str> = rdata.split(' ').collect();
    let (covered, expiration, inception) = (fields[0], fields[4], fields[5]);
    let owner = &record.owner;
    let (says, others_say) = match oddity {
        Oddity::Expired => ("has expired", "have"),
        Oddity::ExpiresSoon => ("expires soon", "do"),
        Oddity::NotYetValid => ("is not valid yet", "are"),
    };
    let more = match others {
        0 => String::new(),
        1 => format!("; so {others_say} 1 other signature"),
        _ => format!("; so {others_say} {others} other signatures"),
    };
    format!("{owner} RRSIG of {covered} {says}: it is good from {inception} to {expiration}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::zonefile::{Source, parse};

    /// 2026-11-30 00:00:00.
    const NOW: Duration = Duration::from_secs(1_795_996_800);

    /// Shortly before 2³² seconds are over.
    const END: Duration = Duration::from_secs((1 << 32) - 296);

    fn origin() -> Name {
        "test.".parse().unwrap()
    }

    fn parsed(times: &[(&str, &str)]) -> Parsed {
        let line = |(n, (inception, expiration)): (usize, &(&str, &str))| {
            format!("n{n} 60 RRSIG A 8 2 60 {expiration} {inception} 1 test. AA==\n")
        };
        let text: String = times.iter().enumerate().map(line).collect();
        let source = Source {
            name: "z".to_owned(),
            text: text.into_bytes(),
        };
        let mut include = |_: &str, _: &str| Err("there are no other files".to_owned());
        parse(&source, &origin(), &mut include, &mut |_| {}).unwrap()
    }

    #[test]
    fn signatures_that_are_not_good_are_told_once_of_each_kind() {
        let check_at = |wall: Duration, times: &[(&str, &str)], expected: &str| {
            let mut parsed = parsed(times);
            parsed.check_validity(wall);
            let told: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
            assert_eq!(told.join("\n"), expected);
        };
        let good = ("20261120000000", "20261220000000");
        let check = |times: &[(&str, &str)], expected: &str| check_at(NOW, times, expected);
        check(&[], "");
        check(&[good], "");
        // At its very ends it is good.
        check(&[("20261130000000", "20261220000000")], "");
        check(
            &[good, ("20261101000000", "20261129235959")],
            "z:2:1: n1.test. RRSIG of A has expired: it is good from 20261101000000 to \
             20261129235959",
        );
        check(
            &[
                ("20261101000000", "20261129000000"),
                ("20261001000000", "20261101000000"),
                ("20261001000000", "20261101000000"),
                ("20261130000001", "20261220000000"),
                ("20261109000000", "20261206000000"),
            ],
            "z:2:1: n1.test. RRSIG of A has expired: it is good from 20261001000000 to \
             20261101000000; so have 2 other signatures\n\
             z:5:1: n4.test. RRSIG of A expires soon: it is good from 20261109000000 to \
             20261206000000\n\
             z:4:1: n3.test. RRSIG of A is not valid yet: it is good from 20261130000001 to \
             20261220000000",
        );
        // A life of three days of which one is over.
        check(&[("20261129000000", "20261202000000")], "");
        // RFC 4034 section 3.1.5: the numbers wrap.
        check_at(END, &[("4294900000", "900000")], "");
        check_at(
            END + Duration::from_secs(1_000),
            &[("4294900000", "900000")],
            "",
        );
        check(
            &[("20261101000000", "5")],
            "z:1:1: n0.test. RRSIG of A has expired: it is good from 20261101000000 to \
             19700101000005",
        );
    }

    #[test]
    fn the_first_to_expire_is_found() {
        let times = [
            ("20261101000000", "20270101000000"),
            ("20261101000000", "20261224000000"),
        ];
        let earliest = |wall: Duration, times: &[(&str, &str)]| {
            let parsed = parsed(times);
            let records: Vec<_> = parsed.records.iter().map(RecordRef::to_record).collect();
            let version = Version::from_records(&origin(), &records).unwrap();
            earliest_expiration(&version, wall).map(|at| at.as_secs())
        };
        assert_eq!(earliest(NOW, &times), Some(NOW.as_secs() + 24 * 86_400));
        assert_eq!(earliest(END, &[("4294900000", "5")]), Some((1 << 32) + 5));
        assert_eq!(earliest(NOW, &[]), None);
    }
}
