//! Who sealed a header.

use blst::BLST_ERROR;
use blst::min_pk::{PublicKey, Signature};
use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::Refusal;

use super::reading::Seals;
use super::set::{Validator, ValidatorSet};
use crate::codec::account::Account;

/// Suite of Edge's aggregate seals: Ethereum's consensus suite, keys in G1 and signatures in G2.
pub(super) const BLS_SUITE: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// The distinct validators that sealed a header, each as the set that it was found in has it.
///
/// `set` is the set in force for it; `late` a set whose members may still have sealed it (contract mode, where the
/// block after a change can be sealed by the set before). Their seals are genuine but count for `set` only where they
/// are its members.
///
/// Checks, in order: `seals-empty`, `seal-count` (at most one for each member), `seal-signature` (recovers to a key),
/// `seal-stranger`, `seal-repeated`; for aggregates `seals-empty`, `seal-bitmap`, `validator-key`, `seal-aggregate`.
pub(super) fn recover_signers(
    seals: &Seals,
    set: &ValidatorSet,
    late: Option<&ValidatorSet>,
) -> Result<Vec<Validator>, Refusal> {
    match seals {
        Seals::Each { digest, seals } => recover_each(*digest, seals, set, late),
        Seals::Aggregate { digest, bitmap, signature } => verify_aggregate(*digest, bitmap, signature, set),
    }
}

fn recover_each(
    digest: Hash32,
    seals: &[[u8; 65]],
    set: &ValidatorSet,
    late: Option<&ValidatorSet>,
) -> Result<Vec<Validator>, Refusal> {
    if seals.is_empty() {
        return Err(Refusal::new("seals-empty", "at least one seal", 0_u64));
    }
    let most = set.size().saturating_add(late.map_or(0, ValidatorSet::size));
    if seals.len() > most {
        return Err(Refusal::new("seal-count", most, seals.len()));
    }
    let mut signers = Vec::with_capacity(seals.len());
    for seal in seals {
        let signer = Account::recover(digest, seal)
            .ok_or_else(|| Refusal::new("seal-signature", "a secp256k1 signature with v 0 or 1", seal.as_slice()))?;
        let member = set.member(signer).or_else(|| late.and_then(|late| late.member(signer)));
        let Some(signer) = member else {
            return Err(Refusal::new("seal-stranger", "a validator", signer.to_address()));
        };
        if signers.contains(&signer) {
            return Err(Refusal::new("seal-repeated", "each validator once", signer.account.to_address()));
        }
        signers.push(signer);
    }
    Ok(signers)
}

fn verify_aggregate(
    digest: Hash32,
    bitmap: &[u8],
    signature: &[u8],
    set: &ValidatorSet,
) -> Result<Vec<Validator>, Refusal> {
    if bitmap.is_empty() {
        return Err(Refusal::new("seals-empty", "at least one seal", 0_u64));
    }
    let is_set = |position: usize| {
        let byte = bitmap.len().checked_sub(1 + position / 8).and_then(|at| bitmap.get(at));
        byte.is_some_and(|byte| byte >> (position % 8) & 1 == 1)
    };
    let ones: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
    let marked = set.members().iter().enumerate().filter(|(position, _)| is_set(*position));
    let members: Vec<_> = marked.map(|(_, member)| *member).collect();
    if usize::try_from(ones).ok() != Some(members.len()) {
        return Err(Refusal::new("seal-bitmap", set.size(), bitmap));
    }
    let mut keys = Vec::with_capacity(members.len());
    for member in &members {
        let bytes = member.bls_key.as_ref().map_or(&[][..], |key| key.as_slice());
        // Checks the encoding, the subgroup, and that the key is not the point at infinity.
        let key = PublicKey::key_validate(bytes).map_err(|_| Refusal::new("validator-key", "a point of G1", bytes))?;
        keys.push(key);
    }
    let wrong = || Refusal::new("seal-aggregate", "a signature of the marked validators", signature);
    let parsed = Signature::sig_validate(signature, true).map_err(|_| wrong())?;
    let keys: Vec<_> = keys.iter().collect();
    match parsed.fast_aggregate_verify(false, digest.as_bytes(), BLS_SUITE, &keys) {
        BLST_ERROR::BLST_SUCCESS => Ok(members),
        _ => Err(wrong()),
    }
}
