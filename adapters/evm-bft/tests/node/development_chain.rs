//! anvil, started for one test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cityrelay_api::source::Source;
use cityrelay_api::target::{Fate, Intent, Target};
use cityrelay_api::{Adapter, Chain};
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, LaneId};
use cityrelay_core::lane::LaneIdentity;
use cityrelay_evm_bft::EvmBft;
use serde_json::{Value, json};

/// The key of anvil's first account, the same in every anvil.
const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// A running anvil, ended when dropped, and the adapter in front of it.
pub struct Anvil {
    process: Child,
    pub url: String,
    pub chain: Arc<dyn Chain>,
    _folder: tempfile::TempDir,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn binary() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway");
    let binary = folder.join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
    assert!(binary.exists(), "anvil is missing: run `npm ci` in adapters/gateway");
    binary
}

/// Any hash and set: nothing of this chain is verified by its seals.
pub fn section(url: &str, account: Value) -> Value {
    json!({
        "chain_id": 31_337,
        "mode": "qbft",
        "epoch_length": 30,
        "anchor": {
            "height": 0,
            "hash": format!("0x{}", "11".repeat(32)),
            "validators": [format!("0x{}", "01".repeat(20))],
        },
        "nodes": [{ "name": "anvil", "url": url, "own": true }],
        "account": account,
    })
}

impl Anvil {
    pub fn start(arguments: &[&str], account: &Value) -> Self {
        let mut process = Command::new(binary())
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil ends before it listens");
        // Keeps reading, so that a full pipe never stops it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let folder = crate::folder();
        std::fs::write(folder.path().join("account.key"), format!("{KEY}\n")).unwrap();
        let mut account = account.clone();
        account["key_file"] = "account.key".into();
        let url = format!("http://{address}");
        let chain = EvmBft.configure(&section(&url, account), folder.path()).map_err(|faults| format!("{faults:?}"));
        Self { process, url, chain: chain.unwrap(), _folder: folder }
    }

    pub fn target(&self) -> Arc<dyn Target> {
        self.chain.target().unwrap()
    }

    pub fn source(&self) -> Arc<dyn Source> {
        self.chain.source()
    }

    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        // The adapter's own client is private; a plain one needs a provider even without TLS.
        rustls::crypto::ring::default_provider().install_default().ok();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let client = reqwest::Client::new();
        let answer: Value = client.post(&self.url).json(&body).send().await.unwrap().json().await.unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub async fn mine(&self) {
        self.rpc("evm_mine", json!([])).await;
    }

    /// Makes, sends and follows one call on a chain that mines at once.
    pub async fn submit(&self, call: &GatewayCall) -> Fate {
        let target = self.target();
        let intent = target.prepare(call, &[], None).await.unwrap();
        target.broadcast(&intent).await.unwrap();
        self.fate(&intent).await
    }

    /// What became of an intent once that is certain: while a block is made, anvil may know it for a moment neither in its
    /// pool nor in a block.
    pub async fn fate(&self, intent: &Intent) -> Fate {
        for _ in 0..500 {
            match self.target().track(intent).await.unwrap() {
                Fate::Pending | Fate::Dropped => tokio::time::sleep(core::time::Duration::from_millis(20)).await,
                fate => return fate,
            }
        }
        panic!("still pending after ten seconds");
    }

    pub async fn deploy(&self, call: &GatewayCall) -> Address {
        match self.submit(call).await {
            Fate::Final { is_success: true, created: Some(address), .. } => address,
            other => panic!("not deployed: {other:?}"),
        }
    }

    /// A gateway with one open lane of which it is the source.
    pub async fn open_lane(&self) -> (Address, LaneIdentity, LaneId) {
        let domain = Domain(keccak256(b"here"));
        let members = vec![AttesterId([1; 20]), AttesterId([2; 20]), AttesterId([3; 20])];
        let verifier = self.deploy(&GatewayCall::DeployCommittee { domain, members, threshold: 2 }).await;
        let gateway = self
            .deploy(&GatewayCall::DeployGateway {
                domain,
                owner: self.target().account(),
                announce_delay: core::time::Duration::ZERO,
                close_delay: core::time::Duration::from_secs(86_400),
                clock_is_millis: false,
            })
            .await;
        let lane = LaneIdentity {
            source_domain: domain,
            destination_domain: Domain(keccak256(b"there")),
            source_gateway: gateway,
            destination_gateway: Address::from_20([0x77; 20]),
            source_verifier: verifier,
            destination_verifier: Address::from_20([0x88; 20]),
            channel: "medical".to_owned(),
            salt: Hash32([5; 32]),
        };
        let limits = LaneLimits {
            max_payload_bytes: 1024,
            max_gas_limit: 500_000,
            max_deadline: core::time::Duration::from_secs(86_400),
            callback_gas: 50_000,
            is_strict: false,
            quota: 0,
            senders: Vec::new(),
            receivers: Vec::new(),
        };
        let id = lane.id();
        for call in [
            GatewayCall::AnnounceLane { gateway, lane: lane.clone(), limits },
            GatewayCall::OpenLane { gateway, lane: id },
        ] {
            let fate = self.submit(&call).await;
            assert!(matches!(fate, Fate::Final { is_success: true, .. }), "{fate:?}");
        }
        (gateway, lane, id)
    }

    pub async fn send(&self, gateway: Address, lane: LaneId, payload: &[u8]) -> GatewayCall {
        let deadline = cityrelay_core::ids::UnixMillis(self.target().clock().await.unwrap().0 + 3_600_000);
        GatewayCall::Send {
            gateway,
            lane,
            receiver: Address::from_20([9; 20]),
            deadline,
            gas_limit: 100_000,
            payload: payload.to_vec(),
        }
    }
}
