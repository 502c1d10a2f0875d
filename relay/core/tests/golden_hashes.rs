//! Every hash of the protocol against the vectors that the contracts' side wrote (`adapters/gateway/vectors`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::attestation::{Statement, rotation_digest};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::set_attestation::{SetAttestation, SetFact};
use cityrelay_core::tag;
use serde_json::Value;

const VECTORS: &str = include_str!("../../../adapters/gateway/vectors/hashes.json");

struct Inputs<'a>(&'a Value);

impl Inputs<'_> {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("no text {key} in {}", self.0))
    }

    fn word(&self, key: &str) -> Hash32 {
        Hash32::from_hex(self.text(key)).unwrap()
    }

    fn account(&self, key: &str) -> Address {
        self.text(key).parse().unwrap()
    }

    fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap()
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        hex::decode(self.text(key).trim_start_matches("0x")).unwrap()
    }

    fn lane(&self) -> LaneId {
        LaneId(self.word("lane"))
    }

    fn direction(&self) -> Direction {
        match self.text("direction") {
            "outbox" => Direction::Outbox,
            "inbox" => Direction::Inbox,
            other => panic!("no direction: {other}"),
        }
    }

    fn status(&self) -> Status {
        let all = [Status::Executed, Status::Failed, Status::Expired, Status::Skipped];
        all.into_iter().find(|status| status.as_str() == self.text("status")).unwrap()
    }

    fn members(&self) -> BTreeSet<AttesterId> {
        self.0["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap().parse().unwrap()).collect()
    }
}

fn start(inputs: &Inputs, direction: Direction) -> Hash32 {
    ChainPoint::start(Flow { lane: inputs.lane(), direction }).head
}

fn next(inputs: &Inputs, direction: Direction) -> Hash32 {
    ChainPoint { index: Index(0), head: inputs.word("head") }.extended(direction, inputs.word("link")).head
}

fn hash(tuple: &str, inputs: &Inputs) -> Hash32 {
    match tuple {
        "domain" => Domain::derive(inputs.text("name"), inputs.word("anchor_block_hash")).0,
        "lane" => {
            LaneIdentity {
                source_domain: Domain(inputs.word("source_domain")),
                destination_domain: Domain(inputs.word("destination_domain")),
                source_gateway: inputs.account("source_gateway"),
                destination_gateway: inputs.account("destination_gateway"),
                source_verifier: inputs.account("source_verifier"),
                destination_verifier: inputs.account("destination_verifier"),
                channel: inputs.text("channel").to_owned(),
                salt: inputs.word("salt"),
            }
            .id()
            .0
        }
        "message" => {
            let message = Message {
                index: Index(inputs.number("index")),
                sender: inputs.account("sender"),
                receiver: inputs.account("receiver"),
                deadline: UnixMillis(inputs.number("deadline_millis")),
                gas_limit: inputs.number("gas_limit"),
                payload: Payload::Bytes(inputs.bytes("payload")),
            };
            message.id(inputs.lane()).0
        }
        "outbox_start" => start(inputs, Direction::Outbox),
        "inbox_start" => start(inputs, Direction::Inbox),
        "outbox_next" => next(inputs, Direction::Outbox),
        "inbox_next" => next(inputs, Direction::Inbox),
        "outcome" => Outcome {
            index: Index(inputs.number("index")),
            message: MessageId(inputs.word("id")),
            status: inputs.status(),
            result_hash: keccak256(&inputs.bytes("result")),
        }
        .hash(inputs.lane()),
        "attest" => Statement {
            flow: Flow { lane: inputs.lane(), direction: inputs.direction() },
            point: ChainPoint { index: Index(inputs.number("index")), head: inputs.word("head") },
            epoch: Epoch(inputs.number("epoch")),
            verifying: GatewayAt {
                domain: Domain(inputs.word("verifying_domain")),
                gateway: inputs.account("verifying_gateway"),
            },
        }
        .digest(),
        "rotate" => rotation_digest(
            inputs.account("verifier"),
            Domain(inputs.word("domain")),
            Epoch(inputs.number("new_epoch")),
            &inputs.members(),
            u32::try_from(inputs.number("threshold")).unwrap(),
        ),
        other => panic!("no such tuple: {other}"),
    }
}

#[test]
fn every_hash_is_the_one_that_the_contracts_compute() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let mut seen = BTreeSet::new();
    for case in vectors["cases"].as_array().unwrap() {
        let tuple = case["tuple"].as_str().unwrap();
        let expected = Hash32::from_hex(case["hash"].as_str().unwrap()).unwrap();
        assert_eq!(hash(tuple, &Inputs(&case["inputs"])), expected, "{tuple} of {}", case["inputs"]);
        seen.insert(tuple);
    }
    let all = ["attest", "domain", "inbox_next", "inbox_start", "lane", "message", "outbox_next", "outbox_start"];
    assert_eq!(seen, all.into_iter().chain(["outcome", "rotate"]).collect());
}

#[test]
fn every_tag_is_the_one_that_the_contracts_use() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let ours: BTreeMap<&str, Hash32> = BTreeMap::from([
        ("attest", tag::attest()),
        ("domain", tag::domain()),
        ("inbox", tag::inbox()),
        ("lane", tag::lane()),
        ("message", tag::message()),
        ("outbox", tag::outbox()),
        ("outcome", tag::outcome()),
        ("rotate", tag::rotate()),
    ]);
    for (name, expected) in vectors["tags"].as_object().unwrap() {
        // What a receiver answers; the relay never hashes it.
        if name != "received" {
            let expected = Hash32::from_hex(expected.as_str().unwrap()).unwrap();
            assert_eq!(ours.get(name.as_str()), Some(&expected), "{name}");
        }
    }
    assert_eq!(vectors["tags"].as_object().unwrap().len(), ours.len() + 1);
}

#[test]
fn what_is_signed_about_a_validator_set_is_as_written() {
    // Computed apart from this code, with another keccak256: the tag, then the words in the order of the definition.
    let tag = "0x65425ea194ca940d286d5a62f8b0787df6bdb11c0950dfd4aca59115517e1687";
    assert_eq!(tag::set(), Hash32::from_hex(tag).unwrap());
    let statement = SetStatement { height: Height(0x0102_0304_0506_0708), digest: Hash32([0xe1; 32]) };
    let attestation = SetAttestation {
        fact: SetFact { domain: Domain(Hash32([0xd1; 32])), parent: Hash32([0xe2; 32]), statement },
        epoch: Epoch(3),
        verifier: Address::from_20([0xe3; 20]),
        verifier_domain: Domain(Hash32([0xd2; 32])),
    };
    let digest = "0xe85c5513dd99dad0681072eb361bccae1e3f75d00c763bb311f34fdd81fd4252";
    assert_eq!(attestation.digest(), Hash32::from_hex(digest).unwrap());
}
