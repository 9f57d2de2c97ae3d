//! One QUIC connection: what the link thread keeps of it, and the tasks that read it.

use super::congestion;
use super::datagrams::{DatagramSender, Room, Sent};
use super::endpoint;
use super::stream::{self, After, StreamSender};
use crate::link_event::{
    CloseCode, DialFailed, DialId, Direction, Expected, LinkEvent, LinkId, Protocol, StreamId,
};
use bytes::Bytes;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

/// What tasks tell the loop of the link thread.
#[derive(Debug)]
pub(super) enum Input {
    /// A handshake is done.
    Connected {
        connection: quinn::Connection,
        dialed: Option<Dialed>,
    },
    /// A TCP connection for a canary is there.
    Canary {
        stream: TcpStream,
        remote: SocketAddr,
        dialed: Option<DialId>,
    },
    /// A dial came to nothing.
    DialFailed(DialFailed),
    /// For the machine.
    Event(LinkId, LinkEvent),
    /// The other side has opened a stream.
    StreamAccepted {
        link: LinkId,
        send: Option<SendStream>,
        receive: RecvStream,
    },
    /// A stream that the machine asked for is open.
    StreamOpened {
        link: LinkId,
        number: u64,
        send: SendStream,
        receive: Option<RecvStream>,
    },
    /// Datagrams that waited for room have found it.
    DatagramsTaken(LinkId),
}

/// Whether the machine has accepted the other side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Accepted,
    Stranger,
}

/// What a dial asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialed {
    pub(super) dial: DialId,
    pub(super) expected: Expected,
}

/// Where the tasks of a connection put what they read. Heartbeats and canaries have a queue of
/// their own, which is never held back.
#[derive(Clone, Debug)]
pub(super) struct Inputs(pub(super) Sender<Input>);

impl Inputs {
    /// Waits for room. When the loop has ended there is nobody to tell.
    pub(super) async fn send(&self, input: Input) {
        self.0.send(input).await.unwrap_or_default();
    }
}

/// A connection in the loop's table.
#[derive(Debug)]
pub(super) struct QuicLink {
    link: LinkId,
    connection: quinn::Connection,
    inputs: Inputs,
    datagrams: DatagramSender,
    streams: BTreeMap<StreamId, StreamSender>,
    mtu: usize,
    accepted: watch::Sender<Standing>,
}

impl QuicLink {
    /// Starts the tasks that read streams and wait for the end.
    pub(super) fn start(
        link: LinkId,
        connection: quinn::Connection,
        protocol: Protocol,
        inputs: Inputs,
    ) -> Self {
        if protocol == Protocol::Beat {
            congestion::raise_floor(&connection);
        }
        tokio::spawn(accept_unidirectional(
            link,
            connection.clone(),
            inputs.clone(),
        ));
        tokio::spawn(accept_bidirectional(
            link,
            connection.clone(),
            inputs.clone(),
        ));
        tokio::spawn(wait_for_end(link, connection.clone(), inputs.clone()));
        Self {
            link,
            datagrams: DatagramSender::new(connection.clone()),
            connection,
            inputs,
            streams: BTreeMap::new(),
            mtu: 0,
            accepted: watch::Sender::new(Standing::Stranger),
        }
    }

    /// Overlay protocol section 1: the limits are lifted and datagrams read once the other side
    /// is accepted.
    pub(super) fn accept(&self) {
        if self.accepted.send_replace(Standing::Accepted) == Standing::Accepted {
            return;
        }
        endpoint::lift_limits(&self.connection);
        tokio::spawn(read_datagrams(
            self.link,
            self.connection.clone(),
            self.inputs.clone(),
        ));
    }

    pub(super) fn close(&self, code: CloseCode) {
        self.connection.close(VarInt::from_u32(code as u32), b"");
    }

    pub(super) fn send_datagram(&mut self, data: Bytes) -> Sent {
        self.datagrams.send(self.link, data, &self.inputs)
    }

    pub(super) fn datagrams_taken(&mut self) -> Room {
        self.datagrams.taken()
    }

    pub(super) fn open_stream(&self, number: u64, direction: Direction) {
        let (link, connection, inputs) = (self.link, self.connection.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let opened = match direction {
                Direction::One => connection.open_uni().await.map(|send| (send, None)),
                Direction::Both => connection
                    .open_bi()
                    .await
                    .map(|(send, receive)| (send, Some(receive))),
            };
            // The end of the connection is reported by itself.
            if let Ok((send, receive)) = opened {
                inputs
                    .send(Input::StreamOpened {
                        link,
                        number,
                        send,
                        receive,
                    })
                    .await;
            }
        });
    }

    /// Takes the halves of a stream of either side into service.
    pub(super) fn add_stream(&mut self, send: Option<SendStream>, receive: Option<RecvStream>) {
        if let Some(send) = send {
            let id = stream::stream_id(send.id());
            let sender = StreamSender::start(self.link, send, self.inputs.clone());
            self.streams.insert(id, sender);
        }
        if let Some(receive) = receive {
            tokio::spawn(stream::read(
                self.link,
                receive,
                self.accepted.subscribe(),
                self.inputs.clone(),
            ));
        }
    }

    pub(super) fn send_on_stream(&mut self, id: StreamId, data: Bytes, finish: bool) {
        if let Some(sender) = self.streams.get(&id)
            && sender.send(data, finish) == After::Ended
        {
            self.streams.remove(&id);
        }
    }

    /// The other side wants no more of the stream.
    pub(super) fn forget_stream(&mut self, id: StreamId) {
        self.streams.remove(&id);
    }

    /// The size of the largest datagram, if it is another than at the last call.
    pub(super) fn changed_mtu(&mut self) -> Option<usize> {
        let mtu = self.connection.max_datagram_size()?;
        (std::mem::replace(&mut self.mtu, mtu) != mtu).then_some(mtu)
    }
}

async fn accept_unidirectional(link: LinkId, connection: quinn::Connection, inputs: Inputs) {
    while let Ok(receive) = connection.accept_uni().await {
        inputs
            .send(Input::StreamAccepted {
                link,
                send: None,
                receive,
            })
            .await;
    }
}

async fn accept_bidirectional(link: LinkId, connection: quinn::Connection, inputs: Inputs) {
    while let Ok((send, receive)) = connection.accept_bi().await {
        inputs
            .send(Input::StreamAccepted {
                link,
                send: Some(send),
                receive,
            })
            .await;
    }
}

async fn read_datagrams(link: LinkId, connection: quinn::Connection, inputs: Inputs) {
    while let Ok(data) = connection.read_datagram().await {
        inputs
            .send(Input::Event(link, LinkEvent::Datagram(data)))
            .await;
    }
}

async fn wait_for_end(link: LinkId, connection: quinn::Connection, inputs: Inputs) {
    let code = match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => {
            u32::try_from(close.error_code.into_inner()).ok()
        }
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted
        | ConnectionError::LocallyClosed
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch => None,
    };
    inputs
        .send(Input::Event(link, LinkEvent::Closed { code }))
        .await;
}
