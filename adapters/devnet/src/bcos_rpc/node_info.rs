//! What nodes say about themselves, the group and the consensus.

use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use serde_json::{Value, json};

use super::arguments::Arguments;
use crate::rpc_fault::RpcFault;
use crate::weighted_bcos::sealers::{max_faulty, min_quorum};
use crate::weighted_bcos::{TX_GAS_LIMIT, VERSION, WeightedBcosChain};

/// The release that these nodes stand in for.
const RELEASE: &str = "3.16.4";
/// What a 3.16.4 node lists as `supportConfigs`.
const SUPPORTED_CONFIGS: [&str; 14] = [
    "tx_gas_limit",
    "tx_gas_price",
    "tx_count_limit",
    "consensus_leader_period",
    "auth_check_status",
    "compatibility_version",
    "feature_rpbft",
    "feature_rpbft_epoch_block_num",
    "feature_rpbft_epoch_sealer_num",
    "feature_rpbft_notify_rotate",
    "feature_balance_precompiled",
    "web3_chain_id",
    "balance_transfer",
    "executor_version",
];

pub(super) fn read(
    chain: &WeightedBcosChain,
    node: usize,
    method: &str,
    arguments: Arguments<'_>,
) -> Result<Value, RpcFault> {
    Ok(match method {
        "getSealerList" => sealers(chain),
        "getObserverList" => {
            json!(chain.consensus().observers().iter().map(|id| hex::encode(id.0)).collect::<Vec<_>>())
        }
        "getNodeListByType" => match arguments.text(2)? {
            "consensus_sealer" => sealers(chain),
            "consensus_observer" => chain
                .consensus()
                .observers()
                .iter()
                .map(|id| json!({"nodeID": hex::encode(id.0), "termWeight": 0, "weight": 1}))
                .collect(),
            _ => json!([]),
        },
        "getSystemConfigByKey" => system_config(chain, arguments.text(2)?)?,
        "getGroupInfo" => group_info(chain, node),
        "getGroupInfoList" => json!([group_info(chain, node)]),
        "getGroupNodeInfo" => node_info(chain, node),
        "getGroupBlockNumber" => json!([{chain.config().group_id.as_str(): chain.height()}]),
        "getPbftView" => json!(chain.view()),
        "getConsensusStatus" => json!(consensus_status(chain, node)),
        "getSyncStatus" => json!(sync_status(chain, node)),
        // Every name that reaches this place is in the list of methods.
        _ => return Err(RpcFault::new(-32601, "The method does not exist/is not available.")),
    })
}

fn sealers(chain: &WeightedBcosChain) -> Value {
    chain
        .consensus()
        .sealers()
        .iter()
        .map(|sealer| json!({"nodeID": hex::encode(sealer.id.0), "termWeight": 0, "weight": sealer.weight}))
        .collect()
}

fn system_config(chain: &WeightedBcosChain, key: &str) -> Result<Value, RpcFault> {
    let value = match key {
        "tx_count_limit" => chain.tx_count_limit().to_string(),
        "tx_gas_limit" => TX_GAS_LIMIT.to_string(),
        "consensus_leader_period" => "1".to_owned(),
        "compatibility_version" => RELEASE.to_owned(),
        "tx_gas_price" => "0x0".to_owned(),
        _ => return Err(RpcFault::new(3008, format!("Entry: {key} does not exists!"))),
    };
    Ok(json!({"blockNumber": 0, "value": value}))
}

fn group_info(chain: &WeightedBcosChain, node: usize) -> Value {
    let config = chain.config();
    let sealers: Vec<Value> = chain
        .node_keys()
        .iter()
        .zip(&config.weights)
        .map(|(key, weight)| json!({"nodeID": hex::encode(key.public().0), "weight": weight}))
        .collect();
    let genesis = json!({
        "blockTxCountLimit": config.tx_count_limit,
        "consensusLeaderPeriod": 1,
        "consensusType": "pbft",
        "sealerList": sealers,
        "txGasLimit": TX_GAS_LIMIT,
    });
    json!({
        "chainID": config.chain_id,
        "genesisConfig": format!("{genesis}\n"),
        "groupID": config.group_id,
        "iniConfig": "",
        "nodeList": [node_info(chain, node)],
    })
}

fn node_info(chain: &WeightedBcosChain, node: usize) -> Value {
    let config = chain.config();
    let is_gm = config.suite == CryptoSuite::Gm;
    let id = node_id(chain, node);
    let settings = json!({
        "binaryInfo": {"buildTime": "", "gitCommitHash": "cityrelay-devnet, a stand-in", "platform": "", "version": RELEASE},
        "chainID": config.chain_id,
        "gatewayServiceName": "",
        "groupID": config.group_id,
        "isAuthCheck": false,
        "isSerialExecute": true,
        "isWasm": false,
        "nodeID": id,
        "nodeName": id,
        "rpcServiceName": "",
        "smCryptoType": is_gm,
    });
    let services: Vec<Value> = [
        ("LedgerServiceObj", 2),
        ("SchedulerServiceObj", 3),
        ("FrontServiceObj", 4),
        ("", 6),
        ("", 7),
        ("TxPoolServiceObj", 8),
    ]
    .iter()
    .map(|(name, kind)| json!({"serviceName": name, "type": kind}))
    .collect();
    json!({
        "featureKeys": ["bugfix_revert", "bugfix_revert_logs", "feature_evm_cancun", "feature_evm_timestamp"],
        "iniConfig": format!("{settings}\n"),
        "microService": false,
        "name": id,
        "nodeID": id,
        "protocol": {"compatibilityVersion": VERSION, "maxSupportedVersion": 2, "minSupportedVersion": 0},
        "serviceInfo": services,
        "supportConfigs": SUPPORTED_CONFIGS,
        "type": u8::from(is_gm),
    })
}

fn consensus_status(chain: &WeightedBcosChain, node: usize) -> String {
    let consensus = chain.consensus();
    let total = consensus.total_weight();
    let id = node_id(chain, node);
    let nodes: Vec<Value> = consensus
        .sealers()
        .iter()
        .enumerate()
        .map(|(index, sealer)| {
            json!({"index": index, "nodeID": hex::encode(sealer.id.0), "termWeight": 0, "weight": sealer.weight})
        })
        .collect();
    let place = consensus.sealers().iter().position(|sealer| hex::encode(sealer.id.0) == id);
    let newest = chain.newest();
    let count = consensus.sealers().len() as u64;
    let status = json!({
        "blockNumber": chain.height(),
        "changeCycle": 0,
        "connectedNodeList": chain.running().count(),
        "consensusNodeList": nodes,
        "consensusNodesNum": count,
        "hash": hex::encode(newest.hash.0),
        "index": place.unwrap_or_default(),
        "isConsensusNode": place.is_some(),
        "leaderIndex": (chain.height() + 1 + chain.view()) % count.max(1),
        "maxFaultyQuorum": max_faulty(total),
        "minRequiredQuorum": min_quorum(total),
        "nodeID": id,
        "timeout": false,
        "view": chain.view(),
    });
    format!("{status}\n")
}

fn sync_status(chain: &WeightedBcosChain, node: usize) -> String {
    let newest = chain.newest();
    let id = node_id(chain, node);
    let genesis = chain.block(0).map(|genesis| hex::encode(genesis.hash.0));
    let peers: Vec<Value> = chain
        .running()
        .map(|peer| hex::encode(peer.0))
        .filter(|peer| *peer != id)
        .map(|peer| {
            json!({
                "archivedBlockNumber": 0,
                "blockNumber": chain.height(),
                "genesisHash": genesis,
                "latestHash": hex::encode(newest.hash.0),
                "nodeID": peer,
            })
        })
        .collect();
    let status = json!({
        "archivedBlockNumber": 0,
        "blockNumber": chain.height(),
        "genesisHash": genesis,
        "isSyncing": false,
        "knownHighestNumber": chain.height(),
        "knownLatestHash": hex::encode(newest.hash.0),
        "latestHash": hex::encode(newest.hash.0),
        "nodeID": id,
        "peers": peers,
    });
    format!("{status}\n")
}

fn node_id(chain: &WeightedBcosChain, node: usize) -> String {
    let keys = chain.node_keys();
    keys.get(node % keys.len().max(1)).map(|key| hex::encode(key.public().0)).unwrap_or_default()
}
