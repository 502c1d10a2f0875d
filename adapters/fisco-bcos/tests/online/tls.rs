//! HTTPS with client certificates, as nodes ask for by default: TLS 1.2, a private authority, no host names.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use cityrelay_api::source::{NodeError, Source};
use cityrelay_core::ids::Height;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::gateway_chain::GatewayChain;
use crate::nodes::{configure, section};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/online/certificates").join(name)
}

/// Answers every request with block number 7, to clients that show a certificate of the authority. Gives the port.
fn serve(certificate: &str) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.crt")).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(file(&format!("{certificate}.crt"))).unwrap()],
            PrivateKeyDer::from_pem_file(file(&format!("{certificate}.key"))).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                match stream.read(&mut buffer) {
                    // A client that was refused, or that refused us, hangs up.
                    Ok(0) | Err(_) => break None,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((_, body)) = text.split_once("\r\n\r\n")
                    && let Ok(body) = serde_json::from_str::<Value>(body)
                {
                    break Some(body);
                }
            };
            let Some(body) = body else { continue };
            let answer = json!({ "id": body["id"], "jsonrpc": "2.0", "result": 7 }).to_string();
            let length = answer.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((head + &answer).as_bytes()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    });
    port
}

fn source(port: u16, edit: impl Fn(&mut Value)) -> Arc<dyn Source> {
    let url = format!("https://127.0.0.1:{port}");
    let mut section = section(
        &GatewayChain::new(cityrelay_fisco_bcos::codec::suite::CryptoSuite::Standard).anchor(),
        &[("n", &url, false)],
    );
    let node = &mut section["nodes"][0];
    node["ca_file"] = json!(file("ca.crt"));
    node["client_cert_file"] = json!(file("sdk.crt"));
    node["client_key_file"] = json!(file("sdk.key"));
    edit(node);
    section["request_timeout"] = json!("3s");
    configure(&section).source()
}

async fn is_unreachable(source: Arc<dyn Source>) -> bool {
    matches!(source.tip().await, Err(NodeError::Unreachable { .. }))
}

/// What a server of GM TLS answers to our hello, as a stand-in sends it: an alert (level, description), or a
/// record of TLCP 1.1 (GB/T 38636, version 0x0101). Gives the port.
fn serve_no_common_tls(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut hello = [0; 4096];
            assert!(socket.read(&mut hello).unwrap() > 0);
            socket.write_all(answer).unwrap();
        }
    });
    port
}

#[tokio::test]
async fn a_node_that_speaks_gm_tls_is_refused_with_what_to_do() {
    const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    const PROTOCOL_VERSION: &[u8] = &[21, 3, 1, 0, 2, 2, 70];
    const TLCP_ALERT: &[u8] = &[21, 1, 1, 0, 2, 2, 40];
    for answer in [HANDSHAKE_FAILURE, PROTOCOL_VERSION, TLCP_ALERT] {
        let source = source(serve_no_common_tls(answer), |_| ());
        let Err(NodeError::Unreachable { reason, .. }) = source.tip().await else { panic!() };
        assert!(reason.contains("set `[rpc] sm_ssl=false`") && reason.contains("proxy"), "{answer:?}: {reason}");
        assert!(source.endpoints()[0].last_error.contains("sm_ssl"), "{answer:?}");
    }
}

/// The advice is for those whom it helps.
#[tokio::test]
async fn a_node_that_is_not_there_or_has_a_certificate_of_others_is_not_said_to_speak_gm_tls() {
    for port in [serve("intruder"), 9] {
        let Err(NodeError::Unreachable { reason, .. }) = source(port, |_| ()).tip().await else { panic!() };
        assert!(!reason.contains("sm_ssl"), "{reason}");
    }
}

#[tokio::test]
async fn a_node_is_reached_over_tls_1_2_with_a_client_certificate() {
    let port = serve("named");
    assert_eq!(source(port, |_| ()).tip().await, Ok(Height(7)));
}

#[tokio::test]
async fn a_node_without_a_host_name_needs_the_check_to_be_switched_off() {
    let port = serve("node");
    assert!(is_unreachable(source(port, |_| ())).await);
    assert_eq!(source(port, |node| node["check_host_name"] = json!(false)).tip().await, Ok(Height(7)));
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused_with_and_without_the_host_name() {
    let port = serve("intruder");
    assert!(is_unreachable(source(port, |_| ())).await);
    assert!(is_unreachable(source(port, |node| node["check_host_name"] = json!(false))).await);
}

#[tokio::test]
async fn a_client_without_its_certificate_or_with_a_strangers_is_refused_by_the_node() {
    let port = serve("named");
    let without = |node: &mut Value| {
        let node = node.as_object_mut().unwrap();
        node.remove("client_cert_file");
        node.remove("client_key_file");
    };
    assert!(is_unreachable(source(port, without)).await);
    let strange = |node: &mut Value| {
        node["client_cert_file"] = json!(file("intruder.crt"));
        node["client_key_file"] = json!(file("intruder.key"));
    };
    assert!(is_unreachable(source(port, strange)).await);
}

#[test]
fn missing_and_wrong_files_are_named_at_their_key() {
    use cityrelay_api::adapter::Adapter;
    let anchor = GatewayChain::new(cityrelay_fisco_bcos::codec::suite::CryptoSuite::Standard).anchor();
    let mut section = section(&anchor, &[("n", "https://127.0.0.1:1", false)]);
    section["nodes"][0]["ca_file"] = json!("no-such-file.pem");
    section["account"] = json!({ "key_file": "no-such-key" });
    let Err(faults) = cityrelay_fisco_bcos::node::ADAPTER.configure(&section, &file("")) else { panic!() };
    let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["nodes[0].ca_file", "account.key_file"]);
}
