//! The JSON-RPC dialect of the BCOS chain: names, forms and errors as v3.16.4 and v3.9.0 nodes answer (the recorded
//! errors are of v3.9.0). Errors come with HTTP 200, ids are integers, there are no batches.

mod arguments;
mod node_info;
mod render;

use cityrelay_core::hash::Hash32;
use serde_json::{Value, json};

use self::arguments::Arguments;
use crate::city::{Reply, Waiting};
use crate::rpc_fault::RpcFault;
use crate::weighted_bcos::WeightedBcosChain;
use crate::weighted_bcos::block::Block;

/// What a node puts into `id` when it could not read one: whatever lay in memory. This value was recorded.
const UNREAD_ID: u64 = 140_353_357_602_872;
/// Blocks that one `getLogs` looks at, silently (`FilterSystem.cpp`, `filter_max_process_block`).
const MAX_LOG_BLOCKS: u64 = 10;

/// Answers the body of one HTTP request.
pub fn respond(chain: &mut WeightedBcosChain, node: usize, body: &[u8]) -> Reply {
    let (id, method, params) = match parse(body) {
        Ok(call) => call,
        Err(fault) => {
            return Reply::Now(json!({"error": fault.to_json(), "id": UNREAD_ID, "jsonrpc": ""}));
        }
    };
    let Some(outcome) = answer_at_node(chain, node, &method, &params) else { return Reply::Never };
    match outcome {
        Ok(Answer::Value(value)) => Reply::Now(success(&id, value)),
        Ok(Answer::WhenMined { transaction, with_proof }) => {
            Reply::Later(Waiting { transaction: transaction.0, id, with_proof })
        }
        Err(fault) => Reply::Now(failure(&id, &fault)),
    }
}

#[cfg(not(feature = "misbehave"))]
fn answer_at_node(
    chain: &mut WeightedBcosChain,
    node: usize,
    method: &str,
    params: &[Value],
) -> Option<Result<Answer, RpcFault>> {
    Some(answer(chain, node, method, params))
}

/// `None` when the node never answers.
#[cfg(feature = "misbehave")]
fn answer_at_node(
    chain: &mut WeightedBcosChain,
    node: usize,
    method: &str,
    params: &[Value],
) -> Option<Result<Answer, RpcFault>> {
    use crate::misbehave::{Course, after_bcos, before_bcos};
    let mut outcome = match before_bcos(chain, node, method, params) {
        Course::Usual(params) => answer(chain, node, method, &params),
        Course::Instead(outcome) => outcome,
        Course::Never => return None,
    };
    after_bcos(chain, node, method, params, &mut outcome);
    Some(outcome)
}

/// A block that the chain does not hold, as `getBlockByNumber` with these arguments shows one.
#[cfg(feature = "misbehave")]
pub(crate) fn render_block(chain: &WeightedBcosChain, block: &Block, node: usize, params: &[Value]) -> Value {
    let arguments = Arguments(params);
    render::block(chain.config().suite, block, node, arguments.flag(3, true), arguments.flag(4, true))
}

/// Answers a `sendTransaction` whose transaction is in a block by now.
pub fn resume(chain: &WeightedBcosChain, waiting: &Waiting, is_late: bool) -> Option<Value> {
    let found = chain.find_transaction(Hash32(waiting.transaction));
    match found {
        Some((block, index)) => {
            let receipt = render::sent_receipt(chain.config().suite, block, index, waiting.with_proof);
            Some(success(&waiting.id, receipt))
        }
        // `TransactionStatus.h`: the transaction stays in the pool and may still be mined.
        None if is_late => Some(failure(&waiting.id, &RpcFault::new(10_010, "TransactionPoolTimeout"))),
        None => None,
    }
}

fn success(id: &Value, result: Value) -> Value {
    json!({"id": id, "jsonrpc": "2.0", "result": result})
}

fn failure(id: &Value, fault: &RpcFault) -> Value {
    json!({"error": fault.to_json(), "id": id, "jsonrpc": "2.0"})
}

/// `JsonRpcInterface.cpp:parseRpcRequestJson`, with the codes that were recorded for each kind of bad request.
fn parse(body: &[u8]) -> Result<(Value, String, Vec<Value>), RpcFault> {
    let invalid_request = || RpcFault::new(-32600, "The JSON sent is not a valid Request object.");
    let invalid_json = || RpcFault::new(-32700, "Invalid JSON was received by the server.");
    let request: Value = serde_json::from_slice(body).map_err(|_| invalid_request())?;
    let fields = request.as_object().ok_or_else(invalid_json)?;
    let id = fields.get("id").filter(|id| id.is_i64() || id.is_u64()).ok_or_else(invalid_json)?;
    let method = fields.get("method").and_then(Value::as_str).ok_or_else(invalid_request)?;
    let params = fields.get("params").and_then(Value::as_array).ok_or_else(invalid_request)?;
    if fields.get("jsonrpc").and_then(Value::as_str).is_none() {
        return Err(invalid_request());
    }
    Ok((id.clone(), method.to_owned(), params.clone()))
}

/// What a call answers, or waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The `result` member.
    Value(Value),
    /// The receipt of this transaction, when it is in a block.
    WhenMined {
        /// Its hash.
        transaction: Hash32,
        /// With Merkle proof.
        with_proof: bool,
    },
}

/// Answers one call at one node of the chain.
///
/// # Errors
/// The fault that the real node would answer.
pub fn answer(chain: &mut WeightedBcosChain, node: usize, method: &str, params: &[Value]) -> Result<Answer, RpcFault> {
    let arguments = Arguments(params);
    if method == "getGroupList" {
        return Ok(Answer::Value(json!({"groupList": [chain.config().group_id]})));
    }
    if !METHODS.contains(&method) {
        return Err(RpcFault::new(-32601, "The method does not exist/is not available."));
    }
    arguments.check_group(chain, method)?;
    if method == "sendTransaction" {
        let transaction = chain.submit(&arguments.bytes(2)?)?;
        return Ok(Answer::WhenMined { transaction, with_proof: arguments.flag(3, false) });
    }
    read(chain, node, method, arguments).map(Answer::Value)
}

/// What these nodes know besides `getGroupList`.
const METHODS: [&str; 26] = [
    "call",
    "getABI",
    "getBlockByHash",
    "getBlockByNumber",
    "getBlockHashByNumber",
    "getBlockNumber",
    "getCode",
    "getConsensusStatus",
    "getGroupInfo",
    "getGroupInfoList",
    "getGroupNodeInfo",
    "getLogs",
    "getNodeListByType",
    "getObserverList",
    "getPbftView",
    "getPendingTxSize",
    "getSealerList",
    "getSyncStatus",
    "getSystemConfigByKey",
    "getTotalTransactionCount",
    "getTransaction",
    "getTransactionReceipt",
    "getPeers",
    "getGroupPeers",
    "getGroupBlockNumber",
    "sendTransaction",
];

fn read(chain: &WeightedBcosChain, node: usize, method: &str, arguments: Arguments<'_>) -> Result<Value, RpcFault> {
    let suite = chain.config().suite;
    Ok(match method {
        "getBlockNumber" => json!(chain.height()),
        "getBlockHashByNumber" => {
            json!(block_at(chain, arguments.height(2)?)?.hash.to_string())
        }
        "getBlockByNumber" => {
            let block = block_at(chain, arguments.height(2)?)?;
            render::block(suite, block, node, arguments.flag(3, true), arguments.flag(4, true))
        }
        "getBlockByHash" => {
            let block = arguments
                .hash(2)
                .and_then(|hash| chain.block_by_hash(hash))
                .ok_or_else(|| RpcFault::new(3008, "GetBlockNumberByHash failed "))?;
            render::block(suite, block, node, arguments.flag(3, true), arguments.flag(4, true))
        }
        "getTransaction" => {
            let (block, index) = arguments
                .hash(2)
                .and_then(|hash| chain.find_transaction(hash))
                .ok_or_else(|| RpcFault::new(3008, "GetBatchTxsByHashList error"))?;
            render::transaction(suite, block, index, arguments.flag(3, false))
        }
        "getTransactionReceipt" => {
            let (block, index) = arguments
                .hash(2)
                .and_then(|hash| chain.find_transaction(hash))
                .ok_or_else(|| RpcFault::new(3008, "GetTransactionReceiptByHash"))?;
            render::receipt(suite, block, index, arguments.flag(3, false))
        }
        "call" => {
            let answer = chain.call(Default::default(), arguments.address(2)?, arguments.bytes(3)?.into());
            json!({
                "blockNumber": chain.height(),
                "output": format!("0x{}", hex::encode(&answer.output)),
                "status": answer.status,
            })
        }
        "getCode" => {
            let code = chain.code(arguments.address(2)?);
            json!(if code.is_empty() { String::new() } else { format!("0x{}", hex::encode(code)) })
        }
        "getABI" => json!(""),
        "getLogs" => logs(chain, arguments)?,
        "getTotalTransactionCount" => totals(chain),
        "getPendingTxSize" => json!(chain.pool().len()),
        "getPeers" => json!([]),
        "getGroupPeers" => json!(chain.running().map(|id| hex::encode(id.0)).collect::<Vec<_>>()),
        _ => node_info::read(chain, node, method, arguments)?,
    })
}

fn block_at(chain: &WeightedBcosChain, height: i64) -> Result<&Block, RpcFault> {
    let height = u64::try_from(height).map_err(|_| RpcFault::new(3003, "Wrong argument"))?;
    chain.block(height).map(AsRef::as_ref).ok_or_else(|| RpcFault::new(3006, "Get block failed with errors!"))
}

fn totals(chain: &WeightedBcosChain) -> Value {
    let receipts = (0..=chain.height())
        .filter_map(|height| chain.block(height))
        .flat_map(|block| block.transactions.iter().map(|included| included.receipt.status));
    let (mut count, mut failed) = (0, 0);
    for status in receipts {
        count += 1;
        failed += u64::from(status != 0);
    }
    json!({"blockNumber": chain.height(), "transactionCount": count, "failedTransactionCount": failed})
}

fn logs(chain: &WeightedBcosChain, arguments: Arguments<'_>) -> Result<Value, RpcFault> {
    let filter = arguments.log_filter(1)?;
    let last = filter.last.min(filter.first.saturating_add(MAX_LOG_BLOCKS - 1)).min(chain.height());
    let mut found = Vec::new();
    for block in (filter.first..=last).filter_map(|height| chain.block(height)) {
        for (index, included) in block.transactions.iter().enumerate() {
            for (at, log) in included.receipt.logs.iter().enumerate() {
                if filter.fits(log) {
                    found.push(render::log(block, index, at, log));
                }
            }
        }
    }
    Ok(Value::Array(found))
}
