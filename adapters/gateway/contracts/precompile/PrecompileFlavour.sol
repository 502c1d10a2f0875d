// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Flavour} from "../Flavour.sol";

/// @title Flavour `hash = precompile`: the hash opcode computes SM3, keccak256 is asked of the chain's crypto contract.
/// @notice `compile.mjs` builds what lies in this folder without the optimizer's steps that compute hashes at compile
/// time: they would put keccak256 where the running chain computes SM3, and one mapping slot would have two places.
abstract contract PrecompileFlavour is Flavour {
    /// The crypto contract. Chains whose opcode is keccak256 have it too, but know it by another selector.
    uint256 private constant CRYPTO_CONTRACT = 0x100a;
    /// First four bytes of sm3("keccak256Hash(bytes)").
    bytes4 private constant KECCAK256_HASH = 0xb6510107;

    /// The crypto contract failed, or did not answer with exactly one word: it is not there, does not know the
    /// selector, or the gas ran out.
    error HashUnanswered();

    function _hash(bytes memory data) internal view virtual override returns (bytes32 hash) {
        uint256 mark;
        assembly ("memory-safe") {
            mark := mload(0x40)
        }
        bytes memory input = abi.encodeWithSelector(KECCAK256_HASH, data);
        bool answered;
        assembly ("memory-safe") {
            let ok := staticcall(gas(), CRYPTO_CONTRACT, add(input, 0x20), mload(input), 0, 0x20)
            answered := and(ok, eq(returndatasize(), 0x20))
            hash := mload(0)
            // The input is not needed any more.
            mstore(0x40, mark)
        }
        if (!answered) revert HashUnanswered();
    }
}
