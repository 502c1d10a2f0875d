//! What nodes say of themselves and of a contract, for an operator.

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
use cityrelay_gateway::Flavour;
use cityrelay_gateway::call::encode_for;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::pool::{Pool, first_answer};
use super::rpc::CallResult;
use super::source::short;
use crate::codec::json::prefixed;

/// An operator's questions to one chain.
#[derive(Debug)]
pub(super) struct FiscoInspect {
    pub pool: Arc<Pool>,
    pub flavour: Flavour,
}

#[async_trait]
impl Inspect for FiscoInspect {
    async fn nodes(&self) -> Vec<NodeReport> {
        compare_nodes(self.pool.all()).await
    }

    async fn call(&self, contract: Address, data: &[u8]) -> Result<Vec<u8>, NodeError> {
        let to = short(contract)?;
        Err(first_answer!(self.pool.own_first(), |endpoint| endpoint.ask(to, data).await))
    }

    async fn try_call(&self, contract: Address, data: &[u8], by: Option<Address>) -> Result<Option<Ended>, NodeError> {
        if by.is_some() {
            return Ok(None);
        }
        let to = short(contract)?;
        Err(first_answer!(self.pool.own_first(), |endpoint| {
            endpoint.view(to, data).await.map(|CallResult { status, output }| {
                Some(if status == 0 { Ended::Returned(output) } else { Ended::Reverted(output) })
            })
        }))
    }

    async fn code(&self, contract: Address) -> Result<Vec<u8>, NodeError> {
        let to = short(contract)?;
        Err(first_answer!(self.pool.own_first(), |endpoint| code(&endpoint, to).await))
    }

    fn unsigned(&self, call: &GatewayCall) -> Result<UnsignedCall, TargetError> {
        let encoded = encode_for(self.flavour, call);
        let encoded = encoded.map_err(|_| TargetError::Unsupported { reason: "the gateway has no such call" })?;
        Ok(UnsignedCall { to: encoded.to.map(Address::from_20), data: encoded.data })
    }

    /// Nonces are drawn at random here: there is no next one.
    async fn transactions(&self, _account: Address) -> Result<Option<TransactionCounts>, NodeError> {
        Ok(None)
    }
}

async fn code(endpoint: &Endpoint, contract: [u8; 20]) -> Result<Vec<u8>, NodeError> {
    const METHOD: &str = "getCode";
    let answer = endpoint.call(METHOD, vec![json!(endpoint.node), json!(prefixed(&contract))]).await?;
    let digits = answer.as_str().map(|text| text.strip_prefix("0x").unwrap_or(text));
    let code = digits.and_then(|digits| hex::decode(digits).ok());
    code.ok_or_else(|| endpoint.malformed(METHOD, "code in hex, or an empty text".to_owned()))
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
        self.block_number().await.map(Height)
    }

    async fn facts(&self, at: Height) -> Result<(String, Hash32), NodeError> {
        const METHOD: &str = "getBlockHashByNumber";
        let info = self.call("getGroupInfo", Vec::new()).await?;
        let version = version(&info).unwrap_or_default();
        let answer = self.call(METHOD, vec![json!(self.node), json!(at.0)]).await?;
        let hash = answer.as_str().and_then(|hash| Hash32::from_hex(hash).ok());
        Ok((version, hash.ok_or_else(|| self.malformed(METHOD, format!("the hash of block {at}")))?))
    }

    async fn ailment(&self) -> Option<String> {
        Self::ailment(self).await.unwrap_or_default()
    }
}

/// `getGroupInfo` holds each node's settings as a JSON text, the program's version among them.
fn version(info: &Value) -> Option<String> {
    let settings = info.pointer("/nodeList/0/iniConfig")?.as_str()?;
    let settings: Value = serde_json::from_str(settings).ok()?;
    let version = settings.pointer("/binaryInfo/version")?.as_str()?;
    Some(version.chars().take(MAX_VERSION_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_out_of_the_settings_text() {
        let info = json!({ "nodeList": [{ "iniConfig": "{\"binaryInfo\":{\"version\":\"3.16.3\"}}\n" }] });
        assert_eq!(version(&info), Some("3.16.3".to_owned()));
        assert_eq!(version(&json!({ "nodeList": [{ "iniConfig": "" }] })), None);
        assert_eq!(version(&json!({})), None);
    }
}
