//! Misdeeds of the BCOS chain's nodes.

use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::header::BlockHeader;
use cityrelay_fisco_bcos::codec::transaction::Transaction;
use serde_json::{Value, json};

use super::Course;
use crate::bcos_rpc::{self, Answer};
use crate::rpc_fault::RpcFault;
use crate::weighted_bcos::WeightedBcosChain;
use crate::weighted_bcos::block::Block;

type Outcome = Result<Answer, RpcFault>;

/// Decides whether a call takes its usual course.
pub(crate) fn before(chain: &WeightedBcosChain, node: usize, method: &str, params: &[Value]) -> Course<Outcome> {
    let faults = &chain.faults;
    if faults.hangs(node, method) {
        return Course::Never;
    }
    if let Some(failure) = faults.failure(node, method) {
        return Course::Instead(Err(failure));
    }
    if method == "sendTransaction" && faults.drops_transactions(node) {
        let text = params.get(2).and_then(Value::as_str).unwrap_or_default();
        let raw = hex::decode(text.strip_prefix("0x").unwrap_or(text)).unwrap_or_default();
        let decoded = Transaction::decode(&raw);
        let transaction = decoded.map(|sent| sent.data.hash(chain.config().suite)).unwrap_or_default();
        return Course::Instead(Ok(Answer::WhenMined { transaction, with_proof: false }));
    }
    let lag = faults.lag(node);
    let head = chain.height().saturating_sub(lag);
    if lag > 0 {
        if method == "getBlockNumber" {
            return Course::Instead(Ok(Answer::Value(json!(head))));
        }
        let asked = params.get(2).and_then(Value::as_u64);
        if ["getBlockByNumber", "getBlockHashByNumber"].contains(&method) && asked.is_some_and(|height| height > head) {
            return Course::Instead(Err(RpcFault::new(3006, "Get block failed with errors!")));
        }
    }
    let message = match method {
        "getTransaction" => "GetBatchTxsByHashList error",
        "getTransactionReceipt" => "GetTransactionReceiptByHash",
        _ => return Course::Usual(params.to_vec()),
    };
    let hash = params.get(2).and_then(Value::as_str).and_then(|text| Hash32::from_hex(text).ok());
    let height = hash.and_then(|hash| chain.find_transaction(hash)).map(|(block, _)| block.header.number);
    let is_hidden = height.is_some_and(|height| height < faults.pruned_below(node) || height > head);
    if is_hidden { Course::Instead(Err(RpcFault::new(3008, message))) } else { Course::Usual(params.to_vec()) }
}

/// Bends the answer of a call.
pub(crate) fn after(chain: &WeightedBcosChain, node: usize, method: &str, params: &[Value], outcome: &mut Outcome) {
    let Ok(Answer::Value(result)) = outcome else { return };
    let asked = params.get(2).and_then(Value::as_u64);
    if let Some(sibling) =
        asked.filter(|height| chain.faults.equivocates_at(node, *height)).and_then(|height| sibling(chain, height))
    {
        match method {
            "getBlockByNumber" => *result = bcos_rpc::render_block(chain, &sibling, node, params),
            "getBlockHashByNumber" => *result = json!(sibling.hash.to_string()),
            _ => {}
        }
    }
    let data = params.get(3).and_then(Value::as_str).unwrap_or_default();
    if method == "call"
        && chain.faults.miscomputes(node, data)
        && let Some(output) = result.get_mut("output")
        && let Some(other) = super::bent(output)
    {
        *output = other;
    }
    chain.faults.lie(node, method, asked, result);
}

/// The block at a height once more, a millisecond later: another hash, signed by the same sealers.
fn sibling(chain: &WeightedBcosChain, height: u64) -> Option<Block> {
    let block = chain.block(height).filter(|block| block.header.number > 0)?;
    let header = BlockHeader { timestamp: block.header.timestamp + 1, ..block.header.clone() };
    Some(chain.sign(header, block.transactions.clone()))
}
