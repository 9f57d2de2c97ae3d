//! Zone transfers: AXFR (RFC 5936) and IXFR (RFC 1995), by the whole zone where nothing shorter is
//! known.
//!
//! ```text
//! AXFR, or IXFR from a serial that is not known    SOA, all other records, SOA
//! IXFR    SOA, (SOA before, what goes, SOA after, what comes) …, SOA
//! ```
//! What is sent is the published version with its serial, and nothing of what came after it: the
//! same serial has the same content at every peer.

use super::asked::Asked;
use super::records::{put_soa, put_soa_rdata};
use super::{Client, Refusal, Served, Setup};
use crate::history::{Difference, STEPS_SIZE_MAX, StepRecord};
use crate::message::compress::Case;
use crate::message::edns::Opt;
use crate::message::header::{AA, TC};
use crate::message::request::skip_name;
use crate::message::{Builder, Full, Header, MESSAGE_SIZE_MAX, Owner, Request, Section, read_u32};
use crate::tsig::Stream;
use std::collections::VecDeque;
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
pub(super) fn admit<'a>(asked: &Asked<'_, 'a>) -> Result<&'a ZoneState, Refusal> {
    let (request, served) = (asked.request, asked.served);
    let origin = request.question.qname.to_name();
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

/// True if one message answers a transfer request at once: an IXFR by UDP, or HTTP, and one whose
/// sender has the newest version, unless another is about to be shown.
pub(super) fn is_one_message(asked: &Asked<'_, '_>, zone: &ZoneState) -> bool {
    let (request, served) = (asked.request, asked.served);
    let has_newest = || {
        let shown = zone.shown.as_ref();
        served.shown >= served.begun && shown.is_some_and(|shown| is_newest(request, shown))
    };
    request.question.qtype == Rtype::IXFR
        && (!asked.client.transport.carries_transfers() || has_newest())
}

/// True if the sender of an IXFR request has what is shown, or something newer.
fn is_newest(request: &Request<'_>, shown: &Shown) -> bool {
    let held = serial_held(request).filter(|_| request.question.qtype == Rtype::IXFR);
    held.is_some_and(|held| held >= shown.serial)
}

/// Writes that message: the difference if it fits, or else the SOA alone, by which the requestor
/// learns that it has the newest version or must ask by TCP (RFC 1995 section 2).
pub(super) fn respond_at_once(asked: &Asked<'_, '_>, zone: &ZoneState, response: &mut Vec<u8>) {
    let request = asked.request;
    let (size_max, opt) = (asked.size_max(), asked.opt());
    let mut builder = Builder::new(response, request, Case::Kept, size_max, opt);
    let shown = zone.shown.as_ref().expect("the transfer was admitted");
    let difference = difference(request, asked.served, shown, STEPS_SIZE_MAX_AT_ONCE)
        .filter(|_| !is_newest(request, shown));
    let mut put = difference.map_or(Err(Full), |difference| {
        put_difference(&mut builder, shown, difference)
    });
    if put.is_err() {
        builder.clear();
        put = put_soa_as(&mut builder, shown, Owner::Question(0));
    }
    // With three names of full length not even the SOA fits 512 bytes.
    let truncated = if put.is_err() { TC } else { 0 };
    builder.finish(request.header, AA | truncated, Rcode::NOERROR.0);
}

/// Of steps that are larger than this together no difference fits one message.
const STEPS_SIZE_MAX_AT_ONCE: usize = 256 << 10;

/// What an IXFR sends; none if it is the whole zone.
fn difference<'v>(
    request: &Request<'_>,
    served: &'v Served,
    shown: &'v Shown,
    size_max: usize,
) -> Option<Difference<'v>> {
    if request.question.qtype != Rtype::IXFR {
        return None;
    }
    let chain = served.history.get(shown.version.origin())?;
    Difference::new(chain, shown, serial_held(request)?, size_max)
}

fn put_difference(
    builder: &mut Builder<'_>,
    shown: &Shown,
    difference: Difference<'_>,
) -> Result<(), Full> {
    put_shown_soa(builder, shown)?;
    for (record, serial) in difference.records() {
        put_step_record(builder, record, serial)?;
    }
    put_shown_soa(builder, shown)
}

fn put_step_record(
    builder: &mut Builder<'_>,
    record: StepRecord<'_>,
    serial: Option<Serial>,
) -> Result<(), Full> {
    let owner = Owner::Name(record.owner);
    match serial {
        Some(serial) => put_soa_rdata(
            builder,
            Section::Answer,
            owner,
            record.rdata,
            record.ttl,
            serial,
        ),
        None => builder.record(
            Section::Answer,
            owner,
            record.rtype,
            record.ttl,
            record.rdata,
        ),
    }
}

fn put_shown_soa(builder: &mut Builder<'_>, shown: &Shown) -> Result<(), Full> {
    let owner = Owner::Name(shown.version.origin().as_wire());
    put_soa_as(builder, shown, owner)
}

fn put_soa_as(builder: &mut Builder<'_>, shown: &Shown, owner: Owner<'_>) -> Result<(), Full> {
    let Some(soa) = shown.version.apex().rrset(Rtype::SOA) else {
        return Ok(());
    };
    let (ttl, serial) = (soa.ttl(), shown.serial);
    put_soa(builder, Section::Answer, owner, soa, ttl, serial)
}

/// True if these zones can answer the transfer request too, which was admitted earlier.
#[must_use]
pub fn is_there(request: &[u8], served: &Served) -> bool {
    let origin = Header::read(request)
        .and_then(|header| Request::read(request, header))
        .map(|request| request.question.qname.to_name());
    let zone = origin.ok().and_then(|origin| served.zones.get(&origin));
    zone.is_some_and(|zone| zone.shown.is_some())
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
    let origin = request.question.qname.to_name();
    let shown = served.zones.get(&origin)?.shown.as_ref()?;
    shown.version.apex().rrset(Rtype::SOA)?;
    let asked = Asked::new(&request, client, served, setup);
    let content = if is_newest(&request, shown) {
        Content::Nothing
    } else if let Some(difference) = difference(&request, served, shown, STEPS_SIZE_MAX) {
        Content::Difference(difference.records().collect())
    } else {
        Content::Zone(Box::new(Records::new(shown.version.walk(), origin)))
    };
    Some(Messages {
        opt: asked.opt().copied(),
        signatures: asked.signed().map(|signed| signed.stream()),
        request,
        shown,
        content,
        next: Next::First,
    })
}

/// The zone cannot be transferred: one of its records is too large for any message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

/// The messages of one zone transfer, in order: the SOA first and last, and between them all other
/// records in canonical order, or the difference.
pub struct Messages<'v> {
    request: Request<'v>,
    shown: &'v Shown,
    opt: Option<Opt<'v>>,
    signatures: Option<Stream<'v>>,
    content: Content<'v>,
    next: Next,
}

/// What is still to be sent between the first and the last SOA.
enum Content<'v> {
    /// The requestor has it all: the first SOA stands alone (RFC 1995 section 2).
    Nothing,
    Zone(Box<Records<'v>>),
    Difference(VecDeque<(StepRecord<'v>, Option<Serial>)>),
}

/// All records of a zone but its SOA.
struct Records<'v> {
    walk: Walk<'v>,
    owner: Name,
    rrsets: Option<Rrsets<'v>>,
    rdatas: Option<(RrsetRef<'v>, std::iter::Peekable<RdataIter<'v>>)>,
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

    /// True if it sends the difference from what the requestor has.
    #[must_use]
    pub fn is_incremental(&self) -> bool {
        !matches!(self.content, Content::Zone(_))
    }

    /// The next message; none after the last one. `wall` is the time since 1970.
    pub fn next_message(&mut self, wall: Duration) -> Option<Result<Vec<u8>, TooLarge>> {
        if self.next == Next::Nothing {
            return None;
        }
        let mut message = Vec::with_capacity(MESSAGE_SIZE_GOAL + 1024);
        let (request, opt) = (self.request, self.opt);
        let size_max = MESSAGE_SIZE_MAX - self.signatures.map_or(0, |stream| stream.size());
        // RFC 5936 section 2.2.1: the question stands in the first message.
        let mut builder = if self.next == Next::First {
            Builder::new(&mut message, &request, Case::Kept, size_max, opt.as_ref())
        } else {
            Builder::without_question(&mut message, &request, Case::Kept, size_max)
        };
        let filled = self.fill(&mut builder);
        if filled.is_err() && builder.count(Section::Answer) == 0 {
            self.next = Next::Nothing;
            return Some(Err(TooLarge));
        }
        builder.finish(request.header, AA, Rcode::NOERROR.0);
        // RFC 8945 section 5.3.1: every message is signed.
        if let Some(stream) = &mut self.signatures {
            stream.seal(&mut message, wall);
        }
        Some(Ok(message))
    }

    /// Puts in as many records as there is room for.
    fn fill(&mut self, builder: &mut Builder<'_>) -> Result<(), Full> {
        if self.next == Next::First {
            put_shown_soa(builder, self.shown)?;
            self.next = match self.content {
                Content::Nothing => Next::Nothing,
                Content::Zone(_) | Content::Difference(_) => Next::Record,
            };
        }
        while self.next == Next::Record {
            if builder.message().len() >= MESSAGE_SIZE_GOAL {
                return Ok(());
            }
            let is_put = match &mut self.content {
                Content::Nothing => false,
                Content::Zone(records) => records.put_next(builder)?,
                Content::Difference(records) => match records.front() {
                    None => false,
                    Some((record, serial)) => {
                        put_step_record(builder, *record, *serial)?;
                        records.pop_front();
                        true
                    }
                },
            };
            if !is_put {
                self.next = Next::Last;
            }
        }
        if self.next == Next::Last {
            put_shown_soa(builder, self.shown)?;
            self.next = Next::Nothing;
        }
        Ok(())
    }
}

impl<'v> Records<'v> {
    fn new(walk: Walk<'v>, origin: Name) -> Self {
        Self {
            walk,
            owner: origin,
            rrsets: None,
            rdatas: None,
        }
    }

    /// Puts in the next record; false if there is none.
    fn put_next(&mut self, builder: &mut Builder<'_>) -> Result<bool, Full> {
        loop {
            if let Some((rrset, rdatas)) = &mut self.rdatas {
                let Some(rdata) = rdatas.peek() else {
                    self.rdatas = None;
                    continue;
                };
                let owner = Owner::Name(self.owner.as_wire());
                builder.record(Section::Answer, owner, rrset.rtype(), rrset.ttl(), rdata)?;
                rdatas.next();
                return Ok(true);
            }
            if let Some(rrset) = self.rrsets.as_mut().and_then(Iterator::next) {
                // The SOA is sent apart.
                if rrset.rtype() != Rtype::SOA {
                    self.rdatas = Some((rrset, rrset.rdata().peekable()));
                }
            } else if let Some(node) = self.walk.next() {
                self.owner = node.owner();
                self.rrsets = Some(node.rrsets());
            } else {
                return Ok(false);
            }
        }
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
