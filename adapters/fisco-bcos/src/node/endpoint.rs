//! One RPC endpoint: JSON-RPC 2.0 by HTTP POST, with limits, and its health.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cityrelay_api::http::{self, HttpFailure, Silence};
use cityrelay_api::source::{EndpointHealth, NodeError};
use cityrelay_core::ids::Height;
use serde_json::{Value, json};

use super::config::{ChainConfig, NodeConfig};
use super::health::Health;
use super::tls;
use crate::codec::json::JsonError;

/// The most characters of a node's own text that are kept.
const MAX_MESSAGE_CHARS: usize = 256;

/// Error codes of a node that is not started, not ready, or not of this group (`bcos-rpc/jsonrpc/Common.h:JsonRpcError`):
/// whatever it is asked, it can't answer.
const OUT_OF_SERVICE: [i64; 3] = [-32000, -32004, -32005];

/// The node does not offer the method: no error of it.
const UNKNOWN_METHOD: i64 = -32601;

/// Error code for a transaction or receipt that the node does not have (`getTransaction`, `getTransactionReceipt`):
/// `LedgerError::GetStorageError`, which `Ledger.cpp:asyncGetBatchTxsByHashList` and `asyncGetTransactionReceiptByHash` give
/// in every release from v3.0.0 to v3.16.4. Any other code says nothing about the entry.
pub(super) const UNKNOWN_ENTRY: i64 = 3008;

/// Methods whose errors tell about the transaction, contract or range that was asked for.
const ABOUT_THE_CALL: [&str; 3] = ["sendTransaction", "call", "getLogs"];

/// What to do about a node that refuses our handshake. GM TLS is the likely reason on a gm chain; a node that misses a client
/// certificate says the same under TLS 1.2.
const TLS_ADVICE: &str = "expected TLS 1.2 or 1.3, the node refused both: where it has `sm_ssl=true` (GM TLS, not spoken here) \
    set `[rpc] sm_ssl=false` in its config.ini or put a proxy that speaks it in front; else check `client_cert_file`";

/// One node as this relay reaches it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub name: String,
    pub is_own: bool,
    pub group: String,
    pub node: String,
    url: reqwest::Url,
    http: reqwest::Client,
    max_response_bytes: usize,
    next_id: AtomicU64,
    health: Mutex<Health>,
}

/// Why a request got no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// It was sent, and no answer came in time: what it asked for may have happened.
    TimedOut,
    /// The node's own error.
    Rpc { code: i64, message: String },
    /// Anything else.
    Other(NodeError),
}

impl Endpoint {
    /// An endpoint, not connected yet; or the key below the node that is wrong, and why.
    pub fn new(chain: &ChainConfig, node: &NodeConfig) -> Result<Self, (&'static str, String)> {
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(tls::client_config(node)?)
            .timeout(chain.request_timeout)
            .connect_timeout(chain.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .build()
            .map_err(|error| ("url", error.to_string()))?;
        Ok(Self {
            name: node.name.clone(),
            is_own: node.is_own,
            group: chain.group_id.clone(),
            node: node.node.clone(),
            url: node.url.clone(),
            http,
            max_response_bytes: chain.max_response_bytes,
            next_id: AtomicU64::new(1),
            health: Mutex::default(),
        })
    }

    /// Calls `method` with the group, then `params`.
    pub async fn call(&self, method: &'static str, params: Vec<Value>) -> Result<Value, NodeError> {
        self.try_call(method, params).await.map_err(|error| match error {
            CallError::TimedOut => self.unreachable("no answer in time"),
            CallError::Rpc { code, message } => {
                NodeError::Rpc { endpoint: self.name.clone(), method: method.to_owned(), code, message }
            }
            CallError::Other(error) => error,
        })
    }

    /// As [`Self::call`], telling a timeout apart.
    pub async fn try_call(&self, method: &'static str, params: Vec<Value>) -> Result<Value, CallError> {
        let silence = self.health().silence.left();
        if let Some(left) = silence {
            return Err(CallError::Other(self.unreachable(&Silence::words(left))));
        }
        let started = Instant::now();
        let result = self.post(method, params).await;
        let mut health = self.health();
        match &result {
            Err(CallError::Rpc { code, message }) if OUT_OF_SERVICE.contains(code) => {
                health.failed(message, Instant::now());
            }
            Err(CallError::Rpc { code, message }) => {
                health.answered(started.elapsed());
                if !ABOUT_THE_CALL.contains(&method) && !matches!(*code, UNKNOWN_METHOD | UNKNOWN_ENTRY) {
                    health.erred(message);
                }
            }
            Ok(_) => health.answered(started.elapsed()),
            Err(CallError::TimedOut) => health.failed("no answer in time", Instant::now()),
            Err(CallError::Other(error)) => health.failed(&error.to_string(), Instant::now()),
        }
        drop(health);
        result
    }

    async fn post(&self, method: &'static str, mut params: Vec<Value>) -> Result<Value, CallError> {
        params.insert(0, Value::from(self.group.clone()));
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": id });
        let malformed = |expected: &str| CallError::Other(self.unexpected(method, expected.to_owned()));
        let request = self.http.post(self.url.clone()).json(&body);
        let bytes = http::exchange(request, self.max_response_bytes).await.map_err(|failure| {
            self.health().silence.note(&failure);
            match failure {
                HttpFailure::TimedOut => CallError::TimedOut,
                HttpFailure::TooLong { .. } => malformed("an answer within `max_response_bytes`"),
                HttpFailure::NoCommonTls(_) => CallError::Other(self.unreachable(&format!("{TLS_ADVICE} ({failure})"))),
                failure => CallError::Other(self.unreachable(&failure.to_string())),
            }
        })?;
        let mut answer: Value = serde_json::from_slice(&bytes).map_err(|_| malformed("JSON"))?;
        // An error may carry another id than the request's: seen with requests that the node could not parse.
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_i64).ok_or_else(|| malformed("an error with a code"))?;
            let message = cut(error.get("message").and_then(Value::as_str).unwrap_or_default());
            return Err(CallError::Rpc { code, message });
        }
        if answer.get("id").and_then(Value::as_u64) != Some(id) {
            return Err(malformed("the id of the request"));
        }
        answer.get_mut("result").map(Value::take).ok_or_else(|| malformed("a result or an error"))
    }

    /// The answer to `method` is no sense: noted, and given back as an error. What a contract answers is not the node's
    /// fault: there may be another contract at that address.
    pub fn malformed(&self, method: &str, expected: String) -> NodeError {
        if method != "call" {
            self.health().failed(&format!("{method}: expected {expected}"), Instant::now());
        }
        self.unexpected(method, expected)
    }

    /// As [`Self::malformed`], and not noted here.
    fn unexpected(&self, method: &str, expected: String) -> NodeError {
        NodeError::Malformed { endpoint: self.name.clone(), method: method.to_owned(), expected }
    }

    /// The answer to `method` lacks a field.
    pub fn json_error(&self, method: &str, error: JsonError) -> NodeError {
        self.malformed(method, error.to_string())
    }

    /// The node is behind `height`.
    pub fn lags(&self, height: u64) -> NodeError {
        self.unreachable(&format!("it has not reached block {height} yet"))
    }

    fn unreachable(&self, reason: &str) -> NodeError {
        NodeError::Unreachable { endpoint: self.name.clone(), reason: reason.to_owned() }
    }

    /// Its health, locked.
    pub fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its health as the daemon shows it.
    pub fn standing(&self) -> EndpointHealth {
        let health = self.health();
        EndpointHealth {
            name: self.name.clone(),
            is_own: self.is_own,
            is_usable: health.is_usable(Instant::now()),
            latency: health.latency,
            height: Height(health.height),
            errors: health.errors,
            lies: health.lies,
            last_error: health.last_error.clone(),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}
