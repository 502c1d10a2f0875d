//! Nodes behind TLS, with a private authority and client certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_api::Adapter;
use cityrelay_api::source::{NodeError, Source};
use cityrelay_core::ids::Height;
use cityrelay_evm_bft::EvmBft;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tungstenite::Message;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::development_chain::section;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of `authority` and its key, as PEM.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// How a node under `authority` speaks TLS, with those whom `clients` vouches for.
fn tls(authority: &Authority, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificate, key) = issue(authority, "localhost");
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// A node that says its chain and its height, to those whom `clients` vouches for.
async fn serve(authority: &Authority, clients: Option<&Authority>) -> String {
    let acceptor = TlsAcceptor::from(tls(authority, clients));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not get through the handshake is not answered.
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            });
        }
    });
    url
}

/// Answers requests of one connection until it closes.
async fn answer(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut chunk).await else { return };
        bytes.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(call) = serde_json::from_str::<Value>(body) else { continue };
        bytes.clear();
        let result = if call["method"] == "eth_chainId" { "0x7a69" } else { "0x2a" };
        let body = json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all([head, body].concat().as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Where a node tells a new head to whoever subscribes with its token, to those whom `clients` vouches for.
#[expect(clippy::result_large_err, reason = "the answer to a refused handshake is the library's")]
fn tell(authority: &Authority, clients: Option<&Authority>) -> String {
    let config = tls(authority, clients);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let is_known = |request: &Request, response: Response| match request.headers().get("authorization") {
                Some(token) if token == "Bearer let-me-in" => Ok(response),
                _ => Err(ErrorResponse::new(None)),
            };
            // A client that does not get through the handshake is told nothing.
            let Ok(mut socket) = tungstenite::accept_hdr(StreamOwned::new(session, stream), is_known) else { continue };
            let call: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
            assert_eq!((&call["method"], &call["params"]), (&json!("eth_subscribe"), &json!(["newHeads"])));
            let accepted = json!({ "jsonrpc": "2.0", "id": call["id"], "result": "0x1" });
            let head = json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": { "subscription": "0x1" } });
            for said in [accepted, head] {
                socket.send(Message::text(said.to_string())).unwrap();
            }
            while socket.read().is_ok() {}
        }
    });
    url
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Puts a client certificate of `authority` and its key into the folder.
fn identify(folder: &Path, authority: &Authority) {
    let (certificate, key) = issue(authority, "relay");
    write(folder, "client.pem", &certificate);
    write(folder, "client.key", &key);
}

fn source(url: &str, folder: &Path, with_identity: bool) -> Arc<dyn Source> {
    source_with(url, folder, with_identity, &json!({}))
}

/// The same with more keys for the node.
fn source_with(url: &str, folder: &Path, with_identity: bool, keys: &Value) -> Arc<dyn Source> {
    let mut section = section(url, json!({}));
    section.as_object_mut().unwrap().remove("account");
    section["nodes"][0].as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    section["nodes"][0]["ca_file"] = "ca.pem".into();
    if with_identity {
        section["nodes"][0]["client_cert_file"] = "client.pem".into();
        section["nodes"][0]["client_key_file"] = "client.key".into();
    }
    EvmBft.configure(&section, folder).map_err(|faults| format!("{faults:?}")).unwrap().source()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_reached_only_under_its_authority() {
    let (own, other) = (authority(), authority());
    let folder = crate::folder();
    write(folder.path(), "ca.pem", &own.pem());
    let good = serve(&own, None).await;
    assert_eq!(source(&good, folder.path(), false).tip().await, Ok(Height(42)));
    let impostor = serve(&other, None).await;
    let refused = source(&impostor, folder.path(), false).tip().await;
    assert!(matches!(refused, Err(NodeError::Unreachable { .. })), "{refused:?}");
    let unnamed = good.replace("localhost", "127.0.0.1");
    let refused = source(&unnamed, folder.path(), false).tip().await;
    assert!(matches!(refused, Err(NodeError::Unreachable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wants_a_certificate_gets_ours() {
    let (own, other) = (authority(), authority());
    let folder = crate::folder();
    write(folder.path(), "ca.pem", &own.pem());
    let url = serve(&own, Some(&own)).await;
    identify(folder.path(), &own);
    assert_eq!(source(&url, folder.path(), true).tip().await, Ok(Height(42)));
    let refused = source(&url, folder.path(), false).tip().await;
    assert!(matches!(refused, Err(NodeError::Unreachable { .. })), "{refused:?}");
    identify(folder.path(), &other);
    let refused = source(&url, folder.path(), true).tip().await;
    assert!(matches!(refused, Err(NodeError::Unreachable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_heads_are_told_over_tls_under_the_same_authority_and_keys() {
    let (own, other) = (authority(), authority());
    let folder = crate::folder();
    write(folder.path(), "ca.pem", &own.pem());
    identify(folder.path(), &own);
    let node = serve(&own, Some(&own)).await;
    let is_told = async |ws: &str, with_identity, token: &str| {
        write(folder.path(), "token", token);
        let source =
            source_with(&node, folder.path(), with_identity, &json!({ "ws": ws, "bearer_token_file": "token" }));
        timeout(Duration::from_secs(3), source.news()).await.is_ok()
    };
    let good = tell(&own, Some(&own));
    assert!(is_told(&good, true, "let-me-in").await, "a head was told");
    assert!(!is_told(&good, true, "a guess").await, "the node wants another token");
    assert!(!is_told(&good, false, "let-me-in").await, "the node wants a certificate");
    assert!(
        !is_told(&good.replace("localhost", "127.0.0.1"), true, "let-me-in").await,
        "the certificate has no such name"
    );
    assert!(!is_told(&tell(&other, None), true, "let-me-in").await, "an impostor is not listened to");
}

#[test]
fn files_that_are_not_what_they_should_be_are_faults() {
    let folder = crate::folder();
    let own = authority();
    let (certificate, key) = issue(&own, "relay");
    let faults = |files: &[(&str, &str)]| {
        for (name, text) in files {
            write(folder.path(), name, text);
        }
        let mut section = section("https://localhost:1", json!({ "key_file": "account.key" }));
        section["nodes"][0]["ca_file"] = "ca.pem".into();
        section["nodes"][0]["client_cert_file"] = "client.pem".into();
        section["nodes"][0]["client_key_file"] = "client.key".into();
        let faults = EvmBft.configure(&section, folder.path()).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>()
    };
    let secret = "46".repeat(32);
    let good: [(&str, &str); 4] =
        [("ca.pem", &own.pem()), ("client.pem", &certificate), ("client.key", &key), ("account.key", &secret)];
    assert_eq!(faults(&good), [""; 0]);
    assert_eq!(faults(&[("ca.pem", "nothing")]), ["nodes[0].ca_file"]);
    assert_eq!(faults(&[good[0], ("client.pem", "nothing")]), ["nodes[0].client_cert_file"]);
    assert_eq!(faults(&[good[1], ("client.key", "nothing")]), ["nodes[0].client_key_file"]);
    assert_eq!(faults(&[good[2], ("account.key", "1234")]), ["account.key_file"]);
    assert_eq!(faults(&[("account.key", &"00".repeat(32))]), ["account.key_file"]);
    assert_eq!(faults(&[("account.key", ""), ("ca.pem", "nothing")]), ["nodes[0].ca_file", "account.key_file"]);
}
