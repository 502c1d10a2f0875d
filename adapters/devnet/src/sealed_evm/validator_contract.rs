//! The contract that keeps the validators in mode `qbft-contract`, and how it is called.

use alloy_consensus::{SignableTransaction, TxEnvelope, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, keccak256};
use alloy_sol_types::SolValue;

use crate::keys::DevKey;
use crate::world::World;

/// Where it is: in block 0 already, as the recorded chain has it.
pub const ADDRESS: Address = address!("00000000000000000000000000000000000000c5");

/// Runtime code of `contracts/Validators.sol`: solc 0.8.37, London, optimised for 200 runs, no metadata.
pub const RUNTIME_CODE: &str = include_str!("../../contracts/Validators.runtime.hex");

/// Slot of the length of its only `address[]`; the items follow from keccak256 of it.
pub const LENGTH_SLOT: B256 = B256::ZERO;

/// Gas that replacing the set may take: two slots for each of up to 256 validators, with room.
const GAS_LIMIT: u64 = 20_000_000;

/// Puts the contract with its first set into block 0.
#[expect(clippy::expect_used, reason = "the code is part of this program")]
pub(super) fn place(world: &mut World, validators: &[Address]) {
    world.set_code(ADDRESS, RUNTIME_CODE.trim().parse::<Bytes>().expect("the code is hex"));
    for (slot, value) in storage(validators) {
        world.set_storage(ADDRESS, slot, value);
    }
}

/// What its storage holds of a set.
pub fn storage(validators: &[Address]) -> impl Iterator<Item = (B256, U256)> {
    let items = validators.iter().enumerate();
    let items = items.map(|(index, validator)| (item_slot(index), U256::from_be_bytes(validator.into_word().0)));
    core::iter::once((LENGTH_SLOT, U256::from(validators.len()))).chain(items)
}

/// The set that it keeps, in its own order.
pub(super) fn read(world: &World) -> Vec<Address> {
    let length: usize = world.storage(ADDRESS, LENGTH_SLOT).saturating_to();
    let item = |index| Address::from_word(B256::from(world.storage(ADDRESS, item_slot(index))));
    (0..length).map(item).collect()
}

/// The signed transaction that replaces the set.
#[must_use]
pub fn replacement(key: &DevKey, chain_id: u64, nonce: u64, validators: &[Address]) -> Vec<u8> {
    let selector = keccak256("replace(address[])");
    let arguments = (validators.to_vec(),).abi_encode_params();
    let input: Vec<u8> = selector.iter().take(4).copied().chain(arguments).collect();
    let transaction = TxLegacy {
        chain_id: Some(chain_id),
        nonce,
        gas_price: 0,
        gas_limit: GAS_LIMIT,
        to: TxKind::Call(ADDRESS),
        value: U256::ZERO,
        input: input.into(),
    };
    let [rs @ .., parity] = key.sign(transaction.signature_hash());
    let signature = Signature::from_bytes_and_parity(&rs, parity == 1);
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
}

fn item_slot(index: usize) -> B256 {
    B256::from(U256::from_be_bytes(keccak256(LENGTH_SLOT).0).wrapping_add(U256::from(index)))
}
