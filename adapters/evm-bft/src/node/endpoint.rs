//! One node: JSON-RPC over HTTP, and how it has behaved.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cityrelay_api::http::{self, HttpFailure, Silence};
use cityrelay_api::source::{EndpointHealth, NodeError};
use cityrelay_core::ids::Height;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tracing::warn;

/// The most calls in one batch; nodes limit it at 1000 or more.
const BATCH: usize = 50;

/// Methods that some nodes do not offer, or that their operators switch off. One that a node says it does not know is no error of
/// it, and is not asked of it again for [`UNKNOWN_FOR`].
const OPTIONAL: [&str; 12] = [
    "eth_getProof",
    "eth_getBlockReceipts",
    "eth_maxPriorityFeePerGas",
    "istanbul_getValidators",
    "qbft_getValidatorsByBlockNumber",
    "ibft_getValidatorsByBlockNumber",
    "txpool_status",
    "txpool_besuStatistics",
    "txpool_contentFrom",
    "txpool_inspect",
    "txpool_besuPendingTransactions",
    "web3_clientVersion",
];

/// How long a node is believed not to know a method.
const UNKNOWN_FOR: Duration = Duration::from_secs(600);

/// Methods whose faults tell about the transaction, call or range that was asked for.
const ABOUT_THE_CALL: [&str; 9] = [
    "eth_sendRawTransaction",
    "eth_call",
    "eth_estimateGas",
    "eth_getLogs",
    "txpool_status",
    "txpool_besuStatistics",
    "txpool_contentFrom",
    "txpool_inspect",
    "txpool_besuPendingTransactions",
];

/// Methods that ask for nothing that a node may lack: one that answers with an error is in no state to answer anything.
const ANSWERED_BY_ALL: [&str; 2] = ["eth_chainId", "eth_blockNumber"];

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long an endpoint is left alone after the light client refused what it served.
const PAUSE_AFTER_LIE: Duration = Duration::from_secs(60);

/// The longest pause after lies; it doubles with each from [`PAUSE_AFTER_LIE`].
const LONGEST_PAUSE_AFTER_LIES: Duration = Duration::from_secs(3_600);

/// The longest text kept of a node's error.
const MAX_TEXT: usize = 256;

/// A node of the chain.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub name: String,
    pub is_own: bool,
    url: String,
    client: reqwest::Client,
    headers: HeaderMap,
    chain_id: u64,
    max_response_bytes: usize,
    standing: Mutex<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    latency: Duration,
    height: u64,
    errors: u64,
    lies: u64,
    failures_in_row: u32,
    left_until: Option<Instant>,
    silence: Silence,
    /// Smoothed share of calls that failed, in thousandths.
    trouble: u32,
    last_error: String,
    has_right_chain: bool,
    refuses_batches: bool,
    /// Methods that it does not know, and until when it is believed.
    unknown: BTreeMap<&'static str, Instant>,
}

/// Why a call gave no result.
#[derive(Clone, Debug)]
pub(crate) enum CallError {
    /// There is no answer, or it is no sense.
    Node(NodeError),
    /// The node answered with an error.
    Fault(RpcFault),
}

/// A node may have been asked for too much at once. It does not count as a failure.
#[derive(Clone, Debug)]
pub(crate) struct TooMuch(pub NodeError);

/// A node's own error.
#[derive(Clone, Debug)]
pub(crate) struct RpcFault {
    pub endpoint: String,
    pub method: &'static str,
    pub code: i64,
    pub message: String,
    /// Revert data, where the node gives it.
    pub data: Option<Vec<u8>>,
}

impl From<RpcFault> for NodeError {
    fn from(fault: RpcFault) -> Self {
        let RpcFault { endpoint, method, code, message, .. } = fault;
        Self::Rpc { endpoint, method: method.to_owned(), code, message }
    }
}

impl From<CallError> for NodeError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Node(error) => error,
            CallError::Fault(fault) => fault.into(),
        }
    }
}

impl From<NodeError> for CallError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl RpcFault {
    /// The node does not know the method, or has it switched off: JSON-RPC 2.0, section 5.1; Besu's
    /// `METHOD_NOT_ENABLED` (`RpcErrorType.java`); EIP-1474, which proxies follow with codes of their own too.
    pub(crate) fn is_unknown_method(&self) -> bool {
        matches!(self.code, -32601 | -32604 | -32004)
            || self.message.to_ascii_lowercase().contains("method not supported")
    }

    /// The node no longer has that state or block. No code says so; these are the texts of go-ethereum
    /// (`trie/errors.go`, `internal/ethapi/api.go`), of its path scheme, and of Besu (`RpcErrorType.java`).
    pub(crate) fn is_pruned(&self) -> bool {
        let text = self.message.to_ascii_lowercase();
        ["missing trie node", "state unavailable", "state not available", "historical state", "proof window", "pruned"]
            .iter()
            .any(|known| text.contains(known))
    }
}

impl Endpoint {
    pub(crate) fn new(
        settings: &crate::config::NodeSettings,
        client: reqwest::Client,
        headers: HeaderMap,
        chain_id: u64,
        max_response_bytes: usize,
    ) -> Self {
        Self {
            name: settings.name.clone(),
            is_own: settings.is_own,
            url: settings.url.clone(),
            client,
            headers,
            chain_id,
            max_response_bytes,
            standing: Mutex::default(),
        }
    }

    /// One call.
    pub(crate) async fn call(&self, method: &'static str, params: Value) -> Result<Value, CallError> {
        if let Some(fault) = self.known_fault(method) {
            return Err(CallError::Fault(fault));
        }
        self.verify_chain().await?;
        self.call_unchecked(method, params).await
    }

    /// One call that can be made again for less. An answer that is too long or late, and a status that a proxy gives for one
    /// (413 and 5xx), are [`TooMuch`].
    pub(crate) async fn call_for_much(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Result<Value, TooMuch>, CallError> {
        self.verify_chain().await?;
        let call = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
        match self.exchange(method, &call).await? {
            Ok(answer) => self.read_answer(method, answer)?.map(Ok).map_err(CallError::Fault),
            Err(failure @ (HttpFailure::TooLong { .. } | HttpFailure::TimedOut | HttpFailure::Status(413 | 500..))) => {
                Ok(Err(TooMuch(self.unreachable(failure.to_string()))))
            }
            Err(failure) => Err(self.failed(&failure).into()),
        }
    }

    /// Many calls of one method, in the order of `params`.
    pub(crate) async fn calls(
        &self,
        method: &'static str,
        params: &[Value],
    ) -> Result<Vec<Result<Value, RpcFault>>, NodeError> {
        if let Some(fault) = self.known_fault(method) {
            return Ok(params.iter().map(|_| Err(fault.clone())).collect());
        }
        self.verify_chain().await?;
        let mut results = Vec::with_capacity(params.len());
        for chunk in params.chunks(BATCH) {
            match chunk {
                [_, _, ..] if !self.with_standing(|standing| standing.refuses_batches) => {
                    match self.batch(method, chunk).await? {
                        Some(answers) => results.extend(answers),
                        None => {
                            self.with_standing(|standing| standing.refuses_batches = true);
                            self.one_by_one(method, chunk, &mut results).await?;
                        }
                    }
                }
                _ => self.one_by_one(method, chunk, &mut results).await?,
            }
        }
        Ok(results)
    }

    async fn one_by_one(
        &self,
        method: &'static str,
        params: &[Value],
        results: &mut Vec<Result<Value, RpcFault>>,
    ) -> Result<(), NodeError> {
        for params in params {
            match self.call_unchecked(method, params.clone()).await {
                Ok(value) => results.push(Ok(value)),
                Err(CallError::Fault(fault)) => results.push(Err(fault)),
                Err(CallError::Node(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// A batch; `None` when the node does not answer batches with a list.
    async fn batch(
        &self,
        method: &'static str,
        params: &[Value],
    ) -> Result<Option<Vec<Result<Value, RpcFault>>>, NodeError> {
        let calls: Vec<_> = params
            .iter()
            .enumerate()
            .map(|(id, params)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .collect();
        let Value::Array(answers) = self.post(method, &Value::Array(calls)).await? else { return Ok(None) };
        let mut ordered: Vec<Option<Result<Value, RpcFault>>> = vec![None; params.len()];
        for answer in answers {
            let id = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
            let Some(place) = id.and_then(|id| ordered.get_mut(id)) else {
                return Err(self.malformed(method, "the ids of the batch"));
            };
            *place = Some(self.read_answer(method, answer)?);
        }
        let ordered: Option<Vec<_>> = ordered.into_iter().collect();
        ordered.map(Some).ok_or_else(|| self.malformed(method, "an answer to each call of the batch"))
    }

    async fn call_unchecked(&self, method: &'static str, params: Value) -> Result<Value, CallError> {
        let call = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
        let answer = self.post(method, &call).await?;
        self.read_answer(method, answer)?.map_err(CallError::Fault)
    }

    fn read_answer(&self, method: &'static str, mut answer: Value) -> Result<Result<Value, RpcFault>, NodeError> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            let fault = RpcFault {
                endpoint: self.name.clone(),
                method,
                code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                message: message.chars().take(MAX_TEXT).collect(),
                data: error.get("data").and_then(read_revert_data),
            };
            if OPTIONAL.contains(&method) && fault.is_unknown_method() {
                let until = Instant::now() + UNKNOWN_FOR;
                self.with_standing(|standing| standing.unknown.insert(method, until));
            } else if ANSWERED_BY_ALL.contains(&method) {
                self.note_failure(&format!("{method}: {}", fault.message));
            } else if !ABOUT_THE_CALL.contains(&method) {
                self.note_error(&fault.message);
            }
            return Ok(Err(fault));
        }
        match answer.get_mut("result") {
            Some(result) => Ok(Ok(result.take())),
            None => Err(self.malformed(method, "a result or an error")),
        }
    }

    /// What the node answered a short while ago, where that was that it does not know the method.
    fn known_fault(&self, method: &'static str) -> Option<RpcFault> {
        let is_unknown =
            self.with_standing(|standing| standing.unknown.get(method).is_some_and(|until| *until > Instant::now()));
        is_unknown.then(|| RpcFault {
            endpoint: self.name.clone(),
            method,
            code: -32601,
            message: "the node said that it does not know this method".to_owned(),
            data: None,
        })
    }

    /// Sends one body and reads one, within the limits.
    async fn post(&self, method: &'static str, body: &Value) -> Result<Value, NodeError> {
        self.exchange(method, body).await?.map_err(|failure| self.failed(&failure))
    }

    /// As [`Self::post`], where a failure is not noted yet.
    async fn exchange(&self, method: &'static str, body: &Value) -> Result<Result<Value, HttpFailure>, NodeError> {
        if let Some(left) = self.with_standing(|standing| standing.silence.left()) {
            return Err(self.unreachable(Silence::words(left)));
        }
        let started = Instant::now();
        let request = self.client.post(&self.url).headers(self.headers.clone()).json(body);
        match http::exchange(request, self.max_response_bytes).await {
            Ok(bytes) => {
                let value = serde_json::from_slice(&bytes).map_err(|_| self.malformed(method, "JSON"))?;
                self.note_success(started.elapsed());
                Ok(Ok(value))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Notes that no answer came.
    fn failed(&self, failure: &HttpFailure) -> NodeError {
        self.with_standing(|standing| standing.silence.note(failure));
        let reason = failure.to_string();
        self.note_failure(&reason);
        self.unreachable(reason)
    }

    fn unreachable(&self, reason: String) -> NodeError {
        NodeError::Unreachable { endpoint: self.name.clone(), reason }
    }

    /// The node is one of this chain: asked once, and again after each failure.
    async fn verify_chain(&self) -> Result<(), NodeError> {
        if self.with_standing(|standing| standing.has_right_chain) {
            return Ok(());
        }
        let answer = self.call_unchecked("eth_chainId", json!([])).await?;
        let got = crate::codec::json::quantity(&answer);
        if got != Some(u128::from(self.chain_id)) {
            let expected = format!("chain id {}, got {answer}", self.chain_id);
            return Err(self.malformed("eth_chainId", &expected));
        }
        self.with_standing(|standing| standing.has_right_chain = true);
        Ok(())
    }

    /// The answer makes no sense: noted, and given back as an error.
    pub(crate) fn malformed(&self, method: &str, expected: &str) -> NodeError {
        self.note_failure(&format!("{method}: expected {expected}"));
        self.unexpected(method, expected)
    }

    /// The answer is not what it says it is, found before the light client sees it: counts as a lie, as if it had.
    pub(crate) fn lied(&self, method: &str, check: &'static str, expected: &str) -> NodeError {
        warn!(node = self.name, method, check, expected, "a node served what does not verify");
        self.note_lie(check);
        self.unexpected(method, expected)
    }

    /// As [`Self::malformed`], where the node is not to blame.
    pub(crate) fn unexpected(&self, method: &str, expected: &str) -> NodeError {
        NodeError::Malformed {
            endpoint: self.name.clone(),
            method: method.to_owned(),
            expected: expected.chars().take(MAX_TEXT).collect(),
        }
    }

    pub(crate) fn note_height(&self, height: u64) {
        self.with_standing(|standing| standing.height = height);
    }

    pub(crate) fn note_lie(&self, check: &str) {
        self.with_standing(|standing| {
            let doublings = u32::try_from(standing.lies.min(8)).unwrap_or(8);
            let pause = PAUSE_AFTER_LIE.saturating_mul(1 << doublings).min(LONGEST_PAUSE_AFTER_LIES);
            standing.lies = standing.lies.saturating_add(1);
            standing.left_until = Instant::now().checked_add(pause);
            standing.last_error = format!("the light client refused what it served: {check}");
        });
    }

    fn note_success(&self, latency: Duration) {
        self.with_standing(|standing| {
            standing.failures_in_row = 0;
            standing.trouble = standing.trouble * 7 / 8;
            let is_first = standing.latency.is_zero();
            standing.latency = if is_first { latency } else { (standing.latency * 7 + latency) / 8 };
        });
    }

    pub(crate) fn note_error(&self, text: &str) {
        self.with_standing(|standing| {
            standing.errors = standing.errors.saturating_add(1);
            standing.trouble = (standing.trouble * 7 + 1_000) / 8;
            standing.last_error = text.to_owned();
        });
    }

    pub(crate) fn note_failure(&self, text: &str) {
        self.note_error(text);
        self.with_standing(|standing| {
            let pause = FIRST_PAUSE.saturating_mul(1 << standing.failures_in_row.min(8)).min(LONGEST_PAUSE);
            standing.failures_in_row = standing.failures_in_row.saturating_add(1);
            let until = Instant::now().checked_add(pause);
            standing.left_until = standing.left_until.max(until);
            // It may be another node, or the same with other settings, when it comes back.
            standing.has_right_chain = false;
            standing.unknown.clear();
        });
    }

    /// How it is preferred: usable ones first, then those that lied least, then the highest, then the fastest, where calls
    /// that failed make one slower.
    pub(crate) fn rank(&self) -> (bool, u64, core::cmp::Reverse<u64>, Duration) {
        self.with_standing(|standing| {
            let slowness = standing.latency + standing.latency * standing.trouble / 100;
            (!standing.is_usable(), standing.lies, core::cmp::Reverse(standing.height), slowness)
        })
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.with_standing(|standing| standing.is_usable())
    }

    pub(crate) fn health(&self) -> EndpointHealth {
        self.with_standing(|standing| EndpointHealth {
            name: self.name.clone(),
            is_own: self.is_own,
            is_usable: standing.is_usable(),
            latency: standing.latency,
            height: Height(standing.height),
            errors: standing.errors,
            lies: standing.lies,
            last_error: standing.last_error.clone(),
        })
    }

    fn with_standing<T>(&self, act: impl FnOnce(&mut Standing) -> T) -> T {
        // A panic while it was held leaves counters at worst one behind.
        let mut standing = self.standing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(&mut standing)
    }
}

impl Standing {
    fn is_usable(&self) -> bool {
        self.silence.left().is_none() && self.left_until.is_none_or(|until| until <= Instant::now())
    }
}

/// Revert data: hex in `data`, or in `data.data` (older nodes), at most 64 KiB.
fn read_revert_data(data: &Value) -> Option<Vec<u8>> {
    let text = data.as_str().or_else(|| data.get("data").and_then(Value::as_str))?;
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() <= 128 << 10)?;
    hex::decode(digits).ok()
}
