//! `anchor verify`: from the configured anchor to the newest block, with the light client's own eyes.

use cityrelay_core::ids::{Domain, Height};
use cityrelay_core::verify::VerifiedUpdate;
use serde_json::json;

use super::answer::{Answer, Exit, Failure, say};
use super::arguments::AnchorArguments;
use crate::clock::unix_millis;
use crate::config::{Layers, Sources, check};

/// Headers asked for at once.
const UPDATE_HEADERS: u32 = 256;

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
    loop {
        let height = client.trusted_height(&state).map_err(internal)?;
        if height >= last {
            break;
        }
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
