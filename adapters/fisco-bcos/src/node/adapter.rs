//! From a section of the configuration to a chain.

use std::path::Path;
use std::sync::Arc;

use cityrelay_api::adapter::{Adapter, Chain, ConfigFault, KeyDoc};
use cityrelay_api::client::{ErasedClient, erase, to_opaque};
use cityrelay_api::inspect::Inspect;
use cityrelay_api::recording::Recording;
use cityrelay_api::source::Source;
use cityrelay_api::target::Target;
use cityrelay_core::opaque::Opaque;
use serde_json::Value;

use super::account_file;
use super::anchors;
use super::config::{self, ChainConfig, KEYS};
use super::endpoint::Endpoint;
use super::inspect::FiscoInspect;
use super::pool::Pool;
use super::recorder::FiscoRecording;
use super::source::FiscoSource;
use super::target::FiscoTarget;
use crate::NAME;
use crate::verify::client::FiscoClient;
use crate::verify::state::TrustedState;

/// The adapter, for registration.
pub static ADAPTER: FiscoAdapter = FiscoAdapter;

/// FISCO BCOS 3.x.
#[derive(Clone, Copy, Debug)]
pub struct FiscoAdapter;

impl Adapter for FiscoAdapter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn keys(&self) -> &'static [KeyDoc] {
        KEYS
    }

    fn placeholder_anchor(&self, _section: &Value) -> Option<Value> {
        Some(anchors::placeholder())
    }

    fn configure(&self, section: &Value, base: &Path) -> Result<Arc<dyn Chain>, Vec<ConfigFault>> {
        let config = config::read(section, base)?;
        let mut faults = Vec::new();
        let mut endpoints = Vec::with_capacity(config.nodes.len());
        for (position, node) in config.nodes.iter().enumerate() {
            match Endpoint::new(&config, node) {
                Ok(endpoint) => endpoints.push(Arc::new(endpoint)),
                Err((key, problem)) => faults.push(ConfigFault { key: format!("nodes[{position}].{key}"), problem }),
            }
        }
        let account = config.account.as_deref().map(|path| account_file::read(config.suite, path)).transpose();
        let account = account.unwrap_or_else(|problem| {
            faults.push(ConfigFault { key: "account.key_file".to_owned(), problem });
            None
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let pool = Arc::new(Pool::new(endpoints));
        let target = account.map(|key| Arc::new(FiscoTarget::new(&config, key, Arc::clone(&pool))));
        Ok(Arc::new(FiscoChain::new(config, pool, target)))
    }
}

/// One configured chain.
struct FiscoChain {
    client: Arc<dyn ErasedClient>,
    anchor: Opaque,
    source: Arc<FiscoSource>,
    target: Option<Arc<FiscoTarget>>,
    inspect: Arc<FiscoInspect>,
    recording: Arc<FiscoRecording>,
}

impl FiscoChain {
    fn new(config: ChainConfig, pool: Arc<Pool>, target: Option<Arc<FiscoTarget>>) -> Self {
        let client = FiscoClient {
            suite: config.suite,
            chain_id: config.chain_id,
            group_id: config.group_id,
            trusting_period: config.trusting_period,
        };
        let anchor = TrustedState::anchored(config.anchor_height, config.anchor_hash, config.anchor_set);
        Self {
            client: Arc::new(erase(NAME, client.clone())),
            anchor: to_opaque(NAME, &anchor),
            source: Arc::new(FiscoSource::new(client.clone(), Arc::clone(&pool))),
            target,
            inspect: Arc::new(FiscoInspect { pool: Arc::clone(&pool), flavour: config.flavour }),
            recording: Arc::new(FiscoRecording { client, anchor, pool }),
        }
    }
}

impl Chain for FiscoChain {
    fn client(&self) -> Arc<dyn ErasedClient> {
        Arc::clone(&self.client)
    }

    fn anchor(&self) -> Opaque {
        self.anchor.clone()
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source) as Arc<dyn Source>
    }

    fn target(&self) -> Option<Arc<dyn Target>> {
        self.target.clone().map(|target| target as Arc<dyn Target>)
    }

    fn inspect(&self) -> Arc<dyn Inspect> {
        Arc::clone(&self.inspect) as Arc<dyn Inspect>
    }

    fn recording(&self) -> Arc<dyn Recording> {
        Arc::clone(&self.recording) as Arc<dyn Recording>
    }
}
