//! One body there, one body back: how nodes, and whoever else speaks HTTP, are asked within limits.

use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use rustls::AlertDescription;

/// The longest that a node is left alone because it asked for it. One that names more is asked again then, and can say it
/// again.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The most characters of a library's own words.
const MAX_WORDS: usize = 256;

/// Why no body came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailure {
    /// It was sent, or may have been, and nothing came back in time: what it asked for may have happened.
    #[error("no answer in time")]
    TimedOut,
    /// The node wants to be left alone until then: Too Many Requests, Service Unavailable (RFC 6585, section 4; RFC 9110,
    /// sections 15.6.4 and 10.2.3).
    #[error("HTTP status {status}: it wants to be left alone for {} s", wait.as_secs())]
    Busy {
        /// 429 or 503.
        status: u16,
        /// For how long, at most five minutes.
        wait: Duration,
    },
    /// Any other status than success.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The answer is longer than allowed.
    #[error("the answer is longer than max_response_bytes ({limit})")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The other side speaks no TLS that we speak: it said so, or answered in another protocol.
    #[error("no common TLS: {0}")]
    NoCommonTls(String),
    /// It could not be sent, or the connection broke.
    #[error("{0}")]
    Connection(String),
}

/// Sends a request and reads the body of its answer, at most `limit` bytes; never more than that is kept.
///
/// # Errors
/// See [`HttpFailure`]. None of them shows the address, which may hold a token in its path.
pub async fn exchange(request: RequestBuilder, limit: usize) -> Result<Vec<u8>, HttpFailure> {
    let response = request.send().await.map_err(failure)?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        let wait = if matches!(status, 429 | 503) { retry_after(response.headers()) } else { None };
        return Err(wait.map_or(HttpFailure::Status(status), |wait| HttpFailure::Busy { status, wait }));
    }
    read_body(response, limit).await
}

/// Reads the body of an answer, at most `limit` bytes; never more than that is kept.
///
/// # Errors
/// [`HttpFailure::TooLong`], and those of a connection that breaks.
pub async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, HttpFailure> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    if announced > limit {
        return Err(HttpFailure::TooLong { limit });
    }
    let mut bytes = Vec::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if bytes.len().saturating_add(chunk.len()) > limit {
            return Err(HttpFailure::TooLong { limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn failure(error: reqwest::Error) -> HttpFailure {
    if error.is_timeout() && !error.is_connect() {
        return HttpFailure::TimedOut;
    }
    let error = error.without_url();
    let mut words = error.to_string();
    let mut has_no_common_tls = false;
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        has_no_common_tls |= is_no_common_tls(inner);
        cause = inner.source();
    }
    let words = words.chars().take(MAX_WORDS).collect();
    if has_no_common_tls { HttpFailure::NoCommonTls(words) } else { HttpFailure::Connection(words) }
}

/// Whether a handshake failed before certificates were looked at, as with a server of another kind of TLS. A server that
/// misses the client's certificate may say the same (RFC 5246, section 7.4.6).
fn is_no_common_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    match tls_error(cause) {
        Some(rustls::Error::AlertReceived(alert)) => matches!(
            alert,
            AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity
                | AlertDescription::IllegalParameter
                | AlertDescription::DecodeError
        ),
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::InvalidMessage(_)) => true,
        _ => false,
    }
}

/// The error of the TLS library that `cause` is, or that it holds: an I/O error passes over what it holds when it is asked for its
/// cause.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    match cause.downcast_ref::<std::io::Error>() {
        Some(io) => tls_error(io.get_ref()?),
        None => cause.downcast_ref(),
    }
}

/// How long a node wants to be left alone: seconds, or a date by its clock and ours. At most [`LONGEST_WAIT`].
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()?,
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Until when a node wants to be left alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence(Option<Instant>);

impl Silence {
    /// Takes in that a request failed.
    pub fn note(&mut self, failure: &HttpFailure) {
        if let HttpFailure::Busy { wait, .. } = failure {
            self.0 = Instant::now().checked_add(*wait);
        }
    }

    /// How long it still wants to be left alone; `None` when it may be asked.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let left = self.0?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Why it is not asked now, in words.
    #[must_use]
    pub fn words(left: Duration) -> String {
        format!("it asked us to wait, {} s more", left.as_secs().saturating_add(1))
    }
}
