//! UPDATE: what can be said of it at once, and the way of all others to the peer and back.

use super::asked::{self, Asked};
use super::{Client, Refusal, Served, Setup};
use crate::message::{Header, Opcode};
use crate::requests::Sender;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use zones::rtype::{Class, Rtype};
use zones::{Name, Rcode};

/// An update on its way to the peer. Its zone is held and its sender may make some change of it;
/// prerequisites and changes are not read yet. Or a NOTIFY of a zone that comes from a primary, from one
/// whose word is taken.
#[derive(Debug)]
pub struct UpdateRequest {
    /// The whole message.
    pub message: Bytes,
    /// Who sent it.
    pub sender: Sender,
    /// Who waits for the answer.
    pub reply: ReplyTo,
}

/// The way back to a client. Dropped without an answer, the client asks again.
pub struct ReplyTo(Box<dyn FnOnce(Rcode) + Send>);

/// The bounded queue in front of the peer.
#[derive(Clone)]
pub struct UpdateQueue(Arc<TryPush>);

type TryPush = dyn Fn(UpdateRequest) -> Result<(), UpdateRequest> + Send + Sync;

impl ReplyTo {
    /// Whoever gets the answer; called once, from any thread, and must not wait.
    #[must_use]
    pub fn new(answer: impl FnOnce(Rcode) + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    /// Answers the client.
    pub fn send(self, rcode: Rcode) {
        (self.0)(rcode);
    }
}

impl UpdateQueue {
    /// `try_push` gives the request back if there is no room for it.
    #[must_use]
    pub fn new(
        try_push: impl Fn(UpdateRequest) -> Result<(), UpdateRequest> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(try_push))
    }

    /// Hands a request to the peer, or gives it back because too many wait.
    pub fn try_push(&self, request: UpdateRequest) -> Result<(), UpdateRequest> {
        (self.0)(request)
    }
}

/// Who sent the update that `serve` found to be [`super::Outcome::Update`], from the same state of
/// the zones.
#[must_use]
pub fn sender(message: &[u8], client: &Client, served: &Served, setup: &Setup) -> Sender {
    let request = asked::read_again(message);
    Asked::new(&request, client, served, setup).sender()
}

/// Says at once what needs no look at the data (RFC 2136 sections 3.1 and 3.3).
pub(super) fn admit(asked: &Asked<'_, '_>) -> Result<(), Refusal> {
    let request = asked.request;
    // RFC 2136 section 3.1.1: the zone section names one zone by its SOA.
    if request.question.qtype != Rtype::SOA {
        return Err(Rcode::FORMERR.into());
    }
    let zone = request.question.qname.to_name();
    authorise(asked, &zone).or_else(|refusal| {
        // Replication protocol section 8: the digest comes before the policy, so that a
        // retransmit gets the first answer though its zone or its permission has gone since. Only
        // what would be refused pays for the digest here.
        let digest = asked.sender().digest(request.message);
        let is_known = asked.served.remembered.contains(&digest);
        is_known.then_some(()).ok_or(refusal)
    })
}

fn authorise(asked: &Asked<'_, '_>, zone: &Name) -> Result<(), Refusal> {
    let served = asked.served;
    // RFC 2136 section 3.1.2.
    let held = served.zones.get(zone);
    let Some(held) = held.filter(|_| asked.request.question.qclass == Class::IN) else {
        return Err(Refusal::NOT_HELD);
    };
    // RFC 2136 section 3.3.
    if !served.policy.allows_some_update(zone, &asked.asker()) || !asked.is_certified() {
        return Err(Refusal::PROHIBITED);
    }
    // An update of a zone that comes from a primary goes to it, and it can sign.
    if held.now.is_signed() && served.primaries(zone).is_none() {
        return Err(Refusal::SIGNED_ELSEWHERE);
    }
    Ok(())
}

/// Writes the response to an UPDATE: its header and zone section, and OPT if it has it (RFC 2136
/// section 3.8 leaves the sections to the server). Or that to a NOTIFY.
pub fn respond(
    message: &[u8],
    client: &Client,
    rcode: Rcode,
    served: &Served,
    setup: &Setup,
    response: &mut Vec<u8>,
) {
    if is_notify(message) && rcode == Rcode::NOERROR {
        let request = asked::read_again(message);
        let asked = Asked::new(&request, client, served, setup);
        super::notify::acknowledge(&asked, response);
        asked.seal(response);
        return;
    }
    let refusal = match rcode {
        // Too many wait, or nobody is there to settle with.
        Rcode::SERVFAIL => Refusal::NOT_READY,
        Rcode::NOTAUTH => Refusal::NOT_HELD,
        _ => rcode.into(),
    };
    super::respond(message, client, refusal, served, setup, response);
}

fn is_notify(message: &[u8]) -> bool {
    Header::read(message).is_ok_and(|header| header.opcode() == Opcode::NOTIFY)
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo")
    }
}

impl fmt::Debug for UpdateQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateQueue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::policy::{Policy, Realm};
    use crate::serve::Transport;
    use crate::state::Remembered;
    use std::net::SocketAddr;
    use std::time::Duration;

    /// An UPDATE of `example.` without records.
    fn message(id: u8) -> Vec<u8> {
        let flags = (u16::from(Opcode::UPDATE.0) << 11).to_be_bytes();
        let header = [&[0, id], &flags[..], &[0, 1, 0, 0, 0, 0, 0, 0]].concat();
        [&header[..], b"\x07example\0", &[0, 6, 0, 1]].concat()
    }

    #[test]
    fn a_retransmit_passes_whatever_the_policy_says() {
        let source = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let remembered: Remembered = [Sender::unsigned(source(5)).digest(&message(1))]
            .into_iter()
            .collect();
        let check = |id: u8, port: u16, prefix: &str, expected: Result<(), Rcode>| {
            let rule = format!("update from {prefix}").parse().unwrap();
            let served = Served {
                policy: Arc::new(Policy::from_iter([(Realm::All, rule)])),
                remembered: remembered.clone(),
                ..Served::default()
            };
            let message = message(id);
            let request = Request::read(&message, Header::read(&message).unwrap()).unwrap();
            let client = Client {
                address: source(port),
                transport: Transport::Udp,
                wall: Duration::ZERO,
                timeout_idle: Duration::ZERO,
                identity: None,
            };
            let setup = Setup::default();
            let asked = Asked::new(&request, &client, &served, &setup);
            assert_eq!(
                admit(&asked).map_err(|refusal| refusal.rcode),
                expected,
                "{id} {port} {prefix}"
            );
        };
        // The zone has gone, the permission too.
        check(1, 5, "192.0.2.0/24", Ok(()));
        check(1, 5, "198.51.100.0/24", Ok(()));
        // Another request, or another client.
        check(2, 5, "192.0.2.0/24", Err(Rcode::NOTAUTH));
        check(1, 6, "192.0.2.0/24", Err(Rcode::NOTAUTH));
    }
}
