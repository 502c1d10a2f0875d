//! Questions to the contracts, by call: calldata and what the answer means.

use std::time::Duration;

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use cityrelay_core::attestation::Committee as CommitteeSet;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, Epoch, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::Direction;

use crate::abi::{Committee, Gateway, PrecompileGateway};
use crate::call::AllowList;
use crate::flavour::Selectors;
use crate::strict::{DecodeError, address, attester, decode_return, hash, kept_by_role, word};

/// What a gateway says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Version of its interface; 1.
    pub version: u32,
    /// The chain it stands on, as it was told when it was deployed.
    pub domain: Domain,
    /// Whether it takes the chain's clock for milliseconds.
    pub clock_is_millis: bool,
    /// From announcing a lane to opening it.
    pub announce_delay: Duration,
    /// From announcing a close to closing.
    pub close_delay: Duration,
    /// Its owner.
    pub owner: Address,
    /// Who was offered to be the next, or zero.
    pub offered_to: Address,
    /// Whether the whole gateway is paused.
    pub is_paused: bool,
}

/// Where a lane is in its life on one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneStage {
    /// Announced, not open yet.
    Announced,
    /// In service.
    Open,
    /// Takes no new messages; what was sent is still delivered and settled.
    Closing,
    /// Closed for good.
    Closed,
}

/// What a lane permits on one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneTerms {
    /// Whether a failing receiver halts it.
    pub is_strict: bool,
    /// Longest payload.
    pub max_payload_bytes: u32,
    /// Highest gas limit of a message.
    pub max_gas_limit: u64,
    /// Longest time to a deadline.
    pub max_deadline: Duration,
    /// Gas of a sender's callback.
    pub callback_gas: u64,
    /// Most unsettled messages; 0 for no quota.
    pub quota: u64,
    /// Whether only listed accounts may send.
    pub has_sender_list: bool,
    /// Whether only listed contracts may receive.
    pub has_receiver_list: bool,
}

/// How a lane stands on one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Where it is in its life.
    pub stage: LaneStage,
    /// The chain that this gateway keeps: the outbox where it is the source, the inbox where it is the destination.
    pub keeps: Direction,
    /// Whether the lane itself is paused; the gateway may be as well.
    pub is_paused: bool,
    /// Who vouches for the other chain's heads.
    pub verifier: Address,
    /// When an announced lane may be opened or a closing one closed.
    pub ready_at: UnixMillis,
    /// What it permits.
    pub terms: LaneTerms,
    /// The chain that this gateway keeps. Zero before the lane is opened.
    pub own: ChainPoint,
    /// The other gateway's chain as far as it was taken in: messages accepted, or outcomes settled.
    pub peer: ChainPoint,
    /// At the source: the own outbox head at the index of `peer`. At the destination: zero.
    pub settled_outbox_head: Hash32,
    /// The message that halted a strict lane.
    pub halted: Option<MessageId>,
}

/// Asks for `heads(lane)`: the head that the gateway vouches for.
#[must_use]
pub fn head(lane: LaneId) -> Vec<u8> {
    Gateway::headsCall { lane: word(lane.0) }.abi_encode()
}

/// Reads the answer to [`head`]; zero when the lane is not open.
///
/// # Errors
/// [`DecodeError::NotCanonical`].
pub fn decode_head(answer: &[u8]) -> Result<Hash32, DecodeError> {
    decode_return::<Gateway::headsCall>(answer).map(hash)
}

/// Asks for `indexes(lane)`: the index of that head.
#[must_use]
pub fn index(lane: LaneId) -> Vec<u8> {
    Gateway::indexesCall { lane: word(lane.0) }.abi_encode()
}

/// Reads the answer to [`index`].
///
/// # Errors
/// [`DecodeError::NotCanonical`], or [`DecodeError::OutOfRange`] above 64 bits.
pub fn decode_index(answer: &[u8]) -> Result<Index, DecodeError> {
    let got = decode_return::<Gateway::indexesCall>(answer)?;
    u64::try_from(got).map(Index).map_err(|_| DecodeError::OutOfRange { field: "index", got })
}

/// Asks for everything about the gateway.
#[must_use]
pub fn gateway_status() -> Vec<u8> {
    Gateway::gatewayInfoCall {}.abi_encode()
}

/// Reads the answer to [`gateway_status`].
///
/// # Errors
/// [`DecodeError::NotCanonical`], or [`DecodeError::OutOfRange`] for an unknown clock.
pub fn decode_gateway_status(answer: &[u8]) -> Result<GatewayStatus, DecodeError> {
    let info = decode_return::<Gateway::gatewayInfoCall>(answer)?;
    if info.clock > 1 {
        return Err(DecodeError::OutOfRange { field: "clock", got: U256::from(info.clock) });
    }
    Ok(GatewayStatus {
        version: info.version,
        domain: Domain(hash(info.domain)),
        clock_is_millis: info.clock == 1,
        announce_delay: Duration::from_millis(info.openDelayMillis),
        close_delay: Duration::from_millis(info.closeDelayMillis),
        owner: address(info.owner),
        offered_to: address(info.proposedOwner),
        is_paused: info.paused,
    })
}

/// Asks a gateway of flavour `hash = precompile` with which selectors it calls applications.
#[must_use]
pub fn callback_selectors() -> Vec<u8> {
    PrecompileGateway::callbackSelectorsCall {}.abi_encode()
}

/// Reads the answer to [`callback_selectors`].
///
/// # Errors
/// [`DecodeError::NotCanonical`], or [`DecodeError::OutOfRange`] for unknown selectors.
pub fn decode_callback_selectors(answer: &[u8]) -> Result<Selectors, DecodeError> {
    let code = decode_return::<PrecompileGateway::callbackSelectorsCall>(answer)?;
    Selectors::from_code(code).ok_or(DecodeError::OutOfRange { field: "callback selectors", got: U256::from(code) })
}

/// Asks for everything about `lane`.
#[must_use]
pub fn lane_status(lane: LaneId) -> Vec<u8> {
    Gateway::laneInfoCall { lane: word(lane.0) }.abi_encode()
}

/// Reads the answer to [`lane_status`]; `None` when the gateway does not know the lane.
///
/// # Errors
/// [`DecodeError::NotCanonical`], or [`DecodeError::OutOfRange`] for an unknown state or role.
pub fn decode_lane_status(answer: &[u8]) -> Result<Option<LaneStatus>, DecodeError> {
    let info = decode_return::<Gateway::laneInfoCall>(answer)?;
    let stage = match info.state {
        0 => return Ok(None),
        1 => LaneStage::Announced,
        2 => LaneStage::Open,
        3 => LaneStage::Closing,
        4 => LaneStage::Closed,
        other => return Err(DecodeError::OutOfRange { field: "state", got: U256::from(other) }),
    };
    Ok(Some(LaneStatus {
        stage,
        keeps: kept_by_role(info.role)?,
        is_paused: info.paused,
        verifier: address(info.verifier),
        ready_at: UnixMillis(info.readyAtMillis),
        terms: LaneTerms {
            is_strict: info.limits.strict,
            max_payload_bytes: info.limits.maxPayloadBytes,
            max_gas_limit: info.limits.maxGasLimit,
            max_deadline: Duration::from_millis(info.limits.maxLifetimeMillis),
            callback_gas: info.limits.callbackGas,
            quota: info.limits.quota,
            has_sender_list: info.senderList,
            has_receiver_list: info.receiverList,
        },
        own: ChainPoint { index: Index(info.index), head: hash(info.head) },
        peer: ChainPoint { index: Index(info.peerIndex), head: hash(info.peerHead) },
        settled_outbox_head: hash(info.settledOutboxHead),
        halted: (!info.haltedId.is_zero()).then(|| MessageId(hash(info.haltedId))),
    }))
}

/// Asks whether `account` is on an allow-list of `lane`.
#[must_use]
pub fn is_allowed(lane: LaneId, list: AllowList, account: Address) -> Vec<u8> {
    Gateway::isAllowedCall { lane: word(lane.0), list: list.code(), account: word(account.0) }.abi_encode()
}

/// Reads the answer to [`is_allowed`].
///
/// # Errors
/// [`DecodeError::NotCanonical`].
pub fn decode_is_allowed(answer: &[u8]) -> Result<bool, DecodeError> {
    decode_return::<Gateway::isAllowedCall>(answer)
}

/// Asks for the outcome whose callback failed at `index` of `lane`.
#[must_use]
pub fn pending_callback(lane: LaneId, index: Index) -> Vec<u8> {
    Gateway::pendingCallbacksCall { lane: word(lane.0), index: index.0 }.abi_encode()
}

/// Reads the answer to [`pending_callback`]: the hash of the outcome, or `None`.
///
/// # Errors
/// [`DecodeError::NotCanonical`].
pub fn decode_pending_callback(answer: &[u8]) -> Result<Option<Hash32>, DecodeError> {
    let outcome = hash(decode_return::<Gateway::pendingCallbacksCall>(answer)?);
    Ok((outcome != Hash32::ZERO).then_some(outcome))
}

/// Asks a committee for its set in force.
#[must_use]
pub fn committee() -> Vec<u8> {
    Committee::committeeCall {}.abi_encode()
}

/// Reads the answer to [`committee`].
///
/// # Errors
/// [`DecodeError::NotCanonical`], or [`DecodeError::OutOfRange`] for a set that no committee can have.
pub fn decode_committee(answer: &[u8]) -> Result<CommitteeSet, DecodeError> {
    let set = decode_return::<Committee::committeeCall>(answer)?;
    let members: Vec<_> = set.members.iter().copied().map(attester).collect();
    CommitteeSet::new(Epoch(set.epoch), &members, set.threshold)
        .map_err(|_| DecodeError::OutOfRange { field: "threshold", got: U256::from(set.threshold) })
}

/// Asks a committee for the chain it stands on.
#[must_use]
pub fn committee_domain() -> Vec<u8> {
    Committee::domainCall {}.abi_encode()
}

/// Reads the answer to [`committee_domain`].
///
/// # Errors
/// [`DecodeError::NotCanonical`].
pub fn decode_committee_domain(answer: &[u8]) -> Result<Domain, DecodeError> {
    decode_return::<Committee::domainCall>(answer).map(|domain| Domain(hash(domain)))
}
