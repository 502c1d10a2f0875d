//! Networks of real nodes, built from their own sources: [`goquorum`] and [`polygon_edge`]. `tests/README.md` says how to
//! build them and where the tests look for them.

mod goquorum;
mod polygon_edge;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cityrelay::demo::cities::City;
use cityrelay_devnet::sealed_evm::validator_contract;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::program;

/// How long nodes may take to start and to make their first blocks, and a set to change.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Blocks after which votes are forgotten: few, so that a trial crosses several.
const EPOCH_LENGTH: u64 = 30;

/// Secret keys of the accounts that can pay from block 0.
const ACCOUNTS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

/// What each of them has, in wei.
const BALANCE: &str = "0x33b2e3c9fd0803ce8000000";

/// A kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GoQuorum with QBFT from block 0.
    QuorumQbft,
    /// GoQuorum with IBFT (EIP-650) up to the block before this one, and QBFT from it on.
    QuorumIbft1Until(u64),
    /// GoQuorum with QBFT, under a validator contract from this block on.
    QuorumContractFrom(u64),
    /// Polygon Edge with BLS seals.
    EdgeBls,
    /// Polygon Edge with ECDSA seals.
    EdgeEcdsa,
}

/// Running nodes. Dropping it ends them.
#[derive(Debug)]
pub struct Network {
    kind: Kind,
    nodes: Vec<Node>,
    /// How many of the nodes seal from block 0; the others can be voted in.
    founders: usize,
    client: reqwest::Client,
    dir: PathBuf,
}

/// One node, running or not.
#[derive(Debug)]
struct Node {
    /// Address of the validator.
    account: String,
    /// Its BLS key, where it has one.
    bls_key: String,
    /// Where it answers.
    url: String,
    /// Where it tells of new heads.
    ws: String,
    /// Where the operator's commands go, where that is another place.
    control: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    process: Option<Child>,
}

impl Node {
    fn run(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        // GoQuorum wants to be told that it has no private transaction manager.
        command.args(&self.arguments).env("PRIVATE_CONFIG", "ignore").stdin(Stdio::null()).stdout(log.try_clone()?);
        let process = command.stderr(log).kill_on_drop(true).spawn();
        self.process = Some(process.with_context(|| format!("start {}", self.program.display()))?);
        Ok(())
    }
}

impl Network {
    /// Starts so many validators, and so many nodes more.
    ///
    /// # Errors
    /// When the program is missing, or no block is made in time.
    pub async fn start(dir: &Path, kind: Kind, founders: usize, newcomers: usize) -> anyhow::Result<Self> {
        // The client wants a provider even for plain HTTP; a second one is refused, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let nodes = match kind {
            Kind::EdgeBls | Kind::EdgeEcdsa => polygon_edge::prepare(dir, kind, founders, newcomers).await?,
            _ => goquorum::prepare(dir, kind, founders, newcomers).await?,
        };
        let dir = dir.to_path_buf();
        let mut network = Self { kind, nodes, founders, client: reqwest::Client::new(), dir };
        for node in &mut network.nodes {
            node.run()?;
        }
        network.wait_for_block(2).await?;
        Ok(network)
    }

    /// The chain for a world of processes; all nodes are asked, and its anchor is fetched as an operator does.
    ///
    /// # Errors
    /// When the nodes don't agree about block 0.
    pub async fn city(&self, name: &str) -> anyhow::Result<City> {
        let keys = match self.kind {
            Kind::QuorumQbft => format!("chain_id = {}\nmode = \"qbft\"", goquorum::CHAIN_ID),
            Kind::QuorumIbft1Until(height) => format!(
                "chain_id = {}\nmodes = [{{ from = 0, mode = \"ibft1\" }}, {{ from = {height}, mode = \"qbft\" }}]",
                goquorum::CHAIN_ID
            ),
            // The first block under the contract still lists its validators.
            Kind::QuorumContractFrom(height) => format!(
                "chain_id = {}\nmodes = [{{ from = 0, mode = \"qbft\" }}, {{ from = {}, mode = \"qbft-contract\" }}]\n\
                 validator_contract = {{ address = \"{}\" }}",
                goquorum::CHAIN_ID,
                height + 1,
                validator_contract::ADDRESS
            ),
            Kind::EdgeBls => format!("chain_id = {}\nmode = \"edge-bls\"", polygon_edge::CHAIN_ID),
            Kind::EdgeEcdsa => format!("chain_id = {}\nmode = \"edge-ecdsa\"", polygon_edge::CHAIN_ID),
        };
        let nodes: Vec<String> = (self.nodes.iter().enumerate())
            .map(|(at, Node { url, ws, .. })| {
                format!("{{ name = \"node-{at}\", url = \"{url}\", ws = \"{ws}\", own = {} }}", at == 0)
            })
            .collect();
        let toml =
            format!("adapter = \"evm-bft\"\n{keys}\nepoch_length = {EPOCH_LENGTH}\nnodes = [{}]\n", nodes.join(", "));
        let file = self.write_section(name, &toml)?;
        let fetch = ["anchor", "fetch", "--json", "--chain", name, "--height", "0", "--config"];
        let output = Command::new(program::cityrelay()).args(fetch).arg(&file).output().await?;
        ensure!(output.status.success(), "anchor fetch: {}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let said = |key: &str| {
            answer["data"][key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {answer}"))
        };
        Ok(City {
            name: name.to_owned(),
            toml: format!("{toml}anchor = {}\n", said("anchor")?),
            urls: self.nodes.iter().map(|node| node.url.clone()).collect(),
            anchor: said("hash")?,
            clock_is_millis: false,
            accounts: ACCOUNTS.map(hex::encode).to_vec(),
        })
    }

    /// Records the chain from block 0 and verifies the recording from the city's anchor. Returns what that says.
    ///
    /// # Errors
    /// When a block is not verified.
    pub async fn record_and_replay(&self, city: &City) -> anyhow::Result<String> {
        let file = self.write_section(&city.name, &city.toml)?;
        let recording = self.dir.join("recording.json");

        let tip = self.height().await?.to_string();
        let record = ["chain", "record", "--chain", &city.name, "--from", "0", "--to", &tip, "--config"];
        let mut command = Command::new(program::cityrelay());
        let output = command.args(record).arg(&file).arg("--out").arg(&recording).output().await?;
        ensure!(output.status.success(), "chain record: {}", String::from_utf8_lossy(&output.stderr));
        let replay = ["chain", "replay", "--chain", &city.name, "--config"];
        let mut command = Command::new(program::cityrelay());
        let output = command.args(replay).arg(&file).arg(&recording).output().await?;
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "chain replay: {said}{told}");
        Ok(said.trim().to_owned())
    }

    fn write_section(&self, name: &str, toml: &str) -> anyhow::Result<PathBuf> {
        let file = self.dir.join(format!("{name}-section.toml"));
        std::fs::write(&file, format!("[chains.{name}]\n{toml}"))?;
        Ok(file)
    }

    /// Starts a node that was killed, and waits until it answers.
    ///
    /// # Errors
    /// When it can't be started, or does not answer in time.
    pub async fn restart(&mut self, at: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        self.nodes[at].run()?;
        while self.ask(&self.nodes[at], "eth_blockNumber", json!([])).await.is_err() {
            ensure!(Instant::now() < deadline, "no answer in time; see {}", self.nodes[at].log.display());
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Kills a node.
    ///
    /// # Errors
    /// When it can't be killed.
    pub async fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        match self.nodes[at].process.take() {
            Some(mut process) => Ok(process.kill().await?),
            None => Ok(()),
        }
    }

    /// The founders vote to add a node, or to drop it, until the set has that size.
    ///
    /// # Errors
    /// When a vote is refused, or the set does not change in time.
    pub async fn vote(&self, candidate: usize, is_add: bool, size: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        self.propose(candidate, is_add).await?;
        while self.validators().await? != size {
            ensure!(Instant::now() < deadline, "the network has still {} validators", self.validators().await?);
            sleep(Duration::from_millis(200)).await;
        }
        self.discard(candidate).await
    }

    async fn propose(&self, candidate: usize, is_add: bool) -> anyhow::Result<()> {
        if let Kind::QuorumContractFrom(_) = self.kind {
            let members = self.nodes.iter().enumerate();
            let members = members.filter(|(at, _)| *at < self.founders || (*at == candidate && is_add));
            let members: Vec<&str> = members.map(|(_, node)| node.account.as_str()).collect();
            let nonce =
                self.ask(&self.nodes[0], "eth_getTransactionCount", json!([goquorum::keeper(), "latest"])).await?;
            let raw = goquorum::replacement(number(&nonce)?, &members)?;
            return self.ask(&self.nodes[0], "eth_sendRawTransaction", json!([raw])).await.map(drop);
        }
        let candidate = &self.nodes[candidate];
        for founder in &self.nodes[..self.founders] {
            match self.kind {
                Kind::EdgeBls | Kind::EdgeEcdsa => polygon_edge::propose(founder, candidate, is_add).await?,
                _ => drop(self.ask(founder, "istanbul_propose", json!([candidate.account, is_add])).await?),
            }
        }
        Ok(())
    }

    /// A vote has had its effect. Edge forgets it by itself.
    async fn discard(&self, candidate: usize) -> anyhow::Result<()> {
        if matches!(self.kind, Kind::QuorumQbft | Kind::QuorumIbft1Until(_)) {
            for founder in &self.nodes[..self.founders] {
                self.ask(founder, "istanbul_discard", json!([self.nodes[candidate].account])).await?;
            }
        }
        Ok(())
    }

    async fn validators(&self) -> anyhow::Result<usize> {
        match self.kind {
            Kind::QuorumQbft | Kind::QuorumIbft1Until(_) => {
                let list = self.ask(&self.nodes[0], "istanbul_getValidators", json!([])).await?;
                list.as_array().map(Vec::len).with_context(|| format!("no list of validators: {list}"))
            }
            Kind::QuorumContractFrom(_) => {
                let slot = json!([
                    validator_contract::ADDRESS.to_string(),
                    validator_contract::LENGTH_SLOT.to_string(),
                    "latest"
                ]);
                Ok(usize::try_from(number(&self.ask(&self.nodes[0], "eth_getStorageAt", slot).await?)?)?)
            }
            Kind::EdgeBls | Kind::EdgeEcdsa => polygon_edge::validators(&self.nodes[0]).await,
        }
    }

    /// Waits until the first node has a block of that height.
    ///
    /// # Errors
    /// When it has none in time.
    pub async fn wait_for_block(&self, height: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while !self.height().await.is_ok_and(|at| at >= height) {
            ensure!(Instant::now() < deadline, "no block {height} in time; see {}", self.nodes[0].log.display());
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn height(&self) -> anyhow::Result<u64> {
        number(&self.ask(&self.nodes[0], "eth_blockNumber", json!([])).await?)
    }

    async fn ask(&self, node: &Node, method: &str, params: Value) -> anyhow::Result<Value> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = self.client.post(&node.url).json(&call).send().await?.json().await?;
        ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        Ok(answer["result"].clone())
    }
}

/// A number as nodes write it.
fn number(value: &Value) -> anyhow::Result<u64> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    Ok(u64::from_str_radix(digits.with_context(|| format!("no number: {value}"))?, 16)?)
}

/// The program that an environment variable names.
fn named(variable: &str) -> anyhow::Result<PathBuf> {
    let Some(program) = std::env::var_os(variable) else {
        bail!("{variable} names no program: tests/README.md says how to build it")
    };
    Ok(program.into())
}
