//! The settings of encrypted DNS.

use super::Contradiction;
use crate::setting::Setting;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where encrypted DNS is served, and as whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EncryptedSetup {
    /// Where DNS over TLS is served; empty: nowhere.
    pub tls: Vec<SocketAddr>,
    /// The files of the certificate and its key; none: those in the data directory, made at the
    /// first start.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// The settings of `[tls]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TlsSettings {
    /// Serve DNS over TLS here; may be repeated
    #[arg(id = "tls-listen", long = "tls-listen", value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "crate::setting::many")]
    listen: Option<Vec<SocketAddr>>,
    /// The certificate for encrypted DNS and those that lead to its root, PEM; read again when it
    /// changes [default: one signed by itself, kept in the data directory]
    #[arg(id = "tls-certificate", long = "tls-certificate", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM
    #[arg(id = "tls-key", long = "tls-key", value_name = "FILE")]
    key: Option<PathBuf>,
}

impl TlsSettings {
    /// These settings; where they are silent, those of `file`.
    pub(super) fn over(&self, file: &Self) -> Self {
        let listen = self.listen.as_ref().or(file.listen.as_ref());
        Self {
            listen: listen.cloned(),
            certificate: self
                .certificate
                .clone()
                .or_else(|| file.certificate.clone()),
            key: self.key.clone().or_else(|| file.key.clone()),
        }
    }
}

impl EncryptedSetup {
    pub(super) fn new(settings: TlsSettings) -> Result<Self, Contradiction> {
        let tls = settings.listen.unwrap_or_default();
        let certificate = match (settings.certificate, settings.key) {
            (Some(_) | None, Some(_)) | (Some(_), None) if tls.is_empty() => {
                return Err(Contradiction::CertificateForNothing);
            }
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(Contradiction::HalfACertificate),
        };
        Ok(Self { tls, certificate })
    }

    /// True if nothing is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ServeConfig, Settings};

    #[test]
    fn a_certificate_has_a_key_and_something_to_serve() {
        let check = |file: &str, expected: Result<(&[&str], bool), Contradiction>| {
            let settings = Settings::from_toml(file).unwrap();
            let config = ServeConfig::new(&Settings::default(), &settings);
            let setup = config.map(|config| config.encrypted);
            let expected = expected.map(|(tls, has_certificate)| EncryptedSetup {
                tls: tls.iter().map(|text| text.parse().unwrap()).collect(),
                certificate: has_certificate.then(|| ("c".into(), "k".into())),
            });
            assert_eq!(setup, expected, "{file}");
        };
        check("", Ok((&[], false)));
        check("[tls]\nlisten = '[::]:853'", Ok((&["[::]:853"], false)));
        let both = "[tls]\nlisten = ['127.0.0.1:853', '[::1]:853']\ncertificate = 'c'\nkey = 'k'";
        check(both, Ok((&["127.0.0.1:853", "[::1]:853"], true)));
        let half = Err(Contradiction::HalfACertificate);
        check("[tls]\nlisten = '[::]:853'\ncertificate = 'c'", half);
        check("[tls]\nlisten = '[::]:853'\nkey = 'k'", half);
        let nothing = Err(Contradiction::CertificateForNothing);
        check("[tls]\ncertificate = 'c'\nkey = 'k'", nothing);
        check("[tls]\nkey = 'k'", nothing);
    }
}
