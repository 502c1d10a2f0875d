//! Calls to deployed contracts whose answers are known beforehand, so that a wrong build, a wrong flavour or a node that
//! executes wrongly is seen. None changes anything: each is run and dropped.
//!
//! What the constructors check of themselves (`contracts/KnownAnswers.sol`) is asked of what stands on the chain, through
//! functions that everybody may call: what they refuse with names what they have computed.

use std::time::Duration;

use alloy_primitives::hex;
use alloy_sol_types::{SolCall, SolError};
use cityrelay_core::attestation::{AttestationError, Committee as CommitteeSet, SignatureBytes, rotation_digest};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, Epoch, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, LaneIdentity};
use cityrelay_core::message::{Message, Payload};

use crate::abi::{self, Committee, Gateway};
use crate::call::{EncodeError, encode};
use crate::query::LaneStatus;
use crate::strict::word;

/// A call, and how it must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAnswer {
    /// The calldata.
    pub data: Vec<u8>,
    /// The one right end of it.
    pub expected: Expected,
}

/// How a call must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// With this answer.
    Returned(Vec<u8>),
    /// With this revert data.
    Reverted(Vec<u8>),
}

/// Of a committee: the hash of a member set, the digest of a rotation, and whose signature it is given.
///
/// A rotation to the present members is brought with a signature of somebody unknown: the committee refuses it by the name that
/// it has recovered.
///
/// # Errors
/// [`AttestationError::Signature`] when nobody's name can be recovered, which one digest in 2^128 has.
pub fn recovery(verifier: Address, domain: Domain, set: &CommitteeSet) -> Result<KnownAnswer, AttestationError> {
    let digest =
        rotation_digest(verifier, domain, Epoch(set.epoch().0.saturating_add(1)), set.members(), set.threshold());
    let signer = SignatureBytes(SIGNATURE).signer(digest)?;
    let call = Committee::rotateCall {
        newMembers: set.members().iter().map(|member| member.0.into()).collect(),
        newThreshold: set.threshold(),
        oldSignatures: SIGNATURE.repeat(set.quorum()).into(),
        newSignatures: Vec::new().into(),
    };
    let refusal = Committee::SignerUnknown { signer: signer.0.into() };
    Ok(KnownAnswer { data: call.abi_encode(), expected: Expected::Reverted(refusal.abi_encode()) })
}

/// Of a gateway: the hash of a payload, the id of a message, and the outbox head behind it, on a lane that is open here and
/// ends here.
///
/// A message that nobody sent is delivered under a head of zeros: the gateway refuses it by the head that it has computed.
#[must_use]
pub fn message_hash(lane: LaneId, status: &LaneStatus) -> KnownAnswer {
    let payload = PAYLOAD.to_vec();
    let message = Message {
        index: status.own.index.next(),
        sender: Address::from_20([0x11; 20]),
        receiver: Address::from_20([0x22; 20]),
        deadline: UnixMillis(0x3333),
        gas_limit: 0x4444,
        payload: Payload::Bytes(payload.clone()),
    };
    let accepted = ChainPoint { index: status.own.index, head: status.peer.head };
    let head = accepted.extended(Direction::Outbox, message.id(lane).0).head;
    let call = Gateway::deliverCall {
        lane: word(lane.0),
        firstIndex: message.index.0,
        entries: vec![abi::Entry {
            sender: word(message.sender.0),
            receiver: word(message.receiver.0),
            deadlineMillis: message.deadline.0,
            gasLimit: message.gas_limit,
            payloadHashed: false,
            payload: payload.into(),
        }],
        tailIds: Vec::new(),
        head: word(Hash32::ZERO),
        evidence: Vec::new().into(),
    };
    let refusal = Gateway::HeadMismatch { got: word(head), expected: word(Hash32::ZERO) };
    KnownAnswer { data: call.abi_encode(), expected: Expected::Reverted(refusal.abi_encode()) }
}

/// Of a gateway: the hash of a payload and the id of a message, on a lane that is open here, begins here, and on which
/// everybody may send; `by` is who runs the call.
///
/// Unlike the others it ends with an answer, which nodes tell that keep to themselves why a call reverts.
#[must_use]
pub fn sent_message(lane: LaneId, status: &LaneStatus, by: Address, now: UnixMillis) -> KnownAnswer {
    let half = u64::try_from(status.terms.max_deadline.as_millis() / 2).unwrap_or(u64::MAX);
    let payload =
        PAYLOAD.get(..usize::try_from(status.terms.max_payload_bytes).unwrap_or(usize::MAX)).unwrap_or(&PAYLOAD);
    let message = Message {
        index: status.own.index.next(),
        sender: by,
        receiver: Address::from_20([0x22; 20]),
        deadline: UnixMillis(now.0.saturating_add(half)),
        gas_limit: 1,
        payload: Payload::Bytes(payload.to_vec()),
    };
    let call = Gateway::sendCall {
        lane: word(lane.0),
        receiver: word(message.receiver.0),
        deadlineMillis: message.deadline.0,
        gasLimit: message.gas_limit,
        payload: payload.to_vec().into(),
    };
    let answer = [Hash32::from_u64(message.index.0).0, message.id(lane).0.0].concat();
    KnownAnswer { data: call.abi_encode(), expected: Expected::Returned(answer) }
}

/// Of a gateway: the id of a lane. Run as its owner, who announces a lane that nobody has.
///
/// # Errors
/// [`EncodeError::NotAnAddress`] for a gateway that is none.
pub fn lane_hash(gateway: Address, verifier: Address, domain: Domain) -> Result<KnownAnswer, EncodeError> {
    let lane = LaneIdentity {
        source_domain: domain,
        destination_domain: Domain(Hash32([0x11; 32])),
        source_gateway: gateway,
        destination_gateway: Address::from_20([0x22; 20]),
        source_verifier: verifier,
        destination_verifier: Address::from_20([0x33; 20]),
        channel: "known-answer".to_owned(),
        salt: Hash32([0x44; 32]),
    };
    let limits = LaneLimits {
        max_payload_bytes: 1,
        max_gas_limit: 1,
        max_deadline: Duration::from_secs(1),
        callback_gas: 0,
        is_strict: false,
        quota: 0,
        senders: Vec::new(),
        receivers: Vec::new(),
    };
    let expected = Expected::Returned(lane.id().0.0.to_vec());
    Ok(KnownAnswer { data: encode(&GatewayCall::AnnounceLane { gateway, lane, limits })?.data, expected })
}

/// r, s and v of secret key 1 over keccak256(""), as in `contracts/KnownAnswers.sol`. Over any other digest it is the signature
/// of somebody whom nobody knows.
const SIGNATURE: [u8; 65] = hex!(
    "9377c312145a5afb911bf9e8c067bcf6094c533603687850df502b61290bbf5e"
    "4fb87ff3bf62034745cbcde580c3178cabe5ecf61ee14c9f9ae860a6d2b25c84"
    "1b"
);

/// More than one block of the sponge, which takes 136 bytes.
const PAYLOAD: [u8; 160] = [0x55; 160];
