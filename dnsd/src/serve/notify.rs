//! NOTIFY requests (RFC 1996). Of a zone that comes from a primary it goes to the peer, which then asks.
//! Nobody outside knows more of a zone of ours than its peers, so nothing comes of one: as other servers
//! do for a zone that they are primary of, it is answered and passed over.

use super::Refusal;
use super::asked::Asked;
use crate::message::compress::Case;
use crate::message::header::AA;
use crate::message::{Builder, ExtendedError};
use crate::remote::Remote;
use zones::rtype::{Class, Rtype};
use zones::{Name, Rcode};

/// What becomes of a NOTIFY.
pub(super) enum Taken {
    /// The response is written: nothing comes of it.
    Answered,
    /// The peer is to know.
    ToPeer,
}

/// Writes the response, or says why there is none.
pub(super) fn answer(asked: &Asked<'_>, response: &mut Vec<u8>) -> Result<Taken, Refusal> {
    let request = &asked.request;
    // RFC 1996 section 3.5: so far only changes of the SOA are told.
    if request.question.qtype != Rtype::SOA {
        return Err(Refusal::new(Rcode::NOTIMP, ExtendedError::NOT_SUPPORTED));
    }
    let origin = Name::from_wire(request.question.qname).map_err(|_| Rcode::FORMERR)?;
    let served = asked.served;
    if request.question.qclass != Class::IN {
        return Err(Refusal::NOT_HELD);
    }
    if let Some(primaries) = served.primaries(&origin) {
        return match is_from_primary(asked, primaries)
            || served.policy.allows_notify(&origin, &asked.asker())
        {
            true => Ok(Taken::ToPeer),
            // RFC 1996 section 3.10: from others it is passed over, and worth a line in a log; it is
            // answered so that who sends it learns of it.
            false => Err(Refusal::PROHIBITED),
        };
    }
    if served.zones.get(&origin).is_none() {
        return Err(Refusal::NOT_HELD);
    }
    acknowledge(asked, response);
    Ok(Taken::Answered)
}

/// Writes the response to a NOTIFY that is taken.
pub(super) fn acknowledge(asked: &Asked<'_>, response: &mut Vec<u8>) {
    let request = &asked.request;
    let (size_max, opt) = (asked.size_max(), asked.opt());
    let builder = Builder::new(response, request, Case::Kept, size_max, opt);
    // RFC 1996 section 4.7: the header of the request and QR, with its question.
    builder.finish(&request.header, AA, Rcode::NOERROR.0);
}

/// Whether it comes from a server that the zone comes from. Most servers do not sign NOTIFY, and by UDP
/// an address can be feigned: all that comes of it is a question to the primary.
fn is_from_primary(asked: &Asked<'_>, primaries: &[Remote]) -> bool {
    let address = asked.client.address.ip();
    let mut primaries = primaries.iter();
    primaries.any(|primary| primary.address.ip() == address)
}
