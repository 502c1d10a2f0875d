//! A node that answers from a recording, and misbehaves where a test wants it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};

/// What the node does wrong.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// Answers batches with one error.
    pub refuses_batches: bool,
    /// Says another chain id.
    pub wrong_chain: bool,
    /// Says that it has no state below this height.
    pub pruned_below: u64,
    /// Changes a field of every block.
    pub lies: bool,
    /// Answers with this many blanks before the JSON.
    pub padding: usize,
    /// Has blocks up to here only.
    pub tip: Option<u64>,
    /// Answers `eth_getBlockReceipts`.
    pub has_block_receipts: bool,
    /// Answers everything with an error.
    pub is_starting: bool,
    /// Wants this header.
    pub authorization: Option<String>,
    /// Refuses everything with this HTTP status and this `Retry-After`.
    pub refuses: Option<(u16, String)>,
}

/// A recorded chain behind a socket.
pub struct RecordedNode {
    pub url: String,
    pub manners: Arc<Mutex<Manners>>,
    pub calls: Arc<Mutex<BTreeMap<String, usize>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for RecordedNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Shared {
    recording: Arc<Value>,
    chain_id: u64,
    manners: Arc<Mutex<Manners>>,
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl RecordedNode {
    pub async fn start(recording: Value, chain_id: u64, manners: Manners) -> Self {
        let manners = Arc::new(Mutex::new(manners));
        let calls = Arc::default();
        let shared = Shared {
            recording: Arc::new(recording),
            chain_id,
            manners: Arc::clone(&manners),
            calls: Arc::clone(&calls),
        };
        let router = Router::new().route("/", post(respond)).with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, manners, calls, server }
    }

    pub fn count(&self, method: &str) -> usize {
        self.calls.lock().unwrap().get(method).copied().unwrap_or(0)
    }
}

async fn respond(
    State(shared): State<Shared>,
    headers: axum::http::HeaderMap,
    body: String,
) -> axum::http::Response<String> {
    let manners = shared.manners.lock().unwrap().clone();
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    if manners.authorization.is_some() && manners.authorization != authorization {
        return axum::http::Response::builder().status(401).body(String::new()).unwrap();
    }
    if let Some((status, wait)) = &manners.refuses {
        *shared.calls.lock().unwrap().entry("refused".to_owned()).or_default() += 1;
        let response = axum::http::Response::builder().status(*status).header("retry-after", wait);
        return response.body(String::new()).unwrap();
    }
    let answer = match serde_json::from_str::<Value>(&body).unwrap() {
        Value::Array(_) if manners.refuses_batches => {
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "batches are not supported" } })
        }
        // In another order than asked, which JSON-RPC allows.
        Value::Array(calls) => calls.iter().rev().map(|call| shared.answer(call, &manners)).collect(),
        call => shared.answer(&call, &manners),
    };
    axum::http::Response::new(format!("{}{answer}", " ".repeat(manners.padding)))
}

impl Shared {
    fn answer(&self, call: &Value, manners: &Manners) -> Value {
        let method = call["method"].as_str().unwrap();
        *self.calls.lock().unwrap().entry(method.to_owned()).or_default() += 1;
        match self.result(method, &call["params"], manners) {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }),
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": code, "message": message } })
            }
        }
    }

    fn result(&self, method: &str, params: &Value, manners: &Manners) -> Result<Value, (i64, &'static str)> {
        let blocks = self.recording["blocks"].as_array().unwrap();
        let tip = manners.tip.unwrap_or(blocks.len() as u64 - 1);
        let at = |value: &Value| match value.as_str().unwrap() {
            "latest" => Some(tip),
            text => Some(u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()).filter(|at| *at <= tip),
        };
        let entry = |value: &Value| at(value).map(|at| &blocks[usize::try_from(at).unwrap()]);
        if manners.is_starting {
            return Err((-32000, "the node is not ready yet"));
        }
        let unknown = Err((-32601, "the method does not exist/is not available"));
        match method {
            "eth_chainId" if manners.wrong_chain => Ok(json!("0x1")),
            "eth_chainId" => Ok(json!(format!("{:#x}", self.chain_id))),
            "eth_blockNumber" => Ok(json!(format!("{tip:#x}"))),
            "eth_getBlockByNumber" => Ok(entry(&params[0]).map_or(Value::Null, |entry| {
                let mut block = entry["block"].clone();
                if manners.lies {
                    block["gasUsed"] = "0x1234".into();
                }
                if params[1] == false {
                    let hashes = block["transactions"].as_array().unwrap().iter().map(|it| it["hash"].clone());
                    block["transactions"] = hashes.collect();
                }
                block
            })),
            "eth_getBlockReceipts" if manners.has_block_receipts => {
                Ok(entry(&params[0]).map_or(Value::Null, |entry| match entry.get("receipts") {
                    Some(receipts) => receipts.clone(),
                    None => json!([]),
                }))
            }
            "eth_getTransactionReceipt" => {
                let receipts = blocks.iter().filter_map(|entry| entry.get("receipts")?.as_array()).flatten();
                Ok(receipts.into_iter().find(|it| it["transactionHash"] == params[0]).cloned().unwrap_or(Value::Null))
            }
            "istanbul_getValidators" => Ok(entry(&params[0]).map_or(Value::Null, |entry| entry["validators"].clone())),
            "eth_getProof" | "eth_getStorageAt" => {
                let block = &params[2];
                if at(block).is_none_or(|at| at < manners.pruned_below) {
                    return Err((-32000, "missing trie node 1234 (path )"));
                }
                let entry = entry(block).unwrap();
                let proof = ["proof", "validator_contract_proof"]
                    .iter()
                    .filter_map(|name| entry.get(*name))
                    .find(|proof| proof["address"] == params[0])
                    .ok_or((-32000, "not recorded"))?;
                if method == "eth_getStorageAt" {
                    let slots = proof["storageProof"].as_array().unwrap();
                    let slot = slots.iter().find(|slot| slot["key"] == params[1]).ok_or((-32000, "not recorded"))?;
                    let digits = slot["value"].as_str().unwrap().trim_start_matches("0x");
                    return Ok(json!(format!("0x{digits:0>64}")));
                }
                let mut proof = proof.clone();
                let wanted = params[1].as_array().unwrap();
                proof["storageProof"].as_array_mut().unwrap().retain(|slot| wanted.contains(&slot["key"]));
                Ok(proof)
            }
            _ => unknown,
        }
    }
}

/// A node in front of another that can do less.
pub struct Filtered {
    pub url: String,
    refused: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Filtered {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Filtered {
    /// It knows everything but `eth_getProof`, as Polygon Edge's do.
    pub async fn without_storage_proofs(upstream: &str) -> Self {
        let refuse = |call: &Value| {
            let error = json!({ "code": -32601, "message": "the method eth_getProof does not exist" });
            (call["method"] == "eth_getProof").then_some(error)
        };
        Self::start(upstream, refuse).await
    }

    /// It answers `eth_getLogs` for so many blocks at most.
    pub async fn with_few_logs(upstream: &str, most: u64) -> Self {
        let number = |value: &Value| u64::from_str_radix(value.as_str()?.trim_start_matches("0x"), 16).ok();
        let refuse = move |call: &Value| {
            let filter = &call["params"][0];
            let blocks = number(&filter["toBlock"])? - number(&filter["fromBlock"])? + 1;
            let error = json!({ "code": -32005, "message": "query exceeds the range of blocks" });
            (blocks > most).then_some(error)
        };
        Self::start(upstream, refuse).await
    }

    /// Calls that it refused.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    async fn start(upstream: &str, refuse: impl Fn(&Value) -> Option<Value> + Clone + Send + Sync + 'static) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::new();
        let upstream = upstream.to_owned();
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        let pass_on = move |body: String| {
            let (client, upstream, count, refuse) =
                (client.clone(), upstream.clone(), Arc::clone(&count), refuse.clone());
            async move {
                let call: Value = serde_json::from_str(&body).unwrap();
                if let Some(error) = refuse(&call) {
                    count.fetch_add(1, Ordering::Relaxed);
                    return json!({ "jsonrpc": "2.0", "id": call["id"], "error": error }).to_string();
                }
                let request = client.post(&upstream).header("content-type", "application/json").body(body);
                request.send().await.unwrap().text().await.unwrap()
            }
        };
        let router = Router::new().route("/", post(pass_on));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, refused, server }
    }
}
