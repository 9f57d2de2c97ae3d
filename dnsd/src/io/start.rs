//! The data directory of a peer.
//!
//! ```text
//! key            the identity           blobs/HASH     data of imports
//! log/ zones/ history/                  the databases  (see `durable`)
//! admin.sock     while it runs
//! ```

use crate::durable::{self, LoadError};
use overlay::io::key::{Identity, KeyError};
use std::fmt;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use zones::io::store::SledStore;
use zones::store::StoreError;

/// An open data directory.
pub struct DataDir {
    /// Who this peer is.
    pub identity: Identity,
    /// The store.
    pub store: SledStore,
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum StartError {
    /// The directory itself.
    Folder(PathBuf, io::Error),
    /// The key in it.
    Key(KeyError),
    /// It holds a store, and the key is gone.
    KeyMissing(PathBuf),
    /// The key is another one than that of the peer in the store.
    OtherKey(PathBuf),
    /// What it holds.
    Load(LoadError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => {
                write!(
                    f,
                    "cannot use {} as data directory: {error}",
                    path.display()
                )
            }
            Self::Key(error) => error.fmt(f),
            Self::KeyMissing(path) => write!(
                f,
                "{} is missing, by which the other members know this peer. Restore it from a backup, \
                 or evict this peer and join with a fresh data directory",
                path.display()
            ),
            Self::OtherKey(path) => write!(
                f,
                "{} is not the key of the peer in this data directory. Restore it from a backup, \
                 or evict this peer and join with a fresh data directory",
                path.display()
            ),
            Self::Load(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Load(LoadError::Store(error))
    }
}

impl StartError {
    /// True if the store's content is damaged, which `--set-aside-corrupt-store` is for.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Load(error) if error.is_corrupt())
    }
}

impl DataDir {
    /// Opens the directory, or makes it.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| StartError::Folder(path.to_owned(), error))?;
        let store = SledStore::open(path)?;
        let key = path.join("key");
        if !key.exists() {
            let error = match durable::is_member(&store) {
                Ok(false) => None,
                Ok(true) => Some(StartError::KeyMissing(key)),
                Err(error) => Some(error.into()),
            };
            if let Some(error) = error {
                store.give_back()?;
                return Err(error);
            }
        }
        let identity = Identity::load_or_make(path).map_err(StartError::Key)?;
        Ok(Self { identity, store })
    }
}
