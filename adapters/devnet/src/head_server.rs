//! New heads over WebSocket, at a port of its own beside each node's: `eth_subscribe` with `newHeads`, and nothing else.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::city::City;
use crate::node_server::Shared;

/// Longest message that a node takes.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// How long a connection's thread waits for a message before it looks for a new head.
const TURN: Duration = Duration::from_millis(100);

/// A listening port. Dropping it closes it and, a moment later, its connections.
#[derive(Debug)]
pub(crate) struct HeadServer {
    address: SocketAddr,
    task: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
}

impl Drop for HeadServer {
    fn drop(&mut self) {
        self.task.abort();
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl HeadServer {
    pub(crate) async fn start<C: City>(
        shared: &Arc<Shared<C>>,
        node: usize,
        address: SocketAddr,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, ends) = (Arc::clone(shared), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, ends) = (Arc::clone(&shared), Arc::clone(&ends));
                std::thread::spawn(move || {
                    let told =
                        stream.into_std().map_err(Error::Io).and_then(|stream| tell(stream, &shared, node, &ends));
                    tracing::debug!(node, ?told, "a listener is gone");
                });
            }
        });
        Ok(Self { address, task, is_over })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port at once.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // It was aborted, and has nothing else to say.
        let _ = (&mut self.task).await;
    }
}

fn tell<C: City>(stream: TcpStream, shared: &Shared<C>, node: usize, is_over: &AtomicBool) -> Result<(), Error> {
    stream.set_nonblocking(false)?;
    let timeouts = stream.try_clone()?;
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES));
    let mut socket = tungstenite::accept_with_config(stream, Some(limits)).map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => Error::ConnectionClosed,
    })?;
    timeouts.set_read_timeout(Some(TURN))?;
    let mut heights = shared.height.subscribe();
    let mut is_subscribed = false;
    while !is_over.load(Ordering::Relaxed) {
        if let Some(call) = read(&mut socket)? {
            let is_known = call.get("method").and_then(Value::as_str) == Some("eth_subscribe")
                && call.pointer("/params/0").and_then(Value::as_str) == Some("newHeads");
            is_subscribed |= is_known;
            let id = call.get("id").cloned().unwrap_or(Value::Null);
            let answer = if is_known {
                json!({"jsonrpc": "2.0", "id": id, "result": "0x1"})
            } else {
                let error = json!({"code": -32601, "message": "only eth_subscribe with newHeads is available"});
                json!({"jsonrpc": "2.0", "id": id, "error": error})
            };
            socket.send(Message::text(answer.to_string()))?;
        }
        if is_subscribed
            && heights.has_changed().unwrap_or_default()
            && let Some(head) = shared.with(|chain| chain.told_head(node))
        {
            heights.mark_unchanged();
            let params = json!({"subscription": "0x1", "result": head});
            let note = json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params});
            socket.send(Message::text(note.to_string()))?;
        }
    }
    Ok(())
}

/// The next call; `None` when none came within [`TURN`], or something else did.
fn read(socket: &mut WebSocket<TcpStream>) -> Result<Option<Value>, Error> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match socket.read() {
        Ok(Message::Text(text)) => Ok(Some(serde_json::from_str(text.as_str()).unwrap_or_default())),
        Ok(_) => Ok(None),
        Err(Error::Io(error)) if matches!(error.kind(), WouldBlock | TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}
