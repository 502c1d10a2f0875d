//! A chain in memory: a real EVM, transaction after transaction.

use std::collections::BTreeMap;

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Address;
use cityrelay_gateway::{EncodedCall, GatewayEvent, Refusal, encode, event};
use revm::bytecode::Bytecode;
use revm::context::result::ExecutionResult;
use revm::context::{Context, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::handler::EthPrecompiles;
use revm::precompile::Precompiles;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{TxKind, U256};
use revm::state::AccountInfo;
use revm::{DatabaseRef, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext};

pub const GAS: u64 = 1_000_000_000;

#[derive(Clone)]
pub struct Chain {
    db: CacheDB<EmptyDB>,
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
    pub fn new(clock_is_millis: bool) -> Self {
        Self {
            db: CacheDB::new(EmptyDB::new()),
            clock_is_millis,
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

    pub fn call(&mut self, from: Address, to: Address, data: Vec<u8>) -> Receipt {
        self.transact(from, &EncodedCall { to: to.to_20(), data })
    }

    /// What the call would do, without doing it.
    pub fn simulate(&mut self, from: Address, call: &GatewayCall) -> Receipt {
        receipt(self.execute(from, &encode(call).unwrap(), GAS, false)).ok()
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

    fn execute(&mut self, from: Address, call: &EncodedCall, gas: u64, is_kept: bool) -> ExecutionResult {
        let (timestamp, spec, number) = (self.timestamp(), self.spec, self.block_number);
        let mut evm = Context::mainnet()
            .with_db(&mut self.db)
            .modify_cfg_chained(|cfg| {
                cfg.set_spec_and_mainnet_gas_params(spec);
                cfg.disable_nonce_check = true;
                cfg.tx_gas_limit_cap = Some(u64::MAX);
            })
            .modify_block_chained(|block| {
                block.timestamp = U256::from(timestamp);
                block.number = U256::from(number);
                block.gas_limit = u64::MAX;
            })
            .build_mainnet();
        if !self.has_precompiles {
            evm.precompiles = EthPrecompiles { precompiles: Box::leak(Box::new(Precompiles::default())), spec };
        }
        let tx = TxEnv::builder()
            .caller(from.to_20().unwrap().into())
            .kind(call.to.map_or(TxKind::Create, |to| TxKind::Call(to.into())))
            .data(call.data.clone().into())
            .gas_limit(gas)
            .build()
            .unwrap();
        if is_kept { evm.transact_commit(tx).unwrap() } else { evm.transact(tx).unwrap().result }
    }
}

fn receipt(result: ExecutionResult) -> Receipt {
    let decoded: Vec<_> = result
        .logs()
        .iter()
        .map(|log| {
            let topics: Vec<_> = log.topics().iter().map(|topic| Hash32(topic.0)).collect();
            event::decode(&topics, &log.data.data)
        })
        .collect();
    let foreign_logs = decoded.iter().filter(|event| event.is_err()).count();
    Receipt {
        is_success: result.is_success(),
        gas_used: result.tx_gas_used(),
        created: result.created_address().map(|address| Address::from_20(address.into_array())),
        output: result.into_output().unwrap_or_default().into(),
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
