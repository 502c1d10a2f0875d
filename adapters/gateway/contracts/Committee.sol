// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CommitteeLogic} from "./CommitteeLogic.sol";
import {OpcodeFlavour} from "./OpcodeFlavour.sol";

/// @title The attester committee of flavour `hash = opcode`.
contract Committee is CommitteeLogic, OpcodeFlavour {
    constructor(bytes32 domain_, address[] memory members_, uint32 threshold_)
        CommitteeLogic(domain_, members_, threshold_)
    {}
}
