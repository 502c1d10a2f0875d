// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import "./IGateway.sol";
import "./Tuples.sol";
import {GatewayState} from "./GatewayState.sol";

/// @title The source's side again: outcomes come back.
abstract contract SettlementDesk is GatewayState {
    /// What the gateway needs after a callback besides the callback's gas.
    uint256 private constant CALLBACK_RESERVE_GAS = 5000;

    /// A batch being settled; in memory, because the stack is short.
    struct Account {
        uint64 nextIndex;
        bytes32 inboxHead;
        bytes32 outboxHead;
        bytes32[] ids;
        bytes32[] outcomes;
    }

    /// Settles `entries`, which begin at `firstIndex`, and calls their senders back.
    ///
    /// `head` is the inbox head at index  firstIndex + entries.length + tailOutcomes.length - 1,  for which `evidence`
    /// speaks. `tailIds` are the ids after the last entry up to an index whose outbox head this gateway has: the last
    /// one sent, a multiple of 64, or the last one of a recent block. Entries already settled are skipped; where all
    /// are, nothing happens.
    ///
    /// Checked, in order: no re-entry; a plain account; lane and role, open or closing, not paused; no gap; known
    /// statuses; the outbox chain over the recomputed ids equals what was sent; the inbox chain equals `head`; the
    /// lane's verifier vouches for `head`. A callback that fails leaves one slot for `retryCallback`.
    function settle(
        bytes32 lane,
        uint64 firstIndex,
        Settlement[] calldata entries,
        bytes32[] calldata tailOutcomes,
        bytes32[] calldata tailIds,
        bytes32 head,
        bytes calldata evidence
    ) external plainAccountsOnly {
        Lane storage info = _activeLane(lane, ROLE_SOURCE);
        Account memory account;
        account.nextIndex = info.settledIndex + 1;
        if (firstIndex == 0 || firstIndex > account.nextIndex) revert Gap(firstIndex, account.nextIndex);
        if (entries.length == 0) revert BatchEmpty();
        uint256 skipped = account.nextIndex - firstIndex;
        if (skipped >= entries.length) return;

        account.inboxHead = info.peerHead;
        account.outboxHead = info.settledOutboxHead;
        _recompute(account, lane, firstIndex, entries, skipped);
        uint64 lastIndex = firstIndex + uint64(entries.length) - 1;
        _requireSent(lane, lastIndex, account.outboxHead, tailIds);

        bytes32 recomputed = account.inboxHead;
        for (uint256 i = 0; i < tailOutcomes.length; i++) {
            recomputed = _inboxNext(recomputed, tailOutcomes[i]);
        }
        if (recomputed != head) revert HeadMismatch(recomputed, head);
        uint64 attestedIndex = lastIndex + uint64(tailOutcomes.length);
        _requireVouched(info.verifier, lane, DIRECTION_INBOX, attestedIndex, head, evidence);

        info.settledIndex = lastIndex;
        info.peerHead = account.inboxHead;
        info.settledOutboxHead = account.outboxHead;
        uint64 callbackGas = info.callbackGas;
        for (uint256 i = skipped; i < entries.length; i++) {
            uint256 mark = _markMemory();
            Settlement calldata entry = entries[i];
            uint64 index = firstIndex + uint64(i);
            bool callbackOk = _callBack(lane, index, entry, callbackGas, callbackGas);
            if (!callbackOk) pendingCallbacks[lane][index] = account.outcomes[i];
            emit MessageSettled(lane, index, account.ids[i], entry.status, entry.resultHash, callbackOk);
            _releaseMemory(mark);
        }
    }

    /// Calls a sender back whose callback had failed, with all the gas there is but at least the lane's. `entry` is the
    /// settled message and outcome. Reverts if the callback fails again. Works on a closed lane as well.
    function retryCallback(bytes32 lane, uint64 index, Settlement calldata entry) external plainAccountsOnly {
        Lane storage info = _lanes[lane];
        if (paused || info.paused) revert Paused(lane);
        (, bytes32 outcome) = _idAndOutcome(lane, index, entry);
        if (pendingCallbacks[lane][index] != outcome) revert NoPendingCallback(lane, index);
        pendingCallbacks[lane][index] = 0;
        if (!_callBack(lane, index, entry, info.callbackGas, gasleft())) revert CallbackFailed(index);
        emit CallbackRetried(lane, index);
    }

    function _recompute(
        Account memory account,
        bytes32 lane,
        uint64 firstIndex,
        Settlement[] calldata entries,
        uint256 skipped
    ) private view {
        account.ids = new bytes32[](entries.length);
        account.outcomes = new bytes32[](entries.length);
        for (uint256 i = skipped; i < entries.length; i++) {
            uint256 mark = _markMemory();
            (bytes32 id, bytes32 outcome) = _idAndOutcome(lane, firstIndex + uint64(i), entries[i]);
            account.ids[i] = id;
            account.outcomes[i] = outcome;
            account.outboxHead = _outboxNext(account.outboxHead, id);
            account.inboxHead = _inboxNext(account.inboxHead, outcome);
            _releaseMemory(mark);
        }
    }

    function _idAndOutcome(bytes32 lane, uint64 index, Settlement calldata entry)
        private
        view
        returns (bytes32 id, bytes32 outcome)
    {
        if (entry.status < STATUS_EXECUTED || entry.status > STATUS_SKIPPED) {
            revert StatusUnknown(index, entry.status);
        }
        id = _messageId(
            lane,
            index,
            entry.sender,
            entry.receiver,
            entry.deadlineMillis,
            entry.gasLimit,
            entry.payloadHash
        );
        outcome = _outcome(lane, index, id, entry.status, entry.resultHash);
    }

    /// The settled ids, followed by `tailIds`, must lead to an outbox head that this gateway still has: the newest one,
    /// the one at a multiple of ANCHOR_INTERVAL, or one that a recent block ended with.
    function _requireSent(bytes32 lane, uint64 lastIndex, bytes32 outboxHead, bytes32[] calldata tailIds)
        private
        view
    {
        uint64 endIndex = lastIndex + uint64(tailIds.length);
        for (uint256 i = 0; i < tailIds.length; i++) {
            outboxHead = _outboxNext(outboxHead, tailIds[i]);
        }
        bytes32 expected = endIndex == indexes[lane] ? heads[lane] : _anchors[lane][endIndex];
        if (expected == 0) {
            // Heads of different indexes never agree, so it does not matter whose head the place holds now.
            if (_recentHeads[lane][endIndex % RECENT_PLACES] != outboxHead) revert NoOutboxHeadAt(endIndex);
        } else if (outboxHead != expected) {
            revert NeverSent(endIndex, outboxHead, expected);
        }
    }

    /// Calls the sender back with `callGas`, of which at least `atLeast` must be there. True as well where there is
    /// nobody to call.
    function _callBack(bytes32 lane, uint64 index, Settlement calldata entry, uint64 atLeast, uint256 callGas)
        private
        returns (bool ok)
    {
        address sender = _asAddress(entry.sender);
        // Plain accounts send too, and a call to an account without code would prove nothing.
        if (sender.code.length == 0) return true;
        bytes memory input =
            abi.encodeWithSelector(_senderSelector(), lane, index, entry.status, entry.resultHash);
        bool short;
        assembly ("memory-safe") {
            // A call forwards at most all but one 64th (EIP-150).
            let left := sub(gas(), CALLBACK_RESERVE_GAS)
            short := or(lt(gas(), CALLBACK_RESERVE_GAS), lt(sub(left, div(left, 64)), atLeast))
        }
        if (short) revert NotEnoughGas(index, atLeast);
        assembly ("memory-safe") {
            // Nothing of the return data is read, so nothing is copied.
            ok := call(callGas, sender, 0, add(input, 0x20), mload(input), 0, 0)
        }
    }
}
