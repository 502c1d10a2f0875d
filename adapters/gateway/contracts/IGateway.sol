// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LaneIdentity} from "./Tuples.sol";

// The lane is unknown.
uint8 constant STATE_NONE = 0;
// Announced; may be opened from `readyAtMillis` on.
uint8 constant STATE_ANNOUNCED = 1;
// In service.
uint8 constant STATE_OPEN = 2;
// Takes no new messages, delivers and settles; may be closed from `readyAtMillis` on.
uint8 constant STATE_CLOSING = 3;
// Closed for good. What is unsettled is unknown.
uint8 constant STATE_CLOSED = 4;

// This gateway is the lane's source.
uint8 constant ROLE_SOURCE = 1;
// This gateway is the lane's destination.
uint8 constant ROLE_DESTINATION = 2;

// List of the accounts that may send on a lane.
uint8 constant LIST_SENDERS = 0;
// List of the accounts that may be receivers on a lane.
uint8 constant LIST_RECEIVERS = 1;

/// What one end of a lane permits. Fixed when the lane opens; not part of the lane's identity.
struct LaneLimits {
    /// A failing receiver halts the lane. Needs a list of senders and one of receivers.
    bool strict;
    /// Longest payload in bytes.
    uint32 maxPayloadBytes;
    /// Highest gas limit of a message; at least 1.
    uint64 maxGasLimit;
    /// Longest time from now to a deadline, in milliseconds; at least 1.
    uint64 maxLifetimeMillis;
    /// The gas that a sender's callback gets.
    uint64 callbackGas;
    /// Most messages that may be sent and not yet settled; 0 for no quota.
    uint64 quota;
}

/// What `laneInfo` shows.
struct LaneInfo {
    uint8 state;
    uint8 role;
    bool paused;
    address verifier;
    uint64 readyAtMillis;
    LaneLimits limits;
    /// Only listed accounts may send.
    bool senderList;
    /// Only listed accounts may receive.
    bool receiverList;
    /// Source: messages sent. Destination: messages accepted.
    uint64 index;
    /// The head at `index`: of the outbox chain at the source, of the inbox chain at the destination.
    bytes32 head;
    /// Source: messages settled. Destination: equal to `index`.
    uint64 peerIndex;
    /// The head at `peerIndex` of the other gateway's chain: the inbox chain at the source, the outbox chain at the
    /// destination.
    bytes32 peerHead;
    /// Source: the head of the own outbox chain at `peerIndex`. Destination: zero.
    bytes32 settledOutboxHead;
    /// Destination: the id of the message that halted a strict lane, or zero.
    bytes32 haltedId;
}

/// What `gatewayInfo` shows.
struct GatewayInfo {
    uint32 version;
    bytes32 domain;
    /// 0: `block.timestamp` counts seconds, 1: milliseconds.
    uint8 clock;
    uint64 openDelayMillis;
    uint64 closeDelayMillis;
    address owner;
    address proposedOwner;
    bool paused;
}

/// A message as the destination gateway is given it.
struct Entry {
    bytes32 sender;
    bytes32 receiver;
    uint64 deadlineMillis;
    uint64 gasLimit;
    /// `payload` is the 32-byte hash of the payload. Only for an expired message.
    bool payloadHashed;
    bytes payload;
}

/// A message and its outcome as the source gateway is given them.
struct Settlement {
    bytes32 sender;
    bytes32 receiver;
    uint64 deadlineMillis;
    uint64 gasLimit;
    bytes32 payloadHash;
    uint8 status;
    bytes32 resultHash;
}

/// @title What the gateway says.
interface IGatewayEvents {
    event MessageSent(
        bytes32 indexed lane,
        uint64 indexed index,
        bytes32 sender,
        bytes32 receiver,
        uint64 deadlineMillis,
        uint64 gasLimit,
        bytes payload,
        bytes32 head
    );
    /// The index and head that this gateway vouches for now, and nothing else.
    event Checkpoint(bytes32 indexed lane, uint8 direction, uint64 index, bytes32 head);
    /// `head` is the inbox head at `index`. `result` is bounded; its hash is part of the outcome.
    event MessageDelivered(
        bytes32 indexed lane, uint64 indexed index, bytes32 id, uint8 status, bytes result, bytes32 head
    );
    /// Message `index` of a strict lane failed: it was not accepted.
    event LaneHalted(bytes32 indexed lane, uint64 indexed index, bytes32 id, bytes result);
    event MessageSettled(
        bytes32 indexed lane, uint64 indexed index, bytes32 id, uint8 status, bytes32 resultHash, bool callbackOk
    );
    event CallbackRetried(bytes32 indexed lane, uint64 indexed index);

    event LaneAnnounced(
        bytes32 indexed lane,
        LaneIdentity identity,
        LaneLimits limits,
        bytes32[] senders,
        bytes32[] receivers,
        uint64 readyAtMillis
    );
    /// `head` is the first head of the chain that this gateway keeps.
    event LaneOpened(bytes32 indexed lane, uint8 role, bytes32 head);
    event CloseAnnounced(bytes32 indexed lane, uint64 readyAtMillis);
    /// `index` is what this gateway sent or accepted, `peerIndex` what it settled or accepted.
    event LaneClosed(bytes32 indexed lane, uint64 index, uint64 peerIndex);
    /// `lane` is zero for the whole gateway.
    event PauseChanged(bytes32 indexed lane, bool paused);
    event AllowanceChanged(bytes32 indexed lane, uint8 list, bytes32 account, bool allowed);
    event HandOverProposed(address owner, address proposed);
    event OwnerChanged(address previous, address owner);
}

/// @title Why the gateway refuses.
interface IGatewayErrors {
    error ZeroNotAllowed();
    error OnlyOwner(address caller);
    error OnlyProposedOwner(address caller);
    error OnlySelf(address caller);
    /// The caller is a contract, or was called by one.
    error OnlyPlainAccounts(address caller);
    error ReEntered();
    error Paused(bytes32 lane);

    error LaneIsNot(bytes32 lane, uint8 expectedRole);
    /// The lane's state does not permit this.
    error WrongState(bytes32 lane, uint8 state);
    error TooEarly(uint64 nowMillis, uint64 readyAtMillis);
    /// Exactly one end must be this chain.
    error WrongDomains(bytes32 source, bytes32 destination);
    /// This end's gateway in the identity is not this contract, or the other end's is zero.
    error WrongGateway(bytes32 local, bytes32 remote);
    /// This end's verifier is no contract or vouches for anything, or the other end's is zero.
    error WrongVerifier(bytes32 local, bytes32 remote);
    error StrictNeedsLists();
    error LimitsMalformed();
    error NoSuchList(bytes32 lane, uint8 list);

    error WrongDirection(uint8 got, uint8 expected);
    error PayloadTooLong(uint256 got, uint256 max);
    error GasLimitOutOfRange(uint64 got, uint64 max);
    error DeadlinePassed(uint64 deadlineMillis, uint64 nowMillis);
    error DeadlineTooFar(uint64 deadlineMillis, uint64 latestMillis);
    error SenderNotAllowed(bytes32 sender);
    error ReceiverNotAllowed(bytes32 receiver);
    error QuotaExceeded(uint64 unsettled, uint64 quota);

    /// The batch begins after the next index.
    error Gap(uint64 firstIndex, uint64 nextIndex);
    error BatchEmpty();
    error HeadMismatch(bytes32 got, bytes32 expected);
    error NotVouched(bytes32 got);
    /// A payload is replaced by its hash, but the message is not expired.
    error NotExpired(uint64 index, uint64 deadlineMillis, uint64 nowMillis);
    /// A replaced payload is not 32 bytes.
    error PayloadHashMalformed(uint64 index, uint256 length);
    /// What is left does not cover the message's gas limit. Halve the batch or give more gas.
    error NotEnoughGas(uint64 index, uint64 gasLimit);
    /// The message that halted the lane failed again.
    error StillFailing(uint64 index, bytes result);
    /// Only the message that halted the lane can be skipped.
    error NotHalted(bytes32 lane, uint64 index);

    error StatusUnknown(uint64 index, uint8 status);
    /// Not an outbox head that this gateway still has: end at the last index, a multiple of 64, or where a recent block did.
    error NoOutboxHeadAt(uint64 index);
    error NeverSent(uint64 index, bytes32 got, bytes32 expected);
    error NoPendingCallback(bytes32 lane, uint64 index);
    error CallbackFailed(uint64 index);

    // The results of messages that failed without a call: their selectors are the result bytes.

    /// The receiver is no address, or is this gateway, a verifier or a precompile.
    error ReceiverRefused();
    /// The receiver is not on this end's list.
    error ReceiverNotListed();
    /// There is no contract at the receiver.
    error ReceiverHasNoCode();
    /// Payload or gas limit are above this end's maxima.
    error AboveLimits();
}
