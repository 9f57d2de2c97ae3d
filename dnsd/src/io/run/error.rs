//! Why the daemon does not run, as an operator reads it.

use crate::durable::LoadError;
use crate::io::certificate::CertificateError;
use crate::io::joining::JoinError;
use crate::io::listeners::ListenError;
use crate::io::start::StartError;
use crate::policy::RULES_MAX;
use overlay::ClusterId;
use overlay::io::link::LinkError;
use std::{fmt, io};
use zones::zonefile::Rejected;

/// Why the daemon does not run.
#[derive(Debug)]
pub enum ServeError {
    /// A zone file of the birth cannot be used.
    Zone(Box<Rejected>),
    /// The data directory cannot be used.
    Start(StartError),
    /// It holds another cluster's data than the token's.
    OtherCluster(ClusterId, ClusterId),
    /// Nothing was joined.
    Join(JoinError),
    /// An address for DNS.
    Listen(ListenError),
    /// The certificate for encrypted DNS.
    Certificate(CertificateError),
    /// The address for links.
    Links(LinkError),
    /// The admin socket, or the address for metrics.
    Bind(String, io::Error),
    /// There are more `--allow-*` than rules may be.
    Rules,
    /// The system gives no randomness.
    Random,
    /// The runtime could not be started.
    Runtime(io::Error),
    /// Another process runs with this peer's key.
    KeyInUse,
    /// It ran and could not go on; why is in the log.
    Failed,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(rejected) => {
                for (number, error) in rejected.errors.iter().enumerate() {
                    if number > 0 {
                        f.write_str("\n")?;
                    }
                    error.fmt(f)?;
                }
                Ok(())
            }
            Self::Start(error) if error.is_corrupt() => write!(
                f,
                "{error}. Restore it from a backup, or move it aside and join anew: \
                 --set-aside-corrupt-store --join TOKEN"
            ),
            Self::Start(error) => error.fmt(f),
            Self::OtherCluster(held, token) => write!(
                f,
                "the data directory belongs to cluster {held}, and the token to {token}; \
                 nothing was changed. Use another --data-dir"
            ),
            Self::Join(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Certificate(error) => error.fmt(f),
            Self::Links(error) => error.fmt(f),
            Self::Bind(what, error) => write!(f, "cannot listen on {what}: {error}"),
            Self::Rules => write!(f, "--allow-* may name {RULES_MAX} prefixes at most"),
            Self::Random => f.write_str("the system gives no randomness"),
            Self::Runtime(error) => write!(f, "cannot start threads: {error}"),
            Self::KeyInUse => f.write_str(
                "another process runs with this peer's key: its data directory was copied. \
                 Stop one of the two for good, and let it join anew with an empty directory",
            ),
            Self::Failed => f.write_str("the daemon cannot go on; its log says why"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<LoadError> for ServeError {
    fn from(error: LoadError) -> Self {
        Self::Start(error.into())
    }
}
