//! Stands in for an OpenTelemetry collector: it takes spans by OTLP over HTTP, in the form of the official data model, and
//! keeps who sent them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONNECTION;
use axum::http::{HeaderName, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A span and who told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// `service.instance.id` of who sent it.
    pub by: String,
    /// The span.
    pub span: Span,
}

type Desk = Arc<Mutex<Vec<Told>>>;

/// Listens on 127.0.0.1 until it is stopped or dropped.
#[derive(Debug)]
pub struct StandInCollector {
    desk: Desk,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for StandInCollector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl StandInCollector {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> anyhow::Result<Self> {
        let desk = Desk::default();
        let (address, server) = serve(Arc::clone(&desk), SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        Ok(Self { desk, address, server })
    }

    /// Where spans go.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// Nobody listens any more.
    pub async fn stop(&mut self) {
        self.server.abort();
        // It ends by that, whatever it was at.
        let _ = (&mut self.server).await;
    }

    /// Listens at the same address again.
    ///
    /// # Errors
    /// When somebody else does.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        (_, self.server) = serve(Arc::clone(&self.desk), self.address).await?;
        Ok(())
    }

    /// Everything that was sent, by trace.
    #[must_use]
    pub fn traces(&self) -> BTreeMap<Vec<u8>, Vec<Told>> {
        let mut traces: BTreeMap<Vec<u8>, Vec<Told>> = BTreeMap::new();
        for told in lock(&self.desk).iter() {
            traces.entry(told.span.trace_id.clone()).or_default().push(told.clone());
        }
        traces
    }
}

fn lock(desk: &Mutex<Vec<Told>>) -> MutexGuard<'_, Vec<Told>> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(desk: Desk, address: SocketAddr) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/v1/traces", post(take)).with_state(desk);
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the stand-in collector ended: {error}");
        }
    });
    Ok((address, server))
}

/// Ends the connection: none outlives [`StandInCollector::stop`].
async fn take(State(desk): State<Desk>, body: Bytes) -> (StatusCode, [(HeaderName, &'static str); 1]) {
    let close = [(CONNECTION, "close")];
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return (StatusCode::BAD_REQUEST, close) };
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let by = attribute(&attributes, "service.instance.id").unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        lock(&desk).extend(spans.map(|span| Told { by: by.clone(), span }));
    }
    (StatusCode::OK, close)
}

/// The value of an attribute, as text.
#[must_use]
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}
