// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import "./IGateway.sol";
import {GatewayState} from "./GatewayState.sol";
import {IHeadVerifier} from "./IHeadVerifier.sol";
import {LaneIdentity} from "./Tuples.sol";

/// @title What the owner does, and what anyone may read about it. Every change is an event.
abstract contract Governance is GatewayState {
    /// Makes a lane known; it may be opened `openDelayMillis` later. `senders` and `receivers` are the allow-lists:
    /// an empty one permits everybody, now and later; another one may be edited by `setAllowed`.
    function announceLane(
        LaneIdentity calldata identity,
        LaneLimits calldata limits,
        bytes32[] calldata senders,
        bytes32[] calldata receivers
    ) external ownerOnly returns (bytes32 lane) {
        bool isSource = identity.sourceDomain == domain;
        if (
            isSource == (identity.destinationDomain == domain) || identity.sourceDomain == 0
                || identity.destinationDomain == 0
        ) revert WrongDomains(identity.sourceDomain, identity.destinationDomain);

        (bytes32 localGateway, bytes32 remoteGateway) = isSource
            ? (identity.sourceGateway, identity.destinationGateway)
            : (identity.destinationGateway, identity.sourceGateway);
        if (localGateway != _asWord(address(this)) || remoteGateway == 0) {
            revert WrongGateway(localGateway, remoteGateway);
        }
        (bytes32 localVerifier, bytes32 remoteVerifier) = isSource
            ? (identity.sourceVerifier, identity.destinationVerifier)
            : (identity.destinationVerifier, identity.sourceVerifier);
        if (!_isAddress(localVerifier) || _asAddress(localVerifier).code.length == 0 || remoteVerifier == 0) {
            revert WrongVerifier(localVerifier, remoteVerifier);
        }
        if (limits.strict && (senders.length == 0 || receivers.length == 0)) revert StrictNeedsLists();
        if (limits.maxGasLimit == 0 || limits.maxLifetimeMillis == 0) revert LimitsMalformed();

        lane = _laneId(identity);
        Lane storage info = _lanes[lane];
        if (info.state != STATE_NONE) revert WrongState(lane, info.state);
        info.state = STATE_ANNOUNCED;
        info.role = isSource ? ROLE_SOURCE : ROLE_DESTINATION;
        info.verifier = _asAddress(localVerifier);
        info.strict = limits.strict;
        info.senderList = senders.length != 0;
        info.receiverList = receivers.length != 0;
        info.maxPayloadBytes = limits.maxPayloadBytes;
        info.maxGasLimit = limits.maxGasLimit;
        info.maxLifetimeMillis = limits.maxLifetimeMillis;
        info.callbackGas = limits.callbackGas;
        info.quota = limits.quota;
        info.readyAtMillis = _nowMillis() + openDelayMillis;
        for (uint256 i = 0; i < senders.length; i++) _allowed[lane][LIST_SENDERS][senders[i]] = true;
        for (uint256 i = 0; i < receivers.length; i++) _allowed[lane][LIST_RECEIVERS][receivers[i]] = true;
        emit LaneAnnounced(lane, identity, limits, senders, receivers, info.readyAtMillis);
    }

    /// Puts an announced lane into service, after the known-answer tests.
    function openLane(bytes32 lane) external ownerOnly {
        Lane storage info = _lanes[lane];
        if (info.state != STATE_ANNOUNCED) revert WrongState(lane, info.state);
        _requireReady(info.readyAtMillis);
        _requireKnownAnswers();
        _requireClock(clock);
        _requireVerifierRefusesNothing(info.verifier, lane, _directionOf(info.role));

        bytes32 outbox = _outboxStart(lane);
        bytes32 inbox = _inboxStart(lane);
        bool isSource = info.role == ROLE_SOURCE;
        info.state = STATE_OPEN;
        info.peerHead = isSource ? inbox : outbox;
        if (isSource) info.settledOutboxHead = outbox;
        heads[lane] = isSource ? outbox : inbox;
        _isVerifier[info.verifier] = true;
        emit LaneOpened(lane, info.role, heads[lane]);
    }

    /// Stops sending, delivering and settling on `lane`, or on all lanes where it is zero. Deadlines go on passing.
    function pause(bytes32 lane) external ownerOnly {
        _setPaused(lane, true);
    }

    /// Undoes `pause` of the same argument.
    function unpause(bytes32 lane) external ownerOnly {
        _setPaused(lane, false);
    }

    /// Puts `account` on a list (0 senders, 1 receivers) of an announced, open or closing lane, or takes it off. A lane
    /// announced without that list has none.
    function setAllowed(bytes32 lane, uint8 list, bytes32 account, bool allowed) external ownerOnly {
        uint8 state = _lanes[lane].state;
        if (state == STATE_NONE || state == STATE_CLOSED) revert WrongState(lane, state);
        bool exists = (list == LIST_SENDERS && _lanes[lane].senderList)
            || (list == LIST_RECEIVERS && _lanes[lane].receiverList);
        if (!exists) revert NoSuchList(lane, list);
        _allowed[lane][list][account] = allowed;
        emit AllowanceChanged(lane, list, account, allowed);
    }

    /// Ends sending on an open lane; what was sent may still be delivered and settled for `closeDelayMillis`.
    function announceClose(bytes32 lane) external ownerOnly {
        Lane storage info = _lanes[lane];
        if (info.state != STATE_OPEN) revert WrongState(lane, info.state);
        info.state = STATE_CLOSING;
        info.readyAtMillis = _nowMillis() + closeDelayMillis;
        emit CloseAnnounced(lane, info.readyAtMillis);
    }

    /// Closes a lane for good. What is unsettled then is unknown, never failed.
    function closeLane(bytes32 lane) external ownerOnly {
        Lane storage info = _lanes[lane];
        if (info.state != STATE_CLOSING) revert WrongState(lane, info.state);
        _requireReady(info.readyAtMillis);
        info.state = STATE_CLOSED;
        uint64 index = uint64(indexes[lane]);
        emit LaneClosed(lane, index, info.role == ROLE_SOURCE ? info.settledIndex : index);
    }

    /// Names the next owner, who must accept. Zero withdraws.
    function handOver(address proposed) external ownerOnly {
        proposedOwner = proposed;
        emit HandOverProposed(owner, proposed);
    }

    /// Makes the named account the owner.
    function acceptOwner() external {
        if (msg.sender != proposedOwner) revert OnlyProposedOwner(msg.sender);
        emit OwnerChanged(owner, msg.sender);
        owner = msg.sender;
        proposedOwner = address(0);
    }

    /// Everything about the gateway in one call.
    function gatewayInfo() external view returns (GatewayInfo memory) {
        return GatewayInfo({
            version: VERSION,
            domain: domain,
            clock: clock,
            openDelayMillis: openDelayMillis,
            closeDelayMillis: closeDelayMillis,
            owner: owner,
            proposedOwner: proposedOwner,
            paused: paused
        });
    }

    /// Everything about a lane in one call. State 0 is an unknown lane.
    function laneInfo(bytes32 lane) external view returns (LaneInfo memory shown) {
        Lane storage info = _lanes[lane];
        shown.state = info.state;
        shown.role = info.role;
        shown.paused = info.paused;
        shown.verifier = info.verifier;
        shown.readyAtMillis = info.readyAtMillis;
        shown.limits = LaneLimits({
            strict: info.strict,
            maxPayloadBytes: info.maxPayloadBytes,
            maxGasLimit: info.maxGasLimit,
            maxLifetimeMillis: info.maxLifetimeMillis,
            callbackGas: info.callbackGas,
            quota: info.quota
        });
        shown.senderList = info.senderList;
        shown.receiverList = info.receiverList;
        shown.index = uint64(indexes[lane]);
        shown.head = heads[lane];
        shown.peerIndex = info.role == ROLE_SOURCE ? info.settledIndex : shown.index;
        shown.peerHead = info.peerHead;
        shown.settledOutboxHead = info.settledOutboxHead;
        shown.haltedId = info.haltedId;
    }

    /// Whether `account` is on a list (0 senders, 1 receivers) of `lane`.
    function isAllowed(bytes32 lane, uint8 list, bytes32 account) external view returns (bool) {
        return _allowed[lane][list][account];
    }

    function _setPaused(bytes32 lane, bool paused_) private {
        if (lane == 0) {
            paused = paused_;
        } else {
            Lane storage info = _lanes[lane];
            if (info.state == STATE_NONE || info.state == STATE_CLOSED) revert WrongState(lane, info.state);
            info.paused = paused_;
        }
        emit PauseChanged(lane, paused_);
    }

    function _requireReady(uint64 readyAtMillis) private view {
        uint64 nowMillis = _nowMillis();
        if (nowMillis < readyAtMillis) revert TooEarly(nowMillis, readyAtMillis);
    }

    /// A verifier that takes empty evidence would take anything.
    function _requireVerifierRefusesNothing(address verifier, bytes32 lane, uint8 direction) private view {
        (bool vouched,) =
            verifier.staticcall(abi.encodeCall(IHeadVerifier.verify, (lane, 1 - direction, 1, lane, "")));
        if (vouched) revert WrongVerifier(_asWord(verifier), 0);
    }
}
