// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import "./IGateway.sol";
import {GatewayState} from "./GatewayState.sol";

/// @title The source's side: sending; and the checkpoint, which both sides have.
abstract contract Outbox is GatewayState {
    /// Sends `payload` to `receiver` on the lane's other chain and returns the message's index and id.
    ///
    /// The sender is msg.sender, which may be a contract, also one that is just receiving a message or an outcome.
    /// `deadlineMillis` is unix time; the message is delivered at or before it, or expires. `gasLimit` is exactly
    /// what the receiver gets.
    function send(bytes32 lane, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes calldata payload)
        external
        returns (uint64 index, bytes32 id)
    {
        Lane storage info = _activeLane(lane, ROLE_SOURCE);
        if (info.state != STATE_OPEN) revert WrongState(lane, info.state);
        if (payload.length > info.maxPayloadBytes) revert PayloadTooLong(payload.length, info.maxPayloadBytes);
        if (gasLimit == 0 || gasLimit > info.maxGasLimit) revert GasLimitOutOfRange(gasLimit, info.maxGasLimit);
        uint64 nowMillis = _nowMillis();
        if (deadlineMillis <= nowMillis) revert DeadlinePassed(deadlineMillis, nowMillis);
        if (deadlineMillis - nowMillis > info.maxLifetimeMillis) {
            revert DeadlineTooFar(deadlineMillis, nowMillis + info.maxLifetimeMillis);
        }
        bytes32 sender = _asWord(msg.sender);
        if (info.senderList && !_allowed[lane][LIST_SENDERS][sender]) revert SenderNotAllowed(sender);
        if (receiver == 0 || (info.receiverList && !_allowed[lane][LIST_RECEIVERS][receiver])) {
            revert ReceiverNotAllowed(receiver);
        }
        index = uint64(indexes[lane]) + 1;
        if (info.quota != 0 && index - info.settledIndex > info.quota) {
            revert QuotaExceeded(index - info.settledIndex, info.quota);
        }
        id = _messageId(lane, index, sender, receiver, deadlineMillis, gasLimit, _hash(payload));
        bytes32 head = heads[lane];
        if (info.lastSendBlock != block.number) {
            info.lastSendBlock = uint64(block.number);
            _recentHeads[lane][(index - 1) % RECENT_PLACES] = head;
        }
        head = _outboxNext(head, id);
        heads[lane] = head;
        indexes[lane] = index;
        if (index % ANCHOR_INTERVAL == 0) _anchors[lane][index] = head;
        emit MessageSent(lane, index, sender, receiver, deadlineMillis, gasLimit, payload, head);
    }

    /// Says again what this gateway vouches for on `lane`: the outbox chain (direction 0) where it is the source, the
    /// inbox chain (1) where it is the destination. One event, no call, no answer: relays that cannot prove storage
    /// prove this transaction. Works on a paused, closing or closed lane as well.
    function checkpoint(bytes32 lane, uint8 direction) external plainAccountsOnly {
        Lane storage info = _lanes[lane];
        if (info.state < STATE_OPEN) revert WrongState(lane, info.state);
        uint8 expected = _directionOf(info.role);
        if (direction != expected) revert WrongDirection(direction, expected);
        emit Checkpoint(lane, direction, uint64(indexes[lane]), heads[lane]);
    }
}
