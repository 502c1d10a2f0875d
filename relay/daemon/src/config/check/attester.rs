//! What an attester's configuration must hold: its key, its counter, nodes of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cityrelay_core::frame::Role;
use cityrelay_core::ids::LaneId;
use cityrelay_core::light_client::ProofStrength;

use super::unknown_name;
use crate::config::reader::Reader;
use crate::config::settings::{AttesterConfig, ChainConfig, LaneConfig, NodeConfig};

pub(super) fn attester(
    reader: &Reader<'_>,
    role: Option<Role>,
    lanes: &[LaneConfig],
    node: Option<&NodeConfig>,
) -> Option<AttesterConfig> {
    if role == Some(Role::Relay) {
        if reader.value("attester").is_some() {
            reader.fault("attester", "only a process with node.role = \"attester\" signs: leave this section out");
        }
        return None;
    }
    role?;
    if reader.value("attester.key_file").is_none() {
        reader.missing("attester.key_file", " for an attester");
    }
    let attests: BTreeSet<LaneId> = match reader.optional::<Vec<String>>("attester.channels") {
        None => lanes.iter().map(|lane| lane.id).collect(),
        Some(channels) => {
            for (at, channel) in channels.iter().enumerate() {
                if !lanes.iter().any(|lane| lane.identity.channel == *channel) {
                    let mut known: Vec<&str> = lanes.iter().map(|lane| lane.identity.channel.as_str()).collect();
                    known.dedup();
                    reader
                        .fault(&format!("attester.channels[{at}]"), unknown_name("lane with channel", channel, &known));
                }
            }
            lanes.iter().filter(|lane| channels.contains(&lane.identity.channel)).map(|lane| lane.id).collect()
        }
    };
    let key_file = reader.path("attester.key_file");
    let counter_file = node.and_then(|node| counter_file(reader, node));
    Some(AttesterConfig { key_file: key_file?, counter_file: counter_file?, attests })
}

/// The counter must not be restored together with the journal that it watches over.
fn counter_file(reader: &Reader<'_>, node: &NodeConfig) -> Option<PathBuf> {
    let set = reader.value("attester.counter_file").is_some();
    let (path, problem) = if set {
        let path = reader.path("attester.counter_file")?;
        (path, "lies in node.data_dir: whoever restores that folder would set the counter back with it")
    } else {
        let folder = node.data_dir.file_name().map(|name| {
            let mut name = name.to_owned();
            name.push("-signer");
            node.data_dir.with_file_name(name)
        });
        (folder.unwrap_or_default().join("counter"), "is needed: node.data_dir has no folder beside it")
    };
    if path.starts_with(&node.data_dir) || path.parent().is_none_or(|folder| folder.as_os_str().is_empty()) {
        reader.fault("attester.counter_file", problem);
        return None;
    }
    Some(path)
}

/// An attester signs heads of a chain whose proofs are not sufficient only when its own node says the same.
pub(super) fn own_nodes(reader: &Reader<'_>, role: Option<Role>, chains: &BTreeMap<String, ChainConfig>) {
    if role != Some(Role::Attester) {
        return;
    }
    for (name, chain) in chains {
        let needs_own = chain.chain.client().strength() == ProofStrength::NeedsLocalConfirmation;
        if needs_own && !chain.chain.source().endpoints().iter().any(|endpoint| endpoint.is_own) {
            let problem = "an attester of this chain needs a node of its own institution: mark one with own = true";
            reader.fault(&format!("chains.{name}.nodes"), problem);
        }
    }
}
