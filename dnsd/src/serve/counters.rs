//! What the listeners count: shared counters, and plain sums of them.

use super::{Handled, Outcome, Transport};
use crate::cookie::Standing;
use crate::message::header::{HEADER_SIZE, QR, TC};
use crate::message::{Header, Opcode};
use std::sync::atomic::{AtomicU64, Ordering};
use zones::Rcode;

/// What is counted beside opcodes and RCODEs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Count {
    /// Requests by UDP.
    RequestsUdp,
    /// Requests by TCP.
    RequestsTcp,
    /// Requests by TLS.
    RequestsTls,
    /// Requests by HTTPS that hold a DNS message.
    RequestsHttps,
    /// Requests by QUIC.
    RequestsQuic,
    /// Requests by HTTPS that hold none and are answered by an error of HTTP.
    HttpRefused,
    /// Responses with TC set.
    Truncated,
    /// Requests without a response: shorter than a header, responses themselves, or above the rate.
    Dropped,
    /// Requests that cannot be read, answered FORMERR or dropped.
    Malformed,
    /// Requests without the option COOKIE, or with one that cannot be read.
    CookiesAbsent,
    /// Requests whose client has no server cookie yet.
    CookiesNew,
    /// Requests with a good server cookie.
    CookiesGood,
    /// Requests with a server cookie that is forged, too old, or not ours.
    CookiesBad,
    /// Responses above the rate that were not sent.
    RateDropped,
    /// Responses above the rate in whose place a truncated one was sent.
    RateSlipped,
    /// Updates handed to the peer.
    UpdatesTaken,
    /// Updates answered SERVFAIL because too many wait.
    UpdatesOverflowed,
    /// Zone transfers begun.
    TransfersStarted,
    /// Zone transfers sent to the end.
    TransfersCompleted,
    /// Those of them that sent a difference, or that there is none.
    TransfersIncremental,
    /// Zone transfers answered SERVFAIL because too many are under way.
    TransfersOverflowed,
    /// UDP responses that the system did not take.
    UdpSendFailed,
    /// UDP sockets that failed to receive.
    UdpReceiveFailed,
    /// TCP connections taken, those for TLS and HTTPS too; so below.
    TcpAccepted,
    /// TCP connections closed at once: too many in all, and none of them idle.
    TcpRefusedTotal,
    /// TCP connections closed at once: too many from one address or IPv6 /64.
    TcpRefusedAddress,
    /// TCP connections closed because nothing was asked for a while.
    TcpIdle,
    /// TCP connections closed because the client does not read.
    TcpSlow,
    /// Idle TCP connections closed to make room for another.
    TcpGaveWay,
    /// TLS handshakes that failed or took too long.
    TlsFailed,
    /// QUIC connections begun. Those closed are counted with TCP's, by the same reasons.
    QuicAccepted,
    /// QUIC handshakes that failed or took too long.
    QuicFailed,
    /// QUIC connections ended because their clients break its rules (RFC 9250 section 4.3.3).
    QuicBroken,
}

/// All [`Count`]s, in order, with the names under which metrics show them.
pub const COUNTS: [(Count, &str); COUNT_OF_COUNTS] = [
    (Count::RequestsUdp, "requests_udp"),
    (Count::RequestsTcp, "requests_tcp"),
    (Count::RequestsTls, "requests_tls"),
    (Count::RequestsHttps, "requests_https"),
    (Count::RequestsQuic, "requests_quic"),
    (Count::HttpRefused, "http_requests_refused"),
    (Count::Truncated, "responses_truncated"),
    (Count::Dropped, "requests_dropped"),
    (Count::Malformed, "requests_malformed"),
    (Count::CookiesAbsent, "cookies_absent"),
    (Count::CookiesNew, "cookies_new"),
    (Count::CookiesGood, "cookies_good"),
    (Count::CookiesBad, "cookies_bad"),
    (Count::RateDropped, "rate_dropped"),
    (Count::RateSlipped, "rate_slipped"),
    (Count::UpdatesTaken, "updates_taken"),
    (Count::UpdatesOverflowed, "updates_overflowed"),
    (Count::TransfersStarted, "transfers_started"),
    (Count::TransfersCompleted, "transfers_completed"),
    (Count::TransfersIncremental, "transfers_incremental"),
    (Count::TransfersOverflowed, "transfers_overflowed"),
    (Count::UdpSendFailed, "udp_send_failed"),
    (Count::UdpReceiveFailed, "udp_receive_failed"),
    (Count::TcpAccepted, "tcp_accepted"),
    (Count::TcpRefusedTotal, "tcp_refused_total"),
    (Count::TcpRefusedAddress, "tcp_refused_address"),
    (Count::TcpIdle, "tcp_closed_idle"),
    (Count::TcpSlow, "tcp_closed_slow"),
    (Count::TcpGaveWay, "tcp_closed_for_another"),
    (Count::TlsFailed, "tls_handshakes_failed"),
    (Count::QuicAccepted, "quic_accepted"),
    (Count::QuicFailed, "quic_handshakes_failed"),
    (Count::QuicBroken, "quic_closed_broken"),
];

const COUNT_OF_COUNTS: usize = Count::QuicBroken as usize + 1;
/// Opcodes have four bits.
const OPCODES: usize = 16;
/// RCODEs up to BADCOOKIE (23); no other is ever sent.
const RCODES: usize = 24;
const CELLS: usize = COUNT_OF_COUNTS + OPCODES + RCODES;

/// Plain sums: what one batch of requests adds, or what counters show when they are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally([u64; CELLS]);

/// Counters that threads share. Each UDP worker has its own, so that no cache line travels
/// between cores for every batch.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters([AtomicU64; CELLS]);

impl Tally {
    /// Adds one.
    pub fn add(&mut self, count: Count) {
        self.0[count as usize] += 1;
    }

    /// Adds what one request and its immediate outcome say: how it came, its opcode, its cookie,
    /// and the response as far as there is one.
    pub fn add_request(
        &mut self,
        transport: Transport,
        request: &[u8],
        handled: Handled,
        response: &[u8],
    ) {
        self.add(match transport {
            Transport::Udp => Count::RequestsUdp,
            Transport::Tcp => Count::RequestsTcp,
            Transport::Tls => Count::RequestsTls,
            Transport::Https => Count::RequestsHttps,
            Transport::Quic => Count::RequestsQuic,
        });
        if let Ok(header) = Header::read(request) {
            self.0[COUNT_OF_COUNTS + usize::from(header.opcode().0)] += 1;
        }
        self.add(match handled.standing {
            None => Count::CookiesAbsent,
            Some(Standing::New) => Count::CookiesNew,
            Some(Standing::Proven) => Count::CookiesGood,
            Some(Standing::Unproven) => Count::CookiesBad,
        });
        match handled.outcome {
            Outcome::Respond(rcode) => self.add_response(rcode, response),
            Outcome::Drop => {
                self.add(Count::Dropped);
                if request.len() < HEADER_SIZE {
                    self.add(Count::Malformed);
                }
            }
            Outcome::Update | Outcome::Transfer => {}
        }
    }

    /// Adds one response.
    pub fn add_response(&mut self, rcode: Rcode, response: &[u8]) {
        self.0[COUNT_OF_COUNTS + OPCODES + usize::from(rcode.0).min(RCODES - 1)] += 1;
        if rcode == Rcode::FORMERR {
            self.add(Count::Malformed);
        }
        if Header::read(response).is_ok_and(|h| h.flags() & (QR | TC) == QR | TC) {
            self.add(Count::Truncated);
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(sum, n)| *sum += n);
    }

    /// How often `count` happened.
    #[must_use]
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// How many requests had this opcode.
    #[must_use]
    pub fn opcode(&self, opcode: Opcode) -> u64 {
        self.0[COUNT_OF_COUNTS + usize::from(opcode.0 & 15)]
    }

    /// How many responses had this RCODE.
    #[must_use]
    pub fn rcode(&self, rcode: Rcode) -> u64 {
        self.0
            .get(COUNT_OF_COUNTS + OPCODES + usize::from(rcode.0))
            .map_or(0, |n| *n)
    }

    /// All opcodes that occurred.
    pub fn opcodes(&self) -> impl Iterator<Item = (Opcode, u64)> {
        (0..OPCODES as u8)
            .map(|n| (Opcode(n), self.opcode(Opcode(n))))
            .filter(|(_, n)| *n > 0)
    }

    /// All RCODEs that occurred.
    pub fn rcodes(&self) -> impl Iterator<Item = (Rcode, u64)> {
        (0..RCODES as u16)
            .map(|n| (Rcode(n), self.rcode(Rcode(n))))
            .filter(|(_, n)| *n > 0)
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

impl Counters {
    /// Adds one.
    pub fn add(&self, count: Count) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a tally, and empties it for the next one.
    pub fn take(&self, tally: &mut Tally) {
        for (counter, n) in self.0.iter().zip(&mut tally.0) {
            if *n > 0 {
                counter.fetch_add(std::mem::take(n), Ordering::Relaxed);
            }
        }
    }

    /// What they stand at.
    #[must_use]
    pub fn snapshot(&self) -> Tally {
        let mut tally = Tally::default();
        for (counter, n) in self.0.iter().zip(&mut tally.0) {
            *n = counter.load(Ordering::Relaxed);
        }
        tally
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::rate::{Kind, Subject};

    #[test]
    fn counts_are_listed_in_order() {
        for (i, (count, _)) in COUNTS.iter().enumerate() {
            assert_eq!(*count as usize, i);
        }
    }

    #[test]
    fn tallies_pass_through_counters() {
        let request = b"\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let response = b"\x00\x07\x82\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let counters = Counters::default();
        let mut tally = Tally::default();
        let handled = |outcome, standing| Handled {
            outcome,
            standing,
            subject: Subject::of_qname(Kind::Malformed),
        };
        let malformed = handled(Outcome::Respond(Rcode::FORMERR), Some(Standing::New));
        tally.add_request(Transport::Udp, request, malformed, response);
        let dropped = handled(Outcome::Drop, None);
        tally.add_request(Transport::Tcp, b"short", dropped, b"");
        counters.take(&mut tally);
        assert_eq!(tally, Tally::default());
        counters.add(Count::TcpIdle);
        let seen = counters.snapshot();
        let check = |count, expected| assert_eq!(seen.get(count), expected, "{count:?}");
        check(Count::RequestsUdp, 1);
        check(Count::RequestsTcp, 1);
        check(Count::Truncated, 1);
        check(Count::Malformed, 2);
        check(Count::Dropped, 1);
        check(Count::CookiesNew, 1);
        check(Count::CookiesAbsent, 1);
        check(Count::TcpIdle, 1);
        assert_eq!(seen.opcodes().collect::<Vec<_>>(), [(Opcode::QUERY, 1)]);
        assert_eq!(seen.rcodes().collect::<Vec<_>>(), [(Rcode::FORMERR, 1)]);
        let mut sum = seen.clone();
        sum.merge(&seen);
        assert_eq!(sum.get(Count::RequestsUdp), 2);
    }
}
