//! DNS over QUIC (RFC 9250): a stream for each request.
//!
//! ```text
//! connection (quic.rs) ─→ streams ─ request ─→ Connection::answer ─→ responses
//!                            └ what RFC 9250 forbids ─→ closed
//! ```

use super::clock;
use super::server::{Connection, End, Reply};
use super::tcp::TRANSFERS_PER_CONNECTION_MAX;
use crate::doq::{self, LENGTH_SIZE};
use crate::message::MESSAGE_SIZE_MAX;
use crate::serve::transfer::{self, TooLarge};
use crate::serve::{Count, Served};
use bytes::Bytes;
use quinn::{ReadToEndError, RecvStream, SendStream, VarInt};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// The name of DNS over QUIC in ALPN.
pub(super) const ALPN: [&[u8]; 1] = [b"doq"];
/// RFC 9250 section 4.3: DOQ_NO_ERROR, DOQ_INTERNAL_ERROR, DOQ_PROTOCOL_ERROR,
/// DOQ_EXCESSIVE_LOAD.
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// A client does what RFC 9250 forbids.
struct Broken;

/// Answers the requests of a connection until it ends.
pub(super) async fn talk(
    connection: Arc<Connection>,
    quic: quinn::Connection,
    mut stop: watch::Receiver<bool>,
) {
    let transfers = Arc::new(Semaphore::new(TRANSFERS_PER_CONNECTION_MAX));
    let end = loop {
        let (send, receive) = tokio::select! {
            stream = quic.accept_bi() => match stream {
                Ok(stream) => stream,
                // The client has closed it, or is gone.
                Err(_) => return,
            },
            end = connection.ended(&mut stop) => break end,
        };
        let (connection, quic) = (Arc::clone(&connection), quic.clone());
        let transfers = Arc::clone(&transfers);
        tokio::spawn(async move {
            let answered = connection.answer_stream(send, receive, &transfers).await;
            if let Err(Broken) = answered {
                connection.server.counters.add(Count::QuicBroken);
                quic.close(PROTOCOL_ERROR, b"");
            }
        });
    };
    connection.finish().await;
    let why = match end {
        End::GaveWay => EXCESSIVE_LOAD,
        End::Idle | End::Stopped => NO_ERROR,
    };
    quic.close(why, b"");
}

impl Connection {
    /// Reads the request of a stream and sends what it gets.
    async fn answer_stream(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        transfers: &Arc<Semaphore>,
    ) -> Result<(), Broken> {
        let size_max = LENGTH_SIZE + MESSAGE_SIZE_MAX;
        let limits = &self.server.limits;
        let read = timeout(limits.timeout_idle, receive.read_to_end(size_max)).await;
        let read = match read {
            Ok(Ok(read)) => Bytes::from(read),
            // More than a message can have.
            Ok(Err(ReadToEndError::TooLong)) => return Err(Broken),
            // The client has changed its mind, or takes too long.
            Ok(Err(ReadToEndError::Read(_))) | Err(_) => {
                // It may be closed by now.
                drop(send.reset(NO_ERROR));
                return Ok(());
            }
        };
        let message = doq::request_of(&read).map_err(|_| Broken)?;
        let message = read.slice_ref(message);
        let _in_flight = self.place.begin();
        match self.answer(&message).await {
            Reply::Response(response) => {
                self.write(&mut send, &response).await;
            }
            // It was no request.
            Reply::Nothing => return Err(Broken),
            Reply::Transfer(served) => {
                self.send_transfer(&mut send, &message, &served, transfers)
                    .await;
            }
        }
        drop(send.finish());
        Ok(())
    }

    /// Sends a zone message by message, as fast as the client takes them (RFC 9250 section 4.2:
    /// all on the stream of the request).
    async fn send_transfer(
        &self,
        send: &mut SendStream,
        request: &[u8],
        served: &Served,
        transfers: &Arc<Semaphore>,
    ) {
        let (server, client) = (&self.server, self.client());
        let Some(_permit) = server.admit_transfer(transfers) else {
            server.counters.add(Count::TransfersOverflowed);
            let _written = self.write(send, &server.servfail(request, &client)).await;
            return;
        };
        let mut messages = transfer::messages(request, &client, served, &server.setup)
            .expect("the request was found to be a zone transfer, in the same state of the zones");
        server.counters.add(Count::TransfersStarted);
        while let Some(message) = messages.next_message(clock::wall()) {
            match message {
                Ok(message) => {
                    if !self.write(send, &message).await {
                        return;
                    }
                }
                // An error code in the middle tells the client to throw away what it has.
                Err(TooLarge) => {
                    let _written = self.write(send, &server.servfail(request, &client)).await;
                    return;
                }
            }
        }
        server.counters.add(Count::TransfersCompleted);
        if messages.is_incremental() {
            server.counters.add(Count::TransfersIncremental);
        }
    }

    /// Writes a message with its length in front; false if the client does not take it.
    async fn write(&self, send: &mut SendStream, message: &[u8]) -> bool {
        let framed = doq::frame(message);
        match timeout(self.server.limits.timeout_write, send.write_all(&framed)).await {
            Ok(written) => written.is_ok(),
            Err(_) => {
                self.server.counters.add(Count::TcpSlow);
                drop(send.reset(INTERNAL_ERROR));
                false
            }
        }
    }
}
