//! Writing to the chain: signed native transactions, followed by their hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cityrelay_api::client::{from_opaque, to_opaque};
use cityrelay_api::source::NodeError;
use cityrelay_api::target::{Fate, Fit, Funds, Intent, LaneState, Target, TargetError};
use cityrelay_core::attestation::Committee;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_gateway::Flavour;
use cityrelay_gateway::call::{EncodedCall, encode_for};
use cityrelay_gateway::cost::{deliver_cost, settle_cost};
use cityrelay_gateway::query::{self, LaneStage, LaneStatus};
use cityrelay_gateway::refusal::{Refusal, Remedy};
use rand::Rng;
use serde_json::json;

use super::config::ChainConfig;
use super::endpoint::{CallError, Endpoint};
use super::intent::SignedIntent;
use super::pool::{Pool, first_answer};
use super::source::short;
use crate::NAME;
use crate::codec::account::SecretKey;
use crate::codec::json::{bytes, prefixed};
use crate::codec::transaction::{Transaction, TransactionData};
use crate::verify::checkpoint::NONCE_CHARACTERS;

/// How long a transaction counts as pending after it was handed over: a node answers when it is executed, and shows
/// nothing of it before.
const PENDING: Duration = Duration::from_secs(30);

/// Return data that is kept.
const MAX_OUTPUT_BYTES: usize = 4 << 10;

/// The pool's or the ledger's "this nonce was used" (`TransactionStatus.h`): mine when it is mined, another's when not.
const NONCE_USED: i64 = 10000;

/// The pool's "these bytes are here already".
const ALREADY_POOLED: i64 = 10004;

/// A receipt's status for a transaction that ran out of gas.
const OUT_OF_GAS: i64 = 12;

/// Gas that a call without an estimate of its own is said to use.
const OTHER_CALL_GAS: u64 = 500_000;

/// Bytes of a transaction besides its calldata: fields, hash, and the longer of the two signatures.
const ENVELOPE_BYTES: usize = 512;

/// Write access with one account.
#[derive(Debug)]
pub(super) struct FiscoTarget {
    chain_id: String,
    group_id: String,
    block_limit: u64,
    version: u32,
    max_transaction_bytes: usize,
    flavour: Flavour,
    key: SecretKey,
    pool: Arc<Pool>,
    handed_over: Mutex<HashMap<Hash32, Instant>>,
}

impl FiscoTarget {
    pub fn new(config: &ChainConfig, key: SecretKey, pool: Arc<Pool>) -> Self {
        Self {
            chain_id: config.chain_id.clone(),
            group_id: config.group_id.clone(),
            block_limit: config.block_limit,
            version: config.transaction_version,
            max_transaction_bytes: config.max_transaction_bytes,
            flavour: config.flavour,
            key,
            pool,
            handed_over: Mutex::default(),
        }
    }

    fn encoded(&self, call: &GatewayCall) -> Result<EncodedCall, TargetError> {
        encode_for(self.flavour, call)
            .map_err(|_| TargetError::Unsupported { reason: "the gateway bindings can't express it" })
    }

    /// An own node's height where there is one: a lie here would make transactions that are never dead.
    async fn height(&self) -> Result<u64, NodeError> {
        Err(first_answer!(self.pool.own_first(), |endpoint| endpoint.block_number().await))
    }

    fn remember(&self, hash: Hash32) {
        let mut handed_over = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        handed_over.retain(|_, since| since.elapsed() < PENDING);
        handed_over.insert(hash, Instant::now());
    }

    fn is_recent(&self, hash: &Hash32) -> bool {
        let handed_over = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        handed_over.get(hash).is_some_and(|since| since.elapsed() < PENDING)
    }

    async fn lane(&self, gateway: Address, lane: LaneId) -> Result<Option<LaneStatus>, NodeError> {
        let to = short(gateway)?;
        Err(first_answer!(self.pool.own_first(), |endpoint| {
            let answer = endpoint.ask(to, &query::lane_status(lane)).await;
            answer.and_then(|answer| {
                query::decode_lane_status(&answer).map_err(|error| endpoint.malformed("call", error.to_string()))
            })
        }))
    }

    async fn send_to(&self, endpoint: &Endpoint, intent: &Intent, bytes: &[u8]) -> Result<(), NodeError> {
        const METHOD: &str = "sendTransaction";
        let params = vec![json!(endpoint.node), json!(prefixed(bytes)), json!(false)];
        // Remembered before it is sent: this future may be dropped while the node works.
        self.remember(intent.hash);
        match endpoint.try_call(METHOD, params).await {
            // The receipt in the answer is not looked at: `track` asks for it by the hash that was computed here.
            Ok(_) | Err(CallError::TimedOut | CallError::Rpc { code: ALREADY_POOLED, .. }) => Ok(()),
            Err(CallError::Rpc { code, message }) => {
                if code == NONCE_USED && endpoint.receipt_json(intent.hash, false).await?.is_some() {
                    return Ok(());
                }
                self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).remove(&intent.hash);
                Err(NodeError::Rpc { endpoint: endpoint.name.clone(), method: METHOD.to_owned(), code, message })
            }
            Err(CallError::Other(error)) => Err(error),
        }
    }

    /// The final fate that `endpoint` knows, or its height when it knows none.
    async fn fate_at(&self, endpoint: &Endpoint, hash: Hash32) -> Result<Result<Fate, u64>, NodeError> {
        const METHOD: &str = "getTransactionReceipt";
        // The height first: what is not there at a height above the limit will never be.
        let height = endpoint.block_number().await?;
        let Some(receipt) = endpoint.receipt_json(hash, false).await? else { return Ok(Err(height)) };
        let malformed = |expected: &str| endpoint.malformed(METHOD, expected.to_owned());
        let shown = receipt.get("transactionHash").and_then(serde_json::Value::as_str).unwrap_or_default();
        if shown != hash.to_string() {
            return Err(malformed("the receipt of the transaction that was asked for"));
        }
        let number = |field: &str| receipt.get(field).and_then(serde_json::Value::as_i64);
        let text = |field: &str| receipt.get(field).and_then(serde_json::Value::as_str);
        let status = number("status").ok_or_else(|| malformed("a status"))?;
        let block = number("blockNumber").and_then(|block| u64::try_from(block).ok());
        let mut output = bytes(&receipt, "output").map_err(|error| endpoint.json_error(METHOD, error))?;
        output.truncate(MAX_OUTPUT_BYTES);
        let created =
            text("contractAddress").filter(|address| !address.is_empty()).and_then(|address| address.parse().ok());
        Ok(Ok(Fate::Final {
            height: Height(block.ok_or_else(|| malformed("a block number"))?),
            is_success: status == 0,
            gas_used: text("gasUsed").and_then(|gas| gas.parse().ok()).unwrap_or_default(),
            created: created.filter(|_| status == 0),
            output,
        }))
    }

    /// What a call would do, where it may be tried without an account.
    async fn tried(&self, call: &GatewayCall, encoded: &EncodedCall, gas: u64) -> Result<Fit, NodeError> {
        let may_be_tried = matches!(
            call,
            GatewayCall::Deliver { .. } | GatewayCall::Settle { .. } | GatewayCall::RetryCallback { .. }
        );
        let Some(to) = encoded.to.filter(|_| may_be_tried) else { return Ok(Fit::Fits { gas }) };
        let result = self.view(to, &encoded.data).await?;
        if result.status == 0 {
            return Ok(Fit::Fits { gas });
        }
        let needs_less = Refusal::decode(&result.output).is_some_and(|refusal| refusal.remedy == Remedy::HalveBatch);
        if result.status == OUT_OF_GAS || needs_less {
            return Ok(Fit::TooLarge);
        }
        let mut output = result.output;
        output.truncate(MAX_OUTPUT_BYTES);
        Ok(Fit::Reverts { output })
    }

    async fn view(&self, to: [u8; 20], data: &[u8]) -> Result<super::rpc::CallResult, NodeError> {
        Err(first_answer!(self.pool.own_first(), |endpoint| endpoint.view(to, data).await))
    }
}

#[async_trait]
impl Target for FiscoTarget {
    fn account(&self) -> Address {
        self.key.address()
    }

    /// A replacement takes the nonce of the one before it: nodes refuse a second use, so at most one of the two is ever
    /// executed. Intents of others need no care, since every other nonce is drawn at random.
    async fn prepare(
        &self,
        call: &GatewayCall,
        _open: &[Intent],
        replaces: Option<&Intent>,
    ) -> Result<Intent, TargetError> {
        let encoded = self.encoded(call)?;
        let nonce = match replaces {
            None => drawn_nonce(),
            Some(before) => from_opaque::<SignedIntent>(NAME, &before.bytes).map_err(NodeError::from)?.nonce,
        };
        let block_limit = self.height().await?.saturating_add(self.block_limit);
        // The checkpoint rule knows version 0 only.
        let version = if matches!(call, GatewayCall::Checkpoint { .. }) { 0 } else { self.version };
        let data = TransactionData {
            version,
            chain_id: self.chain_id.clone(),
            group_id: self.group_id.clone(),
            block_limit,
            nonce: nonce.clone(),
            to: encoded.to.map(|to| prefixed(&to)).unwrap_or_default(),
            input: encoded.data,
            ..TransactionData::default()
        };
        let hash = data.hash(self.key.suite());
        let signed = Transaction::sign(data, &self.key)
            .map_err(|_| TargetError::Unsupported { reason: "the account's key can't sign" })?;
        let bytes = signed.encode();
        if bytes.len() > self.max_transaction_bytes {
            return Err(TargetError::Unsupported { reason: "it is longer than `max_transaction_bytes`" });
        }
        let intent = SignedIntent { bytes, nonce, block_limit };
        Ok(Intent { hash, bytes: to_opaque(NAME, &intent) })
    }

    async fn broadcast(&self, intent: &Intent) -> Result<(), TargetError> {
        let signed: SignedIntent = from_opaque(NAME, &intent.bytes).map_err(NodeError::from)?;
        let mut last = Pool::nobody();
        for endpoint in self.pool.ranked() {
            match self.send_to(&endpoint, intent, &signed.bytes).await {
                Ok(()) => return Ok(()),
                // A used nonce is used everywhere; a full pool or a lagging node's block limit is not.
                Err(error @ NodeError::Rpc { code: NONCE_USED, .. }) => return Err(error.into()),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// A receipt at any node is final: blocks of this chain never go away. Dead needs every node that answers to be above
    /// the block limit without one.
    async fn track(&self, intent: &Intent) -> Result<Fate, TargetError> {
        let signed: SignedIntent = from_opaque(NAME, &intent.bytes).map_err(NodeError::from)?;
        let mut lowest = None;
        let mut last = None;
        for endpoint in self.pool.own_first() {
            match self.fate_at(&endpoint, intent.hash).await {
                Ok(Ok(fate)) => return Ok(fate),
                Ok(Err(height)) => lowest = Some(lowest.map_or(height, |lowest: u64| lowest.min(height))),
                Err(error) => last = Some(error),
            }
        }
        match lowest {
            None => Err(last.unwrap_or_else(Pool::nobody).into()),
            Some(height) if height > signed.block_limit => Ok(Fate::Dead),
            Some(_) if self.is_recent(&intent.hash) => Ok(Fate::Pending),
            Some(_) => Ok(Fate::Dropped),
        }
    }

    async fn accepted(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        let status = self.lane(gateway, flow.lane).await?;
        Ok(status.map_or_else(|| ChainPoint::start(flow), |status| status.peer))
    }

    async fn committee(&self, verifier: Address) -> Result<Committee, NodeError> {
        let to = short(verifier)?;
        Err(first_answer!(self.pool.own_first(), |endpoint| {
            let answer = endpoint.ask(to, &query::committee()).await;
            answer.and_then(|answer| {
                query::decode_committee(&answer).map_err(|error| endpoint.malformed("call", error.to_string()))
            })
        }))
    }

    async fn lane_state(&self, gateway: Address, lane: LaneId) -> Result<LaneState, NodeError> {
        let Some(status) = self.lane(gateway, lane).await? else { return Ok(LaneState::Unknown) };
        let to = short(gateway)?;
        let whole = async || -> Result<bool, NodeError> {
            Err(first_answer!(self.pool.own_first(), |endpoint| {
                let answer = endpoint.ask(to, &query::gateway_status()).await;
                answer.and_then(|answer| {
                    let status = query::decode_gateway_status(&answer);
                    status.map(|status| status.is_paused).map_err(|error| endpoint.malformed("call", error.to_string()))
                })
            }))
        };
        Ok(match status.stage {
            LaneStage::Announced => LaneState::Announced,
            LaneStage::Closed => LaneState::Closed,
            LaneStage::Open | LaneStage::Closing if status.halted.is_some() => LaneState::Halted,
            LaneStage::Open | LaneStage::Closing if status.is_paused || whole().await? => LaneState::Paused,
            LaneStage::Open => LaneState::Open,
            LaneStage::Closing => LaneState::Closing,
        })
    }

    async fn clock(&self) -> Result<UnixMillis, NodeError> {
        Err(first_answer!(self.pool.ranked(), |endpoint| {
            match endpoint.block_number().await {
                Ok(number) => endpoint.header(number).await.map(|sealed| UnixMillis(sealed.header.timestamp)),
                Err(error) => Err(error),
            }
        }))
    }

    /// Transactions name no price here (`gasPrice` stays empty), so nothing is taken from the account.
    async fn funds(&self) -> Result<Funds, NodeError> {
        Ok(Funds::NotNeeded)
    }

    async fn fits(&self, call: &GatewayCall) -> Result<Fit, TargetError> {
        let encoded = self.encoded(call)?;
        if encoded.data.len().saturating_add(ENVELOPE_BYTES) > self.max_transaction_bytes {
            return Ok(Fit::TooLarge);
        }
        let gas = match call {
            GatewayCall::Deliver { messages, tail, evidence, .. } => {
                deliver_cost(self.flavour, messages, tail.len(), evidence.signatures.len()).gas
            }
            GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence } => {
                let status = self.lane(*gateway, *lane).await?;
                let callback_gas = status.map_or(0, |status| status.terms.callback_gas);
                let (entries, signatures) = (settlements.len(), evidence.signatures.len());
                settle_cost(self.flavour, entries, tail_outcomes.len(), tail_ids.len(), signatures, callback_gas).gas
            }
            _ => {
                OTHER_CALL_GAS.saturating_add(u64::try_from(encoded.data.len()).unwrap_or(u64::MAX).saturating_mul(16))
            }
        };
        Ok(self.tried(call, &encoded, gas).await?)
    }
}

/// As many random decimal digits as the checkpoint rule knows characters, the first not 0: more than 2^106 nonces.
///
/// Nodes before 3.3.0 read the text as a number and fail on any letter (`TransactionImpl.cpp:nonce`, `BlockImpl.cpp`; v3.0.0
/// to v3.2.7). Later ones compare it as text.
fn drawn_nonce() -> String {
    let mut rng = rand::rng();
    let mut digit = |lowest: char| rng.random_range(lowest..='9');
    (0..NONCE_CHARACTERS).map(|place| digit(if place == 0 { '1' } else { '0' })).collect()
}
