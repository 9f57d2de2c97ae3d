//! The certificate authorities of clients: who shows a certificate is proven by them, and who shows
//! none is served all the same.
//!
//! Their file is read again when it changes.

use super::certificate::CertificateError;
use super::clock;
use super::file::{self, Stamp};
use crate::serve::Identity;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::sleep;
use tracing::{info, warn};
use webpki::EndEntityCert;

/// The authorities that count at the moment.
pub struct ClientAuthorities {
    file: PathBuf,
    trusted: Mutex<Trusted>,
    provider: Arc<CryptoProvider>,
}

struct Trusted {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Of which file they are, or which could not be read: it is not tried again.
    seen: Option<Stamp>,
}

impl ClientAuthorities {
    /// Reads them.
    pub fn open(file: PathBuf) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(default_provider());
        let seen = Stamp::of(&file);
        let verifier = load(&file, &provider)?;
        Ok(Arc::new(Self {
            file,
            trusted: Mutex::new(Trusted { verifier, seen }),
            provider,
        }))
    }

    /// Whom the certificate that a client has shown names, with those that lead to its root; none
    /// if it is not proven, or not any more: a session that is resumed has been proven long ago.
    #[must_use]
    pub fn identity(&self, shown: &[CertificateDer<'_>]) -> Option<Arc<Identity>> {
        let (own, rest) = shown.split_first()?;
        let now = UnixTime::since_unix_epoch(clock::wall());
        self.verifier().verify_client_cert(own, rest, now).ok()?;
        let own = EndEntityCert::try_from(own).ok()?;
        let names = own.valid_dns_names().filter_map(|name| name.parse().ok());
        Some(Arc::new(Identity {
            names: names.collect(),
        }))
    }

    /// Reads the file again whenever it has changed. One that is no good leaves the last one.
    pub async fn watch(self: Arc<Self>) {
        loop {
            sleep(file::LOOK).await;
            self.look();
        }
    }

    fn look(&self) {
        let seen = Stamp::of(&self.file);
        if self.trusted().seen == seen {
            return;
        }
        let loaded = load(&self.file, &self.provider);
        let mut trusted = self.trusted();
        trusted.seen = seen;
        match loaded {
            Ok(verifier) => {
                trusted.verifier = verifier;
                info!(file = %self.file.display(), "the authorities of clients have been read again");
            }
            Err(error) => {
                warn!(%error, "the new authorities of clients are no good: the last ones are kept");
            }
        }
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.trusted().verifier)
    }

    fn trusted(&self) -> MutexGuard<'_, Trusted> {
        // It is whole after every change.
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let bytes = file::read(path).map_err(CertificateError::File)?;
    let bad = |error| CertificateError::Pem(path.to_owned(), error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let unfit = |error| CertificateError::Authority(path.to_owned(), error);
        roots.add(certificate.map_err(bad)?).map_err(unfit)?;
    }
    if roots.is_empty() {
        return Err(bad(pem::Error::NoItemsFound));
    }
    let provider = Arc::clone(provider);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = builder.allow_unauthenticated().build();
    Ok(verifier.expect("there are roots, and no revocation lists"))
}

/// As the newest authorities say.
impl ClientCertVerifier for ClientAuthorities {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // RFC 8446 section 4.2.4: it may be left out. What the file says is others by and by.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verifier = self.verifier();
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.verifier();
        verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.verifier();
        verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier().supported_verify_schemes()
    }
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use std::fs;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn issue(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, authority).unwrap().der().clone()
    }

    #[test]
    fn whom_a_certificate_names_counts_while_its_authority_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let (old, new) = (authority(), authority());
        fs::write(&file, old.pem()).unwrap();
        let authorities = ClientAuthorities::open(file.clone()).unwrap();
        let [of_old, of_new] = [&old, &new].map(|authority| issue(authority, "NS2.example"));
        let is_known = |shown: &CertificateDer<'static>| {
            let identity = authorities.identity(std::slice::from_ref(shown));
            let name = "ns2.example".parse().unwrap();
            identity.is_some_and(|identity| identity.names == [name])
        };
        assert!(authorities.identity(&[]).is_none());
        assert!(is_known(&of_old) && !is_known(&of_new));
        // A file that is no good changes nothing; another does.
        fs::write(&file, "nothing").unwrap();
        authorities.look();
        assert!(is_known(&of_old));
        fs::write(&file, new.pem()).unwrap();
        authorities.look();
        assert!(!is_known(&of_old) && is_known(&of_new));
        fs::write(&file, old.pem() + &new.pem()).unwrap();
        authorities.look();
        assert!(is_known(&of_old) && is_known(&of_new));
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let open = |file: &Path| {
            ClientAuthorities::open(file.to_owned())
                .unwrap_err()
                .to_string()
        };
        assert!(open(&file).contains("ca.pem: No such file"));
        fs::write(&file, "nothing").unwrap();
        assert!(open(&file).contains("ca.pem: nothing of the kind"));
    }
}
