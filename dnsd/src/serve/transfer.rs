//! Zone transfers: AXFR (RFC 5936), and IXFR (RFC 1995) answered by the whole zone.
//!
//! What is sent is the published version with its serial, and nothing of what came after it: the
//! same serial has the same content at every peer.

use super::asked::Asked;
use super::query::put_soa;
use super::{Client, Refusal, Served, Setup, Transport};
use crate::message::compress::Case;
use crate::message::edns::Opt;
use crate::message::header::{AA, TC};
use crate::message::request::skip_name;
use crate::message::{Builder, Full, Header, MESSAGE_SIZE_MAX, Owner, Request, Section, read_u32};
use crate::tsig::Stream;
use std::time::Duration;
use zones::node::{RdataIter, Rrsets};
use zones::rtype::Rtype;
use zones::version::Walk;
use zones::zone_set::{Shown, ZoneState};
use zones::{Name, Rcode, RrsetRef, Serial};

/// A message is closed at this size, because compression does not reach further; only a record
/// that is larger itself makes a longer one.
const MESSAGE_SIZE_GOAL: usize = 16 * 1024;

/// Which zone is asked for, and whether its sender may have it.
pub(super) fn admit<'a>(asked: &Asked<'a>) -> Result<&'a ZoneState, Refusal> {
    let (request, served) = (&asked.request, asked.served);
    let origin = Name::from_wire(request.question.qname).map_err(|_| Rcode::FORMERR)?;
    // RFC 5936 section 2.2.1.
    let zone = served.zones.get(&origin).ok_or(Refusal::NOT_HELD)?;
    if !served.policy.allows_transfer(&origin, &asked.asker()) || !asked.is_certified() {
        return Err(Refusal::PROHIBITED);
    }
    if zone.shown.is_none() {
        return Err(Refusal::NOT_READY);
    }
    if request.question.qtype == Rtype::IXFR && serial_held(request).is_none() {
        return Err(Rcode::FORMERR.into());
    }
    Ok(zone)
}

/// True if the SOA alone answers an IXFR: the requestor has the newest version, or it learns by
/// UDP, or HTTP, that it must ask by TCP (RFC 1995 section 2).
pub(super) fn is_one_soa(request: &Request<'_>, zone: &ZoneState, transport: Transport) -> bool {
    let (Some(held), Some(shown)) = (serial_held(request), &zone.shown) else {
        return false;
    };
    request.question.qtype == Rtype::IXFR
        && (!transport.carries_transfers() || held == shown.serial || held > shown.serial)
}

/// Writes that response.
pub(super) fn respond_soa(asked: &Asked<'_>, zone: &ZoneState, response: &mut Vec<u8>) {
    let request = &asked.request;
    let (size_max, opt) = (asked.size_max(), asked.opt());
    let mut builder = Builder::new(response, request, Case::Kept, size_max, opt);
    let shown = zone.shown.as_ref().expect("the transfer was admitted");
    let soa = shown.version.apex().rrset(Rtype::SOA);
    let put = soa.map_or(Ok(()), |soa| {
        let (ttl, serial) = (soa.ttl(), shown.serial);
        put_soa(
            &mut builder,
            Section::Answer,
            Owner::Question,
            soa,
            ttl,
            serial,
        )
    });
    // With three names of full length it does not fit 512 bytes.
    let truncated = if put.is_err() { TC } else { 0 };
    builder.finish(&request.header, AA | truncated, Rcode::NOERROR.0);
}

/// The messages of the transfer that `serve` found to be [`super::Outcome::Transfer`], from the
/// same state of the zones; none if it is no such request.
#[must_use]
pub fn messages<'v>(
    request: &'v [u8],
    client: &'v Client,
    served: &'v Served,
    setup: &'v Setup,
) -> Option<Messages<'v>> {
    let request = Request::read(request, Header::read(request).ok()?).ok()?;
    let origin = Name::from_wire(request.question.qname).ok()?;
    let shown = served.zones.get(&origin)?.shown.as_ref()?;
    let asked = Asked::new(request, client, served, setup);
    Some(Messages {
        opt: asked.opt(),
        signatures: asked.signed().map(|signed| signed.stream()),
        request,
        shown,
        soa: shown.version.apex().rrset(Rtype::SOA)?,
        walk: shown.version.walk(),
        owner: origin,
        rrsets: None,
        rdatas: None,
        next: Next::First,
    })
}

/// The zone cannot be transferred: one of its records is too large for any message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

/// The messages of one zone transfer, in order: the SOA first and last, all other records in
/// canonical order between them.
pub struct Messages<'v> {
    request: Request<'v>,
    shown: &'v Shown,
    opt: Option<Opt<'v>>,
    signatures: Option<Stream<'v>>,
    soa: RrsetRef<'v>,
    walk: Walk<'v>,
    owner: Name,
    rrsets: Option<Rrsets<'v>>,
    rdatas: Option<(RrsetRef<'v>, std::iter::Peekable<RdataIter<'v>>)>,
    next: Next,
}

/// What the next message starts with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    First,
    Record,
    Last,
    Nothing,
}

impl Messages<'_> {
    /// The serial of the version that is sent.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.shown.serial
    }

    /// The next message; none after the last one. `wall` is the time since 1970.
    pub fn next_message(&mut self, wall: Duration) -> Option<Result<Vec<u8>, TooLarge>> {
        if self.next == Next::Nothing {
            return None;
        }
        let mut message = Vec::with_capacity(MESSAGE_SIZE_GOAL + 1024);
        let request = self.request;
        let size_max = MESSAGE_SIZE_MAX - self.signatures.map_or(0, |stream| stream.size());
        // RFC 5936 section 2.2.1: the question stands in the first message.
        let mut builder = if self.next == Next::First {
            let opt = self.opt;
            Builder::new(&mut message, &request, Case::Kept, size_max, opt)
        } else {
            Builder::without_question(&mut message, &request, Case::Kept, size_max)
        };
        let filled = self.fill(&mut builder);
        if filled.is_err() && builder.count(Section::Answer) == 0 {
            self.next = Next::Nothing;
            return Some(Err(TooLarge));
        }
        builder.finish(&request.header, AA, Rcode::NOERROR.0);
        // RFC 8945 section 5.3.1: every message is signed.
        if let Some(stream) = &mut self.signatures {
            stream.seal(&mut message, wall);
        }
        Some(Ok(message))
    }

    /// Puts in as many records as there is room for.
    fn fill(&mut self, builder: &mut Builder<'_>) -> Result<(), Full> {
        if self.next == Next::First {
            self.put_soa(builder)?;
            self.next = Next::Record;
        }
        while self.next == Next::Record {
            if builder.message().len() >= MESSAGE_SIZE_GOAL {
                return Ok(());
            }
            let Some((rrset, rdatas)) = &mut self.rdatas else {
                self.advance();
                continue;
            };
            let Some(rdata) = rdatas.peek() else {
                self.rdatas = None;
                continue;
            };
            let owner = Owner::Name(self.owner.as_wire());
            builder.record(Section::Answer, owner, rrset.rtype(), rrset.ttl(), rdata)?;
            rdatas.next();
        }
        if self.next == Next::Last {
            self.put_soa(builder)?;
            self.next = Next::Nothing;
        }
        Ok(())
    }

    /// Goes on to the next RRset, and from name to name.
    fn advance(&mut self) {
        if let Some(rrset) = self.rrsets.as_mut().and_then(Iterator::next) {
            // The SOA is sent apart.
            if rrset.rtype() != Rtype::SOA {
                self.rdatas = Some((rrset, rrset.rdata().peekable()));
            }
        } else if let Some(node) = self.walk.next() {
            self.owner = node.owner();
            self.rrsets = Some(node.rrsets());
        } else {
            self.next = Next::Last;
        }
    }

    fn put_soa(&self, builder: &mut Builder<'_>) -> Result<(), Full> {
        let origin = self.shown.version.origin();
        let owner = Owner::Name(origin.as_wire());
        put_soa(
            builder,
            Section::Answer,
            owner,
            self.soa,
            self.soa.ttl(),
            self.shown.serial,
        )
    }
}

/// The serial that the sender of an IXFR request holds.
fn serial_held(request: &Request<'_>) -> Option<Serial> {
    let soa = request
        .first_authority()
        .filter(|record| record.rtype == Rtype::SOA)?;
    let after_mname = skip_name(request.message, soa.rdata_at).ok()?;
    let serial_at = skip_name(request.message, after_mname).ok()?;
    let end = soa.rdata_at + soa.rdata.len();
    if serial_at + 20 != end {
        return None;
    }
    Some(Serial(read_u32(request.message, serial_at).ok()?))
}
