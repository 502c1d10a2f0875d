//! The JSON-RPC dialect of the sealed EVM chain: names, forms and errors as GoQuorum v24.4 answers, and Besu's
//! `eth_getBlockReceipts`, `qbft_getValidatorsByBlockNumber` and `baseFeePerGas`. Polygon Edge's nodes have fewer methods.

mod log_filter;
mod params;
mod render;

#[cfg(feature = "misbehave")]
pub(crate) use params::missing_state;
#[cfg(feature = "misbehave")]
pub(crate) use render::block as render_block;
pub(crate) use render::head as render_head;

use alloy_primitives::{B256, U256, hex};
use revm::context::TxEnv;
use revm::context::result::HaltReason;
use serde_json::{Value, json};

use self::log_filter::LogFilter;
use self::params::Params;
use crate::city::Reply;
use crate::execution::{Ended, Execution, ExecutionError};
use crate::rpc_fault::RpcFault;
use crate::sealed_evm::SealedEvmChain;
use crate::sealed_evm::block::Block;
use crate::sealed_evm::mode::SealMode;

/// Most calls in one batch; go-ethereum's `BatchRequestLimit`.
const MAX_BATCH: usize = 1000;
/// Blocks that one `eth_feeHistory` covers at most; go-ethereum's `maxBlockFetchers` bound on the answer.
const MAX_FEE_HISTORY: u64 = 1024;

/// Answers the body of one HTTP request: a call or a batch of calls.
pub fn respond(chain: &mut SealedEvmChain, node: usize, body: &[u8]) -> Reply {
    let refused = |code, message| Reply::Now(failure(Value::Null, &RpcFault::new(code, message)));
    match serde_json::from_slice::<Value>(body) {
        Err(_) => refused(-32700, "parse error"),
        Ok(Value::Array(calls)) if calls.is_empty() => refused(-32600, "empty batch"),
        Ok(Value::Array(calls)) if calls.len() > MAX_BATCH => refused(-32600, "batch too large"),
        Ok(Value::Array(calls)) => {
            let answers: Option<Vec<Value>> = calls.iter().map(|call| respond_to_one(chain, node, call)).collect();
            answers.map_or(Reply::Never, |answers| Reply::Now(Value::Array(answers)))
        }
        Ok(call) => respond_to_one(chain, node, &call).map_or(Reply::Never, Reply::Now),
    }
}

/// `None` when the node never answers.
fn respond_to_one(chain: &mut SealedEvmChain, node: usize, call: &Value) -> Option<Value> {
    let id = call.get("id").cloned().unwrap_or(Value::Null);
    let (Some(method), Some("2.0")) =
        (call.get("method").and_then(Value::as_str), call.get("jsonrpc").and_then(Value::as_str))
    else {
        return Some(failure(id, &RpcFault::new(-32600, "invalid request")));
    };
    let params = match call.get("params") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(params)) => params.clone(),
        Some(_) => return Some(failure(id, &RpcFault::new(-32602, "non-array args"))),
    };
    Some(match answer_at_node(chain, node, method, &params)? {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(fault) => failure(id, &fault),
    })
}

#[cfg(not(feature = "misbehave"))]
fn answer_at_node(
    chain: &mut SealedEvmChain,
    node: usize,
    method: &str,
    params: &[Value],
) -> Option<Result<Value, RpcFault>> {
    Some(answer(chain, node, method, params))
}

#[cfg(feature = "misbehave")]
fn answer_at_node(
    chain: &mut SealedEvmChain,
    node: usize,
    method: &str,
    params: &[Value],
) -> Option<Result<Value, RpcFault>> {
    use crate::misbehave::{Course, after_eth, before_eth};
    let mut outcome = match before_eth(chain, node, method, params) {
        Course::Usual(params) => answer(chain, node, method, &params),
        Course::Instead(outcome) => outcome,
        Course::Never => return None,
    };
    after_eth(chain, node, method, params, &mut outcome);
    Some(outcome)
}

fn failure(id: Value, fault: &RpcFault) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": fault.to_json()})
}

/// Answers one call at one node of the chain.
///
/// # Errors
/// The fault that the real node would answer.
pub fn answer(chain: &mut SealedEvmChain, node: usize, method: &str, params: &[Value]) -> Result<Value, RpcFault> {
    let params = Params(params);
    if !has_method(chain, method) {
        return Err(unknown_method(method));
    }
    match method {
        "web3_clientVersion" => Ok(json!(concat!("cityrelay-devnet/v", env!("CARGO_PKG_VERSION"), "/stand-in/rust"))),
        "net_version" => Ok(json!(chain.config().chain_id.to_string())),
        "eth_chainId" => Ok(params::quantity(chain.config().chain_id)),
        "eth_syncing" => Ok(json!(false)),
        "eth_accounts" => Ok(json!([])),
        "eth_blockNumber" => Ok(params::quantity(chain.height())),
        "eth_gasPrice" | "eth_maxPriorityFeePerGas" => Ok(json!("0x0")),
        "eth_feeHistory" => fee_history(chain, params),
        "eth_getBlockByNumber" => {
            let full = params.flag(1)?;
            let Some(height) = params.height(0, chain)? else { return Ok(Value::Null) };
            Ok(chain.block(height).map_or(Value::Null, |block| render::block(block, node, full)))
        }
        "eth_getBlockByHash" => {
            let (hash, full) = (params.hash(0)?, params.flag(1)?);
            Ok(chain.block_by_hash(hash).map_or(Value::Null, |block| render::block(block, node, full)))
        }
        "eth_getBlockTransactionCountByNumber" => {
            let block = params.height(0, chain)?.and_then(|height| chain.block(height));
            Ok(block.map_or(Value::Null, |block| params::quantity(block.transactions.len() as u64)))
        }
        "eth_getTransactionByHash" => {
            let hash = params.hash(0)?;
            if let Some((block, index)) = chain.find_transaction(hash) {
                return Ok(render::transaction_in(block, index));
            }
            Ok(chain.pool().find(hash).map_or(Value::Null, render::waiting))
        }
        "eth_getTransactionReceipt" => {
            let found = chain.find_transaction(params.hash(0)?);
            Ok(found.map_or(Value::Null, |(block, index)| render::receipt_in(block, index)))
        }
        "eth_getBlockReceipts" => {
            let block = params.height(0, chain)?.and_then(|height| chain.block(height));
            Ok(block.map_or(Value::Null, |block| {
                (0..block.transactions.len()).map(|index| render::receipt_in(block, index)).collect()
            }))
        }
        "eth_getLogs" => LogFilter::parse(params.object(0)?, chain)?.run(chain),
        "eth_call" => call(chain, params),
        "eth_estimateGas" => estimate_gas(chain, params),
        "eth_getTransactionCount" => transaction_count(chain, params),
        "eth_getBalance" => {
            let address = params.address(0)?;
            let world = params.world(1, chain)?;
            Ok(params::quantity_u256(world.balance(address)))
        }
        "txpool_status" => {
            Ok(json!({ "pending": params::quantity(chain.pool().len() as u64), "queued": params::quantity(0) }))
        }
        "txpool_inspect" => {
            let (executable, gapped) = chain.pool().queues(chain.newest_world());
            Ok(json!({ "pending": render::queues(&executable), "queued": render::queues(&gapped) }))
        }
        "eth_getCode" => {
            let address = params.address(0)?;
            let world = params.world(1, chain)?;
            Ok(params::bytes(&world.code(address)))
        }
        "eth_getStorageAt" => {
            let (address, slot) = (params.address(0)?, params.slot(1)?);
            let world = params.world(2, chain)?;
            Ok(json!(B256::from(world.storage(address, slot))))
        }
        "eth_getProof" => {
            let (address, slots) = (params.address(0)?, params.slots(1)?);
            let world = params.world(2, chain)?;
            Ok(render::proof(&world.prove(address, &slots), params.array(1)?))
        }
        "eth_sendRawTransaction" => {
            let raw = params.bytes(0)?;
            let hash = chain.submit(&raw).map_err(|error| RpcFault::new(-32000, error.to_string()))?;
            Ok(json!(hash))
        }
        "ibft_getValidatorsByBlockNumber" => {
            // Besu answers for the set that seals the block.
            let block = params.height(0, chain)?.and_then(|height| chain.block(height));
            Ok(block.map_or(Value::Null, |block| json!(block.sealers)))
        }
        "qbft_getValidatorsByBlockNumber" | "istanbul_getValidators" => {
            let height = params.height(0, chain)?.ok_or_else(params::unknown_block)?;
            let validators = chain.validators_after(height).ok_or_else(params::unknown_block)?;
            Ok(json!(validators))
        }
        _ => Err(unknown_method(method)),
    }
}

/// Whether the nodes of this chain have a method that others may lack.
fn has_method(chain: &SealedEvmChain, method: &str) -> bool {
    let config = chain.config();
    let mode = config.mode_at(chain.height());
    match method {
        "eth_getProof" => config.has_storage_proofs,
        "eth_getBlockReceipts" => config.has_block_receipts,
        "istanbul_getValidators" | "qbft_getValidatorsByBlockNumber" => !mode.is_edge() && mode != SealMode::Ibft2,
        "ibft_getValidatorsByBlockNumber" => mode == SealMode::Ibft2,
        _ => true,
    }
}

fn unknown_method(method: &str) -> RpcFault {
    RpcFault::new(-32601, format!("the method {method} does not exist/is not available"))
}

fn transaction_count(chain: &SealedEvmChain, params: Params<'_>) -> Result<Value, RpcFault> {
    let address = params.address(0)?;
    if params.0.get(1).and_then(Value::as_str) == Some("pending") {
        return Ok(params::quantity(chain.pool().next_nonce(address, chain.newest_world())));
    }
    Ok(params::quantity(params.world(1, chain)?.nonce(address)))
}

fn fee_history(chain: &SealedEvmChain, params: Params<'_>) -> Result<Value, RpcFault> {
    let count = params.count(0)?.min(MAX_FEE_HISTORY);
    let newest = params.height(1, chain)?.ok_or_else(params::unknown_block)?;
    let percentiles = params.0.get(2).and_then(Value::as_array).map_or(0, Vec::len);
    let count = count.min(newest + 1);
    let oldest = (newest + 1) - count;
    let blocks: Vec<&Block> =
        (oldest..=newest).filter_map(|height| chain.block(height)).map(AsRef::as_ref).take(count as usize).collect();
    let ratios: Vec<f64> =
        blocks.iter().map(|block| block.header.gas_used as f64 / block.header.gas_limit as f64).collect();
    let mut history = json!({
        "oldestBlock": params::quantity(oldest),
        "baseFeePerGas": vec!["0x0"; blocks.len() + 1],
        "gasUsedRatio": ratios,
    });
    if percentiles > 0
        && let Some(fields) = history.as_object_mut()
    {
        fields.insert("reward".to_owned(), json!(vec![vec!["0x0"; percentiles]; blocks.len()]));
    }
    Ok(history)
}

fn call(chain: &SealedEvmChain, params: Params<'_>) -> Result<Value, RpcFault> {
    let height = params.height(1, chain)?.ok_or_else(params::unknown_block)?;
    let wanted = params.call(0, chain.config().gas_limit)?;
    let result = run(chain, height, wanted)?;
    match result.ended {
        Ended::Success => Ok(params::bytes(&result.output)),
        _ => Err(execution_fault(&result)),
    }
}

fn run(chain: &SealedEvmChain, height: u64, call: TxEnv) -> Result<Execution, RpcFault> {
    chain.call(height, call).ok_or_else(|| params::missing_state(chain, height))?.map_err(|error| match error {
        ExecutionError::Invalid(invalid) => RpcFault::new(-32000, format!("err: {invalid}")),
        ExecutionError::Refused(reason) => RpcFault::new(-32000, reason),
    })
}

/// go-ethereum's `revertError`: code 3, the decoded reason in the text, the raw return data in `data`.
fn execution_fault(result: &Execution) -> RpcFault {
    match &result.ended {
        Ended::Halt(HaltReason::OutOfGas(_)) => RpcFault::new(-32000, "out of gas"),
        Ended::Halt(reason) => RpcFault::new(-32000, format!("execution stopped: {reason:?}")),
        Ended::Success | Ended::Revert => {
            let reason = <alloy_sol_types::Revert as alloy_sol_types::SolError>::abi_decode(&result.output).ok();
            let message = match reason {
                Some(revert) => format!("execution reverted: {}", revert.reason),
                None => "execution reverted".to_owned(),
            };
            RpcFault { code: 3, message, data: Some(json!(hex::encode_prefixed(&result.output))) }
        }
    }
}

/// Above this much gas an estimate may be too high by [`ESTIMATE_ERROR`]: each try executes the whole call.
const EXACT_ESTIMATES: u64 = 1_000_000;

/// As go-ethereum's `estimateGasErrorRatio` since 1.13: 1.5 %, in thousandths.
const ESTIMATE_ERROR: u64 = 15;

/// The least gas with which the call succeeds, by bisection as go-ethereum's `DoEstimateGas`; a little more for large calls.
fn estimate_gas(chain: &SealedEvmChain, params: Params<'_>) -> Result<Value, RpcFault> {
    let height = params.height(1, chain)?.ok_or_else(params::unknown_block)?;
    let wanted = params.call(0, chain.config().gas_limit)?;
    let first = run(chain, height, wanted.clone())?;
    if first.ended != Ended::Success {
        return Err(execution_fault(&first));
    }
    // What was used after refunds is not enough while it runs; the 63/64 rule may ask for more still.
    let (mut too_little, mut enough) = (first.gas_used.saturating_sub(1), wanted.gas_limit);
    let mut guess = first.gas_used.saturating_add(first.gas_used / 4).min(enough);
    let is_close = |too_little: u64, enough: u64| match enough > EXACT_ESTIMATES {
        true => (enough - too_little).saturating_mul(1000) <= enough.saturating_mul(ESTIMATE_ERROR),
        false => too_little + 1 >= enough,
    };
    while !is_close(too_little, enough) {
        let trial = TxEnv { gas_limit: guess, ..wanted.clone() };
        let succeeds = run(chain, height, trial).is_ok_and(|result| result.ended == Ended::Success);
        if succeeds {
            enough = guess;
        } else {
            too_little = guess;
        }
        guess = too_little + (enough - too_little) / 2;
    }
    Ok(params::quantity_u256(U256::from(enough)))
}
