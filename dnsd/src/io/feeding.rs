//! Threads that wait for primaries: one for each zone that is fetched, one for each update that is sent
//! on. What they bring comes to the peer thread.

use super::clock;
use super::driver::{Driver, Input};
use super::primaries::{self, Fetched, Patience, Wants};
use crate::body::Order;
use crate::feed::{Ask, Brought, Primary};
use crate::message::{Header, Opcode};
use crate::peer::{Forward, Forwarded};
use crate::tsig::outgoing::is_signed;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tracing::{debug, info};
use zones::Rcode;

/// Updates that wait for a primary at the same time; further ones are not taken, and sent again.
const FORWARDS_MAX: usize = 64;
/// How long a primary may take to answer an update: a requestor waits no longer.
const FORWARD_PATIENCE: Patience = Patience {
    connect: Duration::from_secs(3),
    idle: Duration::from_secs(10),
    whole: Duration::from_secs(15),
    ..Patience::DEFAULT
};

/// How many updates wait for a primary.
pub(super) type Forwards = Arc<AtomicUsize>;

impl Driver {
    /// Asks primaries for a zone.
    pub(super) fn ask(&self, ask: Ask) {
        let inputs = self.inputs.clone();
        clock::spawn("fetch", move || {
            let fetched = fetch(&ask);
            drop(inputs.send(Input::Fetched(ask.origin, fetched)));
        });
    }

    /// Sends an update on.
    pub(super) fn forward(&mut self, forward: Forward) {
        let (inputs, forwards) = (self.inputs.clone(), Arc::clone(&self.forwards));
        if forwards.fetch_add(1, Ordering::Relaxed) >= FORWARDS_MAX {
            forwards.fetch_sub(1, Ordering::Relaxed);
            debug!("too many updates wait for primaries");
            let (wall, now) = (clock::wall(), clock::now());
            let peer = &mut self.wiring.peer;
            peer.handle_forwarded(forward.digest, Forwarded::TooMany, wall, now);
            return;
        }
        clock::spawn("forward", move || {
            let rcode = forward.primaries.iter().find_map(|primary| {
                let rcode = ask_to_update(primary, &forward);
                if let Err(error) = &rcode {
                    info!(primary = %primary.remote, error, "an update could not be sent on");
                }
                rcode.ok()
            });
            forwards.fetch_sub(1, Ordering::Relaxed);
            let forwarded = rcode.map_or(Forwarded::Unanswered, Forwarded::Answered);
            drop(inputs.send(Input::Forwarded(forward.digest, forwarded)));
        });
    }
}

/// What the first primary that answers has.
fn fetch(ask: &Ask) -> Result<Brought, String> {
    if let (Some((version, serial)), Some(first)) = (&ask.published, ask.primaries.first()) {
        return Ok(ask.take(first.remote.address.ip(), version.clone(), *serial));
    }
    let mut failures = Vec::new();
    for Primary { remote, key } in &ask.primaries {
        if let (Some(name), None) = (&remote.key, key) {
            failures.push(format!(
                "{remote}: there is no key {name}; `dnsd key add` makes one"
            ));
            continue;
        }
        let of_one = primaries::Ask {
            origin: ask.origin.clone(),
            primary: remote.address,
            key: key.clone(),
            held: ask.held.clone(),
            wants: match ask.order {
                Order::Ahead => Wants::Newer,
                Order::Any => Wants::Whole,
            },
        };
        match primaries::fetch(&of_one, &Patience::DEFAULT) {
            Ok(Fetched::UpToDate(_)) => return Ok(Brought::Nothing),
            // Another one may have what was once fetched, and more.
            Ok(Fetched::Behind(serial)) => failures.push(format!(
                "{remote}: its serial {} is behind what was fetched before; `dnsd zone refresh --whole` \
                 takes it all the same",
                serial.0
            )),
            Ok(Fetched::Newer {
                version,
                serial,
                means,
                size,
            }) => {
                let (zone, serial_text) = (&ask.origin, serial.0);
                info!(%zone, primary = %remote, serial = serial_text, ?means, size, "fetched");
                return Ok(ask.take(remote.address.ip(), version, serial));
            }
            Err(error) => failures.push(format!("{remote}: {error}")),
        }
    }
    Err(failures.join("; "))
}

/// What a primary answers to an update that is sent on as it came.
fn ask_to_update(primary: &Primary, forward: &Forward) -> Result<Rcode, String> {
    let address = primary.remote.address;
    let response = primaries::exchange(address, &forward.message, &FORWARD_PATIENCE);
    let response = response.map_err(|error| error.to_string())?;
    let header = Header::read(&response).map_err(|_| "it answers with no message".to_owned())?;
    let asked = Header::read(&forward.message).expect("it was read when it came");
    if !header.is_response() || header.opcode() != Opcode::UPDATE || header.id() != asked.id() {
        return Err("it answers something else".to_owned());
    }
    let rcode = Rcode(header.flags() & 15);
    if let Some((key, mac)) = &forward.signature
        && !is_signed(&response, key, mac, clock::wall())
    {
        return Err(match rcode {
            Rcode::NOTAUTH => "it does not take the key, or its clock differs".to_owned(),
            _ => "its answer is not signed as it should be".to_owned(),
        });
    }
    Ok(rcode)
}
