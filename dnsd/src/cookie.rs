//! DNS cookies (RFC 7873): a client that returns what it was given before is at the address that
//! it states. Servers that share a secret take each other's (RFC 9018).
//!
//! ```text
//! client cookie 8 | version 1 | reserved 3 | timestamp 4 | hash 8
//!                 └───────────── server cookie ────────────────┘
//! hash = SipHash-2-4(secret, client cookie to timestamp, the client's address)
//! ```
//! Nothing is kept per client. What is done without a good cookie is not decided here.

use crate::message::Malformed;
use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

/// Size of what the client chooses (RFC 7873 section 4.1).
pub const CLIENT_COOKIE_SIZE: usize = 8;
/// Size of what the server adds (RFC 9018 section 4).
pub const SERVER_COOKIE_SIZE: usize = 16;
/// Size of both together: the data of the option in a response.
pub const COOKIE_SIZE: usize = CLIENT_COOKIE_SIZE + SERVER_COOKIE_SIZE;
/// A server cookie of any server has so many bytes (RFC 7873 section 4.2).
const SERVER_COOKIE_SIZES: std::ops::RangeInclusive<usize> = 8..=32;
/// The version of server cookies that RFC 9018 section 4.1 defines.
const VERSION: u8 = 1;
/// RFC 9018 section 4.3: a cookie is good for an hour.
const AGE_MAX: i32 = 3_600;
/// RFC 9018 section 4.3: one that is older than half an hour is replaced.
const FRESH_AGE_MAX: i32 = 1_800;
/// RFC 9018 section 4.3: clocks of servers that share a secret may differ by so many seconds.
const AHEAD_MAX: i32 = 300;
/// After this no cookie is good any more that any peer has made until now.
pub const LIFETIME: Duration = Duration::from_secs((AGE_MAX + AHEAD_MAX) as u64);

/// The option COOKIE of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cookie<'m> {
    /// Chosen by the client.
    pub client: [u8; CLIENT_COOKIE_SIZE],
    /// Given to it before, by us or by another server at our address; empty: none yet.
    pub server: &'m [u8],
}

/// What makes server cookies hard to guess.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

/// The secrets of a cluster. All peers accept the same ones, so that a cookie outlives the move of
/// an address.
///
/// ```text
/// stage ─ all peers accept the next one ─→ switch ─ all make cookies by it ─→ retire the old one
/// ```
/// A peer that has not heard of a step yet takes the cookies of one that has (RFC 9018 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Secrets {
    current: Secret,
    other: Other,
}

/// How far a rollover of the secrets has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// There is one secret.
    Steady,
    /// Cookies of the next one are accepted.
    Staged,
    /// Cookies are made by the new one, those of the previous one are accepted.
    Switched,
}

/// The second secret whose cookies are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Other {
    None,
    Next(Secret),
    Previous(Secret),
}

/// What the cookie of a request says of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It gets what is sent to its address.
    Proven,
    /// It has no server cookie yet.
    New,
    /// It may be anybody: its server cookie is forged, too old, or not ours.
    Unproven,
}

/// A server cookie of ours.
struct Recognized {
    /// How old it is, in seconds.
    age: i32,
    /// Whether the secret by which it was made is about to go.
    is_outgoing: bool,
}

impl<'m> Cookie<'m> {
    /// Reads the data of the option.
    pub fn read(data: &'m [u8]) -> Result<Self, Malformed> {
        let (client, server) = data.split_first_chunk().ok_or(Malformed)?;
        // RFC 7873 section 5.2.2: other lengths are answered FORMERR.
        if !server.is_empty() && !SERVER_COOKIE_SIZES.contains(&server.len()) {
            return Err(Malformed);
        }
        Ok(Self {
            client: *client,
            server,
        })
    }
}

impl Secrets {
    /// One secret.
    #[must_use]
    pub fn new(current: Secret) -> Self {
        Self {
            current,
            other: Other::None,
        }
    }

    /// What the cookie of a request says of its sender, and the cookie of the response. `wall` is
    /// the time in seconds since 1970, modulo 2³².
    #[must_use]
    pub fn answer(
        &self,
        cookie: &Cookie<'_>,
        ip: IpAddr,
        wall: u32,
    ) -> (Standing, [u8; COOKIE_SIZE]) {
        let recognized = self.recognize(cookie, ip, wall);
        let standing = match &recognized {
            Some(_) => Standing::Proven,
            None if cookie.server.is_empty() => Standing::New,
            None => Standing::Unproven,
        };
        let keeps =
            recognized.is_some_and(|cookie| cookie.age <= FRESH_AGE_MAX && !cookie.is_outgoing);
        let mut answer = [0; COOKIE_SIZE];
        if keeps {
            answer[..CLIENT_COOKIE_SIZE].copy_from_slice(&cookie.client);
            answer[CLIENT_COOKIE_SIZE..].copy_from_slice(cookie.server);
        } else {
            answer = self.make(cookie.client, ip, wall);
        }
        (standing, answer)
    }

    /// A fresh cookie: the client's, and one of ours.
    #[must_use]
    pub fn make(
        &self,
        client: [u8; CLIENT_COOKIE_SIZE],
        ip: IpAddr,
        wall: u32,
    ) -> [u8; COOKIE_SIZE] {
        let mut cookie = [0; COOKIE_SIZE];
        cookie[..CLIENT_COOKIE_SIZE].copy_from_slice(&client);
        cookie[CLIENT_COOKIE_SIZE] = VERSION;
        cookie[TIMESTAMP_AT..HASH_AT].copy_from_slice(&wall.to_be_bytes());
        let hash = self.current.hash(&cookie[..HASH_AT], ip);
        cookie[HASH_AT..].copy_from_slice(&hash.to_le_bytes());
        cookie
    }

    /// Looks whether the server cookie is one that the client at this address was given.
    fn recognize(&self, cookie: &Cookie<'_>, ip: IpAddr, wall: u32) -> Option<Recognized> {
        let server = <[u8; SERVER_COOKIE_SIZE]>::try_from(cookie.server).ok()?;
        let [version, _, _, _, t0, t1, t2, t3, hash @ ..] = server;
        // RFC 9018 section 4.3: times are compared as serials (RFC 1982).
        let age = wall.wrapping_sub(u32::from_be_bytes([t0, t1, t2, t3])) as i32;
        if version != VERSION || !(-AHEAD_MAX..=AGE_MAX).contains(&age) {
            return None;
        }
        let mut hashed = [0; HASH_AT];
        hashed[..CLIENT_COOKIE_SIZE].copy_from_slice(&cookie.client);
        // RFC 9018 section 4.2: the reserved bytes are hashed as they came.
        hashed[CLIENT_COOKIE_SIZE..].copy_from_slice(&server[..HASH_AT - CLIENT_COOKIE_SIZE]);
        let hash = u64::from_le_bytes(hash);
        // Two integers are compared at once: the time says nothing of how many bytes are equal.
        let is_by = |secret: Secret| secret.hash(&hashed, ip) == hash;
        let is_outgoing = match self.other {
            _ if is_by(self.current) => false,
            Other::Next(next) if is_by(next) => false,
            Other::Previous(previous) if is_by(previous) => true,
            Other::None | Other::Next(_) | Other::Previous(_) => return None,
        };
        Some(Recognized { age, is_outgoing })
    }

    /// How far a rollover has come.
    #[must_use]
    pub fn step(&self) -> Step {
        match self.other {
            Other::None => Step::Steady,
            Other::Next(_) => Step::Staged,
            Other::Previous(_) => Step::Switched,
        }
    }

    /// The bytes: current secret, a byte that says what the other one is, the other one.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.current.0);
        match self.other {
            Other::None => out.put_u8(0),
            Other::Next(next) => {
                out.put_u8(1);
                out.put_slice(&next.0);
            }
            Other::Previous(previous) => {
                out.put_u8(2);
                out.put_slice(&previous.0);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let current = Secret::decode(rest)?;
        let other = match rest.try_get_u8().ok()? {
            0 => Other::None,
            1 => Other::Next(Secret::decode(rest)?),
            2 => Other::Previous(Secret::decode(rest)?),
            _ => return None,
        };
        Some(Self { current, other })
    }

    /// Accepts the cookies of the next secret too; one that was staged before is forgotten.
    #[must_use]
    pub fn stage(self, next: Secret) -> Self {
        Self {
            other: Other::Next(next),
            ..self
        }
    }

    /// Makes cookies by the next secret; those of the current one are still accepted.
    #[must_use]
    pub fn switch(self) -> Self {
        match self.other {
            Other::Next(next) => Self {
                current: next,
                other: Other::Previous(self.current),
            },
            Other::None | Other::Previous(_) => self,
        }
    }

    /// Accepts cookies of the previous secret no more.
    #[must_use]
    pub fn retire(self) -> Self {
        match self.other {
            Other::Previous(_) => Self::new(self.current),
            Other::None | Other::Next(_) => self,
        }
    }
}

impl Secret {
    fn hash(&self, hashed: &[u8], ip: IpAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(hashed);
        match ip.to_canonical() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.finish()
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let mut secret = [0; 16];
        rest.try_copy_to_slice(&mut secret).ok()?;
        Some(Self(secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where the timestamp stands in a cookie of ours.
const TIMESTAMP_AT: usize = CLIENT_COOKIE_SIZE + 4;
/// Where the hash stands: what is before it is hashed.
const HASH_AT: usize = TIMESTAMP_AT + 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    fn secrets(hex: &str) -> Secrets {
        Secrets::new(Secret(bytes(hex)))
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const OLD: &str = "dd3bdf9344b678b185a6f5cb60fca715";
    const NEW: &str = "445536bcd2513298075a5d379663c962";

    #[test]
    fn cookies_are_those_of_rfc_9018_appendix_a() {
        let check = |secret: &str, ip: &str, wall: u32, expected: &str| {
            let made = secrets(secret).make(bytes(&expected[..16]), ip.parse().unwrap(), wall);
            assert_eq!(made, bytes(expected));
            let cookie = Cookie::read(&made).unwrap();
            let answer = secrets(secret).answer(&cookie, ip.parse().unwrap(), wall);
            assert_eq!(answer, (Standing::Proven, made));
        };
        let learning = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        check(SECRET, "198.51.100.100", 0x5cf7_9f11, learning);
        let renewed = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        check(SECRET, "198.51.100.100", 0x5cf7_a871, renewed);
        let other = "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e";
        check(SECRET, "203.0.113.203", 0x5cf7_a9ac, other);
        let ipv6 = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let before = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        check(OLD, ipv6, 0x5cf7_c579, before);
        let after = "22681ab97d52c298010000005cf7c609a6bb79d16625507a";
        check(NEW, ipv6, 0x5cf7_c609, after);
    }

    #[test]
    fn only_cookies_of_this_client_and_hour_are_good() {
        let check = |cookie: &str, ip: &str, wall: u32, expected| {
            let cookie: [u8; COOKIE_SIZE] = bytes(cookie);
            let cookie = Cookie::read(&cookie).unwrap();
            let (standing, _) = secrets(SECRET).answer(&cookie, ip.parse().unwrap(), wall);
            assert_eq!(standing, expected, "{cookie:?} {ip} {wall}");
        };
        let good = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let (ip, made) = ("198.51.100.100", 0x5cf7_9f11);
        check(good, ip, made + 3_600, Standing::Proven);
        check(good, ip, made + 3_601, Standing::Unproven);
        check(good, ip, made - 300, Standing::Proven);
        check(good, ip, made - 301, Standing::Unproven);
        check(good, "::ffff:198.51.100.100", made, Standing::Proven);
        check(good, "198.51.100.101", made, Standing::Unproven);
        // Appendix A.3: another server has set the reserved bytes.
        let reserved = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        check(reserved, "203.0.113.203", 0x5cf7_8f71, Standing::Proven);
        // Another client cookie, version, time, hash.
        for at in [0, 8, 15, 23] {
            let mut cookie: [u8; COOKIE_SIZE] = bytes(good);
            cookie[at] ^= 2;
            let cookie = Cookie::read(&cookie).unwrap();
            let (standing, _) = secrets(SECRET).answer(&cookie, ip.parse().unwrap(), made);
            assert_eq!(standing, Standing::Unproven, "{at}");
        }
    }

    #[test]
    fn a_rollover_loses_no_cookie() {
        let (old, new) = (Secret(bytes(OLD)), Secret(bytes(NEW)));
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let start = Secrets::new(old);
        let steps = [
            start,
            start.stage(new),
            start.stage(new).switch(),
            start.stage(new).switch().retire(),
        ];
        // Two peers are a step apart at most.
        for pair in steps.windows(2) {
            for (maker, taker) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                let made = maker.make([7; 8], ip, 1);
                let (standing, _) = taker.answer(&Cookie::read(&made).unwrap(), ip, 2);
                assert_eq!(standing, Standing::Proven, "{maker:?} {taker:?}");
            }
        }
        assert_eq!(steps[3], Secrets::new(new));
        let stale = start.make([7; 8], ip, 1);
        let (standing, _) = steps[3].answer(&Cookie::read(&stale).unwrap(), ip, 2);
        assert_eq!(standing, Standing::Unproven);
        // Steps out of turn change nothing.
        assert_eq!(start.switch().retire(), start);
        assert_eq!(start.stage(new).retire(), start.stage(new));
        assert_eq!(
            format!("{start:?}"),
            "Secrets { current: Secret, other: None }"
        );
    }

    #[test]
    fn options_of_other_lengths_are_malformed() {
        let check = |size: usize, expected: Option<usize>| {
            let data = vec![1; size];
            let read = Cookie::read(&data).ok().map(|cookie| cookie.server.len());
            assert_eq!(read, expected, "{size}");
        };
        check(0, None);
        check(7, None);
        check(8, Some(0));
        check(9, None);
        check(15, None);
        check(16, Some(8));
        check(24, Some(16));
        check(40, Some(32));
        check(41, None);
        // A server cookie of another server's form proves nothing.
        let data = [1; 16];
        let cookie = Cookie::read(&data).unwrap();
        let ip = "192.0.2.1".parse().unwrap();
        assert_eq!(secrets(OLD).answer(&cookie, ip, 1).0, Standing::Unproven);
    }

    #[test]
    fn a_cookie_is_kept_for_half_an_hour_and_while_its_secret_stays() {
        let (old, new) = (Secret(bytes(OLD)), Secret(bytes(NEW)));
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let made_at = 10_000;
        let check = |maker: Secrets, taker: Secrets, wall: u32, keeps: bool| {
            let made = maker.make([7; 8], ip, made_at);
            let cookie = Cookie::read(&made).unwrap();
            let (standing, answer) = taker.answer(&cookie, ip, wall);
            let expected = if keeps {
                made
            } else {
                taker.make([7; 8], ip, wall)
            };
            assert_eq!((standing, answer), (Standing::Proven, expected), "{wall}");
        };
        let start = Secrets::new(old);
        let switched = start.stage(new).switch();
        check(start, start, made_at + 1_800, true);
        check(start, start, made_at + 1_801, false);
        check(start, start, made_at - 300, true);
        // A peer that is a step behind keeps what one that is ahead has made.
        check(switched, start.stage(new), made_at + 1, true);
        check(start, switched, made_at + 1, false);
        // Who has none yet, or a bad one, gets a fresh one.
        for server in [&[][..], &[1; 16]] {
            let cookie = Cookie {
                client: [7; 8],
                server,
            };
            let expected = if server.is_empty() {
                Standing::New
            } else {
                Standing::Unproven
            };
            let answer = start.answer(&cookie, ip, made_at);
            assert_eq!(answer, (expected, start.make([7; 8], ip, made_at)));
        }
    }

    #[test]
    fn secrets_read_back_and_nothing_shorter_does() {
        let start = Secrets::new(Secret([1; 16]));
        let staged = start.stage(Secret([2; 16]));
        for secrets in [start, staged, staged.switch()] {
            let mut bytes = Vec::new();
            secrets.encode(&mut bytes);
            let mut rest = &bytes[..];
            assert_eq!(Secrets::decode(&mut rest), Some(secrets));
            assert!(rest.is_empty());
            for cut in 0..bytes.len() {
                assert_eq!(Secrets::decode(&mut &bytes[..cut]), None);
            }
        }
    }
}
