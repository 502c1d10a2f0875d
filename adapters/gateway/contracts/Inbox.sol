// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import "./IGateway.sol";
import "./Tuples.sol";
import {GatewayState} from "./GatewayState.sol";

/// @title The destination's side: accepting messages and executing them.
abstract contract Inbox is GatewayState {
    /// The longest result that is kept of a receiver's return or revert data.
    uint256 private constant MAX_RESULT_BYTES = 256;
    /// What the frame around a receiver needs besides the receiver's gas.
    uint256 private constant FRAME_GAS = 5000;
    /// Precompiles and system contracts lie below; no deployed contract ever does.
    uint160 private constant FIRST_CONTRACT = 1 << 32;
    /// First byte of the frame's revert data: the gas left did not cover the message's limit.
    uint8 private constant FRAME_SHORT = 0;
    /// First byte of the frame's revert data: the receiver failed; its bounded data follow.
    uint8 private constant FRAME_FAILED = 1;

    /// A batch being delivered; in memory, because the stack is short.
    struct Batch {
        bytes32 lane;
        uint64 nextIndex;
        uint64 nowMillis;
        bytes32 outboxHead;
        bytes32 inboxHead;
        bytes32 haltedId;
        bool halted;
    }

    /// Accepts and executes `entries`, which begin at `firstIndex`.
    ///
    /// `head` is the outbox head at index  firstIndex + entries.length + tailIds.length - 1,  for which `evidence`
    /// speaks; `tailIds` are the ids between the last entry and that index, so that a batch can be halved under the
    /// same evidence. Entries already accepted are skipped; where all are, nothing is checked and nothing happens.
    ///
    /// Checked, in order: no re-entry; a plain account; lane and role, open or closing, not paused; no gap; the chain
    /// recomputed from the accepted head equals `head`; the lane's verifier vouches for `head`. Then per entry:
    /// expired, or refused as a receiver, or called. A strict lane halts before an entry that fails.
    function deliver(
        bytes32 lane,
        uint64 firstIndex,
        Entry[] calldata entries,
        bytes32[] calldata tailIds,
        bytes32 head,
        bytes calldata evidence
    ) external plainAccountsOnly {
        Lane storage info = _activeLane(lane, ROLE_DESTINATION);
        Batch memory batch;
        batch.lane = lane;
        batch.nextIndex = uint64(indexes[lane]) + 1;
        batch.nowMillis = _nowMillis();
        if (firstIndex == 0 || firstIndex > batch.nextIndex) revert Gap(firstIndex, batch.nextIndex);
        if (entries.length == 0) revert BatchEmpty();
        uint256 skipped = batch.nextIndex - firstIndex;
        if (skipped >= entries.length) return;

        bytes32[] memory ids = _recomputeIds(batch, firstIndex, entries, skipped);
        bytes32 recomputed = info.peerHead;
        for (uint256 i = skipped; i < entries.length; i++) {
            recomputed = _outboxNext(recomputed, ids[i]);
        }
        for (uint256 i = 0; i < tailIds.length; i++) {
            recomputed = _outboxNext(recomputed, tailIds[i]);
        }
        if (recomputed != head) revert HeadMismatch(recomputed, head);
        uint64 attestedIndex = firstIndex + uint64(entries.length + tailIds.length) - 1;
        _requireVouched(info.verifier, lane, DIRECTION_OUTBOX, attestedIndex, head, evidence);

        batch.outboxHead = info.peerHead;
        batch.inboxHead = heads[lane];
        batch.haltedId = info.haltedId;
        bytes32 haltedBefore = batch.haltedId;
        for (uint256 i = skipped; i < entries.length && !batch.halted; i++) {
            uint256 mark = _markMemory();
            _acceptEntry(batch, info, entries[i], ids[i]);
            _releaseMemory(mark);
        }
        if (batch.haltedId != haltedBefore) info.haltedId = batch.haltedId;
        _store(batch, info);
    }

    /// Steps over the message that halted a strict lane, which must be the next: its outcome is *skipped*.
    function skip(bytes32 lane, uint64 index) external ownerOnly {
        Lane storage info = _lanes[lane];
        if (info.role != ROLE_DESTINATION) revert LaneIsNot(lane, ROLE_DESTINATION);
        if (info.state != STATE_OPEN && info.state != STATE_CLOSING) revert WrongState(lane, info.state);
        Batch memory batch;
        batch.lane = lane;
        batch.nextIndex = uint64(indexes[lane]) + 1;
        bytes32 id = info.haltedId;
        if (id == 0 || index != batch.nextIndex) revert NotHalted(lane, index);
        batch.outboxHead = info.peerHead;
        batch.inboxHead = heads[lane];
        info.haltedId = 0;
        _append(batch, id, STATUS_SKIPPED, "");
        _store(batch, info);
    }

    /// The frame around a receiver, called by the gateway itself: whatever is not *executed* reverts with it. Reverts
    /// with FRAME_SHORT, or with FRAME_FAILED and the bounded data; with nothing where gas ran out outside the receiver.
    function execute(
        bytes32 lane,
        uint64 index,
        bytes32 sender,
        address receiver,
        uint64 gasLimit,
        bytes calldata payload
    ) external {
        if (msg.sender != address(this)) revert OnlySelf(msg.sender);
        bytes memory input = abi.encodeWithSelector(_receiverSelector(), lane, index, sender, payload);
        assembly ("memory-safe") {
            // A call forwards at most all but one 64th (EIP-150); less than gasLimit would make the caller, not the
            // receiver, decide the outcome.
            let left := sub(gas(), FRAME_GAS)
            if or(lt(gas(), FRAME_GAS), lt(sub(left, div(left, 64)), gasLimit)) {
                mstore8(0, FRAME_SHORT)
                revert(0, 1)
            }
            let ok := call(gasLimit, receiver, 0, add(input, 0x20), mload(input), 0, 0x20)
            if iszero(and(and(ok, eq(returndatasize(), 0x20)), eq(mload(0), RECEIVED))) {
                let size := returndatasize()
                if gt(size, MAX_RESULT_BYTES) { size := MAX_RESULT_BYTES }
                let out := mload(0x40)
                mstore8(out, FRAME_FAILED)
                returndatacopy(add(out, 1), 0, size)
                revert(out, add(size, 1))
            }
        }
    }

    /// The ids of entries `skipped` and later; what is before stays zero.
    function _recomputeIds(Batch memory batch, uint64 firstIndex, Entry[] calldata entries, uint256 skipped)
        private
        view
        returns (bytes32[] memory ids)
    {
        ids = new bytes32[](entries.length);
        for (uint256 i = skipped; i < entries.length; i++) {
            uint256 mark = _markMemory();
            Entry calldata entry = entries[i];
            uint64 index = firstIndex + uint64(i);
            bytes32 payloadHash;
            if (entry.payloadHashed) {
                if (batch.nowMillis <= entry.deadlineMillis) {
                    revert NotExpired(index, entry.deadlineMillis, batch.nowMillis);
                }
                if (entry.payload.length != 32) revert PayloadHashMalformed(index, entry.payload.length);
                payloadHash = bytes32(entry.payload);
            } else {
                payloadHash = _hash(entry.payload);
            }
            ids[i] = _messageId(
                batch.lane, index, entry.sender, entry.receiver, entry.deadlineMillis, entry.gasLimit, payloadHash
            );
            _releaseMemory(mark);
        }
    }

    function _acceptEntry(Batch memory batch, Lane storage info, Entry calldata entry, bytes32 id) private {
        uint8 status;
        bytes memory result;
        if (batch.nowMillis > entry.deadlineMillis) {
            status = STATUS_EXPIRED;
        } else {
            bytes4 refusal = _refusal(batch.lane, info, entry);
            (status, result) = refusal == 0
                ? _execute(batch, entry)
                : (STATUS_FAILED, abi.encodePacked(refusal));
        }
        if (status == STATUS_FAILED && info.strict) {
            if (batch.haltedId == id) revert StillFailing(batch.nextIndex, result);
            batch.haltedId = id;
            batch.halted = true;
            emit LaneHalted(batch.lane, batch.nextIndex, id, result);
            return;
        }
        batch.haltedId = 0;
        _append(batch, id, status, result);
    }

    /// Why the entry cannot be executed here at all, or zero.
    function _refusal(bytes32 lane, Lane storage info, Entry calldata entry) private view returns (bytes4) {
        if (entry.gasLimit > info.maxGasLimit || entry.payload.length > info.maxPayloadBytes) {
            return AboveLimits.selector;
        }
        address receiver = _asAddress(entry.receiver);
        if (
            !_isAddress(entry.receiver) || uint160(receiver) < FIRST_CONTRACT || receiver == address(this)
                || _isVerifier[receiver]
        ) return ReceiverRefused.selector;
        if (info.receiverList && !_allowed[lane][LIST_RECEIVERS][entry.receiver]) return ReceiverNotListed.selector;
        // A call to an account without code succeeds, on some chains even with return data.
        if (receiver.code.length == 0) return ReceiverHasNoCode.selector;
        return 0;
    }

    function _execute(Batch memory batch, Entry calldata entry) private returns (uint8, bytes memory) {
        (bool executed, bytes memory answer) = address(this).call(
            abi.encodeCall(
                this.execute,
                (
                    batch.lane,
                    batch.nextIndex,
                    entry.sender,
                    _asAddress(entry.receiver),
                    entry.gasLimit,
                    entry.payload
                )
            )
        );
        if (executed) return (STATUS_EXECUTED, abi.encode(RECEIVED));
        if (answer.length == 0 || uint8(answer[0]) != FRAME_FAILED) {
            revert NotEnoughGas(batch.nextIndex, entry.gasLimit);
        }
        // The receiver's own data lie behind the first byte.
        bytes memory result;
        assembly ("memory-safe") {
            result := add(answer, 1)
            mstore(result, sub(mload(answer), 1))
        }
        return (STATUS_FAILED, result);
    }

    /// Extends both chains of the batch by one message.
    function _append(Batch memory batch, bytes32 id, uint8 status, bytes memory result) private {
        uint64 index = batch.nextIndex;
        batch.outboxHead = _outboxNext(batch.outboxHead, id);
        batch.inboxHead = _inboxNext(batch.inboxHead, _outcome(batch.lane, index, id, status, _hash(result)));
        batch.nextIndex = index + 1;
        emit MessageDelivered(batch.lane, index, id, status, result, batch.inboxHead);
    }

    function _store(Batch memory batch, Lane storage info) private {
        indexes[batch.lane] = batch.nextIndex - 1;
        heads[batch.lane] = batch.inboxHead;
        info.peerHead = batch.outboxHead;
    }
}
