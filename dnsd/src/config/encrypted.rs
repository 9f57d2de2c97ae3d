//! The settings of encrypted DNS.

use super::Contradiction;
use crate::serve::{Certified, ClientName};
use crate::setting::Setting;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where encrypted DNS is served, and as whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EncryptedSetup {
    /// Where; empty: nowhere.
    pub addresses: EncryptedAddresses,
    /// The files of the certificate and its key; none: those in the data directory, made at the
    /// first start.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file of the authorities of clients; none: these are not asked for a certificate.
    pub client_authorities: Option<PathBuf>,
    /// Who needs a certificate.
    pub certified: Certified,
}

/// Where encrypted DNS is served.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EncryptedAddresses {
    /// DNS over TLS (RFC 7858).
    pub tls: Vec<SocketAddr>,
    /// DNS over HTTPS (RFC 8484).
    pub https: Vec<SocketAddr>,
    /// DNS over QUIC (RFC 9250).
    pub quic: Vec<SocketAddr>,
}

/// The settings of `[tls]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TlsSettings {
    /// Serve DNS over TLS here; may be repeated
    #[arg(id = "tls-listen", long = "tls-listen", value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "crate::setting::many")]
    listen: Option<Vec<SocketAddr>>,
    /// Serve DNS over HTTPS here, at the path /dns-query; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "crate::setting::many")]
    https_listen: Option<Vec<SocketAddr>>,
    /// Serve DNS over QUIC here; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = <SocketAddr as Setting>::read)]
    #[serde(deserialize_with = "crate::setting::many")]
    quic_listen: Option<Vec<SocketAddr>>,
    /// The certificate for encrypted DNS and those that lead to its root, PEM; read again when it
    /// changes [default: one signed by itself, kept in the data directory]
    #[arg(id = "tls-certificate", long = "tls-certificate", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM
    #[arg(id = "tls-key", long = "tls-key", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The certificates of authorities, PEM: a client that shows a certificate must prove it by
    /// them; read again when it changes
    #[arg(id = "tls-client-ca", long = "tls-client-ca", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Take updates and zone transfers only from clients that prove this name, one of their
    /// certificate's DNS names; * is any; may be repeated
    #[arg(id = "tls-client-name", long = "tls-client-name", value_name = "NAME", value_parser = <ClientName as Setting>::read)]
    #[serde(deserialize_with = "crate::setting::many")]
    client_name: Option<Vec<ClientName>>,
}

impl TlsSettings {
    /// These settings; where they are silent, those of `file`.
    pub(super) fn over(&self, file: &Self) -> Self {
        Self {
            listen: self.listen.clone().or_else(|| file.listen.clone()),
            https_listen: self
                .https_listen
                .clone()
                .or_else(|| file.https_listen.clone()),
            quic_listen: self
                .quic_listen
                .clone()
                .or_else(|| file.quic_listen.clone()),
            certificate: self
                .certificate
                .clone()
                .or_else(|| file.certificate.clone()),
            key: self.key.clone().or_else(|| file.key.clone()),
            client_ca: self.client_ca.clone().or_else(|| file.client_ca.clone()),
            client_name: self
                .client_name
                .clone()
                .or_else(|| file.client_name.clone()),
        }
    }
}

impl EncryptedAddresses {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &SocketAddr> {
        self.tls.iter().chain(&self.https).chain(&self.quic)
    }
}

impl EncryptedSetup {
    pub(super) fn new(settings: TlsSettings) -> Result<Self, Contradiction> {
        let addresses = EncryptedAddresses {
            tls: settings.listen.unwrap_or_default(),
            https: settings.https_listen.unwrap_or_default(),
            quic: settings.quic_listen.unwrap_or_default(),
        };
        let is_for_nothing = addresses.all().next().is_none();
        let certificate = match (settings.certificate, settings.key) {
            (Some(_) | None, Some(_)) | (Some(_), None) if is_for_nothing => {
                return Err(Contradiction::CertificateForNothing);
            }
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(Contradiction::HalfACertificate),
        };
        let certified = match (settings.client_name, &settings.client_ca) {
            (_, Some(_)) if addresses.tls.is_empty() && addresses.quic.is_empty() => {
                return Err(Contradiction::AuthoritiesForNothing);
            }
            (Some(_), None) => return Err(Contradiction::NamesWithoutAuthorities),
            (Some(names), Some(_)) => Certified::Clients(names),
            (None, _) => Certified::NotNeeded,
        };
        Ok(Self {
            addresses,
            certificate,
            client_authorities: settings.client_ca,
            certified,
        })
    }

    /// True if nothing is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.all().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ServeConfig, Settings};

    #[test]
    fn a_certificate_has_a_key_and_something_to_serve() {
        let check = |file: &str, expected: Result<([&[&str]; 3], bool), Contradiction>| {
            let settings = Settings::from_toml(file).unwrap();
            let config = ServeConfig::new(&Settings::default(), &settings);
            let setup = config.map(|config| config.encrypted);
            let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            let expected = expected.map(|([tls, https, quic], has_certificate)| EncryptedSetup {
                addresses: EncryptedAddresses {
                    tls: parse(tls),
                    https: parse(https),
                    quic: parse(quic),
                },
                certificate: has_certificate.then(|| ("c".into(), "k".into())),
                ..EncryptedSetup::default()
            });
            assert_eq!(setup, expected, "{file}");
        };
        let tls = |listen: &'static [&'static str]| [listen, &[], &[]];
        check("", Ok((tls(&[]), false)));
        check(
            "[tls]\nlisten = '[::]:853'",
            Ok((tls(&["[::]:853"]), false)),
        );
        let both = "[tls]\nlisten = ['127.0.0.1:853', '[::1]:853']\ncertificate = 'c'\nkey = 'k'";
        check(both, Ok((tls(&["127.0.0.1:853", "[::1]:853"]), true)));
        let others = "[tls]\nhttps-listen = '[::]:443'\nquic-listen = '[::]:853'\ncertificate = 'c'\nkey = 'k'";
        check(others, Ok(([&[], &["[::]:443"], &["[::]:853"]], true)));
        let half = Err(Contradiction::HalfACertificate);
        check("[tls]\nlisten = '[::]:853'\ncertificate = 'c'", half);
        check("[tls]\nlisten = '[::]:853'\nkey = 'k'", half);
        let nothing = Err(Contradiction::CertificateForNothing);
        check("[tls]\ncertificate = 'c'\nkey = 'k'", nothing);
        check("[tls]\nkey = 'k'", nothing);
    }

    #[test]
    fn names_of_clients_are_proven_by_somebody_to_something() {
        let check = |file: &str, expected: Result<Certified, Contradiction>| {
            let settings = Settings::from_toml(file).unwrap();
            let config = ServeConfig::new(&Settings::default(), &settings);
            assert_eq!(
                config.map(|config| config.encrypted.certified),
                expected,
                "{file}"
            );
        };
        let listens = |more: &str| format!("[tls]\nlisten = '[::]:853'\n{more}");
        check(&listens("client-ca = 'ca'"), Ok(Certified::NotNeeded));
        let any = Certified::Clients(vec![ClientName::Any]);
        check(&listens("client-ca = 'ca'\nclient-name = '*'"), Ok(any));
        let name = ClientName::Exactly("ns2.example".parse().unwrap());
        let one = Certified::Clients(vec![name]);
        check(
            &listens("client-ca = 'ca'\nclient-name = ['NS2.example']"),
            Ok(one),
        );
        let without = || Err(Contradiction::NamesWithoutAuthorities);
        check(&listens("client-name = '*'"), without());
        let nothing = || Err(Contradiction::AuthoritiesForNothing);
        check("[tls]\nclient-ca = 'ca'", nothing());
        check(
            "[tls]\nhttps-listen = '[::]:443'\nclient-ca = 'ca'",
            nothing(),
        );
    }
}
