//! Running one transaction or one call on a [`World`] with revm.

use std::convert::Infallible;
use std::marker::PhantomData;

use alloy_primitives::{Address, B256, Bytes, Log, U256};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use revm::MainContext;
use revm::bytecode::opcode::KECCAK256;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, Context, ContextSetters, ContextTr, Evm, JournalTr, TxEnv};
use revm::database_interface::WrapDatabaseRef;
use revm::handler::instructions::EthInstructions;
use revm::handler::{EthFrame, Handler, MainnetContext, MainnetHandler};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{CreateScheme, FrameInput, GasTracker, Instruction};
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use thiserror::Error;

use crate::chain_hash::{ChainPrecompiles, sm3_instruction};
use crate::world::World;

/// What does not change from block to block.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The fork.
    pub spec: SpecId,
    /// What CHAINID answers.
    pub chain_id: u64,
    /// Longest runtime code in bytes; EIP-170 says 24,576.
    pub max_code_bytes: usize,
    /// Account nonces order transactions. Off on chains that keep a window of random nonces instead.
    pub ordered_nonces: bool,
    /// The chain's own hash: what KECCAK256 answers.
    pub suite: CryptoSuite,
    /// There is a contract of hashes at 0x100a.
    pub has_crypto_contract: bool,
}

/// What a contract sees of the block that it runs in.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The height.
    pub number: u64,
    /// In the chain's own unit.
    pub timestamp: u64,
    /// Gas that the whole block may use.
    pub gas_limit: u64,
    /// What COINBASE answers.
    pub beneficiary: Address,
    /// Wei per gas.
    pub base_fee: u64,
    /// What DIFFICULTY answers before Paris.
    pub difficulty: U256,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned.
    Success,
    /// It reverted, and gave back the gas that was left.
    Revert,
    /// It broke off and used all its gas.
    Halt(HaltReason),
}

/// The visible result of an execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// How it ended.
    pub ended: Ended,
    /// Gas used after refunds.
    pub gas_used: u64,
    /// Logs; empty unless it succeeded.
    pub logs: Vec<Log>,
    /// Return data, or the reason of a revert.
    pub output: Bytes,
    /// The contract that was created.
    pub created: Option<Address>,
}

/// The transaction is not valid in this state; nothing was executed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// A rule of the protocol forbids it.
    #[error("invalid transaction: {0}")]
    Invalid(InvalidTransaction),
    /// The machine refused for another reason.
    #[error("execution refused: {0}")]
    Refused(String),
}

/// Executes a transaction under the full rules. Returns its result and what it changes.
///
/// `create_at` replaces the address of a contract that the transaction itself creates.
///
/// # Errors
/// `Invalid` when nonce, balance, gas or fee are not in order.
pub fn execute(
    world: &World,
    rules: &Rules,
    environment: &Environment,
    transaction: TxEnv,
    create_at: Option<Address>,
) -> Result<(Execution, EvmState), ExecutionError> {
    let mut settings = settings(rules);
    settings.disable_nonce_check = !rules.ordered_nonces;
    run(world, rules, settings, environment, transaction, create_at)
}

/// Executes a call whose changes are dropped: nonce, balance and fee are not checked.
///
/// # Errors
/// `Invalid` when the gas does not cover the call data.
pub fn call(
    world: &World,
    rules: &Rules,
    environment: &Environment,
    transaction: TxEnv,
) -> Result<Execution, ExecutionError> {
    let mut settings = settings(rules);
    settings.disable_nonce_check = true;
    settings.disable_balance_check = true;
    settings.disable_base_fee = true;
    settings.disable_eip3607 = true;
    settings.tx_chain_id_check = false;
    run(world, rules, settings, environment, transaction, None).map(|(result, _)| result)
}

/// Gas of KECCAK256 before the words are counted (yellow paper, Gkeccak256).
const KECCAK256_STATIC_GAS: u16 = 30;

/// True when a built-in contract of the machine lies at the address.
pub fn is_precompile(rules: &Rules, address: Address) -> bool {
    precompiles(rules).has(&address)
}

fn precompiles(rules: &Rules) -> ChainPrecompiles {
    ChainPrecompiles::new(rules.spec, rules.has_crypto_contract.then_some(rules.suite))
}

fn settings(rules: &Rules) -> CfgEnv {
    let mut settings = CfgEnv::new_with_spec(rules.spec);
    settings.chain_id = rules.chain_id;
    settings.limit_contract_code_size = Some(rules.max_code_bytes);
    settings
}

fn run(
    world: &World,
    rules: &Rules,
    settings: CfgEnv,
    environment: &Environment,
    transaction: TxEnv,
    create_at: Option<Address>,
) -> Result<(Execution, EvmState), ExecutionError> {
    let block = BlockEnv {
        number: U256::from(environment.number),
        timestamp: U256::from(environment.timestamp),
        gas_limit: environment.gas_limit,
        beneficiary: environment.beneficiary,
        basefee: environment.base_fee,
        difficulty: environment.difficulty,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    let context = Context::mainnet().with_db(WrapDatabaseRef(world)).with_block(block).with_cfg(settings);
    let mut instructions = EthInstructions::new_mainnet_with_spec(rules.spec);
    if rules.suite == CryptoSuite::Gm {
        instructions.insert_instruction(KECCAK256, Instruction::new(sm3_instruction), KECCAK256_STATIC_GAS);
    }
    let mut evm = Machine::new(context, instructions, precompiles(rules));
    evm.ctx.set_tx(transaction);
    let outcome = PlacingHandler { create_at, machine: PhantomData }.run(&mut evm);
    let changes = evm.ctx.journal_mut().finalize();
    match outcome {
        Ok(result) => Ok((Execution::from(result), changes)),
        Err(EVMError::Transaction(invalid)) => Err(ExecutionError::Invalid(invalid)),
        Err(other) => Err(ExecutionError::Refused(other.to_string())),
    }
}

impl From<ExecutionResult> for Execution {
    fn from(result: ExecutionResult) -> Self {
        let gas_used = result.tx_gas_used();
        let created = result.created_address();
        match result {
            ExecutionResult::Success { logs, output, .. } => {
                Self { ended: Ended::Success, gas_used, logs, output: output.into_data(), created }
            }
            ExecutionResult::Revert { output, .. } => {
                Self { ended: Ended::Revert, gas_used, logs: Vec::new(), output, created: None }
            }
            ExecutionResult::Halt { reason, .. } => {
                Self { ended: Ended::Halt(reason), gas_used, logs: Vec::new(), output: Bytes::new(), created: None }
            }
        }
    }
}

type MachineContext<'a> = MainnetContext<WrapDatabaseRef<&'a World>>;
type Machine<'a> = Evm<
    MachineContext<'a>,
    (),
    EthInstructions<EthInterpreter, MachineContext<'a>>,
    ChainPrecompiles,
    EthFrame<EthInterpreter>,
>;

/// The standard handler, but the contract of a creating transaction may be put at a given address.
struct PlacingHandler<'a> {
    create_at: Option<Address>,
    machine: PhantomData<Machine<'a>>,
}

impl<'a> Handler for PlacingHandler<'a> {
    type Evm = Machine<'a>;
    type Error = EVMError<Infallible>;
    type HaltReason = HaltReason;

    fn first_frame_input(
        &mut self,
        evm: &mut Machine<'a>,
        gas: &mut GasTracker,
    ) -> Result<Option<FrameInit>, EVMError<Infallible>> {
        let first = MainnetHandler::<Machine<'a>, EVMError<Infallible>, EthFrame<EthInterpreter>>::default()
            .first_frame_input(evm, gas)?;
        Ok(first.map(|mut init| {
            if let (FrameInput::Create(inputs), Some(address)) = (&mut init.frame_input, self.create_at) {
                inputs.set_scheme(CreateScheme::Custom { address });
            }
            init
        }))
    }
}
