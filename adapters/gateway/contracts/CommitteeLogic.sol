// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IHeadVerifier, VERIFIED} from "./IHeadVerifier.sol";
import {KnownAnswers} from "./KnownAnswers.sol";
import {Tuples} from "./Tuples.sol";

/// @title A committee of attesters: q of n secp256k1 signatures vouch for a head.
/// @notice It has no owner. Its set changes only by `rotate`.
abstract contract CommitteeLogic is Tuples, KnownAnswers, IHeadVerifier {
    /// Bounds the loops; two cities have tens of institutions, not hundreds.
    uint256 private constant MAX_MEMBERS = 64;
    /// r, s and v.
    uint256 private constant SIGNATURE_BYTES = 65;
    /// Half the order of secp256k1: with s above it each signature would exist twice.
    uint256 private constant MAX_S = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// The chain that this committee stands on; every signature names it.
    bytes32 public immutable domain;
    /// The number of rotations plus one. Signatures of another epoch are refused.
    uint64 public epoch;
    /// How many members must sign.
    uint32 public threshold;
    address[] private _members;
    mapping(uint64 epoch => mapping(address account => bool)) private _isMember;

    /// The member set of `epoch`, ascending, and its threshold.
    event Rotated(uint64 indexed epoch, address[] members, uint32 threshold);

    error DomainIsZero();
    error NoMembers();
    error TooManyMembers(uint256 got, uint256 max);
    /// Members must be ascending, without zero and without repetition.
    error MembersNotAscending(uint256 position);
    /// The threshold must be more than half of the members and no more than all.
    error ThresholdOutOfRange(uint32 threshold, uint256 members);
    /// The evidence is not exactly abi.encode(uint64 epoch, bytes signatures).
    error EvidenceMalformed();
    error EpochUnknown(uint64 got, uint64 expected);
    /// The signatures are not a whole number of 65 bytes.
    error SignaturesMalformed(uint256 length);
    error TooFewSignatures(uint256 got, uint256 expected);
    /// More signatures than members.
    error TooManySignatures(uint256 got, uint256 max);
    /// v is neither 27 nor 28, s is high, or nothing can be recovered.
    error SignatureInvalid(uint256 position);
    /// Signers must be ascending, without repetition.
    error SignersNotAscending(uint256 position);
    error SignerUnknown(address signer);
    /// A rotation needs every new member, in order.
    error NewMemberMissing(address got, address expected);

    constructor(bytes32 domain_, address[] memory members_, uint32 threshold_) {
        _requireKnownAnswers();
        if (domain_ == 0) revert DomainIsZero();
        domain = domain_;
        _install(1, members_, threshold_);
    }

    /// The set in force: members ascending.
    function committee() external view returns (uint64 epoch_, uint32 threshold_, address[] memory members) {
        return (epoch, threshold, _members);
    }

    /// Whether `account` is a member in the current epoch.
    function isMember(address account) external view returns (bool) {
        return _isMember[epoch][account];
    }

    /// Vouches for a head if `evidence` is abi.encode(epoch, signatures), canonical, of the current epoch, with at
    /// least `threshold` signatures r‖s‖v over the attestation, by members, strictly ascending by address.
    /// The asking gateway is msg.sender and is part of what was signed.
    function verify(bytes32 lane, uint8 direction, uint64 index, bytes32 head, bytes calldata evidence)
        external
        view
        returns (bytes32)
    {
        bytes calldata signatures = _decodeEvidence(evidence);
        bytes32 digest = _attestDigest(lane, direction, index, head, epoch, msg.sender, domain);
        _requireQuorum(digest, signatures);
        return VERIFIED;
    }

    /// Replaces the set. `oldSignatures` are by at least the old threshold of the old members, `newSignatures` by
    /// every new member, both over H(ROTATE_TAG, this, domain, epoch + 1, setHash, threshold). Anyone may bring them.
    function rotate(
        address[] calldata newMembers,
        uint32 newThreshold,
        bytes calldata oldSignatures,
        bytes calldata newSignatures
    ) external {
        uint64 newEpoch = epoch + 1;
        bytes32 digest = _rotateDigest(address(this), domain, newEpoch, _setHash(newMembers), newThreshold);
        _requireQuorum(digest, oldSignatures);

        uint256 count = _signatureCount(newSignatures);
        if (count < newMembers.length) revert TooFewSignatures(count, newMembers.length);
        if (count > newMembers.length) revert TooManySignatures(count, newMembers.length);
        for (uint256 i = 0; i < count; i++) {
            address signer = _signer(digest, newSignatures, i);
            if (signer != newMembers[i]) revert NewMemberMissing(signer, newMembers[i]);
        }
        _install(newEpoch, newMembers, newThreshold);
    }

    function _install(uint64 newEpoch, address[] memory newMembers, uint32 newThreshold) private {
        uint256 count = newMembers.length;
        if (count == 0) revert NoMembers();
        if (count > MAX_MEMBERS) revert TooManyMembers(count, MAX_MEMBERS);
        if (newThreshold > count || 2 * uint256(newThreshold) <= count) {
            revert ThresholdOutOfRange(newThreshold, count);
        }
        address previous = address(0);
        for (uint256 i = 0; i < count; i++) {
            if (newMembers[i] <= previous) revert MembersNotAscending(i);
            previous = newMembers[i];
            _isMember[newEpoch][previous] = true;
        }
        epoch = newEpoch;
        threshold = newThreshold;
        _members = newMembers;
        emit Rotated(newEpoch, newMembers, newThreshold);
    }

    /// Evidence is  epoch (32) | offset = 64 (32) | length (32) | signatures, zero-padded to whole words.
    function _decodeEvidence(bytes calldata evidence) private view returns (bytes calldata signatures) {
        if (evidence.length < 96 || evidence.length % 32 != 0) revert EvidenceMalformed();
        uint256 epochWord = uint256(bytes32(evidence[0:32]));
        uint256 offset = uint256(bytes32(evidence[32:64]));
        uint256 length = uint256(bytes32(evidence[64:96]));
        uint256 room = evidence.length - 96;
        if (epochWord > type(uint64).max || offset != 64 || length > room || room - length >= 32) {
            revert EvidenceMalformed();
        }
        for (uint256 i = 96 + length; i < evidence.length; i++) {
            if (evidence[i] != 0) revert EvidenceMalformed();
        }
        if (uint64(epochWord) != epoch) revert EpochUnknown(uint64(epochWord), epoch);
        return evidence[96:96 + length];
    }

    function _requireQuorum(bytes32 digest, bytes calldata signatures) private view {
        uint256 count = _signatureCount(signatures);
        if (count < threshold) revert TooFewSignatures(count, threshold);
        if (count > _members.length) revert TooManySignatures(count, _members.length);
        mapping(address => bool) storage isMemberNow = _isMember[epoch];
        address previous = address(0);
        for (uint256 i = 0; i < count; i++) {
            address signer = _signer(digest, signatures, i);
            if (signer <= previous) revert SignersNotAscending(i);
            if (!isMemberNow[signer]) revert SignerUnknown(signer);
            previous = signer;
        }
    }

    function _signatureCount(bytes calldata signatures) private pure returns (uint256) {
        if (signatures.length % SIGNATURE_BYTES != 0) revert SignaturesMalformed(signatures.length);
        return signatures.length / SIGNATURE_BYTES;
    }

    function _signer(bytes32 digest, bytes calldata signatures, uint256 position) private pure returns (address) {
        uint256 begin = position * SIGNATURE_BYTES;
        bytes32 r = bytes32(signatures[begin:begin + 32]);
        bytes32 s = bytes32(signatures[begin + 32:begin + 64]);
        uint8 v = uint8(signatures[begin + 64]);
        if (uint256(s) > MAX_S || (v != 27 && v != 28)) revert SignatureInvalid(position);
        address signer = ecrecover(digest, v, r, s);
        if (signer == address(0)) revert SignatureInvalid(position);
        return signer;
    }
}
