use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::{AdapterValue, Header, Refusal};

use super::kit::{bytes, vector, word};
use crate::codec::account::Account;
use crate::codec::json;
use crate::codec::ordered_trie::root_and_path;
use crate::codec::receipt::{Log, Receipt};
use crate::codec::trie_proof::EMPTY_ROOT;
use crate::verify::head::{CHECKPOINT_EVENT, Detail, HeadProof, mapping_slot, verify_head};

const GATEWAY: Account = Account([0xaa; 20]);

fn header(state_root: Hash32, receipts_root: Hash32) -> Header {
    let detail = Detail { state_root, receipts_root, transactions_root: EMPTY_ROOT, set_digest: Hash32::ZERO };
    Header {
        height: Height(9),
        hash: Hash32([1; 32]),
        parent: Hash32([2; 32]),
        timestamp: UnixMillis(1),
        detail: detail.encode(),
    }
}

fn flow() -> Flow {
    Flow { lane: LaneId(keccak256(b"lane")), direction: Direction::Outbox }
}

fn checkpoint() -> Log {
    let head = keccak256(b"head");
    Log {
        address: GATEWAY,
        topics: vec![keccak256(CHECKPOINT_EVENT.as_bytes()), flow().lane.0],
        data: [Hash32::from_u64(0).0, Hash32::from_u64(7).0, head.0].concat(),
    }
}

/// A block of three receipts, the second with `logs`, and the proof of the second.
fn block(is_success: bool, logs: Vec<Log>) -> (Header, HeadProof) {
    let plain = Receipt {
        kind: 2,
        is_success: true,
        cumulative_gas_used: 21_000,
        logs_bloom: Box::new([0; 256]),
        logs: Vec::new(),
    };
    let middle = Receipt { is_success, logs, ..plain.clone() };
    let values = [plain.encode(), middle.encode(), plain.encode()];
    let (root, path) = root_and_path(&values, 1);
    (header(EMPTY_ROOT, root), HeadProof::Receipt { position: 1, path })
}

fn judge(block: &(Header, HeadProof)) -> Result<ChainPoint, Refusal> {
    let proof = HeadProof::decode(HeadProof::VERSION, &block.1.encode()).unwrap();
    assert_eq!(proof, block.1);
    verify_head(&block.0, &proof, GATEWAY.to_address(), flow())
}

#[test]
fn a_checkpoints_receipt_proves_a_head() {
    let other = Log { topics: vec![keccak256(b"Other()")], ..checkpoint() };
    let elsewhere = Log { address: Account([0xbb; 20]), ..checkpoint() };
    let point = ChainPoint { index: Index(7), head: keccak256(b"head") };
    assert_eq!(judge(&block(true, vec![other, checkpoint(), elsewhere])), Ok(point));
}

#[test]
fn a_receipt_with_one_thing_broken_is_refused_by_that_check() {
    let check = |is_success, logs| judge(&block(is_success, logs)).unwrap_err().check;
    assert_eq!(check(false, vec![checkpoint()]), "receipt-status");
    assert_eq!(check(true, vec![]), "checkpoint-event");
    assert_eq!(check(true, vec![checkpoint(), checkpoint()]), "checkpoint-event");
    assert_eq!(check(true, vec![Log { address: Account([0xbb; 20]), ..checkpoint() }]), "checkpoint-event");
    let with_topics = |topics| check(true, vec![Log { topics, ..checkpoint() }]);
    assert_eq!(with_topics(vec![keccak256(b"Other()"), flow().lane.0]), "checkpoint-event");
    assert_eq!(with_topics(vec![checkpoint().topics[0], keccak256(b"other lane")]), "checkpoint-lane");
    assert_eq!(with_topics(vec![checkpoint().topics[0]]), "checkpoint-lane");
    let with_data = |change: fn(&mut Vec<u8>)| {
        let mut log = checkpoint();
        change(&mut log.data);
        check(true, vec![log])
    };
    assert_eq!(with_data(|data| data.push(0)), "checkpoint-data");
    assert_eq!(with_data(|data| data.truncate(64)), "checkpoint-data");
    assert_eq!(with_data(|data| data[32] = 1), "checkpoint-data");
    assert_eq!(with_data(|data| data[31] = 1), "checkpoint-direction");
    assert_eq!(with_data(|data| data[0] = 1), "checkpoint-direction");
    assert_eq!(with_data(|data| data[64..].fill(0)), "head-absent");
}

#[test]
fn a_receipts_path_with_one_thing_broken_is_refused() {
    let (header, proof) = block(true, vec![checkpoint()]);
    let HeadProof::Receipt { path, .. } = proof else { panic!("a receipt proof") };
    let check = |position, path| judge(&(header.clone(), HeadProof::Receipt { position, path })).unwrap_err().check;
    assert_eq!(check(2, path.clone()), "proof-receipt");
    assert_eq!(check(9, path[..path.len() - 1].to_vec()), "receipt-absent");
    let mut changed = path.clone();
    changed[0][5] ^= 1;
    assert_eq!(check(1, changed), "proof-receipt");
    let (empty, _) = block(true, vec![]);
    let wrong_block = HeadProof::Receipt { position: 1, path };
    assert_eq!(judge(&(empty, wrong_block)).unwrap_err().check, "proof-receipt");
}

/// The recorder contract of `qbft-votes` keeps heads and indexes where a gateway does.
fn recorded() -> (Header, HeadProof, Address, Flow) {
    let recording = vector("evm-live/qbft-votes.json");
    let block = &recording["blocks"][69];
    let (decoded, _) = json::read_header(&block["block"]).unwrap();
    let answer = json::read_account_proof(&block["proof"]).unwrap();
    let lane = LaneId(word(&recording["lanes"]["medical"]));
    let path = |slot| {
        let key = mapping_slot(lane.0, slot);
        answer.slots.iter().find(|slot| slot.key == key).unwrap().nodes.clone()
    };
    let proof = HeadProof::Storage { account: answer.account_nodes.clone(), head: path(0), index: path(1) };
    let flow = Flow { lane, direction: Direction::Inbox };
    (header(decoded.state_root, decoded.receipts_root), proof, answer.account.to_address(), flow)
}

#[test]
fn both_slots_prove_a_head() {
    let (header, proof, gateway, flow) = recorded();
    let point = verify_head(&header, &proof, gateway, flow).unwrap();
    assert!(point.index.0 > 0);
    assert_ne!(point.head, Hash32::ZERO);
    assert_eq!(HeadProof::decode(HeadProof::VERSION, &proof.encode()).unwrap(), proof);
}

#[test]
fn a_storage_proof_with_one_thing_broken_is_refused_by_that_check() {
    let (header, proof, gateway, flow) = recorded();
    let HeadProof::Storage { account, head, index } = proof.clone() else { panic!("a storage proof") };
    let check = |proof: HeadProof| verify_head(&header, &proof, gateway, flow).unwrap_err().check;
    let storage = |account: &Vec<Vec<u8>>, head: &Vec<Vec<u8>>, index: &Vec<Vec<u8>>| HeadProof::Storage {
        account: account.clone(),
        head: head.clone(),
        index: index.clone(),
    };
    assert_eq!(check(storage(&vec![], &head, &index)), "proof-account");
    assert_eq!(check(storage(&account, &vec![], &index)), "proof-storage");
    assert_eq!(check(storage(&account, &head, &head)), "proof-storage");
    assert_eq!(check(storage(&account, &index, &index)), "proof-storage");
    let mut changed = head.clone();
    changed.last_mut().unwrap()[3] ^= 1;
    assert_eq!(check(storage(&account, &changed, &index)), "proof-storage");

    let other = verify_head(&header, &proof, Account([0xaa; 20]).to_address(), flow).unwrap_err();
    assert!(["proof-account", "account-absent"].contains(&other.check));
    let long = Address(keccak256(b"32 bytes"));
    assert_eq!(verify_head(&header, &proof, long, flow).unwrap_err().check, "gateway-form");
    let wrong = Header { detail: vec![1; 128], ..header.clone() };
    assert_eq!(verify_head(&wrong, &proof, gateway, flow).unwrap_err().check, "header-detail");
    let mut version = header.detail.clone();
    version[0] = 2;
    let wrong = Header { detail: version, ..header };
    assert_eq!(verify_head(&wrong, &proof, gateway, flow).unwrap_err().check, "header-detail");
}

#[test]
fn a_lane_that_the_gateway_does_not_know_has_no_head() {
    // Block 7 is before the first send: the account is there and every slot is absent.
    let recording = vector("evm-live/qbft-votes.json");
    let at = recording["blocks"].as_array().unwrap().iter().position(|block| {
        block.get("proof").is_some_and(|proof| {
            let answer = json::read_account_proof(proof).unwrap();
            !answer.slots.is_empty()
                && answer.slots.iter().all(|slot| slot.value == Hash32::ZERO)
                && json::field(proof, "codeHash").unwrap()
                    != "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
                && json::field(proof, "nonce").unwrap() == "0x1"
        })
    });
    let block = &recording["blocks"][at.unwrap()];
    let (decoded, _) = json::read_header(&block["block"]).unwrap();
    let answer = json::read_account_proof(&block["proof"]).unwrap();
    let lane = LaneId(word(&recording["lanes"]["medical"]));
    let proof = HeadProof::Storage {
        account: answer.account_nodes.clone(),
        head: answer.slots[0].nodes.clone(),
        index: answer.slots[1].nodes.clone(),
    };
    let flow = Flow { lane, direction: Direction::Outbox };
    let header = header(decoded.state_root, decoded.receipts_root);
    let refusal = verify_head(&header, &proof, answer.account.to_address(), flow).unwrap_err();
    assert_eq!(refusal.check, "head-absent");
}

#[test]
fn proofs_of_a_real_block_verify() {
    let real = vector("evm-proof/anvil-gateway-block2.json");
    let receipts_root = word(&real["receipts_root"]);
    let nodes = |value: &serde_json::Value| value.as_array().unwrap().iter().map(bytes).collect::<Vec<_>>();
    for proof in real["receipt_proofs"].as_array().unwrap() {
        let position = proof["index"].as_u64().unwrap();
        let path = nodes(&proof["nodes"]);
        let receipt = crate::verify::head::prove_receipt(receipts_root, position, &path).unwrap();
        assert_eq!(receipt.encode(), bytes(&proof["value"]));
        let answered = json::read_receipt(&real["rpc_receipts"][usize::try_from(position).unwrap()]).unwrap();
        assert_eq!(receipt, answered);
    }
    let absent = &real["receipt_exclusion_proof"];
    let path = nodes(&absent["nodes"]);
    let refusal = crate::verify::head::prove_receipt(receipts_root, 7, &path).unwrap_err();
    assert_eq!(refusal.check, "receipt-absent");

    let state_root = word(&real["state_root"]);
    for (name, is_there) in [("eth_get_proof", true), ("eth_get_proof_absent_account", false)] {
        let answer = json::read_account_proof(&real[name]).unwrap();
        let root = crate::verify::storage::prove_storage_root(state_root, answer.account, &answer.account_nodes);
        assert_eq!(root.is_ok(), is_there);
        let Ok(root) = root else { continue };
        assert_eq!(root, word(&real[name]["storageHash"]));
        for slot in &answer.slots {
            assert_eq!(crate::verify::storage::prove_slot(root, slot.key, &slot.nodes).unwrap(), slot.value);
        }
    }
}
