//! TLS 1.3 with raw public keys (RFC 7250): both sides prove the key that the other side has pinned.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};

use crate::fingerprint::Fingerprint;
use crate::identity::Identity;

/// The application protocol that both sides must offer.
pub const ALPN: &[u8] = b"cityrelay/1";

/// Why no TLS configuration could be made. The build is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The crypto provider cannot do TLS 1.3.
    #[error("TLS 1.3: {0}")]
    Version(#[source] Error),
    /// The crypto provider lacks the cipher that QUIC begins with (RFC 9001 §5.2).
    #[error("QUIC: {0}")]
    Cipher(#[from] NoInitialCipherSuite),
}

/// What one side of one handshake checks: made anew for every connection, so that its verdict is about that one.
///
/// Checks, in order: no certificate chain; the key's fingerprint is pinned; the scheme is Ed25519; the handshake is
/// signed by that key (rustls refuses TLS 1.2, resumption and X.509 before it asks).
#[derive(Debug)]
pub(crate) struct PinVerifier {
    pinned: BTreeSet<Fingerprint>,
    provider: Arc<CryptoProvider>,
    refused: OnceLock<Fingerprint>,
}

impl PinVerifier {
    /// The fingerprint of the key that this verifier turned away, where it did.
    pub(crate) fn refused(&self) -> Option<Fingerprint> {
        self.refused.get().copied()
    }

    fn verify_pinned(&self, key: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !chain.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        let fingerprint = Fingerprint::of_spki(key);
        if self.pinned.contains(&fingerprint) {
            return Ok(());
        }
        self.refused.get_or_init(|| fingerprint);
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signed, &self.provider.signature_verification_algorithms)
    }

    fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_pinned(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for PinVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_pinned(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Makes the TLS side of connections.
#[derive(Debug)]
pub(crate) struct TlsFactory {
    identity: Identity,
    provider: Arc<CryptoProvider>,
}

impl TlsFactory {
    /// A factory for `identity`.
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity, provider: Arc::new(rustls::crypto::ring::default_provider()) }
    }

    /// For one incoming connection: any of the keys `pinned` will do.
    pub(crate) fn server(
        &self,
        pinned: BTreeSet<Fingerprint>,
    ) -> Result<(Arc<QuicServerConfig>, Arc<PinVerifier>), TlsError> {
        let verifier = self.verifier(pinned);
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Version)?
            .with_client_cert_verifier(Arc::<PinVerifier>::clone(&verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.identity.certified_key())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok((Arc::new(QuicServerConfig::try_from(config)?), verifier))
    }

    /// For one outgoing connection: the keys of the peer that is dialled will do, and no others.
    pub(crate) fn client(
        &self,
        expected: BTreeSet<Fingerprint>,
    ) -> Result<(Arc<QuicClientConfig>, Arc<PinVerifier>), TlsError> {
        let verifier = self.verifier(expected);
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Version)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<PinVerifier>::clone(&verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.identity.certified_key())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok((Arc::new(QuicClientConfig::try_from(config)?), verifier))
    }

    fn verifier(&self, pinned: BTreeSet<Fingerprint>) -> Arc<PinVerifier> {
        Arc::new(PinVerifier { pinned, provider: Arc::clone(&self.provider), refused: OnceLock::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factory(seed: u8) -> TlsFactory {
        TlsFactory::new(Identity::generate(&[seed; 32]).unwrap())
    }

    fn pinned(seeds: &[u8]) -> BTreeSet<Fingerprint> {
        seeds.iter().map(|seed| Fingerprint::of_spki(&key(*seed))).collect()
    }

    fn key(seed: u8) -> CertificateDer<'static> {
        Identity::generate(&[seed; 32]).unwrap().certified_key().cert.first().unwrap().clone()
    }

    #[test]
    fn a_pinned_key_is_taken_and_any_other_is_named() {
        let (_, verifier) = factory(1).server(pinned(&[2])).unwrap();
        verifier.verify_client_cert(&key(2), &[], UnixTime::now()).unwrap();
        assert_eq!(verifier.refused(), None);
        assert!(verifier.verify_client_cert(&key(3), &[], UnixTime::now()).is_err());
        assert_eq!(verifier.refused(), Some(Fingerprint::of_spki(&key(3))));
    }

    #[test]
    fn a_chain_of_certificates_is_refused() {
        let (_, verifier) = factory(1).server(pinned(&[2])).unwrap();
        assert!(verifier.verify_client_cert(&key(2), &[key(2)], UnixTime::now()).is_err());
    }

    #[test]
    fn a_dialler_takes_only_the_peer_it_dialled() {
        let (_, verifier) = factory(1).client(pinned(&[2, 4])).unwrap();
        assert!(verifier.verify_pinned(&key(2), &[]).is_ok());
        assert!(verifier.verify_pinned(&key(4), &[]).is_ok());
        assert!(verifier.verify_pinned(&key(3), &[]).is_err());
    }
}
