//! A fresh data directory becomes a member's: dial the inviter, take what it sends, store it.

use super::clock;
use super::start::DataDir;
use crate::durable::{self, LoadError};
use crate::stage::Receiver;
use overlay::io::endpoint::Listeners;
use overlay::io::link::{LinkError, LinkThread, SendError};
use overlay::join::{Join, JoinEvent, JoinRequest};
use overlay::{Admit, Command, Member, Node, NodeEvent, Token};
use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, TrySendError, sync_channel};
use std::time::Duration;
use tracing::{info, warn};

/// Events that wait for this thread; the link thread waits when there are more.
const EVENTS_MAX: usize = 4_096;
/// How often this thread looks whether it is to stop.
const PERIOD: Duration = Duration::from_millis(100);

/// Why nothing was joined.
#[derive(Debug)]
pub enum JoinError {
    /// The inviter says no: the token is used, expired or wrong.
    Refused,
    /// The links cannot be opened.
    Links(LinkError),
    /// What came cannot be stored.
    Store(LoadError),
    /// The token is too old to be tried.
    Expired,
    /// It was asked to stop.
    Stopped,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str(
                "the join is refused: the token is used, expired or wrong, or the name is taken \
                 (the inviter's log says which); ask for a new one with `dnsd invite`",
            ),
            Self::Links(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Expired => {
                f.write_str("the token has expired; ask for a new one with `dnsd invite`")
            }
            Self::Stopped => f.write_str("stopped before the join was complete"),
        }
    }
}

impl std::error::Error for JoinError {}

/// What came so far over the present connection.
#[derive(Default)]
struct Coming {
    stage: Receiver,
    admitted: Option<(Admit, Vec<Member>)>,
}

/// Joins; the data directory is a member's afterwards.
pub fn join(
    data: &mut DataDir,
    token: Token,
    name: String,
    addresses: Vec<SocketAddr>,
    listeners: Listeners,
    is_stopping: &dyn Fn() -> bool,
) -> Result<(), JoinError> {
    if token.is_expired(clock::wall()) {
        return Err(JoinError::Expired);
    }
    let join = Join::resume([], fastrand::u64(..)).expect("there are no rows to misread");
    let node = Node::new(None, join);
    let (deliver, events) = sync_channel(EVENTS_MAX);
    let links = LinkThread::start(listeners, &data.identity, node, move |event| {
        let error = deliver.try_send(event).err()?;
        let (TrySendError::Full(event) | TrySendError::Disconnected(event)) = error;
        Some(event)
    })
    .map_err(JoinError::Links)?;
    let say = |command: Command| {
        let mut command = command;
        // The link thread takes commands as fast as it can; a joiner has nothing else to do.
        while let Err(SendError::Full(back)) = links.send(command) {
            command = back;
            clock::pause();
        }
    };
    let key = data.identity.public_key();
    info!(peer = %key.peer_id(), name, "joining");
    say(Command::Join(JoinRequest {
        token,
        key,
        name,
        addresses,
    }));
    let mut coming = Coming::default();
    loop {
        if is_stopping() {
            links.stop();
            return Err(JoinError::Stopped);
        }
        let event = match events.recv_timeout(PERIOD) {
            Ok(NodeEvent::Join(event)) => event,
            Ok(_) | Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err(JoinError::Stopped),
        };
        match event {
            JoinEvent::Connected { remote } => {
                info!(%remote, "connected to the inviter");
                coming = Coming::default();
            }
            JoinEvent::Waiting(reason) => info!(reason, "the inviter waits"),
            JoinEvent::Stage(bytes) | JoinEvent::Snapshot(bytes) => {
                if coming.stage.push(&bytes).is_err() {
                    return Err(malformed());
                }
                say(Command::Taken(bytes.len()));
            }
            JoinEvent::Admitted { admit, members } => coming.admitted = Some((admit, members)),
            JoinEvent::Done => {
                let Coming { stage, admitted } = std::mem::take(&mut coming);
                let (Some((admit, members)), Ok(received)) = (admitted, stage.finish()) else {
                    return Err(malformed());
                };
                durable::take_snapshot(&mut data.store, &admit, &received, &members)
                    .map_err(JoinError::Store)?;
                say(Command::Stored);
                links.stop();
                info!(name = admit.name, "joined");
                return Ok(());
            }
            JoinEvent::Refused => {
                links.stop();
                return Err(JoinError::Refused);
            }
            JoinEvent::Retrying { reason } => warn!(reason, "trying again"),
            JoinEvent::Invited(_)
            | JoinEvent::Asked { .. }
            | JoinEvent::Space { .. }
            | JoinEvent::Joined { .. }
            | JoinEvent::Gone { .. }
            | JoinEvent::AskRefused { .. } => {}
        }
    }
}

fn malformed() -> JoinError {
    JoinError::Store(LoadError::Rows(replication::Corrupt::Snapshot))
}
