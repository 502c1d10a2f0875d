// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICitySender} from "../ICitySender.sol";

/// Test only: makes one call many times, so that one transaction sends many messages. Takes every outcome.
contract Repeater is ICitySender {
    /// Outcomes of executed messages.
    uint256 public executed;
    /// All other outcomes.
    uint256 public others;

    error Counted(uint256 executed, uint256 others);

    /// Reverts unless so many outcomes came, each *executed*.
    function verify(uint256 expected) external view {
        if (executed != expected || others != 0) revert Counted(executed, others);
    }

    /// Calls `target` so many times with the same data; one failure reverts all.
    function repeat(address target, uint256 times, bytes calldata data) external {
        for (uint256 i = 0; i < times; i++) {
            (bool ok, bytes memory answer) = target.call(data);
            if (!ok) {
                assembly ("memory-safe") {
                    revert(add(answer, 0x20), mload(answer))
                }
            }
        }
    }

    function onCityOutcome(bytes32, uint64, uint8 status, bytes32) external {
        if (status == 1) executed += 1;
        else others += 1;
    }
}
