// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICityReceiver} from "../ICityReceiver.sol";

/// Test only: counts the messages of each lane, and how often one came that was not the next.
contract Counter is ICityReceiver {
    bytes32 private constant RECEIVED = 0xca6fdac865c08e10d122320e172fa6927367b2fbd2e2596af056b1a827334d30;

    /// Index of the last message.
    mapping(bytes32 lane => uint256) public last;
    /// Messages that did not follow the one before.
    uint256 public strays;

    error Counted(uint256 last, uint256 strays);

    /// Reverts unless each message of `lane` came once, in order, up to `expected`, and none of any lane out of order.
    function verify(bytes32 lane, uint256 expected) external view {
        if (last[lane] != expected || strays != 0) revert Counted(last[lane], strays);
    }

    function onCityMessage(bytes32 lane, uint64 index, bytes32, bytes calldata) external returns (bytes32) {
        if (index != last[lane] + 1) strays += 1;
        last[lane] = index;
        return RECEIVED;
    }
}
