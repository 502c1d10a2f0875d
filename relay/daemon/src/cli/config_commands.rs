//! `config check`, `config explain`, `config reference` and `config schema`.

use serde_json::json;

use super::answer::{Answer, Exit, Failure};
use super::arguments::{CheckArguments, ExplainArguments};
use super::doctor;
use crate::config::{Layers, Sources, check, explain, reference, schema};

/// Checks everything that `run` needs; with `--live` against nodes, contracts and peers too.
pub(super) async fn check(sources: &Sources, arguments: &CheckArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let config = check::config(&layers, cityrelay_all::adapters())?;
    if arguments.live {
        return doctor::diagnosis(&doctor::live(sources, &layers, &config).await);
    }
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

/// Prints every effective value with its place; a configuration with faults is explained as far as it goes.
pub(super) fn explain(sources: &Sources, arguments: &ExplainArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let is_wanted = |key: &str| {
        let begins = |wanted: &String| {
            key.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        arguments.keys.is_empty() || arguments.keys.iter().any(begins)
    };
    let mut settings = explain::settings(&layers, cityrelay_all::adapters());
    settings.retain(|setting| is_wanted(&setting.key));
    if settings.is_empty() {
        let problem =
            format!("no key begins with {}: `cityrelay config explain` prints all", arguments.keys.join(" or "));
        return Err(Failure::new(Exit::Usage, problem));
    }
    let lines: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let data = serde_json::to_value(&settings).map_err(|error| Failure::new(Exit::Internal, error))?;
    Ok(Answer { data: json!({ "settings": data }), text: lines.join("\n") })
}

/// Prints the schema.
pub(super) fn schema() -> Result<Answer, Failure> {
    let schema = schema::schema(cityrelay_all::adapters());
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::new(Exit::Internal, error))?;
    Ok(Answer { data: json!({ "schema": schema }), text })
}

/// Prints every key.
pub(super) fn reference() -> Answer {
    let text = reference::text(cityrelay_all::adapters()).trim_end().to_owned();
    Answer { data: json!({"toml": text}), text }
}
