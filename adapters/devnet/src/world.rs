//! The accounts of one chain after one block: cheap to copy, so that every recent block keeps its own.

use std::collections::BTreeSet;
use std::convert::Infallible;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::proof::ProofRetainer;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use imbl::OrdMap;
use revm::DatabaseRef;
use revm::bytecode::Bytecode;
use revm::state::{AccountInfo, EvmState};

/// Accounts, code and block hashes. Copies share structure.
///
/// Accounts and slots are keyed by the keccak256 of address and slot, the order of the Merkle Patricia tries.
#[derive(Clone, Debug, Default)]
pub struct World {
    accounts: OrdMap<B256, Record>,
    codes: OrdMap<B256, Bytecode>,
    block_hashes: OrdMap<u64, B256>,
    /// Accounts whose storage root is out of date.
    stale: BTreeSet<B256>,
}

#[derive(Clone, Debug)]
struct Record {
    nonce: u64,
    balance: U256,
    code_hash: B256,
    storage: OrdMap<B256, U256>,
    storage_root: B256,
}

/// What `eth_getProof` answers: one account and some of its slots, with their paths (EIP-1186).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account asked for.
    pub address: Address,
    /// Wei.
    pub balance: U256,
    /// Keccak256 of the code.
    pub code_hash: B256,
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Root of the account's storage trie.
    pub storage_root: B256,
    /// Nodes from the state root down; empty when the trie is.
    pub account_nodes: Vec<Bytes>,
    /// One for each slot, in the order asked.
    pub slots: Vec<SlotProof>,
}

/// One slot with its path from the storage root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// The slot, unhashed.
    pub slot: B256,
    /// Zero when the slot is absent.
    pub value: U256,
    /// Nodes from the storage root down; empty when the trie is.
    pub nodes: Vec<Bytes>,
}

/// One slot that a transaction changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// The account that owns the slot.
    pub address: Address,
    /// The slot, unhashed.
    pub slot: U256,
    /// The new value.
    pub value: U256,
}

impl World {
    /// Gives an account a balance in wei. Meant for genesis.
    pub fn fund(&mut self, address: Address, balance: U256) {
        let key = keccak256(address);
        let mut record = self.accounts.get(&key).cloned().unwrap_or_else(Record::empty);
        record.balance = balance;
        self.accounts.insert(key, record);
    }

    /// Puts code at an address. Meant for genesis.
    pub fn set_code(&mut self, address: Address, code: Bytes) {
        let key = keccak256(address);
        let mut record = self.accounts.get(&key).cloned().unwrap_or_else(Record::empty);
        record.code_hash = keccak256(&code);
        self.codes.insert(record.code_hash, Bytecode::new_legacy(code));
        self.accounts.insert(key, record);
    }

    /// Writes one slot of an account. Meant for genesis.
    pub fn set_storage(&mut self, address: Address, slot: B256, value: U256) {
        let key = keccak256(address);
        let mut record = self.accounts.get(&key).cloned().unwrap_or_else(Record::empty);
        record.storage.insert(keccak256(slot), value);
        self.accounts.insert(key, record);
        self.stale.insert(key);
    }

    /// Remembers the hash of a block for the BLOCKHASH instruction.
    pub fn note_block_hash(&mut self, number: u64, hash: B256) {
        self.block_hashes.insert(number, hash);
        if let Some(old) = number.checked_sub(256) {
            self.block_hashes.remove(&old);
        }
    }

    /// Takes over what one transaction changed, and returns the changed slots in a fixed order.
    pub fn apply(&mut self, changes: EvmState) -> Vec<SlotChange> {
        let mut changed_slots = Vec::new();
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            let key = keccak256(address);
            // EIP-161: a touched account that is empty ceases to exist.
            if account.is_selfdestructed() || account.is_empty() {
                self.accounts.remove(&key);
                self.stale.remove(&key);
                continue;
            }
            let mut record = self.accounts.get(&key).cloned().unwrap_or_else(Record::empty);
            if account.is_created() {
                record.storage = OrdMap::new();
                self.stale.insert(key);
            }
            record.nonce = account.info.nonce;
            record.balance = account.info.balance;
            record.code_hash = account.info.code_hash;
            if let Some(code) = account.info.code.filter(|code| !code.is_empty()) {
                self.codes.insert(record.code_hash, code);
            }
            for (slot, cell) in account.storage {
                if !cell.is_changed() {
                    continue;
                }
                let slot_key = keccak256(B256::from(slot));
                if cell.present_value.is_zero() {
                    record.storage.remove(&slot_key);
                } else {
                    record.storage.insert(slot_key, cell.present_value);
                }
                changed_slots.push(SlotChange { address, slot, value: cell.present_value });
                self.stale.insert(key);
            }
            self.accounts.insert(key, record);
        }
        changed_slots.sort_by_key(|change| (change.address, change.slot));
        changed_slots
    }

    /// The state root, after bringing the storage roots of changed accounts up to date.
    pub fn state_root(&mut self) -> B256 {
        for key in std::mem::take(&mut self.stale) {
            if let Some(record) = self.accounts.get_mut(&key) {
                record.storage_root = storage_trie(&record.storage, &[]).0;
            }
        }
        self.account_trie(&[]).0
    }

    /// Proves an account and slots of it, present or absent, against [`World::state_root`] of this state.
    pub fn prove(&self, address: Address, slots: &[B256]) -> AccountProof {
        let key = keccak256(address);
        let (_, account_nodes) = self.account_trie(&[key]);
        let record = self.accounts.get(&key).cloned().unwrap_or_else(Record::empty);
        let slots = slots
            .iter()
            .map(|slot| {
                let slot_key = keccak256(slot);
                let (_, nodes) = storage_trie(&record.storage, &[slot_key]);
                SlotProof { slot: *slot, value: record.storage.get(&slot_key).copied().unwrap_or_default(), nodes }
            })
            .collect();
        AccountProof {
            address,
            balance: record.balance,
            code_hash: record.code_hash,
            nonce: record.nonce,
            storage_root: record.storage_root,
            account_nodes,
            slots,
        }
    }

    /// Transactions sent by an account; 0 when it does not exist.
    pub fn nonce(&self, address: Address) -> u64 {
        self.accounts.get(&keccak256(address)).map_or(0, |record| record.nonce)
    }

    /// Wei of an account; 0 when it does not exist.
    pub fn balance(&self, address: Address) -> U256 {
        self.accounts.get(&keccak256(address)).map_or(U256::ZERO, |record| record.balance)
    }

    /// The code of an account; empty when it has none.
    pub fn code(&self, address: Address) -> Bytes {
        self.accounts
            .get(&keccak256(address))
            .and_then(|record| self.codes.get(&record.code_hash))
            .map(|code| code.original_bytes())
            .unwrap_or_default()
    }

    /// One slot of an account; zero when absent.
    pub fn storage(&self, address: Address, slot: B256) -> U256 {
        self.accounts
            .get(&keccak256(address))
            .and_then(|record| record.storage.get(&keccak256(slot)).copied())
            .unwrap_or_default()
    }

    fn account_trie(&self, targets: &[B256]) -> (B256, Vec<Bytes>) {
        let leaves = self.accounts.iter().map(|(key, record)| {
            let account = TrieAccount::new(record.nonce, record.balance, record.storage_root, record.code_hash);
            (*key, alloy_rlp::encode(account))
        });
        trie(leaves, targets)
    }
}

impl DatabaseRef for World {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.accounts.get(&keccak256(address)).map(|record| AccountInfo {
            nonce: record.nonce,
            balance: record.balance,
            code_hash: record.code_hash,
            code: self.codes.get(&record.code_hash).cloned(),
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.codes.get(&code_hash).cloned().unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.storage(address, B256::from(slot)))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.block_hashes.get(&number).copied().unwrap_or_default())
    }
}

impl Record {
    fn empty() -> Self {
        Self {
            nonce: 0,
            balance: U256::ZERO,
            code_hash: KECCAK256_EMPTY,
            storage: OrdMap::new(),
            storage_root: EMPTY_ROOT_HASH,
        }
    }
}

fn storage_trie(storage: &OrdMap<B256, U256>, targets: &[B256]) -> (B256, Vec<Bytes>) {
    trie(storage.iter().map(|(key, value)| (*key, alloy_rlp::encode(value))), targets)
}

/// Root of a secure trie, and the nodes on the way to the targets from the root down.
fn trie(leaves: impl Iterator<Item = (B256, Vec<u8>)>, targets: &[B256]) -> (B256, Vec<Bytes>) {
    let targets: Vec<Nibbles> = targets.iter().map(Nibbles::unpack).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets));
    let mut is_empty = true;
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key), &value);
        is_empty = false;
    }
    let root = builder.root();
    if is_empty {
        // Nodes answer an empty list here, not the empty node.
        return (root, Vec::new());
    }
    let nodes = builder.take_proof_nodes().into_nodes_sorted();
    // A node shorter than a hash lies inside its parent and is not served apart; the root always is.
    let nodes = nodes.into_iter().enumerate().filter(|(depth, (_, node))| *depth == 0 || node.len() >= 32);
    (root, nodes.map(|(_, (_, node))| node).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use alloy_trie::proof::verify_proof;
    use revm::state::{Account, AccountStatus, EvmStorageSlot, TransactionId};

    use super::*;

    fn with_slots(world: &mut World, address: Address, slots: &[(u64, u64)]) -> Vec<SlotChange> {
        let mut account = Account::default();
        account.info.nonce = 1;
        account.status = AccountStatus::Touched;
        for (slot, value) in slots {
            account.storage.insert(
                U256::from(*slot),
                EvmStorageSlot::new_changed(U256::from(u64::MAX), U256::from(*value), TransactionId::ZERO),
            );
        }
        let mut changes = EvmState::default();
        changes.insert(address, account);
        world.apply(changes)
    }

    #[test]
    fn account_and_slot_proofs_verify() {
        let mut world = World::default();
        let contract = Address::repeat_byte(7);
        for byte in 1..40u8 {
            world.fund(Address::repeat_byte(byte), U256::from(byte));
        }
        let slots: Vec<(u64, u64)> = (0..200).map(|n| (n, n + 1)).collect();
        with_slots(&mut world, contract, &slots);
        let root = world.state_root();
        let slot = B256::from(U256::from(11));
        let proof = world.prove(contract, &[slot]);
        let account = TrieAccount::new(proof.nonce, proof.balance, proof.storage_root, proof.code_hash);
        verify_proof(
            root,
            Nibbles::unpack(keccak256(contract)),
            Some(alloy_rlp::encode(account)),
            &proof.account_nodes,
        )
        .unwrap();
        assert_eq!(proof.slots[0].value, U256::from(12));
        verify_proof(
            proof.storage_root,
            Nibbles::unpack(keccak256(slot)),
            Some(alloy_rlp::encode(U256::from(12))),
            &proof.slots[0].nodes,
        )
        .unwrap();
    }

    #[test]
    fn absence_is_proved() {
        let mut world = World::default();
        with_slots(&mut world, Address::repeat_byte(7), &[(1, 5), (2, 6)]);
        world.state_root();
        let slot = B256::from(U256::from(9));
        let proof = world.prove(Address::repeat_byte(7), &[slot]);
        assert_eq!(proof.slots[0].value, U256::ZERO);
        verify_proof(proof.storage_root, Nibbles::unpack(keccak256(slot)), None, &proof.slots[0].nodes).unwrap();
    }

    #[test]
    fn empty_tries_have_no_nodes() {
        let mut world = World::default();
        assert_eq!(world.state_root(), EMPTY_ROOT_HASH);
        let proof = world.prove(Address::repeat_byte(1), &[B256::ZERO]);
        assert!(proof.account_nodes.is_empty());
        assert!(proof.slots[0].nodes.is_empty());
        assert_eq!(proof.code_hash, KECCAK256_EMPTY);
    }

    #[test]
    fn a_copy_keeps_its_own_state() {
        let mut world = World::default();
        let contract = Address::repeat_byte(7);
        with_slots(&mut world, contract, &[(1, 5)]);
        let before_root = world.state_root();
        let mut before = world.clone();
        with_slots(&mut world, contract, &[(1, 0), (2, 8)]);
        assert_ne!(world.state_root(), before_root);
        assert_eq!(before.state_root(), before_root);
        assert_eq!(before.storage(contract, B256::from(U256::from(1))), U256::from(5));
        assert_eq!(world.storage(contract, B256::from(U256::from(1))), U256::ZERO);
    }
}
