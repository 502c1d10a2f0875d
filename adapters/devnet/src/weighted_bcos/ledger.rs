//! What transactions change, and how: accounts, the consensus table, the size of blocks.

use alloy_primitives::{Address, Bytes, TxKind, U256};
use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::receipt::{LogEntry, Receipt};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use revm::context::TxEnv;
use revm::context::result::HaltReason;
use revm::primitives::hardfork::SpecId;

use super::block::Included;
use super::pool::Signed;
use super::sealers::Consensus;
use super::system_contract::{self, CALL_GAS, CONSENSUS, NO_CODE, SYSTEM_CONFIG, SystemAnswer, error_output};
use crate::chain_hash::CRYPTO_CONTRACT;
use crate::execution::{self, Ended, Environment, Rules};
use crate::world::{SlotChange, World};

/// Gas of every native transaction of version 0; `tx_gas_limit` of a default chain.
pub const TX_GAS_LIMIT: u64 = 3_000_000_000;
/// What CHAINID answers: the default `web3_chain_id`.
const WEB3_CHAIN_ID: u64 = 20_200;

/// What a read-only call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// 0 for success.
    pub status: i32,
    /// Return data.
    pub output: Bytes,
}

/// The state of the chain between two blocks.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    suite: CryptoSuite,
    rules: Rules,
    pub(super) world: World,
    pub(super) consensus: Consensus,
    pub(super) tx_count_limit: usize,
}

impl Ledger {
    pub(super) fn new(suite: CryptoSuite, is_classic: bool, consensus: Consensus, tx_count_limit: usize) -> Self {
        let rules = Rules {
            // The classic executor knows no later instructions.
            spec: if is_classic { SpecId::MERGE } else { SpecId::CANCUN },
            chain_id: WEB3_CHAIN_ID,
            max_code_bytes: 24_576,
            ordered_nonces: false,
            suite,
            has_crypto_contract: true,
            is_classic,
        };
        let mut world = World::default();
        // Its code size is 1 on real nodes; the bytes are never run.
        world.set_code(CRYPTO_CONTRACT, Bytes::from_static(&[0]));
        Self { suite, rules, world, consensus, tx_count_limit }
    }

    /// Executes the transactions of a block in order. Returns them with their receipts, and the state root.
    pub(super) fn execute_block(&mut self, taken: Vec<Signed>, number: u64, timestamp: u64) -> (Vec<Included>, Hash32) {
        let mut changes = Vec::new();
        let transactions = taken
            .into_iter()
            .enumerate()
            .map(|(index, signed)| self.execute(signed, number, timestamp, index, &mut changes))
            .collect();
        (transactions, state_root(self.suite, number, &changes))
    }

    /// Executes a read-only call after a block.
    pub(super) fn call(&self, number: u64, timestamp: u64, sender: Address, to: Address, input: Bytes) -> CallAnswer {
        let suite = self.suite;
        if to == CONSENSUS {
            let answer = system_contract::call_consensus(suite, &mut self.consensus.clone(), &input);
            return CallAnswer { status: answer.status, output: answer.output };
        }
        if !self.is_callable(to) {
            return CallAnswer { status: 16, output: error_output(suite, NO_CODE) };
        }
        let environment = environment(number, timestamp);
        let call =
            TxEnv { caller: sender, gas_limit: TX_GAS_LIMIT, kind: TxKind::Call(to), data: input, ..TxEnv::default() };
        match execution::call(&self.world, &self.rules, &environment, call) {
            Ok(result) if result.ended == Ended::Success => CallAnswer { status: 0, output: result.output },
            // Recorded of v3.9.0: the reason of a revert is not handed out.
            Ok(_) | Err(_) => CallAnswer { status: 1, output: Bytes::new() },
        }
    }

    /// Executes one transaction of a block.
    fn execute(
        &mut self,
        signed: Signed,
        number: u64,
        timestamp: u64,
        index: usize,
        changes: &mut Vec<SlotChange>,
    ) -> Included {
        let suite = self.suite;
        let data = &signed.transaction.data;
        let mut receipt = Receipt { version: data.version, block_number: number, ..Receipt::default() };
        let to = data.to.strip_prefix("0x").unwrap_or(&data.to);
        let target = if to.is_empty() { None } else { Some(to.parse::<Address>().unwrap_or_default()) };
        let system = |answer: SystemAnswer, receipt: &mut Receipt| {
            receipt.status = answer.status;
            receipt.output = answer.output.to_vec();
            receipt.gas_used = CALL_GAS.to_string();
        };
        match target {
            Some(CONSENSUS) => {
                system(system_contract::call_consensus(suite, &mut self.consensus, &data.input), &mut receipt);
            }
            Some(SYSTEM_CONFIG) => {
                let answer = system_contract::call_system_config(suite, &mut self.tx_count_limit, &data.input);
                system(answer, &mut receipt);
            }
            Some(target) if !self.is_callable(target) => {
                // Recorded of both: v3.9.0, and v3.16.4 with executor version 1.
                receipt.status = if self.rules.is_classic { 19 } else { 16 };
                receipt.output = error_output(suite, NO_CODE).to_vec();
                receipt.gas_used = 21_000.to_string();
            }
            target => self.execute_in_machine(&signed, target, timestamp, index, &mut receipt, changes),
        }
        let receipt_hash = receipt.hash(suite);
        Included { signed, receipt, receipt_hash }
    }

    fn execute_in_machine(
        &mut self,
        signed: &Signed,
        target: Option<Address>,
        timestamp: u64,
        index: usize,
        receipt: &mut Receipt,
        changes: &mut Vec<SlotChange>,
    ) {
        let suite = self.suite;
        let data = &signed.transaction.data;
        let created = contract_address(suite, receipt.block_number, index);
        let gas_limit =
            if data.version >= 1 && data.gas_limit > 0 { data.gas_limit.min(TX_GAS_LIMIT) } else { TX_GAS_LIMIT };
        let transaction = TxEnv {
            caller: Address::from(signed.sender),
            gas_limit,
            kind: target.map_or(TxKind::Create, TxKind::Call),
            data: Bytes::from(data.input.clone()),
            chain_id: Some(WEB3_CHAIN_ID),
            ..TxEnv::default()
        };
        let environment = environment(receipt.block_number, timestamp);
        let run = execution::execute(&self.world, &self.rules, &environment, transaction, Some(created));
        let (result, state) = match run {
            Ok(run) => run,
            // The gas does not even cover the call data.
            Err(_) => {
                receipt.status = 12;
                receipt.output = error_output(suite, OUT_OF_GAS).to_vec();
                receipt.gas_used = gas_limit.to_string();
                return;
            }
        };
        changes.extend(self.world.apply(state));
        receipt.gas_used = result.gas_used.to_string();
        receipt.status = status(&result.ended);
        receipt.output = match (&result.ended, target) {
            // A deployment's code is not its output.
            (Ended::Success, None) => Vec::new(),
            (Ended::Halt(HaltReason::OutOfGas(_)), _) => error_output(suite, OUT_OF_GAS).to_vec(),
            _ => result.output.to_vec(),
        };
        if target.is_none() && result.ended == Ended::Success {
            receipt.contract_address = hex::encode(created);
        }
        receipt.logs = result
            .logs
            .iter()
            .map(|log| LogEntry {
                address: hex::encode(log.address),
                topics: log.topics().iter().map(|topic| Hash32(topic.0)).collect(),
                data: log.data.data.to_vec(),
            })
            .collect();
    }

    fn is_callable(&self, address: Address) -> bool {
        !self.world.code(address).is_empty() || execution::is_precompile(&self.rules, address)
    }
}

const OUT_OF_GAS: &str = "Execution out of gas.";

fn environment(number: u64, timestamp: u64) -> Environment {
    Environment {
        number,
        timestamp,
        gas_limit: TX_GAS_LIMIT,
        beneficiary: Address::ZERO,
        base_fee: 0,
        difficulty: U256::ZERO,
    }
}

/// `TransactionStatus.h`.
fn status(ended: &Ended) -> i32 {
    match ended {
        Ended::Success => 0,
        Ended::Revert => 16,
        Ended::Halt(HaltReason::OutOfGas(_)) => 12,
        Ended::Halt(HaltReason::InvalidJump) => 11,
        Ended::Halt(HaltReason::StackOverflow) => 13,
        Ended::Halt(HaltReason::StackUnderflow) => 14,
        Ended::Halt(HaltReason::PrecompileError | HaltReason::PrecompileErrorWithContext(_)) => 15,
        Ended::Halt(HaltReason::CreateCollision) => 17,
        Ended::Halt(_) => 10,
    }
}

/// Where a deployment lands: the first 20 bytes of H("<block>_<index>_0"), as eleven recorded deployments do
/// (`bcos-executor` `newEVMAddress`). Contracts made by contracts lie where Ethereum puts them: an own rule.
pub fn contract_address(suite: CryptoSuite, number: u64, index: usize) -> Address {
    let hash = suite.hash(format!("{number}_{index}_0").as_bytes());
    Address::from(hash.0.first_chunk::<20>().copied().unwrap_or_default())
}

/// An XOR over hashes of what changed, as the real one; the height goes in so that it is never zero.
fn state_root(suite: CryptoSuite, number: u64, changes: &[SlotChange]) -> Hash32 {
    let mut root = suite.hash(&number.to_be_bytes()).0;
    for change in changes {
        let slot = change.slot.to_be_bytes::<32>();
        let value = change.value.to_be_bytes::<32>();
        let entry = suite.hash(&[change.address.as_slice(), &slot, &value].concat());
        root.iter_mut().zip(entry.0).for_each(|(byte, other)| *byte ^= other);
    }
    Hash32(root)
}
