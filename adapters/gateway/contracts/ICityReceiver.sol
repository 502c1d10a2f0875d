// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What an application contract implements to receive messages.
interface ICityReceiver {
    /// Takes message `index` of `lane`. Called by the gateway, with exactly the message's gas limit.
    ///
    /// The receiver must check that `msg.sender` is the gateway it trusts and that `lane` is on its own list: the
    /// lane id binds both chains, both gateways and both verifiers. Anything but a return of exactly
    /// keccak256("cityrelay.v1.received") rolls the call back and makes the message *failed*.
    function onCityMessage(bytes32 lane, uint64 index, bytes32 sender, bytes calldata payload)
        external
        returns (bytes32 magic);
}
