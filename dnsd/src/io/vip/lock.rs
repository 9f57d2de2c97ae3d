//! That there is one guard, of one data directory and in one network namespace: two would take
//! addresses from each other, and from the daemons that they guard.
//!
//! ```text
//!  file  locked in the data directory: nobody else can open it
//!  name  of a socket, of the whole namespace: it shows the daemons of other data directories.
//!        Anybody may take it, so whoever is neither root nor this user is not believed
//! ```
//! Both are gone with the process, whatever ends that.

use super::rights;
use socket2::{Domain, SockAddr, Socket, Type};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// The name.
const NAME: &[u8] = b"zonecast-vip-guard";
/// The file beside the record.
const FILE: &str = "vips.lock";
/// How often it is asked anew whose the name is.
const JUDGE_PERIOD: Duration = Duration::from_secs(1);
/// A guard that ends, or has the name only just, cannot be asked for a moment.
const REFUSALS_MAX: u32 = 10;

/// What makes this guard the only one.
#[derive(Default)]
pub(super) struct Lock {
    file: Option<File>,
    name: Option<UnixListener>,
    /// When it was last seen that somebody who is believed has the name.
    judged: Option<Instant>,
    /// Times at which nobody who has the name could be asked.
    refusals: u32,
}

impl Lock {
    /// Tries to become the only guard. False if another one is there.
    pub(super) fn take(&mut self, record: Option<&Path>) -> io::Result<bool> {
        if let Some(record) = record
            && self.file.is_none()
        {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(record.with_file_name(FILE))?;
            match file.try_lock() {
                Ok(()) => self.file = Some(file),
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        match UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?) {
            Ok(name) => {
                name.set_nonblocking(true)?;
                self.name = Some(name);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(!self.is_believed()),
            Err(error) => Err(error),
        }
    }

    /// Lets those that wait ask again who has the name.
    pub(super) fn answer(&self) {
        while self.name.as_ref().is_some_and(|name| name.accept().is_ok()) {}
    }

    /// True if the one that has the name may be another guard.
    fn is_believed(&mut self) -> bool {
        if self.judged.is_none_or(|at| at.elapsed() >= JUDGE_PERIOD) {
            match user_of_name() {
                Ok(user) => {
                    self.judged = Some(Instant::now());
                    self.refusals = 0;
                    return user == 0 || user == rights::user();
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.refusals += 1;
                    return self.refusals < REFUSALS_MAX;
                }
                // It accepts nobody, as no guard does.
                Err(_) => return false,
            }
        }
        true
    }
}

/// Asks the kernel who has the name.
fn user_of_name() -> io::Result<u32> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let mut path = vec![0];
    path.extend(NAME);
    socket.connect(&SockAddr::unix(OsStr::from_bytes(&path))?)?;
    rights::user_of_peer(&socket)
}
