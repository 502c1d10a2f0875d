// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICityReceiver} from "../ICityReceiver.sol";

/// A receiver that misbehaves as told by the payload's first byte, and remembers what it was called with.
contract ProbeReceiver is ICityReceiver {
    bytes32 private constant RECEIVED = 0xca6fdac865c08e10d122320e172fa6927367b2fbd2e2596af056b1a827334d30;

    uint8 public constant TAKE = 0;
    uint8 public constant REVERT_EMPTY = 1;
    uint8 public constant REVERT_WITH_REST = 2;
    uint8 public constant RETURN_OTHER_WORD = 3;
    uint8 public constant RETURN_LONGER = 4;
    uint8 public constant RETURN_NOTHING = 5;
    uint8 public constant BURN_ALL_GAS = 6;
    uint8 public constant CALL_BACK = 7;
    uint8 public constant RETURN_HUGE = 8;
    uint8 public constant TAKE_UNLESS_BROKEN = 9;
    uint8 public constant RETURN_MEGABYTE = 10;
    uint8 public constant DIVE = 11;

    uint256 public calls;
    uint256 public gasAtEntry;
    address public caller;
    bytes32 public lane;
    uint64 public index;
    bytes32 public sender;
    bytes public payload;
    bool public broken;
    bytes public innerAnswer;
    bool public innerOk;

    error InnerCallFailed(bytes answer);

    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function onCityMessage(bytes32 lane_, uint64 index_, bytes32 sender_, bytes calldata payload_)
        external
        returns (bytes32)
    {
        uint8 mode = payload_.length == 0 ? TAKE : uint8(payload_[0]);
        if (mode == DIVE) {
            // As deep as the gas reaches; the last call fails, and nobody minds.
            try this.onCityMessage(lane_, index_, sender_, payload_) {} catch {}
            return RECEIVED;
        }
        gasAtEntry = gasleft();
        calls += 1;
        (caller, lane, index, sender) = (msg.sender, lane_, index_, sender_);
        if (mode == TAKE) payload = payload_;
        if (mode == REVERT_EMPTY || (mode == TAKE_UNLESS_BROKEN && broken)) {
            assembly ("memory-safe") {
                revert(0, 0)
            }
        }
        if (mode == REVERT_WITH_REST) {
            bytes memory rest = payload_[1:];
            assembly ("memory-safe") {
                revert(add(rest, 0x20), mload(rest))
            }
        }
        if (mode == RETURN_OTHER_WORD) return ~RECEIVED;
        if (mode == RETURN_LONGER) {
            bytes32 word = RECEIVED;
            assembly ("memory-safe") {
                let out := mload(0x40)
                mstore(out, word)
                mstore(add(out, 0x20), 0)
                return(out, 0x40)
            }
        }
        if (mode == RETURN_NOTHING) {
            assembly ("memory-safe") {
                return(0, 0)
            }
        }
        if (mode == BURN_ALL_GAS) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (mode == RETURN_HUGE) {
            assembly ("memory-safe") {
                return(mload(0x40), 100000)
            }
        }
        if (mode == RETURN_MEGABYTE) {
            assembly ("memory-safe") {
                return(mload(0x40), 0x100000)
            }
        }
        if (mode == CALL_BACK) {
            // The gateway is the caller; the rest of the payload is calldata for it.
            (innerOk, innerAnswer) = msg.sender.call(payload_[1:]);
        }
        return RECEIVED;
    }
}
