//! Reading and making recordings.

use std::sync::Arc;

use async_trait::async_trait;
use cityrelay_api::client::to_opaque;
use cityrelay_api::recording::{RecordedStep, Recording};
use cityrelay_api::source::NodeError;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::Refusal;
use cityrelay_core::verify::VerifiedHeader;
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::pool::Pool;
use super::updates::set_proof_answer;
use crate::ADAPTER;
use crate::recording::{MAX_RECORDED_BLOCKS, read_steps, verify_body};
use crate::verify::mode::Mode;
use crate::verify::rules::Rules;

/// Recordings of one chain.
#[derive(Debug)]
pub(super) struct Recorder {
    pub pool: Arc<Pool>,
    pub rules: Rules,
    pub anchor: u64,
    pub chain_id: u64,
}

#[async_trait]
impl Recording for Recorder {
    fn read(&self, recording: &Value) -> Result<Vec<RecordedStep>, Refusal> {
        let steps = read_steps(&self.rules, self.anchor, recording)?;
        let steps = steps.into_iter().map(|step| RecordedStep {
            height: step.height,
            time: UnixMillis(step.timestamp.saturating_mul(1000)),
            update: to_opaque(ADAPTER, &step.update),
            refusal: step.refusal,
            statement: None,
            body: step.body.clone(),
        });
        Ok(steps.collect())
    }

    fn verify_body(&self, header: &VerifiedHeader, step: &RecordedStep) -> Result<u64, Refusal> {
        verify_body(&self.rules, header.header(), &step.body)
    }

    async fn record(&self, from: Height, to: Height) -> Result<Value, NodeError> {
        let count = to.0.saturating_sub(from.0).saturating_add(1);
        if from > to || count > u64::try_from(MAX_RECORDED_BLOCKS).unwrap_or(u64::MAX) {
            return Err(Refusal::new("recording-range", MAX_RECORDED_BLOCKS, count).into());
        }
        self.pool.first(|endpoint| async move { self.record_at(&endpoint, from.0, to.0).await }).await
    }
}

impl Recorder {
    async fn record_at(&self, endpoint: &Endpoint, from: u64, to: u64) -> Result<Value, NodeError> {
        let mut blocks = Vec::new();
        for height in from..=to {
            let block = endpoint.block(height, true).await?;
            if block.is_null() {
                return Err(NodeError::Pruned { endpoint: endpoint.name.clone(), height: Height(height) });
            }
            blocks.push(Value::Object(self.record_block(endpoint, height, block).await?));
        }
        Ok(json!({
            "provenance": format!("recorded from node {} of chain id {}", endpoint.name, self.chain_id),
            "chain_id": self.chain_id,
            "epoch_length": self.rules.epoch_length_at(from),
            "blocks": blocks,
        }))
    }

    async fn record_block(
        &self,
        endpoint: &Endpoint,
        height: u64,
        block: Value,
    ) -> Result<Map<String, Value>, NodeError> {
        let mut entry = Map::new();
        let receipts = endpoint.receipts(height, &block).await?;
        entry.insert("block".to_owned(), block);
        if !receipts.is_empty() {
            entry.insert("receipts".to_owned(), Value::Array(receipts));
        }
        if let Some(validators) = endpoint.validators_after(height).await? {
            let validators: Vec<_> = validators.iter().map(ToString::to_string).collect();
            entry.insert("validators".to_owned(), json!(validators));
        }
        let next = height.saturating_add(1);
        if let (Some(layout), Mode::QbftContract) = (self.rules.contract_for(next), self.rules.modes.at(next)) {
            let answer = set_proof_answer(endpoint, layout, height).await?;
            entry.insert("validator_contract_proof".to_owned(), answer);
        }
        Ok(entry)
    }
}
