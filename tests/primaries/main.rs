//! Servers that we transfer zones from: BIND, Knot and NSD as ordinary processes, a peer of our own,
//! and one in the test that does what none should.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real servers are met at their sockets"
)]
#![allow(clippy::unwrap_used, reason = "a failing server is a failing test")]

mod odd;
mod real;

use dnsd::io::primaries::{Ask, FetchError, Fetched, Means, Patience, Wants, fetch};
use dnsd::tsig::{Key, Secret};
use std::net::SocketAddr;
use zones::{Name, Serial, Version};

/// The secret of every key here.
const SECRET: &[u8] = b"01234567890123456789012345678901";
/// The same as servers are told it.
const SECRET_TEXT: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A zone as it came.
#[derive(Clone)]
struct Came {
    version: Version,
    serial: Serial,
    means: Means,
}

fn origin(text: &str) -> Name {
    text.parse().unwrap()
}

fn key(name: &str, method: &str, secret: &[u8]) -> Key {
    Key {
        name: name.parse().unwrap(),
        method: method.parse().unwrap(),
        secret: Secret::new(secret.to_vec()).unwrap(),
    }
}

/// Asks for what is newer than what is held; for the whole zone if nothing is.
fn ask(
    primary: SocketAddr,
    zone: &str,
    key: Option<&Key>,
    held: Option<&Came>,
    patience: &Patience,
) -> Result<Fetched, FetchError> {
    let ask = Ask {
        origin: origin(zone),
        primary,
        key: key.cloned(),
        held: held.map(|came| (came.version.clone(), came.serial)),
        wants: Wants::Newer,
    };
    fetch(&ask, patience)
}

fn came(fetched: Fetched) -> Came {
    match fetched {
        Fetched::Newer {
            version,
            serial,
            means,
            size,
        } => {
            assert!(size > 0);
            Came {
                version,
                serial,
                means,
            }
        }
        other => panic!("nothing came: {other:?}"),
    }
}

/// Fails where two zones do not have the same content.
fn assert_same(ours: &Version, expected: &Version) {
    let delta = Version::difference(ours, expected);
    assert!(delta.is_empty(), "{delta:?}");
    assert!(ours.is_same_as(expected));
    assert_eq!(ours.digest(), expected.digest());
    assert_eq!(ours.counts(), expected.counts());
}
