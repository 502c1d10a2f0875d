//! Reading positional arguments as jsoncpp does behind the real node.

use alloy_primitives::Address;
use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::receipt::LogEntry;
use serde_json::Value;

use crate::rpc_fault::RpcFault;
use crate::weighted_bcos::WeightedBcosChain;

/// The arguments of one call: group, node, and what the method takes.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a>(pub(super) &'a [Value]);

/// A filter of `getLogs`.
pub(super) struct LogFilter {
    pub(super) first: u64,
    pub(super) last: u64,
    addresses: Vec<String>,
    topics: Vec<Vec<Hash32>>,
}

impl<'a> Arguments<'a> {
    pub(super) fn text(self, at: usize) -> Result<&'a str, RpcFault> {
        match self.0.get(at) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(RpcFault::new(-32600, "Value is not convertible to string.")),
        }
    }

    /// Any name of a node is taken: consecutive calls go to the same node here.
    pub(super) fn check_group(self, chain: &WeightedBcosChain, method: &str) -> Result<(), RpcFault> {
        let config = chain.config();
        let group = if method == "getGroupInfoList" { config.group_id.as_str() } else { self.text(0)? };
        if group == config.group_id {
            return Ok(());
        }
        let node = self.0.get(1).and_then(Value::as_str).unwrap_or_default();
        let message = format!(
            "Invalid request for the specified node of doesn't exist or doesn't \
             started!,request={method},chain={},group={group},node={node}",
            config.chain_id
        );
        Err(RpcFault::new(-32000, message))
    }

    pub(super) fn height(self, at: usize) -> Result<i64, RpcFault> {
        let not_a_number = || RpcFault::new(-32600, "Value is not convertible to Int64.");
        self.0.get(at).and_then(Value::as_i64).ok_or_else(not_a_number)
    }

    pub(super) fn flag(self, at: usize, default: bool) -> bool {
        self.0.get(at).and_then(Value::as_bool).unwrap_or(default)
    }

    pub(super) fn hash(self, at: usize) -> Option<Hash32> {
        Hash32::from_hex(self.0.get(at)?.as_str()?).ok()
    }

    pub(super) fn bytes(self, at: usize) -> Result<Vec<u8>, RpcFault> {
        let text = self.text(at)?;
        hex::decode(text.strip_prefix("0x").unwrap_or(text))
            .map_err(|_| RpcFault::new(-32602, "Invalid method parameter(s)."))
    }

    pub(super) fn address(self, at: usize) -> Result<Address, RpcFault> {
        let bytes = self.bytes(at)?;
        Address::try_from(bytes.as_slice()).map_err(|_| RpcFault::new(-32602, "Invalid method parameter(s)."))
    }

    /// All four members must be there; the words are recorded for `topics`.
    pub(super) fn log_filter(self, at: usize) -> Result<LogFilter, RpcFault> {
        let missing = |name: &str| RpcFault::new(-32602, format!("{name} is null"));
        let fields = self.0.get(at).and_then(Value::as_object).ok_or_else(|| missing("filter"))?;
        let member = |name: &str| fields.get(name).filter(|value| !value.is_null()).ok_or_else(|| missing(name));
        let bound = |name: &str| {
            let value = member(name)?;
            let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
            value.as_u64().or_else(|| value.as_str().and_then(hex)).ok_or_else(|| missing(name))
        };
        let texts = |value: &Value| -> Vec<String> {
            match value {
                Value::String(text) => vec![text.clone()],
                Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            }
        };
        let (first, last) = (bound("fromBlock")?, bound("toBlock")?);
        let addresses = texts(member("address")?)
            .into_iter()
            .map(|text| text.strip_prefix("0x").unwrap_or(&text).to_lowercase())
            .collect();
        let topics = member("topics")?
            .as_array()
            .map(|places| {
                places
                    .iter()
                    .map(|place| texts(place).iter().filter_map(|text| Hash32::from_hex(text).ok()).collect())
                    .collect()
            })
            .unwrap_or_default();
        Ok(LogFilter { first, last, addresses, topics })
    }
}

impl LogFilter {
    pub(super) fn fits(&self, log: &LogEntry) -> bool {
        let address_fits = self.addresses.is_empty() || self.addresses.contains(&log.address);
        address_fits
            && self.topics.len() <= log.topics.len()
            && self.topics.iter().zip(&log.topics).all(|(fit, topic)| fit.is_empty() || fit.contains(topic))
    }
}
