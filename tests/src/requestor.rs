//! A DNS client that costs little: it waits in `recv`, so it takes no time from the servers that it
//! measures.

use crate::cluster::ORIGIN;
use crate::namespace::Namespace;
use crate::question::{Question, UPDATE};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use zones::rtype::{Class, Rtype};
use zones::{Name, Rcode};

/// A client with a socket of its own to one server.
pub struct Requestor {
    socket: UdpSocket,
}

/// What a response says, as far as a measurement looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    /// Repeats that of the request.
    pub id: u16,
    /// Its RCODE.
    pub rcode: Rcode,
    /// How many records the answer section has.
    pub answers: u16,
}

impl Requestor {
    /// A client of this server; [`Self::receive`] waits for at most `patience`.
    #[must_use]
    pub fn new(server: SocketAddr, patience: Duration) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        Self { socket }
    }

    /// A client in a namespace, for instance that of a segment's client.
    #[must_use]
    pub fn within(namespace: &Namespace, server: SocketAddr, patience: Duration) -> Self {
        let any = match server {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        };
        let socket = namespace.within(|| {
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(server).unwrap();
            socket
        });
        socket.set_read_timeout(Some(patience)).unwrap();
        Self { socket }
    }

    /// Sends a message.
    pub fn send(&self, message: &[u8]) {
        self.socket.send(message).unwrap();
    }

    /// Waits for the next response; none if none comes in time.
    #[must_use]
    pub fn receive(&self) -> Option<Response> {
        match self.read() {
            Ok(response) => Some(response),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("receiving: {error}"),
        }
    }

    /// Asks a server that may not listen yet.
    #[must_use]
    pub fn try_ask(&self, message: &[u8]) -> Option<Response> {
        self.socket.send(message).ok()?;
        self.read().ok()
    }

    fn read(&self) -> std::io::Result<Response> {
        let mut buffer = [0; 1232];
        let size = self.socket.recv(&mut buffer)?;
        assert!(size >= 12, "a response has a header");
        let word = |at: usize| u16::from_be_bytes([buffer[at], buffer[at + 1]]);
        Ok(Response {
            id: word(0),
            rcode: Rcode(word(2) & 15),
            answers: word(6),
        })
    }
}

/// An UPDATE that adds an address to a name of the zone.
#[must_use]
pub fn add_address(id: u16, owner: &Name, address: Ipv4Addr) -> Vec<u8> {
    update(id, &[], owner, address)
}

/// The same if there is no such name yet: done twice, the second fails.
#[must_use]
pub fn claim_name(id: u16, owner: &Name, address: Ipv4Addr) -> Vec<u8> {
    // RFC 2136 section 2.4.5, Name Is Not In Use: type ANY, class NONE, TTL 0, no RDATA.
    let nobody_has_it = [owner.as_wire(), b"\x00\xff\x00\xfe\0\0\0\0\0\0"].concat();
    update(id, &nobody_has_it, owner, address)
}

/// An UPDATE with one prerequisite or none.
fn update(id: u16, prerequisite: &[u8], owner: &Name, address: Ipv4Addr) -> Vec<u8> {
    let origin = name(ORIGIN);
    let mut message = Question {
        id,
        flags: UPDATE,
        ..Question::new(origin, Rtype::SOA)
    }
    .to_wire();
    // One record in the update section, whose count stands where that of authority does.
    message[9] = 1;
    // Prerequisites are counted where answers are, and come before.
    message[7] = u8::from(!prerequisite.is_empty());
    message.extend_from_slice(prerequisite);
    message.extend_from_slice(owner.as_wire());
    message.extend_from_slice(&Rtype::A.0.to_be_bytes());
    message.extend_from_slice(&Class::IN.0.to_be_bytes());
    message.extend_from_slice(&60_u32.to_be_bytes());
    message.extend_from_slice(&4_u16.to_be_bytes());
    message.extend_from_slice(&address.octets());
    message
}

/// The question for the address of a name.
#[must_use]
pub fn ask_address(id: u16, owner: &Name) -> Vec<u8> {
    Question {
        id,
        ..Question::new(owner.clone(), Rtype::A)
    }
    .to_wire()
}

/// A name of the zone.
#[must_use]
pub fn name_in_zone(label: &str) -> Name {
    name(&format!("{label}.{ORIGIN}"))
}

fn name(text: &str) -> Name {
    Name::from_text(text.as_bytes(), Some(&Name::root())).unwrap()
}
