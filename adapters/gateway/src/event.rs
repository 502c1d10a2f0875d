//! What the contracts say, decoded strictly.

use alloy_primitives::U256;
use alloy_sol_types::SolEvent;
use cityrelay_core::attestation::Committee as CommitteeSet;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Epoch, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::Outcome;

use crate::abi::{Committee, Gateway};
use crate::call::AllowList;
use crate::strict::{DecodeError, address, attester, decode_event, direction, hash, kept_by_role, status};

/// One event of a gateway or a committee.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatewayEvent {
    /// An application sent a message.
    MessageSent {
        /// The lane.
        lane: LaneId,
        /// The whole message.
        message: Message,
        /// Outbox head at the message's index.
        head: Hash32,
    },
    /// A gateway said what it vouches for.
    Checkpoint {
        /// The chain.
        flow: Flow,
        /// Where it stands.
        point: ChainPoint,
    },
    /// A message was accepted, or skipped.
    MessageDelivered {
        /// The lane.
        lane: LaneId,
        /// The outcome.
        outcome: Outcome,
        /// The result whose hash is in the outcome.
        result: Vec<u8>,
        /// Inbox head at the message's index.
        head: Hash32,
    },
    /// A message of a strict lane failed and was not accepted.
    LaneHalted {
        /// The lane.
        lane: LaneId,
        /// The message's index.
        index: Index,
        /// The message.
        id: MessageId,
        /// What the receiver said, bounded.
        result: Vec<u8>,
    },
    /// An outcome was settled.
    MessageSettled {
        /// The lane.
        lane: LaneId,
        /// The outcome.
        outcome: Outcome,
        /// Whether the sender took the callback, or there was nobody to call.
        is_callback_ok: bool,
    },
    /// A callback that had failed succeeded.
    CallbackRetried {
        /// The lane.
        lane: LaneId,
        /// The message's index.
        index: Index,
    },
    /// The owner announced a lane.
    LaneAnnounced {
        /// The lane.
        lane: LaneId,
        /// When it may be opened.
        ready_at: UnixMillis,
    },
    /// The owner opened a lane.
    LaneOpened {
        /// The chain that this gateway keeps from now on.
        flow: Flow,
        /// Its first head.
        head: Hash32,
    },
    /// The owner announced that a lane will close.
    CloseAnnounced {
        /// The lane.
        lane: LaneId,
        /// When it may be closed.
        ready_at: UnixMillis,
    },
    /// The owner closed a lane.
    LaneClosed {
        /// The lane.
        lane: LaneId,
        /// Sent (source) or accepted (destination) messages.
        index: Index,
        /// Settled (source) or accepted (destination) messages; what lies between is unknown.
        peer_index: Index,
    },
    /// The owner paused or resumed.
    PauseChanged {
        /// The lane, or `None` for the whole gateway.
        lane: Option<LaneId>,
        /// Paused or not.
        is_paused: bool,
    },
    /// The owner edited an allow-list.
    AllowanceChanged {
        /// The lane.
        lane: LaneId,
        /// The list.
        list: AllowList,
        /// The account.
        account: Address,
        /// On the list or not.
        is_allowed: bool,
    },
    /// The owner offered the gateway.
    OwnershipOffered {
        /// The owner.
        owner: Address,
        /// The next one; zero withdraws.
        offered_to: Address,
    },
    /// The gateway has another owner. The first one follows the zero address.
    OwnerChanged {
        /// Before.
        previous: Address,
        /// From now on.
        owner: Address,
    },
    /// A committee has another set, or its first.
    Rotated {
        /// The set.
        committee: CommitteeSet,
    },
}

/// Decodes one event of a gateway or a committee from its topics and data.
///
/// Checks, in order: the first topic is a known event; topics and data are exactly what the event encodes to; numbers
/// of directions, roles, lists and statuses are known; a delivered result hashes into its outcome by construction.
/// That the event is genuine is for the caller to prove.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(topics: &[Hash32], data: &[u8]) -> Result<GatewayEvent, DecodeError> {
    let topic = topics.first().copied();
    match topic.map(|topic| topic.0.into()) {
        Some(Gateway::MessageSent::SIGNATURE_HASH) => message_sent(topics, data),
        Some(Gateway::Checkpoint::SIGNATURE_HASH) => checkpoint(topics, data),
        Some(Gateway::MessageDelivered::SIGNATURE_HASH) => message_delivered(topics, data),
        Some(Gateway::LaneHalted::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::LaneHalted>(topics, data)?;
            Ok(GatewayEvent::LaneHalted {
                lane: LaneId(hash(event.lane)),
                index: Index(event.index),
                id: MessageId(hash(event.id)),
                result: event.result.into(),
            })
        }
        Some(Gateway::MessageSettled::SIGNATURE_HASH) => message_settled(topics, data),
        Some(Gateway::CallbackRetried::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::CallbackRetried>(topics, data)?;
            Ok(GatewayEvent::CallbackRetried { lane: LaneId(hash(event.lane)), index: Index(event.index) })
        }
        Some(Committee::Rotated::SIGNATURE_HASH) => rotated(topics, data),
        _ => owner_action(topic, topics, data),
    }
}

/// First topic of [`GatewayEvent::MessageSent`]; the lane is the second topic, the index the third.
#[must_use]
pub fn message_sent_topic() -> Hash32 {
    hash(Gateway::MessageSent::SIGNATURE_HASH)
}

/// First topic of [`GatewayEvent::MessageDelivered`]; the lane is the second topic, the index the third.
#[must_use]
pub fn message_delivered_topic() -> Hash32 {
    hash(Gateway::MessageDelivered::SIGNATURE_HASH)
}

/// First topic of [`GatewayEvent::Checkpoint`]; the lane is the second topic.
#[must_use]
pub fn checkpoint_topic() -> Hash32 {
    hash(Gateway::Checkpoint::SIGNATURE_HASH)
}

fn message_sent(topics: &[Hash32], data: &[u8]) -> Result<GatewayEvent, DecodeError> {
    let event = decode_event::<Gateway::MessageSent>(topics, data)?;
    Ok(GatewayEvent::MessageSent {
        lane: LaneId(hash(event.lane)),
        message: Message {
            index: Index(event.index),
            sender: Address(hash(event.sender)),
            receiver: Address(hash(event.receiver)),
            deadline: UnixMillis(event.deadlineMillis),
            gas_limit: event.gasLimit,
            payload: Payload::Bytes(event.payload.into()),
        },
        head: hash(event.head),
    })
}

fn checkpoint(topics: &[Hash32], data: &[u8]) -> Result<GatewayEvent, DecodeError> {
    let event = decode_event::<Gateway::Checkpoint>(topics, data)?;
    Ok(GatewayEvent::Checkpoint {
        flow: Flow { lane: LaneId(hash(event.lane)), direction: direction(event.direction)? },
        point: ChainPoint { index: Index(event.index), head: hash(event.head) },
    })
}

fn message_delivered(topics: &[Hash32], data: &[u8]) -> Result<GatewayEvent, DecodeError> {
    let event = decode_event::<Gateway::MessageDelivered>(topics, data)?;
    Ok(GatewayEvent::MessageDelivered {
        lane: LaneId(hash(event.lane)),
        outcome: Outcome {
            index: Index(event.index),
            message: MessageId(hash(event.id)),
            status: status(event.status)?,
            result_hash: keccak256(&event.result),
        },
        result: event.result.into(),
        head: hash(event.head),
    })
}

fn message_settled(topics: &[Hash32], data: &[u8]) -> Result<GatewayEvent, DecodeError> {
    let event = decode_event::<Gateway::MessageSettled>(topics, data)?;
    Ok(GatewayEvent::MessageSettled {
        lane: LaneId(hash(event.lane)),
        outcome: Outcome {
            index: Index(event.index),
            message: MessageId(hash(event.id)),
            status: status(event.status)?,
            result_hash: hash(event.resultHash),
        },
        is_callback_ok: event.callbackOk,
    })
}

fn rotated(topics: &[Hash32], data: &[u8]) -> Result<GatewayEvent, DecodeError> {
    let event = decode_event::<Committee::Rotated>(topics, data)?;
    let members: Vec<_> = event.members.iter().copied().map(attester).collect();
    let committee = CommitteeSet::new(Epoch(event.epoch), &members, event.threshold)
        .map_err(|_| DecodeError::OutOfRange { field: "threshold", got: U256::from(event.threshold) })?;
    Ok(GatewayEvent::Rotated { committee })
}

fn owner_action(topic: Option<Hash32>, topics: &[Hash32], data: &[u8]) -> Result<GatewayEvent, DecodeError> {
    match topic.map(|topic| topic.0.into()) {
        Some(Gateway::LaneAnnounced::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::LaneAnnounced>(topics, data)?;
            let ready_at = UnixMillis(event.readyAtMillis);
            Ok(GatewayEvent::LaneAnnounced { lane: LaneId(hash(event.lane)), ready_at })
        }
        Some(Gateway::LaneOpened::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::LaneOpened>(topics, data)?;
            let flow = Flow { lane: LaneId(hash(event.lane)), direction: kept_by_role(event.role)? };
            Ok(GatewayEvent::LaneOpened { flow, head: hash(event.head) })
        }
        Some(Gateway::CloseAnnounced::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::CloseAnnounced>(topics, data)?;
            let ready_at = UnixMillis(event.readyAtMillis);
            Ok(GatewayEvent::CloseAnnounced { lane: LaneId(hash(event.lane)), ready_at })
        }
        Some(Gateway::LaneClosed::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::LaneClosed>(topics, data)?;
            Ok(GatewayEvent::LaneClosed {
                lane: LaneId(hash(event.lane)),
                index: Index(event.index),
                peer_index: Index(event.peerIndex),
            })
        }
        Some(Gateway::PauseChanged::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::PauseChanged>(topics, data)?;
            let lane = hash(event.lane);
            let lane = if lane == Hash32::ZERO { None } else { Some(LaneId(lane)) };
            Ok(GatewayEvent::PauseChanged { lane, is_paused: event.paused })
        }
        Some(Gateway::AllowanceChanged::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::AllowanceChanged>(topics, data)?;
            let list = AllowList::from_code(event.list)
                .ok_or(DecodeError::OutOfRange { field: "list", got: U256::from(event.list) })?;
            Ok(GatewayEvent::AllowanceChanged {
                lane: LaneId(hash(event.lane)),
                list,
                account: Address(hash(event.account)),
                is_allowed: event.allowed,
            })
        }
        Some(Gateway::HandOverProposed::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::HandOverProposed>(topics, data)?;
            Ok(GatewayEvent::OwnershipOffered { owner: address(event.owner), offered_to: address(event.proposed) })
        }
        Some(Gateway::OwnerChanged::SIGNATURE_HASH) => {
            let event = decode_event::<Gateway::OwnerChanged>(topics, data)?;
            Ok(GatewayEvent::OwnerChanged { previous: address(event.previous), owner: address(event.owner) })
        }
        _ => Err(DecodeError::UnknownEvent { topic }),
    }
}

impl GatewayEvent {
    /// The chain and head that this event tells about, where it does: a hint for reading back.
    #[must_use]
    pub fn point(&self) -> Option<(Flow, ChainPoint)> {
        let at = |lane: LaneId, direction, index, head| (Flow { lane, direction }, ChainPoint { index, head });
        match self {
            Self::MessageSent { lane, message, head } => Some(at(*lane, Direction::Outbox, message.index, *head)),
            Self::MessageDelivered { lane, outcome, head, .. } => {
                Some(at(*lane, Direction::Inbox, outcome.index, *head))
            }
            Self::Checkpoint { flow, point } => Some((*flow, *point)),
            Self::LaneOpened { flow, head } => Some((*flow, ChainPoint { index: Index(0), head: *head })),
            _ => None,
        }
    }
}
