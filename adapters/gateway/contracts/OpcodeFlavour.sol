// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Callbacks, Flavour} from "./Flavour.sol";
import {ICityReceiver} from "./ICityReceiver.sol";
import {ICitySender} from "./ICitySender.sol";

/// @title Flavour `hash = opcode`: the hash opcode computes keccak256.
abstract contract OpcodeFlavour is Flavour {
    function _hash(bytes memory data) internal view virtual override returns (bytes32) {
        return keccak256(data);
    }
}

/// @title Applications have the usual selectors, made with keccak256.
abstract contract UsualCallbacks is Callbacks {
    function _receiverSelector() internal pure override returns (bytes4) {
        return ICityReceiver.onCityMessage.selector;
    }

    function _senderSelector() internal pure override returns (bytes4) {
        return ICitySender.onCityOutcome.selector;
    }
}
