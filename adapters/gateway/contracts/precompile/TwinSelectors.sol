// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Answers to the selectors that a compiler makes with SM3 as well.
/// @notice The contract's own selectors are the usual ones, made with keccak256. A call that has none of them is looked
/// up in the table of SM3 selectors and answered as its twin: same caller, same storage, same answer.
abstract contract TwinSelectors {
    /// The usual selector of the function whose SM3 selector is `selector`, or zero.
    function _twinOf(bytes4 selector) internal pure virtual returns (bytes4);

    fallback() external {
        bytes4 twin = _twinOf(msg.sig);
        // As the compiler has it for every function that does not exist.
        if (twin == 0) revert();
        bytes memory input = abi.encodePacked(twin, msg.data[4:]);
        assembly ("memory-safe") {
            // To itself, so that the caller stays the caller. No other code is ever run by this.
            let ok := delegatecall(gas(), address(), add(input, 0x20), mload(input), 0, 0)
            let answer := mload(0x40)
            returndatacopy(answer, 0, returndatasize())
            if iszero(ok) { revert(answer, returndatasize()) }
            return(answer, returndatasize())
        }
    }
}
