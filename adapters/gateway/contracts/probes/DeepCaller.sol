// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Calls from as deep a call stack as it is told.
contract DeepCaller {
    /// Calls `target` through `depth` frames of its own, and passes on its answer or its revert.
    function dive(uint256 depth, address target, bytes calldata data) external {
        (bool ok, bytes memory answer) =
            depth == 0 ? target.call(data) : address(this).call(abi.encodeCall(this.dive, (depth - 1, target, data)));
        assembly ("memory-safe") {
            if iszero(ok) { revert(add(answer, 0x20), mload(answer)) }
            return(add(answer, 0x20), mload(answer))
        }
    }
}
