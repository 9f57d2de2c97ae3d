//! What a request means: bytes in, bytes out.
//!
//! ```text
//! request ─→ header ─→ OPCODE ─ QUERY ──→ query.rs    ─→ response
//!              │                    ├───→ transfer.rs ─→ messages, on TCP
//!              │                    └ CH → chaos.rs    ─→ response
//!              │          └ UPDATE ─────→ update.rs   ─→ the peer, which answers later
//!              └ malformed, refused, not implemented ─→ response; not a request ─→ dropped
//! ```
//! A query takes no lock, touches no disk and waits for nobody.

mod chaos;
pub mod counters;
pub mod query;
mod refusal;
pub mod served;
pub mod transfer;
pub mod update;

pub use chaos::Chaos;
pub use counters::{Count, Counters, Tally};
pub(crate) use refusal::Refusal;
pub use served::Served;
pub use update::{ReplyTo, UpdateQueue, UpdateRequest};

use crate::message::build::{Builder, of_unread};
use crate::message::compress::Case;
use crate::message::edns::{EDNS_VERSION, OPT_SIZE, Opt, UDP_SIZE_MIN};
use crate::message::header::HEADER_SIZE;
use crate::message::question::Question;
use crate::message::request::{Signature, find_opt};
use crate::message::{ExtendedError, Header, MESSAGE_SIZE_MAX, Opcode, Request};
use std::net::SocketAddr;
use std::time::Duration;
use zones::Rcode;
use zones::name::NAME_SIZE_MAX;
use zones::rtype::{Class, Rtype};

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A connection.
    Tcp,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// From where.
    pub address: SocketAddr,
    /// By what.
    pub transport: Transport,
    /// How long its connection may be idle from here on; means nothing over UDP.
    pub timeout_idle: Duration,
}

/// What an operator may set about answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Largest UDP response, and the size that our OPT record states.
    pub udp_size: u16,
    /// Which server this is, for those who ask by the option NSID; none: nobody is told. At most
    /// [`SELF_TEXT_SIZE_MAX`] bytes.
    pub nsid: Option<Box<str>>,
    /// What is said of the server in class CH.
    pub chaos: Chaos,
}

/// Longest text by which a server speaks of itself: with the longest question and all options it
/// still fits the smallest response that is ever cut.
pub const SELF_TEXT_SIZE_MAX: usize = 128;
const _: () = assert!(
    HEADER_SIZE + NAME_SIZE_MAX + 4 + OPT_SIZE + 4 + SELF_TEXT_SIZE_MAX + OTHER_OPTIONS_SIZE
        <= UDP_SIZE_MIN as usize
);
/// Room for all options but NSID.
const OTHER_OPTIONS_SIZE: usize = 64;

impl Default for Setup {
    fn default() -> Self {
        Self {
            // What passes every path without fragments: 1280 for IPv6 less its and UDP's header.
            udp_size: 1232,
            // As in other servers: who attacks shall not learn which one he has hit.
            nsid: None,
            chaos: Chaos::default(),
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The response is in the buffer.
    Respond(Rcode),
    /// It gets no response.
    Drop,
    /// It is an update that its sender may ask for: the peer answers it later.
    Update,
    /// It is a zone transfer that its sender may have, over TCP: see [`transfer::messages`].
    Transfer,
}

/// Answers one request from one state of the zones.
pub fn serve(
    request: &[u8],
    client: &Client,
    served: &Served,
    setup: &Setup,
    response: &mut Vec<u8>,
) -> Outcome {
    response.clear();
    let Ok(header) = Header::read(request) else {
        return Outcome::Drop;
    };
    // Answering responses would let two servers talk to each other for ever.
    if header.is_response() {
        return Outcome::Drop;
    }
    if !matches!(header.opcode(), Opcode::QUERY | Opcode::UPDATE) {
        // What follows the header of an unknown opcode cannot be read.
        let refusal = Refusal::new(Rcode::NOTIMP, ExtendedError::NOT_SUPPORTED);
        respond_unread(request, &header, setup, refusal, response);
        return Outcome::Respond(Rcode::NOTIMP);
    }
    let Ok(request) = Request::read(request, header) else {
        respond_unread(request, &header, setup, Rcode::FORMERR.into(), response);
        return Outcome::Respond(Rcode::FORMERR);
    };
    let refuse = |refusal: Refusal, response: &mut Vec<u8>| {
        respond_empty(&request, client, setup, refusal, response);
        Outcome::Respond(refusal.rcode)
    };
    let unsupported = |rcode| Refusal::new(rcode, ExtendedError::NOT_SUPPORTED);
    // RFC 6891 section 6.1.3.
    if request.edns.is_some_and(|edns| edns.version > EDNS_VERSION) {
        return refuse(Rcode::BADVERS.into(), response);
    }
    // RFC 8945 section 5.2: a signature that cannot be verified is answered NOTAUTH.
    if request.signature == Signature::Tsig {
        return refuse(Rcode::NOTAUTH.into(), response);
    }
    if header.opcode() == Opcode::UPDATE {
        return match update::admit(&request, client, served) {
            Ok(()) => Outcome::Update,
            Err(refusal) => refuse(refusal, response),
        };
    }
    if request.question.qclass == Class::CH && chaos::answer(&request, client, setup, response) {
        return Outcome::Respond(Rcode::NOERROR);
    }
    if !matches!(request.question.qclass, Class::IN | Class::ANY) {
        return refuse(unsupported(Rcode::REFUSED), response);
    }
    match (request.question.qtype, client.transport) {
        // RFC 5936 section 4.2: AXFR over UDP is not defined.
        (Rtype::AXFR, Transport::Udp) => refuse(unsupported(Rcode::NOTIMP), response),
        // A zone is of one class.
        (Rtype::AXFR | Rtype::IXFR, _) if request.question.qclass != Class::IN => {
            refuse(unsupported(Rcode::REFUSED), response)
        }
        (Rtype::AXFR | Rtype::IXFR, transport) => match transfer::admit(&request, client, served) {
            Ok(zone) if transfer::is_one_soa(&request, zone, transport) => {
                transfer::respond_soa(&request, zone, client, setup, response);
                Outcome::Respond(Rcode::NOERROR)
            }
            Ok(_) => Outcome::Transfer,
            Err(refusal) => refuse(refusal, response),
        },
        // No zone holds a record of any other meta-TYPE or QTYPE: it is a type like all others.
        _ => Outcome::Respond(query::answer(&request, client, served, setup, response)),
    }
}

/// Writes the response to what is no request as it should be.
pub(crate) fn respond_unread(
    request: &[u8],
    header: &Header,
    setup: &Setup,
    refusal: Refusal,
    response: &mut Vec<u8>,
) {
    // RFC 5452 section 9.1: resolvers know a response by its question too. One of an unknown opcode
    // may be anything.
    let has_question = header.counts[0] == 1 && refusal.rcode != Rcode::NOTIMP;
    let question = Question::read(request).ok().filter(|_| has_question);
    let question_end = HEADER_SIZE + question.map_or(0, |question| question.size());
    // RFC 6891 section 6.1.1: an OPT record in the request means one in the response, in errors too.
    let opt = find_opt(request, header).map(|edns| Opt {
        error: refusal.error,
        ..Opt::new(setup.udp_size, edns.dnssec_ok)
    });
    let question = &request[HEADER_SIZE..question_end];
    of_unread(response, header, question, refusal.rcode.0, opt);
}

/// Writes a response without records to a request that was read before.
pub(crate) fn respond(
    request: &[u8],
    client: &Client,
    refusal: Refusal,
    setup: &Setup,
    response: &mut Vec<u8>,
) {
    response.clear();
    let Ok(header) = Header::read(request) else {
        return;
    };
    match Request::read(request, header) {
        Ok(request) => respond_empty(&request, client, setup, refusal, response),
        Err(_) => respond_unread(request, &header, setup, refusal, response),
    }
}

/// Writes a response without records: the question, and OPT if the request has it.
pub(crate) fn respond_empty(
    request: &Request<'_>,
    client: &Client,
    setup: &Setup,
    refusal: Refusal,
    response: &mut Vec<u8>,
) {
    let opt = opt(request, client, setup);
    let mut builder = Builder::new(response, request, Case::Ignored, MESSAGE_SIZE_MAX, opt);
    if let Some(error) = refusal.error {
        builder.explain(error);
    }
    builder.finish(&request.header, 0, refusal.rcode.0);
}

/// What the OPT record of the response says, if the request has one.
pub(crate) fn opt<'s>(request: &Request<'_>, client: &Client, setup: &'s Setup) -> Option<Opt<'s>> {
    let edns = request.edns?;
    // RFC 7828 section 3.3.1: over UDP the option is ignored.
    let keepalive = (edns.wants_keepalive && client.transport == Transport::Tcp)
        .then(|| keepalive_timeout(client.timeout_idle));
    Some(Opt {
        keepalive,
        nsid: match &setup.nsid {
            Some(nsid) if edns.wants_nsid => Some(nsid.as_bytes()),
            _ => None,
        },
        ..Opt::new(setup.udp_size, edns.dnssec_ok)
    })
}

/// RFC 7828 section 3.1: in units of 100 milliseconds.
fn keepalive_timeout(timeout: Duration) -> u16 {
    u16::try_from(timeout.as_millis() / 100).unwrap_or(u16::MAX)
}

/// How long the response may be.
pub(crate) fn size_max(request: &Request<'_>, client: &Client, setup: &Setup) -> usize {
    match client.transport {
        Transport::Tcp => MESSAGE_SIZE_MAX,
        // RFC 6891 section 6.2.5: the smaller of what the client takes and what the server sends.
        Transport::Udp => match request.edns {
            Some(edns) => usize::from(edns.size.min(setup.udp_size).max(UDP_SIZE_MIN)),
            None => usize::from(UDP_SIZE_MIN),
        },
    }
}
