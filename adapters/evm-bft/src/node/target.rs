//! Writing to the chain.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use cityrelay_api::client::{from_opaque, to_opaque};
use cityrelay_api::source::NodeError;
use cityrelay_api::target::{Fate, Fit, Funds, Intent, LaneState, Target, TargetError};
use cityrelay_core::attestation::Committee;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, Height, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{AdapterValue, Refusal};
use cityrelay_gateway::Flavour;
use cityrelay_gateway::cost::{SEND_SPREAD, deliver_cost, settle_cost};
use cityrelay_gateway::query::{self, LaneStage, LaneStatus};
use cityrelay_gateway::refusal::Remedy;
use cityrelay_gateway::{EncodedCall, encode};
use serde_json::{Value, json};

use super::endpoint::{CallError, Endpoint, RpcFault};
use super::pool::{Pool, no_node};
use super::questions::{hex_bytes, hex_number};
use super::signer::{Fee, Signer, Transaction};
use crate::ADAPTER;
use crate::codec::json::{self as read, field};
use crate::config::{AccountSettings, GasPrice};
use crate::verify::rlp_refusal;

/// The most revert data that is handed on.
const MAX_OUTPUT_BYTES: usize = 4096;

/// What a delivery of a full batch takes at most: the default of `batch.max_gas`.
const FULL_DELIVERY_GAS: u64 = 20_000_000;

/// Write access with the configured account.
#[derive(Debug)]
pub(super) struct EvmTarget {
    pub pool: Arc<Pool>,
    pub signer: Signer,
    pub settings: AccountSettings,
}

/// The signed transaction: the bytes of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SignedBytes(Vec<u8>);

impl AdapterValue for SignedBytes {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        if version != Self::VERSION {
            return Err(Refusal::new("intent-version", u64::from(Self::VERSION), u64::from(version)));
        }
        Ok(Self(bytes.to_vec()))
    }
}

fn signed(intent: &Intent) -> Result<(Vec<u8>, Transaction), NodeError> {
    let SignedBytes(raw) = from_opaque(ADAPTER, &intent.bytes)?;
    let transaction = Transaction::read(&raw).map_err(|error| rlp_refusal("intent-encoding", error))?;
    Ok((raw, transaction))
}

/// What an estimate says.
enum Estimate {
    Gas(u64),
    TooLarge,
    Reverts(RpcFault, Vec<u8>),
}

#[async_trait]
impl Target for EvmTarget {
    fn account(&self) -> Address {
        self.signer.account().to_address()
    }

    async fn prepare(
        &self,
        call: &GatewayCall,
        open: &[Intent],
        replaces: Option<&Intent>,
    ) -> Result<Intent, TargetError> {
        let encoded = self.encode(call)?;
        let taken: BTreeSet<u64> =
            open.iter().map(|intent| Ok(signed(intent)?.1.nonce)).collect::<Result<_, NodeError>>()?;
        let replaced = replaces.map(signed).transpose()?.map(|(_, transaction)| transaction);
        let nonce = match &replaced {
            Some(replaced) => replaced.nonce,
            None => {
                let next = self.pool.first_own(|endpoint| async move { self.nonce(&endpoint).await }).await?;
                // The first that no open intent holds: gaps that a dropped one left are filled first.
                (next..=u64::MAX).find(|nonce| !taken.contains(nonce)).unwrap_or(next)
            }
        };
        let fee = self.pool.first_own(|endpoint| async move { self.fee(&endpoint).await }).await?;
        let fee = replaced.as_ref().map_or(fee, |replaced| fee.raised_over(replaced.fee));
        if fee.most() > u128::from(self.settings.max_gas_price) {
            return Err(TargetError::Unsupported { reason: "gas would cost more than account.max_gas_price" });
        }
        let gas = self.gas_for(call, &encoded, !open.is_empty()).await?;
        let transaction = Transaction { nonce, fee, gas, to: encoded.to, data: encoded.data };
        let signed = self.signer.sign(&transaction);
        let (raw, hash) = signed.ok_or(TargetError::Unsupported { reason: "the key makes no signature of it" })?;
        Ok(Intent { hash, bytes: to_opaque(ADAPTER, &SignedBytes(raw)) })
    }

    async fn broadcast(&self, intent: &Intent) -> Result<(), TargetError> {
        let (raw, _) = signed(intent)?;
        let params = json!([hex_bytes(&raw)]);
        let mut last = None;
        let mut is_taken = false;
        // To every usable node: one that keeps it back costs nothing then.
        for endpoint in self.pool.ranked(true).into_iter().filter(|endpoint| endpoint.is_usable()) {
            match endpoint.call("eth_sendRawTransaction", params.clone()).await {
                Ok(_) => is_taken = true,
                Err(error) => last = Some(error),
            }
        }
        if is_taken {
            return Ok(());
        }
        // A node refuses what it knows already, in words of its own: ask whether it knows it.
        if self.is_known(intent).await? {
            return Ok(());
        }
        Err(last.map_or_else(no_node, NodeError::from).into())
    }

    async fn track(&self, intent: &Intent) -> Result<Fate, TargetError> {
        let (_, transaction) = signed(intent)?;
        let ask = |endpoint: Arc<Endpoint>| {
            let transaction = &transaction;
            async move { self.fate(&endpoint, intent, transaction).await }
        };
        // A node that has not seen it may only be behind: the one that knows most decides. Others than our own are asked
        // only where no own one answers, since their word is all that there is.
        let mut answers = Vec::new();
        let mut last = None;
        for endpoint in self.pool.ranked(true).into_iter().filter(|endpoint| endpoint.is_usable()) {
            if !endpoint.is_own && !answers.is_empty() {
                break;
            }
            match ask(endpoint).await {
                Ok(fate @ Fate::Final { .. }) => return Ok(fate),
                Ok(fate) => answers.push(fate),
                Err(error) => last = Some(error),
            }
        }
        for fate in [Fate::Pending, Fate::Dead, Fate::Dropped] {
            if answers.contains(&fate) {
                return Ok(fate);
            }
        }
        Err(last.unwrap_or_else(no_node).into())
    }

    async fn accepted(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        let status = self.lane(gateway, flow.lane).await?;
        let point = status.filter(|status| status.keeps == flow.direction.opposite()).map(|status| status.peer);
        Ok(point.filter(|point| point.index.0 > 0).unwrap_or_else(|| ChainPoint::start(flow)))
    }

    async fn committee(&self, verifier: Address) -> Result<Committee, NodeError> {
        let answer = self.view(verifier, query::committee()).await?;
        query::decode_committee(&answer.0).map_err(|error| answer.1.malformed("eth_call", &error.to_string()))
    }

    async fn lane_state(&self, gateway: Address, lane: LaneId) -> Result<LaneState, NodeError> {
        let Some(status) = self.lane(gateway, lane).await? else { return Ok(LaneState::Unknown) };
        let answer = self.view(gateway, query::gateway_status()).await?;
        let whole = query::decode_gateway_status(&answer.0);
        let whole = whole.map_err(|error| answer.1.malformed("eth_call", &error.to_string()))?;
        Ok(match status.stage {
            LaneStage::Announced => LaneState::Announced,
            LaneStage::Closed => LaneState::Closed,
            _ if status.is_paused || whole.is_paused => LaneState::Paused,
            _ if status.halted.is_some() => LaneState::Halted,
            LaneStage::Closing => LaneState::Closing,
            LaneStage::Open => LaneState::Open,
        })
    }

    async fn clock(&self) -> Result<UnixMillis, NodeError> {
        let time = |endpoint: Arc<Endpoint>| async move {
            let block = newest_block(&endpoint).await?;
            read::number(&block, "timestamp").map_err(|error| endpoint.misread("eth_getBlockByNumber", &error))
        };
        Ok(UnixMillis(self.pool.first_own(time).await?.saturating_mul(1000)))
    }

    async fn funds(&self) -> Result<Funds, NodeError> {
        let ask = |endpoint: Arc<Endpoint>| async move {
            let price = self.fee(&endpoint).await?.most();
            if price == 0 {
                return Ok(Funds::NotNeeded);
            }
            let account = self.signer.account().to_string();
            let answer = endpoint.call("eth_getBalance", json!([account, "latest"])).await?;
            let wei = read::quantity(&answer).ok_or_else(|| endpoint.malformed("eth_getBalance", "a balance"))?;
            let full = price.saturating_mul(u128::from(gas_limit(&endpoint).await?.min(FULL_DELIVERY_GAS))).max(1);
            Ok(Funds::Left { wei, transactions: u64::try_from(wei / full).unwrap_or(u64::MAX) })
        };
        self.pool.first_own(ask).await
    }

    async fn fits(&self, call: &GatewayCall) -> Result<Fit, TargetError> {
        let encoded = match encode(call) {
            Ok(encoded) => encoded,
            Err(_) => return Err(TargetError::Unsupported { reason: "the gateway has no such call" }),
        };
        if encoded.data.len() > self.settings.max_transaction_bytes {
            return Ok(Fit::TooLarge);
        }
        Ok(match self.estimate(&encoded).await? {
            Estimate::Gas(gas) => Fit::Fits { gas },
            Estimate::TooLarge => Fit::TooLarge,
            Estimate::Reverts(_, output) => Fit::Reverts { output },
        })
    }
}

impl EvmTarget {
    fn encode(&self, call: &GatewayCall) -> Result<EncodedCall, TargetError> {
        let encoded = encode(call).map_err(|_| TargetError::Unsupported { reason: "the gateway has no such call" })?;
        let is_creation = encoded.to.is_none();
        if !is_creation && encoded.data.len() > self.settings.max_transaction_bytes {
            return Err(TargetError::Unsupported { reason: "it is longer than account.max_transaction_bytes" });
        }
        Ok(encoded)
    }

    /// The next nonce of the account in the newest block: what is in a node's pool does not count.
    async fn nonce(&self, endpoint: &Endpoint) -> Result<u64, NodeError> {
        let account = self.signer.account().to_string();
        let answer = endpoint.call("eth_getTransactionCount", json!([account, "latest"])).await?;
        let nonce = read::quantity(&answer).and_then(|nonce| u64::try_from(nonce).ok());
        nonce.ok_or_else(|| endpoint.malformed("eth_getTransactionCount", "a nonce"))
    }

    async fn fee(&self, endpoint: &Endpoint) -> Result<Fee, NodeError> {
        if let GasPrice::Fixed(price) = self.settings.gas_price {
            return Ok(Fee::Legacy { price: u128::from(price) });
        }
        let block = newest_block(endpoint).await?;
        let Some(base) = field(&block, "baseFeePerGas") else {
            let answer = endpoint.call("eth_gasPrice", json!([])).await?;
            let price = read::quantity(&answer).ok_or_else(|| endpoint.malformed("eth_gasPrice", "a price"))?;
            return Ok(Fee::Legacy { price });
        };
        let base = read::quantity(base).ok_or_else(|| endpoint.malformed("eth_getBlockByNumber", "a base fee"))?;
        let tip = match endpoint.call("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(answer) => read::quantity(&answer).unwrap_or(0),
            Err(CallError::Fault(_)) => 0,
            Err(CallError::Node(error)) => return Err(error),
        };
        // Twice the base fee lasts for six full blocks in a row (EIP-1559: at most an eighth more each).
        Ok(Fee::Dynamic { max: base.saturating_mul(2).saturating_add(tip), tip })
    }

    /// Gas to give: a quarter and [`SEND_SPREAD`] more than estimated, since earlier transactions and a later block change what it
    /// finds; what is not used is not paid. Where earlier transactions are still open an estimate on the newest state can fail
    /// for that reason alone; then deliveries and settlements get what they need at most.
    async fn gas_for(&self, call: &GatewayCall, encoded: &EncodedCall, has_open: bool) -> Result<u64, TargetError> {
        match self.estimate(encoded).await? {
            Estimate::Gas(gas) => {
                let limit = self.pool.first_own(|endpoint| async move { gas_limit(&endpoint).await }).await?;
                Ok(gas.saturating_add(gas / 4).saturating_add(SEND_SPREAD).min(limit))
            }
            Estimate::TooLarge => Err(TargetError::Unsupported { reason: "it needs more gas than a block has" }),
            Estimate::Reverts(fault, _) => {
                let cost = if has_open { self.most_gas(call).await? } else { None };
                cost.ok_or_else(|| NodeError::from(fault).into())
            }
        }
    }

    /// An upper bound of the gas that a delivery or a settlement needs.
    async fn most_gas(&self, call: &GatewayCall) -> Result<Option<u64>, NodeError> {
        Ok(match call {
            GatewayCall::Deliver { messages, tail, evidence, .. } => {
                Some(deliver_cost(Flavour::Opcode, messages, tail.len(), evidence.signatures.len()).gas)
            }
            GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence } => {
                let callback_gas = self.lane(*gateway, *lane).await?.map_or(0, |status| status.terms.callback_gas);
                let tails = (tail_outcomes.len(), tail_ids.len());
                let signatures = evidence.signatures.len();
                Some(settle_cost(Flavour::Opcode, settlements.len(), tails.0, tails.1, signatures, callback_gas).gas)
            }
            _ => None,
        })
    }

    async fn estimate(&self, encoded: &EncodedCall) -> Result<Estimate, NodeError> {
        let mut call = json!({ "from": self.signer.account().to_string(), "data": hex_bytes(&encoded.data) });
        if let (Some(to), Some(call)) = (encoded.to, call.as_object_mut()) {
            call.insert("to".to_owned(), json!(hex_bytes(&to)));
        }
        let call = &call;
        self.pool
            .first_own(|endpoint| async move {
                // On the newest block: some nodes count their own pool in otherwise, and a transaction that this one
                // replaces has done part of the work there.
                match endpoint.call("eth_estimateGas", json!([call, "latest"])).await {
                    Ok(answer) => {
                        let gas = read::quantity(&answer).and_then(|gas| u64::try_from(gas).ok());
                        let gas = gas.ok_or_else(|| endpoint.malformed("eth_estimateGas", "an amount of gas"))?;
                        let is_within = gas <= gas_limit(&endpoint).await?;
                        Ok(if is_within { Estimate::Gas(gas) } else { Estimate::TooLarge })
                    }
                    Err(CallError::Fault(fault)) => explain(&endpoint, call, fault).await,
                    Err(CallError::Node(error)) => Err(error),
                }
            })
            .await
    }

    async fn view(&self, to: Address, data: Vec<u8>) -> Result<(Vec<u8>, Arc<Endpoint>), NodeError> {
        let data = &data;
        let ask = |endpoint: Arc<Endpoint>| async move { Ok((endpoint.view(to, data, None).await?, endpoint)) };
        self.pool.first_own(ask).await
    }

    async fn lane(&self, gateway: Address, lane: LaneId) -> Result<Option<LaneStatus>, NodeError> {
        let (answer, endpoint) = self.view(gateway, query::lane_status(lane)).await?;
        query::decode_lane_status(&answer).map_err(|error| endpoint.malformed("eth_call", &error.to_string()))
    }

    async fn is_known(&self, intent: &Intent) -> Result<bool, NodeError> {
        let params = &json!([intent.hash.to_string()]);
        let ask = |endpoint: Arc<Endpoint>| async move {
            Ok(!endpoint.call("eth_getTransactionByHash", params.clone()).await?.is_null())
        };
        self.pool.first_own(ask).await
    }

    async fn fate(&self, endpoint: &Endpoint, intent: &Intent, transaction: &Transaction) -> Result<Fate, NodeError> {
        let params = json!([intent.hash.to_string()]);
        if let Some(fate) = self.included(endpoint, &params, transaction).await? {
            return Ok(fate);
        }
        if !endpoint.call("eth_getTransactionByHash", params.clone()).await?.is_null() {
            return Ok(Fate::Pending);
        }
        if self.nonce(endpoint).await? <= transaction.nonce {
            return Ok(Fate::Dropped);
        }
        // It may have been included since the first question.
        Ok(self.included(endpoint, &params, transaction).await?.unwrap_or(Fate::Dead))
    }

    /// The fate of a transaction that a block holds. A sealed block is final.
    async fn included(
        &self,
        endpoint: &Endpoint,
        params: &Value,
        transaction: &Transaction,
    ) -> Result<Option<Fate>, NodeError> {
        let receipt = match endpoint.call("eth_getTransactionReceipt", params.clone()).await {
            Ok(receipt) => receipt,
            // Some nodes answer an unknown hash with an error.
            Err(CallError::Fault(_)) => return Ok(None),
            Err(CallError::Node(error)) => return Err(error),
        };
        if field(&receipt, "blockNumber").is_none() {
            return Ok(None);
        }
        let misread = |error| endpoint.misread("eth_getTransactionReceipt", &error);
        let height = read::number(&receipt, "blockNumber").map_err(misread)?;
        let is_success = read::number(&receipt, "status").map_err(misread)? == 1;
        let gas_used = read::number(&receipt, "gasUsed").map_err(misread)?;
        let created = match field(&receipt, "contractAddress") {
            Some(_) if transaction.to.is_none() => {
                Some(read::account(&receipt, "contractAddress").map_err(misread)?.to_address())
            }
            _ => None,
        };
        let output = if is_success { Vec::new() } else { self.revert_data(endpoint, transaction, height).await };
        Ok(Some(Fate::Final { height: Height(height), is_success, gas_used, created, output }))
    }

    /// Why it failed, as far as running it again on the block before tells; empty where it doesn't.
    async fn revert_data(&self, endpoint: &Endpoint, transaction: &Transaction, height: u64) -> Vec<u8> {
        let Some(to) = transaction.to else { return Vec::new() };
        let call = json!([{
            "from": self.signer.account().to_string(),
            "to": hex_bytes(&to),
            "gas": hex_number(transaction.gas),
            "data": hex_bytes(&transaction.data),
        }, hex_number(height.saturating_sub(1))]);
        match endpoint.call("eth_call", call).await {
            Err(CallError::Fault(RpcFault { data: Some(data), .. })) => cut(data),
            _ => Vec::new(),
        }
    }
}

async fn newest_block(endpoint: &Endpoint) -> Result<Value, NodeError> {
    Ok(endpoint.call("eth_getBlockByNumber", json!(["latest", false])).await?)
}

async fn gas_limit(endpoint: &Endpoint) -> Result<u64, NodeError> {
    let block = newest_block(endpoint).await?;
    read::number(&block, "gasLimit").map_err(|error| endpoint.misread("eth_getBlockByNumber", &error))
}

/// Turns a failed estimate into a revert, a lack of gas, or the node's error.
///
/// An estimate that fails without revert data is asked again as a call: where that succeeds, gas was what lacked.
async fn explain(endpoint: &Endpoint, call: &Value, fault: RpcFault) -> Result<Estimate, NodeError> {
    if fault.is_unknown_method() {
        return Err(fault.into());
    }
    let data = match fault.data.clone().filter(|data| !data.is_empty()) {
        Some(data) => data,
        None => match endpoint.call("eth_call", json!([call, "latest"])).await {
            Ok(_) => return Ok(Estimate::TooLarge),
            Err(CallError::Fault(again)) => again.data.unwrap_or_default(),
            Err(CallError::Node(error)) => return Err(error),
        },
    };
    let remedy = cityrelay_gateway::Refusal::decode(&data).map(|refusal| refusal.remedy);
    Ok(if remedy == Some(Remedy::HalveBatch) { Estimate::TooLarge } else { Estimate::Reverts(fault, cut(data)) })
}

fn cut(mut output: Vec<u8>) -> Vec<u8> {
    output.truncate(MAX_OUTPUT_BYTES);
    output
}
