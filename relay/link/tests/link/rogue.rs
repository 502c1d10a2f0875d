//! A peer made of bare QUIC, which breaks one rule at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use cityrelay_core::frame::Frame;
use cityrelay_link::{ALPN, CloseCode};
use cityrelay_wire::framing::encode_delimited;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::frames;
use crate::node::{Node, PATIENCE, any_port, config, peer};

/// What a rogue shows in its handshake.
#[derive(Clone, Debug)]
pub struct Manners {
    /// The key's seed, or none for no key at all.
    pub key: Option<u8>,
    /// The seed of the key that it signs with, where that is another one.
    pub signs_with: Option<u8>,
    pub alpn: Vec<Vec<u8>>,
    pub raw_key_of_server: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self { key: Some(1), signs_with: None, alpn: vec![ALPN.to_vec()], raw_key_of_server: true }
    }
}

#[derive(Debug)]
struct TakesAnyKey {
    raw: bool,
}

impl ServerCertVerifier for TakesAnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

impl ClientCertVerifier for TakesAnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// Says that it speaks raw public keys, and has none.
#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn signer(seed: u8) -> Arc<dyn SigningKey> {
    let pkcs8 = [hex::decode("302e020100300506032b657004220420").unwrap(), vec![seed; 32]].concat();
    any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice())).unwrap()
}

/// The public key of one seed, with the signatures of another.
fn key(shown: u8, signs_with: u8) -> Arc<CertifiedKey> {
    let spki = signer(shown).public_key().unwrap().to_vec();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer(signs_with)))
}

/// A listener that shows peer 2's public key and signs with the key of another seed.
pub fn bare_listener(signs_with: u8) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(TakesAnyKey { raw: true }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key(2, signs_with))));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = Arc::new(QuicServerConfig::try_from(tls).unwrap());
    let endpoint = Endpoint::server(ServerConfig::with_crypto(tls), any_port()).unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.ok()?;
                let (mut control, mut head) = connection.accept_bi().await.ok()?;
                head.read_exact(&mut [0]).await.ok()?;
                control.write_all(&[1]).await.ok()?;
                connection.closed().await;
                Some(())
            });
        }
    });
    endpoint
}

/// An endpoint that dials with these manners.
pub fn client(manners: Manners) -> (Endpoint, ClientConfig) {
    let resolver: Arc<dyn ResolvesClientCert> = match manners.key {
        Some(seed) => {
            let key = key(seed, manners.signs_with.unwrap_or(seed));
            Arc::new(AlwaysResolvesClientRawPublicKeys::new(key))
        }
        None => Arc::new(NoKey),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAnyKey { raw: manners.raw_key_of_server }))
        .with_client_cert_resolver(resolver);
    tls.alpn_protocols = manners.alpn;
    tls.enable_early_data = true;
    let endpoint = Endpoint::client(any_port()).unwrap();
    (endpoint, ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())))
}

/// A bare connection; its endpoint must outlive it.
pub async fn connect(to: SocketAddr, manners: Manners) -> (Endpoint, Result<Connection, ConnectionError>) {
    let (endpoint, config) = client(manners);
    let connection = endpoint.connect_with(config, to, "any").unwrap().await;
    (endpoint, connection)
}

/// A rogue with peer 1's key whose session node 2 has taken.
pub struct Rogue {
    pub connection: Connection,
    pub control: SendStream,
    pub answers: RecvStream,
    _endpoint: Endpoint,
}

impl Rogue {
    pub async fn with_session(node: &mut Node) -> Self {
        let rogue = Self::connect(node).await;
        node.up().await;
        rogue
    }

    /// A session whose `Up` is still to be read.
    pub async fn connect(node: &Node) -> Self {
        let (endpoint, connection) = connect(node.address(), Manners::default()).await;
        let connection = connection.unwrap();
        let (mut control, mut answers) = connection.open_bi().await.unwrap();
        control.write_all(&[1]).await.unwrap();
        let mut head = [0];
        answers.read_exact(&mut head).await.unwrap();
        assert_eq!(head, [1]);
        Self { connection, control, answers, _endpoint: endpoint }
    }

    /// A session past its hello.
    pub async fn greeted(node: &mut Node) -> Self {
        let mut rogue = Self::with_session(node).await;
        rogue.say(&frames::hello()).await;
        assert_eq!(node.frame().await.0, frames::hello());
        rogue
    }

    /// Says something on the control stream.
    pub async fn say(&mut self, frame: &Frame) {
        self.control.write_all(&encode_delimited(frame).unwrap()).await.unwrap();
    }

    /// Opens a one-way stream that begins with `bytes`.
    pub async fn stream(&self, bytes: &[u8]) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// The code with which the other side ends the session.
    pub async fn closed(&self) -> CloseCode {
        let error = tokio::time::timeout(PATIENCE, self.connection.closed()).await.expect("closed in time");
        match error {
            ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()).unwrap(),
            other => panic!("expected a close code, got {other:?}"),
        }
    }
}

/// The first bytes of a stream about a lane's outbox.
pub fn flow_head(lane: u8) -> Vec<u8> {
    [vec![3], vec![lane; 32], vec![0]].concat()
}

/// Node 2, which listens and knows peer 1.
pub fn listener() -> Node {
    Node::start(config(2, Some(any_port()), vec![peer(1, None)]))
}
