//! Both adapters' node access on the running devnet: a gateway is deployed and driven, its heads are read, proved,
//! verified and confirmed, as the daemon does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_api::adapter::{Adapter, Chain};
use cityrelay_api::source::{Confirmation, EntryRequest, HeadProofAnswer, HeadProofRequest, Source};
use cityrelay_api::target::{Fate, Fit, Funds, LaneState, Target};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::{Address, AttesterId, Domain, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::light_client::ProofStrength;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedHeader, VerifiedUpdate};
use cityrelay_devnet::misbehave::Fault;
use cityrelay_devnet::sealed_evm::SealedEvmConfig;
use cityrelay_devnet::weighted_bcos::WeightedBcosConfig;
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig, Section};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// One chain with the adapter that follows it.
struct Followed {
    chain: Arc<dyn Chain>,
    domain: Domain,
    clock_is_millis: bool,
    state: Opaque,
    headers: Vec<VerifiedHeader>,
    _key_file: NamedTempFile,
}

fn follow(section: &Section) -> Followed {
    let mut key_file = NamedTempFile::new().unwrap();
    write!(key_file, "{}", hex::encode(section.accounts[0])).unwrap();
    let mut settings: Value = toml::from_str(&section.toml).unwrap();
    let adapter = settings.as_object_mut().unwrap().remove("adapter").unwrap();
    settings["account"] = json!({"key_file": key_file.path()});
    let adapters: [&dyn Adapter; 2] = [&cityrelay_evm_bft::EvmBft, &cityrelay_fisco_bcos::node::ADAPTER];
    let adapter = adapters.iter().find(|known| known.name() == adapter.as_str().unwrap()).unwrap();
    let chain = adapter.configure(&settings, std::path::Path::new("/")).unwrap_or_else(|faults| panic!("{faults:?}"));
    Followed {
        state: chain.anchor(),
        domain: Domain::derive("city", section.anchor),
        clock_is_millis: section.clock_is_millis,
        headers: Vec::new(),
        chain,
        _key_file: key_file,
    }
}

fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

impl Followed {
    fn target(&self) -> Arc<dyn Target> {
        self.chain.target().unwrap()
    }

    fn source(&self) -> Arc<dyn Source> {
        self.chain.source()
    }

    /// Submits a call and follows it to its block; returns the contract that it created.
    async fn carry_out(&self, call: &GatewayCall) -> Option<Address> {
        let target = self.target();
        let intent = target.prepare(call, &[], None).await.unwrap_or_else(|error| panic!("{call:?}: {error}"));
        target.broadcast(&intent).await.unwrap();
        for _ in 0..100 {
            match target.track(&intent).await.unwrap() {
                Fate::Pending | Fate::Dropped => tokio::time::sleep(Duration::from_millis(50)).await,
                Fate::Final { is_success: true, created, .. } => return created,
                fate => panic!("{call:?}: {fate:?}"),
            }
        }
        panic!("{call:?} was not mined");
    }

    /// Verifies everything up to the tip.
    async fn catch_up(&mut self) {
        let client = self.chain.client();
        loop {
            let after = client.trusted_height(&self.state).unwrap();
            let Some(served) = self.source().next_update(after, 100).await.unwrap() else { return };
            match client.verify_update(self.domain, &self.state, &served.update, now()) {
                VerifiedUpdate::Advanced { state, headers, .. } => {
                    self.state = state;
                    self.headers.extend(headers);
                }
                VerifiedUpdate::Refused(refusal) => {
                    self.source().report_lie(&served.endpoint, refusal.check);
                }
                other @ VerifiedUpdate::HeldBack { .. } => panic!("{other:?}"),
            }
        }
    }
}

/// Deploys, opens a lane to nowhere, sends three messages, and reads them back as verified facts.
async fn drive(mut followed: Followed) -> Followed {
    let target = followed.target();
    let committee =
        GatewayCall::DeployCommittee { domain: followed.domain, members: vec![AttesterId([7; 20])], threshold: 1 };
    let verifier = followed.carry_out(&committee).await.unwrap();
    assert_eq!(target.committee(verifier).await.unwrap().threshold(), 1);
    let gateway = GatewayCall::DeployGateway {
        domain: followed.domain,
        owner: target.account(),
        announce_delay: Duration::ZERO,
        close_delay: Duration::from_secs(60),
        clock_is_millis: followed.clock_is_millis,
    };
    let gateway = followed.carry_out(&gateway).await.unwrap();
    let lane = LaneIdentity {
        source_domain: followed.domain,
        destination_domain: Domain(keccak256(b"elsewhere")),
        source_gateway: gateway,
        destination_gateway: Address::from_20([8; 20]),
        source_verifier: verifier,
        destination_verifier: Address::from_20([9; 20]),
        channel: "trade".to_owned(),
        salt: keccak256(b"salt"),
    };
    assert_eq!(target.lane_state(gateway, lane.id()).await.unwrap(), LaneState::Unknown);
    let limits = LaneLimits {
        max_payload_bytes: 10_000,
        max_gas_limit: 1_000_000,
        max_deadline: Duration::from_secs(86_400),
        callback_gas: 100_000,
        is_strict: false,
        quota: 0,
        senders: Vec::new(),
        receivers: Vec::new(),
    };
    followed.carry_out(&GatewayCall::AnnounceLane { gateway, lane: lane.clone(), limits }).await;
    followed.carry_out(&GatewayCall::OpenLane { gateway, lane: lane.id() }).await;
    assert_eq!(target.lane_state(gateway, lane.id()).await.unwrap(), LaneState::Open);
    for payload in ["one", "two", "three"] {
        let send = GatewayCall::Send {
            gateway,
            lane: lane.id(),
            receiver: Address::from_20([5; 20]),
            deadline: UnixMillis(target.clock().await.unwrap().0 + 3_600_000),
            gas_limit: 100_000,
            payload: payload.as_bytes().to_vec(),
        };
        assert!(matches!(target.fits(&send).await.unwrap(), Fit::Fits { .. }));
        followed.carry_out(&send).await;
    }
    let flow = Flow { lane: lane.id(), direction: Direction::Outbox };
    let hint = followed.source().head_hint(gateway, flow).await.unwrap();
    assert_eq!(hint.index, Index(3));

    let proof = prove(&mut followed, gateway, flow).await;
    let HeadProofAnswer::Proof { height, point, proof, .. } = proof else { panic!("{proof:?}") };
    assert_eq!(point, hint);
    let request = EntryRequest { gateway, flow, first: Index(1), last: Index(3), newest: height };
    let entries: Vec<Entry> = followed.source().entry_hints(&request).await.unwrap();
    assert_eq!(entries.len(), 3);
    let header = followed.headers.iter().find(|header| header.height() == height).unwrap();
    let claim = Claim { flow, first: Index(1), entries, tail: Vec::new(), height, proof: proof.clone() };
    let client = followed.chain.client();
    let extension = client.verify_extension(header, &lane, ChainPoint::start(flow), claim).unwrap();
    assert_eq!(extension.tip(), hint);
    let confirmed = followed.source().confirm_extension(header, gateway, &extension, &proof).await.unwrap();
    assert_eq!(confirmed, Confirmation::Agrees);
    followed
}

/// A proof of the flow's head, by a checkpoint where the chain needs one.
async fn prove(followed: &mut Followed, gateway: Address, flow: Flow) -> HeadProofAnswer {
    for _ in 0..2 {
        followed.catch_up().await;
        let oldest = followed.headers.first().map_or(Height(0), VerifiedHeader::height);
        let newest = followed.headers.last().map_or(Height(0), VerifiedHeader::height);
        let request = HeadProofRequest { gateway, flow, at_least: Index(3), oldest, newest };
        match followed.source().head_proof(&request).await.unwrap() {
            HeadProofAnswer::NeedsCheckpoint => {
                assert_eq!(followed.chain.client().strength(), ProofStrength::NeedsLocalConfirmation);
                followed.carry_out(&GatewayCall::Checkpoint { gateway, flow }).await;
            }
            answer => return answer,
        }
    }
    panic!("a checkpoint was not enough");
}

fn fast<T>(chain: T) -> CityConfig<T> {
    CityConfig { chain, nodes: 2, first_port: 0, block_period: Duration::from_millis(100) }
}

async fn qbft() -> (Devnet, Section) {
    let city = fast(SealedEvmConfig::default());
    let devnet = Devnet::start(DevnetConfig { sealed_evm: Some(city), weighted_bcos: None }).await.unwrap();
    let section = devnet.sealed_evm().unwrap().section();
    (devnet, section)
}

async fn bcos(suite: CryptoSuite) -> (Devnet, Section) {
    let city = fast(WeightedBcosConfig { suite, ..WeightedBcosConfig::default() });
    let devnet = Devnet::start(DevnetConfig { sealed_evm: None, weighted_bcos: Some(city) }).await.unwrap();
    let section = devnet.weighted_bcos().unwrap().section().unwrap();
    (devnet, section)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_qbft_adapter_drives_a_gateway() {
    let (devnet, section) = qbft().await;
    drive(follow(&section)).await;
    devnet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bcos_adapter_drives_a_gateway() {
    let (devnet, section) = bcos(CryptoSuite::Standard).await;
    drive(follow(&section)).await;
    devnet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_leaves_a_node_that_lies() {
    let (devnet, section) = qbft().await;
    let evm = devnet.sealed_evm().unwrap();
    let lie = Fault::Lie {
        method: "eth_getBlockByNumber".to_owned(),
        pointer: "/stateRoot".to_owned(),
        value: json!(format!("0x{}", "ab".repeat(32))),
    };
    evm.misbehave(Some(0), lie);
    evm.wait_for_height(3).await;
    let mut followed = follow(&section);
    followed.catch_up().await;
    assert!(followed.headers.len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_goes_on_with_the_node_that_is_left() {
    let (devnet, section) = bcos(CryptoSuite::Standard).await;
    devnet.weighted_bcos().unwrap().stop_node(0).await.unwrap();
    let followed = follow(&section);
    assert_eq!(followed.source().tip().await.unwrap(), Height(1));
}

/// A transaction waits while the chain makes no block, and not any more once it does.
async fn a_stall_shows_in_the_pool(followed: &Followed, stall: impl Fn(bool)) {
    let (source, target) = (followed.source(), followed.target());
    assert_eq!(source.pending().await.unwrap(), Some(0));
    assert_eq!(target.funds().await.unwrap(), Funds::NotNeeded);
    stall(true);
    let intent = target.prepare(&GatewayCall::DeployCode { code: vec![0; 2] }, &[], None).await.unwrap();
    target.broadcast(&intent).await.unwrap();
    assert_eq!(source.pending().await.unwrap(), Some(1));
    stall(false);
    for _ in 0..100 {
        if source.pending().await.unwrap() == Some(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the transaction still waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_adapters_tell_a_stalled_chain_from_an_idle_one() {
    let ((evm, evm_section), (bcos, bcos_section)) = tokio::join!(qbft(), bcos(CryptoSuite::Standard));
    a_stall_shows_in_the_pool(&follow(&evm_section), |is_stalled| evm.sealed_evm().unwrap().stall(is_stalled)).await;
    a_stall_shows_in_the_pool(&follow(&bcos_section), |is_stalled| bcos.weighted_bcos().unwrap().stall(is_stalled))
        .await;
}
