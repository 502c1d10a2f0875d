// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Flavour} from "./Flavour.sol";
import {ICityReceiver} from "./ICityReceiver.sol";
import {ICitySender} from "./ICitySender.sol";

/// @title Flavour `hash = opcode`: the hash opcode computes keccak256 and selectors are the usual ones.
abstract contract OpcodeFlavour is Flavour {
    function _hash(bytes memory data) internal view virtual override returns (bytes32) {
        return keccak256(data);
    }

    function _receiverSelector() internal pure override returns (bytes4) {
        return ICityReceiver.onCityMessage.selector;
    }

    function _senderSelector() internal pure override returns (bytes4) {
        return ICitySender.onCityOutcome.selector;
    }
}
