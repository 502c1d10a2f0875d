//! The collector: OTLP over HTTP, protobuf (OTLP specification 1.x, "OTLP/HTTP").

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cityrelay_api::http::read_body;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::config::settings::TracesConfig;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read of an answer; it holds a number and a sentence.
const MAX_ANSWER_BYTES: usize = 64 << 10;

const PROTOBUF: &str = "application/x-protobuf";

/// Where spans go.
pub(super) struct Collector {
    client: reqwest::Client,
    endpoint: Url,
}

/// What became of spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// The collector has them, but for so many that it did not want.
    Taken { rejected: usize, why: String },
    /// It will never take them.
    Refused { why: String },
    /// It may take them later.
    Failed { why: String },
}

impl Collector {
    /// Reads the certificate, and connects to nothing.
    ///
    /// # Errors
    /// When the certificate can't be read.
    pub fn new(config: &TracesConfig) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .use_preconfigured_tls(tls(config.ca_file.as_deref())?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("the client of the traces' collector")?;
        Ok(Self { client, endpoint: config.otlp_endpoint.clone() })
    }

    /// Sends one request.
    pub async fn hand_over(&self, request: &ExportTraceServiceRequest) -> Handover {
        let body = request.encode_to_vec();
        let sent = self.client.post(self.endpoint.clone()).header(CONTENT_TYPE, PROTOBUF).body(body).send().await;
        match sent {
            Ok(response) => answer(response).await,
            Err(error) => Handover::Failed { why: innermost(&error) },
        }
    }
}

async fn answer(response: Response) -> Handover {
    let status = response.status();
    // The status decides; what can't be read says nothing against what was sent.
    let body = read_body(response, MAX_ANSWER_BYTES).await.unwrap_or_default();
    read(status, &body)
}

fn read(status: StatusCode, body: &[u8]) -> Handover {
    if status.is_success() {
        // An answer that is none says nothing against what was sent.
        let partial = ExportTraceServiceResponse::decode(body).unwrap_or_default().partial_success.unwrap_or_default();
        let rejected = usize::try_from(partial.rejected_spans).unwrap_or(0);
        return Handover::Taken { rejected, why: partial.error_message };
    }
    let why = format!("it answers {status}");
    match status {
        // The specification's list of answers after which the same spans are sent again.
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Handover::Failed { why },
        _ => Handover::Refused { why },
    }
}

/// reqwest's own words name the address only; what went wrong lies below them.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn tls(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let name = path.display();
        for certificate in CertificateDer::pem_file_iter(path).with_context(|| format!("read {name}"))? {
            roots.add(certificate.with_context(|| format!("read {name}"))?).with_context(|| format!("use {name}"))?;
        }
        if roots.is_empty() {
            bail!("{name}: expected a certificate in PEM form, got none");
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn an_answer_decides_whether_spans_are_sent_again() {
        let taken = Handover::Taken { rejected: 0, why: String::new() };
        assert_eq!(read(StatusCode::OK, b""), taken);
        assert_eq!(read(StatusCode::OK, b"<html>"), taken);
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!(read(StatusCode::OK, &body), Handover::Taken { rejected: 3, why: "too old".to_owned() });
        for again in [429, 502, 503, 504] {
            assert!(matches!(read(StatusCode::from_u16(again).unwrap(), b""), Handover::Failed { .. }), "{again}");
        }
        for never in [301, 400, 401, 404, 413, 500] {
            assert!(matches!(read(StatusCode::from_u16(never).unwrap(), b""), Handover::Refused { .. }), "{never}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        assert!(tls(Some(&file)).is_err());
        std::fs::write(&file, "nothing\n").unwrap();
        assert!(tls(Some(&file)).unwrap_err().to_string().contains("expected a certificate"));
        assert!(tls(None).is_ok());
    }
}
