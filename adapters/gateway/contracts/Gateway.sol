// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {GatewayLogic} from "./GatewayLogic.sol";
import {GatewayState} from "./GatewayState.sol";
import {OpcodeFlavour, UsualCallbacks} from "./OpcodeFlavour.sol";

/// @title The gateway of flavour `hash = opcode`. Immutable: no proxy, no delegatecall.
contract Gateway is GatewayLogic, OpcodeFlavour, UsualCallbacks {
    constructor(bytes32 domain_, uint8 clock_, uint64 openDelayMillis_, uint64 closeDelayMillis_, address owner_)
        GatewayState(domain_, clock_, openDelayMillis_, closeDelayMillis_, owner_)
    {}
}
