//! The certificate by which encrypted DNS is served: the operator's, read again when its files
//! change, or one that was made at the first start.

use super::client_authorities::ClientAuthorities;
use super::file::{self, FileError, Stamp};
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::sleep;
use tracing::{info, warn};

/// The files of one that was made, in the data directory.
const MADE: [&str; 2] = ["tls.crt", "tls.key"];

/// Where a certificate is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its root, PEM.
    pub chain: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The certificate that is shown at the moment.
pub struct Certificate {
    files: CertificateFiles,
    shown: Mutex<Shown>,
    provider: Arc<CryptoProvider>,
}

struct Shown {
    key: Arc<CertifiedKey>,
    /// Of which files it is, or which could not be read: those are not tried again.
    seen: [Option<Stamp>; 2],
}

/// Why there is no certificate.
#[derive(Debug)]
pub enum CertificateError {
    /// A file cannot be read or written.
    File(FileError),
    /// A file holds no PEM of the kind that it should.
    Pem(PathBuf, pem::Error),
    /// The two do not go together, or cannot be used.
    Unfit(CertificateFiles, rustls::Error),
    /// A certificate in a file of authorities cannot be one.
    Authority(PathBuf, rustls::Error),
    /// None could be made.
    Make(String),
}

impl CertificateFiles {
    /// Those in the data directory; a certificate for these names is made if there is none. It is
    /// signed by itself: clients that ask for no proof are encrypted with (RFC 7858 section 4.1),
    /// and others can be told its key (section 4.2).
    pub fn made(data_dir: &Path, names: Vec<String>) -> Result<Self, CertificateError> {
        let [chain, key] = MADE.map(|name| data_dir.join(name));
        if !chain.exists() || !key.exists() {
            let made = generate_simple_self_signed(names);
            let made = made.map_err(|error| CertificateError::Make(error.to_string()))?;
            write(&key, made.signing_key.serialize_pem().as_bytes(), 0o600)?;
            write(&chain, made.cert.pem().as_bytes(), 0o644)?;
        }
        Ok(Self { chain, key })
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.chain, &self.key].map(|path| Stamp::of(path))
    }

    fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, CertificateError> {
        let [chain, key] = [&self.chain, &self.key].map(|path| file::read(path));
        let chain = chain.map_err(CertificateError::File)?;
        let key = key.map_err(CertificateError::File)?;
        let bad = |path: &PathBuf| {
            let path = path.clone();
            move |error| CertificateError::Pem(path, error)
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.map_err(bad(&self.chain))?;
        if chain.is_empty() {
            return Err(bad(&self.chain)(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(bad(&self.key))?;
        let unfit = |error| CertificateError::Unfit(self.clone(), error);
        let key = CertifiedKey::from_der(chain, key, provider).map_err(unfit)?;
        Ok(Arc::new(key))
    }
}

impl Certificate {
    /// Reads it.
    pub fn open(files: CertificateFiles) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(default_provider());
        let seen = files.stamps();
        let key = files.load(&provider)?;
        if fs::metadata(&files.key).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
            warn!(file = %files.key.display(), "everybody on this machine can use this private key");
        }
        Ok(Arc::new(Self {
            files,
            shown: Mutex::new(Shown { key, seen }),
            provider,
        }))
    }

    /// What a listener needs, by the names in ALPN of the protocols that it speaks. Clients are
    /// asked for a certificate if there is somebody to prove it by.
    #[must_use]
    pub fn server_config(
        self: &Arc<Self>,
        alpn: &[&[u8]],
        authorities: Option<&Arc<ClientAuthorities>>,
    ) -> Arc<ServerConfig> {
        let resolver = Arc::clone(self) as Arc<dyn ResolvesServerCert>;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            // RFC 9103 section 7.2 asks for it in zone transfers, RFC 9250 in QUIC; and whoever
            // speaks DoT to authoritative servers has it.
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has its cipher suites");
        let builder = match authorities {
            Some(authorities) => builder.with_client_cert_verifier(Arc::clone(authorities) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        // Clients come back without a full handshake, and nothing is kept for them here.
        match Ticketer::new() {
            Ok(ticketer) => config.ticketer = ticketer,
            Err(error) => warn!(%error, "clients cannot resume TLS sessions"),
        }
        Arc::new(config)
    }

    /// Reads the files again whenever they have changed. One that is no good leaves the last one.
    pub async fn watch(self: Arc<Self>) {
        loop {
            sleep(file::LOOK).await;
            self.look();
        }
    }

    fn look(&self) {
        let seen = self.files.stamps();
        if self.shown().seen == seen {
            return;
        }
        let loaded = self.files.load(&self.provider);
        let mut shown = self.shown();
        shown.seen = seen;
        match loaded {
            Ok(key) => {
                shown.key = key;
                info!(file = %self.files.chain.display(), "the certificate has been read again");
            }
            // Its two files are seldom replaced at once: the next look finds both.
            Err(error) => warn!(%error, "the new certificate is no good: the last one is kept"),
        }
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        // It is whole after every change.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown().key))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Pem(path, pem::Error::NoItemsFound) => {
                write!(
                    f,
                    "{}: nothing of the kind is in it, or it is not PEM",
                    path.display()
                )
            }
            Self::Pem(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unfit(files, error) => write!(
                f,
                "{} and {} cannot be used together: {error}",
                files.chain.display(),
                files.key.display()
            ),
            Self::Authority(path, error) => {
                write!(f, "{}: it is no authority: {error}", path.display())
            }
            Self::Make(error) => write!(f, "cannot make a certificate: {error}"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// Writes a file that nobody has read before.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertificateError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let written = options.open(path).and_then(|mut file: fs::File| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|cause: io::Error| CertificateError::File(FileError::new(path, cause)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn made(dir: &Path) -> CertificateFiles {
        fs::create_dir_all(dir).unwrap();
        CertificateFiles::made(dir, vec!["ns1.example".to_owned()]).unwrap()
    }

    #[test]
    fn one_is_made_once_and_its_key_is_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let files = made(dir.path());
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = fs::read(&files.chain).unwrap();
        assert_eq!(made(dir.path()), files);
        assert_eq!(fs::read(&files.chain).unwrap(), before);
        Certificate::open(files).unwrap();
    }

    #[test]
    fn new_files_are_shown_once_they_fit_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let files = made(&dir.path().join("old"));
        let next = made(&dir.path().join("new"));
        let certificate = Certificate::open(files.clone()).unwrap();
        let shown = || certificate.shown().key.cert[0].clone();
        let old = shown();
        let replace = |from: &Path, to: &Path| {
            let between = to.with_extension("between");
            fs::copy(from, &between).unwrap();
            fs::rename(between, to).unwrap();
            certificate.look();
        };
        replace(&next.chain, &files.chain);
        assert_eq!(shown(), old, "its key is another's");
        replace(&next.key, &files.key);
        let new = shown();
        assert_ne!(new, old);
        fs::remove_file(&files.key).unwrap();
        certificate.look();
        assert_eq!(shown(), new);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = made(dir.path());
        let check = |files: &CertificateFiles, expected: &str| {
            let error = Certificate::open(files.clone()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let swapped = CertificateFiles {
            chain: files.key.clone(),
            key: files.chain.clone(),
        };
        check(&swapped, "tls.key");
        let missing = CertificateFiles {
            key: dir.path().join("missing"),
            ..files.clone()
        };
        check(&missing, "missing: No such file");
        let other = made(&dir.path().join("other"));
        let mixed = CertificateFiles {
            key: other.key,
            ..files
        };
        check(&mixed, "cannot be used together");
    }
}
