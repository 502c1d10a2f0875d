//! `/metrics`, `/livez` and `/readyz` over HTTP.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use super::health::{Health, Trouble};
use super::metrics::Metrics;

/// The media type of the OpenMetrics text format, version 1.0.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A running endpoint; it stops when this is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl MetricsServer {
    /// Where it listens; the port is the real one when the configured port was 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens on `listen` and answers `/metrics`, `/livez` and `/readyz` (200, or 503 with the reasons), and whatever `page`
/// answers; its handlers find the caller's address with `ConnectInfo<SocketAddr>`.
///
/// It runs on a thread of its own: when everything else is stuck, it is what says so.
///
/// # Errors
/// When the address can't be bound, or the thread can't be started.
pub fn serve(
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    page: Router,
) -> anyhow::Result<MetricsServer> {
    let listener = TcpListener::bind(listen).with_context(|| format!("metrics.listen: bind {listen}"))?;
    listener.set_nonblocking(true).context("metrics.listen")?;
    let address = listener.local_addr().context("metrics.listen")?;
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(show_life))
        .route("/readyz", get(show_readiness))
        .with_state(Shared { metrics, health })
        .merge(page);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("metrics.listen")?;
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            let ended = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::select! {
                    ended = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()) => ended,
                    // The sender never says anything: it is gone when the server is not wanted any more.
                    _ = stopped => Ok(()),
                }
            });
            if let Err(error) = ended {
                tracing::error!(%error, "the metrics endpoint stopped");
            }
        })
        .context("metrics.listen: start a thread")?;
    Ok(MetricsServer { address, _stop: stop })
}

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

async fn show_metrics(State(shared): State<Shared>) -> Response {
    shared.metrics.health(&shared.health);
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn show_life(State(shared): State<Shared>) -> Response {
    if shared.health.is_alive() {
        (StatusCode::OK, "alive\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the event loop gives no sign of life\n").into_response()
    }
}

async fn show_readiness(State(shared): State<Shared>) -> Response {
    let troubles = shared.health.troubles();
    if troubles.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    let line = |trouble: &Trouble| format!("{}: {}: {}\n", trouble.kind.as_str(), trouble.subject, trouble.reason);
    let lines: String = troubles.iter().map(line).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::health::TroubleKind;
    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_endpoint_shows_metrics_life_and_readiness() {
        let health = Arc::new(Health::default());
        let page = Router::new().route("/page", get(async || "page"));
        let server =
            serve("127.0.0.1:0".parse().unwrap(), Arc::new(Metrics::new()), Arc::clone(&health), page).unwrap();
        let metrics = ask(server.address(), "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("openmetrics-text"), "{metrics}");
        assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");
        assert!(ask(server.address(), "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(ask(server.address(), "/readyz").await.starts_with("HTTP/1.1 503"));

        health.report(vec![Trouble::new(TroubleKind::ChainFrozen, "chain north", "two headers")]);
        let answer = ask(server.address(), "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("chain-frozen: chain north: two headers\n"),
            "{answer}"
        );
        health.report(Vec::new());
        assert!(ask(server.address(), "/readyz").await.ends_with("ready\n"));
        assert!(ask(server.address(), "/page").await.ends_with("page"));
        assert!(ask(server.address(), "/else").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = serve(address, Arc::new(Metrics::new()), Arc::new(Health::default()), Router::new()).unwrap_err();
        assert!(format!("{error:#}").contains(&address.to_string()), "{error:#}");
    }
}
