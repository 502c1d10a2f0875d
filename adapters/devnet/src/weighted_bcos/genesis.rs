//! Block 0, and the calls that an operator sends to built-in contracts.

use alloy_primitives::U256;
use alloy_sol_types::{SolType, sol_data};
use cityrelay_core::ids::Address;
use cityrelay_fisco_bcos::codec::header::BlockHeader;
use cityrelay_fisco_bcos::codec::suite::{CryptoSuite, PublicKey};

use super::block::Block;
use super::sealers::Sealer;
use super::{SealerChange, TX_GAS_LIMIT, VERSION, WeightedBcosConfig};

/// Block 0 (`Ledger.cpp:buildGenesisBlock`): empty roots and gas, the settings as text in `extraData`.
pub(super) fn block(config: &WeightedBcosConfig, sealers: &[Sealer], admin: Address) -> Block {
    let header = BlockHeader {
        version: VERSION,
        parents: Vec::new(),
        txs_root: Vec::new(),
        receipts_root: Vec::new(),
        state_root: Vec::new(),
        number: 0,
        gas_used: String::new(),
        timestamp: 0,
        sealer: 0,
        sealers: Vec::new(),
        extra_data: settings_text(config, sealers, admin).into_bytes(),
        weights: Vec::new(),
    };
    Block { hash: header.hash(config.suite), header, signatures: Vec::new(), transactions: Vec::new() }
}

/// `NodeConfig.cpp:generateGenesisData`, `grouID` included.
fn settings_text(config: &WeightedBcosConfig, sealers: &[Sealer], admin: Address) -> String {
    let sm_crypto = u8::from(config.suite == CryptoSuite::Gm);
    let admin = hex::encode(admin.to_20().unwrap_or_default());
    let WeightedBcosConfig { chain_id, group_id, tx_count_limit, .. } = config;
    let mut text = format!(
        "[chain]\nsm_crypto:{sm_crypto}\nchainID: {chain_id}\ngrouID: {group_id}\n[consensys]\nconsensus_type: pbft\n\
         block_tx_count_limit:{tx_count_limit}\nleader_period:1\n[version]\ncompatibility_version:3.16.4\n[tx]\n\
         gaslimit:{TX_GAS_LIMIT}\n[executor]\niswasm: 0\nisAuthCheck:0\nauthAdminAccount:0x{admin}\nisSerialExecute:1\n\
         epochSealerNum:4\nepochBlockNum:1000\n"
    );
    for (index, sealer) in sealers.iter().enumerate() {
        text.push_str(&format!("node.{index}:{},{}\n", hex::encode(sealer.id.0), sealer.weight));
    }
    text
}

/// `setValueByKey(string,string)` of the configuration contract.
pub(super) fn set_value_call(suite: CryptoSuite, key: &str, value: &str) -> Vec<u8> {
    let arguments = <(sol_data::String, sol_data::String)>::abi_encode_params(&(key, value));
    [suite.selector("setValueByKey(string,string)").as_slice(), &arguments].concat()
}

/// The call of the consensus contract for a change.
pub(super) fn consensus_call(suite: CryptoSuite, change: SealerChange) -> Vec<u8> {
    let text = |id: PublicKey| hex::encode(id.0);
    let one = |id| <(sol_data::String,)>::abi_encode_params(&(text(id),));
    let two =
        |id, weight: u64| <(sol_data::String, sol_data::Uint<256>)>::abi_encode_params(&(text(id), U256::from(weight)));
    let (signature, arguments) = match change {
        SealerChange::AddObserver(id) => ("addObserver(string)", one(id)),
        SealerChange::AddSealer(id, weight) => ("addSealer(string,uint256)", two(id, weight)),
        SealerChange::SetWeight(id, weight) => ("setWeight(string,uint256)", two(id, weight)),
        SealerChange::Remove(id) => ("remove(string)", one(id)),
    };
    [suite.selector(signature).as_slice(), &arguments].concat()
}
