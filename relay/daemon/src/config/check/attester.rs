//! What an attester's configuration must hold: its key, its counter, nodes of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cityrelay_core::frame::Role;
use cityrelay_core::ids::LaneId;
use cityrelay_core::light_client::ProofStrength;

use super::{MAX_SOCKET_BYTES, attester_id, unknown_name};
use crate::config::reader::Reader;
use crate::config::settings::{AttesterConfig, ChainConfig, KeySource, LaneConfig, NodeConfig};
use crate::signer::remote::{SIGNER_SCHEME, socket_of};

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
    let key = key(reader);
    let counter_file = node.and_then(|node| counter_file(reader, node));
    Some(AttesterConfig { key: key?, counter_file: counter_file?, attests })
}

/// A file, or a signer; never both.
pub(super) fn key(reader: &Reader<'_>) -> Option<KeySource> {
    let address = attester_id(reader, "attester.address");
    let (has_file, has_signer) =
        (reader.value("attester.key_file").is_some(), reader.value("attester.signer").is_some());
    match (has_file, has_signer) {
        (false, false) => {
            reader.missing("attester.key_file", " for an attester, and so is attester.signer");
            None
        }
        (true, true) => {
            reader.fault("attester.signer", "stands beside attester.key_file: leave one of them out");
            None
        }
        (true, false) => reader.path("attester.key_file").map(|path| KeySource::File { path, address }),
        (false, true) => {
            let socket = signer_socket(reader);
            if reader.value("attester.address").is_none() {
                reader.missing("attester.address", " beside attester.signer");
            }
            Some(KeySource::Signer { socket: socket?, address: address? })
        }
    }
}

fn signer_socket(reader: &Reader<'_>) -> Option<PathBuf> {
    let text: String = reader.optional("attester.signer")?;
    match socket_of(&text) {
        Some(path) if path.is_absolute() && path.as_os_str().len() <= MAX_SOCKET_BYTES => Some(path.to_owned()),
        _ => {
            let problem = format!(
                "expected {SIGNER_SCHEME} and the whole path of a socket, {MAX_SOCKET_BYTES} bytes at most, got {text:?}"
            );
            reader.fault("attester.signer", problem);
            None
        }
    }
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
