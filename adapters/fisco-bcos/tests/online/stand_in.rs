//! A stand-in for a node: answers the native methods from blocks in the form of a recording, over plain HTTP.
//!
//! It executes nothing. What `call` and `sendTransaction` answer is set by the test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// What the stand-in holds, open to the test.
#[derive(Default)]
pub struct Script {
    /// Recorded blocks by height.
    pub blocks: HashMap<u64, Value>,
    /// The last block that it admits to.
    pub tip: u64,
    /// Answers to `call`, by calldata in hex.
    pub views: HashMap<String, Value>,
    /// The answer to `sendTransaction`: a result or an error.
    pub sent: Option<Result<Value, (i64, &'static str)>>,
    /// Transactions that were submitted.
    pub submitted: Vec<String>,
    /// Whether `getLogs` is there.
    pub filters_logs: bool,
    /// Answer `getLogs` with this error code instead.
    pub filter_error: Option<i64>,
    /// Answer `getLogs` with this instead.
    pub filter_answer: Option<Value>,
    /// The sealer list for the next block, where it is not the one that the next recorded header lists.
    pub sealers: Option<Value>,
    /// Answer every request with these bytes instead.
    pub garbage: Option<String>,
    /// Answer every request with this status and, where it is not empty, this `Retry-After` instead.
    pub refuses: Option<(u16, String)>,
    /// Wait before every answer.
    pub delay: Duration,
    /// How often each method was called.
    pub calls: HashMap<String, u64>,
}

/// A running stand-in; it stops with the runtime.
#[derive(Clone)]
pub struct StandInNode {
    pub url: String,
    pub script: Arc<Mutex<Script>>,
}

impl StandInNode {
    /// Serves `blocks` up to `tip`.
    pub async fn serve(blocks: &[Value], tip: u64) -> Self {
        let by_height =
            blocks.iter().map(|entry| (entry["block"]["number"].as_u64().unwrap(), entry.clone())).collect();
        let script = Script { blocks: by_height, tip, ..Script::default() };
        let script = Arc::new(Mutex::new(script));
        let app = Router::new().route("/", post(answer)).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, script }
    }

    pub fn edit(&self, edit: impl FnOnce(&mut Script)) {
        edit(&mut self.script.lock().unwrap());
    }

    pub fn calls(&self, method: &str) -> u64 {
        self.script.lock().unwrap().calls.get(method).copied().unwrap_or_default()
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, body: Bytes) -> Response {
    let delay = script.lock().unwrap().delay;
    tokio::time::sleep(delay).await;
    let mut script = script.lock().unwrap();
    let Some((status, wait)) = script.refuses.clone() else {
        return read_and_answer(&mut script, &body).into_response();
    };
    *script.calls.entry("refused".to_owned()).or_default() += 1;
    let mut headers = HeaderMap::new();
    if !wait.is_empty() {
        headers.insert(RETRY_AFTER, wait.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers).into_response()
}

fn read_and_answer(script: &mut Script, body: &Bytes) -> String {
    let request: Value = serde_json::from_slice(body).unwrap();
    if let Some(garbage) = &script.garbage {
        return garbage.clone();
    }
    let method = request["method"].as_str().unwrap().to_owned();
    *script.calls.entry(method.clone()).or_default() += 1;
    let id = &request["id"];
    match result(script, &method, &request["params"]) {
        Ok(result) => json!({ "id": id, "jsonrpc": "2.0", "result": result }).to_string(),
        Err((code, message)) => {
            json!({ "id": id, "jsonrpc": "2.0", "error": { "code": code, "message": message } }).to_string()
        }
    }
}

fn result(script: &mut Script, method: &str, params: &Value) -> Result<Value, (i64, &'static str)> {
    if params[0] != "group0" && params[0]["fromBlock"].is_null() {
        return Err((-32000, "Invalid request for the specified node of doesn't exist or doesn't started!"));
    }
    match method {
        "getBlockNumber" => Ok(json!(script.tip)),
        "getBlockByNumber" => block(script, params),
        "getTransaction" => entry(script, &params[2], "getTransaction").ok_or((3008, "GetBatchTxsByHashList error")),
        "getTransactionReceipt" => {
            entry(script, &params[2], "getTransactionReceipt").ok_or((3008, "GetTransactionReceiptByHash"))
        }
        "call" => {
            let data = params[3].as_str().unwrap();
            Ok(script
                .views
                .get(data)
                .cloned()
                .unwrap_or_else(|| json!({ "blockNumber": 1, "output": "0x", "status": 16 })))
        }
        "sendTransaction" => {
            script.submitted.push(params[2].as_str().unwrap().to_owned());
            script.sent.clone().unwrap_or(Err((10002, "TxPoolIsFull")))
        }
        "getSealerList" => Ok(script.sealers.clone().unwrap_or_else(|| next_sealers(script))),
        "getLogs" if script.filter_error.is_some() => Err((script.filter_error.unwrap(), "the filter failed")),
        "getLogs" if script.filter_answer.is_some() => Ok(script.filter_answer.clone().unwrap()),
        "getLogs" if script.filters_logs => Ok(logs(script, &params[1])),
        _ => Err((-32601, "The method does not exist/is not available.")),
    }
}

fn block(script: &Script, params: &Value) -> Result<Value, (i64, &'static str)> {
    let number = params[2].as_u64().unwrap();
    let entry =
        script.blocks.get(&number).filter(|_| number <= script.tip).ok_or((3006, "Get block failed with errors!"))?;
    let mut block = entry["block"].clone();
    if params[3] == true {
        block.as_object_mut().unwrap().remove("transactions");
    } else if params[4] == false {
        let shown = entry["transactions"].as_array().unwrap().iter().map(|t| t["getTransaction"].clone()).collect();
        block["transactions"] = Value::Array(shown);
    }
    Ok(block)
}

/// The set that the next header lists, as `getSealerList` shows it: ids without `0x`.
fn next_sealers(script: &Script) -> Value {
    let block = script.blocks.get(&(script.tip + 1)).unwrap_or(&script.blocks[&script.tip]);
    let (ids, weights) = (block["block"]["sealerList"].as_array(), block["block"]["consensusWeights"].as_array());
    let pairs = ids.unwrap().iter().zip(weights.unwrap());
    pairs.map(|(id, weight)| json!({ "nodeID": id.as_str().unwrap()[2..], "weight": weight })).collect()
}

fn entry(script: &Script, hash: &Value, field: &str) -> Option<Value> {
    let visible = script.blocks.iter().filter(|(height, _)| **height <= script.tip);
    let mut transactions = visible.flat_map(|(_, block)| block["transactions"].as_array().into_iter().flatten());
    transactions.find(|entry| entry["hash"] == *hash)?.get(field).cloned()
}

/// Scans only the first ten blocks of a range, silently, and quotes numbers as the node does.
fn logs(script: &Script, filter: &Value) -> Value {
    let number = |key: &str| u64::from_str_radix(&filter[key].as_str().unwrap()[2..], 16).unwrap();
    let (from, to) = (number("fromBlock"), number("toBlock"));
    let mut logs = Vec::new();
    for height in from..=to.min(from + 9) {
        let Some(block) = script.blocks.get(&height) else { continue };
        for entry in block["transactions"].as_array().unwrap() {
            for log in entry["getTransactionReceipt"]["logEntries"].as_array().unwrap() {
                let address = format!("0x{}", log["address"].as_str().unwrap());
                if filter["address"].as_array().unwrap().contains(&json!(address)) {
                    logs.push(json!({
                        "address": address,
                        "blockNumber": format!("{height:#x}"),
                        "data": log["data"],
                        "topics": log["topics"],
                        "transactionHash": entry["hash"],
                    }));
                }
            }
        }
    }
    Value::from(logs)
}
