//! The contracts of `contracts/probes`, which only tests deploy.

use alloy_primitives::{Address as Account, Bytes, U256};
use alloy_sol_types::{SolCall, SolConstructor, sol};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::Address;

pub const TAKE: u8 = 0;
pub const REVERT_EMPTY: u8 = 1;
pub const REVERT_WITH_REST: u8 = 2;
pub const RETURN_OTHER_WORD: u8 = 3;
pub const RETURN_LONGER: u8 = 4;
pub const RETURN_NOTHING: u8 = 5;
pub const BURN_ALL_GAS: u8 = 6;
pub const CALL_BACK: u8 = 7;
pub const RETURN_HUGE: u8 = 8;
pub const TAKE_UNLESS_BROKEN: u8 = 9;
pub const RETURN_MEGABYTE: u8 = 10;
pub const DIVE: u8 = 11;

pub const CALLBACK_TAKES: u8 = 0;
pub const CALLBACK_REVERTS: u8 = 1;
pub const CALLBACK_BURNS: u8 = 2;
pub const CALLBACK_CALLS_BACK: u8 = 3;

sol! {
    interface Probe {
        function calls() external view returns (uint256);
        function gasAtEntry() external view returns (uint256);
        function caller() external view returns (address);
        function index() external view returns (uint64);
        function sender() external view returns (bytes32);
        function payload() external view returns (bytes);
        function status() external view returns (uint8);
        function innerOk() external view returns (bool);
        function innerAnswer() external view returns (bytes);
        function setBroken(bool broken) external;
        function setMode(uint8 mode, bytes calldata inner) external;
        function forward(address target, bytes calldata data) external returns (bytes memory);
    }

    interface Depths {
        function dive(uint256 depth, address target, bytes calldata data) external;
        function swallow(address target, bytes calldata data) external;
    }

    interface Sm3Application {
        function send(address gateway, bytes32 lane, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes calldata payload) external returns (uint64 index, bytes32 id);
        function messages() external view returns (uint256);
        function outcomes() external view returns (uint256);
    }

    interface FixedVerifier {
        constructor(bytes32 answer, bool refusesEmpty);
    }

    interface DeployingCaller {
        constructor(address target, bytes data);
    }
}

pub fn init_code(name: &str) -> Vec<u8> {
    let artifact = crate::artifacts::read(&format!("probes/{name}.json"));
    hex::decode(artifact["bytecode"].as_str().unwrap().trim_start_matches("0x")).unwrap()
}

pub fn receiver() -> Vec<u8> {
    init_code("ProbeReceiver")
}

pub fn sender() -> Vec<u8> {
    init_code("ProbeSender")
}

pub fn fixed_verifier(answer: Hash32, refuses_empty: bool) -> Vec<u8> {
    let arguments = FixedVerifier::constructorCall { answer: answer.0.into(), refusesEmpty: refuses_empty };
    [init_code("FixedVerifier"), arguments.abi_encode()].concat()
}

pub fn deploying_caller(target: Address, data: Vec<u8>) -> Vec<u8> {
    let target = Account::from(target.to_20().unwrap());
    let arguments = DeployingCaller::constructorCall { target, data: data.into() };
    [init_code("DeployingCaller"), arguments.abi_encode()].concat()
}

pub fn forward(target: Address, data: Vec<u8>) -> Vec<u8> {
    Probe::forwardCall { target: Account::from(target.to_20().unwrap()), data: data.into() }.abi_encode()
}

pub fn set_mode(mode: u8, inner: Vec<u8>) -> Vec<u8> {
    Probe::setModeCall { mode, inner: Bytes::from(inner) }.abi_encode()
}

pub fn set_broken(broken: bool) -> Vec<u8> {
    Probe::setBrokenCall { broken }.abi_encode()
}

/// Calldata of `DeepCaller::dive`.
pub fn dive(depth: u64, target: Address, data: Vec<u8>) -> Vec<u8> {
    let target = Account::from(target.to_20().unwrap());
    Depths::diveCall { depth: U256::from(depth), target, data: data.into() }.abi_encode()
}

/// Calldata of `Swallower::swallow`.
pub fn swallow(target: Address, data: Vec<u8>) -> Vec<u8> {
    Depths::swallowCall { target: Account::from(target.to_20().unwrap()), data: data.into() }.abi_encode()
}

/// Init code of a receiver that takes a message and destroys itself: it calls itself with nothing, which ends it, and
/// answers with the word. Its code is gone after the transaction.
pub fn mortal() -> Vec<u8> {
    let word = keccak256(b"cityrelay.v1.received").0;
    let runtime = [
        // if there is calldata, go on below; else SELFDESTRUCT to address 0
        &[0x36, 0x60, 0x07, 0x57, 0x60, 0x00, 0xff, 0x5b][..],
        // CALL(gas, this, 0, 0, 0, 0, 0)
        &[0x60, 0, 0x60, 0, 0x60, 0, 0x60, 0, 0x60, 0, 0x30, 0x5a, 0xf1],
        // return the word
        &[0x7f],
        &word,
        &[0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3],
    ]
    .concat();
    // PUSH1 length, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 length, PUSH1 0, RETURN
    let length = u8::try_from(runtime.len()).unwrap();
    [&[0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xf3][..], &runtime].concat()
}
