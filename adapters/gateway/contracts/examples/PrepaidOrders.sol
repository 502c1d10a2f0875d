// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICitySender} from "../ICitySender.sol";

/// The one function of the gateway that an application calls.
interface IGatewaySend {
    function send(bytes32 lane, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes calldata payload)
        external
        returns (uint64 index, bytes32 id);
}

/// @title Example sender that refunds: orders are paid from a credit, and what was not executed is paid back.
/// @notice A refund needs the outcome *failed*, *expired* or *skipped*, which the gateway proves. No outcome, no
/// refund: an order may still be executed.
contract PrepaidOrders is ICitySender {
    struct Order {
        address buyer;
        uint256 price;
    }

    uint8 private constant STATUS_EXECUTED = 1;

    IGatewaySend public immutable gateway;
    address public immutable issuer;
    mapping(address buyer => uint256) public credit;
    /// Orders whose outcome is not known yet.
    mapping(bytes32 lane => mapping(uint64 index => Order)) public pending;
    /// What executed orders earned.
    uint256 public earned;

    event Ordered(bytes32 indexed lane, uint64 indexed index, address indexed buyer, uint256 price);
    event Completed(bytes32 indexed lane, uint64 indexed index);
    event Refunded(bytes32 indexed lane, uint64 indexed index, address indexed buyer, uint256 price, uint8 status);

    error NotTheIssuer(address caller);
    error NotTheGateway(address caller);
    error CreditTooLow(uint256 credit, uint256 price);
    error OrderUnknown(bytes32 lane, uint64 index);

    constructor(address gateway_) {
        gateway = IGatewaySend(gateway_);
        issuer = msg.sender;
    }

    /// Gives `buyer` credit.
    function issue(address buyer, uint256 amount) external {
        if (msg.sender != issuer) revert NotTheIssuer(msg.sender);
        credit[buyer] += amount;
    }

    /// Orders at `receiver` on the lane's other chain, for `price`.
    function order(
        bytes32 lane,
        bytes32 receiver,
        uint64 deadlineMillis,
        uint64 gasLimit,
        bytes calldata payload,
        uint256 price
    ) external returns (uint64 index) {
        uint256 available = credit[msg.sender];
        if (available < price) revert CreditTooLow(available, price);
        credit[msg.sender] = available - price;
        (index,) = gateway.send(lane, receiver, deadlineMillis, gasLimit, payload);
        pending[lane][index] = Order({buyer: msg.sender, price: price});
        emit Ordered(lane, index, msg.sender, price);
    }

    function onCityOutcome(bytes32 lane, uint64 index, uint8 status, bytes32) external {
        if (msg.sender != address(gateway)) revert NotTheGateway(msg.sender);
        Order memory settled = pending[lane][index];
        if (settled.buyer == address(0)) revert OrderUnknown(lane, index);
        delete pending[lane][index];
        if (status == STATUS_EXECUTED) {
            earned += settled.price;
            emit Completed(lane, index);
        } else {
            credit[settled.buyer] += settled.price;
            emit Refunded(lane, index, settled.buyer, settled.price, status);
        }
    }
}
