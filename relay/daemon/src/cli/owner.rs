//! An owner's calls: sent with the chain's configured account, or printed unsigned for a multisig.

use std::fmt::Write as _;
use std::sync::Arc;

use cityrelay_api::target::Target;
use cityrelay_core::gateway_call::GatewayCall;
use serde_json::{Value, json};

use super::answer::{Answer, Exit, Failure};
use super::intents::IntentFolder;
use super::owner_arguments::Making;
use super::transaction::{Done, Sending, carry_out};
use crate::config::settings::ChainConfig;
use crate::config::{Layers, check};
use crate::contracts::ReadError;

/// One call with what it does, for people.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The call.
    pub(super) call: GatewayCall,
    /// What it does, such as `pause lane medical`.
    pub(super) what: String,
}

impl Step {
    pub(super) fn new(call: GatewayCall, what: impl Into<String>) -> Self {
        Self { call, what: what.into() }
    }
}

/// Whoever acts on one chain.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    pub(super) layers: &'a Layers,
    pub(super) chain: &'a ChainConfig,
    pub(super) making: &'a Making,
}

impl Owner<'_> {
    /// The chain's configured account.
    pub(super) fn target(&self) -> Result<Arc<dyn Target>, Failure> {
        self.chain.chain.target().ok_or_else(|| {
            let name = &self.chain.name;
            let problem = format!(
                "chain {name} has no account: set chains.{name}.account.key_file, or add --unsigned to print the call for \
                 the owner's wallet"
            );
            Failure::new(Exit::Usage, problem)
        })
    }

    /// How this chain's transactions are sent.
    pub(super) fn sending(&self) -> Result<Sending, Failure> {
        let folder = match &self.making.intents {
            Some(folder) => folder.clone(),
            None => check::data_dir(self.layers)?.join("intents"),
        };
        let (chain, timeout) = (self.chain.name.clone(), self.making.timeout);
        Ok(Sending { chain, intents: IntentFolder::open(&folder)?, timeout })
    }

    /// Makes the calls one after the other, each once the one before is final.
    pub(super) async fn send(&self, steps: &[Step]) -> Result<Vec<Done>, Failure> {
        let target = self.target()?;
        let sending = self.sending()?;
        let mut done = Vec::with_capacity(steps.len());
        for step in steps {
            done.push(carry_out(target.as_ref(), &step.call, &step.what, &sending).await?);
        }
        Ok(done)
    }

    /// Makes the calls, or prints them with `--unsigned`; `text` says what is true afterwards.
    pub(super) async fn act(&self, steps: &[Step], text: String) -> Result<Answer, Failure> {
        if self.making.unsigned {
            return self.unsigned(steps);
        }
        let done = self.send(steps).await?;
        let hashes: Vec<String> = done.iter().map(|done| done.hash.to_string()).collect();
        let what: Vec<&str> = steps.iter().map(|step| step.what.as_str()).collect();
        Ok(Answer { data: json!({ "chain": self.chain.name, "did": what, "transactions": hashes }), text })
    }

    /// The calls for another wallet: contract, data, value, chain, and what each does.
    pub(super) fn unsigned(&self, steps: &[Step]) -> Result<Answer, Failure> {
        let chain_id = self.layers.tree.pointer(&format!("/chains/{}/chain_id", self.chain.name));
        let inspect = self.chain.chain.inspect();
        let mut text = String::new();
        let mut calls = Vec::with_capacity(steps.len());
        for step in steps {
            let call = inspect.unsigned(&step.call)?;
            let to = call.to.map(|to| to.to_string());
            let data = format!("0x{}", hex::encode(&call.data));
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            let shown_id = chain_id.map_or_else(String::new, |id| format!(" (chain id {})", plain(id)));
            // Writing to a string can't fail.
            let _ = write!(
                text,
                "what   {}\nchain  {}{shown_id}\nto     {}\nvalue  0\ndata   {data}",
                step.what,
                self.chain.name,
                to.as_deref().unwrap_or("none: it creates a contract"),
            );
            calls.push(json!({
                "description": step.what, "chain": self.chain.name, "chain_id": chain_id, "to": to, "value": "0",
                "data": data,
            }));
        }
        Ok(Answer { data: json!({ "unsigned": calls }), text })
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Node(error) => error.into(),
            error @ ReadError::Answer { .. } => Self::new(Exit::Unhealthy, error),
        }
    }
}
