//! What nodes say of themselves, of a contract and of an account, for an operator.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use cityrelay_api::inspect::{
    Comparable, Ended, Inspect, MAX_VERSION_CHARS, NodeReport, TransactionCounts, UnsignedCall, compare_nodes,
};
use cityrelay_api::source::NodeError;
use cityrelay_api::target::TargetError;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height};
use cityrelay_gateway::encode;
use serde_json::{Value, json};

use super::endpoint::{CallError, Endpoint};
use super::pool::Pool;
use super::questions::short;
use crate::codec::json as read;

/// The longest code that a chain takes is 24576 bytes (EIP-170); some permit more.
const MAX_CODE_BYTES: usize = 1 << 20;

/// An operator's questions to one chain.
#[derive(Debug)]
pub(super) struct EvmInspect {
    pub pool: Arc<Pool>,
}

#[async_trait]
impl Inspect for EvmInspect {
    async fn nodes(&self) -> Vec<NodeReport> {
        compare_nodes(self.pool.all()).await
    }

    async fn call(&self, contract: Address, data: &[u8]) -> Result<Vec<u8>, NodeError> {
        let ask = |endpoint: Arc<Endpoint>| async move { Ok(endpoint.view(contract, data, None).await?) };
        self.pool.first_own(ask).await
    }

    async fn try_call(&self, contract: Address, data: &[u8], by: Option<Address>) -> Result<Option<Ended>, NodeError> {
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.try_view(contract, data, by).await };
        self.pool.first_own(ask).await.map(Some)
    }

    async fn code(&self, contract: Address) -> Result<Vec<u8>, NodeError> {
        const METHOD: &str = "eth_getCode";
        let params = &json!([short(contract), "latest"]);
        let ask = |endpoint: Arc<Endpoint>| async move {
            let answer = endpoint.call(METHOD, params.clone()).await?;
            read::bytes_value(&answer, "result", MAX_CODE_BYTES).map_err(|error| endpoint.misread(METHOD, &error))
        };
        self.pool.first_own(ask).await
    }

    fn unsigned(&self, call: &GatewayCall) -> Result<UnsignedCall, TargetError> {
        let encoded = encode(call).map_err(|_| TargetError::Unsupported { reason: "the gateway has no such call" })?;
        Ok(UnsignedCall { to: encoded.to.map(Address::from_20), data: encoded.data })
    }

    async fn transactions(&self, account: Address) -> Result<Option<TransactionCounts>, NodeError> {
        const METHOD: &str = "eth_getTransactionCount";
        let account = &short(account);
        let ask = |endpoint: Arc<Endpoint>| async move {
            let count = async |block: &str| -> Result<u64, NodeError> {
                let answer = endpoint.call(METHOD, json!([account, block])).await?;
                let count = read::quantity(&answer).and_then(|count| u64::try_from(count).ok());
                count.ok_or_else(|| endpoint.malformed(METHOD, "a number of transactions"))
            };
            // The pool first: what is mined meanwhile must not look like a gap.
            let pooled = endpoint.pooled_nonces(account).await?;
            let mined = count("latest").await?;
            let with_waiting = count("pending").await?;
            let behind = |nonces: BTreeSet<u64>| nonces.range(with_waiting..).count();
            let behind_gap = pooled.map(|nonces| u64::try_from(behind(nonces)).unwrap_or(u64::MAX));
            Ok(Some(TransactionCounts { mined, with_waiting, behind_gap }))
        };
        self.pool.first_own(ask).await
    }
}

#[async_trait]
impl Comparable for Endpoint {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_own(&self) -> bool {
        self.is_own
    }

    async fn newest(&self) -> Result<Height, NodeError> {
        self.height().await.map(Height)
    }

    async fn facts(&self, at: Height) -> Result<(String, Hash32), NodeError> {
        const METHOD: &str = "eth_getBlockByNumber";
        let version = match self.call("web3_clientVersion", json!([])).await {
            Ok(answer) => answer.as_str().unwrap_or_default().chars().take(MAX_VERSION_CHARS).collect(),
            // Some operators switch this namespace off.
            Err(CallError::Fault(_)) => String::new(),
            Err(CallError::Node(error)) => return Err(error),
        };
        let block = self.block(at.0, false).await?;
        let hash = block.get("hash").and_then(Value::as_str).and_then(|hash| Hash32::from_hex(hash).ok());
        Ok((version, hash.ok_or_else(|| self.malformed(METHOD, &format!("the hash of block {at}")))?))
    }
}
