//! Attestations: what attesters sign, and when a set of signatures is enough.

use std::collections::BTreeSet;

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use crate::chain::ChainPoint;
use crate::hash::{Hash32, hash_words, keccak256};
use crate::ids::{Address, AttesterId, Domain, Epoch};
use crate::lane::{Flow, GatewayAt};
use crate::tag;

/// The most attesters in one set: the cost of a delivery grows by one signature check for each.
pub const MAX_ATTESTERS: usize = 64;

/// What one attestation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The lane and direction.
    pub flow: Flow,
    /// The head that the signer verified.
    pub point: ChainPoint,
    /// Generation of the attester set that the verifying gateway has in force.
    pub epoch: Epoch,
    /// The gateway that will check the signatures, and its chain.
    pub verifying: GatewayAt,
}

impl Statement {
    /// `H(ATTEST_TAG, lane, direction, index, head, epoch, verifying gateway, its domain)`: the 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        hash_words(&[
            tag::attest(),
            self.flow.lane.0,
            Hash32::from_u64(u64::from(self.flow.direction.code())),
            Hash32::from_u64(self.point.index.0),
            self.point.head,
            Hash32::from_u64(self.epoch.0),
            self.verifying.gateway.0,
            self.verifying.domain.0,
        ])
    }
}

/// What the old threshold and every new member sign to change the attester set of `verifier`.
#[must_use]
pub fn rotation_digest(
    verifier: Address,
    domain: Domain,
    new_epoch: Epoch,
    members: &BTreeSet<AttesterId>,
    threshold: u32,
) -> Hash32 {
    let words: Vec<Hash32> = members.iter().map(|member| Address::from_20(member.0).0).collect();
    hash_words(&[
        tag::rotate(),
        verifier.0,
        domain.0,
        Hash32::from_u64(new_epoch.0),
        hash_words(&words),
        Hash32::from_u64(u64::from(threshold)),
    ])
}

/// A secp256k1 signature in the form that contracts take: r, s, and v of 27 or 28.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignatureBytes(pub [u8; 65]);

impl core::fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl SignatureBytes {
    /// Joins a low-s signature and its recovery id.
    #[must_use]
    pub fn from_parts(signature: &Signature, recovery: RecoveryId) -> Self {
        let mut bytes = [0; 65];
        if let Some((v, rs)) = bytes.split_last_mut() {
            rs.copy_from_slice(&signature.to_bytes());
            *v = 27 + u8::from(recovery.is_y_odd());
        }
        Self(bytes)
    }

    /// The signer of `digest`.
    ///
    /// # Errors
    /// [`AttestationError::Signature`] when v is not 27 or 28, s is high, or no key fits.
    pub fn signer(&self, digest: Hash32) -> Result<AttesterId, AttestationError> {
        let [rs @ .., v] = &self.0;
        let odd = match v {
            27 => false,
            28 => true,
            _ => return Err(AttestationError::Signature),
        };
        let signature = Signature::from_slice(rs).map_err(|_| AttestationError::Signature)?;
        if signature.normalize_s().is_some() {
            return Err(AttestationError::Signature);
        }
        let key = VerifyingKey::recover_from_prehash(&digest.0, &signature, RecoveryId::new(odd, false))
            .map_err(|_| AttestationError::Signature)?;
        Ok(attester_id(&key))
    }
}

/// The address of a public key: last 20 bytes of keccak256 of its 64-byte form.
#[must_use]
pub fn attester_id(key: &VerifyingKey) -> AttesterId {
    let point = key.to_encoded_point(false);
    let hash = keccak256(point.as_bytes().get(1..).unwrap_or_default());
    let mut id = [0; 20];
    id.copy_from_slice(hash.0.split_at(12).1);
    AttesterId(id)
}

/// An attester set as a gateway's verifier has it in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    epoch: Epoch,
    members: BTreeSet<AttesterId>,
    threshold: u32,
}

impl Committee {
    /// Checks and keeps a set.
    ///
    /// # Errors
    /// [`AttestationError::Committee`] unless there is at least one member, at most [`MAX_ATTESTERS`], each once,
    /// and `members / 2 < threshold <= members`.
    pub fn new(epoch: Epoch, members: &[AttesterId], threshold: u32) -> Result<Self, AttestationError> {
        let set: BTreeSet<_> = members.iter().copied().collect();
        let quorum = usize::try_from(threshold).unwrap_or(usize::MAX);
        let is_sound = set.len() == members.len()
            && !set.is_empty()
            && set.len() <= MAX_ATTESTERS
            && quorum <= set.len()
            && quorum.saturating_mul(2) > set.len();
        if !is_sound {
            return Err(AttestationError::Committee { members: members.len(), threshold });
        }
        Ok(Self { epoch, members: set, threshold })
    }

    /// Generation of the set.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, ascending.
    #[must_use]
    pub const fn members(&self) -> &BTreeSet<AttesterId> {
        &self.members
    }

    /// Signatures that are enough.
    #[must_use]
    pub const fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The same, to be compared with a count.
    #[must_use]
    pub fn quorum(&self) -> usize {
        usize::try_from(self.threshold).unwrap_or(usize::MAX)
    }

    /// Checks one member's signature of `statement`.
    ///
    /// # Errors
    /// [`AttestationError::Epoch`] for another generation, [`AttestationError::Signature`] for a bad signature,
    /// [`AttestationError::Stranger`] when the signer is no member.
    pub fn verify_attestation(
        &self,
        statement: &Statement,
        signature: &SignatureBytes,
    ) -> Result<AttesterId, AttestationError> {
        self.verify_signature(statement.epoch, statement.digest(), signature)
    }

    /// Checks one member's signature of a digest made for `epoch`.
    ///
    /// # Errors
    /// As [`Self::verify_attestation`].
    pub(crate) fn verify_signature(
        &self,
        epoch: Epoch,
        digest: Hash32,
        signature: &SignatureBytes,
    ) -> Result<AttesterId, AttestationError> {
        if epoch != self.epoch {
            return Err(AttestationError::Epoch { expected: self.epoch, got: epoch });
        }
        let signer = signature.signer(digest)?;
        if self.members.contains(&signer) { Ok(signer) } else { Err(AttestationError::Stranger { got: signer }) }
    }
}

/// Why a signature or a set is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// The signature is malformed, has a high s, or recovers to no key. The signer's fault; no retry.
    #[error("expected a 65-byte low-s secp256k1 signature with v 27 or 28, got one that recovers to nothing")]
    Signature,
    /// The signer is not in the set. The signer's or the operator's fault.
    #[error("{got} is not a member of the attester set")]
    Stranger {
        /// Who signed.
        got: AttesterId,
    },
    /// The signature is for another generation of the set. Ask again with the right one.
    #[error("expected a signature for attester epoch {expected}, got {got}")]
    Epoch {
        /// Epoch in force.
        expected: Epoch,
        /// Epoch of the statement.
        got: Epoch,
    },
    /// The set itself is unsound. The operator's fault.
    #[error(
        "expected 1 to 64 distinct members and a threshold above half of them, got {members} members and threshold {threshold}"
    )]
    Committee {
        /// Members given.
        members: usize,
        /// Threshold given.
        threshold: u32,
    },
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;
    use crate::ids::{Index, LaneId};
    use crate::lane::Direction;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 32]).unwrap()
    }

    fn sign(key: &SigningKey, digest: Hash32) -> SignatureBytes {
        let (signature, recovery) = key.sign_prehash_recoverable(&digest.0).unwrap();
        SignatureBytes::from_parts(&signature, recovery)
    }

    fn statement() -> Statement {
        Statement {
            flow: Flow { lane: LaneId(keccak256(b"lane")), direction: Direction::Outbox },
            point: ChainPoint { index: Index(5), head: keccak256(b"head") },
            epoch: Epoch(1),
            verifying: GatewayAt { domain: Domain(keccak256(b"domain")), gateway: Address::from_20([7; 20]) },
        }
    }

    fn committee() -> Committee {
        let members: Vec<_> = (1..=4).map(|seed| attester_id(key(seed).verifying_key())).collect();
        Committee::new(Epoch(1), &members, 3).unwrap()
    }

    #[test]
    fn a_members_signature_is_accepted_and_a_strangers_refused() {
        let digest = statement().digest();
        assert_eq!(
            committee().verify_attestation(&statement(), &sign(&key(2), digest)),
            Ok(attester_id(key(2).verifying_key()))
        );
        let stranger = attester_id(key(9).verifying_key());
        assert_eq!(
            committee().verify_attestation(&statement(), &sign(&key(9), digest)),
            Err(AttestationError::Stranger { got: stranger })
        );
    }

    #[test]
    fn another_epoch_is_refused() {
        let other = Statement { epoch: Epoch(2), ..statement() };
        assert_eq!(
            committee().verify_attestation(&other, &sign(&key(1), other.digest())),
            Err(AttestationError::Epoch { expected: Epoch(1), got: Epoch(2) })
        );
    }

    #[test]
    fn a_high_s_copy_is_refused() {
        let digest = statement().digest();
        let good = sign(&key(1), digest);
        let signature = Signature::from_slice(&good.0[..64]).unwrap();
        let high = Signature::from_scalars(signature.r(), -*signature.s()).unwrap();
        let mut bytes = good.0;
        bytes[..64].copy_from_slice(&high.to_bytes());
        bytes[64] = 55 - bytes[64];
        assert_eq!(SignatureBytes(bytes).signer(digest), Err(AttestationError::Signature));
    }

    #[test]
    fn a_v_other_than_27_or_28_is_refused() {
        let digest = statement().digest();
        let mut bytes = sign(&key(1), digest).0;
        bytes[64] -= 27;
        assert_eq!(SignatureBytes(bytes).signer(digest), Err(AttestationError::Signature));
    }

    #[test]
    fn unsound_sets_are_refused() {
        let ids: Vec<_> = (1..=4).map(|n| AttesterId([n; 20])).collect();
        for (members, threshold) in [(&ids[..0], 0), (&ids[..], 2), (&ids[..], 5), (&[ids[0], ids[0]][..], 2)] {
            assert!(Committee::new(Epoch(1), members, threshold).is_err(), "{members:?} {threshold}");
        }
        assert!(Committee::new(Epoch(1), &ids, 3).is_ok());
    }
}
