//! Both adapters' node access on the running devnet: everything that an adapter owes to the daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use cityrelay_api::adapter::{Adapter, Chain};
use cityrelay_api::contract_test::{Driver, Misdeed, every_check};
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_devnet::misbehave::Fault;
use cityrelay_devnet::sealed_evm::SealedEvmConfig;
use cityrelay_devnet::sealed_evm::mode::SealMode;
use cityrelay_devnet::weighted_bcos::WeightedBcosConfig;
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig, Section};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::timeout;
use tungstenite::Message;

/// A chain of the devnet with its adapter.
struct OnDevnet {
    devnet: Devnet,
    section: Section,
    key_file: NamedTempFile,
}

impl OnDevnet {
    fn new(devnet: Devnet, section: Section) -> Self {
        let mut key_file = NamedTempFile::new().unwrap();
        write!(key_file, "{}", hex::encode(section.accounts[0])).unwrap();
        Self { devnet, section, key_file }
    }

    async fn sealed_evm(mode: SealMode) -> Self {
        Self::sealed_evm_of(SealedEvmConfig::of_mode(mode)).await
    }

    async fn sealed_evm_of(chain: SealedEvmConfig) -> Self {
        let config = DevnetConfig { sealed_evm: Some(fast(chain)), weighted_bcos: None };
        let devnet = Devnet::start(config).await.unwrap();
        let section = devnet.sealed_evm().unwrap().section();
        Self::new(devnet, section)
    }

    async fn weighted_bcos(chain: WeightedBcosConfig) -> Self {
        let config = DevnetConfig { sealed_evm: None, weighted_bcos: Some(fast(chain)) };
        let devnet = Devnet::start(config).await.unwrap();
        let section = devnet.weighted_bcos().unwrap().section().unwrap();
        Self::new(devnet, section)
    }

    /// Another value where a header is hashed.
    fn forged(&self, height: Height) -> Fault {
        let value = json!(format!("0x{}", "ab".repeat(32)));
        if self.devnet.sealed_evm().is_some() {
            let (method, pointer) = ("eth_getBlockByNumber".to_owned(), "/stateRoot".to_owned());
            return Fault::LieAt { method, pointer, value, height: height.0 };
        }
        let (method, pointer) = ("getBlockByNumber".to_owned(), "/stateRoot".to_owned());
        Fault::LieAt { method, pointer, value, height: height.0 }
    }

    async fn set_running(&self, node: usize, is_running: bool) {
        match (self.devnet.sealed_evm(), self.devnet.weighted_bcos(), is_running) {
            (Some(city), _, true) => city.start_node(node).await,
            (Some(city), _, false) => city.stop_node(node).await,
            (None, Some(city), true) => city.start_node(node).await,
            (None, Some(city), false) => city.stop_node(node).await,
            (None, None, _) => panic!("a chain"),
        }
        .unwrap();
    }
}

fn fast<T>(chain: T) -> CityConfig<T> {
    CityConfig { chain, nodes: 2, first_port: 0, block_period: Duration::from_millis(100) }
}

#[async_trait]
impl Driver for OnDevnet {
    fn chain(&self, nodes: &[usize]) -> Arc<dyn Chain> {
        let mut settings: Value = toml::from_str(&self.section.toml).unwrap();
        let adapter = settings.as_object_mut().unwrap().remove("adapter").unwrap();
        settings["account"] = json!({"key_file": self.key_file.path()});
        let all = settings["nodes"].as_array().unwrap().clone();
        settings["nodes"] = nodes.iter().map(|node| all[*node].clone()).collect();
        // A node that swallows a transaction keeps the request open: patience decides how long that takes.
        settings["request_timeout"] = "3s".into();
        let adapters: [&dyn Adapter; 2] = [&cityrelay_evm_bft::EvmBft, &cityrelay_fisco_bcos::node::ADAPTER];
        let adapter = adapters.iter().find(|known| known.name() == adapter.as_str().unwrap()).unwrap();
        adapter.configure(&settings, Path::new("/")).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    fn name(&self, node: usize) -> String {
        format!("node{node}")
    }

    fn domain(&self) -> Domain {
        Domain::derive("city", self.section.anchor)
    }

    fn clock_is_millis(&self) -> bool {
        self.section.clock_is_millis
    }

    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        UnixMillis(u64::try_from(since.as_millis()).unwrap())
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    fn stall(&self, is_stalled: bool) {
        match (self.devnet.sealed_evm(), self.devnet.weighted_bcos()) {
            (Some(city), _) => city.stall(is_stalled),
            (None, Some(city)) => city.stall(is_stalled),
            (None, None) => panic!("a chain"),
        }
    }

    async fn misbehave(&self, node: Option<usize>, misdeed: Misdeed) {
        let fault = match misdeed {
            Misdeed::Forge(height) => self.forged(height),
            Misdeed::Equivocate(height) => Fault::Equivocate { height: height.0 },
            Misdeed::DropTransactions => Fault::DropTransactions,
            Misdeed::Vanish => {
                for node in node.map_or(vec![0, 1], |node| vec![node]) {
                    self.set_running(node, false).await;
                }
                return;
            }
        };
        match (self.devnet.sealed_evm(), self.devnet.weighted_bcos()) {
            (Some(city), _) => city.misbehave(node, fault),
            (None, Some(city)) => city.misbehave(node, fault),
            (None, None) => panic!("a chain"),
        }
    }

    async fn behave(&self) {
        if let Some(city) = self.devnet.sealed_evm() {
            city.behave();
        }
        if let Some(city) = self.devnet.weighted_bcos() {
            city.behave();
        }
        for node in [0, 1] {
            self.set_running(node, true).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn qbft_keeps_the_contract() {
    every_check(&OnDevnet::sealed_evm(SealMode::Qbft).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qbft_under_a_validator_contract_keeps_the_contract() {
    every_check(&OnDevnet::sealed_evm(SealMode::QbftContract).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ibft2_keeps_the_contract() {
    every_check(&OnDevnet::sealed_evm(SealMode::Ibft2).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ibft1_keeps_the_contract() {
    every_check(&OnDevnet::sealed_evm(SealMode::Ibft1).await).await;
}

/// The mode changes after the contracts were deployed, and while messages are sent, proved and forged.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_moves_from_ibft1_to_qbft_keeps_the_contract() {
    const FIRST_QBFT: u64 = 8;
    let chain = SealedEvmConfig {
        migration: Some((FIRST_QBFT, SealMode::Qbft)),
        epoch_length: 10,
        ..SealedEvmConfig::of_mode(SealMode::Ibft1)
    };
    let city = OnDevnet::sealed_evm_of(chain).await;
    every_check(&city).await;
    let modes = city.devnet.sealed_evm().unwrap().with(|chain| {
        let mode = |height| chain.block(height).map(|block| block.unsealed.mode);
        [mode(FIRST_QBFT - 1), mode(FIRST_QBFT)]
    });
    assert_eq!(modes, [Some(SealMode::Ibft1), Some(SealMode::Qbft)]);
}

/// Nodes without storage proofs and without the receipts of a block.
#[tokio::test(flavor = "multi_thread")]
async fn edge_keeps_the_contract_with_one_seal_for_all() {
    every_check(&OnDevnet::sealed_evm(SealMode::EdgeBls).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_keeps_the_contract_with_a_seal_of_each() {
    every_check(&OnDevnet::sealed_evm(SealMode::EdgeEcdsa).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bcos_keeps_the_contract() {
    every_check(&OnDevnet::weighted_bcos(WeightedBcosConfig::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bcos_with_other_crypto_and_unequal_weights_keeps_the_contract() {
    let chain =
        WeightedBcosConfig { suite: CryptoSuite::Gm, weights: vec![3, 1, 2, 1], ..WeightedBcosConfig::default() };
    every_check(&OnDevnet::weighted_bcos(chain).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bcos_on_the_classic_executor_keeps_the_contract() {
    let chain = WeightedBcosConfig { is_classic: true, ..WeightedBcosConfig::default() };
    every_check(&OnDevnet::weighted_bcos(chain).await).await;
}

/// Long enough for a block and a new connection, on a busy machine.
const NEWS_TIMEOUT: Duration = Duration::from_secs(60);

/// Short, and blocks are made all the while.
const NO_NEWS: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn new_heads_are_told_and_told_again_after_the_nodes_were_away() {
    let city = OnDevnet::sealed_evm(SealMode::Qbft).await;
    let source = city.chain(&[0, 1]).source();
    timeout(NEWS_TIMEOUT, source.news()).await.expect("the first head");
    timeout(NEWS_TIMEOUT, source.news()).await.expect("the next head");
    city.misbehave(None, Misdeed::Vanish).await;
    // What was told before they went may still be on its way; with blocks all the while, silence means nobody tells.
    let silence = async { while timeout(NO_NEWS, source.news()).await.is_ok() {} };
    timeout(NEWS_TIMEOUT, silence).await.expect("nobody is there to tell");
    city.behave().await;
    timeout(NEWS_TIMEOUT, source.news()).await.expect("a head on a new connection");
    let none = OnDevnet::weighted_bcos(WeightedBcosConfig::default()).await.chain(&[0, 1]).source();
    timeout(NO_NEWS, none.news()).await.expect_err("these nodes tell nothing");
}

/// What a node tells too long, refuses, or never says is no news, and polling goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_no_use_stops_nothing() {
    let note = json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": {"result": "f".repeat(1 << 20)}});
    let refusal = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no subscriptions"}});
    for said in [Some(note.to_string()), Some(refusal.to_string()), None] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let Ok(mut socket) = tungstenite::accept(stream) else { continue };
                if let Some(said) = &said {
                    drop(socket.send(Message::text(said.clone())));
                }
                while socket.read().is_ok() {}
            }
        });
        let mut city = OnDevnet::sealed_evm(SealMode::Qbft).await;
        for url in city.devnet.sealed_evm().unwrap().head_urls() {
            city.section.toml = city.section.toml.replace(&url, &format!("ws://{address}"));
        }
        let source = city.chain(&[0, 1]).source();
        timeout(NO_NEWS, source.news()).await.expect_err("no head was told");
        assert!(source.tip().await.unwrap() > Height(0));
    }
}
