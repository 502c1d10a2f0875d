//! The adapter as the daemon sees it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_api::adapter::KeyDoc;
use cityrelay_api::client::{ErasedClient, erase, to_opaque};
use cityrelay_api::inspect::Inspect;
use cityrelay_api::recording::Recording;
use cityrelay_api::source::Source;
use cityrelay_api::target::Target;
use cityrelay_api::turns::Turns;
use cityrelay_api::{Adapter, Chain, ConfigFault};
use cityrelay_core::opaque::Opaque;
use serde_json::Value;

use super::anchors;
use super::connect::connect;
use super::inspect::EvmInspect;
use super::recorder::Recorder;
use super::signer::Signer;
use super::source::EvmSource;
use super::target::EvmTarget;
use crate::ADAPTER;
use crate::config::{KEYS, read_section};
use crate::verify::client::Client;

/// Chains of this adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvmBft;

impl Adapter for EvmBft {
    fn name(&self) -> &'static str {
        ADAPTER
    }

    fn keys(&self) -> &'static [KeyDoc] {
        KEYS
    }

    fn placeholder_anchor(&self, section: &Value) -> Option<Value> {
        Some(anchors::placeholder(section))
    }

    fn configure(&self, section: &Value, base: &Path) -> Result<Arc<dyn Chain>, Vec<ConfigFault>> {
        let settings = read_section(section, base)?;
        let nodes = connect(&settings);
        let target = settings.account.clone().map(|account| {
            Signer::open(&account, settings.chain_id).map(|signer| (signer, account)).map_err(|fault| vec![fault])
        });
        let ((pool, heads), target) = match (nodes, target.transpose()) {
            (Ok(nodes), Ok(target)) => (nodes, target),
            (Err(mut faults), Err(more)) => {
                faults.extend(more);
                return Err(faults);
            }
            (Err(faults), _) | (_, Err(faults)) => return Err(faults),
        };
        let pool = Arc::new(pool);
        let client = Client::new(settings.rules.clone());
        let recorder = Recorder {
            pool: Arc::clone(&pool),
            rules: settings.rules,
            anchor: settings.anchor.height,
            chain_id: settings.chain_id,
        };
        let target = target.map(|(signer, settings)| {
            let target: Arc<dyn Target> = Arc::new(EvmTarget { pool: Arc::clone(&pool), signer, settings });
            target
        });
        Ok(Arc::new(EvmChain {
            longest_silence: settings.longest_silence,
            client: Arc::new(erase(ADAPTER, client.clone())),
            anchor: to_opaque(ADAPTER, &settings.anchor),
            inspect: Arc::new(EvmInspect { pool: Arc::clone(&pool) }),
            source: Arc::new(EvmSource { pool, client, heads, turns: Turns::default(), lookout: Arc::default() }),
            target,
            recorder: Arc::new(recorder),
        }))
    }
}

struct EvmChain {
    longest_silence: Duration,
    client: Arc<dyn ErasedClient>,
    anchor: Opaque,
    source: Arc<dyn Source>,
    target: Option<Arc<dyn Target>>,
    inspect: Arc<dyn Inspect>,
    recorder: Arc<dyn Recording>,
}

impl Chain for EvmChain {
    fn client(&self) -> Arc<dyn ErasedClient> {
        Arc::clone(&self.client)
    }

    fn anchor(&self) -> Opaque {
        self.anchor.clone()
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source)
    }

    fn target(&self) -> Option<Arc<dyn Target>> {
        self.target.clone()
    }

    fn longest_silence(&self) -> Option<Duration> {
        Some(self.longest_silence)
    }

    fn inspect(&self) -> Arc<dyn Inspect> {
        Arc::clone(&self.inspect)
    }

    fn recording(&self) -> Arc<dyn Recording> {
        Arc::clone(&self.recorder)
    }
}
