//! The sub-commands' side of the admin socket.

use crate::admin::{CHUNK_SIZE_MAX, Done, REPLY_SIZE_MAX, Reply, Request, UploadLine};
use crate::status::Status;
use data_encoding::BASE64;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a daemon that is not ready is asked again: fast enough for a person, light enough
/// for the daemon.
const WAIT_PAUSE: Duration = Duration::from_millis(50);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens on the socket.
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The daemon did nothing, and says why.
    Refused(String),
    /// The connection broke.
    Broken(io::Error),
    /// The daemon said what this client does not know.
    Unknown(String),
    /// The daemon does not serve current data after this long, and why.
    NotReady(Duration, String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon { path, cause } => {
                let path = path.display();
                write!(
                    f,
                    "no daemon answers at {path} ({cause}); name it by --data-dir or --admin"
                )
            }
            Self::Refused(reason) => f.write_str(reason),
            Self::Broken(cause) => write!(f, "the daemon hung up: {cause}"),
            Self::Unknown(reply) => write!(f, "the daemon answers what is not known here: {reply}"),
            Self::NotReady(patience, reason) => {
                write!(f, "not ready after {} s: {reason}", patience.as_secs())
            }
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(cause: io::Error) -> Self {
        Self::Broken(cause)
    }
}

impl Client {
    /// Connects to the daemon whose socket this is.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let no_daemon = |cause| ClientError::NoDaemon {
            path: path.to_owned(),
            cause,
        };
        let writer = UnixStream::connect(path).map_err(no_daemon)?;
        let reader = BufReader::new(writer.try_clone().map_err(no_daemon)?);
        Ok(Self { reader, writer })
    }

    /// Asks, and gives what comes before the end to `more`.
    pub fn call(
        &mut self,
        request: &Request,
        more: &mut dyn FnMut(Reply),
    ) -> Result<Done, ClientError> {
        self.begin(request)?;
        self.finish(more)
    }

    /// Writes a request; [`Self::finish`] reads the answer.
    pub fn begin(&mut self, request: &Request) -> Result<(), ClientError> {
        self.write(&serde_json::to_vec(request).expect("requests have string keys only"))
    }

    /// Writes at most [`CHUNK_SIZE_MAX`] bytes of an upload.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        assert!(bytes.len() <= CHUNK_SIZE_MAX, "the caller cuts uploads");
        self.upload_line(&UploadLine::Chunk(BASE64.encode(bytes)))
    }

    /// Ends an upload.
    pub fn commit(&mut self) -> Result<(), ClientError> {
        self.upload_line(&UploadLine::Commit)
    }

    /// Reads replies until the last one.
    pub fn finish(&mut self, more: &mut dyn FnMut(Reply)) -> Result<Done, ClientError> {
        loop {
            match self.read()? {
                Reply::Done(done) => return Ok(done),
                Reply::Refused(reason) => return Err(ClientError::Refused(reason)),
                reply => more(reply),
            }
        }
    }

    fn upload_line(&mut self, line: &UploadLine) -> Result<(), ClientError> {
        let line = serde_json::to_vec(line).expect("lines of an upload are strings");
        self.write(&line).map_err(|error| {
            // A daemon that refuses an upload says so and hangs up in the middle of it.
            match self.read() {
                Ok(Reply::Refused(reason)) => ClientError::Refused(reason),
                _ => error,
            }
        })
    }

    fn write(&mut self, line: &[u8]) -> Result<(), ClientError> {
        self.writer.write_all(line)?;
        self.writer.write_all(b"\n")?;
        Ok(())
    }

    fn read(&mut self) -> Result<Reply, ClientError> {
        let mut line = Vec::new();
        (&mut self.reader)
            .take(REPLY_SIZE_MAX as u64)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|error| ClientError::Unknown(error.to_string()))
    }
}

/// Asks a daemon for its status.
pub fn status(path: &Path) -> Result<Status, ClientError> {
    let done = Client::connect(path)?.call(&Request::Status, &mut |_| {})?;
    match done {
        Done::Status(status) => Ok(*status),
        other => Err(ClientError::Unknown(format!("{other:?}"))),
    }
}

/// Asks a daemon for its status until it serves current data; it may not even have started.
pub fn wait_until_current(path: &Path, patience: Duration) -> Result<Status, ClientError> {
    let start = Instant::now();
    loop {
        let reason = match status(path) {
            Ok(status) if status.health.is_current() => return Ok(status),
            Ok(status) => match status.health.reasons.as_slice() {
                [] => format!("the peer is {}", status.health.phase),
                reasons => reasons.join("; "),
            },
            Err(error) => error.to_string(),
        };
        if start.elapsed() >= patience {
            return Err(ClientError::NotReady(patience, reason));
        }
        std::thread::sleep(WAIT_PAUSE);
    }
}
