// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CommitteeLogic} from "../CommitteeLogic.sol";
import {PrecompileFlavour} from "./PrecompileFlavour.sol";
import {TwinSelectors} from "./TwinSelectors.sol";

/// @title The attester committee of flavour `hash = precompile`.
contract PrecompileCommittee is CommitteeLogic, PrecompileFlavour, TwinSelectors {
    constructor(bytes32 domain_, address[] memory members_, uint32 threshold_)
        CommitteeLogic(domain_, members_, threshold_)
    {}

    function _twinOf(bytes4 selector) internal pure override returns (bytes4) {
        if (selector == 0x8b812a1e) return this.committee.selector;
        if (selector == 0xa5d2889b) return this.domain.selector;
        if (selector == 0x8588eb8a) return this.epoch.selector;
        if (selector == 0x75b71dcc) return this.isMember.selector;
        if (selector == 0xf155f419) return this.rotate.selector;
        if (selector == 0xf72a4e18) return this.threshold.selector;
        if (selector == 0x7dff77de) return this.verify.selector;
        return 0;
    }
}
