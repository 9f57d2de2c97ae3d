//! Datagrams on their way out of one connection. The transport's own buffer drops the oldest when
//! it is full, so datagrams go in only while there is room, and the machine is told when.
//!
//! The machine and this queue count alike: two datagrams are under way, then the machine waits
//! for `Writable`, and may send two more.

use super::connection::{Input, Inputs};
use crate::link_event::LinkId;
use bytes::Bytes;
use quinn::{Connection, SendDatagramError};
use tokio::sync::mpsc::{self, Receiver, Sender};

#[derive(Debug)]
pub(super) struct DatagramSender {
    connection: Connection,
    /// To the task that waits for room, which starts with the connection's first full buffer.
    waiting: Option<Sender<Bytes>>,
    /// Datagrams that are with that task.
    waiting_count: usize,
    /// Since the machine was last told that there is room.
    under_way: usize,
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// It is larger than the path, or more than two were under way.
    pub(super) is_lost: bool,
    pub(super) room: Room,
}

/// Whether the machine, which waits, is to be told that there is room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    Back,
    /// It does not wait yet, or `Input::DatagramsTaken` follows.
    AsBefore,
}

impl DatagramSender {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            waiting: None,
            waiting_count: 0,
            under_way: 0,
        }
    }

    pub(super) fn send(&mut self, link: LinkId, data: Bytes, inputs: &Inputs) -> Sent {
        if self.under_way >= UNDER_WAY_MAX {
            return Sent {
                is_lost: true,
                room: Room::AsBefore,
            };
        }
        self.under_way += 1;
        if data.len() > self.connection.max_datagram_size().unwrap_or_default() {
            // It counts all the same, because the machine has counted it.
            return Sent {
                is_lost: true,
                room: self.room(),
            };
        }
        if self.waiting_count == 0 && data.len() <= self.connection.datagram_send_buffer_space() {
            // It fails only if the connection has ended, which is reported by itself.
            self.connection.send_datagram(data).ok();
            return Sent {
                is_lost: false,
                room: self.room(),
            };
        }
        self.waiting_count += 1;
        let waiting = self.waiting.get_or_insert_with(|| {
            let (waiting, datagrams) = mpsc::channel(UNDER_WAY_MAX);
            tokio::spawn(wait(
                link,
                self.connection.clone(),
                datagrams,
                inputs.clone(),
            ));
            waiting
        });
        // The task ends with the connection, whose end is reported by itself.
        waiting.try_send(data).unwrap_or_default();
        Sent {
            is_lost: false,
            room: Room::AsBefore,
        }
    }

    /// The task has put everything into the transport's buffer.
    pub(super) fn taken(&mut self) -> Room {
        self.waiting_count = 0;
        self.room()
    }

    fn room(&mut self) -> Room {
        if self.under_way < UNDER_WAY_MAX || self.waiting_count > 0 {
            return Room::AsBefore;
        }
        self.under_way = 0;
        Room::Back
    }
}

async fn wait(
    link: LinkId,
    connection: Connection,
    mut datagrams: Receiver<Bytes>,
    inputs: Inputs,
) {
    while let Some(data) = datagrams.recv().await {
        // One that has become too large for the path is lost, as on the path itself.
        if let Err(SendDatagramError::ConnectionLost(_)) = connection.send_datagram_wait(data).await
        {
            return;
        }
        if datagrams.is_empty() {
            inputs.send(Input::DatagramsTaken(link)).await;
        }
    }
}

/// Overlay protocol section 1: two packets, the rest waits by priority in the router.
const UNDER_WAY_MAX: usize = 2;
