//! From a QUIC connection to one whose peer is known and whose control stream stands.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{
    ClientConfig, ConnectError, Connection, ConnectionError, Incoming, ReadError, ReadExactError, RecvStream,
    ServerConfig, TransportErrorCode, WriteError,
};
use rustls::pki_types::CertificateDer;

use crate::fingerprint::Fingerprint;
use crate::hub::Hub;
use crate::peer::{Dialler, Peer};
use crate::refusal::{CloseCode, Refusal};
use crate::session::{Established, SessionSlot};
use crate::stream::{CONTROL_HEAD, StreamKey};
use crate::tls::{ALPN, PinVerifier, TlsError};

/// Why a connection did not become a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFault {
    /// Refused here.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Refused there, by one of our names.
    #[error("refused by the peer: {}", .0.as_str())]
    RefusedByPeer(CloseCode),
    /// Ended by the peer or by the network.
    #[error("lost: {0}")]
    Lost(ConnectionError),
    /// The address cannot be dialled.
    #[error("cannot be dialled: {0}")]
    Unreachable(#[from] ConnectError),
    /// A session that the peer dialled came first.
    #[error("the peer's session came first")]
    NotNeeded,
    /// This build cannot do TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Takes an incoming connection as far as its first byte on the control stream; the answer is still owed.
///
/// Checks, in order: TLS (a pinned key, the protocol name), whose key it is, room for one more session, the control
/// stream's first byte.
pub(crate) async fn accept(hub: &Hub, incoming: Incoming) -> Result<(Arc<Peer>, Established), HandshakeFault> {
    let (crypto, verifier) = hub.tls.server(hub.pinboard.keys())?;
    let mut config = ServerConfig::with_crypto(crypto);
    config.transport_config(Arc::clone(&hub.listen_transport));
    let connecting = incoming.accept_with(Arc::new(config)).map_err(|error| classify(error, &verifier))?;
    let connection = connecting.await.map_err(|error| classify(error, &verifier))?;
    verify_alpn(&connection)?;
    let key = proved_fingerprint(&connection)?;
    let peer = hub.pinboard.owner(key).ok_or(Refusal::UnknownFingerprint { got: key })?;
    let slot = hub.session_slot(&peer).inspect_err(|refusal| close(&connection, refusal))?;
    let lost = |error| classify(error, &verifier);
    let (send, mut receive) = connection.accept_bi().await.map_err(lost)?;
    read_control_head(&mut receive, &verifier).await.inspect_err(|fault| {
        if let HandshakeFault::Refused(refusal) = fault {
            close(&connection, refusal);
        }
    })?;
    Ok((peer, Established { connection, dialler: Dialler::Them, key, send, receive, slot }))
}

/// Dials `remote` and waits until the other side has taken the session.
///
/// Checks, in order: TLS (exactly one of the peer's keys, the protocol name), the control stream's answer.
pub(crate) async fn dial(
    hub: &Hub,
    peer: &Peer,
    remote: SocketAddr,
    slot: SessionSlot,
) -> Result<Established, HandshakeFault> {
    let (crypto, verifier) = hub.tls.client(peer.pins().keys().collect())?;
    let mut config = ClientConfig::new(crypto);
    config.transport_config(Arc::clone(&hub.dial_transport));
    let lost = |error| classify(error, &verifier);
    let connecting = hub.endpoint.connect_with(config, remote, SERVER_NAME)?;
    let mut up = peer.up.subscribe();
    // Until the first byte on the control stream the other side cannot have taken this one, so it can be given up for
    // another without leaving both sides with none.
    let connection = tokio::select! {
        connection = connecting => connection.map_err(lost)?,
        _ = up.wait_for(|is_up| *is_up) => return Err(HandshakeFault::NotNeeded),
    };
    verify_alpn(&connection)?;
    let key = proved_fingerprint(&connection)?;
    let (mut send, mut receive) = connection.open_bi().await.map_err(lost)?;
    send.write_all(&StreamKey::Control.head()).await.map_err(|error| match error {
        WriteError::ConnectionLost(error) => classify(error, &verifier),
        _ => Refusal::StreamBroken { stream: StreamKey::Control.as_str() }.into(),
    })?;
    read_control_head(&mut receive, &verifier).await?;
    Ok(Established { connection, dialler: Dialler::Us, key, send, receive, slot })
}

/// quinn wants a name; it is neither sent (no SNI) nor checked (the key is).
const SERVER_NAME: &str = "cityrelay";

fn close(connection: &Connection, refusal: &Refusal) {
    let code = refusal.code();
    connection.close(code.into(), code.as_str().as_bytes());
}

/// rustls lets no other protocol pass; this holds should that ever change.
fn verify_alpn(connection: &Connection) -> Result<(), Refusal> {
    let data =
        connection.handshake_data().and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    match data.and_then(|data| data.protocol) {
        Some(protocol) if protocol == ALPN => Ok(()),
        _ => Err(Refusal::WrongAlpn),
    }
}

fn proved_fingerprint(connection: &Connection) -> Result<Fingerprint, Refusal> {
    let keys = connection.peer_identity().and_then(|keys| keys.downcast::<Vec<CertificateDer<'static>>>().ok());
    let keys = keys.ok_or(Refusal::NoClientKey)?;
    keys.first().map(|key| Fingerprint::of_spki(key)).ok_or(Refusal::NoClientKey)
}

async fn read_control_head(stream: &mut RecvStream, verifier: &PinVerifier) -> Result<(), HandshakeFault> {
    let mut head = [0];
    match stream.read_exact(&mut head).await {
        Ok(()) if head == [CONTROL_HEAD] => Ok(()),
        Ok(()) => {
            let [got] = head;
            Err(Refusal::StreamKind { got }.into())
        }
        Err(ReadExactError::ReadError(ReadError::ConnectionLost(error))) => Err(classify(error, verifier)),
        Err(_) => Err(Refusal::StreamBroken { stream: StreamKey::Control.as_str() }.into()),
    }
}

/// Says what a connection failed of: our refusal, the peer's, or neither's.
fn classify(error: ConnectionError, verifier: &PinVerifier) -> HandshakeFault {
    if let Some(got) = verifier.refused() {
        return Refusal::UnknownFingerprint { got }.into();
    }
    match error {
        ConnectionError::TransportError(error) => refused_by_tls(error.code).into(),
        ConnectionError::TimedOut => Refusal::HandshakeTimeout.into(),
        ConnectionError::ApplicationClosed(ref close) => CloseCode::from_code(close.error_code.into_inner())
            .map_or(HandshakeFault::Lost(error), HandshakeFault::RefusedByPeer),
        // A TLS alert of the peer: it did not take our key, or our protocol name.
        ConnectionError::ConnectionClosed(ref close) => match close.error_code {
            code if code == alert(ACCESS_DENIED) => HandshakeFault::RefusedByPeer(CloseCode::UnknownFingerprint),
            code if code == alert(NO_APPLICATION_PROTOCOL) => HandshakeFault::RefusedByPeer(CloseCode::WrongAlpn),
            _ => HandshakeFault::Lost(error),
        },
        error => HandshakeFault::Lost(error),
    }
}

fn refused_by_tls(code: TransportErrorCode) -> Refusal {
    if code == alert(NO_APPLICATION_PROTOCOL) {
        Refusal::WrongAlpn
    } else if code == alert(CERTIFICATE_REQUIRED) {
        Refusal::NoClientKey
    } else {
        Refusal::Handshake { code: code.into() }
    }
}

// TLS alert numbers: RFC 8446 §6 and RFC 7301 §3.2.
const ACCESS_DENIED: u8 = 49;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

fn alert(number: u8) -> TransportErrorCode {
    TransportErrorCode::crypto(number)
}
