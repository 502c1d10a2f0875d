//! Running one transaction or one call on a state with revm.

use std::convert::Infallible;
use std::marker::PhantomData;

use alloy_primitives::{Address, B256, Bytes, Log, U256};
pub use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use revm::bytecode::opcode::KECCAK256;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, Context, ContextSetters, ContextTr, Evm, JournalTr, TxEnv};
use revm::database_interface::WrapDatabaseRef;
use revm::handler::instructions::EthInstructions;
use revm::handler::{EthFrame, Handler, MainnetContext, MainnetHandler};
use revm::inspector::{Inspector, InspectorHandler};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{CreateScheme, FrameInput, GasTracker, Instruction};
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{DatabaseRef, MainContext};
use thiserror::Error;

use crate::chain_hash::{ChainPrecompiles, sm3_instruction};
use crate::weighted_bcos::system_contract::{NO_CODE, error_output};

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
    /// As the classic executor: logs of calls that were reverted stay in the receipt, and a call to an address without
    /// code succeeds, with the text of an error as its return data.
    pub is_classic: bool,
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
    /// Logs; empty unless it succeeded or the executor is classic.
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
pub fn execute<S: DatabaseRef<Error = Infallible>>(
    world: &S,
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
pub fn call<S: DatabaseRef<Error = Infallible>>(
    world: &S,
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
    let no_code = rules.is_classic.then(|| error_output(rules.suite, NO_CODE));
    ChainPrecompiles::new(rules.spec, rules.has_crypto_contract.then_some(rules.suite), no_code)
}

fn settings(rules: &Rules) -> CfgEnv {
    let mut settings = CfgEnv::new_with_spec(rules.spec);
    settings.chain_id = rules.chain_id;
    settings.limit_contract_code_size = Some(rules.max_code_bytes);
    settings
}

fn run<S: DatabaseRef<Error = Infallible>>(
    world: &S,
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
    let mut evm = Machine::new_with_inspector(context, LogKeeper::default(), instructions, precompiles(rules));
    evm.ctx.set_tx(transaction);
    let mut handler = PlacingHandler { create_at, machine: PhantomData };
    let outcome = if rules.is_classic { handler.inspect_run(&mut evm) } else { handler.run(&mut evm) };
    let changes = evm.ctx.journal_mut().finalize();
    match outcome {
        Ok(result) => {
            let mut execution = Execution::from(result);
            if rules.is_classic {
                execution.logs = evm.inspector.logs;
            }
            Ok((execution, changes))
        }
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

type MachineContext<'a, S> = MainnetContext<WrapDatabaseRef<&'a S>>;
type Machine<'a, S> = Evm<
    MachineContext<'a, S>,
    LogKeeper,
    EthInstructions<EthInterpreter, MachineContext<'a, S>>,
    ChainPrecompiles,
    EthFrame<EthInterpreter>,
>;

/// Every log in the order in which it was emitted, whatever became of the call that did.
#[derive(Debug, Default)]
struct LogKeeper {
    logs: Vec<Log>,
}

impl<C> Inspector<C> for LogKeeper {
    fn log(&mut self, _context: &mut C, log: Log) {
        self.logs.push(log);
    }
}

/// The standard handler, but the contract of a creating transaction may be put at a given address.
struct PlacingHandler<'a, S: DatabaseRef<Error = Infallible>> {
    create_at: Option<Address>,
    machine: PhantomData<Machine<'a, S>>,
}

impl<S: DatabaseRef<Error = Infallible>> InspectorHandler for PlacingHandler<'_, S> {
    type IT = EthInterpreter;
}

impl<'a, S: DatabaseRef<Error = Infallible>> Handler for PlacingHandler<'a, S> {
    type Evm = Machine<'a, S>;
    type Error = EVMError<Infallible>;
    type HaltReason = HaltReason;

    fn first_frame_input(
        &mut self,
        evm: &mut Machine<'a, S>,
        gas: &mut GasTracker,
    ) -> Result<Option<FrameInit>, EVMError<Infallible>> {
        let first = MainnetHandler::<Machine<'a, S>, EVMError<Infallible>, EthFrame<EthInterpreter>>::default()
            .first_frame_input(evm, gas)?;
        Ok(first.map(|mut init| {
            if let (FrameInput::Create(inputs), Some(address)) = (&mut init.frame_input, self.create_at) {
                inputs.set_scheme(CreateScheme::Custom { address });
            }
            init
        }))
    }
}
