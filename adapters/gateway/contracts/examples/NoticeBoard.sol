// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICityReceiver} from "../ICityReceiver.sol";

/// @title Example receiver: keeps the latest notice of each sender.
/// @notice Shows the two checks that every receiver owes: who calls, and on which lane.
contract NoticeBoard is ICityReceiver {
    bytes32 private constant RECEIVED = 0xca6fdac865c08e10d122320e172fa6927367b2fbd2e2596af056b1a827334d30;

    address public immutable gateway;
    address public immutable owner;
    /// Lanes that this board takes notices from. A lane id binds chains, gateways, verifiers and channel.
    mapping(bytes32 lane => bool) public trusted;
    mapping(bytes32 lane => mapping(bytes32 sender => bytes notice)) public notices;
    /// How many notices were taken.
    uint256 public count;

    event Noticed(bytes32 indexed lane, uint64 indexed index, bytes32 indexed sender, bytes notice);

    error NotTheOwner(address caller);
    error NotTheGateway(address caller);
    error LaneNotTrusted(bytes32 lane);

    constructor(address gateway_) {
        gateway = gateway_;
        owner = msg.sender;
    }

    function setTrusted(bytes32 lane, bool isTrusted) external {
        if (msg.sender != owner) revert NotTheOwner(msg.sender);
        trusted[lane] = isTrusted;
    }

    function onCityMessage(bytes32 lane, uint64 index, bytes32 sender, bytes calldata payload)
        external
        returns (bytes32)
    {
        if (msg.sender != gateway) revert NotTheGateway(msg.sender);
        if (!trusted[lane]) revert LaneNotTrusted(lane);
        notices[lane][sender] = payload;
        count += 1;
        emit Noticed(lane, index, sender, payload);
        return RECEIVED;
    }
}
