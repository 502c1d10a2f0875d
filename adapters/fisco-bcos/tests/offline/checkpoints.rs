//! The strict checkpoint rule: the good proof passes, one broken field is refused by exactly its check.

use crate::Case;
use crate::chain::TestChain;
use crate::verdicts::{advanced, update};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::{AdapterValue, Header, LightClient, ProofStrength, Verdict};
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::receipt::{LogEntry, Receipt};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::TransactionData;
use cityrelay_fisco_bcos::verify::checkpoint::{CheckpointProof, ReceiptInclusion, checkpoint_input};
use cityrelay_fisco_bcos::verify::client::FiscoClient;

const GATEWAY: [u8; 20] = [0xab; 20];
const TOPIC: &str = "Checkpoint(bytes32,uint8,uint64,bytes32)";

fn flow() -> Flow {
    Flow { lane: LaneId(keccak256(b"lane")), direction: Direction::Inbox }
}

fn point() -> ChainPoint {
    ChainPoint { index: Index(42), head: keccak256(b"head") }
}

/// A block of `count` transactions with the checkpoint at `index`, both editable before anything is hashed.
struct Block {
    suite: CryptoSuite,
    index: usize,
    transactions: Vec<TransactionData>,
    receipts: Vec<Receipt>,
}

impl Block {
    fn new(suite: CryptoSuite, count: usize, index: usize) -> Self {
        let transactions = (0..count)
            .map(|n| TransactionData {
                chain_id: "chain0".to_owned(),
                group_id: "group0".to_owned(),
                block_limit: 500,
                nonce: format!("{n:032x}"),
                to: format!("0x{}", hex::encode(GATEWAY)),
                input: if n == index { checkpoint_input(flow()) } else { vec![1, 2, 3, 4] },
                ..TransactionData::default()
            })
            .collect();
        let log = LogEntry {
            address: hex::encode(GATEWAY),
            topics: vec![keccak256(TOPIC.as_bytes()), flow().lane.0],
            data: [Hash32::from_u64(1).0, Hash32::from_u64(point().index.0).0, point().head.0].concat(),
        };
        let receipts = (0..count)
            .map(|n| Receipt {
                gas_used: (21_000 + n).to_string(),
                block_number: 2,
                logs: if n == index { vec![log.clone()] } else { Vec::new() },
                ..Receipt::default()
            })
            .collect();
        Self { suite, index, transactions, receipts }
    }

    fn hashes(&self) -> (Vec<Hash32>, Vec<Hash32>) {
        let transactions = self.transactions.iter().map(|data| data.hash(self.suite)).collect();
        (transactions, self.receipts.iter().map(|receipt| receipt.hash(self.suite)).collect())
    }

    /// Seals the block and proves the checkpoint in it.
    fn prove(&self) -> (FiscoClient, Header, CheckpointProof) {
        let chain = TestChain::new(self.suite, &[1, 1, 1, 1]);
        let client = chain.client();
        let (transaction_hashes, receipts) = self.hashes();
        let sealed = chain.seal(chain.header(&transaction_hashes, &receipts));
        let Verdict::Advanced { headers, .. } = client.verify_update(&chain.state(), &update(sealed), UnixMillis(0))
        else {
            panic!("the block must verify")
        };
        let proof = CheckpointProof {
            transaction: self.transactions[self.index].clone(),
            transaction_hashes,
            receipt: self.receipts[self.index].clone(),
            inclusion: ReceiptInclusion::Path(merkle::proof(self.suite, &receipts, self.index)),
        };
        (client, headers[0].clone(), proof)
    }

    fn verdict(&self) -> Result<ChainPoint, &'static str> {
        let (client, header, proof) = self.prove();
        client.verify_head(&header, &proof, Address::from_20(GATEWAY), flow()).map_err(|refusal| refusal.check)
    }
}

#[test]
fn a_checkpoint_proves_its_head_at_every_position_in_both_suites() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        for count in [1, 2, 3, 7] {
            for index in 0..count {
                assert_eq!(Block::new(suite, count, index).verdict(), Ok(point()));
            }
        }
    }
}

#[test]
fn receipts_of_version_1_and_2_are_taken_with_and_without_a_price() {
    for version in [1, 2] {
        for price in ["", "0x0", "0x3", "0xab54a98ceb1f0ad2"] {
            let mut block = Block::new(CryptoSuite::Standard, 3, 1);
            block.receipts[1].version = version;
            block.receipts[1].effective_gas_price = price.to_owned();
            assert_eq!(block.verdict(), Ok(point()));
        }
    }
}

#[test]
fn each_broken_rule_of_the_transaction_is_refused_by_name_though_the_block_is_genuine() {
    let cases: [Case<TransactionData>; 15] = [
        ("transaction-version", |t| t.version = 1),
        ("transaction-chain", |t| t.chain_id = "chain1".to_owned()),
        ("transaction-group", |t| t.group_id = "group1".to_owned()),
        ("transaction-nonce", |t| t.nonce = "7".to_owned()),
        ("transaction-nonce", |t| t.nonce = "A".repeat(32)),
        ("transaction-nonce", |t| t.nonce = "a".repeat(33)),
        ("transaction-to", |t| t.to = hex::encode(GATEWAY)),
        ("transaction-to", |t| t.to = format!("0x{}", hex::encode_upper(GATEWAY))),
        ("transaction-to", |t| t.to = format!("0x{}", hex::encode([0xac; 20]))),
        ("transaction-to", |t| t.to.clear()),
        ("transaction-abi", |t| t.abi = "x".to_owned()),
        ("transaction-input", |t| t.input[67] = 0),
        ("transaction-input", |t| t.input[36] = 1),
        ("transaction-input", |t| t.input.push(0)),
        ("transaction-input", |t| t.input[0] ^= 1),
    ];
    for (expected, edit) in cases {
        let mut block = Block::new(CryptoSuite::Standard, 3, 1);
        edit(&mut block.transactions[1]);
        assert_eq!(block.verdict(), Err(expected));
    }
}

#[test]
fn each_broken_rule_of_the_receipt_is_refused_by_name_though_the_block_is_genuine() {
    let cases: [Case<Receipt>; 22] = [
        ("receipt-version", |r| r.version = 3),
        ("receipt-block", |r| r.block_number = 3),
        ("receipt-status", |r| r.status = 16),
        ("receipt-gas-used", |r| r.gas_used = "021001".to_owned()),
        ("receipt-gas-used", |r| r.gas_used = "1".repeat(21)),
        ("receipt-gas-price", |r| r.effective_gas_price = "0x1".to_owned()),
        ("receipt-gas-price", |r| (r.version, r.effective_gas_price) = (1, "0x".to_owned())),
        ("receipt-gas-price", |r| (r.version, r.effective_gas_price) = (1, "0x01".to_owned())),
        ("receipt-gas-price", |r| (r.version, r.effective_gas_price) = (1, "0xA".to_owned())),
        ("receipt-contract", |r| r.contract_address = hex::encode(GATEWAY)),
        ("receipt-output", |r| r.output = vec![0; 32]),
        ("receipt-log-count", |r| r.logs.clear()),
        ("receipt-log-count", |r| r.logs.push(LogEntry::default())),
        ("receipt-log-address", |r| r.logs[0].address = hex::encode([0xac; 20])),
        ("receipt-log-address", |r| r.logs[0].address = hex::encode_upper(GATEWAY)),
        ("receipt-log-topics", |r| r.logs[0].topics.truncate(1)),
        ("receipt-log-event", |r| r.logs[0].topics[0] = keccak256(b"MessageSent")),
        ("receipt-log-lane", |r| r.logs[0].topics[1] = Hash32::ZERO),
        ("receipt-log-data", |r| r.logs[0].data.truncate(95)),
        ("receipt-log-data", |r| r.logs[0].data.push(0)),
        ("receipt-log-data", |r| r.logs[0].data[32] = 1),
        ("receipt-log-direction", |r| r.logs[0].data[31] = 0),
    ];
    for (expected, edit) in cases {
        let mut block = Block::new(CryptoSuite::Standard, 3, 1);
        edit(&mut block.receipts[1]);
        assert_eq!(block.verdict(), Err(expected));
    }
}

#[test]
fn the_same_bytes_read_in_another_way_are_refused() {
    let (client, header, proof) = Block::new(CryptoSuite::Standard, 1, 0).prove();
    let gateway = Address::from_20(GATEWAY);
    let check = |proof: &CheckpointProof| client.verify_head(&header, proof, gateway, flow()).unwrap_err().check;
    let mut as_output = proof.clone();
    let log = as_output.receipt.logs.remove(0);
    as_output.receipt.output = [log.address.as_bytes(), &log.topics[0].0, &log.topics[1].0, &log.data].concat();
    assert_eq!(as_output.receipt.hash(client.suite), proof.receipt.hash(client.suite));
    assert_eq!(check(&as_output), "receipt-output");
    let mut as_topic = proof.clone();
    let data = core::mem::take(&mut as_topic.receipt.logs[0].data);
    as_topic.receipt.logs[0].topics.extend(data.chunks(32).map(|word| Hash32(word.try_into().unwrap())));
    assert_eq!(as_topic.receipt.hash(client.suite), proof.receipt.hash(client.suite));
    assert_eq!(check(&as_topic), "receipt-log-topics");
    let mut as_deployment = proof;
    let to = core::mem::take(&mut as_deployment.transaction.to);
    as_deployment.transaction.nonce.push_str(&to);
    assert_eq!(check(&as_deployment), "transaction-nonce");
}

#[test]
fn each_broken_place_in_the_block_is_refused_by_name() {
    let cases: [Case<CheckpointProof>; 9] = [
        ("transaction-position", |p| p.transaction_hashes[1] = Hash32::ZERO),
        ("transaction-position", |p| p.transaction_hashes[0] = p.transaction_hashes[1]),
        ("transactions-root", |p| p.transaction_hashes[0] = Hash32::ZERO),
        ("transactions-root", |p| p.transaction_hashes.swap(0, 1)),
        ("receipt-path", |p| p.inclusion = ReceiptInclusion::Path(Vec::new())),
        ("receipts-root", |p| p.inclusion = ReceiptInclusion::All(vec![p.receipt.hash(CryptoSuite::Standard); 3])),
        ("receipt-count", |p| p.inclusion = ReceiptInclusion::All(Vec::new())),
        ("receipt-position", |p| p.inclusion = ReceiptInclusion::All(vec![Hash32::ZERO; 3])),
        ("receipt-path", |p| p.receipt.gas_used.push('0')),
    ];
    for (expected, edit) in cases {
        let (client, header, mut proof) = Block::new(CryptoSuite::Standard, 3, 1).prove();
        edit(&mut proof);
        let refusal = client.verify_head(&header, &proof, Address::from_20(GATEWAY), flow()).unwrap_err();
        assert_eq!((refusal.check, refusal.height), (expected, Some(Height(2))));
    }
}

#[test]
fn equal_receipts_need_the_whole_list() {
    let mut block = Block::new(CryptoSuite::Standard, 3, 2);
    block.transactions[0].input = checkpoint_input(flow());
    block.receipts[0] = block.receipts[2].clone();
    let (client, header, mut proof) = block.prove();
    let (_, receipts) = block.hashes();
    proof.inclusion = ReceiptInclusion::Path(merkle::proof(block.suite, &receipts, 0));
    let gateway = Address::from_20(GATEWAY);
    assert_eq!(client.verify_head(&header, &proof, gateway, flow()).unwrap_err().check, "receipt-path");
    proof.inclusion = ReceiptInclusion::All(receipts);
    assert_eq!(client.verify_head(&header, &proof, gateway, flow()), Ok(point()));
}

#[test]
fn another_lane_direction_or_gateway_is_refused() {
    let (client, header, proof) = Block::new(CryptoSuite::Standard, 3, 1).prove();
    let check = |gateway, flow| client.verify_head(&header, &proof, gateway, flow).unwrap_err().check;
    let gateway = Address::from_20(GATEWAY);
    assert_eq!(check(gateway, Flow { lane: LaneId(Hash32::ZERO), ..flow() }), "transaction-input");
    assert_eq!(check(gateway, Flow { direction: Direction::Outbox, ..flow() }), "transaction-input");
    assert_eq!(check(Address::from_20([1; 20]), flow()), "transaction-to");
    assert_eq!(check(Address(keccak256(b"long")), flow()), "gateway-address");
    let mut other = header.clone();
    other.detail[1] ^= 1;
    assert_eq!(client.verify_head(&other, &proof, gateway, flow()).unwrap_err().check, "transactions-root");
}

#[test]
fn proofs_are_read_back_and_every_cut_is_refused() {
    let (_, _, proof) = Block::new(CryptoSuite::Standard, 3, 1).prove();
    let bytes = proof.encode();
    assert_eq!(CheckpointProof::decode(1, &bytes), Ok(proof));
    for length in 0..bytes.len() {
        assert_eq!(CheckpointProof::decode(1, &bytes[..length]).unwrap_err().check, "encoding", "{length}");
    }
    assert_eq!(CheckpointProof::decode(9, &bytes).unwrap_err().check, "encoding-version");
}

#[test]
fn heads_of_this_chain_need_a_local_confirmation() {
    let chain = TestChain::new(CryptoSuite::Standard, &[1]);
    assert_eq!(chain.client().strength(), ProofStrength::NeedsLocalConfirmation);
    let sealed = chain.seal(chain.header(&[], &[]));
    assert_eq!(advanced(&chain.client(), &chain.state(), &update(sealed)).height, Height(2));
}
