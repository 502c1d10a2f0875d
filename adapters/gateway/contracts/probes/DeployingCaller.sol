// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Calls from its constructor, when it has no code yet.
contract DeployingCaller {
    constructor(address target, bytes memory data) {
        (bool ok, bytes memory answer) = target.call(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }
}
