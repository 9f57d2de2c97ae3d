//! The admin socket: reads requests, hands each to the peer with a way to answer it.
//!
//! ```text
//!   dnsd sub-command ⇄ connection ─Call→ `hand` → the peer's thread (or a job aside)
//!                          ▲                          │
//!                          └──── Answer: replies ─────┘
//! ```

use crate::admin::{
    CHUNK_SIZE_MAX, Done, LINE_SIZE_MAX, Progress, Reply, Request, UPLOAD_SIZE_MAX, UploadLine,
};
use data_encoding::BASE64;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Clients at once: people and their scripts, no load.
const CONNECTIONS_MAX: usize = 16;
/// Replies that wait for a slow client; more of an export waits where it is made.
const REPLIES_MAX: usize = 16;
/// A client that asks nothing for so long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Uploads come from programs; one that pauses for so long holds memory for nothing.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that does not take a reply for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest text in one reply: escaped in JSON it doubles at most.
const TEXT_SIZE_MAX: usize = CHUNK_SIZE_MAX / 2;
/// Only the user that runs the daemon may command it.
const SOCKET_MODE: u32 = 0o600;

/// One request on its way to the peer.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// The records of a [`Request::ZoneImport`]; empty for all others.
    pub upload: Vec<u8>,
    /// Where the replies go. Dropped without an end, it tells the client that the daemon stops.
    pub answer: Answer,
}

/// Where the replies to one request go.
#[derive(Debug)]
pub struct Answer {
    more: mpsc::Sender<Reply>,
    last: oneshot::Sender<Reply>,
}

/// The client does not wait for the answer any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientGone;

impl Answer {
    /// Says how far the command has come. Never waits: a slow client misses some of it.
    pub fn progress(&self, progress: Progress) {
        // A full queue holds newer news than the client has read; a closed one needs none.
        drop(self.more.try_send(Reply::Progress(progress)));
    }

    /// Sends text of an export; waits for a slow client, so only threads of their own call it.
    pub fn text_blocking(&self, text: &str) -> Result<(), ClientGone> {
        let mut rest = text;
        while !rest.is_empty() {
            let mut size = rest.len().min(TEXT_SIZE_MAX);
            while !rest.is_char_boundary(size) {
                size -= 1;
            }
            let (part, after) = rest.split_at(size);
            self.more
                .blocking_send(Reply::Text(part.to_owned()))
                .map_err(|_| ClientGone)?;
            rest = after;
        }
        Ok(())
    }

    /// Ends the command: it is done.
    pub fn done(self, done: Done) {
        self.end(Reply::Done(done));
    }

    /// Ends the command: nothing was done, and this is why.
    pub fn refuse(self, reason: impl Into<String>) {
        self.end(Reply::Refused(reason.into()));
    }

    /// True if the client does not wait any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.last.is_closed()
    }

    fn end(self, reply: Reply) {
        // A client that has gone away needs no answer.
        drop(self.last.send(reply));
    }
}

/// A bound admin socket; its file goes away with it.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Binds the socket. The file of a daemon that was killed is replaced; that of one that runs
    /// is not. Must be called within a runtime.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another daemon listens there",
            ));
        }
        // Bound under another name, the socket is never there with the wrong mode.
        let unready = path.with_extension("new");
        match fs::remove_file(&unready) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&unready)?;
        fs::set_permissions(&unready, Permissions::from_mode(SOCKET_MODE))?;
        fs::rename(&unready, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves clients until it is dropped. `hand` gives a call to the peer, or back if the peer
    /// has too many of them.
    pub async fn serve<H>(self, hand: H)
    where
        H: Fn(Call) -> Result<(), Call> + Send + Sync + 'static,
    {
        let hand = Arc::new(hand);
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let upload_space = Arc::new(Semaphore::new(UPLOAD_SIZE_MAX));
        loop {
            let permit = Arc::clone(&connections)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the admin socket");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let (hand, upload_space) = (Arc::clone(&hand), Arc::clone(&upload_space));
            tokio::spawn(async move {
                let mut connection = Connection::new(stream, upload_space);
                // The client is gone or broke the protocol: it has been told what can be told.
                if let Err(error) = connection.run(&*hand).await {
                    tracing::debug!(%error, "a client of the admin socket is gone");
                }
                drop(permit);
            });
        }
    }
}

/// Out of file descriptors: some will be free soon.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // Nobody is left to be told; the next daemon replaces the file anyway.
        drop(fs::remove_file(&self.path));
    }
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    upload_space: Arc<Semaphore>,
}

/// The records of an import, and the right to the memory that they take.
struct Upload {
    records: Vec<u8>,
    space: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: UnixStream, upload_space: Arc<Semaphore>) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader: BufReader::new(reader),
            writer,
            upload_space,
        }
    }

    async fn run(&mut self, hand: &impl Fn(Call) -> Result<(), Call>) -> io::Result<()> {
        loop {
            let Some(line) = timeout(IDLE_TIMEOUT, self.line()).await?? else {
                return Ok(());
            };
            let request: Request = match serde_json::from_slice(&line) {
                Ok(request) => request,
                Err(error) => {
                    self.write(&Reply::Refused(format!("no such request: {error}")))
                        .await?;
                    continue;
                }
            };
            let mut upload = Upload {
                records: Vec::new(),
                space: None,
            };
            if matches!(request, Request::ZoneImport { .. })
                && let Err(reason) = self.receive(&mut upload).await?
            {
                // What follows of the upload cannot be told from requests: the connection ends.
                return self.write(&Reply::Refused(reason)).await;
            }
            let (more, mut replies) = mpsc::channel(REPLIES_MAX);
            let (last, end) = oneshot::channel();
            let call = Call {
                request,
                upload: upload.records,
                answer: Answer { more, last },
            };
            if let Err(call) = hand(call) {
                call.answer
                    .refuse("the daemon has too many commands to do; try again");
            }
            self.relay(&mut replies, end).await?;
            drop(upload.space);
        }
    }

    /// Sends the replies on until the last one.
    async fn relay(
        &mut self,
        replies: &mut mpsc::Receiver<Reply>,
        end: oneshot::Receiver<Reply>,
    ) -> io::Result<()> {
        let mut is_quiet = true;
        loop {
            let reply = tokio::select! {
                reply = replies.recv() => reply,
                // A client that hangs up frees its place at once; one that asks on has to wait.
                input = self.reader.fill_buf(), if is_quiet => {
                    if input?.is_empty() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    is_quiet = false;
                    continue;
                }
            };
            match reply {
                Some(reply) => self.write(&reply).await?,
                None => break,
            }
        }
        let last = end.await.unwrap_or_else(|_| {
            Reply::Refused("the daemon is stopping and did not finish this command".to_owned())
        });
        self.write(&last).await
    }

    /// Collects an upload up to its commit. The inner error is the client's fault.
    async fn receive(&mut self, upload: &mut Upload) -> io::Result<Result<(), String>> {
        loop {
            let Some(line) = timeout(UPLOAD_TIMEOUT, self.line()).await?? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let chunk = match serde_json::from_slice(&line) {
                Ok(UploadLine::Commit) => return Ok(Ok(())),
                Ok(UploadLine::Chunk(chunk)) => BASE64.decode(chunk.as_bytes()),
                Err(error) => return Ok(Err(format!("no such line of an upload: {error}"))),
            };
            let chunk = match chunk {
                Ok(chunk) if chunk.len() <= CHUNK_SIZE_MAX => chunk,
                Ok(_) => return Ok(Err(format!("a chunk has over {CHUNK_SIZE_MAX} bytes"))),
                Err(error) => return Ok(Err(format!("a chunk is no base64: {error}"))),
            };
            let size = chunk.len() as u32;
            let Ok(space) = Arc::clone(&self.upload_space).try_acquire_many_owned(size) else {
                return Ok(Err(format!(
                    "no room for this upload: all uploads of one moment may have \
                     {UPLOAD_SIZE_MAX} bytes"
                )));
            };
            match &mut upload.space {
                Some(held) => held.merge(space),
                None => upload.space = Some(space),
            }
            upload.records.extend_from_slice(&chunk);
        }
    }

    /// The next line; none at the end.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let input = self.reader.fill_buf().await?;
            if input.is_empty() {
                if line.is_empty() {
                    return Ok(None);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let newline = input.iter().position(|byte| *byte == b'\n');
            let size = newline.unwrap_or(input.len());
            if line.len() + size > LINE_SIZE_MAX {
                let reason = format!("a line has over {LINE_SIZE_MAX} bytes");
                self.write(&Reply::Refused(reason.clone())).await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            line.extend_from_slice(&input[..size]);
            self.reader.consume(newline.map_or(size, |at| at + 1));
            if newline.is_some() {
                return Ok(Some(line));
            }
        }
    }

    async fn write(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply).expect("replies have string keys only");
        line.push(b'\n');
        timeout(WRITE_TIMEOUT, self.writer.write_all(&line)).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{INVITE_EXPIRES, Majority, Manner, Side, Step, Version};
    use crate::io::admin_client::{Client, ClientError};
    use zones::Name;

    /// A peer that answers what the tests ask.
    fn answer(call: Call) -> Result<(), Call> {
        match call.request.clone() {
            Request::Peers => call.answer.done(Done::Peers(Vec::new())),
            Request::ZoneImport { records, .. } => {
                for done in 1..=2 {
                    call.answer.progress(Progress {
                        step: Step::Storing,
                        done,
                        total: 2,
                    });
                }
                // The size of the upload comes back as a serial.
                assert_eq!(records, 7);
                let serial = call.upload.len() as u32;
                call.answer.done(Done::Exported {
                    serial,
                    side: Side::Publishes,
                });
            }
            Request::ZoneExport { .. } => {
                std::thread::spawn(move || {
                    for line in 0..EXPORT_LINES {
                        call.answer
                            .text_blocking(&format!("line {line}\n"))
                            .unwrap();
                    }
                    call.answer
                        .text_blocking(&"é".repeat(TEXT_SIZE_MAX))
                        .unwrap();
                    call.answer.done(Done::Exported {
                        serial: 1,
                        side: Side::Publishes,
                    });
                });
            }
            Request::Stop => drop(call),
            Request::ZoneList => return Err(call),
            request => call.answer.refuse(format!("{request:?} is refused")),
        }
        Ok(())
    }

    const EXPORT_LINES: usize = 1_000;

    /// Runs `client` against a socket whose calls go to [`answer`].
    fn with_server(client: impl FnOnce(&Path) + Send + 'static) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = AdminSocket::bind(&path).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, SOCKET_MODE);
            assert!(AdminSocket::bind(&path).is_err(), "one daemon only");
            let server = tokio::spawn(socket.serve(answer));
            let client_path = path.clone();
            tokio::task::spawn_blocking(move || client(&client_path))
                .await
                .unwrap();
            server.abort();
            assert!(server.await.unwrap_err().is_cancelled());
        });
        assert!(!path.exists());
    }

    fn refusal(result: Result<Done, ClientError>) -> String {
        match result {
            Err(ClientError::Refused(reason)) => reason,
            other => panic!("expected a refusal, found {other:?}"),
        }
    }

    #[test]
    fn requests_are_answered_one_after_the_other() {
        with_server(|path| {
            let mut client = Client::connect(path).unwrap();
            let mut none = |reply| panic!("no {reply:?} was expected");
            assert_eq!(
                client.call(&Request::Peers, &mut none).unwrap(),
                Done::Peers(Vec::new())
            );
            let invite = Request::Invite {
                expires: INVITE_EXPIRES,
                majority: Majority::Needed,
            };
            assert!(refusal(client.call(&invite, &mut none)).contains("is refused"));
            let busy = refusal(client.call(&Request::ZoneList, &mut none));
            assert!(busy.contains("try again"), "{busy}");
            let stopping = refusal(client.call(&Request::Stop, &mut none));
            assert!(stopping.contains("stopping"), "{stopping}");
            assert!(client.call(&Request::Peers, &mut none).is_ok());
        });
    }

    #[test]
    fn an_upload_arrives_whole_and_progress_comes_back() {
        with_server(|path| {
            let mut client = Client::connect(path).unwrap();
            let request = Request::ZoneImport {
                origin: "example.test".parse().unwrap(),
                records: 7,
                manner: Manner::PLAIN,
            };
            let mut steps = Vec::new();
            client.begin(&request).unwrap();
            for _ in 0..5 {
                client.chunk(&[0xff; CHUNK_SIZE_MAX]).unwrap();
            }
            client.commit().unwrap();
            let done = client.finish(&mut |reply| match reply {
                Reply::Progress(progress) => steps.push(progress.done),
                other => panic!("{other:?}"),
            });
            assert_eq!(
                done.unwrap(),
                Done::Exported {
                    serial: 5 * CHUNK_SIZE_MAX as u32,
                    side: Side::Publishes,
                }
            );
            assert_eq!(steps, [1, 2]);
        });
    }

    #[test]
    fn an_export_comes_in_parts() {
        with_server(|path| {
            let mut client = Client::connect(path).unwrap();
            let request = Request::ZoneExport {
                origin: "example.test".parse().unwrap(),
                version: Version::Now,
            };
            let mut text = String::new();
            let done = client.call(&request, &mut |reply| match reply {
                Reply::Text(part) => text += &part,
                other => panic!("{other:?}"),
            });
            assert_eq!(
                done.unwrap(),
                Done::Exported {
                    serial: 1,
                    side: Side::Publishes,
                }
            );
            assert_eq!(text.lines().count(), EXPORT_LINES + 1);
            assert!(text.ends_with(&"é".repeat(TEXT_SIZE_MAX)));
        });
    }

    #[test]
    fn what_is_no_request_is_refused() {
        use std::io::{BufRead, BufReader, Write};
        let check = |lines: Vec<u8>, expected: &'static str| {
            with_server(move |path| {
                let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
                // The daemon may hang up while the rest of a line that is too long comes.
                drop(stream.write_all(&lines));
                let mut reply = String::new();
                BufReader::new(stream).read_line(&mut reply).unwrap();
                assert!(
                    reply.contains("refused") && reply.contains(expected),
                    "{reply}"
                );
            });
        };
        check(b"hello\n".to_vec(), "no such request");
        check(b"\xff\x00\n".to_vec(), "no such request");
        check(vec![b'x'; LINE_SIZE_MAX + 1], "a line has over");
        let import = serde_json::to_vec(&Request::ZoneImport {
            origin: Name::root(),
            records: 1,
            manner: Manner::PLAIN,
        });
        let import = import.unwrap();
        let upload = |line: &[u8]| [&import[..], b"\n", line, b"\n"].concat();
        check(upload(b"{\"chunk\":\"*\"}"), "no base64");
        check(
            upload(b"{\"command\":\"peers\"}"),
            "no such line of an upload",
        );
    }

    #[test]
    fn a_socket_that_nobody_serves_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let error = Client::connect(&path).unwrap_err().to_string();
        assert!(error.contains("no daemon"), "{error}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            AdminSocket::bind(&path).unwrap();
        });
    }
}
