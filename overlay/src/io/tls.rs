//! TLS with raw public keys (RFC 7250) on both sides, without resumption. Who may connect is not
//! decided here: the verifier cannot see what a connection is for.

use super::key::Identity;
use crate::link_event::Protocol;
use crate::peer_id::PublicKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};
use std::sync::Arc;

/// Protocols over QUIC and their ALPN texts.
const ALPNS: [(Protocol, &[u8]); 4] = [
    (Protocol::Link, b"zc-link/1"),
    (Protocol::Beat, b"zc-beat/1"),
    (Protocol::Join, b"zc-join/1"),
    (Protocol::Evicted, b"zc-evicted/1"),
];

/// What a connection is for, from the ALPN that both sides agreed on.
pub(super) fn protocol_of(alpn: &[u8]) -> Option<Protocol> {
    ALPNS
        .iter()
        .find(|(_, text)| *text == alpn)
        .map(|(protocol, _)| *protocol)
}

/// The side that is dialed: offers all protocols.
pub(super) fn server_config(identity: &Identity) -> QuicServerConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyPeer {
        provider: Arc::clone(&provider),
    });
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own_key(
            identity,
        ))));
    config.alpn_protocols = ALPNS.iter().map(|(_, text)| text.to_vec()).collect();
    // A resumed session would skip the verifier: an evicted key could come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
        .try_into()
        .expect("ring has the suite of QUIC's first packets")
}

/// The side that dials, for one protocol.
pub(super) fn client_config(identity: &Identity, protocol: Protocol) -> QuicClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyPeer {
        provider: Arc::clone(&provider),
    });
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own_key(
            identity,
        ))));
    let alpn = ALPNS.iter().find(|(other, _)| *other == protocol);
    config.alpn_protocols = alpn.iter().map(|(_, text)| text.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
        .try_into()
        .expect("ring has the suite of QUIC's first packets")
}

fn own_key(identity: &Identity) -> Arc<CertifiedKey> {
    let private = PrivatePkcs8KeyDer::from(identity.pkcs8());
    let signer = ring::sign::any_eddsa_type(&private).expect("an identity is an Ed25519 key");
    let spki = CertificateDer::from(identity.public_key().spki().to_vec());
    Arc::new(CertifiedKey::new(vec![spki], signer))
}

/// Takes every Ed25519 key that signs the handshake, at both ends.
#[derive(Debug)]
struct AnyPeer {
    provider: Arc<CryptoProvider>,
}

impl AnyPeer {
    fn check_key(key: &CertificateDer<'_>) -> Result<(), Error> {
        match PublicKey::from_spki(key) {
            Some(_) => Ok(()),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
    }
}

impl ServerCertVerifier for AnyPeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check_key(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check_key(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
