//! A chain in memory: a real EVM, transaction after transaction.

use std::collections::BTreeMap;

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Address;
use cityrelay_devnet::execution::{CryptoSuite, Ended, Environment, Execution, Rules, execute};
use cityrelay_gateway::flavour::Selectors;
use cityrelay_gateway::{EncodedCall, Flavour, GatewayEvent, Refusal, encode_for, event};
use revm::bytecode::Bytecode;
use revm::context::{Context, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::handler::EthPrecompiles;
use revm::precompile::Precompiles;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{TxKind, U256};
use revm::state::AccountInfo;
use revm::{DatabaseCommit, DatabaseRef, ExecuteCommitEvm, MainBuilder, MainContext};

pub const GAS: u64 = 1_000_000_000;

/// What a chain does in its own way.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What is deployed on it.
    pub flavour: Flavour,
    /// Whether the hash opcode is SM3.
    pub is_sm3: bool,
    pub has_crypto_contract: bool,
    pub is_classic: bool,
    pub clock_is_millis: bool,
}

/// keccak256 by opcode, time in seconds: as most chains are.
pub const USUAL: Kind = Kind {
    flavour: Flavour::Opcode,
    is_sm3: false,
    has_crypto_contract: false,
    is_classic: false,
    clock_is_millis: false,
};

/// As [`USUAL`], time in milliseconds.
pub const MILLIS: Kind = Kind { clock_is_millis: true, ..USUAL };

/// SM3 by opcode.
pub const SM3: Kind = Kind {
    flavour: Flavour::Precompile { callbacks: Selectors::Keccak256 },
    is_sm3: true,
    has_crypto_contract: true,
    ..MILLIS
};

impl Kind {
    fn suite(self) -> CryptoSuite {
        if self.is_sm3 { CryptoSuite::Gm } else { CryptoSuite::Standard }
    }

    /// What the hash opcode computes there.
    pub fn hash(self, bytes: &[u8]) -> Hash32 {
        self.suite().hash(bytes)
    }

    /// The selector that the chain's own compiler gives to a function.
    pub fn selector(self, signature: &str) -> [u8; 4] {
        self.suite().selector(signature)
    }

    pub const fn classic(self) -> Self {
        Self { is_classic: true, ..self }
    }
}

#[derive(Clone)]
pub struct Chain {
    db: CacheDB<EmptyDB>,
    pub kind: Kind,
    pub clock_is_millis: bool,
    pub now_millis: u64,
    /// Stays the same until a test moves it: its transactions share a block.
    pub block_number: u64,
    pub spec: SpecId,
    pub has_precompiles: bool,
}

#[derive(Clone, Debug)]
pub struct Receipt {
    pub is_success: bool,
    pub output: Vec<u8>,
    pub gas_used: u64,
    pub created: Option<Address>,
    pub events: Vec<GatewayEvent>,
    pub foreign_logs: usize,
}

impl Chain {
    pub fn new(kind: Kind) -> Self {
        let mut db = CacheDB::new(EmptyDB::new());
        if kind.has_crypto_contract {
            // Its code size is 1 on running chains; the byte is never run.
            let code = Bytecode::new_legacy([0].into());
            let info = AccountInfo { code_hash: code.hash_slow(), code: Some(code), ..AccountInfo::default() };
            db.insert_account_info(alloy_primitives::address!("000000000000000000000000000000000000100a"), info);
        }
        Self {
            db,
            kind,
            clock_is_millis: kind.clock_is_millis,
            now_millis: 1_800_000_000_000,
            block_number: 1,
            spec: SpecId::LONDON,
            has_precompiles: true,
        }
    }

    pub fn timestamp(&self) -> u64 {
        if self.clock_is_millis { self.now_millis } else { self.now_millis / 1000 }
    }

    pub fn transact(&mut self, from: Address, call: &EncodedCall) -> Receipt {
        self.transact_with_gas(from, call, GAS)
    }

    pub fn transact_with_gas(&mut self, from: Address, call: &EncodedCall, gas: u64) -> Receipt {
        receipt(self.execute(from, call, gas, true))
    }

    /// A call of the gateway or the committee, encoded for this chain.
    pub fn submit(&mut self, from: Address, call: &GatewayCall) -> Receipt {
        self.transact(from, &encode_for(self.kind.flavour, call).unwrap())
    }

    pub fn call(&mut self, from: Address, to: Address, data: Vec<u8>) -> Receipt {
        self.transact(from, &EncodedCall { to: to.to_20(), data })
    }

    /// What raw calldata would do, without doing it.
    pub fn simulated(&mut self, from: Address, call: &EncodedCall) -> Receipt {
        receipt(self.execute(from, call, GAS, false))
    }

    /// What the call would do, without doing it.
    pub fn simulate(&mut self, from: Address, call: &GatewayCall) -> Receipt {
        receipt(self.execute(from, &encode_for(self.kind.flavour, call).unwrap(), GAS, false)).ok()
    }

    /// Asks without changing anything.
    pub fn view(&mut self, to: Address, data: Vec<u8>) -> Vec<u8> {
        let receipt =
            receipt(self.execute(Address::from_20([0; 20]), &EncodedCall { to: to.to_20(), data }, GAS, false));
        assert!(receipt.is_success, "a view reverted: {receipt:?}");
        receipt.output
    }

    pub fn storage(&self, account: Address, slot: Hash32) -> Hash32 {
        let slot = U256::from_be_bytes(slot.0);
        Hash32(self.db.storage_ref(account.to_20().unwrap().into(), slot).unwrap().to_be_bytes())
    }

    /// The code at an address.
    pub fn code(&self, account: Address) -> Vec<u8> {
        let info = self.db.basic_ref(account.to_20().unwrap().into()).unwrap().unwrap();
        let code = info.code.unwrap_or_else(|| self.db.code_by_hash_ref(info.code_hash).unwrap());
        code.original_bytes().to_vec()
    }

    /// All slots of `account` that were ever written and are not zero.
    pub fn storage_slots(&self, account: Address) -> BTreeMap<Hash32, Hash32> {
        let account = alloy_primitives::Address::from(account.to_20().unwrap());
        let account = self.db.cache.accounts.get(&account).unwrap();
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        slots.map(|(slot, value)| (Hash32(slot.to_be_bytes()), Hash32(value.to_be_bytes()))).collect()
    }

    /// Gives a plain account delegated code (EIP-7702), as a type-4 transaction would.
    pub fn delegate(&mut self, account: Address, to: Address) {
        let code = Bytecode::new_eip7702(to.to_20().unwrap().into());
        let info = AccountInfo { code_hash: code.hash_slow(), code: Some(code), ..AccountInfo::default() };
        self.db.insert_account_info(account.to_20().unwrap().into(), info);
    }

    /// Puts code at an address.
    pub fn put_code(&mut self, address: [u8; 20], code: &[u8]) {
        let code = Bytecode::new_legacy(code.to_vec().into());
        let info = AccountInfo { code_hash: code.hash_slow(), code: Some(code), ..AccountInfo::default() };
        self.db.insert_account_info(address.into(), info);
    }

    fn execute(&mut self, from: Address, call: &EncodedCall, gas: u64, is_kept: bool) -> Execution {
        let transaction = TxEnv::builder()
            .caller(from.to_20().unwrap().into())
            .kind(call.to.map_or(TxKind::Create, |to| TxKind::Call(to.into())))
            .data(call.data.clone().into())
            .gas_limit(gas)
            .build()
            .unwrap();
        if !self.has_precompiles {
            return self.execute_without_precompiles(transaction);
        }
        let rules = Rules {
            spec: self.spec,
            chain_id: 1,
            max_code_bytes: 24_576,
            ordered_nonces: false,
            suite: self.kind.suite(),
            has_crypto_contract: self.kind.has_crypto_contract,
            is_classic: self.kind.is_classic,
        };
        let environment = Environment {
            number: self.block_number,
            timestamp: self.timestamp(),
            gas_limit: u64::MAX,
            beneficiary: alloy_primitives::Address::ZERO,
            base_fee: 0,
            difficulty: U256::ZERO,
        };
        let (result, changes) = execute(&self.db, &rules, &environment, transaction, None).unwrap();
        if is_kept {
            self.db.commit(changes);
        }
        result
    }

    /// What no chain is: one where nothing is at address 1.
    fn execute_without_precompiles(&mut self, transaction: TxEnv) -> Execution {
        let (timestamp, spec) = (self.timestamp(), self.spec);
        let mut evm = Context::mainnet()
            .with_db(&mut self.db)
            .modify_cfg_chained(|cfg| {
                cfg.set_spec_and_mainnet_gas_params(spec);
                cfg.disable_nonce_check = true;
            })
            .modify_block_chained(|block| {
                block.timestamp = U256::from(timestamp);
                block.gas_limit = u64::MAX;
            })
            .build_mainnet();
        evm.precompiles = EthPrecompiles { precompiles: Box::leak(Box::new(Precompiles::default())), spec };
        evm.transact_commit(transaction).unwrap().into()
    }
}

fn receipt(result: Execution) -> Receipt {
    let decoded: Vec<_> = result
        .logs
        .iter()
        .map(|log| {
            let topics: Vec<_> = log.topics().iter().map(|topic| Hash32(topic.0)).collect();
            event::decode(&topics, &log.data.data)
        })
        .collect();
    let foreign_logs = decoded.iter().filter(|event| event.is_err()).count();
    Receipt {
        is_success: result.ended == Ended::Success,
        gas_used: result.gas_used,
        created: result.created.map(|address| Address::from_20(address.into_array())),
        output: result.output.into(),
        events: decoded.into_iter().filter_map(Result::ok).collect(),
        foreign_logs,
    }
}

impl Receipt {
    /// Name of the error that the contract reverted with.
    pub fn refused(&self) -> String {
        assert!(!self.is_success, "not refused: {self:?}");
        assert!(self.events.is_empty());
        Refusal::decode(&self.output).map_or_else(|| format!("0x{}", hex::encode(&self.output)), |refusal| refusal.name)
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.is_success, "refused: {}", self.refused());
        self
    }
}
