//! The contracts on a development chain of another implementation, through its JSON-RPC.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cityrelay_core::attestation::Statement;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::{Evidence, GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, Epoch, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::message::Message;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_gateway::query::{self, LaneStage};
use cityrelay_gateway::{EncodedCall, GatewayEvent, Refusal, encode, event, examples, storage};
use serde_json::{Value, json};

use crate::artifacts::node_modules;
use crate::world::{Terms, account, attester_key, members, signed};

/// A running anvil, ended when dropped.
struct Anvil {
    _process: EndedOnDrop,
    url: String,
    client: reqwest::Client,
    accounts: Vec<Address>,
}

struct Receipt {
    events: Vec<GatewayEvent>,
    created: Option<Address>,
}

impl Anvil {
    async fn start() -> Self {
        let binary = node_modules("@foundry-rs/anvil-linux-amd64/bin/anvil");
        let mut process =
            Command::new(binary).args(["--port", "0", "--hardfork", "london"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let process = EndedOnDrop(process);
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil ends before it listens");
        // Keeps reading, so that a full pipe never stops it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        // The client wants a provider even for plain HTTP; a second one is refused, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::new();
        let url = format!("http://{address}");
        let mut anvil = Self { _process: process, url, client, accounts: Vec::new() };
        let accounts = anvil.rpc("eth_accounts", json!([])).await.unwrap();
        anvil.accounts = accounts.as_array().unwrap().iter().map(|it| it.as_str().unwrap().parse().unwrap()).collect();
        anvil
    }

    async fn rpc(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.client.post(&self.url).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        if answer["error"].is_null() { Ok(answer["result"].take()) } else { Err(answer["error"].take()) }
    }

    fn transaction(from: Address, call: &EncodedCall) -> Value {
        let mut transaction = json!({
            "from": from.to_string(),
            "data": format!("0x{}", hex::encode(&call.data)),
            "gas": "0xe4e1c0",
        });
        if let Some(to) = call.to {
            transaction["to"] = Value::from(Address::from_20(to).to_string());
        }
        transaction
    }

    async fn submit_encoded(&self, from: Address, call: &EncodedCall) -> Receipt {
        let hash = self.rpc("eth_sendTransaction", json!([Self::transaction(from, call)])).await.unwrap();
        let mut receipt = Value::Null;
        for _ in 0..500 {
            receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
            if !receipt.is_null() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let logs = receipt["logs"].as_array().unwrap();
        let bytes = |value: &Value| hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap();
        let events = logs.iter().filter_map(|log| {
            let topics: Vec<Hash32> =
                log["topics"].as_array().unwrap().iter().map(|it| Hash32(bytes(it).try_into().unwrap())).collect();
            event::decode(&topics, &bytes(&log["data"])).ok()
        });
        let created = receipt["contractAddress"].as_str().map(|address| address.parse().unwrap());
        Receipt { events: events.collect(), created }
    }

    async fn submit(&self, from: Address, call: &GatewayCall) -> Receipt {
        self.submit_encoded(from, &encode(call).unwrap()).await
    }

    async fn refused(&self, from: Address, call: &GatewayCall) -> String {
        let transaction = Self::transaction(from, &encode(call).unwrap());
        let error = self.rpc("eth_call", json!([transaction, "latest"])).await.expect_err("not refused");
        let data = hex::decode(error["data"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        Refusal::decode(&data).unwrap().name
    }

    async fn view(&self, to: Address, data: Vec<u8>) -> Vec<u8> {
        let call = json!({ "to": to.to_string(), "data": format!("0x{}", hex::encode(data)) });
        let answer = self.rpc("eth_call", json!([call, "latest"])).await.unwrap();
        hex::decode(answer.as_str().unwrap().trim_start_matches("0x")).unwrap()
    }

    async fn storage(&self, contract: Address, slot: Hash32) -> Hash32 {
        let params = json!([contract.to_string(), slot.to_string(), "latest"]);
        self.rpc("eth_getStorageAt", params).await.unwrap().as_str().unwrap().parse_word()
    }

    async fn now(&self) -> UnixMillis {
        let block = self.rpc("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
        let seconds = u64::from_str_radix(block["timestamp"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        UnixMillis(seconds * 1000)
    }

    async fn pass(&self, time: Duration) {
        self.rpc("evm_increaseTime", json!([time.as_secs()])).await.unwrap();
        self.rpc("evm_mine", json!([])).await.unwrap();
    }
}

trait ParseWord {
    fn parse_word(&self) -> Hash32;
}

impl ParseWord for str {
    fn parse_word(&self) -> Hash32 {
        Hash32::from_hex(self).unwrap()
    }
}

/// A process that does not outlive its test.
struct EndedOnDrop(Child);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// One chain with its contracts.
struct City {
    anvil: Anvil,
    domain: Domain,
    gateway: Address,
    committee: Address,
}

impl City {
    async fn start(name: &str) -> Self {
        let anvil = Anvil::start().await;
        let genesis = anvil.rpc("eth_getBlockByNumber", json!(["0x0", false])).await.unwrap();
        let domain = Domain::derive(name, genesis["hash"].as_str().unwrap().parse_word());
        let owner = anvil.accounts[0];
        let keys: Vec<_> = (1..=4).map(attester_key).collect();
        let committee = GatewayCall::DeployCommittee { domain, members: members(&keys), threshold: 3 };
        let committee = anvil.submit(owner, &committee).await.created.unwrap();
        let gateway = GatewayCall::DeployGateway {
            domain,
            owner,
            announce_delay: Duration::ZERO,
            close_delay: Duration::from_secs(60),
            clock_is_millis: false,
        };
        let gateway = anvil.submit(owner, &gateway).await.created.unwrap();
        Self { anvil, domain, gateway, committee }
    }

    fn owner(&self) -> Address {
        self.anvil.accounts[0]
    }

    fn relay(&self) -> Address {
        self.anvil.accounts[1]
    }

    async fn open(&self, lane: &LaneIdentity, limits: &LaneLimits) {
        let announce = GatewayCall::AnnounceLane { gateway: self.gateway, lane: lane.clone(), limits: limits.clone() };
        self.anvil.submit(self.owner(), &announce).await;
        let open = GatewayCall::OpenLane { gateway: self.gateway, lane: lane.id() };
        self.anvil.submit(self.owner(), &open).await;
    }

    fn attest(&self, flow: Flow, point: ChainPoint) -> Evidence {
        let verifying = GatewayAt { domain: self.domain, gateway: self.gateway };
        let keys: Vec<_> = (1..=3).map(attester_key).collect();
        signed(&Statement { flow, point, epoch: Epoch(1), verifying }, keys.iter())
    }

    /// What storage proofs would prove, after the checkpoint said the same.
    async fn head(&self, flow: Flow) -> ChainPoint {
        let receipt = self.anvil.submit(self.relay(), &GatewayCall::Checkpoint { gateway: self.gateway, flow }).await;
        let head = self.anvil.storage(self.gateway, storage::head_slot(flow.lane)).await;
        let index = self.anvil.storage(self.gateway, storage::index_slot(flow.lane)).await.to_u64().unwrap();
        let point = ChainPoint { index: Index(index), head };
        assert_eq!(receipt.events, [GatewayEvent::Checkpoint { flow, point }]);
        point
    }
}

fn sent(receipt: &Receipt) -> Message {
    let [GatewayEvent::MessageSent { message, .. }] = &receipt.events[..] else { panic!() };
    message.clone()
}

fn outcomes(receipt: &Receipt) -> Vec<Outcome> {
    let events = receipt.events.iter().filter_map(|event| match event {
        GatewayEvent::MessageDelivered { outcome, .. } => Some(*outcome),
        _ => None,
    });
    events.collect()
}

/// Three messages of the example sender to the example receiver, one of which expires; all settled, one refunded.
#[tokio::test]
async fn messages_travel_between_two_development_chains() {
    let (source, destination) = (City::start("source").await, City::start("destination").await);
    let lane = LaneIdentity {
        source_domain: source.domain,
        destination_domain: destination.domain,
        source_gateway: source.gateway,
        destination_gateway: destination.gateway,
        source_verifier: source.committee,
        destination_verifier: destination.committee,
        channel: "trade".to_owned(),
        salt: keccak256(b"salt"),
    };
    let id = lane.id();
    let limits = Terms::default().limits;
    source.open(&lane, &limits).await;
    destination.open(&lane, &limits).await;

    let board = examples::deploy_notice_board(destination.gateway).unwrap();
    let board = destination.anvil.submit_encoded(destination.owner(), &board).await.created.unwrap();
    let trust = GatewayCall::Raw { to: board, data: examples::trust_lane(id, true) };
    destination.anvil.submit(destination.owner(), &trust).await;
    let shop = examples::deploy_prepaid_orders(source.gateway).unwrap();
    let shop = source.anvil.submit_encoded(source.owner(), &shop).await.created.unwrap();
    let issue = GatewayCall::Raw { to: shop, data: examples::issue_credit(source.owner(), 100).unwrap() };
    source.anvil.submit(source.owner(), &issue).await;

    let mut messages = Vec::new();
    for lifetime in [600, 600, 30] {
        let order = examples::Order {
            lane: id,
            receiver: board,
            deadline: UnixMillis(source.anvil.now().await.0 + lifetime * 1000),
            gas_limit: 300_000,
            payload: b"twelve crates".to_vec(),
            price: 10,
        };
        let call = GatewayCall::Raw { to: shop, data: examples::place_order(&order) };
        messages.push(sent(&source.anvil.submit(source.owner(), &call).await));
    }
    destination.anvil.pass(Duration::from_secs(60)).await;

    let outbox = Flow { lane: id, direction: Direction::Outbox };
    let evidence = destination.attest(outbox, source.head(outbox).await);
    let delivery = GatewayCall::Deliver {
        gateway: destination.gateway,
        lane: id,
        messages: messages.clone(),
        tail: vec![],
        evidence,
    };
    check_refusals(&destination, &delivery).await;
    let delivered = outcomes(&destination.anvil.submit(destination.relay(), &delivery).await);
    let ended: Vec<_> = delivered.iter().map(|outcome| outcome.status).collect();
    assert_eq!(ended, [Status::Executed, Status::Executed, Status::Expired]);
    let again = destination.anvil.submit(destination.relay(), &delivery).await;
    assert!(again.events.is_empty());

    let inbox = Flow { lane: id, direction: Direction::Inbox };
    let evidence = source.attest(inbox, destination.head(inbox).await);
    let settlement = GatewayCall::Settle {
        gateway: source.gateway,
        lane: id,
        settlements: messages.into_iter().zip(delivered).collect(),
        tail_outcomes: vec![],
        tail_ids: vec![],
        evidence,
    };
    source.anvil.submit(source.relay(), &settlement).await;

    let credit = source.anvil.view(shop, examples::credit(source.owner()).unwrap()).await;
    assert_eq!(examples::decode_amount(&credit).unwrap(), 80);
    let count = destination.anvil.view(board, examples::notice_count()).await;
    assert_eq!(examples::decode_amount(&count).unwrap(), 2);
    let status = source.anvil.view(source.gateway, query::lane_status(id)).await;
    let status = query::decode_lane_status(&status).unwrap().unwrap();
    assert_eq!((status.stage, status.peer.index), (LaneStage::Open, Index(3)));
    close(&source, id).await;
}

/// Reverts carry their reason through the RPC.
async fn check_refusals(city: &City, delivery: &GatewayCall) {
    let GatewayCall::Deliver { gateway, lane, messages, tail, evidence } = delivery.clone() else { panic!() };
    let mut forged = messages.clone();
    forged[0].gas_limit += 1;
    let forged =
        GatewayCall::Deliver { gateway, lane, messages: forged, tail: tail.clone(), evidence: evidence.clone() };
    assert_eq!(city.anvil.refused(city.relay(), &forged).await, "HeadMismatch");
    let mut unsigned = evidence;
    unsigned.signatures.pop_first();
    let unsigned = GatewayCall::Deliver { gateway, lane, messages, tail, evidence: unsigned };
    assert_eq!(city.anvil.refused(city.relay(), &unsigned).await, "TooFewSignatures");
    let other = LaneId(keccak256(b"other"));
    let open = GatewayCall::OpenLane { gateway, lane: other };
    assert_eq!(city.anvil.refused(account(9), &open).await, "OnlyOwner");
}

async fn close(city: &City, lane: LaneId) {
    let gateway = city.gateway;
    city.anvil.submit(city.owner(), &GatewayCall::AnnounceClose { gateway, lane }).await;
    let close = GatewayCall::Close { gateway, lane };
    assert_eq!(city.anvil.refused(city.owner(), &close).await, "TooEarly");
    city.anvil.pass(Duration::from_secs(60)).await;
    let receipt = city.anvil.submit(city.owner(), &close).await;
    assert_eq!(receipt.events, [GatewayEvent::LaneClosed { lane, index: Index(3), peer_index: Index(3) }]);
}
