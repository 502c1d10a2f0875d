//! What waits in a node's pool. Nodes offer these methods only where their operators switch them on.

use std::collections::BTreeSet;

use cityrelay_api::source::NodeError;
use serde_json::{Value, json};

use super::endpoint::{CallError, Endpoint};
use crate::codec::json as read;

/// The most transactions of an account that Besu is asked for.
const BESU_POOL_LIMIT: u64 = 1_000;

impl Endpoint {
    /// How many executable transactions wait in its pool; `None` when it does not tell.
    pub(crate) async fn pool_size(&self) -> Result<Option<u64>, NodeError> {
        let number = |value: Option<&Value>| quantity(value?);
        if let Some(status) = self.offered("txpool_status", json!([])).await? {
            return Ok(number(status.get("pending")));
        }
        let Some(status) = self.offered("txpool_besuStatistics", json!([])).await? else { return Ok(None) };
        let parts = number(status.get("localCount")).zip(number(status.get("remoteCount")));
        Ok(parts.map(|(local, remote)| local.saturating_add(remote)))
    }

    /// The nonces of an account's transactions in its pool, executable or not; `None` when it does not tell.
    ///
    /// `txpool_contentFrom` (go-ethereum), `txpool_inspect` (GoQuorum and Edge: of all accounts at once),
    /// `txpool_besuPendingTransactions` (Besu).
    pub(crate) async fn pooled_nonces(&self, account: &str) -> Result<Option<BTreeSet<u64>>, NodeError> {
        if let Some(content) = self.offered("txpool_contentFrom", json!([account])).await? {
            return Ok(Some(queue_nonces(&content, None)));
        }
        if let Some(content) = self.offered("txpool_inspect", json!([])).await? {
            return Ok(Some(queue_nonces(&content, Some(account))));
        }
        let filter = json!([BESU_POOL_LIMIT, { "from": { "eq": account } }]);
        let Some(list) = self.offered("txpool_besuPendingTransactions", filter).await? else { return Ok(None) };
        let nonces = list.as_array().into_iter().flatten().filter_map(|entry| quantity(entry.get("nonce")?));
        Ok(Some(nonces.collect()))
    }

    /// The answer of a method; `None` where the node answers with a fault, as one does that does not offer it.
    async fn offered(&self, method: &'static str, params: Value) -> Result<Option<Value>, NodeError> {
        match self.call(method, params).await {
            Ok(answer) => Ok(Some(answer)),
            Err(CallError::Fault(_)) => Ok(None),
            Err(CallError::Node(error)) => Err(error),
        }
    }
}

fn quantity(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| read::quantity(value).and_then(|number| number.try_into().ok()))
}

/// The nonces in both parts of a pool, which are keys in decimal; of one account where the answer has all.
fn queue_nonces(content: &Value, account: Option<&str>) -> BTreeSet<u64> {
    let parts = ["pending", "queued"].into_iter().filter_map(|part| content.get(part)?.as_object());
    let of_account = parts.flat_map(|part| match account {
        None => vec![part],
        // Addresses are written with or without the capitals of EIP-55.
        Some(account) => {
            let own = part.iter().filter(|(address, _)| address.eq_ignore_ascii_case(account));
            own.filter_map(|(_, queue)| queue.as_object()).collect()
        }
    });
    of_account.flat_map(|queue| queue.keys().filter_map(|nonce| nonce.parse().ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_read_from_both_parts_of_a_pool() {
        let of_one = json!({ "pending": { "7": {} }, "queued": { "9": {}, "10": {} } });
        assert_eq!(queue_nonces(&of_one, None), BTreeSet::from([7, 9, 10]));
        let of_all = json!({ "pending": { "0xAb": { "7": "to: …" }, "0xcd": { "1": "" } }, "queued": {} });
        assert_eq!(queue_nonces(&of_all, Some("0xab")), BTreeSet::from([7]));
        assert_eq!(queue_nonces(&json!({ "pending": {} }), Some("0xab")), BTreeSet::new());
    }
}
