//! What a request means: bytes in, bytes out.
//!
//! ```text
//! request ─→ header ─→ OPCODE ─ QUERY ──→ query.rs    ─→ response
//!              │                    ├───→ transfer.rs ─→ messages, not by UDP
//!              │                    └ CH → chaos.rs    ─→ response
//!              │          ├ NOTIFY ─────→ notify.rs   ─→ response, or the peer
//!              │          └ UPDATE ─────→ update.rs   ─→ the peer, which answers later
//!              ├ malformed, not implemented ─→ unread.rs ─→ response
//!              └ not a request ─→ dropped
//! ```
//! A query takes no lock, touches no disk and waits for nobody.

mod asked;
mod chaos;
pub mod counters;
pub mod identity;
mod notify;
pub mod query;
pub mod rate;
mod records;
mod refusal;
pub mod served;
pub mod transfer;
mod unread;
pub mod update;

pub use chaos::Chaos;
pub use counters::{Count, Counters, Tally};
pub use identity::{Certified, ClientName, Identity};
pub use query::Spaces;
pub(crate) use refusal::Refusal;
pub use served::Served;
pub use update::{ReplyTo, UpdateQueue, UpdateRequest};

use crate::cookie::Standing;
use crate::message::edns::{EDNS_VERSION, OPT_SIZE, UDP_SIZE_MIN};
use crate::message::header::HEADER_SIZE;
use crate::message::{ExtendedError, Header, Malformed, Opcode, Request};
use crate::tsig::Verdict;
use asked::Asked;
use rate::{Kind, Subject};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use unread::Unread;
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
    /// A connection under TLS (RFC 7858).
    Tls,
    /// HTTP under TLS (RFC 8484).
    Https,
    /// A stream of QUIC (RFC 9250).
    Quic,
}

impl Transport {
    /// True if requests follow each other on one connection, so that its life is their matter
    /// (RFC 7828 section 3). HTTP and QUIC have means of their own (RFC 9250 section 5.5.2).
    #[must_use]
    pub fn has_keepalive(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// True if a request may have any number of responses.
    #[must_use]
    pub fn carries_transfers(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Quic)
    }

    /// True if its handshake shows that the client is where it says.
    #[must_use]
    pub fn proves_address(self) -> bool {
        self != Self::Udp
    }

    /// True if nobody on the way can read it, and its size is all that there is to be learned.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https | Self::Quic)
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// From where.
    pub address: SocketAddr,
    /// By what.
    pub transport: Transport,
    /// When: the time since 1970, for the age of cookies.
    pub wall: Duration,
    /// How long its connection may be idle from here on; means nothing over UDP.
    pub timeout_idle: Duration,
    /// Whom its certificate names, if it has shown one.
    pub identity: Option<Arc<Identity>>,
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
    /// Whether a UDP request with the option COOKIE is answered only if the server cookie in it is
    /// good, and BADCOOKIE otherwise.
    pub requires_server_cookie: bool,
    /// Who needs a certificate to update and to transfer zones.
    pub certified: Certified,
}

/// Longest text by which a server speaks of itself: with the longest question and all options it
/// still fits the smallest response that is ever cut.
pub const SELF_TEXT_SIZE_MAX: usize = 128;
const _: () = assert!(
    HEADER_SIZE + NAME_SIZE_MAX + 4 + OPT_SIZE + 4 + SELF_TEXT_SIZE_MAX + OTHER_OPTIONS_SIZE
        <= UDP_SIZE_MIN as usize
);
/// Room for all options but NSID: COOKIE takes 28 bytes, edns-tcp-keepalive and EDE 6 each.
const OTHER_OPTIONS_SIZE: usize = 64;

impl Default for Setup {
    fn default() -> Self {
        Self {
            // What passes every path without fragments: 1280 for IPv6 less its and UDP's header.
            udp_size: 1232,
            // As in other servers: who attacks shall not learn which one he has hit.
            nsid: None,
            chaos: Chaos::default(),
            // It costs every client a second request, and those without cookies nothing.
            requires_server_cookie: false,
            certified: Certified::NotNeeded,
        }
    }
}

/// What becomes of a request, and what it says of who sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handled {
    /// What becomes of it.
    pub outcome: Outcome,
    /// What its cookie says; none: there is no cookie, or none that can be read.
    pub standing: Option<Standing>,
    /// What its response is counted as.
    pub subject: Subject,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The response is in the buffer.
    Respond(Rcode),
    /// It gets no response.
    Drop,
    /// It is an update that its sender may ask for, or a NOTIFY of a zone that comes from a primary: the
    /// peer answers it later.
    Update,
    /// It is a zone transfer that its sender may have, by TCP, TLS or QUIC: see [`transfer::messages`].
    Transfer,
}

/// Answers one request from one state of the zones.
pub fn serve(
    request: &[u8],
    client: &Client,
    served: &Served,
    setup: &Setup,
    spaces: &mut Spaces,
    response: &mut Vec<u8>,
) -> Handled {
    response.clear();
    let header = match Header::read(request) {
        // Answering responses would let two servers talk to each other for ever.
        Ok(header) if !header.is_response() => header,
        Ok(_) | Err(Malformed) => {
            return Handled {
                outcome: Outcome::Drop,
                standing: None,
                subject: Subject::of_qname(Kind::Malformed),
            };
        }
    };
    if !matches!(
        header.opcode(),
        Opcode::QUERY | Opcode::UPDATE | Opcode::NOTIFY
    ) {
        // What follows the header of an unknown opcode cannot be read.
        let refusal = Refusal::new(Rcode::NOTIMP, ExtendedError::NOT_SUPPORTED);
        let unread = Unread::new(request, header, client, served, setup);
        return unread.respond(refusal, response);
    }
    match Request::read(request, header) {
        Ok(read) => {
            let asked = Asked::new(&read, client, served, setup);
            let (outcome, subject) = handle(&asked, spaces, response);
            if let Outcome::Respond(_) = outcome {
                asked.seal(response);
            }
            Handled {
                outcome,
                standing: asked.standing(),
                subject,
            }
        }
        Err(Malformed) => Unread::new(request, header, client, served, setup).handle(response),
    }
}

/// Answers a request that was read.
fn handle(
    asked: &Asked<'_, '_>,
    spaces: &mut Spaces,
    response: &mut Vec<u8>,
) -> (Outcome, Subject) {
    let request = asked.request;
    let transport = asked.client.transport;
    let refuse = |refusal: Refusal, response: &mut Vec<u8>| {
        asked.respond_empty(refusal, response);
        let subject = Subject::of_qname(Kind::Error);
        (Outcome::Respond(refusal.rcode), subject)
    };
    let of_answer = Subject::of_qname(Kind::Answer);
    let unsupported = |rcode| Refusal::new(rcode, ExtendedError::NOT_SUPPORTED);
    // RFC 8945 section 5.2: what has no good signature is not looked at.
    if let Some(rcode) = asked.verdict().and_then(Verdict::failure) {
        return refuse(rcode.into(), response);
    }
    // RFC 6891 section 6.1.3.
    if request.edns.is_some_and(|edns| edns.version > EDNS_VERSION) {
        return refuse(Rcode::BADVERS.into(), response);
    }
    // RFC 7873 section 5.2.3: over TCP a client is where it says.
    if asked.setup.requires_server_cookie
        && transport == Transport::Udp
        && matches!(asked.standing(), Some(Standing::New | Standing::Unproven))
    {
        return refuse(Rcode::BADCOOKIE.into(), response);
    }
    if request.header.opcode() == Opcode::UPDATE {
        // A page on the web can have any browser that reads it send one, from its address.
        if transport == Transport::Https {
            return refuse(unsupported(Rcode::REFUSED), response);
        }
        return match update::admit(asked) {
            Ok(()) => (Outcome::Update, of_answer),
            Err(refusal) => refuse(refusal, response),
        };
    }
    if request.header.opcode() == Opcode::NOTIFY {
        return match notify::answer(asked, response) {
            Ok(notify::Taken::Answered) => (Outcome::Respond(Rcode::NOERROR), of_answer),
            Ok(notify::Taken::ToPeer) => (Outcome::Update, of_answer),
            Err(refusal) => refuse(refusal, response),
        };
    }
    if request.question.qclass == Class::CH && chaos::answer(asked, response) {
        return (Outcome::Respond(Rcode::NOERROR), of_answer);
    }
    if !matches!(request.question.qclass, Class::IN | Class::ANY) {
        return refuse(unsupported(Rcode::REFUSED), response);
    }
    match (request.question.qtype, transport) {
        // RFC 5936 section 4.2: AXFR over UDP is not defined, nor is it over HTTP.
        (Rtype::AXFR, transport) if !transport.carries_transfers() => {
            refuse(unsupported(Rcode::NOTIMP), response)
        }
        // A zone is of one class.
        (Rtype::AXFR | Rtype::IXFR, _) if request.question.qclass != Class::IN => {
            refuse(unsupported(Rcode::REFUSED), response)
        }
        (Rtype::AXFR | Rtype::IXFR, _) => match transfer::admit(asked) {
            Ok(zone) if transfer::is_one_message(asked, zone) => {
                transfer::respond_at_once(asked, zone, response);
                (Outcome::Respond(Rcode::NOERROR), of_answer)
            }
            Ok(_) => (Outcome::Transfer, of_answer),
            Err(refusal) => refuse(refusal, response),
        },
        // No zone holds a record of any other meta-TYPE or QTYPE: it is a type like all others.
        _ => {
            let (rcode, subject) = query::answer(asked, spaces, response);
            (Outcome::Respond(rcode), subject)
        }
    }
}

/// Writes, in place of the response to a request that was read, one without records that has its
/// client ask by TCP.
pub(crate) fn truncate(
    request: &[u8],
    client: &Client,
    served: &Served,
    setup: &Setup,
    response: &mut Vec<u8>,
) {
    let request = asked::read_again(request);
    let asked = Asked::new(&request, client, served, setup);
    asked.respond_truncated(response);
    asked.seal(response);
}

/// Writes a response without records to a request that was read before.
pub(crate) fn respond(
    request: &[u8],
    client: &Client,
    refusal: Refusal,
    served: &Served,
    setup: &Setup,
    response: &mut Vec<u8>,
) {
    let request = asked::read_again(request);
    let asked = Asked::new(&request, client, served, setup);
    asked.respond_empty(refusal, response);
    asked.seal(response);
}
