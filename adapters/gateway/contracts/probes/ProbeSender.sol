// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICitySender} from "../ICitySender.sol";

/// A contract that calls what it is told and whose callback behaves as told.
contract ProbeSender is ICitySender {
    uint8 public constant TAKE = 0;
    uint8 public constant REVERT = 1;
    uint8 public constant BURN_ALL_GAS = 2;
    uint8 public constant CALL_BACK = 3;

    uint8 public mode;
    bytes public inner;
    uint256 public calls;
    uint256 public gasAtEntry;
    uint64 public index;
    uint8 public status;
    bytes32 public resultHash;
    bool public innerOk;
    bytes public innerAnswer;

    error Unwilling();

    function setMode(uint8 mode_, bytes calldata inner_) external {
        (mode, inner) = (mode_, inner_);
    }

    /// Calls `target` and passes on its answer or its revert.
    function forward(address target, bytes calldata data) external returns (bytes memory) {
        (bool ok, bytes memory answer) = target.call(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        return answer;
    }

    function onCityOutcome(bytes32, uint64 index_, uint8 status_, bytes32 resultHash_) external {
        gasAtEntry = gasleft();
        if (mode == REVERT) revert Unwilling();
        if (mode == BURN_ALL_GAS) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        calls += 1;
        (index, status, resultHash) = (index_, status_, resultHash_);
        if (mode == CALL_BACK) (innerOk, innerAnswer) = msg.sender.call(inner);
    }
}
