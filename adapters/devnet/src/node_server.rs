//! One HTTP endpoint for each node of a chain. Nodes can be stopped and started again on their port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::city::{City, Reply};

/// Longest request body in bytes: a transaction of 1 MiB in hex fits, with room.
const MAX_BODY_BYTES: usize = 8 << 20;
/// How long a request waits for its transaction, as the BCOS nodes' own RPC timeout.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A chain as servers and block producer share it.
#[derive(Debug)]
pub(crate) struct Shared<C> {
    pub(crate) chain: Mutex<C>,
    pub(crate) height: watch::Sender<u64>,
}

impl<C: City> Shared<C> {
    pub(crate) fn new(chain: C) -> Arc<Self> {
        let height = watch::Sender::new(chain.height());
        Arc::new(Self { chain: Mutex::new(chain), height })
    }

    /// Runs something on the chain; nothing else runs on it meanwhile.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut C) -> T) -> T {
        work(&mut self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A listening node.
#[derive(Debug)]
pub(crate) struct NodeServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl NodeServer {
    pub(crate) async fn start<C: City>(
        shared: &Arc<Shared<C>>,
        node: usize,
        address: SocketAddr,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/", post(answer::<C>))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(Node { shared: Arc::clone(shared), index: node });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let until = async { stopped.await.unwrap_or(()) };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::warn!(node, %error, "devnet node stopped");
            }
        });
        Ok(Self { address, stop: Some(stop), task: Some(task) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn is_running(&self) -> bool {
        self.stop.is_some()
    }

    /// Closes the port and idle connections; requests under way are cut off after a moment.
    pub(crate) async fn stop(&mut self) {
        let Some(stop) = self.stop.take() else { return };
        // The receiver is gone only when the server has ended by itself.
        let _ = stop.send(());
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(Duration::from_millis(500), &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

struct Node<C> {
    shared: Arc<Shared<C>>,
    index: usize,
}

impl<C> Clone for Node<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), index: self.index }
    }
}

async fn answer<C: City>(State(node): State<Node<C>>, body: Bytes) -> Response {
    // Subscribe first: a block made between the answer and the wait must not be missed.
    let mut heights = node.shared.height.subscribe();
    let index = node.index;
    // A call may execute for long: off the async threads.
    let shared = Arc::clone(&node.shared);
    let reply = tokio::task::spawn_blocking(move || shared.with(|chain| chain.respond(index, &body))).await;
    let Ok(reply) = reply else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let waiting = match reply {
        Reply::Now(value) => return json(&value),
        Reply::Never => return std::future::pending().await,
        Reply::Later(waiting) => waiting,
    };
    let deadline = tokio::time::Instant::now() + MAX_WAIT;
    loop {
        let is_late = match tokio::time::timeout_at(deadline, heights.changed()).await {
            Ok(Ok(())) => false,
            Ok(Err(_)) | Err(_) => true,
        };
        if let Some(value) = node.shared.with(|chain| chain.resume(index, &waiting, is_late)) {
            return json(&value);
        }
        if is_late {
            return std::future::pending().await;
        }
    }
}

fn json(value: &Value) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
