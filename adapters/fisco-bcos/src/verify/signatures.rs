//! Signature lists and quorum.

use std::collections::BTreeSet;

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::Refusal;

use super::sealer_set::SealerSet;
use crate::codec::header::HeaderSignature;
use crate::codec::suite::{CryptoSuite, PublicKey};

/// Checks every signature of a list over `hash`, and that their weight is a quorum of `set`; gives the signers.
///
/// Each signature has the exact length, an index into the set that no other has, and is that sealer's own. One bad entry
/// refuses the list: honest nodes store none.
///
/// # Errors
/// `signature-length`, `signature-index`, `signature-duplicate`, `signature-invalid`, `quorum`.
pub fn verify_quorum(
    suite: CryptoSuite,
    set: &SealerSet,
    hash: &Hash32,
    signatures: &[HeaderSignature],
) -> Result<BTreeSet<PublicKey>, Refusal> {
    let mut signers = BTreeSet::new();
    let mut weight = 0_u64;
    for entry in signatures {
        if entry.signature.len() != suite.header_signature_bytes() {
            return Err(Refusal::new("signature-length", suite.header_signature_bytes(), entry.signature.len()));
        }
        let sealer = usize::try_from(entry.sealer).ok().and_then(|index| set.sealers().get(index));
        let Some(sealer) = sealer else {
            return Err(Refusal::new("signature-index", set.sealers().len(), entry.sealer));
        };
        if signers.contains(&sealer.id) {
            return Err(Refusal::new("signature-duplicate", "one signature for each sealer", entry.sealer));
        }
        if !suite.is_signed_by(&sealer.id, hash, &entry.signature) {
            return Err(Refusal::new("signature-invalid", sealer.id.0.as_slice(), entry.signature.as_slice()));
        }
        signers.insert(sealer.id);
        weight = weight.saturating_add(sealer.weight);
    }
    if weight < set.quorum() {
        return Err(Refusal::new("quorum", set.quorum(), weight));
    }
    Ok(signers)
}
