//! GoQuorum: `geth` with QBFT or IBFT (EIP-650).

use std::path::Path;

use anyhow::ensure;
use cityrelay::demo::configs::free_tcp_port;
use cityrelay_devnet::keys::DevKey;
use cityrelay_devnet::sealed_evm::validator_contract;
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::extra::{BftExtra, BftLayout, LegacyExtra};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{ACCOUNTS, BALANCE, EPOCH_LENGTH, Kind, Node, named};

/// The variable that names the program.
const PROGRAM: &str = "CITYRELAY_GOQUORUM";

/// Chain id of the network.
pub(super) const CHAIN_ID: u64 = 575;

/// Mix hash of a BFT genesis (EIP-650).
const MIX_HASH: &str = "0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365";

/// Writes the genesis block and each node's folder.
pub(super) async fn prepare(dir: &Path, kind: Kind, founders: usize, newcomers: usize) -> anyhow::Result<Vec<Node>> {
    let program = named(PROGRAM)?;
    let mut seats = Vec::new();
    for at in 0..founders + newcomers {
        let mut secret = [0x51; 32];
        secret[31] = u8::try_from(at)?;
        seats.push((SigningKey::from_slice(&secret)?, free_tcp_port()?));
    }
    let account = |key: &SigningKey| Account::of_key(key.verifying_key());
    let validators = seats[..founders].iter().map(|(key, _)| account(key)).collect();
    let genesis_file = dir.join("goquorum-genesis.json");
    std::fs::write(&genesis_file, genesis(kind, validators)?.to_string())?;
    let enode = |(key, port): &(SigningKey, u16)| {
        let point = key.verifying_key().to_encoded_point(false);
        format!("enode://{}@127.0.0.1:{port}?discport=0", hex::encode(&point.as_bytes()[1..]))
    };
    let static_nodes = json!(seats.iter().map(enode).collect::<Vec<_>>()).to_string();
    let mut nodes = Vec::new();
    for (at, (key, port)) in seats.iter().enumerate() {
        let home = dir.join(format!("goquorum-{at}"));
        std::fs::create_dir_all(home.join("geth"))?;
        std::fs::write(home.join("geth").join("static-nodes.json"), &static_nodes)?;
        let mut init = Command::new(&program);
        let output = init.arg("--datadir").arg(&home).arg("init").arg(&genesis_file).output().await?;
        ensure!(output.status.success(), "geth init: {}", String::from_utf8_lossy(&output.stderr));
        let (http, ws) = (free_tcp_port()?, free_tcp_port()?);
        let words = format!(
            "--networkid {CHAIN_ID} --nodiscover --ipcdisable --syncmode full --verbosity 3 --nousb --port {port} \
             --http --http.port {http} --http.api eth,net,web3,istanbul,txpool,admin --ws --ws.port {ws} --ws.api eth \
             --mine --miner.threads 1 --miner.gasprice 0 --nodekeyhex {}",
            hex::encode(key.to_bytes()),
        );
        let mut arguments = vec!["--datadir".to_owned(), home.display().to_string()];
        arguments.extend(words.split_whitespace().map(str::to_owned));
        nodes.push(Node {
            account: account(key).to_string(),
            bls_key: String::new(),
            url: format!("http://127.0.0.1:{http}"),
            ws: format!("ws://127.0.0.1:{ws}"),
            control: String::new(),
            program: program.clone(),
            arguments,
            log: dir.join(format!("goquorum-{at}.log")),
            process: None,
        });
    }
    Ok(nodes)
}

/// The account that replaces the set in the validator contract.
pub(super) fn keeper() -> String {
    keeper_key().address().to_string()
}

fn keeper_key() -> DevKey {
    DevKey::derive(0, "keeper of the validators", 0)
}

/// Its signed transaction that puts these members into the contract.
pub(super) fn replacement(nonce: u64, members: &[&str]) -> anyhow::Result<String> {
    let members: Vec<_> = members.iter().map(|member| member.parse()).collect::<Result<_, _>>()?;
    Ok(format!("0x{}", hex::encode(validator_contract::replacement(&keeper_key(), CHAIN_ID, nonce, &members))))
}

fn genesis(kind: Kind, mut validators: Vec<Account>) -> anyhow::Result<Value> {
    let engine = json!({
        "epochlength": EPOCH_LENGTH, "blockperiodseconds": 1, "requesttimeoutseconds": 4, "policy": 0,
        "ceil2Nby3Block": 0,
    });
    validators.sort_unstable_by_key(|account| account.0);
    let (vanity, seals) = ([0; 32], Vec::new());
    let mut config = json!({
        "chainId": CHAIN_ID, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
        "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0,
        "isQuorum": true, "txnSizeLimit": 64, "maxCodeSizeConfig": [{ "block": 0, "size": 64 }],
    });
    let mut alloc = serde_json::Map::new();
    for secret in ACCOUNTS {
        let account = Account::of_key(SigningKey::from_slice(&secret)?.verifying_key());
        alloc.insert(account.to_string(), json!({ "balance": BALANCE }));
    }
    if let Kind::QuorumContractFrom(height) = kind {
        let members: Vec<_> = validators.iter().map(|account| account.0.into()).collect();
        let storage = validator_contract::storage(&members);
        let storage: serde_json::Map<_, _> =
            storage.map(|(slot, value)| (slot.to_string(), format!("{value:#066x}").into())).collect();
        let code = validator_contract::RUNTIME_CODE.trim();
        let contract = validator_contract::ADDRESS.to_string();
        alloc.insert(keeper(), json!({ "balance": BALANCE }));
        alloc.insert(contract.clone(), json!({ "balance": "0x0", "code": code, "storage": storage }));
        config["transitions"] = json!([{
            "block": height, "validatorselectionmode": "contract", "validatorcontractaddress": contract,
        }]);
    }
    let extra = if let Kind::QuorumIbft1Until(height) = kind {
        config["ibft"] = engine;
        config["transitions"] = json!([{ "block": height, "algorithm": "qbft" }]);
        LegacyExtra { vanity, validators, proposer_seal: Vec::new(), seals }.encode()
    } else {
        config["qbft"] = engine;
        BftExtra { vanity, validators, vote: None, round: 0, seals }.encode(BftLayout::Qbft)
    };
    Ok(json!({
        "config": config, "nonce": "0x0", "timestamp": "0x0", "extraData": format!("0x{}", hex::encode(extra)),
        "gasLimit": "0x1c9c380", "difficulty": "0x1", "mixHash": MIX_HASH,
        "coinbase": "0x0000000000000000000000000000000000000000", "alloc": alloc,
    }))
}
