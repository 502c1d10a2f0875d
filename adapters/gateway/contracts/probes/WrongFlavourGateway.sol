// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {GatewayLogic} from "../GatewayLogic.sol";
import {GatewayState} from "../GatewayState.sol";
import {Flavour} from "../Flavour.sol";
import {OpcodeFlavour, UsualCallbacks} from "../OpcodeFlavour.sol";

/// A gateway whose hash is sha256: what a build meets on a chain where the opcode computes something else.
contract WrongFlavourGateway is GatewayLogic, OpcodeFlavour, UsualCallbacks {
    constructor(bytes32 domain_, uint8 clock_, uint64 openDelayMillis_, uint64 closeDelayMillis_, address owner_)
        GatewayState(domain_, clock_, openDelayMillis_, closeDelayMillis_, owner_)
    {}

    function _hash(bytes memory data) internal pure override(Flavour, OpcodeFlavour) returns (bytes32) {
        return sha256(data);
    }
}
