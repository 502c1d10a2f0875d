//! What nodes of other versions show, and chains that are upgraded on the way.

use cityrelay_api::client::from_opaque;
use cityrelay_api::source::{Confirmation, HeadProofAnswer};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::ids::{Address, Height, Index, UnixMillis};
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_fisco_bcos::NAME;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::verify::checkpoint::{CheckpointProof, ReceiptInclusion};
use serde_json::{Value, json};

use crate::gateway_chain::{DOMAIN, GATEWAY, GatewayChain, Step, checkpoint, flow, lane, message, other, point, send};
use crate::heads::{claim, header, request, serve};

/// `setValueByKey("compatibility_version", …)` at the system contract, which block after block follows.
fn upgrade(nonce: u64) -> Step {
    let mut step = other(nonce);
    step.data.to = "0000000000000000000000000000000000001000".to_owned();
    step.receipt.output = vec![0; 32];
    step
}

/// The step with a nonce that nodes before 3.3.0 can read.
fn decimal(mut step: Step, nonce: u32) -> Step {
    step.data.nonce = format!("1{nonce:031}");
    step
}

/// The block as nodes before 3.2.0 show it: nonces as they are, no proof.
fn as_shown_before_3_2(block: &mut Value) {
    for entry in block["transactions"].as_array_mut().unwrap() {
        let shown = &mut entry["getTransaction"];
        shown["nonce"] = json!(String::from_utf8(hex::decode(shown["nonce"].as_str().unwrap()).unwrap()).unwrap());
        shown.as_object_mut().unwrap().remove("txProof");
        entry["getTransactionReceipt"].as_object_mut().unwrap().remove("txReceiptProof");
    }
}

#[tokio::test]
async fn an_upgrade_in_the_middle_of_a_chain_is_followed_and_heads_are_proved_on_both_sides() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        let mut chain = GatewayChain::new(suite);
        chain.chain.version = 0x0301_0000;
        chain.add(vec![decimal(send(0, 1), 1)]);
        chain.add(vec![decimal(other(2), 2), decimal(checkpoint(0, 1), 3)]);
        chain.add(vec![decimal(upgrade(4), 4)]);
        chain.blocks.iter_mut().for_each(as_shown_before_3_2);
        chain.chain.version = 0x0309_0000;
        chain.add(vec![send(5, 2)]);
        chain.add(vec![upgrade(6)]);
        chain.chain.version = 0x0310_0400;
        let mut later = checkpoint(7, 2);
        (later.receipt.version, later.receipt.effective_gas_price) = (1, "0x0".to_owned());
        chain.add(vec![other(8), later]);
        for filters_logs in [true, false] {
            let (configured, _node) = serve(&chain, point(2), filters_logs).await;
            let served = configured.source().next_update(Height(1), 100).await.unwrap().unwrap();
            let verdict =
                configured.client().verify_update(DOMAIN, &configured.anchor(), &served.update, UnixMillis(0));
            let VerifiedUpdate::Advanced { headers, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(headers.last().unwrap().height(), Height(7));
            for (newest, at, count) in [(4, 3, 1), (7, 7, 2)] {
                let answer = configured.source().head_proof(&request(count, 2, newest)).await.unwrap();
                let HeadProofAnswer::Proof { height, proof, .. } = answer else { panic!("{answer:?}") };
                assert_eq!(height, Height(at));
                let parts: CheckpointProof = from_opaque(NAME, &proof).unwrap();
                assert_eq!(matches!(parts.inclusion, ReceiptInclusion::All(_)), at == 3, "no path before 3.2.0");
                let header = headers.iter().find(|header| header.height() == height).unwrap();
                let claim = Claim {
                    flow: flow(),
                    first: Index(1),
                    entries: (1..=count).map(|index| Entry::Message(message(index))).collect(),
                    tail: Vec::new(),
                    height,
                    proof: proof.clone(),
                };
                let start = ChainPoint::start(flow());
                let extension = configured.client().verify_extension(header, &lane(), start, claim).unwrap();
                assert_eq!(extension.tip(), point(count));
                let gateway = Address::from_20(GATEWAY);
                let answer = configured.source().confirm_extension(header, gateway, &extension, &proof).await.unwrap();
                assert_eq!(answer, Confirmation::Agrees, "block {at}");
            }
        }
    }
}

/// Ethereum-signed transactions as native JSON of other versions shows them (`JsonRpcImpl_2_0.cpp:toJsonResp`,
/// `Web3Transaction.cpp:takeToTarsTransaction`): recorded are those of v3.9.0 only.
fn web3_forms() -> Vec<Value> {
    let of_type_1 = json!({ "value": "0", "gasLimit": 1_000_000, "gasPrice": "0" });
    let fees = json!({ "maxFeePerGas": "20000000000", "maxPriorityFeePerGas": "10000000000" });
    let raw = json!({ "groupID": "", "blockLimit": 0, "chainID": "20200" });
    let nonce = |text: &str| json!({ "nonce": hex::encode(text) });
    let sender = nonce("0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a0x1");
    let merged = |parts: &[&Value]| {
        let parts = parts.iter().flat_map(|part| part.as_object().unwrap().clone());
        Value::Object(parts.collect())
    };
    vec![
        merged(&[&of_type_1, &raw, &sender]),
        merged(&[&of_type_1, &raw, &sender, &fees]),
        merged(&[&of_type_1, &raw, &nonce("0x1"), &fees]),
        merged(&[&of_type_1, &raw, &nonce("0x0"), &json!({ "to": "", "chainID": "0" })]),
        merged(&[&of_type_1, &nonce("0x1")]),
        json!({ "type": 1 }),
    ]
}

#[tokio::test]
async fn ethereum_signed_transactions_of_every_version_are_recognised_beside_a_checkpoint() {
    let suite = CryptoSuite::Standard;
    let forms = web3_forms();
    let mut chain = GatewayChain::new(suite);
    let mut steps: Vec<Step> = (0..forms.len()).map(|place| other(100 + place as u64)).collect();
    // Their leaves are not the hashes of what is shown.
    for step in &mut steps {
        step.data.input = b"raw bytes, not shown".to_vec();
    }
    steps.push(checkpoint(2, 2));
    chain.add(steps);
    for (place, form) in forms.iter().enumerate() {
        let shown = &mut chain.blocks[0]["transactions"][place]["getTransaction"];
        shown["input"] = json!("0x01");
        shown.as_object_mut().unwrap().extend(form.as_object().unwrap().clone());
    }
    for filters_logs in [true, false] {
        let (configured, _node) = serve(&chain, point(2), filters_logs).await;
        let answer = configured.source().head_proof(&request(2, 2, 2)).await.unwrap();
        let HeadProofAnswer::Proof { height, proof, .. } = answer else { panic!("{answer:?}") };
        let header = header(&configured, height).await;
        let claim = claim(height, proof.clone());
        let start = ChainPoint::start(flow());
        let extension = configured.client().verify_extension(&header, &lane(), start, claim).unwrap();
        let gateway = Address::from_20(GATEWAY);
        let answer = configured.source().confirm_extension(&header, gateway, &extension, &proof).await.unwrap();
        assert_eq!(answer, Confirmation::Agrees);
        let recording = configured.recording();
        let written = recording.record(Height(2), Height(2)).await.unwrap();
        let steps = recording.read(&written).unwrap();
        assert!(recording.verify_body(&header, &steps[0]).unwrap() > 10, "each is counted by its leaf");
    }
}
