//! Recordings: what nodes answered, in one JSON file, taken apart and checked without a network.
//!
//! The form is that of `vectors/evm-live`: `blocks`, each with `block` (`eth_getBlockByNumber` with full transactions)
//! and where recorded `receipts`, `proof` (`eth_getProof` of a contract), `validators` (the set after the block, as the
//! node says) and `validator_contract_proof`. Other fields are provenance and are passed over: the configuration decides.

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::{Header, Refusal};
use serde_json::Value;

use crate::codec::header::Header as BlockHeader;
use crate::codec::json::{self, AccountProof, JsonError};
use crate::codec::ordered_trie::root_of;
use crate::codec::receipt::Receipt;
use crate::codec::transaction::{may_be_private, read_transaction};
use crate::codec::trie_proof::EMPTY_ROOT;
use crate::verify::client::hash_of;
use crate::verify::head::Detail;
use crate::verify::mode::Mode;
use crate::verify::rules::{ContractLayout, Rules};
use crate::verify::set::ValidatorSet;
use crate::verify::storage::{prove_slot, prove_storage_root};
use crate::verify::update::{SetProof, Update, UpdateItem};

/// The most blocks in one recording.
pub const MAX_RECORDED_BLOCKS: usize = 65_536;

/// The most transactions of one block that are read.
pub const MAX_TRANSACTIONS: usize = 65_536;

/// One recorded block.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// Its height.
    pub height: Height,
    /// Its time in seconds.
    pub timestamp: u64,
    /// The update with its header alone.
    pub update: Update,
    /// Why its header can't be verified: it has items of a fork that is not known here (`header-fork`).
    pub refusal: Option<Refusal>,
    /// Everything recorded at that height.
    pub body: &'a Value,
}

/// Takes a recording apart, from the block that follows height `anchor` on.
///
/// # Errors
/// `recording-form` for JSON of another form, `recording-order` unless the heights ascend by one, `recording-gap` when
/// the first block after the anchor is missing.
pub fn read_steps<'a>(rules: &Rules, anchor: u64, recording: &'a Value) -> Result<Vec<Step<'a>>, Refusal> {
    let blocks = json::list(recording, "blocks", MAX_RECORDED_BLOCKS).map_err(form_refusal)?;
    let mut steps = Vec::new();
    let mut before: Option<u64> = None;
    for body in blocks {
        let block = part(body, "block")?;
        let (header, hash) = json::read_header(block).map_err(form_refusal)?;
        let height = header.number;
        if let Some(expected) = before.and_then(|before| before.checked_add(1))
            && expected != height
        {
            return Err(Refusal::new("recording-order", expected, height).at(Height(height)));
        }
        before = Some(height);
        if height <= anchor {
            continue;
        }
        if steps.is_empty() && height != anchor + 1 {
            return Err(Refusal::new("recording-gap", anchor + 1, height).at(Height(height)));
        }
        let set_proof = recorded_set_proof(rules, height, body)?;
        let update = Update { items: vec![UpdateItem { header: header.encode(), hash, set_proof }] };
        let (height, timestamp) = (Height(height), header.timestamp);
        let refusal = unknown_fork(rules, block, &header, hash).map(|refusal| refusal.at(height));
        steps.push(Step { height, timestamp, update, refusal, body });
    }
    Ok(steps)
}

/// A header that hashes to something else than the node named, and whose block has fields that are not known here.
fn unknown_fork(rules: &Rules, block: &Value, header: &BlockHeader, named: Hash32) -> Option<Refusal> {
    if hash_of(rules, header).is_ok_and(|hash| hash == named) {
        return None;
    }
    let unknown = json::unknown_fields(block).len();
    (unknown > 0).then(|| Refusal::new("header-fork", "only fields of forks known here", unknown))
}

/// Checks what was recorded of a block besides its header; gives the number of checks made.
///
/// Checks, in order, each where it was recorded: `recorded-hash`; `recorded-receipts` (root; see [`public_values`]); `recorded-transactions`
/// (root, when all are of known types and in full); `recorded-proof` (each slot has the value that the node named);
/// `recorded-validators` (the node's set after the block is ours; not under Edge, whose nodes answer for another
/// height). `recording-form` for JSON of another form.
///
/// # Errors
/// The first [`Refusal`].
pub fn verify_body(rules: &Rules, header: &Header, body: &Value) -> Result<u64, Refusal> {
    let detail = Detail::decode(&header.detail)?;
    let at = |refusal: Refusal| refusal.at(header.height);
    let block = part(body, "block")?;
    let mut checks = 0;
    let (_, hash) = json::read_header(block).map_err(form_refusal)?;
    expect("recorded-hash", header.hash, hash, &mut checks).map_err(at)?;
    if json::field(body, "receipts").is_some() {
        let receipts = json::list(body, "receipts", MAX_TRANSACTIONS).map_err(form_refusal)?;
        let receipts: Result<Vec<_>, _> = receipts.iter().map(json::read_receipt).collect();
        let receipts = receipts.map_err(form_refusal)?;
        let root = root_of(&receipts.iter().map(Receipt::encode).collect::<Vec<_>>());
        let is_private =
            root != detail.receipts_root && root_of(&public_values(block, &receipts)) == detail.receipts_root;
        let root = if is_private { detail.receipts_root } else { root };
        expect("recorded-receipts", detail.receipts_root, root, &mut checks).map_err(at)?;
    }
    if let Some(root) = recorded_transactions_root(block)? {
        expect("recorded-transactions", detail.transactions_root, root, &mut checks).map_err(at)?;
    }
    if let Some(proof) = json::field(body, "proof") {
        let proof = json::read_account_proof(proof).map_err(form_refusal)?;
        checks += verify_recorded_proof(detail.state_root, &proof).map_err(at)?;
    }
    let is_comparable = !rules.modes.at(header.height.0).is_edge() && detail.set_digest != Hash32::ZERO;
    if is_comparable && json::field(body, "validators").is_some() {
        let set = recorded_set(body)?;
        expect("recorded-validators", detail.set_digest, set.digest(), &mut checks).map_err(at)?;
    }
    Ok(checks)
}

/// The values of the receipts trie where the node is party to private transactions of GoQuorum and showed their own receipts
/// instead of the public ones: to be tried where the root differs. `block` has its transactions in full.
#[must_use]
pub(crate) fn public_values(block: &Value, receipts: &[Receipt]) -> Vec<Vec<u8>> {
    let transaction = |at| block.get("transactions").and_then(|transactions| transactions.get(at));
    let value = |(at, receipt): (usize, &Receipt)| match transaction(at) {
        Some(transaction) if may_be_private(transaction) => receipt.public_of_private().encode(),
        _ => receipt.encode(),
    };
    receipts.iter().enumerate().map(value).collect()
}

/// Picks the length and the items out of an `eth_getProof` answer about a validator contract.
///
/// # Errors
/// `recording-form` when the length or an item has no path in it.
pub fn pick_set_proof(layout: &ContractLayout, answer: &AccountProof) -> Result<SetProof, Refusal> {
    let path = |key: Hash32| answer.slots.iter().find(|slot| slot.key == key);
    let missing = || Refusal::new("recording-form", "a path to each item of the validator contract", "fewer");
    let length = path(layout.length_slot).ok_or_else(missing)?;
    let mut slots = vec![length.nodes.clone()];
    for index in 0..length.value.to_u64().and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX) {
        let item = layout.item_slot(index).and_then(path).ok_or_else(missing)?;
        slots.push(item.nodes.clone());
    }
    Ok(SetProof { account: answer.account_nodes.clone(), slots })
}

fn recorded_set_proof(rules: &Rules, height: u64, body: &Value) -> Result<Option<SetProof>, Refusal> {
    let next = height.saturating_add(1);
    let is_needed = rules.modes.at(next) == Mode::QbftContract;
    match (is_needed, rules.contract_for(next), json::field(body, "validator_contract_proof")) {
        (true, Some(layout), Some(answer)) => {
            let answer = json::read_account_proof(answer).map_err(form_refusal)?;
            pick_set_proof(layout, &answer).map(Some)
        }
        _ => Ok(None),
    }
}

fn recorded_transactions_root(block: &Value) -> Result<Option<Hash32>, Refusal> {
    let Some(_) = json::field(block, "transactions") else { return Ok(None) };
    let transactions = json::list(block, "transactions", MAX_TRANSACTIONS).map_err(form_refusal)?;
    if transactions.iter().any(|transaction| !transaction.is_object()) {
        return Ok(None);
    }
    let values: Result<Option<Vec<_>>, _> = transactions.iter().map(read_transaction).collect();
    Ok(values.map_err(form_refusal)?.map(|values| root_of(&values)))
}

fn verify_recorded_proof(state_root: Hash32, proof: &AccountProof) -> Result<u64, Refusal> {
    let root = match prove_storage_root(state_root, proof.account, &proof.account_nodes) {
        // Proved absent: nothing was deployed there yet, and every slot is empty.
        Err(refusal) if refusal.check == "account-absent" => EMPTY_ROOT,
        other => other?,
    };
    let mut checks = 1;
    for slot in &proof.slots {
        let value = prove_slot(root, slot.key, &slot.nodes)?;
        expect("recorded-proof", value, slot.value, &mut checks)?;
    }
    Ok(checks)
}

fn recorded_set(body: &Value) -> Result<ValidatorSet, Refusal> {
    let listed = json::list(body, "validators", crate::codec::extra::MAX_VALIDATORS).map_err(form_refusal)?;
    let accounts: Result<Vec<_>, _> =
        listed.iter().map(|item| json::fixed_value(item, "validators").map(crate::codec::account::Account)).collect();
    let set = ValidatorSet::of_accounts(&accounts.map_err(form_refusal)?);
    set.map_err(|_| Refusal::new("recording-form", "1 to 256 distinct validators", listed.len()))
}

fn expect(check: &'static str, expected: Hash32, got: Hash32, checks: &mut u64) -> Result<(), Refusal> {
    *checks += 1;
    if expected == got { Ok(()) } else { Err(Refusal::new(check, expected, got)) }
}

fn part<'a>(body: &'a Value, name: &'static str) -> Result<&'a Value, Refusal> {
    json::field(body, name).ok_or_else(|| Refusal::new("recording-form", name, "nothing there"))
}

fn form_refusal(error: JsonError) -> Refusal {
    Refusal::new("recording-form", error.expected, error.field)
}
