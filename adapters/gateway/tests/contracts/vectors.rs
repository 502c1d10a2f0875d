//! Golden vectors for every hashed tuple: Solidity, core and `vectors/hashes.json` agree.

use alloy_sol_types::{SolCall, sol};
use cityrelay_core::attestation::{Statement, rotation_digest};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::tag;
use serde_json::{Value, json};

use crate::abi;
use crate::artifacts::folder;
use crate::chain::{Chain, Kind, SM3, USUAL};
use crate::probes::init_code;
use crate::world::owner;
use cityrelay_gateway::EncodedCall;

sol! {
    interface TupleProbe {
        function domainOf(bytes32 nameHash, bytes32 anchorBlockHash) external view returns (bytes32);
        function messageId(bytes32 lane, uint64 index, bytes32 sender, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes32 payloadHash) external view returns (bytes32);
        function outboxStart(bytes32 lane) external view returns (bytes32);
        function outboxNext(bytes32 head, bytes32 id) external view returns (bytes32);
        function outcome(bytes32 lane, uint64 index, bytes32 id, uint8 status, bytes32 resultHash) external view returns (bytes32);
        function inboxStart(bytes32 lane) external view returns (bytes32);
        function inboxNext(bytes32 head, bytes32 outcomeHash) external view returns (bytes32);
        function attestDigest(bytes32 lane, uint8 direction, uint64 index, bytes32 head, uint64 epoch, address verifyingGateway, bytes32 verifyingDomain) external view returns (bytes32);
        function setHash(address[] calldata members) external view returns (bytes32);
        function rotateDigest(address verifier, bytes32 verifyingDomain, uint64 newEpoch, bytes32 membersHash, uint32 threshold) external view returns (bytes32);
        function hashOf(bytes calldata data) external view returns (bytes32);
        function tags() external pure returns (bytes32[9] memory);
    }
}

/// Whoever knows how to hash: the contracts' own code, deployed alone.
struct Solidity {
    chain: Chain,
    probe: Address,
}

impl Solidity {
    fn new(kind: Kind, probe: &str) -> Self {
        let mut chain = Chain::new(kind);
        let deploy = EncodedCall { to: None, data: init_code(probe) };
        let probe = chain.transact(owner(), &deploy).ok().created.unwrap();
        Self { chain, probe }
    }

    fn hash(&mut self, call: Vec<u8>) -> Hash32 {
        Hash32(self.chain.view(self.probe, call).try_into().unwrap())
    }

    fn hash_of(&mut self, bytes: &[u8]) -> Hash32 {
        self.hash(TupleProbe::hashOfCall { data: bytes.to_vec().into() }.abi_encode())
    }
}

fn numbered(seed: &str) -> Hash32 {
    keccak256(seed.as_bytes())
}

fn address(seed: u8) -> Address {
    Address::from_20([seed; 20])
}

fn case(tuple: &str, inputs: Value, solidity: Hash32, core: Hash32) -> Value {
    assert_eq!(solidity, core, "{tuple}: Solidity and core differ for {inputs}");
    json!({ "tuple": tuple, "inputs": inputs, "hash": core.to_string() })
}

#[test]
fn solidity_core_and_the_golden_vectors_agree() {
    agree(Solidity::new(USUAL, "TupleProbe"));
}

#[test]
fn the_crypto_contract_gives_the_same_golden_vectors() {
    agree(Solidity::new(SM3, "PrecompileTupleProbe"));
}

fn agree(mut solidity: Solidity) {
    let mut cases = Vec::new();
    for number in 0..2 {
        cases.push(domain(&mut solidity, number));
        cases.push(lane(&mut solidity, number));
        cases.push(message(&mut solidity, number));
        cases.extend(chain(&mut solidity, number));
        cases.push(outcome(&mut solidity, number));
        cases.push(attest(&mut solidity, number));
        cases.push(rotate(&mut solidity, number));
    }
    let written = json!({
        "about": "keccak256 over abi.encode of 32-byte words, a tag first. Numbers are decimal strings.",
        "tags": tags(&mut solidity),
        "cases": cases,
    });
    let path = folder().join("vectors/hashes.json");
    if std::env::var_os("CITYRELAY_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&written).unwrap())).unwrap();
    }
    let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(golden, written, "run with CITYRELAY_WRITE_VECTORS=1 to write them");
}

fn tags(solidity: &mut Solidity) -> Value {
    let answer = solidity.chain.view(solidity.probe, TupleProbe::tagsCall {}.abi_encode());
    let words = TupleProbe::tagsCall::abi_decode_returns_validate(&answer).unwrap();
    let names = ["domain", "lane", "message", "outbox", "outcome", "inbox", "attest", "rotate", "received"];
    for (name, word) in names.iter().zip(&words) {
        assert_eq!(keccak256(format!("cityrelay.v1.{name}").as_bytes()).0, word.0, "{name}");
    }
    let core = [
        tag::domain(),
        tag::lane(),
        tag::message(),
        tag::outbox(),
        tag::outcome(),
        tag::inbox(),
        tag::attest(),
        tag::rotate(),
    ];
    assert!(core.iter().zip(&words).all(|(core, word)| core.0 == word.0));
    names.iter().zip(&words).map(|(name, word)| ((*name).to_owned(), Value::from(Hash32(word.0).to_string()))).collect()
}

fn domain(solidity: &mut Solidity, number: u8) -> Value {
    let (name, anchor) = [("river city", numbered("anchor")), ("", Hash32::ZERO)][usize::from(number)];
    let name_hash = solidity.hash_of(name.as_bytes());
    let call = TupleProbe::domainOfCall { nameHash: name_hash.0.into(), anchorBlockHash: anchor.0.into() };
    let hash = solidity.hash(call.abi_encode());
    let inputs = json!({ "name": name, "anchor_block_hash": anchor.to_string() });
    case("domain", inputs, hash, Domain::derive(name, anchor).0)
}

fn lane(solidity: &mut Solidity, number: u8) -> Value {
    let channel = ["medical", "a channel whose name is longer than thirty-two bytes"][usize::from(number)];
    let identity = LaneIdentity {
        source_domain: Domain(numbered("source domain")),
        destination_domain: Domain(numbered("destination domain")),
        source_gateway: address(1 + number),
        destination_gateway: address(3 + number),
        source_verifier: address(5 + number),
        destination_verifier: address(7 + number),
        channel: channel.to_owned(),
        salt: numbered("salt"),
    };
    let tuple = abi::LaneIdentity {
        sourceDomain: identity.source_domain.0.0.into(),
        destinationDomain: identity.destination_domain.0.0.into(),
        sourceGateway: identity.source_gateway.0.0.into(),
        destinationGateway: identity.destination_gateway.0.0.into(),
        sourceVerifier: identity.source_verifier.0.0.into(),
        destinationVerifier: identity.destination_verifier.0.0.into(),
        channelHash: solidity.hash_of(channel.as_bytes()).0.into(),
        salt: identity.salt.0.into(),
    };
    // laneId((bytes32 × 8)): the struct is static, so it is its words.
    let selector = keccak256(format!("laneId(({}))", ["bytes32"; 8].join(",")).as_bytes());
    let call = [&selector.0[..4], &alloy_sol_types::SolValue::abi_encode(&tuple)].concat();
    let hash = solidity.hash(call);
    let inputs = json!({
        "source_domain": identity.source_domain.to_string(),
        "destination_domain": identity.destination_domain.to_string(),
        "source_gateway": identity.source_gateway.to_string(),
        "destination_gateway": identity.destination_gateway.to_string(),
        "source_verifier": identity.source_verifier.to_string(),
        "destination_verifier": identity.destination_verifier.to_string(),
        "channel": channel,
        "salt": identity.salt.to_string(),
    });
    case("lane", inputs, hash, identity.id().0)
}

fn message(solidity: &mut Solidity, number: u8) -> Value {
    let lane = LaneId(numbered("lane"));
    let largest = [1_800_000_000_000, u64::MAX][usize::from(number)];
    let payload = [&b"discharge letter"[..], &[]][usize::from(number)];
    let message = Message {
        index: Index([1, u64::MAX][usize::from(number)]),
        sender: address(0x11),
        receiver: Address(numbered("an account of 32 bytes")),
        deadline: UnixMillis(largest),
        gas_limit: [300_000, u64::MAX][usize::from(number)],
        payload: Payload::Bytes(payload.to_vec()),
    };
    let call = TupleProbe::messageIdCall {
        lane: lane.0.0.into(),
        index: message.index.0,
        sender: message.sender.0.0.into(),
        receiver: message.receiver.0.0.into(),
        deadlineMillis: message.deadline.0,
        gasLimit: message.gas_limit,
        payloadHash: solidity.hash_of(payload).0.into(),
    };
    let hash = solidity.hash(call.abi_encode());
    let inputs = json!({
        "lane": lane.to_string(),
        "index": message.index.to_string(),
        "sender": message.sender.to_string(),
        "receiver": message.receiver.to_string(),
        "deadline_millis": message.deadline.to_string(),
        "gas_limit": message.gas_limit.to_string(),
        "payload": format!("0x{}", hex::encode(payload)),
    });
    case("message", inputs, hash, message.id(lane).0)
}

/// Start and first link of both chains of a lane.
fn chain(solidity: &mut Solidity, number: u8) -> Vec<Value> {
    let lane = LaneId(numbered(["lane", "another lane"][usize::from(number)]));
    let link = numbered("link");
    let mut cases = Vec::new();
    for direction in [Direction::Outbox, Direction::Inbox] {
        let start = ChainPoint::start(Flow { lane, direction });
        let next = start.extended(direction, link);
        let (lane_word, head, id) = (lane.0.0.into(), start.head.0.into(), link.0.into());
        let (start_call, next_call) = match direction {
            Direction::Outbox => (
                TupleProbe::outboxStartCall { lane: lane_word }.abi_encode(),
                TupleProbe::outboxNextCall { head, id }.abi_encode(),
            ),
            Direction::Inbox => (
                TupleProbe::inboxStartCall { lane: lane_word }.abi_encode(),
                TupleProbe::inboxNextCall { head, outcomeHash: id }.abi_encode(),
            ),
        };
        let name = direction.as_str();
        let (started, continued) = (solidity.hash(start_call), solidity.hash(next_call));
        cases.push(case(&format!("{name}_start"), json!({ "lane": lane.to_string() }), started, start.head));
        let inputs = json!({ "head": start.head.to_string(), "link": link.to_string() });
        cases.push(case(&format!("{name}_next"), inputs, continued, next.head));
    }
    cases
}

fn outcome(solidity: &mut Solidity, number: u8) -> Value {
    let lane = LaneId(numbered("lane"));
    let status = [Status::Executed, Status::Skipped][usize::from(number)];
    let result = [keccak256(b"cityrelay.v1.received").0.to_vec(), vec![]][usize::from(number)].clone();
    let outcome =
        Outcome { index: Index(1), message: MessageId(numbered("id")), status, result_hash: keccak256(&result) };
    let call = TupleProbe::outcomeCall {
        lane: lane.0.0.into(),
        index: 1,
        id: outcome.message.0.0.into(),
        status: status.code(),
        resultHash: solidity.hash_of(&result).0.into(),
    };
    let hash = solidity.hash(call.abi_encode());
    let inputs = json!({
        "lane": lane.to_string(),
        "index": "1",
        "id": outcome.message.to_string(),
        "status": status.as_str(),
        "result": format!("0x{}", hex::encode(&result)),
    });
    case("outcome", inputs, hash, outcome.hash(lane))
}

fn attest(solidity: &mut Solidity, number: u8) -> Value {
    let direction = [Direction::Outbox, Direction::Inbox][usize::from(number)];
    let statement = Statement {
        flow: Flow { lane: LaneId(numbered("lane")), direction },
        point: ChainPoint { index: Index(64), head: numbered("head") },
        epoch: Epoch(3),
        verifying: GatewayAt { domain: Domain(numbered("verifying domain")), gateway: address(0x22) },
    };
    let call = TupleProbe::attestDigestCall {
        lane: statement.flow.lane.0.0.into(),
        direction: direction.code(),
        index: statement.point.index.0,
        head: statement.point.head.0.into(),
        epoch: statement.epoch.0,
        verifyingGateway: statement.verifying.gateway.to_20().unwrap().into(),
        verifyingDomain: statement.verifying.domain.0.0.into(),
    };
    let hash = solidity.hash(call.abi_encode());
    let inputs = json!({
        "lane": statement.flow.lane.to_string(),
        "direction": direction.as_str(),
        "index": statement.point.index.to_string(),
        "head": statement.point.head.to_string(),
        "epoch": statement.epoch.to_string(),
        "verifying_gateway": statement.verifying.gateway.to_string(),
        "verifying_domain": statement.verifying.domain.to_string(),
    });
    case("attest", inputs, hash, statement.digest())
}

fn rotate(solidity: &mut Solidity, number: u8) -> Value {
    let count = [3_u8, 1][usize::from(number)];
    let (threshold, epoch) = ([2, 1][usize::from(number)], Epoch(2));
    let members: Vec<AttesterId> = (1..=count).map(|member| AttesterId([member; 20])).collect();
    let (verifier, domain) = (address(0x33), Domain(numbered("verifying domain")));
    let set = TupleProbe::setHashCall { members: members.iter().map(|member| member.0.into()).collect() };
    let set = solidity.hash(set.abi_encode());
    let call = TupleProbe::rotateDigestCall {
        verifier: verifier.to_20().unwrap().into(),
        verifyingDomain: domain.0.0.into(),
        newEpoch: epoch.0,
        membersHash: set.0.into(),
        threshold,
    };
    let hash = solidity.hash(call.abi_encode());
    let inputs = json!({
        "verifier": verifier.to_string(),
        "domain": domain.to_string(),
        "new_epoch": epoch.to_string(),
        "members": members.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "threshold": threshold.to_string(),
    });
    let core = rotation_digest(verifier, domain, epoch, &members.iter().copied().collect(), threshold);
    case("rotate", inputs, hash, core)
}
