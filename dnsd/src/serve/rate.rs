//! Response rate limiting: how many responses of one kind a network gets by UDP, so that requests
//! with forged addresses make no weapon of this peer.
//!
//! ```text
//! network, kind, name ─ SipHash ─→ slot ─┬ has room ─────────────→ send
//!                                        └ has none ─┬ every nth ─→ truncate: ask by TCP
//!                                                    └ else ──────→ drop
//! ```
//! A slot is a clock that each response sets ahead by its share of a second; up to a second ahead
//! there is room. The table never grows: what falls in one slot by chance shares its room. Who has
//! shown a good cookie, or asks by TCP, is not limited at all; that is looked at by the caller.

use crate::message::header::HEADER_SIZE;
use crate::prefix::{Prefix, any_contains};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use zones::name::NAME_SIZE_MAX;

/// How much is let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Responses a second to one network, of one kind and name.
    pub responses_per_second: NonZeroU32,
    /// Every nth response above that has its client ask by TCP; 0: none does.
    pub slip: u8,
    /// Who is not limited.
    pub exempt_clients: Vec<Prefix>,
}

/// As in BIND and NSD: half of them, so that a real client gets through in some tries.
pub const SLIP: u8 = 2;
/// Most responses a second that can be said.
pub const RATE_MAX: u32 = 1_000_000;

/// What a response is counted as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// What it says.
    pub kind: Kind,
    /// At which byte of the request the name begins that it is counted under: it ends as the QNAME
    /// does. Where anyone can make up names that exist, or do not, it is what they have in common.
    pub name_at: u16,
}

/// What a response says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Records.
    Answer,
    /// Who is to be asked.
    Referral,
    /// The name has no such records.
    NoData,
    /// There is no such name.
    NxDomain,
    /// It is refused.
    Error,
    /// It cannot be read.
    Malformed,
}

impl Kind {
    /// Whether it is counted under a name. Errors are not: whatever is asked, they say the same.
    fn has_name(self) -> bool {
        match self {
            Self::Answer | Self::Referral | Self::NoData | Self::NxDomain => true,
            Self::Error | Self::Malformed => false,
        }
    }
}

/// What becomes of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes out.
    Send,
    /// One without records goes out in its place, with TC set.
    Truncate,
    /// None goes out.
    Drop,
}

/// The table.
pub struct Limiter {
    limit: RateLimit,
    /// What nobody knows: who could choose the slot of another network could have it limited.
    key: [u8; 16],
    started: Instant,
    slots: Vec<Slot>,
    /// The network that was limited last.
    limited: Option<Prefix>,
}

/// One account, or several that share it by chance.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// Until when its share is used up, in nanoseconds since the start.
    used_until: u64,
    /// Responses that found no room.
    limited: u64,
}

/// Slots of a table, of 16 bytes: a mebibyte stays in the cache of a core.
const SLOTS: usize = 1 << 16;
/// So far ahead a slot may be set: what a client has not asked for in the last second it may ask
/// for at once.
const AHEAD_MAX: u64 = 1_000_000_000;
/// As in other servers, all addresses of an IPv4 network of this size are one client …
const NETWORK_IPV4: u8 = 24;
/// … and of an IPv6 network.
const NETWORK_IPV6: u8 = 56;
/// Between two notices.
const NOTICE_PERIOD: Duration = Duration::from_secs(60);

/// When the operator is told again that limiting goes on. All workers share one.
#[derive(Debug, Default)]
pub struct Notices {
    due: Option<Instant>,
}

impl Notices {
    /// True once a period.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        self.due = Some(now + NOTICE_PERIOD);
        true
    }
}

impl Subject {
    /// Counted under the QNAME itself.
    #[must_use]
    pub const fn of_qname(kind: Kind) -> Self {
        Self {
            kind,
            name_at: HEADER_SIZE as u16,
        }
    }
}

impl Limiter {
    /// An empty table; `key` is random.
    #[must_use]
    pub fn new(limit: RateLimit, key: [u8; 16], now: Instant) -> Self {
        Self {
            limit,
            key,
            started: now,
            slots: vec![Slot::default(); SLOTS],
            limited: None,
        }
    }

    /// Decides about the response to a request, which has been read unless it is malformed.
    pub fn judge(&mut self, ip: IpAddr, subject: Subject, request: &[u8], now: Instant) -> Verdict {
        if any_contains(&self.limit.exempt_clients, ip) {
            return Verdict::Send;
        }
        let network = network_of(ip);
        let place = self.place(network, subject, request);
        let slot = &mut self.slots[place];
        let now = now.saturating_duration_since(self.started).as_nanos() as u64;
        let share = AHEAD_MAX.div_ceil(u64::from(self.limit.responses_per_second.get()));
        let used_until = slot.used_until.max(now) + share;
        if used_until - now <= AHEAD_MAX {
            slot.used_until = used_until;
            return Verdict::Send;
        }
        slot.limited += 1;
        self.limited = Some(network);
        // What cannot be read has no question that a truncated response could repeat.
        let slips = self.limit.slip > 0
            && slot.limited.is_multiple_of(u64::from(self.limit.slip))
            && subject.kind != Kind::Malformed;
        if slips {
            Verdict::Truncate
        } else {
            Verdict::Drop
        }
    }

    /// The network that was limited last since this was asked, if one was.
    pub fn take_limited(&mut self) -> Option<Prefix> {
        self.limited.take()
    }

    /// The slot of an account.
    fn place(&self, network: Prefix, subject: Subject, request: &[u8]) -> usize {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        match network.address() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u8(subject.kind as u8);
        if subject.kind.has_name() {
            let name = &request[usize::from(subject.name_at)..];
            let size = zones::name::wire_size(name).expect("the question was read");
            // Clients mix the case at will.
            let mut lower = [0; NAME_SIZE_MAX];
            let lower = &mut lower[..size];
            lower.copy_from_slice(&name[..size]);
            lower.make_ascii_lowercase();
            hasher.write(lower);
        }
        hasher.finish() as usize % SLOTS
    }
}

/// The network of a client, which is one to us.
fn network_of(ip: IpAddr) -> Prefix {
    let (address, length): (IpAddr, u8) = match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX << (32 - NETWORK_IPV4);
            (
                Ipv4Addr::from_bits(ip.to_bits() & mask).into(),
                NETWORK_IPV4,
            )
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX << (128 - NETWORK_IPV6);
            (
                Ipv6Addr::from_bits(ip.to_bits() & mask).into(),
                NETWORK_IPV6,
            )
        }
    };
    Prefix::new(address, length).expect("the bits after it are zero")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any first moment will do")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(responses_per_second: u32, slip: u8) -> RateLimit {
        RateLimit {
            responses_per_second: NonZeroU32::new(responses_per_second).unwrap(),
            slip,
            exempt_clients: vec!["198.51.100.0/24".parse().unwrap()],
        }
    }

    /// A request whose QNAME is `wire`.
    fn request(wire: &[u8]) -> Vec<u8> {
        [&[0; HEADER_SIZE][..], wire, &[0, 1, 0, 1]].concat()
    }

    const WWW: &[u8] = b"\x03www\x07example\0";
    const MIXED: &[u8] = b"\x03wWw\x07EXAMPLE\0";
    const MAIL: &[u8] = b"\x04mail\x07example\0";
    const ANSWER: Subject = Subject::of_qname(Kind::Answer);
    const ERROR: Subject = Subject::of_qname(Kind::Error);

    #[test]
    fn a_second_ahead_is_let_through_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut limiter = Limiter::new(limit(5, 0), [7; 16], start);
        let mut check = |millis: u64, expected: usize| {
            let now = start + Duration::from_millis(millis);
            let ip = "192.0.2.1".parse().unwrap();
            let verdicts = (0..20).map(|_| limiter.judge(ip, ANSWER, &request(WWW), now));
            let sent = verdicts.filter(|verdict| *verdict == Verdict::Send).count();
            assert_eq!(sent, expected, "{millis}");
        };
        check(0, 5);
        check(199, 0);
        check(200, 1);
        check(1_000, 4);
        check(60_000, 5);
    }

    #[test]
    fn every_nth_above_the_rate_is_told_to_ask_by_tcp() {
        use Verdict::{Drop, Send, Truncate};
        let start = Instant::now();
        let check = |slip: u8, subject: Subject, expected: [Verdict; 6]| {
            let mut limiter = Limiter::new(limit(1, slip), [7; 16], start);
            let ip = "192.0.2.1".parse().unwrap();
            let verdicts = [0; 6].map(|_| limiter.judge(ip, subject, &request(WWW), start));
            assert_eq!(verdicts, expected, "{slip} {subject:?}");
            assert_eq!(
                limiter.take_limited(),
                Some("192.0.2.0/24".parse().unwrap())
            );
            assert_eq!(limiter.take_limited(), None);
        };
        check(0, ANSWER, [Send, Drop, Drop, Drop, Drop, Drop]);
        check(
            1,
            ANSWER,
            [Send, Truncate, Truncate, Truncate, Truncate, Truncate],
        );
        check(2, ANSWER, [Send, Drop, Truncate, Drop, Truncate, Drop]);
        check(3, ANSWER, [Send, Drop, Drop, Truncate, Drop, Drop]);
        check(2, ERROR, [Send, Drop, Truncate, Drop, Truncate, Drop]);
        let malformed = Subject::of_qname(Kind::Malformed);
        check(1, malformed, [Send, Drop, Drop, Drop, Drop, Drop]);
    }

    #[test]
    fn networks_kinds_and_names_have_accounts_of_their_own() {
        let start = Instant::now();
        let of = |kind, name_at| Subject {
            kind,
            name_at: HEADER_SIZE as u16 + name_at,
        };
        // After one response to 192.0.2.1 about www.example., another one at the same moment.
        let check = |ip: &str, subject, name: &[u8], expected| {
            let mut limiter = Limiter::new(limit(1, 0), [7; 16], start);
            let first = limiter.judge("192.0.2.1".parse().unwrap(), ANSWER, &request(WWW), start);
            assert_eq!(first, Verdict::Send);
            let verdict = limiter.judge(ip.parse().unwrap(), subject, &request(name), start);
            assert_eq!(verdict, expected, "{ip} {subject:?} {name:?}");
        };
        check("192.0.2.1", ANSWER, WWW, Verdict::Drop);
        check("192.0.2.255", ANSWER, MIXED, Verdict::Drop);
        check("::ffff:192.0.2.2", ANSWER, WWW, Verdict::Drop);
        check("192.0.3.1", ANSWER, WWW, Verdict::Send);
        check("192.0.2.1", ANSWER, MAIL, Verdict::Send);
        check("192.0.2.1", of(Kind::NoData, 0), WWW, Verdict::Send);
        check("192.0.2.1", of(Kind::Answer, 4), WWW, Verdict::Send);
        check("192.0.2.1", ERROR, WWW, Verdict::Send);
        // Whatever name is made up, the zone is the same; errors have no name at all.
        let check = |ips: [&str; 2], subjects: [Subject; 2], expected| {
            let mut limiter = Limiter::new(limit(1, 0), [7; 16], start);
            let names = [request(WWW), request(MAIL)];
            let verdicts = [0, 1].map(|i| {
                let ip = ips[i].parse().unwrap();
                limiter.judge(ip, subjects[i], &names[i], start)
            });
            assert_eq!(verdicts, [Verdict::Send, expected], "{ips:?} {subjects:?}");
        };
        let (v4, v6) = (["192.0.2.1"; 2], ["2001:db8:0:100::1", "2001:db8:0:1ff::2"]);
        let made_up = [of(Kind::NxDomain, 4), of(Kind::NxDomain, 5)];
        check(v4, made_up, Verdict::Drop);
        check(v6, made_up, Verdict::Drop);
        check(["2001:db8:0:200::1", v6[0]], made_up, Verdict::Send);
        check(v4, [ERROR; 2], Verdict::Drop);
        check(["198.51.100.1"; 2], [ERROR; 2], Verdict::Send);
    }

    #[test]
    fn the_operator_is_told_once_a_minute() {
        let start = Instant::now();
        let mut notices = Notices::default();
        let mut check = |seconds, expected| {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(notices.is_due(now), expected, "{seconds}");
        };
        check(0, true);
        check(59, false);
        check(60, true);
        check(61, false);
    }

    /// One response: after how many milliseconds, to which network, of which kind, under which name.
    fn any_response() -> impl Strategy<Value = (u64, u8, Kind, &'static [u8])> {
        let kinds = [
            Kind::Answer,
            Kind::Referral,
            Kind::NoData,
            Kind::NxDomain,
            Kind::Error,
            Kind::Malformed,
        ];
        let names = [WWW, MIXED, MAIL];
        (
            prop_oneof![4 => 0..3u64, 1 => 0..700u64],
            0..3u8,
            prop::sample::select(kinds.to_vec()),
            prop::sample::select(names.to_vec()),
        )
    }

    proptest! {
        #[test]
        fn no_account_gets_more_than_its_rate_and_no_other_pays_for_it(
            rate in 1..40u32,
            key in any::<[u8; 16]>(),
            responses in prop::collection::vec(any_response(), 1..400),
        ) {
            let start = Instant::now();
            let mut limiter = Limiter::new(limit(rate, 2), key, start);
            let calm = "203.0.113.9".parse().unwrap();
            let calm_place = limiter.place(network_of(calm), ANSWER, &request(WWW));
            let mut calm_due = start;
            let mut now = start;
            let mut sent: std::collections::BTreeMap<usize, Vec<Duration>> = Default::default();
            let mut is_shared = false;
            for (millis, network, kind, name) in responses {
                now += Duration::from_millis(millis);
                let ip = IpAddr::from([192, 0, network, 1]);
                let subject = Subject::of_qname(kind);
                let place = limiter.place(network_of(ip), subject, &request(name));
                is_shared |= place == calm_place;
                if limiter.judge(ip, subject, &request(name), now) == Verdict::Send {
                    sent.entry(place).or_default().push(now - start);
                }
                // Who keeps to the rate is never limited, whatever the others do.
                if now >= calm_due {
                    let verdict = limiter.judge(calm, ANSWER, &request(WWW), now);
                    prop_assert!(is_shared || verdict == Verdict::Send);
                    calm_due = now + Duration::from_secs(1).div_f64(f64::from(rate));
                }
            }
            for times in sent.values() {
                for (i, from) in times.iter().enumerate() {
                    for (j, until) in times.iter().enumerate().skip(i) {
                        let seconds = (*until - *from).as_secs_f64() + 1.0;
                        let most = f64::from(rate) * seconds + 1e-6;
                        prop_assert!((j - i + 1) as f64 <= most, "{rate} {from:?} {until:?}");
                    }
                }
            }
        }
    }
}
