//! NOTIFY requests (RFC 1996). Of a zone that comes from a primary it goes to the peer, which then asks.
//! Nobody outside knows more of a zone of ours than its peers, so nothing comes of one: as other servers
//! do for a zone that they are primary of, it is answered and passed over.

use super::Refusal;
use super::asked::Asked;
use crate::message::compress::Case;
use crate::message::header::AA;
use crate::message::{Builder, ExtendedError};
use crate::remote::Remote;
use zones::Rcode;
use zones::rtype::{Class, Rtype};

/// What becomes of a NOTIFY.
pub(super) enum Taken {
    /// The response is written: nothing comes of it.
    Answered,
    /// The peer is to know.
    ToPeer,
}

/// Writes the response, or says why there is none.
pub(super) fn answer(asked: &Asked<'_, '_>, response: &mut Vec<u8>) -> Result<Taken, Refusal> {
    let request = asked.request;
    // RFC 1996 section 3.5: so far only changes of the SOA are told.
    if request.question.qtype != Rtype::SOA {
        return Err(Refusal::new(Rcode::NOTIMP, ExtendedError::NOT_SUPPORTED));
    }
    let origin = request.question.qname.to_name();
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
pub(super) fn acknowledge(asked: &Asked<'_, '_>, response: &mut Vec<u8>) {
    let request = asked.request;
    let (size_max, opt) = (asked.size_max(), asked.opt());
    let mut builder = Builder::new(response, request, Case::Kept, size_max, opt);
    // RFC 1996 section 4.7: the header of the request and QR, with its question.
    builder.finish(request.header, AA, Rcode::NOERROR.0);
}

/// Whether it comes from a server that the zone comes from. Most servers do not sign NOTIFY, and by UDP
/// an address can be feigned: all that comes of it is a question to the primary.
fn is_from_primary(asked: &Asked<'_, '_>, primaries: &[Remote]) -> bool {
    let address = asked.client.address.ip();
    let mut primaries = primaries.iter();
    primaries.any(|primary| primary.address.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fed::Fed;
    use crate::message::{Header, Opcode, Request};
    use crate::policy::{Policy, Realm};
    use crate::serve::{Client, Served, Setup, Transport};
    use crate::state::Zone;
    use crate::zone_settings::ZoneSettings;
    use imbl::OrdMap;
    use replication::Hybrid;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;
    use zones::{Version, ZoneState, ZoneTable};

    /// Peers that hold `ours.`, and `fed.` from 192.0.2.1 with a key.
    fn served() -> Served {
        let name = |text: &str| text.parse::<zones::Name>().unwrap();
        let mut zones = ZoneTable::default();
        zones.put(ZoneState {
            now: Version::from_records(&name("ours."), &[]).unwrap(),
            shown: None,
        });
        let mut settings = ZoneSettings::default();
        settings.apply(&"primaries=192.0.2.1:5300%k.test".parse().unwrap());
        let fed = Zone {
            version: None,
            counted: 0,
            offset: None,
            settings: Some(Arc::new(settings)),
            fed: Some(Arc::new(Fed {
                serial: None,
                refreshed: Hybrid(0),
                is_expired: false,
            })),
        };
        let rule = "notify from 198.51.100.0/24".parse().unwrap();
        Served {
            zones,
            origins: OrdMap::from_iter([(name("fed."), fed)]),
            policy: Arc::new(Policy::from_iter([(Realm::All, rule)])),
            ..Served::default()
        }
    }

    #[test]
    fn a_primary_is_heard_and_others_are_not() {
        let served = served();
        let check = |zone: &[u8], qtype: Rtype, from: &str, expected: Result<&str, Rcode>| {
            let flags = (u16::from(Opcode::NOTIFY.0) << 11).to_be_bytes();
            let header = [&[0, 7], &flags[..], &[0, 1, 0, 0, 0, 0, 0, 0]].concat();
            let qtype = qtype.0.to_be_bytes();
            let message = [&header[..], zone, &qtype, &[0, 1]].concat();
            let request = Request::read(&message, Header::read(&message).unwrap()).unwrap();
            let client = Client {
                address: SocketAddr::new(from.parse().unwrap(), 53),
                transport: Transport::Udp,
                wall: Duration::ZERO,
                timeout_idle: Duration::ZERO,
                identity: None,
            };
            let setup = Setup::default();
            let asked = Asked::new(&request, &client, &served, &setup);
            let mut response = Vec::new();
            let taken = answer(&asked, &mut response).map(|taken| match taken {
                Taken::Answered => "answered",
                Taken::ToPeer => "to the peer",
            });
            assert_eq!(taken.map_err(|refusal| refusal.rcode), expected, "{from}");
            assert_eq!(response.is_empty(), expected != Ok("answered"));
        };
        let (fed, ours, other) = (b"\x03fed\0", b"\x04ours\0", b"\x05other\0");
        check(fed, Rtype::SOA, "192.0.2.1", Ok("to the peer"));
        check(fed, Rtype::SOA, "198.51.100.7", Ok("to the peer"));
        check(fed, Rtype::SOA, "203.0.113.1", Err(Rcode::REFUSED));
        check(fed, Rtype::A, "192.0.2.1", Err(Rcode::NOTIMP));
        check(ours, Rtype::SOA, "203.0.113.1", Ok("answered"));
        check(other, Rtype::SOA, "192.0.2.1", Err(Rcode::NOTAUTH));
    }
}
