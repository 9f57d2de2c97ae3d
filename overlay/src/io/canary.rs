//! The canary: a TCP connection that says nothing after its two nonces. Its end hints that the
//! process at the other end is gone, which QUIC would not tell (overlay protocol section 1).

use super::connection::{Input, Inputs};
use super::descriptor;
use crate::link_event::{LinkEvent, LinkId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A canary in the loop's table; the connection ends when this is dropped.
#[derive(Debug)]
pub(super) struct CanaryLink {
    /// Until the nonce is sent; then kept, because the task ends when it is dropped.
    nonce: Option<oneshot::Sender<[u8; 16]>>,
    _alive: oneshot::Sender<()>,
}

impl CanaryLink {
    /// Starts the task that drives it.
    pub(super) fn start(link: LinkId, stream: TcpStream, inputs: Inputs) -> Self {
        let (nonce, own_nonce) = oneshot::channel();
        let (alive, end) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                () = drive(link, stream, own_nonce, &inputs) => {
                    inputs.send(Input::Event(link, LinkEvent::Closed { code: None })).await;
                }
                _ = end => {}
            }
        });
        Self {
            nonce: Some(nonce),
            _alive: alive,
        }
    }

    /// Sends this side's nonce, once.
    pub(super) fn send_nonce(&mut self, nonce: [u8; 16]) {
        if let Some(sender) = self.nonce.take() {
            // If the task has ended, the end of the connection is under way to the machine.
            sender.send(nonce).unwrap_or_default();
        }
    }
}

/// Returns at the end of the connection, whoever caused it.
async fn drive(
    link: LinkId,
    mut stream: TcpStream,
    own_nonce: oneshot::Receiver<[u8; 16]>,
    inputs: &Inputs,
) {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        if let Ok(nonce) = own_nonce.await
            && writer.write_all(&nonce).await.is_err()
        {
            return;
        }
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut nonce = [0; 16];
        if reader.read_exact(&mut nonce).await.is_ok() {
            inputs
                .send(Input::Event(link, LinkEvent::CanaryNonce(nonce)))
                .await;
            // Nothing more is said: whatever comes is the end.
            reader.read_u8().await.ok();
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

/// Takes canaries for as long as the listener lives.
pub(super) async fn accept(listener: TcpListener, inputs: Inputs, refused: Arc<AtomicU64>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let Ok(stream) = closed_early(stream) else {
                    continue;
                };
                inputs
                    .send(Input::Canary {
                        stream,
                        remote,
                        dialed: None,
                    })
                    .await;
            }
            // Out of descriptors, or the other side was gone before it was taken.
            Err(error) => {
                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tracing::debug!(%error, "a canary could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connects to the TCP port of a neighbor.
pub(super) async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    closed_early(TcpStream::connect(address).await?)
}

/// The end of a canary is what neighbors of a killed peer see first, if it is closed first.
fn closed_early(stream: TcpStream) -> std::io::Result<TcpStream> {
    let early = descriptor::closed_early(stream.into_std()?.into());
    TcpStream::from_std(early.into())
}

/// When descriptors are short, accepting again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[tokio::test]
    async fn a_killed_process_closes_its_canaries_before_all_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialed = connect(listener.local_addr().unwrap()).await.unwrap();
        let later = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let accepted = closed_early(accepted).unwrap();
        assert!(dialed.as_raw_fd() > later.as_raw_fd());
        assert!(accepted.as_raw_fd() > later.as_raw_fd());
    }
}
