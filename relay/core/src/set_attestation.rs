//! A change of a chain's validator set, attested like a head: for relays without a node on that chain.

use std::collections::BTreeMap;

use crate::attestation::{AttestationError, Committee, SignatureBytes, Statement};
use crate::hash::{Hash32, hash_words};
use crate::ids::{Address, AttesterId, Domain, Epoch};
use crate::light_client::SetStatement;
use crate::tag;

/// Which validator set a chain has from which header on.
///
/// It names the header before, so that it fits one history of the chain only: a set follows from what the blocks up to
/// there did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetFact {
    /// The chain.
    pub domain: Domain,
    /// Hash of the last header under the old set, at the height before the statement's.
    pub parent: Hash32,
    /// The first header under the new set, and the adapter's digest of the set.
    pub statement: SetStatement,
}

/// What one attestation of a set is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetAttestation {
    /// The set.
    pub fact: SetFact,
    /// Generation of the attester set that the verifier has in force.
    pub epoch: Epoch,
    /// The verifier whose attesters sign.
    pub verifier: Address,
    /// Its chain.
    pub verifier_domain: Domain,
}

impl SetAttestation {
    /// `H(SET_TAG, domain, height, parent, digest of the set, epoch, verifier, its domain)`: the 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        let SetFact { domain, parent, statement } = self.fact;
        hash_words(&[
            tag::set(),
            domain.0,
            Hash32::from_u64(statement.height.0),
            parent,
            statement.digest,
            Hash32::from_u64(self.epoch.0),
            self.verifier.0,
            self.verifier_domain.0,
        ])
    }
}

/// Signatures of attesters for one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetEvidence {
    /// What they signed.
    pub attestation: SetAttestation,
    /// By signer, each once.
    pub signatures: BTreeMap<AttesterId, SignatureBytes>,
}

impl SetEvidence {
    /// Checks each signature that somebody shows for `expected`; how many are enough is for the caller.
    ///
    /// Checks, in order: the set is the one that our own headers show; the verifier is the one asked for; the epoch is
    /// the committee's; each signature recovers to the member that it is filed under.
    ///
    /// # Errors
    /// [`SetRefusal`], naming the first check that failed.
    pub fn verify_votes(&self, expected: &SetAttestation, committee: &Committee) -> Result<(), SetRefusal> {
        let got = &self.attestation;
        if got.fact != expected.fact {
            return Err(SetRefusal::Set { expected: expected.fact.statement.digest, got: got.fact.statement.digest });
        }
        if (got.verifier_domain, got.verifier) != (expected.verifier_domain, expected.verifier) {
            return Err(SetRefusal::Verifier { expected: expected.verifier, got: got.verifier });
        }
        for (member, signature) in &self.signatures {
            let signer = committee.verify_signature(got.epoch, got.digest(), signature)?;
            if signer != *member {
                return Err(SetRefusal::Signer { expected: *member, got: signer });
            }
        }
        Ok(())
    }
}

/// Why attestations of a validator set are not taken. Whoever showed them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetRefusal {
    /// They are about another set, height or history than the one that our headers show.
    #[error("expected attestations of validator set {expected}, got {got}")]
    Set {
        /// The digest that our headers show.
        expected: Hash32,
        /// The digest attested.
        got: Hash32,
    },
    /// They were made for another verifier.
    #[error("expected attestations for verifier {expected}, got {got}")]
    Verifier {
        /// The verifier of our own lanes.
        expected: Address,
        /// The verifier that they are for.
        got: Address,
    },
    /// A signature is filed under somebody else.
    #[error("expected a signature of {expected}, got one of {got}")]
    Signer {
        /// Filed under.
        expected: AttesterId,
        /// Recovered.
        got: AttesterId,
    },
    /// An attester is asked about a set that differs from what its own nodes confirmed.
    #[error("our own nodes confirmed validator set {expected}, got {got}")]
    Contradiction {
        /// What was confirmed here.
        expected: Hash32,
        /// What was asked about.
        got: Hash32,
    },
    /// See [`AttestationError`].
    #[error(transparent)]
    Attestation(#[from] AttestationError),
}

impl SetRefusal {
    /// Name of the check in kebab-case; a metric label.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set-attested",
            Self::Verifier { .. } => "set-verifier",
            Self::Signer { .. } => "set-signer",
            Self::Contradiction { .. } => "set-contradiction",
            Self::Attestation(AttestationError::Epoch { .. }) => "set-epoch",
            Self::Attestation(AttestationError::Stranger { .. }) => "set-stranger",
            Self::Attestation(_) => "set-signature",
        }
    }
}

/// Whatever an attester signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attestable {
    /// A head of a lane.
    Head(Statement),
    /// A validator set.
    Set(SetAttestation),
}

impl Attestable {
    /// The 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        match self {
            Self::Head(statement) => statement.digest(),
            Self::Set(attestation) => attestation.digest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;
    use crate::attestation::attester_id;
    use crate::hash::keccak256;
    use crate::ids::Height;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 32]).unwrap()
    }

    fn id(seed: u8) -> AttesterId {
        attester_id(key(seed).verifying_key())
    }

    fn committee(epoch: u64) -> Committee {
        Committee::new(Epoch(epoch), &[id(1), id(2), id(3)], 2).unwrap()
    }

    fn attestation() -> SetAttestation {
        let statement = SetStatement { height: Height(7), digest: keccak256(b"set") };
        SetAttestation {
            fact: SetFact { domain: Domain(keccak256(b"chain")), parent: keccak256(b"parent"), statement },
            epoch: Epoch(1),
            verifier: Address::from_20([4; 20]),
            verifier_domain: Domain(keccak256(b"there")),
        }
    }

    fn signed(attestation: SetAttestation, seeds: &[u8]) -> SetEvidence {
        let sign = |seed: &u8| {
            let (signature, recovery) = key(*seed).sign_prehash_recoverable(&attestation.digest().0).unwrap();
            (id(*seed), SignatureBytes::from_parts(&signature, recovery))
        };
        SetEvidence { attestation, signatures: seeds.iter().map(sign).collect() }
    }

    fn check(evidence: &SetEvidence) -> Result<(), &'static str> {
        evidence.verify_votes(&attestation(), &committee(1)).map_err(|refusal| refusal.check())
    }

    #[test]
    fn members_signatures_of_the_set_that_was_asked_about_are_taken() {
        assert_eq!(check(&signed(attestation(), &[1, 2])), Ok(()));
    }

    #[test]
    fn each_field_that_differs_is_refused_by_its_name() {
        let good = attestation();
        let fact = good.fact;
        let elsewhere = SetFact { domain: Domain(keccak256(b"other chain")), ..fact };
        let forked = SetFact { parent: keccak256(b"other parent"), ..fact };
        let later = SetFact { statement: SetStatement { height: Height(8), ..fact.statement }, ..fact };
        let other = SetFact { statement: SetStatement { digest: keccak256(b"other set"), ..fact.statement }, ..fact };
        for fact in [elsewhere, forked, later, other] {
            let shown = SetAttestation { fact, ..good };
            assert_eq!(check(&signed(shown, &[1, 2])), Err("set-attested"));
            // The same signatures under the right name are signatures of nobody known.
            let replayed = SetEvidence { attestation: good, ..signed(shown, &[1, 2]) };
            assert_eq!(check(&replayed), Err("set-stranger"));
        }
        let shown = SetAttestation { verifier: Address::from_20([5; 20]), ..good };
        assert_eq!(check(&signed(shown, &[1])), Err("set-verifier"));
        let shown = SetAttestation { verifier_domain: Domain(keccak256(b"elsewhere")), ..good };
        assert_eq!(check(&signed(shown, &[1])), Err("set-verifier"));
        assert_eq!(check(&signed(SetAttestation { epoch: Epoch(2), ..good }, &[1])), Err("set-epoch"));
        assert_eq!(check(&signed(good, &[9])), Err("set-stranger"));
        let mut swapped = signed(good, &[1, 2]);
        let first = swapped.signatures[&id(1)];
        swapped.signatures.insert(id(2), first);
        assert_eq!(check(&swapped), Err("set-signer"));
        let mut torn = signed(good, &[1]);
        torn.signatures.insert(id(1), SignatureBytes([0; 65]));
        assert_eq!(check(&torn), Err("set-signature"));
    }
}
