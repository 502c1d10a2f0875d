// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Flavour} from "./Flavour.sol";

// The first hash chain of a lane: messages, kept by the gateway of the lane's source.
uint8 constant DIRECTION_OUTBOX = 0;
// The second hash chain of a lane: outcomes, kept by the gateway of the lane's destination.
uint8 constant DIRECTION_INBOX = 1;

// The receiver took the message.
uint8 constant STATUS_EXECUTED = 1;
// The receiver reverted, returned something else, or cannot be called.
uint8 constant STATUS_FAILED = 2;
// The deadline had passed before the message was accepted.
uint8 constant STATUS_EXPIRED = 3;
// The owner stepped over the message that had halted a strict lane.
uint8 constant STATUS_SKIPPED = 4;

/// The two ends and the name of a lane. Addresses are 32 bytes, left-padded with zeros.
struct LaneIdentity {
    bytes32 sourceDomain;
    bytes32 destinationDomain;
    bytes32 sourceGateway;
    bytes32 destinationGateway;
    bytes32 sourceVerifier;
    bytes32 destinationVerifier;
    bytes32 channelHash;
    bytes32 salt;
}

/// @title Everything that is hashed or signed: keccak256 over abi.encode of 32-byte words, a tag first.
/// @notice A tag is keccak256("cityrelay.v1.<name>"), written out because a compiler may fold or not fold it, and the
/// opcode it would otherwise use is not keccak256 everywhere. `vectors/hashes.json` pins every tuple.
abstract contract Tuples is Flavour {
    bytes32 internal constant DOMAIN_TAG = 0xc8318d4fbd7b669a4c384b06322c986fc58d86423218cae439124567cdf75b96;
    bytes32 internal constant LANE_TAG = 0xf2063032e258b72ffd5c40fe747eff79490dc4018ebece64986a4e21808a1bf3;
    bytes32 internal constant MESSAGE_TAG = 0x6272a762f3b9ebd603bd68be439987bf9707851ffa64c1c822d96a4f9b0e36d5;
    bytes32 internal constant OUTBOX_TAG = 0xb0a11d1700100716b3557840574da05669796c011c13976304838115f462385e;
    bytes32 internal constant OUTCOME_TAG = 0x2200e334a96ebdc07177481264340021f22749b76a9319c7dfad99e8326175d7;
    bytes32 internal constant INBOX_TAG = 0x2973d23bf44387fb41560708e44a76482d317f390c05a34b9b29468c8d72bc07;
    bytes32 internal constant ATTEST_TAG = 0x1aa4253b7b55ac356c8d2b412a8f85b9337e75feb7a2eca28601f5ef0ffb99aa;
    bytes32 internal constant ROTATE_TAG = 0xe4176167ce86453dccccb07dbfdb8cc2c642692b09630141009785688afc1f98;

    /// What a receiver returns for a message it took: keccak256("cityrelay.v1.received").
    bytes32 internal constant RECEIVED = 0xca6fdac865c08e10d122320e172fa6927367b2fbd2e2596af056b1a827334d30;

    function _domainOf(bytes32 nameHash, bytes32 anchorBlockHash) internal view returns (bytes32) {
        return _hash(abi.encode(DOMAIN_TAG, nameHash, anchorBlockHash));
    }

    function _laneId(LaneIdentity memory identity) internal view returns (bytes32) {
        return _hash(abi.encode(LANE_TAG, identity));
    }

    function _messageId(
        bytes32 lane,
        uint64 index,
        bytes32 sender,
        bytes32 receiver,
        uint64 deadlineMillis,
        uint64 gasLimit,
        bytes32 payloadHash
    ) internal view returns (bytes32) {
        return _hash(abi.encode(MESSAGE_TAG, lane, index, sender, receiver, deadlineMillis, gasLimit, payloadHash));
    }

    function _outboxStart(bytes32 lane) internal view returns (bytes32) {
        return _hash(abi.encode(OUTBOX_TAG, lane));
    }

    function _outboxNext(bytes32 head, bytes32 id) internal view returns (bytes32) {
        return _hash(abi.encode(OUTBOX_TAG, head, id));
    }

    function _outcome(bytes32 lane, uint64 index, bytes32 id, uint8 status, bytes32 resultHash)
        internal
        view
        returns (bytes32)
    {
        return _hash(abi.encode(OUTCOME_TAG, lane, index, id, status, resultHash));
    }

    function _inboxStart(bytes32 lane) internal view returns (bytes32) {
        return _hash(abi.encode(INBOX_TAG, lane));
    }

    function _inboxNext(bytes32 head, bytes32 outcome) internal view returns (bytes32) {
        return _hash(abi.encode(INBOX_TAG, head, outcome));
    }

    function _attestDigest(
        bytes32 lane,
        uint8 direction,
        uint64 index,
        bytes32 head,
        uint64 epoch,
        address verifyingGateway,
        bytes32 verifyingDomain
    ) internal view returns (bytes32) {
        return
            _hash(abi.encode(ATTEST_TAG, lane, direction, index, head, epoch, verifyingGateway, verifyingDomain));
    }

    /// The hash of a member set: the addresses as words, ascending, with neither tag nor length.
    function _setHash(address[] memory members) internal view returns (bytes32) {
        return _hash(abi.encodePacked(members));
    }

    function _rotateDigest(
        address verifier,
        bytes32 verifyingDomain,
        uint64 newEpoch,
        bytes32 setHash,
        uint32 threshold
    ) internal view returns (bytes32) {
        return _hash(abi.encode(ROTATE_TAG, verifier, verifyingDomain, newEpoch, setHash, threshold));
    }

    /// The free memory pointer, to be handed to `_releaseMemory`.
    function _markMemory() internal pure returns (uint256 mark) {
        assembly ("memory-safe") {
            mark := mload(0x40)
        }
    }

    /// Gives back all memory taken since `mark`; no reference into it may live on. Memory costs grow with the square
    /// of its size, so a batch that hashes many payloads must not keep them.
    function _releaseMemory(uint256 mark) internal pure {
        assembly ("memory-safe") {
            mstore(0x40, mark)
        }
    }
}
