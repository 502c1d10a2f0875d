//! What a devnet can be told to do wrong, node by node. Tests only: the feature `misbehave` is off in every release.

mod admin;
mod bcos;
mod eth;

pub(crate) use bcos::{after as after_bcos, before as before_bcos};
pub(crate) use eth::{after as after_eth, before as before_eth};

pub(crate) use admin::{Steered, serve as serve_admin};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One misdeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers of a method carry another value at this JSON pointer, where there is one.
    Lie {
        /// Such as `eth_getBlockByNumber`.
        method: String,
        /// RFC 6901, from the `result` down: `/stateRoot`, `/logs/0/data`; empty for the whole result.
        pointer: String,
        /// What stands there instead.
        value: Value,
    },
    /// As `lie`, in the answers about one height.
    LieAt {
        /// A method that is asked by height, such as `eth_getBlockByNumber`.
        method: String,
        /// RFC 6901, from the `result` down.
        pointer: String,
        /// What stands there instead.
        value: Value,
        /// The height.
        height: u64,
    },
    /// Answers a method with an error.
    Fail {
        /// Such as `eth_getProof`.
        method: String,
        /// The code.
        code: i64,
        /// The text.
        message: String,
    },
    /// Takes requests of a method and never answers.
    Hang {
        /// The method, or `*` for every one.
        method: String,
    },
    /// Hides the newest blocks.
    Lag {
        /// How many.
        blocks: u64,
    },
    /// Shows another block at a height, sealed by a quorum of the same set: two final blocks at one height.
    Equivocate {
        /// The height, at least 1 and not above the newest.
        height: u64,
    },
    /// Computes wrongly: answers of calls of one function, also why they revert, have another last bit.
    Miscompute {
        /// The function's selector, `0x` and 8 digits.
        selector: String,
    },
    /// Takes transactions and forgets them.
    DropTransactions,
    /// Has no states (QBFT) or no transactions and receipts (BCOS) of blocks below a height.
    Prune {
        /// The first height that it has.
        below: u64,
    },
}

/// The misdeeds of a chain's nodes.
#[derive(Clone, Debug, Default)]
pub struct FaultBook {
    entries: Vec<(Option<usize>, Fault)>,
}

impl FaultBook {
    /// Adds a misdeed of one node, or of all when `None`.
    pub fn add(&mut self, node: Option<usize>, fault: Fault) {
        self.entries.push((node, fault));
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn of(&self, node: usize) -> impl Iterator<Item = &Fault> {
        self.entries.iter().filter(move |(who, _)| who.is_none_or(|who| who == node)).map(|(_, fault)| fault)
    }

    fn hangs(&self, node: usize, method: &str) -> bool {
        self.of(node).any(|fault| matches!(fault, Fault::Hang { method: other } if other == "*" || other == method))
    }

    /// Whether a call with this data is answered wrongly.
    fn miscomputes(&self, node: usize, data: &str) -> bool {
        self.of(node).any(|fault| matches!(fault, Fault::Miscompute { selector } if data.starts_with(selector)))
    }

    fn drops_transactions(&self, node: usize) -> bool {
        self.of(node).any(|fault| *fault == Fault::DropTransactions)
    }

    fn lag(&self, node: usize) -> u64 {
        self.of(node).map(|fault| if let Fault::Lag { blocks } = fault { *blocks } else { 0 }).max().unwrap_or(0)
    }

    fn pruned_below(&self, node: usize) -> u64 {
        self.of(node).map(|fault| if let Fault::Prune { below } = fault { *below } else { 0 }).max().unwrap_or(0)
    }

    fn equivocates_at(&self, node: usize, height: u64) -> bool {
        self.of(node).any(|fault| *fault == Fault::Equivocate { height })
    }

    fn failure(&self, node: usize, method: &str) -> Option<crate::rpc_fault::RpcFault> {
        self.of(node).find_map(|fault| match fault {
            Fault::Fail { method: other, code, message } if other == method => {
                Some(crate::rpc_fault::RpcFault::new(*code, message.clone()))
            }
            _ => None,
        })
    }

    /// `height` is the one that was asked for, where the method asks for one.
    fn lie(&self, node: usize, method: &str, height: Option<u64>, result: &mut Value) {
        for fault in self.of(node) {
            let (other, pointer, value) = match fault {
                Fault::Lie { method, pointer, value } => (method, pointer, value),
                Fault::LieAt { method, pointer, value, height: at } if Some(*at) == height => (method, pointer, value),
                _ => continue,
            };
            if other == method
                && let Some(place) = result.pointer_mut(pointer)
            {
                *place = value.clone();
            }
        }
    }
}

/// Hex digits with another last bit.
fn bent(value: &Value) -> Option<Value> {
    let mut bytes = hex::decode(value.as_str()?.strip_prefix("0x")?).ok()?;
    *bytes.last_mut()? ^= 1;
    Some(Value::String(format!("0x{}", hex::encode(bytes))))
}

/// What becomes of a call before it is answered.
#[derive(Debug)]
pub(crate) enum Course<T> {
    /// It is answered as it is, with these arguments.
    Usual(Vec<Value>),
    /// It is answered with this.
    Instead(T),
    /// It is never answered.
    Never,
}
