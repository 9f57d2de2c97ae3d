//! The sockets by which servers outside are told of changes: one for each family, opened when the
//! first message goes out. What comes back is handed to the peer thread.

use super::clock;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// Largest response that is read: header, question, OPT and TSIG fit in it with room.
const RESPONSE_SIZE_MAX: usize = 4096;

/// A socket that fails may do so again at once.
const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// What is done with a response.
pub(super) type Hear = Arc<dyn Fn(SocketAddr, Vec<u8>) + Send + Sync>;

/// The sockets.
pub(super) struct NotifySockets {
    hear: Hear,
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
}

impl NotifySockets {
    /// None is open yet.
    pub(super) fn new(hear: Hear) -> Self {
        Self {
            hear,
            v4: None,
            v6: None,
        }
    }

    /// Sends a message. One that is lost on the way, or cannot be sent, is sent again later.
    pub(super) fn send(&mut self, to: SocketAddr, message: &[u8]) {
        let place = match to {
            SocketAddr::V4(_) => &mut self.v4,
            SocketAddr::V6(_) => &mut self.v6,
        };
        let socket = match place {
            Some(socket) => socket,
            None => match open(to, &self.hear) {
                Ok(socket) => place.insert(socket),
                Err(error) => {
                    warn!(%to, %error, "cannot open a socket to tell servers of changes");
                    return;
                }
            },
        };
        if let Err(error) = socket.send_to(message, to) {
            debug!(%to, %error, "cannot tell a server of a change");
        }
    }
}

/// Opens a socket and hears on it. Its thread ends with the process.
fn open(to: SocketAddr, hear: &Hear) -> io::Result<Arc<UdpSocket>> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Arc::new(UdpSocket::bind(any)?);
    let (hearing, hear) = (Arc::clone(&socket), Arc::clone(hear));
    clock::spawn("notify", move || {
        let mut buffer = [0; RESPONSE_SIZE_MAX];
        loop {
            match hearing.recv_from(&mut buffer) {
                Ok((size, from)) => hear(from, buffer[..size].to_vec()),
                Err(error) => {
                    debug!(%error, "cannot hear who was told of a change");
                    std::thread::sleep(RECEIVE_RETRY);
                }
            }
        }
    });
    Ok(socket)
}
