// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What an application contract implements to learn how its messages ended.
interface ICitySender {
    /// Learns the outcome of message `index` of `lane`: status 1 executed, 2 failed, 3 expired, 4 skipped, and the
    /// keccak256 of its result. Called by the gateway once per message, or again after a revert when somebody retries.
    ///
    /// The sender must check that `msg.sender` is the gateway. A revert costs nobody but itself.
    function onCityOutcome(bytes32 lane, uint64 index, uint8 status, bytes32 resultHash) external;
}
