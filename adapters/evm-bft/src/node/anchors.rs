//! What each node says of a block as an anchor, as text for the section.

use std::sync::Arc;

use cityrelay_api::source::{AnchorAnswer, AnchorCandidate, NodeError};
use cityrelay_core::ids::{Height, UnixMillis};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::updates::set_proof_answer;
use crate::recording::pick_set_proof;
use crate::verify::anchor::{AnchorReading, needs_set_proof, newest_anchor_height, read_anchor, verify_anchor_height};
use crate::verify::mode::Mode;
use crate::verify::rules::Rules;
use crate::verify::set::Validator;
use crate::verify::tally::Vote;

/// Asks every endpoint. See [`cityrelay_api::source::Source::anchors`].
pub(super) async fn ask(endpoints: &[Arc<Endpoint>], rules: &Rules, at: Option<Height>) -> Vec<AnchorAnswer> {
    let heights = match at {
        Some(height) => vec![Ok(height.0); endpoints.len()],
        None => join_all(endpoints.iter().map(|endpoint| endpoint.height())).await,
    };
    // One that is far behind must still have the block.
    let lowest = heights.iter().filter_map(|height| height.as_ref().ok()).min().copied().unwrap_or(0);
    let height = if at.is_some() { lowest } else { newest_anchor_height(rules, lowest) };
    let asked = endpoints.iter().zip(heights).map(|(endpoint, tip)| async move {
        let answer = match tip {
            Ok(_) => candidate(endpoint, rules, height).await,
            Err(error) => Err(error),
        };
        AnchorAnswer { endpoint: endpoint.name.clone(), is_own: endpoint.is_own, answer }
    });
    join_all(asked).await
}

async fn candidate(endpoint: &Endpoint, rules: &Rules, height: u64) -> Result<AnchorCandidate, NodeError> {
    const METHOD: &str = "eth_getBlockByNumber";
    verify_anchor_height(rules, height)?;
    let block = endpoint.block(height, false).await?;
    if block.is_null() {
        return Err(endpoint.malformed(METHOD, &format!("block {height}, got none")));
    }
    let (header, claimed) = endpoint.read_header(height, &block)?;
    let set_proof = match rules.contract_for(height.saturating_add(1)) {
        Some(layout) if needs_set_proof(rules, height) => {
            let answer = set_proof_answer(endpoint, layout, height).await?;
            let proof = endpoint.read_proof(&answer, &layout.address)?;
            let picked = pick_set_proof(layout, &proof);
            Some(picked.map_err(|refusal| endpoint.malformed("eth_getProof", &refusal.to_string()))?)
        }
        _ => None,
    };
    let reading = read_anchor(rules, &header, claimed, set_proof.as_ref())
        .map_err(|refusal| endpoint.malformed(METHOD, &refusal.to_string()))?;
    Ok(AnchorCandidate {
        height: Height(reading.height),
        hash: reading.hash,
        timestamp: UnixMillis(reading.timestamp.saturating_mul(1000)),
        toml: to_toml(&reading),
        validators: reading.set.size(),
    })
}

/// The value of the section's `anchor`. A genesis block without a time gets none: it would be beyond any trusting period.
fn to_toml(reading: &AnchorReading) -> String {
    let timestamp = match reading.timestamp {
        0 => String::new(),
        seconds => format!("timestamp = {seconds}, "),
    };
    let members: Vec<_> = reading.set.members().iter().map(member_toml).collect();
    let votes: Vec<_> = reading.votes.iter().map(vote_toml).collect();
    let votes = if votes.is_empty() { String::new() } else { format!(", pending_votes = [{}]", votes.join(", ")) };
    format!(
        "{{ height = {}, hash = \"{}\", {timestamp}validators = [{}]{votes} }}",
        reading.height,
        reading.hash,
        members.join(", ")
    )
}

fn member_toml(member: &Validator) -> String {
    match &member.bls_key {
        None => format!("\"{}\"", member.account),
        Some(key) => format!("{{ address = \"{}\", bls_key = \"0x{}\" }}", member.account, hex::encode(key)),
    }
}

fn vote_toml(vote: &Vote) -> String {
    let candidate = member_toml(&vote.candidate);
    format!("{{ voter = \"{}\", candidate = {candidate}, add = {} }}", vote.voter, vote.is_add)
}

/// An anchor that no chain has, of the form that the section's modes want.
pub(super) fn placeholder(section: &Value) -> Value {
    let account = format!("0x{}", "01".repeat(20));
    let later = section.get("modes").and_then(Value::as_array).into_iter().flatten();
    let modes = later.filter_map(|entry| entry.get("mode")).chain(section.get("mode"));
    // A chain cannot change to or from this mode.
    let has_keys = modes.filter_map(Value::as_str).any(|name| Mode::from_name(name) == Some(Mode::EdgeBls));
    let member = if has_keys { json!({ "address": account, "bls_key": "01".repeat(48) }) } else { json!(account) };
    json!({ "height": 0, "hash": format!("0x{}", "00".repeat(32)), "validators": [member] })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cityrelay_core::hash::Hash32;

    use super::*;
    use crate::codec::account::Account;
    use crate::config::read_section;
    use crate::verify::mode::MODES;
    use crate::verify::set::ValidatorSet;

    fn reading(members: Vec<Validator>, votes: Vec<Vote>) -> AnchorReading {
        let set = ValidatorSet::new(members).unwrap();
        AnchorReading { height: 30, hash: Hash32([7; 32]), timestamp: 5, set, votes }
    }

    #[test]
    fn the_text_for_the_section_is_golden() {
        let one = Validator { account: Account([1; 20]), bls_key: None };
        let two = Validator { account: Account([2; 20]), bls_key: None };
        let vote = Vote { voter: one.account, candidate: two, is_add: true };
        let (one_hex, two_hex) = ("01".repeat(20), "02".repeat(20));
        let expected = format!(
            "{{ height = 30, hash = \"0x{}\", timestamp = 5, validators = [\"0x{one_hex}\"], pending_votes = \
             [{{ voter = \"0x{one_hex}\", candidate = \"0x{two_hex}\", add = true }}] }}",
            "07".repeat(32)
        );
        assert_eq!(to_toml(&reading(vec![one], vec![vote])), expected);

        let keyed = Validator { account: Account([1; 20]), bls_key: Some([3; 48]) };
        let expected = format!(
            "{{ height = 0, hash = \"0x{}\", validators = [{{ address = \"0x{one_hex}\", bls_key = \"0x{}\" }}] }}",
            "07".repeat(32),
            "03".repeat(48)
        );
        let genesis = AnchorReading { height: 0, timestamp: 0, ..reading(vec![keyed], vec![]) };
        assert_eq!(to_toml(&genesis), expected);
    }

    #[test]
    fn a_section_with_the_placeholder_has_no_fault_in_any_mode() {
        for (name, mode) in MODES {
            let mut section = json!({ "chain_id": 1, "mode": name, "epoch_length": 30 });
            if mode == Mode::QbftContract {
                section["validator_contract"] = json!({ "address": format!("0x{}", "c5".repeat(20)) });
            }
            section["anchor"] = placeholder(&section);
            assert!(read_section(&section, Path::new("/")).is_ok(), "{name}");
            section["modes"] = json!([{ "from": 0, "mode": name }]);
            section.as_object_mut().unwrap().remove("mode");
            section["anchor"] = placeholder(&section);
            assert!(read_section(&section, Path::new("/")).is_ok(), "{name}");
        }
    }
}
