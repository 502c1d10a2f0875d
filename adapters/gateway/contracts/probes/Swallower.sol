// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Undoes what it does, inside of a call that succeeds.
contract Swallower {
    error Undone(bool ok);

    function swallow(address target, bytes calldata data) external {
        try this.spoil(target, data) {} catch {}
    }

    /// Calls `target`, and reverts whatever came of it.
    function spoil(address target, bytes calldata data) external {
        (bool ok,) = target.call(data);
        revert Undone(ok);
    }
}
