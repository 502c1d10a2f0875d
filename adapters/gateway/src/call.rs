//! Calldata and init code for everything that a relay or its operator asks of the contracts.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{Address as Account, Bytes};
use alloy_sol_types::{SolCall, SolConstructor, SolValue};
use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::gateway_call::{Evidence, GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Index, LaneId, MessageId};
use cityrelay_core::lane::{Flow, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::Outcome;

use crate::abi::{self, Committee, Gateway, PrecompileGateway};
use crate::flavour::Flavour;
use crate::strict::{DecodeError, decode_call, direction, hash, word};

/// A transaction's destination and data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedCall {
    /// The contract, 20 bytes; `None` to create one.
    pub to: Option<[u8; 20]>,
    /// Calldata, or init code with its arguments.
    pub data: Vec<u8>,
}

/// Why a call cannot be expressed. Ours or the operator's fault; the chain was not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A contract or account on this chain must be a 20-byte address.
    #[error("{field} {got} is no 20-byte address")]
    NotAnAddress {
        /// Which one.
        field: &'static str,
        /// What it is.
        got: Address,
    },
    /// A batch without entries asks for nothing.
    #[error("the batch is empty")]
    EmptyBatch,
    /// The entries of a batch must follow one another.
    #[error("entry {got} stands where {expected} belongs")]
    NotConsecutive {
        /// Index found.
        got: Index,
        /// Index that must stand there.
        expected: Index,
    },
    /// Entries and tail must end at the attested head.
    #[error("entries and tail end at {got}, the attested head is that of {expected}")]
    EndsElsewhere {
        /// Where entries and tail end.
        got: Index,
        /// Index of the attested head.
        expected: Index,
    },
    /// An outcome belongs to another message than the one beside it.
    #[error("the outcome beside message {index} is that of {got}, not of {expected}")]
    OutcomeOfAnother {
        /// The message's index.
        index: Index,
        /// Message id in the outcome.
        got: MessageId,
        /// Id of the message.
        expected: MessageId,
    },
    /// A duration does not fit into 64 bits of milliseconds.
    #[error("{field} of {got:?} is too long")]
    TooLong {
        /// Which one.
        field: &'static str,
        /// What it is.
        got: Duration,
    },
    /// The all-zero lane stands for the whole gateway and is never a lane.
    #[error("the zero lane is no lane")]
    ZeroLane,
    /// A member stands twice in a new set.
    #[error("{member} stands twice in the set")]
    DuplicateMember {
        /// The member.
        member: AttesterId,
    },
    /// This version of the bindings does not know the call.
    #[error("this call is unknown to the gateway bindings")]
    UnknownCall,
}

/// Encodes `call` for contracts of flavour `hash = opcode`; see [`encode_for`].
///
/// # Errors
/// See [`EncodeError`].
pub fn encode(call: &GatewayCall) -> Result<EncodedCall, EncodeError> {
    encode_for(Flavour::Opcode, call)
}

/// Encodes `call` for the contracts of this folder. The flavour makes a difference to what is deployed only.
///
/// Checks what would make no sense whatever the chain's state: addresses, an empty batch, gaps, a head at another index
/// than the batch ends at, outcomes of other messages. Everything else is the contract's to refuse.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode_for(flavour: Flavour, call: &GatewayCall) -> Result<EncodedCall, EncodeError> {
    match call {
        GatewayCall::DeployCommittee { domain, members, threshold } => {
            let arguments = Committee::constructorCall {
                domain: word(domain.0),
                members: ascending(members)?,
                threshold: *threshold,
            };
            Ok(creation(flavour.committee_init_code(), &arguments.abi_encode()))
        }
        GatewayCall::DeployGateway { domain, owner, announce_delay, close_delay, clock_is_millis } => {
            let arguments = Gateway::constructorCall {
                domain: word(domain.0),
                clock: u8::from(*clock_is_millis),
                openDelayMillis: millis("announce delay", *announce_delay)?,
                closeDelayMillis: millis("close delay", *close_delay)?,
                owner: account("owner", *owner)?,
            };
            Ok(creation(flavour.gateway_init_code(), &gateway_arguments(flavour, arguments)))
        }
        GatewayCall::AnnounceLane { gateway, lane, limits } => announce_lane(*gateway, lane, limits),
        GatewayCall::OpenLane { gateway, lane } => to(*gateway, &Gateway::openLaneCall { lane: word(lane.0) }),
        GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit, payload } => to(
            *gateway,
            &Gateway::sendCall {
                lane: word(lane.0),
                receiver: word(receiver.0),
                deadlineMillis: deadline.0,
                gasLimit: *gas_limit,
                payload: Bytes::copy_from_slice(payload),
            },
        ),
        GatewayCall::Checkpoint { gateway, flow } => {
            to(*gateway, &Gateway::checkpointCall { lane: word(flow.lane.0), direction: flow.direction.code() })
        }
        GatewayCall::Deliver { gateway, lane, messages, tail, evidence } => {
            deliver(*gateway, *lane, messages, tail, evidence)
        }
        GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence } => {
            settle(*gateway, *lane, settlements, tail_outcomes, tail_ids, evidence)
        }
        GatewayCall::RetryCallback { gateway, lane, message, outcome } => {
            let entry = settlement(*lane, message, outcome)?;
            to(*gateway, &Gateway::retryCallbackCall { lane: word(lane.0), index: message.index.0, entry })
        }
        GatewayCall::Rotate { verifier, members, threshold, old, new } => to(
            *verifier,
            &Committee::rotateCall {
                newMembers: ascending(members)?,
                newThreshold: *threshold,
                oldSignatures: joined(old).into(),
                newSignatures: joined(new).into(),
            },
        ),
        GatewayCall::SetPaused { gateway, lane, is_paused } => {
            if *lane == Some(LaneId(Hash32::ZERO)) {
                return Err(EncodeError::ZeroLane);
            }
            let lane = word(lane.map_or(Hash32::ZERO, |lane| lane.0));
            if *is_paused {
                to(*gateway, &Gateway::pauseCall { lane })
            } else {
                to(*gateway, &Gateway::unpauseCall { lane })
            }
        }
        GatewayCall::Skip { gateway, lane, index } => {
            to(*gateway, &Gateway::skipCall { lane: word(lane.0), index: index.0 })
        }
        GatewayCall::AnnounceClose { gateway, lane } => {
            to(*gateway, &Gateway::announceCloseCall { lane: word(lane.0) })
        }
        GatewayCall::Close { gateway, lane } => to(*gateway, &Gateway::closeLaneCall { lane: word(lane.0) }),
        GatewayCall::OfferOwnership { gateway, owner } => {
            to(*gateway, &Gateway::handOverCall { proposed: account("next owner", *owner)? })
        }
        GatewayCall::AcceptOwnership { gateway } => to(*gateway, &Gateway::acceptOwnerCall {}),
        GatewayCall::DeployCode { code } => Ok(EncodedCall { to: None, data: code.clone() }),
        GatewayCall::Raw { to, data } => {
            Ok(EncodedCall { to: Some(account("contract", *to)?.into_array()), data: data.clone() })
        }
        _ => Err(EncodeError::UnknownCall),
    }
}

/// Which of a lane's two allow-lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowList {
    /// Accounts that may send.
    Senders,
    /// Contracts that may receive.
    Receivers,
}

impl AllowList {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Senders => 0,
            Self::Receivers => 1,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Senders),
            1 => Some(Self::Receivers),
            _ => None,
        }
    }
}

/// Calldata that puts `entry` on an allow-list of `lane` or takes it off. Owner only; the lane must have that list.
#[must_use]
pub fn set_allowed(lane: LaneId, list: AllowList, entry: Address, is_allowed: bool) -> Vec<u8> {
    Gateway::setAllowedCall { lane: word(lane.0), list: list.code(), account: word(entry.0), allowed: is_allowed }
        .abi_encode()
}

/// What a committee verifier takes: `abi.encode(uint64 epoch, bytes signatures)`, each signature r ‖ s ‖ v, ascending by
/// signer.
#[must_use]
pub fn encode_evidence(evidence: &Evidence) -> Vec<u8> {
    (evidence.epoch.0, Bytes::from(joined(&evidence.signatures))).abi_encode_params()
}

/// Reads the calldata of a checkpoint: exactly `checkpoint(bytes32,uint8)`, a known direction, nothing left over.
///
/// # Errors
/// [`DecodeError::NotCanonical`] for anything else, [`DecodeError::OutOfRange`] for an unknown direction.
pub fn decode_checkpoint(data: &[u8]) -> Result<Flow, DecodeError> {
    let call = decode_call::<Gateway::checkpointCall>(data)?;
    Ok(Flow { lane: LaneId(hash(call.lane)), direction: direction(call.direction)? })
}

fn gateway_arguments(flavour: Flavour, common: Gateway::constructorCall) -> Vec<u8> {
    match flavour {
        Flavour::Opcode => common.abi_encode(),
        Flavour::Precompile { callbacks } => PrecompileGateway::constructorCall {
            domain: common.domain,
            clock: common.clock,
            openDelayMillis: common.openDelayMillis,
            closeDelayMillis: common.closeDelayMillis,
            owner: common.owner,
            callbackSelectors: callbacks.code(),
        }
        .abi_encode(),
    }
}

fn announce_lane(gateway: Address, lane: &LaneIdentity, limits: &LaneLimits) -> Result<EncodedCall, EncodeError> {
    to(
        gateway,
        &Gateway::announceLaneCall {
            identity: abi::LaneIdentity {
                sourceDomain: word(lane.source_domain.0),
                destinationDomain: word(lane.destination_domain.0),
                sourceGateway: word(lane.source_gateway.0),
                destinationGateway: word(lane.destination_gateway.0),
                sourceVerifier: word(lane.source_verifier.0),
                destinationVerifier: word(lane.destination_verifier.0),
                channelHash: word(keccak256(lane.channel.as_bytes())),
                salt: word(lane.salt),
            },
            limits: abi::LaneLimits {
                strict: limits.is_strict,
                maxPayloadBytes: limits.max_payload_bytes,
                maxGasLimit: limits.max_gas_limit,
                maxLifetimeMillis: millis("longest deadline", limits.max_deadline)?,
                callbackGas: limits.callback_gas,
                quota: limits.quota,
            },
            senders: limits.senders.iter().map(|sender| word(sender.0)).collect(),
            receivers: limits.receivers.iter().map(|receiver| word(receiver.0)).collect(),
        },
    )
}

fn deliver(
    gateway: Address,
    lane: LaneId,
    messages: &[Message],
    tail: &[MessageId],
    evidence: &Evidence,
) -> Result<EncodedCall, EncodeError> {
    let first = verify_batch(messages.iter().map(|message| message.index), tail.len(), evidence.point.index)?;
    to(
        gateway,
        &Gateway::deliverCall {
            lane: word(lane.0),
            firstIndex: first.0,
            entries: messages.iter().map(entry).collect(),
            tailIds: tail.iter().map(|id| word(id.0)).collect(),
            head: word(evidence.point.head),
            evidence: encode_evidence(evidence).into(),
        },
    )
}

fn settle(
    gateway: Address,
    lane: LaneId,
    settlements: &[(Message, Outcome)],
    tail_outcomes: &[Hash32],
    tail_ids: &[MessageId],
    evidence: &Evidence,
) -> Result<EncodedCall, EncodeError> {
    let indexes = settlements.iter().map(|(message, _)| message.index);
    let first = verify_batch(indexes, tail_outcomes.len(), evidence.point.index)?;
    to(
        gateway,
        &Gateway::settleCall {
            lane: word(lane.0),
            firstIndex: first.0,
            entries: settlements
                .iter()
                .map(|(message, outcome)| settlement(lane, message, outcome))
                .collect::<Result<_, _>>()?,
            tailOutcomes: tail_outcomes.iter().copied().map(word).collect(),
            tailIds: tail_ids.iter().map(|id| word(id.0)).collect(),
            head: word(evidence.point.head),
            evidence: encode_evidence(evidence).into(),
        },
    )
}

/// Checks that `indexes` are consecutive and that they and a tail of `tail` end at `attested`; gives the first.
fn verify_batch(mut indexes: impl Iterator<Item = Index>, tail: usize, attested: Index) -> Result<Index, EncodeError> {
    let first = indexes.next().ok_or(EncodeError::EmptyBatch)?;
    let mut last = first;
    for index in indexes {
        if index != last.next() {
            return Err(EncodeError::NotConsecutive { got: index, expected: last.next() });
        }
        last = index;
    }
    let end = last.plus(tail);
    if end != attested {
        return Err(EncodeError::EndsElsewhere { got: end, expected: attested });
    }
    Ok(first)
}

fn entry(message: &Message) -> abi::Entry {
    let (is_hashed, payload) = match &message.payload {
        Payload::Bytes(bytes) => (false, Bytes::copy_from_slice(bytes)),
        Payload::Hash(hash) => (true, Bytes::copy_from_slice(hash.as_bytes())),
    };
    abi::Entry {
        sender: word(message.sender.0),
        receiver: word(message.receiver.0),
        deadlineMillis: message.deadline.0,
        gasLimit: message.gas_limit,
        payloadHashed: is_hashed,
        payload,
    }
}

fn settlement(lane: LaneId, message: &Message, outcome: &Outcome) -> Result<abi::Settlement, EncodeError> {
    let id = message.id(lane);
    if outcome.index != message.index || outcome.message != id {
        return Err(EncodeError::OutcomeOfAnother { index: message.index, got: outcome.message, expected: id });
    }
    Ok(abi::Settlement {
        sender: word(message.sender.0),
        receiver: word(message.receiver.0),
        deadlineMillis: message.deadline.0,
        gasLimit: message.gas_limit,
        payloadHash: word(message.payload.hash()),
        status: outcome.status.code(),
        resultHash: word(outcome.result_hash),
    })
}

fn joined(signatures: &BTreeMap<AttesterId, SignatureBytes>) -> Vec<u8> {
    signatures.values().flat_map(|signature| signature.0).collect()
}

fn ascending(members: &[AttesterId]) -> Result<Vec<Account>, EncodeError> {
    let mut sorted: Vec<AttesterId> = members.to_vec();
    sorted.sort_unstable();
    let twice = sorted.iter().zip(sorted.iter().skip(1)).find(|(left, right)| left == right);
    if let Some((member, _)) = twice {
        return Err(EncodeError::DuplicateMember { member: *member });
    }
    Ok(sorted.into_iter().map(|member| Account::from(member.0)).collect())
}

fn to(contract: Address, call: &impl SolCall) -> Result<EncodedCall, EncodeError> {
    Ok(EncodedCall { to: Some(account("contract", contract)?.into_array()), data: call.abi_encode() })
}

pub(crate) fn creation(init_code: &[u8], arguments: &[u8]) -> EncodedCall {
    EncodedCall { to: None, data: [init_code, arguments].concat() }
}

pub(crate) fn account(field: &'static str, address: Address) -> Result<Account, EncodeError> {
    address.to_20().map(Account::from).ok_or(EncodeError::NotAnAddress { field, got: address })
}

fn millis(field: &'static str, duration: Duration) -> Result<u64, EncodeError> {
    u64::try_from(duration.as_millis()).map_err(|_| EncodeError::TooLong { field, got: duration })
}
