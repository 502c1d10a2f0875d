// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Callbacks} from "./Flavour.sol";
import "./IGateway.sol";
import {IHeadVerifier, VERIFIED} from "./IHeadVerifier.sol";
import {CLOCK_SECONDS, KnownAnswers} from "./KnownAnswers.sol";
import {DIRECTION_INBOX, DIRECTION_OUTBOX, Tuples} from "./Tuples.sol";

/// @title The gateway's storage and the checks that all its parts share.
/// @notice Slots 0 and 1 are part of the protocol: relays prove them by storage proofs.
abstract contract GatewayState is Tuples, KnownAnswers, Callbacks, IGatewayEvents, IGatewayErrors {
    struct Lane {
        address verifier;
        uint8 state;
        uint8 role;
        bool paused;
        bool strict;
        bool senderList;
        bool receiverList;
        uint32 maxPayloadBytes;
        // slot
        uint64 maxGasLimit;
        uint64 maxLifetimeMillis;
        uint64 callbackGas;
        uint64 readyAtMillis;
        // slot
        uint64 quota;
        uint64 settledIndex;
        // source: the block of the last message.
        uint64 lastSendBlock;
        // slot: source: the inbox chain as settled. Destination: the outbox chain as accepted.
        bytes32 peerHead;
        // slot: source: the own outbox chain as settled.
        bytes32 settledOutboxHead;
        // slot: destination: the message that halted a strict lane.
        bytes32 haltedId;
    }

    /// Version of this contract's interface.
    uint32 internal constant VERSION = 1;

    /// Every how many messages an outbox head is kept, so that settlement can check old messages.
    uint64 internal constant ANCHOR_INTERVAL = 64;
    /// How many places there are for heads that blocks ended with. A prime, so that equal batches don't share one.
    uint64 internal constant RECENT_PLACES = 61;
    uint256 private constant MILLIS_PER_SECOND = 1000;

    /// The head that this gateway vouches for: of the outbox chain where it is the lane's source, of the inbox chain
    /// where it is its destination. A lane never has one chain at both ends, so the lane alone is the key.
    mapping(bytes32 lane => bytes32 head) public heads; // slot 0
    /// The index of `heads`.
    mapping(bytes32 lane => uint256 index) public indexes; // slot 1

    mapping(bytes32 lane => Lane) internal _lanes;
    mapping(bytes32 lane => mapping(uint64 index => bytes32 head)) internal _anchors;
    /// Outbox heads that recent blocks ended with, at their index modulo RECENT_PLACES: what a relay proved at a block
    /// stays usable while newer messages are sent.
    mapping(bytes32 lane => mapping(uint64 place => bytes32 head)) internal _recentHeads;
    /// The outcome hash of a settled message whose callback failed, or zero.
    mapping(bytes32 lane => mapping(uint64 index => bytes32 outcome)) public pendingCallbacks;
    mapping(bytes32 lane => mapping(uint8 list => mapping(bytes32 account => bool))) internal _allowed;
    mapping(address account => bool) internal _isVerifier;

    /// The account that opens, pauses, skips, closes and hands over; a multisig in practice.
    address internal owner;
    address internal proposedOwner;
    /// The whole gateway is paused.
    bool internal paused;
    bool private _entered;

    /// This chain, as the protocol names it.
    bytes32 internal immutable domain;
    /// 0: `block.timestamp` counts seconds, 1: milliseconds.
    uint8 internal immutable clock;
    uint64 internal immutable openDelayMillis;
    uint64 internal immutable closeDelayMillis;

    constructor(bytes32 domain_, uint8 clock_, uint64 openDelayMillis_, uint64 closeDelayMillis_, address owner_) {
        _requireKnownAnswers();
        _requireClock(clock_);
        if (domain_ == 0 || owner_ == address(0)) revert ZeroNotAllowed();
        domain = domain_;
        clock = clock_;
        openDelayMillis = openDelayMillis_;
        closeDelayMillis = closeDelayMillis_;
        owner = owner_;
        emit OwnerChanged(address(0), owner_);
    }

    /// For what a relay calls: never re-entered, and only by a plain account, since a contract could starve a receiver
    /// or catch a revert. An account with delegated code counts as a contract.
    modifier plainAccountsOnly() {
        _enter();
        if (msg.sender != tx.origin || msg.sender.code.length != 0) revert OnlyPlainAccounts(msg.sender);
        _;
        _entered = false;
    }

    /// For what the owner does; refused while a receiver or a sender is being called.
    modifier ownerOnly() {
        if (_entered) revert ReEntered();
        if (msg.sender != owner) revert OnlyOwner(msg.sender);
        _;
    }

    function _enter() private {
        if (_entered) revert ReEntered();
        _entered = true;
    }

    function _nowMillis() internal view returns (uint64) {
        return uint64(clock == CLOCK_SECONDS ? block.timestamp * MILLIS_PER_SECOND : block.timestamp);
    }

    /// The lane, which must have `role` here, be open or closing, and not be paused.
    function _activeLane(bytes32 lane, uint8 role) internal view returns (Lane storage info) {
        info = _lanes[lane];
        if (info.role != role) revert LaneIsNot(lane, role);
        uint8 state = info.state;
        if (state != STATE_OPEN && state != STATE_CLOSING) revert WrongState(lane, state);
        if (paused || info.paused) revert Paused(lane);
    }

    function _directionOf(uint8 role) internal pure returns (uint8) {
        return role == ROLE_SOURCE ? DIRECTION_OUTBOX : DIRECTION_INBOX;
    }

    function _requireVouched(
        address verifier,
        bytes32 lane,
        uint8 direction,
        uint64 index,
        bytes32 head,
        bytes calldata evidence
    ) internal view {
        bytes32 answer = IHeadVerifier(verifier).verify(lane, direction, index, head, evidence);
        if (answer != VERIFIED) revert NotVouched(answer);
    }

    function _asWord(address account) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }

    /// Whether `account` is an address: zeros before its 20 bytes.
    function _isAddress(bytes32 account) internal pure returns (bool) {
        return uint256(account) <= type(uint160).max;
    }

    function _asAddress(bytes32 account) internal pure returns (address) {
        return address(uint160(uint256(account)));
    }
}
