//! What a signer is asked for, and the rule that it keeps: one content for each place, for ever.
//!
//! A signer is told everything that a signature is about and computes the digest itself: it never signs 32 bytes that
//! somebody hands to it.

use std::collections::BTreeSet;

use crate::attestation::{SignatureBytes, rotation_digest};
use crate::hash::{Hash32, hash_words};
use crate::ids::{Address, AttesterId, Domain, Epoch, Height, Index};
use crate::lane::Flow;
use crate::set_attestation::Attestable;

/// A change of the attester set of one verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The verifier.
    pub verifier: Address,
    /// Its chain.
    pub domain: Domain,
    /// Generation of the new set.
    pub epoch: Epoch,
    /// The new members, at most [`crate::attestation::MAX_ATTESTERS`].
    pub members: BTreeSet<AttesterId>,
    /// Signatures that will be enough.
    pub threshold: u32,
}

/// Whatever an attester's key may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signable {
    /// A head of a lane, or a validator set.
    Attestation(Attestable),
    /// A change of the attester set.
    Rotation(Rotation),
}

impl Signable {
    /// The 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        match self {
            Self::Attestation(what) => what.digest(),
            Self::Rotation(Rotation { verifier, domain, epoch, members, threshold }) => {
                rotation_digest(*verifier, *domain, *epoch, members, *threshold)
            }
        }
    }

    /// For what there is one content only, and that content.
    ///
    /// A head may be signed again for another attester epoch: place and content stay the same.
    #[must_use]
    pub fn place(&self) -> (SigningPlace, Hash32) {
        match self {
            Self::Attestation(Attestable::Head(statement)) => {
                (SigningPlace::Head { flow: statement.flow, index: statement.point.index }, statement.point.head)
            }
            Self::Attestation(Attestable::Set(attestation)) => {
                let fact = attestation.fact;
                let place = SigningPlace::Set { domain: fact.domain, height: fact.statement.height };
                (place, hash_words(&[fact.parent, fact.statement.digest]))
            }
            Self::Rotation(rotation) => {
                let Rotation { verifier, domain, epoch, .. } = *rotation;
                (SigningPlace::Rotation { verifier, domain, epoch }, self.digest())
            }
        }
    }
}

/// For what a key signs one content only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningPlace {
    /// An index of a flow: one head.
    Head {
        /// The flow.
        flow: Flow,
        /// The index.
        index: Index,
    },
    /// A height of a chain: one validator set.
    Set {
        /// The chain.
        domain: Domain,
        /// The first height under the set.
        height: Height,
    },
    /// A generation of a verifier's attesters: one set.
    Rotation {
        /// The verifier.
        verifier: Address,
        /// Its chain.
        domain: Domain,
        /// The generation.
        epoch: Epoch,
    },
}

impl core::fmt::Display for SigningPlace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Head { flow, index } => write!(f, "index {index} of lane {} {}", flow.lane, flow.direction.as_str()),
            Self::Set { domain, height } => write!(f, "the validator set of {domain} from block {height} on"),
            Self::Rotation { verifier, domain, epoch } => {
                write!(f, "attester epoch {epoch} of verifier {verifier} on {domain}")
            }
        }
    }
}

/// A question to a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningRequest {
    /// "Whose key do you have?"
    Describe,
    /// "Please sign this."
    Sign(Signable),
}

/// A signer's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAnswer {
    /// The address of its key.
    Key(AttesterId),
    /// The signature.
    Signed(SignatureBytes),
    /// It does not sign.
    Refused(SigningRefusal),
}

/// Why a signer does not sign. The closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningRefusal {
    /// It has signed another content for the same place. The asker's journal is older or forged; never ask again.
    #[error("it has signed {held} for the same place, and signs nothing else for it")]
    Conflict {
        /// The content that it signed.
        held: Hash32,
    },
    /// Its record can't be made durable or read. Its operator's fault; ask again later.
    #[error("its sign-once record can't be written or read: see the signer's log")]
    Record,
    /// Who asks is not admitted. The operator's fault.
    #[error("this user may not ask it: see the signer's log")]
    Stranger,
    /// The question was not understood. The asker's fault, or another version.
    #[error("it does not understand the question: is it of another version?")]
    Malformed,
    /// The key or the device behind it failed. Its operator's fault; ask again later.
    #[error("its key can't be used: see the signer's log")]
    Key,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::Statement;
    use crate::chain::ChainPoint;
    use crate::ids::LaneId;
    use crate::lane::{Direction, GatewayAt};
    use crate::light_client::SetStatement;
    use crate::set_attestation::{SetAttestation, SetFact};

    fn word(byte: u8) -> Hash32 {
        Hash32([byte; 32])
    }

    fn statement() -> Statement {
        Statement {
            flow: Flow { lane: LaneId(word(1)), direction: Direction::Outbox },
            point: ChainPoint { index: Index(7), head: word(2) },
            epoch: Epoch(3),
            verifying: GatewayAt { domain: Domain(word(4)), gateway: Address(word(5)) },
        }
    }

    fn place(statement: Statement) -> (SigningPlace, Hash32) {
        Signable::Attestation(Attestable::Head(statement)).place()
    }

    #[test]
    fn a_head_has_one_content_whatever_the_epoch_and_the_gateway() {
        let ours = statement();
        let verifying = GatewayAt { domain: Domain(word(6)), gateway: Address(word(7)) };
        assert_eq!(place(ours), place(Statement { epoch: Epoch(4), verifying, ..ours }));
        let other = Statement { point: ChainPoint { head: word(8), ..ours.point }, ..ours };
        assert_eq!(place(ours).0, place(other).0);
        assert_ne!(place(ours).1, place(other).1);
        let next = Statement { point: ChainPoint { index: Index(8), ..ours.point }, ..ours };
        let back = Statement { flow: Flow { direction: Direction::Inbox, ..ours.flow }, ..ours };
        assert!(place(next).0 != place(ours).0 && place(back).0 != place(ours).0);
    }

    #[test]
    fn a_set_has_one_content_whatever_the_verifier() {
        let statement = SetStatement { height: Height(9), digest: word(2) };
        let fact = SetFact { domain: Domain(word(1)), parent: word(3), statement };
        let ours =
            SetAttestation { fact, epoch: Epoch(1), verifier: Address(word(4)), verifier_domain: Domain(word(5)) };
        let place = |set| Signable::Attestation(Attestable::Set(set)).place();
        assert_eq!(place(ours), place(SetAttestation { epoch: Epoch(2), verifier: Address(word(6)), ..ours }));
        for fact in [
            SetFact { parent: word(7), ..fact },
            SetFact { statement: SetStatement { digest: word(7), ..statement }, ..fact },
        ] {
            let other = SetAttestation { fact, ..ours };
            assert_eq!(place(ours).0, place(other).0);
            assert_ne!(place(ours).1, place(other).1);
        }
    }

    #[test]
    fn a_generation_of_a_verifier_has_one_set() {
        let ours = Rotation {
            verifier: Address(word(1)),
            domain: Domain(word(2)),
            epoch: Epoch(3),
            members: [AttesterId([4; 20]), AttesterId([5; 20])].into(),
            threshold: 2,
        };
        let place = |rotation: &Rotation| Signable::Rotation(rotation.clone()).place();
        for other in [
            Rotation { threshold: 1, ..ours.clone() },
            Rotation { members: [AttesterId([4; 20])].into(), ..ours.clone() },
        ] {
            assert_eq!(place(&ours).0, place(&other).0);
            assert_ne!(place(&ours).1, place(&other).1);
        }
        assert_ne!(place(&ours).0, place(&Rotation { epoch: Epoch(4), ..ours.clone() }).0);
    }
}
