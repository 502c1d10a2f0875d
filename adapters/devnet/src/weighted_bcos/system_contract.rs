//! The two built-in contracts that a relay meets: consensus (0x…1003) and system configuration (0x…1000).
//!
//! Only direct calls reach them here; contracts that call them find an address without code.

use alloy_primitives::{Address, B256, Bytes, I256, U256, address};
use alloy_sol_types::{SolType, sol_data};
use cityrelay_fisco_bcos::codec::suite::{CryptoSuite, PublicKey};

use super::sealers::{Consensus, ConsensusRefusal};

/// `SysConfigPrecompiled`.
pub const SYSTEM_CONFIG: Address = address!("0000000000000000000000000000000000001000");
/// `ConsensusPrecompiled`.
pub const CONSENSUS: Address = address!("0000000000000000000000000000000000001003");
/// Gas of a call; real nodes charge by table size, which nothing depends on.
pub const CALL_GAS: u64 = 25_000;

/// The text of a call to an address without code.
pub const NO_CODE: &str = "Call address error.";

/// What a built-in contract answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemAnswer {
    /// 0, or 15 when the contract threw.
    pub status: i32,
    /// Return data.
    pub output: Bytes,
}

/// Calls the consensus contract.
pub fn call_consensus(suite: CryptoSuite, table: &mut Consensus, input: &[u8]) -> SystemAnswer {
    type IdAndWeight = (sol_data::String, sol_data::Uint<256>);
    let Some((selector, arguments)) = input.split_first_chunk::<4>() else { return thrown(suite) };
    let is = |signature: &str| *selector == suite.selector(signature);
    let outcome = if is("addSealer(string,uint256)") || is("setWeight(string,uint256)") {
        let Ok((id, weight)) = IdAndWeight::abi_decode_params(arguments) else { return thrown(suite) };
        let weight: u64 = weight.saturating_to();
        node_id(&id).and_then(|id| {
            if is("addSealer(string,uint256)") { table.add_sealer(id, weight) } else { table.set_weight(id, weight) }
        })
    } else if is("addObserver(string)") || is("remove(string)") {
        let Ok((id,)) = <(sol_data::String,)>::abi_decode_params(arguments) else { return thrown(suite) };
        node_id(&id).and_then(|id| if is("addObserver(string)") { table.add_observer(id) } else { table.remove(id) })
    } else {
        return thrown(suite);
    };
    // A refusal does not fail the transaction: status 0, and a negative number in the output.
    result(outcome.map_or_else(|refusal| refusal as i64, |()| 0))
}

/// Calls the configuration contract. Knows the one key that changes how blocks are cut.
pub fn call_system_config(suite: CryptoSuite, tx_count_limit: &mut usize, input: &[u8]) -> SystemAnswer {
    let Some((selector, arguments)) = input.split_first_chunk::<4>() else { return thrown(suite) };
    if *selector != suite.selector("setValueByKey(string,string)") {
        return thrown(suite);
    }
    let Ok((key, value)) = <(sol_data::String, sol_data::String)>::abi_decode_params(arguments) else {
        return thrown(suite);
    };
    match (key.as_str(), value.parse::<usize>()) {
        ("tx_count_limit", Ok(limit)) if limit > 0 => {
            *tx_count_limit = limit;
            result(0)
        }
        _ => thrown(suite),
    }
}

/// ABI of a built-in contract's error; its selector follows the chain's hash.
pub fn error_output(suite: CryptoSuite, text: &str) -> Bytes {
    let mut output = suite.selector("Error(string)").to_vec();
    output.extend_from_slice(&<(sol_data::String,)>::abi_encode_params(&(text,)));
    output.into()
}

fn thrown(suite: CryptoSuite) -> SystemAnswer {
    SystemAnswer { status: 15, output: error_output(suite, "unsupported call of a built-in contract") }
}

fn result(code: i64) -> SystemAnswer {
    let word: U256 = I256::try_from(code).unwrap_or_default().into_raw();
    SystemAnswer { status: 0, output: Bytes::copy_from_slice(B256::from(word).as_slice()) }
}

fn node_id(text: &str) -> Result<PublicKey, ConsensusRefusal> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ConsensusRefusal::InvalidNodeId)?;
    Ok(PublicKey(bytes))
}
