// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {GatewayLogic} from "../GatewayLogic.sol";
import {GatewayState} from "../GatewayState.sol";
import {ICityReceiver} from "../ICityReceiver.sol";
import {ICitySender} from "../ICitySender.sol";
import {PrecompileFlavour} from "./PrecompileFlavour.sol";
import {TwinSelectors} from "./TwinSelectors.sol";

// Applications of this chain come from a compiler that makes selectors with keccak256.
uint8 constant SELECTORS_KECCAK = 0;
// Applications of this chain come from a compiler that makes selectors with SM3.
uint8 constant SELECTORS_SM3 = 1;

/// @title The gateway of flavour `hash = precompile`. Immutable: no proxy, delegatecall to nobody but itself.
contract PrecompileGateway is GatewayLogic, PrecompileFlavour, TwinSelectors {
    /// First four bytes of sm3("onCityMessage(bytes32,uint64,bytes32,bytes)").
    bytes4 private constant ON_CITY_MESSAGE = 0x8fb09e98;
    /// First four bytes of sm3("onCityOutcome(bytes32,uint64,uint8,bytes32)").
    bytes4 private constant ON_CITY_OUTCOME = 0xbc57beea;

    /// Which selectors receivers and senders are called with: 0 those made with keccak256, 1 those made with SM3.
    uint8 public immutable callbackSelectors;

    /// Neither 0 nor 1.
    error CallbackSelectorsUnknown(uint8 got);

    constructor(
        bytes32 domain_,
        uint8 clock_,
        uint64 openDelayMillis_,
        uint64 closeDelayMillis_,
        address owner_,
        uint8 callbackSelectors_
    ) GatewayState(domain_, clock_, openDelayMillis_, closeDelayMillis_, owner_) {
        if (callbackSelectors_ > SELECTORS_SM3) revert CallbackSelectorsUnknown(callbackSelectors_);
        callbackSelectors = callbackSelectors_;
    }

    function _receiverSelector() internal view override returns (bytes4) {
        return callbackSelectors == SELECTORS_SM3 ? ON_CITY_MESSAGE : ICityReceiver.onCityMessage.selector;
    }

    function _senderSelector() internal view override returns (bytes4) {
        return callbackSelectors == SELECTORS_SM3 ? ON_CITY_OUTCOME : ICitySender.onCityOutcome.selector;
    }

    /// Every function but `execute`, which only the gateway itself may call.
    function _twinOf(bytes4 selector) internal pure override returns (bytes4) {
        if (selector == 0xe50e1c0b) return this.send.selector;
        if (selector == 0x5a03aca5) return this.heads.selector;
        if (selector == 0x32b7a979) return this.indexes.selector;
        if (selector == 0xe695eb07) return this.pendingCallbacks.selector;
        if (selector == 0x54dd3101) return this.gatewayInfo.selector;
        if (selector == 0xfa05d584) return this.callbackSelectors.selector;
        if (selector == 0x701df330) return this.laneInfo.selector;
        if (selector == 0x0a1ca3e6) return this.isAllowed.selector;
        if (selector == 0xd38feb62) return this.checkpoint.selector;
        if (selector == 0x1518888c) return this.deliver.selector;
        if (selector == 0x75188818) return this.settle.selector;
        if (selector == 0x0e2c7fba) return this.retryCallback.selector;
        if (selector == 0xe9492eb0) return this.announceLane.selector;
        if (selector == 0x759db890) return this.openLane.selector;
        if (selector == 0x633e6f68) return this.pause.selector;
        if (selector == 0xbd60b741) return this.unpause.selector;
        if (selector == 0x91010cf5) return this.setAllowed.selector;
        if (selector == 0xde60eb2d) return this.skip.selector;
        if (selector == 0xd1aa99c0) return this.announceClose.selector;
        if (selector == 0x297bba42) return this.closeLane.selector;
        if (selector == 0x7c4b85c3) return this.handOver.selector;
        if (selector == 0xa64ebd8c) return this.acceptOwner.selector;
        return 0;
    }
}
