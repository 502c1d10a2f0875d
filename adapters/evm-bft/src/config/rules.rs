//! The part of the section that the light client follows.

use std::collections::BTreeMap;
use std::time::Duration;

use cityrelay_core::hash::{Hash32, keccak256};
use serde_json::Value;

use super::reader::{Faults, Table, account, validator, word};
use crate::verify::mode::{MODES, Mode, ModeTable};
use crate::verify::rules::{ContractLayout, EpochVotes, Rules};
use crate::verify::set::{Validator, ValidatorSet};
use crate::verify::state::State;
use crate::verify::tally::Vote;

const DEFAULT_TRUSTING_PERIOD: Duration = Duration::from_secs(14 * 86_400);
const DEFAULT_CLOCK_DRIFT: Duration = Duration::from_secs(10);

pub(super) fn read_rules(table: &Table<'_>, faults: &mut Faults) -> Option<Rules> {
    let modes = read_modes(table, faults);
    let epochs = read_epochs(table, faults);
    let epoch_votes =
        table.optional("epoch_votes", "\"counted\" or \"ignored\"", EpochVotes::Counted, faults, |value| {
            match value.as_str()? {
                "counted" => Some(EpochVotes::Counted),
                "ignored" => Some(EpochVotes::Ignored),
                _ => None,
            }
        });
    let contracts = read_contracts(table, faults);
    let overrides = read_overrides(table, modes.as_ref(), faults);
    let trusting_period = table.duration("trusting_period", DEFAULT_TRUSTING_PERIOD, faults);
    let max_clock_drift = table.duration("max_clock_drift", DEFAULT_CLOCK_DRIFT, faults);
    let modes = modes?;
    let has_contract = table.has("validator_contract") || table.has("validator_contracts");
    if modes.contains(Mode::QbftContract) && !has_contract {
        faults
            .push("validator_contract", "missing: expected a table with the address, since mode qbft-contract is used");
    }
    let (epochs, contracts) = (epochs?, contracts?);
    Some(Rules { modes, epochs, epoch_votes, overrides, contracts, trusting_period, max_clock_drift })
}

/// `epoch_length`, or `epoch_lengths` of a chain that changed it.
fn read_epochs(table: &Table<'_>, faults: &mut Faults) -> Option<BTreeMap<u64, u64>> {
    if !table.has("epoch_lengths") {
        return table.number("epoch_length", 1, faults).map(|length| BTreeMap::from([(0, length)]));
    }
    if table.has("epoch_length") {
        faults.push("epoch_length", "expected `epoch_length` or `epoch_lengths`, got both");
        return None;
    }
    let epochs = read_ascending(table, "epoch_lengths", faults, |entry, faults| entry.number("length", 1, faults))?;
    if !epochs.contains_key(&0) {
        faults.push("epoch_lengths", "expected the first length from block 0 on");
        return None;
    }
    Some(epochs)
}

/// `validator_contract`, or `validator_contracts` of a chain that changed it; empty where there is none.
fn read_contracts(table: &Table<'_>, faults: &mut Faults) -> Option<BTreeMap<u64, ContractLayout>> {
    if table.has("validator_contract") && table.has("validator_contracts") {
        faults.push("validator_contract", "expected `validator_contract` or `validator_contracts`, got both");
        return None;
    }
    if table.has("validator_contracts") {
        return read_ascending(table, "validator_contracts", faults, read_layout);
    }
    match table.table("validator_contract", faults, |table, faults| read_layout(&table, faults)) {
        Some(layout) => layout.map(|layout| BTreeMap::from([(0, layout)])),
        None => Some(BTreeMap::new()),
    }
}

/// A list of tables, each with the first block that it holds for.
fn read_ascending<T>(
    table: &Table<'_>,
    name: &str,
    faults: &mut Faults,
    read: impl Fn(&Table<'_>, &mut Faults) -> Option<T>,
) -> Option<BTreeMap<u64, T>> {
    let entries = table.tables(name, faults, |entry, faults| {
        let from = entry.number("from", 0, faults);
        from.zip(read(&entry, faults))
    });
    let entries: Vec<_> = entries.into_iter().collect::<Option<_>>()?;
    let heights: Vec<_> = entries.iter().map(|(from, _)| *from).collect();
    if entries.is_empty() || !heights.is_sorted_by(|before, after| before < after) {
        faults.push(table.key(name), "expected at least one entry, and ascending heights");
        return None;
    }
    Some(entries.into_iter().collect())
}

fn read_mode(table: &Table<'_>, name: &str, faults: &mut Faults) -> Option<Mode> {
    let names: Vec<_> = MODES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    table.required(name, &names.join(", "), faults, |value| Mode::from_name(value.as_str()?))
}

fn read_modes(table: &Table<'_>, faults: &mut Faults) -> Option<ModeTable> {
    match (table.has("mode"), table.has("modes")) {
        (true, true) => {
            faults.push("mode", "expected `mode` or `modes`, got both");
            None
        }
        (true, false) => ModeTable::new(&[(0, read_mode(table, "mode", faults)?)]).ok(),
        (false, false) => {
            faults.push("mode", "missing: expected `mode`, or `modes` for a chain that changed it");
            None
        }
        (false, true) => {
            let entries = table.tables("modes", faults, |entry, faults| {
                let from = entry.number("from", 0, faults);
                from.zip(read_mode(&entry, "mode", faults))
            });
            let entries: Vec<_> = entries.into_iter().collect::<Option<_>>()?;
            match ModeTable::new(&entries) {
                Ok(table) => Some(table),
                Err(error) => {
                    faults.push("modes", error.to_string());
                    None
                }
            }
        }
    }
}

fn read_layout(table: &Table<'_>, faults: &mut Faults) -> Option<ContractLayout> {
    let address = table.required("address", "an address", faults, account);
    let slot = |value: &Value| value.as_u64().map(Hash32::from_u64).or_else(|| word(value));
    let expected = "an integer or 32 bytes of hex";
    let length_slot = table.optional("length_slot", expected, Hash32::ZERO, faults, slot);
    let first = keccak256(length_slot.as_bytes());
    let items_slot = table.optional("items_slot", "32 bytes of hex", first, faults, word);
    Some(ContractLayout { address: address?, length_slot, items_slot })
}

fn read_overrides(table: &Table<'_>, modes: Option<&ModeTable>, faults: &mut Faults) -> BTreeMap<u64, ValidatorSet> {
    let mut overrides = BTreeMap::new();
    let entries = table.tables("overrides", faults, |entry, faults| {
        let height = entry.number("height", 1, faults);
        let set = entry.validators("validators", faults);
        let key = entry.key("height");
        height.zip(set).map(|(height, set)| (height, set, key))
    });
    for (height, set, key) in entries.into_iter().flatten() {
        let keeps_order = modes.is_some_and(|modes| modes.at(height).is_edge());
        let Some(set) = to_set(set, keeps_order, &key, faults) else { continue };
        if overrides.insert(height, set).is_some() {
            faults.push(key, format!("expected each height once, got {height} twice"));
        }
    }
    overrides
}

fn to_set(members: Vec<Validator>, keeps_order: bool, key: &str, faults: &mut Faults) -> Option<ValidatorSet> {
    match ValidatorSet::new(members) {
        Ok(set) => Some(if keeps_order { set } else { set.sorted() }),
        Err(error) => {
            faults.push(key, error.to_string());
            None
        }
    }
}

/// The trusted state of the anchor.
pub(super) fn read_anchor(table: &Table<'_>, rules: Option<&Rules>, faults: &mut Faults) -> Option<State> {
    if !table.has("anchor") {
        faults
            .push("anchor", "missing: expected a table with height, hash and validators of a block that you vouch for");
    }
    table.table("anchor", faults, |anchor, faults| read_anchor_table(&anchor, rules, faults)).flatten()
}

fn read_anchor_table(anchor: &Table<'_>, rules: Option<&Rules>, faults: &mut Faults) -> Option<State> {
    let height = anchor.number("height", 0, faults);
    let hash = anchor.required("hash", "32 bytes of hex", faults, word);
    let timestamp = anchor.optional("timestamp", "seconds since 1970", 0, faults, Value::as_u64);
    let members = anchor.validators("validators", faults);
    let votes = anchor.tables("pending_votes", faults, |vote, faults| {
        let voter = vote.required("voter", "an address", faults, account);
        let candidate = vote.required("candidate", "an address, or { address, bls_key }", faults, validator);
        let is_add = vote.required("add", "true or false", faults, Value::as_bool);
        Some(Vote { voter: voter?, candidate: candidate?, is_add: is_add? })
    });
    let (height, rules) = (height?, rules?);
    let mode = rules.modes.at(height.saturating_add(1));
    let set = to_set(members?, mode.is_edge(), &anchor.key("validators"), faults)?;
    if (mode == Mode::EdgeBls) != set.members().iter().all(|member| member.bls_key.is_some()) {
        faults.push(
            anchor.key("validators"),
            "expected a BLS key with each validator under edge-bls, and none elsewhere",
        );
    }
    let has_votes = anchor.has("pending_votes") || mode == Mode::QbftContract;
    if !has_votes && !rules.is_epoch_block(height) {
        faults.push(
            anchor.key("height"),
            format!(
                "expected block 0, a multiple of epoch_length ({}), or `pending_votes` beside it, got {height}",
                rules.epoch_length_at(height)
            ),
        );
    }
    let votes: Vec<_> = votes.into_iter().collect::<Option<_>>()?;
    if let Some(stranger) = votes.iter().find(|vote| !set.contains(vote.voter)) {
        faults
            .push(anchor.key("pending_votes"), format!("expected votes of validators, got one of {}", stranger.voter));
    }
    let set = rules.overrides.get(&height.saturating_add(1)).cloned().unwrap_or(set);
    Some(State::anchor(height, hash?, timestamp, set, votes))
}
