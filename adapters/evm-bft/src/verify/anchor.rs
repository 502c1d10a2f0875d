//! What a block says of itself as an anchor: its hash as computed, the set that seals the next block, the votes pending
//! after it. Nobody has vouched for any of it; the operator compares it with others before it is configured.

use std::sync::Arc;

use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::Refusal;

use super::mode::Mode;
use super::reading::{read_genesis, read_header};
use super::rules::Rules;
use super::set::{Validator, ValidatorSet};
use super::span::{Span, set_refusal};
use super::state::State;
use super::storage::prove_set;
use super::tally::Vote;
use super::update::{SetProof, UpdateItem};
use crate::codec::header::Header;

/// A block as an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorReading {
    /// Its height.
    pub height: u64,
    /// Its hash, computed.
    pub hash: Hash32,
    /// Its time in seconds.
    pub timestamp: u64,
    /// The set that seals the next block.
    pub set: ValidatorSet,
    /// Votes pending after it: at most its own, where an epoch block's vote counts.
    pub votes: Vec<Vote>,
}

/// The newest block at or below `tip` that shows all an anchor needs: the last epoch block, and under a validator
/// contract `tip` itself, whose state nodes still have.
#[must_use]
pub fn newest_anchor_height(rules: &Rules, tip: u64) -> u64 {
    if needs_set_proof(rules, tip) { tip } else { rules.epoch_block_before(tip) }
}

/// Whether the set after this block is a contract's and must be proved.
#[must_use]
pub fn needs_set_proof(rules: &Rules, height: u64) -> bool {
    rules.modes.at(height.saturating_add(1)) == Mode::QbftContract
}

/// Checks that a block at this height shows all an anchor needs. Elsewhere votes of earlier blocks may be pending, which
/// no single header shows.
///
/// # Errors
/// `anchor-height`.
pub fn verify_anchor_height(rules: &Rules, height: u64) -> Result<(), Refusal> {
    if rules.is_epoch_block(height) || needs_set_proof(rules, height) {
        return Ok(());
    }
    Err(Refusal::new("anchor-height", "block 0 or a multiple of epoch_length", height).at(Height(height)))
}

/// Reads a header as an anchor; `claimed` is the hash that came with it, `set_proof` the contract's set after it.
///
/// Checks, in order: `anchor-height`; the layout of extraData; `set-proof-missing` where a contract keeps the set and
/// `anchor-set` where nothing shows it; `set-size`, `set-members`; then for block 0 `block-hash`, for others every check
/// of [`Span::append`] against the listed set. No seal is judged: whoever compares the hash with others needs none.
///
/// # Errors
/// The first [`Refusal`].
pub fn read_anchor(
    rules: &Rules,
    header: &Header,
    claimed: Hash32,
    set_proof: Option<&SetProof>,
) -> Result<AnchorReading, Refusal> {
    let height = header.number;
    verify_anchor_height(rules, height)?;
    let read = if height == 0 { from_genesis } else { from_header };
    read(rules, header, claimed, set_proof).map_err(|refusal| refusal.at(Height(height)))
}

fn from_genesis(
    rules: &Rules,
    header: &Header,
    claimed: Hash32,
    set_proof: Option<&SetProof>,
) -> Result<AnchorReading, Refusal> {
    let mode = rules.modes.at(0);
    let (hash, listed) = read_genesis(mode, header)?;
    let set = match proved(rules, header, set_proof)? {
        Some(set) => set,
        None => listed_set(mode, listed)?,
    };
    // Without the mark of its engine a header is hashed as on any other chain (GoQuorum `core/types/block.go:Hash`,
    // Edge's own genesis).
    let plain = keccak256(&header.encode());
    if claimed != hash && claimed != plain {
        return Err(Refusal::new("block-hash", hash, claimed));
    }
    let set = rules.overrides.get(&1).cloned().unwrap_or(set);
    Ok(AnchorReading { height: 0, hash: claimed, timestamp: header.timestamp, set, votes: Vec::new() })
}

fn from_header(
    rules: &Rules,
    header: &Header,
    claimed: Hash32,
    set_proof: Option<&SetProof>,
) -> Result<AnchorReading, Refusal> {
    let mode = rules.modes.at(header.number);
    let listed = read_header(mode, header)?.listed;
    let set = match (listed.is_empty(), proved(rules, header, set_proof)?) {
        (true, Some(set)) => set,
        _ => listed_set(mode, listed)?,
    };
    // The span begins at the parent, of which nothing is known but what this header says of it.
    let parent = State::anchor(header.number.saturating_sub(1), header.parent_hash, 0, set, Vec::new());
    let item = UpdateItem { header: header.encode(), hash: claimed, set_proof: set_proof.cloned() };
    let link = Span::new(rules, &parent).append(&item)?;
    let set = link.set_after.ok_or_else(no_set)?;
    Ok(AnchorReading {
        height: link.height,
        hash: link.hash,
        timestamp: link.timestamp,
        set: Arc::unwrap_or_clone(set),
        votes: Arc::unwrap_or_clone(link.votes_after),
    })
}

/// The set in the contract after this block; `None` where no contract keeps it.
fn proved(rules: &Rules, header: &Header, set_proof: Option<&SetProof>) -> Result<Option<ValidatorSet>, Refusal> {
    if !needs_set_proof(rules, header.number) {
        return Ok(None);
    }
    match (rules.contract_for(header.number.saturating_add(1)), set_proof) {
        (Some(layout), Some(proof)) => prove_set(layout, header.state_root, proof).map(Some),
        _ => Err(Refusal::new("set-proof-missing", "a proof of the validator contract's set", "none")),
    }
}

fn listed_set(mode: Mode, listed: Vec<Validator>) -> Result<ValidatorSet, Refusal> {
    if listed.is_empty() {
        return Err(no_set());
    }
    let set = ValidatorSet::new(listed).map_err(set_refusal)?;
    Ok(if mode.is_edge() { set } else { set.sorted() })
}

fn no_set() -> Refusal {
    Refusal::new("anchor-set", "a header that lists the validators", "none listed")
}
