//! From settings to endpoints: reads certificates and secrets, opens no connection.

use std::path::Path;
use std::sync::Arc;

use cityrelay_api::ConfigFault;
use reqwest::header::HeaderMap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::heads::{Feed, Heads};
use super::pool::Pool;
use crate::config::{NodeSettings, Settings};

/// Builds the endpoints.
///
/// # Errors
/// Every file that can't be read or is not what it should be.
pub(super) fn connect(settings: &Settings) -> Result<(Pool, Heads), Vec<ConfigFault>> {
    let mut feeds = Vec::new();
    let mut endpoints = Vec::with_capacity(settings.nodes.len());
    let mut faults = Vec::new();
    for node in &settings.nodes {
        match endpoint(node, settings) {
            Ok((endpoint, feed)) => {
                endpoints.push(Arc::new(endpoint));
                feeds.extend(feed);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok((Pool::new(endpoints), Heads::new(feeds))) } else { Err(faults) }
}

fn endpoint(node: &NodeSettings, settings: &Settings) -> Result<(Endpoint, Option<Feed>), ConfigFault> {
    let fault = |name: &str, problem: String| ConfigFault { key: format!("{}.{name}", node.key), problem };
    let tls = tls(node, &fault)?;
    let client = reqwest::Client::builder()
        .use_preconfigured_tls(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(settings.request_timeout)
        .build()
        .map_err(|error| fault("url", error.to_string()))?;
    reqwest::Url::parse(&node.url).map_err(|error| fault("url", error.to_string()))?;
    let headers = headers(node, &client, &fault)?;
    let feed = match &node.ws {
        None => None,
        Some(url) => Some(Feed {
            name: node.name.clone(),
            url: reqwest::Url::parse(url).map_err(|error| fault("ws", error.to_string()))?,
            headers: headers.clone(),
            tls: Arc::new(tls),
        }),
    };
    Ok((Endpoint::new(node, client, headers, settings.chain_id, settings.max_response_bytes), feed))
}

type FaultAt<'a> = &'a dyn Fn(&str, String) -> ConfigFault;

fn tls(node: &NodeSettings, fault: FaultAt<'_>) -> Result<ClientConfig, ConfigFault> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &node.ca_file {
        for certificate in certificates(path).map_err(|problem| fault("ca_file", problem))? {
            roots.add(certificate).map_err(|error| fault("ca_file", error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("url", error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &node.client_identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate).map_err(|problem| fault("client_cert_file", problem))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| fault("client_key_file", format!("{}: {error}", key.display())))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| fault("client_key_file", error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let in_words = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(in_words)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(in_words)?;
    if found.is_empty() { Err(format!("{}: no certificate in it", path.display())) } else { Ok(found) }
}

fn headers(node: &NodeSettings, client: &reqwest::Client, fault: FaultAt<'_>) -> Result<HeaderMap, ConfigFault> {
    let (name, path) = match (&node.basic_auth_file, &node.bearer_token_file) {
        (Some(path), _) => ("basic_auth_file", path),
        (None, Some(path)) => ("bearer_token_file", path),
        (None, None) => return Ok(HeaderMap::new()),
    };
    let text = read_secret(path).map_err(|problem| fault(name, problem))?;
    let request = client.post(&node.url);
    let request = if name == "basic_auth_file" {
        let (user, password) =
            text.split_once(':').ok_or_else(|| fault(name, format!("{}: expected `user:password`", path.display())))?;
        request.basic_auth(user, Some(password))
    } else {
        request.bearer_auth(text.as_str())
    };
    // A request that is never sent: its headers are what every later one carries.
    let request = request.build();
    let request =
        request.map_err(|_| fault(name, format!("{}: expected one line of printable text", path.display())))?;
    Ok(request.headers().clone())
}

/// The one line of a secret's file.
///
/// # Errors
/// In words, without what is in it.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = Zeroizing::new(text);
    let text = text.trim();
    if text.is_empty() { Err(format!("{}: it is empty", path.display())) } else { Ok(Zeroizing::new(text.to_owned())) }
}
