//! Asks this peer's own listeners a question every 100 ms, as a client would, over UDP and TCP.
//!
//! A process that lives and a port that is open say nothing of whether clients are answered. Each
//! question is for another zone that is served, in turn.

use super::clock;
use crate::cookie::{CLIENT_COOKIE_SIZE, COOKIE_SIZE, Secrets};
use crate::serve::Served;
use crate::vip::self_check::{Answer, SelfCheck};
use arc_swap::ArcSwap;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{info, warn};
use zones::{Name, ZoneTable};

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(100);
/// An answer that takes longer is as bad as none.
const LATE: Duration = Duration::from_millis(100);
/// The root: asked for if there is no zone; whatever the answer says then, it is one.
const ROOT: [u8; 1] = [0];
const TYPE_SOA: [u8; 2] = [0, 6];
const CLASS_IN: [u8; 2] = [0, 1];
const HEADER_SIZE: usize = 12;
/// Owner, type, size of 512, no flags, length of the option, its code, and its length.
const OPT_WITH_COOKIE: [u8; 15] = [0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 28, 0, 10, 0, 24];
/// It is never checked by whom the answer is.
const CLIENT_COOKIE: [u8; CLIENT_COOKIE_SIZE] = *b"selfchec";
const FLAG_RESPONSE: u8 = 0x80;
const FLAG_AUTHORITATIVE: u8 = 0x04;
const FLAG_TRUNCATED: u8 = 0x02;

/// The thread; dropped, it ends with its next question.
pub struct SelfChecks {
    is_over: Arc<AtomicBool>,
}

impl Drop for SelfChecks {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl SelfChecks {
    /// Starts asking what listens at these addresses; `tell` hears whether the peer is sick, when
    /// that changes.
    #[must_use]
    pub fn start(
        listen: &[SocketAddr],
        served: Arc<ArcSwap<Served>>,
        tell: impl Fn(bool) + Send + 'static,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let targets: Vec<SocketAddr> = listen.iter().map(|address| reachable(*address)).collect();
        clock::spawn("self-check", move || {
            let mut check = SelfCheck::default();
            let mut was_sick = false;
            let mut id = 0_u16;
            let mut zone = None;
            while !ends.load(Ordering::Relaxed) {
                let begin = clock::now();
                id = id.wrapping_add(1);
                let served = served.load_full();
                zone = next_zone(&served.zones, zone.as_ref());
                let failed = targets.iter().find_map(|target| {
                    let asked = ask(*target, id, zone.as_ref(), served.cookies);
                    asked.err().map(|why| (target, why))
                });
                let answer = match failed {
                    Some(_) => Answer::Bad,
                    None => Answer::Good,
                };
                let is_sick = check.judge(answer, clock::now());
                if is_sick != was_sick {
                    was_sick = is_sick;
                    match failed {
                        Some((target, why)) => {
                            warn!(%target, %why, "the own listener does not answer as it should");
                        }
                        None => info!("the own listeners answer again"),
                    }
                    tell(is_sick);
                }
                clock::sleep_until(begin + PERIOD);
            }
        });
        Self { is_over }
    }
}

/// Where this machine reaches what listens there.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

/// The zone whose turn comes after that of this one; none if no zone is served.
fn next_zone(zones: &ZoneTable, last: Option<&Name>) -> Option<Name> {
    // A zone that has no published version yet is not served.
    let mut after = last
        .into_iter()
        .flat_map(|last| zones.iter_after(last))
        .chain(zones.iter());
    let zone = after.find(|zone| zone.shown.is_some())?;
    Some(zone.origin().clone())
}

/// One question over UDP and TCP; an error says what is wrong.
fn ask(
    target: SocketAddr,
    id: u16,
    zone: Option<&Name>,
    secrets: Option<Secrets>,
) -> io::Result<()> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let udp = UdpSocket::bind((any, 0))?;
    udp.set_read_timeout(Some(LATE))?;
    udp.connect(target)?;
    // A client that has proven where it is, is answered however many ask.
    let ip = udp.local_addr()?.ip();
    let cookie =
        secrets.map(|secrets| secrets.make(CLIENT_COOKIE, ip, clock::wall().as_secs() as u32));
    let question = question(id, zone, cookie);
    udp.send(&question)?;
    let mut answer = [0; 512];
    let size = udp.recv(&mut answer)?;
    judge(&answer[..size], &question, zone)?;

    let mut tcp = TcpStream::connect_timeout(&target, LATE)?;
    // Closed by a reset, it leaves no TIME_WAIT behind: there are ten a second.
    SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
    tcp.set_read_timeout(Some(LATE))?;
    tcp.set_write_timeout(Some(LATE))?;
    // RFC 1035 section 4.2.2: two bytes of length go first, in one segment with the message.
    let mut framed = (question.len() as u16).to_be_bytes().to_vec();
    framed.extend(&question);
    tcp.write_all(&framed)?;
    let mut size = [0; 2];
    tcp.read_exact(&mut size)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(size))];
    tcp.read_exact(&mut answer)?;
    judge(&answer, &question, zone)
}

fn question(id: u16, zone: Option<&Name>, cookie: Option<[u8; COOKIE_SIZE]>) -> Vec<u8> {
    let mut question = Vec::with_capacity(128);
    question.extend(id.to_be_bytes());
    // No flags, one question, perhaps an OPT record.
    question.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(cookie.is_some())]);
    question.extend(zone.map_or(&ROOT[..], Name::as_wire));
    question.extend(TYPE_SOA);
    question.extend(CLASS_IN);
    if let Some(cookie) = cookie {
        question.extend(OPT_WITH_COOKIE);
        question.extend(cookie);
    }
    question
}

fn judge(answer: &[u8], question: &[u8], zone: Option<&Name>) -> io::Result<()> {
    let wrong = |what: &str| Err(io::Error::other(what.to_owned()));
    if answer.len() < HEADER_SIZE || answer[..2] != question[..2] {
        return wrong("an answer to another question");
    }
    if answer[2] & FLAG_RESPONSE == 0 {
        return wrong("no response");
    }
    if zone.is_none() {
        return Ok(());
    }
    let rcode = answer[3] & 0x0f;
    let records = u16::from_be_bytes([answer[6], answer[7]]);
    // With long names even an SOA is too much for a datagram without EDNS.
    let is_there = records > 0 || answer[2] & FLAG_TRUNCATED != 0;
    // A zone that is served has an SOA; one that was removed just now is asked for no more.
    if rcode != 0 || answer[2] & FLAG_AUTHORITATIVE == 0 || !is_there {
        return wrong("a zone that should be served is not");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zones::{Serial, Shown, Version, ZoneState};

    fn zone(origin: &str, is_served: bool) -> ZoneState {
        let origin: Name = origin.parse().unwrap();
        let now = Version::from_records(&origin, &[]).unwrap();
        let shown = is_served.then(|| Shown {
            version: now.clone(),
            serial: Serial(1),
        });
        ZoneState { now, shown }
    }

    #[test]
    fn the_zones_that_are_served_take_turns() {
        let zones = [("a.", true), ("b.", false), ("c.", true)];
        let table = zones
            .into_iter()
            .fold(ZoneTable::default(), |table, (origin, is_served)| {
                table.with(zone(origin, is_served))
            });
        let mut zone = None;
        let turns = [0; 3].map(|_| {
            zone = next_zone(&table, zone.as_ref());
            zone.as_ref().unwrap().to_string()
        });
        // Which one is first is not said.
        let [first, second, third] = turns;
        assert_eq!(first, third);
        let mut both = [first, second];
        both.sort();
        assert_eq!(both, ["a.", "c."]);
        assert_eq!(next_zone(&ZoneTable::default(), zone.as_ref()), None);
    }

    #[test]
    fn a_question_shows_a_cookie_if_there_is_a_secret() {
        use crate::message::{Header, Request};
        let zone: Name = "example.".parse().unwrap();
        for cookie in [None, Some([7; COOKIE_SIZE])] {
            let question = question(7, Some(&zone), cookie);
            let request = Request::read(&question, Header::read(&question).unwrap()).unwrap();
            let found = request.edns.and_then(|edns| edns.cookie);
            assert_eq!(
                found.map(|c| c.client),
                cookie.map(|_| [7; CLIENT_COOKIE_SIZE])
            );
        }
    }

    #[test]
    fn an_answer_is_good_if_the_zone_is_served() {
        let zone: Name = "example.".parse().unwrap();
        let question = question(7, Some(&zone), None);
        let answer = |flags: [u8; 2], records: u8| {
            let mut answer = question.clone();
            answer[2..4].copy_from_slice(&flags);
            answer[7] = records;
            answer
        };
        let is_good = |answer: &[u8]| judge(answer, &question, Some(&zone)).is_ok();
        assert!(is_good(&answer([0x84, 0], 1)));
        assert!(is_good(&answer([0x86, 0], 0)), "truncated");
        assert!(!is_good(&answer([0x84, 0], 0)), "no record");
        assert!(!is_good(&answer([0x80, 0], 1)), "not authoritative");
        assert!(!is_good(&answer([0x84, 2], 1)), "SERVFAIL");
        assert!(!is_good(&answer([0x04, 0], 1)), "no response");
        assert!(!is_good(&answer([0x84, 0], 1)[..11]), "short");
        let mut other = answer([0x84, 0], 1);
        other[1] = 8;
        assert!(!is_good(&other), "of another question");
        assert!(
            judge(&answer([0x80, 5], 0), &question, None).is_ok(),
            "no zone"
        );
    }
}
