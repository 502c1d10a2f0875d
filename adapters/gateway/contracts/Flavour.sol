// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What a build does in its own way, first part: how it hashes.
/// @notice Chains differ in what their hash opcode computes. Everything else is the same code, so a flavour overrides
/// this function, a gateway those of `Callbacks`, and nothing else. The known-answer tests (KnownAnswers.sol) keep a
/// flavour from going into service on the wrong chain.
abstract contract Flavour {
    /// keccak256 of `data`, on every chain.
    function _hash(bytes memory data) internal view virtual returns (bytes32);
}

/// @title What a gateway does in its own way, second part: the function selectors that a chain's own compiler gives to
/// application contracts.
abstract contract Callbacks {
    /// The selector under which receivers of this chain implement `ICityReceiver.onCityMessage`.
    function _receiverSelector() internal view virtual returns (bytes4);

    /// The selector under which senders of this chain implement `ICitySender.onCityOutcome`.
    function _senderSelector() internal view virtual returns (bytes4);
}
