//! Reading positional arguments as go-ethereum does, and writing its hex forms.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use revm::context::TxEnv;
use serde_json::{Map, Value, json};

use crate::rpc_fault::RpcFault;
use crate::sealed_evm::SealedEvmChain;
use crate::world::World;

/// Most slots in one `eth_getProof`; go-ethereum's `maxGetStorageSlots`.
const MAX_SLOTS: usize = 1024;

/// The arguments of one call.
#[derive(Clone, Copy)]
pub(super) struct Params<'a>(pub(super) &'a [Value]);

impl<'a> Params<'a> {
    fn value(self, at: usize) -> Result<&'a Value, RpcFault> {
        self.0
            .get(at)
            .filter(|value| !value.is_null())
            .ok_or_else(|| RpcFault::new(-32602, format!("missing value for required argument {at}")))
    }

    fn text(self, at: usize) -> Result<&'a str, RpcFault> {
        self.value(at)?.as_str().ok_or_else(|| invalid(at, "json: cannot unmarshal non-string"))
    }

    pub(super) fn flag(self, at: usize) -> Result<bool, RpcFault> {
        self.value(at)?.as_bool().ok_or_else(|| invalid(at, "json: cannot unmarshal non-bool"))
    }

    pub(super) fn object(self, at: usize) -> Result<&'a Map<String, Value>, RpcFault> {
        self.value(at)?.as_object().ok_or_else(|| invalid(at, "json: cannot unmarshal non-object"))
    }

    pub(super) fn array(self, at: usize) -> Result<&'a [Value], RpcFault> {
        self.value(at)?.as_array().map(Vec::as_slice).ok_or_else(|| invalid(at, "json: cannot unmarshal non-array"))
    }

    pub(super) fn bytes(self, at: usize) -> Result<Bytes, RpcFault> {
        parse_bytes(self.text(at)?).ok_or_else(|| invalid(at, "json: cannot unmarshal invalid hex string"))
    }

    pub(super) fn hash(self, at: usize) -> Result<B256, RpcFault> {
        parse_hash(self.text(at)?).ok_or_else(|| invalid(at, "hex string has wrong length, want 64 for common.Hash"))
    }

    pub(super) fn address(self, at: usize) -> Result<Address, RpcFault> {
        parse_address(self.text(at)?)
            .ok_or_else(|| invalid(at, "hex string has wrong length, want 40 for common.Address"))
    }

    pub(super) fn count(self, at: usize) -> Result<u64, RpcFault> {
        let value = self.value(at)?;
        value
            .as_u64()
            .or_else(|| value.as_str().and_then(parse_quantity))
            .ok_or_else(|| invalid(at, "hex string without 0x prefix"))
    }

    /// One slot: a hash, or a shorter number.
    pub(super) fn slot(self, at: usize) -> Result<B256, RpcFault> {
        parse_slot(self.value(at)?).ok_or_else(|| invalid(at, "unable to decode storage key"))
    }

    pub(super) fn slots(self, at: usize) -> Result<Vec<B256>, RpcFault> {
        let values = self.array(at)?;
        if values.len() > MAX_SLOTS {
            return Err(RpcFault::new(-32602, "too many slots"));
        }
        values
            .iter()
            .map(|value| parse_slot(value).ok_or_else(|| invalid(at, "unable to decode storage key")))
            .collect()
    }

    /// A height by number, tag or hash (EIP-1898); `None` when there is no such block. The newest when left out.
    pub(super) fn height(self, at: usize, chain: &SealedEvmChain) -> Result<Option<u64>, RpcFault> {
        match self.0.get(at) {
            None | Some(Value::Null) => Ok(Some(chain.height())),
            Some(Value::Object(fields)) => {
                if let Some(hash) = fields.get("blockHash").and_then(Value::as_str).and_then(parse_hash) {
                    return Ok(chain.block_by_hash(hash).map(|block| block.header.number));
                }
                let number = fields.get("blockNumber").and_then(Value::as_str);
                height_of(number.ok_or_else(|| invalid(at, "cannot unmarshal object"))?, at, chain)
            }
            Some(Value::String(text)) => height_of(text, at, chain),
            Some(_) => Err(invalid(at, "json: cannot unmarshal non-string")),
        }
    }

    /// The state after a block.
    pub(super) fn world(self, at: usize, chain: &SealedEvmChain) -> Result<&World, RpcFault> {
        let height = self.height(at, chain)?.ok_or_else(unknown_block)?;
        chain.world(height).ok_or_else(|| missing_state(chain, height))
    }

    /// A call object; the gas of a block when it names none.
    pub(super) fn call(self, at: usize, gas_limit: u64) -> Result<TxEnv, RpcFault> {
        let fields = self.object(at)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let fault = |name: &str| invalid(at, &format!("invalid field {name}"));
        let number = |name: &str| match text(name) {
            None => Ok(None),
            Some(text) => U256::from_str_radix(text.trim_start_matches("0x"), 16).map(Some).map_err(|_| fault(name)),
        };
        let address = |name: &str| match text(name) {
            None => Ok(None),
            Some(text) => parse_address(text).map(Some).ok_or_else(|| fault(name)),
        };
        let data = match text("input").or(text("data")) {
            None => Bytes::new(),
            Some(text) => parse_bytes(text).ok_or_else(|| fault("input"))?,
        };
        let gas = match number("gas")? {
            None => gas_limit,
            Some(gas) => gas.saturating_to::<u64>().min(gas_limit),
        };
        Ok(TxEnv {
            caller: address("from")?.unwrap_or_default(),
            gas_limit: gas,
            kind: address("to")?.map_or(TxKind::Create, TxKind::Call),
            value: number("value")?.unwrap_or_default(),
            data,
            ..TxEnv::default()
        })
    }
}

fn height_of(text: &str, at: usize, chain: &SealedEvmChain) -> Result<Option<u64>, RpcFault> {
    match text {
        // A BFT block is final when it is there, and a pending one is never shown.
        "latest" | "pending" | "safe" | "finalized" => Ok(Some(chain.height())),
        "earliest" => Ok(Some(0)),
        number => {
            let height = parse_quantity(number).ok_or_else(|| invalid(at, "hex string without 0x prefix"))?;
            Ok((height <= chain.height()).then_some(height))
        }
    }
}

pub(super) fn invalid(at: usize, why: &str) -> RpcFault {
    RpcFault::new(-32602, format!("invalid argument {at}: {why}"))
}

pub(super) fn unknown_block() -> RpcFault {
    RpcFault::new(-32000, "header not found")
}

/// What GoQuorum answers for a state that it has pruned (`trie/errors.go:MissingNodeError`).
pub(crate) fn missing_state(chain: &SealedEvmChain, height: u64) -> RpcFault {
    let root = chain.block(height).map(|block| block.header.state_root).unwrap_or_default();
    RpcFault::new(-32000, format!("missing trie node {} (path )", hex::encode(root)))
}

pub(super) fn quantity(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

pub(super) fn quantity_u256(number: U256) -> Value {
    json!(format!("{number:#x}"))
}

pub(super) fn bytes(bytes: &[u8]) -> Value {
    json!(hex::encode_prefixed(bytes))
}

fn parse_quantity(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let is_canonical = digits == "0" || !digits.starts_with('0');
    if digits.is_empty() || !is_canonical || digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

pub(super) fn parse_bytes(text: &str) -> Option<Bytes> {
    hex::decode(text.strip_prefix("0x")?).ok().map(Bytes::from)
}

pub(super) fn parse_hash(text: &str) -> Option<B256> {
    B256::try_from(parse_bytes(text)?.as_ref()).ok()
}

pub(super) fn parse_address(text: &str) -> Option<Address> {
    Address::try_from(parse_bytes(text)?.as_ref()).ok()
}

fn parse_slot(value: &Value) -> Option<B256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    if digits.is_empty() || digits.len() > 64 {
        return None;
    }
    U256::from_str_radix(digits, 16).ok().map(B256::from)
}
