//! The tasks that read and write one stream of a connection.

use super::connection::{Input, Inputs, Standing};
use crate::link_event::{LinkEvent, LinkId, StreamId};
use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;

/// Hands pieces to the task that writes a stream.
#[derive(Debug)]
pub(super) struct StreamSender {
    pieces: Sender<Piece>,
}

struct Piece {
    data: Bytes,
    finish: bool,
}

/// Whether a stream goes on after a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    Ended,
    Open,
}

impl StreamSender {
    /// Starts the task.
    pub(super) fn start(link: LinkId, stream: SendStream, inputs: Inputs) -> Self {
        let (pieces, waiting) = mpsc::channel(PIECES_MAX);
        tokio::spawn(write(link, stream, waiting, inputs));
        Self { pieces }
    }

    /// Queues a piece; nothing happens if the stream is gone, which is reported by itself.
    pub(super) fn send(&self, data: Bytes, finish: bool) -> After {
        let sent = self.pieces.try_send(Piece { data, finish });
        assert!(
            !matches!(sent, Err(mpsc::error::TrySendError::Full(_))),
            "the machine waits for StreamWritable"
        );
        if finish || sent.is_err() {
            After::Ended
        } else {
            After::Open
        }
    }
}

async fn write(link: LinkId, mut stream: SendStream, mut pieces: Receiver<Piece>, inputs: Inputs) {
    let id = stream_id(stream.id());
    let stopped = stream.stopped();
    tokio::pin!(stopped);
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            Ok(Some(_)) = &mut stopped => {
                inputs.send(Input::Event(link, LinkEvent::StreamReset(id))).await;
                return;
            }
        };
        // The machine has closed the connection.
        let Some(piece) = piece else {
            return;
        };
        match stream.write_chunk(piece.data).await {
            Ok(()) => {}
            Err(WriteError::Stopped(_)) => {
                inputs
                    .send(Input::Event(link, LinkEvent::StreamReset(id)))
                    .await;
                return;
            }
            // The end of the connection is reported by itself.
            Err(WriteError::ConnectionLost(_)) => return,
            Err(WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
                unreachable!("only this task ends the stream, and there is no early data")
            }
        }
        if piece.finish {
            // An error means that the other side wants no more, and no more comes.
            stream.finish().unwrap_or_default();
        }
        if pieces.is_empty() {
            inputs
                .send(Input::Event(link, LinkEvent::StreamWritable(id)))
                .await;
        }
        if piece.finish {
            return;
        }
    }
}

/// Reads a stream to its end. Back-pressure: the task waits while the machine has much to do,
/// and then the window of the transport closes.
pub(super) async fn read(
    link: LinkId,
    mut stream: RecvStream,
    mut accepted: watch::Receiver<Standing>,
    inputs: Inputs,
) {
    let id = stream_id(stream.id());
    let mut size = 0;
    loop {
        // Reading opens the transport's window again, so a stranger is not read on and on.
        let is_enough =
            |standing: &Standing| *standing == Standing::Accepted || size < STRANGER_SIZE_MAX;
        if accepted.wait_for(is_enough).await.is_err() {
            return;
        }
        let mut chunks = [const { Bytes::new() }; CHUNKS_MAX];
        let event = match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                let data = join(&chunks[..count]);
                size += data.len();
                LinkEvent::Stream {
                    stream: id,
                    data,
                    finished: false,
                }
            }
            Ok(None) => LinkEvent::Stream {
                stream: id,
                data: Bytes::new(),
                finished: true,
            },
            Err(ReadError::Reset(_)) => LinkEvent::StreamReset(id),
            // The end of the connection is reported by itself.
            Err(ReadError::ConnectionLost(_)) => return,
            Err(
                ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected,
            ) => unreachable!("only this task reads the stream, in order, without early data"),
        };
        let is_last = matches!(
            event,
            LinkEvent::Stream { finished: true, .. } | LinkEvent::StreamReset(_)
        );
        inputs.send(Input::Event(link, event)).await;
        if is_last {
            return;
        }
    }
}

/// One piece of what came in several packets: the machine has less to do.
fn join(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [chunk] => chunk.clone(),
        chunks => chunks.concat().into(),
    }
}

/// The number that QUIC gives a stream, which both ends know.
pub(super) fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId(VarInt::from(id).into_inner())
}

/// The machine hands over one piece and waits; a little more makes the ends of streams simple.
const PIECES_MAX: usize = 4;
/// A packet brings one; together they are about 64 KiB.
const CHUNKS_MAX: usize = 48;
/// Overlay protocol section 1: a stranger's hello, or its request to join, has at most 4 KiB.
const STRANGER_SIZE_MAX: usize = 8 * 1024;
