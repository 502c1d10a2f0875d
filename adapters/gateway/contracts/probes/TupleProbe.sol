// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {OpcodeFlavour} from "../OpcodeFlavour.sol";
import {LaneIdentity, Tuples} from "../Tuples.sol";

/// Shows every hashed tuple as the gateway computes it, for the golden vectors.
abstract contract TupleViews is Tuples {
    function domainOf(bytes32 nameHash, bytes32 anchorBlockHash) external view returns (bytes32) {
        return _domainOf(nameHash, anchorBlockHash);
    }

    function laneId(LaneIdentity calldata identity) external view returns (bytes32) {
        return _laneId(identity);
    }

    function messageId(
        bytes32 lane,
        uint64 index,
        bytes32 sender,
        bytes32 receiver,
        uint64 deadlineMillis,
        uint64 gasLimit,
        bytes32 payloadHash
    ) external view returns (bytes32) {
        return _messageId(lane, index, sender, receiver, deadlineMillis, gasLimit, payloadHash);
    }

    function outboxStart(bytes32 lane) external view returns (bytes32) {
        return _outboxStart(lane);
    }

    function outboxNext(bytes32 head, bytes32 id) external view returns (bytes32) {
        return _outboxNext(head, id);
    }

    function outcome(bytes32 lane, uint64 index, bytes32 id, uint8 status, bytes32 resultHash)
        external
        view
        returns (bytes32)
    {
        return _outcome(lane, index, id, status, resultHash);
    }

    function inboxStart(bytes32 lane) external view returns (bytes32) {
        return _inboxStart(lane);
    }

    function inboxNext(bytes32 head, bytes32 outcomeHash) external view returns (bytes32) {
        return _inboxNext(head, outcomeHash);
    }

    function attestDigest(
        bytes32 lane,
        uint8 direction,
        uint64 index,
        bytes32 head,
        uint64 epoch,
        address verifyingGateway,
        bytes32 verifyingDomain
    ) external view returns (bytes32) {
        return _attestDigest(lane, direction, index, head, epoch, verifyingGateway, verifyingDomain);
    }

    function setHash(address[] calldata members) external view returns (bytes32) {
        return _setHash(members);
    }

    function rotateDigest(
        address verifier,
        bytes32 verifyingDomain,
        uint64 newEpoch,
        bytes32 membersHash,
        uint32 threshold
    ) external view returns (bytes32) {
        return _rotateDigest(verifier, verifyingDomain, newEpoch, membersHash, threshold);
    }

    /// The hash of bytes: payloads and results.
    function hashOf(bytes calldata data) external view returns (bytes32) {
        return _hash(data);
    }

    /// Every tag and magic word, in the order domain, lane, message, outbox, outcome, inbox, attest, rotate, received.
    function tags() external pure returns (bytes32[9] memory) {
        return [
            DOMAIN_TAG,
            LANE_TAG,
            MESSAGE_TAG,
            OUTBOX_TAG,
            OUTCOME_TAG,
            INBOX_TAG,
            ATTEST_TAG,
            ROTATE_TAG,
            RECEIVED
        ];
    }
}

/// Every hashed tuple, by the opcode.
contract TupleProbe is TupleViews, OpcodeFlavour {}
