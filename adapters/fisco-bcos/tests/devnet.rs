//! Source and target against the devnet: a stand-in that executes contracts and seals blocks with real signatures.

#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_api::adapter::{Adapter, Chain};
use cityrelay_api::source::{Confirmation, EntryRequest, HeadProofAnswer, HeadProofRequest};
use cityrelay_api::target::{Fate, Fit, LaneState, Target};
use cityrelay_core::assemble::{Cut, assemble};
use cityrelay_core::attestation::{SignatureBytes, Statement, attester_id};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::gateway_call::{Evidence, GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, Epoch, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::light_client::{HoldReason, SetStatement};
use cityrelay_core::machine::input::NodeStatement;
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::verify::{VerifiedHeader, VerifiedUpdate};
use cityrelay_devnet::city::City;
use cityrelay_devnet::misbehave::Fault;
use cityrelay_devnet::weighted_bcos::{SealerChange, WeightedBcosChain, WeightedBcosConfig};
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig, Running};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::node::ADAPTER;
use cityrelay_gateway::{GatewayEvent, encode, event};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};

/// A running chain, this adapter's view of it, and what it trusts so far.
struct Net {
    devnet: Devnet,
    chain: Arc<dyn Chain>,
    domain: Domain,
    state: Opaque,
    headers: Vec<VerifiedHeader>,
    _key_file: tempfile::NamedTempFile,
}

impl Net {
    async fn start(suite: CryptoSuite) -> Self {
        Self::start_with(suite, false).await
    }

    async fn start_with(suite: CryptoSuite, is_classic: bool) -> Self {
        let config = WeightedBcosConfig { suite, is_classic, ..WeightedBcosConfig::default() };
        let city = CityConfig { chain: config, block_period: Duration::from_millis(50), ..CityConfig::default() };
        let devnet =
            Devnet::start(DevnetConfig { weighted_bcos: Some(city), ..DevnetConfig::default() }).await.unwrap();
        let running = devnet.weighted_bcos().unwrap();
        let nodes: Vec<Value> = running
            .urls()
            .iter()
            .enumerate()
            .map(|(number, url)| json!({ "name": format!("node-{number}"), "url": url, "own": number == 0 }))
            .collect();
        let mut key_file = tempfile::NamedTempFile::new().unwrap();
        let secret = running.with(|chain| chain.account_secrets()[0]);
        writeln!(key_file, "{}", hex::encode(secret)).unwrap();
        let (anchor, sealers) = running.with(|chain| {
            let block = chain.block(1).unwrap();
            let sealers = block.sealers();
            let sealers = sealers.iter().map(|s| json!({ "id": hex::encode(s.id.0), "weight": s.weight }));
            (block.hash, sealers.collect::<Vec<_>>())
        });
        let section = json!({
            "chain_id": "chain0",
            "group_id": "group0",
            "crypto": suite.as_str(),
            "application_selectors": "keccak256",
            "anchor": { "height": 1, "hash": anchor.to_string(), "sealers": sealers },
            "nodes": nodes,
            "account": { "key_file": key_file.path() },
        });
        let chain = ADAPTER.configure(&section, Path::new("/")).unwrap();
        let state = chain.anchor();
        let domain = Domain::derive("city", anchor);
        Self { devnet, chain, domain, state, headers: Vec::new(), _key_file: key_file }
    }

    fn running(&self) -> &Running<WeightedBcosChain> {
        self.devnet.weighted_bcos().unwrap()
    }

    fn target(&self) -> Arc<dyn Target> {
        self.chain.target().unwrap()
    }

    /// Sends a call and follows it to success; gives the created contract.
    async fn call(&self, call: GatewayCall) -> Option<Address> {
        let target = self.target();
        let intent = target.prepare(&call, &[], None).await.unwrap();
        target.broadcast(&intent).await.unwrap();
        for _ in 0..200 {
            match target.track(&intent).await.unwrap() {
                Fate::Final { is_success: true, created, .. } => return created,
                Fate::Pending => tokio::time::sleep(Duration::from_millis(20)).await,
                other => panic!("{call:?}: {other:?}"),
            }
        }
        panic!("{call:?} is still pending");
    }

    /// Follows the chain to its tip, confirming set changes at the own node; gives the heights of those.
    async fn follow(&mut self) -> Vec<u64> {
        let (client, source) = (self.chain.client(), self.chain.source());
        let now = UnixMillis(self.target().clock().await.unwrap().0);
        let mut confirmed = Vec::new();
        loop {
            let after = client.trusted_height(&self.state).unwrap();
            let Some(served) = source.next_update(after, 100).await.unwrap() else { return confirmed };
            match client.verify_update(self.domain, &self.state, &served.update, now) {
                VerifiedUpdate::Advanced { state, headers, .. } => {
                    self.state = state;
                    self.headers.extend(headers);
                }
                VerifiedUpdate::HeldBack { state, headers, reason, .. } => {
                    self.headers.extend(headers);
                    let HoldReason::SetUnconfirmed { height, digest } = reason else { panic!("{reason}") };
                    let statement = SetStatement { height, digest };
                    assert_eq!(source.confirm_set(&statement).await.unwrap(), Confirmation::Agrees);
                    self.state = client.apply_set_statement(&state, &statement).unwrap();
                    confirmed.push(height.0);
                }
                VerifiedUpdate::Refused(refusal) => panic!("{refusal}"),
            }
        }
    }

    /// Deploys committee and gateway, and opens a lane whose source is this chain.
    async fn open_lane(&self) -> LaneIdentity {
        self.open_lane_that(Direction::Outbox).await
    }

    /// A lane whose chain of this direction is kept here.
    async fn open_lane_that(&self, kept: Direction) -> LaneIdentity {
        let members = vec![attester_id(attester().verifying_key())];
        let committee = GatewayCall::DeployCommittee { domain: self.domain, members, threshold: 1 };
        let verifier = self.call(committee).await.unwrap();
        let gateway = GatewayCall::DeployGateway {
            domain: self.domain,
            owner: self.target().account(),
            announce_delay: Duration::ZERO,
            close_delay: Duration::from_secs(60),
            clock_is_millis: true,
        };
        let gateway = self.call(gateway).await.unwrap();
        let here = (self.domain, gateway, verifier);
        let elsewhere = (Domain(keccak256(b"elsewhere")), Address::from_20([2; 20]), Address::from_20([4; 20]));
        let (source, destination) = match kept {
            Direction::Outbox => (here, elsewhere),
            Direction::Inbox => (elsewhere, here),
        };
        let lane = LaneIdentity {
            source_domain: source.0,
            destination_domain: destination.0,
            source_gateway: source.1,
            destination_gateway: destination.1,
            source_verifier: source.2,
            destination_verifier: destination.2,
            channel: "medical".to_owned(),
            salt: keccak256(b"salt"),
        };
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
        let target = self.target();
        assert_eq!(target.lane_state(gateway, lane.id()).await.unwrap(), LaneState::Unknown);
        self.call(GatewayCall::AnnounceLane { gateway, lane: lane.clone(), limits }).await;
        assert_eq!(target.lane_state(gateway, lane.id()).await.unwrap(), LaneState::Announced);
        self.call(GatewayCall::OpenLane { gateway, lane: lane.id() }).await;
        assert_eq!(target.lane_state(gateway, lane.id()).await.unwrap(), LaneState::Open);
        assert_eq!(target.committee(verifier).await.unwrap().members().len(), 1);
        lane
    }
}

fn attester() -> SigningKey {
    SigningKey::from_slice(&[0x61; 32]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_sent_proved_found_and_confirmed() {
    for (suite, is_classic) in [(CryptoSuite::Standard, false), (CryptoSuite::Gm, false), (CryptoSuite::Gm, true)] {
        messages_walk(Net::start_with(suite, is_classic).await).await;
    }
}

async fn messages_walk(mut net: Net) {
    let lane = net.open_lane().await;
    let (gateway, flow) = (lane.source_gateway, Flow { lane: lane.id(), direction: Direction::Outbox });
    let source = net.chain.source();
    assert_eq!(source.head_hint(gateway, flow).await.unwrap(), ChainPoint::start(flow));
    let now = net.target().clock().await.unwrap();
    for number in 0..3_u8 {
        let send = GatewayCall::Send {
            gateway,
            lane: lane.id(),
            receiver: Address::from_20([0x52; 20]),
            deadline: UnixMillis(now.0 + 3_600_000),
            gas_limit: 50_000,
            payload: vec![number; 40],
        };
        net.call(send).await;
    }
    net.follow().await;
    let request = |newest| HeadProofRequest { gateway, flow, at_least: Index(3), oldest: Height(2), newest };
    let newest = net.headers.last().unwrap().height();
    let answer = source.head_proof(&request(newest)).await.unwrap();
    assert!(matches!(answer, HeadProofAnswer::NeedsCheckpoint), "{answer:?}");

    net.call(GatewayCall::Checkpoint { gateway, flow }).await;
    net.follow().await;
    let newest = net.headers.last().unwrap().height();
    let answer = source.head_proof(&request(newest)).await.unwrap();
    let HeadProofAnswer::Proof { height, point, proof, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(point.index, Index(3));

    let hints = EntryRequest { gateway, flow, first: Index(1), last: Index(3), newest };
    let entries = source.entry_hints(&hints).await.unwrap();
    assert_eq!(entries.len(), 3);
    let Entry::Message(second) = &entries[1] else { panic!() };
    assert_eq!(second.payload, Payload::Bytes(vec![1; 40]));

    let header = net.headers.iter().find(|header| header.height() == height).unwrap();
    let claim = Claim { flow, first: Index(1), entries, tail: Vec::new(), height, proof: proof.clone() };
    let extension = net.chain.client().verify_extension(header, &lane, ChainPoint::start(flow), claim).unwrap();
    assert_eq!(extension.tip(), point);
    let confirmed = source.confirm_extension(header, gateway, &extension, &proof).await.unwrap();
    assert_eq!(confirmed, Confirmation::Agrees);
    assert_eq!(net.target().accepted(gateway, flow).await.unwrap().index, Index(0));
    net.devnet.stop().await;
}

impl Net {
    /// Proves the newest head of a flow by a checkpoint; gives the entries that lead to it from the start, verified.
    async fn proved_entries(&mut self, lane: &LaneIdentity, gateway: Address, flow: Flow) -> Vec<Entry> {
        self.call(GatewayCall::Checkpoint { gateway, flow }).await;
        self.follow().await;
        let source = self.chain.source();
        let newest = self.headers.last().unwrap().height();
        let request = HeadProofRequest { gateway, flow, at_least: Index(1), oldest: Height(2), newest };
        let answer = source.head_proof(&request).await.unwrap();
        let HeadProofAnswer::Proof { height, point, proof, .. } = answer else { panic!("{answer:?}") };
        let hints = EntryRequest { gateway, flow, first: Index(1), last: point.index, newest };
        let hints = source.entry_hints(&hints).await.unwrap();
        let cut = Cut { max_entries: 100, max_bytes: 100_000, max_gas: u64::MAX };
        let (entries, _) = assemble(flow, ChainPoint::start(flow), point, hints, cut).unwrap();
        let header = self.headers.iter().find(|header| header.height() == height).unwrap();
        let claim = Claim { flow, first: Index(1), entries: entries.clone(), tail: Vec::new(), height, proof };
        let extension = self.chain.client().verify_extension(header, lane, ChainPoint::start(flow), claim).unwrap();
        assert_eq!(extension.tip(), point);
        entries
    }
}

/// The classic executor keeps the event of a call that was reverted inside of a transaction that succeeded.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_reverted_call_proves_nothing() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        let mut net = Net::start_with(suite, true).await;
        let lane = net.open_lane().await;
        let (gateway, flow) = (lane.source_gateway, Flow { lane: lane.id(), direction: Direction::Outbox });
        let now = net.target().clock().await.unwrap();
        let send = |payload: &[u8]| GatewayCall::Send {
            gateway,
            lane: lane.id(),
            receiver: Address::from_20([0x52; 20]),
            deadline: UnixMillis(now.0 + 3_600_000),
            gas_limit: 50_000,
            payload: payload.to_vec(),
        };
        let swallower = net.call(GatewayCall::DeployCode { code: swallower() }).await.unwrap();
        let swallowed = [&gateway.0.0[..], &encode(&send(b"never sent")).unwrap().data].concat();
        net.call(GatewayCall::Raw { to: swallower, data: swallowed }).await;
        let kept = net.running().with(|chain| {
            let receipt = &chain.newest().transactions.last().unwrap().receipt;
            (receipt.status, receipt.logs.iter().map(|log| event::decode(&log.topics, &log.data)).collect::<Vec<_>>())
        });
        let (0, [Ok(GatewayEvent::MessageSent { message, .. })]) = (kept.0, &kept.1[..]) else { panic!("{kept:?}") };
        assert_eq!(message.payload, Payload::Bytes(b"never sent".to_vec()));

        // Nothing was sent: there is no head to prove, although the event speaks of one.
        let source = net.chain.source();
        assert_eq!(source.head_hint(gateway, flow).await.unwrap(), ChainPoint::start(flow));
        net.call(GatewayCall::Checkpoint { gateway, flow }).await;
        net.follow().await;
        let newest = net.headers.last().unwrap().height();
        let request = HeadProofRequest { gateway, flow, at_least: Index(1), oldest: Height(2), newest };
        let answer = source.head_proof(&request).await.unwrap();
        assert!(!matches!(answer, HeadProofAnswer::Proof { .. }), "{answer:?}");

        // The message that takes the same index is the one that is found and proved.
        net.call(send(b"really sent")).await;
        let entries = net.proved_entries(&lane, gateway, flow).await;
        let [Entry::Message(sent)] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(sent.payload, Payload::Bytes(b"really sent".to_vec()));
        net.devnet.stop().await;
    }
}

/// Init code of a contract that calls what it is told (a word with the address, then calldata) inside of a call to
/// itself that it reverts, and goes on as if nothing had been.
fn swallower() -> Vec<u8> {
    let runtime = hex::decode(concat!(
        "333014601957",                                       // if (caller == this) goto inner
        "36600060003760006000366000600030", // calldatacopy(0, 0, size); call(gas, this, 0, 0, size, 0, 0)
        "5af100",                           // stop, whatever came of it
        "5b602036038060206000376000600082600060006000355af1", // inner: call(gas, word 0, 0, the rest)
        "60006000fd",                       // revert
    ))
    .unwrap();
    let length = u8::try_from(runtime.len()).unwrap();
    [&[0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xf3][..], &runtime].concat()
}

/// On the classic executor a call to an address without code succeeds, with return data.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_nobody_is_failed_and_not_executed() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        let mut net = Net::start_with(suite, true).await;
        let lane = net.open_lane_that(Direction::Inbox).await;
        let gateway = lane.destination_gateway;
        let now = net.target().clock().await.unwrap();
        let message = Message {
            index: Index(1),
            sender: Address::from_20([1; 20]),
            receiver: Address::from_20([0x52; 20]),
            deadline: UnixMillis(now.0 + 3_600_000),
            gas_limit: 50_000,
            payload: Payload::Bytes(b"to nobody".to_vec()),
        };
        let outbox = Flow { lane: lane.id(), direction: Direction::Outbox };
        let point = ChainPoint::start(outbox).extended(Direction::Outbox, message.id(lane.id()).0);
        let verifying = GatewayAt { domain: net.domain, gateway };
        let digest = Statement { flow: outbox, point, epoch: Epoch(1), verifying }.digest();
        let (signature, recovery) = attester().sign_prehash_recoverable(&digest.0).unwrap();
        let signature = SignatureBytes::from_parts(&signature, recovery);
        let signatures = BTreeMap::from([(attester_id(attester().verifying_key()), signature)]);
        let evidence = Evidence { point, epoch: Epoch(1), signatures };
        let deliver =
            GatewayCall::Deliver { gateway, lane: lane.id(), messages: vec![message], tail: Vec::new(), evidence };
        let fit = net.target().fits(&deliver).await.unwrap();
        assert!(matches!(fit, Fit::Fits { .. }), "{fit:?}");
        net.call(deliver).await;
        let inbox = Flow { lane: lane.id(), direction: Direction::Inbox };
        let entries = net.proved_entries(&lane, gateway, inbox).await;
        let [Entry::Outcome(outcome)] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(outcome.status, Status::Failed);
        net.devnet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_nodes_state_their_block_at_the_height_of_a_header() {
    let mut net = Net::start(CryptoSuite::Standard).await;
    net.open_lane().await;
    net.follow().await;
    let tip = net.headers.last().unwrap().clone();
    let source = net.chain.source();
    let own = |hash| NodeStatement { node: "node-0".to_owned(), hash };
    assert_eq!(source.confirm_header(&tip).await, [own(Some(tip.hash()))], "only the own node is asked");

    let misbehave = |fault| {
        net.running().with(|chain| {
            chain.faults().clear();
            chain.faults().add(Some(0), fault);
        });
    };
    misbehave(Fault::Lag { blocks: 1 });
    assert_eq!(source.confirm_header(&tip).await, [own(None)], "it has no such block yet");
    misbehave(Fault::Fail { method: "getBlockByNumber".to_owned(), code: -32000, message: "busy".to_owned() });
    assert_eq!(source.confirm_header(&tip).await, [own(None)], "it can't say");
    misbehave(Fault::Equivocate { height: tip.height().0 });
    let says = source.confirm_header(&tip).await.remove(0).hash;
    assert!(says.is_some_and(|hash| hash != tip.hash()), "it holds another block: {says:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn set_changes_are_followed_in_both_suites() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        let mut net = Net::start(suite).await;
        let keys = net.running().with(|chain| chain.node_keys().to_vec());
        let (joining, leaving) = (*keys[4].public(), *keys[0].public());
        for change in [
            SealerChange::AddObserver(joining),
            SealerChange::AddSealer(joining, 2),
            SealerChange::SetWeight(joining, 1),
            SealerChange::Remove(leaving),
        ] {
            net.running().with(|chain| chain.change_sealers(change));
            net.running().produce_now();
        }
        // A change shows in the header after the block that made it.
        net.call(GatewayCall::DeployCode { code: vec![0x60, 0, 0x60, 0, 0xf3] }).await;
        let confirmed = net.follow().await;
        assert_eq!(confirmed.len(), 3, "{confirmed:?}");
        net.devnet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_goes_on_when_a_node_stops() {
    let mut net = Net::start(CryptoSuite::Standard).await;
    net.call(GatewayCall::DeployCode { code: vec![0x60, 0, 0x60, 0, 0xf3] }).await;
    net.running().stop_node(0).await.unwrap();
    net.follow().await;
    assert!(!net.headers.is_empty());
    net.call(GatewayCall::DeployCode { code: vec![0x60, 0, 0x60, 0, 0xf3] }).await;
    net.running().start_node(0).await.unwrap();
    net.follow().await;
    net.devnet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_the_devnet_is_read_back() {
    let net = Net::start(CryptoSuite::Standard).await;
    net.open_lane().await;
    let tip = net.chain.source().tip().await.unwrap();
    let recording = net.chain.recording();
    let written = recording.record(Height(1), tip).await.unwrap();
    let client = net.chain.client();
    let mut state = net.chain.anchor();
    let mut checks = 0;
    for step in recording.read(&written).unwrap() {
        let verdict = client.verify_update(net.domain, &state, &step.update, step.time);
        let VerifiedUpdate::Advanced { state: next, headers, .. } = verdict else { panic!("{verdict:?}") };
        state = next;
        checks += recording.verify_body(&headers[0], &step).unwrap();
    }
    assert_eq!(client.trusted_height(&state).unwrap(), tip);
    assert!(checks > 20, "{checks}");
    net.devnet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_the_gateway_refuses_is_told_before_it_is_sent() {
    let net = Net::start(CryptoSuite::Standard).await;
    let lane = net.open_lane().await;
    let evidence = Evidence {
        point: ChainPoint { index: Index(1), head: Hash32([1; 32]) },
        epoch: Epoch(1),
        signatures: BTreeMap::new(),
    };
    let message = Message {
        index: Index(1),
        sender: Address::from_20([1; 20]),
        receiver: Address::from_20([2; 20]),
        deadline: UnixMillis(1),
        gas_limit: 1,
        payload: Payload::Bytes(Vec::new()),
    };
    let outcome = Outcome {
        index: Index(1),
        message: message.id(lane.id()),
        status: Status::Expired,
        result_hash: keccak256(b""),
    };
    let call = GatewayCall::Settle {
        gateway: lane.source_gateway,
        lane: lane.id(),
        settlements: vec![(message, outcome)],
        tail_outcomes: Vec::new(),
        tail_ids: Vec::new(),
        evidence,
    };
    let fit = net.target().fits(&call).await.unwrap();
    assert!(matches!(fit, Fit::Reverts { .. }), "{fit:?}");
    net.devnet.stop().await;
}

/// An idle chain makes no block, whether its sealers are there or not: the nodes tell which.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_chain_that_lost_its_quorum_is_told_apart_from_one_that_is_well() {
    let net = Net::start(CryptoSuite::Standard).await;
    let source = net.chain.source();
    assert_eq!(source.ailment().await, Ok(None));
    assert_eq!(net.chain.inspect().nodes().await[0].answer.as_ref().unwrap().ailment, None);
    let sealers: Vec<_> =
        net.running().with(|chain| chain.consensus().sealers().iter().map(|sealer| sealer.id).collect());
    let stop = |count: usize| {
        net.running().with(|chain| sealers.iter().rev().take(count).for_each(|sealer| chain.stop_sealer(*sealer)));
    };
    stop(1);
    assert_eq!(source.ailment().await, Ok(None), "a quorum is left");
    stop(2);
    let ailment = source.ailment().await.unwrap().expect("no quorum is left");
    assert!(ailment.contains("node-0: it reaches sealers of weight 2 at most, a block needs 3"), "{ailment}");
    let reports = net.chain.inspect().nodes().await;
    assert!(reports.iter().all(|report| report.answer.as_ref().unwrap().ailment.is_some()), "{reports:?}");
    net.running().with(|chain| chain.resume_sealer(sealers[2]));
    assert_eq!(source.ailment().await, Ok(None), "it is back");
}
