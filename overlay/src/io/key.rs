//! The identity of a peer on disk: an Ed25519 key in the file `key` of the data directory, made
//! once.

use crate::peer_id::{PeerId, PublicKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The key of a peer, and what follows from it.
pub struct Identity {
    pkcs8: Vec<u8>,
    public: PublicKey,
}

/// Why there is no identity.
#[derive(Debug)]
pub enum KeyError {
    /// The file could not be read.
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file could not be made.
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no Ed25519 key.
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    Random,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Write { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Self::Exposed { path, mode } => write!(
                f,
                "{} can be used by others (mode {mode:03o}): it is this peer's private key; \
                 if nobody has copied it, run chmod 600",
                path.display()
            ),
            Self::Malformed { path } => {
                write!(f, "{} is not an Ed25519 key in PKCS#8 form", path.display())
            }
            Self::Random => write!(f, "the system gives no random numbers for a key"),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Exposed { .. } | Self::Malformed { .. } | Self::Random => None,
        }
    }
}

impl Identity {
    /// Reads the identity from the data directory; makes it if there is none.
    pub fn load_or_make(data_dir: &Path) -> Result<Self, KeyError> {
        let path = data_dir.join(FILE_NAME);
        match File::open(&path) {
            Ok(file) => Self::load(&path, file),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let identity = Self::generate()?;
                identity
                    .write(data_dir, &path)
                    .map_err(|source| KeyError::Write { path, source })?;
                Ok(identity)
            }
            Err(source) => Err(KeyError::Read { path, source }),
        }
    }

    /// A new identity that is nowhere on disk.
    pub fn generate() -> Result<Self, KeyError> {
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Ok(Self::from_pkcs8(pkcs8.as_ref().to_vec()).expect("ring reads what it has made"))
    }

    /// What signs in this peer's name.
    #[must_use]
    pub fn signer(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8)
            .expect("it was read once when the identity was made")
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The short name of this peer.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.public.peer_id()
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    fn load(path: &Path, file: File) -> Result<Self, KeyError> {
        let read = |source| KeyError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = file.metadata().map_err(read)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut pkcs8 = Vec::new();
        file.take(FILE_SIZE_MAX)
            .read_to_end(&mut pkcs8)
            .map_err(read)?;
        Self::from_pkcs8(pkcs8).ok_or_else(|| KeyError::Malformed {
            path: path.to_owned(),
        })
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pkcs8, public })
    }

    /// Whole and durable under its name, or not there at all.
    fn write(&self, data_dir: &Path, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&self.pkcs8)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(data_dir)?.sync_all()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id())
    }
}

const FILE_NAME: &str = "key";
/// An Ed25519 key in PKCS#8 form has 48 to 85 bytes.
const FILE_SIZE_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn an_identity_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = Identity::load_or_make(dir.path()).unwrap();
        let read = Identity::load_or_make(dir.path()).unwrap();
        assert_eq!(made.peer_id(), read.peer_id());
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(names, [dir.path().join("key")]);
        assert_eq!(
            fs::metadata(&names[0]).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn what_a_stopped_write_left_behind_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key.new"), b"half").unwrap();
        Identity::load_or_make(dir.path()).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_and_a_file_that_is_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_make(dir.path()).unwrap();
        let path = dir.path().join("key");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load_or_make(dir.path()).unwrap_err();
        assert!(
            matches!(error, KeyError::Exposed { mode: 0o640, .. }),
            "{error}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"no key").unwrap();
        let error = Identity::load_or_make(dir.path()).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
    }
}
