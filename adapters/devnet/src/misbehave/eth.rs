//! Misdeeds of the QBFT chain's nodes.

use alloy_primitives::{B256, hex, keccak256};
use serde_json::{Value, json};

use super::Course;
use crate::eth_rpc;
use crate::rpc_fault::RpcFault;
use crate::sealed_evm::SealedEvmChain;
use crate::sealed_evm::unsealed::Unsealed;

type Outcome = Result<Value, RpcFault>;

/// Decides whether a call takes its usual course.
pub(crate) fn before(chain: &SealedEvmChain, node: usize, method: &str, params: &[Value]) -> Course<Outcome> {
    let faults = &chain.faults;
    if faults.hangs(node, method) {
        return Course::Never;
    }
    if let Some(failure) = faults.failure(node, method) {
        return Course::Instead(Err(failure));
    }
    if method == "eth_sendRawTransaction" && faults.drops_transactions(node) {
        let raw = params.first().and_then(Value::as_str).and_then(|text| hex::decode(text).ok());
        return Course::Instead(Ok(json!(keccak256(raw.unwrap_or_default()))));
    }
    let mut params = params.to_vec();
    let lag = faults.lag(node);
    let head = chain.height().saturating_sub(lag);
    if lag > 0 {
        if method == "eth_blockNumber" {
            return Course::Instead(Ok(json!(format!("{head:#x}"))));
        }
        for value in &mut params {
            if value.as_str().is_some_and(|text| ["latest", "pending", "safe", "finalized"].contains(&text)) {
                *value = json!(format!("{head:#x}"));
            }
        }
        if method.starts_with("eth_getBlock") && asked_height(&params, 0).is_some_and(|height| height > head) {
            return Course::Instead(Ok(Value::Null));
        }
    }
    let place = match method {
        "eth_getProof" | "eth_getStorageAt" => 2,
        "eth_call" | "eth_getBalance" | "eth_getCode" | "eth_getTransactionCount" => 1,
        _ => return Course::Usual(params),
    };
    let height = asked_height(&params, place).unwrap_or(head);
    if height < faults.pruned_below(node) {
        return Course::Instead(Err(eth_rpc::missing_state(chain, height)));
    }
    Course::Usual(params)
}

/// Bends the answer of a call.
pub(crate) fn after(chain: &SealedEvmChain, node: usize, method: &str, params: &[Value], outcome: &mut Outcome) {
    if method == "eth_call" {
        let call = params.first().and_then(|call| call.get("data").or_else(|| call.get("input")));
        if chain.faults.miscomputes(node, call.and_then(Value::as_str).unwrap_or_default()) {
            let told = match outcome {
                Ok(result) => Some(result),
                Err(fault) => fault.data.as_mut(),
            };
            if let Some(told) = told
                && let Some(other) = super::bent(told)
            {
                *told = other;
            }
        }
    }
    let Ok(result) = outcome else { return };
    if method == "eth_getBlockByNumber"
        && let Some(number) = result.get("number").and_then(Value::as_str).and_then(quantity)
        && chain.faults.equivocates_at(node, number)
        && let Some(sibling) = sibling(chain, number)
    {
        let full = params.get(1).and_then(Value::as_bool).unwrap_or_default();
        *result = eth_rpc::render_block(&sibling, node, full);
    }
    chain.faults.lie(node, method, asked_height(params, 0), result);
}

/// The block at a height once more with another vanity: another hash, sealed by the same validators.
fn sibling(chain: &SealedEvmChain, height: u64) -> Option<crate::sealed_evm::block::Block> {
    let block = chain.block(height)?;
    let unsealed = Unsealed { vanity: B256::repeat_byte(0xee), proposer_seal: Vec::new(), ..block.unsealed.clone() };
    Some(chain.seal_again(block, unsealed))
}

fn asked_height(params: &[Value], at: usize) -> Option<u64> {
    params.get(at).and_then(Value::as_str).and_then(quantity)
}

fn quantity(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
