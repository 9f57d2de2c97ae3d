//! A client that asks every VIP a question each period, and notes when which host answered.
//!
//! ```text
//!  sender   one socket, absolute schedule: a question to every VIP ──→ noted, then sent
//!  listener a packet socket on the client's interface: answers ──→ noted with the kernel's time
//!                                                     and the host whose Ethernet address it is
//! ```
//! A question that has no answer with RCODE 0 after [`TIMEOUT`] is lost; none is repeated. When
//! the machine has no core for the sender it leaves out what is past, and counts it: no burst.

use super::frame::{Frame, Told};
use super::worker::Worker;
use crate::cluster::ORIGIN;
use crate::question::Question;
use crate::raw::PacketSocket;
use crate::segment::Segment;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use zones::Name;
use zones::rtype::Rtype;

/// An answer that takes longer counts as none.
pub const TIMEOUT: Duration = Duration::from_millis(100);
/// Most questions to one VIP: what is noted has an end.
const QUERIES_MAX: usize = 300_000;
/// So many questions in turn have one host's answers when a VIP is served steadily.
const STEADY: usize = 20;
/// So long the last answers are waited for: one that comes later is late, but not missing.
const LATE: Duration = Duration::from_secs(2);
/// A question younger than this may still get its answer.
const FRESH: Duration = Duration::from_millis(20);
/// Longest frame on the segment.
const FRAME_SIZE_MAX: usize = 2048;

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// When it was sent.
    pub sent: Instant,
    /// When the answer came in, and from which host.
    pub answered: Option<(Instant, usize)>,
}

/// Someone said to the client where a VIP is.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// When it came in.
    pub at: Instant,
    /// Which VIP.
    pub vip: IpAddr,
    /// The host that said it.
    pub from: usize,
    /// Whether all were told.
    pub to: Told,
}

/// What was asked, answered and claimed.
#[derive(Clone, Default, Debug)]
pub struct Log {
    /// The questions to each VIP, in their order.
    pub queries: BTreeMap<IpAddr, Vec<Query>>,
    /// The claims, in their order.
    pub claims: Vec<Claim>,
    /// Questions left out as their time had passed.
    pub left_out: usize,
    /// Frames that the listener lost; any makes the log worthless.
    pub unheard: u32,
}

/// How an event was for the clients of one VIP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outage {
    /// The longest time from an answer to the next, less one period: from the last answer of the
    /// old holder to the first of the new one.
    pub silence: Duration,
    /// Questions without an answer in time.
    pub lost: usize,
    /// Questions without any answer: what no busy machine explains.
    pub unanswered: usize,
    /// Questions in all, with those shortly before.
    pub asked: usize,
}

/// Asks until it is stopped or dropped.
pub struct Prober {
    log: Arc<Mutex<Log>>,
    sender: Worker,
    listener: Worker,
}

impl Prober {
    /// Begins to ask all VIPs, each once a period.
    #[must_use]
    pub fn start(segment: &Segment, vips: &[IpAddr], period: Duration) -> Self {
        let queries = vips.iter().map(|vip| (*vip, Vec::new())).collect();
        let log = Arc::new(Mutex::new(Log {
            queries,
            ..Log::default()
        }));
        let (socket, packets) = segment.client.within(|| {
            // `lo` is the first interface, `eth0` the second.
            let interface = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
            let packets = PacketSocket::open(index_of(&interface, "eth0")).unwrap();
            (
                UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap(),
                packets,
            )
        });
        let listener = Worker::start({
            let log = Arc::clone(&log);
            move |ends| listen(&packets, &log, ends)
        });
        let sender = Worker::start({
            let (log, vips) = (Arc::clone(&log), vips.to_vec());
            move |ends| send(&socket, &vips, period, &log, ends)
        });
        Self {
            log,
            sender,
            listener,
        }
    }

    /// The host that answered all of the last questions to a VIP; none while one is lost, or two
    /// hosts answer in turn.
    #[must_use]
    pub fn server(&self, vip: IpAddr) -> Option<usize> {
        let now = Instant::now();
        let log = self.log.lock().unwrap();
        let due = log.queries[&vip].iter().rev();
        let due = due.skip_while(|query| now.saturating_duration_since(query.sent) < FRESH);
        let mut servers = due.take(STEADY).map(|query| Some(query.answered?.1));
        let first = servers.next()??;
        let mut count = 1;
        for server in servers {
            if server != Some(first) {
                return None;
            }
            count += 1;
        }
        (count == STEADY).then_some(first)
    }

    /// Ends the questions, waits for the last answers, and gives what was noted.
    ///
    /// # Panics
    ///
    /// If there were more questions than are noted, or the listener lost frames.
    #[must_use]
    pub fn stop(mut self) -> Log {
        self.sender.end();
        let last = Instant::now();
        crate::deadline::until(2 * LATE, "the last answers are there or late", || {
            let log = self.log.lock().unwrap();
            let mut unanswered = log.queries.values().map(|queries| {
                let newest = queries.iter().rev().take(STEADY);
                newest.filter(|query| query.answered.is_none()).count()
            });
            (unanswered.all(|count| count == 0) || last.elapsed() > LATE).then_some(())
        });
        self.listener.end();
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        assert_eq!(log.unheard, 0, "the listener lost frames");
        log
    }
}

impl Log {
    /// How an event at `from` was for a VIP, up to the end of the log.
    #[must_use]
    pub fn outage(&self, vip: IpAddr, from: Instant, period: Duration) -> Outage {
        let queries = &self.queries[&vip];
        let since = from.checked_sub(TIMEOUT).unwrap_or(from);
        let asked: Vec<&Query> = queries.iter().filter(|query| query.sent >= since).collect();
        let mut answers: Vec<Instant> = asked
            .iter()
            .filter_map(|query| Some(query.in_time()?.0))
            .collect();
        answers.sort_unstable();
        // What is still silent at the end is so for at least as long as was asked.
        answers.extend(asked.last().map(|query| query.sent));
        let mut silence = Duration::ZERO;
        let mut last = asked.first().map_or(from, |query| query.sent);
        for answer in answers {
            if answer >= from {
                silence = silence.max(answer.saturating_duration_since(last));
            }
            last = last.max(answer);
        }
        let lost = asked.iter().filter(|query| query.in_time().is_none());
        let unanswered = asked.iter().filter(|query| query.answered.is_none());
        Outage {
            silence: silence.saturating_sub(period),
            lost: lost.count(),
            unanswered: unanswered.count(),
            asked: asked.len(),
        }
    }
}

impl Query {
    /// The answer, if it came before the time-out.
    #[must_use]
    pub fn in_time(&self) -> Option<(Instant, usize)> {
        let (at, host) = self.answered?;
        (at.saturating_duration_since(self.sent) <= TIMEOUT).then_some((at, host))
    }
}

fn send(
    socket: &UdpSocket,
    vips: &[IpAddr],
    period: Duration,
    log: &Mutex<Log>,
    ends: &AtomicBool,
) {
    let origin = Name::from_text(ORIGIN.as_bytes(), Some(&Name::root())).unwrap();
    let mut question = Question::new(origin, Rtype::SOA).to_wire();
    let mut next = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        for vip in vips {
            let number = {
                let mut log = log.lock().unwrap();
                let queries = log.queries.get_mut(vip).expect("all VIPs are there");
                assert!(queries.len() < QUERIES_MAX, "a probe has an end");
                queries.push(Query {
                    sent: Instant::now(),
                    answered: None,
                });
                queries.len() - 1
            };
            question[..2].copy_from_slice(&(number as u16).to_be_bytes());
            let to = match vip {
                IpAddr::V4(ip4) => ip4.to_ipv6_mapped(),
                IpAddr::V6(ip6) => *ip6,
            };
            // It may be that no route leads there now, or no host: then the question is lost.
            let _ = socket.send_to(&question, SocketAddr::from((to, 53)));
        }
        next += period;
        while next < Instant::now() {
            next += period;
            log.lock().unwrap().left_out += 1;
        }
    }
}

fn listen(packets: &PacketSocket, log: &Mutex<Log>, ends: &AtomicBool) {
    let mut buffer = vec![0; FRAME_SIZE_MAX];
    while !ends.load(Ordering::Relaxed) {
        let received = packets
            .receive(&mut buffer)
            .expect("the client's interface is up");
        let Some(received) = received else { continue };
        let at = received.at;
        match Frame::read(&buffer[..received.size]) {
            Some(Frame::Answer {
                from,
                server,
                id,
                rcode: 0,
            }) => {
                let mut log = log.lock().unwrap();
                let Some(queries) = log.queries.get_mut(&server) else {
                    continue;
                };
                // The newest question with this id.
                let newest = queries.len().wrapping_sub(1) as u16;
                let back = usize::from(newest.wrapping_sub(id));
                let query = queries.len().checked_sub(1 + back);
                if let Some(query) = query.map(|number| &mut queries[number]) {
                    query.answered = query.answered.or(Some((at, from)));
                }
            }
            Some(Frame::Claim { from, address, to }) => {
                let mut log = log.lock().unwrap();
                if log.queries.contains_key(&address) {
                    let vip = address;
                    log.claims.push(Claim { at, vip, from, to });
                }
            }
            Some(Frame::Answer { .. }) | None => {}
        }
    }
    log.lock().unwrap().unheard += packets.dropped().unwrap();
}

/// The index of an interface that has an IPv6 address: the second column, in hex.
fn index_of(if_inet6: &str, interface: &str) -> u32 {
    let line = if_inet6.lines().find(|line| line.ends_with(interface));
    let index = line.and_then(|line| line.split_whitespace().nth(1));
    u32::from_str_radix(index.expect("it is plugged in"), 16).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Questions are (sent, answered) in ms after the start; the event is at 100.
    fn check(queries: &[(u32, Option<u32>)], silence: u32, lost: usize, unanswered: usize) {
        let start = Instant::now();
        let vip = crate::segment::vip(0);
        let queries: Vec<Query> = queries
            .iter()
            .map(|(sent, answered)| Query {
                sent: start + *sent * MS,
                answered: answered.map(|at| (start + at * MS, 0)),
            })
            .collect();
        let asked = queries.iter().filter(|query| query.sent >= start).count();
        let log = Log {
            queries: [(vip, queries)].into(),
            ..Log::default()
        };
        let outage = log.outage(vip, start + 100 * MS, 10 * MS);
        let expected = Outage {
            silence: silence * MS,
            lost,
            unanswered,
            asked,
        };
        assert_eq!(outage, expected);
    }

    #[test]
    fn silence_is_from_the_last_answer_to_the_next_less_a_period() {
        let at = |sent: u32| (sent, Some(sent + 1));
        check(&[at(90), at(100), at(110), at(120)], 0, 0, 0);
        // Two lost: the answers are 30 ms apart.
        check(&[at(90), (100, None), (110, None), at(120)], 20, 2, 2);
        // The last answer came before the event.
        check(
            &[at(80), (90, None), (100, None), (110, None), at(120)],
            30,
            3,
            3,
        );
        // What was silent before the event is not its outage.
        check(&[at(20), at(90), at(100), at(110)], 0, 0, 0);
        // An answer that is late is none.
        check(
            &[at(100), (110, Some(300)), (120, Some(290)), at(130)],
            20,
            2,
            0,
        );
        // Silent to the end.
        check(&[at(100), (110, None), (120, None), (130, None)], 19, 3, 3);
    }
}
