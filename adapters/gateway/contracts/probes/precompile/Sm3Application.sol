// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// An application as a compiler with SM3 selectors makes it: it is called with them, and calls the gateway with them.
/// This compiler makes others, so it answers in its fallback and encodes by hand.
contract Sm3Application {
    bytes32 private constant RECEIVED = 0xca6fdac865c08e10d122320e172fa6927367b2fbd2e2596af056b1a827334d30;
    /// First four bytes of sm3("onCityMessage(bytes32,uint64,bytes32,bytes)").
    bytes4 private constant ON_CITY_MESSAGE = 0x8fb09e98;
    /// First four bytes of sm3("onCityOutcome(bytes32,uint64,uint8,bytes32)").
    bytes4 private constant ON_CITY_OUTCOME = 0xbc57beea;
    /// First four bytes of sm3("send(bytes32,bytes32,uint64,uint64,bytes)").
    bytes4 private constant SEND = 0xe50e1c0b;

    uint256 public messages;
    uint256 public outcomes;
    uint8 public status;

    error FunctionUnknown(bytes4 selector);
    error SendFailed(bytes answer);

    function send(address gateway, bytes32 lane, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes calldata payload)
        external
        returns (uint64 index, bytes32 id)
    {
        (bool ok, bytes memory answer) =
            gateway.call(abi.encodeWithSelector(SEND, lane, receiver, deadlineMillis, gasLimit, payload));
        if (!ok) revert SendFailed(answer);
        return abi.decode(answer, (uint64, bytes32));
    }

    fallback(bytes calldata input) external returns (bytes memory) {
        if (msg.sig == ON_CITY_MESSAGE) {
            messages += 1;
            return abi.encode(RECEIVED);
        }
        if (msg.sig == ON_CITY_OUTCOME) {
            (,, status,) = abi.decode(input[4:], (bytes32, uint64, uint8, bytes32));
            outcomes += 1;
            return "";
        }
        revert FunctionUnknown(msg.sig);
    }
}
