// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Flavour} from "./Flavour.sol";

// `block.timestamp` counts seconds.
uint8 constant CLOCK_SECONDS = 0;
// `block.timestamp` counts milliseconds.
uint8 constant CLOCK_MILLISECONDS = 1;

/// @title Known-answer tests, so that a wrong build or a wrong flavour cannot go into service.
abstract contract KnownAnswers is Flavour {
    /// The build's hash is not keccak256 on this chain.
    error HashIsNotKeccak();
    /// The precompile at address 1 does not recover secp256k1 signatures.
    error RecoveryIsWrong();
    /// `clock` is neither 0 nor 1, or `block.timestamp` is implausible in that unit.
    error ClockIsWrong(uint8 clock, uint256 timestamp);

    /// Checks the hash (of nothing, and of 160 bytes, which is more than one block of the sponge) and ecrecover.
    function _requireKnownAnswers() internal view {
        // Zero until the year 10^60, but not for the optimizer, which would compute the answers by itself.
        uint256 zero = block.timestamp >> 255;

        bytes memory empty = new bytes(zero);
        if (_hash(empty) != 0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470) {
            revert HashIsNotKeccak();
        }
        bytes memory words = abi.encode(zero + 1, zero + 2, zero + 3, zero + 4, zero + 5);
        if (_hash(words) != 0x5917e5a395fb9b454434de59651d36822a9e29c5ec57474df3e67937b969460c) {
            revert HashIsNotKeccak();
        }
        // Secret key 1 over keccak256("").
        address signer = ecrecover(
            bytes32(zero + 0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470),
            27,
            0x9377c312145a5afb911bf9e8c067bcf6094c533603687850df502b61290bbf5e,
            0x4fb87ff3bf62034745cbcde580c3178cabe5ecf61ee14c9f9ae860a6d2b25c84
        );
        if (signer != 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf) revert RecoveryIsWrong();
    }

    /// Checks that now is a plausible time in unit `clock`. 1e11 seconds are in the year 5138, 1e12 milliseconds in
    /// 2001: no time that a chain may meet is plausible in both units.
    function _requireClock(uint8 clock) internal view {
        uint256 timestamp = block.timestamp;
        bool plausible = (clock == CLOCK_SECONDS && timestamp > 1e9 && timestamp < 1e11)
            || (clock == CLOCK_MILLISECONDS && timestamp > 1e12 && timestamp < 1e14);
        if (!plausible) revert ClockIsWrong(clock, timestamp);
    }
}
