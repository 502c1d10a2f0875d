//! A chain made here on which a gateway sent two messages and said its head, in the form of a recording.

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_fisco_bcos::codec::account::SecretKey;
use cityrelay_fisco_bcos::codec::json::{header_to_json, proof_to_json, receipt_to_json};
use cityrelay_fisco_bcos::codec::json_transaction::transaction_to_json;
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::receipt::{LogEntry, Receipt};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::TransactionData;
use cityrelay_fisco_bcos::verify::checkpoint::{CHECKPOINT_EVENT, checkpoint_input};
use cityrelay_gateway::event::message_sent_topic;
use serde_json::{Value, json};

use crate::chain::TestChain;

pub const GATEWAY: [u8; 20] = [0xab; 20];
pub const DOMAIN: Domain = Domain(Hash32([0xd0; 32]));

pub fn lane() -> LaneIdentity {
    LaneIdentity {
        source_domain: DOMAIN,
        destination_domain: Domain(Hash32([0xd1; 32])),
        source_gateway: Address::from_20(GATEWAY),
        destination_gateway: Address::from_20([2; 20]),
        source_verifier: Address::from_20([3; 20]),
        destination_verifier: Address::from_20([4; 20]),
        channel: "medical".to_owned(),
        salt: Hash32([5; 32]),
    }
}

pub fn flow() -> Flow {
    Flow { lane: lane().id(), direction: Direction::Outbox }
}

pub fn message(index: u64) -> Message {
    Message {
        index: Index(index),
        sender: Address::from_20([0x51; 20]),
        receiver: Address::from_20([0x52; 20]),
        deadline: UnixMillis(1_800_000_000_000),
        gas_limit: 100_000,
        payload: Payload::Bytes(vec![7; 33]),
    }
}

/// The point after `count` messages.
pub fn point(count: u64) -> ChainPoint {
    (1..=count).fold(ChainPoint::start(flow()), |point, index| {
        point.extended(Direction::Outbox, Entry::Message(message(index)).link(flow()))
    })
}

/// One transaction with its receipt.
pub struct Step {
    pub data: TransactionData,
    pub receipt: Receipt,
}

fn word(value: u64) -> [u8; 32] {
    Hash32::from_u64(value).0
}

pub fn send(nonce: u64, index: u64) -> Step {
    let message = message(index);
    let Payload::Bytes(payload) = &message.payload else { panic!() };
    let mut data =
        [message.sender.0.0, message.receiver.0.0, word(message.deadline.0), word(message.gas_limit)].concat();
    data.extend(word(192));
    data.extend(point(index).head.0);
    data.extend(word(payload.len() as u64));
    data.extend(payload);
    data.resize(data.len().next_multiple_of(32), 0);
    let topics = vec![message_sent_topic(), flow().lane.0, Hash32::from_u64(index)];
    step(nonce, vec![0x11, 0x22, 0x33, 0x44], LogEntry { address: hex::encode(GATEWAY), topics, data })
}

pub fn checkpoint(nonce: u64, count: u64) -> Step {
    let data = [word(0), word(count), point(count).head.0].concat();
    let topics = vec![keccak256(CHECKPOINT_EVENT.as_bytes()), flow().lane.0];
    step(nonce, checkpoint_input(flow()), LogEntry { address: hex::encode(GATEWAY), topics, data })
}

fn step(nonce: u64, input: Vec<u8>, log: LogEntry) -> Step {
    let data = TransactionData {
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        block_limit: 500,
        nonce: format!("{nonce:032x}"),
        to: format!("0x{}", hex::encode(GATEWAY)),
        input,
        ..TransactionData::default()
    };
    Step { data, receipt: Receipt { gas_used: "30000".to_owned(), logs: vec![log], ..Receipt::default() } }
}

/// The chain, its blocks, and the state that they start from.
pub struct GatewayChain {
    pub chain: TestChain,
    pub blocks: Vec<Value>,
}

impl GatewayChain {
    pub fn new(suite: CryptoSuite) -> Self {
        Self { chain: TestChain::new(suite, &[1, 1, 1, 1]), blocks: Vec::new() }
    }

    /// Two messages in blocks 2 and 4, the checkpoint of both in block 6, others without a gateway between.
    pub fn with_two_messages(suite: CryptoSuite) -> Self {
        let mut chain = Self::new(suite);
        chain.add(vec![send(1, 1)]);
        chain.add(Vec::new());
        chain.add(vec![send(2, 2)]);
        chain.add(Vec::new());
        chain.add(vec![other(3), checkpoint(4, 2), other(5)]);
        chain.add(Vec::new());
        chain
    }

    /// Appends a block of `steps`; an empty one gets a transaction that has nothing to do with the gateway.
    pub fn add(&mut self, mut steps: Vec<Step>) {
        if steps.is_empty() {
            steps.push(other(1000 + self.chain.height));
        }
        let suite = self.chain.suite;
        let number = self.chain.height + 1;
        for step in &mut steps {
            step.receipt.block_number = number;
        }
        let hashes: Vec<Hash32> = steps.iter().map(|step| step.data.hash(suite)).collect();
        let receipts: Vec<Hash32> = steps.iter().map(|step| step.receipt.hash(suite)).collect();
        let sealed = self.chain.seal(self.chain.header(&hashes, &receipts));
        self.chain.append(&sealed);
        let key = SecretKey::from_bytes(suite, &[0x77; 32]).unwrap();
        let transactions: Vec<Value> = (0..steps.len())
            .map(|index| {
                let signature = key.sign_transaction(&hashes[index]).unwrap();
                let mut shown = transaction_to_json(suite, &steps[index].data, &signature);
                shown["txProof"] = proof_to_json(&merkle::proof(suite, &hashes, index));
                let mut receipt = receipt_to_json(&steps[index].receipt, &receipts[index]);
                // The node finds a receipt by its hash and takes the first.
                let first = receipts.iter().position(|hash| *hash == receipts[index]).unwrap();
                receipt["txReceiptProof"] = proof_to_json(&merkle::proof(suite, &receipts, first));
                receipt["transactionHash"] = json!(hashes[index].to_string());
                json!({ "hash": hashes[index].to_string(), "getTransaction": shown, "getTransactionReceipt": receipt })
            })
            .collect();
        let mut block = header_to_json(&sealed);
        block["transactions"] = hashes.iter().map(Hash32::to_string).collect();
        self.blocks.push(json!({ "block": block, "transactions": transactions }));
    }

    /// What the configuration's anchor is made from: block 1, of which only hash and set are known.
    pub fn anchor(&self) -> Value {
        let set = self.chain.set();
        let ids: Vec<String> = set.sealers().iter().map(|sealer| hex::encode(sealer.id.0)).collect();
        let weights: Vec<u64> = set.sealers().iter().map(|sealer| sealer.weight).collect();
        json!({
            "number": 1,
            "hash": crate::chain::GENESIS.to_string(),
            "sealerList": ids,
            "consensusWeights": weights,
        })
    }
}

pub fn other(nonce: u64) -> Step {
    let mut step = step(nonce, vec![1], LogEntry::default());
    step.data.to = format!("0x{}", hex::encode([0xcd; 20]));
    step.receipt.logs.clear();
    step.receipt.gas_used = (20_000 + nonce).to_string();
    step
}
