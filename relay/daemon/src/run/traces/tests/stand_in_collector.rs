//! Stands in for an OpenTelemetry collector: takes what is sent, or answers as it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Default)]
struct Desk {
    status: AtomicU16,
    taken: Mutex<Vec<Span>>,
}

/// Listens on a port of its own.
pub struct StandInCollector {
    desk: Arc<Desk>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl StandInCollector {
    pub async fn start() -> Self {
        let desk = Arc::new(Desk::default());
        desk.status.store(200, Ordering::Relaxed);
        let (address, server) = serve(Arc::clone(&desk), SocketAddr::from(([127, 0, 0, 1], 0))).await;
        Self { desk, address, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// Answers with this status from now on; with 200 it takes what it is sent.
    pub fn answer(&self, status: u16) {
        self.desk.status.store(status, Ordering::Relaxed);
    }

    pub fn taken(&self) -> Vec<Span> {
        self.desk.taken.lock().unwrap().clone()
    }

    pub async fn stop(&mut self) {
        self.server.abort();
        assert!((&mut self.server).await.unwrap_err().is_cancelled());
    }

    /// Listens at the same address again.
    pub async fn restart(&mut self) {
        (_, self.server) = serve(Arc::clone(&self.desk), self.address).await;
    }
}

async fn serve(desk: Arc<Desk>, address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(take)).with_state(desk);
    (address, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

/// Ends the connection: none outlives [`StandInCollector::stop`].
async fn take(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(HeaderName, &'static str); 1]) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let status = StatusCode::from_u16(desk.status.load(Ordering::Relaxed)).unwrap();
    if status == StatusCode::OK {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        desk.taken.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    }
    (status, [(CONNECTION, "close")])
}
