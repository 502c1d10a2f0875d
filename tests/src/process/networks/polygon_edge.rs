//! Polygon Edge with IBFT, proof of authority.

use std::path::Path;

use anyhow::{Context as _, ensure};
use cityrelay::demo::configs::free_tcp_port;
use cityrelay_evm_bft::codec::account::Account;
use k256::ecdsa::SigningKey;
use serde_json::Value;
use tokio::process::Command;

use super::{ACCOUNTS, BALANCE, EPOCH_LENGTH, Kind, Node, named};

/// The variable that names the program.
const PROGRAM: &str = "CITYRELAY_POLYGON_EDGE";

/// Chain id of the network.
pub(super) const CHAIN_ID: u64 = 577;

/// What begins the name of each validator's folder.
const PREFIX: &str = "edge-";

/// Makes each node's keys and the genesis block.
pub(super) async fn prepare(dir: &Path, kind: Kind, founders: usize, newcomers: usize) -> anyhow::Result<Vec<Node>> {
    let program = named(PROGRAM)?;
    let genesis = dir.join("edge-genesis.json");
    let mut nodes = Vec::new();
    let mut bootnodes = Vec::new();
    for at in 0..founders + newcomers {
        // Newcomers are no validators of block 0, which takes every folder with the prefix.
        let name = if at < founders { format!("{PREFIX}{at}") } else { format!("newcomer-{at}") };
        let home = dir.join(name);
        let mut init = Command::new(&program);
        let answer = json_of(init.args(["secrets", "init", "--insecure", "--json", "--data-dir"]).arg(&home)).await?;
        let secret =
            |key: &str| answer[0][key].as_str().map(str::to_owned).with_context(|| format!("no {key}: {answer}"));
        let (p2p, rpc, grpc) = (free_tcp_port()?, free_tcp_port()?, free_tcp_port()?);
        bootnodes.push(format!("/ip4/127.0.0.1/tcp/{p2p}/p2p/{}", secret("node_id")?));
        let control = format!("127.0.0.1:{grpc}");
        let words = format!(
            "server --seal --libp2p 127.0.0.1:{p2p} --jsonrpc 127.0.0.1:{rpc} --grpc-address {control} --data-dir"
        );
        let mut arguments: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        arguments.extend([home.display().to_string(), "--chain".to_owned(), genesis.display().to_string()]);
        nodes.push(Node {
            account: secret("address")?,
            bls_key: secret("bls_pubkey")?,
            url: format!("http://127.0.0.1:{rpc}"),
            ws: format!("ws://127.0.0.1:{rpc}/ws"),
            control,
            program: program.clone(),
            arguments,
            log: dir.join(format!("edge-{at}.log")),
            process: None,
        });
    }
    let mut command = Command::new(&program);
    command.args(["genesis", "--consensus", "ibft", "--validators-prefix", PREFIX, "--block-time", "1s"]);
    command.args(["--ibft-validator-type", if kind == Kind::EdgeBls { "bls" } else { "ecdsa" }]);
    command.args(["--chain-id", &CHAIN_ID.to_string(), "--epoch-size", &EPOCH_LENGTH.to_string()]);
    command.args(["--block-gas-limit", "30000000", "--validators-path"]).arg(dir).arg("--dir").arg(&genesis);
    for bootnode in bootnodes.iter().take(2) {
        command.args(["--bootnode", bootnode]);
    }
    for secret in ACCOUNTS {
        let account = Account::of_key(SigningKey::from_slice(&secret)?.verifying_key());
        command.args(["--premine", &format!("{account}:{BALANCE}")]);
    }
    run(&mut command).await?;
    Ok(nodes)
}

/// One validator's vote.
pub(super) async fn propose(voter: &Node, candidate: &Node, is_add: bool) -> anyhow::Result<()> {
    let mut command = control(voter, &["ibft", "propose", "--addr", &candidate.account]);
    command.args(["--bls", &candidate.bls_key, "--vote", if is_add { "auth" } else { "drop" }]);
    run(&mut command).await.map(drop)
}

/// How many validators a node says that there are.
pub(super) async fn validators(node: &Node) -> anyhow::Result<usize> {
    let answer = json_of(&mut control(node, &["ibft", "snapshot", "--json"])).await?;
    answer["validators"].as_array().map(Vec::len).with_context(|| format!("no list of validators: {answer}"))
}

fn control(node: &Node, words: &[&str]) -> Command {
    let mut command = Command::new(&node.program);
    command.args(words).args(["--grpc-address", &node.control]);
    command
}

async fn json_of(command: &mut Command) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&run(command).await?)?)
}

async fn run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().await?;
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{:?}: {said}{told}", command.as_std());
    Ok(output.stdout)
}
