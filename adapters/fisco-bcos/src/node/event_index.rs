//! Events of a gateway as one endpoint showed them, remembered so that no block is read twice.
//!
//! Hints only. Blocks are walked from the newest back, ten to a page where the node filters logs (it scans only the first
//! ten of a range, silently), block by block through the receipts where it does not.

use std::collections::BTreeMap;

use cityrelay_api::source::NodeError;
use cityrelay_core::hash::Hash32;
use cityrelay_gateway::event::{GatewayEvent, decode};
use serde_json::Value;

use super::endpoint::Endpoint;
use crate::codec::json::{hash, log_from_json, transaction_hashes};
use crate::codec::receipt::LogEntry;

/// Blocks of one page: `filter_max_process_block` (`FilterSystem.cpp:getLogsImpl`).
const PAGE: u64 = 10;

/// Blocks that one search walks through where the node filters logs.
const MAX_FILTERED_BLOCKS: u64 = 20_000;

/// Blocks that one search walks through by receipts.
const MAX_READ_BLOCKS: u64 = 256;

/// Bytes of remembered events between two searches, roughly; the oldest blocks are forgotten beyond. There is an index for
/// each node, gateway and way of reading.
const MAX_REMEMBERED_BYTES: usize = 16 << 20;

/// What an event takes besides its data.
const EVENT_BYTES: usize = 512;

/// One event.
#[derive(Clone, Debug)]
pub(super) struct SeenEvent {
    pub transaction: Hash32,
    pub event: GatewayEvent,
    bytes: usize,
}

/// How blocks are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// `getLogs`.
    Filter,
    /// Every receipt.
    Receipts,
}

/// What one endpoint showed of one gateway, in a span of blocks without a gap.
#[derive(Debug, Default)]
pub(super) struct EventIndex {
    /// First and last block that was read.
    span: Option<(u64, u64)>,
    events: BTreeMap<u64, Vec<SeenEvent>>,
    remembered_bytes: usize,
}

impl EventIndex {
    /// Events of the blocks `oldest..=newest` that were read, newest block first.
    pub fn newest_first(&self, oldest: u64, newest: u64) -> impl Iterator<Item = (u64, &SeenEvent)> {
        let range = (oldest <= newest).then(|| self.events.range(oldest..=newest));
        range.into_iter().flatten().rev().flat_map(|(height, seen)| seen.iter().rev().map(|event| (*height, event)))
    }

    /// Reads blocks from `newest` back, until `is_enough` says so, `oldest` is read or the bound is reached. The caller
    /// calls [`Self::forget`] afterwards.
    pub async fn extend(
        &mut self,
        endpoint: &Endpoint,
        gateway: [u8; 20],
        means: Means,
        oldest: u64,
        newest: u64,
        is_enough: impl Fn(&Self) -> bool + Send,
    ) -> Result<(), NodeError> {
        let (page, bound) = match means {
            Means::Filter => (PAGE, MAX_FILTERED_BLOCKS),
            Means::Receipts => (1, MAX_READ_BLOCKS),
        };
        if self.span.is_none_or(|(_, high)| newest.saturating_sub(high) > bound) {
            *self = Self::default();
        }
        // What is newer than the span is read whole, upwards, so that the span never has a gap.
        while let Some((low, high)) = self.span.filter(|(_, high)| *high < newest) {
            let to = newest.min(high + page);
            self.read(endpoint, gateway, means, high + 1, to).await?;
            self.span = Some((low, to));
        }
        let mut walked = 0;
        while walked < bound && !is_enough(self) {
            let next = self.span.map_or(newest.checked_add(1), |(low, _)| Some(low));
            let Some(to) = next.and_then(|next| next.checked_sub(1)).filter(|to| *to >= oldest) else { break };
            let from = oldest.max((to + 1).saturating_sub(page));
            self.read(endpoint, gateway, means, from, to).await?;
            self.span = Some((from, self.span.map_or(to, |(_, high)| high)));
            walked += to - from + 1;
        }
        Ok(())
    }

    async fn read(
        &mut self,
        endpoint: &Endpoint,
        gateway: [u8; 20],
        means: Means,
        from: u64,
        to: u64,
    ) -> Result<(), NodeError> {
        match means {
            Means::Filter => {
                for log in endpoint.logs(gateway, from, to).await? {
                    let height = quantity(log.get("blockNumber"));
                    let transaction = hash(&log, "transactionHash");
                    let entry = log_from_json(&log);
                    let (Some(height), Ok(transaction), Ok(entry)) = (height, transaction, entry) else {
                        return Err(
                            endpoint.malformed("getLogs", "logs with block, transaction, topics and data".to_owned())
                        );
                    };
                    if (from..=to).contains(&height) {
                        self.keep(height, transaction, gateway, &entry);
                    }
                }
            }
            Means::Receipts => {
                for height in from..=to {
                    let block = endpoint.block_with_hashes(height).await?;
                    let hashes = transaction_hashes(&block);
                    let hashes = hashes.map_err(|error| endpoint.json_error("getBlockByNumber", error))?;
                    let receipts = endpoint.receipts(&hashes).await?;
                    for (transaction, receipt) in hashes.iter().zip(&receipts) {
                        for log in &receipt.logs {
                            self.keep(height, *transaction, gateway, log);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, height: u64, transaction: Hash32, gateway: [u8; 20], log: &LogEntry) {
        let address = log.address.strip_prefix("0x").unwrap_or(&log.address);
        if address.eq_ignore_ascii_case(&hex::encode(gateway))
            && let Ok(event) = decode(&log.topics, &log.data)
        {
            let bytes = EVENT_BYTES + log.data.len();
            self.remembered_bytes += bytes;
            self.events.entry(height).or_default().push(SeenEvent { transaction, event, bytes });
        }
    }

    /// Keeps memory bounded: forgets the oldest blocks, and that they were read. To be called once a search has taken what
    /// it found: the oldest blocks of a long backlog are those that are needed first.
    pub fn forget(&mut self) {
        while self.remembered_bytes > MAX_REMEMBERED_BYTES {
            let Some((height, seen)) = self.events.pop_first() else { break };
            self.remembered_bytes -= seen.iter().map(|event| event.bytes).sum::<usize>();
            self.span = self.span.map(|(low, high)| (low.max(height + 1), high));
        }
    }
}

/// A number, or hex text as `getLogs` shows it.
fn quantity(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => u64::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
        other => other.as_u64(),
    }
}
