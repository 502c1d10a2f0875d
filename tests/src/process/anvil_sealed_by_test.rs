//! anvil behind a proxy that gives its blocks the form and the seals of QBFT: a chain of another implementation for the
//! tests, since the product follows no chain without seals.
//!
//! State, transactions and receipts, with their roots, are anvil's own, and so are all answers. Replaced are, in headers:
//! parent hash, miner, difficulty, mix hash, nonce, extraData; and everywhere the block hashes that follow from these.
//! The seals are real signatures of four test keys, all four under every block but the first.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use cityrelay::demo::cities::City;
use cityrelay_core::hash::Hash32;
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::extra::{BftExtra, BftLayout};
use cityrelay_evm_bft::codec::header::Header;
use cityrelay_evm_bft::codec::json::{number, read_header};
use futures_util::future::join_all;
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Chain id of the test's anvil.
const CHAIN_ID: u64 = 573;

/// Secret keys of the first three of anvil's accounts, the same in every anvil.
const ACCOUNTS: [&str; 3] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// Mix hash of every header of a BFT engine (EIP-650).
const MIX_HASH: Hash32 = Hash32(*b"ctical byzantine fault tolerance");

const VANITY: [u8; 32] = *b"anvil, sealed by a test         ";

/// How long anvil may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running anvil with its proxy. Dropping it ends both.
#[derive(Debug)]
pub struct AnvilSealedByTest {
    _anvil: Child,
    server: JoinHandle<()>,
    url: String,
    genesis: Hash32,
    validators: Vec<Account>,
}

impl Drop for AnvilSealedByTest {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl AnvilSealedByTest {
    /// Starts both. anvil makes a block each second; before Cancun its block 0 has fields that its fork does not have.
    ///
    /// # Errors
    /// When anvil is missing or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/gateway/node_modules");
        let binary = folder.join("@foundry-rs/anvil-linux-amd64/bin/anvil");
        ensure!(binary.exists(), "anvil is missing: run `cd adapters/gateway && npm ci`");
        let mut anvil = Command::new(binary)
            .args(["--port", "0", "--block-time", "1", "--hardfork", "prague", "--chain-id", &CHAIN_ID.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(anvil.stdout.take().context("anvil's output")?).lines();
        let address = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = line.strip_prefix("Listening on ") {
                    return Ok(address.to_owned());
                }
            }
            bail!("anvil ends before it listens")
        });
        let upstream = format!("http://{}", address.await.context("anvil does not start in time")??);
        // Keeps reading, so that a full pipe never stops it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        // The client wants a provider even for plain HTTP; a second one is refused, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let sealer = Sealer::new();
        let validators = sealer.validators.clone();
        let proxy = Arc::new(Proxy { upstream, client: reqwest::Client::new(), sealer: Mutex::new(sealer) });
        let genesis = proxy.seal_up_to(0).await?;
        // On top of block 0 anvil executes calls at time 0.
        timeout(START_TIMEOUT, proxy.wait_for_a_block()).await.context("anvil makes no block")??;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = Router::new().route("/", post(answer)).with_state(proxy);
        let server = tokio::spawn(async move {
            // Ends with the test.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { _anvil: anvil, server, url, genesis, validators })
    }

    /// The chain for a world of processes.
    pub fn city(&self, name: &str) -> City {
        let validators: Vec<String> = self.validators.iter().map(|account| format!("\"{account}\"")).collect();
        let toml = format!(
            "adapter = \"evm-bft\"\nchain_id = {CHAIN_ID}\nmode = \"qbft\"\nepoch_length = 30000\n\
             anchor = {{ height = 0, hash = \"{}\", validators = [{}] }}\n\
             nodes = [{{ name = \"anvil\", url = \"{}\", own = true }}]\n",
            self.genesis,
            validators.join(", "),
            self.url,
        );
        City {
            name: name.to_owned(),
            toml,
            urls: vec![self.url.clone()],
            anchor: self.genesis.to_string(),
            clock_is_millis: false,
            accounts: ACCOUNTS.map(str::to_owned).to_vec(),
        }
    }
}

/// Between whoever asks and anvil.
struct Proxy {
    upstream: String,
    client: reqwest::Client,
    sealer: Mutex<Sealer>,
}

async fn answer(State(proxy): State<Arc<Proxy>>, body: Bytes) -> Json<Value> {
    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
    Json(match call {
        Value::Array(calls) => join_all(calls.into_iter().map(|call| proxy.answer(call))).await.into(),
        call => proxy.answer(call).await,
    })
}

impl Proxy {
    async fn answer(&self, call: Value) -> Value {
        let id = call["id"].clone();
        match self.pass(call).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = json!({ "code": -32_000, "message": format!("the sealing proxy: {error:#}") });
                json!({ "jsonrpc": "2.0", "id": id, "error": error })
            }
        }
    }

    async fn pass(&self, mut call: Value) -> anyhow::Result<Value> {
        if let Some(params) = call.get_mut("params") {
            self.sealer.lock().await.unseal(params);
        }
        let mut answer = self.post(&call).await?;
        if let Some(result) = answer.get_mut("result") {
            if let Some(height) = highest(result) {
                self.seal_up_to(height).await?;
            }
            self.sealer.lock().await.rewrite(result);
        }
        Ok(answer)
    }

    async fn post(&self, call: &Value) -> anyhow::Result<Value> {
        Ok(self.client.post(&self.upstream).json(call).send().await?.json().await?)
    }

    async fn wait_for_a_block(&self) -> anyhow::Result<()> {
        let call = json!({ "jsonrpc": "2.0", "id": 0, "method": "eth_blockNumber", "params": [] });
        while self.post(&call).await?["result"] == "0x0" {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Seals what is not sealed yet. Returns the hash of the block at that height.
    async fn seal_up_to(&self, height: u64) -> anyhow::Result<Hash32> {
        let mut sealer = self.sealer.lock().await;
        while let next = sealer.blocks.len() as u64
            && next <= height
        {
            let params = json!([format!("{next:#x}"), false]);
            let call = json!({ "jsonrpc": "2.0", "id": 0, "method": "eth_getBlockByNumber", "params": params });
            let answer = self.post(&call).await?;
            let (header, hash) = read_header(&answer["result"]).with_context(|| format!("block {next}"))?;
            ensure!(header.number == next, "asked for block {next}, got {}", header.number);
            ensure!(
                header.hash_with_extra(&header.extra_data) == hash,
                "anvil's block {next} has another hash: {answer}"
            );
            sealer.seal(header, hash);
        }
        let block = usize::try_from(height).ok().and_then(|height| sealer.blocks.get(height));
        Ok(block.context("a block that was sealed")?.1)
    }
}

/// The highest block that an answer names together with its hash.
fn highest(answer: &Value) -> Option<u64> {
    let inside = match answer {
        Value::Object(fields) => fields.values().filter_map(highest).max(),
        Value::Array(items) => items.iter().filter_map(highest).max(),
        _ => None,
    };
    let own = if answer["blockHash"].is_string() {
        number(answer, "blockNumber").ok()
    } else if is_block(answer) {
        number(answer, "number").ok()
    } else {
        None
    };
    own.max(inside)
}

/// A block that is not pending.
fn is_block(value: &Value) -> bool {
    value["parentHash"].is_string() && value["hash"].is_string()
}

/// The chain of sealed headers.
struct Sealer {
    /// Keys of the validators, in their order.
    keys: Vec<SigningKey>,
    validators: Vec<Account>,
    /// Each header with its hash, from block 0 on.
    blocks: Vec<(Header, Hash32)>,
    sealed_of_own: HashMap<String, String>,
    own_of_sealed: HashMap<String, String>,
}

impl Sealer {
    fn new() -> Self {
        let mut keys: Vec<_> = (1..=4).map(|seed| SigningKey::from_slice(&[seed; 32]).unwrap()).collect();
        keys.sort_by_key(|key| Account::of_key(key.verifying_key()));
        let validators = keys.iter().map(|key| Account::of_key(key.verifying_key())).collect();
        Self { keys, validators, blocks: Vec::new(), sealed_of_own: HashMap::new(), own_of_sealed: HashMap::new() }
    }

    /// Appends anvil's next block, whose hash there is `own`.
    fn seal(&mut self, mut header: Header, own: Hash32) {
        let height = self.blocks.len();
        if let Some((_, parent)) = self.blocks.last() {
            header.parent_hash = *parent;
        }
        header.beneficiary = self.validators[height % self.validators.len()].0.to_vec();
        header.difficulty = 1;
        header.mix_hash = MIX_HASH;
        header.nonce = [0; 8];
        let validators = self.validators.clone();
        let mut extra = BftExtra { vanity: VANITY, validators, vote: None, round: 0, seals: Vec::new() };
        let hash = header.hash_with_extra(&extra.encode_for_block_hash(BftLayout::Qbft));
        if height > 0 {
            let digest = header.hash_with_extra(&extra.encode_for_commit(BftLayout::Qbft));
            extra.seals = self.keys.iter().map(|key| sign(key, digest)).collect();
        }
        header.extra_data = extra.encode(BftLayout::Qbft);
        self.blocks.push((header, hash));
        self.sealed_of_own.insert(own.to_string(), hash.to_string());
        self.own_of_sealed.insert(hash.to_string(), own.to_string());
    }

    /// Puts anvil's hash wherever one of ours stands.
    fn unseal(&self, params: &mut Value) {
        match params {
            Value::Object(fields) => fields.values_mut().for_each(|value| self.unseal(value)),
            Value::Array(items) => items.iter_mut().for_each(|value| self.unseal(value)),
            Value::String(text) => {
                if let Some(own) = self.own_of_sealed.get(text.as_str()) {
                    own.clone_into(text);
                }
            }
            _ => {}
        }
    }

    /// Gives blocks their sealed header, and everything else the hash of it.
    fn rewrite(&self, answer: &mut Value) {
        if is_block(answer)
            && let Some((header, hash)) =
                number(answer, "number").ok().and_then(|number| self.blocks.get(number as usize))
        {
            answer["hash"] = hash.to_string().into();
            answer["parentHash"] = header.parent_hash.to_string().into();
            answer["miner"] = format!("0x{}", hex::encode(&header.beneficiary)).into();
            answer["difficulty"] = format!("{:#x}", header.difficulty).into();
            answer["mixHash"] = header.mix_hash.to_string().into();
            answer["nonce"] = format!("0x{}", hex::encode(header.nonce)).into();
            answer["extraData"] = format!("0x{}", hex::encode(&header.extra_data)).into();
        }
        match answer {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("blockHash", Value::String(text)) => {
                            if let Some(sealed) = self.sealed_of_own.get(text.as_str()) {
                                sealed.clone_into(text);
                            }
                        }
                        (_, value) => self.rewrite(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|value| self.rewrite(value)),
            _ => {}
        }
    }
}

/// r ‖ s ‖ v, v of 0 or 1.
fn sign(key: &SigningKey, digest: Hash32) -> [u8; 65] {
    let (signature, recovery) = key.sign_prehash_recoverable(digest.as_bytes()).unwrap();
    let mut seal = [recovery.to_byte(); 65];
    seal[..64].copy_from_slice(&signature.to_bytes());
    seal
}
