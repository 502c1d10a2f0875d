//! An error as a JSON-RPC answer carries it.

use serde_json::{Value, json};
use thiserror::Error;

/// Code, text and sometimes data of a failed call.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{code}: {message}")]
pub struct RpcFault {
    /// The code of JSON-RPC or of the node.
    pub code: i64,
    /// What the node says.
    pub message: String,
    /// More, such as what a revert returned.
    pub data: Option<Value>,
}

impl RpcFault {
    /// A fault without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The `error` member of an answer.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Some(data) => json!({"code": self.code, "message": self.message, "data": data}),
            None => json!({"code": self.code, "message": self.message}),
        }
    }
}
