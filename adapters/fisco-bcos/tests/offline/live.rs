//! Whole recorded chains: every height verifies, every body too; one broken field is refused by its own check.

use crate::Case;
use crate::vectors::{anchored, vectors};
use cityrelay_api::client::from_opaque;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{Header, HoldReason, LightClient, Refusal, Verdict};
use cityrelay_fisco_bcos::NAME;
use cityrelay_fisco_bcos::recording::body::verify_body;
use cityrelay_fisco_bcos::recording::read::read;
use cityrelay_fisco_bcos::verify::update::ChainUpdate;
use serde_json::{Value, json};

#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    last: u64,
    set_changes: Vec<u64>,
    unseen: Vec<u64>,
    body_checks: u64,
}

/// Runs a recording from its block 1 to its end, up to the first refusal.
fn replay(recording: &Value) -> Result<Replayed, Refusal> {
    let (client, mut state) = anchored(recording);
    let mut done = Replayed::default();
    for step in read(&client, &state, recording)? {
        if let Some(statement) = step.statement {
            state = client.apply_set_statement(&state, &statement)?;
        }
        let update: ChainUpdate = from_opaque(NAME, &step.update)?;
        let now = UnixMillis(update.headers[0].sealed.header.timestamp);
        match client.verify_update(&state, &update, now) {
            Verdict::Advanced { state: next, headers, set_changes } => {
                state = next;
                done.set_changes.extend(set_changes.iter().map(|height| height.0));
                let header = headers.last().unwrap();
                done.unseen
                    .extend(headers.iter().map(|header| header.height.0).filter(|height| *height != header.height.0));
                done.last = header.height.0;
                done.body_checks += verify_body(&client, header, &step.body)?;
            }
            Verdict::HeldBack { reason, .. } => panic!("held back: {reason}"),
            Verdict::Refused(refusal) => return Err(refusal),
        }
    }
    Ok(done)
}

#[test]
fn the_standard_chain_of_3_9_verifies_to_its_end() {
    let done = replay(&vectors("live/std.json")).unwrap();
    assert_eq!(done.last, 225);
    assert_eq!(done.unseen, [220], "the recording lacks this block; its child vouches for it");
    assert_eq!(done.set_changes, [48, 55, 59, 82, 88, 91, 95]);
    assert!(done.body_checks > 4000, "{done:?}");
}

#[test]
fn the_standard_chain_of_3_16_verifies_to_its_end() {
    let done = replay(&vectors("live/n16.json")).unwrap();
    assert_eq!(done.last, 191);
    assert!(!done.set_changes.is_empty());
    assert!(done.body_checks > 2500, "{done:?}");
}

#[test]
fn the_gm_chain_of_3_9_verifies_to_its_end() {
    let done = replay(&vectors("live/gm.json")).unwrap();
    assert_eq!(done.last, 219);
    assert!(!done.set_changes.is_empty());
    assert!(done.body_checks > 4000, "{done:?}");
}

#[test]
fn a_set_change_waits_for_its_statement_and_earlier_headers_become_final() {
    let recording = vectors("live/std.json");
    let (client, state) = anchored(&recording);
    let steps = read(&client, &state, &recording).unwrap();
    let headers: Vec<_> = steps
        .iter()
        .take_while(|step| step.height <= Height(50))
        .flat_map(|step| from_opaque::<ChainUpdate>(NAME, &step.update).unwrap().headers)
        .collect();
    let update = ChainUpdate { headers };
    let digest = steps.iter().find(|step| step.height == Height(49)).unwrap().statement.unwrap().digest;
    match client.verify_update(&state, &update, UnixMillis(0)) {
        Verdict::HeldBack { state, headers, set_changes, reason } => {
            assert_eq!(state.height, Height(48));
            assert_eq!(headers.len(), 47);
            assert!(set_changes.is_empty());
            // A recording has a statement for each change, and no evidence.
            let check = "set-change-evidence";
            assert_eq!(reason, HoldReason::SetNotFollowed { height: Height(49), digest, check });
        }
        other => panic!("{other:?}"),
    }
}

/// Breaks the recording of block 5 (one transaction) or 28 to 42 by `edit` and names the check that refuses it.
fn refused_after(height: u64, edit: impl Fn(&mut Value)) -> (&'static str, Option<Height>) {
    let mut recording = vectors("live/std.json");
    recording["blocks"].as_array_mut().unwrap().retain(|entry| entry["block"]["number"].as_u64().unwrap() <= height);
    edit(recording["blocks"].as_array_mut().unwrap().last_mut().unwrap());
    let refusal = replay(&recording).expect_err("the broken recording must be refused");
    (refusal.check, refusal.height)
}

fn flip(value: &mut Value) {
    let mut text = value.as_str().unwrap().to_owned();
    let last = if text.ends_with('0') { '1' } else { '0' };
    text.pop();
    text.push(last);
    *value = Value::from(text);
}

#[test]
fn every_broken_header_field_is_refused_by_name() {
    let at = Some(Height(5));
    let cases: [Case<Value>; 15] = [
        ("header-hash", |e| flip(&mut e["block"]["txsRoot"])),
        ("header-hash", |e| flip(&mut e["block"]["receiptsRoot"])),
        ("header-hash", |e| flip(&mut e["block"]["stateRoot"])),
        ("header-hash", |e| flip(&mut e["block"]["gasUsed"])),
        ("header-hash", |e| flip(&mut e["block"]["hash"])),
        ("header-hash", |e| e["block"]["timestamp"] = json!(1)),
        ("header-hash", |e| e["block"]["sealer"] = json!(1)),
        ("header-sealer", |e| e["block"]["sealer"] = json!(4)),
        ("header-version", |e| e["block"]["version"] = json!(4)),
        ("header-root", |e| e["block"]["stateRoot"] = json!("0x")),
        ("header-gas-used", |e| e["block"]["gasUsed"] = json!("07836")),
        ("header-extra-data", |e| e["block"]["extraData"] = json!("0x00")),
        ("header-parent-hash", |e| flip(&mut e["block"]["parentInfo"][0]["blockHash"])),
        ("header-parent-number", |e| e["block"]["parentInfo"][0]["blockNumber"] = json!(3)),
        ("header-parent-count", |e| e["block"]["parentInfo"] = json!([])),
    ];
    for (expected, edit) in cases {
        assert_eq!(refused_after(5, edit), (expected, at));
    }
}

#[test]
fn every_broken_signature_list_is_refused_by_name() {
    let at = Some(Height(5));
    let cases: [Case<Value>; 6] = [
        ("signature-invalid", |e| {
            let signature = e["block"]["signatureList"][0]["signature"].as_str().unwrap().replacen("0x4d", "0x4e", 1);
            e["block"]["signatureList"][0]["signature"] = json!(signature);
        }),
        ("signature-invalid", |e| e["block"]["signatureList"][2]["sealerIndex"] = json!(2)),
        ("signature-length", |e| e["block"]["signatureList"][0]["signature"] = json!("0x00")),
        ("signature-index", |e| e["block"]["signatureList"][2]["sealerIndex"] = json!(4)),
        ("signature-duplicate", |e| {
            let first = e["block"]["signatureList"][0].clone();
            e["block"]["signatureList"][1] = first;
        }),
        ("quorum", |e| drop(e["block"]["signatureList"].as_array_mut().unwrap().pop())),
    ];
    for (expected, edit) in cases {
        assert_eq!(refused_after(5, edit), (expected, at));
    }
}

#[test]
fn every_broken_body_field_is_refused_by_name() {
    let cases: [(u64, Case<Value>); 16] = [
        (5, ("quorum", |e| e["signature_list_at_other_nodes"]["4"] = json!([]))),
        (5, ("transactions-root", |e| flip(&mut e["block"]["transactions"][0]))),
        (5, ("recorded-transactions", |e| e["transactions"] = json!([]))),
        (5, ("transaction-hash", |e| flip(&mut e["transactions"][0]["getTransaction"]["input"]))),
        (5, ("transaction-hash", |e| e["transactions"][0]["getTransaction"]["blockLimit"] = json!(505))),
        (5, ("transaction-hash", |e| e["transactions"][0]["getTransaction"]["chainID"] = json!("chain1"))),
        (5, ("transaction-sender", |e| flip(&mut e["transactions"][0]["getTransaction"]["from"]))),
        (5, ("transaction-signature", |e| e["transactions"][0]["getTransaction"]["signature"] = json!("0x00"))),
        (5, ("transaction-path", |e| flip(&mut e["transactions"][0]["getTransaction"]["txProof"][0]))),
        (5, ("sent-form", |e| e["transactions"][0]["sent"] = json!("0x1234"))),
        (5, ("receipt-hash", |e| e["transactions"][0]["getTransactionReceipt"]["gasUsed"] = json!("1"))),
        (5, ("receipt-hash", |e| e["transactions"][0]["getTransactionReceipt"]["status"] = json!(16))),
        (5, ("receipt-hash", |e| flip(&mut e["transactions"][0]["getTransactionReceipt"]["output"]))),
        (5, ("receipt-path", |e| flip(&mut e["transactions"][0]["getTransactionReceipt"]["txReceiptProof"][0]))),
        (
            38,
            ("receipts-root", |e| {
                let second = e["transactions"][1]["getTransactionReceipt"].clone();
                e["transactions"][0]["getTransactionReceipt"] = second;
            }),
        ),
        (
            38,
            ("transaction-path", |e| {
                e["transactions"][3]["getTransaction"]["txProof"].as_array_mut().unwrap().truncate(3);
            }),
        ),
    ];
    for (height, (expected, edit)) in cases {
        assert_eq!(refused_after(height, edit), (expected, Some(Height(height))));
    }
}

#[test]
fn recordings_of_another_chain_or_with_a_gap_are_refused() {
    let mut recording = vectors("live/std.json");
    let (client, state) = anchored(&recording);
    let check = |recording: &Value| read(&client, &state, recording).unwrap_err().check;
    for (key, expected) in [("crypto", "recording-crypto"), ("chain", "recording-chain"), ("group", "recording-group")]
    {
        let mut other = recording.clone();
        other[key] = json!("other");
        assert_eq!(check(&other), expected);
    }
    assert_eq!(check(&json!({ "blocks": 1 })), "recording-form");
    assert_eq!(check(&json!({ "blocks": [{}] })), "recording-header");
    recording["blocks"].as_array_mut().unwrap().drain(7..9);
    assert_eq!(check(&recording), "recording-order");
}

#[test]
fn web3_transactions_are_recognised_and_counted_by_their_leaf() {
    let recording = vectors("live/std.json");
    let blocks = recording["blocks"].as_array().unwrap();
    let last = &blocks.last().unwrap()["transactions"][0];
    assert_eq!(last["getTransaction"]["groupID"], "");
    let (client, _) = anchored(&recording);
    let shown =
        cityrelay_fisco_bcos::codec::json_transaction::transaction_from_json(client.suite, &last["getTransaction"]);
    assert!(matches!(shown, Ok(cityrelay_fisco_bcos::codec::json_transaction::ShownTransaction::Web3 { .. })));
}

#[test]
fn a_header_without_its_detail_proves_nothing() {
    let recording = vectors("live/std.json");
    let (client, _) = anchored(&recording);
    let header = Header {
        height: Height(5),
        hash: cityrelay_core::hash::Hash32::ZERO,
        parent: cityrelay_core::hash::Hash32::ZERO,
        timestamp: UnixMillis(0),
        detail: vec![2; 65],
    };
    assert_eq!(verify_body(&client, &header, &Value::Null).unwrap_err().check, "header-detail");
}
