//! NOTIFY requests (RFC 1996). Nobody outside knows more of a zone than its peers, so nothing comes of
//! one: as other servers do for a zone that they are primary of, it is answered and passed over.

use super::Refusal;
use super::asked::Asked;
use crate::message::compress::Case;
use crate::message::header::AA;
use crate::message::{Builder, ExtendedError};
use zones::rtype::{Class, Rtype};
use zones::{Name, Rcode};

/// Writes the response, or says why there is none.
pub(super) fn answer(asked: &Asked<'_>, response: &mut Vec<u8>) -> Result<(), Refusal> {
    let request = &asked.request;
    // RFC 1996 section 3.5: so far only changes of the SOA are told.
    if request.question.qtype != Rtype::SOA {
        return Err(Refusal::new(Rcode::NOTIMP, ExtendedError::NOT_SUPPORTED));
    }
    let origin = Name::from_wire(request.question.qname).map_err(|_| Rcode::FORMERR)?;
    if request.question.qclass != Class::IN || asked.served.zones.get(&origin).is_none() {
        return Err(Refusal::NOT_HELD);
    }
    let (size_max, opt) = (asked.size_max(), asked.opt());
    let builder = Builder::new(response, request, Case::Kept, size_max, opt);
    // RFC 1996 section 4.7: the header of the request and QR, with its question.
    builder.finish(&request.header, AA, Rcode::NOERROR.0);
    Ok(())
}
