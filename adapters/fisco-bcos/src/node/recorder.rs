//! Recordings: reading them is pure (see [`crate::recording`]), making them asks the nodes.

use std::sync::Arc;

use async_trait::async_trait;
use cityrelay_api::recording::{RecordedStep, Recording};
use cityrelay_api::source::NodeError;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::Refusal;
use cityrelay_core::verify::VerifiedHeader;
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::pool::{Pool, first_answer};
use crate::codec::json::transaction_hashes;
use crate::recording::body::verify_body;
use crate::recording::read::read;
use crate::verify::client::FiscoClient;
use crate::verify::state::TrustedState;

/// Transactions that are asked for at the same time.
const WIDTH: usize = 8;

/// Reads and makes recordings of one chain.
#[derive(Debug)]
pub(super) struct FiscoRecording {
    pub client: FiscoClient,
    pub anchor: TrustedState,
    pub pool: Arc<Pool>,
}

impl FiscoRecording {
    async fn record_from(&self, endpoint: &Endpoint, from: u64, to: u64) -> Result<Value, NodeError> {
        let mut blocks = Vec::new();
        for number in from..=to {
            blocks.push(self.entry(endpoint, number).await?);
        }
        Ok(json!({
            "provenance": format!("recorded by cityrelay from {}, as the nodes answered", endpoint.name),
            "crypto": self.client.suite.as_str(),
            "group": self.client.group_id,
            "chain": self.client.chain_id,
            "blocks": blocks,
        }))
    }

    async fn entry(&self, endpoint: &Endpoint, number: u64) -> Result<Value, NodeError> {
        let block = endpoint.block_with_hashes(number).await?;
        let hashes = transaction_hashes(&block).map_err(|error| endpoint.json_error("getBlockByNumber", error))?;
        let mut transactions = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(WIDTH) {
            transactions.extend(try_join_all(hashes.iter().map(|hash| transaction(endpoint, *hash))).await?);
        }
        let mut others = Map::new();
        for other in self.pool.ranked().iter().filter(|other| other.name != endpoint.name) {
            // A node that lags or is away is left out: the recording says what nodes answered.
            if let Ok(block) = other.block_with_hashes(number).await
                && let Some(list) = block.get("signatureList")
            {
                others.insert(other.name.clone(), list.clone());
            }
        }
        let mut entry = json!({ "block": block, "transactions": transactions });
        if let (false, Some(entry)) = (others.is_empty(), entry.as_object_mut()) {
            entry.insert("signature_list_at_other_nodes".to_owned(), Value::Object(others));
        }
        Ok(entry)
    }
}

async fn transaction(endpoint: &Endpoint, hash: Hash32) -> Result<Value, NodeError> {
    let mut entry = Map::new();
    entry.insert("hash".to_owned(), Value::from(hash.to_string()));
    if let Some(shown) = endpoint.transaction_json(hash, true).await? {
        entry.insert("getTransaction".to_owned(), shown);
    }
    if let Some(shown) = endpoint.receipt_json(hash, true).await? {
        entry.insert("getTransactionReceipt".to_owned(), shown);
    }
    Ok(Value::Object(entry))
}

#[async_trait]
impl Recording for FiscoRecording {
    fn read(&self, recording: &Value) -> Result<Vec<RecordedStep>, Refusal> {
        read(&self.client, &self.anchor, recording)
    }

    fn verify_body(&self, header: &VerifiedHeader, step: &RecordedStep) -> Result<u64, Refusal> {
        verify_body(&self.client, header.header(), &step.body)
    }

    async fn record(&self, from: Height, to: Height) -> Result<Value, NodeError> {
        Err(first_answer!(self.pool.ranked(), |endpoint| self.record_from(&endpoint, from.0, to.0).await))
    }
}
