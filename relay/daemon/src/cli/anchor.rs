//! `anchor fetch`: what every node says of a block to start from. `anchor verify`: from the configured anchor to the newest
//! block, with the light client's own eyes.

use std::fmt::Write as _;

use cityrelay_api::source::{AnchorAnswer, AnchorCandidate, NodeError};
use cityrelay_core::ids::{Domain, Height};
use cityrelay_core::verify::VerifiedUpdate;
use serde_json::{Value, json};

use super::answer::{Answer, Exit, Failure, say};
use super::arguments::{AnchorArguments, FetchArguments};
use super::progress::Progress;
use crate::clock::unix_millis;
use crate::config::check::Adapters;
use crate::config::{Layers, Sources, check};

/// Headers asked for at once.
const UPDATE_HEADERS: u32 = 256;

/// What must happen before a fetched anchor is used: no node is believed, not even all of them.
const COMPARE: &str = "compare height, hash and validators with another institution before you use it";

/// Prints on stdout the line for the chain's section, if all nodes that answer say the same; what each says goes to stderr.
/// Nothing is written to the configuration.
pub(super) async fn fetch(sources: &Sources, arguments: &FetchArguments) -> Result<Answer, Failure> {
    let mut layers = Layers::read(sources)?;
    let answer = ask_nodes(&mut layers, &arguments.chain, arguments.height).await?;
    say(COMPARE);
    Ok(answer)
}

/// Asks every node of a chain for a block to start from; the answer's data has `height`, `hash` and, for the section,
/// `anchor`. What each node says goes to stderr.
///
/// # Errors
/// When they differ, or none answers.
pub(super) async fn ask_nodes(layers: &mut Layers, chain: &str, height: Option<u64>) -> Result<Answer, Failure> {
    let adapters = cityrelay_all::adapters();
    insert_placeholder(layers, adapters, chain);
    let chain = check::one_chain(layers, adapters, chain)?;
    let answers = chain.chain.source().anchors(height.map(Height)).await;
    answers.iter().for_each(|answer| say(line(answer)));
    judge(&answers)
}

/// A section without an anchor can't be configured, and this command is what an anchor comes from: the adapter's own
/// placeholder stands in for it. An anchor that is there is left as it is, and its faults are reported.
fn insert_placeholder(layers: &mut Layers, adapters: Adapters<'_>, chain: &str) {
    let section = layers.tree.get_mut("chains").and_then(|chains| chains.get_mut(chain));
    let Some(Value::Object(section)) = section else { return };
    if section.contains_key("anchor") {
        return;
    }
    let name = section.get("adapter").and_then(Value::as_str);
    let adapter = adapters.iter().find(|adapter| Some(adapter.name()) == name);
    let anchor = adapter.and_then(|adapter| adapter.placeholder_anchor(&Value::Object(section.clone())));
    section.extend(anchor.map(|anchor| ("anchor".to_owned(), anchor)));
}

fn line(answer: &AnchorAnswer) -> String {
    let said = match &answer.answer {
        Ok(candidate) => short(candidate),
        Err(error) => problem(error),
    };
    format!("{}: {said}", answer.endpoint)
}

/// What is wrong with one node; the error's own words speak of the whole chain.
fn problem(error: &NodeError) -> String {
    match error {
        NodeError::Unreachable { reason, .. } => format!("not reachable: {reason}"),
        other => other.to_string(),
    }
}

fn short(candidate: &AnchorCandidate) -> String {
    let AnchorCandidate { height, hash, validators, .. } = candidate;
    format!("block {height} {hash} with {validators} validators")
}

/// Exit 4 when two nodes say different things or what they say makes no sense, 3 when none can be reached, 2 when the
/// chain has no node or the height can be no anchor.
fn judge(answers: &[AnchorAnswer]) -> Result<Answer, Failure> {
    let endpoints: Vec<Value> = answers.iter().map(endpoint_json).collect();
    let fail = |exit, message: String| {
        Err(Failure { exit, message, details: json!({ "endpoints": endpoints }), text: String::new() })
    };
    let mut sayings: Vec<(&AnchorCandidate, Vec<&str>)> = Vec::new();
    for AnchorAnswer { endpoint, answer, .. } in answers {
        let Ok(candidate) = answer else { continue };
        match sayings.iter_mut().find(|(other, _)| *other == candidate) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => sayings.push((candidate, vec![endpoint])),
        }
    }
    match sayings.as_slice() {
        [(candidate, _)] => {
            let AnchorCandidate { height, hash, timestamp, toml, validators } = candidate;
            let data = json!({
                "height": height.0, "hash": hash.to_string(), "timestamp": timestamp.0, "validators": validators,
                "anchor": toml, "endpoints": endpoints,
            });
            Ok(Answer { data, text: format!("anchor = {toml}") })
        }
        [] => {
            let errors = || answers.iter().filter_map(|answer| answer.answer.as_ref().err());
            if answers.is_empty() {
                return fail(Exit::Usage, "the chain's section names no node to ask".to_owned());
            }
            if let Some(NodeError::Refused(refusal)) = errors().find(|error| matches!(error, NodeError::Refused(_))) {
                return fail(Exit::Usage, format!("this block can be no anchor: {refusal}"));
            }
            let is_away = errors().all(|error| matches!(error, NodeError::Unreachable { .. }));
            let exit = if is_away { Exit::Unreachable } else { Exit::Unhealthy };
            fail(exit, "no node shows such a block".to_owned())
        }
        several => {
            let mut message = "the nodes disagree, so at least one of them is wrong or lies:".to_owned();
            for (candidate, endpoints) in several {
                // Writing to a string can't fail.
                let _ = write!(message, "\n{}: {}: {}", endpoints.join(", "), short(candidate), candidate.toml);
            }
            fail(Exit::Unhealthy, message)
        }
    }
}

fn endpoint_json(answer: &AnchorAnswer) -> Value {
    let AnchorAnswer { endpoint, is_own, answer } = answer;
    match answer {
        Ok(AnchorCandidate { height, hash, timestamp, toml, validators }) => json!({
            "endpoint": endpoint, "own": is_own, "height": height.0, "hash": hash.to_string(),
            "timestamp": timestamp.0, "validators": validators, "anchor": toml,
        }),
        Err(error) => json!({ "endpoint": endpoint, "own": is_own, "error": problem(error) }),
    }
}

/// Follows the chain and prints height and hash of the newest block that verifies.
pub(super) async fn verify(sources: &Sources, arguments: &AnchorArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let chain = check::one_chain(&layers, cityrelay_all::adapters(), &arguments.chain)?;
    let (client, source) = (chain.chain.client(), chain.chain.source());
    let mut state = chain.chain.anchor();
    let internal = |refusal| Failure::new(Exit::Internal, refusal);
    let anchor_height = client.trusted_height(&state).map_err(internal)?;
    let anchor_hash = client.trusted_hash(&state).map_err(internal)?;
    let tip = source.tip().await?;
    let last = arguments.to.map_or(tip, |to| tip.min(Height(to)));
    let mut set_changes = Vec::new();
    let mut waits = None;
    let mut progress = Progress::new();
    loop {
        let height = client.trusted_height(&state).map_err(internal)?;
        if height >= last {
            break;
        }
        progress.step(format_args!("{}: verified up to block {height} of {last}", chain.name));
        let wanted = last.0.saturating_sub(height.0).min(u64::from(UPDATE_HEADERS));
        let wanted = u32::try_from(wanted).unwrap_or(UPDATE_HEADERS);
        let Some(served) = source.next_update(height, wanted).await? else { break };
        match client.verify_update(chain.domain, &state, &served.update, unix_millis()) {
            VerifiedUpdate::Advanced { state: next, set_changes: changes, .. } => {
                state = next;
                set_changes.extend(changes);
            }
            VerifiedUpdate::HeldBack { state: next, set_changes: changes, reason, .. } => {
                set_changes.extend(changes);
                let moved = client.trusted_height(&next).map_err(internal)?;
                state = next;
                if moved == height {
                    waits = Some(reason);
                    break;
                }
            }
            VerifiedUpdate::Refused(refusal) => {
                source.report_lie(&served.endpoint, refusal.check);
                let problem = format!(
                    "{} served headers after block {height} that do not verify: {refusal}; either the anchor is not of \
                     this chain, or the node lies",
                    served.endpoint
                );
                return Err(Failure::new(Exit::Unhealthy, problem));
            }
        }
    }
    drop(progress);
    let height = client.trusted_height(&state).map_err(internal)?;
    let hash = client.trusted_hash(&state).map_err(internal)?;
    if let Some(reason) = waits {
        say(format_args!("headers after block {height} are held back: {reason}"));
    }
    let domain = Domain::derive(&chain.name, anchor_hash);
    let changes: Vec<u64> = set_changes.iter().map(|height| height.0).collect();
    let data = json!({
        "anchor": {"height": anchor_height.0, "hash": anchor_hash.to_string()},
        "verified": {"height": height.0, "hash": hash.to_string()},
        "tip": tip.0, "set_changes": changes, "held_back": waits.map(|reason| reason.to_string()),
        "derived_domain": domain.to_string(),
    });
    let text = format!(
        "anchor {anchor_height} {anchor_hash}\nverified {height} {hash}\ntip {tip}\nset changes {}\ndomain derived from \
         name and anchor {domain}",
        if changes.is_empty() { "none".to_owned() } else { format!("after {changes:?}") }
    );
    if height < last && waits.is_some() {
        let message = format!("blocks {} to {last} could not be verified", height.next());
        return Err(Failure { exit: Exit::Unhealthy, message, details: data, text });
    }
    Ok(Answer { data, text })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use cityrelay_core::hash::Hash32;
    use cityrelay_core::ids::UnixMillis;
    use cityrelay_core::light_client::Refusal;

    use super::*;

    fn candidate(hash: u8) -> AnchorCandidate {
        AnchorCandidate {
            height: Height(30),
            hash: Hash32([hash; 32]),
            timestamp: UnixMillis(5000),
            toml: format!("{{ height = 30, hash = \"{}\" }}", Hash32([hash; 32])),
            validators: 4,
        }
    }

    fn said(endpoint: &str, answer: Result<AnchorCandidate, NodeError>) -> AnchorAnswer {
        AnchorAnswer { endpoint: endpoint.to_owned(), is_own: endpoint == "own", answer }
    }

    fn away(endpoint: &str) -> AnchorAnswer {
        let error = NodeError::Unreachable { endpoint: endpoint.to_owned(), reason: "refused".to_owned() };
        said(endpoint, Err(error))
    }

    #[test]
    fn nodes_that_agree_give_the_line_for_the_section() {
        let answer = judge(&[said("own", Ok(candidate(1))), away("gone"), said("other", Ok(candidate(1)))]).unwrap();
        assert_eq!(answer.text, format!("anchor = {{ height = 30, hash = \"{}\" }}", Hash32([1; 32])));
        assert_eq!(answer.data["height"], 30);
        assert_eq!(answer.data["hash"], Hash32([1; 32]).to_string());
        assert_eq!(answer.data["validators"], 4);
        assert_eq!(answer.data["anchor"], candidate(1).toml);
        assert_eq!(answer.data["endpoints"][0]["own"], true);
        assert_eq!(answer.data["endpoints"][1]["endpoint"], "gone");
        assert_eq!(answer.data["endpoints"][1]["error"], "not reachable: refused");
    }

    #[test]
    fn nodes_that_disagree_are_named_with_what_they_say() {
        let answers = [said("own", Ok(candidate(1))), said("a", Ok(candidate(2))), said("b", Ok(candidate(1)))];
        let failure = judge(&answers).unwrap_err();
        assert_eq!((failure.exit, failure.text.as_str()), (Exit::Unhealthy, ""));
        let (one, two) = (Hash32([1; 32]), Hash32([2; 32]));
        assert!(
            failure.message.contains(&format!("\nown, b: block 30 {one} with 4 validators")),
            "{}",
            failure.message
        );
        assert!(failure.message.contains(&format!("\na: block 30 {two} with 4 validators")), "{}", failure.message);
        assert_eq!(failure.details["endpoints"].as_array().unwrap().len(), 3);
        // Another set, or another time, at the same hash is a difference too.
        let other = AnchorCandidate { toml: "{ height = 30 }".to_owned(), ..candidate(1) };
        let failure = judge(&[said("own", Ok(candidate(1))), said("a", Ok(other))]).unwrap_err();
        assert_eq!(failure.exit, Exit::Unhealthy);
    }

    #[test]
    fn each_way_to_have_no_answer_has_its_exit_code() {
        assert_eq!(judge(&[away("own"), away("other")]).unwrap_err().exit, Exit::Unreachable);
        let malformed =
            NodeError::Malformed { endpoint: "a".to_owned(), method: "m".to_owned(), expected: "b".to_owned() };
        assert_eq!(judge(&[away("own"), said("a", Err(malformed))]).unwrap_err().exit, Exit::Unhealthy);
        let refusal = Refusal::new("anchor-height", "block 0", 7_u64);
        let failure = judge(&[said("own", Err(refusal.into())), away("other")]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("anchor-height"), "{}", failure.message);
        assert_eq!(judge(&[]).unwrap_err().exit, Exit::Usage);
    }

    fn layers(section: Value) -> Layers {
        let tree = json!({ "chains": { "a": section } });
        Layers { tree, origins: Default::default(), base: PathBuf::from("/"), faults: Vec::new() }
    }

    #[test]
    fn only_a_section_without_an_anchor_gets_the_placeholder() {
        let adapters = cityrelay_all::adapters();
        assert!(adapters.len() >= 2);
        for adapter in adapters {
            let mut missing = layers(json!({ "adapter": adapter.name() }));
            insert_placeholder(&mut missing, adapters, "a");
            assert!(missing.tree["chains"]["a"]["anchor"]["hash"].is_string(), "{}", adapter.name());
            let mut given = layers(json!({ "adapter": adapter.name(), "anchor": 7 }));
            insert_placeholder(&mut given, adapters, "a");
            assert_eq!(given.tree["chains"]["a"]["anchor"], 7);
        }
        let mut unknown = layers(json!({ "adapter": "none" }));
        insert_placeholder(&mut unknown, adapters, "a");
        insert_placeholder(&mut unknown, adapters, "b");
        assert_eq!(unknown.tree, json!({ "chains": { "a": { "adapter": "none" } } }));
    }
}
