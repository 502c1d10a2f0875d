//! `eth_getLogs`.

use alloy_primitives::{Address, B256, Log};
use serde_json::{Map, Value};

use super::params::{self, Params};
use super::render;
use crate::rpc_fault::RpcFault;
use crate::sealed_evm::SealedEvmChain;

/// Most logs in one answer. Public nodes cut at this number; GoQuorum itself does not.
const MAX_LOGS: usize = 10_000;

/// A parsed filter.
pub(super) struct LogFilter {
    first: u64,
    last: u64,
    addresses: Vec<Address>,
    /// For each place the topics that fit; none for any.
    topics: Vec<Vec<B256>>,
}

impl LogFilter {
    pub(super) fn parse(fields: &Map<String, Value>, chain: &SealedEvmChain) -> Result<Self, RpcFault> {
        let (first, last) = range(fields, chain)?;
        let addresses = one_or_many(fields.get("address"), "address")?
            .into_iter()
            .map(|text| params::parse_address(text).ok_or_else(|| params::invalid(0, "invalid address")))
            .collect::<Result<_, _>>()?;
        let mut topics = Vec::new();
        match fields.get("topics") {
            None | Some(Value::Null) => {}
            Some(Value::Array(places)) if places.len() <= 4 => {
                for place in places {
                    let choices = one_or_many(Some(place), "topic")?
                        .into_iter()
                        .map(|text| params::parse_hash(text).ok_or_else(|| params::invalid(0, "invalid topic(s)")))
                        .collect::<Result<_, _>>()?;
                    topics.push(choices);
                }
            }
            Some(_) => return Err(params::invalid(0, "invalid topic(s)")),
        }
        Ok(Self { first, last, addresses, topics })
    }

    pub(super) fn run(&self, chain: &SealedEvmChain) -> Result<Value, RpcFault> {
        let mut found = Vec::new();
        for block in (self.first..=self.last).map_while(|height| chain.block(height)) {
            let mut log_index = 0;
            for (index, included) in block.transactions.iter().enumerate() {
                for log in included.receipt.logs() {
                    if self.fits(log) {
                        found.push(render::log(block, index, included.hash(), log_index, log));
                    }
                    log_index += 1;
                }
            }
            if found.len() > MAX_LOGS {
                return Err(RpcFault::new(-32005, "query returned more than 10000 results"));
            }
        }
        Ok(Value::Array(found))
    }

    fn fits(&self, log: &Log) -> bool {
        let address_fits = self.addresses.is_empty() || self.addresses.contains(&log.address);
        let has_all_places = self.topics.len() <= log.topics().len();
        address_fits
            && has_all_places
            && self.topics.iter().zip(log.topics()).all(|(fit, topic)| fit.is_empty() || fit.contains(topic))
    }
}

fn range(fields: &Map<String, Value>, chain: &SealedEvmChain) -> Result<(u64, u64), RpcFault> {
    if let Some(hash) = fields.get("blockHash").filter(|hash| !hash.is_null()) {
        if fields.contains_key("fromBlock") || fields.contains_key("toBlock") {
            let why = "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other";
            return Err(params::invalid(0, why));
        }
        let hash = Params(std::slice::from_ref(hash)).hash(0)?;
        let block = chain.block_by_hash(hash).ok_or_else(|| RpcFault::new(-32000, "unknown block"))?;
        return Ok((block.header.number, block.header.number));
    }
    let bound = |name: &str| {
        let value: Vec<Value> = fields.get(name).cloned().into_iter().collect();
        Params(&value).height(0, chain)
    };
    // A range that begins in the future is empty; one that ends there ends at the newest block.
    let first = bound("fromBlock")?.unwrap_or(u64::MAX);
    let last = bound("toBlock")?.unwrap_or(chain.height());
    if first != u64::MAX && first > last {
        return Err(RpcFault::new(-32000, "invalid block range"));
    }
    Ok((first, last))
}

fn one_or_many<'a>(value: Option<&'a Value>, what: &str) -> Result<Vec<&'a str>, RpcFault> {
    let fault = || params::invalid(0, &format!("invalid {what}"));
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(texts)) => texts.iter().map(|text| text.as_str().ok_or_else(fault)).collect(),
        Some(_) => Err(fault()),
    }
}
