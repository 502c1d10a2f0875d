// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// What a verifier returns for a head it vouches for: keccak256("cityrelay.v1.verified").
bytes32 constant VERIFIED = 0xbf331f7ef8ee5f9050b55cdcada39e75dbf104cee8aa8d7646e9137d4eedcd45;

/// @title Who vouches for a head of the other chain.
/// @notice A verifier is immutable and part of the lane's identity. The first is a committee of attesters; a light
/// client of the other chain fits the same place.
interface IHeadVerifier {
    /// Returns `VERIFIED` if `evidence` shows that hash chain `direction` (0 outbox, 1 inbox) of `lane` has `head` at
    /// `index`. Reverts otherwise; empty evidence never shows anything. `msg.sender` is the gateway that asks.
    function verify(bytes32 lane, uint8 direction, uint64 index, bytes32 head, bytes calldata evidence)
        external
        view
        returns (bytes32 verified);
}
