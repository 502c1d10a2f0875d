//! Changes of the sealer set: what vouches for them, and the replay of the calls that made them.
//!
//! Consensus does not vouch for the list in a header: replicas check it only while they sync, so one bad leader can have
//! any list signed. A set is therefore adopted only when somebody who is believed said so (a
//! [`cityrelay_core::light_client::SetStatement`]), and what can be checked is checked besides.

use std::collections::BTreeSet;

use alloy_primitives::U256;
use alloy_sol_types::{SolType, sol_data};
use cityrelay_core::light_client::Refusal;

use super::sealer_set::{Sealer, SealerSet};
use super::state::Roots;
use super::update::{SetCall, SetChangeEvidence};
use crate::codec::json::public_key;
use crate::codec::merkle;
use crate::codec::suite::{CryptoSuite, PublicKey};

/// The consensus contract (`PrecompiledTypeDef.h`, `CONSENSUS_ADDRESS`).
pub const CONSENSUS_CONTRACT: &str = "0000000000000000000000000000000000001003";

/// Whether a transaction with this `to` calls the consensus contract.
///
/// `to` is hashed as it was signed, and wallets sign two forms: the Java and Python SDKs the bare digits
/// (`PrecompiledAddress.java`, `precompile_def.py`), others `0x` before them. Nodes take a lower-case `0x` away and nothing
/// else (`BlockExecutive.cpp:preprocessAddress`, v3.0.0 to v3.16.4); the digits have no letter, hence no case.
#[must_use]
pub fn is_consensus_contract(to: &str) -> bool {
    to.strip_prefix("0x").unwrap_or(to) == CONSENSUS_CONTRACT
}

type NodeOnly = (sol_data::String,);
type NodeAndNumber = (sol_data::String, sol_data::Uint<256>);
type NodeAndTwoNumbers = (sol_data::String, sol_data::Uint<256>, sol_data::Uint<256>);

/// Whether more than the faulty weight of the old set signed the first header of the new one. An honest chain may have less:
/// nodes keep no more signatures than a quorum, which after some changes the newcomers have alone.
#[must_use]
pub fn has_old_support(old: &SealerSet, signers: &BTreeSet<PublicKey>) -> bool {
    signers.iter().fold(0_u64, |sum, id| sum.saturating_add(old.weight_of(id))) > old.max_faulty()
}

/// Whether the calls of `evidence`, found in the block with `roots` and replayed on `old`, give exactly `new`. An honest
/// chain may have changed its set by other means besides.
///
/// # Errors
/// `set-change-roots` when the lists are not those of the block, `set-change-call` for a call that is not where it is
/// said to be or is not a call of the consensus contract.
pub fn is_explained_by(
    suite: CryptoSuite,
    roots: &Roots,
    old: &SealerSet,
    new: &SealerSet,
    evidence: &SetChangeEvidence,
) -> Result<bool, Refusal> {
    for (list, root) in [(&evidence.transaction_hashes, roots.transactions), (&evidence.receipt_hashes, roots.receipts)]
    {
        let got = merkle::root(suite, list);
        if got != root {
            return Err(Refusal::new("set-change-roots", root, got));
        }
    }
    let mut set = old.sealers().to_vec();
    let mut last = None;
    for call in &evidence.calls {
        if last.is_some_and(|last| call.position <= last) {
            return Err(Refusal::new("set-change-call", "positions that ascend", u64::from(call.position)));
        }
        last = Some(call.position);
        verify_call(suite, evidence, call)?;
        apply_call(suite, &mut set, call)?;
    }
    set.sort_by_key(|sealer| sealer.id);
    Ok(set == new.sealers())
}

fn verify_call(suite: CryptoSuite, evidence: &SetChangeEvidence, call: &SetCall) -> Result<(), Refusal> {
    let position = usize::try_from(call.position).unwrap_or(usize::MAX);
    for (list, hash) in [
        (&evidence.transaction_hashes, call.transaction.hash(suite)),
        (&evidence.receipt_hashes, call.receipt.hash(suite)),
    ] {
        let listed = list.get(position).copied().unwrap_or_default();
        if listed != hash {
            return Err(Refusal::new("set-change-call", listed, hash));
        }
    }
    if !is_consensus_contract(&call.transaction.to) {
        return Err(Refusal::new("set-change-call", CONSENSUS_CONTRACT, call.transaction.to.as_bytes()));
    }
    Ok(())
}

/// Applies a call as `ConsensusPrecompiled.cpp` does. A call that failed (status, or a result other than 0) does nothing.
fn apply_call(suite: CryptoSuite, set: &mut Vec<Sealer>, call: &SetCall) -> Result<(), Refusal> {
    if call.receipt.status != 0 || call.receipt.output != [0; 32] {
        return Ok(());
    }
    let input = &call.transaction.input;
    let Some((selector, arguments)) = input.split_first_chunk::<4>() else { return Ok(()) };
    let malformed = || Refusal::new("set-change-call", "arguments of the called function", input.as_slice());
    let is = |signature: &str| *selector == suite.selector(signature);
    if is("addSealer(string,uint256)") || is("setWeight(string,uint256)") {
        let (id, weight) = NodeAndNumber::abi_decode_params_validate(arguments).map_err(|_| malformed())?;
        put(set, node(&id)?, weight, is("addSealer(string,uint256)"))
    } else if is("addSealer(string,uint256,uint256)") {
        let (id, weight, _) = NodeAndTwoNumbers::abi_decode_params_validate(arguments).map_err(|_| malformed())?;
        put(set, node(&id)?, weight, true)
    } else if is("addObserver(string)") || is("remove(string)") {
        let (id,) = NodeOnly::abi_decode_params_validate(arguments).map_err(|_| malformed())?;
        let id = node(&id)?;
        set.retain(|sealer| sealer.id != id);
        Ok(())
    } else {
        // `setTermWeight` and whatever else there is changes no vote weight; if it did, the replay would not fit.
        Ok(())
    }
}

fn put(set: &mut Vec<Sealer>, id: PublicKey, weight: U256, may_add: bool) -> Result<(), Refusal> {
    let weight = u64::try_from(weight)
        .map_err(|_| Refusal::new("set-change-call", "a weight within 64 bits", "a larger one"))?;
    if let Some(sealer) = set.iter_mut().find(|sealer| sealer.id == id) {
        sealer.weight = weight;
    } else if may_add {
        set.push(Sealer { id, weight });
    }
    Ok(())
}

fn node(id: &str) -> Result<PublicKey, Refusal> {
    public_key(id, "node id").map_err(|_| Refusal::new("set-change-call", "a node id of 128 hex digits", id.as_bytes()))
}
