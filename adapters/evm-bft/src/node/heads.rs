//! New heads over WebSocket, where a node offers them: a reason to look at once, and nothing more.
//!
//! What a message says is never read further than to see that it is about a new head: polling goes on whatever comes or does
//! not come here.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use tokio::sync::watch;
use tungstenite::client::{IntoClientRequest, client_with_config};
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

/// The longest message: a head with the seals of 256 validators in hex is below 64 KiB.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// How long connecting and subscribing may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which nothing came for this long is asked for a sign of life, and given up when that does not come.
const QUIET: Duration = Duration::from_secs(30);

/// How long a thread waits for a message before it looks whether it is still needed.
const TURN: Duration = Duration::from_secs(1);

/// The first pause before a new connection; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause before a new connection.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where a node tells new heads.
pub(super) struct Feed {
    /// The node's name.
    pub name: String,
    /// `ws://…` or `wss://…`.
    pub url: reqwest::Url,
    /// What authenticates us.
    pub headers: HeaderMap,
    /// For `wss`.
    pub tls: Arc<ClientConfig>,
}

impl core::fmt::Debug for Feed {
    // The address may hold a token in its path, and the headers hold secrets.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Feed").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a connection ended, or never was.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    WebSocket(Box<Error>),
    #[error("the address has no host that a certificate could name")]
    Host,
    #[error("it took too long")]
    TimedOut,
    #[error("the node refused the subscription")]
    Refused,
}

impl From<Error> for FeedError {
    fn from(error: Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// The feeds of all nodes. They connect when news is first waited for, each in a thread of its own, and end with this.
#[derive(Debug)]
pub(super) struct Heads {
    feeds: Mutex<Vec<Feed>>,
    news: watch::Sender<u64>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Heads {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Heads {
    pub(super) fn new(feeds: Vec<Feed>) -> Self {
        Self { feeds: Mutex::new(feeds), news: watch::Sender::new(0), is_over: Arc::default() }
    }

    /// Waits for the next head that any node tells; for ever where none does.
    pub(super) async fn next(&self) {
        let feeds = std::mem::take(&mut *self.feeds.lock().unwrap_or_else(PoisonError::into_inner));
        for feed in feeds {
            let ear = Ear { feed, news: self.news.clone(), is_over: Arc::clone(&self.is_over) };
            std::thread::spawn(move || ear.follow());
        }
        let mut news = self.news.subscribe();
        // The sender lives as long as self.
        let _ = news.changed().await;
    }
}

/// One feed with whom it tells.
struct Ear {
    feed: Feed,
    news: watch::Sender<u64>,
    is_over: Arc<AtomicBool>,
}

impl Ear {
    /// Keeps the feed connected until it is not needed any more.
    fn follow(&self) {
        let mut pause = FIRST_PAUSE;
        while !self.is_over() {
            let started = Instant::now();
            let ended = self.listen();
            tracing::debug!(node = self.feed.name, ?ended, "new heads are not told any more; polling goes on");
            pause = if started.elapsed() > QUIET { FIRST_PAUSE } else { pause.saturating_mul(2).min(LONGEST_PAUSE) };
            let until = Instant::now() + pause;
            while !self.is_over() && Instant::now() < until {
                std::thread::sleep(TURN.min(until.saturating_duration_since(Instant::now())));
            }
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn listen(&self) -> Result<(), FeedError> {
        let host = self.feed.url.host_str().ok_or(FeedError::Host)?.trim_matches(['[', ']']).to_owned();
        let port = self.feed.url.port_or_known_default().ok_or(FeedError::Host)?;
        let stream = connect(&host, port)?;
        let timeouts = stream.try_clone()?;
        if self.feed.url.scheme() != "wss" {
            return self.hear(stream, &timeouts);
        }
        let name = ServerName::try_from(host).map_err(|_| FeedError::Host)?;
        let session = ClientConnection::new(Arc::clone(&self.feed.tls), name)?;
        self.hear(StreamOwned::new(session, stream), &timeouts)
    }

    fn hear<S: std::io::Read + std::io::Write>(&self, stream: S, timeouts: &TcpStream) -> Result<(), FeedError> {
        let mut request = self.feed.url.as_str().into_client_request()?;
        for (name, value) in &self.feed.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (mut socket, _) = client_with_config(request, stream, Some(limits)).map_err(|error| match error {
            HandshakeError::Failure(error) => error.into(),
            HandshakeError::Interrupted(_) => FeedError::TimedOut,
        })?;
        timeouts.set_read_timeout(Some(TURN))?;
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"] });
        socket.send(Message::text(call.to_string()))?;
        let mut heard = Instant::now();
        let mut was_asked = false;
        while !self.is_over() {
            match read(&mut socket)? {
                Some(message) => {
                    (heard, was_asked) = (Instant::now(), false);
                    self.hear_one(&message)?;
                }
                None if heard.elapsed() < QUIET => {}
                None if was_asked => return Err(FeedError::TimedOut),
                None => {
                    (heard, was_asked) = (Instant::now(), true);
                    socket.send(Message::Ping(Vec::new().into()))?;
                }
            }
        }
        Ok(())
    }

    fn hear_one(&self, message: &Message) -> Result<(), FeedError> {
        let Message::Text(text) = message else { return Ok(()) };
        let Ok(said) = serde_json::from_str::<Value>(text.as_str()) else { return Ok(()) };
        if said.get("error").is_some_and(|error| !error.is_null()) {
            return Err(FeedError::Refused);
        }
        if said.get("method").and_then(Value::as_str) == Some("eth_subscription") {
            self.news.send_modify(|count| *count = count.wrapping_add(1));
        }
        Ok(())
    }
}

/// Connects to the first address of a host that answers.
fn connect(host: &str, port: u16) -> Result<TcpStream, FeedError> {
    let mut last = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
                stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or(FeedError::Host, FeedError::Io))
}

/// The next message; `None` when none came within [`TURN`].
fn read<S: std::io::Read + std::io::Write>(socket: &mut WebSocket<S>) -> Result<Option<Message>, Error> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match socket.read() {
        Ok(message) => Ok(Some(message)),
        Err(Error::Io(error)) if matches!(error.kind(), WouldBlock | TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}
