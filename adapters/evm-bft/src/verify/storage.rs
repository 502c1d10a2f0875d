//! Storage slots, proved from a state root.

use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::light_client::Refusal;

use super::reading::rlp_refusal;
use super::rules::ContractLayout;
use super::set::ValidatorSet;
use super::update::SetProof;
use crate::codec::account::Account;
use crate::codec::extra::MAX_VALIDATORS;
use crate::codec::rlp;
use crate::codec::trie_proof::{TrieError, verify_proof};

/// The nodes of a path, from the root down.
pub type PathNodes = Vec<Vec<u8>>;

/// The storage root of a contract.
///
/// Checks, in order: `proof-account` (the path from the state root holds), `account-absent`, `proof-account` again for
/// an account that is not RLP `[nonce, balance, storage root, code hash]`.
pub(crate) fn prove_storage_root(state_root: Hash32, account: Account, nodes: &PathNodes) -> Result<Hash32, Refusal> {
    let key = keccak256(&account.0);
    let value =
        verify_proof(state_root, key.as_bytes(), nodes).map_err(|error| trie_refusal("proof-account", error))?;
    let value = value.ok_or_else(|| Refusal::new("account-absent", account.to_address(), "no such account"))?;
    let items = rlp::decode(&value).and_then(rlp::Item::exactly::<4>);
    let root = items.and_then(|[_, _, root, _]| root.fixed());
    root.map(Hash32).map_err(|error| rlp_refusal("proof-account", error))
}

/// The word in a slot; zero where the slot is absent.
///
/// Checks `proof-storage`: the path from the storage root holds, and its value is a canonical number of at most 32
/// bytes.
pub(crate) fn prove_slot(storage_root: Hash32, slot: Hash32, nodes: &PathNodes) -> Result<Hash32, Refusal> {
    let key = keccak256(slot.as_bytes());
    let value =
        verify_proof(storage_root, key.as_bytes(), nodes).map_err(|error| trie_refusal("proof-storage", error))?;
    let Some(value) = value else { return Ok(Hash32::ZERO) };
    let number = rlp::decode(&value).and_then(rlp::Item::bytes).map_err(|error| rlp_refusal("proof-storage", error))?;
    let mut word = [0; 32];
    let start = word.len().checked_sub(number.len());
    match start.and_then(|start| word.get_mut(start..)) {
        Some(tail) if number.first().is_some_and(|byte| *byte != 0) => tail.copy_from_slice(number),
        _ => return Err(Refusal::new("proof-storage", "a number of 1 to 32 bytes", number)),
    }
    Ok(Hash32(word))
}

/// The validator set in a contract's storage after the block with this state root, ascending.
///
/// Checks, in order: those of the paths, `set-size` (1 to [`MAX_VALIDATORS`], as many paths as items), `set-item` (each
/// item an address), `set-members` (no address twice).
pub(super) fn prove_set(
    layout: &ContractLayout,
    state_root: Hash32,
    proof: &SetProof,
) -> Result<ValidatorSet, Refusal> {
    let root = prove_storage_root(state_root, layout.address, &proof.account)?;
    let Some((length_path, item_paths)) = proof.slots.split_first() else {
        return Err(Refusal::new("set-size", "a path to the length", 0_u64));
    };
    let length = prove_slot(root, layout.length_slot, length_path)?;
    let length = length.to_u64().and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|length| (1..=MAX_VALIDATORS).contains(length)) else {
        return Err(Refusal::new("set-size", MAX_VALIDATORS, length.unwrap_or(usize::MAX)));
    };
    if item_paths.len() != length {
        return Err(Refusal::new("set-size", length, item_paths.len()));
    }
    let mut accounts = Vec::with_capacity(length);
    for (index, path) in item_paths.iter().enumerate() {
        let slot = layout.item_slot(index).ok_or_else(|| Refusal::new("set-size", "slots that exist", index))?;
        let word = prove_slot(root, slot, path)?;
        let account = Account::from_word_tail(&word);
        if word == Hash32::ZERO || account.to_address().0 != word {
            return Err(Refusal::new("set-item", "an address", word));
        }
        accounts.push(account);
    }
    ValidatorSet::of_accounts(&accounts).map_err(|_| Refusal::new("set-members", "every address once", length))
}

/// Turns what is wrong with a trie proof into a refusal by `check`.
pub(crate) fn trie_refusal(check: &'static str, error: TrieError) -> Refusal {
    match error {
        TrieError::Missing { expected } => Refusal::new(check, expected, "the end of the proof"),
        TrieError::NodeHash { expected, got } => Refusal::new(check, expected, got),
        TrieError::Unused { expected, got } => Refusal::new(check, expected, got),
        TrieError::Rlp(error) => rlp_refusal(check, error),
        TrieError::Node => Refusal::new(check, "a branch, an extension or a leaf", "something else"),
    }
}
