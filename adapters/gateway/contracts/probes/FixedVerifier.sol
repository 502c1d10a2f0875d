// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IHeadVerifier} from "../IHeadVerifier.sol";

/// A verifier that returns `answer` for any evidence, and, if told so, reverts for empty evidence.
contract FixedVerifier is IHeadVerifier {
    bytes32 public immutable answer;
    bool public immutable refusesEmpty;

    error Refused();

    constructor(bytes32 answer_, bool refusesEmpty_) {
        answer = answer_;
        refusesEmpty = refusesEmpty_;
    }

    function verify(bytes32, uint8, uint64, bytes32, bytes calldata evidence) external view returns (bytes32) {
        if (refusesEmpty && evidence.length == 0) revert Refused();
        return answer;
    }
}
