//! What a chain's own hash changes inside the EVM: the KECCAK256 instruction, and the contract of hashes at 0x100a.
//!
//! On GM chains KECCAK256 answers SM3, so that mapping slots and event topics differ, too (`evmone` with the chain's
//! hash). CREATE2 and EXTCODEHASH keep keccak256 here, which a real GM chain does not.

use alloy_primitives::{Address, Bytes, U256, address};
use alloy_sol_types::{SolType, sol_data};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use revm::context::{Cfg, ContextTr};
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::interpreter::resize_memory;
use revm::interpreter::interpreter_types::{MemoryTr, StackTr};
use revm::interpreter::{
    CallInputs, Gas, Host, InstructionContext, InstructionExecResult, InstructionResult, InterpreterResult,
    InterpreterTypes,
};
use revm::primitives::AddressSet;
use revm::primitives::hardfork::SpecId;

/// `CryptoPrecompiled`.
pub const CRYPTO_CONTRACT: Address = address!("000000000000000000000000000000000000100a");
/// Gas of a hash by contract: 3,732 for 32 bytes and 6,228 for 1,024 were measured on a v3.16.4 node, caller included.
const HASH_BASE_GAS: u64 = 3_600;

/// The KECCAK256 instruction with SM3 in its place; the same gas.
pub(crate) fn sm3_instruction<W: InterpreterTypes, H: Host + ?Sized>(
    context: InstructionContext<'_, H, W>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let Some([offset, length]) = interpreter.stack.popn::<2>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let length = usize::try_from(length).map_err(|_| InstructionResult::InvalidOperandOOG)?;
    if !interpreter.gas.record_regular_cost(host.gas_params().keccak256_cost(length)) {
        return Err(InstructionResult::OutOfGas);
    }
    let hash = if length == 0 {
        CryptoSuite::Gm.hash(&[])
    } else {
        let offset = usize::try_from(offset).map_err(|_| InstructionResult::InvalidOperandOOG)?;
        resize_memory(&mut interpreter.gas, &mut interpreter.memory, host.gas_params(), offset, length)?;
        CryptoSuite::Gm.hash(interpreter.memory.slice_len(offset, length).as_ref())
    };
    if interpreter.stack.push(U256::from_be_bytes(hash.0)) { Ok(()) } else { Err(InstructionResult::StackOverflow) }
}

/// Ethereum's precompiled contracts, the contract of hashes where the chain has one, and what a call to an address
/// without code returns where it succeeds by itself.
#[derive(Clone, Debug)]
pub(crate) struct ChainPrecompiles {
    ethereum: EthPrecompiles,
    crypto: Option<CryptoSuite>,
    no_code: Option<Bytes>,
    warm: AddressSet,
}

impl ChainPrecompiles {
    pub(crate) fn new(spec: SpecId, crypto: Option<CryptoSuite>, no_code: Option<Bytes>) -> Self {
        let ethereum = EthPrecompiles::new(spec);
        let mut warm = ethereum.warm_addresses().clone();
        if crypto.is_some() {
            warm.insert(CRYPTO_CONTRACT);
        }
        Self { ethereum, crypto, no_code, warm }
    }

    pub(crate) fn has(&self, address: &Address) -> bool {
        self.warm.contains(address)
    }
}

impl<C: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<C> for ChainPrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        // Made for one fork, which does not change; the first call must still load the addresses.
        <EthPrecompiles as PrecompileProvider<C>>::set_spec(&mut self.ethereum, spec);
        true
    }

    fn run(&mut self, context: &mut C, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        match self.crypto {
            Some(suite) if inputs.bytecode_address == CRYPTO_CONTRACT => {
                Ok(Some(hash_by_contract(suite, &inputs.input.as_bytes(context), inputs.gas_limit)))
            }
            _ => match self.ethereum.run(context, inputs)? {
                None if inputs.known_bytecode.1.is_empty() => Ok(self.no_code.clone().map(|output| {
                    InterpreterResult::new(InstructionResult::Return, output, Gas::new(inputs.gas_limit))
                })),
                answer => Ok(answer),
            },
        }
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.warm
    }
}

/// `keccak256Hash(bytes)` and `sm3(bytes)`; their selectors are made with the chain's own hash.
fn hash_by_contract(suite: CryptoSuite, input: &[u8], gas_limit: u64) -> InterpreterResult {
    let mut gas = Gas::new(gas_limit);
    if !gas.record_regular_cost(HASH_BASE_GAS + 5 * input.len() as u64 / 2) {
        return InterpreterResult::new(
            InstructionResult::PrecompileOOG,
            Bytes::new(),
            Gas::new_spent_with_reservoir(gas_limit, 0),
        );
    }
    let answer = input.split_first_chunk::<4>().and_then(|(selector, arguments)| {
        let (bytes,) = <(sol_data::Bytes,)>::abi_decode_params(arguments).ok()?;
        [("keccak256Hash(bytes)", CryptoSuite::Standard), ("sm3(bytes)", CryptoSuite::Gm)]
            .into_iter()
            .find(|(signature, _)| *selector == suite.selector(signature))
            .map(|(_, hash)| Bytes::copy_from_slice(&hash.hash(&bytes).0))
    });
    match answer {
        Some(output) => InterpreterResult::new(InstructionResult::Return, output, gas),
        None => InterpreterResult::new(InstructionResult::Revert, Bytes::new(), gas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(suite: CryptoSuite, selectors: CryptoSuite, function: &str) -> Option<Bytes> {
        let mut input = selectors.selector(function).to_vec();
        input.extend_from_slice(&<(sol_data::Bytes,)>::abi_encode_params(&(Bytes::from_static(b"abc"),)));
        let result = hash_by_contract(suite, &input, 100_000);
        (result.result == InstructionResult::Return).then_some(result.output)
    }

    #[test]
    fn both_hashes_are_answered_to_the_chains_own_selectors() {
        for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
            let keccak = CryptoSuite::Standard.hash(b"abc").0;
            let sm3 = CryptoSuite::Gm.hash(b"abc").0;
            assert_eq!(ask(suite, suite, "keccak256Hash(bytes)"), Some(Bytes::copy_from_slice(&keccak)));
            assert_eq!(ask(suite, suite, "sm3(bytes)"), Some(Bytes::copy_from_slice(&sm3)));
        }
    }

    #[test]
    fn selectors_of_the_other_hash_fail() {
        assert_eq!(ask(CryptoSuite::Gm, CryptoSuite::Standard, "keccak256Hash(bytes)"), None);
        assert_eq!(ask(CryptoSuite::Standard, CryptoSuite::Gm, "keccak256Hash(bytes)"), None);
    }

    #[test]
    fn too_little_gas_runs_out() {
        let result = hash_by_contract(CryptoSuite::Gm, &[0; 100], HASH_BASE_GAS);
        assert_eq!(result.result, InstructionResult::PrecompileOOG);
    }
}
