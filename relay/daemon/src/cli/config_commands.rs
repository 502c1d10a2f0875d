//! `config check` and `config reference`.

use serde_json::json;

use super::answer::{Answer, Failure};
use crate::config::{Layers, Sources, check, reference};

/// Checks everything that `run` needs.
pub(super) fn check(sources: &Sources) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let config = check::config(&layers, cityrelay_all::adapters())?;
    let lanes: Vec<_> = config
        .lanes
        .iter()
        .map(|lane| {
            json!({
                "id": lane.id.to_string(), "channel": lane.identity.channel, "source": lane.source,
                "destination": lane.destination, "peer": lane.peer,
            })
        })
        .collect();
    let role = config.node.role.as_str();
    let data = json!({
        "name": config.node.name, "role": role, "chains": config.chains.keys().collect::<Vec<_>>(),
        "peers": config.peers.iter().map(|peer| &peer.name).collect::<Vec<_>>(), "lanes": lanes,
    });
    let mut text = format!(
        "{} ({role}): {} chains, {} peers, {} lanes; no faults",
        config.node.name,
        config.chains.len(),
        config.peers.len(),
        config.lanes.len()
    );
    for lane in &config.lanes {
        text.push_str(&format!("\nlane {} {} {} → {}", lane.id, lane.identity.channel, lane.source, lane.destination));
    }
    Ok(Answer { data, text })
}

/// Prints every key.
pub(super) fn reference() -> Answer {
    let text = reference::text(cityrelay_all::adapters()).trim_end().to_owned();
    Answer { data: json!({"toml": text}), text }
}
